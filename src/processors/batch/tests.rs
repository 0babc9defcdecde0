//! Senders wait for their batch and hear its outcome; what is merged is what was sent.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::core::budget::{Budget, Ticket};
use crate::core::component::ComponentId;
use crate::core::factory::BuildContext;
use crate::core::host::Host;
use crate::core::origin::Origin;
use crate::core::payload::{Envelope, Group, ScopeGroup};
use crate::core::time::UnixNanos;

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

async fn bench(rule: Rule) -> Bench {
    let host = Host::new(Budget::unlimited());
    let sink = Arc::new(Sink::default());
    let id = ComponentId::parse("batch").unwrap();
    let build = BuildContext { id, path: "processors::batch".to_owned(), host: host.clone() };
    let cx = StageContext {
        build,
        signal: Signal::Traces,
        pipeline: "traces".to_owned(),
        exporters: Vec::new(),
        bound_late: false,
        late_binding: Arc::default(),
    };
    let Stage::Consumer { consumer, component: Some(component) } = (Plan { rule }).build(cx, sink.clone()) else {
        panic!("batch is a stage of its own")
    };
    component.start().await.unwrap();
    Bench { host, sink, stage: consumer, component }
}

fn payload(host: &Host, items: &[&'static str]) -> Payload {
    host.balance.received(Signal::Traces, items.len() as u64);
    let items: Vec<Bytes> = items.iter().map(|item| Bytes::from_static(item.as_bytes())).collect();
    let scope = ScopeGroup { items: items.into(), ..ScopeGroup::default() };
    Payload {
        signal: Signal::Traces,
        items: scope.items.len() as u64,
        envelope: Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None },
        origin: Arc::new(Origin::internal(UnixNanos(0))),
        ticket: Ticket::free(),
    }
}

const RULE: Rule = Rule { timeout: Duration::from_millis(200), send_batch_size: 4, send_batch_max_size: 5 };

#[tokio::test(start_paused = true)]
async fn senders_share_a_batch_and_its_outcome() {
    let bench = bench(RULE).await;
    for refuses in [false, true] {
        bench.sink.refuses.store(refuses, Ordering::Relaxed);
        let (first, second) = tokio::join!(
            bench.stage.consume(payload(&bench.host, &["a", "b"])),
            bench.stage.consume(payload(&bench.host, &["c", "d"])),
        );
        assert_eq!((first.is_err(), second.is_err()), (refuses, refuses));
    }
    assert_eq!(*bench.sink.taken.lock().unwrap(), [4]);
    assert_eq!(bench.host.balance.sheet(Signal::Traces).dropped_total(), 0, "errors go up uncounted");
}

#[tokio::test(start_paused = true)]
async fn a_lone_payload_waits_for_the_timeout_and_no_longer() {
    let bench = bench(RULE).await;
    let start = Instant::now();
    bench.stage.consume(payload(&bench.host, &["a"])).await.unwrap();
    assert_eq!(start.elapsed().as_millis() / 10, 20);
}

#[tokio::test(start_paused = true)]
async fn a_payload_above_the_maximum_is_cut_and_a_failed_part_is_counted() {
    let bench = bench(RULE).await;
    let items = ["a", "b", "c", "d", "e", "f", "g", "bad", "i", "j", "k"];
    let sent = payload(&bench.host, &items);
    let origin = sent.origin.clone();
    bench.stage.consume(sent).await.unwrap();
    assert_eq!(*bench.sink.taken.lock().unwrap(), [5, 1]);
    let sheet = bench.host.balance.sheet(Signal::Traces);
    assert_eq!((sheet.dropped["permanent"], origin.rejected_items()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn draining_sends_what_waits_at_once() {
    let bench = bench(Rule { timeout: Duration::from_secs(3600), ..RULE }).await;
    let start = Instant::now();
    let (outcome, ()) = tokio::join!(bench.stage.consume(payload(&bench.host, &["a"])), async {
        tokio::task::yield_now().await;
        bench.component.drain(Instant::now() + Duration::from_secs(20)).await;
    });
    outcome.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "paused time: only the timeout could move it");
    bench.component.drain(Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_dropped_its_call_answers_for_its_items_alone() {
    let bench = bench(RULE).await;
    let gone = tokio::time::timeout(Duration::from_millis(10), bench.stage.consume(payload(&bench.host, &["a"])));
    assert!(gone.await.is_err());
    bench.host.balance.dropped(Signal::Traces, Reason::INTERNAL, 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.sink.taken.lock().unwrap().is_empty(), "what was given up is not sent");
    assert!(bench.host.balance.sheet(Signal::Traces).holds(0));
}
