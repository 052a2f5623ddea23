//! Following a packet from subnet to subnet: filters on the way, routes, and what was noted.

use std::borrow::Cow;
use std::net::IpAddr;

use super::explain;
use super::filter::{Decision, EGRESS, INGRESS, Peers};
use super::flow::Service;
use super::model::{Kind, NONE, Network};
use super::route::Lookup;
use super::{Hop, Target, Verdict};
use crate::snapshot::Snapshot;

/// More gateways than this on one leg is a loop.
const GATEWAYS: usize = 16;

/// A packet under way.
#[derive(Debug, Clone)]
pub(super) struct Packet<'n> {
    pub from: IpAddr,
    pub to: IpAddr,
    pub service: Service,
    /// The sender's groups as the receiver's rules see them.
    pub sender: Sender<'n>,
}

/// The sender's identity.
#[derive(Debug, Clone)]
pub(super) enum Sender<'n> {
    Groups(Cow<'n, [u32]>),
    /// Dropped on the way, or never there.
    Lost,
    Unknown,
}

impl Sender<'_> {
    pub fn peers(&self) -> Peers<'_> {
        match self {
            Sender::Groups(groups) => Peers::Are(groups),
            Sender::Lost => Peers::Lost,
            Sender::Unknown => Peers::Unknown,
        }
    }
}

/// An end that stands in a VPC.
#[derive(Debug, Clone)]
pub(super) struct Host<'n> {
    /// `NONE` when hypothetical.
    pub interface: u32,
    pub label: Cow<'n, str>,
    pub vpc: u32,
    pub subnet: u32,
    /// Sorted; absent when nobody recorded them.
    pub groups: Option<Cow<'n, [u32]>>,
    pub address: IpAddr,
    pub public: Option<IpAddr>,
    pub kind: Kind,
}

/// The interface at which a packet arrives, and what of the packet its groups see.
#[derive(Debug, Clone)]
pub(super) struct Door<'n> {
    pub interface: u32,
    pub kind: Kind,
    pub groups: Option<Cow<'n, [u32]>>,
    pub from: IpAddr,
    pub sender: Sender<'n>,
}

/// Where a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub vpc: u32,
    pub subnet: u32,
    /// It came in by a transit gateway: nothing of this VPC sent it.
    pub transit: bool,
}

/// Where a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// In the subnet, before the interface that has the packet's destination address.
    Inside { vpc: u32, subnet: u32 },
    /// In the internet or at a public AWS service.
    Outside,
}

/// What an answer has to undo.
#[derive(Debug, Clone, Copy)]
pub(super) enum Crossing {
    /// Left the VPC to the outside; answers come back to `private` in `subnet`.
    Exit { vpc: u32, subnet: u32, private: IpAddr },
    /// Came in from the internet to `public`.
    Entry { public: IpAddr },
    /// Through a NAT gateway.
    Nat { nat: u32, at: At, address: IpAddr, client: IpAddr, asked: IpAddr },
}

/// One evaluation of a flow.
#[derive(Debug)]
pub(super) struct Walk<'n> {
    pub net: &'n Network,
    /// Present when hops are wanted.
    pub snapshot: Option<&'n Snapshot>,
    /// Whether this is the answer's leg.
    pub returning: bool,
    pub forward: Vec<Hop>,
    pub back: Vec<Hop>,
    pub blocked: bool,
    pub unknown: bool,
    /// The wanted end, when it is no address.
    pub goal: Option<Host<'n>>,
    /// The flow's source, when it stands in a VPC.
    pub origin: Option<Host<'n>>,
    /// Whether the ends' security groups are left out (they are asked separately).
    pub bare: bool,
    /// Where the packet came to groups that would be asked.
    pub door: Option<Door<'n>>,
    /// Whether an internet gateway looked for the sender's public address.
    pub asked_public: bool,
    /// The ACLs that were asked, when the walk is bare.
    pub acls: Vec<u32>,
}

