//! On random small worlds the engine says what a plain evaluator says that tries each packet by itself.
//!
//! The evaluator below shares nothing with the engine: it works on the generated world, sends one packet at a
//! time with one port, and knows no classes, intervals or memory.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use eks_doctor::network::{Disposition, End, Flow, Network, Protocol};
use eks_doctor::snapshot::{Object, Snapshot};
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde_json::{Value, json};

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum To {
    Local,
    Igw,
    Eigw,
    Nat,
    Regional,
    Tgw,
    Pcx,
    Vgw,
    Endpoint,
}

#[derive(Clone, Debug)]
struct Route {
    net: IpNet,
    to: To,
    blackhole: bool,
    propagated: bool,
    list: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    number: i64,
    egress: bool,
    allow: bool,
    protocol: i64,
    net: IpNet,
    ports: (u16, u16),
    icmp: i64,
}

#[derive(Clone, Debug)]
enum Peer {
    Net(IpNet),
    Group(usize),
    List,
}

#[derive(Clone, Debug)]
struct Rule {
    protocol: &'static str,
    ports: (i64, i64),
    peer: Peer,
}

#[derive(Clone, Debug)]
struct Eni {
    subnet: usize,
    v4: IpAddr,
    v6: IpAddr,
    groups: Vec<usize>,
    public: Option<IpAddr>,
}

