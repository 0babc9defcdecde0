//! The pages `/v1/sampling` (policies with their votes and volumes, what is held, what the journal holds) and
//! `/v1/traces/{id}`: why a trace was kept or dropped, or until when it is held.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::core::lock::Locked;
use crate::core::offload::Aside;
use crate::core::report::routes::{Asking, Page, PageQuery};
use crate::core::stage::component::Task;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::report::SizingAdvice;
use crate::processors::tail_sampling::clock::SamplerClock;
use crate::processors::tail_sampling::held::account::ByteAccount;
use crate::processors::tail_sampling::journal::lookup::{JournalFind, MATCHES_MAX, WantedTrace, hex, oldest, several};
use crate::processors::tail_sampling::journal::ring::{JournalCopy, JournalRing};
use crate::processors::tail_sampling::live::LivePolicies;
use crate::processors::tail_sampling::report::given_shadow::{GivenTo, give};
use crate::processors::tail_sampling::report::metrics::Metrics;
use crate::processors::tail_sampling::report::recent;
use crate::processors::tail_sampling::shard::{Arrival, HeldTrace, Question};

/// One sampler as the pages see it.
pub struct SamplerPage {
    pub processor: String,
    pub pipeline: String,
    pub live: Arc<LivePolicies>,
    pub advice: Arc<SizingAdvice>,
    pub clock: SamplerClock,
    pub account: Arc<ByteAccount>,
    pub metrics: Arc<Metrics>,
    /// One for each shard.
    pub journals: Vec<Arc<JournalRing>>,
    /// Their queues, which end when the sampler does.
    pub shards: Vec<mpsc::WeakSender<Arrival>>,
}

impl SamplerPage {
    fn is_there(&self) -> bool {
        self.shards.iter().any(|shard| shard.strong_count() > 0)
    }

    fn given_to(&self) -> GivenTo<'_> {
        GivenTo { processor: &self.processor, pipeline: &self.pipeline, live: &self.live, clock: self.clock }
    }
}

const NOT_KNOWN: &str = "nothing is known about this trace: it is not held, and its decision is too old to be remembered, or it never came here";
const NO_ID: &str = "a trace is asked for by 4 to 32 hex digits of its id";
/// Held traces that are told together.
const HELD_SHOWN_MAX: usize = 20;
/// The longest wait for the shards, which answer between two batches of spans.
const SHARDS_WAIT_MAX: Duration = Duration::from_secs(1);

/// A journal, by which sampler it is kept, by which policies, and what was read of it.
type AskedJournal = (String, Arc<LivePolicies>, Arc<JournalRing>, JournalCopy);

/// All samplers of the gateway. Locked at build time and when a page is asked for.
#[derive(Default)]
struct Samplers(Mutex<Vec<SamplerPage>>);

impl Samplers {
    fn locked(&self) -> MutexGuard<'_, Vec<SamplerPage>> {
        self.0.locked()
    }

    /// The queues of all shards.
    fn shards(&self) -> Vec<mpsc::WeakSender<Arrival>> {
        self.locked().iter().flat_map(|shown| shown.shards.clone()).collect()
    }

    /// What is to be read for a trace, by which sampler it was decided, and by which journal its services are numbered.
    fn journals(&self) -> Vec<AskedJournal> {
        let of = |shown: &SamplerPage| {
            let (processor, live) = (shown.processor.clone(), shown.live.clone());
            let copies = shown.journals.iter().map(|ring| (ring.clone(), ring.copy()));
            copies.map(move |(ring, copy)| (processor.clone(), live.clone(), ring, copy)).collect::<Vec<_>>()
        };
        self.locked().iter().flat_map(of).collect()
    }
}

