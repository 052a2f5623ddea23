//! Roles, policies and the OIDC provider. Managed policies are abridged to what matters on a network.

use serde_json::{Value, json};

use super::{Body, Estate, Mode};

impl Estate {
    pub(super) fn iam_files<'a>(&'a self, files: &mut Vec<(String, Body<'a>)>) {
        let o = &self.options;
        let mut whole = |path: String, body: Value| files.push((format!("aws/iam/{path}.json"), Body::Whole(body)));
        let service = |name: &str| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": name}, "Action": "sts:AssumeRole"}]});
        let issuer = self.issuer();
        let web_identity = |account: &str| {
            json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Federated": self.iam(&format!("oidc-provider/{issuer}"))}, "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {format!("{issuer}:aud"): "sts.amazonaws.com", format!("{issuer}:sub"): format!("system:serviceaccount:{account}")}},
            }]})
        };
        let controller_policy = format!("{}-aws-load-balancer-controller", o.name);
        let karpenter_policy = format!("KarpenterControllerPolicy-{}", o.name);
        let own = ["AmazonEKS_CNI_IPv6_Policy", &controller_policy, &karpenter_policy];
        let node_policies = vec![
            "AmazonEKSWorkerNodePolicy",
            "AmazonEC2ContainerRegistryPullOnly",
            if self.v6() { own[0] } else { "AmazonEKS_CNI_Policy" },
        ];
        let mut roles =
            vec![(format!("{}-cluster", o.name), service("eks.amazonaws.com"), vec!["AmazonEKSClusterPolicy"])];
        if self.pod_groups() {
            roles[0].2.push("AmazonEKSVPCResourceController");
        }
        if self.auto() {
            roles[0].1["Statement"][0]["Action"] = json!(["sts:AssumeRole", "sts:TagSession"]);
            roles[0].2.extend(AUTO_POLICIES);
            roles.push((
                self.node_role(0),
                service("ec2.amazonaws.com"),
                vec!["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"],
            ));
        } else {
            roles.push((self.node_role(0), service("ec2.amazonaws.com"), node_policies.clone()));
            roles.push((
                format!("{}-aws-load-balancer-controller", o.name),
                web_identity("kube-system:aws-load-balancer-controller"),
                vec![own[1]],
            ));
        }
        if o.mode == Mode::Karpenter {
            roles.push((self.node_role(1), service("ec2.amazonaws.com"), node_policies));
            roles.push((format!("{}-karpenter", o.name), web_identity("kube-system:karpenter"), vec![own[2]]));
        }
        if self.fargate() {
            roles.push((
                format!("{}-fargate", o.name),
                service("eks-fargate-pods.amazonaws.com"),
                vec!["AmazonEKSFargatePodExecutionRolePolicy"],
            ));
        }
        for (name, trust, policies) in &roles {
            whole(format!("get-role/{name}"), json!({"Role": self.role(name, trust)}));
            whole(
                format!("list-attached-role-policies/{name}"),
                json!({"AttachedPolicies": policies.iter().map(|p| {
                    let arn = if own.contains(p) { self.iam(&format!("policy/{p}")) } else { format!("arn:aws:iam::aws:policy/{p}") };
                    json!({"PolicyName": p, "PolicyArn": arn})
                }).collect::<Vec<_>>()}),
            );
            whole(format!("list-role-policies/{name}"), json!({"PolicyNames": []}));
            for policy in policies {
                let document = match *policy {
                    "AmazonEKSClusterPolicy" => cluster_policy(),
                    "AmazonEKSVPCResourceController" => trunk_policy(),
                    "AmazonEKSWorkerNodePolicy" => worker_policy(),
                    "AmazonEC2ContainerRegistryPullOnly" | "AmazonEKSFargatePodExecutionRolePolicy" => pull_policy(),
                    "AmazonEKS_CNI_Policy" => cni_policy(),
                    "AmazonEKS_CNI_IPv6_Policy" => cni_policy6(),
                    "AmazonEKSWorkerNodeMinimalPolicy" => document(vec![allow(&["eks-auth:AssumeRoleForPodIdentity"])]),
                    policy if AUTO_POLICIES.contains(&policy) => auto_policy(policy),
                    policy if policy == karpenter_policy => self.karpenter_document(),
                    _ => controller_document(),
                };
                whole(
                    format!("get-policy-version/{policy}"),
                    json!({"PolicyVersion": {"Document": document, "VersionId": "v1", "IsDefaultVersion": true, "CreateDate": "2026-01-05T00:00:00+00:00"}}),
                );
            }
        }
        let machines = if o.mode == Mode::Karpenter { 2 } else { 1 };
        for machine in 0..machines {
            let profile = self.node_profile(machine);
            let node = self.node_role(machine);
            whole(
                format!("get-instance-profile/{profile}"),
                json!({"InstanceProfile": {
                    "Path": "/", "InstanceProfileName": profile, "InstanceProfileId": self.profile_id(&profile),
                    "Arn": self.iam(&format!("instance-profile/{profile}")), "CreateDate": "2026-03-02T08:17:30+00:00",
                    "Roles": [self.role(&node, &service("ec2.amazonaws.com"))],
                }}),
            );
        }
        let provider = self.iam(&format!("oidc-provider/{issuer}"));
        whole("list-open-id-connect-providers".to_owned(), json!({"OpenIDConnectProviderList": [{"Arn": provider}]}));
        whole(
            format!("get-open-id-connect-provider/{}", self.oidc()),
            json!({
                "Url": issuer, "ClientIDList": ["sts.amazonaws.com"], "ThumbprintList": ["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"],
                "CreateDate": "2026-03-02T08:16:00+00:00", "Tags": [],
            }),
        );
    }

    /// What Karpenter documents for its controller, abridged.
    fn karpenter_document(&self) -> Value {
        let mut actions = prefixed(
            "ec2",
            &[
                "CreateFleet",
                "CreateLaunchTemplate",
                "CreateTags",
                "DeleteLaunchTemplate",
                "DescribeImages",
                "DescribeInstances",
                "DescribeInstanceTypeOfferings",
                "DescribeInstanceTypes",
                "DescribeLaunchTemplates",
                "DescribeSecurityGroups",
                "DescribeSpotPriceHistory",
                "DescribeSubnets",
                "RunInstances",
                "TerminateInstances",
            ],
        );
        actions.extend(prefixed(
            "iam",
            &["AddRoleToInstanceProfile", "CreateInstanceProfile", "GetInstanceProfile", "TagInstanceProfile"],
        ));
        actions.extend(["pricing:GetProducts", "ssm:GetParameter", "eks:DescribeCluster"].map(str::to_owned));
        document(vec![
            json!({"Effect": "Allow", "Action": actions, "Resource": "*"}),
            json!({"Effect": "Allow", "Action": "iam:PassRole", "Resource": self.iam(&format!("role/{}", self.node_role(1))),
                "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}}),
        ])
    }

    fn role(&self, name: &str, trust: &Value) -> Value {
        json!({
            "Path": "/", "RoleName": name, "RoleId": format!("AROA{}", self.hex(&format!("role {name}"), 17).to_uppercase()),
            "Arn": self.iam(&format!("role/{name}")), "CreateDate": "2026-03-02T07:55:00+00:00", "AssumeRolePolicyDocument": trust,
            "MaxSessionDuration": 3600, "RoleLastUsed": {"LastUsedDate": "2026-06-01T11:00:00+00:00", "Region": self.options.region},
        })
    }
}

fn allow(actions: &[&str]) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": "*"})
}
fn document(statements: Vec<Value>) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}
fn prefixed(service: &str, actions: &[&str]) -> Vec<String> {
    actions.iter().map(|a| format!("{service}:{a}")).collect()
}

