//! Document ids made of what a document is, the same on every attempt, so that a document that was indexed although the
//! answer got lost is not indexed again.
//!
//! A span is known by its trace, its id, its start and its kind: with some tracers both ends of a call share one span
//! id. An event adds its place in the span. A record, or a span without ids, has no identity of its own: it is known by its
//! bytes, its resource, its scope, the nonce of the payload it came with, and how many equal ones came before it there. Without
//! the nonce an equal record of another request would be taken for a repeat of this one and be lost (issue 13, H6). One that
//! stands in a log on disk has that record's nonce and its position there instead, which are the same after a restart and
//! however requests are merged (issue 17).

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::data::payload::{Group, ScopeGroup};
use crate::core::data::settlement::RecordPlace;
use crate::exporters::elasticsearch::mapping::record::Span;
use crate::exporters::elasticsearch::mapping::xxh64;
use crate::otlp::ids::{SpanId, TraceId};

/// Letters of the longest id: trace, span, start and kind are 33 bytes.
const LETTERS_MAX: usize = 48;

/// Letters, digits, `-` and `_`; empty when there is no id.
#[derive(Clone, Copy, Debug)]
pub struct DocumentId {
    letters: [u8; LETTERS_MAX],
    length: usize,
}

impl DocumentId {
    pub const NONE: DocumentId = DocumentId { letters: [0; LETTERS_MAX], length: 0 };

    /// Base64 of at most 36 bytes with the alphabet for URLs (RFC 4648 section 5), unpadded.
    fn of(bytes: &[u8]) -> DocumentId {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut id = DocumentId::NONE;
        for (four, three) in id.letters.chunks_exact_mut(4).zip(bytes.chunks(3)) {
            let mut word = [0; 4];
            word[1..=three.len()].copy_from_slice(three);
            let word = u32::from_be_bytes(word);
            for (letter, shift) in four.iter_mut().zip([18, 12, 6, 0]) {
                *letter = ALPHABET[(word >> shift) as usize & 63];
            }
        }
        id.length = (bytes.len() * 4).div_ceil(3).min(LETTERS_MAX);
        id
    }

    #[inline]
    pub fn letters(&self) -> &[u8] {
        &self.letters[..self.length]
    }
}

/// Makes the ids of one request.
#[derive(Debug, Default)]
pub struct Ids {
    on: bool,
    /// Tells the records of this payload from equal ones of every other.
    nonce: u64,
    /// Hash of nonce, resource and scope of the items that come.
    scope: u64,
    /// Where the items stand on disk, run by run: how many, and the first one's place.
    runs: Vec<(u64, Option<RecordPlace>)>,
    /// Behind the runs that were passed: how many runs, and how many items.
    passed: (usize, u64),
    /// The number of the scope's first item in the request, and of the item at hand.
    first: u64,
    item: u64,
    /// How often each fingerprint came in this request.
    seen: HashMap<[u64; 3], u32, RandomState>,
}

impl Ids {
    /// `nonce` stays the same for every attempt of one payload and differs between payloads.
    pub fn begin_request(&mut self, on: bool, nonce: u64) {
        self.on = on;
        self.nonce = nonce;
        self.seen.clear();
        self.passed = (0, 0);
    }

    /// Says of the next request where its items stand on disk; nothing of what follows it.
    pub fn place(&mut self, runs: impl Iterator<Item = (u64, Option<RecordPlace>)>) {
        self.runs.clear();
        self.runs.extend(runs);
    }

    /// `first`: the number of the scope's first item in the request.
    pub fn begin_scope(&mut self, group: &Group, scope: &ScopeGroup, first: u64) {
        self.first = first;
        if self.on {
            let resource = xxh64::hash(group.resource.as_deref().unwrap_or_default());
            self.scope = xxh64::hash(scope.scope.as_deref().unwrap_or_default()).rotate_left(1) ^ resource;
        }
    }

    /// The item at hand, by its number in the scope.
    pub fn begin_item(&mut self, item: u32) {
        self.item = self.first + u64::from(item);
    }

    /// Where the item at hand stands on disk. Items come in their order, so each run is passed once.
    fn place_of_item(&mut self) -> Option<RecordPlace> {
        while let Some((items, place)) = self.runs.get(self.passed.0) {
            let within = self.item.checked_sub(self.passed.1)?;
            if within < *items {
                let place = (*place)?;
                let at = place.at.checked_add(u32::try_from(within).ok()?)?;
                return Some(RecordPlace { at, ..place });
            }
            self.passed = (self.passed.0 + 1, self.passed.1 + items);
        }
        None
    }

