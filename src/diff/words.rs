//! How two states of one object differ, in the words of the field: routes, entries, rules, tags, variables.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub what: String,
    /// JSON pointer in the object.
    pub pointer: String,
    /// Whether that is in the old state.
    pub old: bool,
}

/// What changes by itself and means nothing.
const IDLE: [&str; 12] = [
    "resourceVersion",
    "generation",
    "observedGeneration",
    "managedFields",
    "uid",
    "creationTimestamp",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastUpdateTime",
    "lastTransitionTime",
    "ResponseMetadata",
    "pod-template-hash",
];

/// What tells the elements of a list from each other; the first that all are in an element.
const KEYS: [&[&str]; 17] = [
    &["Key"],
    &["RuleNumber", "Egress"],
    &["DestinationCidrBlock"],
    &["DestinationIpv6CidrBlock"],
    &["DestinationPrefixListId"],
    &["IpProtocol", "FromPort", "ToPort"],
    &["IpProtocol"],
    &["CidrIp"],
    &["CidrIpv6"],
    &["PrefixListId"],
    &["GroupId", "UserId"],
    &["GroupId"],
    &["Sid"],
    &["name"],
    &["type"],
    &["key"],
    &["ip"],
];

/// The differences, in the order of the new state.
pub(super) fn differ(old: &Value, new: &Value) -> Vec<Told> {
    let mut told = Vec::new();
    walk(&Way::default(), old, new, &mut told);
    told
}

/// The way to a value: as a label for people, and as pointers.
#[derive(Default, Clone)]
struct Way {
    label: String,
    old: String,
    new: String,
    /// The key of the list in which the value is an element.
    list: String,
}

impl Way {
    fn key(&self, key: &str) -> Way {
        let pointer = key.replace('~', "~0").replace('/', "~1");
        let label = if self.label.is_empty() {
            key.to_owned()
        } else if self.label.ends_with(':') {
            format!("{} {key}", self.label)
        } else {
            format!("{}.{key}", self.label)
        };
        Way {
            label,
            old: format!("{}/{pointer}", self.old),
            new: format!("{}/{pointer}", self.new),
            list: key.to_owned(),
        }
    }

    fn element(&self, label: &str, old: Option<usize>, new: Option<usize>) -> Way {
        let at = |pointer: &str, index: Option<usize>| index.map_or_else(String::new, |i| format!("{pointer}/{i}"));
        Way { label: format!("{label}:"), old: at(&self.old, old), new: at(&self.new, new), list: String::new() }
    }
}

fn walk(way: &Way, old: &Value, new: &Value, told: &mut Vec<Told>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(was), Value::Object(is)) => {
            for (key, value) in is.iter().filter(|(key, _)| !IDLE.contains(&key.as_str())) {
                match was.get(key) {
                    Some(before) => walk(&way.key(key), before, value, told),
                    None => {
                        let way = way.key(key);
                        told.push(Told {
                            what: format!("{} {} added", way.label, short(value)),
                            pointer: way.new,
                            old: false,
                        });
                    }
                }
            }
            for (key, value) in was.iter().filter(|(key, _)| !IDLE.contains(&key.as_str()) && !is.contains_key(*key)) {
                let way = way.key(key);
                told.push(Told {
                    what: format!("{} removed (was {})", way.label, short(value)),
                    pointer: way.old,
                    old: true,
                });
            }
        }
        (Value::Array(was), Value::Array(is)) => lists(way, was, is, told),
        (Value::String(was), Value::String(is)) if was.contains('\n') || is.contains('\n') => {
            lines(way, was, is, told);
        }
        _ => told.push(Told {
            what: format!("{} {} → {}", way.label, short(old), short(new)),
            pointer: way.new.clone(),
            old: false,
        }),
    }
}

fn lists(way: &Way, was: &[Value], is: &[Value], told: &mut Vec<Told>) {
    let (before, now) = (keyed(was), keyed(is));
    for (key, (index, value)) in &now {
        match before.get(key) {
            Some((old, other)) => {
                if other == value {
                    continue;
                }
                let label = label(&way.list, value, &way.label);
                if let Some(what) = became(&way.list, other, value) {
                    told.push(Told { what, pointer: format!("{}/{index}", way.new), old: false });
                } else {
                    walk(&way.element(&label, Some(*old), Some(*index)), other, value, told);
                }
            }
            None => told.push(Told {
                what: format!("{} added", whole(&way.list, value, &way.label)),
                pointer: format!("{}/{index}", way.new),
                old: false,
            }),
        }
    }
    for (index, value) in before.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, there)| there) {
        told.push(Told {
            what: format!("{} removed", whole(&way.list, value, &way.label)),
            pointer: format!("{}/{index}", way.old),
            old: true,
        });
    }
}

