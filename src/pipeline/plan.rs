//! Document + registry -> plan: every component checked, every reference resolved, all faults reported with places.
//!
//! This is the whole of `validate`: a plan without errors can be wired and started.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::check::nearest;
use crate::config::document::{ConfigDocument, Declared, Named, PipelineDeclared, ReloadKeys};
use crate::config::telemetry::Telemetry;
use crate::config::value::address;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::{Diagnostic, Severity, code};
use crate::core::limits;
use crate::core::stage::component::{ComponentId, Kind};
use crate::core::stage::factory::{
    About, CheckContext, Checks, ConnectorPlan, DataEnd, ExporterPlan, ExtensionPlan, MemoryLimit, ProcessorPlan,
    ReceiverPlan,
};
use crate::pipeline::graph::{self, ConnectorPlace};
use crate::pipeline::identity::{Bodies, path};
use crate::pipeline::known::{Known, KnownComponents};
use crate::pipeline::order::{self, ProcessorPlace};
use crate::pipeline::{collector, storages, unsupported, waits};
use crate::registry::{self, Match};

pub use crate::pipeline::graph::PipelinePlan;

/// What to do with components podgate does not have (`--unsupported`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsupported {
    #[default]
    Refuse,
    /// Leave them out, and pipelines that end up without receiver or exporter; one warning each. What protects data, and
    /// the last exporter that delivered it, are not left out so.
    Skip,
    /// These too.
    SkipAll,
}

/// A checked configuration, ready to be wired.
pub struct Plan {
    pub extensions: Vec<(ComponentId, Box<dyn ExtensionPlan>)>,
    pub exporters: BTreeMap<ComponentId, Box<dyn ExporterPlan>>,
    pub connectors: BTreeMap<ComponentId, Box<dyn ConnectorPlan>>,
    pub processors: BTreeMap<ComponentId, Box<dyn ProcessorPlan>>,
    pub receivers: BTreeMap<ComponentId, Box<dyn ReceiverPlan>>,
    pub pipelines: Vec<PipelinePlan>,
    /// Of every component that is used.
    pub bodies: Bodies,
    pub telemetry: Telemetry,
    pub memory_limit: Option<MemoryLimit>,
    /// How long listeners wait for a port that another process holds.
    pub port_wait: Duration,
    pub reload: ReloadKeys,
}

impl Plan {
    /// Pipelines ordered so that one fed by a connector comes before the one that feeds it. A cycle keeps its order;
    /// it was reported as an error before.
    pub fn pipelines_consumers_first(&self) -> Vec<&PipelinePlan> {
        consumers_first(&self.pipelines)
    }

    /// Of all its components, as in messages.
    pub fn paths(&self) -> BTreeSet<String> {
        let of = |kind: Kind| move |id: &ComponentId| path(kind, id);
        let connectors =
            self.connectors.keys().filter(|id| self.pipelines.iter().any(|own| own.exporters.contains(id)));
        let extensions = self.extensions.iter().map(|(id, _)| id);
        (extensions.map(of(Kind::Extension)))
            .chain(self.exporters.keys().map(of(Kind::Exporter)))
            .chain(connectors.map(of(Kind::Connector)))
            .chain(self.processors.keys().map(of(Kind::Processor)))
            .chain(self.receivers.keys().map(of(Kind::Receiver)))
            .collect()
    }

    fn keep_used_bodies(&mut self) {
        let used = |kind: Kind, id: &ComponentId| match kind {
            Kind::Receiver => self.receivers.contains_key(id),
            Kind::Processor => self.processors.contains_key(id),
            Kind::Exporter => self.exporters.contains_key(id),
            Kind::Connector => self.pipelines.iter().any(|pipeline| pipeline.exporters.contains(id)),
            Kind::Extension => self.extensions.iter().any(|(extension, _)| extension == id),
        };
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.retain(|kind, id| used(kind, id));
        for PipelinePlan { name, receivers, processors, exporters, .. } in &self.pipelines {
            bodies.add_pipeline(name, [receivers, processors, exporters]);
        }
        self.bodies = bodies;
    }
}

fn consumers_first(pipelines: &[PipelinePlan]) -> Vec<&PipelinePlan> {
    let mut ordered: Vec<&PipelinePlan> = Vec::new();
    let mut waiting: Vec<&PipelinePlan> = pipelines.iter().collect();
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|pipeline| {
            let mut others = waiting.iter().filter(|other| other.name != pipeline.name);
            !others.any(|other| other.receivers.iter().any(|id| pipeline.exporters.contains(id)))
        });
        ordered.push(waiting.remove(ready.unwrap_or(0)));
    }
    ordered
}

