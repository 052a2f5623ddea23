//! Who asks CoreDNS: running pods by class, nodes without pods, and where nodes are still to come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::dns_path::{Client, SAMPLES, sample};
use super::pods::{PodClass, PodKind, ended};
use super::worker::Worker;
use crate::network::End;
use crate::shape::k8s::{Pod, SecurityGroupPolicy};
use crate::shape::{Row, Str};
use crate::snapshot::{Known, Rec};

impl Cluster {
    /// Everybody who asks CoreDNS: running pods by class, nodes without such pods, and placements without nodes.
    pub(super) fn dns_clients(&self) -> Known<Vec<Client>> {
        let local = !self.node_local_addresses().unwrap_or_default().is_empty();
        let pods = self.snapshot.table::<Pod>()?;
        let asking = pods.iter().filter(|p| {
            let policy = p.spec.dnsPolicy.as_str();
            let host = p.spec.hostNetwork == Some(true);
            !ended(p.value) && (policy == "ClusterFirstWithHostNet" || (!host && !matches!(policy, "Default" | "None")))
        });
        let mut clients = Vec::new();
        let mut seen: BTreeSet<(Str, Vec<Str>)> = BTreeSet::new();
        for class in self.pod_classes(asking) {
            let branch = class.kind == PodKind::Branch;
            // With NodeLocal DNSCache the node asks for its pods.
            if local && class.kind != PodKind::Fargate {
                if branch {
                    continue;
                }
            } else {
                seen.insert((class.subnet.clone(), class.groups.clone()));
            }
            let worker = |row: &Row| {
                let name = &self.snapshot.tables.nodes.at(row.index).metadata.name;
                self.worker_of_node(name)
            };
            let workers: Vec<_> = class.nodes.iter().filter_map(worker).collect();
            let ends: Vec<(End, Option<Row>)> = if local && class.kind != PodKind::Fargate {
                sample(&workers, SAMPLES).filter_map(|w| self.worker_end(w)).collect()
            } else {
                sample(&class.ends, SAMPLES).map(|(r, a)| (self.end(*r, *a), Some(*r))).collect()
            };
            let first_interface = class.ends.first().map(|e| e.0);
            let base = match class.kind {
                PodKind::Fargate => ends.first().map(|e| e.0.clone()),
                _ => workers
                    .first()
                    .and_then(|w| self.worker_end(w))
                    .map(|e| e.0)
                    .or_else(|| ends.first().map(|e| e.0.clone())),
            };
            let affected = if branch || class.nodes.is_empty() { class.pods.clone() } else { class.nodes.clone() };
            let name = self.class_name(&class, &workers, first_interface);
            let groups = class.groups.clone();
            let over_tcp = local && class.kind != PodKind::Fargate;
            clients.push(Client { ends, base, groups, name, now: true, over_tcp, affected });
        }
        // Nodes on which no such pod runs yet.
        let mut rest: BTreeMap<(Str, Vec<Str>), Vec<&Arc<Worker>>> = BTreeMap::new();
        let custom = self.cni().ok().flatten().is_some_and(|c| c.custom_networking());
        for worker in self.workers()?.iter().filter(|w| w.kind == "ec2" && !custom) {
            let Some(interface) = worker.interface else { continue };
            let interface = self.interface(interface.row);
            let mut groups: Vec<Str> = interface.Groups.iter().map(|g| g.GroupId.clone()).collect();
            groups.sort();
            let key = (interface.SubnetId.clone(), groups);
            if !seen.contains(&key) {
                rest.entry(key).or_default().push(worker);
            }
        }
        for ((_, groups), workers) in rest {
            let ends: Vec<_> = sample(&workers, SAMPLES).filter_map(|w| self.worker_end(w)).collect();
            let base = ends.first().map(|e: &(End, Option<Row>)| e.0.clone());
            let affected = workers.iter().filter_map(|w| w.node.map(|n| n.row).or(w.instance.map(|i| i.row))).collect();
            let name = nodes_name(self, &workers);
            clients.push(Client { ends, base, groups, name, now: false, over_tcp: local, affected });
        }
        for placement in self.placements()?.iter().filter(|p| p.instances.is_empty() && p.nodes.is_empty()) {
            let subnet = self.snapshot.tables.subnets.at(placement.subnet.row.index);
            let mut groups: Vec<Str> = placement
                .groups
                .iter()
                .map(|g| self.snapshot.tables.security_groups.at(g.row.index).GroupId.clone())
                .collect();
            groups.sort();
            // Which groups a launch template gives cannot be told when nobody looked at it.
            let unread = placement.nodegroup.is_some_and(|n| {
                let chosen = &self.snapshot.tables.nodegroups.at(n.row.index).value.launchTemplate;
                chosen.as_ref().is_some_and(|t| self.launch_template(&t.id, &t.version).is_none())
            });
            if groups.is_empty() || unread || (custom && placement.kind != "fargate") {
                continue;
            }
            if !seen.insert((subnet.SubnetId.clone(), groups.clone())) {
                continue;
            }
            let end = End::Hypothetical {
                vpc: subnet.VpcId.clone(),
                subnet: subnet.SubnetId.clone(),
                groups: groups.clone(),
                address: None,
                public: placement.public,
            };
            let owner = match (placement.nodegroup, placement.nodeClass) {
                (Some(n), _) => {
                    format!("node group {}", self.snapshot.tables.nodegroups.at(n.row.index).nodegroupName)
                }
                (_, Some(c)) => {
                    format!("EC2NodeClass {}", self.snapshot.tables.ec2_node_classes.at(c.row.index).metadata.name)
                }
                _ => "Fargate".to_owned(),
            };
            clients.push(Client {
                ends: vec![(end.clone(), None)],
                base: Some(end),
                groups,
                name: format!("{} in {}", owner, subnet.SubnetId),
                now: false,
                over_tcp: local && placement.kind != "fargate",
                affected: vec![placement.subnet.row],
            });
        }
        Ok(clients)
    }

