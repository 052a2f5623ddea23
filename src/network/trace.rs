//! From a flow to its verdict: the ends, the way there, the way back.

use std::borrow::Cow;
use std::net::IpAddr;

use super::address::{Family, address as at_bits, bits, is_instance_service, is_public, nat64, span};
use super::explain::plain;
use super::filter::{EGRESS, INGRESS};
use super::flow::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, End, Flow, Service, is_any_public};
use super::gateway::{absent, translated};
use super::model::{Kind, NONE, Network};
use super::route::Lookup;
use super::walk::{Arrival, At, Crossing, Host, Packet, Sender, Walk};
use super::{Disposition, Hop, Target, Trace, Verdict};
use crate::snapshot::Snapshot;

/// More free addresses of a hypothetical end's subnet than this are not tried one by one.
const PIECES: usize = 512;

/// Where a flow starts.
#[derive(Debug, Clone)]
enum Origin<'n> {
    Host(Host<'n>),
    Internet(IpAddr),
    /// A private address that nothing in the snapshot explains.
    Elsewhere(IpAddr),
    Missing(String),
}

/// Where it is to end.
#[derive(Debug, Clone)]
enum Wanted<'n> {
    Host(Host<'n>),
    Address(IpAddr),
    Missing(String),
}

impl Network {
    /// Follows the packet and its answer and tells every step.
    pub fn trace(&self, snapshot: &Snapshot, flow: &Flow) -> Trace {
        let (walk, disposition) = self.evaluate(Some(snapshot), flow);
        told(flow, walk, disposition)
    }

    /// The same without the ends' security groups.
    pub(super) fn trace_bare(&self, snapshot: &Snapshot, flow: &Flow) -> Trace {
        let walk = self.run(Walk { bare: true, ..Walk::new(self, Some(snapshot)) }, flow);
        let disposition = walk.disposition();
        told(flow, walk, disposition)
    }

    /// The verdict without the steps.
    pub fn decide(&self, flow: &Flow) -> Disposition {
        self.evaluate(None, flow).1
    }

