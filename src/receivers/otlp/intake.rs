//! From a gathered body to the pipeline's answer: decode, drop what cannot be read, hand on, count.
//!
//! Everything a request has to pass stands in [`Intake::take`], in order. It must not know the transport's headers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Receipt, Settlement};
use crate::core::error::{ConsumeError, Reason};
use crate::core::offload::Aside;
use crate::core::stage::consumer::Next;
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::net::compression::{Encoding, Inflater};
use crate::net::server::admission::report::Throttle;
use crate::net::server::background::{Leftovers, Unabandoned};
use crate::net::server::body::Gathered;
use crate::otlp::json;
use crate::otlp::readable::{self, Readable};
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::reply::Accepted;
use crate::receivers::otlp::report::first_data::FirstRequests;
use crate::receivers::otlp::report::metrics::{ItemCounts, ReceiverMetrics};
use crate::receivers::otlp::unread;

/// How the message itself is written, once decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    Protobuf,
    Json,
}

impl Notation {
    /// How many bytes of protobuf take as long to read as one of this, roughly.
    fn effort(self) -> u64 {
        match self {
            Notation::Protobuf => 1,
            Notation::Json => 4,
        }
    }
}

/// A request whose body has been read.
pub struct ReadRequest {
    pub signal: Signal,
    pub notation: Notation,
    pub encoding: Encoding,
    pub body: Gathered,
    pub origin: Origin,
    /// Largest size after decompression.
    pub bytes_max: u64,
    /// The caller does not wait longer.
    pub deadline: Option<Instant>,
}

/// The receiver's way into the pipelines.
pub struct Intake {
    pub outputs: Outputs,
    pub host: Arc<Host>,
    pub counts: Arc<ReceiverMetrics>,
    pub inflater: Inflater,
    pub aside: Aside,
    pub leftovers: Arc<Leftovers>,
    pub first_data: FirstRequests,
    pub unread_line: Throttle,
    pub ids_line: Throttle,
}

impl Intake {
    pub async fn take(&self, delivery: ReadRequest) -> Result<Accepted, RequestFault> {
        let ReadRequest { signal, notation, encoding, body, origin, bytes_max, deadline } = delivery;
        let next = self.outputs.get(signal).ok_or_else(|| no_pipeline(signal))?;
        let body = self.inflater.inflate(encoding, body, bytes_max).await?;
        let work = body.bytes.len() as u64 * notation.effort();
        let Decoded { readable, ticket, note, bad_id } =
            self.aside.run(work, move || decode(notation, signal, body)).await?;
        let Readable { envelope, items, malformed, without_ids } = readable;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(RequestFault::Deadline);
        }

        // Looked for again: a reload may have exchanged the pipelines while the body was read.
        let next = self.outputs.get(signal).unwrap_or(next);
        let transport = origin.transport;
        let (receipt, mut share) = Settlement::receive(&self.host.balance, signal, items + malformed);
        share.split(malformed).end(ItemEnd::Dropped(Reason::MALFORMED, bad_id.as_deref().unwrap_or(UNREADABLE)));
        let settlement = receipt.settlement().clone();
        if let Some(note) = &note {
            Intake::tell((&self.unread_line, "the request holds nothing that podgate reads"), signal, &origin, note);
        }
        if envelope.messages() == 0 {
            receipt.answer(Ok(()));
            // Nothing left of something is no partial success, it is bad data.
            let taken = Accepted { note: note.map(str::to_owned), ..Accepted::all(signal) };
            return if malformed == 0 { Ok(taken) } else { Err(nothing_readable(signal, bad_id)) };
        }
        let note = note.map(str::to_owned).or_else(|| self.without_ids(signal, &origin, without_ids, bad_id));
        self.first_data.see(signal, &envelope, origin.peer);

