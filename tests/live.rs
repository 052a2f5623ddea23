//! Reading live servers: `tests/live/servers run cargo test --test live` starts them (README.md there).
//!
//! Without them, and in a build that cannot read live clusters, the tests say that they were skipped.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The servers are one, and tests give them faults: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

struct Servers {
    aws: String,
    kubeconfig: Option<String>,
    _one: MutexGuard<'static, ()>,
}

/// What a run of the program left.
struct Run {
    code: i32,
    report: Value,
    errors: String,
    took: Duration,
}

fn servers() -> Option<Servers> {
    let Ok(aws) = std::env::var("EKS_DOCTOR_LIVE_AWS") else {
        println!("skipped: no servers; `tests/live/servers run cargo test --test live` starts them");
        return None;
    };
    if !cfg!(feature = "live") {
        println!("skipped: this build cannot read live clusters; build with the feature `live`");
        return None;
    }
    let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let servers = Servers { aws, kubeconfig: std::env::var("EKS_DOCTOR_LIVE_KUBECONFIG").ok(), _one: one };
    servers.post("/_fault", &json!({}));
    servers.post("/_delay", &json!({"milliseconds": 0}));
    Some(servers)
}

impl Servers {
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let host = self.aws.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn post(&self, path: &str, body: &Value) {
        self.ask("POST", path, &body.to_string());
    }

    fn fault(&self, operation: &str, kind: &str, times: u32) {
        self.post("/_fault", &json!({"operation": operation, "kind": kind, "times": times}));
    }

    /// The operations asked for since the last time.
    fn calls(&self) -> Vec<String> {
        let calls: Value = serde_json::from_str(&self.ask("GET", "/_calls", "")).unwrap();
        calls.as_array().unwrap().iter().map(|c| c["operation"].as_str().unwrap().to_owned()).collect()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("AWS_ACCESS_KEY_ID", "testing")
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("NO_PROXY", "*")
            .env_remove("AWS_PROFILE");
        command
    }

    fn kubernetes(&self) -> Vec<&str> {
        self.kubeconfig.as_deref().map_or(vec!["--no-kubernetes"], |file| vec!["--kubeconfig", file])
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let start = Instant::now();
        let output = self.command(Path::new(env!("CARGO_BIN_EXE_eks-doctor"))).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Run { code: output.status.code().expect("it ends by itself"), report, errors, took: start.elapsed() }
    }

    fn check(&self, more: &[&str]) -> Run {
        let run = self.run(&[&["check", "--cluster", "demo", "--format", "json"][..], more].concat());
        assert!(run.code < 2, "exit code {}: {}", run.code, run.errors);
        assert!(run.report.is_object(), "no report: {}", run.errors);
        run
    }

    /// Checks AWS only, as `more` says.
    fn check_aws(&self) -> Run {
        self.check(&["--no-kubernetes"])
    }
}

/// The report without what differs by nature.
fn plain(report: &Value) -> Value {
    let mut report = report.clone();
    report.as_object_mut().unwrap().remove("source");
    report
}

fn rules(report: &Value, list: &str) -> BTreeSet<String> {
    report[list].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap().to_owned()).collect()
}

/// Rule, severity and resource of each finding.
fn findings(report: &Value) -> BTreeSet<String> {
    let line = |f: &Value| format!("{} {} {}", f["severity"], f["rule"], f["resource"]["id"]);
    report["findings"].as_array().unwrap().iter().map(line).collect()
}

/// A folder of this test's own.
fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("eks-doctor-live-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn live_and_recorded_say_the_same() {
    let Some(servers) = servers() else { return };
    servers.calls();
    let live = servers.check(&servers.kubernetes());
    let calls = servers.calls();
    let nodes = std::env::var("NODES").unwrap_or_else(|_| "6".to_owned());
    println!("{} calls of AWS for a cluster of {nodes} nodes, {:?}", calls.len(), live.took);
    assert!(calls.len() <= 60, "{calls:?}");
    asks_only_what_is_allowed(&calls);
    assert!(
        rules(&live.report, "findings").contains("route-to-missing-nat-gateway") || !findings(&live.report).is_empty()
    );

    let folder = fresh("record");
    let output = ["record", "--cluster", "demo", "--output", folder.to_str().unwrap()];
    let recorded = servers.run(&[&output[..], &servers.kubernetes()].concat());
    assert_eq!(recorded.code, 0, "{}", recorded.errors);
    let again = servers.run(&["check", "--snapshot", folder.to_str().unwrap(), "--format", "json"]);
    assert_eq!(plain(&live.report), plain(&again.report));
    println!("{} findings, {} skipped", findings(&live.report).len(), rules(&live.report, "skipped").len());
    std::fs::remove_dir_all(folder).unwrap();
}

