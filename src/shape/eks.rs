//! EKS's answers.

use std::collections::BTreeMap;

use super::{Scalar, Str, shapes};

shapes! {
    /// An EKS cluster, of `DescribeCluster`.
    Cluster {
        name: Str, arn: Str, createdAt: Scalar, version: Str, endpoint: Str, roleArn: Str, resourcesVpcConfig: VpcConfig,
        kubernetesNetworkConfig: KubernetesNetworkConfig, identity: Option<Identity>, status: Str, platformVersion: Str,
        health: ClusterHealth, accessConfig: Option<AccessConfig>, computeConfig: Option<ComputeConfig>,
        remoteNetworkConfig: Option<RemoteNetworkConfig>, connectorConfig: Option<serde_json::Value>, outpostConfig: Option<serde_json::Value>, tags: BTreeMap<Str, Str>,
    }
    /// Where a cluster's control plane meets the VPC.
    VpcConfig {
        subnetIds: Vec<Str>, securityGroupIds: Vec<Str>, clusterSecurityGroupId: Str, vpcId: Str,
        endpointPublicAccess: Option<bool>, endpointPrivateAccess: Option<bool>, publicAccessCidrs: Vec<Str>,
    }
    /// Service addresses and IP family (`ipv4`, `ipv6`).
    KubernetesNetworkConfig { serviceIpv4Cidr: Str, serviceIpv6Cidr: Str, ipFamily: Str, elasticLoadBalancing: Option<Enabled> }
    /// A switch.
    Enabled { enabled: Option<bool> }
    /// The cluster's identity provider.
    Identity { oidc: Option<Oidc> }
    /// The OpenID Connect issuer.
    Oidc { issuer: Str }
    /// What EKS finds wrong with a cluster.
    ClusterHealth { issues: Vec<ClusterIssue> }
    /// One health issue of a cluster.
    ClusterIssue { code: Str, message: Str, resourceIds: Vec<Str> }
    /// `authenticationMode` is `CONFIG_MAP`, `API` or `API_AND_CONFIG_MAP`.
    AccessConfig { authenticationMode: Str, bootstrapClusterCreatorAdminPermissions: Option<bool> }
    /// EKS Auto Mode.
    ComputeConfig { enabled: Option<bool>, nodePools: Vec<Str>, nodeRoleArn: Str }
    /// Networks of hybrid nodes.
    RemoteNetworkConfig { remoteNodeNetworks: Vec<RemoteNetwork>, remotePodNetworks: Vec<RemoteNetwork> }
    /// Ranges outside the VPC.
    RemoteNetwork { cidrs: Vec<Str> }
    /// The names of the managed node groups, of `ListNodegroups`.
    NodegroupNames { nodegroups: Vec<Str> }
    /// A managed node group, of `DescribeNodegroup`.
    Nodegroup {
        nodegroupName: Str, nodegroupArn: Str, clusterName: Str, version: Str, releaseVersion: Str, createdAt: Scalar, modifiedAt: Scalar, status: Str, capacityType: Str,
        scalingConfig: ScalingConfig, instanceTypes: Vec<Str>, subnets: Vec<Str>, amiType: Str, nodeRole: Str, labels: BTreeMap<Str, Str>,
        taints: Vec<NodegroupTaint>, resources: Option<NodegroupResources>, health: NodegroupHealth, launchTemplate: Option<NodegroupLaunchTemplate>,
        remoteAccess: Option<RemoteAccess>, tags: BTreeMap<Str, Str>,
    }
    /// How many nodes.
    ScalingConfig { minSize: Option<i64>, maxSize: Option<i64>, desiredSize: Option<i64> }
    /// A taint that the nodes carry.
    NodegroupTaint { key: Str, value: Str, effect: Str }
    /// What belongs to a node group.
    NodegroupResources { autoScalingGroups: Vec<NodegroupAutoScalingGroup>, remoteAccessSecurityGroup: Str }
    /// The Auto Scaling group of a node group.
    NodegroupAutoScalingGroup { name: Str }
    /// What EKS finds wrong with a node group.
    NodegroupHealth { issues: Vec<NodegroupIssue> }
    /// One health issue of a node group.
    NodegroupIssue { code: Str, message: Str, resourceIds: Vec<Str> }
    /// The launch template of a node group.
    NodegroupLaunchTemplate { name: Str, version: Str, id: Str }
    /// SSH access to the nodes.
    RemoteAccess { ec2SshKey: Str, sourceSecurityGroups: Vec<Str> }
    /// The names of the Fargate profiles, of `ListFargateProfiles`.
    FargateProfileNames { fargateProfileNames: Vec<Str> }
    /// A Fargate profile, of `DescribeFargateProfile`.
    FargateProfile {
        fargateProfileName: Str, fargateProfileArn: Str, clusterName: Str, createdAt: Scalar, podExecutionRoleArn: Str, subnets: Vec<Str>,
        selectors: Vec<FargateProfileSelector>, status: Str, health: Option<FargateProfileHealth>, tags: BTreeMap<Str, Str>,
    }
    /// Which pods run on Fargate.
    FargateProfileSelector { namespace: Str, labels: BTreeMap<Str, Str> }
    /// What EKS finds wrong with a Fargate profile.
    FargateProfileHealth { issues: Vec<NodegroupIssue> }
    /// The names of the add-ons, of `ListAddons`.
    AddonNames { addons: Vec<Str> }
    /// An EKS add-on, of `DescribeAddon`.
    Addon {
        addonName: Str, clusterName: Str, status: Str, addonVersion: Str, health: Option<AddonHealth>, addonArn: Str, serviceAccountRoleArn: Str,
        configurationValues: Str, createdAt: Scalar, modifiedAt: Scalar, podIdentityAssociations: Vec<Str>, tags: BTreeMap<Str, Str>,
    }
    /// What EKS finds wrong with an add-on.
    AddonHealth { issues: Vec<AddonIssue> }
    /// One health issue of an add-on.
    AddonIssue { code: Str, message: Str, resourceIds: Vec<Str> }
    /// The principals with access entries, of `ListAccessEntries`.
    AccessEntryNames { accessEntries: Vec<Str> }
    /// An access entry, of `DescribeAccessEntry`.
    AccessEntry { clusterName: Str, principalArn: Str, kubernetesGroups: Vec<Str>, accessEntryArn: Str, username: Str, r#type: Str, createdAt: Scalar, tags: BTreeMap<Str, Str> }
    /// A list of Pod Identity associations, of `ListPodIdentityAssociations`.
    PodIdentityAssociationNames { associations: Vec<PodIdentityAssociation> }
    /// A Pod Identity association, of `DescribePodIdentityAssociation`.
    PodIdentityAssociation { clusterName: Str, namespace: Str, serviceAccount: Str, roleArn: Str, associationArn: Str, associationId: Str, ownerArn: Str, targetRoleArn: Str }
    /// An insight of EKS, of `ListInsights`.
    Insight { id: Str, name: Str, category: Str, kubernetesVersion: Str, description: Str, insightStatus: InsightStatus }
    /// The state of an insight.
    InsightStatus { status: Str, reason: Str }
}
