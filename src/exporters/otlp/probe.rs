//! What `doctor` asks a next hop: an empty request of each signal, by the way that data takes. Whoever answers it as an
//! OTLP receiver is reached, lets us in and takes that signal; nothing is delivered by it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::outside::Outside;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::core::time::UnixNanos;
use crate::exporters::otlp::config::OtlpSettings;
use crate::exporters::otlp::transport::{ExportProtocol, OtlpTransport};
use crate::sending::client::RequestCredentials;
use crate::sending::deliver::{RequestTransport, SendAnswer};
use crate::sending::report::condition::Trouble;

/// Connection and answer together, for each signal.
const WAIT: Duration = Duration::from_secs(8);

pub struct NextHop {
    transport: OtlpTransport,
    signals: Vec<Signal>,
}

impl NextHop {
    /// Opens nothing yet.
    pub fn new(
        protocol: ExportProtocol,
        settings: &OtlpSettings,
        signals: &[Signal],
        credentials: RequestCredentials,
    ) -> NextHop {
        let routed = signals.iter().copied().filter(|signal| settings.routes[signal.index()].is_some()).collect();
        let transport = OtlpTransport::new(protocol, settings.clone(), &Outside::default());
        NextHop { transport: transport.authorized_by(credentials), signals: routed }
    }

    async fn run(&self) -> ProbeReport {
        let mut findings: Vec<Finding> = Vec::new();
        for signal in &self.signals {
            let payload = Payload {
                signal: *signal,
                envelope: Envelope::default(),
                items: 0,
                origin: Arc::new(Origin::internal(UnixNanos(0))),
                ticket: Ticket::free(),
                share: Share::none(),
            };
            let answer = self.transport.send(&payload, Instant::now() + WAIT).await;
            let finding = judged(*signal, self.transport.destination(), &answer);
            // What holds for all signals is said once.
            let same = |known: &&mut Finding| (known.health, &known.message) == (finding.health, &finding.message);
            match findings.iter_mut().find(same) {
                Some(known) => known.subject = format!("{}, {}", known.subject, finding.subject),
                None => findings.push(finding),
            }
        }
        ProbeReport { findings, remedies: Vec::new() }
    }
}

fn judged(signal: Signal, destination: &str, answer: &SendAnswer) -> Finding {
    let of = |trouble: &Trouble| format!("{destination}: {}: {}", trouble.code, trouble.message);
    let finding = |health, message: String| Finding::new(health, signal.name(), message);
    match answer {
        SendAnswer::Taken { .. } => finding(ProbeHealth::Good, format!("{destination} takes them")),
        SendAnswer::Later { trouble, .. } | SendAnswer::Never { trouble, .. } => {
            let help = trouble.cure.clone();
            Finding { help, ..finding(ProbeHealth::Bad, of(trouble)) }
        }
    }
}

impl Probe for NextHop {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(self.run())
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing can be changed at a next hop".to_owned())))
    }
}
