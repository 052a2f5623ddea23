//! Machines that are taken for the cluster's and stand elsewhere, or that nobody can tell to be its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use crate::shape::ec2::{AutoScalingGroup, Instance, LaunchTemplateVersion, Subnet, tag};
use crate::shape::k8s::{EC2NodeClass, Node};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// Instances, or subnets of a node class, of another VPC than the cluster's.
    StrayNodes {
        /// The other VPC.
        vpc: Str,
        instances: Vec<Link<Instance>>,
        nodeClass: Option<Link<EC2NodeClass>>,
        subnets: Vec<Link<Subnet>>,
        /// Whether one of the instances is in the node list; absent when nobody read that.
        joined: Option<bool>,
    }

    /// Machines of a group of one's own that lack the tag by which they belong to the cluster.
    UntaggedNodes {
        group: Link<AutoScalingGroup>,
        template: Link<LaunchTemplateVersion>,
        instances: Vec<Link<Instance>>,
        /// Whether all of them are in the node list.
        joined: bool,
    }
}

impl Cluster {
    /// The ids of instances that are nodes.
    fn node_instances(&self) -> BTreeSet<&str> {
        let nodes = self.snapshot.tables.nodes.iter();
        nodes.filter_map(|n| n.value.spec.providerID.rsplit('/').next()).filter(|id| id.starts_with("i-")).collect()
    }

    /// What is launched for this cluster outside its VPC.
    pub fn stray_nodes(&self) -> Known<Vec<Arc<StrayNodes>>> {
        let vpc = self.vpc_id()?;
        let tables = &self.snapshot.tables;
        let (name, account, region) = (self.name(), self.account_id(), self.region_name());
        // Clusters of one name in several Regions or accounts cannot be told apart by tags.
        let alone = tables.clusters.iter().filter(|c| c.name == name).count() == 1;
        let owned = format!("kubernetes.io/cluster/{name}");
        let nodes = self.snapshot.table::<Node>().ok().map(|_| self.node_instances());
        let mut strays: Vec<StrayNodes> = Vec::new();
        for instance in tables.instances.iter().filter(|i| alone && i.State.Name == "running" && !i.VpcId.is_empty()) {
            let tagged = |key: &str| tag(&instance.value.Tags, key);
            let ours = tagged(&owned).is_some()
                || ["eks:cluster-name", "aws:eks:cluster-name", "eks:eks-cluster-name"]
                    .iter()
                    .any(|k| tagged(k) == Some(&name));
            let profile = instance.value.IamInstanceProfile.as_ref().map(|p| p.Arn.as_str()).unwrap_or_default();
            let here = profile.contains(account.as_str())
                && instance.value.Placement.AvailabilityZone.starts_with(region.as_str());
            if !ours || !here || instance.VpcId == vpc {
                continue;
            }
            let joined = nodes.as_ref().map(|nodes| nodes.contains(instance.InstanceId.as_str()));
            match strays.iter_mut().find(|s| s.vpc == instance.VpcId) {
                Some(stray) => {
                    stray.instances.push(Link::new(instance.row));
                    stray.joined = stray.joined.max(joined);
                }
                None => strays.push(StrayNodes {
                    vpc: instance.VpcId.clone(),
                    instances: vec![Link::new(instance.row)],
                    nodeClass: None,
                    subnets: Vec::new(),
                    joined,
                }),
            }
        }
        for class in tables.ec2_node_classes.iter() {
            let subnets: Vec<_> = class
                .value
                .status
                .subnets
                .iter()
                .filter_map(|s| tables.subnets.get(&s.id))
                .filter(|s| !s.VpcId.is_empty() && s.VpcId != vpc)
                .collect();
            if let Some(first) = subnets.first() {
                strays.push(StrayNodes {
                    vpc: first.VpcId.clone(),
                    instances: Vec::new(),
                    nodeClass: Some(Link::new(class.row)),
                    subnets: subnets.iter().map(|s| Link::new(s.row)).collect(),
                    joined: Some(false),
                });
            }
        }
        Ok(strays.into_iter().map(Arc::new).collect())
    }

    /// Groups of machines whose user data joins this cluster and that lack `kubernetes.io/cluster/<name>`.
    pub fn untagged_nodes(&self) -> Known<Vec<Arc<UntaggedNodes>>> {
        self.snapshot.table::<AutoScalingGroup>()?;
        self.answered::<LaunchTemplateVersion>()?;
        let instances = self.snapshot.table::<Instance>()?;
        let owned = format!("kubernetes.io/cluster/{}", self.name());
        let nodes = self.node_instances();
        let mut found = Vec::new();
        for bootstrap in self.bootstraps()?.iter().filter(|b| b.kind == "selfManaged" && b.fault == "none") {
            let Some(group) = bootstrap.group else { continue };
            let members: Vec<_> = self
                .snapshot
                .tables
                .auto_scaling_groups
                .at(group.row.index)
                .value
                .Instances
                .iter()
                .filter_map(|i| instances.get(&i.InstanceId))
                .filter(|i| i.State.Name == "running" && tag(&i.Tags, &owned).is_none())
                .collect();
            if members.is_empty() {
                continue;
            }
            found.push(Arc::new(UntaggedNodes {
                group,
                template: bootstrap.template,
                joined: members.iter().all(|i| nodes.contains(i.InstanceId.as_str())),
                instances: members.iter().map(|i| Link::new(i.row)).collect(),
            }));
        }
        Ok(found)
    }

    /// Ranges that the VPC got besides its first one and in which machines stand that have not joined or are not ready.
    pub fn unheard_ranges(&self) -> Known<Vec<Str>> {
        let vpc = self.snapshot.find::<crate::shape::ec2::Vpc>(&self.vpc_id()?)?;
        let tables = &self.snapshot.tables;
        let mut found = Vec::new();
        for range in vpc.value.CidrBlockAssociationSet.iter().filter(|a| a.CidrBlock != vpc.CidrBlock) {
            let Ok(net) = range.CidrBlock.parse::<ipnet::Ipv4Net>() else { continue };
            let lies = |w: &super::worker::Worker| {
                w.subnet
                    .and_then(|s| tables.subnets.at(s.row.index).value.CidrBlock.parse::<ipnet::Ipv4Net>().ok())
                    .is_some_and(|s| net.contains(&s))
            };
            if self.workers()?.iter().any(|w| w.kind == "ec2" && !w.ready && lies(w)) {
                found.push(range.CidrBlock.clone());
            }
        }
        Ok(found)
    }
}
