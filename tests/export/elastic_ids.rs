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
