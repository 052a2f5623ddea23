//! What a VPC does with packets.

pub mod address;
mod build;
mod egress;
mod ends;
mod explain;
mod filter;
mod flow;
mod gateway;
mod load_balancer;
mod matrix;
mod model;
mod parse;
mod route;
mod trace;
mod transit;
mod walk;

use serde::Serialize;

pub use address::Family;
pub use egress::{Egress, EgressKind};
pub use flow::{ANY_PUBLIC_V4, ANY_PUBLIC_V6, End, Flow, LINUX_CLIENT_PORTS, Protocol, TRANSLATED_CLIENT_PORTS};
pub use matrix::Matrix;
pub use model::Network;

use crate::shape::{Row, Str};
use crate::snapshot::Spot;

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    Local,
    InternetGateway(Str),
    EgressOnly(Str),
    Nat(Str),
    TransitGateway(Str),
    Peering(Str),
    /// A gateway endpoint or the endpoint of a Gateway Load Balancer.
    Endpoint(Str),
    Interface(Str),
    Instance(Str),
    VirtualGateway(Str),
    LocalGateway,
    Carrier,
    CoreNetwork,
    Other(String),
}

/// The route that a destination takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChoice {
    pub table: Row,
    /// In the recorded `Routes`.
    pub route_index: usize,
    pub target: Target,
    /// Its target is gone: the packet is dropped.
    pub blackhole: bool,
}

/// Whether a packet and its answer get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Disposition {
    Reachable,
    Blocked,
    /// Something on the path is not in the snapshot or decides by itself. Never to be read as blocked.
    Unknown,
}

/// What one step of the path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allowed,
    Blocked,
    Unknown,
}

/// One step on the path of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Hop {
    /// The object at which it happens: an interface, subnet, gateway.
    pub at: String,
    /// What happens: `security group egress`, `route`, `network ACL ingress` ...
    pub step: String,
    pub verdict: Verdict,
    /// What decided: the rule, entry or route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The Reachability Analyzer's explanation code, when blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// More about it: the ports that are blocked, why it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where it is recorded.
    #[serde(skip)]
    pub spot: Option<Spot>,
    /// The objects that decide here: all groups of the interface, the ACL, the route table, the gateway.
    #[serde(skip)]
    pub deciders: Vec<Row>,
    /// How many of the ports an ACL drops.
    #[serde(skip)]
    pub dropped: Option<u32>,
}

/// The path of a packet and of its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Trace {
    pub from: String,
    pub to: String,
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub disposition: Disposition,
    pub forward: Vec<Hop>,
    #[serde(rename = "return")]
    pub back: Vec<Hop>,
}
