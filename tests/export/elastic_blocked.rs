//! Indices that take no writes: nothing is lost while they are closed, and senders feel it when there is no more room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, Says, Sent, Whole};
use crate::harness::{eventually, request};

/// Room for few documents, and for few requests.
const TIGHT: &str = "podgate: {parked_bytes: 20000}, sending_queue: {queue_size: 5, num_consumers: 1, batch: {flush_timeout: 10ms, sizer: bytes, min_size: 1000, max_size: 5000}}";

#[tokio::test]
async fn a_blocked_cluster_holds_and_pushes_back_instead_of_dropping() {
    for (status, kind) in [(429, "cluster_block_exception"), (404, "index_not_found_exception")] {
        let open = Arc::new(AtomicBool::new(false));
        let gate = open.clone();
        let closed = move |_: usize, _: &Sent| match gate.load(Ordering::Relaxed) {
            true => Says::Fine,
            false => Says::Item(status, kind),
        };
        let cluster = Cluster::start(|_, _| Whole::Items, closed).await;
        let bench = cluster.exporter(TIGHT).await;
        let (mut accepted, mut refused) = (0, 0);
        for at in 0..120 {
            let names: Vec<String> = (0..20).map(|item| format!("r{at:03}i{item:02}")).collect();
            match bench.send(&request(names.iter().map(String::as_str))).await {
                Ok(()) => accepted += 20,
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    refused += 20;
                }
            }
            if at == 20 {
                // The only consumer has what it can hold by now, and the rest fills the queue.
                eventually("it was tried", || cluster.requests() > 1).await;
            }
        }
        let sheet = bench.sheet();
        assert!(refused > 0 && sheet.dropped_total() == 0 && sheet.refused == refused, "{kind}: {sheet:?}");
        open.store(true, Ordering::Relaxed);
        let sheet = bench.settled().await;
        assert_eq!((sheet.delivered, sheet.dropped_total()), (accepted, 0), "{kind}: {sheet:?}");
        assert_eq!(cluster.names().len() as u64, accepted);
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn what_is_held_before_closed_indices_is_kept_when_the_exporter_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead.ndjson");
    let cluster = Cluster::start(|_, _| Whole::Items, |_, _| Says::Item(429, "cluster_block_exception")).await;
    let keys = format!(
        "podgate: {{parked_bytes: 2000, dead_letter: {{path: '{}'}}}}, sending_queue: {{queue_size: 100}}",
        path.display()
    );
    let bench = cluster.exporter(&keys).await;
    for at in 0..20 {
        bench.send(&request([format!("s{at}").as_str()])).await.expect("queued");
    }
    eventually("it was tried", || cluster.requests() > 2).await;
    assert_eq!(bench.sheet().dropped_total(), 0, "nothing is dead-lettered while everything is closed");
    let sheet = bench.drain(Duration::from_secs(1)).await;
    assert_eq!(sheet.dropped.get("dead_letter"), Some(&20), "{sheet:?}");
}

#[tokio::test]
async fn one_closed_index_does_not_hold_up_the_others_where_a_file_takes_what_it_has_no_room_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead.ndjson");
    let tried = Arc::new(AtomicUsize::new(0));
    let count = tried.clone();
    let closed = move |_: usize, sent: &Sent| match sent.name().starts_with("closed") {
        true => {
            count.fetch_add(1, Ordering::Relaxed);
            Says::Item(403, "cluster_block_exception")
        }
        false => Says::Fine,
    };
    let cluster = Cluster::start(|_, _| Whole::Items, closed).await;
    let keys = format!("podgate: {{parked_bytes: 2000, dead_letter: {{path: '{}'}}}}", path.display());
    let bench = cluster.exporter(&keys).await;
    for at in 0..30 {
        let names = [format!("open{at}"), format!("closed{at}")];
        bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    }
    eventually("the rest flows", || bench.sheet().delivered == 30).await;
    let sheet = bench.drain(Duration::from_secs(2)).await;
    assert_eq!((sheet.delivered, sheet.dropped.get("dead_letter").copied().unwrap_or_default()), (30, 30), "{sheet:?}");
    assert!(tried.load(Ordering::Relaxed) > 0);
}
