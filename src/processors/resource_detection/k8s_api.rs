//! `k8s_api`: name and uid of the node, the name from a variable that the downward API sets, the uid from the API server.

use serde::Deserialize;

use crate::kube::client::{Api, Credentials, Form};
use crate::processors::resource_detection::outcome::{DetectorOutcome, text};

pub const NODE_NAME: &str = "k8s.node.name";
pub const NODE_UID: &str = "k8s.node.uid";
pub const VARIABLE: &str = "K8S_NODE_NAME";
/// More than any node's metadata.
const ANSWER_BYTES_MAX: usize = 4 << 20;

pub struct K8sApi {
    /// Letters, digits, dots and hyphens.
    node: String,
    api: Api,
}

impl std::fmt::Debug for K8sApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("K8sApi").field("node", &self.node).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

impl K8sApi {
    pub fn new(node: String, auth: Credentials) -> K8sApi {
        K8sApi { node, api: Api::new(auth) }
    }

    /// Asks the API server only for what it alone knows.
    pub async fn detect(&self, with_uid: bool) -> DetectorOutcome {
        let mut outcome = DetectorOutcome { found: vec![(NODE_NAME.to_owned(), text(&self.node))], failure: None };
        if with_uid {
            match self.uid().await {
                Ok(uid) => outcome.found.push((NODE_UID.to_owned(), text(&uid))),
                Err(why) => outcome.failure = Some(why),
            }
        }
        outcome
    }

    async fn uid(&self) -> Result<String, String> {
        let path = format!("/api/v1/nodes/{}", self.node);
        let mut answer = self.api.get(&path, Form::MetadataOnly).await?;
        if answer.status == 403 {
            return Err(
                "the service account may not get nodes: add them (get) to its ClusterRole, or disable k8s.node.uid"
                    .to_owned(),
            );
        }
        if answer.status != 200 {
            return Err(format!("the API server answered {} for node {}", answer.status, self.node));
        }
        let body = answer.whole(ANSWER_BYTES_MAX).await?;
        let object: Object = serde_json::from_slice(&body).map_err(|why| format!("the node cannot be read: {why}"))?;
        Ok(object.metadata.uid)
    }
}
