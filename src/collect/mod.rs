//! Reading a live cluster: AWS and Kubernetes are asked, the answers become a [`Recording`].
//!
//! The only code that knows an SDK. What is checked afterwards is what a folder with the same answers would be.

mod answer;
mod aws;
mod call;
mod credentials;
mod endpoint;
mod kube;
mod plan;
mod progress;
mod refusal;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::permissions::Needs;
use crate::snapshot::{Failure, Manifest, Recording};
use answer::Answer;
use aws::Aws;
use call::{Call, Service};
use kube::{Api, Endpoint, KINDS, Kind};
use plan::Plan;
use progress::Progress;
use refusal::Failed;

pub use credentials::{Access, AccessError};
pub use kube::Kubernetes;

/// Which clusters of the Region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Named(Vec<String>),
    All,
}

/// How to read.
#[derive(Debug, Clone)]
pub struct Options {
    pub access: Access,
    pub kubernetes: Kubernetes,
    /// For all that is read; what is not there by then is noted as a failure.
    pub timeout: Duration,
    /// What is read of a cluster; all that a snapshot has a place for when there is none.
    pub needs: Option<Arc<Needs>>,
}

/// One cluster as it was read.
#[derive(Debug)]
pub struct Collected {
    pub cluster: String,
    pub recording: Recording,
    /// What the person at the terminal should know.
    pub notes: Vec<String>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// No credentials, no Region.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Credentials that AWS does not take.
    #[error(
        "AWS does not take the credentials ({code}: {message}): log in again, or look at --profile, AWS_PROFILE and the clock of this machine"
    )]
    Credentials { code: String, message: String },
    /// There is no such cluster here.
    #[error("no cluster {cluster} in {region} of {who}; {there}")]
    NotThere { cluster: String, region: String, who: String, there: String },
    /// The API cannot be reached.
    #[error(
        "{endpoint} cannot be reached ({message}): look at the network, HTTPS_PROXY, --region and AWS_ENDPOINT_URL"
    )]
    Unreachable { endpoint: String, message: String },
    /// The list of clusters was refused.
    #[error("the clusters of {region} cannot be listed ({code}: {message}): name one with --cluster")]
    NoList { region: String, code: String, message: String },
    /// The Region has no cluster.
    #[error("no cluster in {region} of {who}; another --region or --profile?")]
    NoCluster { region: String, who: String },
    /// Ctrl-C.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// The operating system refuses.
    #[error("cannot start: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Reads the wanted clusters, all at once; sorted by name.
///
/// # Errors
/// When a cluster cannot be read at all. A read that is denied or fails is noted in the recording.
pub fn collect(wanted: &Wanted, options: &Options) -> Result<Vec<Collected>, CollectError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let read = async {
        tokio::select! {
            collected = all(wanted, options) => collected,
            _ = tokio::signal::ctrl_c() => Err(CollectError::Interrupted),
        }
    };
    let collected = runtime.block_on(read);
    // What is still on its way (a name being looked up) is not waited for.
    runtime.shutdown_background();
    collected
}

async fn all(wanted: &Wanted, options: &Options) -> Result<Vec<Collected>, CollectError> {
    let aws = Aws::connect(&options.access).await?;
    let names = match wanted {
        Wanted::Named(names) => names.clone(),
        Wanted::All => listed(&aws).await?,
    };
    let progress = Progress::new();
    let mut tasks = JoinSet::new();
    for name in names {
        let (aws, options, bar) = (aws.clone(), options.clone(), progress.cluster(&name));
        tasks.spawn(async move { Reading::new(aws, &name, &options, bar).run(&options).await });
    }
    let mut collected = Vec::new();
    while let Some(one) = tasks.join_next().await {
        collected.push(one.map_err(std::io::Error::other)??);
    }
    collected.sort_by(|a: &Collected, b| a.cluster.cmp(&b.cluster));
    Ok(collected)
}

/// The clusters of the Region.
async fn listed(aws: &Aws) -> Result<Vec<String>, CollectError> {
    let region = aws.region.clone();
    let mut names = match aws.call(&Call::clusters()).await {
        Ok((answer, _)) => answer.list::<String>("clusters"),
        Err(failed) => {
            return Err(fatal(aws, &failed).unwrap_or(CollectError::NoList {
                region,
                code: failed.code,
                message: failed.message,
            }));
        }
    };
    names.sort();
    if names.is_empty() { Err(CollectError::NoCluster { region, who: who(aws).await }) } else { Ok(names) }
}

