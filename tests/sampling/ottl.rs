//! OTTL conditions: what parses, what they mean on wire bytes, and that nothing makes them panic.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message;

use podgate::ottl::{Condition, Context, Item};

use crate::spans::{attribute, failed, span, text};

fn item_bytes() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut span = failed(span(7, 0));
    span.name = "GET /orders".to_owned();
    span.trace_state = "vendor=abc,ot=th:8".to_owned();
    span.flags = 257;
    span.status.as_mut().expect("holds in this test").message = "boom".to_owned();
    span.end_time_unix_nano = span.start_time_unix_nano + 700_000_000;
    let any = |value| AnyValue { value: Some(value) };
    let list = ArrayValue { values: vec![any(Value::StringValue("a".into())), any(Value::IntValue(2))] };
    let map = KeyValueList { values: vec![text("inner", "deep")] };
    span.attributes = vec![
        text("env", "prod"),
        attribute("count", Value::IntValue(7)),
        attribute("ratio", Value::DoubleValue(0.5)),
        attribute("hit", Value::BoolValue(true)),
        attribute("list", Value::ArrayValue(list)),
        attribute("map", Value::KvlistValue(map)),
        text("json", r#"{"a": {"b": "c"}, "n": 3}"#),
    ];
    span.events = vec![Event {
        name: "exception".into(),
        attributes: vec![text("exception.type", "IOError")],
        ..Event::default()
    }];
    let scope = opentelemetry_proto::tonic::common::v1::InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        ..Default::default()
    };
    let resource = opentelemetry_proto::tonic::resource::v1::Resource {
        attributes: vec![text("service.name", "shop")],
        ..Default::default()
    };
    (span.encode_to_vec(), scope.encode_to_vec(), resource.encode_to_vec())
}

