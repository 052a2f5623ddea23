//! Packets that nodes need to join: to the API server, to endpoints, to the internet, and back to the kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::reach::Reach;
use super::worker::Placement;
use crate::network::{Disposition, End, Flow, Trace, Verdict};
use crate::shape::ec2::{NetworkAcl, NetworkInterface, SecurityGroup, Subnet};
use crate::shape::k8s::Node;
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, TableId};

derived! {
    /// Something that drops packets which nodes need to join.
    BlockedPath {
        /// `security-group` or `network-acl`.
        by: Str,
        group: Option<Link<SecurityGroup>>,
        acl: Option<Link<NetworkAcl>>,
        /// `egress` or `ingress`.
        direction: Str,
        /// What cannot be reached, in one text.
        what: Str,
        /// The groups of the nodes and of what they talk to.
        nodeGroups: Str,
        peerGroups: Str,
        /// A security group of the sender, for the rule that lacks.
        source: Str,
        port: i64,
        reach: Reach,
        subnets: Vec<Link<Subnet>>,
        nodes: Vec<Link<Node>>,
    }
}

struct Probe {
    what: String,
    flow: Flow,
    peer_groups: Vec<Str>,
    from_node: bool,
}

/// What is said about one decider.
struct Draft {
    by: &'static str,
    row: Row,
    direction: &'static str,
    what: BTreeSet<String>,
    node_groups: Vec<Str>,
    peer_groups: Vec<Str>,
    source: Str,
    port: u16,
    trace: Trace,
    subnets: BTreeMap<Row, Link<Subnet>>,
    nodes: BTreeMap<Row, Link<Node>>,
}

impl Cluster {
    /// The blockers of nodes' packets, each once.
    pub fn blocked_paths(&self) -> Known<Vec<Arc<BlockedPath>>> {
        let mut gap: Option<Missing> = None;
        let control = match self.control_plane_interfaces() {
            Ok(found) => found,
            Err(missing) => {
                gap = Some(missing);
                Vec::new()
            }
        };
        let private = self.eks()?.value.resourcesVpcConfig.endpointPrivateAccess == Some(true);
        let exits = self.node_exits().unwrap_or_default();
        let mut drafts: BTreeMap<(Str, Row, Str), Draft> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let placements: Vec<&Arc<Placement>> = self.placements()?.iter().collect();
        for placement in placements {
            let mut groups: Vec<Row> = placement.groups.iter().map(|g| g.row).collect();
            groups.sort();
            if !seen.insert((placement.subnet.row, groups, placement.public)) {
                continue;
            }
            let exit = exits.iter().find(|x| x.subnet == placement.subnet && x.public == placement.public);
            let outside = exit.is_some_and(|x| x.needs && (x.kind == "nat" || (x.kind == "internet" && x.public)));
            for probe in self.probes(placement, &control, private, outside) {
                if self.network.decide(&probe.flow) != Disposition::Blocked {
                    continue;
                }
                let trace = self.network.trace(&self.snapshot, &probe.flow);
                self.note(&mut drafts, placement, &probe, trace);
            }
        }
        if drafts.is_empty()
            && let Some(missing) = gap
        {
            return Err(missing);
        }
        Ok(drafts.into_values().map(|d| Arc::new(d.finish())).collect())
    }

    fn end_of(&self, placement: &Placement) -> End {
        let tables = &self.snapshot.tables;
        match placement.interface {
            Some(interface) => End::interface(&tables.network_interfaces.at(interface.row.index).NetworkInterfaceId),
            None => {
                let subnet = tables.subnets.at(placement.subnet.row.index);
                End::Hypothetical {
                    vpc: subnet.VpcId.clone(),
                    subnet: subnet.SubnetId.clone(),
                    groups: self.ids_of(placement),
                    address: None,
                    public: placement.public,
                }
            }
        }
    }

    fn ids_of(&self, placement: &Placement) -> Vec<Str> {
        let groups = &self.snapshot.tables.security_groups;
        placement.groups.iter().map(|g| groups.at(g.row.index).GroupId.clone()).collect()
    }

