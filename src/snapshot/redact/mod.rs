//! Redaction: a recording that can be shown to others, and says the same about the network.
//!
//! Nothing is looked up in a list of what is secret. Every word of every answer is replaced that eks-doctor, AWS and
//! Kubernetes do not know themselves: names, accounts, tag values, hosts, and whatever a description, a label or user
//! data holds. Public addresses become other public addresses. Numbers, private addresses, times and the ids of
//! resources (`vpc-…`, `eni-…`) stay, so that a finding can be told back to who owns them.

mod address;
mod key;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::encoding;
use super::{Failure, Manifest, Recording, Snapshot};
use crate::shape::ec2::Tag;
use key::Key;
use word::Words;

/// An answer in which nothing could be replaced.
#[derive(Debug, thiserror::Error)]
#[error("{path}:{line}: is not JSON, so nothing can be redacted in it: {message}; record it again, or leave it out")]
pub struct RedactError {
    path: String,
    line: usize,
    message: String,
}

/// The recording without what says whose it is.
///
/// # Errors
/// When an answer is not JSON.
pub fn redact(recording: &Recording) -> Result<Recording, RedactError> {
    for (path, text) in recording.answers() {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            return Err(RedactError { path: path.to_owned(), line: error.line(), message: error.to_string() });
        }
    }
    let key = || Key::new(recording.answers().flat_map(|(path, text)| [path, text]));
    let mut redactor = Redactor { addresses: key(), words: Words::new(key()), names: BTreeMap::new() };
    redactor.learn_names(&recording.clone().load());
    // Once to learn the words, so that no replacement is one of them.
    redactor.recording(recording);
    redactor.words = redactor.words.settle();
    Ok(redactor.recording(recording))
}

struct Redactor {
    addresses: Key,
    words: Words,
    /// Names made of known words alone, by their first word: `eks-demo-cluster`.
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Redactor {
    fn recording(&mut self, recording: &Recording) -> Recording {
        for (_, text) in recording.answers() {
            for (at, _) in text.match_indices(":iam::aws:policy/") {
                let name = &text[at + ":iam::aws:policy/".len()..];
                self.words.keep(name.split('"').next().unwrap_or(name));
            }
        }
        let manifest = &recording.manifest;
        let mut all = |text: &Option<String>| text.as_ref().map(|text| self.text(text));
        let mut redacted = Recording::new(Manifest {
            cluster: all(&manifest.cluster),
            account: all(&manifest.account),
            failures: Vec::new(),
            ..manifest.clone()
        });
        for failure in &manifest.failures {
            redacted.fail(Failure {
                operation: failure.operation.clone(),
                argument: failure.argument.as_ref().map(|text| self.text(text)),
                code: failure.code.clone(),
                message: self.text(&failure.message),
            });
        }
        for (path, text) in recording.answers() {
            redacted.put(self.text(path), self.json(text));
        }
        redacted
    }

    /// Learns the names that people gave to what has a name and no id, as far as known words alone make them up.
    fn learn_names(&mut self, snapshot: &Snapshot) {
        let tables = &snapshot.tables;
        let mut names: Vec<&str> = Vec::new();
        names.extend(tables.clusters.iter().map(|c| c.value.name.as_str()));
        names.extend(tables.nodegroups.iter().map(|n| n.value.nodegroupName.as_str()));
        names.extend(tables.fargate_profiles.iter().map(|f| f.value.fargateProfileName.as_str()));
        names.extend(tables.roles.iter().map(|r| r.value.RoleName.as_str()));
        names.extend(tables.namespaces.iter().map(|n| n.value.metadata.name.as_str()));
        fn named(tags: &[Tag]) -> Option<&str> {
            tags.iter().find(|tag| tag.Key == "Name").map(|tag| tag.Value.as_str())
        }
        names.extend(tables.vpcs.iter().filter_map(|v| named(&v.value.Tags)));
        names.extend(tables.subnets.iter().filter_map(|s| named(&s.value.Tags)));
        names.extend(tables.route_tables.iter().filter_map(|r| named(&r.value.Tags)));
        names.extend(tables.nat_gateways.iter().filter_map(|n| named(&n.value.Tags)));
        names.extend(
            tables
                .security_groups
                .iter()
                .flat_map(|s| named(&s.value.Tags).into_iter().chain([s.value.GroupName.as_str()])),
        );
        for name in names {
            let mut words = name.split(|c: char| !c.is_alphanumeric());
            let first = words.next().unwrap_or_default();
            let own = words.next().is_some() && !word::is_own(name);
            if own && !first.is_empty() && name.split(|c: char| !c.is_alphanumeric()).all(|w| self.words.stays(w)) {
                self.names.entry(first.to_owned()).or_default().insert(name.to_owned());
            }
        }
    }

    /// The longest such name at the beginning of a text.
    fn name(&self, text: &str) -> Option<usize> {
        let first = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
        let names = self.names.get(&text[..first])?.iter();
        let here = |name: &&String| {
            text.strip_prefix(name.as_str()).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        };
        names.filter(here).map(String::len).max()
    }

    /// The same JSON, other strings.
    fn json(&mut self, json: &str) -> String {
        let mut out = String::with_capacity(json.len());
        // The key of every open object and list, and the key that a value belongs to.
        let mut open: Vec<String> = Vec::new();
        let mut key = String::new();
        let (bytes, mut at, mut copied) = (json.as_bytes(), 0, 0);
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'{' | b'[' => open.push(std::mem::take(&mut key)),
                b'}' | b']' => key = open.pop().unwrap_or_default(),
                b'"' => {
                    let from = at - 1;
                    while let Some(&byte) = bytes.get(at) {
                        at += if byte == b'\\' { 2 } else { 1 };
                        if byte == b'"' {
                            break;
                        }
                    }
                    let Ok(text) = serde_json::from_str::<String>(&json[from..at]) else { continue };
                    let is_key = bytes[at..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                    let holder = open.last().map_or("", String::as_str);
                    let other = match is_key {
                        true if !free(holder, &text) => text.clone(),
                        false if enumeration(&key, &text) => text.clone(),
                        false if key.eq_ignore_ascii_case("userData") || holder.eq_ignore_ascii_case("userData") => {
                            self.user_data(&text)
                        }
                        _ => self.text(&text),
                    };
                    if other != text {
                        out.push_str(&json[copied..from]);
                        out.push_str(&serde_json::to_string(&other).unwrap_or_default());
                        copied = at;
                    }
                    if is_key {
                        key = text;
                    }
                }
                _ => {}
            }
        }
        out.push_str(&json[copied..]);
        out
    }

