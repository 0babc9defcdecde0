//! Works out the attributes of pods when they are announced, so that owners, namespaces and nodes are asked for before data
//! comes.
//!
//! A pod that sends once, at its end, never sends again: what is first asked for when its data comes, comes too late. Runs
//! only where a rule takes something from another object than the pod.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::kube::pod::Pod;
use crate::processors::k8s_attributes::enrich::Enricher;

/// Between two looks at what changed: one look passes over all pods.
const SPACING: Duration = Duration::from_millis(100);

/// Pods whose attributes are complete, as they were then.
type Done = HashMap<Arc<str>, Arc<Pod>>;

/// Until the stop.
pub async fn run(enricher: Arc<Enricher>, mut stop: watch::Receiver<bool>, pulse: Arc<Pulse>) {
    let mut changed = enricher.cluster.changed();
    let mut done = Done::new();
    pulse.waits_for("pods to be announced");
    loop {
        pulse.beat();
        announce(&enricher, &mut done, UnixNanos::now());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(SPACING) => {}
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            answer = changed.changed() => if answer.is_err() { return },
            () = sleep(Pulse::INTERVAL / 2) => {}
        }
    }
}

/// Looks at every pod that is new or has changed, or still lacks something that is on its way.
fn announce(enricher: &Enricher, done: &mut Done, now: UnixNanos) {
    let snapshot = enricher.cluster.snapshot();
    for entry in snapshot.pods().filter(|entry| entry.removed_at.is_none()) {
        if done.get(&entry.pod.uid).is_some_and(|known| Arc::ptr_eq(known, &entry.pod)) {
            continue;
        }
        if !enricher.profile(entry, now).incomplete {
            done.insert(entry.pod.uid.clone(), entry.pod.clone());
        }
    }
    if done.len() > snapshot.len() {
        done.retain(|uid, _| snapshot.by_uid(uid).is_some());
    }
    // Two kilobytes each: kept until there were 16,384, a node whose pods come and go had 32 MiB of them.
    enricher.profiles.forget(snapshot.len(), |uid| snapshot.by_uid(uid).is_some());
}
