//! The owner task of the set of blocked documents: tries each closed index again when it is due, and settles what comes of it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::core::data::payload::Signal;
use crate::core::error::Reason;
use crate::core::stage::tasks::Pulse;
use crate::exporters::elasticsearch::delivery::blocked::documents::{BlockedDocument, TRY_BYTES};
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk_sender::BulkSender;
use crate::exporters::elasticsearch::delivery::outcome::BulkOutcome;
use crate::sending::outcome::account::ExporterAccount;

/// Runs until draining begins; then everything due or not gets one more attempt and what is left stays for the caller.
pub async fn run(sender: Arc<BulkSender>, account: Arc<ExporterAccount>, pulse: Arc<Pulse>) {
    pulse.waits_for("documents of an index that accepts no writes for now");
    loop {
        pulse.beat();
        let due = sender.blocked().take_due(Instant::now(), TRY_BYTES);
        if let Some((index, documents)) = due {
            let beating = async {
                loop {
                    pulse.beat();
                    sleep_until(Instant::now() + Pulse::INTERVAL / 2).await;
                }
            };
            tokio::select! {
                () = retry(&sender, &account, &index, documents) => {}
                () = beating => {}
            }
            continue;
        }
        if sender.gate.is_closing() {
            return;
        }
        let wake_at = sender.blocked().next_due().unwrap_or(Instant::now() + Pulse::INTERVAL);
        tokio::select! {
            () = sleep_until(wake_at.min(Instant::now() + Pulse::INTERVAL)) => {}
            () = sender.blocked_more.notified() => {}
        }
    }
}

async fn retry(sender: &BulkSender, account: &ExporterAccount, index: &str, waiting: Vec<BlockedDocument>) {
    let (lines, documents) = assemble(waiting);
    let outcome = sender.deliver(&lines, documents, Caller::BlockedTask, None).await;
    let (blocked, taken_any) = (outcome.blocked, outcome.taken_any());
    settle(account, outcome);
    if !blocked && taken_any {
        sender.log.unblocks(index);
    }
    let mut documents = sender.blocked();
    documents.attempted(index, blocked, Instant::now());
    sender.counts.parked_bytes.set(i64::try_from(documents.bytes()).unwrap_or(i64::MAX));
}

/// Lines side by side, and where each document stands in them.
fn assemble(waiting: Vec<BlockedDocument>) -> (Bytes, Vec<OpenDocument>) {
    let mut lines = Vec::with_capacity(waiting.iter().map(|document| document.lines.len()).sum());
    let documents = waiting.into_iter().map(|document| {
        let start = lines.len();
        lines.extend_from_slice(&document.lines);
        let BlockedDocument { items, own_id, in_doubt, signal, share, .. } = document;
        OpenDocument { range: start..lines.len(), items, own_id, signal, in_doubt, share }
    });
    let documents = documents.collect();
    (Bytes::from(lines), documents)
}

fn settle(account: &ExporterAccount, outcome: BulkOutcome) {
    for (signal, tally) in Signal::ALL.into_iter().zip(outcome.tallies) {
        account.settle(signal, tally);
    }
}

/// The exporter ends: what still waits is kept on disk, or lost with a count.
pub fn bury_all(sender: &BulkSender, account: &ExporterAccount) {
    let mut outcome = BulkOutcome::default();
    for mut waiting in sender.blocked().take_all() {
        let (status, kind, reason) = std::mem::take(&mut waiting.cause);
        let cause = LossCause { status, kind, reason, why: Reason::BLOCKED };
        let (lines, documents) = assemble(vec![waiting]);
        for document in documents {
            let why = sender.keep_or_drop(&lines, &document, &cause);
            outcome.lose(document, why, &cause);
        }
    }
    settle(account, outcome);
    sender.counts.parked_bytes.set(0);
    tracing::debug!(exporter = sender.log.path(), requests = sender.progress.taken(), "delivery ended");
}
