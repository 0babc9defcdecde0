//! Mapping mode `bodymap`: the body of a log record, a map, is the document, its values in the forms of `json::value` (an
//! array of mixed kinds is one of texts there). Where it lacks a time, the record's is added, because a data stream takes
//! no document without.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::json::{tree, value};
use crate::exporters::elasticsearch::mapping::record::Record;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Naming, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// Appends the documents of a scope of log records.
pub fn logs(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    let target = router.target(kind(scope.wanted), scope.wanted);
    work.each_item(scope, |work, place, bytes| {
        let head = push_record((router, &target), scope.wanted, bytes, work)?;
        work.bulk.end_document(place, 1, head);
        Ok::<(), MappingFault>(())
    });
    Ok(())
}

/// `data_stream.type` may be `metrics`.
fn kind(wanted: WantedTarget<'_>) -> DataStreamType {
    if wanted.kind == Some(b"metrics") { DataStreamType::Metrics } else { DataStreamType::Logs }
}

fn push_record(
    (router, target): (&Router<'_>, &DocumentTarget),
    general: WantedTarget<'_>,
    bytes: &[u8],
    work: &mut Work<'_>,
) -> Result<DocumentHead, MappingFault> {
    let record = Record::read(bytes)?;
    let AnyValue::KvList(map) = AnyValue::read(record.body)? else { return Err(MappingFault::Body) };
    let id = work.ids.of_bytes(record.timestamp(), bytes);
    let mut wanted = WantedTarget::default();
    for entry in record.attributes.entries() {
        wanted.note(&Attribute::read(entry?)?);
    }
    let routed = wanted.or(general);
    let own = (wanted != WantedTarget::default()).then(|| router.target(kind(routed), routed));
    let target = own.as_ref().unwrap_or(target);
    let naming = Naming::new(&id, &wanted, DataStreamType::Logs, router.settings);
    let time = work.storable_or_arrival(record.timestamp());
    let head = work.bulk.begin_document(target, &naming);
    let out = &mut work.bulk.lines;
    out.pop();
    value::push_value(out, AnyValue::KvList(map), work.seen, 0)?;
    if !holds_time(map)? {
        out.pop();
        out.extend_from_slice(if out.last() == Some(&b'{') { b"\"@timestamp\":" } else { b",\"@timestamp\":" });
        tree::push_iso(out, time.nanos);
        out.push(b'}');
    }
    out.push(b'\n');
    Ok(head)
}

fn holds_time(map: &[u8]) -> Result<bool, Malformed> {
    for field in Fields::new(map) {
        let field = field?;
        if field.number == VALUES && Attribute::read(field.bytes()?)?.key == b"@timestamp" {
            return Ok(true);
        }
    }
    Ok(false)
}
