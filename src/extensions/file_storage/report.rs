//! What the log says of itself: gauges, and the page `/v1/storage`. Pure but for reading figures.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::report::routes::Page;
use crate::core::report::stats::Metric;
use crate::core::stage::host::Host;
use crate::extensions::file_storage::figures::items;
use crate::extensions::file_storage::store::FileStorage;
use crate::wal::writer::stats::LogStats;

type Read = fn(&LogStats) -> f64;

const GAUGES: [(&str, &str, Read); 6] = [
    ("podgate_storage_bytes", "Bytes of its budget that the log on disk uses.", |stats| stats.bytes as f64),
    ("podgate_storage_bytes_max", "The budget of the log on disk.", |stats| stats.max_bytes as f64),
    ("podgate_storage_records", "Records with unsettled items.", |stats| stats.records as f64),
    ("podgate_storage_items", "Items on disk without an end.", |stats| items(stats) as f64),
    ("podgate_storage_writable", "1 while records are taken, 0 while senders are refused.", |stats| {
        f64::from(u8::from(stats.can_write))
    }),
    (
        "podgate_storage_lasts_seconds",
        "How long the budget lasts at the present rate; -1 while the log does not grow.",
        |stats| stats.lasts.map_or(-1.0, |lasts| lasts.as_secs_f64()),
    ),
];

const COUNTERS: [(&str, &str, Read); 5] = [
    ("podgate_storage_compressed_segments", "Segments that were compressed.", |stats| stats.counts.packed as f64),
    ("podgate_storage_appended", "Records that were taken.", |stats| stats.counts.appended as f64),
    ("podgate_storage_refused", "Records that were refused.", |stats| stats.counts.refused as f64),
    ("podgate_storage_write_failures", "Groups that could not be written.", |stats| stats.counts.failures as f64),
    ("podgate_storage_lost_records", "Records whose frames were found damaged.", |stats| {
        stats.counts.lost.records as f64
    }),
];

/// Shows the log; it is read when somebody asks.
pub fn register(host: &Host, storage: &Arc<FileStorage>) {
    let labels = [("storage", storage.path.as_str())];
    for (name, help, read) in GAUGES {
        let storage = storage.clone();
        let value = move || storage.stats().map_or(0.0, |stats| read(&stats));
        host.stats.read(name, help, &labels, Metric::ReadGauge(Arc::new(value)));
    }
    for (name, help, read) in COUNTERS {
        let storage = storage.clone();
        let value = move || storage.stats().map_or(0.0, |stats| read(&stats));
        host.stats.read(name, help, &labels, Metric::ReadCounter(Arc::new(value)));
    }
    let shown = storage.clone();
    let recovered = move || shown.recovered() as f64;
    host.stats.read(
        "podgate_storage_recovered",
        "Records of an earlier process that were handed on.",
        &labels,
        Metric::ReadCounter(Arc::new(recovered)),
    );
    let (shown, counted) = (storage.clone(), storage.clone());
    let waiting = move || shown.waiting() as f64;
    host.stats.read(
        "podgate_storage_waiting_records",
        "Records that are on disk alone and are read back when there is room in memory.",
        &labels,
        Metric::ReadGauge(Arc::new(waiting)),
    );
    let parked = move || counted.parked() as f64;
    host.stats.read(
        "podgate_storage_parked",
        "Records that were kept on disk alone, because their queue or the memory was full.",
        &labels,
        Metric::ReadCounter(Arc::new(parked)),
    );
    let logs = host.shared("file_storage pages", || Arc::new(std::sync::Mutex::new(Vec::<Arc<FileStorage>>::new())));
    logs.locked().push(storage.clone());
    let answer = move |_: &_| {
        let logs = logs.locked();
        Page::ok(Value::Array(logs.iter().map(|storage| as_json(storage)).collect()))
    };
    host.routes.add("/v1/storage", "logs on disk: bytes, what is unsettled, how long the disk lasts", Arc::new(answer));
}

fn as_json(storage: &FileStorage) -> Value {
    let Some(stats) = storage.stats() else {
        return json!({ "storage": storage.path, "directory": storage.directory(), "state": "not open" });
    };
    let unsettled: Vec<Value> = stats
        .unsettled
        .iter()
        .filter(|of| of.records > 0)
        .map(|of| json!({ "taker": of.pipeline, "records": of.records, "items": of.items }))
        .collect();
    let strangers: Vec<Value> = storage
        .strangers
        .all()
        .into_iter()
        .map(|(taker, (records, items))| json!({ "taker": taker, "records": records, "items": items }))
        .collect();
    json!({
        "storage": storage.path,
        "directory": storage.directory(),
        "state": stats.why_not.as_deref().unwrap_or("ok"),
        "bytes": stats.bytes,
        "max_bytes": stats.max_bytes,
        "segments": stats.segments,
        "lasts_seconds": stats.lasts.map(|lasts| lasts.as_secs()),
        "appended": stats.counts.appended,
        "refused": stats.counts.refused,
        "compressed_segments": stats.counts.packed,
        "bytes_saved": stats.counts.saved,
        "recovered_records": storage.recovered(),
        "waiting_records": storage.waiting(),
        "parked_records": storage.parked(),
        "marks_left_out": storage.marks.left_out(),
        "unsettled": unsettled,
        "without_taker": strangers,
    })
}
