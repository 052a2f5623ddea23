//! Network Load Balancers: listeners, target groups, health, client addresses, zones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::explain::plain;
use super::filter::{EGRESS, INGRESS, Peers};
use super::flow::{Protocol, TRANSLATED_CLIENT_PORTS};
use super::gateway::absent;
use super::model::{NONE, Network};
use super::walk::{Arrival, At, Host, Packet, Sender, Walk};
use super::{Hop, Verdict};
use crate::shape::elb::{self, ElbAttribute, ElbAttributes};
use crate::shape::{Row, Str};
use crate::snapshot::Snapshot;

const STEP: &str = "load balancer";

#[derive(Debug)]
pub(super) struct Balancer {
    row: Row,
    name: Str,
    interfaces: Vec<u32>,
    cross_zone: bool,
    /// Absent when nobody recorded them.
    listeners: Option<Vec<Listener>>,
}

#[derive(Debug)]
struct Listener {
    row: Row,
    port: i64,
    protocol: Str,
    groups: Vec<TargetGroup>,
}

#[derive(Debug)]
struct TargetGroup {
    row: Option<Row>,
    name: Str,
    /// `preserve_client_ip.enabled`, or its default.
    keeps_client: bool,
    cross_zone: Option<bool>,
    /// Absent when nobody recorded their health.
    targets: Option<Vec<Target>>,
}

#[derive(Debug, Clone)]
struct Target {
    id: Str,
    port: u16,
    /// `NONE` when no recorded interface has it.
    interface: u32,
    address: Option<IpAddr>,
    healthy: bool,
}

/// Reads the Network Load Balancers of a snapshot.
pub(super) fn read(net: &Network, snapshot: &Snapshot) -> Vec<Balancer> {
    let tables = &snapshot.tables;
    let network = |b: &elb::LoadBalancer| b.Type == "network";
    if !tables.load_balancers.iter().any(|b| network(b.value)) {
        return Vec::new();
    }
    let mut by_name: HashMap<&str, Vec<u32>> = HashMap::new();
    let mut by_instance: HashMap<&str, u32> = HashMap::new();
    for eni in tables.network_interfaces.iter() {
        let Some(&at) = net.interface_ids.get(&eni.NetworkInterfaceId) else { continue };
        if let Some(name) = eni.value.Description.strip_prefix("ELB net/") {
            by_name.entry(name).or_default().push(at);
        }
        if let Some(a) = eni.value.Attachment.as_ref().filter(|a| a.DeviceIndex == Some(0)) {
            by_instance.insert(&a.InstanceId, at);
        }
    }
    tables
        .load_balancers
        .iter()
        .filter(|b| network(b.value))
        .map(|b| {
            let arn = b.value.LoadBalancerArn.as_str();
            let tail = arn.split_once("loadbalancer/net/").map_or(arn, |t| t.1);
            let listeners: Vec<_> = tables.listeners.iter().filter(|l| l.LoadBalancerArn == arn).collect();
            // An answer without listeners leaves no row, only its file.
            let asked = snapshot.documents.iter().any(|d| {
                d.path.contains("describe-listeners")
                    && stem(&d.path).is_some_and(|s| names(s, arn, &b.value.LoadBalancerName))
            });
            Balancer {
                row: b.row,
                name: b.value.LoadBalancerName.clone(),
                interfaces: by_name.get(tail).cloned().unwrap_or_default(),
                cross_zone: attribute(snapshot, arn, &b.value.LoadBalancerName, "load_balancing.cross_zone.enabled")
                    .is_some_and(|v| v == "true"),
                listeners: (asked || !listeners.is_empty()).then(|| {
                    listeners
                        .iter()
                        .map(|l| Listener {
                            row: l.row,
                            port: l.Port.unwrap_or(-1),
                            protocol: l.Protocol.clone(),
                            groups: forwards(l.value).map(|arn| group(net, snapshot, arn, &by_instance)).collect(),
                        })
                        .collect()
                }),
            }
        })
        .collect()
}

fn forwards(listener: &elb::Listener) -> impl Iterator<Item = &Str> {
    listener.DefaultActions.iter().flat_map(|a| {
        let config = a.ForwardConfig.iter().flat_map(|f| &f.TargetGroups).map(|t| &t.TargetGroupArn);
        let single = Some(&a.TargetGroupArn)
            .filter(|g| !g.is_empty() && a.ForwardConfig.as_ref().is_none_or(|f| f.TargetGroups.is_empty()));
        config.chain(single)
    })
}

