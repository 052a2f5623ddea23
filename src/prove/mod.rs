//! Proved fixes: the commands of a fix applied to the snapshot in memory, and the rules asked again.
//!
//! What a command does beyond what is recorded (pods that start, addresses that are given back) is not made up: such a
//! fix stays unproved, as does one with a `<placeholder>` or with a command whose whole effect is not known here.

mod aws;
mod command;
mod kubectl;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::diagnostic::{Effect, Report, Resource};
use crate::rule::RuleSet;
use crate::rule::value::resource;
use crate::shape::Row;
use crate::snapshot::{Element, Snapshot, TABLES};

/// How many bytes of snapshots are read again for proofs by default, so that the time it takes is bounded: of a large
/// snapshot fewer fixes are tried than of a small one, or none. The gravest findings come first.
pub const EFFORT: usize = 32 << 20;

/// What became of a fix when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The finding goes and nothing new comes.
    Proved,
    /// A command of which not everything is known.
    Untried,
    /// The finding is still there.
    Stays,
    /// Findings that were not there before (symptoms aside), or what could be checked before and cannot be any more.
    Brings(Vec<String>),
}

/// Marks the fixes of a report on `snapshot` that do what they say, as far as `effort` goes (see [`EFFORT`]).
pub fn prove(report: &mut Report, snapshot: &Snapshot, rules: &RuleSet, cluster: Option<&str>, effort: usize) {
    let trials = trials(report, snapshot, rules, cluster, effort);
    let fixes = report.findings.iter_mut().flat_map(|finding| &mut finding.fixes);
    for (fix, trial) in fixes.zip(trials) {
        if trial == Trial::Proved {
            fix.effect = Effect::Proved;
        }
    }
}

/// What becomes of each fix of a report, in its order.
pub fn trials(
    report: &Report,
    snapshot: &Snapshot,
    rules: &RuleSet,
    cluster: Option<&str>,
    effort: usize,
) -> Vec<Trial> {
    let before = Facts::of(report, rules);
    let size: usize = snapshot.documents.iter().map(|document| document.text.len()).sum();
    let mut left = effort;
    // Findings often share a fix.
    let mut seen: BTreeMap<&[String], Option<Facts>> = BTreeMap::new();
    let mut trials = Vec::new();
    for finding in &report.findings {
        for fix in &finding.fixes {
            let after = seen.entry(&fix.commands).or_insert_with(|| {
                left = left.checked_sub(size)?;
                let Some(changed) = changed(snapshot, &fix.commands) else {
                    // Nothing was read again.
                    left += size;
                    return None;
                };
                let report = crate::diagnose(&Arc::new(changed), rules, cluster).ok()?;
                Some(Facts::of(&report, rules))
            });
            trials.push(match after {
                None => Trial::Untried,
                Some(after) if after.found.contains_key(&finding.fingerprint) => Trial::Stays,
                Some(after) => {
                    let new = after.beyond(&before);
                    if new.is_empty() { Trial::Proved } else { Trial::Brings(new) }
                }
            });
        }
    }
    trials
}

/// What a report says, as far as two of them are compared.
struct Facts {
    /// Fingerprints, and the rule and object they stand for.
    found: BTreeMap<String, String>,
    /// Fingerprints of symptoms: what was observed stands in the snapshot, whatever is mended, and is told again as soon
    /// as the finding that explained it is gone.
    observed: BTreeSet<String>,
    skipped: BTreeSet<(String, Option<Resource>)>,
}

impl Facts {
    fn of(report: &Report, rules: &RuleSet) -> Facts {
        let named = |rule: &str, about: &Resource| format!("[{rule}] {} {}", about.kind, about.id);
        let found = report.findings.iter().map(|f| (f.fingerprint.clone(), named(&f.rule, &f.resource)));
        let skipped = report.skipped.iter().map(|s| (s.rule.clone(), s.resource.clone()));
        let symptom = |id: &str| rules.rules.iter().any(|rule| rule.symptom && rule.id == id);
        let observed = report.findings.iter().filter(|f| symptom(&f.rule)).map(|f| f.fingerprint.clone());
        Facts { found: found.collect(), observed: observed.collect(), skipped: skipped.collect() }
    }

    /// What this one says and `before` does not.
    fn beyond(&self, before: &Facts) -> Vec<String> {
        let new = |print: &String| !before.found.contains_key(print) && !self.observed.contains(print);
        let found = self.found.iter().filter(|(print, _)| new(print));
        let skipped = self.skipped.difference(&before.skipped);
        found.map(|(_, told)| told.clone()).chain(skipped.map(|(rule, _)| format!("[{rule}] skipped"))).collect()
    }
}

