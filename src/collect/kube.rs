//! Reading Kubernetes: lists in pages, as `kubectl get --output json` prints them, without `managedFields`.

use std::time::Duration;

use ::kube::config::{KubeConfigOptions, Kubeconfig};
use ::kube::{Client, Config, Error};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::encoded;
use super::refusal::Failed;
use super::{token, told};
use crate::snapshot::indent_into;

/// Objects asked for at once.
const PAGE: usize = 1000;
/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a page may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How often a page is asked for when the server is too busy or the connection drops.
const TRIES: u32 = 4;

/// One kind of objects that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// With its group, as the file is called: `daemonsets.apps`.
    pub plural: &'static str,
    /// `/api/v1` or `/apis/<group>/<version>`.
    base: &'static str,
    kind: &'static str,
    /// Only these objects (of this namespace); all when empty.
    namespace: &'static str,
    names: &'static [&'static str],
    /// Of a custom resource definition: a server that does not know it has none.
    custom: bool,
}

impl Kind {
    const fn of(plural: &'static str, base: &'static str, kind: &'static str) -> Kind {
        Kind { plural, base, kind, namespace: "", names: &[], custom: false }
    }

    const fn custom(plural: &'static str, base: &'static str, kind: &'static str) -> Kind {
        Kind { custom: true, ..Kind::of(plural, base, kind) }
    }

    fn resource(&self) -> &'static str {
        self.plural.split('.').next().unwrap_or(self.plural)
    }
}

/// What is read of a cluster. Never secrets, and of config maps only those that are about the network.
pub(super) const KINDS: [Kind; 25] = [
    Kind::of("nodes", "/api/v1", "Node"),
    Kind::of("pods", "/api/v1", "Pod"),
    Kind::of("services", "/api/v1", "Service"),
    Kind::of("endpointslices.discovery.k8s.io", "/apis/discovery.k8s.io/v1", "EndpointSlice"),
    Kind::of("ingresses.networking.k8s.io", "/apis/networking.k8s.io/v1", "Ingress"),
    Kind::of("ingressclasses.networking.k8s.io", "/apis/networking.k8s.io/v1", "IngressClass"),
    Kind::of("networkpolicies.networking.k8s.io", "/apis/networking.k8s.io/v1", "NetworkPolicy"),
    Kind::of("daemonsets.apps", "/apis/apps/v1", "DaemonSet"),
    Kind::of("deployments.apps", "/apis/apps/v1", "Deployment"),
    Kind {
        namespace: "kube-system",
        names: &["amazon-vpc-cni", "aws-auth", "coredns", "kube-proxy", "kube-proxy-config"],
        ..Kind::of("configmaps", "/api/v1", "ConfigMap")
    },
    Kind::of("serviceaccounts", "/api/v1", "ServiceAccount"),
    Kind::of("namespaces", "/api/v1", "Namespace"),
    Kind::of("events", "/api/v1", "Event"),
    Kind::of("poddisruptionbudgets.policy", "/apis/policy/v1", "PodDisruptionBudget"),
    Kind {
        names: &["system:coredns"],
        ..Kind::of("clusterroles.rbac.authorization.k8s.io", "/apis/rbac.authorization.k8s.io/v1", "ClusterRole")
    },
    Kind::of(
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "/apis/admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
    ),
    Kind::of(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "/apis/admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    ),
    Kind::custom("eniconfigs.crd.k8s.amazonaws.com", "/apis/crd.k8s.amazonaws.com/v1alpha1", "ENIConfig"),
    Kind::custom(
        "securitygrouppolicies.vpcresources.k8s.aws",
        "/apis/vpcresources.k8s.aws/v1beta1",
        "SecurityGroupPolicy",
    ),
    Kind::custom("cninodes.vpcresources.k8s.aws", "/apis/vpcresources.k8s.aws/v1alpha1", "CNINode"),
    Kind::custom("targetgroupbindings.elbv2.k8s.aws", "/apis/elbv2.k8s.aws/v1beta1", "TargetGroupBinding"),
    Kind::custom("ingressclassparams.elbv2.k8s.aws", "/apis/elbv2.k8s.aws/v1beta1", "IngressClassParams"),
    Kind::custom("ec2nodeclasses.karpenter.k8s.aws", "/apis/karpenter.k8s.aws/v1", "EC2NodeClass"),
    Kind::custom("nodepools.karpenter.sh", "/apis/karpenter.sh/v1", "NodePool"),
    Kind::custom("nodeclasses.eks.amazonaws.com", "/apis/eks.amazonaws.com/v1", "NodeClass"),
];

/// How Kubernetes is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kubernetes {
    /// By what AWS tells of the cluster, and a token of the AWS credentials.
    #[default]
    Cluster,
    /// By a kubeconfig: the file (or `KUBECONFIG`, `~/.kube/config`) and the context (or the current one).
    Kubeconfig { file: Option<std::path::PathBuf>, context: Option<String> },
    /// Not at all.
    None,
}

