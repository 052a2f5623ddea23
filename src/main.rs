//! Arguments in, exit code out.

mod cli;
#[cfg(feature = "live")]
mod live;
mod output;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use eks_doctor::baseline::{Baseline, BaselineError};
use eks_doctor::cluster::Cluster;
use eks_doctor::cluster::end::Question;
use eks_doctor::config::{self, Config, ConfigError, FailOn};
use eks_doctor::date::Date;
use eks_doctor::diagnostic::Report;
use eks_doctor::diff;
use eks_doctor::network::{Disposition, Trace};
use eks_doctor::permissions::{self, Needs};
use eks_doctor::picture::Picture;
use eks_doctor::prove;
use eks_doctor::report;
use eks_doctor::rule::test::TestError;
use eks_doctor::rule::{RuleSet, RulesError, page};
use eks_doctor::snapshot::{self, Gravity, Recording, Snapshot};
use eks_doctor::suppress;
use eks_doctor::yaml::YamlError;
use serde_saphyr::Spanned;

use cli::{Cli, Color, Command, DiffFormat, Format, Output, PermissionsOf, Prove, RulesCommand, TraceFormat};

/// What ends a run with exit code 2.
enum Trouble {
    Plain(String),
    File(Box<YamlError>),
}

impl From<RulesError> for Trouble {
    fn from(error: RulesError) -> Self {
        match error {
            RulesError::Rule(error) => Trouble::File(error),
            other => Trouble::Plain(other.to_string()),
        }
    }
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Mistake(error) => Trouble::File(error),
            other => Trouble::Plain(other.to_string()),
        }
    }
}

impl From<TestError> for Trouble {
    fn from(error: TestError) -> Self {
        match error {
            TestError::Rules(error) => error.into(),
            TestError::Mistake(error) => Trouble::File(error),
            other => Trouble::Plain(other.to_string()),
        }
    }
}

