//! The policy types, one file each: a body is checked and becomes a [`Rule`](super::PolicyRule) over bits and sums.

pub mod always_sample;
pub mod and;
pub mod boolean_attribute;
pub mod bytes_limiting;
pub mod composite;
pub mod drop;
pub mod latency;
pub mod not;
pub mod numeric_attribute;
pub mod ottl_condition;
pub mod probabilistic;
pub mod rate_limiting;
pub mod span_count;
pub mod status_code;
pub mod string_attribute;
pub mod trace_flags;
pub mod trace_state;
