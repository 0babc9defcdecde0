//! What a cluster can take, by product and version: which parts of a bulk request and of a document it knows.
//!
//! One unknown word in an action line or a query makes the whole request fail, so what is written is decided here and
//! nowhere else. Tested is 8.19; the other rows follow release notes and issues.

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    Elasticsearch,
    /// Elastic's managed service without versions.
    Serverless,
    OpenSearch,
}

/// Major and minor number.
pub type Version = (u32, u32);

/// The version that everything is tested against.
pub const TESTED: Version = (8, 19);

/// What the other side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// `require_data_stream` in action lines: Elasticsearch since 8.12 (contrib #37283).
    pub require_data_stream: bool,
    /// `dynamic_templates` in action lines: Elasticsearch since 7.13.
    pub dynamic_templates: bool,
    /// Lists as dimensions of a time series; 8.19 was seen to take them (contrib #35004 for those that do not).
    pub array_dimensions: bool,
    /// The query parameter `include_source_on_error`: Elasticsearch since 8.18.
    pub include_source_on_error: bool,
    /// Field type `histogram`; without it histograms are written as sum and count.
    pub histograms: bool,
    /// Field type `aggregate_metric_double`.
    pub aggregates: bool,
    /// Field type `passthrough`: Elasticsearch since 8.14.
    pub passthrough: bool,
    /// Objects whose keys keep their dots (`subobjects: false`): Elasticsearch since 8.3.
    pub flat_objects: bool,
    /// Index templates for OpenTelemetry come with the product: Elasticsearch since 8.16.
    pub own_templates: bool,
    /// Retention is part of a data stream: Elasticsearch since 8.14.
    pub stream_lifecycle: bool,
}

impl Default for Capability {
    fn default() -> Capability {
        Capability::of(Product::Elasticsearch, TESTED)
    }
}

impl Capability {
    /// The table.
    pub fn of(product: Product, version: Version) -> Capability {
        let since = |from: Version| match product {
            Product::Elasticsearch => version >= from,
            Product::Serverless => true,
            Product::OpenSearch => false,
        };
        Capability {
            require_data_stream: since((8, 12)),
            dynamic_templates: since((7, 13)),
            array_dimensions: since((8, 19)),
            include_source_on_error: since((8, 18)),
            histograms: since((7, 6)),
            aggregates: since((7, 11)),
            passthrough: since((8, 14)),
            flat_objects: since((8, 3)),
            own_templates: since((8, 16)),
            stream_lifecycle: since((8, 14)),
        }
    }
}

/// "8.19.21" to (8, 19).
pub fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// "9.2", "opensearch-3.6", "serverless": a product and version as a person writes them.
pub fn parse_product(text: &str) -> Option<(Product, Version)> {
    let text = text.trim().to_ascii_lowercase();
    if text == "serverless" {
        return Some((Product::Serverless, TESTED));
    }
    let (product, number) = match text.strip_prefix("opensearch") {
        Some(rest) => (Product::OpenSearch, rest),
        None => (Product::Elasticsearch, text.strip_prefix("elasticsearch").unwrap_or(&text)),
    };
    Some((product, parse_version(number.trim_start_matches(['-', ' ']))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_written_only_for_versions_that_know_it() {
        let of = |version| Capability::of(Product::Elasticsearch, version);
        assert!(!of((8, 11)).require_data_stream && of((8, 12)).require_data_stream);
        assert!(!of((8, 17)).include_source_on_error && of((8, 18)).include_source_on_error);
        assert!(!of((8, 15)).own_templates && of((9, 0)).own_templates);
        let open = Capability::of(Product::OpenSearch, (3, 6));
        assert!(!open.require_data_stream && !open.dynamic_templates && !open.include_source_on_error);
    }

    #[test]
    fn versions_are_read_from_what_clusters_say() {
        assert_eq!(parse_version("8.19.21"), Some((8, 19)));
        assert_eq!(parse_version("9.0.0-SNAPSHOT"), Some((9, 0)));
        assert_eq!(parse_version("next"), None);
        assert_eq!(parse_version("8"), None);
    }

    #[test]
    fn a_product_is_read_as_people_write_it() {
        assert_eq!(parse_product("9.2"), Some((Product::Elasticsearch, (9, 2))));
        assert_eq!(parse_product("Elasticsearch 8.19.1"), Some((Product::Elasticsearch, (8, 19))));
        assert_eq!(parse_product("opensearch-3.6"), Some((Product::OpenSearch, (3, 6))));
        assert_eq!(parse_product("serverless"), Some((Product::Serverless, TESTED)));
        for text in ["", "nine", "9", "opensearch", "solr-9.1"] {
            assert_eq!(parse_product(text), None, "{text:?}");
        }
    }
}
