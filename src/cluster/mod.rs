//! What EKS adds to a network: the cluster that is checked and what belongs to it.

pub mod access;
mod acl_gap;
pub(crate) mod acl_numbers;
pub(crate) mod addons;
pub mod addresses;
pub mod annotation;
pub mod backend;
pub mod bootstrap;
pub mod capacity;
pub mod cluster_subnets;
pub mod cni;
pub mod cni_identity;
pub(crate) mod cni_settings;
pub mod controller;
pub mod controller_calls;
mod controller_pods;
pub mod coredns;
pub mod coredns_config;
mod coredns_schedule;
pub mod coredns_size;
pub mod corefile;
mod dns_clients;
pub mod dns_path;
pub mod end;
pub mod eniconfig;
pub mod far_side;
pub mod fargate_role;
pub mod hybrid_dns;
pub mod identity;
mod image;
pub mod ingress;
mod ingress_class;
pub mod listener;
pub mod network_policy;
pub mod node_dns;
pub mod node_exit;
pub mod node_groups;
pub mod node_labels;
pub mod node_path;
pub mod occupancy;
pub mod plan_checks;
pub mod pod_eni;
pub mod pods;
pub mod policy;
pub mod private_need;
mod proxy;
pub mod reach;
pub mod reference;
pub mod relief;
pub mod selector;
pub mod service_path;
pub mod spot_role;
pub mod stray;
pub mod stuck_deletion;
pub mod subnet_choice;
pub mod target_group;
pub mod targets;
pub mod transit_drop;
mod unused;
pub mod user_data;
pub mod version;
pub mod volume_key;
pub mod vpc_cni;
pub mod webhook;
pub mod worker;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::network::Network;
use crate::shape::{Row, Str, ec2, eks};
use crate::snapshot::{Known, Missing, Rec, Snapshot, TableId};

