//! Ids of traces and spans in the text of a log line: JSON or logfmt, in the spellings of OpenTelemetry, ECS and Datadog.
//!
//! `{"trace.id":"0af7...","span.id":"b7ad..."}`, `{"trace":{"id":"..."}}`, `{"dd":{"trace_id":"7277407061855694839"}}` and
//! `level=info traceId=0af7... span_id="b7ad..."`. One walk over the text; of equal keys the first one counts. Ids of zeros
//! are none (W3C Trace Context 3.2.2.3).

use crate::otlp::ids::hex_to_bytes;
use crate::otlp::json::{JsonError, Scanner};

/// The longest key that is looked for, with the names of the objects around it.
const KEY_BYTES_MAX: usize = 16;
/// Objects around a key.
const DEPTH_MAX: usize = 2;

/// What a text says of its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextIds {
    pub trace_id: Option<[u8; 16]>,
    pub span_id: Option<[u8; 8]>,
    pub flags: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IdKey {
    Trace,
    Span,
    Flags,
}

impl IdKey {
    fn of(key: &[u8]) -> Option<IdKey> {
        Some(match key {
            b"trace.id" | b"trace_id" | b"traceId" | b"traceID" | b"traceid" | b"dd.trace_id" => IdKey::Trace,
            b"span.id" | b"span_id" | b"spanId" | b"spanID" | b"spanid" | b"dd.span_id" => IdKey::Span,
            b"trace_flags" | b"traceFlags" | b"trace.flags" => IdKey::Flags,
            _ => return None,
        })
    }
}

impl TextIds {
    /// A text that is neither JSON nor has pairs says nothing; of JSON that breaks off counts what stands before.
    pub fn read(text: &[u8]) -> TextIds {
        let mut ids = TextIds::default();
        let text = text.trim_ascii_start();
        if text.first() == Some(&b'{') {
            let _ = ids.object(&mut Scanner::new(text), b"", 0);
        } else {
            ids.pairs(text);
        }
        ids
    }

    pub fn is_empty(&self) -> bool {
        self.trace_id.is_none() && self.span_id.is_none()
    }

    fn object(&mut self, scan: &mut Scanner<'_>, around: &[u8], depth: usize) -> Result<(), JsonError> {
        scan.expect(b'{', "an object")?;
        let mut more = !scan.take(b'}');
        while more {
            let key = scan.string("a key")?.raw;
            scan.expect(b':', "`:`")?;
            let mut whole = [0u8; KEY_BYTES_MAX];
            let joined = joined(around, key, &mut whole);
            match (scan.peek(), joined) {
                (Some(b'"'), Some(joined)) => {
                    let value = scan.string("a text")?.raw;
                    self.take(joined, value);
                }
                (Some(b'0'..=b'9'), Some(joined)) => {
                    let value = scan.number("a number")?;
                    self.take(joined, value);
                }
                (Some(b'{'), Some(joined)) if depth < DEPTH_MAX => self.object(scan, joined, depth + 1)?,
                _ => scan.skip()?,
            }
            more = scan.more(b'}')?;
        }
        Ok(())
    }

