//! The subnets from which nodes and pods take addresses: what is used, by whom, and what is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::Cluster;
use super::capacity::Limits;
use super::cni::Cni;
use super::cni_settings::cluster_tags;
use super::occupancy::FARGATE_PROFILE;
use super::version::Version;
use crate::shape::ec2::{Instance, NetworkInterface, Subnet, SubnetCidrReservations, tag};
use crate::shape::k8s::{Node, Pod};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, Rec};

derived! {
    /// A subnet from which nodes or pods take addresses.
    AddressPool {
        subnet: Link<Subnet>,
        zone: Str,
        /// `pods` (with their nodes or by an ENIConfig), `nodes` (custom networking: nodes only), `fargate`, `auto`.
        kind: Str,
        /// Whether nodes that run draw from it; otherwise they only may.
        running: bool,
        /// Whether pods take /28 prefixes here.
        prefixes: bool,
        /// `AvailableIpAddressCount`.
        free: Option<i64>,
        /// All addresses but AWS's five.
        usable: i64,
        /// What the CNI asks for at once when pods need more.
        step: i64,
        /// What the next node takes at once.
        demand: i64,
        /// What one node of the largest type here can take in the end.
        perNode: i64,
        largestType: Str,
        /// Free aligned /28 blocks, as far as interfaces are known.
        freePrefixes: Option<i64>,
        /// Those of them that a CIDR reservation keeps for prefixes.
        reservedPrefixes: Option<i64>,
        /// Whether any range is kept for prefixes (`GetSubnetCidrReservations`).
        reserved: Option<bool>,
        /// Ranges that reservations keep from automatic assignment, and the reservations' ids.
        withheld: Str,
        withheldBy: Vec<Str>,
        /// /28 blocks in which single addresses stand, so that no prefix fits.
        scattered: i64,
        /// All /28 blocks.
        blocks: i64,
        /// Used addresses that no recorded interface explains.
        unaccounted: i64,
        nodes: Vec<Link<Node>>,
        /// Pods on these nodes that get no address.
        starving: Vec<Link<Pod>>,
        /// Detached interfaces of instances that are gone.
        leaked: Vec<Link<NetworkInterface>>,
        leakedAddresses: i64,
        /// Addresses on the nodes' interfaces that no pod uses.
        idle: i64,
        /// Addresses on the nodes' interfaces.
        held: i64,
        /// Pods with an address of this subnet.
        pods: i64,
        /// Who holds the addresses, most first.
        holders: Vec<Str>,
        /// A subnet of the same zone, tagged for the CNI, that has room.
        alternative: Str,
        /// Whether another subnet can take what this one cannot.
        elsewhere: bool,
    }
}

/// What a network interface is for.
fn purpose(interface: &NetworkInterface) -> &'static str {
    match interface.InterfaceType.as_str() {
        "nat_gateway" => "NAT gateways",
        "network_load_balancer" | "gateway_load_balancer" => "load balancers",
        "vpc_endpoint" | "gateway_load_balancer_endpoint" => "VPC endpoints",
        "lambda" => "Lambda functions",
        "transit_gateway" => "transit gateways",
        "branch" => "pods with security groups of their own",
        _ if interface.Description.starts_with("ELB ") => "load balancers",
        _ if interface.Description.starts_with("Amazon EKS ") => "the EKS control plane",
        _ if interface.Description.starts_with("AWS Lambda") => "Lambda functions",
        _ if interface.Description.starts_with("VPC Endpoint") => "VPC endpoints",
        _ if interface.Description.starts_with("RDS") => "RDS",
        _ if interface.Attachment.as_ref().is_some_and(|a| !a.InstanceId.is_empty()) => "other instances",
        _ => "other interfaces",
    }
}

/// The IPv4 addresses that an interface takes from its subnet.
fn addresses_of(interface: &NetworkInterface) -> i64 {
    interface.PrivateIpAddresses.len().max(usize::from(!interface.PrivateIpAddress.is_empty())) as i64
        + 16 * interface.Ipv4Prefixes.len() as i64
}

