//! Fixes do what they say: over all cases, the share that is proved is printed and may not fall.

#![allow(clippy::unwrap_used)]

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use change::Case;
use eks_doctor::diagnostic::{Diagnostic, Effect, Report, Severity};
use eks_doctor::prove::{self, Trial};
use eks_doctor::rule::RuleSet;
use eks_doctor::snapshot::Snapshot;
use rayon::prelude::*;

/// Rules of which some fix is proved in some case, at least.
const PROVED: usize = 109;

fn case(name: &str, rules: &RuleSet) -> (Arc<Snapshot>, Report) {
    let text = std::fs::read_to_string(change::fixtures().join("cases").join(format!("{name}.yaml"))).unwrap();
    let case: Case = serde_saphyr::from_str(&text).unwrap();
    let snapshot = change::changed(&change::documents(&case.base), &case.changes).unwrap();
    let report = eks_doctor::diagnose(&snapshot, rules, None).unwrap();
    (snapshot, report)
}

/// The report with only the findings of a rule, and only the fixes that hold a command, changed.
fn with(report: &Report, rule: &str, command: &str, change: impl Fn(&str) -> String) -> Vec<Diagnostic> {
    let mut findings = report.findings.clone();
    for finding in &mut findings {
        finding.fixes.retain(|fix| finding.rule == rule && fix.commands.iter().any(|c| c.contains(command)));
        for text in finding.fixes.iter_mut().flat_map(|fix| &mut fix.commands) {
            *text = change(text);
        }
    }
    findings
}

