//! Reading snapshots: whatever people hand over, what can be used is used, and the rest is named by file and line.

#![allow(clippy::unwrap_used)]

mod change;

use std::path::PathBuf;
use std::sync::Arc;

use change::Change;
use eks_doctor::rule::RuleSet;
use eks_doctor::shape::{ec2, eks, k8s};
use eks_doctor::snapshot::{Gravity, LoadError, Snapshot};
use serde_json::{Value, json};

/// A folder of its own below the system's temporary one.
struct Folder(PathBuf);
impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("eks-doctor-loading-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the temporary folder takes folders");
        Folder(path)
    }
    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Folder {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("it stands in the folder")).expect("folders can be made");
        std::fs::write(path, content).expect("files can be written");
        self
    }
    fn load(&self) -> Snapshot {
        Snapshot::load(&self.0).expect("there are files")
    }
}
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn of(files: &[(&str, &str)]) -> Snapshot {
    Snapshot::from_documents(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
}
fn messages(snapshot: &Snapshot) -> Vec<String> {
    let place = |p: &eks_doctor::snapshot::Problem| p.line.map(|l| format!(":{l}")).unwrap_or_default();
    snapshot.problems.iter().map(|p| format!("{:?} {}{}: {}", p.gravity, p.file, place(p), p.message)).collect()
}

#[test]
fn a_folder_that_is_not_there_and_one_that_is_empty() {
    let folder = Folder::new("empty");
    assert!(matches!(Snapshot::load(&folder.0.join("nowhere")), Err(LoadError::NotFound(_))));
    assert!(matches!(Snapshot::load(&folder.0), Err(LoadError::Empty(_))));
    let error = Snapshot::load(&folder.0).unwrap_err().to_string();
    assert!(error.contains("holds no .json file"), "{error}");
}

#[test]
fn a_file_that_was_cut_is_no_answer() {
    let folder = Folder::new("cut")
        .file("subnets.json", "{\n  \"Subnets\": [\n    {\"SubnetId\": \"subnet-1\"},\n    {\"SubnetId\": \"sub")
        .file("vpcs.json", r#"{"Vpcs": [{"VpcId": "vpc-1"}]}"#);
    let snapshot = folder.load();
    assert_eq!(snapshot.problems.len(), 1, "{:?}", snapshot.problems);
    let problem = &snapshot.problems[0];
    assert_eq!((problem.gravity, problem.file.as_str(), problem.line), (Gravity::NotJson, "subnets.json", Some(4)));
    assert!(problem.help.contains("cut"), "{}", problem.help);
    assert!(snapshot.has("ec2:DescribeVpcs"));
    let missing = snapshot.table::<ec2::Subnet>().unwrap_err();
    assert_eq!(missing.reason, "subnets.json is not valid JSON");
}

#[test]
fn bytes_that_are_no_text_and_a_byte_order_mark() {
    let folder = Folder::new("bytes")
        .file("wide.json", [0xff, 0xfe, b'{', 0])
        .file("bad.json", b"{\n\"Vpcs\": [{\"VpcId\": \"\xc3\x28\"}]}")
        .file("marked.json", b"\xef\xbb\xbf{\"Subnets\": [{\"SubnetId\": \"subnet-1\"}]}");
    let snapshot = folder.load();
    let said = messages(&snapshot);
    assert_eq!(said, ["NotJson bad.json:2: is not UTF-8 text", "NotJson wide.json:1: is not UTF-8 text"]);
    assert!(snapshot.find::<ec2::Subnet>("subnet-1").is_ok());
}

#[test]
fn one_bad_object_leaves_the_others_alone() {
    let text = "{\n  \"Subnets\": [\n    {\"SubnetId\": \"subnet-1\"},\n    {\"SubnetId\": \"subnet-2\",\n     \"AvailableIpAddressCount\": \"many\"},\n    {\"SubnetId\": \"subnet-3\", \"State\": \"a-state-of-tomorrow\", \"NewField\": {\"x\": 1}}\n  ]\n}";
    let snapshot = of(&[("s.json", text)]);
    assert_eq!(snapshot.tables.subnets.len(), 2);
    assert_eq!(snapshot.find::<ec2::Subnet>("subnet-3").unwrap().State, "a-state-of-tomorrow");
    let problem = &snapshot.problems[0];
    assert_eq!((problem.gravity, problem.file.as_str(), problem.line), (Gravity::Error, "s.json", Some(5)));
    assert!(problem.message.starts_with("subnet-2: ") && problem.message.contains("many"), "{}", problem.message);
    let pods = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"x"}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"x"},"spec":{"hostNetwork":"yes"}}]}"#;
    let snapshot = of(&[("pods.json", pods)]);
    assert_eq!(snapshot.tables.pods.len(), 1);
    assert!(messages(&snapshot)[0].starts_with("Error pods.json:3: b: "), "{:?}", messages(&snapshot));
}

