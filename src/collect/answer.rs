//! AWS's answers as the AWS CLI prints them: the same names, the same types, whatever the protocol.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_smithy_xml::decode::{Document, ScopedDecoder, try_data};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Which answers there are and what they hold, see model.py.
const MODEL: &str = include_str!("model.txt");

/// What a value of an answer is.
#[derive(Debug, PartialEq)]
enum Kind {
    String,
    Integer,
    Float,
    Boolean,
    Timestamp,
    /// A policy document, percent-encoded; the CLI prints it decoded.
    Policy,
    List(Box<Kind>),
    Map(Box<Kind>),
    Structure(&'static str),
}

impl Kind {
    fn parse(text: &'static str) -> Kind {
        let inner = |from, to| text.strip_prefix(from).and_then(|t| t.strip_suffix(to)).map(Kind::parse).map(Box::new);
        if let Some(item) = inner('[', ']') {
            return Kind::List(item);
        }
        if let Some(value) = inner('{', '}') {
            return Kind::Map(value);
        }
        match text {
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "float" => Kind::Float,
            "boolean" => Kind::Boolean,
            "timestamp" => Kind::Timestamp,
            "policy" => Kind::Policy,
            structure => Kind::Structure(structure),
        }
    }
}

#[derive(Debug)]
struct Member {
    name: &'static str,
    /// The name in the protocol.
    wire: Cow<'static, str>,
    kind: Kind,
}

/// The part of the model that is about one service.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub version: &'static str,
    operations: HashMap<&'static str, &'static str>,
    structures: HashMap<&'static str, Vec<Member>>,
}

/// The model of a service, by the name that the CLI gives it.
pub(super) fn model(service: &str) -> &'static Model {
    static MODELS: OnceLock<HashMap<&str, Model>> = OnceLock::new();
    static NONE: OnceLock<Model> = OnceLock::new();
    let models = MODELS.get_or_init(|| {
        let mut models = HashMap::new();
        let (mut service, mut model) = ("", Model::default());
        for line in MODEL.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("service"), Some(name)) => {
                    models.insert(std::mem::replace(&mut service, name), std::mem::take(&mut model));
                    model.version = words.next().unwrap_or_default();
                }
                (Some("operation"), Some(name)) => {
                    model.operations.insert(name, words.next().unwrap_or_default());
                }
                (Some("structure"), Some(name)) => {
                    model.structures.insert(name, words.map(|word| member(word, service == "ec2")).collect());
                }
                _ => {}
            }
        }
        models.insert(service, model);
        models
    });
    models.get(service).unwrap_or_else(|| NONE.get_or_init(Model::default))
}

/// `NAME=WIRE:TYPE`, see model.py.
fn member(word: &'static str, lower: bool) -> Member {
    let (names, kind) = word.split_once(':').unwrap_or((word, "string"));
    let (name, wire) = match names.split_once('=') {
        Some((name, wire)) => (name, Cow::Borrowed(wire)),
        None if lower => (names, Cow::Owned(names[..1].to_lowercase() + &names[1..])),
        None => (names, Cow::Borrowed(names)),
    };
    Member { name, wire, kind: Kind::parse(kind) }
}

/// An answer that is not what the model says.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not what {operation} answers: {reason}")]
pub(super) struct Garbled {
    operation: String,
    reason: String,
}

/// One value of the top level of an answer.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    One(String),
    /// The elements, each JSON.
    List(Vec<String>),
}

/// The answer to an operation: its top-level keys, and JSON below them. Pages add up.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    parts: Vec<(String, Part)>,
}

/// What is about the pages and not about the objects; the CLI does not print it either.
const PAGING: [&str; 5] = ["IsTruncated", "Marker", "NextMarker", "NextToken", "nextToken"];

impl Answer {
    /// The answer of a service that writes XML.
    pub fn from_xml(service: &str, operation: &str, body: &[u8]) -> Result<Answer, Garbled> {
        let garbled = |reason: String| Garbled { operation: operation.to_owned(), reason };
        let text = std::str::from_utf8(body).map_err(|e| garbled(e.to_string()))?;
        well_formed(text).map_err(garbled)?;
        let model = model(service);
        let structure = model.operations.get(operation).ok_or_else(|| garbled("it is not in model.txt".to_owned()))?;
        let mut document = Document::new(text);
        let mut root = document.root_element().map_err(|e| garbled(e.to_string()))?;
        if root.start_el().local() != format!("{operation}Response") {
            return Err(garbled(format!("it is a {}", root.start_el().local())));
        }
        if service == "ec2" {
            return model.top(structure, &mut root).map_err(garbled);
        }
        while let Some(mut tag) = root.next_tag() {
            if tag.start_el().local() == format!("{operation}Result") {
                return model.top(structure, &mut tag).map_err(garbled);
            }
        }
        Err(garbled(format!("it has no {operation}Result")))
    }

