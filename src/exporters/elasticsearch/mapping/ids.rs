//! Document ids made of what a document is, the same on every attempt, so that a document that was indexed although the
//! answer got lost is not indexed again.
//!
//! A span is known by its trace, its id, its start and its kind: with some tracers both ends of a call share one span
//! id. An event adds its place in the span. A record, or a span without ids, has no identity of its own: it is known by its
//! bytes, its resource, its scope, the nonce of the payload it came with, and how many equal ones came before it there. Without
//! the nonce an equal record of another request would be taken for a repeat of this one and be lost (issue 13, H6).

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::data::payload::{Group, ScopeGroup};
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
    /// How often each fingerprint came in this request.
    seen: HashMap<[u64; 3], u32, RandomState>,
}

impl Ids {
    /// `nonce` stays the same for every attempt of one payload and differs between payloads.
    pub fn begin_request(&mut self, on: bool, nonce: u64) {
        self.on = on;
        self.nonce = nonce;
        self.seen.clear();
    }

    pub fn begin_scope(&mut self, group: &Group, scope: &ScopeGroup) {
        if self.on {
            let resource = xxh64::hash(group.resource.as_deref().unwrap_or_default());
            self.scope = xxh64::hash(scope.scope.as_deref().unwrap_or_default()).rotate_left(1) ^ resource ^ self.nonce;
        }
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
        let fingerprint = [time, self.scope, xxh64::hash(bytes)];
        let occurrence = self.seen.entry(fingerprint).or_insert(0);
        let mut parts = [0; 28];
        for (part, word) in parts.chunks_exact_mut(8).zip(fingerprint) {
            part.copy_from_slice(&word.to_be_bytes());
        }
        parts[24..].copy_from_slice(&occurrence.to_be_bytes());
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
            ids.begin_scope(&Group::default(), &ScopeGroup::default());
            [&b"a"[..], b"a", b"b"].map(|bytes| ids.of_bytes(7, bytes).letters().to_vec())
        };
        let first = round(1);
        assert!(first[0] != first[1] && first[0] != first[2] && first[1] != first[2]);
        assert_eq!(round(1), first, "an attempt of the same payload");
        assert!(round(2).iter().all(|id| !first.contains(id)), "equal records of another payload");
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