        let payload = Payload { signal, envelope, items, origin: Arc::new(origin), ticket, share };
        let counts = self.counts.items(transport, signal).clone();
        let counted = Counted { receipt: Some(receipt), counts, items };
        let work = consume(next, payload, counted);
        let call = Unabandoned::new(work, self.leftovers.clone(), settlement.clone());
        let answer = match deadline {
            Some(deadline) => timeout_at(deadline, call).await.map_err(|_| RequestFault::Deadline)?,
            None => call.await,
        };
        if answer == Err(RequestFault::Panicked) {
            self.counts.panicked();
        }
        answer.map(|()| Accepted { signal, losses: settlement.losses(), note })
    }

    /// Counts items that lost their ids; what their sender is told.
    fn without_ids(&self, signal: Signal, origin: &Origin, items: u64, first: Option<String>) -> Option<String> {
        if items == 0 {
            return None;
        }
        self.counts.without_ids(origin.transport, items);
        let why = first.unwrap_or_else(|| "a trace id has 16 bytes and a span id 8".to_owned());
        let note = format!("{items} kept without trace or span ids that cannot be any: {why}");
        Intake::tell((&self.ids_line, "ids of a request are left out"), signal, origin, &note);
        Some(note)
    }

    /// What is wrong with a request that is a success all the same.
    fn tell((line, message): (&Throttle, &str), signal: Signal, origin: &Origin, note: &str) {
        if let Some(suppressed) = line.pass() {
            let peer = origin.peer.map_or_else(|| "unix socket".to_owned(), |peer| peer.to_string());
            tracing::warn!(peer, signal = signal.name(), note, suppressed, "{message}");
        }
    }

    pub fn takes(&self, signal: Signal) -> bool {
        self.outputs.get(signal).is_some()
    }
}

/// What a sender of a signal that goes nowhere is told.
pub fn no_pipeline(signal: Signal) -> RequestFault {
    RequestFault::NoPipeline(format!("no pipeline takes {} here", signal.name()))
}

/// Why items end at the door.
const UNREADABLE: &str = "malformed, an id of a wrong length, or values nested deeper than 64";

fn nothing_readable(signal: Signal, bad_id: Option<String>) -> RequestFault {
    let why = bad_id.map_or_else(String::new, |why| format!(": {why}"));
    RequestFault::Undecodable(format!("none of the request's items is a valid {} item{why}", signal.name()))
}

/// Hands on and counts the outcome, whoever still waits for it.
async fn consume(next: Next, payload: Payload, counted: Counted) -> Result<(), RequestFault> {
    let call = AssertUnwindSafe(async move { next.consume(payload).await });
    match call.catch_unwind().await {
        Ok(answer) => {
            counted.end(answer.as_ref().err());
            answer.map_err(RequestFault::from)
        }
        // Dropping the guard counts the items.
        Err(_panic) => Err(RequestFault::Panicked),
    }
}

/// Answers for one call; one that never answers lost its items to a bug of ours.
struct Counted {
    receipt: Option<Receipt>,
    counts: ItemCounts,
    items: u64,
}

impl Counted {
    fn end(mut self, error: Option<&ConsumeError>) {
        match error {
            None => self.counts.accepted.add(self.items),
            Some(ConsumeError::Refused { .. }) => self.counts.refused.add(self.items),
            Some(ConsumeError::Rejected { .. }) => self.counts.failed.add(self.items),
        }
        if let Some(receipt) = self.receipt.take() {
            receipt.answer(error.map_or(Ok(()), Err));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.receipt.is_some() {
            self.counts.failed.add(self.items);
        }
    }
}

/// A request's items with the memory they hold.
struct Decoded {
    readable: Readable,
    ticket: Ticket,
    /// What the request holds instead, when nothing of it was read.
    note: Option<&'static str>,
    /// Where the first id stands that cannot be one, where that can be told.
    bad_id: Option<String>,
}

fn decode(notation: Notation, signal: Signal, body: Gathered) -> Result<Decoded, RequestFault> {
    // Kept to the end of this function: only a request without items is looked into again.
    let Gathered { bytes: body, ticket } = body;
    let of_text = ticket.bytes();
    let (wire, bad_id) = match notation {
        Notation::Protobuf => (body.clone(), None),
        Notation::Json => {
            let json::Transcoded { wire, bad_id } = json::transcode(signal, &body, &ticket)?;
            (wire, bad_id.map(|fault| fault.to_string()))
        }
    };
    let readable = readable::read(signal, wire, &ticket)?;
    let is_empty = readable.items == 0 && readable.malformed == 0;
    let hint = match notation {
        Notation::Protobuf => unread::hint_of_wire,
        Notation::Json => unread::hint,
    };
    let note = if is_empty { hint(signal, &body) } else { None };
    if notation == Notation::Json {
        drop(body);
        ticket.give_back(of_text);
    }
    Ok(Decoded { readable, ticket, note, bad_id })
}
