//! One fault, one error: breaks one thing at a time in every healthy fixture (`fixtures/faults.yaml`) and counts.
//!
//! `EKS_DOCTOR_FAULTS=text` runs those whose name holds the text, and prints all that was said.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeMap;

use change::Change;
use eks_doctor::diagnostic::Severity;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    name: String,
    #[serde(default = "everywhere")]
    bases: Vec<String>,
    changes: Vec<Change>,
    /// How many errors it is worth.
    #[serde(default = "one")]
    errors: usize,
}
fn everywhere() -> Vec<String> {
    [
        "healthy",
        "healthy-private",
        "healthy-custom-networking",
        "healthy-prefix",
        "healthy-fargate",
        "healthy-pod-groups",
    ]
    .map(str::to_owned)
    .to_vec()
}
fn one() -> usize {
    1
}

#[test]
fn one_fault_is_one_error() {
    let wanted = std::env::var("EKS_DOCTOR_FAULTS").unwrap_or_default();
    let rules = change::rules();
    let text = std::fs::read_to_string(change::fixtures().join("faults.yaml")).unwrap();
    let faults: Vec<Fault> = serde_saphyr::from_str(&text).unwrap();
    let mut bases: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let (mut right, mut gaps) = (0, Vec::new());
    for fault in faults.iter().filter(|f| f.name.contains(&wanted)) {
        for base in &fault.bases {
            let documents = bases.entry(base.clone()).or_insert_with(|| change::documents(base));
            let snapshot =
                change::changed(documents, &fault.changes).unwrap_or_else(|e| panic!("{} on {base}: {e}", fault.name));
            let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
            let errors: Vec<String> = report
                .findings
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .map(|f| format!("\n    [{}] {} {}: {}", f.rule, f.resource.kind, f.resource.id, f.message))
                .collect();
            if errors.len() == fault.errors {
                right += 1;
            } else {
                gaps.push(format!(
                    "{} on {base}: {} errors instead of {}{}",
                    fault.name,
                    errors.len(),
                    fault.errors,
                    errors.concat()
                ));
            }
            if !wanted.is_empty() {
                println!("{} on {base}:{}", fault.name, errors.concat());
            }
        }
    }
    println!("{right} faults on fixtures right, {} with another number of errors than they are worth", gaps.len());
    assert!(gaps.is_empty(), "\n{}", gaps.join("\n"));
}
