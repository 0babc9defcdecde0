//! Why a request holds nothing: another signal's message on this path, or names and numbers that OTLP has given up.
//!
//! Unknown fields must be passed over (OTLP specification, "JSON Protobuf Encoding"), so such a request is a success that
//! takes nothing; its sender ought to be told. Looked at only when a request held no item.

use crate::core::data::payload::Signal;
use crate::otlp::walk::{Field, Fields};

/// A key, the signal it belongs to (none: an old name), and what to say.
const KEYS: [(&str, Option<Signal>, &str); 15] = [
    ("resourceSpans", Some(Signal::Traces), "the request holds resourceSpans, which belong to the path of traces"),
    ("resource_spans", Some(Signal::Traces), "the request holds resource_spans, which belong to the path of traces"),
    (
        "resourceMetrics",
        Some(Signal::Metrics),
        "the request holds resourceMetrics, which belong to the path of metrics",
    ),
    (
        "resource_metrics",
        Some(Signal::Metrics),
        "the request holds resource_metrics, which belong to the path of metrics",
    ),
    ("resourceLogs", Some(Signal::Logs), "the request holds resourceLogs, which belong to the path of logs"),
    ("resource_logs", Some(Signal::Logs), "the request holds resource_logs, which belong to the path of logs"),
    (
        "resourceProfiles",
        Some(Signal::Profiles),
        "the request holds resourceProfiles, which belong to the path of profiles",
    ),
    (
        "instrumentationLibrarySpans",
        None,
        "instrumentationLibrarySpans is called scopeSpans since OTLP 0.19: update the SDK",
    ),
    (
        "instrumentationLibraryMetrics",
        None,
        "instrumentationLibraryMetrics is called scopeMetrics since OTLP 0.19: update the SDK",
    ),
    (
        "instrumentationLibraryLogs",
        None,
        "instrumentationLibraryLogs is called scopeLogs since OTLP 0.19: update the SDK",
    ),
    (
        "instrumentation_library_spans",
        None,
        "instrumentation_library_spans is called scopeSpans since OTLP 0.19: update the SDK",
    ),
    ("intGauge", None, "intGauge is a gauge whose points have asInt since OTLP 0.9: update the SDK"),
    ("intSum", None, "intSum is a sum whose points have asInt since OTLP 0.9: update the SDK"),
    ("intHistogram", None, "intHistogram is a histogram since OTLP 0.9: update the SDK"),
    ("doubleGauge", None, "doubleGauge is called gauge since OTLP 0.9: update the SDK"),
];

/// `ResourceSpans.instrumentation_library_spans` and its like of the other signals (opentelemetry-proto 0.15 to 0.19).
const OLD_SCOPES: u32 = 1000;
/// `Metric.int_gauge`, `int_sum` and `int_histogram` (until 0.9).
const OLD_METRICS: [u32; 3] = [4, 6, 8];

/// What a request of this signal, in which no item was found, seems to hold instead. One pass over the text.
pub fn hint(signal: Signal, text: &[u8]) -> Option<&'static str> {
    text.split(|byte| *byte == b'"').find_map(|word| {
        let known = KEYS.iter().find(|(key, of, _)| key.as_bytes() == word && *of != Some(signal));
        known.map(|(_, _, words)| *words)
    })
}

/// The same of a request in protobuf, whose fields have numbers for names. Another signal's message is not told from
/// these: its fields do not fit, so its items are malformed.
pub fn hint_of_wire(signal: Signal, body: &[u8]) -> Option<&'static str> {
    if within(Some(body), 1).flat_map(Fields::new).flatten().any(|field| field.number == OLD_SCOPES) {
        return Some(
            "the request holds scopes under field 1000, which is called instrumentation_library and is scope_* in field 2 since OTLP 0.19: update the SDK",
        );
    }
    let metrics = || within(within(within(Some(body), 1), 2), 2).flat_map(Fields::new).flatten();
    let old = |field: Field<'_>| OLD_METRICS.contains(&field.number);
    (signal == Signal::Metrics && metrics().any(old)).then_some(
        "the request holds metrics under fields 4, 6 or 8, which are int_gauge, int_sum and int_histogram and have no meaning since OTLP 0.9: update the SDK",
    )
}

/// The messages under this number of all these messages; of what cannot be walked, those before the fault.
fn within<'a>(messages: impl IntoIterator<Item = &'a [u8]>, number: u32) -> impl Iterator<Item = &'a [u8]> {
    let fields = messages.into_iter().flat_map(Fields::new).flatten().filter(move |field| field.number == number);
    fields.filter_map(|field| field.bytes().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::write;

    #[test]
    fn old_numbers_are_told_in_protobuf_and_nothing_else_is() {
        let nest = |path: &[u32]| {
            path.iter().rev().fold(b"x".to_vec(), |inner, number| {
                let mut outer = Vec::new();
                write::bytes(&mut outer, *number, &inner);
                outer
            })
        };
        for (signal, path, expected) in [
            (Signal::Traces, &[1, 1000, 2][..], Some("scope_*")),
            (Signal::Logs, &[1, 1000, 2], Some("scope_*")),
            (Signal::Metrics, &[1, 2, 2, 4], Some("int_gauge")),
            (Signal::Metrics, &[1, 2, 2, 6, 1], Some("int_gauge")),
            (Signal::Metrics, &[1, 2, 2, 5], None),
            (Signal::Traces, &[1, 2, 2, 4], None),
            (Signal::Traces, &[1, 1], None),
        ] {
            let found = hint_of_wire(signal, &nest(path));
            assert_eq!(found.is_some(), expected.is_some(), "{signal:?} {path:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
        assert_eq!(hint_of_wire(Signal::Traces, b""), None);
        assert_eq!(hint_of_wire(Signal::Traces, &[0x0a, 0x7f]), None);
    }

    #[test]
    fn another_signals_message_and_old_names_are_told_and_nothing_else_is() {
        for (signal, text, expected) in [
            (Signal::Logs, r#"{"resourceSpans":[{}]}"#, Some("the path of traces")),
            (Signal::Traces, r#"{"resourceSpans":[{}]}"#, None),
            (Signal::Traces, r#"{"resourceSpans":[{"instrumentationLibrarySpans":[]}]}"#, Some("scopeSpans")),
            (
                Signal::Metrics,
                r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"intGauge":{}}]}]}]}"#,
                Some("asInt"),
            ),
            (Signal::Metrics, "{}", None),
            (Signal::Metrics, "", None),
        ] {
            let found = hint(signal, text.as_bytes());
            assert_eq!(found.is_some(), expected.is_some(), "{text}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
    }
}