/// The elements of a list by what tells them apart.
fn keyed(list: &[Value]) -> BTreeMap<String, (usize, &Value)> {
    let mut all = BTreeMap::new();
    for (index, value) in list.iter().enumerate() {
        let key = match value {
            Value::Object(map) => identity(map),
            other => other.to_string(),
        };
        let mut once = key.clone();
        let mut again = 1;
        while all.contains_key(&once) {
            again += 1;
            once = format!("{key} {again}");
        }
        all.insert(once, (index, value));
    }
    all
}

fn identity(map: &Map<String, Value>) -> String {
    let of = |keys: &[&str]| {
        keys.iter().map(|key| map.get(*key).map(|value| format!("{key}={value}"))).collect::<Option<Vec<_>>>()
    };
    if let Some(parts) = KEYS.iter().find_map(|keys| of(keys)) {
        return parts.join(" ");
    }
    match map.iter().find(|(key, value)| key.ends_with("Id") && value.is_string()) {
        Some((key, value)) => format!("{key}={value}"),
        None => Value::Object(map.clone()).to_string(),
    }
}

fn text<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v str> {
    keys.iter().find_map(|key| value.get(*key)?.as_str())
}

/// What an element of a list is called.
fn label(list: &str, value: &Value, around: &str) -> String {
    let named = |what: &str, keys: &[&str]| text(value, keys).map(|name| format!("{what}{name}"));
    let known = match list {
        "Routes" => Some(route(value)),
        "Tags" | "TagSet" => named("tag ", &["Key"]),
        "Entries" => value.get("RuleNumber").map(|number| {
            let way = if value.get("Egress") == Some(&Value::Bool(true)) { "egress" } else { "ingress" };
            format!("{way} rule {number}")
        }),
        "IpPermissions" => Some(format!("ingress {}", ports(value))),
        "IpPermissionsEgress" => Some(format!("egress {}", ports(value))),
        "env" => named("variable ", &["name"]),
        "containers" | "initContainers" => named("container ", &["name"]),
        "conditions" => named("condition ", &["type"]),
        _ => None,
    };
    let inner = known.or_else(|| {
        let name = text(value, &["name", "GroupId", "CidrIp", "CidrIpv6", "PrefixListId", "Sid", "type"])?;
        Some(format!("{list} {name}"))
    });
    let inner = inner.unwrap_or_else(|| list.to_owned());
    // Where it stands, unless that is the object itself.
    match around.strip_suffix(list).map(|front| front.trim_end_matches(['.', ' '])) {
        Some(front) if front.ends_with(':') => format!("{front} {inner}"),
        _ => inner,
    }
}

/// An element with what it holds.
fn whole(list: &str, value: &Value, around: &str) -> String {
    let label = label(list, value, around);
    match list {
        "Routes" => {
            let state = text(value, &["State"]).filter(|state| *state != "active");
            state.map_or(label.clone(), |state| format!("{label} ({state})"))
        }
        "Tags" | "TagSet" => format!("{label}={}", text(value, &["Value"]).unwrap_or_default()),
        "Entries" => format!("{label} ({})", entry(value)),
        "IpPermissions" | "IpPermissionsEgress" => format!("{label} with {}", sources(value)),
        "env" => format!("{label}={}", text(value, &["value"]).unwrap_or("(from elsewhere)")),
        _ if value.is_object() && label != list => label,
        _ => format!("{} {}", around.trim_end_matches(':'), short(value)),
    }
}

