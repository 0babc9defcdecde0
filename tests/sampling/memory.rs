//! Two million held spans: memory within 1.15 times their wire bytes and 30 MiB, and 200 bytes for each trace of fewer than
//! ten spans. Large, so only with `PODGATE_LARGE` set; always with a small share of it, where only the account is compared.

use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Settlement;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use serde_json::json;

use crate::load::Load;
use crate::rig::Rig;
use crate::w1;

/// A field of /proc/self/status in bytes: `VmRSS`, `VmHWM`.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// Holds `requests` requests of 500 spans and compares what that takes with the bound; returns the figures.
async fn hold(load: Load, requests: u64, bytes_a_trace: u64, traces_a_request: u64) -> String {
    let config = json!({
        "decision_wait": "10s",
        "podgate": { "max_bytes": "8GiB" },
        "policies": [{ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }],
    });
    let rig = Rig::start_with(&config, Budget::new(16 << 30, 16 << 30), Default::default()).await;
    let before = memory("VmRSS");
    let mut wire = 0;
    for number in 0..requests {
        let bytes = load.request(number);
        wire += bytes.len() as u64;
        let envelope = envelope::decode(bytes).expect("holds in this test");
        let items = envelope.messages() as u64;
        let ticket = rig.host.budget.take(1).expect("holds in this test");
        let origin = std::sync::Arc::new(Origin::internal(UnixNanos::now()));
        let (receipt, share) = Settlement::receive(&rig.host.balance, Signal::Traces, items);
        rig.consumer
            .consume(Payload { signal: Signal::Traces, envelope, items, origin, ticket, share })
            .await
            .expect("holds in this test");
        receipt.answer(Ok(()));
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let used = rig.host.budget.used();
    let peak = memory("VmHWM").saturating_sub(before);
    let traces = requests * traces_a_request;
    let most = wire + wire * 15 / 100 + (30 << 20) + traces * bytes_a_trace;
    assert!(used >= wire * 95 / 100 && used <= most, "{used} {most}");
    if std::env::var_os("PODGATE_LARGE").is_some() {
        assert!(peak <= most, "{peak} {most}");
    }
    assert!(rig.sink.by_trace().is_empty());
    rig.drain().await;
    rig.assert_settled();
    format!("{traces} traces held, {wire} bytes of spans: account {used}, peak {peak}, bound {most}")
}

fn requests() -> u64 {
    if std::env::var_os("PODGATE_LARGE").is_some() { 4_000 } else { 100 }
}

#[tokio::test(start_paused = true)]
async fn traces_of_ten_spans_cost_little_more_than_their_bytes() {
    println!("{}", hold(Load::new(w1::wire(), false), requests(), 0, 50).await);
}

#[tokio::test(start_paused = true)]
async fn traces_of_one_span_cost_two_hundred_bytes_more_each() {
    println!("{}", hold(Load::new(w1::wire(), true), requests() / 2, 200, 500).await);
}
