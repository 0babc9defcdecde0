//! Text as it stands in JSON: borrowed where it can be, `null` read as empty, shared where it repeats.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Visitor};

use crate::core::time::UnixNanos;

/// A string that borrows from the input unless it has escapes. `null` reads as empty: the API server writes it for
/// times and lists, and what else may write it is no reason to lose the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_none<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// Strings of one watch that repeat between objects: namespaces, images, label values, reasons.
#[derive(Debug)]
pub struct Interner {
    known: HashSet<Arc<str>, foldhash::fast::RandomState>,
    empty: Arc<str>,
    // Unused strings are thrown out when the set reaches this size.
    sweep_at: usize,
}

impl Interner {
    const SWEEP_AT_LEAST: usize = 4_096;
    /// Long texts (annotations that hold whole documents) hardly repeat.
    const SHARED_BYTES_MAX: usize = 256;
}

impl Default for Interner {
    fn default() -> Interner {
        Interner { known: HashSet::default(), empty: Arc::from(""), sweep_at: Interner::SWEEP_AT_LEAST }
    }
}

impl Interner {
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return self.empty.clone();
        }
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let made: Arc<str> = Arc::from(text);
        if text.len() <= Interner::SHARED_BYTES_MAX {
            self.sweep_if_full();
            self.known.insert(made.clone());
        }
        made
    }

    /// A text that is not expected to repeat (uid, pod name, container id).
    pub fn own(&self, text: &str) -> Arc<str> {
        if text.is_empty() { self.empty.clone() } else { Arc::from(text) }
    }

    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.known.len()
    }

    fn sweep_if_full(&mut self) {
        if self.known.len() < self.sweep_at {
            return;
        }
        self.known.retain(|text| Arc::strong_count(text) > 1);
        self.sweep_at = (self.known.len() * 2).max(Interner::SWEEP_AT_LEAST);
    }
}

/// An RFC 3339 time, also with fraction and offset; `None` for what is empty, wrong or before 1970.
pub(super) fn time(text: &str) -> Option<UnixNanos> {
    if text.is_empty() {
        return None;
    }
    let stamp: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(stamp.as_nanosecond()).ok().map(UnixNanos)
}

/// An address in its one form: IPv4-mapped becomes IPv4, and leading zeros, which the API server lets through, are decimal.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    let dotted = text.rsplit(':').next()?;
    let mut octets = [0_u8; 4];
    let mut parts = dotted.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits = !part.is_empty() && part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_digit());
        *octet = part.trim_start_matches('0').parse().ok().or_else(|| part.parse().ok()).filter(|_| digits)?;
    }
    let plain = dotted.len() == text.len() || text.to_ascii_lowercase().starts_with("::ffff:");
    (parts.next().is_none() && plain).then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}
