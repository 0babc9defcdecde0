//! A sampler in front of a log on disk: one that cannot write, over which what is held is decided and handed on all the
//! same; and one that gives back what an earlier process left, which is decided as that process would have.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::binding::Later;
use podgate::core::data::budget::Budget;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::{ItemEnd, ItemRecord, Settlement};
use podgate::core::error::{ConsumeError, Reason, StartError};
use podgate::core::stage::component::Task;
use podgate::core::stage::durable::{DurableLog, LogEntry, Taker};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use prost::Message;
use serde_json::json;

use crate::rig::Rig;
use crate::spans::{failed, hex, request, span};

/// Takes records always, and verdicts while it is not full.
#[derive(Debug, Default)]
struct FullDisk {
    is_full: AtomicBool,
    refused: Mutex<u64>,
    /// Verdicts that are on disk, by 25 bytes each.
    verdicts: Mutex<usize>,
}

#[derive(Debug)]
struct Ends;

impl ItemRecord for Ends {
    fn ended(&self, _: u32, _: u32, _: ItemEnd<'_>) {}
}

impl DurableLog for FullDisk {
    fn open(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn stop(&self) {}
    fn append<'a>(&'a self, _: LogEntry<'a>) -> Task<'a, Result<Arc<dyn ItemRecord>, ConsumeError>> {
        Box::pin(std::future::ready(Ok(Arc::new(Ends) as Arc<dyn ItemRecord>)))
    }
    fn park<'a>(&'a self, _: LogEntry<'a>) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn verdicts<'a>(&'a self, _: &'a str, _: UnixNanos, body: Bytes) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            if self.is_full.load(Ordering::Relaxed) {
                *self.refused.lock().expect("no panic") += 1;
                return Err(ConsumeError::refused(Reason::UNAVAILABLE, "no space left"));
            }
            *self.verdicts.lock().expect("no panic") += (body.len() - 1) / 25;
            Ok(())
        })
    }
    fn recover(&self, _: Vec<Taker>) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn trouble(&self) -> Option<String> {
        None
    }
    fn close(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_traces_are_decided_and_their_verdicts_logged_when_there_is_room() {
    let host = Host::new(Budget::new(1 << 30, 1 << 29));
    let disk = Arc::new(FullDisk::default());
    host.logs.add("file_storage", disk.clone());
    host.logs.used_by("exporters::end", "file_storage");
    let config = json!({"decision_wait": "1s", "policies": [{"name": "all", "type": "always_sample"}]});
    let rig = Rig::start_in(host, "tail_sampling", &config, Later::default()).await;
    disk.is_full.store(true, Ordering::Relaxed);
    for number in 1..=3 {
        rig.send(&request(vec![span(number, 1)])).await.expect("taken");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(rig.sink.by_trace().len(), 3, "what is held is what makes room");
    assert!(*disk.refused.lock().expect("no panic") > 0, "the log was asked");
    assert_eq!(*disk.verdicts.lock().expect("no panic"), 0);
    disk.is_full.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*disk.verdicts.lock().expect("no panic"), 3, "a restart knows them again");
    rig.drain().await;
}

/// What an earlier process left: requests, and how many milliseconds ago they came.
#[derive(Default)]
struct LeftBehind(Mutex<Vec<(u64, ExportTraceServiceRequest)>>);

impl LeftBehind {
    async fn hand_out(&self, takers: Vec<Taker>) {
        let left = std::mem::take(&mut *self.0.lock().expect("no panic"));
        let taker = takers.first().expect("the sampler");
        let remember = taker.remember.as_ref().expect("it logs verdicts");
        remember.returning(true).await;
        let host = Host::new(Budget::unlimited());
        for (ago, request) in left {
            let envelope = envelope::decode(Bytes::from(request.encode_to_vec())).expect("a request");
            let items = envelope.messages() as u64;
            let arrived = UnixNanos::now().saturating_sub(Duration::from_millis(ago));
            let record = Arc::new(Ends);
            let (receipt, share) = Settlement::recover(&host.balance, Signal::Traces, record, &[(0, items as u32)]);
            let ticket = host.budget.take(1_000).expect("room");
            let origin = Arc::new(Origin::internal(arrived));
            let payload = Payload { signal: Signal::Traces, envelope, items, origin, ticket, share };
            taker.next.consume(payload).await.expect("taken");
            receipt.answer(Ok(()));
        }
        remember.returning(false).await;
    }
}

impl DurableLog for LeftBehind {
    fn open(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn stop(&self) {}
    fn append<'a>(&'a self, _: LogEntry<'a>) -> Task<'a, Result<Arc<dyn ItemRecord>, ConsumeError>> {
        Box::pin(std::future::ready(Ok(Arc::new(Ends) as Arc<dyn ItemRecord>)))
    }
    fn park<'a>(&'a self, _: LogEntry<'a>) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn verdicts<'a>(&'a self, _: &'a str, _: UnixNanos, _: Bytes) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn recover(&self, takers: Vec<Taker>) -> Task<'_, ()> {
        Box::pin(self.hand_out(takers))
    }
    fn trouble(&self) -> Option<String> {
        None
    }
    fn close(&self) -> Task<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_is_decided_by_the_time_at_which_it_had_arrived() {
    let host = Host::new(Budget::new(1 << 30, 1 << 29));
    let left = vec![
        (10_000, request(vec![span(1, 0), span(2, 0)])),
        // In time for the first trace, whose end came at once ...
        (9_500, request(vec![failed(span(1, 1))])),
        // ... and long behind the decision on the second one.
        (5_000, request(vec![failed(span(2, 1))])),
        (400, request(vec![span(3, 0)])),
    ];
    let disk = Arc::new(LeftBehind(Mutex::new(left)));
    host.logs.add("file_storage", disk);
    host.logs.used_by("exporters::end", "file_storage");
    let policy = json!({"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}});
    let config = json!({"decision_wait": "1s", "policies": [policy]});
    let rig = Rig::start_in(host.clone(), "tail_sampling", &config, Later::default()).await;
    host.logs.recover().await;
    // The third trace was held when the process ended, and its end comes to this one.
    rig.send(&request(vec![failed(span(3, 1))])).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.sink.by_trace(), [(hex(1), 2), (hex(3), 2)].into());
    rig.drain().await;
}
