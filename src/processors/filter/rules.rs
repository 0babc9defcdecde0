//! What a filter asks of items.

use crate::ottl::{Conditions, Context};
use crate::processors::filter::properties::Skip;

/// What is asked at each level; what holds goes with all that is in it.
#[derive(Debug, Default)]
pub struct Pass {
    pub resource: Option<FilterTest>,
    pub scope: Option<FilterTest>,
    /// Of spans, metrics and log records.
    pub item: Option<FilterTest>,
    /// Of span events and data points.
    pub piece: Option<FilterTest>,
}

#[derive(Debug)]
pub enum FilterTest {
    Conditions(Conditions),
    Properties(Skip),
}

impl Pass {
    /// What is asked, as it is written; of properties that they are.
    pub fn texts(&self) -> Vec<&str> {
        let tests = [&self.resource, &self.scope, &self.item, &self.piece].into_iter().flatten();
        let texts = tests.flat_map(|test| match test {
            FilterTest::Conditions(conditions) => conditions.texts().collect(),
            FilterTest::Properties(_) => vec!["include/exclude"],
        });
        texts.collect()
    }

    pub(super) fn set(&mut self, context: Context, test: FilterTest) {
        let level = match context {
            Context::Resource => &mut self.resource,
            Context::Scope => &mut self.scope,
            Context::Span | Context::Metric | Context::Log => &mut self.item,
            Context::SpanEvent | Context::DataPoint => &mut self.piece,
        };
        *level = Some(test);
    }
}
