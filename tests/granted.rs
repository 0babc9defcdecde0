//! The law behind "memory is granted before it is used": whatever comes in, what the allocator gave out at the peak is no
//! more than what tickets had paid for, and what is kept is no more than what they still hold (issue 12, B2).

#![expect(unsafe_code, reason = "implementing GlobalAlloc is unsafe; it only counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::fan_out::FanOut;
use podgate::core::data::origin::{Origin, Transport};
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::error::Reason;
use podgate::core::stage::consumer::{Consumed, Consumer, Next};
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::exporters::debug::page::DebugPage;
use podgate::exporters::debug::text::Detail;
use podgate::otlp::json::line::JsonLine;
use podgate::otlp::regroup::portion;
use podgate::otlp::{json, readable};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::Admission;
use podgate::processors::{attributes, filter, probabilistic_sampler, resource, transform};
use podgate::testing::stage;

#[path = "enrich/rig.rs"]
#[allow(dead_code)] // this crate uses its part of it
mod rig;
#[path = "granted/sampler.rs"]
mod sampler;
#[path = "sampling/settings.rs"]
mod settings;
#[path = "granted/worst.rs"]
mod worst;

/// What tickets do not cover: one clone's reference count, a boxed future, a line of text. A constant, whatever comes.
const FREE_BYTES: i64 = 64 << 10;
const BODY_BYTES: usize = 256 << 10;
/// What processors get: longer work would leave the thread whose allocations are counted.
const PROCESSED_BYTES: usize = 48 << 10;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn note(more: i64, less: i64) {
    // While memory moves, both places are there.
    let high = LIVE.get() + more;
    PEAK.set(PEAK.get().max(high));
    LIVE.set(high - less);
}

struct Counting;

// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as i64, 0);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, layout.size() as i64);
        // SAFETY: `pointer` came from `alloc` above, hence from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as i64, layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes beyond those at the start: at the peak, and at the end.
fn measured<T>(work: impl FnOnce() -> T) -> (i64, i64, T) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (PEAK.get() - before, LIVE.get() - before, result)
}

/// Runs a way in on one body and holds it to the law. `way` gives back what it keeps.
#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
fn hold(name: &str, body: &[u8], way: impl FnOnce(Bytes, Ticket) -> Box<dyn Any>) {
    let budget = Budget::new(1 << 40, 1 << 40);
    let length = body.len() as i64;
    let (bytes, ticket) = (Bytes::copy_from_slice(body), budget.take(body.len() as u64).expect("fits"));
    let watch = ticket.clone();
    let (peak, kept, result) = measured(|| way(bytes, ticket));
    let (granted_peak, granted) = (budget.peak() as i64 - length, budget.used() as i64 - length);
    let figures = format!("{name}: {} bytes came; {peak} allocated of {granted_peak} granted", body.len());
    assert!(peak <= granted_peak.max(0) + FREE_BYTES, "{figures} at the peak");
    assert!(kept <= granted + FREE_BYTES, "{figures} at the peak; {kept} kept, {granted} on tickets");
    println!("{figures} at the peak; {kept} kept, {granted} on tickets");
    drop((result, watch));
    assert_eq!(budget.used(), 0, "{name}: everything is given back");
}

fn payload(signal: Signal, bytes: Bytes, ticket: Ticket) -> Option<Payload> {
    let read = readable::read(signal, bytes, &ticket).ok()?;
    let now = UnixNanos::now();
    let origin = Origin::new(None, 7, now.saturating_sub(Duration::from_secs(30)), now, Transport::Grpc);
    Some(Payload {
        signal,
        envelope: read.envelope,
        items: read.items,
        origin: Arc::new(origin),
        ticket,
        share: Share::none(),
    })
}

#[test]
fn what_a_request_is_read_into_was_granted() {
    for (name, signal, body) in worst::bodies(BODY_BYTES) {
        hold(&format!("{name} as {}", signal.name()), &body, |bytes, ticket| {
            Box::new((readable::read(signal, bytes, &ticket).map_err(|_| ()), ticket))
        });
    }
}

#[test]
fn what_json_becomes_was_granted() {
    for (name, text) in worst::texts(BODY_BYTES) {
        hold(name, text.as_bytes(), |bytes, ticket| {
            let wire = json::to_wire_within(Signal::Traces, &bytes, &ticket).map_err(|_| ());
            let read = wire.map(|wire| readable::read(Signal::Traces, wire, &ticket).map_err(|_| ()));
            Box::new((read, bytes, ticket))
        });
    }
}

