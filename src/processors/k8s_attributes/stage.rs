//! The stage of one pipeline: enriches every resource in place and forwards; what waits, waits apart from the rest.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::enrich::{EnrichOutcome, Enricher};
use super::hold::{Hold, MARGIN};
use super::late::{Binder, Late};
use crate::core::data::binding::Later;
use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::error::{ConsumeError, Reason};
use crate::core::report::stats::Flow;
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::time::UnixNanos;
use crate::otlp::envelope;
use crate::processors::k8s_attributes::report::first_data::FirstResources;
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;
use crate::processors::k8s_attributes::times::item_times::item_times;
use crate::processors::k8s_attributes::times::moment::{ArrivalMoment, Subject, WriteMode};

pub struct EnrichStage {
    pub enricher: Arc<Enricher>,
    pub next: Next,
    pub flow: Flow,
    pub mode: WriteMode,
    /// Makes the bindings of what is bound at the decision.
    pub binder: Option<Arc<Binder>>,
    pub hold: Arc<Hold>,
    pub steady: Arc<ClockSteps>,
    pub first_data: FirstResources,
}

/// What the groups of a payload have in common.
pub struct Around<'a> {
    pub signal: Signal,
    pub origin: &'a Arc<Origin>,
    pub ticket: &'a Ticket,
}

/// A group whose run is not known yet.
pub struct WaitingGroup {
    pub group: usize,
    pub retry_at: UnixNanos,
}

impl EnrichStage {
    pub fn moment(&self) -> ArrivalMoment {
        self.enricher.moment(&self.steady, self.mode)
    }

    /// Enriches the groups; those that have to wait are left as they are and named. What they wait in is paid for too.
    fn enrich_all(&self, payload: &mut Payload, moment: &ArrivalMoment) -> Result<Vec<WaitingGroup>, ConsumeError> {
        let mut waiting = Granted::new();
        let mut room = Allowance::of(&payload.ticket);
        let around = Around { signal: payload.signal, origin: &payload.origin, ticket: &payload.ticket };
        for (index, group) in payload.envelope.groups.iter_mut().enumerate() {
            match self.enrich_group(group, &around, moment)? {
                Some(retry_at) if self.hold.may_wait(retry_at, moment.now) => {
                    waiting.push(WaitingGroup { group: index, retry_at }, &mut room).map_err(no_memory)?;
                }
                Some(_) => {
                    let last = ArrivalMoment { again: true, give_up: true, ..moment.clone() };
                    self.enrich_group(group, &around, &last)?;
                }
                None => {}
            }
        }
        Ok(waiting.finish(&mut room))
    }

    /// Enriches one group in place; the time to ask again when that must wait. An error means that there is no memory for
    /// the new bytes.
    fn enrich_group(
        &self,
        group: &mut Group,
        around: &Around<'_>,
        moment: &ArrivalMoment,
    ) -> Result<Option<UnixNanos>, ConsumeError> {
        let times = || item_times(around.signal, group);
        let resource = group.resource.as_deref().unwrap_or_default();
        let subject = Subject { resource, origin: around.origin, times: &times, ticket: around.ticket };
        let (outcome, whose) = self.enricher.enrich_at_arrival(&subject, moment);
        let later = self.binder.as_ref().zip(whose.found_or_not_yet()).map(|(binder, known)| {
            Later::by(Arc::new(Late { binder: binder.clone(), origin: around.origin.clone(), known }))
        });
        match outcome {
            EnrichOutcome::Pending { retry_at } => return Ok(Some(retry_at)),
            EnrichOutcome::Refused(why) => return Err(no_memory(why)),
            EnrichOutcome::Unchanged => self.first_data.see(&subject, resource, &self.enricher, moment),
            EnrichOutcome::Changed(bytes) => {
                self.first_data.see(&subject, &bytes, &self.enricher, moment);
                group.resource = Some(bytes);
            }
        }
        group.later = later.unwrap_or_default();
        Ok(None)
    }

