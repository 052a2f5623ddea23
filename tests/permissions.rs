//! The least permissions: enough for every rule, only reads, and nothing that IAM does not know.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use eks_doctor::permissions;
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::TABLES;

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
    let one = rules.rules.iter().find(|r| r.reads.iter().all(|read| read.starts_with("ec2:"))).unwrap().id.clone();
    rules.select(&[one], &[]).unwrap();
    let allowed = actions(&permissions::aws(&rules));
    assert!(allowed.len() < 20 && allowed.contains("eks:DescribeCluster"), "{allowed:?}");
    assert!(!allowed.iter().any(|a| a.starts_with("iam:") || a.starts_with("elastic")), "{allowed:?}");
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
