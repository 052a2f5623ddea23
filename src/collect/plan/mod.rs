//! Which reads follow from which answers: from the cluster's name to all that its network is made of.
//!
//! Each read starts as soon as the answers that name what it asks about are there, so no chain is longer than AWS makes
//! it; what several answers name is asked for in one call. What eks-doctor has no use for in this cluster is not read.

mod identity;
mod network;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::answer::Answer;
use super::call::{Call, Service};
use crate::cluster::cni_settings::windows_ipam;
use crate::cluster::service_path::{proxy_mode_of_map, proxy_mode_of_set};
use crate::permissions::Needs;
use crate::shape::Str;
use crate::shape::ec2::{AutoScalingGroup, LaunchTemplateVersion, Reservation};
use crate::shape::eks::{Addon, Cluster, FargateProfile, Nodegroup, PodIdentityAssociation};
use crate::shape::elb::{LoadBalancer, TargetGroup};
use crate::shape::iam::{AttachedPolicy, InstanceProfile, OpenIdConnectProviderArn, Role};
use crate::shape::k8s::ServiceAccount;
use crate::shape::k8s::{
    ConfigMap, DaemonSet, Deployment, EC2NodeClass, ENIConfig, Ingress, NodeClass, Service as K8sService,
};
use crate::snapshot::asked_after;

/// The add-ons of which functions and built-in rules know the state.
const ADDONS: [&str; 2] = ["coredns", "vpc-cni"];

/// What is known while reading one cluster.
#[derive(Debug, Default)]
pub(super) struct Plan {
    cluster: String,
    /// What is read; everything when there is none.
    needs: Option<Arc<Needs>>,
    vpc: String,
    /// The path of the OIDC issuer, as it ends the ARN of its provider.
    issuer: String,
    cluster_role: String,
    /// Whether the cluster's role makes network interfaces for pods.
    pod_interfaces: bool,
    /// What was already asked about: the kind and its id.
    seen: BTreeSet<(&'static str, String)>,
    /// How many calls of each read are not answered yet.
    open: BTreeMap<String, usize>,
    /// What is asked for when no answer can name more of it: by read, what each call is about, and the values.
    held: BTreeMap<&'static str, BTreeMap<String, BTreeSet<String>>>,
    /// Principals of access entries.
    entries: BTreeSet<String>,
    node_roles: BTreeSet<String>,
    /// Subnets of nodes and of ENIConfigs, whose reservations were not asked for yet.
    node_subnets: BTreeSet<String>,
    pod_subnets: BTreeSet<String>,
    /// The route tables of transit gateways' attachments.
    associated_tables: BTreeMap<Str, Str>,
    /// Whether pods take prefixes: in EKS Auto Mode, with the VPC CNI, from the subnets of ENIConfigs.
    auto_mode: bool,
    prefixes: bool,
    custom_networking: bool,
    /// Whether kube-proxy is an add-on, and whether its mode is not the usual one.
    proxy_addon: bool,
    proxy_mode: bool,
    /// Service accounts of load balancer controllers, `namespace/name`.
    controllers: BTreeSet<String>,
    /// All service accounts that Kubernetes has.
    accounts: BTreeSet<String>,
    /// The ids of Pod Identity associations, the roles that they give, and roles by annotation, each by service account.
    associations: BTreeMap<String, Vec<String>>,
    associated: BTreeMap<String, String>,
    annotated: BTreeMap<String, String>,
}

impl Plan {
    pub fn new(cluster: &str, needs: Option<Arc<Needs>>) -> Plan {
        Plan { cluster: cluster.to_owned(), needs, ..Plan::default() }
    }