    /// The answer of a service that writes JSON.
    pub fn from_json(service: &str, operation: &str, body: &[u8]) -> Result<Answer, Garbled> {
        let garbled = |reason: String| Garbled { operation: operation.to_owned(), reason };
        let value: Value = serde_json::from_slice(body).map_err(|e| garbled(e.to_string()))?;
        let Value::Object(members) = value else { return Err(garbled("it is no JSON object".to_owned())) };
        let model = model(service);
        let structure = model.operations.get(operation).ok_or_else(|| garbled("it is not in model.txt".to_owned()))?;
        let mut parts = Vec::new();
        for (key, mut value) in members {
            if value.is_null() {
                continue;
            }
            if let Some(member) = model.structures.get(structure).and_then(|s| s.iter().find(|m| *m.wire == key)) {
                model.settle(&member.kind, &mut value);
            }
            let part = match value {
                Value::Array(items) => Part::List(items.iter().map(Value::to_string).collect()),
                other => Part::One(other.to_string()),
            };
            parts.push((key, part));
        }
        Ok(Answer { parts })
    }

    /// What asks for the next page.
    pub fn next_page(&self) -> Option<String> {
        let token = PAGING.iter().find_map(|key| self.one::<String>(key))?;
        Some(token).filter(|token| !token.is_empty())
    }

    /// Adds the elements of another page.
    pub fn extend(&mut self, page: Answer) {
        for (key, part) in page.parts {
            match (self.parts.iter_mut().find(|(k, _)| *k == key), part) {
                (Some((_, Part::List(items))), Part::List(more)) => items.extend(more),
                (Some((_, old)), new) => *old = new,
                (None, new) => self.parts.push((key, new)),
            }
        }
    }

    /// The elements under `key` that can be read as `T`.
    pub fn list<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Vec<T> {
        let Some((_, Part::List(items))) = self.parts.iter().find(|(k, _)| k == key) else { return Vec::new() };
        items.iter().filter_map(|item| serde_json::from_str(item).ok()).collect()
    }

    /// The object under `key`.
    pub fn one<'a, T: Deserialize<'a>>(&'a self, key: &str) -> Option<T> {
        let Some((_, Part::One(text))) = self.parts.iter().find(|(k, _)| k == key) else { return None };
        serde_json::from_str(text).ok()
    }

    /// Leaves out the elements under `key` that are not `wanted`.
    pub fn retain<T: serde::de::DeserializeOwned>(&mut self, key: &str, wanted: impl Fn(&T) -> bool) {
        if let Some((_, Part::List(items))) = self.parts.iter_mut().find(|(k, _)| k == key) {
            items.retain(|item| serde_json::from_str(item).is_ok_and(|value| wanted(&value)));
        }
    }

    /// The whole answer as JSON, without what is about pages. Lists are sorted by the elements' `id`.
    pub fn into_json(self, id: Option<&str>) -> String {
        let mut out = String::from("{");
        for (key, part) in self.parts {
            if PAGING.contains(&key.as_str()) {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            let _ = write!(out, "{}:", Value::String(key));
            match part {
                Part::One(text) => out.push_str(&text),
                Part::List(mut items) => {
                    items.sort();
                    if let Some(id) = id {
                        items.sort_by_cached_key(|item| id_of(item, id));
                    }
                    items.dedup();
                    out.push('[');
                    for (i, item) in items.iter().enumerate() {
                        if i > 0 {
                            out.push(',');
                        }
                        out.push_str(item);
                    }
                    out.push(']');
                }
            }
        }
        out.push('}');
        out
    }
}

/// The value of a key of an object, as it is sorted.
fn id_of(item: &str, id: &str) -> String {
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(item).unwrap_or_default();
    members.get(id).map_or_else(|| item.to_owned(), |value| value.get().to_owned())
}

/// Whether all of the text is XML; a decoder takes an end that comes too early for the end.
fn well_formed(text: &str) -> Result<(), String> {
    let mut depth = 0;
    for token in Document::new(text) {
        depth = token.map_err(|e| e.to_string())?.1;
    }
    if depth == 0 && text.trim_end().ends_with('>') { Ok(()) } else { Err("it was cut".to_owned()) }
}

impl Model {
    fn top(&self, structure: &str, tag: &mut ScopedDecoder<'_, '_>) -> Result<Answer, String> {
        let members = self.structures.get(structure).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<(usize, Part)> = Vec::new();
        while let Some(mut child) = tag.next_tag() {
            let Some(at) = members.iter().position(|m| m.wire == child.start_el().local()) else { continue };
            let part = if let Kind::List(kind) = &members[at].kind {
                let mut items = Vec::new();
                while let Some(mut element) = child.next_tag() {
                    let mut item = String::new();
                    self.value(kind, &mut element, &mut item)?;
                    items.push(item);
                }
                Part::List(items)
            } else {
                let mut text = String::new();
                self.value(&members[at].kind, &mut child, &mut text)?;
                Part::One(text)
            };
            found.push((at, part));
        }
        found.sort_by_key(|(at, _)| *at);
        Ok(Answer { parts: found.into_iter().map(|(at, part)| (members[at].name.to_owned(), part)).collect() })
    }

