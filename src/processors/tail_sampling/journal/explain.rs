//! An explanation of a recorded decision: the tree of policies with what each measured and what it wants.
//!
//! Made of the record alone, beside the policies by which it was decided: the numbers are those of the decision, the limits
//! answer what they answered then. Each node carries the facts by which its vote can be derived again, and a sentence.

use serde_json::{Value, json};

use crate::core::time::UnixNanos;
use crate::otlp::consistency::threshold::NEVER;
use crate::processors::tail_sampling::config::{SamplingSettings, Strategy};
use crate::processors::tail_sampling::journal::record::{DecisionRecord, LateRecord, Orphans};
use crate::processors::tail_sampling::journal::services::ServiceNames;
use crate::processors::tail_sampling::policies::circumstances::{Chance, Circumstances, Limits};
use crate::processors::tail_sampling::policies::decision::{CastVotes, Vote, Why};
use crate::processors::tail_sampling::policies::kinds::composite::Composite;
use crate::processors::tail_sampling::policies::kinds::latency::LatencyPolicy;
use crate::processors::tail_sampling::policies::kinds::ottl_condition::Ottl;
use crate::processors::tail_sampling::policies::kinds::probabilistic::Probabilistic;
use crate::processors::tail_sampling::policies::kinds::span_count::SpanCount;
use crate::processors::tail_sampling::policies::leaf::{Leaf, Sense};
use crate::processors::tail_sampling::policies::meter::{MeterId, MeterPlan};
use crate::processors::tail_sampling::policies::{InvertMeaning, PolicyRule, SubPolicy};
use crate::processors::tail_sampling::weights::salted::WeighedPolicies;

/// Explains records by the settings by which they were decided.
pub struct Explainer<'a> {
    pub settings: &'a SamplingSettings,
    /// Policy names in the order of the configuration.
    pub names: &'a [String],
}

const NOT_ASKED: &str = "not_asked";

impl Explainer<'_> {
    pub fn decision(&self, record: &DecisionRecord, services: &ServiceNames) -> Value {
        let mut page = facts(record, services);
        page["reason"] = self.reason(record.decision.why).into();
        page["weight"] = self.weight(record).into();
        page["votes"] = self.votes(record.votes).into();
        page["tree"] = self.tree(record).into();
        page
    }

    /// Known where nothing but chance decided; a limit's room is no probability.
    fn weight(&self, record: &DecisionRecord) -> Option<f64> {
        if let Some((_, weight)) = record.weighing {
            return weight.known().filter(|_| record.decision.kept);
        }
        let SamplingSettings { policies, rules, meters, strategy, .. } = self.settings;
        if *strategy == Strategy::SpanIngest {
            return None;
        }
        let weighed = WeighedPolicies { policies, rules: *rules, meters: meters.len() };
        weighed.kept_share(record).map(|share| 1.0 / share)
    }

    pub fn reason(&self, why: Why) -> String {
        let name = |place: u16| self.names.get(usize::from(place)).map_or("", |name| name);
        match why {
            Why::Policy(place) => format!("policy {}", name(place)),
            Why::DroppedBy(place) => format!("dropped by policy {}", name(place)),
            Why::NoMatch => "no policy voted for it".to_owned(),
            Why::TooLarge => "larger than maximum_trace_size_bytes".to_owned(),
        }
    }

    /// In the order of the configuration.
    fn votes(&self, cast: CastVotes) -> Vec<Value> {
        let word = |place: u16| match cast.of(place) {
            Some(vote) => vote.name(),
            None if place < CastVotes::POLICIES_MAX => NOT_ASKED,
            None => "not_recorded",
        };
        let places = (0..=u16::MAX).zip(self.names);
        places.map(|(place, name)| json!({ "policy": name, "vote": word(place) })).collect()
    }

    /// In the order in which the policies were asked; what was not asked has no values.
    fn tree(&self, record: &DecisionRecord) -> Vec<Value> {
        let chance = record.weighing.map_or(Chance::Salted, |(randomness, _)| Chance::Shared(randomness));
        let circumstances = Circumstances::new(Limits::Answered(record.answers), chance, UnixNanos::default());
        let told = RecordedFacts { record, settings: self.settings, circumstances };
        let policies = self.settings.policies.iter();
        policies
            .map(|policy| match record.votes.of(policy.place) {
                Some(vote) => told.node(&policy.name, &policy.rule, vote.name()).1,
                None => json!({ "policy": policy.name, "type": kind(&policy.rule), "vote": NOT_ASKED }),
            })
            .collect()
    }
}

