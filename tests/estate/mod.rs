//! Makes estates: whole, consistent snapshots of a made-up cluster that works. No clock, no chance.
//!
//! Every address is allocated in its subnet, every id resolves, and the free addresses of a subnet are what is left.
#![allow(dead_code)]

mod aws;
mod iam;
mod k8s;

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};

/// Which kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Public and private subnets, NAT gateway, addresses one by one.
    Default,
    /// No way to the internet: VPC endpoints, private API endpoint.
    Private,
    /// Pods in 100.64.0.0/16, one ENIConfig for each zone.
    CustomNetworking,
    /// Prefix delegation: pods take addresses from /28 prefixes.
    Prefix,
    /// Like [`Mode::Default`] with a Fargate profile and one pod on it.
    Fargate,
    /// Karpenter, which runs on the node group, launches two of three nodes.
    Karpenter,
    /// Pods have IPv6 addresses; subnets are dual-stack, private ones leave by an egress-only internet gateway.
    Ipv6,
    /// EKS Auto Mode: no node group, no daemon set, no CoreDNS and no controller that can be seen.
    Auto,
    /// Security groups for pods: a trunk on every node, and a branch interface for each pod of one application.
    PodGroups,
}

impl Mode {
    pub const ALL: [(&'static str, Mode); 9] = [
        ("default", Mode::Default),
        ("private", Mode::Private),
        ("custom-networking", Mode::CustomNetworking),
        ("prefix", Mode::Prefix),
        ("fargate", Mode::Fargate),
        ("karpenter", Mode::Karpenter),
        ("ipv6", Mode::Ipv6),
        ("auto-mode", Mode::Auto),
        ("pod-groups", Mode::PodGroups),
    ];
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Options {
    pub name: String,
    pub region: String,
    pub account: String,
    pub mode: Mode,
    pub nodes: usize,
    /// Pods of the made-up applications on each node; the system's come on top.
    pub pods_per_node: usize,
    /// One line for each file instead of 4 spaces of indentation.
    pub compact: bool,
    /// The one thing that is broken, if any: an ACL entry drops DNS between subnets.
    pub acl_drops_dns: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "shop".to_owned(),
            region: "us-west-2".to_owned(),
            account: "111122223333".to_owned(),
            mode: Mode::Default,
            nodes: 3,
            pods_per_node: 3,
            compact: false,
            acl_drops_dns: false,
        }
    }
}

/// The body of one file.
pub enum Body<'a> {
    Whole(Value),
    /// `{"<key>": [...]}`, made while it is written.
    List(&'static str, Box<dyn Iterator<Item = Value> + 'a>),
    /// A Kubernetes list, made while it is written.
    Items(Box<dyn Iterator<Item = Value> + 'a>),
}

struct Stream<'a>(RefCell<Box<dyn Iterator<Item = Value> + 'a>>);
impl serde::Serialize for Stream<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&mut *self.0.borrow_mut())
    }
}

impl Body<'_> {
    fn write(self, compact: bool, mut out: impl Write) -> io::Result<()> {
        if compact {
            self.serialize(&mut serde_json::Serializer::new(&mut out))?;
        } else {
            let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            self.serialize(&mut serde_json::Serializer::with_formatter(&mut out, style))?;
        }
        out.write_all(b"\n")
    }
    fn serialize<S: Serializer>(self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::Whole(value) => serde::Serialize::serialize(&value, serializer),
            Body::List(key, items) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(key, &Stream(RefCell::new(items)))?;
                map.end()
            }
            Body::Items(items) => {
                let mut map = serializer.serialize_map(Some(4))?;
                map.serialize_entry("apiVersion", "v1")?;
                map.serialize_entry("items", &Stream(RefCell::new(items)))?;
                map.serialize_entry("kind", "List")?;
                map.serialize_entry("metadata", &json!({"resourceVersion": ""}))?;
                map.end()
            }
        }
    }
}

/// A subnet and what of it is taken.
#[derive(Debug)]
struct Subnet {
    id: String,
    name: String,
    zone: usize,
    base: u32,
    bits: u8,
    role: Role,
    /// The route table.
    table: usize,
    next: u32,
    next_prefix: u32,
    used: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Public,
    Private,
    Pods,
}

