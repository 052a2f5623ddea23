//! The target groups of the cluster's load balancers: their service, their targets' health, and who may reach them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Cluster;
use crate::shape::ec2::{IpPermission, NetworkInterface, SecurityGroup};
use crate::shape::elb::{LoadBalancer, TargetGroup, TargetHealths};
use crate::shape::k8s::{EndpointSlice, Ingress, ObjectMeta, Service, TargetGroupBinding};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, Rec};

derived! {
    /// A target group of a load balancer of the cluster.
    BoundTargetGroup {
        name: Str,
        group: Link<TargetGroup>,
        binding: Option<Link<TargetGroupBinding>>,
        /// The service whose pods or nodes are its targets.
        service: Option<Link<Service>>,
        /// Ingresses that lead to the service.
        ingresses: Vec<Link<Ingress>>,
        balancers: Vec<Link<LoadBalancer>>,
        /// What `DescribeTargetHealth` says of it, when recorded.
        health: Option<Link<TargetHealths>>,
        targets: i64,
        healthy: i64,
        unhealthy: i64,
        /// The reasons of the unhealthy ones, with their number: `Target.Timeout (2)`.
        reasons: Str,
        /// The descriptions of the unhealthy ones, each once.
        descriptions: Vec<Str>,
        /// `externalTrafficPolicy: Local`: nodes without a pod of the service are unhealthy by design.
        local: bool,
        /// Zones of targets that are not used because the load balancer does not stand there.
        idleZones: Vec<Str>,
        /// Ready endpoints of the service.
        endpoints: i64,
        /// Whether the client's address arrives at the target; absent when nobody can say.
        keepsClient: Option<bool>,
        /// Whether its load balancer is an internal one of type `network`.
        internalNetwork: bool,
    }

    /// Clients of a Network Load Balancer without security groups, and a target that does not admit them.
    ClientGap {
        /// The name of the target group.
        name: Str,
        target: Str,
        port: i64,
        /// The clients that are not admitted.
        clients: Str,
        groups: Vec<Link<SecurityGroup>>,
        balancers: Vec<Link<LoadBalancer>>,
        services: Vec<Link<Service>>,
    }

    /// A rule that the controller should have put into the security group of a target.
    BindingGap {
        /// `namespace/name` of the binding.
        name: Str,
        binding: Link<TargetGroupBinding>,
        groups: Vec<Link<SecurityGroup>>,
        /// The source that is not admitted: a group's id or a range.
        source: Str,
        port: Str,
        protocol: Str,
    }
}

/// Whether a rule admits a protocol and port.
pub(super) fn covers(rule: &IpPermission, protocol: &str, port: i64) -> bool {
    let number = match protocol {
        "tcp" => "6",
        "udp" => "17",
        other => other,
    };
    match rule.IpProtocol.as_str() {
        "-1" => true,
        p if p.eq_ignore_ascii_case(protocol) || p == number => {
            let (from, to) = (rule.FromPort.unwrap_or(0), rule.ToPort.unwrap_or(65535));
            from == -1 || (from <= port && port <= to)
        }
        _ => false,
    }
}

/// Whether a rule admits all of a range. A prefix list may hold anything.
fn admits_range(rule: &IpPermission, range: IpNet) -> bool {
    let contains = |cidr: &Str| cidr.parse::<IpNet>().is_ok_and(|net| net.contains(&range));
    !rule.PrefixListIds.is_empty()
        || rule.IpRanges.iter().any(|r| contains(&r.CidrIp))
        || rule.Ipv6Ranges.iter().any(|r| contains(&r.CidrIpv6))
}

impl Cluster {
    /// The target groups that belong to services and ingresses of the cluster.
    pub fn bound_target_groups(&self) -> Known<&[Arc<BoundTargetGroup>]> {
        self.snapshot.table::<TargetGroup>()?;
        self.snapshot.table::<Service>()?;
        self.backends()?;
        Ok(self.cache.bound_target_groups.get_or_init(|| self.find_target_groups()))
    }

