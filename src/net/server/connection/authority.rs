//! The authority of calls over unix sockets, made readable for h2.
//!
//! gRPC's C core (Python, C++, Ruby, PHP) sends the socket's path, percent-encoded, as `:authority`: `tmp%2Fotlp.sock`. An
//! authority has no percent sign (RFC 3986, section 3.2.2, as the http crate reads it), so h2 resets the call with
//! PROTOCOL_ERROR before anyone sees it (h2 #487). Nobody here reads the authority of a local call, so the sign is replaced
//! in the header block as it comes. Pure; which bytes are header blocks is `frames`' knowledge.

/// The name as C core writes it: a string literal of ten octets without Huffman code (RFC 7541, section 5.2).
const NAME: &[u8; 10] = b":authority";
const HUFFMAN: u8 = 0x80;
/// Stream and weight of a HEADERS frame with a priority.
const PRIORITY_OCTETS: usize = 5;

/// What an integer is of, of which more octets follow (RFC 7541, section 5.1).
#[derive(Clone, Copy, Debug)]
enum Of {
    /// A field of the tables, or a change of their size: nothing follows.
    Whole,
    /// The name of a literal: its value follows.
    Index,
    /// A coded one cannot be compared.
    Name {
        coded: bool,
    },
    Value {
        ours: bool,
    },
}

/// Where in a header block we are (RFC 7541, section 6).
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// At the first octet of a representation.
    Field,
    /// Within an integer, with what it is so far and by how many bits the next octet is shifted.
    Integer {
        of: Of,
        so_far: u32,
        shift: u32,
    },
    NameLength,
    /// So many octets are to come, and whether those that came are ours; `None`: they cannot be.
    Name {
        left: u32,
        fits: Option<usize>,
    },
    ValueLength {
        ours: bool,
    },
    Value {
        left: u32,
        ours: bool,
    },
}

/// Replaces `%` in the values of literal authorities, however the header blocks are cut. It reads representations as they
/// are made, so that no value is taken for a name.
#[derive(Debug)]
pub struct SocketAuthority {
    reading: Reading,
    /// Octets of this frame that stand before its part of the block; the first of them tells how much padding follows.
    before: usize,
    padded: bool,
    /// Octets of the block that this frame still has.
    left: usize,
}

impl Default for SocketAuthority {
    fn default() -> SocketAuthority {
        SocketAuthority { reading: Reading::Field, before: 0, padded: false, left: 0 }
    }
}

impl SocketAuthority {
    /// A HEADERS frame begins, with so many octets of payload (RFC 9113, section 6.2).
    pub fn begin(&mut self, payload: usize, padded: bool, prioritised: bool) {
        self.reading = Reading::Field;
        self.before = usize::from(padded) + if prioritised { PRIORITY_OCTETS } else { 0 };
        self.padded = padded;
        self.left = payload.saturating_sub(self.before);
    }

    /// A CONTINUATION frame begins.
    pub fn go_on(&mut self, payload: usize) {
        (self.before, self.padded, self.left) = (0, false, payload);
    }

    /// Takes the next bytes of such frames' payloads.
    pub fn mend(&mut self, payload: &mut [u8]) {
        for byte in payload {
            if self.before > 0 {
                if std::mem::take(&mut self.padded) {
                    self.left = self.left.saturating_sub(usize::from(*byte));
                }
                self.before -= 1;
            } else if self.left > 0 {
                self.left -= 1;
                self.step(byte);
            }
        }
    }

    fn step(&mut self, byte: &mut u8) {
        self.reading = match self.reading {
            Reading::Field => field(*byte),
            Reading::Integer { of, so_far, shift } => {
                let part = u32::from(*byte & 0x7f).checked_shl(shift).unwrap_or(u32::MAX);
                let so_far = so_far.saturating_add(part);
                let shift = shift.saturating_add(7);
                if *byte & 0x80 == 0 { known(of, so_far) } else { Reading::Integer { of, so_far, shift } }
            }
            Reading::NameLength => length(*byte, Of::Name { coded: *byte & HUFFMAN != 0 }),
            Reading::Name { left, fits } => {
                let fits = fits.filter(|at| NAME.get(*at) == Some(byte)).map(|at| at + 1);
                name(left - 1, fits)
            }
            Reading::ValueLength { ours } => length(*byte, Of::Value { ours: ours && *byte & HUFFMAN == 0 }),
            Reading::Value { left, ours } => {
                if ours && *byte == b'%' {
                    *byte = b'-';
                }
                value(left - 1, ours)
            }
        };
    }
}

/// After the first octet of a representation.
fn field(octet: u8) -> Reading {
    let (of, most) = match octet {
        0x80.. => (Of::Whole, 0x7f),
        0x40.. => (Of::Index, 0x3f),
        0x20.. => (Of::Whole, 0x1f),
        _ => (Of::Index, 0x0f),
    };
    integer(octet & most, most, of)
}

