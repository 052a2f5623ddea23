//! The reports of made-up findings, whole.

mod any;
mod formats;
mod json;

use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Style, text};
use crate::diagnostic::{ClusterName, Diagnostic, Effect, Evidence, Fix, Issue, Report, Resource, Severity, Skipped};
use crate::network::{Disposition, Hop, Trace, Verdict};
use crate::snapshot::{Missing, Snapshot};

const ASCII: Style = Style { color: false, unicode: false, width: 80 };
const UNICODE: Style = Style { color: false, unicode: true, width: 80 };

const ACLS: &str = r#"{
    "NetworkAcls": [
        {
            "NetworkAclId": "acl-0123456789abcdef0",
            "Entries": [
                {
                    "CidrBlock": "0.0.0.0/0",
                    "Egress": true,
                    "Protocol": "17",
                    "RuleAction": "deny",
                    "RuleNumber": 90
                }
            ],
            "IsDefault": false
        }
    ]
}
"#;

fn acls() -> Snapshot {
    Snapshot::from_documents(vec![("aws/ec2/describe-network-acls.json".to_owned(), ACLS.to_owned())])
}

fn evidence(pointer: &str, text: &str) -> Evidence {
    Evidence { document: 0, pointer: pointer.to_owned(), text: text.to_owned() }
}

fn resource(kind: &str, id: &str, name: Option<&str>) -> Resource {
    Resource { kind: kind.to_owned(), id: id.to_owned(), name: name.map(str::to_owned) }
}

fn finding() -> Diagnostic {
    Diagnostic {
        rule: "dns-blocked-by-network-acl".to_owned(),
        issue: Issue::DnsDoesNotResolve,
        severity: Severity::Error,
        resource: resource("NetworkAcl", "acl-0123456789abcdef0", Some("prod-private")),
        affected: vec![
            resource("Subnet", "subnet-0aaa", Some("private-a")),
            resource("Node", "ip-10-0-1-7.ec2.internal", None),
        ],
        message: "network ACL acl-0123456789abcdef0 rule 90 drops DNS answers to subnet-0aaa".to_owned(),
        because: "a network ACL keeps no state, so the answers need a rule of their own; without it each lookup \
                  waits until it times out"
            .to_owned(),
        evidence: vec![evidence("/NetworkAcls/0/Entries/0", "this entry matches first")],
        trace: None,
        fixes: vec![Fix {
            title: "Delete ACL entry 90".to_owned(),
            commands: vec![
                "aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90"
                    .to_owned(),
            ],
            effect: Effect::Proved,
        }],
        docs: "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html".to_owned(),
        fingerprint: "9f2c".to_owned(),
        note: None,
        known: false,
        cluster: None,
    }
}

fn report(findings: Vec<Diagnostic>) -> Report {
    let cluster = ClusterName {
        name: "prod".to_owned(),
        arn: None,
        region: Some("us-west-2".to_owned()),
        account: None,
        version: None,
    };
    Report {
        cluster,
        findings,
        skipped: Vec::new(),
        passed: 84,
        suppressed: Vec::new(),
        compared: None,
        warnings: Vec::new(),
    }
}

/// A finding of which only the evidence counts.
fn pointing(evidence: Vec<Evidence>) -> Report {
    let because = String::new();
    let docs = String::new();
    report(vec![Diagnostic { evidence, affected: Vec::new(), fixes: Vec::new(), because, docs, ..finding() }])
}

fn hop(at: &str, step: &str, verdict: Verdict, by: Option<&str>, code: Option<&'static str>) -> Hop {
    let by = by.map(str::to_owned);
    Hop {
        at: at.to_owned(),
        step: step.to_owned(),
        verdict,
        by,
        code,
        note: None,
        spot: None,
        deciders: Vec::new(),
        dropped: None,
    }
}

