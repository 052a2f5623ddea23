//! Which objects there are, how an answer is recognised, and where each was read.

use std::collections::HashMap;

use crate::shape::{Described, Row, Schema, Shape, Str, ec2::*, eks::*, elb::*, iam::*, k8s::*};

/// Where in the snapshot something stands: a document and an element in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index into [`Snapshot::documents`](super::Snapshot::documents).
    pub document: u32,
    pub element: Element,
}

/// Which part of a document an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// The whole document.
    Whole,
    /// The value of a top-level key.
    Key(&'static str),
    /// An element of the list under a top-level key.
    Item(&'static str, u32),
    /// An element of a list of lists: `/Reservations/0/Instances/1`.
    Nested(&'static str, u32, &'static str, u32),
}

impl Element {
    /// As a JSON pointer (RFC 6901).
    pub fn pointer(self) -> String {
        match self {
            Element::Whole => String::new(),
            Element::Key(key) => format!("/{key}"),
            Element::Item(key, i) => format!("/{key}/{i}"),
            Element::Nested(outer, i, inner, j) => format!("/{outer}/{i}/{inner}/{j}"),
        }
    }
}

/// How an answer is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A top-level key with a list of the objects.
    List(&'static str),
    /// A top-level key with the one object.
    One(&'static str),
    /// The document is the object; this top-level key tells.
    Whole(&'static str),
    /// Kubernetes items of this kind, API group and plural.
    Kind(&'static str, &'static str, &'static str),
}

/// What is known about a table without its rows.
#[derive(Debug)]
pub struct TableInfo {
    pub id: TableId,
    /// The shape's name.
    pub shape: &'static str,
    pub schema: fn() -> &'static Schema,
    /// The operation that reads it, as IAM spells it (`ec2:DescribeVpcs`, `k8s:nodes`).
    pub read: &'static str,
    pub source: Source,
}

/// A recorded object and its row.
pub struct Rec<'a, T> {
    pub row: Row,
    pub value: &'a T,
}
impl<T> Clone for Rec<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Rec<'_, T> {}
impl<T> std::ops::Deref for Rec<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}
impl<T: std::fmt::Debug> std::fmt::Debug for Rec<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

/// All objects of one shape.
#[derive(Debug)]
pub struct Table<T> {
    pub(super) id: TableId,
    pub(super) rows: Vec<T>,
    pub(super) places: Vec<Place>,
    pub(super) index: HashMap<Str, u32>,
}

impl<T> Table<T> {
    fn new(id: TableId) -> Self {
        Table { id, rows: Vec::new(), places: Vec::new(), index: HashMap::new() }
    }
    /// The object with this id (for Kubernetes objects `namespace/name`).
    pub fn get(&self, id: &str) -> Option<Rec<'_, T>> {
        self.index.get(id).map(|&i| self.at(i))
    }
    pub fn at(&self, index: u32) -> Rec<'_, T> {
        Rec { row: Row { table: self.id, index }, value: &self.rows[index as usize] }
    }
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Rec<'_, T>> + Clone {
        let table = self.id;
        self.rows.iter().enumerate().map(move |(i, value)| Rec { row: Row { table, index: i as u32 }, value })
    }
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    pub(super) fn push(&mut self, value: T, place: Place) {
        self.rows.push(value);
        self.places.push(place);
    }
}

/// An object that a table holds.
pub trait Object: Described + Sized + PartialEq {
    const TABLE: TableId;
    /// The id that others refer to it by.
    fn id(&self) -> Str;
    fn table(tables: &Tables) -> &Table<Self>;
}

