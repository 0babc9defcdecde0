//! `env`: attributes that stand in the environment, as `OTEL_RESOURCE_ATTRIBUTES=key=value,key=value`.
//!
//! Read by the Collector's rules (contrib internal/env, v0.161): keys and values are ASCII of at most 256 characters,
//! blanks around them are dropped, values are percent-decoded with `+` for a blank, and one fault makes all of it void.

use regex::Regex;

use crate::processors::resource_detection::outcome::{DetectedAttributes, DetectorOutcome, text};

/// The variable, and its old name, which counts when the first one is empty.
pub const VARIABLES: [&str; 2] = ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE"];

#[derive(Debug)]
pub struct Env {
    /// The variable's text.
    pub text: String,
}

impl Env {
    pub fn detect(&self) -> DetectorOutcome {
        match parse(self.text.trim()) {
            Ok(found) => DetectorOutcome { found, failure: None },
            Err(why) => DetectorOutcome::failed(why),
        }
    }
}

fn parse(pairs: &str) -> Result<DetectedAttributes, String> {
    if pairs.is_empty() {
        return Ok(DetectedAttributes::new());
    }
    let pair = Regex::new(r"\s*([[:ascii:]]{1,256}?)\s*=\s*([[:ascii:]]{0,256}?)\s*(?:,|$)");
    let pair = pair.map_err(|why| why.to_string())?;
    let (mut found, mut end) = (DetectedAttributes::new(), 0);
    for read in pair.captures_iter(pairs) {
        let Some(whole) = read.get(0).filter(|whole| whole.start() == end) else { break };
        let (key, value) =
            (&read[1], decode(&read[2]).ok_or_else(|| format!("{:?} is badly encoded", whole.as_str()))?);
        end = whole.end();
        found.retain(|(known, _)| known != key);
        found.push((key.to_owned(), text(&value)));
    }
    if end == pairs.len() { Ok(found) } else { Err(format!("{:?} is not key=value", &pairs[end..])) }
}

/// Percent-decoding with `+` for a blank. What is not UTF-8 afterwards is refused with the rest.
fn decode(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |digit: u8| char::from(digit).to_digit(16);
                (digit(high)? * 16 + digit(low)?) as u8
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_the_collector_reads_them() {
        let table: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("example.org/test-1=test%20%24+%3A%22", &[("example.org/test-1", "test $ :\"")]),
            ("a=1, b = 2 ,c=", &[("a", "1"), ("b", "2"), ("c", "")]),
            ("a=1,a=2,", &[("a", "2")]),
            ("k=v=w", &[("k", "v=w")]),
        ];
        for (pairs, wanted) in table {
            let wanted: DetectedAttributes =
                wanted.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
            assert_eq!(parse(pairs), Ok(wanted), "{pairs:?}");
        }
    }

    #[test]
    fn one_fault_makes_all_of_it_void() {
        for pairs in ["a", "a=1,b", "=1", "a=%4", "a=%zz", "a=%ff", "a=1,k=v\u{fc}", &format!("{}=1", "k".repeat(257))]
        {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
    }
}
