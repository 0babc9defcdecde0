//! Reading attributes where they stand: iterate, find one key, find several keys in one walk.
//!
//! OTLP says keys are unique within one list. Where a sender breaks that, the first one counts, as in the Collector's
//! `pcommon.Map.Get`, so that a rule means the same on both sides.

use crate::otlp::fields::{common, logs, resource, trace};
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// Field number of `attributes` in `Resource`.
pub const RESOURCE: u32 = resource::resource::ATTRIBUTES;
/// Field number of `attributes` in `InstrumentationScope`.
pub const SCOPE: u32 = common::instrumentation_scope::ATTRIBUTES;
/// Field number of `attributes` in `Span`.
pub const SPAN: u32 = trace::span::ATTRIBUTES;
/// Field number of `attributes` in `LogRecord`.
pub const LOG_RECORD: u32 = logs::log_record::ATTRIBUTES;

/// The attributes of a resource; ends with the first fault.
pub fn attributes(resource: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    attributes_of(resource, RESOURCE)
}

/// The attributes of a message that holds them in field `number`.
pub fn attributes_of(message: &[u8], number: u32) -> impl Iterator<Item = Result<Attribute<'_>, Malformed>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok(field) if field.number == number => Some(field.bytes().and_then(Attribute::read)),
        Ok(_) => None,
        Err(fault) => Some(Err(fault)),
    })
}

/// The value of `key` in a resource: the first when it comes twice. None when absent or when a fault stands before it.
pub fn find<'a>(resource: &'a [u8], key: &str) -> Option<AnyValue<'a>> {
    find_in(resource, RESOURCE, key)
}

/// `find` in a message that holds its attributes in field `number`.
pub fn find_in<'a>(message: &'a [u8], number: u32, key: &str) -> Option<AnyValue<'a>> {
    for attribute in attributes_of(message, number) {
        let attribute = attribute.ok()?;
        if attribute.key == key.as_bytes() {
            return Some(attribute.value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::edit::Appender;

    fn resource() -> Vec<u8> {
        let mut edit = Appender::new(b"").expect("empty is valid");
        edit.append("service.name", "cart");
        edit.append("k8s.pod.uid", "u-1");
        edit.append("service.name", "second");
        edit.append("count", 3i64);
        edit.finish().expect("unlimited").to_vec()
    }

    #[test]
    fn the_first_of_two_equal_keys_counts() {
        assert_eq!(find(&resource(), "service.name"), Some(AnyValue::Str(b"cart")));
    }

    #[test]
    fn a_fault_ends_the_attributes_with_an_error() {
        let mut bytes = resource();
        bytes.extend_from_slice(&[0x0a, 0x7f]);
        assert_eq!(attributes(&bytes).last(), Some(Err(Malformed::Length)));
        assert_eq!(find(&bytes, "absent"), None);
    }
}
