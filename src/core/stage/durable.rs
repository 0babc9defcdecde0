//! The seam to logs on disk: who logs what it takes responsibility for, and who gets it again after a restart.
//!
//! Core knows a log by what it promises; an extension implements it. A taker is a stage that logs, by a name that says
//! where it stands in the configuration, so that records find it again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Signal};
use crate::core::data::settlement::ItemRecord;
use crate::core::error::{ConsumeError, StartError};
use crate::core::lock::Locked;
use crate::core::stage::component::Task;
use crate::core::stage::consumer::Next;
use crate::core::stage::joint::Joint;
use crate::core::time::UnixNanos;

/// What is logged of a payload.
pub struct LogEntry<'a> {
    /// The taker's name, as it names itself in [`Taker`].
    pub taker: &'a str,
    pub signal: Signal,
    pub envelope: &'a Envelope,
    /// That are answered for; the record counts them in the envelope's order.
    pub items: u64,
    pub origin: &'a Origin,
    /// Pays for what is copied.
    pub ticket: &'a Ticket,
}

/// A stage to which payloads go that a log gives back: those of an earlier process, and parked ones.
pub struct Taker {
    pub name: String,
    /// Takes payloads whose items stand on disk already. A refusal is tried again.
    pub next: Next,
    /// Payloads given back that may be without an end at a time, so that catching up leaves room for live data; `None`
    /// where the taker bounds them by itself.
    pub at_once: Option<usize>,
    /// Gets the verdicts that it logged, before any payload.
    pub remember: Option<Arc<dyn Remember>>,
}

/// Who logged verdicts.
pub trait Remember: Send + Sync {
    /// A batch, oldest first, as it was logged.
    fn remember(&self, body: Bytes) -> Task<'_, ()>;

    /// Payloads of earlier processes follow, in their order; after the last one it is told that there are none any more.
    fn returning(&self, more: bool) -> Task<'_, ()>;
}

/// A log on disk.
pub trait DurableLog: Send + Sync {
    /// Opens it. While another process holds it this waits, until [`DurableLog::stop`].
    fn open(&self) -> Task<'_, Result<(), StartError>>;

    /// A stop has begun: nothing is waited for or handed out any more. Records are still taken.
    fn stop(&self);

    /// Returns once the entry is on disk: from then on the items may be answered for by what is returned.
    fn append<'a>(&'a self, entry: LogEntry<'a>) -> Task<'a, Result<Arc<dyn ItemRecord>, ConsumeError>>;

    /// As [`DurableLog::append`] for a taker that has no room in memory: once the entry is on disk it is the log's, which
    /// hands it to the taker of this name when that takes it.
    fn park<'a>(&'a self, entry: LogEntry<'a>) -> Task<'a, Result<(), ConsumeError>>;

    /// Returns once the verdicts are on disk. A restart before `until` hands them to the taker of this name.
    fn verdicts<'a>(&'a self, taker: &'a str, until: UnixNanos, body: Bytes) -> Task<'a, Result<(), ConsumeError>>;

    /// Hands out the verdicts of earlier processes, then begins with their payloads, beside live data.
    fn recover(&self, takers: Vec<Taker>) -> Task<'_, ()>;

    /// Why nothing can be written at present.
    fn trouble(&self) -> Option<String>;

    /// The folder that it writes in, where small things of others may stand beside it.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// Makes everything that was said last, and closes the log. Nothing is appended afterwards.
    fn close(&self) -> Task<'_, ()>;
}

/// The logs of one gateway.
#[derive(Default)]
pub struct DurableLogs {
    // All locked at build, start and stop, and by probes.
    by_id: Mutex<BTreeMap<String, Arc<dyn DurableLog>>>,
    users: Mutex<BTreeMap<String, String>>,
    takers: Mutex<Vec<(String, Taker)>>,
    /// By log and taker: where what a log hands out goes at present.
    handed: Mutex<BTreeMap<(String, String), Arc<Joint>>>,
}

impl DurableLogs {
    /// `id` as the configuration names it.
    pub fn add(&self, id: &str, log: Arc<dyn DurableLog>) {
        self.by_id.locked().insert(id.to_owned(), log);
    }

    /// The log of this id, which the component at `path` uses from now on.
    pub fn used_by(&self, path: &str, id: &str) -> Option<Arc<dyn DurableLog>> {
        let log = self.by_id.locked().get(id).cloned();
        if log.is_some() {
            self.users.locked().insert(path.to_owned(), id.to_owned());
        }
        log
    }

    /// The log that the component at `path` uses, with its id.
    pub fn of(&self, path: &str) -> Option<(String, Arc<dyn DurableLog>)> {
        let id = self.users.locked().get(path).cloned()?;
        let log = self.by_id.locked().get(&id).cloned()?;
        Some((id, log))
    }

    /// Where records of the log `id` that name this taker go.
    pub fn take(&self, id: &str, taker: Taker) {
        self.takers.locked().push((id.to_owned(), taker));
    }

    pub fn all(&self) -> Vec<(String, Arc<dyn DurableLog>)> {
        self.by_id.locked().iter().map(|(id, log)| (id.clone(), log.clone())).collect()
    }

    /// The component at `path` uses no log, unless it says so again.
    pub fn unused_by(&self, path: &str) {
        self.users.locked().remove(path);
    }

    pub fn users(&self) -> BTreeMap<String, String> {
        self.users.locked().clone()
    }

    /// As before a reload that did not come about; who registered meanwhile gets nothing.
    pub fn go_back(&self, users: BTreeMap<String, String>) {
        *self.users.locked() = users;
        self.takers.locked().clear();
    }

    /// After a reload: what is still handed out goes to who registered anew under the same name. Nothing is read twice.
    pub fn hand_over(&self) {
        let (mut takers, handed) = (self.takers.locked(), self.handed.locked());
        for (id, taker) in takers.drain(..) {
            let joint = handed.get(&(id, taker.name));
            joint.into_iter().for_each(|joint| joint.lead(taker.next.clone()));
        }
    }

    /// Who registered, each behind a joint, so that another can come in its place.
    fn with_joints(&self) -> Vec<(String, Taker)> {
        let (mut takers, mut handed) = (std::mem::take(&mut *self.takers.locked()), self.handed.locked());
        for (id, taker) in &mut takers {
            let joint = Joint::to(taker.next.clone());
            handed.insert((id.clone(), taker.name.clone()), joint.clone());
            taker.next = joint;
        }
        takers
    }

    /// Every log hands out what it has to those who registered.
    pub async fn recover(&self) {
        let mut takers = self.with_joints();
        for (id, log) in self.all() {
            let (own, others) = takers.into_iter().partition(|(of, _)| *of == id);
            takers = others;
            log.recover(own.into_iter().map(|(_, taker): (String, Taker)| taker).collect()).await;
        }
    }

    /// Why the gateway cannot take responsibility for data at present.
    pub fn trouble(&self) -> Option<String> {
        self.all().into_iter().find_map(|(id, log)| log.trouble().map(|why| format!("{id}: {why}")))
    }
}

impl fmt::Debug for DurableLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.locked().keys()).finish()
    }
}
