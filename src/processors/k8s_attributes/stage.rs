//! The stage of one pipeline: enriches every resource in place and forwards; what waits, waits apart from the rest.

use std::sync::Arc;

use super::enrich::{Enricher, Mode, Moment, Outcome, Subject};
use super::first_data::FirstData;
use super::hold::Hold;
use super::steady::Steady;
use super::witness::item_times;
use crate::core::balance::Balance;
use crate::core::consumer::{Consumed, Consumer, Next};
use crate::core::payload::{Envelope, Group, Payload, Signal};
use crate::core::stats::Flow;
use crate::core::time::UnixNanos;
use crate::otlp::envelope;

pub struct Stage {
    pub enricher: Arc<Enricher>,
    pub next: Next,
    pub flow: Flow,
    pub mode: Mode,
    pub hold: Arc<Hold>,
    pub steady: Arc<Steady>,
    pub first_data: FirstData,
    pub balance: Arc<Balance>,
}

/// A group whose run is not known yet.
pub struct Waiting {
    pub group: usize,
    pub retry_at: UnixNanos,
}

impl Stage {
    pub fn moment(&self) -> Moment {
        Moment::new(&self.enricher, &self.steady, self.steady.wall(), self.mode)
    }

    /// Enriches the groups; those that have to wait are left as they are and named.
    fn enrich_all(&self, payload: &mut Payload, moment: &Moment) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for (index, group) in payload.envelope.groups.iter_mut().enumerate() {
            if let Some(retry_at) = self.enrich_group(group, payload.signal, &payload.origin, moment) {
                waiting.push(Waiting { group: index, retry_at });
            }
        }
        waiting
    }

    /// Enriches one group in place; the time to ask again when that must wait.
    pub fn enrich_group(
        &self,
        group: &mut Group,
        signal: Signal,
        origin: &crate::core::origin::Origin,
        moment: &Moment,
    ) -> Option<UnixNanos> {
        let times = || item_times(signal, group);
        let resource = group.resource.as_deref().unwrap_or_default();
        let subject = Subject { resource, origin, times: &times };
        match self.enricher.enrich(&subject, moment) {
            Outcome::Pending { retry_at } => return Some(retry_at),
            Outcome::Unchanged => self.first_data.see(&subject, resource, &self.enricher, moment),
            Outcome::Changed(bytes) => {
                self.first_data.see(&subject, &bytes, &self.enricher, moment);
                group.resource = Some(bytes);
            }
        }
        None
    }

    /// The ready part goes on at once; the waiting part follows when its runs are known, and the caller hears of both.
    async fn hold(&self, payload: Payload, waiting: Vec<Waiting>) -> Result<(), crate::core::error::ConsumeError> {
        let signal = payload.signal;
        let (ready, held) = part(payload, &waiting);
        let ready_items = ready.items;
        let forward_ready = async {
            if ready.envelope.groups.is_empty() {
                return None;
            }
            self.flow.outgoing.add(ready.items);
            Some(self.next.consume(ready).await)
        };
        let forward_held = async {
            let held = self.hold.settle(self, held, &waiting).await;
            let items = held.items;
            self.flow.outgoing.add(items);
            (items, self.next.consume(held).await)
        };
        let (ready, (held_items, held)) = futures_util::future::join(forward_ready, forward_held).await;
        match (ready, held) {
            (None, held) => held,
            (Some(Ok(())), Ok(())) => Ok(()),
            // One part was taken and the sender will send both again, as behind a fan-out: the part taken counts twice.
            (Some(Ok(())), Err(error)) => {
                self.balance.copied(signal, ready_items);
                Err(error)
            }
            (Some(Err(error)), Ok(())) => {
                self.balance.copied(signal, held_items);
                Err(error)
            }
            (Some(Err(first)), Err(second)) => Err(if first.is_retryable() { first } else { second }),
        }
    }
}

impl Consumer for Stage {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        self.flow.incoming.add(payload.items);
        // A profile's dictionary ties the request together and names no resource of its own.
        if payload.signal == Signal::Profiles {
            self.flow.outgoing.add(payload.items);
            return self.next.consume(payload);
        }
        let mut waiting = self.enrich_all(&mut payload, &self.moment());
        if !waiting.is_empty() {
            let bytes = waiting.iter().filter_map(|waiting| payload.envelope.groups.get(waiting.group)).map(size).sum();
            match self.hold.admit(bytes) {
                Some(room) => {
                    return Box::pin(async move {
                        let answer = self.hold(payload, waiting).await;
                        drop(room);
                        answer
                    });
                }
                None => {
                    self.hold.refuse(self, &mut payload, &waiting);
                    waiting.clear();
                }
            }
        }
        self.flow.outgoing.add(payload.items);
        self.next.consume(payload)
    }
}

/// Bytes of a group's items and resource.
fn size(group: &Group) -> u64 {
    let items = group.scopes.iter().map(|scope| scope.items.byte_len()).sum::<usize>();
    (items + group.resource.as_ref().map_or(0, bytes::Bytes::len)) as u64
}

/// Splits the waiting groups off.
fn part(payload: Payload, waiting: &[Waiting]) -> (Payload, Payload) {
    let Payload { signal, envelope, items, origin, ticket } = payload;
    let Envelope { groups, dictionary } = envelope;
    let mut ready = Vec::with_capacity(groups.len() - waiting.len().min(groups.len()));
    let mut held = Vec::with_capacity(waiting.len());
    for (index, group) in groups.into_iter().enumerate() {
        let waits = waiting.binary_search_by_key(&index, |waiting| waiting.group).is_ok();
        if waits { held.push(group) } else { ready.push(group) }
    }
    let held = Envelope { groups: held, dictionary: None };
    let held_items = envelope::count_items(signal, &held).min(items);
    let bytes: u64 = held.groups.iter().map(size).sum();
    let part =
        Payload { signal, envelope: held, items: held_items, origin: origin.clone(), ticket: ticket.split(bytes) };
    let ready = Envelope { groups: ready, dictionary };
    (Payload { signal, envelope: ready, items: items - held_items, origin, ticket }, part)
}
