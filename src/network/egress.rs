//! How a subnet reaches the internet.

use std::net::IpAddr;

use super::address::Family;
use super::flow::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, End, Flow};
use super::model::Network;
use super::route::Lookup;
use super::{Hop, RouteChoice, Target, Verdict};
use crate::shape::Str;
use crate::snapshot::Snapshot;

/// The kind of a subnet's way out.
#[derive(Debug, Clone, PartialEq)]
pub enum EgressKind {
    /// By an internet gateway: only what has a public address gets out.
    Internet { gateway: Str },
    /// By a NAT gateway.
    Nat {
        gateway: Str,
        /// Whether the gateway itself gets out.
        working: bool,
        /// What stops it, or what is not known, when not working.
        why: Vec<Hop>,
    },
    /// By an egress-only internet gateway (IPv6).
    EgressOnly { gateway: Str },
    /// Possible, not provable: by a transit gateway, an appliance, a VPN, a peer ..., or something is not recorded.
    Unverifiable { reason: String },
    /// No route leads out.
    None,
    /// The route that would lead out is a blackhole.
    Blackhole,
    /// A route leads out and its gateway cannot carry it.
    Broken { why: String },
}

/// How a subnet reaches the internet.
#[derive(Debug, Clone, PartialEq)]
pub struct Egress {
    pub kind: EgressKind,
    pub route: Option<RouteChoice>,
    /// What was looked at; the verdicts say what fails.
    pub hops: Vec<Hop>,
}

impl Network {
    /// How the subnet reaches the internet with this family: the route for a public address (a default route, two
    /// halves of one, or one through a prefix list), its gateway, and a NAT gateway's own way out.
    pub fn egress(&self, snapshot: &Snapshot, subnet_id: &str, family: Family) -> Egress {
        let unverifiable =
            |reason: String| Egress { kind: EgressKind::Unverifiable { reason }, route: None, hops: Vec::new() };
        let subnet = match self.known_subnet(subnet_id) {
            Ok(subnet) => subnet,
            Err(missing) => return unverifiable(missing.to_string()),
        };
        let table = self.table_of(subnet);
        let row = match self.route_table_of(subnet_id) {
            Ok(row) => row,
            Err(missing) => return unverifiable(missing.to_string()),
        };
        let vpc = self.subnets[subnet as usize].vpc;
        let found = public(family).map(|to| self.look_up(table, vpc, to));
        // Both halves have to lead out; the one that does not is the one to tell.
        let bad = found.iter().position(|f| match f {
            Lookup::Found(r) => self.tables[table as usize].routes[*r as usize].blackhole,
            _ => true,
        });
        let at = bad.unwrap_or(0);
        let to = public(family)[at];
        match found[at] {
            Lookup::Unclear(index) => unverifiable(format!(
                "{}: the prefix list of route {index} is not recorded",
                self.tables[table as usize].id
            )),
            Lookup::Nothing | Lookup::NoTable | Lookup::Local => Egress {
                kind: EgressKind::None,
                route: None,
                hops: vec![super::explain::route(self, subnet, table, to, found[at])],
            },
            Lookup::Found(r) => {
                let route = self.choice(table, row, found[at]);
                let index = self.tables[table as usize].routes[r as usize].at;
                let (kind, mut hops) = self.way_out(snapshot, subnet, to, &route, index);
                let mut first = super::explain::route(self, subnet, table, to, found[at]);
                if route.blackhole {
                    first.verdict = Verdict::Blocked;
                }
                hops.insert(0, first);
                Egress { kind, route: Some(route), hops }
            }
        }
    }

    fn way_out(
        &self,
        snapshot: &Snapshot,
        subnet: u32,
        to: IpAddr,
        route: &RouteChoice,
        index: u32,
    ) -> (EgressKind, Vec<Hop>) {
        if route.blackhole {
            return (EgressKind::Blackhole, Vec::new());
        }
        let id = &self.subnets[subnet as usize].id;
        // A host without groups that stands in the subnet shows what the gateways do; filters are asked elsewhere.
        let walk = self.bare_way_out(snapshot, subnet, to);
        let trouble: Vec<Hop> = walk.iter().filter(|h| h.verdict != Verdict::Allowed).cloned().collect();
        let said = |hops: &[Hop]| {
            hops.iter()
                .map(|h| format!("{}: {}", h.at, h.note.as_deref().unwrap_or(&h.step)))
                .collect::<Vec<_>>()
                .join("; ")
        };
        let kind = match &route.target {
            Target::InternetGateway(gateway) | Target::EgressOnly(gateway) => {
                if trouble.iter().any(|h| h.verdict == Verdict::Blocked) {
                    EgressKind::Broken { why: said(&trouble) }
                } else if self.gateways.get(index as usize).is_none() {
                    EgressKind::Unverifiable { reason: format!("{gateway} is not in the snapshot") }
                } else if matches!(route.target, Target::EgressOnly(_)) {
                    EgressKind::EgressOnly { gateway: gateway.clone() }
                } else {
                    EgressKind::Internet { gateway: gateway.clone() }
                }
            }
            Target::Nat(gateway) => {
                if self.nats.get(index as usize).is_none() {
                    EgressKind::Unverifiable { reason: said(&trouble) }
                } else {
                    EgressKind::Nat { gateway: gateway.clone(), working: trouble.is_empty(), why: trouble }
                }
            }
            Target::Local => EgressKind::None,
            target => EgressKind::Unverifiable {
                reason: format!("{id} reaches the internet through {}, if at all", target.name()),
            },
        };
        (kind, walk)
    }

    /// The hops of a packet without filters of its own from the subnet to the internet, its own subnet's route and
    /// ACL left out.
    fn bare_way_out(&self, snapshot: &Snapshot, subnet: u32, to: IpAddr) -> Vec<Hop> {
        let s = &self.subnets[subnet as usize];
        let vpc = self.vpcs.get(s.vpc as usize).map(|v| v.id.clone()).unwrap_or_default();
        let Some(range) = s.cidrs.iter().find(|c| c.addr().is_ipv4() == to.is_ipv4()) else { return Vec::new() };
        let (first, last) = super::address::span(range);
        let address = super::address::address(Family::of(to), (first + 4).min(last));
        let source =
            End::Hypothetical { vpc, subnet: s.id.clone(), groups: Vec::new(), address: Some(address), public: true };
        let flow = Flow::tcp(source, End::Address(to), 443);
        let own = s.id.as_str();
        let acl = self.acls.get(self.acl_number(subnet) as usize).map(|a| a.id.as_str());
        let trace = self.trace_bare(snapshot, &flow);
        trace.forward.into_iter().chain(trace.back).filter(|h| !(h.at == own || Some(h.at.as_str()) == acl)).collect()
    }
}

/// Two public addresses, one in each half of the address space.
fn public(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => [ANY_PUBLIC_V4, IpAddr::V4(std::net::Ipv4Addr::new(198, 41, 0, 4))],
        Family::V6 => [ANY_PUBLIC_V6, IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30))],
    }
}
