//! Sending around a courier that does as it is told, on paused time: backoff, give-up, hopeless searches, panics.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::*;
use crate::core::balance::Sheet;
use crate::core::budget::{Budget, Ticket};
use crate::core::component::ComponentId;
use crate::core::origin::Origin;
use crate::core::payload::{Envelope, Group, ScopeGroup};
use crate::core::time::UnixNanos;
use crate::exporters::sending::backoff::RetrySettings;
use crate::exporters::sending::condition::Trouble;
use crate::exporters::sending::deliver::Answer;
use crate::exporters::sending::status::Fault;

/// What the next hop does; the last one is repeated.
#[derive(Clone, Copy, Debug)]
enum Act {
    Take,
    Later(Option<Duration>),
    RejectMessages,
    Hang,
    Panic,
}

#[derive(Clone)]
struct Told {
    acts: Arc<Mutex<VecDeque<Act>>>,
    attempts: Arc<Mutex<Vec<Instant>>>,
}

impl Courier for Told {
    fn send<'a>(&'a self, _: &'a Payload, deadline: Instant) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        self.attempts.lock().unwrap().push(Instant::now());
        let mut acts = self.acts.lock().unwrap();
        let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().copied() };
        drop(acts);
        let trouble = || Trouble { code: "X".to_owned(), message: "y".to_owned(), cure: None };
        Box::pin(async move {
            match act.expect("a script") {
                Act::Take => Answer::Taken { rejected: 0, message: String::new() },
                Act::Later(after) => Answer::Later { after, off_spec: false, trouble: trouble() },
                Act::RejectMessages => Answer::Never { fault: Fault::Message, trouble: trouble() },
                Act::Hang => {
                    tokio::time::sleep_until(deadline).await;
                    Answer::Later { after: None, off_spec: false, trouble: trouble() }
                }
                Act::Panic => panic!("a bug in the courier"),
            }
        })
    }

    fn working_bytes(&self, payload: &Payload) -> u64 {
        payload.items << 20
    }

    fn destination(&self) -> &str {
        "nowhere:1"
    }

    fn close(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Bench {
    host: Arc<Host>,
    sending: Sending,
    told: Told,
}

async fn bench(acts: &[Act], queue: Option<QueueSettings>) -> Bench {
    bench_within(Budget::unlimited(), acts, queue).await
}

async fn bench_within(budget: Arc<Budget>, acts: &[Act], queue: Option<QueueSettings>) -> Bench {
    let host = Host::new(budget);
    let id = ComponentId::parse("told").unwrap();
    let cx = BuildContext { id, path: "exporters::told".to_owned(), host: host.clone() };
    let told = Told { acts: Arc::new(Mutex::new(acts.iter().copied().collect())), attempts: Arc::default() };
    let settings = SendingSettings {
        timeout: Duration::from_secs(5),
        queue,
        retry: Some(RetrySettings::default()),
        request_bytes_max: 1 << 20,
    };
    let sending = Sending::new(cx, settings, Box::new(told.clone()));
    sending.start().await.unwrap();
    Bench { host, sending, told }
}

impl Bench {
    async fn send(&self, items: usize) -> Result<(), ConsumeError> {
        self.host.balance.received(Signal::Logs, items as u64);
        let scope = ScopeGroup { items: vec![Bytes::from_static(b"12"); items].into(), ..ScopeGroup::default() };
        let group = Group { scopes: vec![scope], ..Group::default() };
        let payload = Payload {
            signal: Signal::Logs,
            items: items as u64,
            envelope: Envelope { groups: vec![group], dictionary: None },
            origin: Arc::new(Origin::internal(UnixNanos(0))),
            ticket: Ticket::free(),
        };
        self.sending.consume(payload).await
    }

    /// Lets paused time run until nothing is held.
    async fn settled(&self) -> Sheet {
        while self.host.balance.sheet(Signal::Logs).held > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let sheet = self.host.balance.sheet(Signal::Logs);
        assert!(sheet.holds(0), "{sheet:?}");
        sheet
    }

    fn attempts(&self) -> usize {
        self.told.attempts.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn retries_end_after_the_time_allowed() {
    for act in [Act::Later(None), Act::Hang] {
        let bench = bench(&[act], Some(QueueSettings::default())).await;
        let start = Instant::now();
        bench.send(3).await.unwrap();
        assert_eq!(bench.settled().await.dropped["retries_exhausted"], 3);
        let took = start.elapsed().as_secs();
        assert!((250..=306).contains(&took), "{act:?}: {took} s");
        assert!((8..=40).contains(&bench.attempts()), "{act:?}: {} attempts", bench.attempts());
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_hint_delays_everything_and_loses_nothing() {
    let hint = Some(Duration::from_secs(86_400));
    let bench = bench(&[Act::Later(hint), Act::Take], Some(QueueSettings::default())).await;
    let start = Instant::now();
    bench.send(1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.send(1).await.unwrap();
    assert_eq!(bench.settled().await.delivered, 2);
    assert!((299..=302).contains(&start.elapsed().as_secs()), "bounded at five minutes: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_rejects_everything_is_searched_once_and_then_left_alone() {
    let bench = bench(&[Act::RejectMessages], Some(QueueSettings::default())).await;
    let start = Instant::now();
    for _ in 0..200 {
        bench.send(64).await.unwrap();
    }
    assert_eq!(bench.settled().await.dropped["permanent"], 200 * 64);
    // Those that began together search together; none after the first has ended in vain.
    assert!(bench.attempts() <= 200 + 10 * 8, "{} attempts", bench.attempts());
    assert!(start.elapsed() <= Duration::from_secs(9), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_delivery_costs_that_delivery_and_is_counted() {
    let bench = bench(&[Act::Panic, Act::Take], Some(QueueSettings::default())).await;
    bench.send(5).await.unwrap();
    bench.settled().await;
    bench.send(2).await.unwrap();
    let sheet = bench.settled().await;
    assert_eq!((sheet.dropped["internal"], sheet.delivered), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_drain_cuts_backoff_short_and_still_delivers_what_recovers() {
    let bench = bench(&[Act::Later(None), Act::Later(None), Act::Take], Some(QueueSettings::default())).await;
    let start = Instant::now();
    bench.send(4).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.sending.drain(start + Duration::from_secs(20)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.delivered == 4, "{sheet:?}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_peer_does_not_outlive_the_drain() {
    let bench = bench(&[Act::Hang], Some(QueueSettings { num_consumers: 1, ..QueueSettings::default() })).await;
    let start = Instant::now();
    for _ in 0..3 {
        bench.send(2).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.sending.drain(start + Duration::from_secs(2)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.dropped["shutdown"] == 6, "{sheet:?}");
    assert!(start.elapsed() <= Duration::from_secs(3), "{:?}", start.elapsed());
    bench.sending.drain(Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_next_hop_that_takes_nothing_costs_a_drain_four_seconds_and_not_its_deadline() {
    let bench = bench(&[Act::Hang], Some(QueueSettings { num_consumers: 1, ..QueueSettings::default() })).await;
    bench.send(2).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    bench.sending.drain(start + Duration::from_secs(20)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.dropped["shutdown"] == 2, "{sheet:?}");
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn draining_what_was_never_started_ends_its_items() {
    let host = Host::new(Budget::unlimited());
    let id = ComponentId::parse("told").unwrap();
    let cx = BuildContext { id, path: "exporters::told".to_owned(), host: host.clone() };
    let told = Told { acts: Arc::default(), attempts: Arc::default() };
    let settings = SendingSettings {
        timeout: Duration::from_secs(5),
        queue: Some(QueueSettings::default()),
        retry: None,
        request_bytes_max: 1 << 20,
    };
    let bench = Bench { host, sending: Sending::new(cx, settings, Box::new(told.clone())), told };
    bench.send(3).await.unwrap();
    bench.sending.drain(Instant::now()).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.dropped["shutdown"] == 3, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_larger_than_any_request_are_dropped_alone() {
    let bench = bench(&[Act::Take], Some(QueueSettings::default())).await;
    bench.host.balance.received(Signal::Logs, 3);
    let items = vec![Bytes::from_static(b"12"), Bytes::from(vec![0; 2 << 20]), Bytes::from_static(b"34")];
    let group = Group { scopes: vec![ScopeGroup { items: items.into(), ..ScopeGroup::default() }], ..Group::default() };
    let envelope = Envelope { groups: vec![group], dictionary: None };
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    let payload = Payload { signal: Signal::Logs, items: 3, envelope, origin, ticket: Ticket::free() };
    bench.sending.consume(payload).await.unwrap();
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped["too_large"]), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn without_memory_for_it_one_request_at_a_time_goes_out_and_none_is_lost() {
    let budget = Budget::new(1 << 20, 1 << 20);
    let bench = bench_within(budget.clone(), &[Act::Hang, Act::Take], Some(QueueSettings::default())).await;
    for _ in 0..5 {
        bench.send(2).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!((bench.attempts(), budget.used()), (1, 2 << 20), "the first hangs, the others wait for its memory");
    assert_eq!(bench.settled().await.delivered, 10);
    assert_eq!((budget.used(), budget.peak()), (0, 2 << 20));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_is_given_a_long_hint_on_instead_of_being_kept() {
    let hint = Some(Duration::from_secs(20));
    let bench = bench(&[Act::Later(hint), Act::Take], None).await;
    let start = Instant::now();
    for seconds in [0, 10] {
        tokio::time::sleep_until(start + Duration::from_secs(seconds)).await;
        let Err(ConsumeError::Refused { after, .. }) = bench.send(2).await else { panic!("not refused") };
        assert_eq!(after, Some(Duration::from_secs(20 - seconds)));
        assert_eq!((bench.attempts(), start.elapsed().as_secs()), (1, seconds), "nobody asked the next hop again");
    }
    tokio::time::sleep_until(start + Duration::from_secs(18)).await;
    bench.send(2).await.expect("two seconds are waited for");
    assert_eq!(start.elapsed().as_secs(), 20);
}
