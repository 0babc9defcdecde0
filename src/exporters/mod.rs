//! Components that hand data on.
