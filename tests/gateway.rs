//! The whole gateway in one process: real sockets, stock OTLP code at both ends, the balance after every drain.

mod support;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use support::{
    Sink, attribute, attribute_of, drain, eventually, free_port, get, post, post_spans, request, sheet, span, start,
};
use tokio::time::Instant;

const OK: i32 = 1;
const ERROR: i32 = 2;

/// otlp -> `processors` -> otlp_grpc without a queue; ports filled in.
fn yaml(grpc: u16, http: u16, sink: &Sink, processors: &str, list: &str) -> String {
    let address = sink.address;
    format!(
        "
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'}}
      http: {{endpoint: '127.0.0.1:{http}'}}
processors:
{processors}
exporters:
  otlp_grpc:
    endpoint: '{address}'
    tls: {{insecure: true}}
    sending_queue: {{enabled: false}}
extensions:
  admin: {{endpoint: '127.0.0.1:{}'}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{list}], exporters: [otlp_grpc]}}
",
        free_port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_goes_through_over_both_transports_and_both_ports() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let gateway = start(&yaml(grpc, http, &sink, "  batch: {timeout: 10ms}", "batch")).await;
    let mut sent = 0;
    for port in [grpc, http] {
        sent += 1;
        let resource = vec![attribute("service.name", "checkout")];
        assert_eq!(post_spans(port, &request(resource.clone(), vec![span(1, sent, OK)])).await, 200, "HTTP on {port}");
        sent += 1;
        let mut client = TraceServiceClient::connect(format!("http://127.0.0.1:{port}")).await.expect("gRPC connects");
        let answer =
            client.export(request(resource, vec![span(1, sent, OK)])).await.expect("gRPC is answered").into_inner();
        assert!(answer.partial_success.is_none(), "full success leaves partial_success unset");
    }
    let arrived = sink.spans();
    assert_eq!(arrived.len(), 4, "success was answered after delivery, so all have arrived");
    assert!(arrived.iter().all(|(resource, _)| attribute_of(resource, "service.name") == Some("checkout")));
    let sheet = &drain(gateway).await["traces"];
    assert_eq!((sheet.received, sheet.delivered), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_traces_are_kept_by_policy_and_late_spans_follow() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let sampling = "  tail_sampling: {decision_wait: 1s, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]}";
    let gateway = start(&yaml(grpc, http, &sink, sampling, "tail_sampling")).await;
    post_spans(http, &request(vec![], vec![span(1, 1, OK), span(2, 2, OK)])).await;
    post_spans(http, &request(vec![], vec![span(1, 3, ERROR)])).await;
    eventually("both traces are decided", || sheet(&gateway).delivered == 2 && sheet(&gateway).sampled_out == 1).await;
    post_spans(http, &request(vec![], vec![span(1, 4, OK), span(2, 5, ERROR)])).await;
    eventually("late spans are decided", || sheet(&gateway).delivered == 3 && sheet(&gateway).sampled_out == 2).await;
    let mut kept: Vec<u64> =
        sink.spans().iter().map(|(_, span)| u64::from_be_bytes(span.span_id[..].try_into().expect("8"))).collect();
    kept.sort_unstable();
    assert_eq!(kept, [1, 3, 4], "trace 1 whole with its late span, trace 2 not at all");
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_decides_what_is_held() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let sampling = "  tail_sampling: {decision_wait: 300s, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]}";
    let gateway = start(&yaml(grpc, http, &sink, sampling, "tail_sampling")).await;
    assert_eq!(post_spans(http, &request(vec![], vec![span(1, 1, ERROR), span(2, 2, OK)])).await, 200);
    assert_eq!(sheet(&gateway).held, 2);
    let sheet = &drain(gateway).await["traces"];
    assert_eq!((sheet.delivered, sheet.sampled_out), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_next_hop_is_the_senders_answer_and_nothing_is_lost_silently() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let text = yaml(grpc, http, &sink, "  batch: {timeout: 10ms}", "batch");
    let dead = free_port();
    let text = text.replace(&sink.address.to_string(), &format!("127.0.0.1:{dead}"));
    let text = text.replace(
        "sending_queue: {enabled: false}",
        "sending_queue: {enabled: false}\n    retry_on_failure: {enabled: false}",
    );
    let gateway = start(&text).await;
    let status = post_spans(http, &request(vec![], vec![span(1, 1, OK)])).await;
    assert_eq!(status, 503, "retryable: the sender keeps the span");
    let sheet = &drain(gateway).await["traces"];
    assert_eq!((sheet.received, sheet.refused), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn next_hops_that_are_away_are_given_up_together_as_a_process_stops() {
    let (http, dead) = (free_port(), free_port());
    let names: Vec<String> = (0..8).map(|number| format!("otlp_grpc/{number}")).collect();
    let exporters: String = names
        .iter()
        .map(|name| format!("  {name}: {{endpoint: '127.0.0.1:{dead}', tls: {{insecure: true}}}}\n"))
        .collect();
    let gateway = start(&format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
{exporters}service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{}]}}}}
",
        names.join(", ")
    ))
    .await;
    assert_eq!(post_spans(http, &request(vec![], vec![span(1, 1, OK)])).await, 200);
    let began = Instant::now();
    let sheet = &gateway.drain(Duration::from_secs(20)).await["traces"];
    let took = began.elapsed();
    assert_eq!((sheet.dropped["shutdown"], sheet.held), (8, 0), "{sheet:?}");
    assert!(took < Duration::from_secs(12), "one after the other they take three seconds each: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_walked_is_refused_and_affects_nothing_else() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let gateway = start(&yaml(grpc, http, &sink, "  batch: {timeout: 10ms}", "batch")).await;
    for body in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\xff", b"\x0a\x05\x0a"] {
        let (status, _) = post(http, "/v1/traces", "application/x-protobuf", body).await;
        assert_eq!(status, 400);
    }
    assert_eq!(post_spans(http, &request(vec![], vec![span(1, 1, OK)])).await, 200);
    assert_eq!(sink.spans().len(), 1);
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_page_shows_balance_and_components() {
    let sink = Sink::start().await;
    let (grpc, http) = (free_port(), free_port());
    let text = yaml(grpc, http, &sink, "  batch: {timeout: 10ms}", "batch");
    let admin: u16 = text
        .split("admin: {endpoint: '127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let gateway = start(&text).await;
    assert_eq!(post_spans(http, &request(vec![], vec![span(1, 1, OK)])).await, 200);
    let (status, body) = get(admin, "/v1/balance").await;
    let balance: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &balance["traces"]["delivered"]), (200, &serde_json::json!(1)));
    let (status, body) = get(admin, "/v1/components").await;
    assert!(status == 200 && String::from_utf8_lossy(&body).contains("\"otlp\""));
    assert_eq!(get(admin, "/v1/nothing").await.0, 404);
    drain(gateway).await;
}

