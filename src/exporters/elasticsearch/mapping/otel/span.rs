//! Spans and their events: one document each, the span's first.

use crate::exporters::elasticsearch::mapping::bulk::{Bulk, DocumentHead};
use crate::exporters::elasticsearch::mapping::ids::DocumentId;
use crate::exporters::elasticsearch::mapping::json::attributes;
use crate::exporters::elasticsearch::mapping::json::attributes::{Composites, WrittenAttributes};
use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::text::{close_object, push_count, push_id, push_key, push_text};
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::otel::frame;
use crate::exporters::elasticsearch::mapping::otel::time::{push_original_time, push_time};
use crate::exporters::elasticsearch::mapping::record::{Span, SpanPart};
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::{Stored, Work};
use crate::otlp::fields::trace::status_code;
use crate::otlp::json::text;
use crate::otlp::regroup::split::ItemPosition;
use crate::otlp::span::KIND_WORDS;
use crate::otlp::walk::Malformed;

/// What the documents of one scope share.
struct Frame<'a> {
    router: &'a Router<'a>,
    /// What scope and resource say about the destination.
    wanted: WantedTarget<'a>,
    spans: DocumentTarget,
    events: DocumentTarget,
    tail: Vec<u8>,
}

/// Where one document goes and what it ends with.
#[derive(Clone, Copy)]
struct Cover<'a> {
    target: &'a DocumentTarget,
    naming: Naming<'a>,
    tail: &'a [u8],
}

/// Appends the documents of a scope of spans.
pub fn spans(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    let frame = Frame {
        router,
        wanted: scope.wanted,
        spans: router.target(DataStreamType::Traces, scope.wanted),
        events: router.target(DataStreamType::Logs, scope.wanted),
        tail: frame::render(scope, work.seen)?,
    };
    work.each_item(scope, |work, place, bytes| push_span(&frame, bytes, place, work));
    Ok(())
}

fn push_span(frame: &Frame<'_>, bytes: &[u8], place: ItemPosition, work: &mut Work<'_>) -> Result<(), Malformed> {
    let span = Span::read(bytes)?;
    let id = work.ids.of_span(&span, bytes);
    let time = work.storable(span.start);
    let Work { bulk, seen, .. } = work;
    let naming = Naming { made: id.letters(), ..Naming::default() };
    let cover = Cover { target: &frame.spans, naming, tail: &frame.tail };
    let start = bulk.lines.len();
    let (mut head, found) = push_span_document(bulk, (&span, time), cover, seen)?;
    if found.wanted != WantedTarget::default() {
        // Rare: the span names its own destination, which stands before it.
        bulk.lines.truncate(start);
        let target = frame.router.target(DataStreamType::Traces, found.wanted.or(frame.wanted));
        let naming = Naming::new(&id, &found.wanted, DataStreamType::Traces, frame.router.settings);
        (head, _) =
            push_span_document(bulk, (&span, time), Cover { target: &target, naming, tail: &frame.tail }, seen)?;
    }
    bulk.end_document(place, 1, head);
    for (number, event) in span.events.entries().enumerate() {
        let event = SpanPart::read_event(event?)?;
        let head = push_event(frame, (&span, &event), (&id, number), work)?;
        work.bulk.end_document(place, 0, head);
    }
    Ok(())
}

fn push_span_document<'a>(
    bulk: &mut Bulk,
    (span, time): (&Span<'a>, Stored),
    cover: Cover<'_>,
    seen: &mut SeenKeys,
) -> Result<(DocumentHead, WrittenAttributes<'a>), Malformed> {
    let head = bulk.begin_document(cover.target, &cover.naming);
    let out = &mut bulk.lines;
    push_time(out, "@timestamp", time.nanos);
    out.extend_from_slice(&cover.target.stream_json);
    push_id(out, "trace_id", span.trace_id);
    push_id(out, "span_id", span.span_id);
    push_text(out, "trace_state", span.trace_state);
    push_id(out, "parent_span_id", span.parent_span_id);
    push_text(out, "name", span.name);
    let kind = usize::try_from(span.kind).ok().and_then(|kind| KIND_WORDS.get(kind)).unwrap_or(&KIND_WORDS[0]);
    push_text(out, "kind", kind.as_bytes());
    push_key(out, "duration");
    text::push_unsigned(out, span.duration());
    out.push(b',');
    let found = attributes::push_attributes(out, &span.attributes, seen, Composites::Json)?;
    if let Some(original) = time.original.filter(|_| !found.has_original_time) {
        push_original_time(out, span.attributes.count > 0, original);
    }
    push_count(out, "dropped_attributes_count", span.dropped_attributes.saturating_add(found.dropped));
    push_count(out, "dropped_events_count", span.dropped_events);
    push_links(out, &span.links, seen)?;
    push_count(out, "dropped_links_count", span.dropped_links);
    push_status(out, span);
    out.extend_from_slice(cover.tail);
    out.extend_from_slice(b"}\n");
    Ok((head, found))
}

