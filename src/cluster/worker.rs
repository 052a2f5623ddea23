//! The machines on which pods run: what EC2 knows and what Kubernetes knows, joined.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::occupancy::FARGATE_PROFILE;
use crate::shape::ec2::{Instance, NetworkInterface, SecurityGroup, Subnet, tag};
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{EC2NodeClass, Node};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// A machine of the cluster: an EC2 instance, a Fargate node or a hybrid node, joined or not.
    Worker {
        /// The node's name, else the instance's id.
        name: Str,
        /// `ec2`, `fargate`, `hybrid` or `auto` (EKS Auto Mode).
        kind: Str,
        node: Option<Link<Node>>,
        instance: Option<Link<Instance>>,
        nodegroup: Option<Link<Nodegroup>>,
        subnet: Option<Link<Subnet>>,
        /// The primary interface.
        interface: Option<Link<NetworkInterface>>,
        /// All interfaces, branch interfaces of pods aside.
        interfaces: Vec<Link<NetworkInterface>>,
        /// The groups of the primary interface.
        groups: Vec<Link<SecurityGroup>>,
        /// Whether it is in the node list.
        joined: bool,
        /// Whether its `Ready` condition is true.
        ready: bool,
        address: Str,
        publicAddress: Str,
        zone: Str,
        instanceType: Str,
        /// The ARN of its instance profile.
        instanceProfile: Str,
        /// Whether it was launched less than a quarter of an hour before the snapshot was recorded.
        fresh: bool,
    }

    /// Where nodes run or would be launched: a subnet and the groups that they get there.
    Placement {
        /// `instances` (they run), `nodegroup` (its subnets), `karpenter`, `auto`, or `fargate`.
        kind: Str,
        subnet: Link<Subnet>,
        groups: Vec<Link<SecurityGroup>>,
        /// Whether nodes here have a public IPv4 address.
        public: bool,
        nodegroup: Option<Link<Nodegroup>>,
        nodeClass: Option<Link<EC2NodeClass>>,
        /// A primary interface that stands for all of them.
        interface: Option<Link<NetworkInterface>>,
        instances: Vec<Link<Instance>>,
        nodes: Vec<Link<Node>>,
        /// Whether nothing runs here and nothing is wanted here now.
        idle: bool,
    }
}

impl Placement {
    /// Where nodes of this kind are wanted and none is yet.
    fn wanted(kind: &'static str, subnet: Row, groups: Vec<Link<SecurityGroup>>) -> Placement {
        Placement {
            kind: Str::const_new(kind),
            subnet: Link::new(subnet),
            groups,
            public: false,
            nodegroup: None,
            nodeClass: None,
            interface: None,
            instances: Vec::new(),
            nodes: Vec::new(),
            idle: false,
        }
    }
}

impl Cluster {
    /// Every machine of the cluster. Instances that never joined count: they are the first symptom.
    pub fn workers(&self) -> Known<&[Arc<Worker>]> {
        if !self.snapshot.has("ec2:DescribeInstances") && !self.snapshot.has("k8s:nodes") {
            return Err(self.snapshot.missing("ec2:DescribeInstances", None));
        }
        Ok(self.cache.workers.get_or_init(|| self.find_workers()))
    }

    /// Instances that run for the cluster and are not in its node list, just launched ones aside.
    pub fn outsiders(&self) -> Known<Vec<&Arc<Worker>>> {
        let outside: Vec<_> = self.workers()?.iter().filter(|w| w.kind == "ec2" && !w.joined && !w.fresh).collect();
        if !outside.is_empty() {
            self.snapshot.whole::<Node>()?;
        }
        Ok(outside)
    }

