//! The objects of the picture and where they stand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Addresses, Band, Id, Kind, Picture, State, Subnet, Zone};
use crate::cluster::Cluster;
use crate::cluster::worker::Worker;
use crate::diagnostic::Diagnostic;
use crate::network::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, RouteChoice, Target};
use crate::shape::Str;
use crate::shape::ec2::{self, Tag, tag};
use crate::snapshot::Rec;

/// Subnets that are all shown, whether or not the cluster uses them.
const ALL_SUBNETS: usize = 12;
/// Subnets that are drawn at most.
const SUBNETS: usize = 60;
/// Nodes of one subnet that are drawn one by one.
const NODES: usize = 4;
/// Lines for anything else of one kind in one subnet.
const LINES: usize = 4;
/// Security groups that are drawn at most, those of findings aside.
const GROUPS: usize = 6;

pub(super) fn build<'r>(cluster: &'r Cluster, findings: impl Iterator<Item = &'r Diagnostic>) -> Picture {
    let mut builder = Builder {
        cluster,
        named: named(findings),
        picture: Picture::default(),
        by_subnet: HashMap::new(),
        vpc: cluster.vpc_id().unwrap_or_default(),
    };
    builder.outside();
    builder.frame();
    builder.subnets();
    builder.balancers();
    builder.endpoints();
    builder.gateways();
    builder.control_plane();
    builder.coredns();
    builder.workers();
    builder.groups();
    for subnet in &mut builder.picture.subnets {
        let objects = &builder.picture.objects;
        subnet.rows.sort_by_key(|&row| order(objects[row].kind));
    }
    builder.picture
}

/// Guards first, then what traffic goes through, then what runs.
fn order(kind: Kind) -> u8 {
    match kind {
        Kind::RouteTable => 0,
        Kind::Acl => 1,
        Kind::Nat => 2,
        Kind::Balancer => 3,
        Kind::Endpoint => 4,
        Kind::ControlPlane => 5,
        Kind::CoreDns => 6,
        _ => 7,
    }
}

/// Ids that findings speak of.
fn named<'r>(findings: impl Iterator<Item = &'r Diagnostic>) -> BTreeSet<&'r str> {
    let mut all = BTreeSet::new();
    for finding in findings {
        all.insert(finding.resource.id.as_str());
        all.extend(finding.affected.iter().map(|resource| resource.id.as_str()));
        if let Some(trace) = &finding.trace {
            all.extend(trace.forward.iter().chain(&trace.back).map(|hop| hop.at.as_str()));
            all.extend([trace.from.as_str(), trace.to.as_str()]);
        }
    }
    all
}

struct Builder<'c> {
    cluster: &'c Cluster,
    named: BTreeSet<&'c str>,
    picture: Picture,
    /// Subnet id to its index in the picture.
    by_subnet: HashMap<Str, usize>,
    vpc: Str,
}

