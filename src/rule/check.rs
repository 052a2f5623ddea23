//! Running rules: every rule on every object that it matches, with three outcomes.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::expr::Bindings;
use super::file::{Part, Rule, Severities, Template};
use super::value::{Handle, Root, resource};
use super::{RuleSet, functions::Subject};
use crate::cluster::Cluster;
use crate::cluster::reach::Reach;
use crate::diagnostic::{Diagnostic, Effect, Evidence, Fix, Issue, Resource, Severity, Skipped};
use crate::snapshot::{Known, Missing, Spot, TABLES};

/// What the rules say about a cluster.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Sorted: severity, issue, rule, resource.
    pub findings: Vec<Diagnostic>,
    pub skipped: Vec<Skipped>,
    /// Rules that were decided for all that they match and found nothing.
    pub passed: usize,
}

/// Runs the rules.
pub fn check(cluster: &Arc<Cluster>, rules: &RuleSet) -> Outcome {
    let mut outcome = Outcome::default();
    let mut symptoms = Vec::new();
    for rule in &rules.rules {
        let mut found: Vec<Diagnostic> = Vec::new();
        let mut lacking: BTreeMap<Vec<Missing>, Vec<Resource>> = BTreeMap::new();
        match subjects(cluster, rule, &rules.subjects) {
            Err(missing) => {
                lacking.insert(vec![missing], Vec::new());
            }
            Ok(subjects) => {
                for subject in subjects {
                    let named = subject.row().map(|row| resource(&cluster.snapshot, row));
                    let bindings = Bindings::new(cluster, rule, subject);
                    match apply(cluster, rule, &bindings) {
                        Ok(None) => {}
                        Ok(Some(finding)) => merge(&mut found, finding),
                        Err(missing) => lacking.entry(vec![missing]).or_default().extend(named),
                    }
                }
            }
        }
        if found.is_empty() && lacking.is_empty() {
            // What was left out of an answer may be what the rule looks for.
            match rule.reads.iter().find_map(|read| cluster.snapshot.partial(read)) {
                Some(missing) => drop(lacking.insert(vec![missing], Vec::new())),
                None => outcome.passed += 1,
            }
        }
        for (missing, mut resources) in lacking {
            resources.sort();
            resources.dedup();
            let resource = if resources.len() == 1 { resources.pop() } else { None };
            outcome.skipped.push(Skipped {
                cluster: None,
                rule: rule.id.clone(),
                issue: rule.issue,
                resource,
                missing,
            });
        }
        if rule.symptom { &mut symptoms } else { &mut outcome.findings }.append(&mut found);
    }
    attach(cluster, rules, symptoms, &mut outcome.findings);
    outcome
        .findings
        .sort_by(|a, b| (a.severity, a.issue, &a.rule, &a.resource).cmp(&(b.severity, b.issue, &b.rule, &b.resource)));
    join_same_faults(&mut outcome.findings);
    outcome
}

/// Whether one place is the other or lies in it.
fn overlap(a: &Evidence, b: &Evidence) -> bool {
    let within = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    a.document == b.document && (within(&a.pointer, &b.pointer) || within(&b.pointer, &a.pointer))
}

/// What rules of two issues say of the same place in the same object is one fault: the first tells it, with the
/// sufferers and the word of the other.
fn join_same_faults(findings: &mut Vec<Diagnostic>) {
    let mut kept: Vec<Diagnostic> = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        let first = kept.iter_mut().find(|k| {
            k.severity == Severity::Error
                && finding.severity == Severity::Error
                && k.issue != finding.issue
                && k.resource == finding.resource
                && k.evidence.iter().any(|e| finding.evidence.iter().any(|f| overlap(e, f)))
        });
        let Some(first) = first else {
            kept.push(finding);
            continue;
        };
        for affected in finding.affected {
            if let Err(i) = first.affected.binary_search(&affected) {
                first.affected.insert(i, affected);
            }
        }
        if let Some(shared) = first.evidence.iter_mut().find(|e| finding.evidence.iter().any(|f| overlap(e, f))) {
            shared.text = format!("{}; also {} ({})", shared.text, finding.message, finding.issue.name());
        }
    }
    *findings = kept;
}

