//! A component's check under test: what the pipeline gives it, from a text of YAML, for every kind of component.
//!
//! Knows the seam of components, no component.

use std::sync::Arc;

use crate::config::read::yaml;
use crate::core::diagnostic::Diagnostic;
use crate::core::node::{Node, SourceId};
use crate::core::stage::component::{Component, ComponentId};
use crate::core::stage::factory::{BuildContext, CheckContext, Checks, ExtensionFactory};
use crate::core::stage::host::Host;

/// The tree of a YAML text.
pub fn node(text: &str) -> Node {
    let checks = Checks::default();
    yaml::parse(text, SourceId(0), &checks.diagnostics).unwrap_or_else(|_| panic!("the test's YAML is wrong: {text}"))
}

/// The id that ends a path of the configuration: `batch/2` of `processors::batch/2`.
pub fn id_of(path: &str) -> ComponentId {
    let name = path.rsplit("::").next().unwrap_or(path);
    ComponentId::parse(name).unwrap_or_else(|| panic!("{path} ends with no component's id"))
}

/// Runs a check over a body as the component at `path` (`processors::batch/2`); the findings go to `checks`.
pub fn run<T>(
    checks: &Checks,
    path: &str,
    body: &Node,
    check: impl FnOnce(&CheckContext<'_>, &Node) -> Option<T>,
) -> Option<T> {
    let id = id_of(path);
    let cx = CheckContext { id: &id, path: path.to_owned(), place: body.place, checks };
    check(&cx, body)
}

/// Checks a text of YAML in an environment without variables; the plan, if it is sound, and all findings.
pub fn checked<T>(
    path: &str,
    body: &str,
    check: impl FnOnce(&CheckContext<'_>, &Node) -> Option<T>,
) -> (Option<T>, Vec<Diagnostic>) {
    let checks = Checks::default();
    let plan = run(&checks, path, &node(body), check);
    (plan, checks.diagnostics.sorted())
}

/// As [`checked`], for a body that has no fault.
pub fn sound<T>(path: &str, body: &str, check: impl FnOnce(&CheckContext<'_>, &Node) -> Option<T>) -> T {
    let (plan, found) = checked(path, body, check);
    plan.unwrap_or_else(|| panic!("{path}: {body} is refused: {found:?}"))
}

/// What a plan at `path` is built with.
pub fn build_context(host: &Arc<Host>, path: &str) -> BuildContext {
    BuildContext { id: id_of(path), path: path.to_owned(), host: host.clone() }
}

/// An extension of a sound body, built and not started.
pub fn extension(host: &Arc<Host>, factory: &ExtensionFactory, body: &str) -> Arc<dyn Component> {
    let path = format!("extensions::{}", factory.about.name);
    sound(&path, body, factory.check).build(build_context(host, &path))
}
