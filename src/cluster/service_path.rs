//! What stands between a pod and a service's address: kube-proxy, NodeLocal DNSCache.

use std::collections::BTreeSet;

use super::Cluster;
use super::dns_path::AnyLink;
use super::pods::ended;
use super::selector::selects;
use super::version::Version;
use crate::shape::k8s::{ConfigMap, DaemonSet, Node, Pod, SecurityGroupPolicy};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// kube-proxy, which makes services' addresses work on the nodes.
    KubeProxy {
        daemonSet: Option<Link<DaemonSet>>,
        configMap: Option<Link<ConfigMap>>,
        /// The config map with its kubeconfig, and the API server's address there.
        kubeconfig: Option<Link<ConfigMap>>,
        server: Str,
        /// The object to look at first: its configuration when that is not the usual one, else the daemon set.
        culprit: Option<AnyLink>,
        /// `iptables`, `ipvs`, `nftables`; `iptables` when it is not set.
        mode: Str,
        /// The IPVS scheduler when it is not one that Linux has.
        wrongScheduler: Str,
        /// Something else forwards services: Cilium, Calico, EKS Auto Mode.
        replaced: bool,
        /// Linux machines, Fargate and Auto Mode aside.
        nodes: i64,
        /// Ready nodes on which no kube-proxy pod runs or its pod is stuck.
        without: Vec<Link<Node>>,
        /// Why its pods are stuck: `CrashLoopBackOff` ...; empty when none is.
        stuck: Str,
        stuckPods: Vec<Link<Pod>>,
        /// Pods that wait for their image, on nodes where aws-node has its own.
        unpulled: Vec<Link<Pod>>,
        /// The image of kube-proxy.
        image: Str,
        version: Str,
        kubernetes: Str,
        /// Minor versions that it is behind the API server; negative when it is ahead.
        behind: i64,
        /// Security groups for pods are on, in strict mode.
        strictPods: bool,
        /// NodeLocal DNSCache that is told to answer on the address of kube-dns, too.
        nodeLocal: Option<Link<DaemonSet>>,
        /// The minor version of Kubernetes 1; 0 when it is not known.
        minor: i64,
        /// EKS manages it as an add-on.
        managed: bool,
    }

    /// NodeLocal DNSCache that pods with security groups of their own cannot reach.
    NodeLocalGap {
        daemonSet: Link<DaemonSet>,
        cni: Link<DaemonSet>,
        addresses: Vec<Str>,
        mode: Str,
        cniVersion: Str,
        /// Whether the CNI knows the mode `standard` (1.11).
        knowsStandard: bool,
        policies: Vec<Link<SecurityGroupPolicy>>,
        pods: Vec<Link<Pod>>,
        /// Whether it answers on the address of kube-dns.
        takesService: bool,
    }
}

const SCHEDULERS: &[&str] =
    &["", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf"];

/// The configuration of kube-proxy in a ConfigMap.
fn configuration(map: &ConfigMap) -> Option<&Str> {
    map.data.get("config").or(map.data.get("config.conf"))
}

/// The mode that the configuration of kube-proxy asks for.
pub(crate) fn proxy_mode_of_map(map: &ConfigMap) -> Option<&str> {
    let named = matches!(map.metadata.name.as_str(), "kube-proxy-config" | "kube-proxy");
    value_of(configuration(map).filter(|_| named)?, "mode").filter(|mode| !mode.is_empty())
}

/// The mode that kube-proxy's command line asks for.
pub(crate) fn proxy_mode_of_set(set: &DaemonSet) -> Option<&str> {
    let containers = &set.spec.template.spec.containers;
    let mut words = containers.iter().flat_map(|c| c.command.iter().chain(&c.args));
    words.find_map(|word| word.strip_prefix("--proxy-mode=")).filter(|mode| !mode.is_empty())
}

/// The value of a top-level (or indented) key in YAML text.
fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|l| {
        let rest = l.trim_start().strip_prefix(key)?.strip_prefix(':')?;
        Some(rest.trim().trim_matches(['"', '\'']))
    })
}

