//! Authenticators that ask: API keys of Elasticsearch and tokens of pods. Who is let in, what is asked how often, and what
//! senders hear while nobody answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use podgate::core::diagnostic::Severity;
use podgate::core::node::{Place, SourceId};
use podgate::core::report::status::State;
use podgate::core::stage::commands::probe::ProbeHealth;
use podgate::core::stage::component::ComponentId;
use podgate::core::stage::factory::{CheckContext, Checks, ExtensionFactory};
use podgate::extensions::authenticators::asking::{api_key, token_review};
use podgate::net::pages::page::{PageFn, PageRequest, PageResponse, serve};
use podgate::otlp::json::base64;
use podgate::testing::check;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::harness::{H2, Reply, Running, TRACES, framed, http1, spans};

/// A server that answers by a function and remembers what it was asked.
struct Asked {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<PageRequest>>>,
    _stop: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Asked {
    async fn start(answer: impl Fn(&PageRequest) -> (u16, Value) + Send + Sync + 'static) -> Asked {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<PageRequest>>>::default());
        let (remembered, answer) = (seen.clone(), Arc::new(answer));
        let pages: PageFn = Arc::new(move |request: PageRequest| {
            let (status, body) = answer(&request);
            remembered.lock().unwrap().push(request);
            Box::pin(async move {
                match status {
                    // It says nothing.
                    0 => std::future::pending().await,
                    status => PageResponse::json(status, &body),
                }
            })
        });
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, pages, stopped));
        Asked { address, seen, _stop: stop, _task: task }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn last(&self) -> (PageRequest, Value) {
        let last = self.seen.lock().unwrap().last().cloned().unwrap();
        let body = serde_json::from_slice(&last.body).unwrap_or(Value::Null);
        (last, body)
    }
}

async fn behind(factory: &ExtensionFactory, body: &str) -> Running {
    let door = format!("{{endpoint: '127.0.0.1:0', auth: {{authenticator: {}}}}}", factory.about.name);
    Running::behind(factory, body, &format!("protocols: {{grpc: {door}, http: {door}}}")).await.0
}

async fn post(running: &Running, headers: &[(&str, &str)]) -> Reply {
    let all: Vec<_> =
        std::iter::once(("content-type", "application/x-protobuf")).chain(headers.iter().copied()).collect();
    http1(running.http(), "POST", "/v1/traces", &all, &spans(1)).await
}

async fn status(running: &Running, credential: &str) -> u16 {
    post(running, &[("authorization", credential)]).await.status
}

fn attribute(running: &Running, name: &str) -> Option<String> {
    let payloads = running.sink.payloads.lock().unwrap();
    payloads.last().unwrap().origin.identity.as_ref().unwrap().attribute(name).map(str::to_owned)
}

fn key(id: &str, secret: &str) -> String {
    let mut text = b"ApiKey ".to_vec();
    base64::encode(&mut text, format!("{id}:{secret}").as_bytes());
    String::from_utf8(text).unwrap()
}

/// Elasticsearch's security API, as far as it is asked: a key's secret is `secret`, and `reader` lacks the privilege.
fn security(request: &PageRequest) -> (u16, Value) {
    let good = |id: &str| request.header("authorization") == Some(&key(id, "secret"));
    if !good("writer") && !good("reader") {
        return (401, json!({"error": {"type": "security_exception"}, "status": 401}));
    }
    (200, json!({"username": "ann", "has_all_requested": good("writer"), "application": {}}))
}

const APPLICATIONS: &str =
    "application_privileges: [{application: apm, privileges: ['event:write'], resources: ['-']}]";

