//! What the VPC CNI's settings mean for the nodes, subnets and pods that are there.

use std::collections::BTreeSet;

use super::Cluster;
use super::addons::{addon_values, default_of};
use super::addresses::AddressPool;
use super::capacity::max_pods;
use super::cni::Cni;
use super::pods::ended;
use super::selector::selects;
use super::version::Version;
use crate::network::{Disposition, End, Flow};
use crate::shape::ec2::{NetworkAcl, NetworkInterface, Subnet, tag};
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{ConfigMap, Event, NetworkPolicy, Pod, SecurityGroupPolicy};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Missing, Rec};

/// Settings and the version that knows them (the README of amazon-vpc-cni-k8s).
const SINCE: [(&str, Version); 5] = [
    ("ENABLE_PREFIX_DELEGATION", Version(1, 9, 0)),
    ("ENABLE_IPv6", Version(1, 10, 1)),
    ("ENABLE_POD_ENI", Version(1, 7, 0)),
    ("ENABLE_SUBNET_DISCOVERY", Version(1, 18, 0)),
    ("ENABLE_BANDWIDTH_PLUGIN", Version(1, 10, 0)),
];

/// Settings that change how pods get addresses; an update of the add-on that overwrites takes them back.
const WEIGHTY: [&str; 12] = [
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "ENABLE_POD_ENI",
    "ENABLE_PREFIX_DELEGATION",
    "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF",
    "MAX_ENI",
    "MINIMUM_IP_TARGET",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "WARM_PREFIX_TARGET",
];

impl Cluster {
    /// Settings that are on and that this version does not know.
    pub fn settings_too_new(&self, cni: &Cni<'_>) -> Known<Vec<Str>> {
        // Without a tagged subnet it does not matter whether aws-node looks for one.
        let tagged = || self.snapshot.tables.subnets.iter().any(|s| tag(&s.Tags, "kubernetes.io/role/cni").is_some());
        let matters = |name: &str| name != "ENABLE_SUBNET_DISCOVERY" || tagged();
        let on: Vec<_> = SINCE.iter().filter(|(name, _)| cni.on(name) && matters(name)).collect();
        let Some(version) = cni.version.filter(|_| !on.is_empty()) else {
            return if on.is_empty() { Ok(Vec::new()) } else { Err(version_unknown()) };
        };
        Ok(on
            .into_iter()
            .filter(|(_, since)| version < *since)
            .map(|(name, since)| format!("{name} ({since} and later)").into())
            .collect())
    }

    /// Settings of the daemon set that the add-on's configuration does not hold.
    pub fn settings_beside_addon(&self, cni: &Cni<'_>) -> Known<Vec<Str>> {
        let Some(addon) = self.cni_addon()? else { return Ok(Vec::new()) };
        let values = addon_values(addon.value).ok_or_else(|| Missing {
            read: "eks:DescribeAddon".to_owned(),
            reason: "configurationValues of vpc-cni cannot be read".to_owned(),
        })?;
        Ok(WEIGHTY
            .iter()
            .filter(|name| values.get("env").and_then(|env| env.get(**name)).is_none())
            .filter_map(|name| Some((name, cni.setting(name)?)))
            .filter(|(name, value)| !value.eq_ignore_ascii_case(default_of(name, self.is_ipv6())))
            .map(|(name, value)| format!("{name}={value}").into())
            .collect())
    }

    /// Trunk interfaces of nodes that nobody uses any more: security groups for pods are off.
    pub fn idle_trunks(&self, cni: &Cni<'_>) -> Known<Vec<Rec<'_, NetworkInterface>>> {
        let table = self.snapshot.table::<NetworkInterface>()?;
        if cni.pod_eni() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for worker in self.cni_workers()? {
            let own = worker.interfaces.iter().map(|i| table.at(i.row.index));
            found.extend(own.filter(|i| i.value.InterfaceType == "trunk"));
        }
        Ok(found)
    }

    /// Events that tell that the VPC CNI cannot take a pod's network down.
    pub fn teardown_events(&self) -> Known<Vec<Rec<'_, Event>>> {
        let table = self.snapshot.table::<Event>()?;
        Ok(table
            .iter()
            .filter(|e| e.reason == "FailedKillPod" && e.message.contains("aws-cni") && e.message.contains("delete"))
            .take(50)
            .collect())
    }

