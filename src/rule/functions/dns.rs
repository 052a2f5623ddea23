//! Functions for the rules of dns-does-not-resolve.

use std::sync::Arc;

use super::{Function, Subject};
use crate::cluster::coredns::{CoreDnsAccess, CoreDnsBudgets, CoreDnsPods, DnsService};
use crate::cluster::coredns_config::CoreDnsConfig;
use crate::cluster::coredns_size::CoreDnsSize;
use crate::cluster::dns_path::{DnsPath, ResolverPath};
use crate::cluster::hybrid_dns::HybridDns;
use crate::cluster::network_policy::{DnsDenial, StrictGap};
use crate::cluster::node_dns::{MovedDnsService, NodeDns, PodNameserver};
use crate::cluster::service_path::{KubeProxy, NodeLocalGap};
use crate::shape::{Described, Shape};

pub(super) fn functions() -> Vec<Function> {
    Vec::new()
}

fn shapes<T: Shape>(all: impl IntoIterator<Item = T>) -> Vec<Arc<dyn Shape>> {
    all.into_iter().map(|one| Arc::new(one) as Arc<dyn Shape>).collect()
}

const COREDNS: &[&str] = &["k8s:deployments.apps", "k8s:pods", "k8s:nodes"];
const PATHS: &[&str] = &[
    "k8s:pods",
    "k8s:nodes",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeRouteTables",
];

const RESOLVERS: &[&str] = &[
    "k8s:pods",
    "k8s:configmaps",
    "ec2:DescribeVpcs",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeRouteTables",
];

pub(super) fn subjects() -> Vec<Subject> {
    vec![
        Subject { schema: CoreDnsPods::described, reads: COREDNS, list: |c| Ok(shapes(c.coredns_state()?)) },
        Subject {
            schema: CoreDnsConfig::described,
            reads: &["k8s:configmaps", "k8s:deployments.apps"],
            list: |c| Ok(shapes(c.coredns_config()?)),
        },
        Subject {
            schema: CoreDnsAccess::described,
            reads: &["k8s:clusterroles.rbac.authorization.k8s.io", "k8s:deployments.apps"],
            list: |c| Ok(shapes(c.coredns_access()?)),
        },
        Subject {
            schema: DnsService::described,
            reads: &["k8s:services", "k8s:deployments.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(shapes(c.dns_service()?)),
        },
        Subject {
            schema: CoreDnsBudgets::described,
            reads: &["k8s:poddisruptionbudgets.policy", "k8s:deployments.apps"],
            list: |c| Ok(shapes(c.coredns_budgets()?)),
        },
        Subject {
            schema: CoreDnsSize::described,
            reads: &["k8s:deployments.apps", "k8s:pods", "k8s:services", "k8s:nodes", "k8s:daemonsets.apps"],
            list: |c| Ok(shapes(c.coredns_size()?)),
        },
        Subject {
            schema: DnsPath::described,
            reads: PATHS,
            list: |c| {
                // Each of the two is there or not by itself.
                let all = [c.dns_paths(), c.coredns_api_paths()];
                let lacking = all.iter().find_map(|p| p.as_ref().err().cloned());
                let found: Vec<DnsPath> = all.into_iter().filter_map(Result::ok).flatten().collect();
                match lacking {
                    Some(missing) if found.is_empty() => Err(missing),
                    _ => Ok(shapes(found)),
                }
            },
        },
        Subject { schema: ResolverPath::described, reads: RESOLVERS, list: |c| Ok(shapes(c.resolver_paths()?)) },
        Subject {
            schema: HybridDns::described,
            reads: &["k8s:nodes", "k8s:pods", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"],
            list: |c| Ok(shapes(c.hybrid_dns()?)),
        },
        Subject {
            schema: StrictGap::described,
            reads: &[
                "k8s:networkpolicies.networking.k8s.io",
                "k8s:daemonsets.apps",
                "k8s:pods",
                "k8s:nodeclasses.eks.amazonaws.com",
            ],
            list: |c| Ok(shapes(c.strict_gaps()?)),
        },
        Subject {
            schema: DnsDenial::described,
            reads: &["k8s:networkpolicies.networking.k8s.io", "k8s:daemonsets.apps", "k8s:pods", "k8s:namespaces"],
            list: |c| Ok(shapes(c.dns_denials()?)),
        },
        Subject {
            schema: NodeDns::described,
            reads: &["ec2:DescribeLaunchTemplateVersions", "k8s:services"],
            list: |c| Ok(shapes(c.node_dns()?)),
        },
        Subject {
            schema: MovedDnsService::described,
            reads: &["k8s:services", "k8s:nodes", "ec2:DescribeLaunchTemplateVersions"],
            list: |c| Ok(shapes(c.moved_dns_service()?)),
        },
        Subject {
            schema: PodNameserver::described,
            reads: &["k8s:pods", "k8s:services", "ec2:DescribeRouteTables"],
            list: |c| Ok(shapes(c.pod_nameservers()?)),
        },
        Subject {
            schema: KubeProxy::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:nodes"],
            list: |c| Ok(shapes(c.kube_proxy()?)),
        },
        Subject {
            schema: NodeLocalGap::described,
            reads: &["k8s:daemonsets.apps", "k8s:pods", "k8s:securitygrouppolicies.vpcresources.k8s.aws"],
            list: |c| Ok(shapes(c.node_local_gap()?)),
        },
    ]
}
