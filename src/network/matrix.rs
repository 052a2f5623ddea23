//! Many interfaces to a few targets: what interfaces share is decided once.

use std::net::IpAddr;

use fixedbitset::FixedBitSet;

use super::address::{Family, Ranges, bits, span};
use super::filter::{EGRESS, INGRESS};
use super::flow::{Flow, Service};
use super::model::{Kind, NONE, Network, Peer};
use super::walk::{Door, Host, Sender, Walk};
use super::{Disposition, End, Verdict};
use crate::shape::Row;

/// The verdicts of many interfaces towards some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    targets: usize,
    verdicts: Vec<Disposition>,
}

impl Matrix {
    /// The verdict of the source and target at these positions of the question.
    pub fn get(&self, source: usize, target: usize) -> Option<Disposition> {
        if target < self.targets { self.verdicts.get(source * self.targets + target).copied() } else { None }
    }
    /// The verdicts of one source, in the order of the targets.
    pub fn of(&self, source: usize) -> &[Disposition] {
        self.verdicts.get(source * self.targets..(source + 1) * self.targets).unwrap_or(&[])
    }
}

/// What all interfaces of one part of a subnet share on the way to a target.
#[derive(Debug)]
enum Path<'n> {
    /// Something on the way looks at more than the part of the subnet.
    Each,
    /// No group is asked.
    Settled(Disposition),
    /// The way and the answer, the groups of both ends left out.
    Way { verdict: Verdict, seen_as: u32, door: Option<Door<'n>> },
}

/// The target's inbound rules for one service, ready to be asked.
#[derive(Debug)]
struct Inbound {
    groups: FixedBitSet,
    ranges: Ranges,
}

impl Network {
    /// Decides every flow from every interface (rows of `DescribeNetworkInterfaces`, their primary addresses); the
    /// flows' own sources are not looked at. The same verdicts as [`Network::decide`], for hundreds of thousands of
    /// questions.
    pub fn reach_matrix(&self, sources: &[Row], flows: &[Flow]) -> Matrix {
        let targets = flows.len();
        let mut verdicts = vec![Disposition::Unknown; sources.len() * targets];
        for (target, flow) in flows.iter().enumerate() {
            self.column(sources, flow, &mut verdicts, target, targets);
        }
        Matrix { targets, verdicts }
    }

    fn column(&self, sources: &[Row], flow: &Flow, verdicts: &mut [Disposition], target: usize, targets: usize) {
        let alone = |row: Row| match self.interfaces.get(row.index as usize) {
            Some(i) => self.decide(&Flow { source: End::interface(&i.id), ..flow.clone() }),
            None => Disposition::Unknown,
        };
        let fixed = self.family_of(&flow.destination);
        let family = fixed.unwrap_or(Family::V4);
        let to = self.destination_address(&flow.destination, family);
        let (Some(to), true) = (to, Service::request(flow, family).one_port()) else {
            sources.iter().enumerate().for_each(|(s, row)| verdicts[s * targets + target] = alone(*row));
            return;
        };
        let service = Service::request(flow, family);
        let mut column = Column {
            net: self,
            flow,
            service,
            to,
            bases: self.bases(family),
            paths: Vec::new(),
            views: Vec::new(),
            sent: Vec::new(),
            inbound: None,
            referred: Vec::new(),
        };
        column.paths.resize_with(column.bases.last().copied().unwrap_or(0) as usize, || None);
        for (s, row) in sources.iter().enumerate() {
            let fast = self.interfaces.get(row.index as usize).and_then(|i| {
                let address = match family {
                    Family::V4 => IpAddr::V4(i.primary_v4?),
                    // Who has both families asks by IPv4 unless the destination says otherwise.
                    Family::V6 => IpAddr::V6(i.primary_v6?),
                };
                let plain = i.kind == Kind::Host && i.subnet != NONE && address != to && !self.set(i.set).is_empty();
                let settled = fixed.is_some() || (family == Family::V4 && flow.protocol != super::Protocol::Icmpv6);
                if plain && settled { column.decide(row.index, i.subnet, i.set, address) } else { None }
            });
            verdicts[s * targets + target] = fast.unwrap_or_else(|| alone(*row));
        }
    }

