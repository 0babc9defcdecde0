//! Work that outlives its request: refused bodies being read, and pipeline calls whose client went away.
//!
//! A pipeline call runs to its end even when nobody waits for the answer any more, because only then is it known what
//! became of its items; but it is told, so that it makes no further attempt: an exporter without a queue gives up between
//! two. The set is owned by the receiver, which waits for it when it drains.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::core::data::settlement::Settlement;
use crate::core::lock::Locked;

/// The running leftovers of one receiver.
#[derive(Debug)]
pub struct Leftovers {
    runtime: Handle,
    // Locked to add one and to reap; never across an await.
    running: Mutex<JoinSet<()>>,
}

impl Leftovers {
    /// Must be called within the runtime that shall run them.
    pub fn new() -> Arc<Leftovers> {
        Arc::new(Leftovers { runtime: Handle::current(), running: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.running.locked()
    }

    /// May be called from anywhere, a drop included.
    pub fn add(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.lock();
        while running.try_join_next().is_some() {}
        running.spawn_on(work, &self.runtime);
    }

    pub fn running(&self) -> usize {
        let mut running = self.lock();
        while running.try_join_next().is_some() {}
        running.len()
    }

    /// Waits until all have ended or the deadline has come. What is left then runs on: the stages behind it, which
    /// drain later, answer it.
    pub async fn settle(&self, deadline: Instant) {
        let mut running = std::mem::take(&mut *self.lock());
        let ended = async { while running.join_next().await.is_some() {} };
        let _ = timeout_at(deadline, ended).await;
        running.detach_all();
    }
}

impl Drop for Leftovers {
    /// Calls that came in after the last wait run on, too: their stages still answer for the items.
    fn drop(&mut self) {
        self.running.get_mut().unwrap_or_else(PoisonError::into_inner).detach_all();
    }
}

/// A call that is finished among the leftovers when its caller drops it early; its request then counts as abandoned.
pub struct Unabandoned<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    leftovers: Arc<Leftovers>,
    request: Arc<Settlement>,
}

impl<T: Send + 'static> Unabandoned<T> {
    pub fn new(
        work: impl Future<Output = T> + Send + 'static,
        leftovers: Arc<Leftovers>,
        request: Arc<Settlement>,
    ) -> Unabandoned<T> {
        Unabandoned { work: Some(Box::pin(work)), leftovers, request }
    }
}

impl<T: Send + 'static> Future for Unabandoned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = self.work.as_mut() else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Unabandoned<T> {
    fn drop(&mut self) {
        // A panicking call must not be polled again.
        if let Some(work) = self.work.take().filter(|_| !std::thread::panicking()) {
            self.request.abandon();
            self.leftovers.add(async move {
                work.await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::core::data::payload::Signal;

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_caller_goes_away_runs_to_its_end() {
        let leftovers = Leftovers::new();
        let ended = Arc::new(AtomicBool::new(false));
        let (receipt, share) = Settlement::receive(&Arc::default(), Signal::Logs, 1);
        let call = {
            let ended = ended.clone();
            Unabandoned::new(
                async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    ended.store(true, Ordering::Relaxed);
                },
                leftovers.clone(),
                receipt.settlement().clone(),
            )
        };
        assert!(!share.is_abandoned());
        let waited = tokio::time::timeout(Duration::from_secs(1), call).await;
        assert!(waited.is_err() && leftovers.running() == 1);
        assert!(share.is_abandoned(), "and knows that nobody waits");
        leftovers.settle(Instant::now() + Duration::from_secs(10)).await;
        assert!(ended.load(Ordering::Relaxed) && leftovers.running() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn settling_gives_up_at_the_deadline_without_aborting() {
        let leftovers = Leftovers::new();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        leftovers.add(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            seen.store(true, Ordering::Relaxed);
        });
        leftovers.settle(Instant::now() + Duration::from_secs(1)).await;
        assert!(!ended.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(ended.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_left_when_the_receiver_is_gone_runs_to_its_end() {
        let leftovers = Leftovers::new();
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        leftovers.add(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            seen.store(true, Ordering::Relaxed);
        });
        drop(leftovers);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(ended.load(Ordering::Relaxed));
    }
}
