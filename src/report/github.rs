//! The report as workflow commands of GitHub Actions: an annotation for each finding.

use std::fmt::Write;

use super::place::Places;
use super::text::clean;
use super::{Context, sum};
use crate::diagnostic::{Report, Severity};
use crate::snapshot::Snapshot;

/// One command a line; what the baseline knows and what is suppressed is only counted. Warnings of the
/// configuration have no place.
pub fn github(report: &Report, snapshot: &Snapshot, context: &Context<'_>) -> String {
    let mut places = Places::new(snapshot);
    let mut out = String::new();
    for finding in report.findings.iter().filter(|finding| !finding.known) {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "notice",
        };
        let mut properties = String::new();
        if let Some(place) = finding.evidence.iter().find_map(|evidence| places.find(evidence)) {
            let file = property(&context.path(place.file));
            let _ = write!(properties, "file={file},line={},endLine={},", place.line, place.end.0);
            // Columns are taken only within one line.
            if place.line == place.end.0 {
                let _ = write!(properties, "col={},endColumn={},", place.column, place.end.1);
            }
        }
        let mut text = clean(&finding.message);
        if let Some(note) = &finding.note {
            let _ = write!(text, "\nnote: {}", clean(note));
        }
        if !finding.because.is_empty() {
            let _ = write!(text, "\nwhy: {}", clean(&finding.because));
        }
        for fix in &finding.fixes {
            let _ = write!(text, "\nfix: {}", clean(&fix.title));
            for line in fix.commands.iter().flat_map(|command| command.lines()) {
                let _ = write!(text, "\n  {}", clean(line));
            }
        }
        if !finding.docs.is_empty() {
            let _ = write!(text, "\ndocs: {}", clean(&finding.docs));
        }
        let _ = writeln!(out, "::{command} {properties}title={}::{}", property(&finding.rule), data(&text));
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "::warning title=configuration::{}", data(&clean(warning)));
    }
    let _ = writeln!(out, "eks-doctor: {}", sum(report));
    out
}

/// As a command's message has to be written.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As a command's property has to be written.
fn property(text: &str) -> String {
    data(&clean(text)).replace(':', "%3A").replace(',', "%2C")
}
