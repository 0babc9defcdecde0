//! What is to be written, by whom, and why it was not.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::core::data::budget::OverBudget;
use crate::core::data::payload::Payload;

/// After this long a write counts as hanging and nobody waits for it any more. SDKs give up after ten seconds.
pub const WRITE_MAX: Duration = Duration::from_secs(5);

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    #[error(transparent)]
    Medium(#[from] io::Error),
    /// There is no memory for its text; the medium is as it was.
    #[error(transparent)]
    Memory(#[from] OverBudget),
}

/// Turns payloads into records of one medium. Runs where blocking is allowed, one payload at a time.
pub trait Scribe: Send + 'static {
    /// Writes the payload as whole records and returns how many of its items could not be read and were left out. After
    /// an error nothing of it is left on the medium.
    fn write(&mut self, payload: &Payload) -> Result<u64, Unwritten>;

    /// What went wrong beside the record, which was written all the same (a file that could not be changed for the next).
    fn notice(&mut self) -> Option<io::Error> {
        None
    }
}

pub struct WriteJob {
    pub(super) payload: Payload,
    /// Closed when nobody waits any more: the record is then not begun.
    pub(super) answer: oneshot::Sender<Result<u64, Unwritten>>,
}