fn trace() -> Trace {
    let mut unknown = hop("eni-0node", "security group ingress", Verdict::Unknown, None, None);
    unknown.note = Some("sg-0other is not in the recorded answers".to_owned());
    Trace {
        from: "eni-0node".to_owned(),
        to: "eni-0coredns".to_owned(),
        protocol: "udp".to_owned(),
        port: Some(53),
        disposition: Disposition::Blocked,
        forward: vec![
            hop("eni-0node", "security group egress", Verdict::Allowed, Some("sg-0nodes sgr-0all"), None),
            hop("subnet-0aaa", "route", Verdict::Allowed, Some("rtb-0main 10.0.0.0/16 local"), None),
        ],
        back: vec![
            hop(
                "acl-0123456789abcdef0",
                "network ACL egress",
                Verdict::Blocked,
                Some("rule 90"),
                Some("SUBNET_ACL_RESTRICTION"),
            ),
            unknown,
        ],
    }
}

fn skipped(rule: &str, id: &str, read: &str, reason: &str) -> Skipped {
    Skipped {
        cluster: None,
        rule: rule.to_owned(),
        issue: Issue::NodesCannotJoin,
        resource: Some(resource("Node", id, None)),
        missing: vec![Missing { read: read.to_owned(), reason: reason.to_owned() }],
    }
}

/// A report with some of everything.
fn full() -> Report {
    let mut warning = finding();
    warning.severity = Severity::Warning;
    warning.issue = Issue::PodsGetNoIp;
    warning.rule = "subnet-nearly-full".to_owned();
    warning.evidence =
        vec![evidence("/NetworkAcls/0/IsDefault", "look here"), evidence("/NetworkAcls/0/Nope", "no such key")];
    warning.fixes[0].effect = Effect::Unproved;
    let mut report = report(vec![Diagnostic { trace: Some(trace()), ..finding() }, warning]);
    report.skipped = vec![
        skipped("node-role-lacks-policy", "a", "iam:GetRole", "AccessDenied"),
        skipped("node-role-lacks-policy", "b", "iam:GetRole", "AccessDenied"),
        skipped("node-cannot-reach-endpoint", "a", "ec2:DescribeRouteTables", "not recorded"),
    ];
    report
}

