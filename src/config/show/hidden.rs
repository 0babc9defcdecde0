//! What must not be shown of a configuration in words about it: values from variables and files, secrets, userinfo.
//!
//! A check words its findings with the value it objects to, whole or a part of it, as it stands or escaped. Every finding
//! passes here before anybody sees it ([`Hidden::clean`]): what an expression brought in reads as the expression again, a
//! secret as redacted. Three rules, each by letters and not by spelling ([`spelling`]):
//!
//! - a whole value is hidden in all words, a short one (it may be an ordinary word) only in those about its own line or component;
//! - of the message about its own line or component, also a quoted part of it, and any longer run of its letters;
//! - keys that the configuration itself writes are not hidden in paths: a value that equals one gives nothing away there.
//!
//! `expected` and `help` are made of the program's words and of names, so that the second rule does not touch them.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::config::show::spelling::{self, LetterReading, letters};
use crate::config::value::secret::{is_secret_key, redacted, without_userinfo};
use crate::core::diagnostic::Diagnostic;
use crate::core::node::{Node, Place, SourceId, Value};

/// A value that `${env:...}` or `${file:...}` brought in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    pub value: String,
    pub expression: String,
    /// Of the value that it became a part of.
    pub place: Place,
    pub path: String,
}

/// Letters from which a value is no ordinary word (`otlp`, `info`) and is hidden everywhere.
const EVERYWHERE_FROM: usize = 8;
const OWN_FROM: usize = 3;
const SECRET_FROM: usize = 4;
/// Letters in a row that are the value's and not the sentence's.
const RUN: usize = 8;
/// A run of small letters alone may be a word of the sentence.
const RUN_OF_WORDS: usize = 16;
/// In an entry of a list of headers these say which header it is, and where its value comes from.
const NAMES_OF_HEADERS: [&str; 3] = ["key", "name", "from_context"];
/// Longer words are no keys.
const KEY_MAX: usize = 100;
/// The longest key of a component is shorter.
const PLAIN_KEY_MAX: usize = 48;

/// One text to hide, and what it reads as.
#[derive(Clone, Debug)]
struct Veiled {
    letters: String,
    shown: String,
    everywhere: bool,
    lines: HashSet<(SourceId, u32)>,
    components: HashSet<String>,
    /// Hashes of all runs of [`RUN`] letters, in order; made for the first finding that is about this value.
    runs: OnceCell<Vec<u32>>,
}

#[derive(Clone, Debug, Default)]
pub struct Hidden {
    /// Longest first, so that a value that holds another one goes as a whole.
    veiled: Vec<Veiled>,
    /// Keys that the configuration writes itself.
    keys: HashSet<String>,
}

/// What a text is about: decides which short values are hidden in it.
#[derive(Clone, Copy, Debug)]
struct About<'a> {
    line: Option<(SourceId, u32)>,
    component: &'a str,
    /// Its keys are those that the words name.
    path: &'a str,
}

impl Hidden {
    /// Of what expressions brought in, and of the tree they brought it into (`None` when there is none).
    pub fn of(brought: Vec<Brought>, tree: Option<&Node>) -> Hidden {
        let mut collected = Collected::default();
        for one in brought.iter().filter(|one| one.value.chars().count() >= OWN_FROM) {
            let everywhere = one.value.chars().count() >= EVERYWHERE_FROM;
            collected.add(&one.value, &one.expression, everywhere, (one.place, &one.path));
            if one.value.contains("$$") {
                collected.add(&one.value.replace("$$", "$"), &one.expression, everywhere, (one.place, &one.path));
            }
        }
        let mut keys = HashSet::new();
        if let Some(tree) = tree {
            collected.secrets(tree, false, "");
            written_keys(tree, false, &mut keys);
        }
        let mut veiled: Vec<Veiled> = collected.veiled.into_values().collect();
        veiled.retain(|one| !one.letters.is_empty());
        veiled.sort_by_key(|one| std::cmp::Reverse(one.letters.len()));
        Hidden { veiled, keys }
    }

    /// Findings as they may be shown and logged.
    pub fn clean(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        found.into_iter().map(|found| self.finding(found)).collect()
    }

    fn finding(&self, found: Diagnostic) -> Diagnostic {
        let about = About {
            line: found.place.map(|place| (place.source, place.line)),
            component: component_of(&found.path),
            path: &found.path,
        };
        let others = |text: &String| self.hide(text, about, false).into_owned();
        Diagnostic {
            message: self.hide(&found.message, about, true).into_owned(),
            expected: found.expected.as_ref().map(others),
            help: found.help.as_ref().map(others),
            path: self.path(&found.path, about),
            ..found
        }
    }

