//! The report as SARIF 2.1.0, as GitHub code scanning takes it.
//!
//! `fixes` are left out: SARIF wants changes of files, and ours are commands; they stand in the message.

use serde::Serialize;
use serde_json::{Value, json};

use super::place::{Place, Places};
use super::text::clean;
use super::{Context, RuleInfo, flow, hop_line};
use crate::diagnostic::{Diagnostic, Report, Severity, Suppressed};
use crate::network::{Hop, Verdict};
use crate::snapshot::{Gravity, Snapshot};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Places of one result that GitHub takes are 1,000; of a rule's help nobody reads more.
const HELP: usize = 20_000;

#[derive(Serialize)]
struct Text {
    text: String,
}

impl Text {
    fn new(text: &str) -> Text {
        let text = clean(text);
        Text { text: if text.trim().is_empty() { "-".to_owned() } else { text } }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'r> {
    id: &'r str,
    name: String,
    short_description: Text,
    full_description: Text,
    help: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<&'r str>,
    default_configuration: Value,
    properties: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'r> {
    rule_id: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: Text,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    code_flows: Vec<Value>,
    partial_fingerprints: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline_state: Option<&'static str>,
    /// Empty: nobody suppressed it.
    suppressions: Vec<Value>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: Physical,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Value,
    region: Region,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

impl Physical {
    fn new(place: &Place<'_>, context: &Context<'_>) -> Physical {
        let region = Region {
            start_line: place.line,
            start_column: place.column,
            end_line: place.end.0,
            end_column: place.end.1,
        };
        Physical { artifact_location: json!({"uri": uri(&context.path(place.file))}), region }
    }
}

/// The report as SARIF, with a line end.
pub fn sarif(report: &Report, snapshot: &Snapshot, context: &Context<'_>) -> String {
    let mut writer = Writer { report, snapshot, context, places: Places::new(snapshot) };
    let mut results: Vec<Outcome<'_>> = report.findings.iter().map(|f| writer.result(f, None)).collect();
    results.extend(report.suppressed.iter().map(|s| writer.result(&s.finding, Some(s))));
    let rules: Vec<Descriptor<'_>> = context.rules.iter().map(descriptor).collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "automationDetails": {"id": format!("eks-doctor/{}/", clean(&report.cluster.name))},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": !snapshot.problems.iter().any(|p| p.gravity == Gravity::NotJson),
                "toolExecutionNotifications": writer.notifications(),
                "toolConfigurationNotifications": report.warnings.iter()
                    .map(|warning| json!({"level": "warning", "message": Text::new(warning)})).collect::<Vec<_>>(),
            }],
            "results": results,
        }],
    });
    // Values with string keys cannot fail to serialize.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

struct Writer<'r> {
    report: &'r Report,
    snapshot: &'r Snapshot,
    context: &'r Context<'r>,
    places: Places<'r>,
}

impl<'r> Writer<'r> {
    fn index(&self, rule: &str) -> Option<usize> {
        self.context.rules.iter().position(|known| known.id == rule)
    }

