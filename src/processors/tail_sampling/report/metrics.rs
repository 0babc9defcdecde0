//! The sampler's metrics, under the Collector's names where it has them, and the counts behind `/v1/sampling`.
//!
//! Shards count in plain numbers and hand them over once a step, so that a decision costs no atomic operation.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, Histogram, Metric, Stats};
use crate::processors::tail_sampling::held::account::ByteAccount;
use crate::processors::tail_sampling::report::counts::{AGES, Ages, ShardCounts, Undecided, WEIGHT_KINDS};
use crate::processors::tail_sampling::report::early::Early;

pub const PREFIX: &str = "otelcol_processor_tail_sampling_";
/// Milliseconds, the Collector's bounds.
const RUNS: &[u64] = &[
    1, 2, 5, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2000, 3000, 4000, 5000, 10_000, 20_000, 30_000,
    50_000,
];

/// Counters of one processor in one pipeline.
pub struct Metrics {
    sampled: Arc<Counter>,
    not_sampled: Arc<Counter>,
    dropped: Arc<Counter>,
    new_traces: Arc<Counter>,
    dropped_too_early: Arc<Counter>,
    too_large: Arc<Counter>,
    late_kept: Arc<Counter>,
    late_dropped: Arc<Counter>,
    late_age: Arc<Histogram>,
    removal_age: Arc<Histogram>,
    decision_runs: Arc<Histogram>,
    pub evaluation_errors: Arc<Counter>,
    early: Vec<Arc<Counter>>,
    undecided: Vec<Arc<Counter>>,
    without_root: Arc<Counter>,
    with_orphans: Arc<Counter>,
    released: Arc<Counter>,
    weights: Vec<Arc<Counter>>,
    cut_unrepresented: Arc<Counter>,
    pub refused: Arc<Counter>,
    pub delivery_refused: Arc<Counter>,
    pub delivery_lost: Arc<Counter>,
}

/// The accounts of one processor: of each pipeline that uses it, and after a reload of the one before while it delivers what
/// it held.
#[derive(Default)]
pub struct ProcessorAccounts(Mutex<Vec<Weak<CountedAccount>>>);

/// An account that counts as long as somebody holds this.
pub struct CountedAccount(Arc<ByteAccount>);

impl ProcessorAccounts {
    pub fn add(&self, account: &Arc<ByteAccount>) -> Arc<CountedAccount> {
        let counted = Arc::new(CountedAccount(account.clone()));
        let mut known = self.0.locked();
        known.retain(|account| account.strong_count() > 0);
        known.push(Arc::downgrade(&counted));
        counted
    }

    fn sum(&self, read: fn(&ByteAccount) -> u64) -> u64 {
        self.0.locked().iter().filter_map(Weak::upgrade).map(|counted| read(&counted.0)).sum()
    }
}

