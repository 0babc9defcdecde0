//! An hour without the next hop, in paused time: a queue whose log has room takes everything, holds little of it in memory,
//! and catches up behind live data. The log is a double that keeps payloads as bytes and gives them back.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use podgate::core::data::settlement::{ItemEnd, ItemRecord, Settlement, Share};
use podgate::core::error::{ConsumeError, StartError};
use podgate::core::stage::component::{Component, ComponentId, Task};
use podgate::core::stage::consumer::Consumer;
use podgate::core::stage::durable::{DurableLog, LogEntry, Taker};
use podgate::core::stage::factory::BuildContext;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope::{decode, encode};
use podgate::sending::Sending;
use podgate::sending::backoff::RetrySettings;
use podgate::sending::config::{QueueSettings, SendingSettings};
use podgate::sending::deliver::{RequestTransport, SendAnswer};
use podgate::sending::report::condition::Trouble;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// A request of 500 spans of some 200 bytes, ten times a second.
const ITEMS: u64 = 500;
const BYTES: u64 = 100_000;
const EVERY: Duration = Duration::from_millis(100);

/// The log's double.
struct Shelf {
    host: Arc<Host>,
    takers: Mutex<Vec<Taker>>,
    parked: Mutex<VecDeque<Bytes>>,
    more: Notify,
    /// The most that it ever held.
    most: Mutex<usize>,
}

