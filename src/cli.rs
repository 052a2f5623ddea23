//! The command line; `build.rs` reads this file too, for the man pages and completions.

use std::path::PathBuf;

use crate::{Date, FailOn};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Finds what is wrong with the network of an Amazon EKS cluster, shows where, and says how to mend it.
#[derive(Debug, Parser)]
#[command(name = "eks-doctor", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a cluster and report what is wrong
    Check(Box<Check>),
    /// Read a live cluster and write the answers to a folder, to be checked later or elsewhere
    #[cfg(feature = "live")]
    Record(Record),
    /// Compare two snapshots: which findings came and went, and what changed behind them
    ///
    /// The exit code is 1 when a finding at or above --fail-on appeared, else 0; 2 when eks-doctor could not work.
    Diff(Box<Diff>),
    /// Follow a packet and its answer through the network, hop by hop
    Trace(Trace),
    /// List the rules: id, issue, severity, title
    Rules(RulesArgs),
    /// Explain one rule: what it looks at, why it matters, how to mend it
    Explain(Explain),
    /// Copy recorded answers without account ids, names, tag values and public addresses, to show them to others
    Redact(Redact),
    /// Print the least that must be allowed to read what the rules need: an IAM policy (JSON), roles of Kubernetes (YAML)
    Permissions(Permissions),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Check {
    /// The folder (or file) with recorded answers; without it the live cluster is read
    #[arg(long, value_name = "DIR")]
    pub snapshot: Option<PathBuf>,
    /// The cluster (name or ARN); give it again for more of them
    #[arg(long = "cluster", value_name = "NAME")]
    pub clusters: Vec<String>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    pub live: Live,
    /// How to print the report, and into which file (text, json, sarif, junit, github, markdown, html); several at once
    #[arg(long = "format", value_name = "FORMAT[=FILE]", value_parser = output)]
    pub formats: Vec<Output>,
    /// Write the one report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(
        long,
        value_enum,
        value_name = "SEVERITY",
        help = "The least severity that makes the exit code 1 [default: error]"
    )]
    pub fail_on: Option<FailOn>,
    /// Exit with 1 also when something could not be checked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fail_on_skipped: Option<bool>,
    /// Let only findings that are not in this file count for the exit code
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what is found now to the file of --baseline
    #[arg(long, requires = "baseline")]
    pub update_baseline: bool,
    /// Whether to try the fixes on the snapshot, in memory, and say which of them mend their finding and bring nothing new
    #[arg(long, value_enum, default_value_t = Prove::Auto, value_name = "WHEN")]
    pub prove: Prove,
    /// The day on which suppressions are looked at [default: that of SOURCE_DATE_EPOCH, or today]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day, hide = true)]
    pub today: Option<Date>,
    #[command(flatten)]
    pub rules: Selection,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Use ASCII only in the text report
    #[arg(long)]
    pub ascii: bool,
    /// Print the JSON Schema of the JSON report and exit
    #[arg(long)]
    pub schema: bool,
}

/// How to read a live cluster.
#[cfg(feature = "live")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading a live cluster")]
pub struct Live {
    /// Every cluster of the Region
    #[arg(long, conflicts_with = "clusters")]
    pub all_clusters: bool,
    /// The AWS profile
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The AWS Region
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// A role to take before reading
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// Reach Kubernetes by this kubeconfig instead of the cluster's endpoint and the AWS credentials
    #[arg(long, value_name = "FILE", conflicts_with = "no_kubernetes")]
    pub kubeconfig: Option<PathBuf>,
    /// Reach Kubernetes by this context of the kubeconfig
    #[arg(long, value_name = "NAME", conflicts_with = "no_kubernetes")]
    pub context: Option<String>,
    /// Do not read Kubernetes
    #[arg(long)]
    pub no_kubernetes: bool,
    /// For how many seconds to read at most; what is not there by then is skipped
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub timeout: u64,
    /// Tell on standard error what is read (-vv: and what the SDKs do)
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[cfg(feature = "live")]
#[derive(Debug, Args)]
pub struct Record {
    /// The cluster (name or ARN); give it again for more of them
    #[arg(long = "cluster", value_name = "NAME", required_unless_present = "all_clusters")]
    pub clusters: Vec<String>,
    /// The folder to write; an older recording in it is replaced. Of several clusters, each has a folder in it
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Replace account ids, names, tag values and public addresses, so that the folder can be shown to others
    #[arg(long)]
    pub redact: bool,
    #[command(flatten)]
    pub live: Live,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The folder (or file) with the older answers
    #[arg(value_name = "OLD", required_unless_present = "schema")]
    pub old: Option<PathBuf>,
    /// The folder (or file) with the newer answers
    #[arg(value_name = "NEW", required_unless_present = "schema")]
    pub new: Option<PathBuf>,
    /// The cluster, when the snapshots hold several (name or ARN)
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// How to print what is different
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    pub format: DiffFormat,
    /// Write it to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[arg(
        long,
        value_enum,
        value_name = "SEVERITY",
        help = "The least severity of a new finding that makes the exit code 1 [default: error]"
    )]
    pub fail_on: Option<FailOn>,
    #[command(flatten)]
    pub rules: Selection,
    /// The day on which suppressions are looked at [default: that of SOURCE_DATE_EPOCH, or today]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day, hide = true)]
    pub today: Option<Date>,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Print the JSON Schema of what --format json prints and exit
    #[arg(long)]
    pub schema: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    Text,
    Json,
    Markdown,
}