    /// User data: a script, or base64 of one, gzip inside allowed.
    fn user_data(&mut self, text: &str) -> String {
        let Some(bytes) = encoding::base64(text).filter(|_| text.len() >= 8) else { return self.text(text) };
        if encoding::is_gzip(&bytes) {
            if let Some(script) = encoding::gunzip(&bytes).and_then(|b| String::from_utf8(b).ok()) {
                return encoding::to_base64(&encoding::gzip(self.script(&script).as_bytes()));
            }
        } else if let Ok(script) = String::from_utf8(bytes) {
            return encoding::to_base64(self.script(&script).as_bytes());
        }
        self.text(text)
    }

    /// A script or MIME message, parts of which may be base64 by themselves.
    fn script(&mut self, script: &str) -> String {
        let mut out = String::with_capacity(script.len());
        let mut rest = script;
        while !rest.is_empty() {
            // A run of whole lines of base64.
            let mut run = 0;
            for line in rest.split_inclusive('\n') {
                let bare = line.trim_end();
                if bare.len() < 40 && (run == 0 || bare.is_empty())
                    || !bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
                {
                    break;
                }
                run += line.len();
            }
            let inner = Some(&rest[..run])
                .filter(|run| run.trim_end().len() >= 40)
                .and_then(encoding::base64)
                .and_then(|bytes| String::from_utf8(bytes).ok());
            match inner {
                Some(inner) => {
                    let end = &rest[rest[..run].trim_end().len()..run];
                    out.push_str(&encoding::to_base64(self.text(&inner).as_bytes()));
                    out.push_str(end);
                    rest = &rest[run..];
                }
                None => {
                    let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
                    out.push_str(&self.text(&rest[..line]));
                    rest = &rest[line..];
                }
            }
        }
        out
    }

