//! Processors, each alone between a source and an end that keeps what arrives, for each byte in and out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope::encoded_len;
use podgate::otlp::readable;
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use podgate::processors::{attributes, batch, filter, probabilistic_sampler, resource, resource_detection, transform};
use podgate::testing::stage;
use serde_json::json;

use crate::counting::allocated;
use crate::generate::{Generator, every_field, pairs};
use crate::measure::check;
use crate::{rig, settings};

/// The payload that a receiver makes of a request, as far as it can be read.
fn payload(signal: Signal, body: &[u8]) -> Option<Payload> {
    let read = readable::read(signal, Bytes::copy_from_slice(body), &Ticket::free()).ok()?;
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    let (ticket, share) = (Ticket::free(), Share::none());
    Some(Payload { signal, envelope: read.envelope, items: read.items, origin, ticket, share })
}

fn made(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| encoded_len(&payload.envelope)).sum()
}

/// Checks one body of a processor on every field of the signal, and pairs of them.
fn law(factory: &ProcessorFactory, body: &str, signal: Signal, beside: bool) {
    let more = if beside { pairs(signal) } else { Vec::new() };
    law_on(factory, body, signal, every_field(signal).into_iter().chain(more).collect());
}

fn law_on(factory: &ProcessorFactory, body: &str, signal: Signal, generators: Vec<Generator>) {
    let stage = stage::bench(factory, body, signal, Host::new(Budget::unlimited()));
    check(body, &generators, &|generator, body| {
        let Some(payload) = payload(generator.signal, body) else { return 0 };
        // What is refused has been looked at, too.
        _ = stage.consumer.consume(payload).now_or_never();
        made(&stage.sink.take())
    });
}

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

#[test]
fn resource_acts_in_linear_work() {
    let body = "{attributes: [{key: a, value: 1, action: upsert}, {key: b, from_attribute: n, action: insert}, \
                {key: n, action: hash}, {pattern: '^[0-9]', action: delete}, {key: c, action: convert, converted_type: string}]}";
    for signal in SIGNALS {
        law(&resource::FACTORY, body, signal, false);
    }
}

#[test]
fn attributes_acts_in_linear_work() {
    let body = "{actions: [{key: a, action: hash}, {pattern: '[0-3]$', action: hash}, {pattern: '^[a-f]$', action: delete}, \
                {key: n, pattern: '(?P<first>.)', action: extract}, {key: x, value: [1, y], action: upsert}]}";
    for signal in SIGNALS {
        law(&attributes::FACTORY, body, signal, false);
    }
}

#[test]
fn attributes_of_chosen_items_acts_in_linear_work() {
    let body = "{include: {match_type: regexp, resources: [{key: f, value: '.'}], services: ['.*']}, \
                actions: [{key: x, value: 1, action: upsert}]}";
    law_on(&attributes::FACTORY, body, Signal::Traces, pairs(Signal::Traces));
}

#[test]
fn the_probabilistic_sampler_samples_in_linear_work() {
    let logs = "{mode: equalizing, sampling_percentage: 50, attribute_source: record, from_attribute: n}";
    law(&probabilistic_sampler::FACTORY, "{mode: proportional, sampling_percentage: 50}", Signal::Traces, false);
    law(&probabilistic_sampler::FACTORY, logs, Signal::Logs, false);
}

#[test]
fn filter_asks_in_linear_work_whatever_stands_beside_an_item() {
    let body = "{error_mode: ignore, traces: {span: ['resource.attributes[\"f0\"] == \"x\"', 'attributes[\"f0\"] == nil and false', \
                'IsMatch(name, \"^never$\")', 'instrumentation_scope.name == \"y\"'], \
                spanevent: ['attributes[\"f0\"] == 1 and span.attributes[\"f0\"] == 1']}, \
                metrics: {metric: ['name == \"x\"', 'HasAttrKeyOnDatapoint(\"f0\")'], \
                datapoint: ['metric.aggregation_temporality == 7', 'metric.type == 9', 'resource.attributes[\"f0\"] == 1', 'metric.name == \"y\"']}, \
                logs: {log_record: ['IsMatch(body, \"never\")', 'resource.attributes[\"f0\"] == 1']}}";
    for signal in SIGNALS {
        law(&filter::FACTORY, body, signal, true);
    }
}

