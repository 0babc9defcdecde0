//! `resource`: inserts, updates, deletes, hashes, extracts and converts attributes of resources.
//!
//! Works on the resource's bytes; one that no action changes keeps them.
//!
//! ```yaml
//! resource:
//!   attributes:
//!     - {key: deployment.environment.name, value: prod, action: upsert}
//!     - {key: k8s.cluster.name, from_attribute: k8s-cluster, action: insert}
//!     - {key: internal.token, action: delete}
//! ```

use std::sync::Arc;

use crate::change::actions;
use crate::change::actions::{Actions, change_resources};
use crate::config::check::Section;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::ConsumeError;
use crate::core::node::Node;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::stage::transform::Transform;
use crate::otlp::attributes::RESOURCE;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "resource",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "inserts, updates, deletes, hashes, extracts and converts attributes of resources",
        example: "attributes:\n  - {key: deployment.environment.name, value: prod, action: upsert}\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let actions = section.is_map().then(|| actions::read(&section, "attributes")).flatten();
    section.finish();
    actions.map(|actions| Box::new(Plan { actions: Arc::new(actions) }) as Box<dyn ProcessorPlan>)
}

struct Plan {
    actions: Arc<Actions>,
}

impl ProcessorPlan for Plan {
    fn build(&self, _: StageContext, _next: Next) -> Stage {
        Stage::Transform(Arc::new(Resources { actions: self.actions.clone() }))
    }
}

struct Resources {
    actions: Arc<Actions>,
}

impl Transform for Resources {
    fn transform(&self, mut payload: Payload) -> Result<Payload, ConsumeError> {
        let mut bench = self.actions.workbench(&payload.ticket);
        change_resources(&mut payload, |resource, origin| {
            // A resource that cannot be walked passes as it is.
            let changed = self.actions.apply(&mut bench, resource, RESOURCE, origin).unwrap_or(false);
            changed.then(|| bench.edit.take()).transpose()
        })?;
        Ok(payload)
    }
}
