//! Which ingresses and services ask for a load balancer, of whom, and whether they have it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::controller::LoadBalancerController;
use crate::shape::ec2::Subnet;
use crate::shape::elb::LoadBalancer;
use crate::shape::k8s::{Event, Ingress, IngressClass, IngressClassParams, LoadBalancerIngress, ObjectMeta, Service};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Rec, Tables};

derived! {
    /// A load balancer that an ingress (or a group of them) or a service asks for.
    LoadBalancerPlan {
        /// `namespace/name` of the ingress or service, or the name of the ingress group.
        name: Str,
        /// `Ingress`, `IngressGroup` or `Service`.
        kind: Str,
        /// `application`, `network` or `classic`.
        balancer: Str,
        /// Who makes it: `controller` (AWS Load Balancer Controller), `auto` (EKS Auto Mode) or `in-tree`.
        maker: Str,
        /// `internet-facing` or `internal`.
        scheme: Str,
        /// It waits for its load balancer, or its last reconciliation failed.
        wanting: bool,
        /// It has a load balancer.
        deployed: bool,
        /// Its load balancer is there with the scheme that is asked for: nobody chooses subnets again.
        settled: bool,
        /// Its load balancers, found by the name in its status.
        balancers: Vec<Link<LoadBalancer>>,
        /// Whether an annotation or its class says the scheme; else it is the default.
        schemeSaid: bool,
        /// What the members of its group disagree about: `scheme`, `subnets`, `ip-address-type`, `load-balancer-name`.
        conflict: Str,
        /// What each of them says about it.
        opinions: Str,
        /// Asked for with IPv6.
        dualstack: bool,
        ingresses: Vec<Link<Ingress>>,
        services: Vec<Link<Service>>,
        /// Subnets that it names (ids or names).
        named: Vec<Str>,
        /// The tag that subnets for its scheme carry.
        roleTag: Str,
        /// What is wrong with its subnets; `unknown` with its reason, or empty.
        fault: Str,
        reason: Str,
        /// Subnets that carry the role tag (or are named).
        considered: Vec<Link<Subnet>>,
        /// Of these, with fewer than 8 free addresses.
        full: Vec<Link<Subnet>>,
        /// Of these, tagged for other clusters only.
        foreign: Vec<Link<Subnet>>,
        /// Of these, without an IPv6 range.
        noIpv6: Vec<Link<Subnet>>,
        /// One for each zone.
        chosen: Vec<Link<Subnet>>,
        /// Of the chosen, in a zone of another kind than most.
        odd: Vec<Link<Subnet>>,
        /// The zones of the chosen ones.
        zones: Vec<Str>,
        /// Subnets of the VPC of the kind that the scheme needs, by their route table.
        suitable: Vec<Link<Subnet>>,
        /// Subnets whose role tag has another value, case or spaces.
        misspelt: Vec<Link<Subnet>>,
        /// Of the chosen, those without a route to an internet gateway though it faces the internet.
        closed: Vec<Link<Subnet>>,
        /// Names that it gives and no subnet has.
        lost: Vec<Str>,
        /// Names that it gives and more subnets have than were asked for.
        shared: Vec<Str>,
        /// Every subnet that could have been taken, and why it was or was not.
        replay: Str,
    }
}

static NOTHING: Str = Str::const_new("");
const ALB: &str = "alb.ingress.kubernetes.io/";
const NLB: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// Who handles an ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Controller,
    Auto,
    /// Another controller, or nobody that we know.
    Other,
}

pub(super) fn alb<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.get(format!("{ALB}{key}").as_str()).map(|v| v.trim())
}

pub(super) fn nlb<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.get(format!("{NLB}{key}").as_str()).map(|v| v.trim())
}

pub(super) fn words(list: &str) -> Vec<Str> {
    list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(Str::new).collect()
}

/// Whether an ingress has annotations of the AWS Load Balancer Controller.
pub fn speaks_alb(meta: &ObjectMeta) -> bool {
    meta.annotations.keys().any(|k| k.starts_with(ALB))
}

