//! From a flow to its verdict: the ends, the way there, the way back.

use std::net::IpAddr;

use super::address::{Family, bits, holds, is_instance_service, is_public, nat64, span};
use super::ends::{Origin, Wanted, name};
use super::explain::plain;
use super::filter::{EGRESS, INGRESS};
use super::flow::{End, Flow, Service, is_any_public};
use super::gateway::{absent, translated};
use super::model::{Kind, NONE, Network};
use super::route::Lookup;
use super::walk::{Arrival, At, Crossing, Door, Host, Next, Packet, Sender, Walk};
use super::{Disposition, Hop, Target, Trace, Verdict};
use crate::snapshot::Snapshot;

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
        let open = |end: &End| matches!(end, End::Hypothetical { address: None, .. });
        let pieces = if open(&flow.source) || open(&flow.destination) { self.pieces(flow) } else { Vec::new() };
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

    pub(super) fn run<'n>(&'n self, walk: Walk<'n>, flow: &Flow) -> Walk<'n> {
        let family = self
            .family_of(&flow.destination)
            .or_else(|| self.family_of(&flow.source))
            .unwrap_or(if flow.protocol == super::Protocol::Icmpv6 { Family::V6 } else { Family::V4 });
        let wanted = self.wanted(&flow.destination, family);
        let origin = self.origin(&flow.source, family, &wanted);
        self.go(walk, flow, &wanted, &origin)
    }

    /// Follows the flow between ends that are found.
    pub(super) fn go<'n>(
        &'n self,
        mut walk: Walk<'n>,
        flow: &Flow,
        wanted: &Wanted<'n>,
        origin: &Origin<'n>,
    ) -> Walk<'n> {
        let to = match wanted {
            Wanted::Host(host) => host.address,
            Wanted::Address(address) => *address,
            Wanted::Missing(id) => {
                let id = id.clone();
                walk.lose(|net| absent(id, "destination", net.missing.interfaces.as_ref()));
                return walk;
            }
        };
        if let Wanted::Host(host) = wanted {
            walk.goal = Some(host.clone());
        }
        let service = Service::request(flow, Family::of(to));
        let mut packet = Packet { from: to, to, service, sender: Sender::Lost };
        let mut crossings = Vec::new();
        let arrival = match origin {
            Origin::Missing(id) => {
                let id = id.clone();
                walk.lose(|net| absent(id, "source", net.missing.interfaces.as_ref()));
                return walk;
            }
            Origin::Host(host) => walk.start(host, &mut packet, &mut crossings),
            Origin::Internet(from) => {
                packet.from = *from;
                walk.arrive_from_internet(wanted, &mut packet, &mut crossings)
            }
            Origin::Elsewhere(from) => {
                packet.from = *from;
                walk.lose(|_| plain(from.to_string(), "source", "no recorded interface has this address"));
                let Wanted::Host(host) = wanted else { return walk };
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
        if walk.deliver(arrival, wanted, &packet, ports) {
            walk.answer(flow, service, arrival, packet, crossings, origin);
        }
        walk
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
            Some(s.cidrs.iter().any(|c| holds(c, to) && to.is_ipv4() && bits(to) == span(c).0 + 1))
        };
        is_instance_service(to) || resolver().unwrap_or(false) || router().unwrap_or(false)
    }

    /// The groups of the destination as egress rules of the source see them: in its VPC or an active peer of the
    /// same Region (<https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>).
    pub(super) fn groups_at<'w>(&self, walk: &Walk<'w>, host: &Host, to: IpAddr) -> Sender<'w> {
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
        if self.bare {
            self.door = Some(Door {
                interface: host.interface,
                kind: host.kind,
                groups: host.groups.clone(),
                from: packet.from,
                sender: packet.sender.clone(),
            });
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
        let mut at_regional = None;
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
                    at_regional = Some(nat).filter(|n| self.net.nats[*n as usize].regional);
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

    /// On to the client; a regional NAT gateway has no subnet: it delivers by itself, or by its own route table.
    fn home(
        &mut self,
        at: At,
        back: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
        regional: Option<u32>,
    ) -> Option<Arrival> {
        let Some(nat) = regional.filter(|_| at.subnet == NONE) else { return self.travel(at, back, crossings) };
        let table = self.net.nats[nat as usize].table;
        if self.net.vpc_holds(at.vpc, back.to) || table == NONE {
            return self.local(at, back);
        }
        let (target, number) = self.route(at, table, back.to)?;
        match self.pass(at, target, number, back, crossings)? {
            Next::Arrived(arrival) => Some(arrival),
            Next::At(next) => self.travel(next, back, crossings),
        }
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
