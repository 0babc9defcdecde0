//! A processor under test: from its YAML to a stage between a source and a [`Sink`].
//!
//! Knows factories, not components.

use std::sync::Arc;
use std::time::Duration;

use crate::core::data::payload::{Payload, Signal};
use crate::core::diagnostic::{Diagnostic, Severity};
use crate::core::report::stats::Flow;
use crate::core::stage::component::Component;
use crate::core::stage::consumer::Consumer;
use crate::core::stage::factory::{Checks, Environment, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::stage::host::Host;
use crate::core::stage::transform::TransformStage;
use crate::testing::check::{self, build_context, node};
use crate::testing::sink::Sink;

/// Checks a body in an environment without variables; the plan, if it is sound, and all findings.
pub fn check(factory: &ProcessorFactory, body: &str) -> (Option<Box<dyn ProcessorPlan>>, Vec<Diagnostic>) {
    check_in(factory, body, Environment::of(|_| None))
}

/// Checks a body in an environment.
pub fn check_in(
    factory: &ProcessorFactory,
    body: &str,
    environment: Environment,
) -> (Option<Box<dyn ProcessorPlan>>, Vec<Diagnostic>) {
    let checks = Checks { environment, ..Checks::default() };
    let plan = check::run(&checks, &format!("processors::{}", factory.about.name), &node(body), factory.check);
    (plan, checks.diagnostics.sorted())
}

/// Path (below the processor) and message of each error; none when the body is sound.
pub fn errors(factory: &ProcessorFactory, body: &str) -> Vec<(String, String)> {
    let (plan, found) = check(factory, body);
    let errors = found.into_iter().filter(|finding| finding.severity == Severity::Error);
    let prefix = format!("processors::{}", factory.about.name);
    let short = |path: String| path.strip_prefix(&prefix).unwrap_or(&path).trim_start_matches("::").to_owned();
    let errors: Vec<_> = errors.map(|finding| (short(finding.path), finding.message)).collect();
    assert!(plan.is_some() || !errors.is_empty(), "{body} is refused without a word");
    errors
}

/// What the plan at `path` is built with as the only processor of the signal's own pipeline.
pub fn stage_context(host: &Arc<Host>, path: &str, signal: Signal) -> StageContext {
    StageContext {
        build: build_context(host, path),
        signal,
        pipeline: signal.name().to_owned(),
        exporters: Vec::new(),
        bound_late: false,
        longest_wait: Duration::ZERO,
    }
}

/// A stage with what stands around it.
pub struct Bench {
    pub host: Arc<Host>,
    pub sink: Arc<Sink>,
    pub consumer: Arc<dyn Consumer>,
    pub component: Option<Arc<dyn Component>>,
}

/// Builds a sound body's stage for pipelines of a signal.
pub fn bench(factory: &ProcessorFactory, body: &str, signal: Signal, host: Arc<Host>) -> Bench {
    let (plan, found) = check(factory, body);
    let plan = plan.unwrap_or_else(|| panic!("{body} is refused: {found:?}"));
    bench_of(&*plan, factory.about.name, signal, host)
}

/// Builds a plan's stage for pipelines of a signal.
pub fn bench_of(plan: &dyn ProcessorPlan, name: &str, signal: Signal, host: Arc<Host>) -> Bench {
    let sink = Sink::new();
    let flow = Flow::of(&host.stats, name, signal);
    let cx = stage_context(&host, &format!("processors::{name}"), signal);
    let (consumer, component): (Arc<dyn Consumer>, _) = match plan.build(cx, sink.clone()) {
        Stage::Transform(transform) => (Arc::new(TransformStage::new(transform, sink.clone(), flow)), None),
        Stage::Consumer { consumer, component } => (consumer, component),
    };
    Bench { host, sink, consumer, component }
}

impl Bench {
    /// Sends a payload through and takes out what arrived at the end.
    pub fn send(&self, payload: Payload) -> Vec<Payload> {
        futures_util::FutureExt::now_or_never(self.consumer.consume(payload))
            .expect("the stage does not wait")
            .expect("accepted");
        self.sink.take()
    }
}