#[derive(Clone, Debug)]
struct World {
    /// By subnet.
    tables: Vec<Vec<Route>>,
    acls: Vec<Vec<Entry>>,
    /// [ingress, egress] by group.
    groups: Vec<[Vec<Rule>; 2]>,
    enis: Vec<Eni>,
    igw: [bool; 2],
    eigw: [bool; 2],
    nat_ok: bool,
    nat_public: bool,
    regional_ok: bool,
    peered: bool,
    same_region: bool,
    /// Attached subnets by VPC.
    attached: [Vec<usize>; 2],
    associated: [bool; 2],
    tgw: Vec<(IpNet, Option<usize>, bool)>,
    /// (gateway, first attachment, second) refer to groups.
    tgw_groups: [bool; 3],
    /// Per VPC: 0 off, 1 ingress, 2 both.
    public_access: [u8; 2],
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
fn subnet_nets(s: usize) -> [IpNet; 2] {
    [net(&format!("10.{}.{s}.0/24", s / 2)), net(&format!("2600:1f0{}:0:{s}::/64", s / 2))]
}
fn vpc_nets(v: usize) -> [IpNet; 2] {
    [net(&format!("10.{v}.0.0/16")), net(&format!("2600:1f0{v}::/56"))]
}
const NAT: &str = "10.0.0.250";
const NAT_PUBLIC: &str = "3.1.0.1";
const REGIONAL: &str = "3.1.0.2";
const LIST: &str = "52.216.0.0/15";

fn world(rng: &mut Rng) -> World {
    let ranges = [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/16",
        "10.1.0.0/16",
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.1.2.0/24",
        "10.0.0.0/25",
        "10.0.0.16/28",
        "10.1.3.0/26",
        "10.0.0.250/32",
        "3.0.0.0/8",
        "52.216.0.0/15",
        "8.8.8.8/32",
        "2600:1f00::/56",
        "2600:1f01::/56",
        "2600:1f00:0:1::/64",
        "2001:4860::/32",
        "10.0.0.0/8",
    ];
    let wide = ["0.0.0.0/0", "::/0", "0.0.0.0/0", "::/0", "10.0.0.0/8", "2600:1f00::/24"];
    let some = |rng: &mut Rng| if rng.chance(55) { net(rng.one(&wide[..])) } else { net(rng.one(&ranges[..])) };
    let tables = (0..4)
        .map(|s| {
            let v = s / 2;
            let mut routes: Vec<Route> = vpc_nets(v)
                .into_iter()
                .map(|net| Route { net, to: To::Local, blackhole: false, propagated: false, list: false })
                .collect();
            let mut add = |rng: &mut Rng, range: IpNet, targets: &[To]| {
                let to = rng.one(targets);
                let propagated = to == To::Vgw && rng.chance(70);
                routes.push(Route { net: range, to, blackhole: rng.chance(4), propagated, list: false });
            };
            let nats: &[To] = if v == 0 {
                &[To::Igw, To::Igw, To::Nat, To::Nat, To::Regional, To::Tgw, To::Vgw]
            } else {
                &[To::Igw, To::Igw, To::Tgw, To::Pcx]
            };
            if rng.chance(90) {
                add(rng, net("0.0.0.0/0"), nats);
            }
            if rng.chance(80) {
                add(rng, net("::/0"), &[To::Igw, To::Eigw, To::Eigw, To::Igw, To::Tgw]);
            }
            for range in vpc_nets(1 - v) {
                if rng.chance(85) {
                    add(rng, range, &[To::Pcx, To::Pcx, To::Tgw, To::Tgw, To::Vgw]);
                }
            }
            if rng.chance(25) {
                let range = subnet_nets(2 * (1 - v) + rng.below(2) as usize)[0];
                add(rng, range, &[To::Pcx, To::Tgw, To::Vgw]);
            }
            if rng.chance(15) {
                add(rng, net("10.0.0.0/8"), &[To::Tgw, To::Vgw]);
            }
            // A propagated route inside the VPC, which its local route beats.
            if rng.chance(15) {
                let range = subnet_nets(2 * v)[0];
                routes.push(Route { net: range, to: To::Vgw, blackhole: false, propagated: true, list: false });
            }
            if v == 0 && rng.chance(40) {
                routes.push(Route {
                    net: net(LIST),
                    to: To::Endpoint,
                    blackhole: false,
                    propagated: false,
                    list: true,
                });
            }
            routes
        })
        .collect();
    let acls = (0..4)
        .map(|_| {
            let mut entries = Vec::new();
            for egress in [false, true] {
                if rng.chance(75) {
                    for range in ["0.0.0.0/0", "::/0"] {
                        entries.push(Entry {
                            number: 100 + i64::from(range == "::/0"),
                            egress,
                            allow: true,
                            protocol: -1,
                            net: net(range),
                            ports: (0, 65535),
                            icmp: -1,
                        });
                    }
                }
                for _ in 0..rng.below(4) {
                    let ports = rng.one(&[
                        (0, 65535),
                        (443, 443),
                        (1024, 65535),
                        (32768, 60999),
                        (40000, 50000),
                        (32768, 40000),
                        (53, 53),
                        (1024, 1024),
                    ]);
                    let number = 1 + rng.below(200) as i64;
                    if entries.iter().any(|e: &Entry| e.egress == egress && e.number == number) {
                        continue;
                    }
                    entries.push(Entry {
                        number,
                        egress,
                        allow: rng.chance(70),
                        protocol: rng.one(&[-1, 6, 6, 17, 1, 58, 47]),
                        net: some(rng),
                        ports,
                        icmp: rng.one(&[-1, -1, 8, 0, 128, 129]),
                    });
                }
            }
            rng.shuffle(&mut entries);
            entries
        })
        .collect();
    let groups = (0..4)
        .map(|_| {
            [false, true].map(|egress| {
                let mut rules = Vec::new();
                if rng.chance(if egress { 85 } else { 50 }) {
                    rules.push(Rule { protocol: "-1", ports: (-1, -1), peer: Peer::Net(net("0.0.0.0/0")) });
                    rules.push(Rule { protocol: "-1", ports: (-1, -1), peer: Peer::Net(net("::/0")) });
                }
                for _ in 0..rng.below(4) {
                    let protocol = rng.one(&["-1", "tcp", "tcp", "udp", "icmp", "icmpv6", "47"]);
                    let ports = match protocol {
                        "tcp" | "udp" => rng.one(&[(0, 65535), (443, 443), (53, 53), (1, 500)]),
                        "icmp" | "icmpv6" => rng.one(&[(-1, -1), (8, -1), (128, 0), (3, 4)]),
                        _ => (-1, -1),
                    };
                    let peer = match rng.below(4) {
                        0 | 1 => Peer::Net(some(rng)),
                        2 => Peer::Group(rng.below(4) as usize),
                        _ => Peer::List,
                    };
                    rules.push(Rule { protocol, ports, peer });
                }
                rng.shuffle(&mut rules);
                rules
            })
        })
        .collect();
    let mut enis = Vec::new();
    for subnet in 0..4 {
        for _ in 0..2 {
            let host = 10 + rng.below(100) + 110 * (enis.len() as u64 % 2);
            enis.push(Eni {
                subnet,
                v4: ip(&format!("10.{}.{subnet}.{host}", subnet / 2)),
                v6: ip(&format!("2600:1f0{}:0:{subnet}::{host:x}", subnet / 2)),
                groups: (0..=rng.below(2)).map(|_| rng.below(4) as usize).collect(),
                public: rng.chance(50).then(|| ip(&format!("3.0.0.{}", enis.len() + 1))),
            });
        }
    }
    let mut attachments = |v: usize| {
        let mut list = vec![2 * v, 2 * v + 1];
        if rng.chance(40) {
            list.remove(rng.below(2) as usize);
        }
        list
    };
    let attached = [attachments(0), attachments(1)];
    let mut tgw = Vec::new();
    for v in 0..2 {
        for range in vpc_nets(v) {
            if rng.chance(85) {
                tgw.push((range, if rng.chance(95) { Some(v) } else { None }, rng.chance(5)));
            }
        }
    }
    if rng.chance(50) {
        tgw.push((net("0.0.0.0/0"), Some(0), false));
    }
    World {
        tables,
        acls,
        groups,
        enis,
        igw: [rng.chance(92), rng.chance(92)],
        eigw: [rng.chance(92), rng.chance(92)],
        nat_ok: rng.chance(92),
        nat_public: rng.chance(75),
        regional_ok: rng.chance(92),
        peered: rng.chance(92),
        same_region: rng.chance(80),
        attached,
        associated: [rng.chance(92), rng.chance(92)],
        tgw,
        tgw_groups: [rng.chance(60), rng.chance(70), rng.chance(70)],
        public_access: [rng.one(&[0, 0, 0, 0, 1, 2]), rng.one(&[0, 0, 0, 0, 1, 2])],
    }
}

/// The world as AWS would describe it, lists in any order.
fn documents(w: &World, rng: &mut Rng) -> Vec<(String, String)> {
    let mut files: Vec<(&str, Value)> = Vec::new();
    let mode = |v: usize| ["off", "block-ingress", "block-bidirectional"][w.public_access[v] as usize];
    let mut list = |key: &str, mut rows: Vec<Value>| {
        rng.shuffle(&mut rows);
        for row in &mut rows {
            for inner in ["Entries", "Routes", "IpPermissions", "IpPermissionsEgress", "Groups"] {
                if let Some(inner) = row.get_mut(inner).and_then(Value::as_array_mut) {
                    rng.shuffle(inner);
                }
            }
        }
        json!({ key: rows })
    };
    files.push(("describe-vpcs", list("Vpcs", (0..2).map(|v| json!({"VpcId": format!("vpc-{v}"), "CidrBlock": vpc_nets(v)[0].to_string(),
        "CidrBlockAssociationSet": [{"CidrBlock": vpc_nets(v)[0].to_string(), "CidrBlockState": {"State": "associated"}}],
        "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": vpc_nets(v)[1].to_string(), "Ipv6CidrBlockState": {"State": "associated"}}],
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": mode(v)}})).collect())));
    files.push(("describe-subnets", list("Subnets", (0..4).map(|s| json!({"SubnetId": format!("subnet-{s}"), "VpcId": format!("vpc-{}", s / 2),
        "CidrBlock": subnet_nets(s)[0].to_string(), "AvailabilityZoneId": format!("az{}", s % 2),
        "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": subnet_nets(s)[1].to_string(), "Ipv6CidrBlockState": {"State": "associated"}}]})).collect())));
    let route = |s: usize, r: &Route| {
        let mut out = json!({"State": if r.blackhole { "blackhole" } else { "active" },
            "Origin": if r.propagated { "EnableVgwRoutePropagation" } else { "CreateRoute" }});
        let key = match (r.list, r.net) {
            (true, _) => "DestinationPrefixListId",
            (_, IpNet::V4(_)) => "DestinationCidrBlock",
            _ => "DestinationIpv6CidrBlock",
        };
        out[key] = if r.list { json!("pl-1") } else { json!(r.net.to_string()) };
        let v = s / 2;
        let (key, id) = match r.to {
            To::Local => ("GatewayId", "local".to_owned()),
            To::Igw => ("GatewayId", format!("igw-{v}")),
            To::Eigw => ("EgressOnlyInternetGatewayId", format!("eigw-{v}")),
            To::Nat => ("NatGatewayId", "nat-0".to_owned()),
            To::Regional => ("NatGatewayId", "nat-1".to_owned()),
            To::Tgw => ("TransitGatewayId", "tgw-0".to_owned()),
            To::Pcx => ("VpcPeeringConnectionId", "pcx-0".to_owned()),
            To::Vgw => ("GatewayId", "vgw-0".to_owned()),
            To::Endpoint => ("GatewayId", "vpce-0".to_owned()),
        };
        out[key] = json!(id);
        out
    };
    files.push((
        "describe-route-tables",
        list(
            "RouteTables",
            (0..4)
                .map(|s| {
                    json!({"RouteTableId": format!("rtb-{s}"), "VpcId": format!("vpc-{}", s / 2),
        "Associations": [{"SubnetId": format!("subnet-{s}"), "Main": false}],
        "Routes": w.tables[s].iter().map(|r| route(s, r)).collect::<Vec<_>>()})
                })
                .collect(),
        ),
    ));
    let entry = |e: &Entry| {
        let mut out = json!({"RuleNumber": e.number, "Egress": e.egress, "RuleAction": if e.allow { "allow" } else { "deny" },
            "Protocol": e.protocol.to_string()});
        out[if e.net.addr().is_ipv4() { "CidrBlock" } else { "Ipv6CidrBlock" }] = json!(e.net.to_string());
        if matches!(e.protocol, 6 | 17 | -1 | 47) {
            out["PortRange"] = json!({"From": e.ports.0, "To": e.ports.1});
        } else {
            out["IcmpTypeCode"] = json!({"Type": e.icmp, "Code": -1});
        }
        out
    };
    files.push(("describe-network-acls", list("NetworkAcls", (0..4).map(|s| json!({"NetworkAclId": format!("acl-{s}"), "VpcId": format!("vpc-{}", s / 2),
        "Associations": [{"SubnetId": format!("subnet-{s}")}], "Entries": w.acls[s].iter().map(entry).collect::<Vec<_>>()})).collect())));
    let rule = |r: &Rule| {
        let mut out = json!({"IpProtocol": r.protocol});
        if r.ports.0 != -1 || r.protocol.starts_with("icmp") {
            out["FromPort"] = json!(r.ports.0);
            out["ToPort"] = json!(r.ports.1);
        }
        match &r.peer {
            Peer::Net(n) if n.addr().is_ipv4() => out["IpRanges"] = json!([{"CidrIp": n.to_string()}]),
            Peer::Net(n) => out["Ipv6Ranges"] = json!([{"CidrIpv6": n.to_string()}]),
            Peer::Group(g) => out["UserIdGroupPairs"] = json!([{"GroupId": format!("sg-{g}")}]),
            Peer::List => out["PrefixListIds"] = json!([{"PrefixListId": "pl-1"}]),
        }
        out
    };
    files.push(("describe-security-groups", list("SecurityGroups", w.groups.iter().enumerate().map(|(g, r)| json!({"GroupId": format!("sg-{g}"),
        "IpPermissions": r[0].iter().map(rule).collect::<Vec<_>>(), "IpPermissionsEgress": r[1].iter().map(rule).collect::<Vec<_>>()})).collect())));
    let mut enis: Vec<Value> = w.enis.iter().enumerate().map(|(i, e)| {
        let mut out = json!({"NetworkInterfaceId": format!("eni-{i}"), "SubnetId": format!("subnet-{}", e.subnet), "VpcId": format!("vpc-{}", e.subnet / 2),
            "InterfaceType": "interface", "PrivateIpAddress": e.v4, "Ipv6Addresses": [{"Ipv6Address": e.v6}],
            "PrivateIpAddresses": [{"PrivateIpAddress": e.v4, "Primary": true}],
            "Groups": e.groups.iter().map(|g| json!({"GroupId": format!("sg-{g}")})).collect::<Vec<_>>()});
        if let Some(public) = e.public {
            out["Association"] = json!({"PublicIp": public});
        }
        out
    }).collect();
    enis.push(json!({"NetworkInterfaceId": "eni-nat", "SubnetId": "subnet-0", "VpcId": "vpc-0", "InterfaceType": "nat_gateway",
        "PrivateIpAddress": NAT, "Groups": []}));
    files.push(("describe-network-interfaces", list("NetworkInterfaces", enis)));
    let attached =
        |on: bool, v: usize| if on { json!([{"VpcId": format!("vpc-{v}"), "State": "available"}]) } else { json!([]) };
    files.push((
        "describe-internet-gateways",
        list(
            "InternetGateways",
            (0..2)
                .map(|v| json!({"InternetGatewayId": format!("igw-{v}"), "Attachments": attached(w.igw[v], v)}))
                .collect(),
        ),
    ));
    files.push(("describe-egress-only-internet-gateways", list("EgressOnlyInternetGateways", (0..2).map(|v| json!({"EgressOnlyInternetGatewayId": format!("eigw-{v}"), "Attachments": attached(w.eigw[v], v)})).collect())));
    let mut address = json!({"NetworkInterfaceId": "eni-nat", "PrivateIp": NAT});
    if w.nat_public {
        address["PublicIp"] = json!(NAT_PUBLIC);
    }
    let state = |ok: bool| if ok { "available" } else { "failed" };
    files.push(("describe-nat-gateways", list("NatGateways", vec![
        json!({"NatGatewayId": "nat-0", "VpcId": "vpc-0", "SubnetId": "subnet-0", "State": state(w.nat_ok),
            "ConnectivityType": if w.nat_public { "public" } else { "private" }, "NatGatewayAddresses": [address]}),
        json!({"NatGatewayId": "nat-1", "VpcId": "vpc-0", "State": state(w.regional_ok), "AvailabilityMode": "regional",
            "ConnectivityType": "public", "NatGatewayAddresses": [{"PublicIp": REGIONAL}]}),
    ])));
    let side = |v: usize| json!({"VpcId": format!("vpc-{v}"), "Region": if w.same_region { "r".to_owned() } else { format!("r{v}") }, "CidrBlock": vpc_nets(v)[0].to_string()});
    files.push(("describe-vpc-peering-connections", list("VpcPeeringConnections", vec![json!({"VpcPeeringConnectionId": "pcx-0",
        "RequesterVpcInfo": side(0), "AccepterVpcInfo": side(1), "Status": {"Code": if w.peered { "active" } else { "deleted" }}})])));
    files.push(("describe-vpc-endpoints", list("VpcEndpoints", vec![json!({"VpcEndpointId": "vpce-0", "VpcEndpointType": "Gateway", "VpcId": "vpc-0", "State": "available"})])));
    files.push(("describe-prefix-lists", list("PrefixLists", vec![json!({"PrefixListId": "pl-1", "Cidrs": [LIST]})])));
    let yes = |b: bool| if b { "enable" } else { "disable" };
    files.push((
        "describe-transit-gateways",
        list(
            "TransitGateways",
            vec![json!({"TransitGatewayId": "tgw-0", "State": "available",
        "Options": {"SecurityGroupReferencingSupport": yes(w.tgw_groups[0])}})],
        ),
    ));
    files.push(("describe-transit-gateway-vpc-attachments", list("TransitGatewayVpcAttachments", (0..2).map(|v| json!({"TransitGatewayAttachmentId": format!("tgw-attach-{v}"),
        "TransitGatewayId": "tgw-0", "VpcId": format!("vpc-{v}"), "State": "available", "Options": {"Ipv6Support": "enable", "SecurityGroupReferencingSupport": yes(w.tgw_groups[v + 1])},
        "SubnetIds": w.attached[v].iter().map(|s| format!("subnet-{s}")).collect::<Vec<_>>()})).collect())));
    files.push(("describe-transit-gateway-attachments", list("TransitGatewayAttachments", (0..2).map(|v| {
        let mut out = json!({"TransitGatewayAttachmentId": format!("tgw-attach-{v}"), "TransitGatewayId": "tgw-0", "ResourceType": "vpc", "ResourceId": format!("vpc-{v}"), "State": "available"});
        if w.associated[v] {
            out["Association"] = json!({"TransitGatewayRouteTableId": "tgw-rtb-0", "State": "associated"});
        }
        out
    }).collect())));
    let mut routes: Vec<Value> = w.tgw.iter().map(|(n, v, blackhole)| json!({"DestinationCidrBlock": n.to_string(), "Type": "static", "State": if *blackhole { "blackhole" } else { "active" },
        "TransitGatewayAttachments": [match v { Some(v) => json!({"TransitGatewayAttachmentId": format!("tgw-attach-{v}"), "ResourceType": "vpc", "ResourceId": format!("vpc-{v}")}),
            None => json!({"TransitGatewayAttachmentId": "tgw-attach-9", "ResourceType": "vpn", "ResourceId": "vpn-0"}) }]})).collect();
    rng.shuffle(&mut routes);
    files.push(("search/tgw-rtb-0", json!({"Routes": routes, "AdditionalRoutesAvailable": false})));
    let mut files: Vec<(String, String)> =
        files.into_iter().map(|(name, value)| (format!("{}{name}.json", rng.below(9)), value.to_string())).collect();
    for file in &mut files {
        if file.0.ends_with("tgw-rtb-0.json") {
            file.0 = "x/tgw-rtb-0.json".to_owned();
        }
    }
    rng.shuffle(&mut files);
    files
}

/// A packet as filters see it.
#[derive(Clone, Copy, Debug)]
struct Packet {
    from: IpAddr,
    to: IpAddr,
    protocol: i64,
    port: u16,
    icmp: i64,
    /// Whose groups the receiver sees.
    sender: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    /// In a subnet; `true` when a transit gateway put it there.
    Subnet(usize, bool),
    RegionalNat,
    Outside,
}

#[derive(Clone, Copy, Debug)]
enum Undo {
    Out(Place, IpAddr),
    In(IpAddr),
    Nat(Place, IpAddr, IpAddr),
}

#[derive(Default, Debug)]
struct Fate {
    blocked: bool,
    unknown: bool,
    /// Lines of this file at which it was blocked.
    why: Vec<u32>,
}

impl Fate {
    fn stop(&mut self, when: bool, line: u32) {
        if when {
            self.blocked = true;
            self.why.push(line);
        }
    }
}

impl World {
    fn acl(&self, s: usize, egress: bool, with: IpAddr, p: &Packet) -> bool {
        let mut entries: Vec<&Entry> =
            self.acls[s].iter().filter(|e| e.egress == egress && e.net.contains(&with)).collect();
        entries.sort_by_key(|e| e.number);
        entries
            .iter()
            .find(|e| match e.protocol {
                -1 => true,
                6 | 17 => e.protocol == p.protocol && (e.ports.0..=e.ports.1).contains(&p.port),
                1 | 58 => e.protocol == p.protocol && (e.icmp == -1 || e.icmp == p.icmp),
                other => other == p.protocol,
            })
            .is_some_and(|e| e.allow)
    }
    fn groups(&self, eni: usize, egress: bool, with: IpAddr, peer: Option<usize>, p: &Packet) -> bool {
        self.enis[eni].groups.iter().flat_map(|g| &self.groups[*g][usize::from(egress)]).any(|r| {
            let number = match r.protocol {
                "-1" => -1,
                "tcp" => 6,
                "udp" => 17,
                "icmp" => 1,
                "icmpv6" => 58,
                _ => 47,
            };
            let service = match number {
                -1 => true,
                6 | 17 => p.protocol == number && (r.ports.0..=r.ports.1).contains(&i64::from(p.port)),
                1 | 58 => p.protocol == number && (r.ports.0 == -1 || (r.ports.0 == p.icmp && r.ports.1 <= 0)),
                _ => p.protocol == number,
            };
            service
                && match &r.peer {
                    Peer::Net(n) => n.contains(&with),
                    Peer::List => net(LIST).contains(&with),
                    Peer::Group(g) => peer.is_some_and(|e| self.enis[e].groups.contains(g)),
                }
        })
    }
    fn subnet_of(&self, v: usize, a: IpAddr) -> Option<usize> {
        (2 * v..2 * v + 2).find(|&s| subnet_nets(s).iter().any(|n| n.contains(&a)))
    }
    fn eni_of(&self, v: usize, a: IpAddr) -> Option<usize> {
        self.enis.iter().position(|e| e.subnet / 2 == v && (e.v4 == a || e.v6 == a))
    }
    fn in_vpc(&self, v: usize, a: IpAddr) -> bool {
        vpc_nets(v).iter().any(|n| n.contains(&a))
    }
    fn lookup(&self, s: usize, to: IpAddr) -> Option<&Route> {
        let local = self.in_vpc(s / 2, to);
        self.tables[s]
            .iter()
            .filter(|r| r.net.contains(&to) && !(local && r.propagated))
            .max_by_key(|r| (r.net.prefix_len(), if r.propagated { 0 } else { 1 }))
    }

    /// One leg; every port of `ports` has to pass each ACL. Returns where it ends.
    fn leg(
        &self,
        mut at: Place,
        p: &mut Packet,
        ports: &[u16],
        undo: &mut Vec<Undo>,
        back: bool,
        fate: &mut Fate,
    ) -> Option<Place> {
        macro_rules! acl {
            ($s:expr, $egress:expr, $with:expr) => {
                fate.stop(
                    !ports.iter().all(|port| self.acl($s, $egress, $with, &Packet { port: *port, ..*p })),
                    line!(),
                )
            };
        }
        macro_rules! stop {
            () => {{
                fate.stop(true, line!());
                return None;
            }};
        }
        for _ in 0..12 {
            let (s, transit) = match at {
                Place::Subnet(s, transit) => (s, transit),
                Place::RegionalNat => {
                    // Delivers inside the VPC by itself; its own routes to elsewhere are not recorded here.
                    let Some(there) = self.subnet_of(0, p.to) else {
                        fate.unknown = true;
                        return None;
                    };
                    acl!(there, false, p.from);
                    return Some(Place::Subnet(there, false));
                }
                Place::Outside => return Some(at),
            };
            let v = s / 2;
            if subnet_nets(s).iter().any(|n| n.contains(&p.to)) {
                return Some(at);
            }
            let route = self.lookup(s, p.to);
            acl!(s, true, p.to);
            let Some(route) = route.filter(|r| !r.blackhole) else { stop!() };
            let own = !transit && (self.in_vpc(v, p.from));
            match route.to {
                To::Local => match self.subnet_of(v, p.to) {
                    Some(there) => {
                        acl!(there, false, p.from);
                        return Some(Place::Subnet(there, false));
                    }
                    None => {
                        fate.unknown = true;
                        return None;
                    }
                },
                To::Vgw => {
                    fate.unknown = true;
                    return None;
                }
                To::Pcx => {
                    if !self.peered || !own || !self.in_vpc(1 - v, p.to) {
                        stop!()
                    }
                    if !self.same_region {
                        p.sender = None;
                    }
                    let Some(there) = self.subnet_of(1 - v, p.to) else {
                        fate.unknown = true;
                        return None;
                    };
                    acl!(there, false, p.from);
                    return Some(Place::Subnet(there, false));
                }
                To::Tgw => {
                    let Some(&door) = self.attached[v].iter().find(|a| *a % 2 == s % 2) else { stop!() };
                    acl!(door, false, p.from);
                    if !self.associated[v] {
                        stop!()
                    }
                    let best = self.tgw.iter().filter(|r| r.0.contains(&p.to)).max_by_key(|r| r.0.prefix_len());
                    let Some(best) = best.filter(|r| !r.2) else { stop!() };
                    let Some(there) = best.1 else {
                        fate.unknown = true;
                        return None;
                    };
                    let references = self.tgw_groups[0] && self.tgw_groups[v + 1] && self.tgw_groups[there + 1];
                    if !references {
                        p.sender = None;
                    }
                    let exit =
                        self.attached[there].iter().find(|a| *a % 2 == s % 2).unwrap_or(&self.attached[there][0]);
                    at = Place::Subnet(*exit, true);
                }
                To::Endpoint => {
                    if back {
                        stop!()
                    }
                    fate.stop(!(p.protocol == 6 || (p.protocol == 1 && p.icmp == 8)), line!());
                    if !own {
                        stop!()
                    }
                    undo.push(Undo::Out(Place::Subnet(s, false), p.from));
                    return Some(Place::Outside);
                }
                To::Eigw => {
                    if back {
                        stop!()
                    }
                    fate.stop(!self.eigw[v], line!());
                    if !public(p.to) {
                        stop!()
                    }
                    fate.stop(self.public_access[v] == 2, line!());
                    if !own {
                        stop!()
                    }
                    p.sender = None;
                    undo.push(Undo::Out(Place::Subnet(s, false), p.from));
                    return self.outside(p, ports, undo, fate);
                }
                To::Igw => return self.igw(v, Some(s), own, p, ports, undo, back, fate),
                To::Nat | To::Regional => {
                    let regional = route.to == To::Regional;
                    if back {
                        stop!()
                    }
                    fate.stop(!(if regional { self.regional_ok } else { self.nat_ok }), line!());
                    fate.stop(!matches!(p.protocol, 1 | 6 | 17 | 58), line!());
                    if p.to.is_ipv6() {
                        stop!()
                    }
                    if !regional && s == 0 && !transit {
                        stop!()
                    }
                    if !regional && s != 0 {
                        acl!(0, false, p.from);
                    }
                    let place = if regional { Place::RegionalNat } else { Place::Subnet(0, false) };
                    undo.push(Undo::Nat(place, p.from, p.to));
                    p.from = if regional { ip(REGIONAL) } else { ip(NAT) };
                    p.sender = None;
                    if regional {
                        // Nothing but the VPC's gateway, attached or not known.
                        if !self.igw[0] {
                            fate.unknown = true;
                            return None;
                        }
                        return self.igw(0, None, true, p, ports, undo, back, fate);
                    }
                    at = Place::Subnet(0, false);
                }
            }
        }
        stop!()
    }

    #[allow(clippy::too_many_arguments)]
    fn igw(
        &self,
        v: usize,
        s: Option<usize>,
        own: bool,
        p: &mut Packet,
        ports: &[u16],
        undo: &mut Vec<Undo>,
        back: bool,
        fate: &mut Fate,
    ) -> Option<Place> {
        let returns_as = match undo.last() {
            Some(Undo::In(public)) => Some(*public),
            _ => None,
        };
        if back && returns_as.is_none() {
            fate.stop(true, line!());
            return None;
        }
        fate.stop(!self.igw[v], line!());
        if !public(p.to) {
            fate.stop(true, line!());
            return None;
        }
        let nat = s.is_none() || p.from == ip(NAT);
        fate.stop(self.public_access[v] == 2 || (self.public_access[v] == 1 && !nat), line!());
        if back {
            p.from = returns_as.unwrap();
            return Some(Place::Outside);
        }
        let from = p.from;
        let public_from = if !own {
            None
        } else if s.is_none() {
            Some(ip(REGIONAL))
        } else if from == ip(NAT) {
            self.nat_public.then(|| ip(NAT_PUBLIC))
        } else if from.is_ipv6() {
            Some(from)
        } else {
            self.eni_of(v, from).and_then(|e| self.enis[e].public)
        };
        let Some(public_from) = public_from else {
            fate.stop(true, line!());
            return None;
        };
        undo.push(Undo::Out(s.map_or(Place::RegionalNat, |s| Place::Subnet(s, false)), from));
        p.from = public_from;
        p.sender = None;
        self.outside(p, ports, undo, fate)
    }

    /// A packet in the internet: to an interface of these VPCs, or away.
    fn outside(&self, p: &mut Packet, ports: &[u16], undo: &mut Vec<Undo>, fate: &mut Fate) -> Option<Place> {
        let Some(e) = self.enis.iter().position(|e| e.public == Some(p.to) || e.v6 == p.to) else {
            return Some(Place::Outside);
        };
        let eni = &self.enis[e];
        if !self.igw[eni.subnet / 2] || !public(p.from) {
            fate.stop(true, line!());
            return None;
        }
        fate.stop(self.public_access[eni.subnet / 2] != 0, line!());
        undo.push(Undo::In(p.to));
        p.sender = None;
        if p.to.is_ipv4() {
            p.to = eni.v4;
        }
        fate.stop(
            !ports.iter().all(|port| self.acl(eni.subnet, false, p.from, &Packet { port: *port, ..*p })),
            line!(),
        );
        Some(Place::Subnet(eni.subnet, false))
    }

    /// The whole exchange, packet by packet.
    #[allow(clippy::too_many_arguments)]
    fn verdict(
        &self,
        from: Option<usize>,
        source: IpAddr,
        to: IpAddr,
        protocol: i64,
        port: u16,
        clients: (u16, u16),
        fate: &mut Fate,
    ) -> Disposition {
        let icmp = if protocol == 58 { 128 } else { 8 };
        let mut p = Packet { from: source, to, protocol, port, icmp, sender: from };
        let mut undo = Vec::new();
        let end = match from {
            Some(e) => {
                let v = self.enis[e].subnet / 2;
                if source == to {
                    return Disposition::Reachable;
                }
                let s = self.enis[e].subnet;
                let theirs = if self.in_vpc(v, to) {
                    self.eni_of(v, to)
                } else if self.lookup(s, to).is_some_and(|r| r.to == To::Pcx && self.same_region) {
                    self.eni_of(1 - v, to)
                } else {
                    None
                };
                fate.stop(!self.groups(e, true, to, theirs, &p), line!());
                self.leg(Place::Subnet(s, false), &mut p, &[port], &mut undo, false, fate)
            }
            None => self.outside(&mut p, &[port], &mut undo, fate),
        };
        if let Some(end) = end {
            if let Place::Subnet(s, _) = end {
                if p.to == ip(NAT) {
                    fate.stop(true, line!());
                    return Disposition::Blocked;
                }
                let Some(e) = self.eni_of(s / 2, p.to) else { panic!("nobody has {}", p.to) };
                fate.stop(!self.groups(e, false, p.from, p.sender, &p), line!());
            }
            self.back(end, p, undo, clients, from, fate);
        }
        match (fate.blocked, fate.unknown) {
            (true, _) => Disposition::Blocked,
            (_, true) => Disposition::Unknown,
            _ => Disposition::Reachable,
        }
    }

    /// The ports worth trying between two: where entries begin and end.
    fn tries(&self, from: u16, to: u16) -> Vec<u16> {
        let edges = self
            .acls
            .iter()
            .flatten()
            .flat_map(|e| [e.ports.0, e.ports.0.wrapping_sub(1), e.ports.1, e.ports.1.wrapping_add(1)]);
        let mut ports: Vec<u16> = edges.chain([from, to]).filter(|p| (from..=to).contains(p)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn back(
        &self,
        end: Place,
        p: Packet,
        mut undo: Vec<Undo>,
        clients: (u16, u16),
        from: Option<usize>,
        fate: &mut Fate,
    ) {
        let icmp = match (p.protocol, p.icmp) {
            (1, _) => 0,
            (58, _) => 129,
            _ => p.icmp,
        };
        let mut b = Packet { from: p.to, to: p.from, icmp, sender: None, ..p };
        let ports = |undo: &[Undo]| {
            if undo.iter().any(|u| matches!(u, Undo::Nat(..))) {
                self.tries(1024, 65535)
            } else {
                self.tries(clients.0, clients.1)
            }
        };
        // The host answers, not the gateway that brought the packet.
        let mut at = if let Place::Subnet(s, _) = end { Place::Subnet(s, false) } else { end };
        let mut home = false;
        while let Some(last) = undo.last().copied() {
            let tries = ports(&undo);
            match last {
                Undo::In(_) => match self.leg(at, &mut b, &tries, &mut undo, true, fate) {
                    Some(Place::Outside) => at = Place::Outside,
                    Some(_) => return fate.stop(true, line!()),
                    None => return,
                },
                Undo::Out(place, private) => {
                    b.to = private;
                    if let Place::Subnet(s, _) = place {
                        fate.stop(
                            !tries.iter().all(|port| self.acl(s, false, b.from, &Packet { port: *port, ..b })),
                            line!(),
                        );
                    }
                    (at, home) = (place, true);
                }
                Undo::Nat(place, client, asked) => {
                    if !home {
                        match self.leg(at, &mut b, &tries, &mut undo, true, fate) {
                            Some(Place::Subnet(s, _)) if Place::Subnet(s, false) == place => {}
                            Some(_) => return fate.stop(true, line!()),
                            None => return,
                        }
                    }
                    (b.to, b.from, at, home) = (client, asked, place, false);
                }
            }
            undo.pop();
        }
        let Some(e) = from else { return };
        if home {
            return;
        }
        match self.leg(at, &mut b, &self.tries(clients.0, clients.1), &mut undo, true, fate) {
            Some(Place::Subnet(s, _)) if s / 2 == self.enis[e].subnet / 2 => {}
            Some(_) => fate.stop(true, line!()),
            None => {}
        }
    }
}

fn public(a: IpAddr) -> bool {
    match a {
        IpAddr::V4(a) => !a.is_private(),
        IpAddr::V6(_) => true,
    }
}

fn check(seed: u64, flows: usize, seen: &mut [usize; 3]) {
    let mut rng = Rng(seed | 1);
    (0..8).for_each(|_| {
        rng.next();
    });
    let w = world(&mut rng);
    let snapshot = Snapshot::from_documents(documents(&w, &mut rng));
    let shuffled = Snapshot::from_documents(documents(&w, &mut rng));
    let (network, other) = (Network::new(&snapshot), Network::new(&shuffled));
    let mut all = Vec::new();
    for _ in 0..flows {
        let from = if rng.chance(88) { Some(rng.below(w.enis.len() as u64) as usize) } else { None };
        let v6 = rng.chance(30);
        let near = rng.below(w.enis.len() as u64) as usize;
        let to = match rng.below(10) {
            0..=5 => {
                if v6 {
                    w.enis[near].v6
                } else {
                    w.enis[near].v4
                }
            }
            6 => w.enis[near].public.unwrap_or(w.enis[near].v4),
            7 if !v6 && rng.chance(30) => ip(NAT),
            _ => {
                if v6 {
                    ip("2001:4860::8888")
                } else {
                    rng.one(&[ip("8.8.8.8"), ip("52.216.1.1")])
                }
            }
        };
        if from.is_none() && (!public(to) || !w.enis.iter().any(|e| e.public == Some(to) || e.v6 == to)) {
            continue;
        }
        let v6 = to.is_ipv6();
        let source = from.map_or(if v6 { ip("2001:4860::1") } else { ip("8.8.4.4") }, |e| {
            if v6 { w.enis[e].v6 } else { w.enis[e].v4 }
        });
        let protocol = rng.one(&[
            Protocol::Tcp,
            Protocol::Tcp,
            Protocol::Udp,
            if v6 { Protocol::Icmpv6 } else { Protocol::Icmp },
            Protocol::Number(47),
        ]);
        let number = match protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Icmp => 1,
            Protocol::Icmpv6 => 58,
            _ => 47,
        };
        let port = rng.one(&[443, 443, 53, 22]);
        let clients = rng.one(&[(32768, 60999), (1024, 65535), (40000, 40000)]);
        let flow = Flow {
            source: from.map_or(End::Address(source), |e| End::Interface {
                id: format!("eni-{e}").into(),
                address: Some(source),
            }),
            destination: End::Address(to),
            protocol,
            port: Some(port),
            icmp: None,
            client_ports: clients.0..=clients.1,
        };
        let mut fate = Fate::default();
        let expected = w.verdict(from, source, to, number, port, clients, &mut fate);
        let got = network.decide(&flow);
        seen[got as usize] += 1;
        assert_eq!(
            got,
            expected,
            "seed {seed}: {flow:?}\n{fate:?}\n{}",
            serde_json::to_string_pretty(&network.trace(&snapshot, &flow)).unwrap()
        );
        assert_eq!(other.decide(&flow), got, "seed {seed}: order of lists or files changed {flow:?}");
        if rng.chance(20) {
            assert_eq!(network.trace(&snapshot, &flow).disposition, got, "seed {seed}: {flow:?}");
        }
        if all.len() < 6 {
            all.push(flow);
        }
    }
    let table = eks_doctor::shape::ec2::NetworkInterface::table(&snapshot.tables);
    let rows: Vec<_> = table.iter().map(|e| e.row).collect();
    let matrix = network.reach_matrix(&rows, &all);
    for (s, eni) in table.iter().enumerate() {
        for (t, flow) in all.iter().enumerate() {
            let alone = network.decide(&Flow { source: End::interface(&eni.NetworkInterfaceId), ..flow.clone() });
            assert_eq!(matrix.get(s, t), Some(alone), "seed {seed}: {} {flow:?}", eni.NetworkInterfaceId);
        }
    }
}

#[test]
fn engine_and_plain_evaluator_agree() {
    let run = |_| {
        let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
        let seen = std::cell::RefCell::new([0usize; 3]);
        let checked = runner.run(&any::<u64>(), |seed| {
            check(seed, 70, &mut seen.borrow_mut());
            Ok(())
        });
        checked.unwrap();
        seen.into_inner()
    };
    let add = |a: [usize; 3], b: [usize; 3]| std::array::from_fn(|i| a[i] + b[i]);
    let seen = (0..4).into_par_iter().map(run).reduce(|| [0; 3], add);
    let flows: usize = seen.iter().sum();
    println!("{flows} flows: {} reachable, {} blocked, {} unknown", seen[0], seen[1], seen[2]);
    assert!(flows >= 100_000, "{flows} flows are too few");
    assert!(seen.iter().all(|n| n * 20 > flows), "the worlds are one-sided: {seen:?}");
}
