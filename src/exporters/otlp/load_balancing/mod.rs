//! `load_balancing`: the items of one trace to one of many next hops, so that a sampler there sees the whole trace.
//!
//! Each member has an `otlp_grpc` exporter with its own queue. When a member goes, what waits for it moves to the new owners;
//! nothing is trapped. With a log on disk the balancer keeps what it divides (`logged`). Keys are the Collector's. It never looks into more of an item than what it is routed by.
//!
//! ```yaml
//! load_balancing:
//!   protocol: {otlp: {tls: {insecure: true}}}
//!   resolver: {dns: {hostname: gateway.observability.svc}}
//! ```

mod balancer;
mod config;
mod limits;
mod logged;
mod members;
mod metric;
mod metrics;
pub mod points;
mod probe;
mod resolver;
pub mod ring;
pub mod route;

use std::sync::Arc;

use crate::core::data::payload::Signal;
use crate::core::stage::auth::Authenticators;
use crate::core::stage::commands::access::Access;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::factory::{About, Alias, BuildContext, DataEnd, Exporter, ExporterFactory, ExporterPlan};
use crate::exporters::otlp::load_balancing::balancer::LoadBalancer;
use crate::exporters::otlp::load_balancing::config::{BalancerSettings, ResolverSettings};
use crate::exporters::otlp::load_balancing::logged::LoggedBalancer;
use crate::exporters::otlp::load_balancing::probe::TierProbe;
use crate::sending::client::RequestCredentials;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "load_balancing",
        aliases: &[Alias { name: "loadbalancing", note: "the Collector's name before v0.153" }],
        signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
        summary: "sends the items of one trace (or service, or metric) to one of several next hops",
        example: "protocol: {otlp: {tls: {insecure: true}}}\nresolver: {static: {hostnames: [gateway-0, gateway-1]}}\n",
    },
    check: |cx, node| config::check(cx, node).map(|settings| Box::new(Plan { settings }) as Box<dyn ExporterPlan>),
    end: DataEnd::Delivered,
};

struct Plan {
    settings: BalancerSettings,
}

impl ExporterPlan for Plan {
    fn unfit(&self, signal: Signal) -> Option<String> {
        self.settings.unfit(signal)
    }

    fn access(&self) -> Vec<Access> {
        match &self.settings.resolver {
            ResolverSettings::K8s(service) => vec![service.access()],
            _ => Vec::new(),
        }
    }

    fn probe(&self, signals: &[Signal], known: &Authenticators) -> Option<Box<dyn Probe>> {
        let credentials = RequestCredentials::of(self.settings.member.auth.as_deref(), known);
        Some(Box::new(TierProbe::new(self.settings.clone(), signals, credentials)))
    }

    fn merges_by(&self) -> Option<&[String]> {
        self.settings.member.sending.merges_by()
    }

    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        let (host, path) = (cx.host.clone(), cx.path.clone());
        let balancer = LoadBalancer::new(cx, self.settings.clone());
        let Some(storage) = &self.settings.storage else { return balancer };
        match host.logs.used_by(&path, storage) {
            Some(log) => LoggedBalancer::new(balancer, host, storage.clone(), log),
            None => balancer,
        }
    }
}
