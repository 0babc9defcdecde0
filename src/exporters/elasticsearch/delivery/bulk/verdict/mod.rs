//! What a bulk answer means: for the request as a whole by its status, and for each document by its position.
//!
//! HTTP status 200 says nothing about documents; they come back in order, so position identifies them. Pure: reads bytes,
//! knows no document but its place. An answer that cannot be read, or that speaks of another number of documents, decides
//! nothing: whether they were indexed is unknown then.

use std::borrow::Cow;

use serde::Deserialize;

/// What becomes of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentVerdict {
    Indexed,
    /// Elasticsearch took the document aside because its stream refused it.
    FailureStore,
    /// A document of this id is there: an earlier attempt was indexed after all.
    Present,
    /// Passing: the same document may be taken later.
    Later,
    /// The index is closed to us or to writes; nothing about the document will change that.
    Blocked,
    Never,
    /// Another document has the same dimensions and time, or an id that is not ours to repeat.
    Conflict,
}

impl DocumentVerdict {
    /// The index is closed; it says nothing about the document.
    pub fn is_closed(self) -> bool {
        self == DocumentVerdict::Blocked
    }
}

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

/// Statuses that are worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryableStatuses(Vec<u16>);

impl RetryableStatuses {
    pub fn new(statuses: Vec<u16>) -> RetryableStatuses {
        RetryableStatuses(statuses)
    }

    pub fn has(&self, status: u16) -> bool {
        self.0.contains(&status)
    }
}

impl Default for RetryableStatuses {
    /// Overload and passing absence. The Collector's default is 429 alone, because its repeats make duplicates; ours
    /// carry the same ids.
    fn default() -> RetryableStatuses {
        RetryableStatuses(vec![429, 502, 503, 504])
    }
}

/// Errors of an index that is closed for everybody, or that nobody has set up yet (a template is missing, or indices may
/// not be made by writing to them), whatever their status.
const BLOCKS: [&str; 4] =
    ["cluster_block_exception", "security_exception", "index_closed_exception", "index_not_found_exception"];

/// The verdict on one document. `repeats`: what is there under its identity may be itself, because its action line
/// carries an id of its own or because an earlier attempt's outcome is not known.
pub fn judge(said: &DocumentAnswer<'_>, repeats: bool, retry: &RetryableStatuses) -> DocumentVerdict {
    match said.status {
        200..=299 if said.error.is_empty() && said.failure_store => DocumentVerdict::FailureStore,
        200..=299 if said.error.is_empty() => DocumentVerdict::Indexed,
        _ if BLOCKS.contains(&said.error.as_ref()) => DocumentVerdict::Blocked,
        401 | 403 => DocumentVerdict::Blocked,
        409 if repeats => DocumentVerdict::Present,
        409 => DocumentVerdict::Conflict,
        status if retry.has(status) => DocumentVerdict::Later,
        _ => DocumentVerdict::Never,
    }
}

/// What the status of the whole answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkClass {
    /// Each document has its own verdict.
    Answered,
    Later,
    /// Not in the list of statuses to repeat, and nothing a smaller request would change.
    GiveUp,
    /// Smaller requests may pass.
    TooLarge,
    /// Some line in it makes the whole request unreadable.
    Faulty,
    /// Credentials, path or proxy: nothing passes until somebody changes something.
    Hold,
}

pub fn class(status: u16, retry: &RetryableStatuses) -> BulkClass {
    match status {
        200..=299 => BulkClass::Answered,
        status if retry.has(status) => BulkClass::Later,
        413 => BulkClass::TooLarge,
        400 | 422 => BulkClass::Faulty,
        429 | 500..=599 => BulkClass::GiveUp,
        _ => BulkClass::Hold,
    }
}

/// The answer decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bulk answer cannot be used: {0}")]
pub struct Unusable(pub String);

