//! Which run made this: known runs, gaps and the run that may follow are candidates, and evidence strikes them out.
//!
//! Exactly one known run left is the answer. Anything else is an absence with its reason: missing beats wrong, so a
//! run is never chosen because it is newer or because a restart count names it.

use std::time::Duration;

use super::{ContainerLedger, Run};
use crate::core::time::UnixNanos;

/// Times of one process and of the kubelet come from the same clock but not from the same instruction: a process can
/// speak this much before its recorded start, and an accepted connection can be read this much after its end.
pub(super) const SLIP: Duration = Duration::from_millis(100);

/// A process that began later than its run is a worker of it, or of a run whose status is still on its way; a status
/// seen this much after its start tells. The slowest that a kubelet under pressure was seen to be.
const SLOWEST_STATUS: Duration = Duration::from_secs(60);

/// How far the clocks of two machines may differ.
const APART_MAX: Duration = Duration::from_secs(10);

/// What is known about the process that made a resource.
#[derive(Clone, Copy, Debug)]
pub struct RunQuery {
    /// The process was alive at this time and at `alive_to`. An `alive_to` of zero says that only the latest possible
    /// time is known: any run that had begun by `alive_from` may have made it.
    pub alive_from: UnixNanos,
    pub alive_to: UnixNanos,
    /// `process.creation.time`: when the process began.
    pub began: Option<UnixNanos>,
    /// Every run that began at or before this time is in the ledger.
    pub horizon: UnixNanos,
    /// The same, as the node itself shows: then no status is on its way either.
    pub witnessed: Option<UnixNanos>,
    /// The pod was last seen then; a status seen well after `alive_from` confirms what age alone suggests.
    pub seen_at: UnixNanos,
    /// A restart number that decides between runs that nothing else tells apart; only when the configuration says so.
    pub trusted_number: Option<i64>,
    /// A time of our own clock by which the process had begun, where the times above are those of another machine's clock:
    /// that is what can be compared with `horizon` and `seen_at`.
    pub ours: Option<UnixNanos>,
    /// How far the times above may be off those of the runs.
    pub slack: Duration,
}

/// How sure an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// By id, by start time, by a bound identity, or by a status seen later than the evidence.
    Confirmed,
    /// On the age of the evidence alone.
    Unconfirmed,
}

/// Why there is no container id: a metric label, so the set is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Absence {
    /// No rule found a pod.
    PodNotFound,
    /// The pod has no container of the given name.
    ContainerNameUnknown,
    /// No name was given and the pod has several containers.
    ContainerNameMissing,
    /// The kubelet has not reported any run of the container yet.
    NoStatus,
    /// A run that began later than what is known may have made it.
    AwaitingStatus,
    /// Runs that nobody saw lie around that time.
    Gap,
    /// Two runs share that second.
    Ambiguous,
    /// No run lived at that time.
    Outside,
    /// The watch is cut off and the data is newer than what is known.
    Stale,
    /// Too much was waiting already.
    HoldFull,
    /// The resource names another pod than the one at its address.
    Conflict,
}

impl Absence {
    pub const ALL: [Absence; 11] = [
        Absence::PodNotFound,
        Absence::ContainerNameUnknown,
        Absence::ContainerNameMissing,
        Absence::NoStatus,
        Absence::AwaitingStatus,
        Absence::Gap,
        Absence::Ambiguous,
        Absence::Outside,
        Absence::Stale,
        Absence::HoldFull,
        Absence::Conflict,
    ];

    /// The label in metrics, logs and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Absence::PodNotFound => "pod_not_found",
            Absence::ContainerNameUnknown => "container_name_unknown",
            Absence::ContainerNameMissing => "container_name_missing",
            Absence::NoStatus => "no_status",
            Absence::AwaitingStatus => "awaiting_status",
            Absence::Gap => "gap",
            Absence::Ambiguous => "ambiguous",
            Absence::Outside => "outside_known_runs",
            Absence::Stale => "stale",
            Absence::HoldFull => "hold_full",
            Absence::Conflict => "conflict",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution<'a> {
    Found {
        run: &'a Run,
        confidence: Confidence,
    },
    /// Waiting will not help.
    Missing(Absence),
    /// Asking again after a refresh or a little later may help.
    Pending(Absence),
}

impl RunQuery {
    /// Whatever the process is of had begun and was known by then.
    fn is_witnessed(&self) -> bool {
        self.witnessed.is_some_and(|until| self.began.unwrap_or(self.from()) <= until)
    }

