//! journalctl's export format, read as it comes: entries of fields, each `NAME=text` on a line, or where the value has a line's
//! end or is no text its name alone, eight bytes of length (little-endian) and that many bytes. An empty line ends an entry.
//!
//! Source: systemd.io/JOURNAL_EXPORT_FORMATS. What a field and an entry may take is bounded: a longer value is left out and
//! counted, and its name stays.

use memchr::memchr;

/// systemd's bound on the name of a field.
const NAME_BYTES_MAX: usize = 64;
/// A longer value is left out.
pub const FIELD_BYTES_MAX: usize = 1 << 20;
/// Once the fields of an entry take this, further values are left out.
const ENTRY_BYTES_MAX: usize = 4 << 20;
/// Further fields of an entry are left out with their names; systemd writes at most as many.
const FIELDS_MAX: usize = 1_024;
/// systemd has no longer value; such a length is none.
const LENGTH_MAX: u64 = 768 << 20;
/// Between two entries no more than this is kept.
const KEPT_BYTES: usize = 256 << 10;

/// What was read is not the export format. Nothing behind it can be read either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportFault {
    #[error("a line names no field")]
    Name,
    #[error("a field claims {0} bytes")]
    Length(u64),
    #[error("no line ends behind a field of bytes")]
    End,
}

/// A field's name and its value; `None` for a value that was left out.
pub type ExportField<'e> = (&'e [u8], Option<&'e [u8]>);

#[derive(Clone, Copy, Debug)]
struct FieldPlace {
    start: usize,
    name: usize,
    /// Its length, unless it was left out.
    value: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Awaited {
    /// The rest of the line that begins at this place of the kept bytes.
    Line(usize),
    /// The rest of a line whose value is left out.
    LongLine,
    /// The length of the field whose name stands at this place; so many of its bytes have come.
    Length { start: usize, bytes: [u8; 8], got: usize },
    /// So many bytes of the field whose name stands at this place.
    Value { start: usize, name: usize, left: usize },
    /// So many bytes of a value that is left out.
    LongValue(u64),
    /// The line's end behind a value.
    ValueEnd,
}

/// Reads a stream of entries, one at a time.
#[derive(Debug)]
pub struct ExportReader {
    bytes: Vec<u8>,
    fields: Vec<FieldPlace>,
    awaited: Awaited,
    is_whole: bool,
    left_out: u64,
}

impl Default for ExportReader {
    fn default() -> ExportReader {
        let (bytes, fields) = (Vec::new(), Vec::new());
        ExportReader { bytes, fields, awaited: Awaited::Line(0), is_whole: false, left_out: 0 }
    }
}

impl ExportReader {
    /// Reads on from the head of `input`, which moves by what was read, up to the end of an entry. True: an entry is whole, and
    /// stays until [`ExportReader::clear`].
    pub fn read(&mut self, input: &mut &[u8]) -> Result<bool, ExportFault> {
        while !self.is_whole && !input.is_empty() {
            match self.awaited {
                Awaited::Line(start) => self.line(start, input)?,
                Awaited::LongLine => {
                    let end = memchr(b'\n', input);
                    *input = input.get(end.map_or(input.len(), |end| end + 1)..).unwrap_or_default();
                    if end.is_some() {
                        self.awaited = Awaited::Line(self.bytes.len());
                    }
                }
                Awaited::Length { start, bytes, got } => self.length((start, bytes, got), input)?,
                Awaited::Value { start, name, left } => self.value((start, name, left), input),
                Awaited::LongValue(left) => {
                    let taken = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    *input = input.get(taken..).unwrap_or_default();
                    let left = left - taken as u64;
                    self.awaited = if left == 0 { Awaited::ValueEnd } else { Awaited::LongValue(left) };
                }
                Awaited::ValueEnd => {
                    let Some((b'\n', rest)) = input.split_first() else { return Err(ExportFault::End) };
                    *input = rest;
                    self.awaited = Awaited::Line(self.bytes.len());
                }
            }
        }
        Ok(self.is_whole)
    }

    /// The fields of the entry that is whole, in their order.
    pub fn fields(&self) -> impl Iterator<Item = ExportField<'_>> {
        self.fields.iter().map(|place| {
            let from = place.start + place.name;
            let name = self.bytes.get(place.start..from).unwrap_or_default();
            (name, place.value.map(|length| self.bytes.get(from..from + length).unwrap_or_default()))
        })
    }

