//! What the file exporter wrote, read back as arrivals; a torn line is a fault.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::payload::Signal;
use prost::Message;
use tokio::time::Instant;

use crate::oracle::Faults;
use crate::otlp;
use crate::truth::{Arrival, Outcome};
use crate::world::World;

pub fn read(world: &World, at: Instant, faults: &mut Faults) {
    for (path, bytes) in world.disk.texts() {
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let items = line.ends_with('\n').then(|| request(line)).flatten();
            let Some(items) = items else {
                faults.push(format!("torn: line {1} of {0}", path.display(), number + 1));
                continue;
            };
            let outcome = Outcome::Taken;
            world.truth.facts().arrivals.push(Arrival { written: at, begun: at, ended: Some(at), outcome, items });
        }
    }
}

fn request(line: &str) -> Option<otlp::Read> {
    let (signal, bytes) = if line.starts_with("{\"resourceSpans\"") {
        (Signal::Traces, serde_json::from_str::<ExportTraceServiceRequest>(line).ok()?.encode_to_vec())
    } else if line.starts_with("{\"resourceLogs\"") {
        (Signal::Logs, serde_json::from_str::<ExportLogsServiceRequest>(line).ok()?.encode_to_vec())
    } else {
        (Signal::Metrics, serde_json::from_str::<ExportMetricsServiceRequest>(line).ok()?.encode_to_vec())
    };
    otlp::read(signal, &bytes).ok()
}