#[tokio::test]
async fn a_key_with_the_privileges_is_let_in_and_asked_about_once() {
    let elastic = Asked::start(security).await;
    let body = format!("{{endpoint: 'http://{}/base/', {APPLICATIONS}}}", elastic.address);
    let running = behind(&api_key::FACTORY, &body).await;
    let writer = key("writer", "secret");
    for _ in 0..3 {
        assert_eq!(status(&running, &writer).await, 200);
        let headers = [("authorization", writer.as_str())];
        let reply = H2::connect(running.grpc()).await.grpc(TRACES, &headers, &framed(0, &spans(1))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(0));
    }
    assert_eq!(elastic.count(), 1);
    let (asked, question) = elastic.last();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/base/_security/user/_has_privileges"));
    let wanted = json!({"application": [{"application": "apm", "privileges": ["event:write"], "resources": ["-"]}]});
    assert_eq!(question, wanted);
    let known = ["subject", "api_key", "username"].map(|name| attribute(&running, name).unwrap());
    assert_eq!(known, ["writer", "writer", "ann"]);
    for (credential, expected) in [
        (key("writer", "kanari"), 401),
        (key("reader", "secret"), 403),
        (key("nobody", "secret"), 401),
        ("ApiKey writer:secret".to_owned(), 401),
        (writer.replace("ApiKey", "Bearer"), 401),
        (String::new(), 401),
    ] {
        let refused = post(&running, &[("authorization", &credential)]).await;
        assert_eq!(refused.status, expected, "{credential}");
        assert_eq!(refused.header("www-authenticate"), (expected == 401).then_some("ApiKey"));
        assert!(!String::from_utf8_lossy(&refused.body).contains("kanari"));
        let headers = [("authorization", credential.as_str())];
        let reply = H2::connect(running.grpc()).await.grpc(TRACES, &headers, &framed(0, &spans(1))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(if expected == 401 { 16 } else { 7 }), "{credential}");
    }
    assert_eq!(elastic.count(), 4, "what can be no key is not asked about, refusals are remembered");
    assert_eq!(running.sink.items(), 6);
    assert_eq!(running.counter_with("podgate_authenticator_checks", "forbidden"), 2);
    running.assert_balance();
}

#[tokio::test]
async fn without_privileges_a_key_that_is_known_is_enough() {
    let elastic = Asked::start(security).await;
    let running = behind(&api_key::FACTORY, &format!("{{endpoint: 'http://{}'}}", elastic.address)).await;
    assert_eq!(status(&running, &key("reader", "secret")).await, 200);
    assert_eq!(elastic.last().0.path, "/_security/_authenticate");
    assert_eq!(status(&running, &key("reader", "wrong")).await, 401);
}

#[tokio::test]
async fn resources_come_from_the_senders_headers_and_a_verdict_holds_for_them_alone() {
    let elastic = Asked::start(|request| {
        let text = String::from_utf8_lossy(&request.body).into_owned();
        (200, json!({"username": "ann", "has_all_requested": !text.contains("tenant:b")}))
    })
    .await;
    let dynamic = "application_privileges: [{application: apm, privileges: [write], resources: [fixed], dynamic_resources: [{metadata: X-Tenant, format: 'tenant:%s'}]}]";
    let body = format!(
        "{{endpoint: 'http://{}', {dynamic}, cache: {{key_metadata: [x-tenant], key_headers: [x-region]}}}}",
        elastic.address
    );
    let running = behind(&api_key::FACTORY, &body).await;
    let writer = key("writer", "secret");
    let sent = async |tenants: &[&str], region: Option<&str>| {
        let mut headers = vec![("authorization", writer.as_str())];
        headers.extend(tenants.iter().map(|tenant| ("x-tenant", *tenant)));
        headers.extend(region.map(|region| ("x-region", region)));
        post(&running, &headers).await.status
    };
    assert_eq!(sent(&["a"], Some("eu")).await, 200);
    assert_eq!(elastic.last().1["application"][0]["resources"], json!(["fixed", "tenant:a"]));
    assert_eq!(sent(&["b"], Some("eu")).await, 403, "another tenant is another question");
    assert_eq!(sent(&["a"], Some("eu")).await, 200);
    assert_eq!(elastic.count(), 2);
    assert_eq!(sent(&["a"], Some("us")).await, 200);
    assert_eq!(sent(&["a", "c"], Some("eu")).await, 200);
    assert_eq!(elastic.last().1["application"][0]["resources"], json!(["fixed", "tenant:a", "tenant:c"]));
    assert_eq!((sent(&[], Some("eu")).await, sent(&["a"], None).await), (401, 401));
    assert_eq!(elastic.count(), 4);
}

