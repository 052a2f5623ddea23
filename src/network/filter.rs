//! Security groups and network ACLs: which of them let a packet through, and which rule says so.

use std::net::IpAddr;

use super::Verdict;
use super::address::Ports;
use super::address::holds;
use super::flow::{Protocol, Service};
use super::model::{Network, Peer, Rule};

pub(super) const INGRESS: usize = 0;
pub(super) const EGRESS: usize = 1;

/// The groups of the other end, as rules that refer to groups see them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peers<'a> {
    /// Sorted. The other end is an interface with these, and the path keeps its identity.
    Are(&'a [u32]),
    /// The other end is no interface with groups, or the path drops them.
    Lost,
    /// Nobody recorded the other end's groups.
    Unknown,
}

/// Why a filter cannot be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unclear {
    /// This group's rules are not recorded.
    Group(u32),
    /// The group itself is not known by number.
    Nameless,
    /// This prefix list's entries are not recorded.
    List(u32),
    /// A rule refers to groups and the other end's groups are not known.
    Peer,
    /// A recorded CIDR or protocol cannot be read: rule index or entry index.
    Unreadable(u32),
    /// The subnet's network ACL is not recorded.
    Acl,
}

/// What a filter decides.
#[derive(Debug)]
pub(super) struct Decision {
    pub verdict: Verdict,
    /// Group and rule, or 0 and entry, that decided (the first to deny, when blocked).
    pub by: Option<(u32, u32)>,
    /// The ports that do not pass, when others do.
    pub blocked: Ports,
    pub unclear: Option<Unclear>,
    /// A rule refers to the other end's group, but the path drops the identity.
    pub lost_reference: bool,
}

impl Decision {
    fn new(verdict: Verdict, by: Option<(u32, u32)>) -> Decision {
        Decision { verdict, by, blocked: Ports::default(), unclear: None, lost_reference: false }
    }
}

