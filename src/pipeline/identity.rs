//! What tells that a component of one configuration is the one of another: its kind, its id, and a digest of its body as it
//! was read, variables and files filled in. Of an exporter also the contents of the files that it reads when it starts. Digests
//! are compared and never shown: a body may hold secrets.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fs::File;
use std::io::Read;

use ring::digest::{Context, SHA256};

use crate::core::node::{Entry, Node, Place, Value};
use crate::core::stage::component::{ComponentId, Kind};

/// SHA-256 over a body without its places and without the order of its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    pub fn of(kind: Kind, body: &Node) -> BodyDigest {
        let mut context = Context::new(&SHA256);
        feed(body, &mut context);
        if kind == Kind::Exporter {
            feed_files(body, &mut context);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        BodyDigest(digest)
    }
}

/// More of a file is not compared; certificates and keys are shorter.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Keys that end so name a file that is read at the start (`tls: {ca_file, cert_file, key_file}`).
const NAMES_FILE: &str = "_file";

/// The contents of the files that keys of the body name; one that cannot be read is as an empty one.
fn feed_files(node: &Node, context: &mut Context) {
    for Entry { key, value, .. } in node.entries() {
        if let (true, Value::String(path)) = (key.ends_with(NAMES_FILE), &value.value) {
            let mut contents = Vec::new();
            let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut contents));
            context.update(&(read.unwrap_or_default() as u64).to_be_bytes());
            context.update(&contents);
        }
        feed_files(value, context);
    }
    node.items().iter().for_each(|item| feed_files(item, context));
}

/// Every text with its length before it, so that no two trees feed the same.
fn feed(node: &Node, context: &mut Context) {
    let mut text = |kind: u8, text: &str| {
        context.update(&[kind]);
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    match &node.value {
        // A key without a body is an empty map, as in the Collector.
        Value::Null => text(b'm', ""),
        Value::Bool(value) => text(b'b', if *value { "1" } else { "0" }),
        Value::Int(value) => text(b'i', &value.to_string()),
        Value::Float(value) => text(b'f', &value.to_bits().to_string()),
        Value::String(value) => text(b's', value),
        Value::List(items) => {
            text(b'l', &items.len().to_string());
            items.iter().for_each(|item| feed(item, context));
        }
        Value::Map(entries) if entries.is_empty() => text(b'm', ""),
        Value::Map(entries) => {
            text(b'm', &entries.len().to_string());
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            for entry in sorted {
                context.update(&(entry.key.len() as u64).to_be_bytes());
                context.update(entry.key.as_bytes());
                feed(&entry.value, context);
            }
        }
    }
    if let Some(written) = &node.written {
        context.update(b"w");
        context.update(&(written.len() as u64).to_be_bytes());
        context.update(written.as_bytes());
    }
}

/// The bodies of one configuration's components, and what its pipelines are made of.
#[derive(Clone, Default)]
pub struct Bodies {
    components: BTreeMap<(Kind, ComponentId), (BodyDigest, Place)>,
    /// By name; the ids in their order.
    pipelines: BTreeMap<String, [Vec<ComponentId>; 3]>,
}

impl Bodies {
    /// `place` is that of the component's id.
    pub fn add(&mut self, kind: Kind, id: &ComponentId, body: &Node, place: Place) {
        if let btree_map::Entry::Vacant(vacant) = self.components.entry((kind, id.clone())) {
            vacant.insert((BodyDigest::of(kind, body), place));
        }
    }

    /// `None` for what is not written, as the extension that runs without being named.
    pub fn of(&self, kind: Kind, id: &ComponentId) -> Option<BodyDigest> {
        self.components.get(&(kind, id.clone())).map(|(body, _)| *body)
    }

    /// Where it is declared.
    pub fn place(&self, kind: Kind, id: &ComponentId) -> Option<Place> {
        self.components.get(&(kind, id.clone())).map(|(_, place)| *place)
    }

    pub fn add_pipeline(&mut self, name: &str, receivers_processors_exporters: [&[ComponentId]; 3]) {
        self.pipelines.insert(name.to_owned(), receivers_processors_exporters.map(<[ComponentId]>::to_vec));
    }

    pub fn retain(&mut self, keep: impl Fn(Kind, &ComponentId) -> bool) {
        self.components.retain(|(kind, id), _| keep(*kind, id));
    }

    fn paths(&self) -> impl Iterator<Item = (Kind, &ComponentId, BodyDigest)> {
        self.components.iter().map(|((kind, id), (body, _))| (*kind, id, *body))
    }
}

/// What a reload changes, by paths in the configuration (`exporters::otlp_grpc`, `service::pipelines::traces`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub changed: Vec<String>,
    /// Components that are the same.
    pub kept: usize,
}

