//! Weights against the truth: synthetic traces in strata, some of them sampled before, and each kind of policy and nesting;
//! weighted counts, sums and quantiles must estimate the whole within their confidence bounds.
//!
//! Each check is a deviation in units of its own standard error, which the weights give: that of a count is the root of the
//! sum of w(w-1) over the kept traces. Reckoned false alarms: a normal deviation exceeds 4.75 with a probability of 2e-6, so
//! that of the 1,479 checks of a short run 0.003 are expected to fail by chance; seeds are fixed, so a run repeats.

use fastrand::Rng;
use serde_json::{Value as Json, json};

use podgate::core::time::UnixNanos;
use podgate::otlp::consistency::threshold::keeping;
use podgate::processors::tail_sampling::config::SamplingSettings;
use podgate::processors::tail_sampling::policies::decision::{TraceSummary, Votes};
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use podgate::processors::tail_sampling::policies::predicates::LeafId;
use podgate::processors::tail_sampling::weights::draw::TraceDraw;
use podgate::processors::tail_sampling::weights::tick::{ChanceCuts, ConsistentPolicies, DrawnTrace, WeighedDecision};

use crate::settings::settings;

/// Deviations beyond this are no chance.
const DEVIATION_MAX: f64 = 4.75;
/// Fewer kept traces tell nothing of a stratum.
const KEPT_MIN: usize = 40;
const FIRST_SEED: u64 = 1_000;
/// Traces that are decided in one second.
const TICK: usize = 250;
const BASE: u64 = 1_760_000_000;
/// What a quantile of durations is asked for.
const QUANTILE: f64 = 0.95;

const SERVICES: [&str; 3] = ["cart", "pay", "mail"];

fn status(name: &str) -> Json {
    json!({ "name": name, "type": "status_code", "status_code": { "status_codes": ["ERROR"] } })
}

fn service(name: &str) -> Json {
    json!({ "name": name, "type": "string_attribute", "string_attribute": { "key": "service.name", "values": [name] } })
}

fn chance(percent: u64) -> Json {
    json!({ "name": format!("p{percent}"), "type": "probabilistic", "probabilistic": { "sampling_percentage": percent } })
}

fn all(name: &str, parts: &[Json]) -> Json {
    json!({ "name": name, "type": "and", "and": { "and_sub_policy": parts } })
}

fn slow(name: &str) -> Json {
    json!({ "name": name, "type": "latency", "latency": { "threshold_ms": 1000 } })
}

/// Sets that use every kind of rule, alone and nested.
fn sets() -> Vec<(&'static str, Vec<Json>)> {
    let not = |part: Json| json!({ "name": "not", "type": "not", "not": { "not_sub_policy": part } });
    let dropping = |parts: &[Json]| json!({ "name": "drop", "type": "drop", "drop": { "drop_sub_policy": parts } });
    let rate = |rate: u64| json!({ "name": "rate", "type": "rate_limiting", "rate_limiting": { "spans_per_second": rate, "burst_capacity": rate } });
    let bytes = |rate: u64| json!({ "name": "bytes", "type": "bytes_limiting", "bytes_limiting": { "bytes_per_second": rate, "burst_capacity": rate } });
    let composite = json!({ "name": "shares", "type": "composite", "composite": {
        "max_total_spans_per_second": 1600, "policy_order": ["failed", "rest"],
        "composite_sub_policy": [status("failed"), { "name": "rest", "type": "always_sample" }],
        "rate_allocation": [{ "policy": "failed", "percent": 50 }, { "policy": "rest", "percent": 50 }] } });
    let always = || json!({ "name": "all", "type": "always_sample" });
    vec![
        ("chance", vec![chance(10)]),
        ("errors, slow and chance", vec![status("e"), slow("s"), chance(10)]),
        (
            "two chances with salts",
            vec![
                all("a", &[service("cart"), chance(40)]),
                json!({ "name": "b", "type": "probabilistic", "probabilistic": { "sampling_percentage": 15, "hash_salt": "x" } }),
            ],
        ),
        ("chance within chance", vec![all("a", &[chance(50), chance(20)]), all("b", &[slow("s"), chance(60)])]),
        ("dropped by chance", vec![dropping(&[service("pay"), chance(50)]), status("e"), chance(70)]),
        ("not of chance", vec![not(chance(80)), status("e")]),
        ("all", vec![always()]),
        ("a rate", vec![status("e"), rate(900)]),
        ("bytes and chance", vec![bytes(150_000), all("a", &[slow("s"), chance(50)])]),
        ("a rate within a question", vec![all("a", &[service("cart"), rate(500)]), chance(20)]),
        ("composite", vec![composite, chance(15)]),
        ("not of a question", vec![all("a", &[not(status("e")), chance(12)]), status("e")]),
    ]
}

fn policies(list: &[Json]) -> SamplingSettings {
    settings(&json!({ "policies": list, "podgate": { "weights": "auto" } }))
}