/// A connection to one cluster's API.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    server: String,
}

/// What `DescribeCluster` tells of the API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    #[serde(default)]
    pub endpoint: String,
    #[serde(default)]
    certificate_authority: Authority,
}

#[derive(Debug, Default, Deserialize)]
struct Authority {
    #[serde(default)]
    data: String,
}

impl Api {
    /// By a kubeconfig.
    pub async fn by_kubeconfig(file: Option<&std::path::Path>, context: Option<&str>) -> Result<Api, Failed> {
        let unusable = |error: &dyn std::error::Error| failed("Kubeconfig", told(error));
        let kubeconfig = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let kubeconfig = kubeconfig.map_err(|e| unusable(&e))?;
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        Api::new(kubeconfig, &options).await
    }

    /// By what AWS tells, and credentials of AWS.
    pub async fn of_cluster(aws: &super::aws::Aws, cluster: &str, endpoint: &Endpoint) -> Result<Api, Failed> {
        if endpoint.endpoint.is_empty() {
            return Err(failed("NoEndpoint", format!("cluster {cluster} has no endpoint yet")));
        }
        let credentials = aws.credentials().await?;
        let (sts, region) = aws.token_endpoint();
        let token = token::token(&credentials, cluster, &region, &sts, std::time::SystemTime::now());
        let token = token.map_err(|e| failed("NoToken", e.to_string()))?;
        let kubeconfig = serde_json::json!({
            "clusters": [{"name": "eks", "cluster": {
                "server": endpoint.endpoint, "certificate-authority-data": endpoint.certificate_authority.data,
            }}],
            "users": [{"name": "eks", "user": {"token": token}}],
            "contexts": [{"name": "eks", "context": {"cluster": "eks", "user": "eks"}}],
            "current-context": "eks",
        });
        let kubeconfig = serde_json::from_value(kubeconfig).map_err(|e| failed("Kubeconfig", e.to_string()))?;
        Api::new(kubeconfig, &KubeConfigOptions::default()).await
    }

