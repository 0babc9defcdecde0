//! OTLP/JSON: any text ends in bytes that `prost` reads or in a fault, and a request means the same in both notations.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::otlp::walk::Malformed;
use podgate::otlp::{depth, envelope, json};
use prost::Message;

/// Any text as a request of every signal.
pub fn text(data: &[u8]) {
    for signal in Signal::ALL {
        let budget = Budget::new(64 << 20, 64 << 20);
        let ticket = budget.take(0).expect("room");
        let Ok(wire) = json::to_wire_within(signal, data, &ticket) else { continue };
        assert!(ticket.bytes() >= wire.len() as u64, "{} granted for {}", ticket.bytes(), wire.len());
        let read = envelope::decode(wire.clone()).expect("what was transcoded reads");
        let shallow = read.items().all(|item| depth::check_depth(signal, item).is_ok());
        let mut line = Vec::new();
        match json::from_wire(signal, &read, &mut line) {
            Ok(()) => {
                let back = json::to_wire(signal, &line).expect("our own line reads");
                let mut second = Vec::new();
                let again = envelope::decode(back).expect("and is a request");
                json::from_wire(signal, &again, &mut second).expect("which can be written");
                assert_eq!(line, second, "a line reads as itself");
            }
            // Resources and scopes are checked by the receiver.
            Err(fault) if shallow => assert_eq!(fault.to_string(), "values nest deeper than 64"),
            Err(_) => {}
        }
        if shallow {
            readable(signal, wire);
        }
    }
}

/// `prost` gives up at a depth of its own; anything else it must read.
fn readable(signal: Signal, wire: Bytes) {
    let read = match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(wire).map(drop),
        Signal::Metrics => ExportMetricsServiceRequest::decode(wire).map(drop),
        Signal::Logs => ExportLogsServiceRequest::decode(wire).map(drop),
        Signal::Profiles => ExportProfilesServiceRequest::decode(wire).map(drop),
    };
    if let Err(error) = read {
        assert!(error.to_string().contains("recursion"), "prost cannot read what was transcoded: {error}");
    }
}

/// Protobuf to JSON by `opentelemetry-proto`, back by us: the same request.
pub fn differential(data: &[u8]) {
    match data.len() % 3 {
        0 => same::<ExportTraceServiceRequest>(Signal::Traces, data),
        1 => same::<ExportMetricsServiceRequest>(Signal::Metrics, data),
        _ => same::<ExportLogsServiceRequest>(Signal::Logs, data),
    }
}

fn same<M: Message + Default + PartialEq + serde::Serialize>(signal: Signal, data: &[u8]) {
    let Ok(request) = M::decode(data) else { return };
    // Their encoder writes ids of any length; ours marks those that cannot be one.
    let read = envelope::decode(Bytes::from(request.encode_to_vec())).expect("a request");
    if read.items().any(|item| depth::check_depth(signal, item) == Err(Malformed::Id)) {
        return;
    }
    let text = serde_json::to_string(&request).expect("structs become JSON");
    // Their form of what is not finite is null, which means unset.
    if text.contains(":null") && text.contains("\"asDouble\"") {
        return;
    }
    match json::to_wire(signal, text.as_bytes()) {
        Ok(wire) => {
            let back = M::decode(wire).expect("prost reads what was transcoded");
            assert_eq!(without_unset(&back), without_unset(&request), "{text}");
        }
        Err(fault) => panic!("{fault} in {text}"),
    }
}

fn without_unset<M: Message + serde::Serialize>(request: &M) -> String {
    serde_json::to_string(request).expect("structs become JSON")
}
