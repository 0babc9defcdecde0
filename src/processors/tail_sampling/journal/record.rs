//! One record of the journal, and its bytes: a decision with the facts it rests on, or late spans that followed one.
//!
//! Facts take as many bytes as they need, so that a usual decision needs about fifty. What is read back is the decision as
//! it was, whatever the policies are by then. Knows no ring and no page.

use crate::core::time::UnixNanos;
use crate::otlp::walk::read_varint;
use crate::otlp::write::varint;
use crate::processors::tail_sampling::policies::circumstances::LimitAnswers;
use crate::processors::tail_sampling::policies::decision::{CastVotes, Decision, TraceSummary, Why};
use crate::processors::tail_sampling::policies::predicates::{LEAVES_MAX, LeafBits};
use crate::processors::tail_sampling::report::early::Early;
use crate::processors::tail_sampling::weights::marking::KeptWeight;

/// What made the shard decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedTrigger {
    /// `decision_wait` was over.
    Timeout,
    /// `decision_wait_after_root_received` was over.
    Root,
    /// Spans came, with `span-ingest`.
    Arrival,
    /// It grew beyond `maximum_trace_size_bytes`.
    Size,
    Early(Early),
}

impl RecordedTrigger {
    const ALL: [RecordedTrigger; 8] = [
        RecordedTrigger::Timeout,
        RecordedTrigger::Root,
        RecordedTrigger::Arrival,
        RecordedTrigger::Size,
        RecordedTrigger::Early(Early::Memory),
        RecordedTrigger::Early(Early::NumTraces),
        RecordedTrigger::Early(Early::Giant),
        RecordedTrigger::Early(Early::Shutdown),
    ];

    /// The word of the page.
    pub fn name(self) -> &'static str {
        match self {
            RecordedTrigger::Timeout => "timeout",
            RecordedTrigger::Root => "root",
            RecordedTrigger::Arrival => "arrival",
            RecordedTrigger::Size => "size",
            RecordedTrigger::Early(early) => early.name(),
        }
    }
}

/// Whether parents of the trace's spans were missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// Looked at for kept traces only.
    #[default]
    NotLookedAt,
    None,
    Some,
}

/// The first services of a trace, by their number in the shard's list of names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceServices {
    pub ids: [u16; TraceServices::MAX],
    pub count: u8,
    /// There were others.
    pub more: bool,
}

impl TraceServices {
    pub const MAX: usize = 3;

    pub fn add(&mut self, id: u16) {
        let known = usize::from(self.count);
        if self.ids[..known].contains(&id) {
            return;
        }
        match self.ids.get_mut(known) {
            Some(place) => {
                *place = id;
                self.count += 1;
            }
            None => self.more = true,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.ids.into_iter().take(usize::from(self.count))
    }
}

/// A decision with everything that it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecisionRecord {
    pub at: UnixNanos,
    pub decision: Decision,
    /// That of the set of policies that decided.
    pub version: u16,
    pub trigger: RecordedTrigger,
    pub votes: CastVotes,
    pub answers: LimitAnswers,
    /// Read back, its times are such that the duration in milliseconds is what it was.
    pub summary: TraceSummary,
    pub has_root: bool,
    pub orphans: Orphans,
    pub services: TraceServices,
    /// The randomness by which it was decided, and its weight once kept; `None` where weights are off.
    pub weighing: Option<(u64, KeptWeight)>,
    /// What shadow policies would have done; `None` without any.
    pub shadow_keeps: Option<bool>,
}

/// Spans that came after the decision and followed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateRecord {
    pub trace_id: [u8; 16],
    pub at: UnixNanos,
    pub kept: bool,
    pub spans: u64,
    /// From the decision, where it is known: of dropped traces only a fingerprint is remembered.
    pub after_millis: Option<u64>,
}

/// Where the trace id stands in a record's bytes, behind length, kind and flags.
const ID_AT: usize = 4;
const DECISION: u8 = 1;
const LATE: u8 = 2;

const KEPT: u16 = 1;
const HAS_ROOT: u16 = 1 << 1;
const MORE_SERVICES: u16 = 1 << 2;
const ORPHANS_AT: u16 = 3;
const TRIGGER_AT: u16 = 5;
const WHY_AT: u16 = 8;
const SERVICES_AT: u16 = 10;
const WEIGHED: u16 = 1 << 12;
const HAS_THRESHOLD: u16 = 1 << 13;
const HAS_SHADOW: u16 = 1 << 14;
const SHADOW_KEEPS: u16 = 1 << 15;

