//! Where pods stand in the VPC, and with which address and groups their packets really leave.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use super::worker::Worker;
use crate::shape::ec2::{NetworkInterface, Vpc};
use crate::shape::k8s::{Event, Node, Pod};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Missing, Rec};

/// Whose interface carries a pod's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodKind {
    /// `hostNetwork`: the node's own address.
    Host,
    /// An address or prefix of the node's primary interface.
    Primary,
    /// An address or prefix of another interface of the node (custom networking always).
    Secondary,
    /// A branch interface of its own (security groups for pods).
    Branch,
    /// The interface of its Fargate micro-VM.
    Fargate,
}

/// Where a pod stands.
#[derive(Debug, Clone)]
pub struct PodPlace<'a> {
    pub kind: PodKind,
    pub interface: Rec<'a, NetworkInterface>,
    pub address: IpAddr,
    /// The machine that runs it, when recorded.
    pub worker: Option<&'a Arc<Worker>>,
}

/// Pods that filters and routes cannot tell apart but by their address: same subnet, same groups.
#[derive(Debug, Clone)]
pub struct PodClass {
    pub kind: PodKind,
    pub subnet: Str,
    /// Sorted ids.
    pub groups: Vec<Str>,
    /// Interface and address of each pod.
    pub ends: Vec<(Row, IpAddr)>,
    /// Rows of the pods, in the order of `ends`.
    pub pods: Vec<Row>,
    /// Rows of the nodes that run them, sorted, each once.
    pub nodes: Vec<Row>,
}

/// What is looked up often.
#[derive(Debug, Default)]
pub(super) struct Index {
    worker_of_node: HashMap<Str, u32>,
}

fn lacking(read: &str, reason: String) -> Missing {
    Missing { read: read.to_owned(), reason }
}

impl Cluster {
    /// What the kubelet says about a volume of a pod that it cannot mount, because its Secret or ConfigMap, or the key of
    /// it, is not there.
    pub(super) fn mount_failure(&self, pod: &Pod) -> Option<&str> {
        let meta = &pod.metadata;
        let about = |e: &Event| {
            let lost = e.message.contains("not found") || e.message.contains("non-existent");
            e.reason == "FailedMount"
                && lost
                && e.involvedObject.kind == "Pod"
                && (e.involvedObject.namespace.as_str(), e.involvedObject.name.as_str())
                    == (meta.namespace.as_str(), meta.name.as_str())
        };
        self.snapshot.tables.events.iter().find(|e| about(e.value)).map(|e| e.value.message.as_str())
    }

    /// The machine of a node name.
    pub fn worker_of_node(&self, node: &str) -> Option<&Arc<Worker>> {
        let workers = self.workers().ok()?;
        let index = self.cache.pods.get_or_init(|| Index {
            worker_of_node: workers
                .iter()
                .enumerate()
                .filter(|(_, w)| w.joined)
                .map(|(i, w)| (w.name.clone(), i as u32))
                .collect(),
        });
        workers.get(*index.worker_of_node.get(node)? as usize)
    }

