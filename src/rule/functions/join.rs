//! Functions for the rules of nodes-cannot-join.

use std::sync::Arc;

use super::{Function, Subject, Ty, method};
use crate::cluster::access::{NodeRole, UnmappedRoles};
use crate::cluster::bootstrap::Bootstrap;
use crate::cluster::node_exit::{NodeEndpoint, NodeExit, PublicAccessGap};
use crate::cluster::node_path::BlockedPath;
use crate::cluster::volume_key::VolumeKey;
use crate::cluster::webhook::SystemWebhook;
use crate::shape::ec2::{Activity, DhcpOptions, LaunchTemplateVersion};
use crate::shape::eks::{self, Nodegroup};
use crate::shape::k8s::{Condition, EC2NodeClass};
use crate::shape::{Described, Shape, Str};

const STR: Ty = Ty::Str;
const NODES: &[&str] = &["ec2:DescribeInstances", "k8s:nodes"];

/// Codes of node groups and clusters that name the object that has to change.
const CAUSES: &[&str] = &[
    "Ec2SubnetInvalidConfiguration",
    "Ec2SubnetMissingIpv6Assignment",
    "Ec2SubnetNotFound",
    "Ec2SecurityGroupNotFound",
    "Ec2LaunchTemplateNotFound",
    "Ec2LaunchTemplateVersionMismatch",
    "Ec2InstanceTypeDoesNotExist",
    "IamInstanceProfileNotFound",
    "IamNodeRoleNotFound",
    "AutoScalingGroupNotFound",
    "AutoScalingGroupInvalidConfiguration",
    "InstanceLimitExceeded",
    "Ec2SubnetListTooLong",
    "VpcNotFound",
    "SubnetNotFound",
    "SecurityGroupNotFound",
    "IamRoleNotFound",
    "StsRegionalEndpointDisabled",
    "KmsKeyNotFound",
    "KmsKeyDisabled",
    "KmsKeyMarkedForDeletion",
    "KmsGrantRevoked",
];

/// Both spellings of a health code alike: `Ec2SubnetNotFound` and `EC2_SUBNET_NOT_FOUND`.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn names_cause<'a>(mut codes: impl Iterator<Item = &'a Str>) -> bool {
    codes
        .any(|code| CAUSES.iter().any(|c| plain(c) == plain(code) || plain(c).trim_start_matches("ec2") == plain(code)))
}

fn cut(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text.trim_end_matches('.').to_owned(),
    }
}