impl Subnet {
    fn cidr(&self) -> String {
        format!("{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
    fn take(&mut self) -> u32 {
        self.next += 1;
        self.used += 1;
        assert!(self.next < 1 << (31 - self.bits), "{} is full", self.name);
        self.base + self.next - 1
    }
    /// A /28 of the upper half.
    fn take_prefix(&mut self) -> u32 {
        let at = self.base + (1 << (31 - self.bits)) + self.next_prefix * 16;
        self.next_prefix += 1;
        self.used += 16;
        assert!(at + 16 < self.base + (1 << (32 - self.bits)), "{} has no prefix left", self.name);
        at
    }
    fn free(&self) -> u32 {
        (1u32 << (32 - self.bits)) - 5 - self.used
    }
}

/// An interface of a node.
#[derive(Debug)]
struct Eni {
    id: String,
    subnet: usize,
    /// The first is the primary one.
    addresses: Vec<u32>,
    prefixes: Vec<u32>,
    device: usize,
    /// What it is to EC2: `interface`, or `trunk`, to which the branch interfaces of pods belong.
    kind: &'static str,
}

/// The interface of one pod with security groups of its own.
#[derive(Debug)]
struct Branch {
    id: String,
    subnet: usize,
    address: u32,
    /// The pod's slot on the node.
    slot: usize,
    vlan: usize,
}

#[derive(Debug)]
struct Node {
    instance: String,
    zone: usize,
    enis: Vec<Eni>,
    /// System pods that take an address here.
    system: Vec<(System, usize)>,
    branches: Vec<Branch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    CoreDns,
    Controller,
    Karpenter,
}

/// An interface that AWS manages.
#[derive(Debug)]
struct Managed {
    id: String,
    subnet: usize,
    address: u32,
    description: String,
    kind: &'static str,
    requester: String,
    owner: &'static str,
    groups: Vec<&'static str>,
    public: Option<u32>,
}

/// An instance type: name, interfaces, addresses of each, processors, MiB.
type Machine = (&'static str, usize, usize, u32, u32);
const MACHINES: [Machine; 3] =
    [("m5.large", 3, 10, 2, 8192), ("m5.xlarge", 4, 15, 4, 16384), ("m5.4xlarge", 8, 30, 16, 65536)];
/// The branch interfaces of each (amazon-vpc-resource-controller-k8s `pkg/aws/vpc/limits.go`).
const BRANCHES: [usize; 3] = [9, 18, 54];

/// The interface endpoints of a cluster without internet.
const ENDPOINTS: [&str; 8] = ["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "sts"];

/// The kind of [`Managed`] that a Fargate pod has.
const FARGATE: &str = "fargate";

/// A made-up cluster with all that is around it.
pub struct Estate {
    pub options: Options,
    machine: Machine,
    subnets: Vec<Subnet>,
    nodes: Vec<Node>,
    managed: Vec<Managed>,
    vpc_cidrs: Vec<(u32, u8)>,
}

impl Estate {
    pub fn new(options: Options) -> Estate {
        assert!(options.nodes > 0, "a cluster needs a node");
        let custom = options.mode == Mode::CustomNetworking;
        let prefix = matches!(options.mode, Mode::Prefix | Mode::Ipv6 | Mode::Auto);
        let trunks = options.mode == Mode::PodGroups;
        let machine = *MACHINES
            .iter()
            .find(|m| {
                let enis = m.1 - usize::from(custom) - usize::from(trunks);
                // Three system pods may come on top, and two more are on the host's network.
                prefix || options.pods_per_node + 3 <= enis * (m.2 - 1)
            })
            .unwrap_or(&MACHINES[2]);
        let mut estate = Estate {
            options,
            machine,
            subnets: Vec::new(),
            nodes: Vec::new(),
            managed: Vec::new(),
            vpc_cidrs: vec![(10 << 24, 16)],
        };
        estate.lay_subnets();
        estate.launch_nodes();
        estate.add_managed();
        estate
    }

    fn private(&self) -> bool {
        self.options.mode == Mode::Private
    }
    fn custom(&self) -> bool {
        self.options.mode == Mode::CustomNetworking
    }
    fn prefix(&self) -> bool {
        matches!(self.options.mode, Mode::Prefix | Mode::Auto)
    }
    fn v6(&self) -> bool {
        self.options.mode == Mode::Ipv6
    }
    fn auto(&self) -> bool {
        self.options.mode == Mode::Auto
    }
    /// Whether Karpenter launched the node.
    fn karpenter(&self, node: usize) -> bool {
        self.options.mode == Mode::Karpenter && !node.is_multiple_of(3)
    }
    /// The nodes of the node group.
    fn grouped(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(n, _)| !self.karpenter(*n) && !self.auto())
    }
    /// The security group of the nodes.
    fn node_group(&self) -> &'static str {
        if self.auto() { "cluster" } else { "node" }
    }
    /// The role of a node.
    fn node_role(&self, node: usize) -> String {
        match (self.auto(), self.karpenter(node)) {
            (true, _) => format!("{}-auto-node", self.options.name),
            (_, true) => format!("KarpenterNodeRole-{}", self.options.name),
            _ => format!("{}-node", self.options.name),
        }
    }
    /// The instance profile of a node.
    fn node_profile(&self, node: usize) -> String {
        let name = &self.options.name;
        match (self.auto(), self.karpenter(node)) {
            (true, _) => format!("eks-{}-{name}-{}", self.options.region, self.number("auto profile", 12)),
            (_, true) => format!("{name}_{}", self.number("karpenter profile", 19)),
            _ => format!("eks-{}", self.nodegroup_uuid()),
        }
    }
    /// The IPv6 range of a subnet, a /64 of the VPC's /56.
    fn net6(&self, subnet: usize) -> u128 {
        (0x2600_1f14_0abc_1200 + subnet as u128) << 64
    }
    /// The IPv6 address that goes with an IPv4 one.
    fn address6(&self, subnet: usize, address: u32) -> String {
        Ipv6Addr::from(self.net6(subnet) + u128::from(address)).to_string()
    }
    /// The /80 of pods on an interface.
    fn prefix6(&self, eni: &Eni) -> u128 {
        self.net6(eni.subnet) + (u128::from(eni.addresses[0] & 0xffff) << 48)
    }
    /// The address of a node as Kubernetes shows it.
    fn node_ip(&self, node: usize) -> String {
        let primary = &self.nodes[node].enis[0];
        if self.v6() { self.address6(primary.subnet, primary.addresses[0]) } else { ip(primary.addresses[0]) }
    }
    /// The address of the pod in a slot of a node.
    fn pod_ip(&self, node: usize, slot: usize) -> String {
        if self.v6() {
            return Ipv6Addr::from(self.prefix6(&self.nodes[node].enis[0]) + slot as u128 + 1).to_string();
        }
        ip(self.pod_address(node, slot))
    }
    fn fargate(&self) -> bool {
        self.options.mode == Mode::Fargate
    }
    /// The address of the Fargate pod, if there is one.
    fn fargate_address(&self) -> Option<u32> {
        self.managed.iter().find(|m| m.kind == FARGATE).map(|m| m.address)
    }
    fn pod_groups(&self) -> bool {
        self.options.mode == Mode::PodGroups
    }
    /// How many branch interfaces a node can have.
    fn branches(&self) -> usize {
        MACHINES.iter().position(|m| m.0 == self.machine.0).map_or(0, |i| BRANCHES[i])
    }
    /// Whether the pods of an application have security groups of their own.
    fn has_groups(&self, app: usize) -> bool {
        self.pod_groups() && app == 1
    }

    /// Hexadecimal digits that belong to `of`.
    fn hex(&self, of: &str, digits: usize) -> String {
        let mut text = String::new();
        let mut round = 0u64;
        while text.len() < digits {
            // FNV-1a, finished as splitmix64 is.
            let mut hash = 0xcbf2_9ce4_8422_2325 ^ round;
            for part in [self.options.name.as_str(), "\0", of] {
                for byte in part.bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
            hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            text.push_str(&format!("{:016x}", hash ^ (hash >> 31)));
            round += 1;
        }
        text.truncate(digits);
        text
    }
    /// An id of EC2: `subnet-0...`.
    fn id(&self, kind: &str, of: &str) -> String {
        format!("{kind}-0{}", self.hex(&format!("{kind} {of}"), 16))
    }
    fn uuid(&self, of: &str) -> String {
        let h = self.hex(&format!("uuid {of}"), 32);
        format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..])
    }
    fn zone(&self, zone: usize) -> String {
        format!("{}{}", self.options.region, ["a", "b", "c"][zone])
    }
    fn zone_id(&self, zone: usize) -> String {
        // usw2-az1, as AWS abbreviates Regions.
        let mut parts = self.options.region.split('-');
        let land = parts.next().unwrap_or("us");
        let side: String = match parts.next().unwrap_or("west") {
            "central" => "c".to_owned(),
            "northeast" => "ne".to_owned(),
            "northwest" => "nw".to_owned(),
            "southeast" => "se".to_owned(),
            "southwest" => "sw".to_owned(),
            other => other.chars().take(1).collect(),
        };
        format!("{land}{side}{}-az{}", parts.next().unwrap_or("1"), zone + 1)
    }
    fn vpc(&self) -> String {
        self.id("vpc", "main")
    }
    fn group(&self, of: &str) -> String {
        self.id("sg", of)
    }
    fn group_name(&self, of: &str) -> String {
        let name = &self.options.name;
        match of {
            "default" => "default".to_owned(),
            "cluster" => format!("eks-cluster-sg-{name}-{}", self.number("cluster sg", 9)),
            "node" => format!("{name}-node"),
            "alb" => self.alb_name(),
            "nlb" => self.nlb_name(),
            "backend" => format!("k8s-traffic-{name}-{}", self.hex("backend", 10)),
            other => format!("{name}-{other}"),
        }
    }
    fn number(&self, of: &str, digits: usize) -> String {
        self.hex(of, digits).bytes().map(|b| char::from(b'1' + (b % 9))).collect()
    }
    fn alb_name(&self) -> String {
        format!("k8s-web-web-{}", self.hex("alb", 10))
    }
    fn nlb_name(&self) -> String {
        format!("k8s-web-api-{}", self.hex("nlb", 10))
    }
    fn oidc(&self) -> String {
        self.hex("oidc", 32).to_uppercase()
    }
    fn issuer(&self) -> String {
        format!("oidc.eks.{}.amazonaws.com/id/{}", self.options.region, self.oidc())
    }
    fn endpoint(&self) -> String {
        format!("https://{}.gr7.{}.eks.amazonaws.com", self.oidc(), self.options.region)
    }
    fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{rest}", self.options.region, self.options.account)
    }
    fn iam(&self, rest: &str) -> String {
        format!("arn:aws:iam::{}:{rest}", self.options.account)
    }
    fn nodegroup_uuid(&self) -> String {
        self.uuid("nodegroup")
    }
    fn asg(&self) -> String {
        format!("eks-workers-{}", self.nodegroup_uuid())
    }
    fn host(&self, address: u32) -> String {
        let domain = if self.options.region == "us-east-1" {
            "ec2.internal".to_owned()
        } else {
            format!("{}.compute.internal", self.options.region)
        };
        format!("ip-{}.{domain}", ip(address).replace('.', "-"))
    }
    fn node_name(&self, node: usize) -> String {
        if self.auto() {
            return self.nodes[node].instance.clone();
        }
        self.host(self.nodes[node].enis[0].addresses[0])
    }

