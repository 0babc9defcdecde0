//! From one container status to the ledger: which runs it speaks of, where they belong, and what it cannot know.

use std::sync::Arc;

use super::resolve::SLIP;
use super::{ContainerLedger, FRESHNESS, LastLook, RUNS_MAX, Run, TimeBounds};
use crate::core::time::UnixNanos;
use crate::kube::pod::{ContainerStatus, Ended, RunState};

impl ContainerLedger {
    /// Takes in one status. The predecessor goes first, so that it stands before the current run.
    pub(super) fn observe(&mut self, status: &ContainerStatus, image: Arc<str>, look: LastLook) {
        let current_id = current_id(status);
        let newest_before = self.runs.last().map(|run| run.id.clone());
        let last = status.last.as_ref().filter(|last| !last.id.is_empty());
        let mut follows_directly = false;
        if let Some(last) = last.filter(|last| *last.id != *current_id) {
            // lastState names the run before the current one; its number is one less whatever the state is, unless
            // both ids are the same (CrashLoopBackOff keeps the dead id in both places).
            let number = status.restart_count.saturating_sub(1);
            self.place(ended_run(last, number, look.now), look, false);
            follows_directly = self.runs.last().is_some_and(|run| run.id == last.id);
        }
        if !current_id.is_empty() {
            let run = Run { image, ..current_run(status, &current_id, look.now) };
            self.place(run, look, follows_directly);
        }
        let is_newest = current_id.is_empty() || self.runs.last().is_some_and(|run| *run.id == *current_id);
        if is_newest {
            self.waiting = match &status.state {
                RunState::Waiting { reason } => reason.clone(),
                _ => Arc::default(),
            };
        }
        self.tighten();
        self.shorten();
        // A status that shows a newer run than the log folder does: the folder is behind, or its names are cut.
        self.logged &= self.runs.last().map(|run| &run.id) == newest_before.as_ref();
    }

    /// Merges a run that is known, adds one that is not.
    pub(super) fn place(&mut self, run: Run, look: LastLook, follows_directly: bool) {
        let newest = self.runs.len().checked_sub(1);
        match self.runs.iter().position(|known| known.id == run.id) {
            Some(index) => merge(&mut self.runs[index], run, Some(index) == newest),
            None if self.is_past(&run) => self.insert_past(run),
            // A status that was on its way while the log folder told of newer runs, and that tells no start.
            None if self.is_overtaken(&run) => {}
            None => self.append(run, look, follows_directly),
        }
    }

    /// An unknown run that began before the newest known one: from an event that came late. Its number must say so too,
    /// because a clock that was set back makes newer runs look older.
    pub(super) fn is_past(&self, run: &Run) -> bool {
        self.runs.last().is_some_and(|newest| {
            let both_known = run.start.is_known() && newest.start.is_known();
            both_known && run.start.lo < newest.start.lo && run.restart < newest.restart
        })
    }

    fn is_overtaken(&self, run: &Run) -> bool {
        let newest = self.runs.last();
        !run.start.is_known() && newest.is_some_and(|newest| newest.is_logged() && run.restart < newest.restart)
    }

    fn insert_past(&mut self, mut run: Run) {
        let at = self.runs.iter().position(|known| known.start.lo > run.start.lo).unwrap_or(self.runs.len());
        let successor = &mut self.runs[at];
        if run.end.is_none() {
            run.end = Some(TimeBounds { lo: run.start.lo, hi: successor.start.hi });
        }
        // What lies between is told by numbers that agree, and otherwise not known.
        successor.gap_before = successor.restart != run.restart.saturating_add(1);
        run.gap_before =
            at.checked_sub(1).is_none_or(|before| self.runs[before].restart.saturating_add(1) != run.restart);
        run.gap_before &= run.restart != 0 || at > 0;
        self.runs.insert(at, run);
    }

    fn append(&mut self, mut run: Run, look: LastLook, follows_directly: bool) {
        let previous = self.runs.last_mut();
        run.gap_before = match &previous {
            _ if follows_directly => false,
            // Numbers may be lowered by a kubelet that lost count: only the very next one shows that none was missed.
            Some(previous) => run.restart != previous.restart.saturating_add(1),
            None => run.restart != 0,
        };
        if let Some(previous) = previous.filter(|previous| previous.end.is_none()) {
            let alive = look.previous.saturating_sub(FRESHNESS).max(previous.start.lo);
            previous.end = Some(TimeBounds { lo: alive.min(run.start.hi), hi: run.start.hi });
        }
        self.runs.push(run);
    }

