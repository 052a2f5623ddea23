//! The least permissions: enough for every rule, only reads, and nothing that IAM does not know.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use change::Change;
use eks_doctor::permissions;
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::{Snapshot, TABLES};

/// Read actions of IAM's service authorization reference that a cluster's network can need.
const ACTIONS: &str = "
autoscaling:DescribeAutoScalingGroups autoscaling:DescribeScalingActivities
ec2:DescribeAddresses ec2:DescribeAvailabilityZones ec2:DescribeDhcpOptions ec2:DescribeEgressOnlyInternetGateways
ec2:DescribeInstanceTypes ec2:DescribeInstances ec2:DescribeInternetGateways ec2:DescribeLaunchTemplateVersions
ec2:DescribeManagedPrefixLists ec2:DescribeNatGateways ec2:DescribeNetworkAcls ec2:DescribeNetworkInterfaces
ec2:DescribePrefixLists ec2:DescribeRouteTables ec2:DescribeSecurityGroupRules ec2:DescribeSecurityGroups
ec2:DescribeSubnets ec2:DescribeTransitGatewayAttachments ec2:DescribeTransitGatewayRouteTables
ec2:DescribeTransitGatewayVpcAttachments ec2:DescribeTransitGateways ec2:DescribeVpcAttribute ec2:DescribeVpcEndpoints
ec2:DescribeVpcPeeringConnections ec2:DescribeVpcs ec2:GetManagedPrefixListEntries ec2:GetSubnetCidrReservations
ec2:SearchTransitGatewayRoutes
eks:DescribeAccessEntry eks:DescribeAddon eks:DescribeCluster eks:DescribeFargateProfile eks:DescribeNodegroup
eks:DescribePodIdentityAssociation eks:ListAccessEntries eks:ListAddons eks:ListClusters eks:ListFargateProfiles
eks:ListInsights eks:ListNodegroups eks:ListPodIdentityAssociations
elasticloadbalancing:DescribeAccountLimits elasticloadbalancing:DescribeListeners
elasticloadbalancing:DescribeLoadBalancerAttributes elasticloadbalancing:DescribeLoadBalancers
elasticloadbalancing:DescribeTargetGroupAttributes elasticloadbalancing:DescribeTargetGroups
elasticloadbalancing:DescribeTargetHealth
iam:GetInstanceProfile iam:GetOpenIDConnectProvider iam:GetPolicy iam:GetPolicyVersion iam:GetRole iam:GetRolePolicy
iam:ListAttachedRolePolicies iam:ListOpenIDConnectProviders iam:ListRolePolicies
kms:GetKeyPolicy
sts:GetCallerIdentity
";

fn known() -> BTreeSet<&'static str> {
    ACTIONS.split_whitespace().collect()
}

