//! Metrics: counters and gauges are plain atomics held by whoever counts; the registry only lists them.
//!
//! Names and labels are the Collector's where it has one (`otelcol_...`), so that its dashboards work unchanged.
//! Rendering is telemetry's business. Label values come from configuration or a fixed vocabulary, never from data.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::core::lock::Locked;

/// Only ever grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of values up to each bound, with sum and count, as Prometheus wants them.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    buckets: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: &'static [u64]) -> Histogram {
        Histogram { bounds, buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds what was counted elsewhere: values per bucket, the last beyond all bounds, and their sum.
    pub fn merge(&self, counts: &[u64], sum: u64) {
        for (bucket, count) in self.buckets.iter().zip(counts).filter(|(_, count)| **count > 0) {
            bucket.fetch_add(*count, Ordering::Relaxed);
        }
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// Counts per bucket (not cumulative; the last is +Inf) and the sum of all values.
    pub fn snapshot(&self) -> (Vec<u64>, u64) {
        (self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(), self.sum.load(Ordering::Relaxed))
    }
}

/// HELP texts of the names that every exporter has: a name has one text on the metrics page, whoever is built first.
pub const SENT_HELP: &str = "Items that were delivered.";
pub const SEND_FAILED_HELP: &str = "Items that could not be delivered.";

/// One time series' value source. `Read*` are computed when scraped.
#[derive(Clone)]
pub enum Metric {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Histogram(Arc<Histogram>),
    ReadCounter(Arc<dyn Fn() -> f64 + Send + Sync>),
    ReadGauge(Arc<dyn Fn() -> f64 + Send + Sync>),
}

/// A metric with its name, help and labels.
#[derive(Clone)]
pub struct Series {
    pub name: String,
    pub help: &'static str,
    pub labels: Labels,
    pub metric: Metric,
}

type Labels = Vec<(&'static str, String)>;

/// All series at one moment, to go back to.
pub type StatsSnapshot = BTreeMap<(String, Labels), Series>;

/// The list of all series of one gateway.
#[derive(Default)]
pub struct Stats {
    // Keyed by name and labels; locked when a series is made (components make theirs when built) and when scraped.
    series: Mutex<StatsSnapshot>,
}

impl Stats {
    /// The counter of this name and label set; asking twice gives the same counter.
    pub fn counter(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Arc<Counter> {
        let made = Metric::Counter(Arc::default());
        match self.get_or_add(name, help, labels, made) {
            Metric::Counter(counter) => counter,
            _ => Arc::default(),
        }
    }

    pub fn gauge(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)]) -> Arc<Gauge> {
        match self.get_or_add(name, help, labels, Metric::Gauge(Arc::default())) {
            Metric::Gauge(gauge) => gauge,
            _ => Arc::default(),
        }
    }

    pub fn histogram(
        &self,
        name: &str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        bounds: &'static [u64],
    ) -> Arc<Histogram> {
        let made = Arc::new(Histogram::new(bounds));
        match self.get_or_add(name, help, labels, Metric::Histogram(made.clone())) {
            Metric::Histogram(histogram) => histogram,
            _ => made,
        }
    }

    /// A value read when scraped; the last who offers it is read, because the one before may be gone after a reload.
    pub fn read(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)], metric: Metric) {
        let labels: Labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let series = Series { name: name.to_owned(), help, labels: labels.clone(), metric };
        self.series.locked().insert((name.to_owned(), labels), series);
    }

    /// Leaves out every series that carries this label: whose it is has gone.
    pub fn forget(&self, key: &str, value: &str) {
        let carries = |labels: &Labels| labels.iter().any(|(label, of)| *label == key && of == value);
        self.series.locked().retain(|(_, labels), _| !carries(labels));
    }

    pub fn snapshot(&self) -> StatsSnapshot {
        self.series.locked().clone()
    }

    /// As it was when the snapshot was taken.
    pub fn restore(&self, snapshot: StatsSnapshot) {
        *self.series.locked() = snapshot;
    }

    fn get_or_add(&self, name: &str, help: &'static str, labels: &[(&'static str, &str)], metric: Metric) -> Metric {
        let labels: Labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let mut series = self.series.locked();
        let key = (name.to_owned(), labels.clone());
        series.entry(key).or_insert_with(|| Series { name: name.to_owned(), help, labels, metric }).metric.clone()
    }

    /// All series, ordered by name and labels.
    pub fn all(&self) -> Vec<Series> {
        self.series.locked().values().cloned().collect()
    }

    /// Sum of all counters of this name, for tests and reports.
    pub fn total(&self, name: &str) -> u64 {
        let all = self.all();
        all.iter()
            .filter(|series| series.name == name)
            .map(|series| match &series.metric {
                Metric::Counter(counter) => counter.get(),
                _ => 0,
            })
            .sum()
    }
}

/// `otelcol_processor_incoming_items` and `..._outgoing_items` of one processor in one pipeline.
#[derive(Clone)]
pub struct Flow {
    pub incoming: Arc<Counter>,
    pub outgoing: Arc<Counter>,
}

impl Flow {
    pub fn of(stats: &Stats, processor: &str, signal: crate::core::data::payload::Signal) -> Flow {
        let labels = [("processor", processor), ("otel_signal", signal.name())];
        Flow {
            incoming: stats.counter("otelcol_processor_incoming_items", "Items passed to the processor.", &labels),
            outgoing: stats.counter("otelcol_processor_outgoing_items", "Items emitted by the processor.", &labels),
        }
    }
}
