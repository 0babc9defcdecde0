//! Shows a time in a layout.

use crate::core::time::{DAYS, MONTHS};
use crate::ottl::convert::time::layout::chunks::{Offset, Std};
use crate::ottl::convert::time::layout::parts::Layout;
use crate::ottl::value::moment::ZonedTime;

impl Layout {
    pub fn format(&self, moment: &ZonedTime) -> String {
        let mut out = String::new();
        for chunk in &self.shown {
            out.push_str(&chunk.text);
            push(&mut out, chunk.std, moment);
        }
        out
    }
}

fn push(out: &mut String, std: Std, moment: &ZonedTime) {
    let time = moment.civil();
    let month = MONTHS[usize::try_from(time.month() - 1).unwrap_or_default().min(11)];
    let weekday = DAYS[usize::try_from(time.weekday().to_sunday_zero_offset()).unwrap_or_default().min(6)];
    let hour12 = if time.hour() % 12 == 0 { 12 } else { time.hour() % 12 };
    let shown = match std {
        Std::End => return,
        Std::LongMonth => month.to_owned(),
        Std::Month => month[..3].to_owned(),
        Std::NumMonth => time.month().to_string(),
        Std::ZeroMonth => format!("{:02}", time.month()),
        Std::LongWeekDay => weekday.to_owned(),
        Std::WeekDay => weekday[..3].to_owned(),
        Std::Day => time.day().to_string(),
        Std::UnderDay => format!("{:2}", time.day()),
        Std::ZeroDay => format!("{:02}", time.day()),
        Std::Hour => format!("{:02}", time.hour()),
        Std::Hour12 => hour12.to_string(),
        Std::ZeroHour12 => format!("{hour12:02}"),
        Std::Minute => time.minute().to_string(),
        Std::ZeroMinute => format!("{:02}", time.minute()),
        Std::Second => time.second().to_string(),
        Std::ZeroSecond => format!("{:02}", time.second()),
        Std::LongYear => format!("{:04}", time.year()),
        Std::Year => format!("{:02}", time.year().rem_euclid(100)),
        Std::UpperPm => if time.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
        Std::LowerPm => if time.hour() >= 12 { "pm" } else { "am" }.to_owned(),
        Std::Zone => moment.zone_name(),
        Std::Offset(offset) => shown_offset(offset, moment.offset()),
        Std::Fraction { digits, all, separator } => {
            let fraction = format!("{:09}", time.subsec_nanosecond());
            let fraction = &fraction[..digits.min(9)];
            let kept = if all { fraction } else { fraction.trim_end_matches('0') };
            if kept.is_empty() { String::new() } else { format!("{separator}{kept}") }
        }
    };
    out.push_str(&shown);
}

fn shown_offset(offset: Offset, seconds: i32) -> String {
    if offset.zulu && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let colon = if offset.colons { ":" } else { "" };
    let seconds = seconds.unsigned_abs();
    let mut shown = format!("{sign}{:02}", seconds / 3600);
    if offset.minutes {
        shown.push_str(&format!("{colon}{:02}", seconds / 60 % 60));
    }
    if offset.seconds {
        shown.push_str(&format!("{colon}{:02}", seconds % 60));
    }
    shown
}
