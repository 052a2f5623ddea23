//! What Kubernetes chooses: objects by their labels, and the nodes that a pod may run on.

use std::collections::BTreeMap;

use crate::shape::Str;
use crate::shape::k8s::{LabelSelector, Node, NodeSelectorTerm, PodSpec, SelectorRequirement, Taint, Toleration};

/// Whether a selector matches labels; an empty one matches everything.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<Str, Str>) -> bool {
    covers(&selector.matchLabels, labels) && selector.matchExpressions.iter().all(|r| fits(r, labels))
}

/// Whether `labels` hold all of `wanted`.
pub fn covers(wanted: &BTreeMap<Str, Str>, labels: &BTreeMap<Str, Str>) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}

/// Whether one requirement holds (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`).
pub fn fits(requirement: &SelectorRequirement, labels: &BTreeMap<Str, Str>) -> bool {
    let value = labels.get(&requirement.key);
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = |test: fn(i64, i64) -> bool| {
        let wanted = requirement.values.first().and_then(|v| number(v));
        value.and_then(|v| number(v)).zip(wanted).is_some_and(|(a, b)| test(a, b))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| requirement.values.contains(v)),
        "NotIn" => value.is_none_or(|v| !requirement.values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|a, b| a > b),
        "Lt" => compared(|a, b| a < b),
        _ => true,
    }
}

/// Whether a pod bears a taint.
fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        (t.effect.is_empty() || t.effect == taint.effect)
            && match t.operator.as_str() {
                "Exists" => t.key.is_empty() || t.key == taint.key,
                _ => t.key == taint.key && t.value == taint.value,
            }
    })
}

/// Taints that say how a node is, not for whom it is.
pub fn is_lifecycle(taint: &Taint) -> bool {
    taint.key.starts_with("node.kubernetes.io/")
        || taint.key.starts_with("node.cloudprovider.kubernetes.io/")
        || taint.key.starts_with("karpenter.sh/")
}

/// Whether the scheduler may bind such a pod to a node, as far as labels and taints say.
pub fn may_run_on(spec: &PodSpec, node: &Node) -> bool {
    wants(spec, node) && hindering(spec, node).next().is_none()
}

/// The taints of a node that keep such a pod away.
pub fn hindering<'a>(spec: &PodSpec, node: &'a Node) -> impl Iterator<Item = &'a Taint> {
    let taints = node.spec.taints.iter().filter(|t| t.effect != "PreferNoSchedule");
    taints.filter(|t| !tolerates(&spec.tolerations, t))
}

/// Whether a node has what the pod's node selector and required affinity ask for.
pub fn wants(spec: &PodSpec, node: &Node) -> bool {
    covers(&spec.nodeSelector, &node.metadata.labels)
        && required(spec)
            .is_none_or(|terms| terms.iter().any(|t| t.matchExpressions.iter().all(|r| fits(r, &node.metadata.labels))))
}

fn required(spec: &PodSpec) -> Option<&Vec<NodeSelectorTerm>> {
    let affinity = spec.affinity.as_ref()?.nodeAffinity.as_ref()?;
    Some(&affinity.requiredDuringSchedulingIgnoredDuringExecution.as_ref()?.nodeSelectorTerms)
}

/// What a pod asks of its node, as text.
pub fn wanted(spec: &PodSpec) -> String {
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

/// A taint as kubectl writes it.
pub fn taint_text(taint: &Taint) -> String {
    let value = if taint.value.is_empty() { String::new() } else { format!("={}", taint.value) };
    format!("{}{value}:{}", taint.key, taint.effect)
}
