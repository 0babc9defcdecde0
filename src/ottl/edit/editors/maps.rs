//! What editors make of the entries of a map. Each is bounded by what came in, because a long key may stand above many
//! entries and a long text in place of many short ones.

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};

use crate::core::limits::DEPTH_MAX;
use crate::otlp::fields::common::any_value;
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::walk::AnyValue;
use crate::otlp::write;
use crate::ottl::edit::encode::{MapItem, put_value, raw_entries};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, OttlValue};

/// Bytes that may be made of these entries.
fn made_max(map: &[MapItem<'_>]) -> usize {
    let bytes: usize = map.iter().map(|entry| entry.key.len() + entry.value.len()).sum();
    bytes.saturating_mul(MADE_PER_BYTE).saturating_add(MADE_FREE).min(MADE_MAX)
}

/// Keeps the priority keys and as many of the others, the first ones, as there is room for.
pub fn limit(map: &mut Vec<MapItem<'_>>, most: usize, keys: &[String]) {
    if map.len() <= most {
        return;
    }
    let first = |entry: &MapItem<'_>| keys.iter().any(|key| *key.as_bytes() == *entry.key);
    let mut room = most.saturating_sub(map.iter().filter(|entry| first(entry)).count());
    map.retain(|entry| {
        let kept = first(entry) || room > 0;
        room -= usize::from(kept && !first(entry));
        kept
    });
}

/// Texts of more bytes are cut and marked.
pub fn truncate<'a>(mut map: Vec<MapItem<'a>>, most: usize, whole: bool, marker: &str) -> Option<Vec<MapItem<'a>>> {
    let mut changed = false;
    for entry in &mut map {
        let AnyValue::Str(text) = entry.any() else { continue };
        if text.len() <= most {
            continue;
        }
        let end = most.saturating_sub(marker.len());
        // A character is at most four bytes, of which the later ones begin with 10.
        let begins = |end: &usize| text[*end] & 0xc0 != 0x80;
        let end = if whole { (end.saturating_sub(3)..=end).rev().find(begins).unwrap_or(end) } else { end };
        let mut cut = String::from_utf8_lossy(&text[..end]).into_owned();
        cut.push_str(marker);
        let mut value = Vec::with_capacity(cut.len() + 4);
        write::bytes(&mut value, any_value::STRING_VALUE, cut.as_bytes());
        entry.set_value(value);
        changed = true;
    }
    changed.then_some(map)
}

