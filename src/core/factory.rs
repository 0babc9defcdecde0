//! How a component enters the registry: a const struct with its names, its example and its check.
//!
//! Check turns configuration into a plan and reports every fault with its place; a plan builds stages without I/O and
//! cannot fail, so that what `validate` accepts, `run` starts.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::core::binding::LateBinding;
use crate::core::component::{Component, ComponentId};
use crate::core::consumer::{Consumer, Next};
use crate::core::diagnostic::Diagnostics;
use crate::core::host::Host;
use crate::core::node::{Node, Place};
use crate::core::payload::Signal;
use crate::core::probe::Probe;
use crate::core::replay::Replay;
use crate::core::transform::Transform;

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
pub struct MemoryLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
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

/// What all checks of one configuration share.
#[derive(Default)]
pub struct Checks {
    pub diagnostics: Diagnostics,
    /// For keys that name a variable (`filter.node_from_env_var`); `${env:X}` was expanded before.
    pub environment: Environment,
    /// The first memory_limiter's limits and place; a second, different one is a conflict.
    pub memory_limit: OnceCell<(MemoryLimit, Place)>,
    /// Fixed addresses claimed by listeners so far, with the claimant's path, so that two listeners on one port are found before start.
    pub listeners: RefCell<Vec<(std::net::SocketAddr, String, Place)>>,
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
    /// True when a later stage of this pipeline binds instance attributes at its decision.
    pub bound_late: bool,
    /// One slot per pipeline: filled by the stage that knows instances, read by the stage that decides.
    pub late_binding: Arc<OnceLock<Arc<dyn LateBinding>>>,
}

/// A processor's part of a pipeline: a plain transform, or a stage of its own that was built over `next`.
pub enum Stage {
    Transform(Arc<dyn Transform>),
    Consumer { consumer: Arc<dyn Consumer>, component: Option<Arc<dyn Component>> },
}

/// First stages of the pipelines that use a receiver, fanned out per signal; `None` where no pipeline does.
#[derive(Clone, Default)]
pub struct Outputs {
    by_signal: [Option<Next>; 4],
}

impl Outputs {
    pub fn set(&mut self, signal: Signal, next: Next) {
        self.by_signal[signal.index()] = Some(next);
    }

    pub fn get(&self, signal: Signal) -> Option<&Next> {
        self.by_signal[signal.index()].as_ref()
    }
}

/// An exporter is a stage with a lifecycle; one instance serves all pipelines and signals.
pub trait Exporter: Consumer + Component {}
impl<T: Consumer + Component> Exporter for T {}

pub trait ReceiverPlan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component>;
}

pub trait ProcessorPlan {
    /// Called once per pipeline that names the processor.
    fn build(&self, cx: StageContext, next: Next) -> Stage;

    /// Why the processor as it is configured does not fit into pipelines of a signal that it takes otherwise.
    fn unfit(&self, _: Signal) -> Option<String> {
        None
    }

    /// True when this stage releases payloads after a decision and binds instance attributes then.
    fn binds_late(&self) -> bool {
        false
    }
}

pub trait ExporterPlan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter>;

    /// What `doctor` asks the next hop. Opens nothing before it is asked.
    fn probe(&self) -> Option<Box<dyn Probe>> {
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
}

pub struct ConnectorFactory {
    pub about: About,
    pub check: Check<dyn ConnectorPlan>,
}

pub struct ExtensionFactory {
    pub about: About,
    pub check: Check<dyn ExtensionPlan>,
}
