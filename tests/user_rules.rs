//! Rules of users: their cases, their schema, and the mistakes in them.

#![allow(clippy::unwrap_used)]

mod run;

use std::path::Path;

use run::{Folder, eks_doctor};

const RULE: &str = "\
title: A subnet has no owner
severity: warning
match: Subnet
parameters:
  key: {type: string, default: owner, about: the tag that names who answers for a subnet}
require: subnet.hasTag(key)
message: subnet {{ subnet.SubnetId }} has no tag {{ key }}
because: nobody knows whom to ask before it is changed
evidence:
  - at: subnet.Tags
    text: its tags
fixes:
  - title: Say who owns it
    commands:
      - aws ec2 create-tags --resources {{ subnet.SubnetId }} --tags Key={{ key }},Value=<team>
docs: https://example.com/tags
";

fn folder(cases: &str) -> Folder {
    let folder = Folder::new("rules");
    folder.write("nodes-cannot-join/subnet-without-owner.yaml", RULE);
    folder.write("nodes-cannot-join/subnet-without-owner.test.yaml", cases);
    folder
}

/// A snapshot of one subnet, by the change language alone.
const SUBNET: &str = "  changes:
    - file: describe-cluster.json
      content: {cluster: {name: a, arn: 'arn:aws:eks:eu-west-1:111122223333:cluster/a', resourcesVpcConfig: {vpcId: vpc-1}}}
    - file: subnets.json
      content: {Subnets: [{SubnetId: subnet-1, VpcId: vpc-1, CidrBlock: 10.0.0.0/24, Tags: []}]}
";

#[test]
fn cases_pass_and_fail() {
    let healthy = std::fs::canonicalize("fixtures/healthy").unwrap().to_string_lossy().into_owned();
    let cases = format!(
        "\
- name: no subnet of the fixture has an owner
  snapshot: {healthy}
  expect: {{outcome: fails, severity: warning, resource: subnet-*, mention: [owner]}}
- name: one has no tag at all
{SUBNET}  expect: {{outcome: fails, resource: subnet-1}}
- name: one has
{SUBNET}    - {{file: subnets.json, add: /Subnets/0/Tags/-, value: {{Key: owner, Value: net}}}}
  expect: {{outcome: passes}}
- name: nobody looked
{SUBNET}    - {{file: subnets.json, delete-file: true}}
  expect: {{outcome: skipped, missing: 'ec2:DescribeSubnets'}}
"
    );
    let all = folder(&cases);
    let ran = eks_doctor(&["rules", "test", &all.at("")]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("4 cases, 0 failed\n"), "{}", ran.out);

    let wrong = format!(
        "\
- name: wrong severity, object and words
{SUBNET}  expect: {{outcome: fails, severity: error, resource: subnet-2, mention: [team]}}
- name: it fails
{SUBNET}  expect: {{outcome: passes}}
- name: it is not skipped
{SUBNET}  expect: {{outcome: skipped}}
- name: it is skipped
{SUBNET}    - {{file: subnets.json, delete-file: true}}
  expect: {{outcome: fails}}
"
    );
    let all = folder(&wrong);
    all.write("pods-get-no-ip/untested.yaml", RULE);
    let ran = eks_doctor(&["rules", "test", &all.at("")]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.out);
}

