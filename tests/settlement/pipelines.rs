//! Generated pipelines of real stages - fan-outs, batches, queues, isolation - with ends that take, reject in part, refuse,
//! fail and panic. Law: each item ends exactly once, the balance holds, and the sender of a request hears what the branch
//! lost that lost most.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::fan_out::FanOut;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use podgate::core::data::settlement::{ItemEnd, Settlement};
use podgate::core::error::{ConsumeError, Reason};
use podgate::core::stage::component::{Component, ComponentId, Task};
use podgate::core::stage::consumer::{Consumed, Consumer, Next};
use podgate::core::stage::factory::{BuildContext, Stage, StageContext};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::regroup::portion::part;
use podgate::processors::batch;
use podgate::sending::Sending;
use podgate::sending::backoff::RetrySettings;
use podgate::sending::config::{QueueSettings, SendingSettings};
use podgate::sending::deliver::{RequestTransport, SendAnswer};
use podgate::sending::outcome::answer::AnswerFault;
use podgate::sending::queue::{BatchRule, Sizer};
use podgate::sending::report::condition::Trouble;
use podgate::testing::stage::{check, stage_context};
use tokio::time::Instant;

/// An item names its request and itself; a bad one makes a next hop refuse the whole message.
const BAD: u8 = 0xff;

fn request_of(item: &[u8]) -> u8 {
    item[0]
}

/// Items lost in one place, by request.
#[derive(Default)]
struct Truth {
    rejected: Mutex<BTreeMap<u8, u64>>,
    /// Requests whose bad item came here; a request has one at most.
    bad: Mutex<BTreeSet<u8>>,
}

impl Truth {
    fn of(&self, request: u8) -> u64 {
        let rejected = self.rejected.lock().expect("not poisoned").get(&request).copied().unwrap_or_default();
        rejected + u64::from(self.bad.lock().expect("not poisoned").contains(&request))
    }
}

/// Where items may be lost, as the pipeline branches.
enum Tree {
    End(Arc<Truth>),
    Fan(Vec<Tree>),
}

impl Tree {
    /// What the sender of a request should hear of.
    fn lost(&self, request: u8) -> u64 {
        match self {
            Tree::End(truth) => truth.of(request),
            Tree::Fan(branches) => branches.iter().map(|branch| branch.lost(request)).max().unwrap_or_default(),
        }
    }
}

/// What an end does.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Take,
    Nop,
    Refuse,
    Reject,
    Panic,
}

struct Simple {
    habit: Habit,
}

impl Consumer for Simple {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            match self.habit {
                Habit::Take => payload.share.end(ItemEnd::Delivered),
                Habit::Nop => payload.share.end(ItemEnd::Dropped(Reason::NOP, "")),
                Habit::Refuse => return Err(ConsumeError::refused(Reason::UNAVAILABLE, "not now")),
                Habit::Reject => return Err(ConsumeError::rejected(Reason::PERMANENT, "never")),
                Habit::Panic => panic!("a stage panics on purpose"),
            }
            Ok(())
        })
    }
}

/// A next hop: refuses messages with a bad item, rejects so many of the others, asks to come again now and then.
struct Hop {
    truth: Arc<Truth>,
    rejects: u64,
    fails_every: Option<u64>,
    asked: Mutex<u64>,
}

impl RequestTransport for Hop {
    fn send<'a>(&'a self, payload: &'a Payload, _: Instant) -> Pin<Box<dyn Future<Output = SendAnswer> + Send + 'a>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let trouble = Trouble { code: "X".to_owned(), message: "no".to_owned(), cure: None };
            let asked = {
                let mut asked = self.asked.lock().expect("not poisoned");
                *asked += 1;
                *asked
            };
            if self.fails_every.is_some_and(|every| asked.is_multiple_of(every)) {
                return SendAnswer::Later { after: None, off_spec: false, trouble };
            }
            let items: Vec<&[u8]> = payload.envelope.items().collect();
            let bad: Vec<u8> = items.iter().filter(|item| item[1] == BAD).map(|item| request_of(item)).collect();
            if !bad.is_empty() {
                self.truth.bad.lock().expect("not poisoned").extend(bad);
                return SendAnswer::Never { fault: AnswerFault::Message, trouble };
            }
            let rejected = self.rejects.min(items.len() as u64);
            if let Some(first) = items.first() {
                *self.truth.rejected.lock().expect("not poisoned").entry(request_of(first)).or_default() += rejected;
            }
            SendAnswer::Taken { rejected, message: "quota".to_owned() }
        })
    }

    fn working_bytes(&self, _: &Payload) -> u64 {
        0
    }

    fn destination(&self) -> &str {
        "nowhere:1"
    }

    fn close(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Drops the first item of each payload on purpose, once the rest was taken.
struct Filter {
    next: Next,
}

impl Consumer for Filter {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let first = payload.share.split(1);
            if payload.items > 1 {
                let rest = part(&payload, std::slice::from_ref(&(1..payload.items as usize)));
                self.next.consume(Payload { share: std::mem::take(&mut payload.share), ..rest }).await?;
            }
            first.end(ItemEnd::Dropped(Reason::FILTERED, ""));
            Ok(())
        })
    }
}

