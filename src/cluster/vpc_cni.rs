//! The VPC CNI and its settings, as rules match it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use super::coredns::{memory_limit, stuck};
use super::selector::{covers, hindering, is_lifecycle, taint_text, wanted, wants};
use crate::shape::k8s::{DaemonSet, Node, Pod, PodSpec, ServiceAccount};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// The VPC CNI (`aws-node`) and its settings.
    VpcCni {
        daemonSet: Link<DaemonSet>,
        /// Of its image; empty when the image's tag does not say it.
        version: Str,
        customNetworking: bool,
        prefixes: bool,
        podEni: bool,
        ipv6: bool,
        externalSnat: bool,
        discovery: bool,
        desired: i64,
        ready: i64,
        /// Its pods that are not ready.
        unready: Vec<Link<Pod>>,
        /// Those of them whose container aws-node was killed for want of memory.
        outOfMemory: Vec<Link<Pod>>,
        /// Memory limit of aws-node in MiB; 0 for none.
        memoryLimit: i64,
    }

    /// Nodes that wait for a CNI and on which the daemon set aws-node puts no pod.
    CniKeptAway {
        daemonSet: Link<DaemonSet>,
        nodes: Vec<Link<Node>>,
        /// `taints`, `nodeSelector`, `affinity`, or `serviceAccount` when that is gone.
        by: Str,
        /// The taints, or what the daemon set asks of nodes.
        hindrance: Str,
        /// The node selector taken back, as a patch in JSON.
        patch: Str,
    }
}

impl Cluster {
    /// The VPC CNI; none where it runs on no machine.
    pub fn vpc_cni(&self) -> Known<Option<Arc<VpcCni>>> {
        let Some(cni) = self.cni()? else { return Ok(None) };
        // On Fargate, hybrid nodes and in Auto Mode its settings matter to nobody.
        if self.workers().is_ok_and(|w| !w.is_empty() && w.iter().all(|w| w.kind != "ec2")) {
            return Ok(None);
        }
        let status = &cni.daemon_set.value.status;
        let now = self.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
        // On a node that joins, aws-node takes its time.
        let starts = |pod: &Pod| {
            let made = minutes(&pod.metadata.creationTimestamp);
            made.zip(now).is_some_and(|(made, now)| (0..5).contains(&(now - made)))
        };
        let pods = &self.snapshot.tables.pods;
        let unready: Vec<Link<Pod>> = pods
            .iter()
            .filter(|p| p.metadata.namespace == "kube-system")
            .filter(|p| p.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node"))
            .filter(|p| p.status.containerStatuses.iter().any(|c| c.ready == Some(false)))
            .filter(|p| p.metadata.deletionTimestamp.is_empty() && !starts(p.value))
            .map(|p| Link::new(p.row))
            .collect();
        let out_of_memory = |p: &&Link<Pod>| stuck(pods.at(p.row.index).value).is_some_and(|why| why == "OOMKilled");
        let mut containers = cni.daemon_set.value.spec.template.spec.containers.iter();
        Ok(Some(Arc::new(VpcCni {
            daemonSet: Link::new(cni.daemon_set.row),
            version: cni.version.map(|v| v.to_string().into()).unwrap_or_default(),
            customNetworking: cni.custom_networking(),
            prefixes: cni.prefix_delegation(),
            podEni: cni.pod_eni(),
            ipv6: cni.ipv6(),
            externalSnat: cni.external_snat(),
            discovery: self.discovers_subnets(&cni),
            desired: status.desiredNumberScheduled.unwrap_or(0),
            ready: status.numberReady.unwrap_or(0),
            outOfMemory: unready.iter().filter(out_of_memory).copied().collect(),
            unready,
            memoryLimit: containers.find(|c| c.name == "aws-node").map_or(0, memory_limit),
        })))
    }

    /// Nodes on EC2 that wait for a CNI and that aws-node is kept away from, by what keeps it.
    pub fn cni_kept_away(&self) -> Known<Vec<Arc<CniKeptAway>>> {
        let Some(daemon_set) = self.aws_node()? else { return Ok(Vec::new()) };
        let pods = self.snapshot.whole::<Pod>()?;
        let nodes = self.snapshot.whole::<Node>()?;
        let spec = &daemon_set.value.spec.template.spec;
        let runs_on: BTreeSet<&Str> = pods
            .iter()
            .filter(|p| p.value.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node"))
            .map(|p| &p.value.spec.nodeName)
            .collect();
        let account = Some(&spec.serviceAccountName).filter(|a| !a.is_empty()).map_or("default", Str::as_str);
        let accounts = self.snapshot.whole::<ServiceAccount>();
        let account_gone = accounts.is_ok_and(|a| !a.is_empty() && a.get(&format!("kube-system/{account}")).is_none());
        let mut found: BTreeMap<(&'static str, String), Vec<Link<Node>>> = BTreeMap::new();
        for link in self.workers()?.iter().filter(|w| w.kind == "ec2").filter_map(|w| w.node) {
            let node = nodes.at(link.row.index).value;
            let windows = node.metadata.labels.get("kubernetes.io/os").is_some_and(|os| os == "windows");
            if windows || runs_on.contains(&node.metadata.name) || !self.waits_for_cni(node) {
                continue;
            }
            // The controller of daemon sets bears the taints that say how a node is.
            let taints: BTreeSet<String> = hindering(spec, node).filter(|t| !is_lifecycle(t)).map(taint_text).collect();
            let kept = if account_gone {
                ("serviceAccount", account.to_string())
            } else if !covers(&spec.nodeSelector, &node.metadata.labels) {
                ("nodeSelector", wanted(&PodSpec { affinity: None, ..spec.clone() }))
            } else if !wants(spec, node) {
                ("affinity", wanted(&PodSpec { nodeSelector: BTreeMap::new(), ..spec.clone() }))
            } else if !taints.is_empty() {
                ("taints", taints.into_iter().collect::<Vec<_>>().join(", "))
            } else {
                continue;
            };
            found.entry(kept).or_default().push(link);
        }
        let unset: serde_json::Map<String, serde_json::Value> =
            spec.nodeSelector.keys().map(|key| (key.to_string(), serde_json::Value::Null)).collect();
        let patch = serde_json::json!({"spec": {"template": {"spec": {"nodeSelector": unset}}}}).to_string();
        let told = |((by, hindrance), nodes): ((&'static str, String), Vec<Link<Node>>)| {
            Arc::new(CniKeptAway {
                daemonSet: Link::new(daemon_set.row),
                nodes,
                by: Str::const_new(by),
                hindrance: hindrance.into(),
                patch: patch.as_str().into(),
            })
        };
        Ok(found.into_iter().map(told).collect())
    }
}
