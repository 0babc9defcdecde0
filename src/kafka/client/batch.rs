//! Kafka's record batches (message format 2, KIP-98) as they lie in the answer to a fetch.
//!
//! Pure. A batch has a head of 61 bytes, which a checksum covers from its attributes on, and records behind it, compressed
//! as a whole. BatchRecords are read one after the other, so that nothing is made of those that nobody asked for yet.

use bytes::Bytes;

use crate::net::compression::batch::BatchCodec;

pub const HEAD_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
/// Offset, length and what the length counts from.
const LENGTH_ENDS: usize = 12;
/// What the checksum covers begins here.
const CHECKED_FROM: usize = 21;
const MAGIC: u8 = 2;
/// Shorter records there are not: a length, attributes, two deltas, two lengths and a count.
const RECORD_BYTES_MIN: usize = 7;

/// Why a batch cannot be read, however often it is fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BatchFault(pub String);

fn fault(why: impl Into<String>) -> BatchFault {
    BatchFault(why.into())
}

/// What stands at the head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBatchHead {
    pub first: i64,
    /// The offset behind the batch; some of its records may be gone (compaction).
    pub end: i64,
    /// The whole batch with its head.
    pub bytes: usize,
    /// `None`: records as they are.
    pub codec: Option<BatchCodec>,
    /// A marker of a transaction: nothing for a reader.
    pub is_control: bool,
    pub records: usize,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The batch that `bytes` begin with, and its checksum holds; `None` where it is cut off, as brokers cut the last one of an
/// answer.
pub fn head(bytes: &[u8]) -> Result<Option<RecordBatchHead>, BatchFault> {
    let (Some(first), Some(length)) = (number(bytes, 0).map(i64::from_be_bytes), number(bytes, LENGTH_AT)) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(length);
    let all = usize::try_from(length).unwrap_or_default() + LENGTH_ENDS;
    if all < HEAD_BYTES {
        return Err(fault(format!("its length of {length} bytes is too short for a batch")));
    }
    if let Some(magic) = bytes.get(16).filter(|magic| **magic != MAGIC) {
        return Err(fault(format!("it is of message format {magic}, and 2 is known")));
    }
    let Some(batch) = bytes.get(..all) else { return Ok(None) };
    let read = || {
        let checksum = u32::from_be_bytes(number(batch, 17)?);
        let attributes = u16::from_be_bytes(number(batch, CHECKED_FROM)?);
        let (last, records) = (i32::from_be_bytes(number(batch, 23)?), i32::from_be_bytes(number(batch, 57)?));
        Some((checksum, attributes, last, records))
    };
    let Some((checksum, attributes, last, records)) = read() else { return Ok(None) };
    if crc32c::crc32c(&batch[CHECKED_FROM..]) != checksum {
        return Err(fault("its checksum does not hold"));
    }
    let codec = match attributes & 7 {
        0 => None,
        1 => Some(BatchCodec::Gzip),
        2 => Some(BatchCodec::Snappy),
        3 => Some(BatchCodec::Lz4),
        4 => Some(BatchCodec::Zstd),
        other => return Err(fault(format!("its compression {other} is not known"))),
    };
    let (Ok(last), Ok(records)) = (u32::try_from(last), usize::try_from(records)) else {
        return Err(fault("its number of records is negative"));
    };
    let end = first.saturating_add(i64::from(last)).saturating_add(1);
    Ok(Some(RecordBatchHead { first, end, bytes: all, codec, is_control: attributes & 0x20 != 0, records }))
}

/// How many bytes the whole batches at the head have that fit into `room`; of the first one in any case where `is_first`. Their
/// checksums are not looked at.
pub fn fitting(bytes: &[u8], room: usize, is_first: bool) -> usize {
    let mut end = 0;
    while let Some(length) = number(bytes, end + LENGTH_AT).map(i32::from_be_bytes) {
        let next = end + LENGTH_ENDS + usize::try_from(length).unwrap_or_default();
        let fits = next <= room || (is_first && end == 0);
        if next > bytes.len() || !fits {
            break;
        }
        end = next;
    }
    end
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    pub offset: i64,
    /// `None` for a tombstone. A slice of its batch.
    pub value: Option<Bytes>,
    /// Of the names that were asked for, by their place: the first of each.
    pub headers: Vec<(usize, Bytes)>,
}

