//! Functions for the rules of pods-get-no-ip: addresses, capacity, security groups for pods, Windows.

use ipnet::Ipv4Net;

use super::cni::{DAEMON_SETS, wanted};
use super::{Function, Subject, Ty, listed, method, text};
use crate::cluster::addresses::AddressPool;
use crate::cluster::capacity::Capacity;
use crate::cluster::cni_settings::windows_ipam;
use crate::cluster::identity::Decision;
use crate::cluster::pod_eni::{BranchDemand, TrunkGap};
use crate::cluster::policy::Context;
use crate::cluster::version::Version;
use crate::network::{EgressKind, Family, Target};
use crate::shape::ec2::{Subnet, Vpc};
use crate::shape::eks;
use crate::shape::k8s::{ConfigMap, NetworkPolicy, Node, SecurityGroupPolicy};
use crate::shape::{Described, Str};
use crate::snapshot::Missing;

pub(super) fn functions() -> Vec<Function> {
    vec![
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
                let shown: Vec<Str> = limits.iter().map(|(limit, kind)| format!("{kind} {limit}").into()).collect();
                Ok(if same { Vec::new() } else { shown }.into())
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
            schema: TrunkGap::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(listed(&c.trunk_gaps()?)),
        },
        Subject {
            schema: BranchDemand::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(listed(&c.branch_demand()?)),
        },
    ]
}
