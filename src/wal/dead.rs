//! Reads a file of dead letters: records that were put aside, one after the other.

use std::io;

use bytes::Bytes;

use crate::wal::body::Description;
use crate::wal::disk::{LogDisk, read_full};
use crate::wal::format::{BLOCK, FrameKind, Header};
use crate::wal::scan::{frame_at, scan};

/// A record that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRecord {
    /// `None` when a later version wrote it.
    pub description: Option<Description>,
    pub payload: Bytes,
    pub items: u32,
}

/// Hands every whole record of the file to `visit`; how many bytes of it are damaged.
pub fn dead_letters(disk: &mut dyn LogDisk, name: &str, visit: &mut dyn FnMut(DeadLetterRecord)) -> io::Result<u64> {
    let (mut medium, mut block) = (disk.open(name)?, vec![0u8; BLOCK as usize]);
    let read = read_full(&mut *medium, 0, &mut block)?;
    let header = Header::decode(&block[..read]).map_err(|fault| io::Error::other(fault.to_string()))?;
    let mut places = Vec::new();
    let scanned = scan(&mut *medium, header.salt, None, None, &mut |found| {
        if found.head.kind == FrameKind::Payload {
            places.push((found.offset, found.head.length));
        }
    });
    for (offset, length) in places {
        let Some((head, body)) = frame_at(&mut *medium, header.salt, offset, length)? else { continue };
        let mut described = Bytes::from(body);
        let payload = described.split_off(usize::from(head.described).min(described.len()));
        visit(DeadLetterRecord { description: Description::decode(&described), payload, items: head.items });
    }
    Ok(scanned.damaged + scanned.last_damaged + scanned.tail)
}
