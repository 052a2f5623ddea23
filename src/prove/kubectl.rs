//! What a kubectl command does to the recorded objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{World, list, map};
use crate::snapshot::{Source, TABLES, TableInfo};

/// Shapes of which objects may be made and deleted here: nothing else follows from them than what rules see in them.
const ALONE: &[&str] = &[
    "ENIConfig",
    "MutatingWebhookConfiguration",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "SecurityGroupPolicy",
    "ValidatingWebhookConfiguration",
];

/// A kubectl command in its parts.
struct Call<'c> {
    namespace: &'c str,
    words: Vec<&'c str>,
    options: BTreeMap<&'c str, &'c str>,
    /// What a here-string gives.
    input: Option<&'c str>,
}

impl<'c> Call<'c> {
    /// Nothing when an option is not known.
    fn of(words: &[&'c str]) -> Option<Call<'c>> {
        let mut call = Call { namespace: "default", words: Vec::new(), options: BTreeMap::new(), input: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.strip_prefix("--").and_then(|option| option.split_once('=')) {
                Some((name, value)) => (name, Some(value)),
                None => (word.trim_start_matches('-'), None),
            };
            let mut value = || value.or_else(|| words.next().copied());
            match (word.starts_with('-') && *word != "-", name) {
                _ if *word == "<<<" => call.input = Some(value()?),
                (false, _) => call.words.push(word),
                (_, "n" | "namespace") => call.namespace = value()?,
                (_, "overwrite") => drop(call.options.insert("overwrite", "true")),
                (_, "p" | "patch") => drop(call.options.insert("patch", value()?)),
                (_, "f" | "filename") => drop(call.options.insert("filename", value()?)),
                (_, "c" | "containers") => drop(call.options.insert("containers", value()?)),
                (_, "type" | "replicas") => drop(call.options.insert(name, value()?)),
                _ => return None,
            }
        }
        Some(call)
    }

    /// The table of a kind as kubectl takes it, and the id of an object of it.
    fn object(&self, kind: &str, name: &str) -> Option<(&'static TableInfo, String)> {
        let kind = match kind {
            "ds" => "daemonset",
            "deploy" => "deployment",
            "svc" => "service",
            "ing" => "ingress",
            "cm" => "configmap",
            other => other,
        };
        let table = TABLES.iter().find(|table| match table.source {
            Source::Kind(of, group, plural) => {
                let (kind, of_group) = kind.split_once('.').unwrap_or((kind, group));
                (kind.eq_ignore_ascii_case(of) || kind == plural) && of_group == group
            }
            _ => false,
        })?;
        Some((table, self.id(table, name)))
    }

    fn id(&self, table: &TableInfo, name: &str) -> String {
        let global = [
            "CNINode",
            "ClusterRole",
            "EC2NodeClass",
            "ENIConfig",
            "IngressClass",
            "IngressClassParams",
            "MutatingWebhookConfiguration",
            "Namespace",
            "Node",
            "NodeClass",
            "NodePool",
            "ValidatingWebhookConfiguration",
        ];
        if global.contains(&table.shape) { name.to_owned() } else { format!("{}/{name}", self.namespace) }
    }
}

impl World<'_> {
    /// Nothing when the command is not known, or the API server would refuse it.
    pub(super) fn kubectl(&mut self, words: &[&str]) -> Option<()> {
        if let ["get" | "describe" | "logs", ..] | ["-n" | "--namespace", _, "get" | "describe" | "logs", ..] = words {
            return Some(());
        }
        let call = Call::of(words)?;
        match call.words.as_slice() {
            // What starts anew is not recorded.
            ["rollout", "restart", ..] => Some(()),
            ["set", "env", kind, name, variables @ ..] => self.set_env(&call, kind, name, variables),
            [verb @ ("annotate" | "label"), kind, name, pairs @ ..] => {
                let (table, id) = call.object(kind, name)?;
                let key = if *verb == "annotate" { "annotations" } else { "labels" };
                let map = map(self.find(table.shape, &id)?.get_mut("metadata")?, key)?;
                for pair in pairs {
                    match pair.split_once('=') {
                        Some((key, value)) => {
                            let other = map.get(key).is_some_and(|there| there != value);
                            if other && !call.options.contains_key("overwrite") {
                                return None;
                            }
                            map.insert(key.to_owned(), Value::from(value));
                        }
                        None => drop(map.remove(pair.strip_suffix('-')?)),
                    }
                }
                Some(())
            }
            ["scale", kind, name] => {
                let (table, id) = call.object(kind, name)?;
                let replicas: i64 = call.options.get("replicas")?.parse().ok()?;
                self.find(table.shape, &id)?["spec"]["replicas"] = Value::from(replicas);
                Some(())
            }
            ["patch", kind, name] => {
                let (table, id) = call.object(kind, name)?;
                let patch: Value = serde_json::from_str(call.options.get("patch")?).ok()?;
                let object = self.find(table.shape, &id)?;
                match call.options.get("type").copied().unwrap_or("strategic") {
                    "json" => patch.as_array()?.iter().try_for_each(|step| json_patch(object, step)),
                    "strategic" => strategic(object, &patch),
                    "merge" => {
                        merge(object, &patch);
                        Some(())
                    }
                    _ => None,
                }
            }
            ["delete", kind, name] => {
                let (table, id) = call.object(kind, name)?;
                match (ALONE.contains(&table.shape), self.rows(table.shape, &id).as_slice()) {
                    (true, [row]) => self.remove(*row),
                    _ => None,
                }
            }
            ["apply"] if call.options.get("filename") == Some(&"-") => {
                let object = serde_json::from_str(call.input?).ok()?;
                self.apply(&call, object)
            }
            _ => None,
        }
    }

    fn set_env(&mut self, call: &Call<'_>, kind: &str, name: &str, variables: &[&str]) -> Option<()> {
        let (table, id) = call.object(kind, name)?;
        let containers = self.find(table.shape, &id)?.pointer_mut("/spec/template/spec/containers")?;
        let wanted = call.options.get("containers").copied();
        for container in containers.as_array_mut()? {
            if wanted.is_some_and(|wanted| container["name"] != wanted) {
                continue;
            }
            let env = list(container, "env")?;
            for variable in variables {
                match variable.split_once('=') {
                    Some((name, value)) => {
                        let new = json!({"name": name, "value": value});
                        match env.iter_mut().find(|e| e["name"] == name) {
                            Some(there) => *there = new,
                            None => env.push(new),
                        }
                    }
                    None => {
                        let name = variable.strip_suffix('-')?;
                        env.retain(|e| e["name"] != name);
                    }
                }
            }
        }
        Some(())
    }

    /// Makes an object, or merges it into the one that is there.
    fn apply(&mut self, call: &Call<'_>, mut object: Value) -> Option<()> {
        let kind = object["kind"].as_str()?.to_owned();
        let group = object["apiVersion"].as_str()?.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
        let table = TABLES.iter().find(|table| match table.source {
            Source::Kind(of, of_group, _) => of == kind && of_group == group,
            _ => false,
        })?;
        self.was_read(table.shape)?;
        let name = object["metadata"]["name"].as_str()?.to_owned();
        let id = call.id(table, &name);
        match self.rows(table.shape, &id).as_slice() {
            [] if ALONE.contains(&table.shape) => {
                if id.contains('/') {
                    let of = map(&mut object, "metadata")?.entry("namespace").or_insert(json!(call.namespace)).clone();
                    if of != call.namespace {
                        return None;
                    }
                }
                // What an earlier command of the fix made is not among the rows.
                let path = format!("k8s/added/{}-{}.json", kind.to_lowercase(), id.replace('/', "-"));
                let items = json!({"apiVersion": "v1", "kind": "List", "items": [object]});
                self.added.insert(path, items).is_none().then_some(())
            }
            [row] => {
                merge(self.object(*row)?, &object);
                Some(())
            }
            _ => None,
        }
    }
}

/// A step of a JSON patch (RFC 6902).
fn json_patch(object: &mut Value, step: &Value) -> Option<()> {
    let (parent, key) = step["path"].as_str()?.rsplit_once('/')?;
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = object.pointer_mut(parent)?;
    match (step["op"].as_str()?, parent) {
        ("add", Value::Array(list)) if key == "-" => list.push(step["value"].clone()),
        ("add", Value::Object(map)) => drop(map.insert(key, step["value"].clone())),
        ("replace", Value::Object(map)) => *map.get_mut(&key)? = step["value"].clone(),
        ("replace", Value::Array(list)) => *list.get_mut(key.parse::<usize>().ok()?)? = step["value"].clone(),
        ("remove", Value::Object(map)) => drop(map.remove(&key)?),
        ("remove", Value::Array(list)) => {
            let at = key.parse::<usize>().ok().filter(|&at| at < list.len())?;
            list.remove(at);
        }
        _ => return None,
    }
    Some(())
}

/// A strategic merge patch, as far as the lists in it go by name; how others are joined is a matter of each list.
fn strategic(object: &mut Value, patch: &Value) -> Option<()> {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return Some(());
    };
    if !object.is_object() {
        *object = json!({});
    }
    let map = object.as_object_mut()?;
    for (key, change) in changes {
        match change {
            _ if key.starts_with('$') => return None,
            Value::Null => drop(map.remove(key)),
            Value::Array(elements) if matches!(key.as_str(), "containers" | "initContainers" | "env") => {
                let there = map.entry(key.clone()).or_insert_with(|| json!([])).as_array_mut()?;
                for element in elements {
                    let name = element.get("name")?;
                    match there.iter_mut().find(|other| other.get("name") == Some(name)) {
                        Some(other) => strategic(other, element)?,
                        None => there.push(element.clone()),
                    }
                }
            }
            Value::Array(_) => return None,
            change => strategic(map.entry(key.clone()).or_insert(Value::Null), change)?,
        }
    }
    Some(())
}