    fn worker_end(&self, worker: &Worker) -> Option<(End, Option<Row>)> {
        let row = worker.interface?.row;
        Some((End::interface(&self.interface(row).NetworkInterfaceId), Some(row)))
    }

    fn class_name(&self, class: &PodClass, workers: &[&Arc<Worker>], interface: Option<Row>) -> String {
        let pods = &self.snapshot.tables.pods;
        match class.kind {
            PodKind::Branch => {
                let policies = self.pod_group_policies(class.pods.first().map(|p| pods.at(p.index)));
                match policies.as_slice() {
                    [] => format!("pods with {}", class.groups.join(", ")),
                    names => format!("pods of SecurityGroupPolicy {}", names.join(", ")),
                }
            }
            PodKind::Fargate => {
                let profile = class
                    .pods
                    .first()
                    .and_then(|p| pods.at(p.index).value.metadata.labels.get("eks.amazonaws.com/fargate-profile"));
                format!("pods of Fargate profile {}", profile.map_or("", Str::as_str))
            }
            _ => {
                let primary = workers.first().and_then(|w| w.interface).map(|i| self.interface(i.row));
                let own = interface.map(|i| self.interface(i));
                let apart = primary.zip(own).is_some_and(|(p, o)| p.SubnetId != o.SubnetId || p.Groups != o.Groups);
                let nodes = nodes_name(self, workers);
                if apart { format!("pods with {} on {nodes}", class.groups.join(", ")) } else { nodes }
            }
        }
    }

    /// The names of the SecurityGroupPolicies that select a pod.
    fn pod_group_policies(&self, pod: Option<Rec<'_, Pod>>) -> Vec<String> {
        let Some(pod) = pod else { return Vec::new() };
        self.group_policies_of(pod).map(|p| format!("{}/{}", p.metadata.namespace, p.metadata.name)).collect()
    }

    /// The SecurityGroupPolicies that select a pod.
    pub(super) fn group_policies_of<'a>(
        &'a self,
        pod: Rec<'a, Pod>,
    ) -> impl Iterator<Item = Rec<'a, SecurityGroupPolicy>> {
        let policies = self.snapshot.tables.security_group_policies.iter();
        policies.filter(move |p| p.metadata.namespace == pod.value.metadata.namespace).filter(move |p| {
            p.spec.podSelector.as_ref().is_some_and(|s| super::selector::selects(s, &pod.value.metadata.labels))
        })
    }
}

/// Nodes as people call them: their node group, else their names.
fn nodes_name(cluster: &Cluster, workers: &[&Arc<Worker>]) -> String {
    let groups: BTreeSet<&Str> = workers
        .iter()
        .filter_map(|w| w.nodegroup)
        .map(|n| &cluster.snapshot.tables.nodegroups.at(n.row.index).value.nodegroupName)
        .collect();
    if !groups.is_empty() {
        return format!("node group {}", groups.into_iter().map(Str::as_str).collect::<Vec<_>>().join(", "));
    }
    match workers {
        [] => "pods".to_owned(),
        [one] => format!("node {}", one.name),
        [first, rest @ ..] => format!("node {} and {} more", first.name, rest.len()),
    }
}
