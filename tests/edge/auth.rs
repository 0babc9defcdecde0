//! Authenticators of the receiver's ports: who is let in, what the others hear, and that nothing of theirs goes further.

use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::report::status::State;
use podgate::extensions::authenticators::{basic, bearer};
use podgate::testing::check;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::harness::{H2, Reply, Running, TRACES, framed, http1, spans};
use super::refusal::read_answer;

/// Both ports behind one authenticator.
fn locked(id: &str) -> String {
    let door = format!("{{endpoint: '127.0.0.1:0', auth: {{authenticator: {id}}}}}");
    format!("protocols: {{grpc: {door}, http: {door}}}")
}

async fn behind_bearer(body: &str) -> Running {
    let (running, _) = Running::behind(&bearer::FACTORY, body, &locked("bearertokenauth")).await;
    running
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn post(running: &Running, headers: &[(&str, &str)]) -> Reply {
    let headers: Vec<(&str, &str)> = std::iter::once(PROTOBUF).chain(headers.iter().copied()).collect();
    http1(running.http(), "POST", "/v1/traces", &headers, &spans(2)).await
}

#[tokio::test]
async fn a_known_token_is_let_in_on_both_ports_and_by_both_protocols() {
    let running = behind_bearer("{tokens: [first, second]}").await;
    for (at, token) in ["Bearer first", "bearer second"].into_iter().enumerate() {
        for address in [running.grpc(), running.http()] {
            let headers = [PROTOBUF, ("authorization", token)];
            assert_eq!(http1(address, "POST", "/v1/traces", &headers, &spans(1)).await.status, 200);
            let reply = H2::connect(address).await.grpc(TRACES, &headers[1..], &framed(0, &spans(1))).await.unwrap();
            assert_eq!(reply.grpc_status(), Some(0), "{reply:?}");
        }
        let payloads = running.sink.payloads.lock().unwrap();
        let identity = payloads.last().unwrap().origin.identity.clone().unwrap();
        assert_eq!(identity.attribute("subject"), Some(format!("bearertokenauth#{}", at + 1).as_str()));
    }
    assert_eq!(running.sink.items(), 8);
    assert_eq!(running.counter_with("podgate_authenticator_checks", "accepted"), 8);
    running.assert_balance();
}

#[tokio::test]
async fn whoever_has_no_known_token_hears_401_and_16_and_reaches_no_stage() {
    let running = behind_bearer("{token: right}").await;
    let table: [&[(&str, &str)]; 8] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer kanari-wrong")],
        &[("authorization", "Basic right")],
        &[("authorization", "right")],
        &[("authorization", "Bearer right"), ("authorization", "Bearer right")],
    ];
    for headers in table {
        let reply = post(&running, headers).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{headers:?}");
        assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(reply.body[..2], [0x08, 16], "google.rpc.Status with code 16: {headers:?}");
        let reply = H2::connect(running.grpc()).await.grpc(TRACES, headers, &framed(0, &spans(1))).await.unwrap();
        assert_eq!((reply.status, reply.grpc_status()), (200, Some(16)), "{headers:?}");
        let seen = format!("{reply:?}");
        assert!(!seen.contains("kanari") && reply.header("grpc-message").is_some(), "{seen}");
    }
    let json = http1(running.http(), "POST", "/v1/traces", &[("content-type", "application/json")], b"{}").await;
    let status: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!((json.status, status["code"].as_u64()), (401, Some(16)), "{status}");
    // Where something is, is nobody's business either.
    assert_eq!(http1(running.http(), "POST", "/nowhere", &[PROTOBUF], b"").await.status, 401);
    assert_eq!(running.sink.items(), 0);
    assert_eq!(running.counter_with("podgate_receiver_bad_requests", "unauthenticated"), 18);
    assert_eq!(running.counter_with("podgate_authenticator_checks", "unauthenticated"), 18);
    assert_eq!(running.host.balance.sheet(Signal::Traces).received, 0);
}

#[tokio::test]
async fn a_refused_request_costs_no_budget_and_its_connection_goes_on() {
    let running = behind_bearer("{token: right}").await;
    let mut client = H2::connect(running.grpc()).await;
    let body = framed(0, &spans(500));
    // With no memory for any body, who is refused still hears why.
    let hog = running.host.budget.take(running.host.budget.hard() - running.host.budget.used() - (8 << 20)).unwrap();
    for round in 0..500 {
        let reply = client.grpc(TRACES, &[("authorization", "Bearer wrong")], &body).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(16), "round {round}");
    }
    drop(hog);
    let reply = client.grpc(TRACES, &[("authorization", "Bearer right")], &body).await.unwrap();
    assert_eq!((reply.grpc_status(), client.is_ended()), (Some(0), false));

    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    let body = spans(500);
    for (token, status) in [("wrong", "401"), ("wrong", "401"), ("right", "200")] {
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{token}: {answer}");
    }
    assert_eq!(running.sink.items(), 1000);
}

