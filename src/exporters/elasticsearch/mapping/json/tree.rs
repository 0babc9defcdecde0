//! The fields of one document by their dotted paths, for the modes that write attributes at the root (`ecs`, `none`,
//! `raw`), where attributes meet each other's paths and the document's own fields.
//!
//! Of two values for one path the last stays. A scalar whose path is also the beginning of others becomes their
//! `.value`, because a field cannot be a scalar and an object, unless the schema fixes its path: then the others have no
//! field. A path that Elasticsearch refuses (an empty or blank part,
//! too many parts) has no field. All bytes lie in one buffer that is used again.

use std::cmp::Ordering;

use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::value;
use crate::exporters::elasticsearch::mapping::json::value::{SeenKeys, same_key};
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, WantedTarget};
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::ids::push_hex;
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// `index.mapping.depth.limit` of Elasticsearch; also how deep writing recurses.
const PARTS_MAX: usize = 20;
const VALUE: &[u8] = b"value";

#[derive(Debug, Default)]
pub struct FieldTree {
    /// Paths and values, rendered.
    text: Vec<u8>,
    fields: Vec<Field>,
    order: Vec<u32>,
    path: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    path: usize,
    value: usize,
    end: usize,
}

/// How many fields there are.
#[derive(Clone, Copy)]
pub struct TreeMark {
    text: usize,
    fields: usize,
}

/// How paths become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStyle {
    /// An object for every part of a path.
    Nested,
    /// Dotted keys.
    Flat,
}

/// Tells the paths whose scalars stay what they are.
pub type IsFixed = fn(&[u8]) -> bool;

impl FieldTree {
    pub fn clear(&mut self) {
        self.cut(TreeMark { text: 0, fields: 0 });
    }

    pub fn mark(&self) -> TreeMark {
        TreeMark { text: self.text.len(), fields: self.fields.len() }
    }

    /// Forgets what came after the mark.
    pub fn cut(&mut self, mark: TreeMark) {
        self.text.truncate(mark.text);
        self.fields.truncate(mark.fields);
    }