    fn find_workers(&self) -> Vec<Arc<Worker>> {
        let tables = &self.snapshot.tables;
        let name = self.name();
        let mut by_instance: BTreeMap<Str, Row> = BTreeMap::new();
        let mut without: Vec<Row> = Vec::new();
        for node in tables.nodes.iter() {
            match node.spec.providerID.rsplit('/').next().filter(|id| id.starts_with("i-")) {
                Some(id) => {
                    by_instance.insert(Str::new(id), node.row);
                }
                None => without.push(node.row),
            }
        }
        let scaled: BTreeSet<&str> = self
            .nodegroups()
            .flat_map(|n| n.value.resources.iter())
            .flat_map(|r| r.autoScalingGroups.iter().map(|g| g.name.as_str()))
            .collect();
        let cluster_tag = format!("kubernetes.io/cluster/{name}");
        let vpc = self.vpc_id().ok();
        let mut workers = Vec::new();
        for instance in tables.instances.iter() {
            let node = by_instance.remove(&instance.InstanceId);
            let gone = matches!(instance.State.Name.as_str(), "terminated" | "shutting-down" | "stopped" | "stopping");
            let tagged = |key: &str| tag(&instance.Tags, key);
            let ours = tagged(&cluster_tag).is_some()
                || tagged("eks:cluster-name") == Some(&name)
                || tagged("aws:eks:cluster-name") == Some(&name)
                || tagged("eks:eks-cluster-name") == Some(&name)
                || tagged("aws:autoscaling:groupName").is_some_and(|g| scaled.contains(g));
            if node.is_some() || (ours && !gone && vpc.as_ref().is_none_or(|v| *v == instance.VpcId)) {
                workers.push(self.worker(node, Some(instance)));
            }
        }
        for row in by_instance.into_values().chain(without) {
            workers.push(self.worker(Some(row), None));
        }
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers.into_iter().map(Arc::new).collect()
    }

