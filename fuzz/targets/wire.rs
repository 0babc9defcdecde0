//! Protobuf bodies: what we read, `prost` reads the same; what we cannot read changes nothing and ends nowhere.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::budget::Ticket;
use podgate::core::data::payload::{Envelope, Signal};
use podgate::otlp::edit::Appender;
use podgate::otlp::regroup::{latest_time, split};
use podgate::otlp::walk::Malformed;
use podgate::otlp::{attributes, depth, envelope, json, readable, span};
use prost::Message;

/// One export request, of every signal.
pub fn request(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let read = envelope::decode(body.clone());
    let signal = Signal::ALL[data.len() % Signal::ALL.len()];
    match signal {
        Signal::Traces => same_as_prost::<ExportTraceServiceRequest>(&body, &read),
        Signal::Metrics => same_as_prost::<ExportMetricsServiceRequest>(&body, &read),
        Signal::Logs => same_as_prost::<ExportLogsServiceRequest>(&body, &read),
        Signal::Profiles => same_as_prost::<ExportProfilesServiceRequest>(&body, &read),
    }
    let kept = readable::read(signal, body, &Ticket::free());
    assert_eq!(kept.is_ok(), read.is_ok(), "the two readers disagree");
    let Ok(read) = read else { return };
    let kept = kept.expect("as above");
    assert_eq!(envelope::count_items(signal, &kept.envelope), kept.items);
    assert!(kept.malformed > 0 || kept.envelope.messages() == read.messages(), "an item left without a word");
    let again = envelope::encode(&read);
    assert_eq!(again.len(), envelope::encoded_len(&read));
    assert_eq!(envelope::decode(again.clone()).as_ref(), Ok(&read), "what was written reads as the same");
    let chunks: Vec<u8> = envelope::encode_chunks(&read, 64).concat();
    assert_eq!(chunks, again, "cut or whole, the bytes are the same");
    for signal in Signal::ALL {
        read_on(signal, &read);
    }
}

/// A request that `prost` takes is taken here, and means the same after it went through an envelope.
fn same_as_prost<M: Message + Default + PartialEq>(body: &Bytes, read: &Result<Envelope, Malformed>) {
    let Ok(theirs) = M::decode(body.clone()) else { return };
    match read {
        Ok(ours) => {
            let ours = M::decode(envelope::encode(ours)).expect("what both read is written readably");
            // NaN differs from itself; its bytes do not.
            assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec());
        }
        // Limits that prost has not, or has elsewhere.
        Err(Malformed::Crowded | Malformed::Depth) => {}
        Err(fault) => panic!("prost reads it and we do not: {fault}"),
    }
}

/// Everything behind the receiver that reads an envelope.
fn read_on(signal: Signal, read: &Envelope) {
    envelope::count_items(signal, read);
    let by_trace = split::by_trace(read);
    let mut places: Vec<_> = by_trace.faulty.clone();
    by_trace.traces().for_each(|(_, spans)| places.extend(spans.map(|span| span.place)));
    assert_eq!(split::pick(read, &mut places).messages(), read.messages());
    for group in &read.groups {
        latest_time::latest_time(signal, &group.scopes);
        group.resource.iter().for_each(|resource| edit(resource));
    }
    for item in read.items() {
        look_at(signal, item);
    }
    let mut line = Vec::new();
    match json::from_wire(signal, read, &mut line) {
        Ok(()) => _ = serde_json::from_slice::<serde::de::IgnoredAny>(&line).expect("our lines are JSON"),
        Err(_) => assert!(line.is_empty(), "a line that failed leaves nothing"),
    }
}

fn edit(resource: &[u8]) {
    let Ok(mut edit) = Appender::new(resource) else { return };
    edit.set_if_absent_or_empty("service.name", "x");
    edit.delete("host.name");
    let edited = edit.finish().expect("unlimited");
    Appender::new(&edited).expect("an edited resource reads");
    attributes::find(&edited, "service.name");
}

/// One span, record, metric or profile.
pub fn item(data: &[u8]) {
    for signal in Signal::ALL {
        look_at(signal, data);
    }
    edit(data);
    _ = attributes::attributes(data).count();
}

fn look_at(signal: Signal, item: &[u8]) {
    let sound = depth::check_depth(signal, item).is_ok();
    _ = depth::check_attributes(item, 1);
    envelope::count_item(signal, item);
    if signal != Signal::Traces {
        return;
    }
    use opentelemetry_proto::tonic::trace::v1::Span;
    let (facts, theirs) = (span::read(item), Span::decode(item));
    if let (Ok(facts), Ok(theirs)) = (&facts, &theirs) {
        assert_eq!((facts.trace_id, facts.span_id), (&theirs.trace_id[..], &theirs.span_id[..]));
        assert_eq!((facts.start, facts.end), (theirs.start_time_unix_nano, theirs.end_time_unix_nano));
        assert_eq!((facts.name, facts.flags), (theirs.name.as_bytes(), theirs.flags));
    }
    if theirs.is_ok() {
        facts.expect("a span that prost reads has readable facts");
    }
    if let Ok(theirs) = theirs {
        let id = |id: &[u8], length| id.is_empty() || id.len() == length;
        let ids = id(&theirs.trace_id, 16) && id(&theirs.span_id, 8) && id(&theirs.parent_span_id, 8);
        let links = theirs.links.iter().all(|link| id(&link.trace_id, 16) && id(&link.span_id, 8));
        // An id that comes twice is looked at twice here and once there.
        assert!(!sound || (ids && links), "a wrong id passed");
    }
}
