//! Traces whose spans are with several gateways: what each says of its part, merged in any order, gives the verdicts of one
//! gateway that has them all (issue 20, item 4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value as Json, json};

use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::stage::factory::Checks;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::config::{self, SamplingSettings, Strategy};
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use podgate::processors::tail_sampling::held::ids::is_stand_in;
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use podgate::processors::tail_sampling::summaries::judge::{PolicyJudge, Undecidable};
use podgate::processors::tail_sampling::summaries::wire::{BYTES_MAX, decode, encode};
use podgate::processors::tail_sampling::summaries::{NotOneTrace, PartSummary};
use podgate::testing::check;

use crate::rig::node;
use crate::verdicts::{corpus, sets, trace_ids};

const START: UnixNanos = UnixNanos(1_760_000_000_000_000_000);
/// Runs of each set with another split.
const SPLITS: u64 = 4;

type TraceId = [u8; 16];

fn settings(config: &Json) -> SamplingSettings {
    let checks = Checks::default();
    check::run(&checks, "processors::tail_sampling", &node(config), config::check)
        .unwrap_or_else(|| panic!("{:#?}", checks.diagnostics.sorted()))
}

/// One gateway's sampler, without its tasks.
struct Gateway {
    settings: SamplingSettings,
    account: Arc<ByteAccount>,
    engine: Engine,
    met: BTreeSet<TraceId>,
}

impl Gateway {
    fn new(settings: &SamplingSettings) -> Gateway {
        let meters = Arc::new(RateMeters::new(&settings.meters, START));
        let bounds = Bounds { giant_bytes: u64::MAX, ..Bounds::of(settings, 0) };
        let clock = (START, tokio::time::Instant::now as fn() -> tokio::time::Instant);
        let mut engine = Engine::new(settings.clone(), meters, bounds, Default::default(), clock);
        engine.log_verdicts();
        let account = ByteAccount::new(u64::MAX / 2, &Budget::unlimited());
        Gateway { settings: settings.clone(), account, engine, met: BTreeSet::new() }
    }

    fn accept(&mut self, request: &ExportTraceServiceRequest, now: UnixNanos) {
        let envelope = envelope::decode(Bytes::from(request.encode_to_vec())).expect("a request");
        let (items, origin) = (envelope.messages() as u64, Arc::new(Origin::internal(now)));
        let payload =
            Payload { signal: Signal::Traces, envelope, items, origin, ticket: Ticket::free(), share: Share::none() };
        let admission = Admission { leaves: &self.settings.leaves, account: &self.account, shards: 1, seed: 1 };
        let admitted = admission.read(&payload).expect("memory without limit");
        let incoming = AdmittedRequest {
            envelope: &payload.envelope,
            groups: &admitted.groups,
            links: &admitted.links,
            version: self.settings.version,
        };
        self.met.extend(admitted.runs[0].iter().map(|run| run.trace_id));
        self.engine.accept(incoming, &admitted.runs[0], now);
    }

    /// Decides what is due; the verdicts since the last time.
    fn decide(&mut self, now: UnixNanos, verdicts: &mut BTreeMap<TraceId, bool>) {
        loop {
            let due = self.engine.is_due(now) && self.engine.decide_due(now, 512);
            while self.engine.take_parcel().is_some() {}
            let decided = self.engine.take_to_log().into_iter().flat_map(|waiting| waiting.verdicts);
            let decided = decided.filter(|verdict| !is_stand_in(&verdict.trace_id));
            verdicts.extend(decided.map(|verdict| (verdict.trace_id, verdict.decision.kept)));
            if !due && !self.engine.is_due(now) {
                return;
            }
        }
    }
}

/// The verdicts of one gateway that gets everything.
fn of_one(settings: &SamplingSettings, phases: &[Vec<ExportTraceServiceRequest>]) -> BTreeMap<TraceId, bool> {
    let (mut gateway, mut verdicts, mut now) = (Gateway::new(settings), BTreeMap::new(), START);
    for phase in phases {
        phase.iter().for_each(|request| gateway.accept(request, now));
        now = now.saturating_add(Duration::from_secs(10));
        gateway.decide(now, &mut verdicts);
    }
    verdicts
}

