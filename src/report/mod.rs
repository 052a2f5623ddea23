//! What a report looks like: one file per format.

mod excerpt;
mod github;
mod html;
mod json;
mod junit;
mod markdown;
mod place;
mod sarif;
mod text;
mod xml;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::diagnostic::{Evidence, Issue, Report, Severity};
use crate::network::{Hop, Trace, Verdict};

pub(crate) use self::json::schema_of;
pub(crate) use self::markdown::escape;
pub(crate) use self::text::clean;
pub(crate) use place::Places;

pub use github::github;
pub use html::html;
pub use json::{Source, json, schema};
pub use junit::junit;
pub use markdown::markdown;
pub use sarif::sarif;
pub use text::{Style, text, trace};

/// How much of what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Summary {
    pub errors: usize,
    pub warnings: usize,
    pub infos: usize,
    /// Rules that were decided for all that they match and found nothing.
    pub passed: usize,
    /// Entries of `skipped`: a rule and what it lacked.
    pub skipped: usize,
    pub suppressed: usize,
}

impl Summary {
    pub fn of(report: &Report) -> Summary {
        let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
        Summary {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            infos: count(Severity::Info),
            passed: report.passed,
            skipped: report.skipped.len(),
            suppressed: report.suppressed.len(),
        }
    }
}

/// What a report says of a rule that ran, whatever it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    pub id: String,
    pub issue: Issue,
    pub title: String,
    /// Nothing when each finding has its own.
    pub severity: Option<Severity>,
    /// Markdown.
    pub page: String,
    pub docs: String,
}

/// What the formats for machines need beside the report.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// Those that ran, sorted by issue and id.
    pub rules: &'c [RuleInfo],
    /// The snapshot's folder: where it stands, its files stand.
    pub folder: &'c str,
}

impl Context<'_> {
    /// The path of a file of the snapshot, seen from where eks-doctor was started, with `/`.
    fn path(&self, file: &str) -> String {
        let folder = self.folder.replace('\\', "/");
        let mut folder = folder.as_str();
        while let Some(rest) = folder.strip_prefix("./") {
            folder = rest.trim_start_matches('/');
        }
        match folder.trim_end_matches('/') {
            "" if folder.starts_with('/') => format!("/{file}"),
            "" | "." => file.to_owned(),
            folder => format!("{folder}/{file}"),
        }
    }
}

fn title(issue: Issue) -> &'static str {
    match issue {
        Issue::NodesCannotJoin => "Nodes cannot join the cluster",
        Issue::PodsGetNoIp => "Pods get no IP address",
        Issue::DnsDoesNotResolve => "DNS does not resolve",
        Issue::LoadBalancerNotDeployed => "Load balancer is not deployed",
    }
}

pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// `3 errors, 1 warning`; what is zero is left out.
fn counts(errors: usize, warnings: usize, infos: usize) -> String {
    let all = [(errors, "error"), (warnings, "warning"), (infos, "info")];
    let all = all.into_iter().filter(|(count, _)| *count > 0);
    all.map(|(count, word)| plural(count, word)).collect::<Vec<_>>().join(", ")
}

pub(crate) fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// The sum in one line, for formats without colour.
fn sum(report: &Report) -> String {
    let summary = Summary::of(report);
    let counts = counts(summary.errors, summary.warnings, summary.infos);
    let found = if counts.is_empty() { "no problem found".to_owned() } else { counts };
    let known = report.findings.iter().filter(|finding| finding.known).count();
    let mut rest = format!("{} passed, {} skipped", summary.passed, summary.skipped);
    for (count, word) in [(summary.suppressed, "suppressed"), (known, "in the baseline")] {
        if count > 0 {
            rest += &format!(", {count} {word}");
        }
    }
    format!("{found} ({rest})")
}

/// A read that is missing.
struct Lack<'r> {
    read: &'r str,
    /// Why, sorted.
    reasons: Vec<&'r str>,
    /// Each rule that needed it, and for how many objects.
    rules: Vec<(&'r str, usize)>,
}

/// What was skipped, by the read that would have been needed.
fn lacks(report: &Report) -> Vec<Lack<'_>> {
    let mut reads: BTreeMap<&str, (Vec<&str>, BTreeMap<&str, usize>)> = BTreeMap::new();
    for skipped in &report.skipped {
        let mut seen: Vec<&str> = Vec::new();
        for missing in &skipped.missing {
            let (reasons, rules) = reads.entry(&missing.read).or_default();
            if !reasons.contains(&missing.reason.as_str()) {
                reasons.push(&missing.reason);
            }
            if !seen.contains(&missing.read.as_str()) {
                seen.push(&missing.read);
                *rules.entry(&skipped.rule).or_default() += 1;
            }
        }
    }
    let lack = |(read, (mut reasons, rules)): (_, (Vec<_>, BTreeMap<_, _>))| {
        reasons.sort_unstable();
        Lack { read, reasons, rules: rules.into_iter().collect() }
    };
    reads.into_iter().map(lack).collect()
}

/// Pieces of evidence that say the same, of which an excerpt is shown.
const SAME: usize = 2;

/// The evidence to show, and by what it says that which is only named, since it says the same of other places.
fn shown_and_named(evidence: &[Evidence]) -> (Vec<&Evidence>, Vec<(&str, Vec<&Evidence>)>) {
    let (mut shown, mut named): (Vec<&Evidence>, Vec<(&str, Vec<&Evidence>)>) = (Vec::new(), Vec::new());
    for piece in evidence {
        if shown.iter().filter(|other| other.text == piece.text).count() < SAME {
            shown.push(piece);
        } else if let Some((_, places)) = named.iter_mut().find(|(text, _)| *text == piece.text) {
            places.push(piece);
        } else {
            named.push((&piece.text, vec![piece]));
        }
    }
    (shown, named)
}

/// `udp/53 from eni-0a to eni-0b`.
fn flow(trace: &Trace) -> String {
    let port = trace.port.map_or_else(String::new, |port| format!("/{port}"));
    format!("{}{port} from {} to {}", trace.protocol, trace.from, trace.to)
}

/// A step of a path in one line: what happens, where, and what decides.
fn hop_line(hop: &Hop) -> String {
    let mut text = format!("{} at {}", hop.step, hop.at);
    text += match hop.verdict {
        Verdict::Allowed => "",
        Verdict::Blocked => " BLOCKED",
        Verdict::Unknown => " unknown",
    };
    if let Some(by) = &hop.by {
        text += &format!(" by {by}");
    }
    if let Some(code) = hop.code {
        text += &format!(" [{code}]");
    }
    if let Some(note) = &hop.note {
        text += &format!(": {note}");
    }
    text
}

#[cfg(test)]
mod tests;
