//! Label selectors of Kubernetes.

use std::collections::BTreeMap;

use crate::shape::Str;
use crate::shape::k8s::{LabelSelector, SelectorRequirement, Taint, Toleration};

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
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        (t.effect.is_empty() || t.effect == taint.effect)
            && match t.operator.as_str() {
                "Exists" => t.key.is_empty() || t.key == taint.key,
                _ => t.key == taint.key && t.value == taint.value,
            }
    })
}
