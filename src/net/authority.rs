//! The authority of calls over unix sockets, made readable for h2.
//!
//! gRPC's C core (Python, C++, Ruby, PHP) sends the socket's path, percent-encoded, as `:authority`: `tmp%2Fotlp.sock`. An
//! authority has no percent sign (RFC 3986, section 3.2.2, as the http crate reads it), so h2 resets the call with
//! PROTOCOL_ERROR before anyone sees it (h2 #487). Nobody here reads the authority of a local call, so the sign is replaced
//! in the header block as it comes. Pure; which bytes are header blocks is `frames`' knowledge.

/// The name as C core writes it: a string literal of ten octets without Huffman code (RFC 7541, section 5.2).
const NAME: &[u8; 11] = b"\x0a:authority";
const HUFFMAN: u8 = 0x80;
/// Lengths from here on take more than one octet (RFC 7541, section 5.1); socket paths have at most 108.
const LONG: u8 = 0x7f;

#[derive(Debug)]
enum Reading {
    /// So many octets of the name have come.
    Name(usize),
    Length,
    /// So many octets of the value are to come.
    Value(u8),
}

/// Replaces `%` in literal authorities, however the header block is cut.
#[derive(Debug)]
pub struct SocketAuthority {
    reading: Reading,
}

impl SocketAuthority {
    pub fn new() -> SocketAuthority {
        SocketAuthority { reading: Reading::Name(0) }
    }

    /// Takes the next bytes of header blocks.
    pub fn mend(&mut self, block: &mut [u8]) {
        for byte in block {
            self.reading = match self.reading {
                Reading::Name(so_far) if *byte != NAME[so_far] => Reading::Name(usize::from(*byte == NAME[0])),
                Reading::Name(so_far) if so_far + 1 < NAME.len() => Reading::Name(so_far + 1),
                Reading::Name(_) => Reading::Length,
                Reading::Length if *byte & HUFFMAN == 0 && (1..LONG).contains(byte) => Reading::Value(*byte),
                Reading::Length => Reading::Name(0),
                Reading::Value(left) => {
                    if *byte == b'%' {
                        *byte = b'-';
                    }
                    if left > 1 { Reading::Value(left - 1) } else { Reading::Name(0) }
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_of_the_authority_and_no_others_are_replaced_however_the_block_is_cut() {
        let block = b"@\x05:path\x04/%2F@\n\n:authority\x0ctmp%2Fd.sock@\x01x\x03%2F".to_vec();
        let expected = b"@\x05:path\x04/%2F@\n\n:authority\x0ctmp-2Fd.sock@\x01x\x03%2F".to_vec();
        for cut in 1..=block.len() {
            let (mut mended, mut authority) = (block.clone(), SocketAuthority::new());
            mended.chunks_mut(cut).for_each(|piece| authority.mend(piece));
            assert_eq!(mended, expected, "cut {cut}");
        }
    }

    #[test]
    fn what_is_no_plain_literal_is_left_alone() {
        for block in
            [&b"\n:authority\x8c%%%%%%%%%%%%"[..], b"\n:authority\x7f%%%%", b"\n:authority\x00%", b"\n:authorit%"]
        {
            let mut mended = block.to_vec();
            SocketAuthority::new().mend(&mut mended);
            assert_eq!(mended, block);
        }
    }
}