    /// What `eni-max-pods` says for the machine and the CNI's mode.
    fn max_pods(&self) -> usize {
        let (_, enis, each, processors, _) = self.machine;
        let enis = enis - usize::from(self.custom());
        if self.prefix() || self.v6() {
            let most = enis * (each - 1) * 16 + 2;
            most.min(if processors > 30 { 250 } else { 110 })
        } else {
            enis * (each - 1) + 2
        }
    }

    fn add_subnet(&mut self, name: String, zone: usize, base: u32, bits: u8, role: Role, table: usize) {
        let id = self.id("subnet", &name);
        self.subnets.push(Subnet { id, name, zone, base, bits, role, table, next: 10, next_prefix: 0, used: 0 });
    }

    fn lay_subnets(&mut self) {
        if !self.private() {
            for zone in 0..3 {
                let name = format!("public-{}", ["a", "b", "c"][zone]);
                self.add_subnet(name, zone, (10 << 24) + ((zone as u32 * 16) << 8), 20, Role::Public, 1);
            }
        }
        // As many /18 in each zone as the nodes need; they halve it between addresses and prefixes.
        let (_, enis, each, _, _) = self.machine;
        let a_node = if self.prefix() { self.options.pods_per_node + 48 } else { enis * each };
        let in_zone = self.options.nodes.div_ceil(3);
        let rounds = if self.custom() { 1 } else { (in_zone * a_node).div_ceil(8000).max(1) };
        let mut place = 1u32;
        for round in 0..rounds {
            for zone in 0..3 {
                let name = match round {
                    0 => format!("private-{}", ["a", "b", "c"][zone]),
                    n => format!("private-{}-{}", ["a", "b", "c"][zone], n + 1),
                };
                let base = (10 << 24) + (place / 4 * 65536) + (place % 4 * 16384);
                if !self.vpc_cidrs.iter().any(|(b, _)| *b == base & 0xffff_0000) {
                    self.vpc_cidrs.push((base & 0xffff_0000, 16));
                }
                place += 1;
                let table = if self.private() { 1 } else { 2 + zone };
                self.add_subnet(name, zone, base, 18, Role::Private, table);
            }
        }
        if self.custom() {
            self.vpc_cidrs.push(((100 << 24) + (64 << 16), 16));
            for zone in 0..3 {
                let name = format!("pods-{}", ["a", "b", "c"][zone]);
                let base = (100 << 24) + (64 << 16) + zone as u32 * 16384;
                self.add_subnet(name, zone, base, 18, Role::Pods, 2 + zone);
            }
        }
    }