/// Says yes, and later samples a third out and tries to hand on the rest three times.
struct Sampler {
    next: Next,
}

#[expect(clippy::disallowed_methods, reason = "the test waits until nothing is held")]
impl Consumer for Sampler {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        let next = self.next.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            let gone = payload.items / 3;
            payload.share.split(gone).end(ItemEnd::SampledOut);
            let mut share = std::mem::take(&mut payload.share);
            let kept = part(&payload, std::slice::from_ref(&(gone as usize..payload.items as usize)));
            for _ in 0..3 {
                let (loan, mut lent) = share.lend(1);
                let sent = Payload { share: lent.pop().unwrap_or_default(), ..kept.copy() };
                if next.consume(sent).await.is_ok() {
                    return loan.accept();
                }
                share = loan.take_back(0, Reason::UNAVAILABLE);
            }
            share.end(ItemEnd::Dropped(Reason::RETRIES_EXHAUSTED, "three times"));
        });
        Box::pin(std::future::ready(Ok(())))
    }
}

struct World {
    host: Arc<Host>,
    rng: Rng,
    /// With ends that fail as a whole: then only the balance can be told from outside.
    rude: bool,
    /// Several requests may be sent as one.
    merges: bool,
    components: Vec<Arc<dyn Component>>,
}

impl World {
    fn build_context(&self, name: &str) -> BuildContext {
        let id = ComponentId::parse(&format!("{name}/{}", self.components.len())).expect("an id");
        BuildContext { path: format!("test::{id}"), id, host: self.host.clone() }
    }

    async fn grow(&mut self, depth: u32) -> (Next, Tree) {
        match self.rng.u32(0..10) {
            0..=3 if depth > 0 => {
                let (mut branches, mut trees) = (Vec::new(), Vec::new());
                for _ in 0..self.rng.usize(2..4) {
                    let (next, tree) = Box::pin(self.grow(depth - 1)).await;
                    branches.push(next);
                    trees.push(tree);
                }
                (FanOut::over(branches), Tree::Fan(trees))
            }
            4 if depth > 0 => {
                let (next, tree) = Box::pin(self.grow(depth - 1)).await;
                (Arc::new(Filter { next }), tree)
            }
            5 if depth > 0 => {
                let (next, tree) = Box::pin(self.grow(depth - 1)).await;
                (Arc::new(Sampler { next }), tree)
            }
            6 if depth > 0 && self.merges => {
                let (next, tree) = Box::pin(self.grow(depth - 1)).await;
                (self.batch(next).await, tree)
            }
            _ => self.end().await,
        }
    }

    async fn batch(&mut self, next: Next) -> Next {
        let max = if self.rng.bool() { 0 } else { 12 };
        let body = format!("{{timeout: 20ms, send_batch_size: 10, send_batch_max_size: {max}}}");
        let (plan, found) = check(&batch::FACTORY, &body);
        let cx =
            StageContext { build: self.build_context("batch"), ..stage_context(&self.host, "batch", Signal::Logs) };
        let plan = plan.unwrap_or_else(|| panic!("{found:?}"));
        let Stage::Consumer { consumer, component: Some(component) } = plan.build(cx, next) else {
            panic!("batch is a stage of its own")
        };
        component.start().await.expect("starts");
        self.components.push(component);
        consumer
    }