    /// Begins the next entry.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.fields.clear();
        (self.is_whole, self.awaited) = (false, Awaited::Line(0));
    }

    /// Values and fields that were left out since this was asked last.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn line(&mut self, start: usize, input: &mut &[u8]) -> Result<(), ExportFault> {
        let end = memchr(b'\n', input);
        let (line, rest) = input.split_at(end.unwrap_or(input.len()));
        let room = NAME_BYTES_MAX + 1 + FIELD_BYTES_MAX - (self.bytes.len() - start);
        let is_long = line.len() > room;
        // granted: an entry and a field of bounded size for each receiver
        self.bytes.extend_from_slice(line.get(..line.len().min(room)).unwrap_or_default());
        let line = self.bytes.get(start..).unwrap_or_default();
        if end.is_none() && !is_long {
            *input = rest;
            return Ok(());
        }
        if line.is_empty() {
            *input = rest.get(1..).unwrap_or_default();
            self.is_whole = !self.fields.is_empty();
            return Ok(());
        }
        let name = match memchr(b'=', line.get(..line.len().min(NAME_BYTES_MAX + 1)).unwrap_or_default()) {
            Some(0) => return Err(ExportFault::Name),
            Some(name) => name,
            None if line.len() > NAME_BYTES_MAX => return Err(ExportFault::Name),
            None => {
                *input = rest.get(1..).unwrap_or_default();
                self.awaited = Awaited::Length { start, bytes: [0; 8], got: 0 };
                return Ok(());
            }
        };
        let value = line.len() - name - 1;
        if is_long || value > FIELD_BYTES_MAX || self.bytes.len() > ENTRY_BYTES_MAX {
            self.without_value(start, name);
            *input = rest;
            self.awaited = Awaited::LongLine;
            return Ok(());
        }
        // The name and the value stand side by side.
        self.bytes.copy_within(start + name + 1.., start + name);
        self.bytes.truncate(start + name + value);
        self.keep(start, name, Some(value));
        *input = rest.get(1..).unwrap_or_default();
        self.awaited = Awaited::Line(self.bytes.len());
        Ok(())
    }

    fn length(&mut self, of: (usize, [u8; 8], usize), input: &mut &[u8]) -> Result<(), ExportFault> {
        let (start, mut bytes, mut got) = of;
        while let (Some(place), Some((byte, rest))) = (bytes.get_mut(got), input.split_first()) {
            *place = *byte;
            got += 1;
            *input = rest;
        }
        if got < bytes.len() {
            self.awaited = Awaited::Length { start, bytes, got };
            return Ok(());
        }
        let (length, name) = (u64::from_le_bytes(bytes), self.bytes.len() - start);
        if length > LENGTH_MAX {
            return Err(ExportFault::Length(length));
        }
        self.awaited = match usize::try_from(length) {
            Ok(left) if left <= FIELD_BYTES_MAX && self.bytes.len() + left <= ENTRY_BYTES_MAX => {
                Awaited::Value { start, name, left }
            }
            _ => {
                self.without_value(start, name);
                Awaited::LongValue(length)
            }
        };
        // An empty value has no byte that would be waited for.
        if let Awaited::Value { left: 0, .. } = self.awaited {
            self.keep(start, name, Some(0));
            self.awaited = Awaited::ValueEnd;
        }
        Ok(())
    }

    fn value(&mut self, (start, name, left): (usize, usize, usize), input: &mut &[u8]) {
        let (part, rest) = input.split_at(left.min(input.len()));
        self.bytes.extend_from_slice(part); // granted: an entry of bounded size for each receiver
        *input = rest;
        let left = left - part.len();
        self.awaited = Awaited::Value { start, name, left };
        if left == 0 {
            self.keep(start, name, Some(self.bytes.len() - start - name));
            self.awaited = Awaited::ValueEnd;
        }
    }

    fn without_value(&mut self, start: usize, name: usize) {
        self.left_out += 1;
        self.bytes.truncate(start + name);
        self.keep(start, name, None);
    }

    fn keep(&mut self, start: usize, name: usize, value: Option<usize>) {
        if self.fields.len() < FIELDS_MAX {
            self.fields.push(FieldPlace { start, name, value }); // granted: a bounded number
            return;
        }
        // A value that is left out was counted.
        self.left_out += u64::from(value.is_some());
        self.bytes.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = Vec<(String, Option<Vec<u8>>)>;

    /// All entries of a stream that comes in pieces of this size, and how many values were left out.
    fn read(stream: &[u8], piece: usize) -> Result<(Vec<Owned>, u64), ExportFault> {
        let (mut reader, mut entries) = (ExportReader::default(), Vec::new());
        for mut piece in stream.chunks(piece) {
            while reader.read(&mut piece)? {
                let owned = |(name, value): ExportField<'_>| {
                    (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
                };
                entries.push(reader.fields().map(owned).collect());
                reader.clear();
            }
        }
        Ok((entries, reader.take_left_out()))
    }

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn entries_read_the_same_in_pieces_of_every_size() {
        let stream = [
            b"\n\nA=1\nB=x=y\nEMPTY=\n".to_vec(),
            binary("MESSAGE", b"two\nlines\n\nA=2\n"),
            binary("NOTHING", b""),
            b"\nA=2\n\nA=broken off\n".to_vec(),
        ]
        .concat();
        let text = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        let first = vec![
            text("A", "1"),
            text("B", "x=y"),
            text("EMPTY", ""),
            text("MESSAGE", "two\nlines\n\nA=2\n"),
            text("NOTHING", ""),
        ];
        for piece in 1..stream.len() {
            let (entries, left_out) = read(&stream, piece).unwrap();
            assert_eq!((entries, left_out), (vec![first.clone(), vec![text("A", "2")]], 0), "pieces of {piece}");
        }
    }

    #[test]
    fn values_fields_and_entries_above_their_bounds_are_left_out_and_counted() {
        let long = vec![b'x'; FIELD_BYTES_MAX + 1];
        let whole = vec![b'x'; FIELD_BYTES_MAX];
        let line = |value: &[u8]| [b"L=", value, b"\n"].concat();
        for piece in [1_000, 64 << 10, 4 << 20] {
            let stream =
                [line(&long), line(&whole), binary("B", &long), binary("B", &whole), b"A=1\n\nA=2\n\n".to_vec()];
            let (entries, left_out) = read(&stream.concat(), piece).unwrap();
            let lengths: Vec<_> = entries[0].iter().map(|(_, value)| value.as_ref().map(Vec::len)).collect();
            assert_eq!(lengths, [None, Some(whole.len()), None, Some(whole.len()), Some(1)], "pieces of {piece}");
            assert_eq!((entries.len(), left_out), (2, 2));
            let stream = [line(&whole).repeat(3), binary("B", &whole).repeat(3), b"A=1\n\n".to_vec()].concat();
            let (entries, left_out) = read(&stream, piece).unwrap();
            let kept: usize = entries[0].iter().filter_map(|(_, value)| value.as_ref()).map(Vec::len).sum();
            assert!(kept <= ENTRY_BYTES_MAX && left_out == 3 && entries[0].len() == 7, "{kept} bytes, {left_out}");
            let stream = [b"A=1\n".repeat(2 * FIELDS_MAX), b"\nA=2\n\n".to_vec()].concat();
            let (entries, left_out) = read(&stream, piece).unwrap();
            assert_eq!((entries.len(), entries[0].len(), left_out), (2, FIELDS_MAX, FIELDS_MAX as u64));
        }
    }

    #[test]
    fn what_is_no_export_format_is_a_fault_and_takes_no_memory() {
        let claim = |length: u64| [b"A\n".as_slice(), &length.to_le_bytes(), b"x"].concat();
        let no_end = [b"A\n".as_slice(), &1_u64.to_le_bytes(), b"xy"].concat();
        let name = vec![b'N'; NAME_BYTES_MAX + 1];
        for (stream, fault) in [
            (b"=value\n".to_vec(), ExportFault::Name),
            ([name.as_slice(), b"\n"].concat(), ExportFault::Name),
            ([name.as_slice(), b"=1\n"].concat(), ExportFault::Name),
            (vec![b'N'; 2 << 20], ExportFault::Name),
            (claim(u64::MAX), ExportFault::Length(u64::MAX)),
            (no_end, ExportFault::End),
        ] {
            assert_eq!(read(&stream, 4 << 20).expect_err("a fault"), fault);
        }
        let mut reader = ExportReader::default();
        assert_eq!(reader.read(&mut claim(LENGTH_MAX).as_slice()), Ok(false));
        assert!(reader.bytes.capacity() < 1_000);
    }
}
