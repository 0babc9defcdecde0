//! `tracestate` of a span: what it says of sampling, and the same with other thresholds.
//!
//! The grammar and its limits are those of contrib's pkg/sampling (v0.161): W3C's, with OpenTelemetry's own list in the
//! member `ot`. One wrong member makes the whole unusable.
//! What is written stays within the limits: parts and members at the end go where ours leave no room for them, because a
//! state that nobody can read would take ours along.
//! Granted: whoever calls has made room for the text that came and 128 bytes, or counts what was written.

use crate::otlp::consistency::threshold::{push_randomness, push_threshold, read_randomness, read_threshold};
use crate::otlp::fields::trace::span as span_fields;
use crate::otlp::walk::Fields;
use crate::otlp::write as wire;

const TRACE_STATE: u32 = span_fields::TRACE_STATE;

const LENGTH_MAX: usize = 1024;
const OT_LENGTH_MAX: usize = 256;
/// Members, empty ones included.
const MEMBERS_MAX: usize = 31;

/// Randomness and threshold that came with an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingMarks {
    pub randomness: Option<u64>,
    pub threshold: Option<u64>,
    /// `p` of the older specification: kept with a probability of 2^-p, by a randomness of its own.
    pub exponent: Option<u32>,
}

/// Reads the marks; `None` when the text is not a valid tracestate.
pub fn read(text: &[u8]) -> Option<SamplingMarks> {
    let mut marks = SamplingMarks::default();
    if text.len() > LENGTH_MAX {
        return None;
    }
    for (at, member) in members(text).enumerate() {
        if at >= MEMBERS_MAX {
            return None;
        }
        if member.is_empty() {
            continue;
        }
        let (key, value) = split(member, b'=')?;
        if !is_key(key) || !is_value(value) {
            return None;
        }
        if key == b"ot" {
            marks = read_ot(value)?;
        }
    }
    Some(marks)
}

/// Appends a tracestate that was read, with this randomness and threshold in place of its own.
pub fn write(out: &mut Vec<u8>, text: &[u8], marks: SamplingMarks) {
    write_without(out, text, SamplingMarks { exponent: None, ..marks }, &[b"rv", b"th"]);
}

/// Appends a tracestate that was read, with all of these marks in place of its own.
pub fn write_all(out: &mut Vec<u8>, text: &[u8], marks: SamplingMarks) {
    write_without(out, text, marks, &[b"rv", b"th", b"p"]);
}

fn write_without(out: &mut Vec<u8>, text: &[u8], marks: SamplingMarks, replaced: &[&[u8]]) {
    let pairs = || members(text).filter_map(|member| split(member, b'='));
    let start = out.len();
    let ot = pairs().filter(|(key, _)| *key == b"ot").last().map(|(_, value)| value).unwrap_or_default();
    let own = |pair: &&[u8]| split(pair, b':').is_some_and(|(key, _)| !replaced.contains(&key));
    let parts = ot.split(|byte| *byte == b';').filter(own);
    let mut separator: &[u8] = b"ot=";
    let mut part = |out: &mut Vec<u8>, key: &[u8]| {
        out.extend_from_slice(std::mem::replace(&mut separator, b";"));
        out.extend_from_slice(key);
    };
    if let Some(randomness) = marks.randomness {
        part(out, b"rv:");
        push_randomness(out, randomness);
    }
    if let Some(threshold) = marks.threshold {
        part(out, b"th:");
        push_threshold(out, threshold);
    }
    if let Some(exponent) = marks.exponent {
        part(out, b"p:");
        out.extend_from_slice(exponent.to_string().as_bytes());
    }
    for pair in parts {
        let value = (out.len() - start).saturating_sub(b"ot=".len());
        if value + usize::from(value > 0) + pair.len() > OT_LENGTH_MAX {
            break;
        }
        part(out, pair);
    }
    let first = usize::from(out.len() > start);
    for (written, (key, value)) in (first..).zip(pairs().filter(|(key, _)| *key != b"ot")) {
        let length = out.len() - start + usize::from(written > 0) + key.len() + 1 + value.len();
        if written == MEMBERS_MAX || length > LENGTH_MAX {
            break;
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// `key:value;key:value`
fn read_ot(text: &[u8]) -> Option<SamplingMarks> {
    let mut marks = SamplingMarks::default();
    if text.len() > OT_LENGTH_MAX {
        return None;
    }
    for pair in text.split(|byte| *byte == b';') {
        let (key, value) = split(pair, b':')?;
        let key_ok =
            key[0].is_ascii_lowercase() && key.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !key_ok || !value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
            return None;
        }
        match key {
            b"rv" => marks.randomness = Some(read_randomness(value)?),
            b"th" => marks.threshold = Some(read_threshold(value)?),
            b"p" => marks.exponent = read_exponent(value),
            _ => {}
        }
    }
    Some(marks)
}

/// 0 to 63; 63 says that the item was not sampled by chance at all, which is no probability.
fn read_exponent(text: &[u8]) -> Option<u32> {
    let number: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number < 63).then_some(number)
}

/// Members without the blanks around them.
fn members(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b',').map(|member| {
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let start = member.iter().position(|byte| !blank(byte)).unwrap_or(member.len());
        let end = member.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
        &member[start..end]
    })
}

