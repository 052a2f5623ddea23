//! What cannot be read is never taken for what is not there: each file of the healthy fixtures is cut, and one object in
//! it is made unreadable. No error may be said, and no rule that reads the file may pass.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::sync::Arc;

use eks_doctor::diagnostic::{Report, Severity};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::{Snapshot, TABLES};
use rayon::prelude::*;
use serde_json::Value;

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

/// What is wrong with what is said of the documents when this one is damaged so.
fn faults(
    documents: &[(String, String)],
    index: usize,
    damaged: String,
    whole: &Report,
    rules: &RuleSet,
) -> Vec<String> {
    let mut documents = documents.to_vec();
    documents[index].1 = damaged;
    let path = documents[index].0.clone();
    let (snapshot, report) = check(documents, rules);
    let mut wrong = Vec::new();
    if !snapshot.problems.iter().any(|p| p.file == *path) {
        wrong.push("nobody says so".to_owned());
    }
    // Without the cluster itself there may be nothing to check.
    let Some(report) = report else { return wrong };
    for finding in report.findings.iter().filter(|f| f.severity == Severity::Error) {
        wrong.push(format!("[{}] {}", finding.rule, finding.message));
    }
    // Rules of what can be told of the file must not pass.
    let tables = TABLES.iter().filter(|t| snapshot.partial(t.read).is_some()).map(|t| t.read);
    let reads: BTreeSet<&str> = tables.collect();
    for rule in rules.rules.iter().filter(|r| r.reads.iter().any(|read| reads.contains(read))) {
        let said =
            report.skipped.iter().any(|s| s.rule == rule.id) || report.findings.iter().any(|f| f.rule == rule.id);
        if !said {
            wrong.push(format!("[{}] passes", rule.id));
        }
    }
    if report.passed > whole.passed {
        wrong.push(format!("{} rules pass instead of {}", report.passed, whole.passed));
    }
    wrong
}

#[test]
fn damaged_files_make_rules_skip() {
    let rules = RuleSet::built_in().unwrap();
    let fixtures = change::healthy();
    let tried: Vec<Vec<String>> = fixtures
        .par_iter()
        .flat_map(|(fixture, documents)| {
            let (_, whole) = check(documents.clone(), &rules);
            let whole = whole.expect("a healthy fixture can be checked");
            let rules = &rules;
            one_of_each(documents).into_par_iter().flat_map_iter(move |index| {
                let (path, text) = &documents[index];
                let cut = text.get(..text.len() / 2).map(str::to_owned);
                let ways = [("cut", cut), ("an object replaced", with_a_bad_object(text))];
                let tried = ways.into_iter().filter_map(|(how, damaged)| {
                    let wrong = faults(documents, index, damaged?, &whole, rules);
                    Some(wrong.into_iter().map(|w| format!("{fixture}: {path}: {how}: {w}")).collect())
                });
                tried.collect::<Vec<_>>()
            })
        })
        .collect();
    println!("{} damaged files", tried.len());
    let wrong = tried.concat();
    assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
