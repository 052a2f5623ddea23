//! The ends of a flow: recorded interfaces, addresses, the internet, and interfaces that do not exist yet.

use std::borrow::Cow;
use std::net::IpAddr;

use super::address::{Family, address as at_bits, is_public, span};
use super::flow::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, End, Flow};
use super::model::{Kind, NONE, Network};
use super::walk::Host;

/// More free addresses of a hypothetical end's subnet than this are not tried one by one.
const PIECES: usize = 512;

/// Where a flow starts.
#[derive(Debug, Clone)]
pub(super) enum Origin<'n> {
    Host(Host<'n>),
    Internet(IpAddr),
    /// A private address that nothing in the snapshot explains.
    Elsewhere(IpAddr),
    Missing(String),
}

/// Where it is to end.
#[derive(Debug, Clone)]
pub(super) enum Wanted<'n> {
    Host(Host<'n>),
    Address(IpAddr),
    Missing(String),
}

impl Network {
    /// The flow once for each kind of free address of its hypothetical ends.
    pub(super) fn pieces(&self, flow: &Flow) -> Vec<Flow> {
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
    pub(super) fn family_of(&self, end: &End) -> Option<Family> {
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

    pub(super) fn wanted(&self, end: &End, family: Family) -> Wanted<'_> {
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

    pub(super) fn origin<'n>(&'n self, end: &End, family: Family, wanted: &Wanted<'n>) -> Origin<'n> {
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
}

/// An end as reports name it.
pub(super) fn name(end: &End) -> String {
    match end {
        End::Interface { id, .. } => id.to_string(),
        End::Address(address) => address.to_string(),
        End::Internet => "internet".to_owned(),
        End::Hypothetical { subnet, address, .. } => {
            address.map_or_else(|| subnet.to_string(), |a| format!("{a} in {subnet}"))
        }
    }
}