/// A failure that no other read will be spared.
fn fatal(aws: &Aws, failed: &Failed) -> Option<CollectError> {
    let Failed { code, message } = failed.clone();
    if failed.no_credentials() {
        return Some(CollectError::Credentials { code, message });
    }
    let unreachable = ["NoConnection", "TimedOut"].contains(&code.as_str());
    unreachable.then(|| CollectError::Unreachable { endpoint: aws.endpoint(Service::Eks).0, message })
}

/// Whose credentials these are.
async fn who(aws: &Aws) -> String {
    match aws.call(&Call::form(Service::Sts, "GetCallerIdentity")).await {
        Ok((answer, _)) => {
            let say = |key| answer.one::<String>(key).unwrap_or_default();
            format!("account {} (as {})", say("Account"), say("Arn"))
        }
        Err(_) => "this account".to_owned(),
    }
}

/// A cluster's ARN.
#[derive(serde::Deserialize)]
struct Named {
    arn: String,
}

/// What a task brings.
enum Event {
    Answer { call: Call, chain: usize, took: Duration, result: Result<(Answer, usize), Failed> },
    Api(Result<Api, Failed>),
    Objects { kind: &'static Kind, took: Duration, result: Result<(String, usize), Failed> },
}

/// One cluster while it is read.
struct Reading {
    aws: Aws,
    cluster: String,
    plan: Plan,
    /// The kinds of Kubernetes objects that are read.
    kinds: Vec<&'static Kind>,
    tasks: JoinSet<Event>,
    /// What was asked and not answered yet.
    open: Vec<Call>,
    open_kinds: Vec<&'static Kind>,
    /// By path and argument: answers to the same question add up.
    answers: BTreeMap<(String, Option<String>), (Answer, Option<&'static str>)>,
    recording: Recording,
    notes: Vec<String>,
    progress: progress::Bar,
    begun: Instant,
    aws_calls: usize,
    /// Answers of AWS that had to come one after the other.
    longest_chain: usize,
    kubernetes_calls: usize,
}

impl Reading {
    fn new(aws: Aws, cluster: &str, options: &Options, progress: progress::Bar) -> Reading {
        let manifest = Manifest {
            format: Some(1),
            cluster: Some(cluster.to_owned()),
            region: Some(aws.region.clone()),
            partition: Some(aws.partition().to_owned()),
            recorded_at: Some(now()),
            tool: Some(concat!("eks-doctor ", env!("CARGO_PKG_VERSION")).to_owned()),
            ..Manifest::default()
        };
        let needed = |kind: &Kind| {
            options.needs.as_ref().is_none_or(|n| n.reads.contains(format!("k8s:{}", kind.plural).as_str()))
        };
        Reading {
            aws,
            cluster: cluster.to_owned(),
            plan: Plan::new(cluster, options.needs.clone()),
            kinds: KINDS.iter().filter(|kind| needed(kind)).collect(),
            tasks: JoinSet::new(),
            open: Vec::new(),
            open_kinds: Vec::new(),
            answers: BTreeMap::new(),
            recording: Recording::new(manifest),
            notes: Vec::new(),
            progress,
            begun: Instant::now(),
            aws_calls: 0,
            longest_chain: 0,
            kubernetes_calls: 0,
        }
    }

    async fn run(mut self, options: &Options) -> Result<Collected, CollectError> {
        let deadline = tokio::time::Instant::now() + options.timeout;
        let first = self.plan.start();
        self.ask(first, 0);
        if let Kubernetes::Kubeconfig { file, context } = options.kubernetes.clone() {
            self.tasks.spawn(async move { Event::Api(Api::by_kubeconfig(file.as_deref(), context.as_deref()).await) });
        }
        loop {
            match timeout_at(deadline, self.tasks.join_next()).await {
                Ok(Some(event)) => self.take(event.map_err(std::io::Error::other)?, options).await?,
                Ok(None) => break,
                Err(_) => {
                    self.run_out(options.timeout);
                    break;
                }
            }
        }
        Ok(self.finish())
    }

    /// Asks after `chain` answers that had to come first.
    fn ask(&mut self, calls: Vec<Call>, chain: usize) {
        for call in calls {
            let aws = self.aws.clone();
            self.open.push(call.clone());
            self.progress.asked();
            self.tasks.spawn(async move {
                let begun = Instant::now();
                let result = aws.call(&call).await;
                Event::Answer { call, chain, took: begun.elapsed(), result }
            });
        }
    }

