//! Log records. The body is the message if it is text; other bodies have no field in this mode.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::ecs::rename;
use crate::exporters::elasticsearch::mapping::ecs::shared::{add_renamed, add_shared};
use crate::exporters::elasticsearch::mapping::json::tree::PathStyle;
use crate::exporters::elasticsearch::mapping::record::Record;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::walk::{AnyValue, Malformed};

/// Appends the documents of a scope of log records.
pub fn logs(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    work.tree.clear();
    add_shared(work.tree, scope, work.seen)?;
    let target = router.target(DataStreamType::Logs, scope.wanted);
    let shared = work.tree.mark();
    work.each_item(scope, |work, place, bytes| {
        let pushed = push_record((router, &target), scope.wanted, bytes, work);
        work.tree.cut(shared);
        work.bulk.end_document(place, 1, pushed?);
        Ok::<(), Malformed>(())
    });
    Ok(())
}

fn push_record(
    (router, target): (&Router<'_>, &DocumentTarget),
    general: WantedTarget<'_>,
    bytes: &[u8],
    work: &mut Work<'_>,
) -> Result<DocumentHead, Malformed> {
    let record = Record::read(bytes)?;
    let id = work.ids.of_bytes(record.timestamp(), bytes);
    let wanted = add_renamed(work.tree, &record.attributes, rename::of_record, work.seen)?;
    let own = (wanted != WantedTarget::default()).then(|| router.target(DataStreamType::Logs, wanted.or(general)));
    let target = own.as_ref().unwrap_or(target);
    let time = work.storable_or_arrival(record.timestamp());
    work.add_timestamp(time);
    let tree = &mut *work.tree;
    tree.add_id("trace.id", record.trace_id);
    tree.add_id("span.id", record.span_id);
    if record.severity_number != 0 {
        tree.add_int("event.severity", record.severity_number as i64);
    }
    tree.add_text("log.level", record.severity_text);
    if let AnyValue::Str(message) = AnyValue::read(record.body)? {
        tree.add_text("message", message);
    }
    tree.add_stream("", target);
    let naming = Naming::new(&id, &wanted, DataStreamType::Logs, router.settings);
    let head = work.bulk.begin_document(target, &naming);
    work.tree.push(&mut work.bulk.lines, PathStyle::Nested, rename::is_fixed_in_record);
    work.bulk.lines.push(b'\n');
    Ok(head)
}