impl Cluster {
    /// The daemon set of a kube-proxy that takes its node's name from the host: neither `--hostname-override` nor
    /// `hostnameOverride` of its configuration names it.
    pub fn nameless_kube_proxy(&self) -> Known<Option<Rec<'_, DaemonSet>>> {
        let Some(set) = self.snapshot.whole::<DaemonSet>()?.get("kube-system/kube-proxy") else { return Ok(None) };
        let containers = &set.value.spec.template.spec.containers;
        if containers.iter().flat_map(|c| c.command.iter().chain(&c.args)).any(|w| w.starts_with("--hostname-override"))
        {
            return Ok(None);
        }
        let maps = self.snapshot.whole::<ConfigMap>()?;
        let map = maps.get("kube-system/kube-proxy-config").or_else(|| maps.get("kube-system/kube-proxy"));
        let text = map.and_then(|m| m.value.data.get("config").or(m.value.data.get("config.conf")));
        let named = text.and_then(|t| value_of(t, "hostnameOverride")).is_some_and(|name| !name.is_empty());
        Ok(Some(set).filter(|_| !named))
    }

    /// kube-proxy; `None` when no machine would run it.
    pub fn kube_proxy(&self) -> Known<Option<KubeProxy>> {
        let sets = self.snapshot.whole::<DaemonSet>()?;
        let pods = self.snapshot.whole::<Pod>()?;
        let nodes = self.snapshot.table::<Node>()?;
        let label = |n: &Node, key: &str| n.metadata.labels.get(key).cloned().unwrap_or_default();
        let machines: Vec<Rec<'_, Node>> = nodes
            .iter()
            .filter(|n| {
                !matches!(label(n.value, "eks.amazonaws.com/compute-type").as_str(), "fargate" | "auto" | "hybrid")
            })
            .filter(|n| !n.spec.providerID.contains("/fargate-") && !n.spec.providerID.starts_with("eks-hybrid"))
            .filter(|n| label(n.value, "kubernetes.io/os") != "windows")
            .collect();
        if machines.is_empty() {
            return Ok(None);
        }
        let set = sets.get("kube-system/kube-proxy").or_else(|| {
            // Under another name: its image tells.
            sets.iter().find(|s| {
                let template = &s.value.spec.template;
                let linux = template.spec.nodeSelector.get("kubernetes.io/os").is_none_or(|o| o == "linux");
                linux && template.spec.containers.iter().any(|c| c.image.contains("/kube-proxy"))
            })
        });
        let own = |pod: &Pod| match set {
            Some(set) if !set.spec.selector.matchLabels.is_empty() => {
                pod.metadata.namespace == set.metadata.namespace && selects(&set.spec.selector, &pod.metadata.labels)
            }
            _ => {
                pod.metadata.namespace == "kube-system"
                    && pod.metadata.labels.get("k8s-app").is_some_and(|a| a == "kube-proxy")
            }
        };
        let other = ["cilium", "calico-node", "antrea-agent", "kube-router"];
        let replaced = self.auto_mode() || sets.iter().any(|s| other.contains(&s.metadata.name.as_str()));
        let maps = &self.snapshot.tables.config_maps;
        let kubeconfig =
            maps.get("kube-system/kube-proxy").and_then(|m| Some((m.row, m.value.data.get("kubeconfig")?)));
        let map = maps.get("kube-system/kube-proxy-config").or_else(|| maps.get("kube-system/kube-proxy"));
        let text = map.and_then(|m| configuration(m.value));
        let flag = set.and_then(|s| proxy_mode_of_set(s.value));
        let mode = flag.or_else(|| proxy_mode_of_map(map?.value)).unwrap_or("iptables");
        let scheduler = text.and_then(|t| value_of(t, "scheduler")).unwrap_or_default();
        let mut here: BTreeSet<&Str> = BTreeSet::new();
        let mut stuck = Str::default();
        let mut stuck_pods = Vec::new();
        let mut unpulled = Vec::new();
        let lacks_image = |r: &str| matches!(r, "ImagePullBackOff" | "ErrImagePull");
        for pod in pods.iter().filter(|p| own(p.value) && !ended(p.value)) {
            let waiting = pod.value.status.containerStatuses.iter().find_map(|s| {
                let waiting = s.state.as_ref()?.waiting.as_ref()?;
                // An image that cannot be pulled tells of the way to the registry, not of kube-proxy.
                Some(waiting.reason.clone()).filter(|r| {
                    !matches!(
                        r.as_str(),
                        "ContainerCreating" | "PodInitializing" | "ImagePullBackOff" | "ErrImagePull" | ""
                    )
                })
            });
            let mut reasons =
                pod.value.status.containerStatuses.iter().filter_map(|s| s.state.as_ref()?.waiting.as_ref());
            if reasons.any(|w| lacks_image(w.reason.as_str())) && self.has_ready_aws_node(&pod.value.spec.nodeName) {
                unpulled.push(Link::new(pod.row));
                continue;
            }
            match waiting {
                Some(reason) => {
                    stuck = reason;
                    stuck_pods.push(Link::new(pod.row));
                }
                None => {
                    here.insert(&pod.value.spec.nodeName);
                }
            }
        }
        let ready = |n: &Node| n.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
        let image = set.and_then(|s| s.value.spec.template.spec.containers.first()).map(|c| c.image.as_str());
        let version = image.and_then(Version::of_image);
        let kubernetes = self.eks().ok().and_then(|e| Version::parse(&e.value.version));
        let cni = self.cni().ok().flatten();
        Ok(Some(KubeProxy {
            daemonSet: set.map(|s| Link::new(s.row)),
            configMap: map.map(|m| Link::new(m.row)),
            kubeconfig: kubeconfig.map(|k| Link::new(k.0)),
            server: Str::new(kubeconfig.and_then(|k| value_of(k.1, "server")).unwrap_or_default()),
            culprit: map.map(|m| m.row).filter(|_| mode != "iptables").or(set.map(|s| s.row)).map(AnyLink),
            mode: Str::new(mode),
            wrongScheduler: if SCHEDULERS.contains(&scheduler) { Str::default() } else { Str::new(scheduler) },
            replaced,
            nodes: machines.len() as i64,
            without: machines
                .iter()
                .filter(|n| ready(n.value) && !here.contains(&n.value.metadata.name))
                .filter(|n| !self.is_new(&n.value.metadata.creationTimestamp))
                .map(|n| Link::new(n.row))
                .collect(),
            stuck,
            stuckPods: stuck_pods,
            unpulled,
            image: image.map(Str::new).unwrap_or_default(),
            version: version.map(|v| Str::from(v.to_string())).unwrap_or_default(),
            kubernetes: kubernetes.map(|k| Str::from(format!("{}.{}", k.0, k.1))).unwrap_or_default(),
            behind: version.zip(kubernetes).map_or(0, |(v, k)| i64::from(k.1) - i64::from(v.1)),
            minor: kubernetes.map_or(0, |k| i64::from(k.1)),
            nodeLocal: self.node_local_on_service()?.map(Link::new),
            managed: self.has_addon("kube-proxy"),
            strictPods: cni.as_ref().is_some_and(|c| c.pod_eni() && c.enforcing_mode() == "strict"),
        }))
    }

    /// NodeLocal DNSCache that binds the address of kube-dns.
    fn node_local_on_service(&self) -> Known<Option<Row>> {
        let Some((set, addresses)) = self.node_local_set()? else { return Ok(None) };
        let service = self.snapshot.tables.services.get("kube-system/kube-dns");
        let own = service.and_then(|s| s.value.spec.clusterIP.parse().ok());
        Ok(own.filter(|own| addresses.contains(own)).map(|_| set.row))
    }

    /// Whether aws-node runs on a node and is ready: its image came from the registry of EKS.
    fn has_ready_aws_node(&self, node: &str) -> bool {
        self.snapshot.tables.pods.iter().any(|p| {
            p.value.spec.nodeName == node
                && p.value.metadata.namespace == "kube-system"
                && p.value.metadata.labels.get("k8s-app").is_some_and(|a| a == "aws-node")
                && p.value.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
        })
    }

    /// Pods with groups of their own that NodeLocal DNSCache does not serve: in strict mode all they send goes
    /// through their branch interface, past the node
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/security-groups-for-pods.html>).
    pub fn node_local_gap(&self) -> Known<Option<NodeLocalGap>> {
        let Some((set, addresses)) = self.node_local_set()? else { return Ok(None) };
        let Some(cni) = self.cni()? else { return Ok(None) };
        if !cni.pod_eni() || cni.enforcing_mode() != "strict" {
            return Ok(None);
        }
        let policies = self.snapshot.table::<SecurityGroupPolicy>()?;
        let pods = self.snapshot.table::<Pod>()?;
        let mut used: BTreeSet<u32> = BTreeSet::new();
        let mut sufferers = Vec::new();
        for pod in
            pods.iter().filter(|p| !ended(p.value) && p.metadata.annotations.contains_key("vpc.amazonaws.com/pod-eni"))
        {
            sufferers.push(Link::new(pod.row));
            for policy in policies.iter().filter(|p| p.metadata.namespace == pod.metadata.namespace) {
                let selector = &policy.value.spec.podSelector;
                if selector.as_ref().is_some_and(|s| selects(s, &pod.metadata.labels)) {
                    used.insert(policy.row.index);
                }
            }
        }
        if sufferers.is_empty() {
            return Ok(None);
        }
        let service = self.expected_dns().unwrap_or_default();
        Ok(Some(NodeLocalGap {
            daemonSet: Link::new(set.row),
            cni: Link::new(cni.daemon_set.row),
            addresses: addresses.iter().map(|a| Str::from(a.to_string())).collect(),
            mode: cni.enforcing_mode(),
            cniVersion: cni.version.map(|v| Str::from(v.to_string())).unwrap_or_default(),
            knowsStandard: cni.version.is_none_or(|v| v >= Version(1, 11, 0)),
            policies: used.into_iter().map(|i| Link::new(policies.at(i).row)).collect(),
            pods: sufferers,
            takesService: addresses.iter().any(|a| service.contains(a)),
        }))
    }
}
