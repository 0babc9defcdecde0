//! Repeats after answers that were lost on the way: the same ids on every attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, Says, Sent, Whole};
use crate::harness::request;

#[tokio::test]
async fn answers_lost_on_the_way_make_no_duplicates() {
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    let whole = move |at: usize, _: &[Sent]| {
        if at % 3 != 2 {
            count.fetch_add(1, Ordering::Relaxed);
            return Whole::IndexAndClose;
        }
        Whole::Items
    };
    let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
    let bench = cluster.exporter("").await;
    let mut sent = Vec::new();
    for at in 0..20 {
        let name = format!("s{at:02}");
        let mut one = request([name.as_str()]);
        // Ids are made of trace and span id.
        one.resource_spans[0].scope_spans[0].spans[0].span_id = vec![at + 1; 8];
        bench.send(&one).await.expect("queued");
        sent.push(name);
    }
    assert_eq!(bench.settled().await.delivered, 20);
    assert!(lost.load(Ordering::Relaxed) > 0);
    assert_eq!(cluster.names(), sent);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn equal_records_of_different_requests_are_all_documents() {
    let cluster = Cluster::healthy().await;
    let bench = cluster.exporter("").await;
    // Without ids of their own, as log lines of one second are.
    for _ in 0..3 {
        bench.send(&request(["same", "same"])).await.expect("queued");
        // The queue would join the next one with it.
        bench.settled().await;
    }
    assert_eq!(bench.settled().await.delivered, 6);
    assert_eq!(cluster.names(), ["same"; 6]);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn equal_records_in_one_large_request_are_all_documents() {
    let cluster = Cluster::healthy().await;
    let bench = cluster.exporter("").await;
    // More than one portion is mapped at a time.
    let name = "x".repeat(1 << 20);
    bench.send(&request([name.as_str(); 5])).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 5);
    assert_eq!(cluster.names().len(), 5);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn records_whose_answer_was_lost_are_not_made_twice() {
    let whole = |at: usize, _: &[Sent]| if at == 0 { Whole::IndexAndClose } else { Whole::Items };
    let cluster = Cluster::start(whole, |_, _| Says::Fine).await;
    let bench = cluster.exporter("").await;
    bench.send(&request(["same", "same", "other"])).await.expect("queued");
    assert_eq!(bench.settled().await.delivered, 3);
    assert_eq!(cluster.names(), ["other", "same", "same"]);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_conflict_after_a_lost_answer_is_the_document_itself() {
    // As a time series is: no id of its own, and the index knows it by time and dimensions.
    for (lost, delivered, conflicts) in [(true, 2, 0), (false, 0, 2)] {
        let whole = move |at: usize, _: &[Sent]| if lost && at == 0 { Whole::Close } else { Whole::Items };
        let cluster = Cluster::start(whole, |_, _| Says::Item(409, "version_conflict_engine_exception")).await;
        let bench = cluster.exporter("podgate: {deterministic_ids: false}").await;
        bench.send(&request(["a", "b"])).await.expect("queued");
        let sheet = bench.settled().await;
        assert_eq!(sheet.delivered, delivered, "{sheet:?}");
        assert_eq!(sheet.dropped.get("conflict").copied().unwrap_or_default(), conflicts, "{sheet:?}");
        bench.drain(Duration::from_secs(5)).await;
    }
}
