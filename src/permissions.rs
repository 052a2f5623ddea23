//! The least that must be allowed to read what rules need: a policy of IAM and a role of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::rule::RuleSet;

/// The name of the roles and their group in Kubernetes.
const NAME: &str = "eks-doctor";
/// The config maps of `kube-system` that are read, and the cluster role. No other object of these kinds is.
const CONFIG_MAPS: [&str; 5] = ["amazon-vpc-cni", "aws-auth", "coredns", "kube-proxy", "kube-proxy-config"];
const CLUSTER_ROLES: [&str; 1] = ["system:coredns"];

/// What is read along with a read: what names its argument, and what tells what the answer means.
const ALONG: &[(&str, &[&str])] = &[
    ("autoscaling:DescribeScalingActivities", &["autoscaling:DescribeAutoScalingGroups"]),
    ("ec2:DescribeDhcpOptions", &["ec2:DescribeVpcs"]),
    ("ec2:DescribeInstanceTypes", &["ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions"]),
    (
        "ec2:DescribeLaunchTemplateVersions",
        &["autoscaling:DescribeAutoScalingGroups", "ec2:DescribeInstances", "eks:DescribeNodegroup"],
    ),
    ("ec2:DescribeManagedPrefixLists", &["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"]),
    ("ec2:DescribeTransitGatewayAttachments", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGatewayRouteTables", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGatewayVpcAttachments", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGateways", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeVpcPeeringConnections", &["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"]),
    ("ec2:DescribeSecurityGroupRules", &["ec2:DescribeSecurityGroups"]),
    ("ec2:GetManagedPrefixListEntries", &["ec2:DescribeManagedPrefixLists"]),
    ("ec2:GetSubnetCidrReservations", &["ec2:DescribeSubnets"]),
    ("ec2:SearchTransitGatewayRoutes", &["ec2:DescribeTransitGatewayRouteTables"]),
    ("eks:DescribeAccessEntry", &["eks:ListAccessEntries"]),
    ("eks:DescribeAddon", &["eks:ListAddons"]),
    ("eks:DescribeFargateProfile", &["eks:ListFargateProfiles"]),
    ("eks:DescribeNodegroup", &["eks:ListNodegroups"]),
    ("eks:DescribePodIdentityAssociation", &["eks:ListPodIdentityAssociations"]),
    (
        "elasticloadbalancing:DescribeLoadBalancers",
        &["elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes"],
    ),
    (
        "elasticloadbalancing:DescribeLoadBalancerAttributes",
        &["elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroupAttributes"],
    ),
    ("elasticloadbalancing:DescribeTargetGroupAttributes", &["elasticloadbalancing:DescribeTargetGroups"]),
    ("elasticloadbalancing:DescribeTargetHealth", &["elasticloadbalancing:DescribeTargetGroups"]),
    ("iam:GetInstanceProfile", &["ec2:DescribeInstances"]),
    ("iam:GetOpenIDConnectProvider", &["iam:ListOpenIDConnectProviders"]),
    ("iam:GetPolicyVersion", &["iam:GetPolicy", "iam:ListAttachedRolePolicies"]),
    ("iam:GetRole", &["eks:DescribeNodegroup", "iam:GetInstanceProfile"]),
    ("iam:GetRolePolicy", &["iam:ListRolePolicies"]),
    ("iam:ListAttachedRolePolicies", &["iam:GetRole"]),
    ("iam:ListRolePolicies", &["iam:GetRole"]),
    ("kms:GetKeyPolicy", &["ec2:DescribeLaunchTemplateVersions"]),
];

/// What rules read of AWS and Kubernetes, and what is read along with it.
fn reads(rules: &RuleSet) -> BTreeSet<&'static str> {
    // The cluster is where every read begins, and a name that is not there is answered with those that are.
    let mut open = vec!["eks:DescribeCluster", "eks:ListClusters"];
    open.extend(rules.rules.iter().flat_map(|rule| rule.reads.iter().copied()));
    let mut reads = BTreeSet::new();
    while let Some(read) = open.pop() {
        if reads.insert(read) {
            open.extend(
                ALONG.iter().filter(|(after, _)| *after == read).flat_map(|(_, before)| before.iter().copied()),
            );
        }
    }
    reads
}

/// The policy of IAM, as JSON.
pub fn aws(rules: &RuleSet) -> String {
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // `sts:GetCallerIdentity` cannot be denied and needs no leave.
    for read in reads(rules).into_iter().filter(|read| !read.starts_with("k8s:") && !read.starts_with("sts:")) {
        services.entry(read.split(':').next().unwrap_or_default()).or_default().push(read);
    }
    let mut out = String::from("{\n    \"Version\": \"2012-10-17\",\n    \"Statement\": [\n        {\n");
    out.push_str(
        "            \"Sid\": \"EksDoctorReads\",\n            \"Effect\": \"Allow\",\n            \"Action\": [\n",
    );
    let actions: Vec<String> = services.into_values().flatten().map(|a| format!("                \"{a}\"")).collect();
    out.push_str(&actions.join(",\n"));
    out.push_str("\n            ],\n            \"Resource\": \"*\"\n        }\n    ]\n}\n");
    out
}

/// The roles of Kubernetes and who has them (the group `eks-doctor`), as YAML.
pub fn kubernetes(rules: &RuleSet) -> String {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let (mut config_maps, mut cluster_roles) = (false, false);
    for object in reads(rules).iter().filter_map(|read| read.strip_prefix("k8s:")) {
        let (plural, group) = object.split_once('.').unwrap_or((object, ""));
        match plural {
            "configmaps" => config_maps = true,
            "clusterroles" => cluster_roles = true,
            _ => groups.entry(group).or_default().push(plural),
        }
    }
    let list = |names: &[&str]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let mut rules = String::new();
    for (group, plurals) in &groups {
        let _ = writeln!(rules, "- apiGroups: [\"{group}\"]\n  resources: [{}]\n  verbs: [\"list\"]", list(plurals));
    }
    if cluster_roles {
        let _ = writeln!(
            rules,
            "- apiGroups: [\"rbac.authorization.k8s.io\"]\n  resources: [\"clusterroles\"]\n  resourceNames: [{}]\n  verbs: [\"get\"]",
            list(&CLUSTER_ROLES)
        );
    }
    let mut documents = Vec::new();
    if !rules.is_empty() {
        documents.push(role("ClusterRole", "", &rules));
        documents.push(binding("ClusterRole", ""));
    }
    if config_maps {
        let rules = format!(
            "- apiGroups: [\"\"]\n  resources: [\"configmaps\"]\n  resourceNames: [{}]\n  verbs: [\"get\"]\n",
            list(&CONFIG_MAPS)
        );
        documents.push(role("Role", "  namespace: kube-system\n", &rules));
        documents.push(binding("Role", "  namespace: kube-system\n"));
    }
    documents.join("---\n")
}

fn role(kind: &str, namespace: &str, rules: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {NAME}\n{namespace}rules:\n{rules}"
    )
}

fn binding(kind: &str, namespace: &str) -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\nmetadata:\n  name: {NAME}\n{namespace}roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {NAME}\nsubjects:\n- apiGroup: rbac.authorization.k8s.io\n  kind: Group\n  name: {NAME}\n"
    )
}
