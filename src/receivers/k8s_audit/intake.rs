//! From a gathered body to the pipeline's answer: inflate, read, leave out what was delivered, hand on, count.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use foldhash::HashSet;
use futures_util::FutureExt;

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{Receipt, Settlement};
use crate::core::error::ConsumeError;
use crate::core::lock::Locked;
use crate::core::offload::Aside;
use crate::core::stage::consumer::Next;
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::time::UnixNanos;
use crate::kube::audit::event::EventMarks;
use crate::kube::audit::form::EventForm;
use crate::kube::audit::recent::{Claim, EventKey, RecentEvents};
use crate::net::compression::{Encoding, Inflater};
use crate::net::server::background::{Leftovers, Unabandoned};
use crate::net::server::body::Gathered;
use crate::receivers::k8s_audit::answer::Untaken;
use crate::receivers::k8s_audit::list::{self, BadList, EventList};
use crate::receivers::k8s_audit::metrics::AuditMetrics;

/// How many bytes of protobuf take as long to read as one of JSON, which is walked three times.
const JSON_EFFORT: u64 = 6;

/// The receiver's way into its pipelines.
pub struct AuditIntake {
    pub outputs: Outputs,
    pub host: Arc<Host>,
    pub counts: Arc<AuditMetrics>,
    pub inflater: Inflater,
    pub aside: Aside,
    pub leftovers: Arc<Leftovers>,
    pub form: EventForm,
    /// Resource and scope of all records.
    pub surroundings: (Bytes, Bytes),
    // Locked twice for each request; never across an await.
    pub recent: Arc<Mutex<RecentEvents>>,
}

impl AuditIntake {
    pub async fn take(
        &self,
        encoding: Encoding,
        body: Gathered,
        origin: Origin,
        bytes_max: u64,
    ) -> Result<(), Untaken> {
        let no_pipeline = || Untaken::NotFound("no pipeline takes logs here".to_owned());
        let next = self.outputs.get(Signal::Logs).ok_or_else(no_pipeline)?;
        let body = self.inflater.inflate(encoding, body, bytes_max).await?;
        let (work, form, now) = (body.bytes.len() as u64 * JSON_EFFORT, self.form.clone(), origin.arrived_at);
        let (events, ticket) = self.aside.run(work, move || decode(body, &form, now)).await?;
        let cut = events.marks.iter().filter(|marks| marks.truncated).count();
        let (events, claimed) = self.claim(events)?;
        self.counts.truncated.add(cut as u64);
        let items = events.records.len() as u64;
        if items == 0 {
            return Ok(());
        }
        // Looked for again: a reload may have exchanged the pipelines while the body was read.
        let next = self.outputs.get(Signal::Logs).unwrap_or(next);
        let (receipt, share) = Settlement::receive(&self.host.balance, Signal::Logs, items);
        let settlement = receipt.settlement().clone();
        let (resource, scope) = self.surroundings.clone();
        let envelope = list::envelope(events.records, resource, scope);
        let payload = Payload { signal: Signal::Logs, envelope, items, origin: Arc::new(origin), ticket, share };
        let counted = CountedEvents { receipt: Some(receipt), counts: self.counts.clone(), items, claimed };
        Unabandoned::new(hand_on(next, payload, counted), self.leftovers.clone(), settlement).await
    }

    /// Leaves out what was delivered. An event that another request has under way is nobody's yet: the request waits.
    fn claim(&self, mut events: EventList) -> Result<(EventList, Claimed), Untaken> {
        let mut claimed = Claimed { recent: self.recent.clone(), keys: HashSet::default(), delivered: false };
        let (mut kept, mut duplicates) = (Vec::new(), 0);
        {
            let mut recent = self.recent.locked();
            for marks in &events.marks {
                let claim = marks.key.map_or(Claim::New, |key| recent.claim(key));
                let is_own = claim == Claim::UnderWay && marks.key.is_some_and(|key| claimed.keys.contains(&key));
                if claim == Claim::UnderWay && !is_own {
                    drop(recent);
                    return Err(Untaken::later("another request with the same events is under way"));
                }
                kept.push(claim == Claim::New);
                duplicates += u64::from(claim != Claim::New);
                claimed.keys.extend(marks.key.filter(|_| claim == Claim::New)); // granted: one for each event
            }
        }
        self.counts.duplicates.add(duplicates);
        if duplicates > 0 {
            let mut keep = kept.into_iter();
            events.records.retain(|_| keep.next().unwrap_or(true));
        }
        Ok((events, claimed))
    }
}

/// Keys that this request answers for; dropping them lets the events come again.
struct Claimed {
    recent: Arc<Mutex<RecentEvents>>,
    keys: HashSet<EventKey>,
    delivered: bool,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.recent.locked().settle(&self.keys, self.delivered);
    }
}

/// What the records take stays on the body's ticket.
pub(super) fn decode(body: Gathered, form: &EventForm, now: UnixNanos) -> Result<(EventList, Ticket), Untaken> {
    let Gathered { bytes, ticket } = body;
    let of_text = ticket.bytes();
    let events = list::read(&bytes, form, now, &ticket).map_err(|why| match why {
        BadList::OverBudget { over, held } => Untaken::over(over, held),
        BadList::Json(_) | BadList::Other(_) => Untaken::Bad(why.to_string()),
    })?;
    drop(bytes);
    ticket.give_back(of_text);
    // What stands for each event until the request has its end.
    let remembered = events.marks.capacity() * (size_of::<EventMarks>() + 2 * size_of::<EventKey>());
    ticket.grow(remembered as u64).map_err(|over| Untaken::over(over, ticket.bytes()))?;
    Ok((events, ticket))
}

/// Hands on and counts the outcome, whoever still waits for it.
async fn hand_on(next: Next, payload: Payload, counted: CountedEvents) -> Result<(), Untaken> {
    let call = AssertUnwindSafe(async move { next.consume(payload).await });
    match call.catch_unwind().await {
        Ok(answer) => {
            counted.end(answer.as_ref().err());
            answer.map_err(|error| Untaken::from(&error))
        }
        // Dropping the guard counts the items.
        Err(_panic) => Err(Untaken::Panicked),
    }
}

/// Answers for one call; one that never answers lost its items to a bug of ours.
struct CountedEvents {
    receipt: Option<Receipt>,
    counts: Arc<AuditMetrics>,
    items: u64,
    claimed: Claimed,
}

impl CountedEvents {
    fn end(mut self, error: Option<&ConsumeError>) {
        match error {
            None => self.counts.accepted.add(self.items),
            Some(ConsumeError::Refused { .. }) => self.counts.refused.add(self.items),
            Some(ConsumeError::Rejected { .. }) => self.counts.failed.add(self.items),
        }
        self.claimed.delivered = error.is_none();
        if let Some(receipt) = self.receipt.take() {
            receipt.answer(error.map_or(Ok(()), Err));
        }
    }
}

impl Drop for CountedEvents {
    fn drop(&mut self) {
        if self.receipt.is_some() {
            self.counts.failed.add(self.items);
        }
    }
}