    /// Writes an element as JSON, members in the model's order.
    fn value(&self, kind: &Kind, tag: &mut ScopedDecoder<'_, '_>, out: &mut String) -> Result<(), String> {
        match kind {
            Kind::Structure(name) => {
                let members = self.structures.get(name).map_or(&[][..], Vec::as_slice);
                let mut found: Vec<(usize, String)> = Vec::new();
                while let Some(mut child) = tag.next_tag() {
                    let Some(at) = members.iter().position(|m| m.wire == child.start_el().local()) else { continue };
                    let mut text = String::new();
                    self.value(&members[at].kind, &mut child, &mut text)?;
                    found.push((at, text));
                }
                found.sort_by_key(|(at, _)| *at);
                found.dedup_by_key(|(at, _)| *at);
                out.push('{');
                for (i, (at, text)) in found.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    let _ = write!(out, "{comma}\"{}\":{text}", members[*at].name);
                }
                out.push('}');
            }
            Kind::List(kind) => {
                out.push('[');
                let mut first = true;
                while let Some(mut element) = tag.next_tag() {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    self.value(kind, &mut element, out)?;
                }
                out.push(']');
            }
            Kind::Map(_) => return Err("a map in XML".to_owned()),
            scalar => {
                let name = tag.start_el().local().to_owned();
                let text = try_data(tag).map_err(|e| e.to_string())?;
                write_scalar(scalar, &text, out).map_err(|()| format!("{name} is `{text}`"))?;
            }
        }
        Ok(())
    }

    /// Makes of a JSON value what the CLI prints: times are written out.
    fn settle(&self, kind: &Kind, value: &mut Value) {
        match (kind, value) {
            (Kind::Timestamp, value @ Value::Number(_)) => {
                if let Some(seconds) = value.as_f64() {
                    *value = Value::String(time(&DateTime::from_secs_f64(seconds)));
                }
            }
            (Kind::List(kind), Value::Array(items)) => items.iter_mut().for_each(|item| self.settle(kind, item)),
            (Kind::Map(kind), Value::Object(map)) => map.values_mut().for_each(|item| self.settle(kind, item)),
            (Kind::Structure(name), Value::Object(map)) => {
                // The CLI leaves out what is null.
                map.retain(|_, value| !value.is_null());
                for member in self.structures.get(name).into_iter().flatten() {
                    if let Some(value) = map.get_mut(&*member.wire) {
                        self.settle(&member.kind, value);
                    }
                }
            }
            _ => {}
        }
    }
}

fn write_scalar(kind: &Kind, text: &str, out: &mut String) -> Result<(), ()> {
    let string = |text: &str, out: &mut String| {
        let _ = write!(out, "{}", Value::String(text.to_owned()));
    };
    match kind {
        Kind::Integer => {
            let number: i64 = text.trim().parse().map_err(|_| ())?;
            let _ = write!(out, "{number}");
        }
        Kind::Float => {
            let number: f64 = text.trim().parse().map_err(|_| ())?;
            let _ = write!(out, "{}", Value::from(number));
        }
        Kind::Boolean => match text.trim() {
            "true" | "True" => out.push_str("true"),
            "false" | "False" => out.push_str("false"),
            _ => return Err(()),
        },
        Kind::Timestamp => match DateTime::from_str(text.trim(), Format::DateTimeWithOffset) {
            Ok(at) => string(&time(&at), out),
            Err(_) => string(text, out),
        },
        Kind::Policy => {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
            match serde_json::from_str::<&RawValue>(&decoded) {
                Ok(document) => out.push_str(document.get()),
                Err(_) => string(&decoded, out),
            }
        }
        _ => string(text, out),
    }
    Ok(())
}

