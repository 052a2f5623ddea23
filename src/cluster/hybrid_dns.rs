//! Whether pods on hybrid nodes get to CoreDNS on machines of the VPC.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Cluster;
use super::pods::{PodKind, ended};
use super::target_group::covers;
use crate::shape::ec2::{IpPermission, SecurityGroup};
use crate::shape::k8s::{Node, Pod};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::Known;

derived! {
    /// Security groups of CoreDNS that do not admit DNS from the networks of hybrid nodes.
    HybridDns {
        groups: Vec<Link<SecurityGroup>>,
        /// The networks that are not admitted: of remote pods, or where none are given, of remote nodes.
        ranges: Vec<Str>,
        /// `udp`, `tcp` or `udp and tcp`.
        protocols: Str,
        /// Whether the nodes' own network is admitted, behind which the CNI may hide pods.
        nodesAdmitted: bool,
        /// Whether CoreDNS also runs on hybrid nodes.
        alsoThere: bool,
        nodes: Vec<Link<Node>>,
        /// Pods on them that ask CoreDNS and are not ready.
        pods: Vec<Link<Pod>>,
    }
}

/// Whether a rule admits any of a range. A prefix list may hold anything.
fn touches(rule: &IpPermission, range: &IpNet) -> bool {
    let meets = |cidr: &Str| cidr.parse::<IpNet>().is_ok_and(|net| net.contains(range) || range.contains(&net));
    !rule.PrefixListIds.is_empty()
        || rule.IpRanges.iter().any(|r| meets(&r.CidrIp))
        || rule.Ipv6Ranges.iter().any(|r| meets(&r.CidrIpv6))
}

impl Cluster {
    /// The groups of CoreDNS' interfaces, each set once, with what they do not admit of hybrid nodes' networks. The
    /// addresses there belong to no interface of the VPC, so only ranges can admit them
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-networking.html>).
    pub fn hybrid_dns(&self) -> Known<Vec<HybridDns>> {
        let workers = self.workers()?;
        let nodes: Vec<Row> =
            workers.iter().filter(|w| w.kind == "hybrid").filter_map(|w| w.node.map(|n| n.row)).collect();
        let eks = self.eks()?;
        let Some(remote) = eks.value.remoteNetworkConfig.as_ref().filter(|_| !nodes.is_empty()) else {
            return Ok(Vec::new());
        };
        let of_pods: Vec<&Str> = remote.remotePodNetworks.iter().flat_map(|n| &n.cidrs).collect();
        let of_nodes: Vec<&Str> = remote.remoteNodeNetworks.iter().flat_map(|n| &n.cidrs).collect();
        let mut ranges = if of_pods.is_empty() { of_nodes.clone() } else { of_pods };
        ranges.sort();
        let security = self.snapshot.table::<SecurityGroup>()?;
        let tables = &self.snapshot.tables;
        let names: BTreeSet<&Str> = nodes.iter().map(|n| &tables.nodes.at(n.index).value.metadata.name).collect();
        let also_there = self.coredns_pods()?.iter().any(|p| names.contains(&p.value.spec.nodeName));
        let suffers = |p: &Pod| {
            let asks = p.spec.hostNetwork != Some(true) && matches!(p.spec.dnsPolicy.as_str(), "" | "ClusterFirst");
            let ready = p.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
            asks && !ready && !ended(p) && names.contains(&p.spec.nodeName)
        };
        let pods: Vec<Link<Pod>> = tables.pods.iter().filter(|p| suffers(p.value)).map(|p| Link::new(p.row)).collect();
        let mut found: Vec<HybridDns> = Vec::new();
        for class in self.coredns_classes()?.iter().filter(|c| c.kind != PodKind::Host) {
            let groups: Vec<_> = class.groups.iter().filter_map(|id| security.get(id)).collect();
            if groups.is_empty() || groups.len() < class.groups.len() {
                continue;
            }
            let admitted = |protocol: &str, range: &IpNet| {
                let mut rules = groups.iter().flat_map(|g| g.value.IpPermissions.iter());
                rules.any(|rule| covers(rule, protocol, 53) && touches(rule, range))
            };
            let shut = |protocol: &str| -> Vec<Str> {
                let parsed = ranges.iter().filter_map(|r| Some((*r, r.parse::<IpNet>().ok()?)));
                parsed.filter(|(_, net)| !admitted(protocol, net)).map(|(text, _)| text.clone()).collect()
            };
            let (udp, tcp) = (shut("udp"), shut("tcp"));
            let protocols = match (udp.is_empty(), tcp.is_empty()) {
                (true, true) => continue,
                (false, false) => "udp and tcp",
                (false, true) => "udp",
                (true, false) => "tcp",
            };
            let nodes_admitted = !of_nodes.is_empty()
                && of_nodes.iter().filter_map(|r| r.parse::<IpNet>().ok()).all(|net| admitted("udp", &net));
            if nodes_admitted && pods.is_empty() {
                continue;
            }
            let links: Vec<Link<SecurityGroup>> = groups.iter().map(|g| Link::new(g.row)).collect();
            if found.iter().any(|f| f.groups == links) {
                continue;
            }
            found.push(HybridDns {
                groups: links,
                ranges: if udp.is_empty() { tcp } else { udp },
                protocols: Str::const_new(protocols),
                nodesAdmitted: nodes_admitted,
                alsoThere: also_there,
                nodes: nodes.iter().map(|n| Link::new(*n)).collect(),
                pods: pods.clone(),
            });
        }
        Ok(found)
    }
}
