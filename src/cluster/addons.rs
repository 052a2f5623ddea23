//! EKS add-ons: what their configuration holds, and the commands that change it.

use super::Cluster;
use super::cni::Cni;
use crate::shape::Str;
use crate::shape::eks::Addon;
use crate::snapshot::{Known, Rec};

/// Settings that the add-on's configuration does not take: EKS knows them itself (`eks:DescribeAddonConfiguration`).
const OF_EKS: [&str; 5] = ["CLUSTER_NAME", "ENABLE_IPv4", "ENABLE_IPv6", "VPC_CNI_VERSION", "VPC_ID"];

/// What the add-on sets when nobody says otherwise; in an IPv6 cluster pods' addresses come from prefixes.
pub(crate) fn default_of(name: &str, ipv6: bool) -> &'static str {
    match name {
        "ENABLE_PREFIX_DELEGATION" if ipv6 => "true",
        "WARM_ENI_TARGET" | "WARM_PREFIX_TARGET" => "1",
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG"
        | "AWS_VPC_K8S_CNI_EXTERNALSNAT"
        | "ENABLE_BANDWIDTH_PLUGIN"
        | "ENABLE_POD_ENI"
        | "ENABLE_PREFIX_DELEGATION" => "false",
        "ENABLE_SUBNET_DISCOVERY" => "true",
        "AWS_VPC_ENI_MTU" => "9001",
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT" => "prng",
        "NETWORK_POLICY_ENFORCING_MODE" => "standard",
        "POD_SECURITY_GROUP_ENFORCING_MODE" => "strict",
        _ => "",
    }
}

/// The configuration of an add-on, which takes YAML as well as JSON (every JSON text is YAML); empty when none is set.
pub(crate) fn addon_values(addon: &Addon) -> Option<serde_json::Map<String, serde_json::Value>> {
    let text = addon.configurationValues.trim();
    if text.is_empty() { Some(serde_json::Map::new()) } else { serde_saphyr::from_str(text).ok() }
}

/// A setting in the configuration of the add-on.
pub(crate) fn held<'v>(values: &'v serde_json::Map<String, serde_json::Value>, name: &str) -> Option<&'v str> {
    values.get("env")?.get(name)?.as_str()
}

