//! Elastic Load Balancing's answers (`elbv2`).

use super::{Scalar, Str, shapes};

shapes! {
    /// An Application, Network or Gateway Load Balancer, of `DescribeLoadBalancers`.
    LoadBalancer {
        LoadBalancerArn: Str, LoadBalancerName: Str, DNSName: Str, Scheme: Str, Type: Str, VpcId: Str, IpAddressType: Str,
        State: LoadBalancerState, AvailabilityZones: Vec<LoadBalancerZone>, SecurityGroups: Vec<Str>,
        EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic: Str, CustomerOwnedIpv4Pool: Str, CreatedTime: Str,
    }
    /// The state of a load balancer.
    LoadBalancerState { Code: Str, Reason: Str }
    /// A zone that a load balancer stands in.
    LoadBalancerZone { ZoneName: Str, SubnetId: Str, LoadBalancerAddresses: Vec<LoadBalancerAddress> }
    /// An address of a load balancer in a zone.
    LoadBalancerAddress { IpAddress: Str, AllocationId: Str, PrivateIPv4Address: Str, IPv6Address: Str }
    /// A target group, of `DescribeTargetGroups`.
    TargetGroup {
        TargetGroupArn: Str, TargetGroupName: Str, Protocol: Str, Port: Option<i64>, VpcId: Str, TargetType: Str, IpAddressType: Str,
        HealthCheckProtocol: Str, HealthCheckPort: Scalar, HealthCheckEnabled: Option<bool>, HealthCheckPath: Str, LoadBalancerArns: Vec<Str>,
    }
    /// The health of the targets of the target group `Argument`, of `DescribeTargetHealth`.
    TargetHealths { Argument: Str, TargetHealthDescriptions: Vec<TargetHealthDescription> }
    /// The health of one target.
    TargetHealthDescription { Target: TargetDescription, HealthCheckPort: Scalar, TargetHealth: TargetHealth }
    /// A target: an instance, an address or a load balancer, with its port.
    TargetDescription { Id: Str, Port: Option<i64>, AvailabilityZone: Str }
    /// `State` is `healthy`, `unhealthy`, `initial`, `draining`, `unused` or `unavailable`.
    TargetHealth { State: Str, Reason: Str, Description: Str }
    /// A listener of a load balancer, of `DescribeListeners`.
    Listener { ListenerArn: Str, LoadBalancerArn: Str, Port: Option<i64>, Protocol: Str, DefaultActions: Vec<ListenerAction> }
    /// What a listener does with a connection.
    ListenerAction { Type: Str, TargetGroupArn: Str, ForwardConfig: Option<ForwardConfig> }
    /// The target groups of a forward action.
    ForwardConfig { TargetGroups: Vec<TargetGroupTuple> }
    /// A target group and its weight.
    TargetGroupTuple { TargetGroupArn: Str, Weight: Option<i64> }
    /// The attributes of the load balancer or target group `Argument` (`DescribeLoadBalancerAttributes`, `DescribeTargetGroupAttributes`).
    ElbAttributes { Argument: Str, Attributes: Vec<ElbAttribute> }
    /// One attribute.
    ElbAttribute { Key: Str, Value: Str }
    /// A quota, of `DescribeAccountLimits`.
    Limit { Name: Str, Max: Scalar }
}

impl ElbAttributes {
    /// Whether a target group has them. The two answers look alike, and a load balancer and a target group may have
    /// one name; these attributes only target groups have
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html>).
    pub fn of_target_group(&self) -> bool {
        const OWN: [&str; 9] = [
            "deregistration_delay.",
            "lambda.",
            "load_balancing.algorithm.",
            "preserve_client_ip.",
            "proxy_protocol_v2.",
            "slow_start.",
            "stickiness.",
            "target_group_health.",
            "target_health_state.",
        ];
        self.Attributes.iter().any(|a| OWN.iter().any(|own| a.Key.starts_with(own)))
    }
}
