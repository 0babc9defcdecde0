//! Two million held spans: memory within 1.15 times their wire bytes and 30 MiB. Large, so only with `PODGATE_LARGE` set;
//! always with a small share of it, where only the account is compared.

use std::time::Duration;

use podgate::core::budget::Budget;
use podgate::core::origin::Origin;
use podgate::core::payload::{Payload, Signal};
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use serde_json::json;

use crate::load::Load;
use crate::rig::Rig;
use crate::w1;

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

#[tokio::test(start_paused = true)]
async fn held_spans_cost_little_more_than_their_bytes() {
    let large = std::env::var_os("PODGATE_LARGE").is_some();
    let requests = if large { 4_000 } else { 100 };
    let config = json!({
        "decision_wait": "10s",
        "podgate": { "max_bytes": "8GiB" },
        "policies": [{ "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } }],
    });
    let rig = Rig::start_with(&config, Budget::new(16 << 30, 16 << 30), Default::default()).await;
    let load = Load::new(w1::wire());
    let before = resident_bytes();
    let mut wire = 0;
    for number in 0..requests {
        let bytes = load.request(number);
        wire += bytes.len() as u64;
        let envelope = envelope::decode(bytes).expect("holds in this test");
        let items = envelope.messages() as u64;
        let ticket = rig.host.budget.take(1).expect("holds in this test");
        let origin = std::sync::Arc::new(Origin::internal(UnixNanos::now()));
        rig.host.balance.received(Signal::Traces, items);
        rig.consumer
            .consume(Payload { signal: Signal::Traces, envelope, items, origin, ticket })
            .await
            .expect("holds in this test");
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let used = rig.host.budget.used();
    let resident = resident_bytes().saturating_sub(before);
    let most = wire + wire * 15 / 100 + (30 << 20);
    println!("held {wire} bytes of spans: account {used}, resident {resident}, bound {most}");
    assert!(used >= wire * 95 / 100 && used <= most, "{used} {most}");
    if large {
        assert!(resident <= most, "{resident} {most}");
    }
    assert!(rig.sink.by_trace().is_empty());
    rig.drain().await;
    rig.assert_settled();
}