    fn result(&mut self, finding: &'r Diagnostic, suppressed: Option<&Suppressed>) -> Outcome<'r> {
        let resource = &finding.resource;
        let logical = json!({
            "name": clean(resource.name.as_ref().unwrap_or(&resource.id)),
            "fullyQualifiedName": clean(&resource.id),
            "kind": "resource",
        });
        let mut places: Vec<Location> = Vec::new();
        for evidence in &finding.evidence {
            let Some(place) = self.places.find(evidence) else { continue };
            places.push(Location {
                id: None,
                physical_location: Physical::new(&place, self.context),
                logical_locations: Vec::new(),
                message: Some(json!(Text::new(&evidence.text))),
            });
        }
        if places.is_empty() && !self.snapshot.documents.is_empty() {
            // GitHub refuses a result without a place.
            let first = crate::diagnostic::Evidence { document: 0, pointer: String::new(), text: String::new() };
            places.extend(self.places.find(&first).map(|place| Location {
                id: None,
                physical_location: Physical::new(&place, self.context),
                logical_locations: Vec::new(),
                message: None,
            }));
        }
        let mut related = places.split_off(places.len().min(1));
        for (i, place) in related.iter_mut().enumerate() {
            place.id = Some(i + 1);
        }
        if let Some(first) = places.first_mut() {
            first.logical_locations.push(logical);
        }
        let code_flows = self.flows(finding, places.first());
        let fingerprint = &finding.fingerprint;
        Outcome {
            rule_id: &finding.rule,
            rule_index: self.index(&finding.rule),
            level: level(finding.severity),
            message: Text { text: message(finding) },
            locations: places,
            related_locations: related,
            code_flows,
            // The second is what GitHub tells alerts apart by.
            partial_fingerprints: json!({
                "eksDoctor/v1": fingerprint,
                "primaryLocationLineHash": format!("{fingerprint}:1"),
            }),
            baseline_state: match (&self.report.compared, suppressed) {
                (Some(_), None) => Some(if finding.known { "unchanged" } else { "new" }),
                _ => None,
            },
            suppressions: suppressed
                .map(|s| json!({"kind": "external", "status": "accepted", "justification": clean(&s.reason)}))
                .into_iter()
                .collect(),
        }
    }

    /// The path of the packet and that of its answer. A step that is recorded nowhere stands at the finding's place,
    /// since GitHub shows no step without one.
    fn flows(&mut self, finding: &Diagnostic, fallback: Option<&Location>) -> Vec<Value> {
        let Some(trace) = &finding.trace else { return Vec::new() };
        let mut threads = Vec::new();
        for (way, hops) in [("forward", &trace.forward), ("return", &trace.back)] {
            let locations: Vec<Value> = hops.iter().filter_map(|hop| self.step(hop, fallback)).collect();
            if !locations.is_empty() {
                threads.push(json!({"id": way, "message": {"text": way}, "locations": locations}));
            }
        }
        if threads.is_empty() {
            return Vec::new();
        }
        vec![json!({"message": Text::new(&flow(trace)), "threadFlows": threads})]
    }

    fn step(&mut self, hop: &Hop, fallback: Option<&Location>) -> Option<Value> {
        let recorded = hop.spot.as_ref().and_then(|spot| {
            let (document, pointer) = self.snapshot.locate(spot);
            let place = self.places.find(&crate::diagnostic::Evidence { document, pointer, text: String::new() })?;
            Some(Physical::new(&place, self.context))
        });
        let physical = recorded.or_else(|| fallback.map(|location| location.physical_location.clone()))?;
        Some(json!({
            "location": {
                "physicalLocation": physical,
                "logicalLocations": [{"name": clean(&hop.at), "kind": "resource"}],
                "message": Text::new(&hop_line(hop)),
            },
            "importance": if hop.verdict == Verdict::Allowed { "important" } else { "essential" },
        }))
    }

    /// What could not be checked or read.
    fn notifications(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for skipped in &self.report.skipped {
            let missing: Vec<String> = skipped.missing.iter().map(ToString::to_string).collect();
            let about = skipped.resource.as_ref().map_or_else(String::new, |r| format!(" for {} {}", r.kind, r.id));
            let text = format!("{} was not checked{about}, for want of {}", skipped.rule, missing.join("; "));
            let mut rule = json!({"id": skipped.rule});
            if let Some(index) = self.index(&skipped.rule) {
                rule["index"] = json!(index);
            }
            all.push(json!({"level": "note", "message": Text::new(&text), "associatedRule": rule}));
        }
        for problem in &self.snapshot.problems {
            let level = if problem.gravity == Gravity::Note { "note" } else { "error" };
            let mut physical = json!({"artifactLocation": {"uri": uri(&self.context.path(&problem.file))}});
            if let Some(line) = problem.line {
                physical["region"] =
                    json!({"startLine": line.max(1), "startColumn": problem.column.unwrap_or(1).max(1)});
            }
            let text = Text::new(&format!("{}; {}", problem.message, problem.help));
            all.push(json!({"level": level, "message": text, "locations": [{"physicalLocation": physical}]}));
        }
        all
    }
}

fn descriptor(rule: &RuleInfo) -> Descriptor<'_> {
    let problem = match rule.severity {
        Some(Severity::Error) => "error",
        Some(Severity::Info) => "recommendation",
        Some(Severity::Warning) | None => "warning",
    };
    let page: String = rule.page.chars().take(HELP).collect();
    Descriptor {
        id: &rule.id,
        name: rule
            .id
            .split('-')
            .map(|word| {
                let mut letters = word.chars();
                letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
            })
            .collect(),
        short_description: Text::new(&rule.title),
        full_description: Text::new(&rule.title),
        help: json!({"text": page, "markdown": page}),
        help_uri: Some(rule.docs.as_str()).filter(|docs| docs.starts_with("https://") && !docs.contains(' ')),
        default_configuration: json!({"level": level(rule.severity.unwrap_or(Severity::Warning))}),
        properties: json!({
            "tags": ["eks", "networking", rule.issue.name()],
            "problem.severity": problem,
            "precision": "high",
        }),
    }
}

/// What, why and how to mend it: GitHub shows nothing else of a single result.
fn message(finding: &Diagnostic) -> String {
    let mut lines = vec![clean(&finding.message)];
    if let Some(note) = &finding.note {
        lines.push(format!("Note: {}", clean(note)));
    }
    if !finding.because.is_empty() {
        lines.push(format!("Why: {}", clean(&finding.because)));
    }
    for fix in &finding.fixes {
        lines.push(format!("Fix: {}", clean(&fix.title)));
        lines.extend(fix.commands.iter().flat_map(|command| command.lines()).map(|line| format!("  {}", clean(line))));
    }
    // Brackets would be links in a message of SARIF.
    lines.join("\n").replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]")
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// A path as a URI; an absolute one names its scheme.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(char::from(byte)),
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri
}
