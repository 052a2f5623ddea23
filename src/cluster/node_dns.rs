//! The name server that kubelets are told to hand to pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Cluster;
use super::dns_path::AnyLink;
use super::pods::ended;
use super::user_data::{self, ClusterDns};
use super::worker::Worker;
use crate::network::{Disposition, End, Flow};
use crate::shape::ec2::{Vpc, tag};
use crate::shape::k8s::{Node, Pod, Service};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::Known;

derived! {
    /// A setting that gives kubelets their cluster DNS address.
    NodeDns {
        /// The launch template version, EC2NodeClass ...
        source: AnyLink,
        sourceKind: Str,
        /// Node groups that use it.
        owners: Vec<Str>,
        /// `--dns-cluster-ip`, `clusterDNS` ...
        setting: Str,
        addresses: Vec<Str>,
        /// Those that nobody answers on.
        wrong: Vec<Str>,
        /// The addresses of kube-dns.
        expected: Vec<Str>,
        /// Whether the node decides when it boots.
        depends: bool,
        /// The version of the launch template; 0 for other sources.
        version: i64,
        /// The `sed` that puts the right address into its user data.
        correction: Str,
        affected: Vec<AnyLink>,
    }

    /// Service kube-dns at another address than kubelets hand to pods where nothing tells them one.
    MovedDnsService {
        service: Link<Service>,
        address: Str,
        /// The tenth address of the service range.
        usual: Str,
        /// Nodes that are told no other.
        nodes: Vec<Link<Node>>,
        /// Whether some of them run an image of EKS, which can know no other either.
        certain: bool,
    }

    /// A name server that pods name themselves and that nobody answers on.
    PodNameserver {
        address: Str,
        pods: Vec<Link<Pod>>,
        expected: Vec<Str>,
        /// It lies outside the cluster's service range, and no way leads there from the pods.
        outside: bool,
    }
}

/// What `sed` is to do with user data: the address replaced, or added where bootstrap.sh guesses it.
fn correction(dns: &ClusterDns, wrong: &[Str], expected: Option<&IpAddr>) -> Str {
    let Some(expected) = expected else { return Str::default() };
    match wrong.first() {
        Some(_) if dns.setting.starts_with("bootstrap.sh without") => {
            Str::from(format!("s#/etc/eks/bootstrap.sh [^ ]*#& --dns-cluster-ip {expected}#"))
        }
        // nodeadm derives the address from the range.
        Some(_) if dns.setting == "cluster.cidr" => Str::default(),
        Some(wrong) => Str::from(format!("s/{}/{expected}/g", wrong.replace('.', "\\."))),
        None => Str::default(),
    }
}

impl Cluster {
    /// Addresses on which a DNS server of the cluster answers: services with port 53, NodeLocal DNSCache.
    fn answering(&self) -> Known<Vec<IpAddr>> {
        let services = self.snapshot.whole::<Service>()?;
        let mut all: Vec<IpAddr> = services
            .iter()
            .filter(|s| s.spec.ports.iter().any(|p| p.port == Some(53)))
            .flat_map(|s| s.value.spec.clusterIPs.iter().chain([&s.value.spec.clusterIP]))
            .filter_map(|a| a.parse().ok())
            .collect();
        all.extend(self.node_local_addresses().unwrap_or_default());
        Ok(all)
    }

