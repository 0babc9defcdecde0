//! The bounded encoded form of a summary: [`BYTES_MAX`] bytes at most, about fifty for a usual trace.
//!
//! One byte for the form, the digest of the policies, the trace id, a byte that says what follows, the bits without zeros at
//! their end, the earliest start, then varints: the spread to the latest end, spans, bytes, and the marks where there are
//! any. Numbers are little-endian. A summary reads as what was written or not at all.

use crate::otlp::consistency::threshold::HIGHEST;
use crate::otlp::walk::read_varint;
use crate::otlp::write;
use crate::processors::tail_sampling::policies::decision::TraceSummary;
use crate::processors::tail_sampling::policies::predicates::{LEAVES_MAX, LeafBits};
use crate::processors::tail_sampling::summaries::PartSummary;
use crate::processors::tail_sampling::summaries::digest::PolicyDigest;
use crate::processors::tail_sampling::weights::draw::TraceMarks;

/// The form that is written, and the only one that is read.
const FORM: u8 = 1;

const BITS_MAX: usize = LEAVES_MAX / 8;
const VARINT_MAX: usize = 10;
/// The longest summary: form, digest, id, flags, bits with their count, start, and six varints.
pub const BYTES_MAX: usize = 1 + PolicyDigest::BYTES + 16 + 1 + 1 + BITS_MAX + 8 + 6 * VARINT_MAX;

const HAS_RANDOMNESS: u8 = 1;
const HAS_LIKELIEST: u8 = 2;

/// The bytes are no summary of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableSummary;

/// Appends a summary: [`BYTES_MAX`] bytes at most.
pub fn encode(part: &PartSummary, out: &mut Vec<u8>) {
    let PartSummary { policies, summary, marks } = part;
    out.push(FORM);
    out.extend_from_slice(&policies.bytes());
    out.extend_from_slice(&summary.trace_id);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(flag(marks.randomness.is_some(), HAS_RANDOMNESS) | flag(marks.likeliest.is_some(), HAS_LIKELIEST));
    let words = summary.bits.words().iter().flat_map(|word| word.to_le_bytes());
    let length = words.clone().enumerate().filter(|(_, byte)| *byte != 0).last().map_or(0, |(at, _)| at + 1);
    out.push(length as u8);
    out.extend(words.take(length));
    out.extend_from_slice(&summary.min_start.to_le_bytes());
    let spread = summary.max_end.wrapping_sub(summary.min_start) as i64;
    write::varint(out, (spread << 1 ^ spread >> 63) as u64);
    write::varint(out, summary.spans);
    write::varint(out, summary.bytes);
    if let Some(randomness) = marks.randomness {
        write::varint(out, randomness);
    }
    if let Some((threshold, exponent)) = marks.likeliest {
        write::varint(out, threshold);
        write::varint(out, u64::from(exponent));
    }
}

/// Reads one summary, which is all of `bytes`.
pub fn decode(bytes: &[u8]) -> Result<PartSummary, UnreadableSummary> {
    let mut left = Left(bytes);
    if left.byte()? != FORM {
        return Err(UnreadableSummary);
    }
    let policies = PolicyDigest::of_bytes(left.array()?);
    let trace_id = left.array()?;
    let flags = left.byte()?;
    if flags & !(HAS_RANDOMNESS | HAS_LIKELIEST) != 0 {
        return Err(UnreadableSummary);
    }
    let bits = left.bits()?;
    let min_start = u64::from_le_bytes(left.array()?);
    let spread = left.varint()?;
    let spread = (spread >> 1) as i64 ^ -((spread & 1) as i64);
    let max_end = min_start.wrapping_add(spread as u64);
    let (spans, bytes) = (left.varint()?, left.varint()?);
    let mut marks = TraceMarks::default();
    if flags & HAS_RANDOMNESS != 0 {
        marks.randomness = Some(left.varint_up_to(HIGHEST)?);
    }
    if flags & HAS_LIKELIEST != 0 {
        let threshold = left.varint_up_to(HIGHEST)?;
        marks.likeliest = Some((threshold, left.varint_up_to(u64::from(u32::MAX))? as u32));
    }
    let summary = TraceSummary { trace_id, bits, min_start, max_end, spans, bytes };
    left.0.is_empty().then_some(PartSummary { policies, summary, marks }).ok_or(UnreadableSummary)
}

/// What is not read yet.
struct Left<'a>(&'a [u8]);

