//! Documents on their way: the lines they are sent as, shared by every attempt, and which of them are still open.
//!
//! A line is written once; requests are made of slices of it, however often documents are repeated, halved or searched.

use std::ops::Range;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::data::settlement::Share;
use crate::exporters::elasticsearch::delivery::bulk::loss::LossCause;

/// One document that is still open.
#[derive(Debug)]
pub struct OpenDocument {
    /// Action line and document line within the lines of its load.
    pub range: Range<usize>,
    /// Items that end with it: 0 for an event of a span.
    pub items: u32,
    pub own_id: bool,
    pub signal: Signal,
    /// An attempt was sent whose outcome is not known: a conflict may be that attempt, indexed after all.
    pub in_doubt: bool,
    /// Answers for its items; whoever ends the document ends it.
    pub share: Share,
}

/// Documents that go out as one request.
#[derive(Debug, Default)]
pub struct Batch {
    pub documents: Vec<OpenDocument>,
    /// Attempts made so far.
    pub attempts: u32,
    pub not_before: Option<Instant>,
    /// How often in a row it found its index closed and the set of blocked documents full.
    pub held: u32,
    /// Why the last attempt did not end it.
    pub last: Option<LossCause>,
}

impl Batch {
    /// The outcome of an attempt is not known.
    pub fn doubt(&mut self) {
        self.documents.iter_mut().for_each(|document| document.in_doubt = true);
    }

    pub fn new(documents: Vec<OpenDocument>) -> Batch {
        Batch { documents, attempts: 0, not_before: None, held: 0, last: None }
    }

    /// True when nobody waits any more for the answer of any of its requests.
    pub fn is_abandoned(&self) -> bool {
        let mut counted = self.documents.iter().filter(|document| document.items > 0).peekable();
        counted.peek().is_some() && counted.all(|document| document.share.is_abandoned())
    }

    pub fn bytes(&self) -> usize {
        self.documents.iter().map(|document| document.range.len()).sum()
    }

    /// The request's body: neighbours are one slice.
    pub fn parts(&self, lines: &Bytes) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let mut run: Option<Range<usize>> = None;
        for document in &self.documents {
            match &mut run {
                Some(open) if open.end == document.range.start => open.end = document.range.end,
                _ => {
                    parts.extend(run.take().map(|done| lines.slice(done)));
                    run = Some(document.range.clone());
                }
            }
        }
        parts.extend(run.map(|done| lines.slice(done)));
        parts
    }

    /// Two halves by documents, the first not smaller; `None` when there is only one document.
    pub fn halve(mut self) -> Option<(Batch, Batch)> {
        if self.documents.len() < 2 {
            return None;
        }
        let second = self.documents.split_off(self.documents.len().div_ceil(2));
        let second = Batch {
            documents: second,
            attempts: self.attempts,
            not_before: None,
            held: self.held,
            last: self.last.clone(),
        };
        self.not_before = None;
        Some((self, second))
    }
}

/// Batches of at most `max` bytes; a larger document is a batch of its own.
pub fn cut(mut documents: Vec<OpenDocument>, max: usize) -> Vec<Batch> {
    let (mut starts, mut bytes) = (Vec::new(), 0);
    for (at, document) in documents.iter().enumerate() {
        if at == 0 || bytes + document.range.len() > max {
            starts.push(at);
            bytes = 0;
        }
        bytes += document.range.len();
    }
    // From the end, so that each document is moved once at most.
    let mut batches: Vec<Batch> = starts.iter().rev().map(|at| Batch::new(documents.split_off(*at))).collect();
    batches.reverse();
    batches
}

/// Action line and document line of a document, each without its line feed.
pub fn lines_of(both: &[u8]) -> (&[u8], &[u8]) {
    let end = both.iter().position(|byte| *byte == b'\n').unwrap_or(both.len());
    let (action, rest) = both.split_at(end);
    (action, rest.trim_ascii())
}

/// The index that an action line names.
pub fn index_of(action: &[u8]) -> String {
    const KEY: &[u8] = b"\"_index\":";
    let Some(at) = action.windows(KEY.len()).position(|window| window == KEY) else { return String::new() };
    let mut value = serde_json::Deserializer::from_slice(&action[at + KEY.len()..]).into_iter::<String>();
    value.next().and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(sizes: &[usize]) -> Vec<OpenDocument> {
        let mut start = 0;
        let document = |size: &usize| {
            start += size;
            OpenDocument {
                range: start - size..start,
                items: 1,
                own_id: true,
                signal: Signal::Traces,
                in_doubt: false,
                share: Share::none(),
            }
        };
        sizes.iter().map(document).collect()
    }

    #[test]
    fn batches_stay_below_the_limit_and_a_larger_document_goes_alone() {
        let sizes = |max| -> Vec<Vec<usize>> {
            let batches = cut(documents(&[3, 4, 20, 1, 1]), max);
            batches.iter().map(|batch| batch.documents.iter().map(|document| document.range.len()).collect()).collect()
        };
        assert_eq!(sizes(10), [vec![3, 4], vec![20], vec![1, 1]]);
        assert_eq!(sizes(100), [vec![3, 4, 20, 1, 1]]);
        assert_eq!(sizes(0).len(), 5);
        assert!(cut(Vec::new(), 10).is_empty());
    }

    #[test]
    fn neighbours_are_one_slice_and_halves_cover_the_whole() {
        let lines = Bytes::from_static(b"aabbccdd");
        let mut batch = Batch::new(documents(&[2, 2, 2, 2]));
        batch.documents.remove(1);
        assert_eq!(batch.parts(&lines), [Bytes::from_static(b"aa"), Bytes::from_static(b"ccdd")]);
        let (first, second) = batch.halve().unwrap();
        assert_eq!((first.parts(&lines).concat(), second.parts(&lines).concat()), (b"aacc".to_vec(), b"dd".to_vec()));
        assert!(second.halve().is_none());
    }

    #[test]
    fn the_index_is_read_from_the_action_line() {
        for (action, index) in [
            (&br#"{"create":{"_index":"logs-a-b","require_data_stream":true}}"#[..], "logs-a-b"),
            (br#"{"create":{"_id":"x","_index":"a\"b"}}"#, "a\"b"),
            (br#"{"create":{}}"#, ""),
            (br#"{"create":{"_index":"#, ""),
        ] {
            assert_eq!(index_of(action), index);
        }
        assert_eq!(lines_of(b"{a}\n{b}\n"), (&b"{a}"[..], &b"{b}"[..]));
        assert_eq!(lines_of(b"{a}"), (&b"{a}"[..], &b""[..]));
    }
}
