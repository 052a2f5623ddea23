//! The order of files, objects, rules, entries and routes changes no byte of a report but where things stand.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use change::Change;
use eks_doctor::report::{self, Source};
use eks_doctor::snapshot::Snapshot;
use serde_json::Value;

#[derive(Debug, serde::Deserialize)]
struct Case {
    base: String,
    #[serde(default)]
    changes: Vec<Change>,
}

fn shuffle<T>(list: &mut [T], seed: &mut u64) {
    for i in (1..list.len()).rev() {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        list.swap(i, (*seed >> 33) as usize % (i + 1));
    }
}

/// Shuffles AWS's lists of objects and Kubernetes' items; what else Kubernetes lists has an order, and so have the
/// name servers of DHCP options.
fn shuffle_lists(value: &mut Value, seed: &mut u64) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Value::Array(list) = value
                    && list.iter().all(Value::is_object)
                    && (key == "items" || key.starts_with(char::is_uppercase) && key != "Values")
                {
                    shuffle(list, seed);
                }
                shuffle_lists(value, seed);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| shuffle_lists(v, seed)),
        _ => {}
    }
}

fn report(documents: Vec<(String, String)>, rules: &eks_doctor::rule::RuleSet) -> String {
    let snapshot = Arc::new(Snapshot::from_documents(documents));
    let report = eks_doctor::diagnose(&snapshot, rules, None).unwrap();
    report::json(&report, &snapshot, &Source::Snapshot { path: "snapshot".to_owned() })
}

/// The same without where in a file something stands.
fn unplaced(report: &str) -> String {
    fn blank(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in ["pointer", "line", "column", "start", "end"] {
                    if let Some(place) = map.get_mut(key) {
                        *place = Value::Null;
                    }
                }
                map.values_mut().for_each(blank);
            }
            Value::Array(list) => list.iter_mut().for_each(blank),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(report).unwrap();
    blank(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

fn first_difference(a: &str, b: &str) -> String {
    let pair = a.lines().zip(b.lines()).zip(1..).find(|((a, b), _)| a != b);
    pair.map_or("one is longer".to_owned(), |((a, b), line)| format!("line {line}: {} / {}", a.trim(), b.trim()))
}

#[test]
fn order_changes_no_report() {
    let rules = change::rules();
    let wanted = std::env::var("EKS_DOCTOR_CASES").unwrap_or_default();
    let mut files: Vec<_> =
        std::fs::read_dir(change::fixtures().join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut bases: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        let mut differing = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { return differing };
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            if !name.starts_with(&wanted) {
                continue;
            }
            let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            let documents = bases.entry(case.base.clone()).or_insert_with(|| change::documents(&case.base));
            let mut documents = change::applied(documents, &case.changes).unwrap();
            let expected = report(documents.clone(), &rules);
            let mut seed = number as u64 + 1;
            shuffle(&mut documents, &mut seed);
            let files_shuffled = report(documents.clone(), &rules);
            if files_shuffled != expected {
                differing.push(format!("{name}, files: {}", first_difference(&expected, &files_shuffled)));
                continue;
            }
            for (_, text) in &mut documents {
                let mut value: Value = serde_json::from_str(text).unwrap();
                shuffle_lists(&mut value, &mut seed);
                *text = value.to_string();
            }
            let (expected, shuffled) = (unplaced(&expected), unplaced(&report(documents, &rules)));
            if shuffled != expected {
                differing.push(format!("{name}, lists: {}", first_difference(&expected, &shuffled)));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let differing: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(differing.is_empty(), "{} of {}:\n{}", differing.len(), files.len(), differing.join("\n"));
}
