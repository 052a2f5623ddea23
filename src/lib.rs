//! A troubleshooting linter for Amazon EKS networking.
//!
//! A [`snapshot::Snapshot`] holds what AWS and Kubernetes answered; [`diagnose`] says what is wrong with it.
//! The way of the data: snapshot → [`network`] (packets) → [`cluster`] (what EKS adds) → [`rule`] (judgement)
//! → [`diagnostic`] (plain data).

pub mod baseline;
pub mod change;
pub mod cluster;
#[cfg(feature = "live")]
pub mod collect;
pub mod config;
pub mod date;
pub mod diagnostic;
pub mod diff;
mod fail_on;
mod glob;
pub mod network;
pub mod permissions;
pub mod picture;
pub mod prove;
pub mod report;
pub mod rule;
pub mod shape;
pub mod snapshot;
pub mod suppress;
pub mod yaml;

use std::sync::Arc;

use cluster::{ChooseError, Cluster};
use diagnostic::{ClusterName, Diagnostic, Report, Suppressed};
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
        warnings: Vec::new(),
    })
}

/// The reports of several clusters as one, over one snapshot that only shows where evidence stands: the files of each
/// cluster in a folder with its name.
pub fn join(mut checked: Vec<(Report, Arc<Snapshot>)>) -> (Report, Arc<Snapshot>) {
    if checked.len() == 1
        && let Some(one) = checked.pop()
    {
        return one;
    }
    let common = |of: fn(&ClusterName) -> &Option<String>| {
        let mut values = checked.iter().map(|(report, _)| of(&report.cluster));
        let first = values.next()?.clone();
        first.filter(|first| values.all(|v| v.as_ref() == Some(first)))
    };
    let names: Vec<&str> = checked.iter().map(|(report, _)| report.cluster.name.as_str()).collect();
    let mut joined = Report {
        cluster: ClusterName {
            name: names.join(", "),
            arn: None,
            region: common(|c| &c.region),
            account: common(|c| &c.account),
            version: common(|c| &c.version),
        },
        findings: Vec::new(),
        skipped: Vec::new(),
        passed: 0,
        suppressed: Vec::new(),
        compared: None,
        warnings: Vec::new(),
    };
    let same = checked.windows(2).all(|pair| Arc::ptr_eq(&pair[0].1, &pair[1].1));
    let (mut parts, mut snapshots) = (Vec::new(), Vec::new());
    for (report, snapshot) in checked {
        let offset: usize = snapshots.iter().map(|(_, s): &(String, Arc<Snapshot>)| s.documents.len()).sum();
        snapshots.push((report.cluster.name.clone(), snapshot));
        parts.push((report, if same { 0 } else { offset as u32 }));
    }
    for (report, offset) in parts {
        let name = report.cluster.name;
        let of_cluster = |mut finding: Diagnostic| {
            finding.evidence.iter_mut().for_each(|e| e.document += offset);
            // The steps' places are rows of the one snapshot; in the joined one there are none.
            if let Some(trace) = finding.trace.as_mut().filter(|_| !same) {
                trace.forward.iter_mut().chain(&mut trace.back).for_each(|hop| hop.spot = None);
            }
            finding.message = format!("{name}: {}", finding.message);
            finding.cluster = Some(name.clone());
            finding
        };
        joined.findings.extend(report.findings.into_iter().map(of_cluster));
        let suppressed = report.suppressed.into_iter();
        joined.suppressed.extend(suppressed.map(|s| Suppressed { finding: of_cluster(s.finding), ..s }));
        joined.skipped.extend(report.skipped.into_iter().map(|mut skipped| {
            skipped.cluster = Some(name.clone());
            skipped
        }));
        joined.passed += report.passed;
    }
    joined.findings.sort_by(|a, b| a.severity.cmp(&b.severity).then_with(|| a.issue.cmp(&b.issue)));
    joined.suppressed.sort_by_key(|s| (s.finding.severity, s.finding.issue));
    let snapshot = match snapshots.pop() {
        Some((_, snapshot)) if same => snapshot,
        Some(last) => {
            snapshots.push(last);
            Arc::new(Snapshot::gallery(&snapshots))
        }
        None => Arc::new(Snapshot::from_documents(Vec::new())),
    };
    (joined, snapshot)
}
