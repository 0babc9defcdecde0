//! A request with every item looked into once: what can be walked goes on, what cannot is left out and counted.
//!
//! Finding an item, walking it and counting it happen in one pass over the bytes, because fetching them is most of the
//! cost. It must not know what becomes of the items, nor who sent them.

use bytes::Bytes;

use crate::core::payload::{Envelope, Signal};
use crate::otlp::envelope::{count_item, count_items, decode_kept};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::{depth, envelope};

/// A request's readable part.
#[derive(Debug)]
pub struct Readable {
    pub envelope: Envelope,
    /// Items in the envelope, in the unit of the balance.
    pub items: u64,
    /// Items left out, because they, their scope or their resource cannot be walked or nest too deeply; each counts at
    /// least one.
    pub malformed: u64,
}

/// Reads an export request. An error means that not even its outer lists can be walked.
pub fn read(signal: Signal, body: Bytes) -> Result<Readable, Malformed> {
    let (mut items, mut malformed) = (0, 0);
    let mut envelope = decode_kept(body, |item| {
        let readable = is_readable(signal, item);
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
    if unread > 0 {
        malformed += unread;
        items = count_items(signal, &envelope);
    }
    Ok(Readable { envelope, items, malformed })
}

/// True when the item's fields can be walked and its values do not nest too deeply. One walk tells both, except of
/// profiles, which hold no values.
fn is_readable(signal: Signal, item: &[u8]) -> bool {
    match signal {
        Signal::Profiles => Fields::new(item).all(|field| field.is_ok()),
        Signal::Traces | Signal::Logs | Signal::Metrics => depth::check_depth(signal, item).is_ok(),
    }
}

/// Removes all items of a resource or scope that cannot be walked, and what is empty then; returns how many they were.
fn drop_unreadable_scopes(signal: Signal, envelope: &mut Envelope) -> u64 {
    let mut dropped = 0;
    for group in &mut envelope.groups {
        let group_ok = group.resource.as_ref().is_none_or(|resource| depth::check_attributes(resource, 1).is_ok());
        group.scopes.retain(|scope| {
            let scope_ok = scope.scope.as_ref().is_none_or(|scope| depth::check_attributes(scope, 3).is_ok());
            if !group_ok || !scope_ok {
                dropped += scope.items.iter().map(|item| envelope::count_item(signal, item).max(1)).sum::<u64>();
            }
            group_ok && scope_ok && !scope.items.is_empty()
        });
    }
    envelope.groups.retain(|group| !group.scopes.is_empty());
    dropped
}
