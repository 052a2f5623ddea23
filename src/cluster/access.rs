//! Who lets nodes into the cluster: access entries and the `aws-auth` config map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Cluster;
use super::identity::role_name;
use super::user_data::decode;
use crate::shape::ec2::{Instance, tag};
use crate::shape::eks::{AccessEntry, AccessEntryNames, Nodegroup};
use crate::shape::iam::Role;
use crate::shape::k8s::{ConfigMap, EC2NodeClass, Node, NodeClass};
use crate::shape::{Link, Row, Str, derived};
use crate::snapshot::{Known, Missing};

derived! {
    /// The role of some nodes, and whether the cluster lets it in.
    NodeRole {
        arn: Str,
        name: Str,
        role: Option<Link<Role>>,
        instances: Vec<Link<Instance>>,
        nodes: Vec<Link<Node>>,
        nodegroups: Vec<Link<Nodegroup>>,
        nodeClasses: Vec<Link<EC2NodeClass>>,
        /// Classes of EKS Auto Mode.
        autoClasses: Vec<Link<NodeClass>>,
        /// Whether nodes have it or would be launched with it now.
        inUse: bool,
        /// Whether they are nodes of EKS Auto Mode.
        auto: bool,
        /// `ok`, `missing`, `unknown`, or what is wrong with its mapping: `path`, `profile`, `session`, `account`,
        /// `groups`, `username`, `windows` (kube-proxy's group lacks), `type`, `malformed`.
        mapping: Str,
        /// What the mapping says.
        found: Str,
        entry: Option<Link<AccessEntry>>,
        config: Option<Link<ConfigMap>>,
        /// `CONFIG_MAP`, `API` or `API_AND_CONFIG_MAP`.
        mode: Str,
        /// The role of the node group, when its instances run with this other one.
        replaces: Str,
        /// Whether EC2 may take the role.
        trusted: Known<bool>,
        /// Whom it trusts instead.
        trusts: Str,
    }

    /// Roles of nodes that neither an access entry nor `aws-auth` knows.
    UnmappedRoles {
        /// Their names, in one text.
        names: Str,
        roles: Vec<Link<Role>>,
        instances: Vec<Link<Instance>>,
        nodegroups: Vec<Link<Nodegroup>>,
        nodeClasses: Vec<Link<EC2NodeClass>>,
        autoClasses: Vec<Link<NodeClass>>,
        config: Option<Link<ConfigMap>>,
        mode: Str,
        inUse: bool,
        /// What maps them.
        commands: Vec<Str>,
    }
}

/// A row of `mapRoles`.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct MapRole {
    rolearn: Option<String>,
    username: Option<String>,
    groups: Option<Vec<String>>,
}

impl MapRole {
    /// Whether the row is about this role: the authenticator compares lower-case ARNs and drops the path of the
    /// caller's.
    fn is_of(&self, arn: &str) -> bool {
        self.rolearn.as_deref().unwrap_or_default().trim().to_lowercase() == plain_arn(arn)
    }

    fn in_group(&self, group: &str) -> bool {
        self.groups.iter().flatten().any(|g| g == group)
    }

    /// Whether the row makes nodes of whoever comes with this role.
    pub(super) fn maps_nodes_of(&self, arn: &str) -> bool {
        self.is_of(arn) && self.in_group("system:nodes")
    }
}

pub(super) enum AwsAuth {
    NotThere,
    Malformed(Row),
    Rows(Row, Vec<MapRole>),
}

/// The ARN of a role without its path, as the authenticator sees it.
fn plain_arn(arn: &str) -> String {
    match arn.split_once(":role/") {
        Some((account, path)) => format!("{account}:role/{}", role_name(path)).to_lowercase(),
        None => arn.to_lowercase(),
    }
}

