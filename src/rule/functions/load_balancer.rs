//! Functions for the rules of load-balancer-not-deployed.

use std::sync::Arc;

use super::{Function, Subject, Ty, method, text};
use crate::cluster::Cluster;
use crate::cluster::annotation::RefusedAnnotation;
use crate::cluster::backend::Backend;
use crate::cluster::controller::{LoadBalancerController, PermissionGap};
use crate::cluster::controller_calls::Unreachable;
use crate::cluster::identity::{Credentials, Trust};
use crate::cluster::ingress::{LoadBalancerPlan, Owner, speaks_alb};
use crate::cluster::listener::{ShutLoadBalancer, ShutSubnet};
use crate::cluster::plan_checks::DeadWebhook;
use crate::cluster::stuck_deletion::StuckDeletion;
use crate::cluster::target_group::{BindingGap, BoundTargetGroup, ClientGap};
use crate::cluster::targets::{LoadBalancerPath, TargetGroups};
use crate::shape::ec2::{SecurityGroup, Subnet};
use crate::shape::eks;
use crate::shape::k8s::{Event, Ingress, IngressClass, Namespace, ServiceAccount, TargetGroupBinding};
use crate::shape::{Described, Shape};
use crate::snapshot::{Known, Missing};

const STR: Ty = Ty::Str;
const BOOL: Ty = Ty::Bool;
const IAM: &[&str] = &[
    "iam:GetRole",
    "iam:ListAttachedRolePolicies",
    "iam:ListRolePolicies",
    "iam:GetRolePolicy",
    "iam:GetPolicyVersion",
];