/// Everything that was asked for stands in the policy that `eks-doctor permissions` prints.
fn asks_only_what_is_allowed(calls: &[String]) {
    let rules = eks_doctor::rule::RuleSet::built_in().unwrap();
    let policy = eks_doctor::permissions::aws(&rules);
    for operation in calls {
        assert!(policy.contains(&format!(":{operation}\"")), "{operation} is not in the printed policy");
    }
}

/// The cluster of 1,000 nodes; what the emulator needs long for is computed once.
fn large(servers: &Servers, more: &[&str]) -> Run {
    servers.run(&[&["check", "--cluster", "large", "--no-kubernetes", "--format", "json"][..], more].concat())
}

#[test]
fn a_thousand_nodes_take_no_more_than_sixty_calls() {
    let Some(servers) = servers() else { return };
    large(&servers, &[]);
    servers.calls();
    let live = large(&servers, &[]);
    let calls = servers.calls();
    let nodes = std::env::var("LARGE").unwrap_or_else(|_| "1000".to_owned());
    println!("{} calls of AWS for a cluster of {nodes} nodes, {:?}", calls.len(), live.took);
    assert!(live.code < 2, "{}", live.errors);
    assert!(calls.len() <= 60, "{calls:?}");
    asks_only_what_is_allowed(&calls);

    let folder = fresh("large");
    let output = ["record", "--cluster", "large", "--no-kubernetes", "--output", folder.to_str().unwrap()];
    let recorded = servers.run(&output);
    assert_eq!(recorded.code, 0, "{}", recorded.errors);
    println!("{} calls to record it", servers.calls().len());
    let again = servers.run(&["check", "--snapshot", folder.to_str().unwrap(), "--format", "json"]);
    assert_eq!(plain(&live.report), plain(&again.report));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_script_says_the_same() {
    let Some(servers) = servers() else { return };
    let live = servers.check(&servers.kubernetes());
    let folder = fresh("script");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/record.sh");
    let mut command = servers.command(&script);
    let path = format!("{}:{}", std::env::var("EKS_DOCTOR_LIVE_PATH").unwrap(), std::env::var("PATH").unwrap());
    command.args(["demo", folder.to_str().unwrap()]).env("PATH", path);
    let kubectl = Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !kubectl && servers.kubeconfig.is_some() {
        println!("skipped: no kubectl");
        return;
    }
    match &servers.kubeconfig {
        Some(file) => command.env("KUBECONFIG", file),
        None => command.env("NO_KUBERNETES", "1"),
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());
    let again = servers.run(&["check", "--snapshot", folder.to_str().unwrap(), "--format", "json"]);
    assert_eq!(findings(&live.report), findings(&again.report));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_denied_read_makes_rules_skip_and_nothing_else() {
    let Some(servers) = servers() else { return };
    servers.calls();
    let whole = servers.check_aws();
    let operations: BTreeSet<String> = servers.calls().into_iter().collect();
    // What the whole report tells with its cause, and alone when the cause cannot be seen.
    let rules_all = eks_doctor::rule::RuleSet::built_in().unwrap();
    let mut told: Vec<String> = rules_all.rules.iter().filter(|r| r.symptom).map(|r| r.id.clone()).collect();
    told.push("cluster-security-group-lacks-own-traffic".to_owned());
    for operation in &operations {
        servers.fault(operation, "denied", 0);
        let run = servers.run(&["check", "--cluster", "demo", "--no-kubernetes", "--format", "json"]);
        if operation == "DescribeCluster" {
            assert!(run.code == 2 || run.report.is_object(), "{}", run.errors);
            continue;
        }
        assert!(run.code < 2, "{operation} denied: exit code {}: {}", run.code, run.errors);
        let (skipped, before) = (rules(&run.report, "skipped"), rules(&whole.report, "skipped"));
        for lost in rules(&whole.report, "findings").difference(&rules(&run.report, "findings")) {
            assert!(skipped.contains(lost), "{operation} denied: {lost} passed");
        }
        let passed = |report: &Value| report["summary"]["passed"].as_u64().unwrap();
        assert!(passed(&run.report) <= passed(&whole.report), "{operation} denied: more rules passed");
        let known = findings(&whole.report);
        for new in findings(&run.report).difference(&known) {
            assert!(told.iter().any(|rule| new.contains(rule)), "{operation} denied: a finding that was none: {new}");
        }
        if skipped.len() > before.len() {
            let said = run.report["skipped"].to_string();
            assert!(said.contains("AccessDenied") || said.contains("UnauthorizedOperation"), "{operation}: {said}");
        }
    }
    println!("{} operations denied one by one", operations.len());
}

/// With 50 ms before every answer the wall time is that of the longest chain of answers that need each other.
#[test]
fn latency_counts_once_for_each_link_of_the_chain() {
    let Some(servers) = servers() else { return };
    // What the emulator computes is remembered from here on.
    large(&servers, &[]);
    let answers = |milliseconds: u64| {
        servers.post("/_delay", &json!({ "milliseconds": milliseconds }));
        let run = large(&servers, &["-v"]);
        servers.post("/_delay", &json!({"milliseconds": 0}));
        let said = run.errors.lines().find(|l| l.contains(" one after the other")).unwrap_or_default().to_owned();
        let chain = said.split(" at most ").nth(1).and_then(|s| s.split(' ').next()).and_then(|n| n.parse().ok());
        (run.took, chain.unwrap_or_else(|| panic!("no chain in {}", run.errors)))
    };
    // The best of up to ten: the machine has other things to do.
    let (mut at_once, mut late, mut chain): (Duration, Duration, u32) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..10 {
        at_once = at_once.min(answers(0).0);
        let (took, links) = answers(50);
        (late, chain) = (late.min(took), links);
        if late.saturating_sub(at_once) <= Duration::from_millis(75) * chain {
            break;
        }
    }
    let waited = late.saturating_sub(at_once);
    println!("{chain} answers one after the other; {at_once:?}, and {late:?} with 50 ms before each answer");
    assert!(waited <= Duration::from_millis(75) * chain, "{waited:?} for a chain of {chain}");
}

#[test]
fn throttling_passes() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    servers.fault("DescribeSubnets", "throttled", 5);
    assert_eq!(plain(&servers.check_aws().report), plain(&whole.report));
}

#[test]
fn a_page_token_that_expires_begins_again() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    servers.post("/_page", &json!({"items": 5}));
    servers.calls();
    let paged = servers.check_aws();
    let pages = servers.calls().iter().filter(|o| *o == "DescribeNetworkInterfaces").count();
    servers.fault("DescribeNetworkInterfaces", "expired", 1);
    let expired = servers.check_aws();
    let again = servers.calls().iter().filter(|o| *o == "DescribeNetworkInterfaces").count();
    servers.post("/_page", &json!({"items": 0}));
    assert!(pages > 2, "{pages} pages are too few to show anything");
    // The first page, the refused second one, and all from the beginning.
    assert_eq!(again, pages + 2);
    assert_eq!(plain(&paged.report), plain(&whole.report));
    assert_eq!(plain(&expired.report), plain(&whole.report));
}

