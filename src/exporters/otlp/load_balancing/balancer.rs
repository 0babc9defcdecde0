//! The exporter: splits payloads among the members, follows the list of members, and moves what waits for one that is gone.
//!
//! A sender hears success when every part stands in its member's queue. A part that finds its queue full waits a little
//! while others are taken; should it find no room at all the whole is refused, retryably, and what was taken comes twice.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Loan, Share};
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusTeller};
use crate::core::stage::component::{Component, ComponentId, Task};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::factory::BuildContext;
use crate::exporters::otlp::grpc_to;
use crate::exporters::otlp::load_balancing::config::BalancerSettings;
use crate::exporters::otlp::load_balancing::members::{MemberExporter, Members};
use crate::exporters::otlp::load_balancing::metrics::BalancerMetrics;
use crate::exporters::otlp::load_balancing::route::{RoutingKey, runs, runs_bytes};
use crate::net::client::target::Target;
use crate::otlp::regroup::portion::part;

/// A part whose member has no room waits this long while other parts of its request were taken: most senders give up on us
/// after ten seconds.
const HOLD_MAX: Duration = Duration::from_secs(3);
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// What is on its way to a member that goes may still arrive; what waits for it then moves on.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// What moves waits this long for room with its new owners before it is given up and counted.
const MOVE_MAX: Duration = Duration::from_secs(60);

pub struct LoadBalancer {
    cx: BuildContext,
    settings: BalancerSettings,
    keys: [RoutingKey; 4],
    metrics: BalancerMetrics,
    status: StatusTeller,
    this: Weak<LoadBalancer>,
    // All are locked for a few instructions and never across an await.
    members: Mutex<Arc<Members>>,
    asking: Mutex<Option<JoinHandle<()>>>,
    leaving: Mutex<Vec<JoinHandle<()>>>,
    /// After a reload: where what is left goes.
    successor: OnceLock<Next>,
    closing: AtomicBool,
}

impl LoadBalancer {
    /// Builds without I/O.
    pub fn new(cx: BuildContext, settings: BalancerSettings) -> Arc<LoadBalancer> {
        Arc::new_cyclic(|this| LoadBalancer {
            keys: Signal::ALL.map(|signal| settings.key_of(signal)),
            metrics: BalancerMetrics::new(&cx.host.stats, &cx.id.to_string(), settings.resolver.kind()),
            status: cx.host.status.teller(&cx.path),
            this: this.clone(),
            members: Mutex::default(),
            asking: Mutex::default(),
            leaving: Mutex::default(),
            successor: OnceLock::new(),
            closing: AtomicBool::new(false),
            settings,
            cx,
        })
    }

    fn members(&self) -> Arc<Members> {
        self.members.locked().clone()
    }

    fn member(&self, endpoint: &str) -> Option<MemberExporter> {
        let target = Target::parse(endpoint, None).ok()?;
        let name = self.cx.id.name.as_ref().map_or_else(|| endpoint.to_owned(), |name| format!("{name}_{endpoint}"));
        let id = ComponentId { component_type: "otlp_grpc".to_owned(), name: Some(name) };
        let label = id.to_string();
        let cx = BuildContext { id, path: format!("{}::{endpoint}", self.cx.path), host: self.cx.host.clone() };
        let exporter = grpc_to(cx, self.settings.member.clone(), &target);
        Some(MemberExporter { endpoint: endpoint.to_owned(), label, exporter })
    }

    /// Asks the resolver once and follows what it says.
    async fn ask(&self) -> Result<(), StartError> {
        let source = self.settings.resolver.source();
        match self.settings.resolver.ask(&self.cx.host.outside).await {
            Ok(endpoints) => {
                self.metrics.resolved.add(1);
                self.follow(endpoints).await?;
                self.status.tell(State::Ok, "");
            }
            Err(why) => {
                self.metrics.unresolved.add(1);
                let known = self.members().each.len();
                let message = format!("the members are not known from {source}: {why}; {known} stay as they were");
                if self.cx.host.status.set(&self.cx.path, State::Degraded, message.as_str()) {
                    tracing::warn!(exporter = %self.cx.path, "{message}");
                }
            }
        }
        Ok(())
    }

