//! Texts of pairs and fields: `ParseKeyValue`, `ToKeyValueString` and `ParseCSV` (contrib
//! internal/coreinternal/parseutils; fields as Go's encoding/csv reads them).

use std::borrow::Cow;

use crate::ottl::convert::made::{object, text_value};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, OttlValue};

/// `k1=v1 k2="v 2"`: what stands in quotes keeps its delimiters and loses its quotes.
pub fn parse_key_value<'a>(text: &str, delimiter: &str, between: &str) -> Result<OttlValue<'a>, EvalFailure> {
    if text.is_empty() {
        return Err(EvalFailure("the text is empty"));
    }
    let mut pairs = Vec::new();
    for pair in unquoted(text, between)? {
        let (key, value) = pair.split_once(delimiter).ok_or(EvalFailure("a pair has no delimiter"))?;
        pairs.push((key.trim().to_owned(), text_value(value.trim())));
    }
    object(pairs)
}

/// The parts between delimiters that stand outside of quotes, without the quotes.
fn unquoted(text: &str, between: &str) -> Result<Vec<String>, EvalFailure> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quote, mut escaped, mut rest) = (None, false, text);
    while let Some(c) = rest.chars().next() {
        if quote.is_none()
            && let Some(behind) = rest.strip_prefix(between)
        {
            if !part.is_empty() {
                parts.push(std::mem::take(&mut part));
            }
            rest = behind;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if escaped {
            escaped = false;
        } else {
            match quote {
                None if c == '"' || c == '\'' => {
                    quote = Some(c);
                    continue;
                }
                Some(open) if c == open => {
                    quote = None;
                    continue;
                }
                _ => escaped = c == '\\',
            }
        }
        part.push(c);
    }
    if quote.is_some() {
        return Err(EvalFailure("a quote is not closed"));
    }
    if !part.is_empty() {
        parts.push(part);
    }
    if parts.len() > ELEMENTS_MAX { Err(EvalFailure("the text has too many parts")) } else { Ok(parts) }
}

/// The pairs of a map in their order, or by key.
pub fn to_key_value<'a>(
    map: &OttlValue<'_>,
    delimiter: &str,
    between: &str,
    sorted: bool,
) -> Result<OttlValue<'a>, EvalFailure> {
    let mut pairs = map.pairs().ok_or(EvalFailure("expected a map"))?;
    if sorted {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let quoted = |text: &str| {
        let escaped = text.replace('"', "\\\"");
        let bare = !escaped.contains(between) && !escaped.contains(delimiter);
        if bare { escaped } else { format!("\"{escaped}\"") }
    };
    let shown: Result<Vec<String>, EvalFailure> = pairs
        .iter()
        .map(|(key, value)| Ok(format!("{}{delimiter}{}", quoted(key), quoted(&value.to_plain_text()?))))
        .collect();
    Ok(OttlValue::Text(Cow::Owned(shown?.join(between))))
}

/// How quotes in fields are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    Strict,
    Lazy,
    Ignored,
}

impl Quotes {
    pub fn named(name: &str) -> Option<Quotes> {
        match name {
            "strict" => Some(Quotes::Strict),
            "lazyQuotes" => Some(Quotes::Lazy),
            "ignoreQuotes" => Some(Quotes::Ignored),
            _ => None,
        }
    }
}

pub fn parse_csv<'a>(
    row: &str,
    header: &str,
    (delimiter, header_delimiter): (char, char),
    quotes: Quotes,
) -> Result<OttlValue<'a>, EvalFailure> {
    if header.is_empty() {
        return Err(EvalFailure("the header is empty"));
    }
    let names = header.split(header_delimiter);
    let fields = match quotes {
        Quotes::Ignored => row.split(delimiter).map(str::to_owned).collect(),
        _ => fields(row, delimiter, quotes == Quotes::Lazy)?,
    };
    if names.clone().count() != fields.len() {
        return Err(EvalFailure("the row has another number of fields than the header"));
    }
    object(names.map(str::to_owned).zip(fields.iter().map(|field| text_value(field))).collect())
}

/// The fields of a text whose lines are one row: a line's first field goes on with the last one before it.
fn fields(text: &str, delimiter: char, lazy: bool) -> Result<Vec<String>, EvalFailure> {
    if delimiter == '"' || delimiter == '\r' || delimiter == '\n' {
        return Err(EvalFailure("this character cannot divide fields"));
    }
    let text = text.replace("\r\n", "\n");
    let mut rest = text.as_str();
    let mut row: Option<Vec<String>> = None;
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('\n') {
            rest = behind;
            continue;
        }
        let mut line = Vec::new();
        rest = match read_line(rest, delimiter, lazy, &mut line) {
            Ok(behind) => behind,
            // As in a Collector a line is worth what was read of it before its fault.
            Err((behind, _)) if !line.is_empty() => behind.split_once('\n').map_or("", |(_, behind)| behind),
            Err((_, failure)) => return Err(failure),
        };
        match &mut row {
            None => row = Some(line),
            Some(row) => {
                let mut line = line.into_iter();
                let first = line.next().unwrap_or_default();
                if let Some(last) = row.last_mut() {
                    last.push('\n');
                    last.push_str(&first);
                }
                row.extend(line);
            }
        }
        if row.as_ref().is_some_and(|row| row.len() > ELEMENTS_MAX) {
            return Err(EvalFailure("the text has too many fields"));
        }
    }
    row.ok_or(EvalFailure("the text has no fields"))
}

/// One line's fields; what follows the line, or the place of a fault. A quoted field may go on over lines.
fn read_line<'t>(
    mut rest: &'t str,
    delimiter: char,
    lazy: bool,
    fields: &mut Vec<String>,
) -> Result<&'t str, (&'t str, EvalFailure)> {
    const BARE_QUOTE: EvalFailure = EvalFailure("a quote stands in a field that is not quoted");
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([delimiter, '\n']).unwrap_or(rest.len());
            let field = &rest[..end];
            if !lazy && field.contains('"') {
                return Err((rest, BARE_QUOTE));
            }
            fields.push(field.to_owned());
            rest = &rest[end..];
            match rest.strip_prefix(delimiter) {
                Some(behind) => rest = behind,
                None => return Ok(rest.strip_prefix('\n').unwrap_or(rest)),
            }
            continue;
        };
        let mut field = String::new();
        let mut inside = quoted;
        loop {
            let Some(end) = inside.find('"') else {
                if !lazy {
                    return Err(("", EvalFailure("a quoted field does not end")));
                }
                field.push_str(inside);
                fields.push(field);
                return Ok("");
            };
            field.push_str(&inside[..end]);
            let behind = &inside[end + 1..];
            if let Some(more) = behind.strip_prefix('"') {
                field.push('"');
                inside = more;
            } else if let Some(next) = behind.strip_prefix(delimiter) {
                fields.push(field);
                rest = next;
                break;
            } else if behind.is_empty() || behind.starts_with('\n') {
                fields.push(field);
                return Ok(behind.strip_prefix('\n').unwrap_or(behind));
            } else if lazy {
                field.push('"');
                inside = behind;
            } else {
                return Err((behind, EvalFailure("something stands behind a quoted field")));
            }
        }
    }
}
