//! The report as one HTML file for people who were not there: summary, picture of the VPC, findings, what was skipped.
//!
//! Nothing in it comes from elsewhere: style and script are embedded, and its policy forbids the rest.

mod layout;
mod svg;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::excerpt::{Shown, shown};
use super::place::Places;
use super::text::clean;
use super::{Context, Lack, Source, Summary, counts, flow, lacks, plural, severity_name, shown_and_named, title};
use crate::diagnostic::{Diagnostic, Effect, Evidence, Issue, Report, Resource};
use crate::network::{Disposition, Hop, Trace, Verdict};
use crate::picture::Picture;
use crate::snapshot::{Gravity, Snapshot};

const STYLE: &str = include_str!("../../../templates/report.css");
const SCRIPT: &str = include_str!("../../../templates/report.js");

/// Of those who suffer, how many of one kind are named.
const NAMES: usize = 100;
/// Reasons and rules named of one read that is missing.
const REASONS: usize = 3;
/// Lines of suppressed and gone findings.
const LINES: usize = 500;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'r> {
    policy: String,
    style: &'static str,
    script: &'static str,
    version: &'static str,
    cluster: String,
    facts: Vec<(&'static str, String)>,
    verdict: String,
    worst: &'static str,
    tiles: Vec<Tile>,
    issues: Vec<Section>,
    /// Those with findings, the worst first.
    order: Vec<usize>,
    drawings: Vec<Drawing>,
    left_out: usize,
    subnets: Vec<Vec<String>>,
    skipped: usize,
    lacks: Vec<LackRow>,
    suppressed: Vec<Quiet>,
    suppressed_count: usize,
    gone: Vec<(String, String)>,
    gone_count: usize,
    baseline: String,
    /// What is to be said of the configuration.
    warnings: Vec<String>,
    problems: Vec<Trouble<'r>>,
}

/// The picture of one cluster.
struct Drawing {
    cluster: String,
    svg: String,
}

/// A number of the summary.
struct Tile {
    class: &'static str,
    count: usize,
    word: &'static str,
    link: &'static str,
}

struct Section {
    name: &'static str,
    title: &'static str,
    /// `2 errors` or `nothing found`.
    counts: String,
    class: &'static str,
    findings: Vec<Finding>,
}

struct Finding {
    number: usize,
    severity: &'static str,
    sign: &'static str,
    rule: String,
    resource: String,
    /// When the report is about several.
    cluster: String,
    message: String,
    notes: Vec<String>,
    because: String,
    evidence: Vec<Proof>,
    /// Places that say the same as those that are shown: what they say, where.
    also: Vec<(String, Vec<String>)>,
    path: Option<Route>,
    affected: Vec<(String, Vec<String>, usize)>,
    fixes: Vec<Remedy>,
    docs: String,
    drawn: bool,
    fingerprint: String,
}

struct Proof {
    place: String,
    text: String,
    lines: Vec<Line>,
}

struct Line {
    number: String,
    before: String,
    marked: String,
    after: String,
}

struct Route {
    title: String,
    verdict: &'static str,
    ways: Vec<(&'static str, Vec<HopRow>)>,
}

struct HopRow {
    number: usize,
    verdict: &'static str,
    sign: &'static str,
    step: String,
    at: String,
    by: String,
    code: String,
    note: String,
    place: String,
}

struct Remedy {
    title: String,
    proved: bool,
    /// Each word, and the white space behind it: a word that fits is not broken at its hyphens.
    commands: Vec<(String, String)>,
}

struct LackRow {
    read: String,
    reasons: String,
    rules: String,
}

struct Quiet {
    severity: &'static str,
    rule: String,
    message: String,
    reason: String,
    until: String,
    by: String,
}

struct Trouble<'r> {
    class: &'static str,
    place: String,
    message: &'r str,
    help: &'r str,
}

