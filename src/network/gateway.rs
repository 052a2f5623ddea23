//! Gateways: what internet, egress-only and NAT gateways, endpoints and peerings do with a packet.

use std::net::IpAddr;

use super::address::{holds, is_public, is_rfc1918, is_rfc6598, nat64};
use super::explain::plain;
use super::filter::INGRESS;
use super::flow::{Protocol, TRANSLATED_CLIENT_PORTS};
use super::model::{Kind, NONE, Network, PublicAccess};
use super::walk::{Arrival, At, Crossing, Next, Packet, Sender, Walk};
use super::{Hop, Target};
use crate::snapshot::Missing;

/// The step of an internet gateway.
const INTERNET: &str = "internet gateway";
const EGRESS_ONLY: &str = "egress-only internet gateway";
const NAT: &str = "NAT gateway";

impl<'n> Walk<'n> {
    /// Takes the packet through the target of its route.
    pub fn pass(
        &mut self,
        at: At,
        target: &'n Target,
        number: u32,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Next> {
        if self.decided() {
            return None;
        }
        match target {
            Target::Local => self.local(at, packet).map(Next::Arrived),
            Target::InternetGateway(id) => self.internet(at, id, number, packet, crossings).map(Next::Arrived),
            Target::EgressOnly(id) => self.egress_only(at, id, number, packet, crossings).map(Next::Arrived),
            Target::Nat(id) => self.nat(at, id, number, packet, crossings),
            Target::Peering(id) => self.peering(at, id, number, packet).map(Next::Arrived),
            Target::TransitGateway(id) => self.transit(at, id, packet, crossings).map(Next::At),
            Target::Endpoint(id) => self.endpoint(at, id, number, packet, crossings).map(Next::Arrived),
            Target::Interface(id) | Target::Instance(id) => {
                self.lose(|_| {
                    plain(id.as_str(), "middlebox", &format!("passes through {id}, which decides by itself"))
                });
                None
            }
            Target::VirtualGateway(id) => {
                self.lose(|_| plain(id.as_str(), "virtual private gateway", "leaves AWS by VPN or Direct Connect"));
                None
            }
            Target::LocalGateway | Target::Carrier | Target::CoreNetwork | Target::Other(_) => {
                self.lose(|_| plain(target.name(), "gateway", "leads out of what a snapshot holds"));
                None
            }
        }
    }

    /// Out by an internet gateway: 1:1 translation for IPv4, public destinations only
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html>).
    fn internet(
        &mut self,
        at: At,
        id: &'n str,
        number: u32,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        let to = packet.to;
        let entry = match (self.returning, crossings.last()) {
            (true, Some(Crossing::Entry { public, .. })) => Some(*public),
            _ => None,
        };
        if self.returning && entry.is_none() {
            self.stop(|_| {
                plain(id, INTERNET, "the answer leaves by the internet gateway although the request did not come by it")
                    .code("NO_POSSIBLE_DESTINATION")
            });
            return None;
        }
        self.gateway_state(at, id, number, INTERNET);
        if let Some(code) = not_for_the_internet(to) {
            self.stop(|_| plain(id, INTERNET, &format!("{to} is no public address")).code(code));
            return None;
        }
        let nat = self.net.nat_of(at, packet.from);
        match self.net.public_access(at.vpc, at.subnet) {
            PublicAccess::BlockBoth => self.stop(|net| block_public_access(net, at, id)),
            // Only NAT gateways and egress-only internet gateways pass then.
            PublicAccess::BlockIngress if nat.is_none() => self.stop(|net| block_public_access(net, at, id)),
            _ => {}
        }
        if let Some(public) = entry {
            packet.from = public;
            self.hop(super::Verdict::Allowed, |_| Hop::new(id, INTERNET).note(format!("answers as {public}")));
            return Some(Arrival::Outside);
        }
        let from = packet.from;
        let public = if at.transit {
            None
        } else if let Some(nat) = nat {
            self.net.nat_public(nat, from)
        } else if !self.net.vpc_holds(at.vpc, from) && !self.is_source(at, from) {
            None
        } else if from.is_ipv6() {
            Some(from)
        } else {
            self.asked_public = true;
            self.source_public(at, from)
        };
        let Some(public) = public else {
            let of = if nat.is_some() { "the NAT gateway" } else { "the sender" };
            self.stop(|_| {
                plain(id, INTERNET, &format!("{of} has no public address for {from}"))
                    .code("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS")
            });
            return None;
        };
        self.hop(super::Verdict::Allowed, |_| {
            let hop = Hop::new(id, INTERNET);
            if public == from { hop } else { hop.note(format!("{from} becomes {public}")) }
        });
        crossings.push(Crossing::Exit { vpc: at.vpc, subnet: at.subnet, private: from });
        packet.from = public;
        packet.sender = Sender::Lost;
        match self.net.public_at(to) {
            Some((interface, private)) => self.come_in(interface, private, packet, crossings),
            None => Some(Arrival::Outside),
        }
    }

