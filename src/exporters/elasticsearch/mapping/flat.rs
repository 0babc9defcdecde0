//! Mapping modes `none` and `raw`: the names of OTLP's own fields, attributes flat with dots. `none` puts attributes
//! below `Attributes` and events below `Events`; `raw` puts both at the root. Metrics have no documents here.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::ids::DocumentId;
use crate::exporters::elasticsearch::mapping::json::attributes;
use crate::exporters::elasticsearch::mapping::json::attributes::{Composites, WrittenAttributes};
use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::tree::PathStyle;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::record::{Record, Span, SpanPart};
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::{DataStreamType, MappingMode};
use crate::exporters::elasticsearch::mapping::work::{DATE_NANOS_MAX, Work};
use crate::otlp::fields::trace::span_kind;
use crate::otlp::ids::push_hex;
use crate::otlp::walk::{AnyValue, Attribute, Malformed};

/// Appends the documents of a scope of spans; events are part of their span's.
pub fn spans(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    each(router, (scope, DataStreamType::Traces), work, |bytes, prefixes, work| {
        let span = Span::read(bytes)?;
        add_span(&span, prefixes, work)?;
        Ok((work.ids.of_span(&span, bytes), wanted(&span.attributes)?))
    })
}

/// Appends the documents of a scope of log records.
pub fn logs(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    each(router, (scope, DataStreamType::Logs), work, |bytes, prefixes, work| {
        let record = Record::read(bytes)?;
        add_record(&record, prefixes, work)?;
        Ok((work.ids.of_bytes(record.timestamp(), bytes), wanted(&record.attributes)?))
    })
}

/// Where attributes and events stand.
#[derive(Clone, Copy)]
struct Prefixes {
    attributes: &'static str,
    events: &'static str,
}

type Added<'a> = Result<(DocumentId, WantedTarget<'a>), Malformed>;

fn each<'a>(
    router: &Router<'_>,
    (scope, kind): (&MappedScope<'a>, DataStreamType),
    work: &mut Work<'_>,
    add: impl Fn(&'a [u8], Prefixes, &mut Work<'_>) -> Added<'a>,
) -> Result<(), Malformed> {
    let raw = Prefixes { attributes: "", events: "" };
    let none = Prefixes { attributes: "Attributes", events: "Events" };
    let prefixes = if router.mode == MappingMode::Raw { raw } else { none };
    work.tree.clear();
    work.tree.add_attributes(b"Resource", &scope.resource.attributes, work.seen)?;
    work.tree.add_attributes(b"Scope", &scope.scope.attributes, work.seen)?;
    work.tree.add_text("Scope.name", scope.scope.name);
    work.tree.add_text("Scope.version", scope.scope.version);
    let target = router.target(kind, scope.wanted);
    let shared = work.tree.mark();
    work.each_item(scope, |work, place, bytes| {
        let pushed = add(bytes, prefixes, work).map(|(id, wanted)| {
            let own = (wanted != WantedTarget::default()).then(|| router.target(kind, wanted.or(scope.wanted)));
            let target = own.as_ref().unwrap_or(&target);
            work.tree.add_stream(prefixes.attributes, target);
            push_document(target, &Naming::new(&id, &wanted, kind, router.settings), work)
        });
        work.tree.cut(shared);
        work.bulk.end_document(place, 1, pushed?);
        Ok::<(), Malformed>(())
    });
    Ok(())
}

fn push_document(target: &DocumentTarget, naming: &Naming<'_>, work: &mut Work<'_>) -> DocumentHead {
    let head = work.bulk.begin_document(target, naming);
    work.tree.push(&mut work.bulk.lines, PathStyle::Flat, |_| false);
    work.bulk.lines.push(b'\n');
    head
}

fn wanted<'a>(attributes: &Repeated<'a>) -> Result<WantedTarget<'a>, Malformed> {
    let mut wanted = WantedTarget::default();
    for entry in attributes.entries() {
        wanted.note(&Attribute::read(entry?)?);
    }
    Ok(wanted)
}

fn add_span(span: &Span<'_>, prefixes: Prefixes, work: &mut Work<'_>) -> Result<(), Malformed> {
    let (tree, seen) = (&mut *work.tree, &mut *work.seen);
    tree.add_attributes(prefixes.attributes.as_bytes(), &span.attributes, seen)?;
    for event in span.events.entries() {
        let event = SpanPart::read_event(event?)?;
        tree.below(prefixes.events.as_bytes(), event.name, |tree, path| {
            tree.add_attributes(path, &event.attributes, seen)?;
            tree.add_time_below(path, "time", event.time);
            Ok(())
        })?;
    }
    let time = work.storable(span.start);
    work.add_timestamp(time);
    let (tree, seen) = (&mut *work.tree, &mut *work.seen);
    tree.add_time("EndTimestamp", span.end.min(DATE_NANOS_MAX));
    tree.add_id("TraceId", span.trace_id);
    tree.add_id("SpanId", span.span_id);
    tree.add_id("ParentSpanId", span.parent_span_id);
    tree.add_text("Name", span.name);
    let kind =
        usize::try_from(span.kind).ok().and_then(|kind| span_kind::NAMES.get(kind)).unwrap_or(&span_kind::NAMES[0]);
    tree.add_text("Kind", kind.as_bytes());
    tree.add_int("TraceStatus", span.status_code as i64);
    tree.add_text("TraceStatusDescription", span.status_message);
    // Microseconds.
    tree.add_int("Duration", (span.duration() / 1000) as i64);
    let mut links = Vec::new();
    push_links(&mut links, span, seen)?;
    tree.add_text("Link", &links);
    Ok(())
}

/// The links as text of JSON.
fn push_links(out: &mut Vec<u8>, span: &Span<'_>, seen: &mut SeenKeys) -> Result<(), Malformed> {
    out.push(b'[');
    for (number, link) in span.links.entries().enumerate() {
        let link = SpanPart::read_link(link?)?;
        out.extend_from_slice(if number == 0 { b"{\"attribute\":" } else { b",{\"attribute\":" });
        attributes::push_object(out, &link.attributes, seen, Composites::Json, &mut WrittenAttributes::default())?;
        out.extend_from_slice(b",\"spanID\":\"");
        push_hex(out, link.span_id);
        out.extend_from_slice(b"\",\"traceID\":\"");
        push_hex(out, link.trace_id);
        out.extend_from_slice(b"\"}");
    }
    out.push(b']');
    Ok(())
}

fn add_record(record: &Record<'_>, prefixes: Prefixes, work: &mut Work<'_>) -> Result<(), Malformed> {
    work.tree.add_attributes(prefixes.attributes.as_bytes(), &record.attributes, work.seen)?;
    let time = work.storable_or_arrival(record.timestamp());
    work.add_timestamp(time);
    let (tree, seen) = (&mut *work.tree, &mut *work.seen);
    tree.add_id("TraceId", record.trace_id);
    tree.add_id("SpanId", record.span_id);
    tree.add_int("TraceFlags", i64::from(record.flags));
    tree.add_text("SeverityText", record.severity_text);
    tree.add_int("SeverityNumber", record.severity_number as i64);
    tree.add_value((b"", b"Body"), AnyValue::read(record.body)?, seen, 0)
}
