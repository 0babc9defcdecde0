//! The sampler keeps what the Collector's keeps and writes what it writes: the cases and counts of its own tests (contrib
//! processor/probabilisticsamplerprocessor, v0.161), and the account of what is gone.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::{Receipt, Settlement};
use podgate::core::error::{ConsumeError, Reason};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::probabilistic_sampler::FACTORY;
use podgate::testing::stage::{Bench, bench, errors};
use podgate::testing::telemetry;
use prost::Message;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

fn attributes(pairs: Vec<(&str, Value)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&str, Value)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    };
    pairs.into_iter().map(pair).collect()
}

fn span(id: &str, state: &str) -> Span {
    Span {
        trace_id: hex(id),
        span_id: vec![7; 8],
        trace_state: state.to_owned(),
        name: "n".to_owned(),
        end_time_unix_nano: 9,
        ..Span::default()
    }
}

fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn logs(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn stage(body: &str, signal: Signal) -> Bench {
    bench(&FACTORY, body, signal, Host::new(Budget::unlimited()))
}

fn payload(signal: Signal, request: &impl Message) -> Payload {
    telemetry::payload(signal, Bytes::from(request.encode_to_vec()), UnixNanos(0))
}

/// A request whose items the bench's balance knows; the receipt lasts as long as the call.
fn received(bench: &Bench, signal: Signal, request: &impl Message) -> (Receipt, Payload) {
    let payload = payload(signal, request);
    let (receipt, share) = Settlement::receive(&bench.host.balance, signal, payload.items);
    (receipt, Payload { share, ..payload })
}

/// Sends a request whole and asserts the account; what came out, if anything did.
fn through<M: Message + Default>(bench: &Bench, signal: Signal, request: &M) -> Option<M> {
    let (_receipt, payload) = received(bench, signal, request);
    let before = payload.items;
    let gone_before = bench.host.balance.sheet(signal).sampled_out;
    let sent = bench.send(payload).pop();
    let after = sent.as_ref().map_or(0, |sent| sent.items);
    assert_eq!(bench.host.balance.sheet(signal).sampled_out - gone_before, before - after);
    sent.map(|sent| M::decode(envelope::encode(&sent.envelope)).expect("valid"))
}

fn spans(body: &str, sent: Vec<Span>) -> Vec<Span> {
    let out = through(&stage(body, Signal::Traces), Signal::Traces, &traces(sent));
    out.map_or(Vec::new(), |mut out| out.resource_spans.remove(0).scope_spans.remove(0).spans)
}

fn records(body: &str, sent: Vec<LogRecord>) -> Vec<LogRecord> {
    let out = through(&stage(body, Signal::Logs), Signal::Logs, &logs(sent));
    out.map_or(Vec::new(), |mut out| out.resource_logs.remove(0).scope_logs.remove(0).log_records)
}

/// Its randomness is 8 followed by zeros: kept at 50 %, not at 49.
const HALF: &str = "fefefefefefefefefe80000000000000";
const HIGHEST: &str = "111111111111111111ffffffffffffff";

#[test]
fn consistent_modes_keep_by_the_trace_id_and_write_the_threshold() {
    // Mode, percentage with more settings, trace id, tracestate before and after; none when the span goes.
    let table: &[(&str, &str, &str, &str, Option<&str>)] = &[
        ("both", "50", HALF, "", Some("ot=th:8")),
        ("both", "49", HALF, "", None),
        ("both", "100", HALF, "", Some("ot=th:0")),
        ("both", "150", HALF, "", Some("ot=th:0")),
        ("both", "0", HIGHEST, "", None),
        ("both", "1, sampling_precision: 4", HIGHEST, "", Some("ot=th:fd70a")),
        ("both", "99.99992, sampling_precision: 10", HIGHEST, "", Some("ot=th:00000cccccccd")),
        ("both", "50", HIGHEST, "ot=rv:9b8233f7e3a151", Some("ot=rv:9b8233f7e3a151;th:8")),
        ("both", "50", HIGHEST, "ot=rv:7b8233f7e3a151", None),
        ("both", "50", HALF, "zz=1, ot=x:y;th:0;p:3 ,vendor=a b", Some("ot=th:8;x:y;p:3,zz=1,vendor=a b")),
        ("proportional", "50", "000000000000000000f0000000000000", "ot=th:c", Some("ot=th:e")),
        ("equalizing", "50", "000000000000000000f0000000000000", "ot=th:c", Some("ot=th:c")),
        ("equalizing", "10", "000000000000000000f0000000000000", "ot=th:c", Some("ot=th:e666")),
        ("equalizing", "0.0625", HIGHEST, "ot=th:fffffffffffff8", Some("ot=th:fffffffffffff8")),
        ("proportional", "0.0625", HIGHEST, "ot=th:fffffffffffff8", None),
        // What cannot be judged goes: no id, wrong marks, a threshold that the id does not reach.
        ("both", "100", "00000000000000000000000000000000", "", None),
        ("both", "100", HALF, "ot=rv:abababababababab", None),
        ("both", "100", HALF, "ot=th:abababababababab", None),
        ("both", "100", HALF, "ot=th:-1", None),
        ("both", "100", HALF, "ot=th:", None),
        ("both", "100", HALF, "ot", None),
        ("both", "100", HALF, "UPPER=1", None),
        ("both", "100", "ffffffffffffffffff70000000000000", "ot=th:8", None),
        ("both", "100", HALF, "ot=th:8;rv:70000000000000", None),
        // ... or stays, when it is told to: without the lie, and marked as kept in any case.
        ("both", "50, fail_closed: false", "ffffffffffffffffff70000000000000", "ot=th:8", Some("ot=th:0")),
        ("both", "50, fail_closed: false", HALF, "ot=th:-1", Some("ot=th:-1")),
    ];
    for (modes, percentage, id, before, after) in table {
        let modes = if *modes == "both" { &["proportional", "equalizing"][..] } else { &[*modes][..] };
        for mode in modes {
            let body = format!("{{mode: {mode}, sampling_percentage: {percentage}}}");
            let kept = spans(&body, vec![span(id, before)]);
            let wanted: Vec<Span> = after.iter().map(|after| span(id, after)).collect();
            assert_eq!(kept, wanted, "{body} {id} {before:?}");
        }
    }
}

#[test]
fn hashes_keep_what_they_always_kept() {
    // Verdicts at 50 % recorded upstream before its rewrite.
    let table = [
        (653, "474a03c76d75951a4b4c537ced8f1122", true),
        (563, "53a518291e91307e43cd8467bb06f986", true),
        (904, "4e40762d3ee97a1c0932e4fa584f89a8", false),
        (445, "5224507db93db513f0ea2a4b4e0578c8", true),
        (561, "2a8aa76c18d08e1e8be935541f9318c7", false),
        (22, "66a66c516ac22054673e5da5e6492545", false),
        (172, "84a1ce7bcea3e66194e72b4aa2694e31", true),
        (546, "e3a345cc8dbb6f014bfa1edad3981820", true),
        (790, "7629ecbea89398bfd9752a2f51c2c137", true),
        (35, "855f493c5b5b1e2fcbc9993f8061eac8", false),
        (561, "0a0af00f63e098a39883705a423b0aa8", true),
        (936, "62dda24e4be24f5198e4d8dd4010c811", true),
        (687, "45a5ace7234d92d9983b4f3858bc0b8e", false),
        (885, "d0e299d54d6dc6469276fd4e48301d73", true),
        (810, "6bf2bb105e594f6220803da5253551af", false),
        (112, "a2db788dbadc402b8c466b93b8749a6c", true),
    ];
    for (seed, id, kept) in table {
        let body = format!("{{sampling_percentage: 50, hash_seed: {seed}}}");
        assert_eq!(spans(&body, vec![span(id, "")]).len(), usize::from(kept), "{seed} {id}");
    }
}

#[test]
fn hashed_spans_carry_randomness_that_agrees_with_their_threshold() {
    let ids: Vec<String> =
        (1..=200u64).map(|n| format!("{:032x}", u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).collect();
    for (percentage, threshold) in
        [("100", "0"), ("75", "4"), ("50", "8"), ("25", "c"), ("10", "e668"), ("33.333333", "aaac")]
    {
        let body = format!("{{sampling_percentage: {percentage}, hash_seed: 4321}}");
        let kept = spans(&body, ids.iter().map(|id| span(id, "")).collect());
        assert!(kept.len() >= 5, "{percentage}: {}", kept.len());
        for span in &kept {
            let (randomness, th) =
                span.trace_state.strip_prefix("ot=rv:").and_then(|rest| rest.split_once(";th:")).expect("marks");
            assert_eq!((th, randomness.len()), (threshold, 14), "{percentage}");
            assert!(randomness >= format!("{threshold:0<14}").as_str(), "{randomness} {threshold}");
        }
        // The marks make both consistent modes agree.
        let again = format!("{{mode: equalizing, sampling_percentage: {percentage}, sampling_precision: 14}}");
        assert!(spans(&again, kept.clone()).len() >= kept.len() - 1, "{percentage}");
    }
    // Marks of others are not overwritten by a hash.
    assert_eq!(spans("{sampling_percentage: 100}", vec![span(HALF, "ot=th:8")]), []);
    let open = "{sampling_percentage: 100, fail_closed: false}";
    assert_eq!(spans(open, vec![span(HALF, "ot=th:8")]), [span(HALF, "ot=th:8")]);
}

#[test]
fn a_spans_priority_overrules_the_share() {
    let with = |value: Value, state: &str| Span {
        attributes: attributes(vec![("sampling.priority", value)]),
        ..span(HALF, state)
    };
    let text = |text: &str| Value::StringValue(text.to_owned());
    for (percentage, value, kept) in [
        (100, Value::IntValue(0), false),
        (100, Value::DoubleValue(0.0), false),
        (100, text("0"), false),
        (0, Value::IntValue(1), true),
        (0, Value::DoubleValue(0.5), true),
        (0, text("2.5"), true),
        (0, Value::IntValue(-1), false),
        (0, text("x"), false),
        (0, Value::BoolValue(true), false),
        (100, Value::BoolValue(false), true),
    ] {
        let body = format!("{{mode: proportional, sampling_percentage: {percentage}}}");
        let out = spans(&body, vec![with(value.clone(), "")]);
        assert_eq!(out, Vec::from_iter(kept.then(|| with(value, "ot=th:0"))), "{percentage}");
    }
    let overruled = spans("{mode: equalizing, sampling_percentage: 10}", vec![with(Value::IntValue(1), "ot=th:4")]);
    assert_eq!(overruled, [with(Value::IntValue(1), "ot=th:4")], "a share can only fall");
}

#[test]
fn a_records_priority_of_nothing_keeps_nothing_and_of_a_hundred_everything() {
    for (value, kept) in [
        (Value::IntValue(0), 0),
        (Value::DoubleValue(0.0), 0),
        (Value::IntValue(100), 40),
        (Value::DoubleValue(100.0), 40),
    ] {
        let record = |at: u8| LogRecord {
            trace_id: vec![at + 1; 16],
            attributes: attributes(vec![("priority", value.clone())]),
            ..LogRecord::default()
        };
        let out = records("{sampling_percentage: 50, sampling_priority: priority}", (0..40).map(record).collect());
        assert_eq!(out.len(), kept, "{value:?}");
    }
}

/// FNV-1a 32 over the seed's bytes and these.
fn fnv(bytes: &[u8], seed: u32) -> u32 {
    let all = seed.to_le_bytes().into_iter().chain(bytes.iter().copied());
    all.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The hundred records of upstream's test.
fn hundred() -> Vec<LogRecord> {
    let record = |at: u8| {
        let trace_id = [vec![0; 8], vec![at; 8]].concat();
        let mut pairs = vec![("rando", Value::IntValue(i64::from(fnv(&trace_id, 123))))];
        if at.is_multiple_of(2) {
            let text =
                if at == 0 { String::new() } else { trace_id.iter().map(|byte| format!("{byte:02x}")).collect() };
            pairs.extend([("foo", Value::BytesValue(trace_id.clone())), ("bar", Value::StringValue(text))]);
        }
        if at.is_multiple_of(4) {
            pairs.push(("priority", Value::DoubleValue(100.0)));
        }
        LogRecord { trace_id, attributes: attributes(pairs), ..LogRecord::default() }
    };
    (0..100).map(record).collect()
}

#[test]
fn as_many_records_are_kept_as_by_the_collector() {
    let table = [
        ("sampling_percentage: 100, fail_closed: false", 100),
        ("sampling_percentage: 0", 0),
        ("sampling_percentage: 50", 45),
        ("sampling_percentage: 0, attribute_source: record, from_attribute: foo, fail_closed: false", 0),
        ("sampling_percentage: 100, attribute_source: record, from_attribute: foo, fail_closed: false", 100),
        ("sampling_percentage: 50, attribute_source: record, from_attribute: foo", 23),
        ("sampling_percentage: 50, attribute_source: record, from_attribute: bar", 29),
        ("sampling_percentage: 0, sampling_priority: priority, attribute_source: record, from_attribute: rando", 25),
        ("sampling_percentage: 50, sampling_priority: priority, attribute_source: record, from_attribute: rando", 64),
        ("sampling_percentage: 100, sampling_priority: priority, attribute_source: record, from_attribute: rando", 100),
        ("sampling_percentage: 0, sampling_priority: priority", 25),
        ("sampling_percentage: 50, sampling_priority: priority, fail_closed: false", 57),
        ("sampling_percentage: 100, sampling_priority: priority, fail_closed: false", 100),
    ];
    for (settings, kept) in table {
        assert_eq!(records(&format!("{{{settings}}}"), hundred()).len(), kept, "{settings}");
    }
}

type Pairs = Vec<(&'static str, Value)>;

#[test]
fn records_carry_their_marks_as_attributes() {
    let text = |text: &str| Value::StringValue(text.to_owned());
    let table: Vec<(&str, &str, Pairs, Option<Pairs>)> = vec![
        (
            "mode: proportional, sampling_percentage: 100",
            HALF,
            vec![("other", text("v"))],
            Some(vec![("other", text("v")), ("sampling.threshold", text("0"))]),
        ),
        (
            "sampling_percentage: 0, sampling_priority: wish, sampling_precision: 6",
            HALF,
            vec![("sampling.randomness", text("e6147c00000000")), ("wish", Value::DoubleValue(10.125))],
            Some(vec![
                ("sampling.randomness", text("e6147c00000000")),
                ("wish", Value::DoubleValue(10.125)),
                ("sampling.threshold", text("e6147b")),
            ]),
        ),
        (
            "mode: proportional, sampling_percentage: 50",
            "fefefefefefefefefef0000000000000",
            vec![("sampling.threshold", text("c"))],
            Some(vec![("sampling.threshold", text("e"))]),
        ),
        (
            "mode: equalizing, sampling_percentage: 50",
            "fefefefefefefefefeb0000000000000",
            vec![("sampling.threshold", text("c"))],
            None,
        ),
        (
            "mode: equalizing, sampling_percentage: 50, sampling_priority: wish",
            "fefefefefefefefefefefefefefefefe",
            vec![("sampling.threshold", text("c")), ("wish", Value::IntValue(37))],
            Some(vec![("sampling.threshold", text("c")), ("wish", Value::IntValue(37))]),
        ),
        (
            "sampling_percentage: 100, fail_closed: false",
            HALF,
            vec![("sampling.randomness", text("f2341234123412"))],
            Some(vec![("sampling.randomness", text("f2341234123412"))]),
        ),
        ("sampling_percentage: 100", HALF, vec![("sampling.threshold", text("nonsense"))], None),
    ];
    for (settings, id, before, after) in table {
        let record = |pairs| LogRecord { trace_id: hex(id), attributes: attributes(pairs), ..LogRecord::default() };
        let kept = records(&format!("{{{settings}}}"), vec![record(before)]);
        assert_eq!(kept, after.into_iter().map(record).collect::<Vec<_>>(), "{settings}");
    }
}

#[test]
fn what_has_no_randomness_goes_or_stays_as_told() {
    for mode in ["hash_seed", "equalizing", "proportional"] {
        for source in ["traceID", "record"] {
            for (percentage, closed, kept) in
                [(0, true, 0), (50, true, 0), (100, true, 0), (0, false, 0), (50, false, 1), (100, false, 1)]
            {
                let body = format!(
                    "{{mode: {mode}, sampling_percentage: {percentage}, attribute_source: {source}, from_attribute: none, \
                     fail_closed: {closed}}}"
                );
                let none = attributes(vec![("none", Value::StringValue(String::new()))]);
                let record = LogRecord { trace_id: vec![0; 16], attributes: none, ..LogRecord::default() };
                assert_eq!(records(&body, vec![record]).len(), kept, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_counted_as_gone_when_the_next_stage_refuses() {
    let bench = stage("{mode: proportional, sampling_percentage: 50}", Signal::Traces);
    let request = traces(vec![span(HALF, ""), span("00000000000000000010000000000000", "")]);
    bench.sink.answer_with(Some(ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    let (receipt, refused) = received(&bench, Signal::Traces, &request);
    assert!(bench.consumer.consume(refused).await.is_err());
    drop(receipt);
    assert_eq!(bench.host.balance.sheet(Signal::Traces).sampled_out, 0);
    bench.sink.answer_with(None);
    let (_receipt, taken) = received(&bench, Signal::Traces, &request);
    assert!(bench.consumer.consume(taken).await.is_ok());
    assert_eq!((bench.sink.items(), bench.host.balance.sheet(Signal::Traces).sampled_out), (1, 1));
    let judged = "otelcol_processor_probabilistic_sampler_count_traces_sampled";
    assert_eq!(bench.host.stats.total(judged), 4);
    // A request of which nothing is left is not passed on.
    let gone = traces(vec![span("00000000000000000010000000000000", "")]);
    bench.sink.answer_with(Some(ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    assert!(bench.consumer.consume(payload(Signal::Traces, &gone)).await.is_ok());
}

#[test]
fn faulty_settings_are_refused_at_their_place() {
    for (body, path) in [
        ("{sampling_percentage: -1}", "sampling_percentage"),
        ("{sampling_percentage: .nan}", "sampling_percentage"),
        ("{sampling_percentage: .inf}", "sampling_percentage"),
        ("{sampling_percentage: 1e-30}", "sampling_percentage"),
        ("{sampling_percentage: 10, mode: exact}", "mode"),
        ("{sampling_percentage: 10, sampling_precision: 0}", "sampling_precision"),
        ("{sampling_percentage: 10, sampling_precision: 15}", "sampling_precision"),
        ("{sampling_percentage: 10, attribute_source: resource}", "attribute_source"),
        ("{sampling_percentage: 10, hash_seed: 4294967296}", "hash_seed"),
        ("{sampling_percentage: 10, hash_salt: x}", "hash_salt"),
    ] {
        let errors = errors(&FACTORY, body);
        assert!(errors.len() == 1 && errors[0].0 == path, "{body}: {errors:?}");
    }
}
