//! Clients nobody here wrote: tonic with the generated OTLP services.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use podgate::core::data::origin::Transport;
use podgate::otlp::envelope;
use prost::Message;
use tonic::codec::CompressionEncoding;

use super::harness::{BOTH, Running, spans};

#[tokio::test]
async fn tonic_delivers_on_either_port_plain_and_compressed() {
    let running = Running::start(BOTH).await;
    let request = ExportTraceServiceRequest::decode(&spans(500)[..]).unwrap();
    for address in [running.grpc(), running.http()] {
        let client = TraceServiceClient::connect(format!("http://{address}")).await.unwrap();
        let gzip =
            client.clone().send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        for mut client in [client, gzip] {
            let response = client.export(request.clone()).await.unwrap().into_inner();
            assert_eq!(response.partial_success, None);
        }
    }
    assert_eq!((running.sink.items(), running.counter("otelcol_receiver_accepted_spans")), (2000, 2000));
    for payload in running.sink.payloads.lock().unwrap().iter() {
        let again = ExportTraceServiceRequest::decode(envelope::encode(&payload.envelope)).unwrap();
        assert_eq!(again, request);
        assert_eq!((payload.origin.transport, payload.origin.peer.is_some()), (Transport::Grpc, true));
    }
    running.sink.payloads.lock().unwrap().clear();
    running.assert_balance();
}

#[tokio::test]
async fn a_large_message_arrives_whole_over_many_frames() {
    let running = Running::start(BOTH).await;
    let request = ExportTraceServiceRequest::decode(&spans(200_000)[..]).unwrap();
    assert!(request.encoded_len() > 10 << 20);
    let mut client = TraceServiceClient::connect(format!("http://{}", running.grpc())).await.unwrap();
    client.export(request.clone()).await.unwrap();
    assert_eq!(running.sink.items(), 200_000);
    let used = running.host.budget.used();
    assert!(used >= request.encoded_len() as u64, "the payload holds its memory: {used}");
}
