//! Constants of the language: names in capitals and their numbers.

const ENUMS: &[(&str, i64)] = &[
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
    ("FLAG_NONE", 0),
    ("FLAG_NO_RECORDED_VALUE", 1),
];

/// `SEVERITY_NUMBER_` and one of these, alone or with 2, 3 or 4.
const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The number behind a constant's name.
pub fn constant(name: &str) -> Option<i64> {
    let Some(severity) = name.strip_prefix("SEVERITY_NUMBER_") else {
        return ENUMS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    };
    if severity == "UNSPECIFIED" {
        return Some(0);
    }
    let step = match severity.as_bytes().last()? {
        digit @ b'2'..=b'4' => i64::from(digit - b'1'),
        _ => 0,
    };
    let word = if step > 0 { &severity[..severity.len() - 1] } else { severity };
    let at = SEVERITIES.iter().position(|known| *known == word)?;
    Some(at as i64 * 4 + 1 + step)
}