/// A request divided among `k` gateways, each span by chance.
pub fn divided(request: &ExportTraceServiceRequest, k: usize, rng: &mut Rng) -> Vec<ExportTraceServiceRequest> {
    let mut parts = vec![request.clone(); k];
    let mut owner = BTreeMap::new();
    for (at, part) in parts.iter_mut().enumerate() {
        let mut number = 0;
        for scope in part.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
            scope.spans.retain(|_| {
                number += 1;
                *owner.entry(number).or_insert_with(|| rng.usize(..k)) == at
            });
        }
        part.resource_spans.iter_mut().for_each(|group| group.scope_spans.retain(|scope| !scope.spans.is_empty()));
        part.resource_spans.retain(|group| !group.scope_spans.is_empty());
    }
    parts
}

/// What was merged: how many summaries of how many traces, and their bytes as encoded.
#[derive(Default)]
struct Measured {
    parts: usize,
    traces: usize,
    bytes: usize,
    longest: usize,
}

impl Measured {
    /// Writes and reads a summary, as a transport would.
    fn carried(&mut self, part: PartSummary) -> PartSummary {
        let mut bytes = Vec::new();
        encode(&part, &mut bytes);
        assert!(bytes.len() <= BYTES_MAX);
        self.parts += 1;
        self.bytes += bytes.len();
        self.longest = self.longest.max(bytes.len());
        decode(&bytes).expect("what was written")
    }
}

/// The parts of each trace that the gateways hold, merged in an order by chance.
fn merged(gateways: &mut [Gateway], rng: &mut Rng, measured: &mut Measured) -> BTreeMap<TraceId, PartSummary> {
    let met: BTreeSet<TraceId> = gateways.iter().flat_map(|gateway| gateway.met.iter().copied()).collect();
    let mut whole = BTreeMap::new();
    for id in met {
        let held = gateways.iter_mut().filter_map(|gateway| gateway.engine.part_summary(&id));
        let mut parts: Vec<PartSummary> = held.map(|part| measured.carried(part)).collect();
        rng.shuffle(&mut parts);
        let mut parts = parts.into_iter();
        let Some(mut trace) = parts.next() else {
            // A span without an id is a trace for itself where it came.
            assert!(is_stand_in(&id), "some gateway holds {id:02x?}");
            continue;
        };
        parts.for_each(|part| trace.merge(&part).expect("one trace and one set of policies"));
        measured.traces += 1;
        whole.insert(id, trace);
    }
    whole
}

/// The verdicts from merged summaries of `k` gateways, none of which decides.
fn of_parts(
    settings: &SamplingSettings,
    phases: &[Vec<ExportTraceServiceRequest>],
    (k, rng): (usize, &mut Rng),
    measured: &mut Measured,
) -> BTreeMap<TraceId, bool> {
    // A gateway that only tells its parts judges nothing on arrival, and drops nothing for its size.
    let holding = SamplingSettings { strategy: Strategy::TraceComplete, trace_bytes_max: None, ..settings.clone() };
    let meters = RateMeters::new(&settings.meters, START);
    let judge = PolicyJudge::new(settings, &meters);
    let mut verdicts: BTreeMap<TraceId, bool> = BTreeMap::new();
    for phase in phases {
        let mut gateways: Vec<Gateway> = (0..k).map(|_| Gateway::new(&holding)).collect();
        for request in phase {
            let parts = divided(request, k, rng);
            gateways.iter_mut().zip(&parts).for_each(|(gateway, part)| gateway.accept(part, START));
        }
        for (id, whole) in merged(&mut gateways, rng, measured) {
            // A decision is made once; at span ingest a no is none.
            if verdicts.get(&id).is_none_or(|kept| !kept && settings.strategy == Strategy::SpanIngest) {
                verdicts.insert(id, judge.decide_merged(&whole, START).expect("decidable").kept);
            }
        }
    }
    verdicts
}

