//! Components beside the data path.
