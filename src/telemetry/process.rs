//! Figures of the process and its cgroup, read from /proc and /sys when asked. Linux; elsewhere they read as zero.

use std::fs;
use std::sync::Arc;

use tokio::time::Instant;

use crate::core::build_info;
use crate::core::report::stats::Metric;
use crate::core::stage::host::Host;
use crate::telemetry::cgroup::{self, CgroupLimits};

/// `otelcol_process_*` and the budget's gauges.
pub fn register(host: &Arc<Host>) {
    let started = Instant::now();
    let labels = [("version", build_info::VERSION), ("commit", build_info::COMMIT), ("target", build_info::TARGET)];
    host.stats.gauge("podgate_build_info", "What this binary was built from and for; always 1.", &labels).set(1);
    let counter = |name: &str, help, read: Arc<dyn Fn() -> f64 + Send + Sync>| {
        host.stats.read(name, help, &[], Metric::ReadCounter(read))
    };
    let gauge = |name: &str, help, read: Arc<dyn Fn() -> f64 + Send + Sync>| {
        host.stats.read(name, help, &[], Metric::ReadGauge(read))
    };
    counter(
        "otelcol_process_uptime_seconds",
        "Uptime of the process.",
        Arc::new(move || started.elapsed().as_secs_f64()),
    );
    counter("otelcol_process_cpu_seconds", "Total CPU user and system time.", Arc::new(cpu_seconds));
    gauge("otelcol_process_memory_rss_bytes", "Resident set size.", Arc::new(|| rss_bytes() as f64));
    let budget = host.budget.clone();
    gauge(
        "podgate_budget_used_bytes",
        "Bytes of the memory budget held by payloads, connections and stores.",
        Arc::new(move || budget.used() as f64),
    );
    let budget = host.budget.clone();
    gauge("podgate_budget_limit_bytes", "Hard limit of the memory budget.", Arc::new(move || budget.hard() as f64));
    let budget = host.budget.clone();
    counter(
        "podgate_budget_refused",
        "Claims on the memory budget that were refused.",
        Arc::new(move || budget.refused() as f64),
    );
    // Dashboards of the Collector show the Go heap; the nearest thing here is what the budget accounts for.
    let budget = host.budget.clone();
    gauge(
        "otelcol_process_runtime_heap_alloc_bytes",
        "Accounted bytes (alias for the Collector's heap gauge).",
        Arc::new(move || budget.used() as f64),
    );
}

/// Resident set size in bytes.
pub fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}

/// User and system time of all threads, finished ones included, in seconds; resolution 10 ms.
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name may hold spaces; fields are counted after its closing parenthesis.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / 100.0
}

/// What the process's cgroups grant it now.
pub fn granted() -> CgroupLimits {
    cgroup::read(&|path| fs::read_to_string(path).ok())
}

/// All memory of the machine, in bytes.
pub fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Worker threads: the cgroup's CPU quota rounded up, at least 1, at most the CPUs there are.
pub fn worker_threads() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    granted().cpus.map_or(cpus, |quota| quota.ceil() as usize).clamp(1, cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_reads_its_own_figures() {
        assert!(rss_bytes() > 1 << 20);
        assert!(cpu_seconds() >= 0.0);
        assert!(worker_threads() >= 1);
    }
}
