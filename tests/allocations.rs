//! Allocations on the byte path, counted by the allocator itself: a request of 500 spans may cost a few dozen.

#![expect(unsafe_code, reason = "implementing GlobalAlloc is unsafe; the only such place, and it only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use podgate::core::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::exporters::elasticsearch::mapping::{Bulk, Deltas, Mapper, Mode, Request, Settings};
use podgate::otlp::edit::Appender;
use podgate::otlp::{envelope, split};

#[path = "sampling/load.rs"]
mod load;
#[path = "allocations/sampling.rs"]
mod sampling;
#[path = "sampling/settings.rs"]
mod settings;
#[path = "otlp/w1.rs"]
mod w1;

/// design: at most 0.05 allocations a span at 500 spans a request.
const PER_REQUEST_MAX: usize = w1::SPANS / 20;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, hence from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and reallocations of this thread while `work` runs.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (COUNT.with(Cell::get) - before, result)
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
            group.resource = Some(edit.finish());
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

/// What each of the five scopes may cost: its destinations and its shared end.
const PER_SCOPE_MAX: usize = 50;

#[test]
fn documents_for_elasticsearch_cost_no_allocation_of_their_own_once_the_buffers_have_grown() {
    let request = envelope::decode(Bytes::from(w1::wire())).unwrap();
    for mode in [Mode::Otel, Mode::Ecs] {
        let mut mapper = Mapper::new(Settings { mode, ..Settings::default() });
        let (mut deltas, mut bulk) = (Deltas::default(), Bulk::default());
        let mut map = || {
            bulk.clear();
            let request = Request { signal: Signal::Traces, envelope: &request, mode: None, now: UnixNanos(0) };
            mapper.map(&request, &mut deltas, &mut bulk);
            bulk.documents.len()
        };
        map();
        let (count, documents) = allocations(map);
        assert_eq!(documents, w1::SPANS * 5 / 2);
        assert!(count <= 5 * PER_SCOPE_MAX, "{count} allocations for {documents} documents, mode {mode:?}");
    }
}
