//! Metrics cut for several members, read back by another decoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, Sum, metric::Data};
use prost::Message;

use super::*;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::data::settlement::Share;
use crate::core::time::UnixNanos;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A point of each number, its attributes in one order or in the other.
fn points(numbers: std::ops::Range<u64>, turned: bool) -> Vec<NumberDataPoint> {
    let made = numbers.map(|number| {
        let mut attributes = vec![attribute("host", &format!("h{number}")), attribute("zone", "a")];
        if turned {
            attributes.reverse();
        }
        NumberDataPoint { attributes, time_unix_nano: number, ..NumberDataPoint::default() }
    });
    made.collect()
}

fn sum(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
    let (unit, description) = ("By".to_owned(), "what it counts".to_owned());
    Metric { name: name.to_owned(), unit, description, data: Some(Data::Sum(data)), ..Metric::default() }
}

fn payload(metrics: &[Bytes]) -> Payload {
    let scope = ScopeGroup { items: metrics.iter().cloned().collect(), ..ScopeGroup::default() };
    let group = Group { scopes: vec![scope], ..Group::default() };
    let envelope = Envelope { groups: vec![group], dictionary: None };
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    let (ticket, share) = (Ticket::free(), Share::none());
    Payload { signal: Signal::Metrics, items: 0, envelope, origin, ticket, share }
}

fn ring(members: u16) -> Ring {
    Ring::new((0..members).map(|at| format!("10.0.0.{at}:4317")))
}

/// Which member has which points, and how many messages there are.
fn dealt(payload: &Payload, by: &RoutingKey, ring: &Ring) -> (BTreeMap<u64, usize>, usize) {
    let mut owners = MemberOwners::new(Signal::Metrics, by, ring);
    let (mut seen, mut messages) = (BTreeMap::new(), 0);
    let group = &payload.envelope.groups[0];
    for (message, bytes) in group.scopes[0].items.iter().enumerate() {
        let at = Dealing { message, group_number: 0, scope_number: 0, group, scope: &group.scopes[0], bytes };
        let owner = owners.of(&at).expect("there are members");
        let metric = Metric::decode(bytes).expect("a metric");
        let Some(Data::Sum(sum)) = metric.data else { panic!("a sum") };
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
        assert_eq!((metric.unit.as_str(), metric.description.as_str()), ("By", "what it counts"));
        messages += 1;
        for point in sum.data_points {
            assert_eq!(seen.insert(point.time_unix_nano, owner), None, "every point once");
        }
    }
    (seen, messages)
}

#[test]
fn each_stream_has_one_owner_whatever_it_comes_with_and_in_whatever_order_its_attributes_stand() {
    let (by, ring) = (RoutingKey::StreamId, ring(3));
    let mut one = payload(&[sum("a", points(0..40, false)).encode_to_vec().into()]);
    cut(&mut one, &by, &ring);
    let (owners, messages) = dealt(&one, &by, &ring);
    assert_eq!((owners.len(), messages), (40, 3));
    for number in 0..40 {
        let mut alone = payload(&[sum("a", points(number..number + 1, true)).encode_to_vec().into()]);
        cut(&mut alone, &by, &ring);
        assert_eq!(dealt(&alone, &by, &ring).0.get(&number), owners.get(&number), "{number}");
    }
    let mut other = payload(&[sum("b", points(0..40, false)).encode_to_vec().into()]);
    cut(&mut other, &by, &ring);
    assert_ne!(dealt(&other, &by, &ring).0, owners, "another metric has other streams");
}

#[test]
fn a_metric_of_one_owner_is_not_touched_and_what_stands_beside_a_cut_one_stays() {
    let ring = ring(3);
    let by = RoutingKey::Attributes(vec!["zone".to_owned()]);
    let whole = Bytes::from(sum("a", points(0..9, false)).encode_to_vec());
    let mut same = payload(std::slice::from_ref(&whole));
    cut(&mut same, &by, &ring);
    assert_eq!(same.envelope.items().collect::<Vec<_>>(), [&whole[..]]);
    let (single, many) = (sum("s", points(50..51, false)), sum("m", points(0..30, false)));
    let mut mixed =
        payload(&[single.encode_to_vec().into(), many.encode_to_vec().into(), Bytes::from_static(b"\xff\xff")]);
    cut(&mut mixed, &RoutingKey::StreamId, &ring);
    let items: Vec<&[u8]> = mixed.envelope.items().collect();
    assert_eq!((items.first(), items.last()), (Some(&&single.encode_to_vec()[..]), Some(&&b"\xff\xff"[..])));
    assert_eq!(items.len(), 5, "one, three parts, and what cannot be walked");
}

#[test]
fn a_metric_whose_surroundings_would_be_copied_for_too_many_owners_stays_whole() {
    let ring = ring(64);
    let messages = |description: usize| {
        let described = Metric { description: "d".repeat(description), ..sum("m", points(0..500, false)) };
        let mut payload = payload(&[described.encode_to_vec().into()]);
        let before = payload.envelope.groups[0].scopes[0].items.iter().map(<[u8]>::len).sum::<usize>();
        cut(&mut payload, &RoutingKey::StreamId, &ring);
        let items = &payload.envelope.groups[0].scopes[0].items;
        assert!(items.iter().map(<[u8]>::len).sum::<usize>() <= (COPIES_MAX + 2) * before);
        items.len()
    };
    assert_eq!(messages(100), 64);
    assert_eq!(messages(1 << 20), 1);
}
