//! Functions for the rules about the VPC CNI, its ENIConfigs and its role.

use std::sync::Arc;

use super::{Function, Subject, Ty, listed, method, text};
use crate::cluster::Cluster;
use crate::cluster::cni::Cni;
use crate::cluster::cni_identity::CniIdentity;
use crate::cluster::eniconfig::{EniConfigChoice, EniConfigGap};
use crate::cluster::identity::Decision;
use crate::cluster::policy::Context;
use crate::cluster::version::Version;
use crate::cluster::vpc_cni::{CniKeptAway, VpcCni};
use crate::rule::value::Value;
use crate::shape::ec2::{NetworkInterface, Subnet};
use crate::shape::k8s::{ENIConfig, Pod, SecurityGroupPolicy};
use crate::shape::{Described, Shape, Str};
use crate::snapshot::{Known, Missing};

pub(super) const DAEMON_SETS: &[&str] = &["k8s:daemonsets.apps"];
const INTERFACES: &[&str] = &["ec2:DescribeNetworkInterfaces"];
const MOST_GROUPS: &str = "The most security groups that any recorded interface has: the quota is at least that.";
const NAME: &[(&str, Ty)] = &[("name", Ty::Str)];

fn most_groups(cluster: &Cluster) -> Known<Value> {
    let table = cluster.snapshot.table::<NetworkInterface>()?;
    Ok(table.iter().map(|i| i.Groups.len()).max().unwrap_or(0).into())
}

fn no_cni() -> Missing {
    Missing { read: "k8s:daemonsets.apps".to_owned(), reason: "kube-system/aws-node is not among them".to_owned() }
}

pub(super) fn cni(cluster: &Cluster) -> Known<Cni<'_>> {
    cluster.cni()?.ok_or_else(no_cni)
}

pub(super) fn version(cluster: &Cluster) -> Known<Version> {
    cni(cluster)?.version.ok_or_else(|| Missing {
        read: "k8s:daemonsets.apps".to_owned(),
        reason: "the image of aws-node does not tell its version".to_owned(),
    })
}