impl Network {
    /// Whether one of the groups allows the service with the address.
    ///
    /// Allow rules only, the union of all groups, no order
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html>).
    pub(super) fn groups_permit(
        &self,
        groups: &[u32],
        direction: usize,
        with: IpAddr,
        peers: Peers,
        service: Service,
    ) -> Decision {
        let mut left = if service.one_port() { Ports::default() } else { Ports::range(service.first, service.last) };
        let mut first = None;
        let mut unclear = None;
        let mut lost_reference = false;
        for &number in groups {
            let Some(group) = self.groups.get(number as usize) else {
                unclear = unclear.or(Some(Unclear::Nameless));
                continue;
            };
            if group.row.is_none() {
                unclear = unclear.or(Some(Unclear::Group(number)));
            }
            for (index, rule) in group.rules[direction].iter().enumerate() {
                match rule.serves(service) {
                    Some(true) => {}
                    Some(false) => continue,
                    None => {
                        if self.rule_faces(rule, with, peers) != Ok(false) {
                            unclear = unclear.or(Some(Unclear::Unreadable(index as u32)));
                        }
                        continue;
                    }
                }
                match self.rule_faces(rule, with, peers) {
                    Ok(true) => {}
                    Ok(false) => {
                        lost_reference |= matches!((&rule.peer, peers), (Peer::Group(_), Peers::Lost));
                        continue;
                    }
                    Err(why) => {
                        unclear = unclear.or(Some(why));
                        continue;
                    }
                }
                if service.one_port() {
                    return Decision::new(Verdict::Allowed, Some((number, index as u32)));
                }
                first = first.or(Some((number, index as u32)));
                let (from, to) = rule.ports();
                left.take(from, to);
                if left.is_empty() {
                    return Decision::new(Verdict::Allowed, first);
                }
            }
        }
        let verdict = if unclear.is_some() { Verdict::Unknown } else { Verdict::Blocked };
        Decision { verdict, by: None, blocked: left, unclear, lost_reference }
    }

    /// Whether the rule's peer covers the other end.
    fn rule_faces(&self, rule: &Rule, with: IpAddr, peers: Peers) -> Result<bool, Unclear> {
        match &rule.peer {
            Peer::Cidr(net) => Ok(holds(net, with)),
            Peer::Group(group) => match peers {
                Peers::Are(groups) => Ok(groups.binary_search(group).is_ok()),
                Peers::Lost => Ok(false),
                Peers::Unknown => Err(Unclear::Peer),
            },
            Peer::List(list) => match &self.lists[*list as usize].cidrs {
                Some(cidrs) => Ok(cidrs.iter().any(|c| holds(c, with))),
                None => Err(Unclear::List(*list)),
            },
            Peer::Unreadable => Err(Unclear::Unreadable(rule.item)),
        }
    }

    /// Whether the ACL lets the service pass: entries in the order of their numbers, the first match decides,
    /// the end denies; each port by itself
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>).
    pub(super) fn acl_permits(&self, acl: u32, direction: usize, with: IpAddr, service: Service) -> Decision {
        let Some(acl) = self.acls.get(acl as usize) else {
            let mut decision = Decision::new(Verdict::Unknown, None);
            decision.unclear = Some(Unclear::Acl);
            return decision;
        };
        // Ports still undecided; allocated only when an entry covers a part of them.
        let mut left: Option<Ports> = None;
        let (mut denied, mut allowed) = (Ports::default(), false);
        let mut unclear: Option<Unclear> = None;
        // What entries that cannot be read might have done, by whether they allow.
        let mut perhaps = [false; 2];
        let (mut allowed_by, mut denied_by) = (None, None);
        for (index, entry) in acl.entries[direction].iter().enumerate() {
            let by = Some((0, index as u32));
            match entry.cidr {
                Some(net) if !holds(&net, with) => continue,
                _ => {}
            }
            let covers = match (entry.protocol, service.protocol) {
                (None, _) => true,
                (Some(Protocol::Any), _) => true,
                // "All protocols" is stopped by any deny and passed only by an entry for all.
                (Some(_), Protocol::Any) => !entry.allow,
                (Some(a), b) => a == b,
            };
            if !covers {
                continue;
            }
            let (mut from, mut to) = (0, u16::MAX);
            match entry.protocol {
                Some(p) if p.has_ports() => (from, to) = entry.ports,
                Some(p) if p.is_icmp() && service.protocol != Protocol::Any => {
                    let (kind, code) = (i64::from(service.icmp.0), i64::from(service.icmp.1));
                    if (entry.icmp.0 != -1 && entry.icmp.0 != kind) || (entry.icmp.1 != -1 && entry.icmp.1 != code) {
                        continue;
                    }
                }
                _ => {}
            }
            if service.protocol == Protocol::Any {
                (from, to) = (0, u16::MAX);
            }
            if to < service.first || service.last < from {
                continue;
            }
            if entry.cidr.is_none() || entry.protocol.is_none() {
                unclear = unclear.or(Some(Unclear::Unreadable(entry.index)));
                perhaps[usize::from(entry.allow)] = true;
                continue;
            }
            let part = if from <= service.first && service.last <= to && left.is_none() {
                None
            } else {
                let taken = left.get_or_insert_with(|| Ports::range(service.first, service.last)).take(from, to);
                if taken.is_empty() {
                    continue;
                }
                Some(taken)
            };
            let Some(taken) = part else {
                // The first entry that matches covers everything: the usual case.
                let verdict = match (perhaps[usize::from(!entry.allow)], entry.allow) {
                    (true, _) => Verdict::Unknown,
                    (false, true) => Verdict::Allowed,
                    (false, false) => Verdict::Blocked,
                };
                let mut decision = Decision::new(verdict, by);
                decision.unclear = unclear;
                return decision;
            };
            if entry.allow {
                allowed = true;
                allowed_by = allowed_by.or(by);
            } else {
                denied_by = denied_by.or(by);
                denied.add(&taken);
            }
            if left.as_ref().is_some_and(Ports::is_empty) {
                break;
            }
        }
        match left {
            None => denied.add(&Ports::range(service.first, service.last)),
            Some(left) => denied.add(&left),
        }
        if denied.is_empty() {
            let verdict = if perhaps[0] { Verdict::Unknown } else { Verdict::Allowed };
            let mut decision = Decision::new(verdict, allowed_by);
            decision.unclear = unclear;
            return decision;
        }
        let verdict = if perhaps[1] { Verdict::Unknown } else { Verdict::Blocked };
        let mut decision = Decision::new(verdict, denied_by);
        decision.unclear = unclear;
        if allowed {
            decision.blocked = denied;
        }
        decision
    }
}

impl Rule {
    /// Whether the rule covers the protocol and, of several ports, at least one; `None` when it cannot be read.
    pub(super) fn serves(&self, service: Service) -> Option<bool> {
        let protocol = self.protocol?.plain();
        if protocol == Protocol::Any {
            return Some(true);
        }
        if protocol != service.protocol {
            return Some(false);
        }
        Some(if protocol.has_ports() {
            self.from <= i64::from(service.last) && i64::from(service.first) <= self.to
        } else if protocol.is_icmp() {
            self.from == -1
                || (self.from == i64::from(service.icmp.0) && (self.to == -1 || self.to == i64::from(service.icmp.1)))
        } else {
            true
        })
    }

    /// The ports that the rule covers.
    pub(super) fn ports(&self) -> (u16, u16) {
        if self.protocol.is_some_and(|p| p.plain().has_ports()) {
            (self.from.clamp(0, 65535) as u16, self.to.clamp(0, 65535) as u16)
        } else {
            (0, u16::MAX)
        }
    }
}