/// Checks the whole document. Findings go to `checks.diagnostics`; the plan is `None` when any is an error.
pub fn plan(document: ConfigDocument, unsupported: Unsupported, checks: &Checks) -> Option<Plan> {
    let first_pipeline = document.pipelines.first().map(|pipeline| pipeline.place);
    let document = match unsupported {
        Unsupported::Refuse => document,
        Unsupported::Skip => unsupported::without(document, Severity::Error, &checks.diagnostics),
        Unsupported::SkipAll => unsupported::without(document, Severity::Warning, &checks.diagnostics),
    };
    let mut planner =
        Planner { checks, known: KnownComponents::default(), plans: Plans::default(), bodies: Bodies::default() };
    let names = document.names();
    for declared in &document.components {
        planner.declare(declared, names.hold(declared));
    }
    planner.claim_readers(&document.telemetry);
    let extensions = planner.use_extensions(&document.extensions);
    storages::check(&extensions, &planner.plans.extensions, checks);
    storages::check_authenticators(&extensions, &planner.plans.extensions, checks);
    let pipelines = planner.pipelines(&document.pipelines);
    let plans = &planner.plans;
    storages::check_senders(&pipelines, (&plans.processors, &plans.exporters), &plans.extensions, checks);
    graph::check(&pipelines, &planner.joints(&document), &checks.diagnostics);
    waits::check(&pipelines, &planner.plans.processors, &checks.diagnostics);
    planner.lint(&document);
    let memory_limit = planner.memory_limit(&pipelines);
    if let (Some(place), []) = (first_pipeline, pipelines.as_slice()) {
        let path = "service::pipelines".to_owned();
        let expected = Some("all were left out".to_owned());
        let message = "no pipeline is left to run".to_owned();
        planner
            .checks
            .diagnostics
            .push(Diagnostic::error(code::NO_PIPELINE, place).at(path).says(message).expected_if(expected));
    }
    if checks.diagnostics.has_errors() {
        return None;
    }
    let mut plans = planner.plans;
    let used = |ids: &dyn Fn(&PipelinePlan) -> &Vec<ComponentId>, id: &ComponentId| {
        pipelines.iter().any(|pipeline| ids(pipeline).contains(id))
    };
    // Unused components are checked and not started, as in the Collector.
    plans.exporters.retain(|id, _| used(&|pipeline| &pipeline.exporters, id));
    plans.processors.retain(|id, _| used(&|pipeline| &pipeline.processors, id));
    plans.receivers.retain(|id, _| used(&|pipeline| &pipeline.receivers, id));
    let mut extensions: Vec<(ComponentId, Box<dyn ExtensionPlan>)> =
        extensions.into_iter().filter_map(|id| plans.extensions.remove(&id).map(|plan| (id, plan))).collect();
    for (component_type, implicit) in registry::IMPLICIT {
        if !extensions.iter().any(|(id, _)| id.component_type == *component_type) {
            let id = ComponentId { component_type: (*component_type).to_owned(), name: None };
            extensions.push((id, implicit()));
        }
    }
    let bodies = planner.bodies;
    let mut plan = Plan {
        extensions,
        exporters: plans.exporters,
        connectors: plans.connectors,
        processors: plans.processors,
        receivers: plans.receivers,
        pipelines,
        bodies,
        telemetry: document.telemetry,
        memory_limit,
        reload: document.reload,
        port_wait: document.port_wait.unwrap_or_else(|| default_port_wait(checks)),
    };
    plan.keep_used_bodies();
    Some(plan)
}

/// In a pod whoever holds the port is the pod before, which ends; elsewhere it is a mistake, told at once.
fn default_port_wait(checks: &Checks) -> Duration {
    let in_a_pod = checks.environment.variable("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty());
    if in_a_pod { limits::PORT_WAIT_IN_A_POD } else { Duration::ZERO }
}

#[derive(Default)]
struct Plans {
    extensions: BTreeMap<ComponentId, Box<dyn ExtensionPlan>>,
    exporters: BTreeMap<ComponentId, Box<dyn ExporterPlan>>,
    connectors: BTreeMap<ComponentId, Box<dyn ConnectorPlan>>,
    processors: BTreeMap<ComponentId, Box<dyn ProcessorPlan>>,
    receivers: BTreeMap<ComponentId, Box<dyn ReceiverPlan>>,
}

/// Of the declared components a reference to none of them is told so many.
const DECLARED_SHOWN_MAX: usize = 100;

struct Planner<'a> {
    checks: &'a Checks,
    known: KnownComponents,
    plans: Plans,
    bodies: Bodies,
}

