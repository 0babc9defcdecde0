//! What a bulk answer means: for the request as a whole by its status, and for each document by its position.
//!
//! HTTP status 200 says nothing about documents; they come back in order, so position identifies them. Pure: reads bytes,
//! knows no document but its place. An answer that cannot be read, or that speaks of another number of documents, decides
//! nothing: whether they were indexed is unknown then.

mod element;
mod whole;

use serde::Deserialize;

use crate::exporters::elasticsearch::delivery::bulk::verdict::element::{Cause, Element, Judged, Typed, cut};

pub use crate::exporters::elasticsearch::delivery::bulk::verdict::element::{
    DocumentAnswer, KIND_BYTES_MAX, REASON_BYTES_MAX, Unusable,
};

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

/// What `judged` makes of the answers to `wanted` documents, by position; those it makes nothing of are left out. An error
/// when the answer is no whole JSON or does not speak of exactly as many.
///
/// `judged` may see an answer twice: what the quick way cannot read to the very end is read again as JSON from its
/// beginning.
pub fn read<'a, T>(
    body: &'a [u8],
    wanted: usize,
    judged: impl Fn(usize, DocumentAnswer<'a>) -> Option<T>,
) -> Result<Vec<(usize, T)>, Unusable> {
    let (found, answers) = match quick(body, wanted, &judged) {
        Some(read) => read,
        None => whole::read(body, wanted, &judged)?,
    };
    if found != wanted {
        return Err(Unusable(format!("it names {found} documents, and {wanted} were sent")));
    }
    Ok(answers)
}

/// Most documents of a request are answered in the same bytes. An element that repeats the one before it says the same,
/// so comparing is all the reading it needs. `None` where the answer is spelled in another way than Elasticsearch does,
/// or is no JSON.
fn quick<'a, T>(
    body: &'a [u8],
    wanted: usize,
    judged: &impl Fn(usize, DocumentAnswer<'a>) -> Option<T>,
) -> Option<Judged<T>> {
    let mut rest = elements(body)?;
    let (mut last, mut said) = (&b""[..], DocumentAnswer::default());
    let mut answers = Vec::new();
    let mut found = 0;
    loop {
        if let Some(tail) = rest.strip_prefix(b"]") {
            let end = tail.strip_prefix(b"}")?;
            return end.iter().all(|byte| b" \t\r\n".contains(byte)).then_some((found, answers));
        }
        if found > 0 {
            rest = rest.strip_prefix(b",")?;
        }
        if found == wanted {
            return None;
        }
        if !last.is_empty() && rest.starts_with(last) {
            rest = &rest[last.len()..];
        } else {
            let mut elements = serde_json::Deserializer::from_slice(rest).into_iter::<Element<'a>>();
            let element = elements.next()?.ok()?;
            (last, rest) = rest.split_at(elements.byte_offset());
            said = element.said();
        }
        answers.extend(judged(found, said.clone()).map(|made| (found, made))); // granted: `BulkProgress::pay_for`
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
        let field = PLAIN.iter().find_map(|key| rest.strip_prefix(*key))?;
        let length = field.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
        let (value, behind) = field.split_at(length);
        let is_number = value.iter().all(u8::is_ascii_digit) && (value == b"0" || !value.starts_with(b"0"));
        if value.is_empty() || !(is_number || value == b"true" || value == b"false") {
            return None;
        }
        rest = behind.strip_prefix(b",")?;
    }
}

/// Type and reason of an error that answers a whole request, as far as they can be read and are of use.
pub fn request_error(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(borrow)]
        error: Cause<'a>,
    }
    match serde_json::from_slice::<Refusal<'_>>(body) {
        Ok(Refusal { error: Cause::Typed(Typed { kind, reason }) }) => {
            (cut(kind, KIND_BYTES_MAX).into_owned(), cut(reason, REASON_BYTES_MAX).into_owned())
        }
        Ok(Refusal { error: Cause::Text(text) }) => (String::new(), cut(text, REASON_BYTES_MAX).into_owned()),
        Err(_) => (String::new(), String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()),
    }
}

#[cfg(test)]
mod tests;
