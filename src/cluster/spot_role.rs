//! Spot instances in an account without the service-linked role that EC2 needs for them.

use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use crate::shape::ec2::Activity;
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::{Event, NodePool};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// Who was refused Spot instances because the account lacks `AWSServiceRoleForEC2Spot` and who asked may not make it.
    SpotRole {
        /// What Karpenter says.
        events: Vec<Link<Event>>,
        /// What Auto Scaling says.
        activities: Vec<Link<Activity>>,
        /// Node groups whose health says so.
        nodegroups: Vec<Link<Nodegroup>>,
        /// Karpenter's pools that may launch Spot instances.
        nodePools: Vec<Link<NodePool>>,
        /// The first that said so: Karpenter, an Auto Scaling group, a node group.
        who: Str,
    }
}

/// Whether a text is EC2's refusal to make the role for Spot instances.
fn refuses(text: &str) -> bool {
    text.contains("service-linked role for EC2 Spot")
        || (text.contains("ServiceLinkedRoleCreationNotPermitted") && text.to_ascii_lowercase().contains("spot"))
}

impl Cluster {
    /// Whether a launch failed and is the last that its group tried.
    pub fn launch_failed(&self, activity: &Activity) -> bool {
        let launch = |a: &Activity| a.Description.starts_with("Launching");
        let failed = |a: &Activity| matches!(a.StatusCode.as_str(), "Failed" | "Cancelled");
        let later = |a: &Activity| {
            let same = a.AutoScalingGroupName == activity.AutoScalingGroupName && launch(a);
            let newer = (&a.StartTime, &a.ActivityId) > (&activity.StartTime, &activity.ActivityId);
            same && newer && (failed(a) || a.StatusCode == "Successful")
        };
        let last = || !self.snapshot.tables.activities.iter().any(|a| later(a.value));
        failed(activity) && launch(activity) && last()
    }

    /// The refusals, as one fault. A Spot node that came afterwards shows that the role has been made.
    pub fn spot_roles(&self) -> Known<Vec<Arc<SpotRole>>> {
        let tables = &self.snapshot.tables;
        let (events, activities) = (self.snapshot.table::<Event>(), self.answered::<Activity>());
        if let (Err(missing), Err(_)) = (&events, &activities) {
            return Err(missing.clone());
        }
        let spot = ["karpenter.sh/capacity-type", "eks.amazonaws.com/capacityType"];
        let joined = tables
            .nodes
            .iter()
            .filter(|n| spot.iter().any(|k| n.metadata.labels.get(*k).is_some_and(|v| v.eq_ignore_ascii_case("spot"))))
            .filter_map(|n| minutes(&n.metadata.creationTimestamp))
            .max();
        let still = |time: &str| joined.zip(minutes(time)).is_none_or(|(joined, then)| joined < then);
        let last = |e: &Event| {
            let times = [&e.series.lastObservedTime, &e.lastTimestamp, &e.eventTime, &e.metadata.creationTimestamp];
            times.into_iter().find(|t| !t.is_empty()).cloned().unwrap_or_default()
        };
        let events: Vec<_> = tables.events.iter().filter(|e| refuses(&e.message) && still(&last(e.value))).collect();
        let activities: Vec<_> = tables
            .activities
            .iter()
            .filter(|a| refuses(&a.StatusMessage) && self.launch_failed(a.value) && still(&a.StartTime))
            .collect();
        let sick = |g: &Nodegroup| g.health.issues.iter().any(|i| refuses(&i.message));
        let nodegroups: Vec<_> = self.nodegroups().filter(|g| sick(g.value)).collect();
        let who = if !events.is_empty() {
            "Karpenter".to_owned()
        } else if let Some(activity) = activities.first() {
            format!("Auto Scaling group {}", activity.AutoScalingGroupName)
        } else if let Some(group) = nodegroups.first() {
            format!("node group {}", group.nodegroupName)
        } else {
            return Ok(Vec::new());
        };
        let pools = tables.node_pools.iter().filter(|pool| {
            let mut wanted = pool.value.spec.template.spec.requirements.iter();
            wanted.any(|r| r.key == spot[0] && r.operator == "In" && r.values.iter().any(|v| v == "spot"))
        });
        Ok(vec![Arc::new(SpotRole {
            nodePools: if events.is_empty() { Vec::new() } else { pools.map(|p| Link::new(p.row)).collect() },
            events: events.iter().map(|e| Link::new(e.row)).collect(),
            activities: activities.iter().map(|a| Link::new(a.row)).collect(),
            nodegroups: nodegroups.iter().map(|g| Link::new(g.row)).collect(),
            who: Str::from(who),
        })])
    }
}
