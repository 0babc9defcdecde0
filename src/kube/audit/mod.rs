//! Audit events of the API server (audit.k8s.io/v1) as log records, whether they come by its webhook or stand in its log.

pub mod event;
pub mod form;
pub mod recent;

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::otlp::attributes;
use crate::otlp::draft::Draft;
use crate::otlp::fields::common::instrumentation_scope;

const SCOPE: &str = "podgate/k8s_audit";

/// The resource and the scope of all records.
pub fn surroundings() -> (Bytes, Bytes) {
    let free = Ticket::free();
    let resource = || {
        let mut draft = Draft::within(&free);
        draft.text_attribute(attributes::RESOURCE, "service.name", b"kube-apiserver")?;
        draft.freeze()
    };
    let scope = || {
        let mut draft = Draft::within(&free);
        draft.bytes(instrumentation_scope::NAME, SCOPE.as_bytes())?;
        draft.freeze()
    };
    let or_empty = |bytes: Result<Bytes, OverBudget>| bytes.unwrap_or_default();
    (or_empty(resource()), or_empty(scope()))
}
