//! The plan on fixtures in place of AWS: what is asked, in which order, and that it is enough.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::*;
use crate::change::{self, Change};
use crate::rule::RuleSet;
use crate::shape::ec2::Instance;
use crate::snapshot::{Snapshot, named_by};

type Files = BTreeMap<String, String>;

/// What was asked of a fixture.
struct Asked {
    /// The length of the longest chain of calls.
    longest: usize,
    calls: usize,
    /// The files that were answers.
    found: BTreeSet<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn fixture(name: &str) -> Files {
    change::documents(&fixtures().join(name)).unwrap().into_iter().collect()
}

/// Reads files as if they were AWS and Kubernetes; nothing when they do not hold the cluster.
fn read(files: &Files, needs: Option<&Arc<Needs>>, objects_last: bool) -> Option<Asked> {
    let cluster = files.keys().find_map(|path| path.strip_prefix("aws/eks/describe-cluster/"))?;
    let mut plan = Plan::new(cluster.strip_suffix(".json")?, needs.cloned());
    let mut open: Vec<(Call, usize)> = plan.start().into_iter().map(|call| (call, 1)).collect();
    let mut found = BTreeSet::new();
    let mut objects: Vec<(&String, &String)> = files.iter().filter(|(path, _)| path.starts_with("k8s/")).collect();
    let (mut asked, mut longest) = (BTreeSet::new(), 0);
    loop {
        if !objects_last || open.is_empty() {
            for (path, list) in std::mem::take(&mut objects) {
                let plural = path.trim_start_matches("k8s/").trim_end_matches(".json");
                if needs.is_none_or(|needs| needs.reads.contains(format!("k8s:{plural}").as_str())) {
                    found.insert(path.clone());
                    open.extend(plan.follow_objects(plural, list).into_iter().map(|call| (call, 2)));
                }
            }
        }
        let Some((call, depth)) = open.pop() else { break };
        longest = longest.max(depth);
        assert!(asked.insert(call.clone()), "asked twice: {call:?}");
        let path = match call.file() {
            Some(file) => format!("aws/{}/{}.json", call.path(), last(&file)),
            None => format!("aws/{}.json", call.path()),
        };
        let before = plan.seen.clone();
        let more = match files.get(&path) {
            Some(text) => {
                found.insert(path);
                let mut answer = Answer::from_json(call.service.name(), call.operation, text.as_bytes()).unwrap();
                plan.follow(&call, &mut answer)
            }
            None => plan.failed(&call),
        };
        open.extend(more.into_iter().map(|call| (call, depth + 1)));
        // What is held waits for all that may name more of it.
        for (read, value) in plan.seen.difference(&before).filter(|(kind, _)| kind.contains(':')) {
            assert!(named_by(read).contains(&call.read().as_str()), "{} names {value} for {read}", call.read());
        }
    }
    assert!(plan.held.is_empty(), "never asked: {:?}", plan.held);
    Some(Asked { longest, calls: asked.len(), found })
}

#[test]
fn everything_that_a_healthy_cluster_has_is_asked_for() {
    let files = fixture("healthy");
    let Asked { longest, found, .. } = read(&files, None, false).unwrap();
    // What the cluster has no use for, as `docs/live.md` tells.
    let unused = [
        "manifest",
        "transit-gateway",
        "peering",
        "egress-only",
        "get-policy-version",
        "attributes",
        "prefix-list",
        "get-subnet-cidr-reservations",
        "describe-access-entry/Admin",
    ];
    let forgotten: Vec<&String> =
        files.keys().filter(|file| !found.contains(*file) && !unused.iter().any(|u| file.contains(u))).collect();
    assert_eq!(forgotten, Vec::<&String>::new());
    // DescribeCluster, DescribeInstances, GetInstanceProfile, ListAttachedRolePolicies, GetPolicy, GetPolicyVersion.
    assert!(longest <= 6, "{longest}");
}

#[derive(serde::Deserialize)]
struct Case {
    base: String,
    #[serde(default)]
    changes: Vec<Change>,
}

/// What a check asks for gives the same report as what a recording holds: on every fixture, and on every case.
#[test]
fn what_rules_need_is_asked_for() {
    let rules = RuleSet::built_in().unwrap();
    let needs = Arc::new(Needs::of(&rules));
    let mut all: Vec<(String, Files)> = Vec::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.starts_with("healthy") {
            all.push((name.clone(), fixture(&name)));
        }
    }
    let bases: BTreeMap<String, Vec<(String, String)>> =
        all.iter().map(|(name, files)| (name.clone(), files.clone().into_iter().collect())).collect();
    for entry in std::fs::read_dir(fixtures().join("cases")).unwrap() {
        let path = entry.unwrap().path();
        let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let Some(base) = bases.get(&case.base) else { continue };
        let files = change::applied(base, &case.changes).unwrap();
        all.push((path.file_stem().unwrap().to_string_lossy().into_owned(), files.into_iter().collect()));
    }
    let said = |files: &Files, asked: &Asked| {
        let kept = files.iter().filter(|(path, _)| path.starts_with("manifest") || asked.found.contains(*path));
        let snapshot = Arc::new(Snapshot::from_documents(kept.map(|(p, t)| (p.clone(), t.clone())).collect()));
        let report = crate::diagnose(&snapshot, &rules, None).unwrap();
        let findings =
            report.findings.iter().map(|f| format!("[{}] {} {} {:?}", f.rule, f.resource.id, f.message, f.fixes));
        let skipped = report.skipped.iter().map(|s| format!("[{}] skipped {:?}", s.rule, s.missing));
        findings.chain(skipped).collect::<BTreeSet<String>>()
    };
    // Calls that are spared, and what differs.
    let compare = |(name, files): &(String, Files)| -> Option<(usize, Option<String>)> {
        let asked = |needs, objects_last| read(files, needs, objects_last);
        let (whole, needed) = (asked(None, false)?, asked(Some(&needs), false)?);
        assert!(needed.calls <= whole.calls, "{name}");
        assert!(asked(Some(&needs), true).is_some_and(|late| late.found == needed.found), "{name}");
        let (recorded, live) = (said(files, &whole), said(files, &needed));
        let differs = (recorded != live).then(|| {
            let differ: Vec<&String> = recorded.symmetric_difference(&live).collect();
            let left: Vec<&String> = whole.found.difference(&needed.found).collect();
            format!("{name}: {differ:?}; not asked: {left:?}")
        });
        Some((whole.calls - needed.calls, differs))
    };
    let results: Vec<(usize, Option<String>)> = all.par_iter().filter_map(compare).collect();
    let compared = results.len();
    let fewer: usize = results.iter().map(|r| r.0).sum();
    let wrong: Vec<String> = results.into_iter().filter_map(|r| r.1).collect();
    println!("{compared} clusters, {fewer} calls fewer");
    assert!(compared > 400 && wrong.is_empty(), "{compared}; {} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn other_clusters_instances_are_not_followed() {
    let mut plan = Plan::new("prod", None);
    let instance = |cluster: &str| {
        let text = format!(
            r#"{{"InstanceId": "i-1", "InstanceType": "m5.large", "SubnetId": "subnet-{cluster}",
                "IamInstanceProfile": {{"Arn": "arn:aws:iam::1:instance-profile/{cluster}"}},
                "Tags": [{{"Key": "kubernetes.io/cluster/{cluster}", "Value": "owned"}}]}}"#
        );
        serde_json::from_str::<Instance>(&text).unwrap()
    };
    let calls = plan.instances(&[instance("prod"), instance("dev")]);
    let about: Vec<&str> = calls.iter().filter_map(|c| c.argument.as_deref()).collect();
    assert_eq!(about, ["subnet-prod", "prod"]);
}
