//! The fixtures: they are what the generator writes, and no rule has anything to say about those that work.

#![allow(clippy::unwrap_used)]

mod change;
mod estate;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use eks_doctor::diagnostic::Severity;
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;
use estate::{Estate, Mode, Options};

#[test]
fn fixtures_are_what_the_generator_writes() {
    for (name, options) in estate::fixtures() {
        let made: BTreeMap<String, String> = Estate::new(options).documents().into_iter().collect();
        let there: BTreeMap<String, String> = change::documents(name).into_iter().collect();
        let help = "write them anew: cargo run --no-default-features --example estate -- --fixtures";
        assert_eq!(
            made.keys().collect::<Vec<_>>(),
            there.keys().collect::<Vec<_>>(),
            "fixtures/{name}: other files; {help}"
        );
        for (path, text) in &made {
            assert!(there[path] == *text, "fixtures/{name}/{path} differs; {help}");
        }
    }
}

#[test]
fn the_generator_is_deterministic_in_both_styles() {
    let compact = |nodes| Estate::new(Options { nodes, compact: true, ..Options::default() }).documents();
    assert_eq!(compact(7), compact(7));
    let indented = Estate::new(Options { nodes: 7, ..Options::default() }).documents();
    for ((path, short), (_, long)) in compact(7).iter().zip(&indented) {
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(short), parse(long), "{path}");
    }
}

#[test]
fn names_and_addresses_of_a_big_estate_are_its_own() {
    let estate = Estate::new(Options { nodes: 1500, pods_per_node: 4, compact: true, ..Options::default() });
    for file in ["k8s/pods.json", "k8s/services.json", "k8s/endpointslices.discovery.k8s.io.json"] {
        let (_, text) = estate.documents_of(file);
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for item in list["items"].as_array().unwrap() {
            let meta = &item["metadata"];
            assert!(seen.insert(format!("{}/{}", meta["namespace"], meta["name"])), "{file}: {} twice", meta["name"]);
            for address in [&item["spec"]["clusterIP"], &item["status"]["podIP"]] {
                let own = item["spec"]["hostNetwork"] != true && address.is_string();
                assert!(!own || seen.insert(address.to_string()), "{file}: {address} twice");
            }
        }
        assert!(!seen.is_empty());
    }
}

/// The program's own text, as somebody sees it in a terminal of no colours.
#[test]
fn the_whole_report_of_each_fixture() {
    // How many checks passed changes with each new rule.
    let passed = regex::Regex::new(r"\d+( checks)? passed").unwrap();
    for (name, _) in estate::fixtures() {
        let ran = run::eks_doctor(&["check", "--snapshot", &format!("fixtures/{name}"), "--no-config"]);
        assert_eq!(ran.code, i32::from(!name.starts_with("healthy")), "{name}: {}", ran.err);
        let told = passed.replace_all(&ran.out, "N$1 passed").into_owned();
        insta::with_settings!({prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(format!("report-{name}"), told);
        });
    }
}

/// Errors and warnings about a snapshot.
fn complaints(documents: Vec<(String, String)>, rules: &RuleSet) -> Vec<String> {
    let snapshot = Arc::new(Snapshot::from_documents(documents));
    assert!(snapshot.problems.is_empty(), "{:#?}", snapshot.problems);
    let report = eks_doctor::diagnose(&snapshot, rules, None).unwrap();
    report
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Info)
        .map(|f| format!("{:?} {} {}: {}", f.severity, f.rule, f.resource.id, f.message))
        .collect()
}

#[test]
fn rules_are_silent_on_what_works() {
    let rules = RuleSet::built_in().unwrap();
    let mut said = Vec::new();
    for (name, _) in estate::fixtures().iter().filter(|(name, _)| name.starts_with("healthy")) {
        said.extend(complaints(change::documents(name), &rules).into_iter().map(|c| format!("{name}: {c}")));
    }
    // Other sizes and modes than the fixtures have.
    for (mode_name, mode) in Mode::ALL {
        for (nodes, pods_per_node) in [(1, 1), (2, 30), (12, 12)] {
            let estate = Estate::new(Options {
                mode,
                nodes,
                pods_per_node,
                region: "eu-central-1".to_owned(),
                ..Options::default()
            });
            said.extend(
                complaints(estate.documents(), &rules)
                    .into_iter()
                    .map(|c| format!("{mode_name} {nodes}x{pods_per_node}: {c}")),
            );
        }
    }
    assert!(said.is_empty(), "{}", said.join("\n"));
}
