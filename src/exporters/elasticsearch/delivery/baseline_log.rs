//! Points of cumulative series on their way to the log that the exporter's queue stands in, and back from it after a restart.
//!
//! They are on disk before the documents that were made by them leave: a later process then makes the same documents.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::stage::component::Task;
use crate::core::stage::durable::{DurableLog, DurableLogs, Remember};
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::delivery::mapper_pool::MapperPool;
use crate::exporters::elasticsearch::mapping::BASELINES_KEPT;

/// Documents wait no longer than this for a log that cannot write: on a full disk their delivery is what makes room.
const WAIT_MAX: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(100);
/// Between two writes, so that a restart reads no more than 24,000 batches.
const APART: Duration = Duration::from_millis(25);
/// Batches that wait for a log that cannot write; the oldest are given up beyond.
const WAITING_MAX: usize = 32;

#[derive(Default)]
pub struct BaselineLog {
    log: OnceLock<Arc<dyn DurableLog>>,
    /// Not logged yet. Held while they are being written, so that points are logged in the order in which they were mapped.
    waiting: tokio::sync::Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    batches: Vec<Bytes>,
    written: Option<Instant>,
}

impl BaselineLog {
    /// Logs from now on, if the queue of the exporter at `path` stands in a log.
    pub fn begin(&self, logs: &DurableLogs, path: &str, rooms: &MapperPool) {
        if let Some((_, log)) = logs.of(path) {
            _ = self.log.set(log);
            rooms.log_series();
        }
    }

    /// Returns when every point that was mapped is on disk, or the log could not write for two seconds.
    pub async fn keep(&self, path: &str, rooms: &MapperPool) {
        let Some(log) = self.log.get() else { return };
        let give_up = Instant::now() + WAIT_MAX;
        let mut waiting = self.waiting.lock().await;
        let Waiting { batches, written } = &mut *waiting;
        if !rooms.has_moved_series() && batches.is_empty() {
            // Whoever wrote last wrote for this one, too.
            return;
        }
        if let Some(before) = *written {
            tokio::time::sleep_until(before + APART).await;
        }
        *written = Some(Instant::now());
        batches.extend(rooms.moved_series());
        while let Some(batch) = batches.first() {
            let until = UnixNanos::now().saturating_add(BASELINES_KEPT);
            if log.verdicts(path, until, batch.clone()).await.is_ok() {
                batches.remove(0);
            } else if give_up <= Instant::now() {
                let over = batches.len().saturating_sub(WAITING_MAX);
                batches.drain(..over);
                return;
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Remember for MapperPool {
    fn remember(&self, body: Bytes) -> Task<'_, ()> {
        self.restore_series(&body);
        Box::pin(std::future::ready(()))
    }

    fn returning(&self, _: bool) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
