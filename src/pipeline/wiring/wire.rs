//! A plan becomes a graph, over one that runs or over nothing: what is equal stays, what differs is built, and the joints
//! that have to lead elsewhere are listed. Nothing that runs is touched before [`Rewired::link`], but a stage that can
//! take its new plan itself has taken it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use crate::core::data::fan_out::FanOut;
use crate::core::data::payload::Signal;
use crate::core::report::stats::Flow;
use crate::core::stage::component::{Component, ComponentId, Kind};
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{BuildContext, Exporter, ProcessorPlan, Stage, StageContext};
use crate::core::stage::host::Host;
use crate::core::stage::joint::{Joint, Outputs};
use crate::core::stage::transform::TransformStage;
use crate::pipeline::identity::path;
use crate::pipeline::plan::{PipelinePlan, Plan};
use crate::pipeline::waits;
use crate::pipeline::wiring::units::{Unit, UnitIdentity, Wired};

/// Where payloads go from now on.
enum Link {
    Stage(Arc<Joint>, Next),
    Outputs(Outputs, Vec<(Signal, Option<Next>)>),
}

impl Link {
    fn lead(self) {
        match self {
            Link::Stage(joint, next) => joint.lead(next),
            Link::Outputs(outputs, nexts) => nexts.into_iter().for_each(|(signal, next)| outputs.set(signal, next)),
        }
    }
}

/// A graph that waits to be linked.
pub struct Rewired {
    pub wired: Wired,
    links: Vec<Link>,
    /// Took their new plan while they run.
    pub reconfigured: Vec<Unit>,
}

impl Rewired {
    /// Whoever lives on hands to the new graph from now on.
    pub fn link(self) -> Wired {
        self.links.into_iter().for_each(Link::lead);
        self.wired
    }
}

/// Gives those who took another plan the one of `plan` again.
pub fn take_back(reconfigured: &[Unit], plan: &Plan) {
    for unit in reconfigured {
        let taken = plan_of(plan, unit.kind, &unit.id).is_some_and(|own| unit.component.reconfigure(own));
        if !taken {
            tracing::error!(component = %unit.path, "keeps its new configuration, which is a bug in podgate; restart it");
        }
    }
}

/// As [`take_back`], for all that may have taken another plan: those that cannot have not.
pub fn take_all_back(wired: &Wired, from: &Plan, to: &Plan) {
    for unit in wired.all().filter(|unit| to.bodies.of(unit.kind, &unit.id) != unit.identity.body) {
        if let Some(own) = plan_of(from, unit.kind, &unit.id) {
            unit.component.reconfigure(own);
        }
    }
}

/// A component's own plan, as it knows it again.
fn plan_of<'p>(plan: &'p Plan, kind: Kind, id: &ComponentId) -> Option<&'p dyn Any> {
    match kind {
        Kind::Receiver => plan.receivers.get(id).map(|plan| &**plan as &dyn Any),
        Kind::Processor => plan.processors.get(id).map(|plan| &**plan as &dyn Any),
        Kind::Exporter => plan.exporters.get(id).map(|plan| &**plan as &dyn Any),
        Kind::Connector | Kind::Extension => None,
    }
}

/// Wires the plan over the host's services and over what runs.
pub fn wire(plan: &Plan, host: &Arc<Host>, before: &Wired) -> Rewired {
    let rewired = Rewired { wired: Wired::default(), links: Vec::new(), reconfigured: Vec::new() };
    let mut wirer = Wirer { plan, host, before, rewired, exits: HashMap::new(), renewed: Vec::new() };
    for (id, extension) in &plan.extensions {
        if !wirer.keeps(Kind::Extension, id) {
            let cx = wirer.anew(Kind::Extension, id);
            let unit = wirer.unit(Kind::Extension, id, extension.build(cx));
            wirer.rewired.wired.extensions.push(unit);
        }
    }
    for (id, exporter) in &plan.exporters {
        if !wirer.keeps(Kind::Exporter, id) {
            let cx = wirer.anew(Kind::Exporter, id);
            wirer.host.logs.unused_by(&cx.path);
            let exporter = exporter.build(cx);
            wirer.exits.insert(id, exporter.clone());
            let unit = Unit { entry: Some(exporter.clone()), ..wirer.unit(Kind::Exporter, id, exporter) };
            wirer.rewired.wired.exporters.push(unit);
        }
    }
    // Connectors feed pipelines, so the pipelines they feed are built before the pipelines that feed them.
    let mut entries: HashMap<&str, Next> = HashMap::new();
    for pipeline in plan.pipelines_consumers_first() {
        for id in &pipeline.exporters {
            wirer.connector(id, &entries);
        }
        let entry = wirer.pipeline(pipeline);
        entries.insert(&pipeline.name, entry);
    }
    for (id, receiver) in &plan.receivers {
        let kept = wirer.keeps(Kind::Receiver, id);
        // Its connections live on beside a successor's and hand to the same pipelines.
        let outputs = wirer.outputs(Kind::Receiver, id);
        if !kept {
            let cx = wirer.anew(Kind::Receiver, id);
            let component = receiver.build(cx, outputs.clone());
            let unit = Unit { outputs: Some(outputs.clone()), ..wirer.unit(Kind::Receiver, id, component) };
            wirer.rewired.wired.receivers.push(unit);
        }
        wirer.lead(Kind::Receiver, id, outputs, &entries);
    }
    wirer.rewired
}

