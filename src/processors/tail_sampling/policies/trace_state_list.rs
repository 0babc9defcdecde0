//! W3C `tracestate` as the Collector's trace_state policy reads it: one wrong member makes the whole list unusable.
//!
//! Grammar of W3C Trace Context, 3.3; upstream uses the OpenTelemetry Go parser, whose limits are repeated here.

/// At most this many members (W3C Trace Context 3.3.1.1).
const MEMBERS_MAX: usize = 32;

/// Does the member `key` have one of `values`?
#[derive(Debug)]
pub struct TraceStateTest {
    pub key: Box<[u8]>,
    pub values: Vec<Box<[u8]>>,
}

impl TraceStateTest {
    /// What is asked, as a person reads it.
    pub fn words(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|value| String::from_utf8_lossy(value)).collect();
        format!("{} = {}", String::from_utf8_lossy(&self.key), values.join(" or "))
    }

    pub fn matches(&self, members: &[(&[u8], &[u8])]) -> bool {
        let value = members.iter().find(|(key, _)| *key == &*self.key).map(|(_, value)| *value);
        value.is_some_and(|value| self.values.iter().any(|wanted| **wanted == *value))
    }
}

/// Members in order; `None` when any of them is not valid or comes twice.
pub fn parse(text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    for member in text.split(|byte| *byte == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        let equals = member.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&member[..equals], &member[equals + 1..]);
        let repeated = members.iter().any(|(known, _)| *known == key);
        if !is_key(key) || !is_value(value) || repeated || members.len() == MEMBERS_MAX {
            return None;
        }
        members.push((key, value));
    }
    Some(members)
}

fn is_key(key: &[u8]) -> bool {
    let part = |text: &[u8], most: usize, digit_first: bool| {
        let first_ok = text.first().is_some_and(|c| c.is_ascii_lowercase() || (digit_first && c.is_ascii_digit()));
        let rest_ok = text.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-*/".contains(c));
        first_ok && rest_ok && text.len() <= most
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => part(key, 256, true),
        Some(at) => part(&key[..at], 241, true) && part(&key[at + 1..], 14, false),
    }
}

fn is_value(value: &[u8]) -> bool {
    let visible = |c: &u8| (0x20..=0x7e).contains(c) && *c != b',' && *c != b'=';
    (1..=256).contains(&value.len()) && value.iter().all(visible) && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_invalid_or_repeated_member_makes_the_list_unusable() {
        for text in ["vendor=abc,vendor=xyz", "Vendor=abc", "garbage", "=,", "a=b=c", "a@B=1"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let members = parse(b"vendor=abc , t0@v=1").expect("valid");
        assert_eq!(members, [(&b"vendor"[..], &b"abc"[..]), (b"t0@v", b"1")]);
        let test = TraceStateTest { key: (*b"vendor").into(), values: vec![(*b"abc").into()] };
        assert!(test.matches(&members));
        assert!(!test.matches(&parse(b"vendor=abcd").expect("valid")));
    }

    #[test]
    fn more_members_than_the_standard_allows_are_unusable() {
        let list = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(parse(list(32).as_bytes()).is_some());
        assert_eq!(parse(list(33).as_bytes()), None);
    }
}