impl<'a> Left<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], UnreadableSummary> {
        let (taken, left) = self.0.split_at_checked(length).ok_or(UnreadableSummary)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnreadableSummary> {
        self.take(N)?.try_into().map_err(|_| UnreadableSummary)
    }

    fn byte(&mut self) -> Result<u8, UnreadableSummary> {
        Ok(self.array::<1>()?[0])
    }

    /// Zeros at the end are not written, so that one summary has one form.
    fn bits(&mut self) -> Result<LeafBits, UnreadableSummary> {
        let length = usize::from(self.byte()?);
        let written = self.take(length)?;
        if length > BITS_MAX || written.last() == Some(&0) {
            return Err(UnreadableSummary);
        }
        let mut words = [0u64; LEAVES_MAX / 64];
        for (at, byte) in written.iter().enumerate() {
            words[at / 8] |= u64::from(*byte) << (8 * (at % 8));
        }
        Ok(LeafBits::of_words(words))
    }

    fn varint(&mut self) -> Result<u64, UnreadableSummary> {
        let (value, length) = read_varint(self.0).map_err(|_| UnreadableSummary)?;
        if write::varint_len(value) != length {
            return Err(UnreadableSummary);
        }
        self.take(length)?;
        Ok(value)
    }

    fn varint_up_to(&mut self, most: u64) -> Result<u64, UnreadableSummary> {
        self.varint().and_then(|value| if value <= most { Ok(value) } else { Err(UnreadableSummary) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(rng: &mut fastrand::Rng) -> PartSummary {
        let size = |rng: &mut fastrand::Rng| rng.u64(..) >> rng.u32(..64);
        let mut words = [0; LEAVES_MAX / 64];
        words.iter_mut().for_each(|word| *word = if rng.bool() { size(rng) } else { 0 });
        let mut policies = [0; PolicyDigest::BYTES];
        rng.fill(&mut policies);
        let mut trace_id = [0; 16];
        rng.fill(&mut trace_id);
        let (min_start, max_end, spans, bytes) = (size(rng), size(rng), size(rng), size(rng));
        PartSummary {
            policies: PolicyDigest::of_bytes(policies),
            summary: TraceSummary { trace_id, bits: LeafBits::of_words(words), min_start, max_end, spans, bytes },
            marks: TraceMarks {
                randomness: rng.bool().then(|| size(rng) & HIGHEST),
                likeliest: rng.bool().then(|| (size(rng) & HIGHEST, size(rng) as u32)),
            },
        }
    }

    fn encoded(part: &PartSummary) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(part, &mut bytes);
        bytes
    }

    #[test]
    fn a_summary_reads_as_what_was_written_within_its_bound() {
        let mut rng = fastrand::Rng::with_seed(4);
        for round in 0..20_000 {
            let part = any(&mut rng);
            let bytes = encoded(&part);
            assert!(bytes.len() <= BYTES_MAX, "seed 4, round {round}: {} bytes", bytes.len());
            assert_eq!(decode(&bytes), Ok(part), "seed 4, round {round}");
        }
        let full = LeafBits::of_words([u64::MAX; LEAVES_MAX / 64]);
        let mut longest = any(&mut rng);
        longest.summary = TraceSummary { bits: full, spans: u64::MAX, bytes: u64::MAX, ..longest.summary };
        (longest.summary.min_start, longest.summary.max_end) = (1 << 63, 0);
        longest.marks = TraceMarks { randomness: Some(HIGHEST), likeliest: Some((HIGHEST, u32::MAX)) };
        assert!(encoded(&longest).len() <= BYTES_MAX);
        assert_eq!(decode(&encoded(&longest)), Ok(longest));
    }

    #[test]
    fn what_is_cut_longer_or_of_another_form_is_refused() {
        let part = any(&mut fastrand::Rng::with_seed(9));
        let bytes = encoded(&part);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), Err(UnreadableSummary), "{length} bytes");
        }
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(UnreadableSummary));
        assert_eq!(decode(&[&[FORM + 1], &bytes[1..]].concat()), Err(UnreadableSummary));
    }

    #[test]
    fn whatever_bytes_come_they_are_refused_or_are_the_one_form_of_a_summary() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut read = 0;
        for round in 0..50_000 {
            let mut bytes = encoded(&any(&mut rng));
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
            if let Ok(part) = decode(&bytes) {
                assert_eq!(encoded(&part), bytes, "seed 11, round {round}");
                read += 1;
            }
        }
        assert!(read > 1_000, "{read} of the changed ones can be read");
    }
}
