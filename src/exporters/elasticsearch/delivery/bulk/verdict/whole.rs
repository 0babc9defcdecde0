//! The slow way to read a bulk answer: any JSON, whatever its spelling. Elements are judged one by one, so that nothing is
//! kept of them but what the judge makes, and no more of them are read than documents were sent.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::exporters::elasticsearch::delivery::bulk::verdict::element::{DocumentAnswer, Element, Judged, Unusable};

/// An error where the answer is no JSON to its very end, has no list `items`, has two, or names more than `wanted`.
pub fn read<'a, T>(
    body: &'a [u8],
    wanted: usize,
    judged: &impl Fn(usize, DocumentAnswer<'a>) -> Option<T>,
) -> Result<Judged<T>, Unusable> {
    let mut read = (0, Vec::new());
    let mut json = serde_json::Deserializer::from_slice(body);
    let answer = Answer(Items { wanted, judged, read: &mut read });
    answer.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| Unusable(error.to_string()))?;
    Ok(read)
}

/// The list's elements go to `read` as the judge sees them.
struct Items<'r, J, T> {
    wanted: usize,
    judged: &'r J,
    read: &'r mut Judged<T>,
}

/// The object around the list.
struct Answer<'r, J, T>(Items<'r, J, T>);

impl<'a, J: Fn(usize, DocumentAnswer<'a>) -> Option<T>, T> DeserializeSeed<'a> for Answer<'_, J, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a, J: Fn(usize, DocumentAnswer<'a>) -> Option<T>, T> Visitor<'a> for Answer<'_, J, T> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a bulk answer")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut fields: M) -> Result<(), M::Error> {
        let mut items = Some(self.0);
        while let Some(key) = fields.next_key::<std::borrow::Cow<'a, str>>()? {
            match (key == "items", items.take()) {
                (true, Some(list)) => fields.next_value_seed(list)?,
                (true, None) => return Err(M::Error::duplicate_field("items")),
                (false, still) => {
                    items = still;
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        if items.is_some() {
            return Err(M::Error::missing_field("items"));
        }
        Ok(())
    }
}

impl<'a, J: Fn(usize, DocumentAnswer<'a>) -> Option<T>, T> DeserializeSeed<'a> for Items<'_, J, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'a, J: Fn(usize, DocumentAnswer<'a>) -> Option<T>, T> Visitor<'a> for Items<'_, J, T> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of documents")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut elements: S) -> Result<(), S::Error> {
        let (found, answers) = self.read;
        while let Some(element) = elements.next_element::<Element<'a>>()? {
            if *found == self.wanted {
                return Err(S::Error::custom(format_args!("it names more than {} documents", self.wanted)));
            }
            let made = (self.judged)(*found, element.said());
            answers.extend(made.map(|made| (*found, made))); // granted: `BulkProgress::pay_for`
            *found += 1;
        }
        Ok(())
    }
}