/// The instance that aws-node made an interface for: its tag, else its description (`aws-K8S-i-...`).
pub fn made_for(interface: &NetworkInterface) -> Option<&str> {
    tag(&interface.TagSet, "node.k8s.amazonaws.com/instance_id")
        .or_else(|| interface.Description.strip_prefix("aws-K8S-"))
        .filter(|id| id.starts_with("i-"))
}

/// Minutes since the year 0 of an RFC 3339 time, for comparing.
pub fn minutes(time: &str) -> Option<i64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    // Days of the civil calendar, years beginning in March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    Some((days * 24 + hour) * 60 + minute)
}

/// The free aligned /28 blocks of a subnet, given what is taken of it.
pub fn free_blocks(cidr: Ipv4Net, taken: impl Iterator<Item = (u32, u32)>) -> i64 {
    blocks_left(cidr, taken.chain(ends(cidr)))
}

/// What AWS keeps of a subnet: its first four addresses and its last.
fn ends(cidr: Ipv4Net) -> [(u32, u32); 2] {
    let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
    [(first, first + 3), (last, last)]
}

/// The aligned /28 blocks of a range of which nothing is taken.
fn blocks_left(range: Ipv4Net, taken: impl Iterator<Item = (u32, u32)>) -> i64 {
    if range.prefix_len() > 28 {
        return 0;
    }
    let first = u32::from(range.network());
    let last = u32::from(range.broadcast());
    let blocks = ((last - first) / 16 + 1) as usize;
    let mut used = fixedbitset::FixedBitSet::with_capacity(blocks);
    for (from, to) in taken {
        let (from, to) = (from.max(first), to.min(last));
        if from <= to {
            used.insert_range(((from - first) / 16) as usize..((to - first) / 16) as usize + 1);
        }
    }
    (blocks - used.count_ones(..)) as i64
}

fn number(address: &str) -> Option<u32> {
    Some(u32::from(address.parse::<Ipv4Addr>().ok()?))
}

fn range(cidr: &str) -> Option<(u32, u32)> {
    let net: Ipv4Net = cidr.parse().ok()?;
    Some((u32::from(net.network()), u32::from(net.broadcast())))
}

/// What is gathered about a subnet before it is judged.
#[derive(Default)]
struct Draft {
    kind: &'static str,
    running: bool,
    prefixes: bool,
    step: i64,
    demand: i64,
    per_node: i64,
    largest: Str,
    nodes: Vec<Link<Node>>,
    starving: Vec<Link<Pod>>,
    workers: HashSet<Str>,
    /// Who may choose among several subnets: the node group, node class or profile.
    owners: BTreeSet<Row>,
}

impl AddressPool {
    /// `ok`, `low` (the next node finds no room), `fragmented` (no free /28 although addresses are free), `exhausted`.
    pub fn state(&self) -> Known<&'static str> {
        let lacking = |read: &str, reason: &str| Missing { read: read.to_owned(), reason: reason.to_owned() };
        let Some(free) = self.free else {
            return Err(lacking("ec2:DescribeSubnets", "the answer has no AvailableIpAddressCount"));
        };
        if self.prefixes {
            // What is kept for prefixes may not count among the free addresses.
            let kept = self.reservedPrefixes.unwrap_or(0);
            // Auto Mode falls back to single addresses when there is no prefix.
            if kept == 0 && free < if self.kind == "auto" { 1 } else { 16 } {
                return Ok("exhausted");
            }
            return match self.freePrefixes {
                None => Err(lacking("ec2:DescribeNetworkInterfaces", "not recorded")),
                Some(0) => Ok("fragmented"),
                Some(n) if kept > 0 || n > self.unaccounted => Ok(if n * 16 < self.demand - 1 { "low" } else { "ok" }),
                Some(_) => {
                    Err(lacking("ec2:DescribeNetworkInterfaces", "some interfaces of the subnet are not recorded"))
                }
            };
        }
        Ok(match free {
            0 => "exhausted",
            free if !self.starving.is_empty() && free < self.step => "exhausted",
            free if free < self.demand => "low",
            _ => "ok",
        })
    }
}