impl<'n> Walk<'n> {
    pub fn new(net: &'n Network, snapshot: Option<&'n Snapshot>) -> Walk<'n> {
        Walk {
            net,
            snapshot,
            returning: false,
            forward: Vec::new(),
            back: Vec::new(),
            blocked: false,
            unknown: false,
            goal: None,
            origin: None,
            bare: false,
            door: None,
            asked_public: false,
            acls: Vec::new(),
        }
    }

    /// The verdict is certain and nobody wants hops.
    pub fn decided(&self) -> bool {
        self.blocked && self.snapshot.is_none()
    }

    /// Notes a step.
    pub fn hop(&mut self, verdict: Verdict, hop: impl FnOnce(&Network) -> Hop) {
        match verdict {
            Verdict::Blocked => self.blocked = true,
            Verdict::Unknown => self.unknown = true,
            Verdict::Allowed => {}
        }
        if self.snapshot.is_some() {
            let mut hop = hop(self.net);
            hop.verdict = verdict;
            if self.returning { self.back.push(hop) } else { self.forward.push(hop) }
        }
    }

    /// A step that stops the packet for certain.
    pub fn stop(&mut self, hop: impl FnOnce(&Network) -> Hop) {
        self.hop(Verdict::Blocked, hop);
    }

    /// A step behind which nobody can see.
    pub fn lose(&mut self, hop: impl FnOnce(&Network) -> Hop) {
        self.hop(Verdict::Unknown, hop);
    }

    /// The security groups of an end. Answers pass them: connections are tracked.
    pub fn groups(&mut self, host: &Host, direction: usize, with: IpAddr, peers: Peers, service: Service) {
        if self.bare {
            return;
        }
        let Some(groups) = &host.groups else {
            return self.lose(|_| explain::no_groups(host, direction));
        };
        if groups.is_empty() {
            // A load balancer without groups filters nothing; other interfaces always have one.
            if host.kind == Kind::NetworkLoadBalancer {
                return;
            }
            return self.lose(|_| explain::no_groups(host, direction));
        }
        let decision = self.net.groups_permit(groups, direction, with, peers, service);
        let snapshot = self.snapshot;
        self.hop(decision.verdict, |net| {
            explain::groups(net, snapshot, host, groups, direction, with, service, &decision)
        });
    }

    /// The network ACL of a subnet.
    pub fn acl(&mut self, subnet: u32, direction: usize, with: IpAddr, service: Service) -> Decision {
        let acl = self.net.acl_number(subnet);
        if self.bare {
            self.acls.push(acl);
        }
        let decision = self.net.acl_permits(acl, direction, with, service);
        self.hop(decision.verdict, |net| explain::acl(net, subnet, direction, service, &decision));
        decision
    }

    /// Enters a subnet from outside it.
    pub fn enter(&mut self, subnet: u32, packet: &Packet) {
        self.acl(subnet, INGRESS, packet.from, packet.service);
    }

    /// Follows the packet from `at` to where its destination address is. `None`: it got lost, and the last hop
    /// says why.
    pub fn travel(&mut self, mut at: At, packet: &mut Packet<'n>, crossings: &mut Vec<Crossing>) -> Option<Arrival> {
        for _ in 0..GATEWAYS {
            if self.decided() {
                return None;
            }
            let subnet = self.net.subnets.get(at.subnet as usize);
            if subnet.is_some_and(|s| s.holds(packet.to)) {
                // Inside a subnet neither routes nor ACLs apply.
                return Some(Arrival::Inside { vpc: at.vpc, subnet: at.subnet });
            }
            let table = self.net.table_of(at.subnet);
            let target = self.route(at, table, packet.to);
            self.acl(at.subnet, EGRESS, packet.to, packet.service);
            let (target, to_at) = target?;
            match self.pass(at, target, to_at, packet, crossings)? {
                Next::Arrived(arrival) => return Some(arrival),
                Next::At(next) => at = next,
            }
        }
        self.stop(|net| explain::plain(net.subnet_name(at.subnet), "route", "the packet goes round in a loop"));
        None
    }

    /// Looks the destination up and notes the route.
    pub fn route(&mut self, at: At, table: u32, to: IpAddr) -> Option<(&'n Target, u32)> {
        let net = self.net;
        let found = net.look_up(table, at.vpc, to);
        let (verdict, answer) = match found {
            Lookup::NoTable | Lookup::Unclear(_) => (Verdict::Unknown, None),
            Lookup::Nothing => (Verdict::Blocked, None),
            Lookup::Local => (Verdict::Allowed, Some((&Target::Local, NONE))),
            Lookup::Found(i) => {
                let route = &net.tables[table as usize].routes[i as usize];
                if route.blackhole {
                    (Verdict::Blocked, None)
                } else {
                    (Verdict::Allowed, Some((&route.target, route.at)))
                }
            }
        };
        self.hop(verdict, |net| explain::route(net, at.subnet, table, to, found));
        answer
    }

    /// Arrives by the local route.
    pub fn local(&mut self, at: At, packet: &Packet) -> Option<Arrival> {
        let net = self.net;
        match self.net.subnet_at(at.vpc, packet.to) {
            Some(subnet) => {
                if subnet != at.subnet {
                    self.enter(subnet, packet);
                }
                Some(Arrival::Inside { vpc: at.vpc, subnet })
            }
            None => {
                let to = packet.to;
                self.lose(|_| {
                    let at = net.vpcs.get(at.vpc as usize).map_or(String::new(), |v| v.id.to_string());
                    explain::plain(at, "destination", &format!("no recorded subnet of the VPC holds {to}"))
                });
                None
            }
        }
    }

    /// The host with this address in the VPC: the wanted end, or a recorded interface.
    pub fn host(&self, vpc: u32, at: IpAddr) -> Option<Host<'n>> {
        if let Some(goal) = &self.goal
            && goal.vpc == vpc
            && goal.address == at
        {
            return Some(goal.clone());
        }
        self.net.interface_at(vpc, at).map(|i| self.net.host(i, at))
    }
}

/// What a gateway does with a packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    Arrived(Arrival),
    At(At),
}

impl Network {
    pub(super) fn host(&self, interface: u32, address: IpAddr) -> Host<'_> {
        let i = &self.interfaces[interface as usize];
        Host {
            interface,
            label: Cow::Borrowed(i.id.as_str()),
            vpc: i.vpc,
            subnet: i.subnet,
            groups: Some(Cow::Borrowed(self.set(i.set))),
            address,
            public: self.public_of(interface, address),
            kind: i.kind,
        }
    }

    pub(super) fn subnet_name(&self, subnet: u32) -> String {
        self.subnets
            .get(subnet as usize)
            .map_or_else(|| "a subnet that is not recorded".to_owned(), |s| s.id.to_string())
    }
}
