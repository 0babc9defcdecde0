//! Logs on disk that components name: each has to be an extension that runs and keeps one.

use std::collections::BTreeMap;

use crate::core::diagnostic::{Diagnostic, code};
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::{Checks, ExtensionPlan};

/// `running` are the extensions that run, under their current names; one without a plan has faults of its own.
pub fn check(running: &[ComponentId], plans: &BTreeMap<ComponentId, Box<dyn ExtensionPlan>>, checks: &Checks) {
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
