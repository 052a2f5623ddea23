//! The report for people: findings by issue, then what was skipped, what was wrong with the input, and a sum.

use std::fmt::Write;

use owo_colors::{OwoColorize, Style as Paint};

use super::place::Places;
use super::{Summary, counts, excerpt, flow, hop_line, lacks, plural, severity_name, shown_and_named, title};
use crate::diagnostic::{Diagnostic, Effect, Evidence, Fix, Issue, Report, Resource, Severity};
use crate::network::{Disposition, Hop, Trace, Verdict};
use crate::snapshot::{Gravity, Problem, Snapshot};

/// How the text report is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Whether lines are drawn with more than ASCII.
    pub unicode: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Of those who suffer, how many are named.
const AFFECTED: usize = 10;
/// Of the reasons why a read is missing, how many are named.
const REASONS: usize = 3;

/// Columns up to which a paragraph is easy to read.
const PARAGRAPH: usize = 100;

/// The report as text, with a line end.
pub fn text(report: &Report, snapshot: &Snapshot, style: &Style) -> String {
    let mut writer = Writer { out: String::new(), style, places: Places::new(snapshot) };
    let mut issues: Vec<Issue> = Vec::new();
    for finding in &report.findings {
        if !issues.contains(&finding.issue) {
            issues.push(finding.issue);
        }
    }
    for issue in issues {
        let findings: Vec<_> = report.findings.iter().filter(|finding| finding.issue == issue).collect();
        writer.headline(issue, &findings);
        for finding in findings {
            writer.finding(finding);
        }
    }
    writer.suppressed(report);
    writer.gone(report);
    writer.skipped(report);
    writer.problems(&snapshot.problems);
    writer.warnings(&report.warnings);
    writer.sum(report, &snapshot.problems);
    writer.out
}

/// One path as a tree.
pub fn trace(trace: &Trace, snapshot: &Snapshot, style: &Style) -> String {
    let mut writer = Writer { out: String::new(), style, places: Places::new(snapshot) };
    writer.trace(trace);
    writer.out
}

