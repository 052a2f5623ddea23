//! The command line.

use std::path::PathBuf;

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
    Check(Check),
    /// Follow a packet and its answer through the network, hop by hop
    Trace(Trace),
    /// List the rules: id, issue, severity, title
    Rules(RulesArgs),
    /// Explain one rule: what it looks at, why it matters, how to mend it
    Explain(Explain),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Check {
    /// The folder (or file) with the recorded answers
    #[arg(long, value_name = "DIR", required_unless_present = "schema")]
    pub snapshot: Option<PathBuf>,
    /// The cluster, when the snapshot holds several (name or ARN)
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// How to print the report, and into which file (text, json, sarif, junit, github, markdown); several at once
    #[arg(long = "format", value_name = "FORMAT[=FILE]", value_parser = output)]
    pub formats: Vec<Output>,
    /// Write the one report to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The least severity that makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "SEVERITY")]
    pub fail_on: FailOn,
    /// Exit with 1 also when something could not be checked
    #[arg(long)]
    pub fail_on_skipped: bool,
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

/// Which rules.
#[derive(Debug, Args)]
pub struct Selection {
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
    #[command(flatten)]
    pub rules: Selection,
}

#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// List the functions that rules may call
    Functions,
    /// List the shapes that rules may match, and their fields
    Shapes,
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
}

/// A report and where it goes; nowhere is standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub file: Option<PathBuf>,
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
pub enum TraceFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Error,
    Warning,
    Info,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}
