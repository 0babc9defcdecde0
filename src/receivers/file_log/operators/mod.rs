//! The operators of one receiver, as a chain: each line goes from the first one on, and only forward.
//!
//! Pure but for what a file's [`ChainState`] keeps: pieces of a line that is not whole yet. Where such a piece began is known,
//! so that nothing is marked as read before it went on. What comes of each operator is what comes of a Collector's
//! (pkg/stanza); `tests/lines` has its answers.

mod changes;
pub mod container;
mod joining;
mod layout;
pub mod parsers;
pub mod severity;
pub mod time;

use std::time::Duration;

use regex::bytes::Regex;

use crate::core::data::budget::Ticket;
use crate::core::time::UnixNanos;
use crate::otlp::attributes::RESOURCE;
use crate::otlp::draft::Draft;
use crate::receivers::file_log::condition::EntryCondition;
use crate::receivers::file_log::entry::{EntryValue, FileEntry};
use crate::receivers::file_log::field::{EntryField, EntryPart};
use crate::receivers::file_log::operators::changes::changed;
use crate::receivers::file_log::operators::container::ContainerFormat;
use crate::receivers::file_log::operators::joining::HeldPieces;
use crate::receivers::file_log::operators::severity::SeverityReading;
use crate::receivers::file_log::operators::time::TimeReading;

/// What is done to an entry.
#[derive(Clone, Debug)]
pub enum LineOperator {
    Noop,
    Container(ContainerRule),
    Json {
        from: EntryField,
        to: EntryField,
        /// Whole numbers stay integers; else every number is a double.
        keeps_ints: bool,
    },
    Regex {
        from: EntryField,
        to: EntryField,
        regex: Regex,
    },
    Time {
        from: EntryField,
        reading: TimeReading,
    },
    Severity(SeverityReading),
    Trace(TraceReading),
    Move {
        from: EntryField,
        to: EntryField,
    },
    Copy {
        from: EntryField,
        to: EntryField,
    },
    Add {
        field: EntryField,
        value: EntryValue<'static>,
    },
    Remove(EntryField),
    Retain(Vec<EntryField>),
    /// Entries of which it holds are dropped.
    Filter(EntryCondition),
    Router {
        routes: Vec<(EntryCondition, usize)>,
        default: Option<usize>,
    },
    Recombine(RecombineRule),
}

/// How lines of a runtime are read.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRule {
    /// `None`: told by each line.
    pub format: Option<ContainerFormat>,
    pub names_pod: bool,
    /// Of a line that is joined.
    pub bytes_max: usize,
}

/// Where the ids of a trace stand.
#[derive(Clone, Debug)]
pub struct TraceReading {
    pub trace_id: EntryField,
    pub span_id: EntryField,
    pub trace_flags: EntryField,
}

/// Which lines are one entry.
#[derive(Clone, Debug)]
pub struct RecombineRule {
    pub field: EntryField,
    pub is_edge: EntryCondition,
    /// The edge is the first line of an entry, and not the last one.
    pub edge_is_first: bool,
    pub with: String,
    /// 0: no bound but that of the bytes.
    pub lines_max: usize,
    /// Lines of an entry without an edge; 0 as above.
    pub unmatched_max: usize,
    pub bytes_max: usize,
    /// Everything but the field is that of the newest line.
    pub keeps_newest: bool,
    pub flush_after: Duration,
}