    /// Words about the configuration as a whole, such as why it cannot start.
    pub fn in_words<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.hide(text, About { line: None, component: "", path: "" }, false)
    }

    /// Steps that the configuration writes, and positions in lists, stay.
    fn path(&self, path: &str, about: About<'_>) -> String {
        let stays = |step: &str| self.keys.contains(step) || step.bytes().all(|byte| byte.is_ascii_digit());
        let shown = path.split("::").map(|step| match stays(step) {
            true => Cow::Borrowed(step),
            false => self.hide(step, about, true),
        });
        shown.collect::<Vec<_>>().join("::")
    }

    /// `parts`: parts of a value are hidden as well, where the text is about it.
    fn hide<'t>(&self, text: &'t str, about: About<'_>, parts: bool) -> Cow<'t, str> {
        let readings = spelling::readings(text);
        let quoted = if parts { quoted(text) } else { Vec::new() };
        let (taken, shown) = (Vec::new(), Vec::new());
        let mut veil = Veil { text, about, keys: &self.keys, quoted: &quoted, taken, shown };
        for one in &self.veiled {
            let own = about.line.is_some_and(|line| one.lines.contains(&line))
                || (!about.component.is_empty() && one.components.contains(about.component));
            if !own && !one.everywhere {
                continue;
            }
            readings.iter().for_each(|reading| veil.whole(reading, one, own));
            if own && parts {
                quoted.iter().for_each(|range| veil.part(range, one));
                readings.iter().for_each(|reading| veil.runs(reading, one));
            }
        }
        match veil.lifted() {
            Some(lifted) => Cow::Owned(without_userinfo(&lifted).into_owned()),
            None => without_userinfo(text),
        }
    }
}

/// The kind and the id: `exporters::otlp/a`.
fn component_of(path: &str) -> &str {
    let second = path.match_indices("::").nth(1).map_or(path.len(), |(at, _)| at);
    if path.contains("::") { &path[..second] } else { "" }
}

/// True for a key as components have them: of a part of the configuration that a file holds, findings may name it.
pub fn is_plain_key(key: &str) -> bool {
    key.len() <= PLAIN_KEY_MAX && key.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'/'))
}

/// Keys below a value that came in as a whole may be anything; those of no plain form are not shown.
fn written_keys(node: &Node, came_in: bool, keys: &mut HashSet<String>) {
    let came_in = came_in || node.expression.is_some();
    for entry in node.entries() {
        // `{Authorization:ApiKey abc}` is a slip, and no key.
        if is_plain_key(&entry.key) || !(came_in || entry.key.contains([':', ' '])) {
            keys.insert(entry.key.clone());
        }
        written_keys(&entry.value, came_in, keys);
    }
    node.items().iter().for_each(|item| written_keys(item, came_in, keys));
}

#[derive(Default)]
struct Collected {
    /// By letters and by what they read as, so that a variable of a thousand places is one text.
    veiled: HashMap<(String, String), Veiled>,
}

impl Collected {
    fn add(&mut self, value: &str, shown: &str, everywhere: bool, (place, path): (Place, &str)) {
        let key = (letters(value), shown.to_owned());
        let one = self.veiled.entry(key).or_insert_with_key(|(letters, shown)| Veiled {
            letters: letters.clone(),
            shown: shown.clone(),
            everywhere,
            lines: HashSet::new(),
            components: HashSet::new(),
            runs: OnceCell::new(),
        });
        one.lines.insert((place.source, place.line));
        if !one.components.contains(component_of(path)) {
            one.components.insert(component_of(path).to_owned());
        }
    }

    /// Literal values under secret keys, however deep.
    fn secrets(&mut self, node: &Node, secret: bool, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    // `{Authorization:ApiKey abc}` without a blank is a key alone.
                    if secret && entry.value.is_null() && entry.key.contains([':', ' ']) {
                        self.add(&entry.key, &redacted(&entry.key), true, (entry.key_place, path));
                    }
                    let deeper = deeper(path, &entry.key);
                    self.secrets(&entry.value, secret || is_secret_key(&entry.key), &deeper);
                }
            }
            Value::List(items) => items.iter().for_each(|item| match &item.value {
                // `headers: [{key: X-Tenant, value: ...}]`: the names of headers are told where they matter.
                Value::Map(entries) if secret => {
                    let others = entries.iter().filter(|entry| !NAMES_OF_HEADERS.contains(&entry.key.as_str()));
                    others.for_each(|entry| self.secrets(&entry.value, true, path));
                }
                _ => self.secrets(item, secret, path),
            }),
            Value::String(text) if secret && node.expression.is_none() && text.chars().count() >= SECRET_FROM => {
                self.add(text, &redacted(text), true, (node.place, path));
            }
            _ => {}
        }
    }
}