/// One trace of the whole, whether it comes or a head sampler left it out.
struct Origin {
    service: usize,
    failed: bool,
    millis: u64,
    comes: bool,
    trace: DrawnTrace,
}

/// What the spans of a trace would have answered to what a set of policies asks.
fn answer(settings: &SamplingSettings, origin: &mut Origin) {
    for leaf in (0..settings.leaves.count()).map(|leaf| LeafId(leaf as u8)) {
        let question = settings.leaves.question(leaf);
        let yes = match SERVICES.iter().position(|service| question.contains(&format!("[{service}]"))) {
            Some(service) => origin.service == service,
            None => origin.failed && question.contains("ERROR"),
        };
        if yes {
            origin.trace.summary.bits.set(leaf);
        }
    }
}

/// Of the second service a head sampler keeps a quarter by threshold, of the third one half by the older specification.
fn origin(rng: &mut Rng, thresholds: bool) -> Origin {
    let service = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2][rng.usize(0..10)];
    let failed = rng.f64() < 0.08;
    // Most take some hundred milliseconds; failed ones longer.
    let millis = (-(1.0 - rng.f64()).ln() * if failed { 900.0 } else { 350.0 }) as u64;
    let spans = 1 + (-(1.0 - rng.f64()).ln() * 8.0).min(39.0) as u64;
    let summary = TraceSummary {
        trace_id: rng.u128(..).to_be_bytes(),
        min_start: BASE * 1_000_000_000,
        max_end: BASE * 1_000_000_000 + millis * 1_000_000,
        spans,
        bytes: spans * rng.u64(300..900),
        ..TraceSummary::default()
    };
    let mut draw = TraceDraw::of_id(&summary.trace_id);
    let comes = match service {
        1 if thresholds => {
            draw.threshold = keeping(0.25);
            draw.randomness >= draw.threshold
        }
        2 => {
            draw.exponent = 1;
            rng.bool()
        }
        _ => true,
    };
    Origin { service, failed, millis, comes, trace: DrawnTrace { summary, draw } }
}

/// A kept trace with its weight.
type Kept<'o> = (&'o Origin, f64);

/// What of a run was checked, and how far it was off.
#[derive(Default)]
struct Deviations {
    all: Vec<(f64, String)>,
    /// Strata with too few kept traces.
    skipped: usize,
}

