//! What is found on the machine is written into resources by the rules of `override`, and a detector that fails keeps
//! nothing back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::diagnostic::{Severity, code};
use podgate::core::stage::factory::Environment;
use podgate::core::stage::host::Host;
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
    payload.envelope.groups[0].resource = Some(edit.finish().expect("unlimited"));
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

/// A server that answers as it is told, by the first line of the request and the rest of its head.
fn server(answer: impl Fn(&str, &str) -> (&'static str, &'static str) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
            let (first, rest) = head.split_once("\r\n").unwrap_or_default();
            let (status, body) = answer(first.trim_end_matches(" http/1.1"), rest);
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn api_server(status: &'static str, body: &'static str) -> SocketAddr {
    server(move |request, _| match request {
        "get /api/v1/nodes/node-7" => (status, body),
        _ => ("404 Not Found", "{}"),
    })
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
        ("{ec2: {tags: ['^a$']}}", "ec2::tags", "not supported yet"),
        ("{gcp: {podgate: {endpoint: 'ftp://x y'}}}", "gcp", ""),
        ("{refresh_interval: 1ms}", "refresh_interval", "so often"),
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

const CLUSTER: &[(&str, &str)] = &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")];

/// The attributes that a detector of a cloud finds with these answers, in the order named.
async fn found<const N: usize>(
    detector: &str,
    variables: &'static [(&str, &str)],
    keys: [&str; N],
    answer: impl Fn(&str, &str) -> (&'static str, &'static str) + Send + 'static,
) -> [Option<String>; N] {
    let address = server(answer);
    let body = format!("{{detectors: [{detector}], {detector}: {{podgate: {{endpoint: 'http://{address}'}}}}}}");
    let bench = started(&body, variables).await;
    let resource = through(&bench);
    bench.component.as_ref().expect("a lifecycle").drain(tokio::time::Instant::now() + Duration::from_secs(5)).await;
    keys.map(resource)
}

fn texts<const N: usize>(texts: [&str; N]) -> [Option<String>; N] {
    texts.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()))
}

const IDENTITY: &str = r#"{"accountId":"123","availabilityZone":"eu-1a","region":"eu-1","instanceId":"i-7","imageId":"ami-1",
    "instanceType":"m5.large","version":"2017-09-30"}"#;

#[tokio::test]
async fn ec2_is_asked_with_a_token_and_without_where_there_is_none() {
    let keys = [
        "cloud.provider",
        "cloud.platform",
        "cloud.account.id",
        "cloud.region",
        "cloud.availability_zone",
        "host.id",
        "host.image.id",
        "host.type",
        "host.name",
    ];
    let wanted = texts(["aws", "aws_ec2", "123", "eu-1", "eu-1a", "i-7", "ami-1", "m5.large", "ip-10-0-0-7"]);
    for with_token in [true, false] {
        let is = found("ec2", &[], keys, move |request, head| match request {
            "put /latest/api/token" if with_token && head.contains("token-ttl-seconds: 300") => ("200 OK", "t0"),
            _ if with_token && !head.contains("x-aws-ec2-metadata-token: t0") => ("401 Unauthorized", ""),
            "get /latest/dynamic/instance-identity/document" => ("200 OK", IDENTITY),
            "get /latest/meta-data/hostname" => ("200 OK", "ip-10-0-0-7\n"),
            _ => ("404 Not Found", ""),
        });
        assert_eq!(is.await, wanted, "token: {with_token}");
    }
}

fn gcp(request: &str, head: &str) -> (&'static str, &'static str) {
    if !head.contains("metadata-flavor: google") {
        return ("403 Forbidden", "");
    }
    let answer = match request.trim_start_matches("get /computemetadata/v1/") {
        "project/project-id" => "shop",
        "instance/id" => "42",
        "instance/name" => "node-7",
        "instance/zone" => "projects/1/zones/us-central1-c",
        "instance/machine-type" => "projects/1/machineTypes/e2-small",
        "instance/attributes/cluster-name" => "blue",
        "instance/attributes/cluster-location" => "us-central1",
        _ => return ("404 Not Found", ""),
    };
    ("200 OK", answer)
}

#[tokio::test]
async fn gcp_tells_a_cluster_from_a_machine() {
    let keys = [
        "cloud.provider",
        "cloud.platform",
        "cloud.account.id",
        "cloud.region",
        "cloud.availability_zone",
        "k8s.cluster.name",
        "host.id",
        "host.name",
        "host.type",
    ];
    let machine = found("gcp", &[], keys, gcp).await;
    let wanted = ["gcp", "gcp_compute_engine", "shop", "us-central1", "us-central1-c", "", "42", "node-7", "e2-small"];
    assert_eq!(machine, texts(wanted));
    let cluster = found("gcp", CLUSTER, keys, gcp).await;
    assert_eq!(cluster, texts(["gcp", "gcp_kubernetes_engine", "shop", "us-central1", "", "blue", "42", "node-7", ""]));
}

const COMPUTE: &str = r#"{"location":"westeurope","name":"vm-7","vmId":"v","vmSize":"D2","subscriptionId":"s",
    "resourceGroupName":"MC_shop_blue_westeurope","vmScaleSetName":"","tags":""}"#;

fn azure(request: &str, head: &str) -> (&'static str, &'static str) {
    let asked = request == "get /metadata/instance/compute?api-version=2020-09-01&format=json";
    if asked && head.contains("metadata: true") { ("200 OK", COMPUTE) } else { ("400 Bad Request", "") }
}

#[tokio::test]
async fn azure_tells_the_machine_and_its_cluster() {
    let keys = [
        "cloud.provider",
        "cloud.platform",
        "cloud.region",
        "cloud.account.id",
        "host.name",
        "host.id",
        "azure.vm.name",
        "azure.vm.size",
        "azure.vm.scaleset.name",
        "azure.resourcegroup.name",
    ];
    let machine = found("azure", &[], keys, azure).await;
    let group = "MC_shop_blue_westeurope";
    assert_eq!(machine, texts(["azure", "azure_vm", "westeurope", "s", "vm-7", "v", "vm-7", "D2", "", group]));
    let keys = ["cloud.provider", "cloud.platform", "k8s.cluster.name"];
    assert_eq!(found("aks", CLUSTER, keys, azure).await, texts(["azure", "azure_aks", ""]));
    assert_eq!(found("aks", &[], keys, azure).await, texts(["", "", ""]), "no cluster, nothing said");
    let address = server(azure);
    let body = format!(
        "{{detectors: [aks], aks: {{resource_attributes: {{k8s.cluster.name: {{enabled: true}}}}, podgate: {{endpoint: 'http://{address}'}}}}}}"
    );
    assert_eq!(through(&started(&body, CLUSTER).await)("k8s.cluster.name").as_deref(), Some("blue"));
}

#[tokio::test]
async fn another_clouds_answers_say_nothing() {
    for detector in ["ec2", "gcp", "azure"] {
        let none = found(detector, CLUSTER, ["cloud.provider"], |_, _| ("200 OK", "<html>a proxy's page</html>")).await;
        assert_eq!(none, [None], "{detector}");
        let refused = found(detector, CLUSTER, ["cloud.provider"], |_, _| ("404 Not Found", "")).await;
        assert_eq!(refused, [None], "{detector}");
    }
}
