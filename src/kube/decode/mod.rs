//! From the API server's JSON to slim pods and endpoints: lenient, object by object, allocating only what is kept.
//!
//! A watch line or list item that cannot be read costs that object alone, and the caller counts it; the resourceVersion
//! is rescued even then, so that the watch moves on. `managedFields` and everything else unused is skipped without
//! being stored. Knows nothing of requests, connections or time.

mod event;
mod objects;
mod raw;
mod slices;
mod split;
mod text;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::objects::{Meta, Related};
pub use self::slices::{EndpointSlice, ServiceEndpoint};
pub use self::split::{LineSplitter, ListEnd, ListSplitter, Piece};
pub use self::text::Interner;
pub use crate::kube::decode::event::{ApiStatus, DecodedPod, Event, Keep, KeepKey, Undecodable, WatchedObject};

/// Reads objects of one watch; strings that repeat between its objects are shared.
#[derive(Debug)]
pub struct Decoder {
    keep: Keep,
    strings: Interner,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: text::Text<'a>,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Decoder {
    pub fn new(keep: Keep) -> Decoder {
        Decoder { keep, strings: Interner::default() }
    }

    /// Reads one pod object, as in a list or from a single GET.
    pub fn pod(&mut self, json: &[u8]) -> Result<DecodedPod, Undecodable> {
        self.pod_text(&text_of(json))
    }

    fn pod_text(&mut self, json: &str) -> Result<DecodedPod, Undecodable> {
        let raw: raw::RawPod<'_> = serde_json::from_str(json)?;
        objects::pod(raw, &self.keep, &mut self.strings)
    }

    /// Reads identity, labels and annotations of any object (namespace, node, owner).
    pub fn related(&mut self, json: &[u8]) -> Result<Related, Undecodable> {
        let raw: raw::RawObject<'_> = serde_json::from_slice(json)?;
        objects::related(raw, &self.keep, &mut self.strings)
    }

    /// Reads one line of a watch of pods.
    pub fn line(&mut self, line: &[u8]) -> Result<Event, Undecodable> {
        watch_line(line, |json| self.pod_text(json))
    }
}

/// Reads one line of a watch whose objects `read` reads. Fails when it is not an event at all: then the stream cannot be
/// trusted.
fn watch_line<O: WatchedObject>(
    line: &[u8],
    read: impl FnOnce(&str) -> Result<O, Undecodable>,
) -> Result<Event<O>, Undecodable> {
    let text = text_of(line);
    let line: Line<'_> = serde_json::from_str(&text)?;
    let json = line.object.get();
    match line.kind.as_str() {
        "ADDED" | "MODIFIED" => Ok(match read(json) {
            Ok(seen) => Event::Applied(seen),
            Err(fault) => Event::Skipped { version: objects::version_of(json.as_bytes()), fault },
        }),
        "DELETED" => Ok(deleted(json, read)),
        "BOOKMARK" => objects::bookmark(json.as_bytes()),
        "ERROR" => Ok(Event::Error(api_status(json.as_bytes(), 500))),
        other => Err(Undecodable(format!("unknown event type of {} bytes", other.len()))),
    }
}

fn deleted<O: WatchedObject>(json: &str, read: impl FnOnce(&str) -> Result<O, Undecodable>) -> Event<O> {
    let fault = match read(json) {
        Ok(seen) => {
            let (uid, version) = (seen.uid().clone(), seen.version().to_owned());
            return Event::Deleted { uid, version, last: Some(seen.last()) };
        }
        Err(fault) => fault,
    };
    let json = json.as_bytes();
    match objects::identity_of(json) {
        Some((uid, version)) => Event::Deleted { uid: uid.into(), last: None, version },
        None => Event::Skipped { version: objects::version_of(json), fault },
    }
}

/// Reads one EndpointSlice, as in a list.
pub fn slice_item(json: &[u8]) -> Result<EndpointSlice, Undecodable> {
    slices::endpoint_slice(&text_of(json))
}

/// Reads one line of a watch of EndpointSlices.
pub fn slice_line(line: &[u8]) -> Result<Event<EndpointSlice>, Undecodable> {
    watch_line(line, slices::endpoint_slice)
}

/// What is no UTF-8 costs the texts it is in, not the stream: a version can be gone on from.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // The lossy reading is an order slower, also where nothing is lost.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Reads an error body. What is no Status keeps `code` and has an empty reason.
pub fn api_status(json: &[u8], code: u16) -> ApiStatus {
    objects::api_status(json, code)
}

#[cfg(test)]
mod tests;
