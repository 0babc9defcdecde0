//! The `tail_sampling` block: every key of the Collector's processor, checked into [`SamplingSettings`] with located findings.
//!
//! What the Collector finds out at start or never (unknown policy types, wrong expressions, repeated names, a drop policy
//! that can never act) is found here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::check::Section;
use crate::core::diagnostic::{Diagnostic, Severity, code};
use crate::core::node::{Node, Place};
use crate::core::stage::factory::{CheckContext, CutValue};
use crate::processors::tail_sampling::decided::cache::remembered;
use crate::processors::tail_sampling::instance_lint;
use crate::processors::tail_sampling::policies::decision::{Fallback, PolicySet, Why};
use crate::processors::tail_sampling::policies::meter::MeterPlan;
use crate::processors::tail_sampling::policies::predicates::{LEAVES_MAX, Leaves, LeavesBuilder};
use crate::processors::tail_sampling::policies::{self, InvertMeaning, Policy, PolicyCheck, PolicyRole, PolicyRule};
use crate::processors::tail_sampling::shadow::{self, ShadowSettings};
use crate::processors::tail_sampling::summaries::digest::PolicyDigest;
use crate::processors::tail_sampling::weight_lint;
use crate::processors::tail_sampling::weights::marking::WeightMode;
use crate::processors::tail_sampling::weights::tick::ChanceCuts;

/// When traces are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Once, on the whole trace, when the wait is over.
    #[default]
    TraceComplete,
    /// Whenever spans arrive; a yes or a drop is final at once, and what is undecided at the end of the wait is dropped.
    SpanIngest,
}

/// What happens at shutdown to traces whose wait is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtShutdown {
    #[default]
    Decide,
    Drop,
}

/// What a sender meets when the store has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    #[default]
    Refuse,
    Block,
}

/// Sizes of `decision_cache` as they are written, each with its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct CachesWritten {
    kept: Option<(usize, Place)>,
    dropped: Option<(usize, Place)>,
}

impl SamplingSettings {
    /// The written sizes of caches that are more than a memory budget of so many bytes leaves room for.
    pub fn caches_cut(&self, budget: u64) -> Vec<CutValue> {
        let (kept, dropped) = remembered(budget, (self.kept_remembered, self.dropped_remembered));
        let CachesWritten { kept: kept_written, dropped: dropped_written } = self.caches_written;
        let both = [
            (kept_written, kept, "decision_cache::sampled_cache_size"),
            (dropped_written, dropped, "decision_cache::non_sampled_cache_size"),
        ];
        let cut = |(written, holds, key): (Option<(usize, Place)>, usize, &'static str)| {
            let (_, place) = written.filter(|(written, _)| *written > holds)?;
            let message = format!(
                "{holds} ids are remembered: a cache may take a sixteenth of the memory budget, which is {} MiB here",
                budget >> 20
            );
            Some(CutValue { place, key, message, help: "write a size that fits, or give the process more memory" })
        };
        both.into_iter().filter_map(cut).collect()
    }
}

