//! Ways out of a full subnet: ranges that are still free, as commands.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::Cluster;
use super::addresses::AddressPool;
use super::cni::Cni;
use crate::shape::Str;

/// Whether two ranges share addresses.
fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// The first subnets of `length` in `range` that touch none of `taken`.
fn free_in(range: Ipv4Net, length: u8, taken: &[Ipv4Net], count: usize) -> Vec<Ipv4Net> {
    range
        .subnets(length)
        .map(|all| all.filter(|n| !taken.iter().any(|t| overlap(t, n))).take(count).collect())
        .unwrap_or_default()
}

/// New subnets for pods, by zone, and the range to associate before.
struct Plan {
    associate: Option<Ipv4Net>,
    subnets: Vec<(Str, Ipv4Net)>,
}

impl Cluster {
    /// The zones in which the cluster's nodes run, else those of its subnets, with a subnet for each.
    fn node_zones(&self) -> BTreeMap<Str, Str> {
        let tables = &self.snapshot.tables;
        let mut zones = BTreeMap::new();
        for worker in self.workers().unwrap_or_default() {
            if let Some(subnet) = worker.subnet.map(|s| tables.subnets.at(s.row.index)) {
                zones.entry(subnet.AvailabilityZone.clone()).or_insert_with(|| subnet.SubnetId.clone());
            }
        }
        zones
    }

    /// Free ranges for pods in 100.64.0.0/10: of all non-routable ranges only this one may be added to every VPC
    /// (VPC User Guide, IPv4 CIDR block association restrictions).
    fn pod_range_plan(&self, zones: Vec<Str>) -> Option<Plan> {
        let tables = &self.snapshot.tables;
        let vpc_id = self.vpc_id().ok()?;
        let vpc = tables.vpcs.get(&vpc_id)?;
        let shared: Ipv4Net = "100.64.0.0/10".parse().ok()?;
        let own: Vec<Ipv4Net> = vpc
            .CidrBlockAssociationSet
            .iter()
            .filter(|a| matches!(a.CidrBlockState.State.as_str(), "" | "associated" | "associating"))
            .filter_map(|a| a.CidrBlock.parse().ok())
            .collect();
        let subnets: Vec<Ipv4Net> =
            tables.subnets.iter().filter(|s| s.VpcId == vpc_id).filter_map(|s| s.CidrBlock.parse().ok()).collect();
        let length = match zones.len() {
            0..=4 => 18,
            5..=8 => 19,
            _ => 20,
        };
        for range in own.iter().filter(|r| shared.contains(*r) && r.prefix_len() <= length) {
            let found = free_in(*range, length, &subnets, zones.len());
            if found.len() == zones.len() {
                return Some(Plan { associate: None, subnets: zones.into_iter().zip(found).collect() });
            }
        }
        let service: Option<Ipv4Net> =
            self.eks().ok().and_then(|e| e.value.kubernetesNetworkConfig.serviceIpv4Cidr.parse().ok());
        let mut taken = own;
        taken.extend(service);
        // A range that a route of the VPC leads away must not be added to it.
        for route in tables.route_tables.iter().filter(|t| t.VpcId == vpc_id).flat_map(|t| &t.value.Routes) {
            taken.extend(route.DestinationCidrBlock.parse::<Ipv4Net>().ok().filter(|n| n.prefix_len() > 0));
        }
        let range = free_in(shared, 16, &taken, 1).pop()?;
        let found = free_in(range, length, &[], zones.len());
        Some(Plan { associate: Some(range), subnets: zones.into_iter().zip(found).collect() })
    }

    fn route_table_id(&self, subnet: &str) -> Option<Str> {
        let tables = &self.snapshot.tables;
        tables
            .route_tables
            .iter()
            .find(|t| t.Associations.iter().any(|a| a.SubnetId == subnet))
            .map(|t| t.RouteTableId.clone())
    }

    fn start(&self, plan: &Plan, zones: &BTreeMap<Str, Str>, tags: &str) -> Vec<Str> {
        let vpc = self.vpc_id().unwrap_or_default();
        let region = self.region_name();
        let mut commands: Vec<Str> = Vec::new();
        if let Some(range) = plan.associate {
            commands.push(
                format!("aws ec2 associate-vpc-cidr-block --region {region} --vpc-id {vpc} --cidr-block {range}")
                    .into(),
            );
        }
        for (zone, cidr) in &plan.subnets {
            commands.push(
                format!(
                    "aws ec2 create-subnet --region {region} --vpc-id {vpc} --availability-zone {zone} --cidr-block {cidr} --tag-specifications 'ResourceType=subnet,Tags=[{{Key=Name,Value={}-pods-{zone}}}{tags}]'",
                    self.name()
                )
                .into(),
            );
            if let Some(table) = zones.get(zone).and_then(|s| self.route_table_id(s)) {
                commands.push(
                    format!(
                        "aws ec2 associate-route-table --region {region} --route-table-id {table} --subnet-id <new-subnet-in-{zone}>"
                    )
                    .into(),
                );
            }
        }
        commands
    }

