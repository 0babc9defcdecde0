//! Property tests of the byte path. A failure prints its seed; `PROPTEST_CASES` sets how many are tried.

#![expect(clippy::unwrap_used, reason = "what a test crate's helpers unwrap ends that test, as it should")]

#[path = "otlp/arbitrary.rs"]
mod arbitrary;
#[path = "otlp/bytes.rs"]
mod bytes_path;
#[path = "otlp/hostile.rs"]
mod hostile;
#[path = "otlp/json.rs"]
mod json;
#[path = "otlp/spelling.rs"]
mod spelling;
