//! Rights that the API server denied: each is said once, with the rule that grants it, and shown until it is there.
//!
//! A node, a namespace or an owner that may not be read leaves attributes empty; without a word nobody would look for the
//! cause in the cluster's roles.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard};

/// Denied rights that are remembered: kinds of owners come from the cluster's users.
const RIGHTS_MAX: usize = 64;

/// To read single objects of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Empty for the core group.
    pub group: String,
    /// As API paths spell it: `namespaces`, `replicasets`.
    pub resource: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Right { group, resource } = self;
        write!(f, "{{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [get, list]}}")
    }
}

pub(crate) struct Rights {
    denied: Mutex<BTreeSet<Right>>,
    board: Arc<StatusBoard>,
    place: String,
}

impl Rights {
    /// `name`: of the watch.
    pub fn new(board: Arc<StatusBoard>, name: &str) -> Rights {
        Rights { denied: Mutex::default(), board, place: format!("{name}/rights") }
    }

    /// The server refused; `path` is what was asked for, `lost` what follows from it.
    pub fn denied(&self, right: Right, path: &str, lost: &str) {
        let mut denied = self.denied.locked();
        if denied.len() >= RIGHTS_MAX || !denied.insert(right.clone()) {
            return;
        }
        self.show(&denied);
        drop(denied);
        tracing::warn!(
            path,
            "no right to get {} (403): {lost}; add to the rules of podgate's role: {right}",
            right.resource
        );
    }

    /// The server answered.
    pub fn granted(&self, right: &Right) {
        let mut denied = self.denied.locked();
        if !denied.remove(right) {
            return;
        }
        self.show(&denied);
        drop(denied);
        tracing::info!("the right to get {} is there now", right.resource);
    }

    fn show(&self, denied: &BTreeSet<Right>) {
        if denied.is_empty() {
            self.board.set(&self.place, State::Ok, "podgate may read everything that it asks for");
            return;
        }
        let rules: Vec<String> = denied.iter().map(Right::to_string).collect();
        let message = format!("no right to get (403); add to the rules of podgate's role: {}", rules.join(", "));
        self.board.set(&self.place, State::Degraded, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_right_is_shown_with_the_rule_that_grants_it_until_it_is_there() {
        let board: Arc<StatusBoard> = Arc::default();
        let rights = Rights::new(board.clone(), "k8s");
        let right = |group: &str, resource: &str| Right { group: group.to_owned(), resource: resource.to_owned() };
        assert!(board.all().is_empty());
        rights.denied(right("", "namespaces"), "/api/v1/namespaces/shop", "");
        rights.denied(right("batch", "jobs"), "/apis/batch/v1/namespaces/shop/jobs/backup", "");
        let message = board.all()["k8s/rights"].message.clone();
        assert!(message.contains(r#"{apiGroups: [""], resources: [namespaces], verbs: [get, list]}"#), "{message}");
        assert!(message.contains(r#"{apiGroups: ["batch"], resources: [jobs]"#), "{message}");
        rights.granted(&right("", "namespaces"));
        rights.granted(&right("batch", "jobs"));
        assert_eq!(board.all()["k8s/rights"].state, State::Ok);
    }
}
