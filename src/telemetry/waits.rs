//! What a process that seems to stand still waits for: owner tasks, components, connections, queues, held items.
//!
//! Lines for the log, written when an operator sends SIGQUIT. Reads what is counted anyway and takes only short locks, so
//! that it also answers when every worker is busy or blocked.

use crate::core::report::stats::{Metric, Series};
use crate::core::stage::host::Host;
use crate::telemetry::balance;

/// Words in the names of gauges that show where something waits.
const TELLING: [&str; 9] =
    ["open", "queue", "in_flight", "held", "budget", "pending", "waiting", "parked", "memory_rss"];

/// One line a task, a component that has something to say, and a figure that is not zero; the balance comes last.
pub fn lines(host: &Host) -> Vec<String> {
    let mut lines = Vec::new();
    for task in host.tasks.all() {
        let beat = match task.silent {
            Some(silent) => format!("last beat {:.1} s ago", silent.as_secs_f64()),
            None => "no beat of its own".to_owned(),
        };
        lines.push(format!("task {}: {beat}, waits for {}", task.name, task.waits_for));
    }
    for (component, report) in host.status.all() {
        let state = format!("{:?}", report.state).to_lowercase();
        let why = if report.message.is_empty() { String::new() } else { format!(" ({})", report.message) };
        lines.push(format!("component {component}: {state}{why}"));
    }
    lines.extend(host.stats.all().iter().filter_map(figure));
    lines.push(balance::line(&host.balance.sheets()));
    lines
}

fn figure(series: &Series) -> Option<String> {
    let value = match &series.metric {
        Metric::Gauge(gauge) => gauge.get() as f64,
        Metric::ReadGauge(read) => read(),
        _ => return None,
    };
    if value == 0.0 || !TELLING.iter().any(|word| series.name.contains(word)) {
        return None;
    }
    let labels: Vec<String> = series.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Some(format!("figure {}{{{}}}: {value}", series.name, labels.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::data::payload::Signal;
    use crate::core::data::settlement::Settlement;
    use crate::core::report::status::State;

    #[tokio::test(start_paused = true)]
    async fn tasks_components_queues_and_held_items_are_told_with_what_they_wait_for() {
        let host = Host::new(Budget::new(1 << 20, 1 << 20));
        let beating = host.tasks.spawn("exporters::otlp_grpc/queue", |pulse| async move {
            pulse.waits_for("the next hop's answers");
            std::future::pending().await
        });
        let idle = host.tasks.spawn_idle("extensions::admin", std::future::pending());
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        host.status.set("exporters::otlp_grpc", State::Degraded, "connection refused");
        host.stats.gauge("otelcol_exporter_queue_size", "Queued.", &[("exporter", "otlp_grpc")]).set(3);
        host.stats.gauge("otelcol_exporter_queue_capacity", "Room.", &[("exporter", "x")]).set(0);
        let _held = Settlement::receive(&host.balance, Signal::Traces, 4);
        let told = lines(&host);
        assert_eq!(
            told,
            [
                "task exporters::otlp_grpc/queue: last beat 7.0 s ago, waits for the next hop's answers",
                "task extensions::admin: no beat of its own, waits for whoever asks",
                "component exporters::otlp_grpc: degraded (connection refused)",
                "figure otelcol_exporter_queue_size{exporter=otlp_grpc}: 3",
                "balance: traces: received 4, delivered 0, held 4",
            ]
        );
        beating.abort();
        idle.abort();
        let _ = (beating.await, idle.await);
        assert!(host.tasks.all().is_empty(), "what ended waits for nothing");
    }
}
