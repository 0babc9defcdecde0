//! Findings as a person reads them: what is wrong, the line with a caret under it, what was expected, what to do.
//!
//! Text of the configuration may hold anything, so everything that is printed of it passes through the renderer's
//! cleaning of control characters, and what may not be seen is masked in the lines (`mask`). In the words it was hidden before
//! (`hidden`): what is printed here, logged and put on pages are the same findings.

use std::collections::HashMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use crate::config::read::source::Sources;
use crate::config::show::mask::Masked;
use crate::core::diagnostic::{Diagnostic, Severity};
use crate::core::node::{Place, SourceId};

/// Columns shown of a line before and behind its caret; longer lines are cut there.
const LINE_SHOWN_MAX: usize = 2_000;

/// All findings with their snippets, then a line that counts them. Empty when nothing was found.
pub fn render(found: &[Diagnostic], sources: &Sources, colored: bool) -> String {
    if found.is_empty() {
        return String::new();
    }
    let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(160);
    let mut out = String::new();
    let mut masks = HashMap::new();
    for diagnostic in found {
        out.push_str(&render_one(diagnostic, sources, &mut masks, &renderer));
        out.push_str("\n\n");
    }
    out.push_str(&count(found));
    out.push('\n');
    out
}

/// One finding with its snippet, plain.
pub fn one(found: &Diagnostic, sources: &Sources) -> String {
    let renderer = Renderer::plain().decor_style(DecorStyle::Ascii).term_width(160);
    render_one(found, sources, &mut HashMap::new(), &renderer)
}

/// All findings for machines, one object each, in the same words.
pub fn as_json(found: &[Diagnostic], sources: &Sources) -> Vec<serde_json::Value> {
    let one = |diagnostic: &Diagnostic| {
        let place = diagnostic.place.filter(|place| place.line > 0 && usize::from(place.source.0) < sources.len());
        serde_json::json!({
            "code": diagnostic.code,
            "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
            "message": diagnostic.message,
            "file": place.map(|place| sources.name(place.source)),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "path": Some(&diagnostic.path).filter(|path| !path.is_empty()),
            "expected": diagnostic.expected,
            "help": diagnostic.help,
        })
    };
    found.iter().map(one).collect()
}

/// Masked texts by source, made when the first finding needs one.
type Masks = HashMap<SourceId, Masked>;

fn render_one(diagnostic: &Diagnostic, sources: &Sources, masks: &mut Masks, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let label = diagnostic.expected.as_deref().map(normalize_untrusted_str);
    let snippet = diagnostic.place.and_then(|place| Line::of(place, sources, masks)).map(|line| {
        let caret = AnnotationKind::Primary.span(line.from..line.to).label(label.clone());
        let snippet = Snippet::source(line.text).line_start(line.number).annotation(caret);
        match line.cut {
            // The columns of what is left are others: the place is told beside it.
            true => (Some(Origin::path(line.name).line(line.number).char_column(line.column)), snippet),
            false => (None, snippet.path(line.name)),
        }
    });
    let title = level.primary_title(normalize_untrusted_str(&diagnostic.message)).id(diagnostic.code);
    let bare = snippet.is_none();
    let mut group = match snippet {
        Some((Some(origin), snippet)) => title.element(origin).element(snippet),
        Some((None, snippet)) => title.element(snippet),
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
    text: &'s str,
    from: usize,
    to: usize,
    /// Counted from 1, in the whole line.
    column: usize,
    /// The text lacks the beginning of the line.
    cut: bool,
}

impl<'s> Line<'s> {
    /// `None` when the place is in no source: a finding about the configuration as a whole.
    fn of(place: Place, sources: &'s Sources, masks: &'s mut Masks) -> Option<Line<'s>> {
        if place.line == 0 || usize::from(place.source.0) >= sources.len() {
            return None;
        }
        let number = place.line as usize;
        let masked = masks.entry(place.source).or_insert_with(|| match sources.name(place.source) {
            name if name.starts_with("--set") => Masked::of_set(sources.text(place.source)),
            _ => Masked::of(sources.text(place.source)),
        });
        let text = masked.line(place.line);
        let column = place.column.max(1) as usize - 1;
        let byte_of = |column: usize| text.char_indices().nth(column).map_or(text.len(), |(at, _)| at);
        let cut = column > LINE_SHOWN_MAX;
        let begin = if cut { byte_of(column - LINE_SHOWN_MAX) } else { 0 };
        let (from, shown) = (byte_of(column), byte_of(column + LINE_SHOWN_MAX));
        let to = byte_of(column + place.length.max(1) as usize).min(shown);
        let (text, from, to) = (&text[begin..shown], from - begin, to - begin);
        Some(Line { name: sources.name(place.source), number, text, from, to, column: column + 1, cut })
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