/// An operator at its place.
#[derive(Clone, Debug)]
pub struct ChainStep {
    pub what: LineOperator,
    pub condition: Option<EntryCondition>,
    /// Severity, time and ids that a parser reads of what it parsed.
    pub embedded: Vec<LineOperator>,
    /// The step that follows; one beyond the last ends the chain.
    pub output: usize,
    /// A line that the operator fails on goes no further.
    pub drops_failed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct OperatorChain {
    pub steps: Vec<ChainStep>,
    /// An operator may ask or change the resource, so that it stands in each entry and not beside the file.
    pub needs_resource: bool,
}

/// What a file's lines share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOfFile {
    /// Texts for the resource, in the order in which they are written.
    pub attributes: Vec<(&'static str, String)>,
    /// The same as the bytes of a resource.
    pub written: Vec<u8>,
}

impl PodOfFile {
    pub fn of(attributes: Vec<(&'static str, String)>) -> PodOfFile {
        let mut draft = Draft::within(&Ticket::free());
        for (key, value) in &attributes {
            // A free ticket grants everything.
            let _ = draft.text_attribute(RESOURCE, key, value.as_bytes());
        }
        PodOfFile { written: draft.written().to_vec(), attributes } // granted: one for each file
    }
}

/// Where a line begins in its file, and when it was read since the receiver's start.
#[derive(Clone, Copy, Debug)]
pub struct LinePlace {
    pub from: u64,
    pub now: Duration,
    /// The same moment by the calendar.
    pub observed: UnixNanos,
}

/// What a chain keeps of one file.
#[derive(Debug, Default)]
pub struct ChainState {
    held: HeldPieces,
    pub failed: u64,
    pub dropped: u64,
    pub last_failure: Option<String>,
}

impl ChainState {
    /// Where the first line stands that has not gone on.
    pub fn held_from(&self) -> Option<u64> {
        self.held.begun_at()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.held.bytes()
    }
}

enum Went<'l> {
    On(FileEntry<'l>),
    To(usize, FileEntry<'l>),
    /// Dropped, or kept for later.
    NoFurther,
}

/// Where entries go that passed the chain.
pub type Passed<'p> = &'p mut dyn FnMut(&FileEntry<'_>);

impl OperatorChain {
    pub fn process<'l>(
        &self,
        state: &mut ChainState,
        entry: FileEntry<'l>,
        (pod, place): (&'l PodOfFile, LinePlace),
        passed: Passed<'_>,
    ) {
        self.process_from(state, (0, entry), (pod, place), passed);
    }

    /// What is held for longer than its rule says goes on as it is.
    pub fn flush(&self, state: &mut ChainState, (now, observed): (Duration, UnixNanos), passed: Passed<'_>) {
        for (at, step) in self.steps.iter().enumerate() {
            let LineOperator::Recombine(rule) = &step.what else { continue };
            if state.held.since(at).is_some_and(|since| now.saturating_sub(since) >= rule.flush_after) {
                self.release(state, (at, observed), rule, passed);
            }
        }
    }

    /// From a later step on: a chain goes forward, so this ends.
    fn process_from<'l>(
        &self,
        state: &mut ChainState,
        (from, entry): (usize, FileEntry<'l>),
        (pod, place): (&'l PodOfFile, LinePlace),
        passed: Passed<'_>,
    ) {
        let (mut at, mut entry) = (from, entry);
        while let Some(step) = self.steps.get(at) {
            let went = match step.condition.as_ref().map_or(Ok(true), |condition| condition.holds(&entry)) {
                Ok(false) => Went::On(entry),
                Err(why) => step.failed(state, entry, why.to_string()),
                Ok(true) => match &step.what {
                    LineOperator::Container(rule) => {
                        let pod = rule.names_pod.then_some((pod, self.needs_resource));
                        joining::contained(state, (at, place), entry, (step, rule, pod))
                    }
                    LineOperator::Recombine(rule) => match rule.is_edge.holds(&entry) {
                        Ok(is_edge) => {
                            self.recombine(state, (at, place), (rule, is_edge, entry), passed);
                            return;
                        }
                        Err(why) => step.failed(state, entry, why.to_string()),
                    },
                    plain => step.apply((plain, place.observed), state, entry),
                },
            };
            (at, entry) = match went {
                Went::On(entry) => (step.output, entry),
                Went::To(to, entry) => (to, entry),
                Went::NoFurther => return,
            };
        }
        passed(&entry);
    }
}

impl ChainState {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.last_failure = Some(why);
    }

    fn drop_entry<'l>(&mut self) -> Went<'l> {
        self.dropped += 1;
        Went::NoFurther
    }
}

impl ChainStep {
    /// Whether it asks or changes the resource, or keeps an entry.
    pub fn needs_resource(&self) -> bool {
        let of = |field: &EntryField| field.part == EntryPart::Resource;
        let asks = |what: &LineOperator| match what {
            LineOperator::Noop | LineOperator::Container(_) => false,
            LineOperator::Json { from, to, .. }
            | LineOperator::Regex { from, to, .. }
            | LineOperator::Move { from, to }
            | LineOperator::Copy { from, to } => of(from) || of(to),
            LineOperator::Time { from: field, .. } | LineOperator::Add { field, .. } | LineOperator::Remove(field) => {
                of(field)
            }
            LineOperator::Severity(reading) => of(&reading.from),
            LineOperator::Trace(reading) => {
                [&reading.trace_id, &reading.span_id, &reading.trace_flags].into_iter().any(of)
            }
            LineOperator::Retain(fields) => fields.iter().any(of),
            LineOperator::Filter(condition) => condition.asks_resource(),
            LineOperator::Router { routes, .. } => routes.iter().any(|(condition, _)| condition.asks_resource()),
            LineOperator::Recombine(_) => true,
        };
        let asked = self.condition.as_ref().is_some_and(EntryCondition::asks_resource);
        asked || asks(&self.what) || self.embedded.iter().any(asks)
    }

    fn apply<'l>(
        &self,
        (what, now): (&LineOperator, UnixNanos),
        state: &mut ChainState,
        mut entry: FileEntry<'l>,
    ) -> Went<'l> {
        match what {
            // Of an entry that cannot be compared nobody knows whether it may stay: a Collector drops it.
            LineOperator::Filter(condition) => match condition.holds(&entry) {
                Ok(false) => Went::On(entry),
                Ok(true) => state.drop_entry(),
                Err(why) => {
                    state.fail(why.to_string());
                    state.drop_entry()
                }
            },
            LineOperator::Router { routes, default } => {
                let route = routes.iter().find(|(condition, _)| condition.holds(&entry) == Ok(true)).map(|(_, to)| *to);
                route.or(*default).map_or_else(|| state.drop_entry(), |to| Went::To(to, entry))
            }
            change => {
                // Each of what is embedded is tried; the first fault is told.
                let mut done = changed(change, &mut entry, now);
                if done.is_ok() {
                    for embedded in &self.embedded {
                        let one = changed(embedded, &mut entry, now);
                        done = done.and(one);
                    }
                }
                match done {
                    Ok(()) => Went::On(entry),
                    Err(why) => self.failed(state, entry, why),
                }
            }
        }
    }

    /// What becomes of an entry that the operator fails on.
    fn failed<'l>(&self, state: &mut ChainState, entry: FileEntry<'l>, why: String) -> Went<'l> {
        state.fail(why);
        if self.drops_failed { state.drop_entry() } else { Went::On(entry) }
    }
}
