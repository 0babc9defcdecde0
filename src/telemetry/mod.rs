//! What podgate says of itself: metrics, logs.
