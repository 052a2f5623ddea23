//! The recipes: their `eks-doctor` lines run, and what they let it read is all that a snapshot holds.

#![allow(clippy::unwrap_used)]

mod run;

use std::collections::BTreeSet;

use run::Folder;

fn recipe(name: &str) -> String {
    std::fs::read_to_string(format!("docs/recipes/{name}")).unwrap()
}

#[test]
fn lines_of_the_recipes_run() {
    let fixture = |name| std::fs::canonicalize(format!("fixtures/{name}")).unwrap();
    let mut run = 0;
    for name in ["README.md", "github-actions.yaml", "gitlab-ci.yaml"] {
        let folder = Folder::new("recipe");
        std::os::unix::fs::symlink(fixture("nacl-drops-dns"), folder.path().join("snapshot")).unwrap();
        for line in recipe(name).lines().map(|l| l.trim().trim_start_matches("- ")) {
            let Some(command) = line.strip_prefix("eks-doctor ") else { continue };
            let command = command.replace("../before/snapshot", &fixture("healthy").to_string_lossy());
            let arguments: Vec<&str> = command.split(' ').collect();
            let ran = run::with(&arguments, &[], Some(folder.path()));
            assert_eq!(ran.code, 1, "{name}: {line}: {}{}", ran.out, ran.err);
            for file in arguments.iter().filter_map(|a| a.split_once('=').map(|(_, file)| file)) {
                assert!(folder.read(file).len() > 100, "{name}: {file}");
            }
            run += 1;
        }
    }
    assert_eq!(run, 4);
}

#[test]
fn the_cron_job_may_read_what_a_snapshot_holds() {
    let reads: BTreeSet<&str> = eks_doctor::snapshot::TABLES.iter().map(|table| table.read).collect();
    let policy: serde_json::Value = serde_json::from_str(&recipe("iam-policy.json")).unwrap();
    let actions: BTreeSet<&str> =
        policy["Statement"][0]["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let mut allowed: BTreeSet<String> = BTreeSet::new();
    for document in recipe("cronjob.yaml").split("\n---\n") {
        let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
        for rule in object["rules"].as_array().into_iter().flatten() {
            let verb = if rule["resourceNames"].is_array() { "get" } else { "list" };
            assert_eq!(rule["verbs"], serde_json::json!([verb]));
            let group = rule["apiGroups"][0].as_str().unwrap();
            for resource in rule["resources"].as_array().unwrap() {
                let name = format!("k8s:{}.{group}", resource.as_str().unwrap());
                allowed.insert(name.trim_end_matches('.').to_owned());
            }
        }
    }
    for read in &reads {
        let there = if read.starts_with("k8s:") { allowed.contains(*read) } else { actions.contains(read) };
        assert!(there, "{read} is not in docs/recipes");
    }
    assert!(allowed.iter().all(|read| reads.contains(read.as_str())), "more than is read: {allowed:?}");
    let verb = |action: &&str| ["Describe", "List", "Get", "Search"].iter().any(|v| action.contains(&format!(":{v}")));
    assert!(actions.iter().all(verb), "{actions:?}");
}
