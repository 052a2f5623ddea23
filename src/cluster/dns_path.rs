//! Whether questions reach CoreDNS: every kind of client to every CoreDNS pod, through the packet engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Cluster;
use super::acl_gap::AclGap;
use super::pods::{PodClass, PodKind, is_primary};
use super::reach::Reach;
use crate::network::{Disposition, End, Flow, Hop, Trace, Verdict};
use crate::shape::ec2::{NetworkAcl, NetworkInterface, SecurityGroup, Vpc};
use crate::shape::k8s::Pod;
use crate::shape::{Described, Link, Reflect, Row, Str, Type, View, derived};
use crate::snapshot::{Known, Missing, Object, Rec, TableId};

/// A reference to a recorded object of whatever shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnyLink(pub Row);

impl Reflect for AnyLink {
    const TYPE: Type = Type::Any;
    fn view(&self) -> View<'_> {
        View::Row(self.0)
    }
}

derived! {
    /// An object that keeps questions from CoreDNS, or CoreDNS from what it needs.
    DnsPath {
        /// `coredns`: clients to CoreDNS; `api`: CoreDNS to the API server; `resolver`: to a resolver of the DHCP
        /// options or of the Corefile.
        kind: Str,
        /// The object that decides.
        culprit: AnyLink,
        /// `SecurityGroup`, `NetworkAcl`, `RouteTable` ...
        culpritKind: Str,
        group: Option<Link<SecurityGroup>>,
        acl: Option<Link<NetworkAcl>>,
        /// `ingress` or `egress`.
        direction: Str,
        /// Who is kept away, for people.
        clients: Vec<Str>,
        /// Groups of the clients.
        clientGroups: Vec<Link<SecurityGroup>>,
        /// Groups of the other side.
        serverGroups: Vec<Link<SecurityGroup>>,
        /// What cannot be reached: `CoreDNS`, `10.0.0.2` ...
        target: Str,
        /// `udp`, `tcp`, `udp and tcp`.
        protocols: Str,
        /// How many of the targets are kept away from some client, and of how many.
        blocked: i64,
        servers: i64,
        /// Whether somebody suffers now, or only who comes later.
        now: bool,
        affected: Vec<AnyLink>,
        /// All who ask do so by TCP: NodeLocal DNSCache does on behalf of the pods of its node.
        overTcp: bool,
        /// What the network ACL does not let through, when one decides.
        gaps: Vec<AclGap>,
        reach: Reach,
    }

    /// An object that keeps CoreDNS from a resolver of the DHCP options or of the Corefile.
    ResolverPath { path: DnsPath }
}

/// One kind of client.
pub(super) struct Client {
    pub ends: Vec<(End, Option<Row>)>,
    /// An end of its node that asks the API server, for "is all shut?".
    pub base: Option<End>,
    pub groups: Vec<Str>,
    pub name: String,
    pub now: bool,
    /// NodeLocal DNSCache asks for them, by TCP (its `force_tcp`).
    pub over_tcp: bool,
    pub affected: Vec<Row>,
}

/// One blocked pair.
struct Blocked {
    trace: Trace,
    protocol: &'static str,
    server: usize,
}

/// At most this many pods of a class are asked; the rest differs from them by address only.
pub(super) const SAMPLES: usize = 12;

pub(super) fn sample<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(most).max(1);
    all.iter().step_by(step)
}

impl Cluster {
    pub(super) fn interface(&self, row: Row) -> &NetworkInterface {
        self.snapshot.tables.network_interfaces.at(row.index).value
    }

    pub(super) fn end(&self, row: Row, address: IpAddr) -> End {
        End::Interface { id: self.interface(row).NetworkInterfaceId.clone(), address: Some(address) }
    }

    fn subnet_of(&self, end: &End) -> Str {
        match end {
            End::Interface { id, .. } => {
                self.snapshot.tables.network_interfaces.get(id).map(|i| i.value.SubnetId.clone()).unwrap_or_default()
            }
            End::Hypothetical { subnet, .. } => subnet.clone(),
            _ => Str::default(),
        }
    }

    fn instance_of(&self, row: Row) -> Option<&str> {
        let attachment = self.interface(row).Attachment.as_ref()?;
        Some(attachment.InstanceId.as_str()).filter(|i| !i.is_empty())
    }

