//! The Extended Log Format of the W3C: directives behind `#`, and lines of values that the last `#Fields` names.

use crate::ottl::convert::made::{Pairs, object, put_text, text_value};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, OttlValue};

/// Directives that are kept, by what they are called there and here.
const DIRECTIVES: &[(&str, &str)] = &[
    ("version", "elf.version"),
    ("software", "elf.software"),
    ("date", "elf.date"),
    ("start-date", "elf.start_date"),
    ("end-date", "elf.end_date"),
    ("remark", "elf.remark"),
];

pub fn parse_elf<'a>(text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let (mut pairs, mut entries, mut fields) = (Pairs::new(), Vec::new(), Vec::new());
    let (mut versioned, mut made) = (false, 0);
    for line in text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(directive) = line.strip_prefix('#') {
            let Some((name, value)) = directive.split_once(':') else {
                let name = directive.trim();
                if name.get(..6).is_some_and(|name| name.eq_ignore_ascii_case("fields")) {
                    return Err(EvalFailure("the directive #Fields has no colon"));
                }
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("fields") {
                fields = value.split_whitespace().collect();
            } else if let Some((_, key)) = DIRECTIVES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                versioned |= *key == "elf.version";
                put_text(&mut pairs, key, value);
            }
            continue;
        }
        if fields.is_empty() {
            return Err(EvalFailure("there is an entry in front of the directive #Fields"));
        }
        let mut values = values(line)?.into_iter();
        // Many short lines under many fields would be a product of both.
        made += fields.len();
        if made > ELEMENTS_MAX {
            return Err(EvalFailure("the log has too many values"));
        }
        let entry = fields.iter().map(|field| {
            let value = values.next().unwrap_or_else(|| "-".to_owned());
            ((*field).to_owned(), text_value(&value))
        });
        entries.push(object(entry.collect())?);
    }
    if !versioned {
        return Err(EvalFailure("the directive #Version is missing"));
    }
    pairs.push(("elf.entries".to_owned(), OttlValue::List(entries)));
    let fields = fields.into_iter().map(text_value).collect();
    pairs.push(("elf.fields".to_owned(), OttlValue::List(fields)));
    object(pairs)
}

/// Values between blanks; in quotes one may have blanks, and two quotes for one.
fn values(line: &str) -> Result<Vec<String>, EvalFailure> {
    const OPEN: EvalFailure = EvalFailure("a quoted value has no end");
    let (mut found, mut rest) = (Vec::new(), line);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return Ok(found);
        }
        let Some(mut inside) = rest.strip_prefix('"') else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
            continue;
        };
        let mut value = String::new();
        loop {
            let (before, behind) = inside.split_once('"').ok_or(OPEN)?;
            value.push_str(before);
            match behind.strip_prefix('"') {
                Some(more) => {
                    value.push('"');
                    inside = more;
                }
                None => {
                    rest = behind;
                    break;
                }
            }
        }
        found.push(value);
    }
}