/// The report as HTML, with a picture of each cluster of which there is something to draw.
pub fn html(
    report: &Report,
    snapshot: &Snapshot,
    context: &Context<'_>,
    source: &Source,
    pictures: &[Picture],
) -> String {
    let pictures: Vec<&Picture> = pictures.iter().filter(|picture| !picture.subnets.is_empty()).collect();
    let mut writer = Writer { report, snapshot, context, places: Places::new(snapshot) };
    let summary = Summary::of(report);
    let issues: Vec<Section> = Issue::ALL.into_iter().map(|issue| writer.section(issue, &pictures)).collect();
    let mut order: Vec<usize> = (0..issues.len()).filter(|&i| !issues[i].findings.is_empty()).collect();
    order.sort_by_key(|&i| issues[i].findings.first().map(|finding| finding.number));
    let suppressed = report.suppressed.iter().take(LINES).map(|one| Quiet {
        severity: severity_name(one.finding.severity),
        rule: clean(&one.finding.rule),
        message: clean(&one.finding.message),
        reason: clean(&one.reason),
        until: one.until.as_deref().map(clean).unwrap_or_default(),
        by: clean(&one.by),
    });
    let gone = report.compared.iter().flat_map(|compared| &compared.gone);
    let page = Page {
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        version: env!("CARGO_PKG_VERSION"),
        cluster: clean(if report.cluster.name.is_empty() { "unnamed cluster" } else { &report.cluster.name }),
        facts: writer.facts(source),
        verdict: verdict(report),
        worst: report.findings.iter().map(|f| f.severity).min().map_or("fine", severity_name),
        tiles: tiles(&summary, report),
        issues,
        order,
        left_out: pictures.iter().map(|picture| picture.left_out).sum(),
        subnets: pictures.iter().flat_map(|picture| subnets(picture)).collect(),
        drawings: pictures
            .iter()
            .enumerate()
            .map(|(i, picture)| Drawing {
                cluster: clean(&picture.cluster),
                svg: svg::draw(picture, i + 1, &report.findings),
            })
            .collect(),
        skipped: report.skipped.len(),
        lacks: lacks(report).into_iter().map(lack_row).collect(),
        suppressed: suppressed.collect(),
        suppressed_count: report.suppressed.len(),
        gone: gone.clone().take(LINES).map(|gone| (clean(&gone.rule), clean(&gone.message))).collect(),
        gone_count: gone.count(),
        baseline: report.compared.as_ref().map(|compared| clean(&compared.file)).unwrap_or_default(),
        warnings: report.warnings.iter().map(|warning| clean(warning)).collect(),
        problems: troubles(snapshot),
    };
    // Writing to a string cannot fail.
    page.render().unwrap_or_default() + "\n"
}

/// Only what is in the file may run, and nothing may be fetched.
fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn verdict(report: &Report) -> String {
    let summary = Summary::of(report);
    let counts = counts(summary.errors, summary.warnings, summary.infos);
    let found = match (counts.is_empty(), summary.passed) {
        (true, 0) => "Nothing could be checked".to_owned(),
        (true, _) => "No problem found".to_owned(),
        (false, _) => format!("{counts} found"),
    };
    let mut text = found;
    if summary.passed > 0 {
        text += &format!(". {} passed", plural(summary.passed, "check"));
    }
    if summary.skipped > 0 {
        text += &format!(", {} could not be made", summary.skipped);
    }
    text + "."
}

fn tiles(summary: &Summary, report: &Report) -> Vec<Tile> {
    let known = report.findings.iter().filter(|finding| finding.known).count();
    let tile = |class, count, word, link| Tile { class, count, word, link };
    let mut tiles = vec![
        tile("error", summary.errors, if summary.errors == 1 { "error" } else { "errors" }, "#findings"),
        tile("warning", summary.warnings, if summary.warnings == 1 { "warning" } else { "warnings" }, "#findings"),
        tile("info", summary.infos, "advice", "#findings"),
        tile("passed", summary.passed, "passed", ""),
        tile("skipped", summary.skipped, "not checked", if summary.skipped > 0 { "#skipped" } else { "" }),
    ];
    if summary.suppressed > 0 {
        tiles.push(tile("quiet", summary.suppressed, "suppressed", "#suppressed"));
    }
    if known > 0 {
        tiles.push(tile("quiet", known, "in the baseline", "#findings"));
    }
    tiles
}

/// The picture in words: a line for each subnet.
fn subnets(picture: &Picture) -> Vec<Vec<String>> {
    let row = |subnet: &crate::picture::Subnet| {
        let addresses = subnet.addresses.map_or_else(String::new, |addresses| {
            let blocks = addresses.prefixes.map_or_else(String::new, |count| format!(", {count} free /28 blocks"));
            format!("{} of {} free{blocks}", addresses.free, addresses.usable)
        });
        let words = |id: &usize| {
            let object = &picture.objects[*id];
            let detail = if object.detail.is_empty() { String::new() } else { format!(" ({})", object.detail) };
            clean(&format!("{}{detail}", object.label))
        };
        vec![
            clean(&picture.zones[subnet.zone].name),
            clean(&format!("{} {}", picture.objects[subnet.object].label, subnet.subnet_id)),
            subnet.band.name().to_owned(),
            clean(&subnet.cidrs.join(", ")),
            addresses,
            subnet.rows.iter().map(words).collect::<Vec<_>>().join("; "),
        ]
    };
    picture.subnets.iter().map(row).collect()
}