    /// Where CoreDNS answers: its pods, by class.
    pub(super) fn coredns_classes(&self) -> Known<Vec<PodClass>> {
        self.snapshot.table::<NetworkInterface>()?;
        Ok(self.pod_classes(self.coredns_pods()?.into_iter()))
    }

    /// What keeps clients from CoreDNS.
    pub fn dns_paths(&self) -> Known<Vec<DnsPath>> {
        let servers = self.coredns_classes()?;
        let total: usize = servers.iter().map(|s| s.ends.len()).sum();
        if total == 0 {
            // Pods that stand outside the VPC's interfaces (an overlay) cannot be judged.
            let placed = self.coredns_pods()?.into_iter().find(|p| !p.status.podIP.is_empty());
            return placed.map_or(Ok(Vec::new()), |p| self.pod_place(p.value).map(|_| Vec::new()));
        }
        let clients = self.dns_clients()?;
        let mut found: BTreeMap<(Row, Str), DnsPath> = BTreeMap::new();
        let mut hit: BTreeMap<(Row, Str), (BTreeSet<usize>, BTreeSet<&'static str>)> = BTreeMap::new();
        let (mut decided, mut unknown) = (false, None);
        for client in &clients {
            let mut blocked: Vec<Blocked> = Vec::new();
            for (number, server) in servers.iter().enumerate() {
                for protocol in ["udp", "tcp"] {
                    let mut pairs = client
                        .ends
                        .iter()
                        .flat_map(|c| sample(&server.ends, 4).map(move |s| (c, s)))
                        .filter(|((_, from), (to, _))| !self.same_node(*from, *to, server.kind));
                    let stopped = pairs.find_map(|((from, _), (to, address))| {
                        let flow = question(protocol, from.clone(), self.end(*to, *address));
                        match self.network.decide(&flow) {
                            Disposition::Blocked => Some(self.network.trace(&self.snapshot, &flow)),
                            Disposition::Reachable => {
                                decided = true;
                                None
                            }
                            Disposition::Unknown => {
                                if unknown.is_none() {
                                    unknown = Some(self.network.trace(&self.snapshot, &flow));
                                }
                                None
                            }
                        }
                    });
                    if let Some(trace) = stopped {
                        decided = true;
                        blocked.push(Blocked { trace, protocol, server: number });
                    }
                }
            }
            if blocked.is_empty() {
                continue;
            }
            let shut = client.base.as_ref().map(|b| self.keeps_from_api(b)).unwrap_or_default();
            for one in blocked {
                let Some((hop, culprit)) = self.culprit(&one.trace) else { continue };
                if hop.deciders.iter().any(|d| shut.contains(d)) {
                    continue;
                }
                let direction = Str::const_new(if hop.step.ends_with("ingress") { "ingress" } else { "egress" });
                let key = (culprit, direction.clone());
                let server = &servers[one.server];
                let path = found.entry(key.clone()).or_insert_with(|| {
                    self.new_dns_path("coredns", "CoreDNS", culprit, direction, &one.trace, &server.groups)
                });
                self.add_client(path, client);
                if culprit.table == TableId::NetworkAcls {
                    let from = client.ends.first().map(|(e, _)| self.subnet_of(e)).unwrap_or_default();
                    let ipv6 = server.ends.first().is_some_and(|e| e.1.is_ipv6());
                    let acl = self.snapshot.tables.network_acls.at(culprit.index);
                    let more = self.dns_acl_gaps(acl, &from, &server.subnet, ipv6);
                    path.gaps.extend(more.into_iter().filter(|g| !path.gaps.contains(g)).collect::<Vec<_>>());
                }
                let mine = self.group_links(server.groups.iter().map(Str::as_str));
                path.serverGroups
                    .extend(mine.into_iter().filter(|g| !path.serverGroups.contains(g)).collect::<Vec<_>>());
                let counted = hit.entry(key).or_default();
                counted.0.insert(one.server);
                counted.1.insert(one.protocol);
            }
        }
        if !decided && let Some(trace) = unknown {
            return Err(self.unclear(&trace));
        }
        for (key, path) in &mut found {
            if let Some((classes, protocols)) = hit.get(key) {
                path.blocked = classes.iter().map(|&c| servers[c].ends.len() as i64).sum();
                path.servers = total as i64;
                path.protocols = Str::const_new(match (protocols.contains("udp"), protocols.contains("tcp")) {
                    (true, true) => "udp and tcp",
                    (true, false) => "udp",
                    _ => "tcp",
                });
            }
        }
        Ok(found.into_values().collect())
    }

    /// What keeps CoreDNS from the API server although its nodes get there: groups of pods, subnets of pods.
    pub fn coredns_api_paths(&self) -> Known<Vec<DnsPath>> {
        let servers = self.coredns_classes()?;
        let control = self.control_plane_interfaces()?;
        let mut found: BTreeMap<(Row, Str), DnsPath> = BTreeMap::new();
        for class in servers.iter().filter(|c| c.kind != PodKind::Host) {
            for (row, address) in sample(&class.ends, 4) {
                let node = self.instance_of(*row).map(|i| self.interfaces_of_instance(i)).unwrap_or_default();
                let primary = node.iter().find(|i| is_primary(i.value));
                let apart = primary.is_none_or(|p| {
                    p.SubnetId != class.subnet || {
                        let mut groups: Vec<&Str> = p.value.Groups.iter().map(|g| &g.GroupId).collect();
                        groups.sort();
                        groups != class.groups.iter().collect::<Vec<_>>()
                    }
                });
                if !apart || class.kind == PodKind::Fargate {
                    continue;
                }
                let shut =
                    primary.map(|p| self.keeps_from_api(&End::interface(&p.NetworkInterfaceId))).unwrap_or_default();
                for target in &control {
                    let flow = Flow::tcp(self.end(*row, *address), End::interface(&target.NetworkInterfaceId), 443);
                    if self.network.decide(&flow) != Disposition::Blocked {
                        continue;
                    }
                    let trace = self.network.trace(&self.snapshot, &flow);
                    let Some((hop, culprit)) = self.culprit(&trace) else { continue };
                    if hop.deciders.iter().any(|d| shut.contains(d)) && hop.step.starts_with("network") {
                        continue;
                    }
                    let direction = Str::const_new(if hop.step.ends_with("ingress") { "ingress" } else { "egress" });
                    let groups: Vec<Str> = target.Groups.iter().map(|g| g.GroupId.clone()).collect();
                    let path = found.entry((culprit, direction.clone())).or_insert_with(|| {
                        self.new_dns_path("api", "the API server", culprit, direction, &trace, &groups)
                    });
                    let client = Client {
                        ends: Vec::new(),
                        base: None,
                        groups: class.groups.clone(),
                        name: "CoreDNS".to_owned(),
                        now: true,
                        over_tcp: false,
                        affected: class.pods.clone(),
                    };
                    self.add_client(path, &client);
                    path.protocols = Str::const_new("tcp");
                    path.servers = control.len() as i64;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// What keeps CoreDNS (or, where it does not run yet, the nodes) from resolvers that people set: those of the
    /// DHCP options, and upstreams of the Corefile.
    pub fn resolver_paths(&self) -> Known<Vec<ResolverPath>> {
        let mut targets: Vec<(IpAddr, bool)> = Vec::new();
        for text in self.custom_resolvers()? {
            targets.extend(text.parse().ok().map(|a| (a, true)));
        }
        targets.extend(self.corefile_upstreams());
        // kube-proxy turns the address of a service into that of a pod before the packet leaves.
        let services = self.service_ranges();
        targets.retain(|(a, _)| !self.is_vpc_resolver(*a) && !services.iter().any(|r| r.contains(a)));
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let classes = self.coredns_classes()?;
        let mut found: BTreeMap<(Row, Str), DnsPath> = BTreeMap::new();
        let (mut reached, mut unknown) = (BTreeSet::new(), None);
        for class in &classes {
            for pod in sample(&class.pods, 4) {
                let pod: Rec<'_, Pod> = self.snapshot.tables.pods.at(pod.index);
                let Ok(place) = self.pod_place(pod.value) else { continue };
                for (target, root) in &targets {
                    let (row, address) = self.pod_leaves(&place, *target)?;
                    let mut flow = question("udp", self.end(row, address), End::Address(*target));
                    if row != place.interface.row {
                        flow.client_ports = crate::network::TRANSLATED_CLIENT_PORTS;
                    }
                    let verdict = self.network.decide(&flow);
                    if verdict == Disposition::Reachable {
                        reached.insert(*target);
                        continue;
                    }
                    let trace = self.network.trace(&self.snapshot, &flow);
                    if verdict == Disposition::Unknown {
                        unknown = unknown.or(Some((*target, trace)));
                        continue;
                    }
                    // Where no object on the way is wrong, the address is: no gateway takes it.
                    let named = || self.names_resolver(*target, *root).map(|row| (None, row));
                    let found_there = self.culprit(&trace).map(|(hop, row)| (Some(hop), row)).or_else(named);
                    let Some((hop, culprit)) = found_there else { continue };
                    let inward = hop.is_some_and(|h| h.step.ends_with("ingress"));
                    let direction = Str::const_new(if inward { "ingress" } else { "egress" });
                    let path = found.entry((culprit, direction.clone())).or_insert_with(|| {
                        self.new_dns_path("resolver", &target.to_string(), culprit, direction, &trace, &[])
                    });
                    path.now |= *root;
                    let client = Client {
                        ends: Vec::new(),
                        base: None,
                        groups: class.groups.clone(),
                        name: "CoreDNS".to_owned(),
                        now: false,
                        over_tcp: false,
                        affected: class.pods.clone(),
                    };
                    self.add_client(path, &client);
                    path.protocols = Str::const_new("udp");
                }
            }
        }
        match unknown {
            Some((target, trace)) if found.is_empty() && !reached.contains(&target) => Err(self.unclear(&trace)),
            _ => Ok(found.into_values().map(|path| ResolverPath { path }).collect()),
        }
    }

    /// The object that names a resolver: the Corefile's config map, or the VPC's DHCP options.
    fn names_resolver(&self, address: IpAddr, root: bool) -> Option<Row> {
        let tables = &self.snapshot.tables;
        if self.corefile_upstreams().contains(&(address, root)) {
            return tables.config_maps.get("kube-system/coredns").map(|m| m.row);
        }
        let vpc = self.snapshot.find::<Vpc>(&self.vpc_id().ok()?).ok()?;
        tables.dhcp_options.get(&vpc.DhcpOptionsId).map(|o| o.row)
    }

    /// Where CoreDNS forwards to, as far as known: the VPC's own resolver, those of the DHCP options, of the Corefile.
    pub(super) fn upstream_resolvers(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.corefile_upstreams().into_iter().map(|u| u.0).collect();
        let custom = self.custom_resolvers().unwrap_or_default();
        all.extend(custom.iter().filter_map(|c| c.parse::<IpAddr>().ok()));
        if custom.is_empty() {
            all.push(IpAddr::from([169, 254, 169, 253]));
            all.extend(self.is_ipv6().then(|| IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253])));
            let vpc = self.vpc_id().ok().and_then(|id| self.snapshot.find::<Vpc>(&id).ok());
            let base = vpc.and_then(|v| v.value.CidrBlock.parse::<ipnet::Ipv4Net>().ok());
            all.extend(base.and_then(|b| u32::from(b.network()).checked_add(2)).map(|a| IpAddr::V4(a.into())));
        }
        all
    }

    /// Addresses that the Corefile forwards to, and whether for all names.
    fn corefile_upstreams(&self) -> Vec<(IpAddr, bool)> {
        let map = self.snapshot.tables.config_maps.get("kube-system/coredns");
        let Some(text) = map.and_then(|m| m.value.data.get("Corefile")) else { return Vec::new() };
        let Ok(blocks) = super::corefile::parse(text) else { return Vec::new() };
        let mut all = Vec::new();
        for block in &blocks {
            let root = block.zones().any(|z| z == ".");
            for forward in block.directives.iter().filter(|d| d.name == "forward") {
                let whole = root && forward.arguments.first().is_some_and(|z| z == ".");
                for upstream in forward.arguments.iter().skip(1) {
                    let bare = upstream.trim_start_matches("dns://");
                    let host = bare.strip_suffix(":53").unwrap_or(bare);
                    all.extend(host.parse::<IpAddr>().ok().map(|a| (a, whole)));
                }
            }
        }
        all.retain(|(a, _)| !a.is_loopback());
        all
    }

    /// Packets between pods of one node do not reach the VPC's filters, branch interfaces aside.
    fn same_node(&self, from: Option<Row>, to: Row, kind: PodKind) -> bool {
        let Some(from) = from else { return false };
        if kind == PodKind::Branch || self.interface(from).InterfaceType == "branch" {
            return false;
        }
        from == to || self.instance_of(from).is_some_and(|i| self.instance_of(to) == Some(i))
    }

    /// The objects that keep a node from the API server as well: other rules tell of them.
    fn keeps_from_api(&self, from: &End) -> Vec<Row> {
        let mut shut = Vec::new();
        let eks = self.eks();
        let private = eks.as_ref().is_ok_and(|e| e.value.resourcesVpcConfig.endpointPrivateAccess == Some(true));
        let mut flows = Vec::new();
        if private {
            for target in self.control_plane_interfaces().unwrap_or_default() {
                flows.push(Flow::tcp(from.clone(), End::interface(&target.NetworkInterfaceId), 443));
            }
        } else {
            flows.push(Flow::tcp(from.clone(), End::Internet, 443));
        }
        for flow in flows {
            if self.network.decide(&flow) == Disposition::Blocked {
                let trace = self.network.trace(&self.snapshot, &flow);
                let hops = trace.forward.into_iter().chain(trace.back);
                shut.extend(hops.filter(|h| h.verdict == Verdict::Blocked).flat_map(|h| h.deciders));
            }
        }
        shut
    }

    /// The first blocker of a trace and the object of it that should change.
    fn culprit<'t>(&self, trace: &'t Trace) -> Option<(&'t Hop, Row)> {
        let hop = trace.forward.iter().chain(&trace.back).find(|h| h.verdict == Verdict::Blocked)?;
        let cluster_group =
            self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        let is_cluster_group = |row: &&Row| {
            row.table == TableId::SecurityGroups
                && self.snapshot.tables.security_groups.at(row.index).GroupId == cluster_group
        };
        let row = hop.deciders.iter().find(is_cluster_group).or(hop.deciders.first())?;
        Some((hop, *row))
    }

    fn new_dns_path(
        &self,
        kind: &'static str,
        target: &str,
        culprit: Row,
        direction: Str,
        trace: &Trace,
        server_groups: &[Str],
    ) -> DnsPath {
        fn link<T: Object + Described>(row: Row) -> Option<Link<T>> {
            (row.table == T::TABLE).then(|| Link::new(row))
        }
        DnsPath {
            kind: Str::const_new(kind),
            culprit: AnyLink(culprit),
            culpritKind: Str::const_new(culprit.table.info().shape),
            group: link(culprit),
            acl: link(culprit),
            direction,
            clients: Vec::new(),
            clientGroups: Vec::new(),
            serverGroups: self.group_links(server_groups.iter().map(Str::as_str)),
            target: Str::new(target),
            protocols: Str::default(),
            blocked: 0,
            servers: 0,
            now: false,
            affected: Vec::new(),
            overTcp: true,
            gaps: Vec::new(),
            reach: Reach::new(trace.clone()),
        }
    }

    fn add_client(&self, path: &mut DnsPath, client: &Client) {
        let name = Str::new(&client.name);
        if !path.clients.contains(&name) {
            path.clients.push(name);
        }
        let groups = self.group_links(client.groups.iter().map(Str::as_str));
        path.clientGroups.extend(groups.into_iter().filter(|g| !path.clientGroups.contains(g)).collect::<Vec<_>>());
        path.now |= client.now;
        path.overTcp &= client.over_tcp;
        let known: BTreeSet<Row> = path.affected.iter().map(|a| a.0).collect();
        path.affected.extend(client.affected.iter().filter(|r| !known.contains(r)).map(|r| AnyLink(*r)));
    }
}

fn question(protocol: &str, from: End, to: End) -> Flow {
    if protocol == "udp" { Flow::udp(from, to, 53) } else { Flow::tcp(from, to, 53) }
}

impl Cluster {
    fn unclear(&self, trace: &Trace) -> Missing {
        self.unread(trace).unwrap_or_else(|| {
            let hop = trace.forward.iter().chain(&trace.back).find(|h| h.verdict == Verdict::Unknown);
            let reason = hop.and_then(|h| h.note.clone()).unwrap_or_else(|| "the path is not known".to_owned());
            Missing { read: "ec2:DescribeNetworkInterfaces".to_owned(), reason }
        })
    }
}
