//! Transit gateways: attachments by zone, associations, route tables and peerings between gateways.

use super::Hop;
use super::Verdict;
use super::address::holds;
use super::explain::plain;
use super::gateway::absent;
use super::model::{Attachment, NONE, Network, TransitTable, VpcAttachment};
use super::walk::{Arrival, At, Crossing, Packet, Sender, Walk};
use crate::shape::Str;

const STEP: &str = "transit gateway";

impl<'n> Walk<'n> {
    /// Through a transit gateway to the subnet of the attachment at the other VPC
    /// (<https://docs.aws.amazon.com/vpc/latest/tgw/how-transit-gateways-work.html>).
    pub fn transit(&mut self, at: At, id: &'n Str, packet: &mut Packet<'n>, crossings: &[Crossing]) -> Option<At> {
        let net = self.net;
        if let Some(t) = net.transits.iter().find(|t| t.id == *id)
            && !matches!(t.state.as_str(), "available" | "modifying" | "")
        {
            self.stop(|_| plain(id.as_str(), STEP, &format!("is {}", t.state)).code("BAD_STATE").spot(t.row, "/State"));
            return None;
        }
        let Some(near) = net.vpc_attachments.iter().find(|a| a.transit == *id && a.vpc == at.vpc) else {
            self.lose(|_| absent(id.as_str(), STEP, net.missing.vpc_attachments.as_ref()));
            return None;
        };
        self.attachment_state(near, packet)?;
        // Only a subnet of the attachment in the sender's zone takes its packets, of a Local Zone one in the parent's
        // (https://docs.aws.amazon.com/vpc/latest/tgw/tgw-vpc-attachments.html).
        let sender = net.subnets.get(at.subnet as usize);
        let zone = sender.map(|s| s.transit_zone.as_str());
        if zone == Some("") {
            self.lose(|_| {
                let zone = sender.map_or("", |s| s.zone.as_str());
                plain(near.id.as_str(), STEP, &format!("ec2:DescribeAvailabilityZones: the parent zone of {zone}"))
                    .spot(near.row, "/SubnetIds")
            });
            return None;
        }
        let entry = near.subnets.iter().copied().find(|&s| zone.is_some() && net.zone(s) == zone);
        match (entry, near.subnets.contains(&NONE)) {
            // The attachment's ACL sees the packet come in, in the sender's own subnet, too
            // (https://docs.aws.amazon.com/vpc/latest/tgw/tgw-nacls.html).
            (Some(subnet), _) => self.enter(subnet, packet),
            (None, true) => {
                self.lose(|_| {
                    plain(near.id.as_str(), STEP, "a subnet of the attachment is not recorded")
                        .spot(near.row, "/SubnetIds")
                });
            }
            (None, false) => {
                self.stop(|_| {
                    plain(near.id.as_str(), STEP, &format!("has no subnet in {}", zone.unwrap_or("the sender's zone")))
                        .code("TGW_ROUTE_AZ_RESTRICTION")
                        .spot(near.row, "/SubnetIds")
                });
                return None;
            }
        }
        let (mut transit, mut attachment) = (id, &near.id);
        let mut far = None;
        for gateways in 0..4 {
            let (table, route) = self.transit_route(transit, attachment, packet)?;
            let route = &table.routes[route];
            let [(next, kind, resource)] = route.attachments.as_slice() else {
                self.lose(|_| {
                    plain(transit.as_str(), STEP, "the route leads to several attachments")
                        .spot(table.row, format!("/Routes/{}", route.index))
                });
                return None;
            };
            match kind.as_str() {
                "vpc" => {
                    let found = net.vpc_attachments.iter().find(|a| a.id == *next);
                    let Some(found) =
                        found.filter(|a| net.vpcs.get(a.vpc as usize).is_some_and(|v| !v.subnets.is_empty()))
                    else {
                        self.lose(|_| {
                            plain(next.as_str(), STEP, &format!("leads to {resource}, which is not in the snapshot"))
                        });
                        return None;
                    };
                    self.attachment_state(found, packet)?;
                    far = Some((found, gateways == 0));
                    break;
                }
                "peering" => {
                    let other = net.attachments.iter().find(|a| a.id == *next && a.transit != *transit);
                    let Some(other) = other else {
                        self.lose(|_| {
                            plain(next.as_str(), STEP, &format!("leads to {resource}, which is not in the snapshot"))
                        });
                        return None;
                    };
                    if other.state != "available" {
                        self.stop(|_| bad_attachment(other));
                        return None;
                    }
                    (transit, attachment) = (&other.transit, &other.id);
                }
                _ => {
                    self.lose(|_| {
                        plain(next.as_str(), STEP, &format!("leads to {kind} {resource}, outside the snapshot"))
                    });
                    return None;
                }
            }
        }
        let Some((far, direct)) = far else {
            self.lose(|_| plain(id.as_str(), STEP, "more transit gateways in a row than are followed"));
            return None;
        };
        // Groups cross only where the gateway and both attachments say so, and not between gateways
        // (https://docs.aws.amazon.com/vpc/latest/tgw/tgw-vpc-attachments.html).
        let refers = direct
            && near.group_references
            && far.group_references
            && net.transits.iter().any(|t| t.id == *id && t.group_references);
        if !refers {
            packet.sender = Sender::Lost;
        }
        self.leave_transit(far, zone, direct, packet, crossings)
    }

    fn attachment_state(&mut self, attachment: &'n VpcAttachment, packet: &Packet) -> Option<()> {
        if attachment.state != "available" && attachment.state != "modifying" {
            self.stop(|_| {
                plain(attachment.id.as_str(), STEP, &format!("is {}", attachment.state))
                    .code("BAD_STATE_ATTACHMENT")
                    .spot(attachment.row, "/State")
            });
            return None;
        }
        if packet.to.is_ipv6() && !attachment.ipv6 {
            self.lose(|_| {
                plain(attachment.id.as_str(), STEP, "IPv6 support of the attachment is off")
                    .spot(attachment.row, "/Options/Ipv6Support")
            });
            return None;
        }
        Some(())
    }

