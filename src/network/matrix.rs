//! Many interfaces to a few targets: what interfaces share is decided once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

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

/// The sources of one family in runs of one class, by address within a run.
#[derive(Debug)]
struct Sources {
    runs: Vec<Run>,
    /// Of each source, its place in the question.
    positions: Vec<u32>,
    interfaces: Vec<u32>,
    addresses: Vec<u128>,
    /// Group sets.
    sets: Vec<u32>,
}

/// Sources that differ by their groups and by which ranges of the target's rules hold them, and by nothing else.
#[derive(Debug)]
struct Run {
    /// The part of their subnet and whether they have a public address; `NONE`: each is decided by itself.
    class: u32,
    members: Range<usize>,
}

/// What all interfaces of one class share on the way to a target.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// Something on the way looks at more than the class.
    Each,
    /// No group changes it.
    Settled(Disposition),
    /// What follows by the source's groups, and which of the class the target's ranges hold.
    Way { answers: usize, inside: Inside },
}

/// Whether the target's ranges hold the addresses of a class.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Inside {
    All,
    None,
    Some,
}

/// The verdicts by group set on ways that differ in nothing else.
#[derive(Debug)]
struct Answers {
    /// Whether all else of the way is known.
    known: bool,
    /// Index into [`Column::views`].
    view: usize,
    /// Whether the target's rules may admit by the sender's groups.
    refers: bool,
    /// By group set: outside and inside the target's ranges (`None`: not asked yet).
    by_set: Vec<[Option<Disposition>; 2]>,
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
        let mut prepared: [Option<Sources>; 2] = [None, None];
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
                views: Vec::new(),
                answers: Vec::new(),
                inbound: None,
            };
            let first = verdicts.len();
            verdicts.resize(first + sources.len(), Disposition::Unknown);
            column.decide(prepared, &mut verdicts[first..]);
        }
        Matrix { sources: sources.len(), verdicts }
    }

    fn alone(&self, interface: u32, flow: &Flow) -> Disposition {
        match self.interfaces.get(interface as usize) {
            Some(i) => self.decide(&Flow { source: End::interface(&i.id), ..flow.clone() }),
            None => Disposition::Unknown,
        }
    }

    fn sources(&self, rows: &[Row], family: Family) -> Sources {
        // A counting sort by rank; interfaces that are not there come last.
        let ranks = &self.ranks[family as usize];
        let rank = |row: &Row| ranks.get(row.index as usize).map_or(ranks.len(), |r| *r as usize);
        let mut starts = vec![0_u32; ranks.len() + 2];
        rows.iter().for_each(|row| starts[rank(row) + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let count = rows.len();
        let (mut positions, mut interfaces, mut sets) = (vec![0; count], vec![0; count], vec![NONE; count]);
        let (mut addresses, mut classes) = (vec![0; count], vec![NONE; count]);
        for (row, position) in rows.iter().zip(0..) {
            let start = &mut starts[rank(row)];
            let at = *start as usize;
            *start += 1;
            (positions[at], interfaces[at]) = (position, row.index);
            if let Some(i) = self.interfaces.get(row.index as usize) {
                sets[at] = i.set;
                classes[at] = i.class[family as usize];
                addresses[at] = i.primary(family).map_or(0, bits);
            }
        }
        let mut runs: Vec<Run> = Vec::new();
        for (at, &class) in classes.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if run.class == class => run.members.end = at + 1,
                _ => runs.push(Run { class, members: at..at + 1 }),
            }
        }
        Sources { runs, positions, interfaces, addresses, sets }
    }

    /// Cuts each subnet where a range of a route or VPC begins or ends, and notes in which part each interface's
    /// primary addresses lie: what the way looks at of an address, network ACLs apart.
    pub(super) fn classify(&mut self) {
        let mut cuts: [Vec<u128>; 2] = Default::default();
        let mut cut = |net: &Cidr| {
            let (a, b) = span(net);
            cuts[usize::from(net.addr().is_ipv6())].extend([a, b.saturating_add(1)]);
        };
        self.tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.transit_tables.iter().flat_map(|t| &t.routes).for_each(|r| cut(&r.to));
        self.vpcs.iter().flat_map(|v| &v.cidrs).for_each(&mut cut);
        self.peerings.iter().flat_map(|p| &p.sides).flat_map(|s| &s.cidrs).for_each(&mut cut);
        for family in [Family::V4, Family::V6] {
            let f = family as usize;
            cuts[f].sort_unstable();
            cuts[f].dedup();
            let (mut parts, mut first_part): (Vec<(u128, u128)>, Vec<u32>) = Default::default();
            for subnet in &self.subnets {
                first_part.push(parts.len() as u32);
                let Some(range) = subnet.cidrs.iter().find(|c| Family::of(c.addr()) == family) else { continue };
                let (first, last) = span(range);
                let inner = &cuts[f][cuts[f].partition_point(|c| *c <= first)..cuts[f].partition_point(|c| *c <= last)];
                let starts = std::iter::once(first).chain(inner.iter().copied());
                let ends = inner.iter().map(|c| c - 1).chain(std::iter::once(last));
                parts.extend(starts.zip(ends));
            }
            first_part.push(parts.len() as u32);
            for number in 0..self.interfaces.len() {
                let i = &self.interfaces[number];
                let Some(address) = i.primary(family).filter(|_| i.subnet != NONE) else { continue };
                if i.kind != Kind::Host || self.set(i.set).is_empty() {
                    continue;
                }
                let base = first_part[i.subnet as usize] as usize;
                let parts = &parts[base..first_part[i.subnet as usize + 1] as usize];
                let part = parts.partition_point(|p| p.0 <= bits(address));
                if part == 0 || parts[part - 1].1 < bits(address) {
                    continue;
                }
                let public = self.public_of(number as u32, address).is_some();
                self.interfaces[number].class[f] = 2 * (base + part - 1) as u32 + u32::from(public);
            }
            let mut order: Vec<u32> = (0..self.interfaces.len() as u32).collect();
            order.sort_unstable_by_key(|&number| {
                let i = &self.interfaces[number as usize];
                (i.class[f], i.primary(family).map_or(0, bits), number)
            });
            self.ranks[f] = vec![0; order.len()];
            for (rank, number) in (0..).zip(order) {
                self.ranks[f][number as usize] = rank;
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
    /// The target's groups, as senders see them from different places.
    views: Vec<Sender<'n>>,
    answers: Vec<Answers>,
    /// Of the one target: its interface, and its rules when they can be compiled.
    inbound: Option<(u32, Option<Inbound>)>,
}

impl Column<'_, '_> {
    fn decide(&mut self, sources: &Sources, verdicts: &mut [Disposition]) {
        for run in &sources.runs {
            let mut members = run.members.clone();
            if run.class == NONE {
                self.decide_each(sources, members, verdicts);
                continue;
            }
            while !members.is_empty() {
                let own = |at: &usize| self.own.contains(&sources.interfaces[*at]);
                let Some(first) = members.clone().find(|at| !own(at)) else { break };
                let (path, last) = self.path(sources, first..members.end);
                let alike = first..last;
                match path {
                    Path::Each => self.decide_each(sources, alike, verdicts),
                    Path::Settled(disposition) => {
                        sources.positions[alike].iter().for_each(|&p| verdicts[p as usize] = disposition);
                    }
                    Path::Way { answers, inside } => self.decide_way(sources, alike, answers, inside, verdicts),
                }
                members.start = last;
            }
        }
        for &own in &self.own {
            let ranks = &self.net.ranks[self.family as usize];
            let rank = |interface: &u32| ranks.get(*interface as usize).copied().unwrap_or(NONE);
            let start = sources.interfaces.partition_point(|i| rank(i) < rank(&own));
            let end = sources.interfaces.partition_point(|i| rank(i) <= rank(&own));
            self.decide_each(sources, start..end, verdicts);
        }
    }

    fn decide_each(&self, sources: &Sources, members: Range<usize>, verdicts: &mut [Disposition]) {
        for at in members {
            verdicts[sources.positions[at] as usize] = self.net.alone(sources.interfaces[at], self.flow);
        }
    }

    /// The members by address: pieces inside the target's ranges and outside them take turns.
    fn decide_way(
        &mut self,
        sources: &Sources,
        Range { start, end }: Range<usize>,
        answers: usize,
        inside: Inside,
        verdicts: &mut [Disposition],
    ) {
        match inside {
            Inside::All => return self.decide_piece(sources, start..end, answers, true, verdicts),
            Inside::None => return self.decide_piece(sources, start..end, answers, false, verdicts),
            Inside::Some => {}
        }
        let Some((_, Some(rules))) = &self.inbound else { return };
        let members = &sources.addresses[start..end];
        let mut pieces = Vec::new();
        for (first, last) in rules.ranges.within(members[0], members[members.len() - 1]) {
            pieces
                .push(start + members.partition_point(|a| *a < first)..start + members.partition_point(|a| *a <= last));
        }
        let mut at = start;
        for piece in pieces {
            self.decide_piece(sources, at..piece.start, answers, false, verdicts);
            at = piece.end;
            self.decide_piece(sources, piece, answers, true, verdicts);
        }
        self.decide_piece(sources, at..end, answers, false, verdicts);
    }

    fn decide_piece(
        &mut self,
        sources: &Sources,
        members: Range<usize>,
        answers: usize,
        inside: bool,
        verdicts: &mut [Disposition],
    ) {
        for (&set, &position) in sources.sets[members.clone()].iter().zip(&sources.positions[members]) {
            let verdict = match self.answers[answers].by_set[set as usize][usize::from(inside)] {
                Some(verdict) => verdict,
                None => self.ask(answers, set, inside),
            };
            verdicts[position as usize] = verdict;
        }
    }

    /// What the groups of both ends say of a group set.
    fn ask(&mut self, answers: usize, set: u32, inside: bool) -> Disposition {
        let Answers { known, view, refers, .. } = self.answers[answers];
        let groups = self.net.set(set);
        let peers = self.views[view].peers();
        let sent = match self.net.groups_permit(groups, EGRESS, self.to, peers, self.service).verdict {
            Verdict::Blocked => Disposition::Blocked,
            Verdict::Allowed if known => Disposition::Reachable,
            Verdict::Allowed | Verdict::Unknown => Disposition::Unknown,
        };
        let admitted = refers
            && match &self.inbound {
                Some((_, Some(rules))) => groups.iter().any(|&g| rules.groups.contains(g as usize)),
                _ => false,
            };
        let by_set = [Some(if admitted { sent } else { Disposition::Blocked }), Some(sent)];
        self.answers[answers].by_set[set as usize] = by_set;
        if inside || admitted { sent } else { Disposition::Blocked }
    }

    /// Walks once for the first of these members of a class, without the ends' groups; the path is theirs up to
    /// where an ACL on it looks at the address otherwise.
    fn path(&mut self, sources: &Sources, members: Range<usize>) -> (Path, usize) {
        let Range { start, end } = members;
        let net = self.net;
        let Some(address) = net.interfaces[sources.interfaces[start] as usize].primary(self.family) else {
            return (Path::Each, end);
        };
        let mut host: Host = net.host(sources.interfaces[start], address);
        host.label = Cow::Borrowed("");
        let walk = Walk { bare: true, ..Walk::new(net, None) };
        let walk = net.go(walk, self.flow, &self.wanted, &Origin::Host(host.clone()));
        let next_cut = |acl: &u32| {
            let cuts = &net.acls.get(*acl as usize)?.cuts[self.family as usize];
            cuts.get(cuts.partition_point(|c| *c <= bits(address))).copied()
        };
        let addresses = &sources.addresses[start..end];
        let alike = match walk.acls.iter().filter_map(next_cut).min() {
            Some(cut) => addresses.partition_point(|a| *a < cut),
            None => addresses.len(),
        };
        (self.path_of(&walk, &host, addresses[0], addresses[alike - 1]), start + alike)
    }

    fn path_of(&mut self, walk: &Walk, host: &Host, first: u128, last: u128) -> Path {
        let net = self.net;
        let disposition = walk.disposition();
        if walk.origin.is_none() || disposition == Disposition::Blocked {
            // Groups are not asked, or cannot mend it.
            return if walk.asked_public && walk.door.is_some() { Path::Each } else { Path::Settled(disposition) };
        }
        let (inside, refers) = match &walk.door {
            None => (Inside::All, false),
            Some(door) => {
                let (mine, inbound) =
                    self.inbound.get_or_insert_with(|| (door.interface, net.compile(door, self.service)));
                let Some(inbound) = inbound.as_ref().filter(|_| {
                    door.kind != Kind::NetworkLoadBalancer && *mine == door.interface && door.from == host.address
                }) else {
                    return Path::Each;
                };
                let refers = match door.sender {
                    Sender::Groups(_) => inbound.groups.count_ones(..) > 0,
                    Sender::Lost => false,
                    Sender::Unknown => return Path::Each,
                };
                (inbound.ranges.inside(first, last), refers)
            }
        };
        let view = net.groups_at(walk, host, self.to);
        let same = |a: &Sender, b: &Sender| match (a, b) {
            (Sender::Groups(a), Sender::Groups(b)) => a == b,
            (Sender::Lost, Sender::Lost) | (Sender::Unknown, Sender::Unknown) => true,
            _ => false,
        };
        let view = self.views.iter().position(|v| same(v, &view)).unwrap_or_else(|| {
            self.views.push(match view {
                Sender::Groups(groups) => Sender::Groups(Cow::Owned(groups.into_owned())),
                Sender::Lost => Sender::Lost,
                Sender::Unknown => Sender::Unknown,
            });
            self.views.len() - 1
        });
        let known = disposition == Disposition::Reachable;
        let same = |a: &Answers| (a.known, a.view, a.refers) == (known, view, refers);
        let answers = self.answers.iter().position(same).unwrap_or_else(|| {
            self.answers.push(Answers { known, view, refers, by_set: vec![[None; 2]; net.sets.len()] });
            self.answers.len() - 1
        });
        Path::Way { answers, inside }
    }
}

impl Ranges {
    /// Those that touch `first..=last`.
    fn within(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.iter().skip_while(move |r| r.1 < first).take_while(move |r| r.0 <= last)
    }
    fn inside(&self, first: u128, last: u128) -> Inside {
        match self.within(first, last).next() {
            None => Inside::None,
            Some((a, b)) if a <= first && last <= b => Inside::All,
            Some(_) => Inside::Some,
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
