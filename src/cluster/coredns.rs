//! CoreDNS as it runs: its pods, service, rights, and why it does not start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Cluster;
use super::addons::addon_values;
use super::pods::ended;
use super::selector::{covers, selects};
use super::version::Version;
use crate::shape::ec2::{DhcpOptions, Vpc};
use crate::shape::eks::{Addon, FargateProfile};
use crate::shape::k8s::{
    ClusterRole, ConfigMap, Container, DaemonSet, Deployment, EndpointSlice, Node, Pod, PodDisruptionBudget, Service,
};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// The CoreDNS that runs or should run.
    CoreDnsPods {
        deployment: Option<Link<Deployment>>,
        addon: Option<Link<Addon>>,
        replicas: i64,
        /// Pods that answer.
        ready: i64,
        pods: Vec<Link<Pod>>,
        notReady: Vec<Link<Pod>>,
        /// Machines that have joined, Fargate aside.
        nodes: i64,
        /// Nodes of Fargate pods.
        fargate: i64,
        /// Nodes that run CoreDNS pods.
        hosts: i64,
        /// Why pods are not scheduled: `selector`, `taints`, `resources`, `fargate-older`, `fargate-annotation`,
        /// `fargate-unselected`, `no-nodes`, `nodes-not-ready`, `other`; empty when all are.
        unscheduled: Str,
        /// What the scheduler said.
        scheduler: Str,
        /// The selector or the taints that keep them away.
        hindrance: Str,
        profile: Option<Link<FargateProfile>>,
        /// `OOMKilled`, `CrashLoopBackOff`, `ImagePullBackOff` ...; empty when no container is stuck.
        stuck: Str,
        /// `nodeSelector` or `affinity` of the pods, when that keeps them away.
        asked: Str,
        /// Keys of the taints that keep them away.
        taintKeys: Vec<Str>,
        /// The add-on's configuration without what keeps the pods away, as JSON; empty when it is no JSON.
        addonValues: Str,
        /// Nobody answers, and the ConfigMap with the Corefile is gone.
        lacksCorefile: bool,
        /// Memory limit of its container in MiB; 0 for none.
        memoryLimit: i64,
    }

    /// What the service account of CoreDNS may read.
    CoreDnsAccess {
        clusterRole: Link<ClusterRole>,
        version: Str,
        /// Resources that it lacks: `endpointslices` ...
        denied: Vec<Str>,
        /// The API group under which endpoint slices are listed instead.
        wrongGroup: Str,
    }

    /// The service in front of CoreDNS.
    DnsService {
        service: Option<Link<Service>>,
        deployment: Option<Link<Deployment>>,
        address: Str,
        /// Running CoreDNS pods.
        pods: i64,
        /// Those that the selector matches.
        selected: i64,
        selector: Str,
        /// Whether it has UDP port 53.
        serves: bool,
        /// The port of the pods that it leads to, when CoreDNS listens on others only.
        deafPort: Str,
        /// `internalTrafficPolicy: Local`, and nothing but the pods of the same node answers.
        onlyLocal: bool,
        /// Ready nodes without a CoreDNS pod of their own.
        uncovered: Vec<Link<Node>>,
    }

    /// PodDisruptionBudgets over CoreDNS.
    CoreDnsBudgets {
        deployment: Link<Deployment>,
        all: Vec<Link<PodDisruptionBudget>>,
        /// Those besides the add-on's own (or the oldest).
        others: Vec<Link<PodDisruptionBudget>>,
    }
}

/// Seconds of `2026-01-02T03:04:05Z` since some day.
fn seconds(time: &str) -> Option<i64> {
    let part = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    // Days from civil dates, with March as the first month.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    Some(((days * 24 + part(11, 13)?) * 60 + part(14, 16)?) * 60 + part(17, 19)?)
}