    /// The ready part goes on at once; the waiting part follows when its runs are known, and the caller hears of both.
    async fn hold(&self, payload: Payload, waiting: Vec<WaitingGroup>) -> Result<(), ConsumeError> {
        let (ready, held) = part(payload, &waiting);
        let forward_ready = async {
            if ready.envelope.groups.is_empty() {
                return None;
            }
            self.flow.outgoing.add(ready.items);
            Some(self.next.consume(ready).await)
        };
        let forward_held = async {
            let items = held.items;
            let held = self.settle(held, &waiting).await?;
            self.flow.outgoing.add(items);
            self.next.consume(held).await
        };
        let (ready, held) = futures_util::future::join(forward_ready, forward_held).await;
        match (ready, held) {
            (None, held) => held,
            (Some(Ok(())), Ok(())) => Ok(()),
            // One part was taken and ends behind; the sender, who gets the other back, will send both again.
            (Some(Ok(())), Err(error)) | (Some(Err(error)), Ok(())) => Err(error),
            (Some(Err(first)), Err(second)) => Err(if first.is_retryable() { first } else { second }),
        }
    }

    /// No room: what would wait goes on as it is.
    fn refuse(&self, payload: &mut Payload, waiting: &[WaitingGroup]) -> Result<(), ConsumeError> {
        let around = Around { signal: payload.signal, origin: &payload.origin, ticket: &payload.ticket };
        let no_room = self.hold.has_none_left();
        let moment = ArrivalMoment { again: true, give_up: true, no_room, ..self.moment() };
        for waiting in waiting {
            if let Some(group) = payload.envelope.groups.get_mut(waiting.group) {
                self.enrich_group(group, &around, &moment)?;
            }
        }
        Ok(())
    }

    /// Waits until every group is enriched or out of time; the groups keep their order. An error means that there is no
    /// memory for an enriched group.
    async fn settle(&self, mut payload: Payload, waiting: &[WaitingGroup]) -> Result<Payload, ConsumeError> {
        self.enricher.counters.held.add(waiting.len() as u64);
        let mut open: Vec<(usize, UnixNanos)> =
            waiting.iter().enumerate().map(|(at, waiting)| (at, waiting.retry_at)).collect();
        let deadline = Instant::now() + self.hold.longest();
        let mut changed = self.enricher.cluster.changed();
        let mut draining = self.hold.ends();
        while !open.is_empty() {
            let (now, _) = self.steady.look();
            let next = open.iter().map(|(_, at)| at.since(now)).min().unwrap_or_default();
            let wake = (Instant::now() + next.max(MARGIN)).min(deadline);
            let ended = tokio::select! {
                _ = draining.wait_for(|draining| *draining) => true,
                // A cluster that is gone sends nothing more: then only time helps.
                Ok(()) = changed.changed() => false,
                () = sleep_until(wake) => Instant::now() >= deadline,
            };
            let moment = ArrivalMoment { again: true, give_up: ended, ..self.moment() };
            let around = Around { signal: payload.signal, origin: &payload.origin, ticket: &payload.ticket };
            let mut refused = None;
            open.retain_mut(|(at, retry_at)| {
                let Some(group) = payload.envelope.groups.get_mut(*at) else { return false };
                match self.enrich_group(group, &around, &moment) {
                    Ok(Some(again)) => {
                        *retry_at = again;
                        !ended
                    }
                    Ok(None) => false,
                    Err(why) => {
                        refused = Some(why);
                        false
                    }
                }
            });
            if let Some(why) = refused {
                return Err(why);
            }
        }
        Ok(payload)
    }
}

