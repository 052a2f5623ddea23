//! Which operating system a machine image holds, as far as running nodes, node groups and names of images tell.

use std::collections::BTreeMap;

use super::Cluster;
use super::worker::Worker;
use crate::shape::Str;
use crate::shape::k8s::EC2NodeClass;

/// An operating system for which Amazon makes images for EKS; each is told to join in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Al2,
    Al2023,
    Bottlerocket,
    Windows,
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            System::Al2 => "Amazon Linux 2",
            System::Al2023 => "Amazon Linux 2023",
            System::Bottlerocket => "Bottlerocket",
            System::Windows => "Windows",
        }
    }

    /// How its machines are told to join, in the words of `Bootstrap.style`.
    pub(super) fn style(self) -> &'static str {
        match self {
            System::Al2 => "bootstrap.sh",
            System::Al2023 => "nodeadm",
            System::Bottlerocket => "bottlerocket",
            System::Windows => "windows",
        }
    }

    /// Of a node's `nodeInfo.osImage`.
    fn of_node(image: &str) -> Option<System> {
        if image.starts_with("Amazon Linux 2023") {
            Some(System::Al2023)
        } else if image == "Amazon Linux 2" {
            Some(System::Al2)
        } else if image.starts_with("Bottlerocket") {
            Some(System::Bottlerocket)
        } else {
            image.starts_with("Windows").then_some(System::Windows)
        }
    }

    /// Of a node group's `amiType`, a node class's `amiFamily`.
    pub(super) fn of_family(family: &str) -> Option<System> {
        if family.starts_with("AL2023") {
            Some(System::Al2023)
        } else if family == "AL2" || family.starts_with("AL2_") {
            Some(System::Al2)
        } else if family.to_ascii_uppercase().starts_with("BOTTLEROCKET") {
            Some(System::Bottlerocket)
        } else {
            family.to_ascii_uppercase().starts_with("WINDOWS").then_some(System::Windows)
        }
    }

    /// Of the name of one of Amazon's images for EKS, or of the parameter in which its id stands
    /// (`resolve:ssm:/aws/service/eks/optimized-ami/1.33/amazon-linux-2023/...`).
    pub(super) fn of_name(name: &str) -> Option<System> {
        let old = ["amazon-eks-node-1.", "amazon-eks-gpu-node-1.", "amazon-eks-arm64-node-1."];
        let names = |word: &str| name.contains(word);
        if name.starts_with("amazon-eks-node-al2023-") || names("/aws/service/eks/") && names("/amazon-linux-2023/") {
            Some(System::Al2023)
        } else if old.iter().any(|o| name.starts_with(o)) || names("/aws/service/eks/") && names("/amazon-linux-2/") {
            Some(System::Al2)
        } else {
            let bottlerocket = name.starts_with("bottlerocket-aws-k8s-") || names("/aws/service/bottlerocket/");
            bottlerocket.then_some(System::Bottlerocket)
        }
    }
}

/// Whether user data of this style leaves machines of the system alone: what is written for another one does nothing, or
/// ends with an error (`/etc/eks/bootstrap.sh` of Amazon Linux 2023 only says that it is gone).
pub(super) fn is_foreign(style: &str, text: &str, system: System) -> bool {
    if style == system.style() || !["bootstrap.sh", "nodeadm", "bottlerocket", "windows"].contains(&style) {
        return false;
    }
    let says = |word: &str| text.contains(word);
    match style {
        // A script of one's own has another path, or is put there first.
        "bootstrap.sh" => {
            let put = ["> /etc/eks/bootstrap.sh", ">/etc/eks/bootstrap.sh", "tee /etc/eks/bootstrap.sh"];
            says("/etc/eks/bootstrap.sh") && !says("nodeadm") && !put.iter().any(|p| says(p))
        }
        "nodeadm" => !says("bootstrap.sh"),
        _ => true,
    }
}

impl Cluster {
    /// The operating systems of images, by their ids.
    pub(super) fn image_systems(&self) -> BTreeMap<Str, System> {
        let tables = &self.snapshot.tables;
        let mut systems = BTreeMap::new();
        for class in tables.ec2_node_classes.iter() {
            let named = class.value.status.amis.iter();
            systems.extend(named.filter_map(|a| Some((a.id.clone(), System::of_name(&a.name)?))));
        }
        for worker in self.workers().unwrap_or_default() {
            let Some(instance) = worker.instance.map(|i| tables.instances.at(i.row.index)) else { continue };
            let node = worker.node.map(|n| tables.nodes.at(n.row.index));
            let group = worker.nodegroup.map(|g| tables.nodegroups.at(g.row.index));
            let shown = node.and_then(|n| System::of_node(&n.value.status.nodeInfo.osImage));
            if let Some(system) = shown.or_else(|| group.and_then(|g| System::of_family(&g.value.amiType))) {
                systems.insert(instance.value.ImageId.clone(), system);
            }
        }
        systems
    }

