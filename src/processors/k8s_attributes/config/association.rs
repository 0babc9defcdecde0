//! `pod_association`: rules in order, each of one to four sources that must all agree.

use std::collections::BTreeSet;

use crate::config::check::Section;
use crate::core::diagnostic::code;

/// Sources a rule may have; the Collector's limit.
const SOURCES_MAX: usize = 4;
/// Rules are tried for every resource that none of them finds, so their number is bounded.
const RULES_MAX: usize = 64;

/// One way of finding the pod: every source must have a value and fit the same pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociationRule {
    pub sources: Vec<AssociationSource>,
    /// As metrics and explain show it: `k8s.pod.name+k8s.namespace.name`.
    pub label: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssociationSource {
    /// The address of the peer that opened the connection.
    Connection,
    Attribute(String),
}

impl AssociationSource {
    pub fn name(&self) -> &str {
        match self {
            AssociationSource::Connection => "connection",
            AssociationSource::Attribute(name) => name,
        }
    }
}

impl AssociationRule {
    fn of(sources: Vec<AssociationSource>) -> AssociationRule {
        let label = sources.iter().map(AssociationSource::name).collect::<Vec<_>>().join("+");
        AssociationRule { sources, label }
    }
}

/// The rules where none are configured. The Collector's (k8s.pod.ip, ip, connection, host.name) after the uid, which
/// names the pod even when a relay's address is behind the connection.
fn default_rules() -> Vec<AssociationRule> {
    let attribute = |name: &str| AssociationRule::of(vec![AssociationSource::Attribute(name.to_owned())]);
    vec![
        attribute("k8s.pod.uid"),
        attribute("k8s.pod.ip"),
        attribute("ip"),
        AssociationRule::of(vec![AssociationSource::Connection]),
        attribute("host.name"),
    ]
}

pub(super) fn read(body: &Section<'_>) -> Vec<AssociationRule> {
    let items = body.list("pod_association").unwrap_or_default();
    if items.is_empty() {
        return default_rules();
    }
    if items.len() > RULES_MAX {
        body.invalid::<()>("pod_association", format!("{} rules", items.len()), "at most 64 rules");
        return Vec::new();
    }
    let path = body.child_path("pod_association");
    let mut seen: BTreeSet<Vec<AssociationSource>> = BTreeSet::new();
    let mut rules = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let rule = Section::new(item, format!("{path}::{at}"), body.diagnostics());
        let sources = sources(&rule);
        if let Some(sources) = sources {
            let mut sorted = sources.clone();
            sorted.sort();
            if !seen.insert(sorted) {
                duplicate(&rule);
            }
            rules.push(AssociationRule::of(sources));
        }
        rule.finish();
    }
    rules
}

fn duplicate(rule: &Section<'_>) {
    rule.error(
        "sources",
        code::CONFLICT,
        "an earlier rule has the same sources",
        Some("remove one of the two: the second can never find what the first did not"),
    );
}

fn sources(rule: &Section<'_>) -> Option<Vec<AssociationSource>> {
    if rule.node("from").is_some() || rule.node("name").is_some() {
        let key = if rule.node("from").is_some() { "from" } else { "name" };
        rule.error(
            key,
            code::RETIRED,
            "a rule's sources are a list",
            Some("write `- sources: [{from: resource_attribute, name: k8s.pod.ip}]`"),
        );
        rule.node("sources");
        return None;
    }
    let Some(items) = rule.list("sources").filter(|items| !items.is_empty()) else {
        return rule.missing("sources", "one to four of {from: connection} and {from: resource_attribute, name: ...}");
    };
    if items.len() > SOURCES_MAX {
        return rule.invalid("sources", format!("{} sources", items.len()), "at most 4 sources in a rule");
    }
    let path = rule.child_path("sources");
    let read = items.iter().enumerate().map(|(at, item)| {
        let section = Section::new(item, format!("{path}::{at}"), rule.diagnostics());
        let read = source(&section);
        section.finish();
        read
    });
    // Every source is read, so that all faults are reported.
    let read: Vec<Option<AssociationSource>> = read.collect();
    read.into_iter().collect()
}

fn source(section: &Section<'_>) -> Option<AssociationSource> {
    let name = section.string("name").filter(|name| !name.is_empty());
    let Some(from) = section.string("from") else {
        return section.missing("from", "connection or resource_attribute");
    };
    match (from.as_str(), name) {
        ("connection", name) => {
            if name.is_some() {
                section.warn("name", code::LINT, "`name` means nothing with `from: connection`", None);
            }
            Some(AssociationSource::Connection)
        }
        ("resource_attribute", Some(name)) => Some(AssociationSource::Attribute(name)),
        ("resource_attribute", None) => section.missing("name", "the name of a resource attribute"),
        _ => section.invalid("from", format!("{from:?} is not known here"), "one of connection, resource_attribute"),
    }
}
