//! Why the scheduler, or Fargate, leaves CoreDNS pods pending.

use std::collections::BTreeSet;

use super::Cluster;
use super::coredns::{CoreDnsPods, is_fargate};
use super::selector::{covers, hindering, is_lifecycle, taint_text, wanted, wants};
use crate::glob::like;
use crate::shape::eks::FargateProfile;
use crate::shape::k8s::{Node, Pod, Taint};
use crate::shape::{Link, Str};
use crate::snapshot::{Known, Rec};

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
            let real: BTreeSet<String> =
                kept.iter().flatten().filter(|t| !is_lifecycle(t)).map(|t| taint_text(t)).collect();
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
