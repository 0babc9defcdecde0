//! What enrichment costs per resource: found and appended, already bound, and not found; and what reading a pod costs.
//!
//! `cargo bench --bench enrich`. A request carries 100 resources of 100 pods; the row "copy of the request" is what the
//! measurement itself costs and is taken off by the reader.

use std::cell::RefCell;
use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use podgate::core::data::payload::Payload;
use podgate::core::time::UnixNanos;
use podgate::kube::decode::{Decoder, Event, Keep};
use podgate::otlp::walk::Fields;
use tokio::time::Instant;

#[path = "../tests/enrich/rig.rs"]
mod rig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RESOURCES: usize = 100;
const ROUNDS: usize = 31;
const ROUND_TIME: Duration = Duration::from_millis(20);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    std::fs::write(file.path(), rig::pod_list(10_000)).expect("written");
    let metadata = "[k8s.pod.name, k8s.namespace.name, k8s.node.name, k8s.deployment.name, k8s.pod.start_time, \
                    k8s.container.name, container.id, container.image.name]";
    let body = format!(
        "{{wait_for_metadata: true, extract: {{metadata: {metadata}}}, podgate: {{pods_file: {}}}}}",
        file.path().display()
    );
    let rig = rig::rig(&body, true);
    runtime.block_on(async { rig.component.start().await.expect("starts") });
    let made = UnixNanos::now().saturating_sub(Duration::from_secs(20));
    let known = |at: usize| {
        rig::resource(&[
            ("service.name", "orders"),
            ("k8s.pod.uid", &rig::uid(at)),
            ("telemetry.sdk.language", "java"),
            ("k8s.container.name", "orders"),
            ("service.instance.id", &format!("{at:08x}-45b7-4a3f-9f5b-0c4fd8d1d8aa")),
        ])
    };
    let found: Vec<Bytes> = (0..RESOURCES).map(|at| known(at * 97)).collect();
    let missed: Vec<Bytes> =
        (0..RESOURCES).map(|_| rig::resource(&[("service.name", "orders"), ("k8s.pod.uid", "nobody")])).collect();
    let (found, missed) = (rig::payload(&found, made), rig::payload(&missed, made));
    let mut screen = std::io::stdout().lock();
    let mut row = |name: &str, work: &dyn Fn()| {
        _ = writeln!(screen, "{name:<52} {:>8.1} ns/resource", median(work));
    };
    let consume = |payload: &Payload| {
        runtime.block_on(async { rig.consumer.consume(payload.copy()).await.expect("accepted") });
    };
    row("copy of the request", &|| _ = black_box(found.copy()));
    row("lookup in 10,000 pods + 8 attributes appended", &|| consume(&found));
    row("no pod found", &|| consume(&missed));
    let golden = |name: &str| {
        std::fs::read(format!("{}/tests/golden/k8s/{name}", env!("CARGO_MANIFEST_DIR"))).expect("recorded")
    };
    let (json, protobuf) = (golden("watch-json.jsonl"), golden("watch-proto.bin"));
    let line = json.split(|byte| *byte == b'\n').next().expect("the pod's line");
    let decoder = RefCell::new(Decoder::new(Keep::default()));
    row("one pod of a watch, JSON", &|| {
        per_pod(&|| assert!(matches!(decoder.borrow_mut().line(line), Ok(Event::Applied(_)))));
    });
    let length = u32::from_be_bytes([protobuf[0], protobuf[1], protobuf[2], protobuf[3]]) as usize;
    row("the same pod in protobuf, fields walked only", &|| {
        per_pod(&|| _ = black_box(walked(&protobuf[4..4 + length], 0)))
    });
    assert!(rig.host.stats.total("podgate_k8s_container_id_resources") > 0, "nothing was enriched");
    assert!(rig.end.kept.lock().expect("not poisoned").is_empty());
}

/// A round counts [`RESOURCES`] of what it measures.
fn per_pod(work: &dyn Fn()) {
    (0..RESOURCES).for_each(|_| work());
}

/// Every field of a message and of what reads as a message within it: the least that any decoder does.
fn walked(message: &[u8], depth: usize) -> usize {
    // The API server puts a magic number before an object.
    let message = message.strip_prefix(b"k8s\0").unwrap_or(message);
    let fields = Fields::new(message).map_while(Result::ok).filter(|_| depth < 12);
    fields.map(|field| 1 + field.bytes().map_or(0, |inner| walked(inner, depth + 1))).sum()
}

fn median(work: &dyn Fn()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(work)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn round(work: &dyn Fn()) -> f64 {
    let (start, busy) = (Instant::now(), on_cpu());
    let mut requests = 0usize;
    while start.elapsed() < ROUND_TIME {
        work();
        requests += 1;
    }
    let wall = start.elapsed().as_nanos() as f64;
    let nanos = busy.zip(on_cpu()).map_or(wall, |(before, after)| (after - before) as f64);
    nanos / (requests * RESOURCES) as f64
}

/// Nanoseconds that this thread was on a core, where the system tells: others' load is no cost of ours.
fn on_cpu() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}
