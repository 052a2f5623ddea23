//! The order of files, objects, rules, entries and routes changes no byte of a report but where things stand.

#![allow(clippy::unwrap_used)]

mod change;

use std::sync::Arc;

use change::Case;
use eks_doctor::report::{self, Source};
use eks_doctor::snapshot::Snapshot;
use rayon::prelude::*;
use serde_json::Value;

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
    let cases = change::cases();
    let bases = change::bases(cases.iter().map(|(_, case)| &case.base));
    let differs = |(number, (name, case)): (usize, &(String, Case))| {
        let mut documents = change::applied(&bases[&case.base], &case.changes).unwrap();
        let expected = report(documents.clone(), &rules);
        let mut seed = number as u64 + 1;
        shuffle(&mut documents, &mut seed);
        let files_shuffled = report(documents.clone(), &rules);
        if files_shuffled != expected {
            return Some(format!("{name}, files: {}", first_difference(&expected, &files_shuffled)));
        }
        for (_, text) in &mut documents {
            let mut value: Value = serde_json::from_str(text).unwrap();
            shuffle_lists(&mut value, &mut seed);
            *text = value.to_string();
        }
        let (expected, shuffled) = (unplaced(&expected), unplaced(&report(documents, &rules)));
        (shuffled != expected).then(|| format!("{name}, lists: {}", first_difference(&expected, &shuffled)))
    };
    let chosen = cases.par_iter().enumerate().filter(|(_, (name, _))| name.starts_with(&wanted));
    let differing: Vec<String> = chosen.filter_map(differs).collect();
    assert!(differing.is_empty(), "{} of {}:\n{}", differing.len(), cases.len(), differing.join("\n"));
}
