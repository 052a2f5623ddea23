//! The paths that a load balancer needs: control plane to the controller's webhook, load balancer to its targets, node
//! to the pods behind it; and the security groups that the controller may open.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use super::controller::{LoadBalancerController, flag};
use super::reach::Reach;
use super::worker::Worker;
use crate::network::{Disposition, End, Flow, Trace};
use crate::shape::ec2::{NetworkInterface, SecurityGroup, tag};
use crate::shape::elb::{LoadBalancer, TargetGroup, TargetHealths};
use crate::shape::k8s::{EndpointSlice, ObjectMeta, Service, TargetGroupBinding};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, Rec};

derived! {
    /// A path without which a load balancer is not deployed or has no healthy target.
    LoadBalancerPath {
        /// `webhook` (control plane to the controller), `endpoint` (controller to a VPC endpoint), `target` (load balancer
        /// to target) or `node` (node to pod).
        kind: Str,
        /// What it is for: the controller, load balancer and target group, or service.
        name: Str,
        /// Where it ends: `namespace/name` of the pod, instance or address.
        to: Str,
        port: i64,
        reach: Reach,
        /// The security groups at the end of the path.
        groups: Vec<Link<SecurityGroup>>,
        /// The security groups at its start.
        sources: Vec<Link<SecurityGroup>>,
        /// Whether a group of the end is among what blocks it.
        groupsBlock: bool,
        loadBalancers: Vec<Link<LoadBalancer>>,
        targetGroups: Vec<Link<TargetGroup>>,
        services: Vec<Link<Service>>,
        /// What the target's health says (`Target.Timeout`).
        health: Str,
        /// The operation that was not read, so that paths of this kind cannot be judged; empty for a path.
        lacking: Str,
        /// Why it was not.
        reason: Str,
    }

    /// The security groups of interfaces that are targets, of which the controller opens one.
    TargetGroups {
        groups: Vec<Link<SecurityGroup>>,
        /// Of these, with the cluster's tag.
        tagged: Vec<Link<SecurityGroup>>,
        /// The tag.
        key: Str,
        interfaces: Vec<Link<NetworkInterface>>,
        bindings: Vec<Link<TargetGroupBinding>>,
        /// The group that should keep or get the tag.
        keep: Vec<Link<SecurityGroup>>,
        /// Those that should lose it.
        drop: Vec<Link<SecurityGroup>>,
    }
}

/// `namespace/name`.
pub(super) fn full_name(meta: &ObjectMeta) -> Str {
    compact_str::format_compact!("{}/{}", meta.namespace, meta.name)
}

fn group_ids(interface: &NetworkInterface) -> Vec<Str> {
    let mut ids: Vec<Str> = interface.Groups.iter().map(|g| g.GroupId.clone()).collect();
    ids.sort();
    ids
}

/// The part of a load balancer's ARN by which its interfaces are described: `app/name/id`.
fn described(arn: &str) -> &str {
    arn.split_once("loadbalancer/").map_or(arn, |(_, rest)| rest)
}

