//! Editors: what changes a scene. Each reads the messages as they are, plans one edit and applies it; an edit that
//! changes nothing leaves the bytes alone. Names and meanings are the Collector's (contrib pkg/ottl/ottlfuncs).

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, hash_map};
use regex::Regex;

use crate::core::limits::DEPTH_MAX;
use crate::otlp::walk::{AnyValue, Fields};
use crate::otlp::write;
use crate::ottl::check::Node;
use crate::ottl::convert::{Converter, TEXT_MAX, text};
use crate::ottl::encode::{Entry, check_nesting, entries, put_value, raw_entries};
use crate::ottl::path::Path;
use crate::ottl::path::place::{Planned, all, set};
use crate::ottl::path::tables::Part;
use crate::ottl::value::{ELEMENTS_MAX, Value};
use crate::ottl::{Failure, Item, Scene, eval};

/// Bytes that one statement may make of a map.
const MADE_MAX: usize = 16 << 20;
const TOO_LARGE: Failure = Failure("the map would become too large");
const TOO_LONG: Failure = Failure("the text is too long");

#[derive(Debug)]
pub enum Editor {
    Set { target: Path, value: Node },
    Append { target: Path, value: Option<Node>, values: Option<Node> },
    ReplaceMatch { target: Path, pattern: Regex, replacement: Replacement },
    ReplacePattern { target: Path, pattern: Regex, replacement: Replacement },
    Map { target: Path, edit: MapEdit },
}

/// What may be done with the entries of a map.
#[derive(Debug)]
pub enum MapEdit {
    DeleteKey(Node),
    KeepKeys(Node),
    Matching {
        pattern: Regex,
        keep: bool,
    },
    Limit {
        most: usize,
        keys: Vec<String>,
    },
    /// Bytes that a text may have.
    Truncate(usize),
    Flatten {
        prefix: Option<Node>,
        depth: usize,
    },
    Merge {
        source: Node,
        how: Merge,
    },
    ReplaceMatches {
        pattern: Regex,
        replacement: Replacement,
    },
    ReplacePatterns {
        keys: bool,
        pattern: Regex,
        replacement: Replacement,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Insert,
    Update,
    Upsert,
}

/// What stands in for what was found.
#[derive(Debug)]
pub struct Replacement {
    pub text: Node,
    pub function: Option<Converter>,
    /// Before and behind the text.
    pub format: Option<(String, String)>,
}

impl Editor {
    pub fn run(&self, scene: &mut Scene<'_>) -> Result<(), Failure> {
        match self {
            Editor::Set { target, value } => set(scene, target, |item| target.plan(item, &eval::value(value, item)?)),
            Editor::Append { target, value, values } => set(scene, target, |item| {
                let mut list = match target.read(item)? {
                    Value::Nil => Vec::new(),
                    old if old.is_list() => old.elements().unwrap_or_default(),
                    old => vec![old],
                };
                for one in value.iter() {
                    match eval::value(one, item)? {
                        many if many.is_list() => list.extend(many.elements().unwrap_or_default()),
                        one => list.push(one),
                    }
                }
                for many in values.iter() {
                    list.extend(eval::value(many, item)?.elements().ok_or(Failure("expected a list of values"))?);
                }
                target.plan(item, &Value::List(list))
            }),
            Editor::ReplaceMatch { target, pattern, replacement } => set(scene, target, |item| {
                let Value::Text(old) = target.read(item)? else { return Ok(None) };
                if !pattern.is_match(&old) {
                    return Ok(None);
                }
                let new = replacement.whole(item)?;
                target.plan(item, &Value::Text(Cow::Owned(new)))
            }),
            Editor::ReplacePattern { target, pattern, replacement } => set(scene, target, |item| {
                let Value::Text(old) = target.read(item)? else { return Ok(None) };
                match replacement.within(item, pattern, &old)? {
                    Some(new) => target.plan(item, &Value::Text(Cow::Owned(new))),
                    None => Ok(None),
                }
            }),
            Editor::Map { target, edit } => {
                if let (MapEdit::DeleteKey(key), []) = (edit, &target.keys[..])
                    && let Some(done) = delete(scene, target, key)
                {
                    return done;
                }
                set(scene, target, |item| edit.plan(target, item))
            }
        }
    }
}

/// Cuts one attribute out; `None` where the target is no attributes of a message.
fn delete(scene: &mut Scene<'_>, target: &Path, key: &Node) -> Option<Result<(), Failure>> {
    let part = match target.part {
        Part::Point(part) => part.within(scene.points),
        part => Some(part),
    };
    let Some(Part::Attributes(number)) = part else { return None };
    let name = eval::value(key, &scene.view()).and_then(|key| text(&key).map(Cow::into_owned));
    // A key that comes several times goes as a whole.
    let is_it = |field: &[u8], name: &str| {
        let inside = Fields::new(field).next().and_then(Result::ok).and_then(|field| field.bytes().ok());
        inside.is_some_and(|raw| *Entry::read(raw).key == *name.as_bytes())
    };
    let cut = |scene: &mut Scene<'_>, name: String| {
        scene.draft(target.owner).remove(|found, field| found == number && is_it(field, &name))
    };
    Some(name.and_then(|name| cut(scene, name)))
}

