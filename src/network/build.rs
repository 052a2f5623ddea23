//! From a snapshot to the [`Network`]: ids become numbers, texts become ranges; what cannot be read is kept as such.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Target;
use super::address::{Cidr, Family, cidr, span};
use super::flow::Protocol;
use super::model::*;
use super::parse::{associated, kind, mapping, port, protocol, public_access, target};
use crate::shape::Str;
use crate::shape::ec2;
use crate::snapshot::{self, Known, Missing, Object, Snapshot};

impl Network {
    /// Reads the network out of a snapshot.
    pub fn new(snapshot: &Snapshot) -> Network {
        let mut net = Network::default();
        net.vpcs_and_subnets(snapshot);
        net.prefix_lists(snapshot);
        net.security_groups(snapshot);
        net.interfaces(snapshot);
        net.gateways(snapshot);
        net.transit(snapshot);
        net.route_tables(snapshot);
        net.network_acls(snapshot);
        net.classify();
        net.balancers = super::load_balancer::read(&net, snapshot);
        net.missing.balancers = gone::<crate::shape::elb::LoadBalancer>(snapshot);
        net
    }

    /// The number of a VPC, recorded or only named.
    fn vpc(&mut self, id: &Str) -> u32 {
        if id.is_empty() {
            return NONE;
        }
        if let Some(&at) = self.vpc_ids.get(id) {
            return at;
        }
        let at = self.vpcs.len() as u32;
        self.vpcs.push(Vpc { id: id.clone(), main_table: NONE, default_acl: NONE, ..Vpc::default() });
        self.vpc_ids.insert(id.clone(), at);
        at
    }

    fn group(&mut self, id: &Str) -> u32 {
        if let Some(&at) = self.group_ids.get(id) {
            return at;
        }
        let at = self.groups.len() as u32;
        self.groups.push(Group { id: id.clone(), row: None, rules: Default::default() });
        self.group_ids.insert(id.clone(), at);
        at
    }

    fn list(&mut self, id: &Str) -> u32 {
        if let Some(&at) = self.list_ids.get(id) {
            return at;
        }
        let at = self.lists.len() as u32;
        self.lists.push(List { id: id.clone(), cidrs: None });
        self.list_ids.insert(id.clone(), at);
        at
    }

    fn vpcs_and_subnets(&mut self, snapshot: &Snapshot) {
        for vpc in snapshot.tables.vpcs.iter() {
            let at = self.vpc(&vpc.VpcId) as usize;
            let Some(out) = self.vpcs.get_mut(at) else { continue };
            out.row = Some(vpc.row);
            out.primary = cidr(&vpc.CidrBlock);
            out.public_access = public_access(vpc.BlockPublicAccessStates.as_ref());
            let v4 = vpc.CidrBlockAssociationSet.iter().map(|a| (&a.CidrBlock, &a.CidrBlockState));
            let v6 = vpc.Ipv6CidrBlockAssociationSet.iter().map(|a| (&a.Ipv6CidrBlock, &a.Ipv6CidrBlockState));
            out.cidrs = v4.chain(v6).filter(|(_, s)| associated(&s.State)).filter_map(|(c, _)| cidr(c)).collect();
            if let Some(primary) = out.primary
                && !out.cidrs.contains(&primary)
            {
                out.cidrs.push(primary);
            }
        }
        self.missing.subnets = gone::<ec2::Subnet>(snapshot);
        for subnet in snapshot.tables.subnets.iter() {
            let vpc = self.vpc(&subnet.VpcId);
            let at = self.subnets.len() as u32;
            let mut cidrs: Vec<Cidr> = cidr(&subnet.CidrBlock).into_iter().collect();
            cidrs.extend(
                subnet
                    .Ipv6CidrBlockAssociationSet
                    .iter()
                    .filter(|a| associated(&a.Ipv6CidrBlockState.State))
                    .filter_map(|a| cidr(&a.Ipv6CidrBlock)),
            );
            let by_name = subnet.AvailabilityZoneId.is_empty();
            let zone = if by_name { &subnet.AvailabilityZone } else { &subnet.AvailabilityZoneId };
            self.subnets.push(Subnet {
                id: subnet.SubnetId.clone(),
                row: Some(subnet.row),
                vpc,
                cidrs,
                zone: zone.clone(),
                transit_zone: transit_zone(&snapshot.tables.availability_zones, zone, by_name),
                table: NONE,
                acl: NONE,
                public_access: public_access(subnet.BlockPublicAccessStates.as_ref()),
            });
            self.subnet_ids.insert(subnet.SubnetId.clone(), at);
            for range in &self.subnets[at as usize].cidrs {
                let (first, last) = span(range);
                self.ranges[Family::of(range.addr()) as usize].push((vpc, first, last, at));
            }
            if let Some(vpc) = self.vpcs.get_mut(vpc as usize) {
                vpc.subnets.push(at);
            }
        }
        self.ranges.iter_mut().for_each(|r| r.sort_unstable());
    }