/// A symptom goes with the finding that explains it; alone it is reported as unexplained.
fn attach(cluster: &Cluster, rules: &RuleSet, symptoms: Vec<Diagnostic>, findings: &mut Vec<Diagnostic>) {
    let mut alone = Vec::new();
    for symptom in symptoms {
        let around = Around::new(cluster, &symptom);
        let declared = |f: &Diagnostic| {
            rules.rules.iter().any(|r| r.id == f.rule && r.issue == f.issue && r.explains.contains(&symptom.rule))
        };
        let cause = findings
            .iter_mut()
            .filter(|f| f.severity == Severity::Error || (f.issue == symptom.issue && f.severity <= symptom.severity))
            .filter(|f| declared(f) || around.explained_by(f))
            .min_by_key(|f| {
                (!around.shares(f), f.issue != symptom.issue, f.severity, f.rule.clone(), f.resource.clone())
            });
        match cause {
            Some(cause) => {
                drop(around);
                for evidence in symptom.evidence {
                    if !cause.evidence.contains(&evidence) && cause.evidence.len() < 8 {
                        cause.evidence.push(Evidence { text: format!("symptom: {}", evidence.text), ..evidence });
                    }
                }
            }
            None => {
                drop(around);
                alone.push(symptom);
            }
        }
    }
    for symptom in &mut alone {
        symptom.because.push_str(" No other finding explains it.");
    }
    findings.append(&mut alone);
}

fn objects(finding: &Diagnostic) -> impl Iterator<Item = &Resource> {
    // All name the cluster sooner or later.
    finding.affected.iter().chain([&finding.resource]).filter(|o| o.kind != "Cluster")
}

/// What a symptom is about, and what lies around it.
struct Around<'a> {
    issue: Issue,
    objects: HashSet<&'a Resource>,
    kinds: HashSet<&'a str>,
    /// The nodes, instances and subnets on which its pods and nodes stand.
    places: HashSet<Resource>,
}

