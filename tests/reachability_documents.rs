//! What AWS's documents say and nobody measured: one case for each rule, with its document.
//!
//! Not measured truth: see `tests/oracle.rs` for that.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use eks_doctor::network::{Disposition, EgressKind, End, Family, Flow, Network, Protocol, Target, Trace};
use eks_doctor::snapshot::Snapshot;
use serde_json::{Value, json};

/// A VPC with a public and a private subnet in two zones, a peered VPC, a transit gateway between both.
struct World(BTreeMap<&'static str, Value>);

fn world() -> World {
    let allow = |vpc: &str, id: &str, subnets: &[&str]| {
        let entries: Vec<Value> = [false, true]
            .into_iter()
            .flat_map(|egress| {
                [("CidrBlock", "0.0.0.0/0", 100), ("Ipv6CidrBlock", "::/0", 101)].map(|(key, range, number)| {
                    json!({"RuleNumber": number, "Egress": egress, "RuleAction": "allow", "Protocol": "-1", key: range})
                })
            })
            .collect();
        json!({"NetworkAclId": id, "VpcId": vpc, "IsDefault": subnets.is_empty(), "Entries": entries,
            "Associations": subnets.iter().map(|s| json!({"SubnetId": s})).collect::<Vec<_>>()})
    };
    let subnet = |id: &str, vpc: &str, v4: &str, v6: &str, zone: &str| {
        json!({"SubnetId": id, "VpcId": vpc, "CidrBlock": v4, "AvailabilityZoneId": zone,
            "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": v6, "Ipv6CidrBlockState": {"State": "associated"}}]})
    };
    let vpc = |id: &str, v4: &str, v6: &str| {
        json!({"VpcId": id, "CidrBlock": v4, "CidrBlockAssociationSet": [{"CidrBlock": v4, "CidrBlockState": {"State": "associated"}}],
            "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": v6, "Ipv6CidrBlockState": {"State": "associated"}}]})
    };
    let local = |v4: &str| json!({"DestinationCidrBlock": v4, "GatewayId": "local", "State": "active", "Origin": "CreateRouteTable"});
    let eni = |id: &str, subnet: &str, vpc: &str, v4: &str, v6: &str, group: &str| {
        json!({"NetworkInterfaceId": id, "SubnetId": subnet, "VpcId": vpc, "InterfaceType": "interface", "PrivateIpAddress": v4,
            "PrivateIpAddresses": [{"PrivateIpAddress": v4, "Primary": true}], "Ipv6Addresses": [{"Ipv6Address": v6}], "Groups": [{"GroupId": group}]})
    };
    let open =
        json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]);
    let group = |id: &str| json!({"GroupId": id, "IpPermissions": open, "IpPermissionsEgress": open});
    let mut public = eni("eni-pub", "subnet-pub", "vpc-a", "10.0.0.10", "2600:1f00::10", "sg-pub");
    public["Association"] = json!({"PublicIp": "3.0.0.1"});
    World(BTreeMap::from([
        (
            "describe-vpcs",
            json!({"Vpcs": [vpc("vpc-a", "10.0.0.0/16", "2600:1f00::/56"), vpc("vpc-b", "10.1.0.0/16", "2600:1f01::/56")]}),
        ),
        (
            "describe-subnets",
            json!({"Subnets": [
            subnet("subnet-pub", "vpc-a", "10.0.0.0/24", "2600:1f00::/64", "az1"),
            subnet("subnet-priv", "vpc-a", "10.0.1.0/24", "2600:1f00:0:1::/64", "az1"),
            subnet("subnet-b", "vpc-b", "10.1.0.0/24", "2600:1f01::/64", "az1")]}),
        ),
        (
            "describe-route-tables",
            json!({"RouteTables": [
            {"RouteTableId": "rtb-pub", "VpcId": "vpc-a", "Associations": [{"SubnetId": "subnet-pub"}], "Routes": [local("10.0.0.0/16"), local("10.0.0.0/16"),
                {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-a", "State": "active"}, {"DestinationIpv6CidrBlock": "::/0", "GatewayId": "igw-a", "State": "active"},
                {"DestinationCidrBlock": "10.1.0.0/16", "VpcPeeringConnectionId": "pcx-1", "State": "active"}]},
            {"RouteTableId": "rtb-priv", "VpcId": "vpc-a", "Associations": [{"SubnetId": "subnet-priv"}], "Routes": [local("10.0.0.0/16"),
                {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}, {"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": "eigw-a", "State": "active"},
                {"DestinationCidrBlock": "10.1.0.0/16", "TransitGatewayId": "tgw-1", "State": "active"}]},
            {"RouteTableId": "rtb-b", "VpcId": "vpc-b", "Associations": [{"Main": true}], "Routes": [local("10.1.0.0/16"),
                {"DestinationCidrBlock": "10.0.0.0/24", "VpcPeeringConnectionId": "pcx-1", "State": "active"},
                {"DestinationCidrBlock": "10.0.1.0/24", "TransitGatewayId": "tgw-1", "State": "active"}]}]}),
        ),
        (
            "describe-network-acls",
            json!({"NetworkAcls": [allow("vpc-a", "acl-pub", &["subnet-pub"]), allow("vpc-a", "acl-a", &[]), allow("vpc-b", "acl-b", &[])]}),
        ),
        ("describe-security-groups", json!({"SecurityGroups": [group("sg-pub"), group("sg-priv"), group("sg-b")]})),
        (
            "describe-network-interfaces",
            json!({"NetworkInterfaces": [public,
            eni("eni-priv", "subnet-priv", "vpc-a", "10.0.1.10", "2600:1f00:0:1::10", "sg-priv"),
            eni("eni-b", "subnet-b", "vpc-b", "10.1.0.10", "2600:1f01::10", "sg-b"),
            {"NetworkInterfaceId": "eni-nat", "SubnetId": "subnet-pub", "VpcId": "vpc-a", "InterfaceType": "natGateway", "PrivateIpAddress": "10.0.0.250", "Groups": []}]}),
        ),
        (
            "describe-internet-gateways",
            json!({"InternetGateways": [{"InternetGatewayId": "igw-a", "Attachments": [{"VpcId": "vpc-a", "State": "available"}]}]}),
        ),
        (
            "describe-egress-only-internet-gateways",
            json!({"EgressOnlyInternetGateways": [{"EgressOnlyInternetGatewayId": "eigw-a", "Attachments": [{"VpcId": "vpc-a", "State": "attached"}]}]}),
        ),
        (
            "describe-nat-gateways",
            json!({"NatGateways": [{"NatGatewayId": "nat-1", "VpcId": "vpc-a", "SubnetId": "subnet-pub", "State": "available", "ConnectivityType": "public",
            "NatGatewayAddresses": [{"PrivateIp": "10.0.0.250", "PublicIp": "3.0.0.2", "NetworkInterfaceId": "eni-nat"}]}]}),
        ),
        (
            "describe-vpc-peering-connections",
            json!({"VpcPeeringConnections": [{"VpcPeeringConnectionId": "pcx-1", "Status": {"Code": "active"},
            "RequesterVpcInfo": {"VpcId": "vpc-a", "Region": "r", "CidrBlock": "10.0.0.0/16"}, "AccepterVpcInfo": {"VpcId": "vpc-b", "Region": "r", "CidrBlock": "10.1.0.0/16"}}]}),
        ),
        (
            "describe-transit-gateways",
            json!({"TransitGateways": [{"TransitGatewayId": "tgw-1", "State": "available", "Options": {"SecurityGroupReferencingSupport": "enable"}}]}),
        ),
        (
            "describe-transit-gateway-vpc-attachments",
            json!({"TransitGatewayVpcAttachments": [
            {"TransitGatewayAttachmentId": "att-a", "TransitGatewayId": "tgw-1", "VpcId": "vpc-a", "State": "available", "SubnetIds": ["subnet-priv"], "Options": {"Ipv6Support": "enable", "SecurityGroupReferencingSupport": "enable"}},
            {"TransitGatewayAttachmentId": "att-b", "TransitGatewayId": "tgw-1", "VpcId": "vpc-b", "State": "available", "SubnetIds": ["subnet-b"], "Options": {"Ipv6Support": "enable", "SecurityGroupReferencingSupport": "enable"}}]}),
        ),
        (
            "describe-transit-gateway-attachments",
            json!({"TransitGatewayAttachments": (["a", "b"].map(|v| json!({"TransitGatewayAttachmentId": format!("att-{v}"), "TransitGatewayId": "tgw-1",
            "ResourceType": "vpc", "ResourceId": format!("vpc-{v}"), "State": "available", "Association": {"TransitGatewayRouteTableId": "tgw-rtb-1", "State": "associated"}})))}),
        ),
        (
            "tgw-rtb-1",
            json!({"Routes": ([("10.0.0.0/16", "a"), ("10.1.0.0/16", "b")].map(|(range, v)| json!({"DestinationCidrBlock": range, "Type": "propagated", "State": "active",
            "TransitGatewayAttachments": [{"TransitGatewayAttachmentId": format!("att-{v}"), "ResourceType": "vpc", "ResourceId": format!("vpc-{v}")}]}))), "AdditionalRoutesAvailable": false}),
        ),
        ("describe-vpc-endpoints", json!({"VpcEndpoints": []})),
        ("describe-prefix-lists", json!({"PrefixLists": []})),
    ]))
}

