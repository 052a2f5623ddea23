//! The network as the packet engine holds it: every object by number, every range parsed once.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Target;
use super::address::{Cidr, Family, address, bits, holds};
use super::flow::Protocol;
use crate::shape::{Row, Str};
use crate::snapshot::Missing;

/// "Not in the snapshot", where a number is expected.
pub(super) const NONE: u32 = u32::MAX;

/// What a VPC does with packets: subnets, routes, filters and gateways of a snapshot, ready to be asked.
///
/// Owns everything it needs; built once by [`Network::new`](super::Network::new).
#[derive(Debug, Default)]
pub struct Network {
    pub(super) vpcs: Vec<Vpc>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) tables: Vec<Table>,
    pub(super) acls: Vec<Acl>,
    pub(super) groups: Vec<Group>,
    /// Group sets of interfaces, each once.
    pub(super) sets: Vec<Box<[u32]>>,
    pub(super) lists: Vec<List>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) gateways: Vec<Gateway>,
    pub(super) nats: Vec<Nat>,
    pub(super) peerings: Vec<Peering>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) transits: Vec<Transit>,
    pub(super) vpc_attachments: Vec<VpcAttachment>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) transit_tables: Vec<TransitTable>,
    pub(super) balancers: Vec<super::load_balancer::Balancer>,

    pub(super) vpc_ids: HashMap<Str, u32>,
    pub(super) subnet_ids: HashMap<Str, u32>,
    pub(super) group_ids: HashMap<Str, u32>,
    pub(super) interface_ids: HashMap<Str, u32>,
    pub(super) list_ids: HashMap<Str, u32>,

    /// (VPC, first, last, interface) of private addresses and prefixes, sorted.
    pub(super) private_v4: Vec<(u32, u32, u32, u32)>,
    pub(super) private_v6: Vec<(u32, u128, u128, u32)>,
    /// (public address, interface, private address), sorted.
    pub(super) public: Vec<(u32, u32, u32)>,
    /// (interface, private address, public address), sorted.
    pub(super) public_of: Vec<(u32, u32, u32)>,

    /// By family: each interface's rank when they are sorted by class and primary address.
    pub(super) ranks: [Vec<u32>; 2],
    /// By family: (VPC, first, last, subnet), sorted.
    pub(super) ranges: [Vec<(u32, u128, u128, u32)>; 2],

    pub(super) missing: Reads,
}

/// Reads that the snapshot does not hold.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub subnets: Option<Missing>,
    pub tables: Option<Missing>,
    pub acls: Option<Missing>,
    pub groups: Option<Missing>,
    pub interfaces: Option<Missing>,
    pub internet_gateways: Option<Missing>,
    pub egress_only: Option<Missing>,
    pub nats: Option<Missing>,
    pub peerings: Option<Missing>,
    pub endpoints: Option<Missing>,
    pub vpc_attachments: Option<Missing>,
    pub attachments: Option<Missing>,
    pub balancers: Option<Missing>,
}

#[derive(Debug, Default)]
pub(super) struct Vpc {
    pub id: Str,
    /// Of `DescribeVpcs`; absent when only other objects name the VPC.
    pub row: Option<Row>,
    pub cidrs: Vec<Cidr>,
    /// The primary IPv4 range, whose address +2 is the resolver.
    pub primary: Option<Cidr>,
    pub public_access: PublicAccess,
    pub main_table: u32,
    pub default_acl: u32,
    pub subnets: Vec<u32>,
}

/// VPC Block Public Access.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicAccess {
    #[default]
    Unsaid,
    Off,
    BlockIngress,
    BlockBoth,
}

#[derive(Debug)]
pub(super) struct Subnet {
    pub id: Str,
    /// Absent when only other objects name the subnet.
    pub row: Option<Row>,
    pub vpc: u32,
    pub cidrs: Vec<Cidr>,
    /// The zone's id, which means the same in every account; its name where the id was not recorded.
    pub zone: Str,
    /// The zone whose attachment takes its packets to a transit gateway: of a Local or Wavelength Zone the parent's,
    /// empty when that was not recorded.
    pub transit_zone: Str,
    pub table: u32,
    pub acl: u32,
    pub public_access: PublicAccess,
}

#[derive(Debug)]
pub(super) struct Table {
    pub row: Row,
    pub id: Str,
    pub routes: Vec<Route>,
    /// Routes to prefix lists whose entries nobody recorded: (index, target).
    pub unclear: Vec<(usize, Target)>,
}