    fn probes(
        &self,
        placement: &Placement,
        control: &[crate::snapshot::Rec<'_, NetworkInterface>],
        private: bool,
        outside: bool,
    ) -> Vec<Probe> {
        let tables = &self.snapshot.tables;
        let node = || self.end_of(placement);
        let groups_of = |i: &NetworkInterface| i.Groups.iter().map(|g| g.GroupId.clone()).collect::<Vec<Str>>();
        let mut probes = Vec::new();
        for interface in control {
            let api = || End::interface(&interface.NetworkInterfaceId);
            if private {
                probes.push(Probe {
                    what: "the API server on tcp/443".to_owned(),
                    flow: Flow::tcp(node(), api(), 443),
                    peer_groups: groups_of(interface.value),
                    from_node: true,
                });
            }
            probes.push(Probe {
                what: "the kubelets on tcp/10250".to_owned(),
                flow: Flow::tcp(api(), node(), 10250),
                peer_groups: groups_of(interface.value),
                from_node: false,
            });
        }
        for (service, _) in self.node_services() {
            for endpoint in self.endpoints_of(service).unwrap_or_default() {
                if !Self::endpoint_captures(endpoint.value) {
                    continue;
                }
                for id in &endpoint.value.NetworkInterfaceIds {
                    let Some(interface) = tables.network_interfaces.get(id) else { continue };
                    probes.push(Probe {
                        what: format!("endpoint {} ({service}) on tcp/443", endpoint.VpcEndpointId),
                        flow: Flow::tcp(node(), End::interface(id), 443),
                        peer_groups: groups_of(interface.value),
                        from_node: true,
                    });
                }
            }
        }
        if outside {
            probes.push(Probe {
                what: "the internet on tcp/443".to_owned(),
                flow: Flow::tcp(node(), End::Internet, 443),
                peer_groups: Vec::new(),
                from_node: true,
            });
        }
        probes
    }

    fn note(&self, drafts: &mut BTreeMap<(Str, Row, Str), Draft>, placement: &Placement, probe: &Probe, trace: Trace) {
        let node_groups = self.ids_of(placement);
        let hops: Vec<_> =
            trace.forward.iter().chain(&trace.back).filter(|h| h.verdict == Verdict::Blocked).cloned().collect();
        for hop in hops {
            let Some(row) = hop.deciders.first().copied() else { continue };
            let direction = if hop.step.contains("egress") { "egress" } else { "ingress" };
            // Rules of one side or the other mend a mismatch of groups: it is one fault.
            let (by, key) = match row.table {
                TableId::SecurityGroups => {
                    let pair = if direction == "egress" {
                        format!(
                            "egress {} {}",
                            probe.from_node,
                            if probe.from_node { node_groups.join(" ") } else { String::new() }
                        )
                    } else {
                        format!("{} and {}", node_groups.join(" "), probe.peer_groups.join(" "))
                    };
                    ("security-group", pair)
                }
                TableId::NetworkAcls => ("network-acl", String::new()),
                _ => continue,
            };
            let any = Row { table: row.table, index: if by == "network-acl" { row.index } else { 0 } };
            let draft = drafts.entry((Str::const_new(by), any, Str::from(key))).or_insert_with(|| Draft {
                by,
                row,
                direction,
                what: BTreeSet::new(),
                node_groups: node_groups.clone(),
                peer_groups: probe.peer_groups.clone(),
                source: if probe.from_node { node_groups.first() } else { probe.peer_groups.first() }
                    .cloned()
                    .unwrap_or_default(),
                port: probe.flow.port.unwrap_or(443),
                trace: trace.clone(),
                subnets: BTreeMap::new(),
                nodes: BTreeMap::new(),
            });
            draft.what.insert(probe.what.clone());
            draft.subnets.insert(placement.subnet.row, placement.subnet);
            draft.nodes.extend(placement.nodes.iter().map(|n| (n.row, *n)));
        }
    }
}

impl Draft {
    fn finish(self) -> BlockedPath {
        let group = self.by == "security-group";
        BlockedPath {
            by: Str::const_new(self.by),
            group: group.then(|| Link::new(self.row)),
            acl: (!group).then(|| Link::new(self.row)),
            direction: Str::const_new(self.direction),
            what: Str::from(self.what.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
            nodeGroups: Str::from(self.node_groups.join(", ")),
            peerGroups: Str::from(self.peer_groups.join(", ")),
            source: self.source,
            port: i64::from(self.port),
            reach: Reach::new(self.trace),
            subnets: self.subnets.into_values().collect(),
            nodes: self.nodes.into_values().collect(),
        }
    }
}