fn trunk_policy() -> Value {
    let ec2 = [
        "AssignPrivateIpAddresses",
        "AttachNetworkInterface",
        "CreateNetworkInterface",
        "DeleteNetworkInterface",
        "DetachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
        "UnassignPrivateIpAddresses",
    ];
    document(vec![
        json!({"Effect": "Allow", "Action": "ec2:CreateNetworkInterfacePermission", "Resource": "*",
            "Condition": {"ForAnyValue:StringEquals": {"ec2:ResourceTag/eks:eni:owner": "eks-vpc-resource-controller"}}}),
        json!({"Effect": "Allow", "Action": prefixed("ec2", &ec2), "Resource": "*"}),
    ])
}

fn cluster_policy() -> Value {
    let ec2 = prefixed(
        "ec2",
        &[
            "AuthorizeSecurityGroupIngress",
            "CreateRoute",
            "CreateSecurityGroup",
            "CreateTags",
            "DeleteRoute",
            "DeleteSecurityGroup",
            "DescribeAccountAttributes",
            "DescribeAddresses",
            "DescribeAvailabilityZones",
            "DescribeDhcpOptions",
            "DescribeInstances",
            "DescribeInstanceTopology",
            "DescribeInternetGateways",
            "DescribeNetworkInterfaces",
            "DescribeRouteTables",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeVolumes",
            "DescribeVpcs",
            "ModifyInstanceAttribute",
            "RevokeSecurityGroupIngress",
        ],
    );
    let elb = prefixed(
        "elasticloadbalancing",
        &[
            "AddTags",
            "AttachLoadBalancerToSubnets",
            "ConfigureHealthCheck",
            "CreateListener",
            "CreateLoadBalancer",
            "CreateLoadBalancerListeners",
            "CreateTargetGroup",
            "DeleteListener",
            "DeleteLoadBalancer",
            "DeleteTargetGroup",
            "DeregisterTargets",
            "DescribeListeners",
            "DescribeLoadBalancerAttributes",
            "DescribeLoadBalancers",
            "DescribeTargetGroups",
            "DescribeTargetHealth",
            "ModifyListener",
            "ModifyLoadBalancerAttributes",
            "ModifyTargetGroup",
            "RegisterTargets",
        ],
    );
    let actions: Vec<&str> = ec2.iter().chain(&elb).map(String::as_str).collect();
    document(vec![
        allow(&actions),
        json!({"Effect": "Allow", "Action": "iam:CreateServiceLinkedRole", "Resource": "*", "Condition": {"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}}}),
    ])
}

fn worker_policy() -> Value {
    document(vec![allow(&[
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
    ])])
}

fn pull_policy() -> Value {
    document(vec![allow(&[
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchGetImage",
        "ecr:BatchImportUpstreamImage",
    ])])
}

fn cni_policy() -> Value {
    document(vec![
        allow(&[
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
        ]),
        json!({"Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": ["arn:aws:ec2:*:*:network-interface/*"]}),
    ])
}

/// What the user guide tells people to make for the CNI of IPv6 clusters.
fn cni_policy6() -> Value {
    document(vec![
        allow(&[
            "ec2:AssignIpv6Addresses",
            "ec2:DescribeInstances",
            "ec2:DescribeTags",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeInstanceTypes",
        ]),
        json!({"Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": ["arn:aws:ec2:*:*:network-interface/*"]}),
    ])
}

/// What the cluster's role has besides in EKS Auto Mode.
const AUTO_POLICIES: [&str; 4] = [
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
];

fn auto_policy(name: &str) -> Value {
    document(vec![match name {
        "AmazonEKSBlockStoragePolicy" => {
            allow(&["ec2:CreateVolume", "ec2:AttachVolume", "ec2:CreateTags", "ec2:DescribeVolumes"])
        }
        "AmazonEKSComputePolicy" => allow(&[
            "ec2:CreateFleet",
            "ec2:RunInstances",
            "ec2:CreateLaunchTemplate",
            "ec2:CreateTags",
            "ec2:Describe*",
            "iam:PassRole",
            "iam:CreateInstanceProfile",
            "iam:AddRoleToInstanceProfile",
            "iam:GetInstanceProfile",
            "iam:TagInstanceProfile",
        ]),
        "AmazonEKSLoadBalancingPolicy" => allow(&[
            "elasticloadbalancing:*",
            "ec2:Describe*",
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:DeleteTags",
            "ec2:DeleteSecurityGroup",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:RevokeSecurityGroupIngress",
            "ec2:GetSecurityGroupsForVpc",
        ]),
        _ => allow(&[
            "ec2:CreateNetworkInterface",
            "ec2:AttachNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:AssignIpv6Addresses",
            "ec2:CreateTags",
            "ec2:Describe*",
        ]),
    }])
}

/// The policy that the AWS Load Balancer Controller documents (`docs/install/iam_policy.json`).
fn controller_document() -> Value {
    let created = json!({"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}});
    let owned = json!({"Null": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}});
    let retagged = json!({"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "true", "aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}});
    let balancers = json!([
        "arn:aws:elasticloadbalancing:*:*:targetgroup/*/*",
        "arn:aws:elasticloadbalancing:*:*:loadbalancer/net/*/*",
        "arn:aws:elasticloadbalancing:*:*:loadbalancer/app/*/*",
    ]);
    let elb = |actions: &[&str]| json!(prefixed("elasticloadbalancing", actions));
    let mut describe = prefixed(
        "ec2",
        &[
            "DescribeAccountAttributes",
            "DescribeAddresses",
            "DescribeAvailabilityZones",
            "DescribeInternetGateways",
            "DescribeVpcs",
            "DescribeVpcPeeringConnections",
            "DescribeSubnets",
            "DescribeSecurityGroups",
            "DescribeInstances",
            "DescribeNetworkInterfaces",
            "DescribeTags",
            "DescribeCoipPools",
            "GetCoipPoolUsage",
            "GetSecurityGroupsForVpc",
            "DescribeIpamPools",
            "DescribeRouteTables",
        ],
    );
    describe.extend(prefixed(
        "elasticloadbalancing",
        &[
            "DescribeLoadBalancers",
            "DescribeLoadBalancerAttributes",
            "DescribeListeners",
            "DescribeListenerCertificates",
            "DescribeSSLPolicies",
            "DescribeRules",
            "DescribeTargetGroups",
            "DescribeTargetGroupAttributes",
            "DescribeTargetHealth",
            "DescribeTags",
            "DescribeTrustStores",
            "DescribeListenerAttributes",
            "DescribeCapacityReservation",
        ],
    ));
    document(vec![
        json!({"Effect": "Allow", "Action": ["iam:CreateServiceLinkedRole"], "Resource": "*", "Condition": {"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}}}),
        json!({"Effect": "Allow", "Action": describe, "Resource": "*"}),
        allow(&[
            "cognito-idp:DescribeUserPoolClient",
            "acm:ListCertificates",
            "acm:DescribeCertificate",
            "iam:ListServerCertificates",
            "iam:GetServerCertificate",
            "waf-regional:GetWebACL",
            "waf-regional:GetWebACLForResource",
            "waf-regional:AssociateWebACL",
            "waf-regional:DisassociateWebACL",
            "wafv2:GetWebACL",
            "wafv2:GetWebACLForResource",
            "wafv2:AssociateWebACL",
            "wafv2:DisassociateWebACL",
            "shield:GetSubscriptionState",
            "shield:DescribeProtection",
            "shield:CreateProtection",
            "shield:DeleteProtection",
        ]),
        allow(&["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]),
        allow(&["ec2:CreateSecurityGroup"]),
        json!({"Effect": "Allow", "Action": ["ec2:CreateTags"], "Resource": "arn:aws:ec2:*:*:security-group/*", "Condition": {
            "StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}, "Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}}}),
        json!({"Effect": "Allow", "Action": ["ec2:CreateTags", "ec2:DeleteTags"], "Resource": "arn:aws:ec2:*:*:security-group/*", "Condition": retagged}),
        json!({"Effect": "Allow", "Action": ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress", "ec2:DeleteSecurityGroup"], "Resource": "*", "Condition": owned}),
        json!({"Effect": "Allow", "Action": elb(&["CreateLoadBalancer", "CreateTargetGroup"]), "Resource": "*", "Condition": created}),
        json!({"Effect": "Allow", "Action": elb(&["CreateListener", "DeleteListener", "CreateRule", "DeleteRule"]), "Resource": "*"}),
        json!({"Effect": "Allow", "Action": elb(&["AddTags", "RemoveTags"]), "Resource": balancers, "Condition": retagged}),
        json!({"Effect": "Allow", "Action": elb(&["AddTags", "RemoveTags"]), "Resource": [
            "arn:aws:elasticloadbalancing:*:*:listener/net/*/*/*", "arn:aws:elasticloadbalancing:*:*:listener/app/*/*/*",
            "arn:aws:elasticloadbalancing:*:*:listener-rule/net/*/*/*", "arn:aws:elasticloadbalancing:*:*:listener-rule/app/*/*/*"]}),
        json!({"Effect": "Allow", "Action": elb(&[
            "ModifyLoadBalancerAttributes", "SetIpAddressType", "SetSecurityGroups", "SetSubnets", "DeleteLoadBalancer", "ModifyTargetGroup",
            "ModifyTargetGroupAttributes", "DeleteTargetGroup", "ModifyListenerAttributes", "ModifyCapacityReservation", "ModifyIpPools",
        ]), "Resource": "*", "Condition": owned}),
        json!({"Effect": "Allow", "Action": elb(&["AddTags"]), "Resource": balancers, "Condition": {
            "StringEquals": {"elasticloadbalancing:CreateAction": ["CreateTargetGroup", "CreateLoadBalancer"]},
            "Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}}}),
        json!({"Effect": "Allow", "Action": elb(&["RegisterTargets", "DeregisterTargets"]), "Resource": "arn:aws:elasticloadbalancing:*:*:targetgroup/*/*"}),
        json!({"Effect": "Allow", "Action": elb(&["SetWebAcl", "ModifyListener", "AddListenerCertificates", "RemoveListenerCertificates", "ModifyRule", "SetRulePriorities"]), "Resource": "*"}),
    ])
}
