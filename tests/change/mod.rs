//! The project's own fixtures, by name, for tests that change them.
#![allow(dead_code, unused_imports)]

use std::path::{Path, PathBuf};

use eks_doctor::rule::RuleSet;

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
