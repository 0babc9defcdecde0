//! Delivery by `_bulk`: payloads become documents once, documents are sent until each has its end.
//!
//! The cores (verdicts, turns of nodes, concurrency, blocked documents, batches) are pure; [`bulk_sender`] is the loop
//! around them and this file joins it to the sending queue. Knows no configuration keys and nothing of how documents look.

mod baseline_log;
mod blocked;
pub mod bulk;
pub mod bulk_sender;
pub mod dead_letter;
mod given_back;
mod item_verdicts;
mod mapper_pool;
pub mod outcome;
mod report;
pub mod settings;
mod undeliverable;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::payload::Payload;
use crate::core::data::settlement::Share;
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::offload::Aside;
use crate::core::stage::component::Task;
use crate::core::stage::durable::Remember;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::capability::Capability;
use crate::exporters::elasticsearch::delivery::baseline_log::BaselineLog;
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk_sender::BulkSender;
use crate::exporters::elasticsearch::delivery::dead_letter::file::DeadLetter;
use crate::exporters::elasticsearch::delivery::given_back::GivenBack;
use crate::exporters::elasticsearch::delivery::mapper_pool::{Mapped, MapperPool};
use crate::exporters::elasticsearch::delivery::outcome::BulkOutcome;
use crate::exporters::elasticsearch::delivery::settings::DeliverySettings;
use crate::exporters::elasticsearch::mapping::{MappingFault, MappingMode};
use crate::exporters::elasticsearch::preflight::Preflight;
use crate::otlp::envelope::encoded_len;
use crate::otlp::regroup::portion;
use crate::sending::client::RequestCredentials;
use crate::sending::deliver::Deliver;
use crate::sending::gate::ClosingGate;
use crate::sending::outcome::account::ExporterAccount;
use crate::sending::outcome::tally::Tally;
use crate::sending::progress::Progress;
use crate::sending::send_memory::Workroom;

/// Payload bytes that are mapped at a time: their documents are about five times as large. Equal records are told apart
/// within a portion, so it is no smaller than what the queue sends at once.
const PORTION_BYTES: u64 = 2 << 20;
/// A span of 567 bytes becomes 2.5 documents of 2.8 KB together (2026-11-21); metrics grow more, logs less.
const DOCUMENTS_PER_PAYLOAD_BYTE: u64 = 5;
/// The first delivery waits PREFLIGHT_WAIT for the preflight.
const PREFLIGHT_WAIT: Duration = Duration::from_secs(2);
/// Between two preflights while nobody answers.
const PREFLIGHT_EVERY: Duration = Duration::from_secs(30);
/// After the drain's deadline the set of blocked documents only has to be buried.
const BLOCKED_GRACE: Duration = Duration::from_secs(1);
/// How a sender names the shape of its documents (contrib #36092); names of kept headers are lower case.
pub const MODE_HEADER: &str = "x-elastic-mapping-mode";

/// The exporter's way to deliver.
pub struct Bulks {
    sender: Arc<BulkSender>,
    rooms: Arc<MapperPool>,
    baselines: BaselineLog,
    allowed_modes: Vec<MappingMode>,
    sender_waits: Option<Duration>,
    work: Workroom,
    // Locked for a few instructions.
    given_back: Mutex<GivenBack>,
    preflight: Arc<Preflight>,
    /// Whether the cluster was asked what it takes.
    asked: watch::Sender<bool>,
    // Taken by drain; locked at start and drain only.
    blocked_task: Mutex<Option<JoinHandle<()>>>,
    asking: Mutex<Option<JoinHandle<()>>>,
    account: Mutex<Option<Arc<ExporterAccount>>>,
}

impl Bulks {
    /// Builds without I/O.
    pub fn new(settings: &DeliverySettings, id: &str, path: &str, host: &Host) -> Bulks {
        Bulks {
            sender: Arc::new(BulkSender::new(settings, id, path, host)),
            rooms: Arc::new(MapperPool::new(settings.mapping.clone())),
            baselines: BaselineLog::default(),
            allowed_modes: settings.mapping.allowed_modes.clone(),
            sender_waits: settings.sender_waits,
            work: Workroom::new(host.budget.clone()),
            given_back: Mutex::default(),
            preflight: Arc::new(Preflight::new(
                &settings.post,
                &settings.mapping,
                &host.outside,
                RequestCredentials::of(settings.post.auth.as_deref(), &host.authenticators),
            )),
            asked: watch::Sender::new(false),
            blocked_task: Mutex::default(),
            asking: Mutex::default(),
            account: Mutex::default(),
        }
    }