/// The checked configuration of one processor.
#[derive(Clone)]
pub struct SamplingSettings {
    /// Which set of policies of a running sampler this is, from 1.
    pub version: u16,
    pub strategy: Strategy,
    pub decision_wait: Duration,
    pub root_wait: Option<Duration>,
    /// Undecided traces of all shards together; `None` unless written.
    pub num_traces: Option<u64>,
    pub overflow: Overflow,
    pub shards: usize,
    /// Ids of kept and of dropped traces that are remembered, all shards together.
    pub kept_remembered: usize,
    pub caches_written: CachesWritten,
    pub dropped_remembered: usize,
    pub at_shutdown: AtShutdown,
    pub trace_bytes_max: Option<u64>,
    /// Bytes of the store; `None` is half the budget.
    pub max_bytes: Option<u64>,
    pub rules: PolicySet,
    pub policies: Arc<Vec<Policy>>,
    pub leaves: Arc<Leaves>,
    /// Which policies these are, for the summaries of parts that other gateways hold.
    pub digest: PolicyDigest,
    /// Leaves of these policies, which stand before those that only the shadow asks.
    pub questions: usize,
    /// A policy reads attributes of container runs, so they cannot be bound as late as the decision.
    pub asks_for_runs: bool,
    /// What each shard's meters allow.
    pub meters: Arc<Vec<MeterPlan>>,
    /// Of each meter, the names of the policies it stands in: by these it goes on when policies change.
    pub meter_names: Arc<Vec<String>>,
    /// Bytes of the journal of all shards together; `None` unless written.
    pub journal_bytes: Option<u64>,
    pub weights: WeightMode,
    /// `sampling.policy` and `sampling.weight` are written on kept spans.
    pub weight_attributes: bool,
    /// The thresholds of all probabilistic policies, rising.
    pub cuts: Arc<ChanceCuts>,
    /// A set that is judged without effect.
    pub shadow: Option<Arc<ShadowSettings>>,
    /// What was checked, to check it again with another shadow.
    pub body: Arc<Node>,
}

/// What the processor is built of, and what a running one can take in its place.
pub struct SamplingPlan(pub SamplingSettings);

impl SamplingSettings {
    /// The name of the policy that a decision names.
    pub fn winner(&self, why: Why) -> &str {
        winner(&self.policies, why)
    }

    /// Policy names in the order of the configuration.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.policies.len()];
        self.policies.iter().for_each(|policy| names[usize::from(policy.place)].clone_from(&policy.name));
        names
    }

    /// Bytes of one shard's journal, beside a budget of so many.
    pub fn journal_bytes(&self, budget: u64) -> u64 {
        let bytes = self.journal_bytes.unwrap_or(JOURNAL_BYTES_DEFAULT.min(budget / JOURNAL_PART));
        bytes / self.shards as u64
    }
}

/// The name of the policy among these that a decision names.
pub fn winner(policies: &[Policy], why: Why) -> &str {
    let (Why::Policy(place) | Why::DroppedBy(place)) = why else { return "" };
    policies.iter().find(|policy| policy.place == place).map_or("", |policy| &policy.name)
}

/// Some 1.2 million decisions.
const JOURNAL_BYTES_DEFAULT: u64 = 64 << 20;
/// The part of the budget that the default does not exceed: data needs the memory more.
const JOURNAL_PART: u64 = 16;

const DECISION_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Longer waits are refused: a slip of the pen, and more than any store holds.
const DECISION_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
const SHARDS_MAX: u64 = 256;
const REMEMBERED_MAX: usize = 1 << 26;
const KEPT_KEY: &str = "sampled_cache_size";
const DROPPED_KEY: &str = "non_sampled_cache_size";
const KEPT_REMEMBERED_DEFAULT: usize = 1 << 16;
const DROPPED_REMEMBERED_DEFAULT: usize = 1 << 19;
const POLICIES_MAX: usize = 1000;