    /// Adds a field whose value `write` renders.
    pub fn add(&mut self, path: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if !is_path(path) {
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(path);
        let value = self.text.len();
        write(&mut self.text);
        self.fields.push(Field { path: start, value, end: self.text.len() });
    }

    /// A text field, unless empty.
    pub fn add_text(&mut self, path: &str, value: &[u8]) {
        if !value.is_empty() {
            self.add(path.as_bytes(), |out| text::push_string(out, value));
        }
    }

    /// An id in hex, unless absent or zeros only.
    pub fn add_id(&mut self, path: &str, id: &[u8]) {
        if id.iter().any(|byte| *byte != 0) {
            self.add(path.as_bytes(), |out| {
                out.push(b'"');
                push_hex(out, id);
                out.push(b'"');
            });
        }
    }

    pub fn add_int(&mut self, path: &str, value: i64) {
        self.add(path.as_bytes(), |out| text::push_signed(out, value));
    }

    /// A time with nine digits behind the second, UTC.
    pub fn add_time(&mut self, path: &str, nanos: u64) {
        self.add(path.as_bytes(), |out| push_iso(out, nanos));
    }

    /// The same below `prefix`.
    pub fn add_time_below(&mut self, prefix: &[u8], key: &str, nanos: u64) {
        self.add_below(prefix, key.as_bytes(), |out| push_iso(out, nanos));
    }

    /// The three fields of a data stream below `prefix`.
    pub fn add_stream(&mut self, prefix: &str, target: &DocumentTarget) {
        let Some(parts) = &target.stream else { return };
        for (name, part) in ["data_stream.type", "data_stream.dataset", "data_stream.namespace"].iter().zip(parts) {
            self.add_below(prefix.as_bytes(), name.as_bytes(), |out| text::push_string(out, part.as_bytes()));
        }
    }

    /// Every attribute of a list below `prefix`. Attributes about the document are not part of it.
    pub fn add_attributes(
        &mut self,
        prefix: &[u8],
        attributes: &Repeated<'_>,
        seen: &mut SeenKeys,
    ) -> Result<(), Malformed> {
        let mut wanted = WantedTarget::default();
        for entry in attributes.entries() {
            let attribute = entry.and_then(Attribute::read)?;
            if !wanted.note(&attribute) {
                self.add_value((prefix, attribute.key), attribute.value, seen, 0)?;
            }
        }
        Ok(())
    }

    /// A value of any kind below a path; a map becomes fields of its own, and what is empty is none. Bytes are left out
    /// as the Collector leaves them out.
    pub fn add_value(
        &mut self,
        (prefix, key): (&[u8], &[u8]),
        value: AnyValue<'_>,
        seen: &mut SeenKeys,
        depth: usize,
    ) -> Result<(), Malformed> {
        match value {
            _ if key.is_empty() => return Ok(()),
            AnyValue::Empty | AnyValue::Bytes(_) => return Ok(()),
            AnyValue::Double(number) if !number.is_finite() => return Ok(()),
            AnyValue::Array([]) => return Ok(()),
            // Deeper ones would have too long a path in any case.
            AnyValue::KvList(_) if depth >= PARTS_MAX => return Ok(()),
            _ => {}
        }
        self.below(prefix, key, |tree, path| {
            let AnyValue::KvList(map) = value else {
                let mut outcome = Ok(());
                tree.add(path, |out| outcome = value::push_value(out, value, seen, depth));
                return outcome;
            };
            for field in Fields::new(map) {
                let field = field?;
                if field.number == VALUES {
                    let entry = Attribute::read(field.bytes()?)?;
                    tree.add_value((path, entry.key), entry.value, seen, depth + 1)?;
                }
            }
            Ok(())
        })
    }

    /// Calls `add` with the path of `key` below `prefix`, either of which may be empty.
    pub fn below(
        &mut self,
        prefix: &[u8],
        key: &[u8],
        add: impl FnOnce(&mut FieldTree, &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut path = std::mem::take(&mut self.path);
        path.clear();
        path.extend_from_slice(prefix);
        if !prefix.is_empty() && !key.is_empty() {
            path.push(b'.');
        }
        if key.is_ascii() {
            path.extend_from_slice(key)
        } else {
            path.extend_from_slice(&same_key(key))
        }
        let outcome = add(self, &path);
        self.path = path;
        outcome
    }

    /// Adds a field below `prefix`; nothing for an empty key.
    pub fn add_below(&mut self, prefix: &[u8], key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if key.is_empty() {
            return;
        }
        let added = self.below(prefix, key, |tree, path| {
            tree.add(path, write);
            Ok(())
        });
        debug_assert_eq!(added, Ok(()), "nothing is read here");
    }

    /// Appends the document: its fields in the order of their paths, without the opening brace. Of a path that `is_fixed` a
    /// scalar stays what it is.
    pub fn push(&mut self, out: &mut Vec<u8>, style: PathStyle, is_fixed: IsFixed) {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..self.fields.len() as u32);
        order.sort_unstable_by(|one, other| {
            compare_paths(self.path_of(*one), self.path_of(*other)).then(one.cmp(other))
        });
        self.push_level(out, &order, Level { style, is_fixed, from: 0, scalar: None });
        out.push(b'}');
        self.order = order;
    }

    /// The fields whose paths agree up to `level.from`, in order.
    fn push_level(&self, out: &mut Vec<u8>, mut fields: &[u32], level: Level) {
        let mut scalar = level.scalar;
        while let Some(first) = fields.first() {
            let part = part_of(self.path_of(*first), level.from);
            let to = level.from + part.len();
            let same = fields.iter().take_while(|field| part_of(self.path_of(**field), level.from) == part).count();
            let leaves = fields[..same].iter().take_while(|field| self.path_of(**field).len() == to).count();
            let (leaves, deeper) = fields[..same].split_at(leaves);
            fields = &fields[same..];
            if part == VALUE {
                scalar = None;
            }
            let leaf = leaves.last().copied();
            match leaf {
                Some(leaf) if deeper.is_empty() || (level.is_fixed)(self.path_of(leaf)) => {
                    push_key(out, level.key(self.path_of(leaf)), b"");
                    out.extend_from_slice(self.value_of(leaf));
                }
                _ if level.style == PathStyle::Nested => {
                    push_key(out, part, b"");
                    out.push(b'{');
                    self.push_level(out, deeper, Level { from: to + 1, scalar: leaf, ..level });
                    out.push(b'}');
                }
                _ => self.push_level(out, deeper, Level { from: to + 1, scalar: leaf, ..level }),
            }
        }
        if let Some(scalar) = scalar {
            match level.style {
                PathStyle::Nested => push_key(out, VALUE, b""),
                PathStyle::Flat => push_key(out, self.path_of(scalar), b".value"),
            }
            out.extend_from_slice(self.value_of(scalar));
        }
    }

    fn path_of(&self, field: u32) -> &[u8] {
        let field = self.fields[field as usize];
        &self.text[field.path..field.value]
    }

    fn value_of(&self, field: u32) -> &[u8] {
        let field = self.fields[field as usize];
        &self.text[field.value..field.end]
    }
}

/// Fields whose paths begin alike.
#[derive(Clone, Copy)]
struct Level {
    style: PathStyle,
    is_fixed: IsFixed,
    /// Bytes of the path that are the same, the dot behind them included.
    from: usize,
    /// A field whose whole path is that beginning.
    scalar: Option<u32>,
}

impl Level {
    fn key(self, path: &[u8]) -> &[u8] {
        if self.style == PathStyle::Nested { &path[self.from..] } else { path }
    }
}

fn push_key(out: &mut Vec<u8>, key: &[u8], suffix: &[u8]) {
    out.extend_from_slice(if out.last() == Some(&b'{') { b"\"" } else { b",\"" });
    text::push_escaped(out, key);
    out.extend_from_slice(suffix);
    out.extend_from_slice(b"\":");
}

/// Whether Elasticsearch takes it: parts that hold something, and not too many.
fn is_path(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'.');
    let sound = parts.clone().count() <= PARTS_MAX;
    sound && parts.all(|part| !part.iter().all(u8::is_ascii_whitespace))
}

