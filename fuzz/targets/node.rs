//! What the node knows: any text is a list of audit events or a fault, and any line one of a container or none. What is made
//! of them reads as protobuf and is paid for.

use std::borrow::Cow;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use podgate::core::data::budget::Budget;
use podgate::core::time::UnixNanos;
use podgate::kube::audit::form::{EventBody, EventForm, NamespaceFrom, StreamRoute};
use podgate::receivers::file_log::condition::EntryCondition;
use podgate::receivers::file_log::entry::EntryValue;
use podgate::receivers::file_log::glob::PathPattern;
use podgate::receivers::file_log::operators::time::{TimeLayout, TimeReading};
use podgate::receivers::file_log::operators::{container, parsers};
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
