//! Writing the weight of a kept trace on its spans: thresholds in the trace state, and attributes where they are asked for.
//!
//! A span's threshold is the higher of its own and the decision's, so that it never rises in probability. Its weight says the
//! same: spans of one trace that came with different probabilities stand for different numbers of spans. Where the weight is
//! unknown, thresholds that would now lie are taken out. Granted: the copies of kept spans are the parcel's, which the account
//! counts by their length.

use crate::otlp::consistency::threshold::{ALWAYS, probability};
use crate::otlp::consistency::tracestate::{self, SamplingMarks, push_with_state};
use crate::otlp::edit::WireValue;
use crate::otlp::fields::common::key_value;
use crate::otlp::fields::scope_group;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::{Fields, plain_attribute};
use crate::otlp::write::{self, field_len};
use crate::processors::tail_sampling::held::store::spans_of;
use crate::processors::tail_sampling::weights::draw::{SPAN_ID, TRACE_ID, trace_state};

/// What is written on spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightMode {
    /// Nothing is read or written; probabilistic policies hash as the Collector's do.
    #[default]
    Off,
    /// Thresholds (`th`).
    Th,
    /// Thresholds, and `p` of the older specification where the weight is a power of two: what APM Server reads.
    Auto,
}

impl WeightMode {
    pub fn is_on(self) -> bool {
        self != WeightMode::Off
    }
}

/// What is known of a kept trace's weight. Its randomness stays its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptWeight {
    /// How many traces it stands for; not a number where that is unknown.
    pub weight: f64,
    /// The decision's threshold; `None` where none says the same as the weight.
    pub threshold: Option<u64>,
}

impl KeptWeight {
    pub const UNKNOWN: KeptWeight = KeptWeight { weight: f64::NAN, threshold: None };

    pub fn known(self) -> Option<f64> {
        (!self.weight.is_nan()).then_some(self.weight)
    }
}

const POLICY_ATTRIBUTE: &str = "sampling.policy";
const WEIGHT_ATTRIBUTE: &str = "sampling.weight";

/// What APM Server takes at most (apm-data: 62).
const EXPONENT_MAX: u32 = 62;

/// Longer runs are large spans, of which the copy would be most of the work.
const FETCHED_BYTES_MAX: usize = 64 << 10;

/// Writes spans anew; its buffers are reused.
#[derive(Default)]
pub struct SpanMarker {
    mode: WeightMode,
    attributes: bool,
    state: Vec<u8>,
    span: Vec<u8>,
    value: Vec<u8>,
    run: Vec<u8>,
}

impl SpanMarker {
    pub fn new(mode: WeightMode, attributes: bool) -> SpanMarker {
        SpanMarker { mode, attributes, ..SpanMarker::default() }
    }

    /// True when spans leave otherwise than they came.
    pub fn is_on(&self) -> bool {
        self.mode.is_on()
    }

    /// Appends the spans of `wire`, which are fields of a scope group and may have trace states: as they are, or with their
    /// weight. `policy` is the winner's name.
    pub fn write(&mut self, (wire, has_states): (&[u8], bool), weight: KeptWeight, policy: &str, out: &mut Vec<u8>) {
        if !self.is_on() {
            return out.extend_from_slice(wire);
        }
        // Spans that waited lie in memory that is far by now. One copy fetches them at the speed of memory; walking them where
        // they lie would wait for each.
        let mut run = std::mem::take(&mut self.run);
        run.clear();
        let near = if wire.len() > FETCHED_BYTES_MAX {
            wire
        } else {
            run.extend_from_slice(wire);
            &run
        };
        if has_states || self.attributes {
            self.write_each(near, weight, policy, out);
        } else {
            self.write_stateless(near, weight, out);
        }
        self.run = run;
    }

    fn write_each(&mut self, wire: &[u8], weight: KeptWeight, policy: &str, out: &mut Vec<u8>) {
        for span in spans_of(wire) {
            self.mark(span, weight, policy);
            write::bytes(out, scope_group::ITEMS, &self.span);
        }
    }