/// Statements of a context; one transform for each, so that a costly one is not hidden by the others.
const STATEMENTS: &[(Signal, &str, &[&str])] = &[
    (Signal::Traces, "resource", &["flatten(attributes)", "merge_maps(attributes, attributes, \"upsert\")"]),
    (Signal::Traces, "scope", &["set(attributes[\"x\"], name)"]),
    (
        Signal::Traces,
        "span",
        &[
            "set(attributes[\"x\"], resource.attributes[\"f0\"])",
            "set(resource.attributes[\"x\"], name)",
            "merge_maps(attributes, resource.attributes, \"insert\")",
            "set(attributes[\"n\"], instrumentation_scope.name)",
            "set(trace_state[\"k\"], \"v\")",
        ],
    ),
    (
        Signal::Traces,
        "spanevent",
        &[
            "set(attributes[\"x\"], span.name)",
            "set(span.attributes[\"x\"], name)",
            "set(name, \"e\") where span.kind == 3",
        ],
    ),
    (
        Signal::Logs,
        "log",
        &[
            "flatten(attributes)",
            "flatten(body)",
            "keep_keys(attributes, [\"a\", \"f0\"])",
            "delete_matching_keys(attributes, \"^f\")",
            "limit(attributes, 10, [])",
            "truncate_all(attributes, 3)",
            "replace_all_patterns(attributes, \"value\", \".\", \"xy\")",
            "replace_all_patterns(attributes, \"key\", \"f\", \"g\")",
            "replace_all_matches(attributes, \"*\", event_name)",
            "replace_pattern(event_name, \"x\", \"yy\")",
            "merge_maps(attributes, ParseJSON(\"{}\"), \"upsert\")",
            "set(attributes[\"j\"], Split(event_name, \"x\"))",
            "set(attributes[\"k\"], ParseKeyValue(event_name, \".\", \",\"))",
            "set(attributes[\"s\"], String(body))",
            "set(body, attributes)",
        ],
    ),
    (
        Signal::Metrics,
        "metric",
        &[
            "set(description, name)",
            "set(aggregation_temporality, 2)",
            "set(data_points, nil)",
            "set(resource.schema_url, name)",
            "aggregate_on_attributes(\"sum\", [])",
            "aggregate_on_attributes(\"median\")",
            "aggregate_on_attribute_value(\"max\", \"a\", [\"x\", \"y\"], \"z\")",
            "convert_exponential_histogram_to_histogram(\"uniform\", [0.0, 1.0, 8.0, 64.0])",
        ],
    ),
    (
        Signal::Metrics,
        "datapoint",
        &[
            "set(attributes[\"x\"], metric.name)",
            "set(metric.name, \"y\")",
            "set(attributes[\"t\"], metric.type)",
            "set(attributes[\"a\"], metric.aggregation_temporality)",
            "set(metric.aggregation_temporality, 1)",
            "merge_histogram_buckets(2, \"limit_buckets\")",
        ],
    ),
];

#[test]
fn transform_changes_in_linear_work_whatever_stands_beside_an_item() {
    for (signal, context, statements) in STATEMENTS {
        let list = match signal {
            Signal::Logs => "log_statements",
            Signal::Metrics => "metric_statements",
            _ => "trace_statements",
        };
        for statement in *statements {
            let body = format!("{{error_mode: ignore, {list}: [{{context: {context}, statements: ['{statement}']}}]}}");
            law_on(&transform::FACTORY, &body, *signal, pairs(*signal));
        }
    }
}

/// Metrics that statements make of others, of their copies and of their points end at a bound that grows with the request.
#[test]
fn metrics_are_made_in_linear_work() {
    const MAKERS: &[(&str, &str)] = &[
        ("metric", "copy_metric()"),
        ("metric", "extract_count_metric(true)"),
        ("metric", "extract_sum_metric(true)"),
        ("metric", "extract_percentile_metric(50.0)"),
        ("metric", "convert_summary_quantile_val_to_gauge()"),
        ("datapoint", "convert_summary_count_val_to_sum(\"delta\", true)"),
        ("datapoint", "convert_summary_sum_val_to_sum(\"delta\", true)"),
    ];
    for (context, statement) in MAKERS {
        let body =
            format!("{{error_mode: ignore, metric_statements: [{{context: {context}, statements: ['{statement}']}}]}}");
        law(&transform::FACTORY, &body, Signal::Metrics, false);
    }
}

/// What grows with every item is made anew for each: bounded by the bytes of the items, not free of charge.
#[test]
fn a_list_above_many_items_that_each_append_to_it_ends_growing() {
    let body = "{trace_statements: [{context: span, statements: ['append(resource.attributes[\"list\"], name)']}]}";
    let stage = stage::bench(&transform::FACTORY, body, Signal::Traces, Host::new(Budget::unlimited()));
    let spans = every_field(Signal::Traces).into_iter().find(|generator| generator.name.ends_with(": many spans"));
    let spans = spans.unwrap();
    let each = |size: usize| {
        let payload = payload(Signal::Traces, &spans.make(size)).unwrap();
        let (asked, answer) = allocated(|| stage.consumer.consume(payload).now_or_never());
        answer.unwrap().unwrap();
        stage.sink.take();
        asked.bytes / size
    };
    let (little, much) = (each(256 << 10), each(1 << 20));
    assert!(much <= little.max(16) * 3 / 2, "{little} bytes allocated for each byte, then {much}");
}

