//! Embeds the rule files of `rules/`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=rules");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let rules = Path::new(&root).join("rules");
    let mut entries = Vec::new();
    for issue in fs::read_dir(&rules)? {
        let issue = issue?.path();
        if !issue.is_dir() {
            continue;
        }
        println!("cargo:rerun-if-changed={}", issue.display());
        for file in fs::read_dir(&issue)? {
            let file = file?.path();
            if file.extension().is_some_and(|e| e == "yaml") {
                entries.push((issue.clone(), file));
            }
        }
    }
    entries.sort();
    let mut out = String::from("&[\n");
    for (issue, file) in entries {
        let name = |p: &Path| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(out, "    ({:?}, {:?}, include_str!({:?})),", name(&issue), name(&file), file)
            .map_err(io::Error::other)?;
    }
    out.push(']');
    let target = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&target).join("rules.rs"), out)
}
