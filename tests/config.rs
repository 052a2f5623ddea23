//! What `eks-doctor.yaml` decides: suppressions, thresholds, choices, and how mistakes in it are told.

#![allow(clippy::unwrap_used)]

mod run;

use run::{Folder, eks_doctor};

const FIXTURE: &str = "fixtures/nacl-drops-dns";

fn checked(config: &str, more: &[&str]) -> run::Ran {
    let folder = Folder::new("config");
    let config = folder.write("eks-doctor.yaml", config);
    let mut arguments = vec!["check", "--snapshot", FIXTURE, "--config", &config, "--today", "2026-06-15"];
    arguments.extend(more);
    let mut ran = eks_doctor(&arguments);
    ran.forget(&folder);
    ran
}

/// The rule and resource that the fixture's error is about.
fn fault() -> (String, String) {
    let ran = eks_doctor(&["check", "--snapshot", FIXTURE, "--format", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let found = &ran.json()["findings"][0];
    (found["rule"].as_str().unwrap().to_owned(), found["resource"]["id"].as_str().unwrap().to_owned())
}

#[test]
fn suppressed_findings_are_counted_and_listed_in_every_format() {
    let (rule, resource) = fault();
    let short = &resource[..8];
    for entry in [
        format!("rule: {rule}"),
        format!("resource: {resource}"),
        format!("resource: '{short}*'"),
        format!("rule: dns-*\n    resource: {resource}"),
        "rule: dns-does-not-resolve".to_owned(),
        format!("resource: {resource}\n    until: 2026-06-15"),
    ] {
        let config = format!("suppress:\n  - {entry}\n    reason: being moved\n");
        let ran = checked(&config, &["--format", "json"]);
        let report = ran.json();
        assert_eq!(ran.code, 0, "{entry}: {}{}", ran.out, ran.err);
        assert_eq!(report["summary"]["errors"], 0, "{entry}");
        assert_eq!(report["summary"]["suppressed"], 1, "{entry}");
        let one = &report["suppressed"][0];
        assert_eq!(one["finding"]["rule"], rule.as_str());
        assert_eq!(one["reason"], "being moved");
        assert_eq!(one["by"], "DIR/eks-doctor.yaml:2");
        assert_eq!(one.get("until").is_some(), entry.contains("until"));
        assert!(report.get("warnings").is_none(), "{entry}: {report}");
    }
    let config = format!("suppress:\n  - rule: {rule}\n    reason: being moved\n");
    for (format, wanted) in [
        ("text", "Suppressed (1)"),
        ("sarif", "\"justification\": \"being moved\""),
        ("junit", "being moved"),
        ("markdown", "### Suppressed (1)"),
        ("github", "1 suppressed"),
    ] {
        let ran = checked(&config, &["--format", format]);
        assert_eq!(ran.code, 0, "{format}: {}", ran.err);
        assert!(ran.out.contains(wanted), "{format}:\n{}", ran.out);
    }
}

#[test]
fn what_does_not_fit_is_no_suppression_and_says_so() {
    let (rule, _) = fault();
    for (entry, warning) in [
        (
            "rule: dns-blokced".to_owned(),
            "DIR/eks-doctor.yaml:2: the suppression of rule dns-blokced fits nothing: no rule or issue `dns-blokced`; \
             `eks-doctor rules` lists them",
        ),
        (
            "resource: acl-nowhere".to_owned(),
            "DIR/eks-doctor.yaml:2: the suppression of resource acl-nowhere fits nothing: remove it",
        ),
        (
            format!("rule: {rule}\n    tag: Name=nowhere\n    until: 2026-06-14"),
            "tag Name=nowhere fits nothing and is over: remove it",
        ),
    ] {
        let config = format!("suppress:\n  - {entry}\n    reason: x\n");
        let ran = checked(&config, &["--format", "json"]);
        assert_eq!(ran.code, 1, "{entry}");
        let warnings = ran.json()["warnings"].clone();
        assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");
        assert!(warnings[0].as_str().unwrap().contains(warning), "{warnings}");
        assert!(ran.err.contains(warning), "{}", ran.err);
        let text = checked(&config, &[]);
        assert!(text.out.contains("Configuration\n  warning: DIR/"), "{}", text.out);
        let page = checked(&config, &["--format", "html"]).out;
        let told = page.split_once("<h2 id=\"configuration\">The configuration <span class=\"count\">1</span></h2>");
        let told = told.unwrap_or_else(|| panic!("the page does not speak of the configuration")).1;
        assert!(told.contains("<span class=\"badge warning\">warning</span> DIR/eks-doctor.yaml:2: "), "{told}");
        assert!(!checked("", &["--format", "html"]).out.contains("id=\"configuration\""), "there is nothing to say");
    }
    // What could not be checked may well be there.
    let folder = Folder::new("part");
    for (path, text) in eks_doctor::change::documents(std::path::Path::new(FIXTURE)).unwrap() {
        if path != "k8s/serviceaccounts.json" {
            folder.write(&path, &text);
        }
    }
    let config = folder.write("eks-doctor.yaml", "suppress:\n  - resource: acl-nowhere\n    reason: x\n");
    let ran = eks_doctor(&["check", "--snapshot", &folder.at(""), "--config", &config, "--today", "2026-06-15"]);
    assert!(ran.out.contains("fits nothing that could be checked"), "{}", ran.out);
    // What did not run, too.
    let config = format!("skip: [{rule}]\nsuppress:\n  - rule: {rule}\n    reason: x\n");
    let ran = checked(&config, &["--format", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_suppression_that_is_over_says_so_on_the_finding() {
    let (rule, _) = fault();
    let config = format!("suppress:\n  - rule: {rule}\n    reason: until the move\n    until: 2026-06-14\n");
    let ran = checked(&config, &["--format", "json"]);
    assert_eq!(ran.code, 1);
    let report = ran.json();
    assert_eq!(
        report["findings"][0]["note"],
        "suppressed until 2026-06-14 (DIR/eks-doctor.yaml:2: until the move), which is over"
    );
    assert_eq!(report["summary"]["suppressed"], 0);
    // The last day counts, whatever says which day it is.
    let config = config.replace("06-14", "06-15");
    assert_eq!(checked(&config, &[]).code, 0);
    let folder = Folder::new("epoch");
    let path = folder.write("eks-doctor.yaml", &config);
    for (epoch, code) in [("1781567999", 0), ("1781568000", 1), ("soon", 2)] {
        let ran =
            run::with(&["check", "--snapshot", FIXTURE, "--config", &path], &[("SOURCE_DATE_EPOCH", epoch)], None);
        assert_eq!(ran.code, code, "{epoch}: {}", ran.err);
    }
}

#[test]
fn the_file_chooses_and_the_command_line_beats_it() {
    let (rule, _) = fault();
    assert_eq!(checked("fail-on: never\n", &[]).code, 0);
    assert_eq!(checked("fail-on: never\n", &["--fail-on", "error"]).code, 1);
    assert_eq!(checked(&format!("skip: [{rule}]\n"), &[]).code, 0);
    assert_eq!(checked(&format!("only: [{rule}]\n"), &["--only", "pods-get-no-ip"]).code, 0);
    assert_eq!(checked("only: [pods-get-no-ip]\nfail-on-skipped: false\n", &[]).code, 0);
    // One read is not there, so something is skipped.
    let folder = Folder::new("skipped");
    folder.write("eks-doctor.yaml", "fail-on: never\nfail-on-skipped: true\n");
    let subnets = std::fs::read_to_string("fixtures/healthy/aws/ec2/describe-subnets.json").unwrap();
    folder.write("subnets.json", &subnets);
    let here = Some(folder.path());
    assert_eq!(run::with(&["check", "--snapshot", "."], &[], here).code, 1, "found in the working directory");
    assert_eq!(run::with(&["check", "--snapshot", ".", "--fail-on-skipped=false"], &[], here).code, 0);
    assert_eq!(run::with(&["check", "--snapshot", ".", "--no-config"], &[], here).code, 0);
}

#[test]
fn thresholds_of_rules() {
    let folder = Folder::new("parameters");
    let run = |text: &str| {
        let path = folder.write("eks-doctor.yaml", text);
        eks_doctor(&["check", "--snapshot", "fixtures/healthy", "--config", &path, "--format", "json"])
    };
    assert_eq!(run("# nothing\n").json()["summary"]["warnings"], 0);
    let ran = run("parameters:\n  cluster-subnets-nearly-full: {leastFree: 1000000}\n");
    let report = ran.json();
    assert_eq!(report["findings"][0]["rule"], "cluster-subnets-nearly-full");
    assert!(report["findings"][0]["message"].as_str().unwrap().contains("1000000"), "{report}");
    let ran = run("parameters:\n  subnet-nearly-out-of-addresses: {leastFree: 1000000}\n");
    assert_eq!(ran.json()["findings"][0]["rule"], "subnet-nearly-out-of-addresses");
    // The same findings by the tags of what they are about.
    for (tag, suppressed) in [("Name=*-private-?", true), ("Name", true), ("name", false), ("Name=private", false)] {
        let entry = format!("suppress: [{{tag: '{tag}', reason: x}}]\n");
        let report =
            run(&format!("{entry}parameters:\n  subnet-nearly-out-of-addresses: {{leastFree: 1000000}}\n")).json();
        assert_eq!(report["summary"]["suppressed"].as_u64().unwrap() > 0, suppressed, "{tag}: {}", report["summary"]);
    }
    let explained = eks_doctor(&["explain", "cluster-subnets-nearly-full"]);
    assert!(explained.out.contains("leastFree: int = "), "{}", explained.out);
}

/// Every mistake ends with exit code 2, line and column, and nothing on standard output.
#[test]
fn mistakes_have_a_place() {
    let mut all = String::new();
    let folder = Folder::new("mistakes");
    for config in [
        "fail-on: sometimes\n",
        "fail_on: error\n",
        "fail-on-skipped: perhaps\n",
        "only: pods-get-no-ip\n",
        "only: [no-such-rule]\n",
        "skip:\n  - pods-get-no-ip\n  - nope\n",
        "suppress:\n  - rule: dns-*\n",
        "suppress:\n  - rule: dns-*\n    reason: '  '\n",
        "suppress:\n  - reason: all of it\n",
        "suppress:\n  - rule: ''\n    reason: x\n",
        "suppress:\n  - rule: dns-*\n    reason: x\n    until: 2026-02-30\n",
        "suppress:\n  - rule: dns-*\n    reasons: x\n",
        "suppress: {rule: x}\n",
        "parameters:\n  nope: {a: 1}\n",
        "parameters:\n  cluster-subnets-nearly-full: {least: 1}\n",
        "parameters:\n  vpc-dns-support-disabled: {least: 1}\n",
        "parameters:\n  cluster-subnets-nearly-full: {leastFree: many}\n",
        "suppress:\n  - rule: [\n",
        "fail-on: error\nfail-on: never\n",
        "- a list\n",
    ] {
        folder.write("eks-doctor.yaml", config);
        let ran = run::with(&["check", "--snapshot", "."], &[], Some(folder.path()));
        assert_eq!(ran.code, 2, "{config}: {}{}", ran.out, ran.err);
        assert_eq!(ran.out, "", "{config}");
        all += &format!("{config}---\n{}\n", ran.err);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new("unreadable");
    let nowhere = folder.at("nowhere.yaml");
    let ran = eks_doctor(&["check", "--snapshot", FIXTURE, "--config", &nowhere]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nowhere.yaml: No such file"), "{}", ran.err);
    let config = folder.write("eks-doctor.yaml", "rules: [more]\n");
    let ran = eks_doctor(&["rules", "--config", &config]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("more: No such file"), "relative to the file: {}", ran.err);
    let ran = eks_doctor(&["check", "--snapshot", FIXTURE, "--config", &config, "--no-config"]);
    assert_eq!(ran.code, 2);
}
