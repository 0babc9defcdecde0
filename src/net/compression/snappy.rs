//! Snappy's block format: its head states the decoded length, which is checked before anything is allocated.

use bytes::Bytes;

use crate::net::compression::{InflateError, Output, corrupt};

pub(super) fn block(input: &[u8], output: &Output<'_>) -> Result<Bytes, InflateError> {
    let length = snap::raw::decompress_len(input).map_err(|error| corrupt("snappy", error))?;
    let mut bytes = output.exactly(length as u64)?;
    bytes.resize(length, 0);
    let written = snap::raw::Decoder::new().decompress(input, &mut bytes).map_err(|error| corrupt("snappy", error))?;
    bytes.truncate(written);
    Ok(Bytes::from(bytes))
}
