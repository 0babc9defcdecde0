//! Metrics of one receiver, under the Collector's names.

use std::sync::Arc;

use crate::core::data::origin::Transport;
use crate::core::data::payload::Signal;
use crate::core::report::stats::{Counter, Stats};

/// `otelcol_receiver_{accepted,refused,failed}_<items>` of one signal on one transport.
#[derive(Clone)]
pub struct ItemCounts {
    pub accepted: Arc<Counter>,
    /// Given back to the sender, retryably.
    pub refused: Arc<Counter>,
    /// Lost to a permanent error behind the receiver, or to a bug of ours.
    pub failed: Arc<Counter>,
}

pub struct ReceiverMetrics {
    items: Vec<ItemCounts>,
    requests: [Arc<Counter>; 2],
    without_ids: [Arc<Counter>; 2],
    panics: Arc<Counter>,
}

const TRANSPORTS: [Transport; 2] = [Transport::Grpc, Transport::Http];

fn index(transport: Transport) -> usize {
    usize::from(transport != Transport::Grpc)
}

impl ReceiverMetrics {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> ReceiverMetrics {
        let series = |transport: Transport, signal: Signal| {
            let labels = [("receiver", receiver), ("transport", transport.name())];
            let counter = |outcome: &str, help| {
                stats.counter(&format!("otelcol_receiver_{outcome}_{}", signal.items_name()), help, &labels)
            };
            ItemCounts {
                accepted: counter("accepted", "Items accepted from senders."),
                refused: counter("refused", "Items given back to senders, who may retry."),
                failed: counter("failed", "Items lost to a permanent error behind the receiver."),
            }
        };
        let items = TRANSPORTS.into_iter().flat_map(|transport| Signal::ALL.map(|signal| series(transport, signal)));
        let requests = TRANSPORTS.map(|transport| {
            let labels = [("receiver", receiver), ("transport", transport.name())];
            stats.counter("otelcol_receiver_requests", "Requests answered.", &labels)
        });
        let without_ids = TRANSPORTS.map(|transport| {
            let labels = [("receiver", receiver), ("transport", transport.name())];
            let help = "Log records, and metrics with exemplars, that were kept without a trace or span id that cannot be one.";
            stats.counter("podgate_receiver_items_without_ids", help, &labels)
        });
        ReceiverMetrics {
            items: items.collect(),
            requests,
            without_ids,
            panics: stats.counter(
                "podgate_receiver_panics",
                "Requests answered with an internal error; each is a bug.",
                &[("receiver", receiver)],
            ),
        }
    }

    pub fn items(&self, transport: Transport, signal: Signal) -> &ItemCounts {
        &self.items[index(transport) * Signal::ALL.len() + signal.index()]
    }

    pub fn request(&self, transport: Transport) {
        self.requests[index(transport)].add(1);
    }

    pub fn without_ids(&self, transport: Transport, items: u64) {
        self.without_ids[index(transport)].add(items);
    }

    pub fn panicked(&self) {
        self.panics.add(1);
    }
}
