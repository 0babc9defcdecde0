//! EndpointSlices (discovery.k8s.io/v1): who stands behind a service, and in which condition.

use std::sync::Arc;

use serde::Deserialize;

use super::raw::{RawMetadata, lenient};
use super::text::Text;
use crate::kube::decode::event::{Undecodable, WatchedObject};

/// The API server takes no larger slices; what a broken one holds beyond it is left out.
const ENDPOINTS_MAX: usize = 1_000;

/// One slice of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub uid: Arc<str>,
    pub version: String,
    pub endpoints: Vec<ServiceEndpoint>,
}

/// One endpoint, with what is not said filled in as Kubernetes has it: ready, serving, not terminating.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEndpoint {
    /// The pod's uid; empty for what is no pod. One pod has an endpoint for each family of addresses.
    pub pod: String,
    /// The first one: those of one endpoint are alike.
    pub address: String,
    /// Empty where the pod has none of its own.
    pub hostname: String,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

impl WatchedObject for EndpointSlice {
    type Last = ();

    fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn last(self) {}
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSlice<'a> {
    #[serde(borrow, deserialize_with = "lenient")]
    metadata: RawMetadata<'a>,
    #[serde(borrow, deserialize_with = "lenient")]
    endpoints: Vec<RawEndpoint<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawEndpoint<'a> {
    #[serde(borrow, deserialize_with = "lenient")]
    addresses: Vec<Text<'a>>,
    #[serde(borrow)]
    hostname: Text<'a>,
    #[serde(deserialize_with = "lenient")]
    conditions: RawConditions,
    #[serde(borrow, deserialize_with = "lenient")]
    target_ref: RawTarget<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawTarget<'a> {
    #[serde(borrow)]
    uid: Text<'a>,
}

/// Reads one EndpointSlice. An endpoint without an address is nobody's and left out.
pub fn endpoint_slice(json: &str) -> Result<EndpointSlice, Undecodable> {
    let raw: RawSlice<'_> = serde_json::from_str(json)?;
    if raw.metadata.uid.is_empty() {
        return Err(Undecodable("slice without uid".to_owned()));
    }
    let endpoints = raw.endpoints.iter().filter_map(|raw| {
        let address = raw.addresses.first().filter(|address| !address.is_empty())?;
        let RawConditions { ready, serving, terminating } = raw.conditions;
        let serving = serving.or(ready).unwrap_or(true);
        Some(ServiceEndpoint {
            pod: raw.target_ref.uid.as_str().to_owned(),
            address: address.as_str().to_owned(),
            hostname: raw.hostname.as_str().to_owned(),
            ready: ready.unwrap_or(serving),
            serving,
            terminating: terminating.unwrap_or(false),
        })
    });
    Ok(EndpointSlice {
        uid: raw.metadata.uid.as_str().into(),
        version: raw.metadata.resource_version.as_str().to_owned(),
        endpoints: endpoints.take(ENDPOINTS_MAX).collect(),
    })
}
