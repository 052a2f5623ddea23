//! Reading a document element by element, so that one bad object does not take the others with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Kinded, Seen, by_key, by_kind, by_stem, problem, stem};
use crate::snapshot::{Document, Element, Gravity, Place, Problem, Snapshot, Source, TableId};

/// Reads element by element, so that one bad object does not take the others with it.
pub(super) fn slow(snapshot: &mut Snapshot, document: &Document, index: u32, seen: &mut Seen) {
    let top: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(&document.text) {
        Ok(top) => top,
        Err(error) => {
            let help = "an answer of the AWS CLI or kubectl is an object; nothing of this file was used";
            let gravity = if error.is_data() { Gravity::Error } else { Gravity::NotJson };
            snapshot.problems.push(problem(gravity, document, &error, 0, help));
            return;
        }
    };
    let text =
        |key: &str| top.get(key).and_then(|v| serde_json::from_str::<Cow<'_, str>>(v.get()).ok()).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let list_kind = kind.strip_suffix("List").filter(|k| !k.is_empty()).and_then(|k| by_kind(k, &api_version));
    for (key, value) in &top {
        match (&**key, by_key(key)) {
            ("items", _) => {
                seen.items = true;
                if let Some(table) = list_kind {
                    seen.table(table);
                }
                for (i, raw) in elements(snapshot, document, value, list_kind) {
                    let table = match list_kind {
                        Some(table) => Some(table),
                        None => match serde_json::from_str::<Kinded<'_>>(raw.get()) {
                            Ok(kinded) => by_kind(&kinded.kind, &kinded.api_version),
                            Err(error) => {
                                // It does not say what it is: most likely what the others are.
                                let table = seen.tables.first().copied().or_else(|| by_stem(stem(&document.path)));
                                left_out(snapshot, table, bad_object(document, raw, &error));
                                continue;
                            }
                        },
                    };
                    let Some(table) = table else {
                        seen.foreign = true;
                        continue;
                    };
                    seen.table(table);
                    one(snapshot, document, raw, table, Place { document: index, element: Element::Item("items", i) });
                }
            }
            ("Reservations", _) => {
                let table = TableId::Instances;
                seen.table(table);
                for (i, raw) in elements(snapshot, document, value, Some(table)) {
                    let parts: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(raw.get()) {
                        Ok(parts) => parts,
                        Err(error) => {
                            left_out(snapshot, Some(table), bad_object(document, raw, &error));
                            continue;
                        }
                    };
                    let Some(instances) = parts.get("Instances") else { continue };
                    for (j, raw) in elements(snapshot, document, instances, Some(table)) {
                        let element = Element::Nested("Reservations", i, "Instances", j);
                        one(snapshot, document, raw, table, Place { document: index, element });
                    }
                }
            }
            (_, Some((table, Source::List(key)))) => {
                seen.table(table);
                for (i, raw) in elements(snapshot, document, value, Some(table)) {
                    one(snapshot, document, raw, table, Place { document: index, element: Element::Item(key, i) });
                }
            }
            (_, Some((table, Source::One(key)))) => {
                seen.table(table);
                one(snapshot, document, value, table, Place { document: index, element: Element::Key(key) });
            }
            (_, Some((table, _))) if !seen.whole.contains(&table) => seen.whole.push(table),
            _ => {}
        }
    }
    if !top.contains_key("items")
        && let Some(table) = by_kind(&kind, &api_version)
        && !seen.whole.contains(&table)
    {
        seen.whole.push(table);
    }

    /// The elements of a list.
    fn elements<'a>(
        snapshot: &mut Snapshot,
        document: &Document,
        list: &'a RawValue,
        table: Option<TableId>,
    ) -> Vec<(u32, &'a RawValue)> {
        match serde_json::from_str::<Option<Vec<&RawValue>>>(list.get()) {
            Ok(elements) => (0..).zip(elements.unwrap_or_default()).collect(),
            Err(error) => {
                left_out(snapshot, table, bad_object(document, list, &error));
                Vec::new()
            }
        }
    }
    /// Reads one object.
    fn one(snapshot: &mut Snapshot, document: &Document, raw: &RawValue, table: TableId, place: Place) {
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        if let Err(error) = snapshot.tables.read_value(table, place, &mut reader) {
            left_out(snapshot, Some(table), bad_object(document, raw, &error));
        }
    }
}

/// Tells of something that was not used; the answers of its table are then no longer whole.
pub(super) fn left_out(snapshot: &mut Snapshot, table: Option<TableId>, problem: Problem) {
    if let Some(table) = table {
        let place = problem.line.map_or_else(|| problem.file.clone(), |line| format!("{}:{line}", problem.file));
        let reason = Some(format!("an object could not be read: {place}"));
        // Of several the first is told, whatever the order of the files.
        let told = snapshot.reads.entry(table.info().read).or_insert(None);
        if told.is_none() || *told > reason {
            *told = reason;
        }
    }
    snapshot.problems.push(problem);
}

/// The problem of one object that could not be read, with its id where it has one.
fn bad_object(document: &Document, raw: &RawValue, error: &serde_json::Error) -> Problem {
    let from = raw.get().as_ptr() as usize - document.text.as_ptr() as usize;
    let mut problem = problem(
        Gravity::Error,
        document,
        error,
        from,
        "this object was left out; what needs it is skipped. Export the file again, or mend the value",
    );
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let id = fields
        .iter()
        .find(|(k, v)| {
            k.ends_with("Id")
                && v.is_string()
                && !matches!(k.as_str(), "OwnerId" | "VpcId" | "AvailabilityZoneId" | "RequesterId")
        })
        .map(|(_, v)| v.as_str().unwrap_or_default().to_owned())
        .or_else(|| fields.get("metadata").and_then(|m| m.get("name")).and_then(|n| n.as_str()).map(str::to_owned))
        .or_else(|| fields.get("VpcId").or(fields.get("name")).and_then(|n| n.as_str()).map(str::to_owned));
    if let Some(id) = id {
        problem.message = format!("{id}: {}", problem.message);
    }
    problem
}
