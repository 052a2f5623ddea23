//! Packets that nodes need to join: to the API server, to endpoints, to the internet, and back to the kubelet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::acl_numbers::{LAST, Numbers};
use super::reach::Reach;
use super::worker::Placement;
use crate::network::{Disposition, End, Flow, Hop, Trace, Verdict};
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
        /// Commands that open the way.
        commands: Vec<Str>,
        /// Commands that take away the ACL entry that denies it, if it is one.
        removal: Vec<Str>,
        /// Whether nothing runs where it hurts.
        idle: bool,
        reach: Reach,
        subnets: Vec<Link<Subnet>>,
        nodes: Vec<Link<Node>>,
    }
}

struct Probe {
    /// Whether the other end is in the VPC.
    inside: bool,
    what: String,
    flow: Flow,
    peer_groups: Vec<Str>,
    from_node: bool,
}

/// Where an ACL drops a packet.
struct Denial {
    egress: bool,
    /// The number of the entry that decides.
    number: i64,
    inside: bool,
    /// The destination ports of the packet: the service's, or of the answer the client's.
    ports: (u16, u16),
}

/// Of the tens of thousands of ports from which a client calls, so few do not keep a node out: many ACLs deny single
/// ports (3389 by the CIS benchmark), and a call whose answer is dropped is made again from another port.
const FEW_PORTS: u32 = 64;

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
    inside: bool,
    idle: bool,
    denials: Vec<Denial>,
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
            let outside = exit.is_some_and(|x| {
                let known = x.is("nat") || (x.is("internet") && x.public);
                x.needs && (known || (x.is("unverifiable") && !x.proxy && self.kept_inside(placement)))
            });
            for probe in self.probes(placement, &control, private, outside) {
                let disposition = self.network.decide(&probe.flow);
                if disposition == Disposition::Unknown && probe.inside && gap.is_none() {
                    gap = self.unread(&self.network.trace(&self.snapshot, &probe.flow));
                }
                if disposition != Disposition::Blocked {
                    continue;
                }
                let trace = self.network.trace(&self.snapshot, &probe.flow);
                self.note(&mut drafts, placement, &probe, trace);
            }
        }
        if drafts.is_empty() {
            if let Some(missing) = gap {
                return Err(missing);
            }
            // Without these nothing could be decided.
            self.snapshot.table::<crate::shape::ec2::SecurityGroup>()?;
            self.snapshot.table::<crate::shape::ec2::NetworkAcl>()?;
        }
        Ok(drafts.into_values().map(|d| Arc::new(self.finish(d))).collect())
    }

    /// Whether the groups of nodes that never got ready let out only what stays in the VPC: then it does not matter where
    /// the default route leads.
    fn kept_inside(&self, placement: &Placement) -> bool {
        let tables = &self.snapshot.tables;
        let ready = |n: &Link<Node>| {
            tables.nodes.at(n.row.index).status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
        };
        let vpc: Vec<ipnet::IpNet> = self.vpc_ranges().iter().filter_map(|r| r.parse().ok()).collect();
        let inside = |cidr: &Str| cidr.parse().is_ok_and(|net: ipnet::IpNet| vpc.iter().any(|v| v.contains(&net)));
        let mut rules =
            placement.groups.iter().flat_map(|g| &tables.security_groups.at(g.row.index).value.IpPermissionsEgress);
        !placement.nodes.iter().any(ready)
            && !placement.groups.is_empty()
            && rules.all(|p| {
                p.PrefixListIds.is_empty()
                    && p.IpRanges.iter().all(|r| inside(&r.CidrIp))
                    && p.Ipv6Ranges.iter().all(|r| inside(&r.CidrIpv6))
            })
    }

    /// What lets the draft's packets through its ACL: allowing entries at free numbers before the one that denies, and
    /// the removal of that one.
    fn acl_commands(&self, draft: &Draft) -> (Vec<Str>, Vec<Str>) {
        let acl = self.snapshot.tables.network_acls.at(draft.row.index);
        let (id, region) = (&acl.NetworkAclId, self.region_name());
        let mut numbers = Numbers::of(acl.value);
        let side = |egress: bool| if egress { "--egress" } else { "--ingress" };
        let (mut open, mut removal) = (Vec::new(), Vec::new());
        for (egress, number) in draft.denials.iter().map(|d| (d.egress, d.number)).collect::<BTreeSet<_>>() {
            if number < LAST {
                removal.push(Str::from(format!(
                    "aws ec2 delete-network-acl-entry --region {region} --network-acl-id {id} {} --rule-number {number}",
                    side(egress)
                )));
            }
            let here = || draft.denials.iter().filter(|d| (d.egress, d.number) == (egress, number));
            let mut wanted: Vec<(String, Str)> = Vec::new();
            if here().any(|d| d.inside) {
                wanted.extend(self.vpc_ranges().into_iter().map(|r| ("--protocol -1".to_owned(), r)));
            }
            for ports in here().filter(|d| !d.inside).map(|d| d.ports).collect::<BTreeSet<_>>() {
                let ports = format!("--protocol tcp --port-range From={},To={}", ports.0, ports.1);
                wanted.push((ports, Str::const_new("0.0.0.0/0")));
            }
            for (ports, range) in wanted {
                let Some(free) = numbers.take(egress, number) else { continue };
                let cidr = if range.contains(':') { "--ipv6-cidr-block" } else { "--cidr-block" };
                open.push(Str::from(format!(
                    "aws ec2 create-network-acl-entry --region {region} --network-acl-id {id} {} --rule-number {free} {ports} --rule-action allow {cidr} {range}",
                    side(egress)
                )));
            }
        }
        (open, removal)
    }

    /// The ranges of the cluster's VPC.
    pub fn vpc_ranges(&self) -> Vec<Str> {
        let Ok(vpc) = self.vpc_id().and_then(|id| self.snapshot.find::<crate::shape::ec2::Vpc>(&id)) else {
            return Vec::new();
        };
        let mut ranges: Vec<Str> = vpc
            .value
            .CidrBlockAssociationSet
            .iter()
            .filter(|a| matches!(a.CidrBlockState.State.as_str(), "" | "associated"))
            .map(|a| a.CidrBlock.clone())
            .collect();
        if ranges.is_empty() {
            ranges.push(vpc.value.CidrBlock.clone());
        }
        if self.is_ipv6() {
            ranges.extend(vpc.value.Ipv6CidrBlockAssociationSet.iter().map(|a| a.Ipv6CidrBlock.clone()));
        }
        ranges
    }

    /// What lets the draft's packets through its security group.
    fn group_commands(&self, draft: &Draft) -> Vec<Str> {
        let tables = &self.snapshot.tables;
        let (group, region) = (&tables.security_groups.at(draft.row.index).GroupId, self.region_name());
        let port = draft.port;
        if draft.direction == "egress" {
            if draft.inside
                && let Some(peer) = draft.peer_groups.first()
            {
                return vec![Str::from(format!(
                    "aws ec2 authorize-security-group-egress --region {region} --group-id {group} --ip-permissions 'IpProtocol=tcp,FromPort={port},ToPort={port},UserIdGroupPairs=[{{GroupId={peer}}}]'"
                ))];
            }
            return vec![Str::from(format!(
                "aws ec2 authorize-security-group-egress --region {region} --group-id {group} --ip-permissions 'IpProtocol=tcp,FromPort={port},ToPort={port},IpRanges=[{{CidrIp=0.0.0.0/0}}]'"
            ))];
        }
        vec![Str::from(format!(
            "aws ec2 authorize-security-group-ingress --region {region} --group-id {group} --protocol tcp --port {port} --source-group {}",
            draft.source
        ))]
    }

    fn finish(&self, draft: Draft) -> BlockedPath {
        let group = draft.by == "security-group";
        let (commands, removal) =
            if group { (self.group_commands(&draft), Vec::new()) } else { self.acl_commands(&draft) };
        BlockedPath {
            by: Str::const_new(draft.by),
            group: group.then(|| Link::new(draft.row)),
            acl: (!group).then(|| Link::new(draft.row)),
            direction: Str::const_new(draft.direction),
            what: Str::from(draft.what.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
            nodeGroups: Str::from(draft.node_groups.join(", ")),
            peerGroups: Str::from(draft.peer_groups.join(", ")),
            source: draft.source,
            port: i64::from(draft.port),
            commands,
            removal,
            idle: draft.idle,
            reach: Reach::new(draft.trace),
            subnets: draft.subnets.into_values().collect(),
            nodes: draft.nodes.into_values().collect(),
        }
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
        // The cluster's own group first: it is what rules had best name.
        let own = self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        let groups_of = |i: &NetworkInterface| {
            let mut groups: Vec<Str> = i.Groups.iter().map(|g| g.GroupId.clone()).collect();
            groups.sort();
            groups.sort_by_key(|g| *g != own);
            groups
        };
        let mut probes = Vec::new();
        for interface in control {
            let api = || End::interface(&interface.NetworkInterfaceId);
            if private {
                probes.push(Probe {
                    inside: true,
                    what: "the API server on tcp/443".to_owned(),
                    flow: Flow::tcp(node(), api(), 443),
                    peer_groups: groups_of(interface.value),
                    from_node: true,
                });
            }
            probes.push(Probe {
                inside: true,
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
                        inside: true,
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
                inside: false,
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
        let blocked = |h: &&Hop| h.verdict == Verdict::Blocked;
        let back = trace.back.iter().filter(blocked).map(|h| (h.clone(), true));
        let hops: Vec<(Hop, bool)> =
            trace.forward.iter().filter(blocked).map(|h| (h.clone(), false)).chain(back).collect();
        for (hop, answer) in hops {
            if answer && hop.dropped.is_some_and(|ports| ports <= FEW_PORTS) {
                continue;
            }
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
                inside: true,
                idle: true,
                denials: Vec::new(),
                trace: trace.clone(),
                subnets: BTreeMap::new(),
                nodes: BTreeMap::new(),
            });
            if by == "network-acl" {
                let acl = self.snapshot.tables.network_acls.at(row.index);
                let index = hop.spot.as_ref().and_then(|s| s.pointer.rsplit('/').next()?.parse::<usize>().ok());
                let entry = index.and_then(|i| acl.value.Entries.get(i)).and_then(|e| e.RuleNumber);
                draft.denials.push(Denial {
                    egress: direction == "egress",
                    number: entry.unwrap_or(LAST),
                    inside: probe.inside,
                    ports: if answer { (1024, 65535) } else { (draft.port, draft.port) },
                });
            }
            draft.inside &= probe.inside;
            draft.idle &= placement.idle;
            draft.what.insert(probe.what.clone());
            draft.subnets.insert(placement.subnet.row, placement.subnet);
            draft.nodes.extend(placement.nodes.iter().map(|n| (n.row, *n)));
        }
    }
}

impl Cluster {
    /// What a trace lacks to be decided, when something was not recorded.
    pub(super) fn unread(&self, trace: &Trace) -> Option<Missing> {
        let hop = trace.forward.iter().chain(&trace.back).find(|h| h.verdict == Verdict::Unknown)?;
        self.unread_note(hop.note.as_deref()?)
    }

    /// The read behind the note of an unknown hop.
    pub fn unread_note(&self, note: &str) -> Option<Missing> {
        if !note.contains("not recorded") {
            return None;
        }
        let read = if note.contains("ACL") {
            "ec2:DescribeNetworkAcls"
        } else if note.contains("route table") {
            "ec2:DescribeRouteTables"
        } else if note.contains("entries of") {
            "ec2:GetManagedPrefixListEntries"
        } else {
            "ec2:DescribeSecurityGroups"
        };
        let whole = self.snapshot.missing(read, None);
        let reason =
            if self.snapshot.has(read) || whole.reason == "not recorded" { note.to_owned() } else { whole.reason };
        Some(Missing { read: read.to_owned(), reason })
    }
}
