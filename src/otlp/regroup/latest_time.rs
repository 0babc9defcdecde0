//! The latest time a resource's items speak of: the best witness for when its process was alive.
//!
//! Stops in each item at the field it looks for. Zero, times beyond the year 2100 (a sender that sent other units) and
//! items that cannot be walked say nothing.

use crate::core::data::payload::{ScopeGroup, Signal};
use crate::core::time::UnixNanos;
use crate::otlp::fields::{logs, metric_data, profiles, short_key, trace};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

/// 2100-01-01T00:00:00Z.
const FAR_FUTURE: u64 = 4_102_444_800_000_000_000;

/// Latest span end, log time (observed time where there is none), or data point time; zero when nothing tells.
pub fn latest_time(signal: Signal, scopes: &[ScopeGroup]) -> UnixNanos {
    let items = scopes.iter().flat_map(|scope| scope.items.iter());
    items.map(|item| item_time(signal, item)).max().unwrap_or_default()
}

/// The same of one item.
pub fn item_time(signal: Signal, item: &[u8]) -> UnixNanos {
    let read = match signal {
        Signal::Traces => span_end(item),
        Signal::Logs => log_time(item),
        Signal::Metrics => metric_time(item),
        Signal::Profiles => profile_time(item),
    };
    UnixNanos(read.ok().filter(|time| *time < FAR_FUTURE).unwrap_or(0))
}

/// The first `fixed64` field with this number, or zero. Not the last, so that the walk ends there.
fn first_time(message: &[u8], number: u32) -> Result<u64, Malformed> {
    first_time_in(Fields::new(message), number)
}

fn first_time_in(fields: Fields<'_>, number: u32) -> Result<u64, Malformed> {
    for field in fields {
        let field = field?;
        if field.number == number {
            return field.fixed64();
        }
    }
    Ok(0)
}

/// What stands before it is passed over in the order in which every encoder writes it; whatever comes in another order or
/// shape is left to the loop over all fields.
fn span_end(span: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields::new(span);
    for key in BEFORE_KIND {
        fields.next_of(key);
    }
    fields.next_small_of(short_key(trace::span::KIND, write::VARINT));
    fields.next_fixed64_of(short_key(trace::span::START_TIME_UNIX_NANO, write::FIXED64));
    match fields.next_fixed64_of(short_key(trace::span::END_TIME_UNIX_NANO, write::FIXED64)) {
        Some(end) => Ok(end),
        None => first_time_in(fields, trace::span::END_TIME_UNIX_NANO),
    }
}

/// The keys of what stands at the head of a span.
const BEFORE_KIND: [u8; 5] = [
    short_key(trace::span::TRACE_ID, write::LEN),
    short_key(trace::span::SPAN_ID, write::LEN),
    short_key(trace::span::TRACE_STATE, write::LEN),
    short_key(trace::span::PARENT_SPAN_ID, write::LEN),
    short_key(trace::span::NAME, write::LEN),
];

fn profile_time(profile: &[u8]) -> Result<u64, Malformed> {
    first_time(profile, profiles::profile::TIME_UNIX_NANO)
}

fn log_time(record: &[u8]) -> Result<u64, Malformed> {
    match first_time(record, logs::log_record::TIME_UNIX_NANO)? {
        time @ 1..FAR_FUTURE => Ok(time),
        _ => first_time(record, logs::log_record::OBSERVED_TIME_UNIX_NANO),
    }
}

/// All five kinds of metric hold points in one field, and all points their time in one.
fn metric_time(metric: &[u8]) -> Result<u64, Malformed> {
    let mut latest = 0;
    for field in Fields::new(metric) {
        let field = field?;
        if !metric_data::is_data(field.number) {
            continue;
        }
        for point in Fields::new(field.bytes()?) {
            let point = point?;
            if point.number == metric_data::DATA_POINTS {
                let time = first_time(point.bytes()?, metric_data::POINT_TIME_UNIX_NANO)?;
                latest = latest.max(Some(time).filter(|time| *time < FAR_FUTURE).unwrap_or(0));
            }
        }
    }
    Ok(latest)
}
