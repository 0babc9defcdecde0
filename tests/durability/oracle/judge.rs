//! The engine of `tail_sampling` as a function of records and their times.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::time::Instant;

use podgate::config::read::yaml;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::diagnostic::Diagnostics;
use podgate::core::node::{Place, SourceId};
use podgate::core::report::stats::Stats;
use podgate::core::stage::component::ComponentId;
use podgate::core::stage::factory::{CheckContext, Checks};
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::config::{SamplingSettings, check};
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use podgate::processors::tail_sampling::live::LivePolicies;

use crate::oracle::kept::Record;

fn settings(yaml: &str) -> SamplingSettings {
    let node = yaml::parse(yaml, SourceId::default(), &Diagnostics::default()).unwrap_or_else(|_| panic!("{yaml}"));
    let (checks, id) = (Checks::default(), ComponentId::parse("tail_sampling").expect("an id"));
    let path = "processors::tail_sampling".to_owned();
    let cx = CheckContext { id: &id, path, place: Place::default(), checks: &checks };
    let settings = check(&cx, &node).expect("a sampler");
    // All shards are one: a trace is in one of them, and nothing of one touches another.
    SamplingSettings { shards: 1, kept_remembered: 1 << 20, dropped_remembered: 1 << 20, ..settings }
}

fn payload(bytes: &Bytes, arrival: UnixNanos) -> Payload {
    let envelope = envelope::decode(bytes.clone()).expect("a request");
    let items = envelope.messages() as u64;
    let origin = Arc::new(Origin::internal(arrival));
    Payload { signal: Signal::Traces, envelope, items, origin, ticket: Ticket::free(), share: Share::none() }
}

/// The trace and the number of each span.
pub fn spans_of(bytes: &Bytes) -> Vec<([u8; 16], u64)> {
    let payload = payload(bytes, UnixNanos(0));
    let of = |span: &[u8]| {
        let facts = podgate::otlp::span::read(span).expect("a span");
        let id = facts.span_id.try_into().map_or(0, u64::from_be_bytes);
        (facts.trace_id.try_into().expect("sixteen"), id)
    };
    payload.envelope.items().map(of).collect()
}

pub struct Judge;

impl Judge {
    /// The verdict of every wanted trace, over the records in their order, each at its arrival.
    pub fn over(policies: &str, records: &[Record], wanted: impl Fn(&[u8; 16]) -> bool) -> HashMap<[u8; 16], bool> {
        let settings = settings(policies);
        let account = ByteAccount::new(u64::MAX / 2, &Budget::unlimited());
        let mut now = UnixNanos(records.first().map_or(0, |record| record.arrival));
        let live = LivePolicies::new(&settings, &Arc::new(Stats::default()), "oracle", now);
        let bounds = Bounds { giant_bytes: u64::MAX, ..Bounds::of(&settings, 0) };
        let meters = Arc::new(live.current().meters.begun(now));
        let clock = (now, Instant::now as fn() -> Instant);
        let mut engine = Engine::new(settings.clone(), meters, bounds, RandomState::default(), clock);
        engine.log_verdicts();
        let mut found = HashMap::new();
        for record in records {
            now = now.max(UnixNanos(record.arrival));
            decide(&mut engine, now, &mut found);
            let payload = payload(&record.payload, now);
            let admission = Admission { leaves: &settings.leaves, account: &account, shards: 1, seed: 1 };
            let admitted = admission.read(&payload).expect("read");
            let incoming = AdmittedRequest {
                envelope: &payload.envelope,
                groups: &admitted.groups,
                links: &admitted.links,
                version: settings.version,
            };
            for runs in &admitted.runs {
                let runs: Vec<_> = runs.iter().filter(|run| wanted(&run.trace_id)).copied().collect();
                engine.accept(incoming, &runs, now);
            }
        }
        let end = now.saturating_add(settings.decision_wait * 2).saturating_add(std::time::Duration::from_secs(60));
        decide(&mut engine, end, &mut found);
        found
    }
}

fn decide(engine: &mut Engine, now: UnixNanos, found: &mut HashMap<[u8; 16], bool>) {
    loop {
        let due = engine.is_due(now);
        if due {
            engine.decide_due(now, 512);
        }
        while engine.take_parcel().is_some() {}
        for verdict in engine.take_to_log().into_iter().flat_map(|waiting| waiting.verdicts) {
            let before = found.insert(verdict.trace_id, verdict.decision.kept);
            assert_eq!(before, None, "the engine decides once");
        }
        if !due {
            return;
        }
    }
}
