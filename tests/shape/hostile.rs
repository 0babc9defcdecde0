//! Bytes nobody meant: whatever an item holds, no processor panics, none makes more of it, and the account holds.

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::processors::{attributes, probabilistic_sampler, resource};
use podgate::testing::stage::bench;
use podgate::testing::telemetry;

const ACTIONS: &str = "[{pattern: '.*', action: hash}, {key: a, from_attribute: service.name, action: upsert}, \
    {key: http.route, action: convert, converted_type: string}, {key: a, pattern: '(?P<x>.)(?P<y>.*)', action: extract}, \
    {key: log.logger, action: convert, converted_type: double}, {pattern: 'o$', action: delete}, \
    {key: m, value: {a: [1, x]}, action: insert}, {key: m, action: convert, converted_type: string}]";

/// Bytes changed, cut out and repeated at random places.
fn damaged(random: &mut fastrand::Rng, item: &[u8]) -> Bytes {
    let mut bytes = item.to_vec();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, random.u8(..)),
            _ => bytes.extend_from_within(..at.min(64)),
        }
    }
    Bytes::from(bytes)
}

#[test]
fn no_item_however_damaged_stops_a_processor() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let resource_body = format!("{{attributes: {ACTIONS}}}");
    let matching = "include: {match_type: regexp, attributes: [{key: http.route, value: .}]}, exclude: {match_type: strict, \
                    resources: [{key: x, value: [1]}]}";
    let spans_body = format!("{{{matching}, actions: {ACTIONS}}}");
    let all_body = format!("{{actions: {ACTIONS}}}");
    let sampling = "{mode: equalizing, sampling_percentage: 50, fail_closed: false, sampling_priority: log.logger}";
    let hashing = "{sampling_percentage: 50, attribute_source: record, from_attribute: log.logger}";
    let stages: [(&ProcessorFactory, &str, &[Signal]); 5] = [
        (&resource::FACTORY, &resource_body, &Signal::ALL),
        (&attributes::FACTORY, &spans_body, &[Signal::Traces, Signal::Logs]),
        (&attributes::FACTORY, &all_body, &[Signal::Traces, Signal::Logs, Signal::Metrics]),
        (&probabilistic_sampler::FACTORY, sampling, &[Signal::Traces, Signal::Logs]),
        (&probabilistic_sampler::FACTORY, hashing, &[Signal::Traces, Signal::Logs]),
    ];
    let now = UnixNanos(0);
    for (factory, body, signals) in stages {
        for signal in signals {
            let bench = bench(factory, body, *signal, Host::new(Budget::unlimited()));
            for _ in 0..200 {
                let sound = match signal {
                    Signal::Logs => telemetry::logs(3, now),
                    Signal::Metrics => telemetry::metrics(3, now),
                    Signal::Traces | Signal::Profiles => telemetry::traces(3, now, 1),
                };
                let mut payload = telemetry::payload(*signal, sound, now);
                let group = &mut payload.envelope.groups[0];
                group.resource = group.resource.as_ref().map(|resource| damaged(&mut random, resource));
                let scope = &mut group.scopes[0];
                scope.items = scope.items.iter().map(|item| damaged(&mut random, item)).collect();
                let before = payload.items;
                let after: u64 = bench.send(payload).iter().map(|sent| sent.items).sum();
                let gone = bench.host.balance.sheet(*signal).sampled_out;
                assert!(after <= before, "{} {}: seed {seed}", factory.about.name, signal.name());
                assert!(gone > 0 || after == before || factory.about.name == "probabilistic_sampler");
            }
        }
    }
}