    /// Every setting of a cluster DNS address that nodes of this cluster boot with.
    pub fn node_dns(&self) -> Known<Vec<NodeDns>> {
        let expected = self.expected_dns()?;
        let answering = self.answering()?;
        // Auto Mode and hybrid nodes answer on their own; a link-local address is the node's business where the
        // daemon sets were not read.
        let blind = self.node_local_addresses().is_err();
        let wrong = |dns: &ClusterDns| -> Vec<Str> {
            let strange = |a: &&IpAddr| {
                let local = matches!(a, IpAddr::V4(v4) if v4.is_link_local());
                !(answering.contains(a) || expected.contains(a) || local && blind)
            };
            dns.addresses.iter().filter(strange).map(|a| Str::from(a.to_string())).collect()
        };
        let mut found = Vec::new();
        let texts = |all: &[IpAddr]| all.iter().map(|a| Str::from(a.to_string())).collect::<Vec<_>>();
        for (row, owners, affected) in self.templates_in_use() {
            let template = self.snapshot.tables.launch_template_versions.at(row.index);
            let Some(text) = user_data::decode(&template.LaunchTemplateData.UserData) else { continue };
            let Some(dns) = user_data::cluster_dns(&text).or_else(|| user_data::guessed(&text, self.vpc_has_ten()?))
            else {
                continue;
            };
            found.push(NodeDns {
                source: AnyLink(row),
                sourceKind: Str::const_new("launch template"),
                owners,
                setting: dns.setting.clone(),
                addresses: texts(&dns.addresses),
                wrong: wrong(&dns),
                expected: texts(&expected),
                depends: dns.depends,
                version: template.VersionNumber.unwrap_or(0),
                correction: correction(&dns, &wrong(&dns), expected.first()),
                affected: affected.into_iter().map(AnyLink).collect(),
            });
        }
        for class in self.snapshot.tables.ec2_node_classes.iter() {
            let set: Vec<IpAddr> =
                class.spec.kubelet.iter().flat_map(|k| &k.clusterDNS).filter_map(|a| a.parse().ok()).collect();
            let dns = if set.is_empty() {
                user_data::cluster_dns(&class.spec.userData)
            } else {
                Some(ClusterDns { addresses: set, setting: Str::const_new("kubelet.clusterDNS"), depends: false })
            };
            let Some(dns) = dns else { continue };
            let nodes =
                self.snapshot.tables.nodes.iter().filter(|n| self.node_class_of(n.value) == Some(&class.metadata.name));
            found.push(NodeDns {
                source: AnyLink(class.row),
                sourceKind: Str::const_new("EC2NodeClass"),
                owners: Vec::new(),
                setting: dns.setting.clone(),
                addresses: texts(&dns.addresses),
                wrong: wrong(&dns),
                expected: texts(&expected),
                depends: dns.depends,
                version: 0,
                correction: Str::default(),
                affected: nodes.map(|n| AnyLink(n.row)).collect(),
            });
        }
        Ok(found)
    }