    fn find_target_groups(&self) -> Vec<Arc<BoundTargetGroup>> {
        let tables = &self.snapshot.tables;
        let mut binding_of: HashMap<&str, Rec<'_, TargetGroupBinding>> = HashMap::new();
        for binding in tables.target_group_bindings.iter() {
            binding_of.insert(binding.value.spec.targetGroupARN.as_str(), binding);
        }
        let mut balancer_of: HashMap<&str, Rec<'_, LoadBalancer>> = HashMap::new();
        let mut by_dns: HashMap<&str, &str> = HashMap::new();
        for balancer in tables.load_balancers.iter() {
            balancer_of.insert(balancer.value.LoadBalancerArn.as_str(), balancer);
            by_dns.insert(balancer.value.DNSName.as_str(), balancer.value.LoadBalancerArn.as_str());
        }
        let mut service_of: HashMap<&str, Row> = HashMap::new();
        for service in tables.services.iter() {
            for name in service.value.status.loadBalancer.ingress.iter().map(|i| i.hostname.as_str()) {
                if let Some(arn) = by_dns.get(name) {
                    service_of.insert(arn, service.row);
                }
            }
        }
        let mut ingresses_of: HashMap<Row, BTreeSet<Row>> = HashMap::new();
        // The services that a load balancer of ingresses leads to.
        let mut behind: HashMap<&str, BTreeSet<Row>> = HashMap::new();
        for backend in self.backends().unwrap_or_default() {
            let Some(found) = backend.found else { continue };
            ingresses_of.entry(found.row).or_default().extend(backend.ingresses.iter().map(|i| i.row));
            for ingress in backend.ingresses.iter().map(|i| tables.ingresses.at(i.row.index).value) {
                let names = ingress.status.loadBalancer.ingress.iter().map(|i| i.hostname.as_str());
                for arn in names.filter_map(|name| by_dns.get(name)) {
                    behind.entry(arn).or_default().insert(found.row);
                }
            }
        }
        let mut ready: HashMap<String, i64> = HashMap::new();
        for slice in tables.endpoint_slices.iter() {
            if let Some(service) = slice.value.metadata.labels.get("kubernetes.io/service-name") {
                let count = slice.value.endpoints.iter().filter(|e| e.conditions.ready != Some(false)).count();
                *ready.entry(format!("{}/{service}", slice.value.metadata.namespace)).or_default() += count as i64;
            }
        }
        let mut found = Vec::new();
        for group in tables.target_groups.iter() {
            let arn = group.value.TargetGroupArn.as_str();
            let binding = binding_of.get(arn).copied();
            let balancers: Vec<Rec<'_, LoadBalancer>> =
                group.value.LoadBalancerArns.iter().filter_map(|a| balancer_of.get(a.as_str()).copied()).collect();
            let service = match binding {
                Some(binding) => {
                    let id = format!("{}/{}", binding.value.metadata.namespace, binding.value.spec.serviceRef.name);
                    tables.services.get(&id).map(|s| s.row)
                }
                None => {
                    let arns = group.value.LoadBalancerArns.iter().map(Str::as_str);
                    let by_ingress = || {
                        let services = arns.clone().filter_map(|a| behind.get(a)).flatten().copied().collect();
                        self.service_of_targets(group.value, services)
                    };
                    arns.clone().find_map(|a| service_of.get(a).copied()).or_else(by_ingress)
                }
            };
            if binding.is_none() && service.is_none() {
                continue;
            }
            found.push(Arc::new(self.bound(group, binding, service, &balancers, &ingresses_of, &ready)));
        }
        found
    }

