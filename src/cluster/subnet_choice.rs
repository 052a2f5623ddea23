//! Which subnets a load balancer gets: the choice of the AWS Load Balancer Controller, of EKS Auto Mode and of the
//! in-tree controller, replayed.
//!
//! Source: aws-load-balancer-controller `pkg/networking/subnet_resolver.go` (v2.0.0 to v3.5.0) and
//! cloud-provider-aws `pkg/providers/v1/aws.go` (`findELBSubnets`).

use std::collections::{BTreeMap, BTreeSet};

use super::Cluster;
use super::controller::LoadBalancerController;
use super::ingress::{Ask, LoadBalancerPlan};
use super::version::Version;
use crate::shape::ec2::{AvailabilityZone, RouteTable, Subnet, tag};
use crate::shape::k8s::SubnetSelector;
use crate::shape::{Link, Str};
use crate::snapshot::{Known, Rec};

/// ELB wants this many free addresses in each subnet.
pub const MINIMAL_ADDRESSES: i64 = 8;

type Subnets<'a> = Vec<Rec<'a, Subnet>>;

fn links(subnets: &[Rec<'_, Subnet>]) -> Vec<Link<Subnet>> {
    subnets.iter().map(|s| Link::new(s.row)).collect()
}

fn full(subnet: &Subnet) -> bool {
    subnet.AvailableIpAddressCount.is_some_and(|n| n < MINIMAL_ADDRESSES)
}

fn role_tagged(subnet: &Subnet, key: &str) -> bool {
    matches!(tag(&subnet.Tags, key), Some("" | "1"))
}

/// The zone's kind as the controller sees it: `availability-zone`, `local-zone`, `wavelength-zone`, `outpost`.
fn locale<'a>(cluster: &'a Cluster, subnet: &Subnet) -> Option<&'a str> {
    if !subnet.OutpostArn.is_empty() {
        return Some("outpost");
    }
    let recorded = cluster.snapshot.table::<AvailabilityZone>().ok().and_then(|zones| {
        zones
            .get(&subnet.AvailabilityZone)
            .or_else(|| zones.iter().find(|z| !z.ZoneId.is_empty() && z.ZoneId == subnet.AvailabilityZoneId))
    });
    match recorded.map(|z| z.value.ZoneType.as_str()).filter(|t| !t.is_empty()) {
        Some(known) => Some(known),
        None => locale_by_name(&subnet.AvailabilityZone),
    }
}

/// `us-west-2a`, `us-west-2-lax-1a`, `us-west-2-wl1-las-wlz-1`: the name tells the kind.
fn locale_by_name(zone: &str) -> Option<&'static str> {
    match zone.split('-').count() {
        0..=2 => None,
        3 => Some("availability-zone"),
        _ if zone.contains("-wl") => Some("wavelength-zone"),
        4 if zone.starts_with("us-gov-") || zone.starts_with("us-iso") => Some("availability-zone"),
        _ => Some("local-zone"),
    }
}

impl Cluster {
    /// Whether any route of the subnet's route table leads to an internet gateway: what the controller calls a public
    /// subnet, whatever the route's destination and state.
    pub fn routes_to_igw(&self, subnet: &Subnet) -> Known<bool> {
        Ok(self.route_table_of(subnet)?.value.Routes.iter().any(|r| r.GatewayId.starts_with("igw")))
    }