    /// In by the internet gateway of the VPC that has the public address.
    pub fn come_in(
        &mut self,
        interface: u32,
        private: IpAddr,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        let net = self.net;
        let (vpc, subnet) = (net.interfaces[interface as usize].vpc, net.interfaces[interface as usize].subnet);
        self.come_in_at(vpc, subnet, private, packet, crossings)
    }

    /// In by the VPC's internet gateway, to a private address in a subnet.
    pub fn come_in_at(
        &mut self,
        vpc: u32,
        subnet: u32,
        private: IpAddr,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        let net = self.net;
        let name = net.vpcs.get(vpc as usize).map_or(String::new(), |v| v.id.to_string());
        let gateway = net.gateways.iter().position(|g| !g.egress_only && g.vpcs.contains(&vpc));
        let Some(number) = gateway else {
            let missing = net.missing.internet_gateways.as_ref();
            // Whoever shares a subnet of another account does not see the gateway of its VPC.
            if missing.is_some() || net.vpcs.get(vpc as usize).is_none_or(|v| v.row.is_none()) {
                self.lose(|_| absent(name, INTERNET, missing));
            } else {
                self.stop(|_| {
                    plain(name, INTERNET, "no internet gateway is attached to the VPC")
                        .code("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS")
                });
            }
            return None;
        };
        let gateway = &net.gateways[number];
        let from = packet.from;
        if let Some(code) = not_from_the_internet(from) {
            self.stop(|_| plain(gateway.id.as_str(), INTERNET, &format!("{from} is no public address")).code(code));
            return None;
        }
        if matches!(net.public_access(vpc, subnet), PublicAccess::BlockBoth | PublicAccess::BlockIngress) {
            let at = At { vpc, subnet, transit: false };
            self.stop(|net| block_public_access(net, at, &gateway.id));
        }
        let redirected = gateway.edge_tables.iter().find_map(|&t| {
            let table = &net.tables[t as usize];
            match net.look_up(t, vpc, private) {
                super::route::Lookup::Found(r) if table.routes[r as usize].target != Target::Local => Some((t, r)),
                _ => None,
            }
        });
        if let Some((t, r)) = redirected {
            let table = &net.tables[t as usize];
            let route = &table.routes[r as usize];
            self.lose(|_| {
                plain(gateway.id.as_str(), "middlebox", "the gateway's route table sends it through an appliance")
                    .by(format!("{} -> {}", route.to, route.target.name()))
                    .spot(table.row, format!("/Routes/{}", route.index))
            });
        } else {
            let public = packet.to;
            self.hop(super::Verdict::Allowed, |_| {
                let hop = Hop::new(gateway.id.as_str(), INTERNET).spot(gateway.row, "");
                if public == private { hop } else { hop.note(format!("{public} becomes {private}")) }
            });
        }
        crossings.push(Crossing::Entry { public: packet.to });
        packet.to = private;
        packet.sender = Sender::Lost;
        self.enter(subnet, packet);
        Some(Arrival::Inside { vpc, subnet })
    }

    /// Whether the gateway of a route is there and attached to this VPC.
    fn gateway_state(&mut self, at: At, id: &'n str, number: u32, step: &'static str) {
        let net = self.net;
        match net.gateways.get(number as usize) {
            None => {
                let read = if step == INTERNET { &net.missing.internet_gateways } else { &net.missing.egress_only };
                self.lose(|_| absent(id, step, read.as_ref()));
            }
            Some(gateway) if !gateway.vpcs.contains(&at.vpc) => self.stop(|net| {
                let vpc = net.vpcs.get(at.vpc as usize).map_or("the VPC", |v| v.id.as_str());
                plain(id, step, &format!("is not attached to {vpc}"))
                    .code("BAD_STATE_ATTACHMENT")
                    .spot(gateway.row, "/Attachments")
            }),
            Some(_) => {}
        }
    }

