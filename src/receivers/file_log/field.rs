//! Fields of an entry as configurations name them: `body`, `body.a.b`, `attributes["log.file.path"]`, `resource.x`.

use std::borrow::Cow;

use crate::receivers::file_log::entry::{EntryMap, EntryValue, FileEntry, find, merge, remove, set};

/// Steps of one path.
const STEPS_MAX: usize = 32;

/// The part of an entry that a field is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPart {
    Body,
    Attributes,
    Resource,
}

/// A field; without keys the whole part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryField {
    pub part: EntryPart,
    pub keys: Vec<String>,
}

impl EntryField {
    /// The error is a sentence.
    pub fn parse(text: &str) -> Result<EntryField, String> {
        let (part, rest) =
            [("body", EntryPart::Body), ("attributes", EntryPart::Attributes), ("resource", EntryPart::Resource)]
                .into_iter()
                .find_map(|(name, part)| Some((part, text.trim().strip_prefix(name)?)))
                .ok_or_else(|| format!("{text:?} does not begin with body, attributes or resource"))?;
        let keys = keys(rest).ok_or_else(|| format!("{text:?} is no field"))?;
        Ok(EntryField { part, keys })
    }

    /// `attributes.KEY`
    pub fn attribute(key: &str) -> EntryField {
        EntryField { part: EntryPart::Attributes, keys: vec![key.to_owned()] }
    }

    pub fn body() -> EntryField {
        EntryField { part: EntryPart::Body, keys: Vec::new() }
    }

    pub fn get<'e, 'l>(&self, entry: &'e FileEntry<'l>) -> Option<&'e EntryValue<'l>> {
        let (first, mut keys) = self.keys.split_first().map_or((None, [].as_slice()), |(a, b)| (Some(a), b));
        let mut value = match (self.part, first) {
            (EntryPart::Body, None) => &entry.body,
            (EntryPart::Body, Some(first)) => in_map(&entry.body, first)?,
            (EntryPart::Attributes, Some(first)) => find(&entry.attributes, first)?,
            (EntryPart::Resource, Some(first)) => find(&entry.resource, first)?,
            (EntryPart::Attributes | EntryPart::Resource, None) => return None,
        };
        while let Some((key, rest)) = keys.split_first() {
            value = in_map(value, key)?;
            keys = rest;
        }
        Some(value)
    }

    /// The map that the last key is looked for in.
    pub fn holder<'e, 'l>(&self, entry: &'e FileEntry<'l>) -> Option<&'e EntryMap<'l>> {
        let (_, before) = self.keys.split_last()?;
        let mut map = match self.part {
            EntryPart::Body => map_in(&entry.body)?,
            EntryPart::Attributes => &entry.attributes,
            EntryPart::Resource => &entry.resource,
        };
        for key in before {
            map = map_in(find(map, key)?)?;
        }
        Some(map)
    }

    /// Makes maps on the way; what stands in the way of one is replaced. A map is joined to the map that is there, as a
    /// Collector does it. A whole part but the body takes a map only.
    pub fn set<'l>(&self, entry: &mut FileEntry<'l>, value: EntryValue<'l>) -> Result<(), String> {
        let map = match (self.part, &value) {
            (EntryPart::Body, EntryValue::Map(_)) => as_map(&mut entry.body),
            (EntryPart::Body, _) if self.keys.is_empty() => {
                entry.body = value;
                return Ok(());
            }
            (EntryPart::Body, _) => as_map(&mut entry.body),
            (EntryPart::Attributes, _) => &mut entry.attributes,
            (EntryPart::Resource, _) => &mut entry.resource,
        };
        match (self.keys.split_last(), value) {
            (_, EntryValue::Map(more)) => merge(below(map, &self.keys), more),
            (Some((last, before)), value) => set(below(map, before), Cow::Owned(last.clone()), value),
            (None, _) => return Err("only a map can be all attributes".to_owned()),
        }
        Ok(())
    }

    pub fn take<'l>(&self, entry: &mut FileEntry<'l>) -> Option<EntryValue<'l>> {
        let (last, before) = match self.keys.split_last() {
            Some(split) => split,
            None => {
                return match self.part {
                    EntryPart::Body => Some(std::mem::replace(&mut entry.body, EntryValue::Nil)),
                    EntryPart::Attributes => Some(EntryValue::Map(std::mem::take(&mut entry.attributes))),
                    EntryPart::Resource => Some(EntryValue::Map(std::mem::take(&mut entry.resource))),
                };
            }
        };
        let mut map = match self.part {
            EntryPart::Body => map_of(&mut entry.body)?,
            EntryPart::Attributes => &mut entry.attributes,
            EntryPart::Resource => &mut entry.resource,
        };
        for key in before {
            let (_, value) = map.iter_mut().find(|(known, _)| known == key)?;
            map = map_of(value)?;
        }
        remove(map, last)
    }
}

