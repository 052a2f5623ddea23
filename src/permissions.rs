//! The least that must be allowed to read what rules need: a policy of IAM and a role of Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::rule::{Rule, RuleSet};
use crate::snapshot::named_by;

/// The name of the roles and their group in Kubernetes.
const NAME: &str = "eks-doctor";
/// The config maps of `kube-system` that are read, and the cluster role. No other object of these kinds is.
const CONFIG_MAPS: [&str; 5] = ["amazon-vpc-cni", "aws-auth", "coredns", "kube-proxy", "kube-proxy-config"];
const CLUSTER_ROLES: [&str; 1] = ["system:coredns"];

/// What is read along with something.
type Table = &'static [(&'static str, &'static [&'static str])];

/// What is read along with a read, besides what names its argument: what tells what the answer means.
const MEANING: Table = &[
    ("ec2:DescribeDhcpOptions", &["k8s:nodes"]),
    // Where nodes run, also those that are only wanted.
    (
        "ec2:DescribeInstances",
        &[
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeSubnets",
            "eks:DescribeFargateProfile",
            "eks:DescribeNodegroup",
            "k8s:ec2nodeclasses.karpenter.k8s.aws",
            "k8s:nodeclasses.eks.amazonaws.com",
            "k8s:nodes",
        ],
    ),
    ("ec2:DescribeLaunchTemplateVersions", &["ec2:DescribeVpcs"]),
    ("ec2:DescribeNetworkInterfaces", &["ec2:DescribeInstanceTypes", "ec2:GetSubnetCidrReservations"]),
    // What a route leads to, and what it leads past.
    (
        "ec2:DescribeRouteTables",
        &[
            "ec2:DescribeEgressOnlyInternetGateways",
            "ec2:DescribeInstances",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeNatGateways",
            "ec2:DescribeNetworkAcls",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeTransitGatewayAttachments",
            "ec2:DescribeTransitGatewayVpcAttachments",
            "ec2:DescribeTransitGateways",
            "ec2:DescribeVpcEndpoints",
            "ec2:DescribeVpcPeeringConnections",
            "ec2:DescribeVpcs",
            "ec2:GetManagedPrefixListEntries",
            "ec2:SearchTransitGatewayRoutes",
        ],
    ),
    ("ec2:DescribeSecurityGroups", &["ec2:DescribeManagedPrefixLists", "ec2:DescribeSecurityGroupRules"]),
    ("ec2:DescribeSubnets", &["ec2:DescribeAvailabilityZones", "ec2:DescribeRouteTables"]),
    ("ec2:DescribeVpcAttribute", &["ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs"]),
    ("ec2:DescribeVpcEndpoints", &["ec2:DescribeRouteTables"]),
    ("eks:ListAccessEntries", &["eks:DescribeAccessEntry", "k8s:configmaps"]),
    ("eks:ListPodIdentityAssociations", &["eks:DescribePodIdentityAssociation"]),
    ("elasticloadbalancing:DescribeLoadBalancerAttributes", &["elasticloadbalancing:DescribeTargetGroupAttributes"]),
    (
        "elasticloadbalancing:DescribeLoadBalancers",
        &["elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes"],
    ),
    (
        "elasticloadbalancing:DescribeTargetGroups",
        &[
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTargetHealth",
            "k8s:targetgroupbindings.elbv2.k8s.aws",
        ],
    ),
    ("iam:GetPolicyVersion", &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]),
    ("iam:ListAttachedRolePolicies", &["iam:GetPolicyVersion", "iam:GetRole"]),
    ("iam:ListOpenIDConnectProviders", &["iam:GetOpenIDConnectProvider"]),
    ("iam:ListRolePolicies", &["iam:GetRole", "iam:GetRolePolicy"]),
    ("k8s:configmaps", &["k8s:nodes"]),
    (
        "k8s:daemonsets.apps",
        &[
            "k8s:configmaps",
            "k8s:eniconfigs.crd.k8s.amazonaws.com",
            "k8s:events",
            "k8s:nodes",
            "k8s:pods",
            "k8s:securitygrouppolicies.vpcresources.k8s.aws",
        ],
    ),
    ("k8s:deployments.apps", &["k8s:configmaps", "k8s:pods", "k8s:serviceaccounts", "k8s:services"]),
    (
        "k8s:ingresses.networking.k8s.io",
        &[
            "elasticloadbalancing:DescribeLoadBalancers",
            "k8s:deployments.apps",
            "k8s:ingressclasses.networking.k8s.io",
            "k8s:ingressclassparams.elbv2.k8s.aws",
            "k8s:services",
        ],
    ),
    ("k8s:nodeclasses.eks.amazonaws.com", &["ec2:DescribeSecurityGroups", "k8s:ingresses.networking.k8s.io"]),
    ("k8s:nodepools.karpenter.sh", &["k8s:ec2nodeclasses.karpenter.k8s.aws"]),
    ("k8s:nodes", &["ec2:DescribeInstances", "k8s:ec2nodeclasses.karpenter.k8s.aws", "k8s:nodepools.karpenter.sh"]),
    ("k8s:pods", &["k8s:daemonsets.apps", "k8s:nodes", "k8s:services"]),
    ("k8s:serviceaccounts", &["k8s:deployments.apps"]),
    ("k8s:services", &["k8s:endpointslices.discovery.k8s.io", "k8s:pods"]),
    (
        "k8s:targetgroupbindings.elbv2.k8s.aws",
        &["elasticloadbalancing:DescribeTargetGroups", "k8s:endpointslices.discovery.k8s.io", "k8s:services"],
    ),
];

