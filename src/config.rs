//! `eks-doctor.yaml`: what a team decided about its checks, and which findings it lives with.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::date::Date;
use crate::diagnostic::Severity;
use crate::rule::RuleSet;
use crate::yaml::{File, Ordered, YamlError};

/// The name of the file that is looked for in the working directory.
pub const FILE: &str = "eks-doctor.yaml";

/// Where its keys are described.
const HELP: &str = "docs/configuration.md says what the file holds";

pub use crate::fail_on::FailOn;

impl FailOn {
    /// Whether a finding this bad counts.
    pub fn counts(self, severity: Severity) -> bool {
        match self {
            FailOn::Error => severity <= Severity::Error,
            FailOn::Warning => severity <= Severity::Warning,
            FailOn::Info => severity <= Severity::Info,
            FailOn::Never => false,
        }
    }
}

/// What the file holds; a default one holds nothing.
#[derive(Debug, Default)]
pub struct Config {
    pub fail_on: Option<FailOn>,
    pub fail_on_skipped: Option<bool>,
    /// Folders of more rules, from where eks-doctor was started.
    pub rules: Vec<PathBuf>,
    pub only: Vec<Name>,
    pub skip: Vec<Name>,
    pub suppressions: Vec<Suppression>,
    parameters: Parameters,
    path: String,
    text: String,
}

/// Values for the parameters of rules: rule, and of it name and value.
type Parameters = Ordered<Spanned<String>, Ordered<Spanned<String>, Spanned<serde_json::Value>>>;

/// The name of a rule or issue, and where it stands.
type Name = Spanned<String>;

/// Findings that someone decided to live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The id of a rule or the name of an issue; may hold `*` and `?`, as all that follows.
    pub rule: Option<String>,
    /// The id or name of what has to change.
    pub resource: Option<String>,
    /// A tag (of Kubernetes: a label) that it carries.
    pub tag: Option<Tag>,
    pub reason: String,
    /// The last day.
    pub until: Option<Date>,
    /// `eks-doctor.yaml:12`
    pub by: String,
}

/// A tag by key, and by value when one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub key: String,
    pub value: Option<String>,
}

impl Tag {
    /// As the file writes it.
    pub fn shown(&self) -> String {
        self.value.as_ref().map_or_else(|| self.key.clone(), |value| format!("{}={value}", self.key))
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error(transparent)]
    Mistake(Box<YamlError>),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    fail_on: Option<FailOn>,
    fail_on_skipped: Option<bool>,
    rules: Vec<PathBuf>,
    only: Vec<Name>,
    skip: Vec<Name>,
    parameters: Parameters,
    suppress: Vec<Spanned<RawSuppression>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSuppression {
    #[serde(default)]
    rule: Option<Spanned<String>>,
    #[serde(default)]
    resource: Option<Spanned<String>>,
    #[serde(default)]
    tag: Option<Spanned<String>>,
    #[serde(default)]
    reason: Option<Spanned<String>>,
    #[serde(default)]
    until: Option<Spanned<String>>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// The first mistake in it, with its place.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Unreadable(shown.clone(), e))?;
        let mut config = Config::parse(&shown, &text).map_err(|e| ConfigError::Mistake(Box::new(e)))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for rules in &mut config.rules {
            *rules = folder.join(&*rules);
        }
        Ok(config)
    }

    fn parse(path: &str, text: &str) -> Result<Config, YamlError> {
        let file = File { path, text };
        // A file of remarks alone holds nothing.
        let empty = text.lines().all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#'));
        let raw: Raw = if empty { Raw::default() } else { file.read(HELP)? };
        let suppressions = raw.suppress.iter().map(|one| suppression(&file, one)).collect::<Result<_, _>>()?;
        Ok(Config {
            fail_on: raw.fail_on,
            fail_on_skipped: raw.fail_on_skipped,
            rules: raw.rules,
            only: raw.only,
            skip: raw.skip,
            suppressions,
            parameters: raw.parameters,
            path: path.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Gives rules the parameters, and sees that `only` and `skip` name something.
    ///
    /// # Errors
    /// What names nothing or has another type, with its place.
    pub fn settle(&self, rules: &mut RuleSet) -> Result<(), Box<YamlError>> {
        let file = File { path: &self.path, text: &self.text };
        let wrong = |name: &Spanned<String>, message: String, help: String| {
            let mut error = file.at(name.referenced, message, Some(help));
            error.span = error.span.map(|span| (span.offset(), name.value.len()).into());
            Box::new(error)
        };
        for name in self.only.iter().chain(&self.skip) {
            if !rules.names(&name.value) {
                let help = "`eks-doctor rules` lists them".to_owned();
                return Err(wrong(name, format!("no rule or issue `{}`", name.value), help));
            }
        }
        for (id, values) in &self.parameters.0 {
            let Some(rule) = rules.rules.iter_mut().find(|r| r.id == id.value) else {
                let help = "`eks-doctor rules` lists them".to_owned();
                return Err(wrong(id, format!("no rule `{}`", id.value), help));
            };
            for (name, value) in &values.0 {
                let there: Vec<&str> = rule.parameters.iter().map(|p| p.name.as_str()).collect();
                let there = if there.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {}, see `eks-doctor explain {}`", there.join(", "), rule.id)
                };
                let Some(parameter) = rule.parameters.iter_mut().find(|p| p.name == name.value) else {
                    return Err(wrong(name, format!("rule {} has no parameter `{}`", rule.id, name.value), there));
                };
                parameter.set(&value.value).map_err(|what| {
                    Box::new(file.at(
                        value.referenced,
                        format!("`{}` {what}", name.value),
                        Some(parameter.about.clone()),
                    ))
                })?;
            }
        }
        Ok(())
    }
}

fn suppression(file: &File<'_>, raw: &Spanned<RawSuppression>) -> Result<Suppression, YamlError> {
    let place = raw.referenced;
    let one = &raw.value;
    let text = |field: &Option<Spanned<String>>| field.as_ref().map(|f| f.value.trim().to_owned());
    for field in [&one.rule, &one.resource, &one.tag].into_iter().flatten() {
        if field.value.trim().is_empty() {
            let help = "leave the key out, or say what it fits (`*` fits anything)".to_owned();
            return Err(file.at(field.referenced, "fits nothing, since it is empty".to_owned(), Some(help)));
        }
    }
    if one.rule.is_none() && one.resource.is_none() && one.tag.is_none() {
        let help = "say which findings: by `rule`, `resource` or `tag`".to_owned();
        return Err(file.at(place, "this suppression would fit every finding".to_owned(), Some(help)));
    }
    let reason = text(&one.reason).unwrap_or_default();
    if reason.is_empty() {
        let place = one.reason.as_ref().map_or(place, |r| r.referenced);
        let help = "write for those who come after you why it may stay: `reason: ...`".to_owned();
        return Err(file.at(place, "this suppression has no reason".to_owned(), Some(help)));
    }
    let until = one
        .until
        .as_ref()
        .map(|until| {
            Date::parse(&until.value).ok_or_else(|| {
                let message = format!("`until: {}` is no day", until.value);
                file.at(until.referenced, message, Some("write the last day as 2026-12-31".to_owned()))
            })
        })
        .transpose()?;
    let tag = text(&one.tag).map(|tag| match tag.split_once('=') {
        Some((key, value)) => Tag { key: key.to_owned(), value: Some(value.to_owned()) },
        None => Tag { key: tag, value: None },
    });
    Ok(Suppression {
        rule: text(&one.rule),
        resource: text(&one.resource),
        tag,
        reason,
        until,
        by: format!("{}:{}", file.path, place.line()),
    })
}
