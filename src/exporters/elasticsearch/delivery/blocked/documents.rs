//! Documents whose index is closed to us for now, by index, within bytes: the rest flows past them.
//!
//! Pure: `now` is an argument. A lot is tried again after a wait that doubles; what does not fit is given back to be
//! buried. Documents are copied, so that one of them does not hold the lines of its whole payload.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::data::settlement::Share;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a document costs beside its lines.
const OVERHEAD_BYTES: usize = 128;
/// Lines tried at once: enough to empty a lot quickly, little to repeat while the index stays closed.
pub const TRY_BYTES: usize = 1 << 20;
/// Names of indices come from data: more than these at once are not worth their state.
const LOTS_MAX: usize = 1_000;

/// One document that waits, with its lines.
#[derive(Debug)]
pub struct BlockedDocument {
    pub lines: Box<[u8]>,
    pub items: u32,
    pub own_id: bool,
    pub in_doubt: bool,
    pub signal: Signal,
    /// What Elasticsearch said: status, type and reason.
    pub cause: (u16, String, String),
    pub share: Share,
}

impl BlockedDocument {
    fn bytes(&self) -> usize {
        self.lines.len() + self.cause.1.len() + self.cause.2.len() + OVERHEAD_BYTES
    }
}

#[derive(Debug)]
struct Lot {
    documents: Vec<BlockedDocument>,
    due: Instant,
    wait: Duration,
    /// Documents are out for another attempt; nothing else of this lot is sent meanwhile.
    out: bool,
}

#[derive(Debug)]
pub struct BlockedDocuments {
    lots: BTreeMap<String, Lot>,
    bytes: usize,
    bytes_max: usize,
}

impl BlockedDocuments {
    pub fn new(bytes_max: usize) -> BlockedDocuments {
        BlockedDocuments { lots: BTreeMap::new(), bytes: 0, bytes_max }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a document in; gives it back when there is no room. True when its index is new here, which is worth a line.
    pub fn put_if_it_fits(
        &mut self,
        index: &str,
        document: BlockedDocument,
        now: Instant,
    ) -> Result<bool, Box<BlockedDocument>> {
        let known = self.lots.contains_key(index);
        if self.bytes + document.bytes() > self.bytes_max || (!known && self.lots.len() >= LOTS_MAX) {
            return Err(Box::new(document));
        }
        Ok(self.put(index, document, now))
    }

    /// Takes back what was out for another attempt: it had its room before, and at most [`TRY_BYTES`] are out at a time.
    pub fn put(&mut self, index: &str, document: BlockedDocument, now: Instant) -> bool {
        let known = self.lots.contains_key(index);
        self.bytes += document.bytes();
        let fresh = || Lot { documents: Vec::new(), due: now + FIRST_WAIT, wait: FIRST_WAIT, out: false };
        let lot = self.lots.entry(index.to_owned()).or_insert_with(fresh);
        lot.documents.push(document);
        !known
    }

    /// When the next lot is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.lots.values().filter(|lot| !lot.out).map(|lot| lot.due).min()
    }

    /// Documents of one due lot, at most `bytes` of lines and at least one. The lot is not due again before
    /// [`BlockedDocuments::attempted`] says what came of them.
    pub fn take_due(&mut self, now: Instant, bytes: usize) -> Option<(String, Vec<BlockedDocument>)> {
        let (index, lot) = self.lots.iter_mut().find(|(_, lot)| !lot.out && lot.due <= now)?;
        let mut held = 0;
        let fits = |document: &&BlockedDocument| {
            held += document.lines.len();
            held <= bytes
        };
        let count = lot.documents.iter().take_while(fits).count().clamp(1, lot.documents.len());
        lot.out = true;
        let taken: Vec<BlockedDocument> = lot.documents.drain(..count).collect();
        self.bytes -= taken.iter().map(BlockedDocument::bytes).sum::<usize>();
        Some((index.clone(), taken))
    }

    /// An attempt ended: `blocked` says that the index still is. What it left open was set apart again by then.
    pub fn attempted(&mut self, index: &str, blocked: bool, now: Instant) {
        let Some(lot) = self.lots.get_mut(index) else { return };
        lot.out = false;
        if blocked {
            lot.wait = (lot.wait * 2).min(LONGEST_WAIT);
            lot.due = now + lot.wait;
        } else {
            lot.wait = FIRST_WAIT;
            lot.due = now;
        }
        if lot.documents.is_empty() {
            self.lots.remove(index);
        }
    }

    /// Everything, when the exporter ends.
    pub fn take_all(&mut self) -> Vec<BlockedDocument> {
        self.bytes = 0;
        std::mem::take(&mut self.lots).into_values().flat_map(|lot| lot.documents).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(bytes: usize) -> BlockedDocument {
        let cause = (403, String::new(), String::new());
        BlockedDocument {
            lines: vec![b'x'; bytes].into(),
            items: 1,
            own_id: true,
            in_doubt: false,
            signal: Signal::Logs,
            cause,
            share: Share::none(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn documents_wait_within_bytes_and_come_back_when_due() {
        let start = Instant::now();
        let mut blocked = BlockedDocuments::new(3 * (100 + OVERHEAD_BYTES));
        assert!(matches!(blocked.put_if_it_fits("a", document(100), start), Ok(true)));
        assert!(matches!(blocked.put_if_it_fits("a", document(100), start), Ok(false)));
        assert!(matches!(blocked.put_if_it_fits("b", document(100), start), Ok(true)));
        assert!(blocked.put_if_it_fits("b", document(1), start).is_err(), "no room");
        assert_eq!(blocked.next_due(), Some(start + FIRST_WAIT));
        assert!(blocked.take_due(start, 1000).is_none());
        let later = start + FIRST_WAIT;
        assert_eq!(blocked.take_due(later, 150).map(|(index, taken)| (index, taken.len())), Some(("a".to_owned(), 1)));
        assert_eq!(blocked.take_due(later, 1).map(|(index, taken)| (index, taken.len())), Some(("b".to_owned(), 1)));
        assert!(blocked.take_due(later, 1000).is_none(), "both are out");
        blocked.attempted("b", false, later);
        assert!(matches!(blocked.put_if_it_fits("a", document(100), later), Ok(false)));
        blocked.attempted("a", true, later);
        assert_eq!(blocked.next_due(), Some(later + 2 * FIRST_WAIT), "the wait doubles");
        assert_eq!(blocked.take_all().len(), 2);
        assert_eq!((blocked.bytes(), blocked.next_due()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_index_that_opened_gives_the_rest_at_once() {
        let start = Instant::now();
        let mut blocked = BlockedDocuments::new(1 << 20);
        (0..10).for_each(|_| assert!(blocked.put_if_it_fits("a", document(100), start).is_ok()));
        let later = start + FIRST_WAIT;
        let mut taken = 0;
        while let Some((index, documents)) = blocked.take_due(later, 300) {
            taken += documents.len();
            blocked.attempted(&index, false, later);
        }
        assert_eq!((taken, blocked.bytes()), (10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn names_of_indices_are_bounded() {
        let now = Instant::now();
        let mut blocked = BlockedDocuments::new(usize::MAX);
        let taken =
            (0..2 * LOTS_MAX).filter(|at| blocked.put_if_it_fits(&at.to_string(), document(1), now).is_ok()).count();
        assert_eq!(taken, LOTS_MAX);
    }
}