/// Adds a sampler to the pages and the pages to the routes.
pub fn show(host: &Arc<Host>, shown: SamplerPage) {
    let samplers = host.shared::<Samplers>("tail_sampling/page", Arc::default);
    let mut known = samplers.locked();
    // After a reload the one before is shown until it has delivered what it held.
    known.retain(SamplerPage::is_there);
    known.push(shown);
    drop(known);
    let given_to = samplers.clone();
    let give = move |query: &PageQuery, body: Bytes| -> Task<'static, Page> {
        let samplers = given_to.locked();
        // One that has ended decides nothing.
        let runs = |shard: &mpsc::WeakSender<Arrival>| shard.upgrade().is_some_and(|shard| !shard.is_closed());
        let lives = samplers.iter().filter(|shown| shown.shards.iter().any(runs));
        let lives: Vec<GivenTo<'_>> = lives.map(SamplerPage::given_to).collect();
        Box::pin(std::future::ready(give(&lives, query, &body)))
    };
    host.routes.add_change("/v1/sampling/shadow", Arc::new(give));
    let about = "tail sampling: policies with votes and volumes, and what is held; ?trace_id=<hex> is /v1/traces/<hex>";
    let of_trace = "why a trace was kept or dropped, with what each policy measured, or until when it is held";
    for (path, parameter, about) in [("/v1/sampling", "trace_id", about), ("/v1/traces/{id}", "id", of_trace)] {
        let (known, asked) = (samplers.clone(), samplers.clone());
        let asking: Asking = Arc::new(move |query| Box::pin(ask(asked.clone(), query.get(parameter).cloned())));
        let answer = move |query: &PageQuery| answer(&known, query.get(parameter).map(String::as_str));
        host.routes.add_asking(path, about, Arc::new(answer), asking);
    }
    let (known, asked) = (samplers.clone(), samplers);
    let asking: Asking = Arc::new(move |_| Box::pin(recent_traces(asked.clone())));
    let answer = move |_: &PageQuery| Page::ok(decided_lately(&known));
    let about = "the latest decisions, and traces that are held now";
    host.routes.add_asking("/v1/traces", about, Arc::new(answer), asking);
}

fn answer(samplers: &Samplers, trace: Option<&str>) -> Page {
    let Some(text) = trace else {
        let samplers = samplers.locked();
        return Page::ok(
            json!({ "samplers": samplers.iter().filter(|shown| shown.is_there()).map(describe).collect::<Vec<_>>() }),
        );
    };
    match WantedTrace::parse(text) {
        Some(wanted) => decided(&samplers.journals(), wanted, &[]),
        None => Page::error(400, NO_ID),
    }
}

/// What the journals say. `held` are ids of undecided traces that may be meant as well.
fn decided(journals: &[AskedJournal], wanted: WantedTrace, held: &[[u8; 16]]) -> Page {
    let mut ids: Vec<[u8; 16]> = Vec::new();
    let mut told = None;
    for (processor, live, ring, copy) in journals {
        let found = JournalFind::read(copy, wanted);
        let fresh: Vec<[u8; 16]> = found.ids().iter().filter(|id| !ids.contains(id)).copied().collect();
        ids.extend(fresh);
        if told.is_none() {
            told = found.explain(live, ring).map(|page| (processor, page));
        }
    }
    let held: Vec<[u8; 16]> = held.iter().filter(|id| !ids.contains(id)).copied().collect();
    ids.extend(held);
    match (ids.len(), told) {
        (1, Some((processor, mut page))) => {
            page["processor"] = processor.as_str().into();
            Page::ok(page)
        }
        (0 | 1, _) => Page::error(404, NOT_KNOWN),
        _ => Page::ok(several(&ids)),
    }
}

/// As [`answer`], with the reading aside; a trace of which no decision is known may be held, which only the shards know.
async fn ask(samplers: Arc<Samplers>, trace: Option<String>) -> Page {
    let Some(wanted) = trace.as_deref().and_then(WantedTrace::parse) else {
        return answer(&samplers, trace.as_deref());
    };
    let part = match wanted.whole() {
        Some(_) => Ok(Vec::new()),
        None => tokio::time::timeout(SHARDS_WAIT_MAX, with_part(samplers.shards(), wanted)).await,
    };
    let is_busy = part.is_err();
    let part = part.unwrap_or_default();
    let known = look_up(&samplers, wanted, part.clone()).await;
    if known.status != 404 {
        return known;
    }
    let busy = || Page::error(503, "the sampler is busy and did not answer within a second; ask again");
    let Some(trace_id) = wanted.whole().or(part.first().copied()) else {
        return if is_busy { busy() } else { known };
    };
    let asked = tokio::time::timeout(SHARDS_WAIT_MAX, waiting(samplers.shards(), trace_id)).await;
    match asked {
        Ok(Some(waiting)) => Page::ok(held(&waiting, UnixNanos::now())),
        // It may have been decided meanwhile.
        Ok(None) => look_up(&samplers, wanted, Vec::new()).await,
        Err(_) => busy(),
    }
}

async fn look_up(samplers: &Samplers, wanted: WantedTrace, held: Vec<[u8; 16]>) -> Page {
    let journals = samplers.journals();
    let bytes = journals.iter().map(|(.., copy)| copy.bytes()).sum();
    Aside::shared().run(bytes, move || decided(&journals, wanted, &held)).await
}