impl MapEdit {
    /// The map with its new entries; `None` when they are the old ones.
    fn plan(&self, target: &Path, item: &Item<'_>) -> Result<Option<Planned>, Failure> {
        let old = target.read(item)?;
        if !old.is_map() {
            return Err(Failure("expected a map"));
        }
        let Some(new) = self.apply(entries(&old)?, item)? else { return Ok(None) };
        if let (Value::Map { message, number }, []) = (&old, &target.keys[..])
            && !matches!(target.part, Part::Any(_))
        {
            new.iter().try_for_each(|entry| check_nesting(&entry.value))?;
            let mut bytes = Vec::with_capacity(message.len());
            all(message, *number, &new, &mut bytes);
            return Ok(Some(Planned { range: 0..message.len(), bytes }));
        }
        let mut map = Vec::new();
        new.iter().for_each(|entry| entry.put(&mut map, 1));
        target.plan(item, &Value::Map { message: &map, number: 1 })
    }

    fn apply<'a>(&'a self, mut map: Vec<Entry<'a>>, item: &Item<'a>) -> Result<Option<Vec<Entry<'a>>>, Failure> {
        let before = map.len();
        match self {
            MapEdit::DeleteKey(key) => {
                let key = eval::value(key, item)?;
                let key = text(&key)?;
                map.retain(|entry| *entry.key != *key.as_bytes());
            }
            MapEdit::KeepKeys(keys) => {
                let keys = eval::value(keys, item)?.elements().ok_or(Failure("expected a list of keys"))?;
                let keys: HashSet<&[u8], RandomState> = keys.iter().filter_map(as_key).collect();
                map.retain(|entry| keys.contains(&*entry.key));
            }
            MapEdit::Matching { pattern, keep } => {
                map.retain(|entry| pattern.is_match(&String::from_utf8_lossy(&entry.key)) == *keep);
            }
            MapEdit::Limit { most, keys } => limit(&mut map, *most, keys),
            MapEdit::Truncate(most) => return Ok(truncate(map, *most)),
            MapEdit::Flatten { prefix, depth } => {
                let prefix = prefix.as_ref().map(|prefix| eval::value(prefix, item)).transpose()?;
                let prefix = prefix.as_ref().map(text).transpose()?.unwrap_or_default();
                return flatten(&map, &prefix, *depth).map(Some);
            }
            MapEdit::Merge { source, how } => {
                let source = entries(&eval::value(source, item)?)?;
                merge(&mut map, source, *how);
                return Ok(Some(map));
            }
            MapEdit::ReplaceMatches { pattern, replacement } => {
                let new = replacement.whole(item)?;
                let change = |old: &str| Ok(pattern.is_match(old).then(|| new.clone()));
                return each_text(map, change);
            }
            MapEdit::ReplacePatterns { keys: false, pattern, replacement } => {
                return each_text(map, |old| replacement.within(item, pattern, old));
            }
            MapEdit::ReplacePatterns { keys: true, pattern, replacement } => {
                return each_key(map, |old| replacement.within(item, pattern, old));
            }
        }
        Ok((map.len() != before).then_some(map))
    }
}

