//! From the node's log folder to the ledger: runs with their numbers and starts, before any status tells of them.

use std::sync::Arc;

use super::{ContainerLedger, LastLook, Run, TimeBounds};
use crate::core::time::UnixNanos;
use crate::kube::node_logs::{ContainerLogs, LoggedRun};

impl ContainerLedger {
    /// The strongest source: names that the kubelet wrote at the start of each run, on this node. Of a run that a status
    /// told of first only the start becomes more exact.
    pub(super) fn witness(&mut self, logs: &ContainerLogs, image: &Arc<str>, look: LastLook) {
        // How old what the last status said was is not known: it may have been on its way for long.
        let look = LastLook { previous: UnixNanos(0), ..look };
        for logged in &logs.runs {
            let run = run(logged, image, look);
            if self.run(&run.id).is_some() || self.is_past(&run) || self.is_next(&run) {
                let follows = self.runs.last().is_some_and(|newest| run.restart == newest.restart.saturating_add(1));
                self.place(run, look, follows);
            }
        }
        self.tighten();
        self.shorten();
        let newest = logs.runs.last().map(|run| &run.id);
        self.logged = logs.complete && newest.is_some_and(|id| self.runs.last().is_some_and(|run| run.id == *id));
    }

    /// Newer than all that is known, by its number or, where the kubelet lost count, by its start.
    fn is_next(&self, run: &Run) -> bool {
        self.runs.last().is_none_or(|newest| {
            newest.restart < run.restart || newest.start.is_known() && newest.start.hi < run.start.lo
        })
    }
}

fn run(logged: &LoggedRun, image: &Arc<str>, look: LastLook) -> Run {
    Run {
        id: logged.id.clone(),
        restart: logged.number,
        image: image.clone(),
        image_id: Arc::default(),
        start: TimeBounds { lo: logged.from, hi: logged.to },
        end: None,
        end_reported: false,
        reason: Arc::default(),
        exit_code: 0,
        gap_before: false,
        learned_at: look.now,
    }
}
