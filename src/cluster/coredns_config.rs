//! The Corefile that CoreDNS runs with, and what is wrong with it.

use std::net::IpAddr;

use super::Cluster;
use super::corefile::{self, Repair, ServerBlock};
use crate::shape::k8s::{ConfigMap, Container, Deployment, Probe};
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// The configuration of CoreDNS.
    CoreDnsConfig {
        configMap: Link<ConfigMap>,
        deployment: Option<Link<Deployment>>,
        version: Str,
        ready: i64,
        /// What this version refuses to start with; empty when nothing.
        faults: Vec<Str>,
        instead: Vec<Str>,
        line: i64,
        /// A readiness probe asks `/ready` and no block has the plugin.
        lacksReady: bool,
        /// A liveness probe asks `/health` and no block has the plugin.
        lacksHealth: bool,
        /// No block answers for the cluster's names.
        lacksKubernetes: bool,
        /// The domains that the plugin kubernetes answers for, when cluster.local is none of them; else empty.
        otherDomains: Vec<Str>,
        /// Whether nodes run an image of EKS, whose kubelet gives pods cluster.local unless its user data says another.
        imagesOfEks: bool,
        /// Names outside the cluster are not forwarded.
        lacksForward: bool,
        /// The plugin health stops at once, without `lameduck`.
        lacksLameduck: bool,
        /// Where CoreDNS forwards to itself.
        loops: Vec<Str>,
        /// TCP to the VPC's resolver.
        forcesTcp: bool,
        /// A merge patch of the ConfigMap with all of that mended, quoted for a shell; empty when we cannot.
        mended: Str,
    }
}

/// What a Corefile says, as far as it matters here.
#[derive(Debug, Default)]
struct Judged {
    faults: Vec<corefile::Fault>,
    lacks_ready: bool,
    lacks_health: bool,
    lacks_kubernetes: bool,
    lacks_forward: bool,
    lacks_lameduck: bool,
    loops: Vec<Str>,
    forces_tcp: bool,
}

impl Judged {
    /// Whether CoreDNS starts and answers with it.
    fn is_sound(&self) -> bool {
        let lacks = self.lacks_ready || self.lacks_health || self.lacks_kubernetes || self.lacks_forward;
        self.faults.is_empty() && self.loops.is_empty() && !lacks && !self.forces_tcp
    }
}

impl Cluster {
    /// The Corefile of CoreDNS and what is wrong with it; `None` when CoreDNS has none (Auto Mode).
    pub fn coredns_config(&self) -> Known<Option<CoreDnsConfig>> {
        let maps = self.snapshot.whole::<ConfigMap>()?;
        let Some(map) = maps.get("kube-system/coredns") else { return Ok(None) };
        let Some(text) = map.value.data.get("Corefile") else { return Ok(None) };
        let deployment = self.coredns_deployment();
        let version = self.coredns_version();
        let container = deployment.and_then(|d| d.value.spec.template.spec.containers.first());
        let (blocks, judged) = match corefile::parse(text) {
            Ok(blocks) => {
                let judged = self.judge_corefile(&blocks, container);
                (blocks, judged)
            }
            Err(fault) => (Vec::new(), Judged { faults: vec![fault], ..Judged::default() }),
        };
        Ok(Some(CoreDnsConfig {
            configMap: Link::new(map.row),
            deployment: deployment.map(|d| Link::new(d.row)),
            version: version.map(|v| Str::from(v.to_string())).unwrap_or_default(),
            ready: self.coredns_ready().unwrap_or(1),
            line: judged.faults.first().map_or(0, |f| f.line as i64),
            instead: judged.faults.iter().filter(|f| !f.instead.is_empty()).map(|f| Str::new(&f.instead)).collect(),
            faults: judged.faults.iter().map(|f| Str::new(&f.what)).collect(),
            lacksReady: judged.lacks_ready,
            lacksHealth: judged.lacks_health,
            lacksKubernetes: judged.lacks_kubernetes,
            otherDomains: if judged.faults.is_empty() { self.other_domains(&blocks) } else { Vec::new() },
            imagesOfEks: self.workers().is_ok_and(|all| all.iter().any(|w| self.runs_image_of_eks(w))),
            lacksForward: judged.lacks_forward,
            lacksLameduck: judged.lacks_lameduck,
            loops: judged.loops.clone(),
            forcesTcp: judged.forces_tcp,
            mended: self.mended_corefile(text, &blocks, &judged, container).unwrap_or_default(),
        }))
    }

