//! The objects of the picture and where they stand.

mod machines;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::Cluster;
use crate::diagnostic::Diagnostic;
use crate::network::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, RouteChoice, Target};
use crate::picture::{Addresses, Band, Id, Kind, Picture, State, Subnet, Zone};
use crate::shape::Str;
use crate::shape::ec2::{self, Tag, tag};
use crate::snapshot::Rec;

/// Subnets that are all shown, whether or not the cluster uses them.
const ALL_SUBNETS: usize = 12;
/// Subnets that are drawn at most.
const SUBNETS: usize = 60;
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

/// By number, not by letter.
fn cidr_key(cidr: &str) -> u32 {
    cidr.parse::<ipnet::Ipv4Net>().map_or(u32::MAX, |net| u32::from(net.network()))
}
