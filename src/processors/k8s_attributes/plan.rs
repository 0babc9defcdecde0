//! From a checked configuration to stages: one enricher per processor, one stage per pipeline.

use std::sync::Arc;

use tokio::time::Instant;

use super::cluster::{Cluster, Nothing};
use super::config::{self, Config};
use super::counters::Counters;
use super::enrich::{Enricher, Mode};
use super::explain;
use super::first_data::FirstData;
use super::hold::Hold;
use super::late::Late;
use super::peers::Peers;
use super::stage::Stage;
use super::steady::Steady;
use super::watched;
use crate::core::component::{Component, Task};
use crate::core::consumer::Next;
use crate::core::error::StartError;
use crate::core::factory::{About, Alias, CheckContext, ProcessorFactory, ProcessorPlan, Stage as Built, StageContext};
use crate::core::node::Node;
use crate::core::payload::Signal;
use crate::core::stats::{Flow, Metric};
use crate::kube::hub::Hub;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "k8s_attributes",
        aliases: &[Alias { name: "k8sattributes", note: "renamed in v0.147" }],
        signals: &Signal::ALL,
        summary: "finds the pod and the run of the container that made a resource, and writes their attributes",
        example: include_str!("example.yaml"),
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    config::check(cx, node).map(|config| Box::new(Plan { config }) as Box<dyn ProcessorPlan>)
}

struct Plan {
    config: Config,
}

/// What all pipelines of one processor share.
struct Shared {
    enricher: Arc<Enricher>,
    hub: Option<Arc<Hub>>,
    hold: Arc<Hold>,
    steady: Arc<Steady>,
}

impl Plan {
    fn shared(&self, cx: &StageContext) -> Arc<Shared> {
        let host = &cx.build.host;
        host.shared(&format!("k8s_attributes {}", cx.build.path), || {
            let hub = (!self.config.passthrough).then(|| Hub::of(host, watched::spec(&self.config)));
            let cluster: Arc<dyn Cluster> = match &hub {
                Some(hub) => hub.clone(),
                None => Arc::new(Nothing::default()),
            };
            let processor = cx.build.id.to_string();
            let counters = Counters::new(&host.stats, &processor, &self.config.rules);
            let enricher = Arc::new(Enricher::new(self.config.clone(), cluster, counters));
            let hold = Hold::new(self.config.own.hold);
            let waiting = hold.clone();
            host.stats.read(
                "podgate_k8s_held_bytes",
                "Bytes of resources that wait for the status of a new run.",
                &[("processor", &processor)],
                Metric::ReadGauge(Arc::new(move || waiting.used() as f64)),
            );
            explain::offer(host, &processor, &enricher);
            if hub.is_some() {
                // The first processor that knows pods tells of them; a second one knows the same.
                let _ = host.peer_identity.set(Arc::new(Peers { enricher: enricher.clone() }));
            }
            let steady = Arc::new(Steady::new(enricher.freshness));
            Arc::new(Shared { enricher, hub, hold, steady })
        })
    }
}

impl ProcessorPlan for Plan {
    fn build(&self, cx: StageContext, next: Next) -> Built {
        let shared = self.shared(&cx);
        let late = cx.bound_late && cx.signal == Signal::Traces && !self.config.passthrough;
        if late {
            let binding = Late { enricher: shared.enricher.clone(), steady: shared.steady.clone() };
            // A second processor of this kind in one pipeline leaves the slot to the first.
            let _ = cx.late_binding.set(Arc::new(binding));
        }
        let host = &cx.build.host;
        let stage = Stage {
            enricher: shared.enricher.clone(),
            next,
            flow: Flow::of(&host.stats, &cx.build.id.to_string(), cx.signal),
            mode: if late { Mode::PodOnly } else { Mode::Full },
            hold: shared.hold.clone(),
            steady: shared.steady.clone(),
            first_data: FirstData::new(cx.pipeline.clone(), cx.exporters.join(",")),
            balance: host.balance.clone(),
        };
        Built::Consumer { consumer: Arc::new(stage), component: Some(Arc::new(Running { shared })) }
    }
}

struct Running {
    shared: Arc<Shared>,
}

impl Component for Running {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async {
            let Some(hub) = &self.shared.hub else { return Ok(()) };
            hub.start();
            if let Some(wait) = self.shared.enricher.config.wait_for_metadata
                && !hub.wait_synced(Instant::now() + wait).await
            {
                // The Collector exits here; a slow API server is no reason to lose what applications send.
                tracing::warn!(waited = ?wait, "no pod list yet; serving without it");
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.shared.hold.drain();
            if let Some(hub) = &self.shared.hub {
                hub.drain(deadline).await;
            }
        })
    }
}
