//! The tail sampler everybody would write first: prost structs in a map by trace id, looked through once a second.
//!
//! The same policies as podgate's in W5 (a failed span, longer than a second, one trace in ten) on the pipeline of
//! `obvious`: tonic in, ten attributes pushed, each trace's spans with a copy of their resource and scope, tonic out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::obvious;

const WAIT: Duration = Duration::from_secs(10);
const SLOW_NANOS: u64 = 1_000_000_000;
const ERROR: i32 = 2;
/// Pieces of traces sent on in one request.
const PIECES_A_REQUEST: usize = 100;

struct Held {
    since: Instant,
    pieces: Vec<ResourceSpans>,
}

type Traces = Arc<Mutex<HashMap<Vec<u8>, Held>>>;

struct Sampling {
    traces: Traces,
}

#[tonic::async_trait]
impl TraceService for Sampling {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut request = request.into_inner();
        obvious::add_attributes(&mut request);
        let mut traces = self.traces.lock().expect("nobody panics with it");
        for group in request.resource_spans {
            for scope in group.scope_spans {
                let mut by_trace: HashMap<Vec<u8>, Vec<Span>> = HashMap::new();
                scope.spans.into_iter().for_each(|span| by_trace.entry(span.trace_id.clone()).or_default().push(span));
                for (trace, spans) in by_trace {
                    let scope_spans =
                        vec![ScopeSpans { scope: scope.scope.clone(), spans, schema_url: scope.schema_url.clone() }];
                    let piece = ResourceSpans {
                        resource: group.resource.clone(),
                        scope_spans,
                        schema_url: group.schema_url.clone(),
                    };
                    let held = || Held { since: Instant::now(), pieces: Vec::new() };
                    traces.entry(trace).or_insert_with(held).pieces.push(piece);
                }
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Serves on a free port, which it prints, and forwards what is kept to `sink`.
pub fn run(sink: &str) {
    let traces = Traces::default();
    let held = traces.clone();
    obvious::serve(
        sink,
        |_| Sampling { traces },
        |next| async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let pieces = due(&held);
                for pieces in pieces.chunks(PIECES_A_REQUEST) {
                    let request = ExportTraceServiceRequest { resource_spans: pieces.to_vec() };
                    let _ = TraceServiceClient::<Channel>::export(&mut next.clone(), request).await;
                }
            }
        },
    );
}

/// Takes the traces that waited long enough and returns what is kept of them.
fn due(traces: &Traces) -> Vec<ResourceSpans> {
    let mut traces = traces.lock().expect("nobody panics with it");
    let now = Instant::now();
    let ripe: Vec<Vec<u8>> =
        traces.iter().filter(|(_, held)| now - held.since >= WAIT).map(|(trace, _)| trace.clone()).collect();
    let taken = ripe.iter().filter_map(|trace| traces.remove(trace).map(|held| (trace, held)));
    taken.filter(|(trace, held)| is_kept(trace, &held.pieces)).flat_map(|(_, held)| held.pieces).collect()
}

fn is_kept(trace: &[u8], pieces: &[ResourceSpans]) -> bool {
    let spans = || pieces.iter().flat_map(|piece| &piece.scope_spans).flat_map(|scope| &scope.spans);
    let failed = spans().any(|span| span.status.as_ref().is_some_and(|status| status.code == ERROR));
    let start = spans().map(|span| span.start_time_unix_nano).min().unwrap_or_default();
    let end = spans().map(|span| span.end_time_unix_nano).max().unwrap_or_default();
    let hash = trace
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    failed || end.saturating_sub(start) > SLOW_NANOS || hash <= u64::MAX / 10
}
