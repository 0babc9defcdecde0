//! OTLP/JSON to request bytes at the door, and request bytes to OTLP/JSON lines where a file or a screen wants them.
//!
//! One table of the OTLP messages (`schema`) drives both directions; no value tree is built. Nothing behind the receiver
//! knows that a request was JSON. What is read beyond the specification, because the Collector reads it too: snake_case
//! keys, names of enum values, 32-bit numbers as strings. Beyond the Collector, as protobuf's JSON mapping has it: `1e3`
//! and `1.0` for whole numbers, also quoted; both base64 alphabets; null for any field. What the Collector lets
//! through and we do not: text after the request.

pub mod base64;
pub mod line;
pub mod number;
mod pair;
mod read;
mod scan;
pub mod schema;
pub mod text;
pub mod value;
mod write;

pub use read::{TranscodeError, Transcoded, to_wire, to_wire_within, transcode};
pub use scan::{JsonError, Quoted, Scanner};
pub use write::{from_wire, readable_from_wire};
