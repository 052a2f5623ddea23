//! What cannot be read is never taken for what is not there: each file of the healthy fixtures is cut, and one object in
//! it is made unreadable. No error may be said, and no rule that reads the file may pass.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::sync::Arc;

use eks_doctor::diagnostic::{Report, Severity};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::{Snapshot, TABLES};
use serde_json::Value;

/// Every healthy fixture.
fn healthy() -> Vec<String> {
    let folders = std::fs::read_dir(change::fixtures()).unwrap();
    let mut names: Vec<String> = folders.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("healthy"));
    names.sort();
    names
}

/// One file of each operation: what is asked once for each argument is damaged once.
fn one_of_each(documents: &[(String, String)]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let kind = |path: &str| path.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    (0..documents.len()).filter(|&i| documents[i].0 != "manifest.json" && seen.insert(kind(&documents[i].0))).collect()
}

/// The document with its first object made a number, if it holds one.
fn with_a_bad_object(text: &str) -> Option<String> {
    let mut document: Value = serde_json::from_str(text).unwrap();
    let keys = document.as_object_mut()?;
    let objects = |v: &&mut Value| v.is_object() || v.as_array().is_some_and(|a| !a.is_empty());
    // The metadata of an empty Kubernetes list is nobody's.
    let objects = keys.iter_mut().filter(|(key, _)| *key != "metadata").map(|(_, v)| v).find(objects)?;
    match objects {
        Value::Array(list) => list[0] = Value::from(7),
        object => *object = Value::from(7),
    }
    Some(document.to_string())
}

fn check(documents: Vec<(String, String)>, rules: &RuleSet) -> (Arc<Snapshot>, Option<Report>) {
    let snapshot = Arc::new(Snapshot::from_documents(documents));
    let report = eks_doctor::diagnose(&snapshot, rules, None).ok();
    (snapshot, report)
}

#[test]
fn damaged_files_make_rules_skip() {
    let rules = RuleSet::built_in().unwrap();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for fixture in healthy() {
        let documents = change::documents(&fixture);
        let (_, whole) = check(documents.clone(), &rules);
        let whole = whole.expect("a healthy fixture can be checked");
        for index in one_of_each(&documents) {
            let (path, text) = &documents[index];
            let cut = text.get(..text.len() / 2).map(str::to_owned);
            for (how, damaged) in [("cut", cut), ("an object replaced", with_a_bad_object(text))] {
                let Some(damaged) = damaged else { continue };
                tried += 1;
                let mut documents = documents.clone();
                documents[index].1 = damaged;
                let (snapshot, report) = check(documents, &rules);
                let at = format!("{fixture}: {path}: {how}");
                if !snapshot.problems.iter().any(|p| p.file == *path) {
                    wrong.push(format!("{at}: nobody says so"));
                }
                // Without the cluster itself there may be nothing to check.
                let Some(report) = report else { continue };
                for finding in report.findings.iter().filter(|f| f.severity == Severity::Error) {
                    wrong.push(format!("{at}: [{}] {}", finding.rule, finding.message));
                }
                // Rules of what can be told of the file must not pass.
                let tables = TABLES.iter().filter(|t| snapshot.partial(t.read).is_some()).map(|t| t.read);
                let reads: BTreeSet<&str> = tables.collect();
                for rule in rules.rules.iter().filter(|r| r.reads.iter().any(|read| reads.contains(read))) {
                    let said = report.skipped.iter().any(|s| s.rule == rule.id)
                        || report.findings.iter().any(|f| f.rule == rule.id);
                    if !said {
                        wrong.push(format!("{at}: [{}] passes", rule.id));
                    }
                }
                if report.passed > whole.passed {
                    wrong.push(format!("{at}: {} rules pass instead of {}", report.passed, whole.passed));
                }
            }
        }
    }
    println!("{tried} damaged files");
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
