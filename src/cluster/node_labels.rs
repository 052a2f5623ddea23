//! Labels with which the kubelet does not start: reserved ones and malformed ones in `--node-labels`.

use std::sync::Arc;

use super::Cluster;
use super::addresses::minutes;
use super::user_data::decode;
use crate::shape::ec2::{Instance, LaunchTemplateVersion};
use crate::shape::eks::Nodegroup;
use crate::shape::k8s::EC2NodeClass;
use crate::shape::{Link, Str, derived};
use crate::snapshot::Known;

derived! {
    /// Labels that a node group, user data or a node class gives to the kubelet and with which it does not start.
    RefusedLabels {
        /// The object that sets them, as a message names it.
        owner: Str,
        /// The labels, in one text.
        labels: Str,
        /// Why the first is refused.
        why: Str,
        /// The keys, as a list in JSON.
        keys: Str,
        /// The labels with blanks between, as kubectl sets them on nodes; empty when no label may be so.
        settable: Str,
        nodegroup: Option<Link<Nodegroup>>,
        template: Option<Link<LaunchTemplateVersion>>,
        nodeClass: Option<Link<EC2NodeClass>>,
        /// Machines of it that have not joined.
        instances: Vec<Link<Instance>>,
        /// Whether only machines still to come are concerned.
        later: bool,
    }
}

/// Labels of the `kubernetes.io` namespaces that the kubelet may set (`k8s.io/kubelet/pkg/apis`, `well_known_labels.go`).
const ALLOWED: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const RESERVED: &str =
    "reserved: of kubernetes.io and k8s.io it takes only node.kubernetes.io and kubelet.kubernetes.io";
const ALLOWED_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Whether a text is a name or a value of a label: at most 63 letters, digits, `-`, `_` and `.`, the ends alphanumeric.
fn is_word(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(ends)
        && text.ends_with(ends)
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Why the kubelet does not start with a label (`ValidateKubeletFlags`); `None` when it does.
fn refusal(key: &str, value: &str) -> Option<&'static str> {
    let (namespace, name) = key.rsplit_once('/').unwrap_or(("", key));
    let within = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    if within("kubernetes.io") || within("k8s.io") {
        let allowed = ALLOWED.contains(&key) || ALLOWED_NAMESPACES.iter().any(|n| within(n));
        if !allowed {
            return Some(
                "reserved: of kubernetes.io and k8s.io it takes only node.kubernetes.io and kubelet.kubernetes.io",
            );
        }
    }
    if namespace.contains('/') || !is_word(name) {
        return Some("no valid name of a label");
    }
    (!value.is_empty() && !is_word(value)).then_some("no valid value of a label")
}

/// The labels that user data gives to the kubelet: `--node-labels`, Bottlerocket's table. What a script puts together when
/// it runs is left out.
fn labels_of(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    let plain = lines.flat_map(|l| [l, "\n"]).collect::<String>();
    let mut found = Vec::new();
    let mut keep = |key: &str, value: &str| {
        let literal = |t: &str| !t.contains(['$', '`', '{', '}', '(', '%', '<', '\\']);
        if !key.is_empty() && literal(key) && literal(value) {
            found.push((key.to_owned(), value.to_owned()));
        }
    };
    for rest in plain.split("--node-labels").skip(1) {
        let rest = rest.trim_start_matches(['=', ' ']).trim_start_matches(['"', '\'']);
        let list = rest.split(|c: char| c.is_whitespace() || "\"'".contains(c)).next().unwrap_or_default();
        // `$(...)` holds blanks, so that the list ends too early: then nothing of it is sure.
        if list.contains("$(") || list.contains('`') {
            continue;
        }
        for (key, value) in list.split(',').filter_map(|pair| pair.split_once('=')) {
            keep(key, value);
        }
    }
    if let Some((_, table)) = plain.split_once("[settings.kubernetes.node-labels]") {
        for line in table.lines().skip(1).take_while(|l| !l.trim_start().starts_with('[')) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let bare = |t: &str| t.trim().trim_matches(['"', '\'']).to_owned();
            keep(&bare(key), &bare(value));
        }
    }
    found
}

/// The refused ones of some labels.
struct Refused {
    labels: Str,
    why: Str,
    keys: Str,
    settable: Str,
}

fn refused<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Refused> {
    let mut found: Vec<_> = labels.filter_map(|(k, v)| Some((k, v, refusal(k, v)?))).collect();
    found.dedup();
    let why = found.first()?.2;
    let joined = |separator: &str, text: &dyn Fn(&str, &str) -> String| {
        Str::from(found.iter().map(|(k, v, _)| text(k, v)).collect::<Vec<_>>().join(separator))
    };
    let pair = |k: &str, v: &str| format!("{k}={v}");
    let reserved = found.iter().all(|(_, _, why)| *why == RESERVED);
    Some(Refused {
        labels: joined(", ", &pair),
        why: Str::const_new(why),
        keys: joined(",", &|k, _| format!("\"{k}\"")),
        settable: if reserved { joined(" ", &pair) } else { Str::default() },
    })
}

