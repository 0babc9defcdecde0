//! From a gathered body to the pipeline's answer: decode, drop what cannot be read, hand on, count.
//!
//! Everything a request has to pass stands in [`Intake::take`], in order. It must not know the transport's headers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::core::balance::Balance;
use crate::core::budget::Ticket;
use crate::core::consumer::Next;
use crate::core::error::{ConsumeError, Reason};
use crate::core::factory::Outputs;
use crate::core::host::Host;
use crate::core::origin::Origin;
use crate::core::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use crate::net::aside::Aside;
use crate::net::body::Gathered;
use crate::net::compression::{Encoding, Inflater};
use crate::net::leftovers::{Leftovers, Unabandoned};
use crate::otlp::json;
use crate::otlp::readable::{self, Readable};
use crate::receivers::otlp::counts::{Counts, ItemCounts};
use crate::receivers::otlp::fault::Fault;
use crate::receivers::otlp::reply::Accepted;

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
pub struct Delivery {
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
    pub counts: Arc<Counts>,
    pub inflater: Inflater,
    pub aside: Aside,
    pub leftovers: Arc<Leftovers>,
}

impl Intake {
    pub async fn take(&self, delivery: Delivery) -> Result<Accepted, Fault> {
        let Delivery { signal, notation, encoding, body, origin, bytes_max, deadline } = delivery;
        let next = self.outputs.get(signal).ok_or_else(|| no_pipeline(signal))?;
        let body = self.inflater.inflate(encoding, body, bytes_max).await?;
        let work = body.bytes.len() as u64 * notation.effort();
        let (Readable { envelope, items, malformed }, ticket) =
            self.aside.run(work, move || decode(notation, signal, body)).await?;
        ticket.grow(structure_bytes(&envelope))?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Fault::Deadline);
        }

        let transport = origin.transport;
        let balance = &self.host.balance;
        balance.received(signal, items + malformed);
        balance.dropped(signal, Reason::MALFORMED, malformed);
        origin.reject_items(malformed);
        if envelope.messages() == 0 {
            // Nothing left of something is no partial success, it is bad data.
            return if malformed == 0 { Ok(Accepted { signal, rejected: 0 }) } else { Err(nothing_readable(signal)) };
        }

        let origin = Arc::new(origin);
        let payload = Payload { signal, envelope, items, origin: origin.clone(), ticket };
        let counted = Counted {
            balance: balance.clone(),
            counts: self.counts.items(transport, signal).clone(),
            signal,
            items,
            ended: false,
        };
        let call = Unabandoned::new(consume(next.clone(), payload, counted), self.leftovers.clone());
        let answer = match deadline {
            Some(deadline) => timeout_at(deadline, call).await.map_err(|_| Fault::Deadline)?,
            None => call.await,
        };
        if answer == Err(Fault::Panicked) {
            self.counts.panicked();
        }
        answer.map(|()| Accepted { signal, rejected: origin.rejected_items() })
    }

    pub fn takes(&self, signal: Signal) -> bool {
        self.outputs.get(signal).is_some()
    }
}

/// What a sender of a signal that goes nowhere is told.
pub fn no_pipeline(signal: Signal) -> Fault {
    Fault::NotFound(format!("no pipeline takes {} here", signal.name()))
}

fn nothing_readable(signal: Signal) -> Fault {
    Fault::Undecodable(format!("none of the request's items is a valid {} item", signal.name()))
}

/// Hands on and counts the outcome, whoever still waits for it.
async fn consume(next: Next, payload: Payload, counted: Counted) -> Result<(), Fault> {
    let call = AssertUnwindSafe(async move { next.consume(payload).await });
    match call.catch_unwind().await {
        Ok(answer) => {
            counted.end(answer.as_ref().err());
            answer.map_err(Fault::from)
        }
        // Dropping the guard counts the items.
        Err(_panic) => Err(Fault::Panicked),
    }
}

/// Answers in the balance for the items of one call; a call that never answers lost them to a bug of ours.
struct Counted {
    balance: Arc<Balance>,
    counts: ItemCounts,
    signal: Signal,
    items: u64,
    ended: bool,
}

impl Counted {
    fn end(mut self, error: Option<&ConsumeError>) {
        self.ended = true;
        match error {
            None => self.counts.accepted.add(self.items),
            Some(ConsumeError::Refused { .. }) => {
                self.counts.refused.add(self.items);
                self.balance.refused(self.signal, self.items);
            }
            Some(ConsumeError::Rejected { reason, .. }) => {
                self.counts.failed.add(self.items);
                self.balance.dropped(self.signal, *reason, self.items);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.counts.failed.add(self.items);
            self.balance.dropped(self.signal, Reason::INTERNAL, self.items);
        }
    }
}

fn decode(notation: Notation, signal: Signal, body: Gathered) -> Result<(Readable, Ticket), Fault> {
    let Gathered { bytes, ticket } = to_protobuf(notation, signal, body)?;
    let readable = readable::read(signal, bytes).map_err(|error| Fault::Undecodable(error.to_string()))?;
    Ok((readable, ticket))
}

fn to_protobuf(notation: Notation, signal: Signal, body: Gathered) -> Result<Gathered, Fault> {
    match notation {
        Notation::Protobuf => Ok(body),
        Notation::Json => {
            let bytes = json::to_wire_within(signal, &body.bytes, &body.ticket)?;
            let Gathered { bytes: text, ticket } = body;
            drop(text);
            ticket.shrink_to(bytes.len() as u64);
            Ok(Gathered { bytes, ticket })
        }
    }
}

/// Memory of the envelope's own lists.
fn structure_bytes(envelope: &Envelope) -> u64 {
    let scopes: usize = envelope.groups.iter().map(|group| group.scopes.len()).sum();
    let lists: usize =
        envelope.groups.iter().flat_map(|group| &group.scopes).map(|scope| scope.items.structure_bytes()).sum();
    let bytes = envelope.groups.len() * size_of::<Group>() + scopes * size_of::<ScopeGroup>() + lists;
    bytes as u64
}
