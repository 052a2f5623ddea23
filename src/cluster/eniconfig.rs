//! Which ENIConfig a node takes, as the VPC CNI finds it (amazon-vpc-cni-k8s `pkg/eniconfig/eniconfig.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::cni::Cni;
use super::worker::Worker;
use crate::shape::ec2::{SecurityGroup, Subnet};
use crate::shape::k8s::{DaemonSet, ENIConfig, Node};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// An ENIConfig that nodes look for, and what they find.
    EniConfigChoice {
        /// The name they look for.
        name: Str,
        /// What gives the name: a label, an annotation, or `default` when the node has none of them.
        by: Str,
        /// The ENIConfig of that name.
        config: Option<Link<ENIConfig>>,
        daemonSet: Link<DaemonSet>,
        nodes: Vec<Link<Node>>,
        zones: Vec<Str>,
        /// Its subnet, when it was recorded.
        subnet: Option<Link<Subnet>>,
        /// Nodes whose zone is not the subnet's.
        elsewhere: Vec<Link<Node>>,
        /// The id of its subnet when the recorded subnets of the VPC do not hold it.
        unknownSubnet: Str,
        /// Ids of its security groups that the recorded groups of the VPC do not hold.
        unknownGroups: Vec<Str>,
        /// Its subnet or its first group that is of another VPC.
        foreign: Str,
    }

    /// The ENIConfigs that nodes look for and that are not there.
    EniConfigGap {
        daemonSet: Link<DaemonSet>,
        /// The names that are looked for.
        names: Vec<Str>,
        /// What gives the names.
        by: Str,
        /// The ENIConfigs that are there.
        existing: Vec<Str>,
        configs: Vec<Link<ENIConfig>>,
        nodes: Vec<Link<Node>>,
        zones: Vec<Str>,
        /// The commands that close the gap.
        commands: Vec<Str>,
        /// What these commands do.
        remedy: Str,
    }
}

const DEFAULT_KEY: &str = "k8s.amazonaws.com/eniConfig";
const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";

/// The name of the ENIConfig that a node asks for, and what gives it.
pub fn eni_config_name(cni: &Cni<'_>, node: &Node) -> (Str, String) {
    let annotation = cni.setting("ENI_CONFIG_ANNOTATION_DEF").unwrap_or(DEFAULT_KEY);
    let label = cni.setting("ENI_CONFIG_LABEL_DEF").unwrap_or(DEFAULT_KEY);
    let (labels, annotations) = (&node.metadata.labels, &node.metadata.annotations);
    if let Some(name) = labels.get(EXTERNAL_LABEL) {
        (name.clone(), format!("label {EXTERNAL_LABEL}"))
    } else if let Some(name) = annotations.get(annotation) {
        (name.clone(), format!("annotation {annotation}"))
    } else if let Some(name) = labels.get(label) {
        (name.clone(), format!("label {label}"))
    } else {
        (Str::const_new("default"), format!("no label {label} nor annotation {annotation} on the node"))
    }
}

