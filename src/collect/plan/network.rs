//! The network of the VPC: what routes and rules name, reservations of subnets, load balancers.

use std::collections::BTreeSet;

use super::Plan;
use crate::collect::call::{Call, Service};
use crate::shape::Str;
use crate::shape::ec2::{
    RouteTable, SecurityGroup, TransitGatewayAttachment, TransitGatewayRoute, TransitGatewayRouteTable, Vpc,
};
use crate::shape::elb::{LoadBalancer, TargetGroup};

/// The most values that a filter of EC2 takes.
const FILTER_VALUES: usize = 200;

impl Plan {
    /// What is asked about the VPC itself and with a filter by it.
    pub(super) fn of_vpc(&self) -> Vec<Call> {
        let vpc = [self.vpc.as_str()];
        let of_vpc = |operation| Call::ec2(operation).filter("vpc-id", &vpc);
        let attribute = |attribute| {
            let call = Call::ec2("DescribeVpcAttribute").about(&format!("{}.{attribute}", self.vpc));
            call.with("VpcId", &self.vpc).with("Attribute", attribute)
        };
        vec![
            attribute("enableDnsSupport"),
            attribute("enableDnsHostnames"),
            of_vpc("DescribeVpcs"),
            of_vpc("DescribeSubnets"),
            of_vpc("DescribeRouteTables"),
            of_vpc("DescribeNatGateways"),
            of_vpc("DescribeVpcEndpoints"),
            of_vpc("DescribeSecurityGroups"),
            of_vpc("DescribeNetworkAcls"),
            of_vpc("DescribeNetworkInterfaces"),
            of_vpc("DescribeInstances"),
            Call::ec2("DescribeInternetGateways").filter("attachment.vpc-id", &vpc),
            Call::form(Service::Elbv2, "DescribeLoadBalancers"),
            Call::form(Service::Elbv2, "DescribeTargetGroups"),
        ]
    }

    pub(super) fn vpcs(&mut self, vpcs: &[Vpc]) -> Vec<Call> {
        // A VPC without options says `default`, which is no id.
        let sets: Vec<&Str> = vpcs.iter().map(|v| &v.DhcpOptionsId).filter(|id| id.starts_with("dopt-")).collect();
        let mut calls = Vec::new();
        if !sets.is_empty() {
            calls.push(Call::ec2("DescribeDhcpOptions").filter("dhcp-options-id", &sets));
        }
        if vpcs.iter().any(|vpc| !vpc.Ipv6CidrBlockAssociationSet.is_empty()) {
            calls.extend(self.egress_only());
        }
        calls
    }

    pub(super) fn security_groups(&mut self, groups: &[SecurityGroup]) -> Vec<Call> {
        let ids: Vec<&Str> = groups.iter().map(|g| &g.GroupId).collect();
        let permissions = || groups.iter().flat_map(|g| g.IpPermissions.iter().chain(&g.IpPermissionsEgress));
        let lists = permissions().flat_map(|p| &p.PrefixListIds).map(|p| &p.PrefixListId);
        let mut calls = self.prefix_lists(lists);
        self.peerings(permissions().flat_map(|p| &p.UserIdGroupPairs).map(|p| &p.VpcPeeringConnectionId));
        let rules = |ids: &[&Str]| Call::ec2("DescribeSecurityGroupRules").filter("group-id", ids);
        calls.extend(ids.chunks(FILTER_VALUES).map(rules));
        calls
    }

    pub(super) fn routes(&mut self, tables: &[RouteTable]) -> Vec<Call> {
        let routes = || tables.iter().flat_map(|table| &table.Routes);
        let mut calls = self.prefix_lists(routes().map(|r| &r.DestinationPrefixListId));
        self.peerings(routes().map(|r| &r.VpcPeeringConnectionId));
        if routes().any(|r| !r.EgressOnlyInternetGatewayId.is_empty()) {
            calls.extend(self.egress_only());
        }
        let gateways: Vec<&Str> =
            routes().map(|r| &r.TransitGatewayId).filter(|id| self.new_to("transit gateway", id)).collect();
        if !gateways.is_empty() {
            let read = |operation| Call::ec2(operation).filter("transit-gateway-id", &gateways);
            calls.extend([
                read("DescribeTransitGateways"),
                read("DescribeTransitGatewayAttachments"),
                read("DescribeTransitGatewayVpcAttachments"),
                read("DescribeTransitGatewayRouteTables"),
            ]);
        }
        calls
    }

    /// Packets of the VPC are routed by the tables that its attachments are associated with.
    pub(super) fn attachments(&mut self, attachments: &[TransitGatewayAttachment]) -> Vec<Call> {
        let mut tables = Vec::new();
        for attachment in attachments {
            let Some(association) = &attachment.Association else { continue };
            let table = association.TransitGatewayRouteTableId.clone();
            if attachment.ResourceId == self.vpc {
                tables.push(table.clone());
            }
            self.associated_tables.insert(attachment.TransitGatewayAttachmentId.clone(), table);
        }
        tables.iter().flat_map(|table| self.transit_routes(table)).collect()
    }

