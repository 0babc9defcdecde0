//! What is true of every span, and what the Collector's rule would have made of it.
//!
//! The truth travels in the span ids the demo makes up, which no gateway may change: run number and the other verdict
//! stand in its bits. So the receiving end needs no list of spans, and nothing of it is visible to the pipeline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::core::lock::Locked;

/// Runs that one demo can tell apart.
const RUNS_MAX: usize = 1 << 20;

/// How a container.id compares with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdVerdict {
    Right,
    Wrong,
    Missing,
}

impl IdVerdict {
    pub fn of(written: Option<&str>, truth: &str) -> IdVerdict {
        match written {
            None => IdVerdict::Missing,
            Some(id) if id == truth => IdVerdict::Right,
            Some(_) => IdVerdict::Wrong,
        }
    }
}

/// Container ids by number, in the order in which they were first named.
#[derive(Debug, Default)]
pub struct Runs {
    // Written when a run is first seen, read for every span that arrives.
    ids: Mutex<Ids>,
}

#[derive(Debug, Default)]
struct Ids {
    in_order: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Runs {
    /// The number of this id, given on first sight. Beyond the last number all share it, which nobody's patience reaches.
    pub fn number(&self, id: &str) -> u32 {
        let mut ids = self.lock();
        if let Some(number) = ids.numbers.get(id) {
            return *number;
        }
        let number = ids.in_order.len().min(RUNS_MAX - 1) as u32;
        if ids.in_order.len() < RUNS_MAX {
            let id: Arc<str> = id.into();
            ids.in_order.push(id.clone());
            ids.numbers.insert(id, number);
        }
        number
    }

    pub fn id(&self, number: u32) -> Option<Arc<str>> {
        self.lock().in_order.get(number as usize).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.ids.locked()
    }
}

/// What a span id of the demo carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The run that made the span.
    pub run: u32,
    /// What the Collector's rule would have made of it.
    pub collector: IdVerdict,
    /// The run that the rule names; `run` unless the verdict is wrong.
    pub named: u32,
}

/// A span id: 20 random bits, 20 of the number of the run that the rule names, 20 of the true one's, 3 of the verdict, and
/// a one so that it is never zero. Ids need to differ within a trace only.
pub fn span_id(random: u64, stamp: Stamp) -> [u8; 8] {
    let low = u64::from(stamp.run) << 4 | (stamp.collector as u64) << 1 | 1;
    (random << 44 | u64::from(stamp.named) << 24 | low & 0xff_ffff).to_be_bytes()
}

/// What the id carries; `None` when the demo did not make it.
pub fn read_span_id(id: &[u8]) -> Option<Stamp> {
    let bits = u64::from_be_bytes(id.try_into().ok()?);
    let collector = match bits >> 1 & 7 {
        0 => IdVerdict::Right,
        1 => IdVerdict::Wrong,
        2 => IdVerdict::Missing,
        _ => return None,
    };
    let number = |shift: u32| (bits >> shift) as u32 & (RUNS_MAX as u32 - 1);
    (bits & 1 == 1).then_some(Stamp { run: number(4), collector, named: number(24) })
}

/// What is published of a container: the newest run known to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub id: String,
    pub restart_count: i64,
}

/// The Collector's rule: a restart count that the resource carries selects that run among the published ones, of which
/// there is one; without it the newest published run is taken (contrib k8sattributesprocessor, issue 16431).
pub fn collectors_rule(published: Option<&Published>, hint: Option<i64>) -> Option<&str> {
    let published = published.filter(|published| !published.id.is_empty())?;
    hint.is_none_or(|hint| hint == published.restart_count).then_some(published.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_id_carries_both_runs_and_the_verdict_and_is_never_zero() {
        for run in [0, 1, 77, (1 << 20) - 1] {
            for verdict in [IdVerdict::Right, IdVerdict::Wrong, IdVerdict::Missing] {
                let stamp = Stamp { run, collector: verdict, named: (1 << 20) - 1 - run };
                let id = span_id(0, stamp);
                assert_ne!(id, [0; 8]);
                assert_eq!(read_span_id(&id), Some(stamp));
                assert_eq!(read_span_id(&span_id(u64::MAX, stamp)), Some(stamp));
            }
        }
        assert_eq!(read_span_id(&[0; 8]), None);
        assert_eq!(read_span_id(b"short"), None);
    }

    #[test]
    fn the_collectors_rule_obeys_the_hint_and_else_takes_the_newest() {
        let published = Published { id: "new".into(), restart_count: 1 };
        assert_eq!(collectors_rule(Some(&published), Some(1)), Some("new"));
        assert_eq!(collectors_rule(Some(&published), Some(0)), None);
        assert_eq!(collectors_rule(Some(&published), None), Some("new"));
        assert_eq!(collectors_rule(None, None), None);
    }

    #[test]
    fn runs_keep_their_numbers() {
        let runs = Runs::default();
        assert_eq!((runs.number("a"), runs.number("b"), runs.number("a")), (0, 1, 0));
        assert_eq!(runs.id(1).as_deref(), Some("b"));
        assert_eq!(runs.id(2), None);
    }
}
