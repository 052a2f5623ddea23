//! Annotations of ingresses and services that the load balancer controller refuses, so that it builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use super::ingress::{LoadBalancerPlan, alb, nlb, words};
use crate::shape::ec2::{Address, SecurityGroup, tag};
use crate::shape::k8s::{Ingress, IngressClassParamsSpec, ObjectMeta, Service};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// An annotation of an ingress or service that waits for its load balancer, and that the controller refuses.
    RefusedAnnotation {
        /// `Ingress` or `Service`.
        kind: Str,
        namespace: Str,
        name: Str,
        /// The annotation's key.
        annotation: Str,
        /// What is wrong with it.
        fault: Str,
        ingresses: Vec<Link<Ingress>>,
        services: Vec<Link<Service>>,
    }
}

const ALB: &str = "alb.ingress.kubernetes.io/";
const NLB: &str = "service.beta.kubernetes.io/aws-load-balancer-";

/// The longest name of a load balancer (`CreateLoadBalancer`).
const LONGEST_NAME: usize = 32;

/// What `listen-ports` says: pairs of protocol and port. `None` when it is not what the controller reads.
fn listen_ports(text: &str) -> Option<Vec<(String, i64)>> {
    let lists: Vec<BTreeMap<String, i64>> = serde_json::from_str(text).ok()?;
    let good =
        |(protocol, port): &(String, i64)| matches!(protocol.as_str(), "HTTP" | "HTTPS") && (1..=65535).contains(port);
    let all: Vec<(String, i64)> = lists.into_iter().flatten().collect();
    (!all.is_empty() && all.iter().all(good)).then_some(all)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The Region of an ACM certificate's ARN.
fn certificate_region(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':').skip(2);
    (parts.next() == Some("acm")).then(|| parts.next()).flatten()
}

impl IngressClassParamsSpec {
    fn names_certificates(&self) -> bool {
        !self.certificateArn.is_empty() || !self.certificateARNs.is_empty()
    }
}

struct Fault {
    annotation: String,
    text: String,
}

/// What is wrong with the annotations of one object, and what had to be read to say more.
#[derive(Default)]
struct Faults {
    found: Vec<Fault>,
    missing: Option<Missing>,
}

impl Faults {
    fn push(&mut self, fault: Fault) {
        self.found.push(fault);
    }
    fn extend(&mut self, fault: Option<Fault>) {
        self.found.extend(fault);
    }
    /// What only another answer of AWS decides.
    fn decide(&mut self, fault: Known<Option<Fault>>) {
        match fault {
            Ok(fault) => self.extend(fault),
            Err(missing) => drop(self.missing.get_or_insert(missing)),
        }
    }
}

fn fault(prefix: &str, key: &str, text: String) -> Fault {
    Fault { annotation: format!("{prefix}{key}"), text }
}

