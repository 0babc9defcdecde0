//! The exporter: splits payloads among the members, follows the list of members, and moves what waits for one that is gone.
//!
//! A sender hears success when every part stands in its member's queue. A part that finds its queue full waits a little
//! while others are taken; should it find no room at all the whole is refused, retryably, and what was taken comes twice.
//! With a log on disk nobody waits (`logged`).

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
use crate::core::stage::tasks::Pulse;
use crate::exporters::otlp::grpc_to;
use crate::exporters::otlp::load_balancing::config::{BalancerSettings, ResolverSettings};
use crate::exporters::otlp::load_balancing::members::{MemberExporter, Members};
use crate::exporters::otlp::load_balancing::metrics::BalancerMetrics;
use crate::exporters::otlp::load_balancing::points;
use crate::exporters::otlp::load_balancing::resolver::k8s::ServiceResolver;
use crate::exporters::otlp::load_balancing::route::{MemberOwners, RoutingKey};
use crate::kube::endpoints::EndpointReader;
use crate::net::client::target::Target;
use crate::otlp::regroup::portion::deal::{Dealt, Undealt, deal};
use crate::sending::logged::room::{RoomFor, has_memory};

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
    /// Who keeps on disk what is divided, where somebody does: what waited for a member that is gone is theirs again.
    keeper: OnceLock<Weak<dyn Consumer>>,
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
            keeper: OnceLock::new(),
            members: Mutex::default(),
            asking: Mutex::default(),
            leaving: Mutex::default(),
            successor: OnceLock::new(),
            closing: AtomicBool::new(false),
            settings,
            cx,
        })
    }

    pub(super) fn members(&self) -> Arc<Members> {
        self.members.locked().clone()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn path(&self) -> &str {
        &self.cx.path
    }

    pub(super) fn kept_by(&self, keeper: Weak<dyn Consumer>) {
        let _ = self.keeper.set(keeper);
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
        self.told(self.settings.resolver.ask(&self.cx.host.outside).await).await
    }

    /// Follows what the resolver says.
    async fn told(&self, answer: Result<Vec<String>, String>) -> Result<(), StartError> {
        match answer {
            Ok(endpoints) => {
                self.metrics.resolved.add(1);
                self.follow(endpoints).await?;
                self.status.tell(State::Ok, "");
            }
            Err(why) => {
                self.metrics.unresolved.add(1);
                let (known, source) = (self.members().each.len(), self.settings.resolver.source());
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

    /// Sends each part to its owner, or none of them.
    async fn balance(&self, payload: Payload) -> Result<(), ConsumeError> {
        self.divide(payload, Giving::Held).await.map_err(|left| left.error)
    }

    /// Sends each part to its owner.
    pub(super) async fn divide(&self, mut payload: Payload, giving: Giving) -> Result<(), PartsLeft> {
        if self.is_closing() {
            return Err(PartsLeft::whole(stopping(), payload));
        }
        if payload.envelope.messages() == 0 {
            return Ok(());
        }
        let members = self.members();
        if members.each.is_empty() {
            return Err(PartsLeft::whole(self.nobody(), payload));
        }
        let key = self.key(payload.signal);
        points::cut(&mut payload, key, &members.ring);
        let mut owners = MemberOwners::new(payload.signal, key, &members.ring);
        let sole = owners.sole(&payload.envelope).and_then(|only| members.each.get(only));
        if let Some(only) = sole.filter(|_| matches!(giving, Giving::Held)) {
            return only.exporter.consume(payload).await.map_err(PartsLeft::gone);
        }
        let whole = Undealt::whole(&mut payload);
        let dealt = deal(&payload, vec![whole], |at| owners.of(at));
        let parts = dealt.ok_or_else(|| PartsLeft::gone(self.nobody()))?;
        self.spread(payload, members, parts, giving).await
    }

    /// Whether a member may take the payload. Members have equal parts of the memory that one queue may take, so that one
    /// that is away does not leave the others without.
    pub(super) fn has_room(&self, members: &Members, at: usize, payload: &Payload, whose: RoomFor) -> bool {
        members.each.get(at).is_some_and(|member| {
            let held = member.exporter.held(payload.signal).saturating_mul(members.each.len() as u64);
            member.exporter.has_places(payload, whose)
                && has_memory(&self.cx.host.budget, held, payload.ticket.bytes(), whose)
        })
    }

    fn key(&self, signal: Signal) -> &RoutingKey {
        &self.keys[signal.index()]
    }

    fn nobody(&self) -> ConsumeError {
        let source = self.settings.resolver.source();
        ConsumeError::refused(Reason::UNAVAILABLE, format!("no member is known yet from {source}"))
    }

    /// Sends parts until each was taken, or the whole is refused. What stands on disk does not wait: what finds no room comes
    /// back.
    async fn spread(
        &self,
        mut payload: Payload,
        mut members: Arc<Members>,
        mut parts: Vec<Dealt>,
        giving: Giving,
    ) -> Result<(), PartsLeft> {
        let give_up = Instant::now() + HOLD_MAX;
        let (mut is_taken, mut rejected) = (false, Vec::new());
        loop {
            let answers = join_all(parts.into_iter().map(|part| self.send(&members, part, giving))).await;
            let mut waiting = Vec::new();
            let mut refused = None;
            for answer in answers {
                match answer {
                    Ok(()) => is_taken = true,
                    Err((undealt, error)) if error.is_retryable() => {
                        waiting.push(undealt); // granted: as many as members
                        refused = Some(error);
                    }
                    Err((undealt, error)) => rejected.push((undealt.share, error)), // granted: as many as members
                }
            }
            let is_late = !is_taken || Instant::now() >= give_up;
            match refused {
                None => return ended(rejected, is_taken).map_err(PartsLeft::gone),
                Some(error) if matches!(giving, Giving::Logged(_)) => {
                    let _ = ended(rejected, true);
                    return Err(PartsLeft { rest: gathered(&payload, waiting).map(Box::new), error });
                }
                // What came back of the others goes back with it.
                Some(error) if is_late => return Err(PartsLeft::gone(error)),
                // A member that is gone refuses what came too late; the next round knows its successor.
                Some(_) if !Arc::ptr_eq(&members, &self.members()) => {}
                Some(_) => sleep(AGAIN_AFTER).await,
            }
            let (now, key) = (self.members(), self.key(payload.signal));
            if payload.signal == Signal::Metrics && key.tells_points_apart() && !Arc::ptr_eq(&members, &now) {
                // A metric that had one owner may have several now.
                (payload, waiting) = recut(&payload, waiting, key, &now).map_err(PartsLeft::gone)?;
            }
            members = now;
            let mut owners = MemberOwners::new(payload.signal, key, &members.ring);
            parts = deal(&payload, waiting, |at| owners.of(at)).ok_or_else(|| PartsLeft::gone(self.nobody()))?;
        }
    }

    /// Gives a part to its member; what was not taken comes back.
    async fn send(&self, members: &Members, part: Dealt, giving: Giving) -> Result<(), (Undealt, ConsumeError)> {
        match giving {
            Giving::Logged(whose) if !self.has_room(members, part.recipient, &part.payload, whose) => {
                Err((part.undealt, ConsumeError::refused(Reason::QUEUE_FULL, "the member's queue is full")))
            }
            _ => send(members, part).await,
        }
    }
}

pub(super) fn stopping() -> ConsumeError {
    ConsumeError::refused(Reason::SHUTDOWN, "the exporter is stopping")
}

/// How parts are given to their members.
#[derive(Clone, Copy)]
pub(super) enum Giving {
    /// What finds no room waits a little, and then goes back to its sender with the whole.
    Held,
    /// What finds no room comes back by itself: it stands on disk.
    Logged(RoomFor),
}

/// What no member took, and why.
pub(super) struct PartsLeft {
    pub error: ConsumeError,
    /// `None`: it went back to the sender.
    pub rest: Option<Box<Payload>>,
}

impl PartsLeft {
    fn gone(error: ConsumeError) -> PartsLeft {
        PartsLeft { error, rest: None }
    }

    fn whole(error: ConsumeError, payload: Payload) -> PartsLeft {
        PartsLeft { error, rest: Some(Box::new(payload)) }
    }
}

/// What waits, as a payload of its own.
fn gathered(payload: &Payload, waiting: Vec<Undealt>) -> Option<Payload> {
    let dealt = deal(payload, waiting, |_| Some(0))?.into_iter().next()?;
    Some(Payload { share: dealt.undealt.share, ..dealt.payload })
}

/// What waits, as a whole of its own whose metrics are cut for these members.
fn recut(
    payload: &Payload,
    waiting: Vec<Undealt>,
    key: &RoutingKey,
    members: &Members,
) -> Result<(Payload, Vec<Undealt>), ConsumeError> {
    let nothing = || ConsumeError::refused(Reason::UNAVAILABLE, "nothing waits");
    let mut whole = gathered(payload, waiting).ok_or_else(nothing)?;
    points::cut(&mut whole, key, &members.ring);
    let waiting = vec![Undealt::whole(&mut whole)];
    Ok((whole, waiting))
}

/// Gives a part to its member; what was not taken comes back.
async fn send(members: &Members, part: Dealt) -> Result<(), (Undealt, ConsumeError)> {
    let Dealt { recipient, payload, undealt: Undealt { ranges, share, lists } } = part;
    let (loan, lent): (Loan, Vec<Share>) = share.lend(1);
    let share = lent.into_iter().next().unwrap_or_default();
    let sent = match members.each.get(recipient) {
        Some(member) => member.exporter.consume(Payload { share, ..payload }).await,
        None => Err(ConsumeError::refused(Reason::UNAVAILABLE, "the member is gone")),
    };
    match sent {
        Ok(()) => {
            loan.accept();
            Ok(())
        }
        Err(error) => {
            let share = loan.take_back(0, error.reason());
            Err((Undealt { ranges, share, lists }, error))
        }
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

/// Follows a service for as long as there is a balancer.
async fn watch_service(
    balancer: Weak<LoadBalancer>,
    service: ServiceResolver,
    mut reader: EndpointReader,
    pulse: Arc<Pulse>,
) {
    pulse.waits_for("the API server's answer, or the next event of its watch");
    loop {
        let state = reader.next(&pulse).await;
        let Some(members) = service.members(&state) else { continue };
        let Some(balancer) = balancer.upgrade() else { return };
        if let Err(error) = balancer.told(members).await {
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

/// Takes what waited for a member that is gone.
struct Moved {
    balancer: Arc<LoadBalancer>,
}

impl Consumer for Moved {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            if let Some(keeper) = self.balancer.keeper.get().and_then(Weak::upgrade) {
                let items = payload.items;
                keeper.consume(payload).await?;
                self.balancer.metrics.moved.add(items);
                return Ok(());
            }
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
            if let ResolverSettings::K8s(service) = &self.settings.resolver {
                let (this, service) = (self.this.clone(), service.clone());
                let reader = service.reader(&self.cx.host.outside);
                let watching = |pulse| watch_service(this, service, reader, pulse);
                let name = format!("{}/endpoints", self.cx.path);
                *self.asking.locked() = Some(self.cx.host.tasks.spawn(&name, watching));
                return Ok(());
            }
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
