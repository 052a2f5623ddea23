//! What nobody looked at is no fault: without any one of its files a healthy fixture gives skips and no error.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;

use eks_doctor::diagnostic::Severity;
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;

/// The files of each operation, and one file alone where an operation has several.
fn removals(documents: &[(String, String)]) -> Vec<Vec<String>> {
    let mut operations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, _) in documents {
        let parts: Vec<&str> = path.split('/').collect();
        operations.entry(parts[..parts.len().min(3)].join("/")).or_default().push(path.clone());
    }
    let mut all = Vec::new();
    for files in operations.into_values() {
        if files.len() > 1 {
            all.push(files[..1].to_vec());
        }
        all.push(files);
    }
    all
}

#[test]
fn a_missing_file_is_no_error() {
    let rules = RuleSet::built_in().unwrap();
    let mut fixtures: Vec<String> = std::fs::read_dir(change::fixtures())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("healthy"))
        .collect();
    fixtures.sort();
    assert!(fixtures.len() >= 7, "{fixtures:?}");
    let said = |fixture: &String| {
        let documents = change::documents(fixture);
        let mut said = Vec::new();
        let mut runs = 0;
        for gone in removals(&documents) {
            let left: Vec<_> = documents.iter().filter(|(path, _)| !gone.contains(path)).cloned().collect();
            let report = eks_doctor::diagnose(&Arc::new(Snapshot::from_documents(left)), &rules, None).unwrap();
            runs += 1;
            for f in report.findings.iter().filter(|f| f.severity == Severity::Error) {
                said.push(format!("{fixture} without {}: [{}] {}", gone[0], f.rule, f.message));
            }
        }
        (runs, said)
    };
    let results: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = fixtures.iter().map(|fixture| scope.spawn(|| said(fixture))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    println!("{} snapshots with something missing", results.iter().map(|(runs, _)| runs).sum::<usize>());
    let errors: Vec<String> = results.into_iter().flat_map(|(_, said)| said).collect();
    assert!(errors.is_empty(), "{} errors\n{}", errors.len(), errors.join("\n"));
}
