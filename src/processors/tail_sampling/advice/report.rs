//! What all shards of a sampler measured, its quantiles, and the waits and sizes that follow: part of the page `/v1/sampling`.
//!
//! Every ten minutes half is forgotten, so that the advice follows the traffic. Time comes as an argument.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::sizes::{MEASURED_SERVICES_MAX, ShardSizes, TraceSizes};
use crate::processors::tail_sampling::advice::sketch::ValueSketch;
use crate::processors::tail_sampling::journal::services::ServiceNames;

const HALVED_EVERY: Duration = Duration::from_secs(600);
/// Waits that are weighed, in seconds.
const WAITS: [u64; 9] = [1, 2, 5, 10, 20, 30, 60, 120, 300];
/// The recommended wait cuts no more than this share of the traces.
const CUT_MAX: f64 = 0.001;
/// Room above what the busiest second asked for.
const HEADROOM: f64 = 1.25;
/// What a held trace takes beside its spans (docs/sampling.md, "What it costs").
const TRACE_BYTES: f64 = 176.0;
/// Pressure begins at this part of `max_bytes`.
const PRESSURE: f64 = 0.8;
/// With fewer traces nothing is recommended.
const TRACES_MIN: u64 = 1000;

#[derive(Default)]
struct Measured {
    all: TraceSizes,
    services: BTreeMap<String, TraceSizes>,
    /// Seconds that the sums stand for; halved with them.
    seconds: f64,
    traces: f64,
    bytes: f64,
    /// The second that is being counted, and what came in it.
    second: u64,
    in_second: (u64, u64),
    /// The busiest second: traces and bytes.
    peak: (u64, u64),
    halved_at: UnixNanos,
    counted_at: UnixNanos,
}

/// Of one sampler.
#[derive(Default)]
pub struct SizingAdvice {
    // Locked about once a second by each shard, and by pages.
    measured: Mutex<Measured>,
}

impl SizingAdvice {
    /// Begins at this time of the shards' clock.
    pub fn since(now: UnixNanos) -> SizingAdvice {
        let measured = Measured { halved_at: now, counted_at: now, ..Measured::default() };
        SizingAdvice { measured: Mutex::new(measured) }
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.locked()
    }

    /// Takes what a shard, whose services have these names, measured until `now`.
    pub fn take(&self, sizes: &mut ShardSizes, names: &ServiceNames, now: UnixNanos) {
        let mut measured = self.measured();
        measured.count(sizes.traces, sizes.bytes, now);
        (sizes.traces, sizes.bytes) = (0, 0);
        measured.all.take_from(&mut sizes.all);
        for (number, theirs) in &mut sizes.services {
            let name = names.name(*number);
            if !measured.services.contains_key(name) && measured.services.len() >= MEASURED_SERVICES_MAX {
                continue;
            }
            measured.services.entry(name.to_owned()).or_default().take_from(theirs);
        }
        if now.since(measured.halved_at) >= HALVED_EVERY {
            measured.halve(now);
        }
    }

    /// What was observed, and what follows where traces wait so long at present.
    pub fn page(&self, decision_wait: Duration) -> Value {
        let measured = self.measured();
        let services = measured.services.iter().filter(|(_, sizes)| sizes.spans.count() > 0);
        let services: Vec<Value> = services
            .map(|(name, sizes)| {
                let mut page = quantiles(sizes);
                page["service"] = name.as_str().into();
                page
            })
            .collect();
        json!({
            "observed_seconds": measured.seconds,
            "traces_per_second": { "mean": measured.traces / measured.seconds.max(1.0), "peak": measured.peak.0 },
            "bytes_per_second": { "mean": measured.bytes / measured.seconds.max(1.0), "peak": measured.peak.1 },
            "all": quantiles(&measured.all),
            "services": services,
            "recommended": measured.recommended(decision_wait),
        })
    }
}