    async fn new(kubeconfig: Kubeconfig, options: &KubeConfigOptions) -> Result<Api, Failed> {
        let config = Config::from_custom_kubeconfig(kubeconfig, options).await;
        let mut config = config.map_err(|e| failed("Kubeconfig", told(&e)))?;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        // Dropped connections are tried again, too: see `get`.
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|e| failed("Kubeconfig", told(&e)))?;
        Ok(Api { client, server })
    }

    /// All objects of a kind, as kubectl prints a list. Returns how many requests it took.
    pub async fn list(&self, kind: &Kind) -> Result<(String, usize), Failed> {
        let mut list = List::default();
        let result = if kind.names.is_empty() {
            self.pages(kind, kind.base, &mut list).await
        } else {
            self.named(kind, &mut list).await
        };
        match result {
            Err(error) if error.code == "NotFound" && kind.custom => {
                // Another version of the kind may be served; without its group there is none of it.
                let Some(base) = self.other_version(kind, &mut list).await? else { return Ok(list.text()) };
                match self.pages(kind, &base, &mut list).await {
                    Err(error) if error.code == "NotFound" => Ok(list.text()),
                    Err(error) => Err(error),
                    Ok(()) => Ok(list.text()),
                }
            }
            Err(error) => Err(error),
            Ok(()) => Ok(list.text()),
        }
    }

    async fn pages(&self, kind: &Kind, base: &str, list: &mut List) -> Result<(), Failed> {
        let url = format!("{base}/{}?limit={PAGE}", kind.resource());
        let (mut page, mut again) = (url.clone(), false);
        loop {
            let text = match self.get(&page, list).await {
                // The list behind the token is too old (410): once more from the beginning.
                Err(error) if error.code == "Expired" && !again => {
                    (page, again) = (url.clone(), true);
                    list.items.clear();
                    continue;
                }
                text => text?,
            };
            let next = list.add_page(&text, kind)?;
            let Some(next) = next else { return Ok(()) };
            page = format!("{url}&continue={}", encoded(&next));
        }
    }

    async fn named(&self, kind: &Kind, list: &mut List) -> Result<(), Failed> {
        for name in kind.names {
            let namespace = match kind.namespace {
                "" => String::new(),
                namespace => format!("namespaces/{namespace}/"),
            };
            let url = format!("{}/{namespace}{}/{}", kind.base, kind.resource(), encoded(name));
            match self.get(&url, list).await {
                Err(error) if error.code == "NotFound" => {}
                text => list.add(&text?, kind)?,
            }
        }
        Ok(())
    }

    /// The version of a kind's group that the server prefers.
    async fn other_version(&self, kind: &Kind, list: &mut List) -> Result<Option<String>, Failed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Group {
            preferred_version: Version,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            group_version: String,
        }
        let group = kind.base.rsplit_once('/').map_or(kind.base, |(group, _)| group);
        match self.get(group, list).await {
            Err(error) if error.code == "NotFound" => Ok(None),
            text => {
                let group: Group =
                    serde_json::from_str(&text?).map_err(|e| failed("UnreadableAnswer", e.to_string()))?;
                let base = format!("/apis/{}", group.preferred_version.group_version);
                Ok((base != kind.base).then_some(base))
            }
        }
    }

    async fn get(&self, url: &str, list: &mut List) -> Result<String, Failed> {
        let mut wait = Duration::from_millis(200);
        for attempt in 1.. {
            list.requests += 1;
            let request = http::Request::get(url).body(Vec::new()).map_err(|e| failed("Failed", e.to_string()))?;
            let error = match tokio::time::timeout(ANSWER, self.client.request_text(request)).await {
                Ok(Ok(text)) => return Ok(text),
                Ok(Err(error)) => self.failed(&error),
                Err(_) => failed("TimedOut", format!("no answer within {} seconds", ANSWER.as_secs())),
            };
            let busy =
                ["TooManyRequests", "ServiceUnavailable", "InternalError", "Timeout", "ServerTimeout", "Dropped"];
            if !busy.contains(&error.code.as_str()) || attempt >= TRIES {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(failed("Failed", String::new()))
    }

    fn failed(&self, error: &Error) -> Failed {
        match error {
            Error::Api(status) => {
                let code = match (status.reason.as_str(), status.code) {
                    (_, 401) => "Unauthorized".to_owned(),
                    (_, 403) => "Forbidden".to_owned(),
                    (_, 404) => "NotFound".to_owned(),
                    (_, 410) => "Expired".to_owned(),
                    (_, 429) => "TooManyRequests".to_owned(),
                    (_, 503) => "ServiceUnavailable".to_owned(),
                    ("", code) => format!("Http{code}"),
                    (reason, _) => reason.to_owned(),
                };
                failed(&code, status.message.clone())
            }
            Error::HyperError(error) => failed("Dropped", told(error)),
            Error::Auth(error) => failed("NoCredentials", told(error)),
            error => {
                let text = told(error);
                let code = if text.contains("connection closed") || text.contains("reset by peer") {
                    "Dropped"
                } else if text.contains("certificate") {
                    "Certificate"
                } else {
                    "Unreachable"
                };
                failed(code, format!("{}: {text}", self.server))
            }
        }
    }
}

/// A list as [`indent`](crate::snapshot::indent) writes it, around its objects.
const LIST_BEGIN: &str = "{\n    \"apiVersion\": \"v1\",\n    \"items\": [\n        ";
const LIST_END: &str =
    "\n    ],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n";
const LIST_EMPTY: &str = "{\n    \"apiVersion\": \"v1\",\n    \"items\": [],\n    \"kind\": \"List\",\n    \"metadata\": {\n        \"resourceVersion\": \"\"\n    }\n}\n";

/// A list on its way into a file: its text up to the last object, indented as it comes.
#[derive(Debug, Default)]
struct List {
    items: Vec<u8>,
    requests: usize,
}

impl List {
    /// Adds a page of the API's list; returns what asks for the next.
    fn add_page(&mut self, text: &str, kind: &Kind) -> Result<Option<String>, Failed> {
        #[derive(Deserialize)]
        struct Page<'a> {
            #[serde(borrow, default)]
            items: Option<Vec<&'a RawValue>>,
            #[serde(default)]
            metadata: Metadata,
        }
        #[derive(Default, Deserialize)]
        struct Metadata {
            #[serde(default, rename = "continue")]
            next: String,
        }
        let page: Page<'_> = serde_json::from_str(text).map_err(|e| failed("UnreadableAnswer", e.to_string()))?;
        for item in page.items.unwrap_or_default() {
            self.add(item.get(), kind)?;
        }
        Ok(Some(page.metadata.next).filter(|next| !next.is_empty()))
    }

    /// Adds an object: without its `managedFields`, and with its kind, which the API's lists leave out.
    fn add(&mut self, object: &str, kind: &Kind) -> Result<(), Failed> {
        let mut object: Value = serde_json::from_str(object).map_err(|e| failed("UnreadableAnswer", e.to_string()))?;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if let Some(object) = object.as_object_mut() {
            let version = kind.base.trim_start_matches("/apis/").trim_start_matches("/api/");
            object.entry("apiVersion").or_insert_with(|| version.into());
            object.entry("kind").or_insert_with(|| kind.kind.into());
        }
        let before = if self.items.is_empty() { LIST_BEGIN } else { ",\n        " };
        self.items.extend_from_slice(before.as_bytes());
        indent_into(&mut self.items, &object.to_string(), 2);
        Ok(())
    }

    fn text(mut self) -> (String, usize) {
        let end = if self.items.is_empty() { LIST_EMPTY } else { LIST_END };
        self.items.extend_from_slice(end.as_bytes());
        // Pieces of texts that serde_json wrote.
        (String::from_utf8(self.items).unwrap_or_default(), self.requests)
    }
}