#[test]
fn an_id_that_leads_nowhere_is_unknown() {
    let snapshot = of(&[("s.json", r#"{"Subnets": []}"#)]);
    let missing = snapshot.find::<ec2::Subnet>("subnet-9").unwrap_err();
    assert_eq!(missing.to_string(), "ec2:DescribeSubnets: subnet-9 is not in the recorded answers");
}

#[test]
fn absent_is_not_empty_and_a_failure_says_why() {
    let snapshot = of(&[
        ("nat.json", r#"{"NatGateways": []}"#),
        (
            "manifest.json",
            r#"{"format": 1, "failures": [{"operation": "iam:GetRole", "argument": "node", "code": "AccessDenied", "message": "no"}]}"#,
        ),
    ]);
    assert!(snapshot.table::<ec2::NatGateway>().unwrap().is_empty());
    assert_eq!(snapshot.table::<ec2::Vpc>().unwrap_err().reason, "not recorded");
    assert_eq!(
        snapshot.missing("iam:GetRole", Some("arn:aws:iam::1:role/node")).to_string(),
        "iam:GetRole: AccessDenied"
    );
    assert_eq!(snapshot.missing("iam:GetRole", Some("other")).reason, "not recorded for other");
    let eni_configs =
        of(&[("k8s/eniconfigs.crd.k8s.amazonaws.com.json", r#"{"apiVersion":"v1","items":[],"kind":"List"}"#)]);
    assert!(eni_configs.table::<k8s::ENIConfig>().unwrap().is_empty());
    assert!(eni_configs.problems.is_empty());
}

#[test]
fn of_two_clusters_one_must_be_named() {
    let cluster = |name: &str| {
        json!({"cluster": {"name": name, "arn": format!("arn:aws:eks:us-west-2:1:cluster/{name}")}}).to_string()
    };
    let snapshot = Arc::new(of(&[("a.json", &cluster("blue")), ("b.json", &cluster("green"))]));
    let rules = RuleSet::built_in().unwrap();
    let error = eks_doctor::diagnose(&snapshot, &rules, None).unwrap_err().to_string();
    assert_eq!(error, "the snapshot holds 2 clusters: blue, green; choose one with --cluster");
    let error = eks_doctor::diagnose(&snapshot, &rules, Some("red")).unwrap_err().to_string();
    assert_eq!(error, "no cluster `red` in the snapshot; there are blue, green");
    assert_eq!(eks_doctor::diagnose(&snapshot, &rules, Some("green")).unwrap().cluster.name, "green");
    assert_eq!(snapshot.table::<eks::Cluster>().unwrap().len(), 2);
}

#[test]
fn the_same_object_twice() {
    let one = r#"{"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16"}]}"#;
    let other = r#"{"Vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.9.0.0/16"}]}"#;
    let equal = of(&[("a.json", one), ("b.json", one)]);
    assert!(equal.problems.is_empty());
    assert_eq!(equal.tables.vpcs.len(), 1);
    let differing = of(&[("a.json", one), ("b.json", other)]);
    assert_eq!(
        messages(&differing),
        ["Error b.json: Vpc vpc-1 is recorded twice and differs: a.json at /Vpcs/0 and b.json at /Vpcs/0"]
    );
    assert_eq!(differing.find::<ec2::Vpc>("vpc-1").unwrap().CidrBlock, "10.0.0.0/16");
}

#[test]
fn pages_add_up() {
    let page = |i: usize| {
        (
            format!("subnets-page-{i}.json"),
            json!({"Subnets": [{"SubnetId": format!("subnet-{i}")}], "NextToken": "x"}).to_string(),
        )
    };
    let snapshot = Snapshot::from_documents((0..3).map(page).collect());
    assert_eq!(snapshot.tables.subnets.len(), 3);
    assert!(snapshot.problems.is_empty());
}

#[test]
fn lists_of_the_raw_api_and_of_kubectl_in_any_order() {
    let raw =
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a","namespace":"x"}}]}"#;
    let late = r#"{"items":[{"metadata":{"name":"b","namespace":"x"}}],"kind":"PodList","apiVersion":"v1"}"#;
    let reversed = r#"{"kind":"List","items":[{"spec":{"nodeName":"n"},"metadata":{"name":"c","namespace":"x"},"kind":"Pod","apiVersion":"v1"}],"apiVersion":"v1"}"#;
    let single = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"d","namespace":"x"},"spec":{}}"#;
    let snapshot = of(&[("1.json", raw), ("2.json", late), ("3.json", reversed), ("4.json", single)]);
    assert_eq!(messages(&snapshot), Vec::<String>::new());
    for name in ["a", "b", "c", "d"] {
        assert!(snapshot.find::<k8s::Pod>(&format!("x/{name}")).is_ok(), "{name}");
    }
    assert_eq!(snapshot.find::<k8s::Pod>("x/c").unwrap().spec.nodeName, "n");
}

#[test]
fn kinds_that_stand_behind_their_content() {
    let slice = |n: u32| json!({"addressType": "IPv4", "apiVersion": "discovery.k8s.io/v1", "endpoints": [{"addresses": ["10.0.0.1"]}], "kind": "EndpointSlice", "metadata": {"name": format!("s{n}"), "namespace": "x"}});
    let map = json!({"apiVersion": "v1", "data": {"Corefile": "."}, "kind": "ConfigMap", "metadata": {"name": "coredns", "namespace": "kube-system"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"}});
    let list = |items: Vec<Value>| json!({"apiVersion": "v1", "items": items, "kind": "List"}).to_string();
    for (name, items) in [
        ("endpointslices.discovery.k8s.io.json", vec![slice(1), slice(2)]),
        ("odd.json", vec![slice(1), slice(2)]),
        // The file's name is wrong, or the kinds are mixed: slower, and right.
        ("configmaps.json", vec![slice(1), slice(2)]),
        ("all.json", vec![map.clone(), slice(1), pod.clone(), slice(2)]),
        ("pods.json", vec![pod.clone(), slice(1), map.clone(), slice(2)]),
    ] {
        let mixed = items.len() > 2;
        let snapshot = Snapshot::from_documents(vec![(name.to_owned(), list(items))]);
        assert_eq!(messages(&snapshot), Vec::<String>::new(), "{name}");
        assert_eq!(snapshot.tables.endpoint_slices.len(), 2, "{name}");
        assert_eq!(
            snapshot.find::<k8s::EndpointSlice>("x/s2").unwrap().endpoints[0].addresses[0],
            "10.0.0.1",
            "{name}"
        );
        assert_eq!(
            (snapshot.tables.config_maps.len(), snapshot.tables.pods.len()),
            if mixed { (1, 1) } else { (0, 0) },
            "{name}"
        );
    }
}

/// Two faults, so that there is something to say.
fn broken() -> Vec<(String, String)> {
    let changes: Vec<Change> = serde_saphyr::from_str(
        r#"
- {file: "aws/ec2/describe-vpc-attribute/*.enableDnsSupport.json", set: /EnableDnsSupport/Value, to: false}
- {file: aws/ec2/describe-nat-gateways.json, set: /NatGateways/0/State, to: deleted}
- {file: aws/ec2/describe-route-tables.json, set: '/RouteTables/*/Routes[NatGatewayId]/State', to: blackhole}
"#,
    )
    .unwrap();
    let snapshot = change::changed(&change::documents("healthy"), &changes).unwrap();
    snapshot.documents.iter().map(|d| (d.path.clone(), d.text.clone())).collect()
}

/// What is said, places aside.
fn said(snapshot: Snapshot) -> Vec<String> {
    assert_eq!(messages(&snapshot), Vec::<String>::new());
    let report = eks_doctor::diagnose(&Arc::new(snapshot), &RuleSet::built_in().unwrap(), None).unwrap();
    let findings = report.findings.iter().map(|f| {
        format!("{:?} {} {:?} {:?} {} {}", f.severity, f.rule, f.resource, f.affected, f.message, f.fingerprint)
    });
    findings.chain(report.skipped.iter().map(|s| format!("{s:?}"))).collect()
}

#[test]
fn names_of_files_do_not_matter() {
    let documents = broken();
    let expected = said(Snapshot::from_documents(documents.clone()));
    assert!(!expected.is_empty());
    // Flat, with odd names where the name says nothing that the answer does not.
    let speaking = [
        "get-subnet-cidr",
        "prefix-list-entries",
        "target-health",
        "attributes",
        "attached-role",
        "list-role-policies",
        "get-policy-version",
    ];
    let flat: Vec<(String, String)> = documents
        .iter()
        .enumerate()
        .map(|(i, (path, text))| {
            let empty = text.contains("\"items\": []");
            let name = match path.rsplit_once('/') {
                Some((folder, name)) if empty || speaking.iter().any(|s| folder.contains(s)) => name.to_owned(),
                None => path.clone(),
                _ => format!("export ({i}).json"),
            };
            (format!("{i}/{name}"), text.clone())
        })
        .collect();
    assert_eq!(said(Snapshot::from_documents(flat)), expected);
    // Everything of AWS that a list holds in one file.
    let mut all = serde_json::Map::new();
    let mut rest = Vec::new();
    for (path, text) in documents {
        let value: Value = serde_json::from_str(&text).unwrap();
        match value.as_object() {
            Some(map) if path.starts_with("aws/ec2/describe-") && path.matches('/').count() == 2 => {
                all.extend(map.clone())
            }
            _ => rest.push((path, text)),
        }
    }
    rest.push(("everything.json".to_owned(), Value::Object(all).to_string()));
    assert_eq!(said(Snapshot::from_documents(rest)), expected);
}

#[test]
fn times_of_the_aws_cli_1_are_numbers() {
    let text = r#"{"cluster": {"name": "a", "arn": "arn:aws:eks:us-west-2:111122223333:cluster/a", "createdAt": 1795620156.3}}"#;
    let snapshot = Snapshot::from_documents(vec![("describe-cluster.json".to_owned(), text.to_owned())]);
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
    assert_eq!(snapshot.tables.clusters.len(), 1);
}

#[test]
fn a_load_balancer_and_a_target_group_of_one_name_have_their_own_attributes() {
    let file = |operation: &str, key: &str| {
        let text = format!(r#"{{"Attributes": [{{"Key": "{key}", "Value": "true"}}]}}"#);
        (format!("aws/elbv2/{operation}/web.json"), text)
    };
    let balancer = file("describe-load-balancer-attributes", "deletion_protection.enabled");
    let group = file("describe-target-group-attributes", "preserve_client_ip.enabled");
    let snapshot = Snapshot::from_documents(vec![balancer, group]);
    assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
    let attributes = &snapshot.tables.elb_attributes;
    assert_eq!(attributes.get("web").unwrap().Attributes[0].Key, "deletion_protection.enabled");
    assert_eq!(attributes.get("target-group/web").unwrap().Attributes[0].Key, "preserve_client_ip.enabled");
}