    /// The route of the table that the attachment is associated with.
    fn transit_route(
        &mut self,
        transit: &'n Str,
        attachment: &'n Str,
        packet: &Packet,
    ) -> Option<(&'n TransitTable, usize)> {
        let net = self.net;
        let to = packet.to;
        let Some(found) = net.attachments.iter().find(|a| a.id == *attachment && a.transit == *transit) else {
            self.lose(|_| absent(attachment.as_str(), STEP, net.missing.attachments.as_ref()));
            return None;
        };
        if found.table.is_none() && found.foreign {
            self.lose(|_| {
                plain(attachment.as_str(), STEP, "its route table belongs to another account, which alone sees it")
                    .spot(found.row, "/TransitGatewayOwnerId")
            });
            return None;
        }
        let Some((table, _)) = found.table.as_ref().filter(|t| matches!(t.1.as_str(), "associated" | "")) else {
            self.stop(|_| {
                plain(attachment.as_str(), STEP, "is associated with no route table")
                    .code("TGW_ATTACH_MISSING_TGW_RTB_ASSOCIATION")
                    .spot(found.row, "")
            });
            return None;
        };
        let Some(routes) = net.transit_tables.iter().find(|t| t.id == *table) else {
            self.lose(|_| plain(table.as_str(), STEP, "ec2:SearchTransitGatewayRoutes: not recorded for this table"));
            return None;
        };
        if routes.more {
            self.lose(|_| plain(table.as_str(), STEP, "the recorded routes are not all").spot(routes.row, ""));
            return None;
        }
        // Longest prefix, then static before propagated, then VPC before the rest.
        let best = routes.routes.iter().enumerate().filter(|(_, r)| holds(&r.to, to)).min_by_key(|(_, r)| {
            (
                u8::MAX - r.to.prefix_len(),
                r.propagated,
                r.attachments.first().map(|a| a.1 != "vpc"),
                r.attachments.first(),
            )
        });
        match best {
            None => {
                self.stop(|_| {
                    plain(table.as_str(), STEP, &format!("no route to {to}"))
                        .code("TGW_RTB_NO_ROUTE_TO_TGW_ATTACHMENT")
                        .spot(routes.row, "/Routes")
                });
                None
            }
            Some((_, route)) if route.blackhole => {
                self.stop(|_| {
                    plain(table.as_str(), STEP, "the route is a blackhole")
                        .code("TGW_RTB_BAD_STATE_ROUTE")
                        .by(route.to.to_string())
                        .spot(routes.row, format!("/Routes/{}", route.index))
                });
                None
            }
            Some((i, route)) => {
                self.hop(Verdict::Allowed, |_| {
                    let to = route.attachments.first().map_or("", |a| a.0.as_str());
                    Hop::new(table.as_str(), STEP)
                        .by(format!("{} -> {to}", route.to))
                        .spot(routes.row, format!("/Routes/{}", route.index))
                });
                Some((routes, i))
            }
        }
    }

    /// Out of the gateway into the other VPC: the attachment's subnet in the sender's zone, else any.
    fn leave_transit(
        &mut self,
        far: &'n VpcAttachment,
        zone: Option<&str>,
        direct: bool,
        packet: &mut Packet<'n>,
        crossings: &[Crossing],
    ) -> Option<At> {
        let net = self.net;
        let in_zone =
            far.subnets.iter().copied().find(|&s| direct && !far.appliance && zone.is_some() && net.zone(s) == zone);
        let exits: Vec<u32> = in_zone.map_or_else(|| far.subnets.clone(), |s| vec![s]);
        let at = |subnet| At { vpc: far.vpc, subnet, transit: true };
        let mut known = exits.iter().copied().filter(|&s| s != NONE);
        if exits.contains(&NONE) {
            self.lose(|_| {
                plain(far.id.as_str(), STEP, "a subnet of the attachment is not recorded").spot(far.row, "/SubnetIds")
            });
            return known.next().map(at);
        }
        if exits.len() > 1 {
            // Which zone is AWS's choice: the packet has to get on from each.
            let verdicts: Vec<(bool, bool)> = exits
                .iter()
                .map(|&subnet| {
                    let mut walk = Walk {
                        goal: self.goal.clone(),
                        origin: self.origin.clone(),
                        bare: self.bare,
                        returning: self.returning,
                        ..Walk::new(net, None)
                    };
                    let arrival: Option<Arrival> =
                        walk.travel(at(subnet), &mut packet.clone(), &mut crossings.to_vec());
                    (walk.blocked || arrival.is_none(), walk.unknown)
                })
                .collect();
            let good = verdicts.iter().position(|v| *v == (false, false)).or(verdicts.iter().position(|v| !v.0));
            if let Some(good) = good {
                if verdicts.iter().any(|v| v.0) {
                    self.lose(|_| {
                        plain(far.id.as_str(), STEP, "it depends on the zone that the transit gateway chooses")
                            .spot(far.row, "/SubnetIds")
                    });
                }
                return Some(at(exits[good]));
            }
        }
        known.next().map(at)
    }
}

impl Network {
    fn zone(&self, subnet: u32) -> Option<&str> {
        self.subnets.get(subnet as usize).map(|s| s.zone.as_str())
    }
}

fn bad_attachment(attachment: &Attachment) -> Hop {
    plain(attachment.id.as_str(), STEP, &format!("is {}", attachment.state))
        .code("BAD_STATE_ATTACHMENT")
        .spot(attachment.row, "/State")
}