pub fn seed() -> u64 {
    std::env::var("PODGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// The sets whose verdicts do not hang on which trace comes first.
pub fn decidable() -> impl Iterator<Item = (String, Json)> {
    sets().into_iter().filter(|(_, set)| set["kept"].is_array()).map(|(name, set)| (name, set["config"].clone()))
}

fn phases() -> Vec<Vec<ExportTraceServiceRequest>> {
    vec![corpus(0), corpus(1)]
}

#[test]
fn parts_of_two_to_five_gateways_give_the_verdicts_of_one_for_every_recorded_policy_set() {
    let seed = seed();
    println!("PODGATE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (mut measured, mut compared) = (Measured::default(), 0);
    let with_ids = trace_ids().iter().filter(|id| id.bytes().any(|digit| digit != b'0')).count();
    for (name, config) in decidable().filter(|(name, _)| name != "span_ingest_drop") {
        let settings = settings(&config);
        let expected = of_one(&settings, &phases());
        assert_eq!(expected.len(), with_ids, "{name}");
        for split in 0..SPLITS {
            let k = 2 + split as usize;
            let got = of_parts(&settings, &phases(), (k, &mut rng), &mut measured);
            assert_eq!(got, expected, "PODGATE_SEED={seed} {name} among {k} gateways");
        }
        compared += 1;
    }
    assert_eq!(compared, 50);
    let Measured { parts, traces, bytes, longest } = measured;
    println!("{parts} parts of {traces} traces: {} bytes a part on average, {longest} at most", bytes / parts);
}

/// Some spans say that they were sampled before, and traces decide by the randomness that they share.
fn marked(rng: &mut Rng) -> Vec<Vec<ExportTraceServiceRequest>> {
    let mut phases = phases();
    let mut mark = |span: &mut Span| {
        let states = ["", "ot=th:4", "ot=th:8;rv:c0000000000000", "ot=rv:f0000000000000", "ot=p:2;r:5", "ot=th:0;p:3"];
        span.trace_state = states[rng.usize(..states.len())].to_owned();
    };
    let groups = phases.iter_mut().flatten().flat_map(|request| &mut request.resource_spans);
    groups.flat_map(|group| &mut group.scope_spans).flat_map(|scope| &mut scope.spans).for_each(&mut mark);
    phases
}

#[test]
fn with_weights_parts_give_the_same_verdicts_by_what_all_their_trace_states_say() {
    let seed = seed();
    println!("PODGATE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut measured = Measured::default();
    for (name, mut config) in decidable().filter(|(name, _)| !name.starts_with("span_ingest")) {
        config["podgate"] = json!({ "weights": "th" });
        let (settings, phases) = (settings(&config), marked(&mut rng));
        let expected = of_one(&settings, &phases);
        let got = of_parts(&settings, &phases, (3, &mut rng), &mut measured);
        assert_eq!(got, expected, "PODGATE_SEED={seed} {name}");
    }
    let Measured { parts, bytes, longest, .. } = measured;
    println!("{} bytes a part on average, {longest} at most", bytes / parts);
}

#[test]
fn merged_parts_are_the_summary_of_the_whole_and_count_the_messages_above_divided_spans_once_for_each_part() {
    let seed = seed();
    println!("PODGATE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let policies = json!([
        { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "name": "rate", "type": "bytes_limiting", "bytes_limiting": { "bytes_per_second": 1000 } },
    ]);
    let settings = settings(&json!({ "decision_wait": "60s", "policies": policies }));
    let summaries = |gateways: &mut [Gateway], rng: &mut Rng| merged(gateways, rng, &mut Measured::default());
    let mut one = [Gateway::new(&settings)];
    let (mut by_request, mut by_span): (Vec<Gateway>, Vec<Gateway>) =
        (0..4).map(|_| (Gateway::new(&settings), Gateway::new(&settings))).unzip();
    for request in phases().iter().flatten() {
        one[0].accept(request, START);
        by_request[rng.usize(..4)].accept(request, START);
        let parts = divided(request, 4, &mut rng);
        by_span.iter_mut().zip(&parts).for_each(|(gateway, part)| gateway.accept(part, START));
    }
    let whole = summaries(&mut one, &mut rng);
    assert_eq!(summaries(&mut by_request, &mut rng), whole, "PODGATE_SEED={seed}");
    let divided = summaries(&mut by_span, &mut rng);
    let mut longer = 0;
    for (id, mut part) in divided {
        assert!(part.summary.bytes >= whole[&id].summary.bytes);
        longer += u64::from(part.summary.bytes > whole[&id].summary.bytes);
        part.summary.bytes = whole[&id].summary.bytes;
        assert_eq!(part, whole[&id], "PODGATE_SEED={seed}");
    }
    assert!(longer > 0);
}

#[test]
fn a_summary_by_other_policies_is_neither_merged_nor_decided_whatever_shadow_stands_beside_them() {
    let policy =
        |name: &str, least: u64| json!({ "name": name, "type": "span_count", "span_count": { "min_spans": least } });
    let errors = json!({ "name": "e", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } });
    let (two, three) = (json!({ "policies": [policy("a", 2)] }), json!({ "policies": [policy("a", 3)] }));
    let shadowed = json!({ "policies": [policy("a", 2)], "podgate": { "shadow": { "policies": [errors] } } });
    let first_match = json!({ "policies": [policy("a", 2)], "sample_on_first_match": true });
    let waits = json!({ "decision_wait": "77s", "num_shards": 4, "policies": [policy("a", 2)] });
    let [two, three, shadowed, first_match, waits] =
        [two, three, shadowed, first_match, waits].map(|config| settings(&config));
    assert_eq!((shadowed.digest, waits.digest), (two.digest, two.digest));
    assert!(three.digest != two.digest && first_match.digest != two.digest);
    let parts = |settings: &SamplingSettings| {
        let mut gateway = [Gateway::new(settings)];
        corpus(0).iter().for_each(|request| gateway[0].accept(request, START));
        merged(&mut gateway, &mut Rng::with_seed(1), &mut Measured::default())
    };
    let (of_two, of_three, of_shadowed) = (parts(&two), parts(&three), parts(&shadowed));
    assert_eq!(of_shadowed, of_two, "bits that only the shadow asks are left out");
    let meters = RateMeters::new(&[], START);
    for (id, part) in of_two {
        let mut whole = part;
        assert_eq!(whole.merge(&of_three[&id]), Err(NotOneTrace::OtherPolicies));
        assert_eq!(PolicyJudge::new(&three, &meters).decide_merged(&part, START), Err(Undecidable::OtherPolicies));
    }
}

#[test]
fn at_span_ingest_a_summary_is_decided_only_by_policies_that_later_spans_cannot_take_back() {
    let error = json!({ "name": "e", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } });
    let not = json!({ "name": "n", "type": "not", "not": { "not_sub_policy": error } });
    let condition = |mode: &str| {
        let ottl = json!({ "error_mode": mode, "span": ["attributes[\"k\"] > 3"] });
        json!({ "name": "o", "type": "ottl_condition", "ottl_condition": ottl })
    };
    let invert = json!({ "name": "i", "type": "numeric_attribute",
        "numeric_attribute": { "key": "k", "min_value": 1, "max_value": 2, "invert_match": true } });
    let cases =
        [(error, true), (not, false), (condition("ignore"), true), (condition("propagate"), false), (invert, false)];
    for (policy, decidable) in cases {
        let ingest = settings(&json!({ "sampling_strategy": "span-ingest", "policies": [policy] }));
        let holding = SamplingSettings { strategy: Strategy::TraceComplete, ..ingest.clone() };
        let mut gateway = [Gateway::new(&holding)];
        corpus(1).iter().for_each(|request| gateway[0].accept(request, START));
        let part =
            *merged(&mut gateway, &mut Rng::with_seed(1), &mut Measured::default()).values().next().expect("one");
        let decided = PolicyJudge::new(&ingest, &RateMeters::new(&[], START)).decide_merged(&part, START);
        assert_eq!(decided.err(), (!decidable).then_some(Undecidable::SpanIngest), "{policy}");
    }
}