    fn evaluate<'n>(&'n self, snapshot: Option<&'n Snapshot>, flow: &Flow) -> (Walk<'n>, Disposition) {
        let pieces = self.pieces(flow);
        if pieces.len() <= 1 {
            let walk = self.run(Walk::new(self, snapshot), pieces.first().unwrap_or(flow));
            let disposition = walk.disposition();
            return (walk, disposition);
        }
        // An end that is any free address: one verdict for all of them, or none.
        let verdicts: Vec<Disposition> =
            pieces.iter().map(|f| self.run(Walk::new(self, None), f).disposition()).collect();
        let same = verdicts.iter().all(|v| *v == verdicts[0]);
        let shown = verdicts.iter().position(|v| *v == Disposition::Blocked).unwrap_or(0);
        let mut walk = self.run(Walk::new(self, snapshot), &pieces[shown]);
        if same {
            return (walk, verdicts[0]);
        }
        if let Some(hop) = walk.forward.last_mut() {
            hop.note = Some(format!(
                "the answer differs among the free addresses of the subnet; this is for {}",
                name(&pieces[shown].source)
            ));
        }
        (walk, Disposition::Unknown)
    }

    /// The flow once for each kind of free address of its hypothetical ends.
    fn pieces(&self, flow: &Flow) -> Vec<Flow> {
        let mut flows = vec![flow.clone()];
        for destination in [false, true] {
            let end = if destination { &flow.destination } else { &flow.source };
            let other = if destination { &flow.source } else { &flow.destination };
            let End::Hypothetical { subnet, address: None, .. } = end else { continue };
            let family = self.family_of(other).or_else(|| self.family_of(end)).unwrap_or(Family::V4);
            let addresses = self.free_kinds(subnet, family);
            flows = flows
                .iter()
                .flat_map(|f| addresses.iter().map(move |a| (f, *a)))
                .map(|(f, a)| {
                    let mut f = f.clone();
                    let end = if destination { &mut f.destination } else { &mut f.source };
                    if let End::Hypothetical { address, .. } = end {
                        *address = Some(a);
                    }
                    f
                })
                .take(PIECES)
                .collect();
        }
        flows
    }

    /// One free address of each part of the subnet that some rule tells from the rest.
    fn free_kinds(&self, subnet: &str, family: Family) -> Vec<IpAddr> {
        let Some(&number) = self.subnet_ids.get(subnet) else { return Vec::new() };
        let subnet = &self.subnets[number as usize];
        let Some(range) = subnet.cidrs.iter().find(|c| Family::of(c.addr()) == family) else { return Vec::new() };
        let (first, last) = span(range);
        let cuts = self.cuts(first, last, family);
        let mut found = Vec::new();
        for (i, &start) in cuts.iter().enumerate() {
            let end = cuts.get(i + 1).map_or(last, |n| n - 1);
            let free = (start..=end)
                .take(4096)
                .map(|b| at_bits(family, b))
                .find(|&a| !super::address::is_reserved(range, a) && self.interface_at(subnet.vpc, a).is_none());
            found.extend(free);
        }
        if found.is_empty() {
            // A full subnet: an address is an address.
            found.push(at_bits(family, (first + 4).min(last)));
        }
        found
    }

    /// Where ranges of rules, entries and routes begin or end inside `first..=last`; the first is `first`.
    pub(super) fn cuts(&self, first: u128, last: u128, family: Family) -> Vec<u128> {
        let mut cuts = vec![first];
        let mut cut = |net: &super::address::Cidr| {
            if Family::of(net.addr()) == family {
                let (a, b) = span(net);
                cuts.extend([a, b.saturating_add(1)].into_iter().filter(|c| first < *c && *c <= last));
            }
        };
        self.acls.iter().flat_map(|a| a.entries.iter().flatten()).filter_map(|e| e.cidr.as_ref()).for_each(&mut cut);
        self.tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.transit_tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.lists.iter().flat_map(|l| l.cidrs.iter().flatten()).for_each(&mut cut);
        for rule in self.groups.iter().flat_map(|g| g.rules.iter().flatten()) {
            if let super::model::Peer::Cidr(net) = &rule.peer {
                cut(net);
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The family that an end settles, if it does.
    fn family_of(&self, end: &End) -> Option<Family> {
        match end {
            End::Address(a) => Some(Family::of(*a)),
            End::Interface { address: Some(a), .. } | End::Hypothetical { address: Some(a), .. } => {
                Some(Family::of(*a))
            }
            End::Interface { id, address: None } => {
                let i = &self.interfaces[*self.interface_ids.get(id)? as usize];
                match (i.primary_v4, i.primary_v6) {
                    (Some(_), None) => Some(Family::V4),
                    (None, Some(_)) => Some(Family::V6),
                    _ => None,
                }
            }
            End::Hypothetical { subnet, .. } => {
                let s = &self.subnets[*self.subnet_ids.get(subnet)? as usize];
                s.cidrs.first().map(|c| Family::of(c.addr()))
            }
            End::Internet => None,
        }
    }

    fn run<'n>(&'n self, mut walk: Walk<'n>, flow: &Flow) -> Walk<'n> {
        let family = self
            .family_of(&flow.destination)
            .or_else(|| self.family_of(&flow.source))
            .unwrap_or(if flow.protocol == super::Protocol::Icmpv6 { Family::V6 } else { Family::V4 });
        let wanted = self.wanted(&flow.destination, family);
        let origin = self.origin(&flow.source, family, &wanted);
        let to = match &wanted {
            Wanted::Host(host) => host.address,
            Wanted::Address(address) => *address,
            Wanted::Missing(id) => {
                let id = id.clone();
                walk.lose(|net| absent(id, "destination", net.missing.interfaces.as_ref()));
                return walk;
            }
        };
        if let Wanted::Host(host) = &wanted {
            walk.goal = Some(host.clone());
        }
        let service = Service::request(flow, Family::of(to));
        let mut packet = Packet { from: to, to, service, sender: Sender::Lost };
        let mut crossings = Vec::new();
        let arrival = match &origin {
            Origin::Missing(id) => {
                let id = id.clone();
                walk.lose(|net| absent(id, "source", net.missing.interfaces.as_ref()));
                return walk;
            }
            Origin::Host(host) => walk.start(host, &mut packet, &mut crossings),
            Origin::Internet(from) => {
                packet.from = *from;
                walk.arrive_from_internet(&wanted, &mut packet, &mut crossings)
            }
            Origin::Elsewhere(from) => {
                packet.from = *from;
                walk.lose(|_| plain(from.to_string(), "source", "no recorded interface has this address"));
                let Wanted::Host(host) = &wanted else { return walk };
                walk.enter(host.subnet, &packet);
                packet.sender = Sender::Unknown;
                Some(Arrival::Inside { vpc: host.vpc, subnet: host.subnet })
            }
        };
        let Some(arrival) = arrival else { return walk };
        if walk.decided() {
            return walk;
        }
        let translated_ports = translated();
        let nat = crossings.iter().any(|c| matches!(c, Crossing::Nat { .. }));
        let ports = if nat { &translated_ports } else { &flow.client_ports };
        if walk.deliver(arrival, &wanted, &packet, ports) {
            walk.answer(flow, service, arrival, packet, crossings, &origin);
        }
        walk
    }

    fn wanted(&self, end: &End, family: Family) -> Wanted<'_> {
        match end {
            End::Internet => Wanted::Address(if family == Family::V4 { ANY_PUBLIC_V4 } else { ANY_PUBLIC_V6 }),
            End::Address(address) => Wanted::Address(*address),
            End::Interface { id, address } => match self.interface_end(id, *address, family) {
                Some(host) if address.is_some_and(|a| a != host.address) => {
                    Wanted::Address(address.unwrap_or(host.address))
                }
                Some(host) => Wanted::Host(host),
                None => Wanted::Missing(id.to_string()),
            },
            End::Hypothetical { .. } => match self.hypothetical(end) {
                Some(host) => Wanted::Host(host),
                None => Wanted::Missing(name(end)),
            },
        }
    }

    fn origin<'n>(&'n self, end: &End, family: Family, wanted: &Wanted<'n>) -> Origin<'n> {
        match end {
            End::Internet => Origin::Internet(if family == Family::V4 { ANY_PUBLIC_V4 } else { ANY_PUBLIC_V6 }),
            End::Interface { id, address } => match self.interface_end(id, *address, family) {
                Some(host) => Origin::Host(host),
                None => Origin::Missing(id.to_string()),
            },
            End::Hypothetical { .. } => match self.hypothetical(end) {
                Some(host) => Origin::Host(host),
                None => Origin::Missing(name(end)),
            },
            End::Address(address) => self.somebody(*address, wanted),
        }
    }

    /// Whoever has the address.
    fn somebody<'n>(&'n self, address: IpAddr, wanted: &Wanted<'n>) -> Origin<'n> {
        let near = match wanted {
            Wanted::Host(host) => Some(host.vpc),
            _ => None,
        };
        let mut vpcs = near.into_iter().chain((0..self.vpcs.len() as u32).filter(|v| Some(*v) != near));
        if let Some(i) = vpcs.clone().find_map(|v| self.interface_at(v, address)) {
            return Origin::Host(self.host(i, address));
        }
        if let Some((i, private)) = self.public_at(address) {
            return Origin::Host(self.host(i, private));
        }
        if let Some((vpc, subnet)) = vpcs.find_map(|v| Some((v, self.subnet_at(v, address)?))) {
            return Origin::Host(Host {
                interface: NONE,
                label: Cow::Owned(address.to_string()),
                vpc,
                subnet,
                groups: None,
                address,
                public: None,
                kind: Kind::Host,
            });
        }
        if is_public(address) { Origin::Internet(address) } else { Origin::Elsewhere(address) }
    }

    fn interface_end(&self, id: &str, address: Option<IpAddr>, family: Family) -> Option<Host<'_>> {
        let number = *self.interface_ids.get(id)?;
        let i = &self.interfaces[number as usize];
        let primary = match family {
            Family::V4 => i.primary_v4.map(IpAddr::V4).or(i.primary_v6.map(IpAddr::V6)),
            Family::V6 => i.primary_v6.map(IpAddr::V6).or(i.primary_v4.map(IpAddr::V4)),
        };
        // A public address of its own means the private one behind it.
        let own = address.map(|a| self.public_at(a).filter(|p| p.0 == number && a.is_ipv4()).map_or(a, |p| p.1));
        Some(self.host(number, own.or(primary)?))
    }

    fn hypothetical(&self, end: &End) -> Option<Host<'_>> {
        let End::Hypothetical { vpc, subnet, groups, address, public } = end else { return None };
        let number = *self.subnet_ids.get(subnet)?;
        let s = &self.subnets[number as usize];
        let address = (*address).or_else(|| {
            let (first, last) = span(s.cidrs.first()?);
            Some(at_bits(Family::of(s.cidrs.first()?.addr()), (first + 4).min(last)))
        })?;
        let mut numbers: Vec<u32> = groups.iter().map(|g| self.group_ids.get(g).copied().unwrap_or(NONE)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let public = if address.is_ipv6() { Some(address) } else { public.then_some(ANY_PUBLIC_V4) };
        Some(Host {
            interface: NONE,
            label: Cow::Owned(subnet.to_string()),
            vpc: self.vpc_ids.get(vpc).copied().unwrap_or(s.vpc),
            subnet: number,
            groups: Some(Cow::Owned(numbers)),
            address,
            public,
            kind: Kind::Host,
        })
    }

    /// Whether neither groups nor ACLs filter traffic to the address
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>,
    /// <https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html>).
    fn is_exempt(&self, host: &Host, to: IpAddr) -> bool {
        let resolver = || {
            let vpc = self.vpcs.get(host.vpc as usize)?;
            Some(bits(to) == bits(vpc.primary?.network()) + 2 && to.is_ipv4())
        };
        let router = || {
            let s = self.subnets.get(host.subnet as usize)?;
            Some(s.cidrs.iter().any(|c| c.contains(&to) && to.is_ipv4() && bits(to) == span(c).0 + 1))
        };
        is_instance_service(to) || resolver().unwrap_or(false) || router().unwrap_or(false)
    }

    /// The groups of the destination as egress rules of the source see them: in its VPC or an active peer of the
    /// same Region (<https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>).
    fn groups_at<'w>(&self, walk: &Walk<'w>, host: &Host, to: IpAddr) -> Sender<'w> {
        let known = |host: Option<Host<'w>>| match host {
            Some(Host { groups: Some(groups), .. }) => Sender::Groups(groups),
            _ => Sender::Unknown,
        };
        if self.vpc_holds(host.vpc, to) || self.subnet_at(host.vpc, to).is_some() {
            return known(walk.host(host.vpc, to));
        }
        let table = self.table_of(host.subnet);
        let Lookup::Found(i) = self.look_up(table, host.vpc, to) else { return Sender::Lost };
        let route = &self.tables[table as usize].routes[i as usize];
        let Target::Peering(_) = route.target else { return Sender::Lost };
        let Some(peering) = self.peerings.get(route.at as usize) else { return Sender::Unknown };
        let [a, b] = &peering.sides;
        let other = if a.vpc == host.vpc { b } else { a };
        if a.region != b.region {
            return Sender::Lost;
        }
        known(walk.host(other.vpc, to))
    }
}

