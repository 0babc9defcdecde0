//! Against a peer that answers as clusters do.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::net::client::settings::{ClientHttp, ClientSettings};
use crate::net::client::target::{Scheme, Target};

/// Status and body for a request line.
type Answers = dyn Fn(&str) -> (u16, String) + Send + Sync;

struct Fake {
    address: std::net::SocketAddr,
    /// Request lines with their bodies.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

async fn fake(answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, answers): (Arc<Mutex<Vec<String>>>, Arc<Answers>) = (Arc::default(), Arc::new(answers));
    let (seen, mut tasks) = (asked.clone(), JoinSet::new());
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            loop {
                let Some(request) = next_request(&mut stream, &mut read).await else { break };
                let (status, body) = answers(request.lines().next().unwrap_or_default());
                seen.lock().unwrap().push(request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    Fake { address, asked, _tasks: tasks }
}

/// Request line and body.
async fn next_request(stream: &mut tokio::net::TcpStream, read: &mut Vec<u8>) -> Option<String> {
    loop {
        let text = String::from_utf8_lossy(read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                let line = head.lines().next().unwrap_or_default().to_owned();
                let request = format!("{line}\n{}", &body[..length]);
                read.drain(..head.len() + 4 + length);
                return Some(request);
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn preflight(url: &str, settings: &MappingSettings) -> Preflight {
    let target = Target::parse(url, Some(|_: Scheme| 80)).unwrap();
    let post = PostSettings {
        auth: None,
        nodes: vec![ClientSettings::new(target, ClientHttp::ByAgreement)],
        headers: http::HeaderMap::new(),
        query: Vec::new(),
        gzip: None,
        timeout: std::time::Duration::from_secs(5),
    };
    Preflight::new(&post, settings, &Outside::default(), RequestCredentials::default())
}

impl Fake {
    fn preflight(&self, settings: &MappingSettings) -> Preflight {
        preflight(&format!("http://{}", self.address), settings)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn health(report: &ProbeReport, subject: &str) -> Vec<ProbeHealth> {
    report.findings.iter().filter(|finding| finding.subject == subject).map(|finding| finding.health).collect()
}

fn said(report: &ProbeReport) -> String {
    report.findings.iter().map(|finding| format!("{}: {}\n", finding.subject, finding.message)).collect()
}

/// The templates that a real Elasticsearch 8.19 was given, as its list of templates shows them.
fn tested_templates() -> String {
    let tested: Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/elastic/own_es_templates.json"
    )))
    .unwrap();
    let list: Vec<Value> =
        tested.as_object().unwrap().iter().map(|(name, body)| json!({"name": name, "index_template": body})).collect();
    json!({"index_templates": list}).to_string()
}

const WHO: &str = r#"{"version":{"number":"8.19.21","build_flavor":"default"}}"#;

#[tokio::test]
async fn a_cluster_that_has_everything_is_told_so() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, WHO.to_owned()),
        line if line.starts_with("GET /_index_template") => (200, tested_templates()),
        line if line.starts_with("POST /_security") => (200, r#"{"has_all_requested":true}"#.to_owned()),
        _ => (200, "{}".to_owned()),
    })
    .await;
    let report = fake.preflight(&MappingSettings::default()).ask().await;
    assert!(report.findings.iter().all(|finding| finding.health == ProbeHealth::Good), "{}", said(&report));
    assert!(report.remedies.is_empty());
    assert!(fake.asked().iter().all(|request| !request.starts_with("PUT")), "asking changes nothing");
}

#[tokio::test]
async fn a_bare_cluster_is_offered_templates_that_setup_can_install() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, r#"{"version":{"number":"8.12.2"}}"#.to_owned()),
        line if line.starts_with("GET /_index_template") => (200, "{}".to_owned()),
        line if line.starts_with("POST /_security") => (405, "{}".to_owned()),
        line if line.starts_with("GET /_data_stream") => (404, "{}".to_owned()),
        _ => (200, r#"{"acknowledged":true}"#.to_owned()),
    })
    .await;
    let preflight = fake.preflight(&MappingSettings::default());
    let report = preflight.ask().await;
    assert_eq!(health(&report, "templates"), [ProbeHealth::Bad; 3]);
    assert_eq!(health(&report, "version"), [ProbeHealth::Doubtful]);
    let paths: Vec<&str> = report.remedies.iter().map(|remedy| remedy.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/_ilm/policy/podgate-retention",
            "/_index_template/podgate-traces-otel",
            "/_index_template/podgate-metrics-otel",
            "/_index_template/podgate-logs-otel"
        ]
    );
    for remedy in &report.remedies {
        preflight.apply(remedy).await.unwrap();
    }
    let installed = fake.asked().into_iter().filter(|request| request.starts_with("PUT")).count();
    assert_eq!(installed, 4);
}

/// Where nobody listens: a question would be a failure.
fn alone(settings: &MappingSettings) -> Preflight {
    preflight("http://127.0.0.1:1", settings)
}

#[tokio::test]
async fn what_a_cluster_of_a_version_would_be_sent_is_the_same_asked_or_not() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, r#"{"version":{"number":"8.12.2"}}"#.to_owned()),
        line if line.starts_with("GET /_index_template") => (200, "{}".to_owned()),
        line if line.starts_with("GET /_data_stream") => (404, "{}".to_owned()),
        _ => (200, "{}".to_owned()),
    })
    .await;
    let asked = fake.preflight(&MappingSettings::default()).ask().await;
    let foreseen = alone(&MappingSettings::default()).foresee("8.12.2").unwrap();
    assert_eq!(asked.remedies, foreseen.remedies);
    assert!(said(&foreseen).contains("Elasticsearch 8.12.2: untested"), "{}", said(&foreseen));
}