    /// What is asked first: all that needs only the cluster's name.
    pub fn start(&mut self) -> Vec<Call> {
        let cluster = self.cluster.as_str();
        let eks = |operation, below: &str| Call::eks(operation, cluster, &[below]);
        let calls = vec![
            Call::eks("DescribeCluster", cluster, &[]).about(cluster),
            eks("ListNodegroups", "node-groups"),
            eks("ListFargateProfiles", "fargate-profiles"),
            eks("ListAddons", "addons"),
            eks("ListAccessEntries", "access-entries"),
            eks("ListPodIdentityAssociations", "pod-identity-associations"),
            eks("ListInsights", "insights"),
            Call::form(Service::Sts, "GetCallerIdentity"),
            Call::ec2("DescribeAvailabilityZones"),
            Call::form(Service::Autoscaling, "DescribeAutoScalingGroups").filter("tag-key", &[self.owned()]),
        ];
        let more = if self.whole() { [self.quotas(), self.addresses()] } else { [None, None] };
        self.opened(calls.into_iter().chain(more.into_iter().flatten()).collect())
    }

    /// What an answer makes worth asking. Takes out of the answer what does not belong to the cluster.
    pub fn follow(&mut self, call: &Call, answer: &mut Answer) -> Vec<Call> {
        self.close(call);
        let calls = self.after_answer(call, answer);
        self.opened(calls)
    }

    /// What objects of Kubernetes make worth asking AWS.
    pub fn follow_objects(&mut self, plural: &str, list: &str) -> Vec<Call> {
        let calls = self.after_objects(plural, list);
        self.opened(calls)
    }

    /// What is to be asked although a call was refused.
    pub fn failed(&mut self, call: &Call) -> Vec<Call> {
        self.close(call);
        self.opened(Vec::new())
    }

    /// Whether reads are made although no built-in rule has use for them in this cluster.
    fn whole(&self) -> bool {
        self.needs.as_ref().is_none_or(|needs| needs.everything)
    }

    fn close(&mut self, call: &Call) {
        if let Some(open) = self.open.get_mut(&call.read()) {
            *open = open.saturating_sub(1);
        }
    }

    /// The calls that are needed, and what was held for company and need not wait any more.
    fn opened(&mut self, mut calls: Vec<Call>) -> Vec<Call> {
        if let Some(needs) = &self.needs {
            calls.retain(|call| needs.reads.contains(call.read().as_str()));
        }
        let mut count = |calls: &[Call]| calls.iter().for_each(|c| *self.open.entry(c.read()).or_default() += 1);
        count(&calls);
        loop {
            let waits = |read: &str| self.open.get(read).is_some_and(|&open| open > 0) || self.held.contains_key(read);
            let ready = |read: &&&'static str| {
                self.open.get(**read).is_none_or(|&open| open == 0) && !asked_after(read).into_iter().any(waits)
            };
            let Some(read) = self.held.keys().find(ready).copied() else { return calls };
            let held = self.held.remove(read).unwrap_or_default();
            let mut released = Vec::new();
            for (about, values) in held {
                let values: Vec<String> = values.into_iter().collect();
                released.extend(match read {
                    "autoscaling:DescribeAutoScalingGroups" => self.groups(values.into_iter()),
                    "ec2:DescribeInstanceTypes" => Plan::instance_types(&values),
                    "ec2:DescribeLaunchTemplateVersions" => vec![Plan::launch_template_versions(&about, &values)],
                    "ec2:DescribeManagedPrefixLists" => {
                        Plan::filtered("DescribeManagedPrefixLists", "prefix-list-id", &values)
                    }
                    _ => Plan::filtered("DescribeVpcPeeringConnections", "vpc-peering-connection-id", &values),
                });
            }
            released.iter().for_each(|call| *self.open.entry(call.read()).or_default() += 1);
            calls.extend(released);
        }
    }

    /// Asks for a value as soon as no answer can name more of its kind.
    fn hold(&mut self, read: &'static str, about: &str, value: &str) {
        let needed = self.needs.as_ref().is_none_or(|needs| needs.reads.contains(read));
        if needed && !value.is_empty() && self.seen.insert((read, format!("{about}:{value}"))) {
            self.held.entry(read).or_default().entry(about.to_owned()).or_default().insert(value.to_owned());
        }
    }

    fn owned(&self) -> String {
        format!("kubernetes.io/cluster/{}", self.cluster)
    }

    /// The quotas of load balancers.
    fn quotas(&mut self) -> Option<Call> {
        self.new_to("read", "quotas").then(|| Call::form(Service::Elbv2, "DescribeAccountLimits"))
    }

