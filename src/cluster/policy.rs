//! What an IAM policy says of a call: actions, resources and conditions, with "nobody knows" kept apart from "no".

use std::collections::BTreeMap;

use crate::glob::{like, like_in_any_case as glob};
use crate::shape::iam::{OneOrMany, Policy, Statement};
use crate::shape::{Row, Scalar, Str};

/// What is known of a call beside its action and resource: the condition keys.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// By key in lower case; an empty list is a key that the call does not carry.
    keys: BTreeMap<String, Vec<Str>>,
    /// Beginnings of keys of which the call carries none but those above.
    closed: Vec<String>,
}

impl Context {
    /// The call carries this key.
    pub fn with(mut self, key: &str, value: &str) -> Context {
        self.keys.entry(key.to_ascii_lowercase()).or_default().push(Str::new(value));
        self
    }
    /// The call does not carry this key.
    pub fn without(mut self, key: &str) -> Context {
        self.keys.insert(key.to_ascii_lowercase(), Vec::new());
        self
    }
    /// The call carries no other keys that begin so (`aws:RequestTag/`).
    pub fn without_others(mut self, prefix: &str) -> Context {
        self.closed.push(prefix.to_ascii_lowercase());
        self
    }
    /// The values of a key: `None` when nobody knows, empty when the call does not carry it.
    fn values(&self, key: &str) -> Option<&[Str]> {
        let key = key.to_ascii_lowercase();
        match self.keys.get(&key) {
            Some(values) => Some(values),
            None if self.closed.iter().any(|p| key.starts_with(p)) => Some(&[]),
            None => None,
        }
    }
}

/// A statement of a policy that a role holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The policy's name.
    pub policy: Str,
    /// Where its document was recorded.
    pub row: Option<Row>,
    /// Which statement.
    pub statement: usize,
}

/// What the policies of a role say of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// A statement denies it.
    Denied(Held),
    /// Nothing allows it. These statements name the action, but for other resources or under a condition that the
    /// call does not fulfil.
    NotAllowed {
        near: Vec<Held>,
    },
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Decision::Allowed)
    }
}