/// Appends a record: its length, its kind, and what `body` writes behind both.
fn framed(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, kind]);
    body(out);
    // The fields of both kinds together stay below this, whatever their values.
    out[start] = u8::try_from(out.len() - start).unwrap_or(u8::MAX);
}

impl DecisionRecord {
    pub fn write(&self, out: &mut Vec<u8>) {
        framed(out, DECISION, |out| self.body(out));
    }

    fn body(&self, out: &mut Vec<u8>) {
        let (why, place) = match self.decision.why {
            Why::Policy(place) => (0, place),
            Why::DroppedBy(place) => (1, place),
            Why::NoMatch => (2, 0),
            Why::TooLarge => (3, 0),
        };
        let trigger = RecordedTrigger::ALL.iter().position(|trigger| *trigger == self.trigger).unwrap_or_default();
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let flags = flag(self.decision.kept, KEPT)
            | flag(self.has_root, HAS_ROOT)
            | flag(self.services.more, MORE_SERVICES)
            | flag(self.weighing.is_some(), WEIGHED)
            | flag(self.weighing.is_some_and(|(_, weight)| weight.threshold.is_some()), HAS_THRESHOLD)
            | flag(self.shadow_keeps.is_some(), HAS_SHADOW)
            | flag(self.shadow_keeps == Some(true), SHADOW_KEEPS)
            | (self.orphans as u16) << ORPHANS_AT
            | (trigger as u16) << TRIGGER_AT
            | why << WHY_AT
            | u16::from(self.services.count) << SERVICES_AT;
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.summary.trace_id);
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&place.to_le_bytes());
        varint(out, self.summary.spans);
        varint(out, self.summary.bytes);
        varint(out, zigzag(self.summary.duration_millis()));
        self.services.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        varint(out, self.answers.asked);
        varint(out, self.answers.granted);
        let votes = self.votes.bits();
        trimmed(out, &votes.to_le_bytes(), votes.leading_zeros());
        let mut bits = [0; LEAVES_MAX / 8];
        let mut zeros = 0;
        for (place, word) in bits.chunks_exact_mut(8).zip(self.summary.bits.words()) {
            place.copy_from_slice(&word.to_le_bytes());
            zeros = if *word == 0 { zeros + u64::BITS } else { word.leading_zeros() };
        }
        trimmed(out, &bits, zeros);
        varint(out, u64::from(self.version));
        if let Some((randomness, weight)) = self.weighing {
            out.extend_from_slice(&randomness.to_le_bytes());
            out.extend_from_slice(&weight.weight.to_bits().to_le_bytes());
            out.extend_from_slice(&weight.threshold.unwrap_or_default().to_le_bytes());
        }
    }

    fn read(mut body: Reader<'_>) -> Option<DecisionRecord> {
        let flags = u16::from_le_bytes(body.take()?);
        let trace_id = body.take()?;
        let at = UnixNanos(u64::from_le_bytes(body.take()?));
        let place = u16::from_le_bytes(body.take()?);
        let (spans, bytes, millis) = (body.varint()?, body.varint()?, unzigzag(body.varint()?));
        let mut services = TraceServices { more: flags & MORE_SERVICES != 0, ..TraceServices::default() };
        for _ in 0..(flags >> SERVICES_AT & 3) {
            services.add(u16::from_le_bytes(body.take()?));
        }
        let answers = LimitAnswers { asked: body.varint()?, granted: body.varint()? };
        let votes = CastVotes::from_bits(u128::from_le_bytes(body.trimmed()?));
        let mut words = [0; LEAVES_MAX / 64];
        let bits: [u8; LEAVES_MAX / 8] = body.trimmed()?;
        for (word, bytes) in words.iter_mut().zip(bits.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let version = u16::try_from(body.varint()?).ok()?;
        let mut weighing = None;
        if flags & WEIGHED != 0 {
            let (randomness, weight) =
                (u64::from_le_bytes(body.take()?), f64::from_bits(u64::from_le_bytes(body.take()?)));
            let threshold = Some(u64::from_le_bytes(body.take()?)).filter(|_| flags & HAS_THRESHOLD != 0);
            weighing = Some((randomness, KeptWeight { weight, threshold }));
        }
        let why = match flags >> WHY_AT & 3 {
            0 => Why::Policy(place),
            1 => Why::DroppedBy(place),
            2 => Why::NoMatch,
            _ => Why::TooLarge,
        };
        let nanos = millis.unsigned_abs().saturating_mul(1_000_000);
        let (min_start, max_end) = if millis < 0 { (nanos, 0) } else { (0, nanos) };
        Some(DecisionRecord {
            at,
            decision: Decision { kept: flags & KEPT != 0, why },
            version,
            trigger: RecordedTrigger::ALL[usize::from(flags >> TRIGGER_AT & 7)],
            votes,
            answers,
            summary: TraceSummary { trace_id, bits: LeafBits::of_words(words), min_start, max_end, spans, bytes },
            has_root: flags & HAS_ROOT != 0,
            orphans: match flags >> ORPHANS_AT & 3 {
                0 => Orphans::NotLookedAt,
                1 => Orphans::None,
                _ => Orphans::Some,
            },
            services,
            weighing,
            shadow_keeps: (flags & HAS_SHADOW != 0).then_some(flags & SHADOW_KEEPS != 0),
        })
    }
}