    /// The one of these services whose pods or node ports a target group holds: EKS Auto Mode keeps its bindings to
    /// itself.
    fn service_of_targets(&self, group: &TargetGroup, services: BTreeSet<Row>) -> Option<Row> {
        let tables = &self.snapshot.tables;
        let health = self.health_of(group);
        let targets: Vec<_> =
            health.iter().flat_map(|h| &h.value.TargetHealthDescriptions).map(|t| &t.Target).collect();
        let holds = |row: &Row| {
            let service = tables.services.at(row.index).value;
            if group.TargetType == "instance" {
                let node_port =
                    |port: Option<i64>| service.spec.ports.iter().any(|p| p.nodePort.is_some() && p.nodePort == port);
                return targets.iter().any(|t| node_port(t.Port)) || node_port(group.Port);
            }
            let meta = &service.metadata;
            let slices = tables.endpoint_slices.iter().filter(|s| {
                s.metadata.namespace == meta.namespace
                    && s.metadata.labels.get("kubernetes.io/service-name") == Some(&meta.name)
            });
            let addresses: BTreeSet<&Str> =
                slices.flat_map(|s| &s.value.endpoints).flat_map(|e| &e.addresses).collect();
            targets.iter().any(|t| addresses.contains(&t.Id))
        };
        let mut held = services.into_iter().filter(holds);
        held.next().filter(|_| held.next().is_none())
    }

    fn bound(
        &self,
        group: Rec<'_, TargetGroup>,
        binding: Option<Rec<'_, TargetGroupBinding>>,
        service: Option<Row>,
        balancers: &[Rec<'_, LoadBalancer>],
        ingresses_of: &HashMap<Row, BTreeSet<Row>>,
        ready: &HashMap<String, i64>,
    ) -> BoundTargetGroup {
        let tables = &self.snapshot.tables;
        let health = self.health_of(group.value);
        let mut reasons: BTreeMap<&str, i64> = BTreeMap::new();
        let mut descriptions: BTreeSet<Str> = BTreeSet::new();
        let mut idle: BTreeSet<Str> = BTreeSet::new();
        let (mut targets, mut healthy, mut unhealthy) = (0, 0, 0);
        for target in health.iter().flat_map(|h| h.value.TargetHealthDescriptions.iter()) {
            targets += 1;
            match target.TargetHealth.State.as_str() {
                "healthy" => healthy += 1,
                "unhealthy" => {
                    unhealthy += 1;
                    *reasons.entry(target.TargetHealth.Reason.as_str()).or_default() += 1;
                    if !target.TargetHealth.Description.is_empty() {
                        descriptions.insert(target.TargetHealth.Description.clone());
                    }
                }
                "unused" if target.TargetHealth.Description.contains("Availability Zone") => {
                    idle.insert(target.Target.AvailabilityZone.clone());
                }
                _ => {}
            }
        }
        let shape = service.map(|row| tables.services.at(row.index).value);
        let id = shape.map(|s| format!("{}/{}", s.metadata.namespace, s.metadata.name));
        let network = balancers.iter().any(|b| b.value.Type == "network");
        let keeps = match self.target_group_attribute(group.value, "preserve_client_ip.enabled") {
            Some(value) => Some(value == "true"),
            None if !network => Some(false),
            // Defaults of Network Load Balancers: on for instances and for UDP, off for addresses with TCP or TLS.
            None => match (group.value.TargetType.as_str(), group.value.Protocol.as_str()) {
                ("instance", _) | (_, "UDP" | "TCP_UDP") => Some(true),
                ("ip", "TCP" | "TLS") => Some(false),
                _ => None,
            },
        };
        BoundTargetGroup {
            name: group.value.TargetGroupName.clone(),
            group: Link::new(group.row),
            binding: binding.map(|b| Link::new(b.row)),
            service: service.map(Link::new),
            ingresses: service
                .and_then(|row| ingresses_of.get(&row))
                .map(|rows| rows.iter().map(|r| Link::new(*r)).collect())
                .unwrap_or_default(),
            balancers: balancers.iter().map(|b| Link::new(b.row)).collect(),
            health: health.map(|h| Link::new(h.row)),
            targets,
            healthy,
            unhealthy,
            reasons: reasons.iter().map(|(r, n)| format!("{r} ({n})")).collect::<Vec<_>>().join(", ").into(),
            descriptions: descriptions.into_iter().collect(),
            local: shape.is_some_and(|s| s.spec.externalTrafficPolicy == "Local"),
            idleZones: idle.into_iter().filter(|z| !z.is_empty()).collect(),
            endpoints: id.and_then(|id| ready.get(&id).copied()).unwrap_or_default(),
            keepsClient: keeps,
            internalNetwork: network && balancers.iter().all(|b| b.value.Scheme == "internal"),
        }
    }

    /// The health of a target group's targets, when recorded: its file is named after the group or its ARN.
    pub(super) fn health_of(&self, group: &TargetGroup) -> Option<Rec<'_, TargetHealths>> {
        let healths = &self.snapshot.tables.target_healths;
        healths
            .get(&group.TargetGroupName)
            .or_else(|| healths.get(&group.TargetGroupArn))
            .or_else(|| healths.get(super::identity::role_name(&group.TargetGroupArn)))
    }

