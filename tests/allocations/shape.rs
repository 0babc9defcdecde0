//! Processors that change items: a request costs a few buffers, whatever its number of spans.

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::processors::{attributes, probabilistic_sampler, resource};
use podgate::testing::{stage, telemetry};

use super::{PER_REQUEST_MAX, allocations, w1};

#[test]
fn changing_every_span_stays_below_one_allocation_in_twenty_spans() {
    let change = "{include: {match_type: regexp, span_names: ['.']}, actions: [{key: http.route, action: hash}, \
                  {key: url.scheme, action: delete}, {key: added, value: [1, x], action: insert}, \
                  {key: http.request.method, pattern: '(?P<first>.)', action: extract}, \
                  {key: http.response.status_code, action: convert, converted_type: string}]}";
    let enrich = "{attributes: [{key: a, value: 1, action: upsert}]}";
    let cases: [(&ProcessorFactory, &str); 3] = [
        (&attributes::FACTORY, change),
        (&resource::FACTORY, enrich),
        (&probabilistic_sampler::FACTORY, "{mode: proportional, sampling_percentage: 100}"),
    ];
    for (factory, body) in cases {
        let stage = stage::bench(factory, body, Signal::Traces, Host::new(Budget::unlimited()));
        let bytes = Bytes::from(w1::wire());
        let payload = || telemetry::payload(Signal::Traces, bytes.clone(), UnixNanos(0));
        let (first, next) = (payload(), payload());
        // Patterns make their caches at first use.
        drop(stage.send(first));
        let (count, sent) = allocations(|| stage.send(next));
        assert_eq!(sent[0].items, w1::SPANS as u64);
        let name = factory.about.name;
        assert!(count <= PER_REQUEST_MAX, "{name}: {count} allocations for {} spans", w1::SPANS);
    }
}