    fn ask_api(&mut self, api: &Api) {
        for kind in self.kinds.clone() {
            let api = api.clone();
            self.open_kinds.push(kind);
            self.progress.asked();
            self.tasks.spawn(async move {
                let begun = Instant::now();
                let result = api.list(kind).await;
                Event::Objects { kind, took: begun.elapsed(), result }
            });
        }
    }

    async fn take(&mut self, event: Event, options: &Options) -> Result<(), CollectError> {
        match event {
            Event::Answer { call, chain, took, result } => {
                self.open.retain(|open| *open != call);
                self.progress.answered();
                match result {
                    Ok((mut answer, pages)) => {
                        self.aws_calls += pages;
                        let chain = chain + pages;
                        self.longest_chain = self.longest_chain.max(chain);
                        tracing::info!(
                            "{:<52} {pages:>3} page(s) {:>6} ms  {}",
                            call.read(),
                            took.as_millis(),
                            about(&call)
                        );
                        let calls = self.plan.follow(&call, &mut answer);
                        self.ask(calls, chain);
                        if call.operation == "DescribeCluster" && options.kubernetes == Kubernetes::Cluster {
                            self.connect(answer.one("cluster"));
                        }
                        self.keep(&call, answer);
                    }
                    Err(failed) => {
                        self.aws_calls += 1;
                        tracing::info!("{:<52} {}: {}  {}", call.read(), failed.code, failed.message, about(&call));
                        self.refused(&call, chain + 1, &failed, options).await?;
                    }
                }
            }
            Event::Api(Ok(api)) => self.ask_api(&api),
            Event::Api(Err(failed)) => self.without_kubernetes(&failed),
            Event::Objects { kind, took, result } => {
                self.open_kinds.retain(|open| *open != kind);
                self.progress.answered();
                match result {
                    Ok((list, requests)) => {
                        self.kubernetes_calls += requests;
                        tracing::info!("k8s:{:<48} {requests:>3} request(s) {:>6} ms", kind.plural, took.as_millis());
                        let calls = self.plan.follow_objects(kind.plural, &list);
                        self.ask(calls, 0);
                        self.recording.k8s(kind.plural, list);
                    }
                    Err(failed) => {
                        self.kubernetes_calls += 1;
                        tracing::info!("k8s:{:<48} {}: {}", kind.plural, failed.code, failed.message);
                        self.fail_objects(kind, &failed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Connects to the cluster's API as AWS tells it.
    fn connect(&mut self, endpoint: Option<Endpoint>) {
        let Some(endpoint) = endpoint else { return };
        let (aws, cluster) = (self.aws.clone(), self.cluster.clone());
        self.tasks.spawn(async move { Event::Api(Api::of_cluster(&aws, &cluster, &endpoint).await) });
    }

    fn keep(&mut self, call: &Call, answer: Answer) {
        // Which version is the default one is all that it tells.
        if call.operation == "GetPolicy" {
            return;
        }
        if call.operation == "DescribeCluster" {
            let arn = answer.one::<Named>("cluster").map(|cluster| cluster.arn).unwrap_or_default();
            self.recording.manifest.account = arn.split(':').nth(4).map(str::to_owned);
        }
        let key = (call.path(), call.file());
        match self.answers.get_mut(&key) {
            Some((held, _)) => held.extend(answer),
            None => {
                self.answers.insert(key, (answer, call.id()));
            }
        }
    }

    async fn refused(
        &mut self,
        call: &Call,
        chain: usize,
        failed: &Failed,
        options: &Options,
    ) -> Result<(), CollectError> {
        if call.operation == "DescribeCluster" {
            if let Some(fatal) = fatal(&self.aws, failed) {
                return Err(fatal);
            }
            if failed.code == "ResourceNotFoundException" {
                let there = match self.aws.call(&Call::clusters()).await {
                    Ok((answer, _)) => match answer.list::<String>("clusters") {
                        names if names.is_empty() => "there is none at all: another --region or --profile?".to_owned(),
                        mut names => {
                            names.sort();
                            format!("there are: {}", names.join(", "))
                        }
                    },
                    Err(failed) => format!("which there are cannot be listed ({})", failed.code),
                };
                let (cluster, region) = (self.cluster.clone(), self.aws.region.clone());
                return Err(CollectError::NotThere { cluster, region, who: who(&self.aws).await, there });
            }
            let Failed { code, message } = failed;
            self.notes.push(format!(
                "eks:DescribeCluster failed ({code}: {message}): without the cluster's VPC next to nothing can be \
                 checked; `eks-doctor permissions` prints the policy that is needed"
            ));
            if options.kubernetes == Kubernetes::Cluster {
                let no_endpoint = "its endpoint is what eks:DescribeCluster tells; give --kubeconfig".to_owned();
                self.without_kubernetes(&Failed { code: "NoEndpoint".to_owned(), message: no_endpoint });
            }
        }
        self.recording.fail(call.failure(&failed.code, &failed.message));
        if call.operation == "GetPolicy" {
            // What rules miss is the version that it would have named.
            let failure = call.failure(&failed.code, &failed.message);
            self.recording.fail(Failure { operation: "iam:GetPolicyVersion".to_owned(), ..failure });
        }
        let calls = self.plan.failed(call);
        self.ask(calls, chain);
        Ok(())
    }

    fn fail_objects(&mut self, kind: &Kind, failed: &Failed) {
        let Failed { code, message } = failed.clone();
        self.recording.fail(Failure { operation: format!("k8s:{}", kind.plural), argument: None, code, message });
    }

    fn without_kubernetes(&mut self, failed: &Failed) {
        for kind in self.kinds.clone() {
            self.fail_objects(kind, failed);
        }
    }

    /// The time is over: what is open was not read.
    fn run_out(&mut self, timeout: Duration) {
        let message = format!("not answered when the {} seconds of --timeout were over", timeout.as_secs());
        for call in std::mem::take(&mut self.open) {
            self.recording.fail(call.failure("TimedOut", &message));
        }
        for kind in std::mem::take(&mut self.open_kinds) {
            self.fail_objects(kind, &Failed { code: "TimedOut".to_owned(), message: message.clone() });
        }
        self.notes.push(format!("some reads were {message}; the rest was checked"));
        self.tasks.abort_all();
    }

    fn finish(mut self) -> Collected {
        for ((path, argument), (answer, id)) in std::mem::take(&mut self.answers) {
            self.recording.aws(&path, argument.as_deref(), &answer.into_json(id));
        }
        self.notes.extend(kubernetes_note(&self.recording.manifest.failures, self.kinds.len()));
        tracing::info!(
            "{}: {} AWS calls, at most {} one after the other, {} Kubernetes requests, {} ms, {} read(s) failed",
            self.cluster,
            self.aws_calls,
            self.longest_chain,
            self.kubernetes_calls,
            self.begun.elapsed().as_millis(),
            self.recording.manifest.failures.len()
        );
        self.progress.done();
        Collected { cluster: self.cluster, recording: self.recording, notes: self.notes }
    }
}

/// What to do when Kubernetes could not be read.
fn kubernetes_note(failures: &[Failure], kinds: usize) -> Option<String> {
    let failed = |code: &str| failures.iter().find(|f| f.operation.starts_with("k8s:") && f.code == code);
    let advice = [
        (
            "Unreachable",
            "run it where the endpoint can be reached (a private one only from its VPC or networks connected to it), or give --kubeconfig with a tunnel",
        ),
        (
            "TimedOut",
            "run it where the endpoint can be reached (a private one only from its VPC or networks connected to it), or give --kubeconfig with a tunnel",
        ),
        (
            "Certificate",
            "something between here and the endpoint answers in its place; give --kubeconfig with the right certificate",
        ),
        (
            "Unauthorized",
            "the cluster does not know these AWS credentials: make an access entry for them (aws eks create-access-entry), or give --kubeconfig",
        ),
        ("Forbidden", "they may not list this: `eks-doctor permissions` prints the ClusterRole that is needed"),
        ("Kubeconfig", "look at --kubeconfig and --context"),
        ("NoCredentials", "look at the user of the kubeconfig"),
        ("NoEndpoint", "wait until the cluster is active, or give --kubeconfig"),
    ];
    let (failure, advice) = advice.iter().find_map(|(code, advice)| Some((failed(code)?, advice)))?;
    let count = failures.iter().filter(|f| f.operation.starts_with("k8s:") && f.code == failure.code).count();
    let what = if count == kinds {
        "Kubernetes was not read".to_owned()
    } else {
        format!("{count} kinds of Kubernetes objects were not read")
    };
    Some(format!(
        "{what} ({}: {}), what needs it is skipped: {advice}; --no-kubernetes leaves it out silently",
        failure.code, failure.message
    ))
}

fn about(call: &Call) -> &str {
    call.argument.as_deref().unwrap_or_default()
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text += &format!(": {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// `2026-01-02T03:04:05Z`.
fn now() -> String {
    use aws_smithy_types::DateTime;
    use aws_smithy_types::date_time::Format;
    let now = DateTime::from(SystemTime::now());
    DateTime::from_secs(now.secs()).fmt(Format::DateTime).unwrap_or_default()
}
