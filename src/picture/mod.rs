//! What a picture of the cluster's VPC shows: its objects, where they stand, and what the findings are about.
//!
//! Plain data without sizes or colours; made from the cluster, drawn by a report.

mod build;
mod paths;

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::diagnostic::{Diagnostic, Report};
use crate::network::{Disposition, Verdict};

/// An object of the picture, by its number.
pub type Id = usize;

/// What an object is, which is how it is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Vpc,
    Subnet,
    RouteTable,
    Acl,
    Node,
    ControlPlane,
    CoreDns,
    Nat,
    Balancer,
    Endpoint,
    Gateway,
    Internet,
    Cluster,
    SecurityGroup,
    /// What stands in no VPC: objects of Kubernetes and IAM, settings.
    Other,
    /// The count of what is not shown.
    More,
}

/// How an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    #[default]
    Fine,
    Bad,
    /// There, and not in use.
    Idle,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub kind: Kind,
    pub label: String,
    /// A few words beside the label.
    pub detail: String,
    /// All that is to be said, for who asks.
    pub hint: String,
    pub state: State,
}

/// An Availability Zone, Local Zone or the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    /// Its id, which means the same in every account.
    pub id: String,
}

/// How a subnet reaches the internet, by its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    Public,
    Private,
    Isolated,
    /// Its route table is not recorded.
    Unknown,
}

impl Band {
    pub fn name(self) -> &'static str {
        match self {
            Band::Public => "public",
            Band::Private => "private",
            Band::Isolated => "isolated",
            Band::Unknown => "routes unknown",
        }
    }
}

/// The IPv4 addresses of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// All but the five that AWS keeps.
    pub usable: i64,
    pub free: i64,
    /// Free /28 blocks, where pods take those.
    pub prefixes: Option<i64>,
}

/// A subnet and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    pub object: Id,
    pub subnet_id: String,
    /// An index into [`Picture::zones`].
    pub zone: usize,
    pub band: Band,
    pub cidrs: Vec<String>,
    pub addresses: Option<Addresses>,
    /// Its route table and ACL, then what has interfaces in it.
    pub rows: Vec<Id>,
}

/// One step of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where in the picture; nothing when it is not in it.
    pub at: Option<Id>,
    pub verdict: Verdict,
}

/// The path of a packet and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub from: Option<Id>,
    pub to: Option<Id>,
    pub forward: Vec<Step>,
    pub back: Vec<Step>,
    pub disposition: Disposition,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mark {
    /// What has to change; a route table or ACL may be drawn several times.
    pub culprits: Vec<Id>,
    pub affected: Vec<Id>,
    pub path: Option<Path>,
}

/// The picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture {
    /// The cluster's name.
    pub cluster: String,
    pub objects: Vec<Object>,
    pub vpc: Option<Id>,
    /// What stands outside of the VPC: the internet, the control plane.
    pub outside: Vec<Id>,
    /// What stands at its edge: gateways, attachments, gateway endpoints.
    pub edge: Vec<Id>,
    pub zones: Vec<Zone>,
    /// Sorted by band, zone and range.
    pub subnets: Vec<Subnet>,
    pub groups: Vec<Id>,
    /// What findings are about and that stands in no VPC.
    pub beside: Vec<Id>,
    /// For each finding of the report; empty for those of other clusters.
    pub marks: Vec<Mark>,
    /// Subnets of the VPC that have nothing to do with the cluster.
    pub left_out: usize,
    /// Where an id is drawn.
    places: BTreeMap<String, Vec<Id>>,
}

impl Picture {
    /// The picture of `cluster` with its findings of `report`, which may be that of several clusters.
    pub fn new(cluster: &Cluster, report: &Report) -> Picture {
        let name = cluster.name();
        let is_ours = |finding: &Diagnostic| finding.cluster.as_deref().is_none_or(|theirs| *theirs == *name);
        let mut picture = build::build(cluster, report.findings.iter().filter(|finding| is_ours(finding)));
        picture.cluster = name.to_string();
        for finding in &report.findings {
            let mark = if is_ours(finding) { paths::mark(&mut picture, cluster, finding) } else { Mark::default() };
            picture.marks.push(mark);
        }
        picture
    }

    fn add(&mut self, kind: Kind, label: &str, detail: &str, hint: String, state: State) -> Id {
        self.objects.push(Object { kind, label: label.to_owned(), detail: detail.to_owned(), hint, state });
        self.objects.len() - 1
    }

    fn place(&mut self, key: &str, at: Id) {
        if key.is_empty() {
            return;
        }
        let places = self.places.entry(key.to_owned()).or_default();
        if !places.contains(&at) {
            places.push(at);
        }
    }

    fn placed(&self, key: &str) -> &[Id] {
        self.places.get(key).map_or(&[], Vec::as_slice)
    }

    /// The subnet in which an object stands.
    fn subnet_of(&self, id: Id) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.object == id || subnet.rows.contains(&id))
    }
}
