//! `podgate elastic setup`: index templates and lifecycle for clusters that lack them, shown or installed.

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::doctor::exporter_probes;
use crate::cli::doctor::report::told;
use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out, run};
use crate::core::probe::{Health, Probe, Remedy};
use crate::pipeline::plan::Plan;

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Index templates and lifecycle, where the cluster has none for the data streams of this configuration
    Setup(Setup),
}

#[derive(Debug, ClapArgs)]
struct Setup {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Manner {
    /// Ask the cluster what it lacks and show the requests; nothing is changed
    #[arg(long)]
    print: bool,
    /// Send them
    #[arg(long)]
    apply: bool,
}

pub fn run(args: &Args) -> Exit {
    let What::Setup(setup) = &args.what;
    if let Err(exit) = sources::require_config(&setup.config) {
        return exit;
    }
    let checked = sources::check(&setup.config);
    checked.report();
    let Some(plan) = checked.plan else { return Exit::Configuration };
    run::to_end(all(&plan, setup.manner.apply)).unwrap_or_else(|exit| exit)
}

async fn all(plan: &Plan, apply: bool) -> Exit {
    let mut failed = false;
    let clusters = exporter_probes(plan).filter(|(path, _)| path.starts_with("exporters::elasticsearch"));
    for (path, probe) in clusters {
        let report = probe.ask().await;
        let unreachable = report.findings.iter().filter(|finding| finding.subject == "connection");
        if unreachable.clone().all(|finding| finding.health == Health::Bad) && unreachable.clone().next().is_some() {
            out::error_line(&format!("{path}:"));
            unreachable.flat_map(told).for_each(|line| out::error_line(&line));
            failed = true;
        }
        for remedy in &report.remedies {
            failed |= !one(&*probe, &path, remedy, apply).await;
        }
        if report.remedies.is_empty() && !failed {
            out::line(&format!("{path}: nothing is missing"));
        }
    }
    if failed { Exit::Failure } else { Exit::Ok }
}

async fn one(probe: &dyn Probe, path: &str, remedy: &Remedy, apply: bool) -> bool {
    if !apply {
        out::line(&format!("# {path}: {}\n{} {}\n{}", remedy.reason, remedy.method, remedy.path, remedy.body));
        return true;
    }
    match probe.apply(remedy).await {
        Ok(()) => {
            out::line(&format!("{path}: {} {}: done", remedy.method, remedy.path));
            true
        }
        Err(why) => {
            out::error_line(&format!("{path}: {} {}: {why}", remedy.method, remedy.path));
            false
        }
    }
}
