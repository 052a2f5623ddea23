//! Who nodes and controllers are: roles, what they may do, access entries, identities of service accounts.

use super::{Plan, last};
use crate::cluster::policy::well_known;
use crate::collect::call::{Call, Service};

impl Plan {
    pub(super) fn profile(&mut self, profile: &str) -> Vec<Call> {
        let name = last(profile);
        let new = self.new_to("profile", name);
        new.then(|| Call::iam("GetInstanceProfile", name, &[("InstanceProfileName", name)])).into_iter().collect()
    }

    /// A role that nodes have: besides what it may do, its access entry counts.
    pub(super) fn node_role(&mut self, role: &str) -> Vec<Call> {
        let mut calls = self.role(role);
        if !role.is_empty() && self.node_roles.insert(last(role).to_owned()) {
            calls.extend(self.access_entries());
        }
        calls
    }

    pub(super) fn access_entries(&mut self) -> Vec<Call> {
        let entries: Vec<String> = self.entries.iter().filter(|e| self.node_roles.contains(last(e))).cloned().collect();
        let new = entries.into_iter().filter(|entry| self.new_to("access entry", entry));
        let entries: Vec<String> = new.collect();
        let read = |arn: &String| Call::eks("DescribeAccessEntry", &self.cluster, &["access-entries", arn]).about(arn);
        entries.iter().map(read).collect()
    }

    pub(super) fn role(&mut self, role: &str) -> Vec<Call> {
        let name = last(role);
        if !self.new_to("role", name) {
            return Vec::new();
        }
        let read = |operation| Call::iam(operation, name, &[("RoleName", name)]);
        vec![read("GetRole"), read("ListAttachedRolePolicies"), read("ListRolePolicies")]
    }

    /// A role that is taken with a token of the cluster's issuer.
    pub(super) fn web_identity(&mut self, role: &str) -> Vec<Call> {
        let mut calls = self.role(role);
        if !role.is_empty() && self.new_to("read", "providers") {
            calls.push(Call::form(Service::Iam, "ListOpenIDConnectProviders"));
        }
        calls
    }

    /// What a managed policy says; of Amazon's own that eks-doctor knows it need not be asked.
    pub(super) fn policy(&mut self, arn: &str) -> Vec<Call> {
        if well_known(arn).is_some() || !self.new_to("policy", arn) {
            return Vec::new();
        }
        vec![Call::iam("GetPolicy", last(arn), &[("PolicyArn", arn)])]
    }

    /// The identities of the service accounts that the network hangs on: the CNI's and the load balancer controllers'.
    pub(super) fn identities(&mut self) -> Vec<Call> {
        let controllers = self.controllers.clone();
        let counts = |account: &str| {
            account == "kube-system/aws-node"
                || account.ends_with("load-balancer-controller")
                || controllers.contains(account)
        };
        let associations: Vec<String> =
            self.associations.iter().filter(|(a, _)| counts(a)).flat_map(|(_, ids)| ids.clone()).collect();
        let roles: Vec<String> = self.annotated.iter().filter(|(a, _)| counts(a)).map(|(_, r)| r.clone()).collect();
        let mut calls: Vec<Call> = roles.iter().flat_map(|role| self.web_identity(role)).collect();
        for id in associations {
            if self.new_to("association", &id) {
                let below = ["pod-identity-associations", id.as_str()];
                calls.push(Call::eks("DescribePodIdentityAssociation", &self.cluster, &below).about(&id));
            }
        }
        calls.extend(self.associated_roles());
        calls
    }

    /// The roles that associations give to service accounts. An association may be older than its service account.
    pub(super) fn associated_roles(&mut self) -> Vec<Call> {
        let there = |account: &String| self.whole() || self.accounts.contains(account);
        let roles: Vec<String> =
            self.associated.iter().filter(|(account, _)| there(account)).map(|(_, role)| role.clone()).collect();
        roles.iter().flat_map(|role| self.role(role)).collect()
    }

    /// The cluster's own role, which makes network interfaces for pods and, in EKS Auto Mode, opens groups.
    pub(super) fn own_role(&mut self) -> Vec<Call> {
        let role = self.cluster_role.clone();
        self.role(&role)
    }

    /// The OIDC provider of the cluster's issuer, when both are known.
    pub(super) fn provider(&mut self) -> Vec<Call> {
        let ours =
            |arn: &&(&str, String)| arn.0 == "provider" && !self.issuer.is_empty() && arn.1.ends_with(&self.issuer);
        let Some((_, arn)) = self.seen.iter().find(ours).cloned() else { return Vec::new() };
        vec![Call::iam("GetOpenIDConnectProvider", &arn, &[("OpenIDConnectProviderArn", &arn)])]
    }
}