    /// Pods on branch interfaces that a kubelet probes over the network.
    pub fn probed_branch_pods(&self) -> Known<Vec<Rec<'_, Pod>>> {
        let pods = self.snapshot.table::<Pod>()?;
        Ok(pods
            .iter()
            .filter(|p| p.metadata.annotations.contains_key("vpc.amazonaws.com/pod-eni") && !ended(p.value))
            .filter(|p| {
                let mut probes = p.spec.containers.iter().flat_map(|c| [&c.readinessProbe, &c.livenessProbe]);
                probes.any(|probe| probe.as_ref().is_some_and(|p| p.httpGet.is_some() || p.tcpSocket.is_some()))
            })
            .take(50)
            .collect())
    }

    /// Pods that a policy selects and that the VPC CNI's agent leaves alone, because nobody owns them.
    pub fn bare_pods_of(&self, policy: &NetworkPolicy) -> Known<Vec<Rec<'_, Pod>>> {
        if self.policy_engine()? != Some("the VPC CNI") {
            return Ok(Vec::new());
        }
        let pods = self.snapshot.table::<Pod>()?;
        let bare = self.cache.bare_pods.get_or_init(|| {
            pods.iter()
                .filter(|p| p.metadata.ownerReferences.is_empty() && p.spec.hostNetwork != Some(true))
                .filter(|p| !ended(p.value))
                .map(|p| p.row)
                .collect()
        });
        Ok(bare
            .iter()
            .map(|row| pods.at(row.index))
            .filter(|p| p.metadata.namespace == policy.metadata.namespace)
            .filter(|p| selects(&policy.spec.podSelector, &p.metadata.labels))
            .take(50)
            .collect())
    }

    /// Pods that a SecurityGroupPolicy selects and that run on nodes of EKS Auto Mode, which knows no such policies.
    pub fn policy_pods_on_auto_nodes(&self, policy: &SecurityGroupPolicy) -> Known<Vec<Rec<'_, Pod>>> {
        let auto: BTreeSet<Str> = self.workers()?.iter().filter(|w| w.kind == "auto").map(|w| w.name.clone()).collect();
        if auto.is_empty() {
            return Ok(Vec::new());
        }
        let pods = self.snapshot.table::<Pod>()?;
        Ok(pods
            .iter()
            .filter(|p| p.metadata.namespace == policy.metadata.namespace && !ended(p.value))
            .filter(|p| auto.contains(&p.spec.nodeName) && p.spec.hostNetwork != Some(true))
            .filter(|p| policy.spec.podSelector.as_ref().is_some_and(|s| selects(s, &p.metadata.labels)))
            .take(50)
            .collect())
    }

    /// Nodes that run Windows.
    pub fn nodes_on_windows(&self) -> Known<Vec<Row>> {
        let nodes = self.snapshot.table::<crate::shape::k8s::Node>()?;
        Ok(nodes
            .iter()
            .filter(|n| {
                n.status.nodeInfo.operatingSystem == "windows"
                    || n.metadata.labels.get("kubernetes.io/os").is_some_and(|os| os == "windows")
            })
            .map(|n| n.row)
            .collect())
    }

    /// The pod limits that the types of a node group would have alone: type and limit, lowest first.
    ///
    /// # Errors
    /// When a type's limits are not recorded.
    pub fn pod_limits_of(&self, nodegroup: &Nodegroup) -> Known<Vec<(i64, Str)>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for kind in &nodegroup.instanceTypes {
            let limits = self.limits(kind)?;
            let enis = limits.interfaces - i64::from(cni.custom_networking() && !cni.ipv6());
            let prefixes = (cni.prefix_delegation() || cni.ipv6()) && limits.nitro;
            let sum = max_pods(enis, limits.addresses, if prefixes { 16 } else { 1 });
            let cap = if limits.vcpus < 30 { 110 } else { 250 };
            found.push((if prefixes { sum.min(cap) } else { sum }, kind.clone()));
        }
        found.sort();
        Ok(found)
    }

    /// The network ACL that lets answers to node processes in and drops those to the ports by which the VPC CNI
    /// translates pods' connections (`AWS_VPC_K8S_CNI_RANDOMIZESNAT`, 1024 to 65535).
    pub fn acl_narrow_for_pods(&self, pool: &AddressPool) -> Known<Option<Rec<'_, NetworkAcl>>> {
        let Some(cni) = self.cni()? else { return Ok(None) };
        if cni.external_snat() || cni.ipv6() || cni.setting("AWS_VPC_K8S_CNI_RANDOMIZESNAT") == Some("none") {
            return Ok(None);
        }
        let tables = &self.snapshot.tables;
        let mut subnets: BTreeSet<Row> = BTreeSet::new();
        for node in &pool.nodes {
            let name = &tables.nodes.at(node.row.index).value.metadata.name;
            let Some(worker) = self.worker_of_node(name) else { continue };
            let (Some(subnet), Some(interface)) = (worker.subnet, worker.interface) else { continue };
            // Translated packets leave by the node's own interface; one node of a subnet stands for all of them.
            if !subnets.insert(subnet.row) {
                continue;
            }
            let interface = tables.network_interfaces.at(interface.row.index);
            let usual = Flow::tcp(End::interface(&interface.NetworkInterfaceId), End::Internet, 443);
            // AWS's own advice for ACLs begins at 1025, which leaves out one port of 64,512.
            let translated = Flow { client_ports: 1025..=u16::MAX, ..usual.clone() };
            if self.network.decide(&usual) == Disposition::Reachable
                && self.network.decide(&translated) == Disposition::Blocked
            {
                let id = &tables.subnets.at(subnet.row.index).value.SubnetId;
                let row = self.network.acl_of(id)?;
                return Ok(Some(tables.network_acls.at(row.index)));
            }
        }
        Ok(None)
    }

    /// Why the tags by which aws-node finds subnets for pods do nothing on this one; empty when they do, or are not
    /// there, or keep it for another cluster.
    pub fn idle_subnet_tag(&self, subnet: &Subnet) -> Known<Str> {
        let Some(cni) = self.cni()?.filter(|cni| self.discovers_subnets(cni)) else { return Ok(Str::default()) };
        let Some(role) = tag(&subnet.Tags, "kubernetes.io/role/cni") else { return Ok(Str::default()) };
        let Some(version) = cni.version else { return Err(version_unknown()) };
        if role.is_empty() && version >= Version(1, 22, 0) {
            return Ok(Str::const_new("its value is empty, and since v1.22.0 only a value other than 0 counts"));
        }
        if role == "0" {
            return Ok(Str::default());
        }
        let (prefix, named) = cluster_tags(subnet, version);
        let own = cni.setting("CLUSTER_NAME").unwrap_or_default();
        let ours = self.name();
        if version >= Version(1, 22, 0)
            && !own.is_empty()
            && own != ours
            && named.contains(&ours.as_str())
            && !named.contains(&own)
        {
            return Ok(format!("{prefix}{ours} names this cluster, but aws-node has CLUSTER_NAME={own}").into());
        }
        Ok(Str::default())
    }

    /// Whether a node subnet is kept from pods by its tag (since v1.22.0; older ones take it all the same).
    pub fn keeps_pods_out(&self, cni: &Cni<'_>, subnet: &Subnet) -> Known<bool> {
        if cni.custom_networking() || tag(&subnet.Tags, "kubernetes.io/role/cni") != Some("0") {
            return Ok(false);
        }
        match cni.version {
            Some(version) => Ok(version >= Version(1, 22, 0)),
            None => Err(version_unknown()),
        }
    }
}

