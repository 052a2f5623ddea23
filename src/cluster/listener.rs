//! Load balancers whose own security groups let nobody in to their listeners.

use std::sync::Arc;

use super::Cluster;
use super::target_group::covers;
use crate::shape::ec2::SecurityGroup;
use crate::shape::elb::{Listener, LoadBalancer};
use crate::shape::k8s::{Ingress, Service};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

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

impl Cluster {
    /// Load balancers of ingresses and services with security groups of which none has an inbound rule for a listener.
    pub fn shut_load_balancers(&self) -> Known<Vec<Arc<ShutLoadBalancer>>> {
        let balancers = self.snapshot.table::<LoadBalancer>()?;
        let guarded = |l: &Link<LoadBalancer>| !balancers.at(l.row.index).value.SecurityGroups.is_empty();
        if !self.plans()?.iter().any(|p| p.balancers.iter().any(guarded)) {
            return Ok(Vec::new());
        }
        let listeners = self.snapshot.table::<Listener>()?;
        let security = self.snapshot.table::<SecurityGroup>()?;
        let mut found: Vec<Arc<ShutLoadBalancer>> = Vec::new();
        for plan in self.plans()?.iter() {
            for link in &plan.balancers {
                let balancer = balancers.at(link.row.index).value;
                let groups: Vec<Rec<'_, SecurityGroup>> =
                    balancer.SecurityGroups.iter().filter_map(|id| security.get(id)).collect();
                let unread = groups.is_empty() || groups.len() < balancer.SecurityGroups.len();
                if unread || found.iter().any(|f| f.balancer == *link) {
                    continue;
                }
                let asked: Vec<(&'static str, i64)> = listeners
                    .iter()
                    .filter(|l| l.value.LoadBalancerArn == balancer.LoadBalancerArn)
                    .filter_map(|l| {
                        let protocol = if l.value.Protocol.ends_with("UDP") { "udp" } else { "tcp" };
                        Some((protocol, l.value.Port?))
                    })
                    .collect();
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
