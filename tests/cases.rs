//! Every rule fires where it should and nowhere else: `fixtures/cases/<rule-id>[.<variant>].yaml`.
//!
//! `EKS_DOCTOR_CASES=name,name` runs those whose names start so, and prints all that was said.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeSet;
use std::path::Path;

use change::Change;
use eks_doctor::diagnostic::{Diagnostic, Report, Severity};
use eks_doctor::rule::test;
use rayon::prelude::*;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The folder in `fixtures/`.
    base: String,
    #[serde(default)]
    changes: Vec<Change>,
    expect: Expect,
    /// No other error than the expected one.
    #[serde(default = "yes")]
    alone: bool,
    /// What happens here, and where it was reported.
    why: String,
}
fn yes() -> bool {
    true
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    rule: String,
    severity: Option<Severity>,
    /// Each is named by the finding, its fixes aside.
    mention: Vec<String>,
    /// No error and no warning at all.
    silent: bool,
    /// A rule that says nothing here; others may.
    passes: String,
    /// A rule that cannot be decided, because the read `missing` is not there.
    skipped: String,
    missing: String,
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for f in &report.findings {
        text += &format!("\n    {:?} [{}] {} {}: {}", f.severity, f.rule, f.resource.kind, f.resource.id, f.message);
    }
    for s in &report.skipped {
        let missing: Vec<String> = s.missing.iter().map(ToString::to_string).collect();
        text += &format!("\n    skipped [{}] {}", s.rule, missing.join(", "));
    }
    text
}

/// What is wrong with a case, if anything.
fn judge(case: &Case, report: &Report) -> Vec<String> {
    let expect = &case.expect;
    let mut wrong = Vec::new();
    let mut expected: Option<&Diagnostic> = None;
    if !expect.rule.is_empty() {
        let wanted =
            test::Expect { severity: expect.severity, mention: expect.mention.clone(), ..test::Expect::default() };
        expected = report.findings.iter().find(|f| f.rule == expect.rule && test::misses(&wanted, f).is_empty());
        wrong.extend(test::judge(&expect.rule, &wanted, report).iter().map(|w| format!("[{}] {w}", expect.rule)));
    }
    if !expect.passes.is_empty() {
        let passes = test::Expect { outcome: test::Outcome::Passes, ..test::Expect::default() };
        wrong.extend(test::judge(&expect.passes, &passes, report).iter().map(|w| format!("[{}] {w}", expect.passes)));
    }
    if expect.silent {
        let loud = report.findings.iter().filter(|f| f.severity != Severity::Info).count();
        if loud > 0 {
            wrong.push("should be silent".to_owned());
        }
    }
    if !expect.skipped.is_empty() {
        let wanted = test::Expect {
            outcome: test::Outcome::Skipped,
            missing: Some(expect.missing.clone()),
            ..test::Expect::default()
        };
        wrong.extend(test::judge(&expect.skipped, &wanted, report).iter().map(|w| format!("[{}] {w}", expect.skipped)));
    }
    if case.alone {
        for f in &report.findings {
            if f.severity == Severity::Error && !expected.is_some_and(|e| std::ptr::eq(e, f)) {
                wrong.push(format!("another error: [{}] {}", f.rule, f.resource.id));
            }
        }
    }
    wrong
}