struct Writer<'s> {
    out: String,
    style: &'s Style,
    places: Places<'s>,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.out += line.trim_end();
        self.out.push('\n');
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        if self.style.color { text.style(paint).to_string() } else { text.to_owned() }
    }

    /// `text`, wrapped, behind `lead` and below its end. Only the lead is painted.
    fn paragraph(&mut self, indent: usize, lead: &str, paint: Paint, text: &str) {
        let text = clean(text);
        let hang = if lead.is_empty() { indent } else { indent + 2 };
        let pad = " ".repeat(hang);
        // The first line is shorter by the lead; the place is kept by as many blanks that do not wrap.
        let room = self.style.width.min(PARAGRAPH).saturating_sub(hang).max(20);
        let mut lines = wrap_after(&text, room, (lead.chars().count() + indent).saturating_sub(hang));
        let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
        let lead = self.paint(lead, paint);
        self.line(&format!("{}{lead}{first}", " ".repeat(indent)));
        for line in lines {
            self.line(&format!("{pad}{line}"));
        }
    }

    fn headline(&mut self, issue: Issue, findings: &[&Diagnostic]) {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let counts = counts(count(Severity::Error), count(Severity::Warning), count(Severity::Info));
        let title = format!("{} ({counts})", title(issue));
        let rule = if self.style.unicode { "━" } else { "=" }.repeat(title.chars().count());
        self.line(&self.paint(&title, Paint::new().bold()));
        self.line(&self.paint(&rule, Paint::new().bold()));
        self.line("");
    }

    fn finding(&mut self, finding: &Diagnostic) {
        let mark = severity_paint(finding.severity);
        let lead = format!("{}[{}]: ", severity_name(finding.severity), clean(&finding.rule));
        self.paragraph(0, &lead, mark.bold(), &finding.message);
        self.line("");
        if finding.known {
            self.paragraph(2, "note: ", Paint::new().bold(), "in the baseline; it does not count for the exit code");
            self.line("");
        }
        if let Some(note) = &finding.note {
            self.paragraph(2, "note: ", Paint::new().bold(), note);
            self.line("");
        }
        if !finding.because.is_empty() {
            self.paragraph(2, "why: ", Paint::new().bold(), &finding.because);
            self.line("");
        }
        let (shown, named) = shown_and_named(&finding.evidence);
        for evidence in shown {
            if let Some(drawn) = excerpt::draw(evidence, &mut self.places, self.style, mark) {
                for line in drawn.lines() {
                    self.line(&format!("  {line}"));
                }
                self.line("");
            }
        }
        for (text, places) in &named {
            self.also(text, places);
        }
        if let Some(trace) = &finding.trace {
            self.trace(trace);
            self.line("");
        }
        if !finding.affected.is_empty() {
            let text = affected(&finding.affected);
            self.paragraph(2, "affected: ", Paint::new().bold(), &text);
            self.line("");
        }
        for fix in &finding.fixes {
            self.fix(fix);
        }
        if !finding.docs.is_empty() {
            let lead = self.paint("docs: ", Paint::new().bold());
            let url = self.paint(&clean(&finding.docs), Paint::new().underline());
            self.line(&format!("  {lead}{url}"));
            self.line("");
        }
    }

    /// Places that say what was shown of others.
    fn also(&mut self, text: &str, evidence: &[&Evidence]) {
        let places = evidence.iter().take(AFFECTED).filter_map(|piece| self.places.find(piece));
        let places: Vec<String> =
            places.map(|place| format!("{}:{}:{}", place.file, place.line, place.column)).collect();
        let more = evidence.len().saturating_sub(AFFECTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let of = if text.is_empty() { String::new() } else { format!("{text}: ") };
        self.paragraph(2, "also: ", Paint::new().bold(), &format!("{of}{}{more}", places.join(", ")));
        self.line("");
    }

    fn fix(&mut self, fix: &Fix) {
        let proved = match fix.effect {
            Effect::Proved => " (tried on the snapshot: the finding goes and nothing new comes)",
            Effect::Unproved => "",
        };
        self.paragraph(2, "fix: ", Paint::new().bold().green(), &format!("{}{proved}", fix.title));
        self.line("");
        for command in &fix.commands {
            let command: String =
                command.trim_end().chars().filter(|&c| c == '\n' || c == '\t' || !is_unruly(c)).collect();
            // A here-document may not be indented.
            let indent = if command.contains('\n') { "" } else { "    " };
            for line in command.lines() {
                let line = self.paint(line, Paint::new().cyan());
                self.line(&format!("{indent}{line}"));
            }
        }
        if !fix.commands.is_empty() {
            self.line("");
        }
    }

    fn trace(&mut self, trace: &Trace) {
        let (verdict, paint) = match trace.disposition {
            Disposition::Reachable => ("reachable", Paint::new().green()),
            Disposition::Blocked => ("blocked", Paint::new().red().bold()),
            Disposition::Unknown => ("unknown", Paint::new().yellow()),
        };
        let lead = self.paint("path: ", Paint::new().bold());
        let verdict = self.paint(verdict, paint);
        self.line(&format!("  {lead}{}: {verdict}", clean(&flow(trace))));
        let both = !trace.forward.is_empty() && !trace.back.is_empty();
        if !trace.forward.is_empty() {
            self.hops("forward", &trace.forward, !both);
        }
        if !trace.back.is_empty() {
            self.hops("return", &trace.back, true);
        }
    }

    fn hops(&mut self, way: &str, hops: &[Hop], last: bool) {
        let (tee, corner, bar) = if self.style.unicode { ("├─", "└─", "│ ") } else { ("|-", "`-", "| ") };
        self.line(&format!("  {} {way}", if last { corner } else { tee }));
        let stem = if last { "  " } else { bar };
        for (i, hop) in hops.iter().enumerate() {
            let end = i + 1 == hops.len();
            let branch = if end { corner } else { tee };
            let (sign, paint) = match (hop.verdict, self.style.unicode) {
                (Verdict::Allowed, true) => ("✓", Paint::new().green()),
                (Verdict::Allowed, false) => ("ok", Paint::new().green()),
                (Verdict::Blocked, true) => ("✗", Paint::new().red().bold()),
                (Verdict::Blocked, false) => ("x ", Paint::new().red().bold()),
                (Verdict::Unknown, true) => ("?", Paint::new().yellow()),
                (Verdict::Unknown, false) => ("? ", Paint::new().yellow()),
            };
            let text = clean(&hop_line(hop));
            let used = 2 + 2 + 1 + 2 + 1 + sign.chars().count() + 1;
            let lines = wrap(&text, self.style.width.saturating_sub(used).max(20));
            for (j, line) in lines.iter().enumerate() {
                let plain = matches!(hop.verdict, Verdict::Allowed);
                let line = if plain { line.clone() } else { self.paint(line, paint) };
                if j == 0 {
                    let sign = self.paint(sign, paint);
                    self.line(&format!("  {stem} {branch} {sign} {line}"));
                } else {
                    let inner = if end { "  " } else { bar };
                    self.line(&format!("  {stem} {inner} {} {line}", " ".repeat(sign.chars().count())));
                }
            }
        }
    }

    /// Who decided to live with what, and why.
    fn suppressed(&mut self, report: &Report) {
        if report.suppressed.is_empty() {
            return;
        }
        let title = format!("Suppressed ({})", report.suppressed.len());
        self.line(&self.paint(&title, Paint::new().bold()));
        for one in &report.suppressed {
            let lead = format!("{}[{}]: ", severity_name(one.finding.severity), clean(&one.finding.rule));
            self.paragraph(2, &lead, severity_paint(one.finding.severity), &one.finding.message);
            let until = one.until.as_ref().map_or_else(String::new, |until| format!(" until {until}"));
            let reason = format!("{}{until} ({})", one.reason, one.by);
            self.paragraph(4, "reason: ", Paint::new().bold(), &reason);
        }
        self.line("");
    }

    /// What the baseline holds and is no more.
    fn gone(&mut self, report: &Report) {
        let Some(compared) = report.compared.as_ref().filter(|compared| !compared.gone.is_empty()) else { return };
        let title = format!("Gone since {} ({})", clean(&compared.file), compared.gone.len());
        self.line(&self.paint(&title, Paint::new().bold()));
        for gone in &compared.gone {
            self.paragraph(2, &format!("[{}]: ", clean(&gone.rule)), Paint::new().green(), &gone.message);
        }
        self.line("");
    }

    /// One line per read that is not there.
    fn skipped(&mut self, report: &Report) {
        if report.skipped.is_empty() {
            return;
        }
        let count = report.skipped.len();
        let title = format!("Not checked ({count}), for want of");
        self.line(&self.paint(&title, Paint::new().bold()));
        for lack in lacks(report) {
            let mut reasons = lack.reasons.iter().take(REASONS).copied().collect::<Vec<_>>().join("; ");
            if lack.reasons.len() > REASONS {
                let _ = write!(reasons, "; and {} more", lack.reasons.len() - REASONS);
            }
            let rules: Vec<_> = lack
                .rules
                .iter()
                .map(|(rule, count)| if *count == 1 { (*rule).to_owned() } else { format!("{rule} ({count})") })
                .collect();
            let text = format!("({reasons}): {}", rules.join(", "));
            self.paragraph(2, &format!("{} ", clean(lack.read)), Paint::new().yellow(), &text);
        }
        self.line("");
    }

    fn problems(&mut self, problems: &[Problem]) {
        for (note, title) in [(false, "Problems of the input"), (true, "Notes")] {
            let mut some = problems.iter().filter(|problem| (problem.gravity == Gravity::Note) == note).peekable();
            if some.peek().is_none() {
                continue;
            }
            self.line(&self.paint(title, Paint::new().bold()));
            for problem in some {
                let mut place = clean(&problem.file);
                if let Some(line) = problem.line {
                    let _ = write!(place, ":{line}");
                    if let Some(column) = problem.column {
                        let _ = write!(place, ":{column}");
                    }
                }
                let paint = if note { Paint::new().cyan() } else { Paint::new().red() };
                self.paragraph(2, &format!("{place}: "), paint, &problem.message);
                if !problem.help.is_empty() {
                    self.paragraph(4, "help: ", Paint::new().bold(), &problem.help);
                }
            }
            self.line("");
        }
    }

    fn warnings(&mut self, warnings: &[String]) {
        if warnings.is_empty() {
            return;
        }
        self.line(&self.paint("Configuration", Paint::new().bold()));
        for warning in warnings {
            self.paragraph(2, "warning: ", Paint::new().yellow(), warning);
        }
        self.line("");
    }

    fn sum(&mut self, report: &Report, problems: &[Problem]) {
        let summary = Summary::of(report);
        let broken = problems.iter().any(|problem| problem.gravity != Gravity::Note);
        let line = if report.findings.is_empty() {
            let paint = if broken || summary.passed == 0 { Paint::new().yellow() } else { Paint::new().green() };
            self.paint(&all_well(&clean(&report.cluster.name), &summary, broken), paint)
        } else {
            let mut rest = vec![format!("{} passed", summary.passed), format!("{} skipped", summary.skipped)];
            if summary.suppressed > 0 {
                rest.push(format!("{} suppressed", summary.suppressed));
            }
            let known = report.findings.iter().filter(|finding| finding.known).count();
            if known > 0 {
                rest.push(format!("{known} in the baseline"));
            }
            let worst = report.findings.iter().map(|finding| finding.severity).min().unwrap_or(Severity::Info);
            let counts = counts(summary.errors, summary.warnings, summary.infos);
            format!("{} ({})", self.paint(&counts, severity_paint(worst).bold()), rest.join(", "))
        };
        self.line(&line);
    }
}