    /// The subnets of a role.
    fn of_role(&self, role: Role) -> impl Iterator<Item = (usize, &Subnet)> {
        self.subnets.iter().enumerate().filter(move |(_, s)| s.role == role)
    }
    /// The first private subnet of each zone, in which the cluster and the load balancers stand.
    fn cluster_subnets(&self) -> Vec<usize> {
        self.of_role(Role::Private).take(3).map(|(i, _)| i).collect()
    }
    fn subnet_in(&self, role: Role, zone: usize, round: usize) -> usize {
        let all: Vec<usize> = self.of_role(role).filter(|(_, s)| s.zone == zone).map(|(i, _)| i).collect();
        all[round % all.len()]
    }

    fn launch_nodes(&mut self) {
        let count = self.options.nodes;
        for index in 0..count {
            let mut system = Vec::new();
            for i in 0..if self.auto() { 0 } else { 2 } {
                if i % count == index {
                    system.push((System::CoreDns, i));
                }
                if (i + 1) % count == index {
                    system.push((System::Controller, i));
                }
            }
            if self.options.mode == Mode::Karpenter && index == 0 {
                system.push((System::Karpenter, 0));
            }
            let pods = self.options.pods_per_node + system.len();
            let zone = index % 3;
            let round = index / 3;
            let node_subnet = self.subnet_in(Role::Private, zone, round);
            let (_, max_enis, each, _, _) = self.machine;
            let mut enis = Vec::new();
            let make = |estate: &mut Estate, subnet: usize, device: usize, addresses: usize, prefixes: usize| Eni {
                id: estate.id("eni", &format!("node {index} {device}")),
                subnet,
                addresses: (0..addresses).map(|_| estate.subnets[subnet].take()).collect(),
                prefixes: (0..prefixes).map(|_| estate.subnets[subnet].take_prefix()).collect(),
                device,
                kind: "interface",
            };
            if self.v6() {
                // One /80 holds all pods of a node.
                enis.push(make(self, node_subnet, 0, 1, 0));
            } else if self.prefix() {
                // WARM_PREFIX_TARGET=1: one prefix more than the pods need.
                let mut left = pods.div_ceil(16) + 1;
                while left > 0 {
                    let here = left.min(each - 1);
                    enis.push(make(self, node_subnet, enis.len(), 1, here));
                    left -= here;
                }
            } else if self.custom() {
                let pod_subnet = self.subnet_in(Role::Pods, zone, 0);
                enis.push(make(self, node_subnet, 0, 1, 0));
                for device in 1..=(pods.div_ceil(each - 1) + 1).min(max_enis - 1) {
                    enis.push(make(self, pod_subnet, device, each, 0));
                }
            } else {
                // WARM_ENI_TARGET=1: one interface more than the pods need.
                let most = max_enis - usize::from(self.pod_groups());
                for device in 0..(pods.div_ceil(each - 1) + 1).min(most) {
                    enis.push(make(self, node_subnet, device, each, 0));
                }
            }
            let mut branches = Vec::new();
            if self.pod_groups() {
                enis.push(Eni { kind: "trunk", ..make(self, node_subnet, enis.len(), 1, 0) });
                for slot in (0..self.options.pods_per_node).filter(|slot| {
                    let pod = index * self.options.pods_per_node + slot;
                    self.has_groups(pod % self.apps())
                }) {
                    branches.push(Branch {
                        id: self.id("eni", &format!("branch {index} {slot}")),
                        subnet: node_subnet,
                        address: 0,
                        slot: system.len() + slot,
                        vlan: branches.len() + 1,
                    });
                }
                assert!(branches.len() <= self.branches(), "node {index} has not so many branch interfaces");
                for branch in &mut branches {
                    branch.address = self.subnets[node_subnet].take();
                }
            }
            let instance = self.id("i", &format!("node {index}"));
            self.nodes.push(Node { instance, zone, enis, system, branches });
        }
    }

