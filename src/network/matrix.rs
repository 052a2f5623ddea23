//! Many interfaces to a few targets: what interfaces share is decided once.

use std::borrow::Cow;
use std::net::IpAddr;

use fixedbitset::FixedBitSet;

use super::address::{Cidr, Family, Ranges, bits, span};
use super::ends::{Origin, Wanted};
use super::filter::{EGRESS, INGRESS};
use super::flow::{Flow, Service};
use super::model::{Kind, NONE, Network, Peer};
use super::walk::{Door, Host, Sender, Walk};
use super::{Disposition, End, Protocol, Verdict};
use crate::shape::Row;

/// The verdicts of many interfaces towards some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    sources: usize,
    /// Target by target.
    verdicts: Vec<Disposition>,
}

impl Matrix {
    /// The verdict of the source and target at these positions of the question.
    pub fn get(&self, source: usize, target: usize) -> Option<Disposition> {
        self.of(target).get(source).copied()
    }
    /// The verdicts towards one target, in the order of the sources.
    pub fn of(&self, target: usize) -> &[Disposition] {
        self.verdicts.get(target * self.sources..(target + 1) * self.sources).unwrap_or(&[])
    }
}

/// A source, as far as its class does not say it all.
#[derive(Debug, Clone, Copy)]
struct Source {
    interface: u32,
    /// The part of its subnet and whether it has a public address; `NONE` when it has to be decided by itself.
    class: u32,
    set: u32,
}

/// What all interfaces of one class share on the way to a target.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// Not asked yet.
    Open,
    /// Something on the way looks at more than the class.
    Each,
    /// No group changes it.
    Settled(Disposition),
    /// The way and the answer, the groups of both ends left out; how the target is seen from there.
    Way { known: bool, view: u16, inbound: Inside },
}

/// Whether the target's ranges hold the addresses of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Inside {
    /// No groups at the end.
    Unasked,
    All {
        refers: bool,
    },
    None {
        refers: bool,
    },
    Some {
        refers: bool,
    },
}

/// The target's inbound rules for one service, ready to be asked.
#[derive(Debug)]
struct Inbound {
    groups: FixedBitSet,
    ranges: Ranges,
}

impl Network {
    /// Decides every flow from every interface (rows of `DescribeNetworkInterfaces`, their primary addresses); the
    /// flows' own sources are not looked at. The same verdicts as [`Network::decide`], for a million questions.
    pub fn reach_matrix(&self, sources: &[Row], flows: &[Flow]) -> Matrix {
        let mut verdicts = Vec::with_capacity(sources.len() * flows.len());
        let mut prepared: [Option<Vec<Source>>; 2] = [None, None];
        for flow in flows {
            let fixed = self.family_of(&flow.destination);
            let family = fixed.unwrap_or(Family::V4);
            // Who has both families asks by IPv4 unless the destination says otherwise.
            let settled = fixed.is_some() || flow.protocol != Protocol::Icmpv6;
            let wanted = self.wanted(&flow.destination, family);
            let to = match &wanted {
                Wanted::Host(host) => Some(host.address),
                Wanted::Address(address) => Some(*address),
                Wanted::Missing(_) => None,
            };
            let service = Service::request(flow, family);
            let pieces = matches!(flow.destination, End::Hypothetical { address: None, .. });
            let (Some(to), true) = (to, settled && service.one_port() && !pieces) else {
                verdicts.extend(sources.iter().map(|row| self.alone(row.index, flow)));
                continue;
            };
            let prepared = prepared[family as usize].get_or_insert_with(|| self.sources(sources, family));
            let mut column = Column {
                net: self,
                flow,
                wanted,
                service,
                to,
                own: (0..self.vpcs.len() as u32).filter_map(|v| self.interface_at(v, to)).collect(),
                family,
                paths: vec![Path::Open; 2 * self.parts[family as usize].len()],
                views: Vec::new(),
                sent: Vec::new(),
                inbound: None,
                referred: vec![0; self.sets.len()],
            };
            verdicts.extend(prepared.iter().map(|&source| column.decide(source)));
        }
        Matrix { sources: sources.len(), verdicts }
    }

    fn alone(&self, interface: u32, flow: &Flow) -> Disposition {
        match self.interfaces.get(interface as usize) {
            Some(i) => self.decide(&Flow { source: End::interface(&i.id), ..flow.clone() }),
            None => Disposition::Unknown,
        }
    }

    fn sources(&self, rows: &[Row], family: Family) -> Vec<Source> {
        rows.iter()
            .map(|row| {
                let class = self.interfaces.get(row.index as usize).map_or(NONE, |i| {
                    let plain = i.kind == Kind::Host && !self.set(i.set).is_empty();
                    if plain { i.class[family as usize] } else { NONE }
                });
                let set = self.interfaces.get(row.index as usize).map_or(NONE, |i| i.set);
                Source { interface: row.index, class, set }
            })
            .collect()
    }

