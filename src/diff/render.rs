//! What a comparison looks like: text, JSON, Markdown.

use std::fmt::Write;

use owo_colors::{OwoColorize, Style as Paint};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Behind, Change, Difference, Side};
use crate::diagnostic::{Diagnostic, Fix, Issue, Resource, Severity};
use crate::report::{Style, clean, escape, plural, schema_of, severity_name};

/// `2 findings appeared, 1 went, 3 stayed`
fn sum(difference: &Difference) -> String {
    let mut all = vec![
        format!("{} appeared", plural(difference.appeared.len(), "finding")),
        format!("{} went", difference.gone.len()),
        format!("{} stayed", difference.stayed),
    ];
    if !difference.unchecked.is_empty() {
        all.push(format!("{} could not be checked again", difference.unchecked.len()));
    }
    all.join(", ")
}

fn doubt(behind: &Behind, side: &str) -> Option<String> {
    (!behind.both_checked).then(|| format!("its rule could not be checked in {side}, so it may have been there"))
}

/// `(aws/ec2/describe-route-tables.json:12:5 of OLD)`
fn place(change: &Change, old: &Side<'_>) -> String {
    let of = if change.old { format!(" of {}", old.path) } else { String::new() };
    format!("{}:{}:{}{of}", change.file, change.line, change.column)
}

/// `RouteTable rtb-0a (private-a)`
fn named(resource: &Resource) -> String {
    match &resource.name {
        Some(name) if *name != resource.id => format!("{} {} ({name})", words(&resource.kind), resource.id),
        _ => format!("{} {}", words(&resource.kind), resource.id),
    }
}

/// `RouteTable` is a route table, `NetworkAcl` a network ACL.
fn words(kind: &str) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut upper = false;
    for c in kind.chars() {
        if c.is_uppercase() && !upper {
            all.push(String::new());
        }
        upper = c.is_uppercase();
        if let Some(word) = all.last_mut() {
            word.push(c);
        }
    }
    let word = |word: &String| match word.as_str() {
        "Acl" | "Vpc" | "Nat" | "Dhcp" | "Eni" => word.to_uppercase(),
        word if word.len() > 1 && word.chars().all(char::is_uppercase) => word.to_owned(),
        word => word.to_lowercase(),
    };
    all.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// For people, with a line end.
pub fn text(difference: &Difference, old: &Side<'_>, new: &Side<'_>, style: &Style) -> String {
    let paint = |text: &str, paint: Paint| if style.color { text.style(paint).to_string() } else { text.to_owned() };
    let mut out = String::new();
    let head = |out: &mut String, title: &str, count: usize| {
        let _ = writeln!(out, "{}", paint(&format!("{title} ({count})"), Paint::new().bold()));
    };
    let finding = |finding: &Diagnostic| {
        let color = match finding.severity {
            Severity::Error => Paint::new().red().bold(),
            Severity::Warning => Paint::new().yellow().bold(),
            Severity::Info => Paint::new().cyan().bold(),
        };
        let lead = format!("{}[{}]", severity_name(finding.severity), clean(&finding.rule));
        format!("  {}: {}", paint(&lead, color), clean(&finding.message))
    };
    let changes = |out: &mut String, behind: &Behind| {
        for change in &behind.changes {
            let _ = writeln!(out, "    {}: {}", clean(&named(&change.resource)), clean(&change.what));
            let _ = writeln!(out, "      {}", paint(&clean(&place(change, old)), Paint::new().dimmed()));
        }
        if behind.more > 0 {
            let _ = writeln!(out, "    and {}", plural(behind.more, "more change"));
        }
        if behind.changes.is_empty() {
            let _ = writeln!(out, "    nothing that is recorded of what it names or reads changed");
        }
    };
    if !difference.appeared.is_empty() {
        head(&mut out, "Appeared", difference.appeared.len());
        for behind in &difference.appeared {
            let _ = writeln!(out, "{}", finding(&behind.finding));
            if let Some(doubt) = doubt(behind, &old.path) {
                let _ = writeln!(out, "    {doubt}");
            }
            changes(&mut out, behind);
            if let Some(Fix { title, commands, .. }) = behind.finding.fixes.first() {
                let _ = writeln!(out, "    {}", paint(&format!("fix: {}", clean(title)), Paint::new().green()));
                for command in commands {
                    let _ = writeln!(out, "      {}", command.lines().map(clean).collect::<Vec<_>>().join("\n"));
                }
            }
        }
        out.push('\n');
    }
    if !difference.gone.is_empty() {
        head(&mut out, "Gone", difference.gone.len());
        for behind in &difference.gone {
            let _ = writeln!(out, "{}", finding(&behind.finding));
            changes(&mut out, behind);
        }
        out.push('\n');
    }
    if !difference.unchecked.is_empty() {
        head(&mut out, &format!("Could not be checked in {}", new.path), difference.unchecked.len());
        for one in &difference.unchecked {
            let _ = writeln!(out, "{}", finding(one));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}", sum(difference));
    out
}

/// What `eks-doctor diff` tells.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "eks-doctor difference", rename = "Difference")]
struct Document<'d> {
    /// Changes when a pipeline that reads this has to.
    format: u32,
    /// The cluster of the new snapshot.
    cluster: &'d str,
    old: Source<'d>,
    new: Source<'d>,
    /// In the new snapshot and not in the old one.
    appeared: Vec<Entry<'d>>,
    /// In the old snapshot and not in the new one.
    gone: Vec<Entry<'d>>,
    /// In the old one, and the new one does not hold what would tell.
    unchecked: Vec<Entry<'d>>,
    /// How many findings are in both.
    stayed: usize,
}

