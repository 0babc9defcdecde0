//! A sampler in front of a log on disk that cannot write: what it holds is decided and handed on all the same.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use podgate::core::data::binding::Later;
use podgate::core::data::budget::Budget;
use podgate::core::data::settlement::{ItemEnd, ItemRecord};
use podgate::core::error::{ConsumeError, Reason, StartError};
use podgate::core::stage::component::Task;
use podgate::core::stage::durable::{DurableLog, LogEntry, Taker};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use serde_json::json;

use crate::rig::Rig;
use crate::spans::{request, span};

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