    /// The first class of each subnet (and the count of all at the end): one for each part that an ACL entry or
    /// route tells from the rest.
    fn bases(&self, family: Family) -> Vec<u32> {
        let mut bases = Vec::with_capacity(self.subnets.len() + 1);
        let mut next = 0;
        for subnet in &self.subnets {
            bases.push(next);
            next += 1;
            if let Some(range) = subnet.cidrs.iter().find(|c| Family::of(c.addr()) == family) {
                let (first, last) = span(range);
                next += self.path_cuts(family, first, last) as u32;
            }
        }
        bases.push(next);
        bases
    }

    /// How many cuts lie behind `first`, up to `last`.
    fn path_cuts(&self, family: Family, first: u128, last: u128) -> usize {
        let cuts = &self.cut_points[usize::from(family == Family::V6)];
        cuts.partition_point(|c| *c <= last) - cuts.partition_point(|c| *c <= first)
    }

    /// Collects where ranges of ACL entries and routes begin or end.
    pub(super) fn collect_cuts(&mut self) {
        let mut cuts: [Vec<u128>; 2] = Default::default();
        let mut cut = |net: &super::address::Cidr| {
            let (a, b) = span(net);
            cuts[usize::from(net.addr().is_ipv6())].extend([a, b.saturating_add(1)]);
        };
        self.acls.iter().flat_map(|a| a.entries.iter().flatten()).filter_map(|e| e.cidr.as_ref()).for_each(&mut cut);
        self.tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.transit_tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.vpcs.iter().flat_map(|v| &v.cidrs).for_each(&mut cut);
        self.peerings.iter().flat_map(|p| &p.sides).flat_map(|s| &s.cidrs).for_each(&mut cut);
        // Other subnets and host routes of the reply: a subnet is never cut by another one of its VPC.
        cuts.iter_mut().for_each(|c| {
            c.sort_unstable();
            c.dedup();
            c.shrink_to_fit();
        });
        self.cut_points = cuts;
    }
}

/// One target being asked about.
struct Column<'n, 'f> {
    net: &'n Network,
    flow: &'f Flow,
    service: Service,
    to: IpAddr,
    bases: Vec<u32>,
    /// By part of a subnet.
    paths: Vec<Option<Path<'n>>>,
    /// The target's groups, as senders see them from different places.
    views: Vec<Sender<'n>>,
    /// By view: by group set, what its egress rules say (asked once).
    sent: Vec<Vec<Option<Verdict>>>,
    /// Of the one target: its interface, and its rules when they can be compiled.
    inbound: Option<(u32, Option<Inbound>)>,
    /// By group set: whether a rule of the target refers to one of its groups.
    referred: Vec<Option<bool>>,
}

