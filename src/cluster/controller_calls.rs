//! Whether the load balancer controller's calls reach AWS, and what deployments of load balancers run into.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use super::controller::LoadBalancerController;
use super::ingress::{LoadBalancerPlan, Owner, alb, nlb, outcome, words};
use crate::shape::ec2::{SecurityGroup, VpcEndpoint};
use crate::shape::k8s::{Container, Event, Ingress};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// An AWS service that the controller calls and cannot reach from its subnet.
    Unreachable {
        /// `sts`, `elasticloadbalancing`, `ec2` ...
        service: Str,
        /// The endpoint's service name.
        endpoint: Str,
        /// The endpoint that is there, with private DNS off: the service's name does not lead to it.
        found: Option<Link<VpcEndpoint>>,
        /// The subnet from which it is not reached.
        subnet: Str,
    }
}

/// What events say of calls that may get through the next time, or that AWS refuses whatever is asked for.
const PASSING: [&str; 21] = [
    "i/o timeout",
    "handshake timeout",
    "client.timeout",
    "timed out",
    "deadline exceeded",
    "dial tcp",
    "no such host",
    "connection refused",
    "connection reset",
    "request send failed",
    "requesterror",
    "credentials",
    "throttl",
    "requestlimitexceeded",
    "internalfailure",
    "serviceunavailable",
    "operationnotpermitted",
    "context canceled",
    "the object has been modified",
    "failed calling webhook",
    "unexpected eof",
];

impl Cluster {
    /// The subnets from which a controller's calls to AWS leave.
    pub(super) fn controller_subnets(&self, controller: &LoadBalancerController) -> BTreeSet<Str> {
        let pods = &self.snapshot.tables.pods;
        let mut subnets: BTreeSet<Str> = BTreeSet::new();
        for pod in controller.pods.iter().map(|p| pods.at(p.row.index)) {
            let Ok(place) = self.pod_place(pod.value) else { continue };
            // What leaves the VPC is translated to the node's own address, unless the CNI leaves that to others.
            let leaves = match "1.1.1.1".parse().ok().map(|to| self.pod_leaves(&place, to)) {
                Some(Ok((row, _))) => self.snapshot.tables.network_interfaces.at(row.index).SubnetId.clone(),
                _ => place.interface.SubnetId.clone(),
            };
            subnets.insert(leaves);
        }
        subnets
    }

