//! How a component enters the registry: a const struct with its names, its example and its check.
//!
//! Check turns configuration into a plan and reports every fault with its place; a plan builds stages without I/O and
//! cannot fail, so that what `validate` accepts, `run` starts.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::core::data::payload::Signal;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::{Node, Place};
use crate::core::stage::auth::{AuthSide, Authenticators};
use crate::core::stage::commands::access::Access;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::commands::rehearsal::Rehearsal;
use crate::core::stage::commands::replay::Replay;
use crate::core::stage::component::{Component, ComponentId};
use crate::core::stage::consumer::{Consumer, Next};
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::stage::transform::Transform;

/// Another spelling under which a component is accepted, with one warning.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    pub name: &'static str,
    /// "since v0.144", or why it is ours alone.
    pub note: &'static str,
}

/// What the registry and the documentation know of a component.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub name: &'static str,
    pub aliases: &'static [Alias],
    pub signals: &'static [Signal],
    /// One sentence for `podgate components`.
    pub summary: &'static str,
    /// The component's YAML body with its main keys; a test checks that it is accepted.
    pub example: &'static str,
}

/// Limits of the byte budget as a `memory_limiter` states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    Bytes {
        hard: u64,
        soft: u64,
    },
    /// Parts of the memory there is, which may change while the process runs. A spike of 0 is the usual one.
    Percent {
        limit: u64,
        spike: u64,
    },
}

/// The spike is this share of the limit when it is not written (Collector, memorylimiter).
const SPIKE_PERCENT: u64 = 20;

impl MemoryLimit {
    /// A hard limit and how far below it the soft one stands; 0 is the usual distance.
    pub fn bytes(hard: u64, spike: u64) -> MemoryLimit {
        MemoryLimit::Bytes { hard, soft: hard - spike_of(hard, spike) }
    }

    /// Hard and soft limit in bytes where there are so many bytes of memory.
    pub fn of(self, memory: u64) -> (u64, u64) {
        match self {
            MemoryLimit::Bytes { hard, soft } => (hard, soft),
            MemoryLimit::Percent { limit, spike } => {
                let hard = memory / 100 * limit;
                (hard, hard - spike_of(hard, memory / 100 * spike))
            }
        }
    }
}

fn spike_of(hard: u64, spike: u64) -> u64 {
    if spike == 0 { hard / 100 * SPIKE_PERCENT } else { spike.min(hard) }
}

type LookUp = dyn Fn(&str) -> Option<String>;

/// The environment that a configuration is checked in: the process's, or one that was given instead.
pub struct Environment(Box<LookUp>);

