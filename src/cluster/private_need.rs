//! What controllers and pods of a cluster without a way out need besides what nodes need to start.

use std::sync::Arc;

use super::Cluster;
use super::cni_identity::credentials;
use super::node_exit::NodeExit;
use super::version::Version;
use crate::shape::ec2::VpcEndpoint;
use crate::shape::eks::PodIdentityAssociation;
use crate::shape::k8s::{Container, DaemonSet, Deployment, Pod, ServiceAccount};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// Something that needs the internet, or an endpoint that is not there, where nothing gets out.
    PrivateNeed {
        /// `endpoint`, `static-instance-list`, `global-sts` or `image`.
        kind: Str,
        /// The service of the endpoint, or the image's registry.
        service: Str,
        /// Who needs it.
        who: Str,
        deployment: Option<Link<Deployment>>,
        account: Option<Link<ServiceAccount>>,
        association: Option<Link<PodIdentityAssociation>>,
        pods: Vec<Link<Pod>>,
        /// Whether some of the pods are of kube-system.
        system: bool,
        /// Whose pods cannot do their work for want of it now: `aws-node`, `coredns`, `controller` (the AWS Load Balancer
        /// Controller), else `others`.
        sufferer: Str,
    }
}

/// Registries outside AWS, and AWS's public one.
const PUBLIC: [&str; 8] = [
    "docker.io",
    "registry-1.docker.io",
    "quay.io",
    "ghcr.io",
    "gcr.io",
    "registry.k8s.io",
    "public.ecr.aws",
    "mcr.microsoft.com",
];

/// Neither aws-node nor CoreDNS nor the load balancer controller.
const OTHERS: &str = "others";

/// Regions in which `AWS_STS_REGIONAL_ENDPOINTS=legacy` means `sts.amazonaws.com`.
const GLOBAL_STS: [&str; 15] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// The registry of an image; what names none comes from Docker Hub.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

fn proxied(containers: &[Container]) -> bool {
    containers.iter().flat_map(|c| &c.env).any(|e| e.name.eq_ignore_ascii_case("HTTPS_PROXY"))
}

fn says(container: &Container, flag: &str) -> bool {
    container.args.iter().chain(&container.command).any(|a| a.contains(flag))
}

impl Cluster {
    /// Whether nothing gets out of any node's subnet, for sure.
    pub fn closed_in(&self) -> Known<bool> {
        let exits = self.node_exits()?;
        Ok(!exits.is_empty() && exits.iter().all(|x: &Arc<NodeExit>| x.is("none")))
    }