#[test]
fn what_payloads_are_cut_into_and_joined_from_was_granted() {
    for (name, signal, body) in worst::bodies(BODY_BYTES) {
        hold(&format!("{name} in parts of 100"), &body, |bytes, ticket| {
            let payload = payload(signal, bytes, ticket);
            Box::new(payload.map(|payload| portion::cut(payload, 100, portion::items_of).last()))
        });
        hold(&format!("{name} halved twice and joined"), &body, |bytes, ticket| {
            let halves = |payload| {
                let (first, second) = portion::halve(payload);
                std::iter::once(first).chain(second)
            };
            let payload = payload(signal, bytes, ticket);
            Box::new(payload.and_then(|payload| portion::join(halves(payload).flat_map(halves))))
        });
        hold(&format!("every second message of {name}"), &body, |bytes, ticket| {
            let payload = payload(signal, bytes, ticket);
            let ranges: Vec<_> = (0..512).map(|at| 2 * at..2 * at + 1).collect();
            Box::new((payload.as_ref().map(|payload| portion::part(payload, &ranges)), payload))
        });
        hold(&format!("{name} dealt out among five"), &body, |bytes, ticket| {
            let payload = payload(signal, bytes, ticket);
            let dealt = payload.map(|mut payload| {
                let all = vec![portion::deal::Undealt::whole(&mut payload)];
                (portion::deal::deal(&payload, all, |at| Some(at.message % 5)), payload)
            });
            Box::new(dealt)
        });
    }
}

#[test]
fn what_a_request_is_printed_as_was_granted() {
    for (name, signal, body) in worst::bodies(BODY_BYTES) {
        hold(&format!("{name} as a line of JSON"), &body, |bytes, ticket| {
            let mut line = JsonLine::within(&ticket);
            let payload = payload(signal, bytes, ticket);
            let unread = payload.iter().map(|payload| json::readable_from_wire(signal, &payload.envelope, &mut line));
            assert!(unread.sum::<u64>() < u64::MAX);
            Box::new((line, payload))
        });
    }
    for (name, signal, body) in worst::bodies(PROCESSED_BYTES) {
        hold(&format!("{name} on a page"), &body, |bytes, ticket| {
            let mut page = DebugPage::within(&ticket);
            let payload = payload(signal, bytes, ticket);
            payload.iter().for_each(|payload| page.show(payload, Detail::Detailed).expect("memory without limit"));
            Box::new((page, payload))
        });
    }
}

/// Each processor that writes or leaves out, with a configuration that touches everything.
fn writers() -> Vec<(&'static ProcessorFactory, &'static str)> {
    let act = "[{key: deployment.environment.name, value: production, action: upsert}, \
               {key: copied, from_attribute: a, action: insert}, {key: a, action: hash}, \
               {key: a, pattern: '(?P<all>.*)', action: extract}, {key: n, action: convert, converted_type: string}]";
    let act: &'static str = Box::leak(format!("{{attributes: {act}}}").into_boxed_str());
    let each: &'static str = Box::leak(act.replacen("attributes", "actions", 1).into_boxed_str());
    vec![
        (&resource::FACTORY, act),
        (&attributes::FACTORY, each),
        (&probabilistic_sampler::FACTORY, "{mode: equalizing, sampling_percentage: 90}"),
        (&filter::FACTORY, "{error_mode: ignore, traces: {span: ['attributes[\"a\"] == \"gone\" or kind == 3']}}"),
        (
            &transform::FACTORY,
            "{error_mode: ignore, trace_statements: [{context: span, statements: ['set(attributes[\"new\"], \"value\")']}]}",
        ),
        (
            &transform::FACTORY,
            "{error_mode: ignore, trace_statements: [{context: resource, statements: ['set(attributes[\"new\"], \"value\")']}]}",
        ),
    ]
}

