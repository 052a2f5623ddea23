//! Functions for the rules of pods-get-no-ip.

use std::sync::Arc;

use ipnet::Ipv4Net;

use super::{Function, Subject, Ty, method, text};
use crate::cluster::Cluster;
use crate::cluster::addresses::AddressPool;
use crate::cluster::capacity::Capacity;
use crate::cluster::cni::Cni;
use crate::cluster::cni_identity::CniIdentity;
use crate::cluster::eniconfig::{EniConfigChoice, EniConfigGap};
use crate::cluster::identity::Decision;
use crate::cluster::pod_eni::{BranchDemand, TrunkGap};
use crate::cluster::policy::Context;
use crate::cluster::version::Version;
use crate::network::{EgressKind, Family};
use crate::shape::ec2::Vpc;
use crate::shape::eks;
use crate::shape::k8s::{DaemonSet, ENIConfig, Pod};
use crate::shape::{Described, Link, Shape, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// The VPC CNI (`aws-node`) and its settings.
    VpcCni {
        daemonSet: Link<DaemonSet>,
        /// Of its image; empty when the image's tag does not say it.
        version: Str,
        customNetworking: bool,
        prefixes: bool,
        podEni: bool,
        ipv6: bool,
        externalSnat: bool,
        discovery: bool,
        desired: i64,
        ready: i64,
        /// Its pods that are not ready.
        unready: Vec<Link<Pod>>,
    }
}

const DAEMON_SETS: &[&str] = &["k8s:daemonsets.apps"];
const NAME: &[(&str, Ty)] = &[("name", Ty::Str)];

fn no_cni() -> Missing {
    Missing { read: "k8s:daemonsets.apps".to_owned(), reason: "kube-system/aws-node is not among them".to_owned() }
}

fn cni(cluster: &Cluster) -> Known<Cni<'_>> {
    cluster.cni()?.ok_or_else(no_cni)
}

fn version(cluster: &Cluster) -> Known<Version> {
    cni(cluster)?.version.ok_or_else(|| Missing {
        read: "k8s:daemonsets.apps".to_owned(),
        reason: "the image of aws-node does not tell its version".to_owned(),
    })
}

fn wanted(text: &str) -> Known<Version> {
    Version::parse(text)
        .ok_or_else(|| Missing { read: "expression".to_owned(), reason: format!("`{text}` is no version") })
}

