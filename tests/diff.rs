//! `eks-doctor diff`: what came, what went, and what changed in the network behind it.

#![allow(clippy::unwrap_used)]

mod change;
mod run;

use change::Change;
use run::{Folder, Ran, eks_doctor};

/// The fixture with changes, as a folder.
fn snapshot(changes: &str) -> Folder {
    let changes: Vec<Change> = serde_saphyr::from_str(changes).unwrap();
    let folder = Folder::new("diff");
    for (path, text) in change::applied(&change::documents("healthy"), &changes).unwrap() {
        folder.write(&path, &text);
    }
    folder
}

fn diff(old: &str, new: &str, more: &[&str]) -> Ran {
    eks_doctor(&[&["diff", old, new], more].concat())
}

#[test]
fn what_changed_behind_what_came_is_told_in_the_words_of_the_field() {
    for (changes, wanted) in [
        (
            "[{file: aws/ec2/describe-route-tables.json, set: '/RouteTables[Tags.Name=*private-a]/Routes[NatGatewayId]/State', to: blackhole}]",
            ["node-default-route-broken", "route table ", "0.0.0.0/0 → nat-", " became blackhole"],
        ),
        (
            "[{file: aws/ec2/describe-network-acls.json, add: '/NetworkAcls[NetworkAclId=acl-0d5f6f6f4ebebd0f4]/Entries/0', value: {CidrBlock: 0.0.0.0/0, Egress: false, Protocol: '17', RuleAction: deny, RuleNumber: 90, PortRange: {From: 53, To: 53}}}]",
            [
                "error[",
                "network ACL acl-",
                "ingress rule 90 (deny udp 53 of 0.0.0.0/0) added",
                "describe-network-acls.json:",
            ],
        ),
        (
            "[{file: aws/ec2/describe-vpc-attribute/*.enableDnsSupport.json, set: /EnableDnsSupport/Value, to: false}]",
            [
                "vpc-dns-support-disabled",
                "EnableDnsSupport.Value true → false",
                "enableDnsSupport.json:",
                "aws ec2 modify-vpc-attribute",
            ],
        ),
        (
            "[{file: k8s/deployments.apps.json, set: '/items[metadata.name=coredns]/spec/replicas', to: 0}, {file: k8s/pods.json, remove: '/items[metadata.labels.k8s-app=kube-dns]'}, {file: k8s/endpointslices.discovery.k8s.io.json, set: '/items[metadata.labels.\"kubernetes.io/service-name\"=kube-dns]/endpoints', to: []}]",
            [
                "coredns-scaled-to-zero",
                "deployment kube-system/coredns",
                "spec.replicas 2 → 0",
                "deployments.apps.json:",
            ],
        ),
    ] {
        let folder = snapshot(changes);
        let new = folder.at("");
        let ran = diff("fixtures/healthy", &new, &[]);
        assert_eq!(ran.code, 1, "{changes}: {}{}", ran.out, ran.err);
        for word in wanted {
            assert!(ran.out.contains(word), "{word} of {wanted:?} is not in\n{}", ran.out);
        }
        assert!(ran.out.starts_with("Appeared (1)"), "{}", ran.out);
        assert!(ran.out.contains("\n1 finding appeared, 0 went, "), "{}", ran.out);
        assert_eq!(diff("fixtures/healthy", &new, &["--fail-on", "never"]).code, 0);
        // The other way round it went.
        let back = diff(&new, "fixtures/healthy", &["--format", "json"]);
        assert_eq!(back.code, 0);
        let (back, there) = (back.json(), diff("fixtures/healthy", &new, &["--format", "json"]).json());
        assert_eq!(back["gone"][0]["fingerprint"], there["appeared"][0]["fingerprint"]);
        assert!(!back["gone"][0]["changes"].as_array().unwrap().is_empty(), "{back}");
        assert_eq!(there["appeared"][0]["bothChecked"], true);
        let change = &there["appeared"][0]["changes"][0];
        assert!(change["line"].as_u64().unwrap() > 0 && change["file"].is_string(), "{change}");
        let comment = diff("fixtures/healthy", &new, &["--format", "markdown"]).out;
        assert!(comment.contains("### Appeared (1)\n\n**error** `"), "{comment}");
    }
}

#[test]
fn the_same_is_no_difference_and_what_cannot_be_read_is_not_gone() {
    let ran = diff("fixtures/nacl-drops-dns", "fixtures/nacl-drops-dns", &[]);
    assert!(ran.code == 0 && ran.out.starts_with("0 findings appeared, 0 went, "), "{}", ran.out);
    let off =
        "[{file: aws/ec2/describe-vpc-attribute/*.enableDnsSupport.json, set: /EnableDnsSupport/Value, to: false}]";
    let unread = "[{file: aws/ec2/describe-vpc-attribute/*, delete-file: true}]";
    let (off, unread) = (snapshot(off), snapshot(unread));
    let ran = diff(&off.at(""), &unread.at(""), &["--format", "json"]);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.json()["unchecked"][0]["rule"], "vpc-dns-support-disabled");
    assert_eq!(ran.json()["gone"].as_array().unwrap().len(), 0);
    let ran = diff(&unread.at(""), &off.at(""), &["--format", "json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json()["appeared"][0]["bothChecked"], false);
}

#[test]
fn the_json_fits_the_schema_that_is_printed() {
    let printed = eks_doctor(&["diff", "--schema"]);
    assert_eq!(printed.code, 0, "{}", printed.err);
    let schema = jsonschema::validator_for(&printed.json()).unwrap();
    let (healthy, broken) = ("fixtures/healthy", "fixtures/nacl-drops-dns");
    for (old, new, part) in [(healthy, broken, "appeared"), (broken, healthy, "gone")] {
        let mut told = diff(old, new, &["--format", "json"]).json();
        assert!(!told[part].as_array().unwrap().is_empty(), "{told}");
        let wrong: Vec<String> = schema.iter_errors(&told).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        told[part][0].as_object_mut().unwrap().remove("message");
        assert!(!schema.is_valid(&told), "a finding without a message is taken");
    }
    // Without the schema both snapshots are wanted.
    let ran = eks_doctor(&["diff", healthy]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("<NEW>"), "{}", ran.err);
}

#[test]
fn bad_input() {
    let folder = Folder::new("bad");
    let broken = folder.write("broken/vpcs.json", "{\"Vpcs\": [");
    folder.write("empty/readme.txt", "");
    for (old, new, more, wanted) in [
        ("nowhere", "fixtures/healthy", &[][..], "nowhere: no such folder"),
        ("fixtures/healthy", &folder.at("empty"), &[], "holds no .json file"),
        ("fixtures/healthy", &broken, &[], "vpcs.json"),
        ("fixtures/healthy", "fixtures/healthy", &["--output", "nowhere/out.txt"], "nowhere/out.txt"),
    ] {
        let ran = diff(old, new, more);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{old} {new}: {}", ran.err);
        assert!(ran.err.contains(wanted), "{}", ran.err);
    }
}
