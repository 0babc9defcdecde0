//! Requests of any size with one field blown up at a time, made from the table of the OTLP messages: whatever field the
//! protocol has or gets, it is tried empty and many times, once and huge, wrong, deep and with numbered keys.
//!
//! And pairs of them: a field blown up above or beside many items, events or points, for what reads the one for each of
//! the others.

use podgate::core::data::payload::Signal;
use podgate::otlp::json::schema::{self, FieldKind, FieldSchema, MessageSchema, Presence};
use podgate::otlp::write;

/// Nesting that is kept.
const DEEP: usize = 60;

/// Makes a request of about the size it is asked for.
pub struct Generator {
    pub name: String,
    pub signal: Signal,
    made: Made,
}

enum Made {
    Blown(Blow),
    By(Box<dyn Fn(usize) -> Vec<u8>>),
}

#[derive(Clone)]
struct Blow {
    /// From the request down to the message whose field is blown up.
    path: Vec<&'static FieldSchema>,
    blown: Blown,
    /// Beside it, from the message at this depth of the path: items of half the bytes.
    beside: Option<(usize, &'static FieldSchema)>,
}

/// What a field is blown up to.
#[derive(Clone, Copy)]
enum Blown {
    /// So many empty ones as fit.
    Empty(&'static FieldSchema),
    /// So many with ids and names as fit.
    Plain(&'static FieldSchema),
    /// Attributes with keys of their own.
    Keys(&'static FieldSchema),
    /// One of all the bytes, filled with this.
    Huge(&'static FieldSchema, u8),
    /// Lists in lists, as deep as they are kept.
    Deep(&'static FieldSchema),
    /// Numbers in one field.
    Packed(&'static FieldSchema),
    /// A field nobody knows: many times, as a group, once.
    Unknown,
    UnknownGroup,
    UnknownHuge,
}

impl Generator {
    /// Bytes of another kind.
    pub fn of(name: &str, make: impl Fn(usize) -> Vec<u8> + 'static) -> Generator {
        Generator { name: name.to_owned(), signal: Signal::Traces, made: Made::By(Box::new(make)) }
    }

    pub fn make(&self, size: usize) -> Vec<u8> {
        match &self.made {
            Made::Blown(blow) => blow.make(size),
            Made::By(make) => make(size),
        }
    }
}

impl Blow {
    fn make(&self, size: usize) -> Vec<u8> {
        let share = if self.beside.is_some() { size / 2 } else { size };
        let mut inside = self.blown.bytes(share);
        for (depth, field) in self.path.iter().enumerate().rev() {
            let FieldKind::Message(message) = field.kind else { continue };
            let mut body = companions(message, self.blown.field().filter(|_| depth + 1 == self.path.len()));
            body.extend_from_slice(&inside);
            if let Some((at, items)) = self.beside
                && at == depth
            {
                body.extend_from_slice(&Blown::Plain(items).bytes(share));
            }
            inside.clear();
            write::bytes(&mut inside, field.number, &body);
        }
        inside
    }
}

impl Blown {
    fn field(self) -> Option<&'static FieldSchema> {
        match self {
            Blown::Empty(field)
            | Blown::Plain(field)
            | Blown::Keys(field)
            | Blown::Huge(field, _)
            | Blown::Deep(field)
            | Blown::Packed(field) => Some(field),
            Blown::Unknown | Blown::UnknownGroup | Blown::UnknownHuge => None,
        }
    }

    fn name(self) -> String {
        match self {
            Blown::Empty(field) => format!("many empty {}", field.name),
            Blown::Plain(field) => format!("many {}", field.name),
            Blown::Keys(field) => format!("many {} with keys of their own", field.name),
            Blown::Huge(field, fill) => format!("one huge {} of 0x{fill:02x}", field.name),
            Blown::Deep(field) => format!("deep {}", field.name),
            Blown::Packed(field) => format!("packed {}", field.name),
            Blown::Unknown => "many unknown fields".to_owned(),
            Blown::UnknownGroup => "many unknown groups".to_owned(),
            Blown::UnknownHuge => "one huge unknown field".to_owned(),
        }
    }

    fn bytes(self, size: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(size + 64);
        match self {
            Blown::Empty(field) => repeat(&mut out, size, |out, _| one(out, field, false)),
            Blown::Plain(field) => repeat(&mut out, size, |out, _| one(out, field, true)),
            Blown::Keys(field) => repeat(&mut out, size, |out, number| {
                let mut pair = Vec::new();
                write::bytes(&mut pair, 1, format!("{number:x}").as_bytes());
                write::bytes(&mut pair, 2, &[0x18, 0x01]);
                write::bytes(out, field.number, &pair);
            }),
            Blown::Huge(field, fill) => write::bytes(&mut out, field.number, &vec![fill; size]),
            Blown::Deep(field) => {
                let value = deep();
                repeat(&mut out, size, |out, _| write::bytes(out, field.number, &value));
            }
            Blown::Packed(field) => write::bytes(&mut out, field.number, &vec![1; size / 8 * 8]),
            Blown::Unknown => repeat(&mut out, size, |out, _| out.extend_from_slice(&[0xc0, 0x3e, 0x01])),
            Blown::UnknownGroup => {
                repeat(&mut out, size, |out, _| out.extend_from_slice(&[0xc3, 0x3e, 0x08, 0x01, 0xc4, 0x3e]));
            }
            Blown::UnknownHuge => write::bytes(&mut out, 1000, &vec![b'x'; size]),
        }
        out
    }
}

fn repeat(out: &mut Vec<u8>, size: usize, add: impl Fn(&mut Vec<u8>, usize)) {
    let mut number = 0;
    while out.len() < size {
        add(out, number);
        number += 1;
    }
}

/// The field once: a message empty or with what names it, a number, an id.
fn one(out: &mut Vec<u8>, field: &FieldSchema, plain: bool) {
    match field.kind {
        FieldKind::Message(message) => {
            let mut body = if plain { companions(message, None) } else { Vec::new() };
            if plain && body.is_empty() {
                // Something, though nobody knows it: what is joined of many parts has to be copied.
                body.extend_from_slice(&[0xc0, 0x3e, 0x01]);
            }
            write::bytes(out, field.number, &body);
        }
        FieldKind::String | FieldKind::Bytes => write::bytes(out, field.number, if plain { b"x" } else { b"" }),
        FieldKind::Id(length) => write::bytes(out, field.number, &vec![7; if plain { length } else { 0 }]),
        FieldKind::Fixed64 | FieldKind::Sfixed64 | FieldKind::Double => {
            write::key(out, field.number, write::FIXED64);
            out.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        }
        FieldKind::Fixed32 => {
            write::key(out, field.number, write::FIXED32);
            out.extend_from_slice(&[1, 0, 0, 0]);
        }
        _ => {
            write::key(out, field.number, write::VARINT);
            out.push(1);
        }
    }
}

/// What makes a message pass as one: its ids, a name and a key; but not the field that is blown up.
fn companions(message: &MessageSchema, but: Option<&FieldSchema>) -> Vec<u8> {
    let mut out = Vec::new();
    for field in message.fields.iter().filter(|field| but.is_none_or(|but| but.number != field.number)) {
        match field.kind {
            FieldKind::Id(length) => write::bytes(&mut out, field.number, &vec![7; length]),
            FieldKind::String if matches!(field.name, "name" | "key") => write::bytes(&mut out, field.number, b"n"),
            _ => {}
        }
    }
    out
}

/// An `AnyValue` of lists in lists around a number.
fn deep() -> Vec<u8> {
    let mut value = vec![0x18, 0x01];
    for _ in 0..DEEP {
        let mut list = Vec::new();
        write::bytes(&mut list, 1, &value);
        value.clear();
        write::bytes(&mut value, 5, &list);
    }
    value
}

/// Every field of a signal's messages, blown up in every shape it can have; each kind of value once.
pub fn every_field(signal: Signal) -> Vec<Generator> {
    let mut found = Vec::new();
    let mut walk = Walk { signal, found: &mut found, values_seen: false };
    walk.message(schema::request(signal), &mut Vec::new());
    found
}

/// One pair in so many of [`every_pair`], all of them in the long form: there are some thousand.
const PAIRS: usize = 4;

/// Pairs of a signal.
pub fn pairs(signal: Signal) -> Vec<Generator> {
    let step = if std::env::var_os("PODGATE_LAWS").is_some() { 1 } else { PAIRS };
    every_pair(signal).into_iter().step_by(step).collect()
}

/// Items, events, links, points and attributes under or beside a large neighbour.
fn every_pair(signal: Signal) -> Vec<Generator> {
    let mut found = Vec::new();
    let sizes =
        |blown: &Blown| matches!(blown, Blown::Empty(_) | Blown::Keys(_) | Blown::Huge(_, b'x') | Blown::Unknown);
    for generator in every_field(signal) {
        let Made::Blown(blow) = &generator.made else { continue };
        if !sizes(&blow.blown) {
            continue;
        }
        // The neighbour is asked for each of the others only where it is read for them: above and in the same message.
        for (depth, field) in blow.path.iter().enumerate() {
            let FieldKind::Message(message) = field.kind else { continue };
            let many = message.fields.iter().filter(|field| {
                field.presence == Presence::Repeated
                    && matches!(field.kind, FieldKind::Message(_))
                    && field.name != "entityRefs"
            });
            for items in many {
                let name = format!("{}, beside many {} of {}", generator.name, items.name, field.name);
                let made = Made::Blown(Blow { beside: Some((depth, items)), ..blow.clone() });
                found.push(Generator { name, signal, made });
            }
        }
    }
    found
}

struct Walk<'f> {
    signal: Signal,
    found: &'f mut Vec<Generator>,
    /// Values are the same wherever they stand.
    values_seen: bool,
}

impl Walk<'_> {
    fn message(&mut self, message: &'static MessageSchema, path: &mut Vec<&'static FieldSchema>) {
        for blown in [Blown::Unknown, Blown::UnknownGroup, Blown::UnknownHuge] {
            self.add(path, blown);
        }
        for field in message.fields {
            self.field(field, path);
        }
    }

    fn field(&mut self, field: &'static FieldSchema, path: &mut Vec<&'static FieldSchema>) {
        self.add(path, Blown::Empty(field));
        match field.kind {
            FieldKind::Message(inner) => {
                self.add(path, Blown::Plain(field));
                let is = |name: &str| inner.fields.iter().any(|field| field.name == name);
                if is("key") && is("value") {
                    self.add(path, Blown::Keys(field));
                }
                if is("stringValue") {
                    self.add(path, Blown::Deep(field));
                }
                let value = is("stringValue") || is("key") || is("values");
                let seen = path.iter().any(|above| std::ptr::eq(*above, field));
                // Values are walked in the first place found below items, lists and maps in them once.
                let skipped = value && (self.values_seen || path.len() < 3);
                if !seen && !skipped {
                    path.push(field);
                    self.message(inner, path);
                    path.pop();
                    self.values_seen |= value && is("key");
                }
            }
            FieldKind::String => {
                // Text, text with escapes, no text; and what some names are split at.
                let splits: &[u8] = if matches!(field.name, "key" | "name" | "traceState") { b".,=" } else { b"" };
                for fill in [b'x', b'"', 0xff].iter().chain(splits) {
                    self.add(path, Blown::Huge(field, *fill));
                }
            }
            FieldKind::Bytes | FieldKind::Id(_) => self.add(path, Blown::Huge(field, 7)),
            _ if field.presence == Presence::Repeated => self.add(path, Blown::Packed(field)),
            _ => {}
        }
    }

    fn add(&mut self, path: &[&'static FieldSchema], blown: Blown) {
        let names: Vec<&str> = path.iter().map(|field| field.name).collect();
        let name = format!("{} {}: {}", self.signal.name(), names.join("."), blown.name());
        let made = Made::Blown(Blow { path: path.to_vec(), blown, beside: None });
        self.found.push(Generator { name, signal: self.signal, made });
    }
}

#[test]
fn every_row_of_the_table_is_blown_up_and_every_request_has_its_size() {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let generators = every_field(signal);
        let pairs = every_pair(signal);
        println!("{}: {} generators, {} pairs", signal.name(), generators.len(), pairs.len());
        for generator in generators.iter().chain(&pairs) {
            for size in [1 << 10, 20 << 10] {
                let made = generator.make(size).len();
                assert!((size / 2..size * 2).contains(&made), "{}: {made} bytes for {size}", generator.name);
            }
        }
        let named = |word: &str| generators.iter().any(|generator| generator.name.contains(word));
        for word in ["resource: many", "scope: many", "deep", "packed", "keys of their own", "kvlistValue"] {
            assert!(named(word) || (word == "packed" && signal != Signal::Metrics), "{}: {word}", signal.name());
        }
    }
}
