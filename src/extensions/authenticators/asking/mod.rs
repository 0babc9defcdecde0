//! Authenticators that ask another server whether a credential is good. `verdicts` remembers and bounds what is asked by
//! its `terms`; the others are what is asked of whom.

pub mod api_key;
mod privileges;
mod review;
mod security;
mod terms;
pub mod token_review;
mod verdicts;
