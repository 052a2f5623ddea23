//! The proxy that user data sets for the kubelet, and what it excepts from it.

/// User data in lower case without comments, when it sets a proxy that is there when the kubelet starts. Bottlerocket
/// makes the exceptions by itself; containerd asks neither metadata nor the API server.
fn lasting(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|l| !l.starts_with('#'));
    let low: String = lines.map(|l| l.to_ascii_lowercase() + "\n").collect();
    let has = |words: &[&str]| words.iter().any(|w| low.contains(w));
    // A variable of the script alone is gone when the kubelet starts.
    let lasting = has(&["kubelet.service.d", "/etc/sysconfig/kubelet", "defaultenvironment"]);
    let set = has(&["https_proxy=", "http_proxy="]) && !has(&["settings.network", "settings.kubernetes"]);
    (lasting && set).then_some(low)
}

/// The values that are given to `no_proxy`.
fn values(low: &str) -> Vec<&str> {
    let after = low.split("no_proxy").skip(1).filter_map(|rest| rest.trim_start_matches([' ', '\t']).strip_prefix('='));
    after.map(|value| value.lines().next().unwrap_or_default()).collect()
}

/// Whether a value of `no_proxy` comes from elsewhere (`$(aws ssm ...)`, `$EXCEPTIONS`); names that hold one of the
/// `known` words do not count.
fn unread(value: &str, known: &[&str]) -> bool {
    value.contains('`')
        || value.split('$').skip(1).any(|name| {
            let name = name.split(',').next().unwrap_or_default();
            !known.iter().any(|k| name.contains(k))
        })
        || value.ends_with('$')
}

/// What is wrong with the exceptions of a proxy: programs of the node that take the proxy to the instance's metadata get
/// neither identity nor credentials.
pub(super) fn lacks(text: &str) -> &'static str {
    let Some(low) = lasting(text) else { return "" };
    let has = |words: &[&str]| words.iter().any(|w| low.contains(w));
    if !low.contains("no_proxy") {
        "without NO_PROXY"
    } else if has(&["169.254", "fd00:ec2:", "no_proxy=*", "no_proxy=\"*"])
        || values(&low).into_iter().any(|v| unread(v, &["cidr", "vpc", "range", "region"]))
    {
        ""
    } else {
        "without 169.254.169.254 (instance metadata) in NO_PROXY"
    }
}

/// Whether the kubelet takes the proxy to this host. Ranges in `NO_PROXY` except addresses, no names
/// (<https://pkg.go.dev/golang.org/x/net/http/httpproxy>).
pub(super) fn takes(text: &str, host: &str) -> bool {
    let Some(low) = lasting(text) else { return false };
    let values = values(&low);
    if host.is_empty() || values.is_empty() || values.iter().any(|v| unread(v, &["cidr", "range"])) {
        return false;
    }
    let host = host.to_ascii_lowercase();
    let of_name = |c: char| c.is_ascii_alphanumeric() || ".*:/_-".contains(c);
    let excepted = |entry: &str| {
        let name = entry.trim_start_matches('*').trim_start_matches('.');
        entry == "*" || host == name || (!name.is_empty() && host.ends_with(&format!(".{name}")))
    };
    !values.iter().flat_map(|v| v.split(|c| !of_name(c))).any(excepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(lines: &str) -> String {
        format!("cat <<EOF > /etc/systemd/system/kubelet.service.d/proxy.conf\n{lines}\nEOF\n")
    }

    #[test]
    fn proxies_need_exceptions() {
        assert_eq!(lacks(&unit("Environment=\"HTTPS_PROXY=http://p:3128\"")), "without NO_PROXY");
        assert!(lacks(&unit("HTTPS_PROXY=http://p:3128\nNO_PROXY=localhost,.internal")).starts_with("without 169.254"));
        assert_eq!(lacks(&unit("HTTPS_PROXY=http://p:3128\nno_proxy=localhost,169.254.169.254")), "");
        assert_eq!(lacks("> /etc/systemd/system/containerd.service.d/proxy.conf\nHTTPS_PROXY=http://p:3128\n"), "");
        assert_eq!(lacks("export HTTPS_PROXY=http://p:3128\nyum install -y jq\n"), "");
        assert_eq!(lacks("[settings.network]\nhttps-proxy = \"p:3128\"\n"), "");
        assert_eq!(lacks("#!/bin/bash\n# HTTPS_PROXY=x\n"), "");
        assert_eq!(lacks(&unit("HTTPS_PROXY=http://p:3128\nNO_PROXY=$(aws ssm get-parameter --name no-proxy)")), "");
        assert_eq!(lacks(&unit("HTTPS_PROXY=http://p:3128\nNO_PROXY=${EXCEPTIONS}")), "");
        assert_ne!(lacks(&unit("HTTPS_PROXY=http://p:3128\nNO_PROXY=$VPC_CIDR,localhost")), "");
        assert_eq!(lacks("cat >> /etc/environment\nHTTPS_PROXY=http://p:3128\n"), "");
    }

    #[test]
    fn names_need_names() {
        let host = "ABC.gr7.us-west-2.eks.amazonaws.com";
        let to = |no: &str| takes(&unit(&format!("HTTPS_PROXY=http://p:3128\nNO_PROXY={no}")), host);
        assert!(to("10.0.0.0/16,172.20.0.0/16,localhost,169.254.169.254,.internal"));
        assert!(to("$VPC_CIDR,169.254.169.254"));
        for no in [
            ".eks.amazonaws.com,169.254.169.254",
            "eks.amazonaws.com",
            "*.amazonaws.com",
            "abc.gr7.us-west-2.eks.amazonaws.com",
            "*",
            "$API_HOST,169.254.169.254",
            "localhost,.$REGION.eks.amazonaws.com",
            "$NO_PROXY",
        ] {
            assert!(!to(no), "{no}");
        }
        assert!(!takes(&unit("HTTPS_PROXY=http://p:3128"), host), "told by the other rule");
        assert!(!takes("export HTTPS_PROXY=http://p:3128 NO_PROXY=localhost\n", host));
    }
}
