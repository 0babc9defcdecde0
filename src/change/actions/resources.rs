//! Every resource of a payload under one hand: what `resource` and `resource_detection` have in common.
//!
//! A profile's resource that names its attributes through the request's dictionary is left alone, because whether a key
//! is there cannot be told from its bytes.

use bytes::Bytes;

use crate::core::data::budget::OverBudget;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::{ConsumeError, Reason};
use crate::otlp::attributes::attributes;

/// Asks `change` for the new bytes of every resource, which the payload's ticket has paid for; those it does not change
/// stay the slices they are. An error means that there is no memory for a change.
pub fn change_resources(
    payload: &mut Payload,
    mut change: impl FnMut(&[u8], &Origin) -> Result<Option<Bytes>, OverBudget>,
) -> Result<(), ConsumeError> {
    for group in &mut payload.envelope.groups {
        let resource = group.resource.as_deref().unwrap_or_default();
        if payload.signal == Signal::Profiles && names_through_dictionary(resource) {
            continue;
        }
        let changed = change(resource, &payload.origin).map_err(|why| {
            ConsumeError::refused(Reason::MEMORY, format!("there is no memory for a changed resource: {why}"))
        })?;
        if changed.is_some() {
            group.resource = changed;
        }
    }
    Ok(())
}

/// A key that is absent stands in the dictionary (opentelemetry-proto 1.10, `KeyValue.key_strindex`).
fn names_through_dictionary(resource: &[u8]) -> bool {
    attributes(resource).any(|attribute| attribute.is_ok_and(|attribute| attribute.key.is_empty()))
}