impl Environment {
    pub fn of(look_up: impl Fn(&str) -> Option<String> + 'static) -> Environment {
        Environment(Box::new(look_up))
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl Default for Environment {
    fn default() -> Environment {
        Environment::of(|name| std::env::var(name).ok())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// The Collector's switches of unfinished behaviour, as the command line turned them on (`name`, `+name`) or off (`-name`).
#[derive(Default)]
pub struct FeatureGates {
    turned: Vec<(String, bool)>,
    /// Those that a component asked for.
    asked: RefCell<Vec<&'static str>>,
}

impl FeatureGates {
    pub fn of(texts: &[String]) -> FeatureGates {
        let turned = texts.iter().filter(|text| !text.is_empty()).map(|text| match text.strip_prefix('-') {
            Some(name) => (name.to_owned(), false),
            None => (text.strip_prefix('+').unwrap_or(text).to_owned(), true),
        });
        FeatureGates { turned: turned.collect(), asked: RefCell::default() }
    }

    /// Whether a gate that is off by itself was turned on; the last word counts.
    pub fn is_on(&self, name: &'static str) -> bool {
        self.asked.borrow_mut().push(name);
        self.turned.iter().rev().find(|(turned, _)| turned == name).is_some_and(|(_, on)| *on)
    }

    /// Those that no component asked for.
    pub fn without_effect(&self) -> Vec<&str> {
        let asked = self.asked.borrow();
        self.turned.iter().map(|(name, _)| &**name).filter(|name| !asked.contains(name)).collect()
    }
}

/// What all checks of one configuration share.
#[derive(Default)]
pub struct Checks {
    pub diagnostics: Diagnostics,
    /// For keys that name a variable (`filter.node_from_env_var`); `${env:X}` was expanded before.
    pub environment: Environment,
    pub gates: FeatureGates,
    /// The limits of every memory_limiter that is declared. Those that a pipeline uses have to agree, and count.
    pub memory_limits: RefCell<Vec<(ComponentId, MemoryLimit, Place)>>,
    /// Fixed addresses claimed by listeners so far, with the claimant's path, so that two listeners on one port are found before start.
    pub listeners: RefCell<Vec<(SocketAddr, String, Place)>>,
    /// Files that are written, with the writer's path: two writers would mix their lines.
    pub files: RefCell<Vec<(String, String)>>,
    /// Logs on disk that components ask for, with the path and the place of the key: each has to be a running extension.
    pub storages: RefCell<Vec<(ComponentId, String, Place)>>,
    /// Authenticators that components ask for: each has to be a running extension that serves this side.
    pub authenticators: RefCell<Vec<(ComponentId, AuthSide, String, Place)>>,
}

impl Checks {
    /// Takes a fixed address for the listener of `path`; who has it already, when somebody does. Port 0 is nobody's.
    pub fn claim_address(&self, address: SocketAddr, path: &str, place: Place) -> Option<String> {
        let clash = |taken: SocketAddr| {
            let (a, b) = (taken.ip(), address.ip());
            taken.port() == address.port() && (a == b || a.is_unspecified() || b.is_unspecified())
        };
        if address.port() == 0 {
            return None;
        }
        let mut listeners = self.listeners.borrow_mut();
        let other = listeners.iter().find(|(taken, ..)| clash(*taken)).map(|(_, other, _)| other.clone());
        if other.is_none() {
            listeners.push((address, path.to_owned(), place));
        }
        other
    }

    /// Takes a file to write for the component of `path`; who writes it already, when somebody does.
    pub fn claim_file(&self, file: &str, path: &str) -> Option<String> {
        let mut files = self.files.borrow_mut();
        let other = files.iter().find(|(taken, _)| taken == file).map(|(_, other)| other.clone());
        if other.is_none() {
            files.push((file.to_owned(), path.to_owned()));
        }
        other
    }
}

/// What a component's check is given beside its own body.
pub struct CheckContext<'a> {
    pub id: &'a ComponentId,
    /// `processors::batch/2`
    pub path: String,
    /// Where the component's id is written.
    pub place: Place,
    pub checks: &'a Checks,
}

/// What a plan is given when it builds a stage.
pub struct BuildContext {
    pub id: ComponentId,
    pub path: String,
    pub host: Arc<Host>,
}

/// The place of a stage in its pipeline.
pub struct StageContext {
    pub build: BuildContext,
    pub signal: Signal,
    /// The pipeline's id as written: `traces`, `traces/apps`.
    pub pipeline: String,
    /// Ids of the exporters and connectors at the pipeline's end.
    pub exporters: Vec<String>,
    /// True when a later stage of this pipeline binds instance attributes at its decision, and no stage before that one
    /// reads or changes resources.
    pub bound_late: bool,
    /// The longest that data may stay in the pipeline's processors, all of their waits together.
    pub longest_wait: Duration,
}

/// A processor's part of a pipeline: a plain transform, or a stage of its own that was built over `next`.
pub enum Stage {
    Transform(Arc<dyn Transform>),
    Consumer { consumer: Arc<dyn Consumer>, component: Option<Arc<dyn Component>> },
}

/// An exporter is a stage with a lifecycle; one instance serves all pipelines and signals.
pub trait Exporter: Consumer + Component {}
impl<T: Consumer + Component> Exporter for T {}

/// `Any` as for [`ProcessorPlan`].
pub trait ReceiverPlan: Any {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component>;

    /// What `doctor` asks the world that the receiver reads from, for the pipelines of these signals. Opens nothing before it
    /// is asked.
    fn probe(&self, _: &[Signal]) -> Option<Box<dyn Probe>> {
        None
    }
}

/// A written value that does not hold as it is written.
pub struct CutValue {
    pub place: Place,
    /// Within the processor: `decision_cache::sampled_cache_size`.
    pub key: &'static str,
    pub message: String,
    pub help: &'static str,
}

/// `Any`, so that a running stage knows a plan of its own type again (`Component::reconfigure`).
pub trait ProcessorPlan: Any {
    /// Called once per pipeline that names the processor.
    fn build(&self, cx: StageContext, next: Next) -> Stage;

    /// What it reads of the Kubernetes API.
    fn access(&self) -> Vec<Access> {
        Vec::new()
    }

    /// What `doctor` asks the world that the processor works with. Opens nothing before it is asked.
    fn probe(&self) -> Option<Box<dyn Probe>> {
        None
    }

    /// What it would make of recorded data. Opens nothing.
    fn rehearse(&self) -> Option<Box<dyn Rehearsal>> {
        None
    }

    /// Why the processor as it is configured does not fit into pipelines of a signal that it takes otherwise.
    fn unfit(&self, _: Signal) -> Option<String> {
        None
    }

    /// True when this stage releases payloads after a decision and binds instance attributes then.
    fn binds_late(&self) -> bool {
        false
    }

    /// True unless it is certain that the stage neither reads nor changes resources. What is written later than such a
    /// stage runs would be missed by it, so in front of it everything is written at arrival.
    fn touches_resources(&self) -> bool {
        true
    }

    /// The longest that data stays in the stage before it goes on.
    fn longest_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// Why it belongs in front of all other processors, as a sentence; `None` when its place is free.
    fn wants_first(&self) -> Option<&'static str> {
        None
    }

    /// What is written of it and would be less beside a memory budget of so many bytes.
    fn cut_within(&self, _budget: u64) -> Vec<CutValue> {
        Vec::new()
    }

    /// True when what it passes on no longer tells whose connection data came from.
    fn forgets_senders(&self) -> bool {
        false
    }

    /// Headers of requests, in lower case, that go on with what it merges: it keeps apart what differs in them.
    fn keeps_headers(&self) -> &[String] {
        &[]
    }

    /// What it lacks where the senders were forgotten before it; `None` when it does not ask for them.
    fn needs_senders(&self) -> Option<&'static str> {
        None
    }

    /// How long what the stage looks things up in remembers them after they are gone, and where that is written; `None`
    /// when it is not configured.
    fn remembers_for(&self) -> Option<(Duration, Place)> {
        None
    }
}

/// `Any` as for [`ProcessorPlan`].
pub trait ExporterPlan: Any {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter>;

