//! What eks-doctor says: findings, what was skipped, and the report of both. Plain data.

use serde::Serialize;

use crate::network::Trace;
use crate::snapshot::Missing;

/// The four issues of the common-issues table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Issue {
    NodesCannotJoin,
    PodsGetNoIp,
    DnsDoesNotResolve,
    LoadBalancerNotDeployed,
}

impl Issue {
    pub const ALL: [Issue; 4] =
        [Issue::NodesCannotJoin, Issue::PodsGetNoIp, Issue::DnsDoesNotResolve, Issue::LoadBalancerNotDeployed];

    /// As it is written in paths, options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Issue::NodesCannotJoin => "nodes-cannot-join",
            Issue::PodsGetNoIp => "pods-get-no-ip",
            Issue::DnsDoesNotResolve => "dns-does-not-resolve",
            Issue::LoadBalancerNotDeployed => "load-balancer-not-deployed",
        }
    }

    pub fn from_name(name: &str) -> Option<Issue> {
        Issue::ALL.into_iter().find(|i| i.name() == name)
    }
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Breaks now.
    Error,
    /// Breaks under growth or change.
    Warning,
    /// Advice.
    Info,
}

/// An object of AWS or Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Resource {
    /// The shape's name: `Subnet`, `NetworkAcl`, `Node` ...
    pub kind: String,
    /// AWS id, or `namespace/name`.
    pub id: String,
    /// The `Name` tag or the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A place in the snapshot that shows the fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Index into the snapshot's documents.
    pub document: u32,
    /// JSON pointer in that document.
    pub pointer: String,
    pub text: String,
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Fix {
    pub title: String,
    /// Ready to paste; what cannot be known is `<placeholder>`.
    pub commands: Vec<String>,
    pub effect: Effect,
}

/// Whether a fix was tried on the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Applied to the snapshot, the finding goes and nothing new comes.
    Proved,
    Unproved,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// The cluster's name, when the report is about several.
    pub cluster: Option<String>,
    /// The rule's id.
    pub rule: String,
    pub issue: Issue,
    pub severity: Severity,
    /// What has to change.
    pub resource: Resource,
    /// Who suffers.
    pub affected: Vec<Resource>,
    /// What is wrong.
    pub message: String,
    /// Why it matters.
    pub because: String,
    pub evidence: Vec<Evidence>,
    pub trace: Option<Trace>,
    pub fixes: Vec<Fix>,
    pub docs: String,
    /// Stable across runs and object order.
    pub fingerprint: String,
    /// What else is to be said of it: a suppression that is over.
    pub note: Option<String>,
    /// Whether the baseline holds it: it does not count for the exit code.
    pub known: bool,
}

/// A finding that someone decided to live with.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppressed {
    pub finding: Diagnostic,
    /// The file that says so.
    pub by: String,
    pub reason: String,
    /// The last day, `2026-12-31`.
    pub until: Option<String>,
}

/// What a comparison with a baseline says beside the findings.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Compared {
    /// The baseline's file.
    pub file: String,
    /// Findings of the baseline that are no more.
    pub gone: Vec<Gone>,
}

/// A finding of the baseline that is no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// The rule's id.
    pub rule: String,
    pub resource: Resource,
    pub message: String,
    pub fingerprint: String,
}

/// A rule that could not be decided about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipped {
    /// The cluster's name, when the report is about several.
    pub cluster: Option<String>,
    pub rule: String,
    pub issue: Issue,
    /// Absent when the rule could not even list its objects.
    pub resource: Option<Resource>,
    pub missing: Vec<Missing>,
}

/// The cluster that was checked.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ClusterName {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Everything one run has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub cluster: ClusterName,
    /// Sorted: severity, issue, rule, resource.
    pub findings: Vec<Diagnostic>,
    pub skipped: Vec<Skipped>,
    /// Rules that were decided for all that they match and found nothing.
    pub passed: usize,
    /// Sorted as the findings are.
    pub suppressed: Vec<Suppressed>,
    /// When there is a baseline.
    pub compared: Option<Compared>,
    /// What is to be said of the configuration.
    pub warnings: Vec<String>,
}