impl Planner<'_> {
    fn declare(&mut self, declared: &Declared, used: bool) {
        let abouts: Vec<&'static About> = abouts_of(declared.kind);
        let Some(found) = registry::find(abouts.iter().copied(), &declared.id.component_type) else {
            self.foreign_component(declared, used, &abouts);
            // References to it are not faults of their own.
            let signals = &Signal::ALL;
            self.known.add(Known {
                kind: declared.kind,
                written: declared.id.clone(),
                id: declared.id.clone(),
                signals,
            });
            return;
        };
        let at = match found {
            Match::Name(at) => at,
            Match::Alias(at, alias) => {
                let about = abouts[at];
                let note = about.aliases[alias].note;
                let message = format!("`{}` is the old name of `{}` ({note})", declared.id.component_type, about.name);
                self.checks
                    .diagnostics
                    .push(Diagnostic::warning(code::DEPRECATED, declared.place).at(path_of(declared)).says(message));
                at
            }
        };
        let about = abouts[at];
        let id = ComponentId { component_type: about.name.to_owned(), name: declared.id.name.clone() };
        if self.known.find(declared.kind, &id).is_some() {
            let message = format!("`{id}` is declared twice, under its old and its new name");
            self.checks
                .diagnostics
                .push(Diagnostic::error(code::CONFLICT, declared.place).at(path_of(declared)).says(message));
            return;
        }
        self.known.add(Known {
            kind: declared.kind,
            written: declared.id.clone(),
            id: id.clone(),
            signals: about.signals,
        });
        // Not used and without a body: what it lacks, nobody misses. The lint says that it is not used.
        if used || !declared.body.is_null() || declared.kind != Kind::Processor {
            self.check(declared, id, at);
        }
    }

    /// A component of another program: an error where something uses it, and one warning where nothing does.
    fn foreign_component(&self, declared: &Declared, used: bool, abouts: &[&'static About]) {
        let (kind, written) = (declared.kind.name(), &declared.id.component_type);
        if let Some(why) = collector::without_effect(declared.kind, written) {
            let message = format!("{kind} `{}` has no effect: {why}", declared.id);
            return self
                .checks
                .diagnostics
                .push(Diagnostic::warning(code::IGNORED_KEY, declared.place).at(path_of(declared)).says(message));
        }
        if used || !collector::has(declared.kind, written) {
            return self.unknown_component(declared, abouts);
        }
        let message = format!("{kind} `{}` is the Collector's and not podgate's; nothing uses it", declared.id);
        self.checks
            .diagnostics
            .push(Diagnostic::warning(code::LINT, declared.place).at(path_of(declared)).says(message));
    }

    /// The metrics pages that are written take their ports as every other listener does.
    fn claim_readers(&self, telemetry: &Telemetry) {
        for (at, reader) in telemetry.metrics.iter().enumerate().filter(|(_, reader)| reader.place.line > 0) {
            let path = format!("service::telemetry::metrics::readers::{at}");
            reader.auth.iter().for_each(|auth| auth.clone().enter(self.checks));
            let address = address::fixed(&format!("{}:{}", reader.host, reader.port));
            let other = address.and_then(|address| self.checks.claim_address(address, &path, reader.place));
            if let Some(other) = other {
                let message = format!("{}:{} is already taken by {other}", reader.host, reader.port);
                self.checks.diagnostics.push(Diagnostic::error(code::CONFLICT, reader.place).at(path).says(message));
            }
        }
    }

    fn check(&mut self, declared: &Declared, id: ComponentId, at: usize) {
        let cx = CheckContext { id: &id, path: path_of(declared), place: declared.place, checks: self.checks };
        let body = &declared.body;
        self.bodies.add(declared.kind, &id, body, declared.place);
        match declared.kind {
            Kind::Receiver => {
                let plan = (registry::RECEIVERS[at].check)(&cx, body);
                self.plans.receivers.extend(plan.map(|plan| (id, plan)));
            }
            Kind::Processor => {
                let plan = (registry::PROCESSORS[at].check)(&cx, body);
                self.plans.processors.extend(plan.map(|plan| (id, plan)));
            }
            Kind::Exporter => {
                let plan = (registry::EXPORTERS[at].check)(&cx, body);
                self.plans.exporters.extend(plan.map(|plan| (id, plan)));
            }
            Kind::Connector => {
                let plan = (registry::CONNECTORS[at].check)(&cx, body);
                self.plans.connectors.extend(plan.map(|plan| (id, plan)));
            }
            Kind::Extension => {
                let plan = (registry::EXTENSIONS[at].check)(&cx, body);
                self.plans.extensions.extend(plan.map(|plan| (id, plan)));
            }
        }
    }

    fn unknown_component(&self, declared: &Declared, abouts: &[&'static About]) {
        let written = declared.id.component_type.as_str();
        let kind = declared.kind.name();
        let names = abouts
            .iter()
            .flat_map(|about| std::iter::once(about.name).chain(about.aliases.iter().map(|alias| alias.name)));
        let expected = match nearest(written, names) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!(
                "{}s podgate has: {}",
                kind,
                abouts.iter().map(|about| about.name).collect::<Vec<_>>().join(", ")
            ),
        };
        let (message, help) = if collector::has(declared.kind, written) {
            (
                format!("podgate does not have the Collector's {kind} `{written}`"),
                Some("remove it, or start with --unsupported=skip to leave out what podgate does not have".to_owned()),
            )
        } else {
            (format!("unknown {kind} `{written}`"), None)
        };
        self.checks.diagnostics.push(
            Diagnostic::error(code::UNKNOWN_COMPONENT, declared.place)
                .at(path_of(declared))
                .says(message)
                .expected(expected)
                .help_if(help),
        );
    }

    fn use_extensions(&self, named: &[Named]) -> Vec<ComponentId> {
        let resolved = named.iter().filter_map(|named| self.resolve(&[Kind::Extension], named, "service::extensions"));
        resolved.map(|known| known.id.clone()).collect()
    }

    fn joints(&self, document: &ConfigDocument) -> Vec<ConnectorPlace> {
        let connectors = document.components.iter().filter(|declared| declared.kind == Kind::Connector);
        let named = connectors.filter_map(|declared| {
            let known = self.known.find(Kind::Connector, &declared.id);
            known.map(|known| ConnectorPlace { id: known.id.clone(), place: declared.place })
        });
        named.collect()
    }

    fn pipelines(&self, declared: &[PipelineDeclared]) -> Vec<PipelinePlan> {
        declared.iter().map(|pipeline| self.pipeline(pipeline)).collect()
    }

    fn pipeline(&self, declared: &PipelineDeclared) -> PipelinePlan {
        let ids = |kinds: &[Kind], named: &[Named], list: &str| -> Vec<ComponentId> {
            let path = format!("service::pipelines::{}::{list}", declared.name);
            let mut ids: Vec<ComponentId> = Vec::new();
            for named in named {
                let Some(known) = self.resolve(kinds, named, &path) else { continue };
                self.check_signal(known, named, declared.signal, &path);
                ids.push(known.id.clone());
            }
            // An exporter named twice exports once, as in the Collector.
            let mut once = BTreeSet::new();
            ids.retain(|id| once.insert(id.clone()));
            ids
        };
        let exporters = ids(&[Kind::Exporter, Kind::Connector], &declared.exporters, "exporters");
        let drops = |id: &ComponentId| registry::data_end(&id.component_type) == Some(DataEnd::Dropped);
        PipelinePlan {
            signal: declared.signal,
            name: declared.name.clone(),
            receivers: ids(&[Kind::Receiver, Kind::Connector], &declared.receivers, "receivers"),
            processors: ids(&[Kind::Processor], &declared.processors, "processors"),
            drops_everything: exporters.iter().all(drops),
            exporters,
        }
    }

    fn resolve(&self, kinds: &[Kind], named: &Named, path: &str) -> Option<&Known> {
        if let Some(known) = self.known.find_any(kinds, &named.id) {
            return Some(known);
        }
        let mut declared: Vec<String> = self.known.written(kinds).take(DECLARED_SHOWN_MAX + 1).collect();
        if declared.len() > DECLARED_SHOWN_MAX {
            declared[DECLARED_SHOWN_MAX] = "...".to_owned();
        }
        let written = named.id.to_string();
        let expected = match nearest(&written, declared.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if declared.is_empty() => format!("nothing is declared under `{}`", kinds[0].section()),
            None => format!("declared: {}", declared.join(", ")),
        };
        self.checks.diagnostics.push(
            Diagnostic::error(code::UNDEFINED_COMPONENT, named.place)
                .at(path.to_owned())
                .says(format!("`{written}` is used here but not declared"))
                .expected(expected)
                .help(format!("declare `{written}` under `{}`", kinds[0].section())),
        );
        None
    }

    fn check_signal(&self, known: &Known, named: &Named, signal: Signal, path: &str) {
        if known.signals.contains(&signal) {
            let unfit = match known.kind {
                Kind::Processor => self.plans.processors.get(&known.id).and_then(|plan| plan.unfit(signal)),
                Kind::Exporter => self.plans.exporters.get(&known.id).and_then(|plan| plan.unfit(signal)),
                _ => None,
            };
            if let Some(why) = unfit {
                let message = format!("`{}` does not fit into a pipeline of {}: {why}", named.id, signal.name());
                self.checks
                    .diagnostics
                    .push(Diagnostic::error(code::SIGNAL_UNSUPPORTED, named.place).at(path.to_owned()).says(message));
            }
            return;
        }
        let signals: Vec<&str> = known.signals.iter().map(|signal| signal.name()).collect();
        let message = format!("`{}` does not take {}", named.id, signal.name());
        let expected = Some(format!("it takes {}", signals.join(", ")));
        self.checks.diagnostics.push(
            Diagnostic::error(code::SIGNAL_UNSUPPORTED, named.place)
                .at(path.to_owned())
                .says(message)
                .expected_if(expected),
        );
    }

    /// The limits that the processors of the pipelines set. The budget is one for the process, so they have to agree; one
    /// that is declared alone limits nothing.
    fn memory_limit(&self, pipelines: &[PipelinePlan]) -> Option<MemoryLimit> {
        let limits = self.checks.memory_limits.borrow();
        let used = |id: &ComponentId| pipelines.iter().any(|pipeline| pipeline.processors.contains(id));
        let mut used = limits.iter().filter(|(id, ..)| used(id));
        let (_, first, first_place) = used.next()?;
        for (id, _, place) in used.filter(|(_, limit, _)| limit != first) {
            let name = &id.component_type;
            let message = format!(
                "another {name} has other limits, and the memory budget is one for the whole process; \
                 name the same {name} in every pipeline"
            );
            let expected = Some(format!("the limits of line {}", first_place.line));
            let path = format!("processors::{id}");
            self.checks
                .diagnostics
                .push(Diagnostic::error(code::CONFLICT, *place).at(path).says(message).expected_if(expected));
        }
        Some(*first)
    }

    /// Findings about the whole that are legal and almost never meant.
    fn lint(&self, document: &ConfigDocument) {
        for pipeline in &document.pipelines {
            let placed = pipeline.processors.iter().map(|named| ProcessorPlace {
                id: &named.id,
                place: named.place,
                plan: self.processor(named),
            });
            order::check(&pipeline.name, &placed.collect::<Vec<_>>(), &self.checks.diagnostics);
        }
        let names = document.names();
        for declared in &document.components {
            let has_it = registry::find(abouts_of(declared.kind).into_iter(), &declared.id.component_type).is_some();
            if has_it && !names.hold(declared) && !document.overlays(declared) {
                let message = format!("{} `{}` is declared but not used", declared.kind.name(), declared.id);
                self.checks
                    .diagnostics
                    .push(Diagnostic::warning(code::LINT, declared.place).at(path_of(declared)).says(message));
            }
        }
    }

    /// The plan of a processor that a pipeline names, if it is declared and without a fault.
    fn processor(&self, named: &Named) -> Option<&dyn ProcessorPlan> {
        let known = self.known.find(Kind::Processor, &named.id)?;
        self.plans.processors.get(&known.id).map(|plan| &**plan)
    }
}

fn path_of(declared: &Declared) -> String {
    format!("{}::{}", declared.kind.section(), declared.id)
}

fn abouts_of(kind: Kind) -> Vec<&'static About> {
    registry::about().into_iter().filter(|(of, _)| *of == kind).map(|(_, about)| about).collect()
}