/// Checks the body; `None` after at least one error.
pub fn check(cx: &CheckContext<'_>, body: &Node) -> Option<SamplingSettings> {
    let section = Section::new(body, cx.path.clone(), &cx.checks.diagnostics);
    let errors_before = errors(&cx.checks.diagnostics);
    let gated = cx.checks.gates.is_on(USE_TRACE_STATE);
    let podgate = check_podgate(&section, gated);
    let strategies = [("trace-complete", Strategy::TraceComplete), ("span-ingest", Strategy::SpanIngest)];
    let strategy = section.choice("sampling_strategy", &strategies).unwrap_or_default();
    let shards = check_shards(&section);
    let mut policy_check = PolicyCheck {
        diagnostics: &cx.checks.diagnostics,
        leaves: LeavesBuilder::default(),
        meters: Vec::new(),
        meter_names: Vec::new(),
        within: Vec::new(),
        invert: podgate.invert.unwrap_or_default(),
        invert_chosen: podgate.invert.is_some(),
    };
    let policies = check_policies(&section, &mut policy_check);
    let first_match = section.bool("sample_on_first_match").unwrap_or(false);
    check_strategy(&section, cx, strategy, &policies);
    let whole_traces = strategy == Strategy::TraceComplete;
    let questions = policy_check.leaves.count();
    let shadow = podgate.shadow.as_ref().and_then(|node| {
        let path = section.child_path("podgate::shadow");
        shadow::check(node, path, &mut policy_check, whole_traces, check_policies)
    });
    lint_only_drops(&section, &policies, podgate.fallback);
    check_questions(&section, &policy_check.leaves);
    let asks_for_runs = asks_for_runs(&section, podgate.shadow.as_ref());
    section.not_yet(&["tail_storage"]);
    section.u64("expected_new_traces_per_sec");
    let caches = check_cache(&section, strategy);
    let decision_wait = check_wait(&section, "decision_wait").unwrap_or(DECISION_WAIT_DEFAULT);
    let cuts = Arc::new(ChanceCuts::of(&policies));
    let weights = podgate.weights.unwrap_or(if gated && whole_traces { WeightMode::Th } else { WeightMode::Off });
    weight_lint::lint(&section, weights, whole_traces, &policies);
    let settings = SamplingSettings {
        version: 1,
        strategy,
        decision_wait,
        root_wait: check_wait(&section, "decision_wait_after_root_received").filter(|wait| !wait.is_zero()),
        num_traces: section.u64("num_traces").filter(|count| *count != 0),
        overflow: if section.bool("block_on_overflow") == Some(true) { Overflow::Block } else { Overflow::Refuse },
        shards: shards as usize,
        kept_remembered: caches.kept,
        dropped_remembered: caches.dropped,
        caches_written: caches.written,
        at_shutdown: check_shutdown(&section),
        trace_bytes_max: section.u64("maximum_trace_size_bytes").filter(|bytes| *bytes != 0),
        max_bytes: podgate.max_bytes,
        rules: PolicySet { sample_on_first_match: first_match, fallback: podgate.fallback },
        policies: Arc::new(policies),
        leaves: Arc::new(policy_check.leaves.finish()),
        asks_for_runs,
        meters: Arc::new(policy_check.meters),
        meter_names: Arc::new(policy_check.meter_names),
        journal_bytes: podgate.journal_bytes,
        weights,
        digest: PolicyDigest::default(),
        questions,
        weight_attributes: podgate.weight_attributes,
        cuts,
        shadow: shadow.map(Arc::new),
        body: Arc::new(body.clone()),
    };
    let settings = SamplingSettings { digest: digest(&section, &settings, podgate.invert), ..settings };
    section.finish();
    (errors(&cx.checks.diagnostics) == errors_before).then_some(settings)
}

/// Of the policies, what their bits ask, and what beside them decides.
fn digest(section: &Section<'_>, settings: &SamplingSettings, invert: Option<InvertMeaning>) -> PolicyDigest {
    let SamplingSettings { strategy, rules, trace_bytes_max, weights, leaves, questions, .. } = settings;
    let (invert, weighed) = (invert.unwrap_or_default(), weights.is_on());
    let beside = format!("{strategy:?} {rules:?} {invert:?} {trace_bytes_max:?} {weighed}");
    let asked = leaves.questions().take(*questions);
    section.node("policies").map(|policies| PolicyDigest::new(policies, &beside, asked)).unwrap_or_default()
}

fn check_shutdown(section: &Section<'_>) -> AtShutdown {
    match section.bool("drop_pending_traces_on_shutdown") {
        Some(true) => AtShutdown::Drop,
        _ => AtShutdown::Decide,
    }
}

/// Whether a policy, or one of the shadow's, asks for what belongs to one run of a container.
fn asks_for_runs(section: &Section<'_>, shadow: Option<&Node>) -> bool {
    let diagnostics = section.diagnostics();
    let of_shadow = shadow.is_some_and(|node| {
        let section = Section::new(node, section.child_path("podgate::shadow"), diagnostics);
        instance_lint::lint(&section, diagnostics)
    });
    instance_lint::lint(section, diagnostics) || of_shadow
}

