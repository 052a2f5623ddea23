//! How nodes get at what they need to start: their subnets' ways out and the VPC's endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::policy::{Context, Sheet, decide};
use super::user_data::decode;
use super::worker::Placement;
use crate::network::{EgressKind, Family, Verdict};
use crate::shape::ec2::{
    Instance, InternetGateway, LaunchTemplateVersion, NatGateway, NetworkAcl, NetworkInterface, RouteTable, Subnet,
    Vpc, VpcEndpoint, tag,
};
use crate::shape::eks::Nodegroup;
use crate::shape::iam::PolicyDocument;
use crate::shape::k8s::{EC2NodeClass, Node};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Missing, Rec};

derived! {
    /// How nodes of a subnet get at AWS's services and the API server.
    NodeExit {
        subnet: Link<Subnet>,
        routeTable: Option<Link<RouteTable>>,
        /// Whether the subnet has it only as the VPC's main one.
        mainTable: bool,
        nat: Known<Option<Link<NatGateway>>>,
        /// What the blackhole of its default route led to.
        target: Str,
        /// The first of the route tables whose default route led to the same.
        firstTable: Option<Link<RouteTable>>,
        /// `internet`, `nat`, `nat-broken`, `none`, `blackhole`, `broken`, `public-access-blocked` (VPC Block Public
        /// Access), or `unverifiable`.
        kind: Known<Str>,
        /// What is wrong with it.
        why: Str,
        /// The same for IPv6: `internet`, `egress-only`, `none`, `blackhole`, `broken`, `unverifiable`.
        ipv6: Str,
        /// Whether nodes here have a public IPv4 address.
        public: bool,
        /// Whether a launch template or a node class says that they get none.
        forced: bool,
        template: Option<Link<LaunchTemplateVersion>>,
        nodegroup: Option<Link<Nodegroup>>,
        nodeClass: Option<Link<EC2NodeClass>>,
        instances: Vec<Link<Instance>>,
        nodes: Vec<Link<Node>>,
        /// How many interface endpoints of this VPC serve nodes.
        endpoints: i64,
        /// Services that nodes need and for which the VPC has no endpoint.
        missing: Vec<Str>,
        /// Whether the API server is reached only through its public address.
        apiOutside: bool,
        /// Whether nothing gets out.
        closed: bool,
        /// Whether nodes here need what they cannot reach.
        needs: bool,
        /// Whether nothing runs here and nothing is wanted here now.
        idle: bool,
        /// Whether the nodes' user data names a proxy.
        proxy: bool,
    }

    /// An endpoint that takes calls which nodes need.
    NodeEndpoint {
        endpoint: Link<VpcEndpoint>,
        /// `ec2`, `ecr.api`, `ecr.dkr`, `s3`, `sts`, `eks`.
        service: Str,
        /// `none`, `private-dns`, `state`, `routes`, or `policy`.
        fault: Str,
        /// More about it.
        found: Str,
        /// Node subnets without another way to the service.
        subnets: Vec<Link<Subnet>>,
        /// Route tables of those that lack the endpoint's route.
        tables: Vec<Link<RouteTable>>,
    }

    /// Nodes whose public addresses the public endpoint of the API server does not admit.
    PublicAccessGap {
        /// The addresses, in one text.
        addresses: Str,
        list: Vec<Str>,
        /// What is admitted.
        cidrs: Str,
        subnets: Vec<Link<Subnet>>,
    }
}

impl NodeExit {
    /// Whether it is known to be of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_ref().is_ok_and(|k| k == kind)
    }

    /// Its NAT gateway, when it is known.
    pub fn gateway(&self) -> Option<Link<NatGateway>> {
        self.nat.as_ref().ok().copied().flatten()
    }
}

/// Whether user data names a proxy by which the node's programs reach AWS.
fn names_proxy(user_data: &str) -> bool {
    let text = user_data.to_ascii_lowercase();
    ["http_proxy", "https_proxy", "https-proxy"].iter().any(|name| text.contains(name))
}

