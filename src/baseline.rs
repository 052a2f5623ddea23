//! A baseline: the findings that were there when someone began to look, by fingerprint.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Compared, Gone, Report};
use crate::rule::RuleSet;
use crate::yaml::{File, YamlError};

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    format: u32,
    /// ARN or name, for people and for a warning.
    cluster: String,
    findings: Vec<Gone>,
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    #[error("{0}: no such file; `--update-baseline` makes it")]
    NotFound(String),
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error(transparent)]
    Mistake(Box<YamlError>),
}

impl Baseline {
    /// Reads the file; one that is not there yet is empty when it `may_be_new`.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(path: &Path, may_be_new: bool) -> Result<Option<Baseline>, BaselineError> {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return if may_be_new { Ok(None) } else { Err(BaselineError::NotFound(shown)) };
            }
            Err(error) => return Err(BaselineError::Unreadable(shown, error)),
        };
        let file = File { path: &shown, text: &text };
        let mistake = |line, column, message: String, help: &str| {
            BaselineError::Mistake(Box::new(file.error(line, column, 1, message, Some(help.to_owned()))))
        };
        // An other format is told before what else it brings.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        if let Ok(Format { format }) = serde_json::from_str(&text)
            && format != 1
        {
            let message = format!("format {format} of a baseline is not known");
            return Err(mistake(1, 1, message, "use the eks-doctor that wrote it, or remove it and make it anew"));
        }
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            let help = "this is no baseline of eks-doctor; remove it and make it anew with --update-baseline";
            mistake(error.line(), error.column(), message, help)
        })
    }

    /// The findings that count for the exit code now, and those that could not be looked for this time.
    pub fn of(report: &Report, undecided: Vec<Gone>) -> Baseline {
        let mut findings: Vec<Gone> = report
            .findings
            .iter()
            .map(|f| Gone {
                rule: f.rule.clone(),
                resource: f.resource.clone(),
                message: f.message.clone(),
                fingerprint: f.fingerprint.clone(),
            })
            .chain(undecided)
            .collect();
        findings.sort();
        Baseline { format: 1, cluster: identity(report), findings }
    }

    /// As a file, with a line end.
    pub fn text(&self) -> String {
        // Plain structs with string keys cannot fail to serialize.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Marks the findings that the baseline holds, says which of it are gone, and gives those that could not be
    /// looked for.
    pub fn compare(self, report: &mut Report, path: &Path, rules: &RuleSet) -> Vec<Gone> {
        let file = path.display().to_string();
        if self.cluster != identity(report) {
            report.warnings.push(format!(
                "{file} is the baseline of {}, but this is {}: nothing of it fits",
                self.cluster,
                identity(report)
            ));
        }
        let held: BTreeSet<&str> = self.findings.iter().map(|f| f.fingerprint.as_str()).collect();
        for finding in &mut report.findings {
            finding.known = held.contains(finding.fingerprint.as_str());
        }
        let suppressed = report.suppressed.iter().map(|s| &s.finding);
        let there: BTreeSet<String> =
            report.findings.iter().chain(suppressed).map(|finding| finding.fingerprint.clone()).collect();
        let decided = |rule: &str| {
            // What is no rule any more has gone with it.
            let known = rules.loaded.iter().any(|(id, _)| id == rule);
            let ran = rules.rules.iter().any(|r| r.id == rule) && !report.skipped.iter().any(|s| s.rule == rule);
            ran || !known
        };
        let (mut gone, undecided): (Vec<Gone>, Vec<Gone>) =
            self.findings.into_iter().filter(|f| !there.contains(&f.fingerprint)).partition(|f| decided(&f.rule));
        gone.sort();
        report.compared = Some(Compared { file, gone });
        undecided
    }
}

fn identity(report: &Report) -> String {
    report.cluster.arn.as_ref().unwrap_or(&report.cluster.name).clone()
}