/// Calls `visit` with what was said of each of `wanted` documents, in order; an error when the answer does not speak of
/// exactly as many. Nothing has been visited for good before it returns `Ok`.
///
/// Most documents of a request are answered in the same bytes. An element that repeats the one before it says the same,
/// so comparing is all the reading it needs.
pub fn read<'a>(
    body: &'a [u8],
    wanted: usize,
    mut visit: impl FnMut(usize, DocumentAnswer<'a>),
) -> Result<(), Unusable> {
    let Some(mut rest) = elements(body) else {
        let answer: Answer<'a> = serde_json::from_slice(body).map_err(|error| Unusable(error.to_string()))?;
        let found = answer.items.len();
        answer.items.into_iter().enumerate().for_each(|(at, element)| visit(at, element.said()));
        return counted(found, wanted);
    };
    let (mut last, mut said) = (&b""[..], DocumentAnswer::default());
    let mut found = 0;
    loop {
        rest = rest.strip_prefix(b",").unwrap_or(rest);
        if rest.first() == Some(&b']') {
            return counted(found, wanted);
        }
        if found == wanted {
            return Err(Unusable(format!("it names more than {wanted} documents")));
        }
        if !last.is_empty() && rest.starts_with(last) {
            rest = &rest[last.len()..];
        } else {
            let mut elements = serde_json::Deserializer::from_slice(rest).into_iter::<Element<'a>>();
            let element = elements.next().ok_or_else(|| Unusable("it ends early".to_owned()))?;
            let element = element.map_err(|error| Unusable(error.to_string()))?;
            (last, rest) = rest.split_at(elements.byte_offset());
            said = element.said();
        }
        visit(found, said.clone());
        found += 1;
    }
}

/// What stands behind `"items":[`, where nothing but the plain fields that Elasticsearch writes stands before it.
fn elements(body: &[u8]) -> Option<&[u8]> {
    const PLAIN: [&[u8]; 3] = [b"\"took\":", b"\"ingest_took\":", b"\"errors\":"];
    let mut rest = body.strip_prefix(b"{")?;
    loop {
        if let Some(elements) = rest.strip_prefix(b"\"items\":[") {
            return Some(elements);
        }
        let value = PLAIN.iter().find_map(|key| rest.strip_prefix(*key))?;
        let length = value.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        rest = value[length..].strip_prefix(b",")?;
    }
}

fn counted(found: usize, wanted: usize) -> Result<(), Unusable> {
    if found == wanted {
        return Ok(());
    }
    Err(Unusable(format!("it names {found} documents, and {wanted} were sent")))
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    items: Vec<Element<'a>>,
}

/// `{"create": {...}}`; other operations are never sent, but replayed files may hold them.
#[derive(Deserialize)]
struct Element<'a> {
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

#[derive(Deserialize)]
#[serde(untagged)]
enum Cause<'a> {
    Typed {
        #[serde(borrow, default, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        reason: Cow<'a, str>,
    },
    /// Some proxies and old versions say it in one text.
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl<'a> Element<'a> {
    fn said(self) -> DocumentAnswer<'a> {
        let Outcome { status, failure_store, error } = self.create;
        let failure_store = failure_store.is_some_and(|word| word == "used");
        let (error, reason) = match error {
            None => (Cow::default(), Cow::default()),
            Some(Cause::Typed { kind, reason }) if kind.is_empty() => (Cow::Borrowed("unknown"), reason),
            Some(Cause::Typed { kind, reason }) => (kind, reason),
            Some(Cause::Text(text)) => (Cow::Borrowed("unknown"), text),
        };
        DocumentAnswer { status, failure_store, error, reason }
    }
}

/// Type and reason of an error that answers a whole request, as far as they can be read.
pub fn request_error(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        error: Cause<'a>,
    }
    match serde_json::from_slice::<Refusal<'_>>(body) {
        Ok(Refusal { error: Cause::Typed { kind, reason } }) => (kind.into_owned(), reason.into_owned()),
        Ok(Refusal { error: Cause::Text(text) }) => (String::new(), text.into_owned()),
        Err(_) => (String::new(), String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()),
    }
}

#[cfg(test)]
mod tests;
