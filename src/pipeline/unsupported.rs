//! `--unsupported=skip`: a Collector's configuration minus what podgate does not have, one warning for each thing left out.
//!
//! Unknown components go, keys that are not supported yet go, and pipelines that end up without receiver or exporter
//! go. A key that protects (tls, auth) is never merely left out: its component goes as a whole.

use std::collections::BTreeSet;

use crate::config::document::{ConfigDocument, Declared, Named};
use crate::core::diagnostic::{Diagnostic, Diagnostics, Severity, code};
use crate::core::node::{Node, Place, Value};
use crate::core::stage::component::{ComponentId, Kind};
use crate::core::stage::factory::{CheckContext, Checks, DataEnd};
use crate::pipeline::collector;
use crate::registry::{self, Match};

/// Keys without which a component would do what its owner protects against: leaving them out takes it along.
const PROTECTING: [&str; 7] =
    ["tls", "auth", "middlewares", "cipher_suites", "curve_preferences", "tpm", "metadata_keys"];
/// Processors that hide data.
const HIDING: [&str; 1] = ["redaction"];

/// The document without what podgate does not have.
/// `unprotected` is what it is that something protecting goes, or that a pipeline delivers nowhere any more.
pub fn without(mut document: ConfigDocument, unprotected: Severity, diagnostics: &Diagnostics) -> ConfigDocument {
    diagnostics.soften(code::NOT_YET);
    diagnostics.soften(code::RETIRED);
    let declared: BTreeSet<(Kind, ComponentId)> =
        document.components.iter().map(|declared| (declared.kind, declared.id.clone())).collect();
    let mut gone: BTreeSet<(Kind, ComponentId)> = BTreeSet::new();
    let before = document.clone();
    let foreign = foreign_authenticators(&before);
    for declared in &mut document.components {
        if collector::without_effect(declared.kind, &declared.id.component_type).is_some() {
            continue;
        }
        let unguarded = authenticators_of(&declared.body).into_iter().find(|id| foreign(id));
        let unguarded =
            unguarded.map(|id| format!("podgate does not have its authenticator `{id}`, and it must not run without"));
        if let Some(why) = unguarded.or_else(|| trim(declared, diagnostics)) {
            warn(diagnostics, declared.place, path_of(declared), format!("left out: {why}"));
            gone.insert((declared.kind, declared.id.clone()));
        }
    }
    document.components.retain(|declared| !gone.contains(&(declared.kind, declared.id.clone())));
    let is_gone = |kinds: &[Kind], named: &Named| kinds.iter().any(|kind| gone.contains(&(*kind, named.id.clone())));
    document.extensions.retain(|named| !is_gone(&[Kind::Extension], named));
    for pipeline in &mut document.pipelines {
        pipeline.receivers.retain(|named| !is_gone(&[Kind::Receiver, Kind::Connector], named));
        pipeline.processors.retain(|named| !is_gone(&[Kind::Processor], named));
        pipeline.exporters.retain(|named| !is_gone(&[Kind::Exporter, Kind::Connector], named));
    }
    for pipeline in &mut document.pipelines {
        let path = format!("service::pipelines::{}", pipeline.name);
        let foreign = Foreign { declared: &declared, path, diagnostics };
        foreign.leave_out(&[Kind::Receiver, Kind::Connector], &mut pipeline.receivers);
        foreign.leave_out(&[Kind::Processor], &mut pipeline.processors);
        foreign.leave_out(&[Kind::Exporter, Kind::Connector], &mut pipeline.exporters);
    }
    drop_emptied(&mut document, diagnostics);
    for finding in unprotected_pipelines(&before, &document) {
        diagnostics.push(Diagnostic { severity: unprotected, ..finding });
    }
    document
}