/// A kind of command: a case and a rule whose fix is proved, and what of the fix is changed so that it mends nothing.
const KINDS: &[(&str, &str, &str, &str, &str)] = &[
    (
        "aws ec2 authorize-security-group-ingress",
        "controller-webhook-blocked",
        "controller-webhook-blocked",
        "--port 9443",
        "--port 9442",
    ),
    (
        "aws ec2 authorize-security-group-ingress",
        "cluster-security-group-lacks-own-traffic",
        "cluster-security-group-lacks-own-traffic",
        "--source-group sg-",
        "--source-group sg-0",
    ),
    (
        "aws ec2 authorize-security-group-egress",
        "node-groups-lack-ipv6-rule",
        "security-group-blocks-dns",
        "--port 53",
        "--port 54",
    ),
    (
        "aws ec2 authorize-security-group-egress",
        "node-groups-lack-ipv6-rule",
        "node-groups-lack-ipv6-rule",
        "Ipv6Ranges=[{CidrIpv6=::/0}]",
        "IpRanges=[{CidrIp=10.0.0.0/8}]",
    ),
    (
        "aws ec2 create-network-acl-entry",
        "network-acl-lacks-ipv6-entries",
        "network-blocks-dns",
        "From=53,To=53",
        "From=54,To=54",
    ),
    (
        "aws ec2 create-network-acl-entry",
        "network-acl-lacks-ipv6-entries",
        "network-acl-lacks-ipv6-entries",
        "--rule-action allow",
        "--rule-action deny",
    ),
    (
        "aws ec2 delete-network-acl-entry",
        "network-blocks-dns",
        "network-blocks-dns",
        "--rule-number 90",
        "--rule-number 100",
    ),
    ("aws ec2 delete-network-acl-entry", "network-blocks-dns.ipv6", "network-blocks-dns", "--ingress", "--egress"),
    (
        "aws ec2 create-route",
        "node-subnet-without-way-out.idle",
        "node-subnet-without-way-out",
        "0.0.0.0/0",
        "192.0.2.0/24",
    ),
    ("aws ec2 create-route", "ipv6-subnet-without-way-out", "ipv6-subnet-without-way-out", "::/0", "2001:db8::/32"),
    ("aws ec2 create-route", "peering-not-usable.no-way-back", "peering-not-usable", "10.0.64.0/18", "10.9.64.0/18"),
    ("aws ec2 replace-route", "node-default-route-broken", "node-default-route-broken", "nat-", "nat-0"),
    (
        "aws ec2 associate-route-table",
        "public-subnet-without-public-address.main-table",
        "public-subnet-without-public-address",
        "rtb-",
        "rtb-0",
    ),
    (
        "aws ec2 create-tags",
        "target-security-group-ambiguous.none",
        "target-security-group-ambiguous",
        "cluster/shop",
        "cluster/shops",
    ),
    (
        "aws ec2 delete-tags",
        "target-security-group-ambiguous",
        "target-security-group-ambiguous",
        "cluster/shop",
        "cluster/shops",
    ),
    (
        "aws ec2 modify-subnet-attribute",
        "ipv6-subnet-without-address-assignment",
        "ipv6-subnet-without-address-assignment",
        "--assign-",
        "--no-assign-",
    ),
    ("aws ec2 modify-vpc-attribute", "vpc-dns-hostnames-disabled", "vpc-dns-hostnames-disabled", "true", "false"),
    ("aws ec2 modify-vpc-endpoint", "vpc-endpoint-not-usable", "vpc-endpoint-not-usable", "--private", "--no-private"),
    ("aws eks update-cluster-config", "private-endpoint-access-off", "private-endpoint-access-off", "=true", "=false"),
    (
        "aws eks update-addon",
        "network-acl-drops-answers-to-pods",
        "network-acl-drops-answers-to-pods",
        "\"none\"",
        "\"hashrandom\"",
    ),
    (
        "aws ec2 associate-vpc-cidr-block",
        "secondary-range-not-associated",
        "secondary-range-not-associated",
        "associate-vpc-cidr-block --region",
        "associate-vpc-cidr-blocks --region",
    ),
    ("aws eks create-access-entry", "node-role-not-mapped.karpenter-entry", "node-role-not-mapped", "role/", "role/x"),
    (
        "aws eks delete-access-entry",
        "node-role-mapped-wrongly.entry-type",
        "node-role-mapped-wrongly",
        "role/",
        "role/x",
    ),
    (
        "aws iam attach-role-policy",
        "cluster-role-cannot-make-trunks",
        "cluster-role-cannot-make-trunks",
        "AmazonEKSVPCResourceController",
        "AmazonEKSWorkerNodePolicy",
    ),
    ("aws iam put-role-policy", "cni-role-cannot-clean-up", "cni-role-cannot-clean-up", "\"Allow\"", "\"Deny\""),
    (
        "aws iam update-assume-role-policy",
        "cni-role-not-trusted.pod-identity",
        "cni-role-not-trusted",
        "pods.eks",
        "ec2",
    ),
    ("kubectl annotate", "backend-not-node-port", "backend-not-node-port", "target-type=ip", "target-type=instance"),
    ("kubectl label", "readiness-gate-without-ip-targets", "readiness-gate-without-ip-targets", "inject-", "injects-"),
    ("kubectl set env", "cni-ip-family-mismatch", "cni-ip-family-mismatch", "ENABLE_IPv6=false", "ENABLE_IPv6=true"),
    ("kubectl scale", "controller-scaled-to-zero", "controller-scaled-to-zero", "--replicas 2", "--replicas 0"),
    ("kubectl patch service", "backend-not-node-port", "backend-not-node-port", "NodePort", "ClusterIP"),
    (
        "kubectl patch ec2nodeclass",
        "node-class-disables-metadata",
        "node-class-disables-metadata",
        "enabled",
        "disabled",
    ),
    ("kubectl patch clusterrole", "coredns-may-not-watch", "coredns-may-not-watch", "endpointslices", "endpoints"),
    (
        "kubectl patch daemonset",
        "security-groups-for-pods-need-early-demux-off",
        "security-groups-for-pods-need-early-demux-off",
        "\"true\"",
        "\"false\"",
    ),
    (
        "patch configmap",
        "corefile-forces-tcp",
        "corefile-forces-tcp",
        "kubernetes cluster.local",
        "kubernets cluster.local",
    ),
    ("apply --filename", "network-policy-blocks-dns", "network-policy-blocks-dns", "\"port\":53", "\"port\":54"),
    ("kubectl apply -f -", "eniconfig-not-found", "eniconfig-not-found", "us-west-2a\"}", "us-west-2x\"}"),
    (
        "delete poddisruptionbudget",
        "coredns-has-two-disruption-budgets",
        "coredns-has-two-disruption-budgets",
        "coredns-own",
        "coredns-other",
    ),
];