    /// The domains of the plugin kubernetes, when it does not answer for cluster.local, which kubelets of EKS give to pods
    /// unless their user data says another. Nothing is said where nobody read what nodes boot with.
    fn other_domains(&self, blocks: &[ServerBlock]) -> Vec<Str> {
        let read = self.read_user_data();
        let says = |text: &str| text.contains("cluster-domain") || text.contains("clusterDomain");
        let custom = read.is_empty() || read.values().any(|text| text.as_deref().is_none_or(says));
        let rewritten = blocks.iter().flat_map(|b| &b.directives).any(|d| {
            let words = d.arguments.iter().chain(d.options.iter().flatten());
            d.name == "rewrite" && words.into_iter().any(|w| w.contains("cluster"))
        });
        if custom || rewritten || blocks.iter().any(ServerBlock::imports) {
            return Vec::new();
        }
        let mut domains: Vec<Str> = Vec::new();
        for block in blocks {
            for plugin in block.directives.iter().filter(|d| d.name == "kubernetes") {
                let zones: Vec<String> = match plugin.arguments.is_empty() {
                    true => block.zones().map(|z| z.to_string()).collect(),
                    false => plugin.arguments.clone(),
                };
                for zone in zones {
                    let zone = zone.trim_end_matches('.');
                    if zone.is_empty() || zone == "cluster.local" || zone == "local" {
                        return Vec::new();
                    }
                    if !zone.ends_with(".arpa") && !domains.iter().any(|d| d == zone) {
                        domains.push(Str::new(zone));
                    }
                }
            }
        }
        domains
    }

    fn judge_corefile(&self, blocks: &[ServerBlock], container: Option<&Container>) -> Judged {
        let probes =
            |path: &str, probe: Option<&Probe>| probe.and_then(|p| p.httpGet.as_ref()).is_some_and(|g| g.path == path);
        let eks_image = container.is_some_and(|c| c.image.contains("/eks/coredns:"));
        let imports = blocks.iter().any(ServerBlock::imports);
        let has = |name: &str| imports || blocks.iter().any(|b| b.plugin(name).is_some());
        let root = |b: &&ServerBlock| !b.is_snippet() && b.zones().any(|z| z == ".");
        let mut judged = Judged {
            faults: corefile::faults(blocks, self.coredns_version(), eks_image),
            lacks_ready: !has("ready") && probes("/ready", container.and_then(|c| c.readinessProbe.as_deref())),
            lacks_health: !has("health") && probes("/health", container.and_then(|c| c.livenessProbe.as_deref())),
            lacks_kubernetes: !has("kubernetes"),
            lacks_forward: !imports
                && blocks
                    .iter()
                    .filter(root)
                    .all(|b| ["forward", "grpc", "proxy", "template", "erratic"].iter().all(|p| b.plugin(p).is_none())),
            lacks_lameduck: blocks
                .iter()
                .find_map(|b| b.plugin("health"))
                .is_some_and(|h| !h.options.iter().any(|o| o.first().is_some_and(|w| w == "lameduck"))),
            ..Judged::default()
        };
        let service = self.snapshot.tables.services.get("kube-system/kube-dns");
        let own = service.map(|s| &s.value.spec.clusterIP);
        let custom = self.custom_resolvers();
        for forward in blocks.iter().flat_map(|b| &b.directives).filter(|d| d.name == "forward") {
            for upstream in forward.arguments.iter().skip(1) {
                let bare = upstream.trim_start_matches("dns://");
                let host = bare.strip_suffix(":53").unwrap_or(bare);
                let Ok(address) = host.parse::<IpAddr>() else { continue };
                if address.is_loopback() || own.is_some_and(|o| o == host) {
                    judged.loops.push(Str::new(host));
                }
            }
            let tcp = forward.options.iter().any(|o| o.first().is_some_and(|w| w == "force_tcp"));
            let vpc = forward.arguments.iter().skip(1).any(|u| match u.parse::<IpAddr>() {
                Ok(address) => self.is_vpc_resolver(address),
                Err(_) => u.starts_with('/') && custom.as_ref().map_or(true, Vec::is_empty),
            });
            judged.forces_tcp |= tcp && vpc;
        }
        judged
    }

    /// A patch of the ConfigMap after which nothing is wrong with the Corefile, if we know one.
    fn mended_corefile(
        &self,
        text: &str,
        blocks: &[ServerBlock],
        judged: &Judged,
        container: Option<&Container>,
    ) -> Option<Str> {
        if judged.is_sound() || blocks.is_empty() {
            return None;
        }
        let lacking = [
            ("ready", judged.lacks_ready),
            ("health", judged.lacks_health),
            ("kubernetes", judged.lacks_kubernetes),
            ("forward", judged.lacks_forward),
        ];
        let repair = Repair {
            loops: judged.loops.iter().map(Str::as_str).collect(),
            drop_force_tcp: judged.forces_tcp,
            add: lacking.iter().filter(|l| l.1).map(|l| l.0).collect(),
        };
        let mended = corefile::mend(text, blocks, &judged.faults, &repair);
        let again = corefile::parse(&mended).ok()?;
        if !self.judge_corefile(&again, container).is_sound() {
            return None;
        }
        let patch = serde_json::json!({"data": {"Corefile": mended}}).to_string();
        Some(Str::from(format!("'{}'", patch.replace('\'', "'\\''"))))
    }
}
