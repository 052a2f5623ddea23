//! Security groups for pods: trunk and branch interfaces.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{DaemonSet, Event, Node, Pod, SecurityGroupPolicy};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// Nodes of a type that has no branch interfaces, while pods wait for some.
    TrunkGap {
        instanceType: Str,
        nodePool: Str,
        nodes: Vec<Link<Node>>,
        /// Pods that wait for `vpc.amazonaws.com/pod-eni`.
        waiting: Vec<Link<Pod>>,
        policies: Vec<Link<SecurityGroupPolicy>>,
        /// Events by which the VPC resource controller says that it does not know the type.
        refusals: Vec<Link<Event>>,
        /// Whether the type can have no trunk at all (burstable `t` family, or not Nitro).
        impossible: bool,
    }

    /// Pods that wait for branch interfaces of their own.
    BranchDemand {
        daemonSet: Link<DaemonSet>,
        waiting: Vec<Link<Pod>>,
        policies: Vec<Link<SecurityGroupPolicy>>,
        /// `ENABLE_POD_ENI`.
        enabled: bool,
        /// Nodes that have branch interfaces, and how many of them all.
        trunked: Vec<Link<Node>>,
        /// The managed node group of the first of them.
        nodegroup: Option<Link<Nodegroup>>,
        capacity: i64,
        used: i64,
    }
}

const BRANCHES: &str = "vpc.amazonaws.com/pod-eni";

fn asks(pod: &Pod) -> i64 {
    pod.spec
        .containers
        .iter()
        .filter_map(|c| c.resources.as_ref())
        .filter_map(|r| r.requests.get(BRANCHES).or(r.limits.get(BRANCHES)))
        .filter_map(|n| n.as_int())
        .sum()
}

impl Cluster {
    fn policies(&self) -> Vec<Link<SecurityGroupPolicy>> {
        self.snapshot.tables.security_group_policies.iter().map(|p| Link::new(p.row)).collect()
    }

    /// Node types without branch interfaces while pods wait for them.
    pub fn trunk_gaps(&self) -> Known<Vec<Arc<TrunkGap>>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let occupancy = self.occupancy()?;
        if !cni.pod_eni() || occupancy.no_branch.is_empty() {
            return Ok(Vec::new());
        }
        // Where other nodes have branch interfaces and all are in use, that is the fault.
        if self.branch_demand()?.iter().any(|d| !d.trunked.is_empty() && d.used >= d.capacity) {
            return Ok(Vec::new());
        }
        let tables = &self.snapshot.tables;
        let mut refused: BTreeMap<&str, Link<Event>> = BTreeMap::new();
        for event in tables.events.iter().filter(|e| e.reason == "Unsupported" && e.involvedObject.kind == "Node") {
            refused.insert(&event.value.involvedObject.name, Link::new(event.row));
        }
        let mut gaps: BTreeMap<(Str, Str), TrunkGap> = BTreeMap::new();
        // The control plane attaches a trunk some time after the node has joined.
        for worker in self.cni_workers()?.into_iter().filter(|w| !w.fresh) {
            let Some(node) = worker.node.map(|n| tables.nodes.at(n.row.index)) else { continue };
            if node.status.allocatable.get(BRANCHES).and_then(|n| n.as_int()).is_some_and(|n| n > 0) {
                continue;
            }
            let pool = node.metadata.labels.get("karpenter.sh/nodepool").cloned().unwrap_or_default();
            let gap = gaps.entry((worker.instanceType.clone(), pool.clone())).or_insert_with(|| TrunkGap {
                instanceType: worker.instanceType.clone(),
                nodePool: pool,
                nodes: Vec::new(),
                waiting: occupancy.no_branch.iter().take(50).map(|row| Link::new(*row)).collect(),
                policies: self.policies(),
                refusals: Vec::new(),
                impossible: !self.may_have_trunk(&worker.instanceType),
            });
            gap.nodes.push(Link::new(node.row));
            gap.refusals.extend(refused.get(node.metadata.name.as_str()));
        }
        Ok(gaps.into_values().map(Arc::new).collect())
    }

    /// Whether an instance type may have a trunk interface: neither burstable (`t` families) nor known not to be Nitro.
    pub fn may_have_trunk(&self, instance_type: &str) -> bool {
        let family = instance_type.split('.').next().unwrap_or_default();
        let burstable = family.starts_with('t') && family.chars().nth(1).is_some_and(|c| c.is_ascii_digit());
        !burstable && self.limits(instance_type).map_or(true, |l| l.nitro)
    }

    /// Pods that wait for branch interfaces.
    pub fn branch_demand(&self) -> Known<Vec<Arc<BranchDemand>>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let occupancy = self.occupancy()?;
        if occupancy.no_branch.is_empty() {
            return Ok(Vec::new());
        }
        let tables = &self.snapshot.tables;
        let branches = |n: &Node| n.status.allocatable.get(BRANCHES).and_then(|n| n.as_int()).unwrap_or(0);
        let trunked: Vec<_> = tables.nodes.iter().filter(|n| branches(n.value) > 0).collect();
        let used = tables
            .pods
            .iter()
            .filter(|p| !p.spec.nodeName.is_empty() && !matches!(p.status.phase.as_str(), "Succeeded" | "Failed"))
            .map(|p| asks(p.value))
            .sum();
        Ok(vec![Arc::new(BranchDemand {
            daemonSet: Link::new(cni.daemon_set.row),
            waiting: occupancy.no_branch.iter().take(50).map(|row| Link::new(*row)).collect(),
            policies: self.policies(),
            enabled: cni.pod_eni(),
            nodegroup: trunked.first().and_then(|n| self.worker_of_node(&n.metadata.name)).and_then(|w| w.nodegroup),
            capacity: trunked.iter().map(|n| branches(n.value)).sum(),
            trunked: trunked.iter().map(|n| Link::new(n.row)).collect(),
            used,
        })])
    }
}
