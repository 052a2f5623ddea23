//! Admission webhooks that keep the system's own pods from starting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::selector::selects;
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
}

/// Whether an optional selector matches; none matches everything.
fn chosen(selector: Option<&LabelSelector>, labels: &BTreeMap<Str, Str>) -> bool {
    selector.is_none_or(|s| selects(s, labels))
}

/// Whether the webhook is asked when a pod is made.
fn about_new_pods(webhook: &Webhook) -> bool {
    webhook.rules.iter().any(|rule| {
        let any = |list: &[Str], wanted: &[&str]| list.iter().any(|x| x == "*" || wanted.contains(&x.as_str()));
        rule.apiGroups.iter().any(|g| g.is_empty() || g == "*")
            && any(&rule.operations, &["CREATE"])
            && any(&rule.resources, &["pods", "*/*"])
            && rule.scope != "Cluster"
    })
}

impl Cluster {
    /// The webhooks with `failurePolicy: Fail` that pods of `aws-node` or `kube-proxy` have to pass.
    pub fn system_webhooks(&self) -> Known<Vec<Arc<SystemWebhook>>> {
        let mutating = self.snapshot.table::<MutatingWebhookConfiguration>();
        let validating = self.snapshot.table::<ValidatingWebhookConfiguration>();
        if let (Err(missing), Err(_)) = (&mutating, &validating) {
            return Err(missing.clone());
        }
        let daemon_sets = self.snapshot.table::<DaemonSet>()?;
        let slices = self.snapshot.table::<EndpointSlice>()?;
        let mut ready: HashMap<String, i64> = HashMap::new();
        for slice in slices.iter() {
            if let Some(service) = slice.metadata.labels.get("kubernetes.io/service-name") {
                let count = slice.endpoints.iter().filter(|e| e.conditions.ready != Some(false)).count();
                *ready.entry(format!("{}/{service}", slice.metadata.namespace)).or_default() += count as i64;
            }
        }
        let mut namespace: BTreeMap<Str, Str> = match self.snapshot.tables.namespaces.get("kube-system") {
            Some(found) => found.value.metadata.labels.clone(),
            None => self
                .snapshot
                .tables
                .namespaces
                .get("/kube-system")
                .map(|n| n.value.metadata.labels.clone())
                .unwrap_or_default(),
        };
        let labels_known = self.snapshot.table::<Namespace>().is_ok();
        namespace.insert(Str::const_new("kubernetes.io/metadata.name"), Str::const_new("kube-system"));
        let mut all: Vec<(&'static str, &Webhook, SystemWebhook)> = Vec::new();
        let blank = |kind: &'static str, configuration: &Str, webhook: &Webhook| SystemWebhook {
            kind: Str::const_new(kind),
            configuration: configuration.clone(),
            name: webhook.name.clone(),
            mutating: None,
            validating: None,
            service: Str::default(),
            serviceExists: false,
            ready: 0,
            daemonSets: Vec::new(),
            short: Vec::new(),
            refused: Vec::new(),
            said: Str::default(),
            conditional: !webhook.matchConditions.is_empty(),
        };
        for configuration in mutating.iter().flat_map(|t| t.iter()) {
            for webhook in &configuration.value.webhooks {
                let mut found = blank("mutating", &configuration.metadata.name, webhook);
                found.mutating = Some(Link::new(configuration.row));
                all.push(("mutating", webhook, found));
            }
        }
        for configuration in validating.iter().flat_map(|t| t.iter()) {
            for webhook in &configuration.value.webhooks {
                let mut found = blank("validating", &configuration.metadata.name, webhook);
                found.validating = Some(Link::new(configuration.row));
                all.push(("validating", webhook, found));
            }
        }
        let mut result = Vec::new();
        for (_, webhook, mut found) in all {
            if webhook.failurePolicy == "Ignore"
                || !about_new_pods(webhook)
                || !chosen(webhook.namespaceSelector.as_ref(), &namespace)
            {
                continue;
            }
            // Labels of the namespace that were not recorded may take it out.
            if !labels_known && webhook.namespaceSelector.as_ref().is_some_and(|s| !s.matchExpressions.is_empty()) {
                continue;
            }
            for set in ["kube-system/aws-node", "kube-system/kube-proxy"].iter().filter_map(|id| daemon_sets.get(id)) {
                if chosen(webhook.objectSelector.as_ref(), &set.value.spec.template.metadata.labels) {
                    found.daemonSets.push(Link::new(set.row));
                    let status = &set.value.status;
                    if status.currentNumberScheduled.unwrap_or(0) < status.desiredNumberScheduled.unwrap_or(0) {
                        found.short.push(Link::new(set.row));
                    }
                }
            }
            if found.daemonSets.is_empty() {
                continue;
            }
            let Some(service) = &webhook.clientConfig.service else { continue };
            let id = format!("{}/{}", service.namespace, service.name);
            found.ready = ready.get(&id).copied().unwrap_or(0);
            found.serviceExists =
                self.snapshot.table::<Service>().map_or(ready.contains_key(&id), |t| t.get(&id).is_some());
            found.service = Str::from(id);
            let quoted = format!("webhook \"{}\"", webhook.name);
            for event in self.snapshot.tables.events.iter() {
                if event.reason == "FailedCreate"
                    && event.involvedObject.namespace == "kube-system"
                    && event.message.contains(&quoted)
                {
                    if found.said.is_empty() {
                        found.said = event.message.clone();
                    }
                    found.refused.push(Link::new(event.row));
                }
            }
            result.push(Arc::new(found));
        }
        Ok(result)
    }
}
