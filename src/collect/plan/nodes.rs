//! What runs nodes: node groups, Auto Scaling groups, instances, their types, launch templates and profiles.

use super::{Plan, last};
use crate::collect::call::{Call, Request, Service};
use crate::shape::Str;
use crate::shape::ec2::{AutoScalingGroup, Instance, LaunchTemplateSpecification, LaunchTemplateVersion, tag};
use crate::shape::eks::Nodegroup;

/// The most instance types that one call takes.
const TYPES: usize = 100;
/// The most names of Auto Scaling groups that one call takes.
const GROUPS: usize = 50;

impl Plan {
    pub(super) fn nodegroup(&mut self, group: &Nodegroup) -> Vec<Call> {
        let mut calls = self.node_role(&group.nodeRole);
        calls.extend(self.subnets(&group.subnets));
        self.types(group.instanceTypes.iter());
        if let Some(template) = &group.launchTemplate {
            self.launch_template(&template.id, &template.version);
        }
        self.named_groups(group.resources.iter().flat_map(|r| &r.autoScalingGroups).map(|g| &g.name));
        calls
    }

    /// Auto Scaling groups that something names; the list by tag may hold them already.
    fn named_groups<'s>(&mut self, names: impl Iterator<Item = &'s Str>) {
        names.for_each(|name| self.hold("autoscaling:DescribeAutoScalingGroups", "", name));
    }

    /// The groups of which nothing is known yet.
    pub(super) fn groups(&mut self, names: impl Iterator<Item = String>) -> Vec<Call> {
        let names: Vec<String> = names.filter(|name| self.new_to("group", name)).collect();
        let call = |names: &[String]| {
            Call::form(Service::Autoscaling, "DescribeAutoScalingGroups").list("AutoScalingGroupNames", names)
        };
        names.chunks(GROUPS).map(call).collect()
    }

    pub(super) fn group(&mut self, group: &AutoScalingGroup) -> Vec<Call> {
        let name = group.AutoScalingGroupName.as_str();
        self.seen.insert(("group", name.to_owned()));
        let mut calls = Vec::new();
        if self.new_to("activities", name) {
            let call = Call::form(Service::Autoscaling, "DescribeScalingActivities").about(name);
            calls.push(call.with("AutoScalingGroupName", name));
        }
        let subnets: Vec<Str> = group.VPCZoneIdentifier.split(',').map(|s| Str::new(s.trim())).collect();
        calls.extend(self.subnets(&subnets));
        let mixed = group.MixedInstancesPolicy.as_ref().map(|m| &m.LaunchTemplate);
        let templates = group.LaunchTemplate.iter().chain(mixed.map(|m| &m.LaunchTemplateSpecification));
        for LaunchTemplateSpecification { LaunchTemplateId, Version, .. } in templates {
            self.launch_template(LaunchTemplateId, Version);
        }
        self.types(mixed.iter().flat_map(|m| m.Overrides.iter().map(|o| &o.InstanceType)));
        calls
    }

    pub(super) fn instances(&mut self, instances: &[Instance]) -> Vec<Call> {
        self.types(instances.iter().map(|i| &i.InstanceType));
        let mut calls = Vec::new();
        for instance in instances {
            if self.foreign(instance) {
                continue;
            }
            calls.extend(self.subnets(std::slice::from_ref(&instance.SubnetId)));
            if let Some(profile) = &instance.IamInstanceProfile {
                calls.extend(self.profile(&profile.Arn));
            }
            let tag = |key| tag(&instance.Tags, key);
            if let (Some(id), Some(version)) = (tag("aws:ec2launchtemplate:id"), tag("aws:ec2launchtemplate:version")) {
                self.launch_template(id, version);
            }
            self.named_groups(tag("aws:autoscaling:groupName").map(Str::new).iter());
        }
        calls
    }

    /// Whether an instance says that it belongs to other clusters.
    fn foreign(&self, instance: &Instance) -> bool {
        let owned = self.owned();
        let mut clusters = instance.Tags.iter().filter(|t| t.Key.starts_with("kubernetes.io/cluster/")).peekable();
        clusters.peek().is_some() && clusters.all(|t| t.Key != owned)
    }

    fn types<'s>(&mut self, types: impl Iterator<Item = &'s Str>) {
        types.for_each(|kind| self.hold("ec2:DescribeInstanceTypes", "", kind));
    }

    pub(super) fn instance_types(types: &[String]) -> Vec<Call> {
        types.chunks(TYPES).map(|types| Call::ec2("DescribeInstanceTypes").list("InstanceType", types)).collect()
    }

    fn launch_template(&mut self, id: &str, version: &str) {
        // What is the latest is only known when it is read, too.
        for version in ["$Default", "$Latest", version] {
            if !id.is_empty() {
                self.hold("ec2:DescribeLaunchTemplateVersions", id, version);
            }
        }
    }

    pub(super) fn launch_template_versions(id: &str, versions: &[String]) -> Call {
        let call = Call::ec2("DescribeLaunchTemplateVersions").about(id).with("LaunchTemplateId", id);
        call.list("LaunchTemplateVersion", versions)
    }

    pub(super) fn template(&mut self, version: &LaunchTemplateVersion) -> Vec<Call> {
        let data = &version.LaunchTemplateData;
        self.types(std::iter::once(&data.InstanceType));
        let mut calls = Vec::new();
        if let Some(profile) = &data.IamInstanceProfile {
            calls.extend(self.profile(if profile.Arn.is_empty() { &profile.Name } else { &profile.Arn }));
        }
        for key in data.BlockDeviceMappings.iter().filter_map(|m| m.Ebs.as_ref()).map(|e| e.KmsKeyId.as_str()) {
            // GetKeyPolicy takes no alias, and AWS's own keys may be used by everyone.
            if !key.contains("alias/") && self.new_to("key", last(key)) {
                let asked = serde_json::json!({"KeyId": key, "PolicyName": "default"}).to_string();
                let request = Request::Json(asked);
                let argument = Some(last(key).to_owned());
                calls.push(Call { service: Service::Kms, operation: "GetKeyPolicy", argument, request });
            }
        }
        calls
    }
}