/// Key and value around the first separator; the key is not empty.
fn split(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator).filter(|at| *at > 0)?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_key(key: &[u8]) -> bool {
    let rest = |text: &[u8]| {
        text.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte))
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => key[0].is_ascii_lowercase() && rest(key) && key.len() <= 256,
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            let first_ok = tenant.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && system.first().is_some_and(u8::is_ascii_lowercase);
            first_ok && rest(tenant) && rest(system) && tenant.len() <= 241 && system.len() <= 14
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    let visible = |byte: &u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    (1..=256).contains(&value.len()) && value.iter().all(visible) && value.last() != Some(&b' ')
}

/// Appends a span with another tracestate, which takes the old one's place or follows the ids.
pub fn push_with_state(out: &mut Vec<u8>, span: &[u8], state: &[u8]) {
    let (mut copied, mut start, mut written) = (0, 0, false);
    let mut fields = Fields::new(span);
    while let Some(Ok(field)) = fields.next() {
        if field.number >= TRACE_STATE && !written {
            out.extend_from_slice(&span[copied..start]);
            copied = start;
            wire::bytes(out, TRACE_STATE, state);
            written = true;
        }
        let end = fields.position();
        if field.number == TRACE_STATE {
            out.extend_from_slice(&span[copied..start]);
            copied = end;
        }
        start = end;
    }
    out.extend_from_slice(&span[copied..]);
    if !written {
        wire::bytes(out, TRACE_STATE, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        let marks = SamplingMarks { randomness: None, threshold: Some(0xe6_6666_6666_6667), exponent: Some(3) };
        let mut out = b"before".to_vec();
        write_all(&mut out, text.as_bytes(), marks);
        let state = String::from_utf8(out[b"before".len()..].to_vec()).expect("text");
        assert_eq!(read(state.as_bytes()), Some(marks), "{} bytes: {state}", state.len());
        state
    }

    #[test]
    fn what_is_written_can_be_read_however_much_came_and_goes_from_the_end() {
        let member = |number: usize, length: usize| format!("v{number:02}={}", "x".repeat(length - 4));
        let many = |count, length| (0..count).map(|number| member(number, length)).collect::<Vec<_>>().join(",");
        let ours = "ot=th:e6666666666667;p:3";
        for (text, members_left) in [
            (String::new(), 0),
            (many(4, 128 - 1), 4),
            (many(8, 128 - 1), 7),
            (many(31, 10), 30),
            (many(30, 10), 30),
            ("a=1,b=2".to_owned(), 2),
        ] {
            assert!(read(text.as_bytes()).is_some(), "it came readable");
            let state = marked(&text);
            let left = state.strip_prefix(ours).expect("ours stand first").trim_start_matches(',');
            assert!(text.starts_with(left), "{left} of {text}");
            assert_eq!(left.split(',').filter(|member| !member.is_empty()).count(), members_left, "{state}");
        }
        let own = format!("ot=th:4;{};zz:{},v=1", "a:b", "y".repeat(230));
        assert_eq!(marked(&own), format!("{ours};a:b,v=1"), "other parts of `ot` stay within its own limit");
    }
}
