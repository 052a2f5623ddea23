//! Which reads follow from which answers: from the cluster's name to all that its network is made of.
//!
//! Each read starts as soon as the answer that names what it asks about is there, so no chain is longer than AWS
//! makes it. What eks-doctor has no use for in this cluster is not read.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::answer::Answer;
use super::aws::{Call, Request, Service};
use crate::cluster::policy::well_known;
use crate::shape::Str;
use crate::shape::ec2::{
    AutoScalingGroup, Instance, LaunchTemplateSpecification, LaunchTemplateVersion, Reservation, RouteTable,
    SecurityGroup, TransitGatewayRouteTable, Vpc, tag,
};
use crate::shape::eks::{Addon, Cluster, FargateProfile, Nodegroup, PodIdentityAssociation};
use crate::shape::elb::{LoadBalancer, TargetGroup};
use crate::shape::iam::{AttachedPolicy, InstanceProfile, OpenIdConnectProviderArn, Role};
use crate::shape::k8s::{Deployment, EC2NodeClass, ENIConfig, NodeClass, ServiceAccount};

/// The most values that a filter of EC2 takes.
const FILTER_VALUES: usize = 200;
/// The most instance types that one call takes.
const INSTANCE_TYPES: usize = 100;

/// What is known while reading one cluster.
#[derive(Debug, Default)]
pub(super) struct Plan {
    cluster: String,
    vpc: String,
    /// The path of the OIDC issuer, as it ends the ARN of its provider.
    issuer: String,
    /// What was already asked about: the kind and its id.
    seen: BTreeSet<(&'static str, String)>,
    /// Principals of access entries.
    entries: BTreeSet<String>,
    node_roles: BTreeSet<String>,
    /// Auto Scaling groups that others name, while the list by tag is not there yet.
    groups_named: BTreeSet<String>,
    groups_listed: bool,
    /// Service accounts of load balancer controllers, `namespace/name`.
    controllers: BTreeSet<String>,
    /// Pod Identity associations and roles by annotation, each of a service account.
    associations: BTreeMap<String, Vec<String>>,
    annotated: BTreeMap<String, String>,
}

impl Plan {
    pub fn new(cluster: &str) -> Plan {
        Plan { cluster: cluster.to_owned(), ..Plan::default() }
    }

    /// What is asked first: all that needs only the cluster's name.
    pub fn start(&self) -> Vec<Call> {
        let cluster = self.cluster.as_str();
        let eks = |operation, below: &str| Call::eks(operation, cluster, &[below]);
        vec![
            Call::eks("DescribeCluster", cluster, &[]).about(cluster),
            eks("ListNodegroups", "node-groups"),
            eks("ListFargateProfiles", "fargate-profiles"),
            eks("ListAddons", "addons"),
            eks("ListAccessEntries", "access-entries"),
            eks("ListPodIdentityAssociations", "pod-identity-associations"),
            eks("ListInsights", "insights"),
            Call::form(Service::Sts, "GetCallerIdentity"),
            Call::ec2("DescribeAvailabilityZones"),
            // Addresses have no VPC that one could ask for; a Region has few.
            Call::ec2("DescribeAddresses"),
            Call::form(Service::Autoscaling, "DescribeAutoScalingGroups").filter("tag-key", &[self.owned()]),
            Call::form(Service::Elbv2, "DescribeAccountLimits"),
        ]
    }

    fn owned(&self) -> String {
        format!("kubernetes.io/cluster/{}", self.cluster)
    }

