//! The course of a run: make, wait, roll, end, read, score, and clean up whatever happened.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::cli::accept::cluster::{AcceptCluster, ApiRefusal, Eyes};
use crate::cli::accept::objects::{self, ObjectParts, RUN, TALLY, WANTED};
use crate::cli::accept::pods::short;
use crate::cli::accept::score::{AcceptReport, score};
use crate::cli::accept::table;
use crate::cli::accept::tally::ArrivalTally;
use crate::cli::ask::age;
use crate::cli::{Exit, run};
use crate::config::value::duration;
use crate::kube::client::{Api, Credentials};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Long enough for a crash, a restart and what is sent after it; short enough that the senders' memory does not matter.
const DURATION: std::ops::RangeInclusive<Duration> = Duration::from_secs(20)..=Duration::from_secs(3_600);
/// From the start of a crashing container to its crash: some batches of every signal.
const CRASH_AFTER: Duration = Duration::from_secs(9);
/// The Deployment gets another template so often, evenly over the duration.
const ROLLS: u32 = 2;
/// For the senders' pods to end, grace and late statuses included.
const END_WAIT: Duration = Duration::from_secs(60);
/// For the last requests to arrive, and for the sink to write them down.
const ARRIVAL_WAIT: Duration = Duration::from_secs(20);
/// For the namespace to go.
const CLEAN_UP_WAIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Lines of what is awaited that are shown while there is time left.
const AWAITED_SHOWN: usize = 3;
/// Warnings of the namespace's events that are shown beside what is awaited.
const WARNINGS_MAX: usize = 5;

#[derive(Clone, Debug, clap::Args)]
pub struct PlayArgs {
    /// podgate's image, as the cluster's nodes pull it
    #[arg(long, required = true)]
    image: Option<String>,
    /// How to reach the cluster; what KUBECONFIG names, or ~/.kube/config, when not given
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one when not given
    #[arg(long)]
    context: Option<String>,
    /// Name of the namespace that is made and deleted; podgate-accept- and five random letters when not given
    #[arg(long)]
    namespace: Option<String>,
    /// How long everything runs before it is scored (90s, 5m; 20s at least, 1h at most)
    #[arg(long, default_value = "2m", value_parser = duration_of_run)]
    duration: Duration,
    /// How long pods may take to start
    #[arg(long, default_value = "3m", value_parser = duration::parse)]
    timeout: Duration,
    /// A table for people, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn duration_of_run(text: &str) -> Result<Duration, String> {
    duration::parse(text).and_then(|duration| match DURATION.contains(&duration) {
        true => Ok(duration),
        false => Err("a run lasts at least 20s and at most 1h".to_owned()),
    })
}

/// Fails when anything was wrong or lost, or nothing was proved, or something of the run is left on the cluster.
pub fn run(args: &PlayArgs) -> Exit {
    let played = run::to_end(play(args)).unwrap_or_else(|exit| Err(format!("cannot start threads ({exit:?})")));
    let text = args.format == Format::Text;
    match (&played, text) {
        (Ok(report), true) => table::text(report).iter().for_each(|line| stdout::line(line)),
        (Ok(report), false) => stdout::line(&table::json(report).to_string()),
        (Err(why), true) => stdout::error_line(why),
        (Err(why), false) => stdout::line(&table::failed(why).to_string()),
    }
    match played {
        Ok(report) if report.faults().is_empty() => Exit::Ok,
        _ => Exit::Failure,
    }
}

