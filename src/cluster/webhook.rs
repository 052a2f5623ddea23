//! Admission webhooks that keep nodes from registering and the system's own pods from starting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::selector::selects;
use crate::shape::ec2::Instance;
use crate::shape::k8s::{
    DaemonSet, EndpointSlice, Event, LabelSelector, MutatingWebhookConfiguration, Namespace, Service,
    ValidatingWebhookConfiguration, Webhook,
};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// A webhook that every new pod of `aws-node` or `kube-proxy` has to pass.
    SystemWebhook {
        /// `mutating` or `validating`.
        kind: Str,
        /// The configuration's name.
        configuration: Str,
        /// The webhook's name.
        name: Str,
        mutating: Option<Link<MutatingWebhookConfiguration>>,
        validating: Option<Link<ValidatingWebhookConfiguration>>,
        /// `namespace/name` of the service that answers.
        service: Str,
        /// Whether the service is there.
        serviceExists: bool,
        /// How many endpoints of it are ready.
        ready: i64,
        /// Daemon sets of `kube-system` whose pods it is asked about.
        daemonSets: Vec<Link<DaemonSet>>,
        /// Those of them that lack pods.
        short: Vec<Link<DaemonSet>>,
        /// Events that say it refused or could not be asked.
        refused: Vec<Link<Event>>,
        /// What the first of them says.
        said: Str,
        /// Whether conditions in CEL decide which requests it sees.
        conditional: bool,
    }

    /// A webhook with `failurePolicy: Fail` that is asked about what a kubelet writes when its node joins.
    NodeWebhook {
        /// `mutating` or `validating`.
        kind: Str,
        /// The configuration's name.
        configuration: Str,
        /// The webhook's name.
        name: Str,
        mutating: Option<Link<MutatingWebhookConfiguration>>,
        validating: Option<Link<ValidatingWebhookConfiguration>>,
        /// `namespace/name` of the service that answers.
        service: Str,
        /// Whether the service is there.
        serviceExists: bool,
        /// How many endpoints of it are ready.
        ready: i64,
        /// What it is asked about, in one text: `nodes`, `nodes/status`, `leases`, `certificatesigningrequests`.
        about: Str,
        /// Whether a node cannot become ready without its answer; it can without a certificate for serving.
        decides: bool,
        /// Whether conditions in CEL decide which requests it sees.
        conditional: bool,
        /// Instances that run and are no nodes.
        instances: Vec<Link<Instance>>,
    }
}

/// A webhook of a configuration.
struct Hook<'a> {
    kind: &'static str,
    configuration: &'a Str,
    mutating: Option<Link<MutatingWebhookConfiguration>>,
    validating: Option<Link<ValidatingWebhookConfiguration>>,
    webhook: &'a Webhook,
}

/// Whether an optional selector matches; none matches everything.
fn chosen(selector: Option<&LabelSelector>, labels: &BTreeMap<Str, Str>) -> bool {
    selector.is_none_or(|s| selects(s, labels))
}

/// A request to the API server.
#[derive(Clone, Copy)]
struct Request {
    group: &'static str,
    resource: &'static str,
    operations: &'static [&'static str],
    namespaced: bool,
}

const POD: Request = Request { group: "", resource: "pods", operations: &["CREATE"], namespaced: true };
const NODE: Request = Request { group: "", resource: "nodes", operations: &["CREATE"], namespaced: false };
const NODE_STATUS: Request =
    Request { group: "", resource: "nodes/status", operations: &["UPDATE"], namespaced: false };
const LEASE: Request =
    Request { group: "coordination.k8s.io", resource: "leases", operations: &["CREATE", "UPDATE"], namespaced: true };
const SIGNING: Request = Request {
    group: "certificates.k8s.io",
    resource: "certificatesigningrequests",
    operations: &["CREATE"],
    namespaced: false,
};

impl Request {
    /// Whether the rules of a webhook hold of the request.
    fn is_of(self, webhook: &Webhook) -> bool {
        let (resource, sub) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let of_resource = |pattern: &str| match pattern.split_once('/') {
            Some((of, part)) => {
                (of == "*" || of == resource) && (part == sub || (part == "*" && (of == "*" || !sub.is_empty())))
            }
            None => sub.is_empty() && (pattern == "*" || pattern == resource),
        };
        webhook.rules.iter().any(|rule| {
            // By `matchPolicy: Equivalent` a rule for one version holds of all.
            let versions = webhook.matchPolicy != "Exact" || rule.apiVersions.iter().any(|v| v == "*" || v == "v1");
            versions
                && rule.apiGroups.iter().any(|g| g == self.group || g == "*")
                && rule.operations.iter().any(|o| o == "*" || self.operations.contains(&o.as_str()))
                && rule.resources.iter().any(|r| of_resource(r))
                && rule.scope != if self.namespaced { "Cluster" } else { "Namespaced" }
        })
    }
}

