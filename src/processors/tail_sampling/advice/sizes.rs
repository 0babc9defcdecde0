//! What a shard measures of the traces it decides, by service: handed over about once a second.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::processors::tail_sampling::advice::sketch::ValueSketch;
use crate::processors::tail_sampling::journal::record::TraceServices;

/// Services measured apart by one shard; those that come later count in the whole only.
pub const MEASURED_SERVICES_MAX: usize = 64;

/// One decided trace.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredTrace {
    /// Milliseconds from its first spans to the latest that came before the decision.
    pub spread: u64,
    /// Milliseconds from the earliest start to the latest end.
    pub duration: u64,
    pub spans: u64,
    /// In the store.
    pub bytes: u64,
}

/// Of one service, or of all traces.
#[derive(Clone, Default)]
pub struct TraceSizes {
    pub spread: ValueSketch,
    pub duration: ValueSketch,
    pub spans: ValueSketch,
    pub bytes: ValueSketch,
    /// Milliseconds from the decision to spans that came after it, of kept traces, by request.
    pub late: ValueSketch,
}

impl TraceSizes {
    fn add(&mut self, trace: &MeasuredTrace) {
        self.spread.add(trace.spread);
        self.duration.add(trace.duration);
        self.spans.add(trace.spans);
        self.bytes.add(trace.bytes);
    }

    pub fn sketches(&mut self) -> [&mut ValueSketch; 5] {
        [&mut self.spread, &mut self.duration, &mut self.spans, &mut self.bytes, &mut self.late]
    }

    /// Takes everything out of `other`.
    pub fn take_from(&mut self, other: &mut TraceSizes) {
        self.sketches().into_iter().zip(other.sketches()).for_each(|(mine, theirs)| mine.take_from(theirs));
    }
}

/// Of one shard since it handed over last.
#[derive(Default)]
pub struct ShardSizes {
    pub all: TraceSizes,
    /// By the number in the journal's list of services; a trace counts for each service that is recorded of it.
    pub services: HashMap<u16, Box<TraceSizes>, RandomState>,
    pub traces: u64,
    pub bytes: u64,
}

impl ShardSizes {
    pub fn decided(&mut self, trace: &MeasuredTrace, services: &TraceServices) {
        self.all.add(trace);
        self.traces += 1;
        self.bytes += trace.bytes;
        for service in services.iter() {
            if let Some(sizes) = self.of(service) {
                sizes.add(trace);
            }
        }
    }

    pub fn late(&mut self, service: u16, millis: u64) {
        self.all.late.add(millis);
        if let Some(sizes) = self.of(service) {
            sizes.late.add(millis);
        }
    }

    fn of(&mut self, service: u16) -> Option<&mut TraceSizes> {
        if self.services.len() >= MEASURED_SERVICES_MAX && !self.services.contains_key(&service) {
            return None;
        }
        Some(self.services.entry(service).or_default())
    }
}
