//! The score on whole recorded worlds (`../shared/worlds`): right findings, unrelated errors, healthy silence.
//!
//! `EKS_DOCTOR_WORLDS=C022,H` runs those whose names start so, and prints what was said about them.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eks_doctor::diagnostic::{Diagnostic, Severity};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Expect {
    kind: String,
    issue: String,
    also_issues: Vec<String>,
    severity: String,
    mention: Vec<Vec<String>>,
    pattern: String,
    consequences: Vec<String>,
    why: String,
}

/// What a finding says, its fixes aside.
fn words(finding: &Diagnostic) -> String {
    let mut all = vec![finding.rule.clone(), finding.message.clone(), finding.because.clone()];
    for resource in finding.affected.iter().chain([&finding.resource]) {
        all.push(resource.id.clone());
        all.extend(resource.name.clone());
    }
    all.extend(finding.evidence.iter().map(|e| e.text.clone()));
    all.extend(finding.trace.iter().map(|t| serde_json::to_string(t).unwrap()));
    all.join("\n")
}

fn fits(finding: &Diagnostic, expect: &Expect) -> bool {
    let least = match expect.severity.as_str() {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    let words = words(finding);
    let pattern = regex::RegexBuilder::new(&expect.pattern).case_insensitive(true).build().unwrap();
    let issue = finding.issue.name();
    finding.severity <= least
        && (issue == expect.issue || expect.also_issues.iter().any(|i| i == issue))
        && expect.mention.iter().all(|group| group.iter().any(|m| words.contains(m.as_str())))
        && (expect.pattern.is_empty() || pattern.is_match(&finding.message) || pattern.is_match(&finding.because))
}

fn worlds() -> Option<PathBuf> {
    let shared = std::env::var_os("EKS_DOCTOR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    Some(shared.join("worlds")).filter(|p| p.is_dir())
}

#[test]
fn the_worlds_are_judged_rightly() {
    let Some(folder) = worlds() else {
        println!("skipped: ../shared/worlds is not there");
        return;
    };
    let wanted = std::env::var("EKS_DOCTOR_WORLDS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|w| !w.is_empty()).collect();
    let rules = RuleSet::built_in().unwrap();
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let (mut broken, mut right, mut unrelated, mut false_alarms) = (0, 0, 0, 0);
    for world in names.iter().filter(|w| w.is_dir()) {
        let name = world.file_name().unwrap().to_string_lossy().into_owned();
        if !wanted.is_empty() && !wanted.iter().any(|w| name.starts_with(w)) {
            continue;
        }
        let expect: Expect = serde_json::from_slice(&std::fs::read(world.join("expect.json")).unwrap()).unwrap();
        let snapshot = Arc::new(Snapshot::load(&world.join("snapshot")).unwrap());
        assert!(snapshot.problems.is_empty(), "{name}: {:?}", snapshot.problems);
        let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
        let fitting = expect.kind == "broken" && report.findings.iter().any(|f| fits(f, &expect));
        let others: Vec<&Diagnostic> = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error && !(expect.kind == "broken" && fits(f, &expect)))
            .filter(|f| !expect.consequences.iter().any(|c| words(f).contains(c.as_str())))
            .collect();
        let verdict = match expect.kind.as_str() {
            "broken" => {
                broken += 1;
                right += usize::from(fitting);
                unrelated += others.len();
                if fitting { "right" } else { "MISSED" }
            }
            kind => {
                false_alarms += others.len();
                if others.is_empty() { kind } else { "FALSE ALARM" }
            }
        };
        println!("{name} {verdict}");
        if verdict == "MISSED" {
            println!(
                "    wanted [{}]: {} (mention {:?}, pattern {})",
                expect.issue, expect.why, expect.mention, expect.pattern
            );
        }
        for other in others {
            println!("    unrelated error [{}] {}: {}", other.rule, other.resource.id, other.message);
        }
        if !wanted.is_empty() {
            for f in &report.findings {
                println!(
                    "    {:?} [{}] {} {}: {} | affected {}",
                    f.severity,
                    f.rule,
                    f.resource.kind,
                    f.resource.id,
                    f.message,
                    f.affected.len()
                );
            }
            for s in &report.skipped {
                println!("    skipped [{}] {:?} {:?}", s.rule, s.resource.as_ref().map(|r| &r.id), s.missing);
            }
        }
    }
    println!(
        "{right} of {broken} broken worlds right, {unrelated} unrelated errors, {false_alarms} errors on healthy or unknown worlds"
    );
    if wanted.is_empty() {
        assert_eq!(false_alarms, 0);
    }
}