#[test]
fn k8s_attributes_enriches_in_linear_work() {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), rig::pod_list(10)).unwrap();
    let body = format!("{{wait_for_metadata: true, podgate: {{pods_file: {}}}}}", file.path().display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rig = rig::rig(&body, false);
    runtime.block_on(rig.component.start()).unwrap();
    let named: Vec<Generator> = [("groups of a pod", ""), ("groups of nobody", "x")]
        .map(|(name, more)| Generator::of(name, move |size| groups_of(&format!("{}{more}", rig::uid(3)), size)))
        .into();
    let generators: Vec<Generator> =
        every_field(Signal::Logs).into_iter().chain(pairs(Signal::Logs)).chain(named).collect();
    check("k8s_attributes", &generators, &|_, body| {
        let Some(payload) = payload(Signal::Logs, body) else { return 0 };
        runtime.block_on(rig.consumer.consume(payload)).unwrap();
        made(&std::mem::take(&mut *rig.end.kept.lock().unwrap()))
    });
}

/// Groups of one record each, as small as they may be to name a pod.
fn groups_of(uid: &str, size: usize) -> Vec<u8> {
    use podgate::otlp::write;
    let resource = rig::resource(&[("k8s.pod.uid", uid)]);
    let mut group = Vec::new();
    write::bytes(&mut group, 1, &resource);
    write::bytes(&mut group, 2, &[0x12, 0x00]);
    let mut body = Vec::new();
    while body.len() < size {
        write::bytes(&mut body, 1, &group);
    }
    body
}

#[test]
fn the_tail_sampler_admits_decides_and_releases_in_linear_work() {
    let settings = settings::settings(&json!({
        "decision_wait": "1s",
        "decision_cache": { "sampled_cache_size": 16, "non_sampled_cache_size": 16 },
        "policies": [
            { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
            { "name": "user", "type": "string_attribute", "string_attribute": { "key": "f0", "values": ["x"] } },
            { "name": "state", "type": "trace_state", "trace_state": { "key": "n", "values": ["x"] } },
            { "name": "ottl", "type": "ottl_condition", "ottl_condition": { "error_mode": "ignore",
                "span": ["resource.attributes[\"f0\"] == 1", "attributes[\"f0\"] == 7"], "spanevent": ["attributes[\"f0\"] == 7"] } },
            { "name": "all", "type": "always_sample" },
        ],
    }));
    let generators: Vec<Generator> = every_field(Signal::Traces).into_iter().chain(pairs(Signal::Traces)).collect();
    // Version 0 is of no set of policies: what came by it is read again at the decision, as after a reload.
    for (name, version) in [("tail_sampling", 1), ("tail_sampling, read again", 0)] {
        check(name, &generators, &|_, body| {
            let Some(payload) = payload(Signal::Traces, body) else { return 0 };
            let account = ByteAccount::new(1 << 40, &Budget::unlimited());
            let now = UnixNanos::from_secs(1_760_000_000);
            let meters = Arc::new(RateMeters::new(&settings.meters, now));
            let bounds = Bounds { traces: None, giant_bytes: u64::MAX, spare_bytes: 0 };
            let clock = (now, tokio::time::Instant::now as fn() -> tokio::time::Instant);
            let mut core = Engine::new(settings.clone(), meters, bounds, RandomState::default(), clock);
            let admission = Admission { leaves: &settings.leaves, account: &account, shards: 1, seed: 7 };
            let admitted = admission.read(&payload).expect("memory without limit");
            let incoming = AdmittedRequest {
                envelope: &payload.envelope,
                groups: &admitted.groups,
                links: &admitted.links,
                version,
            };
            core.accept(incoming, &admitted.runs[0], now);
            let later = now.saturating_add(Duration::from_secs(10));
            let (mut made, mut more) = (0, true);
            while more {
                // What nobody takes holds up the decisions.
                more = core.decide_due(later, 100);
                while let Some(parcel) = core.take_parcel() {
                    made += encoded_len(&parcel.into_payload(Ticket::free(), later).envelope);
                }
            }
            core.tidy(later);
            while let Some(parcel) = core.take_parcel() {
                made += encoded_len(&parcel.into_payload(Ticket::free(), later).envelope);
            }
            made
        });
    }
}

#[test]
fn resource_detection_writes_in_linear_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = "{detectors: [system], override: true, system: {hostname_sources: [os], resource_attributes: {os.type: {enabled: true}}}}";
    for signal in SIGNALS {
        let stage = stage::bench(&resource_detection::FACTORY, body, signal, Host::new(Budget::unlimited()));
        runtime.block_on(stage.component.as_ref().unwrap().start()).unwrap();
        let generators: Vec<Generator> = every_field(signal).into_iter().chain(pairs(signal)).collect();
        check("resource_detection", &generators, &|generator, body| {
            let Some(payload) = payload(generator.signal, body) else { return 0 };
            _ = stage.consumer.consume(payload).now_or_never();
            made(&stage.sink.take())
        });
    }
}

#[test]
fn batch_joins_and_cuts_in_linear_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let body = "{timeout: 1ms, send_batch_size: 10, send_batch_max_size: 10}";
    let stage = stage::bench(&batch::FACTORY, body, Signal::Logs, Host::new(Budget::unlimited()));
    runtime.block_on(stage.component.as_ref().unwrap().start()).unwrap();
    check("batch", &every_field(Signal::Logs), &|_, body| {
        let Some(payload) = payload(Signal::Logs, body) else { return 0 };
        runtime.block_on(stage.consumer.consume(payload)).unwrap();
        made(&stage.sink.take())
    });
}
