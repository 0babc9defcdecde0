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