#[test]
fn without_asking_nothing_is_shown_that_would_not_be_sent() {
    let report = alone(&MappingSettings::default()).foresee("9.2").unwrap();
    assert_eq!(report.remedies.len(), 3, "no policy where retention is part of a data stream");
    assert!(said(&report).contains("brings templates of its own"), "{}", said(&report));
    let open = alone(&MappingSettings::default()).foresee("opensearch-3.6").unwrap();
    assert!(open.remedies.iter().all(|remedy| !remedy.body.contains("passthrough")));
    let fixed = MappingSettings { traces_index: Some("t".to_owned()), ..MappingSettings::default() };
    assert_eq!(alone(&fixed).foresee("8.19").unwrap().remedies.len(), 2, "a static index needs no template");
    let ecs = MappingSettings { mode: MappingMode::Ecs, ..MappingSettings::default() };
    let report = alone(&ecs).foresee("8.19").unwrap();
    assert!(report.remedies.is_empty() && said(&report).contains("none is shown for traces-generic-default"));
    assert!(alone(&ecs).foresee("nine").unwrap_err().contains("such as 8.19"));
}

#[tokio::test]
async fn a_key_that_may_not_make_data_streams_is_named() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, WHO.to_owned()),
        line if line.starts_with("POST /_security") => (
            200,
            r#"{"has_all_requested":false,"index":{"traces-*-*":{"auto_configure":false,"create_doc":true}}}"#
                .to_owned(),
        ),
        _ => (200, "{}".to_owned()),
    })
    .await;
    let report = fake.preflight(&MappingSettings::default()).ask().await;
    assert_eq!(health(&report, "privileges"), [ProbeHealth::Bad]);
    assert!(said(&report).contains("missing: auto_configure on traces-*-*"), "{}", said(&report));
}

#[tokio::test]
async fn wrong_credentials_and_nobody_there_end_the_questions() {
    let refusing = fake(|_| (401, "{}".to_owned())).await;
    let report = refusing.preflight(&MappingSettings::default()).ask().await;
    assert_eq!((report.findings.len(), health(&report, "connection")), (1, vec![ProbeHealth::Bad]));
    let gone = fake(|_| (200, String::new())).await;
    let preflight = gone.preflight(&MappingSettings::default());
    drop(gone);
    tokio::task::yield_now().await;
    let report = preflight.ask().await;
    assert_eq!(health(&report, "connection"), [ProbeHealth::Bad], "{}", said(&report));
}

#[tokio::test]
async fn missing_field_types_and_another_product_are_told() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, r#"{"version":{"number":"3.6.0","distribution":"opensearch"}}"#.to_owned()),
        line if line.contains("_simulate") => {
            (400, r#"{"error":{"reason":"No handler for type [histogram]"}}"#.to_owned())
        }
        line if line.starts_with("GET /_index_template") => (200, "{}".to_owned()),
        _ => (404, "{}".to_owned()),
    })
    .await;
    let report = fake.preflight(&MappingSettings::default()).ask().await;
    assert_eq!(health(&report, "field types"), [ProbeHealth::Doubtful]);
    assert!(said(&report).contains("OpenSearch 3.6.0: untested"), "{}", said(&report));
    assert!(report.remedies.iter().all(|remedy| !remedy.body.contains("passthrough")));
    assert_eq!(report.remedies.len(), 3, "no lifecycle policy of Elasticsearch's");
}

#[tokio::test]
async fn streams_that_a_static_index_replaces_need_no_template() {
    let fake = fake(|line| match line {
        "GET / HTTP/1.1" => (200, WHO.to_owned()),
        _ => (200, "{}".to_owned()),
    })
    .await;
    let index = |name: &str| Some(name.to_owned());
    let settings = MappingSettings {
        traces_index: index("t"),
        metrics_index: index("m"),
        logs_index: index("l"),
        ..MappingSettings::default()
    };
    let report = fake.preflight(&settings).ask().await;
    assert_eq!(health(&report, "templates"), []);
    assert!(fake.asked().iter().any(|request| request.contains(r#""names":["t"]"#)));
}

#[test]
fn the_template_of_highest_priority_decides() {
    let known = json!({"index_templates": [
        {"name": "low", "index_template": {"index_patterns": ["traces-*"], "priority": 1, "data_stream": {}}},
        {"name": "high", "index_template": {"index_patterns": ["traces-*.otel-*"], "priority": 9}},
        {"name": "other", "index_template": {"index_patterns": "logs-*", "data_stream": {}}},
    ]});
    assert_eq!(best_template(&known, "traces-generic.otel-default"), Some(("high", false)));
    assert_eq!(best_template(&known, "traces-generic-default"), Some(("low", true)));
    assert_eq!(best_template(&known, "logs-x"), Some(("other", true)));
    assert_eq!(best_template(&known, "metrics-x"), None);
    for (pattern, name, fits) in
        [("a*c", "abc", true), ("a*c", "abd", false), ("*", "", true), ("a", "ab", false), ("a*b*", "axxbyy", true)]
    {
        assert_eq!(matches_glob(pattern, name), fits, "{pattern} {name}");
    }
}
