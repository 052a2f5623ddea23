//! The report as Markdown, for a comment on a pull request or `$GITHUB_STEP_SUMMARY`.

use std::fmt::Write;

use super::junit::path;
use super::place::Places;
use super::text::clean;
use super::{Context, severity_name, sum, title};
use crate::diagnostic::{Diagnostic, Effect, Issue, Report, Severity};
use crate::snapshot::Snapshot;

/// Bytes after which findings are only named.
const DETAILED: usize = 50_000;
/// Bytes after which nothing more is said: GitHub takes comments of 65,536 characters (a job summary may be 1 MiB).
const FULL: usize = 64_000;
/// Lines of a list.
const NAMED: usize = 50;

/// The report as Markdown, with a line end.
pub fn markdown(report: &Report, snapshot: &Snapshot, context: &Context<'_>) -> String {
    let mut places = Places::new(snapshot);
    let mut out = format!("## eks-doctor: {}\n\n**{}**\n", cut(&report.cluster.name, 300), sum(report));
    let mut named = 0;
    let mut left = 0;
    for issue in Issue::ALL {
        let mut findings = report.findings.iter().filter(|f| f.issue == issue).peekable();
        if findings.peek().is_some() {
            let _ = write!(out, "\n### {}\n", title(issue));
        }
        for finding in findings {
            let details = details(finding, context, &mut places);
            let line = format!("\n- {}\n", headline(finding, 300));
            if out.len() + details.len() < DETAILED {
                out += &details;
            } else if named < NAMED && out.len() + line.len() < FULL {
                named += 1;
                out += &line;
            } else {
                left += 1;
            }
        }
    }
    if named + left > 0 {
        let _ = write!(out, "\n{left} more findings are not shown and {named} only named: this would be too long.\n");
    }
    let suppressed = report.suppressed.iter().map(|one| {
        let until = one.until.as_ref().map_or_else(String::new, |until| format!(" until {}", escape(until)));
        let (reason, by) = (cut(&one.reason, 300), escape(&one.by));
        format!("- {}: {reason}{until} ({by})\n", headline(&one.finding, 300))
    });
    list(&mut out, &format!("Suppressed ({})", report.suppressed.len()), suppressed);
    if let Some(compared) = &report.compared {
        let gone = compared.gone.iter().map(|gone| format!("- {}: {}\n", escape(&gone.rule), cut(&gone.message, 300)));
        list(&mut out, &format!("Gone since {} ({})", cut(&compared.file, 300), compared.gone.len()), gone);
    }
    let warnings = report.warnings.iter().map(|warning| format!("- ⚠️ {}\n", cut(warning, 300)));
    list(&mut out, "Configuration", warnings);
    let mut reads: Vec<String> =
        report.skipped.iter().flat_map(|s| &s.missing).map(|m| format!("- {}\n", cut(&m.to_string(), 200))).collect();
    reads.sort();
    reads.dedup();
    list(&mut out, &format!("Not checked ({}), for want of", report.skipped.len()), reads.into_iter());
    out
}

/// A headline and its lines, as far as there is room.
fn list(out: &mut String, headline: &str, lines: impl ExactSizeIterator<Item = String>) {
    let count = lines.len();
    if count == 0 || out.len() + headline.len() > FULL {
        return;
    }
    let _ = write!(out, "\n### {headline}\n\n");
    for (i, line) in lines.enumerate() {
        if i == NAMED || out.len() + line.len() > FULL {
            let _ = writeln!(out, "- and {} more", count - i);
            return;
        }
        *out += &line;
    }
}

fn headline(finding: &Diagnostic, length: usize) -> String {
    let sign = match finding.severity {
        Severity::Error => "❌",
        Severity::Warning => "⚠️",
        Severity::Info => "ℹ️",
    };
    let known = if finding.known { " (in the baseline)" } else { "" };
    let (severity, rule, message) =
        (severity_name(finding.severity), escape(&finding.rule), cut(&finding.message, length));
    format!("{sign} <b>{severity}</b> <code>{rule}</code>: {message}{known}")
}

fn details(finding: &Diagnostic, context: &Context<'_>, places: &mut Places<'_>) -> String {
    let mut out = format!("\n<details><summary>{}</summary>\n\n", headline(finding, 1000));
    if let Some(note) = &finding.note {
        let _ = write!(out, "**Note:** {}\n\n", escape(note));
    }
    if !finding.because.is_empty() {
        let _ = write!(out, "**Why:** {}\n\n", escape(&finding.because));
    }
    let before = out.len();
    for evidence in &finding.evidence {
        if let Some(place) = places.find(evidence) {
            let file = escape(&context.path(place.file));
            let _ = writeln!(out, "- <code>{file}:{}:{}</code> {}", place.line, place.column, escape(&evidence.text));
        }
    }
    if out.len() > before {
        out.push('\n');
    }
    if let Some(trace) = &finding.trace {
        out += &fenced("text", &path(trace));
    }
    if !finding.affected.is_empty() {
        let some: Vec<String> = finding.affected.iter().take(10).map(|r| format!("{} {}", r.kind, r.id)).collect();
        let more = finding.affected.len().saturating_sub(10);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = write!(out, "**Affected:** {}{more}\n\n", escape(&some.join(", ")));
    }
    for fix in &finding.fixes {
        let proved = match fix.effect {
            Effect::Proved => " (tried on the snapshot: the finding goes and nothing new comes)",
            Effect::Unproved => "",
        };
        let _ = write!(out, "**Fix:** {}{proved}\n\n", escape(&fix.title));
        if !fix.commands.is_empty() {
            out += &fenced("sh", &fix.commands.join("\n"));
        }
    }
    if !finding.docs.is_empty() {
        let _ = write!(out, "<{}>\n\n", clean(&finding.docs).replace(['<', '>', ' '], ""));
    }
    out + "</details>\n"
}

/// A block of code whose fence the code cannot end.
fn fenced(language: &str, code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let code: Vec<String> = code.trim_end().lines().map(clean).collect();
    format!("{fence}{language}\n{}\n{fence}\n\n", code.join("\n"))
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => escape(&text[..end]) + "…",
        None => escape(text),
    }
}

/// Recorded text may hold anything: nothing in it is Markdown, HTML or a mention.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '#' | '|' | '@' | '\\' | '~' | '$' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
