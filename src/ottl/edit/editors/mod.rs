//! Editors: what changes a scene. Each reads the messages as they are, plans one edit and applies it; an edit that
//! changes nothing leaves the bytes alone. Names and meanings are the Collector's (contrib pkg/ottl/ottlfuncs).

mod buckets;
mod made;
mod maps;
mod merge;
mod metrics;
mod percentile;
mod points;
mod span_name;

use std::borrow::Cow;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use regex::Regex;

use crate::otlp::fields::value_list::VALUES;
use crate::otlp::walk::Fields;
use crate::ottl::checked::{CheckedNode, Path, Pattern};
use crate::ottl::convert::{Converter, TEXT_MAX, text};
use crate::ottl::edit::editors::maps::{
    MADE_FREE, MADE_PER_BYTE, each_key, each_text, flatten, limit, merge, stringify, truncate,
};
use crate::ottl::edit::encode::{MapItem, check_nesting, entries};
use crate::ottl::edit::target::{Buffers, EditTarget};
use crate::ottl::eval;
use crate::ottl::item::Item;
use crate::ottl::path::place::{all, set};
use crate::ottl::path::tables::PathPart;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

pub use crate::ottl::edit::editors::buckets::{BOUNDS_MAX, BucketMerge, Spreading, limit_of};
pub use crate::ottl::edit::editors::made::{Drawn, DrawnPart, MetricMade};
pub use crate::ottl::edit::editors::maps::Merge;
pub use crate::ottl::edit::editors::merge::{AGGREGATIONS, Aggregation, Alike};
pub use crate::ottl::edit::editors::metrics::MetricEdit;

const TOO_LONG: EvalFailure = EvalFailure("the text is too long");

#[derive(Debug)]
pub enum Editor {
    Set {
        target: Path,
        value: CheckedNode,
    },
    Clear {
        target: Path,
    },
    Append {
        target: Path,
        value: Option<CheckedNode>,
        values: Option<CheckedNode>,
    },
    DeleteIndex {
        target: Path,
        start: CheckedNode,
        end: Option<CheckedNode>,
    },
    ReplaceMatch {
        target: Path,
        pattern: Pattern,
        replacement: Replacement,
    },
    ReplacePattern {
        target: Path,
        pattern: Pattern,
        replacement: Replacement,
    },
    Map {
        target: Path,
        edit: MapEdit,
    },
    Metric(MetricEdit),
    /// A metric beside the one in hand.
    Made(MetricMade),
    Buckets(BucketMerge),
    /// Where the name that the span had is kept.
    SpanName {
        original: Option<String>,
    },
}

/// What may be done with the entries of a map.
#[derive(Debug)]
pub enum MapEdit {
    DeleteKey(CheckedNode),
    KeepKeys(CheckedNode),
    Matching {
        pattern: Pattern,
        keep: bool,
    },
    Limit {
        most: usize,
        keys: Vec<String>,
    },
    /// Bytes that a text may have, its marker included.
    Truncate {
        most: usize,
        /// Cut between characters.
        whole: bool,
        marker: String,
    },
    Stringify,
    Flatten {
        prefix: String,
        depth: usize,
        /// Keys that come twice are numbered.
        resolve: bool,
    },
    Merge {
        source: CheckedNode,
        how: Merge,
    },
    ReplaceMatches {
        pattern: Pattern,
        replacement: Replacement,
    },
    ReplacePatterns {
        keys: bool,
        pattern: Pattern,
        replacement: Replacement,
    },
}

/// What stands in for what was found.
#[derive(Debug)]
pub struct Replacement {
    pub text: CheckedNode,
    pub function: Option<Converter>,
    /// A text with one `%s`.
    pub format: Option<CheckedNode>,
}

