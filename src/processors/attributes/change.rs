//! One item at a time: acts on its attributes, or on those of all data points of a metric, and has the new bytes.
//!
//! The memory is used again for the next item. An item that cannot be walked is left alone.

use super::matching::{Rules, Standing};
use crate::core::origin::Origin;
use crate::core::payload::Signal;
use crate::otlp::attributes::{LOG_RECORD, SPAN};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;
use crate::processors::actions::{Actions, Workbench};
use crate::processors::rebuild::{self, Fate};

pub struct Change<'a> {
    signal: Signal,
    rules: &'a Rules,
    /// What the scope at hand says of its items.
    pub standing: Standing,
    actions: &'a Actions,
    origin: &'a Origin,
    bench: Workbench,
    /// The metric's new bytes.
    metric: Vec<u8>,
    /// The new bytes of its gauge, sum, histogram or summary.
    points: Vec<u8>,
}

/// Field numbers of a metric's kinds of data, and those of the attributes in their points (opentelemetry-proto
/// metrics.v1: gauge, sum, histogram, exponential histogram, summary).
const KINDS: [(u32, u32); 5] = [(5, 7), (7, 7), (9, 9), (10, 1), (11, 7)];
/// Field number of the points in all of them.
const POINTS: u32 = 1;

impl<'a> Change<'a> {
    pub fn new(signal: Signal, rules: &'a Rules, actions: &'a Actions, origin: &'a Origin) -> Change<'a> {
        let (bench, standing) = (actions.workbench(), Standing::default());
        Change { signal, rules, standing, actions, origin, bench, metric: Vec::new(), points: Vec::new() }
    }

    fn make_metric(&mut self, metric: &[u8]) -> Result<bool, Malformed> {
        self.metric.clear();
        let (mut changed, mut start) = (false, 0);
        let mut fields = Fields::new(metric);
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            let kind = KINDS.iter().find(|(number, _)| *number == field.number);
            match kind {
                Some((number, attributes)) if self.make_points(field.bytes()?, *attributes)? => {
                    changed = true;
                    write::bytes(&mut self.metric, *number, &self.points);
                }
                _ => self.metric.extend_from_slice(&metric[start..end]),
            }
            start = end;
        }
        Ok(changed)
    }

    fn make_points(&mut self, message: &[u8], attributes: u32) -> Result<bool, Malformed> {
        self.points.clear();
        let (mut changed, mut start) = (false, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            if field.number == POINTS && self.actions.apply(&mut self.bench, field.bytes()?, attributes, self.origin)? {
                changed = true;
                write::key(&mut self.points, POINTS, write::LEN);
                write::varint(&mut self.points, self.bench.edit.new_len() as u64);
                self.bench.edit.write_to(&mut self.points);
            } else {
                self.points.extend_from_slice(&message[start..end]);
            }
            start = end;
        }
        Ok(changed)
    }
}

impl rebuild::Change for Change<'_> {
    fn decide(&mut self, item: &[u8]) -> Fate {
        if !self.rules.means(self.signal, self.standing, item) {
            return Fate::Stays;
        }
        let changed = match self.signal {
            Signal::Traces => self.actions.apply(&mut self.bench, item, SPAN, self.origin),
            Signal::Logs => self.actions.apply(&mut self.bench, item, LOG_RECORD, self.origin),
            Signal::Metrics => self.make_metric(item),
            Signal::Profiles => Ok(false),
        };
        match (changed, self.signal) {
            (Ok(true), Signal::Metrics) => Fate::Changes(self.metric.len()),
            (Ok(true), _) => Fate::Changes(self.bench.edit.new_len()),
            _ => Fate::Stays,
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        if self.signal == Signal::Metrics {
            out.extend_from_slice(&self.metric);
        } else {
            self.bench.edit.write_to(out);
        }
    }
}
