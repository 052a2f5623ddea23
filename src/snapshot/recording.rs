//! A recording: answers on their way into a folder, or straight into a check.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Failure, LoadError, Manifest, Snapshot, load};

/// The file that says what no answer holds.
const MANIFEST: &str = "manifest.json";
/// What a folder of ours holds beside the manifest.
const PARTS: [&str; 2] = ["aws", "k8s"];

/// Answers by their path below the snapshot's folder (`aws/ec2/describe-vpcs.json`), and what `record` knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub manifest: Manifest,
    answers: BTreeMap<String, String>,
}

/// Why a recording is not a folder now.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something that is no recording stands there.
    #[error(
        "{0}: is not empty and no recording of eks-doctor ({1}); nothing was written: give a new folder, or empty this one"
    )]
    Occupied(PathBuf, String),
    /// The operating system refuses.
    #[error("{0}: cannot be written: {1}")]
    Unwritable(PathBuf, io::Error),
}

impl Recording {
    pub fn new(manifest: Manifest) -> Recording {
        Recording { manifest, answers: BTreeMap::new() }
    }

    /// Adds the answer of AWS to `operation` (`ec2/describe-vpcs`), asked about `argument` where it is asked once
    /// for each. `text` is JSON.
    pub fn aws(&mut self, operation: &str, argument: Option<&str>, text: &str) {
        self.add(&format!("aws/{operation}"), argument, text);
    }

    /// Adds the list of a kind of Kubernetes objects (`daemonsets.apps`). `text` is JSON as [`indent`] writes it:
    /// it may be large, and is not copied.
    pub fn k8s(&mut self, plural: &str, text: String) {
        self.put(format!("k8s/{plural}.json"), text);
    }

    fn add(&mut self, operation: &str, argument: Option<&str>, text: &str) {
        let path = match argument {
            Some(argument) => format!("{operation}/{}.json", file_name(argument)),
            None => format!("{operation}.json"),
        };
        self.put(path, indent(text));
    }

    /// Adds an answer under its path; other text under a path that is taken gets a number.
    pub(super) fn put(&mut self, path: String, text: String) {
        let stem = path.strip_suffix(".json").unwrap_or(&path);
        let free = |path: &String| self.answers.get(path).is_none_or(|other| *other == text);
        let path = std::iter::once(path.clone())
            .chain((2..).map(|number| format!("{stem}~{number}.json")))
            .find(free)
            .unwrap_or(path);
        self.answers.insert(path, text);
    }

    /// Notes a read that was denied or failed.
    pub fn fail(&mut self, failure: Failure) {
        if !self.manifest.failures.contains(&failure) {
            self.manifest.failures.push(failure);
        }
    }

    /// Path and text of every answer, by path.
    pub fn answers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.answers.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Takes over what another part of the same recording holds.
    pub fn merge(&mut self, other: Recording) {
        for (path, text) in other.answers {
            self.put(path, text);
        }
        for failure in other.manifest.failures {
            self.fail(failure);
        }
    }

    /// The answers of a folder, whoever wrote it.
    ///
    /// # Errors
    /// When there is nothing to read, or a file of it cannot be read.
    pub fn read(folder: &Path) -> Result<Recording, LoadError> {
        let (documents, problems) = load::files(folder)?;
        if let Some(problem) = problems.first() {
            let reason = io::Error::new(io::ErrorKind::InvalidData, problem.message.clone());
            return Err(LoadError::Unreadable(folder.join(&problem.file), reason));
        }
        Recording::from_documents(documents.into_iter().map(|document| (document.path, document.text)))
            .map_err(|error| LoadError::Unreadable(folder.join(MANIFEST), error.into()))
    }

    /// The manifest as its file holds it.
    fn manifest_text(&self) -> String {
        let mut manifest = self.manifest.clone();
        manifest.failures.sort();
        indent(&serde_json::to_string(&manifest).unwrap_or_default())
    }

