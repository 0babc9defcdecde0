//! How far a file was read, and by what it is known again under another name or after a restart.
//!
//! A mark has digests of the file's first bytes and of those right before the offset, so that another file with the same
//! beginning is not taken for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// Bytes before the offset that are compared.
const TAIL_BYTES: u64 = 64;
/// Files of unlike names that have so much in common are one and its copy.
const COPY_BYTES: u64 = 1_000;

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(about: &std::fs::Metadata) -> FileId {
        FileId { device: about.dev(), inode: about.ino() }
    }
}

/// Bytes and their digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BytesDigest {
    pub length: u64,
    pub digest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Where it stood when it was marked.
    pub path: PathBuf,
    pub id: FileId,
    /// Of the file's beginning.
    pub head: BytesDigest,
    /// Of what stands right before the offset.
    pub tail: BytesDigest,
    pub offset: u64,
    /// Where a piece of a line stands that is held. Lines from there to the offset are delivered, and are read again for the
    /// pieces among them.
    #[serde(default)]
    pub held_from: Option<u64>,
}

impl FileMark {
    /// Where reading goes on.
    pub fn read_from(&self) -> u64 {
        self.held_from.map_or(self.offset, |held| held.min(self.offset))
    }

    /// A file of which nothing was read.
    pub fn unread(path: &Path, id: FileId) -> FileMark {
        let none = BytesDigest::default();
        FileMark { path: path.to_owned(), id, head: none, tail: none, offset: 0, held_from: None }
    }

    /// The mark of an offset; the head is at most `head_bytes` long and never longer than what was read.
    pub fn at(file: &File, (path, id): (&Path, FileId), offset: u64, head_bytes: usize) -> io::Result<FileMark> {
        let head = digest_of(file, 0, offset.min(head_bytes as u64))?;
        let length = offset.min(TAIL_BYTES);
        let tail = digest_of(file, offset - length, length)?;
        Ok(FileMark { path: path.to_owned(), id, head, tail, offset, held_from: None })
    }

    /// True when the file still has what was read of it: it was not cut and written anew, with the same beginning or another.
    pub fn is_of(&self, file: &File) -> io::Result<bool> {
        if digest_of(file, 0, self.head.length)? != self.head {
            return Ok(false);
        }
        Ok(self.tail_in(file)? == self.tail)
    }

    /// The bytes of `file` where this mark's tail is.
    pub fn tail_in(&self, file: &File) -> io::Result<BytesDigest> {
        digest_of(file, self.offset.saturating_sub(self.tail.length), self.tail.length)
    }

    /// True when a file of this name and id may be the marked one, or a copy of it. A copy's name goes on where that of its
    /// file ends; under another name a beginning has to be long to mean anything.
    pub fn may_be(&self, path: &Path, id: FileId) -> bool {
        let goes_on = path.as_os_str().as_encoded_bytes().starts_with(self.path.as_os_str().as_encoded_bytes());
        self.id == id || goes_on || self.offset >= COPY_BYTES
    }
}

/// Digests of a file's first bytes for several lengths, which ascend, in one pass over them.
pub fn heads_of(file: &File, lengths: impl Iterator<Item = u64>) -> io::Result<Vec<BytesDigest>> {
    let (mut bytes, mut context, mut heads) = (Vec::new(), Context::new(&SHA256), Vec::new());
    for length in lengths {
        let before = bytes.len() as u64;
        let more = bytes_of(file, before, length.saturating_sub(before))?;
        context.update(&more);
        bytes.extend_from_slice(&more); // granted: a fingerprint is bounded by its key
        if bytes.len() as u64 != length {
            break;
        }
        heads.push(BytesDigest { length, digest: folded(context.clone().finish().as_ref()) }); // granted: as above
    }
    Ok(heads)
}

fn digest_of(file: &File, from: u64, length: u64) -> io::Result<BytesDigest> {
    if length == 0 {
        return Ok(BytesDigest::default());
    }
    let bytes = bytes_of(file, from, length)?;
    Ok(BytesDigest { length: bytes.len() as u64, digest: folded(digest(&SHA256, &bytes).as_ref()) })
}

fn folded(full: &[u8]) -> u64 {
    full.iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
}

fn bytes_of(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    // granted: a fingerprint is bounded by its key
    let mut bytes = vec![0u8; usize::try_from(length).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
