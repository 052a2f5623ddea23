//! `docs/rules.md` says what the rule files say.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use eks_doctor::rule::{RuleSet, page};

#[test]
fn the_page_of_rules_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    let made = page::book(&RuleSet::built_in().unwrap());
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("EKS_DOCTOR_UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
        return;
    }
    let differs = made.lines().zip(there.lines()).position(|(a, b)| a != b);
    assert!(
        made == there,
        "docs/rules.md is stale from line {}; make it anew with\n  EKS_DOCTOR_UPDATE=1 cargo test --no-default-features \
         --test rules_page\nor\n  cargo run --no-default-features -- rules --format markdown > docs/rules.md",
        differs.unwrap_or(0) + 1
    );
}