impl Cluster {
    /// The webhook's paths: from an interface of the control plane to each kind of controller pod.
    pub fn webhook_paths(&self, controller: &LoadBalancerController) -> Known<Vec<Arc<LoadBalancerPath>>> {
        let tables = &self.snapshot.tables;
        let sources = self.control_plane_interfaces()?;
        let deployment = tables.deployments.at(controller.deployment.row.index);
        let container = deployment.value.spec.template.spec.containers.first();
        let port =
            container.and_then(|c| flag(c, "webhook-bind-port")).and_then(|p| p.parse().ok()).unwrap_or(9443_u16);
        let mut found: BTreeMap<(Str, Vec<Str>), Arc<LoadBalancerPath>> = BTreeMap::new();
        for pod in controller.pods.iter().map(|p| tables.pods.at(p.row.index)) {
            let Ok(place) = self.pod_place(pod.value) else { continue };
            let key = (place.interface.SubnetId.clone(), group_ids(place.interface.value));
            if found.contains_key(&key) {
                continue;
            }
            let name = compact_str::format_compact!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            for source in &sources {
                let end =
                    End::Interface { id: place.interface.NetworkInterfaceId.clone(), address: Some(place.address) };
                let flow = Flow::tcp(End::interface(&source.NetworkInterfaceId), end, port);
                let path = self.path("webhook", &controller.name, &name, source.value, place.interface.value, &flow);
                let blocked = path.reach.disposition == "blocked";
                found.insert(key.clone(), Arc::new(path));
                if blocked {
                    break;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The paths from the controller's pods to the endpoints of the services that they call and nodes do not need: what
    /// keeps nodes from theirs is told of the nodes.
    pub fn endpoint_paths(&self, controller: &LoadBalancerController) -> Known<Vec<Arc<LoadBalancerPath>>> {
        let tables = &self.snapshot.tables;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        let of_nodes: Vec<&str> = self.node_services().into_iter().map(|(service, _)| service).collect();
        let mut found: BTreeMap<(Str, Vec<Str>, Str), Arc<LoadBalancerPath>> = BTreeMap::new();
        for service in self.services_called(controller)? {
            if of_nodes.contains(&service) {
                continue;
            }
            for endpoint in self.endpoints_of(service).unwrap_or_default() {
                if !Self::endpoint_captures(endpoint.value) {
                    continue;
                }
                for target in endpoint.value.NetworkInterfaceIds.iter().filter_map(|id| interfaces.get(id)) {
                    for pod in controller.pods.iter().map(|p| tables.pods.at(p.row.index)) {
                        let Ok(place) = self.pod_place(pod.value) else { continue };
                        let key = (
                            place.interface.SubnetId.clone(),
                            group_ids(place.interface.value),
                            target.SubnetId.clone(),
                        );
                        let key = (key.0, key.1, compact_str::format_compact!("{} {}", endpoint.VpcEndpointId, key.2));
                        if found.contains_key(&key) {
                            continue;
                        }
                        let from = End::Interface {
                            id: place.interface.NetworkInterfaceId.clone(),
                            address: Some(place.address),
                        };
                        let flow = Flow::tcp(from, End::interface(&target.NetworkInterfaceId), 443);
                        let to = format!("{} ({service})", endpoint.VpcEndpointId);
                        let path =
                            self.path("endpoint", &controller.name, &to, place.interface.value, target.value, &flow);
                        found.insert(key, Arc::new(path));
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn path(
        &self,
        kind: &'static str,
        name: &str,
        to: &str,
        source: &NetworkInterface,
        target: &NetworkInterface,
        flow: &Flow,
    ) -> LoadBalancerPath {
        let trace = self.network.trace(&self.snapshot, flow);
        let reach = Reach::new(trace);
        let deciders = reach.deciders();
        let groups = self.group_links(target.Groups.iter().map(|g| g.GroupId.as_str()));
        LoadBalancerPath {
            kind: Str::const_new(kind),
            name: Str::new(name),
            to: Str::new(to),
            port: i64::from(flow.port.unwrap_or_default()),
            groupsBlock: groups.iter().any(|g| deciders.contains(&g.row)),
            reach,
            groups,
            sources: self.group_links(source.Groups.iter().map(|g| g.GroupId.as_str())),
            loadBalancers: Vec::new(),
            targetGroups: Vec::new(),
            services: Vec::new(),
            health: Str::default(),
            lacking: Str::default(),
            reason: Str::default(),
        }
    }

    /// In the place of the paths of a kind that cannot be judged.
    fn lacking_path(kind: &'static str, missing: &Missing) -> Arc<LoadBalancerPath> {
        let trace = Trace {
            from: String::new(),
            to: String::new(),
            protocol: "tcp".to_owned(),
            port: None,
            disposition: Disposition::Unknown,
            forward: Vec::new(),
            back: Vec::new(),
        };
        Arc::new(LoadBalancerPath {
            kind: Str::const_new(kind),
            name: Str::default(),
            to: Str::default(),
            port: 0,
            reach: Reach::new(trace),
            groups: Vec::new(),
            sources: Vec::new(),
            groupsBlock: false,
            loadBalancers: Vec::new(),
            targetGroups: Vec::new(),
            services: Vec::new(),
            health: Str::default(),
            lacking: Str::new(&missing.read),
            reason: Str::new(&missing.reason),
        })
    }

    /// The paths from load balancers to targets that are not healthy, one for each kind.
    pub fn target_paths(&self) -> Known<Vec<Arc<LoadBalancerPath>>> {
        let vpc = self.vpc_id()?;
        let tables = &self.snapshot.tables;
        self.snapshot.table::<TargetHealths>()?;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        let balancers = self.snapshot.table::<LoadBalancer>()?;
        let mut of_balancer: BTreeMap<&str, Vec<Rec<'_, NetworkInterface>>> = BTreeMap::new();
        for interface in interfaces.iter() {
            if let Some(rest) = interface.value.Description.strip_prefix("ELB ") {
                of_balancer.entry(rest).or_default().push(interface);
            }
        }
        let mut found: BTreeMap<(Vec<Str>, Vec<Str>, Str, Str, u16), LoadBalancerPath> = BTreeMap::new();
        let mut of_instance: HashMap<&str, Row> = HashMap::new();
        for worker in self.workers()? {
            if let (Some(instance), Some(interface)) = (worker.instance, worker.interface) {
                of_instance.insert(tables.instances.at(instance.row.index).value.InstanceId.as_str(), interface.row);
            }
        }
        let (ambiguous, refused) = (self.target_groups().unwrap_or_default(), self.plans_without_room_for_rules()?);
        for group in tables.target_groups.iter().filter(|g| g.VpcId == vpc) {
            let Some(health) = self.health_of(group.value) else { continue };
            for target in &health.value.TargetHealthDescriptions {
                if target.TargetHealth.State != "unhealthy"
                    || target.TargetHealth.Reason == "Target.ResponseCodeMismatch"
                {
                    continue;
                }
                let port = target.Target.Port.and_then(|p| u16::try_from(p).ok());
                let check = target.HealthCheckPort.as_int().and_then(|p| u16::try_from(p).ok());
                let mut ports: Vec<u16> = port.into_iter().chain(check).collect();
                ports.dedup();
                let Some((interface, address)) = self.target_interface(&vpc, &of_instance, &target.Target.Id) else {
                    continue;
                };
                for arn in &group.value.LoadBalancerArns {
                    let Some(balancer) = balancers.get(arn) else { continue };
                    let sources = of_balancer.get(described(arn)).into_iter().flatten();
                    for (source, port) in sources.flat_map(|s| ports.iter().map(move |p| (s, *p))) {
                        let key = (
                            group_ids(source.value),
                            group_ids(interface.value),
                            source.value.SubnetId.clone(),
                            interface.value.SubnetId.clone(),
                            port,
                        );
                        let path = match found.get_mut(&key) {
                            Some(path) => path,
                            None => {
                                let end = End::Interface { id: interface.value.NetworkInterfaceId.clone(), address };
                                let from = self.balancer_end(balancer.value, source.value, address);
                                let mut flow = Flow::tcp(from, end, port);
                                flow.client_ports = 1024..=65535;
                                let title = format!("{} ({})", balancer.LoadBalancerName, group.TargetGroupName);
                                let mut path = self.path(
                                    "target",
                                    &title,
                                    &target.Target.Id,
                                    source.value,
                                    interface.value,
                                    &flow,
                                );
                                path.health = target.TargetHealth.Reason.clone();
                                found.entry(key).or_insert(path)
                            }
                        };
                        let (balancer, group) = (Link::new(balancer.row), Link::new(group.row));
                        if !path.loadBalancers.contains(&balancer) {
                            path.loadBalancers.push(balancer);
                        }
                        if !path.targetGroups.contains(&group) {
                            path.targetGroups.push(group);
                        }
                    }
                }
            }
        }
        // The controller would have opened these groups, but could not: that is told of the groups.
        let stuck = |path: &LoadBalancerPath| {
            let same =
                |set: &Arc<TargetGroups>| set.tagged.len() != 1 && path.groups.iter().all(|g| set.groups.contains(g));
            let full = |g: &Link<SecurityGroup>| {
                self.inbound_rules(self.snapshot.tables.security_groups.at(g.row.index).value) >= 60
            };
            path.groupsBlock && (ambiguous.iter().any(same) || (!refused.is_empty() && path.groups.iter().any(full)))
        };
        Ok(found.into_values().filter(|p| !stuck(p)).map(Arc::new).collect())
    }

    /// An interface of a load balancer as the source of what goes to an address. Those of a dualstack one speak IPv6
    /// although not every answer shows their addresses: any of their subnet's range stands for it.
    fn balancer_end(&self, balancer: &LoadBalancer, interface: &NetworkInterface, to: Option<IpAddr>) -> End {
        let shown = !interface.Ipv6Addresses.is_empty() || !balancer.IpAddressType.starts_with("dualstack");
        let subnet = self.snapshot.tables.subnets.get(&interface.SubnetId);
        let range = subnet.and_then(|s| s.value.ipv6_cidr()?.parse::<ipnet::Ipv6Net>().ok());
        match range {
            Some(range) if !shown && to.is_some_and(|t| t.is_ipv6()) => End::Hypothetical {
                vpc: interface.VpcId.clone(),
                subnet: interface.SubnetId.clone(),
                groups: group_ids(interface),
                address: Some(IpAddr::V6((u128::from(range.network()) | 0x100).into())),
                public: false,
            },
            _ => End::interface(&interface.NetworkInterfaceId),
        }
    }

    fn target_interface(
        &self,
        vpc: &str,
        of_instance: &HashMap<&str, Row>,
        id: &str,
    ) -> Option<(Rec<'_, NetworkInterface>, Option<IpAddr>)> {
        let interfaces = &self.snapshot.tables.network_interfaces;
        if id.starts_with("i-") {
            return Some((interfaces.at(of_instance.get(id)?.index), None));
        }
        let address: IpAddr = id.parse().ok()?;
        let interface = interfaces.at(self.network.interface_of(vpc, address)?.index);
        // An address of something else in the VPC is nobody's pod.
        let instance = interface.value.Attachment.as_ref().map_or("", |a| a.InstanceId.as_str());
        let ours = of_instance.contains_key(instance) || self.pod_addresses().contains(&address);
        ours.then_some((interface, Some(address)))
    }

    /// The paths from nodes to the pods behind services with instance targets: kube-proxy forwards from every node.
    pub fn node_paths(&self) -> Known<Vec<Arc<LoadBalancerPath>>> {
        let services = self.snapshot.table::<Service>()?;
        let slices = self.snapshot.table::<EndpointSlice>()?;
        let interfaces = &self.snapshot.tables.network_interfaces;
        let vpc = self.vpc_id()?;
        let mut asked: BTreeMap<Str, Row> = BTreeMap::new();
        for backend in self.backends()?.iter().filter(|b| b.targetType == "instance") {
            if let Some(service) = backend.found
                && services.at(service.row.index).spec.externalTrafficPolicy != "Local"
            {
                asked.insert(backend.service.clone(), service.row);
            }
        }
        // One node of each kind.
        let mut nodes: BTreeMap<(Str, Vec<Str>), Rec<'_, NetworkInterface>> = BTreeMap::new();
        for worker in self.workers()?.iter().filter(|w| w.joined && w.kind != "fargate" && !self.excluded(w)) {
            if let Some(interface) = worker.interface.map(|i| interfaces.at(i.row.index)) {
                nodes.entry((interface.SubnetId.clone(), group_ids(interface.value))).or_insert(interface);
            }
        }
        let mut found: BTreeMap<(Str, Vec<Str>, Str, Vec<Str>, u16), LoadBalancerPath> = BTreeMap::new();
        let mut open = BTreeSet::new();
        for slice in slices.iter() {
            let Some(service) = slice.value.metadata.labels.get("kubernetes.io/service-name") else { continue };
            let id = compact_str::format_compact!("{}/{}", slice.value.metadata.namespace, service);
            let Some(&row) = asked.get(&id) else { continue };
            for endpoint in &slice.value.endpoints {
                let Some(address) = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
                let Some(to) = self.network.interface_of(&vpc, address).map(|r| interfaces.at(r.index)) else {
                    continue;
                };
                for port in slice.value.ports.iter().filter(|p| p.protocol != "UDP" && p.protocol != "SCTP") {
                    let Some(port) = port.port.and_then(|p| u16::try_from(p).ok()) else { continue };
                    for ((subnet, groups), node) in &nodes {
                        let attached = |i: &NetworkInterface| i.Attachment.as_ref().map(|a| a.InstanceId.clone());
                        if attached(node.value).is_some() && attached(node.value) == attached(to.value) {
                            continue;
                        }
                        let key = (subnet.clone(), groups.clone(), to.SubnetId.clone(), group_ids(to.value), port);
                        if open.contains(&key) {
                            continue;
                        }
                        let path = match found.get_mut(&key) {
                            Some(path) => path,
                            None => {
                                let end =
                                    End::Interface { id: to.value.NetworkInterfaceId.clone(), address: Some(address) };
                                let flow = Flow::tcp(End::interface(&node.NetworkInterfaceId), end, port);
                                if self.network.decide(&flow) != Disposition::Blocked {
                                    open.insert(key);
                                    continue;
                                }
                                let path = self.path("node", &id, &address.to_string(), node.value, to.value, &flow);
                                found.entry(key).or_insert(path)
                            }
                        };
                        let link = Link::new(row);
                        if !path.services.contains(&link) {
                            path.services.push(link);
                        }
                    }
                }
            }
        }
        Ok(found.into_values().map(Arc::new).collect())
    }

    /// Whether a node takes no traffic of load balancers.
    pub(super) fn excluded(&self, worker: &Worker) -> bool {
        worker.node.is_some_and(|n| {
            let labels = &self.snapshot.tables.nodes.at(n.row.index).value.metadata.labels;
            labels.contains_key("node.kubernetes.io/exclude-from-external-load-balancers")
        })
    }

    /// The addresses of all pods.
    fn pod_addresses(&self) -> &HashSet<IpAddr> {
        self.cache.pod_addresses.get_or_init(|| {
            let pods = self.snapshot.tables.pods.iter();
            pods.filter_map(|p| p.value.status.podIP.parse().ok()).collect()
        })
    }

    /// The interfaces of a binding's targets: of the service's pods, or of the nodes.
    pub(super) fn binding_targets(&self, binding: Rec<'_, TargetGroupBinding>) -> Known<BTreeSet<Row>> {
        if binding.value.spec.targetType != "ip" {
            let takes = |w: &&Arc<Worker>| w.joined && !self.excluded(w);
            return Ok(self.workers()?.iter().filter(takes).filter_map(|w| w.interface.map(|i| i.row)).collect());
        }
        let slices = self.snapshot.table::<EndpointSlice>()?;
        let vpc = self.vpc_id()?;
        let index = self.cache.slices_of_service.get_or_init(|| {
            let mut index: HashMap<Str, Vec<u32>> = HashMap::new();
            for slice in slices.iter() {
                if let Some(service) = slice.value.metadata.labels.get("kubernetes.io/service-name") {
                    let id = compact_str::format_compact!("{}/{}", slice.value.metadata.namespace, service);
                    index.entry(id).or_default().push(slice.row.index);
                }
            }
            index
        });
        let meta = &binding.value.metadata;
        let id = compact_str::format_compact!("{}/{}", meta.namespace, binding.value.spec.serviceRef.name);
        let of_service = index.get(&id).into_iter().flatten().map(|&i| slices.at(i));
        let addresses = of_service.flat_map(|s| s.value.endpoints.iter()).flat_map(|e| e.addresses.iter());
        Ok(addresses.filter_map(|a| self.network.interface_of(&vpc, a.parse().ok()?)).collect())
    }

    /// The sets of groups on interfaces that are targets of bindings with networking rules, each once.
    pub fn target_groups(&self) -> Known<Vec<Arc<TargetGroups>>> {
        let bindings = self.snapshot.table::<TargetGroupBinding>()?;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        self.snapshot.table::<SecurityGroup>()?;
        let controller = self.controllers().ok().and_then(|all| all.first().cloned());
        let cluster =
            controller.as_ref().map(|c| c.clusterName.clone()).filter(|n| !n.is_empty()).unwrap_or_else(|| self.name());
        let key: Str = compact_str::format_compact!("kubernetes.io/cluster/{cluster}");
        let more: Vec<(Str, Str)> = controller
            .iter()
            .flat_map(|c| c.targetGroupTags.iter())
            .map(|t| t.split_once('=').map_or((t.clone(), Str::default()), |(k, v)| (Str::new(k), Str::new(v))))
            .collect();
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        let mut sets: BTreeMap<Vec<Str>, (BTreeSet<Row>, BTreeSet<Row>)> = BTreeMap::new();
        for binding in bindings.iter() {
            let opens = binding.value.spec.networking.as_ref().is_some_and(|n| !n.ingress.is_empty());
            if !opens {
                continue;
            }
            for target in self.binding_targets(binding)? {
                let groups = group_ids(interfaces.at(target.index).value);
                if groups.len() > 1 {
                    let set = sets.entry(groups).or_default();
                    set.0.insert(target);
                    set.1.insert(binding.row);
                }
            }
        }
        let own = self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        let picked =
            |group: &SecurityGroup| more.iter().all(|(key, value)| tag(&group.Tags, key) == Some(value.as_str()));
        let mut found = Vec::new();
        for (ids, (interfaces, bindings)) in sets {
            let groups: Vec<Rec<'_, SecurityGroup>> =
                ids.iter().filter_map(|id| self.snapshot.tables.security_groups.get(id)).collect();
            if groups.len() < ids.len() {
                continue;
            }
            let tagged: Vec<Rec<'_, SecurityGroup>> =
                groups.iter().copied().filter(|g| tag(&g.value.Tags, &key).is_some() && picked(g.value)).collect();
            // EKS tags the group that it made again, so that one keeps the tag.
            let keep =
                tagged.iter().chain(&groups).find(|g| g.GroupId == own).or(tagged.first()).or(groups.first()).copied();
            found.push(Arc::new(TargetGroups {
                drop: tagged.iter().filter(|g| keep.is_none_or(|k| k.row != g.row)).map(|g| Link::new(g.row)).collect(),
                keep: keep.iter().map(|g| Link::new(g.row)).collect(),
                groups: groups.iter().map(|g| Link::new(g.row)).collect(),
                tagged: tagged.iter().map(|g| Link::new(g.row)).collect(),
                key: key.clone(),
                interfaces: interfaces.into_iter().map(Link::new).collect(),
                bindings: bindings.into_iter().map(Link::new).collect(),
            }));
        }
        Ok(found)
    }

    /// All paths that load balancers need; for a kind that cannot be judged, what was not read.
    pub fn load_balancer_paths(&self) -> Known<Vec<Arc<LoadBalancerPath>>> {
        let mut all = Vec::new();
        let mut take = |kind, paths: Known<Vec<Arc<LoadBalancerPath>>>| match paths {
            Ok(paths) => all.extend(paths),
            Err(missing) => all.push(Self::lacking_path(kind, &missing)),
        };
        match self.controllers() {
            Ok(controllers) => controllers.iter().for_each(|c| {
                take("webhook", self.webhook_paths(c));
                take("endpoint", self.endpoint_paths(c));
            }),
            Err(missing) => take("webhook", Err(missing)),
        }
        take("target", self.target_paths());
        take("node", self.node_paths());
        Ok(all)
    }
}
