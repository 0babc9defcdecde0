//! OTLP/JSON in and out, and texts that no encoder would write.

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::otlp::json::line::JsonLine;
use podgate::otlp::{envelope, json};

use crate::generate::{Generator, every_field};
use crate::measure::check;

fn line(signal: Signal, body: &[u8]) -> Vec<u8> {
    let mut line = JsonLine::behind(Vec::new());
    if let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) {
        json::readable_from_wire(signal, &envelope, &mut line);
    }
    line.into_text()
}

fn all() -> Vec<Generator> {
    [Signal::Traces, Signal::Logs, Signal::Metrics, Signal::Profiles].into_iter().flat_map(every_field).collect()
}

#[test]
fn a_request_is_written_as_json_in_linear_work() {
    check("JSON out", &all(), &|generator, body| line(generator.signal, body).len());
}

#[test]
fn a_request_is_read_from_json_in_linear_work() {
    check("JSON out and in", &all(), &|generator, body| {
        let line = line(generator.signal, body);
        line.len() + json::to_wire(generator.signal, &line).map_or(0, |wire| wire.len())
    });
}

/// Head, what is repeated, tail.
const TEXTS: &[(&str, &str, &str, &str)] = &[
    ("empty groups", "{\"resourceSpans\":[{}", ",{}", "]}"),
    ("nulls", "{\"resourceSpans\":[null", ",null", "]}"),
    ("repeated keys", "{\"resourceSpans\":[{\"schemaUrl\":\"\"", ",\"schemaUrl\":\"x\"", "}]}"),
    ("repeated lists", "{\"resourceSpans\":[]", ",\"resourceSpans\":[]", "}"),
    ("unknown keys", "{\"a\":1", ",\"a\":1", "}"),
    ("long keys with underscores", "{\"a\":1", ",\"resource_spans_x_y_z\":1", "}"),
    ("one long key", "{\"a", "_a", "\":1}"),
    ("blanks", "{", " ", "}"),
    ("line feeds and then a fault", "{", "\n", "?"),
    ("unknown depth", "{\"a\":", "[", ""),
    ("escapes", "{\"resourceSpans\":[{\"schemaUrl\":\"", "\\u00e9", "\"}]}"),
    ("backslashes", "{\"resourceSpans\":[{\"schemaUrl\":\"", "\\\\", "\"}]}"),
    ("a text that does not end", "{\"resourceSpans\":[{\"schemaUrl\":\"", "x", ""),
    ("digits", "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":1", "0", "}]}]}]}"),
    ("digits of an exponent", "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"kind\":1e", "9", "}]}]}]}"),
    ("empty spans", "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{}", ",{}", "]}]}]}"),
    (
        "deep values",
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"value\":",
        "{\"arrayValue\":{\"values\":[",
        "",
    ),
    (
        "deep maps",
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"value\":",
        "{\"kvlistValue\":{\"values\":[{\"value\":",
        "",
    ),
];

#[test]
fn texts_that_no_encoder_writes_are_read_or_refused_in_linear_work() {
    let texts = TEXTS.iter().map(|(name, head, middle, tail)| {
        Generator::of(name, |size| {
            [head.as_bytes(), &middle.as_bytes().repeat(size / middle.len()), tail.as_bytes()].concat()
        })
    });
    check("JSON in", &texts.collect::<Vec<_>>(), &|_, text| {
        json::to_wire(Signal::Traces, text).map_or(0, |wire| wire.len())
    });
}
