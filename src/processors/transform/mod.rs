//! `transform`: runs OTTL statements on resources, scopes, items and their pieces.
//!
//! Takes both forms of the Collector's processor: groups with a context, and flat lists whose contexts the statements'
//! paths tell. Edits are splices of wire bytes: what no statement changes stays the same slice, unknown fields and all.
//! A resource is one for all items under it, so a statement about an item that changes its resource changes it for
//! all. Profiles pass. `podgate: {trace_ids: true}` lifts ids of traces out of the texts of log records first.
//!
//! ```yaml
//! transform:
//!   error_mode: ignore
//!   trace_statements:
//!     - set(span.attributes["http.route"], "/cart") where IsMatch(span.attributes["url.path"], "^/cart")
//! ```

mod config;
mod pieces;
mod stage;
mod trace_ids;

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::node::Node;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::ottl::{self, Failures};
use crate::processors::transform::config::SignalStatements;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "transform",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "changes resources, scopes and items by OTTL statements",
        example: "trace_statements:\n  - set(span.attributes[\"team\"], \"shop\") where span.kind == SPAN_KIND_SERVER\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let groups = config::read(&keys);
    let lifts_ids = keys.section("podgate").is_some_and(|own| {
        let lifts = own.bool("trace_ids").unwrap_or(false);
        own.finish();
        lifts
    });
    keys.finish();
    Some(Box::new(Plan { names_resources: ottl::names_resources(node), groups: Arc::new(groups), lifts_ids }))
}

struct Plan {
    names_resources: bool,
    groups: Arc<SignalStatements>,
    lifts_ids: bool,
}

impl ProcessorPlan for Plan {
    fn build(&self, cx: StageContext, _next: Next) -> Stage {
        let id = cx.build.id.to_string();
        let help = "Conditions and statements that failed on an item.";
        let failed = cx.build.host.stats.counter("podgate_processor_ottl_failures", help, &[("processor", &id)]);
        Stage::Transform(Arc::new(stage::Transformer {
            groups: self.groups.clone(),
            lifts_ids: self.lifts_ids,
            failures: Failures(failed),
        }))
    }

    fn touches_resources(&self) -> bool {
        self.names_resources
    }
}
