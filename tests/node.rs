//! What the node knows, through whole gateways: audit events by the webhook and lines of files, to a next hop that comes and
//! goes, with the balance after every drain.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use podgate::gateway::Gateway;
use support::{drain, eventually, free_port, post, start};

/// A next hop: OTLP in, a line of JSON for each request out.
async fn hop(port: u16, into: &Path) -> Gateway {
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}\n\
         exporters: {{file: {{path: '{}', append: true}}}}\nextensions: {{admin: {{endpoint: '127.0.0.1:{}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [otlp], exporters: [file]}}\n",
        into.display(),
        free_port()
    );
    start(&yaml).await
}

fn gateway(receivers: &str, list: &str, hop: u16, more: &str) -> String {
    format!(
        "receivers:\n{receivers}exporters:\n  otlp_grpc: {{endpoint: '127.0.0.1:{hop}', tls: {{insecure: true}}, timeout: 1s, \
         sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}}}\n\
         extensions:\n  admin: {{endpoint: '127.0.0.1:{}'}}\n{more}\
         service:\n  extensions: [admin{}]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         logs: {{receivers: [{list}], exporters: [otlp_grpc]}}\n",
        free_port(),
        if more.is_empty() { "" } else { ", file_storage" }
    )
}

/// Log records with their resources, as the next hop wrote them.
fn records(file: &Path) -> Vec<(serde_json::Value, serde_json::Value)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut found = Vec::new();
    for line in lines {
        for group in line["resourceLogs"].as_array().into_iter().flatten() {
            let records =
                group["scopeLogs"].as_array().into_iter().flatten().flat_map(|scope| scope["logRecords"].as_array());
            found.extend(records.flatten().map(|record| (group["resource"].clone(), record.clone())));
        }
    }
    found
}

fn attribute(of: &serde_json::Value, key: &str) -> Option<String> {
    let found = of["attributes"].as_array()?.iter().find(|pair| pair["key"] == key)?;
    found["value"]["stringValue"].as_str().map(str::to_owned)
}

fn event(number: u32) -> String {
    format!(
        r#"{{"level":"Metadata","auditID":"0c2a6b3a-9a0e-4bd1-9ad0-{number:012x}","stage":"ResponseComplete","verb":"get",
        "requestURI":"/api/v1/pods","user":{{"username":"u"}},"responseStatus":{{"code":200}},
        "stageTimestamp":"2026-12-01T10:00:00.000000Z"}}"#
    )
}