#[tokio::test]
async fn while_elasticsearch_gives_no_answer_strangers_may_come_again_and_the_known_go_on() {
    let answers = Arc::new(Mutex::new(200u16));
    let now = answers.clone();
    let elastic = Asked::start(move |request| match *now.lock().unwrap() {
        200 => security(request),
        other => (other, json!({"kanari": "an inner word"})),
    })
    .await;
    let body = format!("{{endpoint: 'http://{}', {APPLICATIONS}, timeout: 300ms}}", elastic.address);
    let running = behind(&api_key::FACTORY, &body).await;
    assert_eq!(status(&running, &key("writer", "secret")).await, 200);
    for fault in [500, 429, 302, 0] {
        *answers.lock().unwrap() = fault;
        tokio::time::sleep(Duration::from_millis(600)).await;
        let refused = post(&running, &[("authorization", &key("reader", "secret"))]).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{fault}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("kanari"), "{fault}");
        assert_eq!(status(&running, &key("writer", "secret")).await, 200, "{fault}: who is known goes on");
        assert_eq!(running.host.status.all()["extensions::apikeyauth"].state, State::Degraded, "{fault}");
    }
    *answers.lock().unwrap() = 200;
    let mut last = 503;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        last = status(&running, &key("reader", "secret")).await;
        if last != 503 {
            break;
        }
    }
    assert_eq!(last, 403, "nothing of it was remembered");
    assert_eq!(running.host.status.all()["extensions::apikeyauth"].state, State::Ok);
}

/// A token in the form of a service account's, for an audience.
fn token(name: &str, audience: &str) -> String {
    let mut text = b"Bearer e30.".to_vec();
    base64::encode(&mut text, format!("{{\"aud\":[{audience:?}],\"sub\":{name:?},\"exp\":99999999999}}").as_bytes());
    text.extend_from_slice(b".c2lnbmF0dXJl");
    String::from_utf8(text).unwrap()
}

/// The API server's TokenReview: `web` is a pod's token of shop/web, everything else is unknown.
fn review(request: &PageRequest) -> (u16, Value) {
    let question: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(request.path, "/apis/authentication.k8s.io/v1/tokenreviews");
    assert_eq!(
        (&question["kind"], &question["apiVersion"]),
        (&json!("TokenReview"), &json!("authentication.k8s.io/v1"))
    );
    let known = format!("Bearer {}", question["spec"]["token"].as_str().unwrap()) == token("web", "podgate");
    let status = match known {
        false => json!({"user": {}, "error": "invalid bearer token, kanari"}),
        true => json!({
            "authenticated": true,
            "audiences": question["spec"]["audiences"],
            "user": {"username": "system:serviceaccount:shop:web", "extra": {
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["uid-of-web-1"],
            }},
        }),
    };
    (201, json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status}))
}

#[tokio::test]
async fn a_pods_token_is_let_in_by_the_api_servers_word_and_tells_the_pod() {
    let server = Asked::start(review).await;
    let api = format!("api_server: 'http://{}'", server.address);
    let running = behind(&token_review::FACTORY, &format!("{{{api}}}")).await;
    for _ in 0..5 {
        assert_eq!(status(&running, &token("web", "podgate")).await, 200);
    }
    assert_eq!(server.count(), 1);
    let told: BTreeMap<&str, String> = ["subject", "namespace", "service_account", "pod_name", "pod_uid"]
        .into_iter()
        .map(|name| (name, attribute(&running, name).unwrap()))
        .collect();
    assert_eq!((told["subject"].as_str(), told["pod_uid"].as_str()), ("shop/web-1", "uid-of-web-1"));
    assert_eq!((told["namespace"].as_str(), told["service_account"].as_str()), ("shop", "web"));
    for (credential, asks) in [
        (token("evil", "podgate"), 1),
        (token("evil", "podgate"), 0),
        // The API server hears nothing of what is no token for podgate.
        (token("web", "https://kubernetes.default.svc"), 0),
        ("Bearer opaque".to_owned(), 0),
        ("Basic YTpi".to_owned(), 0),
        (String::new(), 0),
    ] {
        let before = server.count();
        let refused = post(&running, &[("authorization", &credential)]).await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")), "{credential}");
        assert!(!String::from_utf8_lossy(&refused.body).contains("kanari"), "{credential}");
        assert_eq!(server.count() - before, asks, "{credential}");
    }
    for (more, expected) in [
        ("namespaces: [shop]", 200),
        ("namespaces: [bank]", 403),
        ("service_accounts: [shop/web]", 200),
        ("service_accounts: [bank/web, shop/other]", 403),
        ("pods_only: true", 200),
        ("audiences: [other]", 401),
    ] {
        let running = behind(&token_review::FACTORY, &format!("{{{api}, {more}}}")).await;
        assert_eq!(status(&running, &token("web", "podgate")).await, expected, "{more}");
    }
}

