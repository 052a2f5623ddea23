//! Embeds the rule files of `rules/`, and the words that redaction knows; makes the man pages and completions.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{CommandFactory, ValueEnum};

#[allow(dead_code)]
#[path = "src/cli.rs"]
mod cli;
#[allow(dead_code)]
#[path = "src/date.rs"]
mod date;
#[path = "src/fail_on.rs"]
mod fail_on;

use date::Date;
use fail_on::FailOn;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=rules");
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-env-changed=EKS_DOCTOR_DIST");
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let target = env::var("OUT_DIR").map_err(io::Error::other)?;
    let files = files(&Path::new(&root).join("rules"), "yaml")?;
    fs::write(Path::new(&target).join("rules.rs"), rules(&files)?)?;
    let (mut words, mut names) = (BTreeSet::new(), BTreeSet::new());
    for file in &files {
        // Addresses of pages name nothing of anybody's cluster.
        let text = fs::read_to_string(file)?;
        let text: String = text.lines().filter(|l| !l.starts_with("docs:")).flat_map(|l| [l, "\n"]).collect();
        add_words(&mut words, &mut names, &text);
    }
    for file in self::files(&Path::new(&root).join("src"), "rs")? {
        if !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "redact") {
            literals(&mut words, &mut names, &fs::read_to_string(file)?);
        }
    }
    let lines = |words: BTreeSet<String>| words.into_iter().collect::<Vec<_>>().join("\n");
    fs::write(Path::new(&target).join("words.txt"), lines(words))?;
    fs::write(Path::new(&target).join("names.txt"), lines(names))?;
    // Where a package takes them from; without it they stand beside what else the build makes.
    dist(&env::var("EKS_DOCTOR_DIST").map_or_else(|_| Path::new(&target).join("dist"), PathBuf::from))
}

/// Writes a man page for each command, and a completion script for each shell.
fn dist(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::Cli::command(), folder)?;
    for shell in clap_complete::Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut cli::Cli::command(), "eks-doctor", folder)?;
    }
    Ok(())
}

/// The files of an extension below a folder, by path.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        println!("cargo:rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// (issue, id, text) of each rule, as Rust.
fn rules(files: &[PathBuf]) -> io::Result<String> {
    let mut out = String::from("&[\n");
    for file in files {
        let name = |p: Option<&Path>| p.and_then(Path::file_stem).unwrap_or_default().to_string_lossy().into_owned();
        writeln!(out, "    ({:?}, {:?}, include_str!({:?})),", name(file.parent()), name(Some(file)), file)
            .map_err(io::Error::other)?;
    }
    out.push(']');
    Ok(out)
}

/// Words of three letters or more, in lower case, and names with `-` or `_`.
fn add_words(words: &mut BTreeSet<String>, names: &mut BTreeSet<String>, text: &str) {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.extend(parts.filter(|word| word.len() > 2).map(str::to_lowercase));
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    names.extend(parts.filter(|name| name.contains(['-', '_'])).map(str::to_owned));
}

/// The words of the string literals in Rust source, those of its tests aside.
fn literals(words: &mut BTreeSet<String>, names: &mut BTreeSet<String>, source: &str) {
    let source = source.split("#[cfg(test)]\nmod").next().unwrap_or(source);
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (kind, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = match kind {
            b'/' if after.starts_with('/') => after.split_once('\n').map_or("", |(_, rest)| rest),
            b'"' => {
                let mut end = 0;
                while let Some(byte) = after.as_bytes().get(end) {
                    match byte {
                        b'"' => break,
                        b'\\' => end += 2,
                        _ => end += 1,
                    }
                }
                let end = end.min(after.len());
                add_words(words, names, after.get(..end).unwrap_or_default());
                after.get(end + 1..).unwrap_or_default()
            }
            // A character; anything else is a lifetime.
            b'\'' if after.starts_with('\\') => {
                after.get(2..).and_then(|a| a.split_once('\'')).map_or("", |(_, rest)| rest)
            }
            b'\'' if after.chars().nth(1) == Some('\'') => after.split_once('\'').map_or("", |(_, rest)| rest),
            _ => after,
        };
    }
}
