//! `podgate replay`: sends the documents of an Elasticsearch exporter's dead-letter file again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::time::Instant;

use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out, run};
use crate::config::document::{self, Declared};
use crate::core::budget::Budget;
use crate::core::component::Kind;
use crate::core::diagnostic::Diagnostics;
use crate::core::factory::{CheckContext, Checks};
use crate::core::host::Host;
use crate::exporters::elasticsearch::FACTORY;
use crate::exporters::elasticsearch::config::{self, ElasticsearchSettings};
use crate::exporters::elasticsearch::delivery::{carrier, replay};

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The exporter whose dead letters are meant, when there are several: elasticsearch/name
    #[arg(long, value_name = "ID")]
    exporter: Option<String>,
    /// Replay this file in place of the exporter's own, and leave it as it is
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Seconds after which what Elasticsearch has not taken goes back to the dead-letter file
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

pub fn run(args: &Args) -> Exit {
    if let Err(exit) = sources::require_config(&args.config) {
        return exit;
    }
    let checked = sources::check(&args.config);
    if checked.plan.is_none() {
        checked.report();
        return Exit::Configuration;
    }
    let declared = checked.tree.as_ref().map(|tree| document::read(tree, &Diagnostics::default()).components);
    let exporters = declared.unwrap_or_default().into_iter().filter(|declared| {
        let wanted = args.exporter.as_ref().is_none_or(|wanted| *wanted == declared.id.to_string());
        declared.kind == Kind::Exporter && declared.id.component_type == FACTORY.about.name && wanted
    });
    let exporters: Vec<Declared> = exporters.collect();
    let [exporter] = &exporters[..] else {
        let ids: Vec<String> = exporters.iter().map(|exporter| exporter.id.to_string()).collect();
        out::error_line(&match ids.is_empty() {
            true => "the configuration has no such elasticsearch exporter".to_owned(),
            false => format!("several elasticsearch exporters: choose one with --exporter ({})", ids.join(", ")),
        });
        return Exit::Usage;
    };
    match (settings(exporter), run::runtime()) {
        (Some(settings), Ok(runtime)) => runtime.block_on(send(args, exporter, settings)),
        (None, _) => Exit::Configuration,
        (_, Err(error)) => {
            out::error_line(&format!("cannot start threads: {error}"));
            Exit::Failure
        }
    }
}

fn path_of(exporter: &Declared) -> String {
    format!("exporters::{}", exporter.id)
}

fn settings(exporter: &Declared) -> Option<ElasticsearchSettings> {
    let checks = Checks::default();
    let cx = CheckContext { id: &exporter.id, path: path_of(exporter), place: exporter.place, checks: &checks };
    config::check(&cx, &exporter.body)
}

async fn send(args: &Args, exporter: &Declared, settings: ElasticsearchSettings) -> Exit {
    let host = Host::new(Budget::unlimited());
    let kept = settings.delivery.dead_letter.as_ref().map(|file| file.path.clone());
    let carrier = carrier(&settings.delivery, &exporter.id.to_string(), &path_of(exporter), &host);
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let replayed = match (&args.file, &kept) {
        (Some(file), _) => replay::file(&carrier, file, deadline).await,
        (None, Some(path)) => replay::own_file(&carrier, path, deadline).await,
        (None, None) => {
            out::error_line(&format!("{} has no podgate: {{dead_letter: ...}}: name a --file", exporter.id));
            return Exit::Usage;
        }
    };
    carrier.post.close().await;
    let summary = match replayed {
        Ok(summary) => summary,
        Err(error) => {
            out::error_line(&format!("the dead-letter file cannot be read: {error}"));
            return Exit::Failure;
        }
    };
    out::line(&format!(
        "{} letters: {} delivered, {} refused again and back in the dead-letter file, {} refused again and not kept, {} unreadable",
        summary.letters, summary.delivered, summary.back, summary.unkept, summary.unreadable
    ));
    if let Some((state, trouble)) =
        host.status.all().get(&path_of(exporter)).map(|report| (report.state, report.message.clone()))
        && !trouble.is_empty()
    {
        out::error_line(&format!("{}: {state:?}: {trouble}", exporter.id));
    }
    if summary.unkept > 0 && args.file.is_none() {
        out::error_line("the replayed letters stay beside the dead-letter file, ending in .replay; run replay again");
    }
    match summary.delivered == summary.letters {
        true => Exit::Ok,
        false => Exit::Failure,
    }
}
