//! Which characters of a configuration's text are secret, so that a line can be shown with a caret under it.
//!
//! Works on the text and not on the tree, because a text that is no YAML has no tree and is shown all the same. Follows
//! block style by its indentation and flow style by its brackets: secret is what stands under a key that is one by its
//! name and everything under `headers`, whatever the header is called. Comments, keys, expressions and the words that
//! only name a scheme of authorization stay; every column stays in its place.

use std::ops::Range;

use crate::config::value::secret::{SecretPart, expression_end, is_secret_key, parts, with_userinfo_as};

/// The lines of one text with their secret characters starred out.
#[derive(Debug, Default)]
pub struct Masked {
    lines: Vec<String>,
}

impl Masked {
    pub fn of(text: &str) -> Masked {
        let mut scanner = Scanner::default();
        Masked { lines: text.split('\n').map(|line| scanner.line(line.trim_end_matches('\r'))).collect() }
    }

    /// A `--set` value: `a.b.headers.x=value`.
    pub fn of_set(text: &str) -> Masked {
        let Some((path, value)) = text.split_once('=') else { return Masked::of(text) };
        let secret = path.split(['.', ':']).any(|step| is_secret_key(step.trim()));
        let mut scanner = Scanner::default();
        let value = if secret { starred(value) } else { scanner.line(value) };
        Masked { lines: vec![format!("{path}={value}")] }
    }

    /// The line with this number, counted from 1.
    pub fn line(&self, number: u32) -> &str {
        self.lines.get(number.max(1) as usize - 1).map_or("", String::as_str)
    }
}

/// A text with its secret parts as stars, one for each character.
fn starred(text: &str) -> String {
    let shown = parts(text).into_iter().map(|part| match part {
        SecretPart::Shown(text) => text.to_owned(),
        SecretPart::Secret(text) => "*".repeat(text.chars().count()),
    });
    shown.collect()
}

/// A key of block style above the line at hand.
struct Above {
    indent: usize,
    secret: bool,
}

/// A text that goes on over lines without having keys.
enum Running {
    /// `key: |`: every line that is indented deeper.
    Block { indent: usize, secret: bool },
    /// A quote that is still open.
    Quoted { quote: char, secret: bool },
}

#[derive(Default)]
struct Scanner {
    above: Vec<Above>,
    /// Open brackets, and whether all in them is secret.
    flow: Vec<bool>,
    running: Option<Running>,
}

impl Scanner {
    fn line(&mut self, line: &str) -> String {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let content = &line[indent..];
        if let Some(shown) = self.goes_on(line, indent) {
            return shown;
        }
        let mut spans = Vec::new();
        if !self.flow.is_empty() {
            self.flow(line, 0, &mut spans);
        } else if !content.is_empty() && !content.starts_with('#') {
            self.block(line, indent, &mut spans);
        }
        masked(line, &spans)
    }

    fn goes_on(&mut self, line: &str, indent: usize) -> Option<String> {
        let all = |secret: bool| if secret { starred(line) } else { without_userinfo(line) };
        match self.running.take()? {
            Running::Block { indent: of, secret } => {
                if !line.trim().is_empty() && indent <= of {
                    return None;
                }
                self.running = Some(Running::Block { indent: of, secret });
                Some(all(secret))
            }
            Running::Quoted { quote, secret } => {
                let Some(end) = quote_end(line, quote) else {
                    self.running = Some(Running::Quoted { quote, secret });
                    return Some(all(secret));
                };
                let mut spans = vec![(0..end, secret)];
                if !self.flow.is_empty() {
                    self.flow(line, end, &mut spans);
                }
                Some(masked(line, &spans))
            }
        }
    }

    /// One line of block style from `at` on: dashes, a key, a value.
    fn block(&mut self, line: &str, mut at: usize, spans: &mut Vec<(Range<usize>, bool)>) {
        let dash = line[at..].starts_with("- ") || &line[at..] == "-";
        self.above.retain(|above| if dash { above.indent <= at } else { above.indent < at });
        while line[at..].starts_with("- ") || &line[at..] == "-" {
            at += 1;
            at += line[at..].len() - line[at..].trim_start().len();
            self.above.retain(|above| above.indent < at);
        }
        let mut secret = self.above.last().is_some_and(|above| above.secret);
        let indent = at;
        if let Some((key, value_at)) = key_at(line, at, false) {
            secret |= is_secret_key(key);
            self.above.push(Above { indent, secret });
            at = value_at;
        }
        self.value(line, at, indent, secret, spans);
    }

