//! The top level of a configuration: which components are declared and which pipelines join them.
//!
//! A pure reading of the tree. It knows ids, signals and the shape of `service`; which component types exist, and which
//! signals they serve, is the registry's knowledge and is checked by the pipeline.

use std::collections::HashSet;
use std::time::Duration;

use crate::config::check::{Section, nearest};
use crate::config::telemetry::{self, Telemetry};
use crate::core::data::payload::Signal;
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::limits::PORT_WAIT_MAX;
use crate::core::node::{Entry, Node, Place, Value};
use crate::core::stage::component::{ComponentId, Kind};

/// A configuration with its names read; the bodies of components are still trees.
#[derive(Clone, Debug, Default)]
pub struct ConfigDocument {
    /// In the order written, kinds in the order of [`Kind::ALL`].
    pub components: Vec<Declared>,
    /// `service::extensions`, in start order.
    pub extensions: Vec<Named>,
    pub pipelines: Vec<PipelineDeclared>,
    pub telemetry: Telemetry,
    /// `service::podgate::port_wait`: how long listeners wait for a port that another process holds.
    pub port_wait: Option<Duration>,
    pub reload: ReloadKeys,
}

/// `service::podgate::reload`: whether changed files are read without being told, and how often they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadKeys {
    pub watch: bool,
    pub interval: Duration,
}

impl Default for ReloadKeys {
    fn default() -> ReloadKeys {
        ReloadKeys { watch: false, interval: Duration::from_secs(5) }
    }
}

/// Looking more often would cost more than it tells; more rarely, nobody would know whether it does.
const RELOAD_INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3_600));

/// What is named in lists, and so runs: one look for each declared component.
pub struct SourceNames<'a> {
    in_pipelines: HashSet<&'a ComponentId>,
    extensions: HashSet<&'a ComponentId>,
}

impl SourceNames<'_> {
    /// True when a pipeline, or the list of extensions, names the component.
    pub fn hold(&self, declared: &Declared) -> bool {
        let as_extension = declared.kind == Kind::Extension && self.extensions.contains(&declared.id);
        self.in_pipelines.contains(&declared.id) || as_extension
    }
}

/// A component with its body, which may be null.
#[derive(Clone, Debug)]
pub struct Declared {
    pub kind: Kind,
    pub id: ComponentId,
    pub place: Place,
    pub body: Node,
}

/// A component named in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub id: ComponentId,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct PipelineDeclared {
    pub signal: Signal,
    /// As written: `traces`, `traces/apps`.
    pub name: String,
    pub place: Place,
    pub receivers: Vec<Named>,
    pub processors: Vec<Named>,
    pub exporters: Vec<Named>,
}

impl ConfigDocument {
    /// What pipelines and the list of extensions name.
    pub fn names(&self) -> SourceNames<'_> {
        let lists = self.pipelines.iter().flat_map(|own| [&own.receivers, &own.processors, &own.exporters]);
        SourceNames {
            in_pipelines: lists.flatten().map(|named| &named.id).collect(),
            extensions: self.extensions.iter().map(|named| &named.id).collect(),
        }
    }

    /// True when a later source than the component's own wrote a list in which it could stand: it was taken out on purpose.
    pub fn overlays(&self, declared: &Declared) -> bool {
        let later = |named: &Named| named.place.source > declared.place.source;
        self.pipelines.iter().any(|pipeline| match declared.kind {
            Kind::Processor => pipeline.processors.iter().any(later),
            Kind::Receiver => pipeline.receivers.iter().any(later),
            Kind::Exporter => pipeline.exporters.iter().any(later),
            Kind::Connector | Kind::Extension => false,
        })
    }
}

/// Reads the top level. All faults are pushed; what could be read is in the document all the same.
pub fn read(tree: &Node, diagnostics: &Diagnostics) -> ConfigDocument {
    let mut document = ConfigDocument::default();
    let top = Section::new(tree, "", diagnostics);
    for kind in Kind::ALL {
        read_components(&top, kind, &mut document);
    }
    match top.section("service") {
        Some(service) => read_service(service, &mut document),
        None if top.is_empty() => no_pipeline("the configuration is empty", &top, diagnostics),
        None => no_pipeline("no pipeline is configured", &top, diagnostics),
    }
    for key in ["pipelines", "telemetry"] {
        top.misplaced(key, "move it under `service`");
    }
    top.finish();
    document
}

fn read_components(top: &Section<'_>, kind: Kind, document: &mut ConfigDocument) {
    let Some(section) = top.section(kind.section()) else { return };
    for entry in section.entries() {
        if let Some(id) = read_id(&entry.key, entry.key_place, section.path(), section.diagnostics()) {
            document.components.push(Declared { kind, id, place: entry.key_place, body: entry.value.clone() });
        }
    }
}

fn read_service(service: Section<'_>, document: &mut ConfigDocument) {
    document.extensions = read_names(&service, "extensions");
    let section = service.section("pipelines");
    for entry in section.iter().flat_map(Section::entries) {
        document.pipelines.extend(read_pipeline(entry, service.diagnostics()));
    }
    if section.as_ref().is_none_or(|section| section.entries().iter().all(|entry| entry.value.is_null())) {
        no_pipeline("no pipeline is configured", section.as_ref().unwrap_or(&service), service.diagnostics());
    }
    if let Some(section) = service.section("telemetry") {
        document.telemetry = telemetry::read(section);
    }
    if let Some(section) = service.section("podgate") {
        document.port_wait = section.duration("port_wait");
        if document.port_wait.is_some_and(|wait| wait > PORT_WAIT_MAX) {
            let message = "listeners wait at most ten minutes";
            section.invalid::<()>("port_wait", message, "a duration from 0 (do not wait) to 10m");
        }
        document.reload = read_reload(&section);
        section.finish();
    }
    service.finish();
}

