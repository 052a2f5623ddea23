//! How machines are told to join: the user data of launch templates.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use super::image::{System, is_foreign};
use super::proxy;
use super::user_data::decode;
use super::worker::Worker;
use crate::shape::ec2::{AutoScalingGroup, Instance, LaunchTemplateVersion, tag};
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::Node;
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// How the machines of a managed or self-managed group are told to join the cluster.
    Bootstrap {
        /// `nodegroup` or `selfManaged`.
        kind: Str,
        /// The group's name.
        name: Str,
        nodegroup: Option<Link<Nodegroup>>,
        group: Option<Link<AutoScalingGroup>>,
        template: Link<LaunchTemplateVersion>,
        image: Str,
        /// Whether EKS adds no user data of its own: a self-managed group, or a template with an image.
        custom: bool,
        /// `none`, `bootstrap.sh`, `nodeadm`, `bottlerocket`, `windows`, or `unreadable`.
        style: Str,
        /// What is wrong with it: `none`, `nothing` (nothing joins), `cluster` (another cluster's name), `endpoint`
        /// (another cluster's), `incomplete` (nodeadm without what it needs), `flag` (one that this Kubernetes no longer
        /// knows), `image` (for another operating system than the image's), `family` (IPv4 in an IPv6 cluster), `lookup`
        /// (has to ask EKS for the endpoint), `format` (EKS cannot merge it with its own).
        fault: Str,
        /// What it says.
        found: Str,
        instances: Vec<Link<Instance>>,
        nodes: Vec<Link<Node>>,
        /// Whether machines have joined that were launched since this version of the template was made.
        works: bool,
        /// Whether only machines still to come are concerned: all that there are have joined, or none is wanted.
        later: bool,
        /// What is wrong with the exceptions of the proxy that it sets for the kubelet; empty without a proxy.
        proxyLacks: Str,
        /// The host name of the API server, when the kubelet takes that proxy to it.
        proxyTakes: Str,
    }
}

/// What user data says about joining.
#[derive(Debug, Default, PartialEq)]
struct Said {
    style: &'static str,
    cluster: String,
    endpoint: String,
    authority: bool,
    family: String,
    cidr: String,
    /// The arguments of `bootstrap.sh`.
    words: Vec<String>,
}

/// The text after `key` up to the end of the line, quotes and blanks aside.
fn setting(text: &str, key: &str) -> String {
    text.lines()
        .map(str::trim)
        .find_map(|line| line.trim_start_matches("settings.kubernetes.").trim_start_matches('"').strip_prefix(key))
        .map(|v| v.trim().trim_matches(['"', '\'', ',']).to_owned())
        .unwrap_or_default()
}