/// Pipelines that lost what hides data, or whose exporters are all left out but those that only show it: their senders
/// hear success.
fn unprotected_pipelines(before: &ConfigDocument, after: &ConfigDocument) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for pipeline in &after.pipelines {
        let Some(was) = before.pipelines.iter().find(|was| was.name == pipeline.name) else { continue };
        let mut report = |named: &Named, list: &str, message: String| {
            found.push(
                Diagnostic::error(code::UNPROTECTED, named.place)
                    .at(format!("service::pipelines::{}::{list}", pipeline.name))
                    .says(message)
                    .help("start with --unsupported=skip-all if that is meant"),
            );
        };
        let hides = |named: &&Named| HIDING.contains(&named.id.component_type.as_str());
        for gone in was.processors.iter().filter(hides).filter(|named| !pipeline.processors.contains(named)) {
            let message = format!("`{}` hides data and is left out: what it hides would be sent on", gone.id);
            report(gone, "processors", message);
        }
        let stays_here = |named: &Named| {
            matches!(registry::data_end(&named.id.component_type), Some(DataEnd::Shown | DataEnd::Dropped))
        };
        let showing = pipeline.exporters.iter().all(stays_here);
        let gone = was.exporters.iter().find(|named| !stays_here(named));
        if let (true, Some(gone)) = (showing, gone) {
            let message = format!(
                "pipeline `{}` would deliver nowhere: `{}` is left out, and senders hear success",
                pipeline.name, gone.id
            );
            report(gone, "exporters", message);
        }
    }
    found
}

/// Whether an authenticator is one that podgate does not have, or that nobody declared.
fn foreign_authenticators(document: &ConfigDocument) -> impl Fn(&str) -> bool {
    let extensions = document.components.iter().filter(|declared| declared.kind == Kind::Extension);
    let declared: BTreeSet<String> = extensions.map(|declared| declared.id.to_string()).collect();
    move |id| {
        let component_type = id.split('/').next().unwrap_or_default();
        let abouts = registry::EXTENSIONS.iter().map(|factory| &factory.about);
        !declared.contains(id) || registry::find(abouts, component_type).is_none()
    }
}

/// The ids under `auth: {authenticator: ...}`, however deep.
fn authenticators_of(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    for entry in node.entries() {
        let named = (entry.key == "auth").then(|| entry.value.get("authenticator")).flatten();
        match named.map(|node| &node.value) {
            Some(Value::String(id)) => found.push(id.clone()),
            _ => found.extend(authenticators_of(&entry.value)),
        }
    }
    found
}

/// References to components that podgate does not have and that nobody declared: an overlay read without its base.
struct Foreign<'a> {
    declared: &'a BTreeSet<(Kind, ComponentId)>,
    path: String,
    diagnostics: &'a Diagnostics,
}

impl Foreign<'_> {
    fn leave_out(&self, kinds: &[Kind], names: &mut Vec<Named>) {
        names.retain(|named| {
            let known = |kind: &Kind| {
                let abouts = registry::about().into_iter().filter(|(of, _)| of == kind).map(|(_, about)| about);
                self.declared.contains(&(*kind, named.id.clone()))
                    || registry::find(abouts, &named.id.component_type).is_some()
            };
            let keep = kinds.iter().any(known);
            if !keep {
                let message = format!("left out: `{}` is not declared, and podgate does not have it", named.id);
                warn(self.diagnostics, named.place, self.path.clone(), message);
            }
            keep
        });
    }
}

/// A pipeline without an end goes; so may then the connector it shared with another one, hence the loop.
fn drop_emptied(document: &mut ConfigDocument, diagnostics: &Diagnostics) {
    loop {
        let before = document.pipelines.len();
        document.pipelines.retain(|pipeline| {
            let missing = match (pipeline.receivers.is_empty(), pipeline.exporters.is_empty()) {
                (false, false) => return true,
                (true, false) => "receiver",
                (false, true) => "exporter",
                (true, true) => "receiver and no exporter",
            };
            let path = format!("service::pipelines::{}", pipeline.name);
            warn(diagnostics, pipeline.place, path, format!("pipeline left out: it has no {missing} left"));
            false
        });
        let connectors: Vec<ComponentId> = document
            .components
            .iter()
            .filter(|declared| declared.kind == Kind::Connector)
            .map(|declared| declared.id.clone())
            .collect();
        for id in connectors {
            let feeds = document.pipelines.iter().any(|pipeline| pipeline.receivers.iter().any(|named| named.id == id));
            let is_fed =
                document.pipelines.iter().any(|pipeline| pipeline.exporters.iter().any(|named| named.id == id));
            if feeds != is_fed {
                for pipeline in &mut document.pipelines {
                    pipeline.receivers.retain(|named| named.id != id);
                    pipeline.exporters.retain(|named| named.id != id);
                }
            }
        }
        if document.pipelines.len() == before
            && document
                .pipelines
                .iter()
                .all(|pipeline| !pipeline.receivers.is_empty() && !pipeline.exporters.is_empty())
        {
            return;
        }
    }
}

