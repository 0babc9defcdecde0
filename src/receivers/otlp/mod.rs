//! The `otlp` receiver: OTLP over gRPC and HTTP, as protobuf and JSON, on two ports that each answer both.
//!
//! ```yaml
//! protocols:
//!   grpc: {endpoint: 0.0.0.0:4317, max_recv_msg_size_mib: 64}
//!   http: {endpoint: 0.0.0.0:4318, cors: {allowed_origins: ["https://*.example"]}}
//! ```
//!
//! The gRPC doors answer `grpc.health.v1` too, for gRPC probes.
//!
//! A request is never decoded beyond its envelope here. What sockets and bodies may cost is `net`'s business; what a
//! failure is called on the wire stands in `fault`; the way of a request through the receiver in `intake`.

mod config;
mod fault;
mod grpc;
mod guard;
mod health;
mod http;
mod intake;
mod reply;
mod report;
mod service;
mod state;
mod unread;

use std::any::Any;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::offload::Aside;
use crate::core::report::status::State;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ReceiverFactory, ReceiverPlan};
use crate::core::stage::joint::Outputs;
use crate::net::compression::Inflater;
use crate::net::server::accept::{Server, Service, Serving, run};
use crate::net::server::admission::connection_limit::{Caps, ConnectionLimit};
use crate::net::server::admission::connection_memory::Charges;
use crate::net::server::admission::fair_share::Shares;
use crate::net::server::admission::gates::Gates;
use crate::net::server::admission::report::{ConnectionMetrics, Throttle};
use crate::net::server::background::Leftovers;
use crate::net::server::limits::ServerLimits;
use crate::net::server::listen::{BoundAddresses, Listener};
use crate::net::server::node_addresses::Home;
use crate::net::server::tls::source::TlsFiles;
use crate::net::server::tls::watch::CertificateWatch;
use crate::receivers::otlp::config::{Door, OtlpConfig, Protocols};
use crate::receivers::otlp::guard::Guard;
use crate::receivers::otlp::intake::Intake;
use crate::receivers::otlp::report::first_data::FirstRequests;
use crate::receivers::otlp::report::metrics::ReceiverMetrics;
use crate::receivers::otlp::report::refusals::Refusals;
use crate::receivers::otlp::service::Shared;
use crate::receivers::otlp::state::{Health, OtlpService};

/// Wait for calls whose client has gone, once every connection has ended.
const LEFTOVERS_GRACE: Duration = Duration::from_millis(200);

pub const FACTORY: ReceiverFactory = ReceiverFactory {
    about: About {
        name: "otlp",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "takes OTLP over gRPC and HTTP (protobuf and JSON); both ports answer both protocols",
        example: "protocols:\n  grpc:\n    endpoint: localhost:4317\n  http:\n    endpoint: localhost:4318\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ReceiverPlan>> {
    config::check(cx, node).map(|config| Box::new(Plan { config }) as Box<dyn ReceiverPlan>)
}

struct Plan {
    config: OtlpConfig,
}

impl ReceiverPlan for Plan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component> {
        let (stop, _) = watch::channel(None);
        let config = Mutex::new(self.config.clone());
        Arc::new(OtlpReceiver { config, cx, outputs, stop, running: Mutex::default() })
    }
}

/// The receiver between start and drain.
struct OtlpReceiver {
    // Locked at start and by a reload.
    config: Mutex<OtlpConfig>,
    cx: BuildContext,
    outputs: Outputs,
    /// Set once: the moment at which every connection must have ended.
    stop: watch::Sender<Option<Instant>>,
    // Locked at start, at drain and by a reload.
    running: Mutex<Option<Running>>,
}

/// A door that is open, and what its connections are secured by.
struct Bound {
    door: Door,
    listener: Arc<Listener>,
    tls: Option<Arc<TlsFiles>>,
}

struct Running {
    doors: Vec<JoinHandle<()>>,
    leftovers: Arc<Leftovers>,
    intake: Arc<Intake>,
    /// What each door serves by, in the order of the configuration.
    serving: Vec<Arc<ArcSwap<Serving>>>,
}

fn gate_of(limits: &ServerLimits) -> Arc<ConnectionLimit> {
    let (all, per_address) = (limits.connections_max, limits.connections_per_address_max);
    ConnectionLimit::new(Caps { all, per_address, kept: 0, renews: false })
}

impl OtlpReceiver {
    /// Binds every door before any of them serves.
    async fn bind(&self) -> Result<Vec<Bound>, StartError> {
        let mut bound = Vec::new();
        let doors = self.config.locked().doors.clone();
        for door in doors {
            let tls = TlsFiles::of(door.tls.as_ref(), &door.path).await?;
            let listener =
                door.endpoint.bind_when_free(&self.cx.host, &door.path).await.map_err(|error| StartError {
                    component: door.path.clone(),
                    message: format!("cannot listen on {}: {error}", door.endpoint),
                    help: Some(cure(&error).to_owned()),
                })?;
            bound.push(Bound { door, listener, tls });
        }
        Ok(bound)
    }