/// A merge patch (RFC 7396).
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(map) = object else { return };
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_removes_what_is_null() {
        let mut object = json!({"a": {"b": 1, "c": [1]}, "d": 1});
        merge(&mut object, &json!({"a": {"b": null, "c": [2]}, "e": {"f": null}}));
        assert_eq!(object, json!({"a": {"c": [2]}, "d": 1, "e": {}}));
    }

    #[test]
    fn a_strategic_patch_goes_by_name() {
        let mut object = json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}], "args": ["x"]});
        assert_eq!(strategic(&mut object, &json!({"env": [{"name": "B", "value": "2"}, {"name": "C"}]})), Some(()));
        assert_eq!(object["env"], json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C"}]));
        assert_eq!(strategic(&mut object, &json!({"args": ["y"]})), None);
    }

    #[test]
    fn a_json_patch_that_does_not_fit_is_refused() {
        let object = json!({"a": [1, 2], "b": {}});
        let after = |step: Value| {
            let mut object = object.clone();
            json_patch(&mut object, &step).map(|()| object)
        };
        assert_eq!(after(json!({"op": "add", "path": "/a/-", "value": 3})), Some(json!({"a": [1, 2, 3], "b": {}})));
        assert_eq!(after(json!({"op": "remove", "path": "/a/0"})), Some(json!({"a": [2], "b": {}})));
        for none in [
            json!({"op": "remove", "path": "/a/2"}),
            json!({"op": "remove", "path": "/b/c"}),
            json!({"op": "replace", "path": "/b/c", "value": 1}),
            json!({"op": "add", "path": "/c/-", "value": 1}),
        ] {
            assert_eq!(after(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn options_of_kubectl() {
        let call = Call::of(&["-n", "web", "apply", "--filename", "-", "<<<", "{}"]).unwrap();
        assert_eq!((call.namespace, call.words.as_slice(), call.input), ("web", ["apply"].as_slice(), Some("{}")));
        assert!(Call::of(&["patch", "node", "x", "--force"]).is_none());
    }
}
