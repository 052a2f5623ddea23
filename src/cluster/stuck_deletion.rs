//! Objects that are being deleted and that nobody lets go: the finalizers of a load balancer controller that is gone.

use super::Cluster;
use super::addresses::minutes;
use crate::shape::k8s::{Ingress, ObjectMeta, Service, TargetGroupBinding};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// An object that waits for the load balancer controller to be deleted, while there is none.
    StuckDeletion {
        /// `ingress`, `service` or `targetgroupbinding`.
        kind: Str,
        namespace: Str,
        name: Str,
        /// What keeps it.
        finalizer: Str,
        /// For how long it has been so, in minutes.
        minutes: i64,
        ingresses: Vec<Link<Ingress>>,
        services: Vec<Link<Service>>,
        bindings: Vec<Link<TargetGroupBinding>>,
    }
}

/// Finalizers of the AWS Load Balancer Controller, by how they begin.
const FINALIZERS: [&str; 4] =
    ["ingress.k8s.aws/resources", "group.ingress.k8s.aws/", "service.k8s.aws/resources", "elbv2.k8s.aws/resources"];

/// A controller needs some time to take a load balancer down.
const PATIENCE: i64 = 15;

impl Cluster {
    /// Ingresses, services and target group bindings whose deletion waits for a controller that is not there.
    pub fn stuck_deletions(&self) -> Known<Vec<StuckDeletion>> {
        let ingresses = self.snapshot.whole::<Ingress>()?;
        let services = self.snapshot.whole::<Service>()?;
        let bindings = self.snapshot.whole::<TargetGroupBinding>()?;
        let now = self.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
        let stuck = |kind: &'static str, meta: &ObjectMeta| {
            let since = now? - minutes(&meta.deletionTimestamp)?;
            let finalizer = meta.finalizers.iter().find(|f| FINALIZERS.iter().any(|known| f.starts_with(known)))?;
            (since >= PATIENCE).then(|| StuckDeletion {
                kind: Str::const_new(kind),
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                finalizer: finalizer.clone(),
                minutes: since,
                ingresses: Vec::new(),
                services: Vec::new(),
                bindings: Vec::new(),
            })
        };
        let mut found = Vec::new();
        for ingress in ingresses.iter() {
            let ingresses = vec![Link::new(ingress.row)];
            found.extend(stuck("ingress", &ingress.metadata).map(|s| StuckDeletion { ingresses, ..s }));
        }
        for service in services.iter() {
            let services = vec![Link::new(service.row)];
            found.extend(stuck("service", &service.metadata).map(|s| StuckDeletion { services, ..s }));
        }
        for binding in bindings.iter() {
            let bindings = vec![Link::new(binding.row)];
            found.extend(stuck("targetgroupbinding", &binding.metadata).map(|s| StuckDeletion { bindings, ..s }));
        }
        // EKS Auto Mode lets go what it made by itself.
        if found.is_empty() || self.auto_mode() || !self.controllers()?.is_empty() {
            return Ok(Vec::new());
        }
        Ok(found)
    }
}