    fn add_managed(&mut self) {
        let name = self.options.name.clone();
        let cluster = self.cluster_subnets();
        for (n, &subnet) in cluster.iter().take(2).enumerate() {
            self.manage(
                format!("control plane {n}"),
                subnet,
                format!("Amazon EKS {name}"),
                "interface",
                "AROAEKSCONTROLPLANE00:AmazonEKS",
                "558986240310",
                &["cluster"],
                false,
            );
        }
        if self.private() {
            for service in ENDPOINTS {
                for &subnet in &cluster {
                    let vpce = self.id("vpce", service);
                    self.manage(
                        format!("{service} {subnet}"),
                        subnet,
                        format!("VPC Endpoint Interface {vpce}"),
                        "vpc_endpoint",
                        "727180483921",
                        "amazon-aws",
                        &["endpoints"],
                        false,
                    );
                }
            }
        } else {
            let nat = self.id("nat", "a");
            let description = format!("Interface for NAT Gateway {nat}");
            self.manage(
                "nat".to_owned(),
                0,
                description,
                "nat_gateway",
                "AROANATGATEWAY0000000",
                "amazon-aws",
                &[],
                true,
            );
        }
        if self.fargate() {
            let account = "408951462234";
            self.manage("fargate pod".to_owned(), cluster[0], String::new(), FARGATE, "", account, &["cluster"], false);
        }
        let front: Vec<usize> =
            if self.private() { cluster.clone() } else { self.of_role(Role::Public).map(|(i, _)| i).collect() };
        let alb = format!("ELB app/{}/{}", self.alb_name(), self.hex("alb arn", 16));
        for subnet in front {
            let public = !self.private();
            self.manage(
                format!("alb {subnet}"),
                subnet,
                alb.clone(),
                "interface",
                "amazon-elb",
                "amazon-elb",
                &["alb", "backend"],
                public,
            );
        }
        let nlb = format!("ELB net/{}/{}", self.nlb_name(), self.hex("nlb arn", 16));
        for subnet in cluster {
            self.manage(
                format!("nlb {subnet}"),
                subnet,
                nlb.clone(),
                "network_load_balancer",
                "amazon-elb",
                "amazon-aws",
                &["nlb", "backend"],
                false,
            );
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn manage(
        &mut self,
        of: String,
        subnet: usize,
        description: String,
        kind: &'static str,
        requester: &str,
        owner: &'static str,
        groups: &[&'static str],
        public: bool,
    ) {
        let address = self.subnets[subnet].take();
        let public = public.then(|| (52 << 24) + (24 << 16) + (10 << 8) + 20 + self.managed.len() as u32);
        let id = self.id("eni", &of);
        let requester = requester.to_owned();
        self.managed.push(Managed {
            id,
            subnet,
            address,
            description,
            kind,
            requester,
            owner,
            groups: groups.to_vec(),
            public,
        });
    }

    /// The address of the pod in a slot of a node.
    fn pod_address(&self, node: usize, slot: usize) -> u32 {
        if let Some(branch) = self.branch(node, slot) {
            return branch.address;
        }
        let enis = &self.nodes[node].enis;
        if self.prefix() {
            let prefixes: Vec<u32> = enis.iter().flat_map(|e| e.prefixes.iter().copied()).collect();
            return prefixes[slot / 16] + (slot % 16) as u32;
        }
        let skip = usize::from(self.custom());
        let mut left = slot;
        for eni in &enis[skip..] {
            if left < eni.addresses.len() - 1 {
                return eni.addresses[1 + left];
            }
            left -= eni.addresses.len() - 1;
        }
        unreachable!("node {node} has no address for its pod {slot}")
    }

    /// The branch interface of the pod in a slot of a node.
    fn branch(&self, node: usize, slot: usize) -> Option<&Branch> {
        self.nodes[node].branches.iter().find(|b| b.slot == slot)
    }

    /// The numbers of nodes on which a system pod runs, with its slot.
    fn system_pods(&self, kind: System) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            for (slot, (k, i)) in node.system.iter().enumerate() {
                if *k == kind {
                    found.push((*i, n, slot));
                }
            }
        }
        found.sort();
        found
    }

    /// How many applications there are: about one for 60 pods.
    fn apps(&self) -> usize {
        self.pods().div_ceil(60).max(2)
    }
    fn app(&self, index: usize) -> String {
        match index {
            0 => "web".to_owned(),
            1 => "api".to_owned(),
            n => format!("worker-{n:04}"),
        }
    }
    fn app_port(index: usize) -> u32 {
        if index == 1 { 8443 } else { 8080 }
    }
    /// All pods of applications.
    fn pods(&self) -> usize {
        self.options.nodes * self.options.pods_per_node
    }
    /// The node and slot of the pod with this number.
    fn pod_spot(&self, pod: usize) -> (usize, usize) {
        let node = pod / self.options.pods_per_node;
        (node, self.nodes[node].system.len() + pod % self.options.pods_per_node)
    }
    fn pods_of_app(&self, app: usize) -> impl Iterator<Item = usize> + use<> {
        (app..self.pods()).step_by(self.apps())
    }

    /// Every file: path and body.
    pub fn files(&self) -> Vec<(String, Body<'_>)> {
        let mut files = vec![(
            "manifest.json".to_owned(),
            Body::Whole(json!({
                "format": 1, "cluster": self.options.name, "region": self.options.region, "account": self.options.account,
                "partition": "aws", "recordedAt": "2026-06-01T12:00:00Z", "tool": "eks-doctor 0.1.0", "failures": [],
            })),
        )];
        self.aws_files(&mut files);
        self.iam_files(&mut files);
        self.k8s_files(&mut files);
        files
    }

    /// One file in memory: path and text.
    pub fn documents_of(&self, path: &str) -> (String, String) {
        let (path, body) = self.files().into_iter().find(|(p, _)| p == path).expect("the estate has this file");
        let mut text = Vec::new();
        body.write(self.options.compact, &mut text).expect("memory takes everything");
        (path, String::from_utf8(text).expect("JSON is UTF-8"))
    }

    /// Every file in memory: path and text.
    pub fn documents(&self) -> Vec<(String, String)> {
        let compact = self.options.compact;
        self.files()
            .into_iter()
            .map(|(path, body)| {
                let mut text = Vec::new();
                body.write(compact, &mut text).expect("memory takes everything");
                (path, String::from_utf8(text).expect("JSON is UTF-8"))
            })
            .collect()
    }

    /// Writes the files below `folder`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for (path, body) in self.files() {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut out = io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
            body.write(self.options.compact, &mut out)?;
            out.flush()?;
        }
        Ok(())
    }
}

fn ip(address: u32) -> String {
    Ipv4Addr::from(address).to_string()
}
fn tags(pairs: &[(&str, &str)]) -> Value {
    Value::Array(pairs.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect())
}

/// The estates of `fixtures/`; those named `healthy` work.
pub fn fixtures() -> Vec<(&'static str, Options)> {
    let named = |name: &str, mode| Options { name: name.to_owned(), mode, ..Options::default() };
    vec![
        ("healthy", named("shop", Mode::Default)),
        ("healthy-private", named("vault", Mode::Private)),
        ("healthy-custom-networking", named("wide", Mode::CustomNetworking)),
        ("healthy-prefix", named("dense", Mode::Prefix)),
        ("healthy-fargate", named("quay", Mode::Fargate)),
        ("healthy-ipv6", named("six", Mode::Ipv6)),
        ("healthy-karpenter", named("grow", Mode::Karpenter)),
        ("healthy-auto-mode", Options { pods_per_node: 2, ..named("auto", Mode::Auto) }),
        ("healthy-pod-groups", named("guard", Mode::PodGroups)),
        ("nacl-drops-dns", Options { acl_drops_dns: true, ..named("shop", Mode::Default) }),
    ]
}