impl Consumer for EnrichStage {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        self.flow.incoming.add(payload.items);
        // A profile's dictionary ties the request together and names no resource of its own.
        if payload.signal == Signal::Profiles {
            self.flow.outgoing.add(payload.items);
            return self.next.consume(payload);
        }
        let mut waiting = match self.enrich_all(&mut payload, &self.moment()) {
            Ok(waiting) => waiting,
            Err(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        if !waiting.is_empty() {
            let bytes = waiting.iter().filter_map(|waiting| payload.envelope.groups.get(waiting.group)).map(size).sum();
            match self.hold.admit(payload.origin.peer, bytes) {
                Some(room) => {
                    return Box::pin(async move {
                        let answer = self.hold(payload, waiting).await;
                        drop(room);
                        answer
                    });
                }
                None => {
                    if let Err(refused) = self.refuse(&mut payload, &waiting) {
                        return Box::pin(std::future::ready(Err(refused)));
                    }
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

fn group_items(signal: Signal, group: &Group) -> u64 {
    group.scopes.iter().flat_map(|scope| scope.items.iter()).map(|item| envelope::count_item(signal, item)).sum()
}

/// Splits the waiting groups off. They are copied, so that what waits does not keep the whole receive buffer; where there
/// is no memory for the copy, or nothing but them, they keep it and the whole ticket with it.
fn part(payload: Payload, waiting: &[WaitingGroup]) -> (Payload, Payload) {
    let Payload { signal, envelope, items, origin, ticket, mut share } = payload;
    let Envelope { groups, dictionary } = envelope;
    let mut ready = Vec::with_capacity(groups.len() - waiting.len().min(groups.len())); // granted: by the groups it takes over
    let mut held = Vec::with_capacity(waiting.len()); // granted: by the groups it takes over
    let (mut ready_share, mut held_share) = (Share::none(), Share::none());
    for (index, group) in groups.into_iter().enumerate() {
        let waits = waiting.binary_search_by_key(&index, |waiting| waiting.group).is_ok();
        // Whose group it is matters only where several requests were merged.
        if share.is_merged() {
            let part = share.split(group_items(signal, &group));
            if waits { held_share.join(part) } else { ready_share.join(part) }
        }
        if waits { held.push(group) } else { ready.push(group) }
    }
    let held = Envelope { groups: held, dictionary: None };
    let held_items = envelope::count_items(signal, &held).min(items);
    let copied = if ready.is_empty() { None } else { copy(&held, &ticket) };
    let (held, held_ticket) = copied.unwrap_or_else(|| (held, ticket.clone()));
    held_share.join(share.split(held_items - held_share.items().min(held_items)));
    ready_share.join(share);
    let part = Payload {
        signal,
        envelope: held,
        items: held_items,
        origin: origin.clone(),
        ticket: held_ticket,
        share: held_share,
    };
    let ready = Envelope { groups: ready, dictionary };
    (Payload { signal, envelope: ready, items: items - held_items, origin, ticket, share: ready_share }, part)
}

/// The same in memory of its own, and the ticket that pays for it.
fn copy(envelope: &Envelope, ticket: &Ticket) -> Option<(Envelope, Ticket)> {
    let own = ticket.beside(envelope::encoded_len(envelope) as u64).ok()?;
    let copied = envelope::decode_within(envelope::encode(envelope), &own, |_| true).ok()?;
    (copied.groups.len() == envelope.groups.len()).then_some((copied, own))
}

fn no_memory(why: OverBudget) -> ConsumeError {
    ConsumeError::refused(Reason::MEMORY, format!("there is no memory for an enriched resource: {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::data::origin::Transport;
    use crate::otlp::write;

    /// A receive buffer that tells when nothing is kept of it any more.
    struct Buffer(Vec<u8>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    /// Resource, scope and one record of so many bytes of body.
    fn group(out: &mut Vec<u8>, body: usize) {
        let field = |number, bytes: &[u8]| {
            let mut out = Vec::new();
            write::bytes(&mut out, number, bytes);
            out
        };
        let record = field(5, &field(1, &vec![b'x'; body]));
        write::bytes(out, 1, &[field(1, b""), field(2, &field(2, &record))].concat());
    }

    #[test]
    fn what_waits_does_not_keep_the_whole_receive_buffer_and_pays_for_what_it_keeps() {
        let mut body = Vec::new();
        group(&mut body, 4 << 20);
        group(&mut body, 300);
        let (length, gone) = (body.len() as u64, Arc::<AtomicBool>::default());
        let budget = Budget::new(64 << 20, 64 << 20);
        let ticket = budget.take(length).expect("there is room");
        let body = Bytes::from_owner(Buffer(body, gone.clone()));
        let envelope = envelope::decode_within(body, &ticket, |_| true).expect("it is well formed");
        let origin = Arc::new(Origin::new(None, 0, UnixNanos(0), UnixNanos(0), Transport::Grpc));
        let payload = Payload { signal: Signal::Logs, envelope, items: 2, origin, ticket, share: Share::none() };
        let waiting = [WaitingGroup { group: 1, retry_at: UnixNanos(0) }];
        let (ready, held) = part(payload, &waiting);
        assert_eq!((ready.items, held.items, held.envelope.groups.len()), (1, 1, 1));
        drop(ready);
        assert!(gone.load(Ordering::Relaxed), "300 bytes that wait keep four megabytes");
        let kept = held.ticket.bytes();
        assert!(
            (300..4_096).contains(&kept) && budget.used() == kept,
            "{kept} bytes of {} are paid for",
            budget.used()
        );
    }
}
