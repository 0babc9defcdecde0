//! Bytes of a file as entries: lines, or what a pattern begins or ends. Pure; nothing is copied.

use crate::receivers::file_log::config::{LineSplit, Trims};

/// The next entry of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLine<'b> {
    pub text: &'b [u8],
    /// Bytes that it takes with what ends it.
    pub taken: usize,
}

/// The entry that `bytes` begins with, `None` when more bytes are needed. `is_last`: no more will come for now. An entry is
/// cut at `most` bytes.
pub fn next_line<'b>(split: &LineSplit, bytes: &'b [u8], most: usize, is_last: bool) -> Option<SplitLine<'b>> {
    if bytes.is_empty() {
        return None;
    }
    let found = match split {
        LineSplit::Newline => memchr::memchr(b'\n', bytes).map(|at| {
            let text = bytes.get(..at).unwrap_or_default();
            (0, text.strip_suffix(b"\r").unwrap_or(text).len(), at + 1)
        }),
        LineSplit::StartsAt(regex, omits) => {
            // What stands in front of the first match is an entry too.
            let first = regex.find(bytes);
            match first {
                Some(first) if first.start() > 0 => Some((0, first.start(), first.start())),
                Some(first) => {
                    let next = regex.find_at(bytes, first.end().max(1)).filter(|next| next.start() > 0);
                    let from = if *omits { first.end() } else { 0 };
                    next.map(|next| (from, next.start(), next.start()))
                }
                None => None,
            }
        }
        LineSplit::EndsAt(regex, omits) => {
            // A match that reaches the end might go on.
            let found = regex.find(bytes).filter(|end| end.end() > 0 && (is_last || end.end() < bytes.len()));
            found.map(|end| (0, if *omits { end.start() } else { end.end() }, end.end()))
        }
    };
    let (from, to, taken) = match found {
        Some(found) => found,
        None if is_last => (0, bytes.len(), bytes.len()),
        None if bytes.len() >= most => (0, most, most),
        None => return None,
    };
    // A longer entry comes in pieces.
    let (from, to, taken) = if to - from > most { (0, most, most) } else { (from, to, taken) };
    Some(SplitLine { text: bytes.get(from..to)?, taken })
}

/// Without blanks and ends of line at its ends, as configured.
pub fn trimmed(text: &[u8], trims: Trims) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let from = if trims.leading { text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len()) } else { 0 };
    let text = text.get(from..).unwrap_or_default();
    if !trims.trailing || !text.last().is_some_and(is_blank) || (trims.spares_pieces && is_piece(text)) {
        return text;
    }
    let to = text.iter().rposition(|byte| !is_blank(byte)).map_or(0, |at| at + 1);
    text.get(..to).unwrap_or_default()
}

/// A line of CRI that goes on with the next one.
fn is_piece(line: &[u8]) -> bool {
    line.splitn(4, |byte| *byte == b' ').nth(2).is_some_and(|tag| tag.starts_with(b"P"))
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    fn all(split: &LineSplit, text: &str, most: usize, is_last: bool) -> (Vec<String>, usize) {
        let (mut found, mut at) = (Vec::new(), 0);
        while let Some(line) = next_line(split, &text.as_bytes()[at..], most, is_last) {
            assert!(line.taken > 0);
            at += line.taken;
            found.push(String::from_utf8_lossy(line.text).into_owned());
        }
        (found, at)
    }

    #[test]
    fn entries_end_where_their_rule_says() {
        let regex = |text: &str| Regex::new(&format!("(?m){text}")).unwrap();
        let newline = LineSplit::Newline;
        assert_eq!(all(&newline, "a\n\nb\nc", 10, false), (vec!["a".into(), String::new(), "b".into()], 5));
        assert_eq!(all(&newline, "a\nb", 10, true), (vec!["a".into(), "b".into()], 3));
        assert_eq!(all(&newline, "abcdefg\n", 3, false).0, ["abc", "def", "g"]);
        assert_eq!(all(&newline, "a\r\nb\r", 10, false).0, ["a"]);
        let starts = LineSplit::StartsAt(regex(r"^\d"), false);
        assert_eq!(all(&starts, "x\n1a\n b\n2c\n", 99, false), (vec!["x\n".into(), "1a\n b\n".into()], 8));
        assert_eq!(all(&starts, "1a\n2b\n", 99, true).0, ["1a\n", "2b\n"]);
        let omitted = LineSplit::StartsAt(regex(r"^\d"), true);
        assert_eq!(all(&omitted, "1a\n b\n2c\n", 99, false).0, ["a\n b\n"]);
        let ends = |omits| LineSplit::EndsAt(regex("END"), omits);
        assert_eq!(all(&ends(false), "aENDbEND", 99, true).0, ["aEND", "bEND"]);
        assert_eq!(all(&ends(true), "aENDb", 99, false), (vec!["a".into()], 4));
    }

    #[test]
    fn blanks_at_the_ends_go_as_configured() {
        let of = |leading, trailing| Trims { leading, trailing, spares_pieces: true };
        assert_eq!(trimmed(b" \ta b\r\n", of(true, true)), b"a b");
        assert_eq!(trimmed(b" a ", of(false, true)), b" a");
        assert_eq!(trimmed(b"  ", of(true, true)), b"");
        assert_eq!(trimmed(b" a ", of(false, false)), b" a ");
        assert_eq!(trimmed(b"t stdout P a ", of(true, true)), b"t stdout P a ");
        assert_eq!(trimmed(b"t stdout F P ", of(true, true)), b"t stdout F P");
    }
}
