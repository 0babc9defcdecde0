//! What a detector is: a source of attributes that may take a while, and may fail.

use super::{cloud, env, k8s_api, system};
use crate::otlp::fields::common::{any_value, array_value};
use crate::otlp::fields::keys;
use crate::otlp::write;

/// Attributes with their values as `AnyValue` messages; no key twice.
pub type DetectedAttributes = Vec<(String, Vec<u8>)>;

/// What one attempt gave: a detector may know a part and fail at the rest.
#[derive(Debug, Default, PartialEq)]
pub struct DetectorOutcome {
    pub found: DetectedAttributes,
    /// What failed, in one line.
    pub failure: Option<String>,
}

impl DetectorOutcome {
    pub fn failed(failure: String) -> DetectorOutcome {
        DetectorOutcome { found: DetectedAttributes::new(), failure: Some(failure) }
    }
}

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

/// An `AnyValue` with a string.
pub fn text(text: &str) -> Vec<u8> {
    let mut value = Vec::new();
    write::bytes(&mut value, any_value::STRING_VALUE, text.as_bytes());
    value
}

/// An `AnyValue` with an integer.
pub fn int(number: i64) -> Vec<u8> {
    let mut value = vec![keys::INT];
    write::varint(&mut value, number as u64);
    value
}

/// An `AnyValue` with a list of strings.
pub fn texts<'a>(items: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let (mut list, mut value) = (Vec::new(), Vec::new());
    items.for_each(|item| write::bytes(&mut list, array_value::VALUES, &text(item)));
    write::bytes(&mut value, any_value::ARRAY_VALUE, &list);
    value
}
