//! gRPC's health checking, asked by tonic's own client: what it says, whom it knows, and that a watch costs little and ends.

use std::net::SocketAddr;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::report::status::{SERVICE, State};
use tokio::time::timeout;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::harness::{BOTH, H2, Running};

const TRACE_SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
const LOGS_SERVICE: &str = "opentelemetry.proto.collector.logs.v1.LogsService";

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn client(address: SocketAddr) -> HealthClient<Channel> {
    HealthClient::new(Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let answer = client.check(of(service)).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

/// The next status of a watch, or the code of its end; a watch that says nothing for ten seconds is a fault.
async fn told(watch: &mut tonic::Streaming<HealthCheckResponse>) -> Result<ServingStatus, Code> {
    let message = timeout(Duration::from_secs(10), watch.message()).await.expect("a message");
    message.map(|message| message.expect("an end has a status").status()).map_err(|status| status.code())
}

#[tokio::test]
async fn check_says_on_either_port_what_readyz_says_and_knows_the_collector_services() {
    let running = Running::with(BOTH, Budget::new(1 << 30, 1 << 30), &[Signal::Traces]).await;
    for address in [running.grpc(), running.http()] {
        let mut client = client(address).await;
        for (state, expected) in [
            (State::Starting, ServingStatus::NotServing),
            (State::Ok, ServingStatus::Serving),
            (State::Degraded, ServingStatus::Serving),
            (State::Stopped, ServingStatus::NotServing),
        ] {
            running.host.status.set(SERVICE, state, "");
            assert_eq!(check(&mut client, "").await, Ok(expected), "{state:?}");
            assert_eq!(check(&mut client, TRACE_SERVICE).await, Ok(expected), "{state:?}");
            let without_pipeline = check(&mut client, LOGS_SERVICE).await;
            assert_eq!(without_pipeline, Ok(ServingStatus::NotServing), "{state:?}");
            assert_eq!(check(&mut client, "another.Service").await, Err(Code::NotFound), "{state:?}");
        }
        let mut gzip = client.clone().send_compressed(CompressionEncoding::Gzip);
        assert_eq!(check(&mut gzip, TRACE_SERVICE).await, Ok(ServingStatus::NotServing));
    }
}

#[tokio::test]
async fn list_names_the_gateway_and_the_four_services() {
    let running = Running::start(BOTH).await;
    running.host.status.set(SERVICE, State::Ok, "");
    let mut client = H2::connect(running.grpc()).await;
    let reply = client.grpc("/grpc.health.v1.Health/List", &[], &[0; 5]).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(0));
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    for name in ["TraceService", "MetricsService", "LogsService", "ProfilesService"] {
        assert!(body.contains(name), "{body:?}");
    }
    // A row: the name under 1, under 2 a message whose status is 1, SERVING.
    assert_eq!(&reply.body[5..13], b"\x0a\x06\x0a\x00\x12\x02\x08\x01", "{body:?}");
}

#[tokio::test]
async fn a_watch_hears_each_change_once_and_ends_with_the_receiver() {
    let running = Running::start(BOTH).await;
    running.host.status.set(SERVICE, State::Ok, "");
    let mut client = client(running.grpc()).await;
    let mut known = client.watch(of("")).await.unwrap().into_inner();
    let mut unknown = client.watch(of("another.Service")).await.unwrap().into_inner();
    assert_eq!(told(&mut known).await, Ok(ServingStatus::Serving));
    assert_eq!(told(&mut unknown).await, Ok(ServingStatus::ServiceUnknown));
    running.host.status.set(SERVICE, State::Degraded, "still ready: nothing to tell");
    running.host.status.set(SERVICE, State::Starting, "");
    assert_eq!(told(&mut known).await, Ok(ServingStatus::NotServing));
    running.host.status.set(SERVICE, State::Ok, "");
    assert_eq!(told(&mut known).await, Ok(ServingStatus::Serving));
    running.host.status.set(SERVICE, State::Stopped, "draining");
    assert_eq!(told(&mut known).await, Ok(ServingStatus::NotServing));
    let drained = running.drain(Duration::from_secs(10));
    let (took, known, unknown) = tokio::join!(drained, told(&mut known), told(&mut unknown));
    assert_eq!((known, unknown), (Err(Code::Unavailable), Err(Code::Unavailable)));
    assert!(took < Duration::from_secs(3), "watches hold no drain up: {took:?}");
}

#[tokio::test]
async fn a_quiet_watch_is_no_idle_connection_and_a_quiet_connection_without_one_is() {
    let keepalive = BOTH.replacen(
        "endpoint: 127.0.0.1:0\n",
        "endpoint: 127.0.0.1:0\n    keepalive: {server_parameters: {max_connection_idle: 500ms}}\n",
        1,
    );
    let running = Running::start(&keepalive).await;
    running.host.status.set(SERVICE, State::Ok, "");
    let mut client = client(running.grpc()).await;
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(told(&mut watch).await, Ok(ServingStatus::Serving));
    let mut idle = H2::connect(running.grpc()).await;
    idle.grpc("/grpc.health.v1.Health/Check", &[], &[0; 5]).await.unwrap();
    let quiet = timeout(Duration::from_secs(2), watch.message()).await;
    assert!(quiet.is_err(), "the watch goes on and has nothing to say: {quiet:?}");
    assert!(idle.grpc("/grpc.health.v1.Health/Check", &[], &[0; 5]).await.is_err(), "the other one has been closed");
    running.host.status.set(SERVICE, State::Stopped, "");
    assert_eq!(told(&mut watch).await, Ok(ServingStatus::NotServing));
}

#[tokio::test]
async fn a_connection_has_eight_watches_at_most_and_gets_the_place_of_one_that_ended() {
    let running = Running::start(BOTH).await;
    let mut client = client(running.grpc()).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut watch = client.watch(of("")).await.unwrap().into_inner();
        assert_eq!(told(&mut watch).await, Ok(ServingStatus::NotServing));
        open.push(watch);
    }
    let refused = client.watch(of("")).await.expect_err("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{}", refused.message());
    open.pop();
    let again = async {
        while client.watch(of("")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), again).await.expect("the place of the one that was dropped");
}