impl Measured {
    fn count(&mut self, traces: u64, bytes: u64, now: UnixNanos) {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            (self.second, self.in_second) = (second, (0, 0));
        }
        self.in_second = (self.in_second.0 + traces, self.in_second.1 + bytes);
        self.peak = (self.peak.0.max(self.in_second.0), self.peak.1.max(self.in_second.1));
        self.seconds += now.since(self.counted_at).as_secs_f64();
        self.counted_at = self.counted_at.max(now);
        self.traces += traces as f64;
        self.bytes += bytes as f64;
    }

    fn halve(&mut self, now: UnixNanos) {
        self.halved_at = now;
        self.all.sketches().into_iter().for_each(ValueSketch::halve);
        self.services.values_mut().flat_map(TraceSizes::sketches).for_each(ValueSketch::halve);
        self.services.retain(|_, sizes| sizes.spans.count() + sizes.late.count() > 0);
        (self.seconds, self.traces, self.bytes) = (self.seconds / 2.0, self.traces / 2.0, self.bytes / 2.0);
        // The busiest second of the time before fades.
        self.peak = (self.peak.0 * 3 / 4, self.peak.1 * 3 / 4);
    }

    /// The share of traces of which spans would come after such a wait. What came after the decision counts by request, so
    /// this is rather too much than too little.
    fn cut_by(&self, wait: Duration, present: Duration) -> f64 {
        let (wait, present) = (wait.as_millis() as u64, present.as_millis() as u64);
        let late = match wait.checked_sub(present) {
            Some(longer) => self.all.late.above(longer),
            None => self.all.spread.above(wait) + self.all.late.count(),
        };
        (late as f64 / self.all.spread.count().max(1) as f64).min(1.0)
    }

    /// Null while too little was seen.
    fn recommended(&self, present: Duration) -> Value {
        if self.all.spread.count() < TRACES_MIN {
            return Value::Null;
        }
        let waits: Vec<(u64, f64)> =
            WAITS.into_iter().map(|wait| (wait, self.cut_by(Duration::from_secs(wait), present))).collect();
        let enough = waits.iter().find(|(_, cut)| *cut <= CUT_MAX).or(waits.last()).copied().unwrap_or_default();
        let wait = enough.0 as f64;
        let (traces, bytes) =
            (self.peak.0 as f64 * wait, (self.peak.1 as f64 + self.peak.0 as f64 * TRACE_BYTES) * wait);
        // What is wanted at the busiest time, against what there would be.
        let cut = |wanted: f64, there: f64| (1.0 - there / wanted.max(1.0)).max(0.0);
        let choices = |wanted: f64, usable: f64| {
            let choice = |part: f64| {
                let size = wanted * HEADROOM * part / usable;
                json!({ "size": size.ceil(), "share_cut": cut(wanted, size * usable) })
            };
            [1.0, 0.5, 0.25].map(choice)
        };
        let max_bytes = bytes * HEADROOM / PRESSURE;
        json!({
            "decision_wait": {
                "seconds": enough.0,
                "share_cut": enough.1,
                "present": { "seconds": present.as_secs_f64(), "share_cut": self.cut_by(present, present) },
                "choices": waits.iter().map(|(wait, cut)| json!({ "seconds": wait, "share_cut": cut })).collect::<Vec<_>>(),
            },
            "num_traces": choices(traces, 1.0),
            "max_bytes": choices(bytes, PRESSURE),
            "memory_limit_bytes": memory_limit(max_bytes).ceil(),
        })
    }
}

/// The limit of the process beside which half of the budget is so many bytes: 16 MiB and an eighth of the rest are no budget
/// (core/data/budget.rs).
fn memory_limit(max_bytes: f64) -> f64 {
    max_bytes * 2.0 * 8.0 / 7.0 + f64::from(16 << 20)
}