    async fn deliver_all(&self, whole: Payload) -> Tally {
        // Words that the cluster does not know would cost whole requests.
        let mut asked = self.asked.subscribe();
        let _ = tokio::time::timeout(PREFLIGHT_WAIT, asked.wait_for(|asked| *asked)).await;
        let mut tally = Tally::default();
        let mode = match self.wanted_mode(&whole) {
            Ok(mode) => mode,
            Err(error) => {
                tally.lose(whole.items, whole.share, error);
                return tally;
            }
        };
        let caller = if self.sender_waits.is_some() { Caller::SenderWaits } else { Caller::Queued };
        let signal = whole.signal;
        let (nonce, print) = self.nonce(&whole);
        for (at, mut part) in (0u64..).zip(portion::cut(whole, PORTION_BYTES, portion::bytes_of)) {
            // At the end of the exporter's life what is left is only buried, and waits for no room.
            let mut room = tokio::select! {
                room = self.work.enter(self.working_bytes(encoded_len(&part.envelope) as u64)) => Some(room),
                () = self.sender.gate.over() => None,
            };
            // Documents are about five times as large, and as long in the making.
            let (rooms, effort) = (self.rooms.clone(), part.ticket.bytes().saturating_mul(DOCUMENTS_PER_PAYLOAD_BYTE));
            let map = move || rooms.map(&mut part, (mode, nonce.wrapping_add(at)), UnixNanos::now());
            let Mapped { lines, documents, unmappable, as_text, moved_series } = Aside::shared().run(effort, map).await;
            self.sender.counts.as_text.add(as_text);
            room.iter_mut().for_each(|room| room.measured(self.sending_bytes(lines.len() as u64)));
            if moved_series {
                self.baselines.keep(self.sender.log.path(), &self.rooms).await;
            }
            if !unmappable.is_empty() {
                self.sender.log.gives_up(unmappable.len() as u64, &causes(&unmappable), false);
            }
            lose_unmappable(&mut tally, unmappable);
            if documents.is_empty() {
                tally.answered = true;
                continue;
            }
            self.sender.counts.received.add(documents.len() as u64);
            let outcome = self.sender.deliver(&lines, documents, caller, self.sender_waits).await;
            add(&mut tally, outcome, signal.index());
            if tally.again.is_some() {
                // The shares of what was not sent go back with their parts.
                print.iter().for_each(|print| self.given_back.locked().remember(*print, nonce, Instant::now()));
                break;
            }
        }
        tally
    }

    /// The number that tells the records of this payload from all others, and what its bytes are known by when its sender
    /// may get it back.
    fn nonce(&self, whole: &Payload) -> (u64, Option<u64>) {
        if self.sender_waits.is_none() {
            return (fastrand::u64(..), None);
        }
        let mut given_back = self.given_back.locked();
        let print = given_back.print(&whole.envelope);
        let nonce = given_back.take(print, Instant::now());
        (nonce.unwrap_or_else(|| fastrand::u64(..)), Some(print))
    }

    /// Memory that a portion of a payload takes as documents and on the wire, guessed before it is mapped.
    fn working_bytes(&self, payload_bytes: u64) -> u64 {
        self.sending_bytes(payload_bytes.saturating_mul(DOCUMENTS_PER_PAYLOAD_BYTE))
    }

    /// Memory that documents take while they are sent: their lines, and what they become compressed, taken as a quarter.
    fn sending_bytes(&self, lines: u64) -> u64 {
        if self.sender.post.compresses() { lines.saturating_add(lines / 4) } else { lines }
    }

    /// The mode that the sender's header asks for. An unknown or disallowed one rejects the request, as upstream.
    fn wanted_mode(&self, payload: &Payload) -> Result<Option<MappingMode>, ConsumeError> {
        let header = payload.origin.headers.iter().find(|(name, _)| name == MODE_HEADER);
        let Some((_, value)) = header else { return Ok(None) };
        match MappingMode::parse(value.as_bytes()) {
            Some(mode) if self.allowed_modes.contains(&mode) => Ok(Some(mode)),
            _ => {
                let message = format!("the mapping mode {value:?} of the request's header is unknown or not allowed");
                Err(ConsumeError::rejected(Reason::PERMANENT, message))
            }
        }
    }
}

/// Asks the cluster what it takes until it answers once.
async fn ask(
    preflight: Arc<Preflight>,
    sender: Arc<BulkSender>,
    takes: Arc<ArcSwap<Capability>>,
    asked: watch::Sender<bool>,
) {
    loop {
        let known = preflight.learn(sender.log.path()).await;
        known.iter().for_each(|known| takes.store(Arc::new(*known)));
        asked.send_replace(true);
        if known.is_some() || sender.gate.pause(PREFLIGHT_EVERY).await.is_err() {
            return;
        }
    }
}

