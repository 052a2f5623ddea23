//! How pods get addresses: the VPC CNI's settings on the `aws-node` daemon set.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Cluster;
use super::version::Version;
use crate::shape::k8s::{Condition, DaemonSet, Node};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Rec};

/// What is in the names of daemon sets that give pods their network.
const CNIS: &[&str] = &[
    "aws-node",
    "cilium",
    "calico",
    "canal",
    "antrea",
    "weave",
    "flannel",
    "kube-router",
    "ovn",
    "romana",
    "multus",
    "kindnet",
    "nsx",
    "cni",
];

/// The VPC CNI of the cluster.
#[derive(Debug, Clone)]
pub struct Cni<'a> {
    pub daemon_set: Rec<'a, DaemonSet>,
    pub version: Option<Version>,
    /// The environment of its `aws-node` container.
    pub env: BTreeMap<&'a str, &'a str>,
}

impl Cni<'_> {
    /// The setting `name`, when it is there and not empty.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.env.get(name).copied().filter(|v| !v.is_empty())
    }
    /// Whether a boolean setting is on (the CNI reads them with Go's `strconv.ParseBool`).
    pub fn on(&self, name: &str) -> bool {
        self.setting(name).is_some_and(|v| matches!(v, "true" | "True" | "TRUE" | "t" | "T" | "1"))
    }
    /// A numeric setting.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }
    /// `AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG`: pods take addresses from ENIConfigs.
    pub fn custom_networking(&self) -> bool {
        self.on("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG")
    }
    /// `ENABLE_PREFIX_DELEGATION`: pods take addresses from /28 prefixes.
    pub fn prefix_delegation(&self) -> bool {
        self.on("ENABLE_PREFIX_DELEGATION")
    }
    /// `AWS_VPC_K8S_CNI_EXTERNALSNAT`: packets of pods leave with the pod's address.
    pub fn external_snat(&self) -> bool {
        self.on("AWS_VPC_K8S_CNI_EXTERNALSNAT")
    }
    /// `ENABLE_POD_ENI`: security groups for pods.
    pub fn pod_eni(&self) -> bool {
        self.on("ENABLE_POD_ENI")
    }
    pub fn ipv6(&self) -> bool {
        self.on("ENABLE_IPv6")
    }
    /// How security groups for pods are enforced: `strict` (default) or `standard`.
    pub fn enforcing_mode(&self) -> Str {
        Str::new(self.setting("POD_SECURITY_GROUP_ENFORCING_MODE").unwrap_or("strict"))
    }
}

