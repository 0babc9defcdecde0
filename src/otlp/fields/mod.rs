//! The protocol's own names: field numbers, values of enums, JSON names and gRPC paths, each a constant.
//!
//! `build.rs` makes them of `proto/`, a module for each package and in it one for each message, enum and service. Whoever
//! reads or writes bytes of the protocol takes its numbers from here; a bare number stands nowhere else. Below is what the
//! four signals have in common, which code that serves all of them relies on.

#![allow(dead_code, reason = "every field has its constant, and nobody reads all of them")]
#![allow(clippy::module_inception, reason = "the protocol has a message Resource in a package resource")]

include!(concat!(env!("OUT_DIR"), "/fields.rs"));

/// The key byte that stands before a field whose number is below 16; `wire_type` is one of `otlp::write`.
pub const fn short_key(number: u32, wire_type: u8) -> u8 {
    assert!(number > 0 && number < 16, "a field of a higher number has a key of more than one byte");
    (number as u8) << 3 | wire_type
}

/// Field numbers of a request of any signal.
pub mod request {
    use super::{collector_logs, collector_metrics, collector_profiles, collector_trace};

    pub const RESOURCE_GROUPS: u32 = collector_trace::export_trace_service_request::RESOURCE_SPANS;
    /// Of profiles only.
    pub const DICTIONARY: u32 = collector_profiles::export_profiles_service_request::DICTIONARY;

    const _: () = {
        assert!(RESOURCE_GROUPS == collector_metrics::export_metrics_service_request::RESOURCE_METRICS);
        assert!(RESOURCE_GROUPS == collector_logs::export_logs_service_request::RESOURCE_LOGS);
        assert!(RESOURCE_GROUPS == collector_profiles::export_profiles_service_request::RESOURCE_PROFILES);
    };
}

/// Field numbers of the response to a request of any signal.
pub mod response {
    use super::{collector_logs, collector_metrics, collector_profiles, collector_trace};

    pub const PARTIAL_SUCCESS: u32 = collector_trace::export_trace_service_response::PARTIAL_SUCCESS;

    const _: () = {
        assert!(PARTIAL_SUCCESS == collector_metrics::export_metrics_service_response::PARTIAL_SUCCESS);
        assert!(PARTIAL_SUCCESS == collector_logs::export_logs_service_response::PARTIAL_SUCCESS);
        assert!(PARTIAL_SUCCESS == collector_profiles::export_profiles_service_response::PARTIAL_SUCCESS);
    };
}

/// Field numbers of the partial success of any signal.
pub mod partial_success {
    use super::collector_logs::export_logs_partial_success as logs;
    use super::collector_metrics::export_metrics_partial_success as metrics;
    use super::collector_profiles::export_profiles_partial_success as profiles;
    use super::collector_trace::export_trace_partial_success as trace;

    pub const REJECTED: u32 = trace::REJECTED_SPANS;
    pub const ERROR_MESSAGE: u32 = trace::ERROR_MESSAGE;

    const _: () = {
        assert!(REJECTED == metrics::REJECTED_DATA_POINTS && ERROR_MESSAGE == metrics::ERROR_MESSAGE);
        assert!(REJECTED == logs::REJECTED_LOG_RECORDS && ERROR_MESSAGE == logs::ERROR_MESSAGE);
        assert!(REJECTED == profiles::REJECTED_PROFILES && ERROR_MESSAGE == profiles::ERROR_MESSAGE);
    };
}

/// Field numbers of a resource group of any signal, `ResourceSpans` and its like.
pub mod resource_group {
    use super::{logs, metrics, profiles, trace};

    pub const RESOURCE: u32 = trace::resource_spans::RESOURCE;
    pub const SCOPE_GROUPS: u32 = trace::resource_spans::SCOPE_SPANS;
    pub const SCHEMA_URL: u32 = trace::resource_spans::SCHEMA_URL;

    const _: () = {
        use logs::resource_logs::{self as l};
        use metrics::resource_metrics::{self as m};
        use profiles::resource_profiles::{self as p};
        assert!(RESOURCE == l::RESOURCE && RESOURCE == m::RESOURCE && RESOURCE == p::RESOURCE);
        assert!(SCOPE_GROUPS == l::SCOPE_LOGS && SCOPE_GROUPS == m::SCOPE_METRICS && SCOPE_GROUPS == p::SCOPE_PROFILES);
        assert!(SCHEMA_URL == l::SCHEMA_URL && SCHEMA_URL == m::SCHEMA_URL && SCHEMA_URL == p::SCHEMA_URL);
    };
}

/// Field numbers of a scope group of any signal, `ScopeSpans` and its like.
pub mod scope_group {
    use super::{logs, metrics, profiles, trace};

