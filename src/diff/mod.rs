//! Two snapshots of a cluster: which findings came and went, and what changed in the objects behind them.

mod render;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Evidence, Report, Resource, Skipped};
use crate::report::Places;
use crate::rule::RuleSet;
use crate::rule::value::resource;
use crate::shape::{Row, Str};
use crate::snapshot::pointer::span;
use crate::snapshot::{Snapshot, TABLES, TableId};

pub use render::{json, markdown, schema, text};

/// Changes of one finding that are told.
const TOLD: usize = 12;

/// One side of the comparison.
pub struct Side<'s> {
    pub snapshot: &'s Snapshot,
    pub report: &'s Report,
    /// Where it was read from, for people.
    pub path: String,
}

/// What is different.
#[derive(Debug)]
pub struct Difference {
    /// In the new snapshot and not in the old one.
    pub appeared: Vec<Behind>,
    /// In the old snapshot and not in the new one.
    pub gone: Vec<Behind>,
    /// In the old one, and the new one does not hold what would tell.
    pub unchecked: Vec<Diagnostic>,
    /// How many findings are in both.
    pub stayed: usize,
}

/// A finding, and what changed behind it.
#[derive(Debug)]
pub struct Behind {
    pub finding: Diagnostic,
    /// Whether the rule could be checked on the other side, too.
    pub both_checked: bool,
    pub changes: Vec<Change>,
    /// Changes that are not told.
    pub more: usize,
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
pub struct Change {
    pub resource: Resource,
    /// In the field's words: `0.0.0.0/0 → nat-0a became blackhole`.
    pub what: String,
    /// Where it stands: in the new snapshot, or in the old one when it is gone.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// Whether that place is in the old snapshot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub old: bool,
}

/// Compares.
pub fn compare(old: &Side<'_>, new: &Side<'_>, rules: &RuleSet) -> Difference {
    let fingerprints = |report: &Report| -> BTreeSet<String> {
        let suppressed = report.suppressed.iter().map(|s| &s.finding);
        report.findings.iter().chain(suppressed).map(|f| f.fingerprint.clone()).collect()
    };
    let (before, now) = (fingerprints(old.report), fingerprints(new.report));
    let skipped = |all: &[Skipped], rule: &str| all.iter().any(|s| s.rule == rule);
    let mut objects = Objects::new(old.snapshot, new.snapshot);
    let mut difference = Difference { appeared: Vec::new(), gone: Vec::new(), unchecked: Vec::new(), stayed: 0 };
    for finding in &new.report.findings {
        if before.contains(&finding.fingerprint) {
            difference.stayed += 1;
        } else {
            let both_checked = !skipped(&old.report.skipped, &finding.rule);
            difference.appeared.push(objects.behind(finding, Of::New, both_checked, rules));
        }
    }
    for finding in old.report.findings.iter().filter(|f| !now.contains(&f.fingerprint)) {
        if skipped(&new.report.skipped, &finding.rule) {
            difference.unchecked.push(finding.clone());
        } else {
            difference.gone.push(objects.behind(finding, Of::Old, true, rules));
        }
    }
    difference
}

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Old,
    New,
}

/// An object by what it is: the same on both sides.
type Id = (TableId, Str);

/// The objects of both sides, and how they differ, each looked at once.
struct Objects<'s> {
    old: &'s Snapshot,
    new: &'s Snapshot,
    places: [Places<'s>; 2],
    /// Where the objects of a document begin: (document, pointer).
    rows: [HashMap<(u32, String), Row>; 2],
    changes: BTreeMap<Id, Vec<Change>>,
}