    fn target_group_attribute(&self, group: &TargetGroup, key: &str) -> Option<&str> {
        let all = &self.snapshot.tables.elb_attributes;
        let (name, arn) = (&group.TargetGroupName, &group.TargetGroupArn);
        let of = all
            .get(&format!("target-group/{name}"))
            .or_else(|| all.get(&format!("target-group/{arn}")))
            .or_else(|| all.get(name))
            .or_else(|| all.get(arn))?;
        of.value.Attributes.iter().find(|a| a.Key == key).map(|a| a.Value.as_str())
    }

    /// Clients that an internet-facing Network Load Balancer without security groups lets through to targets whose own
    /// groups do not admit them. With client addresses kept, the targets' groups see the clients.
    pub fn client_gaps(&self) -> Known<Vec<Arc<ClientGap>>> {
        let groups = self.bound_target_groups()?;
        let tables = &self.snapshot.tables;
        let balancers = self.snapshot.table::<LoadBalancer>()?;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        let security = self.snapshot.table::<SecurityGroup>()?;
        let vpc = self.vpc_id()?;
        let mut of_instance: HashMap<&str, Row> = HashMap::new();
        for worker in self.workers()? {
            if let (Some(instance), Some(interface)) = (worker.instance, worker.interface) {
                of_instance.insert(tables.instances.at(instance.row.index).value.InstanceId.as_str(), interface.row);
            }
        }
        let mut found: BTreeMap<(Vec<Str>, i64), ClientGap> = BTreeMap::new();
        for bound in groups.iter().filter(|b| b.keepsClient == Some(true)) {
            let open = bound.balancers.iter().map(|b| balancers.at(b.row.index)).any(|b| {
                b.value.Type == "network" && b.value.Scheme == "internet-facing" && b.value.SecurityGroups.is_empty()
            });
            let group = tables.target_groups.at(bound.group.row.index).value;
            let (Some(health), true) = (bound.health, open) else { continue };
            let protocol = if group.Protocol.contains("UDP") { "udp" } else { "tcp" };
            let service = bound.service.map(|s| tables.services.at(s.row.index).value);
            let ranges = service.map(|s| s.spec.loadBalancerSourceRanges.as_slice()).unwrap_or_default();
            let everyone = [Str::const_new("0.0.0.0/0")];
            let ranges = if ranges.is_empty() { &everyone[..] } else { ranges };
            let targets = &tables.target_healths.at(health.row.index).value.TargetHealthDescriptions;
            let mut targets: Vec<_> = targets.iter().map(|t| &t.Target).collect();
            targets.sort_by(|a, b| (&a.Id, a.Port).cmp(&(&b.Id, b.Port)));
            for target in targets {
                let Some(port) = target.Port else { continue };
                let interface = match of_instance.get(target.Id.as_str()) {
                    Some(row) => Some(*row),
                    None => target.Id.parse::<IpAddr>().ok().and_then(|a| self.network.interface_of(&vpc, a)),
                };
                let Some(interface) = interface.map(|row| interfaces.at(row.index)) else { continue };
                let mut ids: Vec<Str> = interface.value.Groups.iter().map(|g| g.GroupId.clone()).collect();
                ids.sort();
                let known: Vec<Rec<'_, SecurityGroup>> = ids.iter().filter_map(|id| security.get(id)).collect();
                if known.len() < ids.len() || known.is_empty() || found.contains_key(&(ids.clone(), port)) {
                    continue;
                }
                let shut: Vec<&str> = ranges
                    .iter()
                    .filter_map(|r| Some((r.as_str(), r.parse::<IpNet>().ok()?)))
                    .filter(|(_, range)| {
                        let rules = known.iter().flat_map(|g| g.value.IpPermissions.iter());
                        !rules.into_iter().any(|rule| covers(rule, protocol, port) && admits_range(rule, *range))
                    })
                    .map(|(text, _)| text)
                    .collect();
                // Any rule for ranges on the port shows that somebody chose the clients.
                let chosen = known.iter().flat_map(|g| g.value.IpPermissions.iter()).any(|rule| {
                    covers(rule, protocol, port) && rule.IpRanges.iter().any(|r| !self.range_in_vpc(&vpc, &r.CidrIp))
                });
                if shut.is_empty() || chosen {
                    continue;
                }
                found.insert(
                    (ids, port),
                    ClientGap {
                        name: bound.name.clone(),
                        target: target.Id.clone(),
                        port,
                        clients: shut.join(", ").into(),
                        groups: known.iter().map(|g| Link::new(g.row)).collect(),
                        balancers: bound.balancers.clone(),
                        services: bound.service.into_iter().collect(),
                    },
                );
            }
        }
        Ok(found.into_values().map(Arc::new).collect())
    }