fn lack_row(lack: Lack<'_>) -> LackRow {
    let mut reasons = lack.reasons.iter().take(REASONS).copied().collect::<Vec<_>>().join("; ");
    if lack.reasons.len() > REASONS {
        reasons += &format!("; and {} more", lack.reasons.len() - REASONS);
    }
    let rules = lack.rules.iter().map(|(rule, count)| match count {
        1 => (*rule).to_owned(),
        count => format!("{rule} ({count})"),
    });
    LackRow { read: clean(lack.read), reasons: clean(&reasons), rules: clean(&rules.collect::<Vec<_>>().join(", ")) }
}

fn troubles(snapshot: &Snapshot) -> Vec<Trouble<'_>> {
    let trouble = |problem: &'_ crate::snapshot::Problem| {
        let mut place = clean(&problem.file);
        for number in problem.line.into_iter().chain(problem.line.and(problem.column)) {
            place += &format!(":{number}");
        }
        (if problem.gravity == Gravity::Note { "note" } else { "error" }, place)
    };
    let all = snapshot.problems.iter().take(LINES).map(|problem| {
        let (class, place) = trouble(problem);
        Trouble { class, place, message: &problem.message, help: &problem.help }
    });
    all.collect()
}

struct Writer<'r> {
    report: &'r Report,
    snapshot: &'r Snapshot,
    context: &'r Context<'r>,
    places: Places<'r>,
}

