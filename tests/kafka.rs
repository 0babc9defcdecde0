//! The receiver and the exporter `kafka` in whole gateways, beside a broker in this process: the client library's own, which
//! keeps topics, groups and committed offsets. What needs a real broker is in tests/real/kafka.py.

#[path = "support/kafka.rs"]
mod cluster;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::{
    ERROR, OK, arrived, broker, committed, decoded, exporting, ids, produce, produce_raw, reading, records, total,
};
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control};
use opentelemetry_proto::tonic::trace::v1::Span;
use podgate::core::data::payload::Signal;
use prost::Message;
use support::{
    Sink, attribute, attribute_of, drain, eventually, free_port, post, post_spans, request, sheet, span, start,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_trace_are_records_of_one_key_which_is_its_id_in_hex() {
    let (broker, http) = (broker(6).await, free_port());
    let gateway = start(&exporting(&broker, http, "    partition_traces_by_id: true")).await;
    for at in 0..3_u64 {
        let spans = (1..=5).map(|trace| span(trace, at * 10 + trace as u64, OK)).collect();
        assert_eq!(post_spans(http, &request(vec![attribute("service.name", "shop")], spans)).await, 200);
    }
    let records = records(&broker);
    assert_eq!(records.len(), 15, "one for each trace and request");
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for record in &records {
        let (key, request) = (record.key_str().expect("a key").to_owned(), decoded(record));
        let ids = ids(&request);
        assert_eq!((ids.len(), format!("{:032x}", ids[0].0)), (1, key.clone()));
        assert_eq!(*partitions.entry(key).or_insert(record.partition), record.partition);
        assert_eq!(request.resource_spans[0].resource.as_ref().expect("kept").attributes.len(), 1);
    }
    let used: std::collections::BTreeSet<i32> = partitions.into_values().collect();
    assert!(used.len() > 1, "the traces are spread: {used:?}");
    let account = drain(gateway).await;
    assert_eq!((account["traces"].received, account["traces"].delivered), (15, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_cut_below_their_limit_and_a_span_that_is_too_large_ends_alone() {
    let (broker, http) = (broker(1).await, free_port());
    let keys = "    partition_traces_by_id: true\n    producer: {required_acks: all, max_message_bytes: 4096}";
    let gateway = start(&exporting(&broker, http, keys)).await;
    let filled = |id: u64, bytes: usize| {
        let mut made = span(9, id, OK);
        made.attributes.push(attribute("filler", &"x".repeat(bytes)));
        made
    };
    let mut spans: Vec<_> = (1..=40).map(|id| filled(id, 200)).collect();
    spans.insert(17, filled(99, 5_000));
    assert_eq!(post_spans(http, &request(vec![], spans)).await, 200, "partly taken is taken");
    let records = records(&broker);
    assert!(records.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() <= 4096)));
    let mut found: Vec<u64> = records.iter().flat_map(|record| ids(&decoded(record))).map(|(_, id)| id).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=40).collect::<Vec<u64>>());
    let account = drain(gateway).await;
    assert_eq!((account["traces"].delivered, account["traces"].dropped["too_large"]), (40, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_refuse_for_now_is_tried_again_alone_and_what_they_refuse_for_good_is_lost_alone() {
    let (broker, http) = (broker(3).await, free_port());
    let keys = "    topic_from_attribute: topic\n    partition_traces_by_id: true\n    producer: {required_acks: all}";
    let gateway = start(&exporting(&broker, http, keys)).await;
    broker.on_times(ApiKey::Produce, 2, |_| Control::Error(ErrorCode::NotEnoughReplicas));
    let spans = (1..=6).map(|trace| span(trace, trace as u64, OK)).collect();
    assert_eq!(post_spans(http, &request(vec![attribute("topic", "spans")], spans)).await, 200);
    broker.on_once(ApiKey::Produce, |_| Control::Error(ErrorCode::InvalidRecord));
    assert_eq!(post_spans(http, &request(vec![], vec![span(7, 7, OK)])).await, 500, "for good: no retryable status");
    let nowhere = request(vec![attribute("topic", "no/topic")], vec![span(8, 8, OK)]);
    assert_eq!(post_spans(http, &nowhere).await, 200, "a name that no topic has means the signal's own");
    let mut found: Vec<u64> =
        records(&broker).iter().flat_map(|record| ids(&decoded(record))).map(|(_, id)| id).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 8]);
    let account = drain(gateway).await;
    assert_eq!((account["traces"].delivered, account["traces"].dropped["permanent"]), (7, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_the_verdict_of_its_own_records_and_holds_up_no_others() {
    let (broker, http) = (broker(1).await, free_port());
    broker.create_topic("other", 1);
    let keys = "    topic_from_attribute: topic\n    producer: {allow_auto_topic_creation: false}";
    let queue = "sending_queue: {num_consumers: 1, queue_size: 1000}";
    let config = exporting(&broker, http, keys).replace("sending_queue: {enabled: false}", queue);
    let gateway = start(&config).await;
    for id in 1..=30_u64 {
        let topic = match id % 6 {
            0 => "spans".to_owned(),
            3 => "other".to_owned(),
            _ => format!("missing-{}", id % 5),
        };
        let body = request(vec![attribute("topic", &topic)], vec![span(u128::from(id), id, OK)]);
        assert_eq!(post_spans(http, &body).await, 200);
    }
    let others = || broker.all_records("other").map_or(0, |records| records.len());
    eventually("what has a topic is written", || (records(&broker).len(), others()) == (5, 5)).await;
    let account = drain(gateway).await;
    assert_eq!((account["traces"].delivered, account["traces"].dropped["permanent"]), (10, 20), "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_as_records_settle_and_a_poison_record_is_passed_over() {
    let (broker, sink) = (broker(2).await, Sink::start().await);
    produce(
        &broker,
        0,
        &[request(vec![], vec![span(1, 1, OK), span(1, 2, OK)]), request(vec![], vec![span(2, 3, OK)])],
    )
    .await;
    produce_raw(&broker, 0, vec![b"no protobuf at all".to_vec(), Vec::new()]).await;
    produce(&broker, 0, &[request(vec![], vec![span(3, 4, OK)])]).await;
    produce(&broker, 1, &[request(vec![], vec![span(4, 5, OK)])]).await;
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", "")).await;
    eventually("everything is committed", || (committed(&broker, 0), committed(&broker, 1)) == (Some(5), Some(1)))
        .await;
    assert_eq!(arrived(&[&sink]), (1..=5).map(|id| (id, 1)).collect());
    assert_eq!(total(&gateway, "podgate_kafka_receiver_unreadable_records"), 1);
    let account = drain(gateway).await;
    assert_eq!((account["traces"].received, account["traces"].delivered), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_holds_the_offset_where_the_configuration_says_so_and_not_the_partition() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)])]).await;
    produce_raw(&broker, 0, vec![b"no protobuf at all".to_vec()]).await;
    produce(&broker, 0, &[request(vec![], vec![span(2, 2, OK)])]).await;
    let keys = "    message_marking: {after: true, on_permanent_error: false}";
    let gateway = start(&reading(&broker, &sink.address.to_string(), keys, "")).await;
    eventually("both arrive", || sink.spans().len() == 2).await;
    eventually("the offset is that of the poison", || committed(&broker, 0) == Some(1)).await;
    drain(gateway).await;
    assert_eq!(committed(&broker, 0), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_offset_does_not_move_while_the_next_hop_is_away() {
    let broker = broker(1).await;
    let hop = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let sampling = "  tail_sampling: {decision_wait: 200ms, policies: [{name: all, type: always_sample}]}";
    for processors in ["", sampling] {
        let before = committed(&broker, 0).unwrap_or_default();
        let gateway = start(&reading(&broker, &hop.to_string(), "", processors)).await;
        let first = before as u64 + 1;
        let requests: Vec<_> =
            (first..first + 5).map(|id| request(vec![], vec![span(u128::from(id), id, OK)])).collect();
        produce(&broker, 0, &requests).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(committed(&broker, 0).unwrap_or_default() <= before, "the next hop has nothing");
        }
        let sink = Sink::at(hop).await;
        eventually("what waited arrives", || arrived(&[&sink]).len() == 5).await;
        eventually("and is committed", || committed(&broker, 0) == Some(before + 5)).await;
        let account = drain(gateway).await;
        assert_eq!((account["traces"].received, account["traces"].delivered), (5, 5), "{processors}");
        drop(sink);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_records_offset_waits_for_the_verdicts_of_all_of_its_traces() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let sampling = "  tail_sampling: {decision_wait: 1s, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]}";
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", sampling)).await;
    produce(
        &broker,
        0,
        &[request(vec![], vec![span(1, 1, OK), span(2, 2, OK)]), request(vec![], vec![span(2, 3, ERROR)])],
    )
    .await;
    eventually("both records wait", || sheet(&gateway).held == 3).await;
    assert!(committed(&broker, 0).unwrap_or_default() == 0);
    eventually("the verdicts settle them", || committed(&broker, 0) == Some(2)).await;
    assert_eq!(arrived(&[&sink]), [(2, 1), (3, 1)].into());
    let account = drain(gateway).await;
    assert_eq!((account["traces"].delivered, account["traces"].sampled_out), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_trace_leaves_in_one_request_however_many_leave_with_it() {
    const TRACES: u64 = 200;
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let sampling = "  tail_sampling: {decision_wait: 4s, policies: [{name: all, type: always_sample}]}";
    // Some 10 MB, three records of each trace apart from each other.
    let large = |trace: u64, part: u64| {
        let id = trace * 10 + part;
        request(vec![], vec![Span { name: "x".repeat(16_000), ..span(u128::from(trace), id, OK) }])
    };
    let parts = (1..=3).flat_map(|part| (1..=TRACES).map(move |trace| (trace, part)));
    let requests: Vec<_> = parts.map(|(trace, part)| large(trace, part)).collect();
    // All are there before the first one is read: none is late.
    produce(&broker, 0, &requests).await;
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", sampling)).await;
    eventually("all arrive", || arrived(&[&sink]).len() as u64 == 3 * TRACES).await;
    let mut requests_of: BTreeMap<u128, usize> = BTreeMap::new();
    for request in sink.requests() {
        let traces: std::collections::BTreeSet<u128> = ids(&request).into_iter().map(|(trace, _)| trace).collect();
        traces.into_iter().for_each(|trace| *requests_of.entry(trace).or_default() += 1);
    }
    let torn: Vec<_> = requests_of.iter().filter(|(_, requests)| **requests > 1).collect();
    assert!(torn.is_empty(), "{torn:?} of {} requests", sink.requests().len());
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_undecided_traces_to_the_next_member_which_sees_them_whole() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let sampling = |wait: &str| {
        format!(
            "  tail_sampling: {{decision_wait: {wait}, policies: [{{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}]}}"
        )
    };
    let hop = sink.address.to_string();
    let gateway = start(&reading(&broker, &hop, "", &sampling("300s"))).await;
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)])]).await;
    eventually("it is held", || sheet(&gateway).held == 1).await;
    let account = drain(gateway).await;
    assert_eq!((account["traces"].on_disk, account["traces"].sampled_out), (1, 0), "{account:?}");
    assert_eq!(committed(&broker, 0).unwrap_or_default(), 0);
    produce(&broker, 0, &[request(vec![], vec![span(1, 2, ERROR)])]).await;
    let next = start(&reading(&broker, &hop, "", &sampling("500ms"))).await;
    eventually("the trace is kept whole", || arrived(&[&sink]) == [(1, 1), (2, 1)].into()).await;
    eventually("and committed", || committed(&broker, 0) == Some(2)).await;
    drain(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undecided_traces_go_with_their_partition_and_count_once_where_it_is_read_again() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let sampling = "  tail_sampling: {decision_wait: 3s, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
                    {name: large, type: span_count, span_count: {min_spans: 3}}]}";
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", sampling)).await;
    let requests = [(1, 1, OK), (2, 2, ERROR), (1, 3, OK), (2, 4, OK)];
    let requests = requests.map(|(trace, id, status)| request(vec![], vec![span(trace, id, status)]));
    produce(&broker, 0, &requests).await;
    eventually("both traces are held", || sheet(&gateway).held == 4).await;
    // The group goes on without this member, which comes back and gets its partition again.
    broker.on_once(ApiKey::Heartbeat, |_| Control::Error(ErrorCode::UnknownMemberId));
    eventually("the records are read again", || sheet(&gateway).received == 8).await;
    eventually("and committed", || committed(&broker, 0) == Some(4)).await;
    assert_eq!(arrived(&[&sink]), [(2, 1), (4, 1)].into(), "once, and no trace was twice as large");
    assert_eq!(total(&gateway, "podgate_tail_sampling_undecided_traces"), 2, "it let go of both");
    let account = drain(gateway).await;
    assert_eq!((account["traces"].delivered, account["traces"].sampled_out), (2, 2), "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_brokers_are_away_no_trace_is_due_and_then_each_waits_for_what_was_left_of_its_wait() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let sampling = "  tail_sampling: {decision_wait: 1500ms, policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]}";
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", sampling)).await;
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)])]).await;
    eventually("the first span is held", || sheet(&gateway).held == 1).await;
    let is_away = Arc::new(AtomicBool::new(true));
    for asked in [ApiKey::Fetch, ApiKey::ListOffsets] {
        let is_away = is_away.clone();
        broker.on(asked, move |_| if is_away.load(Ordering::Relaxed) { Control::Disconnect } else { Control::Pass });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // What told of the error waits at the brokers.
    produce(&broker, 0, &[request(vec![], vec![span(1, 2, ERROR)])]).await;
    assert_eq!(sheet(&gateway).held, 1, "twice its wait is over, and it is not decided");
    is_away.store(false, Ordering::Relaxed);
    eventually("the trace is kept whole", || arrived(&[&sink]) == [(1, 1), (2, 1)].into()).await;
    eventually("and committed", || committed(&broker, 0) == Some(2)).await;
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_decoded_holds_its_partition_alone() {
    let (broker, sink) = (broker(2).await, Sink::start().await);
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)])]).await;
    // Fetches of both partitions are one request, so the other one gets its record once the first is held.
    broker.on_times(ApiKey::Fetch, 3, |_| Control::CorruptRecords);
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", "")).await;
    eventually("it is told of", || total(&gateway, "podgate_kafka_receiver_undecodable_batches") > 0).await;
    let requests: Vec<_> = (2..=40).map(|id| request(vec![], vec![span(id, id as u64, OK)])).collect();
    produce(&broker, 1, &requests).await;
    eventually("the other partition is read", || committed(&broker, 1) == Some(39)).await;
    assert_eq!(committed(&broker, 0).unwrap_or_default(), 0, "nothing is passed over");
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_records_than_there_is_memory_for_come_one_after_the_other() {
    let (broker, sink) = (broker(4).await, Sink::start().await);
    // 48 MB in four partitions, all of which one poll would bring, for a budget of 20.
    let keys = "    max_fetch_size: 50000000\n    max_partition_fetch_size: 50000000";
    let gateway = start(&reading(&broker, &sink.address.to_string(), keys, "")).await;
    gateway.host().budget.set_limits(20 << 20, 16 << 20);
    for partition in 0..4_u64 {
        let large = |id: u64| Span { name: "x".repeat(800_000), ..span(u128::from(id), id, OK) };
        let requests: Vec<_> = (1..=15).map(|at| request(vec![], vec![large(partition * 100 + at)])).collect();
        produce(&broker, i32::try_from(partition).expect("it is small"), &requests).await;
    }
    let arrive = async {
        while (0..4).any(|at| committed(&broker, at) != Some(15)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrive).await.expect("all are committed");
    let account = drain(gateway).await;
    assert_eq!(account["traces"].delivered, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_for_which_there_is_no_memory_are_not_fetched_again_and_again() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", "")).await;
    let budget = gateway.host().budget.clone();
    budget.set_limits(20 << 20, 16 << 20);
    let all = budget.overdraw(20 << 20);
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)])]).await;
    eventually("memory is asked for", || budget.refused() > 0).await;
    let before = broker.request_count(ApiKey::Fetch);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fetches = broker.request_count(ApiKey::Fetch) - before;
    assert!(fetches <= 25, "{fetches} fetches of one record within a second");
    drop(all);
    eventually("it arrives when there is some", || arrived(&[&sink]) == [(1, 1)].into()).await;
    drain(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_leaves_what_nobody_took_to_the_next_member() {
    let broker = broker(1).await;
    let hop = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let gateway = start(&reading(&broker, &hop.to_string(), "", "")).await;
    produce(&broker, 0, &[request(vec![], vec![span(1, 1, OK)]), request(vec![], vec![span(2, 2, OK)])]).await;
    eventually("the first is tried", || gateway.host().balance.sheet(Signal::Traces).received == 1).await;
    let account = gateway.drain(Duration::from_secs(3)).await;
    assert_eq!((account["traces"].on_disk, account["traces"].delivered), (1, 0), "{account:?}");
    assert_eq!(committed(&broker, 0).unwrap_or_default(), 0);
    let sink = Sink::at(hop).await;
    let next = start(&reading(&broker, &hop.to_string(), "", "")).await;
    eventually("the next member brings both", || arrived(&[&sink]) == [(1, 1), (2, 1)].into()).await;
    eventually("and commits", || committed(&broker, 0) == Some(2)).await;
    drain(next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_sender_become_headers_of_its_records_and_attributes_of_their_resources() {
    let (broker, sink, http) = (broker(1).await, Sink::start().await, free_port());
    let exporting = exporting(&broker, http, "    include_metadata_keys: [x-tenant]")
        .replace("endpoint: '127.0.0.1:", "include_metadata: true, endpoint: '127.0.0.1:");
    let keys = "    header_extraction: {extract_headers: true, headers: [x-tenant, x-absent]}";
    let reading = reading(&broker, &sink.address.to_string(), keys, "");
    let (writer, reader) = (start(&exporting).await, start(&reading).await);
    let body = request(vec![attribute("service.name", "shop")], vec![span(1, 1, OK)]).encode_to_vec();
    // One header more, behind the type.
    let (status, _) = post(http, "/v1/traces", "application/x-protobuf\r\nx-tenant: blue", &body).await;
    assert_eq!(status, 200);
    eventually("it arrives", || sink.spans().len() == 1).await;
    let (resource, _) = sink.spans().remove(0);
    assert_eq!(attribute_of(&resource, "kafka.header.x-tenant"), Some("blue"));
    assert_eq!(attribute_of(&resource, "service.name"), Some("shop"));
    assert_eq!(attribute_of(&resource, "kafka.header.x-absent"), None);
    drain(writer).await;
    drain(reader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_goes_both_ways_and_a_user_is_recognised() {
    let (broker, sink, http) = (broker(1).await, Sink::start().await, free_port());
    broker.require_sasl_plain("ann", "secret");
    let sasl = "    auth: {sasl: {mechanism: PLAIN, username: ann, password: secret}}";
    let exporting = exporting(&broker, http, sasl).replace("{topic: spans}", "{topic: spans, encoding: otlp_json}");
    let reading =
        reading(&broker, &sink.address.to_string(), sasl, "").replace("[spans]", "[spans], encoding: otlp_json");
    let (writer, reader) = (start(&exporting).await, start(&reading).await);
    assert_eq!(post_spans(http, &request(vec![], vec![span(1, 1, OK), span(2, 2, OK)])).await, 200);
    eventually("both arrive", || arrived(&[&sink]).len() == 2).await;
    let value = records(&broker)[0].value.clone().expect("a value");
    assert!(value.starts_with(b"{\"resourceSpans\":["), "{value:?}");
    drain(writer).await;
    drain(reader).await;
}
