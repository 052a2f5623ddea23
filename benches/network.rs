//! 100,000 interfaces, 400 subnets, 1,000 groups with 20,000 rules, 10 targets: the decisions, round trip.

#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use eks_doctor::network::{End, Flow, Network};
use eks_doctor::shape::Row;
use eks_doctor::snapshot::{Snapshot, TableId};

fn main() {
    let before = resident();
    let (snapshot, network, _, _) = world();
    let json: usize = snapshot.documents.iter().map(|d| d.text.len()).sum();
    println!("JSON {} MB; snapshot and network {} MB", json >> 20, (resident() - before) >> 20);
    let _ = network;
    divan::main();
}

/// Bytes in memory, 0 where the system does not say.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|p| p.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn world() -> &'static (Snapshot, Network, Vec<Row>, Vec<Flow>) {
    static WORLD: OnceLock<(Snapshot, Network, Vec<Row>, Vec<Flow>)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = move |n: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) % n
        };
        let subnet_net = |s: u64| format!("10.{}.{}.0", s / 64, s % 64 * 4);
        let mut files = Vec::new();
        let list = |key: &str, rows: Vec<String>| format!("{{\"{key}\":[{}]}}", rows.join(",\n"));
        files.push(("vpcs.json", list("Vpcs", vec![r#"{"VpcId":"vpc-0","CidrBlock":"10.0.0.0/8"}"#.to_owned()])));
        files.push((
            "subnets.json",
            list("Subnets", (0..400).map(|s| format!(r#"{{"SubnetId":"subnet-{s:017x}","VpcId":"vpc-0","CidrBlock":"{}/22","AvailabilityZoneId":"use1-az{}","AvailableIpAddressCount":700,"State":"available","MapPublicIpOnLaunch":false}}"#, subnet_net(s), s % 3)).collect()),
        ));
        files.push((
            "route-tables.json",
            list("RouteTables", (0..40).map(|t| format!(r#"{{"RouteTableId":"rtb-{t}","VpcId":"vpc-0","Associations":[{}],"Routes":[{{"DestinationCidrBlock":"10.0.0.0/8","GatewayId":"local","Origin":"CreateRouteTable","State":"active"}},{{"DestinationCidrBlock":"0.0.0.0/0","{}","Origin":"CreateRoute","State":"active"}}]}}"#,
                (0..400).filter(|s| s % 40 == t).map(|s| format!(r#"{{"SubnetId":"subnet-{s:017x}"}}"#)).collect::<Vec<_>>().join(","),
                if t == 0 { r#"GatewayId":"igw-0"# } else { r#"NatGatewayId":"nat-0"# })).collect()),
        ));
        files.push((
            "acls.json",
            list("NetworkAcls", (0..40).map(|a| {
                let entries: Vec<String> = (0..11).flat_map(|i| [false, true].map(|egress| (i, egress))).map(|(i, egress)| {
                    let (net, action) = match i {
                        10 => ("0.0.0.0/0".to_owned(), "allow"),
                        _ => (format!("{}/{}", subnet_net(random(400)), 22 + random(4)), if random(40) == 0 { "deny" } else { "allow" }),
                    };
                    format!(r#"{{"RuleNumber":{},"Egress":{egress},"RuleAction":"{action}","Protocol":"{}","CidrBlock":"{net}"}}"#, 100 + i * 10, if i == 10 { -1 } else { 6 })
                }).collect();
                format!(r#"{{"NetworkAclId":"acl-{a}","VpcId":"vpc-0","IsDefault":{},"Associations":[{}],"Entries":[{}]}}"#, a == 0,
                    (0..400).filter(|s| s % 40 == a).map(|s| format!(r#"{{"SubnetId":"subnet-{s:017x}"}}"#)).collect::<Vec<_>>().join(","), entries.join(","))
            }).collect()),
        ));
        files.push((
            "groups.json",
            list("SecurityGroups", (0..1000).map(|g| {
                let rules: Vec<String> = (0..19).map(|_| {
                    let ports = [443, 80, 53, 10250, 8080][random(5) as usize];
                    let peer = if random(3) == 0 {
                        format!(r#""UserIdGroupPairs":[{{"GroupId":"sg-{:017x}"}}]"#, random(1000))
                    } else {
                        format!(r#""IpRanges":[{{"CidrIp":"{}/{}"}}]"#, subnet_net(random(400)), 18 + random(12))
                    };
                    format!(r#"{{"IpProtocol":"tcp","FromPort":{ports},"ToPort":{ports},{peer}}}"#)
                }).collect();
                format!(r#"{{"GroupId":"sg-{g:017x}","VpcId":"vpc-0","IpPermissions":[{}],"IpPermissionsEgress":[{{"IpProtocol":"-1","IpRanges":[{{"CidrIp":"0.0.0.0/0"}}]}}]}}"#, rules.join(","))
            }).collect()),
        ));
        let sets: Vec<Vec<u64>> = (0..1500).map(|_| (0..=random(3)).map(|_| random(1000)).collect()).collect();
        files.push((
            "interfaces.json",
            list("NetworkInterfaces", (0..100_000_u64).map(|e| {
                let (s, host) = (e % 400, e / 400 + 10);
                let address = format!("10.{}.{}.{}", s / 64, s % 64 * 4 + host / 256, host % 256);
                let groups: Vec<String> = sets[random(1500) as usize].iter().map(|g| format!(r#"{{"GroupId":"sg-{g:017x}","GroupName":"group-{g}"}}"#)).collect();
                format!(r#"{{"Attachment":{{"AttachTime":"2026-01-02T03:04:05+00:00","AttachmentId":"eni-attach-{e:017x}","DeleteOnTermination":true,"DeviceIndex":0,"NetworkCardIndex":0,"InstanceId":"i-{e:017x}","InstanceOwnerId":"111122223333","Status":"attached"}},"AvailabilityZone":"us-east-1a","Description":"aws-K8S-i-{e:017x}","Groups":[{}],"InterfaceType":"interface","Ipv6Addresses":[],"MacAddress":"0e:00:00:00:00:00","NetworkInterfaceId":"eni-{e:017x}","OwnerId":"111122223333","PrivateDnsName":"ip-{}.ec2.internal","PrivateIpAddress":"{address}","PrivateIpAddresses":[{{"Primary":true,"PrivateDnsName":"ip-{}.ec2.internal","PrivateIpAddress":"{address}"}}],"RequesterManaged":false,"SourceDestCheck":true,"Status":"in-use","SubnetId":"subnet-{s:017x}","TagSet":[{{"Key":"cluster.k8s.amazonaws.com/name","Value":"prod"}}],"VpcId":"vpc-0"}}"#,
                    groups.join(","), address.replace('.', "-"), address.replace('.', "-"))
            }).collect()),
        ));
        files.push(("igw.json", list("InternetGateways", vec![r#"{"InternetGatewayId":"igw-0","Attachments":[{"VpcId":"vpc-0","State":"available"}]}"#.to_owned()])));
        files.push(("nat.json", list("NatGateways", vec![format!(r#"{{"NatGatewayId":"nat-0","VpcId":"vpc-0","SubnetId":"subnet-{:017x}","State":"available","ConnectivityType":"public","NatGatewayAddresses":[{{"PrivateIp":"10.0.3.200","PublicIp":"3.0.0.1"}}]}}"#, 0)])));
        let snapshot = Snapshot::from_documents(files.into_iter().map(|(n, t)| (n.to_owned(), t)).collect());
        assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
        let network = Network::new(&snapshot);
        let rows = (0..100_000).map(|index| Row { table: TableId::NetworkInterfaces, index }).collect();
        let mut flows: Vec<Flow> = (0..9_u64)
            .map(|t| Flow::tcp(End::Internet, End::interface(&format!("eni-{:017x}", t * 11_111)), [443, 443, 53, 10250][t as usize % 4]))
            .collect();
        flows.push(Flow::tcp(End::Internet, End::Internet, 443));
        (snapshot, network, rows, flows)
    })
}

#[divan::bench]
fn decide_a_million(bencher: divan::Bencher) {
    let (_, network, rows, flows) = world();
    bencher.bench(|| network.reach_matrix(rows, flows));
}

#[divan::bench]
fn decide_one(bencher: divan::Bencher) {
    let (_, network, _, flows) = world();
    let flow = Flow { source: End::interface("eni-00000000000000123"), ..flows[3].clone() };
    bencher.bench(|| network.decide(divan::black_box(&flow)));
}

#[divan::bench(sample_count = 3)]
fn build(bencher: divan::Bencher) {
    let (snapshot, ..) = world();
    bencher.bench(|| Network::new(snapshot));
}
