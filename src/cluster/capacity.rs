//! How many pods a node can serve: interfaces and addresses of its type under the CNI's settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::cni::Cni;
use super::worker::Worker;
use crate::shape::ec2::{InstanceType, NetworkInterface, tag};
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{Node, Pod};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// Nodes of one instance type and pod limit: what they advertise and what the VPC CNI can serve on them.
    Capacity {
        instanceType: Str,
        nodegroup: Option<Link<Nodegroup>>,
        /// The Karpenter EC2NodeClass that made them.
        nodeClass: Str,
        /// The Karpenter NodePool that made them.
        nodePool: Str,
        nodes: Vec<Link<Node>>,
        /// Nodes with more pods than can be served.
        overcommitted: Vec<Link<Node>>,
        /// Nodes whose pod limit is used up.
        full: Vec<Link<Node>>,
        /// Pods on them that get no address.
        starving: Vec<Link<Pod>>,
        /// `status.allocatable.pods`.
        advertised: i64,
        /// Interfaces that may carry pods, by the instance type (`MaximumNetworkInterfaces` of its default card).
        interfaces: Option<i64>,
        /// `Ipv4AddressesPerInterface`.
        addressesPerInterface: Option<i64>,
        /// Pods that the CNI can serve as it is set.
        served: Option<i64>,
        /// Pods that it could serve with secondary addresses and no custom networking: the AMI's default.
        plain: Option<i64>,
        /// The recommended limit with prefixes: 110 below 30 vCPUs, else 250, never more than addresses.
        recommended: Option<i64>,
        /// Interfaces that `MAX_ENI` takes away.
        cutByMaxEni: i64,
        /// Interfaces that somebody else holds (tag `node.k8s.amazonaws.com/no_manage`).
        unmanaged: i64,
        /// Whether the type can take prefixes (Nitro or bare metal).
        nitro: bool,
        customNetworking: bool,
        prefixes: bool,
        /// How the number comes about, for people.
        formula: Str,
    }
}

/// What an instance type holds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub interfaces: i64,
    pub addresses: i64,
    pub nitro: bool,
    pub vcpus: i64,
}

impl Limits {
    pub fn of(kind: &InstanceType) -> Option<Limits> {
        let network = &kind.NetworkInfo;
        let card = network.DefaultNetworkCardIndex.unwrap_or(0);
        let interfaces = network
            .NetworkCards
            .iter()
            .find(|c| c.NetworkCardIndex.unwrap_or(0) == card)
            .and_then(|c| c.MaximumNetworkInterfaces)
            .or(network.MaximumNetworkInterfaces)?;
        Some(Limits {
            interfaces,
            addresses: network.Ipv4AddressesPerInterface?,
            nitro: kind.Hypervisor == "nitro" || kind.BareMetal == Some(true),
            vcpus: kind.VCpuInfo.DefaultVCpus.unwrap_or(0),
        })
    }
}

/// `interfaces x (addresses - 1) + 2`: the two are aws-node and kube-proxy, which use the node's address
/// (amazon-eks-ami `max-pods-calculator.sh`).
pub fn max_pods(interfaces: i64, addresses: i64, per_slot: i64) -> i64 {
    interfaces.max(0) * (addresses - 1).max(0) * per_slot + 2
}

impl Cluster {
    /// What an instance type holds; `Err` when it was not recorded.
    pub fn limits(&self, instance_type: &str) -> Known<Limits> {
        let found = self.snapshot.find::<InstanceType>(instance_type)?;
        Limits::of(found.value).ok_or_else(|| self.snapshot.missing("ec2:DescribeInstanceTypes", Some(instance_type)))
    }

    /// Windows nodes to which the control plane has given no addresses for pods, just launched ones aside.
    pub fn windows_nodes_without_addresses(&self) -> Known<Vec<Row>> {
        // Another CNI has its own way to give them.
        if self.cni()?.is_none() {
            return Ok(Vec::new());
        }
        let nodes = self.snapshot.table::<Node>()?;
        let offers = |n: &Node| {
            let amount = n.status.allocatable.get("vpc.amazonaws.com/PrivateIPv4Address");
            amount.and_then(|a| a.as_int()).is_some_and(|a| a > 0)
        };
        // Calico, too, serves Windows nodes beside aws-node.
        let served = |n: &Node| {
            self.snapshot.tables.pods.iter().any(|p| {
                p.spec.nodeName == n.metadata.name && !p.status.podIP.is_empty() && p.status.podIP != p.status.hostIP
            })
        };
        let workers = self.workers()?.iter().filter(|w| w.kind == "ec2" && w.joined && w.ready && !w.fresh);
        let rows = workers.filter_map(|w| w.node).map(|n| n.row);
        Ok(rows
            .filter(|row| {
                let node = nodes.at(row.index).value;
                node.status.nodeInfo.operatingSystem == "windows" && !offers(node) && !served(node)
            })
            .collect())
    }