/// The clusters that a subnet is kept for, and the prefix of the tags that say so: `kubernetes.io/cluster/` in v1.22.0,
/// another one since v1.22.1 (amazon-vpc-cni-k8s#3647); no tag of the kind counted before.
pub fn cluster_tags(subnet: &Subnet, version: Version) -> (&'static str, Vec<&str>) {
    let prefix = if version < Version(1, 22, 1) { "kubernetes.io/cluster/" } else { "cni.networking.k8s.aws/cluster/" };
    if version < Version(1, 22, 0) {
        return (prefix, Vec::new());
    }
    (prefix, subnet.Tags.iter().filter_map(|t| t.Key.strip_prefix(prefix)).collect())
}

fn version_unknown() -> Missing {
    Missing {
        read: "k8s:daemonsets.apps".to_owned(),
        reason: "the image of aws-node does not tell its version".to_owned(),
    }
}

/// Whether the ConfigMap `amazon-vpc-cni` makes the control plane give Windows pods addresses, as Go's
/// `strconv.ParseBool` takes it.
pub(crate) fn windows_ipam(map: &ConfigMap) -> bool {
    let on = |said: &Str| matches!(said.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True");
    map.metadata.name == "amazon-vpc-cni" && map.data.get("enable-windows-ipam").is_some_and(on)
}
