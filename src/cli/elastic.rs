//! `podgate elastic setup`: index templates and lifecycle for clusters that lack them, shown or installed.

use clap::{Args as ClapArgs, Subcommand};

use crate::cli::doctor::exporter_probes;
use crate::cli::doctor::report::told;
use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, authenticators, run};
use crate::core::data::budget::Budget;
use crate::core::stage::commands::probe::{Probe, ProbeHealth, Remedy};
use crate::core::stage::host::Host;
use crate::telemetry::stdout;

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
    mode: SetupMode,
    /// The version of the cluster that --print takes for granted: 9.2, opensearch-3.6, serverless
    #[arg(long, value_name = "VERSION", default_value = "8.19", conflicts_with_all = ["ask", "apply"])]
    assume: String,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct SetupMode {
    /// Show the requests to a cluster that has no templates for these data streams; nobody is asked
    #[arg(long)]
    print: bool,
    /// Ask the cluster what it lacks and show the requests; nothing is changed
    #[arg(long)]
    ask: bool,
    /// Ask the cluster what it lacks and send the requests
    #[arg(long)]
    apply: bool,
}

impl Args {
    /// With what stood before the subcommand, and what the environment says.
    pub fn configured(self, whole: impl FnOnce(ConfigArgs) -> ConfigArgs) -> Args {
        let What::Setup(setup) = self.what;
        Args { what: What::Setup(Setup { config: whole(setup.config), ..setup }) }
    }
}

pub fn run(args: &Args) -> Exit {
    let What::Setup(setup) = &args.what;
    let checked = match sources::named(&setup.config, sources::check) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    checked.report();
    let Some(plan) = checked.plan else { return Exit::Configuration };
    let host = Host::new(Budget::unlimited());
    let clusters =
        exporter_probes(&plan, &host.authenticators).filter(|(path, _)| path.starts_with("exporters::elasticsearch"));
    let clusters: Vec<(String, Box<dyn Probe>)> = clusters.collect();
    if clusters.is_empty() {
        stdout::error_line(
            "no pipeline of this configuration ends in an elasticsearch exporter, so there is nothing to set up; name the \
             configuration that has one",
        );
        return Exit::Usage;
    }
    if setup.mode.print {
        return foreseen(&clusters, &setup.assume);
    }
    let asking = async {
        match authenticators::started(&plan, &host).await {
            Ok(_running) => all(&clusters, setup.mode.apply).await,
            Err(why) => {
                stdout::error_line(&why);
                Exit::Failure
            }
        }
    };
    run::to_end(asking).unwrap_or_else(|exit| exit)
}

/// Opens nothing: what a cluster of this version would be sent.
fn foreseen(clusters: &[(String, Box<dyn Probe>)], version: &str) -> Exit {
    for (path, probe) in clusters {
        let report = match probe.foresee(version) {
            Ok(report) => report,
            Err(why) => {
                stdout::error_line(&format!("--assume: {why}"));
                return Exit::Usage;
            }
        };
        let what = format!("{path}: for version {version}, which was not asked; --ask asks the cluster what it lacks");
        stdout::line(&format!("# {what}"));
        report.findings.iter().flat_map(told).for_each(|line| stdout::line(&format!("#{line}")));
        report.remedies.iter().for_each(|remedy| show(path, remedy));
    }
    Exit::Ok
}

async fn all(clusters: &[(String, Box<dyn Probe>)], apply: bool) -> Exit {
    let mut failed = false;
    for (path, probe) in clusters {
        let report = probe.ask().await;
        let unreachable = report.findings.iter().filter(|finding| finding.subject == "connection");
        if unreachable.clone().all(|finding| finding.health == ProbeHealth::Bad) && unreachable.clone().next().is_some()
        {
            stdout::error_line(&format!("{path}:"));
            unreachable.flat_map(told).for_each(|line| stdout::error_line(&line));
            failed = true;
        }
        for remedy in &report.remedies {
            failed |= !one(&**probe, path, remedy, apply).await;
        }
        if report.remedies.is_empty() && !failed {
            stdout::line(&format!("{path}: nothing is missing"));
        }
    }
    if failed { Exit::Failure } else { Exit::Ok }
}

/// As a console of the cluster's takes it.
fn show(path: &str, remedy: &Remedy) {
    let body =
        serde_json::from_str(&remedy.body).and_then(|body: serde_json::Value| serde_json::to_string_pretty(&body));
    let body = body.unwrap_or_else(|_| remedy.body.clone());
    stdout::line(&format!("# {path}: {}\n{} {}\n{body}\n", remedy.reason, remedy.method, remedy.path));
}

async fn one(probe: &dyn Probe, path: &str, remedy: &Remedy, apply: bool) -> bool {
    if !apply {
        show(path, remedy);
        return true;
    }
    match probe.apply(remedy).await {
        Ok(()) => {
            stdout::line(&format!("{path}: {} {}: done", remedy.method, remedy.path));
            true
        }
        Err(why) => {
            stdout::error_line(&format!("{path}: {} {}: {why}", remedy.method, remedy.path));
            false
        }
    }
}
