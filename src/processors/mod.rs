//! Components that change, hold or decide.
