//! Spans, and their events as log documents: exceptions in the stream of errors, others in the service's.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::ecs::rename;
use crate::exporters::elasticsearch::mapping::ecs::shared::{add_renamed, add_shared};
use crate::exporters::elasticsearch::mapping::ids::DocumentId;
use crate::exporters::elasticsearch::mapping::json::tree::{FieldTree, IsFixed, PathStyle};
use crate::exporters::elasticsearch::mapping::record::{Span, SpanPart};
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::fields::trace::status_code;
use crate::otlp::ids::push_hex;
use crate::otlp::regroup::split::ItemPosition;
use crate::otlp::walk::{AnyValue, Attribute, Malformed};

const KINDS: [&str; 6] = ["", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// Where the documents of one scope go.
struct Targets<'a> {
    router: &'a Router<'a>,
    wanted: WantedTarget<'a>,
    spans: DocumentTarget,
    errors: DocumentTarget,
    events: DocumentTarget,
    /// That of `events`.
    service: Vec<u8>,
}

const ERRORS: &[u8] = b"apm.error";

/// Appends the documents of a scope of spans.
pub fn spans(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    work.tree.clear();
    add_shared(work.tree, scope, work.seen)?;
    let service = service_dataset(scope);
    let targets = Targets {
        router,
        wanted: scope.wanted,
        spans: router.target(DataStreamType::Traces, scope.wanted),
        errors: router.target_of(DataStreamType::Logs, scope.wanted, ERRORS),
        events: router.target_of(DataStreamType::Logs, scope.wanted, &service),
        service,
    };
    let shared = work.tree.mark();
    work.each_item(scope, |work, place, bytes| {
        let pushed = push_span(&targets, (place, bytes), work);
        work.tree.cut(shared);
        pushed
    });
    Ok(())
}

/// `apm.app.<service>`.
fn service_dataset(scope: &MappedScope<'_>) -> Vec<u8> {
    let attributes = scope.resource.attributes.entries().flatten().flat_map(Attribute::read);
    let names = attributes.filter(|attribute| attribute.key == b"service.name").map(|attribute| attribute.value);
    let name = names.filter_map(|name| if let AnyValue::Str(name) = name { Some(name) } else { None }).last();
    [b"apm.app.", name.filter(|name| !name.is_empty()).unwrap_or(b"unknown")].concat()
}

fn push_span(
    targets: &Targets<'_>,
    (place, bytes): (ItemPosition, &[u8]),
    work: &mut Work<'_>,
) -> Result<(), Malformed> {
    let span = Span::read(bytes)?;
    let id = work.ids.of_span(&span, bytes);
    let shared = work.tree.mark();
    let wanted = add_renamed(work.tree, &span.attributes, rename::of_span, work.seen)?;
    let own = (wanted != WantedTarget::default())
        .then(|| targets.router.target(DataStreamType::Traces, wanted.or(targets.wanted)));
    let target = own.as_ref().unwrap_or(&targets.spans);
    add_fields(&span, work)?;
    work.tree.add_stream("", target);
    let naming = Naming::new(&id, &wanted, DataStreamType::Traces, targets.router.settings);
    let head = push_document((target, &naming), rename::is_fixed_in_span, work);
    work.bulk.end_document(place, 1, head);
    work.tree.cut(shared);
    if !targets.router.settings.ecs_span_events_to_logs {
        return Ok(());
    }
    for (number, event) in span.events.entries().enumerate() {
        let event = SpanPart::read_event(event?)?;
        let head = push_event(targets, (&span, &event), (&id, number), work)?;
        work.bulk.end_document(place, 0, head);
        work.tree.cut(shared);
    }
    Ok(())
}