    /// Answers that are in memory already: (path, text).
    ///
    /// # Errors
    /// A manifest that cannot be read.
    pub fn from_documents(
        documents: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Recording, serde_json::Error> {
        let mut recording = Recording::default();
        for (path, text) in documents {
            if path == MANIFEST {
                recording.manifest = serde_json::from_str(&text)?;
            } else {
                recording.answers.insert(path, text);
            }
        }
        Ok(recording)
    }

    /// What a check reads: the same as [`Snapshot::load`] gives of the written folder.
    pub fn load(mut self) -> Snapshot {
        self.answers.insert(MANIFEST.to_owned(), self.manifest_text());
        Snapshot::from_documents(self.answers.into_iter().collect())
    }

    /// Writes the folder, whole or not at all: the files are written beside it and take its name when all are
    /// there. An older recording that stands there is replaced.
    ///
    /// # Errors
    /// When something else stands there, or it cannot be written; then what was there is as it was.
    pub fn write(&self, folder: &Path) -> Result<(), WriteError> {
        let folder = &folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |error| WriteError::Unwritable(path, error)
        };
        let Some(name) = folder.file_name() else {
            return Err(unwritable(folder)(io::Error::new(io::ErrorKind::InvalidInput, "is no name of a folder")));
        };
        if let Some(reason) = occupied(folder).map_err(unwritable(folder))? {
            return Err(WriteError::Occupied(folder.clone(), reason));
        }
        let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(unwritable(parent))?;
        let beside = |what: &str| {
            let name = name.to_string_lossy();
            parent.join(format!(".{name}.{}.{what}", std::process::id()))
        };
        let new = Staged(beside("new"));
        let mut last = PathBuf::new();
        let manifest = self.manifest_text();
        for (path, text) in self.answers().chain([(MANIFEST, manifest.as_str())]) {
            let path = new.0.join(path);
            let dir = path.parent().unwrap_or(&new.0);
            if dir != last {
                fs::create_dir_all(dir).map_err(unwritable(dir))?;
                last = dir.to_owned();
            }
            let mut file = File::create_new(&path).map_err(unwritable(&path))?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(unwritable(&path))?;
        }
        // A folder that holds something cannot be replaced in one go: it steps aside first.
        let old = Staged(beside("old"));
        let stepped = match fs::rename(folder, &old.0) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(unwritable(folder)(error)),
        };
        fs::rename(&new.0, folder).map_err(|error| {
            if stepped {
                let _ = fs::rename(&old.0, folder);
            }
            unwritable(folder)(error)
        })
    }
}

/// A folder that is gone when nobody renamed it.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Why `folder` may not be replaced; it may when it is empty, not there, or a recording of ours.
fn occupied(folder: &Path) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(None);
    }
    names.sort();
    if let Some(other) = names.iter().find(|name| *name != MANIFEST && !PARTS.contains(&name.as_str())) {
        return Ok(Some(format!("it holds `{other}`")));
    }
    let manifest = fs::read_to_string(folder.join(MANIFEST)).unwrap_or_default();
    let manifest: Manifest = serde_json::from_str(&manifest).unwrap_or_default();
    let ours = manifest.tool.is_some_and(|tool| tool.starts_with("eks-doctor"));
    Ok((!ours).then(|| format!("its {MANIFEST} does not name eks-doctor")))
}

/// The argument as a file's name: of ARNs and paths the last part, and no character that a file system minds.
fn file_name(argument: &str) -> String {
    let last = argument.rsplit('/').find(|part| !part.is_empty()).unwrap_or(argument);
    let name: String =
        last.chars().map(|c| if c.is_alphanumeric() || "._@=+,-".contains(c) { c } else { '-' }).collect();
    match name.trim_matches('.') {
        "" => "-".to_owned(),
        _ => name,
    }
}

/// The same JSON as the AWS CLI and kubectl print it: four spaces, one value a line. Order and scalars stay.
pub fn indent(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    indent_into(&mut out, json, 0);
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_else(|_| json.to_owned())
}