impl<'a> Around<'a> {
    fn new(cluster: &Cluster, symptom: &'a Diagnostic) -> Around<'a> {
        let tables = &cluster.snapshot.tables;
        let objects: HashSet<&Resource> = objects(symptom).collect();
        let mut names: HashSet<&str> = HashSet::new();
        for object in &objects {
            match object.kind.as_str() {
                "Pod" => names.extend(tables.pods.get(&object.id).map(|p| p.value.spec.nodeName.as_str())),
                "Node" | "Instance" => {
                    names.insert(&object.id);
                }
                _ => {}
            }
        }
        let mut places = HashSet::new();
        for worker in cluster.workers().unwrap_or_default() {
            let instance = worker.instance.map(|i| tables.instances.at(i.row.index).value.InstanceId.as_str());
            if names.contains(worker.name.as_str()) || instance.is_some_and(|i| names.contains(i)) {
                places.extend(worker.node.map(|n| resource(&cluster.snapshot, n.row)));
                places.extend(worker.instance.map(|i| resource(&cluster.snapshot, i.row)));
                places.extend(worker.subnet.map(|s| resource(&cluster.snapshot, s.row)));
            }
        }
        let kinds = objects.iter().map(|o| o.kind.as_str()).collect();
        Around { issue: symptom.issue, objects, kinds, places }
    }

    /// Whether a finding names one of its objects.
    fn shares(&self, finding: &Diagnostic) -> bool {
        objects(finding).any(|o| self.objects.contains(o))
    }

    /// Whether a finding explains it: they name the same object, or the finding names where its pods and nodes stand; or
    /// both are of one issue and do not name different objects of one kind. What keeps nodes away explains the symptoms
    /// of pods that stand on no node.
    fn explained_by(&self, finding: &Diagnostic) -> bool {
        if objects(finding).any(|o| self.objects.contains(o) || self.places.contains(o)) {
            return true;
        }
        if finding.issue == self.issue {
            return !objects(finding).any(|o| self.kinds.contains(o.kind.as_str()));
        }
        let pods = ["Pod", "Deployment", "DaemonSet"].iter().any(|kind| self.kinds.contains(kind));
        finding.issue == Issue::NodesCannotJoin && pods && !self.places.iter().any(|o| o.kind == "Node")
    }
}

fn subjects(cluster: &Arc<Cluster>, rule: &Rule, derived: &[Subject]) -> Known<Vec<Handle>> {
    let handle = |root| Handle::new(cluster.clone(), root);
    if let Some(table) = TABLES.iter().find(|t| t.shape == rule.shape) {
        if !cluster.snapshot.has(table.read) {
            if cluster.has_none(table.id) {
                return Ok(Vec::new());
            }
            return Err(cluster.snapshot.missing(table.read, None));
        }
        return Ok(cluster.rows(table.id).into_iter().map(|row| handle(Root::Row(row))).collect());
    }
    match derived.iter().find(|s| s.name() == rule.shape) {
        Some(subject) => Ok((subject.list)(cluster)?.into_iter().map(|s| handle(Root::Derived(s))).collect()),
        None => Ok(Vec::new()),
    }
}

fn apply(cluster: &Arc<Cluster>, rule: &Rule, bindings: &Bindings<'_>) -> Known<Option<Diagnostic>> {
    if let Some(condition) = &rule.condition
        && !condition.bool(bindings)?
    {
        return Ok(None);
    }
    if rule.require.bool(bindings)? {
        return Ok(None);
    }
    let rows = |handles: Vec<Handle>| {
        handles.iter().filter_map(Handle::row).map(|r| resource(&cluster.snapshot, r)).collect::<Vec<_>>()
    };
    let own = bindings.subject.row().map(|row| resource(&cluster.snapshot, row));
    let subject = match &rule.resource {
        Some(expr) => rows(expr.objects(bindings)?).into_iter().next().or(own),
        None => own,
    };
    let subject =
        subject.unwrap_or_else(|| Resource { kind: "Cluster".to_owned(), id: cluster.name().to_string(), name: None });
    let mut affected = match &rule.affected {
        Some(expr) => rows(expr.objects(bindings).unwrap_or_default()),
        None => Vec::new(),
    };
    affected.retain(|a| *a != subject);
    affected.sort();
    affected.dedup();
    let severity = match &rule.severity {
        Severities::Always(severity) => *severity,
        Severities::By(expr) => match expr.text(bindings)?.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        },
    };
    let mut evidence = Vec::new();
    for e in &rule.evidence {
        // What cannot be pointed at is left out: the finding stands without it.
        let (Ok(spots), Ok(text)) = (e.at.places(bindings), render(&e.text, bindings)) else { continue };
        for spot in spots {
            push_evidence(cluster, &mut evidence, &spot, text.clone());
        }
    }
    let trace = match &rule.trace {
        Some(expr) => expr
            .objects(bindings)
            .ok()
            .and_then(|handles| handles.into_iter().next())
            .and_then(|h| Some(h.shape()?.as_any().downcast_ref::<Reach>()?.trace.0.as_ref().clone())),
        None => None,
    };
    if let Some(trace) = &trace {
        for hop in trace.forward.iter().chain(&trace.back).filter(|h| h.verdict == crate::network::Verdict::Blocked) {
            if let Some(spot) = &hop.spot {
                let text = format!("{}: {}", hop.step, hop.by.as_deref().unwrap_or("blocks it"));
                push_evidence(cluster, &mut evidence, spot, text);
            }
        }
    }
    if evidence.is_empty()
        && let Some(spot) = bindings.subject.spot()
    {
        push_evidence(cluster, &mut evidence, &spot, "this one".to_owned());
    }
    let mut fixes = Vec::new();
    for fix in &rule.fixes {
        if let Some(when) = &fix.when
            && !when.bool(bindings).unwrap_or(false)
        {
            continue;
        }
        let (Ok(title), Ok(commands)) = (render(&fix.title, bindings), commands(&fix.commands, bindings)) else {
            continue;
        };
        fixes.push(Fix { title, commands, effect: Effect::Unproved });
    }
    let fingerprint = fingerprint(cluster, &rule.id, rule.issue, &subject);
    Ok(Some(Diagnostic {
        rule: rule.id.clone(),
        issue: rule.issue,
        severity,
        resource: subject,
        affected,
        message: render(&rule.message, bindings)?,
        because: render(&rule.because, bindings)?,
        evidence,
        trace,
        fixes,
        docs: rule.docs.clone(),
        fingerprint,
        note: None,
        known: false,
        cluster: None,
    }))
}

