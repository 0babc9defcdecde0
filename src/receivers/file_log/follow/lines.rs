//! Bytes of a file as entries: lines, or what a pattern begins or ends. Pure; nothing is copied.

use crate::receivers::file_log::config::LineSplit;

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
        LineSplit::Newline => bytes.iter().position(|byte| *byte == b'\n').map(|at| (at, at + 1)),
        LineSplit::StartsAt(regex) => {
            // What stands in front of the first match is an entry too.
            let first = regex.find(bytes);
            match first {
                Some(first) if first.start() > 0 => Some((first.start(), first.start())),
                Some(first) => {
                    let next = regex.find_at(bytes, first.end().max(1)).filter(|next| next.start() > 0);
                    next.map(|next| (next.start(), next.start()))
                }
                None => None,
            }
        }
        LineSplit::EndsAt(regex, omits) => {
            // A match that reaches the end might go on.
            let found = regex.find(bytes).filter(|end| end.end() > 0 && (is_last || end.end() < bytes.len()));
            found.map(|end| if *omits { (end.start(), end.end()) } else { (end.end(), end.end()) })
        }
    };
    let (length, taken) = match found {
        Some(found) => found,
        None if is_last => (bytes.len(), bytes.len()),
        None if bytes.len() >= most => (most, most),
        None => return None,
    };
    // A longer entry comes in pieces.
    let (length, taken) = if length > most { (most, most) } else { (length, taken) };
    Some(SplitLine { text: bytes.get(..length)?, taken })
}

/// Without blanks and ends of line at its ends, as configured.
pub fn trimmed(text: &[u8], (leading, trailing): (bool, bool)) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let from = if leading { text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len()) } else { 0 };
    let text = text.get(from..).unwrap_or_default();
    let to = if trailing { text.iter().rposition(|byte| !is_blank(byte)).map_or(0, |at| at + 1) } else { text.len() };
    text.get(..to).unwrap_or_default()
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
        let starts = LineSplit::StartsAt(regex(r"^\d"));
        assert_eq!(all(&starts, "x\n1a\n b\n2c\n", 99, false), (vec!["x\n".into(), "1a\n b\n".into()], 8));
        assert_eq!(all(&starts, "1a\n2b\n", 99, true).0, ["1a\n", "2b\n"]);
        let ends = |omits| LineSplit::EndsAt(regex("END"), omits);
        assert_eq!(all(&ends(false), "aENDbEND", 99, true).0, ["aEND", "bEND"]);
        assert_eq!(all(&ends(true), "aENDb", 99, false), (vec!["a".into()], 4));
    }

    #[test]
    fn blanks_at_the_ends_go_as_configured() {
        assert_eq!(trimmed(b" \ta b\r\n", (true, true)), b"a b");
        assert_eq!(trimmed(b" a ", (false, true)), b" a");
        assert_eq!(trimmed(b"  ", (true, true)), b"");
        assert_eq!(trimmed(b" a ", (false, false)), b" a ");
    }
}