/// What a record says of a trace whatever the policies were. Of policies that are no longer known the reason, the votes and the
/// tree are missing.
pub fn facts(record: &DecisionRecord, services: &ServiceNames) -> Value {
    let summary = &record.summary;
    let orphans = match record.orphans {
        Orphans::NotLookedAt => Value::Null,
        Orphans::None => false.into(),
        Orphans::Some => true.into(),
    };
    let services: Vec<&str> = record.services.iter().map(|number| services.name(number)).collect();
    json!({
        "kept": record.decision.kept,
        "version": record.version,
        "trigger": record.trigger.name(),
        "spans": summary.spans,
        "bytes": summary.bytes,
        "duration_ms": summary.duration_millis(),
        "services": services,
        "more_services": record.services.more,
        "root_is_there": record.has_root,
        "orphan_parents": orphans,
        "shadow_keeps": record.shadow_keeps,
        "decided_at_unix_nano": record.at.0,
    })
}

/// Late spans as the page tells them.
pub fn late(record: &LateRecord) -> Value {
    json!({
        "at_unix_nano": record.at.0,
        "kept": record.kept,
        "spans": record.spans,
        "after_ms": record.after_millis,
    })
}

/// The name of a rule's type; what asks one question of spans is called so, whichever policy asks.
fn kind(rule: &PolicyRule) -> &'static str {
    match rule {
        PolicyRule::Always => "always_sample",
        PolicyRule::Leaf(_) => "question",
        PolicyRule::Latency(_) => "latency",
        PolicyRule::Probabilistic(_) => "probabilistic",
        PolicyRule::SpanCount(_) => "span_count",
        PolicyRule::RateLimiting(_) => "rate_limiting",
        PolicyRule::BytesLimiting(_) => "bytes_limiting",
        PolicyRule::Ottl(_) => "ottl_condition",
        PolicyRule::And(_) => "and",
        PolicyRule::Not(_) => "not",
        PolicyRule::Drop(_) => "drop",
        PolicyRule::Composite(_) => "composite",
    }
}

/// What a record says, and what answers for the limits as they answered then.
struct RecordedFacts<'a> {
    record: &'a DecisionRecord,
    settings: &'a SamplingSettings,
    circumstances: Circumstances<'a>,
}

