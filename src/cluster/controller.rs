//! The AWS Load Balancer Controller of the cluster: its version, flags, credentials and what its role must allow.

use std::sync::Arc;

use super::Cluster;
use super::identity::{Credentials, Decision, Trust};
use super::policy::Context;
use super::version::Version;
use super::worker::Worker;
use crate::shape::k8s::{Container, Deployment, Pod};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Missing, Rec};

derived! {
    /// A deployment of the AWS Load Balancer Controller.
    LoadBalancerController {
        /// `namespace/name`.
        name: Str,
        namespace: Str,
        deployment: Link<Deployment>,
        /// `2.11.0`; not said when the image's tag does not tell.
        version: Str,
        /// `--cluster-name`.
        clusterName: Str,
        /// `--aws-vpc-id`.
        vpcId: Str,
        /// `--aws-region`.
        region: Str,
        /// `--aws-vpc-tags` or `--aws-vpc-tag-key`: it looks the VPC up by tag.
        vpcByTags: bool,
        /// `--ingress-class`.
        ingressClass: Str,
        /// `--load-balancer-class`.
        loadBalancerClass: Str,
        /// `--default-target-type`.
        targetType: Str,
        /// `--default-load-balancer-scheme`.
        scheme: Str,
        /// `--watch-namespace`; empty is all.
        watchNamespace: Str,
        /// Whether it makes a security group for the traffic to targets (`--enable-backend-security-group`).
        backendGroup: bool,
        /// `--service-target-eni-security-group-tags`: what else the group that it opens must be tagged with.
        targetGroupTags: Vec<Str>,
        /// Whether its pods are given credentials in another way (environment, kube2iam).
        ownCredentials: bool,
        serviceAccount: Str,
        hostNetwork: bool,
        replicas: i64,
        ready: i64,
        /// Whether an ingress or service of its own waits for a load balancer.
        wanting: bool,
        /// Feature gates that differ: `SubnetDiscoveryByReachability=false`.
        gates: Vec<Str>,
        pods: Vec<Link<Pod>>,
    }

    /// Something that the controller's role does not allow.
    PermissionGap {
        action: Str,
        /// When the controller calls it.
        because: Str,
        /// `denied`, `condition` (a statement names it, but not for this call) or `missing`.
        kind: Str,
        /// The policy that denies it or nearly allows it.
        policy: Str,
    }
}

/// The value of a flag in `--flag=value` or `--flag value` form.
pub(super) fn flag<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    let mut arguments = container.command.iter().chain(&container.args).map(Str::as_str).peekable();
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
        match rest.split_once('=') {
            Some((key, value)) if key == name => return Some(value),
            None if rest == name => {
                return Some(arguments.peek().copied().filter(|next| !next.starts_with('-')).unwrap_or("true"));
            }
            _ => {}
        }
    }
    None
}

fn of_image(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or(image).rsplit('/').next().unwrap_or(image);
    name.split(':').next().is_some_and(|n| n == "aws-load-balancer-controller" || n == "aws-alb-ingress-controller")
}

fn controls(container: &Container) -> bool {
    of_image(&container.image)
        || (container.name.contains("load-balancer-controller") && flag(container, "cluster-name").is_some())
}

impl LoadBalancerController {
    pub fn version_number(&self) -> Option<Version> {
        Version::parse(&self.version)
    }
    /// A feature gate, which has this default.
    pub fn gate(&self, name: &str, default: bool) -> bool {
        self.gates
            .iter()
            .find_map(|g| g.split_once('=').filter(|(key, _)| key.trim() == name))
            .map_or(default, |(_, value)| value.trim().eq_ignore_ascii_case("true"))
    }
}

