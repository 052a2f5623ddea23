//! IAM's, KMS's and STS's answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{Reflect, Str, Type, View, shapes};

shapes! {
    /// An IAM role, of `GetRole`.
    Role { RoleName: Str, RoleId: Str, Path: Str, Arn: Str, CreateDate: Str, AssumeRolePolicyDocument: PolicyDocument, PermissionsBoundary: Option<PermissionsBoundary>, Tags: Vec<super::ec2::Tag> }
    /// The policy that bounds what a role may do.
    PermissionsBoundary { PermissionsBoundaryType: Str, PermissionsBoundaryArn: Str }
    /// An instance profile, of `GetInstanceProfile`.
    InstanceProfile { InstanceProfileName: Str, InstanceProfileId: Str, Path: Str, Arn: Str, Roles: Vec<Role> }
    /// The managed policies of the role `Argument`, of `ListAttachedRolePolicies`.
    AttachedRolePolicies { Argument: Str, AttachedPolicies: Vec<AttachedPolicy> }
    /// A managed policy of a role.
    AttachedPolicy { PolicyName: Str, PolicyArn: Str }
    /// The inline policies of the role `Argument`, of `ListRolePolicies`.
    RolePolicyNames { Argument: Str, PolicyNames: Vec<Str> }
    /// An inline policy of a role, of `GetRolePolicy`.
    RolePolicy { RoleName: Str, PolicyName: Str, PolicyDocument: PolicyDocument }
    /// The default version of the managed policy `Argument`, of `GetPolicyVersion`.
    ManagedPolicy { Argument: Str, PolicyVersion: PolicyVersion }
    /// A version of a managed policy.
    PolicyVersion { VersionId: Str, IsDefaultVersion: Option<bool>, Document: PolicyDocument }
    /// A policy: what is allowed and denied.
    Policy { Version: Str, Id: Str, Statement: OneOrMany<Statement> }
    /// One statement of a policy.
    Statement {
        Sid: Str, Effect: Str, Principal: Option<Principal>, NotPrincipal: Option<Principal>, Action: OneOrMany<Str>, NotAction: OneOrMany<Str>,
        Resource: OneOrMany<Str>, NotResource: OneOrMany<Str>, Condition: BTreeMap<Str, BTreeMap<Str, OneOrMany<super::Scalar>>>,
    }
    /// The account's OpenID Connect providers, of `ListOpenIDConnectProviders`.
    OpenIdConnectProviderList { OpenIDConnectProviderList: Vec<OpenIdConnectProviderArn> }
    /// The ARN of a provider.
    OpenIdConnectProviderArn { Arn: Str }
    /// The OpenID Connect provider `Argument`, of `GetOpenIDConnectProvider`.
    OpenIdConnectProvider { Argument: Str, Url: Str, ClientIDList: Vec<Str>, ThumbprintList: Vec<Str> }
    /// The policy of the KMS key `Argument`, of `GetKeyPolicy`.
    KeyPolicy { Argument: Str, PolicyName: Str, Policy: PolicyDocument }
    /// Who made the snapshot, of `GetCallerIdentity`.
    CallerIdentity { UserId: Str, Account: Str, Arn: Str }
}

/// Who a statement speaks of: `*`, or service, AWS and federated principals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Principal(pub BTreeMap<Str, OneOrMany<Str>>);

impl Principal {
    /// The principals of the kind `AWS`, `Service` or `Federated`; `*` counts as every kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Str> + 'a {
        self.0.iter().filter(move |(key, _)| *key == kind || *key == "*").flat_map(|(_, v)| v.0.iter())
    }
}
impl Reflect for Principal {
    const TYPE: Type = Type::Map(&Type::List(&Type::String));
    fn view(&self) -> View<'_> {
        self.0.view()
    }
}
impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            All(Str),
            Some(BTreeMap<Str, OneOrMany<Str>>),
        }
        Ok(match Raw::deserialize(deserializer)? {
            Raw::All(star) => Principal(BTreeMap::from([(Str::new("*"), OneOrMany(vec![star]))])),
            Raw::Some(map) => Principal(map),
        })
    }
}

/// A list, of which IAM writes one of length one without its brackets.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}
impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}
impl<T: Reflect> Reflect for OneOrMany<T> {
    const TYPE: Type = <Vec<T> as Reflect>::TYPE;
    fn view(&self) -> View<'_> {
        self.0.view()
    }
}
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw<T> {
            Many(Vec<T>),
            One(T),
        }
        Ok(OneOrMany(match Raw::deserialize(deserializer)? {
            Raw::Many(many) => many,
            Raw::One(one) => vec![one],
        }))
    }
}

/// A policy document: an object, or a string that holds one as JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyDocument(pub Policy);

impl std::ops::Deref for PolicyDocument {
    type Target = Policy;
    fn deref(&self) -> &Policy {
        &self.0
    }
}
impl Reflect for PolicyDocument {
    const TYPE: Type = <Policy as Reflect>::TYPE;
    fn view(&self) -> View<'_> {
        self.0.view()
    }
}
impl<'de> Deserialize<'de> for PolicyDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Object(Policy),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Object(policy) => Ok(PolicyDocument(policy)),
            Raw::Text(text) => serde_json::from_str(&text).map(PolicyDocument).map_err(serde::de::Error::custom),
        }
    }
}
