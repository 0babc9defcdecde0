//! Payloads joined and cut: what batching and isolating a faulty item need, without copying an item.
//!
//! A part shares its whole's ticket, a whole takes over its parts' tickets. Messages are counted from 0 in envelope
//! order; a message is never cut, so that a metric with many points stays whole. Profiles are neither joined nor cut.

use std::ops::Range;
use std::sync::Arc;

use crate::core::origin::{Origin, Transport};
use crate::core::payload::{Payload, Signal};
use crate::otlp::envelope::{append, count_item, count_items};
use crate::otlp::split::{for_each_place, pick};

/// Joins payloads of one signal; `None` when there are none. Payloads of several senders get an internal origin.
pub fn join(payloads: impl IntoIterator<Item = Payload>) -> Option<Payload> {
    let mut payloads = payloads.into_iter();
    let mut whole = payloads.next()?;
    for part in payloads {
        if !Arc::ptr_eq(&whole.origin, &part.origin) && (part.origin.peer.is_some() || whole.origin.peer.is_some()) {
            let (accepted, arrived) = (whole.origin.accepted_at, whole.origin.arrived_at.min(part.origin.arrived_at));
            let mut origin = Origin::new(None, 0, accepted, arrived, Transport::Internal);
            // What all senders said alike still holds.
            let alike = whole.origin.headers.iter().filter(|header| part.origin.headers.contains(header));
            origin.headers = alike.cloned().collect();
            whole.origin = Arc::new(origin);
        }
        whole.items += part.items;
        whole.ticket.absorb(part.ticket);
        append(&mut whole.envelope, part.envelope);
    }
    Some(whole)
}

/// The part of a payload that these messages make up.
pub fn part(payload: &Payload, ranges: &[Range<usize>]) -> Payload {
    let mut places = Vec::with_capacity(ranges.iter().map(ExactSizeIterator::len).sum());
    let mut message = 0;
    for_each_place(&payload.envelope, |place, _| {
        if ranges.iter().any(|range| range.contains(&message)) {
            places.push(place);
        }
        message += 1;
    });
    let envelope = pick(&payload.envelope, &mut places);
    let items = count_items(payload.signal, &envelope);
    Payload { signal: payload.signal, items, envelope, origin: payload.origin.clone(), ticket: payload.ticket.clone() }
}

/// Two halves by messages, the first not smaller; `None` when there is only one message or the signal cannot be cut.
pub fn halve(payload: &Payload) -> Option<(Payload, Payload)> {
    let messages = payload.envelope.messages();
    if messages < 2 || payload.signal == Signal::Profiles {
        return None;
    }
    let middle = messages.div_ceil(2);
    let half = |range: Range<usize>| part(payload, std::slice::from_ref(&range));
    Some((half(0..middle), half(middle..messages)))
}

/// Parts of at most `max` units each, where `size` gives the units of one message; a larger message is a part of its own.
pub fn cut(payload: Payload, max: u64, size: impl Fn(Signal, &[u8]) -> u64) -> Vec<Payload> {
    if payload.signal == Signal::Profiles || max == 0 {
        return vec![payload];
    }
    let (mut parts, mut from, mut at, mut held) = (Vec::new(), 0, 0, 0u64);
    for_each_place(&payload.envelope, |_, item| {
        let units = size(payload.signal, item);
        if at > from && held + units > max {
            parts.push(from..at);
            (from, held) = (at, 0);
        }
        held += units;
        at += 1;
    });
    if parts.is_empty() {
        return vec![payload];
    }
    parts.push(from..at);
    parts.into_iter().map(|range| part(&payload, std::slice::from_ref(&range))).collect()
}

/// The unit of `cut` for limits in items.
pub fn items_of(signal: Signal, message: &[u8]) -> u64 {
    count_item(signal, message)
}

/// The unit of `cut` for limits in bytes: the message alone, without its share of resource and scope.
pub fn bytes_of(_: Signal, message: &[u8]) -> u64 {
    message.len() as u64
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::budget::Ticket;
    use crate::core::payload::{Envelope, Group, ScopeGroup};
    use crate::core::time::UnixNanos;

    fn payload(items: &[&'static [u8]]) -> Payload {
        let scope = |items: &[&'static [u8]]| ScopeGroup {
            items: items.iter().map(|item| Bytes::from_static(item)).collect(),
            ..ScopeGroup::default()
        };
        let (left, right) = items.split_at(items.len() / 2);
        let group = Group { scopes: vec![scope(left), scope(right)], ..Group::default() };
        let origin = Arc::new(Origin::internal(UnixNanos(5)));
        let envelope = Envelope { groups: vec![group], dictionary: None };
        Payload { signal: Signal::Traces, items: items.len() as u64, envelope, origin, ticket: Ticket::free() }
    }

    fn words(payload: &Payload) -> Vec<&[u8]> {
        payload.envelope.items().collect()
    }

    #[test]
    fn cutting_and_joining_again_keeps_every_item_in_order() {
        let items: [&'static [u8]; 5] = [b"a", b"bb", b"ccc", b"d", b"eeeee"];
        for max in 0..8 {
            let parts = cut(payload(&items), max, bytes_of);
            for part in &parts {
                let bytes: usize = words(part).iter().map(|word| word.len()).sum();
                assert!(max == 0 || bytes as u64 <= max || part.items == 1, "{max}: {part:?}");
            }
            let whole = join(parts).unwrap();
            assert_eq!((words(&whole), whole.items), (items.to_vec(), 5), "{max}");
        }
    }

    #[test]
    fn halves_cover_the_whole_and_one_message_has_none() {
        let (first, second) = halve(&payload(&[b"a", b"b", b"c"])).unwrap();
        assert_eq!((words(&first), words(&second)), (vec![&b"a"[..], b"b"], vec![&b"c"[..]]));
        assert!(halve(&payload(&[b"a"])).is_none());
        let profiles = Payload { signal: Signal::Profiles, ..payload(&[b"a", b"b"]) };
        assert!(halve(&profiles).is_none());
    }

    #[test]
    fn payloads_of_several_senders_become_nobodys() {
        let sent_by = |port: u16| {
            let peer = Some(([10, 0, 0, 1], port).into());
            let mut origin = Origin::new(peer, 7, UnixNanos(1), UnixNanos(u64::from(port)), Transport::Grpc);
            origin.headers = vec![("mode".to_owned(), "x".to_owned()), ("port".to_owned(), port.to_string())];
            Payload { origin: Arc::new(origin), ..payload(&[b"a", b"b"]) }
        };
        let merged = join([sent_by(9), sent_by(3)]).unwrap();
        assert_eq!((merged.origin.peer, merged.origin.transport), (None, Transport::Internal));
        assert_eq!(merged.origin.arrived_at, UnixNanos(3));
        assert_eq!(merged.origin.headers, [("mode".to_owned(), "x".to_owned())]);
        assert_eq!(join([sent_by(9)]).unwrap().origin.peer, Some(([10, 0, 0, 1], 9).into()));
        assert!(join([]).is_none());
    }
}
