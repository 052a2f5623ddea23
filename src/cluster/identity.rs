//! Who a pod or node is to AWS, what that role may do, and who may take it.

use super::Cluster;
use super::policy::{Context, Held, Sheet, allows_statement, decide};
use super::worker::Worker;
use crate::glob::like_in_any_case as glob;
use crate::shape::eks::PodIdentityAssociation;
use crate::shape::iam::{
    AttachedRolePolicies, ManagedPolicy, OpenIdConnectProviderList, Role, RolePolicy, RolePolicyNames, Statement,
};
use crate::shape::k8s::{Pod, ServiceAccount};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, Rec, Spot};

pub use super::policy::Decision;

derived! {
    /// What credentials the pods of a service account get.
    Credentials {
        /// `irsa`, `podIdentity`, or `none`: then only the node's role, through the instance's metadata.
        kind: Str,
        /// `namespace/name` of the service account.
        name: Str,
        serviceAccount: Option<Link<ServiceAccount>>,
        association: Option<Link<PodIdentityAssociation>>,
        /// The ARN of the role; empty for `none`.
        roleArn: Str,
        /// The role, when it was recorded.
        role: Option<Link<Role>>,
    }

    /// Whether a role's trust policy lets somebody take it.
    Trust {
        holds: bool,
        /// Why not: `no-statement`, `principal`, `action`, `subject`, `audience`, `condition`, `no-provider`, `client-id`.
        fault: Str,
        /// What it would have to say.
        wanted: Str,
        /// What it says.
        found: Str,
        role: Option<Link<Role>>,
    }
}

/// A policy that a role holds.
struct Source<'a> {
    sheet: Sheet<'a>,
    name: Str,
    row: Option<Row>,
}

impl Cluster {
    /// `aws`, `aws-cn`, `aws-us-gov`: of the cluster's ARN, else the manifest.
    pub fn partition(&self) -> Str {
        match self.eks() {
            Ok(eks) if eks.arn.starts_with("arn:") => Str::new(eks.arn.split(':').nth(1).unwrap_or("aws")),
            _ => self.snapshot.manifest.partition.as_deref().map_or(Str::const_new("aws"), Str::new),
        }
    }

    /// The cluster's account.
    pub fn account_id(&self) -> Str {
        let of_arn = self.eks().ok().and_then(|e| e.value.arn.split(':').nth(4).map(Str::new)).unwrap_or_default();
        if of_arn.is_empty() {
            self.snapshot.manifest.account.as_deref().map(Str::new).unwrap_or_default()
        } else {
            of_arn
        }
    }

    /// The ARN of something of EC2's in the cluster's account and Region.
    pub fn ec2_arn(&self, resource: &str) -> String {
        format!("arn:{}:ec2:{}:{}:{resource}", self.partition(), self.region_name(), self.account_id())
    }

    /// The cluster's Region.
    pub fn region_name(&self) -> Str {
        let of_arn = self.eks().ok().and_then(|e| e.value.arn.split(':').nth(3).map(Str::new)).unwrap_or_default();
        if of_arn.is_empty() {
            self.snapshot.manifest.region.as_deref().map(Str::new).unwrap_or_default()
        } else {
            of_arn
        }
    }

