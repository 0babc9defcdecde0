//! Long work of one request, done beside the others' instead of before it.
//!
//! Reading a body, changing its items or inflating it is one uninterrupted walk; for tens of megabytes that is tens to
//! hundreds of milliseconds in which a gateway with one worker thread would answer nobody. Such a walk goes to a thread of
//! its own and shares the core with the others by the scheduler's slices. Only as many as there are cores do so at once.
//! What the work is, is not known here.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::core::limits::LONG_WORK_BYTES;

/// Places for long work.
#[derive(Debug)]
pub struct Aside {
    places: Arc<Semaphore>,
}

impl Default for Aside {
    fn default() -> Aside {
        Aside::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

impl Aside {
    /// So much long work at once.
    pub fn new(places: usize) -> Aside {
        Aside { places: Arc::new(Semaphore::new(places.max(1))) }
    }

    /// The places of all stages of this process.
    pub fn shared() -> &'static Aside {
        static SHARED: LazyLock<Aside> = LazyLock::new(Aside::default);
        &SHARED
    }

    /// Does `work` on `bytes` bytes, right here when they are few. A panic in it is the caller's. Work begun goes on to its
    /// end, and keeps its place, also when the caller stops waiting.
    pub async fn run<T: Send + 'static>(&self, bytes: u64, work: impl FnOnce() -> T + Send + 'static) -> T {
        if bytes < LONG_WORK_BYTES {
            return work();
        }
        // Never closed; without a place the work would only be done sooner.
        let place = self.places.clone().acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let _place = place;
            work()
        });
        match done.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // Taken off the runtime's list because it shuts down: so does the caller.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::mpsc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn other_requests_go_on_while_a_long_body_is_read() {
        let (begun, begins) = mpsc::channel();
        let (done, waits) = mpsc::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let aside = Aside::default();
            aside.run(LONG_WORK_BYTES, move || (begun.send(()).unwrap(), waits.recv().unwrap())).await;
        });
        tasks.spawn(async move {
            // Only a worker that is free comes here while the other waits.
            while begins.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
        });
        tasks.join_all().await;
    }

    #[tokio::test]
    async fn a_panic_in_long_work_is_the_callers() {
        let aside = Aside::default();
        let long = AssertUnwindSafe(aside.run(LONG_WORK_BYTES, || panic!("a bug")));
        assert!(futures_util::FutureExt::catch_unwind(long).await.is_err());
        assert_eq!(aside.run(LONG_WORK_BYTES, || 7).await, 7, "its place is free again");
    }
}