/// Whoever asks for the end. What was made is deleted first; who asks again during that is left with what is left.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Stop, String> {
        let heard = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Stop { interrupt: heard(SignalKind::interrupt())?, terminate: heard(SignalKind::terminate())? })
    }

    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn play(args: &PlayArgs) -> Result<AcceptReport, String> {
    let mut stop = Stop::listen()?;
    let letters = |count| (0..count).map(|_| fastrand::lowercase()).collect::<String>();
    let stage = ObjectParts {
        namespace: args.namespace.clone().unwrap_or_else(|| format!("podgate-accept-{}", letters(5))),
        run: letters(20),
        image: args.image.clone().unwrap_or_default(),
        crash_after: CRASH_AFTER,
    };
    let auth = Credentials::KubeConfig { context: args.context.clone(), file: args.kubeconfig.clone() };
    let cluster = AcceptCluster { api: Api::new(auth) };
    let version = tokio::select! {
        version = cluster.get("/version") => version.map_err(|fault| unreachable(args, &fault))?,
        name = stop.asked() => return Err(format!("{name} before anything was made")),
    };
    let version = short(version["gitVersion"].as_str().unwrap_or("of an unknown version"));
    let ObjectParts { image, namespace, .. } = &stage;
    let seconds = age(args.duration.as_secs());
    told(&format!("{image} in namespace {namespace} of Kubernetes {version}, for {seconds}"));
    let act = Act { args, cluster: &cluster, stage: &stage, made: Cell::new(false) };
    let acted = tokio::select! {
        acted = act.to_the_score() => acted,
        name = stop.asked() => Err(format!("{name}: ended before there was a score")),
    };
    if !act.made.get() {
        return acted;
    }
    match &acted {
        Ok(_) => told("cleaning up"),
        Err(why) => told(&format!("cleaning up, because: {}", why.lines().next().unwrap_or_default())),
    }
    let cleaned = tokio::select! {
        cleaned = clean_up(&cluster, &stage) => cleaned,
        name = stop.asked() => Err(format!("{name} during the clean-up")),
    };
    match (acted, cleaned) {
        (acted, Ok(())) => acted,
        (acted, Err(why)) => {
            if let Ok(report) = acted {
                table::text(&report).iter().for_each(|line| told(line));
            }
            Err(format!("namespace {namespace} is left: {why}\n  -> kubectl delete namespace {namespace}"))
        }
    }
}

fn unreachable(args: &PlayArgs, fault: &ApiRefusal) -> String {
    let file = args.kubeconfig.as_ref().map(|path| path.display().to_string());
    let (named, flag) = match &file {
        Some(path) => (path.as_str(), format!(" --kubeconfig {path}")),
        None => ("KUBECONFIG, or ~/.kube/config,", String::new()),
    };
    let context = args.context.as_ref().map(|context| format!(" --context {context}")).unwrap_or_default();
    format!("cannot reach the cluster that {named} names: {fault}\n  -> kubectl{flag}{context} version should answer")
}

fn told(line: &str) {
    stdout::error_line(&format!("podgate accept: {line}"));
}

struct Act<'a> {
    args: &'a PlayArgs,
    cluster: &'a AcceptCluster,
    stage: &'a ObjectParts,
    /// Something is on the cluster, as far as is known.
    made: Cell<bool>,
}

