//! `resource_detection`: writes what is known of the machine podgate runs on into every resource.
//!
//! Detectors run once at the start, at most `timeout` long; one that fails then is tried again in the background, and data
//! flows without its attributes meanwhile (the Collector does not start at all). Of two detectors with the same attribute
//! the first one named counts.
//!
//! ```yaml
//! resource_detection:
//!   detectors: [env, system, k8s_api]
//!   override: false
//!   timeout: 2s
//!   system:
//!     hostname_sources: [os]
//!     resource_attributes: {host.id: {enabled: true}}
//! ```

mod cloud;
mod config;
mod detector;
mod env;
mod k8s_api;
mod outcome;
mod run;
mod system;

use std::sync::Arc;

use self::run::{Detection, DetectionTask, Plans};
use crate::change::actions::change_resources;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::ConsumeError;
use crate::core::node::Node;
use crate::core::report::stats::Flow;
use crate::core::stage::commands::access::Access;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{About, Alias, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::stage::transform::{Transform, TransformStage};
use crate::otlp::attributes::RESOURCE;
use crate::otlp::edit::{Appender, WireValue};
use crate::processors::resource_detection::config::Plan;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "resource_detection",
        aliases: &[Alias { name: "resourcedetection", note: "renamed in v0.153" }],
        signals: &Signal::ALL,
        summary: "writes what is known of the machine podgate runs on into every resource",
        example: "detectors: [env, system]\noverride: false\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    config::check(cx, node).map(|plan| Box::new(plan) as Box<dyn ProcessorPlan>)
}

impl ProcessorPlan for Plan {
    fn access(&self) -> Vec<Access> {
        let asks = self.detectors.iter().any(|detector| detector.reads_node());
        let node = || Access {
            group: "",
            resource: "nodes",
            verbs: &["get"],
            namespaces: Vec::new(),
            reason: "the detector k8s_api reads k8s.node.uid".to_owned(),
        };
        asks.then(node).into_iter().collect()
    }

    fn build(&self, cx: StageContext, next: Next) -> Stage {
        let host = &cx.build.host;
        let detection = host.shared(&format!("resource_detection {}", cx.build.path), || {
            let plans = Plans { detectors: self.detectors.clone(), timeout: self.timeout, refresh: self.refresh };
            Arc::new(Detection::new(plans, cx.build.path.clone(), host.tasks.clone()))
        });
        let transform = Detected { detection: detection.clone(), overrides: self.overrides };
        let flow = Flow::of(&host.stats, &cx.build.id.to_string(), cx.signal);
        let consumer = Arc::new(TransformStage::new(Arc::new(transform), next, flow));
        Stage::Consumer { consumer, component: Some(Arc::new(DetectionTask::of(detection))) }
    }
}

struct Detected {
    detection: Arc<Detection>,
    overrides: bool,
}

impl Transform for Detected {
    fn transform(&self, mut payload: Payload) -> Result<Payload, ConsumeError> {
        let found = self.detection.found();
        if found.is_empty() {
            return Ok(payload);
        }
        let mut edit = Appender::within(&payload.ticket);
        change_resources(&mut payload, |resource, _| {
            // A resource that cannot be walked passes as it is.
            if edit.load(resource, RESOURCE).is_err() {
                return Ok(None);
            }
            for (key, value) in found.iter() {
                if self.overrides || edit.find(key).is_none() {
                    edit.set(key, WireValue::Any(value));
                }
            }
            edit.is_changed().then(|| edit.take()).transpose()
        })?;
        Ok(payload)
    }
}
