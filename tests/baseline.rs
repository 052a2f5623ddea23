//! A baseline: only what is new counts, by fingerprints that nothing else changes.

#![allow(clippy::unwrap_used)]

mod change;
mod run;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use change::Change;
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;
use proptest::prelude::*;
use run::{Folder, eks_doctor};

const BROKEN: &str = "fixtures/nacl-drops-dns";

#[test]
fn only_new_findings_count() {
    let folder = Folder::new("baseline");
    let file = folder.at("baseline.json");
    let check = |snapshot: &str, more: &[&str]| {
        let mut arguments = vec!["check", "--snapshot", snapshot, "--baseline", &file];
        arguments.extend(more);
        let mut ran = eks_doctor(&arguments);
        ran.forget(&folder);
        ran
    };
    let ran = check(BROKEN, &[]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err, "error: DIR/baseline.json: no such file; `--update-baseline` makes it\n");

    // Nothing is known in the baseline of a cluster that works.
    assert_eq!(check("fixtures/healthy", &["--update-baseline"]).code, 0);
    let empty = folder.read("baseline.json");
    let ran = check(BROKEN, &["--format", "json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.json()["findings"][0].get("known").is_none());
    assert_eq!(folder.read("baseline.json"), empty, "only --update-baseline writes");

    let ran = check(BROKEN, &["--update-baseline", "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = folder.read("baseline.json");
    insta::assert_snapshot!(text);
    let ran = check(BROKEN, &["--format", "json"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.json()["findings"][0]["known"], true);
    assert_eq!(ran.json()["baseline"]["gone"].as_array().unwrap().len(), 0);
    for (format, wanted) in [
        ("text", "in the baseline"),
        ("sarif", "\"baselineState\": \"unchanged\""),
        ("junit", "in the baseline"),
        ("markdown", "in the baseline"),
        ("github", "in the baseline"),
    ] {
        let ran = check(BROKEN, &["--format", format]);
        assert!(ran.code == 0 && ran.out.contains(wanted), "{format}: {}", ran.out);
    }

    // It went.
    let ran = check("fixtures/healthy", &[]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("Gone since DIR/baseline.json (1)"), "{}", ran.out);
    // What is not looked at has not gone, and is kept.
    let ran = check("fixtures/healthy", &["--only", "pods-get-no-ip", "--update-baseline"]);
    assert!(!ran.out.contains("Gone"), "{}", ran.out);
    assert_eq!(folder.read("baseline.json"), text);
    let ran = check("fixtures/healthy", &["--update-baseline"]);
    assert!(ran.out.contains("Gone since"), "{}", ran.out);
    assert_eq!(folder.read("baseline.json"), empty);
    let ran = check("fixtures/healthy-private", &["--format", "json"]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.json()["warnings"][0].as_str().unwrap().starts_with("DIR/baseline.json is the baseline of arn:aws:eks")
    );
}

#[test]
fn broken_baselines_have_a_place_and_are_left_alone() {
    let folder = Folder::new("broken");
    let snapshot = std::fs::canonicalize(BROKEN).unwrap().to_string_lossy().into_owned();
    let mut all = String::new();
    for text in [
        "",
        "{",
        "[]",
        "{\"format\": 1}",
        "{\"format\": 2, \"more\": []}",
        "{\"format\": 1, \"cluster\": \"a\",\n \"findings\": [{\"rule\": 1}]}",
        "{\"format\": 1, \"cluster\": \"a\", \"findings\": [], \"more\": 1}",
    ] {
        folder.write("baseline.json", text);
        for more in [&[][..], &["--update-baseline"]] {
            let arguments = [&["check", "--snapshot", &snapshot, "--baseline", "baseline.json"], more].concat();
            let ran = run::with(&arguments, &[], Some(folder.path()));
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{text}");
            assert_eq!(folder.read("baseline.json"), text);
            if more.is_empty() {
                all += &format!("{text}\n---\n{}\n", ran.err);
            }
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn nothing_is_half_written() {
    let folder = Folder::new("half");
    let (baseline, report) = (folder.at("baseline.json"), folder.at("report.sarif"));
    let sarif = format!("sarif={report}");
    let nowhere = folder.at("nowhere/baseline.json");
    for (baseline, outputs, wanted) in [
        (nowhere.as_str(), vec!["--format", &sarif], "nowhere"),
        (&report, vec!["--format", &sarif], "two outputs to one file"),
        (&baseline, vec!["--format", &sarif, "--format", &sarif], "two outputs to one file"),
        (&baseline, vec!["--format", &sarif, "--format", "json=nowhere/report.json"], "nowhere/report.json"),
        (&baseline, vec!["--format", "text", "--format", "json"], "standard output"),
    ] {
        let arguments =
            [&["check", "--snapshot", BROKEN, "--update-baseline", "--baseline", baseline], &*outputs].concat();
        let ran = eks_doctor(&arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: ") && ran.err.contains(wanted), "{}", ran.err);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // A snapshot that cannot be read to its end is no base for a baseline.
    folder.write("snapshot/aws/ec2/describe-vpcs.json", "{\"Vpcs\": [");
    folder.write("snapshot/subnets.json", "{\"Subnets\": []}");
    let snapshot = folder.at("snapshot");
    let ran = eks_doctor(&["check", "--snapshot", &snapshot, "--update-baseline", "--baseline", &baseline]);
    assert_eq!(ran.code, 2);
    assert!(!std::path::Path::new(&baseline).exists());
}

/// Faults that are far from each other, and changes that are none.
const FAULTS: [&str; 4] = [
    r#"{file: aws/ec2/describe-vpc-attribute/*.enableDnsSupport.json, set: /EnableDnsSupport/Value, to: false}"#,
    r#"{file: k8s/services.json, set: '/items[metadata.name=web]/spec/selector', to: {app: nothing}}"#,
    r#"{file: aws/iam/list-attached-role-policies/*-node.json, remove: '/AttachedPolicies[PolicyName=AmazonEKS_CNI_Policy]'}"#,
    r#"{file: k8s/deployments.apps.json, set: '/items[metadata.name=aws-load-balancer-controller]/spec/replicas', to: 0}"#,
];
const NO_FAULTS: [&str; 4] = [
    r#"{file: aws/ec2/describe-subnets.json, add: /Subnets/0/Tags/-, value: {Key: note, Value: x}}"#,
    r#"{file: k8s/nodes.json, set: /items/0/metadata/labels/note, to: x}"#,
    r#"{file: aws/ec2/describe-security-groups.json, set: /SecurityGroups/0/Description, to: another}"#,
    r#"{file: aws/ec2/describe-subnets.json, set: /Subnets/0/AvailableIpAddressCount, to: 3000}"#,
];

fn changes(texts: &[&str], chosen: &[bool]) -> Vec<Change> {
    texts.iter().zip(chosen).filter(|(_, on)| **on).map(|(text, _)| serde_saphyr::from_str(text).unwrap()).collect()
}

fn fingerprints(documents: Vec<(String, String)>) -> BTreeSet<String> {
    static RULES: OnceLock<RuleSet> = OnceLock::new();
    let rules = RULES.get_or_init(|| RuleSet::built_in().unwrap());
    let report = eks_doctor::diagnose(&Arc::new(Snapshot::from_documents(documents)), rules, None).unwrap();
    let all: BTreeSet<String> = report.findings.iter().map(|f| f.fingerprint.clone()).collect();
    assert_eq!(all.len(), report.findings.len(), "a fingerprint is of one finding");
    all
}

/// The objects of every list in another order.
fn turned(value: &mut serde_json::Value, by: usize) {
    if let serde_json::Value::Object(map) = value {
        for list in map.values_mut() {
            if let serde_json::Value::Array(list) = list {
                let by = by % list.len().max(1);
                list.rotate_left(by);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The fingerprints of several faults are those of each alone, whatever else is changed and in whatever order.
    #[test]
    fn fingerprints_are_of_the_fault_alone(
        faults in prop::collection::vec(any::<bool>(), 4),
        others in prop::collection::vec(any::<bool>(), 4),
        by in 0..50_usize,
    ) {
        static BASE: OnceLock<Vec<(String, String)>> = OnceLock::new();
        static ALONE: OnceLock<Vec<BTreeSet<String>>> = OnceLock::new();
        let base = BASE.get_or_init(|| change::documents("healthy"));
        let one = |changes: &[Change]| change::applied(base, changes).unwrap();
        let alone = ALONE.get_or_init(|| {
            FAULTS.iter().map(|fault| fingerprints(one(&changes(&[fault], &[true])))).collect()
        });
        // What is said of the fixture itself, which is no fault, stays.
        static ITSELF: OnceLock<BTreeSet<String>> = OnceLock::new();
        let itself = ITSELF.get_or_init(|| fingerprints(base.clone()));
        let of_faults = alone.iter().zip(&faults).filter(|(_, on)| **on).flat_map(|(set, _)| set.clone());
        let wanted: BTreeSet<String> = itself.iter().cloned().chain(of_faults).collect();
        let mut documents = one(&[changes(&FAULTS, &faults), changes(&NO_FAULTS, &others)].concat());
        for (path, text) in &mut documents {
            if path != "manifest.json" {
                let mut value = serde_json::from_str(text).unwrap();
                turned(&mut value, by);
                *text = value.to_string();
                *path = format!("{}-{path}", by % 7);
            }
        }
        documents.reverse();
        prop_assert_eq!(fingerprints(documents), wanted);
    }
}
