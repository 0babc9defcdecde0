//! What a detector found, as attributes on the wire.

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
