//! A partial success in JSON, in which some next hops answer to protobuf too.
//!
//! No answer is trusted: whatever cannot be read is as if it were not there. What is not looked for is passed over unread,
//! because a tree of an answer takes many times its bytes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::exporters::otlp::answer::{PartialSuccess, clipped};

/// Reads an `Export*ServiceResponse` in JSON, whose 64-bit numbers are texts.
pub fn partial_success_json(response: &[u8]) -> PartialSuccess {
    serde_json::from_slice::<Known>(response).ok().and_then(|answer| answer.within).unwrap_or_default()
}

/// What is used of a value, whichever it is.
#[derive(Default)]
struct Known {
    /// Of a number, or of a text that is one.
    count: i64,
    text: String,
    /// Of an object, as a partial success.
    fields: PartialSuccess,
    /// Of an object: the partial success in it.
    within: Option<PartialSuccess>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    #[serde(alias = "partial_success")]
    PartialSuccess,
    #[serde(alias = "rejectedDataPoints", alias = "rejectedLogRecords", alias = "rejectedProfiles")]
    #[serde(alias = "rejected_spans", alias = "rejected_data_points", alias = "rejected_log_records")]
    #[serde(alias = "rejected_profiles")]
    RejectedSpans,
    #[serde(alias = "error_message")]
    ErrorMessage,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Known, D::Error> {
        json.deserialize_any(KnownVisitor)
    }
}

struct KnownVisitor;

impl<'de> Visitor<'de> for KnownVisitor {
    type Value = Known;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Known, E> {
        Ok(Known::default())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Known, E> {
        Ok(Known::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Known, E> {
        Ok(Known::default())
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Known, E> {
        Ok(Known { count, ..Known::default() })
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Known, E> {
        Ok(Known { count: i64::try_from(count).unwrap_or(0), ..Known::default() })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Known, E> {
        Ok(Known { count: text.parse().unwrap_or(0), text: clipped(text.as_bytes()), ..Known::default() })
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Known, S::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Known::default())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut fields: M) -> Result<Known, M::Error> {
        let mut known = Known::default();
        while let Some(key) = fields.next_key::<Key>()? {
            match key {
                Key::PartialSuccess => known.within = Some(fields.next_value::<Known>()?.fields),
                Key::RejectedSpans => {
                    known.fields.rejected = u64::try_from(fields.next_value::<Known>()?.count).unwrap_or(0);
                }
                Key::ErrorMessage => known.fields.message = fields.next_value::<Known>()?.text,
                Key::Other => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_success_in_json_is_read_in_both_spellings_and_nonsense_is_none() {
        for (body, rejected, message) in [
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"bad"}}"#, 3, "bad"),
            (r#"{"partial_success":{"rejected_log_records":2}}"#, 2, ""),
            (r#"{"partialSuccess":{"rejectedSpans":"-1"}}"#, 0, ""),
            (r#"{"partialSuccess":[]}"#, 0, ""),
            (r#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":[5],"more":{"rejectedSpans":9}}}"#, 3, ""),
            (r#"{"partialSuccess":{"rejectedSpans":18446744073709551615,"errorMessage":null}}"#, 0, ""),
            (r#"{"partialSuccess":{"rejectedSpans":2.5},"rejectedSpans":4}"#, 0, ""),
            (r#"{"partialSuccess":null}"#, 0, ""),
            ("[]", 0, ""),
            ("{}", 0, ""),
            ("<html>", 0, ""),
        ] {
            let wanted = PartialSuccess { rejected, message: message.to_owned() };
            assert_eq!(partial_success_json(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn no_bytes_make_reading_panic() {
        let mut random = fastrand::Rng::with_seed(5);
        let letters = br#"{}[]",:partialSuccess rejectedSpans 01.e-\u"#;
        for _ in 0..20_000 {
            let body: Vec<u8> = (0..random.usize(0..60)).map(|_| letters[random.usize(0..letters.len())]).collect();
            partial_success_json(&body);
        }
    }
}