    /// Elastic IP addresses, which have no VPC that one could ask for; a Region has few.
    fn addresses(&mut self) -> Option<Call> {
        self.new_to("read", "addresses").then(|| Call::ec2("DescribeAddresses"))
    }

    /// The add-on kube-proxy, whose configuration matters where its mode is to be changed.
    fn proxy(&mut self) -> Option<Call> {
        let wanted = self.proxy_addon && self.proxy_mode && !self.whole() && self.new_to("addon", "kube-proxy");
        wanted.then(|| Call::eks("DescribeAddon", &self.cluster, &["addons", "kube-proxy"]).about("kube-proxy"))
    }

    /// Whether this was not asked about before.
    fn new_to(&mut self, kind: &'static str, id: &str) -> bool {
        !id.is_empty() && self.seen.insert((kind, id.to_owned()))
    }

    fn after_answer(&mut self, call: &Call, answer: &mut Answer) -> Vec<Call> {
        match call.operation {
            "DescribeCluster" => answer.one("cluster").map_or_else(Vec::new, |c: Cluster| self.cluster(&c)),
            "ListNodegroups" => self.below(answer, "nodegroups", "DescribeNodegroup", "node-groups"),
            "ListFargateProfiles" => {
                self.below(answer, "fargateProfileNames", "DescribeFargateProfile", "fargate-profiles")
            }
            "ListAddons" => {
                let whole = self.whole();
                let mut calls = self.below(answer, "addons", "DescribeAddon", "addons");
                self.proxy_addon = calls.iter().any(|call| call.argument.as_deref() == Some("kube-proxy"));
                calls.retain(|call| whole || call.argument.as_deref().is_some_and(|name| ADDONS.contains(&name)));
                calls.extend(self.proxy());
                calls
            }
            "ListAccessEntries" => {
                self.entries.extend(answer.list::<String>("accessEntries"));
                self.access_entries()
            }
            "ListPodIdentityAssociations" => {
                for association in answer.list::<PodIdentityAssociation>("associations") {
                    let account = format!("{}/{}", association.namespace, association.serviceAccount);
                    self.associations.entry(account).or_default().push(association.associationId.to_string());
                }
                self.identities()
            }
            "DescribeNodegroup" => answer.one("nodegroup").map_or_else(Vec::new, |n: Nodegroup| self.nodegroup(&n)),
            "DescribeFargateProfile" => {
                let Some(profile) = answer.one::<FargateProfile>("fargateProfile") else { return Vec::new() };
                self.subnets(&profile.subnets)
            }
            // What an add-on's service account may do, its annotation tells, too.
            "DescribeAddon" if self.whole() => {
                let addon: Option<Addon> = answer.one("addon");
                addon.map_or_else(Vec::new, |addon| self.web_identity(&addon.serviceAccountRoleArn))
            }
            "DescribePodIdentityAssociation" => {
                if let Some(association) = answer.one::<PodIdentityAssociation>("association") {
                    let account = format!("{}/{}", association.namespace, association.serviceAccount);
                    self.associated.insert(account, association.roleArn.to_string());
                }
                self.associated_roles()
            }
            "DescribeVpcs" => self.vpcs(&answer.list("Vpcs")),
            "DescribeRouteTables" => self.routes(&answer.list("RouteTables")),
            "DescribeTransitGatewayAttachments" => self.attachments(&answer.list("TransitGatewayAttachments")),
            "SearchTransitGatewayRoutes" => self.way_back(&answer.list("Routes")),
            "DescribeTransitGatewayRouteTables" => self.transit_tables(&answer.list("TransitGatewayRouteTables")),
            "DescribeSecurityGroups" => self.security_groups(&answer.list("SecurityGroups")),
            "DescribeInstances" => {
                let instances = answer.list::<Reservation>("Reservations").into_iter().flat_map(|r| r.Instances);
                self.instances(&instances.collect::<Vec<_>>())
            }
            "DescribeAutoScalingGroups" => {
                let groups: Vec<AutoScalingGroup> = answer.list("AutoScalingGroups");
                groups.iter().flat_map(|g| self.group(g)).collect()
            }
            "DescribeLaunchTemplateVersions" => {
                let versions: Vec<LaunchTemplateVersion> = answer.list("LaunchTemplateVersions");
                versions.iter().flat_map(|version| self.template(version)).collect()
            }
            "DescribeLoadBalancers" => {
                answer.retain("LoadBalancers", |balancer: &LoadBalancer| balancer.VpcId == self.vpc);
                answer.list::<LoadBalancer>("LoadBalancers").iter().flat_map(network::balancer_reads).collect()
            }
            "DescribeTargetGroups" => {
                answer.retain("TargetGroups", |group: &TargetGroup| group.VpcId == self.vpc);
                answer.list::<TargetGroup>("TargetGroups").iter().flat_map(network::target_group_reads).collect()
            }
            "GetRole" => {
                let boundary = answer.one::<Role>("Role").and_then(|role| role.PermissionsBoundary);
                boundary.map_or_else(Vec::new, |b| self.policy(&b.PermissionsBoundaryArn))
            }
            "GetInstanceProfile" => {
                let profile: Option<InstanceProfile> = answer.one("InstanceProfile");
                profile.iter().flat_map(|p| &p.Roles).flat_map(|role| self.node_role(&role.Arn)).collect()
            }
            "ListAttachedRolePolicies" => {
                let policies = answer.list::<AttachedPolicy>("AttachedPolicies");
                policies.iter().flat_map(|policy| self.policy(&policy.PolicyArn)).collect()
            }
            "ListRolePolicies" => {
                let role = call.argument.clone().unwrap_or_default();
                let inline = |policy: &String| {
                    let asked = [("RoleName", role.as_str()), ("PolicyName", policy.as_str())];
                    Call::iam("GetRolePolicy", &format!("{role}/{policy}"), &asked)
                };
                answer.list::<String>("PolicyNames").iter().map(inline).collect()
            }
            "GetPolicy" => {
                #[derive(Deserialize)]
                #[allow(non_snake_case)]
                struct Policy {
                    Arn: Str,
                    DefaultVersionId: Str,
                }
                let policy: Option<Policy> = answer.one("Policy");
                let version = |policy: Policy| {
                    let asked = [("PolicyArn", policy.Arn.as_str()), ("VersionId", policy.DefaultVersionId.as_str())];
                    Call::iam("GetPolicyVersion", last(&policy.Arn), &asked)
                };
                policy.into_iter().map(version).collect()
            }
            "ListOpenIDConnectProviders" => {
                let providers = answer.list::<OpenIdConnectProviderArn>("OpenIDConnectProviderList");
                self.seen.extend(providers.into_iter().map(|p| ("provider", p.Arn.to_string())));
                self.provider()
            }
            _ => Vec::new(),
        }
    }

