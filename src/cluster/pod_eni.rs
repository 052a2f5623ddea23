//! Security groups for pods: trunk and branch interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::selector::may_run_on;
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{DaemonSet, Event, Node, Pod, SecurityGroupPolicy};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

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
        /// The managed node group of the first of `full`.
        nodegroup: Option<Link<Nodegroup>>,
        /// Nodes for which a pod waits that has no other, and that have no branch interface left.
        full: Vec<Link<Node>>,
        /// Their branch interfaces, all in use.
        capacity: i64,
        /// How many branch interfaces one node of each type of `full` has: `9 of m5.large`.
        sizes: Str,
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

    /// Pods that a SecurityGroupPolicy selects and that do not start.
    pub fn waiting_for_groups(&self, policy: Row) -> impl Iterator<Item = Row> {
        let pods = self.snapshot.tables.pods.iter().filter(move |p| {
            p.status.phase == "Pending"
                && p.metadata.deletionTimestamp.is_empty()
                && !self.is_new(&p.metadata.creationTimestamp)
                && self.group_policies_of(*p).any(|of| of.row == policy)
        });
        pods.map(|p| p.row)
    }

    /// Events by which EC2 refuses interfaces for pods of a policy that wait, because they would have too many groups
    /// (`SecurityGroupsPerInterfaceLimitExceeded`; `exceeded limit 5 on the number of interface security group
    /// memberships`).
    pub fn group_limit_events(&self, policy: Row) -> Known<Vec<Rec<'_, Event>>> {
        let tables = &self.snapshot.tables;
        let waiting: Vec<_> = self.waiting_for_groups(policy).map(|row| tables.pods.at(row.index)).collect();
        let of_them = |e: &Event| {
            let object = &e.involvedObject;
            object.kind == "Pod"
                && waiting.iter().any(|p| p.metadata.name == object.name && p.metadata.namespace == object.namespace)
        };
        let refused = |text: &str| {
            text.contains("SecurityGroupsPerInterfaceLimitExceeded")
                || text.contains("interface security group memberships")
        };
        Ok(self.snapshot.table::<Event>()?.iter().filter(|e| of_them(e.value) && refused(&e.message)).collect())
    }

    /// Node types without branch interfaces while pods wait for them.
    pub fn trunk_gaps(&self) -> Known<Vec<Arc<TrunkGap>>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let occupancy = self.occupancy()?;
        if !cni.pod_eni() || occupancy.no_branch.is_empty() {
            return Ok(Vec::new());
        }
        // Where other nodes have branch interfaces and all are in use, that is the fault.
        if self.branch_demand()?.iter().any(|d| !d.full.is_empty()) {
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
        let mut taken: BTreeMap<&Str, i64> = BTreeMap::new();
        for pod in tables.pods.iter().filter(|p| !matches!(p.status.phase.as_str(), "Succeeded" | "Failed")) {
            *taken.entry(&pod.value.spec.nodeName).or_default() += asks(pod.value);
        }
        let used = |n: &Node| taken.get(&n.metadata.name).copied().unwrap_or(0);
        // A pod waits for nodes that it may be bound to; what it lacks on others is no matter of branch interfaces.
        let mut full = BTreeSet::new();
        for row in &occupancy.no_branch {
            let pod = tables.pods.at(row.index).value;
            let fitting: Vec<_> = trunked.iter().filter(|n| may_run_on(&pod.spec, n.value)).collect();
            if fitting.iter().all(|n| used(n.value) >= branches(n.value)) {
                full.extend(fitting.iter().map(|n| n.row));
            }
        }
        let sizes: BTreeSet<String> = full
            .iter()
            .map(|row| tables.nodes.at(row.index).value)
            .map(|n| {
                let kind = n.metadata.labels.get("node.kubernetes.io/instance-type").map_or("this node", Str::as_str);
                format!("{} of {kind}", branches(n))
            })
            .collect();
        Ok(vec![Arc::new(BranchDemand {
            daemonSet: Link::new(cni.daemon_set.row),
            waiting: occupancy.no_branch.iter().take(50).map(|row| Link::new(*row)).collect(),
            policies: self.policies(),
            enabled: cni.pod_eni(),
            nodegroup: full
                .first()
                .and_then(|row| self.worker_of_node(&tables.nodes.at(row.index).metadata.name))
                .and_then(|w| w.nodegroup),
            capacity: full.iter().map(|row| branches(tables.nodes.at(row.index).value)).sum(),
            sizes: Str::from(sizes.into_iter().collect::<Vec<_>>().join(", ")),
            full: full.iter().map(|row| Link::new(*row)).collect(),
        })])
    }
}
