//! Owner tasks: each is spawned by name, awaited by its owner, beats while it makes progress, and ends the gateway if it panics.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Shows that an owner task still turns: the task beats at least every [`Pulse::INTERVAL`].
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    last_beat_millis: AtomicU64,
}

impl Pulse {
    /// Owner tasks wake at least this often even when idle.
    pub const INTERVAL: Duration = Duration::from_secs(5);

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
    failed: watch::Sender<Option<String>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks { pulses: Mutex::default(), failed: watch::Sender::new(None) }
    }
}

impl Tasks {
    /// Spawns an owner task. `make` gets the pulse to beat. The caller keeps the handle and awaits it in drain.
    #[expect(clippy::disallowed_methods, reason = "the one place where owner tasks are spawned")]
    pub fn spawn<F>(self: &Arc<Tasks>, name: &str, make: impl FnOnce(Arc<Pulse>) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let pulse = Arc::new(Pulse { started: Instant::now(), last_beat_millis: AtomicU64::new(0) });
        self.lock().insert(name.to_owned(), pulse.clone());
        let guard = TaskGuard { tasks: self.clone(), name: name.to_owned() };
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
        let guard = TaskGuard { tasks: self.clone(), name: name.to_owned() };
        tokio::spawn(async move {
            let _guard = guard;
            future.await;
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Pulse>>> {
        self.pulses.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.tasks.lock().remove(&self.name);
        if std::thread::panicking() {
            let _ = self.tasks.failed.send(Some(self.name.clone()));
        }
    }
}
