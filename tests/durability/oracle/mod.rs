//! What every verdict has to be: that of the pure engine over the records of the log, by the times at which they arrived.
//!
//! The log is read as it was written: a thread links every segment into a side folder before it can be unlinked. A verdict
//! that the log holds is compared with that of an engine that was played the same records in their order; what came out of
//! the gateway is compared with the verdicts of the log.
//!
//! Where the two may differ: the log does not tell when a span was filed, and at which moment a tick came. A span was filed
//! behind everything that stands in front of it in the log; so it has to count if that, and its own arrival, lie half a
//! second and more in front of the end of its trace's wait. It must not count if it stands behind the verdict in the log,
//! or arrived after the moment of the decision. In between either is right, in the order of the log.

pub mod judge;
pub mod kept;

use std::collections::{BTreeMap, HashMap};

use crate::oracle::judge::Judge;
use crate::oracle::kept::{Verdict, Written};

/// How far in front of the end of a wait a span is taken to count for certain.
const MARGIN_NANOS: u64 = 500_000_000;

/// What the log says of a run.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Whether a trace was kept, by its id.
    pub kept: HashMap<[u8; 16], bool>,
    /// The trace of each logged span.
    pub spans: HashMap<u64, [u8; 16]>,
    /// Traces whose spans came in more than one request.
    pub split: usize,
    /// Traces that have other spans behind their verdict.
    pub late: usize,
    /// Verdicts that hang on the moment of a tick.
    pub at_the_edge: usize,
}

/// A request with spans of a trace.
#[derive(Clone, Copy, Debug)]
struct Request {
    sequence: u64,
    arrival: u64,
    /// When it was logged at the earliest: what stands in front of it tells.
    logged: u64,
}

type Requests = BTreeMap<[u8; 16], Vec<Request>>;

/// Reads what was written and holds every verdict against the engine's; panics with the first one that is another.
pub fn judged(written: &Written, policies: &str, wait_nanos: u64) -> Verdicts {
    let mut found = Verdicts::default();
    let mut requests = Requests::new();
    let mut said: HashMap<[u8; 16], Verdict> = HashMap::new();
    for verdict in &written.verdicts {
        let first = said.entry(verdict.trace).or_insert(*verdict);
        assert_eq!(first.kept, verdict.kept, "trace {:x?} was decided twice, and not alike", verdict.trace);
    }
    let (mut verdicts, mut logged) = (written.verdicts.iter().peekable(), 0);
    for record in &written.records {
        while let Some(before) = verdicts.next_if(|verdict| verdict.sequence < record.sequence) {
            logged = logged.max(before.decided_at);
        }
        logged = logged.max(record.arrival);
        let request = Request { sequence: record.sequence, arrival: record.arrival, logged };
        for (trace, span) in judge::spans_of(&record.payload) {
            found.spans.insert(span, trace);
            let of = requests.entry(trace).or_default();
            if of.last().is_none_or(|last| last.sequence != record.sequence) {
                of.push(request);
            }
        }
    }
    let engine = Judge::over(policies, &written.records, |_| true);
    for (trace, of) in &requests {
        let verdict = *said.get(trace).unwrap_or_else(|| panic!("trace {trace:x?} was never decided"));
        found.kept.insert(*trace, verdict.kept);
        found.split += usize::from(of.len() > 1);
        found.late += usize::from(of.iter().any(|request| request.sequence > verdict.sequence));
        let pure = *engine.get(trace).expect("the engine decides everything");
        if pure != verdict.kept {
            let edge = is_at_the_edge(written, policies, of, &verdict, wait_nanos);
            let Verdict { sequence, kept, decided_at, .. } = verdict;
            assert!(
                edge,
                "{trace:x?}: {of:?}, kept {kept} by verdict {sequence} at {decided_at}, {pure} by the engine"
            );
            found.at_the_edge += 1;
        }
    }
    found
}

/// Whether the verdict is the engine's over a part of the requests that the log allows for.
fn is_at_the_edge(written: &Written, policies: &str, of: &[Request], verdict: &Verdict, wait: u64) -> bool {
    let Some(began) = of.first().map(|request| request.arrival) else { return false };
    let counts = |request: &&Request| request.logged + MARGIN_NANOS < began + wait;
    let may = |request: &&Request| request.sequence < verdict.sequence && request.arrival <= verdict.decided_at;
    let (certain, possible) = (of.iter().filter(counts).count().max(1), of.iter().filter(may).count());
    (certain..=possible).any(|requests| {
        let some: Vec<u64> = of.iter().take(requests).map(|request| request.sequence).collect();
        let records = written.records.iter().filter(|record| some.contains(&record.sequence));
        // All at once, so that nothing is late.
        let records: Vec<_> = records.cloned().map(|record| kept::Record { arrival: began, ..record }).collect();
        Judge::over(policies, &records, |id| *id == verdict.trace).get(&verdict.trace) == Some(&verdict.kept)
    })
}