fn list(numbers: impl Iterator<Item = u32>) -> String {
    let events: Vec<String> = numbers.map(event).collect();
    format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}}"#, events.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_answered_when_the_next_hop_took_the_events() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, audit, into) = (free_port(), free_port(), folder.path().join("out.json"));
    let receivers = format!("  k8s_audit: {{endpoint: '127.0.0.1:{audit}'}}\n");
    let podgate = start(&gateway(&receivers, "k8s_audit", port, "")).await;
    let send = async |body: String| post(audit, "/audit?timeout=30s", "application/json", body.as_bytes()).await;
    let (status, answer) = send(list(0..3)).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("a Status");
    assert_eq!((status, &answer["kind"]), (503, &"Status".into()), "nobody took them: {answer}");
    let next = hop(port, &into).await;
    // It is found a moment later, and the API server sends again as long as that.
    let mut refused = 1;
    while send(list(0..3)).await.0 == 503 {
        refused += 1;
        assert!(refused < 50, "the next hop is not found");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(records(&into).len(), 3, "success was answered after delivery");
    assert_eq!(send(list(0..5)).await.0, 200);
    let mut ids: Vec<String> =
        records(&into).iter().filter_map(|(_, record)| attribute(record, "k8s.audit.id")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), records(&into).len()), (5, 5), "what came twice is there once");
    for (path, body, expected) in [("/audit", "{", 400), ("/audit", "{\"items\":[7]}", 400), ("/other", "{}", 404)] {
        assert_eq!(post(audit, path, "application/json", body.as_bytes()).await.0, expected, "{path} {body}");
    }
    let sheet = &drain(podgate).await["logs"];
    assert_eq!((sheet.received, sheet.delivered, sheet.refused), (5 + 3 * refused, 5, 3 * refused));
    drain(next).await;
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_handed_on_again_until_they_are_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, into, log) = (free_port(), folder.path().join("out.json"), folder.path().join("a.log"));
    let receivers = format!(
        "  file_log: {{include: ['{}/*.log'], start_at: beginning, poll_interval: 20ms, storage: file_storage, \
         retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}}}\n",
        folder.path().display()
    );
    let storage =
        format!("  file_storage: {{directory: '{}/storage', create_directory: true}}\n", folder.path().display());
    let yaml = gateway(&receivers, "file_log", port, &storage);
    append(&log, "one\ntwo\n");
    let first = start(&yaml).await;
    // Nobody is there: the lines stay in their file, through a stop, too.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let sheet = &drain(first).await["logs"];
    assert_eq!((sheet.delivered, sheet.received), (0, sheet.refused));
    let next = hop(port, &into).await;
    for round in 0..3 {
        let running = start(&yaml).await;
        append(&log, &format!("round {round}\n"));
        eventually("the lines have come", || records(&into).len() == 3 + round).await;
        if round == 1 {
            fs::rename(&log, folder.path().join("a.log.1")).expect("rotated");
        }
        drain(running).await;
    }
    let bodies: Vec<String> = records(&into)
        .iter()
        .filter_map(|(_, record)| record["body"]["stringValue"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(bodies, ["one", "two", "round 0", "round 1", "round 2"], "once, and in order");
    drain(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_container_has_the_run_that_wrote_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (port, into) = (free_port(), root.join("out.json"));
    let next = hop(port, &into).await;
    let receivers = format!(
        "  filelog: {{include: ['{}/pods/*/*/*.log'], start_at: beginning, poll_interval: 20ms, operators: [{{type: container}}]}}\n",
        root.display()
    );
    fs::create_dir_all(root.join("containers")).expect("made");
    let podgate = start(&gateway(&receivers, "filelog", port, "")).await;
    let mut truth = BTreeMap::new();
    for run in 0..3 {
        let id = format!("{run:064x}");
        let log = root.join(format!("pods/shop_cart-1_0c2a6b3a/main/{run}.log"));
        fs::create_dir_all(log.parent().expect("a folder")).expect("made");
        append(&log, &format!("2026-12-01T10:00:00.00000000{run}Z stdout F line of run {run}\n"));
        // The kubelet's link comes after the log and its first line.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        std::os::unix::fs::symlink(&log, root.join(format!("containers/cart-1_shop_main-{id}.log"))).expect("linked");
        truth.insert(format!("line of run {run}"), id);
    }
    eventually("all lines have come", || records(&into).len() == 3).await;
    for (resource, record) in records(&into) {
        let line = record["body"]["stringValue"].as_str().unwrap_or_default().to_owned();
        assert_eq!(attribute(&resource, "container.id").as_ref(), truth.get(&line), "{line}");
        assert_eq!(attribute(&resource, "k8s.pod.uid").as_deref(), Some("0c2a6b3a"));
        assert_eq!(attribute(&record, "log.iostream").as_deref(), Some("stdout"));
    }
    let sheet = &drain(podgate).await["logs"];
    assert_eq!((sheet.received, sheet.delivered), (3, 3));
    drain(next).await;
}

/// Pods with what their annotations say of their logs, as `kubectl get pods -o json` prints them; their files beside.
fn annotated(root: &Path, pods: &[(&str, &[(&str, &str)])]) {
    let pods: Vec<serde_json::Value> = pods
        .iter()
        .zip(0..)
        .map(|((name, said), number)| {
            let uid = format!("0c2a6b3a-0000-0000-0000-{number:012}");
            for container in ["main", "side"] {
                let log = root.join(format!("pods/shop_{name}_{uid}/{container}/0.log"));
                fs::create_dir_all(log.parent().expect("a folder")).expect("made");
                append(&log, &format!("2026-12-01T10:00:00.000000001Z stdout F {name} {container}\n"));
            }
            let key = |of: &str| format!("io.opentelemetry.discovery.logs{of}/enabled");
            let annotations: BTreeMap<String, &str> = said.iter().map(|(of, said)| (key(of), *said)).collect();
            serde_json::json!({
                "apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"},
                "metadata": {"name": name, "namespace": "shop", "uid": uid, "annotations": annotations},
                "spec": {"nodeName": "node-1", "containers": [{"name": "main"}, {"name": "side"}]},
            })
        })
        .collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": pods});
    fs::write(root.join("pods.json"), list.to_string()).expect("written");
}

/// What manifests/components/logs adds to a configuration, with the files and pods of `root`.
fn of_the_overlay(root: &Path, opt_in: bool) -> String {
    let file = "manifests/components/logs/config/logs.yaml";
    let yaml =
        fs::read_to_string(file).expect("an overlay").replace("/var/log/pods", &format!("{}/pods", root.display()));
    let pods = format!("  k8s_attributes/files:\n    podgate: {{pods_file: '{}/pods.json'}}\n", root.display());
    let yaml = yaml
        .replace("start_at: end\n    storage: file_storage", "start_at: beginning\n    poll_interval: 20ms")
        .replace("  k8s_attributes/files:\n", &pods)
        .replace("    filter:\n      node_from_env_var: OTEL_K8S_NODE_NAME\n", "")
        .replace("memory_limiter, ", "");
    if !opt_in {
        return yaml;
    }
    // As the comment there says.
    let own = r#"resource.attributes["discovery.logs"]"#;
    yaml.replace(&format!("{own} != nil and {own} != \"true\""), &format!("({own} == nil or {own} != \"true\")"))
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_say_by_annotations_whether_their_logs_are_wanted() {
    let pods: [(&str, &[(&str, &str)]); 5] = [
        ("plain", &[]),
        ("out", &[("", "false")]),
        ("out-main", &[(".main", "false")]),
        ("in-main", &[("", "false"), (".main", "true")]),
        ("on", &[("", "true")]),
    ];
    for (opt_in, wanted) in [
        (false, vec!["in-main main", "on main", "on side", "out-main side", "plain main", "plain side"]),
        (true, vec!["in-main main", "on main", "on side"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        annotated(folder.path(), &pods);
        let (port, into) = (free_port(), folder.path().join("out.json"));
        let next = hop(port, &into).await;
        let more = format!(
            "exporters:\n  otlp_grpc: {{endpoint: '127.0.0.1:{port}', tls: {{insecure: true}}}}\nextensions:\n  \
             admin: {{endpoint: '127.0.0.1:{}'}}\n",
            free_port()
        );
        let service = "service:\n  extensions: [admin]\n  telemetry: {metrics: {level: none}}\n";
        let yaml = more + &of_the_overlay(folder.path(), opt_in).replace("service:\n", service);
        let podgate = start(&yaml).await;
        eventually("all lines that are wanted have come", || records(&into).len() >= wanted.len()).await;
        let sheet = &drain(podgate).await["logs"];
        assert_eq!((sheet.received, sheet.delivered), (10, wanted.len() as u64), "opt-in: {opt_in}");
        let found = records(&into);
        let mut lines: Vec<&str> =
            found.iter().filter_map(|(_, record)| record["body"]["stringValue"].as_str()).collect();
        lines.sort_unstable();
        assert_eq!(lines, wanted, "opt-in: {opt_in}");
        let keys = found.iter().flat_map(|(resource, _)| resource["attributes"].as_array().into_iter().flatten());
        assert!(keys.clone().all(|pair| !pair["key"].as_str().unwrap_or_default().starts_with("discovery")));
        drain(next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_the_texts_of_records_that_come_by_otlp_become_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, http, into) = (free_port(), free_port(), folder.path().join("out.json"));
    let next = hop(port, &into).await;
    let receivers = format!(
        "  otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}\nprocessors:\n  \
         transform: {{log_statements: ['set(log.attributes[\"seen\"], log.trace_id.string)'], podgate: {{trace_ids: true}}}}\n"
    );
    let yaml = gateway(&receivers, "otlp", port, "")
        .replace("exporters: [otlp_grpc]", "processors: [transform], exporters: [otlp_grpc]");
    let podgate = start(&yaml).await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    let body = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[
            {{"body":{{"stringValue":"level=info traceId={id} spanId=b7ad6b7169203331"}}}},
            {{"body":{{"stringValue":"{{\"dd\":{{\"trace_id\":\"1\"}}}}"}}}},
            {{"body":{{"stringValue":"trace_id={id}"}},"traceId":"000102030405060708090a0b0c0d0e0f"}},
            {{"body":{{"stringValue":"plain"}}}}]}}]}}]}}"#
    );
    assert_eq!(post(http, "/v1/logs", "application/json", body.as_bytes()).await.0, 200);
    let found: Vec<(String, String, Option<String>)> = records(&into)
        .iter()
        .map(|(_, record)| {
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            let seen = attribute(record, "seen").filter(|id| id.bytes().any(|digit| digit != b'0'));
            (text("traceId"), text("spanId"), seen)
        })
        .collect();
    let own = |id: &str, span: &str| (id.to_owned(), span.to_owned(), Some(id.to_owned()));
    assert_eq!(
        found,
        [
            own(id, "b7ad6b7169203331"),
            own("00000000000000000000000000000001", ""),
            own("000102030405060708090a0b0c0d0e0f", ""),
            (String::new(), String::new(), None),
        ],
        "statements see the ids"
    );
    drain(podgate).await;
    drain(next).await;
}