/// `2024-05-01T12:00:00+00:00`, as the CLI writes times.
fn time(at: &DateTime) -> String {
    let micros = at.subsec_nanos() / 1000;
    let whole = DateTime::from_secs(at.secs()).fmt(Format::DateTime).unwrap_or_default();
    let whole = whole.trim_end_matches('Z');
    if micros == 0 { format!("{whole}+00:00") } else { format!("{whole}.{micros:06}+00:00") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(answer: Answer, id: Option<&str>) -> Value {
        serde_json::from_str(&answer.into_json(id)).unwrap()
    }

    #[test]
    fn ec2_reads_as_the_cli_prints_it() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeSubnetsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r</requestId>
  <subnetSet>
    <item><subnetId>subnet-2</subnetId><availableIpAddressCount>251</availableIpAddressCount><mapPublicIpOnLaunch>false</mapPublicIpOnLaunch>
      <tagSet><item><key>a &amp; b</key><value/></item></tagSet><unheardOf><x>1</x></unheardOf></item>
    <item><subnetId>subnet-1</subnetId><tagSet/></item>
  </subnetSet>
  <nextToken>more</nextToken>
</DescribeSubnetsResponse>"#;
        let answer = Answer::from_xml("ec2", "DescribeSubnets", body).unwrap();
        assert_eq!(answer.next_page().as_deref(), Some("more"));
        let expected = serde_json::json!({"Subnets": [
            {"SubnetId": "subnet-1", "Tags": []},
            {"SubnetId": "subnet-2", "AvailableIpAddressCount": 251, "MapPublicIpOnLaunch": false,
             "Tags": [{"Key": "a & b", "Value": ""}]},
        ]});
        assert_eq!(json(answer, Some("SubnetId")), expected);
    }

    #[test]
    fn what_is_cut_or_foreign_is_no_answer() {
        let body = b"<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>";
        assert!(Answer::from_xml("ec2", "DescribeVpcs", body).is_ok());
        for end in 0..body.len() {
            assert!(Answer::from_xml("ec2", "DescribeVpcs", &body[..end]).is_err(), "{end}");
        }
        assert!(Answer::from_xml("ec2", "DescribeSubnets", body).is_err());
        assert!(Answer::from_xml("ec2", "DescribeVpcs", b"<html><body>404</body></html>").is_err());
        assert!(Answer::from_json("eks", "DescribeCluster", b"{\"cluster\": {").is_err());
    }

    #[test]
    fn policies_are_decoded_and_results_unwrapped() {
        let body = b"<GetRoleResponse><GetRoleResult><Role><RoleName>node</RoleName><CreateDate>2024-05-01T12:00:00Z</CreateDate>\
            <AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D</AssumeRolePolicyDocument>\
            </Role></GetRoleResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetRoleResponse>";
        let answer = Answer::from_xml("iam", "GetRole", body).unwrap();
        let expected = serde_json::json!({"Role": {"RoleName": "node", "CreateDate": "2024-05-01T12:00:00+00:00",
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}}});
        assert_eq!(json(answer, None), expected);
    }

    #[test]
    fn times_of_json_are_written_out_and_nulls_left_out() {
        let body = br#"{"cluster": {"name": "prod", "createdAt": 1700000000.125, "encryptionConfig": null, "newer": {"kept": 1}}, "nextToken": null}"#;
        let answer = Answer::from_json("eks", "DescribeCluster", body).unwrap();
        assert_eq!(answer.next_page(), None);
        let expected = serde_json::json!({"cluster": {"name": "prod", "createdAt": "2023-11-14T22:13:20.125000+00:00", "newer": {"kept": 1}}});
        assert_eq!(json(answer, None), expected);
    }

    #[test]
    fn pages_add_up_in_any_order() {
        let page = |names: &str, token: &str| {
            let body = format!("{{\"nodegroups\": {names}, \"nextToken\": {token}}}");
            Answer::from_json("eks", "ListNodegroups", body.as_bytes()).unwrap()
        };
        let mut first = page("[\"b\"]", "\"t\"");
        first.extend(page("[\"a\"]", "null"));
        let mut second = page("[\"a\"]", "\"t\"");
        second.extend(page("[\"b\"]", "null"));
        assert_eq!(first.into_json(None), "{\"nodegroups\":[\"a\",\"b\"]}");
        assert_eq!(second.into_json(None), "{\"nodegroups\":[\"a\",\"b\"]}");
    }

    #[test]
    fn every_structure_of_the_model_is_there() {
        fn structures<'k>(kind: &'k Kind, found: &mut Vec<&'k str>) {
            match kind {
                Kind::Structure(name) => found.push(name),
                Kind::List(kind) | Kind::Map(kind) => structures(kind, found),
                _ => {}
            }
        }
        for service in ["autoscaling", "ec2", "eks", "elbv2", "iam", "kms", "sts"] {
            let model = model(service);
            assert!(!model.operations.is_empty() && !model.version.is_empty(), "{service}");
            let mut named: Vec<&str> = model.operations.values().copied().collect();
            model.structures.values().flatten().for_each(|m| structures(&m.kind, &mut named));
            for name in named {
                assert!(model.structures.contains_key(name), "{service} {name}");
            }
            for operation in model.operations.keys() {
                let reads = ["Describe", "Get", "List", "Search"];
                assert!(reads.iter().any(|verb| operation.starts_with(verb)), "{operation} does not only read");
            }
        }
    }
}
