//! The project's own fixtures, by name, for tests that change them.
#![allow(dead_code, unused_imports)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use eks_doctor::rule::RuleSet;
use serde::Deserialize;

pub use eks_doctor::change::{Change, applied, changed};

/// The rules as built in; with `EKS_DOCTOR_RULES=1` as the files say now, so that a rule can be tried without a build.
pub fn rules() -> RuleSet {
    if std::env::var_os("EKS_DOCTOR_RULES").is_none() {
        return RuleSet::built_in().unwrap_or_else(|e| panic!("{e}"));
    }
    let mut rules = RuleSet::empty();
    rules.add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap_or_else(|e| panic!("{e}"));
    rules
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Every JSON file of a fixture: path and text.
pub fn documents(fixture: &str) -> Vec<(String, String)> {
    eks_doctor::change::documents(&fixtures().join(fixture)).unwrap_or_else(|e| panic!("{e}"))
}

/// Every healthy fixture: its name and its documents.
pub fn healthy() -> Bases {
    let folders = std::fs::read_dir(fixtures()).unwrap_or_else(|e| panic!("{e}"));
    let names = folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("healthy")).map(|name| (name.clone(), documents(&name))).collect()
}

/// Fixtures by name.
pub type Bases = BTreeMap<String, Vec<(String, String)>>;

/// What the cases, or faults, of these bases stand on.
pub fn bases<'b>(names: impl Iterator<Item = &'b String>) -> Bases {
    names.collect::<BTreeSet<_>>().into_iter().map(|name| (name.clone(), documents(name))).collect()
}

/// The files of `fixtures/cases`, in order: each one's name and text.
pub fn case_files() -> Vec<(String, String)> {
    let files = std::fs::read_dir(fixtures().join("cases")).unwrap_or_else(|e| panic!("{e}"));
    let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), text(path))).collect()
}

/// What a case is made of, without what is expected.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub base: String,
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// Every case, by name, in order.
pub fn cases() -> Vec<(String, Case)> {
    let read = |(name, text): (String, String)| {
        let case = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, case)
    };
    case_files().into_iter().map(read).collect()
}
