//! Requests that cost most beside their own bytes: many of the smallest things of each kind, and one thing that is huge.

use podgate::core::data::payload::Signal;
use podgate::otlp::write;

fn message(out: &mut Vec<u8>, number: u32, make: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    make(&mut inner);
    write::bytes(out, number, &inner);
}

fn attribute(out: &mut Vec<u8>, number: u32, key: &str, value: &[u8]) {
    message(out, number, |pair| {
        write::bytes(pair, 1, key.as_bytes());
        message(pair, 2, |any| write::bytes(any, 1, value));
    });
}

fn span(out: &mut Vec<u8>, at: usize) {
    message(out, 2, |span| {
        write::bytes(span, 1, &(1 + at as u128).to_be_bytes());
        write::bytes(span, 2, &(1 + at as u64).to_be_bytes());
    });
}

/// As many as come to about `bytes`.
fn many(bytes: usize, mut add: impl FnMut(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut out = Vec::new();
    for at in 0.. {
        add(&mut out, at);
        if out.len() >= bytes {
            break;
        }
    }
    out
}

fn around(levels: &[u32], inner: Vec<u8>) -> Vec<u8> {
    levels.iter().rev().fold(inner, |inner, number| {
        let mut out = Vec::new();
        write::bytes(&mut out, *number, &inner);
        out
    })
}

/// Well-formed groups of about 75 bytes: a resource with one attribute, a scope, a span.
pub fn small_groups(bytes: usize) -> Vec<u8> {
    many(bytes, |out, at| {
        message(out, 1, |group| {
            message(group, 1, |resource| attribute(resource, 1, "a", b"orders"));
            message(group, 2, |scope| span(scope, at));
        });
    })
}

/// Groups of logs that name a pod of `enrich/rig.rs` by its uid.
pub fn pod_groups(bytes: usize) -> Vec<u8> {
    many(bytes, |out, at| {
        message(out, 1, |group| {
            message(group, 1, |resource| attribute(resource, 1, "k8s.pod.uid", crate::rig::uid(at % 10).as_bytes()));
            message(group, 2, |scope| message(scope, 2, |record| write::bytes(record, 3, b"x")));
        });
    })
}

/// Name, signal and bytes of each kind.
pub fn bodies(bytes: usize) -> Vec<(&'static str, Signal, Vec<u8>)> {
    let traces = |name, body| (name, Signal::Traces, body);
    let a_span = |out: &mut Vec<u8>| span(out, 7);
    let in_span = |inner: Vec<u8>| {
        let mut scope = Vec::new();
        message(&mut scope, 2, |span| {
            write::bytes(span, 1, &7u128.to_be_bytes());
            write::bytes(span, 2, &7u64.to_be_bytes());
            span.extend_from_slice(&inner);
        });
        around(&[1, 2], scope)
    };
    let in_resource = |inner: Vec<u8>| {
        let mut out = Vec::new();
        message(&mut out, 1, |group| {
            write::bytes(group, 1, &inner);
            message(group, 2, a_span);
        });
        out
    };
    let points = many(bytes, |out, _| out.extend_from_slice(&[0x0a, 0x00]));
    vec![
        traces("empty groups", [0x0a, 0x00].repeat(bytes / 2)),
        traces("empty scopes", around(&[1], [0x12, 0x00].repeat(bytes / 2))),
        traces("empty spans", around(&[1, 2], [0x12, 0x00].repeat(bytes / 2))),
        ("empty records", Signal::Logs, around(&[1, 2], [0x12, 0x00].repeat(bytes / 2))),
        ("empty metrics", Signal::Metrics, around(&[1, 2], [0x12, 0x00].repeat(bytes / 2))),
        ("empty points", Signal::Metrics, around(&[1, 2, 2, 5], points)),
        traces("small spans", around(&[1, 2], many(bytes, span))),
        traces(
            "small spans in a scope each",
            around(&[1], many(bytes, |out, at| message(out, 2, |scope| span(scope, at)))),
        ),
        traces("small groups", small_groups(bytes)),
        traces("a short span before long ones", {
            let mut spans = Vec::new();
            span(&mut spans, 1);
            spans.extend(many(bytes, |out, at| {
                message(out, 2, |long| {
                    write::bytes(long, 1, &(1 + at as u128).to_be_bytes());
                    write::bytes(long, 2, &(1 + at as u64).to_be_bytes());
                    write::bytes(long, 5, &[b'n'; 4_000]);
                })
            }));
            around(&[1, 2], spans)
        }),
        traces("a resource that repeats", {
            let mut inner = many(bytes, |out, _| message(out, 1, |resource| attribute(resource, 1, "a", b"x")));
            message(&mut inner, 2, a_span);
            around(&[1], inner)
        }),
        traces("a resource of empty attributes", in_resource([0x0a, 0x00].repeat(bytes / 2))),
        traces("a resource of small attributes", in_resource(many(bytes, |out, _| attribute(out, 1, "a", b"")))),
        traces(
            "a resource of one attribute",
            in_resource(many(bytes, |out, _| attribute(out, 1, "a", &vec![b'x'; bytes]))),
        ),
        traces("a span of empty attributes", in_span([0x4a, 0x00].repeat(bytes / 2))),
        traces("a span of one attribute", in_span(many(bytes, |out, _| attribute(out, 9, "a", &vec![b'x'; bytes])))),
        traces(
            "a span of one list",
            in_span(many(bytes, |out, _| {
                message(out, 9, |pair| {
                    write::bytes(pair, 1, b"n");
                    message(pair, 2, |any| write::bytes(any, 5, &[0x0a, 0x00].repeat(bytes / 2)));
                });
            })),
        ),
        traces("no request at all", vec![0xff; bytes]),
    ]
}

/// Name and OTLP/JSON text of each kind.
pub fn texts(bytes: usize) -> Vec<(&'static str, String)> {
    let list = |item: &str| vec![item; bytes / (item.len() + 1)].join(",");
    vec![
        ("empty groups in JSON", format!(r#"{{"resourceSpans":[{}]}}"#, list("{}"))),
        ("nothings in JSON", format!(r#"{{"resourceSpans":[{}]}}"#, list("null"))),
        ("empty spans in JSON", format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, list("{}"))),
        (
            "empty values in JSON",
            format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}}}}]}}"#, list(r#"{"value":{}}"#)),
        ),
        (
            "text that is not UTF-8, as far as escapes go",
            format!(r#"{{"resourceSpans":[{{"schemaUrl":"{}"}}]}}"#, r"\ud800".repeat(bytes / 6)),
        ),
        (
            "numbers in JSON",
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"flags":[{}]}}]}}]}}]}}"#, list("1")),
        ),
        ("a key that is long", format!(r#"{{"{}":1}}"#, r"\u0061".repeat(bytes / 6))),
        ("what nobody knows", format!(r#"{{"unknown":{}1{}}}"#, "[".repeat(60), "]".repeat(60))),
    ]
}
