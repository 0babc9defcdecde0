//! Events as the API server writes them, read back as protobuf: names, times, severities, bodies, and what is refused.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use super::answer::Untaken;
use super::{intake, list};
use crate::core::data::budget::{Budget, Ticket};
use crate::core::time::UnixNanos;
use crate::kube::audit::event::EventMarks;
use crate::kube::audit::form::{EventBody, EventForm, NamespaceFrom, StreamRoute};
use crate::net::server::body::Gathered;

const ID: &str = "0c2a6b3a-9a0e-4bd1-9ad0-fb3a2b7d6f10";

fn form(body: EventBody) -> EventForm {
    EventForm { body, stream: None }
}

fn read(body: &str, form: &EventForm) -> Result<(Vec<LogRecord>, Vec<EventMarks>), String> {
    let events = list::read(body.as_bytes(), form, UnixNanos(7), &Ticket::free()).map_err(|why| why.to_string())?;
    let records = events.records.iter().map(|record| LogRecord::decode(record).expect("a record")).collect();
    Ok((records, events.marks))
}

fn event() -> String {
    format!(
        r#"{{"level":"Metadata","auditID":"{ID}","stage":"ResponseComplete",
        "requestURI":"/api/v1/namespaces/shop/pods?limit=5\u0026x=1","verb":"list",
        "user":{{"username":"system:serviceaccount:shop:cart","uid":"u-1","groups":["a","b"],"extra":{{"k":["v"]}}}},
        "sourceIPs":["10.1.2.3","10.9.9.9"],"userAgent":"kubectl/v1.36",
        "objectRef":{{"resource":"pods","namespace":"shop","apiVersion":"v1"}},
        "responseStatus":{{"metadata":{{}},"code":403,"reason":"Forbidden"}},
        "requestReceivedTimestamp":"2026-12-01T10:00:00.000001Z","stageTimestamp":"2026-12-01T10:00:00.250000Z",
        "annotations":{{"authorization.k8s.io/decision":"forbid","audit.k8s.io/truncated":"true"}},"newer":[1,{{"x":2}}]}}"#
    )
}

fn listed(events: &[String]) -> String {
    format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#, events.join(","))
}

fn attribute(record: &LogRecord, key: &str) -> Option<Value> {
    let found = record.attributes.iter().find(|pair| pair.key == key)?;
    found.value.clone()?.value
}

