//! The formats for machines, held against schemas that are not ours.

use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use super::{acls, evidence, full, resource};
use crate::diagnostic::{Compared, Gone, Issue, Report, Severity, Suppressed};
use crate::report::{Context, RuleInfo, Source, github, html, junit, markdown, sarif};
use crate::snapshot::Snapshot;

fn schemas() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas")
}

fn rules() -> Vec<RuleInfo> {
    let info = |id: &str, issue, severity| RuleInfo {
        id: id.to_owned(),
        issue,
        title: "A title".to_owned(),
        severity,
        page: format!("# {id}\n\nA page\n"),
        docs: "https://docs.aws.amazon.com/".to_owned(),
    };
    vec![
        info("node-role-lacks-policy", Issue::NodesCannotJoin, Some(Severity::Error)),
        info("subnet-nearly-full", Issue::PodsGetNoIp, None),
        info("dns-blocked-by-network-acl", Issue::DnsDoesNotResolve, Some(Severity::Error)),
        info("all-is-well", Issue::DnsDoesNotResolve, Some(Severity::Info)),
    ]
}

/// Some of everything, with text that has to be escaped.
fn all() -> Report {
    let mut report = full();
    let mut quiet = report.findings[1].clone();
    quiet.rule = "all-is-well".to_owned();
    quiet.issue = Issue::DnsDoesNotResolve;
    quiet.message = "<b>\u{1b}[31m | @all, `x`: 100% ]]> \"\u{1}".to_owned();
    quiet.evidence = vec![evidence("/NetworkAcls/0", "here")];
    report.suppressed = vec![Suppressed {
        finding: quiet.clone(),
        by: "eks-doctor.yaml:3".to_owned(),
        reason: "a test".to_owned(),
        until: Some("2026-12-31".to_owned()),
    }];
    quiet.known = true;
    quiet.evidence.clear();
    quiet.note = Some("the suppression is over".to_owned());
    report.findings.push(quiet);
    report.warnings = vec!["eks-doctor.yaml:9: `<x>` fits nothing, 100%".to_owned()];
    report.compared = Some(Compared {
        file: "baseline.json".to_owned(),
        gone: vec![Gone {
            rule: "r".to_owned(),
            resource: resource("Vpc", "vpc-1", None),
            message: "went".to_owned(),
            fingerprint: "00".to_owned(),
        }],
    });
    report
}

fn snapshot() -> Snapshot {
    let mut documents = vec![("b ä#.json".to_owned(), "{\n \"Vpcs\": [,]\n}".to_owned())];
    documents.extend(acls().documents.into_iter().map(|d| (d.path, d.text)));
    documents.sort();
    Snapshot::from_documents(documents)
}

#[test]
fn sarif_is_valid_by_the_official_schema() {
    let schema: Value =
        serde_json::from_slice(&std::fs::read(schemas().join("sarif-schema-2.1.0.json")).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let rules = rules();
    for folder in ["./snapshots/prod", "/abs/a b", ""] {
        let context = Context { rules: &rules, folder };
        let text = sarif(&all(), &snapshot(), &context);
        assert_eq!(text, sarif(&all(), &snapshot(), &context));
        let log: Value = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> = validator.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let run = &log["runs"][0];
        for result in run["results"].as_array().unwrap() {
            // GitHub wants a place of every result, and that the index is the rule's.
            assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].as_u64().unwrap() >= 1);
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
        assert_eq!(run["results"][0]["codeFlows"][0]["threadFlows"].as_array().unwrap().len(), 2);
        assert_eq!(run["results"][3]["suppressions"][0]["justification"], "a test");
        let told = &run["invocations"][0]["toolConfigurationNotifications"];
        assert_eq!(told[0]["message"]["text"], "eks-doctor.yaml:9: `<x>` fits nothing, 100%");
    }
    // The validator does find faults.
    assert!(!validator.is_valid(&serde_json::json!({"version": "2.1.0", "runs": [{"tool": {}}]})));
}