#[derive(Debug, Args)]
pub struct Trace {
    /// The folder (or file) with the recorded answers
    #[arg(long, value_name = "DIR")]
    pub snapshot: PathBuf,
    /// The cluster, when the snapshot holds several (name or ARN)
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Who sends: an interface, instance, node, pod (namespace/name), address, `internet` or `coredns`
    #[arg(long, value_name = "END", required_unless_present = "queries")]
    pub from: Option<String>,
    /// Who receives: the same, or `api` (the cluster's API endpoint)
    #[arg(long, value_name = "END", required_unless_present = "queries")]
    pub to: Option<String>,
    /// tcp, udp, icmp, icmpv6, all, or a number
    #[arg(long, default_value = "tcp")]
    pub protocol: String,
    /// The destination port
    #[arg(long)]
    pub port: Option<u16>,
    /// One JSON query a line in, one JSON answer a line out (`-` is standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to"])]
    pub queries: Option<PathBuf>,
    /// How to print the path
    #[arg(long, value_enum, default_value_t = TraceFormat::Text)]
    pub format: TraceFormat,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Use ASCII only
    #[arg(long)]
    pub ascii: bool,
}

#[derive(Debug, Args)]
pub struct Redact {
    /// The folder with the recorded answers
    #[arg(long, value_name = "DIR")]
    pub snapshot: PathBuf,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Permissions {
    /// Print only one of them
    #[arg(value_enum)]
    pub of: Option<PermissionsOf>,
    #[command(flatten)]
    pub rules: Selection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PermissionsOf {
    Aws,
    Kubernetes,
}

/// Which rules.
#[derive(Debug, Args)]
pub struct Selection {
    /// The configuration [default: eks-doctor.yaml in the working directory, if it is there]
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    pub config: Option<PathBuf>,
    /// Leave a configuration in the working directory alone
    #[arg(long)]
    pub no_config: bool,
    /// A folder of more rules (`<issue>/<rule-id>.yaml`); an id that repeats a built-in one replaces it
    #[arg(long = "rules", value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Run only these rules or issues
    #[arg(long, value_name = "RULE|ISSUE", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave out these rules or issues
    #[arg(long, value_name = "RULE|ISSUE", value_delimiter = ',')]
    pub skip: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    pub what: Option<RulesCommand>,
    /// A list for the eye, or every rule explained as a Markdown page
    #[arg(long, value_enum, default_value_t = RulesFormat::Text)]
    pub format: RulesFormat,
    #[command(flatten)]
    pub rules: Selection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RulesFormat {
    Text,
    Markdown,
}

#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// List the functions that rules may call
    Functions,
    /// List the shapes that rules may match, and their fields
    Shapes,
    /// Run the cases beside the rule files of a folder (`<rule-id>.test.yaml`)
    Test {
        /// The folder of rules, as for --rules
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print the JSON Schema of a rule file, for editors
    Schema,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The rule's id
    pub rule: String,
    /// A folder of more rules
    #[arg(long = "rules", value_name = "DIR")]
    pub folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    Sarif,
    Junit,
    Github,
    Markdown,
    Html,
}

/// A report and where it goes; nowhere is standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub file: Option<PathBuf>,
}

fn day(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "a day is written as 2026-12-31".to_owned())
}

fn output(text: &str) -> Result<Output, String> {
    let (format, file) = match text.split_once('=') {
        Some((_, "")) => return Err("a file name is wanted after `=`".to_owned()),
        Some((format, file)) => (format, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let known: Vec<String> = Format::value_variants()
        .iter()
        .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
        .collect();
    let format =
        Format::from_str(format, false).map_err(|_| format!("no format `{format}`; there are {}", known.join(", ")))?;
    Ok(Output { format, file })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prove {
    /// Of a large snapshot only the first ones, or none
    Auto,
    /// All of them, however long it takes
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}
