//! OTLP as bytes: envelopes, the walker, edits on resource bytes, splitting and regrouping, marks of sampling.

pub mod attributes;
pub mod consistency;
pub mod depth;
pub mod draft;
pub mod edit;
pub mod envelope;
pub mod fields;
pub mod ids;
pub mod json;
pub mod readable;
pub mod regroup;
pub mod span;
pub mod trace_text;
pub mod walk;
pub mod write;
