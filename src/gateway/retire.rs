//! What a reload took out of the flow: drained producers first, in the background, and forgotten where nothing of its name
//! came after it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::limits::DRAIN_DEADLINE;
use crate::core::lock::Locked;
use crate::core::stage::host::Host;
use crate::pipeline::plan::Plan;
use crate::pipeline::wiring::units::{Unit, Wired};
use crate::telemetry::state;

/// Reloads whose leavings are under way at a time; the next one waits for them.
const RETIRING_MAX: usize = 8;
/// Calls that were under way when the joints were led elsewhere still reach who is taken out, for so long.
const LAST_CALLS: Duration = Duration::from_secs(2);
const LAST_CALLS_STEP: Duration = Duration::from_millis(5);

/// The leavings of past reloads, one after the other.
pub struct Retiring {
    host: Arc<Host>,
    /// Paths of the components of the running configuration, and of the one that is being built.
    live: Arc<Mutex<BTreeSet<String>>>,
    pending: Arc<AtomicUsize>,
    last: Option<JoinHandle<()>>,
}

impl Retiring {
    pub fn new(host: &Arc<Host>, plan: &Plan) -> Retiring {
        let live = Arc::new(Mutex::new(plan.paths()));
        Retiring { host: host.clone(), live, pending: Arc::default(), last: None }
    }

    /// Returns when there is room for the leavings of one more.
    pub async fn room(&mut self) {
        if self.pending.load(Ordering::Relaxed) >= RETIRING_MAX
            && let Some(last) = &mut self.last
        {
            let _ = last.await;
            self.last = None;
        }
    }

    /// What `plan` names is not forgotten from now on.
    pub fn expect(&self, plan: &Plan) {
        self.live.locked().extend(plan.paths());
    }

    /// Nothing but what the running configuration names is there.
    pub fn settle(&self, plan: &Plan) {
        *self.live.locked() = plan.paths();
    }

    /// Drains what is no part of the flow any more, behind what earlier reloads left.
    pub fn take(&mut self, gone: Wired, runs: &Wired) {
        for unit in gone.all() {
            let successor = runs.find(unit.kind, &unit.id, &unit.pipeline).and_then(|unit| unit.entry.as_ref());
            successor.into_iter().for_each(|next| unit.component.succeeded_by(next));
        }
        for unit in gone.all().filter(|unit| !self.live.locked().contains(&unit.path)) {
            // At once: should it come again while it drains, it comes anew.
            self.host.renew(&unit.path);
            self.host.logs.unused_by(&unit.path);
            self.host.peer_identity.withdraw(&unit.path);
        }
        let (host, live, pending) = (self.host.clone(), self.live.clone(), self.pending.clone());
        let before = self.last.take();
        pending.fetch_add(1, Ordering::Relaxed);
        self.last = Some(self.host.tasks.spawn_idle("reload/retired components", async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            for units in [gone.receivers, gone.processors, gone.exporters, gone.extensions] {
                retire(units, &host, &live).await;
            }
            pending.fetch_sub(1, Ordering::Relaxed);
        }));
    }

    /// Waits for all of it, until the deadline.
    pub async fn end(&mut self, deadline: Instant) {
        if let Some(last) = self.last.take() {
            let _ = timeout_at(deadline, last).await;
        }
    }
}

async fn retire(units: Vec<Unit>, host: &Host, live: &Mutex<BTreeSet<String>>) {
    for unit in units.into_iter().rev() {
        let give_up = Instant::now() + LAST_CALLS;
        while !unit.is_left() && Instant::now() < give_up {
            sleep(LAST_CALLS_STEP).await;
        }
        tracing::debug!(component = %unit.path, "drains, because the configuration is another");
        unit.component.drain(Instant::now() + DRAIN_DEADLINE).await;
        if live.locked().contains(&unit.path) {
            host.status.succeeded(&unit.path);
        } else {
            forget(&unit, host);
        }
    }
}

/// Figures, states and addresses go with what they tell of.
fn forget(unit: &Unit, host: &Host) {
    host.status.forget(&unit.path);
    host.stats.forget(unit.kind.name(), &unit.id.to_string());
    state::forget_listeners(&unit.path, host);
}
