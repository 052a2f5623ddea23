//! Cases beside rule files (`<rule-id>.test.yaml`): a snapshot, changes to it, and what the rule has to say.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{RuleSet, RulesError};
use crate::change::{self, Change};
use crate::diagnostic::{Diagnostic, Report, Severity};
use crate::glob::like;
use crate::yaml::{File, YamlError};

/// What a file of cases ends in.
pub const ENDING: &str = ".test.yaml";

/// A case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What happens in it.
    name: Spanned<String>,
    /// The folder, from the file of the case; without it the changes bring all files.
    #[serde(default)]
    snapshot: Option<Spanned<PathBuf>>,
    /// The cluster, when the snapshot holds several.
    #[serde(default)]
    cluster: Option<String>,
    #[serde(default)]
    changes: Vec<Spanned<Change>>,
    expect: Expect,
}

/// What a rule has to say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub outcome: Outcome,
    #[serde(default)]
    pub severity: Option<Severity>,
    /// The id or name of what has to change; may hold `*`.
    #[serde(default)]
    pub resource: Option<String>,
    /// Each is named by the finding, its fixes aside.
    #[serde(default)]
    pub mention: Vec<String>,
    /// The read, or the reason, for want of which it is skipped.
    #[serde(default)]
    pub missing: Option<String>,
}

/// What comes of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    #[default]
    Fails,
    Passes,
    Skipped,
}

/// What came of the cases of a folder.
#[derive(Debug, Default)]
pub struct Tested {
    /// In the order of the files: rule, case, and what is wrong with it.
    pub cases: Vec<(String, String, Vec<String>)>,
    /// Rules of the folder that have no case.
    pub untested: Vec<String>,
}

/// Why cases cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A mistake in a file of cases.
    #[error(transparent)]
    Mistake(Box<YamlError>),
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error("{0}: there is no rule `{1}`: neither in the folder nor built in")]
    NoRule(String, String),
    #[error("{0}: no file in it ends in {ENDING}")]
    Empty(String),
}

/// Runs the cases of a folder of rules, each rule by itself.
///
/// # Errors
/// When a file cannot be read or holds a mistake. A case that fails is in the answer.
pub fn run(folder: &Path) -> Result<Tested, TestError> {
    let mut tested = Tested::default();
    let files = super::files(folder, |name| name.ends_with(ENDING))?;
    if files.is_empty() {
        return Err(TestError::Empty(folder.display().to_string()));
    }
    for path in &files {
        let shown = path.display().to_string();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let id = name.trim_end_matches(ENDING).to_owned();
        let text = std::fs::read_to_string(path).map_err(|e| TestError::Unreadable(shown.clone(), e))?;
        let file = File { path: &shown, text: &text };
        let cases: Vec<Case> = file
            .read("docs/writing-rules.md says what a file of cases holds")
            .map_err(|e| TestError::Mistake(Box::new(e)))?;
        if cases.is_empty() {
            let help = Some("docs/writing-rules.md says what a file of cases holds".to_owned());
            return Err(TestError::Mistake(Box::new(file.error(1, 1, 1, "holds no case".to_owned(), help))));
        }
        let mut rules = RuleSet::built_in()?;
        rules.add(folder)?;
        if tested.untested.is_empty() && tested.cases.is_empty() {
            tested.untested.extend(rules.rules.iter().filter(|r| r.custom).map(|r| r.id.clone()));
        }
        if !rules.rules.iter().any(|r| r.id == id) {
            return Err(TestError::NoRule(shown, id));
        }
        rules.select(std::slice::from_ref(&id), &[])?;
        tested.untested.retain(|rule| *rule != id);
        for case in cases {
            let report = report(&file, path, &case, &rules)?;
            let wrong = judge(&id, &case.expect, &report);
            tested.cases.push((id.clone(), case.name.value, wrong));
        }
    }
    Ok(tested)
}

fn report(file: &File<'_>, path: &Path, case: &Case, rules: &RuleSet) -> Result<Report, TestError> {
    let mistake = |place, message: String| TestError::Mistake(Box::new(file.at(place, message, None)));
    let mut documents = Vec::new();
    if let Some(snapshot) = &case.snapshot {
        let folder = path.parent().unwrap_or(Path::new("")).join(&snapshot.value);
        documents = change::documents(&folder).map_err(|e| mistake(snapshot.referenced, e.to_string()))?;
    }
    for change in &case.changes {
        documents = change::applied(&documents, std::slice::from_ref(&change.value))
            .map_err(|what| mistake(change.referenced, what))?;
    }
    let snapshot = std::sync::Arc::new(crate::snapshot::Snapshot::from_documents(documents));
    crate::diagnose(&snapshot, rules, case.cluster.as_deref()).map_err(|e| mistake(case.name.referenced, e.to_string()))
}

/// What a report says of a rule that it should not, and the other way round.
pub fn judge(rule: &str, expect: &Expect, report: &Report) -> Vec<String> {
    let findings: Vec<&Diagnostic> = report.findings.iter().filter(|f| f.rule == rule).collect();
    let mut skipped = report.skipped.iter().filter(|s| s.rule == rule).flat_map(|s| &s.missing).peekable();
    match expect.outcome {
        Outcome::Fails if findings.is_empty() => {
            let skipped: Vec<String> = skipped.map(ToString::to_string).collect();
            let instead =
                if skipped.is_empty() { "passes".to_owned() } else { format!("is skipped for {}", skipped.join(", ")) };
            vec![format!("should fail, but {instead}")]
        }
        // Of several findings the one that fits best tells what is wrong.
        Outcome::Fails => findings.iter().map(|f| misses(expect, f)).min_by_key(Vec::len).unwrap_or_default(),
        Outcome::Passes => {
            let said = findings.iter().map(|f| format!("should pass, but says: {}", f.message));
            said.chain(skipped.map(|m| format!("should pass, but is skipped for {m}"))).collect()
        }
        Outcome::Skipped => {
            let wanted = expect.missing.as_deref().unwrap_or_default();
            if skipped.peek().is_none() {
                return vec!["should be skipped, but is not".to_owned()];
            }
            let all: Vec<String> = skipped.map(ToString::to_string).collect();
            if all.iter().any(|m| m.contains(wanted)) {
                Vec::new()
            } else {
                vec![format!("should be skipped for {wanted}, but is for {}", all.join(", "))]
            }
        }
    }
}

/// What a finding does not say.
pub fn misses(expect: &Expect, finding: &Diagnostic) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(severity) = expect.severity.filter(|s| *s != finding.severity) {
        wrong.push(format!("should be of severity {severity:?}, but is {:?}", finding.severity).to_lowercase());
    }
    let resource = &finding.resource;
    if let Some(wanted) = &expect.resource
        && !like(wanted, &resource.id)
        && !resource.name.as_deref().is_some_and(|name| like(wanted, name))
    {
        wrong.push(format!("should be about {wanted}, but is about {} {}", resource.kind, resource.id));
    }
    let words = words(finding);
    let absent = expect.mention.iter().filter(|m| !words.contains(m.as_str()));
    wrong.extend(absent.map(|m| format!("should mention {m}, but says: {}", finding.message)));
    wrong
}

/// What a finding says, its fixes aside.
fn words(finding: &Diagnostic) -> String {
    let mut all = vec![finding.message.clone(), finding.because.clone()];
    for resource in finding.affected.iter().chain([&finding.resource]) {
        all.push(resource.id.clone());
        all.extend(resource.name.clone());
    }
    all.extend(finding.evidence.iter().map(|e| e.text.clone()));
    all.join("\n")
}
