//! Reading rule files: YAML with places, templates, and every expression checked.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::expr::{Expr, ExprError, Language, Scope};
use super::functions::{Subject, Ty};
use super::value::Value;
use crate::diagnostic::{Issue, Severity};
use crate::snapshot::TABLES;
use crate::yaml::{File, Ordered, YamlError};

/// A rule, ready to run.
#[derive(Debug)]
pub struct Rule {
    /// The file's name: it names the fault.
    pub id: String,
    pub issue: Issue,
    pub title: String,
    pub severity: Severities,
    /// The shape that it looks at.
    pub shape: &'static str,
    /// The name of the object in expressions.
    pub subject: String,
    /// Thresholds that a configuration may set.
    pub parameters: Vec<Parameter>,
    pub lets: Vec<(String, Expr)>,
    pub condition: Option<Expr>,
    pub require: Expr,
    pub resource: Option<Expr>,
    pub affected: Option<Expr>,
    pub trace: Option<Expr>,
    pub message: Template,
    pub because: Template,
    pub evidence: Vec<EvidenceRule>,
    pub fixes: Vec<FixRule>,
    pub docs: String,
    /// Symptoms are reported only when no finding explains them.
    pub symptom: bool,
    /// Symptoms (ids of rules) that this fault brings about, whatever objects they name.
    pub explains: Vec<String>,
    /// Operations whose answers the rule needs.
    pub reads: BTreeSet<&'static str>,
    /// Whether it came with `--rules`.
    pub custom: bool,
}

/// A threshold that a rule declares and a configuration may set.
#[derive(Debug)]
pub struct Parameter {
    pub name: String,
    /// Bool, int or string.
    pub ty: Ty,
    pub about: String,
    pub value: Value,
    pub default: Value,
}

impl Parameter {
    /// Takes another value.
    ///
    /// # Errors
    /// When it is of another type, for people.
    pub fn set(&mut self, value: &serde_json::Value) -> Result<(), String> {
        self.value = typed(self.ty, value)?;
        Ok(())
    }
}

/// A value of a file as one of a parameter's type.
fn typed(ty: Ty, value: &serde_json::Value) -> Result<Value, String> {
    let known = match ty {
        Ty::Bool => value.as_bool().map(Value::Bool),
        Ty::Int => value.as_i64().map(Value::Int),
        _ => value.as_str().map(Value::from),
    };
    known.ok_or_else(|| format!("is {value}, but {} is wanted", article(ty)))
}

fn article(ty: Ty) -> &'static str {
    match ty {
        Ty::Bool => "true or false",
        Ty::Int => "a whole number",
        _ => "a string",
    }
}

/// How bad a finding is: always the same, or by an expression.
#[derive(Debug)]
pub enum Severities {
    Always(Severity),
    By(Expr),
}

/// A place that a finding points at.
#[derive(Debug)]
pub struct EvidenceRule {
    pub at: Expr,
    pub text: Template,
}

/// A way to mend it.
#[derive(Debug)]
pub struct FixRule {
    pub title: Template,
    pub when: Option<Expr>,
    pub commands: Vec<Template>,
}

/// Text with `{{ expressions }}`.
#[derive(Debug)]
pub struct Template(pub Vec<Part>);

/// A part of a template.
#[derive(Debug)]
pub enum Part {
    Text(String),
    Expr(Expr),
}