#[test]
fn junit_is_valid_by_the_schema_of_jenkins() {
    let rules = rules();
    let text = junit(&all(), &snapshot(), &Context { rules: &rules, folder: "snap" });
    let file = std::env::temp_dir().join(format!("eks-doctor-junit-{}.xml", std::process::id()));
    std::fs::write(&file, &text).unwrap();
    let run = std::process::Command::new("xmllint")
        .args(["--noout", "--schema"])
        .args([schemas().join("junit-10.xsd"), file.clone()])
        .output();
    let _ = std::fs::remove_file(&file);
    match run {
        Ok(run) => assert!(run.status.success(), "{}\n{text}", String::from_utf8_lossy(&run.stderr)),
        Err(error) => eprintln!("not validated, since xmllint cannot be run: {error}"),
    }
    let heads: Vec<&str> =
        text.lines().filter(|l| ["<test", "<skipped", "<system-err"].iter().any(|t| l.contains(t))).collect();
    assert_snapshot!(heads.join("\n"), @r#"
    <testsuites name="eks-doctor" tests="5" failures="2" errors="0">
      <testsuite name="nodes-cannot-join" tests="2" failures="0" errors="0" skipped="2">
        <testcase name="node-cannot-reach-endpoint" classname="eks-doctor.nodes-cannot-join">
          <skipped message="needs ec2:DescribeRouteTables: not recorded"/>
        <testcase name="node-role-lacks-policy" classname="eks-doctor.nodes-cannot-join">
          <skipped message="needs iam:GetRole: AccessDenied"/>
        <system-err>warning: eks-doctor.yaml:9: `&lt;x&gt;` fits nothing, 100%
      <testsuite name="pods-get-no-ip" tests="1" failures="1" errors="0" skipped="0">
        <testcase name="subnet-nearly-full" classname="eks-doctor.pods-get-no-ip">
      <testsuite name="dns-does-not-resolve" tests="2" failures="1" errors="0" skipped="0">
        <testcase name="all-is-well" classname="eks-doctor.dns-does-not-resolve">
        <testcase name="dns-blocked-by-network-acl" classname="eks-doctor.dns-does-not-resolve">
    "#);
}

#[test]
fn annotations() {
    let rules = rules();
    assert_snapshot!(github(&all(), &snapshot(), &Context { rules: &rules, folder: "./a,b" }), @r#"
    ::error file=a%2Cb/aws/ec2/describe-network-acls.json,line=6,endLine=12,title=dns-blocked-by-network-acl::network ACL acl-0123456789abcdef0 rule 90 drops DNS answers to subnet-0aaa%0Awhy: a network ACL keeps no state, so the answers need a rule of their own; without it each lookup waits until it times out%0Afix: Delete ACL entry 90%0A  aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90%0Adocs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html
    ::warning file=a%2Cb/aws/ec2/describe-network-acls.json,line=14,endLine=14,col=26,endColumn=31,title=subnet-nearly-full::network ACL acl-0123456789abcdef0 rule 90 drops DNS answers to subnet-0aaa%0Awhy: a network ACL keeps no state, so the answers need a rule of their own; without it each lookup waits until it times out%0Afix: Delete ACL entry 90%0A  aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90%0Adocs: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html
    ::warning title=configuration::eks-doctor.yaml:9: `<x>` fits nothing, 100%25
    eks-doctor: 1 error, 2 warnings (84 passed, 3 skipped, 1 suppressed, 1 in the baseline)
    "#);
}

#[test]
fn a_comment() {
    let rules = rules();
    let mut report = all();
    report.findings.drain(..1);
    assert_snapshot!(markdown(&report, &snapshot(), &Context { rules: &rules, folder: "snap" }), @r#"
    ## eks-doctor: prod

    **2 warnings (84 passed, 3 skipped, 1 suppressed, 1 in the baseline)**

    ### Pods get no IP address

    <details><summary>⚠️ <b>warning</b> <code>subnet-nearly-full</code>: network ACL acl-0123456789abcdef0 rule 90 drops DNS answers to subnet-0aaa</summary>

    **Why:** a network ACL keeps no state, so the answers need a rule of their own; without it each lookup waits until it times out

    - <code>snap/aws/ec2/describe-network-acls.json:14:26</code> look here
    - <code>snap/aws/ec2/describe-network-acls.json:3:9</code> no such key

    **Affected:** Subnet subnet-0aaa, Node ip-10-0-1-7.ec2.internal

    **Fix:** Delete ACL entry 90

    ```sh
    aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90
    ```

    <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>

    </details>

    ### DNS does not resolve

    <details><summary>⚠️ <b>warning</b> <code>all-is-well</code>: &#60;b&#62; &#91;31m &#124; &#64;all, &#96;x&#96;: 100% &#93;&#93;&#62; "  (in the baseline)</summary>

    **Note:** the suppression is over

    **Why:** a network ACL keeps no state, so the answers need a rule of their own; without it each lookup waits until it times out

    **Affected:** Subnet subnet-0aaa, Node ip-10-0-1-7.ec2.internal

    **Fix:** Delete ACL entry 90

    ```sh
    aws ec2 delete-network-acl-entry --network-acl-id acl-0123456789abcdef0 --egress --rule-number 90
    ```

    <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>

    </details>

    ### Suppressed (1)

    - ⚠️ <b>warning</b> <code>all-is-well</code>: &#60;b&#62; &#91;31m &#124; &#64;all, &#96;x&#96;: 100% &#93;&#93;&#62; " : a test until 2026-12-31 (eks-doctor.yaml:3)

    ### Gone since baseline.json (1)

    - r: went

    ### Configuration

    - ⚠️ eks-doctor.yaml:9: &#96;&#60;x&#62;&#96; fits nothing, 100%

    ### Not checked (3), for want of

    - ec2:DescribeRouteTables: not recorded
    - iam:GetRole: AccessDenied
    "#);
    let one = report.findings[0].clone();
    report.findings = vec![one; 2000];
    let text = markdown(&report, &snapshot(), &Context { rules: &rules, folder: "snap" });
    assert!(text.len() < 65_536 && text.contains("more findings are not shown"), "{}", text.len());
    // Text that grows when it is escaped.
    for finding in &mut report.findings {
        finding.message = "<@".repeat(1000);
    }
    report.suppressed = vec![report.suppressed[0].clone(); 1000];
    report.suppressed[3].reason = "|".repeat(1000);
    let text = markdown(&report, &snapshot(), &Context { rules: &rules, folder: "snap" });
    assert!(text.len() < 65_536, "{}", text.len());
    assert!(text.contains("more findings are not shown"));
}

/// Without the style, the script and their hashes; the picture has tests of its own in `tests/html.rs`.
#[test]
fn a_page() {
    let rules = rules();
    let context = Context { rules: &rules, folder: "./snapshots/prod" };
    let page = html(&all(), &snapshot(), &context, &Source::Live, &[]);
    let mut shown = page.clone();
    for (from, to) in [("<style>", "</style>"), ("<script>", "</script>"), ("content=\"default-src", "form-action")] {
        let start = shown.find(from).unwrap() + from.len();
        let end = start + shown[start..].find(to).unwrap();
        shown.replace_range(start..end, " ... ");
    }
    assert_snapshot!("html", shown);
    assert_eq!(page, html(&all(), &snapshot(), &context, &Source::Live, &[]));
}
