//! Which answers name what a read is asked about: what permits it, what holds it up, why it was not made.

/// Each read that needs another answer first, with those that can name its argument, nearest first. What is asked of
/// services other than EKS needs the cluster besides.
const NAMED_BY: &[(&str, &[&str])] = &[
    ("autoscaling:DescribeAutoScalingGroups", &["eks:DescribeNodegroup", "ec2:DescribeInstances"]),
    ("autoscaling:DescribeScalingActivities", &["autoscaling:DescribeAutoScalingGroups"]),
    ("ec2:DescribeDhcpOptions", &["ec2:DescribeVpcs"]),
    (
        "ec2:DescribeInstanceTypes",
        &[
            "ec2:DescribeInstances",
            "eks:DescribeNodegroup",
            "ec2:DescribeLaunchTemplateVersions",
            "autoscaling:DescribeAutoScalingGroups",
        ],
    ),
    (
        "ec2:DescribeLaunchTemplateVersions",
        &["eks:DescribeNodegroup", "autoscaling:DescribeAutoScalingGroups", "ec2:DescribeInstances"],
    ),
    ("ec2:DescribeManagedPrefixLists", &["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"]),
    ("ec2:DescribeSecurityGroupRules", &["ec2:DescribeSecurityGroups"]),
    ("ec2:DescribeTransitGatewayAttachments", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGatewayRouteTables", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGatewayVpcAttachments", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeTransitGateways", &["ec2:DescribeRouteTables"]),
    ("ec2:DescribeVpcPeeringConnections", &["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"]),
    ("ec2:GetManagedPrefixListEntries", &["ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"]),
    ("ec2:GetSubnetCidrReservations", &["ec2:DescribeInstances", "eks:DescribeNodegroup"]),
    ("ec2:SearchTransitGatewayRoutes", &["ec2:DescribeTransitGatewayAttachments"]),
    ("eks:DescribeAccessEntry", &["eks:ListAccessEntries"]),
    ("eks:DescribeAddon", &["eks:ListAddons"]),
    ("eks:DescribeFargateProfile", &["eks:ListFargateProfiles"]),
    ("eks:DescribeNodegroup", &["eks:ListNodegroups"]),
    ("eks:DescribePodIdentityAssociation", &["eks:ListPodIdentityAssociations"]),
    ("elasticloadbalancing:DescribeListeners", &["elasticloadbalancing:DescribeLoadBalancers"]),
    ("elasticloadbalancing:DescribeLoadBalancerAttributes", &["elasticloadbalancing:DescribeLoadBalancers"]),
    ("elasticloadbalancing:DescribeTargetGroupAttributes", &["elasticloadbalancing:DescribeTargetGroups"]),
    ("elasticloadbalancing:DescribeTargetHealth", &["elasticloadbalancing:DescribeTargetGroups"]),
    ("iam:GetInstanceProfile", &["ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions"]),
    ("iam:GetOpenIDConnectProvider", &["iam:ListOpenIDConnectProviders"]),
    ("iam:GetPolicy", &["iam:ListAttachedRolePolicies"]),
    ("iam:GetPolicyVersion", &["iam:GetPolicy"]),
    ("iam:GetRole", &["eks:DescribeNodegroup", "iam:GetInstanceProfile"]),
    ("iam:GetRolePolicy", &["iam:ListRolePolicies"]),
    ("iam:ListAttachedRolePolicies", &["eks:DescribeNodegroup", "iam:GetInstanceProfile"]),
    ("iam:ListRolePolicies", &["eks:DescribeNodegroup", "iam:GetInstanceProfile"]),
    ("kms:GetKeyPolicy", &["ec2:DescribeLaunchTemplateVersions"]),
];

/// The reads whose answers tell what to ask for, nearest first; empty when the cluster tells, or nothing has to.
pub(crate) fn named_by(read: &str) -> &'static [&'static str] {
    NAMED_BY.iter().find(|(named, _)| *named == read).map_or(&[], |(_, by)| by)
}

/// The same, and what those are named by in turn, up to the cluster.
pub(crate) fn asked_after(read: &str) -> Vec<&'static str> {
    let mut after = named_by(read).to_vec();
    let mut at = 0;
    while let Some(read) = after.get(at) {
        for before in named_by(read) {
            if !after.contains(before) {
                after.push(before);
            }
        }
        at += 1;
    }
    let needs_cluster = |read: &str| !["k8s:", "sts:", "eks:"].iter().any(|service| read.starts_with(service));
    if needs_cluster(read) {
        after.push("eks:DescribeCluster");
    }
    after
}
