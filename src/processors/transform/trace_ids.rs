//! Ids of traces and spans that the text of a log record's body tells, in the record's own fields where those are empty.

use crate::otlp::fields::common::any_value;
use crate::otlp::fields::logs::log_record;
use crate::otlp::trace_text::TextIds;
use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::ottl::places;

/// What is written beside a record's own bytes, at most.
pub const IDS_BYTES: usize = 48;

/// Writes the record with its ids to `out`; false where it has a trace id, or its body tells none.
pub fn put_with_ids(out: &mut Vec<u8>, record: &[u8]) -> bool {
    let (mut body, mut has_span, mut has_flags) = (None, false, false);
    for field in Fields::new(record) {
        let Ok(field) = field else { return false };
        let is_set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
        match field.number {
            log_record::TRACE_ID if field.bytes().is_ok_and(is_set) => return false,
            log_record::SPAN_ID => has_span = field.bytes().is_ok_and(is_set),
            log_record::FLAGS => has_flags = true,
            log_record::BODY => body = field.bytes().ok(),
            _ => {}
        }
    }
    let texts = Fields::new(body.unwrap_or_default()).filter_map(Result::ok);
    let text = texts.filter(|field| field.number == any_value::STRING_VALUE).last();
    let ids = text.and_then(|field| field.bytes().ok()).map(TextIds::read).unwrap_or_default();
    let Some(trace_id) = ids.trace_id else { return false };
    out.clear();
    for (number, range) in places(record) {
        if number != log_record::TRACE_ID && (number != log_record::SPAN_ID || has_span) {
            out.extend_from_slice(record.get(range).unwrap_or_default());
        }
    }
    write::bytes(out, log_record::TRACE_ID, &trace_id);
    if let Some(span_id) = ids.span_id.filter(|_| !has_span) {
        write::bytes(out, log_record::SPAN_ID, &span_id);
    }
    if let Some(flags) = ids.flags.filter(|_| !has_flags) {
        write::key(out, log_record::FLAGS, write::FIXED32);
        out.extend_from_slice(&u32::from(flags).to_le_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValueList};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message;

    use super::*;

    const TEXT: &str = "trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331 trace_flags=01";

    fn lifted(body: Value, record: LogRecord) -> Option<LogRecord> {
        let record = LogRecord { body: Some(AnyValue { value: Some(body) }), time_unix_nano: 7, ..record };
        let mut out = vec![1, 2, 3];
        put_with_ids(&mut out, &record.encode_to_vec()).then(|| LogRecord::decode(out.as_slice()).expect("a record"))
    }

    fn of_text(text: &str, record: LogRecord) -> Option<LogRecord> {
        lifted(Value::StringValue(text.to_owned()), record)
    }

    #[test]
    fn ids_of_the_body_fill_what_is_empty_and_nothing_else() {
        let none = LogRecord::default;
        let found = of_text(TEXT, none()).expect("ids");
        assert_eq!((found.trace_id.len(), found.span_id.len(), found.flags, found.time_unix_nano), (16, 8, 1, 7));
        assert_eq!(found.body, Some(AnyValue { value: Some(Value::StringValue(TEXT.to_owned())) }));
        let zeros = LogRecord { trace_id: vec![0; 16], span_id: vec![0; 8], ..none() };
        assert_eq!(of_text(TEXT, zeros), Some(found.clone()));
        let own = LogRecord { span_id: vec![9; 8], flags: 0x100, ..none() };
        let kept = of_text(TEXT, own).expect("a trace id");
        assert_eq!((kept.trace_id, kept.span_id, kept.flags), (found.trace_id, vec![9; 8], 0x100));
        assert_eq!(of_text(TEXT, LogRecord { trace_id: vec![9; 16], ..none() }), None, "it has one");
        assert_eq!(of_text("span_id=b7ad6b7169203331", none()), None, "a span is of a trace");
        assert_eq!(of_text("nothing", none()), None);
        assert_eq!(lifted(Value::KvlistValue(KeyValueList::default()), none()), None);
        assert!(!put_with_ids(&mut Vec::new(), &[0xff, 0xff]), "what cannot be read stays");
    }
}