fn failed(code: &str, message: String) -> Failed {
    Failed { code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::indent;

    #[test]
    fn a_list_is_what_kubectl_prints() {
        let pods = KINDS.iter().find(|k| k.plural == "pods").unwrap();
        let mut list = List::default();
        let page = |name: &str, next: &str| {
            format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7","continue":"{next}"}},
                    "items":[{{"metadata":{{"name":"{name}","managedFields":[{{"manager":"kubelet"}}]}},"spec":{{}}}}]}}"#
            )
        };
        assert_eq!(list.add_page(&page("a", "more"), pods).unwrap().as_deref(), Some("more"));
        assert_eq!(list.add_page(&page("b", ""), pods).unwrap(), None);
        let pod = |name| format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{}}}}"#);
        let expected = format!(
            r#"{{"apiVersion":"v1","items":[{},{}],"kind":"List","metadata":{{"resourceVersion":""}}}}"#,
            pod("a"),
            pod("b")
        );
        assert_eq!(list.text().0, indent(&expected));
        let empty = r#"{"apiVersion":"v1","items":[],"kind":"List","metadata":{"resourceVersion":""}}"#;
        assert_eq!(List::default().text().0, indent(empty));
    }

    #[test]
    fn what_is_read_is_what_the_tables_hold() {
        use crate::snapshot::{Source, TABLES};
        let mut read: Vec<&str> = KINDS.iter().map(|k| k.plural).collect();
        assert!(!read.iter().any(|plural| plural.starts_with("secrets")));
        read.sort_unstable();
        let tables = TABLES.iter().filter(|t| matches!(t.source, Source::Kind(..)));
        let mut wanted: Vec<&str> = tables.map(|t| t.read.trim_start_matches("k8s:")).collect();
        wanted.sort_unstable();
        assert_eq!(read, wanted);
    }
}
