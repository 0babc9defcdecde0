//! `podgate try`: what each processor of a configuration makes of recorded data, without receivers, exporters or a sender.

mod chain;
mod compare;

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::cli::ottl::read;
use crate::cli::sources::{self, ConfigArgs};
use crate::cli::trial::chain::Chain;
use crate::cli::trial::compare::{StageEffect, ValueChange, compare, items};
use crate::cli::{Exit, run};
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::{Origin, Transport};
use crate::core::data::payload::{Envelope, Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::error::ConsumeError;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::core::visible::escape;
use crate::otlp::envelope;
use crate::otlp::json::to_wire;
use crate::pipeline::plan::{PipelinePlan, Plan};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Groups of items, and names in one of them, that are shown; further ones are counted.
const SHOWN_MAX: usize = 20;
const NAMES_MAX: usize = 3;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Recorded data: OTLP/JSON, one request or one in each line, as the file exporter writes them; `-` reads it from the
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub input: String,
    /// This pipeline alone; without it those that a receiver feeds, for what the input holds, and what they lead to
    #[arg(long, value_name = "ID")]
    pub pipeline: Option<String>,
    /// The address of the pod that sent it, for processors that ask for the connection
    #[arg(long, value_name = "IP")]
    pub peer: Option<IpAddr>,
    /// Text for people, or one JSON object
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

pub fn run(args: &Args) -> Exit {
    let plan = match sources::planned(&args.config) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let input = match requests(&args.input) {
        Ok(input) => input,
        Err(why) => {
            stdout::error_line(&format!("{}: {why}", args.input));
            return Exit::Failure;
        }
    };
    let tried = match run::to_end(tried(args, &plan, input)) {
        Ok(Ok(tried)) => tried,
        Ok(Err(why)) => {
            stdout::error_line(&why);
            return Exit::Failure;
        }
        Err(exit) => return exit,
    };
    if tried.is_empty() {
        let names: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        stdout::error_line(&format!(
            "no pipeline takes what the input holds: the configuration has {}",
            names.join(", ")
        ));
        return Exit::Usage;
    }
    match args.format {
        Format::Json => {
            let pipelines: Vec<Value> = tried.iter().map(Tried::as_json).collect();
            stdout::line(&json!({ "pipelines": pipelines }).to_string());
        }
        Format::Text => tried.iter().flat_map(Tried::told).for_each(|line| stdout::line(&escape(&line))),
    }
    Exit::Ok
}

/// The requests of a file by signal: the whole of it is one, or each line is.
fn requests(input: &str) -> Result<HashMap<Signal, Vec<Envelope>>, String> {
    let body = read(input)?;
    let mut found: HashMap<Signal, Vec<Envelope>> = HashMap::new();
    let whole = one(&body);
    if let Ok((signal, envelope)) = whole {
        found.entry(signal).or_default().push(envelope);
        return Ok(found);
    }
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    for (at, line) in lines {
        let (signal, envelope) = one(line).map_err(|why| format!("line {}: {why}", at + 1))?;
        found.entry(signal).or_default().push(envelope);
    }
    if found.is_empty() { Err("it is empty".to_owned()) } else { Ok(found) }
}

/// Keys by which a document tells what it is of.
const KEYS: [(&str, Signal); 4] = [
    ("resourceSpans", Signal::Traces),
    ("resourceMetrics", Signal::Metrics),
    ("resourceLogs", Signal::Logs),
    ("resourceProfiles", Signal::Profiles),
];

/// A request of the signal that it has items of.
fn one(text: &[u8]) -> Result<(Signal, Envelope), String> {
    let mut faults = Vec::new();
    for (key, signal) in KEYS {
        let read = to_wire(signal, text).map_err(|fault| fault.to_string());
        match read.and_then(|wire| envelope::decode(wire).map_err(|fault| fault.to_string())) {
            Ok(envelope) if envelope.groups.is_empty() => {}
            Ok(envelope) => return Ok((signal, envelope)),
            Err(fault) => faults.push((key, fault)),
        }
    }
    // What is no JSON at all is so for every signal; else each has its own reason.
    let same = faults.windows(2).all(|pair| matches!(pair, [(_, one), (_, other)] if one == other));
    let why = match faults.first() {
        None => String::new(),
        Some((_, fault)) if same && faults.len() == KEYS.len() => format!(": {fault}"),
        Some(_) => {
            let each: Vec<String> = faults.iter().map(|(key, fault)| format!("as {key} {fault}")).collect();
            format!(": {}", each.join("; "))
        }
    };
    let names = KEYS.map(|(key, _)| key).join(", ");
    Err(format!("it holds no request of OTLP/JSON, an object with one of {names}{why}"))
}

/// What a pipeline did.
struct Tried {
    pipeline: String,
    signal: Signal,
    requests: usize,
    items: u64,
    stages: Vec<(String, usize, usize, StageEffect)>,
    exporters: Vec<String>,
    end: usize,
    refused: Vec<ConsumeError>,
}

/// Producers first: what comes out of a pipeline goes into those that its connectors feed.
async fn tried(args: &Args, plan: &Plan, mut input: HashMap<Signal, Vec<Envelope>>) -> Result<Vec<Tried>, String> {
    let host = Host::new(Budget::unlimited());
    let mut by_connector: HashMap<(String, Signal), Vec<Envelope>> = HashMap::new();
    let mut done = Vec::new();
    for pipeline in plan.pipelines_consumers_first().into_iter().rev() {
        if args.pipeline.as_ref().is_some_and(|wanted| *wanted != pipeline.name) {
            continue;
        }
        let fed = |id: &crate::core::stage::component::ComponentId| plan.connectors.contains_key(id);
        let mut requests: Vec<Envelope> = Vec::new();
        for id in pipeline.receivers.iter().filter(|id| fed(id)) {
            requests.extend(by_connector.get(&(id.to_string(), pipeline.signal)).into_iter().flatten().cloned());
        }
        if pipeline.receivers.iter().any(|id| !fed(id)) || args.pipeline.is_some() {
            requests.extend(input.get_mut(&pipeline.signal).into_iter().flat_map(|list| list.iter().cloned()));
        }
        if requests.is_empty() {
            continue;
        }
        let (tried, end) = through(args, plan, pipeline, &host, requests).await?;
        for id in pipeline.exporters.iter().filter(|id| fed(id)) {
            by_connector.entry((id.to_string(), pipeline.signal)).or_default().extend(end.iter().cloned());
        }
        done.push(tried);
    }
    Ok(done)
}

async fn through(
    args: &Args,
    plan: &Plan,
    pipeline: &PipelinePlan,
    host: &Arc<Host>,
    requests: Vec<Envelope>,
) -> Result<(Tried, Vec<Envelope>), String> {
    let signal = pipeline.signal;
    let now = UnixNanos::now();
    let peer = args.peer.map(|ip| SocketAddr::new(ip, 0));
    let transport = if peer.is_some() { Transport::Grpc } else { Transport::Internal };
    let origin = Arc::new(Origin::new(peer, 0, now, now, transport));
    let payload = |envelope: Envelope| Payload {
        signal,
        items: envelope::count_items(signal, &envelope),
        envelope,
        origin: origin.clone(),
        ticket: Ticket::free(),
        share: Share::none(),
    };
    let payloads: Vec<Payload> = requests.into_iter().map(payload).collect();
    let (count, total) = (payloads.len(), payloads.iter().map(|payload| payload.items).sum());
    let (mut places, refused) = Chain::of(plan, pipeline, host).run(payloads).await?;
    let seen: Vec<_> = places.iter().map(|place| items(signal, place)).collect();
    let names = pipeline.processors.iter().filter(|id| plan.processors.contains_key(id)).map(ToString::to_string);
    let stages = names.zip(seen.windows(2)).map(|(name, pair)| match pair {
        [before, after] => (name, before.len(), after.len(), compare(signal, before, after)),
        _ => (name, 0, 0, StageEffect::default()),
    });
    let tried = Tried {
        pipeline: pipeline.name.clone(),
        signal,
        requests: count,
        items: total,
        stages: stages.collect(),
        exporters: pipeline.exporters.iter().map(ToString::to_string).collect(),
        end: seen.last().map_or(0, Vec::len),
        refused,
    };
    Ok((tried, places.pop().unwrap_or_default()))
}

/// `2 spans`, in what the request's messages are: a metric counts as one, whatever points it has.
fn amount(count: usize, signal: Signal) -> String {
    let (one, many) = match signal {
        Signal::Traces => ("span", "spans"),
        Signal::Metrics => ("metric", "metrics"),
        Signal::Logs => ("record", "records"),
        Signal::Profiles => ("profile", "profiles"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Tried {
    fn told(&self) -> Vec<String> {
        let requests = if self.requests == 1 { "request" } else { "requests" };
        let first = self.stages.first().map_or(self.end, |(_, before, ..)| *before);
        let mut lines =
            vec![format!("pipeline {}: {} in {} {requests}", self.pipeline, amount(first, self.signal), self.requests)];
        for (name, before, after, difference) in &self.stages {
            lines.push(format!("  {name}: {before} in, {after} out{}", summary(difference)));
            self.of_stage(difference, &mut lines);
        }
        lines.push(format!("  to {}: {}", self.exporters.join(", "), amount(self.end, self.signal)));
        lines.extend(self.refused.iter().map(|error| format!("  a request was refused: {error}")));
        lines
    }

    fn of_stage(&self, difference: &StageEffect, lines: &mut Vec<String>) {
        for (changes, names) in difference.changed.iter().take(SHOWN_MAX) {
            lines.push(format!("    {}: {}", amount(names.len(), self.signal), listed(names)));
            lines.extend(changes.iter().flat_map(of_change));
        }
        let further = difference.changed.len().saturating_sub(SHOWN_MAX);
        if further > 0 {
            lines.push(format!("    and {further} more kinds of change"));
        }
        for (what, names) in [("gone", &difference.gone), ("new", &difference.new)] {
            if !names.is_empty() {
                lines.push(format!("    {what}: {}", listed(names)));
            }
        }
    }

    fn as_json(&self) -> Value {
        let of_change =
            |change: &ValueChange| json!({ "path": change.path, "before": change.before, "after": change.after });
        let stage = |(name, before, after, difference): &(String, usize, usize, StageEffect)| {
            let changed: Vec<Value> = difference
                .changed
                .iter()
                .map(|(changes, names)| json!({ "items": names, "changes": changes.iter().map(of_change).collect::<Vec<_>>() }))
                .collect();
            json!({
                "processor": name, "in": before, "out": after, "unchanged": difference.unchanged,
                "changed": changed, "gone": difference.gone, "new": difference.new,
            })
        };
        json!({
            "pipeline": self.pipeline, "signal": self.signal.name(), "requests": self.requests,
            self.signal.items_name(): self.items,
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "exporters": self.exporters, "out": self.end,
            "refused": self.refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

fn summary(difference: &StageEffect) -> String {
    let changed: usize = difference.changed.iter().map(|(_, names)| names.len()).sum();
    match (changed, difference.gone.is_empty() && difference.new.is_empty()) {
        (0, true) => ", nothing changed".to_owned(),
        (0, false) => String::new(),
        (changed, _) => format!(", {changed} changed"),
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        further => format!("{} and {further} more", shown.join(", ")),
    }
}

fn of_change(change: &ValueChange) -> Vec<String> {
    let line = |sign: char, value: &String| format!("      {sign} {}: {value}", change.path);
    change
        .before
        .iter()
        .map(|value| line('-', value))
        .chain(change.after.iter().map(|value| line('+', value)))
        .collect()
}
