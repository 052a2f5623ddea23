//! A troubleshooting linter for Amazon EKS networking.
//!
//! A [`snapshot::Snapshot`] holds what AWS and Kubernetes answered; [`diagnose`] says what is wrong with it.
//! The way of the data: snapshot → [`network`] (packets) → [`cluster`] (what EKS adds) → [`rule`] (judgement)
//! → [`diagnostic`] (plain data).

pub mod cluster;
pub mod diagnostic;
pub mod network;
pub mod report;
pub mod rule;
pub mod shape;
pub mod snapshot;

use std::sync::Arc;

use cluster::{ChooseError, Cluster};
use diagnostic::{ClusterName, Report};
use rule::RuleSet;
use snapshot::Snapshot;

/// Checks the cluster `wanted` (or the only one) of a snapshot.
///
/// # Errors
/// When the cluster is not there, or several are and none was named.
pub fn diagnose(snapshot: &Arc<Snapshot>, rules: &RuleSet, wanted: Option<&str>) -> Result<Report, ChooseError> {
    let cluster = Arc::new(Cluster::choose(snapshot.clone(), wanted)?);
    let outcome = rule::check(&cluster, rules);
    let some = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
    let name = match cluster.eks() {
        Ok(eks) => {
            let mut arn = eks.arn.split(':').skip(3);
            ClusterName {
                name: eks.name.to_string(),
                arn: some(&eks.arn),
                region: arn.next().and_then(some),
                account: arn.next().and_then(some),
                version: some(&eks.version),
            }
        }
        Err(_) => ClusterName {
            name: wanted.map_or_else(|| cluster.name().to_string(), str::to_owned),
            arn: None,
            region: snapshot.manifest.region.clone(),
            account: snapshot.manifest.account.clone(),
            version: None,
        },
    };
    Ok(Report {
        cluster: name,
        findings: outcome.findings,
        skipped: outcome.skipped,
        passed: outcome.passed,
        suppressed: Vec::new(),
        compared: None,
    })
}
