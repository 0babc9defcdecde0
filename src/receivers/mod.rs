//! Components that take data in.