/// The last line when there is no finding.
fn all_well(cluster: &str, summary: &Summary, broken: bool) -> String {
    let within = if cluster.is_empty() { String::new() } else { format!(" in {cluster}") };
    let mut rest = String::new();
    if summary.skipped > 0 && summary.passed > 0 {
        let _ = write!(rest, ", {} could not be made", summary.skipped);
    }
    if summary.suppressed > 0 {
        let _ = write!(rest, ", {} suppressed", summary.suppressed);
    }
    match (summary.passed, broken) {
        (0, _) if summary.skipped > 0 => {
            let checks = plural(summary.skipped, "check");
            format!("Nothing could be checked{within}: what {checks} needed is not there.")
        }
        (0, _) => format!("Nothing was checked{within}: the snapshot holds nothing that a rule looks at."),
        (_, true) => {
            let of = if cluster.is_empty() { String::new() } else { format!(" of {cluster}") };
            format!("No problem found in what could be read{of}: {} passed{rest}.", plural(summary.passed, "check"))
        }
        (_, false) => format!("No problem found{within}: {} passed{rest}.", plural(summary.passed, "check")),
    }
}

/// Those who suffer, by kind.
fn affected(all: &[Resource]) -> String {
    let mut kinds: Vec<(&str, Vec<String>)> = Vec::new();
    for resource in all.iter().take(AFFECTED) {
        let name = match &resource.name {
            Some(name) if *name != resource.id => format!("{} ({name})", resource.id),
            _ => resource.id.clone(),
        };
        match kinds.iter_mut().find(|(kind, _)| *kind == resource.kind) {
            Some((_, names)) => names.push(name),
            None => kinds.push((&resource.kind, vec![name])),
        }
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, names)| format!("{kind} {}", names.join(", "))).collect();
    let more = if all.len() > AFFECTED { format!(" and {} more", all.len() - AFFECTED) } else { String::new() };
    kinds.join("; ") + &more
}

fn severity_paint(severity: Severity) -> Paint {
    match severity {
        Severity::Error => Paint::new().red(),
        Severity::Warning => Paint::new().yellow(),
        Severity::Info => Paint::new().cyan(),
    }
}

/// Whether a character moves the cursor, starts an escape sequence or turns the direction of writing.
pub(super) fn is_unruly(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Recorded text may hold anything: no character that does something to the terminal stays.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unruly(c) { ' ' } else { c }).collect()
}

/// Words in lines of at most `width` characters; a word that is longer stays whole, since it may be an id.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    wrap_after(text, width, 0)
}

/// [`wrap`], with `taken` characters of the first line in use.
fn wrap_after(text: &str, width: usize, taken: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = taken;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        let gap = usize::from(!line.is_empty());
        if used + gap + length > width && (!line.is_empty() || (lines.is_empty() && taken > 0)) {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if !line.is_empty() {
            line.push(' ');
            used += 1;
        }
        line += word;
        used += length;
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}
