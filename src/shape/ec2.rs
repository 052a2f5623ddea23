//! EC2's and Auto Scaling's answers.

use super::{Scalar, Str, shapes};

shapes! {
    /// A tag of an AWS resource.
    Tag { Key: Str, Value: Str }
    /// A virtual private cloud, of `DescribeVpcs`.
    Vpc {
        VpcId: Str, OwnerId: Str, State: Str, CidrBlock: Str, DhcpOptionsId: Str, IsDefault: Option<bool>,
        CidrBlockAssociationSet: Vec<VpcCidrBlockAssociation>,
        Ipv6CidrBlockAssociationSet: Vec<VpcIpv6CidrBlockAssociation>,
        BlockPublicAccessStates: Option<BlockPublicAccessStates>,
        Tags: Vec<Tag>,
    }
    /// One IPv4 range of a VPC.
    VpcCidrBlockAssociation { AssociationId: Str, CidrBlock: Str, CidrBlockState: CidrBlockState }
    /// One IPv6 range of a VPC.
    VpcIpv6CidrBlockAssociation { AssociationId: Str, Ipv6CidrBlock: Str, Ipv6CidrBlockState: CidrBlockState }
    /// Whether a range is associated.
    CidrBlockState { State: Str, StatusMessage: Str }
    /// What VPC Block Public Access does here.
    BlockPublicAccessStates { InternetGatewayBlockMode: Str }
    /// One attribute of a VPC, of `DescribeVpcAttribute`.
    VpcAttribute { VpcId: Str, EnableDnsSupport: Option<AttributeBooleanValue>, EnableDnsHostnames: Option<AttributeBooleanValue> }
    /// A boolean attribute.
    AttributeBooleanValue { Value: Option<bool> }
    /// A DHCP options set, of `DescribeDhcpOptions`.
    DhcpOptions { DhcpOptionsId: Str, OwnerId: Str, DhcpConfigurations: Vec<DhcpConfiguration>, Tags: Vec<Tag> }
    /// One option of a DHCP options set.
    DhcpConfiguration { Key: Str, Values: Vec<AttributeValue> }
    /// A string attribute.
    AttributeValue { Value: Str }
    /// A subnet, of `DescribeSubnets`.
    Subnet {
        SubnetId: Str, VpcId: Str, OwnerId: Str, State: Str, CidrBlock: Str, AvailableIpAddressCount: Option<i64>,
        AvailabilityZone: Str, AvailabilityZoneId: Str, OutpostArn: Str, SubnetArn: Str,
        MapPublicIpOnLaunch: Option<bool>, AssignIpv6AddressOnCreation: Option<bool>, EnableDns64: Option<bool>,
        Ipv6Native: Option<bool>, DefaultForAz: Option<bool>,
        Ipv6CidrBlockAssociationSet: Vec<SubnetIpv6CidrBlockAssociation>,
        BlockPublicAccessStates: Option<BlockPublicAccessStates>,
        Tags: Vec<Tag>,
    }
    /// One IPv6 range of a subnet.
    SubnetIpv6CidrBlockAssociation { AssociationId: Str, Ipv6CidrBlock: Str, Ipv6CidrBlockState: CidrBlockState }
    /// The CIDR reservations of the subnet `Argument`, of `GetSubnetCidrReservations`.
    SubnetCidrReservations {
        Argument: Str, SubnetIpv4CidrReservations: Vec<SubnetCidrReservation>, SubnetIpv6CidrReservations: Vec<SubnetCidrReservation>,
    }
    /// One CIDR reservation; `ReservationType` is `prefix` or `explicit`.
    SubnetCidrReservation { SubnetCidrReservationId: Str, SubnetId: Str, Cidr: Str, ReservationType: Str }
    /// A route table, of `DescribeRouteTables`.
    RouteTable {
        RouteTableId: Str, VpcId: Str, OwnerId: Str, Associations: Vec<RouteTableAssociation>, Routes: Vec<Route>,
        PropagatingVgws: Vec<PropagatingVgw>, Tags: Vec<Tag>,
    }
    /// What a route table serves.
    RouteTableAssociation { Main: Option<bool>, RouteTableAssociationId: Str, RouteTableId: Str, SubnetId: Str, GatewayId: Str, AssociationState: AssociationState }
    /// The state of an association.
    AssociationState { State: Str, StatusMessage: Str }
    /// A virtual private gateway that propagates routes.
    PropagatingVgw { GatewayId: Str }
    /// One route of a route table.
    Route {
        DestinationCidrBlock: Str, DestinationIpv6CidrBlock: Str, DestinationPrefixListId: Str,
        GatewayId: Str, NatGatewayId: Str, TransitGatewayId: Str, VpcPeeringConnectionId: Str, NetworkInterfaceId: Str,
        InstanceId: Str, EgressOnlyInternetGatewayId: Str, LocalGatewayId: Str, CarrierGatewayId: Str, CoreNetworkArn: Str,
        Origin: Str, State: Str,
    }
    /// An internet gateway, of `DescribeInternetGateways`.
    InternetGateway { InternetGatewayId: Str, OwnerId: Str, Attachments: Vec<InternetGatewayAttachment>, Tags: Vec<Tag> }
    /// An egress-only internet gateway (IPv6), of `DescribeEgressOnlyInternetGateways`.
    EgressOnlyInternetGateway { EgressOnlyInternetGatewayId: Str, Attachments: Vec<InternetGatewayAttachment>, Tags: Vec<Tag> }
    /// The VPC that an internet gateway is attached to.
    InternetGatewayAttachment { State: Str, VpcId: Str }
    /// A NAT gateway, of `DescribeNatGateways`. A regional one has no `SubnetId`.
    NatGateway {
        NatGatewayId: Str, VpcId: Str, SubnetId: Str, State: Str, ConnectivityType: Str, AvailabilityMode: Str, RouteTableId: Str,
        NatGatewayAddresses: Vec<NatGatewayAddress>, FailureCode: Str, FailureMessage: Str, CreateTime: Str, DeleteTime: Str, Tags: Vec<Tag>,
    }
    /// One address of a NAT gateway.
    NatGatewayAddress { AllocationId: Str, NetworkInterfaceId: Str, PrivateIp: Str, PublicIp: Str, IsPrimary: Option<bool>, Status: Str, AvailabilityZone: Str, AvailabilityZoneId: Str }
    /// A transit gateway, of `DescribeTransitGateways`.
    TransitGateway { TransitGatewayId: Str, TransitGatewayArn: Str, State: Str, OwnerId: Str, Options: TransitGatewayOptions, Tags: Vec<Tag> }
    /// Options of a transit gateway.
    TransitGatewayOptions { SecurityGroupReferencingSupport: Str, DnsSupport: Str, AssociationDefaultRouteTableId: Str, PropagationDefaultRouteTableId: Str, DefaultRouteTableAssociation: Str, DefaultRouteTablePropagation: Str }
    /// An attachment to a transit gateway, of `DescribeTransitGatewayAttachments`.
    TransitGatewayAttachment {
        TransitGatewayAttachmentId: Str, TransitGatewayId: Str, TransitGatewayOwnerId: Str, ResourceOwnerId: Str, ResourceType: Str,
        ResourceId: Str, State: Str, Association: Option<TransitGatewayAttachmentAssociation>, Tags: Vec<Tag>,
    }
    /// The route table that an attachment is associated with.
    TransitGatewayAttachmentAssociation { TransitGatewayRouteTableId: Str, State: Str }
    /// A VPC's attachment to a transit gateway, of `DescribeTransitGatewayVpcAttachments`.
    TransitGatewayVpcAttachment {
        TransitGatewayAttachmentId: Str, TransitGatewayId: Str, VpcId: Str, VpcOwnerId: Str, State: Str, SubnetIds: Vec<Str>,
        Options: TransitGatewayVpcAttachmentOptions, Tags: Vec<Tag>,
    }
    /// Options of a VPC's attachment.
    TransitGatewayVpcAttachmentOptions { DnsSupport: Str, SecurityGroupReferencingSupport: Str, Ipv6Support: Str, ApplianceModeSupport: Str }
    /// A transit gateway's route table, of `DescribeTransitGatewayRouteTables`.
    TransitGatewayRouteTable { TransitGatewayRouteTableId: Str, TransitGatewayId: Str, State: Str, DefaultAssociationRouteTable: Option<bool>, DefaultPropagationRouteTable: Option<bool>, Tags: Vec<Tag> }
    /// The routes of the transit gateway route table `Argument`, of `SearchTransitGatewayRoutes`.
    TransitGatewayRoutes { Argument: Str, Routes: Vec<TransitGatewayRoute>, AdditionalRoutesAvailable: Option<bool> }
    /// One route of a transit gateway.
    TransitGatewayRoute { DestinationCidrBlock: Str, PrefixListId: Str, TransitGatewayAttachments: Vec<TransitGatewayRouteAttachment>, Type: Str, State: Str }
    /// Where a transit gateway's route leads.
    TransitGatewayRouteAttachment { ResourceId: Str, TransitGatewayAttachmentId: Str, ResourceType: Str }
    /// A VPC peering connection, of `DescribeVpcPeeringConnections`.
    VpcPeeringConnection { VpcPeeringConnectionId: Str, AccepterVpcInfo: PeeringVpcInfo, RequesterVpcInfo: PeeringVpcInfo, Status: PeeringStatus, Tags: Vec<Tag> }
    /// One side of a peering connection.
    PeeringVpcInfo { VpcId: Str, OwnerId: Str, Region: Str, CidrBlock: Str, CidrBlockSet: Vec<PeeringCidrBlock>, Ipv6CidrBlockSet: Vec<PeeringIpv6CidrBlock>, PeeringOptions: Option<PeeringOptions> }
    /// An IPv4 range of a peered VPC.
    PeeringCidrBlock { CidrBlock: Str }
    /// An IPv6 range of a peered VPC.
    PeeringIpv6CidrBlock { Ipv6CidrBlock: Str }
    /// Options of one side of a peering connection.
    PeeringOptions { AllowDnsResolutionFromRemoteVpc: Option<bool> }
    /// The status of a peering connection.
    PeeringStatus { Code: Str, Message: Str }
    /// A VPC endpoint, of `DescribeVpcEndpoints`.
    VpcEndpoint {
        VpcEndpointId: Str, VpcEndpointType: Str, VpcId: Str, ServiceName: Str, State: Str, PolicyDocument: Str,
        RouteTableIds: Vec<Str>, SubnetIds: Vec<Str>, Groups: Vec<GroupIdentifier>, PrivateDnsEnabled: Option<bool>,
        NetworkInterfaceIds: Vec<Str>, DnsEntries: Vec<DnsEntry>, IpAddressType: Str, OwnerId: Str, ServiceRegion: Str, Tags: Vec<Tag>,
    }
    /// A name of an endpoint.
    DnsEntry { DnsName: Str, HostedZoneId: Str }
    /// A security group, as others refer to it.
    GroupIdentifier { GroupId: Str, GroupName: Str }
    /// A prefix list: customer-managed or AWS's own (`DescribeManagedPrefixLists`, `DescribePrefixLists`).
    PrefixList { PrefixListId: Str, PrefixListName: Str, AddressFamily: Str, State: Str, MaxEntries: Option<i64>, OwnerId: Str, Cidrs: Vec<Str>, Tags: Vec<Tag> }
    /// The entries of the prefix list `Argument`, of `GetManagedPrefixListEntries`.
    PrefixListEntries { Argument: Str, Entries: Vec<PrefixListEntry> }
    /// One entry of a prefix list.
    PrefixListEntry { Cidr: Str, Description: Str }
    /// A security group, of `DescribeSecurityGroups`.
    SecurityGroup {
        GroupId: Str, GroupName: Str, Description: Str, VpcId: Str, OwnerId: Str,
        IpPermissions: Vec<IpPermission>, IpPermissionsEgress: Vec<IpPermission>, Tags: Vec<Tag>,
    }
    /// What one rule of a security group allows.
    IpPermission {
        IpProtocol: Str, FromPort: Option<i64>, ToPort: Option<i64>, IpRanges: Vec<IpRange>, Ipv6Ranges: Vec<Ipv6Range>,
        PrefixListIds: Vec<PrefixListId>, UserIdGroupPairs: Vec<UserIdGroupPair>,
    }
    /// An IPv4 range in a rule.
    IpRange { CidrIp: Str, Description: Str }
    /// An IPv6 range in a rule.
    Ipv6Range { CidrIpv6: Str, Description: Str }
    /// A prefix list in a rule.
    PrefixListId { PrefixListId: Str, Description: Str }
    /// A security group in a rule.
    UserIdGroupPair { GroupId: Str, GroupName: Str, UserId: Str, VpcId: Str, VpcPeeringConnectionId: Str, PeeringStatus: Str, Description: Str }
    /// One rule of a security group with an id of its own, of `DescribeSecurityGroupRules`.
    SecurityGroupRule {
        SecurityGroupRuleId: Str, GroupId: Str, IsEgress: Option<bool>, IpProtocol: Str, FromPort: Option<i64>, ToPort: Option<i64>,
        CidrIpv4: Str, CidrIpv6: Str, PrefixListId: Str, ReferencedGroupInfo: Option<ReferencedSecurityGroup>, Description: Str, Tags: Vec<Tag>,
    }
    /// The group that a rule refers to.
    ReferencedSecurityGroup { GroupId: Str, UserId: Str, VpcId: Str, VpcPeeringConnectionId: Str, PeeringStatus: Str }
    /// A network ACL, of `DescribeNetworkAcls`.
    NetworkAcl { NetworkAclId: Str, VpcId: Str, OwnerId: Str, IsDefault: Option<bool>, Associations: Vec<NetworkAclAssociation>, Entries: Vec<NetworkAclEntry>, Tags: Vec<Tag> }
    /// The subnet that a network ACL guards.
    NetworkAclAssociation { NetworkAclAssociationId: Str, NetworkAclId: Str, SubnetId: Str }
    /// One entry of a network ACL. `Protocol` is a number or -1.
    NetworkAclEntry { RuleNumber: Option<i64>, RuleAction: Str, Egress: Option<bool>, Protocol: Scalar, CidrBlock: Str, Ipv6CidrBlock: Str, PortRange: Option<PortRange>, IcmpTypeCode: Option<IcmpTypeCode> }
    /// A range of ports, both ends included.
    PortRange { From: Option<i64>, To: Option<i64> }
    /// ICMP type and code; -1 is all.
    IcmpTypeCode { Type: Option<i64>, Code: Option<i64> }
    /// A network interface, of `DescribeNetworkInterfaces`.
    NetworkInterface {
        NetworkInterfaceId: Str, VpcId: Str, SubnetId: Str, AvailabilityZone: Str, Description: Str, InterfaceType: Str,
        Status: Str, OwnerId: Str, RequesterId: Str, RequesterManaged: Option<bool>, SourceDestCheck: Option<bool>,
        PrivateIpAddress: Str, PrivateDnsName: Str, PrivateIpAddresses: Vec<NetworkInterfacePrivateIpAddress>,
        Ipv4Prefixes: Vec<Ipv4Prefix>, Ipv6Addresses: Vec<NetworkInterfaceIpv6Address>, Ipv6Prefixes: Vec<Ipv6Prefix>,
        Association: Option<NetworkInterfaceAssociation>, Attachment: Option<NetworkInterfaceAttachment>,
        Groups: Vec<GroupIdentifier>, TagSet: Vec<Tag>,
    }
    /// A private IPv4 address of an interface.
    NetworkInterfacePrivateIpAddress { Primary: Option<bool>, PrivateIpAddress: Str, PrivateDnsName: Str, Association: Option<NetworkInterfaceAssociation> }
    /// The public address of a private one.
    NetworkInterfaceAssociation { PublicIp: Str, AllocationId: Str, IpOwnerId: Str, CarrierIp: Str }
    /// A /28 of addresses on an interface.
    Ipv4Prefix { Ipv4Prefix: Str }
    /// A /80 of addresses on an interface.
    Ipv6Prefix { Ipv6Prefix: Str }
    /// An IPv6 address of an interface.
    NetworkInterfaceIpv6Address { Ipv6Address: Str, IsPrimaryIpv6: Option<bool> }
    /// What an interface is attached to.
    NetworkInterfaceAttachment { AttachmentId: Str, AttachTime: Str, DeleteOnTermination: Option<bool>, DeviceIndex: Option<i64>, NetworkCardIndex: Option<i64>, InstanceId: Str, InstanceOwnerId: Str, Status: Str }
    /// An Elastic IP address, of `DescribeAddresses`.
    Address { AllocationId: Str, AssociationId: Str, PublicIp: Str, PrivateIpAddress: Str, NetworkInterfaceId: Str, InstanceId: Str, Domain: Str, Tags: Vec<Tag> }
    /// Instances that were launched together.
    Reservation { ReservationId: Str, OwnerId: Str, Instances: Vec<Instance> }
    /// An instance, of `DescribeInstances`.
    Instance {
        InstanceId: Str, InstanceType: Str, ImageId: Str, State: InstanceState, StateReason: Option<StateReason>, StateTransitionReason: Str,
        VpcId: Str, SubnetId: Str, PrivateIpAddress: Str, PublicIpAddress: Str, Ipv6Address: Str, PrivateDnsName: Str, Platform: Str, PlatformDetails: Str,
        LaunchTime: Str, IamInstanceProfile: Option<IamInstanceProfile>, MetadataOptions: Option<InstanceMetadataOptions>,
        Placement: Placement, SourceDestCheck: Option<bool>, Hypervisor: Str,
        SecurityGroups: Vec<GroupIdentifier>, NetworkInterfaces: Vec<InstanceNetworkInterface>, Tags: Vec<Tag>,
    }
    /// The state of an instance.
    InstanceState { Code: Option<i64>, Name: Str }
    /// Why an instance is in its state.
    StateReason { Code: Str, Message: Str }
    /// The instance profile of an instance.
    IamInstanceProfile { Arn: Str, Id: Str, Name: Str }
    /// How an instance's metadata can be reached.
    InstanceMetadataOptions { State: Str, HttpTokens: Str, HttpPutResponseHopLimit: Option<i64>, HttpEndpoint: Str }
    /// Where an instance runs.
    Placement { AvailabilityZone: Str, GroupName: Str, Tenancy: Str }
    /// An interface, as its instance tells it.
    InstanceNetworkInterface { NetworkInterfaceId: Str, SubnetId: Str, PrivateIpAddress: Str, Attachment: Option<InstanceNetworkInterfaceAttachment>, Groups: Vec<GroupIdentifier>, Association: Option<NetworkInterfaceAssociation> }
    /// How the interface sits on its instance.
    InstanceNetworkInterfaceAttachment { AttachmentId: Str, DeviceIndex: Option<i64>, NetworkCardIndex: Option<i64>, Status: Str }
    /// An instance type, of `DescribeInstanceTypes`.
    InstanceType { InstanceType: Str, Hypervisor: Str, BareMetal: Option<bool>, CurrentGeneration: Option<bool>, NetworkInfo: NetworkInfo, VCpuInfo: VCpuInfo, ProcessorInfo: ProcessorInfo }
    /// What an instance type can hold of interfaces and addresses.
    NetworkInfo {
        MaximumNetworkInterfaces: Option<i64>, Ipv4AddressesPerInterface: Option<i64>, Ipv6AddressesPerInterface: Option<i64>, Ipv6Supported: Option<bool>,
        MaximumNetworkCards: Option<i64>, DefaultNetworkCardIndex: Option<i64>, NetworkCards: Vec<NetworkCardInfo>,
    }
    /// One network card of an instance type.
    NetworkCardInfo { NetworkCardIndex: Option<i64>, MaximumNetworkInterfaces: Option<i64> }
    /// The virtual processors of an instance type.
    VCpuInfo { DefaultVCpus: Option<i64> }
    /// The processors of an instance type.
    ProcessorInfo { SupportedArchitectures: Vec<Str> }
    /// A version of a launch template, of `DescribeLaunchTemplateVersions`.
    LaunchTemplateVersion { LaunchTemplateId: Str, LaunchTemplateName: Str, VersionNumber: Option<i64>, CreateTime: Str, DefaultVersion: Option<bool>, LaunchTemplateData: LaunchTemplateData }
    /// What a launch template sets.
    LaunchTemplateData {
        ImageId: Str, InstanceType: Str, UserData: Str, IamInstanceProfile: Option<IamInstanceProfile>, SecurityGroupIds: Vec<Str>, SecurityGroups: Vec<Str>,
        NetworkInterfaces: Vec<LaunchTemplateNetworkInterface>, MetadataOptions: Option<InstanceMetadataOptions>,
        BlockDeviceMappings: Vec<LaunchTemplateBlockDeviceMapping>,
    }
    /// An interface that a launch template asks for.
    LaunchTemplateNetworkInterface { DeviceIndex: Option<i64>, NetworkCardIndex: Option<i64>, InterfaceType: Str, AssociatePublicIpAddress: Option<bool>, Groups: Vec<Str>, SubnetId: Str, NetworkInterfaceId: Str, DeleteOnTermination: Option<bool> }
    /// A volume that a launch template asks for.
    LaunchTemplateBlockDeviceMapping { DeviceName: Str, Ebs: Option<LaunchTemplateEbs> }
    /// The EBS volume of a launch template.
    LaunchTemplateEbs { Encrypted: Option<bool>, KmsKeyId: Str, SnapshotId: Str, VolumeType: Str, VolumeSize: Option<i64> }
    /// An Availability Zone, Local Zone or Wavelength Zone, of `DescribeAvailabilityZones`.
    AvailabilityZone { ZoneName: Str, ZoneId: Str, ZoneType: Str, RegionName: Str, State: Str, OptInStatus: Str, ParentZoneName: Str, GroupName: Str }
    /// An Auto Scaling group, of `DescribeAutoScalingGroups`.
    AutoScalingGroup {
        AutoScalingGroupName: Str, AutoScalingGroupARN: Str, MinSize: Option<i64>, MaxSize: Option<i64>, DesiredCapacity: Option<i64>, VPCZoneIdentifier: Str,
        AvailabilityZones: Vec<Str>, Instances: Vec<AutoScalingInstance>, LaunchTemplate: Option<LaunchTemplateSpecification>,
        MixedInstancesPolicy: Option<MixedInstancesPolicy>, LaunchConfigurationName: Str, ServiceLinkedRoleARN: Str, SuspendedProcesses: Vec<SuspendedProcess>, Tags: Vec<Tag>,
    }
    /// An instance of an Auto Scaling group.
    AutoScalingInstance { InstanceId: Str, InstanceType: Str, AvailabilityZone: Str, LifecycleState: Str, HealthStatus: Str, LaunchTemplate: Option<LaunchTemplateSpecification> }
    /// Which version of which launch template.
    LaunchTemplateSpecification { LaunchTemplateId: Str, LaunchTemplateName: Str, Version: Str }
    /// Several instance types in one Auto Scaling group.
    MixedInstancesPolicy { LaunchTemplate: AutoScalingLaunchTemplate }
    /// The launch template of a mixed instances policy.
    AutoScalingLaunchTemplate { LaunchTemplateSpecification: LaunchTemplateSpecification, Overrides: Vec<LaunchTemplateOverride> }
    /// One instance type of a mixed instances policy.
    LaunchTemplateOverride { InstanceType: Str }
    /// A process of an Auto Scaling group that was suspended.
    SuspendedProcess { ProcessName: Str, SuspensionReason: Str }
    /// Something that an Auto Scaling group did or tried, of `DescribeScalingActivities`.
    Activity { ActivityId: Str, AutoScalingGroupName: Str, Description: Str, Cause: Str, StartTime: Str, StatusCode: Str, StatusMessage: Str, Details: Str }
}

impl Subnet {
    /// Its IPv6 range, when one is associated.
    pub fn ipv6_cidr(&self) -> Option<&str> {
        self.Ipv6CidrBlockAssociationSet
            .iter()
            .find(|a| matches!(a.Ipv6CidrBlockState.State.as_str(), "" | "associated"))
            .map(|a| a.Ipv6CidrBlock.as_str())
    }
}

/// The value of the tag `key`.
pub fn tag<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|t| t.Key == key).map(|t| t.Value.as_str())
}
