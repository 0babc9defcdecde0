//! Payloads joined and cut: what batching and isolating a faulty item need, without copying an item.
//!
//! A part shares its whole's ticket, a whole takes over its parts' tickets; shares of the settlement go with the items. Messages are counted from 0 in envelope
//! order; a message is never cut, so that a metric with many points stays whole. Profiles are neither joined nor cut.
//! Groups move from the whole to its parts and are copied only where a part ends within one. What lists are made anew is
//! paid for before, beyond the limit where there is no room: what was taken has to be sent, and only that gives memory back.

pub mod deal;
mod front;

use std::ops::Range;
use std::sync::Arc;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::data::origin::{Origin, Transport};
use crate::core::data::payload::{Envelope, Group, Payload, Signal};
use crate::core::data::settlement::Share;
use crate::otlp::envelope::{count_item, count_items};
use crate::otlp::regroup::portion::front::Front;
use crate::otlp::regroup::split::{without_items, without_scopes};

/// Joins payloads of one signal; `None` when there are none. Payloads of several senders get an internal origin.
pub fn join(payloads: impl IntoIterator<Item = Payload>) -> Option<Payload> {
    let mut payloads: Vec<Payload> = payloads.into_iter().collect();
    if payloads.len() < 2 {
        return payloads.pop();
    }
    let count = payloads.iter().map(|payload| payload.envelope.groups.len()).sum();
    let mut payloads = payloads.into_iter();
    let mut whole = payloads.next()?;
    // The old lists and the new one are there at once; afterwards it stands on what was paid for the old ones.
    let moving = list_bytes::<Group>(count) as u64;
    whole.ticket.grow_anyway(moving);
    let ticket = whole.ticket.clone();
    let mut groups: Vec<Group> = Vec::with_capacity(count); // granted: `moving`
    groups.append(&mut whole.envelope.groups); // granted: within its capacity
    for mut part in payloads {
        whole.origin = joined(&whole.origin, &part.origin);
        whole.items += part.items;
        whole.share.join(part.share);
        groups.append(&mut part.envelope.groups); // granted: within its capacity
        whole.ticket.absorb(part.ticket);
    }
    whole.envelope.groups = groups;
    ticket.give_back(moving);
    Some(whole)
}

/// What is known of the sender of two payloads together.
fn joined(one: &Arc<Origin>, other: &Arc<Origin>) -> Arc<Origin> {
    let both_merged = one.peer.is_none() && other.peer.is_none();
    if Arc::ptr_eq(one, other) || (both_merged && one.headers == other.headers) {
        return one.clone();
    }
    let (accepted, arrived) = (one.accepted_at, one.arrived_at.min(other.arrived_at));
    let mut origin = Origin::new(None, 0, accepted, arrived, Transport::Internal);
    // What all senders said alike still holds.
    origin.headers = one.headers.iter().filter(|header| other.headers.contains(header)).cloned().collect();
    Arc::new(origin)
}

/// A copy of the part of a payload that these messages make up, in envelope order: the whole still answers for its items.
/// One walk to count and one to copy, however many ranges there are.
pub fn part(payload: &Payload, ranges: &[Range<usize>]) -> Payload {
    let ranges = ascending(ranges);
    let (mut groups, mut last) = (0, None);
    each_run(&payload.envelope, &ranges, |run| {
        groups += usize::from(last.replace(run.place.0) != Some(run.place.0));
    });
    let own = payload.ticket.budget().overdraw(list_bytes::<Group>(groups) as u64);
    let envelope = Envelope { groups: Vec::with_capacity(groups), dictionary: None }; // granted: above
    let mut picked = Picked { envelope, last: None, ticket: own };
    each_run(&payload.envelope, &ranges, |run| picked.add(&payload.envelope, run.place, run.items));
    let Picked { envelope, ticket, .. } = picked;
    ticket.absorb(payload.ticket.clone());
    let (signal, origin) = (payload.signal, payload.origin.clone());
    Payload { signal, items: count_items(signal, &envelope), envelope, origin, ticket, share: Share::none() }
}

/// Items of these messages.
pub fn items_in(payload: &Payload, ranges: &[Range<usize>]) -> u64 {
    let mut items = 0;
    each_run(&payload.envelope, &ascending(ranges), |run| {
        let (group, scope) = run.place;
        let scope = payload.envelope.groups.get(group).and_then(|group| group.scopes.get(scope));
        let messages = scope.into_iter().flat_map(|scope| scope.items.range(run.items.start, run.items.len()));
        items += messages.map(|message| count_item(payload.signal, message)).sum::<u64>();
    });
    items
}