fn part_of(path: &[u8], from: usize) -> &[u8] {
    let rest = &path[from..];
    &rest[..rest.iter().position(|byte| *byte == b'.').unwrap_or(rest.len())]
}

/// The order of bytes with the dot before all others, so that a path stands right before those that continue it.
fn compare_paths(one: &[u8], other: &[u8]) -> Ordering {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    let Some(at) = differs else { return one.len().cmp(&other.len()) };
    match (one[at], other[at]) {
        (b'.', _) => Ordering::Less,
        (_, b'.') => Ordering::Greater,
        (one, other) => one.cmp(&other),
    }
}

/// `"2026-01-01T00:00:00.000000000Z"`.
pub fn push_iso(out: &mut Vec<u8>, nanos: u64) {
    let (days, rest) = (nanos / 86_400_000_000_000, nanos % 86_400_000_000_000);
    let (year, month, day) = civil(days);
    let (seconds, fraction) = (rest / 1_000_000_000, rest % 1_000_000_000);
    out.push(b'"');
    for (number, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (seconds / 3600, 2, b':'),
        (seconds / 60 % 60, 2, b':'),
        (seconds % 60, 2, b'.'),
        (fraction, 9, b'Z'),
    ] {
        push_padded(out, number, width);
        out.push(end);
    }
    out.push(b'"');
}

fn push_padded(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar: years of 400 years'
/// cycles that begin in March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(paths: &[(&str, i64)], style: PathStyle) -> String {
        let mut tree = FieldTree::default();
        paths.iter().for_each(|(path, value)| tree.add_int(path, *value));
        let mut out = b"{".to_vec();
        tree.push(&mut out, style, |path| path == b"fixed.path");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_scalar_among_objects_becomes_their_value_unless_they_have_one() {
        let cases = [
            (vec![("a", 1), ("a.b", 2)], r#"{"a":{"b":2,"value":1}}"#, r#"{"a.b":2,"a.value":1}"#),
            (
                vec![("a.b.c", 1), ("a", 2), ("a.b", 3)],
                r#"{"a":{"b":{"c":1,"value":3},"value":2}}"#,
                r#"{"a.b.c":1,"a.b.value":3,"a.value":2}"#,
            ),
            (vec![("a", 1), ("a.value", 2)], r#"{"a":{"value":2}}"#, r#"{"a.value":2}"#),
            (
                vec![("a.b", 1), ("a-x", 2), ("a", 3), ("a!", 4)],
                r#"{"a":{"b":1,"value":3},"a!":4,"a-x":2}"#,
                r#"{"a.b":1,"a.value":3,"a!":4,"a-x":2}"#,
            ),
        ];
        for (paths, nested, flat) in cases {
            assert_eq!(document(&paths, PathStyle::Nested), nested);
            assert_eq!(document(&paths, PathStyle::Flat), flat);
        }
    }

    #[test]
    fn a_scalar_of_a_fixed_path_stays_and_what_lies_below_it_has_no_field() {
        let paths = [("fixed.path.x", 1), ("fixed.path", 2), ("fixed.path.y.z", 3), ("fixed.other", 4)];
        assert_eq!(document(&paths, PathStyle::Nested), r#"{"fixed":{"other":4,"path":2}}"#);
        assert_eq!(document(&paths[2..], PathStyle::Nested), r#"{"fixed":{"other":4,"path":{"y":{"z":3}}}}"#);
    }

    #[test]
    fn the_last_value_of_a_path_stays() {
        assert_eq!(document(&[("a.b", 1), ("c", 2), ("a.b", 3)], PathStyle::Nested), r#"{"a":{"b":3},"c":2}"#);
        assert_eq!(document(&[("k", 1), ("k", 2), ("k.l", 3)], PathStyle::Flat), r#"{"k.l":3,"k.value":2}"#);
    }

    #[test]
    fn a_path_that_elasticsearch_refuses_has_no_field() {
        let long = ["a"; 21].join(".");
        for path in ["", ".", "a.", ".a", "a..b", " ", "a. .b", &long] {
            assert_eq!(document(&[(path, 1), ("kept", 2)], PathStyle::Nested), r#"{"kept":2}"#, "{path:?}");
        }
    }

    #[test]
    fn times_are_written_to_the_nanosecond() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_767_225_599_999_999_999, "2025-12-31T23:59:59.999999999Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            let mut out = Vec::new();
            push_iso(&mut out, nanos);
            assert_eq!(out, format!("\"{text}\"").as_bytes());
        }
    }
}
