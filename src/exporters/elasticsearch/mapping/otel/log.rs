//! Log records: one document each.

use crate::core::payload::{Envelope, Signal};
use crate::exporters::elasticsearch::mapping::Bulk;
use crate::exporters::elasticsearch::mapping::attributes::{self, Composites, Found, Repeated};
use crate::exporters::elasticsearch::mapping::otel::frame::{Frame, each_scope};
use crate::exporters::elasticsearch::mapping::otel::{push_count, push_id, push_text, push_time};
use crate::exporters::elasticsearch::mapping::route::{Target, Wanted};
use crate::exporters::elasticsearch::mapping::value::{self, Seen};
use crate::otlp::walk::{AnyValue, Fields, Malformed};

/// A record as far as its document shows it.
#[derive(Default)]
struct Record<'a> {
    time: u64,
    observed: u64,
    severity_number: u64,
    severity_text: &'a [u8],
    body: &'a [u8],
    attributes: Repeated<'a>,
    dropped: u64,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
}

/// Appends the documents of a logs envelope.
pub fn logs(envelope: &Envelope, bulk: &mut Bulk) {
    each_scope(Signal::Logs, envelope, bulk, |frame, scope, bulk, seen| {
        let target = frame.target("logs");
        for (place, bytes) in scope.items() {
            let start = bulk.lines.len();
            match push_record(&mut bulk.lines, bytes, &target, frame, seen) {
                Ok(()) => bulk.end_document(place, 1),
                Err(fault) => {
                    seen.reset();
                    bulk.lines.truncate(start);
                    bulk.faulty.push((place, fault.into()));
                }
            }
        }
    });
}

fn push_record(
    out: &mut Vec<u8>,
    bytes: &[u8],
    target: &Target,
    frame: &Frame<'_>,
    seen: &mut Seen,
) -> Result<(), Malformed> {
    let record = read_record(bytes)?;
    let start = out.len();
    let found = push_document(out, &record, target, frame, seen)?;
    if found.wanted != Wanted::default() {
        // Rare: the record names its own destination, which stands before it.
        out.truncate(start);
        push_document(out, &record, &frame.target_for("logs", found.wanted), frame, seen)?;
    }
    Ok(())
}

fn push_document<'a>(
    out: &mut Vec<u8>,
    record: &Record<'a>,
    target: &Target,
    frame: &Frame<'_>,
    seen: &mut Seen,
) -> Result<Found<'a>, Malformed> {
    target.push_action(out);
    out.push(b'{');
    push_time(out, "@timestamp", if record.time == 0 { record.observed } else { record.time });
    push_time(out, "observed_timestamp", record.observed);
    out.extend_from_slice(&target.stream);
    push_text(out, "severity_text", record.severity_text);
    push_count(out, "severity_number", record.severity_number);
    push_id(out, "trace_id", record.trace_id);
    push_id(out, "span_id", record.span_id);
    let found = attributes::push_attributes(out, &record.attributes, seen, Composites::Json)?;
    push_count(out, "dropped_attributes_count", record.dropped + found.dropped);
    let named = if record.event_name.is_empty() { found.event_name.unwrap_or_default() } else { record.event_name };
    push_text(out, "event_name", named);
    out.extend_from_slice(&frame.tail);
    push_body(out, record.body, seen)?;
    out.extend_from_slice(b"}\n");
    Ok(found)
}

/// `,"body":{...}`: text for scalars, structured for a map or a list of maps; another list becomes the one field of a
/// map, because the structured body is an object. Nothing for an empty body.
fn push_body(out: &mut Vec<u8>, body: &[u8], seen: &mut Seen) -> Result<(), Malformed> {
    let value = AnyValue::read(body)?;
    let (open, close): (&[u8], &[u8]) = match value {
        AnyValue::Empty => return Ok(()),
        AnyValue::KvList(_) => (b"structured\":", b"}"),
        AnyValue::Array(message) if holds_only_maps(message)? => (b"structured\":", b"}"),
        AnyValue::Array(_) => (b"structured\":{\"value\":", b"}}"),
        _ => (b"text\":", b"}"),
    };
    out.extend_from_slice(b",\"body\":{\"");
    out.extend_from_slice(open);
    value::push_value(out, value, seen, 0)?;
    out.extend_from_slice(close);
    Ok(())
}

fn holds_only_maps(message: &[u8]) -> Result<bool, Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 1 && !matches!(AnyValue::read(field.bytes()?)?, AnyValue::KvList(_)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_record(message: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut record = Record::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(record) };
        let field = field?;
        match field.number {
            1 => record.time = field.fixed64()?,
            2 => record.severity_number = field.varint()?,
            3 => record.severity_text = field.bytes()?,
            5 => record.body = field.bytes()?,
            6 => record.attributes.note(at, 6),
            7 => record.dropped = field.varint()?,
            9 => record.trace_id = field.bytes()?,
            10 => record.span_id = field.bytes()?,
            11 => record.observed = field.fixed64()?,
            12 => record.event_name = field.bytes()?,
            _ => {}
        }
    }
}