    /// Cuts each subnet where a range of an ACL entry, route or VPC begins or ends, and notes in which part each
    /// interface's primary addresses lie: what the way looks at of an address.
    pub(super) fn collect_parts(&mut self) {
        let mut cuts: [Vec<u128>; 2] = Default::default();
        let mut cut = |net: &Cidr| {
            let (a, b) = span(net);
            cuts[usize::from(net.addr().is_ipv6())].extend([a, b.saturating_add(1)]);
        };
        self.acls.iter().flat_map(|a| a.entries.iter().flatten()).filter_map(|e| e.cidr.as_ref()).for_each(&mut cut);
        self.tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.transit_tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.vpcs.iter().flat_map(|v| &v.cidrs).for_each(&mut cut);
        self.peerings.iter().flat_map(|p| &p.sides).flat_map(|s| &s.cidrs).for_each(&mut cut);
        let mut first_part: [Vec<u32>; 2] = Default::default();
        for family in [Family::V4, Family::V6] {
            let f = family as usize;
            cuts[f].sort_unstable();
            cuts[f].dedup();
            for subnet in &self.subnets {
                first_part[f].push(self.parts[f].len() as u32);
                let Some(range) = subnet.cidrs.iter().find(|c| Family::of(c.addr()) == family) else { continue };
                let (first, last) = span(range);
                let inner = &cuts[f][cuts[f].partition_point(|c| *c <= first)..cuts[f].partition_point(|c| *c <= last)];
                let starts = std::iter::once(first).chain(inner.iter().copied());
                let ends = inner.iter().map(|c| c - 1).chain(std::iter::once(last));
                self.parts[f].extend(starts.zip(ends));
            }
            first_part[f].push(self.parts[f].len() as u32);
        }
        for number in 0..self.interfaces.len() {
            for family in [Family::V4, Family::V6] {
                let f = family as usize;
                let i = &self.interfaces[number];
                let Some(address) = i.primary(family).filter(|_| i.subnet != NONE) else { continue };
                let base = first_part[f][i.subnet as usize] as usize;
                let parts = &self.parts[f][base..first_part[f][i.subnet as usize + 1] as usize];
                let part = parts.partition_point(|p| p.0 <= bits(address));
                if part == 0 || parts[part - 1].1 < bits(address) {
                    continue;
                }
                let public = self.public_of(number as u32, address).is_some();
                self.interfaces[number].class[f] = 2 * (base + part - 1) as u32 + u32::from(public);
            }
        }
    }
}

/// One target being asked about.
struct Column<'n, 'f> {
    net: &'n Network,
    flow: &'f Flow,
    wanted: Wanted<'n>,
    service: Service,
    to: IpAddr,
    /// Interfaces that have the target's address themselves.
    own: Vec<u32>,
    family: Family,
    /// By class.
    paths: Vec<Path>,
    /// The target's groups, as senders see them from different places.
    views: Vec<Sender<'n>>,
    /// By view and group set, what its egress rules say (asked once).
    sent: Vec<Vec<Option<Verdict>>>,
    /// Of the one target: its interface, and its rules when they can be compiled.
    inbound: Option<(u32, Option<Inbound>)>,
    /// By group set: whether a rule of the target refers to one of its groups (1 no, 2 yes, 0 not asked).
    referred: Vec<u8>,
}

impl Column<'_, '_> {
    fn decide(&mut self, source: Source) -> Disposition {
        if source.class == NONE || self.own.contains(&source.interface) {
            return self.net.alone(source.interface, self.flow);
        }
        if let Path::Open = self.paths[source.class as usize] {
            self.paths[source.class as usize] = self.path(source);
        }
        let (known, view, inbound) = match self.paths[source.class as usize] {
            Path::Settled(disposition) => return disposition,
            Path::Way { known, view, inbound } => (known, view, inbound),
            Path::Each | Path::Open => return self.net.alone(source.interface, self.flow),
        };
        let sent = match self.sent[usize::from(view)][source.set as usize] {
            Some(sent) => sent,
            None => self.ask_sent(view, source.set),
        };
        if sent == Verdict::Blocked || !self.received(source, inbound) {
            Disposition::Blocked
        } else if known && sent == Verdict::Allowed {
            Disposition::Reachable
        } else {
            Disposition::Unknown
        }
    }

    fn ask_sent(&mut self, view: u16, set: u32) -> Verdict {
        let peers = self.views[usize::from(view)].peers();
        let verdict = self.net.groups_permit(self.net.set(set), EGRESS, self.to, peers, self.service).verdict;
        self.sent[usize::from(view)][set as usize] = Some(verdict);
        verdict
    }

