//! The log on disk: what was accepted is here until every item of it is settled. Segments of frames, group commit,
//! recovery after a crash, a power cut, a full disk or rotten bytes (docs/wal-format.md).
//!
//! There is no ledger and no cursor: the truth is in the segments. Knows nothing of pipelines, spans or next hops; a
//! record is bytes with a description and a number of items. Imports nothing of ours; `extensions/file_storage` opens it.

pub mod body;
pub mod dead;
pub mod disk;
pub mod files;
pub mod format;
pub mod inspect;
pub mod log;
pub mod packed;
pub mod ranges;
pub mod recovery;
pub mod scan;
pub mod table;
pub mod writer;