fn ascending(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    ranges.sort_unstable_by_key(|range| range.start);
    ranges
}

/// Where a scope stands: its group's number and its own.
type ScopePlace = (usize, usize);

/// Messages of one scope that one range holds.
struct Run {
    place: ScopePlace,
    /// Among the scope's.
    items: Range<usize>,
    /// The first of them in the envelope.
    message: usize,
    /// The number of the range.
    of: usize,
}

/// Calls `visit` with a scope and the items in it that a range holds, range after range: in one walk over the scopes.
/// `ranges` of messages ascend.
fn each_run(envelope: &Envelope, ranges: &[Range<usize>], mut visit: impl FnMut(Run)) {
    let (mut begin, mut at) = (0, 0);
    for (number, group) in envelope.groups.iter().enumerate() {
        for (scope_number, scope) in group.scopes.iter().enumerate() {
            let end = begin + scope.items.len();
            while let Some(range) = ranges.get(at).filter(|range| range.start < end) {
                let messages = range.start.max(begin)..range.end.min(end);
                if !messages.is_empty() {
                    let items = messages.start - begin..messages.end - begin;
                    visit(Run { place: (number, scope_number), items, message: messages.start, of: at });
                }
                if range.end > end {
                    break;
                }
                at += 1;
            }
            begin = end;
        }
    }
}

/// An envelope that is being made of items of another one, in their order.
struct Picked {
    envelope: Envelope,
    last: Option<ScopePlace>,
    /// Pays for its lists.
    ticket: Ticket,
}

impl Picked {
    fn add(&mut self, source: &Envelope, place: ScopePlace, items: Range<usize>) {
        let Some(group) = source.groups.get(place.0) else { return };
        let Some(scope) = group.scopes.get(place.1) else { return };
        if self.last.is_none_or(|last| last.0 != place.0) {
            push_paid(&mut self.envelope.groups, without_scopes(group), &self.ticket);
        }
        let Some(into) = self.envelope.groups.last_mut() else { return };
        if self.last != Some(place) {
            push_paid(&mut into.scopes, without_items(scope), &self.ticket);
        }
        self.last = Some(place);
        if let Some(into) = into.scopes.last_mut() {
            let before = into.items.structure_bytes();
            into.items.extend_from(&scope.items, items);
            self.ticket.grow_anyway((into.items.structure_bytes() - before) as u64);
        }
    }
}

/// Adds to a list whose growth the ticket pays for.
fn push_paid<T>(list: &mut Vec<T>, item: T, ticket: &Ticket) {
    if list.len() == list.capacity() {
        let (before, more) = (list.capacity(), list.len().max(1));
        // The old block and the new one stand side by side while the list moves.
        ticket.grow_anyway(list_bytes::<T>(before + more) as u64);
        list.reserve_exact(more); // granted: above
        ticket.give_back(list_bytes::<T>(before) as u64);
    }
    list.push(item); // granted: above
}

/// Two halves by messages, the first not smaller; the whole and none when there is only one message or the signal cannot
/// be cut.
pub fn halve(mut payload: Payload) -> (Payload, Option<Payload>) {
    let messages = payload.envelope.messages();
    if messages < 2 || payload.signal == Signal::Profiles {
        return (payload, None);
    }
    let mut front = Front::of(std::mem::take(&mut payload.envelope.groups), payload.ticket.clone());
    let first = front.take(messages.div_ceil(2));
    payload.envelope.groups = front.rest();
    // The halves' lists stand on what was paid for those of the whole, which are gone.
    payload.ticket.give_back(front.paid());
    let first = front_of(&mut payload, first);
    payload.items = count_items(payload.signal, &payload.envelope);
    (first, Some(payload))
}

/// Groups that were taken from the payload, with their share.
fn front_of(payload: &mut Payload, groups: Vec<Group>) -> Payload {
    let envelope = Envelope { groups, dictionary: None };
    let items = count_items(payload.signal, &envelope);
    let share = payload.share.split(items);
    let (origin, ticket) = (payload.origin.clone(), payload.ticket.clone());
    Payload { signal: payload.signal, items, envelope, origin, ticket, share }
}

