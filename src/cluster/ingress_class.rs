//! Ingress classes that lead to nobody: of an unknown controller, with parameters that are not there, of a namespace
//! that no controller watches.

use super::Cluster;
use super::ingress::{LoadBalancerPlan, speaks_alb};
use crate::shape::k8s::{Ingress, IngressClass, IngressClassParams};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Rec};

/// Parts of the controller names of ingress classes that others serve on purpose.
const OTHERS: [&str; 12] = [
    "nginx",
    "traefik",
    "istio",
    "kong",
    "haproxy",
    "contour",
    "cilium",
    "ambassador",
    "gloo",
    "apisix",
    "envoy",
    "gateway",
];

impl Cluster {
    /// The class of an ingress with annotations of the AWS Load Balancer Controller, when its controller is neither that
    /// one, nor EKS Auto Mode, nor another that is known: then nobody takes the ingress.
    pub fn class_of_nobody(&self, ingress: &Ingress) -> Known<Option<Rec<'_, IngressClass>>> {
        let classes = self.snapshot.whole::<IngressClass>()?;
        if !speaks_alb(&ingress.metadata) || ingress.metadata.annotations.contains_key("kubernetes.io/ingress.class") {
            return Ok(None);
        }
        Ok(classes.get(&ingress.spec.ingressClassName).filter(|class| {
            let controller = class.value.spec.controller.as_str();
            !matches!(controller, "ingress.k8s.aws/alb" | "eks.amazonaws.com/alb")
                && !OTHERS.iter().any(|o| controller.contains(o))
        }))
    }

    /// Whether the annotation `kubernetes.io/ingress.class` of an ingress for the AWS Load Balancer Controller names a
    /// class of nobody: no controller is told to take it, and there is no `IngressClass` of this name.
    pub fn annotated_for_nobody(&self, ingress: &Ingress) -> Known<bool> {
        let classes = self.snapshot.whole::<IngressClass>()?;
        let Some(named) = ingress.metadata.annotations.get("kubernetes.io/ingress.class") else { return Ok(false) };
        if !speaks_alb(&ingress.metadata) || classes.get(named).is_some() {
            return Ok(false);
        }
        let controllers = self.controllers()?;
        Ok(!controllers.is_empty()
            && controllers.iter().all(|c| c.ingressClass != *named)
            && !OTHERS.iter().any(|o| named.contains(o)))
    }

    /// Whether the parameters that a class of the AWS Load Balancer Controller names are not there.
    pub fn lacks_parameters(&self, class: &IngressClass) -> Known<bool> {
        let Some(parameters) = class.spec.parameters.as_ref() else { return Ok(false) };
        let ours = class.spec.controller == "ingress.k8s.aws/alb"
            && parameters.kind == "IngressClassParams"
            && parameters.apiGroup == "elbv2.k8s.aws";
        if !ours {
            return Ok(false);
        }
        Ok(self.snapshot.whole::<IngressClassParams>()?.get(&parameters.name).is_none())
    }

    /// The ingresses of a class that have no load balancer.
    pub fn waiting_of_class(&self, class: &IngressClass) -> Vec<Row> {
        let waits = |i: &Ingress| {
            i.spec.ingressClassName == class.metadata.name
                && i.metadata.deletionTimestamp.is_empty()
                && i.status.loadBalancer.ingress.is_empty()
        };
        self.snapshot.tables.ingresses.iter().filter(|i| waits(i.value)).map(|i| i.row).collect()
    }

    /// Whether all load balancer controllers watch other namespaces than the plan's.
    pub fn unwatched(&self, plan: &LoadBalancerPlan) -> Known<bool> {
        let tables = &self.snapshot.tables;
        let controllers = self.controllers()?;
        let ingresses = plan.ingresses.iter().map(|i| &tables.ingresses.at(i.row.index).value.metadata.namespace);
        let services = plan.services.iter().map(|s| &tables.services.at(s.row.index).value.metadata.namespace);
        let watched =
            |namespace: &Str| controllers.iter().any(|c| c.watchNamespace.is_empty() || c.watchNamespace == *namespace);
        Ok(plan.maker == "controller" && !controllers.is_empty() && !ingresses.chain(services).any(watched))
    }
}
