//! `filter`: drops what a condition holds for, and counts it.
//!
//! Takes all three forms of the Collector's processor: lists by context, flat lists whose context their paths tell, and
//! include/exclude by properties. Conditions are asked of wire bytes; what stays keeps its bytes. A scope or resource
//! that is left without items goes, and a payload that is left without any is not passed on. Profiles pass.
//!
//! ```yaml
//! filter:
//!   error_mode: ignore
//!   traces:
//!     span:
//!       - attributes["http.route"] == "/healthz"
//! ```

mod config;
mod properties;
mod stage;

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::consumer::Next;
use crate::core::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::node::Node;
use crate::core::payload::Signal;
use crate::core::stats::Flow;
use crate::ottl::Failures;
use crate::processors::filter::config::Rules;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "filter",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "drops items for which an OTTL condition holds",
        example: "error_mode: ignore\ntraces:\n  span:\n    - attributes[\"http.route\"] == \"/healthz\"\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let rules = config::read(&keys);
    keys.finish();
    Some(Box::new(Plan { rules: Arc::new(rules) }))
}

struct Plan {
    rules: Arc<Rules>,
}

impl ProcessorPlan for Plan {
    fn build(&self, cx: StageContext, next: Next) -> Stage {
        let host = &cx.build.host;
        let id = cx.build.id.to_string();
        let what = match cx.signal {
            Signal::Traces => "spans",
            Signal::Metrics => "datapoints",
            Signal::Logs => "logs",
            Signal::Profiles => "profiles",
        };
        let name = format!("otelcol_processor_filter_{what}_filtered");
        let failed = "Conditions and statements that failed on an item.";
        Stage::Consumer {
            consumer: Arc::new(stage::Filter {
                rules: self.rules.clone(),
                next,
                flow: Flow::of(&host.stats, &id, cx.signal),
                balance: host.balance.clone(),
                filtered: host.stats.counter(&name, "Items dropped by the filter.", &[("filter", &id)]),
                failures: Failures(host.stats.counter(
                    "podgate_processor_ottl_failures",
                    failed,
                    &[("processor", &id)],
                )),
            }),
            component: None,
        }
    }
}

#[cfg(test)]
mod tests;