    /// The cluster's Linux nodes on EC2 that the VPC CNI serves.
    pub fn cni_workers(&self) -> Known<Vec<&Arc<Worker>>> {
        if self.cni()?.is_none() {
            return Ok(Vec::new());
        }
        let nodes = &self.snapshot.tables.nodes;
        Ok(self
            .workers()?
            .iter()
            .filter(|w| w.kind == "ec2")
            .filter(|w| {
                w.node.map(|n| nodes.at(n.row.index)).is_none_or(|n| {
                    let labelled = n.value.metadata.labels.get("kubernetes.io/os");
                    n.status.nodeInfo.operatingSystem != "windows" && labelled.is_none_or(|os| os != "windows")
                })
            })
            .collect())
    }

    /// Nodes of the VPC CNI whose interfaces carry no addresses for pods: neither secondary IPv4 addresses nor prefixes.
    pub fn bare_nodes(&self) -> Known<Vec<Rec<'_, Node>>> {
        let tables = &self.snapshot.tables;
        self.snapshot.table::<NetworkInterface>()?;
        let bare = |w: &Worker| {
            let interfaces = w.interfaces.iter().map(|i| tables.network_interfaces.at(i.row.index));
            !w.fresh
                && !w.interfaces.is_empty()
                && interfaces.into_iter().all(|i| i.PrivateIpAddresses.len() <= 1 && i.Ipv4Prefixes.is_empty())
        };
        let workers = self.cni_workers()?.into_iter().filter(|w| bare(w));
        Ok(workers.filter_map(|w| Some(tables.nodes.at(w.node?.row.index))).collect())
    }

    /// The nodes by instance type, group and pod limit.
    pub fn capacities(&self) -> Known<&[Arc<Capacity>]> {
        self.snapshot.table::<Node>()?;
        let Some(cni) = self.cni()? else { return Ok(&[]) };
        let workers = self.cni_workers()?;
        Ok(self.cache.capacities.get_or_init(|| self.find_capacities(&cni, &workers)))
    }

    fn find_capacities(&self, cni: &Cni<'_>, workers: &[&Arc<Worker>]) -> Vec<Arc<Capacity>> {
        let tables = &self.snapshot.tables;
        let occupancy = self.occupancy().ok();
        type Key = (Str, Option<Row>, Str, i64, i64, bool, bool);
        let mut groups: BTreeMap<Key, Capacity> = BTreeMap::new();
        for worker in workers {
            let Some(node) = worker.node.map(|n| tables.nodes.at(n.row.index)) else { continue };
            let Some(advertised) = node.status.allocatable.get("pods").and_then(|p| p.as_int()) else { continue };
            let label = |key: &str| node.metadata.labels.get(key).cloned().unwrap_or_default();
            let unmanaged = worker
                .interfaces
                .iter()
                .map(|i| tables.network_interfaces.at(i.row.index))
                .filter(|i| {
                    tag(&i.value.TagSet, "node.k8s.amazonaws.com/no_manage") == Some("true")
                        || i.InterfaceType == "efa-only"
                })
                .count() as i64;
            let branches =
                node.status.allocatable.get("vpc.amazonaws.com/pod-eni").and_then(|p| p.as_int()).unwrap_or(0);
            let trunk = cni.pod_eni() && branches > 0;
            // A node that is older than custom networking goes on serving pods from its primary interface.
            let primary = worker.interface.map(|i| tables.network_interfaces.at(i.row.index));
            let old = primary.is_some_and(|i| i.PrivateIpAddresses.len() > 1 || !i.Ipv4Prefixes.is_empty());
            let custom = cni.custom_networking() && !cni.ipv6() && !old;
            let group = worker.nodegroup.map(|g| g.row);
            let key = (
                worker.instanceType.clone(),
                group,
                label("karpenter.sh/nodepool"),
                advertised,
                unmanaged,
                trunk,
                custom,
            );
            let capacity = groups.entry(key).or_insert_with(|| {
                let mut capacity =
                    self.capacity(cni, &worker.instanceType, custom, unmanaged, if trunk { branches } else { 0 });
                capacity.advertised = advertised;
                capacity.nodegroup = worker.nodegroup;
                capacity.nodeClass = label("karpenter.k8s.aws/ec2nodeclass");
                capacity.nodePool = label("karpenter.sh/nodepool");
                capacity
            });
            let link = Link::new(node.row);
            capacity.nodes.push(link);
            if let Some(pods) = occupancy.and_then(|o| o.nodes.get(&node.metadata.name)) {
                capacity.starving.extend(pods.starving.iter().take(20).map(|row| Link::new(*row)));
                if pods.total >= advertised {
                    capacity.full.push(link);
                }
                // The two of the formula stand for pods on the host's network: other such pods need no address either.
                let needing = pods.total - pods.host_network;
                if capacity.served.is_some_and(|served| needing > served - 2) {
                    capacity.overcommitted.push(link);
                }
            }
        }
        groups.into_values().map(Arc::new).collect()
    }

    fn capacity(&self, cni: &Cni<'_>, instance_type: &str, custom: bool, unmanaged: i64, branches: i64) -> Capacity {
        let limits = self.limits(instance_type).ok();
        let wanted = cni.number("MAX_ENI").filter(|n| *n > 0);
        let mut capacity = Capacity {
            instanceType: Str::new(instance_type),
            nodegroup: None,
            nodeClass: Str::default(),
            nodePool: Str::default(),
            nodes: Vec::new(),
            overcommitted: Vec::new(),
            full: Vec::new(),
            starving: Vec::new(),
            advertised: 0,
            interfaces: None,
            addressesPerInterface: None,
            served: None,
            plain: None,
            recommended: None,
            cutByMaxEni: 0,
            unmanaged,
            nitro: limits.is_some_and(|l| l.nitro),
            customNetworking: custom,
            prefixes: cni.prefix_delegation(),
            formula: Str::default(),
        };
        let Some(limits) = limits else { return capacity };
        let cut = wanted.map_or(0, |max| (limits.interfaces - max).max(0));
        // The trunk takes the slot of an interface; the pods on its branches get addresses of their own.
        let trunk = i64::from(branches > 0);
        let carrying = limits.interfaces - cut - unmanaged - i64::from(custom) - trunk;
        let prefixes = cni.prefix_delegation() && limits.nitro;
        let per_slot = if prefixes { 16 } else { 1 };
        capacity.interfaces = Some(carrying.max(0));
        capacity.addressesPerInterface = Some(limits.addresses);
        capacity.plain = Some(max_pods(limits.interfaces, limits.addresses, 1));
        let sum = max_pods(carrying, limits.addresses, per_slot);
        let cap = if limits.vcpus < 30 { 110 } else { 250 };
        if limits.nitro {
            capacity.recommended = Some(cap.min(max_pods(carrying, limits.addresses, 16)));
        }
        capacity.served = (!cni.ipv6()).then_some(sum + branches);
        capacity.cutByMaxEni = cut;
        let mut formula = format!("{} interfaces", limits.interfaces);
        for (count, why) in [
            (cut, "above MAX_ENI"),
            (unmanaged, "not managed by the CNI"),
            (i64::from(custom), "the primary one, which carries no pods under custom networking"),
            (trunk, "the trunk"),
        ] {
            if count > 0 {
                formula.push_str(&format!(" - {count} ({why})"));
            }
        }
        formula = format!("({formula}) x ({} addresses - 1)", limits.addresses);
        if prefixes {
            formula.push_str(" x 16");
        }
        formula.push_str(" + 2");
        if branches > 0 {
            formula.push_str(&format!(" + {branches} on branch interfaces"));
        }
        capacity.formula = formula.into();
        capacity
    }
}

#[cfg(test)]
mod tests {
    use super::max_pods;

    /// The numbers of amazon-vpc-cni-k8s `misc/eni-max-pods.txt` and of the best practices for custom networking.
    #[test]
    fn published_limits() {
        assert_eq!(max_pods(3, 10, 1), 29, "m5.large");
        assert_eq!(max_pods(3, 6, 1), 17, "t3.medium");
        assert_eq!(max_pods(2, 6, 1), 12, "t3.medium, custom networking");
        assert_eq!(max_pods(3, 15, 1), 44, "t3.2xlarge, custom networking");
        assert_eq!(max_pods(2, 10, 1), 20, "m5.large, custom networking");
    }
}
