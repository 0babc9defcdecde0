//! What of processors' settings does not hold beside others: how long data stays in a pipeline, and whether what it is enriched
//! from is still known by then; sizes, and the memory that there is for them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::{CutValue, ProcessorPlan};
use crate::pipeline::graph::PipelinePlan;

type Processors = BTreeMap<ComponentId, Box<dyn ProcessorPlan>>;

/// All waits of the pipeline's processors together.
pub fn longest(pipeline: &PipelinePlan, processors: &Processors) -> Duration {
    let waits = pipeline.processors.iter().filter_map(|id| processors.get(id)).map(|plan| plan.longest_wait());
    waits.fold(Duration::ZERO, Duration::saturating_add)
}

/// Warns of each processor that forgets what it enriches from before the pipeline's data is through.
pub fn check(pipelines: &[PipelinePlan], processors: &Processors, diagnostics: &Diagnostics) {
    for pipeline in pipelines {
        let wait = longest(pipeline, processors);
        for id in &pipeline.processors {
            let Some((memory, place)) = processors.get(id).and_then(|plan| plan.remembers_for()) else { continue };
            if memory >= wait {
                continue;
            }
            diagnostics.push(Diagnostic::warning(code::LINT, place).at(format!("processors::{id}")).says(format!(
                    "what is deleted is forgotten after {memory:?}, and data stays in pipeline `{}` for up to {wait:?}: \
                     the last data of a pod may miss its container.id",
                    pipeline.name
                )).help("leave the key out: the memory then outlasts the pipeline's longest wait"));
        }
    }
}

/// Warns of each size that the memory budget leaves no room for.
pub fn check_within(processors: &Processors, budget: u64, diagnostics: &Diagnostics) {
    for (id, plan) in processors {
        for CutValue { place, key, message, help } in plan.cut_within(budget) {
            let path = format!("processors::{id}::{key}");
            diagnostics.push(Diagnostic::warning(code::LINT, place).at(path).says(message).help(help));
        }
    }
}
