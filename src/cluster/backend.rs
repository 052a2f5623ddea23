//! What an ingress or a load-balanced service leads to: the service, its port and its pods.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Cluster;
use super::ingress::{LoadBalancerPlan, Owner, alb, nlb};
use crate::shape::k8s::{Ingress, IngressBackend, ObjectMeta, Pod, Service};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec, Table};

derived! {
    /// A backend of an ingress, or a service with a load balancer.
    Backend {
        /// `Ingress` or `Service`: who asks.
        kind: Str,
        /// `namespace/name` of who asks.
        owner: Str,
        ingresses: Vec<Link<Ingress>>,
        /// `namespace/name` of the service.
        service: Str,
        found: Option<Link<Service>>,
        /// The port that is asked for, as the ingress gives it; empty for any.
        port: Str,
        /// Whether the service has such a port.
        portFound: bool,
        /// The ports that the service has.
        ports: Str,
        /// `ip` or `instance`.
        targetType: Str,
        /// The service's type.
        serviceType: Str,
        wanting: bool,
        /// `namespace/name` of similar services when there is none.
        similar: Vec<Str>,
        /// Other ingresses of the same group.
        others: Vec<Link<Ingress>>,
        /// 1 when the service's selector picks a pod.
        pods: i64,
        /// Pods of the namespace that the selector nearly picks.
        nearly: Vec<Link<Pod>>,
        /// The service's selector.
        selector: Str,
        /// Whether pods are expected here at all.
        selects: bool,
        /// Whether one of the pods that are nearly picked carries the selector but for a slip of the pen.
        slip: bool,
        /// Of the pods that the selector picks, those on Fargate.
        fargatePods: Vec<Link<Pod>>,
        /// A named target port that no container of the pods has.
        namelessPort: Str,
        /// Whether the service has a node port for each of its ports.
        nodePorts: bool,
        /// Whether machines other than Fargate's run in the cluster.
        machines: bool,
    }
}

/// Pods by namespace and the first label of a selector.
type Candidates<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<Rec<'a, Pod>>>;

/// Whether a pod's labels differ from a selector as a slip of the pen does: the label has another spelling of the
/// value, or stands under another key. A pod with another value altogether is another component, and the service's own
/// pods may be scaled to zero.
fn slips(selector: &BTreeMap<Str, Str>, meta: &ObjectMeta) -> bool {
    let plain = |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    selector.iter().all(|(key, value)| match meta.labels.get(key) {
        Some(found) => {
            let (a, b) = (plain(found), plain(value));
            found == value || a == b || (!a.is_empty() && !b.is_empty() && (a.starts_with(&b) || b.starts_with(&a)))
        }
        None => meta.labels.values().any(|v| v == value),
    })
}

impl Cluster {
    fn pods_by_first_label<'a>(&'a self, services: &'a Table<Service>) -> Candidates<'a> {
        let asked: HashSet<(&str, &str, &str)> = services
            .iter()
            .filter_map(|s| {
                let (key, value) = s.value.spec.selector.iter().next()?;
                Some((s.value.metadata.namespace.as_str(), key.as_str(), value.as_str()))
            })
            .collect();
        let mut pods: Candidates<'a> = HashMap::new();
        for pod in self.snapshot.tables.pods.iter() {
            let meta = &pod.value.metadata;
            for (key, value) in &meta.labels {
                let label = (meta.namespace.as_str(), key.as_str(), value.as_str());
                if asked.contains(&label) {
                    pods.entry(label).or_default().push(pod);
                }
            }
        }
        pods
    }

