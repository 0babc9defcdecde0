//! Regular expressions as a Collector reads them: Go's dialect (regexp/syntax, RE2's with Perl's classes), translated to
//! the dialect of the `regex` crate.
//!
//! Both are linear and mostly agree. Where they do not, a pattern would be refused here that a Collector takes (braces that
//! count nothing, `[` in a class, `\Q...\E`), or, worse, match other texts without a word: `\d`, `\s`, `\w` and `\b` are
//! ASCII in Go, `&&`, `--` and `~~` in a class are letters, and `a**` is a fault.

use regex::{Regex, RegexBuilder, RegexSet, bytes};

/// Go refuses to count further.
const REPEAT_MAX: u32 = 1000;
/// Compiled, a pattern out of the data takes no more.
const SMALL_BYTES: usize = 256 << 10;
/// Longer patterns are refused.
const TEXT_MAX: usize = 64 << 10;

/// The pattern for texts; what is wrong with it otherwise.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    Regex::new(&translated).map_err(|error| why(&error))
}

/// The pattern for bytes that are nearly always text.
pub fn compile_bytes(pattern: &str) -> Result<bytes::Regex, String> {
    let translated = translate(pattern)?;
    bytes::Regex::new(&translated).map_err(|error| why(&error))
}

/// A pattern out of the data: what would take long to compile is refused.
pub fn compile_small(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated).size_limit(SMALL_BYTES).build().map_err(|error| why(&error))
}

/// Patterns of which any may match; of the one that is none, what is wrong with it.
pub fn set(patterns: &[String]) -> Result<RegexSet, String> {
    RegexSet::new(translated(patterns)?).map_err(|error| why(&error))
}

/// The same for bytes that are nearly always text.
pub fn set_bytes(patterns: &[String]) -> Result<bytes::RegexSet, String> {
    bytes::RegexSet::new(translated(patterns)?).map_err(|error| why(&error))
}

fn translated(patterns: &[String]) -> Result<Vec<String>, String> {
    patterns.iter().map(|pattern| translate(pattern).map_err(|why| format!("{pattern:?}: {why}"))).collect()
}

/// The last line of what the crate says: it names the fault, the lines before repeat the pattern.
fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The same pattern for the `regex` crate.
fn translate(pattern: &str) -> Result<String, String> {
    if pattern.len() > TEXT_MAX {
        return Err("the pattern is too long".to_owned());
    }
    let out = String::with_capacity(pattern.len() + 16);
    let mut translation = Translation { rest: pattern, out, names: Vec::new() };
    // What a repetition may follow.
    let mut before = Before::Nothing;
    while let Some(c) = translation.rest.chars().next() {
        before = translation.part(c, before)?;
    }
    Ok(translation.out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Something,
    Repetition,
}

struct Translation<'a> {
    rest: &'a str,
    out: String,
    names: Vec<&'a str>,
}