    #[expect(clippy::too_many_arguments, reason = "one place in the text, and what is found there")]
    fn value(&mut self, line: &str, at: usize, indent: usize, secret: bool, spans: &mut Vec<(Range<usize>, bool)>) {
        let mut at = at + blanks(&line[at..]);
        // An anchor or a tag stands before the value.
        while line[at..].starts_with(['&', '!']) {
            at += line[at..].find(' ').unwrap_or(line.len() - at);
            at += blanks(&line[at..]);
        }
        match line[at..].chars().next() {
            None | Some('#') => {}
            Some('|' | '>') => self.running = Some(Running::Block { indent, secret }),
            Some(bracket @ ('{' | '[')) => {
                self.flow.push(secret);
                self.flow(line, at + bracket.len_utf8(), spans);
            }
            Some(_) => {
                self.scalar(line, at, false, secret, spans);
            }
        }
    }

    /// Inside brackets from `at` to the end of the line, or of the brackets.
    fn flow(&mut self, line: &str, mut at: usize, spans: &mut Vec<(Range<usize>, bool)>) {
        let mut key_is_secret = false;
        while let Some(letter) = line[at..].chars().next() {
            let here = self.flow.last().copied();
            match letter {
                ' ' | '\t' => at += 1,
                '#' if at == 0 || line[..at].ends_with([' ', '\t']) => return,
                ',' => {
                    key_is_secret = false;
                    at += 1;
                }
                '{' | '[' => {
                    self.flow.push(here.unwrap_or(false) || key_is_secret);
                    key_is_secret = false;
                    at += 1;
                }
                '}' | ']' => {
                    self.flow.pop();
                    at += 1;
                    if self.flow.is_empty() {
                        return;
                    }
                }
                _ => {
                    if let Some((key, value_at)) = key_at(line, at, true) {
                        key_is_secret = is_secret_key(key);
                        at = value_at;
                        continue;
                    }
                    at = self
                        .scalar(line, at, true, here.unwrap_or(true) || key_is_secret, spans)
                        .max(at + letter.len_utf8());
                }
            }
        }
    }

    /// A scalar from `at`; where it ends.
    #[expect(clippy::too_many_arguments, reason = "one place in the text, and what is found there")]
    fn scalar(
        &mut self,
        line: &str,
        at: usize,
        flow: bool,
        secret: bool,
        spans: &mut Vec<(Range<usize>, bool)>,
    ) -> usize {
        let quote = line[at..].chars().next().filter(|first| matches!(first, '"' | '\''));
        let end = match quote {
            Some(quote) => match quote_end(&line[at + 1..], quote) {
                Some(end) => at + 1 + end,
                None => {
                    self.running = Some(Running::Quoted { quote, secret });
                    line.len()
                }
            },
            None => at + plain_end(&line[at..], flow),
        };
        spans.push((at..end, secret));
        end
    }
}

/// The line with its secret spans starred out, and userinfo of URLs in the others.
fn masked(line: &str, spans: &[(Range<usize>, bool)]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut from = 0;
    for (span, secret) in spans {
        out.push_str(&line[from..span.start]);
        let text = &line[span.clone()];
        out.push_str(&if *secret { starred(text) } else { without_userinfo(text) });
        from = span.end;
    }
    out.push_str(&line[from..]);
    out
}

fn without_userinfo(text: &str) -> String {
    with_userinfo_as(text, starred).into_owned()
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

/// The key that begins at `at`, and where its value begins; `None` when no key stands there.
fn key_at(line: &str, at: usize, flow: bool) -> Option<(&str, usize)> {
    let rest = &line[at..];
    let ends =
        |after: &str| after.is_empty() || after.starts_with([' ', '\t']) || (flow && after.starts_with([',', '}']));
    if let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        let end = 1 + quote_end(&rest[1..], quote)?;
        let gap = blanks(&rest[end..]);
        // After a quoted key a colon needs no blank in flow style.
        let after = rest[end + gap..].strip_prefix(':').filter(|after| flow || ends(after))?;
        return Some((&rest[1..end - 1], line.len() - after.len()));
    }
    if rest.starts_with(['{', '[']) {
        return None;
    }
    let stop = plain_end(rest, flow);
    let colon = rest[..stop].match_indices(':').map(|(colon, _)| colon).find(|colon| ends(&rest[colon + 1..]))?;
    Some((rest[..colon].trim_end(), at + colon + 1))
}

