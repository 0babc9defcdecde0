//! A sampler whose gateway has a log on disk: what it holds is logged before its sender hears success, its verdicts before
//! they are carried out, and both come back after a restart.
//!
//! A record is settled when all of its spans have ended: which of them a verdict took is not told apart on disk.

pub mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::data::binding::{BindingOutcome, Evidence};
use crate::core::data::payload::{Envelope, Payload};
use crate::core::data::settlement::ItemRecord;
use crate::core::error::ConsumeError;
use crate::core::stage::consumer::Consumer;
use crate::core::stage::durable::{DurableLog, DurableLogs, LogEntry, Remember, Taker};
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::durable::verdicts::LoggedVerdict;
use crate::processors::tail_sampling::held::admission::HeldGroup;

/// Verdicts come back after a restart for so long at least.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// Between two attempts to log verdicts while the log cannot write.
const VERDICTS_RETRY: Duration = Duration::from_millis(250);
/// Verdicts wait no longer than this for a log that cannot write: on a full disk what they hold back is what makes room.
const VERDICTS_WAIT_MAX: Duration = Duration::from_secs(2);
/// Verdicts in one record; a log takes no batch of more than a megabyte.
const VERDICTS_A_RECORD: usize = 16_384;
/// Verdicts that were carried out and are not on disk yet; the oldest are given up beyond.
const UNLOGGED_MAX: usize = 65_536;

/// The log of one sampler.
#[derive(Clone)]
pub struct SamplerLog {
    log: Arc<dyn DurableLog>,
    id: String,
    /// The sampler's name in records.
    taker: Arc<str>,
    remembered_for: Duration,
}

impl SamplerLog {
    /// The log that one of the exporters behind the sampler keeps its queue in.
    pub fn of(logs: &DurableLogs, exporters: &[String], taker: &str, decision_wait: Duration) -> Option<SamplerLog> {
        let (id, log) = exporters.iter().find_map(|exporter| logs.of(&format!("exporters::{exporter}")))?;
        let remembered_for = REMEMBERED_FOR.max(decision_wait * 2);
        Some(SamplerLog { log, id, taker: taker.into(), remembered_for })
    }

    /// Whether verdicts come back for long enough where traces wait so long.
    pub fn covers(&self, decision_wait: Duration) -> bool {
        decision_wait * 2 <= self.remembered_for
    }

    /// Registers the sampler for what an earlier process left of it.
    pub fn register<T: Consumer + Remember + 'static>(&self, logs: &DurableLogs, sampler: &Arc<T>) {
        let (name, remember) = (self.taker.to_string(), Some(sampler.clone() as Arc<dyn Remember>));
        logs.take(&self.id, Taker { name, next: sampler.clone(), at_once: None, remember });
    }

    /// Returns when the payload is on disk, with its resources as they are known now: what is bound at the decision is
    /// not bound again after a restart, because the pod may be gone then.
    pub async fn append(
        &self,
        payload: &Payload,
        groups: &[Arc<HeldGroup>],
    ) -> Result<Arc<dyn ItemRecord>, ConsumeError> {
        let bound = bound_now(&payload.envelope, groups);
        let entry = LogEntry {
            taker: &self.taker,
            signal: payload.signal,
            envelope: bound.as_ref().unwrap_or(&payload.envelope),
            items: payload.share.items(),
            origin: &payload.origin,
            ticket: &payload.ticket,
        };
        self.log.append(entry).await
    }

    /// Returns true when the verdicts are on disk.
    async fn keep(&self, verdicts: &[LoggedVerdict], now: UnixNanos) -> bool {
        let until = now.saturating_add(self.remembered_for);
        for some in verdicts.chunks(VERDICTS_A_RECORD) {
            if self.log.verdicts(&self.taker, until, verdicts::encode(some)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// The verdicts of one shard on their way to the log.
pub struct VerdictLog {
    log: SamplerLog,
    /// Carried out while the log could not write, oldest first; logged as soon as it can.
    unlogged: Vec<LoggedVerdict>,
}

impl VerdictLog {
    pub fn new(log: SamplerLog) -> VerdictLog {
        VerdictLog { log, unlogged: Vec::new() }
    }

    /// Nothing waits.
    pub fn is_clear(&self) -> bool {
        self.unlogged.is_empty()
    }

    /// Returns when the verdicts may be carried out: they are on disk, or the log could not write for two seconds, or until
    /// the deadline. Marks cannot be written then either, so that after a crash their traces come back whole.
    pub async fn keep(&mut self, verdicts: &[LoggedVerdict], now: UnixNanos, pulse: &Pulse, deadline: Option<Instant>) {
        // It is known already that the log cannot write: one look, and on.
        let patience = if self.is_clear() { VERDICTS_WAIT_MAX } else { Duration::ZERO };
        let give_up = Instant::now() + patience;
        let give_up = deadline.map_or(give_up, |deadline| deadline.min(give_up));
        self.unlogged.extend_from_slice(verdicts);
        while !self.log.keep(&self.unlogged, now).await {
            pulse.beat();
            if give_up <= Instant::now() {
                self.unlogged.drain(..self.unlogged.len().saturating_sub(UNLOGGED_MAX));
                return;
            }
            tokio::time::sleep(VERDICTS_RETRY).await;
        }
        self.unlogged = Vec::new();
    }
}

/// A copy of the lists with the resources that can be bound now; `None` where there are none.
fn bound_now(envelope: &Envelope, groups: &[Arc<HeldGroup>]) -> Option<Envelope> {
    let mut copy = None;
    for (at, (group, held)) in envelope.groups.iter().zip(groups).enumerate() {
        let resource = group.resource.clone().unwrap_or_default();
        let evidence = Evidence { latest: held.latest, last_chance: true };
        if let BindingOutcome::Resource(bound) = group.later.resolve(&resource, evidence) {
            let copy = copy.get_or_insert_with(|| envelope.clone());
            copy.groups[at].resource = Some(bound);
        }
    }
    copy
}
