//! What is found on the machine is written into resources by the rules of `override`, and a detector that fails keeps
//! nothing back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use podgate::core::budget::Budget;
use podgate::core::diagnostic::{Severity, code};
use podgate::core::factory::Environment;
use podgate::core::host::Host;
use podgate::core::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::otlp::attributes::find;
use podgate::otlp::edit::Appender;
use podgate::otlp::walk::AnyValue;
use podgate::processors::resource_detection::FACTORY;
use podgate::testing::stage::{Bench, bench_of, check_in, errors};
use podgate::testing::telemetry;

fn environment(variables: &'static [(&str, &str)]) -> Environment {
    Environment::of(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

async fn started(body: &str, variables: &'static [(&str, &str)]) -> Bench {
    let (plan, found) = check_in(&FACTORY, body, environment(variables));
    let plan = plan.unwrap_or_else(|| panic!("{body}: {found:?}"));
    let bench = bench_of(&*plan, "resource_detection", Signal::Traces, Host::new(Budget::unlimited()));
    let component = bench.component.as_ref().expect("it has a lifecycle");
    component.start().await.expect("starts");
    bench
}

/// What becomes of a resource with `service.name`, `env` and an empty `zone`.
fn through(bench: &Bench) -> impl Fn(&str) -> Option<String> + use<> {
    let mut edit = Appender::new(b"").expect("valid");
    [("service.name", "cart"), ("env", "test"), ("zone", "")].iter().for_each(|(key, value)| edit.append(key, *value));
    let mut payload = telemetry::payload(Signal::Traces, telemetry::traces(2, UnixNanos(0), 1), UnixNanos(0));
    payload.envelope.groups[0].resource = Some(edit.finish());
    let resource = bench.send(payload).remove(0).envelope.groups.remove(0).resource.expect("a resource");
    move |key| match find(&resource, key) {
        Some(AnyValue::Str(text)) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

const VARIABLES: &[(&str, &str)] =
    &[("OTEL_RESOURCE_ATTRIBUTES", "env=prod,zone=eu-1,team=shop%20a"), ("K8S_NODE_NAME", "node-7")];

#[tokio::test]
async fn detected_attributes_replace_or_only_fill() {
    let replaced = through(&started("{}", VARIABLES).await);
    assert_eq!(
        ["service.name", "env", "zone", "team"].map(|key| replaced(key).unwrap()),
        ["cart", "prod", "eu-1", "shop a"]
    );
    let filled = through(&started("{override: false}", VARIABLES).await);
    assert_eq!(["service.name", "env", "zone", "team"].map(|key| filled(key).unwrap()), ["cart", "test", "", "shop a"]);
}

#[tokio::test]
async fn nothing_found_leaves_every_resource_the_slice_it_was() {
    let bench = started("{detectors: [env]}", &[]).await;
    let payload = telemetry::payload(Signal::Logs, telemetry::logs(1, UnixNanos(0)), UnixNanos(0));
    let before = payload.envelope.groups[0].resource.clone().expect("a resource").as_ptr();
    let after = bench.send(payload).remove(0).envelope.groups[0].resource.clone().expect("a resource");
    assert_eq!(after.as_ptr(), before);
}

/// An API server that gives every request this answer.
fn api_server(status: &'static str, body: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            assert!(request[..read].starts_with(b"GET /api/v1/nodes/node-7 "));
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[tokio::test]
async fn the_nodes_uid_comes_from_the_api_server_and_its_name_without_it() {
    for (status, body, uid) in [
        ("200 OK", r#"{"kind":"PartialObjectMetadata","metadata":{"name":"node-7","uid":"u-7"}}"#, Some("u-7")),
        ("403 Forbidden", "{}", None),
        ("200 OK", "not JSON", None),
    ] {
        let address = api_server(status, body);
        let config = format!("{{detectors: [k8s_api], k8s_api: {{podgate: {{api_server: 'http://{address}'}}}}}}");
        let bench = started(&config, VARIABLES).await;
        let resource = through(&bench);
        assert_eq!(resource("k8s.node.name").as_deref(), Some("node-7"), "{status} {body}");
        assert_eq!(resource("k8s.node.uid").as_deref(), uid, "{status} {body}");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        bench.component.as_ref().expect("a lifecycle").drain(deadline).await;
    }
}

#[tokio::test]
async fn only_enabled_attributes_are_written() {
    let body = "{detectors: [k8s_api, system], k8s_api: {resource_attributes: {k8s.node.uid: {enabled: false}}}, \
                system: {hostname_sources: [os], resource_attributes: {host.name: {enabled: false}, host.arch: {enabled: true}}}}";
    let resource = through(&started(body, VARIABLES).await);
    assert_eq!((resource("k8s.node.name").as_deref(), resource("k8s.node.uid")), (Some("node-7"), None));
    assert_eq!((resource("host.name"), resource("os.type").as_deref()), (None, Some("linux")));
    assert!(resource("host.arch").is_some());
}

#[test]
fn a_faulty_body_is_refused_at_the_fault() {
    let table = [
        ("{detectors: [env, docker]}", "detectors::1", "not supported yet"),
        ("{detectors: [sytem]}", "detectors::0", "no detector"),
        ("{detectors: [k8s_api]}", "detectors", "K8S_NODE_NAME is not set"),
        ("{detectors: [k8s_api], k8s_api: {node_from_env_var: NODE}}", "k8s_api", "NODE is not set"),
        ("{system: {hostname_sources: [cname]}}", "system::hostname_sources", "not supported yet"),
        ("{system: {hostname_sources: [ip]}}", "system::hostname_sources", "no source"),
        (
            "{system: {resource_attributes: {host.nmae: {enabled: true}}}}",
            "system::resource_attributes::host.nmae",
            "unknown",
        ),
        (
            "{system: {resource_attributes: {os.name: {enabled: true}}}}",
            "system::resource_attributes::os.name",
            "not supported yet",
        ),
        ("{timeout: 0s}", "timeout", "cannot have"),
        ("{refresh_interval: 1ms}", "refresh_interval", "that often"),
        ("{attributes: [host.name]}", "attributes", "removed"),
        ("{overrride: true}", "overrride", "unknown key"),
    ];
    for (body, path, message) in table {
        let errors = errors(&FACTORY, body);
        assert!(errors.len() == 1 && errors[0].0 == path && errors[0].1.contains(message), "{body}: {errors:?}");
    }
}

#[test]
fn old_names_and_blocks_of_other_detectors_are_taken() {
    let body = "{detectors: [k8snode, env, env], eks: {resource_attributes: {k8s.cluster.name: {enabled: true}}}, \
                k8snode: {node_from_env_var: K8S_NODE_NAME}, system: {resource_attributes: {os.name: {enabled: false}}}, \
                fail_on_missing_metadata: true}";
    let (plan, found) = check_in(&FACTORY, body, environment(VARIABLES));
    assert!(plan.is_some(), "{found:?}");
    let codes: Vec<_> = found.iter().map(|finding| (finding.severity, finding.code)).collect();
    assert_eq!(codes, [(Severity::Warning, code::DEPRECATED), (Severity::Warning, code::IGNORED_KEY)]);
}