    /// Neighbours bound each other: a run begins after its predecessor's end, and an end that was only inferred lies
    /// before the successor's start.
    pub(super) fn tighten(&mut self) {
        for at in 1..self.runs.len() {
            let (before, after) = self.runs.split_at_mut(at);
            let (previous, next) = (&mut before[at - 1], &mut after[0]);
            if let Some(end) = &mut previous.end {
                if !previous.end_reported {
                    end.hi = over_before(next, previous.start.lo);
                    end.lo = end.lo.min(end.hi);
                }
                if !next.start.is_known() {
                    next.start.lo = end.lo;
                }
            }
        }
    }

    pub(super) fn shorten(&mut self) {
        while self.runs.len() > RUNS_MAX {
            self.runs.remove(0);
            self.runs[0].gap_before = true;
        }
    }
}

/// By when the run before this one was over. A log is made when it has been over for longer than times may slip.
fn over_before(next: &Run, began: UnixNanos) -> UnixNanos {
    if next.is_logged() { next.start.lo.saturating_sub(SLIP).max(began) } else { next.start.hi }
}

/// The id of the run that the state speaks of; empty while there is none.
fn current_id(status: &ContainerStatus) -> Arc<str> {
    match &status.state {
        RunState::Terminated(ended) if !ended.id.is_empty() => ended.id.clone(),
        _ => status.id.clone(),
    }
}

fn ended_run(ended: &Ended, restart: i64, now: UnixNanos) -> Run {
    Run {
        id: ended.id.clone(),
        restart,
        image: Arc::default(),
        image_id: Arc::default(),
        start: ended.started.map_or(TimeBounds::UNKNOWN, TimeBounds::second),
        end: ended.finished.map(TimeBounds::second),
        end_reported: ended.finished.is_some(),
        reason: ended.reason.clone(),
        exit_code: ended.exit_code,
        gap_before: false,
        learned_at: now,
    }
}

fn current_run(status: &ContainerStatus, id: &Arc<str>, now: UnixNanos) -> Run {
    let last_is_same = status.last.as_ref().filter(|last| last.id == *id);
    let ended = match (&status.state, last_is_same) {
        (RunState::Terminated(ended), _) => Some(ended),
        // CrashLoopBackOff: the current id is the dead run's.
        (RunState::Waiting { .. } | RunState::Unknown, Some(last)) => Some(last),
        _ => None,
    };
    let mut run = match ended {
        Some(ended) => ended_run(ended, status.restart_count, now),
        None => ended_run(&Ended::default(), status.restart_count, now),
    };
    if let RunState::Running { started } = &status.state {
        run.start = started.map_or(TimeBounds::UNKNOWN, TimeBounds::second);
    }
    Run { id: id.clone(), image_id: status.image_id.clone(), ..run }
}

/// What an event adds to a known run. Of a whole second and a time within it the latter is meant; times that differ (a
/// kubelet that restarted refills them) widen the moment.
fn merge(known: &mut Run, seen: Run, is_newest: bool) {
    known.start = match (known.start.is_known(), seen.start.is_known()) {
        (true, true) => known.start.both(seen.start),
        (false, true) => seen.start,
        _ => known.start,
    };
    if seen.restart >= 0 {
        known.restart = seen.restart;
    }
    if known.image.is_empty() {
        known.image = seen.image;
    }
    if !seen.image_id.is_empty() {
        known.image_id = seen.image_id;
    }
    match (known.end_reported, seen.end) {
        (_, Some(end)) => {
            let both = known.end.filter(|_| known.end_reported).map_or(end, |known| known.union(end));
            known.end = Some(both);
            known.end_reported = true;
            known.reason = seen.reason;
            known.exit_code = seen.exit_code;
        }
        // The newest run is said to be running although an end was reported: a status rewritten after a kubelet
        // restart. Believing the end would lose every item of a living container.
        (true, None) if is_newest => {
            known.end = None;
            known.end_reported = false;
        }
        _ => {}
    }
}
