//! Owner tasks: each is spawned by name, awaited by its owner, beats while it makes progress, and ends the gateway if it panics.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::lock::Locked;

/// Shows that an owner task still turns: the task beats at least every [`Pulse::INTERVAL`].
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    last_beat_millis: AtomicU64,
    // Written when what the task waits for changes, which is rare.
    waits_for: Mutex<&'static str>,
}

/// One owner task as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    pub name: String,
    /// Since the last beat; `None` for a task that only waits for others and has no beat.
    pub silent: Option<Duration>,
    /// In a person's words.
    pub waits_for: &'static str,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse::new("its next turn")
    }
}

impl Pulse {
    /// Owner tasks wake at least this often even when idle.
    pub const INTERVAL: Duration = Duration::from_secs(5);

    fn new(waits_for: &'static str) -> Pulse {
        Pulse { started: Instant::now(), last_beat_millis: AtomicU64::new(0), waits_for: Mutex::new(waits_for) }
    }

    /// What the task waits for from now on, for whoever asks a process that seems to stand still (SIGQUIT).
    pub fn waits_for(&self, what: &'static str) {
        *self.waits_for.locked() = what;
    }

    pub fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_beat_millis.store(millis, Ordering::Relaxed);
    }

    pub fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_beat_millis.load(Ordering::Relaxed)))
    }
}

/// The owner tasks of one gateway.
#[derive(Debug)]
pub struct Tasks {
    pulses: Mutex<BTreeMap<String, Arc<Pulse>>>,
    // Tasks without a beat, and how many have this name.
    idle: Mutex<BTreeMap<String, usize>>,
    failed: watch::Sender<Option<String>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { pulses: Mutex::default(), idle: Mutex::default(), failed: watch::Sender::new(None) }
    }
}

impl Tasks {
    /// Spawns an owner task. `make` gets the pulse to beat. The caller keeps the handle and awaits it in drain.
    #[expect(clippy::disallowed_methods, reason = "the one place where owner tasks are spawned")]
    pub fn spawn<F>(self: &Arc<Tasks>, name: &str, make: impl FnOnce(Arc<Pulse>) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let pulse = Arc::new(Pulse::default());
        self.lock().insert(name.to_owned(), pulse.clone());
        let guard = TaskGuard { tasks: self.clone(), name: name.to_owned(), pulse: Some(pulse.clone()) };
        let future = make(pulse);
        tokio::spawn(async move {
            let _guard = guard;
            future.await;
        })
    }

    /// Spawns an owner task that only waits for others (an accept loop): a panic in it still ends the gateway, but it has
    /// no beat of its own.
    #[expect(clippy::disallowed_methods, reason = "the other place where owner tasks are spawned")]
    pub fn spawn_idle<F>(self: &Arc<Tasks>, name: &str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        *self.idle().entry(name.to_owned()).or_default() += 1;
        let guard = TaskGuard { tasks: self.clone(), name: name.to_owned(), pulse: None };
        tokio::spawn(async move {
            let _guard = guard;
            future.await;
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Pulse>>> {
        self.pulses.locked()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
        self.idle.locked()
    }

    /// Every owner task, those with a beat first, in order of name.
    pub fn all(&self) -> Vec<TaskReport> {
        let waits = |pulse: &Pulse| *pulse.waits_for.locked();
        let beating: Vec<TaskReport> = self
            .lock()
            .iter()
            .map(|(name, pulse)| TaskReport { name: name.clone(), silent: Some(pulse.age()), waits_for: waits(pulse) })
            .collect();
        let idle = self.idle();
        let idle = idle.keys().map(|name| TaskReport { name: name.clone(), silent: None, waits_for: "whoever asks" });
        beating.into_iter().chain(idle).collect()
    }

    /// Age of the oldest beat with the task's name; `None` when no owner task runs.
    pub fn slowest(&self) -> Option<(String, Duration)> {
        let pulses = self.lock();
        pulses.iter().map(|(name, pulse)| (name.clone(), pulse.age())).max_by_key(|(_, age)| *age)
    }

    /// Becomes `Some(task name)` when an owner task panicked; the gateway then drains and exits with code 1.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.subscribe()
    }
}

struct TaskGuard {
    tasks: Arc<Tasks>,
    name: String,
    /// `None` for a task without a beat.
    pulse: Option<Arc<Pulse>>,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if let Some(pulse) = &self.pulse {
            // After a reload the name may be its successor's already.
            let mut pulses = self.tasks.lock();
            if pulses.get(&self.name).is_some_and(|known| Arc::ptr_eq(known, pulse)) {
                pulses.remove(&self.name);
            }
        } else {
            let mut idle = self.tasks.idle();
            if let Some(count) = idle.get_mut(&self.name) {
                *count -= 1;
            }
            idle.retain(|_, count| *count > 0);
        }
        if std::thread::panicking() {
            let _ = self.tasks.failed.send(Some(self.name.clone()));
        }
    }
}