impl Cluster {
    /// The deployments of the AWS Load Balancer Controller.
    pub fn controllers(&self) -> Known<&[Arc<LoadBalancerController>]> {
        let deployments = self.snapshot.whole::<Deployment>()?;
        Ok(self.cache.controllers.get_or_init(|| {
            deployments
                .iter()
                .filter_map(|d| {
                    let container = d.value.spec.template.spec.containers.iter().find(|c| controls(c))?;
                    Some(Arc::new(self.controller(d, container)))
                })
                .collect()
        }))
    }

    fn controller(&self, deployment: Rec<'_, Deployment>, container: &Container) -> LoadBalancerController {
        let said = |name: &str| flag(container, name).map(Str::new);
        let spec = &deployment.value.spec;
        let labels = &spec.selector.matchLabels;
        let meta = &deployment.value.metadata;
        let pods = self
            .snapshot
            .tables
            .pods
            .iter()
            .filter(|p| p.value.metadata.namespace == meta.namespace)
            .filter(|p| !labels.is_empty() && labels.iter().all(|(k, v)| p.value.metadata.labels.get(k) == Some(v)))
            .map(|p| Link::new(p.row))
            .collect();
        let env = |name: &str| container.env.iter().find(|e| e.name == name).map(|e| e.value.clone());
        let gates = said("feature-gates").unwrap_or_default();
        LoadBalancerController {
            name: compact_str::format_compact!("{}/{}", meta.namespace, meta.name),
            namespace: meta.namespace.clone(),
            deployment: Link::new(deployment.row),
            version: Version::of_image(&container.image).map(|v| v.to_string().into()).unwrap_or_default(),
            clusterName: said("cluster-name").unwrap_or_default(),
            vpcId: said("aws-vpc-id").unwrap_or_default(),
            region: said("aws-region").or_else(|| env("AWS_REGION")).unwrap_or_default(),
            vpcByTags: ["aws-vpc-tags", "aws-vpc-tag-key"].iter().any(|f| flag(container, f).is_some()),
            ingressClass: said("ingress-class").unwrap_or_else(|| Str::const_new("alb")),
            loadBalancerClass: said("load-balancer-class").unwrap_or_else(|| Str::const_new("service.k8s.aws/nlb")),
            targetType: said("default-target-type").unwrap_or_else(|| Str::const_new("instance")),
            scheme: said("default-load-balancer-scheme").unwrap_or_else(|| Str::const_new("internal")),
            backendGroup: flag(container, "enable-backend-security-group").is_none_or(|v| v != "false"),
            targetGroupTags: flag(container, "service-target-eni-security-group-tags")
                .map(|tags| tags.split(',').map(str::trim).filter(|t| !t.is_empty()).map(Str::new).collect())
                .unwrap_or_default(),
            ownCredentials: container.env.iter().any(|e| {
                matches!(
                    e.name.as_str(),
                    "AWS_ACCESS_KEY_ID" | "AWS_WEB_IDENTITY_TOKEN_FILE" | "AWS_CONTAINER_CREDENTIALS_FULL_URI"
                )
            }) || spec.template.metadata.annotations.contains_key("iam.amazonaws.com/role"),
            watchNamespace: said("watch-namespace").unwrap_or_default(),
            serviceAccount: match spec.template.spec.serviceAccountName.as_str() {
                "" => Str::const_new("default"),
                name => Str::new(name),
            },
            hostNetwork: spec.template.spec.hostNetwork == Some(true),
            replicas: spec.replicas.unwrap_or(1),
            ready: deployment.value.status.readyReplicas.unwrap_or(0),
            wanting: self.wants_load_balancer(flag(container, "watch-namespace").unwrap_or_default()),
            gates: gates.split(',').filter(|g| !g.is_empty()).map(Str::new).collect(),
            pods,
        }
    }

