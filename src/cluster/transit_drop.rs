//! Transit gateways by which nodes would reach the internet: what drops their packets, there or on the way back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use super::dns_path::AnyLink;
use super::worker::Worker;
use crate::network::{Family, Hop, Target, Verdict};
use crate::shape::ec2::{AvailabilityZone, RouteTable, Subnet};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing, Rec, TableId};

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
    /// What drops packets of nodes on a way out through a transit gateway, as far as the snapshot follows it. Where the
    /// nodes launched last behind the same object are ready, they get what they need some other way.
    pub fn transit_drops(&self) -> Known<Vec<Arc<TransitDrop>>> {
        let tables = &self.snapshot.tables;
        let exits = self.node_exits()?;
        let workers = self.workers().unwrap_or_default();
        let here = |subnet: Row| workers.iter().filter(move |w| w.subnet.is_some_and(|s| s.row == subnet));
        let launched = |w: &Worker| {
            let instance = tables.instances.at(w.instance?.row.index);
            minutes(&instance.value.LaunchTime)
        };
        let others_ready = workers.iter().any(|w| w.ready);
        let mut found: BTreeMap<Row, TransitDrop> = BTreeMap::new();
        // When the last nodes that are ready, and the last that did not become so, were launched behind each object.
        let mut ready: BTreeMap<Row, i64> = BTreeMap::new();
        let mut failed: BTreeMap<Row, i64> = BTreeMap::new();
        let mut unread = None;
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
                if here(exit.subnet.row).any(|w| self.failed_to_start(w)) {
                    let hop = &hops[at];
                    let reason = format!("{}: {}", hop.at, hop.note.as_deref().unwrap_or(&hop.step));
                    unread.get_or_insert_with(|| Missing { read: "ec2:SearchTransitGatewayRoutes".to_owned(), reason });
                }
                continue;
            }
            let Some((culprit, kind, why)) = self.transit_fault(hops, at, subnet.value) else { continue };
            for worker in here(exit.subnet.row) {
                if worker.ready {
                    let last = ready.entry(culprit).or_insert(i64::MIN);
                    *last = (*last).max(launched(worker).unwrap_or(i64::MAX));
                } else if self.failed_to_start(worker) {
                    let last = failed.entry(culprit).or_insert(i64::MIN);
                    *last = (*last).max(launched(worker).unwrap_or(i64::MIN));
                }
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
        // A node that joined before the way closed stays ready; one that joined later than others failed shows it open.
        found.retain(|culprit, _| ready.get(culprit).is_none_or(|r| failed.get(culprit).is_some_and(|f| f > r)));
        match unread {
            Some(missing) if found.is_empty() => Err(missing),
            _ => Ok(found.into_values().map(Arc::new).collect()),
        }
    }

    /// Whether a machine had its time and did not join, or its kubelet says that it is not ready, as it does for want of
    /// the VPC CNI's image.
    fn failed_to_start(&self, worker: &Worker) -> bool {
        let says_so = || {
            worker.node.is_some_and(|n| {
                let conditions = &self.snapshot.tables.nodes.at(n.row.index).value.status.conditions;
                conditions.iter().any(|c| c.r#type == "Ready" && c.status == "False")
            })
        };
        !worker.fresh && (!worker.joined || says_so())
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
            "zone" => {
                let (own, zone) = (&from.AvailabilityZone, self.attached_zone(from));
                let parent = if zone == own { String::new() } else { format!(", the parent zone of {own}") };
                format!("transit gateway attachment {} has no subnet in {zone}{parent}", hop.at)
            }
            _ => format!("{} at {}: {note}", hop.step, hop.at),
        };
        Some((row(hop)?, kind, Str::from(why)))
    }

    /// The zone in which an attachment takes the packets of a subnet: of a Local Zone the parent's.
    fn attached_zone<'a>(&'a self, subnet: &'a Subnet) -> &'a str {
        let zone = self.snapshot.tables.availability_zones.get(&subnet.AvailabilityZone);
        let parent = zone.map_or("", |z: Rec<'_, AvailabilityZone>| z.value.ParentZoneName.as_str());
        if parent.is_empty() { &subnet.AvailabilityZone } else { parent }
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
                self.attached_zone(subnet)
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