impl LateRecord {
    pub fn write(&self, out: &mut Vec<u8>) {
        framed(out, LATE, |out| {
            out.extend_from_slice(&u16::from(self.kept).to_le_bytes());
            out.extend_from_slice(&self.trace_id);
            out.extend_from_slice(&self.at.0.to_le_bytes());
            varint(out, self.spans);
            varint(out, self.after_millis.map_or(0, |millis| millis.saturating_add(1)));
        });
    }

    fn read(mut body: Reader<'_>) -> Option<LateRecord> {
        let flags = u16::from_le_bytes(body.take()?);
        let (trace_id, at) = (body.take()?, UnixNanos(u64::from_le_bytes(body.take()?)));
        let (spans, after) = (body.varint()?, body.varint()?);
        Some(LateRecord { trace_id, at, kept: flags & KEPT != 0, spans, after_millis: after.checked_sub(1) })
    }
}

/// A record as it was read back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JournalRecord {
    Decision(DecisionRecord),
    Late(LateRecord),
}

/// A record's bytes, unread but for the id.
#[derive(Clone, Copy)]
pub struct RawRecord<'a>(&'a [u8]);

impl RawRecord<'_> {
    pub fn trace_id(self) -> [u8; 16] {
        self.0.get(ID_AT..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default()
    }

    pub fn read(self) -> Option<JournalRecord> {
        let body = Reader(self.0.get(2..)?);
        match self.0.get(1)? {
            &DECISION => DecisionRecord::read(body).map(JournalRecord::Decision),
            _ => LateRecord::read(body).map(JournalRecord::Late),
        }
    }
}

/// The records that stand one behind the other in `bytes`.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = RawRecord<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(*bytes.first()?);
        let (record, rest) = bytes.split_at_checked(length.max(1))?;
        bytes = rest;
        Some(RawRecord(record))
    })
}