pub(super) fn functions() -> Vec<Function> {
    vec![
        method::<LoadBalancerPlan>(
            "broken",
            &[("fault", STR)],
            BOOL,
            &[
                "ec2:DescribeSubnets",
                "ec2:DescribeRouteTables",
                "ec2:DescribeAvailabilityZones",
                "k8s:deployments.apps",
            ],
            "Whether the choice of its subnets ends in this fault.",
            |_, this, a| {
                if this.fault == "unknown" {
                    return Err(Missing { read: "subnets".to_owned(), reason: this.reason.to_string() });
                }
                Ok((this.fault == text(a, 0)).into())
            },
        ),
        method::<LoadBalancerPlan>(
            "events",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events"],
            "The last event of each of its objects.",
            |c, this, _| Ok(c.plan_events(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "says",
            &[("text", STR)],
            BOOL,
            &["k8s:events"],
            "Whether the last event of one of its objects says this.",
            |c, this, a| {
                let wanted = text(a, 0);
                Ok(c.plan_events(this.value).iter().any(|e| e.value.message.contains(wanted.as_str())).into())
            },
        ),
        method::<LoadBalancerPlan>(
            "refused",
            &[],
            BOOL,
            &["k8s:events"],
            "Whether the last event of one of its objects tells of something that stays until somebody changes it.",
            |c, this, _| Ok(c.refused(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "unwatched",
            &[],
            BOOL,
            &["k8s:deployments.apps"],
            "Whether every load balancer controller is told to watch another namespace than its own.",
            |c, this, _| Ok(c.unwatched(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "roleGone",
            &[],
            BOOL,
            &["iam:GetRole", "k8s:serviceaccounts"],
            "Whether IAM answered that the role of its service account does not exist.",
            |c, this, _| Ok(c.controller_role_gone(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "webhookComplaints",
            &[("text", STR)],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events"],
            "Last events of what waits for it that tell of a call of its webhook that failed, and say this.",
            |c, _, a| Ok(c.webhook_complaints(&text(a, 0))?.into()),
        ),
        method::<LoadBalancerController>(
            "hindrance",
            &[],
            STR,
            &["k8s:pods"],
            "What keeps its pods from starting, in the words of the scheduler or kubelet; empty when nobody says.",
            |c, this, _| Ok(c.controller_hindrance(this.value).into()),
        ),
        method::<LoadBalancerController>(
            "addonsOutOfReach",
            &[],
            Ty::List(&STR),
            &["ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables", "k8s:pods"],
            "Of shield, waf and wafv2 those that it calls and cannot reach.",
            |c, this, _| Ok(c.addons_out_of_reach(this.value)?.into()),
        ),
        method::<Ingress>(
            "classOfNobody",
            &[],
            Ty::List(&Ty::Object("IngressClass")),
            &["k8s:ingressclasses.networking.k8s.io"],
            "Its class, when no controller that is known serves it though it has annotations of the AWS Load Balancer Controller; else empty.",
            |c, this, _| Ok(c.class_of_nobody(this.value)?.map(|k| k.row).into_iter().collect::<Vec<_>>().into()),
        ),
        method::<Ingress>(
            "annotatedForNobody",
            &[],
            BOOL,
            &["k8s:ingressclasses.networking.k8s.io", "k8s:deployments.apps"],
            "Whether its annotation kubernetes.io/ingress.class names a class of nobody.",
            |c, this, _| Ok(c.annotated_for_nobody(this.value)?.into()),
        ),
        method::<IngressClass>(
            "lacksParameters",
            &[],
            BOOL,
            &["k8s:ingressclassparams.elbv2.k8s.aws"],
            "Whether the IngressClassParams that it names are not there.",
            |c, this, _| Ok(c.lacks_parameters(this.value)?.into()),
        ),
        method::<IngressClass>(
            "waiting",
            &[],
            Ty::List(&Ty::Object("Ingress")),
            &["k8s:ingresses.networking.k8s.io"],
            "The ingresses of this class that have no load balancer.",
            |c, this, _| Ok(c.waiting_of_class(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "blamed",
            &[],
            Ty::List(&Ty::Object("Ingress")),
            &["k8s:events"],
            "The ingresses that the controller blames for its failure.",
            |c, this, _| Ok(c.blamed(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "makerRole",
            &[],
            Ty::Object("Role"),
            &["iam:GetRole"],
            "The role of the controller that makes it.",
            |c, this, _| Ok(c.maker_role(this.value)?.into()),
        ),
        method::<LoadBalancerPlan>(
            "hasMaker",
            &[],
            BOOL,
            &["k8s:deployments.apps", "eks:DescribeCluster"],
            "Whether the controller that it asks is deployed, or EKS Auto Mode is on.",
            |c, this, _| {
                Ok(match this.maker.as_str() {
                    "controller" => !c.controllers()?.is_empty(),
                    "auto" => {
                        c.eks()?;
                        c.auto_mode()
                    }
                    _ => true,
                }
                .into())
            },
        ),
        method::<LoadBalancerPlan>(
            "addressKey",
            &[],
            STR,
            &[],
            "The annotation by which it names addresses; empty when it names none.",
            |c, this, _| Ok(c.named_addresses(this.value).map_or("", |(key, _)| key).into()),
        ),
        method::<LoadBalancerPlan>("addressCount", &[], Ty::Int, &[], "How many addresses it names.", |c, this, _| {
            Ok(c.named_addresses(this.value).map_or(0, |(_, list)| list.len()).into())
        }),
        method::<LoadBalancerController>(
            "unreachable",
            &[],
            Ty::List(&Ty::Object("Unreachable")),
            &["ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables", "k8s:pods"],
            "The AWS services that it calls from a subnet without a way out and without an endpoint.",
            |c, this, _| Ok(c.unreachable_services(this.value)?.into()),
        ),
        method::<LoadBalancerPlan>(
            "minutes",
            &[],
            Ty::Int,
            &[],
            "How many minutes the youngest of its objects was there when the snapshot was made.",
            |c, this, _| Ok(c.plan_minutes(this.value)?.into()),
        ),
        method::<LoadBalancerPlan>(
            "smallSubnets",
            &[],
            Ty::List(&Ty::Object("Subnet")),
            &[],
            "Of the subnets that it gets those smaller than a /27.",
            |c, this, _| Ok(c.small_subnets(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "goodSubnets",
            &[],
            Ty::List(&Ty::Object("Subnet")),
            &[],
            "Subnets that would do for it, one of each zone.",
            |c, this, _| Ok(c.good_subnets(this.value).into()),
        ),
        method::<Subnet>(
            "freeIpv6Block",
            &[],
            STR,
            &[],
            "A /64 of the VPC that it could be given; empty when the VPC has no IPv6 range left.",
            |c, this, _| Ok(c.free_ipv6_block(this.value).into()),
        ),
        method::<LoadBalancerPlan>(
            "usedUpQuota",
            &[],
            STR,
            &[],
            "The quota of load balancers that it finds used up, by the count of those that are there; else empty.",
            |c, this, _| Ok(c.used_up_quota(this.value)?.into()),
        ),
        method::<LoadBalancerPlan>(
            "certificatesKnown",
            &[],
            BOOL,
            &[],
            "True; unknown when the controller has to look certificates up in ACM and no event tells how that went.",
            |c, this, _| Ok(c.certificates_known(this.value)?.into()),
        ),
        method::<LoadBalancerPlan>(
            "backendGroupOff",
            &[],
            BOOL,
            &["k8s:deployments.apps"],
            "Whether it wants targets opened for its own security groups and the controller is told not to make the shared one.",
            |c, this, _| Ok(c.backend_group_off(this.value).into()),
        ),
        method::<Namespace>(
            "readinessGatesUseless",
            &[],
            BOOL,
            &["k8s:targetgroupbindings.elbv2.k8s.aws"],
            "Whether it asks for readiness gates although all of its target groups hold instances.",
            |c, this, _| Ok(c.readiness_gates_useless(this.value)?.into()),
        ),
        method::<eks::Cluster>(
            "groupsAutoModeMayNotOpen",
            &[],
            Ty::List(&Ty::Object("SecurityGroup")),
            &["k8s:nodeclasses.eks.amazonaws.com", "iam:GetRole", "iam:GetPolicyVersion"],
            "Security groups of EKS Auto Mode's node classes that the cluster's role may not open for load balancers.",
            |c, _, _| Ok(c.groups_auto_mode_may_not_open()?.into()),
        ),
        method::<BoundTargetGroup>(
            "unservedHealthPort",
            &[],
            STR,
            &["k8s:pods"],
            "The port of the health check, when all targets fail it and nothing of the service serves it; else empty.",
            |c, this, _| Ok(c.health_port_unserved(this.value)?.into()),
        ),
        method::<BoundTargetGroup>(
            "judged",
            &[],
            BOOL,
            &["elasticloadbalancing:DescribeTargetHealth"],
            "Whether the health of its targets was recorded; unknown when it was not.",
            |c, this, _| match this.health {
                Some(_) => Ok(true.into()),
                None => Err(c.health_missing(&this.name)),
            },
        ),
        method::<Ingress>(
            "lacksCertificate",
            &[],
            BOOL,
            &[],
            "Whether it has an HTTPS listener and names no certificate.",
            |c, this, _| Ok(c.lacks_certificate(this.value).into()),
        ),
        method::<SecurityGroup>(
            "inboundRules",
            &[],
            Ty::Int,
            &[],
            "How many inbound rules it holds, as the quota counts them.",
            |c, this, _| Ok(c.inbound_rules(this.value).into()),
        ),
        method::<SecurityGroup>(
            "carriedByNodes",
            &[],
            BOOL,
            &["ec2:DescribeInstances"],
            "Whether nodes carry it.",
            |c, this, _| Ok(this.rec().is_some_and(|r| c.guards_nodes(r.row)).into()),
        ),
        method::<SecurityGroup>(
            "refused",
            &[],
            Ty::List(&Ty::Object("Service")),
            &["k8s:events", "k8s:services"],
            "The services and ingresses that wait because a security group holds no more rules.",
            |c, _, _| Ok(c.plans_without_room_for_rules()?.into()),
        ),
        method::<Subnet>(
            "isPublic",
            &[],
            BOOL,
            &["ec2:DescribeRouteTables"],
            "Whether any route of its route table leads to an internet gateway.",
            |c, this, _| Ok(c.routes_to_igw(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "identity",
            &[],
            Ty::Object("Credentials"),
            &["k8s:serviceaccounts", "eks:ListPodIdentityAssociations"],
            "The credentials that its service account gives it.",
            |c, this, _| Ok(Arc::new(c.controller_identity(this.value)?).into()),
        ),
        method::<eks::Cluster>(
            "loadBalancerControllers",
            &[],
            Ty::List(&Ty::Object("Deployment")),
            &["k8s:deployments.apps"],
            "The deployments of the AWS Load Balancer Controller.",
            |c, _, _| Ok(c.controllers()?.iter().map(|k| k.deployment.row).collect::<Vec<_>>().into()),
        ),
        method::<eks::Cluster>(
            "waitingApplicationPlans",
            &[],
            Ty::List(&Ty::Object("LoadBalancerPlan")),
            &["k8s:ingresses.networking.k8s.io", "k8s:events"],
            "The Application Load Balancers of the AWS Load Balancer Controller that are waited for.",
            |c, _, _| {
                let waits =
                    |p: &&Arc<LoadBalancerPlan>| p.wanting && p.balancer == "application" && p.maker == "controller";
                Ok(c.plans()?.iter().filter(waits).cloned().collect::<Vec<_>>().into())
            },
        ),
        method::<eks::Cluster>(
            "loadBalancersWaited",
            &[],
            BOOL,
            &["k8s:services"],
            "Whether a load balancer of the AWS Load Balancer Controller is waited for, or its last reconciliation failed.",
            |c, _, _| Ok(c.plans()?.iter().any(|p| p.wanting && p.maker == "controller").into()),
        ),
        method::<TargetGroupBinding>(
            "failure",
            &[],
            Ty::List(&Ty::Object("Event")),
            &["k8s:events"],
            "Its last event, when it tells of a failure; else empty.",
            |c, this, _| {
                let last = c.last_event("TargetGroupBinding", &this.metadata);
                Ok(last
                    .filter(|_| c.fails("TargetGroupBinding", &this.metadata))
                    .map(|e| e.row)
                    .into_iter()
                    .collect::<Vec<_>>()
                    .into())
            },
        ),
        method::<TargetGroupBinding>(
            "lacksPort",
            &[],
            BOOL,
            &["k8s:services"],
            "Whether its service is there and has no port of the name or number that it asks for.",
            |c, this, _| Ok(c.binding_lacks_port(this.value)?.into()),
        ),
        method::<TargetGroupBinding>(
            "lost",
            &[],
            BOOL,
            &["elasticloadbalancing:DescribeTargetGroups"],
            "Whether the target group that it names, of this account and Region, is not there.",
            |c, this, _| Ok(c.binding_lost(this.value)?.into()),
        ),
        method::<BoundTargetGroup>(
            "nodesExcluded",
            &[],
            Ty::List(&Ty::Object("Node")),
            &["k8s:nodes"],
            "All nodes, when the target group is of instances and every node is labelled to take no traffic of load balancers; else empty.",
            |c, this, _| Ok(c.nodes_excluded(this.value)?.into()),
        ),
        method::<eks::Cluster>(
            "watchedNamespaces",
            &[],
            Ty::List(&STR),
            &["k8s:deployments.apps"],
            "The namespaces that the load balancer controllers are told to watch.",
            |c, _, _| {
                let all = c.controllers()?.iter().map(|k| k.watchNamespace.clone()).filter(|n| !n.is_empty());
                Ok(all.collect::<Vec<_>>().into())
            },
        ),
        method::<eks::Cluster>(
            "namelessKubeProxy",
            &[],
            Ty::List(&Ty::Object("DaemonSet")),
            &["k8s:daemonsets.apps", "k8s:configmaps"],
            "The daemon set of a kube-proxy that takes its node's name from the host; empty when it is told the name.",
            |c, _, _| Ok(c.nameless_kube_proxy()?.map(|s| s.row).into_iter().collect::<Vec<_>>().into()),
        ),
        method::<LoadBalancerController>(
            "serviceAccountExists",
            &[],
            BOOL,
            &["k8s:serviceaccounts"],
            "Whether its service account is there.",
            |c, this, _| {
                let id = format!("{}/{}", this.namespace, this.serviceAccount);
                let there = c.snapshot.table::<ServiceAccount>()?.get(&id).is_some();
                if !there {
                    c.snapshot.whole::<ServiceAccount>()?;
                }
                Ok(there.into())
            },
        ),
        method::<LoadBalancerController>(
            "trust",
            &[],
            Ty::Object("Trust"),
            &["iam:GetRole", "iam:ListOpenIDConnectProviders", "k8s:serviceaccounts"],
            "Whether its service account may take its role.",
            |c, this, _| Ok(Arc::new(c.controller_trust(this.value)?).into()),
        ),
        method::<LoadBalancerController>(
            "role",
            &[],
            STR,
            &["k8s:serviceaccounts", "eks:ListPodIdentityAssociations"],
            "The ARN of the role under which it calls AWS.",
            |c, this, _| Ok(c.controller_role(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "reachesImds",
            &[],
            BOOL,
            &["ec2:DescribeInstances", "k8s:pods"],
            "Whether one of its pods can read instance metadata.",
            |c, this, _| Ok(c.controller_reaches_imds(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "instances",
            &[],
            Ty::List(&Ty::Object("Instance")),
            &["ec2:DescribeInstances", "k8s:pods"],
            "The instances that run its pods.",
            |c, this, _| {
                Ok(c.controller_workers(this.value)?
                    .iter()
                    .filter_map(|w| w.instance.map(|i| i.row))
                    .collect::<Vec<_>>()
                    .into())
            },
        ),
        method::<LoadBalancerController>(
            "permissionGaps",
            &[],
            Ty::List(&Ty::Object("PermissionGap")),
            IAM,
            "What it calls to deploy a load balancer and its role does not allow.",
            |c, this, _| Ok(c.permission_gaps(this.value)?.into()),
        ),
        method::<LoadBalancerController>(
            "sufferers",
            &[],
            Ty::List(&Ty::Object("Ingress")),
            &[],
            "The ingresses and services that wait for it.",
            |c, _, _| {
                let waiting = c.plans()?.iter().filter(|p| p.wanting && p.maker == "controller");
                let rows =
                    waiting.flat_map(|p| p.ingresses.iter().map(|i| i.row).chain(p.services.iter().map(|s| s.row)));
                Ok(rows.collect::<Vec<_>>().into())
            },
        ),
        method::<Ingress>(
            "unowned",
            &[],
            BOOL,
            &["k8s:ingressclasses.networking.k8s.io"],
            "Whether it has annotations of the AWS Load Balancer Controller but no class and no default class is there.",
            |c, this, _| {
                let classes = c.snapshot.whole::<IngressClass>()?;
                let none = this.spec.ingressClassName.is_empty()
                    && !this.metadata.annotations.contains_key("kubernetes.io/ingress.class");
                let default = classes.iter().any(|k| {
                    k.value
                        .metadata
                        .annotations
                        .get("ingressclass.kubernetes.io/is-default-class")
                        .is_some_and(|v| v == "true")
                });
                Ok((speaks_alb(&this.metadata) && none && !default && c.owner_of(this.value).0 == Owner::Other).into())
            },
        ),
        method::<Ingress>(
            "classMissing",
            &[],
            BOOL,
            &["k8s:ingressclasses.networking.k8s.io"],
            "Whether it names an IngressClass that does not exist.",
            |c, this, _| {
                let classes = c.snapshot.whole::<IngressClass>()?;
                let name = &this.spec.ingressClassName;
                Ok((!name.is_empty() && classes.get(name).is_none()).into())
            },
        ),
        method::<Ingress>(
            "speaksAlb",
            &[],
            BOOL,
            &[],
            "Whether it has annotations of the AWS Load Balancer Controller.",
            |_, this, _| Ok(speaks_alb(&this.metadata).into()),
        ),
        method::<Ingress>(
            "albClasses",
            &[],
            Ty::List(&Ty::Object("IngressClass")),
            &["k8s:ingressclasses.networking.k8s.io"],
            "The ingress classes that make Application Load Balancers.",
            |c, _, _| {
                let classes = c.snapshot.whole::<IngressClass>()?;
                Ok(classes
                    .iter()
                    .filter(|k| {
                        matches!(k.value.spec.controller.as_str(), "ingress.k8s.aws/alb" | "eks.amazonaws.com/alb")
                    })
                    .collect::<Vec<_>>()
                    .into())
            },
        ),
        method::<LoadBalancerPath>(
            "blockers",
            &[],
            Ty::List(&Ty::Object("SecurityGroup")),
            &[],
            "The objects that block it.",
            |_, this, _| Ok(this.reach.deciders().into()),
        ),
        method::<LoadBalancerPath>(
            "open",
            &[],
            BOOL,
            &["ec2:DescribeSecurityGroups", "ec2:DescribeNetworkAcls", "ec2:DescribeRouteTables"],
            "Whether packets and answers get through; unknown when something on the way is.",
            |c, this, _| {
                if !this.lacking.is_empty() {
                    return Err(Missing { read: this.lacking.to_string(), reason: this.reason.to_string() });
                }
                if this.reach.disposition == "unknown" {
                    let path = || Missing { read: "network path".to_owned(), reason: this.reach.notes.join("; ") };
                    return Err(this.reach.notes.iter().find_map(|n| c.unread_note(n)).unwrap_or_else(path));
                }
                Ok((this.reach.disposition == "reachable").into())
            },
        ),
        method::<LoadBalancerController>(
            "podIdentityAgentRuns",
            &[],
            BOOL,
            &["k8s:daemonsets.apps"],
            "Whether nodes run the agent that hands out Pod Identity credentials.",
            |c, _, _| Ok(c.pod_identity_agent_runs()?.into()),
        ),
        method::<Event>(
            "concerns",
            &[("kind", STR)],
            BOOL,
            &[],
            "Whether it is about an object of this kind.",
            |_, this, a| Ok((this.involvedObject.kind == text(a, 0)).into()),
        ),
    ]
}

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            schema: LoadBalancerPlan::described,
            reads: &["k8s:ingresses.networking.k8s.io", "k8s:services", "ec2:DescribeSubnets"],
            list: |c| Ok(c.plans()?.iter().map(|p| p.clone() as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: ShutSubnet::described,
            reads: &[
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeListeners",
                "ec2:DescribeNetworkAcls",
                "ec2:DescribeSubnets",
                "k8s:services",
            ],
            list: |c| Ok(c.shut_subnets()?.into_iter().map(|s| s as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: ShutLoadBalancer::described,
            reads: &[
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeListeners",
                "ec2:DescribeSecurityGroups",
                "k8s:services",
            ],
            list: |c| Ok(c.shut_load_balancers()?.into_iter().map(|b| b as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: RefusedAnnotation::described,
            reads: &[
                "k8s:ingresses.networking.k8s.io",
                "k8s:services",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeAddresses",
            ],
            list: |c| Ok(c.refused_annotations()?.into_iter().map(|a| a as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: StuckDeletion::described,
            reads: &["k8s:ingresses.networking.k8s.io", "k8s:services", "k8s:deployments.apps"],
            list: |c| Ok(c.stuck_deletions()?.into_iter().map(|s| Arc::new(s) as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: Backend::described,
            reads: &["k8s:ingresses.networking.k8s.io", "k8s:services"],
            list: |c| Ok(c.backends()?.iter().map(|b| b.clone() as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: LoadBalancerPath::described,
            reads: &[
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeNetworkAcls",
                "k8s:pods",
            ],
            list: |c| Ok(c.load_balancer_paths()?.into_iter().map(|p| p as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: BoundTargetGroup::described,
            reads: &["elasticloadbalancing:DescribeTargetGroups", "k8s:services"],
            list: |c| Ok(c.bound_target_groups()?.iter().map(|b| b.clone() as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: ClientGap::described,
            reads: &[
                "elasticloadbalancing:DescribeLoadBalancers",
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetHealth",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeNetworkInterfaces",
            ],
            list: |c| Ok(c.client_gaps()?.into_iter().map(|g| g as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: BindingGap::described,
            reads: &[
                "k8s:targetgroupbindings.elbv2.k8s.aws",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeNetworkInterfaces",
            ],
            list: |c| Ok(c.binding_gaps()?.into_iter().map(|g| g as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: DeadWebhook::described,
            reads: &[
                "k8s:mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:validatingwebhookconfigurations.admissionregistration.k8s.io",
                "k8s:services",
                "k8s:endpointslices.discovery.k8s.io",
            ],
            list: |c| Ok(c.dead_webhooks()?.into_iter().map(|w| w as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: TargetGroups::described,
            reads: &[
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "k8s:targetgroupbindings.elbv2.k8s.aws",
            ],
            list: |c| Ok(c.target_groups()?.into_iter().map(|p| p as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: LoadBalancerController::described,
            reads: &["k8s:deployments.apps"],
            list: |c| Ok(c.controllers()?.iter().map(|p| p.clone() as Arc<dyn Shape>).collect()),
        },
        // What functions give back has to be known as a shape, too: each of the controllers' own.
        Subject {
            schema: Credentials::described,
            reads: &["k8s:deployments.apps", "k8s:serviceaccounts"],
            list: |c| of_controllers(c, |c, one| Ok(vec![Arc::new(c.controller_identity(one)?) as Arc<dyn Shape>])),
        },
        Subject {
            schema: Trust::described,
            reads: &["k8s:deployments.apps", "iam:GetRole"],
            list: |c| of_controllers(c, |c, one| Ok(vec![Arc::new(c.controller_trust(one)?) as Arc<dyn Shape>])),
        },
        Subject {
            schema: PermissionGap::described,
            reads: IAM,
            list: |c| {
                of_controllers(c, |c, one| {
                    Ok(c.permission_gaps(one)?.into_iter().map(|g| g as Arc<dyn Shape>).collect())
                })
            },
        },
        Subject {
            schema: Unreachable::described,
            reads: &["ec2:DescribeVpcEndpoints", "ec2:DescribeRouteTables", "k8s:pods"],
            list: |c| {
                of_controllers(c, |c, one| {
                    Ok(c.unreachable_services(one)?.into_iter().map(|u| u as Arc<dyn Shape>).collect())
                })
            },
        },
    ]
}

type Shapes = Known<Vec<Arc<dyn Shape>>>;

fn of_controllers(c: &Arc<Cluster>, each: fn(&Cluster, &LoadBalancerController) -> Shapes) -> Shapes {
    let mut all = Vec::new();
    for controller in c.controllers()? {
        all.extend(each(c, controller)?);
    }
    Ok(all)
}