    /// What comes back takes the table of the attachment by which the default route goes out.
    pub(super) fn way_back(&mut self, routes: &[TransitGatewayRoute]) -> Vec<Call> {
        let out = routes.iter().filter(|r| r.DestinationCidrBlock.ends_with("/0"));
        let attachments = out.flat_map(|r| &r.TransitGatewayAttachments).map(|a| &a.TransitGatewayAttachmentId);
        let tables: Vec<Str> = attachments.filter_map(|id| self.associated_tables.get(id).cloned()).collect();
        tables.iter().flat_map(|table| self.transit_routes(table)).collect()
    }

    pub(super) fn transit_tables(&mut self, tables: &[TransitGatewayRouteTable]) -> Vec<Call> {
        tables.iter().flat_map(|table| self.transit_routes(&table.TransitGatewayRouteTableId)).collect()
    }

    fn transit_routes(&mut self, table: &str) -> Option<Call> {
        self.new_to("transit table", table).then(|| {
            let call = Call::ec2("SearchTransitGatewayRoutes").about(table);
            call.with("TransitGatewayRouteTableId", table).filter("state", &["active", "blackhole"])
        })
    }

    fn prefix_lists<'s>(&mut self, ids: impl Iterator<Item = &'s Str>) -> Vec<Call> {
        let mut entries = Vec::new();
        for id in ids {
            self.hold("ec2:DescribeManagedPrefixLists", "", id);
            if self.new_to("prefix list", id) {
                entries.push(Call::ec2("GetManagedPrefixListEntries").about(id).with("PrefixListId", id));
            }
        }
        entries
    }

    fn peerings<'s>(&mut self, ids: impl Iterator<Item = &'s Str>) {
        ids.for_each(|id| self.hold("ec2:DescribeVpcPeeringConnections", "", id));
    }

    /// A read of EC2 with a filter by ids.
    pub(super) fn filtered(operation: &'static str, filter: &str, ids: &[String]) -> Vec<Call> {
        ids.chunks(FILTER_VALUES).map(|ids| Call::ec2(operation).filter(filter, ids)).collect()
    }

    /// They have no filter by VPC; an account has few.
    fn egress_only(&mut self) -> Option<Call> {
        self.new_to("read", "egress-only").then(|| Call::ec2("DescribeEgressOnlyInternetGateways"))
    }

    /// Subnets in which nodes run: what is reserved there counts where their pods take prefixes.
    pub(super) fn subnets(&mut self, subnets: &[Str]) -> Vec<Call> {
        self.node_subnets.extend(subnets.iter().filter(|id| !id.is_empty()).map(ToString::to_string));
        self.reservations()
    }

    /// Subnets that ENIConfigs give to pods.
    pub(super) fn pod_subnets(&mut self, subnets: &[Str]) -> Vec<Call> {
        self.pod_subnets.extend(subnets.iter().filter(|id| !id.is_empty()).map(ToString::to_string));
        self.reservations()
    }

    pub(super) fn reservations(&mut self) -> Vec<Call> {
        let mut subnets = BTreeSet::new();
        if self.whole() || self.auto_mode || (self.prefixes && !self.custom_networking) {
            subnets.append(&mut self.node_subnets);
        }
        if self.whole() || (self.prefixes && self.custom_networking) {
            subnets.append(&mut self.pod_subnets);
        }
        let new = subnets.into_iter().filter(|id| self.new_to("subnet", id));
        new.map(|id| Call::ec2("GetSubnetCidrReservations").about(&id).with("SubnetId", &id)).collect()
    }
}

/// Attributes are asked for where they decide about packets: of an ALB, its zones and clients' addresses are settled.
pub(super) fn balancer_reads(balancer: &LoadBalancer) -> Vec<Call> {
    let mut reads = vec!["DescribeListeners"];
    if balancer.Type != "application" {
        reads.push("DescribeLoadBalancerAttributes");
    }
    let call = |read| Call::form(Service::Elbv2, read).about(&balancer.LoadBalancerName);
    reads.into_iter().map(|read| call(read).with("LoadBalancerArn", &balancer.LoadBalancerArn)).collect()
}

pub(super) fn target_group_reads(group: &TargetGroup) -> Vec<Call> {
    let mut reads = vec!["DescribeTargetHealth"];
    if !matches!(group.Protocol.as_str(), "HTTP" | "HTTPS") {
        reads.push("DescribeTargetGroupAttributes");
    }
    let call = |read| Call::form(Service::Elbv2, read).about(&group.TargetGroupName);
    reads.into_iter().map(|read| call(read).with("TargetGroupArn", &group.TargetGroupArn)).collect()
}