impl Cluster {
    /// Annotations that keep the controller from building a load balancer that is waited for; what could not be decided
    /// is told when nothing else is wrong.
    pub fn refused_annotations(&self) -> Known<Vec<Arc<RefusedAnnotation>>> {
        let tables = &self.snapshot.tables;
        let mut found = Vec::new();
        let mut unread = None;
        let mut note = |kind: &'static str, meta: &ObjectMeta, row: Row, faults: Faults| {
            unread = unread.take().or(faults.missing);
            found.extend(faults.found.into_iter().map(|f| {
                Arc::new(RefusedAnnotation {
                    kind: Str::const_new(kind),
                    namespace: meta.namespace.clone(),
                    name: meta.name.clone(),
                    annotation: f.annotation.into(),
                    fault: f.text.into(),
                    ingresses: (kind == "Ingress").then(|| Link::new(row)).into_iter().collect(),
                    services: (kind == "Service").then(|| Link::new(row)).into_iter().collect(),
                })
            }));
        };
        for plan in self.plans()?.iter().filter(|p| p.wanting && p.maker != "in-tree") {
            let members: Vec<_> = plan.ingresses.iter().map(|i| tables.ingresses.at(i.row.index)).collect();
            let listeners = self.listeners_asked_for(&members.iter().map(|m| m.value).collect::<Vec<_>>());
            for member in members {
                let faults = self.ingress_faults(plan, member.value, &listeners);
                note("Ingress", &member.value.metadata, member.row, faults);
            }
            for service in plan.services.iter().map(|s| tables.services.at(s.row.index)) {
                note("Service", &service.value.metadata, service.row, self.service_faults(plan, service.value));
            }
        }
        match unread {
            Some(missing) if found.is_empty() => Err(missing),
            _ => Ok(found),
        }
    }

    /// The listeners of a group of ingresses; `None` when one of them says it in a way that nobody can read. Without the
    /// annotation it is HTTPS 443 when a certificate is named, else HTTP 80
    /// (aws-load-balancer-controller `pkg/ingress/model_build_listener.go`).
    fn listeners_asked_for(&self, members: &[&Ingress]) -> Option<BTreeSet<(String, i64)>> {
        let mut all = BTreeSet::new();
        for ingress in members {
            match alb(&ingress.metadata, "listen-ports") {
                Some(text) => all.extend(listen_ports(text)?),
                None => {
                    let params = self.params_of(self.owner_of(ingress).1).map(|p| &p.spec);
                    let named = alb(&ingress.metadata, "certificate-arn").is_some_and(|c| !c.is_empty())
                        || alb(&ingress.metadata, "create-acm-cert").is_some()
                        || params.is_some_and(IngressClassParamsSpec::names_certificates);
                    let listener = if named { ("HTTPS", 443) } else { ("HTTP", 80) };
                    all.insert((listener.0.to_owned(), listener.1));
                }
            }
        }
        Some(all)
    }

    /// What is wrong with the annotations that the controller reads: what the class sets goes before them, and actions,
    /// conditions and transforms are read for the backends of the ingress only
    /// (aws-load-balancer-controller `pkg/ingress`).
    fn ingress_faults(
        &self,
        plan: &LoadBalancerPlan,
        ingress: &Ingress,
        listeners: &Option<BTreeSet<(String, i64)>>,
    ) -> Faults {
        let meta = &ingress.metadata;
        let params = self.params_of(self.owner_of(ingress).1).map(|p| &p.spec);
        let free = |set: fn(&IngressClassParamsSpec) -> bool| params.is_none_or(|p| !set(p));
        let backends: Vec<_> = ingress
            .spec
            .rules
            .iter()
            .flat_map(|r| r.http.iter().flat_map(|h| h.paths.iter().map(|p| &p.backend)))
            .chain(ingress.spec.defaultBackend.iter())
            .filter_map(|b| b.service.as_ref())
            .collect();
        let mut faults = Faults::default();
        if let Some(text) = alb(meta, "listen-ports")
            && listen_ports(text).is_none()
        {
            let text = "is not a JSON list of HTTP and HTTPS ports such as [{\"HTTPS\":443}]";
            faults.push(fault(ALB, "listen-ports", text.to_owned()));
        }
        for (key, value) in &meta.annotations {
            let Some(short) = key.strip_prefix(ALB) else { continue };
            let json = match short.split_once('.') {
                Some(("actions", name)) => backends.iter().any(|b| b.name == name && b.port.name == "use-annotation"),
                Some(("conditions" | "transforms", name)) => backends.iter().any(|b| b.name == name),
                _ => matches!(short, "auth-idp-oidc" | "auth-idp-cognito" | "mutual-authentication"),
            };
            if json && !is_json(value) {
                faults.push(fault(ALB, short, "is not JSON".to_owned()));
            }
        }
        let redirect = alb(meta, "ssl-redirect").filter(|_| free(|p| !p.sslRedirectPort.is_empty()));
        if let (Some(port), Some(listeners)) = (redirect, listeners) {
            let wanted = port.parse::<i64>().ok();
            let of_port = listeners.iter().find(|(_, p)| Some(*p) == wanted);
            match of_port {
                Some((protocol, _)) if protocol == "HTTPS" => {}
                Some((protocol, _)) => faults.push(fault(
                    ALB,
                    "ssl-redirect",
                    format!("names port {port}, whose listener is {protocol} and not HTTPS"),
                )),
                None => {
                    let there: Vec<String> = listeners.iter().map(|(p, n)| format!("{p} {n}")).collect();
                    let text =
                        format!("names port {port}, and no HTTPS listener has it (listeners: {})", there.join(", "));
                    faults.push(fault(ALB, "ssl-redirect", text));
                }
            }
        }
        // By default the controller answers 503 for an action that is not there
        // (`--tolerate-non-existent-backend-action`).
        let refused = |key: &str| self.plan_events(plan).iter().any(|e| e.value.message.contains(key));
        let mut actions = BTreeSet::new();
        for service in backends.iter().filter(|s| s.port.name == "use-annotation") {
            let key = format!("actions.{}", service.name);
            if alb(meta, &key).is_none() && refused(&key) && actions.insert(key.clone()) {
                let text = format!("is missing, though a path leads to the action {} (use-annotation)", service.name);
                faults.push(fault(ALB, &key, text));
            }
        }
        if free(IngressClassParamsSpec::names_certificates) {
            faults.extend(self.certificate_fault(ALB, "certificate-arn", alb(meta, "certificate-arn")));
        }
        if free(|p| !p.loadBalancerName.is_empty()) {
            faults.extend(name_fault(ALB, "load-balancer-name", alb(meta, "load-balancer-name")));
        }
        if free(|p| !p.targetType.is_empty()) {
            faults.extend(target_type_fault(alb(meta, "target-type")));
        }
        faults.decide(self.group_fault(ALB, "security-groups", alb(meta, "security-groups")));
        faults
    }

    fn service_faults(&self, plan: &LoadBalancerPlan, service: &Service) -> Faults {
        let meta = &service.metadata;
        let mut faults = Faults::default();
        faults.extend(self.certificate_fault(NLB, "ssl-cert", nlb(meta, "ssl-cert")));
        faults.extend(name_fault(NLB, "name", nlb(meta, "name")));
        faults.decide(self.group_fault(NLB, "security-groups", nlb(meta, "security-groups")));
        faults.decide(self.address_fault(nlb(meta, "eip-allocations")));
        if let Some(text) = nlb(meta, "private-ipv4-addresses")
            && !plan.chosen.is_empty()
        {
            let subnets = &self.snapshot.tables.subnets;
            let ranges: Vec<(Str, ipnet::IpNet)> = plan
                .chosen
                .iter()
                .map(|s| subnets.at(s.row.index).value)
                .filter_map(|s| Some((s.SubnetId.clone(), s.CidrBlock.parse().ok()?)))
                .collect();
            let outside = |a: &Str| a.parse::<IpAddr>().is_ok_and(|a| !ranges.iter().any(|(_, r)| r.contains(&a)));
            let outside: Vec<Str> = words(text).into_iter().filter(outside).collect();
            if !outside.is_empty() {
                let there: Vec<String> = ranges.iter().map(|(id, r)| format!("{id} {r}")).collect();
                let text =
                    format!("names {}, which lies in none of its subnets ({})", outside.join(", "), there.join(", "));
                faults.push(fault(NLB, "private-ipv4-addresses", text));
            }
        }
        faults
    }

    fn certificate_fault(&self, prefix: &str, key: &str, list: Option<&str>) -> Option<Fault> {
        let region = self.region_name();
        let strange: Vec<Str> = words(list?)
            .into_iter()
            .filter(|arn| certificate_region(arn).is_some_and(|r| !region.is_empty() && r != region))
            .collect();
        let text = format!("names {}, a certificate of another Region than {region}", strange.join(", "));
        (!strange.is_empty()).then(|| fault(prefix, key, text))
    }

    /// Elastic IP addresses that the account does not have.
    fn address_fault(&self, list: Option<&str>) -> Known<Option<Fault>> {
        let Some(list) = list else { return Ok(None) };
        let addresses = self.snapshot.whole::<Address>()?;
        let lost: Vec<Str> = words(list).into_iter().filter(|id| addresses.get(id).is_none()).collect();
        let text = format!("names {}, which this account does not have here", lost.join(", "));
        Ok((!lost.is_empty()).then(|| fault(NLB, "eip-allocations", text)))
    }

    /// Security groups that the VPC does not have, by id or by their `Name` tag.
    fn group_fault(&self, prefix: &str, key: &str, list: Option<&str>) -> Known<Option<Fault>> {
        let Some(list) = list else { return Ok(None) };
        let groups = self.snapshot.whole::<SecurityGroup>()?;
        let vpc = self.vpc_id()?;
        let there = |wanted: &str| {
            if wanted.starts_with("sg-") {
                return groups.get(wanted).is_some_and(|g| g.value.VpcId == vpc);
            }
            groups.iter().any(|g| g.value.VpcId == vpc && tag(&g.value.Tags, "Name") == Some(wanted))
        };
        let lost: Vec<Str> = words(list).into_iter().filter(|w| !there(w)).collect();
        let text = format!("names security group {}, which does not exist in {vpc}", lost.join(", "));
        Ok((!lost.is_empty()).then(|| fault(prefix, key, text)))
    }
}

