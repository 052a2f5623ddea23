//! Every format on every fixture, whole and broken, held against the rules of who reads it.

#![allow(clippy::unwrap_used)]

mod change;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use change::Change;
use eks_doctor::cluster::Cluster;
use eks_doctor::picture::Picture;
use eks_doctor::report::{self, Context, RuleInfo, Source};
use eks_doctor::rule::{RuleSet, page};
use eks_doctor::snapshot::Snapshot;
use serde_json::Value;

#[derive(serde::Deserialize)]
struct Fault {
    name: String,
    #[serde(default)]
    bases: Vec<String>,
    changes: Vec<Change>,
}

/// Name and files of each fixture, and of `healthy` with one thing broken at a time.
fn snapshots() -> Vec<(String, Arc<Snapshot>)> {
    let mut all = Vec::new();
    let mut names: Vec<String> = std::fs::read_dir(change::fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("manifest.json").exists())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in names {
        let snapshot = Snapshot::from_documents(change::documents(&name));
        all.push((name, Arc::new(snapshot)));
    }
    let faults = std::fs::read_to_string(change::fixtures().join("faults.yaml")).unwrap();
    let faults: Vec<Fault> = serde_saphyr::from_str(&faults).unwrap();
    let healthy = change::documents("healthy");
    for fault in faults.iter().filter(|fault| fault.bases.is_empty() || fault.bases.iter().any(|b| b == "healthy")) {
        if let Ok(snapshot) = change::changed(&healthy, &fault.changes) {
            all.push((fault.name.clone(), snapshot));
        }
    }
    all
}

/// The report of a snapshot in every format.
fn formats(snapshot: &Arc<Snapshot>, rules: &RuleSet, infos: &[RuleInfo]) -> [String; 6] {
    let report = eks_doctor::diagnose(snapshot, rules, None).unwrap();
    let picture = Picture::new(&Cluster::choose(snapshot.clone(), None).unwrap(), &report);
    let context = Context { rules: infos, folder: "snapshots/prod" };
    let source = Source::Snapshot { path: "snapshots/prod".to_owned() };
    [
        report::json(&report, snapshot, &source),
        report::sarif(&report, snapshot, &context),
        report::junit(&report, snapshot, &context),
        report::github(&report, snapshot, &context),
        report::markdown(&report, snapshot, &context),
        report::html(&report, snapshot, &context, &source, &[picture]),
    ]
}