    fn from(&self) -> UnixNanos {
        self.began.map_or(self.alive_from, |began| began.min(self.alive_from))
    }

    /// By when a status must show the run, by our clock.
    fn shown_by(&self) -> UnixNanos {
        self.ours.unwrap_or_else(|| self.from())
    }

    fn slip(&self) -> Duration {
        SLIP.saturating_add(self.slack)
    }

    /// The whole of `[from, to]` may lie in a life that began at `start` or later and ended at `end` or before.
    fn fits(&self, start: UnixNanos, end: Option<UnixNanos>) -> bool {
        let latest = self.began.map_or(self.alive_to, |began| began.max(self.alive_to));
        start <= self.from().saturating_add(self.slip())
            && end.is_none_or(|end| latest <= end.saturating_add(self.slip()))
    }

    /// The process began in the second in which the run did.
    fn began_with(&self, run: &Run) -> bool {
        self.began.is_some_and(|began| {
            run.start.is_known()
                && run.start.lo <= began.saturating_add(SLIP)
                && began <= run.start.hi.saturating_add(SLIP)
        })
    }
}

impl RunQuery {
    /// The process tells when it began, and no status was seen since that could show another run.
    fn began_unseen(&self, run: &Run) -> bool {
        !self.is_witnessed()
            && self.began.is_some_and(|began| {
                let before_end = run.end.is_some_and(|end| run.end_reported && began < end.lo);
                let apart = if self.ours.is_some() { APART_MAX } else { Duration::ZERO };
                let told = began.saturating_add(SLOWEST_STATUS).saturating_add(apart);
                !before_end && !self.began_with(run) && self.seen_at < told
            })
    }
}

impl ContainerLedger {
    pub fn resolve(&self, query: &RunQuery) -> Resolution<'_> {
        if self.may_be_next(query) {
            let absence = if self.runs.is_empty() { Absence::NoStatus } else { Absence::AwaitingStatus };
            return Resolution::Pending(absence);
        }
        if self.runs.is_empty() {
            return Resolution::Missing(Absence::NoStatus);
        }
        let mut fitting = self.runs.iter().filter(|run| query.fits(run.start.lo, run.end.map(|end| end.hi)));
        match (fitting.next(), fitting.next()) {
            _ if self.may_be_in_gap(query) => Resolution::Missing(Absence::Gap),
            // It began later than the run and the status is older than that: a worker of this run, or a run whose status
            // is slower than the budget.
            (Some(run), None) if query.began_unseen(run) => Resolution::Pending(Absence::AwaitingStatus),
            (Some(run), None) => Resolution::Found { run, confidence: confidence(run, query) },
            (Some(_), Some(_)) => self.by_number(query),
            (None, _) => Resolution::Missing(Absence::Outside),
        }
    }

    /// A run that is not known yet may have made it: it began after what is known, and too recently to be known.
    fn may_be_next(&self, query: &RunQuery) -> bool {
        if query.shown_by() <= query.horizon.max(query.witnessed.unwrap_or(UnixNanos(0))) {
            return false;
        }
        let Some(newest) = self.runs.last() else { return true };
        let earliest = newest.end.map_or(newest.start.lo, |end| end.lo);
        earliest <= query.alive_to.max(query.alive_from).saturating_add(query.slip())
    }

    fn may_be_in_gap(&self, query: &RunQuery) -> bool {
        self.runs.iter().enumerate().filter(|(_, run)| run.gap_before).any(|(at, run)| {
            let before = at.checked_sub(1).and_then(|before| self.runs[before].end);
            query.fits(before.map_or(UnixNanos(0), |end| end.lo), Some(run.start.hi))
        })
    }

    /// Several runs fit and nothing tells them apart but a number the configuration trusts.
    fn by_number(&self, query: &RunQuery) -> Resolution<'_> {
        let fits = |run: &&Run| query.fits(run.start.lo, run.end.map(|end| end.hi));
        let mut numbered = self.runs.iter().filter(fits).filter(|run| query.trusted_number == Some(run.restart));
        match (numbered.next(), numbered.next()) {
            (Some(run), None) => Resolution::Found { run, confidence: Confidence::Unconfirmed },
            _ => Resolution::Missing(Absence::Ambiguous),
        }
    }
}

fn confidence(run: &Run, query: &RunQuery) -> Confidence {
    let seen_later = query.seen_at.saturating_sub(super::FRESHNESS) >= query.shown_by();
    if run.end_reported || seen_later || query.is_witnessed() || query.began_with(run) {
        Confidence::Confirmed
    } else {
        Confidence::Unconfirmed
    }
}
