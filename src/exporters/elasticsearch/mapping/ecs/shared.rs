//! What all documents of the mode take: fields of resource and scope, and attributes under other names.

use crate::exporters::elasticsearch::mapping::ecs::rename;
use crate::exporters::elasticsearch::mapping::ecs::rename::Rename;
use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::tree::FieldTree;
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::route::WantedTarget;
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::otlp::walk::{Attribute, Malformed};

/// The fields that resource and scope give to every document.
pub(super) fn add_shared(tree: &mut FieldTree, scope: &MappedScope<'_>, seen: &mut SeenKeys) -> Result<(), Malformed> {
    add_renamed(tree, &scope.resource.attributes, rename::of_resource, seen)?;
    tree.add_attributes(b"", &scope.scope.attributes, seen)
}

/// Attributes under the names that `rename` gives them; returns what they say about the destination.
pub(super) fn add_renamed<'a>(
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

pub(super) fn holds(attributes: &Repeated<'_>, key: &str) -> bool {
    attributes.entries().flatten().flat_map(Attribute::read).any(|attribute| attribute.key == key.as_bytes())
}
