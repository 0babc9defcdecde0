//! `trace_state` by key: members of a W3C trace state, read and written as the OpenTelemetry library for Go does.

use crate::ottl::checked::KeyStep;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, ValueStep};

const MEMBERS_MAX: usize = 32;

/// The one key that a trace state is asked for.
fn name(keys: &[KeyStep]) -> Result<&str, EvalFailure> {
    match keys {
        [KeyStep::Known(ValueStep::Name(name))] => Ok(name),
        _ => Err(EvalFailure("trace_state has one key, a string")),
    }
}

/// The member's value, empty where it is absent; nil where the state is none.
pub fn member<'a>(state: &'a [u8], keys: &[KeyStep]) -> Result<OttlValue<'a>, EvalFailure> {
    let name = name(keys)?;
    let Some(members) = members(state) else { return Ok(OttlValue::Nil) };
    let found = members.into_iter().find(|(key, _)| *key == name.as_bytes());
    Ok(found.map_or(OttlValue::text(b""), |(_, value)| OttlValue::text(value)))
}

/// The state with this member first (W3C Trace Context, 3.3.1.4); `None` where one or the other is not valid.
pub fn with_member(state: &[u8], keys: &[KeyStep], value: &str) -> Result<Option<Vec<u8>>, EvalFailure> {
    let name = name(keys)?;
    let Some(members) = members(state) else { return Ok(None) };
    if !is_key(name.as_bytes()) || !is_value(value.as_bytes()) {
        return Ok(None);
    }
    let mut state = format!("{name}={value}").into_bytes();
    for (key, value) in members.into_iter().filter(|(key, _)| *key != name.as_bytes()).take(MEMBERS_MAX - 1) {
        state.push(b',');
        state.extend_from_slice(key);
        state.push(b'=');
        state.extend_from_slice(value);
    }
    Ok(Some(state))
}

type Member<'a> = (&'a [u8], &'a [u8]);

fn members(state: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut members: Vec<Member<'_>> = Vec::new();
    for member in state.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        let equals = member.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        if !is_key(key)
            || !is_value(value)
            || members.len() == MEMBERS_MAX
            || members.iter().any(|(known, _)| *known == key)
        {
            return None;
        }
        members.push((key, value));
    }
    Some(members)
}

fn is_key(key: &[u8]) -> bool {
    let plain = |part: &[u8], most: usize, digit: bool| {
        let first = part.first().is_some_and(|c| c.is_ascii_lowercase() || (digit && c.is_ascii_digit()));
        let all = part.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/".contains(c));
        first && all && part.len() <= most
    };
    match key.iter().position(|byte| *byte == b'@') {
        Some(at) => plain(&key[..at], 241, true) && plain(&key[at + 1..], 14, false),
        None => plain(key, 256, false),
    }
}

fn is_value(value: &[u8]) -> bool {
    let printable = |c: &u8| (b' '..=b'~').contains(c) && *c != b',' && *c != b'=';
    value.len() <= 256 && value.iter().all(printable) && value.last().is_some_and(|c| *c != b' ')
}