    #[inline]
    pub fn of_span(&mut self, span: &Span<'_>, bytes: &[u8]) -> DocumentId {
        if !self.on {
            return DocumentId::NONE;
        }
        let (Some(trace), Some(own)) = (TraceId::from_wire(span.trace_id), SpanId::from_wire(span.span_id)) else {
            return self.of_bytes(span.start, bytes);
        };
        let mut parts = [0; 33];
        parts[..16].copy_from_slice(&trace.0);
        parts[16..24].copy_from_slice(&own.0);
        parts[24..32].copy_from_slice(&span.start.to_be_bytes());
        parts[32] = span.kind as u8;
        DocumentId::of(&parts)
    }

    /// The id of an item that has no identity of its own.
    pub fn of_bytes(&mut self, time: u64, bytes: &[u8]) -> DocumentId {
        if !self.on {
            return DocumentId::NONE;
        }
        let (place, bytes) = (self.place_of_item(), xxh64::hash(bytes));
        let fingerprint = |nonce| [time, self.scope ^ nonce, bytes];
        let mut parts = [0; 28];
        let mut put = |fingerprint: [u64; 3], count: u32| {
            for (part, word) in parts.chunks_exact_mut(8).zip(fingerprint) {
                part.copy_from_slice(&word.to_be_bytes());
            }
            parts[24..].copy_from_slice(&count.to_be_bytes());
        };
        if let Some(RecordPlace { nonce, at }) = place {
            put(fingerprint(nonce), at);
            return DocumentId::of(&parts);
        }
        let fingerprint = fingerprint(self.nonce);
        let occurrence = self.seen.entry(fingerprint).or_insert(0);
        put(fingerprint, *occurrence);
        let id = if *occurrence == 0 { DocumentId::of(&parts[..24]) } else { DocumentId::of(&parts) };
        *occurrence += 1;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_base64_for_urls_without_padding() {
        for (bytes, letters) in
            [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foobar", "Zm9vYmFy"), (&[0xfb, 0xff][..], "-_8")]
        {
            assert_eq!(DocumentId::of(bytes).letters(), letters.as_bytes());
        }
        assert_eq!(DocumentId::of(&[0; 33]).letters().len(), 44);
    }

    #[test]
    fn equal_records_have_ids_of_their_own_and_the_same_ones_next_time() {
        let mut ids = Ids::default();
        let mut round = |nonce| {
            ids.begin_request(true, nonce);
            ids.begin_scope(&Group::default(), &ScopeGroup::default(), 0);
            [&b"a"[..], b"a", b"b"].map(|bytes| ids.of_bytes(7, bytes).letters().to_vec())
        };
        let first = round(1);
        assert!(first[0] != first[1] && first[0] != first[2] && first[1] != first[2]);
        assert_eq!(round(1), first, "an attempt of the same payload");
        assert!(round(2).iter().all(|id| !first.contains(id)), "equal records of another payload");
    }

    #[test]
    fn what_stands_on_disk_has_the_same_id_however_requests_are_merged_and_whatever_of_them_is_left() {
        let record = |nonce, at| Some(RecordPlace { nonce, at });
        let of = |runs: &[(u64, Option<RecordPlace>)], drawn: u64| {
            let mut ids = Ids::default();
            ids.place(runs.iter().copied());
            ids.begin_request(true, drawn);
            ids.begin_scope(&Group::default(), &ScopeGroup::default(), 0);
            let items = 0..runs.iter().map(|(items, _)| *items as u32).sum();
            let id = |item| {
                ids.begin_item(item);
                ids.of_bytes(7, b"equal").letters().to_vec()
            };
            items.map(id).collect::<Vec<_>>()
        };
        let (one, other) = (of(&[(3, record(1, 0))], 5), of(&[(2, record(2, 0))], 6));
        let merged = of(&[(3, record(1, 0)), (2, record(2, 0))], 7);
        assert_eq!(merged, [one.clone(), other].concat());
        assert_eq!(merged.iter().collect::<std::collections::HashSet<_>>().len(), 5, "each has its own");
        assert_eq!(of(&[(1, record(1, 2)), (1, record(1, 0))], 8), [one[2].clone(), one[0].clone()], "what is left");
        // Between them items of no record, which differ from one attempt of another process to the next.
        let mixed = |drawn| of(&[(1, record(1, 0)), (2, None), (1, record(1, 1))], drawn);
        assert_eq!([&mixed(1)[0], &mixed(1)[3]], [&one[0], &one[1]]);
        assert!(mixed(1)[1] != mixed(1)[2] && mixed(1)[1] != mixed(2)[1]);
    }

    #[test]
    fn both_ends_of_a_call_may_share_a_span_id() {
        let mut ids = Ids::default();
        ids.begin_request(true, 1);
        let mut span = Span { trace_id: &[1; 16], span_id: &[2; 8], start: 5, kind: 2, ..Span::default() };
        let server = ids.of_span(&span, b"").letters().to_vec();
        span.kind = 3;
        assert_ne!(ids.of_span(&span, b"").letters(), server);
    }
}
