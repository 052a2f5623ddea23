//! The command line's side of reading a live cluster: what was asked for, what the person is told.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use eks_doctor::collect::{self, Access, Collected, Kubernetes, Options, Wanted};
use eks_doctor::permissions::Needs;
use eks_doctor::snapshot;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::cli::{Live, Record};

/// Reads the clusters, what is needed of them or all, and tells on standard error what could not be read.
pub fn collect(clusters: &[String], live: &Live, needs: Option<Needs>) -> Result<Vec<Collected>, String> {
    listen(live.verbose);
    let mut region = live.region.clone();
    let mut names: Vec<String> = Vec::new();
    for cluster in clusters {
        // An ARN names the Region, too.
        let parts: Vec<&str> = cluster.split(':').collect();
        let name = if let [_, _, "eks", of, _, name] = parts.as_slice() {
            if live.region.is_none() && region.as_deref().is_some_and(|r| r != *of) {
                return Err("the clusters are of several Regions: run eks-doctor once for each".to_owned());
            }
            region.get_or_insert_with(|| (*of).to_owned());
            name.trim_start_matches("cluster/").to_owned()
        } else {
            cluster.clone()
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let wanted = if live.all_clusters { Wanted::All } else { Wanted::Named(names) };
    let kubernetes = if live.no_kubernetes {
        Kubernetes::None
    } else if live.kubeconfig.is_some() || live.context.is_some() {
        Kubernetes::Kubeconfig { file: live.kubeconfig.clone(), context: live.context.clone() }
    } else {
        Kubernetes::Cluster
    };
    if matches!(kubernetes, Kubernetes::Kubeconfig { .. }) && (live.all_clusters || clusters.len() > 1) {
        let message = "--kubeconfig and --context are of one cluster: name one, or leave them out";
        return Err(message.to_owned());
    }
    let access = Access { profile: live.profile.clone(), region, role_arn: live.role_arn.clone() };
    let options =
        Options { access, kubernetes, timeout: Duration::from_secs(live.timeout), needs: needs.map(Arc::new) };
    let collected = collect::collect(&wanted, &options).map_err(|e| e.to_string())?;
    for one in &collected {
        for note in &one.notes {
            eprintln!("note: {}: {note}", one.cluster);
        }
    }
    Ok(collected)
}

/// Writes what was read as a folder; of several clusters, a folder each.
pub fn record(args: &Record) -> Result<ExitCode, String> {
    let collected = collect(&args.clusters, &args.live, None)?;
    let several = args.live.all_clusters || collected.len() > 1;
    for Collected { mut cluster, mut recording, .. } in collected {
        if args.redact {
            recording = snapshot::redact(&recording).map_err(|e| e.to_string())?;
            cluster = recording.manifest.cluster.clone().unwrap_or(cluster);
        }
        let folder = if several { args.output.join(&cluster) } else { args.output.clone() };
        recording.write(&folder).map_err(|e| e.to_string())?;
        let failures = recording.manifest.failures.len();
        let failed =
            if failures == 0 { String::new() } else { format!(", {failures} reads failed (manifest.json names them)") };
        eprintln!("recorded {cluster} in {}: {} answers{failed}", folder.display(), recording.answers().len());
    }
    Ok(ExitCode::SUCCESS)
}

/// With `-v` every read is told on standard error, with `-vv` what the SDKs do, too.
fn listen(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => Targets::new().with_target("eks_doctor", LevelFilter::INFO),
        _ => Targets::new().with_default(LevelFilter::DEBUG).with_target("eks_doctor", LevelFilter::INFO),
    };
    let lines = tracing_subscriber::fmt::layer().without_time().with_target(verbose > 1).with_writer(std::io::stderr);
    // Set up once; a second call would change nothing.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
