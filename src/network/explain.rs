//! The words and places of a hop.

use std::net::IpAddr;

use super::filter::{Decision, EGRESS, Unclear};
use super::flow::Service;
use super::model::{Network, Peer};
use super::route::Lookup;
use super::walk::Host;
use super::{Hop, Target, Verdict};
use crate::shape::Row;
use crate::shape::ec2::{IpPermission, SecurityGroup, SecurityGroupRule};
use crate::snapshot::{Object, Snapshot, Spot};

impl Hop {
    pub(super) fn new(at: impl Into<String>, step: &str) -> Hop {
        Hop {
            at: at.into(),
            step: step.to_owned(),
            verdict: Verdict::Allowed,
            by: None,
            code: None,
            note: None,
            spot: None,
            deciders: Vec::new(),
            dropped: None,
        }
    }
    pub(super) fn by(mut self, by: impl Into<String>) -> Hop {
        self.by = Some(by.into());
        self
    }
    pub(super) fn code(mut self, code: &'static str) -> Hop {
        self.code = Some(code);
        self
    }
    pub(super) fn note(mut self, note: impl Into<String>) -> Hop {
        self.note = Some(note.into());
        self
    }
    /// Where it is recorded; the object decides.
    pub(super) fn spot(mut self, row: Row, pointer: impl Into<String>) -> Hop {
        self.spot = Some(Spot { row, pointer: pointer.into() });
        self.deciders.push(row);
        self
    }
}

pub(super) fn plain(at: impl Into<String>, step: &str, note: &str) -> Hop {
    Hop::new(at, step).note(note)
}

fn direction_name(what: &str, direction: usize) -> String {
    format!("{what} {}", if direction == EGRESS { "egress" } else { "ingress" })
}

pub(super) fn no_groups(host: &Host, direction: usize) -> Hop {
    Hop::new(host.label.as_ref(), &direction_name("security group", direction))
        .note("its security groups are not recorded")
}

fn unclear(net: &Network, why: Unclear) -> String {
    match why {
        Unclear::Group(g) => format!("the rules of {} are not recorded", net.groups[g as usize].id),
        Unclear::Nameless => "the rules of a group are not recorded".to_owned(),
        Unclear::List(l) => format!("the entries of {} are not recorded", net.lists[l as usize].id),
        Unclear::Peer => "a rule refers to security groups, and the other end's are not recorded".to_owned(),
        Unclear::Unreadable(i) => format!("element {i} cannot be read as a range of addresses"),
        Unclear::Acl => "its network ACL is not recorded".to_owned(),
    }
}

#[allow(clippy::too_many_arguments)]
pub(super) fn groups(
    net: &Network,
    snapshot: Option<&Snapshot>,
    host: &Host,
    groups: &[u32],
    direction: usize,
    with: IpAddr,
    service: Service,
    decision: &Decision,
) -> Hop {
    let mut hop = Hop::new(host.label.as_ref(), &direction_name("security group", direction));
    let list = if direction == EGRESS { "/IpPermissionsEgress" } else { "/IpPermissions" };
    hop.deciders = groups.iter().filter_map(|&g| net.groups.get(g as usize)?.row).collect();
    match (decision.verdict, decision.by) {
        (Verdict::Allowed, Some((group, rule))) => {
            let g = &net.groups[group as usize];
            let r = &g.rules[direction][rule as usize];
            let kind = match r.peer {
                Peer::Group(_) => "UserIdGroupPairs",
                Peer::List(_) => "PrefixListIds",
                Peer::Cidr(c) if c.addr().is_ipv6() => "Ipv6Ranges",
                Peer::Cidr(_) => "IpRanges",
                Peer::Unreadable => "",
            };
            if let Some(row) = g.row {
                hop.spot = Some(Spot { row, pointer: format!("{list}/{}/{kind}/{}", r.permission, r.item) });
            }
            let rule_id = snapshot.and_then(|s| rule_id(s, g.row?, direction, r.permission, kind, r.item));
            hop.by(rule_id.map_or_else(|| g.id.to_string(), |id| format!("{} {id}", g.id)))
        }
        _ => {
            let row = groups.iter().find_map(|&g| Some((g, net.groups.get(g as usize)?.row?)));
            hop.spot = row.map(|(_, row)| Spot { row, pointer: list.to_owned() });
            let names: Vec<&str> =
                groups.iter().map(|&g| net.groups.get(g as usize).map_or("?", |g| g.id.as_str())).collect();
            hop.by = Some(names.join(" "));
            if decision.verdict == Verdict::Unknown {
                hop.note = decision.unclear.map(|u| unclear(net, u));
                return hop;
            }
            let any =
                groups.iter().any(|&g| net.groups.get(g as usize).is_some_and(|g| !g.rules[direction].is_empty()));
            hop.code = Some(match (any, decision.lost_reference) {
                (false, _) => "SG_HAS_NO_RULES",
                (true, true) => "SG_REFERENCES_NOT_PRESERVED",
                (true, false) => "ENI_SG_RULES_MISMATCH",
            });
            let whole = decision.blocked.iter().eq([(service.first, service.last)]);
            if service.protocol.has_ports() && !service.one_port() && !whole {
                hop.note = Some(format!("ports {} are not allowed", decision.blocked));
            } else if decision.lost_reference {
                hop.note =
                    Some(format!("{with} comes without its security groups: rules that refer to groups do not match"));
            }
            hop
        }
    }
}

