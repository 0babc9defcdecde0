//! Spans and their events: one document each, the span's first.

use crate::core::payload::{Envelope, Signal};
use crate::exporters::elasticsearch::mapping::Bulk;
use crate::exporters::elasticsearch::mapping::attributes::{self, Composites, Found, Repeated};
use crate::exporters::elasticsearch::mapping::otel::frame::{Frame, each_scope};
use crate::exporters::elasticsearch::mapping::otel::{
    close_object, push_count, push_id, push_key, push_text, push_time,
};
use crate::exporters::elasticsearch::mapping::route::{Target, Wanted};
use crate::exporters::elasticsearch::mapping::value::Seen;
use crate::otlp::json::text;
use crate::otlp::split::Place;
use crate::otlp::walk::{Fields, Malformed};

const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

/// A span as far as its document shows it.
#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    parent_span_id: &'a [u8],
    name: &'a [u8],
    kind: u64,
    start: u64,
    end: u64,
    attributes: Repeated<'a>,
    dropped_attributes: u64,
    events: Repeated<'a>,
    dropped_events: u64,
    links: Repeated<'a>,
    dropped_links: u64,
    status_message: &'a [u8],
    status_code: u64,
}

/// An event or a link of a span.
#[derive(Default)]
struct Part<'a> {
    time: u64,
    name: &'a [u8],
    trace_id: &'a [u8],
    span_id: &'a [u8],
    trace_state: &'a [u8],
    attributes: Repeated<'a>,
    dropped: u64,
}

/// Appends the documents of a traces envelope.
pub fn spans(envelope: &Envelope, bulk: &mut Bulk) {
    each_scope(Signal::Traces, envelope, bulk, |frame, scope, bulk, seen| {
        let targets = Targets { spans: frame.target("traces"), events: frame.target("logs") };
        for (place, bytes) in scope.items() {
            let (lines, documents) = (bulk.lines.len(), bulk.documents.len());
            if let Err(fault) = push_span(bulk, bytes, place, (frame, &targets), seen) {
                seen.reset();
                bulk.lines.truncate(lines);
                bulk.documents.truncate(documents);
                bulk.faulty.push((place, fault.into()));
            }
        }
    });
}

/// Where the documents of one scope go.
struct Targets {
    spans: Target,
    events: Target,
}

fn push_span(
    bulk: &mut Bulk,
    bytes: &[u8],
    place: Place,
    (frame, targets): (&Frame<'_>, &Targets),
    seen: &mut Seen,
) -> Result<(), Malformed> {
    let span = read_span(bytes)?;
    let start = bulk.lines.len();
    let found = push_span_document(&mut bulk.lines, &span, &targets.spans, frame, seen)?;
    if found.wanted != Wanted::default() {
        // Rare: the span names its own destination, which stands before it.
        bulk.lines.truncate(start);
        let own = frame.target_for("traces", found.wanted);
        push_span_document(&mut bulk.lines, &span, &own, frame, seen)?;
    }
    bulk.end_document(place, 1);
    for event in span.events.entries() {
        let event = read_event(event?)?;
        let start = bulk.lines.len();
        let found = push_event_document(&mut bulk.lines, (&span, &event), &targets.events, frame, seen)?;
        if found.wanted != Wanted::default() {
            bulk.lines.truncate(start);
            let own = frame.target_for("logs", found.wanted);
            push_event_document(&mut bulk.lines, (&span, &event), &own, frame, seen)?;
        }
        bulk.end_document(place, 0);
    }
    Ok(())
}

fn push_span_document<'a>(
    out: &mut Vec<u8>,
    span: &Span<'a>,
    target: &Target,
    frame: &Frame<'_>,
    seen: &mut Seen,
) -> Result<Found<'a>, Malformed> {
    target.push_action(out);
    out.push(b'{');
    push_time(out, "@timestamp", span.start);
    out.extend_from_slice(&target.stream);
    push_id(out, "trace_id", span.trace_id);
    push_id(out, "span_id", span.span_id);
    push_text(out, "trace_state", span.trace_state);
    push_id(out, "parent_span_id", span.parent_span_id);
    push_text(out, "name", span.name);
    push_key(out, "kind");
    let kind = usize::try_from(span.kind).ok().and_then(|kind| KINDS.get(kind)).unwrap_or(&KINDS[0]);
    text::push_string(out, kind.as_bytes());
    out.push(b',');
    // A span that ends before it starts would otherwise last 584 years, which no field takes.
    push_key(out, "duration");
    text::push_unsigned(out, span.end.saturating_sub(span.start));
    out.push(b',');
    let found = attributes::push_attributes(out, &span.attributes, seen, Composites::Json)?;
    push_count(out, "dropped_attributes_count", span.dropped_attributes + found.dropped);
    push_count(out, "dropped_events_count", span.dropped_events);
    push_links(out, &span.links, seen)?;
    push_count(out, "dropped_links_count", span.dropped_links);
    push_status(out, span);
    out.extend_from_slice(&frame.tail);
    out.extend_from_slice(b"}\n");
    Ok(found)
}

