//! Finding a trace in the journals by its id, or by a part of it, and all that they say of it.
//!
//! Reads blocks that stand still, record by record: a million records take some milliseconds, which nobody pays but who
//! asks, and an index would cost each decision. Knows nothing of HTTP.

use serde_json::{Value, json};

use crate::otlp::ids::push_hex;
use crate::processors::tail_sampling::journal::explain::{Explainer, facts, late};
use crate::processors::tail_sampling::journal::record::{
    DecisionRecord, JournalRecord, LateRecord, RawRecord, records,
};
use crate::processors::tail_sampling::journal::ring::{JournalCopy, JournalRing};
use crate::processors::tail_sampling::journal::services::ServiceNames;
use crate::processors::tail_sampling::live::LivePolicies;

/// Fewer digits are part of too many ids.
const DIGITS_MIN: usize = 4;
const DIGITS: u32 = 32;
/// Ids that are told when a part is one of several.
pub const MATCHES_MAX: usize = 20;
/// Late spans that are told one by one, the latest.
const LATE_MAX: usize = 20;

/// An id that is asked for, or some digits that follow each other in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedTrace {
    part: u128,
    digits: u32,
}

impl WantedTrace {
    /// From 4 to 32 hex digits.
    pub fn parse(text: &str) -> Option<WantedTrace> {
        if !(DIGITS_MIN..=DIGITS as usize).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(WantedTrace { part: u128::from_str_radix(text, 16).ok()?, digits: text.len() as u32 })
    }

    /// The id, when all of it was given.
    pub fn whole(self) -> Option<[u8; 16]> {
        (self.digits == DIGITS).then(|| self.part.to_be_bytes())
    }

    pub fn is(self, id: &[u8; 16]) -> bool {
        let id = u128::from_be_bytes(*id);
        if self.digits == DIGITS {
            return id == self.part;
        }
        let mask = (1u128 << (4 * self.digits)) - 1;
        (0..=DIGITS - self.digits).any(|shift| id >> (4 * shift) & mask == self.part)
    }
}

/// What the journals of one sampler say of the ids that were asked for, oldest first.
#[derive(Default)]
pub struct JournalFind {
    decisions: Vec<DecisionRecord>,
    late: Vec<LateRecord>,
    ids: Vec<[u8; 16]>,
}

impl JournalFind {
    /// Reads a copy; which journal it is of matters to service numbers only.
    pub fn read(copy: &JournalCopy, wanted: WantedTrace) -> JournalFind {
        let mut found = JournalFind::default();
        let all = copy.decisions.iter().chain(&copy.late).flat_map(|block| records(block));
        for raw in all.filter(|raw| wanted.is(&raw.trace_id())) {
            found.add(raw);
        }
        found
    }

    fn add(&mut self, raw: RawRecord<'_>) {
        let id = raw.trace_id();
        let known = self.ids.contains(&id);
        if !known && self.ids.len() > MATCHES_MAX {
            return;
        }
        if !known {
            self.ids.push(id);
        }
        match raw.read() {
            Some(JournalRecord::Decision(record)) => self.decisions.push(record),
            Some(JournalRecord::Late(record)) => self.late.push(record),
            None => {}
        }
    }

    /// The ids that were found, at most one more than are told.
    pub fn ids(&self) -> &[[u8; 16]] {
        &self.ids
    }

    /// The latest decision with what came before and after it; `None` without any record.
    pub fn explain(&self, live: &LivePolicies, ring: &JournalRing) -> Option<Value> {
        let id = self.ids.first()?;
        let services = ring.services();
        let mut page = match self.decisions.last() {
            Some(latest) => decision(live, latest, &services),
            // Only of late spans something is known: the decision itself was pushed out of the journal.
            None => json!({ "forgotten": true, "kept": self.late.last().map(|late| late.kept) }),
        };
        page["trace_id"] = hex(id).into();
        let earlier = self.decisions.iter().rev().skip(1).take(LATE_MAX);
        page["earlier"] = earlier.map(|record| decision(live, record, &services)).collect();
        page["late"] = self.late.iter().rev().take(LATE_MAX).rev().map(late).collect();
        page["late_spans"] = self.late.iter().map(|late| late.spans).sum::<u64>().into();
        Some(page)
    }
}

/// By the policies of that time, as far as they are still known.
fn decision(live: &LivePolicies, record: &DecisionRecord, services: &ServiceNames) -> Value {
    let Some(set) = live.of(record.version) else { return facts(record, services) };
    let names = set.settings.names();
    Explainer { settings: &set.settings, names: &names }.decision(record, services)
}

/// The page of a part that several ids have.
pub fn several(ids: &[[u8; 16]]) -> Value {
    let told: Vec<String> = ids.iter().take(MATCHES_MAX).map(hex).collect();
    json!({ "matches": told, "more": ids.len() > MATCHES_MAX })
}

pub fn hex(id: &[u8; 16]) -> String {
    let mut text = Vec::with_capacity(DIGITS as usize);
    push_hex(&mut text, id);
    String::from_utf8(text).unwrap_or_default()
}

/// When the oldest decision was made that a journal still has.
pub fn oldest(copy: &JournalCopy) -> Option<u64> {
    let first = copy.decisions.iter().find_map(|block| records(block).next()?.read());
    match first? {
        JournalRecord::Decision(record) => Some(record.at.0),
        JournalRecord::Late(record) => Some(record.at.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_an_id_is_found_wherever_it_stands() {
        let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10u128.to_be_bytes();
        for (text, found) in [
            ("0102030405060708090a0b0c0d0e0f10", true),
            ("0102030405060708090A0B0C0D0E0F10", true),
            ("0102", true),
            ("0f10", true),
            ("6070", true),
            ("1234", false),
            ("0102030405060708090a0b0c0d0e0f11", false),
        ] {
            let wanted = WantedTrace::parse(text).expect("hex digits");
            assert_eq!(wanted.is(&id), found, "{text}");
        }
        for text in ["", "012", "01g2", "0102030405060708090a0b0c0d0e0f1011", "+123"] {
            assert_eq!(WantedTrace::parse(text), None, "{text}");
        }
    }
}
