//! Success answers: `Export*ServiceResponse` in protobuf and JSON, with partial success when items were rejected.

use bytes::Bytes;

use crate::core::payload::Signal;
use crate::otlp::write;

/// What became of an accepted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub signal: Signal,
    /// Items dropped alone because they could not be read; zero is full success.
    pub rejected: u64,
}

impl Accepted {
    fn message(&self) -> String {
        let items = self.rejected;
        format!(
            "{items} of the request's items were dropped: malformed, an id of a wrong length, or values nested deeper than 64"
        )
    }

    /// Full success leaves `partial_success` unset: an empty message (OTLP specification, "Full Success").
    pub fn to_wire(self) -> Bytes {
        if self.rejected == 0 {
            return Bytes::new();
        }
        let mut partial = Vec::new();
        write::key(&mut partial, 1, write::VARINT);
        write::varint(&mut partial, self.rejected);
        write::bytes(&mut partial, 2, self.message().as_bytes());
        let mut response = Vec::with_capacity(partial.len() + 4);
        write::bytes(&mut response, 1, &partial);
        Bytes::from(response)
    }

    /// int64 is a string in the protobuf JSON mapping.
    pub fn to_json(self) -> Bytes {
        if self.rejected == 0 {
            return Bytes::from_static(b"{}");
        }
        let key = match self.signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
            Signal::Profiles => "rejectedProfiles",
        };
        let response = serde_json::json!({
            "partialSuccess": { key: self.rejected.to_string(), "errorMessage": self.message() }
        });
        Bytes::from(response.to_string())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    use prost::Message;

    use super::*;

    #[test]
    fn partial_success_reads_back_and_full_success_is_empty() {
        let full = Accepted { signal: Signal::Traces, rejected: 0 };
        assert_eq!((full.to_wire().len(), &full.to_json()[..]), (0, &b"{}"[..]));
        let part = Accepted { signal: Signal::Traces, rejected: 300 };
        let response = ExportTraceServiceResponse::decode(part.to_wire()).unwrap();
        assert_eq!(response.partial_success.as_ref().unwrap().rejected_spans, 300);
        let json: serde_json::Value = serde_json::from_slice(&part.to_json()).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedSpans"], "300");
        assert_eq!(json["partialSuccess"]["errorMessage"], response.partial_success.unwrap().error_message);
    }
}