/// Only the kind and the id are of interest.
fn deeper<'p>(path: &'p str, key: &str) -> Cow<'p, str> {
    match path {
        "" => Cow::Owned(key.to_owned()),
        _ if path.contains("::") => Cow::Borrowed(path),
        _ => Cow::Owned(format!("{path}::{key}")),
    }
}

/// Contents of quotes and backticks in a text; a backslash before a quote keeps it open.
fn quoted(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<(char, usize)> = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match open {
            _ if escaped => escaped = false,
            _ if letter == '\\' => escaped = true,
            Some((quote, begin)) if letter == quote => {
                found.push(begin..at);
                open = None;
            }
            None if matches!(letter, '"' | '`') => open = Some((letter, at + 1)),
            _ => {}
        }
    }
    found.retain(|range| !range.is_empty());
    found
}

/// A text with the parts of it that are to be hidden.
struct Veil<'t, 'h> {
    text: &'t str,
    about: About<'h>,
    keys: &'h HashSet<String>,
    quoted: &'h [Range<usize>],
    /// For each byte what hides it: one more than its position in `shown`, 0 for none.
    taken: Vec<u32>,
    shown: Vec<&'h str>,
}

impl<'h> Veil<'_, 'h> {
    /// Every occurrence of the whole value; of a short one whole words only: `4317` is not a part of `43170`.
    fn whole(&mut self, reading: &LetterReading, one: &'h Veiled, own: bool) {
        if one.letters.chars().count() < OWN_FROM || one.letters.len() > reading.letters.len() {
            return;
        }
        let is_short = one.letters.chars().count() < EVERYWHERE_FROM;
        for (at, found) in reading.letters.match_indices(&one.letters) {
            let range = reading.bytes(at..at + found.len());
            let joins = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
            let (before, behind) = (&self.text[..range.start], &self.text[range.end..]);
            let within = joins(before.chars().next_back()) || joins(behind.chars().next());
            let is_part = within && is_short;
            if is_part || self.is_key(&range, own) {
                continue;
            }
            self.take(range, &one.shown);
        }
    }

    /// A quoted part of the value: `"notaport" is not a port`.
    fn part(&mut self, range: &Range<usize>, one: &'h Veiled) {
        let part = &self.text[range.clone()];
        let is_of_value = |letters: &str| letters.chars().count() >= OWN_FROM && one.letters.contains(letters);
        if !spelling::readings(part).iter().any(|reading| is_of_value(&reading.letters)) {
            return;
        }
        // Backticks hold keys and words of the program as well.
        let in_backticks = self.text[..range.start].ends_with('`');
        let is_word =
            part.len() < EVERYWHERE_FROM && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let may_be_program = in_backticks && is_word;
        if may_be_program || self.is_key(range, true) {
            return;
        }
        self.take(range.clone(), &one.shown);
    }

    /// Runs of letters that are the value's: a message that cuts it, or that quotes more than it.
    fn runs(&mut self, reading: &LetterReading, one: &'h Veiled) {
        let runs = one.runs.get_or_init(|| runs_of(&one.letters));
        let known = |window: &[u8]| runs.binary_search(&hash(window)).is_ok();
        let bytes = reading.letters.as_bytes();
        let mut at = 0;
        while at + RUN <= bytes.len() {
            if !known(&bytes[at..at + RUN]) {
                at += 1;
                continue;
            }
            let begin = at;
            while at + RUN < bytes.len() && known(&bytes[at + 1..at + 1 + RUN]) {
                at += 1;
            }
            at += RUN;
            let range = reading.bytes(begin..at);
            let is_small = |byte: &u8| byte.is_ascii_lowercase() || *byte == b' ';
            let may_be_words = at - begin < RUN_OF_WORDS && bytes[begin..at].iter().all(is_small);
            let is_sentence = may_be_words && !self.is_quoted(&range);
            if is_sentence || self.is_key(&range, true) {
                continue;
            }
            self.take(range, &one.shown);
        }
    }

    fn is_quoted(&self, range: &Range<usize>) -> bool {
        let next = self.quoted.partition_point(|quoted| quoted.end <= range.start);
        self.quoted.get(next).is_some_and(|quoted| quoted.start <= range.start)
    }

    /// A key that the configuration writes: of words about the value those of its path in backticks, else any as a word.
    fn is_key(&self, range: &Range<usize>, own: bool) -> bool {
        let of_word = |letter: char| letter.is_alphanumeric() || "_-/.".contains(letter);
        let from = self.text.floor_char_boundary(range.start.saturating_sub(KEY_MAX));
        let to = self.text.floor_char_boundary((range.end + KEY_MAX).min(self.text.len()));
        let before = self.text[from..range.start].trim_end_matches(of_word);
        let behind = self.text[range.end..to].trim_start_matches(of_word);
        let word = &self.text[from + before.len()..to - behind.len()];
        match own {
            true => {
                let is_named = || self.about.path.split("::").any(|step| step == word);
                let may_be = || self.keys.contains(word) || is_plain_key(word);
                before.ends_with('`') && behind.starts_with('`') && may_be() && is_named()
            }
            false => self.keys.contains(word),
        }
    }

    /// What is taken already stays: longer values come first.
    fn take(&mut self, range: Range<usize>, shown: &'h str) {
        if self.taken.is_empty() {
            self.taken = vec![0; self.text.len()];
        }
        if self.shown.last() != Some(&shown) {
            self.shown.push(shown);
        }
        let number = u32::try_from(self.shown.len()).unwrap_or(u32::MAX);
        self.taken[range].iter_mut().filter(|taken| **taken == 0).for_each(|taken| *taken = number);
    }

    /// Parts of one value that touch read as one.
    fn lifted(self) -> Option<String> {
        let mut out = String::with_capacity(self.text.len());
        let mut from = 0;
        for run in self.taken.chunk_by(|one, next| one == next) {
            let to = from + run.len();
            out.push_str(match run[0] {
                0 => &self.text[from..to],
                number => self.shown[number as usize - 1],
            });
            from = to;
        }
        (!self.taken.is_empty()).then_some(out)
    }
}

