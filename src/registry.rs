//! Every component podgate has: five const slices, and the only file that names components.
//!
//! Adding a component is one file (or folder) and one line here.

use std::collections::BTreeMap;

use crate::core::stage::component::Kind;
use crate::core::stage::factory::{
    About, ConnectorFactory, DataEnd, ExporterFactory, ExtensionFactory, ExtensionPlan, ProcessorFactory,
    ReceiverFactory,
};
use crate::extensions::{admin, authenticators, file_storage, health_check};
use crate::{connectors, exporters, processors, receivers};

pub const RECEIVERS: &[ReceiverFactory] = &[
    receivers::file_log::FACTORY,
    receivers::journald::FACTORY,
    receivers::k8s_audit::FACTORY,
    #[cfg(feature = "kafka")]
    receivers::kafka::FACTORY,
    receivers::otlp::FACTORY,
];

pub const PROCESSORS: &[ProcessorFactory] = &[
    processors::attributes::FACTORY,
    processors::batch::FACTORY,
    processors::filter::FACTORY,
    processors::k8s_attributes::FACTORY,
    processors::memory_limiter::FACTORY,
    processors::probabilistic_sampler::FACTORY,
    processors::resource::FACTORY,
    processors::resource_detection::FACTORY,
    processors::tail_sampling::FACTORY,
    processors::transform::FACTORY,
];

pub const EXPORTERS: &[ExporterFactory] = &[
    exporters::debug::FACTORY,
    exporters::elasticsearch::FACTORY,
    exporters::file::FACTORY,
    #[cfg(feature = "kafka")]
    exporters::kafka::FACTORY,
    exporters::nop::FACTORY,
    exporters::otlp::GRPC_FACTORY,
    exporters::otlp::HTTP_FACTORY,
    exporters::otlp::load_balancing::FACTORY,
];

pub const CONNECTORS: &[ConnectorFactory] = &[connectors::forward::FACTORY];

pub const EXTENSIONS: &[ExtensionFactory] = &[
    admin::FACTORY,
    authenticators::asking::api_key::FACTORY,
    authenticators::basic::FACTORY,
    authenticators::bearer::FACTORY,
    authenticators::headers_setter::FACTORY,
    authenticators::oauth2client::FACTORY,
    file_storage::FACTORY,
    health_check::FACTORY,
    authenticators::asking::token_review::FACTORY,
];

/// The type of an extension and the plan it runs by when nobody names it.
pub type Implicit = (&'static str, fn() -> Box<dyn ExtensionPlan>);

/// Extensions that run without being named, unless the configuration names one of their type.
pub const IMPLICIT: &[Implicit] = &[("admin", admin::implicit)];

/// What every component says of itself, in the order of the slices.
pub fn about() -> Vec<(Kind, &'static About)> {
    let receivers = RECEIVERS.iter().map(|factory| (Kind::Receiver, &factory.about));
    let processors = PROCESSORS.iter().map(|factory| (Kind::Processor, &factory.about));
    let exporters = EXPORTERS.iter().map(|factory| (Kind::Exporter, &factory.about));
    let connectors = CONNECTORS.iter().map(|factory| (Kind::Connector, &factory.about));
    let extensions = EXTENSIONS.iter().map(|factory| (Kind::Extension, &factory.about));
    receivers.chain(processors).chain(exporters).chain(connectors).chain(extensions).collect()
}

/// Where an exporter of this type, under either of its names, leaves what it takes; `None` for one that podgate lacks.
pub fn data_end(component_type: &str) -> Option<DataEnd> {
    let found = find(EXPORTERS.iter().map(|factory| &factory.about), component_type)?;
    let (Match::Name(at) | Match::Alias(at, _)) = found;
    Some(EXPORTERS[at].end)
}

/// The registry as JSON: section -> list of components.
pub fn as_json() -> serde_json::Value {
    let mut sections: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
    for (kind, about) in about() {
        let aliases: Vec<&str> = about.aliases.iter().map(|alias| alias.name).collect();
        let signals = signals(kind, about);
        let entry =
            serde_json::json!({ "name": about.name, "aliases": aliases, "signals": signals, "summary": about.summary });
        sections.entry(kind.section()).or_default().push(entry);
    }
    serde_json::json!(sections)
}

/// Names of the signals a component takes; none for extensions, which stand beside the data.
pub fn signals(kind: Kind, about: &About) -> Vec<&'static str> {
    if kind == Kind::Extension {
        return Vec::new();
    }
    about.signals.iter().map(|signal| signal.name()).collect()
}

/// How a written component type was understood.
#[derive(Clone, Copy, Debug)]
pub enum Match {
    /// The current name.
    Name(usize),
    /// An older spelling: position in the slice and position among the aliases.
    Alias(usize, usize),
}

/// Finds a written type among `abouts`.
pub fn find<'a>(abouts: impl Iterator<Item = &'a About>, written: &str) -> Option<Match> {
    for (at, about) in abouts.enumerate() {
        if about.name == written {
            return Some(Match::Name(at));
        }
        if let Some(alias) = about.aliases.iter().position(|alias| alias.name == written) {
            return Some(Match::Alias(at, alias));
        }
    }
    None
}
