//! A point in time with the zone it was given in, which what is shown of it depends on.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::ottl::value::failure::EvalFailure;

const OUT_OF_RANGE: EvalFailure = EvalFailure("the time is out of range");

#[derive(Clone, Debug)]
pub struct ZonedTime {
    at: Timestamp,
    zone: TimeZone,
}

impl ZonedTime {
    pub fn new(at: Timestamp, zone: TimeZone) -> ZonedTime {
        ZonedTime { at, zone }
    }

    /// Nanoseconds since 1970, in UTC.
    pub fn of_nanos(nanos: i64) -> ZonedTime {
        let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
        ZonedTime { at, zone: TimeZone::UTC }
    }

    pub fn at(&self) -> Timestamp {
        self.at
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Nanoseconds since 1970; beyond 64 bits they wrap, as Go's do.
    pub fn nanos(&self) -> i64 {
        self.at.as_nanosecond() as i64
    }

    /// Whole units of so many nanoseconds since 1970, rounded down.
    pub fn whole(&self, unit: i128) -> i64 {
        i64::try_from(self.at.as_nanosecond().div_euclid(unit)).unwrap_or_default()
    }

    /// Date and time of day in its zone.
    pub fn civil(&self) -> DateTime {
        self.zone.to_datetime(self.at)
    }

    /// Seconds east of Greenwich.
    pub fn offset(&self) -> i32 {
        self.zone.to_offset(self.at).seconds()
    }

    /// The zone's short name; its offset where it has none.
    pub fn zone_name(&self) -> String {
        if self.zone == TimeZone::UTC {
            return "UTC".to_owned();
        }
        let named = self.zone.to_offset_info(self.at).abbreviation().to_owned();
        // jiff shows fixed offsets as `+02` or `+05:30`, Go as `+0200` and `+0530`.
        if !named.starts_with(['+', '-']) {
            return named;
        }
        let minutes = self.offset().abs() / 60;
        let sign = if self.offset() < 0 { '-' } else { '+' };
        format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }

    pub fn plus(&self, nanos: i64) -> Result<ZonedTime, EvalFailure> {
        let at = self.at.checked_add(SignedDuration::from_nanos(nanos)).map_err(|_| OUT_OF_RANGE)?;
        Ok(ZonedTime { at, zone: self.zone.clone() })
    }

    /// Nanoseconds since another moment, as many as 64 bits hold.
    pub fn since(&self, other: &ZonedTime) -> i64 {
        let nanos = self.at.as_nanosecond() - other.at.as_nanosecond();
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    /// The same zone at another time.
    pub fn moved(&self, at: Timestamp) -> ZonedTime {
        ZonedTime { at, zone: self.zone.clone() }
    }
}
