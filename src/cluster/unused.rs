//! What a cluster has no use for: nobody has to read it, and no rule is skipped for want of it.

use super::Cluster;
use crate::shape::ec2::AutoScalingGroup;
use crate::shape::eks::{
    AccessEntryNames, AddonNames, FargateProfileNames, Nodegroup, NodegroupNames, PodIdentityAssociationNames,
};
use crate::shape::k8s::{Deployment, Node};
use crate::snapshot::{Known, Object, Table, TableId};

impl Cluster {
    /// The table of `T`, empty when nobody read what there is none of; or which read is missing.
    pub fn answered<T: Object>(&self) -> Known<&Table<T>> {
        if self.has_none(T::TABLE) { Ok(T::table(&self.snapshot.tables)) } else { self.snapshot.table() }
    }

    /// Whether what was read shows that the table, which was not, can hold nothing: a list that was read is empty, or
    /// nothing in the cluster uses the kind.
    pub fn has_none(&self, table: TableId) -> bool {
        match table {
            TableId::Nodegroups => self.listed_none::<NodegroupNames>(|n| n.nodegroups.is_empty()),
            TableId::FargateProfiles => self.listed_none::<FargateProfileNames>(|n| n.fargateProfileNames.is_empty()),
            TableId::Addons => self.listed_none::<AddonNames>(|n| n.addons.is_empty()),
            TableId::AccessEntries => self.listed_none::<AccessEntryNames>(|n| n.accessEntries.is_empty()),
            TableId::PodIdentityAssociations => {
                self.listed_none::<PodIdentityAssociationNames>(|n| n.associations.is_empty())
            }
            TableId::Activities => self.snapshot.whole::<AutoScalingGroup>().is_ok_and(|g| g.iter().next().is_none()),
            TableId::LaunchTemplateVersions => self.without_launch_templates(),
            TableId::NodeClasses => self.without_auto_mode(),
            TableId::Ec2NodeClasses => self.without_karpenter(),
            TableId::NodePools => self.without_auto_mode() && self.without_karpenter(),
            _ => false,
        }
    }

    /// Whether a list of names was read and all its pages are empty.
    fn listed_none<T: Object>(&self, empty: impl Fn(&T) -> bool) -> bool {
        self.snapshot.whole::<T>().is_ok_and(|table| table.iter().all(|page| empty(page.value)))
    }

    /// Neither a node group nor an Auto Scaling group names a launch template.
    fn without_launch_templates(&self) -> bool {
        let groups = self.snapshot.whole::<AutoScalingGroup>().is_ok_and(|groups| {
            groups.iter().all(|g| g.value.LaunchTemplate.is_none() && g.value.MixedInstancesPolicy.is_none())
        });
        groups
            && (self.has_none(TableId::Nodegroups)
                || self.snapshot.whole::<Nodegroup>().is_ok_and(|n| n.iter().all(|n| n.value.launchTemplate.is_none())))
    }

    /// EKS Auto Mode is off, and no node is of it.
    fn without_auto_mode(&self) -> bool {
        let Ok(nodes) = self.snapshot.whole::<Node>() else { return false };
        self.eks().is_ok() && !self.auto_mode() && !nodes.iter().any(|n| of_auto_mode(n.value))
    }

    /// Nothing in the cluster is Karpenter's: no deployment of it, no node and no machine that it launched, no pool that
    /// names its classes. Auto Mode labels its nodes like Karpenter.
    fn without_karpenter(&self) -> bool {
        let snapshot = &self.snapshot;
        let (Ok(deployments), Ok(nodes)) = (snapshot.whole::<Deployment>(), snapshot.whole::<Node>()) else {
            return false;
        };
        let marks = ["karpenter.sh/nodepool", "karpenter.sh/provisioner-name", "karpenter.k8s.aws/ec2nodeclass"];
        let deployed = deployments.iter().any(|d| {
            let images = d.value.spec.template.spec.containers.iter().map(|c| c.image.as_str());
            d.value.metadata.name == "karpenter" || images.into_iter().any(|i| i.contains("karpenter/controller"))
        });
        let labelled = nodes
            .iter()
            .any(|n| !of_auto_mode(n.value) && marks.iter().any(|mark| n.value.metadata.labels.contains_key(*mark)));
        let launched = self.workers().unwrap_or_default().iter().any(|w| {
            let tags = w.instance.map(|i| &snapshot.tables.instances.at(i.row.index).value.Tags);
            w.kind != "auto" && tags.is_some_and(|t| t.iter().any(|t| marks.contains(&t.Key.as_str())))
        });
        let named = snapshot.tables.node_pools.iter().any(|p| p.spec.template.spec.nodeClassRef.kind == "EC2NodeClass");
        !(deployed || labelled || launched || named)
    }
}

fn of_auto_mode(node: &Node) -> bool {
    node.metadata.labels.get("eks.amazonaws.com/compute-type").is_some_and(|kind| kind == "auto")
}