    async fn end(&mut self) -> (Next, Tree) {
        let truth: Arc<Truth> = Arc::default();
        let habits = [Habit::Take, Habit::Nop, Habit::Refuse, Habit::Reject, Habit::Panic];
        let simple = self.rng.usize(0..if self.rude { 8 } else { 5 });
        if simple < habits.len() && (self.rude || simple < 2) {
            return (Arc::new(Simple { habit: habits[simple] }), Tree::End(truth));
        }
        // Only a count is known of what a next hop rejected, so whose it is can be told when nothing is merged.
        let rejects = if self.merges && !self.rude { 0 } else { self.rng.u64(0..4) };
        let fails_every = if self.rude { Some(self.rng.u64(1..5)) } else { None };
        let queue = self.rng.bool().then(|| QueueSettings {
            num_consumers: 2,
            queue_size: if self.rude { 3 } else { 1000 },
            wait_for_result: self.rng.bool(),
            batch: (self.merges && self.rng.bool()).then_some(BatchRule {
                min_size: 10,
                max_size: 15,
                flush_timeout: Duration::from_millis(50),
                sizer: Sizer::Items,
                apart_by: None,
                metadata_keys: Vec::new(),
            }),
            ..QueueSettings::default()
        });
        let retry = RetrySettings { max_elapsed_time: Duration::from_secs(20), ..RetrySettings::default() };
        let settings = SendingSettings {
            timeout: Duration::from_secs(5),
            queue,
            retry: self.rng.bool().then_some(retry),
            request_bytes_max: 1 << 20,
        };
        let hop = Hop { truth: truth.clone(), rejects, fails_every, asked: Mutex::default() };
        let sending = Arc::new(Sending::new(self.build_context("hop"), settings, Box::new(hop)));
        sending.start().await.expect("starts");
        self.components.push(sending.clone());
        (sending, Tree::End(truth))
    }
}

fn payload(request: u8, items: u64, bad: Option<u64>) -> Payload {
    let item = |at: u64| Bytes::from(vec![request, if bad == Some(at) { BAD } else { at as u8 }]);
    let items: Vec<Bytes> = (0..items).map(item).collect();
    let scope = ScopeGroup { items: items.into(), ..ScopeGroup::default() };
    Payload {
        signal: Signal::Logs,
        items: scope.items.len() as u64,
        envelope: Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None },
        origin: Arc::new(Origin::internal(UnixNanos(0))),
        ticket: Ticket::free(),
        share: Default::default(),
    }
}

/// Sends requests through a generated pipeline, some of which nobody waits for to the end.
async fn run(seed: u64, rude: bool, merges: bool) {
    let host = Host::new(Budget::unlimited());
    let mut world = World { host, rng: Rng::with_seed(seed), rude, merges, components: Vec::new() };
    let (entry, tree) = world.grow(3).await;
    let mut watched: Vec<(u8, Arc<Settlement>)> = Vec::new();
    let mut calls = tokio::task::JoinSet::new();
    for request in 0..world.rng.u8(1..12) {
        // One bad item at most: with several the search may give up others, which the hop does not see. And it is never
        // left alone by what is filtered and sampled before it, or the whole call would fail.
        let items = if rude { world.rng.u64(1..9) } else { world.rng.u64(9..15) };
        let bad = world.rng.bool().then_some(items - 1).filter(|_| !merges);
        let (receipt, share) = Settlement::receive(&world.host.balance, Signal::Logs, items);
        let sent = Payload { share, ..payload(request, items, bad) };
        let settlement = receipt.settlement().clone();
        watched.push((request, settlement.clone()));
        if rude && world.rng.u8(0..4) == 0 {
            let leaves = Duration::from_millis(world.rng.u64(0..3_000));
            calls.spawn(async move {
                tokio::time::sleep(leaves).await;
                settlement.abandon();
            });
        }
        let entry = entry.clone();
        calls.spawn(async move {
            let answer = entry.consume(sent).await;
            receipt.answer(answer.as_ref().copied());
        });
        if world.rng.bool() {
            tokio::time::sleep(Duration::from_millis(world.rng.u64(0..40))).await;
        }
    }
    while let Some(ended) = calls.join_next().await {
        assert!(rude || ended.is_ok(), "seed {seed}: {ended:?}");
    }
    // What samplers hold goes on for a while.
    tokio::time::sleep(Duration::from_secs(120)).await;
    for component in world.components.iter().rev() {
        component.drain(Instant::now() + Duration::from_secs(20)).await;
    }
    let sheet = world.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.held == 0, "seed {seed} (rude {rude}, merges {merges}): {sheet:?}");
    for (request, settlement) in watched {
        assert_eq!(settlement.open(), 0, "seed {seed}, request {request}");
        if !rude {
            let heard: u64 = settlement.losses().iter().map(|loss| loss.items).sum();
            assert_eq!(heard, tree.lost(request), "seed {seed}, request {request}: {:?}", settlement.losses());
            assert!(settlement.losses().iter().all(|loss| loss.words.contains("quota") || loss.words.contains("no")));
        }
    }
    if !rude {
        assert!(!sheet.dropped.contains_key("internal"), "seed {seed}: {sheet:?}");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("PODGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PODGATE_SEEDS").unwrap_or(150),
    }
}

#[tokio::test(start_paused = true)]
async fn senders_hear_what_the_branch_lost_that_lost_most() {
    for seed in seeds() {
        run(seed, false, false).await;
        run(seed, false, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_item_ends_once_whatever_refuses_fails_panics_or_is_abandoned() {
    for seed in seeds() {
        run(seed, true, false).await;
        run(seed, true, true).await;
    }
}
