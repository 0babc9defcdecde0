//! Snappy's block format: its head states the decoded length, which is checked before anything is allocated.

use bytes::Bytes;

use crate::net::compression::output::{InflateError, Output, corrupt};

/// Decodes in one go, which for tens of megabytes is tens of milliseconds: such a block is decoded beside the others' work.
pub(super) async fn block(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    let length = snap::raw::decompress_len(input).map_err(|error| corrupt("snappy", error))?;
    let mut bytes = output.exactly(length as u64)?;
    let input_len = input.len();
    // The work outlives a caller that stops waiting, and so must what it is charged to.
    let (input, ticket) = (input.clone(), output.ticket.clone());
    let decode = move || {
        let _ticket = ticket;
        bytes.resize(length, 0); // granted: the ticket has grown for it
        let written = snap::raw::Decoder::new().decompress(&input, &mut bytes);
        bytes.truncate(written.map_err(|error| corrupt("snappy", error))?);
        Ok(Bytes::from(bytes))
    };
    output.aside.run(length.max(input_len) as u64, decode).await
}

/// What every stream of snappy-java begins with; two version numbers follow (SnappyCodec.java).
#[cfg(feature = "kafka")]
pub(super) const JAVA_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
#[cfg(feature = "kafka")]
const JAVA_HEAD_BYTES: usize = 16;

/// The chunks of a stream of snappy-java, each a raw block behind its length; else one raw block. What they state is summed up
/// before anything is allocated.
#[cfg(feature = "kafka")]
pub(super) async fn java(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    if !input.starts_with(&JAVA_MAGIC) {
        return block(input, output).await;
    }
    let mut length = 0;
    for chunk in java_chunks(input) {
        length += snap::raw::decompress_len(chunk?).map_err(|error| corrupt("snappy", error))? as u64;
    }
    let mut bytes = output.exactly(length)?;
    let (input, ticket) = (input.clone(), output.ticket.clone());
    let work = length.max(input.len() as u64);
    let decode = move || {
        let _ticket = ticket;
        for chunk in java_chunks(&input) {
            let chunk = chunk?;
            let length = snap::raw::decompress_len(chunk).map_err(|error| corrupt("snappy", error))?;
            let from = bytes.len();
            bytes.resize(from + length, 0); // granted: the ticket has grown for it
            let written = snap::raw::Decoder::new().decompress(chunk, &mut bytes[from..]);
            bytes.truncate(from + written.map_err(|error| corrupt("snappy", error))?);
        }
        Ok(Bytes::from(bytes))
    };
    output.aside.run(work, decode).await
}

#[cfg(feature = "kafka")]
fn java_chunks(stream: &[u8]) -> impl Iterator<Item = Result<&[u8], InflateError>> {
    let mut rest = stream.get(JAVA_HEAD_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let torn = || Some(Err(corrupt("snappy", "a chunk is cut off")));
        let Some((length, behind)) = rest.split_first_chunk::<4>() else {
            rest = &[];
            return torn();
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((chunk, behind)) = behind.split_at_checked(length) else {
            rest = &[];
            return torn();
        };
        rest = behind;
        Some(Ok(chunk))
    })
}