/// A snapshot.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Source<'d> {
    /// As it was given.
    path: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<&'d str>,
}

impl<'d> Source<'d> {
    fn of(side: &'d Side<'_>) -> Source<'d> {
        Source { path: &side.path, recorded_at: side.snapshot.manifest.recorded_at.as_deref() }
    }
}

/// A finding.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Finding")]
struct Entry<'d> {
    /// The rule's id.
    rule: &'d str,
    issue: Issue,
    severity: Severity,
    resource: &'d Resource,
    affected: &'d [Resource],
    message: &'d str,
    fixes: &'d [Fix],
    docs: &'d str,
    fingerprint: &'d str,
    /// Of what appeared: false when the rule could not be checked on the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    both_checked: Option<bool>,
    /// What changed behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'d [Change]>,
}

impl<'d> Entry<'d> {
    fn of(finding: &'d Diagnostic) -> Entry<'d> {
        Entry {
            rule: &finding.rule,
            issue: finding.issue,
            severity: finding.severity,
            resource: &finding.resource,
            affected: &finding.affected,
            message: &finding.message,
            fixes: &finding.fixes,
            docs: &finding.docs,
            fingerprint: &finding.fingerprint,
            both_checked: None,
            changes: None,
        }
    }

    fn behind(behind: &'d Behind) -> Entry<'d> {
        let both_checked = Some(behind.both_checked);
        Entry { both_checked, changes: Some(&behind.changes), ..Entry::of(&behind.finding) }
    }
}

/// For programs, with a line end.
pub fn json(difference: &Difference, old: &Side<'_>, new: &Side<'_>) -> String {
    let document = Document {
        format: 1,
        cluster: &new.report.cluster.name,
        old: Source::of(old),
        new: Source::of(new),
        appeared: difference.appeared.iter().map(Entry::behind).collect(),
        gone: difference.gone.iter().map(Entry::behind).collect(),
        unchecked: difference.unchecked.iter().map(Entry::of).collect(),
        stayed: difference.stayed,
    };
    // Plain structs with string keys cannot fail to serialize.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// The JSON Schema of [`json`]'s answer, generated from the types that write it.
pub fn schema() -> String {
    schema_of::<Document>()
}

/// For a comment on a pull request, with a line end.
pub fn markdown(difference: &Difference, old: &Side<'_>, new: &Side<'_>) -> String {
    let mut out = format!("## eks-doctor: {}\n\n**{}**\n", escape(&new.report.cluster.name), sum(difference));
    let finding = |out: &mut String, finding: &Diagnostic| {
        let (severity, rule) = (severity_name(finding.severity), escape(&finding.rule));
        let _ = write!(out, "\n**{severity}** `{rule}`: {}\n", escape(&finding.message));
    };
    for (title, all) in [("Appeared", &difference.appeared), ("Gone", &difference.gone)] {
        if all.is_empty() {
            continue;
        }
        let _ = write!(out, "\n### {title} ({})\n", all.len());
        for behind in all {
            finding(&mut out, &behind.finding);
            out.push('\n');
            if let Some(doubt) = doubt(behind, &old.path) {
                let _ = writeln!(out, "- {}", escape(&doubt));
            }
            for change in &behind.changes {
                let (what, named) = (escape(&change.what), escape(&named(&change.resource)));
                let _ = writeln!(out, "- {named}: {what} <sub>{}</sub>", escape(&place(change, old)));
            }
            if behind.more > 0 {
                let _ = writeln!(out, "- and {}", plural(behind.more, "more change"));
            }
        }
    }
    if !difference.unchecked.is_empty() {
        let _ = write!(out, "\n### Could not be checked again ({})\n", difference.unchecked.len());
        difference.unchecked.iter().for_each(|one| finding(&mut out, one));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn kinds_as_words() {
        for (kind, words) in [
            ("RouteTable", "route table"),
            ("NetworkAcl", "network ACL"),
            ("VpcEndpoint", "VPC endpoint"),
            ("DaemonSet", "daemon set"),
            ("Node", "node"),
        ] {
            assert_eq!(super::words(kind), words);
        }
    }
}