    /// Out by an egress-only internet gateway: IPv6, connections from inside only
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/egress-only-internet-gateway.html>).
    fn egress_only(
        &mut self,
        at: At,
        id: &'n str,
        number: u32,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        if self.returning {
            self.stop(|_| {
                plain(id, EGRESS_ONLY, "the answer leaves by it although the request did not: it is dropped")
                    .code("NO_POSSIBLE_DESTINATION")
            });
            return None;
        }
        self.gateway_state(at, id, number, EGRESS_ONLY);
        let (from, to) = (packet.from, packet.to);
        if to.is_ipv4() || !is_public(to) {
            self.stop(|_| plain(id, EGRESS_ONLY, "carries public IPv6 only").code("PROTOCOL_RESTRICTION"));
            return None;
        }
        if self.net.public_access(at.vpc, at.subnet) == PublicAccess::BlockBoth {
            self.stop(|net| block_public_access(net, at, id));
        }
        if at.transit || !self.net.vpc_holds(at.vpc, from) && !self.is_source(at, from) {
            self.stop(|_| {
                plain(id, EGRESS_ONLY, "the sender is not in its VPC").code("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS")
            });
            return None;
        }
        self.hop(super::Verdict::Allowed, |_| Hop::new(id, EGRESS_ONLY));
        crossings.push(Crossing::Exit { vpc: at.vpc, subnet: at.subnet, private: from });
        packet.sender = Sender::Lost;
        match self.net.public_at(to) {
            Some((interface, private)) => self.come_in(interface, private, packet, crossings),
            None => Some(Arrival::Outside),
        }
    }

    /// Through a NAT gateway: its state, its own subnet's ACL and routes
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html>).
    fn nat(
        &mut self,
        at: At,
        id: &'n str,
        number: u32,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Next> {
        let net = self.net;
        if self.returning {
            self.stop(|_| {
                plain(id, NAT, "the answer leaves through the NAT gateway, which never saw the request: it is dropped")
                    .code("NO_POSSIBLE_DESTINATION")
            });
            return None;
        }
        let Some(nat) = net.nats.get(number as usize) else {
            self.lose(|_| absent(id, NAT, net.missing.nats.as_ref()));
            return None;
        };
        if !matches!(nat.state.as_str(), "available" | "") {
            self.stop(|_| plain(id, NAT, &format!("is {}", nat.state)).code("BAD_STATE").spot(nat.row, "/State"));
        }
        if !matches!(packet.service.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Icmpv6) {
            self.stop(|_| {
                plain(id, NAT, "carries TCP, UDP and ICMP only").code("PROTOCOL_RESTRICTION").spot(nat.row, "")
            });
        }
        if nat.vpc != at.vpc {
            self.stop(|_| {
                plain(id, NAT, "is in another VPC").code("NGW_REQUIRES_SOURCE_IN_VPC").spot(nat.row, "/VpcId")
            });
            return None;
        }
        let asked = packet.to;
        if asked.is_ipv6() {
            // NAT64: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-nat64-dns64.html
            match nat64(asked) {
                Some(v4) => packet.to = IpAddr::V4(v4),
                None => {
                    self.stop(|_| {
                        plain(id, NAT, "carries IPv6 to 64:ff9b::/96 only")
                            .code("PROTOCOL_RESTRICTION")
                            .spot(nat.row, "")
                    });
                    return None;
                }
            }
            if packet.service.protocol == Protocol::Icmpv6 {
                packet.service.protocol = Protocol::Icmp;
                packet.service.icmp = if packet.service.icmp.0 == 128 { (8, 0) } else { packet.service.icmp };
            }
        }
        if !nat.regional {
            if nat.subnet == NONE {
                self.lose(|_| absent(nat.subnet_id.as_str(), NAT, net.missing.subnets.as_ref()));
                return None;
            }
            if nat.subnet != at.subnet {
                // The packet still carries the client's destination here.
                let entering = Packet { to: asked, ..packet.clone() };
                self.enter(nat.subnet, &entering);
            } else if !at.transit {
                self.stop(|_| {
                    plain(id, NAT, "stands in the client's own subnet, whose route leads back to it")
                        .code("NO_POSSIBLE_DESTINATION")
                        .spot(nat.row, "/SubnetId")
                });
                return None;
            }
        }
        let first = nat.addresses.iter().find(|a| a.0.is_some() || nat.regional);
        let address = match first {
            Some((private, public, _)) => private.or(*public),
            None => None,
        };
        let Some(address) = address else {
            self.stop(|_| plain(id, NAT, "has no address").code("BAD_STATE").spot(nat.row, "/NatGatewayAddresses"));
            return None;
        };
        let client = packet.from;
        self.hop(super::Verdict::Allowed, |_| {
            Hop::new(id, NAT).spot(nat.row, "").note(format!("{client} becomes {address}"))
        });
        let inside = At { vpc: nat.vpc, subnet: nat.subnet, transit: false };
        crossings.push(Crossing::Nat { nat: number, at: inside, address, client, asked });
        packet.from = address;
        packet.sender = Sender::Lost;
        if !nat.regional {
            return Some(Next::At(inside));
        }
        // A regional NAT gateway has a route table of its own; without one in the snapshot, the VPC's gateway.
        let found = net.gateways.iter().position(|g| !g.egress_only && g.vpcs.contains(&nat.vpc));
        if nat.table != NONE && !net.tables[nat.table as usize].routes.is_empty() {
            let (target, number) = self.route(inside, nat.table, packet.to)?;
            return self.pass(inside, target, number, packet, crossings);
        }
        match found {
            Some(gateway) => self
                .internet(inside, net.gateways[gateway].id.as_str(), gateway as u32, packet, crossings)
                .map(Next::Arrived),
            None => {
                self.lose(|_| absent(id, "route", net.missing.internet_gateways.as_ref()));
                None
            }
        }
    }

    /// Through a peering connection: active, and only to the peer's own ranges
    /// (<https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html>).
    fn peering(&mut self, at: At, id: &'n str, number: u32, packet: &mut Packet<'n>) -> Option<Arrival> {
        const STEP: &str = "VPC peering";
        let net = self.net;
        let Some(peering) = net.peerings.get(number as usize) else {
            self.lose(|_| absent(id, STEP, net.missing.peerings.as_ref()));
            return None;
        };
        if peering.status != "active" {
            self.stop(|_| {
                plain(id, STEP, &format!("is {}", peering.status)).code("BAD_STATE").spot(peering.row, "/Status/Code")
            });
            return None;
        }
        let [a, b] = &peering.sides;
        let (own, other) = if a.vpc == at.vpc { (a, b) } else { (b, a) };
        if own.vpc != at.vpc || at.transit || !net.vpc_holds(at.vpc, packet.from) && !self.is_source(at, packet.from) {
            self.stop(|_| {
                plain(id, STEP, "carries traffic of its own two VPCs only")
                    .code("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR")
                    .spot(peering.row, "")
            });
            return None;
        }
        let to = packet.to;
        let recorded = net.vpcs.get(other.vpc as usize).filter(|v| v.row.is_some());
        let ranges = recorded.map_or(&other.cidrs, |v| &v.cidrs);
        if !ranges.is_empty() && !ranges.iter().any(|c| holds(c, to)) {
            self.stop(|_| {
                plain(id, STEP, &format!("{to} is not in the peer's ranges"))
                    .code("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR")
                    .spot(peering.row, "")
            });
            return None;
        }
        if recorded.is_none() {
            self.lose(|_| {
                plain(id, STEP, &format!("leads to {}, which is not in the snapshot", other.vpc_id))
                    .spot(peering.row, "")
            });
            return None;
        }
        self.hop(super::Verdict::Allowed, |_| Hop::new(id, STEP).spot(peering.row, ""));
        if own.region != other.region {
            packet.sender = Sender::Lost;
        }
        self.local(At { vpc: other.vpc, subnet: NONE, transit: true }, packet)
    }

    /// To a gateway endpoint (S3, DynamoDB): TCP and ping only
    /// (<https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>).
    fn endpoint(
        &mut self,
        at: At,
        id: &'n str,
        number: u32,
        packet: &mut Packet<'n>,
        crossings: &mut Vec<Crossing>,
    ) -> Option<Arrival> {
        const STEP: &str = "endpoint";
        let net = self.net;
        let Some(endpoint) = net.endpoints.get(number as usize) else {
            self.lose(|_| absent(id, STEP, net.missing.endpoints.as_ref()));
            return None;
        };
        if endpoint.kind != "Gateway" {
            self.lose(|_| {
                plain(id, "middlebox", "passes through an appliance, which decides by itself").spot(endpoint.row, "")
            });
            return None;
        }
        if self.returning {
            self.stop(|_| plain(id, STEP, "the answer leaves by the endpoint").code("NO_POSSIBLE_DESTINATION"));
            return None;
        }
        if !matches!(endpoint.state.to_ascii_lowercase().as_str(), "available" | "") {
            self.stop(|_| {
                plain(id, STEP, &format!("is {}", endpoint.state)).code("BAD_STATE").spot(endpoint.row, "/State")
            });
        }
        let service = packet.service;
        let ping = service.protocol.is_icmp() && matches!(service.icmp.0, 8 | 128);
        if service.protocol != Protocol::Tcp && !ping {
            self.stop(|_| {
                plain(id, STEP, "accepts TCP and ping only")
                    .code("VPCE_GATEWAY_PROTOCOL_RESTRICTION")
                    .spot(endpoint.row, "")
            });
        }
        let from = packet.from;
        if at.transit || !net.vpc_holds(at.vpc, from) && !self.is_source(at, from) {
            self.stop(|_| {
                plain(id, STEP, "serves its own VPC only").code("NO_POSSIBLE_DESTINATION").spot(endpoint.row, "/VpcId")
            });
            return None;
        }
        self.hop(super::Verdict::Allowed, |_| Hop::new(id, STEP).spot(endpoint.row, ""));
        crossings.push(Crossing::Exit { vpc: at.vpc, subnet: at.subnet, private: from });
        packet.sender = Sender::Lost;
        Some(Arrival::Outside)
    }

    /// Brings an answer from outside back to the private address that asked.
    pub fn come_back(&mut self, vpc: u32, subnet: u32, private: IpAddr, packet: &mut Packet<'n>) -> At {
        packet.to = private;
        if subnet != NONE {
            self.acl(subnet, INGRESS, packet.from, packet.service);
        }
        At { vpc, subnet, transit: false }
    }
}

