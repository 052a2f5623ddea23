//! Keys that encrypt the volumes of nodes, and whether who launches the nodes may use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::policy::{Context, Sheet, decide};
use crate::shape::ec2::{AutoScalingGroup, LaunchTemplateVersion};
use crate::shape::eks::Nodegroup;
use crate::shape::iam::{KeyPolicy, OneOrMany, Policy};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Rec};

derived! {
    /// A customer managed key of the volumes of an Auto Scaling group's nodes.
    VolumeKey {
        /// The key's id.
        id: Str,
        policy: Link<KeyPolicy>,
        template: Link<LaunchTemplateVersion>,
        group: Link<AutoScalingGroup>,
        nodegroup: Option<Link<Nodegroup>>,
        /// The service-linked role that launches the instances.
        principal: Str,
        /// What the key's policy does not let it do, in one text.
        lacks: Str,
        /// Whether the group could launch nothing, or says that it could not.
        failing: bool,
    }
}

/// What the service-linked role of Auto Scaling needs
/// (<https://docs.aws.amazon.com/autoscaling/ec2/userguide/key-policy-requirements-EBS-encryption.html>).
const NEEDED: [&str; 4] = ["kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"];

impl Cluster {
    /// The keys of volumes whose policy was recorded.
    pub fn volume_keys(&self) -> Known<Vec<Arc<VolumeKey>>> {
        let tables = &self.snapshot.tables;
        self.snapshot.table::<AutoScalingGroup>()?;
        self.answered::<LaunchTemplateVersion>()?;
        let mut nodegroups: BTreeMap<&str, Rec<'_, Nodegroup>> = BTreeMap::new();
        for nodegroup in self.nodegroups() {
            for group in nodegroup.value.resources.iter().flat_map(|r| r.autoScalingGroups.iter()) {
                nodegroups.insert(group.name.as_str(), nodegroup);
            }
        }
        let owned = format!("kubernetes.io/cluster/{}", self.name());
        let mut found = Vec::new();
        for group in tables.auto_scaling_groups.iter() {
            let nodegroup = nodegroups.get(group.AutoScalingGroupName.as_str()).copied();
            if nodegroup.is_none() && crate::shape::ec2::tag(&group.value.Tags, &owned).is_none() {
                continue;
            }
            let chosen = nodegroup.and_then(|n| n.value.launchTemplate.as_ref());
            let template = match chosen {
                Some(chosen) => self.launch_template(&chosen.id, &chosen.version),
                None => self.template_of_group(group),
            };
            let Some(template) = template else { continue };
            let mut keys: Vec<&Str> = template
                .value
                .LaunchTemplateData
                .BlockDeviceMappings
                .iter()
                .filter_map(|m| m.Ebs.as_ref())
                .map(|e| &e.KmsKeyId)
                .filter(|k| !k.is_empty())
                .collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let id = key.rsplit('/').next().unwrap_or(key);
                let Some(policy) = tables.key_policies.get(id).or_else(|| tables.key_policies.get(key)) else {
                    // An alias of a key that was not recorded, or one of AWS's own, which everyone may use.
                    if key.contains("alias/aws/") {
                        continue;
                    }
                    return Err(self.snapshot.missing("kms:GetKeyPolicy", Some(id)));
                };
                let principal = if group.ServiceLinkedRoleARN.is_empty() {
                    Str::from(format!(
                        "arn:{}:iam::{}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
                        self.partition(),
                        self.account_id()
                    ))
                } else {
                    group.ServiceLinkedRoleARN.clone()
                };
                let told = tables.activities.iter().any(|a| {
                    a.AutoScalingGroupName == group.AutoScalingGroupName
                        && (a.StatusMessage.contains("KMS") || a.StatusMessage.contains("InternalError"))
                });
                let running = group.Instances.iter().any(|i| i.LifecycleState == "InService");
                found.push(Arc::new(VolumeKey {
                    id: Str::new(id),
                    lacks: self.key_lacks(policy.value, &principal),
                    policy: Link::new(policy.row),
                    template: Link::new(template.row),
                    group: Link::new(group.row),
                    nodegroup: nodegroup.map(|n| Link::new(n.row)),
                    principal,
                    failing: told || (!running && group.DesiredCapacity.is_some_and(|d| d > 0)),
                }));
            }
        }
        Ok(found)
    }

    /// A service-linked role has no IAM policy of its own for keys, so a statement for the account's root does not help.
    fn key_lacks(&self, policy: &KeyPolicy, principal: &Str) -> Str {
        let context = Context::default()
            .with("aws:PrincipalArn", principal)
            .with("kms:CallerAccount", &self.account_id())
            .with("kms:ViaService", &format!("ec2.{}.amazonaws.com", self.region_name()))
            .with("kms:GrantIsForAWSResource", "true");
        let statements = policy
            .Policy
            .Statement
            .iter()
            .filter(|s| s.Principal.as_ref().is_some_and(|p| p.of("AWS").any(|a| a == "*" || a == principal)))
            .cloned()
            .collect();
        let ours = Policy { Statement: OneOrMany(statements), ..Policy::default() };
        let (sheet, name) = (Sheet::Document(&ours), Str::default());
        let lacking: Vec<&str> = NEEDED
            .into_iter()
            .filter(|action| !decide([(&sheet, &name, None)].into_iter(), action, "*", &context).allowed())
            .collect();
        Str::from(lacking.join(", "))
    }
}