/// Removes keys that are not supported yet; the reason when the whole component has to go.
fn trim(declared: &mut Declared, diagnostics: &Diagnostics) -> Option<String> {
    let component_type = declared.id.component_type.clone();
    let kind = declared.kind;
    let abouts = registry::about().into_iter().filter(|(of, _)| *of == kind).map(|(_, about)| about);
    let Some(Match::Name(at) | Match::Alias(at, _)) = registry::find(abouts, &component_type) else {
        return Some(format!("podgate does not have the {} `{component_type}`", kind.name()));
    };
    let mut removed: Vec<String> = Vec::new();
    // The last first, so that places in lists stay right.
    for finding in not_yet(declared, at).into_iter().rev() {
        let key = finding.path.rsplit("::").next().unwrap_or_default().to_owned();
        if PROTECTING.contains(&key.as_str()) {
            return Some(format!("its `{key}` is not supported yet, and it must not run without"));
        }
        let inside = finding.path.strip_prefix(&format!("{}::", path_of(declared))).unwrap_or_default().to_owned();
        let keys = with_what_depends(inside.split("::").collect());
        let whole = keys.join("::");
        // Went with another finding's group; what has its place now is not meant.
        if removed.iter().any(|gone| whole == *gone || whole.starts_with(&format!("{gone}::"))) {
            continue;
        }
        removed.push(whole);
        let key = keys.last().copied().unwrap_or_default().to_owned();
        if inside.is_empty() || !remove(&mut declared.body, &keys) {
            return Some(finding.message);
        }
        diagnostics.push(Diagnostic {
            code: code::SKIPPED,
            severity: Severity::Warning,
            message: match key.parse::<usize>() {
                Ok(_) => format!("left out, and what it would change or drop passes unchanged: {}", finding.message),
                Err(_) => format!("`{key}` left out: it is not supported yet"),
            },
            expected: None,
            help: None,
            ..finding
        });
    }
    None
}

/// The path of what goes with the value at `keys`: a group of statements with its condition, which would set them free.
fn with_what_depends(mut keys: Vec<&str>) -> Vec<&str> {
    let condition = keys.iter().position(|key| *key == "conditions").filter(|at| *at > 1);
    keys.truncate(condition.unwrap_or(keys.len()));
    keys
}

/// The component's findings that something is not supported yet, from a check of its own.
fn not_yet(declared: &Declared, at: usize) -> Vec<Diagnostic> {
    let checks = Checks::default();
    let cx = CheckContext { id: &declared.id, path: path_of(declared), place: declared.place, checks: &checks };
    match declared.kind {
        Kind::Receiver => drop((registry::RECEIVERS[at].check)(&cx, &declared.body)),
        Kind::Processor => drop((registry::PROCESSORS[at].check)(&cx, &declared.body)),
        Kind::Exporter => drop((registry::EXPORTERS[at].check)(&cx, &declared.body)),
        Kind::Connector => drop((registry::CONNECTORS[at].check)(&cx, &declared.body)),
        Kind::Extension => drop((registry::EXTENSIONS[at].check)(&cx, &declared.body)),
    }
    checks
        .diagnostics
        .sorted()
        .into_iter()
        .filter(|finding| [code::NOT_YET, code::RETIRED].contains(&finding.code))
        .collect()
}

/// Removes the value at a path of keys and list positions; false when there is none.
fn remove(node: &mut Node, keys: &[&str]) -> bool {
    let Some((first, rest)) = keys.split_first() else { return false };
    match &mut node.value {
        Value::Map(entries) => {
            let Some(at) = entries.iter().position(|entry| entry.key == *first) else { return false };
            if rest.is_empty() {
                entries.remove(at);
                return true;
            }
            remove(&mut entries[at].value, rest)
        }
        Value::List(items) => {
            let Some(at) = first.parse::<usize>().ok().filter(|at| *at < items.len()) else { return false };
            if rest.is_empty() {
                items.remove(at);
                return true;
            }
            remove(&mut items[at], rest)
        }
        _ => false,
    }
}

fn path_of(declared: &Declared) -> String {
    format!("{}::{}", declared.kind.section(), declared.id)
}

fn warn(diagnostics: &Diagnostics, place: Place, path: String, message: String) {
    diagnostics.push(Diagnostic::warning(code::SKIPPED, place).at(path).says(message));
}
