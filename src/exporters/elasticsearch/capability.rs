//! What a cluster can take, by product and version: which parts of a bulk request and of a document it knows.
//!
//! One unknown word in an action line or a query makes Elasticsearch refuse the whole request, so what is written is
//! decided here and nowhere else.

/// What the other side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `require_data_stream` in action lines: Elasticsearch since 8.12 (contrib #37283).
    pub require_data_stream: bool,
    /// `dynamic_templates` in action lines.
    pub dynamic_templates: bool,
    /// Lists as dimensions of a time series; 8.19 was seen to take them.
    pub array_dimensions: bool,
    /// The query parameter `include_source_on_error`: Elasticsearch since 8.18.
    pub include_source_on_error: bool,
}

impl Default for Capability {
    /// Elasticsearch 8.19, the version that everything is tested against.
    fn default() -> Capability {
        Capability {
            require_data_stream: true,
            dynamic_templates: true,
            array_dimensions: true,
            include_source_on_error: true,
        }
    }
}
