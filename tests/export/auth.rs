//! Authenticators of exporters: each request carries the credential, over each protocol, and waits while there is none.

use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::origin::{Origin, Transport};
use podgate::core::data::payload::Payload;
use podgate::core::stage::factory::ExtensionFactory;
use podgate::core::time::UnixNanos;
use podgate::extensions::authenticators::{basic, bearer, headers_setter};
use podgate::testing::check;

use crate::cluster::Cluster;
use crate::harness::{Bench, Peer, eventually, payload, request, start, taken};
use crate::http::{HttpPeer, answer};

/// Starts an extension beside the exporter, as the gateway does before it.
pub async fn with(bench: &Bench, factory: &ExtensionFactory, body: &str) {
    check::extension(&bench.host, factory, body).start().await.expect("it starts");
}

const AUTH: &str = "auth: {authenticator: bearertokenauth}";

#[tokio::test]
async fn a_bearer_token_goes_with_each_request_over_grpc_and_takes_the_place_of_a_header() {
    let peer = Peer::start(|_, _| taken()).await;
    let body =
        format!("{{endpoint: '{}', tls: {{insecure: true}}, headers: {{authorization: old}}, {AUTH}}}", peer.address);
    let bench = start("otlp_grpc", &body).await;
    with(&bench, &bearer::FACTORY, "{token: first}").await;
    for _ in 0..2 {
        bench.send(&request(["a"])).await.unwrap();
    }
    assert_eq!(bench.settled().await.delivered, 2);
    for at in 0..2 {
        assert_eq!(peer.headers(at)["authorization"], "Bearer first");
    }
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_bearer_token_goes_with_each_request_over_http_and_nothing_leaves_before_there_is_one() {
    let peer = HttpPeer::start(|_, _| answer(200, "", b"")).await;
    let retry = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 10s}";
    let bench =
        start("otlp_http", &format!("{{endpoint: 'http://{}', compression: none, {retry}, {AUTH}}}", peer.address))
            .await;
    bench.send(&request(["a"])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(peer.seen().is_empty(), "without a credential nothing is sent");
    with(&bench, &bearer::FACTORY, "{token: key, header: x-api-key, scheme: ''}").await;
    eventually("the request", || !peer.seen().is_empty()).await;
    assert!(peer.seen()[0].head.contains("x-api-key: key\r\n"), "{}", peer.seen()[0].head);
    assert_eq!(bench.settled().await.delivered, 1);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn bulk_requests_carry_the_credential_too() {
    let cluster = Cluster::healthy().await;
    let bench = cluster.exporter(AUTH).await;
    with(&bench, &bearer::FACTORY, "{token: first}").await;
    bench.send(&request(["a"])).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 1);
    assert!(cluster.head(0).contains("authorization: bearer first"), "{}", cluster.head(0));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_user_and_a_password_go_as_basic_credentials_and_a_file_is_read_without_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    for body in [
        "{client_auth: {username: ann, password: secret}}".to_owned(),
        format!("{{client_auth: {{username: ann, password_file: {}}}}}", file.display()),
    ] {
        let peer = Peer::start(|_, _| taken()).await;
        let keys = "tls: {insecure: true}, auth: {authenticator: basicauth}";
        let bench = start("otlp_grpc", &format!("{{endpoint: '{}', {keys}}}", peer.address)).await;
        with(&bench, &basic::FACTORY, &body).await;
        bench.send(&request(["a"])).await.unwrap();
        assert_eq!(bench.settled().await.delivered, 1);
        assert_eq!(peer.headers(0)["authorization"], "Basic YW5uOnNlY3JldA==");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_header_of_the_sender_goes_out_with_its_own_data() {
    let peer = HttpPeer::start(|_, _| answer(200, "", b"")).await;
    let keys = "compression: none, sending_queue: {enabled: false}, auth: {authenticator: headers_setter}";
    let bench = start("otlp_http", &format!("{{endpoint: 'http://{}', {keys}}}", peer.address)).await;
    let rules =
        "{headers: [{key: X-Scope-OrgID, from_context: x-tenant, default_value: nobody}, {key: x-fixed, value: f}]}";
    with(&bench, &headers_setter::FACTORY, rules).await;
    for tenant in [Some("red"), None] {
        let mut origin = Origin::new(None, 1, UnixNanos(0), UnixNanos(0), Transport::Http);
        origin.headers = tenant.map(|tenant| ("x-tenant".to_owned(), tenant.to_owned())).into_iter().collect();
        let payload = Payload { origin: Arc::new(origin), ..payload(&request(["a"])) };
        let (receipt, payload) = payload.received(&bench.host.balance);
        let answer = bench.exporter.consume(payload).await;
        receipt.answer(answer.as_ref().copied());
        answer.unwrap();
    }
    for (at, tenant) in ["red", "nobody"].into_iter().enumerate() {
        let head = peer.seen()[at].head.clone();
        assert!(head.contains(&format!("x-scope-orgid: {tenant}\r\n")) && head.contains("x-fixed: f\r\n"), "{head}");
    }
    bench.drain(Duration::from_secs(5)).await;
}