#[tokio::test]
async fn scheme_and_header_are_the_configurations() {
    let running = behind_bearer("{token: key, scheme: ApiKey, header: x-api-key}").await;
    assert_eq!(post(&running, &[("x-api-key", "ApiKey key")]).await.status, 200);
    for headers in [("authorization", "ApiKey key"), ("x-api-key", "key"), ("x-api-key", "Bearer key")] {
        let reply = post(&running, &[headers]).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("ApiKey")), "{headers:?}");
    }
    let running = behind_bearer("{token: key, scheme: ''}").await;
    assert_eq!(post(&running, &[("authorization", "key")]).await.status, 200);
    assert_eq!(post(&running, &[("authorization", "Bearer key")]).await.status, 401);
}

#[tokio::test]
async fn a_lock_on_one_protocol_is_no_open_door_on_the_other_port() {
    let lock = "{endpoint: '127.0.0.1:0', auth: {authenticator: bearertokenauth}}";
    let open = "{endpoint: '127.0.0.1:0'}";
    let yaml = format!("protocols: {{grpc: {lock}, http: {open}}}");
    let (running, _) = Running::behind(&bearer::FACTORY, "{token: right}", &yaml).await;
    for address in [running.grpc(), running.http()] {
        let reply = H2::connect(address).await.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(16), "gRPC is locked on every port");
    }
    let by_http = |address| async move { http1(address, "POST", "/v1/traces", &[PROTOBUF], &spans(1)).await.status };
    assert_eq!((by_http(running.grpc()).await, by_http(running.http()).await), (401, 200));
}

#[tokio::test]
async fn preflights_and_health_are_answered_without_a_credential_and_pages_may_read_the_refusal() {
    let lock = "{endpoint: '127.0.0.1:0', auth: {authenticator: bearertokenauth}, cors: {allowed_origins: ['https://a.example'], allowed_headers: [authorization]}}";
    let grpc = "{endpoint: '127.0.0.1:0', auth: {authenticator: bearertokenauth}}";
    let yaml = format!("protocols: {{http: {lock}, grpc: {grpc}}}");
    let (running, _) = Running::behind(&bearer::FACTORY, "{token: right}", &yaml).await;
    let asks = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    assert_eq!(http1(running.http(), "OPTIONS", "/v1/traces", &asks, b"").await.status, 204);
    let refused = post(&running, &[asks[0]]).await;
    let allowed = refused.header("access-control-allow-origin").map(str::to_owned);
    assert_eq!((refused.status, allowed.as_deref()), (401, Some("https://a.example")));
    let health = "/grpc.health.v1.Health/Check";
    let reply = H2::connect(running.grpc()).await.grpc(health, &[], &framed(0, b"")).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(0), "{reply:?}");
}

