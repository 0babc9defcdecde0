//! Statements that make metrics and points, or take some away: what becomes of them, how many there may be, and how the
//! account of items goes on.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use podgate::core::data::balance::Sheet;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::ItemEnd;
use podgate::core::error::{ConsumeError, Reason};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::transform;
use podgate::testing::stage::{Bench, bench};
use podgate::testing::telemetry;
use prost::Message;

use super::common::checked;
use super::recorded::request;

fn stage(statements: &str) -> Bench {
    let body = format!("error_mode: ignore\nmetric_statements: {statements}\n");
    bench(&transform::FACTORY, &body, Signal::Metrics, Host::new(Budget::unlimited()))
}

fn incoming(wire: &[u8]) -> Payload {
    telemetry::payload(Signal::Metrics, Bytes::copy_from_slice(wire), UnixNanos(0))
}

fn metrics(payloads: &[Payload]) -> Vec<Metric> {
    let all = payloads.iter().flat_map(|payload| {
        let request = ExportMetricsServiceRequest::decode(envelope::encode(&payload.envelope)).expect("valid");
        request.resource_metrics.into_iter().flat_map(|group| group.scope_metrics).flat_map(|scope| scope.metrics)
    });
    all.collect()
}

/// What comes out of statements on the metrics of the oracle's request.
fn made(statements: &str) -> (Vec<Metric>, Arc<Host>) {
    let stage = stage(statements);
    let sent = stage.send(incoming(&request(Signal::Metrics).0));
    sent.iter().for_each(|payload| {
        assert_eq!(payload.items, envelope::count_items(Signal::Metrics, &payload.envelope), "the payload's own count");
    });
    (metrics(&sent), stage.host.clone())
}

fn named(metrics: &[Metric], name: &str) -> Vec<Metric> {
    metrics.iter().filter(|metric| metric.name == name).cloned().collect()
}

fn points(metric: &Metric) -> usize {
    match metric.data.as_ref() {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    }
}

/// What the account says of a request that the next stage answers like this.
fn settled(statements: &str, answer: Option<ConsumeError>) -> (Sheet, u64) {
    let stage = stage(statements);
    stage.sink.answer_with(answer);
    let payload = incoming(&request(Signal::Metrics).0);
    let came = payload.items;
    let (receipt, payload) = payload.received(&stage.host.balance);
    let answer = stage.consumer.consume(payload).now_or_never().expect("no waiting");
    receipt.answer(answer.as_ref().copied());
    for payload in stage.sink.take() {
        assert_eq!((payload.items, payload.share.items()), (envelope::count_items(Signal::Metrics, &payload.envelope), payload.items));
        payload.share.end(ItemEnd::Delivered);
    }
    let sheet = stage.host.balance.sheet(Signal::Metrics);
    assert!(sheet.holds(0) && sheet.held == 0 && sheet.received == came, "{sheet:?}");
    (sheet, came)
}

const COPIES: &str = r#"['copy_metric(name="copy") where metric.name == "multi"']"#;
const MERGES: &str = r#"['aggregate_on_attributes("sum", []) where metric.name == "multi"']"#;