impl Cluster {
    /// All webhooks of the admission configurations.
    fn hooks(&self) -> Known<Vec<Hook<'_>>> {
        let mutating = self.snapshot.table::<MutatingWebhookConfiguration>();
        let validating = self.snapshot.table::<ValidatingWebhookConfiguration>();
        if let (Err(missing), Err(_)) = (&mutating, &validating) {
            return Err(missing.clone());
        }
        let mut all = Vec::new();
        for found in mutating.iter().flat_map(|t| t.iter()) {
            all.extend(found.value.webhooks.iter().map(|webhook| Hook {
                kind: "mutating",
                configuration: &found.value.metadata.name,
                mutating: Some(Link::new(found.row)),
                validating: None,
                webhook,
            }));
        }
        for found in validating.iter().flat_map(|t| t.iter()) {
            all.extend(found.value.webhooks.iter().map(|webhook| Hook {
                kind: "validating",
                configuration: &found.value.metadata.name,
                mutating: None,
                validating: Some(Link::new(found.row)),
                webhook,
            }));
        }
        Ok(all)
    }

    /// How many endpoints of services are ready, by `namespace/name`.
    fn ready_endpoints(&self) -> Known<HashMap<String, i64>> {
        let mut ready: HashMap<String, i64> = HashMap::new();
        for slice in self.snapshot.table::<EndpointSlice>()?.iter() {
            if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
                let count = slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false)).count();
                *ready.entry(format!("{}/{service}", slice.metadata.namespace)).or_default() += count as i64;
            }
        }
        Ok(ready)
    }

    /// Whether a webhook looks at a namespace; `false` when labels that were not recorded may take it out.
    fn looks_at(&self, webhook: &Webhook, namespace: &str) -> bool {
        let namespaces = &self.snapshot.tables.namespaces;
        let found = namespaces.get(namespace).or_else(|| namespaces.get(&format!("/{namespace}")));
        let mut labels = found.map(|n| n.value.metadata.labels.clone()).unwrap_or_default();
        labels.insert(Str::const_new("kubernetes.io/metadata.name"), Str::new(namespace));
        let sure = self.snapshot.table::<Namespace>().is_ok()
            || webhook.namespaceSelector.as_ref().is_none_or(|s| s.matchExpressions.is_empty());
        sure && chosen(webhook.namespaceSelector.as_ref(), &labels)
    }

    /// The webhooks with `failurePolicy: Fail` that pods of `aws-node` or `kube-proxy` have to pass.
    pub fn system_webhooks(&self) -> Known<Vec<Arc<SystemWebhook>>> {
        let hooks = self.hooks()?;
        let daemon_sets = self.snapshot.table::<DaemonSet>()?;
        let ready = self.ready_endpoints()?;
        let mut result = Vec::new();
        for hook in hooks {
            let webhook = hook.webhook;
            if webhook.failurePolicy == "Ignore" || !POD.is_of(webhook) || !self.looks_at(webhook, "kube-system") {
                continue;
            }
            let Some(service) = &webhook.clientConfig.service else { continue };
            let (mut daemons, mut short) = (Vec::new(), Vec::new());
            for set in ["kube-system/aws-node", "kube-system/kube-proxy"].iter().filter_map(|id| daemon_sets.get(id)) {
                if chosen(webhook.objectSelector.as_ref(), &set.value.spec.template.metadata.labels) {
                    daemons.push(Link::new(set.row));
                    let status = &set.value.status;
                    if status.currentNumberScheduled.unwrap_or(0) < status.desiredNumberScheduled.unwrap_or(0) {
                        short.push(Link::new(set.row));
                    }
                }
            }
            if daemons.is_empty() {
                continue;
            }
            let id = format!("{}/{}", service.namespace, service.name);
            let quoted = format!("webhook \"{}\"", webhook.name);
            let refused: Vec<_> = self
                .snapshot
                .tables
                .events
                .iter()
                .filter(|event| {
                    event.reason == "FailedCreate"
                        && event.involvedObject.namespace == "kube-system"
                        && event.message.contains(&quoted)
                })
                .collect();
            result.push(Arc::new(SystemWebhook {
                kind: Str::const_new(hook.kind),
                configuration: hook.configuration.clone(),
                name: webhook.name.clone(),
                mutating: hook.mutating,
                validating: hook.validating,
                serviceExists: self.service_exists(&id, &ready),
                ready: ready.get(&id).copied().unwrap_or(0),
                service: Str::from(id),
                daemonSets: daemons,
                short,
                said: refused.first().map(|e| e.message.clone()).unwrap_or_default(),
                refused: refused.iter().map(|e| Link::new(e.row)).collect(),
                conditional: !webhook.matchConditions.is_empty(),
            }));
        }
        Ok(result)
    }

    fn service_exists(&self, id: &str, ready: &HashMap<String, i64>) -> bool {
        self.snapshot.table::<Service>().map_or(ready.contains_key(id), |t| t.get(id).is_some())
    }

    /// Whether a webhook looks at the objects of nodes: at all that are there, and a new one is like them.
    fn looks_at_nodes(&self, webhook: &Webhook) -> bool {
        let Some(selector) = &webhook.objectSelector else { return true };
        let mut nodes = self.snapshot.tables.nodes.iter().peekable();
        match nodes.peek() {
            Some(_) => nodes.all(|n| selects(selector, &n.value.metadata.labels)),
            None => selector.matchLabels.is_empty() && selector.matchExpressions.is_empty(),
        }
    }

    /// The webhooks with `failurePolicy: Fail` that a kubelet has to pass when its node joins. For objects without a
    /// namespace the API server does not ask the selector of namespaces. Those that the system's pods have to pass, too, are
    /// said there.
    pub fn node_webhooks(&self) -> Known<Vec<Arc<NodeWebhook>>> {
        let hooks = self.hooks()?;
        let ready = self.ready_endpoints()?;
        let outside: Vec<_> = self.outsiders().unwrap_or_default().iter().filter_map(|w| w.instance).collect();
        let said = self.system_webhooks().unwrap_or_default();
        let of_pods = |h: &Hook<'_>| {
            said.iter().any(|s| s.configuration == *h.configuration && s.name == h.webhook.name && s.kind == h.kind)
        };
        let unlabelled = BTreeMap::new();
        let mut result = Vec::new();
        for hook in hooks.into_iter().filter(|h| h.webhook.failurePolicy != "Ignore" && !of_pods(h)) {
            let webhook = hook.webhook;
            let Some(service) = &webhook.clientConfig.service else { continue };
            let bare = || chosen(webhook.objectSelector.as_ref(), &unlabelled);
            let asked = [
                (NODE, self.looks_at_nodes(webhook)),
                (NODE_STATUS, self.looks_at_nodes(webhook)),
                (LEASE, bare() && self.looks_at(webhook, "kube-node-lease")),
                (SIGNING, bare()),
            ];
            let about: Vec<&str> = asked
                .iter()
                .filter(|(request, looks)| *looks && request.is_of(webhook))
                .map(|(request, _)| request.resource)
                .collect();
            if about.is_empty() {
                continue;
            }
            let id = format!("{}/{}", service.namespace, service.name);
            result.push(Arc::new(NodeWebhook {
                kind: Str::const_new(hook.kind),
                configuration: hook.configuration.clone(),
                name: webhook.name.clone(),
                mutating: hook.mutating,
                validating: hook.validating,
                serviceExists: self.service_exists(&id, &ready),
                ready: ready.get(&id).copied().unwrap_or(0),
                service: Str::from(id),
                decides: about != [SIGNING.resource],
                about: Str::from(about.join(", ")),
                conditional: !webhook.matchConditions.is_empty(),
                instances: outside.clone(),
            }));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::k8s::RuleWithOperations;

    #[test]
    fn rules_of_webhooks() {
        let webhook = |group: &str, resource: &str, operation: &str, scope: &str| Webhook {
            rules: vec![RuleWithOperations {
                apiGroups: vec![Str::new(group)],
                apiVersions: vec![Str::new("v1")],
                operations: vec![Str::new(operation)],
                resources: vec![Str::new(resource)],
                scope: Str::new(scope),
            }],
            ..Webhook::default()
        };
        assert!(NODE.is_of(&webhook("", "nodes", "CREATE", "*")));
        assert!(NODE.is_of(&webhook("*", "*/*", "*", "")));
        assert!(NODE.is_of(&webhook("", "*", "CREATE", "Cluster")));
        assert!(!NODE.is_of(&webhook("", "*", "CREATE", "Namespaced")));
        assert!(!NODE.is_of(&webhook("", "nodes", "UPDATE", "*")));
        assert!(!NODE.is_of(&webhook("", "nodes/*", "CREATE", "*")));
        assert!(!NODE.is_of(&webhook("apps", "*", "CREATE", "*")));
        assert!(NODE_STATUS.is_of(&webhook("", "nodes/status", "UPDATE", "*")));
        assert!(NODE_STATUS.is_of(&webhook("", "*/status", "*", "*")));
        assert!(!NODE_STATUS.is_of(&webhook("", "nodes", "UPDATE", "*")));
        assert!(LEASE.is_of(&webhook("coordination.k8s.io", "leases", "UPDATE", "Namespaced")));
        assert!(!LEASE.is_of(&webhook("coordination.k8s.io", "leases", "UPDATE", "Cluster")));
        assert!(POD.is_of(&webhook("", "pods", "CREATE", "*")));
        assert!(!POD.is_of(&webhook("", "pods/exec", "*", "*")));
    }
}
