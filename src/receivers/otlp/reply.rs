//! Success answers: `Export*ServiceResponse` in protobuf and JSON, with partial success when items were rejected.

use bytes::Bytes;

use crate::core::data::payload::Signal;
use crate::core::data::settlement::Loss;
use crate::otlp::fields::{
    collector_logs, collector_metrics, collector_profiles, collector_trace, partial_success,
    response as response_fields,
};
use crate::otlp::write;

/// What became of an accepted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub signal: Signal,
    /// Items that went no further, by reason; none is full success.
    pub losses: Vec<Loss>,
    /// A warning beside success: nothing of the request was read, or not its ids, and why (OTLP specification, "Partial
    /// Success").
    pub note: Option<String>,
}

impl Accepted {
    pub fn all(signal: Signal) -> Accepted {
        Accepted { signal, losses: Vec::new(), note: None }
    }

    fn is_full(&self) -> bool {
        self.losses.is_empty() && self.note.is_none()
    }

    fn rejected(&self) -> u64 {
        self.losses.iter().map(|loss| loss.items).sum()
    }

    /// `2 items (partial_success): quota exceeded; 1 item (malformed): ...`
    fn message(&self) -> String {
        let said = self.losses.iter().map(|Loss { reason, items, words }| {
            let plural = if *items == 1 { "" } else { "s" };
            format!("{items} item{plural} dropped ({}): {words}", reason.0)
        });
        said.chain(self.note.clone()).collect::<Vec<_>>().join("; ")
    }

    /// Full success leaves `partial_success` unset: an empty message (OTLP specification, "Full Success").
    pub fn to_wire(&self) -> Bytes {
        if self.is_full() {
            return Bytes::new();
        }
        let mut partial = Vec::new();
        if self.rejected() > 0 {
            write::key(&mut partial, partial_success::REJECTED, write::VARINT);
            write::varint(&mut partial, self.rejected());
        }
        write::bytes(&mut partial, partial_success::ERROR_MESSAGE, self.message().as_bytes());
        let mut response = Vec::with_capacity(partial.len() + 4); // granted: an answer of ours
        write::bytes(&mut response, response_fields::PARTIAL_SUCCESS, &partial);
        Bytes::from(response)
    }

    /// int64 is a string in the protobuf JSON mapping.
    pub fn to_json(&self) -> Bytes {
        if self.is_full() {
            return Bytes::from_static(b"{}");
        }
        let key = match self.signal {
            Signal::Traces => collector_trace::export_trace_partial_success::json::REJECTED_SPANS,
            Signal::Metrics => collector_metrics::export_metrics_partial_success::json::REJECTED_DATA_POINTS,
            Signal::Logs => collector_logs::export_logs_partial_success::json::REJECTED_LOG_RECORDS,
            Signal::Profiles => collector_profiles::export_profiles_partial_success::json::REJECTED_PROFILES,
        };
        let response = serde_json::json!({
            "partialSuccess": { key: self.rejected().to_string(), "errorMessage": self.message() }
        });
        Bytes::from(response.to_string())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    use prost::Message;

    use super::*;
    use crate::core::error::Reason;

    #[test]
    fn partial_success_reads_back_and_full_success_is_empty() {
        let full = Accepted::all(Signal::Traces);
        assert_eq!((full.to_wire().len(), &full.to_json()[..]), (0, &b"{}"[..]));
        let noted = Accepted { note: Some("another signal's".to_owned()), ..Accepted::all(Signal::Logs) };
        let json: serde_json::Value = serde_json::from_slice(&noted.to_json()).unwrap();
        assert_eq!(json["partialSuccess"]["errorMessage"], "another signal's");
        let response = ExportTraceServiceResponse::decode(noted.to_wire()).unwrap().partial_success.unwrap();
        assert_eq!((response.rejected_spans, response.error_message.as_str()), (0, "another signal's"));
        let loss = |reason, items, words: &str| Loss { reason, items, words: words.to_owned() };
        let losses = vec![loss(Reason::PARTIAL_SUCCESS, 299, "quota"), loss(Reason::MALFORMED, 1, "not a span")];
        let part = Accepted { signal: Signal::Traces, losses, note: None };
        let response = ExportTraceServiceResponse::decode(part.to_wire()).unwrap();
        assert_eq!(response.partial_success.as_ref().unwrap().rejected_spans, 300);
        let said = "299 items dropped (partial_success): quota; 1 item dropped (malformed): not a span";
        assert_eq!(response.partial_success.as_ref().unwrap().error_message, said);
        let json: serde_json::Value = serde_json::from_slice(&part.to_json()).unwrap();
        assert_eq!(json["partialSuccess"]["rejectedSpans"], "300");
        assert_eq!(json["partialSuccess"]["errorMessage"], response.partial_success.unwrap().error_message);
    }
}