    fn worker(&self, node: Option<Row>, instance: Option<Rec<'_, Instance>>) -> Worker {
        let tables = &self.snapshot.tables;
        let known = node.map(|row| tables.nodes.at(row.index));
        let label = |key: &str| known.and_then(|n| n.value.metadata.labels.get(key)).cloned().unwrap_or_default();
        let provider = known.map_or("", |n| n.value.spec.providerID.as_str());
        let kind = if label("eks.amazonaws.com/compute-type") == "fargate" || provider.contains("/fargate-") {
            "fargate"
        } else if provider.starts_with("eks-hybrid:") || label("eks.amazonaws.com/compute-type") == "hybrid" {
            "hybrid"
        } else if label("eks.amazonaws.com/compute-type") == "auto"
            || instance.is_some_and(|i| tag(&i.value.Tags, "eks:kubernetes-node-pool-name").is_some())
        {
            "auto"
        } else {
            "ec2"
        };
        let address =
            instance.map(|i| i.value.PrivateIpAddress.clone()).filter(|a| !a.is_empty()).unwrap_or_else(|| {
                known
                    .and_then(|n| n.value.status.addresses.iter().find(|a| a.r#type == "InternalIP"))
                    .map(|a| a.address.clone())
                    .unwrap_or_default()
            });
        let instance_id = instance
            .map(|i| i.value.InstanceId.clone())
            .or_else(|| provider.rsplit('/').next().filter(|id| id.starts_with("i-")).map(Str::new));
        let mut interfaces: Vec<Rec<'_, NetworkInterface>> = match &instance_id {
            Some(id) => self.interfaces_of_instance(id),
            None => self.interface_with(&address).into_iter().collect(),
        };
        interfaces.retain(|i| i.InterfaceType != "branch");
        interfaces.sort_by_key(|i| {
            let attachment = i.value.Attachment.as_ref();
            (
                attachment.and_then(|a| a.NetworkCardIndex).unwrap_or(0),
                attachment.and_then(|a| a.DeviceIndex).unwrap_or(99),
            )
        });
        let primary = interfaces.first().copied();
        let subnet_id = primary
            .map(|p| p.value.SubnetId.clone())
            .or_else(|| instance.map(|i| i.value.SubnetId.clone()))
            .unwrap_or_default();
        let group_ids: Vec<Str> = match (primary, instance) {
            (Some(p), _) => p.value.Groups.iter().map(|g| g.GroupId.clone()).collect(),
            (None, Some(i)) => i.value.SecurityGroups.iter().map(|g| g.GroupId.clone()).collect(),
            (None, None) => Vec::new(),
        };
        let nodegroup_name = instance
            .and_then(|i| tag(&i.value.Tags, "eks:nodegroup-name").map(Str::new))
            .unwrap_or_else(|| label("eks.amazonaws.com/nodegroup"));
        let public = instance
            .map(|i| i.value.PublicIpAddress.clone())
            .filter(|a| !a.is_empty())
            .or_else(|| primary.and_then(|p| p.value.Association.as_ref()).map(|a| a.PublicIp.clone()))
            .unwrap_or_default();
        let ready =
            known.is_some_and(|n| n.value.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True"));
        Worker {
            name: known.map(|n| n.value.metadata.name.clone()).or_else(|| instance_id.clone()).unwrap_or_default(),
            kind: Str::const_new(kind),
            node: node.map(Link::new),
            instance: instance.map(|i| Link::new(i.row)),
            nodegroup: self.nodegroups().find(|n| n.nodegroupName == nodegroup_name).map(|n| Link::new(n.row)),
            subnet: tables.subnets.get(&subnet_id).map(|s| Link::new(s.row)),
            interface: primary.map(|p| Link::new(p.row)),
            interfaces: interfaces.iter().map(|i| Link::new(i.row)).collect(),
            groups: self.group_links(group_ids.iter().map(Str::as_str)),
            joined: node.is_some(),
            ready,
            address,
            publicAddress: public,
            zone: instance
                .map(|i| i.value.Placement.AvailabilityZone.clone())
                .filter(|z| !z.is_empty())
                .unwrap_or_else(|| label("topology.kubernetes.io/zone")),
            instanceType: instance
                .map(|i| i.value.InstanceType.clone())
                .filter(|z| !z.is_empty())
                .unwrap_or_else(|| label("node.kubernetes.io/instance-type")),
            instanceProfile: instance
                .and_then(|i| i.value.IamInstanceProfile.as_ref())
                .map(|p| p.Arn.clone())
                .unwrap_or_default(),
            fresh: instance.is_some_and(|i| self.launched_just_now(&i.value.LaunchTime)),
        }
    }

    /// A node needs some minutes to join.
    fn launched_just_now(&self, launch: &str) -> bool {
        let minutes = super::addresses::minutes;
        let now = self.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
        now.zip(minutes(launch)).is_some_and(|(now, then)| now - then < 15)
    }

    /// The managed node groups of this cluster.
    pub fn nodegroups(&self) -> impl Iterator<Item = Rec<'_, Nodegroup>> {
        let name = self.name();
        self.snapshot.tables.nodegroups.iter().filter(move |n| n.clusterName == name || n.clusterName.is_empty())
    }

    /// Whether all node groups are to have no machine, and nothing else launches one.
    pub fn scaled_to_zero(&self) -> bool {
        let tables = &self.snapshot.tables;
        let idle = |n: Rec<'_, Nodegroup>| n.value.scalingConfig.desiredSize == Some(0);
        self.nodegroups().next().is_some()
            && self.nodegroups().all(idle)
            && tables.auto_scaling_groups.iter().all(|g| g.DesiredCapacity.unwrap_or(0) == 0)
            && tables.node_pools.is_empty()
            && !self.auto_mode()
    }

    /// The groups of these ids that were recorded.
    pub fn group_links<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<Link<SecurityGroup>> {
        let groups = ids.filter_map(|id| self.snapshot.tables.security_groups.get(id));
        let mut rows: Vec<Row> = groups.map(|g| g.row).collect();
        rows.sort_unstable();
        rows.into_iter().map(Link::new).collect()
    }

    /// The interfaces that are attached to an instance.
    pub fn interfaces_of_instance(&self, id: &str) -> Vec<Rec<'_, NetworkInterface>> {
        let tables = &self.snapshot.tables;
        let index = self.cache.interfaces_of_instance.get_or_init(|| {
            let mut index: HashMap<Str, Vec<u32>> = HashMap::new();
            for interface in tables.network_interfaces.iter() {
                if let Some(attachment) = &interface.value.Attachment
                    && !attachment.InstanceId.is_empty()
                {
                    index.entry(attachment.InstanceId.clone()).or_default().push(interface.row.index);
                }
            }
            index
        });
        index.get(id).into_iter().flatten().map(|&i| tables.network_interfaces.at(i)).collect()
    }