    fn node_class_of<'n>(&self, node: &'n crate::shape::k8s::Node) -> Option<&'n Str> {
        node.metadata.labels.get("karpenter.k8s.aws/ec2nodeclass")
    }

    /// Whether the VPC has a range in 10/8, as bootstrap.sh asks the metadata service.
    fn vpc_has_ten(&self) -> Option<bool> {
        let id = self.vpc_id().ok()?;
        let vpc = self.snapshot.find::<Vpc>(&id).ok()?;
        let ranges = vpc.value.CidrBlockAssociationSet.iter().map(|a| &a.CidrBlock).chain([&vpc.value.CidrBlock]);
        Some(ranges.into_iter().any(|r| r.starts_with("10.")))
    }

    /// The launch template versions with which nodes of this cluster are launched, who uses them, and their nodes.
    pub fn templates_in_use(&self) -> Vec<(Row, Vec<Str>, Vec<Row>)> {
        let tables = &self.snapshot.tables;
        let mut used: BTreeMap<Row, (BTreeSet<Str>, BTreeSet<Row>)> = BTreeMap::new();
        for nodegroup in self.nodegroups() {
            let Some(template) = &nodegroup.value.launchTemplate else { continue };
            if let Some(found) = self.launch_template(&template.id, &template.version) {
                used.entry(found.row).or_default().0.insert(nodegroup.nodegroupName.clone());
            }
        }
        let cluster = self.name();
        let key = format!("kubernetes.io/cluster/{cluster}");
        let ours: BTreeSet<&Str> = self
            .nodegroups()
            .flat_map(|n| n.value.resources.iter())
            .flat_map(|r| r.autoScalingGroups.iter().map(|g| &g.name))
            .collect();
        for group in tables.auto_scaling_groups.iter() {
            let tagged = tag(&group.value.Tags, &key).is_some()
                || tag(&group.value.Tags, "eks:cluster-name") == Some(cluster.as_str())
                || ours.contains(&group.value.AutoScalingGroupName);
            if !tagged {
                continue;
            }
            let mixed =
                group.value.MixedInstancesPolicy.as_ref().map(|m| &m.LaunchTemplate.LaunchTemplateSpecification);
            let Some(template) = group.value.LaunchTemplate.as_ref().or(mixed) else { continue };
            let found = self.launch_template(&template.LaunchTemplateId, &template.Version).or_else(|| {
                // Recorded by name only.
                let mut named = tables.launch_template_versions.iter();
                named.find(|t| {
                    !template.LaunchTemplateName.is_empty() && t.LaunchTemplateName == template.LaunchTemplateName
                })
            });
            if let Some(found) = found {
                let name = tag(&group.value.Tags, "eks:nodegroup-name").map(Str::new);
                used.entry(found.row)
                    .or_default()
                    .0
                    .insert(name.unwrap_or_else(|| group.value.AutoScalingGroupName.clone()));
            }
        }
        // The nodes, by the tags that EC2 gives to what a template launches.
        for worker in self.workers().unwrap_or_default() {
            let Some(instance) = worker.instance else { continue };
            let instance = tables.instances.at(instance.row.index);
            let of = |key: &str| tag(&instance.value.Tags, key);
            let by_tag = of("aws:ec2launchtemplate:id")
                .and_then(|id| self.launch_template(id, of("aws:ec2launchtemplate:version").unwrap_or("$Default")));
            let by_group = || {
                let group = of("aws:autoscaling:groupName")?;
                let group = tables.auto_scaling_groups.iter().find(|g| g.AutoScalingGroupName == group)?;
                let mixed =
                    group.value.MixedInstancesPolicy.as_ref().map(|m| &m.LaunchTemplate.LaunchTemplateSpecification);
                let template = group.value.LaunchTemplate.as_ref().or(mixed)?;
                self.launch_template(&template.LaunchTemplateId, &template.Version)
            };
            let by_nodegroup = || {
                let name = &tables.nodegroups.at(worker.nodegroup?.row.index).value.nodegroupName;
                let row = used.iter().find(|(_, (owners, _))| owners.contains(name))?.0;
                Some(tables.launch_template_versions.at(row.index))
            };
            if let Some(found) = by_tag.or_else(by_group).or_else(by_nodegroup) {
                let row = worker.node.map(|n| n.row).or(worker.instance.map(|i| i.row));
                let entry = used.entry(found.row).or_default();
                entry.1.extend(row);
                if let Some(nodegroup) = worker.nodegroup {
                    entry.0.insert(tables.nodegroups.at(nodegroup.row.index).nodegroupName.clone());
                }
            }
        }
        used.into_iter().map(|(row, (o, a))| (row, o.into_iter().collect(), a.into_iter().collect())).collect()
    }

    /// The nodes of which it is known what they boot with: the user data of their launch template or node class, `None`
    /// when it cannot be read; empty where EKS alone says it.
    pub(super) fn read_user_data(&self) -> BTreeMap<Row, Option<String>> {
        let tables = &self.snapshot.tables;
        let mut read = BTreeMap::new();
        for worker in self.workers().unwrap_or_default() {
            let Some(node) = worker.node else { continue };
            let group = worker.nodegroup.map(|n| tables.nodegroups.at(n.row.index).value);
            let class = self.node_class_of(tables.nodes.at(node.row.index).value);
            if let Some(class) = class.and_then(|name| tables.ec2_node_classes.get(name)) {
                read.insert(node.row, Some(class.value.spec.userData.to_string()));
            } else if matches!(worker.kind.as_str(), "fargate" | "auto")
                || group.is_some_and(|g| g.launchTemplate.is_none())
            {
                read.insert(node.row, Some(String::new()));
            }
        }
        for (row, _, affected) in self.templates_in_use() {
            let data = &tables.launch_template_versions.at(row.index).value.LaunchTemplateData.UserData;
            let text = if data.is_empty() { Some(String::new()) } else { user_data::decode(data) };
            for node in affected {
                read.entry(node).or_insert_with(|| text.clone());
            }
        }
        read
    }

    /// kube-dns at another address than the tenth of the service range, with the nodes whose kubelets take that one: all
    /// that EKS boots with nothing else said.
    pub fn moved_dns_service(&self) -> Known<Option<MovedDnsService>> {
        let services = self.snapshot.whole::<Service>()?;
        let Some(service) = services.get("kube-system/kube-dns") else { return Ok(None) };
        let Ok(address) = service.value.spec.clusterIP.parse::<IpAddr>() else { return Ok(None) };
        let ranges = self.service_ranges();
        let Some(range) = ranges.iter().find(|r| r.contains(&address)) else { return Ok(None) };
        let Some(usual) = user_data::tenth(range).filter(|u| *u != address) else { return Ok(None) };
        if self.answering()?.contains(&usual) {
            return Ok(None);
        }
        let told: BTreeSet<Row> = self.node_dns()?.iter().flat_map(|d| d.affected.iter().map(|a| a.0)).collect();
        let read = self.read_user_data();
        // Karpenter asks for the address of kube-dns and tells it to its nodes.
        let guesses = |row: Row| {
            read.get(&row).is_some_and(Option::is_some)
                && self.node_class_of(self.snapshot.tables.nodes.at(row.index).value).is_none()
        };
        let told_nothing =
            |w: &&Worker| w.kind == "ec2" && w.node.is_some_and(|n| guesses(n.row) && !told.contains(&n.row));
        let workers: Vec<&Worker> = self.workers()?.iter().map(|w| &**w).filter(told_nothing).collect();
        let nodes: Vec<Link<Node>> = workers.iter().filter_map(|w| w.node).collect();
        Ok((!nodes.is_empty()).then(|| MovedDnsService {
            service: Link::new(service.row),
            address: Str::from(address.to_string()),
            usual: Str::from(usual.to_string()),
            nodes,
            certain: workers.iter().any(|w| self.runs_image_of_eks(w)),
        }))
    }

    /// The ranges of the cluster's services.
    pub(super) fn service_ranges(&self) -> Vec<ipnet::IpNet> {
        let Ok(eks) = self.eks() else { return Vec::new() };
        let config = &eks.value.kubernetesNetworkConfig;
        [&config.serviceIpv4Cidr, &config.serviceIpv6Cidr].iter().filter_map(|r| r.parse().ok()).collect()
    }

    /// Whether packets of a pod to a DNS server at this private address are dropped for sure.
    fn no_way_to(&self, pod: &Pod, address: IpAddr) -> bool {
        let way = self.pod_place(pod).and_then(|place| self.pod_leaves(&place, address));
        let private = matches!(address, IpAddr::V4(a) if a.is_private());
        private
            && way.is_ok_and(|(row, from)| {
                let flow = Flow::udp(self.end(row, from), End::Address(address), 53);
                self.network.decide(&flow) == Disposition::Blocked
            })
    }

    /// Name servers in pods' `dnsConfig` on which nobody answers: in the service range, and no service has them; or
    /// elsewhere, and no way leads there.
    pub fn pod_nameservers(&self) -> Known<Vec<PodNameserver>> {
        let pods = self.snapshot.table::<Pod>()?;
        let answering = self.answering()?;
        let expected = self.expected_dns()?;
        self.eks()?;
        let ranges = self.service_ranges();
        let mut found: BTreeMap<(IpAddr, bool), Vec<Row>> = BTreeMap::new();
        for pod in pods.iter().filter(|p| !ended(p.value)) {
            let Some(dns) = pod.value.spec.dnsConfig.as_ref() else { continue };
            for address in dns.nameservers.iter().filter_map(|n| n.parse::<IpAddr>().ok()) {
                if answering.contains(&address) {
                    continue;
                }
                let inside = ranges.iter().any(|r| r.contains(&address));
                if inside || self.no_way_to(pod.value, address) {
                    found.entry((address, !inside)).or_default().push(pod.row);
                }
            }
        }
        Ok(found
            .into_iter()
            .map(|((address, outside), pods)| PodNameserver {
                outside,
                address: Str::from(address.to_string()),
                pods: pods.into_iter().map(Link::new).collect(),
                expected: expected.iter().map(|a| Str::from(a.to_string())).collect(),
            })
            .collect())
    }
}