/// One running container `app` of one pod, as `kubectl get pods -o json` prints it.
fn pods_file(uid: &str, container_id: &str) -> tempfile::NamedTempFile {
    let list = serde_json::json!({"kind": "List", "apiVersion": "v1", "items": [{
        "metadata": {"name": "cart-1", "namespace": "shop", "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "app", "restartCount": 0,
            "containerID": format!("containerd://{container_id}"),
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]},
    }]});
    let file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    std::fs::write(file.path(), list.to_string()).expect("written");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_may_ask_for_the_run_that_k8s_attributes_found_in_front_of_it() {
    let (sink, http) = (Sink::start().await, free_port());
    let (uid, id) = ("8461c26d-fa60-490f-8b41-96a0b4d346d9", "ab".repeat(32));
    let file = pods_file(uid, &id);
    let processors = format!(
        "  k8s_attributes: {{wait_for_metadata: true, podgate: {{pods_file: '{}'}}}}
  tail_sampling: {{decision_wait: 1s, policies: [{{name: run, type: string_attribute, string_attribute: \
         {{key: container.id, values: [{id}]}}}}]}}",
        file.path().display()
    );
    let gateway = start(&yaml(free_port(), http, &sink, &processors, "k8s_attributes, tail_sampling")).await;
    let made = podgate::core::time::UnixNanos::now().0 - 10_000_000_000;
    let timed = |trace| {
        let mut span = span(trace, 1, OK);
        (span.start_time_unix_nano, span.end_time_unix_nano) = (made, made + 1_000_000);
        vec![span]
    };
    post_spans(http, &request(vec![attribute("k8s.pod.uid", uid)], timed(1))).await;
    post_spans(http, &request(vec![attribute("k8s.pod.uid", "nobody")], timed(2))).await;
    eventually("both traces are decided", || sheet(&gateway).delivered == 1 && sheet(&gateway).sampled_out == 1).await;
    assert_eq!(attribute_of(&sink.spans()[0].0, "container.id"), Some(&*id));
    drain(gateway).await;
}

