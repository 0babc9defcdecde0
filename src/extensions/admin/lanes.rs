//! What changed between two looks at the lanes of `/v1/runs`: whoever watches gets all of them once, then the changes. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The lanes as they were sent last, by what names each.
#[derive(Debug, Default)]
pub struct LaneBook {
    lanes: BTreeMap<String, Value>,
    facts: Value,
}

impl LaneBook {
    /// Takes a page of `/v1/runs`; tells what is new, changed or gone since the last one, `None` when nothing is.
    pub fn update(&mut self, page: &Value) -> Option<Value> {
        let none = serde_json::Map::new();
        let (mut fresh, mut facts) = (BTreeMap::new(), serde_json::Map::new());
        for (processor, told) in page["processors"].as_object().unwrap_or(&none) {
            for lane in told["lanes"].as_array().into_iter().flatten() {
                let mut lane = lane.clone();
                let key = format!("{processor} {}/{}", text(&lane["uid"]), text(&lane["container"]));
                lane["key"] = key.as_str().into();
                lane["processor"] = processor.as_str().into();
                fresh.insert(key, lane);
            }
            let of = ["synced", "pods", "total"].map(|name| (name.to_owned(), told[name].clone()));
            facts.insert(processor.clone(), Value::Object(of.into_iter().collect()));
        }
        let facts = Value::Object(facts);
        let changed: Vec<&Value> =
            fresh.iter().filter(|(key, lane)| self.lanes.get(*key) != Some(lane)).map(|(_, lane)| lane).collect();
        let gone: Vec<&String> = self.lanes.keys().filter(|key| !fresh.contains_key(*key)).collect();
        let told = (!changed.is_empty() || !gone.is_empty() || facts != self.facts)
            .then(|| json!({ "whole": false, "facts": facts, "lanes": changed, "gone": gone }));
        (self.lanes, self.facts) = (fresh, facts);
        told
    }

    /// Everything, for who comes new.
    pub fn whole(&self) -> Value {
        json!({ "whole": true, "facts": self.facts, "lanes": self.lanes.values().collect::<Vec<_>>(), "gone": [] })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lanes: &[(&str, u64)]) -> Value {
        let lanes: Vec<Value> =
            lanes.iter().map(|(container, runs)| json!({"uid": "u", "container": container, "runs": runs})).collect();
        json!({ "processors": { "k8s_attributes": { "total": lanes.len(), "lanes": lanes } } })
    }

    #[test]
    fn who_watches_is_told_what_changed_and_who_comes_new_everything() {
        let mut book = LaneBook::default();
        let first = book.update(&page(&[("a", 1), ("b", 1)])).expect("all are new");
        assert_eq!(first["lanes"].as_array().map(Vec::len), Some(2));
        assert_eq!(book.update(&page(&[("a", 1), ("b", 1)])), None, "nothing changed");
        let next = book.update(&page(&[("a", 2), ("c", 1)])).expect("one changed, one is new, one is gone");
        assert_eq!((next["lanes"][0]["runs"].as_u64(), &next["lanes"][1]["container"]), (Some(2), &json!("c")));
        assert_eq!((next["lanes"].as_array().map(Vec::len), &next["gone"]), (Some(2), &json!(["k8s_attributes u/b"])));
        let whole = book.whole();
        assert_eq!((&whole["whole"], whole["lanes"].as_array().map(Vec::len)), (&json!(true), Some(2)));
        book.update(&json!({})).expect("all are gone");
        assert_eq!(book.whole()["lanes"], json!([]));
    }
}
