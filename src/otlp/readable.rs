//! A request with every item looked into once: what can be walked goes on, what cannot is left out and counted. Log
//! records and points lose ids that cannot be any and go on without them.
//!
//! Finding an item, walking it and counting it happen in one pass over the bytes, because fetching them is most of the
//! cost. It must not know what becomes of the items, nor who sent them.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::payload::{Envelope, Signal};
use crate::otlp::envelope::{Unreadable, count_item, count_items, decode_within};
use crate::otlp::regroup::rewrite::Rewrite;
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::{attributes, depth, envelope};

/// A request's readable part.
#[derive(Debug)]
pub struct Readable {
    pub envelope: Envelope,
    /// Items in the envelope, in the unit of the balance.
    pub items: u64,
    /// Items left out, because they, their scope or their resource cannot be walked or nest too deeply; each counts at
    /// least one.
    pub malformed: u64,
    /// Log records and metrics in the envelope that lost an id of a wrong length.
    pub without_ids: u64,
}

/// Reads an export request; the ticket has paid for its lists. An error means that there is no memory for them, or that
/// not even the outer lists can be walked.
pub fn read(signal: Signal, body: Bytes, ticket: &Ticket) -> Result<Readable, Unreadable> {
    let (mut items, mut malformed, mut bad_ids) = (0, 0, false);
    let mut envelope = decode_within(body, ticket, |item| {
        let verdict = look(signal, item);
        // Looked at once more when all the others are found.
        bad_ids |= verdict == Err(Malformed::Id);
        let readable = verdict.is_ok() || (verdict == Err(Malformed::Id) && signal != Signal::Traces);
        let count = count_item(signal, item);
        if readable {
            items += count;
        } else {
            malformed += count.max(1);
        }
        readable
    })?;
    if signal != Signal::Profiles {
        // A field nobody knows yet, which would keep requests from being merged.
        envelope.dictionary = None;
    }
    let unread = drop_unreadable_scopes(signal, &mut envelope);
    let mut stripped = Stripped::default();
    if bad_ids && signal != Signal::Traces {
        stripped = strip_ids(signal, &mut envelope, ticket)?;
    }
    if unread + stripped.unreadable > 0 {
        malformed += unread + stripped.unreadable;
        items = count_items(signal, &envelope);
    }
    Ok(Readable { envelope, items, malformed, without_ids: stripped.kept })
}

/// Whether the item's fields can be walked and its values do not nest too deeply. One walk tells both, except of
/// profiles, which hold no values.
fn look(signal: Signal, item: &[u8]) -> Result<(), Malformed> {
    match signal {
        Signal::Profiles => Fields::new(item).try_for_each(|field| field.map(drop)),
        Signal::Traces | Signal::Logs | Signal::Metrics => depth::check_depth(signal, item),
    }
}

#[derive(Default)]
struct Stripped {
    /// Items that go on without their bad ids.
    kept: u64,
    /// Items, in the unit of the balance, that cannot be read beside their ids either, and are gone.
    unreadable: u64,
}

/// Takes the ids of a wrong length out of every item that has one.
fn strip_ids(signal: Signal, envelope: &mut Envelope, ticket: &Ticket) -> Result<Stripped, OverBudget> {
    let mut stripped = Stripped::default();
    let mut rewrite = Rewrite::within(ticket);
    let (mut one, mut room) = (Granted::new(), Allowance::working(ticket));
    for group in &mut envelope.groups {
        for scope in &mut group.scopes {
            let bad = || scope.items.iter().enumerate().filter(|(_, item)| look(signal, item) == Err(Malformed::Id));
            // One in a large request costs its own length.
            rewrite.expect(bad().map(|(_, item)| item.len()).sum());
            for (at, item) in bad() {
                one.clear();
                one.reserve(item.len(), &mut room)?;
                if depth::push_without_bad_ids(signal, item, one.within()).is_some() {
                    stripped.kept += 1;
                    rewrite.replace(&scope.items, at, &one);
                } else {
                    stripped.unreadable += count_item(signal, item).max(1);
                    rewrite.drop_item(&scope.items, at);
                }
            }
            if let Some(items) = rewrite.finish(&scope.items)? {
                scope.items = items;
            }
        }
        group.scopes.retain(|scope| !scope.items.is_empty());
    }
    envelope.groups.retain(|group| !group.scopes.is_empty());
    Ok(stripped)
}