/// Values that are no texts become texts.
pub fn stringify(mut map: Vec<MapItem<'_>>) -> Result<Option<Vec<MapItem<'_>>>, EvalFailure> {
    let mut changed = false;
    for entry in &mut map {
        let value = OttlValue::of(entry.any());
        if matches!(value, OttlValue::Text(_)) {
            continue;
        }
        let text = value.to_plain_text()?.into_owned();
        let mut value = Vec::with_capacity(text.len() + 4);
        write::bytes(&mut value, any_value::STRING_VALUE, text.as_bytes());
        entry.set_value(value);
        changed = true;
    }
    Ok(changed.then_some(map))
}

/// Later entries of a key win, at the place of the first.
fn unique(map: Vec<MapItem<'_>>) -> Vec<MapItem<'_>> {
    let mut kept: Vec<MapItem<'_>> = Vec::with_capacity(map.len());
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

/// Entries of nested maps and lists under dotted names, `depth` levels of them.
pub fn flatten<'a>(
    map: &[MapItem<'a>],
    prefix: &str,
    depth: usize,
    resolve: bool,
) -> Result<Vec<MapItem<'a>>, EvalFailure> {
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
    let numbers = resolve.then(HashMap::default);
    let mut flat = Flat { entries: Vec::new(), left: made_max(map), depth: depth.min(DEPTH_MAX), numbers };
    for entry in map {
        let key = format!("{prefix}{}", String::from_utf8_lossy(&entry.key));
        flat.spread(key, &entry.value, 0)?;
    }
    Ok(unique(flat.entries))
}

struct Flat<'a> {
    entries: Vec<MapItem<'a>>,
    /// Bytes of keys and values that may still be made.
    left: usize,
    depth: usize,
    /// How often each key was there, where keys that come twice are numbered.
    numbers: Option<HashMap<String, usize, RandomState>>,
}

impl Flat<'_> {
    fn spread(&mut self, key: String, value: &[u8], level: usize) -> Result<(), EvalFailure> {
        // Made for every map and list too, empty ones included.
        self.left = self.left.checked_sub(key.len()).ok_or(TOO_LARGE)?;
        match AnyValue::read(value) {
            Ok(AnyValue::KvList(map)) if level < self.depth => self.spread_map(&key, map, level + 1),
            Ok(AnyValue::Array(list)) if level < self.depth => {
                for (at, element) in raw_entries(list, VALUES).enumerate() {
                    let under = format!("{key}.{at}");
                    self.left = self.left.checked_sub(under.len()).ok_or(TOO_LARGE)?;
                    match AnyValue::read(element) {
                        Ok(AnyValue::KvList(map)) if level + 1 < self.depth => {
                            self.spread_map(&under, map, level + 2)?
                        }
                        // Without a dot: so it is in the Collector.
                        Ok(AnyValue::Array(list)) if level + 1 < self.depth => {
                            let mut elements = raw_entries(list, VALUES).enumerate();
                            elements.try_for_each(|(at, one)| self.spread(format!("{under}{at}"), one, level + 3))?;
                        }
                        _ if self.numbers.is_some() => self.put(key.clone(), element)?,
                        _ => self.put(under, element)?,
                    }
                }
                Ok(())
            }
            _ => self.put(key, value),
        }
    }

    fn spread_map(&mut self, key: &str, map: &[u8], level: usize) -> Result<(), EvalFailure> {
        raw_entries(map, VALUES).map(MapItem::read).try_for_each(|entry| {
            let key = format!("{key}.{}", String::from_utf8_lossy(&entry.key));
            self.spread(key, &entry.value, level)
        })
    }

    fn put(&mut self, key: String, value: &[u8]) -> Result<(), EvalFailure> {
        if self.entries.len() == ELEMENTS_MAX {
            return Err(TOO_LARGE);
        }
        let key = match &mut self.numbers {
            None => key,
            Some(numbers) => match numbers.get_mut(&key) {
                Some(number) => {
                    *number += 1;
                    format!("{key}.{}", *number - 1)
                }
                None => {
                    numbers.insert(key.clone(), 0);
                    key
                }
            },
        };
        self.left = self.left.checked_sub(value.len()).ok_or(TOO_LARGE)?;
        self.entries.push(MapItem::new(key.into_bytes(), value.to_vec()));
        Ok(())
    }
}

pub fn merge<'a>(map: &mut Vec<MapItem<'a>>, source: Vec<MapItem<'a>>, how: Merge) {
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
pub fn each_text<'a>(
    mut map: Vec<MapItem<'a>>,
    mut change: impl FnMut(&str) -> Result<Option<String>, EvalFailure>,
) -> Result<Option<Vec<MapItem<'a>>>, EvalFailure> {
    let (mut changed, mut bytes, most) = (false, 0, made_max(&map));
    for entry in &mut map {
        let AnyValue::Str(old) = entry.any() else { continue };
        let Some(new) = change(&String::from_utf8_lossy(old))? else { continue };
        bytes += new.len();
        if bytes > most {
            return Err(TOO_LARGE);
        }
        let mut value = Vec::with_capacity(new.len() + 4);
        put_value(&mut value, &OttlValue::Text(Cow::Owned(new)))?;
        entry.set_value(value);
        changed = true;
    }
    Ok(changed.then_some(map))
}

/// Changes keys; `None` when none changed. Where two become one, the later wins.
pub fn each_key<'a>(
    mut map: Vec<MapItem<'a>>,
    mut change: impl FnMut(&str) -> Result<Option<String>, EvalFailure>,
) -> Result<Option<Vec<MapItem<'a>>>, EvalFailure> {
    let (mut changed, mut bytes, most) = (false, 0, made_max(&map));
    for entry in &mut map {
        let Some(new) = change(&String::from_utf8_lossy(&entry.key))? else { continue };
        bytes += new.len();
        if bytes > most {
            return Err(TOO_LARGE);
        }
        entry.set_key(new.into_bytes());
        changed = true;
    }
    Ok(changed.then(|| unique(map)))
}

/// Bytes that one statement may make of a map, in any case, of each of its bytes, and for nothing. A long key above many
/// entries is in each of theirs, and a long text may stand in for many short ones: without a bound by what came in, a
/// request of small items made of them would be multiplied a thousandfold.
pub(super) const MADE_MAX: usize = 16 << 20;

pub(super) const MADE_PER_BYTE: usize = 32;

pub(super) const MADE_FREE: usize = 64 << 10;

pub(super) const TOO_LARGE: EvalFailure = EvalFailure("the map would become too large");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Insert,
    Update,
    Upsert,
}
