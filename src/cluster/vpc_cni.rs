//! The VPC CNI and its settings, as rules match it.

use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use crate::shape::k8s::{DaemonSet, Pod};
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
        let unready = self
            .snapshot
            .tables
            .pods
            .iter()
            .filter(|p| p.metadata.namespace == "kube-system")
            .filter(|p| p.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node"))
            .filter(|p| p.status.containerStatuses.iter().any(|c| c.ready == Some(false)))
            .filter(|p| p.metadata.deletionTimestamp.is_empty() && !starts(p.value))
            .map(|p| Link::new(p.row))
            .collect();
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
            unready,
        })))
    }
}
