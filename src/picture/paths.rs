//! Where findings and the steps of their packets are in the picture.

use super::{Id, Kind, Mark, Path, Picture, State, Step};
use crate::cluster::Cluster;
use crate::diagnostic::{Diagnostic, Resource};
use crate::network::{Hop, Trace};

/// Objects outside of the VPC that are drawn at most.
const BESIDE: usize = 24;
/// Of those who suffer and stand nowhere in the VPC, how many of one finding are drawn.
const BESIDE_OF_ONE: usize = 4;

pub(super) fn mark(picture: &mut Picture, cluster: &Cluster, finding: &Diagnostic) -> Mark {
    let mut culprits = find(picture, cluster, &finding.resource);
    if culprits.is_empty() {
        culprits.extend(beside(picture, &finding.resource));
    }
    let mut affected: Vec<Id> = Vec::new();
    let mut drawn = 0;
    for resource in &finding.affected {
        let mut found = find(picture, cluster, resource);
        if found.is_empty() && drawn < BESIDE_OF_ONE {
            found.extend(beside(picture, resource));
            drawn += 1;
        }
        affected.extend(found);
    }
    affected.sort_unstable();
    affected.dedup();
    affected.retain(|id| !culprits.contains(id));
    let path = finding.trace.as_ref().map(|trace| path(picture, cluster, trace));
    // An ACL or route table of many subnets is the culprit where the packet meets it, if it does.
    if culprits.len() > 1
        && let Some(path) = &path
    {
        let met: Vec<Id> = path.forward.iter().chain(&path.back).filter_map(|step| step.at).collect();
        if culprits.iter().any(|id| met.contains(id)) {
            culprits.retain(|id| met.contains(id));
        }
    }
    Mark { culprits, affected, path }
}

/// Where a resource is drawn.
fn find(picture: &Picture, cluster: &Cluster, resource: &Resource) -> Vec<Id> {
    let placed = picture.placed(&resource.id);
    if !placed.is_empty() {
        return placed.to_vec();
    }
    let tables = &cluster.snapshot.tables;
    let node = || {
        if resource.kind != "Pod" {
            return None;
        }
        Some(tables.pods.get(&resource.id)?.value.spec.nodeName.as_str())
    };
    node().map_or_else(Vec::new, |node| picture.placed(node).to_vec())
}

/// An object that stands in no VPC, drawn beside it.
fn beside(picture: &mut Picture, resource: &Resource) -> Option<Id> {
    if picture.beside.len() >= BESIDE {
        return None;
    }
    let label = resource.name.as_deref().unwrap_or_else(|| last(&resource.id));
    let hint = format!("{} {}", resource.kind, resource.id);
    let at = picture.add(Kind::Other, label, &resource.kind, hint, State::Fine);
    picture.beside.push(at);
    picture.place(&resource.id, at);
    Some(at)
}

/// The name in an ARN.
fn last(id: &str) -> &str {
    if id.starts_with("arn:") { id.rsplit('/').next().unwrap_or(id) } else { id }
}

fn path(picture: &mut Picture, cluster: &Cluster, trace: &Trace) -> Path {
    let from = end(picture, &trace.from);
    let mut to = end(picture, &trace.to);
    // A name server is asked at its node's interface.
    if trace.port == Some(53) {
        to = coredns(picture, to).or(to);
    }
    let forward = steps(picture, cluster, &trace.forward, from, to);
    let back = steps(picture, cluster, &trace.back, to, from);
    Path { from, to, forward, back, disposition: trace.disposition }
}

/// CoreDNS in the subnet of `id`.
fn coredns(picture: &Picture, id: Option<Id>) -> Option<Id> {
    let subnet = picture.subnet_of(id?)?;
    subnet.rows.iter().copied().find(|&row| picture.objects[row].kind == Kind::CoreDns)
}

/// `name (eni-0a)` is at the interface.
fn key(label: &str) -> &str {
    label.rsplit_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(label)
}

fn end(picture: &mut Picture, label: &str) -> Option<Id> {
    match picture.placed(key(label)).first() {
        Some(&at) => Some(at),
        None => elsewhere(picture, label),
    }
}

/// An end that is not in the VPC, drawn outside.
fn elsewhere(picture: &mut Picture, label: &str) -> Option<Id> {
    if label.is_empty() || label.starts_with("eni-") || picture.outside.len() >= 8 {
        return None;
    }
    let at = picture.add(Kind::Internet, label, "", label.to_owned(), State::Fine);
    picture.outside.push(at);
    picture.place(label, at);
    Some(at)
}

fn steps(picture: &Picture, cluster: &Cluster, hops: &[Hop], from: Option<Id>, to: Option<Id>) -> Vec<Step> {
    let subnets: Vec<Option<Id>> = hops.iter().map(|hop| subnet(picture, hop)).collect();
    let subnet_of = |id: Option<Id>| Some(picture.subnet_of(id?)?.object);
    hops.iter()
        .enumerate()
        .map(|(i, hop)| {
            let placed = picture.placed(key(&hop.at));
            let at = if hop.step == "route" {
                // The route is in the subnet's table.
                let rows = picture.subnet_of(placed.first().copied().unwrap_or(usize::MAX)).map(|s| &s.rows);
                let table = rows
                    .and_then(|rows| rows.iter().copied().find(|&row| picture.objects[row].kind == Kind::RouteTable));
                table.or(placed.first().copied())
            } else if placed.len() > 1 {
                // An ACL guards several subnets: on the way out that of the last place, on the way in that of the next.
                let before = subnets[..i].iter().rev().find_map(|s| *s).or(subnet_of(from));
                let after = subnets[i + 1..].iter().find_map(|s| *s).or(subnet_of(to));
                let wanted = if hop.step.ends_with("ingress") { after } else { before };
                let here = placed.iter().copied().find(|&row| subnet_of(Some(row)) == wanted && wanted.is_some());
                here.or(placed.first().copied())
            } else {
                placed.first().copied().or_else(|| owner(picture, cluster, hop))
            };
            Step { at, verdict: hop.verdict }
        })
        .collect()
}

/// The subnet that a hop is surely in.
fn subnet(picture: &Picture, hop: &Hop) -> Option<Id> {
    match picture.placed(key(&hop.at)) {
        [only] => Some(picture.subnet_of(*only)?.object),
        _ => None,
    }
}

/// The node that an interface belongs to, such as a branch interface of a pod.
fn owner(picture: &Picture, cluster: &Cluster, hop: &Hop) -> Option<Id> {
    let interface = cluster.snapshot.tables.network_interfaces.get(key(&hop.at))?;
    let instance = interface.value.Attachment.as_ref().map(|attachment| attachment.InstanceId.as_str());
    let by_instance = instance.and_then(|id| picture.placed(id).first().copied());
    by_instance.or_else(|| picture.placed(&interface.SubnetId).first().copied())
}
