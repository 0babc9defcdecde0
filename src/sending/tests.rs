//! Sending around a transport that does as it is told, on paused time: backoff, give-up, hopeless searches, panics.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::*;
use crate::core::data::balance::Sheet;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::data::settlement::{Receipt, Share};
use crate::core::stage::component::ComponentId;
use crate::core::time::UnixNanos;
use crate::sending::backoff::RetrySettings;
use crate::sending::deliver::SendAnswer;
use crate::sending::outcome::answer::AnswerFault;
use crate::sending::report::condition::Trouble;

/// What the next hop does; the last one is repeated.
#[derive(Clone, Copy, Debug)]
enum Act {
    Take,
    Later(Option<Duration>),
    RejectMessages,
    Hang,
    /// Takes it after so long.
    Slow(Duration),
    Panic,
}

#[derive(Clone)]
struct Told {
    acts: Arc<Mutex<VecDeque<Act>>>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    /// How long a connection takes to come up.
    connects_in: Duration,
}

impl RequestTransport for Told {
    fn send<'a>(&'a self, _: &'a Payload, deadline: Instant) -> Pin<Box<dyn Future<Output = SendAnswer> + Send + 'a>> {
        self.attempts.lock().unwrap().push(Instant::now());
        let mut acts = self.acts.lock().unwrap();
        let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().copied() };
        drop(acts);
        let trouble = || Trouble { code: "X".to_owned(), message: "y".to_owned(), cure: None };
        Box::pin(async move {
            match act.expect("a script") {
                Act::Take => SendAnswer::Taken { rejected: 0, message: String::new() },
                Act::Later(after) => SendAnswer::Later { after, off_spec: false, trouble: trouble() },
                Act::RejectMessages => SendAnswer::Never { fault: AnswerFault::Message, trouble: trouble() },
                Act::Hang => {
                    tokio::time::sleep_until(deadline).await;
                    SendAnswer::Later { after: None, off_spec: false, trouble: trouble() }
                }
                Act::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    SendAnswer::Taken { rejected: 0, message: String::new() }
                }
                Act::Panic => panic!("a bug in the transport"),
            }
        })
    }

    fn is_ready(&self, _: Signal) -> bool {
        self.connects_in.is_zero()
    }

    fn ready(&self, _: Signal, deadline: Instant) -> Task<'_, ()> {
        Box::pin(tokio::time::sleep_until(deadline.min(Instant::now() + self.connects_in)))
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
    bench_with(budget, acts, queue, Duration::from_secs(5)).await
}

async fn bench_with(budget: Arc<Budget>, acts: &[Act], queue: Option<QueueSettings>, timeout: Duration) -> Bench {
    bench_that_connects(Host::new(budget), Duration::ZERO, acts, (queue, timeout)).await
}

async fn bench_that_connects(
    host: Arc<Host>,
    connects_in: Duration,
    acts: &[Act],
    (queue, timeout): (Option<QueueSettings>, Duration),
) -> Bench {
    let id = ComponentId::parse("told").unwrap();
    let cx = BuildContext { id, path: "exporters::told".to_owned(), host: host.clone() };
    let acts = Arc::new(Mutex::new(acts.iter().copied().collect()));
    let told = Told { acts, attempts: Arc::default(), connects_in };
    let settings =
        SendingSettings { timeout, queue, retry: Some(RetrySettings::default()), request_bytes_max: 1 << 20 };
    let sending = Sending::new(cx, settings, Box::new(told.clone()));
    sending.start().await.unwrap();
    Bench { host, sending, told }
}

impl Bench {
    async fn send(&self, items: usize) -> Result<(), ConsumeError> {
        let (receipt, payload) = self.payload(items);
        let answer = self.sending.consume(payload).await;
        receipt.answer(answer.as_ref().copied());
        answer
    }

