//! Annotations of ingresses and services that the load balancer controller refuses, so that it builds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use super::ingress::{LoadBalancerPlan, alb, nlb, words};
use crate::shape::ec2::{Address, SecurityGroup, tag};
use crate::shape::k8s::{Ingress, ObjectMeta, Service};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::Known;

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
    Some(lists.into_iter().flatten().collect())
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// The Region of an ACM certificate's ARN.
fn certificate_region(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':').skip(2);
    (parts.next() == Some("acm")).then(|| parts.next()).flatten()
}

struct Fault {
    annotation: String,
    text: String,
}

fn fault(prefix: &str, key: &str, text: String) -> Fault {
    Fault { annotation: format!("{prefix}{key}"), text }
}

impl Cluster {
    /// Annotations that keep the controller from building a load balancer that is waited for.
    pub fn refused_annotations(&self) -> Known<Vec<Arc<RefusedAnnotation>>> {
        let tables = &self.snapshot.tables;
        let mut found = Vec::new();
        let mut note = |kind: &'static str, meta: &ObjectMeta, row: Row, faults: Vec<Fault>| {
            found.extend(faults.into_iter().map(|f| {
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
                note("Ingress", &member.value.metadata, member.row, self.ingress_faults(member.value, &listeners));
            }
            for service in plan.services.iter().map(|s| tables.services.at(s.row.index)) {
                note("Service", &service.value.metadata, service.row, self.service_faults(plan, service.value));
            }
        }
        Ok(found)
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
                    let (_, class) = self.owner_of(ingress);
                    let params = self.params_of(class).map(|p| &p.spec);
                    let named = alb(&ingress.metadata, "certificate-arn").is_some_and(|c| !c.is_empty())
                        || params.is_some_and(|p| !p.certificateArn.is_empty() || !p.certificateARNs.is_empty());
                    let listener = if named { ("HTTPS", 443) } else { ("HTTP", 80) };
                    all.insert((listener.0.to_owned(), listener.1));
                }
            }
        }
        Some(all)
    }

    fn ingress_faults(&self, ingress: &Ingress, listeners: &Option<BTreeSet<(String, i64)>>) -> Vec<Fault> {
        let meta = &ingress.metadata;
        let mut faults = Vec::new();
        if let Some(text) = alb(meta, "listen-ports")
            && listen_ports(text).is_none()
        {
            faults.push(fault(ALB, "listen-ports", "is not a JSON list such as [{\"HTTPS\":443}]".to_owned()));
        }
        for (key, value) in &meta.annotations {
            let Some(short) = key.strip_prefix(ALB) else { continue };
            let json = short.starts_with("actions.")
                || short.starts_with("conditions.")
                || matches!(short, "auth-idp-oidc" | "auth-idp-cognito" | "mutual-authentication");
            if json && !is_json(value) {
                faults.push(fault(ALB, short, "is not JSON".to_owned()));
            }
        }
        if let (Some(port), Some(listeners)) = (alb(meta, "ssl-redirect"), listeners) {
            let wanted = port.parse::<i64>().ok();
            let of_port = listeners.iter().find(|(_, p)| Some(*p) == wanted);
            match of_port {
                Some((protocol, _)) if protocol.eq_ignore_ascii_case("HTTPS") => {}
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
        let backends = ingress
            .spec
            .rules
            .iter()
            .flat_map(|r| r.http.iter().flat_map(|h| h.paths.iter().map(|p| &p.backend)))
            .chain(ingress.spec.defaultBackend.iter())
            .filter_map(|b| b.service.as_ref());
        let mut actions = BTreeSet::new();
        for service in backends.filter(|s| s.port.name == "use-annotation") {
            let key = format!("actions.{}", service.name);
            if alb(meta, &key).is_none() && actions.insert(key.clone()) {
                let text = format!("is missing, though a path leads to the action {} (use-annotation)", service.name);
                faults.push(fault(ALB, &key, text));
            }
        }
        faults.extend(self.certificate_fault(ALB, "certificate-arn", alb(meta, "certificate-arn")));
        faults.extend(name_fault(ALB, "load-balancer-name", alb(meta, "load-balancer-name")));
        faults.extend(target_type_fault(ALB, "target-type", alb(meta, "target-type")));
        faults.extend(self.group_fault(ALB, "security-groups", alb(meta, "security-groups")));
        faults
    }

    fn service_faults(&self, plan: &LoadBalancerPlan, service: &Service) -> Vec<Fault> {
        let meta = &service.metadata;
        let mut faults = Vec::new();
        faults.extend(self.certificate_fault(NLB, "ssl-cert", nlb(meta, "ssl-cert")));
        faults.extend(name_fault(NLB, "name", nlb(meta, "name")));
        faults.extend(target_type_fault(NLB, "nlb-target-type", nlb(meta, "nlb-target-type")));
        faults.extend(self.group_fault(NLB, "security-groups", nlb(meta, "security-groups")));
        if let Some(text) = nlb(meta, "eip-allocations")
            && let Ok(addresses) = self.snapshot.whole::<Address>()
        {
            let lost: Vec<Str> = words(text).into_iter().filter(|id| addresses.get(id).is_none()).collect();
            if !lost.is_empty() {
                let text = format!("names {}, which this account does not have here", lost.join(", "));
                faults.push(fault(NLB, "eip-allocations", text));
            }
        }
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

    /// Security groups that the VPC does not have, by id or by their `Name` tag.
    fn group_fault(&self, prefix: &str, key: &str, list: Option<&str>) -> Option<Fault> {
        let groups = self.snapshot.whole::<SecurityGroup>().ok()?;
        let vpc = self.vpc_id().ok()?;
        let there = |wanted: &str| {
            if wanted.starts_with("sg-") {
                return groups.get(wanted).is_some_and(|g| g.value.VpcId == vpc);
            }
            groups.iter().any(|g| g.value.VpcId == vpc && tag(&g.value.Tags, "Name") == Some(wanted))
        };
        let lost: Vec<Str> = words(list?).into_iter().filter(|w| !there(w)).collect();
        let text = format!("names security group {}, which does not exist in {vpc}", lost.join(", "));
        (!lost.is_empty()).then(|| fault(prefix, key, text))
    }
}

fn name_fault(prefix: &str, key: &str, name: Option<&str>) -> Option<Fault> {
    let length = name?.chars().count();
    (length > LONGEST_NAME)
        .then(|| fault(prefix, key, format!("gives a name of {length} characters; it may have {LONGEST_NAME}")))
}

fn target_type_fault(prefix: &str, key: &str, value: Option<&str>) -> Option<Fault> {
    let value = value?;
    (!matches!(value, "" | "ip" | "instance"))
        .then(|| fault(prefix, key, format!("is {value}; it may be ip or instance")))
}

#[cfg(test)]
mod tests {
    use super::{certificate_region, listen_ports};

    #[test]
    fn listeners_are_read_as_the_controller_reads_them() {
        assert_eq!(listen_ports(r#"[{"HTTP": 80}, {"HTTPS":443}]"#).map(|l| l.len()), Some(2));
        assert_eq!(listen_ports(r#"[{"HTTP": 80}, {"HTTPS":443}"#), None);
        assert_eq!(listen_ports(r#"[{"HTTP": "80"}]"#), None);
    }

    #[test]
    fn only_certificates_of_acm_have_a_region() {
        assert_eq!(certificate_region("arn:aws:acm:us-east-1:111122223333:certificate/a"), Some("us-east-1"));
        assert_eq!(certificate_region("arn:aws:iam::111122223333:server-certificate/a"), None);
    }
}
