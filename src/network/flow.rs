//! What is asked of the network: from where, to where, with which protocol and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::address::Family;
use crate::shape::Str;

/// Client ports of Linux (`net.ipv4.ip_local_port_range` as kernels ship it).
pub const LINUX_CLIENT_PORTS: RangeInclusive<u16> = 32768..=60999;
/// Client ports of NAT gateways, load balancers and of pods whose address the CNI translates
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html#nacl-ephemeral-ports>).
pub const TRANSLATED_CLIENT_PORTS: RangeInclusive<u16> = 1024..=65535;

/// Stands for any public host when [`End::Internet`] is an end. Not a documentation range, because network
/// ACLs that drop unassigned ranges drop those.
pub const ANY_PUBLIC_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
/// The same for IPv6.
pub const ANY_PUBLIC_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111));

/// Whether the address stands for the whole internet.
pub(super) fn is_any_public(address: IpAddr) -> bool {
    address == ANY_PUBLIC_V4 || address == ANY_PUBLIC_V6
}

/// The protocol of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Everything: only rules and entries for all protocols allow it.
    Any,
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    /// By its IANA number.
    Number(u8),
}

impl Protocol {
    /// Reads a name or number as AWS writes it; `None` when it is neither. `Any` is `-1` or `all`.
    pub fn parse(text: &str) -> Option<Protocol> {
        Some(match text {
            "-1" | "all" => Protocol::Any,
            "tcp" | "TCP" | "6" => Protocol::Tcp,
            "udp" | "UDP" | "17" => Protocol::Udp,
            "icmp" | "ICMP" | "1" => Protocol::Icmp,
            "icmpv6" | "ICMPv6" | "58" => Protocol::Icmpv6,
            number => Protocol::Number(number.parse().ok()?),
        })
    }
    /// Whether it has ports.
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::Tcp | Protocol::Udp)
    }
    pub fn is_icmp(self) -> bool {
        matches!(self, Protocol::Icmp | Protocol::Icmpv6)
    }
    /// `Number(6)` is `Tcp`, and so on.
    pub(super) fn plain(self) -> Protocol {
        match self {
            Protocol::Number(6) => Protocol::Tcp,
            Protocol::Number(17) => Protocol::Udp,
            Protocol::Number(1) => Protocol::Icmp,
            Protocol::Number(58) => Protocol::Icmpv6,
            other => other,
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Protocol::Any => f.write_str("all"),
            Protocol::Tcp => f.write_str("tcp"),
            Protocol::Udp => f.write_str("udp"),
            Protocol::Icmp => f.write_str("icmp"),
            Protocol::Icmpv6 => f.write_str("icmpv6"),
            Protocol::Number(n) => write!(f, "{n}"),
        }
    }
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// A recorded interface; without an address its primary one of the family that the other end has.
    Interface { id: Str, address: Option<IpAddr> },
    /// An address: as destination, what the packet is sent to; as source, whoever has it (an interface of the
    /// snapshot, a host of the internet, or somebody unknown).
    Address(IpAddr),
    /// Any host of the internet ([`ANY_PUBLIC_V4`], [`ANY_PUBLIC_V6`]).
    Internet,
    /// An interface that does not exist (yet): a node to come, a Fargate pod. Without an address it stands for
    /// every free address of the subnet: the verdict holds for all of them, or it is unknown.
    Hypothetical { vpc: Str, subnet: Str, groups: Vec<Str>, address: Option<IpAddr>, public: bool },
}

/// A packet that opens a connection, and the answer to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    pub source: End,
    pub destination: End,
    pub protocol: Protocol,
    /// The destination port; without one every port must pass (TCP, UDP).
    pub port: Option<u16>,
    /// Type and code; an echo request when absent.
    pub icmp: Option<(u8, u8)>,
    /// The client's ports, to which answers go. All of them must pass.
    pub client_ports: RangeInclusive<u16>,
}

impl Flow {
    /// A TCP connection from a Linux client.
    pub fn tcp(source: End, destination: End, port: u16) -> Flow {
        Flow {
            source,
            destination,
            protocol: Protocol::Tcp,
            port: Some(port),
            icmp: None,
            client_ports: LINUX_CLIENT_PORTS,
        }
    }
    /// A UDP exchange from a Linux client.
    pub fn udp(source: End, destination: End, port: u16) -> Flow {
        Flow { protocol: Protocol::Udp, ..Flow::tcp(source, destination, port) }
    }
    /// A ping.
    pub fn ping(source: End, destination: End) -> Flow {
        Flow { protocol: Protocol::Icmp, port: None, ..Flow::tcp(source, destination, 0) }
    }
}

impl End {
    /// A recorded interface and its primary address.
    pub fn interface(id: &str) -> End {
        End::Interface { id: Str::new(id), address: None }
    }
}

/// What filters look at besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub protocol: Protocol,
    /// Destination ports of the packet, both ends included.
    pub first: u16,
    pub last: u16,
    pub icmp: (u8, u8),
}

impl Service {
    pub fn request(flow: &Flow, family: Family) -> Service {
        let mut protocol = flow.protocol.plain();
        // People say "icmp" for a ping of either family.
        if family == Family::V6 && protocol == Protocol::Icmp {
            protocol = Protocol::Icmpv6;
        }
        let (first, last) = match (protocol.has_ports(), flow.port) {
            (true, Some(port)) => (port, port),
            _ => (0, u16::MAX),
        };
        let echo = if protocol == Protocol::Icmpv6 { (128, 0) } else { (8, 0) };
        Service { protocol, first, last, icmp: flow.icmp.unwrap_or(echo) }
    }
    /// What an answer carries, or `None` when nothing answers (ICMP other than requests).
    pub fn answer(self, client_ports: &RangeInclusive<u16>) -> Option<Service> {
        let icmp = match (self.protocol, self.icmp.0) {
            (Protocol::Icmp, 8) => (0, 0),
            (Protocol::Icmp, 13) => (14, 0),
            (Protocol::Icmpv6, 128) => (129, 0),
            (Protocol::Icmp | Protocol::Icmpv6, _) => return None,
            _ => self.icmp,
        };
        Some(self.to_ports(client_ports, icmp))
    }
    fn to_ports(self, ports: &RangeInclusive<u16>, icmp: (u8, u8)) -> Service {
        if self.protocol.has_ports() {
            Service { first: *ports.start(), last: *ports.end(), icmp, ..self }
        } else {
            Service { icmp, ..self }
        }
    }
    pub fn one_port(self) -> bool {
        !self.protocol.has_ports() || self.first == self.last
    }
}
