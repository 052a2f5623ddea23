//! What nobody looked at is no fault: each file of the healthy fixtures left out alone.

#![allow(clippy::unwrap_used)]

mod change;

use std::sync::Arc;

use eks_doctor::diagnostic::{Issue, Severity};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;

#[test]
fn a_file_that_is_missing_is_no_fault_of_pods_addresses() {
    let rules = RuleSet::built_in().unwrap();
    let mut said = Vec::new();
    for base in [
        "healthy",
        "healthy-private",
        "healthy-custom-networking",
        "healthy-prefix",
        "healthy-pod-groups",
        "healthy-fargate",
        "healthy-ipv6",
        "healthy-karpenter",
        "healthy-auto-mode",
    ] {
        let all = change::documents(base);
        for (left_out, _) in &all {
            let snapshot =
                Arc::new(Snapshot::from_documents(all.iter().filter(|(path, _)| path != left_out).cloned().collect()));
            let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
            let loud = report.findings.iter().filter(|f| f.severity != Severity::Info);
            said.extend(
                loud.filter(|f| f.issue == Issue::PodsGetNoIp)
                    .map(|f| format!("{base} without {left_out}: {:?} {}: {}", f.severity, f.rule, f.message)),
            );
        }
    }
    assert!(said.is_empty(), "{}", said.join("\n"));
}