    /// Whether a deployment or daemon set of the namespace makes pods that a selector picks.
    fn makes_pods(&self, namespace: &str, selector: &BTreeMap<Str, Str>) -> bool {
        let tables = &self.snapshot.tables;
        let deployments =
            tables.deployments.iter().map(|d| (&d.value.metadata, &d.value.spec.template.metadata.labels));
        let sets = tables.daemon_sets.iter().map(|d| (&d.value.metadata, &d.value.spec.template.metadata.labels));
        deployments
            .chain(sets)
            .any(|(meta, labels)| meta.namespace == namespace && selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
    }

    /// The backends of the ingresses that we know the handler of, and the services with load balancers.
    pub fn backends(&self) -> Known<&[Arc<Backend>]> {
        let services = self.snapshot.whole::<Service>()?;
        let plans = self.plans()?;
        Ok(self.cache.backends.get_or_init(|| self.find_backends(services, plans)))
    }

    fn find_backends(&self, services: &Table<Service>, plans: &[Arc<LoadBalancerPlan>]) -> Vec<Arc<Backend>> {
        let tables = &self.snapshot.tables;
        let pods = self.pods_by_first_label(services);
        let mut found: Vec<Arc<Backend>> = Vec::new();
        for ingress in tables.ingresses.iter().filter(|i| i.metadata.deletionTimestamp.is_empty()) {
            let (owner, class) = self.owner_of(ingress.value);
            if owner == Owner::Other {
                continue;
            }
            let meta = &ingress.value.metadata;
            let controller = self.controller_of(&meta.namespace);
            let params = self.params_of(class);
            let plan = plans.iter().find(|p| p.ingresses.iter().any(|i| i.row == ingress.row));
            let paths = ingress
                .value
                .spec
                .rules
                .iter()
                .filter_map(|r| r.http.as_ref())
                .flat_map(|h| h.paths.iter().map(|p| &p.backend));
            let mut seen: Vec<&IngressBackend> = Vec::new();
            for backend in paths.chain(&ingress.value.spec.defaultBackend) {
                if seen.contains(&backend) {
                    continue;
                }
                seen.push(backend);
                let Some(named) = &backend.service else { continue };
                if named.port.name == "use-annotation" || alb(meta, &format!("actions.{}", named.name)).is_some() {
                    continue;
                }
                let id = compact_str::format_compact!("{}/{}", meta.namespace, named.name);
                let service = services.get(&id);
                let port = named.port.number.map_or_else(|| named.port.name.clone(), |n| n.to_string().into());
                let target = service
                    .and_then(|s| alb(&s.value.metadata, "target-type"))
                    .or_else(|| alb(meta, "target-type"))
                    .or_else(|| params.map(|p| p.spec.targetType.as_str()).filter(|t| !t.is_empty()))
                    .map(Str::new)
                    .unwrap_or_else(|| match (owner, &controller) {
                        (Owner::Auto, _) => Str::const_new("ip"),
                        (_, Some(controller)) => controller.targetType.clone(),
                        _ => Str::const_new("instance"),
                    });
                let mut backend = self.backend(&id, service, &port, &pods);
                backend.kind = Str::const_new("Ingress");
                backend.owner = compact_str::format_compact!("{}/{}", meta.namespace, meta.name);
                backend.ingresses = vec![Link::new(ingress.row)];
                backend.targetType = target;
                backend.wanting = ingress.value.status.loadBalancer.ingress.is_empty() || self.fails("Ingress", meta);
                backend.others = plan
                    .map(|p| p.ingresses.iter().copied().filter(|i| i.row != ingress.row).collect())
                    .unwrap_or_default();
                found.push(Arc::new(backend));
            }
        }
        for service in services.iter().filter(|s| s.metadata.deletionTimestamp.is_empty()) {
            let Some(maker) = self.maker_of(service.value) else { continue };
            let meta = &service.value.metadata;
            let controller = self.controller_of(&meta.namespace);
            let id = compact_str::format_compact!("{}/{}", meta.namespace, meta.name);
            let mut backend = self.backend(&id, Some(service), "", &pods);
            backend.kind = Str::const_new("Service");
            backend.owner = id;
            backend.targetType = match (maker, nlb(meta, "nlb-target-type")) {
                ("in-tree", _) => Str::const_new("instance"),
                (_, Some(target)) => Str::new(target),
                ("auto", None) => Str::const_new("ip"),
                (_, None) if nlb(meta, "type") == Some("nlb-ip") => Str::const_new("ip"),
                _ => controller.as_ref().map_or(Str::const_new("instance"), |c| c.targetType.clone()),
            };
            backend.wanting = service.value.status.loadBalancer.ingress.is_empty() || self.fails("Service", meta);
            found.push(Arc::new(backend));
        }
        found
    }

    fn backend(&self, id: &str, service: Option<Rec<'_, Service>>, port: &str, pods: &Candidates<'_>) -> Backend {
        let tables = &self.snapshot.tables;
        let (namespace, name) = id.split_once('/').unwrap_or_default();
        let ports: Vec<String> = service
            .iter()
            .flat_map(|s| s.value.spec.ports.iter())
            .map(|p| match (p.port, p.name.as_str()) {
                (Some(number), "") => number.to_string(),
                (Some(number), name) => format!("{number} ({name})"),
                (None, name) => name.to_owned(),
            })
            .collect();
        let port_found = port.is_empty()
            || service.is_some_and(|s| {
                s.value.spec.ports.iter().any(|p| p.name == port || p.port.is_some_and(|n| n.to_string() == port))
            });
        let selector = service.map(|s| &s.value.spec.selector).filter(|s| !s.is_empty());
        let off =
            |p: &Pod| selector.map_or(0, |s| s.iter().filter(|(k, v)| p.metadata.labels.get(*k) != Some(v)).count());
        let first = selector.and_then(|s| s.iter().next());
        let candidates = first.and_then(|(k, v)| pods.get(&(namespace, k.as_str(), v.as_str())));
        let mut picks = candidates.into_iter().flatten().filter(|p| off(p.value) == 0).take(20).peekable();
        let picked = picks.peek().is_some();
        let picks: Vec<Rec<'_, Pod>> = picks.copied().collect();
        let has_port = |pod: &Pod, name: &str| {
            let all = pod.spec.containers.iter().chain(&pod.spec.initContainers);
            all.flat_map(|c| c.ports.iter()).any(|p| p.name == name)
        };
        let named = service.iter().flat_map(|s| s.value.spec.ports.iter()).map(|p| p.targetPort.as_str());
        let nameless = named
            .filter(|name| !name.is_empty() && name.parse::<u16>().is_err())
            .find(|name| picked && !picks.iter().any(|p| has_port(p.value, name)));
        let made = picked || selector.is_some_and(|s| self.makes_pods(namespace, s));
        let nearly: Vec<Link<Pod>> = match selector {
            Some(s) if !made => {
                // Off by one label of several, or another value of the only one.
                let near =
                    |p: &Pod| off(p) == 1 && (s.len() > 1 || s.keys().all(|k| p.metadata.labels.contains_key(k)));
                let all = tables.pods.iter().filter(|p| p.value.metadata.namespace == namespace);
                all.filter(|p| near(p.value)).take(8).map(|p| Link::new(p.row)).collect()
            }
            _ => Vec::new(),
        };
        let slip =
            selector.is_some_and(|s| nearly.iter().any(|p| slips(s, &tables.pods.at(p.row.index).value.metadata)));
        let similar = match service {
            Some(_) => Vec::new(),
            None => tables
                .services
                .iter()
                .filter(|s| {
                    s.metadata.name == name
                        || (s.metadata.namespace == namespace
                            && (name.contains(s.metadata.name.as_str()) || s.metadata.name.contains(name)))
                })
                .map(|s| compact_str::format_compact!("{}/{}", s.metadata.namespace, s.metadata.name))
                .collect(),
        };
        let shown: Vec<String> = selector.iter().flat_map(|s| s.iter()).map(|(k, v)| format!("{k}={v}")).collect();
        Backend {
            kind: Str::default(),
            owner: Str::default(),
            ingresses: Vec::new(),
            service: Str::new(id),
            found: service.map(|s| Link::new(s.row)),
            port: Str::new(port),
            portFound: port_found,
            ports: ports.join(", ").into(),
            targetType: Str::default(),
            serviceType: match service.map(|s| s.value.spec.r#type.as_str()) {
                None | Some("") => Str::const_new("ClusterIP"),
                Some(kind) => Str::new(kind),
            },
            wanting: false,
            similar,
            others: Vec::new(),
            pods: i64::from(picked),
            nearly,
            selector: shown.join(",").into(),
            selects: selector.is_some() && (picked || !made),
            slip,
            fargatePods: picks
                .iter()
                .filter(|p| p.value.spec.nodeName.starts_with("fargate-"))
                .map(|p| Link::new(p.row))
                .collect(),
            namelessPort: nameless.map(Str::new).unwrap_or_default(),
            nodePorts: service.is_some_and(|s| s.value.spec.ports.iter().all(|p| p.nodePort.is_some_and(|n| n > 0))),
            machines: self.workers().is_ok_and(|all| all.iter().any(|w| w.kind != "fargate")),
        }
    }
}