/// Appends the bytes without those at their end whose bits are all zero, behind their number. `zeros` are the bits at the end.
fn trimmed(out: &mut Vec<u8>, bytes: &[u8], zeros: u32) {
    let used = bytes.len() - (zeros / u8::BITS) as usize;
    out.push(used as u8);
    out.extend_from_slice(&bytes[..used]);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, length) = read_varint(self.0).ok()?;
        self.0 = self.0.get(length..)?;
        Some(value)
    }

    fn trimmed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let [length] = self.take()?;
        let (used, rest) = self.0.split_at_checked(usize::from(length))?;
        let mut bytes = [0; N];
        bytes.get_mut(..used.len())?.copy_from_slice(used);
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(rng: &mut fastrand::Rng) -> DecisionRecord {
        let place = rng.u16(0..1000);
        let why = [Why::Policy(place), Why::DroppedBy(place), Why::NoMatch, Why::TooLarge][rng.usize(0..4)];
        let mut services = TraceServices::default();
        (0..rng.u16(0..5)).for_each(|_| services.add(rng.u16(0..4)));
        let small = rng.bool();
        let number = |rng: &mut fastrand::Rng| if small { rng.u64(0..1000) } else { rng.u64(..) };
        let (min_start, max_end) = if rng.bool() { (5, number(rng)) } else { (number(rng), 0) };
        let words = std::array::from_fn(|_| if small { 0 } else { rng.u64(..) });
        DecisionRecord {
            at: UnixNanos(rng.u64(..)),
            decision: Decision { kept: rng.bool(), why },
            version: rng.u16(..),
            trigger: RecordedTrigger::ALL[rng.usize(0..8)],
            votes: CastVotes::from_bits(if small { rng.u128(0..256) } else { rng.u128(..) }),
            answers: LimitAnswers { asked: number(rng), granted: number(rng) },
            summary: TraceSummary {
                trace_id: rng.u128(..).to_be_bytes(),
                bits: LeafBits::of_words(words),
                min_start,
                max_end,
                spans: number(rng),
                bytes: number(rng),
            },
            has_root: rng.bool(),
            orphans: [Orphans::NotLookedAt, Orphans::None, Orphans::Some][rng.usize(0..3)],
            services,
            weighing: rng.bool().then(|| {
                let threshold = rng.bool().then(|| rng.u64(0..1 << 56));
                (rng.u64(0..1 << 56), KeptWeight { weight: rng.f64() * 100.0, threshold })
            }),
            shadow_keeps: [None, Some(false), Some(true)][rng.usize(0..3)],
        }
    }

    #[test]
    fn what_is_recorded_is_read_back_one_record_behind_the_other() {
        let mut rng = fastrand::Rng::with_seed(18);
        let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
        for round in 0..2000 {
            if round % 5 == 0 {
                let after_millis = rng.bool().then(|| rng.u64(0..u64::MAX));
                let (trace_id, at) = (rng.u128(..).to_be_bytes(), UnixNanos(rng.u64(..)));
                let late = LateRecord { trace_id, at, kept: rng.bool(), spans: rng.u64(..), after_millis };
                late.write(&mut bytes);
                wanted.push(JournalRecord::Late(late));
            } else {
                let record = any(&mut rng);
                record.write(&mut bytes);
                wanted.push(JournalRecord::Decision(record));
            }
        }
        let read: Vec<JournalRecord> = records(&bytes).map(|raw| raw.read().expect("readable")).collect();
        assert_eq!(read.len(), wanted.len());
        for (read, wanted) in read.iter().zip(&wanted) {
            match (read, wanted) {
                (JournalRecord::Decision(read), JournalRecord::Decision(wanted)) => {
                    assert_eq!(read.summary.duration_millis(), wanted.summary.duration_millis(), "seed 18");
                    let summary = TraceSummary {
                        min_start: read.summary.min_start,
                        max_end: read.summary.max_end,
                        ..wanted.summary
                    };
                    assert_eq!(*read, DecisionRecord { summary, ..*wanted }, "seed 18");
                }
                (read, wanted) => assert_eq!(read, wanted, "seed 18"),
            }
        }
    }

    #[test]
    fn a_usual_decision_takes_fewer_than_60_bytes_and_with_32_policies_and_64_leaves_fewer_than_100() {
        let mut record = any(&mut fastrand::Rng::with_seed(1));
        record.summary = TraceSummary { spans: 40, bytes: 30_000, max_end: 812_000_000, ..TraceSummary::default() };
        record.summary.bits = LeafBits::of_words([0b101, 0, 0, 0]);
        record.answers = LimitAnswers::default();
        record.weighing = None;
        record.votes = CastVotes::from_bits(0x2122);
        record.services = TraceServices { ids: [1, 2, 3], count: 3, more: true };
        let length = |record: &DecisionRecord| {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            bytes.len()
        };
        assert!(length(&record) < 60, "{}", length(&record));
        record.summary.bits = LeafBits::of_words([u64::MAX, 0, 0, 0]);
        record.votes = CastVotes::from_bits(u128::MAX);
        record.answers = LimitAnswers { asked: 0xffff, granted: 0xffff };
        assert!(length(&record) < 100, "{}", length(&record));
        let worst = (0..2000).map(|seed| length(&any(&mut fastrand::Rng::with_seed(seed)))).max();
        assert!(worst < Some(200), "{worst:?}: the length is one byte");
    }

    #[test]
    fn bytes_cut_short_are_no_record() {
        let mut bytes = Vec::new();
        any(&mut fastrand::Rng::with_seed(2)).write(&mut bytes);
        for length in 0..bytes.len() {
            assert_eq!(records(&bytes[..length]).count(), 0);
        }
        assert_eq!(records(&[0; 4]).filter_map(RawRecord::read).count(), 0);
    }
}
