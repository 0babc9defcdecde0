//! Nothing that is written or sent makes statements panic, and what they make of valid messages is valid.

use fastrand::Rng;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::json;

use podgate::ottl::{Condition, Context, EditTarget, Edits, MessageEdit, Points, Statement, Syntax};

use podgate::core::data::payload::Signal;

use crate::common::{any, attributes, rig};

const TEXTS: &[&str] = &[
    r#"set(attributes["a"]["b"][0], {"k": [1, 2.5, nil]}) where IsMatch(attributes["a"], "x+") or not (1 + 2 == 3)"#,
    r#"replace_all_patterns(attributes, "key", "(?P<n>a)b*", "$n${1}", SHA256, "<%s>") where Len(attributes) > 0"#,
    r#"merge_maps(attributes, ParseKeyValue("a=1 b='2 3'", "=", " "), "upsert")"#,
    r#"flatten(attributes, "p", depth=2)"#,
    r#"append(attributes["l"], Split("a|b", "|"))"#,
    r#"set(cache, attributes)"#,
    r#"limit(attributes, 2, ["a"])"#,
    r#"truncate_all(attributes, 3)"#,
    r#"set(attributes["t"], FormatTime(Unix(9223372036, 999999999), "%Y"))"#,
    r#"set(attributes["n"], -9223372036854775807 - 1)"#,
    r#"set(attributes["id"], TraceID("0102030405060708090a0b0c0d0e0f10"))"#,
    r#"delete_matching_keys(attributes, "^a")"#,
    r#"set(attributes["s"], Substring(attributes["s"], 1, 2))"#,
];

const CONTEXTS: [Context; 7] = [
    Context::Resource,
    Context::Scope,
    Context::Span,
    Context::SpanEvent,
    Context::Metric,
    Context::DataPoint,
    Context::Log,
];

fn message() -> Vec<u8> {
    let record = LogRecord {
        body: Some(any(&json!({ "s": "text", "deep": [[[["x"]]]] }))),
        attributes: attributes(&json!({ "a": { "b": [1] }, "s": "h\u{e4}ndel", "l": "one", "n": 5, "f": 0.5 })),
        trace_id: vec![1; 16],
        ..LogRecord::default()
    };
    record.encode_to_vec()
}

fn run(text: &str, message: &[u8]) {
    for context in CONTEXTS {
        for prefixed in [false, true] {
            let syntax = Syntax { context, prefixed, cache: true };
            let condition = Condition::parse_as(text, syntax);
            let statement = Statement::parse(text, syntax);
            for points in [Points::None, Points::Gauge, Points::Histogram, Points::Exponential, Points::Summary] {
                let draft = || MessageEdit::new(message, Edits::default());
                let mut scene = EditTarget {
                    resource: draft(),
                    scope: draft(),
                    item: draft(),
                    piece: draft(),
                    points,
                    ..EditTarget::default()
                };
                if let Ok(condition) = &condition {
                    _ = condition.matches(&scene.view());
                }
                if let Ok(statement) = &statement {
                    _ = statement.run(&mut scene);
                }
            }
        }
    }
}

#[test]
fn mangled_texts_and_messages_end_in_faults_and_failures_only() {
    let seed = 20_261_121;
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let whole = message();
    for round in 0..3_000 {
        let mut text: Vec<char> = TEXTS[round % TEXTS.len()].chars().collect();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..text.len());
            match random.u8(0..3) {
                0 => text[at] = random.char('\0'..'\u{7f}'),
                1 => _ = text.remove(at),
                _ => text.insert(at, ['(', '"', '[', '{', '.', ' ', '9', '\\'][random.usize(0..8)]),
            }
        }
        let mut bytes = whole.clone();
        for _ in 0..random.usize(0..4) {
            let at = random.usize(0..bytes.len());
            match random.u8(0..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.u8(..)),
            }
        }
        run(&text.into_iter().collect::<String>(), &bytes);
    }
}

#[test]
fn deep_nesting_is_refused_before_it_can_be_walked() {
    let syntax = Syntax { context: Context::Log, prefixed: false, cache: true };
    for (open, close) in [("(", ")"), ("[", "]"), ("{\"k\":", "}"), ("not ", ""), ("Len(", ")")] {
        let text = format!("set(attributes[\"x\"], {}1{})", open.repeat(10_000), close.repeat(10_000));
        let fault = Statement::parse(&text, syntax).expect_err("too deep");
        assert!(fault.message.contains("deep"), "{open}: {fault}");
    }
    let keys = "[\"k\"]".repeat(5_000);
    let fault = Statement::parse(&format!("set(attributes{keys}, 1)"), syntax).expect_err("too deep");
    assert!(fault.message.contains("deep"), "{fault}");
    let message = message();
    let nested = (0..60).fold("1".to_owned(), |inner, _| format!("{{\"k\": {inner}}}"));
    for (levels, accepted) in [(1, true), (4, true), (5, false)] {
        let keys = "[\"k\"]".repeat(levels);
        let statement = Statement::parse(&format!("set(attributes{keys}, {nested})"), syntax).expect("60 levels");
        let mut scene = EditTarget { item: MessageEdit::new(&message, Edits::default()), ..EditTarget::default() };
        // The first key names the attribute; the others nest.
        assert_eq!(statement.run(&mut scene).is_ok(), accepted || levels + 59 <= 64, "{levels}");
    }
}

