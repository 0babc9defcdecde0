//! From a checked configuration to stages: one enricher per processor, one stage per pipeline.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Nothing};
use super::config::{self, Config};
use super::enrich::Enricher;
use super::hold::Hold;
use super::late::Binder;
use super::peers::Peers;
use super::stage::EnrichStage;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::limits::DRAIN_DEADLINE;
use crate::core::lock::Locked;
use crate::core::node::{Node, Place};
use crate::core::report::stats::{Flow, Metric};
use crate::core::stage::commands::access::Access;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{
    About, Alias, CheckContext, ProcessorFactory, ProcessorPlan, Stage as Built, StageContext,
};
use crate::core::stage::tasks::Tasks;
use crate::kube::hub::Hub;
use crate::kube::probe::ApiServer;
use crate::processors::k8s_attributes::hub_cluster;
use crate::processors::k8s_attributes::pod::announce;
use crate::processors::k8s_attributes::report::explain;
use crate::processors::k8s_attributes::report::first_data::FirstResources;
use crate::processors::k8s_attributes::report::metrics::Counters;
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::moment::WriteMode;

/// Past what a sampler waits a watch that has left the flow stays for so long at most.
const STAYS_LONGER: Duration = Duration::from_secs(60);
/// Watches that stay at a time; the next one ends at once.
const STAYING_MAX: usize = 4;
/// How often it is looked whether anything waits for such a watch.
const STAYING_STEP: Duration = Duration::from_millis(50);

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
    steady: Arc<ClockSteps>,
    announcing: Announcing,
    /// Every pipeline starts the processor; its task is started once.
    announced: AtomicBool,
    /// Pipelines in which it runs; the last that leaves ends it.
    pipelines: AtomicUsize,
    /// Of each pipeline in which runs are bound at a decision; whatever waits for its decision holds one.
    // Locked when a pipeline is built and at the end.
    binders: Mutex<Vec<Weak<Binder>>>,
    /// Watches of the process that stay though their processors have left.
    staying: Arc<AtomicUsize>,
    /// The processor's id.
    name: String,
}

/// The task that works out the attributes of announced pods.
struct Announcing {
    tasks: Arc<Tasks>,
    stop: watch::Sender<bool>,
}

impl Shared {
    fn announce(&self) {
        if !self.enricher.config.borrows() {
            return;
        }
        let name = format!("{}/announce", self.name);
        let stop = self.announcing.stop.subscribe();
        // It ends with the stop; nobody waits for it.
        drop(self.announcing.tasks.spawn(&name, |pulse| announce::run(self.enricher.clone(), stop, pulse)));
    }

    fn binder(&self) -> Arc<Binder> {
        let binder = Arc::new(Binder { enricher: self.enricher.clone(), steady: self.steady.clone() });
        self.binders.locked().push(Arc::downgrade(&binder)); // granted: one for each pipeline
        binder
    }

    /// Leaves the watch: at once, or when no trace waits for what it will tell any more. After a reload they wait in a
    /// sampler that goes on.
    async fn leave(&self, hub: &Arc<Hub>, deadline: Instant) {
        let binders = std::mem::take(&mut *self.binders.locked());
        let waits = binders.iter().any(|binder| binder.strong_count() > 1);
        let one_more = |staying| (staying < STAYING_MAX).then_some(staying + 1);
        if !waits || self.staying.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return hub.leave(deadline).await;
        }
        let (hub, staying) = (hub.clone(), self.staying.clone());
        let until = Instant::now() + hub.remembers() + STAYS_LONGER;
        drop(self.announcing.tasks.spawn_idle(&format!("{}/leave", self.name), async move {
            while binders.iter().any(|binder| binder.strong_count() > 0) && Instant::now() < until {
                sleep(STAYING_STEP).await;
            }
            hub.leave(Instant::now() + DRAIN_DEADLINE).await;
            staying.fetch_sub(1, Ordering::Relaxed);
        }));
    }
}

