//! The recipes: their `eks-doctor` lines run, and what they let it read is all that a snapshot holds.

#![allow(clippy::unwrap_used)]

mod run;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use run::Folder;

fn recipe(name: &str) -> String {
    std::fs::read_to_string(format!("docs/recipes/{name}")).unwrap()
}

/// The YAML documents of a recipe.
fn documents(name: &str) -> Vec<Value> {
    let parsed = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    recipe(name).split("\n---\n").map(parsed).collect()
}

/// The files that the `eks-doctor` lines of a script write.
fn written(script: &str) -> BTreeSet<&str> {
    let lines = script.lines().map(str::trim).filter(|line| line.starts_with("eks-doctor "));
    lines.flat_map(str::split_whitespace).filter_map(|word| Some(word.split_once('=')?.1)).collect()
}

#[test]
fn pipelines_upload_what_their_commands_write() {
    let [workflow] = documents("github-actions.yaml").try_into().unwrap();
    let steps = workflow["jobs"]["check"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["run"].is_string() != step["uses"].is_string()), "{steps:?}");
    let scripts: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    let files: BTreeSet<&str> = scripts.iter().flat_map(|script| written(script)).collect();
    assert_eq!(files, BTreeSet::from(["eks-doctor.sarif", "summary.md"]));
    let upload = steps.iter().find(|step| step["with"]["sarif_file"].is_string()).unwrap();
    assert!(files.contains(upload["with"]["sarif_file"].as_str().unwrap()));
    assert_eq!(workflow["permissions"]["security-events"], "write");
    assert!(scripts.contains(&"cat summary.md >> \"$GITHUB_STEP_SUMMARY\""), "{scripts:?}");
    // What is uploaded is uploaded of a failed check, too: it fails when something was found.
    for step in steps.iter().skip_while(|step| step["run"].as_str().is_none_or(|run| written(run).is_empty())).skip(1) {
        assert!(step["if"].as_str().is_some_and(|when| when.starts_with("always() && ")), "{step}");
    }

    let [pipeline] = documents("gitlab-ci.yaml").try_into().unwrap();
    let job = &pipeline["eks-doctor"];
    let script: Vec<&str> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(job["artifacts"]["when"], "always");
    assert!(written(&script.join("\n")).contains(job["artifacts"]["reports"]["junit"].as_str().unwrap()), "{job}");
}

#[test]
fn the_manifests_of_the_cron_job_fit_together() {
    let all = documents("cronjob.yaml");
    let named = |kind: &str, name: &str, namespace: Option<&str>| {
        all.iter().any(|object| {
            let metadata = &object["metadata"];
            object["kind"] == kind && metadata["name"] == name && metadata["namespace"].as_str() == namespace
        })
    };
    for object in &all {
        assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string(), "{object}");
        let namespace = object["metadata"]["namespace"].as_str();
        match object["kind"].as_str().unwrap() {
            "ClusterRoleBinding" | "RoleBinding" => {
                let role = &object["roleRef"];
                assert_eq!(role["apiGroup"], "rbac.authorization.k8s.io");
                assert!(named(role["kind"].as_str().unwrap(), role["name"].as_str().unwrap(), namespace), "{object}");
                // The group that the access entry in the file's head gives to the role.
                let group = object["subjects"][0]["name"].as_str().unwrap();
                assert!(recipe("cronjob.yaml").contains(&format!("--kubernetes-groups {group}\n")), "{object}");
            }
            "CronJob" => {
                assert_eq!(object["apiVersion"], "batch/v1");
                let pod = &object["spec"]["jobTemplate"]["spec"]["template"]["spec"];
                assert!(named("ServiceAccount", pod["serviceAccountName"].as_str().unwrap(), namespace), "{pod}");
                assert!(matches!(pod["restartPolicy"].as_str(), Some("Never" | "OnFailure")), "{pod}");
                let arguments: Vec<&str> =
                    pod["containers"][0]["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
                assert_eq!(arguments[..2], ["check", "--cluster"]);
                let fields = object["spec"]["schedule"].as_str().unwrap().split(' ').count();
                assert_eq!(fields, 5);
            }
            "ServiceAccount" | "Role" => assert!(namespace.is_some(), "{object}"),
            "Namespace" | "ClusterRole" => assert!(namespace.is_none(), "{object}"),
            other => panic!("{other} is not looked at"),
        }
        if let Some(namespace) = namespace {
            assert!(namespace == "kube-system" || named("Namespace", namespace, None), "{object}");
        }
    }
    assert_eq!(all.len(), 7);
}

#[test]
fn man_pages_and_completions_are_made_by_the_build() {
    let made = Path::new(option_env!("EKS_DOCTOR_DIST").unwrap_or(concat!(env!("OUT_DIR"), "/dist")));
    let read = |name: &str| std::fs::read_to_string(made.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    for (name, wanted) in [
        ("eks-doctor.1", "eks\\-doctor"),
        ("eks-doctor-check.1", "\\-\\-fail\\-on"),
        ("eks-doctor-diff.1", "\\-\\-schema"),
        ("eks-doctor-rules-test.1", "DIR"),
        ("eks-doctor.bash", "--prove"),
        ("_eks-doctor", "--prove"),
        ("eks-doctor.fish", "prove"),
        ("eks-doctor.elv", "--prove"),
        ("_eks-doctor.ps1", "--prove"),
    ] {
        assert!(read(name).contains(wanted), "{name}: {wanted}");
    }
    // What the program prints itself is the same.
    assert_eq!(run::eks_doctor(&["completions", "bash"]).out, read("eks-doctor.bash"));
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
    let policy: Value = serde_json::from_str(&recipe("iam-policy.json")).unwrap();
    let actions: BTreeSet<&str> =
        policy["Statement"][0]["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
    let mut allowed: BTreeSet<String> = BTreeSet::new();
    for document in recipe("cronjob.yaml").split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).unwrap();
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
