//! A medium that fails or hangs is a state, a refusal that can be repeated, and no trouble for anybody else.

use std::io;
use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::payload::Envelope;
use crate::core::data::settlement::Share;
use crate::core::report::status::State;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;

/// Does what it is told for each payload; without an order it hangs.
struct Told(Receiver<io::Result<u64>>);

impl Scribe for Told {
    fn write(&mut self, _: &Payload) -> Result<u64, Unwritten> {
        Ok(self.0.recv().unwrap_or_else(|_| Err(ErrorKind::Other.into()))?)
    }
}

fn writer() -> (Arc<Host>, Arc<Writer>, SyncSender<io::Result<u64>>) {
    let host = Host::new(Budget::unlimited());
    let id = ComponentId::parse("file").unwrap();
    let cx = BuildContext { id, path: "exporters::file".to_owned(), host: host.clone() };
    let writer = Arc::new(Writer::new(cx, "/full/otlp.jsonl".to_owned()));
    let (orders, told) = sync_channel(64);
    writer.start(Box::new(Told(told)));
    (host, writer, orders)
}

fn payload(host: &Host) -> Payload {
    let (envelope, ticket) = (Envelope { groups: Vec::new(), dictionary: None }, Ticket::free());
    let (origin, share) = (Arc::new(Origin::internal(UnixNanos(0))), Share::none());
    let payload = Payload { signal: Signal::Logs, items: 2, envelope, origin, ticket, share };
    let (receipt, payload) = payload.received(&host.balance);
    // Never answered: what comes back stays with the caller.
    std::mem::forget(receipt);
    payload
}

fn state(host: &Host) -> (State, String) {
    let report = host.status.all()["exporters::file"].clone();
    (report.state, report.message)
}

#[tokio::test]
async fn a_full_disk_is_a_state_with_its_cure_and_a_refusal_that_can_be_repeated() {
    let (host, writer, orders) = writer();
    orders.send(Err(ErrorKind::StorageFull.into())).unwrap();
    let refused = writer.consume(payload(&host)).await.unwrap_err();
    assert!(matches!(refused, ConsumeError::Refused { after: Some(_), .. }), "{refused}");
    assert!(refused.to_string().contains("/full/otlp.jsonl"), "{refused}");
    // The line and the state come when the turn is over.
    while !host.status.all().contains_key("exporters::file") {
        tokio::task::yield_now().await;
    }
    let (degraded, why) = state(&host);
    assert!(degraded == State::Degraded && why.contains("free space"), "{why}");
    orders.send(Ok(1)).unwrap();
    writer.consume(payload(&host)).await.unwrap();
    while state(&host).0 != State::Ok {
        tokio::task::yield_now().await;
    }
    let sheet = host.balance.sheet(Signal::Logs);
    assert_eq!(
        (sheet.delivered, sheet.dropped["malformed"], sheet.held),
        (1, 1, 2),
        "the refused two are the caller's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_medium_that_hangs_stops_its_exporter_alone() {
    let (host, writer, orders) = writer();
    let consume = |writer: &Arc<Writer>| {
        let (writer, payload) = (writer.clone(), payload(&host));
        async move { writer.consume(payload).await }
    };
    let mut first = Box::pin(consume(&writer));
    let mut behind = Box::pin(consume(&writer));
    assert!(futures_util::poll!(&mut first).is_pending() && futures_util::poll!(&mut behind).is_pending());
    // The clock stands still while the thread is busy: this worker turns freely and moves it by hand.
    for _ in 0..100 {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!(first.await.unwrap_err().is_retryable() && behind.await.unwrap_err().is_retryable());
    let (degraded, why) = state(&host);
    assert!(degraded == State::Degraded && why.contains("not returned for 5 s"), "{why}");
    assert!(host.tasks.slowest().is_some_and(|(_, age)| age <= Pulse::INTERVAL), "liveness is not the disk's");
    let at_once = futures_util::poll!(Box::pin(consume(&writer)));
    assert!(
        matches!(at_once, std::task::Poll::Ready(Err(ref refused)) if refused.is_retryable()),
        "nobody waits twice"
    );
    // It comes back: the one behind was refused and is not written.
    orders.send(Ok(0)).unwrap();
    while writer.hangs.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    orders.send(Ok(0)).unwrap();
    writer.consume(payload(&host)).await.unwrap();
    assert_eq!(host.balance.sheet(Signal::Logs).delivered, 2);
    writer.drain(Instant::now() + Duration::from_secs(20)).await;
    assert!(writer.consume(payload(&host)).await.unwrap_err().is_retryable(), "after the drain it refuses");
}
