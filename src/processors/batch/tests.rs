//! Senders wait for their batch and hear its outcome; what is merged is what was sent.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::core::data::balance::Sheet;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::data::settlement::{Loss, Receipt, Share};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::testing::stage::stage_context;

/// Remembers the sizes of what it took; refuses on demand, or whatever holds an item "bad".
#[derive(Default)]
struct Sink {
    taken: Mutex<Vec<u64>>,
    refuses: AtomicBool,
}

impl Consumer for Sink {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let bad = payload.envelope.items().any(|item| item == b"bad");
            if bad || self.refuses.load(Ordering::Relaxed) {
                return Err(ConsumeError::rejected(Reason::PERMANENT, "no"));
            }
            self.taken.lock().unwrap().push(payload.items);
            payload.share.end(ItemEnd::Delivered);
            Ok(())
        })
    }
}

struct Bench {
    host: Arc<Host>,
    sink: Arc<Sink>,
    stage: Arc<dyn Consumer>,
    component: Arc<dyn Component>,
}

async fn bench(rule: BatchLimits) -> Bench {
    let host = Host::new(Budget::unlimited());
    let sink = Arc::new(Sink::default());
    let cx = stage_context(&host, "processors::batch", Signal::Traces);
    let Stage::Consumer { consumer, component: Some(component) } =
        (Plan { rule, apart_by: [].into(), parts_max: 1 }).build(cx, sink.clone())
    else {
        panic!("batch is a stage of its own")
    };
    component.start().await.unwrap();
    Bench { host, sink, stage: consumer, component }
}

fn payload(host: &Host, items: &[&'static str]) -> (Receipt, Payload) {
    let items: Vec<Bytes> = items.iter().map(|item| Bytes::from_static(item.as_bytes())).collect();
    let scope = ScopeGroup { items: items.into(), ..ScopeGroup::default() };
    let payload = Payload {
        signal: Signal::Traces,
        items: scope.items.len() as u64,
        envelope: Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None },
        origin: Arc::new(Origin::internal(UnixNanos(0))),
        ticket: Ticket::free(),
        share: Share::none(),
    };
    payload.received(&host.balance)
}

impl Bench {
    /// Sends as a receiver does, and says what it heard and what went no further.
    async fn send(&self, items: &[&'static str]) -> (Result<(), ConsumeError>, Vec<Loss>) {
        let (receipt, payload) = payload(&self.host, items);
        let settlement = receipt.settlement().clone();
        let answer = self.stage.consume(payload).await;
        receipt.answer(answer.as_ref().copied());
        (answer, settlement.losses())
    }

    fn sheet(&self) -> Sheet {
        self.host.balance.sheet(Signal::Traces)
    }
}

const RULE: BatchLimits =
    BatchLimits { timeout: Duration::from_millis(200), send_batch_size: 4, send_batch_max_size: 5 };

#[tokio::test(start_paused = true)]
async fn senders_share_a_batch_and_its_outcome() {
    let bench = bench(RULE).await;
    for refuses in [false, true] {
        bench.sink.refuses.store(refuses, Ordering::Relaxed);
        let (first, second) = tokio::join!(bench.send(&["a", "b"]), bench.send(&["c", "d"]),);
        assert_eq!((first.0.is_err(), second.0.is_err()), (refuses, refuses));
    }
    assert_eq!(*bench.sink.taken.lock().unwrap(), [4]);
    let sheet = bench.sheet();
    assert!(sheet.holds(0) && sheet.delivered == 4 && sheet.dropped["permanent"] == 4, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lone_payload_waits_for_the_timeout_and_no_longer() {
    let bench = bench(RULE).await;
    let start = Instant::now();
    bench.send(&["a"]).await.0.unwrap();
    assert_eq!(start.elapsed().as_millis() / 10, 20);
}

#[tokio::test(start_paused = true)]
async fn a_payload_above_the_maximum_is_cut_and_a_failed_part_is_counted() {
    let bench = bench(RULE).await;
    let items = ["a", "b", "c", "d", "e", "f", "g", "bad", "i", "j", "k"];
    let (answer, losses) = bench.send(&items).await;
    answer.unwrap();
    assert_eq!(*bench.sink.taken.lock().unwrap(), [5, 1]);
    let sheet = bench.sheet();
    assert!(sheet.holds(0) && sheet.dropped["permanent"] == 5, "{sheet:?}");
    assert_eq!((losses.len(), losses[0].items), (1, 5), "{losses:?}");
    assert!(losses[0].words.ends_with("no"), "the sender hears the cause: {losses:?}");
}

#[tokio::test(start_paused = true)]
async fn draining_sends_what_waits_at_once() {
    let bench = bench(BatchLimits { timeout: Duration::from_secs(3600), ..RULE }).await;
    let start = Instant::now();
    let (outcome, ()) = tokio::join!(bench.send(&["a"]), async {
        tokio::task::yield_now().await;
        bench.component.drain(Instant::now() + Duration::from_secs(20)).await;
    });
    outcome.0.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "paused time: only the timeout could move it");
    bench.component.drain(Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn items_whose_sender_dropped_its_call_still_end_once() {
    let bench = bench(RULE).await;
    let gone = tokio::time::timeout(Duration::from_millis(10), bench.send(&["a"]));
    assert!(gone.await.is_err());
    assert_eq!(bench.sheet().held, 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sheet = bench.sheet();
    assert!(sheet.holds(0) && sheet.delivered == 1, "{sheet:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_abandoned_before_its_batch_left_is_refused_and_not_sent() {
    let bench = bench(RULE).await;
    let (receipt, payload) = payload(&bench.host, &["a"]);
    receipt.settlement().abandon();
    let (answer, (other, _)) = tokio::join!(bench.stage.consume(payload), bench.send(&["b"]));
    other.unwrap();
    receipt.answer(answer.as_ref().copied());
    assert_eq!(*bench.sink.taken.lock().unwrap(), [1]);
    let sheet = bench.sheet();
    assert!(sheet.holds(0) && (sheet.delivered, sheet.refused) == (1, 1), "{sheet:?}");
}