struct Wirer<'a> {
    plan: &'a Plan,
    host: &'a Arc<Host>,
    before: &'a Wired,
    rewired: Rewired,
    exits: HashMap<&'a ComponentId, Next>,
    /// Paths of components whose shared things are made anew already.
    renewed: Vec<String>,
}

impl<'a> Wirer<'a> {
    fn identity(&self, kind: Kind, id: &ComponentId, around: String) -> UnitIdentity {
        UnitIdentity { body: self.plan.bodies.of(kind, id), around }
    }

    fn unit(&self, kind: Kind, id: &ComponentId, component: Arc<dyn Component>) -> Unit {
        let (pipeline, entry, joint, outputs) = (String::new(), None, None, None);
        let identity = self.identity(kind, id, String::new());
        Unit { kind, id: id.clone(), path: path(kind, id), pipeline, identity, component, entry, joint, outputs }
    }

    /// What is built anew is given; what its predecessor shared among its pipelines is not for it.
    fn anew(&mut self, kind: Kind, id: &ComponentId) -> BuildContext {
        let path = path(kind, id);
        let body = self.plan.bodies.of(kind, id);
        let other = self.before.all().any(|unit| unit.kind == kind && unit.id == *id && unit.identity.body != body);
        if other && !self.renewed.contains(&path) {
            self.host.renew(&path);
            self.renewed.push(path.clone());
        }
        BuildContext { id: id.clone(), path, host: self.host.clone() }
    }

    /// True when what runs is what the plan asks for, or has become it. It is part of the new graph then.
    fn keeps(&mut self, kind: Kind, id: &'a ComponentId) -> bool {
        let identity = self.identity(kind, id, String::new());
        let Some(unit) = self.kept(kind, id, "", identity) else { return false };
        if let Some(entry) = &unit.entry {
            self.exits.insert(id, entry.clone());
        }
        let wired = &mut self.rewired.wired;
        match kind {
            Kind::Extension => wired.extensions.push(unit),
            Kind::Exporter => wired.exporters.push(unit),
            Kind::Receiver => wired.receivers.push(unit),
            Kind::Processor | Kind::Connector => wired.processors.push(unit),
        }
        true
    }

    /// The running instance, under its identity of now.
    fn kept(&mut self, kind: Kind, id: &ComponentId, pipeline: &str, identity: UnitIdentity) -> Option<Unit> {
        let running = self.before.find(kind, id, pipeline)?;
        if running.identity == identity {
            return Some(running.clone());
        }
        let own = plan_of(self.plan, kind, id).filter(|_| running.identity.around == identity.around)?;
        if !running.component.reconfigure(own) {
            return None;
        }
        let unit = Unit { identity, ..running.clone() };
        self.rewired.reconfigured.push(unit.clone());
        Some(unit)
    }

    /// Builds the connector at a pipeline's end, unless it is there or runs.
    fn connector(&mut self, id: &'a ComponentId, entries: &HashMap<&str, Next>) {
        let Some(plan) = self.plan.connectors.get(id).filter(|_| !self.exits.contains_key(id)) else { return };
        let outputs = self.outputs(Kind::Connector, id);
        if !self.keeps(Kind::Connector, id) {
            let cx = self.anew(Kind::Connector, id);
            let connector: Arc<dyn Exporter> = plan.build(cx, outputs.clone());
            self.exits.insert(id, connector.clone());
            let (entry, outputs) = (Some(connector.clone() as Next), Some(outputs.clone()));
            let unit = Unit { entry, outputs, ..self.unit(Kind::Connector, id, connector) };
            self.rewired.wired.processors.push(unit);
        }
        self.lead(Kind::Connector, id, outputs, entries);
    }