impl Metrics {
    /// `processor` is the component's id.
    pub fn new(stats: &Stats, processor: &str) -> Arc<Metrics> {
        let counter =
            |name: &str, help, labels: &[(&'static str, &str)]| stats.counter(&format!("{PREFIX}{name}"), help, labels);
        let ours = |name: &str, help, labels: &[(&'static str, &str)]| {
            let mut all = vec![("processor", processor)];
            all.extend_from_slice(labels);
            stats.counter(&format!("podgate_tail_sampling_{name}"), help, &all)
        };
        let ages = |name: &str, help| stats.histogram(&format!("{PREFIX}{name}"), help, &[], AGES);
        let outcome = |decision, sampled| {
            let labels = [("decision", decision), ("sampled", sampled)];
            counter("global_count_traces_sampled", "Traces by the outcome of all policies.", &labels)
        };
        let from_cache = |sampled| {
            let help = "Late spans, counted by request and trace, that followed a remembered decision.";
            counter("early_releases_from_cache_decision", help, &[("sampled", sampled)])
        };
        let early = |early: &Early| {
            ours("early_decisions", "Traces decided before their wait was over.", &[("cause", early.name())])
        };
        let undecided = |cause: &Undecided| {
            ours("undecided_traces", "Traces that ended without a verdict.", &[("cause", cause.name())])
        };
        let weight = |kind: &&str| ours("weights", "Kept traces by what is known of their weight.", &[("kind", *kind)]);
        let fragments = |kind| ours("fragments", "Decided traces that are visibly not whole.", &[("kind", kind)]);
        Arc::new(Metrics {
            sampled: outcome("sampled", "true"),
            not_sampled: outcome("not_sampled", "false"),
            dropped: outcome("dropped", "false"),
            new_traces: counter("new_trace_id_received", "Traces begun.", &[]),
            dropped_too_early: counter(
                "sampling_trace_dropped_too_early",
                "Traces decided early because there was no room, and not kept.",
                &[],
            ),
            too_large: counter("traces_dropped_too_large", "Traces above maximum_trace_size_bytes.", &[]),
            late_kept: from_cache("true"),
            late_dropped: from_cache("false"),
            late_age: ages("sampling_late_span_age", "Seconds from the decision to a late span."),
            removal_age: ages("sampling_trace_removal_age", "Seconds from a trace's first span to its decision."),
            decision_runs: stats.histogram(
                &format!("{PREFIX}sampling_decision_timer_latency"),
                "Milliseconds of each run over the traces that were due.",
                &[],
                RUNS,
            ),
            evaluation_errors: counter("sampling_policy_evaluation_error", "Failed evaluations of conditions.", &[]),
            early: Early::ALL.iter().map(early).collect(),
            undecided: Undecided::ALL.iter().map(undecided).collect(),
            without_root: fragments("no_root"),
            with_orphans: fragments("orphan_parent"),
            weights: WEIGHT_KINDS.iter().map(weight).collect(),
            cut_unrepresented: ours(
                "cut_unrepresented_traces",
                "Traces that a limit cut off and that the weight of no kept trace stands for.",
                &[],
            ),
            released: ours("released_spans", "Spans of kept traces handed on.", &[]),
            refused: ours("refused_spans", "Spans refused because there was no room.", &[]),
            delivery_refused: ours("delivery_refusals", "Times the next stage refused a parcel of kept traces.", &[]),
            delivery_lost: ours("delivery_lost_spans", "Spans of kept traces that could not be delivered.", &[]),
        })
    }

    /// Registers what is read when scraped: sums over the accounts of all pipelines that use the processor.
    pub fn watch(stats: &Stats, processor: &str, accounts: &Arc<ProcessorAccounts>) {
        let gauge = |read: fn(&ByteAccount) -> u64| {
            let accounts = accounts.clone();
            Metric::ReadGauge(Arc::new(move || accounts.sum(read) as f64))
        };
        let labels = [("processor", processor)];
        let on_memory = format!("{PREFIX}sampling_traces_on_memory");
        stats.read(&on_memory, "Undecided traces held.", &labels, gauge(ByteAccount::traces));
        stats.read("podgate_tail_sampling_held_bytes", "Bytes the store holds.", &labels, gauge(ByteAccount::held));
        stats.read(
            "podgate_tail_sampling_delivering_bytes",
            "Bytes of kept traces that the next stage has not taken yet.",
            &labels,
            gauge(ByteAccount::delivering),
        );
        stats.read(
            "podgate_tail_sampling_queued_bytes",
            "Bytes admitted and not yet stored.",
            &labels,
            gauge(ByteAccount::queued),
        );
        stats.read("podgate_tail_sampling_max_bytes", "Bytes the store may hold.", &labels, gauge(ByteAccount::max));
    }

    /// Takes what a shard counted since the last step.
    pub fn take(&self, counts: &mut ShardCounts) {
        let moves = [
            (&self.sampled, &mut counts.kept),
            (&self.not_sampled, &mut counts.not_kept),
            (&self.dropped, &mut counts.dropped),
            (&self.new_traces, &mut counts.new_traces),
            (&self.dropped_too_early, &mut counts.early_not_kept),
            (&self.too_large, &mut counts.too_large),
            (&self.late_kept, &mut counts.late_kept),
            (&self.late_dropped, &mut counts.late_dropped),
            (&self.without_root, &mut counts.fragments_without_root),
            (&self.with_orphans, &mut counts.fragments_with_orphans),
            (&self.released, &mut counts.released),
            (&self.cut_unrepresented, &mut counts.cut_unrepresented),
            (&self.evaluation_errors, &mut counts.evaluation_errors),
        ];
        let early = self.early.iter().zip(&mut counts.early);
        let moves = moves
            .into_iter()
            .chain(early)
            .chain(self.weights.iter().zip(&mut counts.weights))
            .chain(self.undecided.iter().zip(&mut counts.undecided));
        moves.filter(|(_, count)| **count > 0).for_each(|(counter, count)| counter.add(std::mem::take(count)));
        counts.sampled_out = 0;
        for (histogram, ages) in
            [(&self.late_age, &mut counts.late_ages), (&self.removal_age, &mut counts.removal_ages)]
        {
            let Ages { counts, sum } = std::mem::take(ages);
            histogram.merge(&counts, sum);
        }
    }

    /// All traces that were due at one time have been decided; it took so long.
    pub fn decided_due(&self, took: Duration) {
        self.decision_runs.record(took.as_millis() as u64);
    }

    /// The page's part about counts.
    pub fn page(&self) -> Value {
        let early =
            Early::ALL.iter().zip(&self.early).map(|(early, count)| (early.name().to_owned(), count.get().into()));
        json!({
            "traces": { "new": self.new_traces.get(), "sampled": self.sampled.get(), "not_sampled": self.not_sampled.get(), "dropped": self.dropped.get() },
            "early": Value::Object(early.collect()),
            "fragments": { "no_root": self.without_root.get(), "orphan_parent": self.with_orphans.get() },
            "late": { "kept": self.late_kept.get(), "dropped": self.late_dropped.get() },
            "delivery": { "refusals": self.delivery_refused.get(), "lost_spans": self.delivery_lost.get() },
        })
    }
}