    fn prefix_lists(&mut self, snapshot: &Snapshot) {
        for entries in snapshot.tables.prefix_list_entries.iter() {
            let at = self.list(&entries.Argument) as usize;
            self.lists[at].cidrs = entries.Entries.iter().map(|e| cidr(&e.Cidr)).collect();
        }
        for list in snapshot.tables.prefix_lists.iter().filter(|l| !l.Cidrs.is_empty()) {
            let at = self.list(&list.PrefixListId) as usize;
            if self.lists[at].cidrs.is_none() {
                self.lists[at].cidrs = list.Cidrs.iter().map(|c| cidr(c)).collect();
            }
        }
    }

    fn security_groups(&mut self, snapshot: &Snapshot) {
        self.missing.groups = gone::<ec2::SecurityGroup>(snapshot);
        for group in snapshot.tables.security_groups.iter() {
            let at = self.group(&group.GroupId) as usize;
            let ingress = self.rules(&group.IpPermissions);
            let egress = self.rules(&group.IpPermissionsEgress);
            self.groups[at].row = Some(group.row);
            self.groups[at].rules = [ingress, egress];
        }
    }

    fn rules(&mut self, permissions: &[ec2::IpPermission]) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (p, permission) in permissions.iter().enumerate() {
            let protocol = Protocol::parse(&permission.IpProtocol);
            let (from, to) = if protocol.is_some_and(Protocol::has_ports) {
                // Without ports, or with -1, all of them.
                match (permission.FromPort.unwrap_or(-1), permission.ToPort.unwrap_or(-1)) {
                    (-1, _) | (_, -1) => (0, 65535),
                    ports => ports,
                }
            } else {
                (permission.FromPort.unwrap_or(-1), permission.ToPort.unwrap_or(-1))
            };
            let mut rule = |item: usize, peer| {
                rules.push(Rule { permission: p as u32, item: item as u32, protocol, from, to, peer });
            };
            let range = |text: &str| cidr(text).map_or(Peer::Unreadable, Peer::Cidr);
            permission.IpRanges.iter().enumerate().for_each(|(i, r)| rule(i, range(&r.CidrIp)));
            permission.Ipv6Ranges.iter().enumerate().for_each(|(i, r)| rule(i, range(&r.CidrIpv6)));
            for (i, list) in permission.PrefixListIds.iter().enumerate() {
                let peer = Peer::List(self.list(&list.PrefixListId));
                rule(i, peer);
            }
            for (i, pair) in permission.UserIdGroupPairs.iter().enumerate() {
                let peer = Peer::Group(self.group(&pair.GroupId));
                rule(i, peer);
            }
        }
        rules
    }

    fn interfaces(&mut self, snapshot: &Snapshot) {
        self.missing.interfaces = gone::<ec2::NetworkInterface>(snapshot);
        let mut sets: HashMap<Box<[u32]>, u32> = HashMap::new();
        let mut public: Vec<(u32, u32, u32)> = Vec::new();
        let count = snapshot.tables.network_interfaces.len();
        self.interfaces.reserve_exact(count);
        self.interface_ids.reserve(count);
        for eni in snapshot.tables.network_interfaces.iter() {
            let at = self.interfaces.len() as u32;
            let vpc = self.vpc(&eni.VpcId);
            let mut groups: Vec<u32> = eni.Groups.iter().map(|g| self.group(&g.GroupId)).collect();
            groups.sort_unstable();
            groups.dedup();
            let next = sets.len() as u32;
            let set = *sets.entry(groups.into_boxed_slice()).or_insert(next);
            let addresses = eni.PrivateIpAddresses.iter().map(|a| &a.PrivateIpAddress);
            for text in addresses.chain(std::iter::once(&eni.PrivateIpAddress)) {
                if let Ok(a) = text.parse::<Ipv4Addr>() {
                    self.private_v4.push((vpc, u32::from(a), u32::from(a), at));
                }
            }
            for net in eni.Ipv4Prefixes.iter().filter_map(|p| cidr(&p.Ipv4Prefix)) {
                let (first, last) = span(&net);
                self.private_v4.push((vpc, first as u32, last as u32, at));
            }
            for a in eni.Ipv6Addresses.iter().filter_map(|a| a.Ipv6Address.parse::<Ipv6Addr>().ok()) {
                self.private_v6.push((vpc, u128::from(a), u128::from(a), at));
            }
            for net in eni.Ipv6Prefixes.iter().filter_map(|p| cidr(&p.Ipv6Prefix)) {
                let (first, last) = span(&net);
                self.private_v6.push((vpc, first, last, at));
            }
            let primary_v4 = eni.PrivateIpAddress.parse().ok();
            for a in &eni.PrivateIpAddresses {
                let association = a.Association.as_ref().map(|a| &a.PublicIp);
                public.extend(mapping(association, &a.PrivateIpAddress).map(|(p, a)| (p, at, a)));
            }
            let association = eni.Association.as_ref().map(|a| &a.PublicIp);
            public.extend(mapping(association, &eni.PrivateIpAddress).map(|(p, a)| (p, at, a)));
            let primary_v6 = eni
                .Ipv6Addresses
                .iter()
                .find(|a| a.IsPrimaryIpv6 == Some(true))
                .or(eni.Ipv6Addresses.first())
                .and_then(|a| a.Ipv6Address.parse().ok());
            self.interfaces.push(Interface {
                row: eni.row,
                id: eni.NetworkInterfaceId.clone(),
                vpc,
                subnet: self.subnet_ids.get(&eni.SubnetId).copied().unwrap_or(NONE),
                set,
                kind: kind(&eni.InterfaceType),
                primary_v4,
                primary_v6,
                class: [NONE; 2],
            });
            self.interface_ids.insert(eni.NetworkInterfaceId.clone(), at);
        }
        for eip in snapshot.tables.addresses.iter() {
            if let Some(&at) = self.interface_ids.get(&eip.NetworkInterfaceId) {
                public.extend(mapping(Some(&eip.PublicIp), &eip.PrivateIpAddress).map(|(p, a)| (p, at, a)));
            }
        }
        self.private_v4.sort_unstable();
        self.private_v4.dedup();
        self.private_v4.shrink_to_fit();
        self.private_v6.sort_unstable();
        self.private_v6.dedup();
        public.sort_unstable();
        public.dedup();
        self.public_of = public.iter().map(|&(p, at, a)| (at, a, p)).collect();
        self.public_of.sort_unstable();
        self.public = public;
        let mut in_order: Vec<(Box<[u32]>, u32)> = sets.into_iter().collect();
        in_order.sort_unstable_by_key(|s| s.1);
        self.sets = in_order.into_iter().map(|s| s.0).collect();
    }

    fn gateways(&mut self, snapshot: &Snapshot) {
        self.missing.internet_gateways = gone::<ec2::InternetGateway>(snapshot);
        self.missing.egress_only = gone::<ec2::EgressOnlyInternetGateway>(snapshot);
        self.missing.nats = gone::<ec2::NatGateway>(snapshot);
        self.missing.peerings = gone::<ec2::VpcPeeringConnection>(snapshot);
        self.missing.endpoints = gone::<ec2::VpcEndpoint>(snapshot);
        let tables = &snapshot.tables;
        let open =
            tables.internet_gateways.iter().map(|g| (g.row, &g.value.InternetGatewayId, &g.value.Attachments, false));
        let egress = tables
            .egress_only_internet_gateways
            .iter()
            .map(|g| (g.row, &g.value.EgressOnlyInternetGatewayId, &g.value.Attachments, true));
        for (row, id, attachments, egress_only) in open.chain(egress) {
            let vpcs = attachments
                .iter()
                .filter(|a| matches!(a.State.as_str(), "available" | "attached" | ""))
                .map(|a| self.vpc(&a.VpcId))
                .collect();
            self.gateways.push(Gateway { row, id: id.clone(), egress_only, vpcs, edge_tables: Vec::new() });
        }
        for nat in tables.nat_gateways.iter() {
            let vpc = self.vpc(&nat.VpcId);
            let addresses = nat
                .NatGatewayAddresses
                .iter()
                .map(|a| {
                    let interface = self.interface_ids.get(&a.NetworkInterfaceId).copied().unwrap_or(NONE);
                    (a.PrivateIp.parse().ok(), a.PublicIp.parse().ok(), interface)
                })
                .collect();
            self.nats.push(Nat {
                row: nat.row,
                id: nat.NatGatewayId.clone(),
                vpc,
                subnet: self.subnet_ids.get(&nat.SubnetId).copied().unwrap_or(NONE),
                subnet_id: nat.SubnetId.clone(),
                regional: nat.AvailabilityMode == "regional" || nat.SubnetId.is_empty(),
                public: nat.ConnectivityType != "private",
                state: nat.State.clone(),
                table: NONE,
                addresses,
            });
        }
        for peering in tables.vpc_peering_connections.iter() {
            let mut side = |info: &ec2::PeeringVpcInfo| {
                let v4 = info.CidrBlockSet.iter().map(|c| &c.CidrBlock).chain(std::iter::once(&info.CidrBlock));
                let v6 = info.Ipv6CidrBlockSet.iter().map(|c| &c.Ipv6CidrBlock);
                Side {
                    vpc_id: info.VpcId.clone(),
                    vpc: self.vpc(&info.VpcId),
                    region: info.Region.clone(),
                    cidrs: v4.chain(v6).filter_map(|c| cidr(c)).collect(),
                }
            };
            let sides = [side(&peering.RequesterVpcInfo), side(&peering.AccepterVpcInfo)];
            self.peerings.push(Peering {
                row: peering.row,
                id: peering.VpcPeeringConnectionId.clone(),
                status: peering.Status.Code.clone(),
                sides,
            });
        }
        for endpoint in tables.vpc_endpoints.iter() {
            let interfaces =
                endpoint.NetworkInterfaceIds.iter().filter_map(|i| self.interface_ids.get(i).copied()).collect();
            self.endpoints.push(Endpoint {
                row: endpoint.row,
                id: endpoint.VpcEndpointId.clone(),
                kind: endpoint.VpcEndpointType.clone(),
                state: endpoint.State.clone(),
                interfaces,
            });
        }
    }

    fn transit(&mut self, snapshot: &Snapshot) {
        self.missing.vpc_attachments = gone::<ec2::TransitGatewayVpcAttachment>(snapshot);
        self.missing.attachments = gone::<ec2::TransitGatewayAttachment>(snapshot);
        let tables = &snapshot.tables;
        for t in tables.transit_gateways.iter() {
            self.transits.push(Transit {
                row: t.row,
                id: t.TransitGatewayId.clone(),
                state: t.State.clone(),
                group_references: t.Options.SecurityGroupReferencingSupport == "enable",
            });
        }
        for a in tables.transit_gateway_vpc_attachments.iter() {
            let vpc = self.vpc(&a.VpcId);
            self.vpc_attachments.push(VpcAttachment {
                row: a.row,
                id: a.TransitGatewayAttachmentId.clone(),
                transit: a.TransitGatewayId.clone(),
                vpc,
                state: a.State.clone(),
                subnets: a.SubnetIds.iter().map(|s| self.subnet_ids.get(s).copied().unwrap_or(NONE)).collect(),
                group_references: a.Options.SecurityGroupReferencingSupport == "enable",
                ipv6: a.Options.Ipv6Support == "enable",
                appliance: a.Options.ApplianceModeSupport == "enable",
            });
        }
        for a in tables.transit_gateway_attachments.iter() {
            self.attachments.push(Attachment {
                row: a.row,
                id: a.TransitGatewayAttachmentId.clone(),
                transit: a.TransitGatewayId.clone(),
                state: a.State.clone(),
                table: a.Association.as_ref().map(|t| (t.TransitGatewayRouteTableId.clone(), t.State.clone())),
                foreign: a.TransitGatewayOwnerId != a.ResourceOwnerId,
            });
        }
        for t in tables.transit_gateway_routes.iter() {
            let mut more = t.AdditionalRoutesAvailable == Some(true);
            let mut routes = Vec::new();
            for (index, route) in t.Routes.iter().enumerate() {
                let ranges: Option<Vec<Cidr>> = if route.DestinationCidrBlock.is_empty() {
                    let list = self.list(&route.PrefixListId) as usize;
                    self.lists[list].cidrs.clone()
                } else {
                    cidr(&route.DestinationCidrBlock).map(|c| vec![c])
                };
                more |= ranges.is_none();
                for to in ranges.into_iter().flatten() {
                    routes.push(TransitRoute {
                        index: index as u32,
                        to,
                        propagated: route.Type == "propagated",
                        blackhole: route.State == "blackhole",
                        attachments: route
                            .TransitGatewayAttachments
                            .iter()
                            .map(|a| {
                                (a.TransitGatewayAttachmentId.clone(), a.ResourceType.clone(), a.ResourceId.clone())
                            })
                            .collect(),
                    });
                }
            }
            self.transit_tables.push(TransitTable { row: t.row, id: t.Argument.clone(), routes, more });
        }
    }

    fn route_tables(&mut self, snapshot: &Snapshot) {
        self.missing.tables = gone::<ec2::RouteTable>(snapshot);
        let mut ids: HashMap<Str, u32> = HashMap::new();
        let index = |ids: Vec<&Str>| -> HashMap<Str, u32> {
            ids.into_iter().enumerate().map(|(i, id)| (id.clone(), i as u32)).collect()
        };
        let gateways = index(self.gateways.iter().map(|g| &g.id).collect());
        let nats = index(self.nats.iter().map(|g| &g.id).collect());
        let peerings = index(self.peerings.iter().map(|g| &g.id).collect());
        let endpoints = index(self.endpoints.iter().map(|g| &g.id).collect());
        for table in snapshot.tables.route_tables.iter() {
            let vpc = self.vpc(&table.VpcId);
            let at = self.tables.len() as u32;
            ids.insert(table.RouteTableId.clone(), at);
            let (mut routes, mut unclear) = (Vec::new(), Vec::new());
            for (index, route) in table.Routes.iter().enumerate() {
                let target = target(route);
                let found = match &target {
                    Target::InternetGateway(id) | Target::EgressOnly(id) => gateways.get(id),
                    Target::Nat(id) => nats.get(id),
                    Target::Peering(id) => peerings.get(id),
                    Target::Endpoint(id) => endpoints.get(id),
                    _ => None,
                };
                let to_at = found.copied().unwrap_or(NONE);
                let (ranges, rank) = if !route.DestinationPrefixListId.is_empty() {
                    let list = self.list(&route.DestinationPrefixListId) as usize;
                    (self.lists[list].cidrs.clone(), 1)
                } else {
                    let text = if route.DestinationCidrBlock.is_empty() {
                        &route.DestinationIpv6CidrBlock
                    } else {
                        &route.DestinationCidrBlock
                    };
                    (cidr(text).map(|c| vec![c]), if route.Origin == "EnableVgwRoutePropagation" { 2 } else { 0 })
                };
                let Some(ranges) = ranges else {
                    unclear.push((index, target));
                    continue;
                };
                for to in ranges {
                    let (index, target) = (index as u32, target.clone());
                    routes.push(Route { index, to, rank, blackhole: route.State == "blackhole", target, at: to_at });
                }
            }
            self.tables.push(Table { row: table.row, id: table.RouteTableId.clone(), routes, unclear });
            for a in table.Associations.iter().filter(|a| associated(&a.AssociationState.State)) {
                if let Some(&subnet) = self.subnet_ids.get(&a.SubnetId) {
                    self.subnets[subnet as usize].table = at;
                } else if a.Main == Some(true)
                    && let Some(vpc) = self.vpcs.get_mut(vpc as usize)
                {
                    vpc.main_table = at;
                }
                if let Some(&gateway) = gateways.get(&a.GatewayId) {
                    self.gateways[gateway as usize].edge_tables.push(at);
                }
            }
        }
        for (nat, recorded) in self.nats.iter_mut().zip(snapshot.tables.nat_gateways.iter()) {
            nat.table = ids.get(&recorded.RouteTableId).copied().unwrap_or(NONE);
        }
    }

    fn network_acls(&mut self, snapshot: &Snapshot) {
        self.missing.acls = gone::<ec2::NetworkAcl>(snapshot);
        for acl in snapshot.tables.network_acls.iter() {
            let at = self.acls.len() as u32;
            let mut entries: [Vec<Entry>; 2] = Default::default();
            for (index, entry) in acl.Entries.iter().enumerate() {
                let egress = entry.Egress == Some(true);
                let text = if entry.CidrBlock.is_empty() { &entry.Ipv6CidrBlock } else { &entry.CidrBlock };
                let icmp = entry.IcmpTypeCode.as_ref();
                let icmp = (icmp.and_then(|i| i.Type).unwrap_or(-1), icmp.and_then(|i| i.Code).unwrap_or(-1));
                entries[usize::from(egress)].push(Entry {
                    index: index as u32,
                    number: entry.RuleNumber.unwrap_or(i64::MAX),
                    allow: entry.RuleAction == "allow",
                    cidr: cidr(text),
                    protocol: protocol(&entry.Protocol),
                    ports: entry
                        .PortRange
                        .as_ref()
                        .map_or((0, 65535), |p| (port(p.From.unwrap_or(0)), port(p.To.unwrap_or(65535)))),
                    icmp,
                });
            }
            entries.iter_mut().for_each(|e| e.sort_by_key(|e| (e.number, e.index)));
            let mut cuts: [Vec<u128>; 2] = Default::default();
            for net in entries.iter().flatten().filter_map(|e| e.cidr.as_ref()) {
                let (first, last) = span(net);
                cuts[Family::of(net.addr()) as usize].extend([first, last.saturating_add(1)]);
            }
            for cuts in &mut cuts {
                cuts.sort_unstable();
                cuts.dedup();
            }
            self.acls.push(Acl { row: acl.row, id: acl.NetworkAclId.clone(), entries, cuts });
            for a in &acl.Associations {
                if let Some(&subnet) = self.subnet_ids.get(&a.SubnetId) {
                    self.subnets[subnet as usize].acl = at;
                }
            }
            if acl.IsDefault == Some(true) {
                let vpc = self.vpc(&acl.VpcId);
                if let Some(vpc) = self.vpcs.get_mut(vpc as usize) {
                    vpc.default_acl = at;
                }
            }
        }
    }
}