impl Editor {
    pub fn run(&self, scene: &mut EditTarget<'_>) -> Result<(), EvalFailure> {
        match self {
            Editor::Set { target, value } => {
                set(scene, target, |item, buffers| target.plan(item, &eval::value(value, item)?, buffers))
            }
            Editor::Clear { target } => {
                set(scene, target, |item, buffers| target.plan(item, &cleared(&target.read(item)?), buffers))
            }
            Editor::Append { target, value, values } => set(scene, target, |item, buffers| {
                let list = appended(target.read(item)?, value.as_ref(), values.as_ref(), item)?;
                target.plan(item, &OttlValue::List(list), buffers)
            }),
            Editor::DeleteIndex { target, start, end } => set(scene, target, |item, buffers| {
                let list = without_index(target.read(item)?, start, end.as_ref(), item)?;
                target.plan(item, &OttlValue::List(list), buffers)
            }),
            Editor::ReplaceMatch { target, pattern, replacement } => set(scene, target, |item, buffers| {
                let pattern = pattern.get(item)?;
                let old = target.read(item)?;
                let new = replacement.whole(item)?;
                match old {
                    OttlValue::Text(old) if pattern.is_match(&old) => {
                        target.plan(item, &OttlValue::Text(Cow::Owned(new)), buffers)
                    }
                    _ => Ok(None),
                }
            }),
            Editor::ReplacePattern { target, pattern, replacement } => set(scene, target, |item, buffers| {
                let old = target.read(item)?;
                if old.is_nil() {
                    return Ok(None);
                }
                replacement.check(item)?;
                let OttlValue::Text(old) = old else { return Ok(None) };
                match replacement.within(item, &*pattern.get(item)?, &old)? {
                    Some(new) => target.plan(item, &OttlValue::Text(Cow::Owned(new)), buffers),
                    None => Ok(None),
                }
            }),
            Editor::Map { target, edit } => {
                if let (MapEdit::DeleteKey(key), []) = (edit, &target.keys[..])
                    && let Some(done) = delete(scene, target, key)
                {
                    return done;
                }
                set(scene, target, |item, buffers| edit.plan(target, item, buffers))
            }
            Editor::Metric(edit) => edit.run(scene),
            Editor::Made(made) => made.run(scene),
            Editor::Buckets(merge) => merge.run(scene),
            Editor::SpanName { original } => span_name::set_span_name(scene, original.as_deref()),
        }
    }
}

/// The empty value of the same kind.
fn cleared<'a>(old: &OttlValue<'_>) -> OttlValue<'a> {
    match old {
        OttlValue::Bool(_) => OttlValue::Bool(false),
        OttlValue::Int(_) => OttlValue::Int(0),
        OttlValue::Float(_) => OttlValue::Float(0.0),
        OttlValue::Text(_) => OttlValue::Text(Cow::Borrowed("")),
        OttlValue::Bytes(_) => OttlValue::Bytes(Cow::Borrowed(&[])),
        OttlValue::Id(id) => OttlValue::Id(crate::ottl::value::IdBytes::of(&[], id.bytes().len())),
        OttlValue::Map { .. } | OttlValue::Object(_) => OttlValue::Object(Vec::new()),
        OttlValue::Array(_) | OttlValue::List(_) => OttlValue::List(Vec::new()),
        _ => OttlValue::Nil,
    }
}

/// The old list, or one of the old value, with more at its end: values of one kind each, no lists and no maps.
fn appended<'a>(
    old: OttlValue<'a>,
    value: Option<&'a CheckedNode>,
    values: Option<&'a CheckedNode>,
    item: &Item<'a>,
) -> Result<Vec<OttlValue<'a>>, EvalFailure> {
    const NESTED: EvalFailure = EvalFailure("what is appended is a list or map of the data");
    let mut list = match old {
        OttlValue::Nil => Vec::new(),
        old if old.is_list() => old.elements().ok_or(EvalFailure("the list has too many elements"))?,
        OttlValue::Map { .. } | OttlValue::Object(_) => return Err(EvalFailure("expected a list")),
        old => vec![old],
    };
    let more = match values {
        Some(CheckedNode::List(parts)) => parts.iter().collect(),
        _ => Vec::new(),
    };
    for node in value.into_iter().chain(more) {
        match eval::value(node, item)? {
            OttlValue::Map { .. } | OttlValue::Object(_) | OttlValue::Array(_) => return Err(NESTED),
            one => list.push(one),
        }
    }
    Ok(list)
}

