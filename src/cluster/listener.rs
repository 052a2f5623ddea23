//! Load balancers to whose listeners nobody gets: by their own security groups, or by the ACLs of their subnets.

use std::sync::Arc;

use super::Cluster;
use super::acl_gap::{about, ports, range};
use super::target_group::covers;
use crate::network::address::is_public;
use crate::shape::ec2::{NetworkAcl, NetworkAclEntry, SecurityGroup, Subnet};
use crate::shape::elb::{Listener, LoadBalancer};
use crate::shape::k8s::{Ingress, Service};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec, Table};

derived! {
    /// A load balancer of the cluster whose security groups admit nobody to any of its listeners.
    ShutLoadBalancer {
        balancer: Link<LoadBalancer>,
        groups: Vec<Link<SecurityGroup>>,
        /// Its listeners: `tcp 443`.
        listeners: Vec<Str>,
        /// Protocol and port of the first listener, for the rule that lacks.
        protocol: Str,
        port: i64,
        ingresses: Vec<Link<Ingress>>,
        services: Vec<Link<Service>>,
    }
}

derived! {
    /// A network ACL that lets no client of the internet through to a load balancer that faces it.
    ShutSubnet {
        acl: Link<NetworkAcl>,
        /// `ingress`: requests to the listeners; `egress`: the answers.
        direction: Str,
        balancer: Link<LoadBalancer>,
        /// Its listeners: `tcp 443`.
        listeners: Vec<Str>,
        subnets: Vec<Link<Subnet>>,
        /// Protocol and ports of the entry that lacks.
        protocol: Str,
        from: i64,
        to: i64,
        ingresses: Vec<Link<Ingress>>,
        services: Vec<Link<Service>>,
    }
}

/// Protocol and port of a load balancer's listeners.
fn listeners_of(listeners: &Table<Listener>, balancer: &LoadBalancer) -> Vec<(&'static str, i64)> {
    let mut asked: Vec<_> = listeners
        .iter()
        .filter(|l| l.value.LoadBalancerArn == balancer.LoadBalancerArn)
        .flat_map(|l| {
            let protocols: &[&'static str] = match l.value.Protocol.as_str() {
                "TCP_UDP" => &["tcp", "udp"],
                "UDP" | "QUIC" => &["udp"],
                "TCP_QUIC" => &["tcp", "udp"],
                _ => &["tcp"],
            };
            protocols.iter().filter_map(|p| Some((*p, l.value.Port?)))
        })
        .collect();
    asked.sort_unstable();
    asked
}

/// Whether an ACL lets any address of the internet through: an entry allows it that no earlier one takes back.
fn admits_public(acl: &NetworkAcl, egress: bool, protocol: &str, asked: (i64, i64)) -> bool {
    let mut entries: Vec<&NetworkAclEntry> =
        acl.Entries.iter().filter(|e| e.Egress == Some(egress) && about(e, protocol)).collect();
    entries.sort_by_key(|e| e.RuleNumber);
    entries.iter().enumerate().any(|(number, entry)| {
        let Some(net) = range(entry) else { return true };
        let (from, to) = ports(entry);
        let private = net.prefix_len() >= 8 && !is_public(net.addr());
        if entry.RuleAction != "allow" || private || to < asked.0 || asked.1 < from {
            return false;
        }
        !entries.iter().take(number).any(|before| {
            let (first, last) = ports(before);
            before.RuleAction == "deny"
                && range(before).is_some_and(|b| b.contains(&net))
                && first <= asked.0.max(from)
                && asked.1.min(to) <= last
        })
    })
}