#[tokio::test]
async fn before_the_authenticator_has_started_nobody_is_let_in_and_may_come_again() {
    let running = Running::with(&locked("bearertokenauth"), Budget::new(1 << 30, 1 << 30), &Signal::ALL).await;
    let reply = post(&running, &[("authorization", "Bearer right")]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    let body = framed(0, &spans(1));
    let reply = H2::connect(running.grpc()).await.grpc(TRACES, &[], &body).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(14));
    check::extension(&running.host, &bearer::FACTORY, "{token: right}").start().await.unwrap();
    assert_eq!(post(&running, &[("authorization", "Bearer right")]).await.status, 200);
    assert_eq!(running.sink.items(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_again_and_an_empty_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "old\nother\n").unwrap();
    let body = format!("{{filename: {}}}", file.display());
    let (running, extension) = Running::behind(&bearer::FACTORY, &body, &locked("bearertokenauth")).await;
    let checked = |token: &'static str| {
        let slot = running.host.authenticators.server("bearertokenauth");
        let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, token.parse().unwrap())]);
        let known =
            matches!(slot.current().unwrap().check(&headers), podgate::core::stage::auth::Checking::Known(Ok(_)));
        known
    };
    let until = async |wanted: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !wanted() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
            sleep(Duration::from_secs(1)).await;
        }
    };
    assert!(checked("Bearer old") && checked("Bearer other") && !checked("Bearer new"));
    std::fs::write(&file, "new\n").unwrap();
    until(&|| checked("Bearer new")).await;
    assert!(!checked("Bearer old"), "what is no longer in the file is not let in");
    let state = || running.host.status.all()["extensions::bearertokenauth::filename"].state;
    for broken in ["", "kanari with blanks\n"] {
        std::fs::write(&file, broken).unwrap();
        until(&|| state() == State::Degraded).await;
        assert!(checked("Bearer new"), "the tokens read before stay");
        let told = running.host.status.all()["extensions::bearertokenauth::filename"].message.clone();
        assert!(told.contains("filename") && !told.contains("kanari"), "{told}");
        std::fs::write(&file, "new\n").unwrap();
        until(&|| state() == State::Ok).await;
    }
    extension.drain(Instant::now() + Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_token_file_that_is_not_there_keeps_the_gateway_from_starting() {
    let host = podgate::core::stage::host::Host::new(Budget::unlimited());
    let missing = check::extension(&host, &bearer::FACTORY, "{filename: /nowhere/tokens}");
    let error = missing.start().await.expect_err("no file");
    assert!(error.message.contains("/nowhere/tokens"), "{error:?}");
}

/// `user:password` in base64.
const ANN: (&str, &str) = ("authorization", "Basic YW5uOnNlY3JldA==");
const ANN_WRONG: (&str, &str) = ("authorization", "Basic YW5uOndyb25n");
/// Of "secret", at cost 4: written by this crate's bcrypt, as `htpasswd -nbB -C 4` writes it.
fn htpasswd(cost: u32) -> String {
    format!("ann:{}\nbob:plain\n", bcrypt::hash("secret", cost).unwrap())
}

async fn behind_basic(inline: &str) -> Running {
    let body = format!("{{htpasswd: {{inline: {inline:?}}}}}");
    Running::behind(&basic::FACTORY, &body, &locked("basicauth")).await.0
}

#[tokio::test]
async fn users_of_an_htpasswd_are_let_in_and_known_by_name() {
    let running = behind_basic(&htpasswd(4)).await;
    for _ in 0..2 {
        assert_eq!(post(&running, &[ANN]).await.status, 200);
    }
    assert_eq!(post(&running, &[("authorization", "basic Ym9iOnBsYWlu")]).await.status, 200);
    let reply = H2::connect(running.grpc()).await.grpc(TRACES, &[ANN], &framed(0, &spans(1))).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(0));
    let names: Vec<String> = {
        let payloads = running.sink.payloads.lock().unwrap();
        let identity = |at: usize| payloads[at].origin.identity.clone().unwrap();
        (0..4).map(|at| identity(at).attribute("username").unwrap().to_owned()).collect()
    };
    assert_eq!(names, ["ann", "ann", "bob", "ann"]);
    let wrong = [
        ANN_WRONG,
        ("authorization", "Basic"),
        ("authorization", "Basic !!!"),
        ("authorization", "Basic YW5u"),
        ("authorization", "Basic /////w=="),
        ("authorization", "Basic bm9ib2R5OnNlY3JldA=="),
        ("authorization", "Bearer YW5uOnNlY3JldA=="),
        ("x-other", "Basic YW5uOnNlY3JldA=="),
    ];
    for header in wrong {
        let reply = post(&running, &[header]).await;
        let challenge = reply.header("www-authenticate").unwrap_or_default().to_owned();
        assert!(reply.status == 401 && challenge.starts_with("Basic realm="), "{header:?} {reply:?}");
    }
    assert_eq!(running.sink.items(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_try_passwords_take_a_bounded_part_and_keep_nobody_out_who_is_known() {
    let running = behind_basic(&htpasswd(10)).await;
    assert_eq!(post(&running, &[ANN]).await.status, 200);
    let tries = (0..200).map(|at| {
        let password = format!("ann:guess {at}");
        let mut text = b"Basic ".to_vec();
        podgate::otlp::json::base64::encode(&mut text, password.as_bytes());
        let header = String::from_utf8(text).unwrap();
        let running = &running;
        async move { post(running, &[("authorization", &header)]).await.status }
    });
    let honest = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(post(&running, &[ANN]).await.status, 200);
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (statuses, slowest) = tokio::join!(futures_util::future::join_all(tries), honest);
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    println!("401: {}, 503: {}, the slowest honest request took {slowest:?}", count(401), count(503));
    assert!(count(401) > 0 && count(503) > 0 && count(401) + count(503) == 200, "{statuses:?}");
    assert_eq!(running.sink.items(), 102);
}
