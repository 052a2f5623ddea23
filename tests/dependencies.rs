//! A build that reads no live cluster holds nothing of AWS, Kubernetes or TLS.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn offline_builds_know_no_sdk() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--no-default-features", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("serde_json") && tree.lines().count() > 20, "{tree}");
    for name in tree.lines().filter_map(|line| line.split(' ').next()) {
        let sdk = ["aws-", "kube", "k8s-openapi", "rustls", "native-tls", "openssl", "hyper", "tokio"];
        assert!(!sdk.iter().any(|sdk| name.starts_with(sdk)) && name != "ring", "{name} is in the offline build");
    }
}
