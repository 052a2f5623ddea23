//! Functions for the rules of pods-get-no-ip.

use std::sync::Arc;

use ipnet::Ipv4Net;

use super::{Function, Subject, Ty, method, text};
use crate::cluster::Cluster;
use crate::cluster::addresses::{AddressPool, minutes};
use crate::cluster::capacity::Capacity;
use crate::cluster::cni::Cni;
use crate::cluster::cni_identity::CniIdentity;
use crate::cluster::cni_settings::windows_ipam;
use crate::cluster::eniconfig::{EniConfigChoice, EniConfigGap};
use crate::cluster::identity::Decision;
use crate::cluster::pod_eni::{BranchDemand, TrunkGap};
use crate::cluster::policy::Context;
use crate::cluster::version::Version;
use crate::network::{EgressKind, Family, Target};
use crate::rule::value::Value;
use crate::shape::ec2::{NetworkInterface, Subnet, Vpc};
use crate::shape::eks;
use crate::shape::k8s::{ConfigMap, DaemonSet, ENIConfig, NetworkPolicy, Node, Pod, SecurityGroupPolicy};
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
    // On Fargate, hybrid nodes and in Auto Mode its settings matter to nobody.
    if cluster.workers().is_ok_and(|w| !w.is_empty() && w.iter().all(|w| w.kind != "ec2")) {
        return Ok(Vec::new());
    }
    let status = &cni.daemon_set.value.status;
    let now = cluster.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
    // On a node that joins, aws-node takes its time.
    let starts = |pod: &Pod| {
        let made = minutes(&pod.metadata.creationTimestamp);
        made.zip(now).is_some_and(|(made, now)| (0..5).contains(&(now - made)))
    };
    let unready = cluster
        .snapshot
        .tables
        .pods
        .iter()
        .filter(|p| p.metadata.namespace == "kube-system")
        .filter(|p| p.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node"))
        .filter(|p| p.status.containerStatuses.iter().any(|c| c.ready == Some(false)))
        .filter(|p| p.metadata.deletionTimestamp.is_empty() && !starts(p.value))
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
        method::<AddressPool>(
            "egress",
            &[],
            Ty::Str,
            &["ec2:DescribeRouteTables"],
            "How the subnet reaches the internet: `internet`, `nat`, `none`, `blackhole`, `broken` or `other`.",
            |c, this, _| {
                let subnet = c.snapshot.tables.subnets.at(this.subnet.row.index);
                c.network.route_table_of(&subnet.SubnetId)?;
                let egress = c.network.egress(&c.snapshot, &subnet.SubnetId, Family::V4);
                Ok(match egress.kind {
                    EgressKind::Internet { .. } => "internet",
                    EgressKind::Nat { .. } => "nat",
                    EgressKind::None => "none",
                    EgressKind::Blackhole => "blackhole",
                    EgressKind::Broken { .. } => "broken",
                    EgressKind::EgressOnly { .. } | EgressKind::Unverifiable { .. } => "other",
                }
                .into())
            },
        ),
        method::<AddressPool>(
            "routeTable",
            &[],
            Ty::Object("RouteTable"),
            &["ec2:DescribeRouteTables"],
            "The route table that the subnet uses.",
            |c, this, _| {
                let subnet = c.snapshot.tables.subnets.at(this.subnet.row.index);
                Ok(c.network.route_table_of(&subnet.SubnetId)?.into())
            },
        ),
        method::<AddressPool>(
            "nat",
            &[],
            Ty::Str,
            &["ec2:DescribeRouteTables", "ec2:DescribeNatGateways"],
            "A NAT gateway of the VPC that works, of the subnet's zone if there is one.",
            |c, this, _| Ok(c.working_nat(&this.zone).into()),
        ),
        method::<AddressPool>(
            "upperHalf",
            &[],
            Ty::Str,
            &[],
            "The upper half of the subnet's range, for a reservation.",
            |c, this, _| {
                let subnet = c.snapshot.tables.subnets.at(this.subnet.row.index);
                let half = subnet
                    .CidrBlock
                    .parse::<Ipv4Net>()
                    .ok()
                    .and_then(|net| net.subnets(net.prefix_len() + 1).ok().and_then(|mut halves| halves.nth(1)));
                Ok(half.map_or_else(|| Str::const_new("<range>"), |h| h.to_string().into()).into())
            },
        ),
        method::<AddressPool>(
            "freeRange",
            &[],
            Ty::Str,
            &["ec2:DescribeVpcs", "ec2:DescribeSubnets"],
            "A range of the VPC that no subnet has, for one more subnet.",
            |c, _, _| Ok(c.free_range().into()),
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
        method::<AddressPool>(
            "nodesGetOut",
            &[],
            Ty::Bool,
            &["ec2:DescribeRouteTables"],
            "Whether the nodes' own subnets have a way to the internet.",
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let mut seen = std::collections::BTreeSet::new();
                for node in &this.nodes {
                    let name = &tables.nodes.at(node.row.index).value.metadata.name;
                    let Some(subnet) = c.worker_of_node(name).and_then(|w| w.subnet) else { continue };
                    if seen.insert(subnet.row) {
                        let id = &tables.subnets.at(subnet.row.index).value.SubnetId;
                        let egress = c.network.egress(&c.snapshot, id, Family::V4);
                        if matches!(egress.kind, EgressKind::Internet { .. } | EgressKind::Nat { .. }) {
                            return Ok(true.into());
                        }
                    }
                }
                Ok(false.into())
            },
        ),
        method::<AddressPool>(
            "keptFromPods",
            &[],
            Ty::Bool,
            DAEMON_SETS,
            "Whether aws-node leaves the subnet out for its tag kubernetes.io/role/cni=0 (since v1.22.0).",
            |c, this, _| {
                let subnet = c.snapshot.tables.subnets.at(this.subnet.row.index);
                Ok(match c.cni()? {
                    Some(cni) => c.keeps_pods_out(&cni, subnet.value)?,
                    None => false,
                }
                .into())
            },
        ),
        method::<AddressPool>(
            "answersBlockedBy",
            &[],
            Ty::List(&Ty::Object("NetworkAcl")),
            &["ec2:DescribeNetworkAcls", "ec2:DescribeRouteTables"],
            "The network ACL that drops answers to the source ports by which the VPC CNI translates pods' connections, while those of the nodes' own pass.",
            |c, this, _| Ok(c.acl_narrow_for_pods(this.value)?.into_iter().collect::<Vec<_>>().into()),
        ),
        method::<Subnet>(
            "idleCniTag",
            &[],
            Ty::Str,
            DAEMON_SETS,
            "Why the tag kubernetes.io/role/cni does nothing on the subnet; empty when it does what it says.",
            |c, this, _| Ok(c.idle_subnet_tag(this.value)?.into()),
        ),
        method::<Subnet>(
            "holdsNodes",
            &[],
            Ty::Bool,
            &["ec2:DescribeInstances"],
            "Whether nodes run in the subnet.",
            |c, this, _| {
                let row = this.rec().map(|r| r.row);
                Ok(c.workers()?.iter().any(|w| w.subnet.map(|s| s.row) == row).into())
            },
        ),
        method::<Subnet>(
            "routesNat64",
            &[],
            Ty::Bool,
            &["ec2:DescribeRouteTables"],
            "Whether the subnet has a route of 64:ff9b::/96, where names of IPv4 hosts lead with DNS64, to a NAT gateway.",
            |c, this, _| {
                let nat64 = std::net::IpAddr::from(std::net::Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0808, 0x0808));
                let route = c.network.route(&this.SubnetId, nat64)?;
                Ok(route
                    .is_some_and(|r| {
                        !r.blackhole && !matches!(r.target, Target::EgressOnly(_) | Target::InternetGateway(_))
                    })
                    .into())
            },
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
        method::<Capacity>(
            "known",
            &[],
            Ty::Bool,
            &["ec2:DescribeInstanceTypes"],
            "True; unknown when the limits of the instance type were not recorded.",
            |c, this, _| c.limits(&this.instanceType).map(|_| true.into()),
        ),
        method::<eks::Addon>(
            "daemonSets",
            &[],
            Ty::List(&Ty::Object("DaemonSet")),
            &["k8s:daemonsets.apps"],
            "The daemon set that the add-on runs, as far as recorded.",
            |c, this, _| {
                let name = if this.addonName == "vpc-cni" { "aws-node" } else { this.addonName.as_str() };
                let found = c.snapshot.tables.daemon_sets.get(&format!("kube-system/{name}"));
                Ok(found.into_iter().collect::<Vec<_>>().into())
            },
        ),
        method::<NetworkPolicy>(
            "barePods",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods", "k8s:daemonsets.apps"],
            "Pods that it selects and that the VPC CNI's policy agent leaves alone, because nothing owns them.",
            |c, this, _| Ok(c.bare_pods_of(this.value)?.into()),
        ),
        method::<SecurityGroupPolicy>(
            "podsOnAutoNodes",
            &[],
            Ty::List(&Ty::Object("Pod")),
            &["k8s:pods", "k8s:nodes"],
            "Pods that it selects on nodes of EKS Auto Mode.",
            |c, this, _| Ok(c.policy_pods_on_auto_nodes(this.value)?.into()),
        ),
        method::<eks::Nodegroup>(
            "podLimits",
            &[],
            Ty::List(&Ty::Str),
            &["ec2:DescribeInstanceTypes", "k8s:daemonsets.apps"],
            "Its instance types with the pod limit of each alone, lowest first; empty when all have the same.",
            |c, this, _| {
                let limits = c.pod_limits_of(this.value)?;
                let same = limits.first().map(|l| l.0) == limits.last().map(|l| l.0);
                let listed: Vec<Str> = limits.iter().map(|(limit, kind)| format!("{kind} {limit}").into()).collect();
                Ok(if same { Vec::new() } else { listed }.into())
            },
        ),
        method::<ENIConfig>(
            "mostGroups",
            &[],
            Ty::Int,
            &["ec2:DescribeNetworkInterfaces"],
            "The most security groups that any recorded interface has: the quota is at least that.",
            |c, _, _| {
                let table = c.snapshot.table::<NetworkInterface>()?;
                Ok(table.iter().map(|i| i.Groups.len()).max().unwrap_or(0).into())
            },
        ),
        method::<eks::Cluster>(
            "atLeast",
            &[("version", Ty::Str)],
            Ty::Bool,
            &[],
            "Whether the cluster's Kubernetes is of this version or a later one.",
            |_, this, a| {
                let own = Version::parse(&this.version).ok_or_else(|| Missing {
                    read: "eks:DescribeCluster".to_owned(),
                    reason: "no version".to_owned(),
                })?;
                Ok((own >= wanted(&text(a, 0))?).into())
            },
        ),
        method::<eks::Cluster>(
            "windowsNodes",
            &[],
            Ty::List(&Ty::Object("Node")),
            &["k8s:nodes"],
            "The nodes that run Windows.",
            |c, _, _| Ok(c.nodes_on_windows()?.into()),
        ),
        method::<eks::Cluster>(
            "nodeCount",
            &[],
            Ty::Int,
            &["k8s:nodes"],
            "How many nodes the cluster has, or its node groups ask for if that is more.",
            |c, _, _| {
                let there = c.snapshot.table::<Node>()?.iter().count() as i64;
                let asked: i64 = c.nodegroups().filter_map(|g| g.scalingConfig.desiredSize).sum();
                Ok(there.max(asked).into())
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
        method::<eks::Cluster>(
            "nodesWithoutCni",
            &[],
            Ty::List(&Ty::Object("Node")),
            &["k8s:daemonsets.apps", "k8s:nodes"],
            "Nodes that wait for a CNI, when none is installed.",
            |c, _, _| Ok(c.nodes_without_cni()?.into()),
        ),
        method::<eks::Cluster>(
            "installCommands",
            &[],
            Ty::List(&Ty::Str),
            &[],
            "The commands that install the VPC CNI and what else every node needs and is not there.",
            |c, _, _| Ok(c.install_commands().into()),
        ),
        method::<eks::Cluster>(
            "podIdentityAgentRuns",
            &[],
            Ty::Bool,
            DAEMON_SETS,
            "Whether nodes run the agent that hands out Pod Identity credentials.",
            |c, _, _| Ok(c.pod_identity_agent_runs()?.into()),
        ),
        method::<eks::Cluster>(
            "windowsNodesWithoutAddresses",
            &[],
            Ty::List(&Ty::Object("Node")),
            &["k8s:nodes"],
            "Windows nodes that offer no vpc.amazonaws.com/PrivateIPv4Address, just launched ones aside.",
            |c, _, _| Ok(c.windows_nodes_without_addresses()?.into()),
        ),
        method::<eks::Cluster>(
            "windowsIpam",
            &[],
            Ty::Bool,
            &["k8s:configmaps"],
            "Whether the control plane gives Windows pods addresses (`enable-windows-ipam`).",
            |c, _, _| {
                let settings = c.snapshot.whole::<ConfigMap>()?.get("kube-system/amazon-vpc-cni");
                Ok(settings.is_some_and(|m| windows_ipam(m.value)).into())
            },
        ),
        method::<eks::Cluster>(
            "cniSettings",
            &[],
            Ty::List(&Ty::Object("ConfigMap")),
            &["k8s:configmaps"],
            "The config map amazon-vpc-cni, when it is there.",
            |c, _, _| {
                let settings = c.snapshot.whole::<ConfigMap>()?.get("kube-system/amazon-vpc-cni");
                Ok(settings.into_iter().map(|m| m.row).collect::<Vec<_>>().into())
            },
        ),
        method::<eks::Cluster>(
            "mayServeWindows",
            &[],
            Ty::Bool,
            &["iam:ListAttachedRolePolicies", "iam:GetPolicyVersion"],
            "Whether the cluster's role may give Windows nodes addresses for pods.",
            |c, this, _| {
                let interface = c.ec2_arn("network-interface/eni-0");
                let decision = c.may(&this.roleArn, "ec2:AssignPrivateIpAddresses", &interface, &Context::default())?;
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