#[test]
fn texts_do_not_grow_without_end() {
    let syntax = Syntax { context: Context::Log, prefixed: false, cache: true };
    let message = message();
    let mut scene = EditTarget { item: MessageEdit::new(&message, Edits::default()), ..EditTarget::default() };
    let double =
        Statement::parse(r#"set(attributes["s"], Concat([attributes["s"], attributes["s"]], ""))"#, syntax).unwrap();
    let outcomes: Vec<bool> = (0..40).map(|_| double.run(&mut scene).is_ok()).collect();
    assert!(outcomes[0] && !outcomes[39] && scene.item.bytes().len() < 2 << 20);
    let replace = Statement::parse(r#"replace_pattern(attributes["s"], ".", "$0$0$0$0$0$0$0$0")"#, syntax).unwrap();
    let outcomes: Vec<bool> = (0..8).map(|_| replace.run(&mut scene).is_ok()).collect();
    assert!(!outcomes[7] && scene.item.bytes().len() < 12 << 20);
}

#[test]
fn valid_messages_stay_valid() {
    let span = Span { name: "n".into(), attributes: attributes(&json!({ "a": 1, "s": "x" })), ..Span::default() }
        .encode_to_vec();
    for text in TEXTS {
        let statement = Statement::parse(text, Syntax { context: Context::Span, prefixed: false, cache: true });
        let mut scene = EditTarget { item: MessageEdit::new(&span, Edits::default()), ..EditTarget::default() };
        _ = statement.unwrap_or_else(|fault| panic!("{text}: {fault}")).run(&mut scene);
        Span::decode(scene.item.bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

fn outcome(text: &str, of: &serde_json::Value) -> (Result<(), podgate::ottl::EvalFailure>, usize) {
    let item = LogRecord { attributes: attributes(of), ..LogRecord::default() }.encode_to_vec();
    let mut scene = EditTarget { item: MessageEdit::new(&item, Edits::default()), ..EditTarget::default() };
    let statement = Statement::parse(text, Syntax { context: Context::Log, prefixed: false, cache: true });
    let outcome = statement.unwrap_or_else(|fault| panic!("{text}: {fault}")).run(&mut scene);
    (outcome, scene.item.bytes().len())
}

/// Each is small and would become huge if it were made before it was measured.
#[test]
fn what_would_become_too_large_fails_before_it_is_made() {
    let long = "k".repeat(200_000);
    let many: serde_json::Map<String, serde_json::Value> = (0..1_000).map(|at| (format!("n{at}"), json!(at))).collect();
    let list: Vec<&str> = vec!["x"; 2_000];
    let cases = [
        ("flatten(attributes)", json!({ (long.clone()): many })),
        (r#"replace_pattern(attributes["t"], "(?s).+", "$0$0$0$0$0$0$0$0$0$0$0$0")"#, json!({ "t": long })),
        (r#"replace_all_patterns(attributes, "key", "n", attributes["t"])"#, {
            let mut all = many.clone();
            all.insert("t".into(), json!(long));
            json!(all)
        }),
        (r#"set(attributes["x"], Concat(attributes["l"], attributes["t"]))"#, json!({ "l": list, "t": long })),
        (r#"set(attributes["x"], Split(attributes["t"], ","))"#, json!({ "t": ",".repeat(2 << 20) })),
        (r#"set(attributes["x"], ParseJSON(attributes["t"]))"#, json!({ "t": format!("[{}0]", "0,".repeat(1 << 20)) })),
        ("keep_keys(attributes[\"m\"], [])", {
            let many: serde_json::Map<_, _> = (0..100_001).map(|at| (format!("{at}"), json!(null))).collect();
            json!({ "m": many })
        }),
    ];
    for (text, of) in cases {
        let (outcome, _) = outcome(text, &of);
        assert!(outcome.is_err(), "{text}");
    }
    let (fits, length) =
        outcome(r#"replace_pattern(attributes["t"], "(?s).+", "$0$0")"#, &json!({ "t": "k".repeat(200_000) }));
    assert!(fits.is_ok() && length > 400_000);
}

#[test]
fn a_key_that_comes_a_hundred_thousand_times_goes_in_one_pass() {
    let one = LogRecord { attributes: attributes(&json!({ "k": 1 })), ..LogRecord::default() }.encode_to_vec();
    let other = LogRecord { attributes: attributes(&json!({ "o": 1 })), ..LogRecord::default() }.encode_to_vec();
    let item = [one.repeat(100_000), other.clone(), one].concat();
    let mut scene = EditTarget { item: MessageEdit::new(&item, Edits::default()), ..EditTarget::default() };
    let syntax = Syntax { context: Context::Log, prefixed: false, cache: true };
    Statement::parse(r#"delete_key(attributes, "k")"#, syntax).unwrap().run(&mut scene).unwrap();
    assert_eq!(scene.item.bytes(), other);
}

/// A request can be made so that everything under a message would walk that message over and over.
#[test]
fn what_would_take_too_long_is_given_up_counted_and_passed_on() {
    let many = |count: usize| {
        attributes(&(0..count).map(|at| (format!("{at}"), json!(1))).collect::<serde_json::Map<_, _>>().into())
    };
    let events = vec![Event::default(); 100_000];
    let span = Span { name: "n".into(), attributes: many(5_000), events: events.clone(), ..Span::default() };
    let small = Span { name: "n".into(), events, ..Span::default() };
    let request = |attributes, spans| ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let yaml = "trace_statements: ['set(spanevent.name, span.name) where span.attributes[\"0\"] == 1 or resource.attributes[\"0\"] == nil']";
    let cases = [
        (request(vec![], vec![span]), 1, false),
        (request(vec![], vec![small]), 0, true),
        (request(many(5_000), vec![Span::default(); 100_000]), 1, false),
    ];
    for (before, failures, changed) in cases {
        let rig = rig(yaml, Signal::Traces);
        let after = ExportTraceServiceRequest::decode(rig.bytes(&before.encode_to_vec())).expect("valid");
        assert_eq!(rig.host.stats.total("podgate_processor_ottl_failures"), failures);
        assert_eq!(after != before, changed);
    }
}
