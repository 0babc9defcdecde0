//! What a running gateway cannot change: found with its place, before anything is touched.
//!
//! A log on disk refuses the whole reload, because the exporters and samplers that name it would come about by half.
//! Everything else of this kind is about podgate's own telemetry: a warning, and the rest is applied.

use crate::core::diagnostic::{Diagnostic, code};
use crate::core::node::Place;
use crate::core::stage::component::{ComponentId, Kind};
use crate::pipeline::identity::path;
use crate::pipeline::plan::Plan;

/// Errors and warnings; empty when a reload changes all that differs.
pub fn needed(from: &Plan, to: &Plan) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let logs = |plan: &Plan| -> Vec<ComponentId> {
        plan.extensions.iter().filter(|(_, plan)| plan.keeps_log()).map(|(id, _)| id.clone()).collect()
    };
    let mut all = logs(to);
    all.extend(logs(from).into_iter().filter(|id| !logs(to).contains(id)));
    for id in all {
        let bodies = [from, to].map(|plan| plan.bodies.of(Kind::Extension, &id));
        if bodies[0] != bodies[1] {
            found.push(
                Diagnostic::error(code::RESTART_NEEDED, to.bodies.place(Kind::Extension, &id))
                    .at(path(Kind::Extension, &id))
                    .says("a log on disk cannot come, go or change while podgate runs")
                    .help("restart podgate, or leave the extension as it was: nothing was changed"),
            );
        }
    }
    let readers = |plan: &Plan| {
        let mut readers = plan.telemetry.metrics.clone();
        readers.iter_mut().for_each(|reader| reader.place = Place::default());
        readers
    };
    let mut telemetry = |key: &str, place: Option<Place>| {
        found.push(
            Diagnostic::warning(code::RESTART_FOR_THIS, place)
                .at(format!("service::{key}"))
                .says(format!("`{key}` cannot change while podgate runs; all else was applied"))
                .help("restart podgate"),
        );
    };
    if readers(from) != readers(to) {
        let place = to.telemetry.metrics.first().map(|reader| reader.place).filter(|place| place.line > 0);
        telemetry("telemetry::metrics", place);
    }
    if from.telemetry.logs != to.telemetry.logs {
        telemetry("telemetry::logs", None);
    }
    if from.telemetry.resource != to.telemetry.resource {
        telemetry("telemetry::resource", None);
    }
    found
}
