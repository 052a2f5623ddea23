//! What a network ACL lacks for DNS between two subnets, with numbers for the entries to add.

use ipnet::IpNet;

use super::Cluster;
use super::acl_numbers::{LAST, Numbers};
use crate::network::LINUX_CLIENT_PORTS;
use crate::shape::ec2::{NetworkAcl, NetworkAclEntry, Subnet, Vpc};
use crate::shape::{Str, derived};
use crate::snapshot::Rec;

derived! {
    /// A passage that a network ACL does not let through.
    AclGap {
        egress: bool,
        /// `udp` or `tcp`.
        protocol: Str,
        /// Ports to allow.
        from: i64,
        to: i64,
        cidr: Str,
        ipv6: bool,
        /// A free number before the entry that decides; 0 when there is none.
        number: i64,
        /// The entry that denies; 0 when none allows it.
        denial: i64,
        /// The denial is about nothing but these ports, and this is the first gap that it makes.
        deletable: bool,
    }
}

/// Whether an entry is about the protocol (`-1` is all).
pub(super) fn about(entry: &NetworkAclEntry, protocol: &str) -> bool {
    let number = if protocol == "udp" { "17" } else { "6" };
    matches!(entry.Protocol.as_str(), "-1") || entry.Protocol.as_str() == number
}

pub(super) fn ports(entry: &NetworkAclEntry) -> (i64, i64) {
    match &entry.PortRange {
        Some(range) if entry.Protocol.as_str() != "-1" => (range.From.unwrap_or(0), range.To.unwrap_or(65535)),
        _ => (0, 65535),
    }
}

pub(super) fn range(entry: &NetworkAclEntry) -> Option<IpNet> {
    let text = if entry.CidrBlock.is_empty() { &entry.Ipv6CidrBlock } else { &entry.CidrBlock };
    text.parse().ok()
}

/// The entry that stops a part of what is asked: `None` when all of it passes.
fn decider<'a>(
    acl: &'a NetworkAcl,
    egress: bool,
    protocol: &str,
    asked: (i64, i64),
    peer: &IpNet,
) -> Option<Option<&'a NetworkAclEntry>> {
    let mut entries: Vec<&NetworkAclEntry> =
        acl.Entries.iter().filter(|e| e.Egress == Some(egress) && about(e, protocol)).collect();
    entries.sort_by_key(|e| e.RuleNumber);
    for entry in entries {
        let Some(net) = range(entry) else { continue };
        let (from, to) = ports(entry);
        let touches = (net.contains(peer) || peer.contains(&net)) && from <= asked.1 && asked.0 <= to;
        if !touches {
            continue;
        }
        if entry.RuleAction == "deny" {
            return Some(Some(entry).filter(|e| e.RuleNumber.is_some_and(|n| n < LAST)));
        }
        if net.contains(peer) && from <= asked.0 && asked.1 <= to {
            return None;
        }
    }
    Some(None)
}