impl Cluster {
    /// The add-on of this name.
    pub fn addon(&self, name: &str) -> Option<Rec<'_, Addon>> {
        let cluster = self.name();
        let ours = |a: &Addon| cluster.is_empty() || a.clusterName.is_empty() || a.clusterName == cluster;
        self.snapshot.tables.addons.iter().find(|a| a.addonName == name && ours(a.value))
    }

    /// Whether EKS manages an add-on of this name, as far as it was listed.
    pub fn has_addon(&self, name: &str) -> bool {
        self.addon(name).is_some()
            || self.snapshot.tables.addon_names.iter().any(|l| l.addons.iter().any(|a| a == name))
    }

    /// The VPC CNI as an EKS add-on; `None` when the add-ons were listed and it is not one.
    pub fn cni_addon(&self) -> Known<Option<Rec<'_, Addon>>> {
        match self.addon("vpc-cni") {
            Some(addon) => Ok(Some(addon)),
            None if self.has_addon("vpc-cni") => Err(self.snapshot.missing("eks:DescribeAddon", Some("vpc-cni"))),
            None if self.snapshot.has("eks:ListAddons") => Ok(None),
            None => Err(self.snapshot.missing("eks:ListAddons", None)),
        }
    }

    /// The command that changes settings of aws-node, `NAME=value` or `NAME-` with spaces between: by the add-on, which
    /// would take back what stands beside its configuration; by kubectl where there is no add-on, or where the setting
    /// was made by kubectl, whose value an update of the add-on keeps.
    pub fn set_cni(&self, settings: &str) -> Str {
        let changes: Vec<(&str, Option<&str>)> = settings
            .split_whitespace()
            .map(|setting| match setting.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (setting.trim_end_matches('-'), None),
            })
            .collect();
        let of_addon = || {
            let (addon, cni) = (self.cni_addon().ok()??, self.cni().ok()??);
            let values = addon_values(addon.value)?;
            let ours = changes.iter().all(|(name, value)| {
                let held = held(&values, name);
                let set = cni.setting(name).unwrap_or_default();
                !OF_EKS.contains(name)
                    && (value.is_some() || held.is_some())
                    && (set.is_empty() || set.eq_ignore_ascii_case(held.unwrap_or(default_of(name, self.is_ipv6()))))
            });
            if ours { self.update_cni_addon(&changes) } else { None }
        };
        of_addon().unwrap_or_else(|| {
            format!("kubectl set env daemonset aws-node -n kube-system --containers aws-node {settings}").into()
        })
    }

    /// The command that writes the settings of [`Self::settings_beside_addon`] into the add-on's configuration.
    pub fn adopt_settings(&self, cni: &Cni<'_>) -> Known<Str> {
        let beside = self.settings_beside_addon(cni)?;
        let changes: Vec<_> =
            beside.iter().filter_map(|s| s.split_once('=')).map(|(name, value)| (name, Some(value))).collect();
        Ok(self.update_cni_addon(&changes).unwrap_or_default())
    }

    /// An update of the add-on vpc-cni with these settings of aws-node, or without them.
    fn update_cni_addon(&self, changes: &[(&str, Option<&str>)]) -> Option<Str> {
        let mut values = addon_values(self.cni_addon().ok()??.value)?;
        let env = values.entry("env").or_insert_with(|| serde_json::json!({})).as_object_mut()?;
        for (name, value) in changes {
            match value {
                Some(value) => drop(env.insert((*name).to_owned(), (*value).into())),
                None => drop(env.remove(*name)),
            }
        }
        Some(self.update_addon("vpc-cni", values, "PRESERVE"))
    }

    /// The command that gives an add-on these values beside those that it has; a JSON object.
    pub fn configure_addon(&self, name: &str, changes: &str, conflicts: &str) -> Str {
        let mut values = self.addon(name).and_then(|a| addon_values(a.value)).unwrap_or_default();
        let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes).unwrap_or_default();
        values.extend(changes);
        self.update_addon(name, values, conflicts)
    }

    /// `update-addon` takes the whole configuration.
    fn update_addon(&self, name: &str, values: serde_json::Map<String, serde_json::Value>, conflicts: &str) -> Str {
        let values = serde_json::Value::from(values).to_string().replace('\'', "'\\''");
        format!(
            "aws eks update-addon --region {} --cluster-name {} --addon-name {name} --resolve-conflicts {conflicts} \
             --configuration-values '{values}'",
            self.region_name(),
            self.name(),
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::snapshot::Snapshot;

    /// A cluster whose aws-node has `env`, with an add-on of this configuration or none.
    fn cluster(env: serde_json::Value, addon: Option<&str>) -> Cluster {
        let daemon_sets = json!({"kind": "DaemonSetList", "apiVersion": "apps/v1", "items": [{
            "metadata": {"name": "aws-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "image": "x:v1.20.4", "env": env}]}}},
        }]});
        let names: &[&str] = if addon.is_some() { &["vpc-cni"] } else { &[] };
        let mut documents = vec![
            ("manifest.json".to_owned(), json!({"format": 1, "cluster": "shop", "region": "eu-west-1"})),
            ("aws/eks/list-addons.json".to_owned(), json!({"addons": names})),
            ("k8s/daemonsets.apps.json".to_owned(), daemon_sets),
        ];
        if let Some(values) = addon {
            let addon = json!({"addonName": "vpc-cni", "clusterName": "shop", "configurationValues": values});
            documents.push(("aws/eks/describe-addon/vpc-cni.json".to_owned(), json!({"addon": addon})));
        }
        let texts = documents.into_iter().map(|(path, value)| (path, value.to_string()));
        Cluster::choose(Arc::new(Snapshot::from_documents(texts.collect())), None).unwrap()
    }

    const ADDON: &str = "aws eks update-addon --region eu-west-1 --cluster-name shop --addon-name vpc-cni \
                         --resolve-conflicts PRESERVE --configuration-values ";
    const KUBECTL: &str = "kubectl set env daemonset aws-node -n kube-system --containers aws-node ";

    #[test]
    fn settings_of_aws_node_are_changed_where_they_are_held() {
        let shipped = json!([{"name": "WARM_PREFIX_TARGET", "value": "1"}]);
        let own = json!([{"name": "WARM_PREFIX_TARGET", "value": "4"}, {"name": "MAX_ENI", "value": "2"}]);
        let both = "WARM_PREFIX_TARGET=2 WARM_IP_TARGET=5";
        let in_yaml = "tolerations:\n- operator: Exists\nenv:\n  WARM_PREFIX_TARGET: '4'\n  MAX_ENI: '2'\n";
        for (env, addon, settings, wanted) in [
            (&shipped, None, both, KUBECTL.to_owned() + both),
            (
                &shipped,
                Some(""),
                both,
                ADDON.to_owned() + r#"'{"env":{"WARM_IP_TARGET":"5","WARM_PREFIX_TARGET":"2"}}'"#,
            ),
            // An update of the add-on would keep what kubectl set.
            (&own, Some(""), both, KUBECTL.to_owned() + both),
            (
                &own,
                Some(in_yaml),
                "MAX_ENI- WARM_PREFIX_TARGET=1",
                ADDON.to_owned() + r#"'{"env":{"WARM_PREFIX_TARGET":"1"},"tolerations":[{"operator":"Exists"}]}'"#,
            ),
            (&own, Some("{}"), "MAX_ENI-", KUBECTL.to_owned() + "MAX_ENI-"),
            (&shipped, Some("{}"), "ENABLE_IPv6=true", KUBECTL.to_owned() + "ENABLE_IPv6=true"),
            (&shipped, Some("not: [yaml"), both, KUBECTL.to_owned() + both),
        ] {
            assert_eq!(cluster(env.clone(), addon).set_cni(settings), wanted, "{addon:?} {settings}");
        }
    }

    #[test]
    fn a_configuration_keeps_what_it_has() {
        let cluster = cluster(json!([]), Some(r#"{"a":"it's","mode":"x"}"#));
        assert_eq!(
            cluster.configure_addon("vpc-cni", r#"{"mode":"y"}"#, "PRESERVE"),
            ADDON.to_owned() + r#"'{"a":"it'\''s","mode":"y"}'"#
        );
    }
}