/// A route to one range; a route to a prefix list is several of these.
#[derive(Debug)]
pub(super) struct Route {
    /// In the recorded `Routes`.
    pub index: u32,
    pub to: Cidr,
    /// Static 0, prefix list 1, propagated 2: who wins among equal ranges.
    pub rank: u8,
    pub blackhole: bool,
    pub target: Target,
    /// The target in its list, or `NONE`.
    pub at: u32,
}

#[derive(Debug)]
pub(super) struct Acl {
    pub row: Row,
    pub id: Str,
    /// By direction: ingress, egress; each sorted by number.
    pub entries: [Vec<Entry>; 2],
    /// By family: where a range of an entry begins or is over, sorted.
    pub cuts: [Vec<u128>; 2],
}

#[derive(Debug)]
pub(super) struct Entry {
    /// In the recorded `Entries`.
    pub index: u32,
    pub number: i64,
    pub allow: bool,
    /// Absent when the recorded text is no CIDR.
    pub cidr: Option<Cidr>,
    /// Absent when the recorded text is no protocol.
    pub protocol: Option<Protocol>,
    pub ports: (u16, u16),
    /// -1 is all.
    pub icmp: (i64, i64),
}

#[derive(Debug)]
pub(super) struct Group {
    pub id: Str,
    /// Absent when only rules or interfaces name the group.
    pub row: Option<Row>,
    /// By direction: ingress, egress.
    pub rules: [Vec<Rule>; 2],
}

/// One peer of one permission.
#[derive(Debug)]
pub(super) struct Rule {
    pub permission: u32,
    pub item: u32,
    pub protocol: Option<Protocol>,
    /// Ports, or ICMP type and code with -1 for all.
    pub from: i64,
    pub to: i64,
    pub peer: Peer,
}

#[derive(Debug)]
pub(super) enum Peer {
    Cidr(Cidr),
    List(u32),
    Group(u32),
    /// The recorded text is no CIDR.
    Unreadable,
}

/// A prefix list.
#[derive(Debug)]
pub(super) struct List {
    pub id: Str,
    /// Absent when nobody recorded the entries.
    pub cidrs: Option<Vec<Cidr>>,
}

/// What an interface belongs to, where it matters to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Host,
    Nat,
    Transit,
    NetworkLoadBalancer,
    Endpoint,
    Appliance,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub row: Row,
    pub id: Str,
    pub vpc: u32,
    pub subnet: u32,
    pub set: u32,
    pub kind: Kind,
    pub primary_v4: Option<std::net::Ipv4Addr>,
    pub primary_v6: Option<std::net::Ipv6Addr>,
    /// By family: twice the part of the subnet in which the primary address lies, and one when it has a public one.
    pub class: [u32; 2],
}

/// An internet gateway or egress-only internet gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    pub row: Row,
    pub id: Str,
    pub egress_only: bool,
    /// The VPCs it is attached to.
    pub vpcs: Vec<u32>,
    /// Route tables that steer what comes in by it.
    pub edge_tables: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Nat {
    pub row: Row,
    pub id: Str,
    pub vpc: u32,
    /// `NONE` of a regional one.
    pub subnet: u32,
    pub subnet_id: Str,
    pub regional: bool,
    pub public: bool,
    pub state: Str,
    /// Its own route table, when regional.
    pub table: u32,
    /// (private address, public address, interface)
    pub addresses: Vec<(Option<IpAddr>, Option<IpAddr>, u32)>,
}

#[derive(Debug)]
pub(super) struct Peering {
    pub row: Row,
    pub id: Str,
    pub status: Str,
    pub sides: [Side; 2],
}

