//! Why the scheduler, or Fargate, leaves CoreDNS pods pending.

use std::collections::BTreeSet;

use super::Cluster;
use super::coredns::{CoreDnsPods, is_fargate};
use super::selector::{covers, fits, tolerates};
use crate::glob::like;
use crate::shape::eks::FargateProfile;
use crate::shape::k8s::{Node, NodeSelectorTerm, Pod, PodSpec, Taint};
use crate::shape::{Link, Str};
use crate::snapshot::{Known, Rec};

/// Taints that say how a node is, not for whom it is.
fn is_lifecycle(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/")
        || taint.key.starts_with("node.cloudprovider.kubernetes.io/")
        || taint.key.starts_with("karpenter.sh/")
}

impl Cluster {
    /// Says why a pod is pending.
    pub(super) fn explain_pending<'a>(
        &'a self,
        state: &mut CoreDnsPods,
        pod: &Pod,
        nodes: impl Iterator<Item = Rec<'a, Node>>,
    ) -> Known<()> {
        let condition = pod.status.conditions.iter().find(|c| c.r#type == "PodScheduled" && c.status == "False");
        state.scheduler = condition.map(|c| c.message.clone()).unwrap_or_default();
        let machines: Vec<Rec<'_, Node>> = nodes.filter(|n| !is_fargate(n.value)).collect();
        if machines.is_empty() {
            state.unscheduled = Str::const_new("no-nodes");
            let profiles: Vec<Rec<'_, FargateProfile>> = self
                .snapshot
                .tables
                .fargate_profiles
                .iter()
                .filter(|p| p.clusterName == self.name() || p.clusterName.is_empty())
                .collect();
            let fits = |p: &Rec<'_, FargateProfile>| {
                p.value.selectors.iter().any(|s| {
                    like(&s.namespace, &pod.metadata.namespace)
                        && s.labels.iter().all(|(k, v)| pod.metadata.labels.get(k).is_some_and(|l| like(v, l)))
                })
            };
            let annotated =
                self.coredns_deployment().is_some_and(|d| {
                    let template = &d.value.spec.template.metadata.annotations;
                    template.get("eks.amazonaws.com/compute-type").is_some_and(|v| v == "ec2")
                }) || pod.metadata.annotations.get("eks.amazonaws.com/compute-type").is_some_and(|v| v == "ec2");
            if pod.spec.schedulerName == "fargate-scheduler" {
                state.unscheduled = Str::const_new("other");
            } else if let Some(profile) = profiles.iter().find(|p| fits(p)) {
                state.profile = Some(Link::new(profile.row));
                state.unscheduled = Str::const_new(if annotated { "fargate-annotation" } else { "fargate-older" });
            } else if let Some(profile) = profiles.first()
                && self.nodegroups().next().is_none()
            {
                state.profile = Some(Link::new(profile.row));
                state.unscheduled = Str::const_new("fargate-unselected");
            }
            return Ok(());
        }
        let fitting: Vec<&Rec<'_, Node>> = machines.iter().filter(|n| wants(&pod.spec, n.value)).collect();
        if fitting.is_empty() {
            state.unscheduled = Str::const_new("selector");
            state.hindrance = Str::from(wanted(&pod.spec));
            let labelled = machines.iter().any(|n| covers(&pod.spec.nodeSelector, &n.metadata.labels));
            state.asked = Str::const_new(if labelled { "affinity" } else { "nodeSelector" });
            return Ok(());
        }
        let kept: Vec<Vec<&Taint>> = fitting.iter().map(|n| hindering(&pod.spec, n.value).collect()).collect();
        if kept.iter().all(|t| !t.is_empty()) {
            let real: BTreeSet<String> = kept
                .iter()
                .flatten()
                .filter(|t| !is_lifecycle(t))
                .map(|t| {
                    if t.value.is_empty() {
                        format!("{}:{}", t.key, t.effect)
                    } else {
                        format!("{}={}:{}", t.key, t.value, t.effect)
                    }
                })
                .collect();
            let keys: BTreeSet<&Str> = kept.iter().flatten().filter(|t| !is_lifecycle(t)).map(|t| &t.key).collect();
            state.taintKeys = keys.into_iter().cloned().collect();
            // A node that is only not ready yet would do once it is.
            let waiting = kept.iter().any(|t| t.iter().all(|t| is_lifecycle(t)));
            state.unscheduled = Str::const_new(if waiting || real.is_empty() { "nodes-not-ready" } else { "taints" });
            state.hindrance = Str::from(real.into_iter().collect::<Vec<_>>().join(", "));
        } else if state.scheduler.contains("Insufficient") || state.scheduler.contains("Too many pods") {
            state.unscheduled = Str::const_new("resources");
        } else {
            state.unscheduled = Str::const_new("other");
        }
        Ok(())
    }
}

/// Whether the scheduler may bind such a pod to a node, as far as labels and taints say.
pub(super) fn may_run_on(spec: &PodSpec, node: &Node) -> bool {
    wants(spec, node) && hindering(spec, node).next().is_none()
}

/// The taints of a node that such a pod does not bear.
fn hindering<'a>(spec: &PodSpec, node: &'a Node) -> impl Iterator<Item = &'a Taint> {
    let taints = node.spec.taints.iter().filter(|t| t.effect != "PreferNoSchedule");
    taints.filter(|t| !tolerates(&spec.tolerations, t))
}

/// Whether a node has what the pod's node selector and required affinity ask for.
fn wants(spec: &PodSpec, node: &Node) -> bool {
    covers(&spec.nodeSelector, &node.metadata.labels)
        && required(spec)
            .is_none_or(|terms| terms.iter().any(|t| t.matchExpressions.iter().all(|r| fits(r, &node.metadata.labels))))
}

fn required(spec: &PodSpec) -> Option<&Vec<NodeSelectorTerm>> {
    let affinity = spec.affinity.as_ref()?.nodeAffinity.as_ref()?;
    Some(&affinity.requiredDuringSchedulingIgnoredDuringExecution.as_ref()?.nodeSelectorTerms)
}

/// What a pod asks of its node, as text.
fn wanted(spec: &PodSpec) -> String {
    let mut parts: Vec<String> = spec.nodeSelector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if let Some(terms) = required(spec) {
        let term = |t: &NodeSelectorTerm| {
            let each = t.matchExpressions.iter().map(|r| format!("{} {} [{}]", r.key, r.operator, r.values.join(", ")));
            each.collect::<Vec<_>>().join(" and ")
        };
        parts.push(terms.iter().map(term).collect::<Vec<_>>().join(" or "));
    }
    parts.join(" and ")
}