impl<'s> Objects<'s> {
    fn new(old: &'s Snapshot, new: &'s Snapshot) -> Objects<'s> {
        let rows = [old, new].map(|snapshot| {
            all_rows(snapshot, |_| true)
                .map(|row| {
                    let place = snapshot.tables.place(row);
                    ((place.document, place.element.pointer()), row)
                })
                .collect()
        });
        Objects { old, new, places: [Places::new(old), Places::new(new)], rows, changes: BTreeMap::new() }
    }

    fn side(&self, of: Of) -> &'s Snapshot {
        match of {
            Of::Old => self.old,
            Of::New => self.new,
        }
    }

    fn behind(&mut self, finding: &Diagnostic, of: Of, both_checked: bool, rules: &RuleSet) -> Behind {
        let mut changes: Vec<Change> = Vec::new();
        for id in self.named_by(finding, of) {
            for change in self.of(&id) {
                if !changes.contains(change) {
                    changes.push(change.clone());
                }
            }
        }
        // What the finding does not name may still be among what its rule reads.
        if changes.is_empty()
            && let Some(rule) = rules.rules.iter().find(|r| r.id == finding.rule)
        {
            let read = |table: TableId| rule.reads.contains(table.info().read);
            let ids: BTreeSet<Id> = [self.old, self.new]
                .into_iter()
                .flat_map(|snapshot| all_rows(snapshot, read).map(|row| (row.table, snapshot.tables.id(row))))
                .collect();
            for id in ids {
                changes.extend(self.of(&id).iter().cloned());
            }
        }
        let more = changes.len().saturating_sub(TOLD);
        changes.truncate(TOLD);
        Behind { finding: finding.clone(), both_checked, changes, more }
    }

    /// The objects that a finding is about: what has to change, its evidence, what decides on its path.
    fn named_by(&self, finding: &Diagnostic, of: Of) -> Vec<Id> {
        let snapshot = self.side(of);
        let mut rows: Vec<Row> = Vec::new();
        let wanted = TABLES.iter().filter(|t| t.shape == finding.resource.kind).map(|t| t.id).collect::<Vec<_>>();
        rows.extend(
            all_rows(snapshot, |table| wanted.contains(&table))
                .filter(|row| resource(snapshot, *row).id == finding.resource.id),
        );
        for evidence in &finding.evidence {
            let mut pointer = evidence.pointer.as_str();
            loop {
                if let Some(row) = self.rows[of as usize].get(&(evidence.document, pointer.to_owned())) {
                    rows.push(*row);
                    break;
                }
                let Some(cut) = pointer.rfind('/') else { break };
                pointer = &pointer[..cut];
            }
        }
        for hop in finding.trace.iter().flat_map(|t| t.forward.iter().chain(&t.back)) {
            rows.extend(hop.spot.iter().map(|spot| spot.row).chain(hop.deciders.iter().copied()));
        }
        let mut ids: Vec<Id> = Vec::new();
        for row in rows {
            let id = (row.table, snapshot.tables.id(row));
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// How an object differs.
    fn of(&mut self, id: &Id) -> &[Change] {
        if !self.changes.contains_key(id) {
            let changes = self.look(id);
            self.changes.insert(id.clone(), changes);
        }
        &self.changes[id]
    }

    fn look(&mut self, id: &Id) -> Vec<Change> {
        let find = |snapshot: &'s Snapshot| {
            let wanted = |table: TableId| table == id.0;
            let row = all_rows(snapshot, wanted).find(|row| snapshot.tables.id(*row) == id.1)?;
            let place = snapshot.tables.place(row);
            let text = &snapshot.documents[place.document as usize].text;
            let pointer = place.element.pointer();
            let value: Value = serde_json::from_str(&text[span(text, &pointer)?]).ok()?;
            Some((row, place.document, pointer, value))
        };
        let (before, now) = (find(self.old), find(self.new));
        // Nobody looked on one side: that tells nothing of the object.
        let read = id.0.info().read;
        if !self.old.has(read) || !self.new.has(read) {
            return Vec::new();
        }
        let mut told: Vec<words::Told> = Vec::new();
        let named = match (&before, &now) {
            (None, None) => return Vec::new(),
            (Some((row, ..)), None) => {
                told.push(words::Told { what: "is gone".to_owned(), pointer: String::new(), old: true });
                resource(self.old, *row)
            }
            (None, Some((row, ..))) => {
                told.push(words::Told { what: "is new".to_owned(), pointer: String::new(), old: false });
                resource(self.new, *row)
            }
            (Some((_, _, _, was)), Some((row, _, _, is))) => {
                told = words::differ(was, is);
                resource(self.new, *row)
            }
        };
        told.into_iter()
            .filter_map(|one| {
                let (side, there) = if one.old { (Of::Old, &before) } else { (Of::New, &now) };
                let (_, document, pointer, _) = there.as_ref()?;
                let evidence =
                    Evidence { document: *document, pointer: format!("{pointer}{}", one.pointer), text: String::new() };
                let place = self.places[side as usize].find(&evidence)?;
                Some(Change {
                    resource: named.clone(),
                    what: one.what,
                    file: place.file.to_owned(),
                    line: place.line,
                    column: place.column,
                    old: one.old,
                })
            })
            .collect()
    }
}

/// The rows of the tables that are `wanted`.
fn all_rows<'s>(snapshot: &'s Snapshot, wanted: impl Fn(TableId) -> bool + 's) -> impl Iterator<Item = Row> + 's {
    TABLES
        .iter()
        .map(|table| table.id)
        .filter(move |id| wanted(*id))
        .flat_map(move |table| (0..snapshot.tables.len(table)).map(move |index| Row { table, index: index as u32 }))
}
