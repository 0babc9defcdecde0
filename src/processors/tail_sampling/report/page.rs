//! The page `/v1/sampling`: policies with their votes, what is held, and with `?trace_id=` why a trace was kept or dropped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::core::report::routes::{Asking, Page, PageQuery};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::otlp::ids::hex_to_bytes;
use crate::processors::tail_sampling::held::account::ByteAccount;
use crate::processors::tail_sampling::report::metrics::Metrics;
use crate::processors::tail_sampling::shard::{Arrival, HeldTrace, Question};

/// One sampler as the page sees it.
pub struct SamplerPage {
    pub processor: String,
    pub pipeline: String,
    pub account: Arc<ByteAccount>,
    pub metrics: Arc<Metrics>,
    /// Their queues, which end when the sampler does.
    pub shards: Vec<mpsc::WeakSender<Arrival>>,
}

const NOT_KNOWN: &str = "nothing is known of this trace: it is not held, and its decision was too long ago to be remembered, or it \
                         never came here";
/// The longest wait for the shards, which answer between two batches of spans.
const SHARDS_WAIT_MAX: Duration = Duration::from_secs(1);

/// All samplers of the gateway. Locked at build time and when the page is asked for.
#[derive(Default)]
struct Samplers(Mutex<Vec<SamplerPage>>);

/// Adds a sampler to the page and the page to the routes.
pub fn show(host: &Arc<Host>, shown: SamplerPage) {
    let samplers = host.shared::<Samplers>("tail_sampling/page", Arc::default);
    samplers.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(shown);
    let about = "tail sampling: policies, counts, what is held; ?trace_id=<hex> tells a recent decision, or until when it is held";
    let known = samplers.clone();
    let asking: Asking = Arc::new(move |query| Box::pin(ask(samplers.clone(), query.clone())));
    host.routes.add_asking("/v1/sampling", about, Arc::new(move |query| answer(&known, query)), asking);
}

fn answer(samplers: &Samplers, query: &PageQuery) -> Page {
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

/// As [`answer`]; a trace of which no decision is known may be held, which only the shards know.
async fn ask(samplers: Arc<Samplers>, query: PageQuery) -> Page {
    let known = answer(&samplers, &query);
    let trace_id = query.get("trace_id").and_then(|text| hex_to_bytes(text.as_bytes()));
    let Some(trace_id) = trace_id.filter(|_| known.status == 404) else { return known };
    let shards: Vec<mpsc::WeakSender<Arrival>> = {
        let samplers = samplers.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        samplers.iter().flat_map(|shown| shown.shards.clone()).collect()
    };
    let asked = tokio::time::timeout(SHARDS_WAIT_MAX, waiting(shards, trace_id)).await;
    match asked {
        Ok(Some(waiting)) => Page::ok(held(&waiting, UnixNanos::now())),
        // It may have been decided meanwhile.
        Ok(None) => answer(&samplers, &query),
        Err(_) => Page::error(503, "the sampler did not answer within a second: it is busy; ask again"),
    }
}

async fn waiting(shards: Vec<mpsc::WeakSender<Arrival>>, trace_id: [u8; 16]) -> Option<HeldTrace> {
    for shard in shards {
        // A shard that has ended holds nothing.
        let Some(shard) = shard.upgrade() else { continue };
        let (answer, answered) = oneshot::channel();
        if shard.send(Arrival::Question(Question { trace_id, answer })).await.is_ok()
            && let Ok(Some(waiting)) = answered.await
        {
            return Some(waiting);
        }
    }
    None
}

/// Times by the wall clock of this moment, which the shards' own clock is not.
fn held(waiting: &HeldTrace, now: UnixNanos) -> Value {
    json!({
        "held": true,
        "spans": waiting.held.spans,
        "bytes": waiting.held.bytes,
        "root_is_there": waiting.held.has_root,
        "first_span_at_unix_nano": now.saturating_sub(waiting.since).0,
        "decided_at_latest_unix_nano": now.saturating_add(waiting.left).0,
        "decided_within_seconds": waiting.left.as_secs_f64(),
    })
}

fn describe(shown: &SamplerPage) -> Value {
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