/// The records of a batch that were not read yet. A copy of it is another reader of the same bytes.
#[derive(Clone, Debug)]
pub struct BatchRecords {
    bytes: Bytes,
    at: usize,
    left: usize,
    first: i64,
}

impl BatchRecords {
    /// `bytes` are those behind the head, decompressed.
    pub fn new(head: &RecordBatchHead, bytes: Bytes) -> Result<BatchRecords, BatchFault> {
        if head.records > bytes.len() / RECORD_BYTES_MIN {
            return Err(fault(format!("it says that {} records are in {} bytes", head.records, bytes.len())));
        }
        Ok(BatchRecords { bytes, at: 0, left: head.records, first: head.first })
    }

    /// The next record from the offset `from` on.
    pub fn next(&mut self, from: i64, names: &[String]) -> Result<Option<BatchRecord>, BatchFault> {
        while self.left > 0 {
            self.left -= 1;
            let torn = || fault("a record is cut off");
            let mut whole = Fields { bytes: &self.bytes, at: self.at, end: self.bytes.len() };
            let length = usize::try_from(whole.varint().ok_or_else(torn)?).map_err(|_| torn())?;
            let mut fields = Fields { end: whole.at.saturating_add(length), ..whole };
            if fields.end > self.bytes.len() {
                return Err(torn());
            }
            self.at = fields.end;
            let record = fields.record(self.first, from, names).ok_or_else(torn)?;
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }
}

/// What lies between two places of a batch.
#[derive(Clone, Copy)]
struct Fields<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

impl Fields<'_> {
    /// `None` where it is torn, nothing in it for one that is before `from`.
    fn record(&mut self, first: i64, from: i64, names: &[String]) -> Option<Option<BatchRecord>> {
        self.slice(1)?;
        self.varint()?;
        let offset = first.saturating_add(self.varint()?);
        if offset < from {
            return Some(None);
        }
        self.counted()?;
        let value = self.counted()?;
        let mut headers: Vec<(usize, Bytes)> = Vec::new();
        for _ in 0..self.varint()? {
            let (name, value) = (self.counted()??, self.counted()?);
            let place = names.iter().position(|wanted| wanted.as_bytes() == name);
            let Some(place) = place.filter(|place| headers.iter().all(|(known, _)| known != place)) else { continue };
            headers.push((place, value.unwrap_or_default())); // granted: as many as names are configured
        }
        headers.sort_unstable_by_key(|(place, _)| *place);
        Some(Some(BatchRecord { offset, value, headers }))
    }

    fn slice(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Some(slice)
    }

    /// Bytes behind their length, which is negative where there are none.
    fn counted(&mut self) -> Option<Option<Bytes>> {
        match usize::try_from(self.varint()?) {
            Ok(length) => Some(Some(self.slice(length)?)),
            Err(_) => Some(None),
        }
    }

