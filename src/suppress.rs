//! Suppressions: which findings someone decided to live with, and which decisions are over or fit nothing.

use std::sync::Arc;

use crate::config::{Config, Suppression, Tag};
use crate::date::Date;
use crate::diagnostic::{Diagnostic, Report, Resource, Skipped, Suppressed};
use crate::glob::like;
use crate::rule::RuleSet;
use crate::rule::value::resource;
use crate::shape::{Row, View};
use crate::snapshot::{Snapshot, TABLES};

/// Takes the suppressed findings out of the reports' findings; says of each that is back since when, and gives
/// warnings of entries that fit nothing in any of them.
pub fn suppress(checked: &mut [(Report, Arc<Snapshot>)], config: &Config, rules: &RuleSet, today: Date) -> Vec<String> {
    let mut used = vec![false; config.suppressions.len()];
    for (report, snapshot) in &mut *checked {
        let findings = std::mem::take(&mut report.findings);
        for finding in findings {
            let mut by: Option<&Suppression> = None;
            let mut over: Option<&Suppression> = None;
            for (entry, used) in config.suppressions.iter().zip(&mut used) {
                if !fits(entry, &finding, snapshot) {
                    continue;
                }
                *used = true;
                if entry.until.is_some_and(|until| until < today) {
                    // Of several the one that was over last.
                    over = over.filter(|other| other.until >= entry.until).or(Some(entry));
                } else if by.is_none() {
                    by = Some(entry);
                }
            }
            decide(report, finding, by, over);
        }
    }
    let skipped: Vec<&Skipped> = checked.iter().flat_map(|(report, _)| &report.skipped).collect();
    let unused_entries = config.suppressions.iter().zip(used).filter(|(_, used)| !used);
    unused_entries.filter_map(|(entry, _)| unused(entry, &skipped, rules, today)).collect()
}

/// Puts a finding where it belongs: `by` suppresses it, `over` did so once.
fn decide(report: &mut Report, mut finding: Diagnostic, by: Option<&Suppression>, over: Option<&Suppression>) {
    let last = |entry: &Suppression| entry.until.map(|until| until.to_string());
    if let Some(entry) = by {
        let (by, reason, until) = (entry.by.clone(), entry.reason.clone(), last(entry));
        report.suppressed.push(Suppressed { finding, by, reason, until });
        return;
    }
    if let Some(entry) = over {
        let until = last(entry).unwrap_or_default();
        finding.note = Some(format!("suppressed until {until} ({}: {}), which is over", entry.by, entry.reason));
    }
    report.findings.push(finding);
}

/// What is to be said of an entry that fits nothing.
fn unused(entry: &Suppression, skipped: &[&Skipped], rules: &RuleSet, today: Date) -> Option<String> {
    let names = |id: &str, issue: &str| entry.rule.as_deref().is_none_or(|rule| like(rule, id) || like(rule, issue));
    let what = [("rule", &entry.rule), ("resource", &entry.resource)].map(|(key, text)| Some((key, text.clone()?)));
    let tag = entry.tag.as_ref().map(|tag| ("tag", tag.shown()));
    let what: Vec<String> =
        what.into_iter().chain([tag]).flatten().map(|(key, text)| format!("{key} {text}")).collect();
    let what = format!("{}: the suppression of {}", entry.by, what.join(", "));
    if let Some(rule) = &entry.rule
        && !rules.loaded.iter().any(|(id, issue)| names(id, issue.name()))
    {
        return Some(format!("{what} fits nothing: no rule or issue `{rule}`; `eks-doctor rules` lists them"));
    }
    // What did not run, or could not be decided, may well be there.
    let ran = rules.rules.iter().any(|rule| names(&rule.id, rule.issue.name()));
    let skipped = skipped.iter().any(|skipped| names(&skipped.rule, skipped.issue.name()));
    if !ran || (skipped && entry.rule.is_some()) {
        return None;
    }
    let checked = if skipped { " that could be checked" } else { "" };
    let over = if entry.until.is_some_and(|until| until < today) { " and is over" } else { "" };
    Some(format!("{what} fits nothing{checked}{over}: remove it"))
}

fn fits(entry: &Suppression, finding: &Diagnostic, snapshot: &Snapshot) -> bool {
    let rule = |pattern: &str| like(pattern, &finding.rule) || like(pattern, finding.issue.name());
    let named = |pattern: &str| {
        like(pattern, &finding.resource.id) || finding.resource.name.as_deref().is_some_and(|name| like(pattern, name))
    };
    entry.rule.as_deref().is_none_or(rule)
        && entry.resource.as_deref().is_none_or(named)
        && entry.tag.as_ref().is_none_or(|tag| tagged(tag, &finding.resource, snapshot))
}

/// Whether the recorded object carries the tag.
fn tagged(tag: &Tag, wanted: &Resource, snapshot: &Snapshot) -> bool {
    let fits =
        |key: &str, value: &str| like(&tag.key, key) && tag.value.as_deref().is_none_or(|pattern| like(pattern, value));
    rows(snapshot, &wanted.kind).filter(|row| resource(snapshot, *row).id == wanted.id).any(|row| {
        let shape = snapshot.tables.shape(row);
        let labels = match shape.field("metadata") {
            Some(View::Object(metadata)) => metadata.field("labels"),
            _ => None,
        };
        [shape.field("Tags"), shape.field("TagSet"), shape.field("tags"), labels].into_iter().flatten().any(|tags| {
            match tags {
                View::List(list) => (0..list.len()).any(|i| match list.element(i) {
                    View::Object(tag) => {
                        let text = |field| match tag.field(field) {
                            Some(View::Str(text)) => text.to_owned(),
                            _ => String::new(),
                        };
                        fits(&text("Key"), &text("Value"))
                    }
                    _ => false,
                }),
                View::Map(map) => map.keys().into_iter().any(|key| match map.entry(key) {
                    Some(View::Str(value)) => fits(key, value),
                    _ => false,
                }),
                _ => false,
            }
        })
    })
}

/// The recorded objects of this kind.
pub(crate) fn rows<'s>(snapshot: &'s Snapshot, kind: &str) -> impl Iterator<Item = Row> + use<'s> {
    let table = TABLES.iter().find(|table| table.shape == kind).map(|table| table.id);
    table
        .into_iter()
        .flat_map(|table| (0..snapshot.tables.len(table)).map(move |index| Row { table, index: index as u32 }))
}