impl Writer<'_> {
    fn facts(&self, source: &Source) -> Vec<(&'static str, String)> {
        let cluster = &self.report.cluster;
        let recorded = self.snapshot.manifest.recorded_at.clone();
        let of = match source {
            Source::Snapshot { path } => path.clone(),
            Source::Live => "live cluster".to_owned(),
        };
        let all = [
            ("Region", cluster.region.clone()),
            ("Account", cluster.account.clone()),
            ("Kubernetes", cluster.version.clone()),
            ("Recorded", recorded),
            ("Read from", Some(of)),
        ];
        all.into_iter().filter_map(|(word, value)| Some((word, clean(&value.filter(|v| !v.is_empty())?)))).collect()
    }

    fn section(&mut self, issue: Issue, pictures: &[&Picture]) -> Section {
        let report = self.report;
        let numbered = report.findings.iter().enumerate().filter(|(_, finding)| finding.issue == issue);
        let findings: Vec<Finding> = numbered
            .map(|(i, finding)| {
                let mut marks = pictures.iter().filter_map(|picture| picture.marks.get(i));
                let drawn = marks.any(|mark| !mark.culprits.is_empty() || !mark.affected.is_empty());
                self.finding(i + 1, finding, drawn)
            })
            .collect();
        let count = |name: &str| findings.iter().filter(|finding| finding.severity == name).count();
        let (errors, warnings, infos) = (count("error"), count("warning"), count("info"));
        let skipped = report.skipped.iter().filter(|skipped| skipped.issue == issue).count();
        let mut words = counts(errors, warnings, infos);
        if words.is_empty() {
            words = "nothing found".to_owned();
        }
        if skipped > 0 {
            words += &format!(", {skipped} not checked");
        }
        let class = match (errors, warnings, infos) {
            (0, 0, 0) if skipped > 0 => "partly",
            (0, 0, 0) => "fine",
            (0, 0, _) => "info",
            (0, _, _) => "warning",
            _ => "error",
        };
        Section { name: issue.name(), title: title(issue), counts: words, class, findings }
    }

    fn finding(&mut self, number: usize, finding: &Diagnostic, drawn: bool) -> Finding {
        let mut notes = Vec::new();
        if finding.known {
            notes.push("in the baseline; it does not count for the exit code".to_owned());
        }
        notes.extend(finding.note.as_deref().map(clean));
        let resource = &finding.resource;
        let (shown, named) = shown_and_named(&finding.evidence);
        Finding {
            number,
            severity: severity_name(finding.severity),
            sign: svg::sign(finding.severity),
            rule: clean(&finding.rule),
            resource: clean(&format!("{} {}", resource.kind, called(resource))),
            cluster: finding.cluster.as_deref().map(clean).unwrap_or_default(),
            message: clean(&finding.message),
            notes,
            because: clean(&finding.because),
            evidence: shown.into_iter().filter_map(|evidence| self.proof(evidence)).collect(),
            also: named
                .into_iter()
                .map(|(text, places)| {
                    let places = places.into_iter().take(NAMES).filter_map(|evidence| self.also(evidence));
                    (clean(text), places.collect())
                })
                .collect(),
            path: finding.trace.as_ref().map(|trace| self.route(trace)),
            affected: by_kind(&finding.affected),
            fixes: finding
                .fixes
                .iter()
                .map(|fix| Remedy {
                    title: clean(&fix.title),
                    proved: fix.effect == Effect::Proved,
                    commands: words(&commands(&fix.commands)),
                })
                .collect(),
            docs: Some(clean(&finding.docs)).filter(|docs| docs.starts_with("https://")).unwrap_or_default(),
            drawn,
            fingerprint: clean(&finding.fingerprint),
        }
    }

    fn proof(&mut self, evidence: &Evidence) -> Option<Proof> {
        let Shown { file, at, label, lines } = shown(evidence, &mut self.places)?;
        let lines = lines.into_iter().map(|(number, [before, marked, after])| Line {
            number: number.map_or_else(String::new, |number| number.to_string()),
            before,
            marked,
            after,
        });
        let place = format!("{}:{}:{}", self.context.path(&file), at.0, at.1);
        Some(Proof { place, text: label, lines: lines.collect() })
    }

    fn also(&mut self, evidence: &Evidence) -> Option<String> {
        let place = self.places.find(evidence)?;
        Some(clean(&format!("{}:{}:{}", self.context.path(place.file), place.line, place.column)))
    }

    fn route(&mut self, trace: &Trace) -> Route {
        let ways = [("There", &trace.forward, 0), ("And back", &trace.back, trace.forward.len())];
        let ways = ways.into_iter().filter(|(_, hops, _)| !hops.is_empty()).map(|(way, hops, before)| {
            (way, hops.iter().enumerate().map(|(i, hop)| self.hop(before + i + 1, hop)).collect())
        });
        Route {
            title: clean(&flow(trace)),
            ways: ways.collect(),
            verdict: match trace.disposition {
                Disposition::Reachable => "reachable",
                Disposition::Blocked => "blocked",
                Disposition::Unknown => "unknown",
            },
        }
    }

    fn hop(&mut self, number: usize, hop: &Hop) -> HopRow {
        let (verdict, sign) = match hop.verdict {
            Verdict::Allowed => ("allowed", "✓"),
            Verdict::Blocked => ("blocked", "✕"),
            Verdict::Unknown => ("unknown", "?"),
        };
        let place = hop.spot.as_ref().and_then(|spot| {
            let (document, pointer) = self.snapshot.locate(spot);
            let place = self.places.find(&Evidence { document, pointer, text: String::new() })?;
            Some(format!("{}:{}", place.file, place.line))
        });
        HopRow {
            number,
            verdict,
            sign,
            step: clean(&hop.step),
            at: clean(&hop.at),
            by: hop.by.as_deref().map(clean).unwrap_or_default(),
            code: hop.code.unwrap_or_default().to_owned(),
            note: hop.note.as_deref().map(clean).unwrap_or_default(),
            place: place.map(|place| clean(&place)).unwrap_or_default(),
        }
    }
}

fn called(resource: &Resource) -> String {
    match &resource.name {
        Some(name) if *name != resource.id => format!("{} ({name})", resource.id),
        _ => resource.id.clone(),
    }
}

/// Those who suffer: kind, names, how many more.
fn by_kind(all: &[Resource]) -> Vec<(String, Vec<String>, usize)> {
    let mut kinds: Vec<(String, Vec<String>, usize)> = Vec::new();
    for resource in all {
        let at = kinds.iter().position(|(kind, _, _)| *kind == resource.kind).unwrap_or_else(|| {
            kinds.push((resource.kind.clone(), Vec::new(), 0));
            kinds.len() - 1
        });
        let (_, names, more) = &mut kinds[at];
        if names.len() < NAMES {
            names.push(clean(&called(resource)));
        } else {
            *more += 1;
        }
    }
    kinds
}

/// The words of a text, each with the white space behind it.
fn words(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for c in text.chars() {
        match all.last_mut() {
            Some((_, gap)) if c.is_whitespace() => gap.push(c),
            Some((word, gap)) if gap.is_empty() => word.push(c),
            None if c.is_whitespace() => all.push((String::new(), c.to_string())),
            _ => all.push((c.to_string(), String::new())),
        }
    }
    all
}

/// Commands as they are pasted: each on lines of its own.
fn commands(all: &[String]) -> String {
    let one = |command: &String| command.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n");
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}
