//! The limits read as the Collector reads them, one budget for all, and refusal under pressure.

use crate::config::check::text_of;
use crate::core::node::{Entry, Node, Place, Value};
use crate::core::stage::factory::Checks;
use crate::core::stage::host::Host;
use crate::testing::check as kit;

use super::*;

/// A body of integer keys.
fn body(keys: &[(&str, i64)]) -> Node {
    let entry = |(key, value): &(&str, i64)| Entry {
        key: (*key).to_owned(),
        key_place: Place::default(),
        value: Node::new(Value::Int(*value), Place::default()),
    };
    Node::new(Value::Map(keys.iter().map(entry).collect()), Place::default())
}

fn checked(checks: &Checks, keys: &[(&str, i64)]) -> bool {
    let node = body(keys);
    assert!(text_of(&node).is_none());
    kit::run(checks, "processors::memory_limiter", &node, check).is_some()
}

fn codes(checks: &Checks) -> Vec<&'static str> {
    checks.diagnostics.sorted().iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn the_soft_limit_is_the_hard_one_less_the_spike() {
    for (keys, hard, soft) in [
        (&[("limit_mib", 400), ("spike_limit_mib", 100)][..], 400 * MIB, 300 * MIB),
        (&[("limit_mib", 100)][..], 100 * MIB, 80 * MIB),
        (&[("limit_mib", 100), ("limit_percentage", 50)][..], 100 * MIB, 80 * MIB),
    ] {
        let checks = Checks::default();
        assert!(checked(&checks, keys));
        let limit = checks.memory_limits.borrow()[0].1;
        let near = |is: u64, wanted: u64| is.abs_diff(wanted) < 128;
        // Whatever memory there is.
        let of = limit.of(1);
        assert!(near(of.0, hard) && near(of.1, soft), "{keys:?}: {limit:?}");
        assert_eq!(codes(&checks), [] as [&str; 0], "{keys:?}");
    }
}

#[test]
fn a_share_is_one_of_the_memory_there_is() {
    let checks = Checks::default();
    assert!(checked(&checks, &[("limit_percentage", 50), ("spike_limit_percentage", 25)]));
    assert!(checked(&checks, &[("limit_percentage", 50)]));
    let limits: Vec<_> = checks.memory_limits.borrow().iter().map(|(_, limit, _)| *limit).collect();
    assert_eq!(limits[0].of(1_000 * MIB), (500 * MIB, 250 * MIB));
    assert_eq!(limits[0].of(2_000 * MIB), (1_000 * MIB, 500 * MIB), "it follows the memory there is");
    assert_eq!(limits[1].of(1_000 * MIB), (500 * MIB, 400 * MIB));
}

#[test]
fn wrong_limits_are_errors() {
    for keys in [
        &[][..],
        &[("limit_mib", 0)],
        &[("limit_mib", 100), ("spike_limit_mib", 100)],
        &[("limit_percentage", 120)],
        &[("limit_percentage", 50), ("spike_limit_percentage", 60)],
    ] {
        let checks = Checks::default();
        assert!(!checked(&checks, keys) && checks.diagnostics.has_errors(), "{keys:?}");
    }
}

#[test]
fn check_interval_is_accepted_without_a_word() {
    let checks = Checks::default();
    assert!(checked(&checks, &[("limit_mib", 100), ("check_interval", 1)]));
    assert!(codes(&checks).is_empty());
}

#[test]
fn payloads_are_refused_retryably_above_the_soft_limit() {
    let host = Host::new(Budget::new(100, 80));
    let limiter = MemoryLimiter {
        budget: host.budget.clone(),
        accepted: host.stats.counter("a", "", &[]),
        refused: host.stats.counter("r", "", &[]),
    };
    let payload = || Payload {
        signal: Signal::Traces,
        envelope: Default::default(),
        items: 3,
        origin: Arc::new(crate::core::data::origin::Origin::internal(crate::core::time::UnixNanos(0))),
        ticket: crate::core::data::budget::Ticket::free(),
        share: Default::default(),
    };
    let ticket = host.budget.take(80).unwrap();
    let error = limiter.transform(payload()).unwrap_err();
    assert!(error.is_retryable() && error.reason() == Reason::MEMORY);
    drop(ticket);
    assert!(limiter.transform(payload()).is_ok());
    assert_eq!((limiter.accepted.get(), limiter.refused.get()), (3, 3));
}
