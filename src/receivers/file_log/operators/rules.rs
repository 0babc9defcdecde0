//! The operators as a configuration has them: what each does, and which one follows.

use std::time::Duration;

use regex::bytes::Regex;

use crate::receivers::file_log::condition::EntryCondition;
use crate::receivers::file_log::entry::EntryValue;
use crate::receivers::file_log::field::{EntryField, EntryPart};
use crate::receivers::file_log::operators::container::ContainerFormat;
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
}