/// Every cause once, with how many items it cost: `2: the value is not a finite number; 1: ...`.
fn causes(faults: &[(MappingFault, Share)]) -> String {
    let mut causes: Vec<(String, u64)> = Vec::new();
    for (fault, _) in faults {
        let text = fault.to_string();
        match causes.iter_mut().find(|(known, _)| *known == text) {
            Some((_, items)) => *items += 1,
            None => causes.push((text, 1)),
        }
    }
    let texts: Vec<String> = causes.iter().map(|(text, items)| format!("{items}: {text}")).collect();
    texts.join("; ")
}

/// Items that no document can show end here, each under its own reason.
fn lose_unmappable(tally: &mut Tally, faults: Vec<(MappingFault, Share)>) {
    for (fault, share) in faults {
        tally.answered = true;
        tally.lose(1, share, ConsumeError::rejected(Reason(fault.reason()), fault.to_string()));
    }
}

/// Counts an outcome into the payload's tally.
fn add(tally: &mut Tally, outcome: BulkOutcome, signal: usize) {
    tally.answered |= outcome.is_settled();
    outcome.tallies.into_iter().skip(signal).take(1).for_each(|other| tally.add(other));
    tally.error = outcome.error.or(tally.error.take());
    tally.again = outcome.again.or(tally.again.take());
}

impl Deliver for Bulks {
    fn deliver(&self, whole: Payload) -> Pin<Box<dyn Future<Output = Tally> + Send + '_>> {
        Box::pin(self.deliver_all(whole))
    }

    fn start(&self, host: &Host, account: Arc<ExporterAccount>) -> Task<'_, Result<(), StartError>> {
        let tasks = host.tasks.clone();
        self.baselines.begin(&host.logs, self.sender.log.path(), &self.rooms);
        Box::pin(async move {
            let path = self.sender.log.path();
            if let Some(file) = &self.sender.dead_letter {
                file.prepare().map_err(|why| StartError {
                    component: path.to_owned(),
                    message: format!("the dead-letter file cannot be written: {why}"),
                    help: Some(
                        "make its directory writable, or name another path in podgate: {dead_letter: ...}".to_owned(),
                    ),
                })?;
            }
            let asking = ask(self.preflight.clone(), self.sender.clone(), self.rooms.takes(), self.asked.clone());
            *self.asking.locked() = Some(tasks.spawn_idle(&format!("{path}/preflight"), asking));
            *self.account.locked() = Some(account.clone());
            let sender = self.sender.clone();
            let name = format!("{path}/parking");
            *self.blocked_task.locked() =
                Some(tasks.spawn(&name, move |pulse| blocked::owner::run(sender, account, pulse)));
            Ok(())
        })
    }

    /// Kept in the dead-letter file, where there is one.
    fn end(&self, whole: Payload) -> Tally {
        let mut tally = Tally::default();
        let cause = LossCause::own(Reason::SHUTDOWN, "the exporter stopped before it was sent");
        // Mapping what cannot be kept would only hold up the exit.
        if self.sender.dead_letter.as_ref().is_none_or(DeadLetter::is_full) {
            tally.lose(whole.items, whole.share, cause.refusal());
            return tally;
        }
        let mode = self.wanted_mode(&whole).unwrap_or_default();
        let signal = whole.signal.index();
        let nonce = fastrand::u64(..);
        for (at, mut part) in (0u64..).zip(portion::cut(whole, PORTION_BYTES, portion::bytes_of)) {
            let mapped = self.rooms.map(&mut part, (mode, nonce.wrapping_add(at)), UnixNanos::now());
            let Mapped { lines, documents, unmappable, as_text, moved_series: _ } = mapped;
            self.sender.counts.as_text.add(as_text);
            lose_unmappable(&mut tally, unmappable);
            let mut outcome = BulkOutcome::default();
            for document in documents {
                let why = self.sender.keep_or_drop(&lines[document.range.clone()], &document, &cause);
                outcome.lose(document, why, &cause);
            }
            add(&mut tally, outcome, signal);
        }
        tally
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let asking = self.asking.locked().take();
            if let Some(asking) = asking {
                asking.abort();
                let _ = asking.await;
            }
            self.sender.blocked_more.notify_one();
            let blocked_task = self.blocked_task.locked().take();
            if let Some(mut blocked_task) = blocked_task
                && tokio::time::timeout_at(deadline + BLOCKED_GRACE, &mut blocked_task).await.is_err()
            {
                blocked_task.abort();
                let _ = blocked_task.await;
            }
            let account = self.account.locked().take();
            if let Some(account) = account {
                blocked::owner::bury_all(&self.sender, &account);
            }
            self.sender.post.close().await;
        })
    }

    fn remember(&self) -> Option<Arc<dyn Remember>> {
        Some(self.rooms.clone())
    }

    fn progress(&self) -> &Progress {
        &self.sender.progress
    }

    fn gate(&self) -> &ClosingGate {
        &self.sender.gate
    }

    fn path(&self) -> &str {
        self.sender.log.path()
    }

    fn destination(&self) -> &str {
        self.sender.post.destination()
    }
}
