//! Peered networks: whether what nodes and pods send there can come back.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use crate::shape::ec2::{RouteTable, Subnet, VpcPeeringConnection};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// A peering connection to which node subnets have a route.
    NodePeering {
        peering: Link<VpcPeeringConnection>,
        /// `active`, `pending-acceptance`, `deleted` ...
        status: Str,
        /// The VPC at the other end.
        peer: Str,
        subnets: Vec<Link<Subnet>>,
        table: Link<RouteTable>,
        /// Ranges of nodes, and of pods whose addresses are not translated, to which no table there leads back.
        unreturned: Vec<Str>,
        /// A route table there.
        farTable: Option<Link<RouteTable>>,
    }
}

impl Cluster {
    /// The peering connections of node subnets.
    pub fn node_peerings(&self) -> Known<Vec<Arc<NodePeering>>> {
        self.snapshot.table::<VpcPeeringConnection>()?;
        self.snapshot.table::<RouteTable>()?;
        let tables = &self.snapshot.tables;
        let vpc = self.vpc_id()?;
        let mut found: Vec<NodePeering> = Vec::new();
        for exit in self.node_exits()? {
            let Some(table) = exit.routeTable else { continue };
            let subnet = tables.subnets.at(exit.subnet.row.index);
            let routes = &tables.route_tables.at(table.row.index).value.Routes;
            let ids: BTreeSet<&Str> =
                routes.iter().map(|r| &r.VpcPeeringConnectionId).filter(|id| !id.is_empty()).collect();
            for id in ids {
                let Some(peering) = tables.vpc_peering_connections.get(id) else { continue };
                let (one, other) = (&peering.value.AccepterVpcInfo, &peering.value.RequesterVpcInfo);
                let peer = if one.VpcId == vpc { other } else { one };
                let far: Vec<_> = tables.route_tables.iter().filter(|t| t.VpcId == peer.VpcId).collect();
                let back = far.iter().flat_map(|t| &t.value.Routes).filter(|r| r.VpcPeeringConnectionId == *id);
                let leads = |cidr: &str| {
                    cidr.parse::<ipnet::Ipv4Net>().is_ok_and(|net| {
                        back.clone().any(|r| {
                            // A prefix list may hold it.
                            !r.DestinationPrefixListId.is_empty()
                                || r.DestinationCidrBlock
                                    .parse::<ipnet::Ipv4Net>()
                                    .is_ok_and(|to| to.contains(&net) || net.contains(&to))
                        })
                    })
                };
                let lacks = !far.is_empty() && !subnet.CidrBlock.is_empty() && !leads(&subnet.CidrBlock);
                let entry = match found.iter().position(|f| f.peering.row == peering.row) {
                    Some(i) => &mut found[i],
                    None => {
                        found.push(NodePeering {
                            peering: Link::new(peering.row),
                            status: peering.value.Status.Code.clone(),
                            peer: peer.VpcId.clone(),
                            subnets: Vec::new(),
                            table,
                            unreturned: Vec::new(),
                            farTable: far.first().map(|t| Link::new(t.row)),
                        });
                        let last = found.len() - 1;
                        &mut found[last]
                    }
                };
                if !entry.subnets.contains(&exit.subnet) {
                    entry.subnets.push(exit.subnet);
                }
                if lacks && !entry.unreturned.contains(&subnet.CidrBlock) {
                    entry.unreturned.push(subnet.CidrBlock.clone());
                }
            }
        }
        Ok(found.into_iter().map(Arc::new).collect())
    }
}
