//! A sampler of traces of one span each: what costs a trace most beside its spans is on an account, too (places in tables, what
//! is due when, what is remembered of the decision).

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::admission::AdmittedRequest;
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use prost::Message;

use super::*;

/// Traces of a request, requests a second, and how long they come.
const TRACES: usize = 2_000;
const REQUESTS: u64 = 20;
const SECONDS: u64 = 20;
/// Counts, the names of services and what is measured of each, a parcel's lists: whatever comes.
const SAMPLER_FREE_BYTES: i64 = 256 << 10;

fn request(rng: &mut fastrand::Rng) -> Bytes {
    let spans = (0..TRACES).map(|_| Span {
        trace_id: rng.u128(..).to_be_bytes().to_vec(),
        span_id: rng.u64(1..).to_be_bytes().to_vec(),
        name: "one".into(),
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    Bytes::from(request.encode_to_vec())
}

struct Sampler {
    settings: podgate::processors::tail_sampling::config::SamplingSettings,
    engine: Engine,
    budget: Arc<Budget>,
    account: Arc<ByteAccount>,
    settled: u64,
}

impl Sampler {
    fn new(now: UnixNanos) -> Sampler {
        let policies = serde_json::json!({"decision_wait": "5s", "podgate": {"journal_bytes": 0}, "policies": [
            {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 20}}]});
        let settings = settings::settings(&policies);
        let budget = Budget::new(1 << 40, 1 << 40);
        let account = ByteAccount::new(1 << 40, &budget);
        let bounds = Bounds { traces: None, giant_bytes: 1 << 30, spare_bytes: 1 << 20 };
        let clock = (now, tokio::time::Instant::now as fn() -> tokio::time::Instant);
        let meters = Arc::new(RateMeters::new(&settings.meters, now));
        let mut engine = Engine::new(settings.clone(), meters, bounds, RandomState::default(), clock);
        engine.remember_within(budget.hard(), || budget.overdraw(0));
        Sampler { settings, engine, budget, account, settled: 0 }
    }

    fn take(&mut self, bytes: Bytes, now: UnixNanos) {
        let ticket = self.budget.take(bytes.len() as u64).expect("fits");
        let payload = payload(Signal::Traces, bytes, ticket).expect("a request");
        let admission = Admission { leaves: &self.settings.leaves, account: &self.account, shards: 1, seed: 1 };
        let admitted = admission.read(&payload).expect("fits");
        let (envelope, groups, links) = (&payload.envelope, &admitted.groups[..], &admitted.links[..]);
        self.engine.accept(AdmittedRequest { envelope, groups, links, version: 1 }, &admitted.runs[0], now);
    }

    /// Decides what is due and hands on what was kept, to nobody.
    fn step(&mut self, now: UnixNanos) {
        while self.engine.decide_due(now, 2048) {
            while self.engine.take_parcel().is_some() {}
        }
        while self.engine.take_parcel().is_some() {}
        self.engine.tidy(now);
        let held = self.engine.footprint();
        self.account.settle(self.settled, held);
        self.settled = held;
    }
}

#[test]
fn what_a_sampler_holds_of_traces_of_one_span_was_granted() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut now = UnixNanos::from_secs(1_760_000_000);
    let mut sampler = Sampler::new(now);
    let before = LIVE.get();
    let (mut traces, mut most) = (0, 0);
    for number in 0..REQUESTS * SECONDS {
        now = now.saturating_add(Duration::from_secs(1) / REQUESTS as u32);
        sampler.take(request(&mut rng), now);
        sampler.step(now);
        let (live, granted) = (LIVE.get() - before, sampler.budget.used() as i64);
        assert!(live <= granted + SAMPLER_FREE_BYTES, "request {number}: {live} allocated of {granted} granted");
        (traces, most) = (traces.max(sampler.engine.traces()), most.max(live));
    }
    // What a burst leaves behind: what is remembered, and little of everything else.
    sampler.step(now.saturating_add(Duration::from_secs(10)));
    sampler.step(now.saturating_add(Duration::from_secs(20)));
    let (live, granted) = (LIVE.get() - before, sampler.budget.used() as i64);
    println!("{traces} traces held, {most} bytes allocated at most; {live} of {granted} granted when all were decided");
    assert!(traces > 190_000 && sampler.engine.traces() == 0);
    assert!(live <= granted + SAMPLER_FREE_BYTES, "{live} allocated of {granted} granted when all were decided");
}

#[test]
fn decided_traces_are_remembered_within_the_budget_and_forgotten_where_there_is_none() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut now = UnixNanos::from_secs(1_760_000_000);
    let mut sampler = Sampler::new(now);
    let budget = Budget::new(8 << 20, 8 << 20);
    sampler.engine.remember_within(budget.hard(), || budget.overdraw(0));
    let mut run = |sampler: &mut Sampler, seconds: u64| {
        for _ in 0..seconds * REQUESTS {
            now = now.saturating_add(Duration::from_secs(1) / REQUESTS as u32);
            sampler.take(request(&mut rng), now);
            sampler.step(now);
        }
    };
    run(&mut sampler, 15);
    let used = budget.used();
    assert!((256 << 10..=1 << 20).contains(&used), "an eighth of the budget at most: {used}");
    budget.set_limits(0, 0);
    sampler.engine.remember_within(1 << 30, || budget.overdraw(0));
    assert_eq!(budget.used(), 0);
    run(&mut sampler, 6);
    assert_eq!((budget.used(), budget.refused()), (0, 0), "what is remembered asks softly");
}