impl World {
    /// Changes one value by its JSON pointer; `/-` adds to a list, a new last name adds a field.
    fn with(mut self, file: &str, pointer: &str, value: Value) -> World {
        let document = self.0.get_mut(file).unwrap();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap_or_else(|| panic!("{file}{parent}")) {
            Value::Array(list) if last == "-" => list.push(value),
            Value::Array(list) => list[last.parse::<usize>().unwrap()] = value,
            parent => parent[last] = value,
        }
        self
    }
    fn without(mut self, file: &str) -> World {
        self.0.remove(file).unwrap();
        self
    }
    fn group(self, group: usize, list: &str, rules: Value) -> World {
        self.with("describe-security-groups", &format!("/SecurityGroups/{group}/{list}"), rules)
    }
    fn route(self, table: usize, route: Value) -> World {
        self.with("describe-route-tables", &format!("/RouteTables/{table}/Routes/-"), route)
    }
    fn entry(self, acl: usize, number: i64, egress: bool, action: &str, more: Value) -> World {
        let mut entry = json!({"RuleNumber": number, "Egress": egress, "RuleAction": action});
        more.as_object().unwrap().iter().for_each(|(k, v)| entry[k] = v.clone());
        self.with("describe-network-acls", &format!("/NetworkAcls/{acl}/Entries/-"), entry)
    }
    fn snapshot(&self) -> Snapshot {
        Snapshot::from_documents(self.0.iter().map(|(name, v)| (format!("{name}.json"), v.to_string())).collect())
    }
    fn ask(&self, flow: Flow) -> Trace {
        let snapshot = self.snapshot();
        let network = Network::new(&snapshot);
        let trace = network.trace(&snapshot, &flow);
        assert_eq!(trace.disposition, network.decide(&flow));
        trace
    }
    fn reaches(&self, flow: Flow) {
        let trace = self.ask(flow);
        assert_eq!(trace.disposition, Disposition::Reachable, "{trace:#?}");
    }
    fn unknown(&self, flow: Flow) {
        let trace = self.ask(flow);
        assert_eq!(trace.disposition, Disposition::Unknown, "{trace:#?}");
    }
    #[track_caller]
    fn stops(&self, flow: Flow, code: &str) {
        let trace = self.ask(flow);
        let codes: Vec<_> = trace.forward.iter().chain(&trace.back).filter_map(|h| h.code).collect();
        assert_eq!(trace.disposition, Disposition::Blocked, "{trace:#?}");
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
}

fn to(address: &str) -> End {
    End::Address(address.parse().unwrap())
}
fn tcp(from: &str, destination: &str, port: u16) -> Flow {
    Flow::tcp(End::interface(from), to(destination), port)
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html>
#[test]
fn without_outbound_rules_nothing_is_started() {
    let w = world().group(1, "IpPermissionsEgress", json!([]));
    w.stops(tcp("eni-priv", "10.0.0.10", 443), "SG_HAS_NO_RULES");
    w.reaches(tcp("eni-pub", "10.0.1.10", 443));
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html>
#[test]
fn groups_know_numbers_icmp_types_and_families() {
    let rules = json!([{"IpProtocol": "50", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let w = world().group(1, "IpPermissions", rules);
    let flow = tcp("eni-pub", "10.0.1.10", 443);
    w.reaches(flow.clone());
    w.reaches(Flow { protocol: Protocol::Number(50), ..flow.clone() });
    w.stops(Flow { protocol: Protocol::Number(51), ..flow.clone() }, "ENI_SG_RULES_MISMATCH");
    w.reaches(Flow::ping(End::interface("eni-pub"), to("10.0.1.10")));
    w.stops(Flow { protocol: Protocol::Icmp, icmp: Some((13, 0)), ..flow }, "ENI_SG_RULES_MISMATCH");
    // 0.0.0.0/0 does not cover ::/0.
    w.stops(tcp("eni-pub", "2600:1f00:0:1::10", 443), "ENI_SG_RULES_MISMATCH");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html>
#[test]
fn groups_know_prefix_lists() {
    let rules =
        json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": "pl-1"}]}]);
    let mut w = world().group(1, "IpPermissions", rules);
    w.unknown(tcp("eni-pub", "10.0.1.10", 443));
    w.0.insert("pl-1", json!({"Entries": [{"Cidr": "10.0.0.0/24"}]}));
    w.reaches(tcp("eni-pub", "10.0.1.10", 443));
    w.0.insert("pl-1", json!({"Entries": [{"Cidr": "10.0.9.0/24"}]}));
    w.stops(tcp("eni-pub", "10.0.1.10", 443), "ENI_SG_RULES_MISMATCH");
}

/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>
#[test]
fn references_cross_peerings_of_one_region_only() {
    let rules = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-pub"}]}]);
    let w = world().group(2, "IpPermissions", rules);
    w.reaches(tcp("eni-pub", "10.1.0.10", 443));
    let w = w.with("describe-vpc-peering-connections", "/VpcPeeringConnections/0/AccepterVpcInfo/Region", json!("s"));
    w.stops(tcp("eni-pub", "10.1.0.10", 443), "SG_REFERENCES_NOT_PRESERVED");
}

/// <https://docs.aws.amazon.com/vpc/latest/tgw/tgw-vpc-attachments.html>
#[test]
fn references_cross_a_transit_gateway_inbound_only_when_on_everywhere() {
    let refer = |group: &str| json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}]);
    let w = world().group(2, "IpPermissions", refer("sg-priv"));
    w.reaches(tcp("eni-priv", "10.1.0.10", 443));
    for (file, pointer) in [
        ("describe-transit-gateways", "/TransitGateways/0/Options/SecurityGroupReferencingSupport"),
        (
            "describe-transit-gateway-vpc-attachments",
            "/TransitGatewayVpcAttachments/0/Options/SecurityGroupReferencingSupport",
        ),
        (
            "describe-transit-gateway-vpc-attachments",
            "/TransitGatewayVpcAttachments/1/Options/SecurityGroupReferencingSupport",
        ),
    ] {
        let w = world().group(2, "IpPermissions", refer("sg-priv")).with(file, pointer, json!("disable"));
        w.stops(tcp("eni-priv", "10.1.0.10", 443), "SG_REFERENCES_NOT_PRESERVED");
    }
    world()
        .group(1, "IpPermissionsEgress", refer("sg-b"))
        .stops(tcp("eni-priv", "10.1.0.10", 443), "SG_REFERENCES_NOT_PRESERVED");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>
#[test]
fn acl_entries_go_by_number_and_hold_both_ways() {
    // Recorded last, numbered first.
    let w = world().entry(
        1,
        50,
        false,
        "deny",
        json!({"Protocol": "6", "CidrBlock": "10.0.0.0/24", "PortRange": {"From": 443, "To": 443}}),
    );
    let trace = w.ask(tcp("eni-pub", "10.0.1.10", 443));
    let hop = trace.forward.iter().find(|h| h.code.is_some()).unwrap();
    assert_eq!(
        (hop.at.as_str(), hop.by.as_deref(), hop.code),
        ("acl-a", Some("rule 50"), Some("SUBNET_ACL_RESTRICTION"))
    );
    assert_eq!(hop.spot.as_ref().unwrap().pointer, "/Entries/4");
    // Part of the client's ports: named.
    let w = world().entry(
        1,
        50,
        true,
        "deny",
        json!({"Protocol": "6", "CidrBlock": "10.0.0.0/24", "PortRange": {"From": 40000, "To": 50000}}),
    );
    let trace = w.ask(tcp("eni-pub", "10.0.1.10", 443));
    let hop = trace.back.iter().find(|h| h.code.is_some()).unwrap();
    assert!(hop.note.as_ref().unwrap().contains("40000-50000"), "{hop:?}");
    // Families are apart, and another protocol's ports do not count.
    world().entry(1, 50, false, "deny", json!({"Protocol": "-1", "CidrBlock": "0.0.0.0/0"})).reaches(tcp(
        "eni-pub",
        "2600:1f00:0:1::10",
        443,
    ));
    let w = world().entry(
        1,
        50,
        false,
        "deny",
        json!({"Protocol": "47", "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 1, "To": 2}}),
    );
    w.stops(Flow { protocol: Protocol::Number(47), ..tcp("eni-pub", "10.0.1.10", 443) }, "SUBNET_ACL_RESTRICTION");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>: what is never filtered.
#[test]
fn dns_metadata_and_time_are_never_filtered() {
    let w = world().group(1, "IpPermissionsEgress", json!([])).entry(
        1,
        1,
        true,
        "deny",
        json!({"Protocol": "-1", "CidrBlock": "0.0.0.0/0"}),
    );
    for address in
        ["10.0.0.2", "169.254.169.253", "169.254.169.254", "169.254.169.123", "fd00:ec2::253", "fd00:ec2::254"]
    {
        w.reaches(Flow::udp(End::interface("eni-priv"), to(address), 53));
    }
    w.stops(Flow::udp(End::interface("eni-priv"), to("10.0.0.10"), 53), "SG_HAS_NO_RULES");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html>
#[test]
fn routes_of_equal_length_go_static_then_list_then_propagated() {
    let route = |more: Value| {
        let mut r = json!({"State": "active"});
        more.as_object().unwrap().iter().for_each(|(k, v)| r[k] = v.clone());
        r
    };
    let mut w = world()
        .route(1, route(json!({"DestinationCidrBlock": "192.168.0.0/24", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation"})))
        .route(1, route(json!({"DestinationPrefixListId": "pl-9", "TransitGatewayId": "tgw-1"})));
    w.0.insert("pl-9", json!({"Entries": [{"Cidr": "192.168.0.0/24"}]}));
    let chosen =
        |w: &World| Network::new(&w.snapshot()).route("subnet-priv", "192.168.0.1".parse().unwrap()).unwrap().unwrap();
    assert_eq!(chosen(&w).target, Target::TransitGateway("tgw-1".into()));
    let w = w.route(1, route(json!({"DestinationCidrBlock": "192.168.0.0/24", "VpcPeeringConnectionId": "pcx-1"})));
    assert_eq!((chosen(&w).target, chosen(&w).route_index), (Target::Peering("pcx-1".into()), 6));
}

/// <https://docs.aws.amazon.com/vpn/latest/s2svpn/vpn-route-priority.html>
#[test]
fn the_local_route_beats_propagated_ones() {
    let w = world().route(0, json!({"DestinationCidrBlock": "10.0.1.0/24", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation", "State": "active"}));
    w.reaches(tcp("eni-pub", "10.0.1.10", 443));
    let w = world().route(0, json!({"DestinationCidrBlock": "192.168.0.0/16", "GatewayId": "vgw-1", "Origin": "EnableVgwRoutePropagation", "State": "active"}));
    w.unknown(tcp("eni-pub", "192.168.0.1", 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html>
#[test]
fn a_blackhole_drops_although_a_shorter_route_leads_out() {
    let w =
        world().route(1, json!({"DestinationCidrBlock": "8.8.8.0/24", "NatGatewayId": "nat-9", "State": "blackhole"}));
    w.stops(tcp("eni-priv", "8.8.8.8", 443), "BAD_STATE_ROUTE");
    w.reaches(tcp("eni-priv", "8.8.4.4", 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/egress-only-internet-gateway.html>
#[test]
fn an_egress_only_gateway_lets_nobody_in() {
    let w = world();
    w.reaches(tcp("eni-priv", "2001:4860::8888", 443));
    let inbound = Flow::tcp(
        End::Internet,
        End::Interface { id: "eni-priv".into(), address: Some("2600:1f00:0:1::10".parse().unwrap()) },
        443,
    );
    w.stops(inbound, "NO_POSSIBLE_DESTINATION");
    w.with("describe-egress-only-internet-gateways", "/EgressOnlyInternetGateways/0/Attachments", json!([]))
        .stops(tcp("eni-priv", "2001:4860::8888", 443), "BAD_STATE_ATTACHMENT");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html>
#[test]
fn ipv6_by_an_internet_gateway_needs_no_translation() {
    let w = world();
    w.reaches(tcp("eni-pub", "2001:4860::8888", 443));
    w.reaches(Flow::tcp(
        End::Internet,
        End::Interface { id: "eni-pub".into(), address: Some("2600:1f00::10".parse().unwrap()) },
        443,
    ));
    w.reaches(Flow::tcp(End::Internet, End::interface("eni-pub"), 443));
    w.stops(Flow::tcp(End::Internet, End::interface("eni-priv"), 443), "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS");
    w.stops(tcp("eni-pub", "172.16.0.1", 443), "IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS");
    w.stops(tcp("eni-pub", "100.64.0.1", 443), "IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html>
#[test]
fn a_nat_gateway_needs_its_state_its_route_and_its_acl() {
    let out = || tcp("eni-priv", "8.8.8.8", 443);
    world().reaches(out());
    world().with("describe-nat-gateways", "/NatGateways/0/State", json!("failed")).stops(out(), "BAD_STATE");
    world()
        .with(
            "describe-route-tables",
            "/RouteTables/0/Routes/2",
            json!({"DestinationCidrBlock": "9.0.0.0/8", "GatewayId": "igw-a", "State": "active"}),
        )
        .stops(out(), "NO_ROUTE_TO_DESTINATION");
    world().stops(Flow { protocol: Protocol::Number(47), ..out() }, "PROTOCOL_RESTRICTION");
    // Its own ACL: the request in, the request out, the answer in, the answer out.
    for (egress, range, ports) in [
        (false, "10.0.1.0/24", 443),
        (true, "8.8.8.8/32", 443),
        (false, "8.8.8.8/32", 1024),
        (true, "10.0.1.0/24", 40000),
    ] {
        let w = world().entry(
            0,
            10,
            egress,
            "deny",
            json!({"Protocol": "6", "CidrBlock": range, "PortRange": {"From": ports, "To": ports}}),
        );
        w.stops(out(), "SUBNET_ACL_RESTRICTION");
    }
    // A client in the gateway's own subnet.
    let w = world().with(
        "describe-route-tables",
        "/RouteTables/0/Routes/2",
        json!({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"}),
    );
    w.stops(tcp("eni-pub", "8.8.8.8", 443), "NO_POSSIBLE_DESTINATION");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-nat-gateway.html>
#[test]
fn a_private_nat_gateway_does_not_reach_the_internet() {
    let w = world().with("describe-nat-gateways", "/NatGateways/0/ConnectivityType", json!("private")).with(
        "describe-nat-gateways",
        "/NatGateways/0/NatGatewayAddresses/0",
        json!({"PrivateIp": "10.0.0.250", "NetworkInterfaceId": "eni-nat"}),
    );
    w.stops(tcp("eni-priv", "8.8.8.8", 443), "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS");
    // To a peer it translates, and the answer comes back to it.
    let w = w.with(
        "describe-route-tables",
        "/RouteTables/1/Routes/3",
        json!({"DestinationCidrBlock": "10.1.0.0/16", "NatGatewayId": "nat-1", "State": "active"}),
    );
    w.reaches(tcp("eni-priv", "10.1.0.10", 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateways-regional.html>
#[test]
fn a_regional_nat_gateway_has_no_subnet() {
    let w = world().with(
        "describe-nat-gateways",
        "/NatGateways/0",
        json!({"NatGatewayId": "nat-1", "VpcId": "vpc-a", "State": "available", "ConnectivityType": "public",
        "AvailabilityMode": "regional", "NatGatewayAddresses": [{"PublicIp": "3.0.0.2", "AvailabilityZoneId": "az1"}]}),
    );
    w.reaches(tcp("eni-priv", "8.8.8.8", 443));
    let snapshot = w.snapshot();
    let egress = Network::new(&snapshot).egress(&snapshot, "subnet-priv", Family::V4);
    assert!(matches!(egress.kind, EgressKind::Nat { working: true, .. }), "{egress:?}");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-nat64-dns64.html>
#[test]
fn nat64_carries_ipv6_to_ipv4() {
    let w = world()
        .route(1, json!({"DestinationIpv6CidrBlock": "64:ff9b::/96", "NatGatewayId": "nat-1", "State": "active"}));
    w.reaches(tcp("eni-priv", "64:ff9b::808:808", 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html>
#[test]
fn a_peering_is_active_not_transitive_and_has_routes_on_both_sides() {
    let there = || tcp("eni-pub", "10.1.0.10", 443);
    world().reaches(there());
    world()
        .with("describe-vpc-peering-connections", "/VpcPeeringConnections/0/Status/Code", json!("deleted"))
        .stops(there(), "BAD_STATE");
    world()
        .with(
            "describe-route-tables",
            "/RouteTables/2/Routes/1",
            json!({"DestinationCidrBlock": "9.0.0.0/8", "VpcPeeringConnectionId": "pcx-1", "State": "active"}),
        )
        .stops(there(), "NO_ROUTE_TO_DESTINATION");
    let w = world()
        .route(0, json!({"DestinationCidrBlock": "8.0.0.0/8", "VpcPeeringConnectionId": "pcx-1", "State": "active"}));
    w.stops(tcp("eni-pub", "8.8.8.8", 443), "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR");
}

/// <https://docs.aws.amazon.com/vpc/latest/tgw/tgw-route-tables.html>
#[test]
fn a_transit_gateway_needs_association_route_and_state() {
    let there = || tcp("eni-priv", "10.1.0.10", 443);
    world().reaches(there());
    world()
        .with("describe-transit-gateway-attachments", "/TransitGatewayAttachments/0/Association", Value::Null)
        .stops(there(), "TGW_ATTACH_MISSING_TGW_RTB_ASSOCIATION");
    world().with("tgw-rtb-1", "/Routes/1/State", json!("blackhole")).stops(there(), "TGW_RTB_BAD_STATE_ROUTE");
    world().with("tgw-rtb-1", "/Routes", json!([])).stops(there(), "TGW_RTB_NO_ROUTE_TO_TGW_ATTACHMENT");
    world()
        .with("describe-transit-gateway-vpc-attachments", "/TransitGatewayVpcAttachments/1/State", json!("deleting"))
        .stops(there(), "BAD_STATE_ATTACHMENT");
    world().without("tgw-rtb-1").unknown(there());
    // Static before propagated.
    let w = world().with("tgw-rtb-1", "/Routes/-", json!({"DestinationCidrBlock": "10.1.0.0/16", "Type": "static", "State": "active",
        "TransitGatewayAttachments": [{"TransitGatewayAttachmentId": "att-v", "ResourceType": "vpn", "ResourceId": "vpn-1"}]}));
    w.unknown(there());
}

/// <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>
#[test]
fn a_gateway_endpoint_carries_tcp_and_ping() {
    let mut w = world()
        .route(1, json!({"DestinationPrefixListId": "pl-s3", "GatewayId": "vpce-s3", "State": "active"}))
        .with(
            "describe-vpc-endpoints",
            "/VpcEndpoints/-",
            json!({"VpcEndpointId": "vpce-s3", "VpcEndpointType": "Gateway", "VpcId": "vpc-a", "State": "available"}),
        )
        .with("describe-prefix-lists", "/PrefixLists/-", json!({"PrefixListId": "pl-s3", "Cidrs": ["52.216.0.0/15"]}));
    w.reaches(tcp("eni-priv", "52.216.1.1", 443));
    w.stops(Flow::udp(End::interface("eni-priv"), to("52.216.1.1"), 443), "VPCE_GATEWAY_PROTOCOL_RESTRICTION");
    // Groups and ACLs see the public address.
    w = w.group(1, "IpPermissionsEgress", json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]));
    w.stops(tcp("eni-priv", "52.216.1.1", 443), "ENI_SG_RULES_MISMATCH");
    w = w.group(1, "IpPermissionsEgress", json!([{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-s3"}]}]));
    w.reaches(tcp("eni-priv", "52.216.1.1", 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/security-vpc-bpa.html>
#[test]
fn block_public_access_stops_gateways() {
    let mode = |mode: &str| {
        world().with("describe-vpcs", "/Vpcs/0/BlockPublicAccessStates", json!({"InternetGatewayBlockMode": mode}))
    };
    let code = "VPC_BLOCK_PUBLIC_ACCESS_ENABLED";
    mode("block-bidirectional").stops(tcp("eni-priv", "8.8.8.8", 443), code);
    mode("block-bidirectional").stops(tcp("eni-priv", "2001:4860::8888", 443), code);
    mode("block-ingress").stops(Flow::tcp(End::Internet, End::interface("eni-pub"), 443), code);
    mode("block-ingress").reaches(tcp("eni-priv", "8.8.8.8", 443));
    mode("block-ingress").reaches(tcp("eni-priv", "2001:4860::8888", 443));
    // A subnet's exclusion.
    let w = mode("block-bidirectional").with(
        "describe-subnets",
        "/Subnets/0/BlockPublicAccessStates",
        json!({"InternetGatewayBlockMode": "off"}),
    );
    w.reaches(Flow::tcp(End::Internet, End::interface("eni-pub"), 443));
}

/// <https://docs.aws.amazon.com/vpc/latest/privatelink/privatelink-access-aws-services.html>
#[test]
fn an_interface_endpoint_starts_nothing_and_has_groups() {
    let w = world().with(
        "describe-network-interfaces",
        "/NetworkInterfaces/-",
        json!({"NetworkInterfaceId": "eni-vpce", "SubnetId": "subnet-priv", "VpcId": "vpc-a",
        "InterfaceType": "vpc_endpoint", "PrivateIpAddress": "10.0.1.20", "Groups": [{"GroupId": "sg-priv"}]}),
    );
    w.reaches(tcp("eni-pub", "10.0.1.20", 443));
    w.stops(tcp("eni-vpce", "10.0.0.10", 443), "VPCE_INTRA_VPC_TRAFFIC");
    w.group(1, "IpPermissions", json!([])).stops(tcp("eni-pub", "10.0.1.20", 443), "SG_HAS_NO_RULES");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html>: appliances and VPNs decide by themselves.
#[test]
fn what_decides_by_itself_is_unknown_and_never_hides_a_blocker() {
    for target in [
        json!({"NetworkInterfaceId": "eni-x"}),
        json!({"GatewayId": "vpce-gwlb"}),
        json!({"GatewayId": "vgw-1"}),
        json!({"LocalGatewayId": "lgw-1"}),
        json!({"CoreNetworkArn": "arn:x"}),
    ] {
        let mut route = json!({"DestinationCidrBlock": "8.8.8.0/24", "State": "active"});
        target.as_object().unwrap().iter().for_each(|(k, v)| route[k] = v.clone());
        let w = world().route(1, route);
        w.unknown(tcp("eni-priv", "8.8.8.8", 443));
        w.group(1, "IpPermissionsEgress", json!([])).stops(tcp("eni-priv", "8.8.8.8", 443), "SG_HAS_NO_RULES");
    }
    for file in ["describe-route-tables", "describe-network-acls", "describe-security-groups", "describe-nat-gateways"]
    {
        world().without(file).unknown(tcp("eni-priv", "8.8.8.8", 443));
    }
    world().without("describe-internet-gateways").unknown(tcp("eni-pub", "8.8.8.8", 443));
}

/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-security-groups.html>
#[test]
fn a_network_load_balancer_with_groups_filters_and_may_be_referred_to() {
    let arn = "arn:aws:elasticloadbalancing:r:1:loadbalancer/net/nlb/0123456789abcdef";
    let group = "arn:aws:elasticloadbalancing:r:1:targetgroup/tg/fedcba9876543210";
    let mut w = world()
        .with("describe-network-interfaces", "/NetworkInterfaces/-", json!({"NetworkInterfaceId": "eni-nlb", "SubnetId": "subnet-pub", "VpcId": "vpc-a", "Description": "ELB net/nlb/0123456789abcdef",
            "InterfaceType": "network_load_balancer", "PrivateIpAddress": "10.0.0.30", "Groups": [{"GroupId": "sg-nlb"}], "Association": {"PublicIp": "3.0.0.9"}}))
        .with("describe-security-groups", "/SecurityGroups/-", json!({"GroupId": "sg-nlb", "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}))
        .group(1, "IpPermissions", json!([{"IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443, "UserIdGroupPairs": [{"GroupId": "sg-nlb"}]}]));
    w.0.insert("lbs", json!({"LoadBalancers": [{"LoadBalancerArn": arn, "LoadBalancerName": "nlb", "Type": "network", "VpcId": "vpc-a", "SecurityGroups": ["sg-nlb"]}]}));
    w.0.insert("tgs", json!({"TargetGroups": [{"TargetGroupArn": group, "TargetGroupName": "tg", "Protocol": "TCP", "Port": 8443, "TargetType": "ip", "VpcId": "vpc-a"}]}));
    w.0.insert("listeners", json!({"Listeners": [{"ListenerArn": "l", "LoadBalancerArn": arn, "Port": 443, "Protocol": "TCP", "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}]},
        {"ListenerArn": "m", "LoadBalancerArn": arn, "Port": 80, "Protocol": "TCP", "DefaultActions": [{"Type": "forward", "TargetGroupArn": group}]}]}));
    w.0.insert("tg", json!({"TargetHealthDescriptions": [{"Target": {"Id": "10.0.1.10", "Port": 8443}, "TargetHealth": {"State": "healthy"}}]}));
    let call = |port| Flow::tcp(End::Internet, End::interface("eni-nlb"), port);
    w.reaches(call(443));
    w.stops(call(80), "ENI_SG_RULES_MISMATCH");
    w.stops(call(8080), "ELBV2_LISTENERS_MISMATCH");
    w.0.insert("attributes/tg", json!({"Attributes": [{"Key": "preserve_client_ip.enabled", "Value": "true"}]}));
    w.reaches(call(443));
    let w = w.group(
        1,
        "IpPermissions",
        json!([{"IpProtocol": "tcp", "FromPort": 8443, "ToPort": 8443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]),
    );
    w.stops(call(443), "ENI_SG_RULES_MISMATCH");
}

/// <https://docs.aws.amazon.com/vpc/latest/userguide/route-table-options.html>: halves of a default route, lists.
#[test]
fn ways_out_of_a_subnet() {
    let egress = |w: &World, subnet: &str, family| {
        let snapshot = w.snapshot();
        Network::new(&snapshot).egress(&snapshot, subnet, family).kind
    };
    assert!(matches!(egress(&world(), "subnet-pub", Family::V4), EgressKind::Internet { .. }));
    assert!(matches!(egress(&world(), "subnet-priv", Family::V4), EgressKind::Nat { working: true, .. }));
    assert!(matches!(egress(&world(), "subnet-priv", Family::V6), EgressKind::EgressOnly { .. }));
    assert!(matches!(egress(&world(), "subnet-b", Family::V4), EgressKind::None));
    let halves = world()
        .route(2, json!({"DestinationCidrBlock": "0.0.0.0/1", "TransitGatewayId": "tgw-1", "State": "active"}))
        .route(2, json!({"DestinationCidrBlock": "128.0.0.0/1", "TransitGatewayId": "tgw-1", "State": "active"}));
    assert!(matches!(egress(&halves, "subnet-b", Family::V4), EgressKind::Unverifiable { .. }));
    let dead = world().with("describe-route-tables", "/RouteTables/1/Routes/1/State", json!("blackhole"));
    assert!(matches!(egress(&dead, "subnet-priv", Family::V4), EgressKind::Blackhole));
    let failed = world().with("describe-nat-gateways", "/NatGateways/0/State", json!("failed"));
    assert!(matches!(egress(&failed, "subnet-priv", Family::V4), EgressKind::Nat { working: false, .. }));
    let mut list =
        world().route(2, json!({"DestinationPrefixListId": "pl-all", "GatewayId": "igw-a", "State": "active"}));
    list.0.insert("pl-all", json!({"Entries": [{"Cidr": "0.0.0.0/0"}]}));
    assert!(matches!(egress(&list, "subnet-b", Family::V4), EgressKind::Broken { .. }));
}

/// An interface to come: one verdict for every free address of its subnet, or none.
#[test]
fn hypothetical_ends_stand_for_every_free_address() {
    let end = || End::Hypothetical {
        vpc: "vpc-a".into(),
        subnet: "subnet-priv".into(),
        groups: vec!["sg-priv".into()],
        address: None,
        public: false,
    };
    world().reaches(Flow::tcp(end(), to("10.0.0.10"), 443));
    world().reaches(Flow::tcp(End::interface("eni-pub"), end(), 443));
    let half = world().entry(0, 10, false, "deny", json!({"Protocol": "-1", "CidrBlock": "10.0.1.128/25"}));
    half.unknown(Flow::tcp(end(), to("10.0.0.10"), 443));
    let unused: IpAddr = "10.0.1.200".parse().unwrap();
    let at = End::Hypothetical {
        vpc: "vpc-a".into(),
        subnet: "subnet-priv".into(),
        groups: vec!["sg-priv".into()],
        address: Some(unused),
        public: false,
    };
    half.stops(Flow::tcp(at, to("10.0.0.10"), 443), "SUBNET_ACL_RESTRICTION");
}