fn failed(conditions: &[Condition]) -> Vec<&Condition> {
    let real: Vec<&Condition> =
        conditions.iter().filter(|c| c.status == "False" && c.r#type != "Ready" && !c.reason.is_empty()).collect();
    if real.is_empty() { conditions.iter().filter(|c| c.status == "False").collect() } else { real }
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        method::<LaunchTemplateVersion>(
            "knowsEndpoint",
            &[],
            Ty::Bool,
            &["ec2:DescribeLaunchTemplateVersions"],
            "Whether nodes of the template need not ask EKS for the cluster's endpoint.",
            |c, this, _| {
                let row = this.handle.row();
                Ok((!c.bootstraps()?.iter().any(|b| Some(b.template.row) == row && b.fault == "lookup")).into())
            },
        ),
        method::<eks::Cluster>(
            "hasEndpoint",
            &[("service", STR)],
            Ty::Bool,
            &["ec2:DescribeVpcEndpoints"],
            "Whether the VPC has an interface endpoint for a service.",
            |c, _, a| Ok((!c.endpoints_of(&super::text(a, 0))?.is_empty()).into()),
        ),
        method::<NodeRole>(
            "lacks",
            &[],
            STR,
            &["iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetPolicyVersion"],
            "Actions that nodes need to start and the role may not do.",
            |c, this, _| Ok(c.node_role_lacks(this.value)?.into()),
        ),
        method::<eks::Cluster>(
            "serviceOverlap",
            &[],
            STR,
            &["ec2:DescribeVpcs"],
            "The range of the VPC that overlaps the service addresses; empty when none does.",
            |c, _, _| Ok(c.service_overlap()?.into()),
        ),
        method::<eks::Cluster>(
            "dnsHostnamesOff",
            &[],
            Ty::Bool,
            &["ec2:DescribeVpcAttribute"],
            "Whether the VPC's enableDnsHostnames is false.",
            |c, _, _| {
                let vpc = c.vpc_id()?;
                let table = c.snapshot.table::<crate::shape::ec2::VpcAttribute>()?;
                let value = table
                    .iter()
                    .filter(|a| a.VpcId == vpc)
                    .find_map(|a| a.value.EnableDnsHostnames.as_ref().and_then(|v| v.Value));
                match value {
                    Some(value) => Ok((!value).into()),
                    None => Err(c.snapshot.missing("ec2:DescribeVpcAttribute", Some(&vpc))),
                }
            },
        ),
        method::<eks::Cluster>(
            "usesPrivateDns",
            &[],
            Ty::Bool,
            &["ec2:DescribeVpcEndpoints"],
            "Whether nodes reach the API server or AWS only by private names.",
            |c, this, _| {
                let config = &this.value.resourcesVpcConfig;
                Ok((config.endpointPublicAccess == Some(false)
                    || c.node_exits()?.iter().any(|x| x.closed && x.endpoints > 0))
                .into())
            },
        ),
        method::<eks::Cluster>(
            "freeAddresses",
            &[],
            Ty::Int,
            &["ec2:DescribeSubnets"],
            "Free addresses of all the cluster's subnets together.",
            |c, this, _| {
                let mut sum = 0;
                for id in &this.value.resourcesVpcConfig.subnetIds {
                    let subnet = c.snapshot.find::<crate::shape::ec2::Subnet>(id)?;
                    sum += subnet.value.AvailableIpAddressCount.unwrap_or(0);
                }
                Ok(sum.into())
            },
        ),
        method::<eks::Cluster>("healthText", &[], STR, &[], "EKS's health issues, in one text.", |_, this, _| {
            Ok(cut(&this
                .health
                .issues
                .iter()
                .map(|i| format!("{}: {}", i.code, i.message))
                .collect::<Vec<_>>()
                .join("; "))
            .into())
        }),
        method::<eks::Cluster>(
            "healthNamesCause",
            &[],
            Ty::Bool,
            &[],
            "Whether a health issue names what has to change.",
            |_, this, _| Ok(names_cause(this.health.issues.iter().map(|i| &i.code)).into()),
        ),
        method::<Nodegroup>("healthText", &[], STR, &[], "EKS's health issues, in one text.", |_, this, _| {
            Ok(cut(&this
                .health
                .issues
                .iter()
                .map(|i| format!("{}: {}", i.code, i.message))
                .collect::<Vec<_>>()
                .join("; "))
            .into())
        }),
        method::<Nodegroup>(
            "healthNamesCause",
            &[],
            Ty::Bool,
            &[],
            "Whether a health issue names what has to change.",
            |_, this, _| Ok(names_cause(this.health.issues.iter().map(|i| &i.code)).into()),
        ),
        method::<Activity>("failed", &[], Ty::Bool, &[], "Whether a launch failed.", |_, this, _| {
            let bad = matches!(this.StatusCode.as_str(), "Failed" | "Cancelled");
            Ok((bad && this.Description.starts_with("Launching")).into())
        }),
        method::<Activity>("text", &[], STR, &[], "What it says about the failure.", |_, this, _| {
            Ok(cut(&this.StatusMessage).into())
        }),
        method::<EC2NodeClass>("failure", &[], STR, &[], "What its conditions say is wrong.", |_, this, _| {
            let all: Vec<String> = failed(&this.status.conditions)
                .iter()
                .map(|c| format!("{} ({}): {}", c.r#type, c.reason, c.message))
                .collect();
            Ok(cut(&all.join("; ")).into())
        }),
        method::<EC2NodeClass>(
            "deniedByPolicy",
            &[],
            Ty::Bool,
            &[],
            "Whether a service control policy denies what Karpenter does.",
            |_, this, _| Ok(this.status.conditions.iter().any(|c| c.message.contains("service control policy")).into()),
        ),
        method::<DhcpOptions>(
            "option",
            &[("key", STR)],
            STR,
            &[],
            "The values of an option, with blanks.",
            |_, this, a| {
                let key = super::text(a, 0);
                let values: Vec<&str> = this
                    .value
                    .DhcpConfigurations
                    .iter()
                    .filter(|c| c.Key == key)
                    .flat_map(|c| c.Values.iter().map(|v| v.Value.as_str()))
                    .collect();
                Ok(values.join(" ").into())
            },
        ),
        method::<eks::Cluster>(
            "namesNodesByDomain",
            &[],
            Ty::Bool,
            NODES,
            "Whether nodes that have not joined run an image that takes the node's name from the DHCP domain name.",
            |c, _, _| Ok(c.old_names()?.into()),
        ),
        method::<eks::Cluster>("defaultDomain", &[], STR, &[], "The Region's domain name of EC2.", |c, _, _| {
            Ok(match c.region_name().as_str() {
                "us-east-1" => "ec2.internal".to_owned(),
                region => format!("{region}.compute.internal"),
            }
            .into())
        }),
        method::<eks::Cluster>(
            "malformedAwsAuth",
            &[],
            Ty::List(&Ty::Object("ConfigMap")),
            &["k8s:configmaps"],
            "The aws-auth config map when its mapRoles cannot be read.",
            |c, _, _| Ok(c.malformed_aws_auth()?.into_iter().collect::<Vec<_>>().into()),
        ),
    ]
}

macro_rules! subject {
    ($shape:ty, $list:ident, $reads:expr) => {
        Subject {
            schema: <$shape>::described,
            reads: $reads,
            list: |c| Ok(c.$list()?.into_iter().map(|s| s as Arc<dyn Shape>).collect()),
        }
    };
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        subject!(NodeRole, node_roles, &["eks:DescribeCluster", "ec2:DescribeInstances", "k8s:nodes"]),
        subject!(UnmappedRoles, unmapped_roles, &["eks:DescribeCluster", "k8s:configmaps", "eks:ListAccessEntries"]),
        subject!(Bootstrap, bootstraps, &["ec2:DescribeLaunchTemplateVersions", "ec2:DescribeInstances"]),
        subject!(
            NodeExit,
            node_exits,
            &["ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints", "ec2:DescribeInstances"]
        ),
        subject!(NodeEndpoint, node_endpoints, &["ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables"]),
        subject!(PublicAccessGap, public_access_gaps, &["eks:DescribeCluster", "ec2:DescribeNatGateways"]),
        subject!(
            BlockedPath,
            blocked_paths,
            &[
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeNetworkAcls",
                "ec2:DescribeRouteTables"
            ]
        ),
        subject!(VolumeKey, volume_keys, &["autoscaling:DescribeAutoScalingGroups", "kms:GetKeyPolicy"]),
        subject!(
            SystemWebhook,
            system_webhooks,
            &[
                "k8s:mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:validatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:daemonsets.apps",
                "k8s:endpointslices.discovery.k8s.io",
            ]
        ),
    ]
}
