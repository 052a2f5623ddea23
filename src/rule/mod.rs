//! Rules: declarative files that say what to look at, when it is a fault, and what to say about it.

mod check;
pub mod expr;
pub mod file;
pub mod functions;
pub mod page;
pub mod test;
pub mod value;

use std::path::{Path, PathBuf};

pub use check::check;
pub use file::{Rule, schema};

use crate::diagnostic::Issue;
use crate::yaml::YamlError;
use expr::Language;
use functions::Subject;

/// The rule files of `rules/`, built in: (issue, id, text).
static BUILT_IN: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// The rules of a run.
pub struct RuleSet {
    /// Sorted by issue and id.
    pub rules: Vec<Rule>,
    pub language: Language,
    pub subjects: Vec<Subject>,
    /// All that were loaded, whether they are among the chosen or not.
    pub loaded: Vec<(String, Issue)>,
    /// Ids of built-in rules that `--rules` replaced.
    pub replaced: Vec<String>,
}

/// Why rules cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A mistake in a rule file.
    #[error(transparent)]
    Rule(Box<YamlError>),
    /// A file or folder of `--rules` cannot be read.
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    /// A rule file stands outside the folders of the four issues.
    #[error("{0}: a rule stands in a folder named after its issue: {names}", names = issue_names())]
    NoIssue(String),
    /// `--only` or `--skip` that matches nothing.
    #[error("--{option} {value}: no rule or issue of that name; `eks-doctor rules` lists them")]
    NoMatch { option: &'static str, value: String },
}

fn issue_names() -> String {
    Issue::ALL.map(Issue::name).join(", ")
}

impl From<YamlError> for RulesError {
    fn from(error: YamlError) -> Self {
        RulesError::Rule(Box::new(error))
    }
}

impl RuleSet {
    /// No rules, but all that rules may use.
    pub fn empty() -> RuleSet {
        let subjects = functions::subjects();
        let schemas = crate::snapshot::TABLES.iter().map(|t| (t.schema)()).chain(subjects.iter().map(|s| (s.schema)()));
        let language = Language::new(schemas, functions::all());
        RuleSet { rules: Vec::new(), language, subjects, loaded: Vec::new(), replaced: Vec::new() }
    }

    /// The built-in rules.
    ///
    /// # Errors
    /// A mistake in one of them.
    pub fn built_in() -> Result<RuleSet, RulesError> {
        let RuleSet { language, subjects, .. } = RuleSet::empty();
        let mut rules = Vec::with_capacity(BUILT_IN.len());
        for (issue, id, text) in BUILT_IN {
            let path = format!("rules/{issue}/{id}.yaml");
            let issue = Issue::from_name(issue).ok_or_else(|| RulesError::NoIssue(path.clone()))?;
            rules.push(file::parse(&path, id, issue, text, &language, &subjects, false)?);
        }
        rules.sort_by(|a, b| (a.issue, &a.id).cmp(&(b.issue, &b.id)));
        let loaded = rules.iter().map(|r: &Rule| (r.id.clone(), r.issue)).collect();
        Ok(RuleSet { rules, language, subjects, loaded, replaced: Vec::new() })
    }

    /// Adds the rules of a folder (`<issue>/<id>.yaml`); an id that repeats a built-in one replaces it.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn add(&mut self, folder: &Path) -> Result<(), RulesError> {
        let rule = |name: &str| (name.ends_with(".yaml") || name.ends_with(".yml")) && !name.contains(".test.");
        for path in files(folder, rule)? {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let shown = path.display().to_string();
            let issue = path
                .parent()
                .and_then(Path::file_name)
                .and_then(|n| Issue::from_name(&n.to_string_lossy()))
                .ok_or_else(|| RulesError::NoIssue(shown.clone()))?;
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let rule = file::parse(&shown, &id, issue, &text, &self.language, &self.subjects, true)?;
            match self.rules.iter().position(|r| r.id == id) {
                Some(i) => {
                    self.rules[i] = rule;
                    self.replaced.push(id);
                }
                None => {
                    self.loaded.push((id, issue));
                    self.rules.push(rule);
                }
            }
        }
        self.rules.sort_by(|a, b| (a.issue, &a.id).cmp(&(b.issue, &b.id)));
        Ok(())
    }

    /// Whether a rule that was loaded, or its issue, is of this name.
    pub fn names(&self, name: &str) -> bool {
        self.loaded.iter().any(|(id, issue)| id == name || issue.name() == name)
    }

    /// Keeps the rules that `only` names (all when empty) and drops those that `skip` names.
    ///
    /// # Errors
    /// A name that matches nothing.
    pub fn select(&mut self, only: &[String], skip: &[String]) -> Result<(), RulesError> {
        let names = |rule: &Rule, name: &String| rule.id == *name || rule.issue.name() == name;
        for (option, values) in [("only", only), ("skip", skip)] {
            for value in values {
                if !self.names(value) {
                    return Err(RulesError::NoMatch { option, value: value.clone() });
                }
            }
        }
        self.rules
            .retain(|r| (only.is_empty() || only.iter().any(|n| names(r, n))) && !skip.iter().any(|n| names(r, n)));
        Ok(())
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> RulesError + use<> {
    let path = path.display().to_string();
    move |e| RulesError::Unreadable(path, e)
}

/// The files below a folder whose names are `wanted`, sorted.
fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, RulesError> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).map_err(unreadable(&dir))? {
            let path = entry.map_err(unreadable(&dir))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_unique() {
        let rules = super::RuleSet::built_in().unwrap();
        let mut ids: Vec<&str> = rules.rules.iter().map(|r| r.id.as_str()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "two rules of one id");
    }
}
