//! Index templates for clusters that bring none for OpenTelemetry: the fields that documents of mode `otel` have, and how
//! long data is kept. A pure renderer; it asks nobody.
//!
//! They are smaller than Elastic's own: what is needed so that every document is taken and attributes are searchable.

use serde_json::{Value, json};

use crate::exporters::elasticsearch::capability::{Capability, Product};
use crate::exporters::elasticsearch::mapping::DataStreamType;

/// Below what Elastic installs itself (120 and more), so that an upgrade takes over.
const PRIORITY: u32 = 110;
/// The lifecycle policy's name where retention is not part of a data stream.
pub const POLICY: &str = "podgate-retention";

/// The template's name.
pub fn name(kind: DataStreamType) -> String {
    format!("podgate-{}-otel", kind.name())
}

/// The body of `PUT _index_template/<name>`.
pub fn template(kind: DataStreamType, product: Product, takes: &Capability, retention: &str) -> Value {
    let mut settings = json!({"index.mapping.total_fields.limit": 2000, "index.mapping.ignore_malformed": true});
    let mut template = json!({"mappings": mappings(kind, product, takes)});
    match product {
        Product::OpenSearch => {}
        _ if takes.stream_lifecycle => template["lifecycle"] = json!({"data_retention": retention}),
        _ => settings["index.lifecycle.name"] = json!(POLICY),
    }
    template["settings"] = settings;
    json!({
        "index_patterns": [format!("{}-*.otel-*", kind.name())],
        "priority": PRIORITY,
        "data_stream": {},
        "template": template,
        "_meta": {"managed_by": "podgate"},
    })
}

/// The body of `PUT _ilm/policy/podgate-retention`.
pub fn policy(retention: &str) -> Value {
    json!({"policy": {"phases": {
        "hot": {"actions": {"rollover": {"max_age": "30d", "max_primary_shard_size": "50gb"}}},
        "delete": {"min_age": retention, "actions": {"delete": {}}},
    }}})
}

fn mappings(kind: DataStreamType, product: Product, takes: &Capability) -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": 1024});
    let mut properties = json!({
        "@timestamp": {"type": "date"},
        "data_stream": {"properties": {"type": keyword, "dataset": keyword, "namespace": keyword}},
        "trace_id": keyword,
        "span_id": keyword,
        "attributes": attributes(takes, 30),
        "scope": {"properties": {
            "name": keyword, "version": keyword, "schema_url": keyword,
            "dropped_attributes_count": {"type": "long"}, "attributes": attributes(takes, 20)}},
        "resource": {"properties": {
            "schema_url": keyword, "dropped_attributes_count": {"type": "long"}, "attributes": attributes(takes, 10)}},
        "dropped_attributes_count": {"type": "long"},
    });
    let own = match kind {
        DataStreamType::Traces => json!({
            "parent_span_id": keyword, "name": keyword, "kind": keyword, "trace_state": keyword,
            "duration": {"type": "long"}, "dropped_events_count": {"type": "long"},
            "dropped_links_count": {"type": "long"}, "links": structured(product),
            "status": {"properties": {"code": keyword, "message": keyword}},
            "trace.id": alias("trace_id"), "span.id": alias("span_id"), "parent.id": alias("parent_span_id"),
            "span.name": alias("name"),
        }),
        DataStreamType::Logs => json!({
            "observed_timestamp": {"type": if product == Product::OpenSearch { "date" } else { "date_nanos" }},
            "severity_text": keyword, "severity_number": {"type": "byte"},
            "event_name": keyword,
            "body": {"properties": {"text": {"type": "match_only_text"}, "structured": structured(product)}},
            "message": alias("body.text"), "log.level": alias("severity_text"), "trace.id": alias("trace_id"),
            "span.id": alias("span_id"),
        }),
        DataStreamType::Metrics => json!({
            "start_timestamp": {"type": "date"}, "unit": keyword, "_metric_names_hash": keyword,
            "metrics": attributes(takes, 1),
        }),
    };
    if let (Some(all), Value::Object(own)) = (properties.as_object_mut(), own) {
        all.extend(own);
    }
    let dynamic = dynamic_templates(product, takes);
    json!({"dynamic": false, "date_detection": false, "dynamic_templates": dynamic, "properties": properties})
}