fn as_key<'v>(value: &'v Value<'_>) -> Option<&'v [u8]> {
    if let Value::Text(text) = value { Some(text.as_bytes()) } else { None }
}

/// Keeps the priority keys and as many of the others, the first ones, as there is room for.
fn limit(map: &mut Vec<Entry<'_>>, most: usize, keys: &[String]) {
    if map.len() <= most {
        return;
    }
    let first = |entry: &Entry<'_>| keys.iter().any(|key| *key.as_bytes() == *entry.key);
    let mut room = most.saturating_sub(map.iter().filter(|entry| first(entry)).count());
    map.retain(|entry| {
        let kept = first(entry) || room > 0;
        room -= usize::from(kept && !first(entry));
        kept
    });
}

/// Texts of more bytes are cut, between characters.
fn truncate(mut map: Vec<Entry<'_>>, most: usize) -> Option<Vec<Entry<'_>>> {
    let mut changed = false;
    for entry in &mut map {
        let AnyValue::Str(text) = entry.any() else { continue };
        if text.len() <= most {
            continue;
        }
        // A character is at most four bytes, of which the later ones begin with 10.
        let end = (most.saturating_sub(3)..=most).rev().find(|end| text[*end] & 0xc0 != 0x80).unwrap_or(most);
        let mut value = Vec::with_capacity(end + 4);
        write::bytes(&mut value, 1, &text[..end]);
        entry.set_value(value);
        changed = true;
    }
    changed.then_some(map)
}

/// Later entries of a key win, at the place of the first.
fn unique(map: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let mut kept: Vec<Entry<'_>> = Vec::with_capacity(map.len());
    let mut places: HashMap<Vec<u8>, usize, RandomState> = HashMap::default();
    for entry in map {
        match places.entry(entry.key.to_vec()) {
            hash_map::Entry::Occupied(place) => kept[*place.get()] = entry,
            hash_map::Entry::Vacant(free) => {
                free.insert(kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

/// Entries of nested maps under dotted names, `depth` levels of them, and of lists one level more.
fn flatten<'a>(map: &[Entry<'a>], prefix: &str, depth: usize) -> Result<Vec<Entry<'a>>, Failure> {
    if depth == 0 {
        return Ok(map.to_vec());
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
    let mut flat = Flat { entries: Vec::new(), bytes: 0, depth };
    for entry in map {
        let key = format!("{prefix}{}", String::from_utf8_lossy(&entry.key));
        flat.spread(key, &entry.value, 0)?;
    }
    Ok(unique(flat.entries))
}

struct Flat<'a> {
    entries: Vec<Entry<'a>>,
    /// Of all keys and values: a long key above many entries is in each of theirs.
    bytes: usize,
    depth: usize,
}

impl Flat<'_> {
    fn spread(&mut self, key: String, value: &[u8], level: usize) -> Result<(), Failure> {
        match AnyValue::read(value) {
            Ok(AnyValue::KvList(map)) if level < self.depth.min(DEPTH_MAX) => {
                raw_entries(map, 1).map(Entry::read).try_for_each(|entry| {
                    let key = format!("{key}.{}", String::from_utf8_lossy(&entry.key));
                    self.spread(key, &entry.value, level + 1)
                })
            }
            Ok(AnyValue::Array(list)) if level <= self.depth.min(DEPTH_MAX) => {
                let mut elements = raw_entries(list, 1).enumerate();
                elements.try_for_each(|(at, element)| self.spread(format!("{key}.{at}"), element, level + 1))
            }
            _ => {
                self.bytes += key.len() + value.len();
                if self.bytes > MADE_MAX || self.entries.len() == ELEMENTS_MAX {
                    return Err(TOO_LARGE);
                }
                self.entries.push(Entry::new(key.into_bytes(), value.to_vec()));
                Ok(())
            }
        }
    }
}

fn merge<'a>(map: &mut Vec<Entry<'a>>, source: Vec<Entry<'a>>, how: Merge) {
    let mut places: HashMap<Vec<u8>, usize, RandomState> = HashMap::default();
    for (at, entry) in map.iter().enumerate() {
        places.entry(entry.key.to_vec()).or_insert(at);
    }
    for entry in source {
        match places.get(&*entry.key) {
            Some(at) if how != Merge::Insert => map[*at].set_value(entry.value.into_owned()),
            None if how != Merge::Update => {
                places.insert(entry.key.to_vec(), map.len());
                map.push(entry);
            }
            _ => {}
        }
    }
}

/// Changes the values that are texts; `None` when none changed.
fn each_text<'a>(
    mut map: Vec<Entry<'a>>,
    mut change: impl FnMut(&str) -> Result<Option<String>, Failure>,
) -> Result<Option<Vec<Entry<'a>>>, Failure> {
    let (mut changed, mut bytes) = (false, 0);
    for entry in &mut map {
        let AnyValue::Str(old) = entry.any() else { continue };
        let Some(new) = change(&String::from_utf8_lossy(old))? else { continue };
        bytes += new.len();
        if bytes > MADE_MAX {
            return Err(TOO_LARGE);
        }
        let mut value = Vec::with_capacity(new.len() + 4);
        put_value(&mut value, &Value::Text(Cow::Owned(new)))?;
        entry.set_value(value);
        changed = true;
    }
    Ok(changed.then_some(map))
}