impl Cluster {
    /// ACLs of the subnets of internet-facing load balancers that let nobody of the internet through to any listener, or
    /// no answer back.
    pub fn shut_subnets(&self) -> Known<Vec<Arc<ShutSubnet>>> {
        let balancers = self.snapshot.table::<LoadBalancer>()?;
        let acls = self.snapshot.table::<NetworkAcl>()?;
        // Clients of customer-owned addresses (Outposts) come from a private network.
        let faces = |l: &Link<LoadBalancer>| {
            let balancer = balancers.at(l.row.index).value;
            balancer.Scheme == "internet-facing" && balancer.CustomerOwnedIpv4Pool.is_empty()
        };
        if !self.plans()?.iter().any(|p| p.balancers.iter().any(faces)) {
            return Ok(Vec::new());
        }
        let listeners = self.snapshot.whole::<Listener>()?;
        let mut found: Vec<ShutSubnet> = Vec::new();
        for plan in self.plans()?.iter() {
            for link in plan.balancers.iter().filter(|l| faces(l)) {
                let balancer = balancers.at(link.row.index).value;
                let asked = listeners_of(listeners, balancer);
                if asked.is_empty() {
                    continue;
                }
                for zone in &balancer.AvailabilityZones {
                    let acl = self.network.acl_of(&zone.SubnetId).ok().map(|row| acls.at(row.index));
                    let (Some(acl), Some(subnet)) = (acl, self.snapshot.tables.subnets.get(&zone.SubnetId)) else {
                        continue;
                    };
                    let shut_in = !asked.iter().any(|(p, n)| admits_public(acl.value, false, p, (*n, *n)));
                    let shut_out = !asked.iter().any(|(p, _)| admits_public(acl.value, true, p, (1024, 65535)));
                    let (protocol, port) = asked.first().copied().unwrap_or(("tcp", 443));
                    for (shut, direction, ports) in
                        [(shut_in, "ingress", (port, port)), (shut_out, "egress", (1024, 65535))]
                    {
                        if !shut {
                            continue;
                        }
                        let subnet = Link::new(subnet.row);
                        let acl_link = Link::new(acl.row);
                        let known = |f: &&mut ShutSubnet| f.acl == acl_link && f.direction == direction;
                        if let Some(known) = found.iter_mut().find(known) {
                            if !known.subnets.contains(&subnet) {
                                known.subnets.push(subnet);
                            }
                            continue;
                        }
                        found.push(ShutSubnet {
                            acl: acl_link,
                            direction: Str::const_new(direction),
                            balancer: *link,
                            listeners: asked.iter().map(|(p, n)| compact_str::format_compact!("{p} {n}")).collect(),
                            subnets: vec![subnet],
                            protocol: Str::const_new(protocol),
                            from: ports.0,
                            to: ports.1,
                            ingresses: plan.ingresses.clone(),
                            services: plan.services.clone(),
                        });
                    }
                }
            }
        }
        for shut in &mut found {
            shut.subnets.sort_by_key(|s| &self.snapshot.tables.subnets.at(s.row.index).value.SubnetId);
        }
        Ok(found.into_iter().map(Arc::new).collect())
    }

    /// Load balancers of ingresses and services with security groups of which none has an inbound rule for a listener.
    /// One that asks no group about clients of its endpoint service (PrivateLink) may be meant for these alone.
    pub fn shut_load_balancers(&self) -> Known<Vec<Arc<ShutLoadBalancer>>> {
        let balancers = self.snapshot.table::<LoadBalancer>()?;
        let guarded = |l: &Link<LoadBalancer>| {
            let balancer = balancers.at(l.row.index).value;
            !balancer.SecurityGroups.is_empty()
                && balancer.EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic != "off"
        };
        if !self.plans()?.iter().any(|p| p.balancers.iter().any(guarded)) {
            return Ok(Vec::new());
        }
        let listeners = self.snapshot.whole::<Listener>()?;
        let security = self.snapshot.table::<SecurityGroup>()?;
        let mut found: Vec<Arc<ShutLoadBalancer>> = Vec::new();
        for plan in self.plans()?.iter() {
            for link in plan.balancers.iter().filter(|l| guarded(l)) {
                let balancer = balancers.at(link.row.index).value;
                let mut groups: Vec<Rec<'_, SecurityGroup>> =
                    balancer.SecurityGroups.iter().filter_map(|id| security.get(id)).collect();
                groups.sort_by(|a, b| a.value.GroupId.cmp(&b.value.GroupId));
                let unread = groups.is_empty() || groups.len() < balancer.SecurityGroups.len();
                if unread || found.iter().any(|f| f.balancer == *link) {
                    continue;
                }
                let asked = listeners_of(listeners, balancer);
                let admitted = |(protocol, port): &(&'static str, i64)| {
                    groups.iter().flat_map(|g| g.value.IpPermissions.iter()).any(|rule| covers(rule, protocol, *port))
                };
                let Some(first) = asked.first().filter(|_| !asked.iter().any(admitted)) else { continue };
                found.push(Arc::new(ShutLoadBalancer {
                    balancer: *link,
                    groups: groups.iter().map(|g| Link::new(g.row)).collect(),
                    listeners: asked.iter().map(|(p, n)| compact_str::format_compact!("{p} {n}")).collect(),
                    protocol: Str::const_new(first.0),
                    port: first.1,
                    ingresses: plan.ingresses.clone(),
                    services: plan.services.clone(),
                }));
            }
        }
        Ok(found)
    }
}