/// Behind the closing quote; `None` when it is not on this line. A quote that begins before `text` is open.
fn quote_end(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quote == '"' {
            letters.next();
        } else if letter == quote {
            if quote == '\'' && letters.peek().is_some_and(|(_, next)| *next == '\'') {
                letters.next();
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

/// Where a plain scalar ends: before a comment, and in flow style before a separator that is not an expression's.
fn plain_end(text: &str, flow: bool) -> usize {
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        if text[at..].starts_with("${") {
            at += expression_end(&text[at..]).unwrap_or(text.len() - at);
            continue;
        }
        let comment = letter == '#' && text[..at].ends_with([' ', '\t']);
        if comment || (flow && matches!(letter, ',' | '}' | ']' | '{' | '[')) {
            break;
        }
        at += letter.len_utf8();
    }
    text[..at].trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Masked::of(text).lines.join("\n")
    }

    #[test]
    fn blanks_of_more_than_one_byte_within_brackets_are_passed_over() {
        for text in ["readers: [\u{a0}", "a: {\u{3000}token: canary}", "a: [b\u{2003}, \u{a0}]"] {
            assert!(!shown(text).contains("canary"), "{}", shown(text));
        }
    }

    #[test]
    fn values_of_secret_keys_are_starred_and_what_stands_around_them_is_not() {
        for (text, expected) in [
            (
                "  otlp: {endpoint: a:1, headers: {Authorization: ApiKey canary, x: y}}",
                "  otlp: {endpoint: a:1, headers: {Authorization: ApiKey ******, x: *}}",
            ),
            ("    api_key: \"canary\"  # note", "    api_key: ********  # note"),
            ("    password: ${env:PASSWORD}", "    password: ${env:PASSWORD}"),
            ("    token: Bearer ${env:A}canary", "    token: Bearer ${env:A}******"),
            ("  {api_key: a${env:A:-can,ary}b, b: c}", "  {api_key: *${env:A:-*******}*, b: c}"),
            ("  {api_key: ${env:A_${env:B}}, b: c}", "  {api_key: ${env:A_${env:B}}, b: c}"),
            ("  {api_key: ${yaml:canary}, b: c}", "  {api_key: ${yaml:******}, b: c}"),
            ("    token: ${env:A", "    token: *******"),
            ("    endpoint: localhost:4317", "    endpoint: localhost:4317"),
            (
                "headers: {Authorization: \"ApiKey ${env:ELASTIC_API_KEY}\"}",
                "headers: {Authorization: \"ApiKey ${env:ELASTIC_API_KEY}\"}",
            ),
            (
                "headers:\n  x-honeycomb-team: canary # team\nother: y",
                "headers:\n  x-honeycomb-team: ****** # team\nother: y",
            ),
            ("headers:\n- name: x\n  value: canary\nz: y", "headers:\n- name: *\n  value: ******\nz: y"),
            ("key_pem: |\n  -----BEGIN\n  canary\n\nz: y", "key_pem: |\n************\n********\n\nz: y"),
            ("password: \"can\n  ary: x\" # note\nz: y", "password: ****\n********* # note\nz: y"),
            (
                "headers: {\n  a: canary, # one\n  b: {c: canary}\n}\nz: y",
                "headers: {\n  a: ******, # one\n  b: {c: ******}\n}\nz: y",
            ),
            ("endpoint: https://user:canary@h:1/ # c", "endpoint: https://***********@h:1/ # c"),
            ("e: [\"http://u:canary@a\", http://b]", "e: [\"http://********@a\", http://b]"),
            (
                "- 'set(attributes[\"api_key\"], \"a: b\") where token: x'",
                "- 'set(attributes[\"api_key\"], \"a: b\") where token: x'",
            ),
            ("- set(attributes[\"authorization\"], \"x\")", "- set(attributes[\"authorization\"], \"x\")"),
            ("cors: {allowed_headers: [x-a]}", "cors: {allowed_headers: [x-a]}"),
            ("a: {\"token\":\"canary\", b: 1}", "a: {\"token\":********, b: 1}"),
            ("default_headers: &h\n    a: canary\nb: 1", "default_headers: &h\n    a: ******\nb: 1"),
        ] {
            assert_eq!(shown(text), expected);
        }
        let set = Masked::of_set("exporters.otlp.headers.x-any=canary");
        assert_eq!(set.line(1), "exporters.otlp.headers.x-any=******");
    }

    #[test]
    fn no_text_loses_a_column_or_breaks_the_scanner() {
        let mut rng = fastrand::Rng::with_seed(7);
        let pieces = [
            "headers", "token", ":", " ", "\n", "{", "}", "[", "]", ",", "\"", "'", "#", "- ", "|", "${", "}", "\\",
            "\u{e9}", "a", "&", "\t",
        ];
        for _ in 0..20_000 {
            let text: String = (0..rng.usize(0..25)).map(|_| pieces[rng.usize(0..pieces.len())]).collect();
            let masked = shown(&text);
            let counts = |text: &str| text.split('\n').map(|line| line.chars().count()).collect::<Vec<_>>();
            assert_eq!(counts(&masked), counts(&text), "{text:?}");
        }
    }
}
