//! The getters that every component's check is written with: what they take, what they say, and that nothing is missed.

use std::time::Duration;

use podgate::config::check::Section;
use podgate::config::document;
use podgate::config::read::yaml;
use podgate::core::data::payload::Signal;
use podgate::core::diagnostic::Diagnostics;
use podgate::core::node::{Node, SourceId};
use podgate::core::stage::component::Kind;

fn tree(text: &str) -> Node {
    yaml::parse(text, SourceId(0), &Diagnostics::default()).expect("test YAML parses")
}

/// What `read` gives for `text`, and the findings as `code path: message (expected)`.
fn check<T>(text: &str, read: impl Fn(&Section<'_>) -> T) -> (T, Vec<String>) {
    let (tree, diagnostics) = (tree(text), Diagnostics::default());
    let section = Section::new(&tree, "x", &diagnostics);
    let value = read(&section);
    section.finish();
    let found = diagnostics.sorted().into_iter().map(|found| {
        let expected = found.expected.map_or_else(String::new, |expected| format!(" ({expected})"));
        format!("{} {}: {}{expected}", found.code, found.path, found.message)
    });
    (value, found.collect())
}

#[test]
fn getters_take_what_the_collector_takes() {
    let text = "{b: true, s: text, n: 0777, i: 5, whole: 5.0, f: 1.5, d: 1m30s, zero: 0, size: 64MiB, l: [a, 1],
                 m: {k: v, n: 007}, gone: }";
    let (_, found) = check(text, |section| {
        assert_eq!(section.bool("b"), Some(true));
        assert_eq!(section.string("s").as_deref(), Some("text"));
        assert_eq!(section.string("n").as_deref(), Some("0777"));
        assert_eq!(section.i64("n"), Some(511));
        assert_eq!((section.i64("i"), section.u64("i"), section.usize("i")), (Some(5), Some(5), Some(5)));
        assert_eq!(section.i64("whole"), Some(5));
        assert_eq!((section.f64("f"), section.f64("i")), (Some(1.5), Some(5.0)));
        assert_eq!(section.duration("d"), Some(Duration::from_secs(90)));
        assert_eq!(section.duration("zero"), Some(Duration::ZERO));
        assert_eq!(section.bytes("size"), Some(64 << 20));
        assert_eq!(section.strings("l"), Some(vec!["a".to_owned(), "1".to_owned()]));
        let pairs = [("k", "v"), ("n", "007")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(section.string_map("m"), Some(pairs.to_vec()));
        assert_eq!((section.bool("gone"), section.string("gone"), section.string("absent")), (None, None, None));
        assert_eq!(section.choice("s", &[("text", 7)]), Some(7));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn getters_say_what_they_expected() {
    type Read = fn(&Section<'_>) -> bool;
    let cases: [(&str, Read, &str); 17] = [
        ("{k: 'true'}", |s| s.bool("k").is_none(), "E0202 x::k: `k` is a string (expected true or false)"),
        ("{k: yes}", |s| s.bool("k").is_none(), "E0202 x::k: `k` is a string (expected true or false)"),
        ("{k: [a]}", |s| s.string("k").is_none(), "E0202 x::k: `k` is a list (expected a string)"),
        ("{k: '16'}", |s| s.i64("k").is_none(), "E0202 x::k: `k` is a string (expected an integer)"),
        ("{k: 1.5}", |s| s.i64("k").is_none(), "E0202 x::k: `k` is a number (expected an integer)"),
        ("{k: -1}", |s| s.u64("k").is_none(), "E0203 x::k: -1 is negative (expected an integer of 0 or more)"),
        ("{k: x}", |s| s.f64("k").is_none(), "E0202 x::k: `k` is a string (expected a number)"),
        (
            "{k: 5}",
            |s| s.duration("k").is_none(),
            "E0203 x::k: \"5\" has no unit (expected a duration such as 250ms, 5s or 1m30s)",
        ),
        ("{k: {}}", |s| s.duration("k").is_none(), "E0202 x::k: `k` is a map (expected a duration such as 5s)"),
        (
            "{k: 5 parsecs}",
            |s| s.bytes("k").is_none(),
            "E0203 x::k: \"parsecs\" in \"5 parsecs\" is not a unit (expected a size in bytes or with a unit, such as 64MiB)",
        ),
        ("{k: 5}", |s| s.strings("k").is_none(), "E0202 x::k: `k` is an integer (expected a list)"),
        (
            "{k: [a, {}]}",
            |s| s.strings("k") == Some(vec!["a".to_owned()]),
            "E0202 x::k::1: this is a map (expected a string)",
        ),
        ("{k: [a]}", |s| s.string_map("k").is_none(), "E0202 x::k: `k` is a list (expected a map of keys and strings)"),
        (
            "{k: {h: [a]}}",
            |s| s.string_map("k") == Some(Vec::new()),
            "E0202 x::k::h: `h` is a list (expected a string)",
        ),
        (
            "{k: gzp}",
            |s| s.choice("k", &[("gzip", 1), ("none", 2)]).is_none(),
            "E0203 x::k: `k` cannot be \"gzp\" (expected one of gzip, none; did you mean `gzip`?)",
        ),
        ("{k: a}", |s| s.section("k").is_some(), "E0202 x::k: `k` is a string (expected a map of keys)"),
        ("{}", |s| s.missing::<()>("k", "an endpoint").is_none(), "E0204 x::k: `k` is required (expected an endpoint)"),
    ];
    for (text, read, expected) in cases {
        let (as_expected, found) = check(text, read);
        assert!(as_expected, "{text}");
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn no_key_is_passed_over_in_silence() {
    let text = "{known: 1, knwon: 2, tls: {}, old: 1, other: 3}";
    let (_, found) = check(text, |section| {
        section.i64("known");
        section.not_yet(&["tls", "absent"]);
        section.without_effect("old", "it never had");
    });
    assert_eq!(
        found,
        [
            "E0201 x::knwon: unknown key `knwon` (did you mean `known`?)",
            "E0205 x::tls: `tls` is not supported yet",
            "W0402 x::old: `old` has no effect: it never had",
            "E0201 x::other: unknown key `other` (known keys: known, old)",
        ]
    );
}

#[test]
fn a_document_holds_what_was_declared_in_the_order_written() {
    let text = "
receivers: {otlp/b: , otlp/a: {protocols: }}
exporters: {debug: {}}
extensions: {health_check: }
service:
  extensions: [health_check]
  pipelines:
    traces/apps: {receivers: [otlp/b, otlp/b], processors: , exporters: [debug, debug]}
    logs: {receivers: [otlp/a], exporters: [debug]}
    metrics:
";
    let (tree, diagnostics) = (tree(text), Diagnostics::default());
    let document = document::read(&tree, &diagnostics);
    assert!(!diagnostics.has_errors(), "{:?}", diagnostics.sorted());
    let declared: Vec<(Kind, String)> =
        document.components.iter().map(|declared| (declared.kind, declared.id.to_string())).collect();
    let expected = [
        (Kind::Receiver, "otlp/b"),
        (Kind::Receiver, "otlp/a"),
        (Kind::Exporter, "debug"),
        (Kind::Extension, "health_check"),
    ];
    assert_eq!(declared, expected.map(|(kind, id)| (kind, id.to_owned())));
    assert_eq!(document.extensions.len(), 1);
    let pipelines: Vec<(Signal, &str, usize, usize, usize)> = document
        .pipelines
        .iter()
        .map(|p| (p.signal, p.name.as_str(), p.receivers.len(), p.processors.len(), p.exporters.len()))
        .collect();
    assert_eq!(pipelines, [(Signal::Traces, "traces/apps", 2, 0, 2), (Signal::Logs, "logs", 1, 0, 1)]);
}

#[test]
fn the_wait_for_ports_is_read_and_bounded() {
    for (text, wait, code) in [
        ("{port_wait: 90s}", Some(90), None),
        ("{port_wait: 0}", Some(0), None),
        ("", None, None),
        ("{port_wait: 11m}", Some(660), Some("E0203 service::podgate::port_wait")),
        ("{port_wait: 5}", None, Some("E0203 service::podgate::port_wait")),
        ("{wait: 5s}", None, Some("E0201 service::podgate::wait")),
    ] {
        let yaml = format!("service: {{podgate: {text}, pipelines: {{traces: {{receivers: [a], exporters: [b]}}}}}}");
        let (tree, diagnostics) = (tree(&yaml), Diagnostics::default());
        let document = document::read(&tree, &diagnostics);
        assert_eq!(document.port_wait, wait.map(Duration::from_secs), "{text}");
        let found = diagnostics.sorted().first().map(|found| format!("{} {}", found.code, found.path));
        assert_eq!(found.as_deref(), code, "{text}");
    }
}

#[test]
fn what_is_no_map_is_told_once_and_not_for_every_key_it_lacks() {
    let (_, found) = check("text", |section| section.missing::<()>("k", "something"));
    assert_eq!(found, ["E0202 x: `x` is a string (expected a map of keys)"]);
    let (_, found) = check("{}", |section| section.missing::<()>("k", "something"));
    assert_eq!(found, ["E0204 x::k: `k` is required (expected something)"]);
}

#[test]
fn a_missing_colon_is_told_at_the_key_that_lacks_it() {
    for (text, line, column, key) in [
        ("receivers:\n  otlp: {}\nexporters\n  nop:\nservice: {}\n", 3, 1, Some("exporters")),
        ("receivers:\n  otlp\n    protocols:\n      grpc:\n", 2, 3, Some("otlp")),
        ("receivers:\n  otlp/a\n\n    # a note\n    protocols:\n", 2, 3, Some("otlp/a")),
        ("a: b\n  c: d\n", 2, 4, None),
        ("a: one: two\n", 1, 7, None),
    ] {
        let fault = yaml::parse(text, SourceId(0), &Diagnostics::default()).expect_err(text);
        assert_eq!((fault.place.line, fault.place.column), (line, column), "{text}: {fault:?}");
        let told = key.map(|key| format!("this is not YAML: a colon is missing behind `{key}`"));
        assert!(told.is_none_or(|told| told == fault.message), "{text}: {fault:?}");
    }
}
