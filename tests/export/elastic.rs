//! Delivery to Elasticsearch: each document by its own verdict, repeated alone, parked, searched, halved; the balance exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::cluster::{Cluster, Says, Whole};
use crate::harness::{Bench, eventually, request, start};

/// Total of a counter with this label text.
fn counted(bench: &Bench, name: &str, label: &str) -> u64 {
    let series = bench.host.stats.all();
    let matching = series.iter().filter(|series| series.name == name);
    let matching = matching.filter(|series| label.is_empty() || series.labels.iter().any(|(_, value)| value == label));
    matching
        .map(|series| match &series.metric {
            podgate::core::report::stats::Metric::Counter(counter) => counter.get(),
            _ => 0,
        })
        .sum()
}

const PROCESSED: &str = "otelcol_elasticsearch_docs_processed";

#[tokio::test]
async fn spans_arrive_as_documents_with_credentials_and_the_filter() {
    let cluster = Cluster::healthy().await;
    let bench = cluster.exporter("user: ada, password: 'a:b', headers: {X-Own: '1'}, pipeline: 'p&q'").await;
    bench.send(&request(["a", "b"])).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 2);
    assert_eq!(cluster.names(), ["a", "b"]);
    let head = cluster.head(0);
    for wanted in [
        "post /_bulk?filter_path=items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason&pipeline=p%26q ",
        "x-own: 1",
        "content-type: application/x-ndjson",
        "x-elastic-event-count: 2",
    ] {
        assert!(head.contains(wanted), "{wanted}: {head}");
    }
    // The head is in lower case here, so the text of the credentials is not compared.
    assert!(head.contains("authorization: basic "), "{head}");
    assert_eq!(counted(&bench, PROCESSED, "success"), 2);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn gzip_is_the_default_and_levels_are_taken() {
    for keys in ["", "compression_params: {level: 6},"] {
        let cluster = Cluster::healthy().await;
        let bench = start("elasticsearch", &format!("{{endpoint: 'http://{}', {keys}}}", cluster.address)).await;
        bench.send(&request(["a"])).await.expect("queued");
        assert_eq!(bench.settled().await.delivered, 1);
        assert!(cluster.head(0).contains("content-encoding: gzip"));
        assert_eq!(cluster.names(), ["a"]);
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn only_documents_that_may_pass_later_are_sent_again() {
    let busy = |at: usize, sent: &crate::cluster::Sent| match (at, sent.name()) {
        (0 | 1, "b") => Says::Item(429, "es_rejected_execution_exception"),
        (0, "d") => Says::Item(503, "unavailable_shards_exception"),
        _ => Says::Fine,
    };
    let cluster = Cluster::start(|_, _| Whole::Items, busy).await;
    let bench = cluster.exporter("").await;
    bench.send(&request(["a", "b", "c", "d"])).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 4);
    assert_eq!(cluster.names(), ["a", "b", "c", "d"]);
    assert_eq!(cluster.sizes(), [4, 2, 1]);
    assert_eq!((counted(&bench, PROCESSED, "too_many"), counted(&bench, PROCESSED, "failed_server")), (2, 1));
    assert_eq!(counted(&bench, "otelcol_elasticsearch_docs_retried", ""), 3);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn permanent_errors_end_alone_and_the_failure_store_is_counted_apart() {
    let rule = |_: usize, sent: &crate::cluster::Sent| match sent.name() {
        "bad" => Says::Item(400, "document_parsing_exception"),
        "aside" => Says::FailureStore,
        "gone" => Says::Item(404, "document_missing_exception"),
        _ => Says::Fine,
    };
    let cluster = Cluster::start(|_, _| Whole::Items, rule).await;
    let bench = cluster.exporter("").await;
    bench.send(&request(["a", "bad", "aside", "gone", "b"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("permanent")), (3, Some(&2)));
    assert_eq!(cluster.requests(), 1);
    assert_eq!((cluster.failure_store(), counted(&bench, PROCESSED, "failure_store")), (1, 1));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_conflict_without_an_own_id_is_no_delivery() {
    let conflict = |_: usize, _: &crate::cluster::Sent| Says::Item(409, "version_conflict_engine_exception");
    let cluster = Cluster::start(|_, _| Whole::Items, conflict).await;
    let bench = cluster.exporter("podgate: {deterministic_ids: false}").await;
    bench.send(&request(["a"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("conflict")), (0, Some(&1)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_outage_of_any_kind_loses_nothing() {
    for kind in 0..6 {
        let whole = move |at: usize, _: &[crate::cluster::Sent]| match (at < 4, kind) {
            (false, _) => Whole::Items,
            (true, 0) => Whole::Close,
            (true, 1) => Whole::Status(429, "es_rejected_execution_exception"),
            (true, 2) => Whole::Status(503, "master_not_discovered_exception"),
            (true, 3) => Whole::Body("{\"items\":[]}"),
            (true, 4) => Whole::Body("<html>welcome</html>"),
            (true, _) => Whole::Status(502, "bad gateway"),
        };
        let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
        let bench = cluster.exporter("").await;
        bench.send(&request(["a", "b"])).await.expect("queued");
        assert_eq!(bench.settled().await.delivered, 2, "kind {kind}");
        assert_eq!(cluster.names(), ["a", "b"], "kind {kind}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn refused_credentials_hold_the_exporter_with_an_alarm_and_drop_nothing() {
    let valid = Arc::new(AtomicBool::new(false));
    let key = valid.clone();
    let whole = move |_: usize, _: &[crate::cluster::Sent]| match key.load(Ordering::Relaxed) {
        true => Whole::Items,
        false => Whole::Status(401, "security_exception"),
    };
    let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
    let bench = cluster.exporter("api_key: b2xkOmtleQ==").await;
    for name in ["a", "b", "c"] {
        bench.send(&request([name])).await.expect("queued");
    }
    let message = || bench.host.status.all().get("exporters::elasticsearch").map(|report| report.message.clone());
    eventually("the alarm is raised", || message().is_some_and(|text| text.contains("HTTP 401"))).await;
    assert!(message().is_some_and(|text| text.contains("api_key") && !text.contains("b2xk")), "{:?}", message());
    assert_eq!(bench.sheet().held, 3);
    valid.store(true, Ordering::Relaxed);
    assert_eq!(bench.settled().await.delivered, 3);
    assert!(cluster.requests() < 8, "it asked {} times", cluster.requests());
    eventually("the alarm ends", || message().is_some_and(|text| text.is_empty())).await;
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_line_that_spoils_the_request_is_found_alone() {
    for poisoned in [0usize, 37, 99] {
        let whole = move |_: usize, sent: &[crate::cluster::Sent]| match sent
            .iter()
            .any(|sent| sent.name() == format!("s{poisoned}"))
        {
            true => Whole::Status(400, "illegal_argument_exception"),
            false => Whole::Items,
        };
        let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
        let bench = cluster.exporter("").await;
        let names: Vec<String> = (0..100).map(|at| format!("s{at}")).collect();
        bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
        let sheet = bench.settled().await;
        assert_eq!((sheet.delivered, sheet.dropped.get("permanent")), (99, Some(&1)), "{poisoned}");
        assert!(cluster.requests() <= 2 * 7 + 1, "{poisoned}: {} requests", cluster.requests());
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn when_every_line_is_at_fault_the_search_is_bounded() {
    let cluster = Cluster::start(|_, _| Whole::Status(400, "illegal_argument_exception"), |_, _| Says::Fine).await;
    let bench = cluster.exporter("").await;
    let names: Vec<String> = (0..400).map(|at| format!("s{at}")).collect();
    bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped_total()), (0, 400));
    assert!(cluster.requests() <= 130, "{} requests", cluster.requests());
    let before = cluster.requests();
    bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    bench.settled().await;
    assert_eq!(cluster.requests(), before + 1, "a second search would be as vain");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_request_too_large_is_halved_and_the_size_remembered() {
    let whole = |_: usize, sent: &[crate::cluster::Sent]| match sent.len() > 30 {
        true => Whole::Status(413, ""),
        false => Whole::Items,
    };
    let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
    let bench = cluster.exporter("").await;
    let large = "x".repeat(10_000);
    let names: Vec<String> = (0..100).map(|at| format!("{at}{large}")).collect();
    bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 100);
    assert_eq!(cluster.names().len(), 100);
    let before = cluster.requests();
    bench.send(&request(names.iter().skip(50).map(String::as_str).take(1))).await.expect("queued");
    bench.settled().await;
    assert_eq!(cluster.requests(), before + 1);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_document_too_large_for_the_cluster_is_lost_alone() {
    let whole = |_: usize, sent: &[crate::cluster::Sent]| match sent.iter().any(|sent| sent.name().len() > 100) {
        true => Whole::Status(413, ""),
        false => Whole::Items,
    };
    let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
    let bench = cluster.exporter("").await;
    let large = "x".repeat(200_000);
    bench.send(&request(["a", &large, "b", "c"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("too_large")), (3, Some(&1)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_closed_index_waits_while_the_rest_flows_and_opens_again() {
    let open = Arc::new(AtomicBool::new(false));
    let state = open.clone();
    let rule = move |_: usize, sent: &crate::cluster::Sent| match sent.name().starts_with("closed")
        && !state.load(Ordering::Relaxed)
    {
        true => Says::Item(403, "cluster_block_exception"),
        false => Says::Fine,
    };
    let cluster = Cluster::start(|_, _| Whole::Items, rule).await;
    let bench = cluster.exporter("").await;
    bench.send(&request(["closed1", "a"])).await.expect("queued");
    bench.send(&request(["b", "closed2"])).await.expect("queued");
    eventually("the rest is delivered", || bench.sheet().delivered == 2).await;
    assert_eq!(bench.sheet().held, 2);
    open.store(true, Ordering::Relaxed);
    assert_eq!(bench.settled().await.delivered, 4);
    assert_eq!(cluster.names(), ["a", "b", "closed1", "closed2"]);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_does_not_fit_the_parking_lot_waits_beside_it_and_what_is_left_at_the_end_is_counted() {
    let closed = |_: usize, _: &crate::cluster::Sent| Says::Item(403, "security_exception");
    let cluster = Cluster::start(|_, _| Whole::Items, closed).await;
    let bench = cluster.exporter("podgate: {parked_bytes: 3000}").await;
    let names: Vec<String> = (0..100).map(|at| format!("s{at}")).collect();
    bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    eventually("what does not fit was tried again", || cluster.requests() > 2).await;
    assert_eq!((bench.sheet().held, bench.sheet().dropped_total()), (100, 0));
    let sheet = bench.drain(Duration::from_secs(2)).await;
    assert_eq!((sheet.delivered, sheet.dropped.get("blocked")), (0, Some(&100)));
}

#[tokio::test]
async fn a_dead_node_costs_nothing_when_another_lives() {
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let gone = dead.local_addr().expect("bound");
    drop(dead);
    let cluster = Cluster::healthy().await;
    let keys = format!("{{endpoints: ['http://{gone}', 'http://{}'], retry: {{enabled: false}}}}", cluster.address);
    let bench = start("elasticsearch", &keys).await;
    for name in ["a", "b", "c", "d"] {
        bench.send(&request([name])).await.expect("queued");
        bench.settled().await;
    }
    assert_eq!(bench.sheet().delivered, 4);
    assert_eq!(cluster.names(), ["a", "b", "c", "d"]);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_small_sender_is_never_stalled_by_the_defaults() {
    let cluster = Cluster::healthy().await;
    let bench = start("elasticsearch", &format!("{{endpoint: 'http://{}'}}", cluster.address)).await;
    // The Collector's defaults block the eleventh of such requests until its ten seconds are over.
    for at in 0..200 {
        bench.send(&request([at.to_string().as_str()])).await.expect("queued at once");
    }
    assert_eq!(bench.settled().await.delivered, 200);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_collectors_own_queue_settings_do_not_stall_either() {
    let queue =
        "sending_queue: {queue_size: 10, block_on_overflow: true, batch: {flush_timeout: 600s, min_size: 1000000}}";
    let cluster = Cluster::healthy().await;
    let bench = cluster.exporter(queue).await;
    for at in 0..100 {
        bench.send(&request([at.to_string().as_str()])).await.expect("taken");
    }
    eventually("a full queue is sent without waiting for its time", || bench.sheet().delivered >= 90).await;
    bench.drain(Duration::from_secs(5)).await;
    assert_eq!(bench.sheet().delivered, 100);
}