fn push_status(out: &mut Vec<u8>, span: &Span<'_>) {
    out.extend_from_slice(b"\"status\":{");
    push_text(out, "message", span.status_message);
    match u32::try_from(span.status_code) {
        Ok(status_code::OK) => push_text(out, "code", b"Ok"),
        Ok(status_code::ERROR) => push_text(out, "code", b"Error"),
        _ => {}
    }
    close_object(out);
    out.push(b',');
}

fn push_links(out: &mut Vec<u8>, links: &Repeated<'_>, seen: &mut SeenKeys) -> Result<(), Malformed> {
    out.extend_from_slice(b"\"links\":[");
    for (index, link) in links.entries().enumerate() {
        let link = SpanPart::read_link(link?)?;
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_id(out, "trace_id", link.trace_id);
        push_id(out, "span_id", link.span_id);
        push_text(out, "trace_state", link.trace_state);
        let found = attributes::push_attributes(out, &link.attributes, seen, Composites::Json)?;
        push_count(out, "dropped_attributes_count", link.dropped.saturating_add(found.dropped));
        close_object(out);
    }
    out.extend_from_slice(b"],");
    Ok(())
}

fn push_event(
    frame: &Frame<'_>,
    (span, event): (&Span<'_>, &SpanPart<'_>),
    (id, number): (&DocumentId, usize),
    work: &mut Work<'_>,
) -> Result<DocumentHead, Malformed> {
    let time = work.storable(event.time);
    let Work { bulk, seen, .. } = work;
    let naming = Naming { made: id.letters(), event: Some(number), ..Naming::default() };
    let cover = Cover { target: &frame.events, naming, tail: &frame.tail };
    let start = bulk.lines.len();
    let (head, found) = push_event_document(bulk, (span, event, time), cover, seen)?;
    if found.wanted == WantedTarget::default() {
        return Ok(head);
    }
    bulk.lines.truncate(start);
    let target = frame.router.target(DataStreamType::Logs, found.wanted.or(frame.wanted));
    let (head, _) = push_event_document(bulk, (span, event, time), Cover { target: &target, ..cover }, seen)?;
    Ok(head)
}

fn push_event_document<'a>(
    bulk: &mut Bulk,
    (span, event, time): (&Span<'_>, &SpanPart<'a>, Stored),
    cover: Cover<'_>,
    seen: &mut SeenKeys,
) -> Result<(DocumentHead, WrittenAttributes<'a>), Malformed> {
    let head = bulk.begin_document(cover.target, &cover.naming);
    let out = &mut bulk.lines;
    push_time(out, "@timestamp", time.nanos);
    out.extend_from_slice(&cover.target.stream_json);
    push_id(out, "trace_id", span.trace_id);
    push_id(out, "span_id", span.span_id);
    push_text(out, "event_name", event.name);
    let found = push_event_attributes(out, event, seen)?;
    if let Some(original) = time.original.filter(|_| !found.has_original_time) {
        push_original_time(out, event.attributes.count > 0 || !event.name.is_empty(), original);
    }
    push_count(out, "dropped_attributes_count", event.dropped.saturating_add(found.dropped));
    out.extend_from_slice(cover.tail);
    out.extend_from_slice(b"}\n");
    Ok((head, found))
}

/// The event's attributes, with its name among them under the key by which log events are known.
fn push_event_attributes<'a>(
    out: &mut Vec<u8>,
    event: &SpanPart<'a>,
    seen: &mut SeenKeys,
) -> Result<WrittenAttributes<'a>, Malformed> {
    let mut found = WrittenAttributes::default();
    if event.attributes.count == 0 && event.name.is_empty() {
        return Ok(found);
    }
    push_key(out, "attributes");
    attributes::push_object(out, &event.attributes, seen, Composites::Json, &mut found)?;
    if !found.has_event_name && !event.name.is_empty() {
        // Open the object again.
        out.pop();
        out.extend_from_slice(if out.last() == Some(&b'{') { b"" } else { b"," });
        push_text(out, "event.name", event.name);
        close_object(out);
    }
    out.push(b',');
    Ok(found)
}