#[tokio::test]
async fn a_watch_ends_at_its_callers_deadline() {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    let headers = [("grpc-timeout", "200m")];
    let reply = client.grpc("/grpc.health.v1.Health/Watch", &headers, &[0; 5]).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(4), "DEADLINE_EXCEEDED");
    assert_eq!(&reply.body[..], b"\0\0\0\0\x02\x08\x02", "NOT_SERVING first");
}

#[tokio::test]
async fn health_is_answered_while_there_is_no_memory() {
    let budget = Budget::new(1 << 30, 1 << 30);
    let running = Running::with(BOTH, budget.clone(), &Signal::ALL).await;
    running.host.status.set(SERVICE, State::Ok, "");
    let mut client = client(running.grpc()).await;
    // Over a connection that the server has taken up; a new one would find no memory for itself.
    assert_eq!(check(&mut client, "").await, Ok(ServingStatus::Serving));
    let all = budget.take((1 << 30) - budget.used()).unwrap();
    assert_eq!(check(&mut client, TRACE_SERVICE).await, Ok(ServingStatus::Serving));
    drop(all);
}

#[tokio::test]
async fn what_is_no_request_for_health_is_refused() {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    for (path, body, expected) in [
        ("/grpc.health.v1.Health/Check", &b"\0\0\0\0\x02\x0a\x7f"[..], 3),
        ("/grpc.health.v1.Health/Check", b"\0\0\0\0\x09\x0a\x00", 3),
        ("/grpc.health.v1.Health/Check", b"", 3),
        ("/grpc.health.v1.Health/Other", &[0; 5], 12),
        ("/grpc.health.v1.Health/", &[0; 5], 12),
        ("/grpc.health.v1.Healthy/Check", &[0; 5], 12),
    ] {
        let reply = client.grpc(path, &[], body).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(expected), "{path} {body:?}");
    }
    let long = [&[0, 0, 0, 0x10, 0][..], &[0; 4096]].concat();
    let reply = client.grpc("/grpc.health.v1.Health/Check", &[], &long).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(8), "RESOURCE_EXHAUSTED");
}