/// Ids of held traces with these digits. A shard is asked stretch by stretch of its table, and files spans in between.
async fn with_part(shards: Vec<mpsc::WeakSender<Arrival>>, wanted: WantedTrace) -> Vec<[u8; 16]> {
    let mut ids = Vec::new();
    for shard in shards {
        let mut next = Some(0);
        while let (Some(from), Some(shard)) = (next.filter(|_| ids.len() <= MATCHES_MAX), shard.upgrade()) {
            let (answer, answered) = oneshot::channel();
            let is_asked = shard.send(Arrival::Question(Question::Part(wanted, from, answer))).await.is_ok();
            let Some((found, then)) = (if is_asked { answered.await.ok() } else { None }) else { break };
            ids.extend(found);
            next = then;
        }
    }
    ids
}

async fn waiting(shards: Vec<mpsc::WeakSender<Arrival>>, trace_id: [u8; 16]) -> Option<HeldTrace> {
    for shard in shards {
        // A shard that has ended holds nothing.
        let Some(shard) = shard.upgrade() else { continue };
        let (answer, answered) = oneshot::channel();
        if shard.send(Arrival::Question(Question::Trace(trace_id, answer))).await.is_ok()
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
        "trace_id": hex(&waiting.trace_id),
        "spans": waiting.held.spans,
        "bytes": waiting.held.bytes,
        "root_is_there": waiting.held.has_root,
        "first_span_at_unix_nano": now.saturating_sub(waiting.since).0,
        "decided_at_latest_unix_nano": now.saturating_add(waiting.left).0,
        "decided_within_seconds": waiting.left.as_secs_f64(),
        "waterfall": waiting.spans.iter().map(recent::span).collect::<Vec<_>>(),
    })
}

/// The page `/v1/traces`.
async fn recent_traces(samplers: Arc<Samplers>) -> Page {
    let held = tokio::time::timeout(SHARDS_WAIT_MAX, newest(samplers.shards())).await.ok();
    let (mut page, now) = (decided_lately(&samplers), UnixNanos::now());
    page["held"] = held.map(|all| all.iter().map(|waiting| self::held(waiting, now)).collect::<Vec<_>>()).into();
    Page::ok(page)
}

fn decided_lately(samplers: &Samplers) -> Value {
    let journals = samplers.journals();
    let mut all = Vec::new();
    for (_, live, ring, copy) in &journals {
        all.extend(recent::latest(copy).into_iter().map(|record| (record, &**live, &**ring)));
    }
    json!({ "decided": recent::decisions(all) })
}

async fn newest(shards: Vec<mpsc::WeakSender<Arrival>>) -> Vec<HeldTrace> {
    let mut all = Vec::new();
    for shard in shards.iter().filter_map(mpsc::WeakSender::upgrade) {
        let (answer, answered) = oneshot::channel();
        if shard.send(Arrival::Question(Question::Newest(answer))).await.is_ok() {
            all.extend(answered.await.unwrap_or_default());
        }
    }
    all.sort_by_key(|waiting| waiting.since);
    all.truncate(HELD_SHOWN_MAX);
    all
}

fn describe(shown: &SamplerPage) -> Value {
    // Without traffic the shards may not have seen yet that a shadow's time is over.
    shown.live.end_shadow(shown.clock.now());
    let live = shown.live.current().clone();
    let mut page = shown.metrics.page();
    let (policies, volume) = live.counts.page();
    (page["policies"], page["volume"]) = (policies.into(), volume);
    page["shadow"] = shown.live.shadow_page();
    page["version"] = json!({ "number": live.settings.version, "since_unix_nano": live.since.0 });
    page["processor"] = shown.processor.clone().into();
    page["pipeline"] = shown.pipeline.clone().into();
    page["held"] = json!({
        "traces": shown.account.traces(),
        "bytes": shown.account.held(),
        "queued_bytes": shown.account.queued(),
        "delivering_bytes": shown.account.delivering(),
        "max_bytes": shown.account.max(),
    });
    page["sizes"] = shown.advice.page(live.settings.decision_wait);
    page["journal"] = journal(&shown.journals);
    page
}

fn journal(journals: &[Arc<JournalRing>]) -> Value {
    let (mut bytes, mut lost) = (0, 0);
    for ring in journals {
        let (held_bytes, lost_bytes) = ring.held_and_lost();
        (bytes, lost) = (bytes + held_bytes, lost + lost_bytes);
    }
    let oldest = journals.iter().filter_map(|ring| oldest(&ring.copy())).min();
    json!({ "bytes": bytes, "lost_bytes": lost, "oldest_decision_at_unix_nano": oldest })
}
