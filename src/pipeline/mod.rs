//! The data path: a checked plan becomes wired stages, each holding the next.
//!
//! Built against the flow (exporters, then processors from last to first, then receivers), started consumers first,
//! drained producers first. Building does no I/O and cannot fail: every fault was found by the plan.

mod collector;
mod graph;
pub mod left;
mod order;
pub mod plan;
mod storages;
mod unsupported;
mod waits;

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::data::fan_out::FanOut;
use crate::core::data::payload::Signal;
use crate::core::report::stats::Flow;
use crate::core::stage::component::{Component, ComponentId};
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{BuildContext, Outputs, Stage, StageContext};
use crate::core::stage::host::Host;
use crate::core::stage::transform::TransformStage;
use crate::pipeline::plan::{PipelinePlan, Plan};

/// A component that was built, with its path for messages.
pub struct BuiltComponent {
    pub path: String,
    pub component: Arc<dyn Component>,
}

/// Everything built from one plan. Each list is in start order; drain goes the other way round, producers first.
#[derive(Default)]
pub struct Wired {
    pub extensions: Vec<BuiltComponent>,
    pub exporters: Vec<BuiltComponent>,
    /// Last processor of a pipeline first.
    pub processors: Vec<BuiltComponent>,
    pub receivers: Vec<BuiltComponent>,
}

/// Wires the plan over the host's services.
pub fn wire(plan: &Plan, host: &Arc<Host>) -> Wired {
    let mut wired = Wired::default();
    for (id, extension) in &plan.extensions {
        let cx = build_context("extensions", id, host);
        wired.extensions.push(BuiltComponent { path: cx.path.clone(), component: extension.build(cx) });
    }
    let mut exits: HashMap<&ComponentId, Next> = HashMap::new();
    for (id, exporter) in &plan.exporters {
        let cx = build_context("exporters", id, host);
        let path = cx.path.clone();
        let exporter = exporter.build(cx);
        exits.insert(id, exporter.clone());
        wired.exporters.push(BuiltComponent { path, component: exporter });
    }
    // Connectors feed pipelines, so the pipelines they feed are built before the pipelines that feed them.
    let mut entries: HashMap<&str, Next> = HashMap::new();
    for pipeline in plan.pipelines_consumers_first() {
        for id in pipeline.exporters.iter().filter(|id| !exits.contains_key(id)).collect::<Vec<_>>() {
            let Some(connector) = plan.connectors.get(id) else { continue };
            let cx = build_context("connectors", id, host);
            let path = cx.path.clone();
            let exporter = connector.build(cx, outputs_of(plan, id, &entries));
            exits.insert(id, exporter.clone());
            wired.processors.push(BuiltComponent { path, component: exporter });
        }
        let entry = wire_pipeline(plan, pipeline, &exits, host, &mut wired);
        entries.insert(&pipeline.name, entry);
    }
    for (id, receiver) in &plan.receivers {
        let cx = build_context("receivers", id, host);
        let path = cx.path.clone();
        let outputs = outputs_of(plan, id, &entries);
        wired.receivers.push(BuiltComponent { path, component: receiver.build(cx, outputs) });
    }
    wired
}

/// One pipeline from its end to its first stage: fan-out to the exporters, then each processor over the next.
fn wire_pipeline(
    plan: &Plan,
    pipeline: &PipelinePlan,
    exits: &HashMap<&ComponentId, Next>,
    host: &Arc<Host>,
    wired: &mut Wired,
) -> Next {
    let branches: Vec<Next> = pipeline.exporters.iter().filter_map(|id| exits.get(id).cloned()).collect();
    let mut next = FanOut::over(branches);
    let longest_wait = waits::longest(pipeline, &plan.processors);
    let mut bound_late = false;
    for id in pipeline.processors.iter().rev() {
        let Some(processor) = plan.processors.get(id) else { continue };
        let build = build_context("processors", id, host);
        let path = build.path.clone();
        let flow = Flow::of(&host.stats, &id.to_string(), pipeline.signal);
        let cx = StageContext {
            build,
            signal: pipeline.signal,
            pipeline: pipeline.name.clone(),
            exporters: pipeline.exporters.iter().map(ComponentId::to_string).collect(),
            bound_late,
            longest_wait,
        };
        next = match processor.build(cx, next.clone()) {
            Stage::Transform(transform) => Arc::new(TransformStage::new(transform, next, flow)),
            Stage::Consumer { consumer, component } => {
                wired.processors.extend(component.map(|component| BuiltComponent { path, component }));
                consumer
            }
        };
        // Who reads or changes resources must find them complete.
        bound_late = processor.binds_late() || (bound_late && !processor.touches_resources());
    }
    next
}

/// First stages of the pipelines that name `id` as a receiver, one fan-out per signal.
fn outputs_of(plan: &Plan, id: &ComponentId, entries: &HashMap<&str, Next>) -> Outputs {
    let mut outputs = Outputs::default();
    for signal in Signal::ALL {
        let fed = plan.pipelines.iter().filter(|pipeline| pipeline.signal == signal && pipeline.receivers.contains(id));
        let branches: Vec<Next> = fed.filter_map(|pipeline| entries.get(pipeline.name.as_str()).cloned()).collect();
        if !branches.is_empty() {
            outputs.set(signal, FanOut::over(branches));
        }
    }
    outputs
}

fn build_context(section: &str, id: &ComponentId, host: &Arc<Host>) -> BuildContext {
    BuildContext { id: id.clone(), path: format!("{section}::{id}"), host: host.clone() }
}
