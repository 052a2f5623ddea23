//! A redacted snapshot says the same about the network, and not whose it is.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::{Recording, Snapshot, redact};
use rayon::prelude::*;

/// What is said, names aside.
fn said(recording: Recording, rules: &RuleSet) -> Vec<String> {
    let report = eks_doctor::diagnose(&Arc::new(recording.load()), rules, None).unwrap();
    let mut lines: Vec<String> = Vec::new();
    for f in &report.findings {
        let places = f.evidence.len();
        lines.push(format!(
            "{:?} {} {} affects {} shows {places}",
            f.severity,
            f.rule,
            f.resource.kind,
            f.affected.len()
        ));
    }
    for s in &report.skipped {
        let reads: BTreeSet<&str> = s.missing.iter().map(|m| m.read.as_str()).collect();
        lines.push(format!("skipped {} {reads:?}", s.rule));
    }
    lines.push(format!("passed {}", report.passed));
    lines.sort();
    lines
}

/// Account ids and public addresses in a text.
fn telling(text: &str) -> BTreeSet<String> {
    // An account's id stands in ARNs, by itself, or in a host's name; the end of a UUID is none, and Amazon's registry
    // of images is nobody's secret.
    let mut found: BTreeSet<String> = text
        .split([':', '"', '/'])
        .map(|w| w.split('.').next().unwrap_or(w))
        .filter(|w| w.len() == 12 && w.bytes().all(|b| b.is_ascii_digit()) && *w != "602401143452")
        .map(str::to_owned)
        .collect();
    for run in text.split(|c: char| !c.is_ascii_hexdigit() && c != '.' && c != ':') {
        match run.parse::<IpAddr>() {
            Ok(IpAddr::V4(a)) => {
                let [first, second, ..] = a.octets();
                let special = a.is_private()
                    || a.is_loopback()
                    || a.is_link_local()
                    || first == 0
                    || first >= 224
                    || (first == 100 && second & 0xc0 == 64)
                    || (first == 198 && second & 0xfe == 18);
                if !special {
                    found.insert(run.to_owned());
                }
            }
            Ok(IpAddr::V6(a)) if a.segments()[0] & 0xe000 == 0x2000 => {
                found.insert(run.to_owned());
            }
            _ => {}
        }
    }
    found
}

/// Whether `name` stands in a text by itself.
fn names(text: &str, name: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(name)
        .any(|(at, _)| apart(text[..at].chars().next_back()) && apart(text[at + name.len()..].chars().next()))
}

fn holds(label: &str, recording: Recording, rules: &RuleSet) -> Vec<String> {
    let redacted = redact(&recording).unwrap();
    let mut wrong = Vec::new();
    let all = |r: &Recording| {
        let mut text: String = r.answers().map(|(path, text)| format!("{path}\n{text}\n")).collect();
        text.push_str(&serde_json::to_string(&r.manifest).unwrap());
        text
    };
    let (before, after) = (all(&recording), all(&redacted));
    for left in telling(&before).intersection(&telling(&after)) {
        wrong.push(format!("{label}: {left} is left"));
    }
    let snapshot = recording.clone().load();
    let mut whose: BTreeSet<String> = snapshot.tables.clusters.iter().map(|c| c.name.to_string()).collect();
    whose.extend(snapshot.tables.vpcs.iter().flat_map(|v| v.value.Tags.iter().map(|t| t.Value.to_string())));
    // One word of the field's own says nothing: `cluster`, `node`.
    for name in
        whose.iter().filter(|n| n.contains(|c: char| !c.is_alphanumeric()) || ["prod", "shop"].contains(&n.as_str()))
    {
        if names(&after, name) {
            wrong.push(format!("{label}: the name {name} is left"));
        }
    }
    let (before, after) = (said(recording, rules), said(redacted, rules));
    if before != after {
        let only =
            |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).cloned().collect::<Vec<_>>().join("\n  ");
        wrong.push(format!(
            "{label}: findings differ\n before:\n  {}\n after:\n  {}",
            only(&before, &after),
            only(&after, &before)
        ));
    }
    wrong
}

fn agree(folders: Vec<PathBuf>) {
    let rules = RuleSet::built_in().unwrap();
    let held = |folder: &PathBuf| holds(&folder.display().to_string(), Recording::read(folder).unwrap(), &rules);
    let wrong: Vec<String> = folders.par_iter().flat_map_iter(held).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), folders.len(), wrong.join("\n"));
}

fn folders(parent: &Path, below: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(parent).unwrap().map(|e| e.unwrap().path().join(below)).collect();
    found.retain(|f| f.join("aws").is_dir());
    found.sort();
    found
}

#[test]
fn fixtures_say_the_same() {
    let found = folders(&change::fixtures(), "");
    assert!(!found.is_empty());
    agree(found);
}

#[test]
fn worlds_say_the_same() {
    let shared = std::env::var_os("EKS_DOCTOR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if !shared.join("worlds").is_dir() {
        println!("skipped: ../shared/worlds is not there");
        return;
    }
    agree(folders(&shared.join("worlds"), "snapshot"));
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let folder = change::fixtures().join("nacl-drops-dns");
    let recording = Recording::read(&folder).unwrap();
    assert_eq!(redact(&recording).unwrap(), redact(&recording).unwrap());
    // Places stay, too: only strings changed.
    let lines = |r: &Recording| r.answers().map(|(_, text)| text.lines().count()).collect::<Vec<_>>();
    let (mut before, mut after) = (lines(&recording), lines(&redact(&recording).unwrap()));
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before, after);
    let redacted: Snapshot = redact(&recording).unwrap().load();
    assert!(redacted.problems.is_empty(), "{:?}", redacted.problems);
}