impl Deviations {
    /// The estimated sum of `value` over a stratum against the true one.
    fn sum(&mut self, about: &str, origins: &[Origin], kept: &[Kept<'_>], value: impl Fn(&Origin) -> f64) {
        let truth: f64 = origins.iter().map(&value).sum();
        let counted = kept.iter().filter(|(origin, _)| value(origin) != 0.0).count();
        if counted < KEPT_MIN {
            self.skipped += 1;
            return;
        }
        let estimate: f64 = kept.iter().map(|(origin, weight)| weight * value(origin)).sum();
        let variance: f64 = kept.iter().map(|(origin, weight)| weight * (weight - 1.0) * value(origin).powi(2)).sum();
        // Where nothing was left to chance the sums are equal but for rounding.
        let error = variance.sqrt().max(1e-9 * truth);
        self.all.push(((estimate - truth) / error, format!("{about}: {estimate:.0} of {truth:.0}")));
    }

    /// The share of the estimated whole below the true quantile.
    fn quantile(&mut self, about: &str, origins: &[Origin], kept: &[Kept<'_>]) {
        let mut millis: Vec<u64> = origins.iter().map(|origin| origin.millis).collect();
        millis.sort_unstable();
        let quantile = millis[(QUANTILE * millis.len() as f64) as usize];
        let below = millis.partition_point(|millis| *millis <= quantile) as f64 / millis.len() as f64;
        let share = |origin: &Origin| f64::from(u8::from(origin.millis <= quantile)) - below;
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let off = kept.iter().map(|(origin, weight)| weight * share(origin)).sum::<f64>() / total;
        let variance = kept.iter().map(|(origin, weight)| weight * (weight - 1.0) * share(origin).powi(2)).sum::<f64>();
        let error = (variance.sqrt() / total).max(1e-9);
        self.all.push((off / error, format!("{about}: {:.4} of {below:.4} below {quantile} ms", below + off)));
    }
}

fn run(name: &str, list: &[Json], seed: u64, count: usize, found: &mut Deviations) {
    let settings = policies(list);
    let mut rng = Rng::with_seed(seed);
    // What keeps low randomness keeps nothing of what a head sampler's threshold lets pass, and nobody stands for that.
    let thresholds = !name.starts_with("not of chance") && !name.starts_with("dropped by chance");
    let mut origins: Vec<Origin> = (0..count).map(|_| origin(&mut rng, thresholds)).collect();
    origins.iter_mut().for_each(|origin| answer(&settings, origin));
    let mut now = UnixNanos::from_secs(BASE);
    let meters = RateMeters::new(&settings.meters, now);
    let consistent = ConsistentPolicies {
        policies: &settings.policies,
        rules: settings.rules,
        cuts: &settings.cuts,
        meters: &meters,
    };
    // The same without the short way that rules take which only rise with the randomness.
    let mut every_edge = ChanceCuts::clone(&settings.cuts);
    every_edge.only_rises = false;
    let again = RateMeters::new(&settings.meters, now);
    let whole_way = ConsistentPolicies { cuts: &every_edge, meters: &again, ..consistent };
    let mut votes = vec![Votes::default(); settings.policies.len()];
    let (mut kept, mut hopeless): (Vec<Kept<'_>>, u64) = (Vec::new(), 0);
    for tick in origins.chunks(TICK) {
        now = UnixNanos(now.0 + 1_000_000_000);
        let come: Vec<&Origin> = tick.iter().filter(|origin| origin.comes).collect();
        let traces: Vec<DrawnTrace> = come.iter().map(|origin| origin.trace).collect();
        let decided = consistent.decide_tick(&traces, &mut votes, now, &mut hopeless);
        assert_eq!(decided.len(), traces.len());
        if seed == FIRST_SEED {
            let whole_way = whole_way.decide_tick(&traces, &mut [], now, &mut 0);
            let weights = |all: &[WeighedDecision]| all.iter().map(|decided| decided.weight).collect::<Vec<_>>();
            assert_eq!(weights(&decided), weights(&whole_way), "{name}");
        }
        for (origin, decided) in come.into_iter().zip(&decided).filter(|(_, decided)| decided.decision.kept) {
            let weight = decided.weight.unwrap_or_else(|| panic!("seed {seed}, {name}: a weight is unknown"));
            if let Some(threshold) = weight.threshold {
                assert!(origin.trace.draw.randomness >= threshold, "seed {seed}, {name}: a threshold above R");
            }
            kept.push((origin, weight.weight));
        }
    }
    assert_eq!(hopeless, 0, "seed {seed}, {name}: the limits are meant to have room for each trace alone");
    let about = |what: &str| format!("seed {seed}, {name}, {what}");
    let one = |yes: bool| f64::from(u8::from(yes));
    found.sum(&about("traces"), &origins, &kept, |_| 1.0);
    found.sum(&about("spans"), &origins, &kept, |origin| origin.trace.summary.spans as f64);
    found.sum(&about("bytes"), &origins, &kept, |origin| origin.trace.summary.bytes as f64);
    found.sum(&about("errors"), &origins, &kept, |origin| one(origin.failed));
    found.sum(&about("no errors"), &origins, &kept, |origin| one(!origin.failed));
    found.sum(&about("slow"), &origins, &kept, |origin| one(origin.millis > 1000));
    found.sum(&about("large"), &origins, &kept, |origin| one(origin.trace.summary.spans > 15));
    for service in 0..3 {
        found.sum(&about(&format!("service {service}")), &origins, &kept, |origin| one(origin.service == service));
        let errors = about(&format!("errors of service {service}"));
        found.sum(&errors, &origins, &kept, |origin| one(origin.failed && origin.service == service));
    }
    found.quantile(&about("quantile"), &origins, &kept);
}

/// 10 seeds of 4,000 traces for each set; with `PODGATE_LONG=1` 100 seeds of 100,000 (`make sampling-estimates`);
/// `PODGATE_SEEDS` is another number of seeds.
#[test]
fn weighted_counts_sums_and_quantiles_estimate_the_whole_in_every_stratum() {
    let long = std::env::var_os("PODGATE_LONG").is_some();
    let (usual, count) = if long { (100, 100_000) } else { (10, 4_000) };
    let seeds = std::env::var("PODGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual);
    let mut all = Deviations::default();
    for (name, list) in sets() {
        let mut found = Deviations::default();
        for seed in 0..seeds {
            run(name, &list, FIRST_SEED + seed, count, &mut found);
        }
        let deviations = found.all.iter().map(|(deviation, _)| *deviation);
        let checks = found.all.len() as f64;
        let mean = deviations.clone().sum::<f64>() / checks;
        let beyond = deviations.filter(|deviation| deviation.abs() > 1.96).count() as f64 / checks;
        println!(
            "{name}: {checks} checks, mean {mean:+.3}, beyond 1.96: {:.1} %, skipped {}",
            beyond * 100.0,
            found.skipped
        );
        // Chance alone leaves 5 % beyond 1.96; sums of one run share their traces, so single sets stray.
        assert!(beyond < 0.15, "{name}: {:.1} % of the deviations are beyond 1.96", beyond * 100.0);
        assert!(mean.abs() < 0.75, "{name}: deviations of {mean:+.3} on average");
        all.all.append(&mut found.all);
        all.skipped += found.skipped;
    }
    let worst = all.all.iter().max_by(|one, other| one.0.abs().total_cmp(&other.0.abs())).expect("checks");
    println!(
        "{} checks, {} skipped; the worst is off by {:+.2} standard errors: {}",
        all.all.len(),
        all.skipped,
        worst.0,
        worst.1
    );
    let wrong: Vec<&String> =
        all.all.iter().filter(|(off, _)| off.abs() > DEVIATION_MAX).map(|(_, about)| about).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