fn errors(diagnostics: &crate::core::diagnostic::Diagnostics) -> usize {
    diagnostics.sorted().iter().filter(|finding| finding.severity == Severity::Error).count()
}

fn check_shards(section: &Section<'_>) -> u64 {
    let shards = section.u64("num_shards").unwrap_or(1).max(1);
    if shards > SHARDS_MAX {
        section.invalid::<()>("num_shards", format!("{shards} shards"), &format!("1 to {SHARDS_MAX}"));
    }
    shards.min(SHARDS_MAX)
}

fn check_wait(section: &Section<'_>, key: &str) -> Option<Duration> {
    let wait = section.duration(key)?;
    if wait > DECISION_WAIT_MAX {
        return section.invalid(key, "longer than a day", "a wait such as 10s");
    }
    Some(wait)
}

/// How many decided traces are remembered.
struct CacheSizes {
    kept: usize,
    dropped: usize,
    written: CachesWritten,
}

fn check_cache(section: &Section<'_>, strategy: Strategy) -> CacheSizes {
    let (mut kept, mut dropped) = (None, None);
    if let Some(cache) = section.section("decision_cache") {
        let size = |key| cache.usize(key).filter(|size| *size != 0).map(|size| (size, cache.place_of(key)));
        (kept, dropped) = (size(KEPT_KEY), size(DROPPED_KEY));
        cache.finish();
    }
    let size = |written: Option<(usize, Place)>| written.map(|(size, _)| size.min(REMEMBERED_MAX));
    // At span ingest a no is never final: spans that come later are a new chance for the trace, as in the Collector.
    let dropped_default = match strategy {
        Strategy::TraceComplete => DROPPED_REMEMBERED_DEFAULT,
        Strategy::SpanIngest => 0,
    };
    CacheSizes {
        kept: size(kept).unwrap_or(KEPT_REMEMBERED_DEFAULT),
        dropped: size(dropped).unwrap_or(dropped_default),
        written: CachesWritten { kept, dropped },
    }
}

/// The keys that are podgate's alone.
#[derive(Default)]
struct Own {
    max_bytes: Option<u64>,
    journal_bytes: Option<u64>,
    weights: Option<WeightMode>,
    weight_attributes: bool,
    fallback: Fallback,
    invert: Option<InvertMeaning>,
    shadow: Option<Node>,
}

fn check_podgate(section: &Section<'_>, gated: bool) -> Own {
    let Some(own) = section.section("podgate") else { return Own::default() };
    own.choice("on_pressure", &[("decide_early", ())]);
    let checked = Own {
        max_bytes: own.bytes("max_bytes"),
        journal_bytes: own.bytes("journal_bytes"),
        weights: own.choice("weights", &WEIGHT_MODES),
        weight_attributes: own.bool("weight_attributes").unwrap_or(false),
        fallback: own.choice("default", &[("keep", Fallback::Keep), ("drop", Fallback::Drop)]).unwrap_or_default(),
        invert: own.choice("invert_match", &[("plain", InvertMeaning::Plain), ("veto", InvertMeaning::Veto)]),
        shadow: own.node("shadow").filter(|node| !node.is_null()).cloned(),
    };
    if checked.max_bytes.is_some_and(|bytes| bytes < MAX_BYTES_MIN) {
        own.invalid::<()>("max_bytes", "too small to hold anything", "4MiB or more");
    }
    if checked.weight_attributes && checked.weights.is_none_or(|weights| !weights.is_on()) && !gated {
        own.without_effect("weight_attributes", "`weights` is off");
    }
    if checked.invert == Some(InvertMeaning::Veto) {
        let message = "`invert_match` has the meaning it had before v0.144: a match vetoes the trace";
        own.warn("invert_match", code::DEPRECATED, message, Some("use a drop policy, which says the same"));
    }
    own.finish();
    checked
}