#[test]
fn a_finding_in_ascii() {
    assert_snapshot!(text(&report(vec![finding()]), &acls(), &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

      why: a network ACL keeps no state, so the answers need a rule of their own;
        without it each lookup waits until it times out

          ,-[aws/ec2/describe-network-acls.json:6:17]
        5 |     "Entries": [
        6 | ,->     {
        7 | |           "CidrBlock": "0.0.0.0/0",
        8 | |           "Egress": true,
        9 | |           "Protocol": "17",
       10 | |           "RuleAction": "deny",
       11 | |           "RuleNumber": 90
       12 | |->     }
          : `---- this entry matches first
       13 |     ],
          `----

      affected: Subnet subnet-0aaa (private-a); Node ip-10-0-1-7.ec2.internal

      fix: Delete ACL entry 90 (tried on the snapshot: the finding goes and nothing
        new comes)

        aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90

      docs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn some_of_everything_in_unicode() {
    let snapshot = Snapshot::from_documents(vec![
        ("aws/ec2/describe-network-acls.json".to_owned(), ACLS.to_owned()),
        ("aws/elbv2/broken.json".to_owned(), "{\n  \"Vpcs\": [,]\n}".to_owned()),
        ("other.json".to_owned(), "{\"Other\": []}".to_owned()),
    ]);
    assert_eq!(snapshot.documents[0].path, "aws/ec2/describe-network-acls.json");
    assert_snapshot!(text(&full(), &snapshot, &UNICODE), @r#"
    DNS does not resolve (1 error)
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

      why: a network ACL keeps no state, so the answers need a rule of their own;
        without it each lookup waits until it times out

          ╭─[aws/ec2/describe-network-acls.json:6:17]
        5 │     "Entries": [
        6 │ ╭─▶     {
        7 │ │           "CidrBlock": "0.0.0.0/0",
        8 │ │           "Egress": true,
        9 │ │           "Protocol": "17",
       10 │ │           "RuleAction": "deny",
       11 │ │           "RuleNumber": 90
       12 │ ├─▶     }
          · ╰──── this entry matches first
       13 │     ],
          ╰────

      path: udp/53 from eni-0node to eni-0coredns: blocked
      ├─ forward
      │  ├─ ✓ security group egress at eni-0node by sg-0nodes sgr-0all
      │  └─ ✓ route at subnet-0aaa by rtb-0main 10.0.0.0/16 local
      └─ return
         ├─ ✗ network ACL egress at acl-0123456789abcdef0 BLOCKED by rule 90
         │    [SUBNET_ACL_RESTRICTION]
         └─ ? security group ingress at eni-0node unknown: sg-0other is not in the
              recorded answers

      affected: Subnet subnet-0aaa (private-a); Node ip-10-0-1-7.ec2.internal

      fix: Delete ACL entry 90 (tried on the snapshot: the finding goes and nothing
        new comes)

        aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90

      docs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html

    Pods get no IP address (1 warning)
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    warning[subnet-nearly-full]: network ACL acl-0123456789abcdef0 rule 90 drops DNS
      answers to subnet-0aaa

      why: a network ACL keeps no state, so the answers need a rule of their own;
        without it each lookup waits until it times out

          ╭─[aws/ec2/describe-network-acls.json:14:26]
       12 │             }
       13 │         ],
       14 │         "IsDefault": false
          ·                      ──┬──
          ·                        ╰── look here
       15 │     }
       16 │ ]
          ╰────

          ╭─[aws/ec2/describe-network-acls.json:3:9]
        3 │ ╭─▶ {
        4 │ │       "NetworkAclId": "acl-0123456789abcdef0",
        5 │ │       "Entries": [
        6 │ │           {
        7 │ │               "CidrBlock": "0.0.0.0/0",
        8 │ │               "Egress": true,
        9 │ │               "Protocol": "17",
       10 │ │               "RuleAction": "deny",
       11 │ │               "RuleNumber": 90
       12 │ │           }
       13 │ │       ],
       14 │ │       "IsDefault": false
       15 │ ├─▶ }
          · ╰──── no such key
          ╰────

      affected: Subnet subnet-0aaa (private-a); Node ip-10-0-1-7.ec2.internal

      fix: Delete ACL entry 90

        aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90

      docs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html

    Not checked (3), for want of
      ec2:DescribeRouteTables (not recorded): node-cannot-reach-endpoint
      iam:GetRole (AccessDenied): node-role-lacks-policy (2)

    Problems of the input
      aws/elbv2/broken.json:2:12: expected value
        help: export it again with `--output json`; nothing of it was used

    Notes
      other.json: holds no answer that eks-doctor knows; it was ignored
        help: docs/snapshot.md lists the files that are read

    1 error, 1 warning (84 passed, 3 skipped)
    "#);
}

#[test]
fn a_trace_in_ascii() {
    let mut report = pointing(Vec::new());
    report.findings[0].trace = Some(trace());
    assert_snapshot!(text(&report, &acls(), &ASCII), @r"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

      path: udp/53 from eni-0node to eni-0coredns: blocked
      |- forward
      |  |- ok security group egress at eni-0node by sg-0nodes sgr-0all
      |  `- ok route at subnet-0aaa by rtb-0main 10.0.0.0/16 local
      `- return
         |- x  network ACL egress at acl-0123456789abcdef0 BLOCKED by rule 90
         |     [SUBNET_ACL_RESTRICTION]
         `- ?  security group ingress at eni-0node unknown: sg-0other is not in the
               recorded answers

    1 error (84 passed, 0 skipped)
    ");
}

#[test]
fn all_is_well() {
    let mut report = report(Vec::new());
    assert_snapshot!(text(&report, &acls(), &ASCII), @"No problem found in prod: 84 checks passed.");
    report.skipped = vec![skipped("a-rule", "a", "iam:GetRole", "AccessDenied")];
    assert_snapshot!(text(&report, &acls(), &UNICODE), @r"
    Not checked (1), for want of
      iam:GetRole (AccessDenied): a-rule

    No problem found in prod: 84 checks passed, 1 could not be made.
    ");
    report.passed = 0;
    assert_snapshot!(text(&report, &acls(), &ASCII), @r"
    Not checked (1), for want of
      iam:GetRole (AccessDenied): a-rule

    Nothing could be checked in prod: what 1 check needed is not there.
    ");
}

#[test]
fn broken_input_is_not_all_well() {
    let snapshot = Snapshot::from_documents(vec![("vpcs.json".to_owned(), "{\n  \"Vpcs\": [,]\n}".to_owned())]);
    assert_snapshot!(text(&report(Vec::new()), &snapshot, &ASCII), @r"
    Problems of the input
      vpcs.json:2:12: expected value
        help: export it again with `--output json`; nothing of it was used

    No problem found in what could be read of prod: 84 checks passed.
    ");
}

#[test]
fn many_suffer() {
    let mut report = pointing(Vec::new());
    report.findings[0].affected =
        (0..100).map(|i| resource("Node", &format!("ip-10-0-1-{i}.ec2.internal"), None)).collect();
    assert_snapshot!(text(&report, &acls(), &ASCII), @r"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

      affected: Node ip-10-0-1-0.ec2.internal, ip-10-0-1-1.ec2.internal,
        ip-10-0-1-2.ec2.internal, ip-10-0-1-3.ec2.internal,
        ip-10-0-1-4.ec2.internal, ip-10-0-1-5.ec2.internal,
        ip-10-0-1-6.ec2.internal, ip-10-0-1-7.ec2.internal,
        ip-10-0-1-8.ec2.internal, ip-10-0-1-9.ec2.internal and 90 more

    1 error (84 passed, 0 skipped)
    ");
}

#[test]
fn a_minified_file() {
    let value: Value = serde_json::from_str(ACLS).unwrap();
    let filler: Vec<_> = (0..5000).map(|i| json!({"NetworkAclId": format!("acl-{i:017}"), "Entries": []})).collect();
    let mut all = json!({"NetworkAcls": filler});
    all["NetworkAcls"].as_array_mut().unwrap().push(value["NetworkAcls"][0].clone());
    let snapshot = Snapshot::from_documents(vec![("acls.json".to_owned(), all.to_string())]);
    let report = pointing(vec![
        evidence("/NetworkAcls/5000/Entries/0", "this entry matches first"),
        evidence("/NetworkAcls/5000/IsDefault", "not the default one"),
        evidence("/NetworkAcls", "all of them"),
    ]);
    assert_snapshot!(text(&report, &snapshot, &UNICODE), @r#"
    DNS does not resolve (1 error)
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

         ╭─[acls.json:1:270029]
         │ ╭─▶ {
         │ │     "CidrBlock": "0.0.0.0/0",
         │ │     "Egress": true,
         │ │     "Protocol": "17",
         │ │     "RuleAction": "deny",
         │ │     "RuleNumber": 90
         │ ├─▶ }
         · ╰──── this entry matches first
         ╰────

         ╭─[acls.json:1:270134]
         │     }
         │   ],
         │   "IsDefault": false,
         ·                ──┬──
         ·                  ╰── not the default one
         │   "NetworkAclId": "acl-0123456789abcdef0"
         │ }
         ╰────

          ╭─[acls.json:1:16]
          │ ╭─▶ "NetworkAcls": [
          │ │     {
          │ │       "Entries": [],
          │ │       "NetworkAclId": "acl-00000000000000000"
          │ │     },
          │ │     {
          │ │       "Entries": [],
          │ │       "NetworkAclId": "acl-00000000000000001"
          │ │     },
          │ │     {
          │ │       "Entries": [],
          │ ├─▶     "NetworkAclId": "acl-00000000000000002"
          · ╰──── all of them (and more)
          ╰────

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn a_very_long_line() {
    let long = "x".repeat(70_000);
    let file = format!(
        "{{\n  \"Vpcs\": [\n    {{\"VpcId\": \"vpc-0\", \"Note\": \"{long}\", \"State\": \"gone\"}}\n  ]\n}}\n"
    );
    let snapshot = Snapshot::from_documents(vec![("vpcs.json".to_owned(), file)]);
    let report = pointing(vec![
        evidence("/Vpcs/0/State", "must be available"),
        evidence("/Vpcs/0/Note", "far too long"),
        evidence("/Vpcs/0", "the whole object"),
    ]);
    assert_snapshot!(text(&report, &snapshot, &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

         ,-[vpcs.json:3:70045]
         | "State": "gone"
         :          ^^^|^^
         :             `-- must be available
         `----

         ,-[vpcs.json:3:32]
         | "Note": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
         :         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^|^^^^^^^^^^^^^^^^^^^^^^^^^^^^
         :                                     `-- far too long
         `----

         ,-[vpcs.json:3:5]
         | ,-> {
         | |     "VpcId": "vpc-0",
         | |     "Note": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...
         | |     "State": "gone"
         | |-> }
         : `---- the whole object
         `----

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn a_line_wider_than_the_terminal() {
    let tail = "y".repeat(100);
    let file = format!(
        "{{\n  \"Vpcs\": [\n    {{\n      \"VpcId\": \"vpc-0{tail}\",\n      \"State\": \"gone\"\n    }}\n  ]\n}}\n"
    );
    let snapshot = Snapshot::from_documents(vec![("vpcs.json".to_owned(), file)]);
    let report = pointing(vec![
        evidence("/Vpcs/0/VpcId", "a label that says a lot about what is to be seen here, and goes on and on and on"),
        evidence("/Vpcs/0", "the whole object"),
    ]);
    assert_snapshot!(text(&report, &snapshot, &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

         ,-[vpcs.json:4:16]
       2 | "Vpcs": [
       3 |   {
       4 |     "VpcId": "vpc-0yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...
         :              ^^^^^^^^^^^^^^^^^^^^^^^^^^|^^^^^^^^^^^^^^^^^^^^^^^^^
         :                                        `-| a label that says a lot
         :                                          | about what is to be seen
         :                                          | here, and goes on and on
         :                                          | and on
       5 |     "State": "gone"
       6 |   }
         `----

         ,-[vpcs.json:3:5]
       2 |     "Vpcs": [
       3 | ,->   {
       4 | |       "VpcId": "vpc-0yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...
       5 | |       "State": "gone"
       6 | |->   }
         : `---- the whole object
       7 |     ]
         `----

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn characters_of_several_bytes_before_the_place() {
    let file = "{\"Vpcs\": [{\"Tags\": [{\"Key\": \"Größe 😀\", \"Value\": \"l\"}], \"State\": \"gone\"}]}";
    let snapshot = Snapshot::from_documents(vec![("vpcs.json".to_owned(), file.to_owned())]);
    assert_snapshot!(text(&pointing(vec![evidence("/Vpcs/0/State", "here")]), &snapshot, &UNICODE), @r#"
    DNS does not resolve (1 error)
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

         ╭─[vpcs.json:1:65]
         │     }
         │   ],
         │   "State": "gone"
         ·            ───┬──
         ·               ╰── here
         │ }
         ╰────

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn a_long_element_is_cut() {
    let ids: Vec<_> = (0..40).map(|i| format!("subnet-{i}")).collect();
    let file = serde_json::to_string_pretty(&json!({"cluster": {"name": "prod", "subnetIds": ids}})).unwrap();
    let snapshot = Snapshot::from_documents(vec![("cluster.json".to_owned(), file)]);
    assert_snapshot!(text(&pointing(vec![evidence("/cluster/subnetIds", "none is public")]), &snapshot, &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

          ,-[cluster.json:4:18]
        4 | ,-> "subnetIds": [
        5 | |     "subnet-0",
        6 | |     "subnet-1",
        7 | |     "subnet-2",
        8 | |     "subnet-3",
        9 | |     "subnet-4",
       10 | |     "subnet-5",
       11 | |     "subnet-6",
       12 | |     "subnet-7",
       13 | |     "subnet-8",
       14 | |     "subnet-9",
       15 | |->   "subnet-10",
          : `---- none is public (30 more lines)
          `----

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn a_tall_object_is_shown_by_its_id() {
    let tall: Vec<_> = (0..40).map(|i| json!({"Key": format!("k{i}")})).collect();
    let file = json!({"NetworkAcls": [{"Associations": tall, "NetworkAclId": "acl-0a", "OwnerId": "1111"}]});
    let file = serde_json::to_string_pretty(&file).unwrap();
    let notes: serde_json::Map<_, _> = (0..50).map(|i| (format!("k{i}"), json!("v"))).collect();
    let metadata = json!({"annotations": notes, "name": "web-0", "uid": "1"});
    let pods = json!({"kind": "List", "items": [{"kind": "Pod", "metadata": metadata}]}).to_string();
    let snapshot = Snapshot::from_documents(vec![("acls.json".to_owned(), file), ("pods.json".to_owned(), pods)]);
    let pod = Evidence { document: 1, ..evidence("/items/0", "this pod") };
    assert_snapshot!(text(&pointing(vec![evidence("/NetworkAcls/0", "this ACL"), pod]), &snapshot, &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

           ,-[acls.json:3:5]
       124 |     }
       125 |   ],
       126 |   "NetworkAclId": "acl-0a",
           :                   ^^^^|^^^
           :                       `-- this ACL
       127 |   "OwnerId": "1111"
       128 | }
           `----

         ,-[pods.json:1:11]
         |     "k9": "v"
         |   },
         |   "name": "web-0",
         :           ^^^|^^^
         :              `-- this pod
         |   "uid": "1"
         | }
         `----

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn what_says_the_same_of_many_places_is_shown_twice() {
    let rows: Vec<_> = (0..14).map(|i| json!({"VpcId": format!("vpc-{i}")})).collect();
    let file = serde_json::to_string_pretty(&json!({"Vpcs": rows})).unwrap();
    let snapshot = Snapshot::from_documents(vec![("vpcs.json".to_owned(), file)]);
    let many = (0..14).map(|i| evidence(&format!("/Vpcs/{i}/VpcId"), "this one")).collect();
    let shown = text(&pointing(many), &snapshot, &ASCII);
    assert_eq!(shown.matches("`-- this one").count(), 2, "{shown}");
    let also = shown.split("  also: ").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_snapshot!(also, @r#"
    this one: vpcs.json:10:16, vpcs.json:13:16, vpcs.json:16:16,
        vpcs.json:19:16, vpcs.json:22:16, vpcs.json:25:16, vpcs.json:28:16,
        vpcs.json:31:16, vpcs.json:34:16, vpcs.json:37:16 and 2 more
    "#);
}