impl<'n> Walk<'n> {
    pub fn disposition(&self) -> Disposition {
        match (self.blocked, self.unknown) {
            (true, _) => Disposition::Blocked,
            (false, true) => Disposition::Unknown,
            (false, false) => Disposition::Reachable,
        }
    }

    /// From an interface to wherever its packet gets.
    fn start(&mut self, host: &Host<'n>, packet: &mut Packet<'n>, crossings: &mut Vec<Crossing>) -> Option<Arrival> {
        packet.from = host.address;
        packet.sender = host.groups.clone().map_or(Sender::Unknown, Sender::Groups);
        let to = packet.to;
        if self.net.is_exempt(host, to) {
            self.hop(Verdict::Allowed, |_| plain(to.to_string(), "destination", "no filter applies to this address"));
            return None;
        }
        if host.address.is_ipv4() != to.is_ipv4() {
            self.stop(|_| {
                plain(host.label.as_ref(), "source", "has no address of the destination's family")
                    .code("NO_SOURCE_OR_DESTINATION")
            });
            return None;
        }
        if matches!(host.kind, Kind::Nat | Kind::Transit | Kind::Endpoint) {
            let code = if host.kind == Kind::Endpoint { "VPCE_INTRA_VPC_TRAFFIC" } else { "NO_PATH" };
            self.stop(|_| plain(host.label.as_ref(), "source", "starts no connections").code(code));
            return None;
        }
        if host.address == to {
            self.hop(Verdict::Allowed, |_| plain(host.label.as_ref(), "destination", "the packet stays on the host"));
            return None;
        }
        self.origin = Some(host.clone());
        if !self.bare {
            let theirs = self.net.groups_at(self, host, to);
            self.groups(host, EGRESS, to, theirs.peers(), packet.service);
        }
        self.travel(At { vpc: host.vpc, subnet: host.subnet, transit: false }, packet, crossings)
    }

