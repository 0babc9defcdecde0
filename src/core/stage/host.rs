//! What all components of one gateway share. Passed down by the gateway; there are no globals.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::core::data::balance::Balance;
use crate::core::data::binding::{NamedPeers, PeerNames};
use crate::core::data::budget::Budget;
use crate::core::lock::Locked;
use crate::core::outside::Outside;
use crate::core::ports::Ports;
use crate::core::report::routes::Routes;
use crate::core::report::stats::{Stats, StatsSnapshot};
use crate::core::report::status::{StatusBoard, Turns};
use crate::core::stage::absences::Absences;
use crate::core::stage::auth::{AuthStanding, Authenticators};
use crate::core::stage::durable::DurableLogs;
use crate::core::stage::last::LastDrained;
use crate::core::stage::tasks::Tasks;

pub struct Host {
    pub outside: Outside,
    pub budget: Arc<Budget>,
    pub balance: Arc<Balance>,
    pub stats: Arc<Stats>,
    pub routes: Arc<Routes>,
    pub status: Arc<StatusBoard>,
    pub tasks: Arc<Tasks>,
    pub ports: Ports,
    /// Logs on disk, by the ids of the configuration.
    pub logs: DurableLogs,
    /// What drains behind the exporters.
    pub last: LastDrained,
    pub peer_identity: PeerNames,
    pub authenticators: Authenticators,
    /// Of sources that keep what they have for us.
    pub absences: Arc<Absences>,
    /// Counts reloads that were applied: who looks at files now and then looks at once.
    pub reloads: watch::Sender<u64>,
    // One watcher, one snapshot for all pipelines: keyed by what makes two of them the same. Locked at build time only.
    shared: Mutex<SharedThings>,
}

type SharedThings = HashMap<String, Arc<dyn Any + Send + Sync>>;

/// What components entered with the host, to go back to when a reload does not come about.
pub struct Entered {
    series: StatsSnapshot,
    shared: SharedThings,
    log_users: BTreeMap<String, String>,
    auth: AuthStanding,
    turns: Turns,
    peer_names: Option<Arc<NamedPeers>>,
}

impl Host {
    /// A host in the world of the operating system.
    pub fn new(budget: Arc<Budget>) -> Arc<Host> {
        Host::within(Outside::default(), budget)
    }

    pub fn within(outside: Outside, budget: Arc<Budget>) -> Arc<Host> {
        Arc::new(Host {
            outside,
            budget,
            balance: Arc::default(),
            stats: Arc::default(),
            routes: Arc::default(),
            status: Arc::default(),
            tasks: Arc::default(),
            ports: Ports::default(),
            logs: DurableLogs::default(),
            last: LastDrained::default(),
            peer_identity: PeerNames::default(),
            authenticators: Authenticators::default(),
            absences: Arc::default(),
            reloads: watch::Sender::new(0),
            shared: Mutex::default(),
        })
    }

    /// The thing of this key, made on first use and shared afterwards. `key` names type and configuration.
    ///
    /// `make` may ask for other shared things: the lock is not held while it runs. Should two ask at once, both get what
    /// was put in first.
    pub fn shared<T: Any + Send + Sync>(&self, key: &str, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let find = || self.lock().get(key).cloned().and_then(|any| any.downcast::<T>().ok());
        if let Some(known) = find() {
            return known;
        }
        let made = make();
        let first = self.lock().entry(key.to_owned()).or_insert_with(|| made.clone()).clone();
        first.downcast::<T>().unwrap_or(made)
    }

    /// What was shared under keys that end with this path is made anew by who asks next: a component's with another
    /// configuration. Who holds it keeps it.
    pub fn renew(&self, path: &str) {
        self.lock().retain(|key, _| key.strip_suffix(path).is_none_or(|before| !before.ends_with(' ')));
    }

    /// Puts `thing` in the place of what is shared under `key`.
    pub fn replace<T: Any + Send + Sync>(&self, key: &str, thing: Arc<T>) {
        self.lock().insert(key.to_owned(), thing);
    }

    pub fn entered(&self) -> Entered {
        let (series, shared) = (self.stats.snapshot(), self.lock().clone());
        let (log_users, turns, peer_names) = (self.logs.users(), self.status.turns(), self.peer_identity.told_by());
        let auth = self.authenticators.standing();
        Entered { series, shared, log_users, turns, peer_names, auth }
    }

    /// As it was then.
    pub fn go_back(&self, entered: Entered) {
        self.stats.restore(entered.series);
        *self.lock() = entered.shared;
        self.logs.go_back(entered.log_users);
        self.authenticators.go_back(entered.auth);
        self.status.go_back(entered.turns);
        self.peer_identity.go_back(entered.peer_names);
    }

    fn lock(&self) -> MutexGuard<'_, SharedThings> {
        self.shared.locked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_thing_may_be_made_of_another_shared_thing() {
        let host = Host::new(Budget::unlimited());
        let outer = host.shared("outer", || Arc::new(host.shared("inner", || Arc::new(7u32))));
        assert_eq!(**outer, 7);
        assert!(Arc::ptr_eq(&outer, &host.shared("outer", || Arc::new(Arc::new(8u32)))));
    }
}
