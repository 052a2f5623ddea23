//! What NetworkPolicies let through to CoreDNS, when an engine enforces them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Cluster;
use super::coredns::is_ready;
use super::dns_path::AnyLink;
use super::pods::ended;
use super::selector::selects;
use crate::shape::k8s::{
    ConfigMap, DaemonSet, LabelSelector, Namespace, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, Node,
    NodeClass, Pod, SelectorRequirement,
};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// Pods whose question to CoreDNS a NetworkPolicy drops.
    DnsDenial {
        /// `egress` of the asking pods, `ingress` of CoreDNS, or `upstream`: what CoreDNS itself asks.
        direction: Str,
        /// What the pods cannot reach.
        lacks: Vec<Str>,
        /// The policy to add a rule to.
        policy: Link<NetworkPolicy>,
        /// All that isolate these pods.
        policies: Vec<Link<NetworkPolicy>>,
        namespace: Str,
        /// NetworkPolicies (JSON) that let the pods which these isolate ask CoreDNS, and isolate no others.
        allowing: Vec<Str>,
        pods: Vec<Link<Pod>>,
        /// Who enforces it.
        engine: Str,
        /// Whether the pods may send elsewhere, so that nobody meant to seal them, or some of them are not ready.
        open: bool,
    }

    /// Pods that no policy selects while their nodes deny by default.
    StrictGap {
        /// The daemon set or NodeClass that says so.
        culprit: AnyLink,
        /// What it says.
        setting: Str,
        /// The name of the NodeClass; empty for the VPC CNI.
        nodeClass: Str,
        /// Whether CoreDNS is among them.
        coredns: bool,
        pods: Vec<Link<Pod>>,
        /// Whether some of them are not ready, or nobody wrote any policy at all.
        failing: bool,
    }
}

/// The server side of a question.
struct Server<'a> {
    pods: Vec<Rec<'a, Pod>>,
    addresses: Vec<IpAddr>,
    ports: Vec<i64>,
}