fn read(text: &str) -> Said {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let lines: Vec<&str> = joined.lines().filter(|l| !l.trim_start().starts_with('#')).collect();
    if text.contains("node.eks.aws/") && text.contains("NodeConfig") {
        let body = lines.join("\n");
        let after = body.split_once("cluster:").map_or("", |(_, after)| after);
        return Said {
            style: "nodeadm",
            cluster: setting(after, "name:"),
            endpoint: setting(after, "apiServerEndpoint:"),
            authority: after.contains("certificateAuthority"),
            cidr: setting(after, "cidr:"),
            ..Said::default()
        };
    }
    if let Some(call) = lines.iter().find_map(|l| l.split_once("bootstrap.sh").map(|(_, rest)| rest)) {
        let words: Vec<&str> =
            call.split_whitespace().map(|w| w.trim_matches(['"', '\'']).trim_end_matches(';')).collect();
        let after = |flag: &str| {
            words
                .iter()
                .position(|w| *w == flag)
                .and_then(|i| words.get(i + 1))
                .map(|w| (*w).to_owned())
                .unwrap_or_default()
        };
        return Said {
            style: "bootstrap.sh",
            cluster: words.first().filter(|w| !w.starts_with('-')).map(|w| (*w).to_owned()).unwrap_or_default(),
            endpoint: after("--apiserver-endpoint"),
            authority: words.contains(&"--b64-cluster-ca"),
            family: after("--ip-family"),
            cidr: after("--service-ipv6-cidr"),
            words: words.iter().map(|w| (*w).to_owned()).collect(),
        };
    }
    if text.contains("settings.kubernetes") {
        return Said {
            style: "bottlerocket",
            cluster: setting(text, "cluster-name").trim_start_matches(['=', ' ', '"']).to_owned(),
            endpoint: setting(text, "api-server").trim_start_matches(['=', ' ', '"']).to_owned(),
            authority: text.contains("cluster-certificate"),
            ..Said::default()
        };
    }
    if text.contains("Start-EKSBootstrap") || text.contains("EKSBootstrapScript") {
        let words: Vec<&str> = joined.split_whitespace().map(|w| w.trim_matches(['"', '\''])).collect();
        let after = |flag: &str| {
            let at = words.iter().position(|w| w.eq_ignore_ascii_case(flag));
            at.and_then(|i| words.get(i + 1)).map(|w| (*w).to_owned()).unwrap_or_default()
        };
        return Said {
            style: "windows",
            cluster: after("-EKSClusterName"),
            endpoint: after("-APIServerEndpoint"),
            authority: !after("-Base64ClusterCA").is_empty(),
            ..Said::default()
        };
    }
    // Something else may join: other tools that are named, or a script that is fetched.
    let other = ["nodeadm", "kubelet", "curl ", "wget ", "aws s3", "include", "ansible", "cloud-config", "salt"];
    Said { style: if other.iter().any(|w| text.contains(w)) { "unreadable" } else { "none" }, ..Said::default() }
}

/// A flag of `bootstrap.sh` or of the kubelet with which neither starts any more: dockershim's since Kubernetes 1.24,
/// `--container-runtime` of the kubelet since 1.27.
fn gone_flag(words: &[String], minor: u32) -> Option<String> {
    let mut pairs = words.iter().enumerate().map(|(i, w)| (w.as_str(), words.get(i + 1).map_or("", String::as_str)));
    pairs.find_map(|(word, next)| {
        let (flag, value) = word.split_once('=').unwrap_or((word, next));
        let gone = match flag {
            "--container-runtime" if word.contains('=') => minor >= 27,
            "--container-runtime" => minor >= 24 && value.starts_with("docker"),
            "--network-plugin" | "--cni-conf-dir" | "--cni-bin-dir" => minor >= 24,
            _ => false,
        };
        gone.then(|| if word.contains('=') { word.to_owned() } else { format!("{flag} {value}") })
    })
}

/// What EKS cannot merge with the user data that it adds: for Amazon Linux it takes MIME messages, for Bottlerocket
/// TOML (<https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html>).
fn merge_fault(family: &str, text: &str) -> (&'static str, String) {
    let start = text.trim_start();
    let mime = start.starts_with("MIME-Version:") || start.to_ascii_lowercase().starts_with("content-type: multipart");
    let wrong = if start.is_empty() {
        None
    } else if family.starts_with("BOTTLEROCKET") {
        (mime || start.starts_with("#!")).then_some("Bottlerocket takes TOML")
    } else if family.starts_with("AL2") {
        (!mime).then_some("Amazon Linux takes a MIME multi-part message")
    } else {
        None
    };
    match wrong {
        Some(wrong) => ("format", wrong.to_owned()),
        None => ("none", String::new()),
    }
}

/// How user data makes machines join, in the words of `Bootstrap.style`.
pub(super) fn style(text: &str) -> &'static str {
    read(text).style
}

impl Cluster {
    /// Whether a machine runs an image that EKS chose for its managed nodegroup, whose kubelet nobody set up otherwise.
    pub(super) fn runs_image_of_eks(&self, worker: &Worker) -> bool {
        let group = worker.nodegroup.map(|g| self.snapshot.tables.nodegroups.at(g.row.index).value);
        group.is_some_and(|g| !matches!(g.amiType.as_str(), "" | "CUSTOM"))
    }

    /// Whether user data of a node class makes machines of images of one's own join.
    pub fn user_data_joins(text: &str) -> bool {
        style(text) != "none"
    }