impl<'n> Column<'n, '_> {
    /// `None`: to be decided by itself.
    fn decide(&mut self, interface: u32, subnet: u32, set: u32, address: IpAddr) -> Option<Disposition> {
        let class = self.class(subnet, address)? as usize;
        if self.paths[class].is_none() {
            let path = self.path(interface, address);
            self.paths[class] = Some(path);
        }
        let (verdict, seen_as, has_door) = match self.paths[class].as_ref()? {
            Path::Each => return None,
            Path::Settled(disposition) => return Some(*disposition),
            Path::Way { verdict, seen_as, door } => (*verdict, *seen_as, door.is_some()),
        };
        if verdict == Verdict::Blocked {
            return Some(Disposition::Blocked);
        }
        let sent = self.sent(seen_as, set);
        if sent == Verdict::Blocked {
            return Some(Disposition::Blocked);
        }
        let received = if has_door { self.received(class, set, address)? } else { Verdict::Allowed };
        Some(match (received, sent, verdict) {
            (Verdict::Blocked, ..) => Disposition::Blocked,
            (Verdict::Allowed, Verdict::Allowed, Verdict::Allowed) => Disposition::Reachable,
            _ => Disposition::Unknown,
        })
    }

    fn class(&self, subnet: u32, address: IpAddr) -> Option<u32> {
        let base = *self.bases.get(subnet as usize)?;
        if self.bases[subnet as usize + 1] == base + 1 {
            return Some(base);
        }
        let family = Family::of(address);
        let range = self.net.subnets[subnet as usize].cidrs.iter().find(|c| Family::of(c.addr()) == family)?;
        if !range.contains(&address) {
            return None;
        }
        Some(base + self.net.path_cuts(family, span(range).0, bits(address)) as u32)
    }

    /// Walks once for a part of a subnet, without the ends' groups.
    fn path(&mut self, interface: u32, address: IpAddr) -> Path<'n> {
        let net = self.net;
        let host: Host<'n> = net.host(interface, address);
        let walk = net.run(
            Walk { bare: true, ..Walk::new(net, None) },
            &Flow {
                source: End::Interface { id: net.interfaces[interface as usize].id.clone(), address: Some(address) },
                ..self.flow.clone()
            },
        );
        if walk.asked_public {
            return Path::Each;
        }
        if walk.origin.is_none() {
            return Path::Settled(walk.disposition());
        }
        let verdict = match walk.disposition() {
            Disposition::Blocked => Verdict::Blocked,
            Disposition::Unknown => Verdict::Unknown,
            Disposition::Reachable => Verdict::Allowed,
        };
        let door = walk.door.clone();
        if let Some(door) = &door {
            let (mine, inbound) = self.inbound.get_or_insert_with(|| (door.interface, net.compile(door, self.service)));
            let kept = door.from == address && matches!(door.sender, Sender::Groups(_) | Sender::Lost);
            if door.kind == Kind::NetworkLoadBalancer || *mine != door.interface || inbound.is_none() || !kept {
                return Path::Each;
            }
        }
        let view = net.groups_at(&walk, &host, self.to);
        let same = |a: &Sender, b: &Sender| match (a, b) {
            (Sender::Groups(a), Sender::Groups(b)) => a == b,
            (Sender::Lost, Sender::Lost) | (Sender::Unknown, Sender::Unknown) => true,
            _ => false,
        };
        let seen_as = self.views.iter().position(|v| same(v, &view)).unwrap_or_else(|| {
            self.views.push(view);
            self.sent.push(vec![None; net.sets.len()]);
            self.views.len() - 1
        });
        Path::Way { verdict, seen_as: seen_as as u32, door }
    }

    fn sent(&mut self, view: u32, set: u32) -> Verdict {
        let known = &mut self.sent[view as usize][set as usize];
        if let Some(known) = known {
            return *known;
        }
        let peers = self.views[view as usize].peers();
        let verdict = self.net.groups_permit(self.net.set(set), EGRESS, self.to, peers, self.service).verdict;
        *known = Some(verdict);
        verdict
    }

    fn received(&mut self, class: usize, set: u32, address: IpAddr) -> Option<Verdict> {
        let Some(Path::Way { door: Some(door), .. }) = &self.paths[class] else { return None };
        let (_, Some(inbound)) = self.inbound.as_ref()? else { return None };
        if let Sender::Groups(_) = door.sender {
            if self.referred.is_empty() {
                self.referred = vec![None; self.net.sets.len()];
            }
            let groups = self.net.set(set);
            let referred = *self.referred[set as usize]
                .get_or_insert_with(|| groups.iter().any(|&g| inbound.groups.contains(g as usize)));
            if referred {
                return Some(Verdict::Allowed);
            }
        }
        Some(if inbound.ranges.contains(bits(address)) { Verdict::Allowed } else { Verdict::Blocked })
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
        let mut add = |net: &super::address::Cidr| {
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

    /// The address that the flow is sent to, when that does not depend on the sender.
    fn destination_address(&self, end: &End, family: Family) -> Option<IpAddr> {
        match end {
            End::Address(address) => Some(*address),
            End::Internet => Some(match family {
                Family::V4 => super::flow::ANY_PUBLIC_V4,
                Family::V6 => super::flow::ANY_PUBLIC_V6,
            }),
            End::Interface { id, address } => {
                let i = &self.interfaces[*self.interface_ids.get(id)? as usize];
                address.or(match family {
                    Family::V4 => i.primary_v4.map(IpAddr::V4),
                    Family::V6 => i.primary_v6.map(IpAddr::V6),
                })
            }
            End::Hypothetical { address, .. } => *address,
        }
    }
}
