//! What becomes of kept traces: refusals are retried within bounds, senders feel them, and every loss has its cause.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use podgate::core::data::payload::Signal;
use podgate::core::error::{ConsumeError, Reason};

use crate::promises::{everything, seconds};
use crate::rig::Rig;
use crate::spans::{hex, request, span};

#[tokio::test(start_paused = true)]
async fn while_the_next_stage_refuses_senders_are_refused_and_nothing_is_lost() {
    let rig = Rig::start(&everything(json!({ "decision_wait": "1s", "podgate": { "max_bytes": "8MiB" } }))).await;
    let refusal = ConsumeError::refused(Reason::UNAVAILABLE, "busy");
    *rig.sink.answers.lock().expect("holds in this test") = vec![refusal; 60];
    let mut refused = 0;
    let mut accepted = 0;
    for trace in 0..1000 {
        let mut big = span(trace, 0);
        big.name = "x".repeat(20_000);
        match rig.send(&request(vec![big])).await {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert!(error.is_retryable() && error.reason() == Reason::MEMORY, "{error}");
                refused += 1;
            }
        }
        seconds(0.01).await;
    }
    assert!(refused > 0, "backpressure reaches the sender");
    seconds(200.0).await;
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().len(), accepted);
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_rejected_parcel_is_counted_by_cause() {
    let rig = Rig::start(&everything(json!({}))).await;
    *rig.sink.answers.lock().expect("holds in this test") = vec![ConsumeError::rejected(Reason::PERMANENT, "no")];
    rig.send(&request(vec![span(1, 0), span(1, 1)])).await.expect("holds in this test");
    seconds(20.0).await;
    rig.drain().await;
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("permanent"), Some(&2));
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_nobody_listens_to_ends_in_time_and_counts_the_loss() {
    let rig = Rig::start(&everything(json!({}))).await;
    *rig.sink.answers.lock().expect("holds in this test") =
        vec![ConsumeError::refused(Reason::UNAVAILABLE, "gone"); 10_000];
    rig.send(&request(vec![span(1, 0)])).await.expect("holds in this test");
    let before = tokio::time::Instant::now();
    rig.drain().await;
    assert!(before.elapsed() <= Duration::from_secs(20));
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("shutdown"), Some(&1));
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_parcel_that_is_refused_for_five_minutes_is_given_up_and_counted() {
    let rig = Rig::start(&everything(json!({ "decision_wait": "1s" }))).await;
    let refusal = ConsumeError::refused(Reason::UNAVAILABLE, "busy");
    *rig.sink.answers.lock().expect("holds in this test") = vec![refusal; 1000];
    rig.send(&request(vec![span(1, 0), span(1, 1)])).await.expect("holds in this test");
    seconds(280.0).await;
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("retries_exhausted"), None);
    assert!(rig.gauge("delivering_bytes") > 0, "a verdict is one thing, delivery another");
    seconds(30.0).await;
    assert_eq!(rig.host.balance.sheet(Signal::Traces).dropped.get("retries_exhausted"), Some(&2));
    assert_eq!(rig.gauge("delivering_bytes"), 0);
    assert_eq!(rig.host.stats.total("podgate_tail_sampling_delivery_lost_spans"), 2);
    let asked = 1000 - rig.sink.answers.lock().expect("holds in this test").len() as u64;
    assert_eq!(rig.host.stats.total("podgate_tail_sampling_delivery_refusals"), asked);
    assert!((30..60).contains(&asked), "{asked} attempts, ten seconds apart in the end");
    rig.drain().await;
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_counts_against_the_maximum_until_it_is_taken() {
    const MAX: u64 = 8 << 20;
    let config = everything(json!({ "decision_wait": "1s", "podgate": { "max_bytes": "8MiB" } }));
    let rig = Rig::start(&config).await;
    rig.sink.stalled.store(true, std::sync::atomic::Ordering::Relaxed);
    let (mut accepted, mut refused, mut most) = (0, 0, 0);
    for turn in 0..100 {
        let big = |number: u64| Span { name: "x".repeat(20_000), ..span(turn * 20 + number, 0) };
        match rig.send(&request((0..20u64).map(big).collect())).await {
            Ok(()) => accepted += 20,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                refused += 20;
            }
        }
        seconds(0.1).await;
        most = most.max(rig.gauge("held_bytes") + rig.gauge("queued_bytes") + rig.gauge("delivering_bytes"));
    }
    assert!(refused > 1000 && accepted > 200, "{accepted} taken, {refused} refused");
    assert!(most <= MAX + MAX / 16, "{most} bytes at most");
    assert!(rig.gauge("delivering_bytes") > MAX / 4, "{}", rig.gauge("delivering_bytes"));
    rig.sink.stalled.store(false, std::sync::atomic::Ordering::Relaxed);
    seconds(5.0).await;
    assert_eq!((rig.gauge("delivering_bytes"), rig.gauge("queued_bytes")), (0, 0));
    rig.drain().await;
    assert_eq!(rig.sink.by_trace().len(), accepted, "nothing was lost");
    rig.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn one_refused_parcel_does_not_hold_up_the_others() {
    let rig = Rig::start(&everything(json!({ "decision_wait": "1s" }))).await;
    *rig.sink.answers.lock().expect("holds in this test") = vec![ConsumeError::Refused {
        reason: Reason::UNAVAILABLE,
        after: Some(Duration::from_secs(60)),
        message: "busy".into(),
    }];
    rig.send(&request(vec![span(1, 0)])).await.expect("holds in this test");
    seconds(3.0).await;
    rig.send(&request(vec![span(2, 0)])).await.expect("holds in this test");
    seconds(3.0).await;
    assert_eq!(rig.sink.by_trace().keys().collect::<Vec<_>>(), [&hex(2)]);
    seconds(60.0).await;
    assert_eq!(rig.sink.by_trace().len(), 2, "after as long as the refusal asked for");
    rig.drain().await;
    rig.assert_settled();
}
