//! Where reports go: each file whole or not at all, and a clear error when one cannot be.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("eks-doctor-outputs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn check(&self, arguments: &[&str]) -> Output {
        let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nacl-drops-dns");
        Command::new(env!("CARGO_BIN_EXE_eks-doctor"))
            .current_dir(&self.0)
            .args(["check", "--snapshot"])
            .arg(snapshot)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs what cannot work: exit code 2, nothing on standard output, the error.
    fn refused(&self, arguments: &[&str]) -> String {
        let run = self.check(arguments);
        let error = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stdout));
        error
    }
}

const ALL: [&str; 7] = ["text", "json", "sarif", "junit", "github", "markdown", "html"];

#[test]
fn all_formats_at_once_are_those_of_one_at_a_time() {
    let folder = Folder::new("all");
    let mut arguments: Vec<String> = Vec::new();
    for format in ALL {
        arguments.extend(["--format".to_owned(), format!("{format}=out.{format}")]);
    }
    let run = folder.check(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(run.status.code(), Some(1), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.stdout.is_empty());
    let mut names: Vec<String> = ALL.iter().map(|format| format!("out.{format}")).collect();
    names.sort();
    assert_eq!(folder.names(), names, "and nothing beside them");
    for format in ALL {
        let alone = folder.check(&["--format", format]);
        let text = std::fs::read(folder.0.join(format!("out.{format}"))).unwrap();
        assert!(text == alone.stdout, "{format}");
        assert!(!text.is_empty() && text.ends_with(b"\n"), "{format} ends with a line end");
    }
    // `--output` is the same for one, and one more may go to standard output.
    folder.check(&["--format", "json", "--output", "one.json"]);
    let two = folder.check(&["--format", "json=two.json", "--format", "text"]);
    let read = |name: &str| std::fs::read(folder.0.join(name)).unwrap();
    assert!(read("one.json") == read("out.json") && read("two.json") == read("out.json"));
    assert!(two.stdout == read("out.text"));
}

#[test]
fn two_reports_to_one_place_are_refused() {
    let folder = Folder::new("one-place");
    std::fs::create_dir(folder.0.join("sub")).unwrap();
    let error = folder.refused(&["--format", "json", "--format", "text"]);
    assert_eq!(error, "error: two reports to standard output; give all but one a file: --format json=FILE\n");
    for other in ["a", "./a", "sub/../a"] {
        let error = folder.refused(&["--format", "json=a", "--format", &format!("text={other}")]);
        assert_eq!(error, format!("error: {other}: two outputs to one file\n"));
    }
    let error = folder.refused(&["--format", "json=a", "--format", "text", "--output", "b"]);
    assert!(error.contains("--output is for a single report"), "{error}");
    assert_eq!(folder.names(), ["sub"], "nothing was written");
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_is_that_file() {
    let folder = Folder::new("link");
    std::fs::write(folder.0.join("a"), "old").unwrap();
    std::os::unix::fs::symlink("a", folder.0.join("b")).unwrap();
    let error = folder.refused(&["--format", "json=a", "--format", "text=b"]);
    assert!(error.contains("two outputs to one file"), "{error}");
    folder.check(&["--format", "json=b"]);
    assert!(folder.0.join("b").is_symlink(), "the link stays");
    assert!(std::fs::read_to_string(folder.0.join("a")).unwrap().starts_with('{'));
}

#[test]
fn what_cannot_be_written_leaves_the_others_as_they_were() {
    let folder = Folder::new("unwritable");
    std::fs::write(folder.0.join("good.json"), "old").unwrap();
    std::fs::create_dir(folder.0.join("folder")).unwrap();
    std::fs::write(folder.0.join("file"), "").unwrap();
    let read_only = folder.0.join("read-only");
    std::fs::write(&read_only, "old").unwrap();
    let mut permissions = std::fs::metadata(&read_only).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&read_only, permissions.clone()).unwrap();
    let before = folder.names();
    for (bad, why) in [
        ("folder", "folder: cannot be written: is a folder"),
        ("nowhere/out.txt", "nowhere/out.txt: cannot be written: "),
        ("file/out.txt", "file/out.txt: cannot be written: "),
        ("read-only", "read-only: cannot be written: it is read-only"),
    ] {
        // Before and after one that could be.
        for outputs in
            [["json=good.json".to_owned(), format!("text={bad}")], [format!("text={bad}"), "json=good.json".to_owned()]]
        {
            let error = folder.refused(&["--format", &outputs[0], "--format", &outputs[1]]);
            assert!(error.contains(why), "{error}");
            assert_eq!(std::fs::read_to_string(folder.0.join("good.json")).unwrap(), "old", "{bad}");
            assert_eq!(folder.names(), before, "{bad}: nothing is left beside");
        }
    }
    assert_eq!(std::fs::read_to_string(&read_only).unwrap(), "old");
}

#[test]
fn a_format_that_is_none_is_named_with_those_there_are() {
    let folder = Folder::new("format");
    let error = folder.refused(&["--format", "yaml"]);
    assert!(error.contains("no format `yaml`; there are text, json, sarif, junit, github, markdown, html"), "{error}");
    let error = folder.refused(&["--format", "json="]);
    assert!(error.contains("a file name is wanted after `=`"), "{error}");
}
