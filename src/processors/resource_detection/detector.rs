//! What a detector is: a source of attributes that may take a while, and may fail.

use super::{cloud, env, k8s_api, system};
use crate::processors::resource_detection::outcome::{DetectedAttributes, DetectorOutcome};

/// One entry of `detectors`, checked. The attributes that are not enabled are left out by whoever asks.
#[derive(Debug)]
pub struct Detector {
    pub name: &'static str,
    pub source: DetectorKind,
    /// Attributes that are written; `None` means all that are found.
    pub enabled: Option<Vec<&'static str>>,
}

#[derive(Debug)]
pub enum DetectorKind {
    Env(env::Env),
    System(system::System),
    K8sApi(k8s_api::K8sApi),
    Cloud(Box<cloud::CloudMetadata>),
}

impl Detector {
    /// What is found now.
    pub async fn detect(&self) -> DetectorOutcome {
        let mut outcome = match &self.source {
            DetectorKind::Env(env) => env.detect(),
            DetectorKind::System(system) => system.detect(|key| self.wants(key)),
            DetectorKind::K8sApi(api) => api.detect(self.wants(k8s_api::NODE_UID)).await,
            DetectorKind::Cloud(metadata) => metadata.detect().await,
        };
        outcome.found.retain(|(key, _)| self.wants(key));
        outcome
    }

    /// Ends what the detector keeps open.
    pub async fn close(&self) {
        if let DetectorKind::Cloud(metadata) = &self.source {
            metadata.close().await;
        }
    }

    /// The API server is asked for the node.
    pub fn reads_node(&self) -> bool {
        matches!(self.source, DetectorKind::K8sApi(_)) && self.wants(k8s_api::NODE_UID)
    }

    fn wants(&self, key: &str) -> bool {
        self.enabled.as_ref().is_none_or(|enabled| enabled.contains(&key))
    }
}

/// Takes over what is not known yet: of two sources the first counts.
pub fn merge(into: &mut DetectedAttributes, from: &DetectedAttributes) {
    for (key, value) in from {
        if !into.iter().any(|(known, _)| known == key) {
            into.push((key.clone(), value.clone()));
        }
    }
}
