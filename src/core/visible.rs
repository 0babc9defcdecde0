//! Text of others on a terminal or in a line of a log: characters that would do something there are written out.
//!
//! An application's value may hold a terminal's commands, line breaks that forge lines, and marks that turn the reading
//! direction. Whatever shows such text to a person passes it through [`escape`].

use std::borrow::Cow;
use std::fmt::Write;

/// True for what a terminal obeys or a reader cannot see: C0 and C1 controls, DEL, line and paragraph separators, marks
/// of reading direction, and the byte order mark.
pub fn is_dangerous(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with `\n`, `\t`, `\r` and, for every other dangerous character, `\u{1b}` in its place.
pub fn escape(text: &str) -> Cow<'_, str> {
    written_out(text, |letter, out| match letter {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        letter => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", letter as u32);
        }
    })
}

/// JSON text with every dangerous character as `\u001b`: in JSON without blanks they only stand in strings.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    written_out(json, |letter, out| {
        let _ = write!(out, "\\u{:04x}", letter as u32);
    })
}

fn written_out(text: &str, write_out: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16); // granted: a line, written at once
    for letter in text.chars() {
        if is_dangerous(letter) {
            write_out(letter, &mut out);
        } else {
            out.push(letter);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out_and_nothing_else_changes() {
        for (text, shown) in [
            ("plain, \u{e9}\u{4e2d} and \u{1f600}", "plain, \u{e9}\u{4e2d} and \u{1f600}"),
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "\\u{1b}[2J\\u{1b}]0;owned\\u{7}"),
            ("a\nTraces\t{}\r", "a\\nTraces\\t{}\\r"),
            ("\u{7f}\u{9b}31m", "\\u{7f}\\u{9b}31m"),
            ("\u{202e}fdp.exe\u{2066}", "\\u{202e}fdp.exe\\u{2066}"),
        ] {
            assert_eq!(escape(text), shown);
        }
        for code in 0..=0x10ffff {
            let Some(letter) = char::from_u32(code) else { continue };
            let shown = escape(&letter.to_string()).into_owned();
            assert!(!shown.chars().any(is_dangerous), "{code:x}");
            let json = serde_json::to_string(&letter).unwrap_or_default();
            let json = escape_json(&json).into_owned();
            assert!(!json.chars().any(is_dangerous), "{code:x}");
            assert_eq!(serde_json::from_str::<char>(&json).ok(), Some(letter));
        }
    }
}