impl RecordedFacts<'_> {
    /// A policy that was asked: its vote, and its node. `recorded` is the vote's name where it was recorded.
    fn node(&self, name: &str, rule: &PolicyRule, recorded: &str) -> (Vote, Value) {
        let mut node = match rule {
            PolicyRule::And(parts) | PolicyRule::Drop(parts) => json!({ "of": self.all_of(parts) }),
            PolicyRule::Not(part) => json!({ "of": [self.part(part).1] }),
            PolicyRule::Composite(composite) => json!({ "of": self.shares_of(composite) }),
            single => self.measured(single),
        };
        let vote = rule.vote(&self.record.summary, &self.circumstances);
        node["policy"] = name.into();
        node["type"] = kind(rule).into();
        node["vote"] = if recorded.is_empty() { vote.name().into() } else { recorded.into() };
        (vote, node)
    }

    fn part(&self, part: &SubPolicy) -> (Vote, Value) {
        self.node(&part.name, &part.rule, "")
    }

    fn unasked(part: &SubPolicy) -> Value {
        json!({ "policy": part.name, "type": kind(&part.rule), "vote": NOT_ASKED })
    }

    /// The first that does not vote for the trace ends the question.
    fn all_of(&self, parts: &[SubPolicy]) -> Vec<Value> {
        let mut open = true;
        let node = |part: &SubPolicy| {
            if !open {
                return RecordedFacts::unasked(part);
            }
            let (vote, node) = self.part(part);
            open = matches!(vote, Vote::Sampled | Vote::WeaklySampled);
            node
        };
        parts.iter().map(node).collect()
    }

    /// The first that wants the trace owns it, or fails it.
    fn shares_of(&self, composite: &Composite) -> Vec<Value> {
        let mut open = true;
        let mut nodes = Vec::new();
        for share in &composite.shares {
            if !open {
                nodes.push(RecordedFacts::unasked(&share.part));
                continue;
            }
            let (vote, mut node) = self.part(&share.part);
            open = !matches!(vote, Vote::Sampled | Vote::WeaklySampled | Vote::Failed);
            node["spans_per_second"] = share.allowed.into();
            node["granted"] = self.record.answers.of(share.meter).filter(|_| !open).into();
            nodes.push(node);
        }
        nodes
    }

    /// What a rule without parts measured and wants.
    fn measured(&self, rule: &PolicyRule) -> Value {
        let summary = &self.record.summary;
        match rule {
            PolicyRule::Leaf(leaf) => self.leaf(leaf),
            PolicyRule::Latency(latency) => lasted(latency, summary.duration_millis()),
            PolicyRule::Probabilistic(chance) => match self.record.weighing {
                Some((randomness, _)) => shared(chance, randomness),
                None => drawn(chance, chance.hash(&summary.trace_id)),
            },
            PolicyRule::SpanCount(count) => counted(count, summary.spans),
            PolicyRule::RateLimiting(meter) => self.metered(*meter, summary.spans, "spans"),
            PolicyRule::BytesLimiting(meter) => self.metered(*meter, summary.bytes, "bytes"),
            PolicyRule::Ottl(ottl) => self.conditions(ottl),
            _ => json!({ "says": "wants every trace" }),
        }
    }

    fn leaf(&self, leaf: &Leaf) -> Value {
        let found = self.record.summary.bits.has(leaf.leaf);
        let question = self.settings.leaves.question(leaf.leaf);
        let (invert, wants) = match leaf.sense {
            Sense::Plain => ("no", ""),
            Sense::Inverted(InvertMeaning::Plain) => ("plain", ", wants none (invert_match)"),
            Sense::Inverted(InvertMeaning::Veto) => ("veto", ", is against such (invert_match)"),
        };
        let has = if found { "has a" } else { "has no" };
        json!({ "found": found, "invert": invert, "says": format!("{has} {question}{wants}") })
    }

    fn conditions(&self, ottl: &Ottl) -> Value {
        let bits = &self.record.summary.bits;
        let (found, failed) = (bits.has(ottl.hit), bits.has(ottl.failed));
        let question = self.settings.leaves.question(ottl.hit);
        let says = match (failed, found) {
            (true, _) => format!("could not be evaluated on a span: {question}"),
            (false, true) => format!("has a {question}"),
            (false, false) => format!("has no {question}"),
        };
        json!({ "found": found, "failed": failed, "says": says })
    }

    fn metered(&self, meter: MeterId, amount: u64, unit: &str) -> Value {
        let granted = self.record.answers.of(meter);
        let limit = match self.settings.meters.get(meter.0) {
            Some(MeterPlan::Bucket { rate, burst }) => format!("{rate} {unit} a second, up to {burst} at once"),
            Some(MeterPlan::PerSecond { allowed }) => format!("{allowed} {unit} in each second"),
            None => String::new(),
        };
        let fits = match granted {
            Some(true) => "fit",
            Some(false) => "did not fit",
            None => "were not recorded to fit",
        };
        json!({ "amount": amount, "granted": granted, "says": format!("{amount} {unit} {fits} into {limit}") })
    }
}

fn lasted(latency: &LatencyPolicy, millis: i64) -> Value {
    let LatencyPolicy { above, up_to } = *latency;
    let bound = up_to.map_or_else(String::new, |limit| format!(" and at most {limit} ms"));
    let says = format!("lasts {millis} ms, wants more than {above} ms{bound}");
    json!({ "millis": millis, "above": above, "up_to": up_to, "says": says })
}

fn drawn(chance: &Probabilistic, hash: u64) -> Value {
    let percent = |part: u64| part as f64 / 2f64.powi(64) * 100.0;
    let says = format!("its id draws {:.3} of 100, wants at most {}", percent(hash), chance.share * 100.0);
    json!({ "hash": hash, "threshold": chance.threshold, "share": chance.share, "says": says })
}

/// As [`drawn`], with the randomness that all policies share.
fn shared(chance: &Probabilistic, randomness: u64) -> Value {
    let percent = |part: u64| part as f64 / NEVER as f64 * 100.0;
    let wants = percent(chance.cut);
    let says = format!("its randomness is {:.3} of 100, wants at least {wants:.3}", percent(randomness));
    json!({ "randomness": randomness, "cut": chance.cut, "says": says })
}

fn counted(count: &SpanCount, spans: u64) -> Value {
    let SpanCount { min, max } = *count;
    let bound = max.map_or_else(String::new, |max| format!(" and at most {max}"));
    json!({ "spans": spans, "min": min, "max": max, "says": format!("has {spans} spans, wants at least {min}{bound}") })
}