impl Cluster {
    /// The subnets from which nodes and pods take addresses.
    pub fn address_pools(&self) -> Known<&[Arc<AddressPool>]> {
        self.snapshot.table::<Subnet>()?;
        self.workers()?;
        let cni = self.cni()?;
        Ok(self.cache.pools.get_or_init(|| self.find_pools(cni.as_ref())))
    }

    /// Whether aws-node looks for tagged subnets of its own accord (`ENABLE_SUBNET_DISCOVERY`, since v1.18.0).
    pub fn discovers_subnets(&self, cni: &Cni<'_>) -> bool {
        cni.version.is_some_and(|v| v >= Version(1, 18, 0))
            && (cni.setting("ENABLE_SUBNET_DISCOVERY").is_none() || cni.on("ENABLE_SUBNET_DISCOVERY"))
            && !cni.custom_networking()
    }

    /// Whether a subnet is tagged for secondary interfaces of this cluster's nodes: by the tag alone before v1.22.0,
    /// since then by its value and by the tags of clusters (amazon-vpc-cni-k8s `pkg/awsutils/awsutils.go`).
    pub fn tagged_for_cni(&self, cni: &Cni<'_>, subnet: &Subnet) -> bool {
        let Some(role) = tag(&subnet.Tags, "kubernetes.io/role/cni") else { return false };
        let version = cni.version.unwrap_or(Version(1, 18, 0));
        if version < Version(1, 22, 0) {
            return true;
        }
        let (_, named) = cluster_tags(subnet, version);
        let own = cni.setting("CLUSTER_NAME").unwrap_or_default();
        !role.is_empty() && role != "0" && (own.is_empty() || named.is_empty() || named.contains(&own))
    }

    fn find_pools(&self, cni: Option<&Cni<'_>>) -> Vec<Arc<AddressPool>> {
        let tables = &self.snapshot.tables;
        let mut drafts: BTreeMap<Row, Draft> = BTreeMap::new();
        self.draft_nodes(cni, &mut drafts);
        self.draft_placements(cni, &mut drafts);
        let mut interfaces: HashMap<&Str, Vec<Rec<'_, NetworkInterface>>> = HashMap::new();
        for interface in tables.network_interfaces.iter() {
            interfaces.entry(&interface.value.SubnetId).or_default().push(interface);
        }
        let in_subnets = self.pods_by_subnet(&drafts);
        let mut pools: Vec<AddressPool> = drafts
            .into_iter()
            .map(|(row, draft)| {
                let subnet = tables.subnets.at(row.index);
                let own = interfaces.get(&subnet.value.SubnetId).map_or(&[][..], Vec::as_slice);
                self.pool(subnet, draft, own, in_subnets.get(&row).copied().unwrap_or(0), cni)
            })
            .collect();
        // A pool that only may be used hurts nobody as long as its owner has another one with room.
        let roomy: Vec<bool> = pools.iter().map(|p| p.state().map_or(true, |s| s == "ok" || s == "low")).collect();
        for i in 0..pools.len() {
            let elsewhere = (0..pools.len()).any(|j| j != i && roomy[j] && pools[j].kind == pools[i].kind);
            pools[i].elsewhere = elsewhere;
        }
        for (pod, subnets) in self.shut_out_fargate_pods(&pools) {
            for pool in pools.iter_mut().filter(|p| subnets.contains(&p.subnet.row)) {
                pool.starving.push(Link::new(pod));
            }
        }
        pools.into_iter().map(Arc::new).collect()
    }

    /// Pods that wait for Fargate while no subnet of their profile has a free address, and those subnets.
    fn shut_out_fargate_pods(&self, pools: &[AddressPool]) -> Vec<(Row, Vec<Row>)> {
        let tables = &self.snapshot.tables;
        let full: HashSet<&Str> = pools
            .iter()
            .filter(|p| p.free == Some(0))
            .map(|p| &tables.subnets.at(p.subnet.row.index).value.SubnetId)
            .collect();
        let Ok(occupancy) = self.occupancy() else { return Vec::new() };
        let waiting = occupancy.no_fargate.iter().filter_map(|&row| {
            let name = tables.pods.at(row.index).value.metadata.labels.get(FARGATE_PROFILE)?;
            let profile = tables.fargate_profiles.iter().find(|p| p.fargateProfileName == *name)?;
            let subnets = &profile.value.subnets;
            let none = !subnets.is_empty() && subnets.iter().all(|id| full.contains(id));
            none.then(|| (row, subnets.iter().filter_map(|id| tables.subnets.get(id)).map(|s| s.row).collect()))
        });
        waiting.collect()
    }

