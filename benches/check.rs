//! How long a check of a big cluster takes, beside what serde_json alone takes to read the same bytes into the same
//! types. `cargo bench --no-default-features` (`EKS_DOCTOR_BENCH=nodes,pods-per-node,compact|indented`).

#![allow(clippy::unwrap_used)]

#[path = "../tests/estate/mod.rs"]
mod estate;

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eks_doctor::rule::RuleSet;
use eks_doctor::shape::{ec2, k8s};
use eks_doctor::snapshot::Snapshot;
use estate::{Estate, Options};
use serde::de::DeserializeOwned;

#[derive(serde::Deserialize)]
struct Items<T> {
    items: Vec<T>,
}
#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Interfaces {
    NetworkInterfaces: Vec<ec2::NetworkInterface>,
}
#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Reservations {
    Reservations: Vec<ec2::Reservation>,
}

fn read<T: DeserializeOwned>(folder: &Path, file: &str, rows: impl Fn(&T) -> usize) -> (u64, usize) {
    let text = std::fs::read_to_string(folder.join(file)).expect("the generator wrote it");
    let value: T = serde_json::from_str(&text).expect("the generator writes JSON");
    let rows = rows(black_box(&value));
    (text.len() as u64, rows)
}
fn items<T: DeserializeOwned>(folder: &Path, plural: &str) -> (u64, usize) {
    read::<Items<T>>(folder, &format!("k8s/{plural}.json"), |list| list.items.len())
}

/// serde_json alone on the files that are nearly all of the bytes.
fn alone(folder: &Path) -> (u64, usize) {
    let all = [
        items::<k8s::Pod>(folder, "pods"),
        items::<k8s::Node>(folder, "nodes"),
        items::<k8s::EndpointSlice>(folder, "endpointslices.discovery.k8s.io"),
        items::<k8s::Deployment>(folder, "deployments.apps"),
        items::<k8s::Service>(folder, "services"),
        read::<Interfaces>(folder, "aws/ec2/describe-network-interfaces.json", |l| l.NetworkInterfaces.len()),
        read::<Reservations>(folder, "aws/ec2/describe-instances.json", |l| l.Reservations.len()),
    ];
    all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn best<T>(rounds: usize, mut what: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(what());
        best = best.min(start.elapsed());
    }
    best
}

fn main() {
    let setting = std::env::var("EKS_DOCTOR_BENCH").unwrap_or_else(|_| "5000,30,compact".to_owned());
    let mut parts = setting.split(',');
    let mut number = |default: usize| parts.next().and_then(|p| p.parse().ok()).unwrap_or(default);
    let (nodes, pods_per_node) = (number(5000), number(30));
    let compact = parts.next() != Some("indented");
    let folder = std::env::temp_dir().join(format!("eks-doctor-bench-{nodes}-{pods_per_node}-{compact}"));
    if !folder.exists() {
        let options = Options { nodes, pods_per_node, compact, ..Options::default() };
        Estate::new(options).write(&folder).expect("the temporary folder has room");
    }
    let (bytes, rows) = alone(&folder);
    println!("{nodes} nodes, {} pods, {} MB in the big files, {rows} rows", nodes * pods_per_node, bytes / 1_000_000);

    let serde = best(3, || alone(&folder));
    println!("serde_json alone into the same types     {serde:>10.1?}");
    let load = best(3, || Snapshot::load(&folder));
    println!(
        "Snapshot::load                           {load:>10.1?}  {:.2} x",
        load.as_secs_f64() / serde.as_secs_f64()
    );
    let compile = best(3, RuleSet::built_in);
    println!("rules compiled                           {compile:>10.1?}");
    let rules = match RuleSet::built_in() {
        Ok(rules) => rules,
        Err(error) => return eprintln!("{error}"),
    };
    let snapshot = match Snapshot::load(&folder) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(error) => return eprintln!("{error}"),
    };
    assert!(snapshot.problems.is_empty(), "the estate is not consistent: {:?}", snapshot.problems.first());
    let check = best(3, || eks_doctor::diagnose(&snapshot, &rules, None));
    println!("diagnose                                 {check:>10.1?}");
    let both = load + check;
    println!(
        "load + check                             {both:>10.1?}  {:.2} x (target: 2 x)",
        both.as_secs_f64() / serde.as_secs_f64()
    );
    // The slowest rules, one by one.
    let mut each = Vec::new();
    for rule in rules.rules.iter().map(|r| r.id.clone()) {
        let Ok(mut one) = RuleSet::built_in() else { continue };
        if one.select(std::slice::from_ref(&rule), &[]).is_ok() {
            each.push((best(1, || eks_doctor::diagnose(&snapshot, &one, None)), rule));
        }
    }
    each.sort();
    for (time, rule) in each.iter().rev().take(8) {
        println!("    {rule:<50} {time:>10.1?}");
    }
    drop(snapshot);

    let program = env!("CARGO_BIN_EXE_eks-doctor");
    let run = |arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.expect("the program runs").code()
    };
    let path = folder.to_string_lossy().into_owned();
    let whole = best(2, || run(&["check", "--snapshot", &path]));
    println!(
        "the whole process                        {whole:>10.1?}  {:.2} x",
        whole.as_secs_f64() / serde.as_secs_f64()
    );
    let version = best(20, || run(&["--version"]));
    println!("start-up (--version)                     {version:>10.1?}  (target: 10 ms)");
}