impl Builder<'_> {
    fn is_ours(&self, vpc: &Str) -> bool {
        self.vpc.is_empty() || *vpc == self.vpc
    }

    /// A line in a subnet that is drawn.
    fn row(&mut self, subnet: &str, kind: Kind, label: &str, detail: &str, hint: String, state: State) -> Option<Id> {
        let index = *self.by_subnet.get(subnet)?;
        let id = self.picture.add(kind, label, detail, hint, state);
        self.picture.subnets[index].rows.push(id);
        Some(id)
    }

    fn count(&self, subnet: &str, kind: Kind) -> usize {
        let Some(&index) = self.by_subnet.get(subnet) else { return 0 };
        let rows = &self.picture.subnets[index].rows;
        rows.iter().filter(|&&row| self.picture.objects[row].kind == kind).count()
    }

    fn outside(&mut self) {
        let internet = self.picture.add(
            Kind::Internet,
            "Internet",
            "",
            "everything with a public address: registries, public AWS APIs, clients".to_owned(),
            State::Fine,
        );
        self.picture.outside.push(internet);
        self.picture.place("internet", internet);
        let Ok(eks) = self.cluster.eks() else { return };
        let config = &eks.resourcesVpcConfig;
        let access = match (config.endpointPublicAccess, config.endpointPrivateAccess) {
            (Some(true), Some(true)) => "endpoint public + private",
            (Some(true), _) => "endpoint public",
            (_, Some(true)) => "endpoint private",
            _ => "",
        };
        let bad = !matches!(eks.status.as_str(), "" | "ACTIVE" | "UPDATING");
        let hint = format!("EKS cluster {} {}\n{}\n{access}", eks.name, eks.version, eks.endpoint);
        let state = if bad { State::Bad } else { State::Fine };
        let id = self.picture.add(Kind::Cluster, &format!("EKS control plane {}", eks.version), access, hint, state);
        self.picture.outside.push(id);
        self.picture.place(&eks.name, id);
        self.picture.place(&eks.arn, id);
    }

    fn frame(&mut self) {
        let vpcs = &self.cluster.snapshot.tables.vpcs;
        if self.vpc.is_empty()
            && let Some(vpc) = vpcs.iter().next().filter(|_| vpcs.len() == 1)
        {
            self.vpc = vpc.VpcId.clone();
        }
        if self.vpc.is_empty() {
            return;
        }
        let (mut label, mut detail) = (self.vpc.to_string(), String::new());
        if let Some(vpc) = vpcs.get(&self.vpc) {
            label = titled(&vpc.Tags, &vpc.VpcId);
            let more = vpc.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock).filter(|c| **c != vpc.CidrBlock);
            let v6 = vpc.Ipv6CidrBlockAssociationSet.iter().map(|a| &a.Ipv6CidrBlock);
            let mut cidrs: Vec<&str> = vec![&vpc.CidrBlock];
            cidrs.extend(more.chain(v6).map(Str::as_str));
            cidrs.retain(|c| !c.is_empty());
            detail = cidrs.join(", ");
        }
        let hint = format!("VPC {}\n{detail}", self.vpc);
        let id = self.picture.add(Kind::Vpc, &label, &detail, hint, State::Fine);
        self.picture.vpc = Some(id);
        self.picture.place(&self.vpc.clone(), id);
    }

    /// Subnets that have to do with the cluster.
    fn used_subnets(&self) -> BTreeSet<Str> {
        let tables = &self.cluster.snapshot.tables;
        let mut used: BTreeSet<Str> = BTreeSet::new();
        if let Ok(eks) = self.cluster.eks() {
            used.extend(eks.resourcesVpcConfig.subnetIds.iter().cloned());
        }
        used.extend(self.cluster.nodegroups().flat_map(|group| group.value.subnets.iter().cloned()));
        used.extend(tables.fargate_profiles.iter().flat_map(|profile| profile.value.subnets.iter().cloned()));
        used.extend(tables.eni_configs.iter().map(|config| config.value.spec.subnet.clone()));
        if let Ok(workers) = self.cluster.workers() {
            let interfaces = workers.iter().flat_map(|worker| &worker.interfaces);
            used.extend(interfaces.map(|link| tables.network_interfaces.at(link.row.index).SubnetId.clone()));
            used.extend(workers.iter().filter_map(|worker| worker.subnet).map(|link| tables.id(link.row)));
        }
        if let Ok(pools) = self.cluster.address_pools() {
            used.extend(pools.iter().map(|pool| tables.id(pool.subnet.row)));
        }
        used.extend(tables.load_balancers.iter().flat_map(|balancer| {
            balancer.value.AvailabilityZones.iter().map(|zone| zone.SubnetId.clone()).collect::<Vec<_>>()
        }));
        used.extend(tables.nat_gateways.iter().map(|nat| nat.SubnetId.clone()));
        used
    }

    fn subnets(&mut self) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let all: Vec<Rec<'_, ec2::Subnet>> =
            tables.subnets.iter().filter(|subnet| self.is_ours(&subnet.VpcId)).collect();
        let used = self.used_subnets();
        let is_wanted = |subnet: &Rec<'_, ec2::Subnet>| {
            all.len() <= ALL_SUBNETS || used.contains(&subnet.SubnetId) || self.named.contains(subnet.SubnetId.as_str())
        };
        let mut shown: Vec<Rec<'_, ec2::Subnet>> = all.iter().copied().filter(is_wanted).collect();
        // Those of findings stay when there are too many.
        shown.sort_by_key(|subnet| (!self.named.contains(subnet.SubnetId.as_str()), subnet.SubnetId.clone()));
        shown.truncate(SUBNETS);
        self.picture.left_out = all.len() - shown.len();

        let zones: BTreeMap<&str, &str> =
            shown.iter().map(|s| (s.value.AvailabilityZone.as_str(), s.value.AvailabilityZoneId.as_str())).collect();
        let numbers: HashMap<&str, usize> = zones.keys().enumerate().map(|(i, name)| (*name, i)).collect();
        self.picture.zones =
            zones.iter().map(|(name, id)| Zone { name: (*name).to_owned(), id: (*id).to_owned() }).collect();

        let mut drafts: Vec<_> = shown
            .iter()
            .map(|subnet| {
                let route = self.way_out(subnet);
                let band = band(&route);
                (band, numbers[subnet.value.AvailabilityZone.as_str()], cidr_key(&subnet.CidrBlock), *subnet, route)
            })
            .collect();
        drafts.sort_by(|a, b| (a.0, a.1, a.2, &a.3.value.SubnetId).cmp(&(b.0, b.1, b.2, &b.3.value.SubnetId)));
        for (band, zone, _, subnet, route) in drafts {
            self.subnet(subnet, band, zone, route.as_ref().ok().and_then(Option::as_ref));
        }
    }

    fn way_out(&self, subnet: &Rec<'_, ec2::Subnet>) -> Result<Option<RouteChoice>, ()> {
        let network = &self.cluster.network;
        let route = |to| network.route(&subnet.SubnetId, to).map_err(|_| ());
        let only_v6 = subnet.Ipv6Native == Some(true) || subnet.CidrBlock.is_empty();
        route(if only_v6 { ANY_PUBLIC_V6 } else { ANY_PUBLIC_V4 })
    }

    fn subnet(&mut self, subnet: Rec<'_, ec2::Subnet>, band: Band, zone: usize, route: Option<&RouteChoice>) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let id = &subnet.value.SubnetId;
        let pools = cluster.address_pools().unwrap_or_default();
        let pool = pools.iter().find(|pool| tables.id(pool.subnet.row) == *id);
        let usable = subnet.CidrBlock.parse::<ipnet::Ipv4Net>().ok().map(|net| (1_i64 << (32 - net.prefix_len())) - 5);
        let addresses = match (usable, subnet.AvailableIpAddressCount) {
            (Some(usable), Some(free)) if usable > 0 => Some(Addresses {
                usable,
                free: free.clamp(0, usable),
                prefixes: pool.filter(|pool| pool.prefixes).and_then(|pool| pool.freePrefixes),
            }),
            _ => None,
        };
        let mut cidrs: Vec<String> = vec![subnet.CidrBlock.to_string()];
        cidrs.extend(subnet.value.ipv6_cidr().map(str::to_owned));
        cidrs.retain(|cidr| !cidr.is_empty());
        let label = tag(&subnet.value.Tags, "Name").unwrap_or(id).to_owned();
        let hint = format!("subnet {id}\n{label}\n{}\n{}", cidrs.join(", "), band.name());
        let state = match pool.map(|pool| pool.state()) {
            Some(Ok("exhausted" | "fragmented")) => State::Bad,
            _ => State::Fine,
        };
        let object = self.picture.add(Kind::Subnet, &label, "", hint, state);
        self.picture.place(id, object);
        let rows = Vec::new();
        let subnet_id = id.to_string();
        self.by_subnet.insert(id.clone(), self.picture.subnets.len());
        self.picture.subnets.push(Subnet { object, subnet_id, zone, band, cidrs, addresses, rows });

        if let Ok(row) = cluster.network.route_table_of(id) {
            let table = tables.route_tables.at(row.index);
            let (detail, state) = match route {
                Some(route) if route.blackhole => ("→ blackhole".to_owned(), State::Bad),
                Some(route) => (format!("→ {}", target_word(&route.target)), State::Fine),
                None => ("no way out".to_owned(), State::Fine),
            };
            let label = titled(&table.value.Tags, &table.RouteTableId);
            let hint = format!("route table {}\nwhat is not in the VPC {detail}", table.RouteTableId);
            if let Some(at) = self.row(id, Kind::RouteTable, &label, &detail, hint, state) {
                self.picture.place(&table.RouteTableId, at);
            }
        }
        if let Ok(row) = cluster.network.acl_of(id) {
            let acl = tables.network_acls.at(row.index);
            let label = titled(&acl.value.Tags, &acl.NetworkAclId);
            let detail = match (acl.IsDefault, label == acl.NetworkAclId.as_str()) {
                (Some(true), true) => "default",
                (Some(true), false) => "default ACL",
                (_, true) => "",
                (_, false) => "ACL",
            };
            let hint = format!("network ACL {}\n{} entries", acl.NetworkAclId, acl.Entries.len());
            if let Some(at) = self.row(id, Kind::Acl, &label, detail, hint, State::Fine) {
                self.picture.place(&acl.NetworkAclId, at);
            }
        }
    }

    fn balancers(&mut self) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let ours: Vec<_> = tables.load_balancers.iter().filter(|balancer| self.is_ours(&balancer.VpcId)).collect();
        for balancer in ours {
            let kind = match balancer.Type.as_str() {
                "application" => "ALB",
                "network" => "NLB",
                "gateway" => "GWLB",
                _ => "LB",
            };
            let label = format!("{kind} {}", balancer.LoadBalancerName);
            let state = if matches!(balancer.State.Code.as_str(), "" | "active") { State::Fine } else { State::Bad };
            let detail = if state == State::Bad { balancer.State.Code.as_str() } else { &balancer.Scheme };
            for zone in &balancer.value.AvailabilityZones {
                if self.count(&zone.SubnetId, Kind::Balancer) >= LINES
                    && !self.named.contains(balancer.LoadBalancerArn.as_str())
                {
                    continue;
                }
                let hint = format!("{}\n{}\n{}", balancer.LoadBalancerArn, balancer.Scheme, balancer.State.Code);
                let Some(at) = self.row(&zone.SubnetId, Kind::Balancer, &label, short_scheme(detail), hint, state)
                else {
                    continue;
                };
                self.picture.place(&balancer.LoadBalancerArn, at);
                self.picture.place(&balancer.LoadBalancerName, at);
            }
        }
        // A load balancer's interfaces say whose they are: `ELB app/name/hash`.
        let interfaces = tables.network_interfaces.iter().filter(|interface| self.is_ours(&interface.VpcId));
        let of_balancers: Vec<_> = interfaces
            .filter_map(|interface| {
                let name = interface.value.Description.strip_prefix("ELB ")?.split('/').nth(1)?;
                Some((interface.NetworkInterfaceId.clone(), interface.SubnetId.clone(), name.to_owned()))
            })
            .collect();
        for (id, subnet, name) in of_balancers {
            let at = self.picture.placed(&name).iter().copied().find(|&at| self.in_subnet(at, &subnet));
            if let Some(at) = at {
                self.picture.place(&id, at);
            }
        }
    }

    fn in_subnet(&self, at: Id, subnet: &str) -> bool {
        self.by_subnet.get(subnet).is_some_and(|&index| self.picture.subnets[index].rows.contains(&at))
    }

    fn endpoints(&mut self) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let ours: Vec<_> = tables.vpc_endpoints.iter().filter(|endpoint| self.is_ours(&endpoint.VpcId)).collect();
        for endpoint in &ours {
            let service = short_service(&endpoint.value.ServiceName);
            let state = if endpoint.State.is_empty() || endpoint.State.eq_ignore_ascii_case("available") {
                State::Fine
            } else {
                State::Bad
            };
            let hint = format!("{}\n{}\n{}", endpoint.VpcEndpointId, endpoint.ServiceName, endpoint.State);
            let bad = if state == State::Bad { endpoint.State.as_str() } else { "endpoint" };
            if endpoint.value.SubnetIds.is_empty() {
                let id = self.picture.add(Kind::Endpoint, &service, bad, hint.clone(), state);
                self.picture.edge.push(id);
                self.picture.place(&endpoint.VpcEndpointId, id);
            }
            for subnet in &endpoint.value.SubnetIds {
                let own = state == State::Bad || self.named.contains(endpoint.VpcEndpointId.as_str());
                // Many endpoints are one line; those that matter have their own.
                let there = self.picture.placed(&format!("endpoints/{subnet}")).first().copied();
                let at = match there {
                    Some(at) if !own => {
                        let object = &mut self.picture.objects[at];
                        object.label += &format!(", {service}");
                        object.hint += &format!("\n{hint}");
                        Some(at)
                    }
                    _ => {
                        let at = self.row(subnet, Kind::Endpoint, &service, bad, hint.clone(), state);
                        if let (Some(at), false) = (at, own) {
                            self.picture.place(&format!("endpoints/{subnet}"), at);
                        }
                        at
                    }
                };
                if let Some(at) = at {
                    self.picture.place(&endpoint.VpcEndpointId, at);
                    for interface in &endpoint.value.NetworkInterfaceIds {
                        let stands = tables.network_interfaces.get(interface).is_some_and(|i| i.SubnetId == *subnet);
                        if stands {
                            self.picture.place(interface, at);
                        }
                    }
                }
            }
        }
        for subnet in &self.picture.subnets {
            for &row in &subnet.rows {
                let object = &mut self.picture.objects[row];
                let count = object.label.split(", ").count();
                if object.kind == Kind::Endpoint && count > 1 {
                    object.detail = format!("{count} endpoints");
                }
            }
        }
    }

    fn gateways(&mut self) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let vpc = self.vpc.clone();
        let nats: Vec<_> = tables.nat_gateways.iter().filter(|nat| self.is_ours(&nat.VpcId)).collect();
        for nat in nats {
            let state = if nat.State.is_empty() || nat.State == "available" { State::Fine } else { State::Bad };
            if state == State::Bad && nat.State == "deleted" && !self.named.contains(nat.NatGatewayId.as_str()) {
                continue;
            }
            let address = nat.value.NatGatewayAddresses.iter().map(|a| a.PublicIp.as_str()).find(|ip| !ip.is_empty());
            let detail = if state == State::Bad { nat.State.as_str() } else { address.unwrap_or("private NAT") };
            let hint = format!("NAT gateway {}\n{}\n{detail}", nat.NatGatewayId, nat.State);
            let label = titled(&nat.value.Tags, &nat.NatGatewayId);
            let at = self.row(&nat.SubnetId, Kind::Nat, &label, detail, hint.clone(), state).unwrap_or_else(|| {
                let at = self.picture.add(Kind::Nat, &label, detail, hint, state);
                self.picture.edge.push(at);
                at
            });
            self.picture.place(&nat.NatGatewayId, at);
            for address in &nat.value.NatGatewayAddresses {
                self.picture.place(&address.NetworkInterfaceId, at);
            }
        }
        let mut edge: Vec<(String, String, String, State)> = Vec::new();
        for gateway in tables.internet_gateways.iter() {
            if gateway.Attachments.iter().any(|a| a.VpcId == vpc) {
                edge.push(self.at_edge(&gateway.InternetGatewayId, &gateway.value.Tags, "internet gateway"));
            }
        }
        for gateway in tables.egress_only_internet_gateways.iter() {
            if gateway.Attachments.iter().any(|a| a.VpcId == vpc) {
                let id = &gateway.EgressOnlyInternetGatewayId;
                edge.push(self.at_edge(id, &gateway.value.Tags, "egress-only gateway"));
            }
        }
        let mut attachments: Vec<(Str, Str)> = Vec::new();
        for attachment in tables.transit_gateway_vpc_attachments.iter().filter(|a| a.VpcId == vpc) {
            attachments.push((attachment.TransitGatewayId.clone(), attachment.TransitGatewayAttachmentId.clone()));
        }
        for attachment in tables.transit_gateway_attachments.iter().filter(|a| a.ResourceId == vpc) {
            attachments.push((attachment.TransitGatewayId.clone(), attachment.TransitGatewayAttachmentId.clone()));
        }
        attachments.sort();
        attachments.dedup();
        for (id, _) in &attachments {
            let tags = tables.transit_gateways.get(id).map(|gateway| gateway.value.Tags.as_slice());
            edge.push(self.at_edge(id, tags.unwrap_or_default(), "transit gateway"));
        }
        for peering in tables.vpc_peering_connections.iter() {
            if peering.AccepterVpcInfo.VpcId == vpc || peering.RequesterVpcInfo.VpcId == vpc {
                let mut chip = self.at_edge(&peering.VpcPeeringConnectionId, &peering.value.Tags, "peering");
                if !matches!(peering.Status.Code.as_str(), "" | "active") {
                    chip.2 = format!("peering, {}", peering.Status.Code);
                    chip.3 = State::Bad;
                }
                edge.push(chip);
            }
        }
        self.routed(&mut edge);
        edge.sort();
        edge.dedup_by(|a, b| a.0 == b.0);
        // Gateways before endpoints.
        let endpoints = std::mem::take(&mut self.picture.edge);
        for (id, label, detail, state) in edge {
            if self.picture.placed(&id).is_empty() {
                let hint = format!("{detail} {id}");
                let at = self.picture.add(Kind::Gateway, &label, &detail, hint, state);
                self.picture.edge.push(at);
                self.picture.place(&id, at);
            }
        }
        self.picture.edge.extend(endpoints);
        for (id, attachment) in &attachments {
            if let Some(&at) = self.picture.placed(id).first() {
                self.picture.place(attachment, at);
            }
        }
    }

    fn at_edge(&self, id: &str, tags: &[Tag], what: &str) -> (String, String, String, State) {
        (id.to_owned(), titled(tags, id), what.to_owned(), State::Fine)
    }

    /// What routes of shown subnets lead to and nobody recorded.
    fn routed(&self, edge: &mut Vec<(String, String, String, State)>) {
        let tables = &self.cluster.snapshot.tables;
        let rows: BTreeSet<_> = self
            .picture
            .subnets
            .iter()
            .filter_map(|s| self.cluster.network.route_table_of(&s.subnet_id).ok())
            .collect();
        for row in rows {
            for route in &tables.route_tables.at(row.index).value.Routes {
                let targets = [
                    (&route.GatewayId, "gateway"),
                    (&route.NatGatewayId, "NAT gateway"),
                    (&route.TransitGatewayId, "transit gateway"),
                    (&route.VpcPeeringConnectionId, "peering"),
                    (&route.EgressOnlyInternetGatewayId, "egress-only gateway"),
                    (&route.LocalGatewayId, "local gateway"),
                    (&route.CarrierGatewayId, "carrier gateway"),
                    (&route.CoreNetworkArn, "core network"),
                ];
                for (id, what) in targets {
                    let known = id.is_empty() || id == "local" || !self.picture.placed(id).is_empty();
                    if known {
                        continue;
                    }
                    let what = match id.split('-').next() {
                        Some("igw") => "internet gateway",
                        Some("vgw") => "VPN gateway",
                        Some("vpce") => "endpoint",
                        _ => what,
                    };
                    let gone = route.State == "blackhole";
                    let (detail, state) =
                        if gone { (format!("{what}, gone"), State::Bad) } else { (what.to_owned(), State::Fine) };
                    edge.push((id.to_string(), id.to_string(), detail, state));
                }
            }
        }
    }

    fn control_plane(&mut self) {
        let Ok(interfaces) = self.cluster.control_plane_interfaces() else { return };
        for interface in interfaces {
            let id = &interface.value.NetworkInterfaceId;
            let hint = format!("interface {id} of the EKS control plane\n{}", interface.PrivateIpAddress);
            let address = &interface.value.PrivateIpAddress;
            let label = if address.is_empty() { id } else { address };
            if let Some(at) =
                self.row(&interface.SubnetId, Kind::ControlPlane, label, "control plane", hint, State::Fine)
            {
                self.picture.place(id, at);
            }
        }
    }

    fn coredns(&mut self) {
        let cluster = self.cluster;
        let Ok(pods) = cluster.coredns_pods() else { return };
        let tables = &cluster.snapshot.tables;
        let mut by_subnet: BTreeMap<Str, Vec<(String, bool)>> = BTreeMap::new();
        for pod in pods {
            let interface = cluster.pod_place(pod.value).ok().map(|place| place.interface.SubnetId.clone());
            let node = || {
                let worker = cluster.worker_of_node(&pod.value.spec.nodeName)?;
                Some(tables.id(worker.subnet?.row))
            };
            let Some(subnet) = interface.or_else(node) else { continue };
            let ready = pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            by_subnet.entry(subnet).or_default().push((name, ready));
        }
        for (subnet, pods) in by_subnet {
            let ready = pods.iter().filter(|(_, ready)| *ready).count();
            let label = if pods.len() == 1 { "CoreDNS".to_owned() } else { format!("CoreDNS ×{}", pods.len()) };
            let (detail, state) = match ready {
                0 => ("not ready".to_owned(), State::Bad),
                ready if ready < pods.len() => (format!("{ready} ready"), State::Bad),
                _ => ("ready".to_owned(), State::Fine),
            };
            let hint = pods.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("\n");
            if let Some(at) = self.row(&subnet, Kind::CoreDns, &label, &detail, hint, state) {
                for (name, _) in &pods {
                    self.picture.place(name, at);
                }
            }
        }
    }

    fn workers(&mut self) {
        let cluster = self.cluster;
        let Ok(workers) = cluster.workers() else { return };
        let tables = &cluster.snapshot.tables;
        let mut by_subnet: BTreeMap<Option<Str>, Vec<&Worker>> = BTreeMap::new();
        for worker in workers {
            let subnet = worker.subnet.map(|link| tables.id(link.row));
            let subnet = subnet.filter(|subnet| self.by_subnet.contains_key(subnet));
            by_subnet.entry(subnet).or_default().push(worker);
        }
        for (subnet, workers) in by_subnet {
            let single = workers.len() <= NODES && subnet.is_some();
            let mut teams: BTreeMap<String, Vec<&Worker>> = BTreeMap::new();
            for (i, worker) in workers.into_iter().enumerate() {
                let team = if single { format!("{i:09}") } else { self.team(worker) };
                teams.entry(team).or_default().push(worker);
            }
            while teams.len() > LINES + 2 {
                // The smallest teams share the last line.
                let Some(least) = teams.iter().min_by_key(|(_, t)| t.len()).map(|(name, _)| name.clone()) else {
                    break;
                };
                let Some(least) = teams.remove(&least) else { break };
                teams.entry("other nodes".to_owned()).or_default().extend(least);
                if teams.len() == 1 {
                    break;
                }
            }
            for (team, workers) in teams {
                self.team_row(subnet.as_deref(), &team, &workers);
            }
        }
    }

    /// What nodes of a subnet are counted by.
    fn team(&self, worker: &Worker) -> String {
        let tables = &self.cluster.snapshot.tables;
        if let Some(group) = worker.nodegroup {
            return tables.nodegroups.at(group.row.index).nodegroupName.to_string();
        }
        let node = worker.node.map(|link| tables.nodes.at(link.row.index));
        let pool = node.and_then(|node| node.value.metadata.labels.get("karpenter.sh/nodepool"));
        match (pool, worker.kind.as_str()) {
            (Some(pool), _) => pool.to_string(),
            (None, "fargate") => "Fargate".to_owned(),
            (None, "hybrid") => "hybrid nodes".to_owned(),
            (None, "auto") => "Auto Mode".to_owned(),
            (None, _) => "self-managed".to_owned(),
        }
    }

    fn team_row(&mut self, subnet: Option<&str>, team: &str, workers: &[&Worker]) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let missing = workers.iter().filter(|worker| !worker.joined).count();
        let unready = workers.iter().filter(|worker| worker.joined && !worker.ready).count();
        let occupancy = cluster.occupancy().ok();
        let pods: i64 = workers.iter().filter_map(|worker| Some(occupancy?.nodes.get(&worker.name)?.total)).sum();
        let single = workers.len() == 1;
        let (detail, state) = match (missing, unready) {
            (0, 0) if occupancy.is_none() => (String::new(), State::Fine),
            (0, 0) => (if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") }, State::Fine),
            (0, _) if single => ("not ready".to_owned(), State::Bad),
            (_, 0) if single => ("not joined".to_owned(), State::Bad),
            (0, n) => (format!("{n} not ready"), State::Bad),
            (n, _) => (format!("{n} not joined"), State::Bad),
        };
        let (label, hint) = match workers {
            [worker] => {
                let instance = worker.instance.map(|link| tables.id(link.row)).unwrap_or_default();
                let hint = format!("{}\n{instance} {}\n{}", worker.name, worker.instanceType, worker.address);
                (short_node(&worker.name).to_owned(), hint)
            }
            _ => {
                let mut types: BTreeMap<&str, usize> = BTreeMap::new();
                for worker in workers {
                    *types.entry(worker.instanceType.as_str()).or_default() += 1;
                }
                let types: Vec<String> = types.iter().map(|(name, count)| format!("{count} × {name}")).collect();
                (
                    format!("{} × {team}", workers.len()),
                    format!("{} nodes of {team}\n{}", workers.len(), types.join("\n")),
                )
            }
        };
        let at = match subnet {
            Some(subnet) => self.row(subnet, Kind::Node, &label, &detail, hint, state),
            None => {
                let at = self.picture.add(Kind::Node, &label, &detail, hint, state);
                self.picture.outside.push(at);
                Some(at)
            }
        };
        let Some(at) = at else { return };
        for worker in workers {
            self.picture.place(&worker.name, at);
            if let Some(instance) = worker.instance {
                self.picture.place(&tables.id(instance.row), at);
            }
            for interface in &worker.interfaces {
                self.picture.place(&tables.id(interface.row), at);
            }
        }
    }

    fn groups(&mut self) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let mut wanted: Vec<(Str, &str)> = Vec::new();
        if let Ok(eks) = cluster.eks() {
            let config = &eks.value.resourcesVpcConfig;
            wanted.push((config.clusterSecurityGroupId.clone(), "cluster"));
            wanted.extend(config.securityGroupIds.iter().map(|id| (id.clone(), "control plane")));
        }
        if let Ok(workers) = cluster.workers() {
            let mut of_nodes: BTreeMap<Str, usize> = BTreeMap::new();
            for group in workers.iter().flat_map(|worker| &worker.groups) {
                *of_nodes.entry(tables.id(group.row)).or_default() += 1;
            }
            let mut of_nodes: Vec<(Str, usize)> = of_nodes.into_iter().collect();
            of_nodes.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            wanted.extend(of_nodes.into_iter().map(|(id, _)| (id, "nodes")));
        }
        wanted.truncate(GROUPS);
        let of_findings = tables.security_groups.iter().filter(|group| self.named.contains(group.GroupId.as_str()));
        wanted.extend(of_findings.map(|group| (group.GroupId.clone(), "security group")));
        for (id, whose) in wanted {
            if id.is_empty() || !self.picture.placed(&id).is_empty() {
                continue;
            }
            let group = tables.security_groups.get(&id);
            let label = group.map_or("", |group| group.value.GroupName.as_str());
            let label = if label.is_empty() { id.as_str() } else { label };
            let hint = group.map_or_else(
                || format!("security group {id}, not recorded"),
                |g| format!("security group {id}\n{}\n{}", g.GroupName, g.Description),
            );
            let at = self.picture.add(Kind::SecurityGroup, label, whose, hint, State::Fine);
            self.picture.groups.push(at);
            self.picture.place(&id, at);
        }
    }
}

