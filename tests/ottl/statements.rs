//! Statement, what goes in, what comes out: the facts of contrib's pkg/ottl/e2e tests (v0.161) and some of our own.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Value as Json, json};

use podgate::ottl::{Context, EditTarget, Edits, EvalFailure, MessageEdit, Statement, Syntax};

use crate::common::{any, attributes, of_any, shown};

const LOG: Syntax = Syntax { context: Context::Log, prefixed: false, cache: true };

/// 2020-02-11T20:26:12.000000321Z
const TIME: u64 = 1_581_452_772_000_000_321;

fn before() -> Json {
    json!({
        "http.method": "get", "http.path": "/health", "http.url": "http://localhost/health", "flags": "A|B|C",
        "total.string": "123456789",
        "foo": { "bar": "pass", "flags": "pass", "slice": ["val"], "nested": { "test": "pass" } },
    })
}

fn record() -> LogRecord {
    LogRecord {
        time_unix_nano: TIME,
        observed_time_unix_nano: TIME + 1_000_000_468,
        severity_number: 1,
        body: Some(any(&json!("operationA"))),
        attributes: attributes(&before()),
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        ..LogRecord::default()
    }
}

type Change = fn(&mut LogRecord);

struct After {
    record: LogRecord,
    resource: Resource,
    scope: InstrumentationScope,
    outcome: Result<(), EvalFailure>,
    changed: bool,
}

fn run(texts: &[&str]) -> After {
    let resource = Resource { attributes: attributes(&json!({ "host.name": "localhost" })), ..Resource::default() };
    let scope = InstrumentationScope { name: "scope".into(), ..InstrumentationScope::default() };
    let (item, resource, scope) = (record().encode_to_vec(), resource.encode_to_vec(), scope.encode_to_vec());
    let mut scene = EditTarget {
        item: MessageEdit::new(&item, Edits::default()),
        resource: MessageEdit::new(&resource, Edits::default()),
        scope: MessageEdit::new(&scope, Edits::default()),
        ..EditTarget::default()
    };
    let mut outcome = Ok(());
    for text in texts {
        let statement = Statement::parse(text, LOG).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        outcome = outcome.and_then(|()| statement.run(&mut scene));
    }
    After {
        record: LogRecord::decode(scene.item.bytes()).expect("valid"),
        resource: Resource::decode(scene.resource.bytes()).expect("valid"),
        scope: InstrumentationScope::decode(scene.scope.bytes()).expect("valid"),
        outcome,
        changed: scene.item.is_changed(),
    }
}

/// The attributes with these replaced, added, or removed where the patch says null.
fn patched(patch: &Json) -> Json {
    let mut all = before();
    for (key, value) in patch.as_object().expect("a patch") {
        match value {
            Json::Null => _ = all.as_object_mut().expect("a map").remove(key),
            value => all[key] = value.clone(),
        }
    }
    all
}

