//! What the user data of an instance tells the kubelet about DNS.

use std::net::IpAddr;

use crate::shape::Str;
use crate::snapshot::encoding::{base64, gunzip, is_gzip};

/// The text of user data as the API gives it: base64, gzip inside allowed. `None` when it is no text.
pub fn decode(user_data: &str) -> Option<String> {
    let bytes = base64(user_data)?;
    let bytes = if is_gzip(&bytes) { gunzip(&bytes)? } else { bytes };
    let text = String::from_utf8(bytes).ok()?;
    // Parts of a MIME message may be base64 by themselves.
    let mut whole = text.clone();
    for part in text.split("\n\n").chain(text.split("\r\n\r\n")) {
        let part = part.split("\n--").next().unwrap_or(part).trim();
        if part.len() > 60
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n".contains(&b))
            && let Some(inner) = base64(part).and_then(|b| String::from_utf8(b).ok())
        {
            whole.push('\n');
            whole.push_str(&inner);
        }
    }
    Some(whole)
}

/// The cluster DNS addresses that user data sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterDns {
    pub addresses: Vec<IpAddr>,
    /// Where they stand: `--dns-cluster-ip`, `clusterDNS`, `cluster.cidr` ...
    pub setting: Str,
    /// Which of them a node gets is decided when it boots.
    pub depends: bool,
}

/// The first `key` followed by `=`, `:` or blanks, and what stands there up to the end of the line.
fn after<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(i) = text[from..].find(key).map(|i| from + i) {
        let before = text[..i].chars().next_back();
        from = i + key.len();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = text[from..].trim_start_matches(['"', '\'']);
        if let Some(value) = rest.strip_prefix(['=', ':', ' ', '\t']) {
            found.push(value);
        }
    }
    found
}

/// Addresses at the beginning of a value: one, a list with commas, a JSON or YAML list.
fn addresses(value: &str) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for word in value.split([' ', '\t', '\n', '\r', ',', '[', ']', '"', '\'', '\\', '-', '=']) {
        if word.is_empty() {
            continue;
        }
        match word.parse() {
            Ok(address) => all.push(address),
            Err(_) => break,
        }
    }
    all
}

/// What all assignments of a shell variable give.
fn assigned(text: &str, variable: &str) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for value in after(text, variable) {
        let found = addresses(value.lines().next().unwrap_or_default());
        all.extend(found.into_iter().filter(|a| !all.contains(a)).collect::<Vec<_>>());
    }
    all
}

/// Reads the cluster DNS addresses out of decoded user data: bootstrap.sh, kubelet flags, eksctl's files,
/// nodeadm's NodeConfig, Bottlerocket's TOML.
pub fn cluster_dns(text: &str) -> Option<ClusterDns> {
    // What stands in comments counts for nothing.
    let text: String = text
        .lines()
        .filter(|l| !l.trim_start().starts_with('#') || l.starts_with("#!"))
        .flat_map(|l| [l, "\n"])
        .collect();
    for key in ["--dns-cluster-ip", "--cluster-dns", "clusterDNS", "cluster-dns-ip"] {
        for value in after(&text, key) {
            let value = value.trim_start_matches([' ', '"', '\'']);
            if let Some(variable) = value.strip_prefix('$') {
                let name: String = variable
                    .trim_start_matches('{')
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let addresses = assigned(&text, &name);
                if !addresses.is_empty() {
                    let depends = addresses.len() > 1;
                    return Some(ClusterDns { addresses, setting: Str::new(key), depends });
                }
                continue;
            }
            let addresses = addresses(value);
            if !addresses.is_empty() {
                return Some(ClusterDns { addresses, setting: Str::new(key), depends: false });
            }
        }
    }
    // nodeadm: the tenth address of the service range.
    if text.contains("kind: NodeConfig") {
        let range = after(&text, "cidr").into_iter().find_map(|v| {
            let word = v.trim().trim_matches(['"', '\'']).split(['"', '\'', '\n', ',', '\r', ' ']).next()?;
            word.parse::<ipnet::IpNet>().ok()
        })?;
        return Some(ClusterDns {
            addresses: vec![tenth(&range)?],
            setting: Str::const_new("cluster.cidr"),
            depends: false,
        });
    }
    None
}

/// The cluster DNS address that bootstrap.sh guesses when it is told endpoint and CA but neither a DNS address nor a
/// service range: 172.20.0.10 in a VPC with a 10/8 range, else 10.100.0.10
/// (<https://github.com/awslabs/amazon-eks-ami>, `bootstrap.sh`).
pub fn guessed(text: &str, vpc_has_ten: bool) -> Option<ClusterDns> {
    let line = text.lines().find(|l| !l.trim_start().starts_with('#') && l.contains("/etc/eks/bootstrap.sh"))?;
    let whole: String = text[text.find(line)?..].replace("\\\n", " ");
    let call = whole.lines().next()?;
    let says = |flag: &str| call.contains(flag);
    if !says("--apiserver-endpoint") || !says("--b64-cluster-ca") {
        return None;
    }
    if says("--dns-cluster-ip") || says("--service-ipv4-cidr") || says("--ip-family") || says("cluster-dns") {
        return None;
    }
    let address = if vpc_has_ten { [172, 20, 0, 10] } else { [10, 100, 0, 10] };
    Some(ClusterDns {
        addresses: vec![IpAddr::from(address)],
        setting: Str::const_new("bootstrap.sh without --dns-cluster-ip"),
        depends: true,
    })
}

/// The address that EKS gives to kube-dns in a service range.
pub fn tenth(range: &ipnet::IpNet) -> Option<IpAddr> {
    Some(match range {
        ipnet::IpNet::V4(r) => IpAddr::V4((u32::from(r.network()).checked_add(10)?).into()),
        ipnet::IpNet::V6(r) => IpAddr::V6((u128::from(r.network()).checked_add(10)?).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        cluster_dns(text).map(|d| d.addresses.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    #[test]
    fn cluster_dns_of_many_kinds() {
        assert_eq!(of("/etc/eks/bootstrap.sh c --dns-cluster-ip 10.255.0.10 --x"), ["10.255.0.10"]);
        assert_eq!(of("K=172.20.0.10\nbootstrap.sh c --dns-cluster-ip $K --use-max-pods false"), ["172.20.0.10"]);
        assert_eq!(
            of("D=10.100.0.10\nif x; then\n  D=172.20.0.10\nfi\nbootstrap.sh --dns-cluster-ip \"${D}\""),
            ["10.100.0.10", "172.20.0.10"]
        );
        assert_eq!(of("content: '{\"clusterDNS\": [\"10.100.0.10\"], \"x\": 1}'"), ["10.100.0.10"]);
        assert_eq!(of("clusterDNS:\n  - 10.1.0.10\n  - 169.254.20.10\nother: 1"), ["10.1.0.10", "169.254.20.10"]);
        assert_eq!(of("--kubelet-extra-args '--cluster-dns=169.254.20.10 --x'"), ["169.254.20.10"]);
        assert_eq!(of("[settings.kubernetes]\ncluster-dns-ip = \"10.100.0.10\"\n"), ["10.100.0.10"]);
        assert_eq!(of("kind: NodeConfig\nspec:\n  cluster:\n    cidr: 172.16.0.0/16\n"), ["172.16.0.10"]);
        assert!(of("# --dns-cluster-ip 10.1.1.1\necho").is_empty());
    }

    #[test]
    fn base64_and_gzip() {
        assert_eq!(decode("aGVsbG8=").as_deref(), Some("hello"));
        assert_eq!(decode("not base64!"), None);
    }
}