    /// The services that a controller calls from its pods, whatever is asked of it.
    pub(super) fn services_called(&self, controller: &LoadBalancerController) -> Known<Vec<&'static str>> {
        let mut services = vec!["elasticloadbalancing", "ec2"];
        if self.controller_identity(controller)?.kind == "irsa" {
            services.push("sts");
        }
        Ok(services)
    }

    /// The services that the controller calls from subnets without a way to the internet and without an endpoint that
    /// serves their names. An endpoint of which nodes have need, too, is told of by the rules about nodes.
    pub fn unreachable_services(&self, controller: &LoadBalancerController) -> Known<Vec<Arc<Unreachable>>> {
        let endpoints = self.snapshot.whole::<VpcEndpoint>()?;
        let deployment = self.snapshot.tables.deployments.at(controller.deployment.row.index).value;
        let by_proxy = |c: &Container| c.env.iter().any(|e| e.name.eq_ignore_ascii_case("HTTPS_PROXY"));
        if deployment.spec.template.spec.containers.iter().any(by_proxy) {
            return Ok(Vec::new());
        }
        let vpc = self.vpc_id()?;
        let mut services = self.services_called(controller)?;
        // The agent on the node calls it, not the controller.
        if self.controller_identity(controller)?.kind == "podIdentity" {
            services.push("eks-auth");
        }
        let needed_by_nodes: Vec<&str> = self.node_services().into_iter().map(|(service, _)| service).collect();
        let subnets = self.controller_subnets(controller);
        let china = if self.partition() == "aws-cn" { "cn." } else { "" };
        let region = self.region_name();
        let mut found = Vec::new();
        for subnet in subnets {
            if !self.shut_in(&subnet) {
                continue;
            }
            for service in &services {
                let endpoint = format!("{china}com.amazonaws.{region}.{service}");
                let there: Vec<_> = endpoints
                    .iter()
                    .filter(|e| {
                        e.VpcId == vpc
                            && (e.ServiceName == endpoint || e.ServiceName == endpoint.trim_start_matches("cn."))
                            && !matches!(
                                e.State.to_ascii_lowercase().as_str(),
                                "deleting" | "deleted" | "failed" | "rejected"
                            )
                    })
                    .collect();
                let served = there.iter().any(|e| e.PrivateDnsEnabled != Some(false));
                let of_nodes = !there.is_empty() && needed_by_nodes.contains(service);
                if !served && !of_nodes && !found.iter().any(|f: &Arc<Unreachable>| f.service == *service) {
                    found.push(Arc::new(Unreachable {
                        service: Str::new(service),
                        endpoint: endpoint.into(),
                        found: there.first().map(|e| Link::new(e.row)),
                        subnet: subnet.clone(),
                    }));
                }
            }
        }
        Ok(found)
    }

    /// The last events of a plan's objects.
    pub fn plan_events(&self, plan: &LoadBalancerPlan) -> Vec<Rec<'_, Event>> {
        let tables = &self.snapshot.tables;
        let ingresses = plan.ingresses.iter().map(|i| ("Ingress", &tables.ingresses.at(i.row.index).value.metadata));
        let services = plan.services.iter().map(|s| ("Service", &tables.services.at(s.row.index).value.metadata));
        ingresses.chain(services).filter_map(|(kind, meta)| self.last_event(kind, meta)).collect()
    }

    /// Last events of what waits for the controller in which the API server did not get an answer of its webhook, and
    /// said so.
    pub fn webhook_complaints(&self, said: &str) -> Known<Vec<Rec<'_, Event>>> {
        let plans = self.plans()?;
        let waiting: Vec<_> = plans.iter().filter(|p| p.wanting && p.maker == "controller").collect();
        if !waiting.is_empty() {
            self.snapshot.table::<Event>()?;
        }
        let about = |e: &Event| {
            let message = e.message.as_str();
            message.contains("failed calling webhook") && message.contains("elbv2.k8s.aws") && message.contains(said)
        };
        Ok(waiting.into_iter().flat_map(|p| self.plan_events(p)).filter(|e| about(e.value)).collect())
    }

    /// Whether the last event of one of its objects tells of something that stays until somebody changes it, and not of a
    /// call that did not get through or of a matter between the account and AWS.
    pub fn refused(&self, plan: &LoadBalancerPlan) -> bool {
        self.plan_events(plan).iter().any(|e| {
            let message = e.value.message.to_ascii_lowercase();
            outcome(e.value) == Some(false) && !PASSING.iter().any(|p| message.contains(p))
        })
    }

    /// The ingresses that the controller blames for a plan's failure: `ingress: namespace/name: ...`.
    pub fn blamed(&self, plan: &LoadBalancerPlan) -> Vec<Row> {
        let events = self.plan_events(plan);
        let ingresses = &self.snapshot.tables.ingresses;
        plan.ingresses
            .iter()
            .map(|i| ingresses.at(i.row.index))
            .filter(|i| {
                let name = format!("ingress: {}/{}:", i.value.metadata.namespace, i.value.metadata.name);
                plan.ingresses.len() == 1 || events.iter().any(|e| e.value.message.contains(&name))
            })
            .map(|i| i.row)
            .collect()
    }

    /// How many inbound rules a group holds, as the quota counts them for IPv4.
    pub fn inbound_rules(&self, group: &SecurityGroup) -> i64 {
        let count: usize = group
            .IpPermissions
            .iter()
            .map(|p| {
                let lists: usize = p
                    .PrefixListIds
                    .iter()
                    .map(|l| {
                        let known = self.snapshot.tables.prefix_lists.get(&l.PrefixListId);
                        known.and_then(|k| k.value.MaxEntries).map_or(1, |n| n.max(1) as usize)
                    })
                    .sum();
                p.IpRanges.len() + p.UserIdGroupPairs.len() + lists
            })
            .sum();
        count as i64
    }

    /// Whether nodes carry this group.
    pub fn guards_nodes(&self, group: Row) -> bool {
        self.workers().is_ok_and(|all| all.iter().any(|w| w.groups.iter().any(|g| g.row == group)))
    }

    /// The plans whose last event says that a group holds no more rules.
    pub fn plans_without_room_for_rules(&self) -> Known<Vec<Row>> {
        let full = |p: &&Arc<LoadBalancerPlan>| {
            p.wanting
                && self.plan_events(p).iter().any(|e| {
                    e.value.message.contains("RulesPerSecurityGroupLimitExceeded")
                        || e.value.message.contains("maximum number of rules per security group")
                })
        };
        Ok(self
            .plans()?
            .iter()
            .filter(full)
            .flat_map(|p| p.ingresses.iter().map(|i| i.row).chain(p.services.iter().map(|s| s.row)))
            .collect())
    }

    /// The role that makes a plan's load balancer: the controller's, or the cluster's for the in-tree controller.
    pub fn maker_role(&self, plan: &LoadBalancerPlan) -> Known<Rec<'_, crate::shape::iam::Role>> {
        match plan.maker.as_str() {
            "controller" => match self.controllers()?.first() {
                Some(controller) => self.role(&self.controller_role(controller)?),
                None => Err(self.snapshot.missing("k8s:deployments.apps", None)),
            },
            _ => self.role(&self.eks()?.roleArn),
        }
    }

    /// How many Elastic IPs or private addresses a service names, with the annotation; none when it names none.
    pub fn named_addresses(&self, plan: &LoadBalancerPlan) -> Option<(&'static str, Vec<Str>)> {
        let service = plan.services.first().map(|s| self.snapshot.tables.services.at(s.row.index))?;
        let meta = &service.value.metadata;
        let key = if plan.scheme == "internal" { "private-ipv4-addresses" } else { "eip-allocations" };
        nlb(meta, key).map(|list| (key, words(list)))
    }

    /// Ingresses with an HTTPS listener and no certificate named anywhere.
    pub fn lacks_certificate(&self, ingress: &Ingress) -> bool {
        let meta = &ingress.metadata;
        let (owner, class) = self.owner_of(ingress);
        let named = alb(meta, "certificate-arn").is_some_and(|c| !c.is_empty())
            || self
                .params_of(class)
                .is_some_and(|p| !p.spec.certificateArn.is_empty() || !p.spec.certificateARNs.is_empty());
        owner != Owner::Other && alb(meta, "listen-ports").is_some_and(|p| p.contains("HTTPS")) && !named
    }

    /// Links to what waits for a plan.
    pub fn plan_rows(plan: &LoadBalancerPlan) -> Vec<Row> {
        let services = plan.services.iter().map(|s: &Link<_>| s.row);
        plan.ingresses.iter().map(|i| i.row).chain(services).collect()
    }
}