/// The words of a policy: its document, or the actions of an AWS managed one whose document was not recorded.
pub(super) enum Sheet<'a> {
    Document(&'a Policy),
    Actions(&'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Unknown,
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// Decides a call over policies: a deny wins, then an allow.
pub(super) fn decide<'a>(
    policies: impl Iterator<Item = (&'a Sheet<'a>, &'a Str, Option<Row>)>,
    action: &str,
    resource: &str,
    context: &Context,
) -> Decision {
    let mut allowed = false;
    let mut near = Vec::new();
    for (sheet, name, row) in policies {
        let policy = match sheet {
            Sheet::Actions(actions) => {
                allowed |= actions.iter().any(|p| glob(p, action));
                continue;
            }
            Sheet::Document(policy) => policy,
        };
        for (index, statement) in policy.Statement.iter().enumerate() {
            if !named(&statement.Action, &statement.NotAction, |p| glob(p, action)) {
                continue;
            }
            let held = || Held { policy: name.clone(), row, statement: index };
            let of_resource = (statement.Resource.is_empty() && statement.NotResource.is_empty())
                || named(&statement.Resource, &statement.NotResource, |p| matches_resource(p, resource));
            let conditions = conditions(statement, context);
            if statement.Effect == "Deny" {
                if of_resource && conditions == Answer::Yes {
                    return Decision::Denied(held());
                }
            } else if of_resource && conditions != Answer::No {
                allowed = true;
            } else {
                near.push(held());
            }
        }
    }
    if allowed { Decision::Allowed } else { Decision::NotAllowed { near } }
}

/// Whether the conditions of an allowing statement can hold.
pub(super) fn allows_statement(statement: &Statement, context: &Context) -> bool {
    conditions(statement, context) != Answer::No
}

fn named(these: &OneOrMany<Str>, others: &OneOrMany<Str>, fits: impl Fn(&str) -> bool) -> bool {
    if these.is_empty() { !others.is_empty() && !others.iter().any(|p| fits(p)) } else { these.iter().any(|p| fits(p)) }
}

/// A resource pattern against a resource; a pattern with a policy variable may be anything.
fn matches_resource(pattern: &str, resource: &str) -> bool {
    pattern == "*" || pattern.contains("${") || glob(pattern, resource)
}

fn conditions(statement: &Statement, context: &Context) -> Answer {
    let mut all = Answer::Yes;
    for (operator, entries) in &statement.Condition {
        for (key, wanted) in entries {
            match condition(operator, key, wanted, context) {
                Answer::No => return Answer::No,
                Answer::Unknown => all = Answer::Unknown,
                Answer::Yes => {}
            }
        }
    }
    all
}

fn condition(operator: &str, key: &str, wanted: &[Scalar], context: &Context) -> Answer {
    let Some(values) = context.values(key) else { return Answer::Unknown };
    let (set, operator) = match operator.split_once(':') {
        Some((set, rest)) => (set, rest),
        None => ("", operator),
    };
    if operator == "Null" {
        let absent = wanted.iter().any(|w| w.as_str().eq_ignore_ascii_case("true"));
        return Answer::of(values.is_empty() == absent);
    }
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    if values.is_empty() && if_exists {
        return Answer::Yes;
    }
    if wanted.iter().any(|w| w.as_str().contains("${")) {
        return Answer::Unknown;
    }
    let (negated, test): (bool, fn(&str, &str) -> bool) = match operator {
        "StringEquals" => (false, |w, v| w == v),
        "StringNotEquals" => (true, |w, v| w == v),
        "StringEqualsIgnoreCase" | "Bool" => (false, |w, v| w.eq_ignore_ascii_case(v)),
        "StringNotEqualsIgnoreCase" => (true, |w, v| w.eq_ignore_ascii_case(v)),
        "StringLike" | "ArnLike" | "ArnEquals" => (false, like),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (true, like),
        _ => return Answer::Unknown,
    };
    let any = |value: &Str| wanted.iter().any(|w| test(w.as_str(), value));
    let holds = |value: &Str| any(value) != negated;
    Answer::of(match set {
        "ForAllValues" => values.iter().all(holds),
        "ForAnyValue" => values.iter().any(holds),
        _ if values.is_empty() => negated,
        _ => values.iter().any(any) != negated,
    })
}

/// What AWS managed policies allow, as far as networking needs it, for those that are attached but whose documents
/// were not recorded (AWS Managed Policy Reference Guide).
pub(crate) fn well_known(arn: &str) -> Option<&'static [&'static str]> {
    if arn.split(':').nth(4) != Some("aws") {
        return None;
    }
    Some(match super::identity::role_name(arn) {
        "AdministratorAccess" => &["*"],
        "ElasticLoadBalancingFullAccess" => &[
            "elasticloadbalancing:*",
            "ec2:Describe*",
            "iam:CreateServiceLinkedRole",
            "cognito-idp:DescribeUserPoolClient",
        ],
        "AmazonEKSWorkerNodePolicy" => &[
            "ec2:DescribeInstances",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVolumes",
            "ec2:DescribeVolumesModifications",
            "ec2:DescribeVpcs",
            "eks:DescribeCluster",
            "eks-auth:AssumeRoleForPodIdentity",
        ],
        "AmazonEKSWorkerNodeMinimalPolicy" => &["eks-auth:AssumeRoleForPodIdentity"],
        "AmazonEKS_CNI_Policy" => &[
            "ec2:AssignPrivateIpAddresses",
            "ec2:AttachNetworkInterface",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeInstances",
            "ec2:DescribeTags",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeSubnets",
            "ec2:DescribeSecurityGroups",
            "ec2:DetachNetworkInterface",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:UnassignPrivateIpAddresses",
            "ec2:CreateTags",
        ],
        "AmazonEC2ContainerRegistryReadOnly"
        | "AmazonEC2ContainerRegistryPowerUser"
        | "AmazonEC2ContainerRegistryFullAccess" => &[
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
            "ecr:Describe*",
            "ecr:List*",
            "ecr:Get*",
        ],
        "AmazonEC2ContainerRegistryPullOnly" => &[
            "ecr:GetAuthorizationToken",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchImportUpstreamImage",
        ],
        "AmazonEKSFargatePodExecutionRolePolicy" => &[
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:BatchGetImage",
        ],
        "AmazonEKSVPCResourceController" => &[
            "ec2:CreateNetworkInterfacePermission",
            "ec2:CreateNetworkInterface",
            "ec2:DetachNetworkInterface",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:DeleteNetworkInterface",
            "ec2:AttachNetworkInterface",
            "ec2:UnassignPrivateIpAddresses",
            "ec2:AssignPrivateIpAddresses",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DescribeInstances",
            "ec2:CreateTags",
        ],
        "AmazonEKSClusterPolicy" => &[
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:UpdateAutoScalingGroup",
            "ec2:AttachVolume",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateRoute",
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:CreateVolume",
            "ec2:DeleteRoute",
            "ec2:DeleteSecurityGroup",
            "ec2:DeleteVolume",
            "ec2:DescribeInstances",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeVolumes",
            "ec2:DescribeVolumesModifications",
            "ec2:DescribeVpcs",
            "ec2:DescribeDhcpOptions",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeAvailabilityZones",
            "ec2:DetachVolume",
            "ec2:ModifyInstanceAttribute",
            "ec2:ModifyVolume",
            "ec2:RevokeSecurityGroupIngress",
            "ec2:DescribeAccountAttributes",
            "ec2:DescribeAddresses",
            "ec2:DescribeInternetGateways",
            "ec2:DescribeInstanceTopology",
            "elasticloadbalancing:*",
            "kms:DescribeKey",
            "iam:CreateServiceLinkedRole",
        ],
        "AmazonEKSComputePolicy" => &[
            "ec2:RunInstances",
            "ec2:CreateFleet",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateTags",
            "ec2:DescribeCapacityReservations",
            "iam:AddRoleToInstanceProfile",
            "iam:PassRole",
            "iam:CreateServiceLinkedRole",
        ],
        "AmazonEKSNetworkingPolicy" => &[
            "ec2:CreateNetworkInterface",
            "ec2:CreateTags",
            "ec2:AttachNetworkInterface",
            "ec2:DetachNetworkInterface",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:AssignPrivateIpAddresses",
            "ec2:AssignIpv6Addresses",
            "ec2:UnassignPrivateIpAddresses",
            "ec2:UnassignIpv6Addresses",
        ],
        "AmazonEKSLoadBalancingPolicy" => &[
            "elasticloadbalancing:*",
            "ec2:Describe*",
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:DeleteTags",
            "ec2:DeleteSecurityGroup",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:RevokeSecurityGroupIngress",
            "ec2:GetSecurityGroupsForVpc",
            "iam:CreateServiceLinkedRole",
            "acm:*",
            "wafv2:*",
            "waf-regional:*",
            "shield:*",
            "cognito-idp:DescribeUserPoolClient",
        ],
        "AmazonSSMManagedInstanceCore" => &["ssm:*", "ssmmessages:*", "ec2messages:*"],
        "CloudWatchAgentServerPolicy" => {
            &["cloudwatch:PutMetricData", "logs:*", "ec2:DescribeVolumes", "ec2:DescribeTags", "xray:*"]
        }
        "AmazonEBSCSIDriverPolicy" | "AmazonEFSCSIDriverPolicy" => &[],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        serde_json::from_str(json).unwrap()
    }

    fn says(json: &str, action: &str, resource: &str, context: &Context) -> Decision {
        let policy = policy(json);
        let name = Str::new("p");
        let sheet = Sheet::Document(&policy);
        decide([(&sheet, &name, None)].into_iter(), action, resource, context)
    }

    #[test]
    fn a_deny_wins_and_wildcards_fit_in_any_case() {
        let both = r#"{"Statement": [
            {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
            {"Effect": "Deny", "NotAction": ["ec2:DescribeS*"], "Resource": "*"}]}"#;
        assert!(says(both, "EC2:describesubnets", "*", &Context::default()).allowed());
        assert!(
            matches!(says(both, "ec2:DescribeVpcs", "*", &Context::default()), Decision::Denied(h) if h.statement == 1)
        );
    }

    #[test]
    fn conditions_count_only_when_they_are_known_not_to_hold() {
        let tags = r#"{"Statement": {"Effect": "Allow", "Action": "elasticloadbalancing:AddTags",
            "Resource": "arn:aws:elasticloadbalancing:*:*:loadbalancer/app/*/*",
            "Condition": {"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "true", "aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}}}}"#;
        let lb = "arn:aws:elasticloadbalancing:us-west-2:111122223333:loadbalancer/app/k8s-x/0123";
        let call = Context::default().with("aws:RequestTag/elbv2.k8s.aws/cluster", "prod");
        assert!(says(tags, "elasticloadbalancing:AddTags", lb, &Context::default()).allowed());
        assert!(
            matches!(says(tags, "elasticloadbalancing:AddTags", lb, &call), Decision::NotAllowed { near } if near.len() == 1)
        );
        let on_create = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"elasticloadbalancing:CreateAction": ["CreateLoadBalancer"]}}}}"#;
        let create = Context::default().with("elasticloadbalancing:CreateAction", "CreateLoadBalancer");
        assert!(says(on_create, "elasticloadbalancing:AddTags", lb, &create).allowed());
        let later = Context::default().without("elasticloadbalancing:CreateAction");
        assert!(!says(on_create, "elasticloadbalancing:AddTags", lb, &later).allowed());
        let unless = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}, "ForAnyValue:StringLike": {"aws:TagKeys": "elbv2*"}}}}"#;
        let keys =
            Context::default().with("aws:RequestedRegion", "us-west-2").with("aws:TagKeys", "elbv2.k8s.aws/cluster");
        assert!(says(unless, "a:B", "*", &keys).allowed());
        assert!(!says(unless, "a:B", "*", &keys.clone().without("aws:TagKeys")).allowed());
    }
}
