//! Which pods of a file are meant: the selection that an API server would make of node, namespaces and selectors.

use std::sync::Arc;

use crate::kube::decode::KeepKey;
use crate::kube::pod::{Phase, Pod};
use crate::kube::watch_spec::WatchSpec;

/// One requirement of a selector, in the syntax of the API server: `app=web`, `tier!=test`, `app`, `!app`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Equals(String, String),
    NotEquals(String, String),
    Exists(String),
    Absent(String),
}

impl Term {
    fn parse(text: &str) -> Term {
        if let Some((key, value)) = text.split_once("!=") {
            return Term::NotEquals(key.to_owned(), value.to_owned());
        }
        if let Some((key, value)) = text.split_once('=') {
            return Term::Equals(key.to_owned(), value.trim_start_matches('=').to_owned());
        }
        match text.strip_prefix('!') {
            Some(key) => Term::Absent(key.to_owned()),
            None => Term::Exists(text.to_owned()),
        }
    }

    fn key(&self) -> &str {
        match self {
            Term::Equals(key, _) | Term::NotEquals(key, _) | Term::Exists(key) | Term::Absent(key) => key,
        }
    }

    /// What is not there is not equal to anything.
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Term::Equals(_, wanted) => value == Some(wanted),
            Term::NotEquals(_, other) => value != Some(other),
            Term::Exists(_) => value.is_some(),
            Term::Absent(_) => value.is_none(),
        }
    }
}

fn terms(selector: Option<&String>) -> Vec<Term> {
    selector.into_iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(Term::parse).collect()
}

/// Fields by which pods of a file are selected.
pub const FIELDS: [&str; 6] =
    ["metadata.name", "metadata.namespace", "spec.nodeName", "spec.hostNetwork", "status.phase", "status.podIP"];

#[derive(Clone, Debug, Default)]
pub struct Selection {
    node: Option<String>,
    namespaces: Vec<String>,
    labels: Vec<Term>,
    fields: Vec<Term>,
}

impl Selection {
    pub fn of(spec: &WatchSpec) -> Selection {
        let mut fields = terms(spec.field_selector.as_ref());
        fields.retain(|field| FIELDS.contains(&field.key()));
        Selection {
            node: spec.node.clone(),
            namespaces: spec.namespaces.clone(),
            labels: terms(spec.label_selector.as_ref()),
            fields,
        }
    }

    /// Labels that must be read for it.
    pub fn keys(&self) -> impl Iterator<Item = KeepKey> {
        self.labels.iter().map(|term| KeepKey::Exact(term.key().to_owned()))
    }

    pub fn takes(&self, pod: &Pod) -> bool {
        let is_label = |term: &Term| {
            let found = pod.labels.iter().find(|(key, _)| **key == *term.key());
            term.holds(found.map(|(_, value)| &**value))
        };
        self.node.as_ref().is_none_or(|node| **node == *pod.node)
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|name| **name == *pod.namespace))
            && self.labels.iter().all(is_label)
            && self.fields.iter().all(|term| term.holds(field(pod, term.key()).as_deref()))
    }
}

fn field(pod: &Pod, name: &str) -> Option<Arc<str>> {
    let phase = match pod.phase {
        Phase::Unknown => "Unknown",
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
    };
    match name {
        "metadata.name" => Some(pod.name.clone()),
        "metadata.namespace" => Some(pod.namespace.clone()),
        "spec.nodeName" => Some(pod.node.clone()),
        "spec.hostNetwork" => Some(Arc::from(if pod.host_network { "true" } else { "false" })),
        "status.phase" => Some(Arc::from(phase)),
        "status.podIP" => Some(pod.ips.first().map_or_else(|| Arc::from(""), |ip| Arc::from(ip.to_string()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_an_api_servers_do() {
        let table = [
            ("app=web", Some("web"), true),
            ("app==web", Some("web"), true),
            ("app=web", None, false),
            ("app!=web", None, true),
            ("app!=web", Some("web"), false),
            ("app", Some(""), true),
            ("app", None, false),
            ("!app", None, true),
            ("!app", Some("x"), false),
        ];
        for (text, value, expected) in table {
            let term = Term::parse(text);
            assert_eq!((term.key(), term.holds(value)), ("app", expected), "{text} {value:?}");
        }
    }
}