    /// The interface that has a private address, prefixes aside.
    pub fn interface_with(&self, address: &str) -> Option<Rec<'_, NetworkInterface>> {
        let vpc = self.vpc_id().ok()?;
        let row = self.network.interface_of(&vpc, address.parse().ok()?)?;
        Some(self.snapshot.tables.network_interfaces.at(row.index))
    }

    /// Where nodes run or would be launched, one for each subnet, set of groups and owner.
    pub fn placements(&self) -> Known<&[Arc<Placement>]> {
        let workers = self.workers()?;
        self.snapshot.table::<crate::shape::ec2::Subnet>()?;
        Ok(self.cache.placements.get_or_init(|| self.find_placements(workers)))
    }

    fn find_placements(&self, workers: &[Arc<Worker>]) -> Vec<Arc<Placement>> {
        let tables = &self.snapshot.tables;
        let mut found: BTreeMap<(Row, Vec<Row>, bool, Option<Row>), Placement> = BTreeMap::new();
        for worker in workers.iter().filter(|w| w.kind != "hybrid") {
            let Some(subnet) = worker.subnet else { continue };
            let mut groups: Vec<Row> = worker.groups.iter().map(|g| g.row).collect();
            groups.sort();
            let public = !worker.publicAddress.is_empty();
            let kind = if worker.kind == "fargate" { "fargate" } else { "instances" };
            let key = (subnet.row, groups, public, worker.nodegroup.map(|n| n.row));
            let placement = found.entry(key).or_insert_with(|| Placement {
                kind: Str::const_new(kind),
                subnet,
                groups: worker.groups.clone(),
                public,
                nodegroup: worker.nodegroup,
                nodeClass: None,
                interface: worker.interface,
                instances: Vec::new(),
                nodes: Vec::new(),
                idle: false,
            });
            placement.instances.extend(worker.instance);
            placement.nodes.extend(worker.node);
        }
        let mut placements: Vec<Placement> = found.into_values().collect();
        let runs_in = |placements: &[Placement], subnet: Row, nodegroup: Option<Row>| {
            placements
                .iter()
                .any(|p| p.subnet.row == subnet && p.nodegroup.map(|n| n.row) == nodegroup && p.nodeClass.is_none())
        };
        for nodegroup in self.nodegroups().filter(|n| n.value.status != "DELETING") {
            let idle = nodegroup.value.scalingConfig.desiredSize == Some(0) && nodegroup.value.status == "ACTIVE";
            let groups = self.nodegroup_groups(nodegroup.value);
            let template = self.launch_template_data(nodegroup.value);
            let forced = template.and_then(|t| t.NetworkInterfaces.iter().find_map(|n| n.AssociatePublicIpAddress));
            for id in &nodegroup.subnets {
                let Some(subnet) = tables.subnets.get(id) else { continue };
                if runs_in(&placements, subnet.row, Some(nodegroup.row)) {
                    continue;
                }
                placements.push(Placement {
                    kind: Str::const_new("nodegroup"),
                    subnet: Link::new(subnet.row),
                    groups: self.group_links(groups.iter().map(Str::as_str)),
                    public: forced.or(subnet.MapPublicIpOnLaunch).unwrap_or(false),
                    nodegroup: Some(Link::new(nodegroup.row)),
                    nodeClass: None,
                    interface: None,
                    instances: Vec::new(),
                    nodes: Vec::new(),
                    idle,
                });
            }
        }
        for class in tables.ec2_node_classes.iter() {
            let name = &class.metadata.name;
            let idle = !tables.node_pools.iter().any(|p| p.spec.template.spec.nodeClassRef.name == *name);
            let groups: Vec<Str> = class.status.securityGroups.iter().map(|g| g.id.clone()).collect();
            for subnet in class.status.subnets.iter().filter_map(|s| tables.subnets.get(&s.id)) {
                placements.push(Placement {
                    kind: Str::const_new("karpenter"),
                    subnet: Link::new(subnet.row),
                    groups: self.group_links(groups.iter().map(Str::as_str)),
                    public: class.spec.associatePublicIPAddress.or(subnet.MapPublicIpOnLaunch).unwrap_or(false),
                    nodegroup: None,
                    nodeClass: Some(Link::new(class.row)),
                    interface: None,
                    instances: Vec::new(),
                    nodes: Vec::new(),
                    idle,
                });
            }
        }
        for class in tables.node_classes.iter().filter(|_| self.auto_mode()) {
            let groups: Vec<Str> = class.status.securityGroups.iter().map(|g| g.id.clone()).collect();
            for subnet in class.status.subnets.iter().filter_map(|s| tables.subnets.get(&s.id)) {
                if runs_in(&placements, subnet.row, None) {
                    continue;
                }
                let groups = self.group_links(groups.iter().map(Str::as_str));
                let public = subnet.MapPublicIpOnLaunch.unwrap_or(false);
                placements.push(Placement { public, ..Placement::wanted("auto", subnet.row, groups) });
            }
        }
        let cluster_group =
            self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        for profile in tables.fargate_profiles.iter() {
            for subnet in profile.subnets.iter().filter_map(|id| tables.subnets.get(id)) {
                if placements.iter().any(|p| p.kind == "fargate" && p.subnet.row == subnet.row) {
                    continue;
                }
                let groups = self.group_links([cluster_group.as_str()].into_iter());
                placements.push(Placement::wanted("fargate", subnet.row, groups));
            }
        }
        for (subnet, groups) in self.waiting_fargate_pods() {
            placements.push(Placement::wanted("fargate", subnet, groups));
        }
        placements.into_iter().map(Arc::new).collect()
    }

    /// Where Fargate pods that wait for a node would run, with the groups that SecurityGroupPolicies give them instead of
    /// the cluster's (<https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html>).
    fn waiting_fargate_pods(&self) -> Vec<(Row, Vec<Link<SecurityGroup>>)> {
        let tables = &self.snapshot.tables;
        let mut found: BTreeMap<(Row, Vec<Row>), _> = BTreeMap::new();
        for pod in tables.pods.iter().filter(|p| p.spec.nodeName.is_empty() && p.status.phase == "Pending") {
            let Some(label) = pod.metadata.labels.get(FARGATE_PROFILE) else { continue };
            let groups: BTreeSet<&Str> =
                self.group_policies_of(pod).flat_map(|p| &p.value.spec.securityGroups.groupIds).collect();
            if groups.is_empty() {
                continue;
            }
            let groups = self.group_links(groups.into_iter().map(Str::as_str));
            let subnets = tables.fargate_profiles.iter().filter(|p| p.fargateProfileName == *label);
            for subnet in subnets.flat_map(|p| &p.value.subnets).filter_map(|id| tables.subnets.get(id)) {
                let rows = groups.iter().map(|g| g.row).collect();
                found.insert((subnet.row, rows), groups.clone());
            }
        }
        found.into_iter().map(|((subnet, _), groups)| (subnet, groups)).collect()
    }

    /// The groups that a node group's nodes get: its launch template's, else the cluster's security group.
    pub fn nodegroup_groups(&self, nodegroup: &Nodegroup) -> Vec<Str> {
        if let Some(data) = self.launch_template_data(nodegroup) {
            if !data.SecurityGroupIds.is_empty() {
                return data.SecurityGroupIds.clone();
            }
            if let Some(first) = data.NetworkInterfaces.iter().find(|n| !n.Groups.is_empty()) {
                return first.Groups.clone();
            }
        }
        self.eks().map(|e| vec![e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()]).unwrap_or_default()
    }

    /// What the launch template of a node group sets.
    pub fn launch_template_data(&self, nodegroup: &Nodegroup) -> Option<&crate::shape::ec2::LaunchTemplateData> {
        let template = nodegroup.launchTemplate.as_ref()?;
        self.launch_template(&template.id, &template.version).map(|t| &t.value.LaunchTemplateData)
    }

    /// A version of a launch template: a number, `$Latest` or `$Default`.
    pub fn launch_template(
        &self,
        id: &str,
        version: &str,
    ) -> Option<Rec<'_, crate::shape::ec2::LaunchTemplateVersion>> {
        let versions = || self.snapshot.tables.launch_template_versions.iter().filter(|t| t.LaunchTemplateId == id);
        match version {
            "$Latest" => versions().max_by_key(|t| t.VersionNumber),
            "$Default" | "" => versions().find(|t| t.DefaultVersion == Some(true)),
            number => versions().find(|t| t.VersionNumber.is_some_and(|n| n.to_string() == number)),
        }
    }

    /// The interfaces of the control plane in the VPC (`Amazon EKS <cluster>`).
    pub fn control_plane_interfaces(&self) -> Known<Vec<Rec<'_, NetworkInterface>>> {
        let table = self.snapshot.table::<NetworkInterface>()?;
        let description = format!("Amazon EKS {}", self.eks()?.name);
        let found: Vec<_> = table.iter().filter(|i| i.Description == description).collect();
        if found.is_empty() {
            return Err(self.snapshot.missing("ec2:DescribeNetworkInterfaces", Some(&description)));
        }
        Ok(found)
    }
}