/// Text of labels, `a=b,c=d`.
fn shown(labels: &BTreeMap<Str, Str>) -> String {
    labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

impl Cluster {
    /// The deployment of CoreDNS.
    pub fn coredns_deployment(&self) -> Option<Rec<'_, Deployment>> {
        let table = &self.snapshot.tables.deployments;
        let system = || {
            table.iter().filter(|d| d.metadata.namespace == "kube-system" && !d.metadata.name.contains("autoscaler"))
        };
        table
            .get("kube-system/coredns")
            .or_else(|| system().find(|d| d.metadata.labels.get("k8s-app").is_some_and(|a| a == "kube-dns")))
            .or_else(|| {
                let selector = self.kube_dns_selector()?;
                system().find(|d| covers(selector, &d.value.spec.template.metadata.labels))
            })
    }

    /// What the service kube-dns selects, when it selects something.
    fn kube_dns_selector(&self) -> Option<&BTreeMap<Str, Str>> {
        let service = self.snapshot.tables.services.get("kube-system/kube-dns")?;
        Some(&service.value.spec.selector).filter(|s| !s.is_empty())
    }

    /// The pods of CoreDNS that have not ended and are not being deleted.
    pub fn coredns_pods(&self) -> Known<Vec<Rec<'_, Pod>>> {
        let pods = self.snapshot.table::<Pod>()?;
        let deployment = self.coredns_deployment();
        let selector = self.kube_dns_selector();
        Ok(pods
            .iter()
            .filter(|p| {
                p.metadata.namespace == "kube-system" && !ended(p.value) && p.metadata.deletionTimestamp.is_empty()
            })
            .filter(|p| match deployment {
                Some(d) if !d.spec.selector.matchLabels.is_empty() => {
                    selects(&d.value.spec.selector, &p.metadata.labels)
                }
                _ => {
                    p.metadata.labels.get("k8s-app").is_some_and(|a| a == "kube-dns")
                        || selector.is_some_and(|s| covers(s, &p.metadata.labels))
                }
            })
            .collect())
    }

    /// The addresses that NodeLocal DNSCache answers on, on every node; empty without it.
    pub fn node_local_addresses(&self) -> Known<Vec<IpAddr>> {
        Ok(self.node_local_set()?.map(|(_, addresses)| addresses).unwrap_or_default())
    }

    /// The daemon set of NodeLocal DNSCache and its `-localip` addresses.
    pub fn node_local_set(&self) -> Known<Option<(Rec<'_, DaemonSet>, Vec<IpAddr>)>> {
        let sets = self.snapshot.table::<DaemonSet>()?;
        Ok(sets.iter().find_map(|set| {
            let containers = &set.value.spec.template.spec.containers;
            let mut words = containers.iter().flat_map(|c| c.command.iter().chain(&c.args));
            let mut value = None;
            while let Some(word) = words.next() {
                let plain = word.trim_start_matches('-');
                if plain == "localip" {
                    value = words.next().map(Str::as_str);
                } else if let Some(rest) = plain.strip_prefix("localip=") {
                    value = Some(rest);
                }
            }
            let addresses: Vec<IpAddr> = value?.split(',').filter_map(|a| a.trim().parse().ok()).collect();
            (!addresses.is_empty()).then_some((set, addresses))
        }))
    }

    /// How many CoreDNS pods answer: ready endpoints of kube-dns, else ready pods.
    pub(super) fn coredns_ready(&self) -> Known<i64> {
        if let Ok(slices) = self.snapshot.table::<EndpointSlice>() {
            let mut mine = slices.iter().filter(|s| {
                s.metadata.namespace == "kube-system"
                    && s.metadata.labels.get("kubernetes.io/service-name").is_some_and(|n| n == "kube-dns")
            });
            let mut count = 0;
            let mut any = false;
            for slice in mine.by_ref() {
                any = true;
                count += slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false)).count();
            }
            if any && count > 0 {
                return Ok(count as i64);
            }
        }
        Ok(self.coredns_pods()?.iter().filter(|p| is_ready(p.value)).count() as i64)
    }

    /// Whether something was made within two minutes before the snapshot was taken: time enough to start.
    pub(super) fn is_new(&self, created: &str) -> bool {
        let Some(now) = self.snapshot.manifest.recorded_at.as_deref().and_then(seconds) else { return false };
        seconds(created).is_some_and(|then| now - then < 120)
    }

    pub(super) fn coredns_version(&self) -> Option<Version> {
        let deployment = self.coredns_deployment()?;
        Version::of_image(&deployment.value.spec.template.spec.containers.first()?.image)
    }

    /// CoreDNS as it should run; `None` in Auto Mode, where it runs on the nodes.
    pub fn coredns_state(&self) -> Known<Option<CoreDnsPods>> {
        let deployments = self.snapshot.whole::<Deployment>()?;
        let deployment = self.coredns_deployment();
        if deployment.is_none() && (self.auto_mode() || deployments.is_empty()) {
            return Ok(None);
        }
        let nodes = self.snapshot.table::<Node>()?;
        if self.auto_mode() && nodes.iter().all(|n| is_auto(n.value)) {
            return Ok(None);
        }
        let pods = self.coredns_pods()?;
        let ready = self.coredns_ready()?;
        // While others answer, one that was made just now is not late yet.
        let not_ready: Vec<Rec<'_, Pod>> = pods
            .iter()
            .filter(|p| !is_ready(p.value) && (ready == 0 || !self.is_new(&p.metadata.creationTimestamp)))
            .copied()
            .collect();
        let container = deployment.and_then(|d| d.value.spec.template.spec.containers.first());
        let addon = self.addon("coredns");
        let mut state = CoreDnsPods {
            deployment: deployment.map(|d| Link::new(d.row)),
            addon: addon.map(|a| Link::new(a.row)),
            replicas: deployment.map_or(pods.len() as i64, |d| d.spec.replicas.unwrap_or(1)),
            ready,
            pods: pods.iter().map(|p| Link::new(p.row)).collect(),
            notReady: not_ready.iter().map(|p| Link::new(p.row)).collect(),
            nodes: nodes.iter().filter(|n| !is_fargate(n.value)).count() as i64,
            fargate: nodes.iter().filter(|n| is_fargate(n.value)).count() as i64,
            hosts: pods.iter().map(|p| p.value.spec.nodeName.as_str()).collect::<BTreeSet<_>>().len() as i64,
            unscheduled: Str::default(),
            scheduler: Str::default(),
            hindrance: Str::default(),
            profile: None,
            stuck: Str::default(),
            asked: Str::default(),
            taintKeys: Vec::new(),
            addonValues: Str::default(),
            lacksCorefile: false,
            memoryLimit: container.map_or(0, memory_limit),
        };
        if let Some(pending) = not_ready.iter().find(|p| p.value.spec.nodeName.is_empty()) {
            self.explain_pending(&mut state, pending.value, nodes.iter())?;
        }
        state.stuck = not_ready.iter().find_map(|p| stuck(p.value)).unwrap_or_default();
        state.addonValues = addon.map(|a| settings_without(a.value, &state)).unwrap_or_default();
        let maps = self.snapshot.whole::<ConfigMap>();
        let eks = container.is_some_and(|c| c.image.contains("/eks/coredns"));
        let creating = not_ready.iter().any(|p| waits_for_creation(p.value));
        state.lacksCorefile = state.ready == 0
            && eks
            && creating
            && maps.is_ok_and(|m| !m.is_empty() && m.get("kube-system/coredns").is_none());
        Ok(Some(state))
    }

    /// The resolvers of the VPC's DHCP options that are not Amazon's.
    pub fn custom_resolvers(&self) -> Known<Vec<Str>> {
        let vpc = self.snapshot.find::<Vpc>(&self.vpc_id()?)?;
        if vpc.DhcpOptionsId.is_empty() || vpc.DhcpOptionsId == "default" {
            return Ok(Vec::new());
        }
        let options = self.snapshot.find::<DhcpOptions>(&vpc.DhcpOptionsId)?;
        Ok(options
            .value
            .DhcpConfigurations
            .iter()
            .filter(|c| c.Key == "domain-name-servers")
            .flat_map(|c| &c.Values)
            .map(|v| v.Value.clone())
            .filter(|v| v != "AmazonProvidedDNS" && v.parse::<IpAddr>().map_or(true, |a| !self.is_vpc_resolver(a)))
            .collect())
    }

    /// Whether an address is the VPC's own resolver: 169.254.169.253 or base + 2 of a range.
    pub fn is_vpc_resolver(&self, address: IpAddr) -> bool {
        if address.to_string() == "169.254.169.253" || address.to_string() == "fd00:ec2::253" {
            return true;
        }
        let Ok(vpc) = self.vpc_id().and_then(|id| self.snapshot.find::<Vpc>(&id)) else { return false };
        let ranges = vpc.value.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock).chain([&vpc.value.CidrBlock]);
        ranges
            .filter_map(|r| r.parse::<ipnet::Ipv4Net>().ok())
            .any(|r| u32::from(r.network()).checked_add(2).is_some_and(|a| IpAddr::V4(a.into()) == address))
    }

    /// What the service account of CoreDNS may not read. Since 1.8.3 it watches endpoint slices
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/coredns-add-on-self-managed-update.html>).
    pub fn coredns_access(&self) -> Known<Option<CoreDnsAccess>> {
        let roles = self.snapshot.whole::<ClusterRole>()?;
        let Some(role) =
            roles.get("system:coredns").or_else(|| roles.iter().find(|r| r.metadata.name == "system:coredns"))
        else {
            return Ok(None);
        };
        if self.coredns_deployment().is_none() {
            return Ok(None);
        }
        let Some(version) = self.coredns_version() else {
            return Err(self.snapshot.missing("k8s:deployments.apps", Some("the version of coredns")));
        };
        let may = |group: &str, resource: &str| {
            ["list", "watch"].iter().all(|verb| {
                role.value.rules.iter().any(|r| {
                    r.apiGroups.iter().any(|g| g == group || g == "*")
                        && r.resources.iter().any(|x| x == resource || x == "*")
                        && r.verbs.iter().any(|v| v == verb || v == "*")
                        && r.resourceNames.is_empty()
                })
            })
        };
        let mut denied = Vec::new();
        for resource in ["services", "namespaces"] {
            if !may("", resource) {
                denied.push(Str::const_new(resource));
            }
        }
        if version >= Version(1, 8, 3) {
            if !may("discovery.k8s.io", "endpointslices") {
                denied.push(Str::const_new("endpointslices"));
            }
        } else if !may("", "endpoints") {
            denied.push(Str::const_new("endpoints"));
        }
        let wrong = role
            .value
            .rules
            .iter()
            .filter(|r| r.resources.iter().any(|x| x == "endpointslices"))
            .flat_map(|r| &r.apiGroups)
            .find(|g| *g != "discovery.k8s.io" && *g != "*")
            .map(|g| if g.is_empty() { Str::const_new("\"\"") } else { g.clone() });
        Ok(Some(CoreDnsAccess {
            clusterRole: Link::new(role.row),
            version: Str::from(version.to_string()),
            denied,
            wrongGroup: wrong.unwrap_or_default(),
        }))
    }

    /// The service kube-dns; `None` where EKS Auto Mode answers on the nodes.
    pub fn dns_service(&self) -> Known<Option<DnsService>> {
        let services = self.snapshot.whole::<Service>()?;
        let deployment = self.coredns_deployment();
        if deployment.is_none() {
            return Ok(None);
        }
        let expected = self.expected_dns().unwrap_or_default();
        let service = services
            .get("kube-system/kube-dns")
            .or_else(|| services.iter().find(|s| expected.iter().any(|e| s.spec.clusterIP == e.to_string())));
        let pods = self.coredns_pods()?;
        let selector = service.map(|s| &s.value.spec.selector);
        let hosts: BTreeSet<&Str> = pods.iter().map(|p| &p.value.spec.nodeName).collect();
        let uncovered = self.snapshot.table::<Node>()?.iter().filter(|n| {
            let ready = n.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
            ready && !is_auto(n.value) && !hosts.contains(&n.value.metadata.name)
        });
        let uncovered = uncovered.map(|n| Link::new(n.row)).collect();
        Ok(Some(DnsService {
            service: service.map(|s| Link::new(s.row)),
            deployment: deployment.map(|d| Link::new(d.row)),
            address: service.map(|s| s.spec.clusterIP.clone()).unwrap_or_default(),
            pods: pods.len() as i64,
            selected: pods
                .iter()
                .filter(|p| selector.is_some_and(|s| !s.is_empty() && covers(s, &p.metadata.labels)))
                .count() as i64,
            selector: selector.map(|s| Str::from(shown(s))).unwrap_or_default(),
            serves: service.is_some_and(|s| s.spec.ports.iter().any(|p| p.port == Some(53) && p.protocol == "UDP")),
            deafPort: service.and_then(|s| self.deaf_port(s.value, &pods)).map(Str::from).unwrap_or_default(),
            onlyLocal: service.is_some_and(|s| s.spec.internalTrafficPolicy == "Local")
                && self.node_local_addresses()?.is_empty(),
            uncovered,
        }))
    }

    /// The port of the pods that kube-dns leads to, when no block of the Corefile listens there.
    fn deaf_port(&self, service: &Service, pods: &[Rec<'_, Pod>]) -> Option<String> {
        let text = self.snapshot.tables.config_maps.get("kube-system/coredns")?.value.data.get("Corefile")?;
        let blocks = super::corefile::parse(text).ok()?;
        let containers = pods.iter().flat_map(|p| &p.value.spec.containers);
        let mut words = containers.flat_map(|c| c.command.iter().chain(&c.args));
        if words.any(|w| w == "-p" || w.contains("dns.port")) {
            // The default port is another one.
            return None;
        }
        let port = service.spec.ports.iter().find(|p| p.port == Some(53) && p.protocol == "UDP")?;
        let target = match port.targetPort.as_int() {
            Some(number) => number,
            None if port.targetPort.as_str().is_empty() => 53,
            None => {
                let ports = pods.iter().flat_map(|p| p.value.spec.containers.iter().flat_map(|c| &c.ports));
                let mut named = ports.filter(|c| c.name == port.targetPort.as_str());
                match named.next() {
                    Some(named) => named.containerPort?,
                    None if pods.is_empty() => return None,
                    None => return Some(port.targetPort.as_str().to_owned()),
                }
            }
        };
        let open = blocks.iter().filter(|b| !b.is_snippet()).any(|b| b.ports().any(|p| p == target));
        // A variable of the environment may stand for any port.
        (!open && !text.contains("{$") && !text.contains("{%")).then(|| target.to_string())
    }

    /// The budgets over the pods of CoreDNS; `None` without a deployment.
    pub fn coredns_budgets(&self) -> Known<Option<CoreDnsBudgets>> {
        let budgets = self.snapshot.whole::<PodDisruptionBudget>()?;
        self.snapshot.table::<Deployment>()?;
        let Some(deployment) = self.coredns_deployment() else { return Ok(None) };
        let labels = &deployment.value.spec.template.metadata.labels;
        let mut all: Vec<Rec<'_, PodDisruptionBudget>> = budgets
            .iter()
            .filter(|b| b.metadata.namespace == deployment.metadata.namespace)
            .filter(|b| {
                let selector = &b.value.spec.selector;
                // One without a selector of its own selects nothing that we know of.
                (!selector.matchLabels.is_empty() || !selector.matchExpressions.is_empty()) && selects(selector, labels)
            })
            .collect();
        all.sort_by_key(|b| {
            (!b.metadata.labels.contains_key("eks.amazonaws.com/component"), &b.value.metadata.creationTimestamp, b.row)
        });
        Ok(Some(CoreDnsBudgets {
            deployment: Link::new(deployment.row),
            all: all.iter().map(|b| Link::new(b.row)).collect(),
            others: all.iter().skip(1).map(|b| Link::new(b.row)).collect(),
        }))
    }

    /// The addresses that kubelets should hand to pods: those of kube-dns, else the tenth of the service range.
    pub fn expected_dns(&self) -> Known<Vec<IpAddr>> {
        if let Some(service) = self.snapshot.tables.services.get("kube-system/kube-dns") {
            let spec = &service.value.spec;
            let mut found: Vec<IpAddr> =
                spec.clusterIPs.iter().chain([&spec.clusterIP]).filter_map(|a| a.parse().ok()).collect();
            found.sort();
            found.dedup();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let eks = self.eks()?;
        let config = &eks.value.kubernetesNetworkConfig;
        let ranges = [&config.serviceIpv4Cidr, &config.serviceIpv6Cidr];
        let found: Vec<IpAddr> = ranges.iter().filter_map(|r| super::user_data::tenth(&r.parse().ok()?)).collect();
        if found.is_empty() {
            return Err(self.snapshot.missing("k8s:services", Some("kube-dns")));
        }
        Ok(found)
    }
}

/// Whether a node is one of EKS Auto Mode, which answers DNS by itself.
fn is_auto(node: &Node) -> bool {
    node.metadata.labels.get("eks.amazonaws.com/compute-type").is_some_and(|t| t == "auto")
}

/// The memory limit of a container in MiB, 0 for none.
pub(super) fn memory_limit(container: &Container) -> i64 {
    let Some(limit) = container.resources.as_ref().and_then(|r| r.limits.get("memory")) else { return 0 };
    let text = limit.as_str();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let Ok(number) = text[..digits].parse::<i64>() else { return 0 };
    match &text[digits..] {
        "" => number >> 20,
        "Ki" => number >> 10,
        "Mi" => number,
        "Gi" => number.saturating_mul(1024),
        "k" => number.saturating_mul(1000) >> 20,
        "M" => number.saturating_mul(1_000_000) >> 20,
        "G" => number.saturating_mul(1_000_000_000) >> 20,
        _ => 0,
    }
}

/// Whether a pod has its node and waits for what it mounts.
fn waits_for_creation(pod: &Pod) -> bool {
    !pod.spec.nodeName.is_empty()
        && pod
            .status
            .containerStatuses
            .iter()
            .any(|s| s.state.as_ref().and_then(|s| s.waiting.as_ref()).is_some_and(|w| w.reason == "ContainerCreating"))
}

/// The add-on's settings without the selector or affinity that keeps its pods away, with tolerations of the taints
/// that do.
fn settings_without(addon: &Addon, state: &CoreDnsPods) -> Str {
    let Some(mut settings) = addon_values(addon) else { return Str::default() };
    match state.unscheduled.as_str() {
        "selector" => {
            settings.remove(state.asked.as_str());
        }
        "taints" => {
            let tolerations = settings.entry("tolerations").or_insert_with(|| serde_json::json!([]));
            if let Some(list) = tolerations.as_array_mut() {
                list.extend(
                    state.taintKeys.iter().map(|k| serde_json::json!({"key": k.as_str(), "operator": "Exists"})),
                );
            }
        }
        _ => return Str::default(),
    }
    Str::from(serde_json::Value::Object(settings).to_string())
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

pub(super) fn is_fargate(node: &Node) -> bool {
    node.metadata.labels.get("eks.amazonaws.com/compute-type").is_some_and(|t| t == "fargate")
        || node.spec.providerID.contains("/fargate-")
}

/// Why a container does not run.
pub(super) fn stuck(pod: &Pod) -> Option<Str> {
    pod.status.containerStatuses.iter().find_map(|s| {
        let waiting = s.state.as_ref().and_then(|s| s.waiting.as_ref()).map(|w| w.reason.clone());
        let last = s.lastState.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.reason.clone());
        match (waiting, last) {
            (_, Some(last)) if last == "OOMKilled" => Some(last),
            (Some(waiting), _) if !matches!(waiting.as_str(), "ContainerCreating" | "PodInitializing" | "") => {
                Some(waiting)
            }
            _ => None,
        }
    })
}