#[derive(Debug)]
pub(super) struct Side {
    pub vpc_id: Str,
    pub vpc: u32,
    pub region: Str,
    pub cidrs: Vec<Cidr>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub row: Row,
    pub id: Str,
    pub kind: Str,
    pub state: Str,
    pub interfaces: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Transit {
    pub row: Row,
    pub id: Str,
    pub state: Str,
    pub group_references: bool,
}

#[derive(Debug)]
pub(super) struct VpcAttachment {
    pub row: Row,
    pub id: Str,
    pub transit: Str,
    pub vpc: u32,
    pub state: Str,
    pub subnets: Vec<u32>,
    pub group_references: bool,
    pub ipv6: bool,
    pub appliance: bool,
}

#[derive(Debug)]
pub(super) struct Attachment {
    pub row: Row,
    pub id: Str,
    pub transit: Str,
    pub state: Str,
    /// Route table and state of the association.
    pub table: Option<(Str, Str)>,
    /// Whether the gateway belongs to another account than what is attached, which does not see the association.
    pub foreign: bool,
}

#[derive(Debug)]
pub(super) struct TransitTable {
    pub row: Row,
    pub id: Str,
    pub routes: Vec<TransitRoute>,
    /// The answer was cut, or a route in it cannot be read.
    pub more: bool,
}

#[derive(Debug)]
pub(super) struct TransitRoute {
    pub index: u32,
    pub to: Cidr,
    pub propagated: bool,
    pub blackhole: bool,
    /// (attachment, resource type, resource)
    pub attachments: Vec<(Str, Str, Str)>,
}

impl Network {
    /// The interface that has the address in the VPC: primary, secondary, or in one of its prefixes.
    pub(super) fn interface_at(&self, vpc: u32, at: IpAddr) -> Option<u32> {
        match at {
            IpAddr::V4(a) => {
                let a = u32::from(a);
                let after = self.private_v4.partition_point(|r| (r.0, r.1) <= (vpc, a));
                let r = self.private_v4.get(after.checked_sub(1)?)?;
                (r.0 == vpc && r.2 >= a).then_some(r.3)
            }
            IpAddr::V6(a) => {
                let a = u128::from(a);
                let after = self.private_v6.partition_point(|r| (r.0, r.1) <= (vpc, a));
                let r = self.private_v6.get(after.checked_sub(1)?)?;
                (r.0 == vpc && r.2 >= a).then_some(r.3)
            }
        }
    }

    /// The interface that is reached by a public address: (interface, its private address).
    pub(super) fn public_at(&self, at: IpAddr) -> Option<(u32, IpAddr)> {
        match at {
            IpAddr::V4(a) => {
                let i = self.public.binary_search_by_key(&u32::from(a), |p| p.0).ok()?;
                Some((self.public[i].1, address(Family::V4, u128::from(self.public[i].2))))
            }
            IpAddr::V6(_) => {
                let vpc = self.vpcs.iter().position(|v| v.cidrs.iter().any(|c| holds(c, at)))? as u32;
                Some((self.interface_at(vpc, at)?, at))
            }
        }
    }

    /// The public address of an interface's private one. IPv6 addresses are public themselves.
    pub(super) fn public_of(&self, interface: u32, private: IpAddr) -> Option<IpAddr> {
        if private.is_ipv6() {
            return Some(private);
        }
        let key = (interface, bits(private) as u32);
        let i = self.public_of.binary_search_by_key(&key, |p| (p.0, p.1)).ok()?;
        Some(address(Family::V4, u128::from(self.public_of[i].2)))
    }

    /// The subnet of the VPC whose range holds the address.
    pub(super) fn subnet_at(&self, vpc: u32, at: IpAddr) -> Option<u32> {
        let ranges = &self.ranges[Family::of(at) as usize];
        let after = ranges.partition_point(|r| (r.0, r.1) <= (vpc, bits(at)));
        let r = ranges.get(after.checked_sub(1)?)?;
        (r.0 == vpc && r.2 >= bits(at)).then_some(r.3)
    }

    /// Whether one of the VPC's ranges holds the address.
    pub(super) fn vpc_holds(&self, vpc: u32, at: IpAddr) -> bool {
        self.vpcs.get(vpc as usize).is_some_and(|v| v.cidrs.iter().any(|c| holds(c, at)))
    }

    pub(super) fn set(&self, set: u32) -> &[u32] {
        self.sets.get(set as usize).map_or(&[], |s| s)
    }

    /// Whether VPC Block Public Access stops what a subnet sends to an internet gateway, and what comes from it.
    pub fn blocks_public_access(&self, subnet_id: &str) -> bool {
        let subnet = self.known_subnet(subnet_id).ok();
        let state = |s: u32| Some(self.public_access(self.subnets.get(s as usize)?.vpc, s));
        subnet.and_then(state) == Some(PublicAccess::BlockBoth)
    }

    /// What VPC Block Public Access does to the subnet.
    pub(super) fn public_access(&self, vpc: u32, subnet: u32) -> PublicAccess {
        match self.subnets.get(subnet as usize).map(|s| s.public_access) {
            Some(PublicAccess::Unsaid) | None => {
                self.vpcs.get(vpc as usize).map_or(PublicAccess::Unsaid, |v| v.public_access)
            }
            Some(said) => said,
        }
    }
}

impl Subnet {
    pub(super) fn holds(&self, at: IpAddr) -> bool {
        self.cidrs.iter().any(|c| holds(c, at))
    }
}