impl Cluster {
    /// The passages for DNS from clients in one subnet to servers in another that the ACL does not let through.
    pub(super) fn dns_acl_gaps(&self, acl: Rec<'_, NetworkAcl>, client: &str, server: &str, ipv6: bool) -> Vec<AclGap> {
        let guards = |subnet: &str| acl.Associations.iter().any(|a| a.SubnetId == subnet);
        let (client_range, server_range) = (self.range_around(client, ipv6), self.range_around(server, ipv6));
        let answers = (i64::from(*LINUX_CLIENT_PORTS.start()), i64::from(*LINUX_CLIENT_PORTS.end()));
        let mut needs = Vec::new();
        for protocol in ["udp", "tcp"] {
            if guards(server) {
                needs.push((false, protocol, (53, 53), (53, 53), client_range));
                needs.push((true, protocol, answers, (1024, 65535), client_range));
            }
            if guards(client) {
                needs.push((true, protocol, (53, 53), (53, 53), server_range));
                needs.push((false, protocol, answers, (1024, 65535), server_range));
            }
        }
        let mut numbers = Numbers::of(acl.value);
        let mut gaps: Vec<AclGap> = Vec::new();
        for (egress, protocol, asked, open, peer) in needs {
            let Some(peer) = peer else { continue };
            let Some(denied) = decider(acl.value, egress, protocol, asked, &peer) else { continue };
            let denial = denied.and_then(|e| e.RuleNumber).unwrap_or(0);
            let same = |g: &AclGap| (g.egress, g.protocol.as_str(), g.from) == (egress, protocol, open.0);
            if gaps.iter().any(|g| same(g) && g.cidr == peer.to_string()) {
                continue;
            }
            let number = numbers.take(egress, if denial > 0 { denial } else { LAST });
            let narrow = denied.is_some_and(|e| {
                let (from, to) = ports(e);
                e.Protocol.as_str() != "-1" && from >= open.0 && to <= open.1
            });
            gaps.push(AclGap {
                egress,
                protocol: Str::const_new(protocol),
                from: open.0,
                to: open.1,
                cidr: Str::from(peer.to_string()),
                ipv6,
                number: number.unwrap_or(0),
                denial,
                deletable: narrow && !gaps.iter().any(|g| g.deletable && (g.egress, g.denial) == (egress, denial)),
            });
        }
        gaps
    }

    /// The range of the VPC that a subnet lies in.
    fn range_around(&self, subnet: &str, ipv6: bool) -> Option<IpNet> {
        let subnet: Rec<'_, Subnet> = self.snapshot.tables.subnets.get(subnet)?;
        let vpc: Option<Rec<'_, Vpc>> = self.snapshot.tables.vpcs.get(&subnet.VpcId);
        let own: IpNet = if ipv6 {
            subnet.Ipv6CidrBlockAssociationSet.iter().find_map(|a| a.Ipv6CidrBlock.parse().ok())?
        } else {
            subnet.CidrBlock.parse().ok()?
        };
        let v4 = vpc.iter().flat_map(|v| v.value.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock));
        let v6 = vpc.iter().flat_map(|v| v.value.Ipv6CidrBlockAssociationSet.iter().map(|a| &a.Ipv6CidrBlock));
        v4.chain(v6).filter_map(|r| r.parse::<IpNet>().ok()).find(|r| r.contains(&own)).or(Some(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: i64, egress: bool, protocol: &str, cidr: &str, ports: Option<(i64, i64)>, action: &str) -> String {
        let range = ports.map(|(f, t)| format!(r#","PortRange":{{"From":{f},"To":{t}}}"#)).unwrap_or_default();
        format!(
            r#"{{"RuleNumber":{number},"Egress":{egress},"Protocol":"{protocol}","CidrBlock":"{cidr}","RuleAction":"{action}"{range}}}"#
        )
    }

    #[test]
    fn the_entry_that_decides() {
        let text = format!(
            r#"{{"NetworkAclId":"acl-1","Entries":[{},{},{}]}}"#,
            entry(100, false, "-1", "0.0.0.0/0", None, "allow"),
            entry(90, false, "17", "0.0.0.0/0", Some((53, 53)), "deny"),
            entry(100, true, "6", "10.0.0.0/16", Some((1024, 65535)), "allow"),
        );
        let acl: NetworkAcl = serde_json::from_str(&text).unwrap();
        let vpc: IpNet = "10.0.0.0/16".parse().unwrap();
        let number = |d: Option<Option<&NetworkAclEntry>>| d.map(|e| e.and_then(|e| e.RuleNumber));
        assert_eq!(number(decider(&acl, false, "udp", (53, 53), &vpc)), Some(Some(90)));
        assert_eq!(number(decider(&acl, false, "tcp", (53, 53), &vpc)), None);
        assert_eq!(number(decider(&acl, true, "udp", (53, 53), &vpc)), Some(None));
        assert_eq!(number(decider(&acl, true, "tcp", (32768, 60999), &vpc)), None);
    }
}