fn without_index<'a>(
    old: OttlValue<'a>,
    start: &'a CheckedNode,
    end: Option<&'a CheckedNode>,
    item: &Item<'a>,
) -> Result<Vec<OttlValue<'a>>, EvalFailure> {
    const OUTSIDE: EvalFailure = EvalFailure("the indexes are out of bounds");
    let mut list = old.elements().ok_or(EvalFailure("expected a list"))?;
    let index = |node: &'a CheckedNode| match eval::value(node, item)? {
        OttlValue::Int(index) => Ok(index),
        _ => Err(EvalFailure("expected a whole number")),
    };
    let start = index(start)?;
    let end = match end {
        Some(end) => index(end)?,
        None => start.saturating_add(1),
    };
    let all = start == 0 && usize::try_from(end) == Ok(list.len());
    let (from, to) = (usize::try_from(start).map_err(|_| OUTSIDE)?, usize::try_from(end).map_err(|_| OUTSIDE)?);
    if !all && (from >= list.len() || to < from || to > list.len()) {
        return Err(OUTSIDE);
    }
    list.drain(from..to);
    Ok(list)
}

/// Cuts one attribute out; `None` where the target is no attributes of a message.
fn delete(scene: &mut EditTarget<'_>, target: &Path, key: &CheckedNode) -> Option<Result<(), EvalFailure>> {
    let part = match target.part {
        PathPart::Point(part) => part.within(scene.points),
        part => Some(part),
    };
    let Some(PathPart::Attributes(number)) = part else { return None };
    let name = match key {
        CheckedNode::Literal(Literal::Text(name)) => Ok(Cow::Borrowed(name.as_str())),
        key => eval::value(key, &scene.view()).and_then(|key| text(&key).map(|name| Cow::Owned(name.into_owned()))),
    };
    // A key that comes several times goes as a whole.
    let is_it = |field: &[u8], name: &str| {
        let inside = Fields::new(field).next().and_then(Result::ok).and_then(|field| field.bytes().ok());
        inside.is_some_and(|raw| *MapItem::read(raw).key == *name.as_bytes())
    };
    let cut = |scene: &mut EditTarget<'_>, name: Cow<'_, str>| {
        scene.draft(target.owner).remove(|found, field| found == number && is_it(field, &name))
    };
    Some(name.and_then(|name| cut(scene, name)))
}

impl MapEdit {
    /// The map with its new entries; `None` when they are the old ones.
    fn plan(&self, target: &Path, item: &Item<'_>, buffers: &mut Buffers) -> Result<Option<Range<usize>>, EvalFailure> {
        let old = target.read(item)?;
        if !old.is_map() {
            return Err(EvalFailure("expected a map"));
        }
        let Some(new) = self.apply(entries(&old)?, item)? else { return Ok(None) };
        if let (OttlValue::Map { message, number }, []) = (&old, &target.keys[..])
            && !matches!(target.part, PathPart::Any(_))
        {
            new.iter().try_for_each(|entry| check_nesting(&entry.value))?;
            all(message, *number, &new, &mut buffers.out);
            return Ok(Some(0..message.len()));
        }
        let mut map = Vec::new();
        new.iter().for_each(|entry| entry.put(&mut map, VALUES));
        target.plan(item, &OttlValue::Map { message: &map, number: 1 }, buffers)
    }