    /// The outputs of who runs under this id, or new ones.
    fn outputs(&self, kind: Kind, id: &ComponentId) -> Outputs {
        self.before.find(kind, id, "").and_then(|unit| unit.outputs.clone()).unwrap_or_default()
    }

    /// Outputs that nobody uses yet lead there at once, so that whoever starts with them finds its pipelines.
    fn lead(&mut self, kind: Kind, id: &ComponentId, outputs: Outputs, entries: &HashMap<&str, Next>) {
        let link = Link::Outputs(outputs, self.nexts(id, entries));
        match self.before.find(kind, id, "") {
            Some(_) => self.rewired.links.push(link),
            None => link.lead(),
        }
    }

    /// One pipeline from its end to its first stage: fan-out to the exporters, then each processor over the next.
    fn pipeline(&mut self, pipeline: &PipelinePlan) -> Next {
        let branches: Vec<Next> = pipeline.exporters.iter().filter_map(|id| self.exits.get(id).cloned()).collect();
        let mut next = FanOut::over(branches);
        let longest_wait = waits::longest(pipeline, &self.plan.processors);
        let mut bound_late = false;
        for id in pipeline.processors.iter().rev() {
            let Some(processor) = self.plan.processors.get(id) else { continue };
            let build = BuildContext { id: id.clone(), path: path(Kind::Processor, id), host: self.host.clone() };
            let exporters = pipeline.exporters.iter().map(ComponentId::to_string).collect();
            let (signal, name) = (pipeline.signal, pipeline.name.clone());
            let cx = StageContext { build, signal, pipeline: name, exporters, bound_late, longest_wait };
            next = self.stage(&**processor, cx, next);
            // Who reads or changes resources must find them complete.
            bound_late = processor.binds_late() || (bound_late && !processor.touches_resources());
        }
        next
    }

    fn stage(&mut self, processor: &dyn ProcessorPlan, cx: StageContext, next: Next) -> Next {
        let (id, pipeline, path) = (cx.build.id.clone(), cx.pipeline.clone(), cx.build.path.clone());
        let logs = cx.exporters.iter().filter_map(|id| self.host.logs.of(&format!("exporters::{id}")));
        let log = logs.map(|(log, _)| log).next().unwrap_or_default();
        let around = format!("{} {} {log}", cx.signal.name(), cx.bound_late);
        let identity = self.identity(Kind::Processor, &id, around);
        if let Some(unit) = self.kept(Kind::Processor, &id, &pipeline, identity.clone()) {
            let entry = unit.entry.clone().unwrap_or_else(|| next.clone());
            self.rewired.links.extend(unit.joint.iter().map(|joint| Link::Stage(joint.clone(), next.clone())));
            self.rewired.wired.processors.push(unit);
            return entry;
        }
        let flow = Flow::of(&self.host.stats, &id.to_string(), cx.signal);
        let joint = Joint::to(next.clone());
        drop(self.anew(Kind::Processor, &id));
        match processor.build(cx, joint.clone()) {
            Stage::Transform(transform) => Arc::new(TransformStage::new(transform, next, flow)),
            Stage::Consumer { consumer, component } => {
                self.rewired.wired.processors.extend(component.map(|component| Unit {
                    kind: Kind::Processor,
                    id,
                    path,
                    pipeline,
                    identity,
                    component,
                    entry: Some(consumer.clone()),
                    joint: Some(joint),
                    outputs: None,
                }));
                consumer
            }
        }
    }

    /// First stages of the pipelines that name `id` as a receiver, one fan-out per signal.
    fn nexts(&self, id: &ComponentId, entries: &HashMap<&str, Next>) -> Vec<(Signal, Option<Next>)> {
        let fed = |signal: Signal| {
            let pipelines = self.plan.pipelines.iter().filter(|pipeline| pipeline.signal == signal);
            let branches = pipelines.filter(|pipeline| pipeline.receivers.contains(id));
            branches.filter_map(|pipeline| entries.get(pipeline.name.as_str()).cloned()).collect::<Vec<Next>>()
        };
        let over = |branches: Vec<Next>| (!branches.is_empty()).then(|| FanOut::over(branches));
        Signal::ALL.into_iter().map(|signal| (signal, over(fed(signal)))).collect()
    }
}
