//! `podgate what-if`: what other sampling policies would keep of recorded traces, against those of a configuration or against all.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::cli::ask::sampling::policies;
use crate::cli::sources::{self, ConfigArgs};
use crate::config::PlacedText;
use crate::config::read::yaml;
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::{SourceId, Value as NodeValue};
use crate::core::stage::commands::rehearsal::Rehearsal;
use crate::core::time::UnixNanos;
use crate::otlp::{envelope, json as otlp_json};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

#[derive(Debug, ClapArgs)]
pub struct Args {
    /// YAML: a list of tail_sampling policies, or a map with the key policies
    #[arg(long, value_name = "FILE")]
    pub policies: PathBuf,
    /// Recorded traces: OTLP/JSON, a request in each line, as the file exporter writes them
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// The sampler of the configuration that they are compared with
    #[arg(long, value_name = "ID", default_value = "tail_sampling")]
    pub processor: String,
    /// Without a configuration they are compared with keeping every trace
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Text for people, or the sampler's page
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// What the policies are compared with where no configuration is given.
const KEEPS_ALL: &str = "yaml:{receivers: {otlp: {protocols: {http: }}}, exporters: {nop: }, processors: {tail_sampling: \
                         {policies: [{name: all, type: always_sample}]}}, service: {pipelines: {traces: {receivers: [otlp], \
                         processors: [tail_sampling], exporters: [nop]}}}}";
/// A longer line is no request that a gateway would take.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub fn run(args: &Args) -> Exit {
    let config = match configured(args) {
        Ok(config) => config,
        Err(why) => {
            stdout::error_line(&why);
            return Exit::Failure;
        }
    };
    let plan = match sources::planned(&config) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let found = plan.processors.iter().find(|(id, _)| id.to_string() == args.processor);
    let Some(mut rehearsal) = found.and_then(|(_, plan)| plan.rehearse()) else {
        stdout::error_line(&format!(
            "the configuration has no sampler {}: choose one with --processor",
            args.processor
        ));
        return Exit::Usage;
    };
    let read = match play(args, &mut *rehearsal) {
        Ok(read) => read,
        Err(error) => {
            stdout::error_line(&format!("{}: {error}", args.input.display()));
            return Exit::Failure;
        }
    };
    let mut page = rehearsal.finish();
    page["pipeline"] = args.input.display().to_string().into();
    page["lines"] = json!({ "read": read.requests, "of_other_signals": read.others, "unreadable": read.unreadable });
    match args.format {
        Format::Json => stdout::line(&page.to_string()),
        Format::Text => told(&page, &read).iter().for_each(|line| stdout::line(line)),
    }
    if read.requests == 0 { Exit::Failure } else { Exit::Ok }
}

/// The configuration with the candidates as the shadow of its sampler.
fn configured(args: &Args) -> Result<ConfigArgs, String> {
    let text =
        std::fs::read_to_string(&args.policies).map_err(|error| format!("{}: {error}", args.policies.display()))?;
    // What is wrong with it is told by the check.
    let parsed = yaml::parse(&text, SourceId::default(), &Diagnostics::default());
    let is_list = parsed.is_ok_and(|node| matches!(node.value, NodeValue::List(_)));
    let key = if is_list { "shadow::policies" } else { "shadow" };
    let (name, key) = (args.policies.display().to_string(), format!("processors::{}::podgate::{key}", args.processor));
    let mut config = args.config.clone();
    if config.config.is_empty() {
        config.config.push(KEEPS_ALL.to_owned());
    }
    config.placed.push(PlacedText { name, key, text });
    Ok(config)
}

/// Lines of a recording.
#[derive(Debug, Default)]
struct ReadLines {
    requests: u64,
    others: u64,
    unreadable: u64,
    /// The first unreadable line, and why.
    first_fault: Option<(u64, String)>,
}

fn play(args: &Args, rehearsal: &mut dyn Rehearsal) -> std::io::Result<ReadLines> {
    let mut input = BufReader::new(File::open(&args.input)?);
    let (mut read, mut line) = (ReadLines::default(), Vec::new());
    for number in 1.. {
        line.clear();
        if (&mut input).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match payload(line.trim_ascii()) {
            Ok(payload) if payload.items == 0 => read.others += 1,
            Ok(payload) => {
                read.requests += 1;
                rehearsal.take(payload);
            }
            Err(why) => {
                read.unreadable += 1;
                read.first_fault.get_or_insert((number, why));
            }
        }
    }
    Ok(read)
}

fn payload(line: &[u8]) -> Result<Payload, String> {
    let wire = otlp_json::to_wire(Signal::Traces, line).map_err(|error| error.to_string())?;
    let envelope = envelope::decode(wire).map_err(|_| "it is no request of traces".to_owned())?;
    Ok(Payload {
        signal: Signal::Traces,
        items: envelope.messages() as u64,
        envelope,
        origin: Arc::new(Origin::internal(UnixNanos::default())),
        ticket: Ticket::free(),
        share: Share::none(),
    })
}

fn told(page: &Value, read: &ReadLines) -> Vec<String> {
    let mut lines = policies::told(&json!({ "samplers": [page] }));
    if let Some((number, why)) = &read.first_fault {
        lines.push(format!("  {} lines could not be read, the first is line {number}: {why}", read.unreadable));
    }
    if read.others > 0 {
        lines.push(format!("  {} lines have no spans", read.others));
    }
    let unreadable = page["unreadable_spans"].as_u64().unwrap_or(0);
    if unreadable > 0 {
        lines.push(format!("  {unreadable} spans could not be read"));
    }
    if read.requests == 0 {
        lines.push("  there was no request of traces to judge".to_owned());
    }
    lines
}