    fn after_objects(&mut self, plural: &str, list: &str) -> Vec<Call> {
        match plural {
            "serviceaccounts" => {
                for account in items::<ServiceAccount>(list) {
                    let name = format!("{}/{}", account.metadata.namespace, account.metadata.name);
                    let role = account.metadata.annotations.get("eks.amazonaws.com/role-arn").map(|a| a.trim());
                    if let Some(role) = role.filter(|r| !r.is_empty()) {
                        self.annotated.insert(name.clone(), role.to_owned());
                    }
                    self.accounts.insert(name);
                }
                self.identities()
            }
            "daemonsets.apps" => {
                let sets: Vec<DaemonSet> = items(list);
                let cni = sets
                    .iter()
                    .filter(|s| s.metadata.name == "aws-node")
                    .flat_map(|s| &s.spec.template.spec.containers);
                let settings: Vec<_> = cni.flat_map(|c| &c.env).collect();
                let on =
                    |name: &str| settings.iter().any(|e| e.name == name && !matches!(e.value.as_str(), "" | "false"));
                self.prefixes |= on("ENABLE_PREFIX_DELEGATION");
                self.custom_networking |= on("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG");
                let mut calls = self.reservations();
                self.pod_interfaces |= on("ENABLE_POD_ENI");
                if self.pod_interfaces {
                    calls.extend(self.own_role());
                }
                self.proxy_mode |= sets.iter().any(|set| proxy_mode_of_set(set).is_some_and(|mode| mode != "iptables"));
                calls.extend(self.proxy());
                calls
            }
            // The control plane takes the addresses of Windows pods with the cluster's role.
            "configmaps" => {
                let maps: Vec<ConfigMap> = items(list);
                self.proxy_mode |= maps.iter().any(|map| proxy_mode_of_map(map).is_some_and(|mode| mode != "iptables"));
                let mut calls: Vec<Call> = self.proxy().into_iter().collect();
                if maps.iter().any(windows_ipam) {
                    self.pod_interfaces = true;
                    calls.extend(self.own_role());
                }
                calls
            }
            // What waits for a load balancer may wait for a quota.
            "ingresses.networking.k8s.io" if !items::<Ingress>(list).is_empty() => self.quotas().into_iter().collect(),
            "services" => {
                let services: Vec<K8sService> = items(list);
                let balanced = services.iter().filter(|s| s.spec.r#type == "LoadBalancer");
                let mut calls = Vec::new();
                for service in balanced {
                    calls.extend(self.quotas());
                    if service.metadata.annotations.keys().any(|key| key.ends_with("eip-allocations")) {
                        calls.extend(self.addresses());
                    }
                }
                calls
            }
            "deployments.apps" => {
                for deployment in items::<Deployment>(list) {
                    let pod = &deployment.spec.template.spec;
                    if pod.containers.iter().any(|c| c.image.contains("aws-load-balancer-controller")) {
                        let namespace = &deployment.metadata.namespace;
                        self.controllers.insert(format!("{namespace}/{}", pod.serviceAccountName));
                    }
                }
                self.identities()
            }
            "eniconfigs.crd.k8s.amazonaws.com" => {
                let subnets: Vec<Str> = items::<ENIConfig>(list).into_iter().map(|c| c.spec.subnet).collect();
                self.pod_subnets(&subnets)
            }
            "ec2nodeclasses.karpenter.k8s.aws" => items::<EC2NodeClass>(list)
                .iter()
                .flat_map(|class| {
                    let mut calls = self.node_role(&class.spec.role);
                    calls.extend(self.profile(&class.spec.instanceProfile));
                    calls
                })
                .collect(),
            "nodeclasses.eks.amazonaws.com" => {
                items::<NodeClass>(list).iter().flat_map(|class| self.node_role(&class.spec.role)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn below(&self, answer: &Answer, key: &str, operation: &'static str, part: &str) -> Vec<Call> {
        let read = |name: &String| Call::eks(operation, &self.cluster, &[part, name]).about(name);
        answer.list::<String>(key).iter().map(read).collect()
    }

    fn cluster(&mut self, cluster: &Cluster) -> Vec<Call> {
        self.vpc = cluster.resourcesVpcConfig.vpcId.to_string();
        let issuer = cluster.identity.iter().filter_map(|i| i.oidc.as_ref()).map(|o| &o.issuer).next();
        self.issuer = issuer.map_or("", Str::as_str).trim_start_matches("https://").to_owned();
        self.cluster_role = cluster.roleArn.to_string();
        let mut calls = self.provider();
        self.auto_mode = cluster.computeConfig.as_ref().is_some_and(|c| c.enabled == Some(true));
        if self.whole() || self.pod_interfaces || self.auto_mode {
            calls.extend(self.own_role());
        }
        calls.extend(self.reservations());
        if let Some(compute) = &cluster.computeConfig {
            calls.extend(self.node_role(&compute.nodeRoleArn));
        }
        if !self.vpc.is_empty() {
            calls.extend(self.of_vpc());
        }
        calls
    }
}

fn items<T: serde::de::DeserializeOwned>(list: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a serde_json::value::RawValue>,
    }
    let list: Option<List<'_>> = serde_json::from_str(list).ok();
    list.into_iter().flat_map(|l| l.items).filter_map(|item| serde_json::from_str(item.get()).ok()).collect()
}

/// The part of an ARN or path after the last `/`.
fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests;
