//! `podgate: {target: ...}`: what cannot work with a next hop of that name is refused with its place, and what differs is done.

use std::time::Duration;

use prost::Message;
use tonic::Status;

use crate::harness::{Peer, checked, request, start, taken};

const KEY: &str = "headers: {Authorization: 'ApiKey aWQ6a2V5'}";

fn findings(name: &str, body: &str) -> String {
    checked(name, body).1.join("\n")
}

#[tokio::test]
async fn bodies_that_fit_their_target_are_accepted_without_a_word() {
    for (name, body) in [
        ("otlp_grpc", "{endpoint: 'node:8200', tls: {insecure: true}, podgate: {target: apm_server}}".to_owned()),
        ("otlp_grpc", format!("{{endpoint: 'https://apm:443', {KEY}, podgate: {{target: apm_server}}}}")),
        (
            "otlp_grpc",
            "{endpoint: 'https://apm:443', headers: {authorization: 'Bearer s3cret'}, podgate: {target: apm_server}}"
                .to_owned(),
        ),
        ("otlp_http", "{endpoint: 'http://apm:8200', compression: gzip, podgate: {target: apm_server}}".to_owned()),
        ("otlp_grpc", "{endpoint: 'agent:4317', compression: zstd, podgate: {target: elastic_agent}}".to_owned()),
        ("otlp_http", format!("{{endpoint: 'https://x.elastic.example', {KEY}, podgate: {{target: managed_otlp}}}}")),
        ("otlp_grpc", format!("{{endpoint: 'x.elastic.example:443', {KEY}, podgate: {{target: managed_otlp}}}}")),
        ("otlp_http", format!("{{endpoint: 'https://es:9200/_otlp', {KEY}, podgate: {{target: elasticsearch}}}}")),
        (
            "otlp_http",
            "{metrics_endpoint: 'https://es:9200/_otlp/v1/metrics', podgate: {target: elasticsearch}}".to_owned(),
        ),
    ] {
        let (bench, found) = checked(name, &body);
        assert!(bench.is_some() && found.is_empty(), "{body}: {found:?}");
    }
}

#[tokio::test]
async fn what_a_target_cannot_take_is_an_error_with_its_place() {
    for (name, body, wanted) in [
        ("otlp_grpc", "{endpoint: 'a:1', podgate: {target: apm}}", "E0203 exporters::otlp_grpc::podgate::target"),
        ("otlp_grpc", "{endpoint: 'a:1', podgate: {target: elastic_agent, apm_server: true}}", "contradict each other"),
        (
            "otlp_http",
            "{endpoint: 'http://a', compression: zstd, podgate: {target: apm_server}}",
            "E0207 exporters::otlp_http::compression",
        ),
        ("otlp_grpc", "{endpoint: 'a:8200', compression: zstd}", "W0403 exporters::otlp_grpc::compression"),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', timeout: 0, podgate: {target: apm_server}}",
            "E0207 exporters::otlp_grpc::timeout",
        ),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', headers: {Authorization: 'Basic eDp5'}, podgate: {target: apm_server}}",
            "E0203 exporters::otlp_grpc::headers",
        ),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', headers: {Authorization: 'ApiKey id:s3cret'}, podgate: {target: apm_server}}",
            "its base64 is wanted",
        ),
        (
            "otlp_grpc",
            "{endpoint: 'a:1', headers: {Authorization: 'ApiKey id:s3cret'}, podgate: {target: elastic_agent}}",
            "its base64 is wanted",
        ),
        (
            "otlp_http",
            "{endpoint: 'https://a', podgate: {target: managed_otlp}}",
            "E0204 exporters::otlp_http::headers",
        ),
        (
            "otlp_http",
            "{endpoint: 'http://a', headers: {Authorization: 'ApiKey eA=='}, podgate: {target: managed_otlp}}",
            "reached by TLS alone",
        ),
        (
            "otlp_http",
            "{endpoint: 'https://a', headers: {Authorization: 'Bearer x'}, podgate: {target: managed_otlp}}",
            "E0203 exporters::otlp_http::headers",
        ),
        ("otlp_grpc", "{endpoint: 'a:9200', podgate: {target: elasticsearch}}", "by HTTP only"),
        ("otlp_http", "{endpoint: 'https://es:9200', podgate: {target: elasticsearch}}", "below /_otlp only"),
        (
            "otlp_http",
            "{endpoint: 'https://es:9200/_otlp', compression: zstd, podgate: {target: elasticsearch}}",
            "reads gzip and nothing else",
        ),
    ] {
        let found = findings(name, body);
        assert!(found.contains(wanted), "{body}:\n{found}");
        assert!(!found.contains("s3cret"), "{found}");
    }
}

#[tokio::test]
async fn refused_credentials_are_explained_in_one_sentence_for_each_target() {
    for (target, more, wanted) in [
        ("apm_server", "", "APM Server wants an API key or its secret token and none is configured"),
        ("apm_server", KEY, "needs the privilege event:write"),
        ("elastic_agent", "", "as its apikeyauth extension expects"),
        ("elastic_agent", KEY, "refuses the configured API key: look at its apikeyauth extension"),
    ] {
        let peer = Peer::start(|_, _| Err(Status::permission_denied("no"))).await;
        let address = peer.address;
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let body = format!("{{endpoint: '{address}', tls: {{insecure: true}}, podgate: {{target: {target}}}{more}}}");
        let bench = start("otlp_grpc", &body).await;
        bench.send(&request(["a"])).await.unwrap();
        bench.settled().await;
        let status = bench.host.status.all()["exporters::otlp_grpc"].message.clone();
        assert!(status.contains("PERMISSION_DENIED") && status.contains(wanted), "{target}: {status}");
        assert!(!status.contains("aWQ6a2V5"), "{status}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn requests_for_apm_server_and_elastic_agent_are_cut_at_4_mib_and_others_are_not() {
    let name = "x".repeat(64 << 10);
    // 6.25 MiB in spans of 64 KiB.
    let large = request(std::iter::repeat_n(name.as_str(), 100));
    for (preset, is_cut) in [("target: apm_server", true), ("target: elastic_agent", true), ("connections: 1", false)] {
        let peer = Peer::start(|_, _| taken()).await;
        let address = peer.address;
        let body = format!("{{endpoint: '{address}', tls: {{insecure: true}}, podgate: {{{preset}}}}}");
        let bench = start("otlp_grpc", &body).await;
        bench.send(&large).await.unwrap();
        assert_eq!(bench.settled().await.delivered, 100);
        let longest = peer.requests().iter().map(Message::encoded_len).max().unwrap();
        assert_eq!((peer.requests().len() > 1, longest <= 4 << 20), (is_cut, is_cut), "{preset}: {longest}");
        bench.drain(Duration::from_secs(5)).await;
    }
}
