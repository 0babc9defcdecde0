//! What `doctor` asks: whether the API server lets the watch be, who the members are, and whether each takes what is sent.

use futures_util::future::join_all;

use crate::core::data::payload::Signal;
use crate::core::outside::Outside;
use crate::core::stage::commands::access::OWN_NAMESPACE;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::exporters::otlp::config::OtlpSettings;
use crate::exporters::otlp::load_balancing::config::{BalancerSettings, ResolverSettings};
use crate::exporters::otlp::probe::NextHop;
use crate::exporters::otlp::transport::ExportProtocol;
use crate::kube::probe::ApiServer;
use crate::net::client::target::Target;
use crate::sending::client::RequestCredentials;

/// More members are not asked: they are of one kind.
const ASKED_MAX: usize = 64;

pub struct TierProbe {
    settings: BalancerSettings,
    signals: Vec<Signal>,
    credentials: RequestCredentials,
}

impl TierProbe {
    /// Opens nothing yet.
    pub fn new(settings: BalancerSettings, signals: &[Signal], credentials: RequestCredentials) -> TierProbe {
        TierProbe { settings, signals: signals.to_vec(), credentials } // granted: as many as there are signals
    }

    async fn run(&self) -> ProbeReport {
        let mut findings = Vec::new();
        if let ResolverSettings::K8s(service) = &self.settings.resolver {
            let mut access = service.access();
            access.namespaces.iter_mut().filter(|name| *name == OWN_NAMESPACE).for_each(|name| *name = service.home());
            let asked = ApiServer::new(service.credentials(), vec![access]).ask().await; // granted: one
            findings.extend(asked.findings); // granted: one for each verb
        }
        let source = self.settings.resolver.source();
        match self.settings.resolver.ask(&Outside::default()).await {
            Ok(members) => {
                let message = format!("{} are known from {source}", members.len());
                findings.push(Finding::new(ProbeHealth::Good, "members", message));
                let asked = join_all(members.iter().take(ASKED_MAX).map(|member| self.member(member))).await;
                findings.extend(asked.into_iter().flatten()); // granted: as many as members, see ASKED_MAX
            }
            Err(why) => findings.push(
                Finding::new(ProbeHealth::Bad, "members", format!("they are not known from {source}: {why}"))
                    .with_help("is this run where podgate runs, and is the next tier up?"),
            ),
        }
        ProbeReport { findings, remedies: Vec::new() }
    }

    async fn member(&self, endpoint: &str) -> Vec<Finding> {
        let Ok(target) = Target::parse(endpoint, None) else {
            return vec![Finding::new(ProbeHealth::Bad, "members", format!("{endpoint:?} is no endpoint"))];
        };
        let mut settings: OtlpSettings = self.settings.member.clone();
        settings.clients.iter_mut().for_each(|client| client.target = target.clone());
        let hop = NextHop::new(ExportProtocol::Grpc, &settings, &self.signals, self.credentials.clone());
        hop.ask().await.findings
    }
}

impl Probe for TierProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(self.run())
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing can be changed at the members of a tier".to_owned())))
    }
}