    fn arrive_from_internet(
        &mut self,
        wanted: &Wanted<'n>,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        match wanted {
            Wanted::Host(host) => match host.public {
                Some(public) => {
                    packet.to = public;
                    self.come_in_at(host.vpc, host.subnet, host.address, packet, crossings)
                }
                None => {
                    self.stop(|_| {
                        plain(host.label.as_ref(), "internet gateway", "the destination has no public address")
                            .code("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS")
                    });
                    None
                }
            },
            Wanted::Address(to) => {
                if let Some((interface, private)) = self.net.public_at(*to) {
                    return self.come_in(interface, private, packet, crossings);
                }
                if is_public(*to) {
                    self.lose(|_| plain(to.to_string(), "destination", "no recorded interface has this address"));
                } else {
                    self.stop(|_| {
                        plain(to.to_string(), "internet gateway", "the destination has no public address")
                            .code("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS")
                    });
                }
                None
            }
            Wanted::Missing(_) => None,
        }
    }

    /// Hands the packet to what is there. `false`: nobody answers.
    fn deliver(
        &mut self,
        arrival: Arrival,
        wanted: &Wanted<'n>,
        packet: &Packet<'n>,
        ports: &std::ops::RangeInclusive<u16>,
    ) -> bool {
        let (vpc, subnet) = match (arrival, wanted) {
            (Arrival::Inside { vpc, subnet }, Wanted::Host(host)) if host.vpc != vpc => {
                let _ = subnet;
                self.stop(|net| {
                    let other = net.vpcs.get(vpc as usize).map_or("another VPC", |v| v.id.as_str());
                    plain(host.label.as_ref(), "destination", &format!("the packet ends in {other} instead"))
                        .code("NO_POSSIBLE_DESTINATION")
                });
                return false;
            }
            (Arrival::Inside { vpc, subnet }, _) => (vpc, subnet),
            (Arrival::Outside, Wanted::Host(host)) => {
                self.stop(|_| {
                    plain(host.label.as_ref(), "destination", "the packet leaves to the internet instead")
                        .code("NO_POSSIBLE_DESTINATION")
                });
                return false;
            }
            (Arrival::Outside, _) => {
                let to = packet.to;
                self.hop(Verdict::Allowed, |_| {
                    let at = if is_any_public(to) { "internet".to_owned() } else { to.to_string() };
                    Hop::new(at, "destination")
                });
                return true;
            }
        };
        let Some(host) = self.host(vpc, packet.to) else {
            let to = packet.to;
            self.lose(|net| match &net.missing.interfaces {
                Some(missing) => absent(net.subnet_name(subnet), "destination", Some(missing)),
                None => plain(net.subnet_name(subnet), "destination", &format!("no recorded interface has {to}")),
            });
            return true;
        };
        match host.kind {
            Kind::Nat | Kind::Transit => {
                let what = if host.kind == Kind::Nat { "a NAT gateway" } else { "a transit gateway" };
                self.stop(|net| {
                    let hop =
                        plain(host.label.as_ref(), "destination", &format!("is {what}, which accepts no connections"))
                            .code("NO_POSSIBLE_DESTINATION");
                    match net.interfaces.get(host.interface as usize) {
                        Some(i) => hop.spot(i.row, "/InterfaceType"),
                        None => hop,
                    }
                });
                return false;
            }
            Kind::Appliance => {
                self.lose(|_| plain(host.label.as_ref(), "middlebox", "is an appliance, which decides by itself"));
                return false;
            }
            Kind::Host | Kind::Endpoint | Kind::NetworkLoadBalancer => {}
        }
        self.groups(&host, INGRESS, packet.from, packet.sender.peers(), packet.service);
        if host.kind == Kind::Endpoint
            && let Some(endpoint) = self.net.endpoints.iter().find(|e| e.interfaces.contains(&host.interface))
            && !matches!(endpoint.state.to_ascii_lowercase().as_str(), "available" | "")
        {
            self.stop(|_| {
                plain(endpoint.id.as_str(), "endpoint", &format!("is {}", endpoint.state))
                    .code("BAD_STATE")
                    .spot(endpoint.row, "/State")
            });
        }
        if host.kind == Kind::NetworkLoadBalancer && !self.decided() {
            self.balance(&host, packet, ports);
        }
        true
    }

    /// The way back: swapped ends, no groups, every route and ACL anew, and each translation undone.
    fn answer(
        &mut self,
        flow: &Flow,
        request: Service,
        arrival: Arrival,
        packet: Packet<'n>,
        mut crossings: Vec<Crossing>,
        origin: &Origin<'n>,
    ) {
        if self.decided() {
            return;
        }
        let translated = translated();
        let ports = |below: &[Crossing]| {
            if below.iter().any(|c| matches!(c, Crossing::Nat { .. })) { &translated } else { &flow.client_ports }
        };
        let Some(service) = packet.service.answer(ports(&crossings)) else { return };
        self.returning = true;
        let mut back = Packet { from: packet.to, to: packet.from, service, sender: Sender::Lost };
        let mut at = match arrival {
            Arrival::Inside { vpc, subnet } => Some(At { vpc, subnet, transit: false }),
            Arrival::Outside => None,
        };
        let mut arrived = false;
        let mut at_regional = false;
        while let Some(&crossing) = crossings.last() {
            if self.decided() {
                return;
            }
            match crossing {
                Crossing::Entry { .. } => {
                    let Some(here) = at else { return };
                    match self.travel(here, &mut back, &mut crossings) {
                        Some(Arrival::Outside) => at = None,
                        Some(Arrival::Inside { .. }) => return self.astray(&back),
                        None => return,
                    }
                }
                Crossing::Exit { vpc, subnet, private } => {
                    at = Some(self.come_back(vpc, subnet, private, &mut back));
                    arrived = true;
                }
                Crossing::Nat { nat, at: inside, address, client, asked } => {
                    if !arrived {
                        let Some(here) = at else { return };
                        match self.home(here, &mut back, &mut crossings, at_regional) {
                            Some(Arrival::Inside { vpc, subnet }) if vpc == inside.vpc && subnet == inside.subnet => {}
                            Some(_) => return self.astray(&back),
                            None => return,
                        }
                    }
                    self.hop(Verdict::Allowed, |net| {
                        let nat = &net.nats[nat as usize];
                        Hop::new(nat.id.as_str(), "NAT gateway")
                            .spot(nat.row, "")
                            .note(format!("{address} becomes {client}"))
                    });
                    (back.to, back.from) = (client, asked);
                    let below = &crossings[..crossings.len() - 1];
                    let level =
                        if nat64(asked).is_some() { request } else { Service { icmp: request.icmp, ..packet.service } };
                    let level = if packet.service.protocol == level.protocol || nat64(asked).is_some() {
                        level
                    } else {
                        request
                    };
                    let Some(service) = level.answer(ports(below)) else { return };
                    back.service = service;
                    at = Some(inside);
                    at_regional = self.net.nats[nat as usize].regional;
                    arrived = false;
                }
            }
            crossings.pop();
        }
        let Origin::Host(host) = origin else {
            if let (Origin::Elsewhere(_), Some(here)) = (origin, at) {
                self.travel(here, &mut back, &mut crossings);
            }
            return;
        };
        let Some(here) = at.filter(|_| !arrived) else { return };
        match self.home(here, &mut back, &mut crossings, at_regional) {
            Some(Arrival::Inside { vpc, .. }) if vpc == host.vpc => {}
            Some(_) => self.astray(&back),
            None => {}
        }
    }

    /// On to the client; a regional NAT gateway has no subnet, so it delivers by itself.
    fn home(
        &mut self,
        at: At,
        back: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
        regional: bool,
    ) -> Option<Arrival> {
        if regional && at.subnet == NONE { self.local(at, back) } else { self.travel(at, back, crossings) }
    }

    fn astray(&mut self, back: &Packet) {
        let to = back.to;
        self.stop(|_| {
            plain(to.to_string(), "destination", "the answer ends elsewhere").code("NO_POSSIBLE_DESTINATION")
        });
    }

    /// Whether the address is the flow's own source in this VPC.
    pub fn is_source(&self, at: At, from: IpAddr) -> bool {
        self.origin.as_ref().is_some_and(|o| o.vpc == at.vpc && o.address == from)
    }

    /// The public IPv4 address of a private one in the VPC.
    pub fn source_public(&self, at: At, from: IpAddr) -> Option<IpAddr> {
        if let Some(origin) = &self.origin
            && origin.vpc == at.vpc
            && origin.address == from
        {
            return origin.public;
        }
        self.net.interface_at(at.vpc, from).and_then(|i| self.net.public_of(i, from))
    }
}

fn told(flow: &Flow, walk: Walk, disposition: Disposition) -> Trace {
    Trace {
        from: name(&flow.source),
        to: name(&flow.destination),
        protocol: flow.protocol.plain().to_string(),
        port: flow.port.filter(|_| flow.protocol.plain().has_ports()),
        disposition,
        forward: walk.forward,
        back: walk.back,
    }
}

/// An end as reports name it.
fn name(end: &End) -> String {
    match end {
        End::Interface { id, .. } => id.to_string(),
        End::Address(address) => address.to_string(),
        End::Internet => "internet".to_owned(),
        End::Hypothetical { subnet, address, .. } => {
            address.map_or_else(|| subnet.to_string(), |a| format!("{a} in {subnet}"))
        }
    }
}
