//! `podgate run`: check, start, wait for a signal, drain, say what became of every item.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cli::reload::files::FileIdentities;
use crate::cli::reload::{ReloadTrigger, Reloading, RunningConfig};
use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, signals};
use crate::core::build_info;
use crate::core::data::balance::Sheet;
use crate::core::diagnostic::code;
use crate::core::limits;
use crate::core::stage::host::Host;
use crate::gateway::Gateway;
use crate::net::server::listen::BoundAddresses;
use crate::pipeline::plan::Plan;
use crate::telemetry::stdout;
use crate::telemetry::{self, logging};

pub fn run(args: &ConfigArgs) -> Exit {
    if let Err(exit) = sources::require_config(args) {
        return exit;
    }
    let files = FileIdentities::look(args);
    let mut checked = sources::check(args);
    checked.report();
    let insecure = checked.findings.iter().filter(|found| found.code == code::INSECURE);
    let Some(plan) = checked.plan.take() else { return Exit::Configuration };
    logging::install(&plan.telemetry.logs);
    insecure.for_each(|found| tracing::warn!(at = %found.path, "INSECURE: {}", found.message));
    to_end(serve(args, RunningConfig::of(plan, checked, files))).unwrap_or_else(|exit| exit)
}

/// As many workers as the cgroup grants CPUs. A single one runs tasks in the order in which they became ready: of several
/// answers on one connection all are ready before it writes, where a worker of several would write each at once.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match telemetry::process::worker_threads() {
        1 => tokio::runtime::Builder::new_current_thread(),
        workers => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(workers);
            builder
        }
    };
    builder.enable_all().build()
}

/// Runs one command's work to its end; `Err` when no threads start, which it has told then.
pub fn to_end<T>(work: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = runtime().map_err(|error| {
        stdout::error_line(&format!("cannot start threads: {error}"));
        Exit::Failure
    })?;
    let result = runtime.block_on(work);
    // A stuck name lookup must not hold up the exit.
    runtime.shutdown_background();
    Ok(result)
}

async fn serve(args: &ConfigArgs, runs: RunningConfig) -> Exit {
    let gateway = Gateway::build(&runs.plan);
    let host = gateway.host().clone();
    // Before anything starts: a signal that came now would end the process without a drain.
    let (mut stop, hang_ups) = match signals::listen(host.clone()) {
        Ok(heard) => heard,
        Err(error) => {
            tracing::error!("cannot listen for signals: {error}");
            return Exit::Failure;
        }
    };
    // Before anything listens, so that no door of the admin interface is open without them.
    let mut reloading = Reloading::new(args, runs, hang_ups, &host);
    // A start may wait for ports; a signal ends the wait, and what was started is drained.
    let opening = gateway.open();
    tokio::pin!(opening);
    let (opened, asked) = tokio::select! {
        opened = &mut opening => (opened, false),
        _ = stop.asked() => {
            host.ports.give_up();
            host.logs.all().iter().for_each(|(_, log)| log.stop());
            (opening.await, true)
        }
    };
    let mut gateway = match opened {
        Ok(gateway) => gateway,
        Err(error) if asked => {
            tracing::info!("stopped before everything was ready: {error}");
            return ended(Exit::Ok, &host.balance.sheets());
        }
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return Exit::Failure;
        }
    };
    let plan = reloading.plan();
    let pipelines: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    tell_of_dropping(plan);
    let (version, commit) = (build_info::VERSION, build_info::COMMIT);
    let (pipelines, listening) = (pipelines.join(","), listening(&host));
    tracing::info!(version, commit, %pipelines, %listening, "everything is ready, running and taking in data");
    let exit = loop {
        let trigger = tokio::select! {
            exit = until_end(&host, &mut stop) => break exit,
            trigger = wanted(&mut reloading, &mut gateway) => trigger,
        };
        reloading.run(trigger, &mut gateway).await;
    };
    let sheets = gateway.drain(limits::DRAIN_DEADLINE).await;
    ended(exit, &sheets)
}

/// The next reload, once there is room for what it takes out of the flow. A stop need not wait for either.
async fn wanted(reloading: &mut Reloading, gateway: &mut Gateway) -> ReloadTrigger {
    let trigger = reloading.wanted().await;
    gateway.room_for_a_reload().await;
    trigger
}

/// Every address that was bound, with who listens there: `otlp/grpc 0.0.0.0:4317, health_check 0.0.0.0:13133`.
fn listening(host: &Host) -> String {
    let bound = host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).all();
    let named = bound.iter().map(|(path, address)| format!("{} {address}", listener_name(path)));
    named.collect::<Vec<_>>().join(", ")
}

/// A listener's path in the configuration as a word.
fn listener_name(path: &str) -> String {
    match path.split("::").collect::<Vec<_>>()[..] {
        ["receivers", id, "protocols", protocol] => format!("{id}/{protocol}"),
        ["extensions", id] => id.to_owned(),
        ["service", "telemetry", "metrics", ..] => "metrics".to_owned(),
        _ => path.to_owned(),
    }
}

/// The account as the last line, and what it makes of the exit code.
fn ended(exit: Exit, sheets: &BTreeMap<&'static str, Sheet>) -> Exit {
    tracing::info!("{}", telemetry::balance::line(sheets));
    match exit {
        Exit::Ok if sheets.values().any(|sheet| sheet.lost_at_stop() > 0) => Exit::Lost,
        exit => exit,
    }
}

/// Senders hear success of what `nop` drops, so whoever runs the gateway hears of it.
fn tell_of_dropping(plan: &Plan) {
    for pipeline in plan.pipelines.iter().filter(|pipeline| pipeline.drops_everything) {
        let (name, signal) = (&pipeline.name, pipeline.signal.name());
        tracing::warn!(
            pipeline = %name,
            "this pipeline ends in nop: all {signal} that it takes are dropped, their senders hear success; counted as dropped(nop)"
        );
    }
}

/// Until SIGTERM or SIGINT, or until an owner task panicked.
async fn until_end(host: &Host, stop: &mut signals::StopSignal) -> Exit {
    let mut failed = host.tasks.failed();
    tokio::select! {
        _ = stop.asked() => Exit::Ok,
        task = async { failed.wait_for(Option::is_some).await.ok().and_then(|task| task.clone()) } => {
            let task = task.unwrap_or_default();
            tracing::error!(task, "an owner task panicked, which is a bug in podgate: podgate drains and exits");
            Exit::Failure
        }
    }
}