/// When an event was seen last.
pub(super) fn when(event: &Event) -> &str {
    let series = &event.series.lastObservedTime;
    let times =
        [&event.lastTimestamp, series, &event.eventTime, &event.firstTimestamp, &event.metadata.creationTimestamp];
    times.into_iter().find(|t| !t.is_empty()).map_or("", |t| t.as_str())
}

/// How a reconciliation ended that an event tells of: well or not. `None` for events about something else, such as
/// endpoints or another controller's `Sync`.
pub(super) fn outcome(event: &Event) -> Option<bool> {
    match event.reason.as_str() {
        "SuccessfullyReconciled" | "EnsuredLoadBalancer" | "UpdatedLoadBalancer" => Some(true),
        "FailedBuildModel"
        | "FailedDeployModel"
        | "FailedLoadGroupID"
        | "FailedAddFinalizer"
        | "FailedUpdateStatus"
        | "FailedNetworkReconcile"
        | "FailedReconcile"
        | "BackendNotFound"
        | "ConflictingIngressClass"
        | "SyncLoadBalancerFailed"
        | "CreatingLoadBalancerFailed"
        | "UpdateLoadBalancerFailed" => Some(false),
        _ => None,
    }
}

/// Something that asks for a load balancer.
pub(super) struct Ask<'a> {
    pub plan: LoadBalancerPlan,
    pub controller: Option<Arc<LoadBalancerController>>,
    pub params: Option<&'a IngressClassParams>,
}

impl Cluster {
    /// The class of an ingress and who handles it. The annotation goes before the field
    /// (aws-load-balancer-controller `pkg/ingress/group_loader.go`).
    pub fn owner_of(&self, ingress: &Ingress) -> (Owner, Option<Rec<'_, IngressClass>>) {
        if let Some(annotated) = ingress.metadata.annotations.get("kubernetes.io/ingress.class") {
            let ours = match self.controllers() {
                Ok([]) | Err(_) => annotated == "alb",
                Ok(all) => all.iter().any(|c| c.ingressClass == *annotated),
            };
            return (if ours { Owner::Controller } else { Owner::Other }, None);
        }
        let name = &ingress.spec.ingressClassName;
        if name.is_empty() {
            let all = self.controllers().is_ok_and(|all| all.iter().any(|c| c.ingressClass.is_empty()));
            return (if all { Owner::Controller } else { Owner::Other }, None);
        }
        let class = self.snapshot.tables.ingress_classes.get(name);
        let owner = match class.map(|c| c.value.spec.controller.as_str()) {
            Some("ingress.k8s.aws/alb") => Owner::Controller,
            Some("eks.amazonaws.com/alb") => Owner::Auto,
            _ => Owner::Other,
        };
        (owner, class)
    }

    /// The controller that watches a namespace.
    pub(super) fn controller_of(&self, namespace: &str) -> Option<Arc<LoadBalancerController>> {
        let all = self.controllers().ok()?;
        let watches = |c: &&Arc<LoadBalancerController>| c.watchNamespace.is_empty() || c.watchNamespace == namespace;
        all.iter().find(watches).or(all.first()).cloned()
    }

    pub(super) fn params_of(&self, class: Option<Rec<'_, IngressClass>>) -> Option<&IngressClassParams> {
        let parameters = class?.value.spec.parameters.as_ref()?;
        if parameters.kind != "IngressClassParams" {
            return None;
        }
        self.snapshot.tables.ingress_class_params.get(&parameters.name).map(|p| p.value)
    }