#[test]
fn every_case_is_judged_rightly() {
    let wanted = std::env::var("EKS_DOCTOR_CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|w| !w.is_empty()).collect();
    let rules = change::rules();
    let mut failures = Vec::new();
    let mut fired = BTreeSet::new();
    for rule in &rules.rules {
        for symptom in &rule.explains {
            if !rules.rules.iter().any(|r| r.id == *symptom && r.symptom) {
                failures.push(format!("[{}] explains {symptom}, which is no symptom", rule.id));
            }
        }
    }
    let (mut cases, mut run): (Vec<(String, Case)>, usize) = (Vec::new(), 0);
    for (name, text) in change::case_files() {
        if wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w)) {
            run += 1;
            match serde_saphyr::from_str(&text) {
                Ok(case) => cases.push((name, case)),
                Err(error) => failures.push(format!("{name}: {error}")),
            }
        }
    }
    let bases = change::bases(cases.iter().map(|(_, case)| &case.base));
    // What is wrong with each case, and the rule that fired as expected.
    let tried = |(name, case): &(String, Case)| {
        let mut failures = Vec::new();
        if case.why.trim().is_empty() {
            failures.push(format!("{name}: `why` is empty"));
        }
        let id = name.split('.').next().unwrap_or_default().to_owned();
        for rule in [&id, &case.expect.rule, &case.expect.skipped] {
            if !rule.is_empty() && !rules.rules.iter().any(|r| r.id == *rule) {
                failures.push(format!("{name}: no rule {rule}"));
            }
        }
        let snapshot = match change::changed(&bases[&case.base], &case.changes) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                return (failures, None);
            }
        };
        let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
        let wrong = judge(case, &report);
        let fired = Some(case.expect.rule.clone()).filter(|rule| wrong.is_empty() && !rule.is_empty());
        if !wrong.is_empty() {
            failures.push(format!("{name}: {} ({})\n  said:{}", wrong.join("; "), case.why.trim(), told(&report)));
        }
        if !wanted.is_empty() {
            println!("{name}:{}", told(&report));
        }
        for f in &report.findings {
            for command in f.fixes.iter().flat_map(|fix| &fix.commands) {
                if let Some(fault) = unfit(command) {
                    failures.push(format!("{name}: [{}] `{command}`: {fault}", f.rule));
                }
            }
        }
        (failures, fired)
    };
    let results: Vec<_> = cases.par_iter().map(tried).collect();
    for (wrong, rule) in results {
        failures.extend(wrong);
        fired.extend(rule);
    }
    println!("{run} cases, {} failures", failures.len());
    if wanted.is_empty() {
        for rule in &rules.rules {
            if !fired.contains(&rule.id) {
                failures.push(format!("[{}] has no case in which it fires", rule.id));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Why a command is not ready to paste.
fn unfit(command: &str) -> Option<&'static str> {
    let tools = ["aws ", "kubectl ", "eksctl ", "helm ", "curl ", "eks-doctor ", "#"];
    // What has to be done on a machine itself says so with sudo.
    if !tools.iter().any(|t| command.starts_with(t)) && !command.contains("sudo ") {
        Some("a command starts with aws, kubectl, eksctl, helm, curl or eks-doctor, a remark with #")
    } else if command.replace("{{EC2PrivateDNSName}}", "").contains("{{") {
        // The authenticator fills in EC2PrivateDNSName itself.
        Some("something was not filled in")
    } else if command.starts_with("aws ") && repeats_option(command) {
        Some("an option is given twice")
    } else if lacks_region(command) {
        Some("asks whatever Region is set")
    } else if command.contains("null") && !command.contains("\"null\"") && command.contains(" null") {
        Some("a value that is not there")
    } else {
        None
    }
}

/// IAM is the same in every Region.
fn lacks_region(command: &str) -> bool {
    let mut calls = command.split("aws ").skip(1).filter(|call| !call.starts_with("iam "));
    // Words like `amazonaws ` and remarks are no calls.
    command.starts_with("aws ") && calls.any(|call| call.contains(" --") && !call.contains("--region "))
}

/// The AWS CLI takes the last of two, so one of them is wrong.
fn repeats_option(command: &str) -> bool {
    let mut seen = BTreeSet::new();
    // What stands in `$( )` is a command of its own.
    let outer = command.split_once("$(").map_or(command, |(outer, _)| outer);
    outer.split_whitespace().filter(|word| word.starts_with("--")).any(|option| !seen.insert(option))
}

#[derive(Debug, serde::Deserialize)]
struct RuleFile {
    #[serde(default)]
    title: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    because: String,
    #[serde(default)]
    fixes: Vec<FixFile>,
    #[serde(default)]
    docs: String,
}
#[derive(Debug, serde::Deserialize)]
struct FixFile {
    #[serde(default)]
    title: String,
    #[serde(default)]
    commands: Vec<String>,
}

#[test]
fn every_rule_explains_itself_and_how_to_mend_it() {
    let mut wrong = Vec::new();
    for issue in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).unwrap() {
        let issue = issue.unwrap().path();
        for file in std::fs::read_dir(&issue).into_iter().flatten() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|e| e != "yaml") {
                continue;
            }
            let id = path.file_stem().unwrap().to_string_lossy().into_owned();
            let rule: RuleFile = match serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()) {
                Ok(rule) => rule,
                Err(error) => {
                    wrong.push(format!("{id}: {error}"));
                    continue;
                }
            };
            let mut says = |bad: bool, what: &str| {
                if bad {
                    wrong.push(format!("{id}: {what}"));
                }
            };
            says(rule.title.trim().is_empty(), "has no title");
            says(
                rule.title.ends_with('.') || rule.message.trim_end().ends_with('.'),
                "title and message end without a full stop",
            );
            says(rule.because.trim().is_empty(), "does not say why it matters");
            says(!rule.docs.starts_with("https://"), "docs is no https:// address");
            says(!rule.fixes.iter().any(|f| !f.commands.is_empty()), "has no fix with a command");
            says(rule.fixes.iter().any(|f| f.title.trim().is_empty()), "has a fix without a title");
            for command in rule.fixes.iter().flat_map(|f| &f.commands) {
                // One that is an expression is looked at where it fires.
                says(command.starts_with("aws ") && repeats_option(command), command);
                says(!command.starts_with("{{") && unfit(command).is_some_and(|u| u.starts_with("a command")), command);
            }
            // What changes something stands in a fix, where it can be seen as such.
            let text = format!("{} {}", rule.message, rule.because);
            for verb in [
                "kubectl apply",
                "kubectl delete",
                "kubectl edit",
                "kubectl patch",
                "kubectl set",
                "aws ec2 ",
                "aws eks ",
                "aws iam ",
            ] {
                says(text.contains(verb), &format!("`{verb}` belongs in a fix"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
