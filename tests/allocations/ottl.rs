//! Conditions and statements on every item of a request cost a few buffers, whatever its number of items.

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::processors::{filter, transform};
use podgate::testing::{stage, telemetry};

use super::{PER_REQUEST_MAX, allocations, w1};

/// What makes no text: conditions of all kinds, and statements that copy, set, move and delete.
const CASES: &[(&ProcessorFactory, Signal, &str)] = &[
    (
        &filter::FACTORY,
        Signal::Traces,
        "traces: {span: ['attributes[\"http.route\"] == \"/healthz\" and kind == SPAN_KIND_SERVER', \
         'IsMatch(name, \"^never$\")', 'status.code == STATUS_CODE_UNSET and resource.attributes[\"k\"] == 1']}",
    ),
    (
        &transform::FACTORY,
        Signal::Traces,
        "trace_statements: [{context: span, statements: ['set(attributes[\"added\"], name)', 'set(status.code, 1)', \
         'set(attributes[\"http.request.method\"], 5) where kind != SPAN_KIND_CLIENT', 'delete_key(attributes, \"url.scheme\")', \
         'set(resource.attributes[\"seen\"], true)']}]",
    ),
    (
        &filter::FACTORY,
        Signal::Logs,
        "logs: {log_record: ['severity_number > SEVERITY_NUMBER_WARN and IsMatch(body, \"^order\")', \
         'attributes[\"log.logger\"] == \"quiet\" or trace_id == TraceID(0x01020304050607080102030405060708)']}",
    ),
    (
        &transform::FACTORY,
        Signal::Logs,
        "log_statements: [{context: log, statements: ['set(attributes[\"text\"], body)', 'set(severity_text, \"info\") where \
         severity_number == SEVERITY_NUMBER_INFO', 'set(time, observed_time)', 'delete_key(attributes, \"log.logger\")', \
         'set(event_name, attributes[\"text\"])']}]",
    ),
    (
        &filter::FACTORY,
        Signal::Metrics,
        "metrics: {metric: ['type == METRIC_DATA_TYPE_SUM and name == \"x\"'], datapoint: ['value_double < 0.0 or attributes[\"k\"] == 1']}",
    ),
    (
        &transform::FACTORY,
        Signal::Metrics,
        "metric_statements: [{context: metric, statements: ['set(unit, \"1\")', 'set(description, name)']}]",
    ),
    (
        &transform::FACTORY,
        Signal::Metrics,
        "metric_statements: [{context: datapoint, statements: ['set(attributes[\"of\"], metric.name)', \
         'set(value_double, 2.5) where value_double > 9.0', 'set(flags, 1)']}]",
    ),
];

#[test]
fn ottl_on_every_item_stays_below_one_allocation_in_twenty_items() {
    let items = u32::try_from(w1::SPANS).expect("it is small");
    for (factory, signal, body) in CASES {
        let stage = stage::bench(factory, body, *signal, Host::new(Budget::unlimited()));
        let now = UnixNanos::from_secs(1_000);
        let bytes = match signal {
            Signal::Logs => telemetry::logs(items, now),
            Signal::Metrics => telemetry::metrics(items, now),
            _ => Bytes::from(w1::wire()),
        };
        let payload = || telemetry::payload(*signal, bytes.clone(), UnixNanos(0));
        let (first, next) = (payload(), payload());
        // Patterns make their caches at first use.
        drop(stage.send(first));
        let (count, sent) = allocations(|| stage.send(next));
        let name = format!("{} of {}", factory.about.name, signal.name());
        assert_eq!(sent[0].items, w1::SPANS as u64, "{name}");
        assert!(count <= PER_REQUEST_MAX, "{name}: {count} allocations for {} items", w1::SPANS);
    }
}
