//! The subnets in which the control plane has its interfaces, and whether EKS can go on using them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use crate::shape::ec2::{AvailabilityZone, Subnet};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// A subnet in which the control plane has its interfaces.
    ClusterSubnet {
        subnet: Link<Subnet>,
        /// `availability-zone`, `local-zone`, `wavelength-zone` or `outpost`; absent when it was not recorded.
        place: Str,
        /// Whether EKS has no control plane in its Availability Zone.
        excluded: bool,
        free: i64,
    }
}

/// Zones without control planes (<https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html>).
const EXCLUDED: [&str; 3] = ["use1-az3", "usw1-az2", "cac1-az3"];

impl Cluster {
    fn recorded_cluster_subnets(&self) -> Known<Vec<Rec<'_, Subnet>>> {
        let eks = self.eks()?;
        eks.value.resourcesVpcConfig.subnetIds.iter().map(|id| self.snapshot.find::<Subnet>(id)).collect()
    }

    /// The subnets that `DescribeCluster` names.
    pub fn cluster_subnets(&self) -> Known<Vec<Arc<ClusterSubnet>>> {
        let zones = &self.snapshot.tables.availability_zones;
        let local = self.eks()?.value.outpostConfig.is_some();
        let place = |subnet: &Subnet| {
            if local {
                // A local cluster's control plane runs on the Outpost.
                Str::default()
            } else if !subnet.OutpostArn.is_empty() {
                Str::const_new("outpost")
            } else {
                let zone = zones.iter().find(|z: &Rec<'_, AvailabilityZone>| z.ZoneName == subnet.AvailabilityZone);
                zone.map(|z| z.value.ZoneType.clone()).unwrap_or_default()
            }
        };
        Ok(self
            .recorded_cluster_subnets()?
            .into_iter()
            .map(|subnet| {
                Arc::new(ClusterSubnet {
                    subnet: Link::new(subnet.row),
                    place: place(subnet.value),
                    excluded: EXCLUDED.contains(&subnet.AvailabilityZoneId.as_str()),
                    free: subnet.AvailableIpAddressCount.unwrap_or(i64::MAX),
                })
            })
            .collect())
    }

    /// The Availability Zones of the cluster's subnets.
    pub fn cluster_zones(&self) -> Known<BTreeSet<Str>> {
        Ok(self.recorded_cluster_subnets()?.iter().map(|s| s.value.AvailabilityZone.clone()).collect())
    }

    /// Zones in which the control plane has an interface but the cluster names no subnet any more.
    pub fn zones_left(&self) -> Known<Vec<Str>> {
        let zones = self.cluster_zones()?;
        let left: BTreeSet<Str> = self
            .control_plane_interfaces()?
            .iter()
            .map(|i| i.value.AvailabilityZone.clone())
            .filter(|z| !z.is_empty() && !zones.contains(z))
            .collect();
        Ok(left.into_iter().collect())
    }

    /// Subnets of the cluster with fewer free addresses than `wanted`, each with its number, in one text.
    pub fn crowded_cluster_subnets(&self, wanted: i64) -> Known<Vec<Rec<'_, Subnet>>> {
        let mut found = self.recorded_cluster_subnets()?;
        found.retain(|s| s.AvailableIpAddressCount.is_some_and(|n| n < wanted));
        Ok(found)
    }
}