fn read_reload(podgate: &Section<'_>) -> ReloadKeys {
    let default = ReloadKeys::default();
    let Some(section) = podgate.section("reload") else { return default };
    let interval = section.duration("interval").unwrap_or(default.interval);
    let keys = ReloadKeys { watch: section.bool("watch").unwrap_or(default.watch), interval };
    if interval < RELOAD_INTERVALS.0 || interval > RELOAD_INTERVALS.1 {
        section.invalid::<()>("interval", format!("{interval:?} is out of bounds"), "a duration from 1s to 1h");
    }
    section.finish();
    keys
}

fn no_pipeline(message: &str, section: &Section<'_>, diagnostics: &Diagnostics) {
    if !section.is_map() {
        // Already reported as the wrong type.
        return;
    }
    diagnostics.push(
        Diagnostic::error(code::NO_PIPELINE, section.place())
            .at(section.path().to_owned())
            .says(message.to_owned())
            .expected("expected at least one pipeline under `service::pipelines`")
            .help("for example: service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}"),
    );
}

/// `None` for a pipeline without body (an overlay removes it that way) and for one whose name is faulty.
fn read_pipeline(entry: &Entry, diagnostics: &Diagnostics) -> Option<PipelineDeclared> {
    let path = format!("service::pipelines::{}", entry.key);
    let signal = read_signal(entry, &path, diagnostics);
    if entry.value.is_null() {
        diagnostics.push(
            Diagnostic::warning(code::LINT, entry.key_place)
                .at(path)
                .says(format!("pipeline `{}` has no body and is left out", entry.key)),
        );
        return None;
    }
    let section = Section::new(&entry.value, path, diagnostics);
    let [receivers, processors, exporters] =
        ["receivers", "processors", "exporters"].map(|key| read_names(&section, key));
    if matches!(entry.value.value, Value::Map(_)) {
        refuse_empty(&section, entry, "receiver");
        refuse_empty(&section, entry, "exporter");
    }
    refuse_twice(&section, &processors);
    section.finish();
    Some(PipelineDeclared {
        signal: signal?,
        name: entry.key.clone(),
        place: entry.key_place,
        receivers,
        processors,
        exporters,
    })
}

/// The part before the slash names the signal; the rest must be a name a component could have.
fn read_signal(entry: &Entry, path: &str, diagnostics: &Diagnostics) -> Option<Signal> {
    let id = read_id(&entry.key, entry.key_place, "service::pipelines", diagnostics)?;
    let signal = Signal::parse(&id.component_type);
    if signal.is_none() {
        let names = Signal::ALL.map(Signal::name);
        let expected = match nearest(&id.component_type, names.into_iter()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("expected one of {}", names.join(", ")),
        };
        diagnostics.push(
            Diagnostic::error(code::BAD_PIPELINE, entry.key_place)
                .at(path.to_owned())
                .says(format!("`{}` is not a signal", id.component_type))
                .expected(expected)
                .help("a pipeline is named after its signal: traces, traces/apps"),
        );
    }
    signal
}

fn refuse_empty(section: &Section<'_>, entry: &Entry, role: &str) {
    let key = format!("{role}s");
    let written = section.node(&key);
    if written.is_some_and(|list| !list.items().is_empty() || !matches!(list.value, Value::List(_) | Value::Null)) {
        return;
    }
    section.diagnostics().push(
        Diagnostic::error(code::BAD_PIPELINE, written.map_or(entry.key_place, |list| list.place))
            .at(section.child_path(&key))
            .says(format!("pipeline `{}` has no {role}", entry.key))
            .expected(format!("expected at least one under `{key}`")),
    );
}

/// A processor may stand only once in a pipeline; a receiver or exporter twice means the same as once.
fn refuse_twice(section: &Section<'_>, processors: &[Named]) {
    let mut before = HashSet::new();
    for named in processors {
        if before.insert(&named.id) {
            continue;
        }
        section.diagnostics().push(
            Diagnostic::error(code::BAD_PIPELINE, named.place)
                .at(section.child_path("processors"))
                .says(format!("processor `{}` is listed twice", named.id))
                .expected("already named earlier in this list")
                .help(format!(
                    "to apply it twice, declare it a second time under another name: `{}/second`",
                    named.id.component_type
                )),
        );
    }
}

fn read_names(section: &Section<'_>, key: &str) -> Vec<Named> {
    let path = section.child_path(key);
    let Some(items) = section.strict_list(key) else { return Vec::new() };
    let texts = section.strings(key).unwrap_or_default();
    if texts.len() != items.len() {
        return Vec::new();
    }
    let pairs = items.iter().zip(&texts);
    pairs
        .filter_map(|(item, text)| {
            read_id(text, item.place, &path, section.diagnostics()).map(|id| Named { id, place: item.place })
        })
        .collect()
}

fn read_id(text: &str, place: Place, path: &str, diagnostics: &Diagnostics) -> Option<ComponentId> {
    let id = ComponentId::parse(text);
    if id.is_none() {
        diagnostics.push(Diagnostic::error(code::BAD_ID, place).at(format!("{path}::{text}")).says(format!("{text:?} is not a component id")).expected("expected `type` or `type/name`").help(
                "a type is letters, digits and `_`; a name after the slash has no blanks or symbols and is not empty"
                    .to_owned(),
            ));
    }
    id
}
