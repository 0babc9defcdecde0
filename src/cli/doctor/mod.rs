//! `podgate doctor`: whether the world around a configuration will let it work, and whether a running gateway does.
//!
//! Components contribute the questions to their own worlds (`core/probe.rs`); ports, memory and the running gateway are
//! asked here. What an answer means is decided by pure functions.

mod mark;
mod ports;
pub mod report;
mod running;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::ask::admin::{self, AdminArgs, AdminFault};
use crate::cli::authenticators;
use crate::cli::doctor::report::DoctorSection;
use crate::cli::doctor::running::FetchedPages;
use crate::cli::sources::{self, Checked, ConfigArgs};
use crate::cli::{Exit, run};
use crate::config::show::diagnose;
use crate::core::data::budget::Budget;
use crate::core::data::payload::Signal;
use crate::core::stage::auth::Authenticators;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport};
use crate::core::stage::component::ComponentId;
use crate::core::stage::host::Host;
use crate::pipeline::plan::Plan;
use crate::telemetry::limits::{self, Machine};
use crate::telemetry::stdout;
use crate::telemetry::stdout::Format;

/// Between the two looks at a running gateway.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Send a marked trace through the running gateway and follow it; it arrives at the back end
    #[arg(long)]
    pub trace: bool,
}

pub fn run(args: &Args) -> Exit {
    let checked = match sources::named(&args.config, sources::check) {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    let text = args.admin.format == Format::Text;
    if text {
        checked.report();
    }
    let Some(plan) = &checked.plan else {
        if !text {
            let findings = diagnose::as_json(&checked.findings, &checked.sources);
            stdout::line(&json!({ "healthy": false, "configuration": findings, "sections": [] }).to_string());
        }
        return Exit::Configuration;
    };
    if text {
        stdout::line("configuration: valid");
    }
    // Long answers are told one by one, so that a person sees what is waited for.
    let told = |section: &DoctorSection| {
        if text {
            section.text().iter().for_each(|line| stdout::line(line));
        }
    };
    match run::to_end(examine(args, &checked, plan, &told)) {
        Err(exit) => exit,
        Ok(sections) => conclude(&checked, &sections, text),
    }
}

fn conclude(checked: &Checked, sections: &[DoctorSection], text: bool) -> Exit {
    let healthy = sections.iter().all(|section| section.worst() != ProbeHealth::Bad);
    if text {
        stdout::line(&report::summary(sections));
    } else {
        let findings = diagnose::as_json(&checked.findings, &checked.sources);
        let sections: Vec<Value> = sections.iter().map(DoctorSection::json).collect();
        stdout::line(&json!({ "healthy": healthy, "configuration": findings, "sections": sections }).to_string());
    }
    if healthy { Exit::Ok } else { Exit::Failure }
}

async fn examine(args: &Args, checked: &Checked, plan: &Plan, told: &dyn Fn(&DoctorSection)) -> Vec<DoctorSection> {
    let mut sections = Vec::new();
    let mut add = |section: DoctorSection| {
        if !section.findings.is_empty() {
            told(&section);
            sections.push(section);
        }
    };
    let status = admin::get(&args.admin, "/v1/status");
    add(DoctorSection::new("ports", ports::ask(&checked.listeners, status.as_ref().ok())));
    add(DoctorSection::new("memory", vec![memory(plan, Machine::look())]));
    let host = Host::new(Budget::unlimited());
    let authenticators = authenticators::started(plan, &host).await;
    if let Err(why) = &authenticators {
        add(DoctorSection::new("authenticators", vec![Finding::new(ProbeHealth::Bad, "start", why.clone())]));
    }
    for (path, probe) in probes(plan, &host.authenticators) {
        let ProbeReport { findings, .. } = probe.ask().await;
        add(DoctorSection::new(path, findings));
    }
    let status = match status {
        Ok(status) => status,
        Err(fault) => {
            add(DoctorSection::new("running gateway", vec![unanswered(args, &fault)]));
            return sections;
        }
    };
    add(DoctorSection::new("running gateway", look_twice(&args.admin).await));
    if args.trace {
        let admin = args.admin.clone();
        let followed = tokio::task::spawn_blocking(move || mark::follow(&admin, &status)).await;
        add(DoctorSection::new("marked trace", followed.unwrap_or_default()));
    }
    sections
}

/// Why the running gateway was not looked at.
fn unanswered(args: &Args, fault: &AdminFault) -> Finding {
    let unchecked = "rates, connections and a marked trace were not checked";
    let (is_there, message) = match fault {
        AdminFault::Silent { admin, .. } => (false, format!("no gateway answers at {admin}: {unchecked}")),
        fault => (true, format!("{fault}; {unchecked}")),
    };
    let health = if args.trace || is_there { ProbeHealth::Bad } else { ProbeHealth::Doubtful };
    Finding::new(health, "gateway", message)
}

async fn look_twice(admin: &AdminArgs) -> Vec<Finding> {
    let (before, asked) = (pages(admin), Instant::now());
    tokio::time::sleep(LOOK_AGAIN).await;
    let seconds = asked.elapsed().as_secs_f64();
    running::judge(&before, &pages(admin), seconds)
}

fn pages(admin: &AdminArgs) -> FetchedPages {
    let page = |path| admin::get(admin, path).unwrap_or_default();
    FetchedPages {
        status: page("/v1/status"),
        balance: page("/v1/balance"),
        sampling: page("/v1/sampling"),
        peers: page("/v1/peers"),
        pods: page("/v1/pods"),
        storage: page("/v1/storage"),
    }
}

/// The budget against what the process may have.
fn memory(plan: &Plan, machine: Machine) -> Finding {
    let (hard, _) = limits::of(plan.memory_limit, machine);
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let budget = format!("payloads may take {:.0} MiB", mebibytes(hard));
    let granted = machine.granted.memory_bytes;
    let wanted = plan.memory_limit.zip(granted.or(machine.memory_bytes)).map(|(limit, memory)| limit.of(memory).0);
    match (granted, wanted) {
        (Some(granted), Some(wanted)) if wanted > granted => {
            let message = format!(
                "memory_limiter allows {:.0} MiB where the cgroup grants {:.0}; {budget}",
                mebibytes(wanted),
                mebibytes(granted)
            );
            Finding::new(ProbeHealth::Doubtful, "limit", message)
                .with_help("write limit_percentage: 75, which follows the cgroup's limit")
        }
        (Some(granted), Some(_)) => {
            Finding::new(ProbeHealth::Good, "limit", format!("{budget} of the cgroup's {:.0}", mebibytes(granted)))
        }
        (None, Some(_)) => Finding::new(ProbeHealth::Good, "limit", format!("{budget}; no cgroup limits this process")),
        (_, None) => Finding::new(ProbeHealth::Doubtful, "limit", format!("{budget}; no memory_limiter says how much"))
            .with_help("add memory_limiter: {limit_percentage: 75} as the first processor"),
    }
}

/// Every probe that the plan's components contribute, with the component's path.
fn probes<'p>(plan: &'p Plan, known: &'p Authenticators) -> impl Iterator<Item = (String, Box<dyn Probe>)> + 'p {
    let receivers = plan
        .receivers
        .iter()
        .filter_map(|(id, receiver)| Some((format!("receivers::{id}"), receiver.probe(&signals_of(plan, id))?)));
    let processors = plan.processors.iter().filter_map(|(id, plan)| Some((format!("processors::{id}"), plan.probe()?)));
    let extensions = plan.extensions.iter().filter_map(|(id, plan)| Some((format!("extensions::{id}"), plan.probe()?)));
    receivers.chain(processors).chain(exporter_probes(plan, known)).chain(extensions)
}

/// Those of the exporters alone.
pub fn exporter_probes<'p>(
    plan: &'p Plan,
    known: &'p Authenticators,
) -> impl Iterator<Item = (String, Box<dyn Probe>)> + 'p {
    plan.exporters
        .iter()
        .filter_map(|(id, exporter)| Some((format!("exporters::{id}"), exporter.probe(&signals(plan, id), known)?)))
}

/// The signals that pipelines send to an exporter.
fn signals(plan: &Plan, exporter: &ComponentId) -> Vec<Signal> {
    let ends_there = plan.pipelines.iter().filter(|pipeline| pipeline.exporters.contains(exporter));
    let used: BTreeSet<usize> = ends_there.map(|pipeline| pipeline.signal.index()).collect();
    Signal::ALL.into_iter().filter(|signal| used.contains(&signal.index())).collect()
}

/// The signals of the pipelines that a receiver feeds.
fn signals_of(plan: &Plan, receiver: &ComponentId) -> Vec<Signal> {
    let begins_there = plan.pipelines.iter().filter(|pipeline| pipeline.receivers.contains(receiver));
    let used: BTreeSet<usize> = begins_there.map(|pipeline| pipeline.signal.index()).collect();
    Signal::ALL.into_iter().filter(|signal| used.contains(&signal.index())).collect()
}