fn account_of(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

/// The name of the user that a node has to be.
const NODE_USER: &str = "system:node:{{EC2PrivateDNSName}}";

/// What `mapRoles` does for a role of machines: the fault (`ok`) and the row's words (aws-iam-authenticator, `pkg/arn`,
/// `pkg/mapper/configmap`).
fn in_map(rows: &[MapRole], arn: &str, windows: bool, by_dns_name: bool) -> (&'static str, Str) {
    if let Some(row) = rows.iter().rev().find(|r| r.is_of(arn)) {
        let username = row.username.clone().unwrap_or_default();
        let groups = row.groups.clone().unwrap_or_default();
        if !row.in_group("system:nodes") {
            return ("groups", Str::from(groups.join(", ")));
        }
        // A node may only write the object of its own name (`NodeRestriction`), and that is the private DNS name.
        if !username.starts_with("system:node:") || (by_dns_name && username != NODE_USER) {
            return ("username", Str::from(username));
        }
        if windows && !row.in_group("eks:kube-proxy-windows") {
            return ("windows", Str::from(groups.join(", ")));
        }
        return ("ok", Str::default());
    }
    let name = role_name(arn).to_lowercase();
    for row in rows {
        let other = row.rolearn.clone().unwrap_or_default();
        let fault = if role_name(&other).to_lowercase() == name {
            if other.contains(":instance-profile/") {
                "profile"
            } else if account_of(&other) != account_of(arn) {
                "account"
            } else if other.contains(":role/") {
                "path"
            } else {
                continue;
            }
        } else if other.contains(":assumed-role/")
            && other.split('/').nth(1).map(str::to_lowercase) == Some(name.clone())
        {
            "session"
        } else {
            continue;
        };
        return (fault, Str::from(other));
    }
    ("missing", Str::default())
}

#[derive(Default)]
struct Users {
    arn: Str,
    instances: Vec<Link<Instance>>,
    nodes: Vec<Link<Node>>,
    nodegroups: Vec<Link<Nodegroup>>,
    node_classes: Vec<Link<EC2NodeClass>>,
    auto_classes: Vec<Link<NodeClass>>,
    in_use: bool,
    auto: bool,
    replaces: Str,
}

impl Cluster {
    pub(super) fn aws_auth(&self) -> Known<AwsAuth> {
        let Some(map) = self.snapshot.whole::<ConfigMap>()?.get("kube-system/aws-auth") else {
            return Ok(AwsAuth::NotThere);
        };
        let text = map.value.data.get("mapRoles").map(Str::as_str).unwrap_or_default();
        if text.trim().is_empty() {
            return Ok(AwsAuth::Rows(map.row, Vec::new()));
        }
        match serde_saphyr::from_str::<Vec<MapRole>>(text) {
            Ok(rows) => Ok(AwsAuth::Rows(map.row, rows)),
            Err(_) => Ok(AwsAuth::Malformed(map.row)),
        }
    }

    /// The `aws-auth` config map, when its `mapRoles` is no list of mappings.
    pub fn malformed_aws_auth(&self) -> Known<Option<Row>> {
        Ok(match self.aws_auth()? {
            AwsAuth::Malformed(row) => Some(row),
            _ => None,
        })
    }

    /// How nodes are authenticated; clusters older than access entries know only the config map.
    pub fn authentication_mode(&self) -> Known<Str> {
        let mode = self.eks()?.value.accessConfig.as_ref().map(|a| a.authenticationMode.clone()).unwrap_or_default();
        Ok(if mode.is_empty() { Str::const_new("CONFIG_MAP") } else { mode })
    }

    fn arn_of_role(&self, role: &str) -> Str {
        if role.starts_with("arn:") {
            return Str::new(role);
        }
        match self.role(role) {
            Ok(found) => found.value.Arn.clone(),
            Err(_) => Str::from(format!("arn:{}:iam::{}:role/{role}", self.partition(), self.account_id())),
        }
    }

    /// The roles of nodes, with those who use them.
    pub fn node_roles(&self) -> Known<Vec<Arc<NodeRole>>> {
        let tables = &self.snapshot.tables;
        let mode = self.authentication_mode()?;
        let mut users: BTreeMap<Str, Users> = BTreeMap::new();
        let mut known: HashMap<(Str, Option<Row>), Option<Str>> = HashMap::new();
        let mut gap: Option<Missing> = None;
        for worker in self.workers()?.iter().filter(|w| w.kind == "ec2" || w.kind == "auto") {
            let key = (worker.instanceProfile.clone(), worker.nodegroup.map(|n| n.row));
            let arn = match known.get(&key) {
                Some(arn) => arn.clone(),
                None => {
                    let arn = match self.node_role(worker) {
                        Ok(arn) => Some(arn),
                        Err(missing) => {
                            gap = gap.or(Some(missing));
                            None
                        }
                    };
                    known.insert(key, arn.clone());
                    arn
                }
            };
            let Some(arn) = arn else { continue };
            let user = users.entry(Str::new(role_name(&arn))).or_default();
            if let Some(group) = worker.nodegroup.map(|g| tables.nodegroups.at(g.row.index))
                && !group.nodeRole.is_empty()
                && role_name(&group.nodeRole) != role_name(&arn)
            {
                user.replaces = Str::new(role_name(&group.nodeRole));
            }
            user.arn = arn;
            user.instances.extend(worker.instance);
            user.nodes.extend(worker.node);
            user.in_use = true;
            user.auto |= worker.kind == "auto";
        }
        for group in self.nodegroups().filter(|g| !g.nodeRole.is_empty()) {
            let user = users.entry(Str::new(role_name(&group.nodeRole))).or_default();
            user.arn = group.nodeRole.clone();
            user.nodegroups.push(Link::new(group.row));
            user.in_use |= group.scalingConfig.desiredSize.is_some_and(|d| d > 0);
        }
        for class in tables.ec2_node_classes.iter() {
            let role = if class.spec.role.is_empty() {
                let profile = if class.spec.instanceProfile.is_empty() {
                    &class.status.instanceProfile
                } else {
                    &class.spec.instanceProfile
                };
                let found = tables.instance_profiles.iter().find(|p| p.InstanceProfileName == *profile);
                match found.and_then(|p| p.value.Roles.first()) {
                    Some(role) => role.Arn.clone(),
                    None => continue,
                }
            } else {
                self.arn_of_role(&class.spec.role)
            };
            let name = &class.metadata.name;
            let user = users.entry(Str::new(role_name(&role))).or_default();
            user.arn = role;
            user.node_classes.push(Link::new(class.row));
            user.in_use |= tables.node_pools.iter().any(|p| p.spec.template.spec.nodeClassRef.name == *name);
        }
        for class in tables.node_classes.iter().filter(|c| self.auto_mode() && !c.spec.role.is_empty()) {
            let role = self.arn_of_role(&class.spec.role);
            let user = users.entry(Str::new(role_name(&role))).or_default();
            user.arn = role;
            user.auto = true;
            user.auto_classes.push(Link::new(class.row));
            user.in_use |= tables.node_pools.iter().any(|p| {
                let used = &p.spec.template.spec.nodeClassRef;
                used.kind == "NodeClass" && used.name == class.metadata.name
            });
        }
        if users.is_empty()
            && let Some(missing) = gap
        {
            return Err(missing);
        }
        let auth = self.aws_auth();
        Ok(users.into_iter().map(|(name, user)| Arc::new(self.judge_role(name, user, &mode, &auth))).collect())
    }

    fn judge_role(&self, name: Str, user: Users, mode: &Str, auth: &Known<AwsAuth>) -> NodeRole {
        let tables = &self.snapshot.tables;
        let windows = user
            .nodes
            .iter()
            .any(|n| tables.nodes.at(n.row.index).status.nodeInfo.operatingSystem == "windows")
            || user.instances.iter().any(|i| tables.instances.at(i.row.index).Platform.eq_ignore_ascii_case("windows"));
        let (from_map, found, config) = match auth {
            Err(_) => ("unknown", Str::default(), None),
            Ok(AwsAuth::NotThere) => ("missing", Str::default(), None),
            Ok(AwsAuth::Malformed(row)) => ("malformed", Str::default(), Some(Link::new(*row))),
            Ok(AwsAuth::Rows(row, rows)) => {
                let (fault, found) = in_map(rows, &user.arn, windows, self.joins_by_dns_name(&user));
                (fault, found, Some(Link::new(*row)))
            }
        };
        let (mut from_entry, entry) = self.entry_of(&user.arn);
        let entry_type = entry.map(|e| self.snapshot.tables.access_entries.at(e.row.index).value.r#type.clone());
        if from_entry == "ok" && windows && entry_type.as_ref().is_some_and(|t| t == "EC2_LINUX") {
            from_entry = "type";
        }
        let (mapping, found) = match mode.as_str() {
            "CONFIG_MAP" => (from_map, found),
            "API" => (from_entry, entry_type.unwrap_or_default()),
            _ => match (from_entry, from_map) {
                // An access entry goes before a row of the config map.
                ("ok", _) => ("ok", Str::default()),
                ("type", _) => ("type", entry_type.unwrap_or_default()),
                (_, "ok") => ("ok", Str::default()),
                ("unknown", _) | (_, "unknown") => ("unknown", Str::default()),
                _ => (from_map, found),
            },
        };
        let trust = self.service_trust(&user.arn, "ec2.amazonaws.com");
        NodeRole {
            role: self.role(&user.arn).ok().map(|r| Link::new(r.row)),
            arn: user.arn,
            name,
            instances: user.instances,
            nodes: user.nodes,
            nodegroups: user.nodegroups,
            nodeClasses: user.node_classes,
            autoClasses: user.auto_classes,
            inUse: user.in_use,
            auto: user.auto,
            mapping: Str::const_new(mapping),
            found,
            entry,
            config,
            mode: mode.clone(),
            replaces: user.replaces,
            trusted: trust.as_ref().map(|t| t.holds).map_err(Missing::clone),
            trusts: trust.map(|t| t.found).unwrap_or_default(),
        }
    }

    /// Whether the role's machines register under their private DNS names, as images for EKS do unless user data says
    /// otherwise (`InstanceIdNodeName` of nodeadm, `--hostname-override`). A node that is ready shows that its user has
    /// its name, whatever that is, and one that is named by its instance that others are, too.
    fn joins_by_dns_name(&self, user: &Users) -> bool {
        let tables = &self.snapshot.tables;
        let shows = |n: &Link<Node>| {
            let node = tables.nodes.at(n.row.index).value;
            let ready = node.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True");
            ready || node.metadata.name.starts_with("i-")
        };
        if user.nodes.iter().any(shows) {
            return false;
        }
        let templates = user.nodegroups.iter().filter_map(|g| {
            let chosen = tables.nodegroups.at(g.row.index).value.launchTemplate.as_ref()?;
            Some(self.launch_template(&chosen.id, &chosen.version))
        });
        let scaled = user.instances.iter().filter_map(|i| {
            let name = tag(&tables.instances.at(i.row.index).value.Tags, "aws:autoscaling:groupName")?;
            let group = tables.auto_scaling_groups.iter().find(|g| g.AutoScalingGroupName == name);
            Some(group.and_then(|g| self.template_of_group(g)))
        });
        let of_class = |c: &Link<EC2NodeClass>| Some(tables.ec2_node_classes.at(c.row.index).spec.userData.to_string());
        let mut texts = templates
            .chain(scaled)
            .map(|t| t.and_then(|t| decode(&t.value.LaunchTemplateData.UserData)))
            .chain(user.node_classes.iter().map(of_class));
        let otherwise = ["InstanceIdNodeName", "hostname-override", "HOSTNAME_OVERRIDE"];
        // User data that nobody read may say anything, unless a machine runs that was not let in.
        let outside = self.snapshot.has("k8s:nodes") && user.instances.len() > user.nodes.len();
        let default_names = texts.all(|t| t.map_or(outside, |t| !otherwise.iter().any(|o| t.contains(o))));
        let newer =
            user.nodegroups.iter().any(|g| tables.nodegroups.at(g.row.index).value.amiType.starts_with("AL2027"));
        default_names && !newer
    }

    /// Whether an access entry lets the role's nodes in.
    pub(super) fn entry_of(&self, arn: &str) -> (&'static str, Option<Link<AccessEntry>>) {
        let tables = &self.snapshot.tables;
        let cluster = self.name();
        let same = |other: &str| other.eq_ignore_ascii_case(arn);
        let ours = |name: &Str| *name == cluster || name.is_empty();
        if let Some(entry) = tables.access_entries.iter().find(|e| same(&e.principalArn) && ours(&e.clusterName)) {
            let link = Some(Link::new(entry.row));
            let node = matches!(entry.r#type.as_str(), "EC2" | "EC2_LINUX" | "EC2_WINDOWS" | "HYPERPOD_LINUX");
            let grouped = entry.kubernetesGroups.iter().any(|g| g == "system:nodes");
            return if node || grouped { ("ok", link) } else { ("type", link) };
        }
        let Ok(lists) = self.snapshot.whole::<AccessEntryNames>() else { return ("unknown", None) };
        let listed = lists.iter().flat_map(|l| l.value.accessEntries.iter()).any(|a| same(a));
        (if listed { "unknown" } else { "missing" }, None)
    }

    /// The roles that are not mapped at all, as one fault.
    pub fn unmapped_roles(&self) -> Known<Vec<Arc<UnmappedRoles>>> {
        let roles = self.node_roles()?;
        let missing: Vec<&Arc<NodeRole>> = roles
            .iter()
            .filter(|r| r.mapping == "missing" && r.trusted != Ok(false) && r.replaces.is_empty())
            .collect();
        let Some(first) = missing.first() else {
            let Some(role) = roles.iter().find(|r| r.mapping == "unknown") else { return Ok(Vec::new()) };
            let config_map = (role.mode != "API" && !self.snapshot.has("k8s:configmaps"))
                .then(|| self.snapshot.missing("k8s:configmaps", None));
            let entry = match self.snapshot.whole::<AccessEntryNames>() {
                _ if role.mode == "CONFIG_MAP" => None,
                Err(missing) => Some(missing),
                Ok(lists) => {
                    let mut listed = lists.iter().flat_map(|l| l.value.accessEntries.iter());
                    let listed = listed.any(|a| a.eq_ignore_ascii_case(&role.arn));
                    listed.then(|| self.snapshot.missing("eks:DescribeAccessEntry", Some(&role.arn)))
                }
            };
            let unsaid = |m: &Missing| m.reason == "not recorded";
            return Err(match (config_map, entry) {
                // A refusal says more than what nobody recorded.
                (Some(map), Some(entry)) if unsaid(&map) && !unsaid(&entry) => entry,
                (Some(map), _) => map,
                (None, Some(entry)) => entry,
                (None, None) => self.snapshot.missing("eks:ListAccessEntries", Some(&role.arn)),
            });
        };
        let (cluster, region) = (self.name(), self.region_name());
        let commands = missing
            .iter()
            .map(|r| match first.mode.as_str() {
                "CONFIG_MAP" => Str::from(format!(
                    "eksctl create iamidentitymapping --cluster {cluster} --region {region} --arn {} --username \
                     system:node:{{{{EC2PrivateDNSName}}}} --group system:bootstrappers --group system:nodes",
                    r.arn
                )),
                _ => Str::from(format!(
                    "aws eks create-access-entry --cluster-name {cluster} --region {region} --principal-arn {} --type {}",
                    r.arn,
                    if r.auto { "EC2" } else { "EC2_LINUX" }
                )),
            })
            .collect();
        let names: Vec<&str> = missing.iter().map(|r| r.name.as_str()).collect();
        Ok(vec![Arc::new(UnmappedRoles {
            names: Str::from(names.join(", ")),
            roles: missing.iter().filter_map(|r| r.role).collect(),
            instances: missing.iter().flat_map(|r| r.instances.clone()).collect(),
            nodegroups: missing.iter().flat_map(|r| r.nodegroups.clone()).collect(),
            nodeClasses: missing.iter().flat_map(|r| r.nodeClasses.clone()).collect(),
            autoClasses: missing.iter().flat_map(|r| r.autoClasses.clone()).collect(),
            config: first.config,
            mode: first.mode.clone(),
            inUse: missing.iter().any(|r| r.inUse),
            commands,
        })])
    }

    /// What a node needs of IAM and its role may not do, in one text; empty when it may do all.
    pub fn node_role_lacks(&self, role: &NodeRole) -> Known<Str> {
        let mut needed = vec![("ecr:GetAuthorizationToken", "*"), ("ecr:BatchGetImage", "*")];
        if !role.auto {
            needed.push(("ec2:DescribeInstances", "*"));
        }
        let cluster = self.eks().map(|e| e.value.arn.clone()).unwrap_or_default();
        // `bootstrap.sh` without endpoint and CA asks EKS for them.
        let asks = |b: &super::bootstrap::Bootstrap| {
            b.fault == "lookup" && b.instances.iter().any(|i| role.instances.contains(i))
        };
        if self.bootstraps().is_ok_and(|all| all.iter().any(|b| asks(b))) {
            needed.push(("eks:DescribeCluster", &cluster));
        }
        self.lacks(&role.arn, &needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_as_the_authenticator_does() {
        let row = |arn: &str| MapRole {
            rolearn: Some(arn.to_owned()),
            username: Some("system:node:{{EC2PrivateDNSName}}".to_owned()),
            groups: Some(vec!["system:bootstrappers".to_owned(), "system:nodes".to_owned()]),
        };
        let role = "arn:aws:iam::111122223333:role/team/a/node";
        assert_eq!(in_map(&[row("arn:aws:iam::111122223333:role/node")], role, false, true).0, "ok");
        assert_eq!(in_map(&[row(role)], role, false, true).0, "path");
        assert_eq!(in_map(&[row("arn:aws:iam::444455556666:role/node")], role, false, true).0, "account");
        assert_eq!(in_map(&[row("arn:aws:iam::111122223333:instance-profile/node")], role, false, true).0, "profile");
        assert_eq!(in_map(&[row("arn:aws:iam::111122223333:role/other")], role, false, true).0, "missing");
        let session = MapRole {
            username: Some("system:node:{{SessionName}}".to_owned()),
            ..row("arn:aws:iam::111122223333:role/node")
        };
        assert_eq!(
            in_map(std::slice::from_ref(&session), role, false, true),
            ("username", "system:node:{{SessionName}}".into())
        );
        assert_eq!(in_map(&[session], role, false, false).0, "ok");
    }
}