/// Removes all items of a resource or scope that cannot be walked, and what is empty then; returns how many they were.
fn drop_unreadable_scopes(signal: Signal, envelope: &mut Envelope) -> u64 {
    let mut dropped = 0;
    for group in &mut envelope.groups {
        let group_ok = group
            .resource
            .as_ref()
            .is_none_or(|resource| depth::check_attributes(resource, attributes::RESOURCE).is_ok());
        group.scopes.retain(|scope| {
            let scope_ok =
                scope.scope.as_ref().is_none_or(|scope| depth::check_attributes(scope, attributes::SCOPE).is_ok());
            if !group_ok || !scope_ok {
                dropped += scope.items.iter().map(|item| envelope::count_item(signal, item).max(1)).sum::<u64>();
            }
            group_ok && scope_ok && !scope.items.is_empty()
        });
    }
    envelope.groups.retain(|group| !group.scopes.is_empty());
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::otlp::write;

    fn nest(path: &[u32], inner: &[u8]) -> Vec<u8> {
        path.iter().rev().fold(inner.to_vec(), |inner, number| {
            let mut outer = Vec::new();
            write::bytes(&mut outer, *number, &inner);
            outer
        })
    }

    /// A request whose items are these, in one scope.
    fn request(items: &[Vec<u8>]) -> Bytes {
        let scope: Vec<u8> = items.iter().flat_map(|item| nest(&[2], item)).collect();
        Bytes::from(nest(&[1, 2], &scope))
    }

    fn ids(trace: &[u8], span: &[u8], under: [u32; 2]) -> Vec<u8> {
        [nest(&[under[0]], trace), nest(&[under[1]], span)].concat()
    }

    #[test]
    fn a_log_record_loses_the_id_that_cannot_be_one_and_nothing_else() {
        let rest = [nest(&[5, 1], b"body"), nest(&[15], b"unknown")].concat();
        let of = |trace: &[u8], span: &[u8]| [ids(trace, span, [9, 10]), rest.clone()].concat();
        let torn = [ids(&[7; 4], b"", [9, 10]), vec![0x32, 0x7f]].concat();
        let body =
            request(&[of(&[7; 16], &[7; 8]), of(&[7; 12], &[7; 8]), torn, of(&[7; 16], &[7; 9]), of(&[1], &[1])]);
        let read = read(Signal::Logs, body, &Ticket::free()).unwrap();
        assert_eq!((read.items, read.malformed, read.without_ids), (4, 1, 3));
        let kept: Vec<Vec<u8>> = read.envelope.items().map(<[u8]>::to_vec).collect();
        let (trace, span) = (nest(&[9], &[7; 16]), nest(&[10], &[7; 8]));
        let expected =
            [[&trace[..], &span, &rest].concat(), [&span[..], &rest].concat(), [&trace[..], &rest].concat(), rest];
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_point_loses_the_bad_ids_of_its_exemplars_at_every_depth_and_a_span_goes() {
        let exemplar = |trace: &[u8]| [ids(trace, &[7; 8], [5, 4]), nest(&[7, 1], b"key")].concat();
        let metric =
            |trace: &[u8]| [nest(&[1], b"name"), nest(&[7, 1, 5], &exemplar(trace)), nest(&[3], b"unit")].concat();
        let good = read(Signal::Metrics, request(&[metric(&[7; 16])]), &Ticket::free()).unwrap();
        assert_eq!((good.items, good.malformed, good.without_ids), (1, 0, 0));
        let bad = read(Signal::Metrics, request(&[metric(&[7; 300])]), &Ticket::free()).unwrap();
        assert_eq!((bad.items, bad.malformed, bad.without_ids), (1, 0, 1));
        let kept = [nest(&[4], &[7; 8]), nest(&[7, 1], b"key")].concat();
        let expected = [nest(&[1], b"name"), nest(&[7, 1, 5], &kept), nest(&[3], b"unit")].concat();
        assert_eq!(bad.envelope.items().next(), Some(&expected[..]));
        let spans = request(&[ids(&[7; 16], &[7; 8], [1, 2]), ids(&[7; 16], &[7; 9], [1, 2])]);
        let spans = read(Signal::Traces, spans, &Ticket::free()).unwrap();
        assert_eq!((spans.items, spans.malformed, spans.without_ids), (1, 1, 0));
    }

    #[test]
    fn one_bad_id_in_a_large_request_costs_its_own_record() {
        let large = [ids(&[7; 16], b"", [9, 10]), nest(&[5, 1], &[b'x'; 1_000_000])].concat();
        let small = [ids(&[7; 4], b"", [9, 10]), nest(&[5, 1], b"x")].concat();
        let ticket = Budget::new(100_000, 100_000).take(0).unwrap();
        let read = read(Signal::Logs, request(&[large, small]), &ticket).unwrap();
        assert_eq!((read.items, read.without_ids), (2, 1));
    }

    #[test]
    fn taking_ids_out_is_paid_for_before_it_is_done() {
        let record = [ids(&[7; 4], b"", [9, 10]), nest(&[5, 1], &[b'x'; 100_000])].concat();
        let body = request(&[record]);
        let budget = Budget::new(200_000, 200_000);
        assert!(read(Signal::Logs, body.clone(), &budget.take(0).unwrap()).is_err());
        let budget = Budget::new(400_000, 400_000);
        let ticket = budget.take(0).unwrap();
        let read = read(Signal::Logs, body, &ticket).unwrap();
        assert_eq!(read.without_ids, 1);
        assert!(ticket.bytes() >= 100_000 && ticket.bytes() < 200_000, "{}", ticket.bytes());
    }
}