/// The name that a group has in the pattern: Go gives one to several groups, and here those that come later are told apart
/// by a dot and a number.
pub fn group_name(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl<'a> Translation<'a> {
    fn part(&mut self, c: char, before: Before) -> Result<Before, String> {
        match c {
            '*' | '+' | '?' => {
                self.skip(1);
                self.repetition(&c.to_string(), before)
            }
            '{' => match counted(self.rest) {
                Some((written, fewest, most)) => {
                    self.skip(written.len());
                    if fewest > REPEAT_MAX || most.is_some_and(|most| most > REPEAT_MAX || most < fewest) {
                        return Err(format!("`{written}` repeats too often or backwards; Go counts to {REPEAT_MAX}"));
                    }
                    self.repetition(written, before)
                }
                None => Ok(self.literal('{', 1)),
            },
            '(' => self.group(),
            '|' => {
                self.skip(1);
                self.out.push('|');
                Ok(Before::Nothing)
            }
            ')' | '^' | '$' | '.' => {
                self.skip(1);
                self.out.push(c);
                Ok(Before::Something)
            }
            '[' => self.class(),
            '\\' => self.escape(),
            _ => Ok(self.literal(c, c.len_utf8())),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn literal(&mut self, c: char, bytes: usize) -> Before {
        self.skip(bytes);
        push_literal(&mut self.out, c);
        Before::Something
    }

    fn repetition(&mut self, written: &str, before: Before) -> Result<Before, String> {
        match before {
            Before::Nothing => return Err(format!("nothing stands before the repetition `{written}`")),
            Before::Repetition => return Err(format!("`{written}` repeats a repetition; put parentheses around it")),
            Before::Something => self.out.push_str(written),
        }
        if self.rest.starts_with('?') {
            self.skip(1);
            self.out.push('?');
        }
        Ok(Before::Repetition)
    }

    /// `(`, `(?:`, `(?P<name>`, `(?<name>`, `(?flags)` and `(?flags:`.
    fn group(&mut self) -> Result<Before, String> {
        let Some(inside) = self.rest.strip_prefix("(?") else {
            self.skip(1);
            self.out.push('(');
            return Ok(Before::Nothing);
        };
        if inside.starts_with(['=', '!']) || inside.starts_with("<=") || inside.starts_with("<!") {
            return Err("look-around, including look-ahead and look-behind, is not supported".to_owned());
        }
        if let Some(name) = inside.strip_prefix("P<").or_else(|| inside.strip_prefix('<')) {
            let end = name.find('>').ok_or("the name of a group does not end")?;
            let named = &name[..end];
            if named.is_empty() || !named.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err(format!("{named:?} is no name of a group: letters, digits and `_`"));
            }
            if named.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(format!("a group whose name begins with a digit is not supported: {named:?}"));
            }
            let before = self.names.iter().filter(|known| **known == named).count();
            let number = if before > 0 { format!(".{before}") } else { String::new() };
            self.out.push_str(&format!("(?P<{named}{number}>"));
            self.names.push(named);
            self.skip(self.rest.len() - name.len() + end + 1);
            return Ok(Before::Nothing);
        }
        let end = inside.find([':', ')']).ok_or("a group does not end")?;
        let flags = &inside[..end];
        let known = flags.chars().all(|flag| "imsU-".contains(flag)) && flags.matches('-').count() < 2;
        if !known || flags.ends_with('-') || (flags.is_empty() && inside[end..].starts_with(')')) {
            return Err(format!("`(?{flags}` is not a group; known flags are i, m, s and U"));
        }
        self.out.push_str(&self.rest[..end + 3]);
        self.skip(end + 3);
        Ok(Before::Nothing)
    }

    fn escape(&mut self) -> Result<Before, String> {
        let escaped = self.rest[1..].chars().next().ok_or("the pattern ends with a backslash")?;
        match escaped {
            'A' | 'z' => self.out.push_str(&self.rest[..2]),
            'b' | 'B' => self.out.push_str(&format!("(?-u:{})", &self.rest[..2])),
            'Q' => return Ok(self.quoted()),
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => self.out.push_str(perl(escaped, true)),
            'p' | 'P' => {
                let (class, bytes) = unicode(self.rest)?;
                self.out.push_str(&class);
                self.skip(bytes);
                return Ok(Before::Something);
            }
            _ => {
                let (c, bytes) = character(self.rest)?;
                return Ok(self.literal(c, bytes));
            }
        }
        self.skip(2);
        Ok(Before::Something)
    }

    /// `\Q...\E`: letters as they are; without an end up to the pattern's.
    fn quoted(&mut self) -> Before {
        let inside = &self.rest[2..];
        let (quoted, bytes) = match inside.find("\\E") {
            Some(end) => (&inside[..end], end + 4),
            None => (inside, self.rest.len()),
        };
        quoted.chars().for_each(|c| push_literal(&mut self.out, c));
        self.skip(bytes);
        // What is quoted is letters, of which a repetition takes the last.
        if quoted.is_empty() { Before::Nothing } else { Before::Something }
    }

    fn class(&mut self) -> Result<Before, String> {
        let mut rest = &self.rest[1..];
        self.out.push('[');
        if let Some(negated) = rest.strip_prefix('^') {
            self.out.push('^');
            rest = negated;
        }
        let mut first = true;
        while first || !rest.starts_with(']') {
            if rest.is_empty() {
                return Err("a class of characters, begun with `[`, does not end".to_owned());
            }
            first = false;
            rest = class_part(&mut self.out, rest)?;
        }
        self.out.push(']');
        self.rest = &rest[1..];
        Ok(Before::Something)
    }
}

/// One element of a class; what follows it.
fn class_part<'a>(out: &mut String, rest: &'a str) -> Result<&'a str, String> {
    if let Some(named) = rest.strip_prefix("[:")
        && let Some(end) = named.find(":]")
    {
        let name = named[..end].trim_start_matches('^');
        let known = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit";
        if !known.split(' ').any(|known| known == name) {
            return Err(format!("there is no class `[:{}:]`", &named[..end]));
        }
        out.push_str(&rest[..end + 4]);
        return Ok(&rest[end + 4..]);
    }
    if let Some(escaped) = rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) {
        match escaped {
            'p' | 'P' => {
                let (class, bytes) = unicode(rest)?;
                out.push_str(&class);
                return Ok(&rest[bytes..]);
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                out.push_str(perl(escaped, escaped.is_ascii_uppercase()));
                return Ok(&rest[2..]);
            }
            _ => {}
        }
    }
    let (low, bytes) = class_character(rest)?;
    let after = &rest[bytes..];
    push_literal(out, low);
    // `[a-]` is a and the sign.
    if let Some(high) = after.strip_prefix('-')
        && !high.starts_with(']')
        && !high.is_empty()
    {
        let (high, bytes) = class_character(high)?;
        if high < low {
            return Err(format!("the range {low:?} to {high:?} of a class goes backwards"));
        }
        out.push('-');
        push_literal(out, high);
        return Ok(&after[1 + bytes..]);
    }
    Ok(after)
}

