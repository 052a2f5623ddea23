//! CoreDNS as it runs: its pods, service, configuration, rights, and why it does not start.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Cluster;
use super::corefile;
use super::pods::ended;
use super::selector::{covers, selects};
use super::version::Version;
use crate::shape::ec2::{DhcpOptions, Vpc};
use crate::shape::eks::{Addon, FargateProfile};
use crate::shape::k8s::{ClusterRole, ConfigMap, DaemonSet, Deployment, EndpointSlice, Node, Pod, Service};
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
    }

    /// The configuration of CoreDNS.
    CoreDnsConfig {
        configMap: Link<ConfigMap>,
        deployment: Option<Link<Deployment>>,
        version: Str,
        ready: i64,
        /// What this version refuses to start with; empty when nothing.
        faults: Vec<Str>,
        instead: Vec<Str>,
        line: i64,
        /// A readiness probe asks `/ready` and no block has the plugin.
        lacksReady: bool,
        /// A liveness probe asks `/health` and no block has the plugin.
        lacksHealth: bool,
        /// No block answers for the cluster's names.
        lacksKubernetes: bool,
        /// Names outside the cluster are not forwarded.
        lacksForward: bool,
        /// Where CoreDNS forwards to itself.
        loops: Vec<Str>,
        /// TCP to the VPC's resolver.
        forcesTcp: bool,
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
    }
}

