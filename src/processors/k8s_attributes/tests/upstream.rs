//! Upstream's cases.