fn runs_of(letters: &str) -> Vec<u32> {
    let mut runs: Vec<u32> = letters.as_bytes().windows(RUN).map(hash).collect();
    runs.sort_unstable();
    runs.dedup();
    runs
}

/// FNV-1a: two runs of one hash hide a little too much.
fn hash(run: &[u8]) -> u32 {
    run.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::core::diagnostic::Diagnostics;

    fn at(line: u32) -> Place {
        Place { line, column: 3, length: 1, source: SourceId(0) }
    }

    fn hidden() -> Hidden {
        let one = |value: &str, expression: &str| Brought {
            value: value.to_owned(),
            expression: expression.to_owned(),
            place: at(7),
            path: "exporters::otlp/a::endpoint".to_owned(),
        };
        let brought = vec![
            one("https://u:canary@h:notaport", "${env:URL}"),
            one("4317", "${env:PORT}"),
            one("info", "${env:L}"),
            one("debug", "${file:d}"),
            one("{\"k\": \"S3cret\\tAAAA\u{85}\u{e9}\"}\n", "${env:J}"),
        ];
        let text = "{headers: {x: canary-two, 'y:canary three': }, k: [{password: pass}], exporters: {debug: }}";
        let tree = yaml::parse(text, SourceId(0), &Diagnostics::default()).unwrap();
        Hidden::of(brought, Some(&tree))
    }

    fn shown(text: &str, line: u32) -> String {
        let found = Diagnostic::error("E0203", at(line)).at("service").says(text);
        hidden().finding(found).message
    }

    #[test]
    fn words_show_expressions_instead_of_what_they_brought_in() {
        for (text, line, expected) in [
            ("\"notaport\" is not a port", 7, "\"${env:URL}\" is not a port"),
            ("\"https://u:canary@h:notaport\" is wrong", 9, "\"${env:URL}\" is wrong"),
            ("4317 and 43170 and \"info\"", 7, "${env:PORT} and 43170 and \"${env:L}\""),
            ("4317 and info", 9, "4317 and info"),
            ("`canary-two` and `y:canary three` pass", 9, "`[redacted]` and `[redacted]` [redacted]"),
            ("http://u:p@h/ and http://v:q@h/", 9, "http://[redacted]@h/ and http://[redacted]@h/"),
        ] {
            assert_eq!(shown(text, line), expected);
        }
    }

    #[test]
    fn a_value_is_hidden_however_it_is_escaped() {
        let value = "{\"k\": \"S3cret\\tAAAA\u{85}\u{e9}\"}\n";
        for spelled in [
            format!("{value:?}"),
            format!("{:?}", format!("{value:?}")),
            value.escape_default().to_string(),
            serde_json::json!(value).to_string(),
            value.to_owned(),
            "\"S3cret\\\\tAAAA\"".to_owned(),
        ] {
            for line in [7, 9] {
                let shown = shown(&format!("`verbosity` cannot be {spelled} here"), line);
                let expected = line == 7 || spelled.len() > 20;
                assert_eq!(!shown.contains("S3cret") && !shown.contains("AAAA"), expected, "{spelled}: {shown}");
            }
        }
    }

    #[test]
    fn places_keep_the_keys_of_the_configuration() {
        let found = |path: &str| hidden().finding(Diagnostic::error("E0203", at(7)).at(path).says("wrong")).path;
        assert_eq!(found("exporters::debug::verbosity"), "exporters::debug::verbosity");
        assert_eq!(found("exporters::info::0"), "exporters::${env:L}::0");
    }
}