#[test]
fn mistakes_in_cases_have_a_place() {
    for (cases, wanted) in [
        ("- name: x\n", "missing field"),
        ("- {name: x, expect: {outcome: breaks}}\n", "unknown variant"),
        ("- {name: x, expects: {outcome: fails}}\n", "unknown field"),
        ("- name: x\n  snapshot: nowhere\n  expect: {outcome: fails}\n", "no such folder"),
        (
            "- name: x\n  changes:\n    - {file: a.json, set: /a, to: 1}\n  expect: {outcome: fails}\n",
            "no file fits a.json",
        ),
        ("[]\n", "holds no case"),
    ] {
        let all = folder(cases);
        let ran = eks_doctor(&["rules", "test", &all.at("")]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{cases}: {}", ran.err);
        let words = ran.err.replace(['\n', '│'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("subnet-without-owner.test.yaml:"), "{words}");
        assert!(words.contains(wanted), "{cases}: {words}");
    }
    let none = Folder::new("none");
    none.write("nodes-cannot-join/subnet-without-owner.yaml", RULE);
    let ran = eks_doctor(&["rules", "test", &none.at("")]);
    assert!(ran.code == 2 && ran.err.contains("no file in it ends in .test.yaml"), "{}", ran.err);
    none.write("nodes-cannot-join/other.test.yaml", "- {name: x, expect: {outcome: fails}}\n");
    let ran = eks_doctor(&["rules", "test", &none.at("")]);
    assert!(ran.code == 2 && ran.err.contains("there is no rule `other`"), "{}", ran.err);
}

#[test]
fn presence_in_what_nobody_read_is_unknown() {
    let vpc = "    - {file: vpcs.json, content: {Vpcs: [{VpcId: vpc-1, CidrBlock: 10.0.0.0/16}]}}\n";
    for (require, unread, read) in [
        ("has(cluster.vpc().CidrBlock)", "skipped, missing: 'ec2:DescribeVpcs'", "passes"),
        ("!has(cluster.vpc().CidrBlock)", "skipped, missing: 'ec2:DescribeVpcs'", "fails"),
        ("has(cluster.vpc().OwnerId)", "skipped, missing: 'ec2:DescribeVpcs'", "fails"),
        ("has(vpc.CidrBlock)", "skipped, missing: 'ec2:DescribeVpcs'", "passes"),
        ("has(cluster.vpc().CidrBlock) || true", "passes", "passes"),
        // What lies in a field that the answer does not hold is not there.
        ("has(cluster.computeConfig.enabled)", "fails", "fails"),
        ("has(cluster.resourcesVpcConfig.vpcId)", "passes", "passes"),
    ] {
        let rule =
            RULE.replace("require: subnet.hasTag(key)", &format!("let: {{vpc: cluster.vpc()}}\nrequire: '{require}'"));
        let folder = Folder::new("presence");
        folder.write("nodes-cannot-join/subnet-without-owner.yaml", &rule);
        let cases = format!(
            "- name: nobody read the VPC\n{SUBNET}  expect: {{outcome: {unread}}}\n- name: it was read\n{SUBNET}{vpc}  \
             expect: {{outcome: {read}}}\n"
        );
        folder.write("nodes-cannot-join/subnet-without-owner.test.yaml", &cases);
        let ran = eks_doctor(&["rules", "test", &folder.at("")]);
        assert_eq!(ran.code, 0, "{require}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn mistakes_in_rules_have_a_place() {
    let folder = Folder::new("broken");
    let mut all = String::new();
    for (from, to) in [
        ("subnet.hasTag(key)", "subnet.hasTagg(key)"),
        ("subnet.hasTag(key)", "subnet.hasTag(1)"),
        ("subnet.hasTag(key)", "subnet.AvailableIpAddressCount"),
        ("match: Subnet", "match: Subnett"),
        ("severity: warning", "severity: bad"),
        ("{{ subnet.SubnetId }} has", "{{ subnet.SubnetId has"),
        ("default: owner", "default: 5"),
        ("key: {type", "Key-name: {type"),
        ("key: {type", "subnet: {type"),
        ("type: string", "type: float"),
        ("docs:", "doc:"),
    ] {
        assert!(RULE.contains(from));
        folder.write("rules/nodes-cannot-join/broken.yaml", &RULE.replace(from, to));
        let ran = run::with(&["rules", "--rules", "rules"], &[], Some(folder.path()));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{to}");
        all += &format!("{from} → {to}\n{}\n", ran.err);
    }
    insta::assert_snapshot!(all);
}

/// The worked example of `docs/writing-rules.md`: its files are written, its command is run, its answer is compared.
#[test]
fn the_worked_example_does_what_it_says() {
    let text = std::fs::read_to_string("docs/writing-rules.md").unwrap();
    let folder = Folder::new("example");
    let (mut files, mut commands) = (0, 0);
    for block in text.split("```").skip(1).step_by(2) {
        if let Some(file) = block.strip_prefix("yaml\n# ") {
            let (name, content) = file.split_once('\n').unwrap();
            folder.write(name, content);
            files += 1;
        } else if let Some(session) = block.strip_prefix("console\n$ eks-doctor ") {
            let (command, wanted) = session.split_once('\n').unwrap();
            let arguments: Vec<&str> = command.split(' ').collect();
            let ran = run::with(&arguments, &[], Some(folder.path()));
            assert_eq!((ran.code, ran.out.as_str()), (0, wanted), "{}", ran.err);
            commands += 1;
        }
    }
    assert_eq!((files, commands), (2, 1));
}

/// `docs/rule.schema.json` is what `eks-doctor rules schema` prints; every built-in rule is valid by it, and what is
/// wrong is not.
#[test]
fn schema_of_rule_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = eks_doctor(&["rules", "schema"]).out;
    let checked_in = std::fs::read_to_string(root.join("docs/rule.schema.json")).unwrap_or_default();
    assert!(text == checked_in, "write it anew: cargo run -- rules schema > docs/rule.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap();
    let value = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    let mut count = 0;
    for issue in std::fs::read_dir(root.join("rules")).unwrap() {
        for file in std::fs::read_dir(issue.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let rule = value(&std::fs::read_to_string(&path).unwrap());
            let errors: Vec<String> = validator.iter_errors(&rule).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            count += 1;
        }
    }
    assert!(count > 100, "{count} rules");
    assert!(validator.is_valid(&value(RULE)));
    for (from, to) in [
        ("docs:", "doc:"),
        ("type: string", "type: float"),
        ("    commands:", "    command:"),
        ("require: ", "require: [a]\n#"),
    ] {
        assert!(!validator.is_valid(&value(&RULE.replace(from, to))), "{to}");
    }
}

#[test]
fn everything_that_rules_may_use_is_listed() {
    let (functions, shapes) = (eks_doctor(&["rules", "functions"]).out, eks_doctor(&["rules", "shapes"]).out);
    for function in eks_doctor::rule::functions::all() {
        let signature = format!("  .{}(", function.name);
        let (_, of_shape) = functions.split_once(&format!("{}\n", function.receiver)).unwrap();
        assert!(of_shape.contains(&signature), "{}.{}", function.receiver, function.name);
        assert!(
            shapes.lines().any(|line| line.starts_with(&format!("{}:", function.receiver))),
            "{}",
            function.receiver
        );
        assert!(!function.doc.is_empty());
    }
    let derived = eks_doctor::rule::functions::subjects();
    for schema in eks_doctor::snapshot::TABLES.iter().map(|t| (t.schema)()).chain(derived.iter().map(|s| (s.schema)()))
    {
        assert!(shapes.lines().any(|line| line.starts_with(&format!("{}:", schema.name))), "{}", schema.name);
        for (field, _) in schema.fields {
            assert!(shapes.contains(&format!("\n  .{field}: ")), "{}.{field}", schema.name);
        }
    }
}