#[tokio::test]
async fn an_api_server_that_denies_the_right_or_is_away_is_no_refusal_of_the_sender() {
    for (answer, why) in [(403, "authentication.k8s.io"), (401, "own credentials"), (500, "500"), (0, "within")] {
        let server = Asked::start(move |_| (answer, json!({"kanari": 1}))).await;
        let body = format!("{{api_server: 'http://{}', timeout: 300ms}}", server.address);
        let running = behind(&token_review::FACTORY, &body).await;
        let refused = post(&running, &[("authorization", &token("web", "podgate"))]).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{answer}");
        let state = running.host.status.all()["extensions::k8s_token_review"].clone();
        assert!(state.state == State::Degraded && state.message.contains(why), "{answer}: {state:?}");
    }
}

/// What `doctor` hears of an authenticator.
async fn examined(factory: &ExtensionFactory, body: &str) -> Vec<(ProbeHealth, String)> {
    let plan = check::sound(&format!("extensions::{}", factory.about.name), body, factory.check);
    let report = plan.probe().expect("it has a question").ask().await;
    report.findings.into_iter().map(|finding| (finding.health, finding.message)).collect()
}

#[tokio::test]
async fn doctor_asks_whether_elasticsearch_tells_keys_apart() {
    for (answers, health, words) in [
        (401, ProbeHealth::Good, "refuses a key that is made up"),
        (200, ProbeHealth::Bad, "everybody is let in"),
        (405, ProbeHealth::Bad, "answers 405"),
    ] {
        let elastic = Asked::start(move |_| (answers, json!({}))).await;
        let found = examined(&api_key::FACTORY, &format!("{{endpoint: 'http://{}/base'}}", elastic.address)).await;
        assert!(found.len() == 1 && found[0].0 == health && found[0].1.contains(words), "{found:?}");
        assert_eq!(elastic.last().0.path, "/base/_security/_authenticate");
    }
    let found = examined(&api_key::FACTORY, "{endpoint: 'http://127.0.0.1:1'}").await;
    assert!(found[0].0 == ProbeHealth::Bad && found[0].1.contains("cannot be asked"), "{found:?}");
}