#[test]
fn every_format_of_every_fixture_is_taken() {
    let rules = RuleSet::built_in().unwrap();
    let infos: Vec<RuleInfo> = rules.rules.iter().map(page::info).collect();
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let schema: Value =
        serde_json::from_slice(&std::fs::read(schemas.join("sarif-schema-2.1.0.json")).unwrap()).unwrap();
    let sarif_schema = jsonschema::validator_for(&schema).unwrap();
    let json_schema = jsonschema::validator_for(&serde_json::from_str(&report::schema()).unwrap()).unwrap();
    let folder = std::env::temp_dir().join(format!("eks-doctor-formats-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut xml = Vec::new();
    let mut findings = 0;
    for (i, (name, snapshot)) in snapshots().iter().enumerate() {
        let [json, sarif, junit, github, markdown, html] = formats(snapshot, &rules, &infos);
        let json: Value = serde_json::from_str(&json).unwrap();
        for (what, schema, value) in
            [("JSON", &json_schema, &json), ("SARIF", &sarif_schema, &serde_json::from_str(&sarif).unwrap())]
        {
            let faults: Vec<String> =
                schema.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(faults.is_empty(), "{name}: {what}: {faults:#?}");
        }
        code_scanning(name, &serde_json::from_str(&sarif).unwrap());
        let file = folder.join(format!("{i}.xml"));
        std::fs::write(&file, junit).unwrap();
        xml.push(file);
        let count = json["findings"].as_array().unwrap().len();
        findings += count;
        // A command a line, and the sum.
        assert_eq!(github.lines().filter(|line| line.starts_with("::")).count(), count, "{name}");
        assert_eq!(github.lines().count(), count + 1, "{name}");
        assert!(markdown.chars().count() < 65_536, "{name}");
        assert_eq!(markdown.matches("<details>").count(), markdown.matches("</details>").count(), "{name}");
        assert_eq!(html.matches("<article ").count(), count, "{name}");
        assert!(html.contains("id=\"map-1\""), "{name} has no picture");
    }
    assert!(findings > 10, "{findings}");
    let run =
        Command::new("xmllint").args(["--noout", "--schema"]).arg(schemas.join("junit-10.xsd")).args(&xml).output();
    match run {
        Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr)),
        Err(error) => {
            eprintln!("skipped: JUnit is not validated, since xmllint (libxml2-utils) cannot be run: {error}")
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// What GitHub asks beyond the schema
/// (<https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning>).
fn code_scanning(name: &str, log: &Value) {
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(!rules.is_empty() && rules.len() <= 25_000);
    for rule in rules {
        let id = rule["id"].as_str().unwrap();
        for field in ["shortDescription", "fullDescription", "help"] {
            let text = rule[field]["text"].as_str().unwrap();
            assert!(!text.is_empty() && (field == "help" || text.chars().count() <= 1024), "{id}: {field}");
        }
        assert!(rule["help"]["markdown"].as_str().is_some_and(|text| text.contains('#')), "{id}");
        assert!(rule["properties"]["tags"].as_array().unwrap().len() <= 10, "{id}");
        assert!(
            ["error", "warning", "recommendation"].contains(&rule["properties"]["problem.severity"].as_str().unwrap())
        );
    }
    let results = run["results"].as_array().unwrap();
    assert!(results.len() <= 25_000);
    for result in results {
        let about = || format!("{name}: {}", result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty(), "{}", about());
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"], "{}", about());
        let places = result["locations"].as_array().unwrap();
        assert!(!places.is_empty() && places.len() <= 1000, "{}", about());
        let related = result["relatedLocations"].as_array().map_or(&[][..], Vec::as_slice);
        for place in places.iter().chain(related) {
            let uri = place["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.starts_with("snapshots/prod/") && uri.ends_with(".json"), "{}: {uri}", about());
            let region = &place["physicalLocation"]["region"];
            for key in ["startLine", "startColumn", "endLine", "endColumn"] {
                assert!(region[key].as_u64().is_some_and(|number| number > 0), "{}: {key}", about());
            }
        }
        assert!(result["partialFingerprints"]["primaryLocationLineHash"].is_string(), "{}", about());
        for flow in result["codeFlows"].as_array().into_iter().flatten() {
            for thread in flow["threadFlows"].as_array().unwrap() {
                let steps = thread["locations"].as_array().unwrap();
                assert!(!steps.is_empty() && steps.len() <= 1000, "{}", about());
                for step in steps {
                    assert!(step["location"]["message"]["text"].is_string(), "{}", about());
                    assert!(step["location"]["physicalLocation"]["artifactLocation"]["uri"].is_string(), "{}", about());
                }
            }
        }
    }
}

#[test]
fn the_order_of_files_changes_no_byte_of_any_format() {
    let rules = RuleSet::built_in().unwrap();
    let infos: Vec<RuleInfo> = rules.rules.iter().map(page::info).collect();
    let mut documents = change::documents("nacl-drops-dns");
    let first = formats(&Arc::new(Snapshot::from_documents(documents.clone())), &rules, &infos);
    documents.reverse();
    documents.rotate_left(11);
    let second = formats(&Arc::new(Snapshot::from_documents(documents)), &rules, &infos);
    for (one, other) in first.iter().zip(&second) {
        assert!(one == other, "{}", &one[..one.len().min(80)]);
    }
}