fn in_map<'m, 'l>(value: &'m EntryValue<'l>, key: &str) -> Option<&'m EntryValue<'l>> {
    match value {
        EntryValue::Map(map) => find(map, key),
        _ => None,
    }
}

fn map_in<'m, 'l>(value: &'m EntryValue<'l>) -> Option<&'m EntryMap<'l>> {
    match value {
        EntryValue::Map(map) => Some(map),
        _ => None,
    }
}

fn map_of<'m, 'l>(value: &'m mut EntryValue<'l>) -> Option<&'m mut EntryMap<'l>> {
    match value {
        EntryValue::Map(map) => Some(map),
        _ => None,
    }
}

/// The map that a value is, or becomes.
fn as_map<'m, 'l>(value: &'m mut EntryValue<'l>) -> &'m mut EntryMap<'l> {
    if !matches!(value, EntryValue::Map(_)) {
        *value = EntryValue::Map(Vec::new());
    }
    match value {
        EntryValue::Map(map) => map,
        // It was made one above.
        _ => unreachable!("a map"),
    }
}

/// The map behind some keys; maps are made where there is none.
fn below<'m, 'l>(map: &'m mut EntryMap<'l>, keys: &[String]) -> &'m mut EntryMap<'l> {
    let Some((first, rest)) = keys.split_first() else { return map };
    let at = map.iter().position(|(known, _)| known == first).unwrap_or_else(|| {
        map.push((Cow::Owned(first.clone()), EntryValue::Map(Vec::new())));
        map.len() - 1
    });
    below(as_map(&mut map[at].1), rest)
}

/// `.a["b.c"].d` as keys.
fn keys(mut rest: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (key, after) = if let Some(dotted) = rest.strip_prefix('.') {
            let end = dotted.find(['.', '[']).unwrap_or(dotted.len());
            dotted.split_at(end)
        } else {
            let inner = rest.strip_prefix('[')?;
            let quote = inner.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (key, after) = inner.get(1..)?.split_once(quote)?;
            (key, after.strip_prefix(']')?)
        };
        if key.is_empty() || keys.len() == STEPS_MAX {
            return None;
        }
        keys.push(key.to_owned());
        rest = after;
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(number: i64) -> EntryValue<'static> {
        EntryValue::Int(number)
    }

    #[test]
    fn fields_are_read_set_and_taken_at_every_depth() {
        let mut entry = FileEntry::of(b"line");
        for (text, number) in [("attributes.a", 1), ("attributes[\"b.c\"].d", 2), ("resource['x']", 3), ("body.k", 4)] {
            let field = EntryField::parse(text).unwrap();
            field.set(&mut entry, int(number)).unwrap();
            assert_eq!(field.get(&entry), Some(&int(number)), "{text}");
        }
        assert_eq!(entry.attributes.len(), 2);
        let field = EntryField::parse("attributes[\"b.c\"].d").unwrap();
        assert_eq!(field.take(&mut entry), Some(int(2)));
        assert_eq!((field.take(&mut entry), field.get(&entry)), (None, None));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["", "log", "attributes[", "attributes[x]", "body..a", "attributes['a'"] {
            EntryField::parse(text).expect_err(text);
        }
        let deep = format!("body{}", ".a".repeat(1_000));
        EntryField::parse(&deep).expect_err("deep");
    }
}
