//! As whom aws-node calls EC2, and whether it may.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::cni::Cni;
use super::identity::{Decision, Trust};
use super::policy::Context;
use super::version::Version;
use crate::shape::iam::Role;
use crate::shape::k8s::{DaemonSet, Node, Pod, ServiceAccount};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// A role by which running aws-node pods call EC2.
    CniIdentity {
        roleArn: Str,
        roleName: Str,
        role: Option<Link<Role>>,
        daemonSet: Link<DaemonSet>,
        serviceAccount: Option<Link<ServiceAccount>>,
        /// `node` (the nodes' own role), `irsa` or `podIdentity`.
        kind: Str,
        /// The role that the service account names now, when the pods run with another one.
        wanted: Str,
        nodes: Vec<Link<Node>>,
        pods: Vec<Link<Pod>>,
        ipv6: bool,
        version: Str,
    }
}

/// Where the pods of aws-node have their credentials from, by the environment that the webhooks wrote.
pub(super) fn credentials(pod: &Pod) -> (&'static str, Str) {
    let env =
        |name: &str| pod.spec.containers.iter().flat_map(|c| &c.env).find(|e| e.name == name).map(|e| e.value.clone());
    if env("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some() {
        ("podIdentity", Str::default())
    } else if let Some(role) = env("AWS_ROLE_ARN").filter(|r| !r.is_empty()) {
        ("irsa", role)
    } else {
        ("node", Str::default())
    }
}

impl Cluster {
    /// The roles by which aws-node works.
    pub fn cni_identities(&self) -> Known<Vec<Arc<CniIdentity>>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let tables = &self.snapshot.tables;
        let account = {
            let spec = &cni.daemon_set.value.spec.template.spec.serviceAccountName;
            if spec.is_empty() { "aws-node" } else { spec.as_str() }
        };
        let named = self.identity_of("kube-system", account)?;
        let mut pods: BTreeMap<Str, (&'static str, Str, Link<Pod>)> = BTreeMap::new();
        if self.snapshot.has("k8s:pods") {
            for pod in tables.pods.iter().filter(|p| {
                p.metadata.namespace == "kube-system"
                    && p.metadata.ownerReferences.iter().any(|o| o.kind == "DaemonSet" && o.name == "aws-node")
                    && p.metadata.deletionTimestamp.is_empty()
            }) {
                let (kind, role) = credentials(pod.value);
                pods.insert(pod.spec.nodeName.clone(), (kind, role, Link::new(pod.row)));
            }
        }
        let mut found: BTreeMap<(Str, Str), CniIdentity> = BTreeMap::new();
        let mut unknown: Option<Missing> = None;
        for worker in self.cni_workers()? {
            // What never joined runs no aws-node: its role is a matter of joining.
            let node = worker.node.map(|n| tables.nodes.at(n.row.index));
            if node.is_none() && self.snapshot.has("k8s:nodes") {
                continue;
            }
            let running = node.and_then(|n| pods.get(&n.metadata.name));
            // Without its pod, what the service account names is what the next pod gets.
            let kind = running.map_or(if named.kind == "none" { "node" } else { named.kind.as_str() }, |(k, ..)| *k);
            let role = match (kind, running) {
                ("irsa", Some((_, role, _))) => role.clone(),
                ("irsa" | "podIdentity", _) => named.roleArn.clone(),
                _ => match self.node_role(worker) {
                    Ok(role) => role,
                    Err(missing) => {
                        unknown = Some(missing);
                        continue;
                    }
                },
            };
            let stale = named.kind != "none" && (kind != named.kind || role != named.roleArn);
            let identity = found.entry((role.clone(), Str::new(kind))).or_insert_with(|| CniIdentity {
                roleName: Str::new(super::identity::role_name(&role)),
                role: self.role(&role).ok().map(|r| Link::new(r.row)),
                roleArn: role,
                daemonSet: Link::new(cni.daemon_set.row),
                serviceAccount: named.serviceAccount,
                kind: Str::new(kind),
                wanted: if stale { named.roleArn.clone() } else { Str::default() },
                nodes: Vec::new(),
                pods: Vec::new(),
                ipv6: self.is_ipv6(),
                version: cni.version.map(|v| v.to_string().into()).unwrap_or_default(),
            });
            identity.nodes.extend(worker.node);
            identity.pods.extend(running.map(|(.., pod)| *pod));
        }
        match (found.is_empty(), unknown) {
            (true, Some(missing)) => Err(missing),
            _ => Ok(found.into_values().map(Arc::new).collect()),
        }
    }

    /// Whether the role's trust policy lets aws-node take it; `None` for the nodes' own role.
    pub fn cni_trust(&self, identity: &CniIdentity) -> Known<Option<Trust>> {
        if identity.kind == "node" {
            return Ok(None);
        }
        let named = self.identity_of("kube-system", "aws-node")?;
        if named.roleArn != identity.roleArn {
            return Ok(None);
        }
        self.trust_of(&named).map(Some)
    }

    /// What aws-node may not do as `role`, of what pods' addresses depend on (`needed`) or of what it does besides.
    pub fn cni_lacks(&self, role: &str, needed: bool) -> Known<Vec<Str>> {
        let Some(cni) = self.cni()? else { return Ok(Vec::new()) };
        let interface = self.ec2_arn("network-interface/eni-0");
        let mut lacking = Vec::new();
        for action in actions(&cni, self.is_ipv6(), needed) {
            let resource = if action.contains(":Describe") { "*" } else { interface.as_str() };
            match self.may(role, action, resource, &Context::default())? {
                Decision::Allowed => {}
                _ => lacking.push(Str::new(action)),
            }
        }
        Ok(lacking)
    }
}

/// The actions that aws-node calls (amazon-vpc-cni-k8s `docs/iam-policy.md`).
fn actions(cni: &Cni<'_>, ipv6: bool, needed: bool) -> Vec<&'static str> {
    let mut all = match (ipv6, needed) {
        (true, true) => vec!["ec2:AssignIpv6Addresses", "ec2:DescribeNetworkInterfaces"],
        (true, false) => vec!["ec2:CreateTags"],
        (false, true) => vec![
            "ec2:CreateNetworkInterface",
            "ec2:AttachNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:DescribeNetworkInterfaces",
            "ec2:ModifyNetworkInterfaceAttribute",
        ],
        (false, false) => {
            vec![
                "ec2:UnassignPrivateIpAddresses",
                "ec2:DetachNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:CreateTags",
            ]
        }
    };
    // Since v1.22 ipamd asks for the groups of the primary interface at its start (amazon-vpc-cni-k8s#3704).
    if needed && cni.version.is_some_and(|v| v >= Version(1, 22, 0)) {
        all.push("ec2:DescribeSecurityGroups");
    }
    all
}
