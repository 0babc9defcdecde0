//! The Common Log Format of the W3C, and NCSA's combined one with referer and user agent.

use crate::ottl::convert::made::{Pairs, object, put_text};
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

const NOT_CLF: EvalFailure = EvalFailure("the text is not a line of this log format");

/// `remotehost rfc931 authuser [date] "request" status bytes`, and with `combined` `"referer" "user agent"` behind it.
pub fn parse_clf<'a>(text: &str, combined: bool) -> Result<OttlValue<'a>, EvalFailure> {
    let mut line = Line(text.trim());
    let mut pairs = Pairs::new();
    for key in ["clf.remote_host", "clf.rfc931", "clf.auth_user"] {
        put_text(&mut pairs, key, line.word()?);
        line.sign(' ')?;
    }
    line.sign('[')?;
    let end = line.0.find(']').filter(|end| *end > 0).ok_or(NOT_CLF)?;
    put_text(&mut pairs, "clf.timestamp", &line.0[..end]);
    line.0 = &line.0[end + 1..];
    line.sign(' ')?;
    let request = line.quoted()?;
    put_text(&mut pairs, "clf.request", &request);
    let parts: Vec<&str> = request.splitn(3, ' ').collect();
    if let [method, target, protocol] = parts[..] {
        put_text(&mut pairs, "clf.method", method);
        put_text(&mut pairs, "clf.request_uri", target);
        put_text(&mut pairs, "clf.protocol", protocol);
    }
    line.sign(' ')?;
    pairs.push(("clf.status".to_owned(), OttlValue::Int(number(line.word()?)?)));
    line.sign(' ')?;
    match line.word()? {
        "-" => {}
        bytes => pairs.push(("clf.bytes".to_owned(), OttlValue::Int(number(bytes)?))),
    }
    if combined {
        for key in ["clf.referer", "clf.user_agent"] {
            line.sign(' ')?;
            put_text(&mut pairs, key, &line.quoted()?);
        }
    }
    if line.0.is_empty() { object(pairs) } else { Err(NOT_CLF) }
}

fn number(text: &str) -> Result<i64, EvalFailure> {
    text.parse().map_err(|_| EvalFailure("status and bytes are whole numbers"))
}

/// What is left of the line.
struct Line<'t>(&'t str);

impl<'t> Line<'t> {
    fn sign(&mut self, sign: char) -> Result<(), EvalFailure> {
        self.0 = self.0.strip_prefix(sign).ok_or(NOT_CLF)?;
        Ok(())
    }

    fn word(&mut self) -> Result<&'t str, EvalFailure> {
        let space = |letter: char| matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0c');
        let end = self.0.find(space).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        if word.is_empty() { Err(NOT_CLF) } else { Ok(word) }
    }

    /// A field between quotes, in which a backslash escapes.
    fn quoted(&mut self) -> Result<String, EvalFailure> {
        self.sign('"')?;
        let (mut escapes, mut end) = (false, None);
        for (at, letter) in self.0.char_indices() {
            match letter {
                // A dot of a pattern is no line break.
                '\n' if escapes => return Err(NOT_CLF),
                _ if escapes => escapes = false,
                '\\' => escapes = true,
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let end = end.ok_or(NOT_CLF)?;
        let field = unescaped(&self.0[..end]);
        self.0 = &self.0[end + 1..];
        Ok(field)
    }
}

fn unescaped(field: &str) -> String {
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.as_bytes().iter();
    while let Some(byte) = bytes.next().copied() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next().copied() {
            None => plain.push(b'\\'),
            Some(next @ (b'\\' | b'"')) => plain.push(next),
            Some(b'n') => plain.push(b'\n'),
            Some(b't') => plain.push(b'\t'),
            Some(b'r') => plain.push(b'\r'),
            Some(b'b') => plain.push(8),
            Some(b'f') => plain.push(12),
            Some(b'v') => plain.push(11),
            Some(b'x') => match hex_byte(bytes.as_slice()) {
                Some(byte) => {
                    plain.push(byte);
                    _ = bytes.nth(1);
                }
                None => plain.extend_from_slice(b"\\x"),
            },
            Some(other) => plain.extend_from_slice(&[b'\\', other]),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hex_byte(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    Some((digit(0)? << 4 | digit(1)?) as u8)
}