/// The id of the rule in `DescribeSecurityGroupRules`, when that is recorded.
fn rule_id(snapshot: &Snapshot, row: Row, direction: usize, permission: u32, kind: &str, item: u32) -> Option<String> {
    let group = SecurityGroup::table(&snapshot.tables).at(row.index);
    let list = if direction == EGRESS { &group.value.IpPermissionsEgress } else { &group.value.IpPermissions };
    let permission: &IpPermission = list.get(permission as usize)?;
    let item = item as usize;
    let same_peer = |r: &SecurityGroupRule| match kind {
        "IpRanges" => permission.IpRanges.get(item).is_some_and(|p| p.CidrIp == r.CidrIpv4),
        "Ipv6Ranges" => permission.Ipv6Ranges.get(item).is_some_and(|p| p.CidrIpv6 == r.CidrIpv6),
        "PrefixListIds" => permission.PrefixListIds.get(item).is_some_and(|p| p.PrefixListId == r.PrefixListId),
        _ => permission
            .UserIdGroupPairs
            .get(item)
            .is_some_and(|p| r.ReferencedGroupInfo.as_ref().is_some_and(|g| g.GroupId == p.GroupId)),
    };
    let ports = |p: Option<i64>| p.unwrap_or(-1);
    snapshot
        .tables
        .security_group_rules
        .iter()
        .find(|r| {
            r.GroupId == group.GroupId
                && r.IsEgress == Some(direction == EGRESS)
                && r.IpProtocol == permission.IpProtocol
                && (ports(r.FromPort), ports(r.ToPort)) == (ports(permission.FromPort), ports(permission.ToPort))
                && same_peer(r.value)
        })
        .map(|r| r.SecurityGroupRuleId.to_string())
}

pub(super) fn acl(net: &Network, subnet: u32, direction: usize, service: Service, decision: &Decision) -> Hop {
    let step = direction_name("network ACL", direction);
    let Some(acl) = net.acls.get(net.acl_number(subnet) as usize) else {
        return Hop::new(net.subnet_name(subnet), &step).note("its network ACL is not recorded");
    };
    let hop = Hop::new(acl.id.as_str(), &step);
    let entry = decision.by.map(|(_, i)| &acl.entries[direction][i as usize]);
    let mut hop = match entry {
        Some(entry) => {
            let by = match entry.number {
                32767 | 32768 | i64::MAX => "rule * (default deny)".to_owned(),
                number => format!("rule {number}"),
            };
            hop.spot(acl.row, format!("/Entries/{}", entry.index)).by(by)
        }
        None => hop.spot(acl.row, "/Entries").by("rule * (default deny)"),
    };
    match decision.verdict {
        Verdict::Blocked => {
            hop.code = Some("SUBNET_ACL_RESTRICTION");
            if !decision.blocked.is_empty() && service.protocol.has_ports() {
                hop.note =
                    Some(format!("ports {} of {}-{} are dropped", decision.blocked, service.first, service.last));
                hop.dropped = Some(decision.blocked.count());
            }
        }
        Verdict::Unknown => hop.note = decision.unclear.map(|u| unclear(net, u)),
        Verdict::Allowed => {}
    }
    hop
}

pub(super) fn route(net: &Network, subnet: u32, table: u32, to: IpAddr, found: Lookup) -> Hop {
    let hop = Hop::new(net.subnet_name(subnet), "route");
    let Some(t) = net.tables.get(table as usize) else {
        return hop.note("its route table is not recorded");
    };
    match found {
        Lookup::NoTable => hop,
        Lookup::Nothing => hop
            .spot(t.row, "/Routes")
            .by(t.id.as_str())
            .code("NO_ROUTE_TO_DESTINATION")
            .note(format!("no route to {to}")),
        Lookup::Unclear(index) => hop
            .spot(t.row, format!("/Routes/{index}"))
            .by(t.id.as_str())
            .note("the entries of the route's prefix list are not recorded"),
        Lookup::Local => hop.spot(t.row, "/Routes").by("local"),
        Lookup::Found(at) => {
            let route = &t.routes[at as usize];
            let hop = hop.spot(t.row, format!("/Routes/{}", route.index)).by(format!(
                "{} -> {}",
                route.to,
                route.target.name()
            ));
            if route.blackhole {
                hop.code("BAD_STATE_ROUTE").note("the route is a blackhole: its target is gone")
            } else {
                hop
            }
        }
    }
}

impl Target {
    /// As a route table shows it.
    pub fn name(&self) -> &str {
        match self {
            Target::Local => "local",
            Target::InternetGateway(id)
            | Target::EgressOnly(id)
            | Target::Nat(id)
            | Target::TransitGateway(id)
            | Target::Peering(id)
            | Target::Endpoint(id)
            | Target::Interface(id)
            | Target::Instance(id)
            | Target::VirtualGateway(id) => id,
            Target::LocalGateway => "local gateway",
            Target::Carrier => "carrier gateway",
            Target::CoreNetwork => "core network",
            Target::Other(id) => id,
        }
    }
}