    /// Why the exporter as it is configured does not fit into pipelines of a signal that it takes otherwise.
    fn unfit(&self, _: Signal) -> Option<String> {
        None
    }

    /// What it reads of the Kubernetes API.
    fn access(&self) -> Vec<Access> {
        Vec::new()
    }

    /// What `doctor` asks the next hop about the signals that pipelines send there, with the credentials of `known`
    /// authenticators. Opens nothing before it is asked.
    fn probe(&self, _: &[Signal], _known: &Authenticators) -> Option<Box<dyn Probe>> {
        None
    }

    /// Headers by which requests that it merges are kept apart, in lower case; `None` where each goes by itself.
    fn merges_by(&self) -> Option<&[String]> {
        None
    }

    /// What `replay` sends again. Opens nothing before it is run.
    fn replay(&self, _: BuildContext) -> Option<Box<dyn Replay>> {
        None
    }
}

/// A connector is an exporter of one pipeline and the receiver of others.
pub trait ConnectorPlan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Exporter>;
}

pub trait ExtensionPlan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component>;

    /// True when it adds a log on disk to the host, under its own id.
    fn keeps_log(&self) -> bool {
        false
    }

    /// What `doctor` asks the world that the extension works with. Opens nothing before it is asked.
    fn probe(&self) -> Option<Box<dyn Probe>> {
        None
    }

    /// What it asks of the Kubernetes API.
    fn access(&self) -> Vec<Access> {
        Vec::new()
    }

    /// The sides for which it puts an authenticator into the host's slot of its id.
    fn authenticates(&self) -> &[AuthSide] {
        &[]
    }

    /// True when its authenticator needs to know whose data a request carries.
    fn asks_for_senders(&self) -> bool {
        false
    }

    /// The headers that are all it needs of a request, in lower case; `None` when it needs more.
    fn asks_for_headers(&self) -> Option<Vec<String>> {
        None
    }
}

/// Checks a body (a null body is an empty map) and returns the plan, or `None` after reporting at least one error.
pub type Check<P> = fn(&CheckContext<'_>, &Node) -> Option<Box<P>>;

pub struct ReceiverFactory {
    pub about: About,
    pub check: Check<dyn ReceiverPlan>,
}

pub struct ProcessorFactory {
    pub about: About,
    pub check: Check<dyn ProcessorPlan>,
}

pub struct ExporterFactory {
    pub about: About,
    pub check: Check<dyn ExporterPlan>,
    pub end: DataEnd,
}

/// Where an exporter leaves what it takes. A sender hears success in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataEnd {
    /// With a next hop.
    Delivered,
    /// On this machine, for a person to look at.
    Shown,
    /// Nowhere, on purpose.
    Dropped,
}

pub struct ConnectorFactory {
    pub about: About,
    pub check: Check<dyn ConnectorPlan>,
}

pub struct ExtensionFactory {
    pub about: About,
    pub check: Check<dyn ExtensionPlan>,
}