    /// Whether a range lies in the VPC.
    fn range_in_vpc(&self, vpc: &str, range: &str) -> bool {
        let Ok(range) = range.parse::<IpNet>() else { return false };
        self.snapshot.tables.vpcs.get(vpc).is_some_and(|v| {
            let blocks = v.value.CidrBlockAssociationSet.iter().map(|a| a.CidrBlock.as_str());
            blocks.chain([v.value.CidrBlock.as_str()]).any(|c| c.parse::<IpNet>().is_ok_and(|n| n.contains(&range)))
        })
    }

    /// Rules of target group bindings that no security group of their targets holds. A target that is healthy shows
    /// that something else admits the load balancer.
    pub fn binding_gaps(&self) -> Known<Vec<Arc<BindingGap>>> {
        let bindings = self.snapshot.table::<TargetGroupBinding>()?;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        let security = self.snapshot.table::<SecurityGroup>()?;
        let mut healthy: BTreeSet<Row> = BTreeSet::new();
        for bound in self.bound_target_groups()?.iter() {
            if let Some(binding) = bound.binding
                && (bound.healthy > 0 || bound.unhealthy > 0)
            {
                healthy.insert(binding.row);
            }
        }
        let mut found = Vec::new();
        for binding in bindings.iter().filter(|b| !healthy.contains(&b.row)) {
            let targets = self.binding_targets(binding)?;
            let spec = &binding.value.spec;
            let rules = spec.networking.iter().flat_map(|n| n.ingress.iter());
            for rule in rules {
                for peer in &rule.from {
                    for port in &rule.ports {
                        let Some(number) = port.port.as_ref().and_then(|p| p.as_int()) else { continue };
                        let protocol = port.protocol.to_ascii_lowercase();
                        let lacking = targets.iter().map(|t| interfaces.at(t.index)).find_map(|interface| {
                            let groups: Vec<Rec<'_, SecurityGroup>> =
                                interface.value.Groups.iter().filter_map(|g| security.get(&g.GroupId)).collect();
                            let all_known = groups.len() == interface.value.Groups.len();
                            let admitted = groups.iter().flat_map(|g| g.value.IpPermissions.iter()).any(|p| {
                                covers(p, &protocol, number)
                                    && match (&peer.securityGroup, &peer.ipBlock) {
                                        (Some(group), _) => {
                                            p.UserIdGroupPairs.iter().any(|u| u.GroupId == group.groupID)
                                                || !p.IpRanges.is_empty()
                                                || !p.PrefixListIds.is_empty()
                                        }
                                        (None, Some(block)) => {
                                            block.cidr.parse().is_ok_and(|range| admits_range(p, range))
                                        }
                                        (None, None) => true,
                                    }
                            });
                            (all_known && !groups.is_empty() && !admitted).then_some(groups)
                        });
                        let Some(groups) = lacking else { continue };
                        let source = peer.securityGroup.as_ref().map(|g| g.groupID.clone());
                        found.push(Arc::new(BindingGap {
                            name: super::targets::full_name(&binding.value.metadata),
                            binding: Link::new(binding.row),
                            groups: groups.iter().map(|g| Link::new(g.row)).collect(),
                            source: source
                                .or_else(|| peer.ipBlock.as_ref().map(|b| b.cidr.clone()))
                                .unwrap_or_default(),
                            port: number.to_string().into(),
                            protocol: protocol.clone(),
                        }));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Whether the service of a binding is there and has no such port.
    pub fn binding_lacks_port(&self, binding: &TargetGroupBinding) -> Known<bool> {
        let services = self.snapshot.table::<Service>()?;
        let asked = &binding.spec.serviceRef;
        let Some(service) = services.get(&format!("{}/{}", binding.metadata.namespace, asked.name)) else {
            return Ok(false);
        };
        let ports = &service.value.spec.ports;
        let number = asked.port.as_int();
        let text = asked.port.as_str();
        let has =
            ports.iter().any(|p| (number.is_some() && p.port == number) || (!p.name.is_empty() && p.name == text));
        Ok(!ports.is_empty() && !text.is_empty() && !has)
    }

    /// Whether the target group of a binding, of this account, Region and VPC, is not there: target groups of other VPCs
    /// are not recorded. Where the binding says no VPC, the controller must complain, too.
    pub fn binding_lost(&self, binding: &TargetGroupBinding) -> Known<bool> {
        let groups = self.snapshot.whole::<TargetGroup>()?;
        let arn = binding.spec.targetGroupARN.as_str();
        let mut parts = arn.split(':').skip(3);
        let here =
            parts.next() == Some(self.region_name().as_str()) && parts.next() == Some(self.account_id().as_str());
        let vpc = &binding.spec.vpcID;
        let of_vpc = match vpc.is_empty() {
            true => self.fails("TargetGroupBinding", &binding.metadata),
            false => *vpc == self.vpc_id()?,
        };
        Ok(here && of_vpc && groups.get(arn).is_none())
    }

    /// All nodes that run on EC2 or, where only those with pods of the service take traffic (`externalTrafficPolicy:
    /// Local`), all of these, when a target group is of instances and each of them is labelled to take no traffic of load
    /// balancers.
    pub fn nodes_excluded(&self, bound: &BoundTargetGroup) -> Known<Vec<Row>> {
        let instances = self.snapshot.tables.target_groups.at(bound.group.row.index).value.TargetType == "instance";
        let nodes: Vec<_> =
            self.workers()?.iter().filter(|w| w.joined && matches!(w.kind.as_str(), "ec2" | "auto")).collect();
        let service =
            bound.service.filter(|_| bound.local).map(|s| self.snapshot.tables.services.at(s.row.index).value);
        let nodes: Vec<_> = match service {
            Some(service) => {
                let hosts = self.nodes_with_endpoints(&service.metadata);
                nodes.into_iter().filter(|w| hosts.contains(&w.name)).collect()
            }
            None => nodes,
        };
        if !instances || !nodes.iter().all(|w| self.excluded(w)) {
            return Ok(Vec::new());
        }
        Ok(nodes.iter().filter_map(|w| w.node.map(|n| n.row)).collect())
    }

    /// Names of the nodes with ready endpoints of a service.
    fn nodes_with_endpoints(&self, service: &ObjectMeta) -> BTreeSet<&Str> {
        let of_service = |slice: &EndpointSlice| {
            slice.metadata.namespace == service.namespace
                && slice.metadata.labels.get("kubernetes.io/service-name") == Some(&service.name)
        };
        let slices = self.snapshot.tables.endpoint_slices.iter().filter(|s| of_service(s.value));
        let endpoints = slices.flat_map(|s| &s.value.endpoints).filter(|e| e.conditions.ready != Some(false));
        endpoints.map(|e| &e.nodeName).collect()
    }

    /// The Missing of a target group whose targets' health nobody read.
    pub fn health_missing(&self, name: &str) -> Missing {
        self.snapshot.missing("elasticloadbalancing:DescribeTargetHealth", Some(name))
    }
}