#[test]
fn a_connection_that_drops_is_tried_again() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    servers.fault("DescribeSecurityGroups", "dropped", 1);
    assert_eq!(plain(&servers.check_aws().report), plain(&whole.report));
}

#[test]
fn a_hung_answer_ends_in_time() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    servers.fault("DescribeRouteTables", "hung", 0);
    let run = servers.check(&["--no-kubernetes", "--timeout", "8"]);
    assert!(run.took < Duration::from_secs(30), "{:?}", run.took);
    let skipped = rules(&run.report, "skipped");
    for lost in rules(&whole.report, "findings").difference(&rules(&run.report, "findings")) {
        assert!(skipped.contains(lost), "{lost} passed");
    }
}

#[test]
fn a_token_without_rights_leaves_aws() {
    let Some(servers) = servers() else { return };
    let Ok(nobody) = std::env::var("EKS_DOCTOR_LIVE_NOBODY") else {
        println!("skipped: no kube-apiserver (tests/live/README.md)");
        return;
    };
    let run = servers.check(&["--kubeconfig", &nobody]);
    let only_aws = servers.check_aws();
    assert!(run.report["skipped"].to_string().contains("Forbidden"), "{}", run.report["skipped"]);
    assert_eq!(findings(&run.report), findings(&only_aws.report));
}

