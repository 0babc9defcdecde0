//! What arrived, item by item: which container its resource names and which one made it, as the item itself says.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::{DecodeError, Message};
use serde::Serialize;

/// Attributes of items by which a test tells what it sent: a name of the item, and the container that made it.
pub const ITEM: &str = "test.item";
pub const MADE_BY: &str = "test.made_by";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// An item that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub signal: Signal,
    pub item: Option<String>,
    pub made_by: Option<String>,
    pub container_id: Option<String>,
    pub pod: Option<String>,
    /// False when it was acknowledged and lost.
    pub kept: bool,
}

/// A request that was read.
#[derive(Debug, Default)]
pub struct Read {
    pub items: Vec<Item>,
    /// Data points that APM Server cannot take, which its answer counts.
    pub unsupported: i64,
}

impl Read {
    fn take(&mut self, signal: Signal, resource: Option<&Resource>, attributes: &[KeyValue]) {
        let of_resource = |key| resource.and_then(|resource| text(&resource.attributes, key));
        self.items.push(Item {
            signal,
            item: text(attributes, ITEM),
            made_by: text(attributes, MADE_BY),
            container_id: of_resource("container.id"),
            pod: of_resource("k8s.pod.name"),
            kept: true,
        });
    }

    fn take_metric(&mut self, resource: Option<&Resource>, metric: &Metric) {
        let numbers = |points: &[opentelemetry_proto::tonic::metrics::v1::NumberDataPoint], read: &mut Read| {
            for point in points {
                match point.value {
                    Some(number_data_point::Value::AsDouble(value)) if !value.is_finite() => read.unsupported += 1,
                    _ => read.take(Signal::Metrics, resource, &point.attributes),
                }
            }
        };
        match &metric.data {
            Some(metric::Data::Gauge(gauge)) => numbers(&gauge.data_points, self),
            Some(metric::Data::Sum(sum)) => numbers(&sum.data_points, self),
            Some(metric::Data::Histogram(histogram)) => {
                histogram.data_points.iter().for_each(|point| self.take(Signal::Metrics, resource, &point.attributes));
            }
            Some(metric::Data::Summary(summary)) => {
                summary.data_points.iter().for_each(|point| self.take(Signal::Metrics, resource, &point.attributes));
            }
            Some(metric::Data::ExponentialHistogram(histogram)) => {
                self.unsupported += i64::try_from(histogram.data_points.len()).unwrap_or(i64::MAX);
            }
            None => {}
        }
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    // Of a key that is there twice APM Server keeps the last.
    let found = attributes.iter().rev().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match found.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Reads a request of this signal.
pub fn read(signal: Signal, message: &[u8]) -> Result<Read, DecodeError> {
    let mut read = Read::default();
    match signal {
        Signal::Traces => {
            for group in ExportTraceServiceRequest::decode(message)?.resource_spans {
                let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
                spans.for_each(|span| read.take(signal, group.resource.as_ref(), &span.attributes));
            }
        }
        Signal::Metrics => {
            for group in ExportMetricsServiceRequest::decode(message)?.resource_metrics {
                let metrics = group.scope_metrics.iter().flat_map(|scope| &scope.metrics);
                metrics.for_each(|metric| read.take_metric(group.resource.as_ref(), metric));
            }
        }
        Signal::Logs => {
            for group in ExportLogsServiceRequest::decode(message)?.resource_logs {
                let records = group.scope_logs.iter().flat_map(|scope| &scope.log_records);
                records.for_each(|record| read.take(signal, group.resource.as_ref(), &record.attributes));
            }
        }
    }
    Ok(read)
}

/// The body of a success. APM Server always sets `partial_success`, empty when it took everything.
pub fn answer(signal: Signal, unsupported: i64) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    match signal {
        Signal::Traces => {
            ExportTraceServiceResponse { partial_success: Some(ExportTracePartialSuccess::default()) }.encode_to_vec()
        }
        Signal::Logs => {
            ExportLogsServiceResponse { partial_success: Some(ExportLogsPartialSuccess::default()) }.encode_to_vec()
        }
        Signal::Metrics => {
            let error_message = if unsupported > 0 { "unsupported data points".to_owned() } else { String::new() };
            let partial = ExportMetricsPartialSuccess { rejected_data_points: unsupported, error_message };
            ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        }
    }
}
