//! Route tables: which one a subnet has and which route a destination takes.

use std::net::IpAddr;

use super::address::{holds, is_public};
use super::model::{NONE, Network};
use super::{RouteChoice, Target};
use crate::shape::Row;
use crate::snapshot::{Known, Missing};

/// What a route table says about a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The table is not recorded.
    NoTable,
    /// A prefix list that decides is not recorded: index of its route.
    Unclear(u32),
    /// No route holds the destination.
    Nothing,
    /// The position of the route in the table.
    Found(u32),
    /// A range of the VPC without a local route in the recorded list.
    Local,
}

impl Network {
    /// The route table of a subnet: the one associated, else the VPC's main one
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Route_Tables.html>).
    pub(super) fn table_of(&self, subnet: u32) -> u32 {
        let Some(s) = self.subnets.get(subnet as usize) else { return NONE };
        if s.table != NONE { s.table } else { self.vpcs.get(s.vpc as usize).map_or(NONE, |v| v.main_table) }
    }

    /// The network ACL of a subnet: the one associated, else the VPC's default one.
    pub(super) fn acl_number(&self, subnet: u32) -> u32 {
        let Some(s) = self.subnets.get(subnet as usize) else { return NONE };
        if s.acl != NONE { s.acl } else { self.vpcs.get(s.vpc as usize).map_or(NONE, |v| v.default_acl) }
    }

    /// The route that a destination takes: longest prefix, then static before prefix list before propagated; the
    /// VPC's local route beats any propagated one
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/route-tables-priority.html>,
    /// <https://docs.aws.amazon.com/vpn/latest/s2svpn/vpn-route-priority.html>).
    pub(super) fn look_up(&self, table: u32, vpc: u32, to: IpAddr) -> Lookup {
        let Some(routes) = self.tables.get(table as usize) else { return Lookup::NoTable };
        let mut best: Option<(u8, u8, u32, usize)> = None;
        let mut best_but_propagated: Option<(u8, u8, u32, usize)> = None;
        let mut local = false;
        for (at, route) in routes.routes.iter().enumerate() {
            if !holds(&route.to, to) {
                continue;
            }
            local |= route.target == Target::Local;
            // Equal in everything: the choice is AWS's, random but stable; ours is the first recorded target.
            let key = (u8::MAX - route.to.prefix_len(), route.rank, route.index, at);
            let better = |than: &Option<(u8, u8, u32, usize)>| {
                than.is_none_or(|t| {
                    (key.0, key.1) < (t.0, t.1)
                        || ((key.0, key.1) == (t.0, t.1) && route.target < routes.routes[t.3].target)
                })
            };
            if better(&best) {
                best = Some(key);
            }
            if route.rank < 2 && better(&best_but_propagated) {
                best_but_propagated = Some(key);
            }
        }
        let implicit = self.vpcs.get(vpc as usize).and_then(|v| v.cidrs.iter().find(|c| holds(c, to)));
        if local || implicit.is_some() {
            best = best_but_propagated;
        }
        if let Some(range) = implicit
            && !local
            && best.is_none_or(|b| u8::MAX - b.0 < range.prefix_len())
        {
            return Lookup::Local;
        }
        for (index, target) in &routes.unclear {
            // Lists of gateway endpoints hold public addresses of S3 and DynamoDB; where another route leads out,
            // the packet gets there either way.
            let gateway = matches!(target, Target::Endpoint(_));
            let matters = if gateway {
                is_public(to) && best.is_none_or(|b| routes.routes[b.3].blackhole)
            } else {
                !(local || implicit.is_some())
            };
            if matters && !super::flow::is_any_public(to) {
                return Lookup::Unclear(*index as u32);
            }
            if matters && !gateway {
                return Lookup::Unclear(*index as u32);
            }
        }
        best.map_or(Lookup::Nothing, |b| Lookup::Found(b.3 as u32))
    }

    /// The effective route table of a subnet.
    ///
    /// # Errors
    /// When the subnet or its table is not recorded.
    pub fn route_table_of(&self, subnet_id: &str) -> Known<Row> {
        let subnet = self.known_subnet(subnet_id)?;
        self.tables
            .get(self.table_of(subnet) as usize)
            .map(|t| t.row)
            .ok_or_else(|| missing(&self.missing.tables, "ec2:DescribeRouteTables", subnet_id, "has no recorded table"))
    }

    /// The effective network ACL of a subnet.
    ///
    /// # Errors
    /// When the subnet or its ACL is not recorded.
    pub fn acl_of(&self, subnet_id: &str) -> Known<Row> {
        let subnet = self.known_subnet(subnet_id)?;
        self.acls
            .get(self.acl_number(subnet) as usize)
            .map(|a| a.row)
            .ok_or_else(|| missing(&self.missing.acls, "ec2:DescribeNetworkAcls", subnet_id, "has no recorded ACL"))
    }

    /// The subnet of the VPC that holds the address.
    pub fn subnet_of(&self, vpc_id: &str, address: IpAddr) -> Option<Row> {
        let vpc = *self.vpc_ids.get(vpc_id)?;
        self.subnets[self.subnet_at(vpc, address)? as usize].row
    }

    /// The interface of the VPC that has the address: primary, secondary, or inside one of its prefixes.
    pub fn interface_of(&self, vpc_id: &str, address: IpAddr) -> Option<Row> {
        let vpc = *self.vpc_ids.get(vpc_id)?;
        Some(self.interfaces[self.interface_at(vpc, address)? as usize].row)
    }

    /// The route that a destination takes from a subnet, `None` when no route holds it.
    ///
    /// # Errors
    /// When the subnet, its table, or a prefix list that decides is not recorded.
    pub fn route(&self, subnet_id: &str, destination: IpAddr) -> Known<Option<RouteChoice>> {
        let subnet = self.known_subnet(subnet_id)?;
        let row = self.route_table_of(subnet_id)?;
        let number = self.table_of(subnet);
        match self.look_up(number, self.subnets[subnet as usize].vpc, destination) {
            Lookup::NoTable => Err(missing(&self.missing.tables, "ec2:DescribeRouteTables", subnet_id, "has none")),
            Lookup::Nothing => Ok(None),
            Lookup::Unclear(index) => Err(Missing {
                read: "ec2:GetManagedPrefixListEntries".to_owned(),
                reason: format!(
                    "{}: the prefix list of route {index} is not recorded",
                    self.tables[number as usize].id
                ),
            }),
            found => Ok(Some(self.choice(number, row, found))),
        }
    }

    pub(super) fn choice(&self, table: u32, row: Row, found: Lookup) -> RouteChoice {
        let routes = &self.tables[table as usize].routes;
        match found {
            Lookup::Found(at) => {
                let route = &routes[at as usize];
                RouteChoice {
                    table: row,
                    route_index: route.index as usize,
                    target: route.target.clone(),
                    blackhole: route.blackhole,
                }
            }
            _ => RouteChoice {
                table: row,
                route_index: routes.iter().find(|r| r.target == Target::Local).map_or(0, |r| r.index as usize),
                target: Target::Local,
                blackhole: false,
            },
        }
    }

    pub(super) fn known_subnet(&self, id: &str) -> Known<u32> {
        self.subnet_ids
            .get(id)
            .copied()
            .ok_or_else(|| missing(&self.missing.subnets, "ec2:DescribeSubnets", id, "is not in the recorded answers"))
    }
}

fn missing(read: &Option<Missing>, operation: &str, id: &str, reason: &str) -> Missing {
    read.clone().unwrap_or_else(|| Missing { read: operation.to_owned(), reason: format!("{id} {reason}") })
}
