//! `otlp_grpc` and `otlp_http`: hand data on by OTLP, to a Collector, to APM Server, to anything that speaks it.
//!
//! Two factories over one transport, because only framing and paths differ. Queue, retries and accounts are `sending`'s;
//! sockets are the net layer's. Knows no pipeline and never looks into items.
//!
//! ```yaml
//! otlp_grpc:
//!   endpoint: gateway:4317
//!   tls: {insecure: true}
//! otlp_http:
//!   endpoint: https://apm.example.com:443
//!   headers: {Authorization: "ApiKey ${env:ELASTIC_API_KEY}"}
//! ```

pub mod answer;
pub mod answer_json;
pub mod config;
mod cure;
pub mod load_balancing;
mod preset;
mod probe;
mod transport;

use std::sync::Arc;

use crate::core::data::payload::Signal;
use crate::core::stage::auth::Authenticators;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::factory::{About, Alias, BuildContext, DataEnd, Exporter, ExporterFactory, ExporterPlan};
use crate::exporters::otlp::config::OtlpSettings;
use crate::exporters::otlp::probe::NextHop;
use crate::exporters::otlp::transport::{ExportProtocol, OtlpTransport};
use crate::net::client::target::Target;
use crate::sending::Sending;
use crate::sending::client::RequestCredentials;

pub const GRPC_FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "otlp_grpc",
        aliases: &[Alias { name: "otlp", note: "the Collector's name before v0.144" }],
        signals: &Signal::ALL,
        summary: "sends OTLP over gRPC",
        example: "endpoint: gateway:4317\ntls: {insecure: true}\nsending_queue: {queue_size: 1000}\n",
    },
    check: |cx, node| plan(config::grpc(cx, node), ExportProtocol::Grpc),
    end: DataEnd::Delivered,
};

pub const HTTP_FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "otlp_http",
        aliases: &[Alias { name: "otlphttp", note: "the Collector's name before v0.144" }],
        signals: &Signal::ALL,
        summary: "sends OTLP over HTTP with protobuf bodies",
        example: "endpoint: http://gateway:4318\ncompression: gzip\n",
    },
    check: |cx, node| plan(config::http(cx, node), ExportProtocol::Http),
    end: DataEnd::Delivered,
};

struct Plan {
    settings: OtlpSettings,
    protocol: ExportProtocol,
}

fn plan(settings: Option<OtlpSettings>, protocol: ExportProtocol) -> Option<Box<dyn ExporterPlan>> {
    settings.map(|settings| Box::new(Plan { settings, protocol }) as Box<dyn ExporterPlan>)
}

impl ExporterPlan for Plan {
    fn unfit(&self, signal: Signal) -> Option<String> {
        let name = signal.name();
        let none = self.settings.routes[signal.index()].is_none();
        none.then(|| format!("it has neither `endpoint` nor `{name}_endpoint`, so every item would be lost"))
    }

    fn merges_by(&self) -> Option<&[String]> {
        self.settings.sending.merges_by()
    }

    fn probe(&self, signals: &[Signal], known: &Authenticators) -> Option<Box<dyn Probe>> {
        let credentials = RequestCredentials::of(self.settings.auth.as_deref(), known);
        Some(Box::new(NextHop::new(self.protocol, &self.settings, signals, credentials)))
    }

    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        built(cx, self.protocol, self.settings.clone())
    }
}

fn built(cx: BuildContext, protocol: ExportProtocol, settings: OtlpSettings) -> Arc<Sending> {
    let credentials = RequestCredentials::of(settings.auth.as_deref(), &cx.host.authenticators);
    let sending = settings.sending.clone();
    let transport = OtlpTransport::new(protocol, settings, &cx.host.outside);
    let transport = transport.authorized_by(credentials).charging(&cx.host.budget);
    Arc::new(Sending::new(cx, sending, Box::new(transport)))
}

/// An `otlp_grpc` exporter to another target than the settings name.
pub fn grpc_to(cx: BuildContext, mut settings: OtlpSettings, target: &Target) -> Arc<Sending> {
    settings.clients.iter_mut().for_each(|client| client.target = target.clone());
    built(cx, ExportProtocol::Grpc, settings)
}