/// Text of labels, `a=b,c=d`.
fn shown(labels: &BTreeMap<Str, Str>) -> String {
    labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

impl Cluster {
    /// The deployment of CoreDNS.
    pub fn coredns_deployment(&self) -> Option<Rec<'_, Deployment>> {
        let table = &self.snapshot.tables.deployments;
        table.get("kube-system/coredns").or_else(|| {
            table.iter().find(|d| {
                d.metadata.namespace == "kube-system"
                    && d.metadata.labels.get("k8s-app").is_some_and(|a| a == "kube-dns")
                    && !d.metadata.name.contains("autoscaler")
            })
        })
    }

    /// The pods of CoreDNS that have not ended and are not being deleted.
    pub fn coredns_pods(&self) -> Known<Vec<Rec<'_, Pod>>> {
        let pods = self.snapshot.table::<Pod>()?;
        let deployment = self.coredns_deployment();
        Ok(pods
            .iter()
            .filter(|p| {
                p.metadata.namespace == "kube-system" && !ended(p.value) && p.metadata.deletionTimestamp.is_empty()
            })
            .filter(|p| match deployment {
                Some(d) if !d.spec.selector.matchLabels.is_empty() => {
                    selects(&d.value.spec.selector, &p.metadata.labels)
                }
                _ => p.metadata.labels.get("k8s-app").is_some_and(|a| a == "kube-dns"),
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
    fn coredns_ready(&self) -> Known<i64> {
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

    /// The add-on of this name.
    fn addon(&self, name: &str) -> Option<Rec<'_, Addon>> {
        let cluster = self.name();
        let mut addons = self.snapshot.tables.addons.iter();
        addons.find(|a| a.addonName == name && (a.clusterName == cluster || a.clusterName.is_empty()))
    }

    fn coredns_version(&self) -> Option<Version> {
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
        let pods = self.coredns_pods()?;
        let not_ready: Vec<Rec<'_, Pod>> = pods.iter().filter(|p| !is_ready(p.value)).copied().collect();
        let nodes = self.snapshot.table::<Node>()?;
        let mut state = CoreDnsPods {
            deployment: deployment.map(|d| Link::new(d.row)),
            addon: self.addon("coredns").map(|a| Link::new(a.row)),
            replicas: deployment.map_or(pods.len() as i64, |d| d.spec.replicas.unwrap_or(1)),
            ready: self.coredns_ready()?,
            pods: pods.iter().map(|p| Link::new(p.row)).collect(),
            notReady: not_ready.iter().map(|p| Link::new(p.row)).collect(),
            nodes: nodes.iter().filter(|n| !is_fargate(n.value)).count() as i64,
            hosts: pods.iter().map(|p| p.value.spec.nodeName.as_str()).collect::<std::collections::BTreeSet<_>>().len()
                as i64,
            unscheduled: Str::default(),
            scheduler: Str::default(),
            hindrance: Str::default(),
            profile: None,
            stuck: Str::default(),
        };
        if let Some(pending) = not_ready.iter().find(|p| p.value.spec.nodeName.is_empty()) {
            self.explain_pending(&mut state, pending.value, nodes.iter())?;
        }
        state.stuck = not_ready.iter().find_map(|p| stuck(p.value)).unwrap_or_default();
        Ok(Some(state))
    }

    /// The Corefile of CoreDNS and what is wrong with it; `None` when CoreDNS has none (Auto Mode).
    pub fn coredns_config(&self) -> Known<Option<CoreDnsConfig>> {
        let maps = self.snapshot.whole::<ConfigMap>()?;
        let Some(map) = maps.get("kube-system/coredns") else { return Ok(None) };
        let Some(text) = map.value.data.get("Corefile") else { return Ok(None) };
        let deployment = self.coredns_deployment();
        let version = self.coredns_version();
        let containers = deployment.map(|d| &d.value.spec.template.spec.containers);
        let container = containers.and_then(|c| c.first());
        let probes = |path: &str, probe: Option<&crate::shape::k8s::Probe>| {
            probe.and_then(|p| p.httpGet.as_ref()).is_some_and(|g| g.path == path)
        };
        let mut config = CoreDnsConfig {
            configMap: Link::new(map.row),
            deployment: deployment.map(|d| Link::new(d.row)),
            version: version.map(|v| Str::from(v.to_string())).unwrap_or_default(),
            ready: self.coredns_ready().unwrap_or(1),
            faults: Vec::new(),
            instead: Vec::new(),
            line: 0,
            lacksReady: false,
            lacksHealth: false,
            lacksKubernetes: false,
            lacksForward: false,
            loops: Vec::new(),
            forcesTcp: false,
        };
        let blocks = match corefile::parse(text) {
            Ok(blocks) => blocks,
            Err(fault) => {
                config.line = fault.line as i64;
                config.faults.push(Str::from(fault.what));
                return Ok(Some(config));
            }
        };
        let eks_image = container.is_some_and(|c| c.image.contains("/eks/coredns:"));
        for fault in corefile::faults(&blocks, version, eks_image) {
            if config.line == 0 {
                config.line = fault.line as i64;
            }
            config.faults.push(Str::from(fault.what));
            config.instead.extend((!fault.instead.is_empty()).then(|| Str::from(fault.instead)));
        }
        let imports = blocks.iter().any(corefile::ServerBlock::imports);
        let has = |name: &str| imports || blocks.iter().any(|b| b.plugin(name).is_some());
        config.lacksReady = !has("ready") && probes("/ready", container.and_then(|c| c.readinessProbe.as_ref()));
        config.lacksHealth = !has("health") && probes("/health", container.and_then(|c| c.livenessProbe.as_ref()));
        config.lacksKubernetes = !has("kubernetes");
        let root = |b: &&corefile::ServerBlock| !b.is_snippet() && b.zones().any(|z| z == ".");
        config.lacksForward = !imports
            && blocks
                .iter()
                .filter(root)
                .all(|b| ["forward", "grpc", "proxy", "template", "erratic"].iter().all(|p| b.plugin(p).is_none()));
        let own: Vec<Str> = self
            .snapshot
            .tables
            .services
            .get("kube-system/kube-dns")
            .map(|s| vec![s.value.spec.clusterIP.clone()])
            .unwrap_or_default();
        let custom = self.custom_resolvers();
        for block in &blocks {
            for forward in block.directives.iter().filter(|d| d.name == "forward") {
                for upstream in forward.arguments.iter().skip(1) {
                    let bare = upstream.trim_start_matches("dns://");
                    let host = bare.strip_suffix(":53").unwrap_or(bare);
                    let own_port = host.parse::<IpAddr>().is_ok();
                    if own_port
                        && (own.iter().any(|o| o == host) || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback()))
                    {
                        config.loops.push(Str::new(host));
                    }
                }
                let tcp = forward.options.iter().any(|o| o.first().is_some_and(|w| w == "force_tcp"));
                let vpc = forward.arguments.iter().skip(1).any(|u| match u.parse::<IpAddr>() {
                    Ok(address) => self.is_vpc_resolver(address),
                    Err(_) => u.starts_with('/') && custom.as_ref().map_or(true, Vec::is_empty),
                });
                config.forcesTcp |= tcp && vpc;
            }
        }
        Ok(Some(config))
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

fn is_ready(pod: &Pod) -> bool {
    pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

pub(super) fn is_fargate(node: &Node) -> bool {
    node.metadata.labels.get("eks.amazonaws.com/compute-type").is_some_and(|t| t == "fargate")
        || node.spec.providerID.contains("/fargate-")
}

/// Why a container does not run.
fn stuck(pod: &Pod) -> Option<Str> {
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