impl Cluster {
    /// What enforces NetworkPolicies, `None` when nothing does.
    pub fn policy_engine(&self) -> Known<Option<&'static str>> {
        let sets = self.snapshot.whole::<DaemonSet>()?;
        let has = |name: &str| sets.iter().any(|d| d.metadata.name == name);
        if has("calico-node") {
            return Ok(Some("Calico"));
        }
        if has("cilium") {
            return Ok(Some("Cilium"));
        }
        if has("antrea-agent") {
            return Ok(Some("Antrea"));
        }
        let controller = self.policy_controller();
        let agent = sets.get("kube-system/aws-node").is_some_and(|d| {
            let containers = &d.value.spec.template.spec.containers;
            containers.iter().any(|c| c.args.iter().any(|a| a == "--enable-network-policy=true"))
        });
        if agent && controller != Some(false) {
            return Ok(Some("the VPC CNI"));
        }
        if self.auto_mode() {
            return Ok(self.policies_switched_on()?.then_some("EKS Auto Mode"));
        }
        Ok(None)
    }

    /// What the ConfigMap amazon-vpc-cni says of the controller of NetworkPolicies.
    fn policy_controller(&self) -> Option<bool> {
        let map = self.snapshot.tables.config_maps.get("kube-system/amazon-vpc-cni")?;
        map.value.data.get("enable-network-policy-controller").map(|v| v == "true")
    }

    /// Whether EKS Auto Mode is told to enforce NetworkPolicies.
    fn policies_switched_on(&self) -> Known<bool> {
        self.snapshot.table::<ConfigMap>()?;
        Ok(self.policy_controller() == Some(true))
    }

    /// What NetworkPolicies drop of the questions to CoreDNS (UDP 53).
    pub fn dns_denials(&self) -> Known<Vec<DnsDenial>> {
        let policies = self.snapshot.whole::<NetworkPolicy>()?;
        if policies.is_empty() {
            return Ok(Vec::new());
        }
        let Some(engine) = self.policy_engine()? else { return Ok(Vec::new()) };
        let pods = self.snapshot.table::<Pod>()?;
        let namespaces = self.snapshot.whole::<Namespace>()?;
        let labels_of = |namespace: &str| -> BTreeMap<Str, Str> {
            let mut labels = namespaces.get(namespace).map(|n| n.value.metadata.labels.clone()).unwrap_or_default();
            labels.entry(Str::const_new("kubernetes.io/metadata.name")).or_insert_with(|| Str::new(namespace));
            labels
        };
        let server = self.dns_server()?;
        if server.pods.is_empty() {
            return Ok(Vec::new());
        }
        let isolating = |direction: &str| -> BTreeMap<Str, Vec<Rec<'_, NetworkPolicy>>> {
            let mut found: BTreeMap<Str, Vec<Rec<'_, NetworkPolicy>>> = BTreeMap::new();
            for policy in policies.iter() {
                let types = &policy.value.spec.policyTypes;
                let applies = match direction {
                    "Egress" => {
                        types.iter().any(|t| t == "Egress")
                            || (types.is_empty() && !policy.value.spec.egress.is_empty())
                    }
                    _ => types.is_empty() || types.iter().any(|t| t == "Ingress"),
                };
                if applies {
                    found.entry(policy.value.metadata.namespace.clone()).or_default().push(policy);
                }
            }
            found
        };
        let windows = self.windows_nodes(engine);
        let asks = |pod: &Pod| self.asks_dns(pod) && !windows.contains(&pod.spec.nodeName);
        let server_namespace = labels_of("kube-system");
        let egress = isolating("Egress");
        let mut found: BTreeMap<(Vec<Row>, bool), Vec<Row>> = BTreeMap::new();
        for pod in pods.iter().filter(|p| egress.contains_key(&p.metadata.namespace) && asks(p.value)) {
            let over: Vec<Rec<'_, NetworkPolicy>> = egress
                .get(&pod.metadata.namespace)
                .into_iter()
                .flatten()
                .filter(|p| selects(&p.value.spec.podSelector, &pod.metadata.labels))
                .copied()
                .collect();
            if over.is_empty() {
                continue;
            }
            let rules = || over.iter().flat_map(|p| &p.value.spec.egress);
            let allowed = rules().any(|rule| {
                port_fits(&rule.ports, &server)
                    && (rule.to.is_empty()
                        || rule
                            .to
                            .iter()
                            .any(|peer| peer_is_server(peer, &pod.metadata.namespace, &server_namespace, &server)))
            });
            if allowed {
                continue;
            }
            let open = rules().any(|r| {
                r.to.is_empty() || r.to.iter().any(|p| p.ipBlock.as_ref().is_none_or(|b| !b.cidr.ends_with("/32")))
            });
            let mut key: Vec<Row> = over.iter().map(|p| p.row).collect();
            key.sort();
            found.entry((key, open)).or_default().push(pod.row);
        }
        let failing = |rows: &[Row]| rows.iter().any(|r| !is_ready(pods.at(r.index).value));
        let dns = || vec![Str::const_new("kube-dns (UDP 53)")];
        let mut denials: Vec<DnsDenial> = found
            .into_iter()
            .map(|((rows, open), pods)| {
                let open = open || failing(&pods);
                self.denial("egress", rows, pods, engine, open, dns())
            })
            .collect();

        let over_all = |found: &BTreeMap<Str, Vec<Rec<'_, NetworkPolicy>>>| -> Vec<Row> {
            let here = found.get("kube-system").into_iter().flatten();
            let all = |p: &&Rec<'_, NetworkPolicy>| {
                server.pods.iter().all(|s| selects(&p.value.spec.podSelector, &s.metadata.labels))
            };
            here.filter(all).map(|p| p.row).collect()
        };
        // Fargate enforces no policies.
        if server.pods.iter().all(|p| p.metadata.labels.contains_key("eks.amazonaws.com/fargate-profile")) {
            return Ok(denials);
        }
        let rows = over_all(&egress);
        if !rows.is_empty() {
            let lacks = self.upstream_denied(&rows);
            if !lacks.is_empty() {
                let pods = server.pods.iter().map(|p| p.row).collect();
                denials.push(self.denial("upstream", rows, pods, engine, true, lacks));
            }
        }
        let ingress = isolating("Ingress");
        let guards: Vec<Rec<'_, NetworkPolicy>> =
            over_all(&ingress).into_iter().map(|row| policies.at(row.index)).collect();
        if !guards.is_empty() {
            let rules: Vec<_> = guards
                .iter()
                .flat_map(|p| &p.value.spec.ingress)
                .filter(|rule| port_fits(&rule.ports, &server))
                .collect();
            if !rules.iter().any(|r| r.from.is_empty()) {
                let mut spaces: BTreeMap<Str, BTreeMap<Str, Str>> = BTreeMap::new();
                let mut shut = Vec::new();
                for pod in pods.iter().filter(|p| asks(p.value)) {
                    let space = &pod.metadata.namespace;
                    let labels = spaces.entry(space.clone()).or_insert_with(|| labels_of(space));
                    let addresses: Vec<IpAddr> = pod.status.podIP.parse().into_iter().collect();
                    let in_ = rules
                        .iter()
                        .flat_map(|r| &r.from)
                        .any(|peer| peer_fits(peer, "kube-system", space, labels, &pod.metadata.labels, &addresses));
                    if !in_ {
                        shut.push(pod.row);
                    }
                }
                if !shut.is_empty() {
                    let mut rows: Vec<Row> = guards.iter().map(|p| p.row).collect();
                    rows.sort();
                    denials.push(self.denial("ingress", rows, shut, engine, true, dns()));
                }
            }
        }
        Ok(denials)
    }

    /// What the egress rules of policies keep CoreDNS from: the API server, its resolvers.
    fn upstream_denied(&self, rows: &[Row]) -> Vec<Str> {
        let table = &self.snapshot.tables.network_policies;
        let rules = || rows.iter().flat_map(|r| &table.at(r.index).value.spec.egress);
        let open = |protocol: &str, number: i64, addresses: &[IpAddr]| {
            rules().any(|rule| {
                let port = rule.ports.is_empty()
                    || rule.ports.iter().any(|p| {
                        let same = p.protocol == protocol || (p.protocol.is_empty() && protocol == "TCP");
                        let first = p.port.as_ref().and_then(|p| p.as_int());
                        same && match (&p.port, first) {
                            (None, _) => true,
                            (Some(_), Some(first)) => (first..=p.endPort.unwrap_or(first)).contains(&number),
                            // A name means ports of pods, which these are not.
                            (Some(_), None) => false,
                        }
                    });
                let peer =
                    |p: &NetworkPolicyPeer| p.ipBlock.is_some() && (addresses.is_empty() || block_holds(p, addresses));
                port && (rule.to.is_empty() || rule.to.iter().any(peer))
            })
        };
        let mut api: Vec<IpAddr> = self
            .control_plane_interfaces()
            .unwrap_or_default()
            .iter()
            .filter_map(|i| i.PrivateIpAddress.parse().ok())
            .collect();
        let slices = self.snapshot.tables.endpoint_slices.iter();
        let own = slices.filter(|s| s.metadata.namespace == "default" && s.metadata.name.starts_with("kubernetes"));
        api.extend(
            own.flat_map(|s| &s.value.endpoints).flat_map(|e| &e.addresses).filter_map(|a| a.parse::<IpAddr>().ok()),
        );
        let services = &self.snapshot.tables.services;
        api.extend(services.get("default/kubernetes").and_then(|s| s.value.spec.clusterIP.parse::<IpAddr>().ok()));
        let mut lacks = Vec::new();
        if !open("TCP", 443, &api) {
            lacks.push(Str::const_new("the API server (TCP 443)"));
        }
        if !open("UDP", 53, &self.upstream_resolvers()) {
            lacks.push(Str::const_new("the resolvers that it forwards to (UDP 53)"));
        }
        lacks
    }

    /// Nodes on which the VPC CNI enforces nothing: those that run Windows.
    fn windows_nodes(&self, engine: &str) -> BTreeSet<Str> {
        let nodes = self.snapshot.tables.nodes.iter();
        let windows = |n: &Rec<'_, Node>| n.metadata.labels.get("kubernetes.io/os").is_some_and(|o| o == "windows");
        nodes.filter(|n| engine == "the VPC CNI" && windows(n)).map(|n| n.value.metadata.name.clone()).collect()
    }

    /// Pods that no policy selects while their nodes deny what no policy allows
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html>,
    /// <https://docs.aws.amazon.com/eks/latest/userguide/auto-net-pol.html>).
    pub fn strict_gaps(&self) -> Known<Vec<StrictGap>> {
        let nodes = &self.snapshot.tables.nodes;
        let mut gaps = Vec::new();
        if let Some(cni) = self.cni()?
            && cni.setting("NETWORK_POLICY_ENFORCING_MODE") == Some("strict")
            && self.policy_engine()? == Some("the VPC CNI")
        {
            let elsewhere = |n: &Rec<'_, Node>| {
                let label = |key: &str| n.metadata.labels.get(key).map(Str::as_str);
                label("kubernetes.io/os") == Some("windows") || label("eks.amazonaws.com/compute-type").is_some()
            };
            let elsewhere: BTreeSet<&Str> = nodes.iter().filter(elsewhere).map(|n| &n.value.metadata.name).collect();
            let setting = "NETWORK_POLICY_ENFORCING_MODE is strict".to_owned();
            let row = cni.daemon_set.row;
            gaps.extend(self.strict_gap(row, setting, Str::default(), |pod| !elsewhere.contains(&pod.spec.nodeName))?);
        }
        let denying = |c: &Rec<'_, NodeClass>| c.value.spec.networkPolicy == "DefaultDeny";
        if !self.auto_mode() || !self.policies_switched_on()? {
            return Ok(gaps);
        }
        for class in self.snapshot.whole::<NodeClass>()?.iter().filter(denying) {
            let name = &class.value.metadata.name;
            let of_class = |n: &Rec<'_, Node>| n.metadata.labels.get("eks.amazonaws.com/nodeclass") == Some(name);
            let here: BTreeSet<&Str> = nodes.iter().filter(of_class).map(|n| &n.value.metadata.name).collect();
            let setting = format!("NodeClass {name} sets networkPolicy to DefaultDeny");
            gaps.extend(self.strict_gap(class.row, setting, name.clone(), |pod| here.contains(&pod.spec.nodeName))?);
        }
        Ok(gaps)
    }

    /// Those of the pods in a place that no policy selects.
    fn strict_gap(
        &self,
        culprit: Row,
        setting: String,
        node_class: Str,
        here: impl Fn(&Pod) -> bool,
    ) -> Known<Option<StrictGap>> {
        let policies = self.snapshot.whole::<NetworkPolicy>()?;
        let pods = self.snapshot.table::<Pod>()?;
        let mut by_space: BTreeMap<&Str, Vec<&NetworkPolicy>> = BTreeMap::new();
        for policy in policies.iter() {
            by_space.entry(&policy.value.metadata.namespace).or_default().push(policy.value);
        }
        let selected = |pod: &Pod| {
            let mut here = by_space.get(&pod.metadata.namespace).into_iter().flatten();
            here.any(|p| selects(&p.spec.podSelector, &pod.metadata.labels))
        };
        let behind = |pod: &Pod| {
            !ended(pod)
                && pod.spec.hostNetwork != Some(true)
                && !pod.metadata.labels.contains_key("eks.amazonaws.com/fargate-profile")
                && here(pod)
        };
        let all: Vec<Rec<'_, Pod>> = pods.iter().filter(|p| behind(p.value) && !selected(p.value)).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let coredns: BTreeSet<Row> = self.coredns_pods()?.iter().map(|p| p.row).collect();
        Ok(Some(StrictGap {
            culprit: AnyLink(culprit),
            setting: setting.into(),
            nodeClass: node_class,
            coredns: all.iter().any(|p| coredns.contains(&p.row)),
            failing: policies.is_empty() || all.iter().any(|p| !is_ready(p.value)),
            pods: all.iter().map(|p| Link::new(p.row)).collect(),
        }))
    }

    fn denial(
        &self,
        direction: &'static str,
        rows: Vec<Row>,
        pods: Vec<Row>,
        engine: &str,
        open: bool,
        lacks: Vec<Str>,
    ) -> DnsDenial {
        let table = &self.snapshot.tables.network_policies;
        let whole = rows.iter().find(|r| selects_all(&table.at(r.index).value.spec.podSelector)).or(rows.first());
        let policy = whole.copied().unwrap_or(Row { table: crate::snapshot::TableId::NetworkPolicies, index: 0 });
        DnsDenial {
            direction: Str::const_new(direction),
            lacks,
            policy: Link::new(policy),
            policies: rows.iter().copied().map(Link::new).collect(),
            namespace: table.at(policy.index).value.metadata.namespace.clone(),
            allowing: allowing(rows.iter().map(|row| table.at(row.index).value)),
            pods: pods.into_iter().map(Link::new).collect(),
            engine: Str::new(engine),
            open,
        }
    }

    /// Whether a pod asks CoreDNS and stands behind a policy engine: not on the host's network, not on Fargate.
    fn asks_dns(&self, pod: &Pod) -> bool {
        !ended(pod)
            && pod.spec.hostNetwork != Some(true)
            && !matches!(pod.spec.dnsPolicy.as_str(), "Default" | "None")
            && !pod.metadata.labels.contains_key("eks.amazonaws.com/fargate-profile")
    }

    fn dns_server(&self) -> Known<Server<'_>> {
        let pods = self.coredns_pods()?;
        let mut addresses: Vec<IpAddr> = pods.iter().filter_map(|p| p.status.podIP.parse().ok()).collect();
        let mut ports: BTreeSet<i64> = BTreeSet::from([53]);
        for id in ["kube-system/kube-dns", "kube-system/kube-dns-upstream"] {
            if let Some(service) = self.snapshot.tables.services.get(id) {
                addresses.extend(service.value.spec.clusterIP.parse::<IpAddr>().ok());
                ports.extend(service.value.spec.ports.iter().filter_map(|p| p.targetPort.as_int()));
            }
        }
        // With NodeLocal DNSCache pods ask an address of the node.
        addresses.extend(self.node_local_addresses().unwrap_or_default());
        Ok(Server { pods, addresses, ports: ports.into_iter().collect() })
    }
}

