//! Policies that ask for attributes of a container's run: then the run must be known at arrival, not at the decision.
//!
//! The sampler gives up late binding for such a set, and whoever wrote it is told what that costs.

use crate::config::check::Section;
use crate::core::data::binding::INSTANCE_ATTRIBUTES;
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::node::{Node, Place, Value};

/// True when a policy asks for an instance attribute; each one that does is warned of once.
pub fn lint(section: &Section<'_>, diagnostics: &Diagnostics) -> bool {
    let policies = section.node("policies").map_or(&[][..], Node::items);
    let mut found = false;
    for (at, policy) in policies.iter().enumerate() {
        let Some((name, place)) = asked(policy) else { continue };
        found = true;
        diagnostics.push(Diagnostic::warning(code::LINT, place).at(format!("{}::{at}", section.child_path("policies"))).says(format!("`{name}` belongs to one run of a container and is not known yet when its first data comes")).help(
                "k8s_attributes in front of this sampler now finds the run at arrival, and data of a run that is not \
                 published yet waits up to its `hold`; without this policy it is found at the decision and nothing waits"
                    .to_owned(),
            ));
    }
    found
}

/// The first instance attribute that a policy names, as the `key` of an attribute or within a condition.
fn asked(policy: &Node) -> Option<(&'static str, Place)> {
    match &policy.value {
        Value::Map(entries) => entries.iter().find_map(|entry| match &entry.value.value {
            Value::String(text) if entry.key == "key" => {
                let name = INSTANCE_ATTRIBUTES.into_iter().find(|name| name == text)?;
                Some((name, entry.value.place))
            }
            // A policy's name may be anything.
            Value::String(_) if entry.key == "name" => None,
            _ => asked(&entry.value),
        }),
        Value::List(items) => items.iter().find_map(asked),
        Value::String(text) => {
            let named = |name: &&str| text.contains(&format!("[\"{name}\"]"));
            INSTANCE_ATTRIBUTES.into_iter().find(named).map(|name| (name, policy.place))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::core::node::SourceId;

    /// What is underlined, to the end of the line.
    fn warned(policies: &str) -> Vec<String> {
        let diagnostics = Diagnostics::default();
        let text = format!("policies: {policies}");
        let Ok(node) = yaml::parse(&text, SourceId(0), &diagnostics) else { panic!("the test's YAML is wrong") };
        let section = Section::new(&node, "p", &diagnostics);
        let found = lint(&section, &diagnostics);
        let sorted = diagnostics.sorted();
        assert_eq!(found, !sorted.is_empty());
        let columns = sorted.into_iter().map(|found| found.place.expect("located").column as usize);
        columns.map(|column| text[column - 1..].to_owned()).collect()
    }

    #[test]
    fn a_policy_that_asks_for_a_run_is_warned_of_at_the_place_that_does() {
        let table = [
            (
                r#"[{name: a, type: string_attribute, string_attribute: {key: container.id, values: [x]}}]"#,
                Some("container.id, values"),
            ),
            (
                r#"[{name: a, type: numeric_attribute, numeric_attribute: {key: k8s.container.restart_count}}]"#,
                Some("k8s.container.restart_count}"),
            ),
            (
                r#"[{name: a, and: {and_sub_policy: [{string_attribute: {key: container.image.tag}}]}}]"#,
                Some("container.image.tag}"),
            ),
            (
                r#"[{name: a, ottl_condition: {span: ['resource.attributes["container.id"] == "x"']}}]"#,
                Some("'resource.attributes"),
            ),
            (r#"[{name: container.id, string_attribute: {key: k8s.pod.uid, values: [container.id]}}]"#, None),
            (r#"[{name: a, ottl_condition: {span: ['attributes["container.identity"] == "x"']}}]"#, None),
            (r#"[{name: a, type: always_sample}]"#, None),
        ];
        for (policies, expected) in table {
            let warned = warned(policies);
            assert_eq!(warned.len(), usize::from(expected.is_some()), "{policies}");
            assert!(warned.iter().all(|text| text.starts_with(expected.unwrap_or_default())), "{policies}: {warned:?}");
        }
    }
}