impl Network {
    /// The NAT gateway whose address this is.
    pub(super) fn nat_of(&self, at: At, from: IpAddr) -> Option<u32> {
        let holds = |n: &super::model::Nat| {
            n.vpc == at.vpc && n.addresses.iter().any(|a| a.0 == Some(from) || (n.regional && a.1 == Some(from)))
        };
        if let Some(i) = self.interface_at(at.vpc, from)
            && self.interfaces[i as usize].kind != Kind::Nat
        {
            return None;
        }
        self.nats.iter().position(holds).map(|n| n as u32)
    }

    /// The public address of a NAT gateway's private one.
    fn nat_public(&self, nat: u32, private: IpAddr) -> Option<IpAddr> {
        let nat = &self.nats[nat as usize];
        if !nat.public {
            return None;
        }
        nat.addresses.iter().find(|a| a.0 == Some(private) || a.1 == Some(private)).and_then(|a| a.1)
    }
}

/// Client ports of a flow once a NAT gateway has translated it.
pub(super) fn translated() -> std::ops::RangeInclusive<u16> {
    TRANSLATED_CLIENT_PORTS
}

fn not_for_the_internet(to: IpAddr) -> Option<&'static str> {
    if is_rfc1918(to) {
        Some("IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS")
    } else if is_rfc6598(to) {
        Some("IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS")
    } else {
        (!is_public(to)).then_some("NO_POSSIBLE_DESTINATION")
    }
}