pub(super) fn wanted(text: &str) -> Known<Version> {
    Version::parse(text)
        .ok_or_else(|| Missing { read: "expression".to_owned(), reason: format!("`{text}` is no version") })
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
        method::<EniConfigChoice>(
            "subnetFor",
            &[],
            Ty::Str,
            &["ec2:DescribeSubnets"],
            "The subnet that its nodes' zone has for pods: of another ENIConfig there, else one of a secondary range.",
            |c, this, _| Ok(c.pod_subnet_for(this.value).into()),
        ),
        method::<VpcCni>(
            "updateCommands",
            &[],
            Ty::List(&Ty::Str),
            DAEMON_SETS,
            "Commands that update the VPC CNI: the add-on to EKS's default version, else the images.",
            |c, _, _| Ok(c.cni_update_commands(&cni(c)?).into()),
        ),
        method::<CniIdentity>(
            "findsSubnets",
            &[],
            Ty::Bool,
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "Whether the role may call ec2:DescribeSubnets.",
            |c, this, _| {
                let decision = c.may(&this.roleArn, "ec2:DescribeSubnets", "*", &Context::default())?;
                Ok(matches!(decision, Decision::Allowed).into())
            },
        ),
        method::<CniIdentity>(
            "taggedSubnets",
            &[],
            Ty::List(&Ty::Object("Subnet")),
            &["ec2:DescribeSubnets", "k8s:daemonsets.apps"],
            "Subnets of the VPC that aws-node would find by their tag kubernetes.io/role/cni.",
            |c, _, _| {
                let table = c.snapshot.table::<Subnet>()?;
                let Some(cni) = c.cni()?.filter(|cni| c.discovers_subnets(cni)) else {
                    return Ok(Value::List(Vec::new()));
                };
                let vpc = c.vpc_id()?;
                let found = table.iter().filter(|s| s.VpcId == vpc && c.tagged_for_cni(&cni, s.value));
                Ok(found.collect::<Vec<_>>().into())
            },
        ),
        method::<VpcCni>(
            "tooNew",
            &[],
            Ty::List(&Ty::Str),
            DAEMON_SETS,
            "Settings that are on and that this version of the VPC CNI does not know.",
            |c, _, _| Ok(c.settings_too_new(&cni(c)?)?.into()),
        ),
        method::<VpcCni>(
            "besideAddon",
            &[],
            Ty::List(&Ty::Str),
            &["k8s:daemonsets.apps", "eks:DescribeAddon"],
            "Settings of aws-node that its add-on's configuration does not hold.",
            |c, _, _| Ok(c.settings_beside_addon(&cni(c)?)?.into()),
        ),
        method::<VpcCni>(
            "adoptCommand",
            &[],
            Ty::Str,
            &["k8s:daemonsets.apps", "eks:DescribeAddon"],
            "The command that writes these settings into the add-on's configuration.",
            |c, _, _| Ok(c.adopt_settings(&cni(c)?)?.into()),
        ),
        method::<VpcCni>(
            "addon",
            &[],
            Ty::List(&Ty::Object("Addon")),
            &["eks:ListAddons", "eks:DescribeAddon"],
            "The EKS add-on vpc-cni, if the VPC CNI is one.",
            |c, _, _| Ok(c.cni_addon()?.into_iter().collect::<Vec<_>>().into()),
        ),
        method::<VpcCni>(
            "idleTrunks",
            &[],
            Ty::List(&Ty::Object("NetworkInterface")),
            &["ec2:DescribeNetworkInterfaces"],
            "Trunk interfaces of nodes while ENABLE_POD_ENI is off.",
            |c, _, _| Ok(c.idle_trunks(&cni(c)?)?.into()),
        ),
        method::<VpcCni>(
            "trunksPossible",
            &[],
            Ty::Bool,
            &["k8s:nodes", "ec2:DescribeInstanceTypes"],
            "Whether a node may have a trunk interface: some type is neither burstable (t) nor known not to be Nitro.",
            |c, _, _| {
                let types: std::collections::BTreeSet<Str> =
                    c.cni_workers()?.iter().map(|w| w.instanceType.clone()).filter(|t| !t.is_empty()).collect();
                Ok((types.is_empty() || types.iter().any(|t| c.may_have_trunk(t))).into())
            },
        ),
        method::<VpcCni>(
            "bareNodes",
            &[],
            Ty::List(&Ty::Object("Node")),
            &["k8s:nodes", "ec2:DescribeNetworkInterfaces"],
            "Nodes whose interfaces carry neither secondary IPv4 addresses nor prefixes, those just launched aside.",
            |c, _, _| Ok(c.bare_nodes()?.into()),
        ),
        method::<VpcCni>(
            "starvingOnBareNodes",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:nodes", "k8s:pods", "k8s:events", "ec2:DescribeNetworkInterfaces"],
            "Pods on `bareNodes` that get no address.",
            |c, _, _| {
                let occupancy = c.occupancy()?;
                let nodes = c.bare_nodes()?;
                let starving = nodes.iter().filter_map(|n| occupancy.nodes.get(&n.metadata.name));
                let rows = starving.flat_map(|p| &p.starving);
                Ok(rows.map(|row| c.snapshot.tables.pods.at(row.index)).collect::<Vec<_>>().into())
            },
        ),
        method::<VpcCni>(
            "teardownEvents",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events"],
            "Events that tell of pods whose network the CNI cannot take down.",
            |c, _, _| Ok(c.teardown_events()?.into()),
        ),
        method::<VpcCni>(
            "probedBranchPods",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods"],
            "Pods on branch interfaces that kubelets probe over HTTP or TCP.",
            |c, _, _| Ok(c.probed_branch_pods()?.into()),
        ),
        method::<VpcCni>(
            "unreadyBranchPods",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods"],
            "Those of `probedBranchPods` that are not ready.",
            |c, _, _| {
                let unready = |p: &Pod| p.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "False");
                Ok(c.probed_branch_pods()?.into_iter().filter(|p| unready(p.value)).collect::<Vec<_>>().into())
            },
        ),
        method::<VpcCni>(
            "earlyDemux",
            &[],
            Ty::Bool,
            DAEMON_SETS,
            "Whether nodes take TCP packets early (`DISABLE_TCP_EARLY_DEMUX` of the init container is not on).",
            |c, _, _| {
                let cni = cni(c)?;
                let mut env = cni.daemon_set.value.spec.template.spec.initContainers.iter().flat_map(|c| &c.env);
                Ok((!env.any(|e| e.name == "DISABLE_TCP_EARLY_DEMUX" && e.value == "true")).into())
            },
        ),
        method::<VpcCni>(
            "probeTimeout",
            &[],
            Ty::Int,
            DAEMON_SETS,
            "The shorter timeout of aws-node's liveness and readiness probe, in seconds; 0 without probes.",
            |c, _, _| {
                let cni = cni(c)?;
                let containers = &cni.daemon_set.value.spec.template.spec.containers;
                let own = containers.iter().find(|c| c.name == "aws-node");
                let probes = own.into_iter().flat_map(|c| [&c.livenessProbe, &c.readinessProbe]).flatten();
                Ok(probes.map(|p| p.timeoutSeconds.unwrap_or(1)).min().unwrap_or(0).into())
            },
        ),
        method::<ENIConfig>("mostGroups", &[], Ty::Int, INTERFACES, MOST_GROUPS, |c, _, _| most_groups(c)),
        method::<SecurityGroupPolicy>("mostGroups", &[], Ty::Int, INTERFACES, MOST_GROUPS, |c, _, _| most_groups(c)),
        method::<SecurityGroupPolicy>(
            "waiting",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods"],
            "Pods that it selects and that do not start.",
            |c, this, _| {
                let pods = &c.snapshot.tables.pods;
                let waiting = this.rec().into_iter().flat_map(|policy| c.waiting_for_groups(policy.row));
                Ok(waiting.map(|p| pods.at(p.index)).collect::<Vec<_>>().into())
            },
        ),
        method::<SecurityGroupPolicy>(
            "refusals",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:pods", "k8s:events"],
            "Events by which EC2 refuses interfaces for pods that it selects, because of the number of their groups.",
            |c, this, _| match this.rec() {
                Some(policy) => Ok(c.group_limit_events(policy.row)?.into()),
                None => Ok(Value::List(Vec::new())),
            },
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
            "deniedBy",
            &[("actions", Ty::Str)],
            Ty::Str,
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "The policy of its role that denies one of these actions (separated by commas); empty when none does.",
            |c, this, a| Ok(c.denied_by(&this.roleArn, &text(a, 0), &c.ec2_arn("network-interface/eni-0"))?.into()),
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
    ]
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            schema: VpcCni::described,
            reads: DAEMON_SETS,
            list: |c| Ok(c.vpc_cni()?.into_iter().map(|v| v as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: CniKeptAway::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(listed(&c.cni_kept_away()?)),
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
    ]
}
