//! Conditions and statements on every span of a request cost a few buffers, whatever its number of spans.

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::processors::{filter, transform};
use podgate::testing::{stage, telemetry};

use super::{PER_REQUEST_MAX, allocations, w1};

#[test]
fn ottl_on_every_span_stays_below_one_allocation_in_twenty_spans() {
    let ask = "traces: {span: ['attributes[\"http.route\"] == \"/healthz\" and kind == SPAN_KIND_SERVER', \
               'IsMatch(name, \"^never$\")', 'status.code == STATUS_CODE_UNSET and resource.attributes[\"k\"] == 1']}";
    let change = "trace_statements: [{context: span, statements: ['set(attributes[\"added\"], name)', 'set(status.code, 1)', \
                  'set(attributes[\"http.request.method\"], 5) where kind != SPAN_KIND_CLIENT', 'delete_key(attributes, \"url.scheme\")', \
                  'set(resource.attributes[\"seen\"], true)']}]";
    let cases: [(&ProcessorFactory, &str); 2] = [(&filter::FACTORY, ask), (&transform::FACTORY, change)];
    for (factory, body) in cases {
        let stage = stage::bench(factory, body, Signal::Traces, Host::new(Budget::unlimited()));
        let bytes = Bytes::from(w1::wire());
        let payload = || telemetry::payload(Signal::Traces, bytes.clone(), UnixNanos(0));
        let (first, next) = (payload(), payload());
        // Patterns make their caches at first use.
        drop(stage.send(first));
        let (count, sent) = allocations(|| stage.send(next));
        let name = factory.about.name;
        assert_eq!(sent[0].items, w1::SPANS as u64, "{name}");
        assert!(count <= PER_REQUEST_MAX, "{name}: {count} allocations for {} spans", w1::SPANS);
    }
}
