//! A model of the sampler behind the receiver, as a process that is stopped, stands still or is killed: it holds the spans of
//! a trace, decides after a wait that stands still while brokers are away, hands what it keeps on in one piece, lets go of
//! what another member reads, and leaves what is undecided at a stop to the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::core::data::budget::Budget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::error::Reason;
use crate::core::outside::Outside;
use crate::core::stage::absences::Absences;
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::stage::tasks::Pulse;
use crate::net::server::admission::report::Throttle;
use crate::receivers::kafka::config;
use crate::receivers::kafka::group::held::HeldPartitions;
use crate::receivers::kafka::lane::LaneContext;
use crate::receivers::kafka::metrics::ReceiverCounts;
use crate::receivers::kafka::reader::KafkaReader;
use crate::receivers::kafka::tests::cluster::{Cluster, ModelMember, TOPIC};
use crate::receivers::kafka::tests::{APART, Course};
use crate::testing::check;

pub const WAIT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(500);
const BODY: &str = "brokers: [kafka]\ngroup_id: samplers\ninitial_offset: earliest\ntraces: {topics: [spans]}\n";

/// One process: whether it runs at present.
#[derive(Clone)]
pub struct Incarnation {
    pub number: u64,
    state: Arc<Mutex<Life>>,
}

#[derive(Clone, Copy, Default)]
struct Life {
    is_dead: bool,
    still_until: Option<Instant>,
}

impl Incarnation {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.state.lock().expect("not poisoned")
    }

    /// Completes at once, once it goes on, or never.
    pub async fn runs(&self) {
        loop {
            let Life { is_dead, still_until } = *self.life();
            match still_until.filter(|until| *until > Instant::now()) {
                _ if is_dead => return std::future::pending().await,
                None => return,
                Some(until) => sleep_until(until).await,
            }
        }
    }
}

/// A span as it was written.
#[derive(Clone, Copy)]
struct Written {
    trace: u64,
    record: (usize, i64),
    at: Instant,
    failed: bool,
}

#[derive(Default)]
struct Pages {
    spans: BTreeMap<u64, Written>,
    /// Spans of each record that have an end, by sampler.
    ended: BTreeMap<(u64, usize, i64), BTreeSet<u64>>,
    of_record: BTreeMap<(usize, i64), BTreeSet<u64>>,
    /// What each sampler made of a trace: kept or not, and of which spans.
    verdicts: BTreeMap<(u64, u64), (bool, BTreeSet<u64>)>,
    delivered: BTreeMap<u64, u64>,
    handed_on: BTreeMap<(usize, i64), u64>,
    next_hop_back: Option<Instant>,
}

/// What happened. Cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("not poisoned")
    }

    /// Writes a record of some spans of a trace, one of them failed or none.
    pub fn write(&self, cluster: &Cluster, trace: u64, count: usize, failed: bool) {
        let mut pages = self.lock();
        let first = pages.spans.len() as u64 + 1;
        let numbers: Vec<u64> = (first..first + count as u64).collect();
        let record = cluster.append(trace, request(trace, &numbers, failed));
        for number in &numbers {
            let failed = failed && *number == first;
            pages.spans.insert(*number, Written { trace, record, at: Instant::now(), failed });
        }
        pages.of_record.insert(record, numbers.into_iter().collect());
    }

    /// Whether all spans of a record had their end in this sampler.
    pub fn has_ended(&self, sampler: u64, partition: usize, offset: i64) -> bool {
        let pages = self.lock();
        let ended = pages.ended.get(&(sampler, partition, offset));
        pages.of_record.get(&(partition, offset)).is_some_and(|all| ended == Some(all))
    }

    pub fn next_hop_away_for(&self, time: Duration) {
        self.lock().next_hop_back = Some(Instant::now() + time);
    }

    fn is_next_hop_away(&self) -> bool {
        self.lock().next_hop_back.is_some_and(|back| back > Instant::now())
    }

    fn taken(&self, spans: &[u64]) {
        let mut pages = self.lock();
        let of: BTreeSet<_> = spans.iter().map(|span| pages.spans[span].record).collect();
        of.into_iter().for_each(|record| *pages.handed_on.entry(record).or_default() += 1);
    }

    fn decided(&self, sampler: u64, trace: u64, kept: bool, spans: &[u64]) {
        let mut pages = self.lock();
        let of = pages.verdicts.entry((sampler, trace)).or_insert_with(|| (kept, BTreeSet::new()));
        of.1.extend(spans);
        for span in spans {
            let (partition, offset) = pages.spans[span].record;
            pages.ended.entry((sampler, partition, offset)).or_default().insert(*span);
            if kept {
                *pages.delivered.entry(*span).or_default() += 1;
            }
        }
    }

    /// What came of it; every broken law is a sentence.
    pub fn judge(&self, cluster: &Cluster, faults: &mut Vec<String>) -> Course {
        faults.extend(cluster.faults().into_iter().take(5));
        let pages = self.lock();
        let mut traces: BTreeMap<u64, BTreeMap<u64, Written>> = BTreeMap::new();
        pages.spans.iter().for_each(|(number, span)| _ = traces.entry(span.trace).or_default().insert(*number, *span));
        let twice = pages.handed_on.values().filter(|times| **times > 1).count() as u64;
        let records = pages.of_record.len() as u64;
        let mut course = Course { seeds: 1, records, twice, traces: traces.len() as u64, ..Course::default() };
        for (trace, spans) in traces {
            let times = || spans.values().map(|span| span.at);
            let spread = times().max().zip(times().min()).map_or(Duration::ZERO, |(last, first)| last - first);
            let is_apart = spread >= APART;
            course.apart += u64::from(is_apart);
            let all: BTreeSet<u64> = spans.keys().copied().collect();
            let mut of_trace = pages.verdicts.iter().filter(|((_, of), _)| *of == trace).map(|(_, verdict)| verdict);
            let keeps = spans.values().any(|span| span.failed);
            let is_whole = of_trace.any(|(kept, seen)| *seen == all && *kept == keeps);
            let missing = spans.keys().filter(|span| keeps != pages.delivered.contains_key(span)).count();
            course.torn += u64::from(!is_whole);
            if !is_whole || missing > 0 {
                let seen: Vec<_> = pages.verdicts.iter().filter(|((_, of), _)| *of == trace).collect();
                faults.push(format!("torn: trace {trace} of {all:?}, to be kept {keeps}: {missing} astray, {seen:?}"));
            }
        }
        faults.truncate(10);
        course
    }
}

