//! A packed segment against the file that it replaced, whole and rotten.

use crate::wal::disk::{LogDisk, read_full, write_all};
use crate::wal::files::LogFolder;
use crate::wal::format::{Header, HeaderFault, Purpose, file_name};
use crate::wal::packed::pack::pack;
use crate::wal::packed::view::open_segment;
use crate::wal::packed::{BLOCK_BYTES, PackedHead};

const HEAD: PackedHead = PackedHead { length: 9, offset: 70_000, whole: 1 << 20, plain: 4_096, check: 0xdead_beef };

#[test]
fn a_head_with_any_flipped_bit_or_another_logs_salt_is_none() {
    let bytes = HEAD.encode(9);
    assert_eq!(PackedHead::decode(9, &bytes), Some(HEAD));
    assert_eq!(PackedHead::decode(8, &bytes), None);
    for bit in 0..bytes.len() * 8 {
        let mut rotten = bytes;
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(PackedHead::decode(9, &rotten), None, "bit {bit}");
    }
}

/// A segment of words, and its packed form in a folder of its own.
fn packed() -> (Vec<u8>, tempfile::TempDir) {
    let header =
        Header { purpose: Purpose::Log, number: 7, previous: 6, first: 100, records: 0, items: 0, salt: 3, boot: 1 };
    let mut bytes = header.encode();
    let mut random = fastrand::Rng::with_seed(4);
    while bytes.len() < 3 * BLOCK_BYTES + 777 {
        bytes.extend_from_slice(format!("span {} of trace {};", random.u16(..), random.u8(..)).as_bytes());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut disk = LogFolder::at(folder.path());
    let name = file_name(7, Purpose::Log);
    let mut medium = disk.create("old").expect("made");
    write_all(&mut *medium, 0, &bytes).expect("written");
    let mut into = disk.create("new").expect("made");
    let (before, after) = pack(&mut *medium, &mut *into).expect("packed");
    assert!(before == bytes.len() as u64 && after * 3 < before, "{after} of {before}");
    disk.rename("new", &name).expect("renamed");
    (bytes, folder)
}

#[test]
fn a_packed_segment_reads_as_the_file_it_replaced_from_any_place() {
    let (bytes, folder) = packed();
    let mut disk = LogFolder::at(folder.path());
    let mut medium = open_segment(&mut disk, 7).expect("opened");
    assert_eq!(medium.length().expect("told"), bytes.len() as u64);
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..300 {
        let at = random.usize(..bytes.len() + 10);
        let mut into = vec![0; random.usize(..2 * BLOCK_BYTES)];
        let read = read_full(&mut *medium, at as u64, &mut into).expect("read");
        let rest = bytes.get(at..).unwrap_or_default();
        assert!(read == rest.len().min(into.len()) && into[..read] == rest[..read], "{read} at {at}");
    }
    let mut block = [0; 4096];
    let mut plain = disk.open(&file_name(7, Purpose::Log)).expect("opened");
    read_full(&mut *plain, 0, &mut block).expect("read");
    assert_eq!(Header::decode(&block).map(|header| header.purpose), Ok(Purpose::Packed));
    // A reader of format 1 sees a later one, and leaves the folder alone.
    assert_eq!(u32::from_le_bytes([block[8], block[9], block[10], block[11]]), 2);
    assert_ne!(Header::decode(&block), Err(HeaderFault::Damaged));
}

#[test]
fn a_rotten_byte_costs_its_block_and_no_other() {
    let (bytes, folder) = packed();
    let path = folder.path().join(file_name(7, Purpose::Log));
    let stored = std::fs::read(&path).expect("read");
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..200 {
        let mut rotten = stored.clone();
        let at = random.usize(4_096..stored.len());
        rotten[at] ^= 1 << random.u8(..8);
        std::fs::write(&path, &rotten).expect("written");
        let mut medium = open_segment(&mut LogFolder::at(folder.path()), 7).expect("opened");
        let mut read = vec![0; bytes.len()];
        assert_eq!(read_full(&mut *medium, 0, &mut read).expect("read"), bytes.len(), "round {round}, {at}");
        let pairs = read.chunks(BLOCK_BYTES).zip(bytes.chunks(BLOCK_BYTES));
        let changed: Vec<_> = pairs.filter(|(read, plain)| read != plain).map(|(read, _)| read).collect();
        assert!(changed.len() <= 1, "round {round}, {at}: {} blocks", changed.len());
        assert!(changed.iter().all(|block| block.iter().all(|byte| *byte == 0xff)), "round {round}, {at}");
    }
}
