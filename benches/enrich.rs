//! What enrichment costs per resource: found and appended, already bound, and not found.
//!
//! `cargo bench --bench enrich`. A request carries 100 resources of 100 pods; the row "copy of the request" is what the
//! measurement itself costs and is taken off by the reader.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use podgate::core::payload::Payload;
use podgate::core::time::UnixNanos;
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
        runtime.block_on(async { rig.consumer.consume(payload.clone()).await.expect("accepted") });
    };
    row("copy of the request", &|| _ = black_box(found.clone()));
    row("lookup in 10,000 pods + 8 attributes appended", &|| consume(&found));
    row("no pod found", &|| consume(&missed));
}

fn median(work: &dyn Fn()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(work)).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn round(work: &dyn Fn()) -> f64 {
    let start = Instant::now();
    let mut requests = 0usize;
    while start.elapsed() < ROUND_TIME {
        work();
        requests += 1;
    }
    start.elapsed().as_nanos() as f64 / (requests * RESOURCES) as f64
}