/// Changes keys; `None` when none changed. Where two become one, the later wins.
fn each_key<'a>(
    mut map: Vec<Entry<'a>>,
    mut change: impl FnMut(&str) -> Result<Option<String>, Failure>,
) -> Result<Option<Vec<Entry<'a>>>, Failure> {
    let (mut changed, mut bytes) = (false, 0);
    for entry in &mut map {
        let Some(new) = change(&String::from_utf8_lossy(&entry.key))? else { continue };
        bytes += new.len();
        if bytes > MADE_MAX {
            return Err(TOO_LARGE);
        }
        entry.set_key(new.into_bytes());
        changed = true;
    }
    Ok(changed.then(|| unique(map)))
}

impl Replacement {
    /// For a text that is replaced as a whole.
    fn whole(&self, item: &Item<'_>) -> Result<String, Failure> {
        let value = eval::value(&self.text, item)?;
        let text = text(&value)?.into_owned();
        self.finish(text)
    }

    /// The text with every match replaced; `None` when there is none.
    fn within(&self, item: &Item<'_>, pattern: &Regex, old: &str) -> Result<Option<String>, Failure> {
        let mut matches = pattern.captures_iter(old).peekable();
        if matches.peek().is_none() {
            return Ok(None);
        }
        let template = eval::value(&self.text, item)?;
        let template = text(&template)?;
        // Each reference stands for a part of the match, so this is known before it is made.
        let references = template.matches('$').count();
        let longest = old.len().saturating_add(TEXT_MAX);
        let (mut new, mut from) = (String::with_capacity(old.len()), 0);
        for found in matches {
            let Some(whole) = found.get(0) else { continue };
            new.push_str(&old[from..whole.start()]);
            if references.saturating_mul(whole.len()).saturating_add(template.len() + new.len()) > longest {
                return Err(TOO_LONG);
            }
            let mut expanded = String::new();
            found.expand(&template, &mut expanded);
            new.push_str(&self.finish(expanded)?);
            from = whole.end();
        }
        new.push_str(&old[from..]);
        Ok(Some(new))
    }

    fn finish(&self, made: String) -> Result<String, Failure> {
        let made = match self.function {
            None => made,
            Some(function) => text(&function.apply(vec![Value::Text(Cow::Owned(made))])?)?.into_owned(),
        };
        match &self.format {
            Some((before, after)) => Ok(format!("{before}{made}{after}")),
            None => Ok(made),
        }
    }
}