fn text(record: &LogRecord, key: &str) -> Option<String> {
    match attribute(record, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[test]
fn an_event_becomes_a_record_with_the_names_of_the_conventions() {
    let (records, marks) = read(&listed(&[event()]), &form(EventBody::Map)).unwrap();
    let record = &records[0];
    assert_eq!(record.time_unix_nano, 1_796_119_200_250_000_000);
    assert_eq!((record.observed_time_unix_nano, record.severity_number, &*record.severity_text), (7, 13, "WARN"));
    for (key, expected) in [
        ("k8s.audit.id", ID),
        ("k8s.audit.stage", "ResponseComplete"),
        ("k8s.audit.level", "Metadata"),
        ("k8s.audit.verb", "list"),
        ("http.request.method", "GET"),
        ("url.path", "/api/v1/namespaces/shop/pods"),
        ("url.query", "limit=5&x=1"),
        ("user.name", "system:serviceaccount:shop:cart"),
        ("user.id", "u-1"),
        ("client.address", "10.1.2.3"),
        ("user_agent.original", "kubectl/v1.36"),
        ("k8s.namespace.name", "shop"),
        ("k8s.audit.object.resource", "pods"),
        ("k8s.audit.response.reason", "Forbidden"),
        ("k8s.audit.annotation.authorization.k8s.io/decision", "forbid"),
    ] {
        assert_eq!(text(record, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(attribute(record, "http.response.status_code"), Some(Value::IntValue(403)));
    let Some(Value::ArrayValue(addresses)) = attribute(record, "k8s.audit.source_addresses") else { panic!("a list") };
    assert_eq!(addresses.values.len(), 2);
    assert!(marks[0].truncated && marks[0].key.is_some());
    let Some(Value::KvlistValue(body)) = record.body.clone().and_then(|body| body.value) else { panic!("a map") };
    let keys: Vec<&str> = body.values.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!((keys[0], keys[keys.len() - 1], keys.len()), ("level", "newer", 14), "unknown fields stay");
}

#[test]
fn an_event_is_the_same_when_its_bytes_are_whatever_id_a_client_gave_it() {
    let key = |event: &str| read(&listed(&[event.to_owned()]), &form(EventBody::Absent)).expect("a list").1[0].key;
    let first = r#"{"auditID":"x","stage":"ResponseComplete","verb":"get"}"#;
    assert_eq!(key(first), key(first));
    assert_ne!(key(first), key(&first.replace("get", "delete")), "the client wrote the same id");
    assert_ne!(key(first), key(&first.replace("Complete", "Started")));
    assert_eq!(key(r#"{"verb":"get"}"#), None, "without an id nothing is known of it");
}

#[test]
fn a_body_may_be_the_text_of_the_event_or_absent() {
    let (records, _) = read(&listed(&[event()]), &form(EventBody::Json)).unwrap();
    let body = records[0].body.clone().and_then(|body| body.value);
    assert_eq!(body, Some(Value::StringValue(event())));
    let (records, _) = read(&listed(&[event()]), &form(EventBody::Absent)).unwrap();
    assert_eq!(records[0].body, None);
}

#[test]
fn events_are_routed_by_the_namespace_of_the_object_or_by_the_user() {
    let without = r#"{"auditID":"x","user":{"username":"admin"}}"#.to_owned();
    for (from, expected) in [
        (NamespaceFrom::Fixed, ["rest", "rest"]),
        (NamespaceFrom::Object, ["shop", "rest"]),
        (NamespaceFrom::User, ["system:serviceaccount:shop:cart", "admin"]),
    ] {
        let stream = StreamRoute { dataset: "kubernetes.audit".to_owned(), from, namespace: "rest".to_owned() };
        let form = EventForm { body: EventBody::Absent, stream: Some(stream) };
        let (records, _) = read(&listed(&[event(), without.clone()]), &form).unwrap();
        for (record, expected) in records.iter().zip(expected) {
            assert_eq!(text(record, "data_stream.namespace").as_deref(), Some(expected), "{from:?}");
            assert_eq!(text(record, "data_stream.dataset").as_deref(), Some("kubernetes.audit"));
        }
    }
}

#[test]
fn fields_of_another_type_are_passed_over_and_stay_in_the_body() {
    let odd = r#"{"auditID":7,"stage":null,"user":"root","sourceIPs":"10.0.0.1","responseStatus":{"code":"200"},
        "annotations":[1],"objectRef":null,"stageTimestamp":"yesterday","verb":{},"requestURI":[]}"#;
    let (records, marks) = read(&listed(&[odd.to_owned()]), &form(EventBody::Map)).unwrap();
    assert_eq!((records[0].attributes.len(), records[0].time_unix_nano, records[0].severity_number), (0, 0, 9));
    assert_eq!(marks[0], EventMarks::default());
    assert!(records[0].body.is_some());
}

#[test]
fn severity_follows_the_status_and_a_panic() {
    for (event, expected) in [
        (r#"{"responseStatus":{"code":200}}"#, 9),
        (r#"{"responseStatus":{"code":404}}"#, 13),
        (r#"{"responseStatus":{"code":500}}"#, 17),
        (r#"{"stage":"Panic","responseStatus":{"code":200}}"#, 17),
        ("{}", 9),
    ] {
        let (records, _) = read(&listed(&[event.to_owned()]), &form(EventBody::Absent)).unwrap();
        assert_eq!(records[0].severity_number, expected, "{event}");
    }
}

#[test]
fn what_is_no_list_of_events_is_refused_in_words() {
    let form = form(EventBody::Map);
    for (body, said) in [
        ("", "expected an object, found the end"),
        ("[]", "expected an object"),
        ("{}", "no `items`"),
        (r#"{"kind":"Event","items":[]}"#, "`kind` is \"Event\": expected EventList"),
        (r#"{"apiVersion":"audit.k8s.io/v1beta1","items":[]}"#, "expected audit.k8s.io/v1"),
        (r#"{"items":[1]}"#, "expected an object"),
        (r#"{"items":[{"a":}]}"#, "expected a JSON value"),
        (r#"{"items":[{}]} x"#, "expected the end of the body"),
        (r#"{"items":[{"auditID":"a"}"#, "expected `,` or `]`, found the end"),
    ] {
        let fault = read(body, &form).expect_err(body);
        assert!(fault.contains(said), "{body}: {fault}");
    }
    assert_eq!(read(r#"{"items":null}"#, &form).map(|(records, _)| records.len()), Ok(0));
}

#[test]
fn what_needs_more_than_the_whole_budget_is_told_so_and_all_else_to_come_again() {
    let body = bytes::Bytes::from(listed(&vec![event(); 100]));
    let decoded = |memory: u64, others: u64| {
        let budget = Budget::new(memory, memory);
        let (others, ticket) = (budget.take(others).unwrap(), budget.take(body.len() as u64).unwrap());
        let answer = intake::decode(Gathered { bytes: body.clone(), ticket }, &form(EventBody::Map), UnixNanos(7));
        drop(others);
        answer.map(|(events, _)| events.marks.len())
    };
    let text = body.len() as u64;
    assert_eq!(decoded(20 * text, 0).expect("room"), 100);
    let alone = decoded(text * 3 / 2, 0).expect_err("half of the text is left for records");
    let Untaken::TooLarge(said) = alone else { panic!("{alone:?}") };
    assert!(said.contains("--audit-webhook-batch-max-size"), "{said}");
    let full = decoded(20 * text, 19 * text - text / 2).expect_err("others have the memory");
    assert!(matches!(full, Untaken::Later { .. }), "{full:?}");
}

#[test]
fn records_are_paid_for_before_they_are_written() {
    let budget = Budget::new(60_000, 60_000);
    let ticket = budget.take(0).unwrap();
    let body = listed(&vec![event(); 200]);
    let refused = list::read(body.as_bytes(), &form(EventBody::Map), UnixNanos(7), &ticket);
    assert!(matches!(refused, Err(list::BadList::OverBudget { .. })));
    assert!(budget.peak() <= 60_000);
}