impl From<BaselineError> for Trouble {
    fn from(error: BaselineError) -> Self {
        match error {
            BaselineError::Mistake(error) => Trouble::File(error),
            other => Trouble::Plain(other.to_string()),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Check(args) => check(&args),
        #[cfg(feature = "live")]
        Command::Record(args) => live::record(&args).map_err(Trouble::Plain),
        Command::Diff(args) => diff(&args),
        Command::Trace(args) => trace(&args),
        Command::Rules(args) => rules(&args),
        Command::Explain(args) => explain(&args),
        Command::Redact(args) => redact(&args),
        Command::Permissions(args) => permissions(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "eks-doctor", &mut script);
            print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|trouble| {
        match trouble {
            Trouble::Plain(message) => eprintln!("error: {message}"),
            Trouble::File(error) => eprintln!("{:?}", miette::Report::new(*error)),
        }
        ExitCode::from(2)
    })
}

/// Prints what must be allowed; both together are two documents of one YAML stream.
fn permissions(args: &cli::Permissions) -> Result<ExitCode, Trouble> {
    let (_, rules) = load_rules(&args.rules)?;
    match args.of {
        Some(PermissionsOf::Aws) => print(&permissions::aws(&rules))?,
        Some(PermissionsOf::Kubernetes) => print(&permissions::kubernetes(&rules))?,
        None => print(&format!("{}---\n{}", permissions::aws(&rules), permissions::kubernetes(&rules)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the redacted copy of a snapshot.
fn redact(args: &cli::Redact) -> Result<ExitCode, Trouble> {
    let plain = |e: &dyn std::fmt::Display| Trouble::Plain(e.to_string());
    let mut recording = Recording::read(&args.snapshot).map_err(|e| plain(&e))?;
    recording = snapshot::redact(&recording).map_err(|e| plain(&e))?;
    recording.manifest.tool.get_or_insert_with(|| concat!("eks-doctor ", env!("CARGO_PKG_VERSION")).to_owned());
    recording.write(&args.output).map_err(|e| plain(&e))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<(), Trouble> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Trouble::Plain(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The configuration, and the rules that it and the command line choose.
fn load_rules(selection: &cli::Selection) -> Result<(Config, RuleSet), Trouble> {
    let there = Path::new(config::FILE);
    let config = match &selection.config {
        Some(path) => Config::read(path)?,
        None if !selection.no_config && there.exists() => Config::read(there)?,
        None => Config::default(),
    };
    let mut rules = RuleSet::built_in()?;
    for folder in config.rules.iter().chain(&selection.folders) {
        rules.add(folder)?;
    }
    config.settle(&mut rules).map_err(Trouble::File)?;
    let names = |given: &[String], file: &[Spanned<String>]| -> Vec<String> {
        if given.is_empty() { file.iter().map(|name| name.value.clone()).collect() } else { given.to_vec() }
    };
    rules.select(&names(&selection.only, &config.only), &names(&selection.skip, &config.skip))?;
    for id in &rules.replaced {
        eprintln!("note: rule {id} of --rules replaces the built-in one");
    }
    Ok((config, rules))
}

fn check(args: &cli::Check) -> Result<ExitCode, Trouble> {
    if args.schema {
        print(&report::schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let outputs = outputs(args)?;
    let baseline = match &args.baseline {
        Some(path) => Baseline::read(path, args.update_baseline)?,
        None => None,
    };
    let (config, rules) = load_rules(&args.rules)?;
    let today = today(args.today)?;
    // A picture is drawn only for who looks at it, and shows more than rules look at.
    let drawn = outputs.iter().any(|output| output.format == Format::Html);
    let needs = (!drawn).then(|| Needs::of(&rules));
    let (mut checked, mut clusters) = (Vec::new(), Vec::new());
    for (snapshot, wanted) in subjects(args, needs)? {
        if drawn {
            clusters.extend(Cluster::choose(snapshot.clone(), wanted.as_deref()));
        }
        let found = eks_doctor::diagnose(&snapshot, &rules, wanted.as_deref());
        let mut found = found.map_err(|e| Trouble::Plain(e.to_string()))?;
        let effort = match args.prove {
            Prove::Auto => prove::EFFORT,
            Prove::Always => usize::MAX,
            Prove::Never => 0,
        };
        prove::prove(&mut found, &snapshot, &rules, wanted.as_deref(), effort);
        checked.push((found, snapshot));
    }
    let warnings = suppress::suppress(&mut checked, &config, &rules, today);
    let (mut found, snapshot) = eks_doctor::join(checked);
    found.warnings = warnings;
    let not_json = snapshot.problems.iter().any(|p| p.gravity == Gravity::NotJson);
    let mut undecided = Vec::new();
    if let (Some(baseline), Some(path)) = (baseline, &args.baseline) {
        undecided = baseline.compare(&mut found, path, &rules);
    }
    let mut written = None;
    if let Some(path) = args.baseline.as_deref().filter(|_| args.update_baseline) {
        if not_json {
            return Err(Trouble::Plain(format!(
                "{}: not written, since files of the snapshot could not be read; check without --update-baseline says which",
                path.display()
            )));
        }
        written = Some((path, Baseline::of(&found, undecided).text()));
        found.findings.iter_mut().for_each(|finding| finding.known = true);
    }
    let pictures: Vec<Picture> = clusters.iter().map(|cluster| Picture::new(cluster, &found)).collect();
    write_reports(args, &outputs, written, &found, &snapshot, &rules, &pictures)?;
    if outputs.iter().all(|o| o.format != Format::Text || o.file.is_some()) {
        for problem in snapshot.problems.iter().filter(|p| p.gravity != Gravity::Note) {
            eprintln!("{problem}");
        }
        for warning in &found.warnings {
            eprintln!("warning: {warning}");
        }
    }
    // The process ends here; taking a large snapshot apart, piece by piece, would only cost time.
    std::mem::forget(snapshot);
    Ok(ExitCode::from(if not_json { 2 } else { u8::from(fails(&found, args, &config)) }))
}

/// What is to be checked: snapshots, and which cluster of each. A live one is read as far as it is needed.
fn subjects(args: &cli::Check, needs: Option<Needs>) -> Result<Vec<(Arc<Snapshot>, Option<String>)>, Trouble> {
    let Some(folder) = &args.snapshot else { return live_subjects(args, needs) };
    let snapshot = load(folder)?;
    let snapshot = Arc::new(snapshot);
    if args.clusters.is_empty() {
        return Ok(vec![(snapshot, None)]);
    }
    Ok(args.clusters.iter().map(|cluster| (snapshot.clone(), Some(cluster.clone()))).collect())
}

#[cfg(feature = "live")]
fn live_subjects(args: &cli::Check, needs: Option<Needs>) -> Result<Vec<(Arc<Snapshot>, Option<String>)>, Trouble> {
    if args.clusters.is_empty() && !args.live.all_clusters {
        let message =
            "say what to check: --cluster NAME or --all-clusters (live), or --snapshot DIR (recorded answers)";
        return Err(Trouble::Plain(message.to_owned()));
    }
    let collected = live::collect(&args.clusters, &args.live, needs).map_err(Trouble::Plain)?;
    Ok(collected.into_iter().map(|one| (Arc::new(one.recording.load()), Some(one.cluster))).collect())
}

#[cfg(not(feature = "live"))]
fn live_subjects(_: &cli::Check, _: Option<Needs>) -> Result<Vec<(Arc<Snapshot>, Option<String>)>, Trouble> {
    Err(Trouble::Plain(
        "give the recorded answers with --snapshot DIR (this build cannot read a live cluster)".to_owned(),
    ))
}

/// The day on which suppressions are looked at.
fn today(given: Option<Date>) -> Result<Date, Trouble> {
    if let Some(day) = given {
        return Ok(day);
    }
    let seconds = match std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| !text.is_empty()) {
        Some(text) => text
            .parse()
            .map_err(|_| Trouble::Plain(format!("SOURCE_DATE_EPOCH is {text:?}: seconds since 1970 are wanted")))?,
        None => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
    };
    Ok(Date::of_unix(seconds))
}

/// What is to be written, and where.
fn outputs(args: &cli::Check) -> Result<Vec<Output>, Trouble> {
    let mut outputs = args.formats.clone();
    if outputs.is_empty() {
        outputs.push(Output { format: Format::Text, file: None });
    }
    if let Some(file) = &args.output {
        match outputs.as_mut_slice() {
            [one] if one.file.is_none() => one.file = Some(file.clone()),
            _ => {
                let message = "--output is for a single report; with several, name the files: --format json=FILE";
                return Err(Trouble::Plain(message.to_owned()));
            }
        }
    }
    let mut targets: Vec<_> = outputs.iter().map(|o| o.file.as_deref()).collect();
    // Even when it is not written: a report would take its place.
    targets.extend(args.baseline.as_deref().map(Some));
    output::apart(&targets).map_err(Trouble::Plain)?;
    Ok(outputs)
}

/// Writes the files, the baseline with them, then standard output.
fn write_reports(
    args: &cli::Check,
    outputs: &[Output],
    baseline: Option<(&Path, String)>,
    found: &Report,
    snapshot: &Snapshot,
    rules: &RuleSet,
    pictures: &[Picture],
) -> Result<(), Trouble> {
    let given = args.snapshot.as_deref().unwrap_or(Path::new(""));
    let infos: Vec<report::RuleInfo> = rules.rules.iter().map(page::info).collect();
    // Paths are told as seen from here, for a pipeline finds the files by them.
    let folder = if given.is_file() { given.parent().unwrap_or(given) } else { given };
    let here = std::env::current_dir().unwrap_or_default();
    let folder = folder.strip_prefix(&here).unwrap_or(folder).to_string_lossy();
    let context = report::Context { rules: &infos, folder: &folder };
    let source = match args.snapshot {
        Some(_) => report::Source::Snapshot { path: given.to_string_lossy().into_owned() },
        None => report::Source::Live,
    };
    let texts: Vec<String> = outputs
        .iter()
        .map(|output| match output.format {
            Format::Text => report::text(found, snapshot, &style(args.color, args.ascii, output.file.is_none())),
            Format::Json => report::json(found, snapshot, &source),
            Format::Sarif => report::sarif(found, snapshot, &context),
            Format::Junit => report::junit(found, snapshot, &context),
            Format::Github => report::github(found, snapshot, &context),
            Format::Markdown => report::markdown(found, snapshot, &context),
            Format::Html => report::html(found, snapshot, &context, &source, pictures),
        })
        .collect();
    let both = || outputs.iter().zip(&texts);
    let mut files: Vec<(&Path, &str)> =
        both().filter_map(|(o, text)| Some((o.file.as_deref()?, text.as_str()))).collect();
    files.extend(baseline.as_ref().map(|(path, text)| (*path, text.as_str())));
    output::write(&files).map_err(Trouble::Plain)?;
    for (_, text) in both().filter(|(o, _)| o.file.is_none()) {
        print(text)?;
    }
    Ok(())
}

fn fails(found: &Report, args: &cli::Check, config: &Config) -> bool {
    let fail_on = args.fail_on.or(config.fail_on).unwrap_or(FailOn::Error);
    let on_skipped = args.fail_on_skipped.or(config.fail_on_skipped).unwrap_or(false);
    found.findings.iter().any(|f| !f.known && fail_on.counts(f.severity)) || (on_skipped && !found.skipped.is_empty())
}

fn diff(args: &cli::Diff) -> Result<ExitCode, Trouble> {
    // Both are there unless the schema is asked for.
    let (Some(old_path), Some(new_path), false) = (&args.old, &args.new, args.schema) else {
        print(&diff::schema())?;
        return Ok(ExitCode::SUCCESS);
    };
    let (config, rules) = load_rules(&args.rules)?;
    let today = today(args.today)?;
    let side = |path: &Path| -> Result<(Report, Arc<Snapshot>), Trouble> {
        let snapshot = Arc::new(load(path)?);
        if let Some(problem) = snapshot.problems.iter().find(|p| p.gravity == Gravity::NotJson) {
            return Err(Trouble::Plain(format!("{}: {problem}", path.display())));
        }
        let report = eks_doctor::diagnose(&snapshot, &rules, args.cluster.as_deref())
            .map_err(|e| Trouble::Plain(format!("{}: {e}", path.display())))?;
        Ok((report, snapshot))
    };
    let mut sides = [side(old_path)?, side(new_path)?];
    for warning in suppress::suppress(&mut sides, &config, &rules, today) {
        eprintln!("warning: {warning}");
    }
    let [(was, before), (is, now)] = sides;
    if was.cluster.name != is.cluster.name {
        eprintln!("warning: cluster {} is compared with cluster {}", was.cluster.name, is.cluster.name);
    }
    let old = diff::Side { snapshot: &before, report: &was, path: old_path.to_string_lossy().into_owned() };
    let new = diff::Side { snapshot: &now, report: &is, path: new_path.to_string_lossy().into_owned() };
    let difference = diff::compare(&old, &new, &rules);
    let text = match args.format {
        DiffFormat::Text => diff::text(&difference, &old, &new, &style(args.color, false, args.output.is_none())),
        DiffFormat::Json => diff::json(&difference, &old, &new),
        DiffFormat::Markdown => diff::markdown(&difference, &old, &new),
    };
    match &args.output {
        Some(file) => output::write(&[(file, &text)]).map_err(Trouble::Plain)?,
        None => print(&text)?,
    }
    let fail_on = args.fail_on.or(config.fail_on).unwrap_or(FailOn::Error);
    Ok(ExitCode::from(u8::from(difference.appeared.iter().any(|b| fail_on.counts(b.finding.severity)))))
}

/// A snapshot that holds something.
fn load(folder: &Path) -> Result<Snapshot, Trouble> {
    let snapshot = Snapshot::load(folder).map_err(|e| Trouble::Plain(e.to_string()))?;
    if snapshot.is_empty() {
        for problem in &snapshot.problems {
            eprintln!("{problem}");
        }
        return Err(Trouble::Plain(format!(
            "{}: no file in it holds an answer that eks-doctor knows; docs/snapshot.md lists them",
            folder.display()
        )));
    }
    Ok(snapshot)
}

fn trace(args: &cli::Trace) -> Result<ExitCode, Trouble> {
    let plain = |e: &dyn std::fmt::Display| Trouble::Plain(e.to_string());
    let snapshot = Arc::new(Snapshot::load(&args.snapshot).map_err(|e| plain(&e))?);
    let cluster = Cluster::choose(snapshot.clone(), args.cluster.as_deref()).map_err(|e| plain(&e))?;
    if let Some(path) = &args.queries {
        return queries(&cluster, path);
    }
    let question = Question {
        id: None,
        from: args.from.clone().unwrap_or_default(),
        from_ip: None,
        to: args.to.clone(),
        to_ip: None,
        protocol: args.protocol.clone(),
        port: args.port,
        icmp_type: None,
        icmp_code: None,
    };
    let traces = cluster.answer(&question).map_err(|e| plain(&e))?;
    match args.format {
        TraceFormat::Json => {
            for trace in &traces {
                print(&format!("{}\n", serde_json::to_string_pretty(trace).map_err(|e| plain(&e))?))?;
            }
        }
        TraceFormat::Text => {
            let style = style(args.color, args.ascii, true);
            for trace in &traces {
                print(&report::trace(trace, &snapshot, &style))?;
            }
        }
    }
    let blocked = traces.iter().any(|t| t.disposition == Disposition::Blocked);
    Ok(ExitCode::from(u8::from(blocked)))
}

/// Answers one question a line.
fn queries(cluster: &Cluster, path: &std::path::Path) -> Result<ExitCode, Trouble> {
    let named = |e: &dyn std::fmt::Display| Trouble::Plain(format!("{}: {e}", path.display()));
    let text = if path == std::path::Path::new("-") {
        std::io::read_to_string(std::io::stdin()).map_err(|e| named(&e))?
    } else {
        std::fs::read_to_string(path).map_err(|e| named(&e))?
    };
    let mut out = String::new();
    let mut code = 0;
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let answer = match serde_json::from_str::<Question>(line) {
            Err(error) => {
                code = 2;
                serde_json::json!({"line": i + 1, "error": error.to_string()})
            }
            Ok(question) => match cluster.answer(&question) {
                Err(error) => {
                    code = 2;
                    serde_json::json!({"id": question.id, "error": error.to_string()})
                }
                Ok(traces) => {
                    // Several ends behind one name: the worst of them is the answer.
                    let worst = traces.into_iter().max_by_key(|t| match t.disposition {
                        Disposition::Reachable => 0,
                        Disposition::Unknown => 1,
                        Disposition::Blocked => 2,
                    });
                    #[derive(serde::Serialize)]
                    struct Answer<'a> {
                        id: &'a Option<serde_json::Value>,
                        #[serde(flatten)]
                        trace: Option<Trace>,
                    }
                    serde_json::to_value(Answer { id: &question.id, trace: worst }).map_err(|e| named(&e))?
                }
            },
        };
        out.push_str(&answer.to_string());
        out.push('\n');
    }
    print(&out)?;
    Ok(ExitCode::from(code))
}

fn style(color: Color, ascii: bool, to_stdout: bool) -> report::Style {
    let terminal = to_stdout && std::io::stdout().is_terminal();
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !set("NO_COLOR") && std::env::var("TERM").as_deref() != Ok("dumb"),
    };
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    // A terminal says by its locale whether it knows Unicode; a file or pipe takes UTF-8.
    let unicode = !ascii
        && (!terminal
            || locale.is_none_or(|l| l.to_uppercase().contains("UTF-8") || l.to_uppercase().contains("UTF8")));
    let width = if terminal { terminal_size::terminal_size().map_or(80, |(w, _)| usize::from(w.0)) } else { 100 };
    report::Style { color, unicode, width: width.clamp(60, 120) }
}

fn rules(args: &cli::RulesArgs) -> Result<ExitCode, Trouble> {
    let (_, rules) = load_rules(&args.rules)?;
    match &args.what {
        Some(RulesCommand::Test { folder }) => return test(folder),
        Some(RulesCommand::Schema) => print(&eks_doctor::rule::schema())?,
        Some(RulesCommand::Functions) => print(&page::functions())?,
        Some(RulesCommand::Shapes) => print(&page::shapes(&rules))?,
        None if args.format == cli::RulesFormat::Markdown => print(&page::book(&rules))?,
        None => print(&page::list(&rules))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the cases of a folder of rules.
fn test(folder: &Path) -> Result<ExitCode, Trouble> {
    let tested = eks_doctor::rule::test::run(folder)?;
    let mut out = String::new();
    let failed = tested.cases.iter().filter(|(.., wrong)| !wrong.is_empty()).count();
    for (rule, case, wrong) in &tested.cases {
        out += &format!("{}  {rule}: {case}\n", if wrong.is_empty() { "ok  " } else { "FAIL" });
        for what in wrong {
            out += &format!("      {what}\n");
        }
    }
    for rule in &tested.untested {
        out += &format!("note  {rule} has no case\n");
    }
    out += &format!("{} cases, {failed} failed\n", tested.cases.len());
    print(&out)?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn explain(args: &cli::Explain) -> Result<ExitCode, Trouble> {
    let mut rules = RuleSet::built_in()?;
    for folder in &args.folders {
        rules.add(folder)?;
    }
    let Some(rule) = rules.rules.iter().find(|r| r.id == args.rule) else {
        let near: Vec<&str> = rules
            .rules
            .iter()
            .map(|r| r.id.as_str())
            .filter(|id| id.contains(&args.rule) || args.rule.contains(id))
            .collect();
        let hint = if near.is_empty() {
            "`eks-doctor rules` lists them".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        return Err(Trouble::Plain(format!("no rule `{}`; {hint}", args.rule)));
    };
    print(&page::explain(rule))?;
    Ok(ExitCode::SUCCESS)
}