fn vpc_cni(cluster: &Arc<Cluster>) -> Known<Vec<Arc<dyn Shape>>> {
    let Some(cni) = cluster.cni()? else { return Ok(Vec::new()) };
    let status = &cni.daemon_set.value.status;
    let unready = cluster
        .snapshot
        .tables
        .pods
        .iter()
        .filter(|p| p.metadata.namespace == "kube-system")
        .filter(|p| p.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node"))
        .filter(|p| p.status.containerStatuses.iter().any(|c| c.ready == Some(false)))
        .map(|p| Link::new(p.row))
        .collect();
    Ok(vec![Arc::new(VpcCni {
        daemonSet: Link::new(cni.daemon_set.row),
        version: cni.version.map(|v| v.to_string().into()).unwrap_or_default(),
        customNetworking: cni.custom_networking(),
        prefixes: cni.prefix_delegation(),
        podEni: cni.pod_eni(),
        ipv6: cni.ipv6(),
        externalSnat: cni.external_snat(),
        discovery: cluster.discovers_subnets(&cni),
        desired: status.desiredNumberScheduled.unwrap_or(0),
        ready: status.numberReady.unwrap_or(0),
        unready,
    })])
}

fn listed<T: Shape>(known: &[Arc<T>]) -> Vec<Arc<dyn Shape>> {
    known.iter().map(|s| s.clone() as Arc<dyn Shape>).collect()
}

pub(super) fn functions() -> Vec<Function> {
    vec![
        method::<VpcCni>(
            "setting",
            NAME,
            Ty::Str,
            DAEMON_SETS,
            "A setting of aws-node; empty when not set.",
            |c, _, a| Ok(cni(c)?.setting(&text(a, 0)).unwrap_or_default().into()),
        ),
        method::<VpcCni>(
            "number",
            NAME,
            Ty::Int,
            DAEMON_SETS,
            "A numeric setting of aws-node; -1 when not set.",
            |c, _, a| Ok(cni(c)?.number(&text(a, 0)).unwrap_or(-1).into()),
        ),
        method::<VpcCni>("on", NAME, Ty::Bool, DAEMON_SETS, "Whether a setting of aws-node is on.", |c, _, a| {
            Ok(cni(c)?.on(&text(a, 0)).into())
        }),
        method::<VpcCni>(
            "isBefore",
            &[("version", Ty::Str)],
            Ty::Bool,
            DAEMON_SETS,
            "Whether the VPC CNI is older than a version.",
            |c, _, a| Ok((version(c)? < wanted(&text(a, 0))?).into()),
        ),
        method::<EniConfigChoice>(
            "stale",
            &[],
            Ty::List(&Ty::Object("NetworkInterface")),
            &["ec2:DescribeNetworkInterfaces"],
            "Primary interfaces of its nodes that carry addresses for pods: those nodes are older than custom networking.",
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let nodes: Vec<_> = this.nodes.iter().map(|n| n.row).collect();
                Ok(c.cni_workers()?
                    .iter()
                    .filter(|w| w.node.is_some_and(|n| nodes.binary_search(&n.row).is_ok()))
                    .filter_map(|w| Some(tables.network_interfaces.at(w.interface?.row.index)))
                    .filter(|i| i.PrivateIpAddresses.len() > 1 || !i.Ipv4Prefixes.is_empty())
                    .collect::<Vec<_>>()
                    .into())
            },
        ),
        method::<AddressPool>(
            "state",
            &[],
            Ty::Str,
            &["ec2:DescribeSubnets", "ec2:DescribeNetworkInterfaces"],
            "`ok`, `low` (no room for the next node), `fragmented` (no free /28 for prefixes) or `exhausted`.",
            |_, this, _| Ok(this.state()?.into()),
        ),
        method::<AddressPool>(
            "customNetworkingCommands",
            &[],
            Ty::List(&Ty::Str),
            &[],
            "Commands that give pods a range of their own in 100.64.0.0/10, with an ENIConfig for each zone.",
            |c, this, _| Ok(c.custom_networking_commands(this.value).into()),
        ),
        method::<AddressPool>(
            "discoveryCommands",
            &[],
            Ty::List(&Ty::Str),
            &[],
            "Commands that add a subnet which aws-node finds by its tag.",
            |c, this, _| Ok(c.discovery_commands(this.value).into()),
        ),
        method::<AddressPool>(
            "discovery",
            &[],
            Ty::Bool,
            &[],
            "Whether aws-node looks for tagged subnets.",
            |c, _, _| Ok(c.cni()?.is_some_and(|cni| c.discovers_subnets(&cni)).into()),
        ),
        method::<AddressPool>(
            "leadsToInternetGateway",
            &[],
            Ty::Bool,
            &["ec2:DescribeRouteTables"],
            "Whether packets for the internet leave the subnet by an internet gateway.",
            |c, this, _| {
                let subnet = c.snapshot.tables.subnets.at(this.subnet.row.index);
                let egress = c.network.egress(&c.snapshot, &subnet.SubnetId, Family::V4);
                Ok(matches!(egress.kind, EgressKind::Internet { .. }).into())
            },
        ),
        method::<AddressPool>(
            "externalSnat",
            &[],
            Ty::Bool,
            DAEMON_SETS,
            "Whether pods' packets leave the node with the pod's address (`AWS_VPC_K8S_CNI_EXTERNALSNAT`).",
            |c, _, _| Ok(c.cni()?.is_some_and(|cni| cni.external_snat()).into()),
        ),
        method::<AddressPool>(
            "usedIdly",
            &[],
            Ty::Bool,
            &["k8s:pods"],
            "Whether most of what the nodes hold here is kept warm and used by no pod.",
            |_, this, _| Ok((this.idle * 2 > this.held && this.idle >= this.step * 2).into()),
        ),
        method::<CniIdentity>(
            "lacks",
            &[],
            Ty::List(&Ty::Str),
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "The actions without which pods get no address and which the role may not call.",
            |c, this, _| Ok(c.cni_lacks(&this.roleArn, true)?.into()),
        ),
        method::<CniIdentity>(
            "lacksBesides",
            &[],
            Ty::List(&Ty::Str),
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "Further actions of aws-node that the role may not call: cleaning up, tagging.",
            |c, this, _| Ok(c.cni_lacks(&this.roleArn, false)?.into()),
        ),
        method::<CniIdentity>(
            "trusted",
            &[],
            Ty::Bool,
            &["iam:GetRole", "iam:ListOpenIDConnectProviders"],
            "Whether the role's trust policy lets aws-node take it.",
            |c, this, _| Ok(c.cni_trust(this.value)?.is_none_or(|t| t.holds).into()),
        ),
        method::<CniIdentity>(
            "trustWanted",
            &[],
            Ty::Str,
            &["iam:GetRole"],
            "What the trust policy would have to say, and what it says.",
            |c, this, _| {
                let trust = c.cni_trust(this.value)?;
                Ok(trust.map(|t| format!("wanted {}, found {}", t.wanted, t.found)).unwrap_or_default().into())
            },
        ),
        method::<eks::Cluster>(
            "mayMakeTrunks",
            &[],
            Ty::Bool,
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "Whether the cluster's role may create the trunk and branch interfaces of security groups for pods.",
            |c, this, _| {
                let decision = c.may(&this.roleArn, "ec2:CreateNetworkInterface", "*", &Context::default())?;
                Ok(matches!(decision, Decision::Allowed).into())
            },
        ),
        method::<VpcCni>(
            "largestNeed",
            &[],
            Ty::Int,
            &["k8s:nodes"],
            "The most pods with addresses of their own that a node may be given.",
            |c, _, _| Ok((c.capacities()?.iter().map(|c| c.advertised - 2).max().unwrap_or(0)).into()),
        ),
        method::<VpcCni>(
            "policyAgent",
            &[],
            Ty::Bool,
            DAEMON_SETS,
            "Whether the network policy agent in aws-node enforces policies.",
            |c, _, _| {
                let cni = cni(c)?;
                let containers = &cni.daemon_set.value.spec.template.spec.containers;
                Ok(containers.iter().any(|c| c.args.iter().any(|a| a == "--enable-network-policy=true")).into())
            },
        ),
        method::<VpcCni>(
            "configsWithoutGroups",
            &[],
            Ty::List(&Ty::Object("ENIConfig")),
            &["k8s:eniconfigs.crd.k8s.amazonaws.com"],
            "ENIConfigs that name no security groups.",
            |c, _, _| {
                let table = c.snapshot.whole::<ENIConfig>()?;
                Ok(table.iter().filter(|e| e.spec.securityGroups.is_empty()).collect::<Vec<_>>().into())
            },
        ),
        method::<Vpc>(
            "overlaps",
            &[("cidr", Ty::Str)],
            Ty::Bool,
            &[],
            "Whether a range of the VPC shares addresses with this one.",
            |_, this, a| {
                let other: Option<Ipv4Net> = text(a, 0).parse().ok();
                let ranges = this.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock).chain([&this.CidrBlock]);
                Ok(ranges
                    .filter_map(|r| r.parse::<Ipv4Net>().ok())
                    .any(|r| other.is_some_and(|o| o.contains(&r) || r.contains(&o)))
                    .into())
            },
        ),
        method::<eks::Cluster>(
            "ownRole",
            &[],
            Ty::Object("Role"),
            &["iam:GetRole"],
            "The role by which the control plane works.",
            |c, this, _| Ok(c.role(&this.roleArn)?.into()),
        ),
        method::<eks::Cluster>(
            "podsWaitingForSlots",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods"],
            "Pods that no node takes because its pod limit is used up.",
            |c, _, _| Ok(c.occupancy()?.no_slot.iter().take(50).copied().collect::<Vec<_>>().into()),
        ),
        method::<eks::Cluster>(
            "sandboxEvents",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events", "k8s:pods"],
            "Events that tell of pods to which the CNI could give no address.",
            |c, _, _| {
                if !c.snapshot.has("k8s:events") {
                    return Err(c.snapshot.missing("k8s:events", None));
                }
                Ok(c.occupancy()?.events.clone().into())
            },
        ),
    ]
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject { schema: VpcCni::described, reads: DAEMON_SETS, list: vpc_cni },
        Subject {
            schema: AddressPool::described,
            reads: &["ec2:DescribeSubnets", "ec2:DescribeInstances", "k8s:nodes", "k8s:daemonsets.apps"],
            list: |c| Ok(listed(c.address_pools()?)),
        },
        Subject {
            schema: Capacity::described,
            reads: &["k8s:nodes", "k8s:daemonsets.apps", "ec2:DescribeInstanceTypes"],
            list: |c| Ok(listed(c.capacities()?)),
        },
        Subject {
            schema: EniConfigChoice::described,
            reads: &["k8s:nodes", "k8s:daemonsets.apps", "k8s:eniconfigs.crd.k8s.amazonaws.com"],
            list: |c| Ok(listed(&c.eni_config_choices()?)),
        },
        Subject {
            schema: EniConfigGap::described,
            reads: &["k8s:nodes", "k8s:daemonsets.apps", "k8s:eniconfigs.crd.k8s.amazonaws.com"],
            list: |c| Ok(listed(&c.eni_config_gap()?)),
        },
        Subject {
            schema: CniIdentity::described,
            reads: &["k8s:daemonsets.apps", "k8s:serviceaccounts", "eks:ListPodIdentityAssociations"],
            list: |c| Ok(listed(&c.cni_identities()?)),
        },
        Subject {
            schema: TrunkGap::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(listed(&c.trunk_gaps()?)),
        },
        Subject {
            schema: BranchDemand::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods"],
            list: |c| Ok(listed(&c.branch_demand()?)),
        },
    ]
}
