//! `podgate replay`: sends the documents of an Elasticsearch exporter's dead-letter file again, or the records that a log on
//! disk has put aside.

mod quarantine;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::time::Instant;

use crate::cli::authenticators;
use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, run};
use crate::core::data::budget::Budget;
use crate::core::stage::commands::replay::Replay;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::pipeline::plan::Plan;
use crate::telemetry::stdout;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The exporter whose dead letters are meant, when there are several: elasticsearch/name. For records that a log on disk
    /// put aside, the exporter that sends them in place of their own
    #[arg(long, value_name = "ID")]
    pub exporter: Option<String>,
    /// Replay this file in place of the exporter's own, and leave it as it is: one of dead letters, or one that ends in .dead
    /// in the folder of a log on disk
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Seconds after which what Elasticsearch has not taken goes back to the dead-letter file
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
}

pub fn run(args: &Args) -> Exit {
    let plan = match sources::planned(&args.config) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let plan = &plan;
    if let Some(file) = args.file.as_deref().filter(|file| quarantine::is_meant(file)) {
        let deadline = Instant::now() + Duration::from_secs(args.timeout);
        return run::to_end(quarantine::send(args.exporter.as_deref(), plan, file, deadline))
            .unwrap_or_else(|exit| exit);
    }
    let host = Host::new(Budget::unlimited());
    let found = replays(plan, args.exporter.as_deref(), &host);
    let [(id, replay)] = &found[..] else {
        let ids: Vec<String> = found.iter().map(|(id, _)| id.to_string()).collect();
        stdout::error_line(&match ids.is_empty() {
            true => "the configuration has no such elasticsearch exporter".to_owned(),
            false => format!("several elasticsearch exporters: choose one with --exporter ({})", ids.join(", ")),
        });
        return Exit::Usage;
    };
    if args.file.is_none() && replay.own_file().is_none() {
        stdout::error_line(&format!("{id} has no podgate: {{dead_letter: ...}}: name a --file"));
        return Exit::Usage;
    }
    run::to_end(send(args, (plan, id), &**replay, &host)).unwrap_or_else(|exit| exit)
}

fn path_of(id: &ComponentId) -> String {
    format!("exporters::{id}")
}

/// What the plan's exporters can send again; `wanted` is an id.
fn replays(plan: &Plan, wanted: Option<&str>, host: &Arc<Host>) -> Vec<(ComponentId, Box<dyn Replay>)> {
    let exporters = plan.exporters.iter().filter(|(id, _)| wanted.is_none_or(|wanted| wanted == id.to_string()));
    let replay = exporters.filter_map(|(id, exporter)| {
        let cx = BuildContext { id: id.clone(), path: path_of(id), host: host.clone() };
        Some((id.clone(), exporter.replay(cx)?))
    });
    replay.collect()
}

async fn send(args: &Args, (plan, id): (&Plan, &ComponentId), replay: &dyn Replay, host: &Arc<Host>) -> Exit {
    let _authenticators = match authenticators::started(plan, host).await {
        Ok(running) => running,
        Err(why) => {
            stdout::error_line(&why);
            return Exit::Failure;
        }
    };
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let summary = match replay.run(args.file.as_deref(), deadline).await {
        Ok(summary) => summary,
        Err(error) => {
            stdout::error_line(&format!("the dead-letter file cannot be read: {error}"));
            return Exit::Failure;
        }
    };
    stdout::line(&format!(
        "{} letters: {} delivered, {} refused again and back in the dead-letter file, {} refused again and not kept, {} unreadable",
        summary.letters, summary.delivered, summary.back, summary.unkept, summary.unreadable
    ));
    let reports = host.status.all();
    let trouble = reports.get(&path_of(id)).map(|report| report.message.as_str()).unwrap_or_default();
    if !trouble.is_empty() {
        stdout::error_line(&format!("{id}: {trouble}"));
    }
    if summary.unkept > 0 && args.file.is_none() {
        stdout::error_line(
            "the replayed letters stay next to the dead-letter file, in a file that ends in .replay; run replay again",
        );
    }
    match summary.delivered == summary.letters {
        true => Exit::Ok,
        false => Exit::Failure,
    }
}