impl Cluster {
    /// The subnet from which pods of a worker take their addresses; `None` when its ENIConfig is not there.
    pub fn pod_subnet(&self, cni: &Cni<'_>, worker: &Worker) -> Option<Rec<'_, Subnet>> {
        let tables = &self.snapshot.tables;
        if !cni.custom_networking() || cni.ipv6() {
            return worker.subnet.map(|s| tables.subnets.at(s.row.index));
        }
        let node = worker.node.map(|n| tables.nodes.at(n.row.index))?;
        let (name, _) = eni_config_name(cni, node.value);
        let config = tables.eni_configs.get(&name)?;
        let subnet = if config.spec.subnet.is_empty() {
            return worker.subnet.map(|s| tables.subnets.at(s.row.index));
        } else {
            tables.subnets.get(&config.spec.subnet)?
        };
        Some(subnet).filter(|s| worker.zone.is_empty() || s.AvailabilityZone == worker.zone)
    }

    /// Whether the recorded subnets are all of the cluster's VPC (else one that is not there tells nothing).
    fn subnets_complete(&self) -> bool {
        let subnets = &self.snapshot.tables.subnets;
        self.eks().is_ok_and(|e| e.value.resourcesVpcConfig.subnetIds.iter().all(|id| subnets.get(id).is_some()))
    }

    /// The ENIConfigs that nodes look for; none without custom networking.
    pub fn eni_config_choices(&self) -> Known<Vec<Arc<EniConfigChoice>>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        if !cni.custom_networking() || cni.ipv6() {
            return Ok(Vec::new());
        }
        let configs = self.snapshot.whole::<ENIConfig>()?;
        self.snapshot.table::<Node>()?;
        let tables = &self.snapshot.tables;
        let vpc = self.vpc_id().unwrap_or_default();
        let complete = self.subnets_complete();
        let cluster_group =
            self.eks().map(|e| e.value.resourcesVpcConfig.clusterSecurityGroupId.clone()).unwrap_or_default();
        let groups_complete = tables.security_groups.get(&cluster_group).is_some();
        let mut found: BTreeMap<(Str, String), EniConfigChoice> = BTreeMap::new();
        for worker in self.cni_workers()? {
            let Some(node) = worker.node.map(|n| tables.nodes.at(n.row.index)) else { continue };
            let (name, by) = eni_config_name(&cni, node.value);
            let choice = found.entry((name.clone(), by.clone())).or_insert_with(|| {
                let config = configs.get(&name);
                let spec = config.map(|c| &c.value.spec);
                let subnet = spec.and_then(|s| tables.subnets.get(&s.subnet));
                let groups = || spec.into_iter().flat_map(|s| &s.securityGroups);
                let foreign = |id: &Str| !id.is_empty() && !vpc.is_empty() && *id != vpc;
                EniConfigChoice {
                    name,
                    by: by.into(),
                    config: config.map(|c| Link::new(c.row)),
                    daemonSet: Link::new(cni.daemon_set.row),
                    nodes: Vec::new(),
                    zones: Vec::new(),
                    subnet: subnet.map(|s| Link::new(s.row)),
                    elsewhere: Vec::new(),
                    unknownSubnet: spec
                        .filter(|s| complete && !s.subnet.is_empty() && subnet.is_none())
                        .map(|s| s.subnet.clone())
                        .unwrap_or_default(),
                    unknownGroups: groups()
                        .filter(|g| groups_complete && tables.security_groups.get(g).is_none())
                        .cloned()
                        .collect(),
                    foreign: subnet
                        .filter(|s| foreign(&s.VpcId))
                        .map(|s| s.value.SubnetId.clone())
                        .or_else(|| {
                            let mut known = groups().filter_map(|g| tables.security_groups.get(g));
                            let group = known.find(|g: &Rec<'_, SecurityGroup>| foreign(&g.VpcId));
                            group.map(|g| g.value.GroupId.clone())
                        })
                        .unwrap_or_default(),
                }
            });
            let link = Link::new(node.row);
            choice.nodes.push(link);
            if !worker.zone.is_empty() && !choice.zones.contains(&worker.zone) {
                choice.zones.push(worker.zone.clone());
            }
            if let Some(subnet) = choice.subnet.map(|s| tables.subnets.at(s.row.index))
                && !worker.zone.is_empty()
                && !subnet.AvailabilityZone.is_empty()
                && subnet.AvailabilityZone != worker.zone
            {
                choice.elsewhere.push(link);
            }
        }
        for choice in found.values_mut() {
            choice.nodes.sort_by_key(|n| n.row);
        }
        Ok(found.into_values().map(Arc::new).collect())
    }

    /// What nodes look for and do not find, told once.
    pub fn eni_config_gap(&self) -> Known<Vec<Arc<EniConfigGap>>> {
        let choices = self.eni_config_choices()?;
        let mut lacking = choices.iter().filter(|c| c.config.is_none()).peekable();
        let Some(first) = lacking.peek() else { return Ok(Vec::new()) };
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let tables = &self.snapshot.tables;
        let mut gap = EniConfigGap {
            daemonSet: first.daemonSet,
            names: Vec::new(),
            by: first.by.clone(),
            existing: tables.eni_configs.iter().map(|c| c.metadata.name.clone()).collect(),
            configs: tables.eni_configs.iter().map(|c| Link::new(c.row)).collect(),
            nodes: Vec::new(),
            zones: Vec::new(),
            commands: Vec::new(),
            remedy: Str::default(),
        };
        let by_zone = |zone: &str| {
            tables
                .eni_configs
                .iter()
                .find(|c| tables.subnets.get(&c.spec.subnet).is_some_and(|s| s.AvailabilityZone == zone))
        };
        let key = cni.setting("ENI_CONFIG_LABEL_DEF").unwrap_or(DEFAULT_KEY).to_owned();
        let mut labelled = true;
        for choice in lacking {
            gap.names.push(choice.name.clone());
            gap.nodes.extend(choice.nodes.iter().copied());
            for zone in &choice.zones {
                if !gap.zones.contains(zone) {
                    gap.zones.push(zone.clone());
                }
            }
            if choice.name == "default" && choice.by.starts_with("no label") {
                // The nodes name none: each can be pointed at the one of its zone.
                for node in &choice.nodes {
                    let node = tables.nodes.at(node.row.index);
                    let zone = node.metadata.labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default();
                    let config = by_zone(&zone)
                        .map_or_else(|| Str::from(format!("<eniconfig-of-{zone}>")), |c| c.metadata.name.clone());
                    if gap.commands.len() < 10 {
                        gap.commands.push(format!("kubectl label node {} {key}={config}", node.metadata.name).into());
                    }
                }
            } else {
                labelled = false;
                let zone = choice.zones.first().cloned().unwrap_or_default();
                let like = by_zone(&zone);
                let subnet = like.map(|c| c.spec.subnet.clone()).unwrap_or_else(|| self.spare_pod_subnet(&zone));
                let groups: Vec<String> = like
                    .or(tables.eni_configs.iter().next())
                    .map(|c| c.spec.securityGroups.iter().map(|g| format!("\"{g}\"")).collect())
                    .unwrap_or_default();
                let groups = if groups.is_empty() {
                    String::new()
                } else {
                    format!(",\"securityGroups\":[{}]", groups.join(","))
                };
                gap.commands.push(
                    format!(
                        "kubectl apply -f - <<< '{{\"apiVersion\":\"crd.k8s.amazonaws.com/v1alpha1\",\"kind\":\"ENIConfig\",\"metadata\":{{\"name\":\"{}\"}},\"spec\":{{\"subnet\":\"{subnet}\"{groups}}}}}'",
                        choice.name
                    )
                    .into(),
                );
            }
        }
        gap.remedy = if labelled {
            "Let the nodes name their ENIConfig"
        } else {
            "Create the ENIConfigs that the nodes look for"
        }
        .into();
        Ok(vec![Arc::new(gap)])
    }

    /// The subnet that the nodes of a choice should get: of another ENIConfig of their zone, else one for pods there.
    pub fn pod_subnet_for(&self, choice: &EniConfigChoice) -> Str {
        let tables = &self.snapshot.tables;
        let of_node = choice.elsewhere.first().map(|n| tables.nodes.at(n.row.index));
        let zone = of_node
            .and_then(|n| n.value.metadata.labels.get("topology.kubernetes.io/zone"))
            .or(choice.zones.first())
            .cloned()
            .unwrap_or_default();
        tables
            .eni_configs
            .iter()
            .filter(|c| c.metadata.name != choice.name)
            .find(|c| tables.subnets.get(&c.spec.subnet).is_some_and(|s| s.AvailabilityZone == zone))
            .map_or_else(|| self.spare_pod_subnet(&zone), |c| c.spec.subnet.clone())
    }

    /// The subnet of a zone that looks made for pods: in a secondary range of the VPC, with the most free addresses.
    fn spare_pod_subnet(&self, zone: &str) -> Str {
        let vpc = self.vpc_id().unwrap_or_default();
        let tables = &self.snapshot.tables;
        let primary: Option<ipnet::Ipv4Net> = tables.vpcs.get(&vpc).and_then(|v| v.CidrBlock.parse().ok());
        tables
            .subnets
            .iter()
            .filter(|s| s.VpcId == vpc && s.AvailabilityZone == zone)
            .filter(|s| {
                let cidr: Option<ipnet::Ipv4Net> = s.CidrBlock.parse().ok();
                cidr.zip(primary).is_some_and(|(cidr, primary)| !primary.contains(&cidr))
            })
            .max_by_key(|s| s.AvailableIpAddressCount)
            .map_or_else(|| format!("<pod-subnet-in-{zone}>").into(), |s| s.SubnetId.clone())
    }
}