    fn draft_nodes(&self, cni: Option<&Cni<'_>>, drafts: &mut BTreeMap<Row, Draft>) {
        let tables = &self.snapshot.tables;
        let occupancy = self.occupancy().ok();
        let workers = self.workers().unwrap_or_default();
        let served: HashSet<Str> = self.cni_workers().unwrap_or_default().iter().map(|w| w.name.clone()).collect();
        for worker in workers {
            let id = worker.instance.map(|i| tables.instances.at(i.row.index).InstanceId.clone());
            let limits = self.limits(&worker.instanceType).ok();
            let starving = || {
                let node = worker.node.map(|n| tables.nodes.at(n.row.index))?;
                occupancy?.nodes.get(&node.metadata.name).map(|p| &p.starving)
            };
            let mut draw = |subnet: Row, kind: &'static str, prefixes: bool, pods: bool| {
                let draft = drafts.entry(subnet).or_default();
                if draft.kind.is_empty() || draft.kind == "nodes" {
                    draft.kind = kind;
                }
                draft.running = true;
                draft.prefixes |= prefixes;
                draft.nodes.extend(worker.node);
                draft.workers.extend(id.clone());
                draft.owners.extend(worker.nodegroup.map(|g| g.row));
                if pods {
                    draft.starving.extend(starving().into_iter().flatten().map(|row| Link::new(*row)));
                }
                if let Some(limits) = limits {
                    let (step, demand, per_node) = needs(cni, limits, kind, prefixes);
                    draft.step = draft.step.max(step);
                    draft.demand = draft.demand.max(demand);
                    if per_node > draft.per_node {
                        draft.per_node = per_node;
                        draft.largest = worker.instanceType.clone();
                    }
                } else {
                    draft.step = draft.step.max(1);
                    draft.demand = draft.demand.max(1);
                }
            };
            match (worker.kind.as_str(), cni) {
                ("fargate", _) => {
                    if let Some(subnet) = worker.subnet {
                        draw(subnet.row, "fargate", false, true);
                    }
                }
                ("auto", _) => {
                    let holding: Vec<Row> = worker
                        .interfaces
                        .iter()
                        .map(|i| tables.network_interfaces.at(i.row.index))
                        .filter(|i| !i.Ipv4Prefixes.is_empty())
                        .filter_map(|i| tables.subnets.get(&i.SubnetId))
                        .map(|s| s.row)
                        .collect();
                    if holding.is_empty() {
                        worker.subnet.into_iter().for_each(|s| draw(s.row, "auto", !self.is_ipv6(), true));
                    }
                    holding.into_iter().for_each(|row| draw(row, "auto", !self.is_ipv6(), true));
                }
                ("ec2", Some(cni)) if served.contains(&worker.name) => {
                    let prefixes = cni.prefix_delegation() && !cni.ipv6() && limits.is_some_and(|l| l.nitro);
                    let from = self.pod_subnet(cni, worker).map(|s| s.row);
                    if cni.ipv6() {
                        worker.subnet.into_iter().for_each(|s| draw(s.row, "nodes", false, false));
                        continue;
                    }
                    if let Some(row) = from {
                        draw(row, "pods", prefixes, true);
                    }
                    if let Some(subnet) = worker.subnet.filter(|s| Some(s.row) != from) {
                        draw(subnet.row, "nodes", false, false);
                    }
                }
                ("ec2", _) => {
                    worker.subnet.into_iter().for_each(|s| draw(s.row, "nodes", false, false));
                }
                _ => {}
            }
        }
    }

    /// Subnets in which nodes may be launched although none runs there.
    fn draft_placements(&self, cni: Option<&Cni<'_>>, drafts: &mut BTreeMap<Row, Draft>) {
        let tables = &self.snapshot.tables;
        let pods = cni.is_some_and(|c| !c.custom_networking() && !c.ipv6());
        for placement in self.placements().unwrap_or_default() {
            let owner = placement.nodegroup.map(|g| g.row).or(placement.nodeClass.map(|c| c.row));
            if let Some(draft) = drafts.get_mut(&placement.subnet.row) {
                draft.owners.extend(owner);
                continue;
            }
            let kind = match placement.kind.as_str() {
                "fargate" => "fargate",
                "instances" => continue,
                // Nobody is to be launched there.
                _ if placement
                    .nodegroup
                    .is_some_and(|g| tables.nodegroups.at(g.row.index).value.scalingConfig.desiredSize == Some(0)) =>
                {
                    continue;
                }
                _ if pods => "pods",
                _ => "nodes",
            };
            let draft = drafts.entry(placement.subnet.row).or_default();
            draft.kind = kind;
            draft.owners.extend(owner);
            draft.prefixes = kind == "pods" && cni.is_some_and(Cni::prefix_delegation);
            (draft.step, draft.demand) = (1, 1);
            let types = placement.nodegroup.map(|g| &tables.nodegroups.at(g.row.index).value.instanceTypes);
            for kind_of in types.into_iter().flatten() {
                let Ok(limits) = self.limits(kind_of) else { continue };
                let (step, demand, per_node) = needs(cni, limits, kind, draft.prefixes && limits.nitro);
                (draft.step, draft.demand) = (draft.step.max(step), draft.demand.max(demand));
                if per_node > draft.per_node {
                    (draft.per_node, draft.largest) = (per_node, kind_of.clone());
                }
            }
        }
        for class in tables.node_classes.iter().filter(|_| self.auto_mode()) {
            for subnet in class.status.subnets.iter().filter_map(|s| tables.subnets.get(&s.id)) {
                let draft = drafts.entry(subnet.row).or_insert_with(|| Draft {
                    kind: "auto",
                    prefixes: !self.is_ipv6(),
                    step: 1,
                    demand: 1,
                    ..Draft::default()
                });
                draft.owners.insert(class.row);
            }
        }
    }

    /// How many pods have an address of each of these subnets.
    fn pods_by_subnet(&self, drafts: &BTreeMap<Row, Draft>) -> HashMap<Row, i64> {
        let mut ranges: Vec<(u32, u32, Row)> = drafts
            .keys()
            .filter_map(|row| {
                let (from, to) = range(&self.snapshot.tables.subnets.at(row.index).CidrBlock)?;
                Some((from, to, *row))
            })
            .collect();
        ranges.sort_unstable();
        let mut count = HashMap::new();
        let Ok(occupancy) = self.occupancy() else { return count };
        for (_, address) in &occupancy.addresses {
            let Some(address) = number(address) else { continue };
            let at = ranges.partition_point(|(from, ..)| *from <= address);
            if let Some((_, _, row)) = at.checked_sub(1).map(|i| ranges[i]).filter(|(_, to, _)| address <= *to) {
                *count.entry(row).or_insert(0) += 1;
            }
        }
        count
    }

    fn pool(
        &self,
        subnet: Rec<'_, Subnet>,
        draft: Draft,
        interfaces: &[Rec<'_, NetworkInterface>],
        pods: i64,
        cni: Option<&Cni<'_>>,
    ) -> AddressPool {
        let tables = &self.snapshot.tables;
        let cidr: Option<Ipv4Net> = subnet.CidrBlock.parse().ok();
        let usable = cidr.map_or(0, |c| (1_i64 << (32 - c.prefix_len())) - 5);
        let seen = self.snapshot.has("ec2:DescribeNetworkInterfaces");
        let mut taken: Vec<(u32, u32)> = Vec::new();
        let mut single: HashSet<u32> = HashSet::new();
        let mut holders: BTreeMap<&'static str, i64> = BTreeMap::new();
        let (mut used, mut held, mut spare, mut leaked_addresses) = (0, 0, 0, 0);
        let mut leaked = Vec::new();
        for interface in interfaces {
            let count = addresses_of(interface.value);
            used += count;
            taken.extend(
                interface.PrivateIpAddresses.iter().filter_map(|a| number(&a.PrivateIpAddress)).map(|n| (n, n)),
            );
            if draft.prefixes {
                single.extend(
                    interface.PrivateIpAddresses.iter().filter_map(|a| number(&a.PrivateIpAddress)).map(|n| n / 16),
                );
            }
            taken.extend(interface.Ipv4Prefixes.iter().filter_map(|p| range(&p.Ipv4Prefix)));
            let of_node = interface.Attachment.as_ref().is_some_and(|a| draft.workers.contains(&a.InstanceId));
            let what = if of_node && interface.InterfaceType != "branch" {
                held += count;
                spare += count - 1;
                "the cluster's nodes"
            } else if self.is_leaked(interface.value) {
                leaked.push(Link::new(interface.row));
                leaked_addresses += count;
                "detached interfaces of instances that are gone"
            } else {
                purpose(interface.value)
            };
            *holders.entry(what).or_default() += count;
        }
        let reservations = tables.subnet_cidr_reservations.get(&subnet.SubnetId);
        let (mut kept, mut any) = (0, false);
        if let Some(reserved) = reservations {
            taken.extend(reserved_for(reserved.value, "explicit").filter_map(|c| range(&c.to_string())));
            if draft.prefixes && seen {
                for net in reserved_for(reserved.value, "prefix") {
                    any = true;
                    kept += blocks_left(net, taken.iter().copied().chain(cidr.into_iter().flat_map(ends)));
                }
            }
        }
        let withheld: Vec<_> = reservations
            .iter()
            .flat_map(|r| &r.value.SubnetIpv4CidrReservations)
            .filter(|r| r.ReservationType == "explicit")
            .collect();
        let mut holders: Vec<(i64, &str)> = holders.into_iter().map(|(what, count)| (count, what)).collect();
        holders.sort_by(|a, b| b.cmp(a));
        let alternative = cni
            .filter(|cni| draft.kind == "pods" && self.discovers_subnets(cni))
            .and_then(|cni| {
                tables
                    .subnets
                    .iter()
                    .filter(|s| s.row != subnet.row && s.VpcId == subnet.VpcId)
                    .filter(|s| s.AvailabilityZone == subnet.AvailabilityZone && self.tagged_for_cni(cni, s.value))
                    .find(|s| s.AvailableIpAddressCount.is_some_and(|free| free >= draft.step.max(1)))
            })
            .map(|s| s.SubnetId.clone())
            .unwrap_or_default();
        let free = subnet.AvailableIpAddressCount;
        AddressPool {
            subnet: Link::new(subnet.row),
            zone: subnet.AvailabilityZone.clone(),
            kind: Str::const_new(draft.kind),
            running: draft.running,
            prefixes: draft.prefixes,
            free,
            usable,
            step: draft.step,
            demand: draft.demand,
            perNode: draft.per_node,
            largestType: draft.largest,
            reservedPrefixes: (seen && reservations.is_some()).then_some(kept),
            reserved: reservations.is_some().then_some(any),
            withheld: Str::from(withheld.iter().map(|r| r.Cidr.as_str()).collect::<Vec<_>>().join(", ")),
            withheldBy: withheld.iter().map(|r| r.SubnetCidrReservationId.clone()).collect(),
            scattered: single.len() as i64,
            blocks: cidr.filter(|c| c.prefix_len() <= 28).map_or(0, |c| 1_i64 << (28 - c.prefix_len())),
            freePrefixes: cidr.filter(|_| seen).map(|c| free_blocks(c, taken.into_iter())),
            unaccounted: free.map_or(0, |free| (usable - free - used).max(0)),
            nodes: draft.nodes,
            starving: draft.starving,
            leaked,
            leakedAddresses: leaked_addresses,
            idle: if self.occupancy().is_ok() { (spare - pods).max(0) } else { 0 },
            held,
            pods,
            holders: holders.into_iter().map(|(count, what)| format!("{what} {count}").into()).collect(),
            alternative,
            elsewhere: false,
        }
    }

    /// A detached interface that aws-node made for an instance that is gone. Minutes-old ones may still be cleaned up.
    pub fn is_leaked(&self, interface: &NetworkInterface) -> bool {
        let Some(instance) = made_for(interface).filter(|_| interface.Status == "available") else { return false };
        // Another cluster's instances may not have been asked for.
        let other = tag(&interface.TagSet, "cluster.k8s.amazonaws.com/name").is_some_and(|c| *c != self.name());
        if other || !self.snapshot.has("ec2:DescribeInstances") {
            return false;
        }
        let gone = self
            .snapshot
            .tables
            .instances
            .get(instance)
            .is_none_or(|i: Rec<'_, Instance>| matches!(i.State.Name.as_str(), "terminated" | "shutting-down"));
        let made = tag(&interface.TagSet, "node.k8s.amazonaws.com/createdAt").and_then(minutes);
        let now = self.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
        gone && made.zip(now).is_none_or(|(made, now)| now - made > 30)
    }
}

/// The ranges that are reserved in this way: `explicit` ones are kept from automatic assignment, `prefix` ones for
/// prefixes.
fn reserved_for<'a>(reservations: &'a SubnetCidrReservations, how: &'a str) -> impl Iterator<Item = Ipv4Net> + 'a {
    reservations
        .SubnetIpv4CidrReservations
        .iter()
        .filter(move |r| r.ReservationType == how)
        .filter_map(|r| r.Cidr.parse().ok())
}

/// What nodes of a type take: at once when pods need more, with the next node, and at most.
/// With `WARM_ENI_TARGET` (default 1) an interface comes with all its addresses; with `WARM_IP_TARGET` only with those
/// (amazon-vpc-cni-k8s `docs/eni-and-ip-target.md`); prefixes come sixteen addresses at a time, and
/// `WARM_PREFIX_TARGET` (default 1) of them with the node (`docs/prefix-and-ip-target.md`).
fn needs(cni: Option<&Cni<'_>>, limits: Limits, kind: &str, prefixes: bool) -> (i64, i64, i64) {
    if kind != "pods" {
        return (1, 1, 1);
    }
    let number = |name: &str| cni.and_then(|c| c.number(name));
    let warm = number("WARM_IP_TARGET").filter(|n| *n > 0);
    let least = number("MINIMUM_IP_TARGET").unwrap_or(0);
    // Under custom networking the primary interface stands in another subnet.
    let interfaces = limits.interfaces - i64::from(cni.is_some_and(|c| c.custom_networking() && !c.ipv6()));
    if prefixes {
        let at_start = match warm {
            Some(warm) => (warm.max(least) + 15) / 16,
            None => number("WARM_PREFIX_TARGET").unwrap_or(1).max(1),
        };
        return (16, 1 + 16 * at_start, interfaces * (1 + 16 * (limits.addresses - 1)));
    }
    let most = interfaces * limits.addresses;
    match warm {
        Some(warm) => ((1 + warm).min(limits.addresses), 1 + warm.max(least), most),
        None => (limits.addresses, limits.addresses, most),
    }
}

#[cfg(test)]
mod tests {
    use super::{free_blocks, minutes};

    #[test]
    fn blocks_of_sixteen() {
        let cidr = "10.0.0.0/26".parse().unwrap();
        // The first block holds the network's first four addresses, the last one its last.
        assert_eq!(free_blocks(cidr, std::iter::empty()), 2);
        let one = u32::from(std::net::Ipv4Addr::new(10, 0, 0, 17));
        assert_eq!(free_blocks(cidr, [(one, one)].into_iter()), 1);
        assert_eq!(free_blocks(cidr, [(one, one + 16)].into_iter()), 0);
        assert_eq!(free_blocks("10.0.0.0/28".parse().unwrap(), std::iter::empty()), 0);
    }

    #[test]
    fn times_differ_by_minutes() {
        let apart = |a, b| minutes(b).zip(minutes(a)).map(|(b, a)| b - a);
        assert_eq!(apart("2026-02-28T23:59:00Z", "2026-03-01T00:01:00Z"), Some(2));
        assert_eq!(apart("2024-02-28T23:59:00Z", "2024-03-01T00:01:00Z"), Some(24 * 60 + 2));
        assert_eq!(minutes("soon"), None);
    }
}