    /// What an answer makes worth asking. Takes out of the answer what does not belong to the cluster.
    pub fn follow(&mut self, call: &Call, answer: &mut Answer) -> Vec<Call> {
        match call.operation {
            "DescribeCluster" => answer.one("cluster").map_or_else(Vec::new, |c: Cluster| self.cluster(&c)),
            "ListNodegroups" => self.below(answer, "nodegroups", "DescribeNodegroup", "node-groups"),
            "ListFargateProfiles" => {
                self.below(answer, "fargateProfileNames", "DescribeFargateProfile", "fargate-profiles")
            }
            "ListAddons" => self.below(answer, "addons", "DescribeAddon", "addons"),
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
            "DescribeAddon" => {
                let addon: Option<Addon> = answer.one("addon");
                addon.map_or_else(Vec::new, |addon| self.web_identity(&addon.serviceAccountRoleArn))
            }
            "DescribePodIdentityAssociation" => {
                let association: Option<PodIdentityAssociation> = answer.one("association");
                association.map_or_else(Vec::new, |a| self.role(&a.roleArn))
            }
            "DescribeVpcs" => {
                let vpcs: Vec<Vpc> = answer.list("Vpcs");
                // A VPC without options says `default`, which is no id.
                let sets: Vec<&Str> =
                    vpcs.iter().map(|v| &v.DhcpOptionsId).filter(|id| id.starts_with("dopt-")).collect();
                let mut calls = Vec::new();
                if !sets.is_empty() {
                    calls.push(Call::ec2("DescribeDhcpOptions").filter("dhcp-options-id", &sets));
                }
                if vpcs.iter().any(|vpc| !vpc.Ipv6CidrBlockAssociationSet.is_empty()) {
                    calls.extend(self.egress_only());
                }
                calls
            }
            "DescribeRouteTables" => self.routes(&answer.list("RouteTables")),
            "DescribeTransitGatewayRouteTables" => {
                let tables = answer.list::<TransitGatewayRouteTable>("TransitGatewayRouteTables");
                let search = |table: TransitGatewayRouteTable| {
                    Call::ec2("SearchTransitGatewayRoutes")
                        .about(&table.TransitGatewayRouteTableId)
                        .with("TransitGatewayRouteTableId", &table.TransitGatewayRouteTableId)
                        .filter("state", &["active", "blackhole"])
                };
                tables.into_iter().map(search).collect()
            }
            "DescribeSecurityGroups" => {
                let groups: Vec<SecurityGroup> = answer.list("SecurityGroups");
                let ids: Vec<&Str> = groups.iter().map(|g| &g.GroupId).collect();
                let rules = |ids: &[&Str]| Call::ec2("DescribeSecurityGroupRules").filter("group-id", ids);
                let mut calls: Vec<Call> = ids.chunks(FILTER_VALUES).map(rules).collect();
                let permissions = || groups.iter().flat_map(|g| g.IpPermissions.iter().chain(&g.IpPermissionsEgress));
                calls.extend(self.prefix_lists(permissions().flat_map(|p| &p.PrefixListIds).map(|p| &p.PrefixListId)));
                let pairs = permissions().flat_map(|p| &p.UserIdGroupPairs);
                calls.extend(self.peerings(pairs.map(|p| &p.VpcPeeringConnectionId)));
                calls
            }
            "DescribeInstances" => {
                let instances = answer.list::<Reservation>("Reservations").into_iter().flat_map(|r| r.Instances);
                self.instances(&instances.collect::<Vec<_>>())
            }
            "DescribeAutoScalingGroups" => {
                self.groups_listed |=
                    matches!(&call.request, Request::Form(p) if p.iter().any(|(k, _)| k.starts_with("Filters")));
                let groups: Vec<AutoScalingGroup> = answer.list("AutoScalingGroups");
                let mut calls: Vec<Call> = groups.iter().flat_map(|g| self.group(g)).collect();
                calls.extend(self.named_groups(&[]));
                calls
            }
            "DescribeLaunchTemplateVersions" => {
                let versions: Vec<LaunchTemplateVersion> = answer.list("LaunchTemplateVersions");
                versions.iter().flat_map(|version| self.template(version)).collect()
            }
            "DescribeLoadBalancers" => {
                answer.retain("LoadBalancers", |balancer: &LoadBalancer| balancer.VpcId == self.vpc);
                answer.list::<LoadBalancer>("LoadBalancers").iter().flat_map(balancer_reads).collect()
            }
            "DescribeTargetGroups" => {
                answer.retain("TargetGroups", |group: &TargetGroup| group.VpcId == self.vpc);
                answer.list::<TargetGroup>("TargetGroups").iter().flat_map(target_group_reads).collect()
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

    /// What objects of Kubernetes make worth asking AWS.
    pub fn follow_objects(&mut self, plural: &str, list: &str) -> Vec<Call> {
        match plural {
            "serviceaccounts" => {
                for account in items::<ServiceAccount>(list) {
                    let role = account.metadata.annotations.get("eks.amazonaws.com/role-arn").map(|a| a.trim());
                    if let Some(role) = role.filter(|r| !r.is_empty()) {
                        let account = format!("{}/{}", account.metadata.namespace, account.metadata.name);
                        self.annotated.insert(account, role.to_owned());
                    }
                }
                self.identities()
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
                self.subnets(&subnets)
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

    /// Whether this was not asked about before.
    fn new_to(&mut self, kind: &'static str, id: &str) -> bool {
        !id.is_empty() && self.seen.insert((kind, id.to_owned()))
    }

    fn below(&self, answer: &Answer, key: &str, operation: &'static str, part: &str) -> Vec<Call> {
        let read = |name: &String| Call::eks(operation, &self.cluster, &[part, name]).about(name);
        answer.list::<String>(key).iter().map(read).collect()
    }

    fn cluster(&mut self, cluster: &Cluster) -> Vec<Call> {
        self.vpc = cluster.resourcesVpcConfig.vpcId.to_string();
        let issuer = cluster.identity.iter().filter_map(|i| i.oidc.as_ref()).map(|o| &o.issuer).next();
        self.issuer = issuer.map_or("", Str::as_str).trim_start_matches("https://").to_owned();
        let mut calls = self.provider();
        calls.extend(self.role(&cluster.roleArn));
        if let Some(compute) = &cluster.computeConfig {
            calls.extend(self.node_role(&compute.nodeRoleArn));
        }
        if self.vpc.is_empty() {
            return calls;
        }
        let vpc = [self.vpc.as_str()];
        let of_vpc = |operation| Call::ec2(operation).filter("vpc-id", &vpc);
        for attribute in ["enableDnsSupport", "enableDnsHostnames"] {
            let about = format!("{}.{attribute}", self.vpc);
            let call = Call::ec2("DescribeVpcAttribute").about(&about);
            calls.push(call.with("VpcId", &self.vpc).with("Attribute", attribute));
        }
        calls.extend([
            of_vpc("DescribeVpcs"),
            of_vpc("DescribeSubnets"),
            of_vpc("DescribeRouteTables"),
            of_vpc("DescribeNatGateways"),
            of_vpc("DescribeVpcEndpoints"),
            of_vpc("DescribeSecurityGroups"),
            of_vpc("DescribeNetworkAcls"),
            of_vpc("DescribeNetworkInterfaces"),
            of_vpc("DescribeInstances"),
            Call::ec2("DescribeInternetGateways").filter("attachment.vpc-id", &vpc),
            Call::form(Service::Elbv2, "DescribeLoadBalancers"),
            Call::form(Service::Elbv2, "DescribeTargetGroups"),
        ]);
        calls
    }

    fn nodegroup(&mut self, group: &Nodegroup) -> Vec<Call> {
        let mut calls = self.node_role(&group.nodeRole);
        calls.extend(self.subnets(&group.subnets));
        calls.extend(self.types(group.instanceTypes.iter()));
        if let Some(template) = &group.launchTemplate {
            calls.extend(self.launch_template(&template.id, &template.version));
        }
        let groups = group.resources.iter().flat_map(|r| &r.autoScalingGroups).map(|g| &g.name);
        calls.extend(self.named_groups(&groups.collect::<Vec<_>>()));
        calls
    }

    /// Auto Scaling groups that something names, in so far as the list by tag does not hold them.
    fn named_groups(&mut self, names: &[&Str]) -> Vec<Call> {
        self.groups_named.extend(names.iter().map(|n| n.to_string()));
        if !self.groups_listed {
            return Vec::new();
        }
        let named = std::mem::take(&mut self.groups_named);
        let names: Vec<String> = named.into_iter().filter(|name| self.new_to("group", name)).collect();
        let call = |names: &[String]| {
            Call::form(Service::Autoscaling, "DescribeAutoScalingGroups").list("AutoScalingGroupNames", names)
        };
        names.chunks(50).map(call).collect()
    }

    /// The list of Auto Scaling groups by tag will not come.
    pub fn failed(&mut self, call: &Call) -> Vec<Call> {
        if call.operation == "DescribeAutoScalingGroups" && !self.groups_listed {
            self.groups_listed = true;
            return self.named_groups(&[]);
        }
        Vec::new()
    }

    fn group(&mut self, group: &AutoScalingGroup) -> Vec<Call> {
        let name = group.AutoScalingGroupName.as_str();
        self.seen.insert(("group", name.to_owned()));
        let mut calls = Vec::new();
        if self.new_to("activities", name) {
            let call = Call::form(Service::Autoscaling, "DescribeScalingActivities").about(name);
            calls.push(call.with("AutoScalingGroupName", name));
        }
        let subnets: Vec<Str> = group.VPCZoneIdentifier.split(',').map(|s| Str::new(s.trim())).collect();
        calls.extend(self.subnets(&subnets));
        let mixed = group.MixedInstancesPolicy.as_ref().map(|m| &m.LaunchTemplate);
        let templates = group.LaunchTemplate.iter().chain(mixed.map(|m| &m.LaunchTemplateSpecification));
        for LaunchTemplateSpecification { LaunchTemplateId, Version, .. } in templates {
            calls.extend(self.launch_template(LaunchTemplateId, Version));
        }
        calls.extend(self.types(mixed.iter().flat_map(|m| m.Overrides.iter().map(|o| &o.InstanceType))));
        calls
    }

    fn instances(&mut self, instances: &[Instance]) -> Vec<Call> {
        let mut calls = self.types(instances.iter().map(|i| &i.InstanceType));
        let mut groups = Vec::new();
        for instance in instances {
            if self.foreign(instance) {
                continue;
            }
            calls.extend(self.subnets(std::slice::from_ref(&instance.SubnetId)));
            if let Some(profile) = &instance.IamInstanceProfile {
                calls.extend(self.profile(&profile.Arn));
            }
            let tag = |key| tag(&instance.Tags, key);
            if let (Some(id), Some(version)) = (tag("aws:ec2launchtemplate:id"), tag("aws:ec2launchtemplate:version")) {
                calls.extend(self.launch_template(id, version));
            }
            groups.extend(tag("aws:autoscaling:groupName").map(Str::new));
        }
        calls.extend(self.named_groups(&groups.iter().collect::<Vec<_>>()));
        calls
    }

    /// Whether an instance says that it belongs to other clusters.
    fn foreign(&self, instance: &Instance) -> bool {
        let owned = self.owned();
        let mut clusters = instance.Tags.iter().filter(|t| t.Key.starts_with("kubernetes.io/cluster/")).peekable();
        clusters.peek().is_some() && clusters.all(|t| t.Key != owned)
    }

    fn types<'s>(&mut self, types: impl Iterator<Item = &'s Str>) -> Vec<Call> {
        let types = self.fresh("type", types);
        types
            .chunks(INSTANCE_TYPES)
            .map(|types| Call::ec2("DescribeInstanceTypes").list("InstanceType", types))
            .collect()
    }

    fn subnets(&mut self, subnets: &[Str]) -> Vec<Call> {
        let new = subnets.iter().filter(|id| self.new_to("subnet", id));
        let read = |id: &Str| Call::ec2("GetSubnetCidrReservations").about(id).with("SubnetId", id);
        new.map(read).collect()
    }

    fn launch_template(&mut self, id: &str, version: &str) -> Vec<Call> {
        let mut versions = Vec::new();
        // What is the latest is only known when it is read, too.
        for version in ["$Default", "$Latest", version] {
            if self.new_to("template", &format!("{id}:{version}")) && !version.is_empty() {
                versions.push(version);
            }
        }
        if id.is_empty() || versions.is_empty() {
            return Vec::new();
        }
        let call = Call::ec2("DescribeLaunchTemplateVersions").about(id).with("LaunchTemplateId", id);
        vec![call.list("LaunchTemplateVersion", &versions)]
    }

    fn template(&mut self, version: &LaunchTemplateVersion) -> Vec<Call> {
        let data = &version.LaunchTemplateData;
        let mut calls = self.types(std::iter::once(&data.InstanceType));
        if let Some(profile) = &data.IamInstanceProfile {
            calls.extend(self.profile(if profile.Arn.is_empty() { &profile.Name } else { &profile.Arn }));
        }
        for key in data.BlockDeviceMappings.iter().filter_map(|m| m.Ebs.as_ref()).map(|e| e.KmsKeyId.as_str()) {
            // GetKeyPolicy takes no alias, and AWS's own keys may be used by everyone.
            if !key.contains("alias/") && self.new_to("key", last(key)) {
                let asked = serde_json::json!({"KeyId": key, "PolicyName": "default"}).to_string();
                let request = Request::Json(asked);
                let argument = Some(last(key).to_owned());
                calls.push(Call { service: Service::Kms, operation: "GetKeyPolicy", argument, request });
            }
        }
        calls
    }

    fn routes(&mut self, tables: &[RouteTable]) -> Vec<Call> {
        let routes = || tables.iter().flat_map(|table| &table.Routes);
        let mut calls = self.prefix_lists(routes().map(|r| &r.DestinationPrefixListId));
        calls.extend(self.peerings(routes().map(|r| &r.VpcPeeringConnectionId)));
        if routes().any(|r| !r.EgressOnlyInternetGatewayId.is_empty()) {
            calls.extend(self.egress_only());
        }
        let gateways = self.fresh("transit gateway", routes().map(|r| &r.TransitGatewayId));
        if !gateways.is_empty() {
            let read = |operation| Call::ec2(operation).filter("transit-gateway-id", &gateways);
            calls.extend([
                read("DescribeTransitGateways"),
                read("DescribeTransitGatewayAttachments"),
                read("DescribeTransitGatewayVpcAttachments"),
                read("DescribeTransitGatewayRouteTables"),
            ]);
        }
        calls
    }

    /// Those that were not asked about before.
    fn fresh<'s>(&mut self, kind: &'static str, ids: impl Iterator<Item = &'s Str>) -> Vec<&'s Str> {
        ids.filter(|id| self.new_to(kind, id)).collect()
    }

    fn prefix_lists<'s>(&mut self, ids: impl Iterator<Item = &'s Str>) -> Vec<Call> {
        let ids = self.fresh("prefix list", ids);
        let lists = |ids: &[&Str]| Call::ec2("DescribeManagedPrefixLists").filter("prefix-list-id", ids);
        let mut calls: Vec<Call> = ids.chunks(FILTER_VALUES).map(lists).collect();
        let entries = |id: &&Str| Call::ec2("GetManagedPrefixListEntries").about(id).with("PrefixListId", id);
        calls.extend(ids.iter().map(entries));
        calls
    }

    fn peerings<'s>(&mut self, ids: impl Iterator<Item = &'s Str>) -> Vec<Call> {
        let ids = self.fresh("peering", ids);
        let read = |ids: &[&Str]| Call::ec2("DescribeVpcPeeringConnections").filter("vpc-peering-connection-id", ids);
        ids.chunks(FILTER_VALUES).map(read).collect()
    }

    /// They have no filter by VPC; an account has few.
    fn egress_only(&mut self) -> Option<Call> {
        self.new_to("read", "egress-only").then(|| Call::ec2("DescribeEgressOnlyInternetGateways"))
    }

    fn profile(&mut self, profile: &str) -> Vec<Call> {
        let name = last(profile);
        let new = self.new_to("profile", name);
        new.then(|| Call::iam("GetInstanceProfile", name, &[("InstanceProfileName", name)])).into_iter().collect()
    }

    /// A role that nodes have: besides what it may do, its access entry counts.
    fn node_role(&mut self, role: &str) -> Vec<Call> {
        let mut calls = self.role(role);
        if !role.is_empty() && self.node_roles.insert(last(role).to_owned()) {
            calls.extend(self.access_entries());
        }
        calls
    }

    fn access_entries(&mut self) -> Vec<Call> {
        let entries: Vec<String> = self.entries.iter().filter(|e| self.node_roles.contains(last(e))).cloned().collect();
        let new = entries.into_iter().filter(|entry| self.new_to("access entry", entry));
        let entries: Vec<String> = new.collect();
        let read = |arn: &String| Call::eks("DescribeAccessEntry", &self.cluster, &["access-entries", arn]).about(arn);
        entries.iter().map(read).collect()
    }

    fn role(&mut self, role: &str) -> Vec<Call> {
        let name = last(role);
        if !self.new_to("role", name) {
            return Vec::new();
        }
        let read = |operation| Call::iam(operation, name, &[("RoleName", name)]);
        vec![read("GetRole"), read("ListAttachedRolePolicies"), read("ListRolePolicies")]
    }

    /// A role that is taken with a token of the cluster's issuer.
    fn web_identity(&mut self, role: &str) -> Vec<Call> {
        let mut calls = self.role(role);
        if !role.is_empty() && self.new_to("read", "providers") {
            calls.push(Call::form(Service::Iam, "ListOpenIDConnectProviders"));
        }
        calls
    }

    /// What a managed policy says; of Amazon's own that eks-doctor knows it need not be asked.
    fn policy(&mut self, arn: &str) -> Vec<Call> {
        if well_known(arn).is_some() || !self.new_to("policy", arn) {
            return Vec::new();
        }
        vec![Call::iam("GetPolicy", last(arn), &[("PolicyArn", arn)])]
    }

    /// The roles of the service accounts that the network hangs on: the CNI's and the load balancer controllers'.
    fn identities(&mut self) -> Vec<Call> {
        let controllers = self.controllers.clone();
        let counts = |account: &str| {
            account == "kube-system/aws-node"
                || account.ends_with("load-balancer-controller")
                || controllers.contains(account)
        };
        let associations: Vec<String> =
            self.associations.iter().filter(|(a, _)| counts(a)).flat_map(|(_, ids)| ids.clone()).collect();
        let roles: Vec<String> = self.annotated.iter().filter(|(a, _)| counts(a)).map(|(_, r)| r.clone()).collect();
        let mut calls: Vec<Call> = roles.iter().flat_map(|role| self.web_identity(role)).collect();
        for id in associations {
            if self.new_to("association", &id) {
                let below = ["pod-identity-associations", id.as_str()];
                calls.push(Call::eks("DescribePodIdentityAssociation", &self.cluster, &below).about(&id));
            }
        }
        calls
    }

    /// The OIDC provider of the cluster's issuer, when both are known.
    fn provider(&mut self) -> Vec<Call> {
        let ours =
            |arn: &&(&str, String)| arn.0 == "provider" && !self.issuer.is_empty() && arn.1.ends_with(&self.issuer);
        let Some((_, arn)) = self.seen.iter().find(ours).cloned() else { return Vec::new() };
        vec![Call::iam("GetOpenIDConnectProvider", &arn, &[("OpenIDConnectProviderArn", &arn)])]
    }
}

/// Attributes are asked for where they decide about packets: of an ALB, its zones and clients' addresses are settled.
fn balancer_reads(balancer: &LoadBalancer) -> Vec<Call> {
    let mut reads = vec!["DescribeListeners"];
    if balancer.Type != "application" {
        reads.push("DescribeLoadBalancerAttributes");
    }
    let call = |read| Call::form(Service::Elbv2, read).about(&balancer.LoadBalancerName);
    reads.into_iter().map(|read| call(read).with("LoadBalancerArn", &balancer.LoadBalancerArn)).collect()
}

fn target_group_reads(group: &TargetGroup) -> Vec<Call> {
    let mut reads = vec!["DescribeTargetHealth"];
    if !matches!(group.Protocol.as_str(), "HTTP" | "HTTPS") {
        reads.push("DescribeTargetGroupAttributes");
    }
    let call = |read| Call::form(Service::Elbv2, read).about(&group.TargetGroupName);
    reads.into_iter().map(|read| call(read).with("TargetGroupArn", &group.TargetGroupArn)).collect()
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
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.insert(path);
            }
        }
    }