impl Cluster {
    /// The VPC CNI; `Ok(None)` when the daemon sets were read and it is not among them (another CNI, Auto Mode), or it
    /// was put aside.
    pub fn cni(&self) -> Known<Option<Cni<'_>>> {
        let table = self.snapshot.table::<DaemonSet>()?;
        let Some(daemon_set) = table.get("kube-system/aws-node") else { return Ok(None) };
        // How Calico and Cilium put the VPC CNI aside: a selector that no node fits.
        let spec = &daemon_set.value.spec.template.spec;
        if !spec.nodeSelector.is_empty() && daemon_set.value.status.desiredNumberScheduled == Some(0) {
            return Ok(None);
        }
        let containers = &spec.containers;
        let Some(container) = containers.iter().find(|c| c.name == "aws-node").or(containers.first()) else {
            return Ok(None);
        };
        let env = container.env.iter().map(|e| (e.name.as_str(), e.value.as_str())).collect();
        Ok(Some(Cni { daemon_set, version: Version::of_image(&container.image), env }))
    }

    /// Whether a node is not ready for want of a CNI, and not just launched.
    pub(super) fn waits_for_cni(&self, node: &Node) -> bool {
        let mut conditions = node.status.conditions.iter().filter(|c| c.r#type == "Ready" && c.status != "True");
        let said = |c: &Condition| c.message.contains("NetworkPluginNotReady") || c.message.contains("cni");
        conditions.any(said) && !self.is_new(&node.metadata.creationTimestamp)
    }

    /// Nodes on EC2 that wait for a CNI, when no daemon set looks like one: EKS installs none where a cluster is made
    /// without its default add-ons (`bootstrapSelfManagedAddons`).
    pub fn nodes_without_cni(&self) -> Known<Vec<Row>> {
        let sets = self.snapshot.whole::<DaemonSet>()?;
        let named = |name: &str| CNIS.iter().any(|cni| name.contains(cni));
        if self.auto_mode() || sets.iter().any(|s| named(&s.metadata.name)) {
            return Ok(Vec::new());
        }
        self.snapshot.whole::<Node>()?;
        let workers: Vec<_> = self.workers()?.iter().filter(|w| w.kind == "ec2" && w.joined).collect();
        // Where nodes are ready, they had the VPC CNI if their pods have addresses of the VPC; another CNI may bear any name.
        if workers.iter().any(|w| w.ready) && !self.pods_have_vpc_addresses() {
            return Ok(Vec::new());
        }
        let nodes = &self.snapshot.tables.nodes;
        let rows = workers.iter().filter_map(|w| w.node).map(|n| n.row);
        Ok(rows.filter(|row| self.waits_for_cni(nodes.at(row.index).value)).collect())
    }

    /// The daemon set aws-node: as it works, or put aside although no other CNI is there to work in its place.
    pub(super) fn aws_node(&self) -> Known<Option<Rec<'_, DaemonSet>>> {
        if let Some(cni) = self.cni()? {
            return Ok(Some(cni.daemon_set));
        }
        let sets = self.snapshot.whole::<DaemonSet>()?;
        let other = |name: &str| name != "aws-node" && CNIS.iter().any(|cni| name.contains(cni));
        let replaced = self.auto_mode() || sets.iter().any(|s| other(&s.metadata.name));
        let elsewhere = self.workers()?.iter().any(|w| w.ready) && !self.pods_have_vpc_addresses();
        Ok(sets.get("kube-system/aws-node").filter(|_| !replaced && !elsewhere))
    }

    /// Whether pods have addresses, and all of them lie in the VPC.
    fn pods_have_vpc_addresses(&self) -> bool {
        let ranges: Vec<IpNet> = self.vpc_ranges().iter().filter_map(|r| r.parse().ok()).collect();
        let pods = self.snapshot.tables.pods.iter().filter(|p| p.spec.hostNetwork != Some(true));
        let mut addresses = pods.filter_map(|p| p.value.status.podIP.parse::<IpAddr>().ok()).peekable();
        addresses.peek().is_some() && addresses.all(|a| ranges.iter().any(|r| r.contains(&a)))
    }

    /// The commands that install the VPC CNI and what else every node needs and is not there.
    pub fn install_commands(&self) -> Vec<Str> {
        let tables = &self.snapshot.tables;
        let set = |name: &str| tables.daemon_sets.iter().any(|s| s.metadata.name.starts_with(name));
        let there =
            [("vpc-cni", false), ("kube-proxy", set("kube-proxy")), ("coredns", self.coredns_deployment().is_some())];
        there
            .into_iter()
            .filter(|(_, there)| !there)
            .map(|(name, _)| {
                let at = format!("--region {} --cluster-name {} --addon-name {name}", self.region_name(), self.name());
                // Where EKS has the add-on, somebody took away what it had installed.
                if self.has_addon(name) {
                    format!("aws eks update-addon {at} --resolve-conflicts OVERWRITE").into()
                } else {
                    format!("aws eks create-addon {at}").into()
                }
            })
            .collect()
    }

    /// Whether nodes run the agent that hands out Pod Identity credentials; in Auto Mode it is part of them.
    pub fn pod_identity_agent_runs(&self) -> Known<bool> {
        let sets = self.snapshot.whole::<DaemonSet>()?;
        // A Helm release may give the daemon set another name.
        let agent = |set: &DaemonSet| {
            let mut images = set.spec.template.spec.containers.iter().map(|c| &c.image);
            set.metadata.name.contains("eks-pod-identity-agent") || images.any(|i| i.contains("eks-pod-identity-agent"))
        };
        Ok(self.auto_mode() || sets.iter().any(|s| agent(s.value)))
    }

    /// Whether EKS Auto Mode runs the nodes.
    pub fn auto_mode(&self) -> bool {
        self.eks().is_ok_and(|e| e.value.computeConfig.as_ref().is_some_and(|c| c.enabled == Some(true)))
    }

    /// Whether pods and nodes use IPv6 addresses; without the cluster's answer, as aws-node is set.
    pub fn is_ipv6(&self) -> bool {
        match self.eks() {
            Ok(eks) => eks.value.kubernetesNetworkConfig.ipFamily == "ipv6",
            Err(_) => self.cni().ok().flatten().is_some_and(|cni| cni.ipv6()),
        }
    }
}