    /// The route table that applies to a subnet.
    fn route_table_of(&self, subnet: &Subnet) -> Known<Rec<'_, RouteTable>> {
        let tables = self.snapshot.table::<RouteTable>()?;
        let mut main = None;
        let mut own = None;
        for table in tables.iter().filter(|t| t.VpcId == subnet.VpcId) {
            if table.Associations.iter().any(|a| a.SubnetId == subnet.SubnetId) {
                own = Some(table);
            }
            if table.Associations.iter().any(|a| a.Main == Some(true)) {
                main = Some(table);
            }
        }
        own.or(main).ok_or_else(|| self.snapshot.missing("ec2:DescribeRouteTables", Some(&subnet.SubnetId)))
    }

    /// Whether clients on the internet may reach a load balancer there: by an internet gateway, or by something that
    /// inspects packets on their way (a firewall's endpoint, an appliance, a transit gateway), which we cannot look behind.
    pub(super) fn open_to_internet(&self, subnet: &Subnet) -> Known<bool> {
        if self.routes_to_igw(subnet)? {
            return Ok(true);
        }
        let table = self.route_table_of(subnet)?;
        Ok(table.Routes.iter().any(|r| {
            let everything = matches!(r.DestinationCidrBlock.as_str(), "0.0.0.0/0" | "0.0.0.0/1" | "128.0.0.0/1")
                || r.DestinationIpv6CidrBlock == "::/0"
                || !r.DestinationPrefixListId.is_empty() && r.GatewayId.is_empty();
            everything
                && (r.GatewayId.starts_with("vpce-")
                    || !r.NetworkInterfaceId.is_empty()
                    || !r.InstanceId.is_empty()
                    || !r.TransitGatewayId.is_empty()
                    || !r.CarrierGatewayId.is_empty()
                    || !r.LocalGatewayId.is_empty()
                    || !r.CoreNetworkArn.is_empty())
        }))
    }

    /// Whether the controller looks at route tables, because no subnet has a role tag for what is asked of it.
    pub(super) fn falls_back(&self, controller: &LoadBalancerController) -> bool {
        let new = controller.version_number().is_some_and(|v| v >= Version(2, 12, 1));
        if !new || !controller.gate("SubnetDiscoveryByReachability", true) {
            return false;
        }
        let tagged = |key: &str| self.snapshot.tables.subnets.iter().any(|s| role_tagged(s.value, key));
        self.plans().is_ok_and(|plans| {
            plans.iter().any(|p| p.maker == "controller" && p.wanting && p.named.is_empty() && !tagged(&p.roleTag))
        })
    }

    fn cluster_tag(&self) -> String {
        format!("kubernetes.io/cluster/{}", self.name())
    }

    /// Of every zone the subnet with this cluster's tag, else the one with the lowest id.
    fn one_per_zone<'a>(&self, subnets: &[Rec<'a, Subnet>]) -> Subnets<'a> {
        let own = self.cluster_tag();
        let mut zones: BTreeMap<&str, Rec<'a, Subnet>> = BTreeMap::new();
        let rank = |s: &Subnet| (tag(&s.Tags, &own).is_none(), s.SubnetId.clone());
        for subnet in subnets {
            let zone = subnet.value.AvailabilityZone.as_str();
            if zones.get(zone).is_none_or(|known| rank(subnet.value) < rank(known.value)) {
                zones.insert(zone, *subnet);
            }
        }
        let mut chosen: Subnets<'a> = zones.into_values().collect();
        chosen.sort_by(|a, b| a.SubnetId.cmp(&b.SubnetId));
        chosen
    }

    pub(super) fn tagged_for_others_only(&self, subnet: &Subnet) -> bool {
        let own = self.cluster_tag();
        tag(&subnet.Tags, &own).is_none() && subnet.Tags.iter().any(|t| t.Key.starts_with("kubernetes.io/cluster"))
    }

    pub(super) fn choose_subnets(&self, ask: Ask<'_>) -> LoadBalancerPlan {
        let mut plan = ask.plan.clone();
        match self.choice(&ask, &mut plan) {
            Ok(fault) => plan.fault = Str::const_new(fault),
            Err(missing) => {
                plan.fault = Str::const_new("unknown");
                plan.reason = missing.to_string().into();
            }
        }
        plan.replay = self.replay(&plan);
        plan
    }

    /// What became of each subnet that could have been taken.
    fn replay(&self, plan: &LoadBalancerPlan) -> Str {
        const SHOWN: usize = 9;
        let subnets = &self.snapshot.tables.subnets;
        let mut all: Vec<Link<Subnet>> =
            [&plan.chosen, &plan.considered, &plan.suitable, &plan.misspelt].into_iter().flatten().copied().collect();
        all.sort_by_key(|l| l.row);
        all.dedup();
        let chosen_of = |zone: &str| {
            let chosen = plan.chosen.iter().map(|l| subnets.at(l.row.index));
            chosen.into_iter().find(|s| s.AvailabilityZone == zone)
        };
        let mut told: Vec<String> = all
            .iter()
            .take(SHOWN)
            .map(|link| {
                let subnet = subnets.at(link.row.index).value;
                let verdict = if plan.chosen.contains(link) {
                    "chosen".to_owned()
                } else if plan.foreign.contains(link) {
                    "refused, tagged for another cluster".to_owned()
                } else if plan.full.contains(link) {
                    format!("refused, {} free addresses", subnet.AvailableIpAddressCount.unwrap_or_default())
                } else if plan.noIpv6.contains(link) {
                    "refused, no IPv6 range".to_owned()
                } else if plan.misspelt.contains(link) {
                    format!("not considered, its tag is not {} = 1", plan.roleTag)
                } else if plan.considered.contains(link) {
                    match chosen_of(&subnet.AvailabilityZone) {
                        Some(other) => format!("refused, {} is taken in its zone", other.SubnetId),
                        None => "considered".to_owned(),
                    }
                } else if plan.named.is_empty() {
                    format!("not considered, no tag {}", plan.roleTag)
                } else {
                    "not named".to_owned()
                };
                format!("{} ({}): {verdict}", subnet.SubnetId, subnet.AvailabilityZone)
            })
            .collect();
        if all.len() > SHOWN {
            told.push(format!("and {} more", all.len() - SHOWN));
        }
        told.join("; ").into()
    }

    fn choice(&self, ask: &Ask<'_>, plan: &mut LoadBalancerPlan) -> Known<&'static str> {
        let vpc = self.vpc_id()?;
        let table = self.snapshot.whole::<Subnet>()?;
        let all: Subnets<'_> = table.iter().filter(|s| s.VpcId == vpc).collect();
        let public = plan.scheme == "internet-facing";
        let mut suitable = Vec::new();
        for subnet in &all {
            if self.routes_to_igw(subnet.value)? == public {
                suitable.push(*subnet);
            }
        }
        plan.suitable = links(&suitable);
        if plan.scheme != "internet-facing" && plan.scheme != "internal" {
            return Ok("scheme");
        }
        if plan.settled && ask.plan.named.is_empty() && ask.params.is_none_or(|p| p.spec.subnets.is_none()) {
            // A load balancer that is there keeps its subnets; nobody looks for others.
            let mut kept: Subnets<'_> = plan
                .balancers
                .iter()
                .flat_map(|b| self.snapshot.tables.load_balancers.at(b.row.index).value.AvailabilityZones.iter())
                .filter_map(|zone| table.get(&zone.SubnetId))
                .collect();
            kept.sort_unstable_by_key(|s| s.row);
            plan.chosen = links(&kept);
            plan.zones = zones(&kept);
            return Ok(self.open(plan, &kept));
        }
        if let Some(selector) = ask.params.and_then(|p| p.spec.subnets.as_ref()) {
            return self.by_selector(ask, plan, selector, &all);
        }
        if !plan.named.is_empty() {
            return self.by_name(ask, plan, &all);
        }
        if plan.maker == "in-tree" {
            return self.in_tree(plan, &all);
        }
        let version = match (&*plan.maker, &ask.controller) {
            // Auto Mode runs a current controller.
            ("auto", _) => Some(Version(3, 0, 0)),
            (_, Some(controller)) => controller.version_number(),
            _ => None,
        };
        let role = plan.roleTag.clone();
        let mut tagged: Subnets<'_> = all.iter().copied().filter(|s| role_tagged(s.value, &role)).collect();
        let unread = || self.snapshot.missing("k8s:deployments.apps", Some("the controller's version"));
        let own = self.cluster_tag();
        if version.is_some_and(|v| v <= Version(2, 1, 1)) && plan.maker != "auto" {
            let with = |s: &Rec<'_, Subnet>| matches!(tag(&s.value.Tags, &own), Some("owned" | "shared"));
            if !tagged.is_empty() && !tagged.iter().any(with) {
                plan.considered = links(&tagged);
                return Ok("cluster-tag");
            }
            tagged.retain(with);
        }
        if tagged.is_empty() {
            let fallback = match version {
                // AWS asks for the tags with EKS Auto Mode, whatever its controller could do without.
                Some(_) if plan.maker == "auto" => false,
                Some(version) => {
                    version >= Version(2, 12, 1)
                        && ask.controller.as_ref().is_none_or(|c| c.gate("SubnetDiscoveryByReachability", true))
                }
                None if suitable.is_empty() => false,
                None => return Err(unread()),
            };
            if fallback {
                tagged = suitable.clone();
            }
            if tagged.is_empty() {
                let near = |s: &Rec<'_, Subnet>| {
                    s.value.Tags.iter().any(|t| {
                        t.Key.trim().eq_ignore_ascii_case(&role)
                            && !(t.Key == role && matches!(t.Value.as_str(), "" | "1"))
                    })
                };
                plan.misspelt = links(&all.iter().copied().filter(near).collect::<Vec<_>>());
                return Ok(match (plan.misspelt.is_empty(), suitable.is_empty()) {
                    (false, _) => "role-tag-value",
                    (true, true) => "no-suitable-subnet",
                    (true, false) => "role-tag",
                });
            }
        }
        Ok(self.per_zone(ask, plan, &tagged))
    }

    /// One subnet for each zone out of these.
    fn per_zone(&self, ask: &Ask<'_>, plan: &mut LoadBalancerPlan, considered: &[Rec<'_, Subnet>]) -> &'static str {
        plan.considered = links(considered);
        let version = ask.controller.as_ref().and_then(|c| c.version_number());
        let checks_tag = ask.controller.as_ref().is_none_or(|c| c.gate("SubnetsClusterTagCheck", true));
        // Before 2.3.0 the controller does not look at free addresses, and ELB refuses the choice.
        let blind = version.is_some_and(|v| v < Version(2, 3, 0)) && plan.maker == "controller";
        let ipv6 = plan.dualstack;
        let mut eligible = Vec::new();
        let (mut others, mut exhausted, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for subnet in considered {
            if checks_tag && self.tagged_for_others_only(subnet.value) {
                others.push(*subnet);
            } else if full(subnet.value) && !blind {
                exhausted.push(*subnet);
            } else if ipv6 && subnet.value.ipv6_cidr().is_none() {
                without.push(*subnet);
            } else {
                eligible.push(*subnet);
            }
        }
        if version.is_some_and(|v| v < Version(3, 5, 0)) && plan.maker != "auto" && !without.is_empty() {
            // Before 3.5.0 the controller does not look, and ELB refuses the choice.
            eligible.extend(without.iter().copied());
        }
        plan.full = links(&exhausted);
        plan.foreign = links(&others);
        plan.noIpv6 = links(&without);
        let chosen = self.one_per_zone(&eligible);
        let zones_with = |more: &[Rec<'_, Subnet>]| {
            let zones: BTreeSet<&str> = chosen.iter().chain(more).map(|s| s.value.AvailabilityZone.as_str()).collect();
            zones.len()
        };
        plan.chosen = links(&chosen);
        plan.zones = zones(&chosen);
        if chosen.is_empty() {
            return if !exhausted.is_empty() {
                "full"
            } else if !others.is_empty() {
                "other-cluster"
            } else {
                "no-ipv6"
            };
        }
        if let Some(fault) = self.locales(plan, &chosen) {
            return fault;
        }
        let single = ask.controller.as_ref().is_some_and(|c| c.gate("ALBSingleSubnet", false));
        if chosen.len() < 2 && plan.balancer == "application" && !single && self.in_plain_zone(&chosen) {
            return if zones_with(&exhausted) >= 2 {
                "full"
            } else if zones_with(&others) >= 2 {
                "other-cluster"
            } else if zones_with(&without) >= 2 {
                "no-ipv6"
            } else {
                "too-few-zones"
            };
        }
        if ipv6 && chosen.iter().any(|s| s.value.ipv6_cidr().is_none()) {
            return "no-ipv6";
        }
        let refused: Subnets<'_> = chosen.iter().copied().filter(|s| full(s.value)).collect();
        if !refused.is_empty() {
            plan.full = links(&refused);
            return "full";
        }
        self.open(plan, &chosen)
    }

    pub(super) fn in_availability_zone(&self, subnet: &Subnet) -> bool {
        locale(self, subnet).is_none_or(|l| l == "availability-zone")
    }

    fn in_plain_zone(&self, chosen: &[Rec<'_, Subnet>]) -> bool {
        chosen.iter().all(|s| self.in_availability_zone(s.value))
    }

    fn locales(&self, plan: &mut LoadBalancerPlan, chosen: &[Rec<'_, Subnet>]) -> Option<&'static str> {
        let known: Vec<&str> = chosen.iter().filter_map(|s| locale(self, s.value)).collect();
        if known.len() != chosen.len() || known.iter().collect::<BTreeSet<_>>().len() < 2 {
            return None;
        }
        let odd: Subnets<'_> =
            chosen.iter().copied().filter(|s| locale(self, s.value) != Some("availability-zone")).collect();
        plan.odd = links(&odd);
        Some("mixed-zones")
    }

    /// Whether clients on the internet reach the chosen subnets.
    fn open(&self, plan: &mut LoadBalancerPlan, chosen: &[Rec<'_, Subnet>]) -> &'static str {
        if plan.scheme != "internet-facing" {
            return "";
        }
        let closed: Subnets<'_> =
            chosen.iter().copied().filter(|s| self.open_to_internet(s.value).is_ok_and(|open| !open)).collect();
        plan.closed = links(&closed);
        if closed.is_empty() { "" } else { "not-public" }
    }

    fn by_selector(
        &self,
        ask: &Ask<'_>,
        plan: &mut LoadBalancerPlan,
        selector: &SubnetSelector,
        all: &[Rec<'_, Subnet>],
    ) -> Known<&'static str> {
        if !selector.ids.is_empty() {
            plan.named = selector.ids.clone();
            return self.by_name(ask, plan, all);
        }
        let fits = |s: &Rec<'_, Subnet>| {
            let has = |key: &str, values: &[Str]| {
                tag(&s.value.Tags, key).is_some_and(|v| values.is_empty() || values.iter().any(|w| w == v))
            };
            selector.tags.iter().all(|(key, values)| has(key, values))
                && selector.matchTags.iter().all(|t| has(&t.key, &t.values))
        };
        let found: Subnets<'_> = all.iter().copied().filter(fits).collect();
        if found.is_empty() {
            let written = |k: &Str, v: &[Str]| Str::from(format!("{k}={}", v.join("|")));
            let auto = selector.matchTags.iter().map(|t| written(&t.key, &t.values));
            plan.lost = selector.tags.iter().map(|(k, v)| written(k, v)).chain(auto).collect();
            return Ok("named-missing");
        }
        Ok(self.per_zone(ask, plan, &found))
    }

    fn by_name(&self, ask: &Ask<'_>, plan: &mut LoadBalancerPlan, all: &[Rec<'_, Subnet>]) -> Known<&'static str> {
        let mut found: Subnets<'_> = Vec::new();
        let mut elsewhere = Vec::new();
        for name in plan.named.clone() {
            let by_id = all.iter().find(|s| s.SubnetId == name);
            let by_name = || {
                all.iter().find(|s| tag(&s.value.Tags, "Name") == Some(&*name) && !found.iter().any(|f| f.row == s.row))
            };
            match by_id.or_else(by_name) {
                Some(subnet) => found.push(*subnet),
                None => {
                    if let Some(subnet) = self.snapshot.tables.subnets.get(&name) {
                        elsewhere.push(subnet);
                    }
                    plan.lost.push(name);
                }
            }
        }
        // Before 3.2.0 a Name that several subnets have finds them all, which is more than was asked for.
        let old = ask.controller.as_ref().and_then(|c| c.version_number()).is_some_and(|v| v < Version(3, 2, 0));
        if old && plan.maker == "controller" {
            let share = |name: &Str| all.iter().filter(|s| tag(&s.value.Tags, "Name") == Some(&**name)).count();
            let times = |name: &Str| plan.named.iter().filter(|n| *n == name).count();
            plan.shared =
                plan.named.iter().filter(|n| !n.starts_with("subnet-") && share(n) > times(n)).cloned().collect();
            plan.shared.dedup();
        }
        plan.considered = links(&found);
        plan.chosen = links(&found);
        plan.zones = zones(&found);
        if !elsewhere.is_empty() {
            return Ok("named-other-vpc");
        }
        if !plan.lost.is_empty() {
            return Ok("named-missing");
        }
        if !plan.shared.is_empty() {
            return Ok("named-shared");
        }
        if plan.zones.len() < found.len() {
            return Ok("named-same-zone");
        }
        if let Some(fault) = self.locales(plan, &found) {
            return Ok(fault);
        }
        let single = ask.controller.as_ref().is_some_and(|c| c.gate("ALBSingleSubnet", false));
        if found.len() < 2 && plan.balancer == "application" && !single && self.in_plain_zone(&found) {
            return Ok("too-few-zones");
        }
        let exhausted: Subnets<'_> = found.iter().copied().filter(|s| full(s.value)).collect();
        plan.full = links(&exhausted);
        if !exhausted.is_empty() {
            return Ok("full");
        }
        let without: Subnets<'_> = found.iter().copied().filter(|s| s.value.ipv6_cidr().is_none()).collect();
        if plan.dualstack && !without.is_empty() {
            plan.noIpv6 = links(&without);
            return Ok("no-ipv6");
        }
        Ok(self.open(plan, &found))
    }

    /// `findELBSubnets`: subnets with this cluster's tag or none at all, in an internet-facing load balancer only those
    /// with a route to an internet gateway; of a zone the one with a role tag, then with the cluster's tag, then the
    /// lowest id. Nobody looks at free addresses but ELB.
    fn in_tree(&self, plan: &mut LoadBalancerPlan, all: &[Rec<'_, Subnet>]) -> Known<&'static str> {
        let own = self.cluster_tag();
        let mut zones_of: BTreeMap<&str, Rec<'_, Subnet>> = BTreeMap::new();
        let rank =
            |s: &Subnet| (tag(&s.Tags, &plan.roleTag).is_none(), tag(&s.Tags, &own).is_none(), s.SubnetId.clone());
        let mut considered = Vec::new();
        for subnet in all {
            if self.tagged_for_others_only(subnet.value)
                || (plan.scheme == "internet-facing" && !self.routes_to_igw(subnet.value)?)
                || locale(self, subnet.value).is_some_and(|l| l != "availability-zone")
            {
                continue;
            }
            considered.push(*subnet);
            let zone = subnet.value.AvailabilityZone.as_str();
            if zones_of.get(zone).is_none_or(|known| rank(subnet.value) < rank(known.value)) {
                zones_of.insert(zone, *subnet);
            }
        }
        let chosen: Subnets<'_> = zones_of.into_values().collect();
        plan.considered = links(&considered);
        plan.chosen = links(&chosen);
        plan.zones = zones(&chosen);
        if chosen.is_empty() {
            return Ok("no-suitable-subnet");
        }
        let exhausted: Subnets<'_> = chosen.iter().copied().filter(|s| full(s.value)).collect();
        plan.full = links(&exhausted);
        Ok(if exhausted.is_empty() { "" } else { "full" })
    }
}

fn zones(subnets: &[Rec<'_, Subnet>]) -> Vec<Str> {
    let zones: BTreeSet<&Str> = subnets.iter().map(|s| &s.value.AvailabilityZone).collect();
    zones.into_iter().cloned().collect()
}