    /// Reads a fixture as if it were AWS. Returns the calls and the length of the longest chain of them.
    fn read(fixture: &Path, cluster: &str) -> (BTreeSet<Call>, usize, BTreeSet<PathBuf>) {
        let mut plan = Plan::new(cluster);
        let mut open: Vec<(Call, usize)> = plan.start().into_iter().map(|call| (call, 1)).collect();
        for kind in ["serviceaccounts", "deployments.apps", "eniconfigs.crd.k8s.amazonaws.com"] {
            if let Ok(list) = std::fs::read_to_string(fixture.join(format!("k8s/{kind}.json"))) {
                open.extend(plan.follow_objects(kind, &list).into_iter().map(|call| (call, 2)));
            }
        }
        let (mut asked, mut longest, mut found) = (BTreeSet::new(), 0, BTreeSet::new());
        while let Some((call, depth)) = open.pop() {
            longest = longest.max(depth);
            assert!(asked.insert(call.clone()), "asked twice: {call:?}");
            let path = match call.file() {
                Some(file) => format!("aws/{}/{}.json", call.path(), last(&file)),
                None => format!("aws/{}.json", call.path()),
            };
            let path = fixture.join(path);
            let Ok(body) = std::fs::read(&path) else { continue };
            found.insert(path);
            let mut answer = Answer::from_json(call.service.name(), call.operation, &body).unwrap();
            open.extend(plan.follow(&call, &mut answer).into_iter().map(|call| (call, depth + 1)));
        }
        (asked, longest, found)
    }

