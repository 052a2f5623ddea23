//! The report as JSON, format 1, and its schema.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use super::Summary;
use super::place::Places;
use crate::diagnostic::{self, ClusterName, Compared, Diagnostic, Fix, Issue, Report, Resource, Severity, Skipped};
use crate::network::Trace;
use crate::snapshot::{Missing, Snapshot};

/// Where what was checked comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A recorded folder, as it was given.
    Snapshot { path: String },
    /// A live cluster.
    Live,
}

/// The report as JSON, with a line end.
pub fn json(report: &Report, snapshot: &Snapshot, source: &Source) -> String {
    let mut places = Places::new(snapshot);
    let document = Document {
        format: 1,
        tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
        cluster: &report.cluster,
        source: match source {
            Source::Snapshot { path } => {
                Origin::Snapshot { path, recorded_at: snapshot.manifest.recorded_at.as_deref() }
            }
            Source::Live => Origin::Live {},
        },
        findings: report.findings.iter().map(|finding| Finding::new(finding, &mut places)).collect(),
        skipped: report.skipped.iter().map(Skip::new).collect(),
        suppressed: report.suppressed.iter().map(|s| Suppressed::new(s, &mut places)).collect(),
        baseline: report.compared.as_ref(),
        warnings: &report.warnings,
        summary: Summary::of(report),
    };
    // Plain structs with string keys cannot fail to serialize.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The JSON Schema of [`json`]'s answer, generated from the types that write it.
pub fn schema() -> String {
    schema_of::<Document>()
}

/// The JSON Schema of what is written of a type, with a line end.
pub(crate) fn schema_of<T: JsonSchema>() -> String {
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    RecursiveTransform(never_null).transform(&mut schema);
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// Optional keys are left out, never null.
fn never_null(schema: &mut Schema) {
    let null = |value: &serde_json::Value| value == "null" || value.get("type").is_some_and(|t| t == "null");
    for key in ["type", "anyOf"] {
        let Some(choices) = schema.get_mut(key).and_then(|choices| choices.as_array_mut()) else { continue };
        choices.retain(|choice| !null(choice));
        let only = if let [only] = choices.as_slice() { Some(only.clone()) } else { None };
        match (key, only) {
            ("type", Some(only)) => {
                schema.insert("type".to_owned(), only);
            }
            ("anyOf", Some(serde_json::Value::Object(only))) => {
                schema.remove("anyOf");
                for (key, value) in only {
                    schema.insert(key, value);
                }
            }
            _ => {}
        }
    }
}

/// A report of eks-doctor.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "eks-doctor report", rename = "Report")]
struct Document<'r> {
    /// Changes when a pipeline that reads this has to.
    format: u32,
    tool: Tool,
    cluster: &'r ClusterName,
    source: Origin<'r>,
    /// Sorted: severity, issue, rule, resource.
    findings: Vec<Finding<'r>>,
    skipped: Vec<Skip<'r>>,
    suppressed: Vec<Suppressed<'r>>,
    /// When there is a baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<&'r Compared>,
    /// What is to be said of the configuration: a suppression that fits nothing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'r [String],
    summary: Summary,
}

/// What wrote the report.
#[derive(Serialize, JsonSchema)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Where what was checked comes from.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase")]
#[schemars(rename = "Source")]
enum Origin<'r> {
    Snapshot {
        path: &'r str,
        /// RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        recorded_at: Option<&'r str>,
    },
    Live {},
}

/// One fault.
#[derive(Serialize, JsonSchema)]
struct Finding<'r> {
    /// The cluster's name, when the report is about several.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'r str>,
    /// The rule's id.
    rule: &'r str,
    issue: Issue,
    severity: Severity,
    /// What has to change.
    resource: &'r Resource,
    /// Who suffers.
    affected: &'r [Resource],
    /// What is wrong.
    message: &'r str,
    /// Why it matters.
    because: &'r str,
    evidence: Vec<Piece<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'r Trace>,
    fixes: &'r [Fix],
    docs: &'r str,
    /// Stable across runs and object order; what a baseline stores.
    fingerprint: &'r str,
    /// What else is to be said of it: a suppression that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'r str>,
    /// Whether the baseline holds it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    known: bool,
}

impl<'r> Finding<'r> {
    fn new(finding: &'r Diagnostic, places: &mut Places<'r>) -> Finding<'r> {
        let evidence = finding.evidence.iter().filter_map(|evidence| {
            let place = places.find(evidence)?;
            Some(Piece {
                file: place.file,
                pointer: &evidence.pointer,
                line: place.line,
                column: place.column,
                start: place.span.start,
                end: place.span.end,
                text: &evidence.text,
            })
        });
        Finding {
            cluster: finding.cluster.as_deref(),
            rule: &finding.rule,
            issue: finding.issue,
            severity: finding.severity,
            resource: &finding.resource,
            affected: &finding.affected,
            message: &finding.message,
            because: &finding.because,
            evidence: evidence.collect(),
            trace: finding.trace.as_ref(),
            fixes: &finding.fixes,
            docs: &finding.docs,
            fingerprint: &finding.fingerprint,
            note: finding.note.as_deref(),
            known: finding.known,
        }
    }
}

/// A place in the snapshot that shows the fault.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Evidence")]
struct Piece<'r> {
    /// Relative to the snapshot.
    file: &'r str,
    /// JSON pointer (RFC 6901). When nothing stands there, the rest is about the nearest parent.
    pointer: &'r str,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    /// First byte.
    start: usize,
    /// The byte after the last.
    end: usize,
    text: &'r str,
}

/// A rule that could not be decided about an object.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Skipped")]
struct Skip<'r> {
    /// The cluster's name, when the report is about several.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'r str>,
    rule: &'r str,
    /// Absent when the rule could not even list its objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'r Resource>,
    missing: Vec<Lack<'r>>,
}

impl<'r> Skip<'r> {
    fn new(skipped: &'r Skipped) -> Skip<'r> {
        let lack = |Missing { read, reason }: &'r Missing| Lack { read, reason };
        Skip {
            cluster: skipped.cluster.as_deref(),
            rule: &skipped.rule,
            resource: skipped.resource.as_ref(),
            missing: skipped.missing.iter().map(lack).collect(),
        }
    }
}

/// A read that a rule needed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Missing")]
struct Lack<'r> {
    /// The operation, as IAM spells it.
    read: &'r str,
    reason: &'r str,
}

/// A finding that someone decided to live with.
#[derive(Serialize, JsonSchema)]
struct Suppressed<'r> {
    finding: Finding<'r>,
    /// The file that says so.
    by: &'r str,
    reason: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<&'r str>,
}

impl<'r> Suppressed<'r> {
    fn new(suppressed: &'r diagnostic::Suppressed, places: &mut Places<'r>) -> Suppressed<'r> {
        Suppressed {
            finding: Finding::new(&suppressed.finding, places),
            by: &suppressed.by,
            reason: &suppressed.reason,
            until: suppressed.until.as_deref(),
        }
    }
}
