//! Resources change, everything else and every unchanged resource stays the slice it was, and memory is asked for.

use bytes::Bytes;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use podgate::core::error::Reason;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::attributes::find;
use podgate::otlp::edit::Appender;
use podgate::otlp::walk::AnyValue;
use podgate::processors::resource::FACTORY;
use podgate::testing::stage::{bench, errors};
use podgate::testing::telemetry;

const BODY: &str = "{attributes: [{key: cloud.availability_zone, value: zone-1, action: upsert}, \
                    {key: k8s.cluster.name, from_attribute: k8s-cluster, action: insert}, \
                    {key: redundant, action: delete}]}";

fn resource(attributes: &[(&str, &str)]) -> Bytes {
    let mut edit = Appender::new(b"").expect("valid");
    attributes.iter().for_each(|(key, value)| edit.append(key, *value));
    edit.finish().expect("unlimited")
}

fn payload(signal: Signal, resources: Vec<Option<Bytes>>) -> Payload {
    let group = |resource| {
        let items = vec![Bytes::from_static(b"\x0a\x01x")].into();
        Group { resource, scopes: vec![ScopeGroup { items, ..ScopeGroup::default() }], ..Group::default() }
    };
    let envelope = Envelope { groups: resources.into_iter().map(group).collect(), dictionary: None };
    let items = envelope.groups.len() as u64;
    Payload { envelope, items, ..telemetry::payload(signal, Bytes::new(), UnixNanos(0)) }
}

#[test]
fn resources_of_every_signal_are_changed_and_absent_ones_made() {
    for signal in Signal::ALL {
        let bench = bench(&FACTORY, BODY, signal, Host::new(Budget::unlimited()));
        let full = resource(&[("cloud.availability_zone", "other"), ("k8s-cluster", "test"), ("redundant", "x")]);
        let sent = bench.send(payload(signal, vec![None, Some(full)])).remove(0);
        let text = |at: usize, key: &str| {
            let found = find(sent.envelope.groups[at].resource.as_deref().unwrap_or_default(), key);
            found.and_then(|value| value.as_str().map(str::to_owned))
        };
        assert_eq!(text(0, "cloud.availability_zone").as_deref(), Some("zone-1"), "{signal:?}");
        assert_eq!(text(1, "cloud.availability_zone").as_deref(), Some("zone-1"), "{signal:?}");
        assert_eq!((text(1, "k8s.cluster.name").as_deref(), text(1, "redundant")), (Some("test"), None), "{signal:?}");
        assert_eq!(sent.items, 2);
        assert_eq!(bench.host.stats.total("otelcol_processor_outgoing_items"), 2);
    }
}

#[test]
fn a_resource_that_no_action_changes_keeps_its_bytes_and_asks_for_no_memory() {
    let host = Host::new(Budget::new(1, 1));
    let bench = bench(&FACTORY, BODY, Signal::Traces, host.clone());
    let same = resource(&[("cloud.availability_zone", "zone-1"), ("service.name", "cart")]);
    let (broken, before) = (Bytes::from_static(&[0x0a, 0x7f]), same.as_ptr());
    let mut payload = payload(Signal::Traces, vec![Some(same), Some(broken.clone())]);
    payload.ticket = host.budget.take(0).expect("nothing");
    let sent = bench.send(payload).remove(0);
    let bytes = |at: usize| sent.envelope.groups[at].resource.clone().expect("a resource");
    assert_eq!((bytes(0).as_ptr(), bytes(1)), (before, broken), "what cannot be walked passes as it is");
    assert_eq!(host.budget.refused(), 0);
}

#[tokio::test]
async fn without_memory_for_the_change_the_sender_keeps_its_data() {
    let host = Host::new(Budget::new(10, 10));
    let bench = bench(&FACTORY, BODY, Signal::Logs, host.clone());
    let mut payload = payload(Signal::Logs, vec![None]);
    payload.ticket = host.budget.take(1).expect("fits");
    let refused = bench.consumer.consume(payload).await.expect_err("no memory");
    assert!(refused.is_retryable() && refused.reason() == Reason::MEMORY);
    assert_eq!((host.budget.used(), bench.sink.items()), (0, 0));
}

#[test]
fn a_profiles_resource_that_names_its_attributes_elsewhere_is_left_alone() {
    let bench = bench(&FACTORY, BODY, Signal::Profiles, Host::new(Budget::unlimited()));
    // A key by its place in the dictionary (field 3), and a value.
    let indexed = Bytes::from_static(&[0x0a, 0x07, 0x18, 0x05, 0x12, 0x03, 0x0a, 0x01, b'v']);
    let sent = bench.send(payload(Signal::Profiles, vec![Some(indexed.clone()), None])).remove(0);
    assert_eq!(sent.envelope.groups[0].resource, Some(indexed));
    let made = sent.envelope.groups[1].resource.clone().expect("made");
    assert_eq!(find(&made, "cloud.availability_zone"), Some(AnyValue::Str(b"zone-1")));
}

#[test]
fn a_body_without_actions_is_refused() {
    for (body, path) in [("{}", "attributes"), ("{attributes: {}}", "attributes"), ("{attributes: 1}", "attributes")] {
        let errors = errors(&FACTORY, body);
        assert!(errors.len() == 1 && errors[0].0 == path, "{body}: {errors:?}");
    }
    assert_eq!(errors(&FACTORY, "{attributes: [{key: a, action: delete}], actions: []}")[0].0, "actions");
}