    /// Takes another list of members. An empty one says nothing of where data could go instead: those that are known stay.
    async fn follow(&self, endpoints: Vec<String>) -> Result<(), StartError> {
        let (now, endpoints) = (self.members(), readable(endpoints));
        if endpoints.is_empty() {
            return Ok(());
        }
        let make = |endpoint: &str| self.member(endpoint).map(Arc::new);
        let Some(change) = now.with(endpoints, make) else { return Ok(()) };
        for member in &change.come {
            member.exporter.start().await?;
        }
        let count = change.members.each.len();
        self.metrics.backends.set(i64::try_from(count).unwrap_or(i64::MAX));
        self.metrics.backend_updates.add(1);
        let named = |members: &[Arc<MemberExporter>]| {
            members.iter().map(|member| member.endpoint.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (come, gone) = (named(&change.come), named(&change.gone));
        tracing::info!(exporter = %self.cx.path, members = count, come, gone, "the list of members changed");
        *self.members.locked() = Arc::new(change.members);
        change.gone.into_iter().for_each(|member| self.part_with(member));
        Ok(())
    }

    /// Ends the way to a member that is gone; what waits there goes to those that are left.
    fn part_with(&self, member: Arc<MemberExporter>) {
        let Some(balancer) = self.this.upgrade() else { return };
        let next: Next = Arc::new(Moved { balancer });
        member.exporter.succeeded_by(&next);
        let (host, path) = (self.cx.host.clone(), format!("{}::{}", self.cx.path, member.endpoint));
        let this = self.this.clone();
        let left = self.cx.host.tasks.spawn_idle("load_balancing/members that are gone", async move {
            member.exporter.drain(Instant::now() + LAST_ANSWERS).await;
            // It may have come again meanwhile.
            let is_back = |balancer: Arc<LoadBalancer>| balancer.members().ring.members().contains(&member.endpoint);
            if !this.upgrade().is_some_and(is_back) {
                host.status.forget(&path);
                host.stats.forget("exporter", &member.label);
            }
        });
        let mut leaving = self.leaving.locked();
        leaving.retain(|one| !one.is_finished());
        leaving.push(left); // granted: one for each member that goes
    }

    /// Sends each part to its owner.
    async fn balance(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(ConsumeError::refused(Reason::SHUTDOWN, "the exporter is stopping"));
        }
        let messages = payload.envelope.messages();
        if messages == 0 {
            return Ok(());
        }
        let list = payload.ticket.budget().overdraw(runs_bytes(&payload.envelope));
        let members = self.members();
        let all = [Range { start: 0, end: messages }];
        let found = runs(&payload, &all, self.key(payload.signal), &members.ring);
        let Some(first) = found.first() else { return Err(self.nobody()) };
        if found.len() == 1 {
            drop(list);
            return members.each[first.member].exporter.consume(payload).await;
        }
        let share = std::mem::take(&mut payload.share);
        let pending = Pending { ranges: Vec::from(all), share };
        self.spread(payload, vec![pending]).await
    }

    fn key(&self, signal: Signal) -> &RoutingKey {
        &self.keys[signal.index()]
    }

    fn nobody(&self) -> ConsumeError {
        let source = self.settings.resolver.source();
        ConsumeError::refused(Reason::UNAVAILABLE, format!("no member is known yet from {source}"))
    }

    /// Sends parts until each was taken, or the whole is refused.
    async fn spread(&self, payload: Payload, mut pending: Vec<Pending>) -> Result<(), ConsumeError> {
        let give_up = Instant::now() + HOLD_MAX;
        let (mut is_taken, mut rejected) = (false, Vec::new());
        loop {
            let members = self.members();
            let parts = self.parts(&payload, pending, &members)?;
            let answers = join_all(parts.into_iter().map(Part::send)).await;
            pending = Vec::new();
            let mut refused = None;
            for answer in answers {
                match answer {
                    Ok(()) => is_taken = true,
                    Err((part, error)) if error.is_retryable() => {
                        pending.push(part); // granted: as many as members
                        refused = Some(error);
                    }
                    Err((part, error)) => rejected.push((part.share, error)), // granted: as many as members
                }
            }
            let is_late = !is_taken || Instant::now() >= give_up;
            match refused {
                None => return ended(rejected, is_taken),
                // What came back of the others goes back with it.
                Some(error) if is_late => return Err(error),
                // A member that is gone refuses what came too late; the next round knows its successor.
                Some(_) if !Arc::ptr_eq(&members, &self.members()) => {}
                Some(_) => sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// The parts of what is pending, each with its share and its member.
    fn parts(
        &self,
        payload: &Payload,
        pending: Vec<Pending>,
        members: &Arc<Members>,
    ) -> Result<Vec<Part>, ConsumeError> {
        let mut parts: Vec<Part> = Vec::new();
        for mut one in pending {
            let begin = parts.len();
            let found = runs(payload, &one.ranges, self.key(payload.signal), &members.ring);
            if found.is_empty() {
                return Err(self.nobody());
            }
            for run in found {
                let share = one.share.split(run.items);
                let known = parts[begin..].iter_mut().find(|part| part.at == run.member);
                match known {
                    Some(part) => {
                        part.pending.ranges.push(run.messages); // granted: see runs_bytes
                        part.pending.share.join(share);
                    }
                    None => {
                        let pending = Pending { ranges: vec![run.messages], share };
                        let member = members.each[run.member].clone();
                        parts.push(Part { at: run.member, member, pending, payload: None }); // granted: as many as members
                    }
                }
            }
        }
        for made in &mut parts {
            made.payload = Some(part(payload, &made.pending.ranges));
        }
        Ok(parts)
    }
}

/// Asks the resolver for as long as there is a balancer.
async fn ask_again(balancer: Weak<LoadBalancer>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(balancer) = balancer.upgrade() else { return };
        if let Err(error) = balancer.ask().await {
            tracing::warn!(exporter = %balancer.cx.path, "the new list of members is not taken: {error}");
        }
    }
}

/// Those that are endpoints: a resolver may say anything.
fn readable(endpoints: Vec<String>) -> Vec<String> {
    endpoints.into_iter().filter(|endpoint| Target::parse(endpoint, None).is_ok()).collect()
}

/// What became of a request of which nothing waits any more.
fn ended(rejected: Vec<(Share, ConsumeError)>, is_taken: bool) -> Result<(), ConsumeError> {
    if !is_taken && let Some((_, error)) = rejected.first() {
        return Err(error.clone());
    }
    for (share, error) in rejected {
        let (ConsumeError::Refused { reason, message, .. } | ConsumeError::Rejected { reason, message }) = &error;
        share.end(ItemEnd::Dropped(*reason, message));
    }
    Ok(())
}

/// Messages of a payload that no member has taken.
struct Pending {
    /// Ascending.
    ranges: Vec<Range<usize>>,
    share: Share,
}

/// What one member is to take.
struct Part {
    at: usize,
    member: Arc<MemberExporter>,
    pending: Pending,
    payload: Option<Payload>,
}

impl Part {
    /// Gives it to the member; what was not taken comes back.
    async fn send(self) -> Result<(), (Pending, ConsumeError)> {
        let Part { member, pending: Pending { ranges, share }, payload, .. } = self;
        let Some(payload) = payload else { return Ok(()) };
        let (loan, lent): (Loan, Vec<Share>) = share.lend(1);
        let share = lent.into_iter().next().unwrap_or_default();
        match member.exporter.consume(Payload { share, ..payload }).await {
            Ok(()) => {
                loan.accept();
                Ok(())
            }
            Err(error) => {
                let share = loan.take_back(0, error.reason());
                Err((Pending { ranges, share }, error))
            }
        }
    }
}

/// Takes what waited for a member that is gone.
struct Moved {
    balancer: Arc<LoadBalancer>,
}

impl Consumer for Moved {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let give_up = Instant::now() + MOVE_MAX;
            let mut share = std::mem::take(&mut payload.share);
            loop {
                let (loan, lent) = share.lend(1);
                let attempt = Payload { share: lent.into_iter().next().unwrap_or_default(), ..payload.copy() };
                let Err(error) = self.balancer.balance(attempt).await else {
                    loan.accept();
                    self.balancer.metrics.moved.add(payload.items);
                    return Ok(());
                };
                share = loan.take_back(0, error.reason());
                if !error.is_retryable() || Instant::now() >= give_up {
                    return Err(error);
                }
                sleep(AGAIN_AFTER).await;
            }
        })
    }
}

impl Consumer for LoadBalancer {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(self.balance(payload))
    }
}

impl Component for LoadBalancer {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            self.ask().await?;
            if let Some(interval) = self.settings.resolver.interval() {
                let asking = ask_again(self.this.clone(), interval);
                *self.asking.locked() = Some(self.cx.host.tasks.spawn_idle("load_balancing/resolver", asking));
            }
            Ok(())
        })
    }

    fn succeeded_by(&self, successor: &Next) {
        let _ = self.successor.set(successor.clone());
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            if let Some(asking) = self.asking.locked().take() {
                asking.abort();
            }
            // What moves between members needs them until it has arrived.
            let leaving = std::mem::take(&mut *self.leaving.locked());
            let _ = timeout_at(deadline, join_all(leaving)).await;
            self.closing.store(true, Ordering::Relaxed);
            let members = self.members();
            if let Some(successor) = self.successor.get() {
                members.each.iter().for_each(|member| member.exporter.succeeded_by(successor));
            }
            join_all(members.each.iter().map(|member| member.exporter.drain(deadline))).await;
        })
    }
}
