//! `oauth2client`: exporters send a token that a token endpoint gives, share it, renew it, and wait while there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use podgate::core::diagnostic::Severity;
use podgate::core::report::status::State;
use podgate::core::stage::factory::{Checks, Environment, ExtensionPlan};
use podgate::extensions::authenticators::oauth2client::FACTORY;
use podgate::testing::check;

use crate::auth::with;
use crate::harness::{Bench, eventually, request, start};
use crate::http::{HttpPeer, answer};

const JSON: &str = "content-type: application/json\r\n";

fn granted(token: &str, seconds: f64) -> Vec<u8> {
    let body = format!("{{\"access_token\":\"{token}\",\"token_type\":\"bearer\",\"expires_in\":{seconds}}}");
    answer(200, JSON, body.as_bytes())
}

async fn exporter(peer: &HttpPeer, endpoint: &HttpPeer, more: &str) -> Bench {
    let retry = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 20s}";
    let keys = format!("compression: none, {retry}, auth: {{authenticator: oauth2client}}");
    let bench = start("otlp_http", &format!("{{endpoint: 'http://{}', {keys}}}", peer.address)).await;
    let url = format!("http://{}/oauth2/token", endpoint.address);
    with(&bench, &FACTORY, &format!("{{client_id: 'a b', client_secret: 'kanari:1', token_url: '{url}', {more}}}"))
        .await;
    bench
}

async fn next_hop() -> HttpPeer {
    HttpPeer::start(|_, _| answer(200, "", b"")).await
}