fn assert_patches(cases: &[(&str, Json)]) {
    let mut faults = Vec::new();
    for (text, patch) in cases {
        let after = run(&[text]);
        let found = shown(&after.record.attributes);
        let rest = LogRecord { attributes: record().attributes, ..after.record };
        if found != patched(patch) || rest != record() || after.outcome.is_err() {
            faults.push(format!("{text}\n  {found}\n  {}\n  {:?}", patched(patch), after.outcome));
        }
        let same = *patch == json!({});
        if same == after.changed {
            faults.push(format!("{text}: changed {}", after.changed));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn editors_change_what_the_collectors_do() {
    let foo = before()["foo"].clone();
    let http = json!({ "http.method": null, "http.path": null, "http.url": null });
    let slice = json!(["val"]);
    let nested = json!({ "test": "pass" });
    let flat = json!({ "foo": null, "foo.bar": "pass", "foo.flags": "pass", "foo.slice.0": "val" });
    let with = |base: &Json, more: Json| {
        let mut all = base.clone();
        all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        all
    };
    assert_patches(&[
        (r#"delete_key(attributes, "http.method")"#, json!({ "http.method": null })),
        (
            r#"delete_key(attributes["foo"], "bar")"#,
            json!({ "foo": { "flags": "pass", "slice": slice, "nested": nested } }),
        ),
        (r#"delete_key(attributes, "absent")"#, json!({})),
        (r#"delete_matching_keys(attributes, "^http")"#, http.clone()),
        (r#"keep_matching_keys(attributes, "^http")"#, json!({ "flags": null, "total.string": null, "foo": null })),
        (r#"flatten(attributes)"#, with(&flat, json!({ "foo.nested.test": "pass" }))),
        (
            r#"flatten(attributes, depth=1)"#,
            with(&flat, json!({ "foo.nested": nested, "foo.slice": slice, "foo.slice.0": null })),
        ),
        (
            r#"flatten(attributes["foo"], "p")"#,
            json!({ "foo": { "p.bar": "pass", "p.flags": "pass", "p.slice.0": "val", "p.nested.test": "pass" } }),
        ),
        (r#"keep_keys(attributes, ["flags", "total.string"])"#, with(&http, json!({ "foo": null }))),
        (r#"keep_keys(attributes["foo"], ["\\", "bar"])"#, json!({ "foo": { "bar": "pass" } })),
        (r#"limit(attributes, 100, [])"#, json!({})),
        (r#"limit(attributes, 1, ["total.string"])"#, with(&http, json!({ "flags": null, "foo": null }))),
        (
            r#"merge_maps(attributes, attributes["foo"], "insert")"#,
            json!({ "bar": "pass", "slice": slice, "nested": nested }),
        ),
        (r#"merge_maps(attributes, attributes["foo"], "update")"#, json!({ "flags": "pass" })),
        (
            r#"merge_maps(attributes, attributes["foo"], "upsert")"#,
            json!({ "bar": "pass", "flags": "pass", "slice": slice, "nested": nested }),
        ),
        (
            r#"merge_maps(attributes, ParseJSON("{\"json_test\":\"pass\"}"), "insert") where body == "operationA""#,
            json!({ "json_test": "pass" }),
        ),
        (r#"replace_all_matches(attributes, "*/*", "test")"#, json!({ "http.path": "test", "http.url": "test" })),
        (
            r#"replace_all_patterns(attributes, "key", "^http", "test")"#,
            with(&http, json!({ "test.method": "get", "test.path": "/health", "test.url": "http://localhost/health" })),
        ),
        (
            r#"replace_all_patterns(attributes, "value", "/", "@")"#,
            json!({ "http.path": "@health", "http.url": "http:@@localhost@health" }),
        ),
        (r#"replace_match(attributes["http.path"], "*/*", "test")"#, json!({ "http.path": "test" })),
        (r#"replace_match(attributes["http.method"], "*/*", "test")"#, json!({})),
        (r#"replace_pattern(attributes["http.path"], "/", "@")"#, json!({ "http.path": "@health" })),
        (r#"replace_pattern(attributes["http.path"], "/(h)(.*)", "$2-${1}")"#, json!({ "http.path": "ealth-h" })),
        (
            r#"replace_pattern(attributes["http.method"], "g(.)t", "$1", SHA256, "h:%s")"#,
            json!({ "http.method": "h:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea" }),
        ),
        (r#"replace_pattern(attributes["absent"], "/", "@")"#, json!({})),
        (r#"set(attributes["test"], "pass")"#, json!({ "test": "pass" })),
        (r#"set(attributes["http.method"], "get")"#, json!({})),
        (r#"set(attributes["foo"]["test"], "pass")"#, json!({ "foo": with(&foo, json!({ "test": "pass" })) })),
        (r#"set(attributes["foo"]["slice"][0], 7)"#, json!({ "foo": with(&foo, json!({ "slice": [7] })) })),
        (r#"set(attributes["new"]["a"]["b"], true)"#, json!({ "new": { "a": { "b": true } } })),
        (r#"set(attributes["new"][1], 2)"#, json!({ "new": [null, 2] })),
        (r#"truncate_all(attributes, 100)"#, json!({})),
        (
            r#"truncate_all(attributes, 1)"#,
            json!({ "http.method": "g", "http.path": "/", "http.url": "h", "flags": "A", "total.string": "1" }),
        ),
        (r#"append(attributes["tags"], "prod")"#, json!({ "tags": ["prod"] })),
        (r#"append(attributes["http.method"], values = ["a", 1])"#, json!({ "http.method": ["get", "a", 1] })),
        (
            r#"append(attributes["foo"]["slice"], attributes["flags"])"#,
            json!({ "foo": with(&foo, json!({ "slice": ["val", "A|B|C"] })) }),
        ),
    ]);
}

#[test]
fn converters_make_what_the_collectors_do() {
    let set = |call: &'static str, value: Json| (call, value);
    let cases = [
        set(r#"Base64Decode("cGFzcw==")"#, json!("pass")),
        set(r#"Concat(["A","B"], ":")"#, json!("A:B")),
        set(r#"Concat([attributes["http.method"], nil, 1, 1.5, true], "")"#, json!("get<nil>11.5true")),
        set(r#"ConvertCase(attributes["http.method"], "upper")"#, json!("GET")),
        set(r#"ConvertCase("PASS", "lower")"#, json!("pass")),
        set(r#"ConvertCase("fooBar", "snake")"#, json!("foo_bar")),
        set(r#"ConvertCase("foo_bar", "camel")"#, json!("FooBar")),
        set("Double(1.0)", json!(1.0)),
        set(r#"Double("1")"#, json!(1.0)),
        set("Double(true)", json!(1.0)),
        set("Double(1)", json!(1.0)),
        set(r#"ExtractPatterns("aa123bb", "(?P<numbers>\\d+)")"#, json!({ "numbers": "123" })),
        set(r#"ExtractPatterns("aa123bb", "(?P<numbers>\\d+)")["numbers"]"#, json!("123")),
        set(r#"ExtractPatterns("none", "(?P<numbers>\\d+)")"#, json!({})),
        set(r#"FNV("pass")"#, json!(266_877_920_130_663_416i64)),
        set(r#"Hour(Time("12", "%H"))"#, json!(12)),
        set(r#"Hours(Duration("90m"))"#, json!(1.5)),
        set("Int(1.0)", json!(1)),
        set(r#"Int("1")"#, json!(1)),
        set("Int(true)", json!(1)),
        set("Int(1)", json!(1)),
        set(r#"Len(attributes["foo"])"#, json!(4)),
        set("Log(1)", json!(0.0)),
        set(r#"Microseconds(Duration("1ms"))"#, json!(1000)),
        set(r#"Milliseconds(Duration("1s"))"#, json!(1000)),
        set(r#"Minutes(Duration("1h"))"#, json!(60.0)),
        set(r#"Nanoseconds(Duration("1ms"))"#, json!(1_000_000)),
        set(r#"ParseJSON("{\"id\":1}")"#, json!({ "id": 1.0 })),
        set(r#"ParseJSON("[\"a\", null]")"#, json!(["a", null])),
        set(r#"ParseKeyValue("k1=v1 k2=v2")"#, json!({ "k1": "v1", "k2": "v2" })),
        set(r#"ParseKeyValue("k1!v1_k2!v2", "!", "_")"#, json!({ "k1": "v1", "k2": "v2" })),
        set(r#"ParseKeyValue("k1!v1_k2!\"v2__!__v2\"", "!", "_")"#, json!({ "k1": "v1", "k2": "v2__!__v2" })),
        set(r#"ParseKeyValue("a:b", delimiter=":")"#, json!({ "a": "b" })),
        set(r#"Seconds(Duration("1m"))"#, json!(60.0)),
        set(r#"SHA1("pass")"#, json!("9d4e1e23bd5b727046a9e3b4b7db57bd8d6ee684")),
        set(r#"SHA256("pass")"#, json!("d74ff0ee8da3b9806b18c877dbf29bbde50b5bd8e4dad7a3a725000feb82e8f1")),
        set(r#"Split(attributes["flags"], "|")"#, json!(["A", "B", "C"])),
        set(r#"Split(attributes["flags"], "|")[1]"#, json!("B")),
        set(r#"String("test")"#, json!("test")),
        set(r#"String(attributes["http.method"])"#, json!("get")),
        set("String([1,2,3])", json!("[1,2,3]")),
        set("String(true)", json!("true")),
        set(r#"Substring("pass", 0, 2)"#, json!("pa")),
        set(r#"Trim("  a ")"#, json!("a")),
        set(r#"TrimPrefix("pre-a", "pre-")"#, json!("a")),
        set(r#"TrimSuffix("a.log", ".log")"#, json!("a")),
        set(r#"ToUpperCase("a")"#, json!("A")),
        set(r#"Keys({"a": 1, "b": 2})"#, json!(["a", "b"])),
        set(r#"Values({"a": 1, "b": 2.5})"#, json!([1, 2.5])),
        set(r#"{"a": {"b": [1, "x"]}, "c": attributes["http.method"]}"#, json!({ "a": { "b": [1, "x"] }, "c": "get" })),
        set(r#"Index("abc", "c")"#, json!(2)),
        set(r#"Index(["a", "b"], "z")"#, json!(-1)),
        set(r#"ParseInt("ff", 16)"#, json!(255)),
        set(r#"Coalesce([nil, attributes["absent"], "x"])"#, json!("x")),
    ];
    assert_sets(&cases);
}

/// What `attributes["test"]` is after it was set to each call.
fn assert_sets(cases: &[(&'static str, Json)]) {
    let texts: Vec<String> = cases.iter().map(|(call, _)| format!(r#"set(attributes["test"], {call})"#)).collect();
    let patches: Vec<(&str, Json)> =
        texts.iter().zip(cases).map(|(text, (_, value))| (text.as_str(), json!({ "test": value }))).collect();
    assert_patches(&patches);
}

#[test]
fn times_numbers_and_literals_are_what_they_are_upstream() {
    let set = |call: &'static str, value: Json| (call, value);
    let cases = [
        set("UnixSeconds(time)", json!(1_581_452_772i64)),
        set("UnixMilli(time)", json!(1_581_452_772_000i64)),
        set("UnixNano(time) - time_unix_nano", json!(0)),
        set("UnixNano(Unix(5, 7))", json!(5_000_000_007i64)),
        set(r#"FormatTime(time, "%Y-%m-%dT%H:%M:%S")"#, json!("2020-02-11T20:26:12")),
        set(r#"UnixSeconds(Time("2020-02-11 20:26:12", "%Y-%m-%d %H:%M:%S"))"#, json!(1_581_452_772i64)),
        set(r#"UnixSeconds(Time("2020-02-11T22:26:12+0200", "%Y-%m-%dT%H:%M:%S%z"))"#, json!(1_581_452_772i64)),
        set("Year(time) * 100 + Month(time)", json!(202_002)),
        set("Milliseconds(observed_time - time)", json!(1_000)),
        set("(2 + 3) * 4 - 6 / 4", json!(19)),
        set("1.5 + 1", json!(2.5)),
        set("trace_id.string", json!("0102030405060708090a0b0c0d0e0f10")),
        set("span_id.string", json!("0102030405060708")),
        set(r#""\\""#, json!("\\")),
        set(r#""\\\\""#, json!("\\\\")),
        set(r#""\"""#, json!("\"")),
    ];
    assert_sets(&cases);
}

#[test]
fn where_clauses_decide() {
    let held = [
        r#"Time("10", "%M") - Time("01", "%M") < Duration("10m")"#,
        "IsBool(false)",
        "IsDouble(1.0)",
        r#"IsMap(attributes["foo"])"#,
        r#"IsList(attributes["foo"]["slice"])"#,
        r#"IsMatch("aa123bb", "\\d{3}")"#,
        r#"IsString("")"#,
        "UnixMicro(time) > 0",
        r#"resource.attributes["host.name"] == "localhost""#,
        r#"scope.name == "scope" and instrumentation_scope.name == "scope""#,
        "trace_id == TraceID(0x0102030405060708090a0b0c0d0e0f10)",
        r#"trace_id == TraceID("0102030405060708090a0b0c0d0e0f10")"#,
        "span_id != SpanID(0x0000000000000000)",
        r#"IsMatch(body, "operation[AC]")"#,
        r#"body == Concat(["operation", "A"], "")"#,
        r#"log.body.string == "operationA""#,
        "severity_number == SEVERITY_NUMBER_TRACE",
        r#"attributes["foo"]["bar"] == "pass""#,
        r#"attributes["metadata"] == nil"#,
        r#"HasPrefix(body, "oper") and not HasSuffix(body, "B")"#,
        r#"ContainsValue(["a", 1], 1)"#,
        "flags == 1 and dropped_attributes_count == 1",
        r#"[1, "a"] == [1, "a"]"#,
        r#"attributes["foo"]["nested"] == {"test": "pass"}"#,
    ];
    for condition in held {
        let text = format!(r#"set(attributes["test"], "pass") where {condition}"#);
        assert_patches(&[(&text, json!({ "test": "pass" }))]);
        let text = format!(r#"set(attributes["test"], "pass") where not ({condition})"#);
        assert_patches(&[(&text, json!({}))]);
    }
}

#[test]
fn every_field_of_a_record_can_be_set_and_the_rest_stays() {
    let cases: &[(&str, Change)] = &[
        (r#"set(body, "new")"#, |record| record.body = Some(any(&json!("new")))),
        (r#"set(log.body, attributes["foo"]["slice"])"#, |record| record.body = Some(any(&json!(["val"])))),
        (r#"set(body["k"], 1) where not IsString(body)"#, |_| {}),
        ("set(severity_number, SEVERITY_NUMBER_TRACE2) where severity_number == SEVERITY_NUMBER_TRACE", |record| {
            record.severity_number = 2
        }),
        (r#"set(severity_text, "FAIL") where body == "operationA""#, |record| record.severity_text = "FAIL".into()),
        ("set(time_unix_nano, 7)", |record| record.time_unix_nano = 7),
        ("set(observed_time, time)", |record| record.observed_time_unix_nano = TIME),
        (r#"set(time, TruncateTime(time, Duration("1s")))"#, |record| {
            record.time_unix_nano = TIME / 1_000_000_000 * 1_000_000_000
        }),
        ("set(span_id, SpanID(0x0000000000000000))", |record| record.span_id = Vec::new()),
        (r#"set(trace_id.string, "ffffffffffffffffffffffffffffffff")"#, |record| record.trace_id = vec![255; 16]),
        ("set(flags, 0)", |record| record.flags = 0),
        ("set(dropped_attributes_count, 9)", |record| record.dropped_attributes_count = 9),
        (r#"set(event_name, "e")"#, |record| record.event_name = "e".into()),
        (r#"set(attributes, attributes["foo"]["nested"])"#, |record| {
            record.attributes = attributes(&json!({ "test": "pass" }))
        }),
    ];
    for (text, change) in cases {
        let mut expected = record();
        change(&mut expected);
        let after = run(&[text]);
        assert_eq!((&after.record, after.outcome), (&expected, Ok(())), "{text}");
    }
}

#[test]
fn resource_scope_and_cache_are_within_reach() {
    let after = run(&[
        r#"set(cache["k"], attributes["http.method"])"#,
        r#"set(cache["m"]["deep"], 1)"#,
        r#"set(resource.attributes["method"], cache["k"])"#,
        r#"set(resource.attributes["cached"], cache["m"])"#,
        r#"set(scope.name, Concat([scope.name, cache["k"]], "-"))"#,
        r#"set(scope.version, "2")"#,
        r#"delete_key(cache, "k")"#,
        r#"set(scope.attributes["left"], Len(cache))"#,
    ]);
    assert_eq!(after.outcome, Ok(()));
    let expected = json!({ "host.name": "localhost", "method": "get", "cached": { "deep": 1 } });
    assert_eq!(shown(&after.resource.attributes), expected);
    assert_eq!((after.scope.name.as_str(), after.scope.version.as_str()), ("scope-get", "2"));
    assert_eq!(shown(&after.scope.attributes), json!({ "left": 1 }));
    assert!(!after.changed);
}

#[test]
fn statements_that_cannot_be_done_fail_and_change_nothing() {
    for text in [
        "set(severity_number, \"two\")",
        "set(trace_id, \"abc\")",
        r#"set(trace_id.string, "zz")"#,
        "set(time, 5)",
        r#"set(attributes, "text")"#,
        r#"set(attributes["http.method"]["sub"], 1)"#,
        r#"set(attributes["foo"]["slice"][5], 1)"#,
        r#"set(attributes["when"], time)"#,
        r#"delete_matching_keys(attributes["http.method"], "a")"#,
        r#"delete_key(attributes, attributes["foo"])"#,
        r#"merge_maps(attributes, attributes["http.method"], "insert")"#,
        r#"set(attributes["x"], 1 / 0)"#,
        r#"set(attributes["x"], Substring("abc", 2, 9))"#,
        r#"set(attributes["x"], ParseJSON("{"))"#,
    ] {
        let after = run(&[text]);
        assert!(after.outcome.is_err(), "{text}");
        assert_eq!((after.record, after.changed), (record(), false), "{text}");
    }
}

#[test]
fn faults_say_what_is_wrong_and_where() {
    let cases = [
        ("", 0, "begins with the name of a function"),
        (r#"set(attributes["a"], "#, 21, "a value is missing"),
        (r#"attributes["a"] == 1"#, 0, "call of a function"),
        (r#"sett(attributes["a"], 1)"#, 0, "no editor `sett`; known are set,"),
        (r#"set_semconv_span_name("1.43.0", "x")"#, 0, "`set_semconv_span_name` changes a span"),
        (r#"convert_sum_to_gauge()"#, 0, "`convert_sum_to_gauge` changes a metric"),
        (r#"copy_metric()"#, 0, "`copy_metric` changes a metric"),
        (r#"set(attributes["a"], Map(body, (x) => x))"#, 31, "functions of functions"),
        (r#"set(attributes["a"], "\d")"#, 22, "not an escape of a string; a backslash is `\\\\`"),
        (r#"set(attributes["a"])"#, 0, "needs an argument `value`"),
        (r#"set("a", 1)"#, 4, "must be a path"),
        (r#"set(nosuch, 1)"#, 4, "no `nosuch` in a log"),
        (r#"set(log.nosuch, 1)"#, 4, "no `nosuch` in a log"),
        (r#"set(span.name, 1)"#, 4, "out of sight"),
        (r#"set(otelcol.client.addr, 1)"#, 4, "podgate does not have the path"),
        (r#"set(attributes["a"], UserAgent("x"))"#, 21, "podgate has no function `UserAgent`"),
        (r#"set(attributes["a"], Time("x", "%H%L"))"#, 31, "dot or comma"),
        (r#"set(attributes["a"], Time("x", "%Q"))"#, 31, "directive"),
        (r#"set(attributes["a"], NO_SUCH)"#, 21, "no known constant"),
        (r#"set(attributes["a"], 1) where"#, 29, "a value is missing"),
        (r#"set(attributes["a"], 1) if true"#, 24, "`where` or the end"),
        (r#"set(attributes["a"], 1) where true true"#, 35, "should end here"),
        (r#"delete_key(body.string, "a")"#, 11, "is no map"),
        (r#"delete_matching_keys(attributes, "(")"#, 33, "not a regular expression"),
        (r#"delete_key(attributes, 5)"#, 23, "expected a string"),
        (r#"append(attributes["l"], values=Split("a|b", "|"))"#, 31, "must be a list"),
        (r#"limit(attributes, 1, ["a", "b"])"#, 21, "do not fit"),
        (r#"limit(attributes, -1, [])"#, 18, "0 or more"),
        (r#"merge_maps(attributes, body, "sometimes")"#, 29, "strategy"),
        (r#"flatten(attributes, depth=0)"#, 26, "above zero"),
        (r#"flatten(attributes, deep=1)"#, 20, "no argument `deep`"),
        (r#"replace_pattern(body, "a", "b", SHA256, "none")"#, 40, "exactly one %s"),
        (r#"replace_pattern(body, "a", "b", Nope)"#, 32, "no function `Nope`"),
        (r#"replace_match(body, "[", "b")"#, 20, "glob"),
        (r#"append(severity_text, "x")"#, 7, "no list"),
        (r#"set(attributes["a"], ExtractPatterns(body, "a"))"#, 43, "named group"),
        (r#"set(attributes["a"], {"k": })"#, 27, "a value is missing"),
        (r#"set(attributes["a"], {1: 2})"#, 22, "a key is a string"),
    ];
    for (text, at, message) in cases {
        let fault = Statement::parse(text, LOG).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(fault.message.contains(message) && fault.at == at, "{text}: {fault:?}");
    }
}

/// contrib #51094: since v0.161 nil is set, not left undone.
#[test]
fn nil_empties_what_can_be_empty_and_fails_elsewhere() {
    let empty = |key: &str| KeyValue { key: key.into(), value: Some(AnyValue::default()), ..KeyValue::default() };
    for text in [r#"set(attributes["test"], nil)"#, r#"set(attributes["test"], attributes["unknown"])"#] {
        let after = run(&[text]);
        assert_eq!((after.outcome, after.record.attributes.last()), (Ok(()), Some(&empty("test"))), "{text}");
    }
    let after = run(&["set(attributes, nil)", "set(body, nil)"]);
    assert_eq!((after.outcome, after.record.attributes.len()), (Ok(()), 0));
    assert_eq!(after.record.body, Some(AnyValue::default()));
    for text in ["set(severity_text, nil)", "set(time, nil)", "set(trace_id, nil)"] {
        let after = run(&[text]);
        assert!(after.outcome.is_err() && !after.changed, "{text}");
    }
}

#[test]
fn a_body_that_is_a_map_is_changed_in_place() {
    let mut item = record();
    item.body = Some(any(&json!({ "a": 1, "b": { "c": "x" } })));
    let item = item.encode_to_vec();
    let mut scene = EditTarget { item: MessageEdit::new(&item, Edits::default()), ..EditTarget::default() };
    for text in [
        r#"set(body["b"]["c"], "y")"#,
        r#"delete_key(body, "a")"#,
        r#"set(log.body["new"], log.body["b"])"#,
        r#"keep_keys(body["new"], ["none"])"#,
    ] {
        Statement::parse(text, LOG).unwrap().run(&mut scene).unwrap();
    }
    let body = LogRecord::decode(scene.item.bytes()).unwrap().body.unwrap();
    assert_eq!(of_any(&body), json!({ "b": { "c": "y" }, "new": {} }));
}
