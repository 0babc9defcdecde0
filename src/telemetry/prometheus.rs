//! The Prometheus text form of all series, in the Collector's spellings so that its dashboards keep working.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::core::report::labels;
use crate::core::report::stats::{Metric, Series, Stats};

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

/// Text exposition format 0.0.4. Whatever names come in, a parser reads the page: labels are made valid, of two that
/// become one the first stays, a name has one type and stands in one place.
pub fn render(stats: &Stats, spelling: &Spelling) -> String {
    let mut text = String::with_capacity(16 << 10);
    if !spelling.resource.is_empty() {
        text.push_str("# HELP target_info Target metadata\n# TYPE target_info gauge\n");
        let labels = spelling.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        line(&mut text, "target_info", labels, None, 1.0);
    }
    for (name, family) in families(stats, spelling) {
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {}", escaped_help(family.help), family.kind);
        family.series.iter().for_each(|series| sample(&mut text, &name, series));
    }
    text
}

/// All series of one name.
struct Family {
    help: &'static str,
    kind: &'static str,
    series: Vec<Series>,
}

/// Without their units two names may be one. Series of the first one's type join it, where none has their labels yet;
/// the others keep the name with its unit.
fn families(stats: &Stats, spelling: &Spelling) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for series in stats.all() {
        let kind = type_of(&series.metric);
        let fits = |name: &String| {
            families.get(name).is_none_or(|family| {
                family.kind == kind && family.series.iter().all(|other| other.labels != series.labels)
            })
        };
        let whole = Spelling { without_units: false, ..Spelling::default() };
        let names = [spelled(&series, spelling), spelled(&series, &whole)];
        let Some(name) = names.into_iter().find(fits) else { continue };
        let family = families.entry(name).or_insert_with(|| Family { help: series.help, kind, series: Vec::new() });
        family.series.push(series);
    }
    families
}

fn escaped_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
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
    let mut seen: Vec<String> = Vec::new();
    for (key, value) in labels {
        let key = labels::name(key);
        // The first one wins; the check of the configuration has said so.
        if seen.contains(&key) || (bound.is_some() && key == "le") {
            continue;
        }
        label(text, &mut open, &key, value);
        seen.push(key);
    }
    if let Some(bound) = bound {
        label(text, &mut open, "le", bound);
    }
    if open {
        text.push('}');
    }
    let _ = match value {
        value if value.is_nan() => writeln!(text, " NaN"),
        value if value.is_infinite() => writeln!(text, " {}Inf", if value > 0.0 { '+' } else { '-' }),
        value => writeln!(text, " {value}"),
    };
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

    /// Reads a page as strictly as Prometheus does: every line, names, labels once each, families in one place.
    fn parse(page: &str) -> Result<usize, String> {
        let is_name = |name: &str, colon: bool| {
            let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colon && c == ':');
            name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        };
        let (mut families, mut samples) = (Vec::<(String, String)>::new(), std::collections::BTreeSet::new());
        for line in page.lines() {
            let fault = |why: &str| Err(format!("{why}: {line}"));
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else { return fault("no type") };
                if !is_name(name, true) || families.iter().any(|(other, _)| other == name) {
                    return fault("a family twice or without a name");
                }
                families.push((name.to_owned(), kind.to_owned()));
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let family = families.last().cloned().unwrap_or_default();
            let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", family.0));
            if !(name == family.0 || (family.1 == "histogram" && parts.contains(&name.to_owned()))) {
                return fault("a sample outside of its family");
            }
            let (labels, value) = read_labels(rest).ok_or_else(|| format!("labels: {line}"))?;
            let mut names: Vec<&String> = labels.iter().map(|(name, _)| name).collect();
            names.sort();
            names.dedup();
            if names.len() != labels.len() || !names.iter().all(|name| is_name(name, false)) {
                return fault("a label twice, or no name");
            }
            let number = value.strip_prefix(' ').unwrap_or_default();
            if !(matches!(number, "NaN" | "+Inf" | "-Inf") || number.parse::<f64>().is_ok_and(f64::is_finite)) {
                return fault("no value");
            }
            if !samples.insert((name.to_owned(), labels)) {
                return fault("a sample twice");
            }
        }
        Ok(samples.len())
    }

    type Labels = Vec<(String, String)>;

    fn read_labels(rest: &str) -> Option<(Labels, &str)> {
        let Some(mut rest) = rest.strip_prefix('{') else { return Some((Vec::new(), rest)) };
        let mut labels = Vec::new();
        loop {
            let (name, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut letters = after.char_indices();
            let end = loop {
                match letters.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(match letters.next()?.1 {
                        'n' => '\n',
                        other @ ('"' | '\\') => other,
                        _ => return None,
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            labels.push((name.to_owned(), value));
            rest = &after[end..];
            if let Some(end) = rest.strip_prefix('}') {
                return Some((labels, end));
            }
            rest = rest.strip_prefix(',')?;
        }
    }

    #[test]
    fn no_resource_and_no_names_make_a_page_that_a_parser_rejects() {
        let told = [("service.name", "a"), ("service_name", "b"), ("3scale.id", "c")];
        let resource = told.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let page = render(&Stats::default(), &Spelling { resource, ..Spelling::default() });
        assert!(page.ends_with("target_info{service_name=\"a\",key_3scale_id=\"c\"} 1\n"), "{page}");
        let pieces = ["a", "_", ".", "9", "-", "", "\"", "\\", "\n", "\u{e9}", "le", "__", "{", "=", ",", " "];
        for seed in 0..3_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut text = |most: usize| -> String {
                (0..rng.usize(0..most)).map(|_| pieces[rng.usize(0..pieces.len())]).collect()
            };
            let resource: Vec<(String, String)> = (0..6).map(|_| (text(4), text(6))).collect();
            let stats = Stats::default();
            for name in ["podgate_x_bytes", "podgate_x_seconds", "podgate_x", "podgate_x_total"] {
                stats.gauge(name, "Help with a \\ and\na line.", &[("exporter", &text(6))]).set(1);
                stats.counter(name.trim_end_matches("_total"), "Help.", &[("receiver", &text(6))]).add(1);
            }
            stats.histogram("podgate_h_milliseconds", "H.", &[("le", "1")], &[1, 10]).record(4);
            let nan = Metric::ReadGauge(std::sync::Arc::new(|| f64::NAN));
            stats.read("podgate_nan", "N.", &[], nan);
            for (without_units, without_type_suffix) in [(false, false), (true, false), (true, true)] {
                let spelling = Spelling { without_type_suffix, without_units, resource: resource.clone() };
                let page = render(&stats, &spelling);
                let read = parse(&page);
                assert!(read.as_ref().is_ok_and(|samples| *samples > 8), "seed {seed}: {read:?}\n{page}");
            }
        }
    }
}