#[tokio::test]
async fn one_token_serves_many_requests_until_shortly_before_its_end() {
    let endpoint = HttpPeer::start(|at, _| granted(&format!("token-{at}"), 2.0)).await;
    let peer = next_hop().await;
    let bench = exporter(&peer, &endpoint, "scopes: [one, two], endpoint_params: {resource: 'x/y'}").await;
    for _ in 0..5 {
        bench.send(&request(["a"])).await.unwrap();
    }
    eventually("five requests", || peer.seen().len() == 5).await;
    for wire in peer.seen() {
        assert!(wire.head.contains("authorization: bearer token-0\r\n"), "{}", wire.head);
    }
    let asked = endpoint.seen();
    assert_eq!(asked.len(), 1, "the others waited for the first one's");
    assert!(asked[0].head.starts_with("post /oauth2/token "), "{}", asked[0].head);
    // "a+b:kanari%3A1", in lower case as the peer keeps heads: both are encoded before they are joined (RFC 6749, 2.3.1).
    assert!(asked[0].head.contains("authorization: basic ystiomthbmfyasuzqte=\r\n"), "{}", asked[0].head);
    assert!(asked[0].head.contains("content-type: application/x-www-form-urlencoded\r\n"), "{}", asked[0].head);
    assert_eq!(asked[0].body, b"grant_type=client_credentials&scope=one+two&resource=x%2Fy");
    // The buffer of five minutes is longer than the token lasts: half of its time is used.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    bench.send(&request(["b"])).await.unwrap();
    eventually("the sixth", || peer.seen().len() == 6).await;
    assert!(peer.seen()[5].head.contains("authorization: bearer token-1\r\n"), "{}", peer.seen()[5].head);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_endpoint_that_reads_no_header_is_given_the_form_and_from_then_on_at_once() {
    let endpoint = HttpPeer::start(|at, wire| {
        if !wire.head.contains("authorization: ") {
            return granted(&format!("token-{at}"), 0.2);
        }
        answer(401, JSON, b"{\"error\":\"invalid_client\"}")
    })
    .await;
    let peer = next_hop().await;
    let bench = exporter(&peer, &endpoint, "expiry_buffer: 0s").await;
    bench.send(&request(["a"])).await.unwrap();
    eventually("a request", || peer.seen().len() == 1).await;
    assert_eq!(endpoint.seen().len(), 2);
    assert_eq!(endpoint.seen()[1].body, b"grant_type=client_credentials&client_id=a+b&client_secret=kanari%3A1");
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench.send(&request(["b"])).await.unwrap();
    eventually("another", || peer.seen().len() == 2).await;
    assert_eq!(endpoint.seen().len(), 3, "the header was not tried again");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn without_a_token_nothing_leaves_the_endpoint_is_left_alone_between_calls_and_all_of_it_arrives_later() {
    let endpoint = HttpPeer::start(|at, _| match at {
        0 => answer(503, "", b"kanari-body"),
        1 => answer(200, JSON, b"{\"access_token\":\"\"}"),
        _ => granted("token", 3600.0),
    })
    .await;
    let peer = next_hop().await;
    let bench = exporter(&peer, &endpoint, "").await;
    let status = || {
        let all = bench.host.status.all();
        all.into_iter().find(|(path, _)| path == "extensions::oauth2client").expect("known").1
    };
    bench.send(&request(["a"])).await.unwrap();
    eventually("a refusal", || status().state == State::Degraded).await;
    assert!(status().message.contains("HTTP 503") && !status().message.contains("kanari"), "{}", status().message);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(peer.seen().is_empty() && endpoint.seen().len() == 1, "some ten retries share one pause");
    assert_eq!(bench.settled().await.delivered, 1);
    assert_eq!((endpoint.seen().len(), peer.seen().len()), (3, 1));
    assert_eq!(status().state, State::Ok);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_token_that_the_next_hop_no_longer_takes_is_replaced_and_what_it_refused_arrives() {
    let endpoint = HttpPeer::start(|at, _| granted(&format!("token-{at}"), 3600.0)).await;
    let revoked = Arc::new(AtomicBool::new(false));
    let seen = revoked.clone();
    let peer = HttpPeer::start(move |_, wire| {
        let is_old = seen.load(Ordering::SeqCst) && wire.head.contains("token-0");
        answer(if is_old { 401 } else { 200 }, "", b"")
    })
    .await;
    let bench = exporter(&peer, &endpoint, "").await;
    bench.send(&request(["a"])).await.unwrap();
    eventually("a request", || peer.seen().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    revoked.store(true, Ordering::SeqCst);
    bench.send(&request(["b"])).await.unwrap();
    assert_eq!(bench.settled().await.delivered, 2);
    assert_eq!((endpoint.seen().len(), peer.seen().len()), (2, 3));
    assert!(peer.seen()[2].head.contains("authorization: bearer token-1\r\n"), "{}", peer.seen()[2].head);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_credential_that_stays_refused_is_given_up_after_a_few_tries_and_named() {
    let endpoint = HttpPeer::start(|_, _| granted("token", 3600.0)).await;
    let peer = HttpPeer::start(|_, _| answer(401, "", b"")).await;
    let bench = exporter(&peer, &endpoint, "").await;
    bench.send(&request(["a"])).await.unwrap();
    let settled = bench.settled().await;
    assert_eq!((settled.delivered, peer.seen().len()), (0, 5));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_in_time_and_a_token_that_still_counts_is_sent_meanwhile() {
    // A peer that answers with no byte is one that hangs.
    let endpoint = HttpPeer::start(|at, _| match at {
        0 | 1 | 3 => Vec::new(),
        at => granted(&format!("token-{at}"), 6.0),
    })
    .await;
    let peer = next_hop().await;
    let bench = exporter(&peer, &endpoint, "timeout: 200ms").await;
    let status = || {
        let all = bench.host.status.all();
        all.into_iter().find(|(path, _)| path == "extensions::oauth2client").expect("known").1
    };
    bench.send(&request(["a"])).await.unwrap();
    eventually("the first call is given up", || status().state == State::Degraded).await;
    assert!(status().message.contains("no answer") && peer.seen().is_empty(), "{}", status().message);
    assert_eq!(bench.settled().await.delivered, 1);
    assert_eq!((endpoint.seen().len(), peer.seen().len()), (3, 1));
    // Half of its time is over, so another is asked for; it is good for a while yet.
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    bench.send(&request(["b"])).await.unwrap();
    eventually("the second", || peer.seen().len() == 2).await;
    assert!(peer.seen()[1].head.contains("authorization: bearer token-2\r\n"), "{}", peer.seen()[1].head);
    assert_eq!((endpoint.seen().len(), status().state), (4, State::Degraded));
    bench.drain(Duration::from_secs(5)).await;
}

/// The check of the extension in an environment.
fn planned(url: &str, variables: [(&'static str, String); 2]) -> (Option<Box<dyn ExtensionPlan>>, Vec<String>) {
    let environment =
        Environment::of(move |name| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone()));
    let checks = Checks { environment, ..Checks::default() };
    let body = check::node(&format!("{{client_id: a, client_secret: b, token_url: '{url}'}}"));
    let plan = check::run(&checks, "extensions::oauth2client", &body, FACTORY.check);
    let told = checks.diagnostics.sorted().into_iter().filter(|found| found.severity == Severity::Error);
    (plan, told.map(|found| format!("{} {} {}", found.code, found.path, found.message)).collect())
}

#[tokio::test]
async fn the_token_endpoint_is_asked_by_the_environments_proxy_unless_it_is_excepted() {
    let peer = next_hop().await;
    for (url, excepted, by_proxy) in [
        ("http://login.invalid/t", "hop", true),
        ("http://direct.localhost.invalid/t", "direct.localhost.invalid", false),
    ] {
        let proxy = HttpPeer::start(|_, _| granted("token", 3600.0)).await;
        let variables = [("HTTP_PROXY", format!("http://{}", proxy.address)), ("NO_PROXY", excepted.to_owned())];
        let keys = "compression: none, retry_on_failure: {initial_interval: 20ms, max_elapsed_time: 300ms}, \
                    auth: {authenticator: oauth2client}";
        let bench = start("otlp_http", &format!("{{endpoint: 'http://{}', {keys}}}", peer.address)).await;
        let (plan, found) = planned(url, variables);
        assert!(found.is_empty(), "{found:?}");
        let extension = plan.expect("sound").build(check::build_context(&bench.host, "extensions::oauth2client"));
        extension.start().await.expect("it starts");
        bench.send(&request(["a"])).await.unwrap();
        let delivered = bench.settled().await.delivered;
        assert_eq!((delivered, proxy.seen().len()), if by_proxy { (1, 1) } else { (0, 0) }, "{url}");
        if by_proxy {
            let head = &proxy.seen()[0].head;
            assert!(head.starts_with("post http://login.invalid:80/t http/1.1\r\n"), "{head}");
        }
        bench.drain(Duration::from_secs(5)).await;
    }
    let (_, found) =
        planned("https://x/t", [("HTTPS_PROXY", "socks5://u:SECRET@p:1".to_owned()), ("x", String::new())]);
    assert!(found.len() == 1 && found[0].starts_with("E0203 extensions::oauth2client::token_url the environment's"));
    assert!(!found[0].contains("SECRET"), "{found:?}");
}

#[test]
fn each_setting_has_its_finding() {
    let found = |body: &str| {
        let (plan, found) = check::checked("x", body, FACTORY.check);
        let errors = found.iter().filter(|found| found.severity == Severity::Error).count();
        assert_eq!(plan.is_some() && errors == 0, errors == 0, "{body}");
        found.into_iter().map(|found| format!("{} {} {}", found.code, found.path, found.message)).collect::<Vec<_>>()
    };
    let sound = "client_id: a, client_secret: b, token_url: 'https://x/t'";
    assert!(found(&format!("{{{sound}}}")).is_empty());
    for (body, wanted) in [
        ("{client_secret: b, token_url: 'https://x/t'}".to_owned(), "E0204 x::client_id"),
        ("{client_id: a, token_url: 'https://x/t'}".to_owned(), "E0204 x::client_secret"),
        ("{client_id: a, client_secret: b}".to_owned(), "E0204 x::token_url"),
        ("{client_id: a, client_secret: b, token_url: x/t}".to_owned(), "E0203 x::token_url"),
        ("{client_id: a, client_secret: b, token_url: 'http://x/t'}".to_owned(), "W0406 x::token_url"),
        (format!("{{{sound}, client_secret_file: /f}}"), "W0402 x::client_secret"),
        (format!("{{{sound}, grant_type: jwt_bearer}}"), "x::grant_type"),
        (format!("{{{sound}, iss: me}}"), "E0205 x::iss"),
        (format!("{{{sound}, expiry_bufer: 1s}}"), "E0201 x::expiry_bufer"),
    ] {
        let told = found(&body);
        assert!(told.len() == 1 && told[0].contains(wanted), "{body}: {told:?}");
    }
}