impl Difference {
    pub fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Components and pipelines that are in one of the two, or differ.
    pub fn of(from: &Bodies, to: &Bodies) -> Difference {
        let mut difference = Difference::default();
        for (kind, id, body) in to.paths() {
            match from.of(kind, id) {
                None => difference.added.push(path(kind, id)),
                Some(before) if before != body => difference.changed.push(path(kind, id)),
                Some(_) => difference.kept += 1,
            }
        }
        let gone = from.paths().filter(|(kind, id, _)| to.of(*kind, id).is_none());
        difference.removed.extend(gone.map(|(kind, id, _)| path(kind, id)));
        let pipeline = |name: &String| format!("service::pipelines::{name}");
        for (name, ends) in &to.pipelines {
            match from.pipelines.get(name) {
                None => difference.added.push(pipeline(name)),
                Some(before) if before != ends => difference.changed.push(pipeline(name)),
                Some(_) => {}
            }
        }
        let gone = from.pipelines.keys().filter(|name| !to.pipelines.contains_key(*name));
        difference.removed.extend(gone.map(pipeline));
        difference
    }
}

pub fn path(kind: Kind, id: &ComponentId) -> String {
    format!("{}::{id}", kind.section())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::core::diagnostic::Diagnostics;
    use crate::core::node::SourceId;

    fn body(text: &str) -> Node {
        yaml::parse(text, SourceId(0), &Diagnostics::default()).expect("YAML")
    }

    fn digest(text: &str) -> BodyDigest {
        BodyDigest::of(Kind::Processor, &body(text))
    }

    #[test]
    fn bodies_are_the_same_whatever_their_layout_and_the_order_of_their_keys() {
        assert!(digest("a: 1\nb: {c: [x, y]}") == digest("# said\nb:\n  c:\n  - x\n  - y\na: 1"));
    }

    #[test]
    fn bodies_differ_by_every_value_key_and_order_of_a_list() {
        let all =
            ["a: 1", "a: 2", "b: 1", "a: '1'", "a: [1]", "a: [1, 2]", "a: [2, 1]", "a: {b: 1}", "a: 1\nb: 1", "a: 0x1"];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| digest(one) != digest(other)), "{one}");
        }
    }

    #[test]
    fn an_exporter_whose_certificate_is_another_is_another() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("tls: {{ca_file: '{}'}}", file.path().display());
        let now = |kind| BodyDigest::of(kind, &body(&text));
        let (exporter, receiver) = (now(Kind::Exporter), now(Kind::Receiver));
        std::fs::write(file.path(), "another").expect("written");
        assert!(exporter != now(Kind::Exporter) && receiver == now(Kind::Receiver));
    }

    #[test]
    fn a_difference_names_what_came_what_went_and_what_changed() {
        let bodies = |pairs: &[(&str, &str)]| {
            let mut bodies = Bodies::default();
            for (id, text) in pairs {
                bodies.add(Kind::Exporter, &ComponentId::parse(id).expect("an id"), &body(text), Place::default());
            }
            bodies
        };
        let from = bodies(&[("debug", "a: 1"), ("nop", "{}"), ("file", "path: x")]);
        let to = bodies(&[("debug", "a: 2"), ("nop", ""), ("otlp_grpc", "endpoint: x")]);
        let found = Difference::of(&from, &to);
        assert_eq!((found.added, found.kept), (vec!["exporters::otlp_grpc".to_owned()], 1));
        assert_eq!(
            (found.removed, found.changed),
            (vec!["exporters::file".to_owned()], vec!["exporters::debug".to_owned()])
        );
        assert!(Difference::of(&to, &to).is_none());
    }
}
