//! What is never taken: the dead-letter file and its limits, senders that wait, the end of the exporter, repeats after
//! answers that were lost on the way.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use podgate::exporters::elasticsearch::delivery::dead_letter::file::Letter;

use crate::cluster::{Cluster, Says, Sent, Whole};
use crate::harness::{checked, request, start};

fn letters(path: &Path) -> Vec<(String, u16, String, u32)> {
    let text = fs::read_to_string(path).expect("the file is there");
    let read = |line: &str| {
        let letter: Letter<'_> = serde_json::from_str(line).expect("one object a line");
        let document: serde_json::Value = serde_json::from_str(letter.document.get()).expect("the document itself");
        let name = document["name"].as_str().unwrap_or_default().to_owned();
        (name, letter.status, letter.kind, letter.items)
    };
    text.lines().map(read).collect()
}

fn refuse_bad(_: usize, sent: &Sent) -> Says {
    match sent.name().starts_with("bad") {
        true => Says::Item(400, "document_parsing_exception"),
        false => Says::Fine,
    }
}

#[tokio::test]
async fn what_is_never_taken_is_kept_with_its_reason() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead.ndjson");
    let cluster = Cluster::start(|_, _| Whole::Items, refuse_bad).await;
    let bench = cluster.exporter(&format!("podgate: {{dead_letter: {{path: '{}'}}}}", path.display())).await;
    bench.send(&request(["a", "bad1", "b", "bad2"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("dead_letter")), (2, Some(&2)));
    let kind = "document_parsing_exception".to_owned();
    assert_eq!(letters(&path), [("bad1".to_owned(), 400, kind.clone(), 1), ("bad2".to_owned(), 400, kind, 1)]);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_full_dead_letter_file_keeps_its_size_and_the_rest_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead.ndjson");
    let cluster = Cluster::start(|_, _| Whole::Items, refuse_bad).await;
    let keys = format!("podgate: {{dead_letter: {{path: '{}', max_bytes: 4000}}}}", path.display());
    let bench = cluster.exporter(&keys).await;
    let names: Vec<String> = (0..50).map(|at| format!("bad{at}")).collect();
    bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
    let sheet = bench.settled().await;
    let kept = letters(&path).len() as u64;
    assert!(kept > 1 && fs::metadata(&path).expect("there").len() <= 4000);
    assert_eq!(sheet.dropped.get("dead_letter"), Some(&kept));
    assert_eq!(sheet.dropped.get("permanent"), Some(&(50 - kept)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_disk_without_room_costs_the_documents_and_nothing_else() {
    let cluster = Cluster::start(|_, _| Whole::Items, refuse_bad).await;
    let bench = cluster.exporter("podgate: {dead_letter: {path: /dev/full}}").await;
    bench.send(&request(["a", "bad1"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("permanent")), (1, Some(&1)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_dead_letter_file_that_cannot_be_opened_is_told_at_start() {
    let body = "{endpoint: 'http://127.0.0.1:1', podgate: {dead_letter: {path: /no/such/directory/x}}}";
    let bench = checked("elasticsearch", body).0.expect("a plan");
    let error = bench.exporter.start().await.expect_err("it does not start");
    assert!(error.to_string().contains("/no/such/directory/x"), "{error}");
    bench.drain(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn without_a_queue_the_sender_hears_what_became_of_its_items() {
    let cluster = Cluster::start(|_, _| Whole::Items, refuse_bad).await;
    let bench = cluster.exporter("sending_queue: {enabled: false}").await;
    bench.send(&request(["a", "b"])).await.expect("delivered");
    assert_eq!(bench.sheet().delivered, 2, "the answer came after the delivery");
    bench.send(&request(["c", "bad"])).await.expect("delivered in part");
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped.get("permanent")), (3, Some(&1)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_waiting_sender_gets_everything_back_when_nothing_was_taken() {
    for (queue, blocked) in [
        ("{enabled: false}", false),
        ("{wait_for_result: true, batch: {flush_timeout: 10ms}}", false),
        ("{enabled: false}", true),
    ] {
        let whole = move |_: usize, _: &[Sent]| match blocked {
            true => Whole::Items,
            false => Whole::Status(503, "unavailable"),
        };
        let closed = |_: usize, _: &Sent| Says::Item(403, "cluster_block_exception");
        let cluster = Cluster::start(whole, closed).await;
        let bench = cluster.exporter(&format!("timeout: 300ms, sending_queue: {queue}")).await;
        let error = bench.send(&request(["a", "b"])).await.expect_err("not delivered");
        assert!(error.is_retryable(), "{queue} {blocked}: {error}");
        let sheet = bench.settled().await;
        assert_eq!((sheet.refused, sheet.dropped_total()), (2, 0), "{queue} {blocked}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn written_limits_of_attempts_are_kept() {
    for (retry, attempts, reason) in [
        ("{enabled: false}", 1, "retries_exhausted"),
        ("{max_retries: 2, initial_interval: 5ms, max_interval: 10ms}", 3, "retries_exhausted"),
        ("{max_requests: 2, initial_interval: 5ms, max_interval: 10ms}", 2, "retries_exhausted"),
        ("{retry_on_status: [429], initial_interval: 5ms}", 1, "unavailable"),
    ] {
        let cluster = Cluster::start(|_, _| Whole::Status(503, "unavailable"), |_, _| Says::Fine).await;
        let bench = cluster.exporter(&format!("retry: {retry}")).await;
        bench.send(&request(["a"])).await.expect("queued");
        let sheet = bench.settled().await;
        assert_eq!((cluster.requests(), sheet.dropped.get(reason)), (attempts, Some(&1)), "{retry}: {sheet:?}");
        bench.drain(Duration::from_secs(5)).await;
    }
    let busy = |_: usize, sent: &Sent| match sent.name() {
        "b" => Says::Item(429, "es_rejected_execution_exception"),
        _ => Says::Fine,
    };
    let cluster = Cluster::start(|_, _| Whole::Items, busy).await;
    let bench = cluster.exporter("retry: {max_retries: 3, initial_interval: 5ms, max_interval: 10ms}").await;
    bench.send(&request(["a", "b"])).await.expect("queued");
    let sheet = bench.settled().await;
    assert_eq!(cluster.sizes(), [2, 1, 1, 1]);
    assert_eq!((sheet.delivered, sheet.dropped.get("retries_exhausted")), (1, Some(&1)));
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_exporter_that_ends_keeps_what_it_could_not_deliver() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dead.ndjson");
    let cluster = Cluster::start(|_, _| Whole::Status(503, "unavailable"), |_, _| Says::Fine).await;
    let bench = cluster.exporter(&format!("podgate: {{dead_letter: {{path: '{}'}}}}", path.display())).await;
    // More than consumers can hold, so that some is still queued.
    for at in 0..40 {
        let names = [format!("a{at}"), format!("b{at}")];
        bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
        crate::harness::eventually("it was tried", || cluster.requests() > 0).await;
    }
    let sheet = bench.drain(Duration::from_millis(300)).await;
    assert_eq!(sheet.dropped.get("dead_letter"), Some(&80), "{sheet:?}");
    assert_eq!(letters(&path).len(), 80);
}

#[tokio::test]
async fn any_mixture_of_answers_balances() {
    for seed in 1..=8 {
        let mixture = move |at: usize, sent: &Sent| {
            let mut random = fastrand::Rng::with_seed(seed * 1_000_003 + at as u64 * 31 + sent.name().len() as u64);
            for _ in 0..sent.name().bytes().map(usize::from).sum::<usize>() % 17 {
                random.u8(..);
            }
            match random.u8(0..12) {
                0 => Says::Item(429, "es_rejected_execution_exception"),
                1 => Says::Item(503, "unavailable_shards_exception"),
                2 => Says::Item(400, "document_parsing_exception"),
                3 => Says::Item(403, "cluster_block_exception"),
                4 => Says::FailureStore,
                5 => Says::Item(409, "version_conflict_engine_exception"),
                _ => Says::Fine,
            }
        };
        let whole = move |at: usize, sent: &[Sent]| match fastrand::Rng::with_seed(seed * 7919 + at as u64).u8(0..10) {
            0 => Whole::Close,
            1 => Whole::Status(429, "busy"),
            2 if sent.len() > 3 => Whole::Status(413, ""),
            3 if sent.len() > 5 => Whole::Status(400, "illegal_argument_exception"),
            4 => Whole::IndexAndClose,
            _ => Whole::Items,
        };
        let cluster = Cluster::start(whole, mixture).await;
        let bench = start(
            "elasticsearch",
            &format!(
                "{{endpoint: 'http://{}', compression: none, podgate: {{parked_bytes: 20000}},
                  retry: {{initial_interval: 2ms, max_interval: 5ms}},
                  sending_queue: {{queue_size: 10000, batch: {{flush_timeout: 5ms}}}}}}",
                cluster.address
            ),
        )
        .await;
        for request_at in 0..20 {
            let names: Vec<String> = (0..20).map(|at| format!("r{request_at}s{at}")).collect();
            bench.send(&request(names.iter().map(String::as_str))).await.expect("queued");
        }
        let sheet = bench.drain(Duration::from_secs(8)).await;
        assert!(sheet.delivered > 100, "seed {seed}: {sheet:?}");
    }
}

#[tokio::test]
async fn of_requests_sent_together_each_sender_hears_of_its_own_documents() {
    let cluster = Cluster::start(|_, _| Whole::Items, refuse_bad).await;
    let queue = "{wait_for_result: true, batch: {min_size: 7, flush_timeout: 5s, sizer: items}}";
    let bench = cluster.exporter(&format!("sending_queue: {queue}")).await;
    let (one, other) = (request(["a", "bad1", "b", "bad2"]), request(["bad3", "c", "d"]));
    let (one, other) = tokio::join!(bench.hear(&one), bench.hear(&other));
    for ((answer, losses), items) in [(one, 2), (other, 1)] {
        answer.expect("the others were taken");
        assert_eq!(losses.iter().map(|loss| loss.items).sum::<u64>(), items, "{losses:?}");
        assert!(losses[0].words.contains("document_parsing_exception"), "in the cluster's own words: {losses:?}");
    }
    assert_eq!(cluster.requests(), 1, "they were sent together");
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_waiting_sender_gets_back_what_was_not_taken_and_nothing_is_there_twice_when_it_sends_again() {
    for queue in ["{enabled: false}", "{wait_for_result: true, batch: {flush_timeout: 10ms}}"] {
        let busy = Arc::new(AtomicBool::new(true));
        let gate = busy.clone();
        let rule = move |_: usize, sent: &Sent| match sent.name() {
            "a" => Says::Fine,
            _ if gate.load(Ordering::Relaxed) => Says::Item(429, "es_rejected_execution_exception"),
            _ => Says::Fine,
        };
        let cluster = Cluster::start(|_, _| Whole::Items, rule).await;
        let bench = cluster.exporter(&format!("timeout: 300ms, sending_queue: {queue}")).await;
        // Items without an identity of their own, as log records are.
        let sent = request(["a", "b", "c"]);
        let error = bench.send(&sent).await.expect_err("not all of it was taken");
        assert!(
            error.is_retryable() && error.to_string().contains("es_rejected_execution_exception"),
            "{queue}: {error}"
        );
        let sheet = bench.settled().await;
        assert_eq!((sheet.delivered, sheet.refused, sheet.dropped_total()), (1, 2, 0), "{queue}: {sheet:?}");
        busy.store(false, Ordering::Relaxed);
        bench.send(&sent).await.expect("taken now");
        let sheet = bench.settled().await;
        assert_eq!((sheet.received, sheet.delivered, sheet.dropped_total()), (6, 4, 0), "{queue}: {sheet:?}");
        assert_eq!(cluster.names(), ["a", "b", "c"], "{queue}");
        // An equal request is another one.
        bench.send(&sent).await.expect("taken");
        assert_eq!(cluster.names().len(), 6, "{queue}");
        bench.drain(Duration::from_secs(5)).await;
    }
}
