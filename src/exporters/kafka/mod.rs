//! The `kafka` exporter: OTLP as records of a topic, each with a key of its own where the spans of a trace, or what a
//! resource says, shall meet in one partition.
//!
//! A record's fate is its own: what the brokers refuse for good ends with its reason, what may pass later is tried again
//! alone, and everything else is delivered. Keys are the Collector's, and so are the bytes of a trace's key.
//!
//! ```yaml
//! kafka:
//!   brokers: [kafka-0:9092, kafka-1:9092]
//!   partition_traces_by_id: true
//!   producer: {required_acks: all, compression: zstd}
//! ```

mod config;
mod delivery;
mod records;
mod topics;

use std::sync::Arc;

use crate::core::data::payload::Signal;
use crate::core::stage::auth::Authenticators;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::factory::{About, BuildContext, DataEnd, Exporter, ExporterFactory, ExporterPlan};
use crate::exporters::kafka::config::ExporterSettings;
use crate::exporters::kafka::delivery::RecordDelivery;
use crate::kafka::probe::TopicProbe;
use crate::sending::Sending;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "kafka",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "writes OTLP to topics of Kafka, all spans of a trace to one partition",
        example: "brokers: [kafka:9092]\npartition_traces_by_id: true\nproducer: {required_acks: all}\n",
    },
    check: |cx, node| config::check(cx, node).map(|settings| Box::new(Plan { settings }) as Box<dyn ExporterPlan>),
    end: DataEnd::Delivered,
};

struct Plan {
    settings: ExporterSettings,
}

impl ExporterPlan for Plan {
    fn merges_by(&self) -> Option<&[String]> {
        self.settings.sending.merges_by()
    }

    fn probe(&self, signals: &[Signal], _: &Authenticators) -> Option<Box<dyn Probe>> {
        let topic = |signal: &Signal| (self.settings.rules.topics[signal.index()].to_string(), *signal);
        Some(Box::new(TopicProbe::new(&self.settings.cluster, signals.iter().map(topic))))
    }

    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        let delivery = RecordDelivery::new(self.settings.clone(), &cx);
        Arc::new(Sending::over(&cx.id, cx.host, self.settings.sending.queue.clone(), Box::new(delivery)))
    }
}
