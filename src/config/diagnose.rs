//! Findings as a person reads them: what is wrong, the line with a caret under it, what was expected, what to do.
//!
//! Text of the configuration may hold anything, so everything that is printed of it passes through the renderer's
//! cleaning of control characters.

use std::borrow::Cow;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use crate::config::secret::is_secret_key;
use crate::config::source::Sources;
use crate::core::diagnostic::{Diagnostic, Severity};
use crate::core::node::Place;

/// Columns shown of a line; longer lines are cut behind the caret.
const LINE_SHOWN_MAX: usize = 2_000;

/// All findings with their snippets, then a line that counts them. Empty when nothing was found.
pub fn render(found: &[Diagnostic], sources: &Sources, colored: bool) -> String {
    if found.is_empty() {
        return String::new();
    }
    let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(160);
    let mut out = String::new();
    for diagnostic in found {
        out.push_str(&render_one(diagnostic, sources, &renderer));
        out.push_str("\n\n");
    }
    out.push_str(&count(found));
    out.push('\n');
    out
}

fn render_one(diagnostic: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let label = diagnostic.expected.as_deref().map(normalize_untrusted_str);
    let snippet = diagnostic.place.and_then(|place| Line::of(place, sources)).map(|line| {
        let caret = AnnotationKind::Primary.span(line.from..line.to).label(label.clone());
        Snippet::source(line.text).line_start(line.number).path(line.name).annotation(caret)
    });
    let title = level.primary_title(normalize_untrusted_str(&diagnostic.message)).id(diagnostic.code);
    let bare = snippet.is_none();
    let mut group = match snippet {
        Some(snippet) => title.element(snippet),
        None => Group::with_title(title),
    };
    if let Some(label) = label.filter(|_| bare) {
        group = group.element(Level::NOTE.message(label));
    }
    if !diagnostic.path.is_empty() {
        group = group.element(Level::NOTE.with_name("at").message(normalize_untrusted_str(&diagnostic.path)));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    renderer.render(&[group])
}

/// The line a place is in, with the bytes its caret covers.
struct Line<'s> {
    name: &'s str,
    number: usize,
    text: Cow<'s, str>,
    from: usize,
    to: usize,
}

impl<'s> Line<'s> {
    /// `None` when the place is in no source: a finding about the configuration as a whole.
    fn of(place: Place, sources: &'s Sources) -> Option<Line<'s>> {
        if place.line == 0 || usize::from(place.source.0) >= sources.len() {
            return None;
        }
        let number = place.line as usize;
        let text = masked(sources.line(place.source, place.line));
        let column = place.column.max(1) as usize - 1;
        let byte_of = |column: usize| text.char_indices().nth(column).map_or(text.len(), |(at, _)| at);
        let (from, shown) = (byte_of(column), byte_of(column + LINE_SHOWN_MAX));
        let to = byte_of(column + place.length.max(1) as usize).min(shown);
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..shown]),
            Cow::Owned(text) => Cow::Owned(text[..shown].to_owned()),
        };
        Some(Line { name: sources.name(place.source), number, text, from, to })
    }
}

/// The line with the values of secret keys starred out, every column in its place. Works on the text, because a line
/// that is no YAML has no tree. An expansion (`${env:KEY}`) is shown: it names the secret without being it.
fn masked(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find([':', '=']) {
        let (head, tail) = rest.split_at(at + 1);
        out.push_str(head);
        rest = tail;
        let key = head[..at].trim_end().trim_end_matches(['"', '\'']);
        let key = key.rsplit(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).next().unwrap_or_default();
        let value = tail.trim_start();
        if !is_secret_key(key) || value.is_empty() {
            continue;
        }
        let end = value_end(value);
        let (blank, from) = tail.split_at(tail.len() - value.len());
        out.push_str(blank);
        star_out(&from[..end], &mut out);
        rest = &from[end..];
    }
    if out.is_empty() || rest.len() == line.len() {
        return Cow::Borrowed(line);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// One star for each character outside expressions and in their defaults.
fn star_out(value: &str, out: &mut String) {
    let mut rest = value;
    let star = |out: &mut String, text: &str| out.extend(std::iter::repeat_n('*', text.chars().count()));
    while let Some(open) = rest.find("${") {
        let length = rest[open..].find('}').map_or(rest.len() - open, |close| close + 1);
        let expression = &rest[open..open + length];
        star(out, &rest[..open]);
        match expression.split_once(":-") {
            Some((name, default)) => {
                let default = default.trim_end_matches('}');
                out.push_str(name);
                out.push_str(":-");
                star(out, default);
                out.push_str(&expression[name.len() + 2 + default.len()..]);
            }
            None => out.push_str(expression),
        }
        rest = &rest[open + length..];
    }
    star(out, rest);
}

/// Where a scalar ends: at its closing quote, else before the next flow separator that is not an expression's, or the
/// end of the line.
fn value_end(value: &str) -> usize {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        return value[1..].find(quote).map_or(value.len(), |at| at + 2);
    }
    let mut from = 0;
    loop {
        let Some(end) = value[from..].find([',', '}', ']']).map(|at| from + at) else { return value.len() };
        let open = value[from..end].rfind("${").map(|open| from + open);
        let Some(close) = open.and_then(|open| value[open..].find('}').map(|close| open + close + 1)) else {
            return end;
        };
        from = close;
    }
}

fn count(found: &[Diagnostic]) -> String {
    let of = |severity| found.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let say = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    match (of(Severity::Error), of(Severity::Warning)) {
        (errors, 0) => say(errors, "error"),
        (0, warnings) => say(warnings, "warning"),
        (errors, warnings) => format!("{}, {}", say(errors, "error"), say(warnings, "warning")),
    }
}

#[cfg(test)]
mod masking {
    use super::masked;

    #[test]
    fn values_of_secret_keys_are_starred_in_snippets() {
        for (line, shown) in [
            (
                "  otlp: {endpoint: a:1, headers: {Authorization: ApiKey canary, x: y}}",
                "  otlp: {endpoint: a:1, headers: {Authorization: *************, x: y}}",
            ),
            ("    api_key: \"canary\"  # note", "    api_key: ********  # note"),
            ("exporters.otlp.headers.authorization=canary", "exporters.otlp.headers.authorization=******"),
            ("    password: ${env:PASSWORD}", "    password: ${env:PASSWORD}"),
            ("    token: Bearer ${env:A}canary, x", "    token: *******${env:A}******, x"),
            ("  {api_key: a${env:A:-can,ary}b}", "  {api_key: *${env:A:-*******}*}"),
            ("    token: ${env:A", "    token: ${env:A"),
            ("    endpoint: localhost:4317", "    endpoint: localhost:4317"),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
