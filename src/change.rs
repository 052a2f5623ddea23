//! Small changes to a snapshot, as data: what a case does to the recorded files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::glob::like;
use crate::snapshot::{LoadError, Snapshot};

/// One change. `file` may hold `*` and then means every file that fits.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Change {
    pub file: String,
    /// Sets the value at a path (a new field, or another value) `to`.
    pub set: Option<String>,
    pub to: Value,
    /// Removes what a path selects.
    pub remove: Option<String>,
    /// Puts `value` into a list: at an index, or at its end with `-`.
    pub add: Option<String>,
    pub value: Value,
    /// Nobody looked.
    pub delete_file: bool,
    /// A new file, or another content.
    pub content: Option<Value>,
}

/// Every JSON file of a snapshot: path and text.
///
/// # Errors
/// When the folder cannot be read, or a file of it is no text.
pub fn documents(folder: &Path) -> Result<Vec<(String, String)>, LoadError> {
    let snapshot = Snapshot::load(folder)?;
    Ok(snapshot.documents.into_iter().map(|document| (document.path, document.text)).collect())
}

/// The snapshot of a snapshot with changes applied.
///
/// # Errors
/// A change that fits nothing.
pub fn changed(documents: &[(String, String)], changes: &[Change]) -> Result<Arc<Snapshot>, String> {
    applied(documents, changes).map(|documents| Arc::new(Snapshot::from_documents(documents)))
}

/// The documents of a snapshot with changes applied.
///
/// # Errors
/// A change that fits nothing.
pub fn applied(documents: &[(String, String)], changes: &[Change]) -> Result<Vec<(String, String)>, String> {
    let mut parsed: BTreeMap<&str, Value> = BTreeMap::new();
    let mut added: BTreeMap<String, Value> = BTreeMap::new();
    let mut gone: Vec<&str> = Vec::new();
    for change in changes {
        if let Some(content) = &change.content {
            added.insert(change.file.clone(), content.clone());
            continue;
        }
        let files: Vec<&(String, String)> = documents.iter().filter(|(path, _)| like(&change.file, path)).collect();
        if files.is_empty() {
            return Err(format!("no file fits {}", change.file));
        }
        let mut hits = 0;
        for (path, text) in files {
            if change.delete_file {
                gone.push(path);
                hits += 1;
                continue;
            }
            if !parsed.contains_key(path.as_str()) {
                parsed.insert(path, serde_json::from_str(text).map_err(|e| format!("{path}: {e}"))?);
            }
            let Some(value) = parsed.get_mut(path.as_str()) else { continue };
            hits += apply(value, change)?;
        }
        if hits == 0 {
            return Err(format!("nothing in {} fits {change:?}", change.file));
        }
    }
    let mut all: Vec<(String, String)> = Vec::new();
    for (path, text) in documents {
        if gone.contains(&path.as_str()) || added.contains_key(path) {
            continue;
        }
        let text = match parsed.get(path.as_str()) {
            Some(value) => serde_json::to_string_pretty(value).map_err(|e| e.to_string())?,
            None => text.clone(),
        };
        all.push((path.clone(), text));
    }
    for (path, value) in added {
        all.push((path, value.to_string()));
    }
    Ok(all)
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// A key of an object or an index of a list (`-`: behind its end).
    Key(String),
    /// Every element.
    Each,
    /// Elements with this field, and this value when given.
    Where(Vec<String>, Option<String>),
}