fn push_evidence(cluster: &Cluster, evidence: &mut Vec<Evidence>, spot: &Spot, text: String) {
    let (document, pointer) = cluster.snapshot.locate(spot);
    if evidence.len() < 12 && !evidence.iter().any(|e| e.document == document && e.pointer == pointer) {
        evidence.push(Evidence { document, pointer, text });
    }
}

fn render(template: &Template, bindings: &Bindings<'_>) -> Known<String> {
    let mut text = String::new();
    for part in &template.0 {
        match part {
            Part::Text(t) => text.push_str(t),
            Part::Expr(expr) => text.push_str(&expr.text(bindings)?),
        }
    }
    // Folded lines of YAML become one line.
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A command that is one expression may give many.
fn commands(templates: &[Template], bindings: &Bindings<'_>) -> Known<Vec<String>> {
    let mut all = Vec::new();
    let blank = |part: &&Part| matches!(part, Part::Text(text) if text.trim().is_empty());
    for template in templates {
        // One that is an expression, with at most a line's end around it, may be several commands.
        match template.0.iter().filter(|part| !blank(part)).collect::<Vec<_>>().as_slice() {
            [Part::Expr(expr)] => all.extend(expr.texts(bindings)?),
            _ => {
                let mut text = String::new();
                for part in &template.0 {
                    match part {
                        Part::Text(t) => text.push_str(t),
                        Part::Expr(expr) => text.push_str(&expr.text(bindings)?),
                    }
                }
                all.push(text.trim().to_owned());
            }
        }
    }
    Ok(all)
}

/// One fault, one finding: what the same rule says of the same object is told once.
fn merge(found: &mut Vec<Diagnostic>, finding: Diagnostic) {
    let Some(same) = found.iter_mut().find(|f| f.resource == finding.resource) else {
        found.push(finding);
        return;
    };
    if finding.severity < same.severity {
        same.severity = finding.severity;
        same.message = finding.message;
        same.because = finding.because;
    }
    for affected in finding.affected {
        if let Err(i) = same.affected.binary_search(&affected) {
            same.affected.insert(i, affected);
        }
    }
    for evidence in finding.evidence {
        if same.evidence.len() < 12
            && !same.evidence.iter().any(|e| (e.document, &e.pointer) == (evidence.document, &evidence.pointer))
        {
            same.evidence.push(evidence);
        }
    }
    for fix in finding.fixes {
        match same.fixes.iter_mut().find(|f| f.title == fix.title) {
            Some(known) => {
                for command in fix.commands {
                    if !known.commands.contains(&command) {
                        known.commands.push(command);
                    }
                }
            }
            None => same.fixes.push(fix),
        }
    }
    same.trace = same.trace.take().or(finding.trace);
}

/// What the same fault has in common run after run: which cluster, which rule, and what has to change. Within a report
/// it is of one finding, since a rule tells of an object once.
fn fingerprint(cluster: &Cluster, rule: &str, issue: Issue, resource: &Resource) -> String {
    // Names of clusters, and of Kubernetes objects in them, repeat in other accounts and Regions.
    let (account, region) = (cluster.account_id(), cluster.region_name());
    let mut hash = Sha256::new();
    for part in [&*account, &*region, &*cluster.name(), rule, issue.name(), &*resource.kind, &*resource.id] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}