    /// What is needed and cannot be had in a cluster without a way out.
    pub fn private_needs(&self) -> Known<Vec<Arc<PrivateNeed>>> {
        if !self.closed_in()? {
            return Ok(Vec::new());
        }
        let tables = &self.snapshot.tables;
        let mut needs = Vec::new();
        let lacks = |service: &str| -> Known<bool> { Ok(self.endpoints_of(service)?.is_empty()) };
        let need = |kind: &'static str, service: &str, who: String| PrivateNeed {
            kind: Str::const_new(kind),
            service: Str::new(service),
            who: Str::from(who),
            deployment: None,
            account: None,
            association: None,
            pods: Vec::new(),
            system: false,
            sufferer: Str::const_new(OTHERS),
        };
        let associations = || tables.pod_identity_associations.iter().filter(|a| !a.serviceAccount.is_empty());
        if associations().next().is_some() && lacks("eks-auth")? {
            let pods = self.failing_cni_pods("podIdentity");
            let own = associations()
                .find(|a| !pods.is_empty() && a.namespace == "kube-system" && a.serviceAccount == self.cni_account());
            needs.push(PrivateNeed {
                association: own.or_else(|| associations().next()).map(|a| Link::new(a.row)),
                sufferer: Str::const_new(if own.is_some() { "aws-node" } else { OTHERS }),
                pods: if own.is_some() { pods } else { Vec::new() },
                ..need("endpoint", "eks-auth", "Pod Identity".to_owned())
            });
        }
        let aliased =
            tables.ec2_node_classes.iter().any(|c| c.spec.amiSelectorTerms.iter().any(|t| !t.alias.is_empty()));
        for deployment in tables.deployments.iter() {
            let containers = &deployment.value.spec.template.spec.containers;
            if deployment.value.spec.replicas == Some(0) || proxied(containers) {
                continue;
            }
            let name = format!("{}/{}", deployment.metadata.namespace, deployment.metadata.name);
            let of = |need: PrivateNeed| PrivateNeed { deployment: Some(Link::new(deployment.row)), ..need };
            for container in containers {
                let image = container.image.as_str();
                if image.contains("cluster-autoscaler") && !image.contains("proportional") {
                    if !says(container, "aws-use-static-instance-list=true") {
                        needs.push(of(need("static-instance-list", "", format!("Cluster Autoscaler ({name})"))));
                    }
                    if lacks("autoscaling")? {
                        needs.push(of(need("endpoint", "autoscaling", format!("Cluster Autoscaler ({name})"))));
                    }
                }
                if image.contains("karpenter/controller") {
                    let env = |key: &str| container.env.iter().any(|e| e.name == key && !e.value.is_empty());
                    let who = || format!("Karpenter ({name})");
                    if !env("CLUSTER_ENDPOINT") && lacks("eks")? {
                        needs.push(of(need("endpoint", "eks", who())));
                    }
                    if aliased && lacks("ssm")? {
                        needs.push(of(need("endpoint", "ssm", who())));
                    }
                    if env("INTERRUPTION_QUEUE") && lacks("sqs")? {
                        needs.push(of(need("endpoint", "sqs", who())));
                    }
                }
            }
        }
        for account in tables.service_accounts.iter() {
            let note = |key: &str| account.value.metadata.annotations.get(key).map(Str::as_str).unwrap_or_default();
            if !note("eks.amazonaws.com/role-arn").is_empty()
                && note("eks.amazonaws.com/sts-regional-endpoints") == "false"
            {
                let who = format!("{}/{}", account.metadata.namespace, account.metadata.name);
                let (sufferer, pods) = self.suffers_from_global_sts(account)?;
                needs.push(PrivateNeed {
                    account: Some(Link::new(account.row)),
                    pods,
                    sufferer: Str::const_new(sufferer),
                    ..need("global-sts", "sts", who)
                });
            }
        }
        let mut images: Vec<(&str, &str, Vec<Link<Pod>>)> = Vec::new();
        for pod in tables.pods.iter() {
            let status = &pod.value.status;
            let stuck = status.containerStatuses.iter().chain(&status.initContainerStatuses).find(|s| {
                let waiting = s.state.as_ref().and_then(|s| s.waiting.as_ref());
                waiting.is_some_and(|w| matches!(w.reason.as_str(), "ImagePullBackOff" | "ErrImagePull"))
            });
            let outside = |image: &&str| PUBLIC.contains(&registry(image)) || self.of_another_region(registry(image));
            let Some(image) = stuck.map(|s| s.image.as_str()).filter(outside) else { continue };
            match images.iter_mut().find(|(i, ..)| *i == image) {
                Some((.., pods)) => pods.push(Link::new(pod.row)),
                None => images.push((image, registry(image), vec![Link::new(pod.row)])),
            }
        }
        images.sort_by_key(|(image, ..)| *image);
        needs.extend(images.into_iter().map(|(image, from, pods)| {
            let system = pods.iter().any(|p| tables.pods.at(p.row.index).metadata.namespace == "kube-system");
            let sufferer = Str::const_new(self.waits_for_image(&pods));
            PrivateNeed { pods, system, sufferer, ..need("image", from, image.to_owned()) }
        }));
        Ok(needs.into_iter().map(Arc::new).collect())
    }

    /// The service account of aws-node.
    fn cni_account(&self) -> &str {
        let set = self.snapshot.tables.daemon_sets.get("kube-system/aws-node");
        let name = set.map_or("", |s: Rec<'_, DaemonSet>| s.value.spec.template.spec.serviceAccountName.as_str());
        if name.is_empty() { "aws-node" } else { name }
    }

    /// Pods of aws-node that are not ready and have their credentials in this way.
    fn failing_cni_pods(&self, kind: &str) -> Vec<Link<Pod>> {
        let mut pods = self.vpc_cni().ok().flatten().map(|c| c.unready.clone()).unwrap_or_default();
        pods.retain(|p| credentials(self.snapshot.tables.pods.at(p.row.index).value).0 == kind);
        pods
    }

    /// Who cannot do its work because its service account sends it to STS's global endpoint: only version 1 of the AWS SDK
    /// for Go heeds that, and only in Regions that are older than the Regions' own endpoints
    /// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html>).
    fn suffers_from_global_sts(&self, account: Rec<'_, ServiceAccount>) -> Known<(&'static str, Vec<Link<Pod>>)> {
        let region = self.region_name();
        // Without an endpoint of the Region's STS that is what is lacking.
        if !GLOBAL_STS.contains(&region.as_str()) || self.endpoints_of("sts")?.is_empty() {
            return Ok((OTHERS, Vec::new()));
        }
        let tables = &self.snapshot.tables;
        let (namespace, name) = (&account.value.metadata.namespace, &account.value.metadata.name);
        let global = |pods: Vec<Link<Pod>>| -> Vec<Link<Pod>> {
            let told = |p: &Link<Pod>| {
                let containers = &tables.pods.at(p.row.index).value.spec.containers;
                containers
                    .iter()
                    .flat_map(|c| &c.env)
                    .any(|e| e.name == "AWS_STS_REGIONAL_ENDPOINTS" && e.value == "legacy")
            };
            pods.into_iter().filter(told).collect()
        };
        if namespace == "kube-system" && *name == self.cni_account() {
            let old = self.cni()?.and_then(|c| c.version).is_some_and(|v| v < Version(1, 19, 4));
            let pods = global(self.failing_cni_pods("irsa"));
            return Ok(if old && !pods.is_empty() { ("aws-node", pods) } else { (OTHERS, Vec::new()) });
        }
        for controller in self.controllers().unwrap_or_default() {
            let own = controller.namespace == *namespace && controller.serviceAccount == *name;
            let old = controller.version_number().is_some_and(|v| v < Version(2, 9, 0));
            if own && old && (controller.wanting || controller.ready < controller.replicas) {
                let pods = global(controller.pods.clone());
                if !pods.is_empty() {
                    return Ok(("controller", pods));
                }
            }
        }
        Ok((OTHERS, Vec::new()))
    }

    /// Whose these pods are that wait for an image. A node without aws-node that is not ready has not joined yet.
    fn waits_for_image(&self, pods: &[Link<Pod>]) -> &'static str {
        let tables = &self.snapshot.tables;
        let Some(first) = pods.first().map(|p| tables.pods.at(p.row.index)) else { return OTHERS };
        let label = |key: &str| first.value.metadata.labels.get(key).map_or("", Str::as_str);
        let joined = |p: &Link<Pod>| {
            let node = &tables.pods.at(p.row.index).value.spec.nodeName;
            self.worker_of_node(node).is_some_and(|w| w.ready)
        };
        match (first.metadata.namespace.as_str(), label("k8s-app")) {
            ("kube-system", "aws-node") => return if pods.iter().all(joined) { "aws-node" } else { OTHERS },
            ("kube-system", "kube-dns") => return "coredns",
            _ => {}
        }
        let mut controllers = self.controllers().unwrap_or_default().iter();
        if controllers.any(|c| c.pods.iter().any(|p| p.row == first.row)) { "controller" } else { OTHERS }
    }

    /// Whether a registry is ECR's in another Region, to which no endpoint of the VPC leads.
    fn of_another_region(&self, registry: &str) -> bool {
        let Some(region) = registry.split_once(".dkr.ecr.").and_then(|(_, rest)| rest.split('.').next()) else {
            return false;
        };
        let service = format!(".{region}.ecr.dkr");
        let endpoints = self.endpoints_of("ecr.dkr").unwrap_or_default();
        let own = self.region_name();
        !own.is_empty() && *region != own && !endpoints.iter().any(|e| e.value.ServiceName.ends_with(&service))
    }

    /// Zones of nodes in which an interface endpoint has no interface.
    pub fn zones_without(&self, endpoint: Rec<'_, VpcEndpoint>) -> Known<Vec<Str>> {
        let subnets = &self.snapshot.tables.subnets;
        let mut zones: Vec<Str> = Vec::new();
        for id in &endpoint.value.SubnetIds {
            zones.push(self.snapshot.find::<crate::shape::ec2::Subnet>(id)?.value.AvailabilityZone.clone());
        }
        let mut lacking: Vec<Str> = self
            .node_exits()?
            .iter()
            .map(|x| subnets.at(x.subnet.row.index).value.AvailabilityZone.clone())
            .filter(|z| !z.is_empty() && !zones.contains(z))
            .collect();
        lacking.sort();
        lacking.dedup();
        Ok(lacking)
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn registries_of_images() {
        assert_eq!(registry("nginx:1.27"), "docker.io");
        assert_eq!(registry("bitnami/redis"), "docker.io");
        assert_eq!(registry("quay.io/prometheus/node-exporter:v1"), "quay.io");
        assert_eq!(
            registry("111122223333.dkr.ecr.us-west-2.amazonaws.com/a:1"),
            "111122223333.dkr.ecr.us-west-2.amazonaws.com"
        );
    }
}
