//! The `k8s_audit` receiver: the API server's audit webhook (audit.k8s.io/v1) as log records.
//!
//! ```yaml
//! endpoint: 0.0.0.0:9880
//! path: /audit
//! tls: {cert_file: /tls/tls.crt, key_file: /tls/tls.key, client_ca_file: /tls/ca.crt}
//! body: map
//! data_stream: {dataset: kubernetes.audit, from: namespace}
//! ```
//!
//! Success is answered when the pipeline took responsibility, and not before: an event that a stage refuses is the API
//! server's still, which sends it again. What it sends twice is left out. One event is one record (`kube::audit`).

mod answer;
mod config;
mod door;
mod intake;
pub mod list;
mod metrics;
mod probe;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::offload::Aside;
use crate::core::report::status::State;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ReceiverFactory, ReceiverPlan};
use crate::core::stage::joint::Outputs;
use crate::kube::audit::recent::RecentEvents;
use crate::net::compression::Inflater;
use crate::net::server::accept::{Server, Serving, run};
use crate::net::server::admission::connection_limit::{Caps, ConnectionLimit};
use crate::net::server::admission::connection_memory::Charges;
use crate::net::server::admission::fair_share::Shares;
use crate::net::server::admission::report::ConnectionMetrics;
use crate::net::server::background::Leftovers;
use crate::net::server::listen::{BoundAddresses, Listener};
use crate::net::server::node_addresses::Home;
use crate::net::server::tls::source::TlsFiles;
use crate::net::server::tls::watch::CertificateWatch;
use crate::receivers::k8s_audit::config::AuditConfig;
use crate::receivers::k8s_audit::door::{AuditDoor, AuditService};
use crate::receivers::k8s_audit::intake::AuditIntake;
use crate::receivers::k8s_audit::metrics::AuditMetrics;
use crate::receivers::k8s_audit::probe::AuditProbe;

/// Wait for calls whose client has gone, once every connection has ended.
const LEFTOVERS_GRACE: Duration = Duration::from_millis(200);

pub const FACTORY: ReceiverFactory = ReceiverFactory {
    about: About {
        name: "k8s_audit",
        aliases: &[],
        signals: &[Signal::Logs],
        summary: "takes audit events from the API server's webhook, one log record each",
        example: "endpoint: localhost:9880\npath: /audit\nbody: map\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ReceiverPlan>> {
    config::check(cx, node).map(|config| Box::new(Plan { config, path: cx.path.clone() }) as Box<dyn ReceiverPlan>)
}

struct Plan {
    config: AuditConfig,
    path: String,
}

impl ReceiverPlan for Plan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component> {
        // What was delivered stays known when a reload puts another instance in this one's place.
        let window = self.config.duplicates_window;
        let recent = cx.host.shared(&format!("k8s_audit/recent {window} {}", cx.id), || {
            Arc::new(RememberedEvents(Arc::new(Mutex::new(RecentEvents::new(window)))))
        });
        let stop = watch::Sender::new(None);
        let counts = Arc::new(AuditMetrics::new(&cx.host.stats, &cx.id.to_string()));
        let config = self.config.clone();
        Arc::new(AuditReceiver { config, cx, outputs, counts, recent, stop, running: Mutex::default() })
    }

    fn probe(&self, _: &[Signal]) -> Option<Box<dyn Probe>> {
        Some(Box::new(AuditProbe { config: self.config.clone(), path: self.path.clone() }))
    }
}

/// What instances of one receiver share.
struct RememberedEvents(Arc<Mutex<RecentEvents>>);

/// The receiver between start and drain.
struct AuditReceiver {
    config: AuditConfig,
    cx: BuildContext,
    outputs: Outputs,
    counts: Arc<AuditMetrics>,
    recent: Arc<RememberedEvents>,
    /// Set once: the moment at which every connection must have ended.
    stop: watch::Sender<Option<Instant>>,
    // Locked at start and at drain.
    running: Mutex<Option<RunningDoor>>,
}

/// The tasks of an open door, and the calls whose client has gone.
struct RunningDoor {
    tasks: Vec<JoinHandle<()>>,
    leftovers: Arc<Leftovers>,
}

impl AuditReceiver {
    fn door(&self, leftovers: Arc<Leftovers>) -> AuditDoor {
        let (host, config) = (&self.cx.host, &self.config);
        let intake = AuditIntake {
            outputs: self.outputs.clone(),
            host: host.clone(),
            counts: self.counts.clone(),
            inflater: Inflater::default(),
            aside: Aside::default(),
            leftovers,
            form: config.form.clone(),
            surroundings: crate::kube::audit::surroundings(),
            recent: self.recent.0.clone(),
        };
        let auth = config.auth.as_deref().map(|id| host.authenticators.server(id));
        AuditDoor { intake, path: config.path.clone(), bytes_max: config.bytes_max, auth }
    }

    fn open(&self, listener: Arc<Listener>, tls: Option<Arc<TlsFiles>>) {
        let (host, config, path) = (&self.cx.host, &self.config, &self.cx.path);
        let address = listener.local_addr();
        if let Some(address) = address {
            host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).set(path, address);
        }
        tracing::info!(component = %path, endpoint = %config.endpoint, ?address, tls = tls.is_some(), "listening");
        let leftovers = Leftovers::new();
        let mut tasks = Vec::new();
        if let Some(files) = &tls {
            let (watch, stop) = (CertificateWatch::new(path, files.clone(), host), self.stop.subscribe());
            tasks.push(host.tasks.spawn(&format!("{path}::tls"), |pulse| watch.run(stop, pulse)));
        }
        let limits = config.limits.clone();
        let caps = Caps {
            all: limits.connections_max,
            per_address: limits.connections_per_address_max,
            kept: 0,
            renews: false,
        };
        let server = Server {
            gate: ConnectionLimit::new(caps),
            gates: Arc::default(),
            home: Home::default(),
            tally: ConnectionMetrics::new(&host.stats, &self.cx.id.to_string()),
            budget: host.budget.clone(),
            leftovers: leftovers.clone(),
            shares: Arc::new(Shares::default()),
            charges: Arc::new(Charges::default()),
            opened: Instant::now(),
            limits,
            tls,
        };
        let service = Arc::new(AuditService(Arc::new(self.door(leftovers.clone()))));
        let (serving, stop) = (Serving::by(server, service), self.stop.subscribe());
        tasks.push(host.tasks.spawn(path, |pulse| run(serving, listener, stop, pulse)));
        *self.running.locked() = Some(RunningDoor { tasks, leftovers });
    }
}

impl Component for AuditReceiver {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (config, path) = (&self.config, &self.cx.path);
            let tls = TlsFiles::of(config.tls.as_ref(), path).await?;
            let bound = config.endpoint.bind_when_free(&self.cx.host, path).await;
            let listener = bound.map_err(|error| StartError {
                component: path.clone(),
                message: format!("cannot listen on {}: {error}", config.endpoint),
                help: Some("choose another `endpoint`, or end the process that has this port".to_owned()),
            })?;
            self.open(listener, tls);
            self.cx.host.status.set(path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            let running = self.running.locked().take();
            let Some(RunningDoor { tasks, leftovers }) = running else { return };
            for task in tasks {
                // A task that panicked has told the gateway itself.
                let _ = task.await;
            }
            leftovers.settle(deadline.min(Instant::now() + LEFTOVERS_GRACE)).await;
            self.cx.host.status.set(&self.cx.path, State::Stopped, "");
        })
    }
}
