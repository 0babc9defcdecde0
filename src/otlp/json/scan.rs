//! The JSON scanner: walks a body from its first to its last byte, yields borrowed tokens, allocates nothing.
//!
//! It knows JSON and no OTLP. Every fault says where: line, column and what was expected instead.
//! Granted: whoever calls has made room for three bytes of each.

use crate::otlp::json::text::plain_run;

/// Why a JSON body is not an export request, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct JsonError {
    /// Counted from 1.
    pub line: usize,
    /// Bytes into the line, counted from 1.
    pub column: usize,
    pub message: String,
}

/// A string token: what stands between the quotes.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'j> {
    pub raw: &'j [u8],
    pub escaped: bool,
}

/// Walks over one JSON text.
#[derive(Debug)]
pub struct Scanner<'j> {
    text: &'j [u8],
    at: usize,
}

impl<'j> Scanner<'j> {
    /// A byte order mark at the head is passed over (RFC 8259 section 8.1 lets a reader do so).
    pub fn new(text: &'j [u8]) -> Scanner<'j> {
        let at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Scanner { text, at }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// The text from the next token on.
    #[inline]
    pub fn rest(&mut self) -> &'j [u8] {
        self.peek();
        &self.text[self.at..]
    }

    /// Passes over so many bytes of `rest`.
    #[inline]
    pub fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// An error at `at`.
    #[cold]
    pub fn fault(&self, at: usize, message: impl Into<String>) -> JsonError {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        JsonError { line, column, message: message.into() }
    }

    /// An error at the next token, which is named in the message.
    #[cold]
    pub fn unexpected(&mut self, expected: &str) -> JsonError {
        let found = match self.peek() {
            None => "the end".to_string(),
            Some(byte @ 0x21..0x7f) => format!("`{}`", char::from(byte)),
            Some(byte) => format!("byte 0x{byte:02x}"),
        };
        self.fault(self.at, format!("expected {expected}, found {found}"))
    }

    /// The first byte of the next token.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Passes over `byte` if it is the next token.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub fn expect(&mut self, byte: u8, expected: &str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Passes over the literal if it comes next.
    #[inline]
    pub fn literal(&mut self, word: &str) -> bool {
        self.peek();
        let found = self.text[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// After an element: true when another one follows, false when `close` ended the list.
    #[inline]
    pub fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(close) {
            return Ok(false);
        }
        Err(self.unexpected(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }))
    }

    /// The next token, which must be a string. Escapes are only passed over here.
    #[inline]
    pub fn string(&mut self, expected: &str) -> Result<Quoted<'j>, JsonError> {
        self.expect(b'"', expected)?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_run(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at = (self.at + 2).min(self.text.len());
                }
                Some(_) => return Err(self.fault(self.at, "control characters in a string must be escaped")),
                None => return Err(self.fault(start - 1, "this string does not end")),
            }
        }
        let raw = &self.text[start..self.at];
        self.at += 1;
        Ok(Quoted { raw, escaped })
    }

    /// The bytes of the next token, which must be a number; its grammar is checked where it is read.
    #[inline]
    pub fn number(&mut self, expected: &str) -> Result<&'j [u8], JsonError> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.unexpected(expected));
        }
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
        let number = &rest[..length.unwrap_or(rest.len())];
        self.at += number.len();
        Ok(number)
    }

    /// Passes over a value of any kind and depth. Its strings must end and its brackets match in number; the rest of
    /// the grammar is not checked, because nothing of it is used.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let (mut objects, mut arrays) = (0usize, 0usize);
        loop {
            match self.peek() {
                Some(b'"') => _ = self.string("a string")?,
                Some(b'{') => objects += usize::from(self.take(b'{')),
                Some(b'[') => arrays += usize::from(self.take(b'[')),
                Some(b'}') if objects > 0 => objects -= usize::from(self.take(b'}')),
                Some(b']') if arrays > 0 => arrays -= usize::from(self.take(b']')),
                Some(b',' | b':') if objects + arrays > 0 => self.at += 1,
                Some(b'-' | b'0'..=b'9') => _ = self.number("a number")?,
                Some(b't' | b'f' | b'n') if self.literal("true") || self.literal("false") || self.literal("null") => {}
                Some(_) => return Err(self.unexpected("a JSON value")),
                None => return Err(self.fault(start, "this value does not end")),
            }
            if objects + arrays == 0 {
                return Ok(());
            }
        }
    }

    /// Passes over a value and returns the bytes that it was written in.
    pub fn raw(&mut self) -> Result<&'j [u8], JsonError> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Ends the text: only blanks may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end of the body")) }
    }
}

