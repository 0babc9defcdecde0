//! The Prometheus text form of all series, in the Collector's spellings so that its dashboards keep working.

use std::fmt::Write;

use crate::core::stats::{Metric, Series, Stats};

/// `service.telemetry.metrics.readers[].pull.exporter.prometheus` in what concerns names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    /// Counters without `_total`.
    pub without_type_suffix: bool,
    /// Names without a unit such as `_bytes` or `_seconds` at the end.
    pub without_units: bool,
    /// Attributes of the resource, shown as `target_info`.
    pub resource: Vec<(String, String)>,
}

const UNITS: [&str; 4] = ["_bytes", "_seconds", "_milliseconds", "_ratio"];

/// Text exposition format 0.0.4.
pub fn render(stats: &Stats, spelling: &Spelling) -> String {
    let mut text = String::with_capacity(16 << 10);
    if !spelling.resource.is_empty() {
        text.push_str("# HELP target_info Target metadata\n# TYPE target_info gauge\n");
        let labels: Vec<(String, &str)> =
            spelling.resource.iter().map(|(key, value)| (sanitize(key), value.as_str())).collect();
        line(&mut text, "target_info", labels.iter().map(|(key, value)| (key.as_str(), *value)), None, 1.0);
    }
    let mut last = String::new();
    for series in stats.all() {
        let name = spelled(&series, spelling);
        if name != last {
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", series.help, type_of(&series.metric));
            last.clone_from(&name);
        }
        sample(&mut text, &name, &series);
    }
    text
}

fn type_of(metric: &Metric) -> &'static str {
    match metric {
        Metric::Counter(_) | Metric::ReadCounter(_) => "counter",
        Metric::Gauge(_) | Metric::ReadGauge(_) => "gauge",
        Metric::Histogram(_) => "histogram",
    }
}

fn spelled(series: &Series, spelling: &Spelling) -> String {
    let mut name = series.name.clone();
    if spelling.without_units
        && let Some(unit) = UNITS.into_iter().find(|unit| name.ends_with(unit))
    {
        name.truncate(name.len() - unit.len());
    }
    let counts = matches!(series.metric, Metric::Counter(_) | Metric::ReadCounter(_));
    if counts && !spelling.without_type_suffix {
        name.push_str("_total");
    }
    name
}

fn sample(text: &mut String, name: &str, series: &Series) {
    let labels = || series.labels.iter().map(|(key, value)| (*key, value.as_str()));
    match &series.metric {
        Metric::Counter(counter) => line(text, name, labels(), None, counter.get() as f64),
        Metric::Gauge(gauge) => line(text, name, labels(), None, gauge.get() as f64),
        Metric::ReadCounter(read) | Metric::ReadGauge(read) => line(text, name, labels(), None, read()),
        Metric::Histogram(histogram) => {
            let (buckets, sum) = histogram.snapshot();
            let mut cumulative = 0;
            for (at, count) in buckets.iter().enumerate() {
                cumulative += count;
                let bound = histogram.bounds().get(at).map_or("+Inf".to_owned(), u64::to_string);
                line(text, &format!("{name}_bucket"), labels(), Some(&bound), cumulative as f64);
            }
            line(text, &format!("{name}_sum"), labels(), None, sum as f64);
            line(text, &format!("{name}_count"), labels(), None, cumulative as f64);
        }
    }
}

fn line<'a>(
    text: &mut String,
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    bound: Option<&str>,
    value: f64,
) {
    text.push_str(name);
    let mut open = false;
    for (key, value) in labels {
        label(text, &mut open, key, value);
    }
    if let Some(bound) = bound {
        label(text, &mut open, "le", bound);
    }
    if open {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

fn label(text: &mut String, open: &mut bool, key: &str, value: &str) {
    text.push(if *open { ',' } else { '{' });
    *open = true;
    text.push_str(key);
    text.push_str("=\"");
    escape(text, value);
    text.push('"');
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

fn sanitize(key: &str) -> String {
    key.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_gauges_and_histograms_render_as_prometheus_reads_them() {
        let stats = Stats::default();
        stats
            .counter(
                "otelcol_receiver_accepted_spans",
                "Spans accepted.",
                &[("receiver", "otlp"), ("transport", "grpc")],
            )
            .add(3);
        stats.gauge("otelcol_exporter_queue_size", "Queued.", &[("exporter", "a\"b\\c")]).set(-2);
        stats.histogram("latency_milliseconds", "Latency.", &[], &[1, 10]).record(4);
        let text = render(&stats, &Spelling::default());
        for expected in [
            "# TYPE otelcol_receiver_accepted_spans_total counter\n",
            "otelcol_receiver_accepted_spans_total{receiver=\"otlp\",transport=\"grpc\"} 3\n",
            "otelcol_exporter_queue_size{exporter=\"a\\\"b\\\\c\"} -2\n",
            "latency_milliseconds_bucket{le=\"1\"} 0\n",
            "latency_milliseconds_bucket{le=\"10\"} 1\n",
            "latency_milliseconds_bucket{le=\"+Inf\"} 1\n",
            "latency_milliseconds_sum 4\n",
        ] {
            assert!(text.contains(expected), "{expected} not in:\n{text}");
        }
    }

    #[test]
    fn the_collectors_suffix_switches_change_names_only() {
        let stats = Stats::default();
        stats.counter("otelcol_process_cpu_seconds", "CPU.", &[]).add(1);
        let spelling = Spelling { without_type_suffix: true, without_units: true, ..Spelling::default() };
        assert!(render(&stats, &spelling).contains("\notelcol_process_cpu 1\n"));
    }
}
