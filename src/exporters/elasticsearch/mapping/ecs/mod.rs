//! Mapping mode `ecs`: nested objects under the names of the Elastic Common Schema, as the Collector's exporter writes
//! them for Elastic's APM streams.
//!
//! Attributes stand at the root, resource before scope before record, and the document's own fields come last: of two
//! values for one name the last stays.

mod log;
mod metric;
mod rename;
mod span;

pub use log::logs;
pub use metric::metrics;
pub use span::spans;

use crate::exporters::elasticsearch::mapping::ecs::rename::Rename;
use crate::exporters::elasticsearch::mapping::json::attributes::Repeated;
use crate::exporters::elasticsearch::mapping::json::tree::FieldTree;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::route::WantedTarget;
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::otlp::walk::{Attribute, Malformed};

/// The fields that resource and scope give to every document.
fn add_shared(tree: &mut FieldTree, scope: &MappedScope<'_>, seen: &mut SeenKeys) -> Result<(), Malformed> {
    add_renamed(tree, &scope.resource.attributes, rename::of_resource, seen)?;
    tree.add_attributes(b"", &scope.scope.attributes, seen)
}

/// Attributes under the names that `rename` gives them; returns what they say about the destination.
fn add_renamed<'a>(
    tree: &mut FieldTree,
    attributes: &Repeated<'a>,
    rename: fn(&[u8]) -> Rename,
    seen: &mut SeenKeys,
) -> Result<WantedTarget<'a>, Malformed> {
    let mut wanted = WantedTarget::default();
    for entry in attributes.entries() {
        let attribute = entry.and_then(Attribute::read)?;
        if wanted.note(&attribute) {
            continue;
        }
        match rename(attribute.key) {
            Rename::Keep => tree.add_value((b"", attribute.key), attribute.value, seen, 0)?,
            Rename::Drop => {}
            Rename::To(name) => tree.add_value((b"", name.as_bytes()), attribute.value, seen, 0)?,
            Rename::Also(name) => {
                if !holds(attributes, name) {
                    tree.add_value((b"", name.as_bytes()), attribute.value, seen, 0)?;
                }
                tree.add_value((b"", attribute.key), attribute.value, seen, 0)?;
            }
        }
    }
    Ok(wanted)
}

fn holds(attributes: &Repeated<'_>, key: &str) -> bool {
    attributes.entries().flatten().flat_map(Attribute::read).any(|attribute| attribute.key == key.as_bytes())
}
