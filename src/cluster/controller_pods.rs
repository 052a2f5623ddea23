//! Why the pods of the load balancer controller do not run, and which AWS services beside its own they call in vain.

use super::Cluster;
use super::controller::{LoadBalancerController, flag};
use super::ingress::alb;
use super::version::Version;
use crate::shape::Str;
use crate::shape::ec2::VpcEndpoint;
use crate::snapshot::Known;

/// Reasons for which a container waits until somebody changes something.
const LASTING: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "CreateContainerError",
];

impl Cluster {
    /// Whether IAM answered that the role of a controller's service account does not exist. It answers for roles of the
    /// cluster's account only.
    pub fn controller_role_gone(&self, controller: &LoadBalancerController) -> Known<bool> {
        let identity = self.controller_identity(controller)?;
        let role = super::identity::role_name(&identity.roleArn);
        if self.role(&identity.roleArn).is_ok() {
            return Ok(false);
        }
        if identity.roleArn.split(':').nth(4) != Some(self.account_id().as_str()) {
            return Err(self.snapshot.missing("iam:GetRole", Some(&identity.roleArn)));
        }
        let gone = self.snapshot.manifest.failures.iter().any(|f| {
            f.operation == "iam:GetRole" && f.code.starts_with("NoSuchEntity") && f.argument.as_deref() == Some(role)
        });
        if gone { Ok(true) } else { Err(self.snapshot.missing("iam:GetRole", Some(role))) }
    }

    /// What keeps a controller's pods from starting, in the words of the scheduler or the kubelet; empty when they start
    /// or nobody says.
    pub fn controller_hindrance(&self, controller: &LoadBalancerController) -> Str {
        let pods = &self.snapshot.tables.pods;
        let found = controller.pods.iter().map(|p| pods.at(p.row.index).value).find_map(|pod| {
            let unscheduled = pod.status.conditions.iter().find(|c| {
                c.r#type == "PodScheduled"
                    && c.status == "False"
                    && c.reason == "Unschedulable"
                    && !c.message.is_empty()
            });
            if let Some(condition) = unscheduled {
                return Some(condition.message.to_string());
            }
            let waiting = || pod.status.containerStatuses.iter().chain(&pod.status.initContainerStatuses);
            let unmounted = || {
                let created = waiting().any(|s| s.state.as_ref().is_some_and(|s| s.waiting.is_none()));
                if created { None } else { self.mount_failure(pod).map(str::to_owned) }
            };
            waiting()
                .filter_map(|s| s.state.as_ref()?.waiting.as_ref())
                .find(|w| LASTING.contains(&w.reason.as_str()))
                .map(|w| format!("{}: {}", w.reason, w.message))
                .or_else(unmounted)
        });
        Str::from(found.unwrap_or_default())
    }

    /// The services beside its own that a controller calls for every Application Load Balancer from subnets without a way
    /// out: those whose flag is not off (`--enable-shield`, `--enable-waf`, `--enable-wafv2`) and that have no endpoint.
    /// Since 2.8.2 it asks WAF only for ingresses that say something of it, and goes on where Shield does not answer
    /// (aws-load-balancer-controller #3800, `pkg/deploy/stack_deployer.go`).
    pub fn addons_out_of_reach(&self, controller: &LoadBalancerController) -> Known<Vec<Str>> {
        let endpoints = self.snapshot.whole::<VpcEndpoint>()?;
        let deployment = self.snapshot.tables.deployments.at(controller.deployment.row.index).value;
        let Some(container) = deployment.spec.template.spec.containers.first() else { return Ok(Vec::new()) };
        let proxied = container.env.iter().any(|e| e.name.eq_ignore_ascii_case("HTTPS_PROXY"));
        let asks_when_told = controller.version_number().is_none_or(|v| v >= Version(2, 8, 2));
        let subnets = self.controller_subnets(controller);
        if proxied || subnets.is_empty() || !subnets.iter().all(|s| self.shut_in(s)) {
            return Ok(Vec::new());
        }
        let (vpc, region) = (self.vpc_id()?, self.region_name());
        // Shield and WAF Classic have no endpoints.
        let served = endpoints.iter().any(|e| {
            e.VpcId == vpc && e.ServiceName.starts_with("com.amazonaws.") && e.ServiceName.ends_with(".wafv2")
        });
        let classic = region.is_empty() || !region.starts_with("cn-");
        let all = [("shield", false), ("waf", false), ("wafv2", served)];
        Ok(all
            .into_iter()
            .filter(|(name, served)| !served && classic && flag(container, &format!("enable-{name}")) != Some("false"))
            .filter(|(name, _)| !asks_when_told || self.told_of(name))
            .map(|(name, _)| Str::const_new(name))
            .collect())
    }

    /// Whether an ingress that waits for its load balancer says something of `waf`, `wafv2` or `shield`, or its last event
    /// does.
    fn told_of(&self, service: &str) -> bool {
        let keys: &[&str] = match service {
            "waf" => &["waf-acl-id", "web-acl-id"],
            "wafv2" => &["wafv2-acl-arn", "wafv2-acl-name"],
            _ => &["shield-advanced-protection"],
        };
        let event = match service {
            "waf" => "WAF Regional:",
            "wafv2" => "WAFV2:",
            _ => "Shield:",
        };
        let ingresses = &self.snapshot.tables.ingresses;
        self.plans().unwrap_or_default().iter().filter(|p| p.wanting && p.maker == "controller").any(|plan| {
            let mut all = plan.ingresses.iter().map(|i| &ingresses.at(i.row.index).value.metadata);
            all.any(|meta| keys.iter().any(|key| alb(meta, key).is_some()))
                || self.plan_events(plan).iter().any(|e| e.value.message.contains(event))
        })
    }
}