macro_rules! tables {
    ($( $field:ident $variant:ident : $shape:ident, $source:expr, $read:literal, |$this:ident| $id:expr; )*) => {
        /// Which table of the snapshot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TableId { $( $variant ),* }

        /// Every table of a snapshot.
        #[derive(Debug)]
        pub struct Tables { $( pub $field: Table<$shape> ),* }

        impl Default for Tables {
            fn default() -> Self {
                Tables { $( $field: Table::new(TableId::$variant) ),* }
            }
        }

        $( impl Object for $shape {
            const TABLE: TableId = TableId::$variant;
            fn id(&self) -> Str {
                let $this = self;
                $id
            }
            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$field
            }
        } )*

        /// All tables there are.
        pub static TABLES: &[TableInfo] = &[ $( TableInfo {
            id: TableId::$variant,
            shape: stringify!($shape),
            schema: <$shape as Described>::described,
            read: $read,
            source: $source,
        } ),* ];

        impl Tables {
            /// The object in a row.
            pub fn shape(&self, row: Row) -> &dyn Shape {
                match row.table { $( TableId::$variant => &self.$field.rows[row.index as usize] ),* }
            }
            /// Where the object in a row was read.
            pub fn place(&self, row: Row) -> Place {
                match row.table { $( TableId::$variant => self.$field.places[row.index as usize] ),* }
            }
            /// The id of the object in a row.
            pub fn id(&self, row: Row) -> Str {
                match row.table { $( TableId::$variant => self.$field.rows[row.index as usize].id() ),* }
            }
            pub fn len(&self, table: TableId) -> usize {
                match table { $( TableId::$variant => self.$field.rows.len() ),* }
            }
            pub(super) fn read_list<'de, A: serde::de::MapAccess<'de>>(&mut self, table: TableId, key: &'static str, map: &mut A, document: u32) -> Result<(), A::Error> {
                match table { $( TableId::$variant => super::load::list(&mut self.$field, key, map, document) ),* }
            }
            pub(super) fn read_value<'de, D: serde::Deserializer<'de>>(&mut self, table: TableId, place: Place, deserializer: D) -> Result<(), D::Error> {
                match table { $( TableId::$variant => {
                    let value = <$shape as serde::Deserialize>::deserialize(deserializer)?;
                    self.$field.push(value, place);
                } ),* }
                Ok(())
            }
            /// Drops the rows of a document that could not be read to its end.
            pub(super) fn forget(&mut self, document: u32) {
                $( self.$field.forget(document); )*
            }
            /// Sorts by id, drops repetitions and tells of those that differ.
            pub(super) fn settle(&mut self, differing: &mut Vec<(TableId, Str, Place, Place)>) {
                $( self.$field.settle(differing); )*
            }
        }
    };
}

impl<T> Table<T> {
    fn forget(&mut self, document: u32) {
        while self.places.last().is_some_and(|p| p.document == document) {
            self.places.pop();
            self.rows.pop();
        }
    }
}

impl<T: Object> Table<T> {
    fn settle(&mut self, differing: &mut Vec<(TableId, Str, Place, Place)>) {
        let ids: Vec<Str> = self.rows.iter().map(Object::id).collect();
        let Some(order) = order(&ids, &self.places) else {
            self.index = index(ids.into_iter());
            return;
        };
        let mut rows: Vec<Option<T>> = std::mem::take(&mut self.rows).into_iter().map(Some).collect();
        let places = std::mem::take(&mut self.places);
        let mut kept: Vec<Str> = Vec::with_capacity(ids.len());
        for at in order {
            let (Some(row), id) = (rows[at].take(), &ids[at]) else { continue };
            if let (Some(last), Some(before)) = (self.rows.last(), kept.last())
                && !id.is_empty()
                && before == id
            {
                if *last != row {
                    differing.push((self.id, id.clone(), self.places[self.places.len() - 1], places[at]));
                }
                continue;
            }
            kept.push(id.clone());
            self.push(row, places[at]);
        }
        self.index = index(kept.into_iter());
    }
}

/// The order by id, then place; none when they stand in it and no id repeats.
fn order(ids: &[Str], places: &[Place]) -> Option<Vec<usize>> {
    if ids.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_unstable_by(|&a, &b| ids[a].cmp(&ids[b]).then(places[a].cmp(&places[b])));
    Some(order)
}