/// Whether ports of a rule hold UDP 53.
fn port_fits(ports: &[NetworkPolicyPort], server: &Server<'_>) -> bool {
    ports.is_empty()
        || ports.iter().filter(|p| p.protocol == "UDP").any(|p| match &p.port {
            None => true,
            Some(port) => match (port.as_int(), p.endPort) {
                (Some(first), Some(last)) => server.ports.iter().any(|w| (first..=last).contains(w)),
                (Some(first), None) => server.ports.contains(&first),
                (None, _) => server.pods.iter().any(|pod| {
                    let mut ports = pod.value.spec.containers.iter().flat_map(|c| &c.ports);
                    ports.any(|c| c.name == port.as_str() && c.protocol == "UDP")
                }),
            },
        })
}

fn peer_is_server(
    peer: &NetworkPolicyPeer,
    own: &str,
    server_namespace: &BTreeMap<Str, Str>,
    server: &Server<'_>,
) -> bool {
    if peer.ipBlock.is_some() {
        return block_holds(peer, &server.addresses);
    }
    server.pods.iter().any(|pod| {
        peer_fits(peer, own, &pod.metadata.namespace, server_namespace, &pod.metadata.labels, &server.addresses)
    })
}

fn block_holds(peer: &NetworkPolicyPeer, addresses: &[IpAddr]) -> bool {
    let Some(block) = &peer.ipBlock else { return false };
    let Ok(cidr) = block.cidr.parse::<ipnet::IpNet>() else { return true };
    let except: Vec<ipnet::IpNet> = block.except.iter().filter_map(|e| e.parse().ok()).collect();
    addresses.iter().any(|a| cidr.contains(a) && !except.iter().any(|e| e.contains(a)))
}

