//! What nobody read makes a rule skip; it never makes one say an error or a warning. Every file of every healthy fixture
//! is left out once, and every operation with all its files.
//!
//! `EKS_DOCTOR_MISSING=text` leaves out only files whose path holds the text, and prints what was said.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::sync::Arc;

use eks_doctor::diagnostic::Severity;
use eks_doctor::snapshot::Snapshot;
use rayon::prelude::*;

/// What is left out, each time: a file, or a folder with the files of one operation (it ends in `/`).
fn removals(documents: &[(String, String)]) -> BTreeSet<String> {
    let mut gone: BTreeSet<String> = documents.iter().map(|(path, _)| path.clone()).collect();
    gone.extend(documents.iter().filter_map(|(path, _)| Some(format!("{}/", path.rsplit_once('/')?.0))));
    // A folder of several operations is none.
    gone.retain(|g| !g.starts_with("manifest") && (!g.ends_with('/') || g.split('/').count() > 3));
    gone
}

#[test]
fn what_was_left_out_is_no_fault() {
    let wanted = std::env::var("EKS_DOCTOR_MISSING").unwrap_or_default();
    let rules = change::rules();
    let bases = change::healthy();
    assert!(bases.len() >= 9, "{:?}", bases.keys());
    let runs: Vec<_> = bases
        .iter()
        .flat_map(|(name, documents)| removals(documents).into_iter().map(move |gone| (name, documents, gone)))
        .filter(|(_, _, gone)| gone.contains(&wanted))
        .collect();
    let said = |(name, documents, gone): &(&String, &Vec<(String, String)>, String)| {
        let kept: Vec<_> = documents
            .iter()
            .filter(|(path, _)| path != gone && !(gone.ends_with('/') && path.starts_with(gone.as_str())))
            .cloned()
            .collect();
        let report = eks_doctor::diagnose(&Arc::new(Snapshot::from_documents(kept)), &rules, None).unwrap();
        if !wanted.is_empty() {
            let told = report.findings.iter().map(|f| format!("\n  {:?} [{}] {}", f.severity, f.rule, f.message));
            println!("{name} without {gone}: {} skipped{}", report.skipped.len(), told.collect::<String>());
        }
        let loud = report.findings.iter().filter(|f| f.severity != Severity::Info);
        loud.map(|f| format!("{name} without {gone}: {:?} [{}] {}: {}", f.severity, f.rule, f.resource.id, f.message))
            .collect::<Vec<_>>()
    };
    let wrong: Vec<String> = runs.par_iter().flat_map_iter(said).collect();
    println!("{} snapshots with something missing", runs.len());
    assert!(wrong.is_empty(), "{} said\n{}", wrong.len(), wrong.join("\n"));
}