/// Why no cluster can be checked.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// `--cluster` names one that is not there.
    #[error("no cluster `{wanted}` in the snapshot; there {}", listed(.there))]
    NotThere { wanted: String, there: Vec<String> },
    /// Several, and nobody said which.
    #[error("the snapshot holds {} clusters: {}; choose one with --cluster", .0.len(), .0.join(", "))]
    Several(Vec<String>),
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none (no DescribeCluster answer was recorded)".to_owned(),
        [one] => format!("is {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

/// The cluster that is checked, with everything recorded around it.
#[derive(Debug)]
pub struct Cluster {
    pub snapshot: Arc<Snapshot>,
    pub network: Network,
    /// The cluster's row; absent when no `DescribeCluster` answer was recorded.
    pub row: Option<Row>,
    cache: Cache,
}

/// What is worked out once, when first asked for.
#[derive(Debug, Default)]
struct Cache {
    workers: OnceLock<Vec<Arc<worker::Worker>>>,
    placements: OnceLock<Vec<Arc<worker::Placement>>>,
    occupancy: OnceLock<occupancy::Occupancy>,
    capacities: OnceLock<Vec<Arc<capacity::Capacity>>>,
    pools: OnceLock<Vec<Arc<addresses::AddressPool>>>,
    interfaces_of_instance: OnceLock<HashMap<Str, Vec<u32>>>,
    pods: OnceLock<pods::Index>,
    /// Pods that nothing owns.
    bare_pods: OnceLock<Vec<Row>>,
    controllers: OnceLock<Vec<Arc<controller::LoadBalancerController>>>,
    slices_of_service: OnceLock<HashMap<Str, Vec<u32>>>,
    pod_addresses: OnceLock<std::collections::HashSet<std::net::IpAddr>>,
    bound_target_groups: OnceLock<Vec<Arc<target_group::BoundTargetGroup>>>,
    plans: OnceLock<Vec<Arc<ingress::LoadBalancerPlan>>>,
    backends: OnceLock<Vec<Arc<backend::Backend>>>,
    /// The newest event about an ingress, service or target group binding.
    events: OnceLock<std::collections::BTreeMap<(Str, Str, Str), Vec<u32>>>,
}

impl Cluster {
    /// Chooses the cluster `wanted` (name or ARN), or the only one.
    ///
    /// # Errors
    /// When it is not there or several are.
    pub fn choose(snapshot: Arc<Snapshot>, wanted: Option<&str>) -> Result<Cluster, ChooseError> {
        let clusters = &snapshot.tables.clusters;
        let names = || clusters.iter().map(|c| c.name.to_string()).collect::<Vec<_>>();
        let row = match wanted {
            Some(wanted) => {
                let found: Vec<Row> =
                    clusters.iter().filter(|c| c.name == wanted || c.arn == wanted).map(|c| c.row).collect();
                match found.as_slice() {
                    [one] => Some(*one),
                    [] if clusters.is_empty() => None,
                    [] => return Err(ChooseError::NotThere { wanted: wanted.to_owned(), there: names() }),
                    _ => return Err(ChooseError::Several(clusters.iter().map(|c| c.arn.to_string()).collect())),
                }
            }
            None if clusters.len() <= 1 => clusters.iter().next().map(|c| c.row),
            None => return Err(ChooseError::Several(names())),
        };
        let network = Network::new(&snapshot);
        Ok(Cluster { snapshot, network, row, cache: Cache::default() })
    }

    /// The `DescribeCluster` answer.
    pub fn eks(&self) -> Known<Rec<'_, eks::Cluster>> {
        match self.row {
            Some(row) => Ok(self.snapshot.tables.clusters.at(row.index)),
            None => Err(self.snapshot.missing("eks:DescribeCluster", None)),
        }
    }

    /// The cluster's name, as far as known.
    pub fn name(&self) -> Str {
        match self.eks() {
            Ok(eks) => eks.name.clone(),
            Err(_) => self.snapshot.manifest.cluster.as_deref().map(Str::new).unwrap_or_default(),
        }
    }

    /// Whether an API server's address is that of another EKS cluster: it begins with an id of the cluster's own
    /// (`https://<32 hexadecimal digits>.gr7.us-west-2.eks.amazonaws.com`). Other names may well lead here.
    pub fn is_foreign(&self, endpoint: &str) -> Known<bool> {
        let id = |endpoint: &str| {
            let host = endpoint.trim().trim_start_matches("https://");
            let id = host.split('.').next().unwrap_or_default().to_ascii_uppercase();
            (id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())).then_some(id)
        };
        let Some(theirs) = id(endpoint) else { return Ok(false) };
        Ok(id(&self.eks()?.value.endpoint).is_some_and(|ours| ours != theirs))
    }

    /// The VPC's id.
    pub fn vpc_id(&self) -> Known<Str> {
        let eks = self.eks()?;
        if eks.resourcesVpcConfig.vpcId.is_empty() {
            return Err(Missing {
                read: "eks:DescribeCluster".to_owned(),
                reason: "the answer has no resourcesVpcConfig.vpcId".to_owned(),
            });
        }
        Ok(eks.resourcesVpcConfig.vpcId.clone())
    }

    /// The Region's domain name of EC2, which the default DHCP options give.
    pub fn default_domain(&self) -> String {
        match self.region_name().as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        }
    }

    /// The rows of a table that belong to the cluster: those of its VPC, its node groups and so on.
    pub fn rows(&self, table: TableId) -> Vec<Row> {
        let tables = &self.snapshot.tables;
        let vpc = self.vpc_id().ok();
        let name = self.name();
        let in_vpc = |id: &Str| vpc.as_ref().is_none_or(|vpc| id == vpc || id.is_empty());
        let of_cluster = |id: &Str| name.is_empty() || *id == name || id.is_empty();
        macro_rules! filtered {
            ($field:ident, $test:expr) => {
                tables.$field.iter().filter(|r| $test(r.value)).map(|r| r.row).collect()
            };
        }
        match table {
            TableId::Clusters => self.row.into_iter().collect(),
            TableId::Nodegroups => filtered!(nodegroups, |n: &eks::Nodegroup| of_cluster(&n.clusterName)),
            TableId::FargateProfiles => {
                filtered!(fargate_profiles, |n: &eks::FargateProfile| of_cluster(&n.clusterName))
            }
            TableId::Addons => filtered!(addons, |n: &eks::Addon| of_cluster(&n.clusterName)),
            TableId::AccessEntries => filtered!(access_entries, |n: &eks::AccessEntry| of_cluster(&n.clusterName)),
            TableId::PodIdentityAssociations => {
                filtered!(pod_identity_associations, |n: &eks::PodIdentityAssociation| of_cluster(&n.clusterName))
            }
            TableId::Vpcs => filtered!(vpcs, |v: &ec2::Vpc| in_vpc(&v.VpcId)),
            TableId::Subnets => filtered!(subnets, |s: &ec2::Subnet| in_vpc(&s.VpcId)),
            TableId::RouteTables => filtered!(route_tables, |r: &ec2::RouteTable| in_vpc(&r.VpcId)),
            TableId::NatGateways => filtered!(nat_gateways, |n: &ec2::NatGateway| in_vpc(&n.VpcId)),
            TableId::VpcEndpoints => filtered!(vpc_endpoints, |e: &ec2::VpcEndpoint| in_vpc(&e.VpcId)),
            TableId::SecurityGroups => filtered!(security_groups, |s: &ec2::SecurityGroup| in_vpc(&s.VpcId)),
            TableId::NetworkAcls => filtered!(network_acls, |n: &ec2::NetworkAcl| in_vpc(&n.VpcId)),
            TableId::NetworkInterfaces => filtered!(network_interfaces, |n: &ec2::NetworkInterface| in_vpc(&n.VpcId)),
            _ => (0..tables.len(table) as u32).map(|index| Row { table, index }).collect(),
        }
    }
}
