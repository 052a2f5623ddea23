//! Functions that rules of several issues ask.

use std::sync::Arc;

use super::{Function, Subject, Ty, Value, method, text};
use crate::cluster::acl_numbers::free_number;
use crate::cluster::worker::{Placement, Worker};
use crate::shape::ec2::{self, NetworkAcl, SecurityGroup, Subnet, Vpc, tag};
use crate::shape::eks;
use crate::shape::k8s::Node;
use crate::shape::{Described, Shape, Str};

const STR: Ty = Ty::Str;
const KEY: &[(&str, Ty)] = &[("key", STR)];

macro_rules! tagged {
    ($($shape:ty),*) => { vec![ $(
        method::<$shape>("tag", KEY, STR, &[], "The value of a tag; empty when the tag is not there.", |_, this, a| {
            Ok(tag(&this.Tags, &text(a, 0)).unwrap_or_default().into())
        }),
        method::<$shape>("hasTag", KEY, Ty::Bool, &[], "Whether the tag is there, with whatever value.", |_, this, a| {
            Ok(tag(&this.Tags, &text(a, 0)).is_some().into())
        })
    ),* ] };
}

pub(super) fn functions() -> Vec<Function> {
    let mut all = tagged!(
        Vpc,
        Subnet,
        SecurityGroup,
        ec2::RouteTable,
        ec2::NatGateway,
        ec2::NetworkAcl,
        ec2::VpcEndpoint,
        ec2::Instance
    );
    all.extend([
        method::<eks::Cluster>(
            "vpc",
            &[],
            Ty::Object("Vpc"),
            &["ec2:DescribeVpcs"],
            "The cluster's VPC.",
            |c, _, _| Ok(c.snapshot.find::<Vpc>(&c.vpc_id()?)?.into()),
        ),
        method::<eks::Cluster>(
            "region",
            &[],
            STR,
            &[],
            "The Region, from the cluster's ARN or the manifest; `<region>` when neither tells it.",
            |c, _, _| {
                let region = c.region_name();
                Ok(if region.is_empty() { Str::const_new("<region>") } else { region }.into())
            },
        ),
        method::<eks::Cluster>(
            "partition",
            &[],
            STR,
            &[],
            "`aws`, `aws-cn` or `aws-us-gov`, from the cluster's ARN or the manifest.",
            |c, _, _| Ok(c.partition().into()),
        ),
        method::<eks::Cluster>("account", &[], STR, &[], "The account, from the cluster's ARN.", |_, this, _| {
            Ok(this.arn.split(':').nth(4).unwrap_or_default().into())
        }),
        method::<eks::Cluster>(
            "setCni",
            &[("settings", Ty::Str)],
            Ty::Str,
            &["eks:DescribeAddon", "k8s:daemonsets.apps"],
            "The command that changes settings of aws-node (`NAME=value NAME-`): by the add-on where it holds them, else by kubectl.",
            |c, _, a| Ok(c.set_cni(&text(a, 0)).into()),
        ),
        method::<eks::Cluster>(
            "configureAddon",
            &[("addon", Ty::Str), ("values", Ty::Str), ("conflicts", Ty::Str)],
            Ty::Str,
            &["eks:DescribeAddon"],
            "The command that gives an add-on these values (a JSON object) beside those that it has.",
            |c, _, a| Ok(c.configure_addon(&text(a, 0), &text(a, 1), &text(a, 2)).into()),
        ),
        method::<eks::Cluster>(
            "hasAddon",
            &[("addon", Ty::Str)],
            Ty::Bool,
            &["eks:ListAddons"],
            "Whether this is an EKS add-on of the cluster.",
            |c, _, a| Ok(c.has_addon(&text(a, 0)).into()),
        ),
        method::<eks::Cluster>(
            "boundaryAgainst",
            &[("role", Ty::Str), ("actions", Ty::Str)],
            Ty::Str,
            &["iam:GetRole", "iam:GetPolicyVersion"],
            "The ARN of a role's permissions boundary that does not allow one of these actions (separated by commas); empty when it is not at fault.",
            |c, _, a| Ok(c.boundary_against(&text(a, 0), &text(a, 1)).into()),
        ),
        method::<eks::Cluster>("isIpv6", &[], Ty::Bool, &[], "Whether pods and nodes use IPv6.", |c, _, _| {
            Ok(c.is_ipv6().into())
        }),
        method::<eks::Cluster>("isAutoMode", &[], Ty::Bool, &[], "Whether EKS Auto Mode runs the nodes.", |c, _, _| {
            Ok(c.auto_mode().into())
        }),
        method::<eks::Cluster>(
            "scaledToZero",
            &[],
            Ty::Bool,
            &["eks:DescribeNodegroup", "autoscaling:DescribeAutoScalingGroups"],
            "Whether all its node groups are to have no machine, and nothing else launches one.",
            |c, _, _| Ok(c.scaled_to_zero().into()),
        ),
        method::<NetworkAcl>(
            "freeNumber",
            &[("egress", Ty::Bool)],
            Ty::Int,
            &[],
            "A free number for an entry that goes before every one that denies; 0 when there is none.",
            |_, this, a| {
                let egress = matches!(a.first(), Some(Value::Bool(true)));
                Ok(free_number(this.value, egress).unwrap_or(0).into())
            },
        ),
        method::<Worker>(
            "isNode",
            &[],
            Ty::Bool,
            &["k8s:nodes"],
            "Whether it is in the cluster's node list.",
            |c, this, _| {
                if !this.joined {
                    c.snapshot.whole::<Node>()?;
                }
                Ok(this.joined.into())
            },
        ),
        method::<eks::Cluster>(
            "workers",
            &[],
            Ty::List(&Ty::Object("Worker")),
            &["ec2:DescribeInstances", "k8s:nodes"],
            "Every machine of the cluster, joined or not.",
            |c, _, _| Ok(c.workers()?.to_vec().into()),
        ),
    ]);
    all
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            schema: Worker::described,
            reads: &["ec2:DescribeInstances", "k8s:nodes"],
            list: |c| Ok(c.workers()?.iter().map(|w| w.clone() as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: Placement::described,
            reads: &["ec2:DescribeInstances", "k8s:nodes"],
            list: |c| Ok(c.placements()?.iter().map(|p| p.clone() as Arc<dyn Shape>).collect()),
        },
    ]
}