    /// Who handles a service of type LoadBalancer: `controller`, `auto`, `in-tree`, or somebody else.
    pub fn maker_of(&self, service: &Service) -> Option<&'static str> {
        if service.spec.r#type != "LoadBalancer" {
            return None;
        }
        let class = &service.spec.loadBalancerClass;
        if !class.is_empty() {
            let named = self.controllers().is_ok_and(|all| all.iter().any(|c| c.loadBalancerClass == *class));
            return match class.as_str() {
                "eks.amazonaws.com/nlb" => Some("auto"),
                "service.k8s.aws/nlb" => Some("controller"),
                _ if named => Some("controller"),
                _ => None,
            };
        }
        match nlb(&service.metadata, "type") {
            Some("external" | "nlb-ip") => Some("controller"),
            _ if self.auto_mode() => None,
            _ => Some("in-tree"),
        }
    }

    /// Whether any ingress or service of the AWS Load Balancer Controller waits or fails, in this namespace (empty: all).
    pub(super) fn wants_load_balancer(&self, namespace: &str) -> bool {
        let tables = &self.snapshot.tables;
        let here = |meta: &ObjectMeta| {
            meta.deletionTimestamp.is_empty() && (namespace.is_empty() || meta.namespace == namespace)
        };
        tables.ingresses.iter().filter(|i| here(&i.value.metadata)).any(|i| {
            let class = i.spec.ingressClassName.as_str();
            let ours = match i.metadata.annotations.get("kubernetes.io/ingress.class") {
                Some(annotated) => annotated == "alb",
                None => tables.ingress_classes.get(class).is_some_and(|c| c.spec.controller == "ingress.k8s.aws/alb"),
            };
            ours && (i.status.loadBalancer.ingress.is_empty() || self.fails("Ingress", &i.metadata))
        }) || tables.services.iter().filter(|s| here(&s.value.metadata)).any(|s| {
            let ours = s.spec.r#type == "LoadBalancer"
                && (s.spec.loadBalancerClass == "service.k8s.aws/nlb"
                    || (s.spec.loadBalancerClass.is_empty()
                        && matches!(nlb(&s.value.metadata, "type"), Some("external" | "nlb-ip"))));
            ours && (s.status.loadBalancer.ingress.is_empty() || self.fails("Service", &s.metadata))
        }) || tables
            .target_group_bindings
            .iter()
            .any(|b| here(&b.value.metadata) && self.fails("TargetGroupBinding", &b.value.metadata))
    }

    /// Whether the last word about an object is a failure to reconcile it.
    pub fn fails(&self, kind: &str, meta: &ObjectMeta) -> bool {
        self.last_event(kind, meta).is_some_and(|e| outcome(e.value) == Some(false))
    }

    /// The last event about the reconciliation of an object: how it ended. What is older than the object was about one of
    /// the same name before it; of two in the same second the good one counts.
    pub fn last_event(&self, kind: &str, meta: &ObjectMeta) -> Option<Rec<'_, Event>> {
        let index = self.cache.events.get_or_init(|| {
            let mut index: BTreeMap<(Str, Str, Str), Vec<u32>> = BTreeMap::new();
            let events = &self.snapshot.tables.events;
            for event in events.iter() {
                let object = &event.value.involvedObject;
                let of_load_balancers = matches!(object.kind.as_str(), "Ingress" | "Service" | "TargetGroupBinding");
                if of_load_balancers && outcome(event.value).is_some() {
                    let key = (object.kind.clone(), object.namespace.clone(), object.name.clone());
                    index.entry(key).or_default().push(event.row.index);
                }
            }
            index
        });
        let own = |event: &Rec<'_, Event>| {
            let seen = when(event.value);
            seen.is_empty() || seen >= meta.creationTimestamp.as_str()
        };
        let key = (Str::new(kind), meta.namespace.clone(), meta.name.clone());
        let all = index.get(&key)?.iter().map(|&i| self.snapshot.tables.events.at(i));
        all.filter(own).max_by_key(|e| (when(e.value), outcome(e.value)))
    }

    /// Everything that asks for a load balancer, with its subnets chosen.
    pub fn plans(&self) -> Known<&[Arc<LoadBalancerPlan>]> {
        self.snapshot.whole::<Service>()?;
        Ok(self
            .cache
            .plans
            .get_or_init(|| self.asks().into_iter().map(|ask| Arc::new(self.choose_subnets(ask))).collect()))
    }

    fn asks(&self) -> Vec<Ask<'_>> {
        let tables = &self.snapshot.tables;
        let mut by_name: HashMap<&str, Row> = HashMap::new();
        for balancer in tables.load_balancers.iter() {
            by_name.insert(balancer.value.DNSName.as_str(), balancer.row);
        }
        let mut groups: BTreeMap<(bool, Str), Vec<(Rec<'_, Ingress>, Owner, Option<&IngressClassParams>)>> =
            BTreeMap::new();
        for ingress in tables.ingresses.iter().filter(|i| i.metadata.deletionTimestamp.is_empty()) {
            let (owner, class) = self.owner_of(ingress.value);
            if owner == Owner::Other {
                continue;
            }
            let params = self.params_of(class);
            let group = params
                .and_then(|p| p.spec.group.as_ref())
                .map(|g| g.name.as_str())
                .or_else(|| alb(&ingress.value.metadata, "group.name"))
                .filter(|g| !g.is_empty());
            let key = match group {
                Some(group) => (true, Str::new(group)),
                None => {
                    (false, compact_str::format_compact!("{}/{}", ingress.metadata.namespace, ingress.metadata.name))
                }
            };
            groups.entry(key).or_default().push((ingress, owner, params));
        }
        let mut asks = Vec::new();
        for ((grouped, name), members) in groups {
            let auto = members.iter().any(|(_, owner, _)| *owner == Owner::Auto);
            let namespace = members.first().map(|(i, _, _)| i.value.metadata.namespace.clone()).unwrap_or_default();
            let controller = self.controller_of(&namespace);
            let params = members.iter().find_map(|(_, _, p)| *p);
            let said = |from_params: fn(&IngressClassParams) -> &Str, key: &str| -> Vec<(Rec<'_, Ingress>, Str)> {
                let of = |(ingress, _, params): &(Rec<'_, Ingress>, Owner, Option<&IngressClassParams>)| {
                    params
                        .map(|p| from_params(p).as_str())
                        .filter(|s| !s.is_empty())
                        .or_else(|| alb(&ingress.value.metadata, key))
                        .map(Str::new)
                };
                members.iter().filter_map(|m| Some((m.0, of(m)?))).collect()
            };
            let nothing: fn(&IngressClassParams) -> &Str = |_| &NOTHING;
            let schemes = said(|p| &p.spec.scheme, "scheme");
            let types = said(|p| &p.spec.ipAddressType, "ip-address-type");
            let subnets = said(nothing, "subnets");
            let names = said(|p| &p.spec.loadBalancerName, "load-balancer-name");
            let scheme = schemes
                .first()
                .map(|(_, s)| s.clone())
                .or_else(|| controller.as_ref().filter(|_| !auto).map(|c| c.scheme.clone()))
                .unwrap_or_else(|| Str::const_new("internal"));
            let deployed = members.iter().all(|(i, _, _)| !i.status.loadBalancer.ingress.is_empty());
            let failing = members.iter().any(|(i, _, _)| self.fails("Ingress", &i.metadata));
            let mut plan = blank(name, if grouped { "IngressGroup" } else { "Ingress" }, "application", scheme);
            plan.maker = Str::const_new(if auto { "auto" } else { "controller" });
            plan.wanting = !deployed || failing;
            plan.deployed = deployed;
            plan.schemeSaid = !schemes.is_empty();
            plan.dualstack = types.first().is_some_and(|(_, t)| t.starts_with("dualstack"));
            plan.named = subnets.first().map(|(_, s)| words(s)).unwrap_or_default();
            for (key, opinions) in [
                ("scheme", &schemes),
                ("ip-address-type", &types),
                ("subnets", &subnets),
                ("load-balancer-name", &names),
            ] {
                // The order of subnets does not matter.
                let sorted = |value: &Str| {
                    let mut all = words(value);
                    all.sort();
                    all
                };
                let first = opinions.first().map(|(_, value)| sorted(value));
                if plan.conflict.is_empty() && opinions.iter().any(|(_, v)| Some(sorted(v)) != first) {
                    let each = opinions.iter().map(|(i, value)| {
                        format!("{}/{} says {value}", i.value.metadata.namespace, i.value.metadata.name)
                    });
                    plan.opinions = each.collect::<Vec<_>>().join(", ").into();
                    plan.conflict = Str::const_new(key);
                }
            }
            let hostnames = members.iter().flat_map(|(i, _, _)| i.value.status.loadBalancer.ingress.iter());
            settle(&mut plan, tables, &by_name, hostnames);
            plan.ingresses = members.iter().map(|(i, _, _)| Link::new(i.row)).collect();
            asks.push(Ask { plan, controller, params });
        }
        for service in tables.services.iter().filter(|s| s.metadata.deletionTimestamp.is_empty()) {
            let Some(maker) = self.maker_of(service.value) else { continue };
            let meta = &service.value.metadata;
            let controller = self.controller_of(&meta.namespace);
            let inner = nlb(meta, "internal");
            let scheme = match (maker, nlb(meta, "scheme")) {
                ("in-tree", _) => match inner {
                    None | Some("" | "false") => "internet-facing",
                    Some(_) => "internal",
                },
                (_, Some(scheme)) if !scheme.is_empty() => scheme,
                _ => match inner {
                    Some("false") => "internet-facing",
                    Some(_) => "internal",
                    None => {
                        controller.as_ref().filter(|_| maker == "controller").map_or("internal", |c| c.scheme.as_str())
                    }
                },
            };
            let balancer = if maker != "in-tree" || nlb(meta, "type") == Some("nlb") { "network" } else { "classic" };
            let name = compact_str::format_compact!("{}/{}", meta.namespace, meta.name);
            let deployed = !service.status.loadBalancer.ingress.is_empty();
            let mut plan = blank(name, "Service", balancer, Str::new(scheme));
            plan.maker = Str::const_new(maker);
            plan.wanting = !deployed || self.fails("Service", meta);
            plan.deployed = deployed;
            plan.schemeSaid = inner.is_some() || nlb(meta, "scheme").is_some();
            plan.dualstack = nlb(meta, "ip-address-type").is_some_and(|t| t.starts_with("dualstack"));
            plan.named = nlb(meta, "subnets").map(words).unwrap_or_default();
            plan.services = vec![Link::new(service.row)];
            settle(&mut plan, tables, &by_name, service.value.status.loadBalancer.ingress.iter());
            asks.push(Ask { plan, controller, params: None });
        }
        asks
    }
}

