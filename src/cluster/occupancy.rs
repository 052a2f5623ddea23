//! Which pods sit on which node, and which of them wait for an address.

use std::collections::{HashMap, HashSet};

use super::Cluster;
use super::addresses::minutes;
use super::ingress::when;
use crate::shape::k8s::{Event, Pod};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Rec};

/// The label by which the Fargate scheduler says which profile a pod belongs to.
pub(super) const FARGATE_PROFILE: &str = "eks.amazonaws.com/fargate-profile";

/// The pods of one node.
#[derive(Debug, Default)]
pub struct NodePods {
    /// All that count against the node's pod limit.
    pub total: i64,
    /// Those that use the node's own address.
    pub host_network: i64,
    /// Scheduled pods whose sandbox cannot be made because the CNI gives no address.
    pub starving: Vec<Row>,
}

/// The pods of the cluster by node.
#[derive(Debug, Default)]
pub struct Occupancy {
    pub nodes: HashMap<Str, NodePods>,
    /// Addresses of running pods, hosts' own aside.
    pub addresses: Vec<(Str, Str)>,
    /// Pods without a node that wait for a pod slot (`Too many pods`).
    pub no_slot: Vec<Row>,
    /// Pods without a node that wait for a branch interface (`Insufficient vpc.amazonaws.com/pod-eni`).
    pub no_branch: Vec<Row>,
    /// Pods without a node that the Fargate scheduler has taken on.
    pub no_fargate: Vec<Row>,
    /// Events that tell of an address or sandbox that could not be had, about pods that have none since.
    pub events: Vec<Row>,
}

/// Whether a scheduler's message says that nodes lack `resource`.
pub fn insufficient(message: &str, resource: &str) -> bool {
    message.match_indices("Insufficient ").any(|(at, word)| {
        let rest = &message[at + word.len()..];
        rest.strip_prefix(resource).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '/'))
    })
}

/// Whether an event tells that the VPC CNI could not give a pod an address.
pub fn tells_of_no_address(event: &Event) -> bool {
    event.reason == "FailedCreatePodSandBox"
        && ["assign an IP", "aws-cni", "AddNetwork", "50051", "networkPlugin cni"]
            .iter()
            .any(|w| event.message.contains(w))
}

impl Cluster {
    /// Karpenter's words about pods that wait because a NodePool has reached its limits.
    pub fn limit_refusals(&self, pool: &str) -> Known<Vec<Rec<'_, Event>>> {
        let pods = self.snapshot.table::<Pod>()?;
        let events = self.snapshot.table::<Event>()?;
        let named = format!("\"{pool}\"");
        let waits = |e: &Event| {
            let pod = pods.get(&format!("{}/{}", e.involvedObject.namespace, e.involvedObject.name));
            pod.is_some_and(|p| p.spec.nodeName.is_empty() && p.metadata.deletionTimestamp.is_empty())
        };
        let about = |e: &Event| {
            e.involvedObject.kind == "Pod"
                && e.message.contains("exceed limits for nodepool")
                && e.message.contains(&named)
                && waits(e)
        };
        Ok(events.iter().filter(|e| about(e.value)).collect())
    }

    /// The pods by node.
    pub fn occupancy(&self) -> Known<&Occupancy> {
        self.snapshot.table::<Pod>()?;
        Ok(self.cache.occupancy.get_or_init(|| self.find_occupancy()))
    }

    fn find_occupancy(&self) -> Occupancy {
        let tables = &self.snapshot.tables;
        let mut found = Occupancy::default();
        let mut refused: HashSet<Str> = HashSet::new();
        let now = self.snapshot.manifest.recorded_at.as_deref().and_then(minutes);
        // What was made a moment ago waits for a while even where all is well: nodes join, interfaces are attached.
        let young = |pod: &Pod| {
            let made = minutes(&pod.metadata.creationTimestamp);
            made.zip(now).is_some_and(|(made, now)| (0..3).contains(&(now - made)))
        };
        for event in tables.events.iter().filter(|e| tells_of_no_address(e)) {
            let object = &event.value.involvedObject;
            let id = compact_str::format_compact!("{}/{}", object.namespace, object.name);
            // Most sandboxes that fail at first are made a moment later.
            let over = tables.pods.get(&id).is_some_and(|pod: Rec<'_, Pod>| {
                !pod.status.podIP.is_empty()
                    || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
                    || young(pod.value)
            });
            if over {
                continue;
            }
            refused.insert(id);
            if found.events.len() < 64 {
                found.events.push(event.row);
            }
        }
        // The pod's condition says it, unless something else than the scheduler wrote it.
        let mut unscheduled: HashMap<Str, &Event> = HashMap::new();
        for event in tables.events.iter().map(|e| e.value).filter(|e| e.reason == "FailedScheduling") {
            let object = &event.involvedObject;
            let id = compact_str::format_compact!("{}/{}", object.namespace, object.name);
            let last = unscheduled.entry(id).or_insert(event);
            if (when(event), &event.message) > (when(last), &last.message) {
                *last = event;
            }
        }
        for pod in tables.pods.iter() {
            let (spec, status) = (&pod.value.spec, &pod.value.status);
            if matches!(status.phase.as_str(), "Succeeded" | "Failed") {
                continue;
            }
            if spec.nodeName.is_empty() {
                if young(pod.value) {
                    continue;
                }
                if pod.value.metadata.labels.contains_key(FARGATE_PROFILE) && status.phase == "Pending" {
                    found.no_fargate.push(pod.row);
                }
                let id = compact_str::format_compact!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                let condition = status.conditions.iter().find(|c| c.r#type == "PodScheduled").map(|c| &c.message);
                let event = unscheduled.get(&id).map(|e| &e.message);
                let told = condition.filter(|m| m.contains("available")).or(event).map_or("", Str::as_str);
                // The scheduler's word for a pod limit that is used up; other schedulers say it of any resource.
                if told.contains("Too many pods") || insufficient(told, "pods") {
                    found.no_slot.push(pod.row);
                }
                if insufficient(told, "vpc.amazonaws.com/pod-eni") {
                    found.no_branch.push(pod.row);
                }
                continue;
            }
            let node = found.nodes.entry(spec.nodeName.clone()).or_default();
            node.total += 1;
            if spec.hostNetwork == Some(true) {
                node.host_network += 1;
            } else if !status.podIP.is_empty() {
                found.addresses.push((spec.nodeName.clone(), status.podIP.clone()));
            } else if !refused.is_empty() {
                let id = compact_str::format_compact!("{}/{}", pod.value.metadata.namespace, pod.value.metadata.name);
                if refused.contains(&id) {
                    node.starving.push(pod.row);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::insufficient;

    #[test]
    fn the_schedulers_words() {
        assert!(insufficient("0/3 nodes are available: 3 Insufficient pods. preemption: ...", "pods"));
        assert!(insufficient("0/3 nodes are available: 1 Insufficient cpu, 3 Insufficient pods", "pods"));
        assert!(!insufficient("1 Insufficient vpc.amazonaws.com/pod-eni, 2 ...", "pods"));
        assert!(insufficient("1 Insufficient vpc.amazonaws.com/pod-eni, 2 ...", "vpc.amazonaws.com/pod-eni"));
    }
}
