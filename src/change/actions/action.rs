//! What is to be done with attributes, as the configuration says it.

use regex::bytes::Regex;

/// Actions in the order written, checked.
#[derive(Debug)]
pub struct Actions {
    pub(super) list: Vec<Action>,
}

#[derive(Debug)]
pub enum Action {
    Write { when: When, key: String, source: Source, default: Option<Vec<u8>> },
    Delete(ActionTarget),
    Hash(ActionTarget),
    Extract { key: String, pattern: Regex, names: Vec<String> },
    Convert { key: String, to: ConvertedKind },
}

/// When a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Absent,
    Present,
    Always,
}

/// Where a written value comes from.
#[derive(Debug)]
pub enum Source {
    /// An `AnyValue` message.
    Literal(Vec<u8>),
    Attribute(String),
    /// The sender's address, without its port.
    Peer,
    /// A request header that the receiver kept; its name in lower case.
    Header(String),
    /// What the receiver's authenticator knows of the sender, by its name after `auth.`.
    Identity(String),
    /// Nothing but the default.
    Nothing,
}

/// The attributes an action is about: one by its key, or all whose keys match, or both.
#[derive(Debug)]
pub struct ActionTarget {
    pub(super) key: Option<String>,
    pub(super) pattern: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvertedKind {
    Text,
    Int,
    Double,
}