fn pairs(labels: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))
}

impl Cluster {
    /// The labels with which kubelets do not start.
    pub fn refused_labels(&self) -> Known<Vec<Arc<RefusedLabels>>> {
        let tables = &self.snapshot.tables;
        let workers = self.workers()?;
        let outside = self.outsiders().unwrap_or_default();
        let mut all = Vec::new();
        // Labels of a group whose images are one's own are set by EKS, not by the kubelet.
        let of_eks = |g: &Nodegroup| !matches!(g.amiType.as_str(), "" | "CUSTOM");
        for group in self.nodegroups().filter(|g| of_eks(g.value)) {
            let own = || workers.iter().filter(|w| w.nodegroup.is_some_and(|n| n.row == group.row));
            let given = group.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            let Some(Refused { labels, why, keys, settable }) = refused(given) else { continue };
            // EKS puts labels onto the nodes that are there when somebody changes them; later ones have to bring them.
            let changed = minutes(group.modifiedAt.as_str());
            let proved = own().filter(|w| w.joined).any(|w| {
                let instance = w.instance.map(|i| tables.instances.at(i.row.index));
                let launched = instance.and_then(|i| minutes(&i.value.LaunchTime));
                launched.zip(changed).is_some_and(|(launched, changed)| launched > changed)
            });
            if proved {
                continue;
            }
            let waits = outside.iter().filter(|w| w.nodegroup.is_some_and(|n| n.row == group.row));
            let instances: Vec<_> = waits.filter_map(|w| w.instance).collect();
            let none = own().next().is_none() && group.scalingConfig.desiredSize.is_some_and(|d| d > 0);
            all.push(RefusedLabels {
                owner: Str::from(format!("node group {}", group.nodegroupName)),
                labels,
                why,
                keys,
                settable,
                nodegroup: Some(Link::new(group.row)),
                template: None,
                nodeClass: None,
                later: instances.is_empty() && !none,
                instances,
            });
        }
        for group in self.bootstraps().unwrap_or_default().iter().filter(|b| !b.works) {
            let template = tables.launch_template_versions.at(group.template.row.index);
            let text = decode(&template.value.LaunchTemplateData.UserData).unwrap_or_default();
            let said = labels_of(&text);
            let Some(Refused { labels, why, keys, settable }) = refused(pairs(&said)) else { continue };
            all.push(RefusedLabels {
                owner: Str::from(format!(
                    "user data of launch template {} ({})",
                    template.value.LaunchTemplateId, group.name
                )),
                labels,
                why,
                keys,
                settable,
                nodegroup: None,
                template: Some(group.template),
                nodeClass: None,
                instances: group
                    .instances
                    .iter()
                    .copied()
                    .filter(|i| outside.iter().any(|w| w.instance == Some(*i)))
                    .collect(),
                later: group.later,
            });
        }
        for class in tables.ec2_node_classes.iter().filter(|c| !self.class_has_joined(c.value)) {
            let said = labels_of(&class.spec.userData);
            let Some(Refused { labels, why, keys, settable }) = refused(pairs(&said)) else { continue };
            all.push(RefusedLabels {
                owner: Str::from(format!("user data of EC2NodeClass {}", class.metadata.name)),
                labels,
                why,
                keys,
                settable,
                nodegroup: None,
                template: None,
                nodeClass: Some(Link::new(class.row)),
                instances: Vec::new(),
                later: !self.class_is_wanting(class.value),
            });
        }
        Ok(all.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_kubelet() {
        for key in ["node-role.kubernetes.io/worker", "kubernetes.io/role", "k8s.io/x", "app.kubernetes.io/name"] {
            assert!(refusal(key, "true").is_some(), "{key}");
        }
        for key in [
            "node.kubernetes.io/lifecycle",
            "x.node.kubernetes.io/y",
            "kubernetes.io/os",
            "node.kubernetes.io/instance-type",
            "karpenter.sh/capacity-type",
            "topology.k8s.aws/zone-id",
            "role",
        ] {
            assert_eq!(refusal(key, "spot"), None, "{key}");
        }
        assert!(refusal("team", "a/b").is_some());
        assert!(refusal("a/b/c", "x").is_some());
        assert_eq!(refusal("team", ""), None);
    }

    #[test]
    fn labels_of_user_data() {
        let keys = |text: &str| labels_of(text).into_iter().map(|(k, _)| k).collect::<Vec<_>>();
        assert_eq!(keys("bootstrap.sh c --kubelet-extra-args '--node-labels=a=b,c/d=e --max-pods=9'"), ["a", "c/d"]);
        assert_eq!(keys("flags:\n  - --node-labels=a=b\n  - \"--node-labels=c=$(x y)\"\n"), ["a"]);
        assert_eq!(keys("--node-labels=\"lifecycle=$LIFE,team=x\""), ["team"]);
        assert_eq!(keys("# --node-labels=a=b\n"), [] as [&str; 0]);
        assert_eq!(keys("[settings.kubernetes.node-labels]\n\"a/b\" = \"c\"\n[settings.x]\nd = 1\n"), ["a/b"]);
    }
}