    fn payload(&self, items: usize) -> (Receipt, Payload) {
        let scope = ScopeGroup { items: vec![Bytes::from_static(b"12"); items].into(), ..ScopeGroup::default() };
        let group = Group { scopes: vec![scope], ..Group::default() };
        let payload = Payload {
            signal: Signal::Logs,
            items: items as u64,
            envelope: Envelope { groups: vec![group], dictionary: None },
            origin: Arc::new(Origin::internal(UnixNanos(0))),
            ticket: Ticket::free(),
            share: Share::none(),
        };
        payload.received(&self.host.balance)
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
async fn a_hanging_next_hop_costs_a_drain_its_timeout_and_not_its_deadline() {
    for (seconds, most) in [(1, 3), (5, 5), (10, 10)] {
        let queue = Some(QueueSettings { num_consumers: 1, ..QueueSettings::default() });
        let bench = bench_with(Budget::unlimited(), &[Act::Hang], queue, Duration::from_secs(seconds)).await;
        bench.send(2).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let start = Instant::now();
        bench.sending.drain(start + Duration::from_secs(20)).await;
        let sheet = bench.host.balance.sheet(Signal::Logs);
        assert!(sheet.holds(0) && sheet.dropped["shutdown"] == 2, "{sheet:?}");
        assert!(start.elapsed() <= Duration::from_secs(most + 1), "timeout {seconds} s: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_next_hop_that_refuses_at_once_costs_a_drain_three_seconds_whatever_its_timeout() {
    let queue = Some(QueueSettings::default());
    let bench = bench_with(Budget::unlimited(), &[Act::Later(None)], queue, Duration::from_secs(90)).await;
    bench.send(2).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    bench.sending.drain(start + Duration::from_secs(20)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.dropped["shutdown"] == 2, "{sheet:?}");
    assert!(start.elapsed() <= Duration::from_secs(4), "{:?}", start.elapsed());
}

/// B5 of the review: thirty acknowledged items, a next hop that needs four seconds for each request.
#[tokio::test(start_paused = true)]
async fn a_drain_loses_nothing_to_a_next_hop_that_answers_slowly_but_within_its_timeout() {
    let acts = [Act::Slow(Duration::from_secs(4))];
    let queue = Some(QueueSettings::default());
    let bench = bench_with(Budget::unlimited(), &acts, queue, Duration::from_secs(10)).await;
    for _ in 0..30 {
        bench.send(1).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let start = Instant::now();
    bench.sending.drain(start + Duration::from_secs(20)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.delivered == 30, "{sheet:?}");
    assert!(start.elapsed() <= Duration::from_secs(13), "three rounds of four seconds: {:?}", start.elapsed());
}

/// B7 of the review: the next hop is down, and callers give up after a second.
#[tokio::test(start_paused = true)]
async fn an_abandoned_call_ends_as_refused_between_two_attempts() {
    let bench = bench(&[Act::Later(None), Act::Take], None).await;
    let (receipt, payload) = bench.payload(3);
    let start = Instant::now();
    let leaves = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        receipt.settlement().abandon();
    };
    let (answer, ()) = tokio::join!(bench.sending.consume(payload), leaves);
    assert_eq!((bench.attempts(), start.elapsed()), (1, Duration::from_secs(1)), "ended at once, nothing sent again");
    assert!(answer.as_ref().is_err_and(|error| error.is_retryable()));
    receipt.answer(answer.as_ref().copied());
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.refused == 3, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_that_waits_for_a_connection_ends_at_once_and_nothing_of_it_is_sent() {
    let host = Host::new(Budget::unlimited());
    let second = Duration::from_secs(1);
    let bench = bench_that_connects(host, 3 * second, &[Act::Take], (None, 10 * second)).await;
    let (receipt, payload) = bench.payload(1);
    let (begun, settlement) = (Instant::now(), receipt.settlement().clone());
    let leave = async {
        tokio::time::sleep(second).await;
        settlement.abandon();
    };
    let (answer, ()) = tokio::join!(bench.sending.consume(payload), leave);
    assert_eq!(answer.as_ref().map_err(ConsumeError::reason), Err(Reason::ABANDONED));
    receipt.answer(answer.as_ref().copied());
    assert_eq!((begun.elapsed(), bench.told.attempts.lock().unwrap().len()), (second, 0));
    bench.send(1).await.expect("whoever waits gets the connection");
    assert_eq!((begun.elapsed(), bench.told.attempts.lock().unwrap().len()), (4 * second, 1));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_call_on_the_wire_runs_to_its_end() {
    let bench = bench(&[Act::Slow(Duration::from_secs(4))], None).await;
    let (receipt, payload) = bench.payload(3);
    receipt.settlement().abandon();
    assert!(bench.sending.consume(payload).await.is_err(), "abandoned before it was sent");
    let (second, payload) = bench.payload(2);
    let leaves = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        second.settlement().abandon();
    };
    let (answer, ()) = tokio::join!(bench.sending.consume(payload), leaves);
    assert_eq!((answer, bench.attempts()), (Ok(()), 1));
    receipt.answer(Err(&ConsumeError::refused(Reason::ABANDONED, "")));
    second.answer(Ok(()));
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && (sheet.refused, sheet.delivered) == (3, 2), "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_abandoned_in_the_queue_is_not_sent() {
    let queue = QueueSettings { num_consumers: 1, wait_for_result: true, ..QueueSettings::default() };
    let bench = bench(&[Act::Slow(Duration::from_secs(2)), Act::Take], Some(queue)).await;
    let (receipt, payload) = bench.payload(3);
    let waits = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        receipt.settlement().abandon();
        bench.sending.consume(payload).await
    };
    let (first, second) = tokio::join!(bench.send(1), waits);
    assert_eq!((first, bench.attempts()), (Ok(()), 1));
    receipt.answer(second.as_ref().copied());
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && (sheet.delivered, sheet.refused) == (1, 3), "{sheet:?}");
}

/// A request that was held for its container's run until its sender gave up is the queue's from then on.
#[tokio::test(start_paused = true)]
async fn what_a_queue_has_answered_for_is_sent_though_its_sender_went_away() {
    let bench = bench(&[Act::Later(None), Act::Take], Some(QueueSettings::default())).await;
    let (receipt, payload) = bench.payload(3);
    receipt.settlement().abandon();
    let answer = bench.sending.consume(payload).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((answer, bench.attempts()), (Ok(()), 1), "sent before the answer was written down");
    receipt.answer(Ok(()));
    bench.sending.drain(Instant::now() + Duration::from_secs(60)).await;
    let sheet = bench.host.balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.delivered == 3, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn draining_what_was_never_started_ends_its_items() {
    let host = Host::new(Budget::unlimited());
    let id = ComponentId::parse("told").unwrap();
    let cx = BuildContext { id, path: "exporters::told".to_owned(), host: host.clone() };
    let told = Told { acts: Arc::default(), attempts: Arc::default(), connects_in: Duration::ZERO };
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
    let items = vec![Bytes::from_static(b"12"), Bytes::from(vec![0; 2 << 20]), Bytes::from_static(b"34")];
    let group = Group { scopes: vec![ScopeGroup { items: items.into(), ..ScopeGroup::default() }], ..Group::default() };
    let envelope = Envelope { groups: vec![group], dictionary: None };
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    let (signal, ticket, share) = (Signal::Logs, Ticket::free(), Share::none());
    let payload = Payload { signal, items: 3, envelope, origin, ticket, share };
    let (receipt, payload) = payload.received(&bench.host.balance);
    bench.sending.consume(payload).await.unwrap();
    receipt.answer(Ok(()));
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
