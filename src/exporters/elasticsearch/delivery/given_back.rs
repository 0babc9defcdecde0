//! Payloads that went back to their sender after a part of them was indexed, or may have been: the nonce they were mapped
//! with, so that the same bytes sent again get the same ids and what is there already is found to be there.
//!
//! A nonce is used once: two equal requests, one of which went back, still end as two requests' documents. Bounded by
//! number and by time; who is forgotten makes duplicates, as every repeat does at the Collector. Pure: `now` is an argument.

use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::time::Duration;

use foldhash::fast::RandomState;
use lru::LruCache;
use tokio::time::Instant;

use crate::core::data::payload::Envelope;

const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// SDKs give up repeating after a minute; collectors after five.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct GivenBack {
    hasher: RandomState,
    nonces: LruCache<u64, (u64, Instant)>,
}

impl Default for GivenBack {
    fn default() -> GivenBack {
        GivenBack { hasher: RandomState::default(), nonces: LruCache::new(REMEMBERED_MAX) }
    }
}

impl GivenBack {
    /// What a payload is known by: its bytes. Linear in them.
    pub fn print(&self, envelope: &Envelope) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for group in &envelope.groups {
            group.resource.hash(&mut hasher);
            for scope in &group.scopes {
                scope.scope.hash(&mut hasher);
                scope.items.iter().for_each(|item| item.hash(&mut hasher));
            }
        }
        hasher.finish()
    }

    pub fn remember(&mut self, print: u64, nonce: u64, now: Instant) {
        self.nonces.put(print, (nonce, now));
    }

    /// The nonce with which these bytes were mapped before they went back, if they did lately.
    pub fn take(&mut self, print: u64, now: Instant) -> Option<u64> {
        let (nonce, since) = self.nonces.pop(&print)?;
        (now.saturating_duration_since(since) <= REMEMBERED_FOR).then_some(nonce)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::data::items::Items;
    use crate::core::data::payload::{Group, ScopeGroup};

    fn envelope(item: &'static [u8]) -> Envelope {
        let scope = ScopeGroup { items: Items::from_iter([Bytes::from_static(item)]), ..ScopeGroup::default() };
        Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_nonce_is_given_to_the_same_bytes_once_and_not_for_ever() {
        let (mut back, now) = (GivenBack::default(), Instant::now());
        let print = back.print(&envelope(b"a"));
        assert_eq!(print, back.print(&envelope(b"a")));
        assert_ne!(print, back.print(&envelope(b"b")));
        assert_eq!(back.take(print, now), None);
        back.remember(print, 7, now);
        assert_eq!(back.take(print, now), Some(7));
        assert_eq!(back.take(print, now), None, "an equal request later is another one");
        back.remember(print, 8, now);
        assert_eq!(back.take(print, now + REMEMBERED_FOR * 2), None);
    }
}