#[tokio::test]
async fn doctor_asks_for_the_right_to_create_token_reviews() {
    for (allowed, health) in [(true, ProbeHealth::Good), (false, ProbeHealth::Bad)] {
        let server = Asked::start(move |_| (201, json!({"status": {"allowed": allowed}}))).await;
        let body = format!("{{api_server: 'http://{}'}}", server.address);
        let found = examined(&token_review::FACTORY, &body).await;
        assert!(found[0].0 == health && found[0].1.contains("create tokenreviews"), "{found:?}");
        let (asked, question) = server.last();
        assert_eq!(asked.path, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        let wanted =
            json!({"namespace": "", "verb": "create", "group": "authentication.k8s.io", "resource": "tokenreviews"});
        assert_eq!(question["spec"]["resourceAttributes"], wanted);
    }
    let found = examined(&token_review::FACTORY, "{api_server: 'http://127.0.0.1:1'}").await;
    assert!(found[0].0 == ProbeHealth::Bad && found[0].1.contains("cannot be asked"), "{found:?}");
}

#[tokio::test]
async fn questions_about_keys_go_by_a_proxy() {
    let proxy = Asked::start(security).await;
    let body = format!("{{endpoint: 'http://es.invalid:9200', proxy_url: 'http://{}'}}", proxy.address);
    let running = behind(&api_key::FACTORY, &body).await;
    assert_eq!(status(&running, &key("writer", "secret")).await, 200);
    assert_eq!(proxy.last().0.header("host"), Some("es.invalid:9200"));
}

#[test]
fn each_setting_has_its_finding() {
    let found = |factory: &ExtensionFactory, body: &str| {
        let checks = Checks::default();
        let node = podgate::config::read::yaml::parse(body, SourceId(0), &checks.diagnostics).expect("YAML");
        let id = ComponentId::parse(factory.about.name).unwrap();
        let cx = CheckContext { id: &id, path: "x".to_owned(), place: Place::default(), checks: &checks };
        let _ = (factory.check)(&cx, &node);
        let all = checks.diagnostics.sorted();
        let told = |severity: Severity| all.iter().filter(move |finding| finding.severity == severity);
        let told: Vec<String> = told(Severity::Error)
            .chain(told(Severity::Warning))
            .map(|finding| format!("{} {}", finding.code, finding.path.trim_start_matches("x::")))
            .collect();
        told.join(", ")
    };
    let good = "endpoint: 'https://e:9200'";
    let wanted = |inner: &str| format!("{{{good}, application_privileges: [{{{inner}}}]}}");
    for (body, expected) in [
        (format!("{{{good}}}"), ""),
        ("{endpoint: 'http://e:9200'}".to_owned(), "W0406 endpoint"),
        ("{}".to_owned(), "E0204 endpoint"),
        ("{endpoint: 'e:9200'}".to_owned(), "E0203 endpoint"),
        (wanted("application: a, privileges: [b], resources: [c]"), ""),
        (wanted("privileges: [b], resources: [c]"), "E0204 application_privileges::0::application"),
        (wanted("application: a, resources: [c]"), "E0204 application_privileges::0::privileges"),
        (wanted("application: a, privileges: [b]"), "E0204 application_privileges::0::resources"),
        (
            wanted("application: a, privileges: [b], dynamic_resources: [{metadata: x, format: '%d'}]"),
            "E0203 application_privileges::0::dynamic_resources::0::format",
        ),
        (
            wanted("application: a, privileges: [b], dynamic_resources: [{format: '%s'}]"),
            "E0204 application_privileges::0::dynamic_resources::0::metadata",
        ),
        (format!("{{{good}, cache: {{capacity: 0}}}}"), "E0203 cache::capacity"),
        (format!("{{{good}, cache: {{ttl: 0s}}}}"), "E0203 cache::ttl"),
        (format!("{{{good}, cache: {{key_headers: ['a b']}}}}"), "E0203 cache::key_headers"),
        (format!("{{{good}, cache: {{pbkdf2_iterations: 1000}}}}"), "W0402 cache::pbkdf2_iterations"),
        (format!("{{{good}, elasticsearch_retry: {{enabled: true}}}}"), "W0402 elasticsearch_retry"),
        (format!("{{{good}, proxy_url: 'http://p:1'}}"), ""),
        (format!("{{{good}, proxy_url: 'socks5://p:1'}}"), "E0203 proxy_url"),
        (format!("{{{good}, tls: {{insecure_skip_verify: true}}}}"), "W0406 tls::insecure_skip_verify"),
        (format!("{{{good}, tiemout: 1s}}"), "E0201 tiemout"),
    ] {
        assert_eq!(found(&api_key::FACTORY, &body), expected, "{body}");
    }
    for (body, expected) in [
        ("{}", ""),
        ("{audiences: []}", "E0203 audiences"),
        ("{audiences: ['']}", "E0203 audiences"),
        ("{service_accounts: [web]}", "E0203 service_accounts"),
        ("{cache: {ttl: 0s}}", "E0203 cache::ttl"),
        ("{cache: {capacity: 0}}", "E0203 cache::capacity"),
        ("{auth_type: magic}", "E0203 auth_type"),
        ("{context: dev}", "W0403 context"),
        ("{pods_only: maybe}", "E0202 pods_only"),
        ("{audience: podgate}", "E0201 audience"),
    ] {
        assert_eq!(found(&token_review::FACTORY, body), expected, "{body}");
    }
}
