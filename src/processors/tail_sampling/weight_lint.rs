//! What `podgate: {weights: ...}` means for the policies it stands beside, said before the gateway runs.

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::otlp::consistency::threshold::probability;
use crate::processors::tail_sampling::policies::{Policy, PolicyRule};
use crate::processors::tail_sampling::weights::marking::{WeightMode, exponent_of};

/// `whole_traces` says that each is decided once, when it is complete.
pub fn lint(section: &Section<'_>, weights: WeightMode, whole_traces: bool, policies: &[Policy]) {
    if !weights.is_on() {
        return;
    }
    // Where it was a feature gate that turned them on, it is the policies that are told of.
    let podgate = section.section("podgate").filter(|own| own.node("weights").is_some());
    let (own, key) = podgate.as_ref().map_or((section, "policies"), |own| (own, "weights"));
    if !whole_traces {
        let message = "with span-ingest a trace may be kept before it is known which policies want it, so its weight is not known";
        own.error(key, code::CONFLICT, message, Some("use sampling_strategy: trace-complete, or weights: off"));
        return;
    }
    let mut shares = Vec::new();
    for policy in policies {
        policy.rule.each(&mut |rule| {
            if let PolicyRule::Probabilistic(chance) = rule {
                shares.push(chance);
            }
        });
    }
    if shares.is_empty() {
        return;
    }
    let message = "probabilistic policies decide by the trace's own randomness, not by a salted hash: they keep as many traces as \
                   before, but others, and `hash_salt` has no effect";
    own.warn(key, code::LINT, message, None);
    if policies.iter().any(|policy| keeps_low(&policy.rule)) {
        let message = "a `not` or a `drop` over a probabilistic policy keeps traces of low randomness: no threshold says so, and of \
                       traces that a head sampler has thinned out by thresholds it may keep none";
        own.warn(key, code::LINT, message, Some("put the probabilistic policy outside of it"));
    }
    let odd = shares.iter().find(|chance| chance.share > 0.0 && exponent_of(1.0 / probability(chance.cut)).is_none());
    if let Some(chance) = odd.filter(|_| weights == WeightMode::Auto) {
        let exponent = (-chance.share.log2()).round().clamp(0.0, 62.0);
        let message = format!(
            "{} % is no power of two, so kept traces get no `p`: APM Server, which reads nothing else, counts each as one",
            chance.share * 100.0
        );
        let help = format!(
            "use {} %, or weights: th where nothing behind this sampler reads `p`",
            100.0 / 2f64.powf(exponent)
        );
        own.warn(key, code::LINT, message, Some(&help));
    }
}

/// True where chance stands below something that turns it around.
fn keeps_low(rule: &PolicyRule) -> bool {
    let mut found = false;
    rule.each(&mut |outer| {
        if matches!(outer, PolicyRule::Not(_) | PolicyRule::Drop(_)) {
            outer.each(&mut |inner| found |= matches!(inner, PolicyRule::Probabilistic(_)));
        }
    });
    found
}
