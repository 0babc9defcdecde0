//! The Collector's exporter metrics (exporterhelper), made for a signal when its first payload comes.

use std::sync::{Arc, OnceLock};

use crate::core::data::payload::Signal;
use crate::core::report::stats::{Counter, Gauge, Histogram, SEND_FAILED_HELP, SENT_HELP, Stats};

/// Bounds of `queue_batch_send_size`, the Collector's.
const BATCH_BOUNDS: &[u64] = &[
    10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000, 10_000, 20_000,
    30_000, 50_000, 100_000,
];

/// One exporter's series of one signal.
pub struct SignalMeters {
    pub sent: Arc<Counter>,
    pub send_failed: Arc<Counter>,
    pub enqueue_failed: Arc<Counter>,
    pub queue_size: Arc<Gauge>,
    pub in_flight: Arc<Gauge>,
    pub batch_send_size: Arc<Histogram>,
}

/// One request in flight for as long as it lives.
pub struct InFlight(Arc<Gauge>);

impl InFlight {
    pub fn new(gauge: &Arc<Gauge>) -> InFlight {
        gauge.add(1);
        InFlight(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

pub struct ExporterMetrics {
    stats: Arc<Stats>,
    exporter: String,
    queue_capacity: Option<u64>,
    signals: [OnceLock<SignalMeters>; 4],
}

/// Attempts beyond the specification (APM Server's habits).
pub fn off_spec_retries(stats: &Stats, exporter: &str) -> Arc<Counter> {
    stats.counter(
        "podgate_exporter_off_spec_retries",
        "Requests sent again after an answer that the OTLP specification calls final.",
        &[("exporter", exporter)],
    )
}

impl ExporterMetrics {
    /// `exporter` is the component id. `queue_capacity` is `None` without a queue.
    pub fn new(stats: Arc<Stats>, exporter: &str, queue_capacity: Option<u64>) -> ExporterMetrics {
        ExporterMetrics { stats, exporter: exporter.to_owned(), queue_capacity, signals: Default::default() }
    }

    pub fn of(&self, signal: Signal) -> &SignalMeters {
        self.signals[signal.index()].get_or_init(|| self.make(signal))
    }

    fn make(&self, signal: Signal) -> SignalMeters {
        let labels = [("exporter", self.exporter.as_str())];
        let typed = [("data_type", signal.name()), ("exporter", self.exporter.as_str())];
        let counter = |what: &str, help| {
            self.stats.counter(&format!("otelcol_exporter_{what}_{}", signal.items_name()), help, &labels)
        };
        if let Some(capacity) = self.queue_capacity {
            let gauge = self.stats.gauge("otelcol_exporter_queue_capacity", "Capacity of the sending queue.", &typed);
            gauge.set(i64::try_from(capacity).unwrap_or(i64::MAX));
        }
        SignalMeters {
            sent: counter("sent", SENT_HELP),
            send_failed: counter("send_failed", SEND_FAILED_HELP),
            enqueue_failed: counter("enqueue_failed", "Items refused because the sending queue was full."),
            queue_size: self.stats.gauge("otelcol_exporter_queue_size", "Current size of the sending queue.", &typed),
            in_flight: self.stats.gauge(
                "otelcol_exporter_in_flight_requests",
                "Export requests in flight, waiting for a retry included.",
                &typed,
            ),
            batch_send_size: self.stats.histogram(
                "otelcol_exporter_queue_batch_send_size",
                "Items in a sent batch.",
                &typed,
                BATCH_BOUNDS,
            ),
        }
    }
}