fn name_fault(prefix: &str, key: &str, name: Option<&str>) -> Option<Fault> {
    let length = name?.chars().count();
    (length > LONGEST_NAME)
        .then(|| fault(prefix, key, format!("gives a name of {length} characters; it may have {LONGEST_NAME}")))
}

/// Of ingresses only: for a service the controller takes whatever is not `ip` as `instance`.
fn target_type_fault(value: Option<&str>) -> Option<Fault> {
    let value = value?;
    (!matches!(value, "" | "ip" | "instance"))
        .then(|| fault(ALB, "target-type", format!("is {value}; it may be ip or instance")))
}

#[cfg(test)]
mod tests {
    use super::{certificate_region, listen_ports};

    #[test]
    fn listeners_are_read_as_the_controller_reads_them() {
        assert_eq!(listen_ports(r#"[{"HTTP": 80}, {"HTTPS":443}]"#).map(|l| l.len()), Some(2));
        assert_eq!(listen_ports(r#"[{"HTTP": 80}, {"HTTPS":443}"#), None);
        assert_eq!(listen_ports(r#"[{"HTTP": "80"}]"#), None);
        assert_eq!(listen_ports(r#"[{"https": 443}]"#), None);
        assert_eq!(listen_ports("[]"), None);
    }

    #[test]
    fn only_certificates_of_acm_have_a_region() {
        assert_eq!(certificate_region("arn:aws:acm:us-east-1:111122223333:certificate/a"), Some("us-east-1"));
        assert_eq!(certificate_region("arn:aws:iam::111122223333:server-certificate/a"), None);
    }
}
