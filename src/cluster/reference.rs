//! Subnets and security groups that are named somewhere and are not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use crate::shape::ec2::{LaunchTemplateVersion, NetworkInterface, SecurityGroup, Subnet};
use crate::shape::eks::{FargateProfile, Nodegroup};
use crate::shape::k8s::{Pod, SecurityGroupPolicy};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::Known;

derived! {
    /// A subnet or security group that is named and does not exist.
    MissingReference {
        /// `subnet` or `security group`.
        kind: Str,
        id: Str,
        /// Whether the cluster itself names it.
        ofCluster: bool,
        nodegroup: Option<Link<Nodegroup>>,
        profile: Option<Link<FargateProfile>>,
        template: Option<Link<LaunchTemplateVersion>>,
        policy: Option<Link<SecurityGroupPolicy>>,
        /// Pods that the policy selects and that do not start.
        waiting: Vec<Link<Pod>>,
    }
}

/// Who names something.
#[derive(Clone, Copy, Default)]
struct Owner {
    cluster: bool,
    nodegroup: Option<Row>,
    profile: Option<Row>,
    template: Option<Row>,
    policy: Option<Row>,
}

impl Cluster {
    /// What the cluster, its node groups, Fargate profiles and SecurityGroupPolicies name and the VPC does not hold. What
    /// an interface still uses cannot have been deleted: then only its description is lacking.
    pub fn missing_references(&self) -> Known<Vec<Arc<MissingReference>>> {
        let eks = self.eks()?;
        let tables = &self.snapshot.tables;
        let vpc = self.vpc_id()?;
        let groups = self.snapshot.whole::<SecurityGroup>()?;
        let subnets = self.snapshot.whole::<Subnet>()?;
        let interfaces = self.snapshot.whole::<NetworkInterface>()?;
        if !groups.iter().any(|g| g.VpcId == vpc) {
            return Err(self.snapshot.missing("ec2:DescribeSecurityGroups", Some(&vpc)));
        }
        if !subnets.iter().any(|s| s.VpcId == vpc) {
            return Err(self.snapshot.missing("ec2:DescribeSubnets", Some(&vpc)));
        }
        let mut used: BTreeSet<&Str> = BTreeSet::new();
        for interface in interfaces.iter() {
            used.insert(&interface.value.SubnetId);
            used.extend(interface.value.Groups.iter().map(|g| &g.GroupId));
        }
        let mut named: Vec<(&'static str, Str, Owner)> = Vec::new();
        let config = &eks.value.resourcesVpcConfig;
        let of_cluster = Owner { cluster: true, ..Owner::default() };
        for group in config.securityGroupIds.iter().chain([&config.clusterSecurityGroupId]) {
            named.push(("security group", group.clone(), of_cluster));
        }
        for subnet in &config.subnetIds {
            named.push(("subnet", subnet.clone(), of_cluster));
        }
        for nodegroup in self.nodegroups() {
            let owner = Owner { nodegroup: Some(nodegroup.row), ..Owner::default() };
            for subnet in &nodegroup.value.subnets {
                named.push(("subnet", subnet.clone(), owner));
            }
            let Some(chosen) = &nodegroup.value.launchTemplate else { continue };
            let Some(template) = self.launch_template(&chosen.id, &chosen.version) else { continue };
            let data = &template.value.LaunchTemplateData;
            let owner = Owner { template: Some(template.row), ..owner };
            for group in data.SecurityGroupIds.iter().chain(data.NetworkInterfaces.iter().flat_map(|n| &n.Groups)) {
                named.push(("security group", group.clone(), owner));
            }
        }
        let name = self.name();
        for profile in tables.fargate_profiles.iter().filter(|p| p.clusterName == name || p.clusterName.is_empty()) {
            for subnet in &profile.value.subnets {
                named.push(("subnet", subnet.clone(), Owner { profile: Some(profile.row), ..Owner::default() }));
            }
        }
        for policy in tables.security_group_policies.iter() {
            for group in &policy.value.spec.securityGroups.groupIds {
                let owner = Owner { policy: Some(policy.row), ..Owner::default() };
                named.push(("security group", group.clone(), owner));
            }
        }
        let there = |kind: &str, id: &str| match kind {
            "subnet" => subnets.get(id).is_some(),
            _ => groups.get(id).is_some(),
        };
        named.retain(|(kind, id, _)| !id.is_empty() && !used.contains(id) && !there(kind, id));
        Ok(named
            .into_iter()
            .map(|(kind, id, owner)| {
                Arc::new(MissingReference {
                    kind: Str::const_new(kind),
                    id,
                    ofCluster: owner.cluster,
                    nodegroup: owner.nodegroup.map(Link::new),
                    profile: owner.profile.map(Link::new),
                    template: owner.template.map(Link::new),
                    policy: owner.policy.map(Link::new),
                    waiting: owner.policy.into_iter().flat_map(|p| self.waiting_for_groups(p)).map(Link::new).collect(),
                })
            })
            .collect())
    }
}