fn index(ids: std::vec::IntoIter<Str>) -> HashMap<Str, u32> {
    ids.zip(0..).filter(|(id, _)| !id.is_empty()).collect()
}

fn named(meta: &ObjectMeta) -> Str {
    if meta.namespace.is_empty() {
        meta.name.clone()
    } else {
        compact_str::format_compact!("{}/{}", meta.namespace, meta.name)
    }
}
fn and(a: &str, b: &str) -> Str {
    compact_str::format_compact!("{a}/{b}")
}

use Source::{Kind, List, One, Whole};

tables! {
    clusters Clusters: Cluster, One("cluster"), "eks:DescribeCluster", |c| c.arn.clone();
    nodegroup_names NodegroupNames: NodegroupNames, Whole("nodegroups"), "eks:ListNodegroups", |_n| Str::default();
    nodegroups Nodegroups: Nodegroup, One("nodegroup"), "eks:DescribeNodegroup", |n| and(&n.clusterName, &n.nodegroupName);
    fargate_profile_names FargateProfileNames: FargateProfileNames, Whole("fargateProfileNames"), "eks:ListFargateProfiles", |_n| Str::default();
    fargate_profiles FargateProfiles: FargateProfile, One("fargateProfile"), "eks:DescribeFargateProfile", |f| and(&f.clusterName, &f.fargateProfileName);
    addon_names AddonNames: AddonNames, Whole("addons"), "eks:ListAddons", |_n| Str::default();
    addons Addons: Addon, One("addon"), "eks:DescribeAddon", |a| and(&a.clusterName, &a.addonName);
    access_entry_names AccessEntryNames: AccessEntryNames, Whole("accessEntries"), "eks:ListAccessEntries", |_n| Str::default();
    access_entries AccessEntries: AccessEntry, One("accessEntry"), "eks:DescribeAccessEntry", |a| and(&a.clusterName, &a.principalArn);
    pod_identity_names PodIdentityNames: PodIdentityAssociationNames, Whole("associations"), "eks:ListPodIdentityAssociations", |_n| Str::default();
    pod_identity_associations PodIdentityAssociations: PodIdentityAssociation, One("association"), "eks:DescribePodIdentityAssociation", |p| p.associationArn.clone();
    insights Insights: Insight, List("insights"), "eks:ListInsights", |i| i.id.clone();
    vpcs Vpcs: Vpc, List("Vpcs"), "ec2:DescribeVpcs", |v| v.VpcId.clone();
    vpc_attributes VpcAttributes: VpcAttribute, Whole("VpcId"), "ec2:DescribeVpcAttribute", |v| compact_str::format_compact!("{}.{}", v.VpcId, if v.EnableDnsSupport.is_some() { "enableDnsSupport" } else { "enableDnsHostnames" });
    dhcp_options DhcpOptionsSets: DhcpOptions, List("DhcpOptions"), "ec2:DescribeDhcpOptions", |d| d.DhcpOptionsId.clone();
    subnets Subnets: Subnet, List("Subnets"), "ec2:DescribeSubnets", |s| s.SubnetId.clone();
    subnet_cidr_reservations SubnetCidrReservations: SubnetCidrReservations, Whole("SubnetIpv4CidrReservations"), "ec2:GetSubnetCidrReservations", |s| s.Argument.clone();
    route_tables RouteTables: RouteTable, List("RouteTables"), "ec2:DescribeRouteTables", |r| r.RouteTableId.clone();
    internet_gateways InternetGateways: InternetGateway, List("InternetGateways"), "ec2:DescribeInternetGateways", |i| i.InternetGatewayId.clone();
    egress_only_internet_gateways EgressOnlyInternetGateways: EgressOnlyInternetGateway, List("EgressOnlyInternetGateways"), "ec2:DescribeEgressOnlyInternetGateways", |i| i.EgressOnlyInternetGatewayId.clone();
    nat_gateways NatGateways: NatGateway, List("NatGateways"), "ec2:DescribeNatGateways", |n| n.NatGatewayId.clone();
    transit_gateways TransitGateways: TransitGateway, List("TransitGateways"), "ec2:DescribeTransitGateways", |t| t.TransitGatewayId.clone();
    transit_gateway_attachments TransitGatewayAttachments: TransitGatewayAttachment, List("TransitGatewayAttachments"), "ec2:DescribeTransitGatewayAttachments", |t| if t.ResourceType == "peering" { and(&t.TransitGatewayAttachmentId, &t.TransitGatewayId) } else { t.TransitGatewayAttachmentId.clone() };
    transit_gateway_vpc_attachments TransitGatewayVpcAttachments: TransitGatewayVpcAttachment, List("TransitGatewayVpcAttachments"), "ec2:DescribeTransitGatewayVpcAttachments", |t| t.TransitGatewayAttachmentId.clone();
    transit_gateway_route_tables TransitGatewayRouteTables: TransitGatewayRouteTable, List("TransitGatewayRouteTables"), "ec2:DescribeTransitGatewayRouteTables", |t| t.TransitGatewayRouteTableId.clone();
    transit_gateway_routes TransitGatewayRoutes: TransitGatewayRoutes, Whole("Routes"), "ec2:SearchTransitGatewayRoutes", |t| t.Argument.clone();
    vpc_peering_connections VpcPeeringConnections: VpcPeeringConnection, List("VpcPeeringConnections"), "ec2:DescribeVpcPeeringConnections", |p| p.VpcPeeringConnectionId.clone();
    vpc_endpoints VpcEndpoints: VpcEndpoint, List("VpcEndpoints"), "ec2:DescribeVpcEndpoints", |e| e.VpcEndpointId.clone();
    prefix_lists PrefixLists: PrefixList, List("PrefixLists"), "ec2:DescribeManagedPrefixLists", |p| if p.Cidrs.is_empty() { p.PrefixListId.clone() } else { and(&p.PrefixListId, "cidrs") };
    prefix_list_entries PrefixListEntries: PrefixListEntries, Whole("Entries"), "ec2:GetManagedPrefixListEntries", |p| p.Argument.clone();
    security_groups SecurityGroups: SecurityGroup, List("SecurityGroups"), "ec2:DescribeSecurityGroups", |s| s.GroupId.clone();
    security_group_rules SecurityGroupRules: SecurityGroupRule, List("SecurityGroupRules"), "ec2:DescribeSecurityGroupRules", |s| s.SecurityGroupRuleId.clone();
    network_acls NetworkAcls: NetworkAcl, List("NetworkAcls"), "ec2:DescribeNetworkAcls", |n| n.NetworkAclId.clone();
    network_interfaces NetworkInterfaces: NetworkInterface, List("NetworkInterfaces"), "ec2:DescribeNetworkInterfaces", |n| n.NetworkInterfaceId.clone();
    addresses Addresses: Address, List("Addresses"), "ec2:DescribeAddresses", |a| if a.AllocationId.is_empty() { a.PublicIp.clone() } else { a.AllocationId.clone() };
    instances Instances: Instance, List("Reservations"), "ec2:DescribeInstances", |i| i.InstanceId.clone();
    instance_types InstanceTypes: InstanceType, List("InstanceTypes"), "ec2:DescribeInstanceTypes", |i| i.InstanceType.clone();
    launch_template_versions LaunchTemplateVersions: LaunchTemplateVersion, List("LaunchTemplateVersions"), "ec2:DescribeLaunchTemplateVersions", |l| compact_str::format_compact!("{}:{}", l.LaunchTemplateId, l.VersionNumber.unwrap_or_default());
    availability_zones AvailabilityZones: AvailabilityZone, List("AvailabilityZones"), "ec2:DescribeAvailabilityZones", |z| z.ZoneName.clone();
    auto_scaling_groups AutoScalingGroups: AutoScalingGroup, List("AutoScalingGroups"), "autoscaling:DescribeAutoScalingGroups", |a| a.AutoScalingGroupARN.clone();
    activities Activities: Activity, List("Activities"), "autoscaling:DescribeScalingActivities", |a| a.ActivityId.clone();
    load_balancers LoadBalancers: LoadBalancer, List("LoadBalancers"), "elasticloadbalancing:DescribeLoadBalancers", |l| l.LoadBalancerArn.clone();
    target_groups TargetGroups: TargetGroup, List("TargetGroups"), "elasticloadbalancing:DescribeTargetGroups", |t| t.TargetGroupArn.clone();
    target_healths TargetHealths: TargetHealths, Whole("TargetHealthDescriptions"), "elasticloadbalancing:DescribeTargetHealth", |t| t.Argument.clone();
    listeners Listeners: Listener, List("Listeners"), "elasticloadbalancing:DescribeListeners", |l| l.ListenerArn.clone();
    elb_attributes ElbAttributes: ElbAttributes, Whole("Attributes"), "elasticloadbalancing:DescribeLoadBalancerAttributes", |a| if a.of_target_group() { and("target-group", &a.Argument) } else { a.Argument.clone() };
    limits Limits: Limit, List("Limits"), "elasticloadbalancing:DescribeAccountLimits", |l| l.Name.clone();
    roles Roles: Role, One("Role"), "iam:GetRole", |r| r.Arn.clone();
    instance_profiles InstanceProfiles: InstanceProfile, One("InstanceProfile"), "iam:GetInstanceProfile", |i| i.Arn.clone();
    attached_role_policies AttachedRolePolicies: AttachedRolePolicies, Whole("AttachedPolicies"), "iam:ListAttachedRolePolicies", |a| a.Argument.clone();
    role_policy_names RolePolicyNames: RolePolicyNames, Whole("PolicyNames"), "iam:ListRolePolicies", |r| r.Argument.clone();
    role_policies RolePolicies: RolePolicy, Whole("RoleName"), "iam:GetRolePolicy", |r| and(&r.RoleName, &r.PolicyName);
    managed_policies ManagedPolicies: ManagedPolicy, Whole("PolicyVersion"), "iam:GetPolicyVersion", |p| p.Argument.clone();
    oidc_provider_list OidcProviderList: OpenIdConnectProviderList, Whole("OpenIDConnectProviderList"), "iam:ListOpenIDConnectProviders", |_o| Str::default();
    oidc_providers OidcProviders: OpenIdConnectProvider, Whole("Url"), "iam:GetOpenIDConnectProvider", |o| o.Url.clone();
    key_policies KeyPolicies: KeyPolicy, Whole("Policy"), "kms:GetKeyPolicy", |k| k.Argument.clone();
    caller_identities CallerIdentities: CallerIdentity, Whole("UserId"), "sts:GetCallerIdentity", |c| c.Arn.clone();
    nodes Nodes: Node, Kind("Node", "", "nodes"), "k8s:nodes", |n| named(&n.metadata);
    pods Pods: Pod, Kind("Pod", "", "pods"), "k8s:pods", |p| named(&p.metadata);
    services Services: Service, Kind("Service", "", "services"), "k8s:services", |s| named(&s.metadata);
    endpoint_slices EndpointSlices: EndpointSlice, Kind("EndpointSlice", "discovery.k8s.io", "endpointslices"), "k8s:endpointslices.discovery.k8s.io", |e| named(&e.metadata);
    ingresses Ingresses: Ingress, Kind("Ingress", "networking.k8s.io", "ingresses"), "k8s:ingresses.networking.k8s.io", |i| named(&i.metadata);
    ingress_classes IngressClasses: IngressClass, Kind("IngressClass", "networking.k8s.io", "ingressclasses"), "k8s:ingressclasses.networking.k8s.io", |i| named(&i.metadata);
    network_policies NetworkPolicies: NetworkPolicy, Kind("NetworkPolicy", "networking.k8s.io", "networkpolicies"), "k8s:networkpolicies.networking.k8s.io", |n| named(&n.metadata);
    daemon_sets DaemonSets: DaemonSet, Kind("DaemonSet", "apps", "daemonsets"), "k8s:daemonsets.apps", |d| named(&d.metadata);
    deployments Deployments: Deployment, Kind("Deployment", "apps", "deployments"), "k8s:deployments.apps", |d| named(&d.metadata);
    config_maps ConfigMaps: ConfigMap, Kind("ConfigMap", "", "configmaps"), "k8s:configmaps", |c| named(&c.metadata);
    service_accounts ServiceAccounts: ServiceAccount, Kind("ServiceAccount", "", "serviceaccounts"), "k8s:serviceaccounts", |s| named(&s.metadata);
    namespaces Namespaces: Namespace, Kind("Namespace", "", "namespaces"), "k8s:namespaces", |n| named(&n.metadata);
    events Events: Event, Kind("Event", "", "events"), "k8s:events", |e| named(&e.metadata);
    pod_disruption_budgets PodDisruptionBudgets: PodDisruptionBudget, Kind("PodDisruptionBudget", "policy", "poddisruptionbudgets"), "k8s:poddisruptionbudgets.policy", |p| named(&p.metadata);
    cluster_roles ClusterRoles: ClusterRole, Kind("ClusterRole", "rbac.authorization.k8s.io", "clusterroles"), "k8s:clusterroles.rbac.authorization.k8s.io", |c| named(&c.metadata);
    mutating_webhooks MutatingWebhooks: MutatingWebhookConfiguration, Kind("MutatingWebhookConfiguration", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"), "k8s:mutatingwebhookconfigurations.admissionregistration.k8s.io", |w| named(&w.metadata);
    validating_webhooks ValidatingWebhooks: ValidatingWebhookConfiguration, Kind("ValidatingWebhookConfiguration", "admissionregistration.k8s.io", "validatingwebhookconfigurations"), "k8s:validatingwebhookconfigurations.admissionregistration.k8s.io", |w| named(&w.metadata);
    eni_configs EniConfigs: ENIConfig, Kind("ENIConfig", "crd.k8s.amazonaws.com", "eniconfigs"), "k8s:eniconfigs.crd.k8s.amazonaws.com", |e| named(&e.metadata);
    security_group_policies SecurityGroupPolicies: SecurityGroupPolicy, Kind("SecurityGroupPolicy", "vpcresources.k8s.aws", "securitygrouppolicies"), "k8s:securitygrouppolicies.vpcresources.k8s.aws", |s| named(&s.metadata);
    cni_nodes CniNodes: CNINode, Kind("CNINode", "vpcresources.k8s.aws", "cninodes"), "k8s:cninodes.vpcresources.k8s.aws", |c| named(&c.metadata);
    target_group_bindings TargetGroupBindings: TargetGroupBinding, Kind("TargetGroupBinding", "elbv2.k8s.aws", "targetgroupbindings"), "k8s:targetgroupbindings.elbv2.k8s.aws", |t| named(&t.metadata);
    ingress_class_params IngressClassParamsSets: IngressClassParams, Kind("IngressClassParams", "elbv2.k8s.aws", "ingressclassparams"), "k8s:ingressclassparams.elbv2.k8s.aws", |i| named(&i.metadata);
    ec2_node_classes Ec2NodeClasses: EC2NodeClass, Kind("EC2NodeClass", "karpenter.k8s.aws", "ec2nodeclasses"), "k8s:ec2nodeclasses.karpenter.k8s.aws", |e| named(&e.metadata);
    node_pools NodePools: NodePool, Kind("NodePool", "karpenter.sh", "nodepools"), "k8s:nodepools.karpenter.sh", |n| named(&n.metadata);
    node_classes NodeClasses: NodeClass, Kind("NodeClass", "eks.amazonaws.com", "nodeclasses"), "k8s:nodeclasses.eks.amazonaws.com", |n| named(&n.metadata);
}

impl TableId {
    pub fn info(self) -> &'static TableInfo {
        &TABLES[self as usize]
    }
}