fn add_fields(span: &Span<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    let time = work.storable(span.start);
    work.add_timestamp(time);
    let tree = &mut *work.tree;
    tree.add_id("trace.id", span.trace_id);
    tree.add_id("span.id", span.span_id);
    tree.add_id("parent.id", span.parent_span_id);
    tree.add_text("span.name", span.name);
    let kind = usize::try_from(span.kind).ok().and_then(|kind| KINDS.get(kind)).unwrap_or(&"");
    tree.add_text("span.kind", kind.as_bytes());
    match u32::try_from(span.status_code) {
        Ok(status_code::OK) => tree.add_text("event.outcome", b"success"),
        Ok(status_code::ERROR) => tree.add_text("event.outcome", b"failure"),
        _ => {}
    }
    if span.links.count == 0 {
        return Ok(());
    }
    let mut outcome = Ok(());
    tree.add(b"span.links", |out| outcome = push_links(out, span));
    outcome
}

fn push_links(out: &mut Vec<u8>, span: &Span<'_>) -> Result<(), Malformed> {
    for (number, link) in span.links.entries().enumerate() {
        let link = SpanPart::read_link(link?)?;
        out.extend_from_slice(if number == 0 { b"[{" } else { b",{" });
        out.extend_from_slice(b"\"trace\":{\"id\":\"");
        push_hex(out, link.trace_id);
        out.extend_from_slice(b"\"},\"span\":{\"id\":\"");
        push_hex(out, link.span_id);
        out.extend_from_slice(b"\"}}");
    }
    out.push(b']');
    Ok(())
}

fn push_document(
    (target, naming): (&DocumentTarget, &Naming<'_>),
    is_fixed: IsFixed,
    work: &mut Work<'_>,
) -> DocumentHead {
    let head = work.bulk.begin_document(target, naming);
    work.tree.push(&mut work.bulk.lines, PathStyle::Nested, is_fixed);
    work.bulk.lines.push(b'\n');
    head
}

fn push_event(
    targets: &Targets<'_>,
    (span, event): (&Span<'_>, &SpanPart<'_>),
    (id, number): (&DocumentId, usize),
    work: &mut Work<'_>,
) -> Result<DocumentHead, Malformed> {
    let error = is_exception(event);
    let wanted = add_renamed(work.tree, &event.attributes, rename::of_event, work.seen)?;
    let time = work.storable(event.time);
    work.add_timestamp(time);
    let tree = &mut *work.tree;
    tree.add_id("trace.id", span.trace_id);
    add_parent(tree, span, error);
    if !error {
        tree.add_text("event.kind", b"event");
        tree.add_text("message", event.name);
    }
    let (general, dataset) = if error { (&targets.errors, ERRORS) } else { (&targets.events, &*targets.service) };
    let own = (wanted != WantedTarget::default())
        .then(|| targets.router.target_of(DataStreamType::Logs, wanted.or(targets.wanted), dataset));
    let target = own.as_ref().unwrap_or(general);
    tree.add_stream("", target);
    let settings = targets.router.settings;
    let naming = Naming { event: Some(number), ..Naming::new(id, &wanted, DataStreamType::Traces, settings) };
    Ok(push_document((target, &naming), rename::is_fixed_in_event, work))
}

/// What the event belongs to: the transaction, if the span is one (whose `transaction.id` says so), else the span.
fn add_parent(tree: &mut FieldTree, span: &Span<'_>, error: bool) {
    let mut attributes = span.attributes.entries().flatten().flat_map(Attribute::read);
    let transaction = attributes.find(|attribute| attribute.key == b"transaction.id").map(|attribute| attribute.value);
    match transaction {
        Some(AnyValue::Str(id)) => {
            tree.add_text("transaction.id", id);
            tree.add_text("span.id", id);
            if error {
                tree.add_text("parent.id", id);
            }
        }
        _ if error => tree.add_id("parent.id", span.span_id),
        _ => tree.add_id("span.id", span.span_id),
    }
}

/// An event named `exception` that says what kind or what text.
fn is_exception(event: &SpanPart<'_>) -> bool {
    let mut attributes = event.attributes.entries().flatten().flat_map(Attribute::read);
    event.name == b"exception"
        && attributes.any(|attribute| matches!(attribute.key, b"exception.type" | b"exception.message"))
}
