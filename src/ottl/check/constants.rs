//! Constants of the language: names in capitals and their numbers.

use crate::otlp::fields::logs::severity_number;
use crate::otlp::fields::metrics::{aggregation_temporality, data_point_flags};
use crate::otlp::fields::trace::{span_kind, status_code};

/// Enums of the protocol: the names of their values by number.
const ENUMS: [&[&str]; 4] =
    [status_code::NAMES, span_kind::NAMES, aggregation_temporality::NAMES, severity_number::NAMES];

/// What the Collector's language calls by another name than the protocol, or alone (contrib pkg/ottl).
const OWN: &[(&str, i64)] = &[
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
    ("FLAG_NONE", data_point_flags::DO_NOT_USE as i64),
    ("FLAG_NO_RECORDED_VALUE", data_point_flags::NO_RECORDED_VALUE_MASK as i64),
];

/// The number behind a constant's name.
pub fn constant(name: &str) -> Option<i64> {
    let of_protocol = ENUMS.iter().find_map(|names| names.iter().position(|known| *known == name));
    let own = || OWN.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    of_protocol.and_then(|number| i64::try_from(number).ok()).or_else(own)
}