    #[test]
    fn everything_that_a_healthy_cluster_has_is_asked_for() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/healthy");
        let mut there = BTreeSet::new();
        files(&fixture.join("aws"), &mut there);
        let cluster =
            std::fs::read_dir(fixture.join("aws/eks/describe-cluster")).unwrap().next().unwrap().unwrap().path();
        let cluster = cluster.file_stem().unwrap().to_string_lossy().into_owned();
        let (_, longest, found) = read(&fixture, &cluster);
        let name = |path: &&PathBuf| path.strip_prefix(&fixture).unwrap().to_string_lossy().into_owned();
        let forgotten: Vec<String> = there.difference(&found).map(|p| name(&p)).collect();
        // What the cluster has no use for, as `docs/live.md` tells.
        let unused = |file: &String| {
            let unused = [
                "transit-gateway",
                "peering",
                "egress-only",
                "get-policy-version",
                "attributes",
                "prefix-list",
                "get-subnet-cidr-reservations",
                "describe-access-entry/Admin",
            ];
            unused.iter().any(|u| file.contains(u))
        };
        let forgotten: Vec<String> = forgotten.into_iter().filter(|file| !unused(file)).collect();
        assert_eq!(forgotten, Vec::<String>::new());
        // DescribeCluster, DescribeInstances, GetInstanceProfile, ListAttachedRolePolicies, GetPolicy, GetPolicyVersion.
        assert!(longest <= 6, "{longest}");
    }

    #[test]
    fn other_clusters_instances_are_not_followed() {
        let mut plan = Plan::new("prod");
        let instance = |cluster: &str| {
            let text = format!(
                r#"{{"InstanceId": "i-1", "InstanceType": "m5.large", "SubnetId": "subnet-{cluster}",
                    "IamInstanceProfile": {{"Arn": "arn:aws:iam::1:instance-profile/{cluster}"}},
                    "Tags": [{{"Key": "kubernetes.io/cluster/{cluster}", "Value": "owned"}}]}}"#
            );
            serde_json::from_str::<Instance>(&text).unwrap()
        };
        let calls = plan.instances(&[instance("prod"), instance("dev")]);
        let about: Vec<&str> = calls.iter().filter_map(|c| c.argument.as_deref()).collect();
        assert_eq!(about, ["subnet-prod", "prod"]);
    }
}