/// Whether a peer means a pod: `own` is the namespace of the policy.
fn peer_fits(
    peer: &NetworkPolicyPeer,
    own: &str,
    namespace: &str,
    namespace_labels: &BTreeMap<Str, Str>,
    labels: &BTreeMap<Str, Str>,
    addresses: &[IpAddr],
) -> bool {
    if peer.ipBlock.is_some() {
        return block_holds(peer, addresses);
    }
    let here = match &peer.namespaceSelector {
        Some(selector) => selects(selector, namespace_labels),
        None => own == namespace,
    };
    here && peer.podSelector.as_ref().is_none_or(|s| selects(s, labels))
}

fn selects_all(selector: &LabelSelector) -> bool {
    selector.matchLabels.is_empty() && selector.matchExpressions.is_empty()
}

/// A policy that allows DNS for each selector of those that isolate; one for all pods is enough when one isolates all.
fn allowing<'p>(isolating: impl Iterator<Item = &'p NetworkPolicy> + Clone) -> Vec<Str> {
    let whole = isolating.clone().find(|policy| selects_all(&policy.spec.podSelector));
    let mut seen: Vec<&LabelSelector> = Vec::new();
    let mut all = Vec::new();
    for policy in isolating.filter(|policy| whole.is_none_or(|whole| std::ptr::eq(whole, *policy))) {
        let selector = &policy.spec.podSelector;
        if seen.contains(&selector) {
            continue;
        }
        seen.push(selector);
        let name = if whole.is_some() { "allow-dns".to_owned() } else { format!("{}-allow-dns", policy.metadata.name) };
        let text = |map: &BTreeMap<Str, Str>| -> serde_json::Map<String, serde_json::Value> {
            map.iter().map(|(key, value)| (key.to_string(), value.as_str().into())).collect()
        };
        let mut pods = serde_json::Map::new();
        if !selector.matchLabels.is_empty() {
            pods.insert("matchLabels".to_owned(), text(&selector.matchLabels).into());
        }
        let expression = |one: &SelectorRequirement| {
            let mut map = serde_json::Map::new();
            map.insert("key".to_owned(), one.key.as_str().into());
            map.insert("operator".to_owned(), one.operator.as_str().into());
            if !one.values.is_empty() {
                map.insert("values".to_owned(), one.values.iter().map(Str::as_str).collect());
            }
            serde_json::Value::from(map)
        };
        if !selector.matchExpressions.is_empty() {
            pods.insert("matchExpressions".to_owned(), selector.matchExpressions.iter().map(expression).collect());
        }
        let policy = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
            "spec": {"podSelector": pods, "policyTypes": ["Egress"], "egress": [{
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                }],
                "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
            }]},
        });
        all.push(Str::new(policy.to_string()));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_policy_that_allows_dns_isolates_no_more_pods() {
        let policy = |name: &str, selector: Value| -> NetworkPolicy {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podSelector": selector}})).unwrap()
        };
        let some = policy("front", json!({"matchLabels": {"app": "front"}}));
        let same = policy("front-too", json!({"matchLabels": {"app": "front"}}));
        let terms =
            json!([{"key": "tier", "operator": "In", "values": ["db", "cache"]}, {"key": "x", "operator": "Exists"}]);
        let other = policy("back", json!({"matchExpressions": terms}));
        let all = policy("deny", json!({}));
        let told = |policies: &[&NetworkPolicy]| -> Vec<(Value, Value)> {
            let texts = allowing(policies.iter().copied());
            let values = texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
            values.map(|v| (v["metadata"]["name"].clone(), v["spec"]["podSelector"].clone())).collect()
        };
        assert_eq!(
            told(&[&some, &same, &other]),
            [
                (json!("front-allow-dns"), json!({"matchLabels": {"app": "front"}})),
                (json!("back-allow-dns"), json!({"matchExpressions": terms})),
            ]
        );
        assert_eq!(told(&[&some, &all, &other]), [(json!("allow-dns"), json!({}))]);
    }
}
