//! Spans and log records before the judge: where randomness, marks and priority stand in them, and how marks are written.

use super::config::ItemSamplerSettings;
use super::judge::{ItemVerdict, Priority, RandomnessSource};
use crate::change::actions::{parse_double, push_text};
use crate::change::rebuild::{Fate, Rebuilder};
use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::payload::Signal;
use crate::otlp::attributes::{LOG_RECORD, SPAN, find_in};
use crate::otlp::consistency::threshold::{
    ALWAYS, NEVER, hashed, of_probability, of_trace_id, push_randomness, push_threshold, read_randomness,
    read_threshold,
};
use crate::otlp::consistency::tracestate::{self, SamplingMarks, push_with_state};
use crate::otlp::edit::{Appender, WireValue};
use crate::otlp::fields::logs::log_record;
use crate::otlp::ids::TraceId;
use crate::otlp::span;
use crate::otlp::walk::{AnyValue, Fields};

const RANDOMNESS: &str = "sampling.randomness";
const THRESHOLD: &str = "sampling.threshold";
/// Field number of `trace_id` in a log record.
const RECORD_TRACE_ID: u32 = log_record::TRACE_ID;

/// The marks as text, in a tracestate or an attribute, take at most this many bytes.
const MARKS_BYTES: usize = 128;
/// Key and length of a field take at most this many bytes.
const HEAD_BYTES: usize = 6;

/// Judges the items of one payload and counts the verdicts.
pub struct ItemSampling<'a> {
    pub settings: &'a ItemSamplerSettings,
    pub signal: Signal,
    edit: Appender,
    scratch: Vec<u8>,
    room: Allowance,
    /// The span's new bytes.
    span: Granted<u8>,
    /// Kept and gone, by `RandomnessSource::ALL`.
    pub counts: [[u64; 2]; RandomnessSource::ALL.len()],
}