fn class_character(rest: &str) -> Result<(char, usize), String> {
    match rest.chars().next() {
        Some('\\') => character(rest),
        Some(c) => Ok((c, c.len_utf8())),
        None => Err("a class of characters, begun with `[`, does not end".to_owned()),
    }
}

/// The character that an escape means, and the escape's bytes.
fn character(rest: &str) -> Result<(char, usize), String> {
    let escaped = rest[1..].chars().next().ok_or("the pattern ends with a backslash")?;
    let digits = rest.get(2..).unwrap_or_default();
    let unknown = || format!("`\\{escaped}` is not an escape of a pattern");
    let plain = |c: char| Ok((c, 2));
    match escaped {
        'a' => plain('\u{7}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '0'..='7' => {
            // A single digit would point back to a group, which linear patterns cannot.
            let octal = |c: &u8| (b'0'..=b'7').contains(c);
            let more = digits.bytes().take(2).take_while(octal).count();
            if escaped != '0' && more == 0 {
                return Err(format!("`\\{escaped}` points back to a group, which is not supported"));
            }
            let value = u32::from_str_radix(&rest[1..2 + more], 8).map_err(|_| unknown())?;
            Ok((char::from_u32(value).ok_or_else(unknown)?, 2 + more))
        }
        'x' => {
            let (written, bytes) = match digits.strip_prefix('{') {
                Some(inside) => {
                    let end = inside.find('}').ok_or_else(unknown)?;
                    (&inside[..end], 4 + end)
                }
                None => (digits.get(..2).ok_or_else(unknown)?, 4),
            };
            let value = u32::from_str_radix(written, 16).map_err(|_| unknown())?;
            Ok((char::from_u32(value).ok_or_else(unknown)?, bytes))
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => plain(c),
        _ => Err(unknown()),
    }
}

/// `{n}`, `{n,}` or `{n,m}` at the front; anything else is text.
fn counted(rest: &str) -> Option<(&str, u32, Option<u32>)> {
    let end = rest.find('}')?;
    let inside = &rest[1..end];
    let number = |digits: &str| -> Option<u32> {
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        let zero = digits.len() > 1 && digits.starts_with('0');
        (plain && !zero).then(|| digits.parse().unwrap_or(u32::MAX))
    };
    let (fewest, most) = match inside.split_once(',') {
        None => (number(inside)?, Some(number(inside)?)),
        Some((fewest, "")) => (number(fewest)?, None),
        Some((fewest, most)) => (number(fewest)?, Some(number(most)?)),
    };
    Some((&rest[..=end], fewest, most))
}

/// `\d`, `\s` and `\w` are ASCII; `\s` has no vertical tab. `alone` in brackets of its own.
fn perl(escaped: char, alone: bool) -> &'static str {
    match (escaped, alone) {
        ('d', true) => "[0-9]",
        ('d', false) => "0-9",
        ('D', _) => "[^0-9]",
        ('s', true) => r"[\t\n\x0C\r ]",
        ('s', false) => r"\t\n\x0C\r ",
        ('S', _) => r"[^\t\n\x0C\r ]",
        ('w', true) => "[0-9A-Za-z_]",
        ('w', false) => "0-9A-Za-z_",
        _ => "[^0-9A-Za-z_]",
    }
}

