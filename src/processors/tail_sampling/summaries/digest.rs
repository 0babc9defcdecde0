//! Which policies a summary's bits answer, as a digest that every gateway with the same policies reckons alike.
//!
//! Bits have numbers, not names: they may be merged only where both sides number the same questions alike and decide by the
//! same rules. The digest is of the policies as they are configured, expanded, without layout, comments and the order of
//! keys, and of the questions in the order of their bits. Limits have a state of their own with whoever decides.

use ring::digest::{Context, SHA256};

use crate::core::node::{Entry, Node, Value};

/// Of another number when the bits, the sums or the rules of this version mean something else than before.
const MEANING: u8 = 1;

/// The first bytes of a SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyDigest([u8; PolicyDigest::BYTES]);

impl PolicyDigest {
    pub const BYTES: usize = 8;

    /// `rules` says what beside the policies decides, `questions` what each bit asks, from the first on.
    pub fn new<'q>(policies: &Node, rules: &str, questions: impl Iterator<Item = &'q str>) -> PolicyDigest {
        let mut context = Context::new(&SHA256);
        context.update(&[MEANING]);
        text(&mut context, rules);
        questions.for_each(|question| text(&mut context, question));
        node(&mut context, policies);
        let mut bytes = [0; PolicyDigest::BYTES];
        bytes.copy_from_slice(&context.finish().as_ref()[..PolicyDigest::BYTES]);
        PolicyDigest(bytes)
    }

    pub fn of_bytes(bytes: [u8; PolicyDigest::BYTES]) -> PolicyDigest {
        PolicyDigest(bytes)
    }

    pub fn bytes(self) -> [u8; PolicyDigest::BYTES] {
        self.0
    }
}

/// With its length, so that two texts are not one.
fn text(context: &mut Context, text: &str) {
    context.update(&(text.len() as u64).to_le_bytes());
    context.update(text.as_bytes());
}

/// With a letter for its kind. Depth is bounded by what YAML may nest.
fn node(context: &mut Context, of: &Node) {
    // A number such as 0777 is a text where a text is wanted.
    text(context, of.written.as_deref().unwrap_or_default());
    match &of.value {
        Value::Null => context.update(b"n"),
        Value::Bool(value) => context.update(&[b'b', u8::from(*value)]),
        Value::Int(value) => {
            context.update(b"i");
            context.update(&value.to_le_bytes());
        }
        Value::Float(value) => {
            context.update(b"f");
            context.update(&value.to_bits().to_le_bytes());
        }
        Value::String(value) => {
            context.update(b"s");
            text(context, value);
        }
        Value::List(items) => {
            context.update(b"l");
            context.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| node(context, item));
        }
        Value::Map(entries) => {
            context.update(b"m");
            context.update(&(entries.len() as u64).to_le_bytes());
            let mut sorted: Vec<&Entry> = entries.iter().collect();
            sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            for entry in sorted {
                text(context, &entry.key);
                node(context, &entry.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::node::Place;

    fn map(entries: &[(&str, Value)], line: u32) -> Node {
        let place = Place { line, ..Place::default() };
        let entry = |(key, value): &(&str, Value)| Entry {
            key: (*key).to_owned(),
            key_place: place,
            value: Node::new(value.clone(), place),
        };
        Node::new(Value::Map(entries.iter().map(entry).collect()), place)
    }

    fn digest(policies: &Node) -> PolicyDigest {
        PolicyDigest::new(policies, "rules", ["a", "b"].into_iter())
    }

    #[test]
    fn layout_and_the_order_of_keys_change_nothing_and_every_value_does() {
        let (name, count) = (("name", Value::String("a".into())), ("min_spans", Value::Int(2)));
        let first = digest(&map(&[name.clone(), count.clone()], 1));
        assert_eq!(digest(&map(&[count.clone(), name.clone()], 40)), first);
        let others = [Value::Int(3), Value::Float(2.0), Value::String("2".into()), Value::Bool(true), Value::Null];
        for other in others {
            assert_ne!(digest(&map(&[name.clone(), ("min_spans", other.clone())], 1)), first, "{other:?}");
        }
        let list = |texts: &[&str]| {
            let items = texts.iter().map(|text| Node::new(Value::String((*text).to_owned()), Place::default()));
            digest(&Node::new(Value::List(items.collect()), Place::default()))
        };
        assert_ne!(list(&["ab", "c"]), list(&["a", "bc"]));
        assert_ne!(list(&["a", "b"]), list(&["b", "a"]), "the order of policies counts");
    }

    #[test]
    fn what_the_bits_ask_and_what_else_decides_belongs_to_it() {
        let policies = map(&[("name", Value::Null)], 1);
        let of = |rules: &str, questions: &[&str]| PolicyDigest::new(&policies, rules, questions.iter().copied());
        let first = of("rules", &["a", "b"]);
        assert_eq!(of("rules", &["a", "b"]), first);
        for other in [of("rule", &["a", "b"]), of("rules", &["b", "a"]), of("rules", &["ab"]), of("rules", &["a"])] {
            assert_ne!(other, first);
        }
    }
}
