//! One document's element of a bulk answer: its shape in JSON, and what is kept of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Of a reason so much is kept: it names the field and the value that were refused. Longer ones quote the document.
pub const REASON_BYTES_MAX: usize = 512;
/// Elasticsearch's longest type of an error is 49 bytes long.
pub const KIND_BYTES_MAX: usize = 64;

/// What Elasticsearch said of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentAnswer<'a> {
    pub status: u16,
    pub failure_store: bool,
    /// Empty when there was no error.
    pub error: Cow<'a, str>,
    /// May quote the document: user data.
    pub reason: Cow<'a, str>,
}

/// The answer decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bulk answer cannot be used: {0}")]
pub struct Unusable(pub String);

/// How many documents an answer names, with what was made of them.
pub type Judged<T> = (usize, Vec<(usize, T)>);

/// `{"create": {...}}`; other operations are never sent, but replayed files may hold them.
#[derive(Deserialize)]
pub struct Element<'a> {
    #[serde(borrow, alias = "index", alias = "update", alias = "delete")]
    create: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(default)]
    status: u16,
    #[serde(borrow, default)]
    failure_store: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Option<Cause<'a>>,
}

/// An error as Elasticsearch says it. What else an error object holds, causes and traces among it, is passed over unread: it
/// may be as large as the answer, and a tree of it many times larger.
pub enum Cause<'a> {
    Typed(Typed<'a>),
    /// Some proxies and old versions say it in one text.
    Text(Cow<'a, str>),
}

#[derive(Deserialize)]
pub struct Typed<'a> {
    #[serde(borrow, default, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Cause<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Cause<'a>, D::Error> {
        json.deserialize_any(CauseVisitor)
    }
}

struct CauseVisitor;

impl<'de> Visitor<'de> for CauseVisitor {
    type Value = Cause<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an error object or its text")
    }

    fn visit_map<M: MapAccess<'de>>(self, fields: M) -> Result<Cause<'de>, M::Error> {
        Typed::deserialize(MapAccessDeserializer::new(fields)).map(Cause::Typed)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cause<'de>, E> {
        Ok(Cause::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cause<'de>, E> {
        // A text with escapes: no more of it is copied than is kept.
        Ok(Cause::Text(Cow::Owned(text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned()))) // granted: `BulkProgress::pay_for`
    }
}

impl<'a> Element<'a> {
    pub fn said(self) -> DocumentAnswer<'a> {
        let Outcome { status, failure_store, error } = self.create;
        let failure_store = failure_store.is_some_and(|word| word == "used");
        let (error, reason) = match error {
            None => (Cow::default(), Cow::default()),
            Some(Cause::Typed(Typed { kind, reason })) if kind.is_empty() => (Cow::Borrowed("unknown"), reason),
            Some(Cause::Typed(Typed { kind, reason })) => (kind, reason),
            Some(Cause::Text(text)) => (Cow::Borrowed("unknown"), text),
        };
        DocumentAnswer {
            status,
            failure_store,
            error: cut(error, KIND_BYTES_MAX),
            reason: cut(reason, REASON_BYTES_MAX),
        }
    }
}

/// The first bytes of a text that was written elsewhere; at most `max`.
pub fn cut(text: Cow<'_, str>, max: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(max);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(text) if text.len() == end => Cow::Owned(text),
        // A copy: the whole text's memory goes.
        Cow::Owned(text) => Cow::Owned(text[..end].to_owned()), // granted: `BulkProgress::pay_for`
    }
}