/// `\pN`, `\p{Greek}`, `\P{^Greek}` and its bytes.
fn unicode(rest: &str) -> Result<(String, usize), String> {
    let mut negated = rest.starts_with("\\P");
    let name = &rest[2..];
    let (name, bytes) = match name.strip_prefix('{') {
        Some(inside) => {
            let end = inside.find('}').ok_or("the name of a Unicode class does not end")?;
            (&inside[..end], end + 4)
        }
        None => {
            let one = name.chars().next().ok_or("a Unicode class has no name")?;
            (&name[..one.len_utf8()], 2 + one.len_utf8())
        }
    };
    let bare = name.strip_prefix('^').unwrap_or(name);
    negated ^= bare.len() != name.len();
    if bare.is_empty() || !bare.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err(format!("there is no Unicode class {name:?}"));
    }
    Ok((format!("\\{}{{{bare}}}", if negated { 'P' } else { 'p' }), bytes))
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() || c == ' ' {
        out.push(c);
    } else {
        out.push_str(&format!("\\x{:02X}", u32::from(c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_boundaries_are_ascii() {
        for (pattern, text, expected) in [
            (r"^\w+$", "Zurich", true),
            (r"^\w+$", "Z\u{fc}rich", false),
            (r"^\d+$", "\u{663}", false),
            (r"\s", "\u{a0}", false),
            (r"\s", "\u{b}", false),
            (r"[\w]", "\u{fc}", false),
            (r"^[^\W]$", "x", true),
            (r"\bb", "\u{fc}b", true),
            (r"a\B", "a\u{fc}", false),
            (r"a\B", "ab", true),
            (r"(?i)^\w$", "\u{17f}", true),
            (r"^.$", "\u{fc}", true),
            (r"^\pL$", "\u{fc}", true),
            (r"^\p{^L}$", "1", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
            assert_eq!(compile_bytes(pattern).unwrap().is_match(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn braces_brackets_and_quotes_are_what_they_are_in_go() {
        for (pattern, text, expected) in [
            ("^/users/{id}$", "/users/{id}", true),
            ("^{.*}$", "{a}", true),
            ("a{2}", "aa", true),
            ("^a{,2}$", "a{,2}", true),
            ("^a{01}$", "a{01}", true),
            ("^[^[]+$", "ab]", true),
            ("^[]a]+$", "]a", true),
            ("^[a-]+$", "-a", true),
            (r"^[\d-x]+$", "1-x", true),
            ("^[a&&b]+$", "&", true),
            ("^[+--]+$", "+,-", true),
            ("^[a~~b]+$", "~", true),
            ("^[[:alpha:]_]+$", "a_", true),
            ("^[[:^alpha:]]+$", "1", true),
            (r"^\Qa.b\E+$", "a.bb", true),
            (r"^\Qa.b", "axb", false),
            (r"^\x41\x{42}\103$", "ABC", true),
            (r"^a/\-\_\<$", "a/-_<", true),
            ("^#  x$", "#  x", true),
            ("^(?P<n>a)(?P<n>b)$", "ab", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "a**",
            "*",
            "(?=a)",
            "(?<!a)",
            "(?x)a",
            "(?-u)a",
            r"\C",
            r"\Z",
            r"\1",
            "a{1001}",
            "a{2,1}",
            "[b-a]",
            "[a--z]",
            "[a",
            "(a",
            "a)",
            r"\pX",
            "[[:nope:]]",
            "\\",
            r"\x{110000}",
            "(?P<a-b>x)",
            "(?)",
            "\\\u{e9}",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