fn group(net: &Network, snapshot: &Snapshot, arn: &Str, by_instance: &HashMap<&str, u32>) -> TargetGroup {
    let tables = &snapshot.tables;
    let recorded = tables.target_groups.get(arn);
    let name = recorded.map_or_else(|| arn.clone(), |g| g.value.TargetGroupName.clone());
    let of_instances = recorded.is_some_and(|g| g.TargetType == "instance");
    let udp = recorded.is_some_and(|g| matches!(g.Protocol.as_str(), "UDP" | "TCP_UDP" | "QUIC" | "TCP_QUIC"));
    let vpc = recorded.and_then(|g| net.vpc_ids.get(&g.value.VpcId).copied()).unwrap_or(NONE);
    // https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html
    let keeps_client =
        attribute(snapshot, arn, &name, "preserve_client_ip.enabled").map_or(of_instances || udp, |v| v == "true");
    let cross_zone = match attribute(snapshot, arn, &name, "load_balancing.cross_zone.enabled").as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    let health = tables.target_healths.iter().find(|h| names(&h.Argument, arn, &name));
    let targets = health.map(|h| {
        h.value
            .TargetHealthDescriptions
            .iter()
            .filter(|t| !matches!(t.TargetHealth.State.as_str(), "draining" | "unused"))
            .map(|t| {
                let address: Option<IpAddr> = t.Target.Id.parse().ok();
                let interface = match address {
                    Some(address) => net.interface_at(vpc, address),
                    None => by_instance.get(t.Target.Id.as_str()).copied(),
                };
                Target {
                    id: t.Target.Id.clone(),
                    port: t.Target.Port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
                    interface: interface.unwrap_or(NONE),
                    address: address
                        .or_else(|| net.interfaces.get(interface? as usize).and_then(|i| i.primary_v4).map(IpAddr::V4)),
                    healthy: matches!(t.TargetHealth.State.as_str(), "healthy" | "unavailable"),
                }
            })
            .collect()
    });
    TargetGroup { row: recorded.map(|g| g.row), name, keeps_client, cross_zone, targets }
}

fn attribute(snapshot: &Snapshot, arn: &str, name: &str, key: &str) -> Option<Str> {
    let group = arn.contains(":targetgroup/");
    let of = |a: &ElbAttributes| names(&a.Argument, arn, name);
    let all = &snapshot.tables.elb_attributes;
    let found = all.iter().find(|a| of(a.value) && a.of_target_group() == group);
    // With few attributes they may not tell whose they are.
    let found = found.or_else(|| all.iter().find(|a| of(a.value) && !a.of_target_group()))?;
    found.value.Attributes.iter().find(|a: &&ElbAttribute| a.Key == key).map(|a| a.Value.clone())
}

/// Whether a file's stem means the load balancer or target group: its ARN, its name, or the tail of its ARN with
/// any separators.
fn names(stem: &str, arn: &str, name: &str) -> bool {
    let tail = |s: &str| s.rsplit(['/', '.', ':', '_']).next().unwrap_or_default().to_owned();
    stem == arn || stem == name || (tail(stem) == tail(arn) && tail(arn).len() >= 16)
}

fn stem(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.strip_suffix(".json")
}

impl<'n> Walk<'n> {
    /// A connection that has come to a load balancer's interface. `ports` are the client's.
    pub fn balance(&mut self, node: &Host<'n>, packet: &Packet<'n>, ports: &RangeInclusive<u16>) {
        let net = self.net;
        let Some(balancer) = net.balancers.iter().find(|b| b.interfaces.contains(&node.interface)) else {
            return self.lose(|_| absent(node.label.as_ref(), STEP, net.missing.balancers.as_ref()));
        };
        let Some(listeners) = &balancer.listeners else {
            return self.lose(|_| {
                plain(balancer.name.as_str(), STEP, "its listeners are not recorded").spot(balancer.row, "")
            });
        };
        let service = packet.service;
        let listener = listeners.iter().find(|l| {
            service.protocol.has_ports()
                && service.one_port()
                && l.port == i64::from(service.first)
                && match l.protocol.as_str() {
                    "TCP" | "TLS" => service.protocol == Protocol::Tcp,
                    "UDP" | "QUIC" => service.protocol == Protocol::Udp,
                    _ => true,
                }
        });
        let Some(listener) = listener else {
            return self.stop(|_| {
                plain(balancer.name.as_str(), STEP, "has no listener for this protocol and port")
                    .code("ELBV2_LISTENERS_MISMATCH")
                    .spot(balancer.row, "")
            });
        };
        self.hop(Verdict::Allowed, |_| {
            Hop::new(balancer.name.as_str(), STEP)
                .by(format!("listener {}:{}", listener.protocol, listener.port))
                .spot(listener.row, "")
        });
        if listener.groups.is_empty() {
            return self.stop(|_| {
                plain(balancer.name.as_str(), STEP, "the listener has no target group")
                    .code("ELBV2_LISTENER_HAS_NO_TG")
                    .spot(listener.row, "/DefaultActions")
            });
        }
        for group in &listener.groups {
            self.target_group(balancer, group, node, packet, ports);
        }
    }

