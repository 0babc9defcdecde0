//! Documents that Elasticsearch will never take as they are: kept in a file, and sent again by `podgate replay`.

pub mod file;
pub mod replay;