impl<'a> ItemSampling<'a> {
    pub fn new(settings: &'a ItemSamplerSettings, signal: Signal, ticket: &Ticket) -> ItemSampling<'a> {
        let (edit, counts) = (Appender::within(ticket), Default::default());
        let (room, span) = (Allowance::working(ticket), Granted::new());
        ItemSampling { settings, signal, edit, scratch: Vec::new(), room, span, counts }
    }

    fn count(&mut self, verdict: &ItemVerdict) {
        let at = RandomnessSource::ALL.iter().position(|policy| *policy == verdict.policy).unwrap_or_default();
        self.counts[at][usize::from(!verdict.kept)] += 1;
    }

    fn decide_span(&mut self, span: &[u8]) -> Result<Fate, OverBudget> {
        // What cannot be walked was left out when the request was read; should it come, it passes as it is.
        let Ok(facts) = span::read(span) else { return Ok(Fate::Stays) };
        let id = TraceId::from_wire(facts.trace_id);
        let marks = tracestate::read(facts.trace_state);
        let judge = &self.settings.judge;
        let hash = |seed| id.map(|id| (hashed(&id.0, seed), RandomnessSource::TraceIdHash));
        let reading = judge.read(marks, hash, || id.map(|id| of_trace_id(&id.0)));
        let verdict = judge.judge(reading, span_priority(span));
        self.count(&verdict);
        if !verdict.kept {
            return Ok(Fate::Goes);
        }
        let Some(marks) = verdict.marks else { return Ok(Fate::Stays) };
        if !self.edit.clear_scratch(&mut self.scratch, facts.trace_state.len() + MARKS_BYTES) {
            return self.edit.refused().map_or(Ok(Fate::Stays), Err);
        }
        tracestate::write(&mut self.scratch, facts.trace_state, marks);
        if self.scratch == facts.trace_state {
            return Ok(Fate::Stays);
        }
        self.span.clear();
        self.span.reserve(span.len() + self.scratch.len() + HEAD_BYTES, &mut self.room)?;
        push_with_state(self.span.within(), span, &self.scratch);
        Ok(Fate::Changes(self.span.len()))
    }

    fn decide_record(&mut self, record: &[u8]) -> Result<Fate, OverBudget> {
        if self.edit.load(record, LOG_RECORD).is_err() {
            return Ok(Fate::Stays);
        }
        let settings = self.settings;
        let judge = &settings.judge;
        // As text an unprintable byte becomes six characters, in a list or map.
        let source = settings.from_attribute.as_deref().and_then(|key| self.edit.find(key));
        let length = source.map_or(0, |place| 6 * self.edit.message_at(place).len());
        self.edit.clear_scratch(&mut self.scratch, length + MARKS_BYTES);
        if let Some(why) = self.edit.refused() {
            return Err(why);
        }
        let id = trace_id_of(record);
        let reading = judge.read(
            record_marks(&self.edit),
            |seed| {
                let traced =
                    id.filter(|_| settings.by_trace_id).map(|id| (hashed(&id.0, seed), RandomnessSource::TraceIdHash));
                traced.or_else(|| {
                    let value = self.edit.get(settings.from_attribute.as_deref()?)?;
                    self.scratch.clear();
                    match value {
                        AnyValue::Bytes(bytes) => self.scratch.extend_from_slice(bytes),
                        value => push_text(&mut self.scratch, value),
                    }
                    let known = !self.scratch.is_empty();
                    known.then(|| (hashed(&self.scratch, seed), RandomnessSource::Attribute))
                })
            },
            || id.map(|id| of_trace_id(&id.0)),
        );
        let verdict = judge.judge(reading, record_priority(settings, &self.edit));
        self.count(&verdict);
        if !verdict.kept {
            return Ok(Fate::Goes);
        }
        let Some(marks) = verdict.marks else { return Ok(Fate::Stays) };
        let mut put = |key: &str, value: Option<u64>, push: fn(&mut Vec<u8>, u64)| {
            let Some(value) = value else { return };
            self.scratch.clear();
            push(&mut self.scratch, value);
            self.edit.set(key, WireValue::Text(&self.scratch));
        };
        put(RANDOMNESS, marks.randomness, push_randomness);
        put(THRESHOLD, marks.threshold, push_threshold);
        match self.edit.refused() {
            Some(why) => Err(why),
            None if self.edit.is_changed() => Ok(Fate::Changes(self.edit.new_len())),
            None => Ok(Fate::Stays),
        }
    }
}

impl Rebuilder for ItemSampling<'_> {
    fn decide(&mut self, item: &[u8]) -> Result<Fate, OverBudget> {
        match self.signal {
            Signal::Traces => self.decide_span(item),
            Signal::Logs => self.decide_record(item),
            Signal::Metrics | Signal::Profiles => Ok(Fate::Stays),
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match self.signal {
            Signal::Traces => out.extend_from_slice(&self.span),
            _ => self.edit.write_to(out),
        }
    }
}

/// `sampling.priority` of OpenTracing: 0 drops the span, more keeps it.
fn span_priority(span: &[u8]) -> Priority {
    let priority = match find_in(span, SPAN, "sampling.priority") {
        Some(AnyValue::Int(value)) => value as f64,
        Some(AnyValue::Double(value)) => value,
        Some(AnyValue::Str(text)) => parse_double(text).unwrap_or(-1.0),
        _ => return Priority::None,
    };
    if priority == 0.0 {
        Priority::Threshold(NEVER)
    } else if priority > 0.0 {
        Priority::Threshold(ALWAYS)
    } else {
        Priority::None
    }
}

/// The record's attribute of the configured name: the percentage with which it wants to be kept.
fn record_priority(settings: &ItemSamplerSettings, record: &Appender) -> Priority {
    let share = match settings.priority.as_deref().and_then(|key| record.get(key)) {
        Some(AnyValue::Double(value)) => value / 100.0,
        Some(AnyValue::Int(value)) => value as f64 / 100.0,
        _ => return Priority::None,
    };
    if share == 0.0 {
        return Priority::Threshold(NEVER);
    }
    of_probability(share, settings.judge.precision).map_or(Priority::None, Priority::Threshold)
}

/// `None` when one of them cannot be read. Values that are no text count as absent.
fn record_marks(record: &Appender) -> Option<SamplingMarks> {
    let read = |key: &str, read: fn(&[u8]) -> Option<u64>| match record.get(key) {
        Some(AnyValue::Str(text)) if !text.is_empty() => read(text).map(Some),
        _ => Some(None),
    };
    let (randomness, threshold) = (read(RANDOMNESS, read_randomness)?, read(THRESHOLD, read_threshold)?);
    Some(SamplingMarks { randomness, threshold, exponent: None })
}

fn trace_id_of(record: &[u8]) -> Option<TraceId> {
    let fields = Fields::new(record).map_while(Result::ok).filter(|field| field.number == RECORD_TRACE_ID);
    fields.filter_map(|field| field.bytes().ok()).last().and_then(TraceId::from_wire)
}
