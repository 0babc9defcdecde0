//! Components that change, hold or decide.

pub mod k8s_attributes;