/// A change of an element as a whole that has words of its own.
fn became(list: &str, old: &Value, new: &Value) -> Option<String> {
    match list {
        "Routes" => {
            let target = |route: &Value| text(route, &TARGETS).unwrap_or("nowhere").to_owned();
            let state = |route: &Value| text(route, &["State"]).unwrap_or("active").to_owned();
            if target(old) != target(new) {
                let state = Some(state(new)).filter(|s| s != "active").map_or_else(String::new, |s| format!(" ({s})"));
                return Some(format!("{} → {} became {}{state}", destination(new), target(old), target(new)));
            }
            (state(old) != state(new)).then(|| format!("{} became {}", route(new), state(new)))
        }
        "Tags" | "TagSet" => {
            let of = |tag: &Value| text(tag, &["Value"]).unwrap_or_default().to_owned();
            Some(format!("tag {} {:?} → {:?}", text(new, &["Key"])?, of(old), of(new)))
        }
        "Entries" => Some(format!("{} was {}, is {}", label(list, new, list), entry(old), entry(new))),
        "env" => {
            let of = |variable: &Value| variable.get("value").map_or("(from elsewhere)".to_owned(), short);
            Some(format!("variable {} {} → {}", text(new, &["name"])?, of(old), of(new)))
        }
        "conditions" => {
            let of = |condition: &Value| {
                let reason = text(condition, &["reason"]).map_or_else(String::new, |reason| format!(" ({reason})"));
                format!("{}{reason}", text(condition, &["status"]).unwrap_or_default())
            };
            (of(old) != of(new))
                .then(|| format!("condition {} {} → {}", text(new, &["type"]).unwrap_or_default(), of(old), of(new)))
        }
        _ => None,
    }
}

const TARGETS: [&str; 10] = [
    "NatGatewayId",
    "GatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
];

fn destination(route: &Value) -> &str {
    text(route, &["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"]).unwrap_or("?")
}

fn route(value: &Value) -> String {
    format!("{} → {}", destination(value), text(value, &TARGETS).unwrap_or("nowhere"))
}

/// Protocols by number, as ACL entries spell them.
fn protocol(number: &str) -> &str {
    match number {
        "-1" => "all traffic",
        "1" => "icmp",
        "6" => "tcp",
        "17" => "udp",
        "58" => "icmpv6",
        other => other,
    }
}

fn ports(value: &Value) -> String {
    let name = protocol(text(value, &["IpProtocol"]).unwrap_or("?"));
    match (value.get("FromPort").and_then(Value::as_i64), value.get("ToPort").and_then(Value::as_i64)) {
        (Some(from), Some(to)) if from == to => format!("{name} {from}"),
        (Some(from), Some(to)) => format!("{name} {from}-{to}"),
        _ => name.to_owned(),
    }
}

fn sources(value: &Value) -> String {
    let of = |list: &str, key: &'static str| -> Vec<String> {
        let items = value.get(list).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(|item| Some(text(item, &[key])?.to_owned())).collect()
    };
    let all = [
        of("IpRanges", "CidrIp"),
        of("Ipv6Ranges", "CidrIpv6"),
        of("UserIdGroupPairs", "GroupId"),
        of("PrefixListIds", "PrefixListId"),
    ]
    .concat();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}

fn entry(value: &Value) -> String {
    let ports = value.get("PortRange").map_or_else(String::new, |range| {
        let port = |key| range.get(key).map_or_else(String::new, Value::to_string);
        let (from, to) = (port("From"), port("To"));
        if from == to { format!(" {from}") } else { format!(" {from}-{to}") }
    });
    format!(
        "{} {}{ports} of {}",
        text(value, &["RuleAction"]).unwrap_or("?"),
        protocol(text(value, &["Protocol"]).unwrap_or("?")),
        text(value, &["CidrBlock", "Ipv6CidrBlock"]).unwrap_or("?")
    )
}

/// Text of several lines: those that went and those that came.
fn lines(way: &Way, was: &str, is: &str, told: &mut Vec<Told>) {
    let gone: Vec<&str> = was.lines().filter(|line| !is.lines().any(|other| other == *line)).collect();
    let came: Vec<&str> = is.lines().filter(|line| !was.lines().any(|other| other == *line)).collect();
    let show = |lines: &[&str]| {
        let more = if lines.len() > 3 { format!(" and {} more lines", lines.len() - 3) } else { String::new() };
        lines.iter().take(3).map(|line| format!("`{}`", line.trim())).collect::<Vec<_>>().join(", ") + &more
    };
    let what = match (gone.is_empty(), came.is_empty()) {
        (true, true) => format!("{} has its lines in another order", way.label),
        (false, true) => format!("{} lost {}", way.label, show(&gone)),
        (true, false) => format!("{} got {}", way.label, show(&came)),
        (false, false) => format!("{} lost {} and got {}", way.label, show(&gone), show(&came)),
    };
    told.push(Told { what, pointer: way.new.clone(), old: false });
}

