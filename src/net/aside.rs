//! Long work of one request, done beside the others' instead of before it.
//!
//! Reading a body is one uninterrupted walk; for tens of megabytes that is tens to hundreds of milliseconds in which a gateway
//! with one worker thread would answer nobody. Such a walk leaves its worker to the other requests and shares the core with
//! them by the scheduler's slices. Only as many as there are cores do so at once. What the work is, is not known here.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Less is done before another thread has taken over.
const LONG_BYTES: u64 = 1 << 20;

/// Places for long work.
#[derive(Debug)]
pub struct Aside {
    places: Semaphore,
}

impl Default for Aside {
    fn default() -> Aside {
        Aside { places: Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)) }
    }
}

impl Aside {
    /// Does `work` on `bytes` bytes, right here when they are few.
    pub async fn run<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        // A runtime of one thread has no other to leave its tasks to.
        let alone = Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread;
        if alone || bytes < LONG_BYTES {
            return work();
        }
        // Never closed; without a place the work would only be done sooner.
        let _place = self.places.acquire().await;
        block_in_place(work)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_requests_go_on_while_a_long_body_is_read() {
        let (begun, begins) = mpsc::channel();
        let (done, waits) = mpsc::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let aside = Aside::default();
            aside.run(LONG_BYTES, move || (begun.send(()).unwrap(), waits.recv().unwrap())).await;
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
    async fn a_runtime_of_one_thread_does_the_work_at_once() {
        assert_eq!(Aside::default().run(u64::MAX, || 7).await, 7);
    }
}
