//! Logs on disk and authenticators that components name: each has to be an extension that runs and is one.

use std::collections::BTreeMap;

use crate::core::diagnostic::{Diagnostic, code};
use crate::core::stage::component::{ComponentId, Kind};
use crate::core::stage::factory::{Checks, ExporterPlan, ExtensionPlan, ProcessorPlan};
use crate::pipeline::graph::PipelinePlan;
use crate::registry::{self, Match};

type PlansOf<P> = BTreeMap<ComponentId, Box<P>>;

/// `running` are the extensions that run, under their current names; one without a plan has faults of its own.
pub fn check(running: &[ComponentId], plans: &PlansOf<dyn ExtensionPlan>, checks: &Checks) {
    let keeps = |id: &ComponentId| plans.get(id).is_none_or(|plan| plan.keeps_log());
    for (id, path, place) in checks.storages.borrow().iter() {
        if running.contains(id) && keeps(id) {
            continue;
        }
        let logs: Vec<String> = running.iter().filter(|id| keeps(id)).map(ComponentId::to_string).collect();
        let expected = match logs.as_slice() {
            [] => "an extension that keeps a log, under `service::extensions`; there is none".to_owned(),
            logs => format!("one of the extensions that keep a log: {}", logs.join(", ")),
        };
        checks.diagnostics.push(
            Diagnostic::error(code::UNDEFINED_COMPONENT, *place)
                .at(path.clone())
                .says(format!("`{id}` is no log on disk that runs"))
                .expected(expected)
                .help(format!("declare `{id}` under `extensions` and name it under `service::extensions`")),
        );
    }
}

/// The same of authenticators. An older spelling of the extension's type names it as well.
pub fn check_authenticators(running: &[ComponentId], plans: &PlansOf<dyn ExtensionPlan>, checks: &Checks) {
    for (id, side, path, place) in checks.authenticators.borrow().iter() {
        let id = current(id, Kind::Extension);
        let serves = |id: &ComponentId| plans.get(id).is_none_or(|plan| plan.authenticates().contains(side));
        if running.contains(&id) && serves(&id) {
            continue;
        }
        let side = side.name();
        let fit: Vec<String> = running.iter().filter(|id| serves(id)).map(ComponentId::to_string).collect();
        let (says, help) = if running.contains(&id) {
            (
                format!("`{id}` is no authenticator of this side"),
                format!("name an extension that is a {side} authenticator"),
            )
        } else {
            let help = format!("declare `{id}` under `extensions` and name it under `service::extensions`");
            (format!("`{id}` is no authenticator that runs"), help)
        };
        let expected = match fit.as_slice() {
            [] => format!("a {side} authenticator under `service::extensions`; there is none"),
            fit => format!("one of the {side} authenticators: {}", fit.join(", ")),
        };
        let finding = Diagnostic::error(code::UNDEFINED_COMPONENT, *place).at(path.clone());
        checks.diagnostics.push(finding.says(says).expected(expected).help(help));
    }
}

/// An authenticator that has to know whose data a request carries, where the data of several senders is merged: behind a
/// processor that does so, and on an exporter that does so itself. A Collector sends such requests without the header.
pub fn check_senders(
    pipelines: &[PipelinePlan],
    (processors, exporters): (&PlansOf<dyn ProcessorPlan>, &PlansOf<dyn ExporterPlan>),
    extensions: &PlansOf<dyn ExtensionPlan>,
    checks: &Checks,
) {
    for (id, _, path, place) in checks.authenticators.borrow().iter() {
        let authenticator = extensions.get(&current(id, Kind::Extension));
        let Some(authenticator) = authenticator.filter(|plan| plan.asks_for_senders()) else { continue };
        let headers = authenticator.asks_for_headers();
        let keeps =
            |kept: &[String]| headers.as_ref().is_some_and(|asked| asked.iter().all(|name| kept.contains(name)));
        let exporter = path.strip_prefix("exporters::").and_then(|rest| rest.split("::").next());
        let Some(exporter) = exporter.and_then(ComponentId::parse) else { continue };
        let exporter = current(&exporter, Kind::Exporter);
        for pipeline in pipelines.iter().filter(|pipeline| pipeline.exporters.contains(&exporter)) {
            let forgets = |id: &&ComponentId| {
                let plan = processors.get(id);
                plan.is_some_and(|plan| plan.forgets_senders() && !keeps(plan.keeps_headers()))
            };
            let Some(merging) = pipeline.processors.iter().find(forgets) else { continue };
            let says = format!(
                "`{id}` needs the sender's request, and `{merging}` in pipeline `{}` merges the requests of several senders",
                pipeline.name
            );
            let help = "give the header a `default_value`, or send from a pipeline without that processor";
            checks.diagnostics.push(Diagnostic::error(code::CONFLICT, *place).at(path.clone()).says(says).help(help));
        }
        let merges = exporters.get(&exporter).and_then(|plan| plan.merges_by());
        if merges.is_some_and(|kept| !keeps(kept)) {
            let says = format!(
                "`{id}` needs the sender's request, and `{exporter}` merges the requests of several senders: what it \
                 merges goes without the header"
            );
            let finding = Diagnostic::warning(code::LINT, *place).at(path.clone()).says(says);
            checks.diagnostics.push(finding.help(merged_help(headers.as_deref())));
        }
    }
}

/// What keeps the header on merged requests; `None`: no header of the sender's request is enough.
fn merged_help(headers: Option<&[String]>) -> String {
    let default = "give the header a `default_value`";
    match headers {
        None => format!("{default}, or leave out `sending_queue: {{batch: ...}}`"),
        Some(names) => format!(
            "{default}, or keep senders apart with `sending_queue: {{batch: {{partition: {{metadata_keys: [{}]}}}}}}` of an OTLP exporter",
            names.join(", ")
        ),
    }
}

/// The id under the current name of its type.
fn current(id: &ComponentId, kind: Kind) -> ComponentId {
    let abouts: Vec<_> = registry::about().into_iter().filter(|(of, _)| *of == kind).map(|(_, about)| about).collect();
    match registry::find(abouts.iter().copied(), &id.component_type) {
        Some(Match::Name(at) | Match::Alias(at, _)) => {
            ComponentId { component_type: abouts[at].name.to_owned(), name: id.name.clone() }
        }
        None => id.clone(),
    }
}
