//! Fifty agents with `load_balancing` each, and the spans of traces that cross several of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use podgate::core::data::balance::Sheet;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Settlement;
use podgate::core::outside::Outside;
use podgate::core::stage::factory::Exporter;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::exporters::otlp::load_balancing;
use podgate::otlp::envelope;
use podgate::testing::check;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::otlp::{self, Thing};
use crate::tiers::MADE_FOR;
use crate::tiers::book::Book;
use crate::tiers::fleet::{Fleet, Shared};

const AGENTS: usize = 50;
/// Traces that begin in each second.
const TRACES_A_SECOND: usize = 8;
/// The spans of a trace come within this time.
const TRACE_TAKES: Duration = Duration::from_secs(8);
/// Spans of one agent that go as one request.
const BATCH: Duration = Duration::from_secs(1);
/// A refused request is sent again after this time, so often.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u64 = 60;

const BODY: &str =
    "protocol: {otlp: {tls: {insecure: true}, compression: none}}\nresolver: {dns: {hostname: gateway}}\n";

struct Agent {
    host: Arc<Host>,
    exporter: Arc<dyn Exporter>,
}

pub struct Agents {
    each: Vec<Arc<Agent>>,
    senders: JoinSet<()>,
}

impl Agent {
    /// Starts within five seconds of the others, as their looks at the name are spread.
    async fn start(at: usize, shared: &Shared) -> Agent {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(at).unwrap_or(u8::MAX)));
        let outside = Outside { network: Some(shared.network_of(address)), ..Outside::default() };
        let host = Host::within(outside, Budget::unlimited());
        let path = format!("exporters::load_balancing/{at}");
        let plan = check::sound(&path, BODY, load_balancing::FACTORY.check);
        let exporter = plan.build(check::build_context(&host, &path));
        exporter.start().await.expect("it starts");
        Agent { host, exporter }
    }

    /// One sending of a request, and whether it was accepted.
    async fn send(&self, at: usize, attempt: u64, things: &[Thing]) -> bool {
        let resource = [("service.name".to_owned(), format!("agent{at}"))];
        let bytes = otlp::request(Signal::Traces, &resource, attempt, things);
        let envelope = envelope::decode(bytes.into()).expect("a request");
        let items = things.len() as u64;
        let origin = Arc::new(Origin::internal(UnixNanos::now()));
        let (receipt, share) = Settlement::receive(&self.host.balance, Signal::Traces, items);
        let payload = Payload { signal: Signal::Traces, envelope, items, origin, ticket: Ticket::free(), share };
        let answer = self.exporter.consume(payload).await;
        receipt.answer(answer.as_ref().copied());
        answer.is_ok()
    }

    /// Sends batches when they are due, each until it is accepted.
    async fn run(self: Arc<Agent>, at: usize, batches: BTreeMap<Duration, Vec<Thing>>, book: Book) {
        let begun = Instant::now();
        for (due, things) in batches {
            sleep_until(begun + due).await;
            book.sends(&things);
            for attempt in 1..=ATTEMPTS_MAX {
                if self.send(at, attempt, &things).await {
                    book.accepted(&things);
                    break;
                }
                book.refused(&things);
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

impl Agents {
    pub async fn start(book: &Book, fleet: &Fleet, rng: &mut Rng) -> Agents {
        let mut each = Vec::new();
        let mut senders = JoinSet::new();
        let mut planned = plan(rng);
        for at in 0..AGENTS {
            let agent = Arc::new(Agent::start(at, fleet.shared()).await);
            each.push(agent.clone());
            senders.spawn(agent.run(at, planned.remove(&at).unwrap_or_default(), book.clone()));
            // Each looks up the name at a moment of its own.
            sleep(Duration::from_millis(5_000 / AGENTS as u64)).await;
        }
        Agents { each, senders }
    }

    /// Spans that have no end.
    pub fn held(&self) -> i64 {
        self.each.iter().map(|agent| agent.host.balance.sheet(Signal::Traces).held).sum()
    }

    /// All were sent, and have their end.
    pub fn are_quiet(&mut self) -> bool {
        while self.senders.try_join_next().is_some() {}
        self.senders.is_empty() && self.held() == 0
    }

    pub async fn drain(mut self, within: Duration) -> Vec<Sheet> {
        self.senders.shutdown().await;
        let deadline = Instant::now() + within;
        futures_util::future::join_all(self.each.iter().map(|agent| agent.exporter.drain(deadline))).await;
        self.each.iter().map(|agent| agent.host.balance.sheet(Signal::Traces)).collect()
    }
}

/// Which agent sends which spans when.
fn plan(rng: &mut Rng) -> BTreeMap<usize, BTreeMap<Duration, Vec<Thing>>> {
    let mut planned: BTreeMap<usize, BTreeMap<Duration, Vec<Thing>>> = BTreeMap::new();
    let lasts = (MADE_FOR - TRACE_TAKES).as_secs_f64();
    let mut item = 0;
    for trace in 1..=(lasts as usize * TRACES_A_SECOND) as u64 {
        let begins = Duration::from_secs_f64(rng.f64() * lasts);
        let nodes: Vec<usize> = (0..rng.usize(1..=4)).map(|_| rng.usize(..AGENTS)).collect();
        for _ in 0..rng.usize(2..=6) {
            item += 1;
            let agent = nodes[rng.usize(..nodes.len())];
            let due = begins + TRACE_TAKES.mul_f64(rng.f64());
            let batch = Duration::from_secs(due.as_secs() / BATCH.as_secs() + 1);
            let thing = Thing { item, trace, made: UnixNanos::now(), failed: false, twin: None };
            planned.entry(agent).or_default().entry(batch).or_default().push(thing);
        }
    }
    planned
}