    /// The groups of machines whose launch template was recorded.
    pub fn bootstraps(&self) -> Known<Vec<Arc<Bootstrap>>> {
        let tables = &self.snapshot.tables;
        self.answered::<LaunchTemplateVersion>()?;
        let mut members: HashMap<&str, Vec<&Arc<Worker>>> = HashMap::new();
        for worker in self.workers()? {
            let Some(instance) = worker.instance.map(|i| tables.instances.at(i.row.index)) else { continue };
            if let Some(group) = tag(&instance.value.Tags, "aws:autoscaling:groupName") {
                members.entry(group).or_default().push(worker);
            }
        }
        let systems = self.image_systems();
        let mut managed: BTreeSet<Str> = BTreeSet::new();
        let mut found = Vec::new();
        for nodegroup in self.nodegroups() {
            let groups: Vec<Str> = nodegroup
                .value
                .resources
                .iter()
                .flat_map(|r| r.autoScalingGroups.iter().map(|g| g.name.clone()))
                .collect();
            let workers = groups.iter().flat_map(|g| members.get(g.as_str()).cloned().unwrap_or_default()).collect();
            managed.extend(groups);
            let Some(chosen) = &nodegroup.value.launchTemplate else { continue };
            let Some(template) = self.launch_template(&chosen.id, &chosen.version) else { continue };
            found.push(self.bootstrap(Some(nodegroup), None, template, workers, &systems));
        }
        let name = self.name();
        let owned = format!("kubernetes.io/cluster/{name}");
        for group in tables.auto_scaling_groups.iter() {
            if managed.contains(&group.AutoScalingGroupName) {
                continue;
            }
            let Some(template) = self.template_of_group(group) else { continue };
            // Without the tag the user data may still say whose it is.
            let joins = || {
                let text = decode(&template.value.LaunchTemplateData.UserData);
                !name.is_empty() && text.is_some_and(|t| read(&t).cluster == name)
            };
            if tag(&group.value.Tags, &owned).is_none() && !joins() {
                continue;
            }
            let workers = members.get(group.AutoScalingGroupName.as_str()).cloned().unwrap_or_default();
            found.push(self.bootstrap(None, Some(group), template, workers, &systems));
        }
        self.keep_what_works(&mut found);
        Ok(found.into_iter().map(Arc::new).collect())
    }