/// The same as a part of a larger text, in which it stands this deep; without the line's end.
pub fn indent_into(out: &mut Vec<u8>, json: &str, mut depth: usize) {
    let (bytes, mut at) = (json.as_bytes(), 0);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 4 * depth, b' ');
    };
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'"' => {
                let from = at - 1;
                while let Some(&byte) = bytes.get(at) {
                    at += 1;
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                }
                at = at.min(bytes.len());
                out.extend_from_slice(&bytes[from..at]);
            }
            b'{' | b'[' => {
                out.push(byte);
                let blank = bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
                if let Some(close @ (b'}' | b']')) = bytes.get(at + blank) {
                    out.push(*close);
                    at += blank + 1;
                } else {
                    depth += 1;
                    line(out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own.
    fn fresh(name: &str) -> Staged {
        let folder = std::env::temp_dir().join(format!("eks-doctor-recording-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Staged(folder)
    }

    fn recording() -> Recording {
        let tool = Some("eks-doctor 0.1.0".to_owned());
        let mut recording = Recording::new(Manifest { format: Some(1), tool, ..Manifest::default() });
        recording.aws("ec2/describe-vpcs", None, r#"{"Vpcs":[{"VpcId":"vpc-1","Tags":[],"IsDefault" : false}]}"#);
        recording.aws("iam/get-role", Some("arn:aws:iam::1:role/path/node"), r#"{"Role":{"RoleName":"node"}}"#);
        recording.k8s("nodes", indent(r#"{"kind":"NodeList","apiVersion":"v1","items":[]}"#));
        recording.fail(Failure { operation: "iam:GetRole".into(), code: "AccessDenied".into(), ..Failure::default() });
        recording
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn four_spaces_and_nothing_else_changes() {
        let compact = r#"{"a":[1,-2.50,"x, \"{y}\\"],"b":{},"c":[ ],"d":{"e":null}}"#;
        let expected = "{\n    \"a\": [\n        1,\n        -2.50,\n        \"x, \\\"{y}\\\\\"\n    ],\n    \"b\": {},\n    \"c\": [],\n    \"d\": {\n        \"e\": null\n    }\n}\n";
        assert_eq!(indent(compact), expected);
        assert_eq!(indent(expected), expected);
        // Cut text neither panics nor hangs.
        for end in 0..compact.len() {
            indent(&compact[..end]);
        }
    }

    #[test]
    fn arguments_become_names_of_files() {
        for (argument, name) in [
            ("arn:aws:iam::111122223333:role/path/node", "node"),
            ("../../etc/passwd", "passwd"),
            ("..", "-"),
            ("system:node:{{EC2PrivateDNSName}}", "system-node---EC2PrivateDNSName--"),
            ("vpc-1.enableDnsSupport", "vpc-1.enableDnsSupport"),
        ] {
            assert_eq!(file_name(argument), name);
        }
    }

    #[test]
    fn two_answers_of_one_name_both_stay() {
        let mut recording = recording();
        recording.aws("iam/get-role", Some("other/node"), r#"{"Role":{"RoleName":"node","Path":"/other/"}}"#);
        recording.aws("iam/get-role", Some("node"), r#"{"Role":{"RoleName":"node"}}"#);
        let paths: Vec<&str> = recording.answers().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "aws/ec2/describe-vpcs.json",
                "aws/iam/get-role/node.json",
                "aws/iam/get-role/node~2.json",
                "k8s/nodes.json"
            ]
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let parent = fresh("again");
        let folder = parent.0.join("deep/snapshot");
        recording().write(&folder).unwrap();
        assert_eq!(Recording::read(&folder).unwrap(), recording());
        let (written, held) = (Snapshot::load(&folder).unwrap(), recording().load());
        let texts = |s: &Snapshot| s.documents.iter().map(|d| (d.path.clone(), d.text.clone())).collect::<Vec<_>>();
        assert_eq!(texts(&written), texts(&held));
        assert_eq!(written.manifest, held.manifest);
        assert!(written.has("k8s:nodes") && written.has("ec2:DescribeVpcs"));
        assert_eq!(written.missing("iam:GetRole", None).reason, "AccessDenied");
        // Nothing is left beside it.
        assert_eq!(names(&parent.0.join("deep")), ["snapshot"]);
    }

    #[test]
    fn an_older_recording_is_replaced_and_nothing_else_is() {
        let parent = fresh("replace");
        let folder = parent.0.join("snapshot");
        recording().write(&folder).unwrap();
        let mut newer = Recording::new(recording().manifest);
        newer.k8s("pods", indent(r#"{"kind":"PodList","apiVersion":"v1","items":[]}"#));
        newer.write(&folder).unwrap();
        assert_eq!(names(&folder), ["k8s", "manifest.json"]);
        assert_eq!(names(&parent.0), ["snapshot"]);

        fs::write(folder.join("notes.txt"), "mine").unwrap();
        let error = newer.write(&folder).unwrap_err().to_string();
        assert!(error.contains("it holds `notes.txt`"), "{error}");
        fs::remove_file(folder.join("notes.txt")).unwrap();
        fs::write(folder.join("manifest.json"), r#"{"tool": "record.sh"}"#).unwrap();
        let error = newer.write(&folder).unwrap_err().to_string();
        assert!(error.contains("does not name eks-doctor"), "{error}");
        assert_eq!(names(&parent.0), ["snapshot"]);

        // An empty folder is taken, a file is not.
        let empty = parent.0.join("empty");
        fs::create_dir(&empty).unwrap();
        newer.write(&empty).unwrap();
        let file = parent.0.join("file");
        fs::write(&file, "mine").unwrap();
        assert!(newer.write(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