    /// Spans without a trace state all get the same one, behind their ids, where its number places it.
    fn write_stateless(&mut self, wire: &[u8], weight: KeptWeight, out: &mut Vec<u8>) {
        self.state.clear();
        let came = SamplingMarks::default();
        tracestate::write_all(&mut self.state, b"", marks_of(came, of_span(came, weight), self.mode));
        if self.state.is_empty() {
            return out.extend_from_slice(wire);
        }
        let more = field_len(span::TRACE_STATE, self.state.len());
        for span in spans_of(wire) {
            let mut fields = Fields::new(span);
            fields.next_of(TRACE_ID);
            fields.next_of(SPAN_ID);
            let (ids, rest) = span.split_at_checked(fields.position()).unwrap_or((span, b""));
            write::key(out, scope_group::ITEMS, write::LEN);
            write::varint(out, (span.len() + more) as u64);
            out.extend_from_slice(ids);
            write::bytes(out, span::TRACE_STATE, &self.state);
            out.extend_from_slice(rest);
        }
    }

    fn mark(&mut self, span: &[u8], weight: KeptWeight, policy: &str) {
        self.span.clear();
        let before = trace_state(span);
        self.state.clear();
        let came = tracestate::read(before);
        let weight = of_span(came.unwrap_or_default(), weight);
        match came {
            // What cannot be read is not ours to change.
            None => self.state.extend_from_slice(before),
            Some(came) => tracestate::write_all(&mut self.state, before, marks_of(came, weight, self.mode)),
        }
        if self.state == before {
            self.span.extend_from_slice(span);
        } else {
            push_with_state(&mut self.span, span, &self.state);
        }
        if self.attributes {
            self.put(POLICY_ATTRIBUTE, Some(WireValue::Str(policy)).filter(|_| !policy.is_empty()));
            self.put(WEIGHT_ATTRIBUTE, weight.known().map(WireValue::Double));
        }
    }

    /// Gives the span this attribute, and no other of its name.
    fn put(&mut self, key: &str, value: Option<WireValue<'_>>) {
        without_attribute(&mut self.span, key);
        let Some(value) = value else { return };
        self.value.clear();
        write::bytes(&mut self.value, key_value::KEY, key.as_bytes());
        write::key(&mut self.value, key_value::VALUE, write::LEN);
        write::varint(&mut self.value, value.len() as u64);
        value.put(&mut self.value);
        write::bytes(&mut self.span, span::ATTRIBUTES, &self.value);
    }
}

/// The weight of one span of a kept trace: how many spans it stands for, by what it came with and what kept its trace.
fn of_span(came: SamplingMarks, trace: KeptWeight) -> KeptWeight {
    let Some(weight) = trace.known() else { return KeptWeight::UNKNOWN };
    let threshold = came.threshold.unwrap_or(ALWAYS);
    // A threshold counts before the older `p`, as the trace's draw reads them.
    let exponent = came.exponent.filter(|_| came.threshold.is_none()).unwrap_or(0);
    let older = 2f64.powi(exponent.min(1023) as i32);
    match trace.threshold {
        // Both thresholds are of one randomness, so the higher one alone decides; `p` is of another, and multiplies.
        Some(decision) if exponent == 0 => match threshold.max(decision) {
            same if same == decision => trace,
            own => KeptWeight { weight: 1.0 / probability(own), threshold: Some(own) },
        },
        Some(_) => KeptWeight { weight: weight * older, threshold: None },
        // With what probability the likeliest span came is within the trace's weight. This one may have been less likely.
        None => KeptWeight { weight: weight.max(older / probability(threshold)), threshold: None },
    }
}

/// The marks that a span of this weight leaves with.
fn marks_of(came: SamplingMarks, weight: KeptWeight, mode: WeightMode) -> SamplingMarks {
    let exponent = weight.known().filter(|_| mode == WeightMode::Auto).and_then(exponent_of);
    SamplingMarks { randomness: came.randomness, threshold: weight.threshold, exponent }
}

/// `p` of a weight that is a power of two.
pub fn exponent_of(weight: f64) -> Option<u32> {
    let exponent = weight.log2();
    let whole = exponent.round();
    let fits =
        (0.0..=f64::from(EXPONENT_MAX)).contains(&whole) && 2f64.powi(whole as i32).to_bits() == weight.to_bits();
    fits.then_some(whole as u32)
}

