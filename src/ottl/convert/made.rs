//! Values that converters make, within their bounds.

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};

use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// Texts that functions take or make are no longer than this: some make many values of one text.
pub const TEXT_MAX: usize = 1 << 20;

pub fn text_value<'a>(text: &str) -> OttlValue<'a> {
    OttlValue::Text(Cow::Owned(text.to_owned()))
}

/// Entries of a map that is made one by one.
pub type Pairs<'a> = Vec<(String, OttlValue<'a>)>;

/// Appends an entry whose value is a text.
pub fn put_text(pairs: &mut Pairs<'_>, key: &str, text: &str) {
    pairs.push((key.to_owned(), text_value(text)));
}

/// A map of these entries; of a key that comes twice the later one counts.
pub fn object<'a>(pairs: Vec<(String, OttlValue<'a>)>) -> Result<OttlValue<'a>, EvalFailure> {
    if pairs.len() > crate::ottl::value::ELEMENTS_MAX {
        return Err(EvalFailure("the map has too many entries"));
    }
    let mut kept: Vec<(Cow<'a, str>, OttlValue<'a>)> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<String, usize, RandomState> = HashMap::default();
    for (key, value) in pairs {
        match places.entry(key.clone()) {
            hash_map::Entry::Occupied(place) => kept[*place.get()].1 = value,
            hash_map::Entry::Vacant(free) => {
                free.insert(kept.len());
                kept.push((Cow::Owned(key), value));
            }
        }
    }
    Ok(OttlValue::Object(kept))
}
