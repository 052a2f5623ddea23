//! What runs in the subnets: the control plane's interfaces, CoreDNS, nodes.

use std::collections::BTreeMap;

use super::{Builder, LINES};
use crate::cluster::worker::Worker;
use crate::picture::{Kind, State};
use crate::shape::Str;

/// Nodes of one subnet that are drawn one by one.
const NODES: usize = 4;

impl Builder<'_> {
    pub(super) fn control_plane(&mut self) {
        let Ok(interfaces) = self.cluster.control_plane_interfaces() else { return };
        for interface in interfaces {
            let id = &interface.value.NetworkInterfaceId;
            let hint = format!("interface {id} of the EKS control plane\n{}", interface.PrivateIpAddress);
            let address = &interface.value.PrivateIpAddress;
            let label = if address.is_empty() { id } else { address };
            if let Some(at) =
                self.row(&interface.SubnetId, Kind::ControlPlane, label, "control plane", hint, State::Fine)
            {
                self.picture.place(id, at);
            }
        }
    }

    pub(super) fn coredns(&mut self) {
        let cluster = self.cluster;
        let Ok(pods) = cluster.coredns_pods() else { return };
        let tables = &cluster.snapshot.tables;
        let mut by_subnet: BTreeMap<Str, Vec<(String, bool)>> = BTreeMap::new();
        for pod in pods {
            let interface = cluster.pod_place(pod.value).ok().map(|place| place.interface.SubnetId.clone());
            let node = || {
                let worker = cluster.worker_of_node(&pod.value.spec.nodeName)?;
                Some(tables.id(worker.subnet?.row))
            };
            let Some(subnet) = interface.or_else(node) else { continue };
            let ready = pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            by_subnet.entry(subnet).or_default().push((name, ready));
        }
        for (subnet, pods) in by_subnet {
            let ready = pods.iter().filter(|(_, ready)| *ready).count();
            let label = if pods.len() == 1 { "CoreDNS".to_owned() } else { format!("CoreDNS ×{}", pods.len()) };
            let (detail, state) = match ready {
                0 => ("not ready".to_owned(), State::Bad),
                ready if ready < pods.len() => (format!("{ready} ready"), State::Bad),
                _ => ("ready".to_owned(), State::Fine),
            };
            let hint = pods.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("\n");
            if let Some(at) = self.row(&subnet, Kind::CoreDns, &label, &detail, hint, state) {
                for (name, _) in &pods {
                    self.picture.place(name, at);
                }
            }
        }
    }

    pub(super) fn workers(&mut self) {
        let cluster = self.cluster;
        let Ok(workers) = cluster.workers() else { return };
        let tables = &cluster.snapshot.tables;
        let mut by_subnet: BTreeMap<Option<Str>, Vec<&Worker>> = BTreeMap::new();
        for worker in workers {
            let subnet = worker.subnet.map(|link| tables.id(link.row));
            let subnet = subnet.filter(|subnet| self.by_subnet.contains_key(subnet));
            by_subnet.entry(subnet).or_default().push(worker);
        }
        for (subnet, workers) in by_subnet {
            let single = workers.len() <= NODES && subnet.is_some();
            let mut teams: BTreeMap<String, Vec<&Worker>> = BTreeMap::new();
            for (i, worker) in workers.into_iter().enumerate() {
                let team = if single { format!("{i:09}") } else { self.team(worker) };
                teams.entry(team).or_default().push(worker);
            }
            while teams.len() > LINES + 2 {
                // The smallest teams share the last line.
                let Some(least) = teams.iter().min_by_key(|(_, t)| t.len()).map(|(name, _)| name.clone()) else {
                    break;
                };
                let Some(least) = teams.remove(&least) else { break };
                teams.entry("other nodes".to_owned()).or_default().extend(least);
                if teams.len() == 1 {
                    break;
                }
            }
            for (team, workers) in teams {
                self.team_row(subnet.as_deref(), &team, &workers);
            }
        }
    }

    /// What nodes of a subnet are counted by.
    fn team(&self, worker: &Worker) -> String {
        let tables = &self.cluster.snapshot.tables;
        if let Some(group) = worker.nodegroup {
            return tables.nodegroups.at(group.row.index).nodegroupName.to_string();
        }
        let node = worker.node.map(|link| tables.nodes.at(link.row.index));
        let pool = node.and_then(|node| node.value.metadata.labels.get("karpenter.sh/nodepool"));
        match (pool, worker.kind.as_str()) {
            (Some(pool), _) => pool.to_string(),
            (None, "fargate") => "Fargate".to_owned(),
            (None, "hybrid") => "hybrid nodes".to_owned(),
            (None, "auto") => "Auto Mode".to_owned(),
            (None, _) => "self-managed".to_owned(),
        }
    }

    fn team_row(&mut self, subnet: Option<&str>, team: &str, workers: &[&Worker]) {
        let cluster = self.cluster;
        let tables = &cluster.snapshot.tables;
        let missing = workers.iter().filter(|worker| !worker.joined).count();
        let unready = workers.iter().filter(|worker| worker.joined && !worker.ready).count();
        let occupancy = cluster.occupancy().ok();
        let pods: i64 = workers.iter().filter_map(|worker| Some(occupancy?.nodes.get(&worker.name)?.total)).sum();
        let single = workers.len() == 1;
        let (detail, state) = match (missing, unready) {
            (0, 0) if occupancy.is_none() => (String::new(), State::Fine),
            (0, 0) => (if pods == 1 { "1 pod".to_owned() } else { format!("{pods} pods") }, State::Fine),
            (0, _) if single => ("not ready".to_owned(), State::Bad),
            (_, 0) if single => ("not joined".to_owned(), State::Bad),
            (0, n) => (format!("{n} not ready"), State::Bad),
            (n, _) => (format!("{n} not joined"), State::Bad),
        };
        let (label, hint) = match workers {
            [worker] => {
                let instance = worker.instance.map(|link| tables.id(link.row)).unwrap_or_default();
                let hint = format!("{}\n{instance} {}\n{}", worker.name, worker.instanceType, worker.address);
                (short_node(&worker.name).to_owned(), hint)
            }
            _ => {
                let mut types: BTreeMap<&str, usize> = BTreeMap::new();
                for worker in workers {
                    *types.entry(worker.instanceType.as_str()).or_default() += 1;
                }
                let types: Vec<String> = types.iter().map(|(name, count)| format!("{count} × {name}")).collect();
                (
                    format!("{} × {team}", workers.len()),
                    format!("{} nodes of {team}\n{}", workers.len(), types.join("\n")),
                )
            }
        };
        let at = match subnet {
            Some(subnet) => self.row(subnet, Kind::Node, &label, &detail, hint, state),
            None => {
                let at = self.picture.add(Kind::Node, &label, &detail, hint, state);
                self.picture.outside.push(at);
                Some(at)
            }
        };
        let Some(at) = at else { return };
        for worker in workers {
            self.picture.place(&worker.name, at);
            if let Some(instance) = worker.instance {
                self.picture.place(&tables.id(instance.row), at);
            }
            for interface in &worker.interfaces {
                self.picture.place(&tables.id(interface.row), at);
            }
        }
    }
}

/// `ip-10-0-1-7.ec2.internal` is `ip-10-0-1-7`.
fn short_node(name: &str) -> &str {
    match name.split_once('.') {
        Some((host, _)) if ["ip-", "i-", "fargate-ip-"].iter().any(|begin| host.starts_with(begin)) => host,
        _ => name,
    }
}