    pub const SCOPE: u32 = trace::scope_spans::SCOPE;
    pub const ITEMS: u32 = trace::scope_spans::SPANS;
    pub const SCHEMA_URL: u32 = trace::scope_spans::SCHEMA_URL;

    const _: () = {
        use logs::scope_logs::{self as l};
        use metrics::scope_metrics::{self as m};
        use profiles::scope_profiles::{self as p};
        assert!(SCOPE == l::SCOPE && SCOPE == m::SCOPE && SCOPE == p::SCOPE);
        assert!(ITEMS == l::LOG_RECORDS && ITEMS == m::METRICS && ITEMS == p::PROFILES);
        assert!(SCHEMA_URL == l::SCHEMA_URL && SCHEMA_URL == m::SCHEMA_URL && SCHEMA_URL == p::SCHEMA_URL);
    };
}

/// What all five kinds of metric have in common.
pub mod metric_data {
    use super::metrics::{
        exponential_histogram, exponential_histogram_data_point as exponential_point, gauge, histogram,
        histogram_data_point as histogram_point, metric, number_data_point as number_point, sum, summary,
        summary_data_point as summary_point,
    };

    pub const DATA_POINTS: u32 = gauge::DATA_POINTS;
    pub const POINT_START_TIME_UNIX_NANO: u32 = number_point::START_TIME_UNIX_NANO;
    pub const POINT_TIME_UNIX_NANO: u32 = number_point::TIME_UNIX_NANO;
    /// Of histograms, exponential ones and summaries.
    pub const POINT_COUNT: u32 = histogram_point::COUNT;
    /// Of histograms, exponential ones and summaries.
    pub const POINT_SUM: u32 = histogram_point::SUM;
    /// Of sums and of both kinds of histogram.
    pub const AGGREGATION_TEMPORALITY: u32 = sum::AGGREGATION_TEMPORALITY;

    /// Whether a metric's field of this number holds its data.
    pub const fn is_data(number: u32) -> bool {
        matches!(
            number,
            metric::GAUGE | metric::SUM | metric::HISTOGRAM | metric::EXPONENTIAL_HISTOGRAM | metric::SUMMARY
        )
    }

    const _: () = {
        assert!(DATA_POINTS == sum::DATA_POINTS && DATA_POINTS == histogram::DATA_POINTS);
        assert!(DATA_POINTS == exponential_histogram::DATA_POINTS && DATA_POINTS == summary::DATA_POINTS);
        assert!(POINT_START_TIME_UNIX_NANO == histogram_point::START_TIME_UNIX_NANO);
        assert!(POINT_START_TIME_UNIX_NANO == exponential_point::START_TIME_UNIX_NANO);
        assert!(POINT_START_TIME_UNIX_NANO == summary_point::START_TIME_UNIX_NANO);
        assert!(POINT_TIME_UNIX_NANO == histogram_point::TIME_UNIX_NANO);
        assert!(POINT_TIME_UNIX_NANO == exponential_point::TIME_UNIX_NANO);
        assert!(POINT_TIME_UNIX_NANO == summary_point::TIME_UNIX_NANO);
        assert!(POINT_COUNT == exponential_point::COUNT && POINT_COUNT == summary_point::COUNT);
        assert!(POINT_SUM == exponential_point::SUM && POINT_SUM == summary_point::SUM);
        assert!(AGGREGATION_TEMPORALITY == histogram::AGGREGATION_TEMPORALITY);
        assert!(AGGREGATION_TEMPORALITY == exponential_histogram::AGGREGATION_TEMPORALITY);
    };
}

/// The field number of the entries of a list and of a map alike.
pub mod value_list {
    use super::common::{array_value, key_value_list};

    pub const VALUES: u32 = array_value::VALUES;

    const _: () = assert!(VALUES == key_value_list::VALUES);
}

/// Key bytes of attributes and of their values, for what is matched byte by byte.
pub mod keys {
    use super::common::{any_value, key_value};
    use super::short_key;
    use crate::otlp::write::{FIXED64, LEN, VARINT};

    pub const KEY: u8 = short_key(key_value::KEY, LEN);
    pub const VALUE: u8 = short_key(key_value::VALUE, LEN);
    pub const STRING: u8 = short_key(any_value::STRING_VALUE, LEN);
    pub const BOOL: u8 = short_key(any_value::BOOL_VALUE, VARINT);
    pub const INT: u8 = short_key(any_value::INT_VALUE, VARINT);
    pub const DOUBLE: u8 = short_key(any_value::DOUBLE_VALUE, FIXED64);
}

#[cfg(test)]
mod tests;
