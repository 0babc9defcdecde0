//! What all components of one gateway share. Passed down by the gateway; there are no globals.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::core::data::balance::Balance;
use crate::core::data::binding::PeerIdentity;
use crate::core::data::budget::Budget;
use crate::core::lock::Locked;
use crate::core::outside::Outside;
use crate::core::ports::Ports;
use crate::core::report::routes::Routes;
use crate::core::report::stats::Stats;
use crate::core::report::status::StatusBoard;
use crate::core::stage::durable::DurableLogs;
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
    pub peer_identity: OnceLock<Arc<dyn PeerIdentity>>,
    // One watcher, one snapshot for all pipelines: keyed by what makes two of them the same. Locked at build time only.
    shared: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
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
            peer_identity: OnceLock::new(),
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

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<dyn Any + Send + Sync>>> {
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