/// Whether nobody recorded the read of `T`.
/// The zone whose attachment to a transit gateway serves a zone, by name or id as that: a Local Zone has none of its own
/// (<https://docs.aws.amazon.com/vpc/latest/tgw/tgw-vpc-attachments.html>).
fn transit_zone(zones: &snapshot::Table<ec2::AvailabilityZone>, zone: &Str, by_name: bool) -> Str {
    let key = |z: &ec2::AvailabilityZone| if by_name { z.ZoneName.clone() } else { z.ZoneId.clone() };
    if let Some(found) = zones.iter().find(|z| key(z.value) == *zone) {
        let parent = &found.ParentZoneName;
        return match zones.get(parent) {
            _ if parent.is_empty() => zone.clone(),
            Some(parent) => key(parent.value),
            None => Str::default(),
        };
    }
    // `usw2-az1` and `us-west-2a` are Availability Zones, `usw2-lax1-az1` and `us-west-2-lax-1a` are not.
    let numbered = zone.split('-').filter(|part| part.bytes().any(|b| b.is_ascii_digit())).count();
    let of_region = if by_name { 1 } else { 2 };
    if numbered > of_region { Str::default() } else { zone.clone() }
}

fn gone<T: Object>(snapshot: &Snapshot) -> Option<Missing> {
    let table: Known<_> = snapshot.table::<T>();
    table.err()
}
