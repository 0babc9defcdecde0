//! The page `/v1/sampling`: policies with their votes, what is held, and with `?trace_id=` why a trace was kept or dropped.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::core::host::Host;
use crate::core::routes::{Page, Query};
use crate::otlp::ids::hex_to_bytes;
use crate::processors::tail_sampling::account::Account;
use crate::processors::tail_sampling::metrics::Metrics;

/// One sampler as the page sees it.
pub struct Shown {
    pub processor: String,
    pub pipeline: String,
    pub account: Arc<Account>,
    pub metrics: Arc<Metrics>,
}

const NOT_KNOWN: &str = "no recent decision on this trace: it is still held until its decision_wait is over, was decided too \
                         long ago to be remembered, or never came here";

/// All samplers of the gateway. Locked at build time and when the page is asked for.
#[derive(Default)]
struct Samplers(Mutex<Vec<Shown>>);

/// Adds a sampler to the page and the page to the routes.
pub fn show(host: &Arc<Host>, shown: Shown) {
    let samplers = host.shared::<Samplers>("tail_sampling/page", Arc::default);
    samplers.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(shown);
    let about = "tail sampling: policies, counts, what is held; ?trace_id=<hex> explains a recent decision";
    host.routes.add("/v1/sampling", about, Arc::new(move |query| answer(&samplers, query)));
}

fn answer(samplers: &Samplers, query: &Query) -> Page {
    let samplers = samplers.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Some(text) = query.get("trace_id") else {
        return Page::ok(json!({ "samplers": samplers.iter().map(describe).collect::<Vec<_>>() }));
    };
    let Some(trace_id) = hex_to_bytes(text.as_bytes()) else {
        return Page::error(400, "trace_id is not 32 hex digits");
    };
    let known = samplers.iter().find_map(|shown| shown.metrics.explain(&trace_id));
    known.map_or_else(|| Page::error(404, NOT_KNOWN), Page::ok)
}

fn describe(shown: &Shown) -> Value {
    let mut page = shown.metrics.page();
    page["processor"] = shown.processor.clone().into();
    page["pipeline"] = shown.pipeline.clone().into();
    page["held"] = json!({
        "traces": shown.account.traces(),
        "bytes": shown.account.held(),
        "queued_bytes": shown.account.queued(),
        "delivering_bytes": shown.account.delivering(),
        "max_bytes": shown.account.max(),
    });
    page
}