    /// Words of `key=value`, wherever they stand in a text.
    fn pairs(&mut self, text: &[u8]) {
        for at in memchr::memchr_iter(b'=', text) {
            let before = text.get(at.saturating_sub(KEY_BYTES_MAX)..at).unwrap_or_default();
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
            let from = before.iter().rposition(|byte| !is_part(byte)).map_or(0, |at| at + 1);
            let key = before.get(from..).unwrap_or_default();
            if IdKey::of(key).is_none() {
                continue;
            }
            let value = text.get(at + 1..).unwrap_or_default();
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let most = value.get(..value.len().min(2 * KEY_BYTES_MAX + 1)).unwrap_or_default();
            let length = most.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            self.take(key, most.get(..length).unwrap_or_default());
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        let is_datadogs = key.starts_with(b"dd.");
        match IdKey::of(key) {
            Some(IdKey::Trace) if self.trace_id.is_none() => {
                let decimal = || whole(value).filter(|_| is_datadogs).map(|id| u128::from(id).to_be_bytes());
                self.trace_id = hex_to_bytes(value).or_else(decimal).filter(|id| *id != [0; 16]);
            }
            Some(IdKey::Span) if self.span_id.is_none() => {
                // Sixteen digits are decimal where Datadog writes them.
                let decimal = whole(value).filter(|_| is_datadogs).map(u64::to_be_bytes);
                self.span_id = decimal.or_else(|| hex_to_bytes(value)).filter(|id| *id != [0; 8]);
            }
            Some(IdKey::Flags) if self.flags.is_none() => self.flags = hex_to_bytes(value).map(|[flags]| flags),
            _ => {}
        }
    }
}

/// `around.key`, if it is short enough to be looked for.
fn joined<'w>(around: &[u8], key: &[u8], whole: &'w mut [u8; KEY_BYTES_MAX]) -> Option<&'w [u8]> {
    let dot: &[u8] = if around.is_empty() { b"" } else { b"." };
    let mut length = 0;
    for part in [around, dot, key] {
        whole.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    whole.get(..length)
}

fn whole(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(text: &str) -> (Option<String>, Option<String>, Option<u8>) {
        let ids = TextIds::read(text.as_bytes());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        (ids.trace_id.map(|id| hex(&id)), ids.span_id.map(|id| hex(&id)), ids.flags)
    }

    #[test]
    fn ids_are_found_in_every_spelling() {
        for text in [
            format!(r#"{{"msg":"m","trace_id":"{TRACE}","span_id":"{SPAN}"}}"#),
            format!(r#"{{"traceId":"{TRACE}","spanId":"{SPAN}","n":[1,{{"a":2}}]}}"#),
            format!(r#"{{"trace.id":"{TRACE}","span.id":"{SPAN}"}}"#),
            format!(r#"{{"trace":{{"id":"{TRACE}"}},"span":{{"id":"{SPAN}"}}}}"#),
            format!(r#"{{"dd":{{"trace_id":"{TRACE}","span_id":"{}"}}}}"#, 0xb7ad_6b71_6920_3331_u64),
            format!("level=info trace_id={TRACE} span_id={SPAN} it runs"),
            format!("2026-12-01 INFO [trace_id={TRACE} span_id={SPAN} resource.service.name=cart] - it runs"),
            format!("traceId=\"{}\",spanId=\"{SPAN}\"", TRACE.to_uppercase()),
            format!(r#"  {{"trace_id":"{TRACE}","span_id":"{SPAN}","cut":"#),
        ] {
            assert_eq!(read(&text), (Some(TRACE.to_owned()), Some(SPAN.to_owned()), None), "{text}");
        }
        let datadogs = r#"{"dd.trace_id":7277407061855694839,"dd.span_id":"1"}"#;
        let (trace, span) = ("000000000000000064fe8b2a57d3eff7".to_owned(), "0000000000000001".to_owned());
        assert_eq!(read(datadogs), (Some(trace), Some(span), None));
        assert_eq!(read(&format!(r#"{{"trace_id":"{TRACE}","trace_flags":"01"}}"#)).2, Some(1));
    }

    #[test]
    fn what_is_no_id_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "plain text".to_owned(),
            format!(r#"{{"trace_id":"{zeros}"}}"#),
            format!(r#"{{"trace_id":"{SPAN}"}}"#),
            r#"{"trace_id":7277407061855694839}"#.to_owned(),
            format!("my_trace_id={TRACE}"),
            format!("trace_id: {TRACE}"),
            format!(r#"{{"a":{{"b":{{"c":{{"trace_id":"{TRACE}"}}}}}}}}"#),
            "=".repeat(1_000),
        ] {
            assert_eq!(read(&text), (None, None, None), "{text}");
        }
    }
}