#[test]
fn points_that_are_made_are_copies_in_the_account_and_end_as_the_call_ends() {
    let (sheet, came) = settled(COPIES, None);
    assert_eq!((sheet.copied, sheet.delivered), (4, came + 4));
    let (sheet, came) = settled(COPIES, Some(ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    assert_eq!((sheet.copied, sheet.refused), (4, came + 4));
    let (sheet, came) = settled(COPIES, Some(ConsumeError::rejected(Reason::PERMANENT, "never")));
    assert_eq!((sheet.copied, sheet.dropped["permanent"]), (4, came + 4));
}

#[test]
fn points_that_become_one_are_dropped_as_transformed_once_the_rest_was_accepted() {
    let (sheet, came) = settled(MERGES, None);
    assert_eq!((sheet.delivered, sheet.dropped["transformed"]), (came - 3, 3));
    let (sheet, came) = settled(MERGES, Some(ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    assert_eq!((sheet.refused, sheet.dropped_total()), (came, 0), "a request that is refused comes again as a whole");
    let emptied = r#"['set(metric.data_points, nil) where metric.name == "multi"', 'copy_metric() where metric.name == "gauge"']"#;
    let (sheet, came) = settled(emptied, None);
    assert_eq!(sheet.dropped["transformed"], 4);
    assert_eq!(sheet.delivered, came - 4 + sheet.copied);
}

#[test]
fn a_copy_stands_behind_its_scope_and_later_statements_see_it() {
    let (all, _) = made(r#"['copy_metric(name="copy") where metric.name == "gauge"', 'set(metric.unit, "x") where metric.name == "copy"']"#);
    let copy = all.last().expect("metrics");
    assert_eq!((copy.name.as_str(), copy.unit.as_str()), ("copy", "x"));
    assert_eq!(named(&all, "gauge")[0].data, copy.data);
    assert_eq!(named(&all, "gauge")[0].unit, "s");
}

#[test]
fn a_copy_without_a_condition_ends_and_says_so() {
    let (all, host) = made("[{context: metric, statements: ['copy_metric()']}]");
    // Each metric, and eight copies of copies.
    assert_eq!(named(&all, "gauge").len(), 9);
    assert!(host.stats.total("podgate_processor_ottl_failures") >= 12);
}

#[test]
fn what_is_made_of_a_request_is_bounded_by_its_bytes() {
    // Two statements double what there is in each generation.
    let wire = request(Signal::Metrics).0;
    let stage = stage("[{context: metric, statements: ['copy_metric()', 'copy_metric(description=\"x\")', 'copy_metric(unit=\"y\")']}]");
    let sent = stage.send(incoming(&wire));
    let bytes: usize = sent.iter().map(|payload| envelope::encode(&payload.envelope).len()).sum();
    assert!(bytes <= wire.len() * 34 + (64 << 10), "{bytes} of {}", wire.len());
    assert!(bytes > wire.len() * 4, "{bytes}");
}

#[test]
fn a_statement_about_points_sees_the_points_that_it_changed_before() {
    let (all, _) = made(
        r#"[{context: datapoint, conditions: ['metric.name == "summaries"'], statements: ['set(attributes["seen"], true)',
        'convert_summary_sum_val_to_sum("cumulative", true) where attributes["k"] == "b"']}]"#,
    );
    let [made] = &named(&all, "summaries_sum")[..] else { panic!("{all:?}") };
    let Some(Data::Sum(sum)) = &made.data else { panic!("{made:?}") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2 && made.unit == "s");
    for point in &sum.data_points {
        assert!(point.attributes.iter().any(|attribute| attribute.key == "seen"), "{point:?}");
    }
    assert_eq!(sum.data_points.len(), 2);
}

#[test]
fn functions_tell_the_context_where_paths_name_a_higher_one() {
    let (all, _) = made(r#"['convert_summary_count_val_to_sum("delta", false) where metric.name == "summary"']"#);
    assert_eq!(named(&all, "summary_count").len(), 1);
    let faults = |statements: &str| checked(&format!("metric_statements: {statements}\n")).map(drop).unwrap_err();
    for (statements, says) in [
        (r#"['copy_metric(name="x") where datapoint.flags == 1']"#, "changes a metric"),
        (r#"[{context: metric, statements: ['merge_histogram_buckets(1.0)']}]"#, "changes a datapoint"),
        (r#"['copy_metric(name="x")']"#, "no path tells the context"),
    ] {
        let found = faults(statements);
        assert!(found.iter().any(|fault| fault.contains(says)), "{statements}: {found:?}");
    }
}

#[test]
fn buckets_of_exponential_histograms_are_added_where_they_belong() {
    let (all, _) = made(r#"['aggregate_on_attributes("sum", []) where metric.name == "apart"']"#);
    let Some(Data::ExponentialHistogram(histogram)) = &named(&all, "apart")[0].data else { panic!("{all:?}") };
    let [point] = &histogram.data_points[..] else { panic!("{histogram:?}") };
    let positive = point.positive.as_ref().expect("buckets");
    // Buckets 2 and 3 have one and two, 0 and 2 have one and three.
    assert_eq!((positive.offset, &positive.bucket_counts[..]), (0, &[1, 0, 4, 2][..]));
    assert_eq!((point.count, point.sum), (7, Some(11.0)));
}

#[test]
fn buckets_that_lie_far_apart_are_not_one_list() {
    use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
    let mut request = ExportMetricsServiceRequest::decode(&request(Signal::Metrics).0[..]).expect("valid");
    for metric in &mut request.resource_metrics[0].scope_metrics[0].metrics {
        if let Some(Data::ExponentialHistogram(histogram)) = &mut metric.data {
            for (at, point) in histogram.data_points.iter_mut().enumerate() {
                let offset = [i32::MIN, i32::MAX][at % 2];
                point.positive = Some(Buckets { offset, bucket_counts: vec![1] });
            }
        }
    }
    let stage = stage(r#"['aggregate_on_attributes("sum", []) where metric.name == "exps"']"#);
    let sent = stage.send(incoming(&request.encode_to_vec()));
    assert_eq!(points(&named(&metrics(&sent), "exps")[0]), 2, "they stay as they are");
    assert_eq!(stage.host.stats.total("podgate_processor_ottl_failures"), 1);
}

#[test]
fn chance_spreads_all_that_was_counted() {
    let text = r#"['convert_exponential_histogram_to_histogram("random", [0.0, 0.5, 1.0, 2.0, 4.0, 16.0]) where metric.name == "exps"']"#;
    let (all, _) = made(text);
    let Some(Data::Histogram(histogram)) = &named(&all, "exps")[0].data else { panic!("{all:?}") };
    let counts: Vec<u64> = histogram.data_points.iter().map(|point| point.bucket_counts.iter().sum()).collect();
    assert_eq!(counts, [7, 4]);
}