    fn open(&self, bound: Vec<Bound>) {
        let host = &self.cx.host;
        let id = self.cx.id.to_string();
        let leftovers = Leftovers::new();
        let intake = Arc::new(Intake {
            outputs: self.outputs.clone(),
            host: host.clone(),
            counts: Arc::new(ReceiverMetrics::new(&host.stats, &id)),
            inflater: Inflater::default(),
            aside: Aside::default(),
            leftovers: leftovers.clone(),
            first_data: FirstRequests::new(&id),
            unread_line: Throttle::default(),
            ids_line: Throttle::default(),
        });
        let protocols = self.config.locked().protocols.clone();
        let service = self.service(intake.clone(), &protocols);
        let addresses = host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default()));
        // Doors of a predecessor that are closed now.
        addresses.forget(&self.cx.path);
        let (shares, charges, opened) = (Arc::new(Shares::default()), Arc::new(Charges::default()), Instant::now());
        let (mut doors, mut serving, gates) = (Vec::new(), Vec::new(), Arc::new(Gates::default()));
        for Bound { door, listener, tls } in bound {
            let address = listener.local_addr();
            if let Some(address) = address {
                addresses.set(&door.path, address);
            }
            let is_secured = tls.is_some();
            tracing::info!(component = %door.path, endpoint = %door.endpoint, ?address, tls = is_secured, "listening");
            if let Some(files) = &tls {
                let watch = CertificateWatch::new(&door.path, files.clone(), host);
                let (name, stop) = (format!("{}::tls", door.path), self.stop.subscribe());
                doors.push(host.tasks.spawn(&name, |pulse| watch.run(stop, pulse)));
            }
            let server = Server {
                gate: gate_of(&door.limits),
                gates: gates.clone(),
                home: Home::default(),
                tally: ConnectionMetrics::new(&host.stats, &id),
                budget: host.budget.clone(),
                leftovers: leftovers.clone(),
                shares: shares.clone(),
                charges: charges.clone(),
                opened,
                limits: door.limits,
                tls,
            };
            report::peers::show(host, &server.gate);
            let (by, stop) =
                (Serving::by(server, self.guarded(&service, door.auth.as_deref(), &protocols)), self.stop.subscribe());
            serving.push(by.clone());
            doors.push(host.tasks.spawn(&door.path, |pulse| run(by, listener, stop, pulse)));
        }
        *self.running.locked() = Some(Running { doors, leftovers, intake, serving });
    }

    fn service(&self, intake: Arc<Intake>, protocols: &Protocols) -> Arc<OtlpService> {
        let host = &self.cx.host;
        Arc::new(OtlpService {
            intake,
            protocols: protocols.clone(),
            refusals: Refusals::new(&host.stats, &self.cx.id.to_string()),
            health: Health::new(host.status.readiness(), self.stop.subscribe()),
        })
    }

    /// The service behind the guard of one door.
    fn guarded(&self, service: &Arc<OtlpService>, auth: Option<&str>, protocols: &Protocols) -> Arc<dyn Service> {
        let guard = Guard::new(auth, protocols, &self.cx.host.authenticators);
        Arc::new(Shared { service: service.clone(), guard: Arc::new(guard) })
    }

    /// Connections that are accepted from now on are served by `config`, which opens the same doors.
    fn serve_by(&self, config: &OtlpConfig, running: &Running) {
        let service = self.service(running.intake.clone(), &config.protocols);
        for (serving, door) in running.serving.iter().zip(&config.doors) {
            let server = &serving.load().server;
            let (before, limits) = (&server.limits, door.limits.clone());
            // Who is in counts on, unless the places are others.
            let same_places = before.connections_max == limits.connections_max
                && before.connections_per_address_max == limits.connections_per_address_max;
            let gate = if same_places { server.gate.clone() } else { gate_of(&limits) };
            if !same_places {
                report::peers::show(&self.cx.host, &gate);
            }
            let server = Server {
                gate,
                gates: server.gates.clone(),
                limits,
                home: Home::default(),
                tally: ConnectionMetrics::new(&self.cx.host.stats, &self.cx.id.to_string()),
                budget: server.budget.clone(),
                leftovers: server.leftovers.clone(),
                shares: server.shares.clone(),
                charges: server.charges.clone(),
                opened: server.opened,
                tls: server.tls.clone(),
            };
            let service = self.guarded(&service, door.auth.as_deref(), &config.protocols);
            serving.store(Arc::new(Serving::new(server, service)));
        }
    }
}

fn cure(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another process or receiver listens there; change the port or stop it",
        std::io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has this address: is its variable set correctly?"
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        _ => "check the endpoint",
    }
}

impl Component for OtlpReceiver {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let bound = self.bind().await?;
            self.open(bound);
            self.cx.host.status.set(&self.cx.path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            let running = self.running.locked().take();
            let Some(running) = running else { return };
            for door in running.doors {
                // A door that panicked has told the gateway itself.
                let _ = door.await;
            }
            // Calls without a client go on: the stages behind, which drain next, end them.
            running.leftovers.settle(deadline.min(Instant::now() + LEFTOVERS_GRACE)).await;
            self.cx.host.status.set(&self.cx.path, State::Stopped, "");
        })
    }

    /// Other limits and protocols at the same doors: the sockets stay, and so do the connections.
    fn reconfigure(&self, plan: &dyn Any) -> bool {
        let Some(Plan { config }) = plan.downcast_ref::<Plan>() else { return false };
        let (mut own, running) = (self.config.locked(), self.running.locked());
        let Some(running) = running.as_ref() else { return false };
        let same = |(a, b): (&Door, &Door)| (&a.path, &a.endpoint, &a.tls) == (&b.path, &b.endpoint, &b.tls);
        if own.doors.len() != config.doors.len() || !own.doors.iter().zip(&config.doors).all(same) {
            return false;
        }
        self.serve_by(config, running);
        *own = config.clone();
        true
    }
}