fn request(trace: u64, numbers: &[u64], failed: bool) -> Bytes {
    let span = |(at, number): (usize, &u64)| Span {
        trace_id: u128::from(trace).to_be_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: "call".to_owned(),
        status: (failed && at == 0).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: numbers.iter().enumerate().map(span).collect(), ..ScopeSpans::default() };
    let group = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec().into()
}

/// What is held of a trace.
struct HeldTrace {
    since: Instant,
    /// How long brokers had been away by then.
    away: Duration,
    spans: Vec<(u64, Share)>,
    failed: bool,
}

#[derive(Default)]
struct Store {
    held: BTreeMap<u64, HeldTrace>,
    decided: BTreeMap<u64, bool>,
}

struct Sampling {
    process: Incarnation,
    book: Book,
    absences: Arc<Absences>,
    store: Mutex<Store>,
}

impl Sampling {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("not poisoned")
    }

    fn take(&self, mut payload: Payload) {
        let mut share = std::mem::take(&mut payload.share);
        let spans: Vec<_> = payload.envelope.items().map(|item| Span::decode(item).expect("a span")).collect();
        let number = |span: &Span| u64::from_be_bytes(span.span_id.clone().try_into().unwrap_or_default());
        self.book.taken(&spans.iter().map(number).collect::<Vec<_>>());
        let (_, away) = self.absences.look(Instant::now());
        let mut store = self.store();
        for span in spans {
            let trace = u128::from_be_bytes(span.trace_id.clone().try_into().unwrap_or_default()) as u64;
            let fresh = || HeldTrace { since: Instant::now(), away, spans: Vec::new(), failed: false };
            // What a member read before its partition went is read again.
            let is_gone = |held: &HeldTrace| held.spans.last().is_some_and(|(_, share)| share.is_taken_over());
            if store.held.get(&trace).is_some_and(is_gone) {
                store.held.remove(&trace).into_iter().for_each(HeldTrace::let_go);
            }
            let held = store.held.entry(trace).or_insert_with(fresh);
            held.failed |= span.status.as_ref().is_some_and(|status| status.code == 2);
            held.spans.push((number(&span), share.split(1)));
        }
    }

    /// Decides what is due; late spans follow at once.
    fn decide(&self) {
        let (are_brokers_away, away) = self.absences.look(Instant::now());
        if are_brokers_away {
            return;
        }
        let is_away = self.book.is_next_hop_away();
        let mut store = self.store();
        let due = |trace: &u64, held: &HeldTrace, decided: &BTreeMap<u64, bool>| {
            let kept = decided.get(trace).copied().unwrap_or(held.failed);
            let is_due = decided.contains_key(trace) || held.since.elapsed() >= WAIT + (away - held.away);
            (is_due && !(kept && is_away)).then_some(kept)
        };
        let Store { held, decided } = &mut *store;
        let verdicts: Vec<(u64, bool)> =
            held.iter().filter_map(|(trace, of)| Some((*trace, due(trace, of, decided)?))).collect();
        for (trace, kept) in verdicts {
            let Some(of) = held.remove(&trace) else { continue };
            if of.spans.last().is_some_and(|(_, share)| share.is_taken_over()) {
                of.let_go();
                continue;
            }
            decided.insert(trace, kept);
            let (numbers, shares): (Vec<u64>, Vec<Share>) = of.spans.into_iter().unzip();
            self.book.decided(self.process.number, trace, kept, &numbers);
            let end = if kept { ItemEnd::Delivered } else { ItemEnd::SampledOut };
            shares.into_iter().for_each(|share| share.end(end));
        }
    }

    /// What is undecided stays in the topic.
    fn let_go(&self) {
        std::mem::take(&mut self.store().held).into_values().for_each(HeldTrace::let_go);
    }
}

