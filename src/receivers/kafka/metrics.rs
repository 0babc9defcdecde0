//! Figures of one receiver: items under the Collector's names, records under ours.

use std::sync::Arc;

use crate::core::data::payload::Signal;
use crate::core::report::stats::{Counter, Gauge, Stats};

/// `otelcol_receiver_{accepted,refused,failed}_<items>` of one signal.
pub struct RecordItems {
    pub accepted: Arc<Counter>,
    /// By the pipeline, for now: they are tried again.
    pub refused: Arc<Counter>,
    pub failed: Arc<Counter>,
}

pub struct ReceiverCounts {
    items: [RecordItems; 4],
    pub records: Arc<Counter>,
    pub unreadable: Arc<Counter>,
    /// Looks at batches that cannot be decoded.
    pub undecodable: Arc<Counter>,
    /// Records that were cut off and are read again.
    pub again: Arc<Counter>,
    /// Records on their way whose partition went to another member.
    pub let_go: Arc<Counter>,
    pub commits: Arc<Counter>,
    pub panics: Arc<Counter>,
    pub partitions: Arc<Gauge>,
    pub paused: Arc<Gauge>,
    pub in_flight: Arc<Gauge>,
    pub lag: Arc<Gauge>,
}

impl ReceiverCounts {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> ReceiverCounts {
        let own = [("receiver", receiver)];
        let items = Signal::ALL.map(|signal| {
            let counter = |outcome: &str, help| {
                let labels = [("receiver", receiver), ("transport", "kafka")];
                stats.counter(&format!("otelcol_receiver_{outcome}_{}", signal.items_name()), help, &labels)
            };
            RecordItems {
                accepted: counter("accepted", "Items accepted from senders."),
                refused: counter("refused", "Items given back to senders, who may retry."),
                failed: counter("failed", "Items lost to a permanent error behind the receiver."),
            }
        });
        let counter = |name: &str, help| stats.counter(name, help, &own);
        let gauge = |name: &str, help| stats.gauge(name, help, &own);
        ReceiverCounts {
            items,
            records: counter("podgate_kafka_receiver_records", "Records that were read."),
            unreadable: counter("podgate_kafka_receiver_unreadable_records", "Records without any readable item."),
            undecodable: counter(
                "podgate_kafka_receiver_undecodable_batches",
                "Looks at batches of records that cannot be decoded; their partitions wait.",
            ),
            again: counter("podgate_kafka_receiver_records_again", "Records that were cut off and are read again."),
            let_go: counter(
                "podgate_kafka_receiver_records_let_go",
                "Records on their way when their partition went to another member, which reads them again.",
            ),
            commits: counter("podgate_kafka_receiver_commits", "Commits that the coordinator has taken."),
            panics: counter(
                "podgate_kafka_receiver_panics",
                "Records whose pipeline ended in an internal error; each is a bug.",
            ),
            partitions: gauge("podgate_kafka_receiver_partitions", "Partitions that this member has."),
            paused: gauge("podgate_kafka_receiver_paused_partitions", "Partitions that are not read for now."),
            in_flight: gauge("podgate_kafka_receiver_records_in_flight", "Records without an end."),
            lag: gauge("podgate_kafka_receiver_lag", "Records in the partitions that were not read yet."),
        }
    }

    pub fn items(&self, signal: Signal) -> &RecordItems {
        &self.items[signal.index()]
    }
}
