//! What nobody read makes a rule skip; it never makes one say an error. Every file of every healthy fixture is left out
//! once, and every kind of file.
//!
//! `EKS_DOCTOR_MISSING=text` leaves out only files whose path holds the text, and prints what was said.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::sync::Arc;

use eks_doctor::diagnostic::Severity;
use eks_doctor::snapshot::Snapshot;

#[test]
fn a_missing_read_is_no_error() {
    let wanted = std::env::var("EKS_DOCTOR_MISSING").unwrap_or_default();
    let rules = change::rules();
    let mut names: Vec<String> = std::fs::read_dir(change::fixtures())
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with("healthy"))
        .collect();
    names.sort();
    let (mut tried, mut wrong) = (0, Vec::new());
    for name in names {
        let documents = change::documents(&name);
        // A whole operation: all files of its folder.
        let mut gone: BTreeSet<String> = documents.iter().map(|(path, _)| path.clone()).collect();
        gone.extend(documents.iter().filter_map(|(path, _)| Some(format!("{}/", path.rsplit_once('/')?.0))));
        for gone in gone.iter().filter(|g| g.contains(&wanted) && !g.starts_with("manifest") && *g != "k8s/") {
            let kept: Vec<(String, String)> = documents
                .iter()
                .filter(|(path, _)| path != gone && !(gone.ends_with('/') && path.starts_with(gone)))
                .cloned()
                .collect();
            // Without the cluster itself nothing can be checked.
            let Ok(report) = eks_doctor::diagnose(&Arc::new(Snapshot::from_documents(kept)), &rules, None) else {
                continue;
            };
            tried += 1;
            for f in report.findings.iter().filter(|f| f.severity == Severity::Error) {
                wrong.push(format!("{name} without {gone}: [{}] {}: {}", f.rule, f.resource.id, f.message));
            }
            if !wanted.is_empty() {
                let told = report.findings.iter().map(|f| format!("\n  {:?} [{}] {}", f.severity, f.rule, f.message));
                println!("{name} without {gone}: {} skipped{}", report.skipped.len(), told.collect::<String>());
            }
        }
    }
    println!("{tried} snapshots with something missing");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