#[test]
fn what_processors_make_was_granted() {
    for (factory, body) in writers() {
        let bench = stage::bench(factory, body, Signal::Traces, Host::new(Budget::unlimited()));
        // Patterns make their caches at first use.
        let first = Bytes::from(worst::small_groups(1_000));
        drop(bench.send(payload(Signal::Traces, first, Ticket::free()).expect("a request")));
        for (name, signal, request) in worst::bodies(PROCESSED_BYTES) {
            if signal != Signal::Traces {
                continue;
            }
            hold(&format!("{name} through {}", factory.about.name), &request, |bytes, ticket| {
                Box::new(payload(signal, bytes, ticket).map(|payload| bench.send(payload)))
            });
        }
    }
}

/// Keeps its payload as long as the caller waits.
struct Keeps;

impl Consumer for Keeps {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            drop(payload);
            Ok(())
        })
    }
}

#[test]
fn what_a_fan_out_copies_was_granted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let branches: Vec<Next> = (0..4).map(|_| Arc::new(Keeps) as Next).collect();
    let next = FanOut::over(branches);
    for (name, signal, request) in worst::bodies(BODY_BYTES) {
        hold(&format!("{name} to four branches"), &request, |bytes, ticket| {
            let Some(payload) = payload(signal, bytes, ticket) else { return Box::new(()) };
            runtime.block_on(next.consume(payload)).expect("accepted");
            Box::new(())
        });
    }
}

#[test]
fn what_the_sampler_reads_a_request_into_was_granted() {
    let policies = serde_json::json!({"decision_wait": "1s", "policies": [{"name": "all", "type": "always_sample"}]});
    let settings = settings::settings(&policies);
    for (name, signal, request) in worst::bodies(BODY_BYTES) {
        if signal != Signal::Traces {
            continue;
        }
        hold(&format!("{name} to the sampler"), &request, |bytes, ticket| {
            let account = ByteAccount::new(1 << 40, &ticket.budget());
            let admission = Admission { leaves: &settings.leaves, account: &account, shards: 2, seed: 1 };
            let admitted =
                payload(signal, bytes, ticket).map(|payload| (admission.read(&payload).map_err(|_| ()), payload));
            Box::new((
                admitted.map(|(admitted, payload)| (admitted.map(|all| (all.groups, all.runs)), payload)),
                account,
            ))
        });
    }
}

/// B2's worst row: groups of 66 bytes that name a pod by its uid grow to a resource of some hundred bytes each.
#[test]
fn what_pods_are_written_into_was_granted() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    std::fs::write(file.path(), rig::pod_list(10)).expect("written");
    let body = format!("{{wait_for_metadata: true, podgate: {{pods_file: {}}}}}", file.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rig = rig::rig(&body, false);
    runtime.block_on(rig.component.start()).expect("starts");
    let send = |bytes: Bytes, ticket: Ticket| {
        let payload = payload(Signal::Logs, bytes, ticket).expect("a request");
        runtime.block_on(rig.consumer.consume(payload)).expect("accepted");
        std::mem::take(&mut *rig.end.kept.lock().expect("not poisoned"))
    };
    let request = worst::pod_groups(BODY_BYTES);
    drop(send(Bytes::copy_from_slice(&request), Ticket::free()));
    hold("groups that name a pod", &request, |bytes, ticket| {
        let kept = send(bytes, ticket);
        let resource = kept[0].envelope.groups[0].resource.as_ref().expect("one");
        assert!(resource.len() > 200, "enriched: {} bytes", resource.len());
        Box::new(kept)
    });
}

#[test]
fn without_memory_for_what_a_processor_makes_the_sender_may_try_again() {
    for (factory, body) in writers() {
        let bench = stage::bench(factory, body, Signal::Traces, Host::new(Budget::unlimited()));
        let request = Bytes::from(worst::small_groups(PROCESSED_BYTES));
        let name = factory.about.name;
        let budget = Budget::new(1 << 40, 1 << 40);
        let payload = payload(Signal::Traces, request, budget.take(0).expect("fits")).expect("a request");
        budget.set_limits(budget.used() + 1_000, budget.used() + 1_000);
        match futures_util::FutureExt::now_or_never(bench.consumer.consume(payload)).expect("does not wait") {
            Err(why) => assert!(why.is_retryable() && why.reason() == Reason::MEMORY, "{name}: {why}"),
            Ok(()) => assert!(["filter", "probabilistic_sampler"].contains(&name), "{name} made something of nothing"),
        }
        drop(bench.sink.take());
        assert_eq!(budget.used(), 0, "{name}: everything is given back");
    }
}
