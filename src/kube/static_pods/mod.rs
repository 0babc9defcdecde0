//! Pods from a file in place of an API server: a PodList, List or single Pod in YAML or JSON.
//!
//! What `kubectl get pods -A -o yaml` prints, and the key `podgate: {pods_file: ...}` names. For tests, for machines
//! without a cluster, and for asking what a given table would answer. It goes through the same decoder as the watch.

use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

use crate::kube::decode::{DecodedPod, Decoder, Keep, ListSplitter, Piece};

/// Some thousand pods with all their fields.
const FILE_BYTES_MAX: u64 = 64 << 20;
const DEPTH_MAX: usize = 64;
/// Values of the whole file, counted after aliases are resolved.
const VALUES_MAX: usize = 4_000_000;

/// The pods of a file.
#[derive(Debug, Default, PartialEq)]
pub struct StaticPods {
    pub seen: Vec<DecodedPod>,
    /// Objects that are no pods or cannot be read.
    pub skipped: u64,
}

/// Reads and decodes a file. The error says in one line what is wrong.
pub async fn read(file: &Path, keep: Keep) -> Result<StaticPods, String> {
    let shown = file.display();
    let size = tokio::fs::metadata(file).await.map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown}: {size} bytes, at most {FILE_BYTES_MAX} are read"));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("{shown}: {error}"))?;
    let parsed = tokio::task::spawn_blocking(move || parse(&text, keep)).await;
    parsed.map_err(|error| error.to_string())?.map_err(|fault| format!("{shown}: {fault}"))
}

/// Decodes the text of a file.
pub fn parse(text: &str, keep: Keep) -> Result<StaticPods, String> {
    let mut pods = Pods { decoder: Decoder::new(keep), found: StaticPods::default() };
    if text.trim_start().starts_with('{') {
        pods.json(text)?;
    } else {
        pods.yaml(text)?;
    }
    if pods.found.seen.is_empty() && pods.found.skipped > 0 {
        return Err("no object in it is a pod".to_owned());
    }
    Ok(pods.found)
}

struct Pods {
    decoder: Decoder,
    found: StaticPods,
}

impl Pods {
    fn json(&mut self, text: &str) -> Result<(), String> {
        let mut list = ListSplitter::default();
        list.push(text.as_bytes(), &mut |piece| match piece {
            Piece::Object(item) => self.add(item),
            Piece::TooLarge => self.found.skipped += 1,
        });
        if list.finish().is_ok() {
            return Ok(());
        }
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())?;
        self.add(text.as_bytes());
        Ok(())
    }

    fn yaml(&mut self, text: &str) -> Result<(), String> {
        let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
        let mut room = VALUES_MAX;
        for document in &documents {
            let items = document.as_mapping_get("items").and_then(Yaml::as_sequence);
            let single = std::slice::from_ref(document);
            for item in items.map_or(single, Vec::as_slice) {
                let json = to_json(item, DEPTH_MAX, &mut room)?;
                self.add(json.to_string().as_bytes());
            }
        }
        Ok(())
    }

    fn add(&mut self, json: &[u8]) {
        match self.decoder.pod(json) {
            Ok(seen) => self.found.seen.push(seen),
            Err(_) => self.found.skipped += 1,
        }
    }
}

fn to_json(node: &Yaml<'_>, depth: usize, room: &mut usize) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    if depth == 0 || *room == 0 {
        return Err("nested too deeply or too large".to_owned());
    }
    *room -= 1;
    Ok(match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::from(*value),
            Scalar::FloatingPoint(value) => Value::from(value.into_inner()),
            Scalar::String(text) => Value::String(text.to_string()),
        },
        Yaml::Sequence(items) => {
            let values: Result<Vec<Value>, String> = items.iter().map(|item| to_json(item, depth - 1, room)).collect();
            Value::Array(values?)
        }
        Yaml::Mapping(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                if let Some(key) = key.as_str() {
                    map.insert(key.to_owned(), to_json(value, depth - 1, room)?);
                }
            }
            Value::Object(map)
        }
        Yaml::Tagged(_, inner) => to_json(inner, depth - 1, room)?,
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Alias(_) | Yaml::BadValue => return Err("a value cannot be read".to_owned()),
    })
}

#[cfg(test)]
mod tests;
