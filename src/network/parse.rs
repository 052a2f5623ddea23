//! What EC2's words mean: states, kinds of interfaces, protocols, targets of routes.

use std::net::IpAddr;

use super::Target;
use super::address::bits;
use super::flow::Protocol;
use super::model::{Kind, PublicAccess};
use crate::shape::ec2::{self, BlockPublicAccessStates};
use crate::shape::{Scalar, Str};

pub(super) fn associated(state: &str) -> bool {
    matches!(state, "" | "associated" | "associating")
}

pub(super) fn public_access(states: Option<&BlockPublicAccessStates>) -> PublicAccess {
    match states.map(|s| s.InternetGatewayBlockMode.as_str()) {
        Some("off") => PublicAccess::Off,
        Some("block-ingress") => PublicAccess::BlockIngress,
        Some("block-bidirectional") => PublicAccess::BlockBoth,
        _ => PublicAccess::Unsaid,
    }
}

pub(super) fn kind(text: &str) -> Kind {
    // The API reference also spells `natGateway`, `network_load_balancer`, ...
    let plain: String = text.chars().filter(|c| *c != '_' && *c != '-').collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "natgateway" => Kind::Nat,
        "transitgateway" => Kind::Transit,
        "networkloadbalancer" => Kind::NetworkLoadBalancer,
        "vpcendpoint" => Kind::Endpoint,
        "gatewayloadbalancer" | "gatewayloadbalancerendpoint" => Kind::Appliance,
        _ => Kind::Host,
    }
}

pub(super) fn mapping(public: Option<&Str>, private: &Str) -> Option<(u32, u32)> {
    let address = |text: &Str| text.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4).map(|a| bits(a) as u32);
    Some((address(public?)?, address(private)?))
}

pub(super) fn protocol(text: &Scalar) -> Option<Protocol> {
    Protocol::parse(text.as_str()).map(Protocol::plain)
}

pub(super) fn port(number: i64) -> u16 {
    u16::try_from(number.max(0)).unwrap_or(u16::MAX)
}

/// What a route leads to.
pub(super) fn target(route: &ec2::Route) -> Target {
    let some = |id: &Str| (!id.is_empty()).then(|| id.clone());
    if let Some(id) = some(&route.NatGatewayId) {
        Target::Nat(id)
    } else if let Some(id) = some(&route.TransitGatewayId) {
        Target::TransitGateway(id)
    } else if let Some(id) = some(&route.VpcPeeringConnectionId) {
        Target::Peering(id)
    } else if let Some(id) = some(&route.EgressOnlyInternetGatewayId) {
        Target::EgressOnly(id)
    } else if let Some(id) = some(&route.NetworkInterfaceId) {
        Target::Interface(id)
    } else if let Some(id) = some(&route.InstanceId) {
        Target::Instance(id)
    } else if !route.LocalGatewayId.is_empty() {
        Target::LocalGateway
    } else if !route.CarrierGatewayId.is_empty() {
        Target::Carrier
    } else if !route.CoreNetworkArn.is_empty() {
        Target::CoreNetwork
    } else {
        let id = route.GatewayId.clone();
        match id.split('-').next().unwrap_or_default() {
            "local" => Target::Local,
            "igw" => Target::InternetGateway(id),
            "eigw" => Target::EgressOnly(id),
            "vgw" => Target::VirtualGateway(id),
            "vpce" => Target::Endpoint(id),
            "nat" => Target::Nat(id),
            "tgw" => Target::TransitGateway(id),
            "pcx" => Target::Peering(id),
            "eni" => Target::Interface(id),
            _ => Target::Other(id.to_string()),
        }
    }
}
