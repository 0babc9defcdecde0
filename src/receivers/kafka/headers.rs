//! Headers of records that become attributes of every resource in them (`header_extraction`), as the Collector writes them:
//! `kafka.header.` and the header's name.

use bytes::Bytes;

use crate::core::data::budget::Ticket;
use crate::core::data::payload::Envelope;
use crate::otlp::attributes::RESOURCE;
use crate::otlp::edit::Appender;

/// A header's value that is longer is no attribute.
const VALUE_BYTES_MAX: usize = 1 << 10;
/// Headers that are looked for at most.
pub const HEADERS_MAX: usize = 32;
/// What headers may add to a record, for each of its bytes and in any case: a record of small resources says each header once
/// for each.
const ADDED_PER_BYTE: usize = 32;
const ADDED_FREE: usize = 64 << 10;

/// Why the headers are not in the resources.
#[derive(Debug, PartialEq, Eq)]
pub enum NotWritten {
    Memory,
    /// The record's resources are too small for what would be said of each.
    TooMuch,
}

/// The attribute of a header.
pub fn attribute(header: &str) -> String {
    format!("kafka.header.{header}")
}

/// Sets these attributes on every resource of a record of so many bytes; resources that cannot be read stay as they are.
pub fn write(
    envelope: &mut Envelope,
    (names, found): (&[String], &[(usize, Bytes)]),
    bytes: usize,
    ticket: &Ticket,
) -> Result<(), NotWritten> {
    let texts = found.iter().filter_map(|(name, value)| Some((names.get(*name)?, std::str::from_utf8(value).ok()?)));
    let pairs: Vec<(&String, &str)> = texts.filter(|(_, value)| value.len() <= VALUE_BYTES_MAX).collect();
    let one: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if pairs.is_empty() {
        return Ok(());
    }
    if one.saturating_mul(envelope.groups.len()) > ADDED_FREE.max(bytes.saturating_mul(ADDED_PER_BYTE)) {
        return Err(NotWritten::TooMuch);
    }
    let mut edit = Appender::within(ticket);
    for group in &mut envelope.groups {
        if edit.load(group.resource.as_deref().unwrap_or_default(), RESOURCE).is_err() {
            continue;
        }
        pairs.iter().for_each(|(name, value)| edit.set(name, *value));
        if edit.is_changed() {
            group.resource = Some(edit.take().map_err(|_| NotWritten::Memory)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::data::payload::Signal;
    use crate::core::time::UnixNanos;
    use crate::otlp::attributes;
    use crate::otlp::walk::AnyValue;
    use crate::testing::telemetry;

    fn names() -> Vec<String> {
        ["tenant", "region"].map(attribute).to_vec()
    }

    #[test]
    fn a_header_becomes_an_attribute_of_every_resource_and_one_that_is_absent_none() {
        let mut envelope = telemetry::payload(Signal::Logs, telemetry::logs(2, UnixNanos(1)), UnixNanos(1)).envelope;
        let found = [(0, Bytes::from_static(b"blue")), (1, Bytes::from(vec![b'x'; VALUE_BYTES_MAX + 1]))];
        assert_eq!(write(&mut envelope, (&names(), &found), 1000, &Ticket::free()), Ok(()));
        let resource = envelope.groups[0].resource.clone().expect("it was there");
        let value = |key: &str| attributes::find(&resource, key);
        assert_eq!(value("kafka.header.tenant"), Some(AnyValue::Str(b"blue")));
        assert_eq!(value("kafka.header.region"), None, "it is too long");
        let again = [(0, Bytes::from_static(b"green"))];
        assert_eq!(write(&mut envelope, (&names(), &again), 1000, &Ticket::free()), Ok(()));
        let resource = envelope.groups[0].resource.clone().expect("it is there");
        assert_eq!(attributes::find(&resource, "kafka.header.tenant"), Some(AnyValue::Str(b"green")));
    }

    #[test]
    fn what_is_added_grows_with_the_record_and_waits_for_memory() {
        let mut envelope = Envelope::default();
        envelope.groups.resize_with(10_000, Default::default);
        let found = [(0, Bytes::from(vec![b'x'; 1000]))];
        assert_eq!(write(&mut envelope, (&names(), &found), 20_000, &Ticket::free()), Err(NotWritten::TooMuch));
        envelope.groups.truncate(100);
        let budget = Budget::new(50_000, 50_000);
        let ticket = budget.take(0).expect("there is room");
        assert_eq!(write(&mut envelope, (&names(), &found), 20_000, &ticket), Err(NotWritten::Memory));
    }
}
