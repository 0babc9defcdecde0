//! gRPC's health checking of the process: what a probe hears while it runs, and what a watch hears when it is stopped.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::gateway::Process;

#[tokio::test]
async fn a_probe_hears_serving_and_a_watch_hears_the_drain_without_holding_it_up() {
    let rest = "exporters:\n  nop:\nservice:\n  extensions: [health_check]\n  telemetry: {metrics: {level: none}}\n  \
                pipelines:\n    traces: {receivers: [otlp], exporters: [nop]}\n";
    let process = Process::start("", rest).await;
    let channel = Channel::from_shared(format!("http://{}", process.grpc)).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    for (service, expected) in [
        ("", ServingStatus::Serving),
        ("opentelemetry.proto.collector.trace.v1.TraceService", ServingStatus::Serving),
        ("opentelemetry.proto.collector.logs.v1.LogsService", ServingStatus::NotServing),
    ] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), expected, "{service}");
    }
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let heard = timeout(Duration::from_secs(10), async {
        (watch.message().await.unwrap().unwrap().status(), watch.message().await.unwrap_err().code())
    });
    let (ended, heard) = tokio::join!(process.stop(), heard);
    assert_eq!(heard.unwrap(), (ServingStatus::NotServing, Code::Unavailable), "{}", ended.log);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.took < Duration::from_secs(3), "took {:?}\n{}", ended.took, ended.log);
}
