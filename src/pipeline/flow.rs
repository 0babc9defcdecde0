//! The page `/v1/flow`: the pipelines as a graph, each stage with what it counted so far.
//!
//! Knows the names of counters that every receiver, processor and exporter has, and no component. Who draws rates takes the
//! difference of two looks.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::data::payload::Signal;
use crate::core::report::routes::Page;
use crate::core::report::stats::{Metric, Series, Stats};
use crate::core::stage::component::ComponentId;
use crate::core::stage::host::Host;
use crate::pipeline::plan::Plan;

/// One pipeline with the ids of its stages.
struct Drawn {
    name: String,
    signal: Signal,
    receivers: Vec<String>,
    processors: Vec<String>,
    exporters: Vec<String>,
    /// Those of its ends that begin or end another pipeline.
    connectors: Vec<String>,
}

/// Adds the page for the pipelines of `plan`, in place of an earlier plan's.
pub fn register(plan: &Plan, host: &Arc<Host>) {
    let ids = |ids: &[ComponentId]| ids.iter().map(ComponentId::to_string).collect::<Vec<_>>();
    let drawn = plan.pipelines.iter().map(|pipeline| {
        let ends = pipeline.receivers.iter().chain(&pipeline.exporters);
        Drawn {
            name: pipeline.name.clone(),
            signal: pipeline.signal,
            receivers: ids(&pipeline.receivers),
            processors: ids(&pipeline.processors),
            exporters: ids(&pipeline.exporters),
            connectors: ends.filter(|id| plan.connectors.contains_key(*id)).map(ComponentId::to_string).collect(),
        }
    });
    let (drawn, stats) = (drawn.collect::<Vec<_>>(), host.stats.clone());
    let answer = move |_: &_| Page::ok(page(&drawn, &stats));
    host.routes.add("/v1/flow", "pipelines as a graph, each stage with what it counted", Arc::new(answer));
}

fn page(pipelines: &[Drawn], stats: &Stats) -> Value {
    let counted = Counted { all: stats.all() };
    json!({ "pipelines": pipelines.iter().map(|pipeline| counted.pipeline(pipeline)).collect::<Vec<_>>() })
}

struct Counted {
    all: Vec<Series>,
}

impl Counted {
    fn pipeline(&self, pipeline: &Drawn) -> Value {
        let signal = pipeline.signal;
        let of = |ids: &[String], stage: &dyn Fn(&str) -> Value| {
            let told = |id: &String| {
                let mut stage = stage(id);
                stage["id"] = id.as_str().into();
                stage["connects"] = pipeline.connectors.contains(id).into();
                stage
            };
            ids.iter().map(told).collect::<Vec<_>>()
        };
        json!({
            "name": pipeline.name,
            "signal": signal.name(),
            "receivers": of(&pipeline.receivers, &|id| self.receiver(id, signal)),
            "processors": of(&pipeline.processors, &|id| self.processor(id, signal)),
            "exporters": of(&pipeline.exporters, &|id| self.exporter(id, signal)),
        })
    }

    fn receiver(&self, id: &str, signal: Signal) -> Value {
        let count =
            |what: &str| self.sum(&format!("otelcol_receiver_{what}_{}", signal.items_name()), &[("receiver", id)]);
        json!({ "accepted": count("accepted"), "refused": count("refused"), "failed": count("failed") })
    }

    fn processor(&self, id: &str, signal: Signal) -> Value {
        let labels = [("processor", id), ("otel_signal", signal.name())];
        let count = |what: &str| self.sum(&format!("otelcol_processor_{what}_items"), &labels);
        json!({ "incoming": count("incoming"), "outgoing": count("outgoing") })
    }

    fn exporter(&self, id: &str, signal: Signal) -> Value {
        let count =
            |what: &str| self.sum(&format!("otelcol_exporter_{what}_{}", signal.items_name()), &[("exporter", id)]);
        let queue = |what: &str| {
            let labels = [("exporter", id), ("data_type", signal.name())];
            self.sum(&format!("otelcol_exporter_queue_{what}"), &labels)
        };
        json!({
            "sent": count("sent"),
            "send_failed": count("send_failed"),
            "queue_size": queue("size"),
            "queue_capacity": queue("capacity"),
        })
    }

    /// Of all series of this name with these labels, whatever others they have; `None` where nobody counts.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |series: &Series, (key, value): &(&str, &str)| {
            series.labels.iter().any(|(label, of)| label == key && of == value)
        };
        let mut fitting = self
            .all
            .iter()
            .filter(|series| series.name == name && labels.iter().all(|label| has(series, label)))
            .filter_map(value)
            .peekable();
        fitting.peek()?;
        Some(fitting.sum())
    }
}

fn value(series: &Series) -> Option<f64> {
    match &series.metric {
        Metric::Counter(counter) => Some(counter.get() as f64),
        Metric::Gauge(gauge) => Some(gauge.get() as f64),
        Metric::ReadCounter(read) | Metric::ReadGauge(read) => Some(read()),
        Metric::Histogram(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_stands_in_its_pipeline_with_its_own_counts_of_that_signal() {
        let stats = Stats::default();
        let add =
            |name: &str, labels: &[(&'static str, &str)], count| stats.counter(name, "Made here.", labels).add(count);
        for transport in ["grpc", "http"] {
            add("otelcol_receiver_accepted_spans", &[("receiver", "otlp"), ("transport", transport)], 5);
        }
        add("otelcol_receiver_accepted_spans", &[("receiver", "otlp/2"), ("transport", "grpc")], 100);
        add("otelcol_processor_incoming_items", &[("processor", "batch"), ("otel_signal", "traces")], 10);
        add("otelcol_processor_incoming_items", &[("processor", "batch"), ("otel_signal", "logs")], 77);
        add("otelcol_exporter_sent_spans", &[("exporter", "otlp_http")], 9);
        let strings = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let drawn = Drawn {
            name: "traces/a".to_owned(),
            signal: Signal::Traces,
            receivers: strings(&["otlp"]),
            processors: strings(&["batch"]),
            exporters: strings(&["otlp_http", "forward"]),
            connectors: strings(&["forward"]),
        };
        let page = page(&[drawn], &stats);
        let pipeline = &page["pipelines"][0];
        assert_eq!((&pipeline["name"], &pipeline["signal"]), (&json!("traces/a"), &json!("traces")));
        assert_eq!(pipeline["receivers"][0]["accepted"], 10.0);
        assert_eq!(pipeline["processors"][0]["incoming"], 10.0);
        assert_eq!(pipeline["processors"][0]["outgoing"], Value::Null, "nobody counts it");
        assert_eq!(pipeline["exporters"][0]["sent"], 9.0);
        assert_eq!(pipeline["exporters"][1]["connects"], true);
    }
}
