//! Whether CoreDNS is large enough for its cluster.

use super::Cluster;
use super::addons::addon_values;
use super::coredns::memory_limit;
use crate::shape::k8s::{DaemonSet, Deployment, Node, Pod, Service};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// How large CoreDNS is, and how large its cluster.
    CoreDnsSize {
        deployment: Link<Deployment>,
        replicas: i64,
        nodes: i64,
        pods: i64,
        services: i64,
        /// One replica for each 16 nodes, as the add-on's own autoscaling has it.
        wanted: i64,
        /// Something recorded scales it: the add-on's autoscaling or a cluster-proportional-autoscaler.
        autoscaled: bool,
        nodeLocal: bool,
        autopath: bool,
        /// Memory limit in MiB; 0 for none.
        limit: i64,
        /// What CoreDNS needs, in MB, by its own rule of thumb.
        need: i64,
    }
}

impl Cluster {
    /// The size of CoreDNS; `None` without a deployment.
    pub fn coredns_size(&self) -> Known<Option<CoreDnsSize>> {
        let deployments = self.snapshot.table::<Deployment>()?;
        let (pods, services) = (self.snapshot.table::<Pod>()?.len(), self.snapshot.table::<Service>()?.len());
        let nodes = self.snapshot.table::<Node>()?.len() as i64;
        let Some(deployment) = self.coredns_deployment() else { return Ok(None) };
        let scaler = deployments.iter().any(|d| {
            let containers = &d.value.spec.template.spec.containers;
            let mut words = containers.iter().flat_map(|c| c.command.iter().chain(&c.args));
            words.any(|w| w.to_ascii_lowercase().contains("target=deployment/coredns"))
        });
        let addon = self.addon("coredns").is_some_and(|a| {
            addon_values(a.value).is_some_and(|v| v.get("autoScaling").is_some_and(|s| s["enabled"] == true))
        });
        let maps = &self.snapshot.tables.config_maps;
        let corefile: Option<&Str> = maps.get("kube-system/coredns").and_then(|m| m.value.data.get("Corefile"));
        let autopath = corefile
            .and_then(|t| super::corefile::parse(t).ok())
            .is_some_and(|blocks| blocks.iter().any(|b| b.plugin("autopath").is_some()));
        self.snapshot.table::<DaemonSet>()?;
        let objects = (pods + services) as i64;
        Ok(Some(CoreDnsSize {
            deployment: Link::new(deployment.row),
            replicas: deployment.spec.replicas.unwrap_or(1),
            nodes,
            pods: pods as i64,
            services: services as i64,
            wanted: nodes.unsigned_abs().div_ceil(16) as i64,
            autoscaled: scaler || addon,
            nodeLocal: !self.node_local_addresses()?.is_empty(),
            autopath,
            limit: deployment.value.spec.template.spec.containers.first().map_or(0, memory_limit),
            // <https://github.com/coredns/deployment/blob/master/kubernetes/Scaling_CoreDNS.md>
            need: if autopath { objects / 250 + 56 } else { objects / 1000 + 54 },
        }))
    }
}