fn actions(policy: &str) -> BTreeSet<String> {
    let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
    let statement = &policy["Statement"][0];
    assert_eq!((&statement["Effect"], &statement["Resource"]), (&"Allow".into(), &"*".into()));
    statement["Action"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_recorded_answer_has_an_action() {
    for table in TABLES.iter().filter(|t| !t.read.starts_with("k8s:")) {
        assert!(known().contains(table.read), "{}: IAM has no action {}", table.shape, table.read);
    }
}

#[test]
fn rules_get_all_they_read_and_nothing_else() {
    let rules = RuleSet::built_in().unwrap();
    let allowed = actions(&permissions::aws(&rules));
    let roles = permissions::kubernetes(&rules);
    for read in rules.rules.iter().flat_map(|rule| &rule.reads).filter(|read| !read.starts_with("sts:")) {
        match read.strip_prefix("k8s:") {
            None => assert!(allowed.contains(*read), "{read} is not allowed"),
            Some(object) => {
                let plural = object.split('.').next().unwrap();
                assert!(roles.contains(&format!("\"{plural}\"")), "{plural} is not allowed");
            }
        }
    }
    for action in &allowed {
        assert!(known().contains(action.as_str()), "IAM has no action {action}");
        let name = action.split(':').nth(1).unwrap();
        assert!(["Describe", "List", "Get", "Search"].iter().any(|verb| name.starts_with(verb)), "{action}");
    }
    assert!(!roles.contains("secrets") && !roles.contains('*'), "{roles}");
    let verbs: BTreeSet<&str> = roles.lines().filter_map(|l| l.trim().strip_prefix("verbs: ")).collect();
    assert_eq!(verbs, BTreeSet::from(["[\"get\"]", "[\"list\"]"]));
}

#[test]
fn one_rule_needs_little() {
    let mut rules = RuleSet::built_in().unwrap();
    rules.select(&["nodegroup-unhealthy".to_owned()], &[]).unwrap();
    let allowed: Vec<String> = actions(&permissions::aws(&rules)).into_iter().collect();
    assert_eq!(allowed, ["eks:DescribeCluster", "eks:DescribeNodegroup", "eks:ListClusters", "eks:ListNodegroups"]);
    assert_eq!(permissions::kubernetes(&rules), "");
}

#[test]
fn the_whole_policy_and_roles() {
    let rules = RuleSet::built_in().unwrap();
    let all = format!("{}---\n{}", permissions::aws(&rules), permissions::kubernetes(&rules));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/permissions.golden.yaml");
    if std::env::var_os("EKS_DOCTOR_BLESS").is_some() {
        std::fs::write(&path, &all).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden == all, "EKS_DOCTOR_BLESS=1 cargo test --test permissions writes it anew; it is now:\n{all}");
}

#[derive(serde::Deserialize)]
struct Case {
    base: String,
    #[serde(default)]
    changes: Vec<Change>,
    expect: Expect,
}
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Expect {
    rule: String,
    passes: String,
    skipped: String,
}

/// The read whose answer a file holds: `aws/elbv2/describe-listeners/web.json`.
fn read_of(path: &str) -> Option<String> {
    let mut parts = path.trim_end_matches(".json").split('/');
    match (parts.next()?, parts.next()?, parts.next()) {
        ("k8s", plural, _) => Some(format!("k8s:{plural}")),
        ("aws", service, Some(operation)) => {
            let plain = |text: &str| text.replace('-', "").to_lowercase();
            let service = service.replace("elbv2", "elasticloadbalancing");
            let wanted = plain(&format!("{service}:{operation}"));
            TABLES.iter().map(|t| t.read).find(|read| plain(read) == wanted).map(str::to_owned)
        }
        _ => None,
    }
}

/// The snapshot with nothing but answers to these reads.
fn only(snapshot: &Snapshot, reads: &BTreeSet<&'static str>) -> Arc<Snapshot> {
    let allowed = |path: &str| read_of(path).is_none_or(|read| reads.contains(read.as_str()));
    let kept = snapshot.documents.iter().filter(|d| allowed(&d.path)).map(|d| (d.path.clone(), d.text.clone()));
    Arc::new(Snapshot::from_documents(kept.collect()))
}

fn said(snapshot: &Arc<Snapshot>, rules: &RuleSet) -> Vec<String> {
    let report = eks_doctor::diagnose(snapshot, rules, None).unwrap();
    let findings = report.findings.iter().map(|f| format!("[{}] {} {}", f.rule, f.resource.id, f.message));
    let skipped = report.skipped.iter().map(|s| {
        let missing: Vec<String> = s.missing.iter().map(ToString::to_string).collect();
        format!("[{}] skipped: {}", s.rule, missing.join(", "))
    });
    findings.chain(skipped).collect()
}

#[test]
fn with_what_is_allowed_a_rule_says_what_it_says_with_all() {
    let mut rules = RuleSet::built_in().unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(change::fixtures().join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut bases: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let (mut run, mut wrong) = (0, Vec::new());
    for file in files {
        let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let documents = bases.entry(case.base.clone()).or_insert_with(|| change::documents(&case.base));
        let snapshot = change::changed(documents, &case.changes).unwrap();
        for id in [&case.expect.rule, &case.expect.passes, &case.expect.skipped] {
            let Some(at) = rules.rules.iter().position(|rule| rule.id == *id) else { continue };
            // This rule alone, with what it alone is given.
            let chosen = rules.rules.remove(at);
            let others = std::mem::replace(&mut rules.rules, vec![chosen]);
            let reads = permissions::reads(&rules.rules);
            let (all, least) = (said(&snapshot, &rules), said(&only(&snapshot, &reads), &rules));
            if all != least {
                // Which of the others it is.
                let others: BTreeSet<&'static str> =
                    TABLES.iter().map(|t| t.read).filter(|read| !reads.contains(read)).collect();
                let mut needed = others.clone();
                for read in others {
                    needed.remove(read);
                    if said(&only(&snapshot, &reads.union(&needed).copied().collect()), &rules) != all {
                        needed.insert(read);
                    }
                }
                let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                wrong.push(format!("{name}: needs {needed:?}, else\n    {all:?}\n  is\n    {least:?}"));
            }
            let chosen = std::mem::replace(&mut rules.rules, others).remove(0);
            rules.rules.insert(at, chosen);
            run += 1;
        }
    }
    println!("{run} outcomes with the least permissions");
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn with_what_is_allowed_healthy_clusters_are_judged_alike() {
    let rules = RuleSet::built_in().unwrap();
    let reads = permissions::reads(&rules.rules);
    for fixture in std::fs::read_dir(change::fixtures()).unwrap() {
        let name = fixture.unwrap().file_name().to_string_lossy().into_owned();
        if name.starts_with("healthy") {
            let snapshot = Arc::new(Snapshot::from_documents(change::documents(&name)));
            assert_eq!(said(&snapshot, &rules), said(&only(&snapshot, &reads), &rules), "{name}");
        }
    }
}
