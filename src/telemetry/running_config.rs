//! What is told of the configuration that runs: how often another was read and what came of it, its hash, and its age.

use std::sync::{Arc, Mutex};

use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, Metric};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;

/// What may come of a reload.
pub const RELOAD_OUTCOMES: [&str; 4] = ["applied", "unchanged", "refused", "failed"];

/// Since when the running configuration runs. Read by scrapes, written by reloads.
type Since = Mutex<UnixNanos>;

fn since(host: &Host) -> Arc<Since> {
    host.shared("telemetry::running_config", || Arc::new(Mutex::new(UnixNanos::now())))
}

/// Registers what is told whether or not there is ever a reload.
pub fn register(host: &Host) {
    RELOAD_OUTCOMES.iter().for_each(|outcome| drop(reloads(host, outcome)));
    let since = since(host);
    let age = move || UnixNanos::now().since(*since.locked()).as_secs_f64();
    let help = "Seconds since the running configuration came to run.";
    host.stats.read("podgate_config_age_seconds", help, &[], Metric::ReadGauge(Arc::new(age)));
}

/// Reloads that came to this.
pub fn reloads(host: &Host, outcome: &str) -> Arc<Counter> {
    let help = "Configurations that were read while podgate ran, by what came of them.";
    host.stats.counter("podgate_config_reloads", help, &[("outcome", outcome)])
}

/// The configuration of this hash runs since then.
pub fn runs(host: &Host, hash: &str, at: UnixNanos) {
    *since(host).locked() = at;
    let known = host.stats.all().into_iter().filter(|series| series.name == "podgate_config_info");
    let old = known.flat_map(|series| series.labels).filter(|(_, value)| value != hash);
    old.for_each(|(label, value)| host.stats.forget(label, &value));
    let help = "1, with the hash of the running configuration as it is shown, secrets left out.";
    host.stats.read("podgate_config_info", help, &[("config_hash", hash)], Metric::ReadGauge(Arc::new(|| 1.0)));
}