impl HeldTrace {
    fn let_go(self) {
        let shares = self.spans.into_iter().map(|(_, share)| share);
        shares.for_each(|share| share.end(ItemEnd::Dropped(Reason::SHUTDOWN, "left to the topic")));
    }
}

impl Consumer for Sampling {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            self.process.runs().await;
            self.take(payload);
            Ok(())
        })
    }
}

/// A process with a receiver and a sampler.
pub struct ModelSampler {
    process: Incarnation,
    sampling: Arc<Sampling>,
    held: Arc<HeldPartitions>,
    stop: watch::Sender<Option<Instant>>,
    last: watch::Sender<bool>,
    host: Arc<Host>,
    reading: tokio::task::JoinSet<()>,
}

impl ModelSampler {
    pub fn start(number: u64, cluster: &Cluster, book: &Book) -> ModelSampler {
        let process = Incarnation { number, state: Arc::default() };
        let host = Host::within(Outside::default(), Budget::unlimited());
        let (absences, store) = (host.absences.clone(), Mutex::default());
        let sampling = Arc::new(Sampling { process: process.clone(), book: book.clone(), absences, store });
        let outputs = Outputs::default();
        outputs.set(Signal::Traces, Some(sampling.clone()));
        let (stop, stopped) = watch::channel(None);
        let (last, is_last) = watch::channel(false);
        let lanes = Arc::new(LaneContext {
            path: format!("receivers::kafka/{number}"),
            settings: check::sound("receivers::kafka", BODY, config::check),
            outputs,
            host: host.clone(),
            counts: ReceiverCounts::new(&host.stats, "kafka"),
            stop: stopped,
            unreadable_line: Throttle::default(),
        });
        let held = HeldPartitions::new(lanes.clone());
        let status = host.status.teller("receivers::kafka");
        let mut reader = KafkaReader { cx: lanes, held: held.clone(), status, last: is_last, failing: None };
        let member = ModelMember::new(cluster, &process, held.clone());
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(async move {
            let read = reader.read(&member, &Pulse::default()).await;
            assert!(read.is_ok(), "the model's client never breaks");
            crate::kafka::client::seam::ConsumerMember::close(&member, Duration::ZERO).await;
        });
        let (deciding, runs) = (sampling.clone(), process.clone());
        reading.spawn(async move {
            loop {
                sleep(TICK).await;
                runs.runs().await;
                deciding.decide();
            }
        });
        debug_assert!(BODY.contains(TOPIC));
        ModelSampler { process, sampling, held, stop, last, host, reading }
    }

    pub fn stop_for(&self, time: Duration) {
        self.process.life().still_until = Some(Instant::now() + time);
    }

    /// Nothing of it happens any more; what it held is gone.
    pub fn kill(self) {
        self.process.life().is_dead = true;
    }

    /// As a stop of the gateway: nothing is read, what can settle does, the rest is the topic's.
    pub async fn drain(mut self, within: Duration) {
        self.process.runs().await;
        self.stop.send_replace(Some(Instant::now() + within));
        self.held.stop();
        self.held.idle(Instant::now() + Duration::from_secs(3)).await;
        sleep(TICK).await;
        self.sampling.let_go();
        self.last.send_replace(true);
        let ended = timeout(Duration::from_secs(20), self.reading.join_next()).await;
        assert!(ended.is_ok(), "the reader of sampler {} ends when all has settled", self.process.number);
        let sheet = self.host.balance.sheet(Signal::Traces);
        assert!(sheet.holds(0) && sheet.held == 0, "sampler {}: {sheet:?}", self.process.number);
    }
}