fn push_status(out: &mut Vec<u8>, span: &Span<'_>) {
    out.extend_from_slice(b"\"status\":{");
    push_text(out, "message", span.status_message);
    match span.status_code {
        1 => push_text(out, "code", b"Ok"),
        2 => push_text(out, "code", b"Error"),
        _ => {}
    }
    close_object(out);
    out.push(b',');
}

fn push_links(out: &mut Vec<u8>, links: &Repeated<'_>, seen: &mut Seen) -> Result<(), Malformed> {
    out.extend_from_slice(b"\"links\":[");
    for (index, link) in links.entries().enumerate() {
        let link = read_link(link?)?;
        out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        push_id(out, "trace_id", link.trace_id);
        push_id(out, "span_id", link.span_id);
        push_text(out, "trace_state", link.trace_state);
        let found = attributes::push_attributes(out, &link.attributes, seen, Composites::Json)?;
        push_count(out, "dropped_attributes_count", link.dropped + found.dropped);
        close_object(out);
    }
    out.extend_from_slice(b"],");
    Ok(())
}

fn push_event_document<'a>(
    out: &mut Vec<u8>,
    (span, event): (&Span<'_>, &Part<'a>),
    target: &Target,
    frame: &Frame<'_>,
    seen: &mut Seen,
) -> Result<Found<'a>, Malformed> {
    target.push_action(out);
    out.push(b'{');
    push_time(out, "@timestamp", event.time);
    out.extend_from_slice(&target.stream);
    push_id(out, "trace_id", span.trace_id);
    push_id(out, "span_id", span.span_id);
    push_text(out, "event_name", event.name);
    let found = push_event_attributes(out, event, seen)?;
    push_count(out, "dropped_attributes_count", event.dropped + found.dropped);
    out.extend_from_slice(&frame.tail);
    out.extend_from_slice(b"}\n");
    Ok(found)
}

/// The event's attributes, with its name among them under the key by which log events are known.
fn push_event_attributes<'a>(out: &mut Vec<u8>, event: &Part<'a>, seen: &mut Seen) -> Result<Found<'a>, Malformed> {
    let mut found = Found::default();
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

fn read_span(message: &[u8]) -> Result<Span<'_>, Malformed> {
    let mut span = Span::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(span) };
        let field = field?;
        match field.number {
            1 => span.trace_id = field.bytes()?,
            2 => span.span_id = field.bytes()?,
            3 => span.trace_state = field.bytes()?,
            4 => span.parent_span_id = field.bytes()?,
            5 => span.name = field.bytes()?,
            6 => span.kind = field.varint()?,
            7 => span.start = field.fixed64()?,
            8 => span.end = field.fixed64()?,
            9 => span.attributes.note(at, 9),
            10 => span.dropped_attributes = field.varint()?,
            11 => span.events.note(at, 11),
            12 => span.dropped_events = field.varint()?,
            13 => span.links.note(at, 13),
            14 => span.dropped_links = field.varint()?,
            15 => {
                for inner in Fields::new(field.bytes()?) {
                    let inner = inner?;
                    match inner.number {
                        2 => span.status_message = inner.bytes()?,
                        3 => span.status_code = inner.varint()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn read_event(message: &[u8]) -> Result<Part<'_>, Malformed> {
    let mut event = Part::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(event) };
        let field = field?;
        match field.number {
            1 => event.time = field.fixed64()?,
            2 => event.name = field.bytes()?,
            3 => event.attributes.note(at, 3),
            4 => event.dropped = field.varint()?,
            _ => {}
        }
    }
}

fn read_link(message: &[u8]) -> Result<Part<'_>, Malformed> {
    let mut link = Part::default();
    let mut fields = Fields::new(message);
    loop {
        let at = fields;
        let Some(field) = fields.next() else { return Ok(link) };
        let field = field?;
        match field.number {
            1 => link.trace_id = field.bytes()?,
            2 => link.span_id = field.bytes()?,
            3 => link.trace_state = field.bytes()?,
            4 => link.attributes.note(at, 4),
            5 => link.dropped = field.varint()?,
            _ => {}
        }
    }
}
