//! Pods to be made, pods as they were made, and what their containers really did.

use std::collections::BTreeMap;

use crate::core::time::UnixNanos;

/// A pod to be made.
#[derive(Clone, Debug, Default)]
pub struct PodSpec {
    pub namespace: String,
    /// Made up from the owner when empty.
    pub name: String,
    pub node: String,
    /// Kind and name of the controller, e.g. ("StatefulSet", "db").
    pub owner: Option<(String, String)>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Name and image of each regular container.
    pub containers: Vec<(String, String)>,
    /// The node's address when true; its own, made up, otherwise.
    pub host_network: bool,
    /// A given address, such as one that another pod had.
    pub ip: Option<String>,
}

impl PodSpec {
    /// The node of pods that name none.
    pub const NODE: &'static str = "node-a";

    /// A pod of a Deployment, with its ReplicaSet and the labels that these put on it.
    pub fn deployed(namespace: &str, deployment: &str, containers: &[&str]) -> PodSpec {
        let image = |name: &&str| ((*name).to_owned(), format!("example.com/{name}:1.0"));
        PodSpec {
            namespace: namespace.to_owned(),
            node: PodSpec::NODE.to_owned(),
            owner: Some(("Deployment".to_owned(), deployment.to_owned())),
            labels: BTreeMap::from([("app".to_owned(), deployment.to_owned())]),
            containers: containers.iter().map(image).collect(),
            ..PodSpec::default()
        }
    }
}

/// A pod as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadePod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub ip: String,
}

/// One run of one container: what really happened, known before anything is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueRun {
    pub pod_uid: String,
    pub namespace: String,
    pub pod: String,
    pub container: String,
    /// 64 hex digits, without scheme.
    pub id: String,
    /// The restart count of this run.
    pub number: i64,
    pub started: UnixNanos,
    /// `None` while it lives.
    pub ended: Option<UnixNanos>,
}
