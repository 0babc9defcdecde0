//! What the node knows: any text is a list of audit events or a fault, any line one of a container or none, and any bytes are
//! entries of the journal up to a fault. What is made of them reads as protobuf and is paid for.

use std::borrow::Cow;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::time::UnixNanos;
use podgate::kube::audit::form::{EventBody, EventForm, NamespaceFrom, StreamRoute};
use podgate::receivers::file_log::condition::EntryCondition;
use podgate::receivers::file_log::entry::EntryValue;
use podgate::receivers::file_log::glob::PathPattern;
use podgate::receivers::file_log::operators::time::{TimeLayout, TimeReading};
use podgate::receivers::file_log::operators::{container, parsers};
use podgate::receivers::journald::export::{ExportFault, ExportField, ExportReader};
use podgate::receivers::journald::record::{JournalBatch, RecordRule};
use podgate::receivers::k8s_audit::list;
use prost::Message;

/// Audit events in every form.
pub fn audit(data: &[u8]) {
    for (body, from) in [
        (EventBody::Map, NamespaceFrom::Object),
        (EventBody::Json, NamespaceFrom::User),
        (EventBody::Absent, NamespaceFrom::Fixed),
    ] {
        let stream = StreamRoute { dataset: "kubernetes.audit".to_owned(), from, namespace: "rest".to_owned() };
        let form = EventForm { body, stream: Some(stream) };
        let budget = Budget::new(64 << 20, 64 << 20);
        let ticket = budget.take(0).expect("room");
        let Ok(events) = list::read(data, &form, UnixNanos(7), &ticket) else { continue };
        assert_eq!(events.records.len(), events.marks.len());
        assert!(ticket.bytes() >= events.records.byte_len() as u64, "records that are not paid for");
        for record in events.records.iter() {
            if let Err(error) = LogRecord::decode(record) {
                assert!(error.to_string().contains("recursion"), "prost cannot read a record: {error}");
            }
        }
    }
}

/// A line of a container, by each format; a text as JSON, as a condition, as a pattern of paths and as a layout of times.
pub fn line(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        for format in [None, Some(container::ContainerFormat::Docker), Some(container::ContainerFormat::Containerd)] {
            if let Ok(parsed) = container::parse(line, format) {
                assert!(parsed.text.len() <= line.len(), "a text that is longer than its line");
            }
        }
        for keeps_ints in [false, true] {
            let _ = parsers::json(Cow::Borrowed(line), keeps_ints);
        }
        let Ok(text) = std::str::from_utf8(line) else { continue };
        let _ = EntryCondition::parse(text);
        let (layout, time) = text.split_once('\t').unwrap_or((text, "2026-12-01 10:00:05"));
        for layout in [TimeLayout::strptime(layout), TimeLayout::gotime(layout)].into_iter().flatten() {
            let _ = TimeReading::in_utc(layout).read(&EntryValue::text(time.as_bytes()), UnixNanos(7));
        }
        if let Ok(pattern) = PathPattern::parse(text) {
            let _ = pattern.fits("/var/log/pods/a_b_c/main/0.log");
        }
    }
}

type OwnedEntry = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The entries of a stream that comes in pieces, and the fault that it ends with.
fn entries(data: &[u8], piece: usize, batch: &mut JournalBatch) -> (Vec<OwnedEntry>, Option<ExportFault>) {
    let rule = RecordRule { messages_as_text: piece.is_multiple_of(2), ..RecordRule::default() };
    let (mut reader, mut found) = (ExportReader::default(), Vec::new());
    for mut piece in data.chunks(piece) {
        loop {
            match reader.read(&mut piece) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return (found, Some(fault)),
            }
            let owned = |(name, value): ExportField<'_>| (name.to_vec(), value.map(<[u8]>::to_vec));
            found.push(reader.fields().map(owned).collect());
            batch.add(&reader, &rule, UnixNanos(7)).expect("room");
            reader.clear();
        }
    }
    (found, None)
}

/// journalctl's export format: the same entries whatever the pieces are, as records that can be read.
pub fn journal(data: &[u8]) {
    let whole = entries(data, data.len().max(1), &mut JournalBatch::within(&Ticket::free()));
    for piece in [1, 7, 64] {
        let budget = Budget::new(256 << 20, 256 << 20);
        let ticket = budget.take(0).expect("room");
        let mut batch = JournalBatch::within(&ticket);
        assert_eq!(entries(data, piece, &mut batch), whole, "pieces of {piece} read otherwise");
        let made = batch.finish(&RecordRule::default()).expect("room");
        let items = &made.envelope.groups[0].scopes[0].items;
        assert_eq!((items.len(), made.records), (whole.0.len(), whole.0.len() as u64));
        assert!(ticket.bytes() >= items.byte_len() as u64, "records that are not paid for");
        for record in items.iter() {
            LogRecord::decode(record).expect("prost reads a record");
        }
    }
}