/// Fields with dots in their names, which stay one name: `app` and `app.version` are no conflict. Where the product knows
/// how they are found without their prefix. Elasticsearch 8.3 and later know the plainer form; others make objects.
fn attributes(takes: &Capability, priority: u32) -> Value {
    if takes.passthrough {
        return json!({"type": "passthrough", "dynamic": true, "priority": priority});
    }
    match takes.flat_objects {
        true => json!({"type": "object", "dynamic": true, "subobjects": false}),
        false => json!({"type": "object", "dynamic": true}),
    }
}

/// Another name under which a field is found.
fn alias(path: &str) -> Value {
    json!({"type": "alias", "path": path})
}

fn structured(product: Product) -> Value {
    json!({"type": if product == Product::OpenSearch { "flat_object" } else { "flattened" }})
}

/// The names that action lines of metrics speak of, and what texts and maps among attributes become.
fn dynamic_templates(product: Product, takes: &Capability) -> Value {
    let mut list = vec![
        json!({"complex_attributes": {
            "path_match": ["attributes.*", "scope.attributes.*", "resource.attributes.*"],
            "match_mapping_type": "object", "mapping": structured(product)}}),
        json!({"texts": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1024}}}),
    ];
    if takes.dynamic_templates {
        for (name, field) in [
            ("counter_long", json!({"type": "long"})),
            ("counter_double", json!({"type": "double"})),
            ("gauge_long", json!({"type": "long"})),
            ("gauge_double", json!({"type": "double"})),
        ] {
            list.push(json!({name: {"mapping": field}}));
        }
        if takes.histograms {
            list.push(json!({"histogram": {"mapping": {"type": "histogram"}}}));
        }
        if takes.aggregates {
            let aggregate = json!({"type": "aggregate_metric_double", "metrics": ["sum", "value_count"],
                "default_metric": "value_count"});
            list.push(json!({"summary": {"mapping": aggregate}}));
        }
    }
    Value::Array(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The templates that documents were seen to be taken with by a real Elasticsearch 8.19 name these fields.
    #[test]
    fn every_field_that_the_tested_templates_name_is_named() {
        let tested: Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/elastic/own_es_templates.json"
        )))
        .unwrap();
        for kind in [DataStreamType::Traces, DataStreamType::Logs, DataStreamType::Metrics] {
            let ours = template(kind, Product::Elasticsearch, &Capability::default(), "30d");
            let wanted = &tested[format!("{}-otel", kind.name())];
            assert_eq!(ours["index_patterns"], wanted["index_patterns"]);
            let (known, fields) = (&ours["template"]["mappings"]["properties"], &wanted["template"]["mappings"]);
            let fields = fields["properties"].as_object().unwrap().keys();
            let elsewhere = |field: &&String| !["observed_timestamp", "start_timestamp"].contains(&field.as_str());
            for field in fields.filter(elsewhere) {
                let absent = ["trace_id", "span_id"].contains(&field.as_str());
                assert!(known.get(field).is_some() || absent, "{field} of {}", kind.name());
            }
        }
    }

    #[test]
    fn what_a_product_does_not_know_is_not_in_its_template() {
        let open = Capability::of(Product::OpenSearch, (3, 6));
        let text = template(DataStreamType::Metrics, Product::OpenSearch, &open, "30d").to_string();
        for word in ["passthrough", "flattened", "histogram", "aggregate_metric_double", "lifecycle"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        let old = Capability::of(Product::Elasticsearch, (8, 12));
        let text = template(DataStreamType::Traces, Product::Elasticsearch, &old, "30d").to_string();
        assert!(text.contains(POLICY) && !text.contains("data_retention"));
    }
}