/// The configuration in the ConfigMap of examples/logs-sidecar.yaml, with other folders and another next hop.
fn sidecar(folder: &Path, hop: u16) -> String {
    let manifest = fs::read_to_string("examples/logs-sidecar.yaml").expect("an example");
    let (_, config) = manifest.split_once("podgate.yaml: |\n").expect("a ConfigMap");
    let (config, _) = config.split_once("---\n").expect("a Pod behind it");
    let config: Vec<&str> = config.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    let (logs, state) = (folder.display().to_string(), folder.join("state").display().to_string());
    let config = config.join("\n").replace("/logs/", &format!("{logs}/")).replace("/state", &state);
    let admin = format!("extensions:\n  admin: {{endpoint: '127.0.0.1:{}'}}\n", free_port());
    config
        .replace("apm-server.observability:8200", &format!("127.0.0.1:{hop}"))
        .replace("extensions:\n", &admin)
        .replace("extensions: [", "extensions: [admin, ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_reads_two_files_of_two_formats() {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, into) = (free_port(), folder.path().join("out.json"));
    let next = hop(port, &into).await;
    let podgate = start(&sidecar(folder.path(), port)).await;
    let access = r#"10.0.0.7 - - [01/Dec/2026:11:00:05 +0100] "GET /cart HTTP/1.1" 503 17 "-" "curl/8""#;
    append(&folder.path().join("access.log"), &format!("{access}\n"));
    let id = "0af7651916cd43dd8448eb211c80319c";
    let line = format!(r#"{{"time":"2026-12-01T10:00:05.25Z","level":"warn","msg":"no stock","trace.id":"{id}"}}"#);
    append(&folder.path().join("app.log"), &format!("{line}\n"));
    eventually("both lines have come", || records(&into).len() == 2).await;
    let mut found: Vec<_> = records(&into)
        .into_iter()
        .map(|(resource, record)| {
            let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
            let severity = record["severityNumber"].as_i64();
            assert_eq!(attribute(&resource, "service.name").as_deref(), Some("shop"));
            (text("timeUnixNano"), severity, record["body"]["stringValue"].clone(), text("traceId"))
        })
        .collect();
    found.sort_by(|left, right| left.0.cmp(&right.0));
    let of_access = ("1796119205000000000".to_owned(), Some(17), access.into(), String::new());
    let of_app = ("1796119205250000000".to_owned(), Some(13), "no stock".into(), id.to_owned());
    assert_eq!(found, [of_access, of_app]);
    drain(podgate).await;
    drain(next).await;
}
