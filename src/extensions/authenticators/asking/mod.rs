//! Authenticators that ask another server whether a credential is good. `verdicts` remembers and bounds what is asked; the
//! others are what is asked of whom.

pub mod api_key;
mod privileges;
mod review;
pub mod token_review;
mod verdicts;