    fn received(&mut self, source: Source, inbound: Inside) -> bool {
        let (refers, inside) = match inbound {
            Inside::Unasked | Inside::All { .. } => return true,
            Inside::None { refers } => (refers, false),
            Inside::Some { refers } => (refers, true),
        };
        let Some((_, Some(rules))) = &self.inbound else { return false };
        let held = || {
            let address = self.net.interfaces[source.interface as usize].primary(self.family);
            address.is_some_and(|a| rules.ranges.contains(bits(a)))
        };
        if inside && held() {
            return true;
        }
        if !refers {
            return false;
        }
        let referred = &mut self.referred[source.set as usize];
        if *referred == 0 {
            let any = self.net.set(source.set).iter().any(|&g| rules.groups.contains(g as usize));
            *referred = 1 + u8::from(any);
        }
        *referred == 2
    }

    /// Walks once for a class, without the ends' groups.
    fn path(&mut self, source: Source) -> Path {
        let net = self.net;
        let Some(address) = net.interfaces[source.interface as usize].primary(self.family) else { return Path::Each };
        let mut host: Host = net.host(source.interface, address);
        host.label = Cow::Borrowed("");
        let walk = Walk { bare: true, ..Walk::new(net, None) };
        let walk = net.go(walk, self.flow, &self.wanted, &Origin::Host(host.clone()));
        let disposition = walk.disposition();
        if walk.origin.is_none() || disposition == Disposition::Blocked {
            // Groups are not asked, or cannot mend it.
            return if walk.asked_public && walk.door.is_some() { Path::Each } else { Path::Settled(disposition) };
        }
        let inbound = match &walk.door {
            None => Inside::Unasked,
            Some(door) => {
                let (mine, inbound) =
                    self.inbound.get_or_insert_with(|| (door.interface, net.compile(door, self.service)));
                let Some(inbound) = inbound.as_ref().filter(|_| {
                    door.kind != Kind::NetworkLoadBalancer && *mine == door.interface && door.from == address
                }) else {
                    return Path::Each;
                };
                let refers = match door.sender {
                    Sender::Groups(_) => inbound.groups.count_ones(..) > 0,
                    Sender::Lost => false,
                    Sender::Unknown => return Path::Each,
                };
                let (first, last) = net.parts[self.family as usize][source.class as usize / 2];
                inbound.ranges.inside(first, last, refers)
            }
        };
        let view = net.groups_at(&walk, &host, self.to);
        let same = |a: &Sender, b: &Sender| match (a, b) {
            (Sender::Groups(a), Sender::Groups(b)) => a == b,
            (Sender::Lost, Sender::Lost) | (Sender::Unknown, Sender::Unknown) => true,
            _ => false,
        };
        let view = self.views.iter().position(|v| same(v, &view)).unwrap_or_else(|| {
            self.views.push(match view {
                Sender::Groups(groups) => Sender::Groups(Cow::Owned(groups.into_owned())),
                other => other,
            });
            self.sent.push(vec![None; net.sets.len()]);
            self.views.len() - 1
        });
        Path::Way { known: disposition == Disposition::Reachable, view: view as u16, inbound }
    }
}

impl Ranges {
    fn inside(&self, first: u128, last: u128, refers: bool) -> Inside {
        if self.iter().any(|(a, b)| a <= first && last <= b) {
            Inside::All { refers }
        } else if self.iter().all(|(a, b)| b < first || last < a) {
            Inside::None { refers }
        } else {
            Inside::Some { refers }
        }
    }
}

impl Network {
    /// The inbound rules of a target for one service as ranges and groups; `None` when something in them is not
    /// known or the target has no groups.
    fn compile(&self, door: &Door, service: Service) -> Option<Inbound> {
        let groups = door.groups.as_ref().filter(|g| !g.is_empty())?;
        let mut inbound = Inbound { groups: FixedBitSet::with_capacity(self.groups.len()), ranges: Ranges::default() };
        let mut ranges = Vec::new();
        let v6 = door.from.is_ipv6();
        let mut add = |net: &Cidr| {
            if net.addr().is_ipv6() == v6 {
                ranges.push(span(net));
            }
        };
        for &number in groups.iter() {
            let group = self.groups.get(number as usize)?;
            group.row?;
            for rule in &group.rules[INGRESS] {
                if !rule.serves(service)? {
                    continue;
                }
                match &rule.peer {
                    Peer::Cidr(net) => add(net),
                    Peer::List(list) => self.lists[*list as usize].cidrs.as_ref()?.iter().for_each(&mut add),
                    Peer::Group(group) => inbound.groups.insert(*group as usize),
                    Peer::Unreadable => return None,
                }
            }
        }
        inbound.ranges = Ranges::new(ranges);
        Some(inbound)
    }
}

impl super::model::Interface {
    pub(super) fn primary(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.primary_v4.map(IpAddr::V4),
            Family::V6 => self.primary_v6.map(IpAddr::V6),
        }
    }
}