/// The program without any of this machine's own configuration of AWS, with `files` in its home.
fn bare(files: &[(&str, &str)]) -> (Command, PathBuf) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let home = fresh(&format!("home-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&home).unwrap();
    for (name, text) in files {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_eks-doctor"));
    command.env_clear().env("HOME", &home).env("AWS_EC2_METADATA_DISABLED", "true").env("NO_PROXY", "*");
    (command, home)
}

/// What the program says on standard error when it can do nothing.
fn refused(command: &mut Command, home: &Path) -> String {
    let output = command.output().unwrap();
    std::fs::remove_dir_all(home).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    said
}

const SSO: &str = "[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://corp.awsapps.com/start

[profile dev]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Reader
region = eu-west-1

[profile old]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Reader
region = eu-west-1
";

#[test]
fn an_sso_session_that_is_over_says_how_to_log_in() {
    if !cfg!(feature = "live") {
        return println!("skipped: this build cannot read live clusters");
    }
    // The file is named by the SHA-1 of the session's name.
    let token = ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    let over = r#"{"accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": "https://corp.awsapps.com/start"}"#;
    for (profile, files, reason) in [
        ("dev", &[(".aws/config", SSO), (token, over)][..], "the SSO token has expired"),
        ("dev", &[(".aws/config", SSO)][..], "failed to load the cached SSO token"),
        ("old", &[(".aws/config", SSO)][..], "/sso/cache/"),
    ] {
        let (mut command, home) = bare(files);
        let said = refused(command.args(["check", "--cluster", "demo", "--profile", profile]), &home);
        let expected = format!("run `aws sso login --profile {profile}` and try again");
        assert!(said.contains(&expected) && said.contains(reason), "{said}");
    }
}

#[test]
fn what_is_not_configured_is_named() {
    if !cfg!(feature = "live") {
        return println!("skipped: this build cannot read live clusters");
    }
    let keys = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n";
    let tool = "[profile tool]\ncredential_process = /bin/false\n";
    for (files, arguments, expected) in [
        (&[(".aws/credentials", keys)][..], &[][..], "no AWS Region: give --region"),
        (&[][..], &["--region", "eu-west-1"][..], "no AWS credentials: log in"),
        (&[(".aws/config", tool)][..], &["--profile", "gone"][..], "profile `gone` was not defined"),
        (
            &[(".aws/config", tool)][..],
            &["--profile", "tool", "--region", "eu-west-1"][..],
            "external process exited with code exit status: 1",
        ),
    ] {
        let (mut command, home) = bare(files);
        let said = refused(command.args(["check", "--cluster", "demo"]).args(arguments), &home);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// The host that the real client connects to, by a proxy that only listens.
#[test]
fn dual_stack_and_fips_are_other_hosts() {
    if !cfg!(feature = "live") {
        return println!("skipped: this build cannot read live clusters");
    }
    for (variables, host) in [
        (&[][..], "eks.eu-west-1.amazonaws.com:443"),
        (&["AWS_USE_DUALSTACK_ENDPOINT"][..], "eks.eu-west-1.api.aws:443"),
        (&["AWS_USE_FIPS_ENDPOINT"][..], "fips.eks.eu-west-1.amazonaws.com:443"),
        (&["AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT"][..], "eks-fips.eu-west-1.api.aws:443"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut command, home) = bare(&[]);
        command.args(["check", "--all-clusters", "--region", "eu-west-1"]).env_remove("NO_PROXY");
        command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        command.env("HTTPS_PROXY", format!("http://{}", listener.local_addr().unwrap()));
        command.envs(variables.iter().map(|name| (name, "true")));
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_dir_all(home).unwrap();
        assert_eq!(line.trim_end(), format!("CONNECT {host} HTTP/1.1"));
    }
}

#[test]
fn each_service_may_have_an_endpoint_of_its_own() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    let names = ["AUTO_SCALING", "EC2", "EKS", "ELASTIC_LOAD_BALANCING_V2", "IAM", "KMS", "STS"];
    let check = ["check", "--cluster", "demo", "--no-kubernetes", "--format", "json"];
    let mut command = servers.command(Path::new(env!("CARGO_BIN_EXE_eks-doctor")));
    // Nobody listens at the other.
    command.args(check).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    command.envs(names.iter().map(|name| (format!("AWS_ENDPOINT_URL_{name}"), &servers.aws)));
    let by_environment: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(plain(&by_environment), plain(&whole.report));

    let ids: String =
        names.iter().map(|n| format!("{} =\n  endpoint_url = {}\n", n.to_lowercase(), servers.aws)).collect();
    let config = format!("[profile own]\nregion = eu-west-1\nservices = here\n\n[services here]\n{ids}");
    let keys = "[own]\naws_access_key_id = testing\naws_secret_access_key = testing\n";
    let (mut command, home) = bare(&[(".aws/config", &config), (".aws/credentials", keys)]);
    let output = command.args(check).args(["--profile", "own"]).output().unwrap();
    let by_profile: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plain(&by_profile), plain(&whole.report), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_cluster_that_is_not_there_names_those_that_are() {
    let Some(servers) = servers() else { return };
    let run = servers.run(&["check", "--cluster", "dmeo", "--no-kubernetes"]);
    assert_eq!(run.code, 2);
    let said = "no cluster dmeo in eu-west-1 of account 123456789012 (as arn:aws:";
    assert!(run.errors.contains(said) && run.errors.contains("); there are: demo, large, other"), "{}", run.errors);
    let run = servers.run(&["check", "--cluster", "demo", "--no-kubernetes", "--region", "eu-central-1"]);
    assert!(run.errors.contains("there is none at all: another --region or --profile?"), "{}", run.errors);
    let run = servers.run(&["check", "--all-clusters", "--no-kubernetes", "--region", "eu-central-1"]);
    assert!(run.code == 2 && run.errors.contains("no cluster in eu-central-1 of account"), "{}", run.errors);
}

#[test]
fn credentials_that_aws_does_not_take_end_the_reading() {
    let Some(servers) = servers() else { return };
    for (kind, code) in [("unknown-key", "UnrecognizedClientException"), ("old-token", "ExpiredTokenException")] {
        servers.fault("*", kind, 0);
        for which in [&["--cluster", "demo"][..], &["--all-clusters"][..]] {
            let run = servers.run(&[&["check", "--no-kubernetes"][..], which].concat());
            assert_eq!(run.code, 2, "{}", run.errors);
            let expected = format!("AWS does not take the credentials ({code}: ");
            assert!(run.errors.contains(&expected) && run.errors.contains("log in again"), "{}", run.errors);
        }
    }
}

#[test]
fn a_role_is_taken_first_and_named_when_it_is_refused() {
    let Some(servers) = servers() else { return };
    let whole = servers.check_aws();
    servers.calls();
    let role = ["--role-arn", "arn:aws:iam::123456789012:role/controller-role"];
    let taken = servers.check(&[&["--no-kubernetes"][..], &role].concat());
    assert_eq!(plain(&taken.report), plain(&whole.report));
    assert_eq!(servers.calls().first().map(String::as_str), Some("AssumeRole"));

    servers.fault("AssumeRole", "denied", 0);
    let run = servers.run(&[&["check", "--cluster", "demo", "--no-kubernetes"][..], &role].concat());
    assert_eq!(run.code, 2);
    let expected = format!("the role {} cannot be taken", role[1]);
    let all = [expected.as_str(), "not authorized to perform AssumeRole", "its trust policy"];
    assert!(all.iter().all(|part| run.errors.contains(part)), "{}", run.errors);
}
