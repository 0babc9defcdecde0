//! Protobuf in and out: reading with its checks, encoding, grouping, cutting, joining.

use bytes::Bytes;
use podgate::core::data::budget::Ticket;
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::otlp::regroup::portion::deal::{Undealt, deal};
use podgate::otlp::regroup::{latest_time, portion, split};
use podgate::otlp::{envelope, readable};
use podgate::testing::telemetry;

use crate::generate::{Generator, every_field, pairs};
use crate::measure::check;

fn all() -> Vec<Generator> {
    Signal::ALL.into_iter().flat_map(every_field).collect()
}

#[test]
fn a_request_is_read_checked_and_written_in_linear_work() {
    check("read and write", &all(), &|generator, body| {
        let Ok(read) = readable::read(generator.signal, Bytes::copy_from_slice(body), &Ticket::free()) else {
            return 0;
        };
        let chunks = envelope::encode_chunks(&read.envelope, 16 << 10);
        chunks.iter().map(Bytes::len).sum()
    });
}

#[test]
fn a_request_with_a_large_neighbour_is_read_checked_and_written_in_linear_work() {
    let generators: Vec<Generator> = Signal::ALL.into_iter().flat_map(pairs).collect();
    check("read and write", &generators, &|generator, body| {
        let Ok(read) = readable::read(generator.signal, Bytes::copy_from_slice(body), &Ticket::free()) else {
            return 0;
        };
        envelope::encode(&read.envelope).len()
    });
}

#[test]
fn spans_are_grouped_and_picked_in_linear_work() {
    check("group and pick", &every_field(Signal::Traces), &|_, body| {
        let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
        let mut places: Vec<Vec<split::ItemPosition>> = Vec::new();
        for (_, spans) in split::by_trace(&envelope).traces() {
            places.push(spans.map(|span| span.place).collect());
        }
        places.iter_mut().map(|places| split::pick(&envelope, places).messages()).sum()
    });
}

#[test]
fn payloads_are_cut_and_joined_in_linear_work_however_small_the_parts() {
    let generators: Vec<Generator> = Signal::ALL.into_iter().flat_map(every_field).collect();
    for max in [1, 100] {
        check(&format!("cut into {max} and join"), &generators, &|generator, body| {
            let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
            let mut payload = telemetry::payload(generator.signal, Bytes::new(), UnixNanos(0));
            payload.envelope = envelope;
            let parts: Vec<_> = portion::cut(payload, max, portion::items_of).collect();
            let structs = parts.len() * 64;
            portion::join(parts).map_or(0, |whole| latest_of(generator.signal, &whole.envelope)) + structs
        });
    }
}

fn latest_of(signal: Signal, envelope: &podgate::core::data::payload::Envelope) -> usize {
    let latest = envelope.groups.iter().map(|group| latest_time::latest_time(signal, &group.scopes)).max();
    usize::from(latest == Some(UnixNanos(1)))
}

#[test]
fn a_part_of_many_ranges_is_picked_in_linear_work() {
    check("every second message", &every_field(Signal::Logs), &|generator, body| {
        let mut payload = telemetry::payload(generator.signal, Bytes::new(), UnixNanos(0));
        let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
        payload.envelope = envelope;
        let ranges: Vec<_> = (0..payload.envelope.messages()).step_by(2).map(|at| at..at + 1).collect();
        portion::part(&payload, &ranges).envelope.messages()
    });
}

/// Members of a tier and scopes of a request grow together: who walks all scopes for each member breaks the law.
#[test]
fn a_payload_is_dealt_out_in_linear_work_however_many_recipients_there_are() {
    for (name, each_has) in
        [("in turn among 16", 0), ("a recipient for each message", 1), ("a recipient for each three", 3)]
    {
        check(&format!("dealt {name}"), &every_field(Signal::Logs), &|generator, body| {
            let mut payload = telemetry::payload(generator.signal, Bytes::new(), UnixNanos(0));
            let Ok(envelope) = envelope::decode(Bytes::copy_from_slice(body)) else { return 0 };
            payload.envelope = envelope;
            let recipient = |message: usize| message.checked_div(each_has).unwrap_or(message % 16);
            let all = vec![Undealt::whole(&mut payload)];
            let dealt = deal(&payload, all, |at| Some(recipient(at.message))).unwrap();
            // What comes back is dealt again, in the order of the whole.
            let back = dealt.into_iter().map(|part| part.undealt).collect();
            let again = deal(&payload, back, |at| Some(recipient(at.message))).unwrap();
            again.iter().map(|part| part.payload.envelope.messages() + 64).sum()
        });
    }
}
