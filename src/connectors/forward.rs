//! `forward`: the end of one pipeline and the beginning of others, nothing in between.
//!
//! Exists to split or join pipelines without copying their processors. Holds nothing and counts nothing: the receiving
//! pipelines answer.
//!
//! ```yaml
//! forward:
//! ```

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::{ConsumeError, Reason};
use crate::core::node::Node;
use crate::core::stage::component::Component;
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ConnectorFactory, ConnectorPlan, Exporter};
use crate::core::stage::joint::Outputs;

pub const FACTORY: ConnectorFactory = ConnectorFactory {
    about: About {
        name: "forward",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "passes everything from one pipeline to others of the same signal",
        example: "",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ConnectorPlan>> {
    Section::new(node, cx.path.clone(), &cx.checks.diagnostics).finish();
    Some(Box::new(Plan))
}

struct Plan;

impl ConnectorPlan for Plan {
    fn build(&self, _cx: BuildContext, outputs: Outputs) -> Arc<dyn Exporter> {
        Arc::new(Forward { outputs })
    }
}

struct Forward {
    outputs: Outputs,
}

impl Consumer for Forward {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        match self.outputs.get(payload.signal) {
            Some(next) => Box::pin(async move { next.consume(payload).await }),
            // The pipeline check refuses a connector without a receiving pipeline of the signal.
            None => {
                let message = format!("no pipeline of {} begins here", payload.signal.name());
                Box::pin(std::future::ready(Err(ConsumeError::rejected(Reason::INTERNAL, message))))
            }
        }
    }
}

impl Component for Forward {}
