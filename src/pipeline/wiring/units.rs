//! What runs: components with where they stand, what they were built by, and what they hand to.

use std::sync::Arc;

use crate::core::stage::component::{Component, ComponentId, Kind};
use crate::core::stage::consumer::Next;
use crate::core::stage::joint::{Joint, Outputs};
use crate::pipeline::identity::BodyDigest;

/// What makes a running component the one that a plan asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct UnitIdentity {
    pub body: Option<BodyDigest>,
    /// What else it was built by: signal, who binds late, which log it writes.
    pub around: String,
}

/// A component of one place in the graph.
#[derive(Clone)]
pub struct Unit {
    pub kind: Kind,
    pub id: ComponentId,
    pub path: String,
    /// A stage's; empty for what stands once in the whole graph.
    pub pipeline: String,
    pub identity: UnitIdentity,
    pub component: Arc<dyn Component>,
    /// Where payloads go in; `None` for receivers and extensions.
    pub entry: Option<Next>,
    /// Where a stage hands on.
    pub joint: Option<Arc<Joint>>,
    /// Where a receiver or connector hands on.
    pub outputs: Option<Outputs>,
}

impl Unit {
    /// The very same instance.
    pub fn is(&self, other: &Unit) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.component), Arc::as_ptr(&other.component))
    }

    /// Nobody hands a payload to it any more, or waits for its answer to one: besides this unit nothing holds its entry.
    pub fn is_left(&self) -> bool {
        let Some(entry) = &self.entry else { return true };
        let own = 1 + usize::from(std::ptr::addr_eq(Arc::as_ptr(entry), Arc::as_ptr(&self.component)));
        Arc::strong_count(entry) <= own
    }
}

/// Everything built from one plan. Each list is in start order; drain goes the other way round, producers first.
#[derive(Clone, Default)]
pub struct Wired {
    pub extensions: Vec<Unit>,
    pub exporters: Vec<Unit>,
    /// Last processor of a pipeline first.
    pub processors: Vec<Unit>,
    pub receivers: Vec<Unit>,
}

impl Wired {
    /// In start order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Unit> {
        let groups = [&self.extensions, &self.exporters, &self.processors, &self.receivers];
        groups.into_iter().flatten()
    }

    pub fn holds(&self, unit: &Unit) -> bool {
        self.all().any(|own| own.is(unit))
    }

    pub fn find(&self, kind: Kind, id: &ComponentId, pipeline: &str) -> Option<&Unit> {
        self.all().find(|unit| unit.kind == kind && unit.id == *id && unit.pipeline == pipeline)
    }

    /// Those that the other lacks, in start order.
    pub fn without(&self, other: &Wired) -> Wired {
        let lacks = |units: &[Unit]| units.iter().filter(|unit| !other.holds(unit)).cloned().collect();
        Wired {
            extensions: lacks(&self.extensions),
            exporters: lacks(&self.exporters),
            processors: lacks(&self.processors),
            receivers: lacks(&self.receivers),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}
