//! The processor from its YAML to its pages, with a file in place of an API server.

use std::time::Duration;

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::report::routes::PageQuery;
use podgate::core::stage::factory::Environment;
use podgate::core::time::UnixNanos;
use podgate::kube::decode::{Decoder, Keep};
use podgate::kube::table::{PodChange, Table};
use podgate::otlp::attributes::find;
use tokio::time::Instant;

#[path = "enrich/rig.rs"]
mod rig;

use rig::{container_id, payload, pod_list, resource, uid};

fn pods_file(count: usize) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".json").tempfile().expect("a temporary file");
    std::fs::write(file.path(), pod_list(count)).expect("written");
    file
}

async fn started(count: usize) -> (rig::Rig, tempfile::NamedTempFile) {
    let file = pods_file(count);
    let body = format!("{{wait_for_metadata: true, podgate: {{pods_file: {}}}}}", file.path().display());
    let rig = rig::rig(&body, false);
    rig.component.start().await.expect("starts without an API server");
    (rig, file)
}

#[tokio::test]
async fn a_pods_file_is_enough_to_name_pod_and_run() {
    let (rig, _file) = started(3).await;
    let made = UnixNanos::now().saturating_sub(Duration::from_secs(10));
    let sent = [
        resource(&[("service.name", "orders"), ("k8s.pod.uid", &uid(1)), ("k8s.container.restart_count", "0")]),
        resource(&[("service.name", "stranger"), ("k8s.pod.uid", "nobody")]),
    ];
    rig.consumer.consume(payload(&sent, made)).await.expect("accepted");
    let kept = rig.end.kept.lock().expect("not poisoned").pop().expect("forwarded");
    let text = |group: usize, key: &str| {
        let resource = kept.envelope.groups[group].resource.clone().expect("a resource");
        find(&resource, key).map(|value| value.as_str().expect("text").to_owned())
    };
    assert_eq!(text(0, "container.id"), Some(container_id(1, "orders", 1)));
    assert_eq!(text(0, "k8s.deployment.name").as_deref(), Some("orders"));
    assert_eq!(text(0, "container.image.tag").as_deref(), Some("1.4.2"));
    assert_eq!(text(1, "k8s.pod.name"), None);
    rig.component.drain(Instant::now() + Duration::from_secs(5)).await;
    rig.component.drain(Instant::now() + Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_filter_selects_pods_of_a_file_as_it_does_an_api_servers() {
    let file = pods_file(3);
    let table = [
        ("{}", true),
        ("{namespace: shop-1}", true),
        ("{namespace: shop-2}", false),
        ("{labels: [{key: app.kubernetes.io/name, op: equals, value: orders}]}", true),
        ("{labels: [{key: app.kubernetes.io/name, op: not-equals, value: orders}]}", false),
        ("{labels: [{key: canary, op: exists}]}", false),
        ("{fields: [{key: metadata.name, op: equals, value: somebody}]}", false),
    ];
    for (filter, found) in table {
        let own = format!("podgate: {{pods_file: {}}}", file.path().display());
        let rig = rig::rig(&format!("{{wait_for_metadata: true, filter: {filter}, {own}}}"), false);
        rig.component.start().await.expect("starts");
        let made = UnixNanos::now().saturating_sub(Duration::from_secs(10));
        rig.consumer.consume(payload(&[resource(&[("k8s.pod.uid", &uid(1))])], made)).await.expect("accepted");
        let kept = rig.end.kept.lock().expect("not poisoned").pop().expect("forwarded");
        let resource = kept.envelope.groups[0].resource.clone().expect("a resource");
        assert_eq!(find(&resource, "k8s.pod.name").is_some(), found, "{filter}");
        rig.component.drain(Instant::now() + Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn explain_tells_the_rules_the_runs_and_why_nothing_was_found() {
    let (rig, _file) = started(3).await;
    let ask = |key: &str, value: &str| {
        let page = rig.host.routes.find("/v1/explain").expect("offered");
        let answer = page(&PageQuery::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(answer.status, 200);
        answer.body["processors"]["k8s_attributes"].clone()
    };
    let by_uid = ask("uid", &uid(2));
    assert_eq!((&by_uid["found"], &by_uid["rules"][0]["result"]), (&true.into(), &"pod found".into()));
    let runs = &by_uid["pod"]["containers"][0]["runs"];
    assert_eq!(runs[0]["reason"], "OOMKilled");
    assert_eq!(runs[1]["container_id"], container_id(2, "orders", 1));
    assert_eq!(by_uid["rules"][0]["values"]["k8s.pod.uid"], uid(2));
    assert_eq!(by_uid["pod"]["containers"][0]["last_data"], serde_json::Value::Null, "nothing came yet");
    let by_dead_run = ask("container", &container_id(2, "orders", 0));
    assert_eq!(by_dead_run["found"], false);
    assert!(by_dead_run["why_not"].as_str().expect("a reason").contains("no rule looks for container.id"));
    let by_ip = ask("ip", "10.1.0.3");
    assert_eq!((&by_ip["found"], &by_ip["pod"]["summary"]["uid"]), (&true.into(), &uid(2).into()));
    let node = ask("ip", "192.168.0.1");
    assert!(node["why_not"].as_str().expect("a reason").contains("node's address"), "{node}");
    let made = UnixNanos::now().saturating_sub(Duration::from_secs(10));
    let sent = [resource(&[("k8s.pod.uid", &uid(2)), ("service.instance.id", "c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8aa")])];
    rig.consumer.consume(payload(&sent, made)).await.expect("accepted");
    let told = ask("uid", &uid(2))["pod"]["containers"][0].clone();
    assert_eq!(told["last_data"]["evidence"], "times of the items");
    assert_eq!(told["bindings"]["identities"][container_id(2, "orders", 1)], 1);
    assert_eq!(told["bindings"]["connections"], serde_json::json!({}), "its pod has a proxy");
    let long_ago = UnixNanos::from_secs(1_700_000_000);
    let other = resource(&[("k8s.pod.uid", &uid(2)), ("k8s.container.name", "orders")]);
    rig.consumer.consume(payload(&[other], long_ago)).await.expect("accepted");
    let told = ask("uid", &uid(2))["pod"]["containers"][0].clone();
    assert_eq!(told["last_without_id"]["reason"], "outside_known_runs");
    let nobody = ask("ip", "203.0.113.9");
    assert!(nobody["why_not"].as_str().expect("a reason").contains("other node"));
    let page = rig.host.routes.find("/v1/explain").expect("offered");
    assert_eq!(page(&PageQuery::new()).status, 400);
    let pods = rig.host.routes.find("/v1/pods").expect("offered")(&PageQuery::new());
    assert_eq!(pods.body["processors"]["k8s_attributes"]["total"], 3);
    rig.component.drain(Instant::now() + Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_start_that_waits_for_metadata_goes_on_without_it_when_no_server_answers() {
    let body = "{wait_for_metadata: true, wait_for_metadata_timeout: 200ms, \
                podgate: {hold: 0s, api_server: 'http://127.0.0.1:1'}}";
    let rig = rig::rig(body, false);
    rig.component.start().await.expect("a slow API server is no reason not to start");
    let sent = [resource(&[("service.name", "early"), ("k8s.pod.uid", &uid(1))])];
    rig.consumer.consume(payload(&sent, UnixNanos::now())).await.expect("accepted");
    let kept = rig.end.kept.lock().expect("not poisoned").pop().expect("forwarded");
    assert_eq!(kept.envelope.groups[0].resource.as_deref(), Some(&sent[0][..]), "as it came");
    rig.component.drain(Instant::now() + Duration::from_secs(5)).await;
}

/// Warnings about a whole configuration: path and message.
fn warned(processors: &str, list: &str) -> Vec<(String, String)> {
    let yaml = format!(
        "yaml:{{receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}, processors: {{{processors}}}, exporters: {{nop: {{}}}}, \
         service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{list}], exporters: [nop]}}}}}}}}"
    );
    let args = ConfigArgs { config: vec![yaml], ..ConfigArgs::default() };
    let found = check_with(&args, Environment::of(|_| None)).findings;
    found.into_iter().map(|found| (found.path, found.message)).collect()
}

#[test]
fn enrichment_behind_what_merges_requests_and_policies_on_runs_are_warned_of() {
    let plain = "k8s_attributes: {}, batch: {}";
    assert_eq!(warned(plain, "k8s_attributes, batch"), []);
    let found = warned(plain, "batch, k8s_attributes");
    assert!(found.len() == 1 && found[0].1.contains("`k8s_attributes` stands behind `batch`"), "{found:?}");
    assert_eq!(found[0].0, "service::pipelines::traces::processors");
    let sampling = "k8s_attributes: {}, tail_sampling: {policies: [{name: a, type: string_attribute, \
                    string_attribute: {key: container.id, values: [x]}}]}";
    let found = warned(sampling, "k8s_attributes, tail_sampling");
    assert!(found.len() == 1 && found[0].0 == "processors::tail_sampling::policies::0", "{found:?}");
}

#[test]
fn a_memory_of_deleted_pods_that_is_shorter_than_the_pipelines_waits_is_warned_of() {
    let processors = |grace: &str| {
        format!(
            "k8s_attributes: {{{grace}}}, tail_sampling: {{decision_wait: 40s, policies: [{{name: a, type: always_sample}}]}}"
        )
    };
    let list = "k8s_attributes, tail_sampling";
    assert_eq!(warned(&processors(""), list), [], "it follows the waits");
    assert_eq!(warned(&processors("pod_delete_grace_period: 60s"), list), []);
    let found = warned(&processors("pod_delete_grace_period: 30s"), list);
    assert!(found.len() == 1 && found[0].0 == "processors::k8s_attributes", "{found:?}");
    assert!(found[0].1.contains("forgotten after 30s") && found[0].1.contains("up to 47.25s"), "{found:?}");
}

/// Resident memory in bytes, where the system tells.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// Resident bytes that a table of so many pods takes; each pod's text is gone before the next one comes.
fn taken_by(count: usize) -> Option<u64> {
    let mut decoder = Decoder::new(Keep::default());
    let before = resident()?;
    let mut table = Table::new(Duration::from_secs(120));
    let pods = (0..count).map(|at| decoder.pod(rig::pod(at).to_string().as_bytes()).expect("a pod").pod).collect();
    table.apply(PodChange::Listed(pods), UnixNanos::now());
    let snapshot = table.snapshot();
    assert_eq!(snapshot.len(), count);
    Some(resident()?.saturating_sub(before))
}

#[test]
fn ten_thousand_pods_take_less_than_forty_mebibytes() {
    let Some(bytes) = taken_by(10_000) else { return };
    println!("10,000 pods with two containers: {} KiB", bytes / 1_024);
    assert!(bytes < 40 << 20, "{bytes} bytes");
}
