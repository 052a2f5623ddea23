//! The roles by which the kubelets of Fargate pods join: whether the cluster lets them in and what they may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::access::AwsAuth;
use super::identity::role_name;
use crate::shape::eks::{AccessEntry, AccessEntryNames, FargateProfile};
use crate::shape::iam::Role;
use crate::shape::k8s::{ConfigMap, Pod};
use crate::shape::{Link, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// A pod execution role of Fargate profiles.
    FargateRole {
        arn: Str,
        name: Str,
        role: Option<Link<Role>>,
        profiles: Vec<Link<FargateProfile>>,
        /// Pods of the profiles that have no node.
        waiting: Vec<Link<Pod>>,
        /// Whether an access entry or a row of `aws-auth` makes nodes of its sessions.
        mapped: Known<bool>,
        entry: Option<Link<AccessEntry>>,
        config: Option<Link<ConfigMap>>,
        /// `CONFIG_MAP`, `API` or `API_AND_CONFIG_MAP`.
        mode: Str,
        /// Whether `eks-fargate-pods.amazonaws.com` may take the role.
        trusted: Known<bool>,
        /// Whom it trusts instead.
        trusts: Str,
        /// What maps it.
        commands: Vec<Str>,
    }
}

impl Cluster {
    /// The pod execution roles of the cluster's Fargate profiles.
    pub fn fargate_roles(&self) -> Known<Vec<Arc<FargateRole>>> {
        let tables = &self.snapshot.tables;
        let cluster = self.name();
        let mode = self.authentication_mode()?;
        let mut profiles: BTreeMap<Str, Vec<_>> = BTreeMap::new();
        for profile in self.answered::<FargateProfile>()?.iter() {
            let ours = profile.clusterName == cluster || profile.clusterName.is_empty();
            // EKS maps the role while it makes a profile, and takes it away before the profile is gone.
            let lives = matches!(profile.status.as_str(), "" | "ACTIVE" | "CREATE_FAILED");
            if ours && lives && !profile.podExecutionRoleArn.is_empty() {
                profiles.entry(profile.podExecutionRoleArn.clone()).or_default().push(profile);
            }
        }
        let mut roles = Vec::new();
        for (arn, profiles) in profiles {
            let label = |pod: &Pod| pod.metadata.labels.get("eks.amazonaws.com/fargate-profile").cloned();
            let waits = |pod: &Pod| {
                pod.spec.nodeName.is_empty()
                    && pod.status.phase == "Pending"
                    && pod.metadata.deletionTimestamp.is_empty()
                    && !self.is_new(&pod.metadata.creationTimestamp)
                    && label(pod).is_some_and(|l| profiles.iter().any(|p| p.fargateProfileName == l))
            };
            let waiting = tables.pods.iter().filter(|p| waits(p.value)).map(|p| Link::new(p.row)).collect();
            let (mapped, entry, config) = self.lets_fargate_in(&arn, &mode);
            let trust = self.service_trust(&arn, "eks-fargate-pods.amazonaws.com");
            let (name, region) = (self.name(), self.region_name());
            let commands = if mode == "CONFIG_MAP" {
                vec![Str::from(format!(
                    "eksctl create iamidentitymapping --cluster {name} --region {region} --arn {arn} --username \
                     system:node:{{{{SessionName}}}} --group system:bootstrappers --group system:nodes --group \
                     system:node-proxier"
                ))]
            } else {
                let of = |verb: &str, more: &str| {
                    let role = format!("--cluster-name {name} --region {region} --principal-arn {arn}");
                    Str::from(format!("aws eks {verb}-access-entry {role}{more}"))
                };
                // The type of an entry cannot be changed.
                let wrong = entry.map(|_| of("delete", ""));
                wrong.into_iter().chain([of("create", " --type FARGATE_LINUX")]).collect()
            };
            roles.push(Arc::new(FargateRole {
                name: Str::new(role_name(&arn)),
                role: self.role(&arn).ok().map(|r| Link::new(r.row)),
                profiles: profiles.iter().map(|p| Link::new(p.row)).collect(),
                waiting,
                mapped,
                entry,
                config,
                mode: mode.clone(),
                trusted: trust.as_ref().map(|t| t.holds).map_err(Missing::clone),
                trusts: trust.map(|t| t.found).unwrap_or_default(),
                commands,
                arn,
            }));
        }
        Ok(roles)
    }

    /// Whether the cluster makes nodes of the role's sessions
    /// (<https://docs.aws.amazon.com/eks/latest/userguide/fargate-getting-started.html>).
    fn lets_fargate_in(
        &self,
        arn: &str,
        mode: &str,
    ) -> (Known<bool>, Option<Link<AccessEntry>>, Option<Link<ConfigMap>>) {
        let (from_map, config) = match self.aws_auth() {
            _ if mode == "API" => (Ok(false), None),
            Err(missing) => (Err(missing), None),
            // What is wrong with the whole map is told by another rule.
            Ok(AwsAuth::Malformed(row)) => (Ok(true), Some(Link::new(row))),
            Ok(AwsAuth::NotThere) => (Ok(false), None),
            Ok(AwsAuth::Rows(row, rows)) => (Ok(rows.iter().any(|r| r.maps_nodes_of(arn))), Some(Link::new(row))),
        };
        let (from_entry, entry) = match self.entry_of(arn) {
            _ if mode == "CONFIG_MAP" => (Ok(false), None),
            ("unknown", entry) => {
                let gap = self.snapshot.whole::<AccessEntryNames>().err();
                let gap = gap.unwrap_or_else(|| self.snapshot.missing("eks:DescribeAccessEntry", Some(arn)));
                (Err(gap), entry)
            }
            (found, entry) => {
                let fargate = entry.is_some_and(|e| {
                    self.snapshot.tables.access_entries.at(e.row.index).value.r#type == "FARGATE_LINUX"
                });
                (Ok(found == "ok" || fargate), entry)
            }
        };
        let mapped = match (from_map, from_entry) {
            (Ok(true), _) | (_, Ok(true)) => Ok(true),
            (Err(missing), _) | (_, Err(missing)) => Err(missing),
            (Ok(false), Ok(false)) => Ok(false),
        };
        (mapped, entry, config)
    }

    /// What Fargate needs of IAM to start a pod and the role may not do, in one text; empty when it may do all.
    pub fn fargate_role_lacks(&self, role: &FargateRole) -> Known<Str> {
        self.lacks(&role.arn, &[("ecr:GetAuthorizationToken", "*"), ("ecr:BatchGetImage", "*")])
    }
}