/// The snapshot after the commands; nothing when one of them is not wholly known, or all together change nothing.
fn changed(snapshot: &Snapshot, commands: &[String]) -> Option<Snapshot> {
    let mut world = World { snapshot, edited: BTreeMap::new(), holed: BTreeSet::new(), added: BTreeMap::new() };
    for command in commands {
        let words = command::words(command)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["aws", service, operation, options @ ..] => {
                world.aws(service, operation, &command::Options::of(options)?)?;
            }
            ["kubectl", rest @ ..] => world.kubectl(rest)?,
            _ => return None,
        }
    }
    if world.edited.is_empty() && world.added.is_empty() {
        return None;
    }
    Some(Snapshot::from_documents(world.documents()))
}

/// The documents of a snapshot, and what became of them.
struct World<'s> {
    snapshot: &'s Snapshot,
    /// By the index of the document.
    edited: BTreeMap<u32, Value>,
    /// Documents of which elements were removed: `null` stands there until the end, so that places stay right.
    holed: BTreeSet<u32>,
    /// New documents, by path.
    added: BTreeMap<String, Value>,
}

impl World<'_> {
    fn documents(mut self) -> Vec<(String, String)> {
        for document in &self.holed {
            for list in self.edited.get_mut(document).and_then(Value::as_object_mut).into_iter().flatten() {
                if let Value::Array(list) = list.1 {
                    list.retain(|element| !element.is_null());
                }
            }
        }
        let kept = self.snapshot.documents.iter().enumerate().map(|(i, document)| {
            let text = self.edited.get(&(i as u32)).map_or_else(|| document.text.clone(), Value::to_string);
            (document.path.clone(), text)
        });
        let added = self.added.iter().map(|(path, value)| (path.clone(), value.to_string()));
        kept.chain(added).collect()
    }

    /// The rows of a shape (or of any: `""`) with this id: as others refer to it, or as a report names it.
    fn rows(&self, shape: &str, id: &str) -> Vec<Row> {
        let tables = &self.snapshot.tables;
        let of_shape = TABLES.iter().filter(|t| shape.is_empty() || t.shape == shape).map(|t| t.id);
        let all = of_shape.flat_map(|table| (0..tables.len(table)).map(move |i| Row { table, index: i as u32 }));
        let named = |row: Row| {
            let about = resource(self.snapshot, row);
            about.id == id || about.name.as_deref() == Some(id)
        };
        all.filter(|&row| tables.id(row) == id || (!shape.is_empty() && named(row))).collect()
    }

    /// The document in which a row stands, to be changed.
    fn document(&mut self, row: Row) -> Option<&mut Value> {
        let place = self.snapshot.tables.place(row);
        if !self.edited.contains_key(&place.document) {
            let text = &self.snapshot.documents[place.document as usize].text;
            self.edited.insert(place.document, serde_json::from_str(text).ok()?);
        }
        self.edited.get_mut(&place.document)
    }

    /// The recorded object, to be changed.
    fn object(&mut self, row: Row) -> Option<&mut Value> {
        let pointer = self.snapshot.tables.place(row).element.pointer();
        // One that an earlier command removed is not there.
        self.document(row)?.pointer_mut(&pointer).filter(|object| !object.is_null())
    }

    /// The one object of a shape with this id, to be changed.
    fn find(&mut self, shape: &str, id: &str) -> Option<&mut Value> {
        match self.rows(shape, id).as_slice() {
            [row] => self.object(*row),
            _ => None,
        }
    }

    fn remove(&mut self, row: Row) -> Option<()> {
        let place = self.snapshot.tables.place(row);
        if !matches!(place.element, Element::Item(..)) {
            return None;
        }
        *self.object(row)? = Value::Null;
        self.holed.insert(place.document);
        Some(())
    }

    /// Whether objects of this shape were read at all: what was not read is not known to be new.
    fn was_read(&self, shape: &str) -> Option<()> {
        let read = TABLES.iter().find(|table| table.shape == shape)?.read;
        (self.snapshot.has(read) && self.snapshot.partial(read).is_none()).then_some(())
    }
}

/// The list under `key` of an object, made when it is not there.
fn list<'v>(object: &'v mut Value, key: &str) -> Option<&'v mut Vec<Value>> {
    object.as_object_mut()?.entry(key).or_insert_with(|| json!([])).as_array_mut()
}

/// The map under `key` of an object, made when it is not there.
fn map<'v>(object: &'v mut Value, key: &str) -> Option<&'v mut serde_json::Map<String, Value>> {
    object.as_object_mut()?.entry(key).or_insert_with(|| json!({})).as_object_mut()
}