    /// The ids of the images that a node class chooses, as far as they are said.
    fn class_images<'a>(&self, class: &'a EC2NodeClass) -> Vec<&'a Str> {
        let chosen = class.spec.amiSelectorTerms.iter().map(|t| &t.id).filter(|id| !id.is_empty());
        chosen.chain(class.status.amis.iter().map(|a| &a.id)).collect()
    }

    /// The nodes that Karpenter launched from the class, and whether it was as it is now; nothing where the hashes that
    /// Karpenter writes down do not tell. The choice of images is not in them.
    fn class_nodes<'a>(&'a self, class: &'a EC2NodeClass) -> impl Iterator<Item = (&'a Worker, Option<bool>)> {
        let hash = |annotations: &BTreeMap<Str, Str>| annotations.get("karpenter.k8s.aws/ec2nodeclass-hash").cloned();
        let wanted = hash(&class.metadata.annotations);
        self.workers().unwrap_or_default().iter().filter_map(move |worker| {
            let node = self.snapshot.tables.nodes.at(worker.node?.row.index);
            let same = wanted.as_ref().zip(hash(&node.metadata.annotations)).map(|(now, then)| *now == then);
            let label = node.metadata.labels.get("karpenter.k8s.aws/ec2nodeclass");
            (label == Some(&class.metadata.name)).then_some((&**worker, same))
        })
    }

    fn image_of(&self, worker: &Worker) -> Option<&Str> {
        worker.instance.map(|i| &self.snapshot.tables.instances.at(i.row.index).value.ImageId)
    }

    /// Whether a node has joined that was launched from the class as it is now; where no hash tells, from one of its
    /// images.
    pub fn class_has_joined(&self, class: &EC2NodeClass) -> bool {
        let images = self.class_images(class);
        self.class_nodes(class).any(|(worker, same)| {
            let image = || images.is_empty() || self.image_of(worker).is_none_or(|i| images.contains(&i));
            same.unwrap_or_else(image)
        })
    }

    /// Whether machines are missing that Karpenter launches from the class: one runs and has not joined, or a pool names
    /// the class and no node of it is there.
    pub fn class_is_wanting(&self, class: &EC2NodeClass) -> bool {
        let tables = &self.snapshot.tables;
        let name = class.metadata.name.as_str();
        let key = "karpenter.k8s.aws/ec2nodeclass";
        let outside = self.outsiders().unwrap_or_default().iter().any(|w| {
            let instance = w.instance.map(|i| tables.instances.at(i.row.index));
            instance.is_some_and(|i| crate::shape::ec2::tag(&i.value.Tags, key) == Some(name))
        });
        let joined = tables.nodes.iter().any(|n| n.metadata.labels.get(key).is_some_and(|l| l == name));
        let named = tables.node_pools.iter().any(|p| p.spec.template.spec.nodeClassRef.name == name);
        outside || (named && !joined)
    }

    /// What is wrong between the user data of a node class, Karpenter's or its own, and its images; empty when nothing. An
    /// image from which nodes of the class have joined is not in question.
    pub fn class_mismatch(&self, class: &EC2NodeClass) -> String {
        if class.spec.amiSelectorTerms.iter().any(|t| !t.alias.is_empty()) {
            return String::new();
        }
        let own = class.spec.amiFamily == "Custom";
        let (style, text) = match System::of_family(&class.spec.amiFamily) {
            Some(family) => (family.style(), String::new()),
            None if own => (super::bootstrap::style(&class.spec.userData), class.spec.userData.to_string()),
            None => return String::new(),
        };
        let systems = self.image_systems();
        let joined: Vec<&Str> = self
            .class_nodes(class)
            .filter(|(_, same)| *same != Some(false))
            .filter_map(|(w, _)| self.image_of(w))
            .collect();
        let left = self.class_images(class).into_iter().filter(|id| !joined.contains(id));
        let found = left.into_iter().find_map(|id| {
            let system = *systems.get(id)?;
            let foreign = if own { is_foreign(style, &text, system) } else { style != system.style() };
            foreign.then(|| format!("{style} for image {id}, which is {}", system.name()))
        });
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_told_apart() {
        assert_eq!(System::of_node("Amazon Linux 2023.8.20260518"), Some(System::Al2023));
        assert_eq!(System::of_node("Amazon Linux 2"), Some(System::Al2));
        assert_eq!(System::of_node("Ubuntu 24.04.1 LTS"), None);
        assert_eq!(System::of_family("AL2_x86_64"), Some(System::Al2));
        assert_eq!(System::of_family("AL2023_ARM_64_STANDARD"), Some(System::Al2023));
        assert_eq!(System::of_family("CUSTOM"), None);
        assert_eq!(System::of_name("amazon-eks-node-al2023-x86_64-standard-1.33-v20260520"), Some(System::Al2023));
        assert_eq!(System::of_name("amazon-eks-node-1.30-v20240917"), Some(System::Al2));
        assert_eq!(System::of_name("golden-2023"), None);
    }

    #[test]
    fn user_data_for_another_system() {
        let call = "#!/bin/bash\n/etc/eks/bootstrap.sh prod\n";
        assert!(is_foreign("bootstrap.sh", call, System::Al2023));
        assert!(!is_foreign("bootstrap.sh", call, System::Al2));
        assert!(!is_foreign("bootstrap.sh", "/opt/acme/bootstrap.sh prod\n", System::Al2023));
        let put = "aws s3 cp s3://b/x - > /etc/eks/bootstrap.sh\n/etc/eks/bootstrap.sh prod\n";
        assert!(!is_foreign("bootstrap.sh", put, System::Al2023));
        assert!(is_foreign("nodeadm", "kind: NodeConfig\n", System::Al2));
        assert!(!is_foreign("nodeadm", "kind: NodeConfig\n /etc/eks/bootstrap.sh x\n", System::Al2));
        assert!(is_foreign("bottlerocket", "[settings.kubernetes]\n", System::Al2023));
        assert!(!is_foreign("unreadable", "curl x | sh\n", System::Al2023));
    }
}