    /// The role of this ARN or name.
    pub fn role(&self, role: &str) -> Known<Rec<'_, Role>> {
        let table = self.snapshot.whole::<Role>()?;
        let name = role_name(role);
        table
            .get(role)
            .or_else(|| table.iter().find(|r| r.RoleName == name && (!role.contains(':') || r.Arn == role)))
            .ok_or_else(|| self.snapshot.missing("iam:GetRole", Some(name)))
    }

    /// What credentials pods of a service account are given. A Pod Identity association goes before the annotation
    /// (amazon-eks-pod-identity-webhook, `pkg/handler/handler.go`: container credentials take precedence).
    pub fn identity_of(&self, namespace: &str, name: &str) -> Known<Credentials> {
        let id = format!("{namespace}/{name}");
        let account = self.snapshot.whole::<ServiceAccount>()?.get(&id);
        let cluster = self.name();
        let association = self.snapshot.tables.pod_identity_associations.iter().find(|a| {
            a.namespace == namespace
                && a.serviceAccount == name
                && (a.clusterName == cluster || a.clusterName.is_empty())
        });
        let listed = self
            .snapshot
            .tables
            .pod_identity_names
            .iter()
            .flat_map(|l| l.value.associations.iter())
            .any(|a| a.namespace == namespace && a.serviceAccount == name && a.clusterName == cluster);
        if association.is_none() && listed {
            return Err(self.snapshot.missing("eks:DescribePodIdentityAssociation", Some(&id)));
        }
        let annotation = account
            .and_then(|a| a.value.metadata.annotations.get("eks.amazonaws.com/role-arn"))
            .filter(|a| !a.trim().is_empty());
        let (kind, arn) = match (association, annotation) {
            (Some(association), _) => ("podIdentity", association.roleArn.clone()),
            (None, Some(arn)) => ("irsa", Str::new(arn.trim())),
            (None, None) => {
                if !self.snapshot.has("eks:ListPodIdentityAssociations") {
                    return Err(self.snapshot.missing("eks:ListPodIdentityAssociations", None));
                }
                ("none", Str::default())
            }
        };
        Ok(Credentials {
            kind: Str::const_new(kind),
            name: id.into(),
            serviceAccount: account.map(|a| Link::new(a.row)),
            association: association.map(|a| Link::new(a.row)),
            role: self.role(&arn).ok().filter(|_| !arn.is_empty()).map(|r| Link::new(r.row)),
            roleArn: arn,
        })
    }

    /// The ARN of a node's role: through its instance profile, else its node group.
    pub fn node_role(&self, worker: &Worker) -> Known<Str> {
        let tables = &self.snapshot.tables;
        let profile = &worker.instanceProfile;
        let name = role_name(profile);
        let found = tables
            .instance_profiles
            .get(profile)
            .or_else(|| tables.instance_profiles.iter().find(|p| !name.is_empty() && p.InstanceProfileName == name));
        if let Some(role) = found.and_then(|p| p.value.Roles.first()) {
            return Ok(role.Arn.clone());
        }
        if let Some(group) = worker.nodegroup.map(|g| tables.nodegroups.at(g.row.index))
            && !group.nodeRole.is_empty()
        {
            return Ok(group.nodeRole.clone());
        }
        Err(self.snapshot.missing("iam:GetInstanceProfile", Some(name)))
    }

    /// Whether pods of a node can read the instance's metadata: the answer to IMDSv2's PUT has to pass one more hop
    /// for a pod that does not use the host's network.
    pub fn reaches_imds(&self, worker: &Worker, host_network: bool) -> Known<bool> {
        let Some(instance) = worker.instance.map(|i| self.snapshot.tables.instances.at(i.row.index)) else {
            return match worker.kind.as_str() {
                "fargate" | "hybrid" => Ok(false),
                _ => Err(self.snapshot.missing("ec2:DescribeInstances", Some(&worker.name))),
            };
        };
        let Some(options) = &instance.value.MetadataOptions else {
            return Err(Missing {
                read: "ec2:DescribeInstances".to_owned(),
                reason: format!("{} has no MetadataOptions", instance.InstanceId),
            });
        };
        if options.HttpEndpoint == "disabled" {
            return Ok(false);
        }
        Ok(host_network || options.HttpPutResponseHopLimit.is_none_or(|limit| limit >= 2))
    }

    /// Whether `role` may do `action` on `resource` (`*` for actions that name none) in a call with this context.
    /// A condition on something that nobody knows counts for the caller.
    pub fn may(&self, role: &str, action: &str, resource: &str, context: &Context) -> Known<Decision> {
        let name = role_name(role);
        let (sources, gap) = self.policies_of(name)?;
        let decision = decide(sources.iter().map(|s| (&s.sheet, &s.name, s.row)), action, resource, context);
        match (decision, gap) {
            (Decision::NotAllowed { .. }, Some(missing)) => Err(missing),
            (Decision::Allowed, _) => self.bounded(role, action, resource, context),
            (decision, _) => Ok(decision),
        }
    }

    /// Which of these actions the role may not do on these resources, in one text; empty when it may do all. Of images it
    /// is enough that the role may pull some: whose it needs is not known.
    pub fn lacks(&self, role: &str, needed: &[(&str, &str)]) -> Known<Str> {
        let mut lacking = Vec::new();
        for (action, resource) in needed {
            let some = match self.may(role, action, resource, &Context::default())? {
                Decision::Allowed => true,
                Decision::NotAllowed { near } => *action == "ecr:BatchGetImage" && !near.is_empty(),
                Decision::Denied(_) => false,
            };
            if !some {
                lacking.push(*action);
            }
        }
        Ok(Str::from(lacking.join(", ")))
    }

    /// What is left of a permission under the role's permissions boundary.
    fn bounded(&self, role: &str, action: &str, resource: &str, context: &Context) -> Known<Decision> {
        let boundary = self.role(role).ok().and_then(|r| r.value.PermissionsBoundary.as_ref());
        let Some(boundary) = boundary.map(|b| &b.PermissionsBoundaryArn).filter(|arn| !arn.is_empty()) else {
            return Ok(Decision::Allowed);
        };
        let source = self.managed_policy(boundary)?;
        Ok(decide([(&source.sheet, &source.name, source.row)].into_iter(), action, resource, context))
    }

    /// The policy of the role that denies one of these actions (on everything, in some way); empty when none does.
    pub fn denied_by(&self, role: &str, actions: &str, resource: &str) -> Known<Str> {
        for action in actions.split(',').map(str::trim).filter(|a| !a.is_empty()) {
            if let Decision::Denied(held) = self.may(role, action, resource, &Context::default())? {
                return Ok(held.policy);
            }
        }
        Ok(Str::default())
    }

    /// The ARN of the role's permissions boundary, when it does not allow one of these actions (on everything), whatever
    /// its policies say; empty when it is not at fault.
    pub fn boundary_against(&self, role: &str, actions: &str) -> Str {
        let boundary = self.role(role).ok().and_then(|r| r.value.PermissionsBoundary.as_ref());
        let Some(arn) = boundary.map(|b| &b.PermissionsBoundaryArn).filter(|arn| !arn.is_empty()) else {
            return Str::default();
        };
        let mut actions = actions.split(',').map(str::trim).filter(|a| !a.is_empty());
        let refused = |action: &str| {
            self.bounded(role, action, "*", &Context::default()).is_ok_and(|decision| !decision.allowed())
        };
        if actions.any(refused) { arn.clone() } else { Str::default() }
    }

    /// The policies of a role that were recorded, and the first that was not.
    fn policies_of(&self, role: &str) -> Known<(Vec<Source<'_>>, Option<Missing>)> {
        let attached = self.snapshot.find::<AttachedRolePolicies>(role)?;
        let mut gap = None;
        let mut sources = Vec::new();
        for policy in &attached.value.AttachedPolicies {
            match self.managed_policy(&policy.PolicyArn) {
                Ok(source) => sources.push(source),
                Err(missing) => gap = gap.or(Some(missing)),
            }
        }
        match self.snapshot.find::<RolePolicyNames>(role) {
            Ok(names) => {
                for name in &names.value.PolicyNames {
                    match self.snapshot.find::<RolePolicy>(&format!("{role}/{name}")) {
                        Ok(policy) => sources.push(Source {
                            sheet: Sheet::Document(&policy.value.PolicyDocument.0),
                            name: name.clone(),
                            row: Some(policy.row),
                        }),
                        Err(missing) => gap = gap.or(Some(missing)),
                    }
                }
            }
            Err(missing) => gap = gap.or(Some(missing)),
        }
        Ok((sources, gap))
    }

    fn managed_policy(&self, arn: &str) -> Known<Source<'_>> {
        let name = role_name(arn);
        match self.snapshot.find::<ManagedPolicy>(name) {
            Ok(policy) => Ok(Source {
                sheet: Sheet::Document(&policy.value.PolicyVersion.Document.0),
                name: Str::new(name),
                row: Some(policy.row),
            }),
            Err(missing) => match super::policy::well_known(arn) {
                Some(actions) => Ok(Source { sheet: Sheet::Actions(actions), name: Str::new(name), row: None }),
                None => Err(missing),
            },
        }
    }

    /// The names of the managed policies that are attached to a role.
    pub fn attached_policies(&self, role: &str) -> Known<Vec<Str>> {
        let attached = self.snapshot.find::<AttachedRolePolicies>(role_name(role))?;
        Ok(attached.value.AttachedPolicies.iter().map(|p| p.PolicyName.clone()).collect())
    }

    /// Whether the role of an [`Credentials`] can be taken by its service account.
    pub fn trust_of(&self, identity: &Credentials) -> Known<Trust> {
        let role = self.role(&identity.roleArn)?;
        let (namespace, name) = identity.name.split_once('/').unwrap_or_default();
        match identity.kind.as_str() {
            "podIdentity" => Ok(self.pod_identity_trust(role, namespace, name)),
            _ => self.irsa_trust(role, namespace, name),
        }
    }

    /// Whether `service` (`ec2.amazonaws.com`, `eks.amazonaws.com` ...) may take the role.
    pub fn service_trust(&self, role: &str, service: &str) -> Known<Trust> {
        let role = self.role(role)?;
        Ok(self.trusted(role, service, &["sts:AssumeRole"], &Context::default()))
    }

    /// What the trust policy of the cluster's role lacks for EKS Auto Mode; empty when nothing
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/auto-cluster-iam-role.html>).
    pub fn auto_mode_trust(&self) -> Known<Str> {
        let eks = self.eks()?;
        let role = self.role(&eks.value.roleArn)?;
        let context = Context::default().with("aws:SourceArn", &eks.arn).with("aws:SourceAccount", &self.account_id());
        let trust = self.trusted(role, "eks.amazonaws.com", &["sts:AssumeRole", "sts:TagSession"], &context);
        Ok(if trust.holds { Str::default() } else { trust.wanted })
    }

    /// The policies of EKS Auto Mode without whose permissions the cluster's role launches no nodes or gives them no
    /// addresses.
    pub fn auto_mode_lacks(&self) -> Known<Vec<Str>> {
        let role = &self.eks()?.value.roleArn;
        let mut lacking = Vec::new();
        for (policy, action, resource) in [
            ("AmazonEKSComputePolicy", "ec2:RunInstances", "instance/i-0"),
            ("AmazonEKSNetworkingPolicy", "ec2:AssignPrivateIpAddresses", "network-interface/eni-0"),
        ] {
            if !self.may(role, action, &self.ec2_arn(resource), &Context::default())?.allowed() {
                lacking.push(Str::const_new(policy));
            }
        }
        Ok(lacking)
    }

    /// Whether EKS Auto Mode has to launch nodes now: pools want them, and none is ready or pods wait for a node.
    pub fn auto_mode_wanted(&self) -> bool {
        let tables = &self.snapshot.tables;
        let built_in =
            self.eks().is_ok_and(|e| e.value.computeConfig.as_ref().is_some_and(|c| !c.nodePools.is_empty()));
        let pools = built_in || tables.node_pools.iter().any(|p| p.spec.template.spec.nodeClassRef.kind == "NodeClass");
        let runs = self.workers().is_ok_and(|all| all.iter().any(|w| w.kind == "auto" && w.ready));
        let waits = |pod: &Pod| {
            pod.spec.nodeName.is_empty()
                && pod.status.phase == "Pending"
                && !self.is_new(&pod.metadata.creationTimestamp)
        };
        pools && (!runs || tables.pods.iter().any(|p| waits(p.value)))
    }

    fn pod_identity_trust(&self, role: Rec<'_, Role>, namespace: &str, name: &str) -> Trust {
        let mut context = Context::default()
            .with("aws:RequestTag/kubernetes-namespace", namespace)
            .with("aws:RequestTag/kubernetes-service-account", name)
            .with("aws:RequestTag/eks-cluster-name", &self.name());
        if let Ok(eks) = self.eks() {
            context = context
                .with("aws:RequestTag/eks-cluster-arn", &eks.arn)
                .with("aws:SourceArn", &eks.arn)
                .with("aws:SourceAccount", &self.account_id());
        }
        self.trusted(role, "pods.eks.amazonaws.com", &["sts:AssumeRole", "sts:TagSession"], &context)
    }

    fn trusted(&self, role: Rec<'_, Role>, service: &str, actions: &[&str], context: &Context) -> Trust {
        let trust = |fault: &'static str, wanted: String, found: String| Trust {
            holds: fault.is_empty(),
            fault: Str::const_new(fault),
            wanted: wanted.into(),
            found: found.into(),
            role: Some(Link::new(role.row)),
        };
        let statements = &role.value.AssumeRolePolicyDocument.Statement;
        let china = format!("{service}.cn");
        let ours: Vec<&Statement> = statements
            .iter()
            .filter(|s| s.Effect == "Allow")
            .filter(|s| {
                s.Principal.as_ref().is_some_and(|p| p.of("Service").any(|p| p == "*" || p == service || *p == china))
            })
            .collect();
        if ours.is_empty() {
            return trust("principal", service.to_owned(), principals(statements));
        }
        for action in actions {
            let named: Vec<&&Statement> = ours.iter().filter(|s| names_action(s, action)).collect();
            if named.is_empty() {
                let found: Vec<&str> = ours.iter().flat_map(|s| s.Action.iter().map(Str::as_str)).collect();
                return trust("action", (*action).to_owned(), found.join(", "));
            }
            if !named.iter().any(|s| allows_statement(s, context)) {
                let keys: Vec<&str> =
                    named.iter().flat_map(|s| s.Condition.values().flat_map(|c| c.keys().map(Str::as_str))).collect();
                return trust("condition", (*action).to_owned(), keys.join(", "));
            }
        }
        trust("", String::new(), String::new())
    }

    fn irsa_trust(&self, role: Rec<'_, Role>, namespace: &str, name: &str) -> Known<Trust> {
        let trust = |fault: &'static str, wanted: &str, found: String| Trust {
            holds: fault.is_empty(),
            fault: Str::const_new(fault),
            wanted: wanted.into(),
            found: found.into(),
            role: Some(Link::new(role.row)),
        };
        let eks = self.eks()?;
        let issuer = eks.value.identity.as_ref().and_then(|i| i.oidc.as_ref()).map(|o| o.issuer.as_str());
        let Some(issuer) = issuer.filter(|i| !i.is_empty()).map(|i| i.trim_start_matches("https://")) else {
            return Err(Missing {
                read: "eks:DescribeCluster".to_owned(),
                reason: "the answer has no identity.oidc.issuer".to_owned(),
            });
        };
        let mut parts = role.value.Arn.split(':');
        let (partition, account) = (parts.nth(1).unwrap_or("aws"), parts.nth(2).unwrap_or_default());
        let provider = format!("arn:{partition}:iam::{account}:oidc-provider/{issuer}");
        let subject = format!("system:serviceaccount:{namespace}:{name}");
        let audience = "sts.amazonaws.com";
        let context = Context::default()
            .with(&format!("{issuer}:sub"), &subject)
            .with(&format!("{issuer}:aud"), audience)
            .without_others("oidc.eks.");
        let statements = &role.value.AssumeRolePolicyDocument.Statement;
        let web: Vec<&Statement> = statements
            .iter()
            .filter(|s| s.Effect == "Allow" && names_action(s, "sts:AssumeRoleWithWebIdentity"))
            .collect();
        if web.is_empty() {
            return Ok(trust("no-statement", "sts:AssumeRoleWithWebIdentity", principals(statements)));
        }
        let federated: Vec<&&Statement> = web
            .iter()
            .filter(|s| s.Principal.as_ref().is_some_and(|p| p.of("Federated").any(|p| *p == provider || p == "*")))
            .collect();
        if federated.is_empty() {
            let found: Vec<&str> = web
                .iter()
                .filter_map(|s| s.Principal.as_ref())
                .flat_map(|p| p.0.values().flat_map(|v| v.iter().map(Str::as_str)))
                .collect();
            return Ok(trust("principal", &provider, found.join(", ")));
        }
        if !federated.iter().any(|s| allows_statement(s, &context)) {
            let said = |suffix: &str| -> String {
                federated
                    .iter()
                    .flat_map(|s| s.Condition.values())
                    .flat_map(|c| c.iter())
                    .filter(|(key, _)| key.ends_with(suffix))
                    .flat_map(|(key, values)| values.iter().map(move |v| (key, v.as_str())))
                    .map(|(key, v)| if key.starts_with(issuer) { v.to_owned() } else { format!("{key} = {v}") })
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let only = |suffix: &str| {
                federated.iter().any(|s| {
                    let mut one = (**s).clone();
                    for entry in one.Condition.values_mut() {
                        entry.retain(|key, _| !key.ends_with(suffix));
                    }
                    allows_statement(&one, &context)
                })
            };
            let subject_alone = only(":sub");
            return Ok(if subject_alone || !only(":aud") {
                trust("subject", &subject, said(":sub"))
            } else {
                trust("audience", audience, said(":aud"))
            });
        }
        if account == self.account_id() {
            let lists = self.snapshot.whole::<OpenIdConnectProviderList>()?;
            let mut listed = lists.iter().flat_map(|l| l.value.OpenIDConnectProviderList.iter());
            if !listed.any(|p| p.Arn == provider) {
                return Ok(trust("no-provider", &provider, String::new()));
            }
            let known =
                self.snapshot.tables.oidc_providers.iter().find(|p| p.Url.trim_start_matches("https://") == issuer);
            if let Some(known) = known
                && !known.ClientIDList.iter().any(|c| c == audience)
            {
                let found: Vec<&str> = known.value.ClientIDList.iter().map(Str::as_str).collect();
                return Ok(trust("client-id", audience, found.join(", ")));
            }
        }
        Ok(trust("", "", String::new()))
    }
}

/// The name at the end of an ARN of a role, profile or policy.
pub fn role_name(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn names_action(statement: &Statement, action: &str) -> bool {
    if statement.Action.is_empty() {
        !statement.NotAction.is_empty() && !statement.NotAction.iter().any(|p| glob(p, action))
    } else {
        statement.Action.iter().any(|p| glob(p, action))
    }
}

fn principals(statements: &[Statement]) -> String {
    let all: Vec<&str> = statements
        .iter()
        .filter_map(|s| s.Principal.as_ref())
        .flat_map(|p| p.0.values().flat_map(|v| v.iter().map(Str::as_str)))
        .collect();
    all.join(", ")
}

/// The place of a statement that a [`Decision`] names.
pub fn statement_spot(held: &Held, cluster: &Cluster) -> Option<Spot> {
    let row = held.row?;
    let pointer = match cluster.snapshot.tables.shape(row).schema().name {
        "RolePolicy" => format!("/PolicyDocument/Statement/{}", held.statement),
        _ => format!("/PolicyVersion/Document/Statement/{}", held.statement),
    };
    Some(Spot { row, pointer })
}