    fn target_group(
        &mut self,
        balancer: &'n Balancer,
        group: &'n TargetGroup,
        node: &Host<'n>,
        packet: &Packet<'n>,
        ports: &RangeInclusive<u16>,
    ) {
        let net = self.net;
        let at = |hop: Hop| match group.row {
            Some(row) => hop.spot(row, ""),
            None => hop,
        };
        let Some(targets) = &group.targets else {
            return self.lose(|_| at(plain(group.name.as_str(), STEP, "the health of its targets is not recorded")));
        };
        let cross_zone = group.cross_zone.unwrap_or(balancer.cross_zone);
        let zone = |subnet: u32| net.subnets.get(subnet as usize).map(|s| &s.zone);
        let zone_of = |t: &Target| net.interfaces.get(t.interface as usize).and_then(|i| zone(i.subnet));
        let near: Vec<&Target> =
            targets.iter().filter(|t| cross_zone || zone_of(t).is_none_or(|z| Some(z) == zone(node.subnet))).collect();
        if near.is_empty() {
            return self.stop(|_| {
                let (code, note) = if targets.is_empty() {
                    ("ELBV2_LISTENER_HAS_NO_TG", "has no targets")
                } else {
                    ("ELBV2_NO_TARGETS_IN_AZ", "has no targets in this zone, and cross-zone balancing is off")
                };
                at(plain(group.name.as_str(), STEP, note).code(code))
            });
        }
        // With no healthy target the balancer sends to all of them.
        let healthy: Vec<&Target> = near.iter().copied().filter(|t| t.healthy).collect();
        let used = if healthy.is_empty() { near } else { healthy };
        let verdicts: Vec<(bool, bool)> = used
            .iter()
            .map(|target| {
                let mut walk = Walk::new(net, None);
                walk.reach_target(group, target, node, packet, ports);
                (walk.blocked, walk.unknown)
            })
            .collect();
        let failing = verdicts.iter().filter(|v| v.0).count();
        let shown = verdicts.iter().position(|v| v.0).or(verdicts.iter().position(|v| v.1)).unwrap_or(0);
        self.reach_target(group, used[shown], node, packet, ports);
        if failing > 0 && failing < used.len() {
            self.stop(|_| {
                at(plain(group.name.as_str(), STEP, &format!("{failing} of {} targets cannot be reached", used.len()))
                    .code("TARGET_ADDRESS_RESTRICTION"))
            });
        }
    }

    /// From a load balancer's node to a target and back to the node.
    fn reach_target(
        &mut self,
        group: &TargetGroup,
        target: &Target,
        node: &Host<'n>,
        packet: &Packet<'n>,
        ports: &RangeInclusive<u16>,
    ) {
        let net = self.net;
        let Some(address) = target.address.filter(|a| a.is_ipv4() == packet.from.is_ipv4() || !group.keeps_client)
        else {
            return self.lose(|_| plain(target.id.as_str(), STEP, "the target's address is not recorded"));
        };
        let from = if group.keeps_client { packet.from } else { node.address };
        if group.keeps_client && from == address {
            // https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html
            return self.stop(|_| {
                plain(
                    target.id.as_str(),
                    STEP,
                    "a target that keeps client addresses cannot reach itself through the balancer",
                )
                .code("ELBV2_SOURCE_ADDRESS_PRESERVATION")
            });
        }
        let groups = node.groups.clone().filter(|g| !g.is_empty());
        let sender = groups.map_or(Sender::Lost, Sender::Groups);
        let mut service = packet.service;
        (service.first, service.last) = (target.port, target.port);
        let mut onward = Packet { from, to: address, service, sender };
        let at = At { vpc: node.vpc, subnet: node.subnet, transit: false };
        let inside = net.subnet_at(node.vpc, address);
        let arrival = match inside {
            Some(subnet) => {
                if subnet != node.subnet {
                    self.acl(node.subnet, EGRESS, address, service);
                    self.enter(subnet, &onward);
                }
                Some(Arrival::Inside { vpc: node.vpc, subnet })
            }
            None if group.keeps_client => {
                return self.lose(|_| plain(target.id.as_str(), STEP, "the target is outside the balancer's VPC"));
            }
            None => self.travel(at, &mut onward, &mut Vec::new()),
        };
        let Some(Arrival::Inside { vpc, subnet }) = arrival else { return };
        let Some(host) = self.host(vpc, address) else {
            return self.lose(|_| plain(target.id.as_str(), STEP, "no recorded interface has the target's address"));
        };
        let peers = if group.keeps_client && matches!(onward.sender, Sender::Lost) {
            Peers::Lost
        } else {
            onward.sender.peers()
        };
        self.groups(&host, INGRESS, from, peers, service);
        let ports = if group.keeps_client { ports.clone() } else { TRANSLATED_CLIENT_PORTS };
        let Some(answer) = service.answer(&ports) else { return };
        let returning = std::mem::replace(&mut self.returning, true);
        if vpc != node.vpc {
            let mut back = Packet { from: address, to: from, service: answer, sender: Sender::Lost };
            self.travel(At { vpc, subnet, transit: false }, &mut back, &mut Vec::new());
        } else if subnet != node.subnet {
            // Answers go back through the node, whatever the target's routes say.
            self.acl(subnet, EGRESS, from, answer);
            self.acl(node.subnet, INGRESS, address, answer);
        }
        self.returning = returning;
    }
}