fn quantiles(sizes: &TraceSizes) -> Value {
    let of = |sketch: &ValueSketch| {
        let shares = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
        let told = shares.into_iter().map(|(name, share)| (name.to_owned(), sketch.quantile(share).into()));
        Value::Object(told.collect())
    };
    json!({
        "traces": sizes.spans.count(),
        "spread_ms": of(&sizes.spread),
        "duration_ms": of(&sizes.duration),
        "spans": of(&sizes.spans),
        "bytes": of(&sizes.bytes),
        "late_ms": of(&sizes.late),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::tail_sampling::advice::sizes::MeasuredTrace;
    use crate::processors::tail_sampling::journal::record::TraceServices;

    fn at(seconds: u64) -> UnixNanos {
        UnixNanos::from_secs(1000 + seconds)
    }

    fn trace(spread: u64) -> MeasuredTrace {
        MeasuredTrace { spread, duration: 20, spans: 10, bytes: 8000 }
    }

    fn share(value: &Value) -> f64 {
        value["share_cut"].as_f64().expect("a share")
    }

    #[test]
    fn the_recommended_wait_is_the_shortest_that_cuts_hardly_any_trace() {
        let advice = SizingAdvice::since(at(0));
        let (mut sizes, names) = (ShardSizes::default(), ServiceNames::default());
        // Of 10,000 traces 2 % need up to 3 s, and for five of them something came 15 s after the decision at 10 s.
        for number in 0..10_000 {
            sizes.decided(&trace(if number % 50 == 0 { 3_000 } else { 100 }), &TraceServices::default());
        }
        (0..5).for_each(|_| sizes.late(0, 15_000));
        advice.take(&mut sizes, &names, at(10));
        let page = advice.page(Duration::from_secs(10));
        let wait = &page["recommended"]["decision_wait"];
        assert_eq!(wait["seconds"], 5, "{page}");
        assert!((share(wait) - 0.0005).abs() < 1e-9 && (share(&wait["present"]) - 0.0005).abs() < 1e-9, "{wait}");
        let of = |seconds: u64| {
            let choices = wait["choices"].as_array().expect("choices").iter();
            choices.clone().find(|choice| choice["seconds"] == seconds).map(share).expect("it is weighed")
        };
        assert!((of(2) - 0.0205).abs() < 1e-9, "{wait}");
        assert_eq!((of(30), of(20)), (0.0, 0.0005), "twenty seconds are ten more than it waited");
        assert_eq!(
            (&page["all"]["spread_ms"]["p50"], &page["traces_per_second"]["peak"]),
            (&111.into(), &10_000.into())
        );
        assert_eq!(page["traces_per_second"]["mean"], 1000.0);
    }

    #[test]
    fn sizes_follow_from_the_busiest_second_and_say_what_less_would_cut() {
        let advice = SizingAdvice::since(at(0));
        let (mut sizes, names) = (ShardSizes::default(), ServiceNames::default());
        for second in 1..=20 {
            (0..if second == 7 { 400 } else { 100 })
                .for_each(|_| sizes.decided(&trace(500), &TraceServices::default()));
            advice.take(&mut sizes, &names, at(second));
        }
        let recommended = &advice.page(Duration::from_secs(10))["recommended"];
        assert_eq!(recommended["decision_wait"]["seconds"], 1, "{recommended}");
        let traces = &recommended["num_traces"];
        assert_eq!((&traces[0]["size"], share(&traces[0])), (&500.0.into(), 0.0), "400 a second, and a quarter more");
        assert!((share(&traces[1]) - 0.375).abs() < 1e-9 && (share(&traces[2]) - 0.6875).abs() < 1e-9, "{traces}");
        let bytes = recommended["max_bytes"][0]["size"].as_f64().expect("bytes");
        assert!((bytes - 400.0 * 8176.0 * 1.25 / 0.8).abs() < 1.0, "{bytes}");
        let limit = recommended["memory_limit_bytes"].as_f64().expect("bytes");
        assert!(((limit - f64::from(16 << 20)) * 7.0 / 8.0 / 2.0 - bytes).abs() < 2.0, "{limit}");
    }

    #[test]
    fn what_is_long_ago_counts_less_and_little_is_no_ground_for_advice() {
        let advice = SizingAdvice::since(at(0));
        let (mut sizes, names) = (ShardSizes::default(), ServiceNames::default());
        let few = TraceServices::default();
        (0..500).for_each(|_| sizes.decided(&trace(1), &few));
        advice.take(&mut sizes, &names, at(1));
        assert!(advice.page(Duration::from_secs(10))["recommended"].is_null());
        for round in 1..20 {
            advice.take(&mut sizes, &names, at(round * 700));
        }
        assert_eq!(advice.page(Duration::from_secs(10))["all"]["traces"], 0);
    }

    #[test]
    fn services_are_told_apart_up_to_a_bound() {
        let mut sizes = ShardSizes::default();
        for service in 0..200 {
            let mut services = TraceServices::default();
            services.add(service);
            sizes.decided(&trace(1), &services);
        }
        assert_eq!((sizes.services.len(), sizes.all.spans.count()), (MEASURED_SERVICES_MAX, 200));
    }
}
