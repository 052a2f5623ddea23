//! Security groups and network ACLs of nodes: whether nodes reach each other, and whether they forgot IPv6.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::worker::Placement;
use crate::network::{Disposition, End, Flow, Verdict};
use crate::shape::ec2::{IpPermission, NetworkAcl, SecurityGroup};
use crate::shape::k8s::Node;
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, TableId};

derived! {
    /// Nodes whose security groups let nothing in from those of other nodes.
    NodeGap {
        /// The group in which a rule lacks.
        group: Link<SecurityGroup>,
        /// `ingress` or `egress`.
        direction: Str,
        /// The groups of the senders and of the receivers.
        from: Str,
        to: Str,
        /// A group of the other side.
        peer: Str,
        nodes: Vec<Link<Node>>,
    }
}

/// Ports of usual applications; who lets in none of them lets in nothing.
const PROBES: [u16; 8] = [80, 443, 3000, 5000, 8080, 8443, 9090, 10250];
/// More sets of groups than this are not compared with one another.
const SETS: usize = 40;

impl Cluster {
    /// Pairs of node security groups of which one lets nothing of the other in.
    pub fn node_gaps(&self) -> Known<Vec<Arc<NodeGap>>> {
        let placements = self.placements()?;
        // Pods elsewhere than on their node's interface have other groups, and IPv6 other addresses.
        if self.is_ipv6() || self.cni().is_ok_and(|c| c.is_some_and(|c| c.custom_networking())) {
            return Ok(Vec::new());
        }
        let mut sets: BTreeMap<Vec<Row>, &Arc<Placement>> = BTreeMap::new();
        for placement in placements.iter().filter(|p| p.kind == "instances" && p.interface.is_some()) {
            let mut groups: Vec<Row> = placement.groups.iter().map(|g| g.row).collect();
            groups.sort();
            if !groups.is_empty() {
                sets.entry(groups).or_insert(placement);
            }
        }
        let mut gaps: BTreeMap<(Row, &'static str), NodeGap> = BTreeMap::new();
        for from in sets.values().take(SETS) {
            for to in sets.values().take(SETS) {
                if Arc::ptr_eq(from, to) {
                    continue;
                }
                let flow = |port| Flow::tcp(self.node_end(from), self.node_end(to), port);
                let closed = |port: &u16| self.network.decide(&flow(*port)) == Disposition::Blocked;
                if !PROBES.iter().all(closed) {
                    continue;
                }
                let trace = self.network.trace(&self.snapshot, &flow(8080));
                let blocked = trace.forward.iter().find(|h| {
                    h.verdict == Verdict::Blocked
                        && h.deciders.first().is_some_and(|d| d.table == TableId::SecurityGroups)
                });
                let Some((hop, row)) = blocked.and_then(|h| h.deciders.first().map(|d| (h, *d))) else { continue };
                let direction = if hop.step.contains("egress") { "egress" } else { "ingress" };
                let ids = |p: &Placement| self.group_ids(p);
                let other = if direction == "egress" { ids(to) } else { ids(from) };
                let gap = gaps.entry((row, direction)).or_insert_with(|| NodeGap {
                    group: Link::new(row),
                    direction: Str::const_new(direction),
                    from: Str::from(ids(from).join(", ")),
                    to: Str::from(ids(to).join(", ")),
                    peer: other.first().cloned().unwrap_or_default(),
                    nodes: Vec::new(),
                });
                gap.nodes.extend(to.nodes.iter().take(20).copied());
            }
        }
        Ok(gaps.into_values().map(Arc::new).collect())
    }

    fn node_end(&self, placement: &Placement) -> End {
        match placement.interface {
            Some(interface) => {
                End::interface(&self.snapshot.tables.network_interfaces.at(interface.row.index).NetworkInterfaceId)
            }
            None => End::Internet,
        }
    }

    /// The ids of a placement's groups.
    pub fn group_ids(&self, placement: &Placement) -> Vec<Str> {
        let groups = &self.snapshot.tables.security_groups;
        placement.groups.iter().map(|g| groups.at(g.row.index).GroupId.clone()).collect()
    }

    /// Security groups of nodes that let IPv4 out to everywhere and IPv6 nowhere, in an IPv6 cluster.
    pub fn groups_without_ipv6(&self) -> Known<Vec<Row>> {
        if !self.is_ipv6() {
            return Ok(Vec::new());
        }
        self.snapshot.table::<SecurityGroup>()?;
        let groups = &self.snapshot.tables.security_groups;
        let four = |p: &IpPermission| p.IpRanges.iter().any(|r| r.CidrIp == "0.0.0.0/0");
        let mut found = BTreeSet::new();
        for placement in self.placements()? {
            let rules =
                || placement.groups.iter().flat_map(|g| groups.at(g.row.index).value.IpPermissionsEgress.iter());
            if rules().any(|p| !p.Ipv6Ranges.is_empty() || !p.PrefixListIds.is_empty()) || !rules().any(four) {
                continue;
            }
            let first = placement.groups.iter().find(|g| groups.at(g.row.index).IpPermissionsEgress.iter().any(four));
            found.extend(first.map(|g| g.row));
        }
        Ok(found.into_iter().collect())
    }

    /// Network ACLs of node subnets that allow IPv4 and have no entry that allows IPv6, in an IPv6 cluster.
    pub fn acls_without_ipv6(&self) -> Known<Vec<Row>> {
        if !self.is_ipv6() {
            return Ok(Vec::new());
        }
        self.snapshot.table::<NetworkAcl>()?;
        let tables = &self.snapshot.tables;
        let mut found = BTreeSet::new();
        for placement in self.placements()? {
            let subnet = &tables.subnets.at(placement.subnet.row.index).SubnetId;
            let Ok(row) = self.network.acl_of(subnet) else { continue };
            let allowed = || tables.network_acls.at(row.index).value.Entries.iter().filter(|e| e.RuleAction == "allow");
            let lacks = [Some(true), Some(false)].into_iter().any(|egress| {
                !allowed().any(|e| e.Egress == egress && !e.Ipv6CidrBlock.is_empty())
                    && allowed().any(|e| e.Egress == egress && !e.CidrBlock.is_empty())
            });
            if lacks {
                found.insert(row);
            }
        }
        Ok(found.into_iter().collect())
    }
}
