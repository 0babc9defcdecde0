//! Checked settings of a sampler from JSON, for whoever drives its parts without a gateway.

use podgate::core::node::{Entry, Node, Place, Value};
use podgate::core::stage::factory::Checks;
use podgate::processors::tail_sampling::config::{self, SamplingSettings};
use podgate::testing::check;

pub fn settings(json: &serde_json::Value) -> SamplingSettings {
    let checks = Checks::default();
    check::run(&checks, "processors::tail_sampling", &node(json), config::check)
        .unwrap_or_else(|| panic!("{:#?}", checks.diagnostics.sorted()))
}

fn node(json: &serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Int(number.as_i64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(map) => {
            let entry = |(key, value): (&String, _)| Entry {
                key: key.clone(),
                key_place: Place::default(),
                value: node(value),
            };
            Value::Map(map.iter().map(entry).collect())
        }
    };
    Node::new(value, Place::default())
}