/// The Collector's switch for what `weights: th` does; what the configuration says itself counts before it.
const USE_TRACE_STATE: &str = "processor.tailsamplingprocessor.usetracestate";
const WEIGHT_MODES: [(&str, WeightMode); 3] =
    [("off", WeightMode::Off), ("th", WeightMode::Th), ("auto", WeightMode::Auto)];
const MAX_BYTES_MIN: u64 = 4 << 20;

/// How to do with fewer.
const FEWER_QUESTIONS: &str = "several values of a key in one policy are one question, and so is a condition that several policies \
                               and the shadow have";

fn check_questions(section: &Section<'_>, leaves: &LeavesBuilder) {
    if leaves.overflowed() {
        let asked = leaves.count();
        let message =
            format!("the policies ask {asked} different questions of spans, and at most {LEAVES_MAX} are answered");
        section.error("policies", code::LIMIT, message, Some(FEWER_QUESTIONS));
    }
}

fn check_policies(section: &Section<'_>, cx: &mut PolicyCheck<'_>) -> Vec<Policy> {
    let items = match section.list("policies") {
        Some(items) if items.len() > POLICIES_MAX => {
            let message = format!("these are {} policies, and a sampler takes at most {POLICIES_MAX}", items.len());
            section.error("policies", code::LIMIT, message, None);
            return Vec::new();
        }
        Some(items) if !items.is_empty() => items,
        _ => {
            section.missing::<()>("policies", "at least one policy; without one nothing is kept");
            return Vec::new();
        }
    };
    let path = section.child_path("policies");
    let mut names = HashSet::new();
    let mut checked = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let path = format!("{path}::{place}");
        let Some((name, rule)) = policies::check(item, path.clone(), cx, 0) else { continue };
        if !names.insert(name.clone()) {
            cx.diagnostics.push(
                Diagnostic::error(code::CONFLICT, item.get("name").map_or(item.place, |name| name.place))
                    .at(format!("{path}::name"))
                    .says(format!("two policies are named {name:?}"))
                    .expected("a name of its own"),
            );
        }
        let role = if matches!(rule, PolicyRule::Drop(_)) { PolicyRole::Drop } else { PolicyRole::Voter };
        checked.push(Policy { name, place: place as u16, role, rule });
    }
    checked.sort_by_key(|policy| (policy.role == PolicyRole::Voter, policy.place));
    checked
}

/// Without a policy that votes for a trace none is kept, which is not what a set of drop policies is written for.
fn lint_only_drops(section: &Section<'_>, policies: &[Policy], fallback: Fallback) {
    if policies.is_empty()
        || fallback == Fallback::Keep
        || policies.iter().any(|policy| policy.role == PolicyRole::Voter)
    {
        return;
    }
    let help = "add {name: rest, type: always_sample}, or podgate: {default: keep}";
    section.warn(
        "policies",
        code::LINT,
        "there are drop policies only: no policy votes for a trace, so nothing is kept",
        Some(help),
    );
}

/// Policies that cannot work at span ingest are refused, as in the Collector; a drop policy too, which there makes the
/// whole set keep nothing (contrib #47476).
fn check_strategy(section: &Section<'_>, cx: &CheckContext<'_>, strategy: Strategy, policies: &[Policy]) {
    if strategy != Strategy::SpanIngest {
        return;
    }
    for policy in policies {
        let path = section.child_path(&format!("policies::{}", policy.place));
        let place = section.node("policies").and_then(|list| list.items().get(usize::from(policy.place)));
        let (message, help) = if policy.role == PolicyRole::Drop {
            (
                "with span-ingest, a drop policy would stop every trace from being kept",
                "use sampling_strategy: trace-complete",
            )
        } else if policy.rule.is_stateful() {
            ("this policy needs the whole trace", "use sampling_strategy: trace-complete")
        } else {
            continue;
        };
        cx.checks.diagnostics.push(
            Diagnostic::error(code::CONFLICT, place.map(|node| node.place))
                .at(path)
                .says(message.to_owned())
                .help(help.to_owned()),
        );
    }
}
