//! The report as JUnit XML: a suite for each issue, a case for each rule.
//!
//! Written by hand: `quick-junit` 0.8 always gives `testsuites` a `skipped` attribute, which Jenkins' schema refuses.

use std::fmt::Write;

use super::xml::escape;
use super::{Context, flow, hop_line, severity_name};
use crate::diagnostic::{Diagnostic, Issue, Report, Severity, Skipped};
use crate::network::Trace;
use crate::snapshot::Snapshot;

/// Errors and warnings fail their rule's case; advice and what the baseline knows or someone suppressed is told in
/// `system-out`. A rule that could not be decided and found nothing is skipped. Warnings of the configuration are the
/// `system-err` of the first suite.
pub fn junit(report: &Report, snapshot: &Snapshot, context: &Context<'_>) -> String {
    let mut places = super::place::Places::new(snapshot);
    let mut suites = String::new();
    let (mut all_tests, mut all_failures) = (0, 0);
    let mut warnings: String = report.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    for issue in Issue::ALL {
        let mut rules: Vec<&str> =
            context.rules.iter().filter(|rule| rule.issue == issue).map(|rule| rule.id.as_str()).collect();
        let findings = report.findings.iter().filter(|f| f.issue == issue).map(|f| f.rule.as_str());
        rules.extend(findings.chain(report.skipped.iter().filter(|s| s.issue == issue).map(|s| s.rule.as_str())));
        rules.sort_unstable();
        rules.dedup();
        if rules.is_empty() {
            continue;
        }
        let (mut failures, mut skips) = (0, 0);
        let mut cases = String::new();
        for rule in &rules {
            let of_rule: Vec<&Diagnostic> = report.findings.iter().filter(|f| f.rule == *rule).collect();
            let (bad, told): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
                of_rule.into_iter().partition(|f| !f.known && f.severity != Severity::Info);
            let skipped: Vec<&Skipped> = report.skipped.iter().filter(|s| s.rule == *rule).collect();
            let mut body = String::new();
            if let Some(first) = bad.first() {
                failures += 1;
                let more = if bad.len() > 1 { format!(" (and {} more)", bad.len() - 1) } else { String::new() };
                let text: Vec<String> = bad.iter().map(|f| page(f, context, &mut places)).collect();
                let (kind, message) = (severity_name(first.severity), escape(&(first.message.clone() + &more)));
                let text = escape(&text.join("\n"));
                let _ = writeln!(body, "      <failure type=\"{kind}\" message=\"{message}\">{text}</failure>");
            } else if !skipped.is_empty() {
                skips += 1;
                let _ = writeln!(body, "      <skipped message=\"{}\"/>", escape(&reasons(&skipped)));
            }
            let mut out: Vec<String> = Vec::new();
            for finding in told {
                let why = if finding.known { "in the baseline: " } else { "" };
                out.push(format!("{why}{}", page(finding, context, &mut places)));
            }
            for one in report.suppressed.iter().filter(|s| s.finding.rule == *rule) {
                out.push(format!("suppressed ({}, {}): {}\n", one.reason, one.by, one.finding.message));
            }
            if !bad.is_empty() && !skipped.is_empty() {
                out.push(format!("not checked everywhere: {}\n", reasons(&skipped)));
            }
            if !out.is_empty() {
                let _ = writeln!(body, "      <system-out>{}</system-out>", escape(&out.join("\n")));
            }
            let head = format!("    <testcase name=\"{}\" classname=\"eks-doctor.{}\"", escape(rule), issue.name());
            let _ = if body.is_empty() {
                writeln!(cases, "{head}/>")
            } else {
                writeln!(cases, "{head}>\n{body}    </testcase>")
            };
        }
        if !warnings.is_empty() {
            let _ = writeln!(cases, "    <system-err>{}</system-err>", escape(&std::mem::take(&mut warnings)));
        }
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skips}\">\n    \
             <properties>\n      <property name=\"cluster\" value=\"{}\"/>\n    </properties>\n{cases}  </testsuite>",
            issue.name(),
            rules.len(),
            escape(&report.cluster.name),
        );
        all_tests += rules.len();
        all_failures += failures;
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"eks-doctor\" tests=\"{all_tests}\" \
         failures=\"{all_failures}\" errors=\"0\">\n{suites}</testsuites>\n"
    )
}

fn reasons(skipped: &[&Skipped]) -> String {
    let mut reasons: Vec<String> =
        skipped.iter().flat_map(|s| &s.missing).map(|missing| format!("needs {missing}")).collect();
    reasons.sort();
    reasons.dedup();
    reasons.join("; ")
}

/// A finding as plain text.
fn page(finding: &Diagnostic, context: &Context<'_>, places: &mut super::place::Places<'_>) -> String {
    let mut text = format!("{}[{}]: {}\n", severity_name(finding.severity), finding.rule, finding.message);
    if let Some(note) = &finding.note {
        let _ = writeln!(text, "note: {note}");
    }
    if !finding.because.is_empty() {
        let _ = writeln!(text, "why: {}", finding.because);
    }
    for evidence in &finding.evidence {
        if let Some(place) = places.find(evidence) {
            let file = context.path(place.file);
            let _ = writeln!(text, "at: {file}:{}:{}: {}", place.line, place.column, evidence.text);
        }
    }
    if let Some(trace) = &finding.trace {
        text += &path(trace);
    }
    for fix in &finding.fixes {
        let _ = writeln!(text, "fix: {}", fix.title);
        for command in &fix.commands {
            let _ = writeln!(text, "{}", command.trim_end());
        }
    }
    if !finding.docs.is_empty() {
        let _ = writeln!(text, "docs: {}", finding.docs);
    }
    text
}

/// A path, a line for each step.
pub(super) fn path(trace: &Trace) -> String {
    let mut text = format!("path: {}\n", flow(trace));
    for (way, hops) in [("forward", &trace.forward), ("return", &trace.back)] {
        for hop in hops {
            let _ = writeln!(text, "  {way}: {}", hop_line(hop));
        }
    }
    text
}
