//! Findings as a person reads them: what is wrong, the line with a caret under it, what was expected, what to do.
//!
//! Text of the configuration may hold anything, so everything that is printed of it passes through the renderer's
//! cleaning of control characters.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

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
    text: &'s str,
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
        let text = sources.line(place.source, place.line);
        let column = place.column.max(1) as usize - 1;
        let byte_of = |column: usize| text.char_indices().nth(column).map_or(text.len(), |(at, _)| at);
        let (from, shown) = (byte_of(column), byte_of(column + LINE_SHOWN_MAX));
        let to = byte_of(column + place.length.max(1) as usize).min(shown);
        Some(Line { name: sources.name(place.source), number, text: &text[..shown], from, to })
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