    /// The launch template of an Auto Scaling group.
    pub fn template_of_group(&self, group: Rec<'_, AutoScalingGroup>) -> Option<Rec<'_, LaunchTemplateVersion>> {
        let mixed = group.value.MixedInstancesPolicy.as_ref().map(|m| &m.LaunchTemplate.LaunchTemplateSpecification);
        let chosen = group.value.LaunchTemplate.as_ref().or(mixed)?;
        self.launch_template(&chosen.LaunchTemplateId, &chosen.Version)
    }

    fn bootstrap(
        &self,
        nodegroup: Option<Rec<'_, Nodegroup>>,
        group: Option<Rec<'_, AutoScalingGroup>>,
        template: Rec<'_, LaunchTemplateVersion>,
        workers: Vec<&Arc<Worker>>,
        systems: &BTreeMap<Str, System>,
    ) -> Bootstrap {
        let data = &template.value.LaunchTemplateData;
        let custom = nodegroup.is_none_or(|n| n.value.amiType == "CUSTOM" || !data.ImageId.is_empty());
        let text = decode(&data.UserData);
        let said = match &text {
            Some(text) => read(text),
            None => Said { style: "unreadable", ..Said::default() },
        };
        let foreign = || {
            let launched = workers.iter().filter(|w| !w.joined).filter_map(|w| w.instance);
            let launched = launched.map(|i| &self.snapshot.tables.instances.at(i.row.index).value.ImageId);
            let image = if data.ImageId.starts_with("ami-") { Some(&data.ImageId) } else { launched.last() };
            let known = image.and_then(|i| systems.get(i)).copied().or_else(|| System::of_name(&data.ImageId))?;
            is_foreign(said.style, text.as_deref()?, known)
                .then(|| ("image", format!("it joins by {}, and the image is {}", said.style, known.name())))
        };
        let (fault, found) = if custom {
            foreign().unwrap_or_else(|| self.bootstrap_fault(&said))
        } else {
            let family = nodegroup.map(|n| n.value.amiType.as_str()).unwrap_or_default();
            merge_fault(family, text.as_deref().unwrap_or_default())
        };
        Bootstrap {
            kind: Str::const_new(if nodegroup.is_some() { "nodegroup" } else { "selfManaged" }),
            name: nodegroup
                .map(|n| n.value.nodegroupName.clone())
                .or_else(|| group.map(|g| g.value.AutoScalingGroupName.clone()))
                .unwrap_or_default(),
            nodegroup: nodegroup.map(|n| Link::new(n.row)),
            group: group.map(|g| Link::new(g.row)),
            template: Link::new(template.row),
            image: data.ImageId.clone(),
            custom,
            style: Str::const_new(said.style),
            fault: Str::const_new(fault),
            found: Str::from(found),
            instances: workers.iter().filter_map(|w| w.instance).collect(),
            nodes: workers.iter().filter_map(|w| w.node).collect(),
            later: if workers.is_empty() {
                let of_group = group.and_then(|g| g.value.DesiredCapacity);
                nodegroup.map_or(of_group, |n| n.value.scalingConfig.desiredSize) == Some(0)
            } else {
                workers.iter().all(|w| w.joined)
            },
            works: self.joined_since(template.value, &workers),
            proxyLacks: Str::const_new(text.as_deref().map_or("", proxy::lacks)),
            proxyTakes: text
                .as_deref()
                .map(|text| (text, self.api_host()))
                .filter(|(text, host)| proxy::takes(text, host))
                .map(|(_, host)| host)
                .unwrap_or_default(),
        }
    }

    /// The host name of the API server.
    fn api_host(&self) -> Str {
        let endpoint = self.eks().map(|e| e.value.endpoint.clone()).unwrap_or_default();
        Str::new(endpoint.trim_start_matches("https://").split([':', '/']).next().unwrap_or_default())
    }

    /// Machines that have joined from an image with user data of a style show that the image, one of somebody's own,
    /// knows it.
    fn keep_what_works(&self, found: &mut [Bootstrap]) {
        let image = |i: &Link<Instance>| self.snapshot.tables.instances.at(i.row.index).value.ImageId.clone();
        let shown: BTreeSet<(Str, Str)> = found
            .iter()
            .filter(|b| b.works && b.custom)
            .flat_map(|b| b.instances.iter().map(move |i| (b.style.clone(), image(i))))
            .collect();
        for one in found.iter_mut().filter(|b| b.fault == "image") {
            let mut images = one.instances.iter().map(image).chain([one.image.clone()]);
            if images.any(|i| shown.contains(&(one.style.clone(), i))) {
                one.fault = Str::const_new("none");
                one.found = Str::default();
            }
        }
    }

    /// Whether one of the machines has joined that was launched since the version of the template was made.
    fn joined_since(&self, template: &LaunchTemplateVersion, workers: &[&Arc<Worker>]) -> bool {
        let made = minutes(&template.CreateTime);
        workers.iter().filter(|w| w.joined).any(|worker| {
            let instance = worker.instance.map(|i| self.snapshot.tables.instances.at(i.row.index));
            let launched = instance.and_then(|i| minutes(&i.value.LaunchTime));
            made.zip(launched).is_none_or(|(made, launched)| launched + 5 >= made)
        })
    }

    /// Whether machines that have not joined run an image that takes the node's name from the DHCP domain name: AL2
    /// images of 1.26 before May 2023 (amazon-eks-ami#1263), Bottlerocket before 1.14 (bottlerocket#3028).
    pub fn old_names(&self) -> Known<bool> {
        for worker in self.workers()?.iter().filter(|w| w.kind == "ec2" && !w.joined) {
            let Some(group) = worker.nodegroup.map(|g| self.snapshot.tables.nodegroups.at(g.row.index)) else {
                continue;
            };
            let release = group.value.releaseVersion.as_str();
            let old = if group.value.amiType.starts_with("BOTTLEROCKET") {
                super::version::Version::parse(release).is_some_and(|v| v < super::version::Version(1, 14, 0))
            } else {
                let date = release.rsplit('-').next().and_then(|d| d.parse::<u32>().ok());
                group.value.amiType.starts_with("AL2_") && date.is_some_and(|d| d > 20_000_000 && d < 20_230_513)
            };
            if old {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn bootstrap_fault(&self, said: &Said) -> (&'static str, String) {
        let name = self.name();
        let literal = |text: &str| !text.is_empty() && !text.contains(['$', '`', '{']);
        if said.style == "none" {
            return ("nothing", String::new());
        }
        if literal(&said.cluster) && !name.is_empty() && said.cluster != name {
            return ("cluster", said.cluster.clone());
        }
        if literal(&said.endpoint) && self.is_foreign(&said.endpoint) == Ok(true) {
            return ("endpoint", said.endpoint.clone());
        }
        if matches!(said.style, "nodeadm" | "bottlerocket")
            && (said.endpoint.is_empty() || !said.authority || said.cluster.is_empty())
        {
            let names = match said.style {
                "nodeadm" => ["name", "apiServerEndpoint", "certificateAuthority"],
                _ => ["cluster-name", "api-server", "cluster-certificate"],
            };
            let lacking = [
                (names[0], said.cluster.is_empty()),
                (names[1], said.endpoint.is_empty()),
                (names[2], !said.authority),
            ];
            let lacking: Vec<&str> = lacking.iter().filter(|l| l.1).map(|l| l.0).collect();
            return ("incomplete", lacking.join(", "));
        }
        let minor = self.eks().ok().and_then(|e| super::version::Version::parse(&e.value.version)).map_or(0, |v| v.1);
        if let Some(flag) = gone_flag(&said.words, minor) {
            return ("flag", flag);
        }
        if self.is_ipv6() {
            if said.style == "bootstrap.sh" && said.family != "ipv6" && !said.family.contains('$') {
                return ("family", String::new());
            }
            if said.style == "nodeadm" && literal(&said.cidr) && !said.cidr.contains(':') {
                return ("family", said.cidr.clone());
            }
        }
        if said.style == "bootstrap.sh" && (said.endpoint.is_empty() || !said.authority) {
            return ("lookup", String::new());
        }
        ("none", String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_read() {
        let said =
            read("#!/bin/bash\n/etc/eks/bootstrap.sh 'prod' \\\n --apiserver-endpoint https://a --b64-cluster-ca B\n");
        assert_eq!((said.style, said.cluster.as_str(), said.endpoint.as_str()), ("bootstrap.sh", "prod", "https://a"));
        assert!(said.authority);
        assert_eq!(read("#!/bin/bash\necho 'vm.max_map_count=262144' >> /etc/sysctl.conf\n").style, "none");
        let said = read(
            "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster:\n    name: a\n    apiServerEndpoint: https://x\n    certificateAuthority: Q\n    cidr: 10.100.0.0/16\n",
        );
        assert_eq!((said.style, said.cluster.as_str(), said.cidr.as_str()), ("nodeadm", "a", "10.100.0.0/16"));
    }

    #[test]
    fn flags_that_are_gone() {
        let gone = |call: &str, minor| gone_flag(&read(&format!("/etc/eks/bootstrap.sh a {call}\n")).words, minor);
        assert_eq!(gone("--container-runtime dockerd", 30).as_deref(), Some("--container-runtime dockerd"));
        assert_eq!(gone("--container-runtime containerd", 30), None);
        assert_eq!(gone("--container-runtime dockerd", 23), None);
        let remote = "--kubelet-extra-args '--node-labels=a=b --container-runtime=remote'";
        assert_eq!(gone(remote, 27).as_deref(), Some("--container-runtime=remote"));
        assert_eq!(gone("--kubelet-extra-args '--max-pods=110'", 33), None);
    }
}
