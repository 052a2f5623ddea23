//! Functions for the rules of load-balancer-not-deployed.

use std::sync::Arc;

use super::{Function, Subject, Ty, method, text};
use crate::cluster::controller::{LoadBalancerController, PermissionGap};
use crate::cluster::identity::{Identity, Trust};
use crate::cluster::ingress::{Backend, LoadBalancerPlan, Owner, speaks_alb};
use crate::shape::ec2::Subnet;
use crate::shape::k8s::{Event, Ingress, IngressClass};
use crate::shape::{Described, Shape};
use crate::snapshot::Missing;

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
    // Described so that rules can name their fields.
    let _ = (Identity::described, Trust::described, PermissionGap::described);
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
            |c, this, _| {
                let tables = &c.snapshot.tables;
                let ingresses = this
                    .ingresses
                    .iter()
                    .filter_map(|i| c.last_event("Ingress", &tables.ingresses.at(i.row.index).value.metadata));
                let services = this
                    .services
                    .iter()
                    .filter_map(|s| c.last_event("Service", &tables.services.at(s.row.index).value.metadata));
                Ok(ingresses.chain(services).collect::<Vec<_>>().into())
            },
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
            Ty::Object("Identity"),
            &["k8s:serviceaccounts", "eks:ListPodIdentityAssociations"],
            "The credentials that its service account gives it.",
            |c, this, _| Ok(Arc::new(c.controller_identity(this.value)?).into()),
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
                let classes = c.snapshot.table::<IngressClass>()?;
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
                let classes = c.snapshot.table::<IngressClass>()?;
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
                let classes = c.snapshot.table::<IngressClass>()?;
                Ok(classes
                    .iter()
                    .filter(|k| {
                        matches!(k.value.spec.controller.as_str(), "ingress.k8s.aws/alb" | "eks.amazonaws.com/alb")
                    })
                    .collect::<Vec<_>>()
                    .into())
            },
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
            schema: Backend::described,
            reads: &["k8s:ingresses.networking.k8s.io", "k8s:services"],
            list: |c| Ok(c.backends()?.into_iter().map(|b| b as Arc<dyn Shape>).collect()),
        },
        Subject {
            schema: LoadBalancerController::described,
            reads: &["k8s:deployments.apps"],
            list: |c| Ok(c.controllers()?.iter().map(|p| p.clone() as Arc<dyn Shape>).collect()),
        },
    ]
}