fn apply(value: &mut Value, change: &Change) -> Result<usize, String> {
    let path = change.set.as_ref().or(change.remove.as_ref()).or(change.add.as_ref());
    let steps = parse(path.ok_or("a change needs set, remove, add, delete-file or content")?)?;
    let (last, front) = steps.split_last().ok_or("the path is empty")?;
    let mut hits = 0;
    let mut parents = Vec::new();
    select(value, front, String::new(), &mut parents);
    for parent in parents {
        let Some(parent) = value.pointer_mut(&parent) else { continue };
        let mut targets: Vec<String> = match last {
            Step::Key(key) => vec![key.clone()],
            _ => children(parent, last),
        };
        // From the end, so that indices stay right.
        targets.reverse();
        for target in targets {
            let index = target.parse::<usize>().ok();
            match (&mut *parent, change.set.is_some(), change.add.is_some()) {
                (Value::Object(map), true, _) | (Value::Object(map), _, true) => {
                    map.insert(target, if change.set.is_some() { change.to.clone() } else { change.value.clone() });
                    hits += 1;
                }
                (Value::Object(map), ..) => hits += usize::from(map.remove(&target).is_some()),
                (Value::Array(list), true, _) => {
                    if let Some(slot) = index.and_then(|i| list.get_mut(i)) {
                        *slot = change.to.clone();
                        hits += 1;
                    }
                }
                (Value::Array(list), _, true) => {
                    let at = index.unwrap_or(list.len()).min(list.len());
                    list.insert(at, change.value.clone());
                    hits += 1;
                }
                (Value::Array(list), ..) => {
                    if let Some(i) = index.filter(|&i| i < list.len()) {
                        list.remove(i);
                        hits += 1;
                    }
                }
                _ => {}
            }
        }
    }
    Ok(hits)
}

/// The JSON pointers of what `steps` select.
fn select(value: &Value, steps: &[Step], at: String, found: &mut Vec<String>) {
    let Some((first, rest)) = steps.split_first() else {
        found.push(at);
        return;
    };
    for key in children(value, first) {
        let next = match value {
            Value::Object(map) => map.get(&key),
            Value::Array(list) => key.parse::<usize>().ok().and_then(|i| list.get(i)),
            _ => None,
        };
        if let Some(next) = next {
            select(next, rest, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }
    }
}

fn children(value: &Value, step: &Step) -> Vec<String> {
    match (step, value) {
        (Step::Key(key), _) => vec![key.clone()],
        (Step::Each, Value::Object(map)) => map.keys().cloned().collect(),
        (Step::Each, Value::Array(list)) => (0..list.len()).map(|i| i.to_string()).collect(),
        (Step::Where(field, wanted), Value::Array(list)) => list
            .iter()
            .enumerate()
            .filter(|(_, element)| {
                let found = look(element, field);
                match wanted {
                    None => found.is_some(),
                    Some(wanted) => found.is_some_and(|f| match f {
                        Value::String(text) => like(wanted, text),
                        other => {
                            let shown = other.to_string();
                            shown == *wanted
                        }
                    }),
                }
            })
            .map(|(i, _)| i.to_string())
            .collect(),
        _ => Vec::new(),
    }
}

/// A field by its path; in a list of tags (`Key`, `Value`) the step is the tag's key.
fn look<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else { return Some(value) };
    match value {
        Value::Object(map) => look(map.get(first)?, rest),
        Value::Array(list) => match first.parse::<usize>() {
            Ok(i) => look(list.get(i)?, rest),
            Err(_) => look(list.iter().find(|t| t.get("Key").is_some_and(|k| k == first))?.get("Value")?, rest),
        },
        _ => None,
    }
}

/// `/Subnets[Tags.Name="a/b"]/*/x~1y`
fn parse(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (mut quoted, mut end) = (false, None);
            for (i, c) in inside.char_indices() {
                match c {
                    '"' => quoted = !quoted,
                    ']' if !quoted => {
                        end = Some(i);
                        break;
                    }
                    _ => {}
                }
            }
            let end = end.ok_or_else(|| format!("{path}: `[` without `]`"))?;
            let (field, value) = match inside[..end].split_once('=') {
                Some((field, value)) => (field, Some(value.trim_matches('"').to_owned())),
                None => (&inside[..end], None),
            };
            steps.push(Step::Where(names(field), value));
            rest = &inside[end + 1..];
        } else {
            let inside = rest.strip_prefix('/').ok_or_else(|| format!("{path}: a path starts with `/`"))?;
            let (key, tail) = match inside.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(|| format!("{path}: a quote is open"))?,
                None => inside.split_at(inside.find(['/', '[']).unwrap_or(inside.len())),
            };
            rest = tail;
            steps.push(if key == "*" { Step::Each } else { Step::Key(key.replace("~1", "/").replace("~0", "~")) });
        }
    }
    Ok(steps)
}

/// `metadata.labels."a.b/c"` in its parts.
fn names(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}
