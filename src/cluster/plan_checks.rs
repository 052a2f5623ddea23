//! What else can be said of a load balancer that is asked for: its age, quotas, certificates, small subnets, and the
//! controller's webhooks.

use std::sync::Arc;

use super::Cluster;
use super::identity::Decision;
use super::ingress::{LoadBalancerPlan, alb, nlb};
use super::policy::Context;
use super::target_group::BoundTargetGroup;
use crate::shape::ec2::{Subnet, tag};
use crate::shape::elb::{Limit, LoadBalancer};
use crate::shape::k8s::{
    EndpointSlice, MutatingWebhookConfiguration, Namespace, Service, TargetGroupBinding,
    ValidatingWebhookConfiguration, Webhook,
};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// Webhooks of the AWS Load Balancer Controller that nothing answers: their service is gone or has no endpoint.
    DeadWebhook {
        mutating: Vec<Link<MutatingWebhookConfiguration>>,
        validating: Vec<Link<ValidatingWebhookConfiguration>>,
        /// `namespace/name` of the service.
        service: Str,
        /// The service, when it is there.
        found: Vec<Link<Service>>,
        /// What is asked of it: `services`, `ingresses` ...
        resources: Vec<Str>,
    }
}

/// Seconds since 1970 of a time as Kubernetes and AWS write it: `2026-06-01T12:00:00Z`.
fn seconds(time: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days from the civil calendar (Howard Hinnant, chrono-compatible date algorithms).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn missing(read: &str, reason: &str) -> Missing {
    Missing { read: read.to_owned(), reason: reason.to_owned() }
}

impl Cluster {
    /// How many minutes the youngest object of a plan was there when the snapshot was made.
    pub fn plan_minutes(&self, plan: &LoadBalancerPlan) -> Known<i64> {
        let tables = &self.snapshot.tables;
        let recorded = self.snapshot.manifest.recorded_at.as_deref().and_then(seconds);
        let recorded =
            recorded.ok_or_else(|| missing("manifest.json", "it does not say when the snapshot was made"))?;
        let ingresses = plan.ingresses.iter().map(|i| &tables.ingresses.at(i.row.index).value.metadata);
        let services = plan.services.iter().map(|s| &tables.services.at(s.row.index).value.metadata);
        let made = ingresses.chain(services).filter_map(|m| seconds(&m.creationTimestamp)).max();
        let made = made.ok_or_else(|| missing("k8s:services", "it has no creationTimestamp"))?;
        Ok((recorded - made) / 60)
    }

    /// Of a plan's subnets those smaller than a /27.
    pub fn small_subnets(&self, plan: &LoadBalancerPlan) -> Vec<Row> {
        let subnets = &self.snapshot.tables.subnets;
        let small = |s: &Subnet| {
            let length = s.CidrBlock.rsplit_once('/').and_then(|(_, l)| l.parse::<u8>().ok());
            length.is_some_and(|l| l > 27)
        };
        plan.chosen.iter().filter(|l| small(subnets.at(l.row.index).value)).map(|l| l.row).collect()
    }

    /// Subnets that would do for a plan: one of each zone, of the kind that its scheme needs, with room and not another
    /// cluster's.
    pub fn good_subnets(&self, plan: &LoadBalancerPlan) -> Vec<Row> {
        let subnets = &self.snapshot.tables.subnets;
        let vpc = self.vpc_id().unwrap_or_default();
        let mut all: Vec<Row> = plan.suitable.iter().map(|l| l.row).collect();
        if all.is_empty() && plan.scheme == "internal" {
            // A load balancer that is not to face the internet may stand in a public subnet, too.
            all = subnets.iter().filter(|s| s.value.VpcId == vpc).map(|s| s.row).collect();
        }
        let mut zones: std::collections::BTreeMap<&str, Row> = std::collections::BTreeMap::new();
        for row in all {
            let subnet = subnets.at(row.index).value;
            if subnet.AvailableIpAddressCount.is_some_and(|n| n < super::subnet_choice::MINIMAL_ADDRESSES)
                || self.tagged_for_others_only(subnet)
                || (plan.dualstack && subnet.ipv6_cidr().is_none())
                || !self.in_availability_zone(subnet)
            {
                continue;
            }
            zones.entry(subnet.AvailabilityZone.as_str()).or_insert(row);
        }
        zones.into_values().collect()
    }

    /// A /64 of the VPC for a subnet that has no IPv6 range: the first that no subnet uses, the next for the next subnet.
    /// Empty when the VPC has none.
    pub fn free_ipv6_block(&self, subnet: &Subnet) -> Str {
        let tables = &self.snapshot.tables;
        let here = || tables.subnets.iter().filter(|s| s.value.VpcId == subnet.VpcId);
        let used: Vec<ipnet::Ipv6Net> = here().filter_map(|s| s.value.ipv6_cidr()?.parse().ok()).collect();
        let rank = here().filter(|s| s.value.ipv6_cidr().is_none() && s.value.SubnetId < subnet.SubnetId).count();
        let blocks = tables.vpcs.get(&subnet.VpcId).into_iter();
        blocks
            .flat_map(|v| v.value.Ipv6CidrBlockAssociationSet.iter())
            .filter_map(|a| a.Ipv6CidrBlock.parse::<ipnet::Ipv6Net>().ok())
            .filter_map(|block| block.subnets(64).ok())
            .flatten()
            .filter(|block| !used.iter().any(|u| u.contains(block)))
            .nth(rank)
            .map(|block| Str::from(block.to_string()))
            .unwrap_or_default()
    }

    /// The quota of load balancers that a waiting plan finds used up: `50 of 50 Application Load Balancers`.
    pub fn used_up_quota(&self, plan: &LoadBalancerPlan) -> Known<Str> {
        let (Ok(limits), Ok(balancers)) = (self.snapshot.table::<Limit>(), self.snapshot.table::<LoadBalancer>())
        else {
            // Events still tell of a quota that is reached.
            return Ok(Str::default());
        };
        let (name, kind, title) = match plan.balancer.as_str() {
            "application" => ("application-load-balancers", "application", "Application Load Balancers"),
            "network" => ("network-load-balancers", "network", "Network Load Balancers"),
            _ => return Ok(Str::default()),
        };
        let Some(most) = limits.get(name).and_then(|l| l.value.Max.as_int()) else { return Ok(Str::default()) };
        let there = balancers.iter().filter(|b| b.value.Type == kind).count() as i64;
        if plan.settled || there < most {
            return Ok(Str::default());
        }
        Ok(compact_str::format_compact!("{there} of {most} {title} of the Region are in use"))
    }

    /// Whether it is known that every host of a waiting plan has its certificate.
    pub fn certificates_known(&self, plan: &LoadBalancerPlan) -> Known<bool> {
        let ingresses = &self.snapshot.tables.ingresses;
        let looked_up =
            plan.ingresses.iter().map(|i| ingresses.at(i.row.index).value).any(|i| self.lacks_certificate(i));
        if plan.wanting && looked_up && self.plan_events(plan).is_empty() {
            let reason = "the controller looks certificates up in ACM, which a snapshot does not hold";
            return Err(missing("acm:ListCertificates", reason));
        }
        Ok(true)
    }

    /// Whether an object of a plan brings security groups of its own and asks the controller to open the targets for them,
    /// which needs the shared backend group that the controller is told not to make.
    pub fn backend_group_off(&self, plan: &LoadBalancerPlan) -> bool {
        let tables = &self.snapshot.tables;
        let asks = |groups: Option<&str>, manage: Option<&str>| {
            groups.is_some_and(|g| !g.is_empty()) && manage == Some("true")
        };
        let ingress = plan
            .ingresses
            .iter()
            .map(|i| &tables.ingresses.at(i.row.index).value.metadata)
            .find(|m| asks(alb(m, "security-groups"), alb(m, "manage-backend-security-group-rules")));
        let service = plan
            .services
            .iter()
            .map(|s| &tables.services.at(s.row.index).value.metadata)
            .find(|m| asks(nlb(m, "security-groups"), nlb(m, "manage-backend-security-group-rules")));
        plan.maker == "controller"
            && ingress.or(service).and_then(|m| self.controller_of(&m.namespace)).is_some_and(|c| !c.backendGroup)
    }

    /// Whether a namespace asks for readiness gates although all its target groups hold instances.
    pub fn readiness_gates_useless(&self, namespace: &Namespace) -> Known<bool> {
        let bindings = self.snapshot.table::<TargetGroupBinding>()?;
        let asked =
            namespace.metadata.labels.get("elbv2.k8s.aws/pod-readiness-gate-inject").is_some_and(|v| v == "enabled");
        let mut here = bindings.iter().filter(|b| b.value.metadata.namespace == namespace.metadata.name).peekable();
        Ok(asked && here.peek().is_some() && here.all(|b| b.value.spec.targetType == "instance"))
    }

    /// Security groups of EKS Auto Mode's node classes that the cluster's role may not open for load balancers.
    pub fn groups_auto_mode_may_not_open(&self) -> Known<Vec<Row>> {
        let auto = self.plans()?.iter().any(|p| p.maker == "auto");
        if !self.auto_mode() || !auto {
            return Ok(Vec::new());
        }
        let tables = &self.snapshot.tables;
        let eks = self.eks()?;
        let mut found: Vec<Row> = Vec::new();
        for class in tables.node_classes.iter() {
            for group in &class.value.status.securityGroups {
                let Some(known) = tables.security_groups.get(&group.id) else { continue };
                if group.id == eks.value.resourcesVpcConfig.clusterSecurityGroupId || found.contains(&known.row) {
                    continue;
                }
                let arn = format!(
                    "arn:{}:ec2:{}:{}:security-group/{}",
                    self.partition(),
                    self.region_name(),
                    self.account_id(),
                    group.id
                );
                let mut context = Context::default().with("aws:RequestedRegion", &self.region_name());
                for t in &known.value.Tags {
                    context = context
                        .with(&format!("aws:ResourceTag/{}", t.Key), &t.Value)
                        .with(&format!("ec2:ResourceTag/{}", t.Key), &t.Value);
                }
                if tag(&known.value.Tags, "aws:eks:cluster-name").is_none() {
                    context = context.without("aws:ResourceTag/aws:eks:cluster-name");
                }
                let decision = self.may(&eks.value.roleArn, "ec2:AuthorizeSecurityGroupIngress", &arn, &context)?;
                if !matches!(decision, Decision::Allowed) {
                    found.push(known.row);
                }
            }
        }
        Ok(found)
    }

    /// Whether the port at which a target group asks for health is one that nothing of its service serves.
    pub fn health_port_unserved(&self, bound: &BoundTargetGroup) -> Known<Str> {
        let tables = &self.snapshot.tables;
        let group = tables.target_groups.at(bound.group.row.index).value;
        let Some(service) = bound.service.map(|s| tables.services.at(s.row.index).value) else {
            return Ok(Str::default());
        };
        if bound.healthy > 0 || bound.unhealthy == 0 {
            return Ok(Str::default());
        }
        let own = group.HealthCheckPort.as_int();
        let datagram = group.Protocol.contains("UDP");
        if group.TargetType == "instance" {
            // The health check of a node is answered by kube-proxy, at the node ports of the service.
            let serves = |port: i64| {
                service.spec.healthCheckNodePort == Some(port)
                    || service.spec.ports.iter().any(|p| p.nodePort == Some(port) && p.protocol != "UDP")
            };
            return Ok(match own {
                Some(port) if !serves(port) => compact_str::format_compact!("{port}"),
                _ => Str::default(),
            });
        }
        // Containers need not declare their ports; those that declare none tell nothing.
        let pods = self.snapshot.table::<crate::shape::k8s::Pod>()?;
        let selector = &service.spec.selector;
        let declared: Vec<(i64, bool)> = pods
            .iter()
            .filter(|p| p.value.metadata.namespace == service.metadata.namespace && !selector.is_empty())
            .filter(|p| selector.iter().all(|(k, v)| p.value.metadata.labels.get(k) == Some(v)))
            .take(5)
            .flat_map(|p| p.value.spec.containers.iter())
            .flat_map(|c| c.ports.iter())
            .filter_map(|p| Some((p.containerPort?, p.protocol != "UDP" && p.protocol != "SCTP")))
            .collect();
        let wanted = match own {
            Some(port) => port,
            // `traffic-port` of UDP asks by TCP at the UDP port.
            None if datagram => group.Port.unwrap_or_default(),
            // Something answers where the code is another.
            None if bound.reasons.contains("ResponseCodeMismatch") => return Ok(Str::default()),
            None => {
                let health = bound.health.map(|h| tables.target_healths.at(h.row.index).value);
                let mut targets = health.iter().flat_map(|h| h.TargetHealthDescriptions.iter());
                targets.find_map(|t| t.Target.Port).or(group.Port).unwrap_or_default()
            }
        };
        let served = declared.is_empty() || declared.iter().any(|(port, tcp)| *port == wanted && *tcp);
        Ok(if served { Str::default() } else { compact_str::format_compact!("{wanted}") })
    }

    /// Webhooks of the AWS Load Balancer Controller whose service is gone, or has no endpoint though a controller is ready.
    pub fn dead_webhooks(&self) -> Known<Vec<Arc<DeadWebhook>>> {
        let services = self.snapshot.table::<Service>()?;
        let slices = self.snapshot.table::<EndpointSlice>()?;
        let mutating = self.snapshot.table::<MutatingWebhookConfiguration>();
        let validating = self.snapshot.table::<ValidatingWebhookConfiguration>();
        if let (Err(missing), Err(_)) = (&mutating, &validating) {
            return Err(missing.clone());
        }
        let ready = self.controllers().is_ok_and(|all| all.iter().any(|c| c.ready > 0));
        let answered = |id: &str| {
            let (namespace, name) = id.split_once('/').unwrap_or_default();
            slices.iter().any(|s| {
                s.value.metadata.namespace == namespace
                    && s.value.metadata.labels.get("kubernetes.io/service-name").is_some_and(|n| n == name)
                    && s.value.endpoints.iter().any(|e| e.conditions.ready != Some(false))
            })
        };
        let mut found: Vec<DeadWebhook> = Vec::new();
        let mut look = |webhooks: &[Webhook], row: Row| {
            for webhook in webhooks.iter().filter(|w| w.name.ends_with(".elbv2.k8s.aws") && w.failurePolicy != "Ignore")
            {
                let Some(service) = &webhook.clientConfig.service else { continue };
                let id = compact_str::format_compact!("{}/{}", service.namespace, service.name);
                let there = services.get(&id);
                if there.is_some() && (!ready || answered(&id)) {
                    continue;
                }
                let at = found.iter().position(|f| f.service == id).unwrap_or_else(|| {
                    found.push(DeadWebhook {
                        mutating: Vec::new(),
                        validating: Vec::new(),
                        service: id,
                        found: there.iter().map(|s| Link::new(s.row)).collect(),
                        resources: Vec::new(),
                    });
                    found.len() - 1
                });
                let dead = &mut found[at];
                if row.table == crate::snapshot::TableId::MutatingWebhooks {
                    dead.mutating.push(Link::new(row));
                    dead.mutating.dedup();
                } else {
                    dead.validating.push(Link::new(row));
                    dead.validating.dedup();
                }
                for resource in webhook.rules.iter().flat_map(|r| r.resources.iter()) {
                    if !dead.resources.contains(resource) {
                        dead.resources.push(resource.clone());
                    }
                }
            }
        };
        for configuration in validating.iter().flat_map(|t| t.iter()) {
            look(&configuration.value.webhooks, configuration.row);
        }
        for configuration in mutating.iter().flat_map(|t| t.iter()) {
            look(&configuration.value.webhooks, configuration.row);
        }
        Ok(found.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_counted() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T00:00:10Z"), Some(951_782_410));
        assert_eq!(seconds("2026-06-01T12:00:00+00:00"), Some(1_780_315_200));
        assert_eq!(seconds("yesterday"), None);
    }
}
