//! A shadow that is given to a running sampler: its text is checked beside the configuration that the sampler has.

use crate::config::read::yaml;
use crate::core::diagnostic::Severity;
use crate::core::node::{Entry, Node, Place, SourceId, Value};
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::{CheckContext, Checks};
use crate::processors::tail_sampling::config::{self, SamplingSettings};

/// The settings with the policies of `text` as their shadow: YAML, a list of policies or a map with `policies`. The error has
/// every finding, a line each.
pub fn with_shadow(settings: &SamplingSettings, text: &str) -> Result<SamplingSettings, String> {
    let checks = Checks::default();
    let shadow = match yaml::parse(text, SourceId(0), &checks.diagnostics) {
        Ok(node) => shadow_of(node),
        Err(fault) => {
            fault.report(&checks.diagnostics);
            return Err(told(&checks));
        }
    };
    let body = replaced(&settings.body, "podgate", |own| replaced(own, "shadow", |_| shadow));
    let id = ComponentId { component_type: "tail_sampling".to_owned(), name: None };
    let cx = CheckContext { id: &id, path: "policies".to_owned(), place: Place::default(), checks: &checks };
    let given = config::check(&cx, &body).ok_or_else(|| told(&checks))?;
    if given.asks_for_runs != settings.asks_for_runs {
        return Err("a policy asks for attributes of container runs, which are found at the decision here: such a shadow has to \
                    stand in the configuration (podgate: {shadow: ...})"
            .to_owned());
    }
    Ok(given)
}

/// `{policies: [...]}`, whichever way it was written.
fn shadow_of(node: Node) -> Node {
    let place = node.place;
    match node.value {
        Value::List(_) => Node::new(Value::Map(vec![entry("policies", node)]), place),
        _ => node,
    }
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), key_place: value.place, value }
}

/// A copy of a map in which the value under `key` is another, which may be made of the one before.
fn replaced(map: &Node, key: &str, make: impl FnOnce(&Node) -> Node) -> Node {
    let empty = Node::null(map.place);
    let made = entry(key, make(map.get(key).unwrap_or(&empty)));
    let mut entries: Vec<Entry> = map.entries().iter().filter(|entry| entry.key != key).cloned().collect();
    entries.push(made);
    Node::new(Value::Map(entries), map.place)
}

fn told(checks: &Checks) -> String {
    let errors = checks.diagnostics.sorted().into_iter().filter(|found| found.severity == Severity::Error);
    let line = |found: crate::core::diagnostic::Diagnostic| {
        let place = found.place.map(|place| format!("line {}: ", place.line)).unwrap_or_default();
        let expected = found.expected.map(|expected| format!("; {expected}")).unwrap_or_default();
        format!("{place}{} {}{expected}", found.code, found.message)
    };
    errors.map(line).collect::<Vec<_>>().join("\n")
}