    /// A text of any kind, its words and public addresses replaced.
    fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = ' ';
        while let Some(c) = rest.chars().next() {
            let taken = if c.is_alphanumeric() {
                if let Some((length, address)) = self.address(rest, before) {
                    out.push_str(&address);
                    length
                } else if let Some(length) = self.name(rest) {
                    for part in rest[..length].split_inclusive(|c: char| !c.is_alphanumeric()) {
                        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
                        out.push_str(&self.words.other(word));
                        out.push_str(&part[word.len()..]);
                    }
                    length
                } else if let Some(length) = whole(rest) {
                    out.push_str(&rest[..length]);
                    length
                } else {
                    let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                    let word = &rest[..length];
                    let known = (before == '-' && resource_id(word))
                        || (before == ':' && action(&text[..text.len() - rest.len()], word));
                    out.push_str(if known { word } else { self.words.replace(word) });
                    length
                }
            } else if c == '\\' && rest[1..].starts_with(['n', 'r', 't', '"', '\\', '/']) {
                // JSON inside of a string: the letter is no part of the word after it.
                out.push_str(&rest[..2]);
                2
            } else {
                out.push(c);
                c.len_utf8()
            };
            before = rest[..taken].chars().next_back().unwrap_or(' ');
            rest = &rest[taken..];
        }
        out
    }

    /// An address or range at the beginning of a text: its length there, and its replacement.
    fn address(&self, text: &str, before: char) -> Option<(usize, String)> {
        let alone = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
        // `ec2-203-0-113-7.compute.amazonaws.com`, `ip-10-0-0-1.ec2.internal`
        for prefix in ["ec2-", "ip-"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let length = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
                let dashed = rest[..length].trim_end_matches('-');
                let address: IpAddr = dashed.replace('-', ".").parse().ok()?;
                let other = address::replace(&self.addresses, address, None).to_string().replace('.', "-");
                return alone(&rest[dashed.len()..]).then(|| (prefix.len() + dashed.len(), format!("{prefix}{other}")));
            }
        }
        let run = text.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.').unwrap_or(text.len());
        let written = text[..run].trim_end_matches('.');
        let written = written.strip_suffix(':').filter(|w| !w.ends_with(':')).unwrap_or(written);
        // A port may follow an IPv4 address.
        let written = written.split_once(':').map_or(written, |(v4, _)| if v4.contains('.') { v4 } else { written });
        if before == '.' || before == ':' || !alone(&text[written.len()..]) {
            return None;
        }
        let address: IpAddr = written.parse().ok()?;
        let after = &text[written.len()..];
        let digits = after.strip_prefix('/').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
        let length = after.get(1..=digits).and_then(|length| length.parse().ok());
        let other = address::replace(&self.addresses, address, length);
        // What stays is written as it was.
        let shown = if other == address { written.to_owned() } else { other.to_string() };
        Some((written.len(), shown))
    }
}

/// Whether the key of a map says something: labels, tags and conditions are anyone's, fields are the API's.
fn free(holder: &str, key: &str) -> bool {
    const MAPS: [&str; 12] = [
        "labels",
        "annotations",
        "tags",
        "matchLabels",
        "selector",
        "nodeSelector",
        "data",
        "config",
        "Tags",
        "resourceTags",
        "parameters",
        "Variables",
    ];
    MAPS.contains(&holder) || !key.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a value is one of those that the API has words for: `FailedScheduling`, `network_load_balancer`.
fn enumeration(key: &str, value: &str) -> bool {
    const ENDS: [&str; 10] =
        ["reason", "kind", "phase", "Type", "State", "Status", "Code", "Mode", "Support", "Component"];
    let same = |end: &&str| key.ends_with(*end) || key == end.to_ascii_lowercase();
    ENDS.iter().any(same) && value.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_')
}

/// The number of a resource's id, `0a1b2c3d` or `0123456789abcdef0` after a `-`.
fn resource_id(word: &str) -> bool {
    matches!(word.len(), 8 | 17)
        && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && word.bytes().any(|b| b.is_ascii_digit())
}

/// Whether a word after a `:` is an action of IAM, `CreateTags` of `ec2:CreateTags` or `Create` of `ec2:Create*`.
fn action(before: &str, word: &str) -> bool {
    let service = before[..before.len() - 1].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-').next();
    let service = service.unwrap_or_default();
    service.len() > 1
        && service.starts_with(|c: char| c.is_ascii_lowercase())
        && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_alphabetic())
        && before[..before.len() - 1 - service.len()].chars().next_back().is_none_or(|c| c == '"' || c.is_whitespace())
}

