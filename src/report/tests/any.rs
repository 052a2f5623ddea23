//! Reports about files of any make and size.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ACLS, UNICODE, evidence, pointing};
use crate::report::{Source, Style, json as to_json, text};
use crate::snapshot::Snapshot;

/// A list of objects that hold `words`, laid out in one of several ways.
fn file(words: &[String], layout: usize) -> String {
    let items: Vec<_> = words.iter().map(|word| json!({"a": word, "b": [{word: 1}, [], {}], "c": null})).collect();
    let value = json!({"Items": items, "Last": {"x": true}});
    match layout {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(&value).unwrap(),
        2 => serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n"),
        _ => value.to_string().replace("},", "},\n").replace(":{", "\t:  {"),
    }
}

proptest! {
    #[test]
    fn no_file_stops_the_report(
        words in prop::collection::vec("[a-zé😀\\\\\"\\{\\},:\u{85}\u{202e}]{0,200}", 0..9),
        layout in 0..4_usize,
        cut in prop::option::of(0.0..1.0_f64),
        width in 0..200_usize,
        unicode in any::<bool>(),
    ) {
        let mut file = file(&words, layout);
        if let Some(cut) = cut {
            let mut end = (file.len() as f64 * cut) as usize;
            while !file.is_char_boundary(end) {
                end -= 1;
            }
            file.truncate(end);
        }
        let snapshot = Snapshot::from_documents(vec![("any.json".to_owned(), file)]);
        let pointers = ["", "/Items", "/Items/0", "/Items/2/a", "/Items/3/b/0", "/Items/1/b/1", "/Last/x", "/Last/y", "no"];
        let mut report = pointing(pointers.iter().map(|pointer| evidence(pointer, "a label of some words")).collect());
        report.findings[0].evidence.push(crate::diagnostic::Evidence { document: 7, ..evidence("", "") });
        let shown = text(&report, &snapshot, &Style { color: false, unicode, width });
        let unruly = shown.contains(['\u{85}', '\u{202e}', '\r', '\u{1b}']);
        prop_assert!(!unruly);
        prop_assert!(shown.matches("any.json:").count() >= pointers.len());
        let json: Value = serde_json::from_str(&to_json(&report, &snapshot, &Source::Live)).unwrap();
        prop_assert_eq!(json["findings"][0]["evidence"].as_array().map(Vec::len), Some(pointers.len()));
    }
}

/// `cargo test --release --no-default-features fifty_megabytes -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, only of use in release"]
fn fifty_megabytes() {
    let value: Value = serde_json::from_str(ACLS).unwrap();
    let all = vec![value["NetworkAcls"][0].clone(); 130_000];
    let all = json!({ "NetworkAcls": all });
    for (name, file) in [("pretty", serde_json::to_string_pretty(&all).unwrap()), ("minified", all.to_string())] {
        let size = file.len() / 1_000_000;
        let snapshot = Snapshot::from_documents(vec![("acls.json".to_owned(), file)]);
        let report = pointing(vec![evidence("/NetworkAcls/129999/Entries/0", "the last one")]);
        let start = std::time::Instant::now();
        let shown = text(&report, &snapshot, &UNICODE);
        let took = start.elapsed();
        println!("{name}, {size} MB: {took:?}");
        assert!(shown.contains("the last one"));
        assert!(took.as_millis() < 50 || cfg!(debug_assertions), "{took:?}");
    }
}