fn band(route: &Result<Option<RouteChoice>, ()>) -> Band {
    match route {
        Err(()) => Band::Unknown,
        Ok(None) => Band::Isolated,
        Ok(Some(route)) => match route.target {
            Target::InternetGateway(_) => Band::Public,
            Target::Local => Band::Isolated,
            _ => Band::Private,
        },
    }
}

fn target_word(target: &Target) -> &str {
    match target {
        Target::InternetGateway(_) => "IGW",
        Target::EgressOnly(_) => "egress-only",
        Target::Nat(_) => "NAT",
        Target::TransitGateway(_) => "TGW",
        Target::Peering(_) => "peering",
        Target::Endpoint(_) => "endpoint",
        Target::Interface(_) | Target::Instance(_) => "appliance",
        Target::VirtualGateway(_) => "VPN",
        other => other.name(),
    }
}

/// The name of an object, else its id.
fn titled(tags: &[Tag], id: &str) -> String {
    tag(tags, "Name").filter(|name| !name.is_empty()).unwrap_or(id).to_owned()
}

/// `com.amazonaws.eu-west-1.ecr.api` is `ecr.api`.
fn short_service(name: &str) -> String {
    let rest = name.split_once("amazonaws.").map_or(name, |(_, rest)| rest);
    rest.split_once('.').map_or(rest, |(_, service)| service).to_owned()
}

fn short_scheme(scheme: &str) -> &str {
    match scheme {
        "internet-facing" => "public",
        other => other,
    }
}

/// `ip-10-0-1-7.ec2.internal` is `ip-10-0-1-7`.
fn short_node(name: &str) -> &str {
    match name.split_once('.') {
        Some((host, _)) if ["ip-", "i-", "fargate-ip-"].iter().any(|begin| host.starts_with(begin)) => host,
        _ => name,
    }
}

/// By number, not by letter.
fn cidr_key(cidr: &str) -> u32 {
    cidr.parse::<ipnet::Ipv4Net>().map_or(u32::MAX, |net| u32::from(net.network()))
}
