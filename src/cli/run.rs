//! `podgate run`: check, start, wait for a signal, drain, say what became of every item.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::sources::{self, ConfigArgs};
use crate::cli::{Exit, out};
use crate::core::limits;
use crate::gateway::Gateway;
use crate::pipeline::plan::Plan;
use crate::telemetry::{self, logging};

pub fn run(args: &ConfigArgs) -> Exit {
    if let Err(exit) = sources::require_config(args) {
        return exit;
    }
    let checked = sources::check(args);
    checked.report();
    let Some(plan) = checked.plan else { return Exit::Configuration };
    logging::install(&plan.telemetry.logs);
    to_end(serve(&plan)).unwrap_or_else(|exit| exit)
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
        out::error_line(&format!("cannot start threads: {error}"));
        Exit::Failure
    })?;
    let result = runtime.block_on(work);
    // A stuck name lookup must not hold up the exit.
    runtime.shutdown_background();
    Ok(result)
}

async fn serve(plan: &Plan) -> Exit {
    // Before anything starts: a signal that came now would end the process without a drain.
    let Some(mut signals) = Signals::listen() else {
        tracing::error!("cannot listen for signals");
        return Exit::Failure;
    };
    let gateway = match Gateway::start(plan).await {
        Ok(gateway) => gateway,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return Exit::Failure;
        }
    };
    let pipelines: Vec<&str> = plan.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pipelines = %pipelines.join(","), "everything is ready, running and taking in data");
    let exit = signals.wait(&gateway).await;
    let sheets = gateway.drain(limits::DRAIN_DEADLINE).await;
    tracing::info!("{}", telemetry::balance::line(&sheets));
    exit
}

/// What ends a gateway from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Option<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        Some(Signals { terminate: terminate.ok()?, interrupt: interrupt.ok()? })
    }

    /// Until SIGTERM or SIGINT, or until an owner task panicked.
    async fn wait(&mut self, gateway: &Gateway) -> Exit {
        let mut failed = gateway.host().tasks.failed();
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: draining"),
            task = async { failed.wait_for(Option::is_some).await.ok().and_then(|task| task.clone()) } => {
                let task = task.unwrap_or_default();
                tracing::error!(task, "an owner task ended in a panic, which is a bug in podgate: draining and exiting");
                return Exit::Failure;
            }
        }
        Exit::Ok
    }
}
