//! The names of services that a shard's journal refers to by number, so that a record needs two bytes for each.
//!
//! Bounded in number and length: names come from senders. The first stay; what comes beyond is called other.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::otlp::attributes::find;
use crate::otlp::walk::AnyValue;

const NAMES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 128;
/// A resource without a service's name.
const NAMELESS: u16 = 0;
/// One of the names beyond the bound.
const OTHER: u16 = 1;
const FIRST: usize = 2;

/// Names by number.
#[derive(Default)]
pub struct ServiceNames {
    names: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16, RandomState>,
}

impl ServiceNames {
    /// The number of the service that a resource names.
    pub fn number_of(&mut self, resource: &[u8]) -> u16 {
        let Some(AnyValue::Str(name)) = find(resource, "service.name") else { return NAMELESS };
        let Ok(name) = std::str::from_utf8(name) else { return OTHER };
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if name.len() > NAME_BYTES_MAX || self.names.len() >= NAMES_MAX {
            return OTHER;
        }
        let number = (FIRST + self.names.len()) as u16;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    pub fn name(&self, number: u16) -> &str {
        match number {
            NAMELESS => "(no service.name)",
            OTHER => "(another service)",
            known => self.names.get(usize::from(known) - FIRST).map_or("", |name| name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::edit::{Appender, WireValue};

    fn resource(name: &str) -> Vec<u8> {
        let mut edit = Appender::new(b"").expect("an empty resource");
        edit.set("service.name", WireValue::Text(name.as_bytes()));
        edit.finish().expect("memory without limit").to_vec()
    }

    #[test]
    fn a_name_has_one_number_and_names_beyond_the_bound_share_one() {
        let mut names = ServiceNames::default();
        let cart = names.number_of(&resource("cart"));
        assert_eq!((names.number_of(&resource("cart")), names.name(cart)), (cart, "cart"));
        let nameless = names.number_of(b"");
        assert_eq!(names.name(nameless), "(no service.name)");
        let long = names.number_of(&resource(&"x".repeat(NAME_BYTES_MAX + 1)));
        assert_eq!(names.name(long), "(another service)");
        (0..2 * NAMES_MAX).for_each(|at| _ = names.number_of(&resource(&at.to_string())));
        assert_eq!(names.names.len(), NAMES_MAX);
        let new = names.number_of(&resource("new"));
        assert_eq!(names.name(new), "(another service)");
        assert_eq!(names.number_of(&resource("cart")), cart);
    }
}