/// The length of what stays as one at the beginning of a text: a UUID, an instance type, AWS's layer buckets.
fn whole(text: &str) -> Option<usize> {
    let ends = |length: usize| !text[length..].starts_with(|c: char| c.is_alphanumeric());
    let token = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.').unwrap_or(text.len());
    let token = &text[..token];
    if let Some(uuid) = token.get(..36)
        && ends(36)
        && uuid.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    {
        return Some(36);
    }
    if token.starts_with("prod-") && token.trim_end_matches('.').ends_with("-starport-layer-bucket") {
        return Some(token.trim_end_matches('.').len());
    }
    let (family, size) = token.split_once('.')?;
    let size = &size[..size.find('.').unwrap_or(size.len())];
    let generation = family.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let letters = family.len() - generation.len();
    let sized = ["nano", "micro", "small", "medium", "large"].contains(&size)
        || size.starts_with("metal")
        || size.strip_suffix("xlarge").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let number = generation.strip_prefix('-').unwrap_or(generation);
    (sized && (1..=4).contains(&letters) && number.starts_with(|c: char| c.is_ascii_digit()))
        .then_some(family.len() + 1 + size.len())
        .filter(|length| ends(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let key = || Key::new(["a recording"].into_iter());
        Redactor { addresses: key(), words: Words::new(key()), names: BTreeMap::new() }
    }

    #[test]
    fn what_says_nothing_stays() {
        let mut redactor = redactor();
        for text in [
            "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy",
            "vpc-0645a23b338ad40e9",
            "us-west-2a",
            "usw2-az1",
            "2026-10-01T09:00:12+00:00",
            "ip-10-0-0-37.us-west-2.compute.internal",
            "96d254ae-6506-4209-a8e1-fcb1b47812eb",
            "m5.4xlarge c6gn.large u-12tb1.metal t3a.nano",
            "kubernetes.io/role/internal-elb",
            "0.0.0.0/0 ::/0 10.0.0.0/8 169.254.169.253:53",
            "failed to assign an IP address to container",
            "system:node:{{EC2PrivateDNSName}}",
            "02:13:a5:c5:a6:da",
            "prod-us-west-2-starport-layer-bucket",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn what_names_someone_changes() {
        let mut redactor = redactor();
        for (text, gone) in [
            ("arn:aws:iam::111122223333:role/acme-node", vec!["111122223333", "acme"]),
            ("203.0.113.7/32, 203.0.113.0/24", vec!["203.0.113.7", "203.0.113.0"]),
            ("ec2-203-0-113-7.us-west-2.compute.amazonaws.com", vec!["203-0-113-7"]),
            ("2600:1f14:abc:de03::11", vec!["2600:1f14:abc"]),
            ("https://1ED32D5D6922E7DE.gr7.us-west-2.eks.amazonaws.com", vec!["1ED32D5D6922E7DE"]),
            ("jane.doe@acme.com", vec!["jane", "doe", "acme"]),
            ("{\\n\\\"team\\\":\\\"acme\\\"}", vec!["acme"]),
            ("203.0.113.7:443", vec!["203.0.113.7"]),
        ] {
            let other = redactor.text(text);
            assert!(gone.iter().all(|gone| !other.contains(gone)), "{text} {other}");
            assert_eq!(redactor.text(text), other);
            assert_eq!(
                text.chars().filter(|c| "-:/@".contains(*c)).count(),
                other.chars().filter(|c| "-:/@".contains(*c)).count()
            );
        }
        assert_eq!(redactor.text("shop-node").strip_suffix("-node"), Some(redactor.text("shop").as_str()));
    }

    #[test]
    fn user_data_is_looked_into() {
        let mut redactor = redactor();
        let script = "#!/bin/bash\n/etc/eks/bootstrap.sh acme --dns-cluster-ip 172.20.0.10\n";
        let plain = encoding::to_base64(script.as_bytes());
        let zipped = encoding::to_base64(&encoding::gzip(script.as_bytes()));
        let message = encoding::to_base64(
            format!("Content-Transfer-Encoding: base64\n\n{plain}\n\n--==BOUNDARY==--\n").as_bytes(),
        );
        let expected = redactor.text(script);
        assert!(!expected.contains("acme") && expected.contains("/etc/eks/bootstrap.sh"), "{expected}");
        let decoded = |text: &str| encoding::base64(text).unwrap();
        assert_eq!(decoded(&redactor.user_data(&plain)), expected.as_bytes());
        assert_eq!(encoding::gunzip(&decoded(&redactor.user_data(&zipped))).unwrap(), expected.as_bytes());
        let message = String::from_utf8(decoded(&redactor.user_data(&message))).unwrap();
        assert!(message.contains(&encoding::to_base64(expected.as_bytes())), "{message}");
        assert_eq!(redactor.user_data(script), expected);
    }

    #[test]
    fn fields_stay_and_keys_of_labels_change() {
        let json = "{\n    \"NeverHeardOf\": 1.50,\n    \"labels\": {\"squadron\": \"acme\", \"acme.com/owner\": true},\n    \"list\": [{\"app\": \"x\"}]\n}\n";
        let other = redactor().json(json);
        assert!(other.contains("\"NeverHeardOf\": 1.50,\n    \"labels\": {") && !other.contains("acme"), "{other}");
        assert!(other.ends_with("\"list\": [{\"app\": \"x\"}]\n}\n"), "{other}");
        assert!(!other.contains("squadron"), "{other}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut recording = Recording::default();
        recording.put("aws/ec2/describe-vpcs.json".to_owned(), "{\"Vpcs\": [\n".to_owned());
        let error = redact(&recording).unwrap_err().to_string();
        assert!(error.starts_with("aws/ec2/describe-vpcs.json:2: is not JSON"), "{error}");
    }
}