impl Act<'_> {
    async fn to_the_score(&self) -> Result<AcceptReport, String> {
        self.make().await?;
        let mut eyes = Eyes::new(self.cluster, self.stage);
        self.wait_for_the_start(&mut eyes).await?;
        self.let_run(&mut eyes).await?;
        self.end(&mut eyes).await?;
        self.read(&eyes).await
    }

    async fn make(&self) -> Result<(), String> {
        let home = self.stage.home();
        // Before the answer, which may be lost on its way.
        self.made.set(true);
        if let Err(fault) = self.cluster.create(&home).await {
            self.made.set(matches!(fault, ApiRefusal::Silent(_)));
            let name = &self.stage.namespace;
            return Err(match fault.is(409) {
                true => format!("namespace {name} exists already and is not touched; give another --namespace"),
                false => format!("cannot create namespace {name}: {fault}"),
            });
        }
        let objects = self.stage.objects();
        for object in &objects {
            let made = self.cluster.create(object).await;
            made.map_err(|fault| format!("cannot create {}: {fault}", object.title()))?;
        }
        told(&format!("{} objects made; waiting for pods", objects.len() + 1));
        Ok(())
    }

    async fn wait_for_the_start(&self, eyes: &mut Eyes<'_>) -> Result<(), String> {
        let (began, limit) = (Instant::now(), self.args.timeout);
        loop {
            let next = (Instant::now() + TELL_EVERY).min(began + limit);
            if eyes.until(next, |pods| pods.awaited(WANTED).is_empty()).await? {
                told(&format!("everything runs after {}", age(began.elapsed().as_secs())));
                return Ok(());
            }
            let mut awaited = eyes.pods.awaited(WANTED);
            if began.elapsed() >= limit {
                awaited.extend(self.warnings().await);
                let seconds = age(limit.as_secs());
                return Err(format!("not everything runs after {seconds} (--timeout):\n  {}", awaited.join("\n  ")));
            }
            let first: Vec<&str> = awaited.iter().map(|line| line.trim()).take(AWAITED_SHOWN).collect();
            told(&format!("waiting: {}", first.join("; ")));
        }
    }

    /// What the cluster's components say of the namespace: why a controller makes no pod is told nowhere else.
    async fn warnings(&self) -> Vec<String> {
        let Ok(events) = self.cluster.get(&self.stage.events_path()).await else { return Vec::new() };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = events["items"].as_array().into_iter().flatten().filter(|event| event["type"] == "Warning");
        let mut lines: Vec<String> = events
            .map(|event| {
                let of = &event["involvedObject"];
                let said = format!("{}: {}", text(&event["reason"]), text(&event["message"]));
                short(&format!("{} {}: {said}", text(&of["kind"]), text(&of["name"])))
            })
            .collect();
        lines.sort();
        lines.dedup();
        lines.truncate(WARNINGS_MAX);
        lines
    }

    async fn let_run(&self, eyes: &mut Eyes<'_>) -> Result<(), String> {
        let (began, duration) = (Instant::now(), self.args.duration);
        for roll in 1..=ROLLS {
            eyes.until(began + duration * roll / (ROLLS + 1), |_| false).await?;
            self.patch(&self.stage.rolling_path(), &objects::rolled(roll)).await?;
            let (runs, since) = (eyes.pods.truths.len(), age(began.elapsed().as_secs()));
            told(&format!("{since}: {runs} runs have ended; the Deployment rolls"));
        }
        eyes.until(began + duration, |_| false).await?;
        Ok(())
    }

    /// Senders end with a flush; what they leave behind is seen before they are gone.
    async fn end(&self, eyes: &mut Eyes<'_>) -> Result<(), String> {
        self.patch(&self.stage.crashing_path(), &objects::suspended()).await?;
        self.patch(&self.stage.rolling_path(), &objects::no_replicas()).await?;
        told("ending the senders");
        if !eyes.until(Instant::now() + END_WAIT, |pods| pods.senders().is_empty()).await? {
            let left = eyes.pods.senders().join("\n");
            told(&format!("senders that have not ended; their last runs are unknown:\n{left}"));
        }
        Ok(())
    }

    async fn patch(&self, path: &str, patch: &Value) -> Result<(), String> {
        self.cluster.patch(path, patch).await.map(drop).map_err(|fault| format!("cannot change {path}: {fault}"))
    }

    /// The score, once everything that was accepted has arrived or would have.
    async fn read(&self, eyes: &Eyes<'_>) -> Result<AcceptReport, String> {
        let limit = Instant::now() + ARRIVAL_WAIT;
        loop {
            let read = self.tally().await;
            let late = Instant::now() >= limit;
            match read {
                Ok(tally) => {
                    let report = score(&tally, &eyes.pods.truths);
                    if report.is_complete() || late {
                        return Ok(report);
                    }
                }
                Err(why) if late => return Err(why),
                Err(_) => {}
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn tally(&self) -> Result<ArrivalTally, String> {
        let path = self.stage.results_path();
        let object = self.cluster.get(&path).await.map_err(|fault| format!("cannot read {path}: {fault}"))?;
        ArrivalTally::read(object["data"][TALLY].as_str().unwrap_or_default())
            .ok_or_else(|| format!("{path} holds no tally; is the image's podgate of another version than this one?"))
    }
}

/// Deletes the namespace that this run made, and waits until it is gone. A namespace that somebody else made is left.
async fn clean_up(cluster: &AcceptCluster, stage: &ObjectParts) -> Result<(), String> {
    let (path, limit) = (stage.namespace_path(), Instant::now() + CLEAN_UP_WAIT);
    let mut deleted = false;
    loop {
        let why = match cluster.get(&path).await {
            Err(fault) if fault.is(404) => return Ok(()),
            Ok(namespace) if namespace["metadata"]["annotations"][RUN] != stage.run.as_str() => return Ok(()),
            Ok(_) if !deleted => match cluster.delete(&path).await {
                Ok(_) => {
                    deleted = true;
                    continue;
                }
                Err(fault) => fault.to_string(),
            },
            Ok(namespace) => still_there(&namespace),
            Err(fault @ ApiRefusal::Refused { .. }) => return Err(fault.to_string()),
            Err(fault) => fault.to_string(),
        };
        if Instant::now() >= limit {
            return Err(format!("after {}: {why}", age(CLEAN_UP_WAIT.as_secs())));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn still_there(namespace: &Value) -> String {
    let conditions = namespace["status"]["conditions"].as_array().into_iter().flatten();
    let said = conditions.filter(|condition| condition["status"] == "True").filter_map(|one| one["message"].as_str());
    let said = said.collect::<Vec<_>>().join("; ");
    short(if said.is_empty() { "it is being deleted and still exists" } else { &said })
}
