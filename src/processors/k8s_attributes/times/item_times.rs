//! When a resource's items were made, and when the process that made them was already counting.
//!
//! All of a resource's items come from one process, so the first and the last item of each scope are witnesses enough and
//! a large request costs no more than a small one. Cumulative points also tell since when they count: their process
//! lived then. Delta points begin at the last export, gauges nowhere: neither says anything of a start.

use crate::core::data::payload::{Group, Signal};
use crate::core::time::UnixNanos;
use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{aggregation_temporality, metric};
use crate::otlp::regroup::latest_time;
use crate::otlp::walk::{Fields, Malformed};
use crate::processors::k8s_attributes::bindings::Times;

/// Scopes looked into.
const SCOPES_MAX: usize = 16;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = aggregation_temporality::CUMULATIVE as u64;

/// First and last time among the witnesses; `None` when none tells a time.
pub fn item_times(signal: Signal, group: &Group) -> Option<Times> {
    let ends = group.scopes.iter().take(SCOPES_MAX).flat_map(|scope| [scope.items.first(), scope.items.last()]);
    let mut found: Option<Times> = None;
    for item in ends.flatten() {
        let time = latest_time::item_time(signal, item);
        if time.0 == 0 {
            continue;
        }
        let counting_since = if signal == Signal::Metrics { counting_since(item, time) } else { None };
        let one = Times { first: time, last: time, counting_since };
        found = Some(found.map_or(one, |known| known.join(one)));
    }
    found
}

/// Since when a metric counts: the earliest start of its first and last point, if it is cumulative and the start is not
/// after `latest`, its latest point.
fn counting_since(metric: &[u8], latest: UnixNanos) -> Option<UnixNanos> {
    let start = cumulative_start(metric).ok().flatten()?;
    (0 < start && start <= latest.0).then_some(UnixNanos(start))
}

fn cumulative_start(metric: &[u8]) -> Result<Option<u64>, Malformed> {
    for field in Fields::new(metric) {
        let field = field?;
        match field.number {
            // Sum, histogram and exponential histogram tell their temporality; a summary is cumulative.
            metric::SUM | metric::HISTOGRAM | metric::EXPONENTIAL_HISTOGRAM => {
                return start_of(field.bytes()?, false);
            }
            metric::SUMMARY => return start_of(field.bytes()?, true),
            _ => {}
        }
    }
    Ok(None)
}

/// All kinds hold their points in one field, and all points the time since which they count in one.
fn start_of(points: &[u8], cumulative: bool) -> Result<Option<u64>, Malformed> {
    let (mut cumulative, mut first, mut last) = (cumulative, None, None);
    for field in Fields::new(points) {
        let field = field?;
        match field.number {
            metric_data::DATA_POINTS => {
                last = Some(field.bytes()?);
                first = first.or(last);
            }
            metric_data::AGGREGATION_TEMPORALITY => cumulative |= field.varint()? == CUMULATIVE,
            _ => {}
        }
    }
    let mut start = None;
    for point in [first, last].into_iter().flatten().filter(|_| cumulative) {
        start = start.into_iter().chain(point_start(point)?).min();
    }
    Ok(start)
}

fn point_start(point: &[u8]) -> Result<Option<u64>, Malformed> {
    for field in Fields::new(point) {
        let field = field?;
        if field.number == metric_data::POINT_START_TIME_UNIX_NANO {
            return field.fixed64().map(|start| Some(start).filter(|start| *start > 0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint,
    };
    use prost::Message;

    use super::*;
    use crate::core::data::payload::ScopeGroup;

    fn point(start: u64, time: u64) -> NumberDataPoint {
        NumberDataPoint { start_time_unix_nano: start, time_unix_nano: time, ..NumberDataPoint::default() }
    }

    fn sum(temporality: i32, points: Vec<NumberDataPoint>) -> Data {
        Data::Sum(Sum { data_points: points, aggregation_temporality: temporality, is_monotonic: true })
    }

    fn times_of(data: Vec<Data>) -> Option<(u64, u64, Option<u64>)> {
        let metric = |data| Metric { name: "requests".to_owned(), data: Some(data), ..Metric::default() };
        let items: Vec<Bytes> = data.into_iter().map(|data| metric(data).encode_to_vec().into()).collect();
        let group =
            Group { scopes: vec![ScopeGroup { items: items.into(), ..ScopeGroup::default() }], ..Group::default() };
        let times = item_times(Signal::Metrics, &group)?;
        Some((times.first.0, times.last.0, times.counting_since.map(|since| since.0)))
    }

    #[test]
    fn cumulative_points_tell_since_when_their_process_counts_and_others_do_not() {
        let histogram = HistogramDataPoint { start_time_unix_nano: 40, time_unix_nano: 90, ..Default::default() };
        let summary = SummaryDataPoint { start_time_unix_nano: 30, time_unix_nano: 90, ..Default::default() };
        let histogram = Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
        let table = [
            (sum(2, vec![point(50, 90)]), Some(50)),
            (sum(2, vec![point(60, 90), point(55, 90), point(50, 90)]), Some(50)),
            (sum(1, vec![point(80, 90)]), None),
            (sum(0, vec![point(80, 90)]), None),
            (Data::Gauge(Gauge { data_points: vec![point(50, 90)] }), None),
            (Data::Histogram(histogram), Some(40)),
            (Data::Summary(Summary { data_points: vec![summary] }), Some(30)),
            (sum(2, vec![point(0, 90)]), None),
            (sum(2, vec![point(91, 90)]), None),
        ];
        for (data, expected) in table {
            assert_eq!(times_of(vec![data.clone()]), Some((90, 90, expected)), "{data:?}");
        }
    }

    #[test]
    fn the_earliest_start_of_a_resource_counts() {
        let read =
            times_of(vec![sum(2, vec![point(70, 90)]), sum(1, vec![point(10, 90)]), sum(2, vec![point(50, 95)])]);
        assert_eq!(read, Some((90, 95, Some(50))));
        assert_eq!(times_of(vec![sum(2, Vec::new())]), None);
    }

    #[test]
    fn what_is_no_metric_tells_nothing() {
        for bytes in [&[0x3a, 0x7f][..], &[0xff; 9], &[0x3a, 0x02, 0x0a, 0x05]] {
            let group = ScopeGroup { items: vec![Bytes::copy_from_slice(bytes)].into(), ..ScopeGroup::default() };
            let group = Group { scopes: vec![group], ..Group::default() };
            assert_eq!(item_times(Signal::Metrics, &group), None);
        }
    }
}
