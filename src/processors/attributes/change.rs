//! One item at a time: acts on its attributes, or on those of all data points of a metric, and has the new bytes.
//!
//! The memory is used again for the next item. An item that cannot be walked is left alone.

use super::matching::{MatchRules, Standing};
use crate::change::actions::{Actions, Workbench};
use crate::change::rebuild;
use crate::change::rebuild::Fate;
use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::origin::Origin;
use crate::core::data::payload::Signal;
use crate::otlp::attributes::{LOG_RECORD, SPAN};
use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{
    exponential_histogram_data_point, histogram_data_point, metric, number_data_point, summary_data_point,
};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

pub struct ItemChange<'a> {
    signal: Signal,
    rules: &'a MatchRules,
    /// What the scope at hand says of its items.
    pub standing: Standing,
    actions: &'a Actions,
    origin: &'a Origin,
    bench: Workbench,
    room: Allowance,
    /// The metric's new bytes.
    metric: Granted<u8>,
    /// The new bytes of its gauge, sum, histogram or summary.
    points: Granted<u8>,
}

/// Field numbers of a metric's kinds of data, and those of the attributes in their points (opentelemetry-proto
/// metrics.v1: gauge, sum, histogram, exponential histogram, summary).
const KINDS: [(u32, u32); 5] = [
    (metric::GAUGE, number_data_point::ATTRIBUTES),
    (metric::SUM, number_data_point::ATTRIBUTES),
    (metric::HISTOGRAM, histogram_data_point::ATTRIBUTES),
    (metric::EXPONENTIAL_HISTOGRAM, exponential_histogram_data_point::ATTRIBUTES),
    (metric::SUMMARY, summary_data_point::ATTRIBUTES),
];
/// Field number of the points in all of them.
const POINTS: u32 = metric_data::DATA_POINTS;
/// Key and length take at most this many bytes.
const HEAD_BYTES: usize = 6;

/// Why an item stays as it is.
enum Unchanged {
    Malformed,
    NoMemory(OverBudget),
}

impl From<Malformed> for Unchanged {
    fn from(_: Malformed) -> Unchanged {
        Unchanged::Malformed
    }
}

impl From<OverBudget> for Unchanged {
    fn from(why: OverBudget) -> Unchanged {
        Unchanged::NoMemory(why)
    }
}

impl<'a> ItemChange<'a> {
    pub fn new(
        signal: Signal,
        rules: &'a MatchRules,
        actions: &'a Actions,
        origin: &'a Origin,
        ticket: &Ticket,
    ) -> ItemChange<'a> {
        let (bench, room, standing) = (actions.workbench(ticket), Allowance::working(ticket), Standing::default());
        let (metric, points) = (Granted::new(), Granted::new());
        ItemChange { signal, rules, standing, actions, origin, bench, room, metric, points }
    }

    fn make_metric(&mut self, metric: &[u8]) -> Result<bool, Unchanged> {
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
                    self.metric.reserve(self.points.len() + HEAD_BYTES, &mut self.room)?;
                    write::bytes(self.metric.within(), *number, &self.points);
                }
                _ => self.metric.extend(&metric[start..end], &mut self.room)?,
            }
            start = end;
        }
        Ok(changed)
    }

    fn make_points(&mut self, message: &[u8], attributes: u32) -> Result<bool, Unchanged> {
        self.points.clear();
        let (mut changed, mut start) = (false, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            if field.number == POINTS && self.actions.apply(&mut self.bench, field.bytes()?, attributes, self.origin)? {
                changed = true;
                let edit = &self.bench.edit;
                edit.refused().map_or(Ok(()), Err)?;
                self.points.reserve(edit.new_len() + HEAD_BYTES, &mut self.room)?;
                let points = self.points.within();
                write::key(points, POINTS, write::LEN);
                write::varint(points, edit.new_len() as u64);
                edit.write_to(points);
            } else {
                self.points.extend(&message[start..end], &mut self.room)?;
            }
            start = end;
        }
        Ok(changed)
    }
}

impl rebuild::Rebuilder for ItemChange<'_> {
    fn decide(&mut self, item: &[u8]) -> Result<Fate, OverBudget> {
        if !self.rules.means(self.signal, self.standing, item) {
            return Ok(Fate::Stays);
        }
        let changed = match self.signal {
            Signal::Traces => self.actions.apply(&mut self.bench, item, SPAN, self.origin).map_err(Unchanged::from),
            Signal::Logs => self.actions.apply(&mut self.bench, item, LOG_RECORD, self.origin).map_err(Unchanged::from),
            Signal::Metrics => self.make_metric(item),
            Signal::Profiles => Ok(false),
        };
        match (changed, self.signal) {
            (Ok(true), Signal::Metrics) => Ok(Fate::Changes(self.metric.len())),
            (Ok(true), _) => {
                let edit = &self.bench.edit;
                edit.refused().map_or(Ok(Fate::Changes(edit.new_len())), Err)
            }
            (Err(Unchanged::NoMemory(why)), _) => Err(why),
            (Ok(false) | Err(Unchanged::Malformed), _) => Ok(Fate::Stays),
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
