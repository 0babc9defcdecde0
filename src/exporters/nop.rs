//! `nop`: ends data on purpose, counted as dropped(nop) and never as delivered.
//!
//! ```yaml
//! nop:
//! ```

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::ItemEnd;
use crate::core::error::Reason;
use crate::core::node::Node;
use crate::core::stage::component::Component;
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::factory::{
    About, BuildContext, CheckContext, DataEnd, Exporter, ExporterFactory, ExporterPlan,
};

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "nop",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "drops everything on purpose, counted as dropped(nop)",
        example: "",
    },
    check,
    end: DataEnd::Dropped,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ExporterPlan>> {
    Section::new(node, cx.path.clone(), &cx.checks.diagnostics).finish();
    Some(Box::new(Plan))
}

struct Plan;

impl ExporterPlan for Plan {
    fn build(&self, _cx: BuildContext) -> Arc<dyn Exporter> {
        Arc::new(Nop)
    }
}

struct Nop;

impl Consumer for Nop {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        payload.share.end(ItemEnd::Dropped(Reason::NOP, "sent to nop"));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Component for Nop {}