fn not_from_the_internet(from: IpAddr) -> Option<&'static str> {
    if is_rfc1918(from) {
        Some("IGW_SOURCE_ADDRESS_NOT_IN_RFC1918_INGRESS")
    } else if is_rfc6598(from) {
        Some("IGW_SOURCE_ADDRESS_NOT_IN_RFC6598_INGRESS")
    } else {
        (!is_public(from)).then_some("NO_POSSIBLE_DESTINATION")
    }
}

fn block_public_access(net: &Network, at: At, id: &str) -> Hop {
    let row = net
        .subnets
        .get(at.subnet as usize)
        .and_then(|s| s.row)
        .filter(|_| net.subnets[at.subnet as usize].public_access != PublicAccess::Unsaid);
    let hop = plain(id, "VPC Block Public Access", "VPC Block Public Access stops it")
        .code("VPC_BLOCK_PUBLIC_ACCESS_ENABLED");
    match row.or(net.vpcs.get(at.vpc as usize).and_then(|v| v.row)) {
        Some(row) => hop.spot(row, "/BlockPublicAccessStates/InternetGatewayBlockMode"),
        None => hop,
    }
}

/// An object that the snapshot does not hold.
pub(super) fn absent(at: impl Into<String>, step: &str, missing: Option<&Missing>) -> Hop {
    Hop::new(at, step).note(missing.map_or_else(|| "is not in the snapshot".to_owned(), ToString::to_string))
}
