//! Allocations on the byte path, counted by the allocator itself: a request of 500 spans may cost a few dozen.

#![expect(unsafe_code, reason = "implementing GlobalAlloc is unsafe; it only counts")]

use std::time::Duration;

use bytes::Bytes;
use podgate::core::time::UnixNanos;
use podgate::otlp::edit::Appender;
use podgate::otlp::envelope;
use podgate::otlp::regroup::split;

#[path = "allocations/counting.rs"]
mod counting;
#[path = "allocations/elastic.rs"]
mod elastic;
#[path = "sampling/load.rs"]
mod load;
#[path = "allocations/ottl.rs"]
mod ottl;
#[path = "enrich/rig.rs"]
mod rig;
#[path = "allocations/sampling.rs"]
mod sampling;
#[path = "sampling/settings.rs"]
mod settings;
#[path = "allocations/settlement.rs"]
mod settlement;
#[path = "allocations/shape.rs"]
mod shape;
#[path = "otlp/w1.rs"]
mod w1;

/// design: at most 0.05 allocations a span at 500 spans a request.
const PER_REQUEST_MAX: usize = w1::SPANS / 20;

/// Allocations and reallocations of this thread while `work` runs.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let (allocated, result) = counting::allocated(work);
    (allocated.count, result)
}

#[test]
fn decode_append_and_encode_stay_below_one_allocation_in_twenty_spans() {
    let bytes = Bytes::from(w1::wire());
    let (count, _) = allocations(|| {
        let mut request = envelope::decode(bytes.clone()).unwrap();
        for group in &mut request.groups {
            let mut edit = Appender::new(group.resource.as_deref().unwrap_or_default()).unwrap();
            for key in ["k8s.pod.name", "k8s.pod.uid", "k8s.node.name", "container.id"] {
                edit.set_if_absent_or_empty(key, "some value of usual length");
            }
            group.resource = Some(edit.finish().unwrap());
        }
        envelope::encode(&request)
    });
    assert!(count <= PER_REQUEST_MAX, "{count} allocations for {} spans", w1::SPANS);
}

#[test]
fn grouping_by_trace_stays_below_one_allocation_in_twenty_spans() {
    let request = envelope::decode(Bytes::from(w1::wire())).unwrap();
    let (count, traces) = allocations(|| split::by_trace(&request).trace_count());
    assert_eq!(traces, w1::SPANS / 10);
    assert!(count <= PER_REQUEST_MAX, "{count} allocations for {} spans", w1::SPANS);
}

/// Allocations of one enriched request, after the processor has seen its like.
fn enriching(resources: &[Bytes]) -> usize {
    enriching_and_scoring(resources).0
}

/// The same, and how many resources that told their container were scored, this request's like included.
fn enriching_and_scoring(resources: &[Bytes]) -> (usize, u64) {
    let file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    std::fs::write(file.path(), rig::pod_list(10)).expect("written");
    let body = format!("{{wait_for_metadata: true, podgate: {{pods_file: {}}}}}", file.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rig = rig::rig(&body, true);
    let made = UnixNanos::now().saturating_sub(Duration::from_secs(20));
    runtime.block_on(rig.component.start()).expect("starts");
    let request = || rig::payload(resources, made);
    (0..3).for_each(|_| runtime.block_on(rig.consumer.consume(request())).expect("accepted"));
    let next = request();
    let (count, answer) = allocations(|| runtime.block_on(rig.consumer.consume(next)));
    answer.expect("accepted");
    assert!(
        rig.end.kept.lock().expect("not poisoned").is_empty()
            && rig.host.stats.total("otelcol_processor_incoming_items") > 0
    );
    (count, rig.host.stats.total("podgate_k8s_self_scored"))
}

#[test]
fn a_resource_without_a_pod_allocates_nothing() {
    let missed = rig::resource(&[("service.name", "orders"), ("k8s.pod.uid", "nobody"), ("host.name", "h")]);
    let (one, many) = (enriching(std::slice::from_ref(&missed)), enriching(&vec![missed; 200]));
    assert_eq!(many, one, "200 resources cost what one does");
    assert!(one <= 4, "{one} allocations for the request itself");
}

#[test]
fn a_resource_with_a_pod_allocates_little_more_than_its_new_bytes() {
    let found = |at: usize| {
        rig::resource(&[("service.name", "orders"), ("k8s.pod.uid", &rig::uid(at)), ("k8s.container.name", "orders")])
    };
    let resources: Vec<Bytes> = (0..200).map(|at| found(at % 10)).collect();
    let count = enriching(&resources);
    assert!(count <= 200 * 3 + 4, "{count} allocations for 200 resources");
}

#[test]
fn a_resource_that_tells_its_container_is_scored_without_an_allocation_more() {
    let told = |at: usize| {
        let id = rig::container_id(at, "orders", 1);
        rig::resource(&[
            ("service.name", "orders"),
            ("k8s.pod.uid", &rig::uid(at)),
            ("k8s.container.name", "orders"),
            ("container.id", &id),
        ])
    };
    let resources: Vec<Bytes> = (0..200).map(|at| told(at % 10)).collect();
    let (count, scored) = enriching_and_scoring(&resources);
    assert_eq!(scored, 4 * 200);
    assert!(count <= 200 * 3 + 4, "{count} allocations for 200 resources");
}