/// A subnet's way out: its kind, what is wrong with it, its NAT gateway, and what a blackhole led to.
struct Way {
    kind: &'static str,
    why: Str,
    nat: Option<Str>,
    target: Str,
    /// Whether its route names a NAT gateway.
    to_nat: bool,
    /// What was not read that tells which route it takes.
    unread: Option<Missing>,
}

impl Cluster {
    /// The services that nodes call to start, and what an endpoint's policy has to allow for it
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/private-clusters.html>).
    pub fn node_services(&self) -> Vec<(&'static str, &'static str)> {
        let mut needed = vec![
            ("ec2", "ec2:DescribeInstances"),
            ("ecr.api", "ecr:GetAuthorizationToken"),
            ("ecr.dkr", "ecr:BatchGetImage"),
            ("s3", "s3:GetObject"),
        ];
        // What the load balancer controller lacks is told by the rules about it.
        let irsa = self.snapshot.tables.service_accounts.iter().any(|a| {
            a.value.metadata.name != "aws-load-balancer-controller"
                && a.value
                    .metadata
                    .annotations
                    .get("eks.amazonaws.com/role-arn")
                    .is_some_and(|arn| !arn.trim().is_empty())
        });
        if irsa {
            needed.push(("sts", "sts:AssumeRoleWithWebIdentity"));
        }
        needed
    }

    /// The endpoints of the cluster's VPC for a service.
    pub fn endpoints_of(&self, service: &str) -> Known<Vec<Rec<'_, VpcEndpoint>>> {
        let vpc = self.vpc_id()?;
        let end = format!(".{service}");
        Ok(self
            .snapshot
            .whole::<VpcEndpoint>()?
            .iter()
            .filter(|e| e.VpcId == vpc && e.ServiceName.ends_with(&end) && e.ServiceName.contains(".amazonaws."))
            .filter(|e| !matches!(e.State.to_ascii_lowercase().as_str(), "deleted" | "deleting"))
            .collect())
    }

    /// Whether the endpoint's names lead nodes of the VPC to it.
    pub fn endpoint_captures(endpoint: &VpcEndpoint) -> bool {
        endpoint.VpcEndpointType.eq_ignore_ascii_case("Interface")
            && endpoint.PrivateDnsEnabled == Some(true)
            && (endpoint.State.is_empty() || endpoint.State.eq_ignore_ascii_case("available"))
    }

    /// Whether an endpoint serves nodes whose subnet has this route table.
    fn endpoint_serves(endpoint: &VpcEndpoint, table: Option<&RouteTable>) -> bool {
        if endpoint.VpcEndpointType.eq_ignore_ascii_case("Gateway") {
            return table.is_some_and(|t| {
                endpoint.RouteTableIds.contains(&t.RouteTableId)
                    || t.Routes.iter().any(|r| r.GatewayId == endpoint.VpcEndpointId && r.State != "blackhole")
            });
        }
        Self::endpoint_captures(endpoint)
    }

    /// The launch template that made nodes of a placement.
    fn template_of_placement(&self, placement: &Placement) -> Option<Rec<'_, LaunchTemplateVersion>> {
        let tables = &self.snapshot.tables;
        if let Some(group) = placement.nodegroup.map(|g| tables.nodegroups.at(g.row.index)) {
            let chosen = group.value.launchTemplate.as_ref()?;
            return self.launch_template(&chosen.id, &chosen.version);
        }
        let instance = tables.instances.at(placement.instances.first()?.row.index);
        let name = tag(&instance.value.Tags, "aws:autoscaling:groupName")?;
        let group = tables.auto_scaling_groups.iter().find(|g| g.AutoScalingGroupName == name)?;
        self.template_of_group(group)
    }

    /// The ways out of nodes, one for each placement.
    pub fn node_exits(&self) -> Known<Vec<Arc<NodeExit>>> {
        let tables = &self.snapshot.tables;
        let eks = self.eks()?;
        self.snapshot.table::<RouteTable>()?;
        let services = self.node_services();
        let mut found: Vec<(&'static str, Vec<Rec<'_, VpcEndpoint>>)> = Vec::new();
        for (service, _) in &services {
            found.push((service, self.endpoints_of(service)?));
        }
        let served = found.iter().flat_map(|f| &f.1).filter(|e| Self::endpoint_captures(e.value)).count() as i64;
        let private = eks.value.resourcesVpcConfig.endpointPrivateAccess == Some(true);
        let mut seen = BTreeSet::new();
        let mut exits: Vec<Arc<NodeExit>> = Vec::new();
        for placement in self.placements()? {
            let subnet = tables.subnets.at(placement.subnet.row.index);
            let template = self.template_of_placement(placement);
            let class = placement.nodeClass.map(|c| tables.ec2_node_classes.at(c.row.index));
            let interfaces =
                template.map(|t| t.value.LaunchTemplateData.NetworkInterfaces.as_slice()).unwrap_or_default();
            let forced = interfaces.iter().any(|n| n.AssociatePublicIpAddress == Some(false))
                || interfaces.len() > 1
                || class.is_some_and(|c| c.value.spec.associatePublicIPAddress == Some(false));
            let key = (
                subnet.row,
                placement.public,
                placement.nodegroup.map(|n| n.row),
                class.map(|c| c.row),
                template.map(|t| t.row),
            );
            if !seen.insert(key) {
                continue;
            }
            let table = self.network.route_table_of(&subnet.SubnetId).ok();
            let table = table.map(|row| tables.route_tables.at(row.index));
            let main = table.is_some_and(|t| !t.value.Associations.iter().any(|a| a.SubnetId == subnet.SubnetId));
            let Way { mut kind, why, nat, target, to_nat, unread } =
                self.exit_of(&subnet.SubnetId, table.map(|t| t.value));
            let user_data = template.and_then(|t| decode(&t.value.LaunchTemplateData.UserData));
            let proxy = user_data.is_some_and(|text| names_proxy(&text))
                || class.is_some_and(|c| names_proxy(&c.value.spec.userData));
            if kind == "none" && proxy {
                kind = "unverifiable";
            }
            let gateway = nat.as_ref().and_then(|id| tables.nat_gateways.get(id));
            let way = [Some(&subnet.SubnetId), gateway.map(|n| &n.value.SubnetId)];
            let stopped = way.into_iter().flatten().any(|id| self.network.blocks_public_access(id));
            if matches!(kind, "internet" | "nat" | "nat-broken" | "broken") && stopped {
                kind = "public-access-blocked";
            }
            let first = exits.iter().find(|x| !target.is_empty() && x.target == target).and_then(|x| x.firstTable);
            let ipv6 = match self.network.egress(&self.snapshot, &subnet.SubnetId, Family::V6).kind {
                EgressKind::Internet { .. } => "internet",
                EgressKind::EgressOnly { .. } => "egress-only",
                EgressKind::None => "none",
                EgressKind::Blackhole => "blackhole",
                EgressKind::Broken { .. } => "broken",
                _ => "unverifiable",
            };
            let missing: Vec<Str> = found.iter().filter(|f| f.1.is_empty()).map(|f| Str::new(f.0)).collect();
            let unserved =
                found.iter().any(|f| !f.1.iter().any(|e| Self::endpoint_serves(e.value, table.map(|t| t.value))));
            let closed = matches!(kind, "none" | "blackhole" | "broken" | "nat-broken" | "public-access-blocked")
                || (kind == "internet" && !placement.public);
            exits.push(Arc::new(NodeExit {
                subnet: placement.subnet,
                routeTable: table.map(|t| Link::new(t.row)),
                mainTable: main,
                nat: match nat.and_then(|id| tables.nat_gateways.get(&id)) {
                    None if unread.is_some() => unread.clone().map_or(Ok(None), Err),
                    None if to_nat => self.snapshot.table::<NatGateway>().map(|_| None),
                    found => Ok(found.map(|n| Link::new(n.row))),
                },
                target,
                firstTable: first.or(table.map(|t| Link::new(t.row))),
                kind: unread.map_or_else(|| self.gateway_read(kind, to_nat), Err).map(|()| Str::const_new(kind)),
                why,
                ipv6: Str::const_new(ipv6),
                public: placement.public,
                forced,
                template: template.map(|t| Link::new(t.row)),
                nodegroup: placement.nodegroup,
                nodeClass: placement.nodeClass,
                instances: placement.instances.clone(),
                nodes: placement.nodes.clone(),
                endpoints: served,
                missing,
                apiOutside: !private,
                closed,
                needs: unserved || !private,
                idle: placement.idle,
                proxy,
            }));
        }
        Ok(exits)
    }

    /// Whether what decides about a NAT gateway was read, where it could not be decided.
    fn gateway_read(&self, kind: &str, to_nat: bool) -> Known<()> {
        if kind == "unverifiable" && to_nat {
            self.snapshot.table::<NatGateway>()?;
            self.snapshot.table::<RouteTable>()?;
            self.snapshot.table::<Subnet>()?;
            self.snapshot.table::<InternetGateway>()?;
            self.snapshot.table::<NetworkAcl>()?;
            self.snapshot.table::<NetworkInterface>()?;
        }
        Ok(())
    }

    /// Whether what leaves a subnet gets nowhere: it has no way out, nor one to another network that may hold endpoints or
    /// a proxy.
    pub fn shut_in(&self, subnet: &str) -> bool {
        let table = self.network.route_table_of(subnet).ok();
        let table = table.map(|row| self.snapshot.tables.route_tables.at(row.index).value);
        matches!(self.exit_of(subnet, table).kind, "none" | "blackhole")
    }

    /// A subnet's way out.
    fn exit_of(&self, subnet: &str, table: Option<&RouteTable>) -> Way {
        let egress = self.network.egress(&self.snapshot, subnet, Family::V4);
        let target = egress.route.as_ref().map(|r| Str::new(r.target.name())).unwrap_or_default();
        let to_nat = target.starts_with("nat-");
        let way = |kind| Way { kind, why: Str::default(), nat: None, target: Str::default(), to_nat, unread: None };
        match egress.kind {
            EgressKind::Internet { .. } => way("internet"),
            EgressKind::Nat { gateway, working: true, .. } => Way { nat: Some(gateway), ..way("nat") },
            EgressKind::Nat { gateway, why, .. } => {
                // What is unknown is no fault.
                let said: Vec<String> = why
                    .iter()
                    .filter(|h| h.verdict == Verdict::Blocked)
                    .map(|h| format!("{} at {}", h.note.as_deref().or(h.by.as_deref()).unwrap_or(&h.step), h.at))
                    .collect();
                let kind = if said.is_empty() { "unverifiable" } else { "nat-broken" };
                Way { why: Str::from(said.join("; ")), nat: Some(gateway), ..way(kind) }
            }
            EgressKind::Unverifiable { .. } if egress.route.is_none() => {
                // A prefix list may hold the destination or not.
                let mut lists = table.iter().flat_map(|t| &t.Routes).map(|r| &r.DestinationPrefixListId);
                let entries = &self.snapshot.tables.prefix_list_entries;
                let list = lists.find(|id| !id.is_empty() && entries.get(id).is_none());
                let unread = list.map(|id| self.snapshot.missing("ec2:GetManagedPrefixListEntries", Some(id)));
                Way { unread, ..way("unverifiable") }
            }
            EgressKind::EgressOnly { .. } | EgressKind::Unverifiable { .. } => way("unverifiable"),
            // A gateway that was deleted is told for some time.
            EgressKind::Blackhole => match self.snapshot.tables.nat_gateways.get(&target) {
                Some(nat) if nat.State != "available" => Way {
                    why: Str::from(format!("it is {}, and the routes to it are blackholes", nat.State)),
                    nat: Some(target.clone()),
                    ..way("nat-broken")
                },
                _ => Way { target, ..way("blackhole") },
            },
            EgressKind::Broken { why } => Way { why: Str::from(why), ..way("broken") },
            EgressKind::None => {
                // Another network may hold endpoints or a proxy.
                let elsewhere = table.is_none_or(|t| {
                    t.Routes.iter().any(|r| {
                        r.State != "blackhole"
                            && (!r.TransitGatewayId.is_empty()
                                || !r.VpcPeeringConnectionId.is_empty()
                                || !r.CoreNetworkArn.is_empty()
                                || !r.LocalGatewayId.is_empty()
                                || !r.NetworkInterfaceId.is_empty()
                                || !r.InstanceId.is_empty()
                                || r.GatewayId.starts_with("vgw-"))
                    })
                });
                way(if elsewhere { "unverifiable" } else { "none" })
            }
        }
    }

    /// The endpoints that nodes depend on, with what is wrong with each.
    pub fn node_endpoints(&self) -> Known<Vec<Arc<NodeEndpoint>>> {
        let tables = &self.snapshot.tables;
        let exits = self.node_exits()?;
        let vpc = self.vpc_id()?;
        let mut result = Vec::new();
        for (service, action) in self.node_services() {
            let endpoints = self.endpoints_of(service)?;
            for endpoint in &endpoints {
                let e = endpoint.value;
                let gateway = e.VpcEndpointType.eq_ignore_ascii_case("Gateway");
                let mut subnets: BTreeMap<_, Link<Subnet>> = BTreeMap::new();
                let mut lacking: BTreeMap<_, Link<RouteTable>> = BTreeMap::new();
                for exit in exits.iter().filter(|x| x.closed) {
                    let table = exit.routeTable.map(|t| tables.route_tables.at(t.row.index));
                    if endpoints.iter().any(|o| Self::endpoint_serves(o.value, table.map(|t| t.value))) {
                        continue;
                    }
                    subnets.insert(exit.subnet.row, exit.subnet);
                    if let Some(table) = exit.routeTable {
                        lacking.insert(table.row, table);
                    }
                }
                let available = e.State.is_empty() || e.State.eq_ignore_ascii_case("available");
                let uses = if gateway {
                    exits.iter().any(|x| {
                        let table = x.routeTable.map(|t| tables.route_tables.at(t.row.index).value);
                        Self::endpoint_serves(e, table)
                    })
                } else {
                    Self::endpoint_captures(e)
                };
                let denied = if uses { self.endpoint_denies(e, service, action, &vpc) } else { None };
                // What aws-node calls besides, when the rest is allowed.
                let ipam = if self.is_ipv6() { "ec2:AssignIpv6Addresses" } else { "ec2:AssignPrivateIpAddresses" };
                let asks = || uses && service == "ec2" && self.cni().is_ok_and(|cni| cni.is_some());
                let denied_pods = || if asks() { self.endpoint_denies(e, service, ipam, &vpc) } else { None };
                let (fault, found) =
                    match denied.map(|d| ("policy", d)).or_else(|| Some(("pod-policy", denied_pods()?))) {
                        Some(denied) => denied,
                        None if !available && !subnets.is_empty() => ("state", e.State.clone()),
                        None if gateway && !subnets.is_empty() => ("routes", Str::default()),
                        None if !gateway && e.PrivateDnsEnabled == Some(false) && !subnets.is_empty() => {
                            ("private-dns", Str::default())
                        }
                        None => ("none", Str::default()),
                    };
                result.push(Arc::new(NodeEndpoint {
                    endpoint: Link::new(endpoint.row),
                    service: Str::const_new(service),
                    fault: Str::const_new(fault),
                    found,
                    subnets: subnets.into_values().collect(),
                    tables: lacking.into_values().collect(),
                }));
            }
        }
        Ok(result)
    }

    /// The action that an endpoint's policy does not allow; no policy allows everything.
    fn endpoint_denies(&self, endpoint: &VpcEndpoint, service: &str, action: &str, vpc: &str) -> Option<Str> {
        if endpoint.PolicyDocument.trim().is_empty() {
            return None;
        }
        let document: PolicyDocument = serde_json::from_str(&endpoint.PolicyDocument).ok()?;
        let context = Context::default()
            .with("aws:SourceVpc", vpc)
            .with("aws:SourceVpce", &endpoint.VpcEndpointId)
            .with("aws:PrincipalAccount", &self.account_id())
            .with("aws:SourceAccount", &self.account_id());
        let resource = match service {
            "s3" => format!("arn:{}:s3:::prod-{}-starport-layer-bucket/x", self.partition(), self.region_name()),
            "ecr.dkr" => {
                format!("arn:{}:ecr:{}:602401143452:repository/eks/pause", self.partition(), self.region_name())
            }
            _ if action.starts_with("ec2:Assign") => self.ec2_arn("network-interface/eni-0"),
            _ => "*".to_owned(),
        };
        // Statements about single principals may hold for the nodes: only those about everybody deny.
        let mut policy = document.0;
        policy
            .Statement
            .0
            .retain(|s| s.Effect != "Deny" || s.Principal.as_ref().is_none_or(|p| p.of("AWS").any(|a| a == "*")));
        if service == "sts" {
            // Roles are the resources here: any of them will do.
            for statement in &mut policy.Statement.0 {
                if statement.Effect == "Allow" && statement.Condition.is_empty() {
                    statement.Resource.0 = vec![Str::const_new("*")];
                }
            }
        }
        let (sheet, name) = (Sheet::Document(&policy), Str::default());
        let allowed = decide([(&sheet, &name, None)].into_iter(), action, &resource, &context).allowed();
        (!allowed).then(|| Str::new(action))
    }

    /// The nodes that the public endpoint keeps out, when it is the only one.
    pub fn public_access_gaps(&self) -> Known<Vec<Arc<PublicAccessGap>>> {
        let eks = self.eks()?;
        let config = &eks.value.resourcesVpcConfig;
        if config.endpointPrivateAccess != Some(false) || config.publicAccessCidrs.is_empty() {
            return Ok(Vec::new());
        }
        let admitted: Vec<ipnet::IpNet> = config.publicAccessCidrs.iter().filter_map(|c| c.parse().ok()).collect();
        let tables = &self.snapshot.tables;
        let mut out: BTreeSet<Str> = BTreeSet::new();
        let mut subnets = BTreeMap::new();
        let mut add = |address: &Str, subnet: Link<Subnet>| {
            let Ok(ip) = address.parse::<std::net::IpAddr>() else { return };
            if !admitted.iter().any(|c| c.contains(&ip)) {
                out.insert(address.clone());
                subnets.insert(subnet.row, subnet);
            }
        };
        for exit in self.node_exits()? {
            if let Some(nat) = exit.gateway().map(|n| tables.nat_gateways.at(n.row.index)) {
                for address in &nat.value.NatGatewayAddresses {
                    add(&address.PublicIp, exit.subnet);
                }
            }
            if exit.is("internet") && exit.public {
                for instance in exit.instances.iter().map(|i| tables.instances.at(i.row.index)) {
                    add(&instance.PublicIpAddress, exit.subnet);
                }
            }
        }
        if out.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<Str> = out.into_iter().collect();
        Ok(vec![Arc::new(PublicAccessGap {
            addresses: Str::from(list.iter().take(6).map(Str::as_str).collect::<Vec<_>>().join(", ")),
            list: list.iter().map(|a| Str::from(format!("{a}/32"))).collect(),
            cidrs: Str::from(config.publicAccessCidrs.join(", ")),
            subnets: subnets.into_values().collect(),
        })])
    }

    /// A range of the VPC that holds or lies in the cluster's service range.
    pub fn service_overlap(&self) -> Known<Str> {
        let eks = self.eks()?;
        let Ok(services) = eks.value.kubernetesNetworkConfig.serviceIpv4Cidr.parse::<ipnet::Ipv4Net>() else {
            return Ok(Str::default());
        };
        let vpc = self.snapshot.find::<Vpc>(&self.vpc_id()?)?;
        let ranges = vpc.value.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock).chain([&vpc.value.CidrBlock]);
        for range in ranges {
            if let Ok(net) = range.parse::<ipnet::Ipv4Net>()
                && (net.contains(&services) || services.contains(&net))
            {
                return Ok(range.clone());
            }
        }
        Ok(Str::default())
    }
}
