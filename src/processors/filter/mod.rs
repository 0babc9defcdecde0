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
mod property_config;
mod rules;
mod stage;

use std::sync::Arc;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::stats::Flow;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::ottl;
use crate::ottl::Failures;
use crate::processors::filter::config::FilterRules;

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
    Some(Box::new(Plan { names_resources: ottl::names_resources(node), rules: Arc::new(rules) }))
}

struct Plan {
    names_resources: bool,
    rules: Arc<FilterRules>,
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
        let told = Told { processor: id.clone(), pipeline: cx.pipeline, signal: cx.signal, rules: self.rules.clone() };
        Stage::Consumer {
            consumer: Arc::new(stage::FilterStage {
                rules: self.rules.clone(),
                next,
                flow: Flow::of(&host.stats, &id, cx.signal),
                filtered: host.stats.counter(&name, "Items dropped by the filter.", &[("filter", &id)]),
                failures: Failures(host.stats.counter(
                    "podgate_processor_ottl_failures",
                    failed,
                    &[("processor", &id)],
                )),
            }),
            component: Some(Arc::new(told)),
        }
    }

    fn touches_resources(&self) -> bool {
        self.names_resources
    }
}

/// Says at the start what a pipeline will drop: nobody should have to find out by missing it.
struct Told {
    processor: String,
    pipeline: String,
    signal: Signal,
    rules: Arc<FilterRules>,
}

impl Component for Told {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let texts: Vec<&str> =
            self.rules.of(self.signal).iter().flat_map(crate::processors::filter::rules::Pass::texts).collect();
        if !texts.is_empty() {
            let Told { processor, pipeline, signal, .. } = self;
            let (items, conditions) = (signal.items_name(), texts.join(" or "));
            tracing::info!(%processor, %pipeline, items, conditions, "items that match these conditions are dropped and counted");
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
