//! How chance falls for a trace: its randomness, and with what probability its spans came here at all.
//!
//! Read from the trace state of its spans as OpenTelemetry's consistent sampling writes it (`rv`, `th`; `p` of the older
//! specification); without `rv` the randomness is that of the trace id.

use crate::otlp::consistency::threshold::{ALWAYS, of_trace_id};
use crate::otlp::consistency::tracestate::{self, SamplingMarks};
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

    /// By the spans that are looked at; `None` of a span's list says that it cannot be read.
    pub fn of_spans<'s>(trace_id: &[u8; 16], spans: impl Iterator<Item = &'s [u8]>) -> TraceDraw {
        let mut draw = TraceDraw::of_id(trace_id);
        let mut lowest: Option<SamplingMarks> = None;
        for span in spans {
            let marks = tracestate::read(trace_state(span)).unwrap_or_default();
            if let Some(randomness) = marks.randomness {
                draw.randomness = randomness;
            }
            let threshold = |marks: &SamplingMarks| marks.threshold.unwrap_or(ALWAYS);
            if lowest.is_none_or(|lowest| threshold(&marks) < threshold(&lowest)) {
                lowest = Some(marks);
            }
        }
        let lowest = lowest.unwrap_or_default();
        // A threshold that the randomness does not reach is a lie: the trace is here.
        let threshold = lowest.threshold.filter(|threshold| *threshold <= draw.randomness);
        draw.threshold = threshold.unwrap_or(ALWAYS);
        draw.exponent = if threshold.is_some() { 0 } else { lowest.exponent.unwrap_or(0) };
        draw
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
        TraceDraw::of_spans(&[7; 16], spans.iter().map(Vec::as_slice))
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