#[test]
fn commands_are_left_as_they_are() {
    let mut report = pointing(Vec::new());
    report.findings[0].fixes = vec![Fix {
        title: "Let nodes in".to_owned(),
        commands: vec!["kubectl apply -f - <<'EOF'\nkind: ConfigMap\ndata:\n  a: \"\u{1b}[31mb\"\nEOF".to_owned()],
        effect: Effect::Unproved,
    }];
    assert_snapshot!(text(&report, &acls(), &ASCII), @r#"
    DNS does not resolve (1 error)
    ==============================

    error[dns-blocked-by-network-acl]: network ACL acl-0123456789abcdef0 rule 90
      drops DNS answers to subnet-0aaa

      fix: Let nodes in

    kubectl apply -f - <<'EOF'
    kind: ConfigMap
    data:
      a: "[31mb"
    EOF

    1 error (84 passed, 0 skipped)
    "#);
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plain = text(&full(), &acls(), &UNICODE);
    let coloured = text(&full(), &acls(), &Style { color: true, ..UNICODE });
    let mut rest = coloured.as_str();
    let mut bare = String::new();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        bare += before;
        rest = after.split_once('m').unwrap().1;
    }
    bare += rest;
    assert_eq!(bare.lines().map(str::trim_end).collect::<Vec<_>>(), plain.lines().collect::<Vec<_>>());
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn ascii_and_80_columns() {
    let shown = text(&full(), &acls(), &ASCII);
    assert!(shown.is_ascii());
    for line in shown.lines().filter(|line| !line.contains("aws ec2") && !line.contains("https:")) {
        assert!(line.len() <= 80, "{line}");
    }
}
