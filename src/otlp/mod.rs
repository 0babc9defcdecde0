//! OTLP as bytes: envelopes, the walker, edits on resource bytes, splitting and regrouping.

pub mod walk;
