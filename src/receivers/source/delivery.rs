//! The way from a source that keeps its data into the pipeline: a batch is handed on until the next stage takes it, so a full
//! queue slows reading and loses nothing.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::core::backoff::{Doubling, around};
use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Payload, Signal};
use crate::core::data::settlement::Settlement;
use crate::core::error::{ConsumeError, Reason};
use crate::core::report::stats::{Counter, Stats};
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::receivers::source::keys::RefusedRetry;

/// Counts of what a receiver handed on, under the Collector's names.
pub struct DeliveryCounts {
    accepted: Arc<Counter>,
    refused: Arc<Counter>,
    failed: Arc<Counter>,
}

impl DeliveryCounts {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> DeliveryCounts {
        let labels = [("receiver", receiver), ("transport", "internal")];
        let items =
            |outcome: &str, help| stats.counter(&format!("otelcol_receiver_{outcome}_log_records"), help, &labels);
        DeliveryCounts {
            accepted: items("accepted", "Items accepted from senders."),
            refused: items("refused", "Items given back to senders, who may retry."),
            failed: items("failed", "Items lost to a permanent error behind the receiver."),
        }
    }
}

/// Log records that were read and are not taken yet.
#[derive(Clone, Copy)]
pub struct WaitingBatch<'b> {
    pub envelope: &'b Envelope,
    pub items: u64,
    /// Pays for the envelope.
    pub ticket: &'b Ticket,
}

/// Hands on the batches of one receiver, one after the other.
pub struct SourceDelivery {
    pub outputs: Outputs,
    pub host: Arc<Host>,
    /// Of the component in the configuration.
    pub path: String,
    /// Set when the receiver drains.
    pub stop: watch::Receiver<Option<Instant>>,
    pub retry: RefusedRetry,
    pub counts: Arc<DeliveryCounts>,
}

impl SourceDelivery {
    /// Hands a batch on until it is taken; false when a stop came first, and the records stay in their source.
    pub async fn deliver(&mut self, batch: WaitingBatch<'_>, pulse: &Pulse) -> bool {
        let (begun, retry, items) = (Instant::now(), self.retry, batch.items);
        let waits = Doubling { first: retry.first, longest: retry.longest };
        let mut failures = 0;
        loop {
            pulse.beat();
            let answer = self.hand_on(batch, pulse).await;
            let after = match answer {
                Ok(()) => {
                    self.counts.accepted.add(items);
                    return true;
                }
                // The next hop's last word.
                Err(ConsumeError::Rejected { .. }) => {
                    self.counts.failed.add(items);
                    return true;
                }
                Err(ConsumeError::Refused { after, .. }) => after,
            };
            self.counts.refused.add(items);
            if retry.at_most.is_some_and(|most| begun.elapsed() >= most) {
                self.counts.failed.add(items);
                tracing::error!(component = %self.path, items, "records are given up after max_elapsed_time");
                return true;
            }
            let wait = around(waits.after(failures), fastrand::f64()).max(after.unwrap_or_default());
            failures += 1;
            let until = Instant::now() + wait;
            while Instant::now() < until {
                pulse.beat();
                tokio::select! {
                    () = tokio::time::sleep_until(until.min(Instant::now() + Pulse::INTERVAL)) => {}
                    () = stopped(&mut self.stop) => return false,
                }
            }
        }
    }

    /// One attempt. It goes on after a stop has begun, without another attempt behind it. Each looks anew where the pipelines
    /// begin: a reload while the batch waits may have exchanged them, and what was there before refuses for ever.
    async fn hand_on(&mut self, batch: WaitingBatch<'_>, pulse: &Pulse) -> Result<(), ConsumeError> {
        let Some(next) = self.outputs.get(Signal::Logs) else {
            return Err(ConsumeError::refused(Reason::UNAVAILABLE, "no pipeline takes logs any more"));
        };
        let (receipt, share) = Settlement::receive(&self.host.balance, Signal::Logs, batch.items);
        let settlement = receipt.settlement().clone();
        let payload = Payload {
            signal: Signal::Logs,
            envelope: batch.envelope.clone(),
            items: batch.items,
            origin: Arc::new(Origin::internal(UnixNanos::now())),
            ticket: batch.ticket.clone(),
            share,
        };
        let mut call = next.consume(payload);
        let mut stops = self.stop.borrow().is_some();
        let answer = loop {
            tokio::select! {
                answer = &mut call => break answer,
                () = sleep(Pulse::INTERVAL) => pulse.beat(),
                () = stopped(&mut self.stop), if !stops => {
                    stops = true;
                    settlement.abandon();
                }
            }
        };
        receipt.answer(answer.as_ref().err().map_or(Ok(()), Err));
        answer
    }
}

/// Resolves once a stop has begun.
pub async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) {
    // An owner that is gone has stopped, too.
    let _ = stop.wait_for(Option::is_some).await;
}