/// What comes out at the end of k8s_attributes, `between` and a sampler that keeps all, for a span of a known run, made ten
/// seconds ago; `None` when it does not come out.
async fn through(between: &str, names: &str) -> Option<Vec<(String, String)>> {
    let (sink, http) = (Sink::start().await, free_port());
    let (uid, id) = ("8461c26d-fa60-490f-8b41-96a0b4d346d9", "ab".repeat(32));
    let file = pods_file(uid, &id);
    let processors = format!(
        "  k8s_attributes: {{wait_for_metadata: true, podgate: {{pods_file: '{}'}}}}
{between}
  tail_sampling: {{decision_wait: 1s, policies: [{{name: all, type: always_sample}}]}}",
        file.path().display()
    );
    let list = ["k8s_attributes", names, "tail_sampling"].into_iter().filter(|name| !name.is_empty());
    let list = list.collect::<Vec<_>>().join(", ");
    let gateway = start(&yaml(free_port(), http, &sink, &processors, &list)).await;
    let made = podgate::core::time::UnixNanos::now().0 - 10_000_000_000;
    let mut one = span(1, 1, OK);
    (one.start_time_unix_nano, one.end_time_unix_nano) = (made, made + 1_000_000);
    assert_eq!(post_spans(http, &request(vec![attribute("k8s.pod.uid", uid)], vec![one])).await, 200);
    let settled = || sheet(&gateway).held == 0;
    eventually("the span is delivered or dropped", settled).await;
    let arrived = sink.spans();
    let text = |attribute: &opentelemetry_proto::tonic::common::v1::KeyValue, resource| {
        attribute_of(resource, &attribute.key).map(|value| (attribute.key.clone(), value.to_owned()))
    };
    let found = arrived
        .first()
        .map(|(resource, _)| resource.attributes.iter().filter_map(|attribute| text(attribute, resource)).collect());
    drain(gateway).await;
    found
}

fn value<'a>(attributes: &'a [(String, String)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_between_enrichment_and_sampler_finds_and_changes_the_runs_attributes() {
    let id = "ab".repeat(32);
    let filter = "  filter: {traces: {span: ['resource.attributes[\"container.id\"] == nil']}}";
    let kept = through(filter, "filter").await.expect("its run is known, so the filter does not drop it");
    assert_eq!(value(&kept, "container.id"), Some(&*id));

    let delete = "  resource: {attributes: [{key: container.id, action: delete}]}";
    let deleted = through(delete, "resource").await.expect("kept");
    assert_eq!((value(&deleted, "container.id"), value(&deleted, "container.image.name")), (None, Some("app")));

    let copy = "  transform: {trace_statements: ['set(resource.attributes[\"copied\"], resource.attributes[\"container.id\"])']}";
    let copied = through(copy, "transform").await.expect("kept");
    assert_eq!(value(&copied, "copied"), Some(&*id));

    let forget = "  resource: {attributes: [{key: k8s.pod.uid, action: delete}]}";
    let forgotten = through(forget, "resource").await.expect("kept");
    assert_eq!((value(&forgotten, "k8s.pod.uid"), value(&forgotten, "container.id")), (None, Some(&*id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_reads_nor_changes_resources_may_stand_between_and_the_run_is_bound_at_the_decision() {
    let id = "ab".repeat(32);
    // A batch forgets the connection, and nothing in the first two says anything of resources.
    let between = "  filter: {traces: {span: ['attributes[\"http.route\"] == \"/healthz\"']}}
  transform: {trace_statements: [{context: span, statements: ['set(attributes[\"seen\"], true)']}]}
  batch: {timeout: 10ms}";
    let bound = through(between, "filter, transform, batch").await.expect("kept");
    assert_eq!((value(&bound, "container.id"), value(&bound, "k8s.pod.name")), (Some(&*id), Some("cart-1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_find_their_run_before_the_processors_behind_the_enrichment() {
    let (uid, id, http) = ("8461c26d-fa60-490f-8b41-96a0b4d346d9", "ab".repeat(32), free_port());
    let file = pods_file(uid, &id);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.json");
    let gateway = start(&format!(
        "
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors:
  k8s_attributes: {{wait_for_metadata: true, podgate: {{pods_file: '{}'}}}}
  transform: {{log_statements: ['set(resource.attributes[\"copied\"], resource.attributes[\"container.id\"])']}}
exporters: {{file: {{path: '{}'}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], processors: [k8s_attributes, transform], exporters: [file]}}}}
",
        file.path().display(),
        out.display()
    ))
    .await;
    let body = format!(
        r#"{{"resourceLogs": [{{"resource": {{"attributes": [{{"key": "k8s.pod.uid", "value": {{"stringValue": "{uid}"}}}}]}},
            "scopeLogs": [{{"logRecords": [{{"timeUnixNano": "1795241200000000000", "body": {{"stringValue": "x"}}}}]}}]}}]}}"#
    );
    assert_eq!(post(http, "/v1/logs", "application/json", body.as_bytes()).await.0, 200);
    drain(gateway).await;
    let written = std::fs::read_to_string(out).expect("written");
    assert_eq!(written.matches(&id).count(), 2, "as container.id and as its copy: {written}");
}