    /// The machines that run the controller's pods; all of the cluster when none is placed.
    pub fn controller_workers(&self, controller: &LoadBalancerController) -> Known<Vec<&Arc<Worker>>> {
        let pods = &self.snapshot.tables.pods;
        let nodes: Vec<&str> =
            controller.pods.iter().map(|p| pods.at(p.row.index).value.spec.nodeName.as_str()).collect();
        let workers = self.workers()?;
        let placed: Vec<&Arc<Worker>> = workers.iter().filter(|w| nodes.contains(&w.name.as_str())).collect();
        Ok(if placed.is_empty() { workers.iter().filter(|w| w.joined).collect() } else { placed })
    }

    /// What credentials the controller's service account gives it.
    pub fn controller_identity(&self, controller: &LoadBalancerController) -> Known<Credentials> {
        let identity = self.identity_of(&controller.namespace, &controller.serviceAccount)?;
        if identity.kind == "none" && controller.ownCredentials {
            return Err(Missing {
                read: "k8s:deployments.apps".to_owned(),
                reason: "the controller's pods get credentials that nobody recorded".to_owned(),
            });
        }
        Ok(identity)
    }

    /// Whether the controller's service account may take its role.
    pub fn controller_trust(&self, controller: &LoadBalancerController) -> Known<Trust> {
        let identity = self.controller_identity(controller)?;
        if identity.kind == "none" {
            return Err(Missing { read: "k8s:serviceaccounts".to_owned(), reason: "it names no role".to_owned() });
        }
        self.trust_of(&identity)
    }

