//! Log records: one document each.

use crate::exporters::elasticsearch::mapping::bulk::{Bulk, DocumentHead};
use crate::exporters::elasticsearch::mapping::json::attributes::{Composites, WrittenAttributes};
use crate::exporters::elasticsearch::mapping::json::text::{push_count, push_id, push_key, push_text};
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::json::{attributes, value};
use crate::exporters::elasticsearch::mapping::otel::frame;
use crate::exporters::elasticsearch::mapping::otel::time::{push_original_time, push_time};
use crate::exporters::elasticsearch::mapping::record::Record;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::{DATE_NANOS_MAX, Stored, Work};
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Fields, Malformed};

/// Where one document goes and what it shares with its neighbours.
#[derive(Clone, Copy)]
struct Cover<'a> {
    target: &'a DocumentTarget,
    naming: Naming<'a>,
    tail: &'a [u8],
}

/// Appends the documents of a scope of log records.
pub fn logs(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    let target = router.target(DataStreamType::Logs, scope.wanted);
    let tail = frame::render(scope, work.seen)?;
    work.each_item(scope, |work, place, bytes| {
        let cover = Cover { target: &target, naming: Naming::default(), tail: &tail };
        let head = push_record(bytes, cover, (router, scope.wanted), work)?;
        work.bulk.end_document(place, 1, head);
        Ok::<(), Malformed>(())
    });
    Ok(())
}

fn push_record(
    bytes: &[u8],
    cover: Cover<'_>,
    (router, general): (&Router<'_>, WantedTarget<'_>),
    work: &mut Work<'_>,
) -> Result<DocumentHead, Malformed> {
    let record = Record::read(bytes)?;
    let id = work.ids.of_bytes(record.timestamp(), bytes);
    let time = work.storable_or_arrival(record.timestamp());
    let Work { bulk, seen, .. } = work;
    let cover = Cover { naming: Naming { made: id.letters(), ..Naming::default() }, ..cover };
    let start = bulk.lines.len();
    let (head, found) = push_document(bulk, (&record, time), cover, seen)?;
    if found.wanted == WantedTarget::default() {
        return Ok(head);
    }
    // Rare: the record names its own destination, which stands before it.
    bulk.lines.truncate(start);
    let target = router.target(DataStreamType::Logs, found.wanted.or(general));
    let naming = Naming::new(&id, &found.wanted, DataStreamType::Logs, router.settings);
    let (head, _) = push_document(bulk, (&record, time), Cover { target: &target, naming, ..cover }, seen)?;
    Ok(head)
}

fn push_document<'a>(
    bulk: &mut Bulk,
    (record, time): (&Record<'a>, Stored),
    cover: Cover<'_>,
    seen: &mut SeenKeys,
) -> Result<(DocumentHead, WrittenAttributes<'a>), Malformed> {
    let head = bulk.begin_document(cover.target, &cover.naming);
    let out = &mut bulk.lines;
    push_time(out, "@timestamp", time.nanos);
    let observed =
        if record.timestamp() == 0 || record.observed > DATE_NANOS_MAX { time.nanos } else { record.observed };
    push_time(out, "observed_timestamp", observed);
    out.extend_from_slice(&cover.target.stream_json);
    push_text(out, "severity_text", record.severity_text);
    if record.severity_number != 0 {
        push_key(out, "severity_number");
        text::push_signed(out, record.severity_number as i64);
        out.push(b',');
    }
    push_id(out, "trace_id", record.trace_id);
    push_id(out, "span_id", record.span_id);
    let found = attributes::push_attributes(out, &record.attributes, seen, Composites::Json)?;
    if let Some(original) = time.original.filter(|_| !found.has_original_time) {
        push_original_time(out, record.attributes.count > 0, original);
    }
    push_count(out, "dropped_attributes_count", record.dropped.saturating_add(found.dropped));
    let named = if record.event_name.is_empty() { found.event_name.unwrap_or_default() } else { record.event_name };
    push_text(out, "event_name", named);
    out.extend_from_slice(cover.tail);
    push_body(out, record.body, seen)?;
    out.extend_from_slice(b"}\n");
    Ok((head, found))
}

/// `,"body":{...}`: text for scalars, structured for a map or a list of maps; another list becomes the one field of a
/// map, because the structured body is an object. Nothing for an empty body.
fn push_body(out: &mut Vec<u8>, body: &[u8], seen: &mut SeenKeys) -> Result<(), Malformed> {
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
        if field.number == VALUES && !matches!(AnyValue::read(field.bytes()?)?, AnyValue::KvList(_)) {
            return Ok(false);
        }
    }
    Ok(true)
}
