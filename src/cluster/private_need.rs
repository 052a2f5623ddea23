//! What controllers and pods of a cluster without a way out need besides what nodes need to start.

use std::sync::Arc;

use super::Cluster;
use super::node_exit::NodeExit;
use crate::shape::ec2::VpcEndpoint;
use crate::shape::eks::PodIdentityAssociation;
use crate::shape::k8s::{Container, Deployment, Pod, ServiceAccount};
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
        };
        if let Some(association) = tables.pod_identity_associations.iter().find(|a| !a.serviceAccount.is_empty())
            && lacks("eks-auth")?
        {
            needs.push(PrivateNeed {
                association: Some(Link::new(association.row)),
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
                needs.push(PrivateNeed { account: Some(Link::new(account.row)), ..need("global-sts", "sts", who) });
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
            PrivateNeed { pods, system, ..need("image", from, image.to_owned()) }
        }));
        Ok(needs.into_iter().map(Arc::new).collect())
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