impl Quoted<'_> {
    /// Appends the text. Bytes that are not UTF-8 and lone surrogates become U+FFFD; None when an escape is none of
    /// JSON's.
    #[inline]
    pub fn push_to(&self, out: &mut Vec<u8>) -> Option<()> {
        if !self.escaped {
            push_utf8(out, self.raw);
            return Some(());
        }
        let mut rest = self.raw;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
            push_utf8(out, &rest[..at]);
            rest = push_unescaped(out, &rest[at + 1..])?;
        }
        push_utf8(out, rest);
        Some(())
    }
}

#[inline]
fn push_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
    } else {
        out.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
    }
}

/// Appends what the escape after a backslash stands for and returns what follows it.
fn push_unescaped<'j>(out: &mut Vec<u8>, escape: &'j [u8]) -> Option<&'j [u8]> {
    let (kind, rest) = escape.split_first()?;
    let character = match kind {
        b'"' | b'\\' | b'/' => *kind,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return push_code_unit(out, rest),
        _ => return None,
    };
    out.push(character);
    Some(rest)
}

/// `\uXXXX`, joined with a following `\uXXXX` when the two are a surrogate pair.
fn push_code_unit<'j>(out: &mut Vec<u8>, digits: &'j [u8]) -> Option<&'j [u8]> {
    let (high, mut rest) = code_unit(digits)?;
    let mut character = char::from_u32(high);
    if (0xd800..0xdc00).contains(&high)
        && let Some((low @ 0xdc00..0xe000, after)) = rest.strip_prefix(b"\\u").and_then(code_unit)
    {
        character = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
        rest = after;
    }
    let mut utf8 = [0; 4];
    out.extend_from_slice(character.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut utf8).as_bytes());
    Some(rest)
}

fn code_unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (hex, rest) = digits.split_at_checked(4)?;
    let mut unit = 0;
    for digit in hex {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescape(json: &str) -> Option<String> {
        let quoted = Scanner::new(json.as_bytes()).string("a string").unwrap();
        let mut out = Vec::new();
        quoted.push_to(&mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn escapes_read_as_serde_json_reads_them() {
        for json in [r#""plain""#, r#""\"\\\/\b\f\n\r\t""#, r#""\u00e9\ud83d\ude00x""#, "\"\u{e9}\""] {
            assert_eq!(unescape(json), Some(serde_json::from_str::<String>(json).unwrap()), "{json}");
        }
    }

    #[test]
    fn lone_surrogates_are_replaced_and_bad_escapes_refused() {
        assert_eq!(unescape(r#""\ud800""#).as_deref(), Some("\u{fffd}"));
        assert_eq!(unescape(r#""\ud800\u0041""#).as_deref(), Some("\u{fffd}A"));
        assert_eq!(unescape(r#""\udc00x""#).as_deref(), Some("\u{fffd}x"));
        assert_eq!(unescape(r#""\x""#), None);
        assert_eq!(unescape(r#""\u12""#), None);
    }

    #[test]
    fn any_value_is_passed_over_to_its_last_byte() {
        let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
        for json in ["1", "\"a]}\\\"\"", "true", "null", "{\"a\":[1,{\"b\":null}],\"c\":\"]\"}", "[]", deep.as_str()] {
            let text = format!("{json},");
            let mut scan = Scanner::new(text.as_bytes());
            scan.skip().unwrap();
            assert_eq!(scan.position(), json.len(), "{json}");
        }
    }

    #[test]
    fn faults_say_line_and_column() {
        let mut scan = Scanner::new(b"{\n  \"a\": }");
        scan.expect(b'{', "`{`").unwrap();
        scan.string("a key").unwrap();
        scan.expect(b':', "`:`").unwrap();
        let fault = scan.skip().unwrap_err();
        assert_eq!(fault.to_string(), "line 2, column 8: expected a JSON value, found `}`");
        for unfinished in ["\"abc", "[1, 2", "{\"a\"", "\"abc\\"] {
            Scanner::new(unfinished.as_bytes()).skip().unwrap_err();
        }
    }
}