#[test]
fn each_kind_of_command_is_proved_when_right_and_not_when_wrong() {
    let rules = change::rules();
    let faults = |(command, name, rule, from, to): &(&str, &str, &str, &str, &str)| {
        let mut wrong = Vec::new();
        let (snapshot, report) = case(name, &rules);
        let proved = |change: &dyn Fn(&str) -> String| {
            let mut changed = Report { findings: with(&report, rule, command, change), ..report.clone() };
            prove::prove(&mut changed, &snapshot, &rules, None, usize::MAX);
            changed.findings.iter().flat_map(|f| &f.fixes).filter(|fix| fix.effect == Effect::Proved).count()
        };
        if proved(&str::to_owned) == 0 {
            wrong.push(format!("{name} [{rule}] {command}: not proved"));
        }
        if proved(&|text| text.replace(from, to)) > 0 {
            wrong.push(format!("{name} [{rule}] {command}: proved with {to} for {from}"));
        }
        if proved(&|text| format!("{text} <placeholder>")) > 0 {
            wrong.push(format!("{name} [{rule}] {command}: proved with a placeholder"));
        }
        // Nothing is tried beyond the effort.
        let mut idle = report.clone();
        prove::prove(&mut idle, &snapshot, &rules, None, 0);
        if idle != report {
            wrong.push(format!("{name}: tried without effort"));
        }
        wrong
    };
    let wrong: Vec<String> = KINDS.par_iter().flat_map_iter(faults).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn fixes_are_proved() {
    let rules = change::rules();
    let cases = change::cases();
    let bases = change::bases(cases.iter().map(|(_, case)| &case.base));
    let tried = |(name, case): &(String, Case)| {
        let snapshot = change::changed(&bases[&case.base], &case.changes).unwrap();
        let report = eks_doctor::diagnose(&snapshot, &rules, None).unwrap();
        let trials = prove::trials(&report, &snapshot, &rules, None, usize::MAX);
        let all = report.findings.iter().flat_map(|finding| finding.fixes.iter().map(move |fix| (finding, fix)));
        let all = all.zip(trials).filter(|((finding, _), _)| finding.severity != Severity::Info);
        let shown = all.map(|((finding, fix), trial)| {
            let told = format!("{name}: {trial:?}\n        {}", fix.commands.join("\n        "));
            (finding.rule.clone(), trial, told)
        });
        shown.collect::<Vec<_>>()
    };
    let results: Vec<(String, Trial, String)> = cases.par_iter().flat_map_iter(tried).collect();
    let mut by_rule: BTreeMap<String, (bool, BTreeSet<String>)> = BTreeMap::new();
    let (mut fixes, mut proved_fixes, mut tried) = (0, 0, 0);
    for (rule, trial, text) in results {
        fixes += 1;
        tried += usize::from(trial != Trial::Untried);
        proved_fixes += usize::from(trial == Trial::Proved);
        let (proved, told) = by_rule.entry(rule).or_default();
        if trial == Trial::Proved {
            *proved = true;
        } else {
            told.insert(text);
        }
    }
    for (rule, (proved, told)) in &by_rule {
        let shown = told.iter().filter(|told| !proved || !told.contains("Untried"));
        let shown: String = shown.map(|told| format!("\n    {told}")).collect();
        if !shown.is_empty() {
            println!("{} [{rule}]{shown}", if *proved { "partly proved" } else { "unproved" });
        }
    }
    let proved = by_rule.values().filter(|(proved, _)| *proved).count();
    println!("{fixes} fixes of errors and warnings over all cases: {tried} tried, {proved_fixes} proved");
    println!("{proved} of {} rules that fire in a case have a fix that is proved", by_rule.len());
    assert!(proved >= PROVED, "{proved} rules have a proved fix, {PROVED} had");
}