/// Finds the load balancers of a plan by the names in its status, and whether they are what is asked for.
fn settle<'a>(
    plan: &mut LoadBalancerPlan,
    tables: &Tables,
    by_name: &HashMap<&str, Row>,
    hostnames: impl Iterator<Item = &'a LoadBalancerIngress>,
) {
    let mut there = false;
    for name in hostnames.map(|i| i.hostname.as_str()).filter(|h| !h.is_empty()) {
        there = true;
        if let Some(&row) = by_name.get(name.strip_prefix("dualstack.").unwrap_or(name)) {
            let link = Link::new(row);
            if !plan.balancers.contains(&link) {
                plan.balancers.push(link);
            }
        }
    }
    let fits = |l: &Link<LoadBalancer>| tables.load_balancers.at(l.row.index).value.Scheme == plan.scheme;
    plan.settled = there && plan.balancers.iter().all(fits);
}

fn blank(name: Str, kind: &'static str, balancer: &'static str, scheme: Str) -> LoadBalancerPlan {
    LoadBalancerPlan {
        name,
        kind: Str::const_new(kind),
        balancer: Str::const_new(balancer),
        maker: Str::default(),
        roleTag: Str::const_new(if scheme == "internal" {
            "kubernetes.io/role/internal-elb"
        } else {
            "kubernetes.io/role/elb"
        }),
        scheme,
        wanting: false,
        deployed: false,
        settled: false,
        balancers: Vec::new(),
        schemeSaid: false,
        conflict: Str::default(),
        opinions: Str::default(),
        dualstack: false,
        ingresses: Vec::new(),
        services: Vec::new(),
        named: Vec::new(),
        fault: Str::default(),
        reason: Str::default(),
        considered: Vec::new(),
        full: Vec::new(),
        foreign: Vec::new(),
        noIpv6: Vec::new(),
        chosen: Vec::new(),
        odd: Vec::new(),
        zones: Vec::new(),
        suitable: Vec::new(),
        misspelt: Vec::new(),
        closed: Vec::new(),
        lost: Vec::new(),
        shared: Vec::new(),
        replay: Str::default(),
    }
}
