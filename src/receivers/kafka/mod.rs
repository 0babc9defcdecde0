//! The `kafka` receiver: reads OTLP from the topics of a Kafka cluster as a member of a consumer group.
//!
//! The offset of a record is committed when all of its items have their end (delivered, sampled out, dropped with a reason)
//! and everything below it as well. So the topic is the log of the pipeline behind: what a crash or a stop cuts off is read
//! again, by whoever has the partition then. docs/kafka.md says what that promises.
//!
//! ```yaml
//! kafka:
//!   brokers: [kafka-0:9092, kafka-1:9092]
//!   group_id: podgate-samplers
//!   initial_offset: earliest
//!   traces: {topics: [otlp_spans], encoding: otlp_proto}
//! ```

mod away;
mod config;
mod group;
mod headers;
mod lane;
mod metrics;
mod mixed;
mod reader;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ReceiverFactory, ReceiverPlan};
use crate::core::stage::joint::Outputs;
use crate::kafka::probe::TopicProbe;
use crate::net::server::admission::report::Throttle;
use crate::receivers::kafka::config::ReceiverSettings;
use crate::receivers::kafka::group::held::HeldPartitions;
use crate::receivers::kafka::lane::LaneContext;
use crate::receivers::kafka::metrics::ReceiverCounts;
use crate::receivers::kafka::reader::KafkaReader;

/// What a lane has in hand may be taken for so long once the receiver drains.
const LANES_MAX: Duration = Duration::from_secs(3);
/// After the last deadline: the last commit, and leaving the group.
const FAREWELL: Duration = Duration::from_secs(3);

pub const FACTORY: ReceiverFactory = ReceiverFactory {
    about: About {
        name: "kafka",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "reads OTLP from topics of Kafka as a member of a consumer group; commits what has settled",
        example: "brokers: [kafka:9092]\ngroup_id: podgate\ninitial_offset: earliest\ntraces: {topics: [otlp_spans]}\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ReceiverPlan>> {
    config::check(cx, node).map(|settings| Box::new(Plan { settings }) as Box<dyn ReceiverPlan>)
}

struct Plan {
    settings: ReceiverSettings,
}

impl ReceiverPlan for Plan {
    fn probe(&self, signals: &[Signal]) -> Option<Box<dyn Probe>> {
        let named = |signal: &Signal| {
            let names = self.settings.topics[signal.index()].names.iter();
            names.map(|name| (name.clone(), *signal)).collect::<Vec<_>>()
        };
        Some(Box::new(TopicProbe::new(&self.settings.cluster, signals.iter().flat_map(named))))
    }

    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component> {
        let (stop, stopped) = watch::channel(None);
        let (last, _) = watch::channel(false);
        let counts = ReceiverCounts::new(&cx.host.stats, &cx.id.to_string());
        let lanes = Arc::new(LaneContext {
            path: cx.path.clone(),
            settings: self.settings.clone(),
            outputs,
            host: cx.host.clone(),
            counts,
            stop: stopped,
            unreadable_line: Throttle::default(),
        });
        let held = HeldPartitions::new(lanes.clone());
        let farewell = Arc::new(Farewell { last, reading: Mutex::default() });
        Arc::new(KafkaReceiver { cx, lanes, held, stop, farewell })
    }
}

/// The receiver between start and drain.
struct KafkaReceiver {
    cx: BuildContext,
    lanes: Arc<LaneContext>,
    held: Arc<HeldPartitions>,
    stop: watch::Sender<Option<Instant>>,
    farewell: Arc<Farewell>,
}

impl Component for KafkaReceiver {
    /// The cluster need not be there yet: it is looked for until it is.
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let reader = KafkaReader {
            cx: self.lanes.clone(),
            held: self.held.clone(),
            status: self.cx.host.status.teller(&self.cx.path),
            last: self.farewell.last.subscribe(),
            failing: None,
        };
        reader.status.tell(State::Ok, "");
        let reading = self.cx.host.tasks.spawn(&self.cx.path, |pulse| reader.run(pulse));
        *self.farewell.reading.locked() = Some(reading);
        let farewell: Arc<dyn Component> = self.farewell.clone();
        self.cx.host.last.add(&farewell);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Nothing is read any more. What is on its way settles while the stages behind drain, and is committed until then.
    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            self.held.stop();
            self.held.idle(deadline.min(Instant::now() + LANES_MAX)).await;
            self.cx.host.status.set(&self.cx.path, State::Stopped, "");
        })
    }
}

/// The reading task's last words, when everything behind the receiver has drained.
struct Farewell {
    last: watch::Sender<bool>,
    // Locked at start and at the end.
    reading: Mutex<Option<JoinHandle<()>>>,
}

impl Component for Farewell {
    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.last.send_replace(true);
            let reading = self.reading.locked().take();
            let Some(mut reading) = reading else { return };
            if timeout_at(deadline.max(Instant::now()) + FAREWELL, &mut reading).await.is_err() {
                reading.abort();
            }
        })
    }
}
