//! Arbitrary OTLP requests from a seed, as the structs of `opentelemetry-proto`, and the same requests in other valid
//! spellings of the wire format.

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{self as metrics, Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::profiles::v1development as profiles;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};

/// A deterministic source of requests.
pub struct Arbitrary {
    pub rng: Rng,
}

impl Arbitrary {
    pub fn new(seed: u64) -> Arbitrary {
        Arbitrary { rng: Rng::with_seed(seed) }
    }

    pub fn many<T>(&mut self, max: usize, mut one: impl FnMut(&mut Arbitrary) -> T) -> Vec<T> {
        (0..self.rng.usize(0..=max)).map(|_| one(self)).collect()
    }

    pub fn maybe<T>(&mut self, one: impl FnOnce(&mut Arbitrary) -> T) -> Option<T> {
        self.rng.bool().then(|| one(self))
    }

    pub fn text(&mut self) -> String {
        const PIECES: &[&str] =
            &["a", "service.name", "\"", "\\", "\n", "\u{1}", "\u{e9}", "\u{1f600}", "0123456789", "", " "];
        (0..self.rng.usize(0..12)).map(|_| PIECES[self.rng.usize(0..PIECES.len())]).collect()
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.rng.usize(0..=max)).map(|_| self.rng.u8(..)).collect()
    }

    /// An id, or none; never one of zeros.
    fn id(&mut self, length: usize) -> Vec<u8> {
        if self.rng.u8(..) < 32 { Vec::new() } else { (0..length).map(|_| self.rng.u8(1..)).collect() }
    }

    fn u64(&mut self) -> u64 {
        match self.rng.u8(0..4) {
            0 => 0,
            1 => u64::from(self.rng.u8(..)),
            2 => 1_760_000_000_000_000_000 + self.rng.u64(0..1 << 40),
            _ => self.rng.u64(..),
        }
    }

    fn i64(&mut self) -> i64 {
        self.u64() as i64
    }

    fn double(&mut self) -> f64 {
        match self.rng.u8(0..4) {
            0 => 0.0,
            1 => f64::from(self.rng.i32(-1000..1000)),
            2 => self.rng.f64() * 1e-9,
            _ => self.rng.f64() * 1e300,
        }
    }

    pub fn value(&mut self, depth: usize) -> AnyValue {
        let kinds = if depth == 0 { 6 } else { 8 };
        let value = match self.rng.u8(0..kinds) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.rng.bool())),
            3 => Some(Value::IntValue(self.i64())),
            4 => Some(Value::DoubleValue(self.double())),
            5 => Some(Value::BytesValue(self.bytes(9))),
            6 => Some(Value::ArrayValue(ArrayValue { values: self.many(3, |some| some.value(depth - 1)) })),
            _ => Some(Value::KvlistValue(KeyValueList { values: self.many(3, |some| some.attribute(depth - 1)) })),
        };
        AnyValue { value }
    }

    pub fn attribute(&mut self, depth: usize) -> KeyValue {
        KeyValue { key: self.text(), value: Some(self.value(depth)), ..KeyValue::default() }
    }

    pub fn attributes(&mut self) -> Vec<KeyValue> {
        self.many(5, |some| some.attribute(3))
    }

    pub fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..3),
            entity_refs: self.many(2, |some| EntityRef {
                schema_url: some.text(),
                r#type: some.text(),
                id_keys: some.many(2, Arbitrary::text),
                description_keys: some.many(2, Arbitrary::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..3),
        }
    }

    pub fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.rng.u32(..),
            name: self.text(),
            kind: self.rng.i32(0..7),
            start_time_unix_nano: self.u64(),
            end_time_unix_nano: self.u64(),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..3),
            events: self.many(2, |some| span::Event {
                time_unix_nano: some.u64(),
                name: some.text(),
                attributes: some.attributes(),
                dropped_attributes_count: some.rng.u32(0..3),
            }),
            dropped_events_count: self.rng.u32(0..3),
            links: self.many(2, |some| span::Link {
                trace_id: some.id(16),
                span_id: some.id(8),
                trace_state: some.text(),
                attributes: some.attributes(),
                dropped_attributes_count: some.rng.u32(0..3),
                flags: some.rng.u32(..),
            }),
            dropped_links_count: self.rng.u32(0..3),
            status: self.maybe(|some| Status { message: some.text(), code: some.rng.i32(0..3) }),
        }
    }

    pub fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.many(3, |some| ResourceSpans {
            resource: some.maybe(Arbitrary::resource),
            scope_spans: some.many(3, |some| ScopeSpans {
                scope: some.maybe(Arbitrary::scope),
                spans: some.many(4, Arbitrary::span),
                schema_url: some.text(),
            }),
            schema_url: some.text(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.u64(),
            observed_time_unix_nano: self.u64(),
            severity_number: self.rng.i32(0..25),
            severity_text: self.text(),
            body: self.maybe(|some| some.value(3)),
            attributes: self.attributes(),
            dropped_attributes_count: self.rng.u32(0..3),
            flags: self.rng.u32(..),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    pub fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.many(3, |some| ResourceLogs {
            resource: some.maybe(Arbitrary::resource),
            scope_logs: some.many(3, |some| ScopeLogs {
                scope: some.maybe(Arbitrary::scope),
                log_records: some.many(4, Arbitrary::log_record),
                schema_url: some.text(),
            }),
            schema_url: some.text(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    fn exemplar(&mut self) -> metrics::Exemplar {
        metrics::Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.u64(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: self.maybe(|some| match some.rng.bool() {
                true => metrics::exemplar::Value::AsDouble(some.double()),
                false => metrics::exemplar::Value::AsInt(some.i64()),
            }),
        }
    }

    fn number_point(&mut self) -> metrics::NumberDataPoint {
        metrics::NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            exemplars: self.many(2, Arbitrary::exemplar),
            flags: self.rng.u32(0..2),
            value: self.maybe(|some| match some.rng.bool() {
                true => metrics::number_data_point::Value::AsDouble(some.double()),
                false => metrics::number_data_point::Value::AsInt(some.i64()),
            }),
        }
    }

    fn histogram_point(&mut self) -> metrics::HistogramDataPoint {
        metrics::HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Arbitrary::double),
            bucket_counts: self.many(4, Arbitrary::u64),
            explicit_bounds: self.many(3, Arbitrary::double),
            exemplars: self.many(2, Arbitrary::exemplar),
            flags: self.rng.u32(0..2),
            min: self.maybe(Arbitrary::double),
            max: self.maybe(Arbitrary::double),
        }
    }

    fn buckets(&mut self) -> metrics::exponential_histogram_data_point::Buckets {
        metrics::exponential_histogram_data_point::Buckets {
            offset: self.rng.i32(..),
            bucket_counts: self.many(4, Arbitrary::u64),
        }
    }

    fn exponential_point(&mut self) -> metrics::ExponentialHistogramDataPoint {
        metrics::ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Arbitrary::double),
            scale: self.rng.i32(-20..20),
            zero_count: self.u64(),
            positive: self.maybe(Arbitrary::buckets),
            negative: self.maybe(Arbitrary::buckets),
            flags: self.rng.u32(0..2),
            exemplars: self.many(2, Arbitrary::exemplar),
            min: self.maybe(Arbitrary::double),
            max: self.maybe(Arbitrary::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> metrics::SummaryDataPoint {
        metrics::SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.double(),
            quantile_values: self.many(3, |some| metrics::summary_data_point::ValueAtQuantile {
                quantile: some.double(),
                value: some.double(),
            }),
            flags: self.rng.u32(0..2),
        }
    }

    fn metric_data(&mut self) -> metric::Data {
        let aggregation_temporality = self.rng.i32(0..3);
        match self.rng.u8(0..5) {
            0 => metric::Data::Gauge(metrics::Gauge { data_points: self.many(3, Arbitrary::number_point) }),
            1 => metric::Data::Sum(metrics::Sum {
                data_points: self.many(3, Arbitrary::number_point),
                aggregation_temporality,
                is_monotonic: self.rng.bool(),
            }),
            2 => metric::Data::Histogram(metrics::Histogram {
                data_points: self.many(3, Arbitrary::histogram_point),
                aggregation_temporality,
            }),
            3 => metric::Data::ExponentialHistogram(metrics::ExponentialHistogram {
                data_points: self.many(3, Arbitrary::exponential_point),
                aggregation_temporality,
            }),
            _ => metric::Data::Summary(metrics::Summary { data_points: self.many(3, Arbitrary::summary_point) }),
        }
    }

    fn metric(&mut self) -> Metric {
        Metric {
            name: self.text(),
            description: self.text(),
            unit: self.text(),
            metadata: self.attributes(),
            data: self.maybe(Arbitrary::metric_data),
        }
    }

    pub fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.many(3, |some| ResourceMetrics {
            resource: some.maybe(Arbitrary::resource),
            scope_metrics: some.many(3, |some| ScopeMetrics {
                scope: some.maybe(Arbitrary::scope),
                metrics: some.many(4, Arbitrary::metric),
                schema_url: some.text(),
            }),
            schema_url: some.text(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }

    fn indices(&mut self) -> Vec<i32> {
        self.many(4, |some| some.rng.i32(..))
    }

    fn dictionary(&mut self) -> profiles::ProfilesDictionary {
        profiles::ProfilesDictionary {
            mapping_table: self.many(2, |some| profiles::Mapping {
                memory_start: some.u64(),
                memory_limit: some.u64(),
                file_offset: some.u64(),
                filename_strindex: some.rng.i32(0..9),
                attribute_indices: some.indices(),
            }),
            location_table: self.many(2, |some| profiles::Location {
                mapping_index: some.rng.i32(0..9),
                address: some.u64(),
                lines: some.many(2, |some| profiles::Line { function_index: 1, line: some.i64(), column: some.i64() }),
                attribute_indices: some.indices(),
            }),
            function_table: self.many(2, |some| profiles::Function {
                name_strindex: 3,
                start_line: some.i64(),
                ..Default::default()
            }),
            link_table: self.many(2, |some| profiles::Link { trace_id: some.id(16), span_id: some.id(8) }),
            string_table: self.many(3, Arbitrary::text),
            attribute_table: self.many(2, |some| profiles::KeyValueAndUnit {
                key_strindex: 1,
                value: Some(some.value(2)),
                unit_strindex: some.rng.i32(0..3),
            }),
            stack_table: self.many(2, |some| profiles::Stack { location_indices: some.indices() }),
        }
    }

    fn profile(&mut self) -> profiles::Profile {
        profiles::Profile {
            sample_type: self.maybe(|some| profiles::ValueType { type_strindex: some.rng.i32(0..9), unit_strindex: 1 }),
            samples: self.many(3, |some| profiles::Sample {
                stack_index: some.rng.i32(..),
                attribute_indices: some.indices(),
                link_index: some.rng.i32(0..3),
                values: some.many(3, Arbitrary::i64),
                timestamps_unix_nano: some.many(3, Arbitrary::u64),
            }),
            time_unix_nano: self.u64(),
            duration_nano: self.u64(),
            period_type: None,
            period: self.i64(),
            profile_id: self.id(16),
            dropped_attributes_count: self.rng.u32(0..2),
            original_payload_format: self.text(),
            original_payload: self.bytes(20),
            attribute_indices: self.indices(),
        }
    }

    pub fn profiles(&mut self) -> ExportProfilesServiceRequest {
        let resource_profiles = self.many(2, |some| profiles::ResourceProfiles {
            resource: some.maybe(Arbitrary::resource),
            scope_profiles: some.many(2, |some| profiles::ScopeProfiles {
                scope: some.maybe(Arbitrary::scope),
                profiles: some.many(3, Arbitrary::profile),
                schema_url: some.text(),
            }),
            schema_url: some.text(),
        });
        ExportProfilesServiceRequest { resource_profiles, dictionary: self.maybe(Arbitrary::dictionary) }
    }
}
