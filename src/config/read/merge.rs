//! Joining several configurations into one, by the Collector's rules: maps join, everything else is replaced.
//!
//! A null in a later source replaces too: that is how an overlay empties a body. Keys with `::` are paths written short.

use std::collections::HashMap;

use crate::core::limits::CONFIG_DEPTH_MAX;
use crate::core::node::{Entry, Node, Place, Value};

/// Puts `over` on top of `base`; both are taken apart, so this costs one pass.
pub fn join(base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::Map(mut entries), Value::Map(more)) => {
            let mut at: HashMap<String, usize> =
                entries.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
            for entry in more {
                match at.get(&entry.key) {
                    Some(index) => {
                        let below = &mut entries[*index];
                        let before = std::mem::replace(&mut below.value, Node::null(entry.key_place));
                        let joined = matches!((&before.value, &entry.value.value), (Value::Map(_), Value::Map(_)));
                        below.value = join(before, entry.value);
                        if !joined {
                            below.key_place = entry.key_place;
                        }
                    }
                    None => {
                        at.insert(entry.key.clone(), entries.len());
                        entries.push(entry);
                    }
                }
            }
            Node::new(Value::Map(entries), base.place)
        }
        (_, value) => Node { value, ..over },
    }
}

/// Writes keys such as `exporters::debug` out as nested maps. Lists are left alone, as in the Collector.
pub fn split_paths(node: Node) -> Node {
    split_below(node, 0)
}

/// A first key with what stands under it: its own value, and the rest of longer keys that begin with it.
struct Group {
    key: String,
    key_place: Place,
    own: Option<Node>,
    longer: Vec<Entry>,
}

fn split_below(node: Node, depth: usize) -> Node {
    let Value::Map(entries) = node.value else { return node };
    let mut groups: Vec<Group> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let (first, rest) = match entry.key.split_once("::") {
            Some((first, rest)) if depth + 1 < CONFIG_DEPTH_MAX => (first, Some(rest)),
            _ => (entry.key.as_str(), None),
        };
        let index = *at.entry(first.to_owned()).or_insert(groups.len());
        if index == groups.len() {
            groups.push(Group { key: first.to_owned(), key_place: entry.key_place, own: None, longer: Vec::new() });
        }
        match rest {
            Some(rest) => groups[index].longer.push(Entry { key: rest.to_owned(), ..entry }),
            None => groups[index].own = Some(entry.value),
        }
    }
    let entries = groups.into_iter().map(|group| {
        let own = group.own.map(|own| split_below(own, depth + 1));
        let longer = Node::new(Value::Map(group.longer), group.key_place);
        let value = match own {
            Some(own) if longer.entries().is_empty() => own,
            Some(own) => join(own, split_below(longer, depth + 1)),
            None => split_below(longer, depth + 1),
        };
        Entry { key: group.key, key_place: group.key_place, value }
    });
    Node { value: Value::Map(entries.collect()), ..node }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::yaml;
    use crate::config::show::print;
    use crate::core::diagnostic::Diagnostics;
    use crate::core::node::SourceId;

    fn tree(text: &str) -> Node {
        yaml::parse(text, SourceId(0), &Diagnostics::default()).expect("test YAML parses")
    }

    #[test]
    fn maps_join_lists_replace_and_null_replaces() {
        for (base, over, joined) in [
            ("{a: {b: 1, c: 2}}", "{a: {c: 3, d: 4}}", "{a: {b: 1, c: 3, d: 4}}"),
            ("{a: [1, 2]}", "{a: [3]}", "{a: [3]}"),
            ("{a: {b: 1}}", "{a: }", "{a: }"),
            ("{a: 1}", "{a: {b: 2}}", "{a: {b: 2}}"),
            ("{a: 1}", "{}", "{a: 1}"),
        ] {
            let (joined, expected) = (join(tree(base), tree(over)), tree(joined));
            assert_eq!(
                print::to_yaml(&joined, print::Secrets::Shown),
                print::to_yaml(&expected, print::Secrets::Shown)
            );
        }
    }

    #[test]
    fn keys_with_double_colons_are_paths() {
        let split = split_paths(tree("{a::b::c: 1, a: {b: {d: 2}}, l: [{x::y: 3}]}"));
        let expected = tree("{a: {b: {d: 2, c: 1}}, l: [{x::y: 3}]}");
        assert_eq!(print::to_yaml(&split, print::Secrets::Shown), print::to_yaml(&expected, print::Secrets::Shown));
    }
}