/// Takes every attribute of this name out of a span, in place.
fn without_attribute(span_bytes: &mut Vec<u8>, key: &str) {
    let mut at = 0;
    while let Some((from, to)) = find_attribute(&span_bytes[at..], key) {
        span_bytes.drain(at + from..at + to);
        at += from;
    }
}

/// Where the first attribute of this name stands, as a field.
fn find_attribute(message: &[u8], key: &str) -> Option<(usize, usize)> {
    let mut fields = Fields::new(message);
    let mut start = 0;
    while let Some(Ok(field)) = fields.next() {
        let end = fields.position();
        let is_it = |attribute| plain_attribute(attribute).is_some_and(|(name, _)| name == key.as_bytes());
        if field.number == span::ATTRIBUTES && field.bytes().is_ok_and(is_it) {
            return Some((start, end));
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::attributes::{SPAN, find_in};
    use crate::otlp::walk::AnyValue;

    fn span_with(state: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write::bytes(&mut bytes, span::TRACE_ID, &[7; 16]);
        write::bytes(&mut bytes, span::SPAN_ID, &[1; 8]);
        if !state.is_empty() {
            write::bytes(&mut bytes, span::TRACE_STATE, state.as_bytes());
        }
        write::bytes(&mut bytes, span::NAME, b"work");
        bytes
    }

    fn marked(mode: WeightMode, state: &str, weight: KeptWeight) -> String {
        let mut marker = SpanMarker::new(mode, false);
        marker.mark(&span_with(state), weight, "some");
        String::from_utf8_lossy(trace_state(&marker.span)).into_owned()
    }

    fn at(threshold: u64) -> KeptWeight {
        KeptWeight { weight: 1.0 / probability(threshold), threshold: Some(threshold) }
    }

    #[test]
    fn a_span_leaves_with_the_higher_of_two_thresholds_and_with_p_where_the_weight_is_a_power_of_two() {
        let half = at(1 << 55);
        let table = [
            (WeightMode::Th, "", half, "ot=th:8"),
            (WeightMode::Auto, "", half, "ot=th:8;p:1"),
            (WeightMode::Auto, "", at(0), "ot=th:0;p:0"),
            (WeightMode::Auto, "", at(0xe6_6666_6666_6667), "ot=th:e6666666666667"),
            (WeightMode::Th, "ot=th:c", half, "ot=th:c"),
            (WeightMode::Auto, "ot=th:c", half, "ot=th:c;p:2"),
            (WeightMode::Th, "ot=rv:f0000000000000;th:4;x:y,vendor=1", half, "ot=rv:f0000000000000;th:8;x:y,vendor=1"),
            (WeightMode::Th, "ot=p:3;x:y", half, "ot=x:y"),
            (WeightMode::Th, "ot=th:4", KeptWeight::UNKNOWN, ""),
            (WeightMode::Auto, "ot=p:1", KeptWeight { weight: 4.0, threshold: None }, "ot=p:2"),
            (WeightMode::Th, "no trace state", half, "no trace state"),
        ];
        for (mode, state, weight, left) in table {
            assert_eq!(marked(mode, state, weight), left, "{mode:?} {state}");
        }
    }

    fn weight_of(state: &str, weight: KeptWeight) -> Option<f64> {
        let mut marker = SpanMarker::new(WeightMode::Th, true);
        marker.mark(&span_with(state), weight, "some");
        match find_in(&marker.span, SPAN, WEIGHT_ATTRIBUTE) {
            Some(AnyValue::Double(weight)) => Some(weight),
            _ => None,
        }
    }

    #[test]
    fn spans_of_one_trace_that_came_with_different_probabilities_have_the_weights_that_their_thresholds_say() {
        let table = [
            ("", at(0), Some(1.0)),
            ("ot=th:8", at(0), Some(2.0)),
            ("ot=th:e", at(0), Some(8.0)),
            ("ot=th:c", at(1 << 55), Some(4.0)),
            ("ot=th:4", at(1 << 55), Some(2.0)),
            ("ot=p:3", at(1 << 55), Some(16.0)),
            ("ot=th:0;p:3", at(1 << 55), Some(2.0)),
            ("ot=th:8", KeptWeight { weight: 1.5, threshold: None }, Some(2.0)),
            ("ot=th:8", KeptWeight { weight: 3.0, threshold: None }, Some(3.0)),
            ("ot=th:8", KeptWeight::UNKNOWN, None),
            ("no trace state", at(1 << 55), Some(2.0)),
        ];
        for (state, weight, left) in table {
            assert_eq!(weight_of(state, weight), left, "{state} {weight:?}");
        }
        assert_eq!(marked(WeightMode::Auto, "ot=p:3", at(1 << 55)), "ot=p:4", "no threshold says it");
    }

    #[test]
    fn the_sum_of_weights_is_how_many_spans_there_were_whatever_thresholds_meet_in_a_trace() {
        // Every sixteenth of all randomness once: what comes and is kept must stand for all sixteen.
        for (own, state) in [(0, ""), (0, "ot=th:0"), (4, "ot=th:4"), (8, "ot=th:8"), (12, "ot=th:c"), (14, "ot=th:e")]
        {
            for decision in [0, 4, 8, 12] {
                let left = (0..16_u64).filter(|randomness| *randomness >= own && *randomness >= decision);
                let sum: f64 = left.filter_map(|_| weight_of(state, at(decision << 52))).sum();
                assert!((sum - 16.0).abs() < 1e-9, "{state} {decision}: {sum}");
            }
        }
    }

    #[test]
    fn spans_without_a_trace_state_are_written_as_any_other_whatever_the_order_of_their_fields() {
        let backwards: Vec<u8> = {
            let mut bytes = Vec::new();
            write::bytes(&mut bytes, span::NAME, b"work");
            write::bytes(&mut bytes, span::SPAN_ID, &[1; 8]);
            write::bytes(&mut bytes, span::TRACE_ID, &[7; 16]);
            bytes
        };
        for (mode, weight) in
            [(WeightMode::Th, at(1 << 55)), (WeightMode::Auto, at(0)), (WeightMode::Th, KeptWeight::UNKNOWN)]
        {
            let mut wire = Vec::new();
            for span in [span_with(""), backwards.clone(), Vec::new()] {
                write::bytes(&mut wire, scope_group::ITEMS, &span);
            }
            let (mut quick, mut whole) = (Vec::new(), Vec::new());
            let mut marker = SpanMarker::new(mode, false);
            marker.write((&wire, false), weight, "some", &mut quick);
            marker.write((&wire, true), weight, "some", &mut whole);
            let states = |wire: &[u8]| spans_of(wire).map(|span| trace_state(span).to_vec()).collect::<Vec<_>>();
            assert_eq!(states(&quick), states(&whole));
            assert_eq!(spans_of(&quick).count(), 3);
            assert_eq!(spans_of(&quick).next(), spans_of(&whole).next(), "the usual order stays");
        }
    }

    #[test]
    fn attributes_of_the_same_name_that_came_are_replaced() {
        let mut marker = SpanMarker::new(WeightMode::Th, true);
        marker.mark(&span_with(""), at(1 << 55), "some");
        let once = marker.span.clone();
        marker.mark(&once, at(3 << 54), "other");
        assert_eq!(find_in(&marker.span, SPAN, POLICY_ATTRIBUTE), Some(AnyValue::Str(b"other")));
        assert_eq!(find_in(&marker.span, SPAN, WEIGHT_ATTRIBUTE), Some(AnyValue::Double(4.0)));
        let attributes = Fields::new(&marker.span).flatten().filter(|field| field.number == span::ATTRIBUTES);
        assert_eq!(attributes.count(), 2);
        marker.mark(&once, KeptWeight::UNKNOWN, "");
        assert_eq!(find_in(&marker.span, SPAN, WEIGHT_ATTRIBUTE), None, "what is unknown is not said");
    }

    #[test]
    fn only_powers_of_two_have_an_exponent() {
        assert_eq!(
            [1.0, 2.0, 1024.0, 10.0, 0.5, f64::NAN, f64::INFINITY].map(exponent_of),
            [Some(0), Some(1), Some(10), None, None, None, None]
        );
    }
}
