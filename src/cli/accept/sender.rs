//! `podgate accept sender`: an application as an SDK makes one. Runs in the pods of `podgate accept`, from the same image.
//!
//! It knows what an SDK knows: endpoint and resource attributes from its variables, nothing of its container. It exports
//! spans every two seconds, records every second, a counter every five, each over its own connection; ends with a flush at SIGTERM, and
//! without one when it crashes.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::cli::accept::batch::{AcceptRequest, Maker, resource_attributes};
use crate::cli::accept::note::{Note, SIGNALS, cgroup_id};
use crate::cli::{Exit, run};
use crate::config::value::duration;
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::http::HttpRequest;
use crate::net::client::settings::{ClientHttp, ClientSettings};
use crate::net::client::target::{Scheme, Target};
use crate::telemetry::stdout;

const WORK_EVERY: Duration = Duration::from_millis(250);
/// A request without an answer is tried again after this.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// For the last requests, after SIGTERM; less than the pod's grace period.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// End with exit code 1 after this long, without a flush
    #[arg(long, value_parser = duration::parse)]
    crash_after: Option<Duration>,
    /// Where the container's termination message is written
    #[arg(long, default_value = "/dev/termination-log")]
    note: PathBuf,
}

pub fn run(args: &Args) -> Exit {
    match run::to_end(live(args)) {
        Err(exit) => exit,
        Ok(Ok(exit)) => exit,
        Ok(Err(why)) => {
            stdout::error_line(&why);
            Exit::Failure
        }
    }
}

async fn live(args: &Args) -> Result<Exit, String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"));
    let target = Target::parse(&variable("OTEL_EXPORTER_OTLP_ENDPOINT")?, Some(|_: Scheme| 4318))?;
    let attributes = resource_attributes(&variable("OTEL_RESOURCE_ATTRIBUTES")?);
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("cannot hear SIGTERM: {error}"))?;
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| cgroup_id(&text));
    let mut settings = ClientSettings::new(target, ClientHttp::ByAgreement);
    // One for each exporter, as SDKs have them.
    settings.http1_max = SIGNALS.len();
    let note = Note::new(fastrand::u64(..), cgroup);
    let maker = Maker::new(&attributes, &note.nonce, UnixNanos::now());
    let process = Process {
        client: Client::new(settings),
        path: args.note.clone(),
        note: RefCell::new(note),
        maker: RefCell::new(maker),
        held: RefCell::default(),
    };
    // Before anything is sent: what is sent by a run that nobody can name proves nothing.
    process.write_note()?;
    let crash = async {
        match args.crash_after {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = process.live() => Ok(Exit::Ok),
        () = crash => Ok(Exit::Failure),
        _ = terminate.recv() => {
            process.flush().await;
            Ok(Exit::Ok)
        }
    }
}

/// Its parts run side by side in one task: an exporter that waits for an answer stops neither the work nor the others.
struct Process {
    client: Client,
    path: PathBuf,
    // All three are borrowed for a moment, never while something is awaited.
    note: RefCell<Note>,
    maker: RefCell<Maker>,
    /// Requests that were not answered with success yet; one of each signal at most.
    held: RefCell<Vec<AcceptRequest>>,
}

fn export_every(signal: Signal) -> Duration {
    Duration::from_secs(match signal {
        Signal::Traces => 2,
        Signal::Logs => 1,
        _ => 5,
    })
}

impl Process {
    async fn live(&self) {
        let [traces, metrics, logs] = SIGNALS.map(|signal| self.export_always(signal));
        tokio::join!(self.work(), traces, metrics, logs);
    }

    async fn work(&self) {
        let mut random = fastrand::Rng::new();
        let mut works = interval(WORK_EVERY);
        works.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            works.tick().await;
            self.maker.borrow_mut().work(UnixNanos::now(), &mut random);
        }
    }

    async fn export_always(&self, signal: Signal) {
        loop {
            sleep(export_every(signal)).await;
            self.export(signal).await;
        }
    }

    async fn flush(&self) {
        // What was held first, then what waits behind it.
        let twice = async |signal| {
            self.export(signal).await;
            self.export(signal).await;
        };
        let [traces, metrics, logs] = SIGNALS.map(twice);
        let all = async { tokio::join!(traces, metrics, logs) };
        let _ = timeout(FLUSH_WAIT, all).await;
    }

    /// Sends what was held of this signal, else what waits. What is not taken for now is held.
    async fn export(&self, signal: Signal) {
        let Some(request) = self.due(signal) else { return };
        let items = request.items;
        match self.send(request).await {
            Ok(200..=299) => self.note.borrow_mut().accepted.add(signal, items),
            // Not now: tried again at the next turn.
            Err(why) => return stdout::error_line(&format!("{}: {why}", signal.name())),
            Ok(status @ (429 | 502 | 503 | 504)) => {
                return stdout::error_line(&format!("{}: answered {status}", signal.name()));
            }
            Ok(status) => {
                stdout::error_line(&format!("{}: {items} items were refused with {status}", signal.name()));
                self.maker.borrow_mut().given_up.add(signal, items);
            }
        }
        self.held.borrow_mut().retain(|request| request.signal != signal);
        self.note.borrow_mut().given_up = self.maker.borrow().given_up;
        if let Err(why) = self.write_note() {
            stdout::error_line(&why);
        }
    }

    /// What is sent next. It stays held until it is answered: a crash or the end of the flush may come while it is on its way.
    fn due(&self, signal: Signal) -> Option<AcceptRequest> {
        let mut held = self.held.borrow_mut();
        if let Some(request) = held.iter().find(|request| request.signal == signal) {
            return Some(request.clone());
        }
        let made = self.maker.borrow_mut().batch(signal, UnixNanos::now())?;
        held.push(made.clone());
        Some(made)
    }

    async fn send(&self, request: AcceptRequest) -> Result<u16, String> {
        let AcceptRequest { signal, body, .. } = request;
        let request = HttpRequest {
            method: Method::POST,
            path: format!("/v1/{}", signal.name()),
            content_type: "application/x-protobuf",
            headers: HeaderMap::new(),
            parts: vec![Bytes::clone(&body)],
            compression: Compression::None,
            deadline: Instant::now() + ANSWER_WAIT,
        };
        let answer = self.client.http(request).await;
        answer.map(|reply| reply.status).map_err(|failure| failure.to_string())
    }

    fn write_note(&self) -> Result<(), String> {
        std::fs::write(&self.path, self.note.borrow().text())
            .map_err(|error| format!("cannot write the termination message {}: {error}", self.path.display()))
    }
}