    /// Where a pod stands in the VPC.
    ///
    /// # Errors
    /// When it has no address yet, or no recorded interface has it (an overlay, another CNI, hybrid nodes).
    pub fn pod_place(&self, pod: &Pod) -> Known<PodPlace<'_>> {
        let name = &pod.metadata.name;
        let address: IpAddr = pod
            .status
            .podIP
            .parse()
            .map_err(|_| lacking("k8s:pods", format!("{}/{name} has no address", pod.metadata.namespace)))?;
        let interfaces = self.snapshot.table::<NetworkInterface>()?;
        let worker = self.worker_of_node(&pod.spec.nodeName);
        let branch = branch_of(pod).and_then(|id| interfaces.get(&id));
        let interface = match branch {
            Some(interface) => interface,
            None => self.interface_with(&pod.status.podIP).ok_or_else(|| {
                lacking(
                    "ec2:DescribeNetworkInterfaces",
                    format!("no recorded interface has {address} of pod {}/{name}", pod.metadata.namespace),
                )
            })?,
        };
        let host = pod.spec.hostNetwork == Some(true);
        let kind = if interface.InterfaceType == "branch" {
            PodKind::Branch
        } else if pod.metadata.labels.contains_key("eks.amazonaws.com/fargate-profile")
            || worker.is_some_and(|w| w.kind == "fargate")
        {
            PodKind::Fargate
        } else if host {
            PodKind::Host
        } else if is_primary(interface.value) {
            PodKind::Primary
        } else {
            PodKind::Secondary
        };
        Ok(PodPlace { kind, interface, address, worker })
    }

    /// The interface and address with which a pod's packet to `destination` is seen by the VPC: the CNI translates
    /// what leaves the VPC to the node's primary address
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/external-snat.html>).
    ///
    /// # Errors
    /// When the VPC, the CNI's settings or the node are not recorded.
    pub fn pod_leaves(&self, place: &PodPlace<'_>, destination: IpAddr) -> Known<(Row, IpAddr)> {
        let own = (place.interface.row, place.address);
        if place.address.is_ipv6() || matches!(place.kind, PodKind::Host | PodKind::Fargate) {
            return Ok(own);
        }
        if self.in_vpc(destination)? {
            return Ok(own);
        }
        match self.cni()? {
            Some(cni) => {
                let excluded = cni
                    .setting("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS")
                    .is_some_and(|list| list.split(',').filter_map(cidr).any(|c| c.contains(&destination)));
                let strict = place.kind == PodKind::Branch && cni.enforcing_mode() == "strict";
                if cni.external_snat() || excluded || strict {
                    return Ok(own);
                }
            }
            None if self.auto_mode() => {}
            None => return Err(lacking("k8s:daemonsets.apps", "pods use another CNI than Amazon's".to_owned())),
        }
        let worker = place.worker.and_then(|w| Some((w.interface?.row, w.address.parse().ok()?)));
        worker.ok_or_else(|| self.snapshot.missing("ec2:DescribeInstances", None))
    }

    /// Whether an address lies in a range of the cluster's VPC.
    pub fn in_vpc(&self, address: IpAddr) -> Known<bool> {
        let vpc = self.snapshot.find::<Vpc>(&self.vpc_id()?)?;
        let v4 = vpc.CidrBlockAssociationSet.iter().map(|a| (&a.CidrBlock, &a.CidrBlockState.State));
        let v6 = vpc.Ipv6CidrBlockAssociationSet.iter().map(|a| (&a.Ipv6CidrBlock, &a.Ipv6CidrBlockState.State));
        let mut ranges = v4
            .chain(v6)
            .filter(|(_, state)| matches!(state.as_str(), "associated" | ""))
            .map(|(range, _)| range)
            .chain([&vpc.CidrBlock])
            .filter_map(|range| cidr(range));
        Ok(ranges.any(|c| c.contains(&address)))
    }

    /// Pods with an address, grouped by what the network sees. Pods whose interface is not recorded are left out.
    pub fn pod_classes<'a>(&'a self, pods: impl Iterator<Item = Rec<'a, Pod>>) -> Vec<PodClass> {
        let mut found: BTreeMap<(u8, Str, Vec<Str>), PodClass> = BTreeMap::new();
        for pod in pods.filter(|p| !ended(p.value)) {
            let Ok(place) = self.pod_place(pod.value) else { continue };
            let mut groups: Vec<Str> = place.interface.Groups.iter().map(|g| g.GroupId.clone()).collect();
            groups.sort();
            let kind = match place.kind {
                PodKind::Host => 0,
                PodKind::Primary | PodKind::Secondary => 1,
                PodKind::Branch => 2,
                PodKind::Fargate => 3,
            };
            let class =
                found.entry((kind, place.interface.SubnetId.clone(), groups)).or_insert_with_key(|key| PodClass {
                    kind: place.kind,
                    subnet: key.1.clone(),
                    groups: key.2.clone(),
                    ends: Vec::new(),
                    pods: Vec::new(),
                    nodes: Vec::new(),
                });
            class.ends.push((place.interface.row, place.address));
            class.pods.push(pod.row);
            class.nodes.extend(self.snapshot.tables.nodes.get(&pod.spec.nodeName).map(|n: Rec<'_, Node>| n.row));
        }
        let mut classes: Vec<PodClass> = found.into_values().collect();
        for class in &mut classes {
            class.nodes.sort();
            class.nodes.dedup();
        }
        classes
    }
}

/// Whether a pod's containers have ended for good.
pub fn ended(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// The branch interface that the resource controller gave to a pod (annotation `vpc.amazonaws.com/pod-eni`).
fn branch_of(pod: &Pod) -> Option<Str> {
    let text = pod.metadata.annotations.get("vpc.amazonaws.com/pod-eni")?;
    let list: serde_json::Value = serde_json::from_str(text).ok()?;
    list.get(0)?.get("eniId")?.as_str().map(Str::new)
}

/// Whether an interface is its instance's primary one.
pub fn is_primary(interface: &NetworkInterface) -> bool {
    interface.Attachment.as_ref().is_some_and(|a| a.DeviceIndex == Some(0) && a.NetworkCardIndex.unwrap_or(0) == 0)
}

fn cidr(text: &str) -> Option<ipnet::IpNet> {
    text.trim().parse().ok()
}