    fn apply<'a>(
        &'a self,
        mut map: Vec<MapItem<'a>>,
        item: &Item<'a>,
    ) -> Result<Option<Vec<MapItem<'a>>>, EvalFailure> {
        let before = map.len();
        match self {
            MapEdit::DeleteKey(key) => {
                let key = eval::value(key, item)?;
                let key = text(&key)?;
                map.retain(|entry| *entry.key != *key.as_bytes());
            }
            MapEdit::KeepKeys(keys) => {
                let keys = eval::value(keys, item)?.elements().ok_or(EvalFailure("expected a list of keys"))?;
                if keys.iter().any(|key| as_key(key).is_none()) {
                    return Err(EvalFailure("expected a string"));
                }
                let keys: HashSet<&[u8], RandomState> = keys.iter().filter_map(as_key).collect();
                map.retain(|entry| keys.contains(&*entry.key));
            }
            MapEdit::Matching { pattern, keep } => {
                let pattern = pattern.get(item)?;
                map.retain(|entry| pattern.is_match(&String::from_utf8_lossy(&entry.key)) == *keep);
            }
            MapEdit::Limit { most, keys } => limit(&mut map, *most, keys),
            MapEdit::Truncate { most, whole, marker } => return Ok(truncate(map, *most, *whole, marker)),
            MapEdit::Stringify => return stringify(map),
            MapEdit::Flatten { prefix, depth, resolve } => return flatten(&map, prefix, *depth, *resolve).map(Some),
            MapEdit::Merge { source, how } => {
                let source = entries(&eval::value(source, item)?)?;
                merge(&mut map, source, *how);
                return Ok(Some(map));
            }
            MapEdit::ReplaceMatches { pattern, replacement } => {
                let pattern = pattern.get(item)?;
                let new = replacement.whole(item)?;
                let change = |old: &str| Ok(pattern.is_match(old).then(|| new.clone()));
                return each_text(map, change);
            }
            MapEdit::ReplacePatterns { keys, pattern, replacement } => {
                // A text that the function cannot take stays as it is.
                let lenient = replacement.function.is_some();
                let pattern = pattern.get(item)?;
                replacement.check(item)?;
                let change = |old: &str| match replacement.within(item, &pattern, old) {
                    Err(failure) if !lenient || failure == TOO_LONG => Err(failure),
                    Err(_) => Ok(None),
                    new => new,
                };
                return if *keys { each_key(map, change) } else { each_text(map, change) };
            }
        }
        Ok((map.len() != before).then_some(map))
    }
}

fn as_key<'v>(value: &'v OttlValue<'_>) -> Option<&'v [u8]> {
    if let OttlValue::Text(text) = value { Some(text.as_bytes()) } else { None }
}

impl Replacement {
    /// For a text that is replaced as a whole.
    fn whole(&self, item: &Item<'_>) -> Result<String, EvalFailure> {
        let value = eval::value(&self.text, item)?;
        let text = text(&value)?.into_owned();
        self.finish(text, item)
    }

    /// The text with every match replaced; `None` when there is none.
    fn within(&self, item: &Item<'_>, pattern: &Regex, old: &str) -> Result<Option<String>, EvalFailure> {
        let mut matches = pattern.captures_iter(old).peekable();
        if matches.peek().is_none() {
            return Ok(None);
        }
        let template = eval::value(&self.text, item)?;
        let template = text(&template)?;
        // Each reference stands for a part of the match, so this is known before it is made.
        let references = template.matches('$').count();
        let longest = old.len().saturating_mul(MADE_PER_BYTE).saturating_add(MADE_FREE).min(old.len() + TEXT_MAX);
        let (mut new, mut from) = (String::with_capacity(old.len()), 0);
        for found in matches {
            let Some(whole) = found.get(0) else { continue };
            new.push_str(&old[from..whole.start()]);
            if references.saturating_mul(whole.len()).saturating_add(template.len() + new.len()) > longest {
                return Err(TOO_LONG);
            }
            let mut expanded = String::new();
            found.expand(&template, &mut expanded);
            new.push_str(&self.finish(expanded, item)?);
            from = whole.end();
        }
        new.push_str(&old[from..]);
        Ok(Some(new))
    }

    /// Fails where the replacement is no text, whether or not anything is replaced.
    fn check(&self, item: &Item<'_>) -> Result<(), EvalFailure> {
        text(&eval::value(&self.text, item)?).map(drop)
    }

    fn finish(&self, made: String, item: &Item<'_>) -> Result<String, EvalFailure> {
        let Some(function) = self.function else { return Ok(made) };
        let made = text(&function.of(OttlValue::Text(Cow::Owned(made)))?)?.into_owned();
        let Some(format) = &self.format else { return Ok(made) };
        let format = eval::value(format, item)?;
        let format = text(&format)?;
        let (before, after) = Replacement::around(&format).ok_or(EvalFailure("the format needs exactly one %s"))?;
        Ok(format!("{before}{made}{after}"))
    }

    /// What stands before and behind the only `%s`.
    pub fn around(format: &str) -> Option<(&str, &str)> {
        format.split_once("%s").filter(|(before, after)| !before.contains('%') && !after.contains('%'))
    }
}
