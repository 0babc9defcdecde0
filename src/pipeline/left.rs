//! The configuration as a tree without what `--unsupported=skip` leaves out: what `print-config` shows then.

use crate::config::document::{self, ConfigDocument, Named};
use crate::core::diagnostic::{Diagnostics, Severity};
use crate::core::node::{Entry, Node, Value};
use crate::core::stage::component::Kind;
use crate::pipeline::unsupported;

/// The tree without what podgate does not have. Its findings are the check's, which trims for itself.
pub fn without_unsupported(tree: &Node) -> Node {
    let unheard = Diagnostics::default();
    let document = unsupported::without(document::read(tree, &unheard), Severity::Warning, &unheard);
    let mut left = tree.clone();
    for kind in Kind::ALL {
        keep_entries(child(&mut left, kind.section()), |entry| {
            let declared = document.components.iter().find(|declared| declared.place == entry.key_place);
            if let Some(declared) = declared {
                entry.value = declared.body.clone();
            }
            declared.is_some()
        });
    }
    if let Some(service) = child(&mut left, "service") {
        keep_names(child(service, "extensions"), &document.extensions);
        keep_entries(child(service, "pipelines"), |entry| keep_pipeline(entry, &document));
    }
    left
}

/// False for a pipeline that goes; one that stays loses the names of what goes.
fn keep_pipeline(entry: &mut Entry, document: &ConfigDocument) -> bool {
    let Some(pipeline) = document.pipelines.iter().find(|pipeline| pipeline.place == entry.key_place) else {
        return false;
    };
    for (key, names) in
        [("receivers", &pipeline.receivers), ("processors", &pipeline.processors), ("exporters", &pipeline.exporters)]
    {
        keep_names(child(&mut entry.value, key), names);
    }
    true
}

fn child<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
}

fn keep_entries(map: Option<&mut Node>, keep: impl FnMut(&mut Entry) -> bool) {
    if let Some(Node { value: Value::Map(entries), .. }) = map {
        entries.retain_mut(keep);
    }
}

fn keep_names(list: Option<&mut Node>, names: &[Named]) {
    if let Some(Node { value: Value::List(items), .. }) = list {
        items.retain(|item| names.iter().any(|named| named.place == item.place));
    }
}
