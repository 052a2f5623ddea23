//! One fault, one error: breaks one thing at a time in every healthy fixture (`fixtures/faults.yaml`) and counts.
//!
//! `EKS_DOCTOR_FAULTS=text` runs those whose name holds the text, and prints all that was said.

#![allow(clippy::unwrap_used)]

mod change;

use change::Change;
use eks_doctor::diagnostic::Severity;
use rayon::prelude::*;

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
    let bases = change::bases(faults.iter().flat_map(|fault| &fault.bases));
    let pairs = faults.iter().filter(|f| f.name.contains(&wanted)).flat_map(|f| f.bases.iter().map(move |b| (f, b)));
    let gap = |(fault, base): (&Fault, &String)| {
        let snapshot = change::changed(&bases[base], &fault.changes);
        let snapshot = snapshot.unwrap_or_else(|e| panic!("{} on {base}: {e}", fault.name));
        let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
        let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
        let errors: Vec<String> = errors
            .map(|f| format!("\n    [{}] {} {}: {}", f.rule, f.resource.kind, f.resource.id, f.message))
            .collect();
        if !wanted.is_empty() {
            println!("{} on {base}:{}", fault.name, errors.concat());
        }
        let (count, worth) = (errors.len(), fault.errors);
        let gap = || format!("{} on {base}: {count} errors instead of {worth}{}", fault.name, errors.concat());
        (count != worth).then(gap)
    };
    let results: Vec<Option<String>> = pairs.collect::<Vec<_>>().into_par_iter().map(gap).collect();
    let tried = results.len();
    let gaps: Vec<String> = results.into_iter().flatten().collect();
    let right = tried - gaps.len();
    println!("{right} faults on fixtures right, {} with another number of errors than they are worth", gaps.len());
    assert!(gaps.is_empty(), "\n{}", gaps.join("\n"));
}