    /// Whether at least one of the controller's pods can read instance metadata.
    pub fn controller_reaches_imds(&self, controller: &LoadBalancerController) -> Known<bool> {
        let workers = self.controller_workers(controller)?;
        let mut gap = None;
        for worker in &workers {
            match self.reaches_imds(worker, controller.hostNetwork) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(missing) => gap = Some(missing),
            }
        }
        match (gap, workers.is_empty()) {
            (Some(missing), _) => Err(missing),
            (None, true) => Err(self.snapshot.missing("ec2:DescribeInstances", None)),
            (None, false) => Ok(false),
        }
    }

    /// The ARN of the role under which the controller calls AWS.
    pub fn controller_role(&self, controller: &LoadBalancerController) -> Known<Str> {
        let identity = self.controller_identity(controller)?;
        if identity.kind != "none" {
            return Ok(identity.roleArn);
        }
        if !self.controller_reaches_imds(controller)? {
            return Err(Missing { read: "iam:GetRole".to_owned(), reason: "the controller has no role".to_owned() });
        }
        let workers = self.controller_workers(controller)?;
        match workers.first() {
            Some(worker) => self.node_role(worker),
            None => Err(self.snapshot.missing("ec2:DescribeInstances", None)),
        }
    }

    /// What the controller calls to deploy a load balancer and its role does not allow.
    pub fn permission_gaps(&self, controller: &LoadBalancerController) -> Known<Vec<Arc<PermissionGap>>> {
        let role = self.controller_role(controller)?;
        let mut gaps: Vec<Arc<PermissionGap>> = Vec::new();
        for call in self.calls(controller) {
            let decision = self.may(&role, call.action, &call.resource, &call.context)?;
            let (kind, policy) = match decision {
                Decision::Allowed => continue,
                Decision::Denied(held) => ("denied", held.policy),
                Decision::NotAllowed { near } => match near.first() {
                    Some(held) => ("condition", held.policy.clone()),
                    None => ("missing", Str::default()),
                },
            };
            if !gaps.iter().any(|g| g.action == call.action) {
                gaps.push(Arc::new(PermissionGap {
                    action: Str::new(call.action),
                    because: Str::new(call.when),
                    kind: Str::const_new(kind),
                    policy,
                }));
            }
        }
        Ok(gaps)
    }

    /// The calls without which no load balancer comes about, by the controller's version
    /// (aws-load-balancer-controller, history of `docs/install/iam_policy.json`).
    fn calls(&self, controller: &LoadBalancerController) -> Vec<Call> {
        let version = controller.version_number();
        // An unreadable version asks for what every version needs.
        let since = |major, minor, patch| version.is_some_and(|v| v >= Version(major, minor, patch));
        let (partition, region, account) = (self.partition(), self.region_name(), self.account_id());
        let cluster = self.name();
        let tag = "elbv2.k8s.aws/cluster";
        let base = || Context::default().with("aws:RequestedRegion", &region).with("aws:SecureTransport", "true");
        let created = || {
            base()
                .with(&format!("aws:RequestTag/{tag}"), &cluster)
                .with("aws:TagKeys", tag)
                .without(&format!("aws:ResourceTag/{tag}"))
        };
        let owned =
            || base().with(&format!("aws:ResourceTag/{tag}"), &cluster).without(&format!("aws:RequestTag/{tag}"));
        let on_create = |service: &str, of: &str| created().with(&format!("{service}:CreateAction"), of);
        let elb = |what: &str| format!("arn:{partition}:elasticloadbalancing:{region}:{account}:{what}");
        let group = format!("arn:{partition}:ec2:{region}:{account}:security-group/sg-00000000000000000");
        let mut calls = Vec::new();
        let mut add = |action: &'static str, resource: String, context: Context, when: &'static str| {
            calls.push(Call { action, resource, context, when });
        };
        let mut reads = vec![
            "ec2:DescribeSubnets",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeInstances",
            "ec2:DescribeNetworkInterfaces",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:DescribeTags",
        ];
        if since(2, 2, 0) {
            reads.push("ec2:DescribeAvailabilityZones");
        }
        if since(2, 9, 0) {
            reads.push("elasticloadbalancing:DescribeListenerAttributes");
        }
        if self.falls_back(controller) {
            reads.push("ec2:DescribeRouteTables");
        }
        for action in reads {
            add(action, "*".to_owned(), base(), "it reads what is there before it deploys");
        }
        let (lb, tg) = (elb("loadbalancer/app/k8s-a/0"), elb("targetgroup/k8s-a/0"));
        add(
            "elasticloadbalancing:CreateTargetGroup",
            tg.clone(),
            created(),
            "it makes a target group with its cluster tag",
        );
        add(
            "elasticloadbalancing:CreateLoadBalancer",
            lb.clone(),
            created(),
            "it makes a load balancer with its cluster tag",
        );
        add(
            "elasticloadbalancing:AddTags",
            tg.clone(),
            on_create("elasticloadbalancing", "CreateTargetGroup"),
            "it tags a target group while it makes it (elasticloadbalancing:CreateAction)",
        );
        add(
            "elasticloadbalancing:AddTags",
            lb.clone(),
            on_create("elasticloadbalancing", "CreateLoadBalancer"),
            "it tags a load balancer while it makes it (elasticloadbalancing:CreateAction)",
        );
        add("elasticloadbalancing:CreateListener", lb.clone(), created(), "it makes the listeners");
        add(
            "elasticloadbalancing:CreateRule",
            elb("listener/app/k8s-a/0/0"),
            created(),
            "it makes a rule for each path of an Ingress",
        );
        add("elasticloadbalancing:RegisterTargets", tg.clone(), owned(), "it registers the pods or nodes");
        add("elasticloadbalancing:ModifyLoadBalancerAttributes", lb, owned(), "it sets the load balancer's attributes");
        add("elasticloadbalancing:ModifyTargetGroupAttributes", tg, owned(), "it sets the target group's attributes");
        add("ec2:CreateSecurityGroup", group.clone(), created(), "it makes the load balancer's security group");
        add(
            "ec2:CreateTags",
            group.clone(),
            on_create("ec2", "CreateSecurityGroup"),
            "it tags the load balancer's security group while it makes it (ec2:CreateAction)",
        );
        add(
            "ec2:AuthorizeSecurityGroupIngress",
            group,
            owned(),
            "it opens the security groups of load balancer and targets",
        );
        calls
    }
}

/// One call of the controller.
struct Call {
    action: &'static str,
    resource: String,
    context: Context,
    when: &'static str,
}