/// Gives its place back with its last item.
#[derive(Debug)]
struct Place(#[allow(dead_code)] Option<tokio::sync::OwnedSemaphorePermit>);

impl ItemRecord for Place {
    fn ended(&self, _: u32, _: u32, _: ItemEnd<'_>) {}
}

impl DurableLog for Shelf {
    fn open(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn stop(&self) {}
    fn append<'a>(&'a self, _: LogEntry<'a>) -> Task<'a, Result<Arc<dyn ItemRecord>, ConsumeError>> {
        Box::pin(std::future::ready(Ok(Arc::new(Place(None)) as Arc<dyn ItemRecord>)))
    }
    fn park<'a>(&'a self, entry: LogEntry<'a>) -> Task<'a, Result<(), ConsumeError>> {
        let mut parked = self.parked.lock().expect("no panic");
        parked.push_back(encode(entry.envelope));
        let mut most = self.most.lock().expect("no panic");
        *most = most.max(parked.len());
        self.more.notify_one();
        Box::pin(std::future::ready(Ok(())))
    }
    fn verdicts<'a>(&'a self, _: &'a str, _: UnixNanos, _: Bytes) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn recover(&self, takers: Vec<Taker>) -> Task<'_, ()> {
        *self.takers.lock().expect("no panic") = takers;
        Box::pin(std::future::ready(()))
    }
    fn trouble(&self) -> Option<String> {
        None
    }
    fn close(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Shelf {
    /// Gives back what is parked, in its order.
    async fn give_back(self: Arc<Shelf>, taker: Taker) {
        let places = Arc::new(Semaphore::new(taker.at_once.expect("a queue says how many")));
        loop {
            let Some(bytes) = self.parked.lock().expect("no panic").pop_front() else {
                self.more.notified().await;
                continue;
            };
            let place = places.clone().acquire_owned().await.expect("never closed");
            let ticket = loop {
                match self.host.budget.take(BYTES) {
                    Ok(ticket) => break ticket,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            };
            let payload = payload(decode(bytes).expect("a request"), ticket);
            let record = Arc::new(Place(Some(place)));
            let left = [(0, ITEMS as u32)];
            let (receipt, mut share) = Settlement::read_back(&self.host.balance, Signal::Traces, record, &left);
            loop {
                let (loan, mut lent) = share.lend(1);
                let attempt = Payload { share: lent.pop().expect("one"), ..payload.copy() };
                match taker.next.consume(attempt).await {
                    Ok(()) => break loan.accept(),
                    Err(error) => share = loan.take_back(0, error.reason()),
                }
                sleep(Duration::from_millis(50)).await;
            }
            receipt.answer(Ok(()));
        }
    }
}

fn payload(envelope: Envelope, ticket: Ticket) -> Payload {
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    Payload { signal: Signal::Traces, envelope, items: ITEMS, origin, ticket, share: Share::none() }
}

/// A next hop that is down, or takes 40 requests a second by ten at a time.
#[derive(Clone, Default)]
struct NextHop {
    is_up: Arc<AtomicBool>,
    seen: Arc<Mutex<HashMap<u64, (u32, Instant)>>>,
}

impl RequestTransport for NextHop {
    fn send<'a>(&'a self, payload: &'a Payload, _: Instant) -> Pin<Box<dyn Future<Output = SendAnswer> + Send + 'a>> {
        Box::pin(async move {
            if !self.is_up.load(Ordering::Relaxed) {
                let trouble = Trouble { code: "down".to_owned(), message: "nobody listens".to_owned(), cure: None };
                return SendAnswer::Later { after: None, off_spec: false, trouble };
            }
            sleep(Duration::from_millis(250)).await;
            let first = payload.envelope.items().next().expect("an item");
            let number = u64::from_be_bytes(first[..8].try_into().expect("a number"));
            let mut seen = self.seen.lock().expect("no panic");
            seen.entry(number).or_insert((0, Instant::now())).0 += 1;
            SendAnswer::Taken { rejected: 0, message: String::new() }
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

/// Request `number` enters as a receiver lets it in.
async fn send(host: &Arc<Host>, sending: &Sending, number: u64) {
    let mut items = vec![Bytes::copy_from_slice(&number.to_be_bytes())];
    items.resize(ITEMS as usize, Bytes::from_static(b"12345678"));
    let scope = ScopeGroup { items: items.into(), ..ScopeGroup::default() };
    let envelope = Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None };
    let ticket = host.budget.take(BYTES).expect("a receiver finds memory, however long the outage");
    let (receipt, payload) = payload(envelope, ticket).received(&host.balance);
    let answer = sending.consume(payload).await;
    assert_eq!(answer, Ok(()), "taken as long as the log has room");
    receipt.answer(Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_next_hop_costs_no_memory_and_is_made_up_for_behind_live_data() {
    let (hour, hard) = (36_000, 64 << 20);
    let host = Host::new(Budget::new(hard, hard / 10 * 8));
    let shelf = Arc::new(Shelf {
        host: host.clone(),
        takers: Mutex::default(),
        parked: Mutex::default(),
        more: Notify::new(),
        most: Mutex::default(),
    });
    host.logs.add("file_storage", shelf.clone());
    let cx = BuildContext {
        id: ComponentId::parse("told").expect("an id"),
        path: "exporters::told".to_owned(),
        host: host.clone(),
    };
    let hop = NextHop::default();
    let queue = QueueSettings { storage: Some("file_storage".to_owned()), ..QueueSettings::default() };
    let settings = SendingSettings {
        timeout: Duration::from_secs(5),
        queue: Some(queue),
        retry: Some(RetrySettings { max_elapsed_time: Duration::ZERO, ..RetrySettings::default() }),
        request_bytes_max: 64 << 20,
    };
    let sending = Sending::new(cx, settings, Box::new(hop.clone()));
    sending.start().await.expect("started");
    host.logs.recover().await;
    let taker = shelf.takers.lock().expect("no panic").pop().expect("the queue registered");
    let mut reader = JoinSet::new();
    reader.spawn(shelf.clone().give_back(taker));
    for number in 0..hour {
        send(&host, &sending, number).await;
        sleep(EVERY).await;
    }
    let (peak, parked) = (host.budget.peak(), *shelf.most.lock().expect("no panic") as u64);
    assert!(peak <= hard / 10 * 8 / 2, "memory is bounded: {peak} of {hard}");
    assert!(parked * BYTES > 50 * hard, "the log held many times what memory may: {parked} requests");
    hop.is_up.store(true, Ordering::Relaxed);
    let (up, mut number, mut sent) = (Instant::now(), hour, HashMap::new());
    while hop.seen.lock().expect("no panic").len() < number as usize {
        sent.insert(number, Instant::now());
        send(&host, &sending, number).await;
        number += 1;
        sleep(EVERY).await;
        assert!(up.elapsed() < Duration::from_secs(3_600), "it never catches up");
        if host.balance.sheet(Signal::Traces).on_disk == 0 && up.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    let caught_up = up.elapsed();
    sleep(Duration::from_secs(60)).await;
    reader.abort_all();
    let seen = hop.seen.lock().expect("no panic").clone();
    assert_eq!(seen.len() as u64, number, "all of them arrived");
    assert!(seen.values().all(|(times, _)| *times == 1), "and none twice");
    // The first back-off after the outage is up to 30 s; behind it live data passes what waits on disk.
    let late = |(number, sent): (&u64, &Instant)| {
        (sent.duration_since(up) > Duration::from_secs(60)).then(|| seen[number].1 - *sent)
    };
    let slowest = sent.iter().filter_map(late).max().expect("some");
    assert!(slowest < Duration::from_secs(60), "live data waited {slowest:?}");
    assert!(caught_up < Duration::from_secs(1_800), "36,000 requests at 30 a second beside live ones: {caught_up:?}");
    assert!(host.balance.sheet(Signal::Traces).holds(0), "{:?}", host.balance.sheet(Signal::Traces));
    eprintln!("caught up after {caught_up:?}, live data within {slowest:?}, {peak} bytes at most");
}