#[test]
fn conditions_mean_what_the_collector_means_by_them() {
    let (span, scope, resource) = item_bytes();
    let item = Item::span(&span, &scope, &resource);
    let cases: &[(&str, Result<bool, ()>)] = &[
        (r#"attributes["env"] == "prod""#, Ok(true)),
        (r#"span.attributes["env"] != "prod""#, Ok(false)),
        (r#"attributes["absent"] == nil"#, Ok(true)),
        (r#"attributes["absent"] != nil and true"#, Ok(false)),
        (r#"attributes["absent"] < 5"#, Ok(false)),
        (r#"attributes["count"] >= 7 and attributes["count"] < 7.5"#, Ok(true)),
        (r#"attributes["count"] == "7""#, Ok(false)),
        (r#"attributes["count"] != "7""#, Ok(true)),
        (r#"attributes["ratio"] * 2 == 1"#, Ok(true)),
        (r#"attributes["hit"] == true"#, Ok(true)),
        (r#"attributes["list"][1] == 2"#, Ok(true)),
        (r#"attributes["list"][9] == 2"#, Err(())),
        (r#"attributes["map"]["inner"] == "deep""#, Ok(true)),
        (r#"attributes["env"]["inner"] == "deep""#, Err(())),
        (r#"ParseJSON(attributes["json"])["a"]["b"] == "c""#, Ok(true)),
        (r#"ParseJSON(attributes["json"])["n"] == 3"#, Ok(true)),
        (r#"ParseJSON(attributes["env"])["a"] == "prod""#, Err(())),
        (r#"ParseJSON(attributes["absent"])["a"] == "prod""#, Err(())),
        (r#"status.code == STATUS_CODE_ERROR and status.message == "boom""#, Ok(true)),
        ("status.code == 2", Ok(true)),
        ("kind == SPAN_KIND_SERVER", Ok(true)),
        (r#"kind.string == "Server""#, Ok(true)),
        (r#"name == "GET /orders" or attributes["env"]["x"] == 1"#, Ok(true)),
        (r#"IsMatch(name, "^GET")"#, Ok(true)),
        (r#"not IsMatch(name, "^POST")"#, Ok(true)),
        (r#"IsMatch(attributes["count"], "^7$")"#, Ok(true)),
        (r#"IsMatch(attributes["absent"], ".*")"#, Ok(false)),
        (r#"resource.attributes["service.name"] == "shop""#, Ok(true)),
        (r#"instrumentation_scope.name == "lib" and scope.version == "1.2""#, Ok(true)),
        (r#"trace_state["vendor"] == "abc" and trace_state["none"] == """#, Ok(true)),
        ("flags == 257", Ok(true)),
        ("(end_time_unix_nano - start_time_unix_nano) > 500000000", Ok(true)),
        ("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and -1 < 0", Ok(true)),
        ("1 / 0 == 1", Err(())),
        ("9223372036854775807 + 1 == 0", Ok(false)),
        (r#"IsString(attributes["env"]) and IsInt(attributes["count"]) and IsMap(attributes["map"])"#, Ok(true)),
        (r#"IsList(attributes["list"]) and IsDouble(attributes["ratio"]) and IsBool(attributes["hit"])"#, Ok(true)),
        (r#"Int("12") == 12 and Int(attributes["absent"]) == nil and Double("0.5") == 0.5"#, Ok(true)),
        (r#"String(attributes["count"]) == "7""#, Ok(true)),
        (r#"Concat([attributes["env"], attributes["count"]], "-") == "prod-7""#, Ok(true)),
        (r#"ConvertCase("FooBar", "snake") == "foo_bar" and ConvertCase("a_b", "camel") == "AB""#, Ok(true)),
        (r#"ConvertCase(attributes["env"], "upper") == "PROD""#, Ok(true)),
        (r#"Len(attributes["list"]) == 2 and Len(attributes["env"]) == 4 and Len(attributes) == 7"#, Ok(true)),
        (r#"HasPrefix(name, "GET") and HasSuffix(name, "orders")"#, Ok(true)),
        (r#"HasPrefix(attributes["count"], "7")"#, Err(())),
        (r#"Substring(name, 0, 3) == "GET""#, Ok(true)),
        (r#"Substring(name, 5, 3000) == "GET""#, Err(())),
        (r#"Split("a,b", ",")[1] == "b""#, Ok(true)),
        ("IsRootSpan()", Ok(true)),
        (r#"span_id == SpanID(0x0000000000000001) and span_id.string == "0000000000000001""#, Ok(true)),
        ("parent_span_id.string == \"0000000000000000\"", Ok(true)),
        ("true and not (false or false)", Ok(true)),
        ("[1, 2] == [1, 2]", Ok(true)),
    ];
    for (text, expected) in cases {
        let condition = Condition::parse(text, Context::Span).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(condition.matches(&item).map_err(|_| ()), *expected, "{text}");
    }
}

#[test]
fn an_event_is_asked_about_itself_and_its_span() {
    let (span, scope, resource) = item_bytes();
    let item = Item::span(&span, &scope, &resource);
    let event = item.events().next().expect("one event");
    let item = item.with_event(0, event);
    for (text, expected) in [
        (r#"name == "exception""#, true),
        (r#"spanevent.attributes["exception.type"] == "IOError""#, true),
        (r#"span.name == "GET /orders""#, true),
        (r#"attributes["env"] == "prod""#, false),
        (r#"resource.attributes["service.name"] == "shop""#, true),
    ] {
        let condition = Condition::parse(text, Context::SpanEvent).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(condition.matches(&item), Ok(expected), "{text}");
    }
}

#[test]
fn faults_name_their_place_and_what_would_have_been_known() {
    for (text, at, part) in [
        ("attributes[\"a\"] ==", 18, "a value is missing"),
        ("status.cod == 2", 0, "status.code"),
        ("name == \"a\" && true", 12, "means nothing"),
        ("Foo(name) == 1", 0, "no converter `Foo`"),
        ("name == \"abc", 8, "does not end"),
        ("IsMatch(name, \"(\")", 14, "not a regular expression"),
        ("IsMatch(name)", 0, "takes 2 arguments"),
        ("Len(name, 1) == 1", 0, "takes 1"),
        ("kind == SPAN_KIND_NONE", 8, "no known constant"),
        ("name", 0, "not a condition"),
        ("name[\"a\"] == 1", 0, "has no keys"),
        ("name == \"a\" name", 12, "should end"),
        ("ConvertCase(name, \"loud\") == \"a\"", 18, "lower, upper"),
        ("", 0, "a value is missing"),
    ] {
        let fault = Condition::parse(text, Context::Span).expect_err(text);
        assert_eq!(fault.at, at, "{text}: {fault}");
        assert!(fault.message.contains(part), "{text}: {fault}");
    }
}

#[test]
fn neither_deep_nor_long_conditions_break_the_parser() {
    for text in ["(".repeat(100_000), "not ".repeat(10_000), "1+".repeat(20_000), "Len(".repeat(5_000), "-".repeat(999)]
    {
        assert!(Condition::parse(&text, Context::Span).is_err());
    }
    let long = vec!["true"; 5_000].join(" and ");
    assert!(Condition::parse(&long, Context::Span).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_text_parses_or_is_refused_and_any_bytes_can_be_asked(
        text in "[a-zA-Z\\[\\]\"().,=<>!+*/0-9 _-]{0,60}",
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        if let Ok(condition) = Condition::parse(&text, Context::Span) {
            let _ = condition.matches(&Item::span(&bytes, &bytes, &bytes));
        }
        let known = Condition::parse("Len(attributes) > 0 or IsMatch(name, \"a\") or status.message == \"x\"", Context::Span);
        let _ = known.expect("valid").matches(&Item::span(&bytes, &bytes, &bytes));
    }
}
