//! Takes due requests, sends them, and counts verdicts and latencies.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lab::loadgen::latency::LatencyHistogram;
use crate::lab::loadgen::pace::Due;
use crate::lab::loadgen::sender::{LoadSender, SendResult};

/// What became of everything that was sent.
#[derive(Clone, Debug, Default)]
pub struct LoadTally {
    pub accepted_spans: u64,
    pub refused_spans: u64,
    pub rejected_spans: u64,
    pub failed_spans: u64,
    /// Of all answered requests.
    pub latency: LatencyHistogram,
    /// The latest answer that was not an acceptance, in words.
    pub last_failure: Option<String>,
}

impl LoadTally {
    fn count(&mut self, verdict: SendResult, spans: u64) {
        match verdict {
            SendResult::Accepted { rejected } => {
                let rejected = rejected.min(spans);
                self.accepted_spans += spans - rejected;
                self.rejected_spans += rejected;
            }
            SendResult::Refused(why) => {
                self.refused_spans += spans;
                self.last_failure = Some(why);
            }
            SendResult::Rejected(why) => {
                self.rejected_spans += spans;
                self.last_failure = Some(why);
            }
            SendResult::Failed(why) => {
                self.failed_spans += spans;
                self.last_failure = Some(why);
            }
        }
    }

    fn merge(&mut self, other: LoadTally) {
        self.accepted_spans += other.accepted_spans;
        self.refused_spans += other.refused_spans;
        self.rejected_spans += other.rejected_spans;
        self.failed_spans += other.failed_spans;
        self.latency.merge(&other.latency);
        self.last_failure = other.last_failure.or(self.last_failure.take());
    }
}

/// Runs `workers` until the pacer ends; at most that many requests are in flight.
pub async fn run(due: mpsc::Receiver<Due>, sender: Arc<LoadSender>, workers: usize) -> LoadTally {
    // A lock around the receiver: whoever is free takes the next request.
    let due = Arc::new(Mutex::new(due));
    let mut running = JoinSet::new();
    for _ in 0..workers.max(1) {
        running.spawn(work(due.clone(), sender.clone()));
    }
    let mut tally = LoadTally::default();
    while let Some(done) = running.join_next().await {
        if let Ok(part) = done {
            tally.merge(part);
        }
    }
    tally
}

async fn work(due: Arc<Mutex<mpsc::Receiver<Due>>>, sender: Arc<LoadSender>) -> LoadTally {
    let mut tally = LoadTally::default();
    loop {
        let next = due.lock().await.recv().await;
        let Some(request) = next else { return tally };
        let verdict = sender.send(request.body).await;
        if !matches!(verdict, SendResult::Failed(_)) {
            tally.latency.record(Instant::now().saturating_duration_since(request.at));
        }
        tally.count(verdict, request.spans);
    }
}