fn length(octet: u8, of: Of) -> Reading {
    integer(octet & 0x7f, 0x7f, of)
}

fn integer(so_far: u8, most: u8, of: Of) -> Reading {
    let so_far_wide = u32::from(so_far);
    if so_far == most { Reading::Integer { of, so_far: so_far_wide, shift: 0 } } else { known(of, so_far_wide) }
}

/// The integer is known.
fn known(of: Of, number: u32) -> Reading {
    match of {
        Of::Whole => Reading::Field,
        Of::Index if number == 0 => Reading::NameLength,
        Of::Index => Reading::ValueLength { ours: false },
        Of::Name { coded } => name(number, (!coded && number as usize == NAME.len()).then_some(0)),
        Of::Value { ours } => value(number, ours),
    }
}

fn name(left: u32, fits: Option<usize>) -> Reading {
    if left > 0 { Reading::Name { left, fits } } else { Reading::ValueLength { ours: fits == Some(NAME.len()) } }
}

fn value(left: u32, ours: bool) -> Reading {
    if left > 0 { Reading::Value { left, ours } } else { Reading::Field }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(block: &[u8], cut: usize) -> Vec<u8> {
        let (mut mended, mut authority) = (block.to_vec(), SocketAuthority::default());
        authority.begin(block.len(), false, false);
        mended.chunks_mut(cut).for_each(|piece| authority.mend(piece));
        mended
    }

    #[test]
    fn percent_signs_of_the_authority_and_no_others_are_replaced_however_the_block_is_cut() {
        // Indexed, a literal path, a change of the table's size, the authority, a literal without index, a long number.
        let block =
            b"\x82@\x05:path\x04/%2F\x3f\xe1\x1f@\x0a:authority\x0ctmp%2Fd.sock\x00\x01x\x03%2F\xff\x80\x01\x44\x02/%";
        let expected =
            b"\x82@\x05:path\x04/%2F\x3f\xe1\x1f@\x0a:authority\x0ctmp-2Fd.sock\x00\x01x\x03%2F\xff\x80\x01\x44\x02/%";
        for cut in 1..=block.len() {
            assert_eq!(mended(block, cut), expected, "cut {cut}");
        }
    }

    #[test]
    fn a_value_that_looks_like_the_authority_is_left_alone() {
        let value = b"\x0a:authority\x05%%%%%";
        let mut block = b"@\x03bin".to_vec();
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value);
        // The same, so long that its length takes two octets.
        block.extend_from_slice(b"@\x03bin\x7f\x49");
        (0..200 / value.len() + 1).for_each(|_| block.extend_from_slice(value));
        block.truncate(6 + value.len() + 7 + 200);
        block.extend_from_slice(b"@\x0a:authority\x02%a");
        let mut expected = block.clone();
        let at = expected.len() - 2;
        expected[at] = b'-';
        for cut in [1, 2, 3, 7, block.len()] {
            assert_eq!(mended(&block, cut), expected, "cut {cut}");
        }
    }

    #[test]
    fn what_is_no_plain_literal_is_left_alone() {
        for block in [
            &b"@\x0a:authority\x8c%%%%%%%%%%%%"[..],
            b"@\x8a:authority\x04%%%%",
            b"@\x0a:authority\x00\x00\x01x\x01%",
            b"@\x0a:authorit%\x02%%",
            b"\x41\x02%%",
        ] {
            assert_eq!(mended(block, 1), block);
        }
    }

    #[test]
    fn padding_and_priority_are_no_part_of_the_block_which_goes_on_in_the_next_frame() {
        let (mut one, mut other) = (b"\x03\x00\x00\x00\x00\x10@\x0a:autho%%%".to_vec(), b"rity\x02%%".to_vec());
        let mut authority = SocketAuthority::default();
        authority.begin(one.len(), true, true);
        authority.mend(&mut one);
        authority.go_on(other.len());
        authority.mend(&mut other);
        assert_eq!((&one[one.len() - 3..], &other[..]), (&b"%%%"[..], &b"rity\x02--"[..]));
        // A block that was never ended does not reach into the next call's.
        let mut next = b"@\x0a:authority\x01%".to_vec();
        authority.begin(2, false, false);
        authority.mend(&mut b"@\x7f".to_vec());
        authority.begin(next.len(), false, false);
        authority.mend(&mut next);
        assert_eq!(next.last(), Some(&b'-'));
    }

    #[test]
    fn no_bytes_make_it_panic_and_their_number_stays() {
        for seed in 0..2_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let block: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
            assert_eq!(mended(&block, rng.usize(1..20)).len(), block.len(), "seed {seed}");
        }
    }
}