    /// Pods in a secondary range, by custom networking: an ENIConfig for each zone.
    pub fn custom_networking_commands(&self, pool: &AddressPool) -> Vec<Str> {
        let tables = &self.snapshot.tables;
        let zones = self.node_zones();
        let subnet_zone = tables.subnets.at(pool.subnet.row.index).AvailabilityZone.clone();
        let Ok(Some(cni)) = self.cni() else { return Vec::new() };
        let already = cni.custom_networking();
        let wanted: Vec<Str> = if already { vec![subnet_zone] } else { zones.keys().cloned().collect() };
        let Some(plan) = self.pod_range_plan(wanted) else { return Vec::new() };
        let mut commands = self.start(&plan, &zones, "");
        let group = self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        for (zone, _) in &plan.subnets {
            let known = tables
                .eni_configs
                .iter()
                .find(|c| tables.subnets.get(&c.spec.subnet).is_some_and(|s| s.AvailabilityZone == *zone));
            match known.filter(|_| already) {
                Some(config) => commands.push(
                    format!(
                        "kubectl patch eniconfig {} --type merge --patch '{{\"spec\":{{\"subnet\":\"<new-subnet-in-{zone}>\"}}}}'",
                        config.metadata.name
                    )
                    .into(),
                ),
                None => commands.push(eni_config_command(zone, &format!("<new-subnet-in-{zone}>"), &group).into()),
            }
        }
        if !already {
            commands.push(
                self.set_cni(
                    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone",
                ),
            );
        }
        commands
    }

    /// One more subnet in the zone, tagged so that aws-node (v1.18.0 and later) finds it.
    pub fn discovery_commands(&self, pool: &AddressPool) -> Vec<Str> {
        let zone = self.snapshot.tables.subnets.at(pool.subnet.row.index).AvailabilityZone.clone();
        let zones = self.node_zones();
        match self.pod_range_plan(vec![zone]) {
            Some(plan) => self.start(&plan, &zones, ",{Key=kubernetes.io/role/cni,Value=1}"),
            None => Vec::new(),
        }
    }
}

impl Cluster {
    /// A NAT gateway of the VPC that is available, of the zone if there is one.
    pub fn working_nat(&self, zone: &str) -> Str {
        let tables = &self.snapshot.tables;
        let vpc = self.vpc_id().unwrap_or_default();
        let zone_of = |id: &str| tables.subnets.get(id).map(|s| s.value.AvailabilityZone.clone()).unwrap_or_default();
        let mut there: Vec<_> = tables
            .nat_gateways
            .iter()
            .filter(|n| n.VpcId == vpc && n.State == "available" && n.ConnectivityType != "private")
            .collect();
        there.sort_by_key(|n| (zone_of(&n.SubnetId) != zone, n.value.NatGatewayId.clone()));
        there.first().map_or(Str::const_new("<nat-gateway-id>"), |n| n.value.NatGatewayId.clone())
    }

    /// A range of the VPC that no subnet has: the largest up to a /20.
    pub fn free_range(&self) -> Str {
        let tables = &self.snapshot.tables;
        let vpc_id = self.vpc_id().unwrap_or_default();
        let Some(vpc) = tables.vpcs.get(&vpc_id) else { return Str::const_new("<free-range>") };
        let subnets: Vec<Ipv4Net> =
            tables.subnets.iter().filter(|s| s.VpcId == vpc_id).filter_map(|s| s.CidrBlock.parse().ok()).collect();
        let own: Vec<Ipv4Net> = vpc
            .CidrBlockAssociationSet
            .iter()
            .filter(|a| matches!(a.CidrBlockState.State.as_str(), "" | "associated"))
            .filter_map(|a| a.CidrBlock.parse().ok())
            .collect();
        for length in 20..=27 {
            for range in own.iter().filter(|r| r.prefix_len() <= length) {
                if let Some(free) = free_in(*range, length, &subnets, 1).pop() {
                    return free.to_string().into();
                }
            }
        }
        Str::const_new("<free-range>")
    }

    /// Commands that update the VPC CNI.
    pub fn cni_update_commands(&self, cni: &Cni<'_>) -> Vec<Str> {
        let (region, name) = (self.region_name(), self.name());
        if let Ok(Some(_)) = self.cni_addon() {
            let version = self.eks().map(|e| e.value.version.clone()).unwrap_or_default();
            return vec![
                format!(
                    "aws eks update-addon --region {region} --cluster-name {name} --addon-name vpc-cni --resolve-conflicts PRESERVE --addon-version $(aws eks describe-addon-versions --region {region} --addon-name vpc-cni --kubernetes-version {version} --query 'addons[0].addonVersions[?compatibilities[0].defaultVersion].addonVersion' --output text)"
                )
                .into(),
            ];
        }
        let spec = &cni.daemon_set.value.spec.template.spec;
        let images: Vec<String> = spec
            .containers
            .iter()
            .chain(&spec.initContainers)
            .filter(|c| c.image.contains("amazon-k8s-cni"))
            .map(|c| {
                let image = c.image.split('@').next().unwrap_or_default();
                let name = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(image, |(name, _)| name);
                format!("{}={name}:<newer-version>", c.name)
            })
            .collect();
        vec![format!("kubectl set image daemonset aws-node -n kube-system {}", images.join(" ")).into()]
    }
}

/// `kubectl apply` of an ENIConfig.
pub fn eni_config_command(name: &str, subnet: &str, group: &str) -> String {
    let groups = if group.is_empty() { String::new() } else { format!(",\"securityGroups\":[\"{group}\"]") };
    format!(
        "kubectl apply -f - <<< '{{\"apiVersion\":\"crd.k8s.amazonaws.com/v1alpha1\",\"kind\":\"ENIConfig\",\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"subnet\":\"{subnet}\"{groups}}}}}'"
    )
}

#[cfg(test)]
mod tests {
    use super::free_in;

    #[test]
    fn free_ranges_avoid_what_is_taken() {
        let taken = ["100.64.0.0/18".parse().unwrap(), "100.64.64.0/24".parse().unwrap()];
        let found = free_in("100.64.0.0/16".parse().unwrap(), 18, &taken, 2);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["100.64.128.0/18", "100.64.192.0/18"]);
    }
}
