//! Transit gateways by which nodes would reach the internet: what drops their packets, there or on the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Cluster;
use super::dns_path::AnyLink;
use crate::network::{Family, Hop, Target, Verdict};
use crate::shape::ec2::{RouteTable, Subnet};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, TableId};

derived! {
    /// An object that drops what nodes send through a transit gateway to the internet, or the answers.
    TransitDrop {
        gateway: Str,
        /// The object that decides.
        culprit: AnyLink,
        /// What it does.
        why: Str,
        /// `route` (the gateway's table has none), `zone` (the attachment has no subnet there), `back` (nothing leads
        /// the answers back), or `other`.
        kind: Str,
        subnets: Vec<Link<Subnet>>,
        tables: Vec<Link<RouteTable>>,
        /// Whether nodes of these subnets can do without: nothing is wanted or runs here now, or the gateway leads to other
        /// networks, which may hold endpoints or a proxy.
        maybe: bool,
        /// What opens the way.
        command: Str,
    }
}

impl Cluster {
    /// What drops packets of nodes on a way out through a transit gateway, as far as the snapshot follows it. Where nodes
    /// are ready behind the same object they get what they need some other way.
    pub fn transit_drops(&self) -> Known<Vec<Arc<TransitDrop>>> {
        let tables = &self.snapshot.tables;
        let exits = self.node_exits()?;
        let workers = self.workers().unwrap_or_default();
        let here = |subnet: Row| workers.iter().filter(move |w| w.subnet.is_some_and(|s| s.row == subnet));
        let others_ready = workers.iter().any(|w| w.ready);
        let mut found: BTreeMap<Row, TransitDrop> = BTreeMap::new();
        let mut works: BTreeSet<Row> = BTreeSet::new();
        // By a proxy nodes need no way of their own.
        for exit in exits.iter().filter(|x| x.is("unverifiable") && x.needs && !x.proxy) {
            let subnet = tables.subnets.at(exit.subnet.row.index);
            let egress = self.network.egress(&self.snapshot, &subnet.SubnetId, Family::V4);
            let Some(Target::TransitGateway(gateway)) = egress.route.map(|r| r.target) else { continue };
            // The first hop is the subnet's own route.
            let hops = egress.hops.get(1..).unwrap_or_default();
            // What comes after something unknown may never be asked.
            let Some(at) = hops.iter().position(|h| h.verdict != Verdict::Allowed) else { continue };
            if hops[at].verdict == Verdict::Unknown {
                continue;
            }
            let Some((culprit, kind, why)) = self.transit_fault(hops, at, subnet.value) else { continue };
            if here(exit.subnet.row).any(|w| w.ready) {
                works.insert(culprit);
                continue;
            }
            let others = kind == "route" && !exit.apiOutside && self.leads_elsewhere(culprit);
            // Nothing tells against endpoints or a proxy in those networks while no node was wanted.
            if others && exit.idle {
                continue;
            }
            let command = self.transit_command(kind, culprit, &gateway, subnet.value);
            let drop = found.entry(culprit).or_insert_with(|| TransitDrop {
                gateway,
                culprit: AnyLink(culprit),
                why,
                kind: Str::const_new(kind),
                subnets: Vec::new(),
                tables: Vec::new(),
                maybe: true,
                command,
            });
            let unused = others_ready && here(exit.subnet.row).next().is_none();
            drop.maybe &= exit.idle || others || unused;
            if !drop.subnets.contains(&exit.subnet) {
                drop.subnets.push(exit.subnet);
            }
            drop.tables.extend(exit.routeTable.filter(|t| !drop.tables.contains(t)));
        }
        found.retain(|culprit, _| !works.contains(culprit));
        Ok(found.into_values().map(Arc::new).collect())
    }

    /// The object behind a blocked hop, the kind of the fault, and its words.
    fn transit_fault(&self, hops: &[Hop], at: usize, from: &Subnet) -> Option<(Row, &'static str, Str)> {
        let hop = &hops[at];
        let row = |hop: &Hop| hop.deciders.first().copied().or(hop.spot.as_ref().map(|s| s.row));
        // The answer has left the wrong way: the table that sent it there lacks the route back.
        if hop.code == Some("NO_POSSIBLE_DESTINATION")
            && let Some(route) = hops[..at].iter().rev().find(|h| h.step == "route")
            && let Some(table) = row(route).filter(|r| r.table == TableId::RouteTables)
        {
            let id = &self.snapshot.tables.route_tables.at(table.index).RouteTableId;
            let by = route.by.as_deref().unwrap_or_default();
            let why =
                format!("route table {id} has no route back to the nodes ({}): answers take {by}", from.CidrBlock);
            return Some((table, "back", Str::from(why)));
        }
        let kind = match hop.code {
            Some("TGW_RTB_NO_ROUTE_TO_TGW_ATTACHMENT") => "route",
            Some("TGW_ROUTE_AZ_RESTRICTION") => "zone",
            _ => "other",
        };
        let note = hop.note.as_deref().or(hop.by.as_deref()).unwrap_or(&hop.step);
        let why = match kind {
            "route" => format!("transit gateway route table {} has no route to the internet (0.0.0.0/0)", hop.at),
            "zone" => format!("transit gateway attachment {} has no subnet in {}", hop.at, from.AvailabilityZone),
            _ => format!("{} at {}: {note}", hop.step, hop.at),
        };
        Some((row(hop)?, kind, Str::from(why)))
    }

    /// Whether a transit gateway's table leads to networks besides the cluster's.
    fn leads_elsewhere(&self, routes: Row) -> bool {
        let vpc = self.vpc_id().unwrap_or_default();
        routes.table == TableId::TransitGatewayRoutes
            && self
                .snapshot
                .tables
                .transit_gateway_routes
                .at(routes.index)
                .Routes
                .iter()
                .any(|r| r.State != "blackhole" && r.TransitGatewayAttachments.iter().any(|a| a.ResourceId != vpc))
    }

    fn transit_command(&self, kind: &str, culprit: Row, gateway: &str, subnet: &Subnet) -> Str {
        let (tables, region) = (&self.snapshot.tables, self.region_name());
        Str::from(match (kind, culprit.table) {
            ("route", TableId::TransitGatewayRoutes) => format!(
                "aws ec2 create-transit-gateway-route --region {region} --transit-gateway-route-table-id {} \
                 --destination-cidr-block 0.0.0.0/0 --transit-gateway-attachment-id <attachment-of-the-egress-vpc>",
                tables.transit_gateway_routes.at(culprit.index).Argument
            ),
            ("zone", TableId::TransitGatewayVpcAttachments) => format!(
                "aws ec2 modify-transit-gateway-vpc-attachment --region {region} --transit-gateway-attachment-id {} \
                 --add-subnet-ids <subnet-in-{}>",
                tables.transit_gateway_vpc_attachments.at(culprit.index).TransitGatewayAttachmentId,
                subnet.AvailabilityZone
            ),
            ("back", TableId::RouteTables) => format!(
                "aws ec2 create-route --region {region} --route-table-id {} --destination-cidr-block {} \
                 --transit-gateway-id {gateway}",
                tables.route_tables.at(culprit.index).RouteTableId,
                self.vpc_ranges().first().cloned().unwrap_or_else(|| subnet.CidrBlock.clone())
            ),
            _ => format!(
                "aws ec2 describe-transit-gateway-attachments --region {region} --filters \
                 Name=transit-gateway-id,Values={gateway}"
            ),
        })
    }
}