    /// Zigzag, seven bits a byte, ten bytes at most.
    fn varint(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at).filter(|_| self.at < self.end)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte & 0x80 == 0 {
                return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use krafka::__private::protocol::{Compression, RecordBatchBuilder};
    use proptest::prelude::*;

    use super::*;

    /// Written by the client library; its first offset is made 40.
    fn batch(values: &[Option<&'static str>], codec: Compression) -> Bytes {
        let mut builder = RecordBatchBuilder::new().compression(codec);
        for value in values {
            let headers = vec![("tenant", Some("blue")), ("other", None), ("tenant", Some("red"))];
            builder = builder.add_record_with_headers(Some("key"), *value, headers);
        }
        let mut written = builder.build().encode().expect("a batch").to_vec();
        written[..8].copy_from_slice(&40_i64.to_be_bytes());
        Bytes::from(written)
    }

    fn read(batch: &Bytes, from: i64) -> Vec<BatchRecord> {
        let head = head(batch).expect("sound").expect("whole");
        let mut records = BatchRecords::new(&head, batch.slice(HEAD_BYTES..)).expect("sound");
        let names = ["absent".to_owned(), "tenant".to_owned(), "other".to_owned()];
        std::iter::from_fn(|| records.next(from, &names).expect("sound")).collect()
    }

    #[test]
    fn records_are_read_as_the_library_wrote_them() {
        let written = batch(&[Some("one"), None, Some("")], Compression::None);
        let known = head(&written).expect("sound").expect("whole");
        assert_eq!((known.first, known.end, known.records, known.bytes), (40, 43, 3, written.len()));
        assert_eq!((known.codec, known.is_control), (None, false));
        let found = read(&written, 0);
        let values: Vec<_> = found.iter().map(|record| (record.offset, record.value.as_deref())).collect();
        assert_eq!(values, [(40, Some(&b"one"[..])), (41, None), (42, Some(&b""[..]))]);
        assert_eq!(found[0].headers, [(1, Bytes::from("blue")), (2, Bytes::new())], "the first of each name");
        assert_eq!(read(&written, 42).len(), 1, "those before it were read already");
    }

    #[test]
    fn codecs_are_known_by_their_numbers() {
        let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let of = |codec| head(&batch(&[Some("value")], codec)).expect("sound").expect("whole").codec;
        let known = [BatchCodec::Gzip, BatchCodec::Snappy, BatchCodec::Lz4, BatchCodec::Zstd];
        assert_eq!(codecs.map(of), known.map(Some));
    }

    #[test]
    fn what_is_cut_off_is_no_batch_yet_and_what_is_damaged_is_told() {
        let whole = batch(&[Some("value")], Compression::None);
        assert!((0..whole.len()).all(|at| head(&whole[..at]) == Ok(None)));
        let damaged = |at: usize, bits: u8| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= bits;
            head(&bytes).map_err(|BatchFault(why)| why)
        };
        for at in CHECKED_FROM..whole.len() {
            assert!(damaged(at, 1).is_err_and(|why| why.contains("checksum")), "byte {at}");
        }
        assert!(damaged(16, 3).is_err_and(|why| why.contains("format 1")));
        assert!(damaged(8, 0x80).is_err_and(|why| why.contains("too short")));
    }

    #[test]
    fn whole_batches_are_taken_as_far_as_there_is_room_and_the_first_in_any_case() {
        let one = batch(&[Some("value")], Compression::None);
        let (length, three) = (one.len(), one.repeat(3));
        for (room, is_first, expected) in [(0, false, 0), (0, true, 1), (2 * length, false, 2), (9 * length, false, 3)]
        {
            assert_eq!(fitting(&three, room, is_first), expected * length, "{room}");
        }
        assert_eq!(fitting(&three[..length + 20], 9 * length, true), length, "the second is cut off");
        assert_eq!(fitting(&three[..20], 9 * length, true), 0);
    }

    #[test]
    fn a_number_of_records_that_its_bytes_cannot_hold_is_refused_before_anything_is_made_of_it() {
        let known = head(&batch(&[Some("value")], Compression::None)).expect("sound").expect("whole");
        let many = RecordBatchHead { records: i32::MAX as usize, ..known };
        assert!(BatchRecords::new(&many, Bytes::from(vec![0; 1_000_000])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_beyond_them(bytes in prop::collection::vec(any::<u8>(), 0..300), records in 0_usize..40) {
            let _ = head(&bytes);
            let known = RecordBatchHead {
                first: i64::MAX - 3, end: i64::MAX, bytes: bytes.len(), codec: None, is_control: false, records,
            };
            let Ok(mut records) = BatchRecords::new(&known, Bytes::from(bytes)) else { return Ok(()) };
            while let Ok(Some(_)) = records.next(i64::MIN, &["name".to_owned()]) {}
        }

        #[test]
        fn a_record_of_any_shape_comes_back(
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..200)), 1..30)
        ) {
            let mut builder = RecordBatchBuilder::new();
            for value in &values {
                builder = builder.add_record(None::<Bytes>, value.clone());
            }
            let written = builder.build().encode().expect("a batch");
            let found: Vec<Option<Vec<u8>>> = read(&written, 0).into_iter().map(|record| record.value.map(Vec::from)).collect();
            prop_assert_eq!(found, values);
        }
    }
}