/// What is read along with what eks-doctor derives of several answers, by the shape that a rule matches.
const DERIVED: Table = &[
    ("CniIdentity", &["iam:ListAttachedRolePolicies"]),
    ("DeadWebhook", &["k8s:deployments.apps"]),
    ("LoadBalancerPath", &["elasticloadbalancing:DescribeTargetGroups", "k8s:deployments.apps"]),
    ("LoadBalancerPlan", &["elasticloadbalancing:DescribeAccountLimits", "iam:GetRole"]),
    ("NodeExit", &["k8s:serviceaccounts"]),
    ("NodeRole", NODE_ROLES),
    ("PrivateNeed", &["k8s:deployments.apps"]),
    ("PublicAccessGap", &["ec2:DescribeRouteTables"]),
    ("SecurityGroup", &["k8s:ingresses.networking.k8s.io"]),
    ("UnmappedRoles", NODE_ROLES),
];
const NODE_ROLES: &[&str] = &["eks:ListAccessEntries", "iam:GetInstanceProfile", "iam:GetRole"];

/// What rules read of AWS and Kubernetes, and what is read along with it.
pub fn reads(rules: &[Rule]) -> BTreeSet<&'static str> {
    fn with(table: Table, key: &str) -> impl Iterator<Item = &'static str> {
        table.iter().filter(move |(of, _)| *of == key).flat_map(|(_, with)| with.iter().copied())
    }
    // The cluster is where every read begins, and a name that is not there is answered with those that are.
    let mut open = vec!["eks:DescribeCluster", "eks:ListClusters"];
    for rule in rules {
        open.extend(rule.reads.iter().copied().chain(with(DERIVED, rule.shape)));
    }
    let mut reads = BTreeSet::new();
    while let Some(read) = open.pop() {
        if reads.insert(read) {
            open.extend(named_by(read).iter().copied().chain(with(MEANING, read)));
        }
    }
    reads
}

/// What has to be read of a cluster so that rules can be decided.
#[derive(Debug, Clone)]
pub struct Needs {
    pub reads: BTreeSet<&'static str>,
    /// Whether each of them is asked about everything: rules of the user's own may look at what built-in ones have no
    /// use for.
    pub everything: bool,
}

impl Needs {
    pub fn of(rules: &RuleSet) -> Needs {
        Needs { reads: reads(&rules.rules), everything: rules.rules.iter().any(|rule| rule.custom) }
    }
}

/// The policy of IAM, as JSON.
pub fn aws(rules: &RuleSet) -> String {
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // `sts:GetCallerIdentity` cannot be denied and needs no leave.
    for read in reads(&rules.rules).into_iter().filter(|read| !read.starts_with("k8s:") && !read.starts_with("sts:")) {
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
    for object in reads(&rules.rules).iter().filter_map(|read| read.strip_prefix("k8s:")) {
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