/// How many units a message is.
pub type Size = fn(Signal, &[u8]) -> u64;

/// Parts of at most `max` units each, where `size` gives the units of one message; a larger message is a part of its own.
/// A part is made when it is asked for; what is not asked for keeps its share.
pub fn cut(mut payload: Payload, max: u64, size: Size) -> Cut {
    let max = if payload.signal == Signal::Profiles || max == 0 { u64::MAX } else { max };
    let front = Front::of(std::mem::take(&mut payload.envelope.groups), payload.ticket.clone());
    Cut { left: Some(payload), front, max, size, is_cut: false }
}

/// See [`cut`].
pub struct Cut {
    /// Without the groups, which are in `front`.
    left: Option<Payload>,
    front: Front,
    max: u64,
    size: Size,
    is_cut: bool,
}

impl Cut {
    /// How many messages make up the next part; `None`: all that are left.
    fn next_end(&self, signal: Signal) -> Option<usize> {
        let mut held = 0u64;
        for (at, message) in self.front.messages().enumerate() {
            held = held.saturating_add((self.size)(signal, message));
            if at > 0 && held > self.max {
                return Some(at);
            }
        }
        None
    }
}

impl Iterator for Cut {
    type Item = Payload;

    fn next(&mut self) -> Option<Payload> {
        let mut left = self.left.take()?;
        let end = if self.max == u64::MAX { None } else { self.next_end(left.signal) };
        let Some(messages) = end else {
            left.envelope.groups = self.front.rest();
            if self.is_cut {
                left.items = count_items(left.signal, &left.envelope);
            }
            return Some(left);
        };
        self.is_cut = true;
        let groups = self.front.take(messages);
        let part = front_of(&mut left, groups);
        self.left = Some(left);
        Some(part)
    }
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
    use crate::core::data::budget::Ticket;
    use crate::core::data::payload::{Group, ScopeGroup};
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
        Payload {
            signal: Signal::Traces,
            items: items.len() as u64,
            envelope,
            origin,
            ticket: Ticket::free(),
            share: Share::none(),
        }
    }

    fn words(payload: &Payload) -> Vec<&[u8]> {
        payload.envelope.items().collect()
    }

    #[test]
    fn cutting_and_joining_again_keeps_every_item_in_order() {
        let items: [&'static [u8]; 5] = [b"a", b"bb", b"ccc", b"d", b"eeeee"];
        for max in 0..8 {
            let parts: Vec<Payload> = cut(payload(&items), max, bytes_of).collect();
            for part in &parts {
                let bytes: usize = words(part).iter().map(|word| word.len()).sum();
                assert!(max == 0 || bytes as u64 <= max || part.items == 1, "{max}: {part:?}");
            }
            let whole = join(parts).unwrap();
            assert_eq!((words(&whole), whole.items), (items.to_vec(), 5), "{max}");
        }
    }

    #[test]
    fn a_part_is_what_its_ranges_say_in_whatever_order_and_across_scopes() {
        let items: [&'static [u8]; 7] = [b"0", b"1", b"2", b"3", b"4", b"5", b"6"];
        let whole = payload(&items);
        for (ranges, expected) in [
            (vec![5..7, 0..1], "0 5 6"),
            (vec![2..3, 3..4], "2 3"),
            (vec![0..0, 1..2, 2..3, 6..6], "1 2"),
            (vec![0..3, 3..7], "0 1 2 3 4 5 6"),
            (vec![4..9, 2..4], "2 3 4 5 6"),
            (vec![], ""),
        ] {
            let picked = part(&whole, &ranges);
            let found: Vec<&str> = words(&picked).iter().map(|word| std::str::from_utf8(word).unwrap()).collect();
            assert_eq!((found.join(" ").as_str(), picked.items as usize), (expected, found.len()), "{ranges:?}");
        }
    }

    #[test]
    fn halves_cover_the_whole_and_one_message_has_none() {
        let (first, second) = halve(payload(&[b"a", b"b", b"c"]));
        let second = second.unwrap();
        assert_eq!((words(&first), words(&second)), (vec![&b"a"[..], b"b"], vec![&b"c"[..]]));
        assert!(halve(payload(&[b"a"])).1.is_none());
        let profiles = Payload { signal: Signal::Profiles, ..payload(&[b"a", b"b"]) };
        assert!(halve(profiles).1.is_none());
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