impl Plan {
    fn shared(&self, cx: &StageContext) -> Arc<Shared> {
        let host = &cx.build.host;
        host.shared(&format!("k8s_attributes {}", cx.build.path), || {
            let hub = (!self.config.passthrough).then(|| Hub::of(host, hub_cluster::spec(&self.config)));
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
                host.peer_identity.offer(&cx.build.path, Arc::new(Peers { enricher: enricher.clone() }));
            }
            let steady = Arc::new(ClockSteps::new(enricher.freshness));
            let announcing = Announcing { tasks: host.tasks.clone(), stop: watch::Sender::new(false) };
            Arc::new(Shared {
                enricher,
                hub,
                hold,
                steady,
                announcing,
                announced: AtomicBool::default(),
                pipelines: AtomicUsize::default(),
                binders: Mutex::default(),
                staying: host.shared("kubernetes hubs that stay", Arc::default),
                name: processor,
            })
        })
    }
}

impl ProcessorPlan for Plan {
    fn needs_senders(&self) -> Option<&'static str> {
        Some("rules with `from: connection` find nothing, and runs are told apart with less evidence")
    }

    fn access(&self) -> Vec<Access> {
        self.config.rights()
    }

    fn probe(&self) -> Option<Box<dyn Probe>> {
        let access = self.access();
        let auth = hub_cluster::spec(&self.config).auth;
        (!access.is_empty()).then(|| Box::new(ApiServer::new(auth, access)) as Box<dyn Probe>)
    }

    fn build(&self, cx: StageContext, next: Next) -> Built {
        let shared = self.shared(&cx);
        if let Some(hub) = &shared.hub {
            hub.remember_for(self.config.remembers_for(cx.longest_wait));
        }
        let late = cx.bound_late && cx.signal == Signal::Traces && !self.config.passthrough;
        let host = &cx.build.host;
        let stage = EnrichStage {
            enricher: shared.enricher.clone(),
            next,
            flow: Flow::of(&host.stats, &cx.build.id.to_string(), cx.signal),
            mode: if late { WriteMode::PodOnly } else { WriteMode::Full },
            binder: late.then(|| shared.binder()),
            hold: shared.hold.clone(),
            steady: shared.steady.clone(),
            first_data: FirstResources::new(cx.pipeline.clone(), cx.exporters.join(",")),
        };
        Built::Consumer { consumer: Arc::new(stage), component: Some(Arc::new(Running::of(shared))) }
    }

    fn longest_wait(&self) -> Duration {
        self.config.own.hold
    }

    fn remembers_for(&self) -> Option<(Duration, Place)> {
        if self.config.passthrough { None } else { self.config.grace }
    }
}

struct Running {
    shared: Arc<Shared>,
    left: AtomicBool,
}

impl Running {
    fn of(shared: Arc<Shared>) -> Running {
        shared.pipelines.fetch_add(1, Ordering::Relaxed);
        Running { shared, left: AtomicBool::default() }
    }
}

impl Component for Running {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async {
            let Some(hub) = &self.shared.hub else { return Ok(()) };
            hub.start();
            if !self.shared.announced.swap(true, Ordering::Relaxed) {
                self.shared.announce();
            }
            if let Some(wait) = self.shared.enricher.config.wait_for_metadata
                && !hub.wait_synced(Instant::now() + wait).await
            {
                // The Collector exits here; a slow API server is no reason to lose what applications send.
                tracing::warn!(waited = ?wait, "the list of pods has not arrived; podgate serves without it");
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let others =
                self.left.swap(true, Ordering::Relaxed) || self.shared.pipelines.fetch_sub(1, Ordering::Relaxed) > 1;
            if others {
                return;
            }
            self.shared.hold.drain();
            self.shared.announcing.stop.send_replace(true);
            if let Some(hub) = &self.shared.hub {
                self.shared.leave(hub, deadline).await;
            }
        })
    }
}
