//! Lines are valid OTLP/JSON, a missing directory is a start error with a cure, unreadable items are dropped alone.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::*;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Group, ScopeGroup};
use crate::core::data::settlement::{Receipt, Share};
use crate::core::stage::component::ComponentId;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;

fn exporter(path: PathBuf) -> (Arc<Host>, Arc<dyn Exporter>) {
    let host = Host::new(Budget::unlimited());
    let file = exporter_of(&host, path);
    (host, file)
}

fn exporter_of(host: &Arc<Host>, path: PathBuf) -> Arc<dyn Exporter> {
    let id = ComponentId::parse("file").unwrap();
    let settings = Settings { path, append: false, create_directory: false, rotation: None };
    let cx = BuildContext { id, path: "exporters::file".to_owned(), host: host.clone() };
    (Plan { settings }).build(cx)
}

fn payload(host: &Host, items: &[&'static [u8]]) -> (Receipt, Payload) {
    let items: Vec<Bytes> = items.iter().map(|item| Bytes::from_static(item)).collect();
    let scope = ScopeGroup { items: items.into(), ..ScopeGroup::default() };
    let payload = Payload {
        signal: Signal::Traces,
        items: scope.items.len() as u64,
        envelope: Envelope { groups: vec![Group { scopes: vec![scope], ..Group::default() }], dictionary: None },
        origin: Arc::new(Origin::internal(UnixNanos(0))),
        ticket: Ticket::free(),
        share: Share::none(),
    };
    payload.received(&host.balance)
}

#[tokio::test]
async fn each_request_is_one_line_that_stock_code_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.jsonl");
    let (host, file) = exporter(path.clone());
    file.start().await.unwrap();
    for _ in 0..2 {
        let (receipt, sent) = payload(&host, &[b"\x2a\x01a", b"\x2a\x01b"]);
        file.consume(sent).await.unwrap();
        receipt.answer(Ok(()));
    }
    file.drain(Instant::now() + Duration::from_secs(5)).await;
    file.drain(Instant::now()).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let request: ExportTraceServiceRequest = serde_json::from_str(line).unwrap();
        let names: Vec<&str> =
            request.resource_spans[0].scope_spans[0].spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }
    let sheet = host.balance.sheet(Signal::Traces);
    assert!(sheet.holds(0) && sheet.delivered == 4, "{sheet:?}");
    let (_receipt, late) = payload(&host, &[b"\x2a\x01a"]);
    assert!(file.consume(late).await.unwrap_err().is_retryable(), "after the drain it refuses");
}

#[tokio::test]
async fn an_unreadable_item_is_dropped_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.jsonl");
    let (host, file) = exporter(path.clone());
    file.start().await.unwrap();
    let (receipt, sent) = payload(&host, &[b"\x2a\x01a", b"\x2a\x50", b"\x2a\x01c"]);
    file.consume(sent).await.unwrap();
    let losses = receipt.settlement().losses();
    receipt.answer(Ok(()));
    file.drain(Instant::now() + Duration::from_secs(5)).await;
    let sheet = host.balance.sheet(Signal::Traces);
    assert!(sheet.holds(0), "{sheet:?}");
    assert_eq!((sheet.delivered, sheet.dropped["malformed"], losses[0].items), (2, 1, 1));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"a\"") && text.contains("\"c\""), "{text}");
}

#[tokio::test]
async fn a_missing_directory_is_a_start_error_with_a_cure() {
    let (_, file) = exporter(PathBuf::from("/nonexistent/otlp.jsonl"));
    let error = file.start().await.unwrap_err().to_string();
    assert!(error.contains("exporters::file") && error.contains("create_directory"), "{error}");
}

#[tokio::test]
async fn a_file_is_emptied_at_the_start_of_a_process_and_a_successor_goes_on_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("otlp.jsonl");
    std::fs::write(&path, "of an earlier process\n").unwrap();
    let host = Host::new(Budget::unlimited());
    let mut before: Option<Arc<dyn Exporter>> = None;
    for number in 1..=3 {
        let file = exporter_of(&host, path.clone());
        file.start().await.unwrap();
        // The predecessor has payloads still.
        for file in before.iter().chain([&file]) {
            let (receipt, sent) = payload(&host, &[b"\x2a\x01a"]);
            file.consume(sent).await.unwrap();
            receipt.answer(Ok(()));
        }
        if let Some(before) = before.replace(file) {
            before.drain(Instant::now() + Duration::from_secs(5)).await;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let requests = text.lines().filter(|line| serde_json::from_str::<ExportTraceServiceRequest>(line).is_ok());
        assert_eq!((requests.count(), text.lines().count()), (2 * number - 1, 2 * number - 1), "{text}");
    }
}
