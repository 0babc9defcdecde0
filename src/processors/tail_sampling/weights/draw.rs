//! How chance falls for a trace: its randomness, and with what probability its spans came here at all.
//!
//! Read from the trace state of its spans as OpenTelemetry's consistent sampling writes it (`rv`, `th`; `p` of the older
//! specification); without `rv` the randomness is that of the trace id.

use crate::otlp::consistency::threshold::{ALWAYS, of_trace_id};
use crate::otlp::consistency::tracestate;
use crate::otlp::fields::short_key;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::Fields;
use crate::otlp::write;

pub const TRACE_ID: u8 = short_key(span::TRACE_ID, write::LEN);
pub const SPAN_ID: u8 = short_key(span::SPAN_ID, write::LEN);
const TRACE_STATE: u8 = short_key(span::TRACE_STATE, write::LEN);

/// What samplers before this one left of a trace, and how it stands towards this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceDraw {
    /// 56 bits; a threshold keeps the trace when this is not below it.
    pub randomness: u64,
    /// The lowest threshold among its spans: what is below never came here.
    pub threshold: u64,
    /// `p` of the older specification, whose randomness is another: the trace came with a probability of 2^-p.
    pub exponent: u32,
}

impl TraceDraw {
    /// Of a trace that nobody sampled before, by its id alone.
    pub fn of_id(trace_id: &[u8; 16]) -> TraceDraw {
        TraceDraw { randomness: of_trace_id(trace_id), threshold: ALWAYS, exponent: 0 }
    }
}

/// What the trace states of some spans of a trace say of samplers before this one; merges in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceMarks {
    /// The lowest `rv` among them, should they disagree.
    pub randomness: Option<u64>,
    /// Threshold and exponent of the span that was the likeliest to come; `None` without any span.
    pub likeliest: Option<(u64, u32)>,
}

impl TraceMarks {
    /// A trace state that cannot be read says nothing, as if the span had none.
    pub fn of_spans<'s>(spans: impl Iterator<Item = &'s [u8]>) -> TraceMarks {
        let mut marks = TraceMarks::default();
        spans.for_each(|span| marks.merge(TraceMarks::of_state(trace_state(span))));
        marks
    }

    fn of_state(state: &[u8]) -> TraceMarks {
        let marks = tracestate::read(state).unwrap_or_default();
        let threshold = marks.threshold.unwrap_or(ALWAYS);
        // `th:0` says that it came in any case, whatever the older `p` says.
        let exponent = marks.exponent.filter(|_| marks.threshold != Some(ALWAYS)).unwrap_or(0);
        TraceMarks { randomness: marks.randomness, likeliest: Some((threshold, exponent)) }
    }

    /// Adds those of other spans of the same trace.
    pub fn merge(&mut self, other: TraceMarks) {
        self.randomness = lower(self.randomness, other.randomness);
        self.likeliest = lower(self.likeliest, other.likeliest);
    }

    /// How chance falls by all of them.
    pub fn draw(&self, trace_id: &[u8; 16]) -> TraceDraw {
        let of_id = TraceDraw::of_id(trace_id);
        let randomness = self.randomness.unwrap_or(of_id.randomness);
        let (threshold, exponent) = self.likeliest.unwrap_or((of_id.threshold, of_id.exponent));
        match threshold {
            ALWAYS => TraceDraw { randomness, threshold, exponent },
            _ if threshold <= randomness => TraceDraw { randomness, threshold, exponent: 0 },
            // A threshold that the randomness does not reach is a lie: the trace is here.
            _ => TraceDraw { randomness, threshold: ALWAYS, exponent },
        }
    }
}

fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The trace state of a span; its head stands in the order in which every encoder writes it, or it is searched for.
pub fn trace_state(span: &[u8]) -> &[u8] {
    let mut fields = Fields::new(span);
    fields.next_of(TRACE_ID);
    fields.next_of(SPAN_ID);
    if let Some(state) = fields.next_of(TRACE_STATE) {
        return state;
    }
    let found = fields.map_while(Result::ok).filter(|field| field.number == span::TRACE_STATE);
    found.filter_map(|field| field.bytes().ok()).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(state: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write::bytes(&mut bytes, span::TRACE_ID, &[7; 16]);
        write::bytes(&mut bytes, span::SPAN_ID, &[1; 8]);
        write::bytes(&mut bytes, span::TRACE_STATE, state.as_bytes());
        write::bytes(&mut bytes, span::NAME, b"work");
        bytes
    }

    fn draw(states: &[&str]) -> TraceDraw {
        let spans: Vec<Vec<u8>> = states.iter().map(|state| span(state)).collect();
        TraceMarks::of_spans(spans.iter().map(Vec::as_slice)).draw(&[7; 16])
    }

    #[test]
    fn the_lowest_threshold_that_the_randomness_reaches_counts() {
        let by_id = 0x07_0707_0707_0707;
        let of = |randomness, threshold, exponent| TraceDraw { randomness, threshold, exponent };
        assert_eq!(draw(&[]), of(by_id, 0, 0));
        assert_eq!(draw(&["ot=th:04", "ot=th:02;rv:f0000000000000"]), of(0xf0_0000_0000_0000, 0x02 << 48, 0));
        assert_eq!(draw(&["ot=th:04", ""]), of(by_id, 0, 0), "a span without a threshold came in any case");
        assert_eq!(draw(&["ot=th:8"]), of(by_id, 0, 0), "which cannot be, with this id");
        assert_eq!(draw(&["ot=p:3;r:5"]), of(by_id, 0, 3), "the older specification");
        assert_eq!(draw(&["ot=th:0;p:3"]), of(by_id, 0, 0), "a threshold counts before `p`");
        assert_eq!(draw(&["garbage"]), of(by_id, 0, 0));
        let disagree = ["ot=p:3", "", "ot=rv:f0000000000000", "ot=rv:e0000000000000", "ot=th:0;p:2"];
        let whole = draw(&disagree);
        assert_eq!(whole, of(0xe0_0000_0000_0000, 0, 0), "spans that disagree");
        let turned: Vec<&str> = disagree.into_iter().rev().collect();
        assert_eq!(draw(&turned), whole, "their order is no matter");
    }

    #[test]
    fn a_trace_state_is_found_wherever_it_stands() {
        let mut bytes = Vec::new();
        write::bytes(&mut bytes, span::NAME, b"work");
        write::bytes(&mut bytes, span::TRACE_STATE, b"ot=th:c");
        write::bytes(&mut bytes, span::TRACE_ID, &[7; 16]);
        assert_eq!(trace_state(&bytes), b"ot=th:c");
        assert_eq!(trace_state(b"\xff\xff"), b"");
    }
}
