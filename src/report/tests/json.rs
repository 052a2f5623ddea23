//! The report as JSON, and its schema.

use insta::assert_snapshot;
use serde_json::Value;

use super::{acls, full, report};
use crate::report::{Source, json as to_json, schema};

#[test]
fn json_as_the_format_says() {
    let mut snapshot = acls();
    snapshot.manifest.recorded_at = Some("2026-01-02T03:04:05Z".to_owned());
    let mut report = full();
    report.findings.truncate(1);
    report.skipped.truncate(1);
    assert_snapshot!(to_json(&report, &snapshot, &Source::Snapshot { path: "fixtures/nacl".to_owned() }), @r#"
    {
      "format": 1,
      "tool": {
        "name": "eks-doctor",
        "version": "0.1.0"
      },
      "cluster": {
        "name": "prod",
        "region": "us-west-2"
      },
      "source": {
        "kind": "snapshot",
        "path": "fixtures/nacl",
        "recordedAt": "2026-01-02T03:04:05Z"
      },
      "findings": [
        {
          "rule": "dns-blocked-by-network-acl",
          "issue": "dns-does-not-resolve",
          "severity": "error",
          "resource": {
            "kind": "NetworkAcl",
            "id": "acl-0123456789abcdef0",
            "name": "prod-private"
          },
          "affected": [
            {
              "kind": "Subnet",
              "id": "subnet-0aaa",
              "name": "private-a"
            },
            {
              "kind": "Node",
              "id": "ip-10-0-1-7.ec2.internal"
            }
          ],
          "message": "network ACL acl-0123456789abcdef0 rule 90 drops DNS answers to subnet-0aaa",
          "because": "a network ACL keeps no state, so the answers need a rule of their own; without it each lookup waits until it times out",
          "evidence": [
            {
              "file": "aws/ec2/describe-network-acls.json",
              "pointer": "/NetworkAcls/0/Entries/0",
              "line": 6,
              "column": 17,
              "start": 127,
              "end": 345,
              "text": "this entry matches first"
            }
          ],
          "trace": {
            "from": "eni-0node",
            "to": "eni-0coredns",
            "protocol": "udp",
            "port": 53,
            "disposition": "blocked",
            "forward": [
              {
                "at": "eni-0node",
                "step": "security group egress",
                "verdict": "allowed",
                "by": "sg-0nodes sgr-0all"
              },
              {
                "at": "subnet-0aaa",
                "step": "route",
                "verdict": "allowed",
                "by": "rtb-0main 10.0.0.0/16 local"
              }
            ],
            "return": [
              {
                "at": "acl-0123456789abcdef0",
                "step": "network ACL egress",
                "verdict": "blocked",
                "by": "rule 90",
                "code": "SUBNET_ACL_RESTRICTION"
              },
              {
                "at": "eni-0node",
                "step": "security group ingress",
                "verdict": "unknown",
                "note": "sg-0other is not in the recorded answers"
              }
            ]
          },
          "fixes": [
            {
              "title": "Delete ACL entry 90",
              "commands": [
                "aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90"
              ],
              "effect": "proved"
            }
          ],
          "docs": "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html",
          "fingerprint": "9f2c"
        }
      ],
      "skipped": [
        {
          "rule": "node-role-lacks-policy",
          "resource": {
            "kind": "Node",
            "id": "a"
          },
          "missing": [
            {
              "read": "iam:GetRole",
              "reason": "AccessDenied"
            }
          ]
        }
      ],
      "suppressed": [],
      "summary": {
        "errors": 1,
        "warnings": 0,
        "infos": 0,
        "passed": 84,
        "skipped": 1,
        "suppressed": 0
      }
    }
    "#);
}

#[test]
fn json_follows_its_schema() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let snapshot = acls();
    for report in [full(), report(Vec::new())] {
        for source in [Source::Live, Source::Snapshot { path: "x".to_owned() }] {
            let value: Value = serde_json::from_str(&to_json(&report, &snapshot, &source)).unwrap();
            let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new());
            assert!(!value.to_string().contains("null"));
        }
    }
    let mut wrong: Value = serde_json::from_str(&to_json(&full(), &snapshot, &Source::Live)).unwrap();
    wrong["cluster"]["region"] = Value::Null;
    assert!(!validator.is_valid(&wrong));
    wrong["cluster"].as_object_mut().unwrap().remove("region");
    assert!(validator.is_valid(&wrong));
    wrong["findings"][0].as_object_mut().unwrap().remove("rule");
    assert!(!validator.is_valid(&wrong));
}
