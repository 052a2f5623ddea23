//! What traffic goes through: load balancers, endpoints, gateways.

use std::collections::BTreeSet;

use super::{Builder, LINES, titled};
use crate::picture::{Id, Kind, State};
use crate::shape::Str;
use crate::shape::ec2::Tag;

impl Builder<'_> {
    pub(super) fn balancers(&mut self) {
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

    pub(super) fn endpoints(&mut self) {
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

    pub(super) fn gateways(&mut self) {
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