/// The JSON Schema of a rule file, with a line end.
pub fn schema() -> String {
    let schema = schemars::generate::SchemaSettings::draft07().into_generator().into_root_schema_for::<Raw>();
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// A rule of eks-doctor. Its file stands in a folder named after its issue and is named after its id.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Rule")]
#[serde(deny_unknown_fields)]
struct Raw {
    /// The fault, as a headline; no full stop.
    title: String,
    /// `error` (breaks now), `warning` (breaks under growth or change), `info` (advice), or `{{ an expression that gives one }}`.
    #[schemars(with = "String")]
    severity: Spanned<String>,
    /// The shape to visit (`eks-doctor rules shapes`); the object is bound in lower camel case.
    #[schemars(with = "String")]
    r#match: Spanned<String>,
    /// Thresholds that `eks-doctor.yaml` may set, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawParameter>")]
    parameters: Ordered<Spanned<String>, RawParameter>,
    /// Names for expressions, evaluated when first used.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    r#let: Ordered<Spanned<String>, Spanned<String>>,
    /// A bool; false: the rule does not apply.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    r#where: Option<Spanned<String>>,
    /// A bool; true: passed, false: failed, error: unknown (skipped).
    #[schemars(with = "String")]
    require: Spanned<String>,
    /// The object that has to change; the matched one when absent.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    resource: Option<Spanned<String>>,
    /// Who suffers: an object or a list of objects.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    affected: Option<Spanned<String>>,
    /// A Reach: its path is shown with the finding.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    trace: Option<Spanned<String>>,
    /// What is wrong, with `{{ expressions }}`; lower case, no full stop.
    #[schemars(with = "String")]
    message: Spanned<String>,
    /// Why it hurts, in one or two sentences.
    #[schemars(with = "String")]
    because: Spanned<String>,
    /// Places in the snapshot that show it.
    #[serde(default)]
    evidence: Vec<RawEvidence>,
    /// Ways to mend it, the best first.
    #[serde(default)]
    fixes: Vec<RawFix>,
    /// Where to read on, an https:// address.
    docs: String,
    /// Told with the finding that explains it, alone only when none does.
    #[serde(default)]
    symptom: bool,
    #[serde(default)]
    explains: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawParameter {
    /// Its type.
    r#type: RawType,
    /// Its value unless `eks-doctor.yaml` says another.
    #[schemars(with = "serde_json::Value")]
    default: Spanned<serde_json::Value>,
    /// What it means, and its unit.
    about: String,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum RawType {
    Bool,
    Int,
    String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    /// An object, a list of them, or a path to a field.
    #[schemars(with = "String")]
    at: Spanned<String>,
    /// What is to be seen there.
    #[schemars(with = "String")]
    text: Spanned<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawFix {
    /// What is done.
    #[schemars(with = "String")]
    title: Spanned<String>,
    /// A bool; only then.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    when: Option<Spanned<String>>,
    /// Ready to paste; a lone `{{ list }}` gives a line for each element.
    #[schemars(with = "Vec<String>")]
    commands: Vec<Spanned<String>>,
}

impl File<'_> {
    fn compile(&self, scope: &Scope<'_>, scalar: &Spanned<String>, want: Want) -> Result<Expr, YamlError> {
        self.compile_at(scope, scalar, &scalar.value, 0, want)
    }

    fn compile_at(
        &self,
        scope: &Scope<'_>,
        scalar: &Spanned<String>,
        source: &str,
        from: usize,
        want: Want,
    ) -> Result<Expr, YamlError> {
        let trimmed = source.trim_end();
        let lead = trimmed.len() - trimmed.trim_start().len();
        let expr = scope.compile(trimmed.trim_start()).map_err(|ExprError { message, span, help }| {
            self.inside(scalar, from + lead + span.start..from + lead + span.end, message, help)
        })?;
        let fits = match want {
            Want::Bool => expr.ty == "bool",
            Want::Objects => {
                let mut of = expr.ty.as_str();
                while let Some(inner) = of.strip_prefix("list(").and_then(|t| t.strip_suffix(')')) {
                    of = inner;
                }
                of.starts_with(char::is_uppercase) || of == "dyn"
            }
            Want::Text => !expr.ty.starts_with("map("),
            Want::Any => true,
        };
        if !fits {
            let wanted = match want {
                Want::Bool => "a bool",
                Want::Objects => "an object or a list of objects",
                _ => "text, a number or an object",
            };
            let message = format!("gives {}, but {wanted} is wanted", expr.ty);
            return Err(self.inside(scalar, from + lead..from + trimmed.len(), message, None));
        }
        Ok(expr)
    }

    fn template(&self, scope: &Scope<'_>, scalar: &Spanned<String>) -> Result<Template, YamlError> {
        let text = scalar.value.as_str();
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find("{{").map(|i| at + i) {
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            let Some(close) = text[open..].find("}}").map(|i| open + i) else {
                return Err(self.inside(scalar, open..open + 2, "`{{` without `}}`".to_owned(), None));
            };
            parts.push(Part::Expr(self.compile_at(scope, scalar, &text[open + 2..close], open + 2, Want::Text)?));
            at = close + 2;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Template(parts))
    }
}

#[derive(Clone, Copy)]
enum Want {
    Bool,
    Objects,
    Text,
    Any,
}

/// `NetworkAcl` is `networkAcl` in expressions, `VPC..` stays together: `ENIConfig` is `eniConfig`. `namespace` is a
/// reserved word of CEL.
pub fn subject_name(shape: &str) -> String {
    if shape == "Namespace" {
        return "theNamespace".to_owned();
    }
    let chars: Vec<char> = shape.chars().collect();
    let upper = chars.iter().take_while(|c| c.is_uppercase() || c.is_ascii_digit()).count();
    let down = if upper > 1 && upper < chars.len() { upper - 1 } else { upper };
    chars.iter().enumerate().map(|(i, c)| if i < down { c.to_ascii_lowercase() } else { *c }).collect()
}

/// Reads one rule file.
///
/// # Errors
/// The first mistake, with its place in the YAML.
pub fn parse(
    path: &str,
    id: &str,
    issue: Issue,
    text: &str,
    language: &Language,
    subjects: &[Subject],
    custom: bool,
) -> Result<Rule, YamlError> {
    let file = File { path, text };
    let raw: Raw = file.read("docs/writing-rules.md says what a rule file holds")?;

    let shape = raw.r#match.value.as_str();
    let table = TABLES.iter().find(|t| t.shape == shape);
    let derived = subjects.iter().find(|s| s.name() == shape);
    let mut reads = BTreeSet::new();
    let schema = match (table, derived) {
        (Some(table), _) => {
            reads.insert(table.read);
            (table.schema)()
        }
        (None, Some(subject)) => {
            reads.extend(subject.reads);
            (subject.schema)()
        }
        (None, None) => {
            let mut names: Vec<&str> =
                TABLES.iter().map(|t| t.shape).chain(subjects.iter().map(Subject::name)).collect();
            names.sort_unstable();
            let near =
                names.iter().find(|n| n.eq_ignore_ascii_case(shape) || n.starts_with(shape) || shape.starts_with(**n));
            let help =
                near.map_or_else(|| format!("there are {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
            return Err(file.at(raw.r#match.referenced, format!("no shape `{shape}` can be matched"), Some(help)));
        }
    };
    let subject = subject_name(schema.name);
    let mut scope = language.scope(&subject, schema.name);
    let mut taken = vec!["cluster".to_owned(), subject.clone()];
    let mut name_of = |name: &Spanned<String>| {
        let plain = name.value.starts_with(|c: char| c.is_ascii_lowercase())
            && name.value.chars().all(|c| c.is_ascii_alphanumeric());
        if !plain {
            let help = Some("write it like `leastFree`: a lower-case letter, then letters and digits".to_owned());
            return Err(file.at(name.referenced, format!("`{}` is no name for expressions", name.value), help));
        }
        if taken.contains(&name.value) {
            return Err(file.at(name.referenced, format!("`{}` is named twice", name.value), None));
        }
        taken.push(name.value.clone());
        Ok(name.value.clone())
    };
    let mut parameters = Vec::new();
    for (name, raw) in &raw.parameters.0 {
        let (name, ty) = (
            name_of(name)?,
            match raw.r#type {
                RawType::Bool => Ty::Bool,
                RawType::Int => Ty::Int,
                RawType::String => Ty::Str,
            },
        );
        let default = typed(ty, &raw.default.value)
            .map_err(|wrong| file.at(raw.default.referenced, format!("the default of `{name}` {wrong}"), None))?;
        scope.declare(&name, &ty);
        parameters.push(Parameter { name, ty, about: raw.about.clone(), value: default.clone(), default });
    }
    let mut lets = Vec::new();
    for (name, scalar) in &raw.r#let.0 {
        let name = name_of(name)?;
        let expr = file.compile(&scope, scalar, Want::Any)?;
        scope.bind(&name, &expr);
        lets.push((name, expr));
    }
    let scope = &scope;
    let optional = |scalar: &Option<Spanned<String>>, want: Want| -> Result<Option<Expr>, YamlError> {
        scalar.as_ref().map(|s| file.compile(scope, s, want)).transpose()
    };
    let severity = match raw.severity.value.as_str() {
        "error" => Severities::Always(Severity::Error),
        "warning" => Severities::Always(Severity::Warning),
        "info" => Severities::Always(Severity::Info),
        text if text.starts_with("{{") && text.ends_with("}}") => {
            let inner = &text[2..text.len() - 2];
            Severities::By(file.compile_at(scope, &raw.severity, inner, 2, Want::Text)?)
        }
        other => {
            let help = Some("it is error, warning or info, or `{{ an expression that gives one }}`".to_owned());
            return Err(file.at(raw.severity.referenced, format!("no severity `{other}`"), help));
        }
    };
    let mut evidence = Vec::new();
    for e in &raw.evidence {
        evidence
            .push(EvidenceRule { at: file.compile(scope, &e.at, Want::Any)?, text: file.template(scope, &e.text)? });
    }
    let mut fixes = Vec::new();
    for fix in &raw.fixes {
        let commands = fix.commands.iter().map(|c| file.template(scope, c)).collect::<Result<_, _>>()?;
        fixes.push(FixRule {
            title: file.template(scope, &fix.title)?,
            when: optional(&fix.when, Want::Bool)?,
            commands,
        });
    }
    let mut rule = Rule {
        id: id.to_owned(),
        issue,
        title: raw.title,
        severity,
        shape: schema.name,
        condition: optional(&raw.r#where, Want::Bool)?,
        require: file.compile(scope, &raw.require, Want::Bool)?,
        resource: optional(&raw.resource, Want::Objects)?,
        affected: optional(&raw.affected, Want::Objects)?,
        trace: optional(&raw.trace, Want::Objects)?,
        message: file.template(scope, &raw.message)?,
        because: file.template(scope, &raw.because)?,
        evidence,
        fixes,
        docs: raw.docs,
        symptom: raw.symptom,
        explains: raw.explains,
        reads,
        custom,
        parameters,
        lets,
        subject,
    };
    let deciding = rule.lets.iter().map(|(_, e)| e).chain(&rule.condition).chain([&rule.require]);
    let more: BTreeSet<&'static str> = deciding.flat_map(|e| e.reads.iter().copied()).collect();
    rule.reads.extend(more);
    Ok(rule)
}