/// A value in few words.
fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "\"\"".to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: Value, new: Value) -> Vec<String> {
        differ(&old, &new)
            .into_iter()
            .map(|t| format!("{} @{}{}", t.what, if t.old { "old" } else { "new" }, t.pointer))
            .collect()
    }

    #[test]
    fn in_the_words_of_the_field() {
        let nat = json!({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "active"});
        let hole = json!({"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1", "State": "blackhole"});
        let igw = json!({"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"});
        let local = json!({"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"});
        let of = |routes: &[&Value]| json!({"RouteTableId": "rtb-1", "Routes": routes});
        assert_eq!(
            told(of(&[&local, &nat]), of(&[&hole, &local])),
            ["0.0.0.0/0 → nat-1 became blackhole @new/Routes/0"]
        );
        assert_eq!(told(of(&[&nat]), of(&[&igw])), ["0.0.0.0/0 → nat-1 became igw-1 @new/Routes/0"]);
        assert_eq!(told(of(&[&local, &nat]), of(&[&local])), ["0.0.0.0/0 → nat-1 removed @old/Routes/1"]);
        assert_eq!(told(of(&[&local]), of(&[&local, &hole])), ["0.0.0.0/0 → nat-1 (blackhole) added @new/Routes/1"]);
        assert_eq!(told(of(&[&local, &nat]), of(&[&nat, &local])), [] as [&str; 0]);
        let tags = |tags: Value| json!({"Tags": tags});
        assert_eq!(
            told(tags(json!([{"Key": "kubernetes.io/role/elb", "Value": "1"}])), tags(json!([]))),
            ["tag kubernetes.io/role/elb=1 removed @old/Tags/0"]
        );
        assert_eq!(
            told(
                tags(json!([{"Key": "a", "Value": "1"}])),
                tags(json!([{"Key": "b", "Value": ""}, {"Key": "a", "Value": "2"}]))
            ),
            ["tag a \"1\" → \"2\" @new/Tags/1", "tag b= added @new/Tags/0"]
        );
        let entry = |action: &str, number: i64| json!({"RuleNumber": number, "Egress": false, "Protocol": "17", "RuleAction": action, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 53, "To": 53}});
        assert_eq!(
            told(json!({"Entries": [entry("allow", 90)]}), json!({"Entries": [entry("deny", 80), entry("deny", 90)]})),
            [
                "ingress rule 80 (deny udp 53 of 0.0.0.0/0) added @new/Entries/0",
                "ingress rule 90 was allow udp 53 of 0.0.0.0/0, is deny udp 53 of 0.0.0.0/0 @new/Entries/1"
            ]
        );
        let group = |groups: &[&str]| {
            let pairs: Vec<Value> = groups.iter().map(|g| json!({"GroupId": g})).collect();
            json!({"IpPermissions": [{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "UserIdGroupPairs": pairs}]})
        };
        assert_eq!(
            told(group(&["sg-1", "sg-2"]), group(&["sg-2"])),
            ["ingress tcp 443: UserIdGroupPairs sg-1 removed @old/IpPermissions/0/UserIdGroupPairs/0"]
        );
        assert_eq!(
            told(group(&["sg-1"]), json!({"IpPermissions": []})),
            ["ingress tcp 443 with sg-1 removed @old/IpPermissions/0"]
        );
        let pod = |value: &str| {
            json!({"spec": {"template": {"spec": {"containers": [{"name": "aws-node", "env": [{"name": "WARM_IP_TARGET", "value": value}]}]}}},
                   "metadata": {"resourceVersion": value}})
        };
        assert_eq!(
            told(pod("2"), pod("5")),
            ["variable WARM_IP_TARGET 2 → 5 @new/spec/template/spec/containers/0/env/0"]
        );
        assert_eq!(
            told(json!({"data": {"mapRoles": "- a\n- b\n"}}), json!({"data": {"mapRoles": "- a\n"}})),
            ["data.mapRoles lost `- b` @new/data/mapRoles"]
        );
        assert_eq!(
            told(json!({"a": {"b": 1}, "c": [1, 2]}), json!({"a": {"b": null}, "c": [2], "d": {}})),
            ["a.b 1 → null @new/a/b", "c 1 removed @old/c/0", "d {} added @new/d"]
        );
    }
}
