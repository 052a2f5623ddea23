//! What a report looks like: one file per format.

mod excerpt;
mod json;
mod place;
mod text;

use serde::Serialize;

use crate::diagnostic::{Report, Severity};

pub use json::{Source, json, schema};
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
            suppressed: 0,
        }
    }
}

#[cfg(test)]
mod tests;
