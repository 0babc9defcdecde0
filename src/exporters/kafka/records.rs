//! Which items of a payload become which record: by topic and by key. Pure, on bytes: of an item only the fields before its
//! trace id are walked over, and nothing is encoded anew that was not changed.
//!
//! The key of a trace is its id as 32 hexadecimal digits, as the Collector's exporter writes it.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::kafka::client::seam::NewRecord;
use crate::otlp::attributes::{RESOURCE, find};
use crate::otlp::envelope;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::trace::span;
use crate::otlp::ids::{TraceId, push_hex};
use crate::otlp::json;
use crate::otlp::regroup::portion::deal::{Dealing, Undealt, deal};
use crate::otlp::walk::{Fields, Malformed};

/// What a record takes beside its value: key, offsets, lengths, and its part of the batch's head.
const RECORD_OVERHEAD: usize = 256;

/// What the items of one record have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKeyRule {
    /// Nothing: one record for the payload, on any partition.
    None,
    Trace,
    /// The resource's attributes.
    Resource,
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueEncoding {
    Protobuf,
    Json,
}

/// How payloads become records, by signal.
#[derive(Clone, Debug)]
pub struct RecordRules {
    pub topics: [Arc<str>; 4],
    pub encodings: [ValueEncoding; 4],
    pub keys: [RecordKeyRule; 4],
    /// A resource that has it goes to the topic of this name.
    pub topic_from_attribute: Option<String>,
    /// Headers of the sender's request that become headers of records, in lower case.
    pub headers: Vec<String>,
}

/// A record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKey {
    None,
    Trace([u8; 16]),
    /// Of spans that have no trace id.
    Empty,
    Resource(u128),
}

impl RecordKey {
    pub fn bytes(self) -> Option<Bytes> {
        match self {
            RecordKey::None => None,
            RecordKey::Empty => Some(Bytes::new()),
            RecordKey::Trace(id) => {
                let mut digits = Vec::with_capacity(2 * id.len()); // granted: RECORD_OVERHEAD
                push_hex(&mut digits, &id);
                Some(digits.into())
            }
            RecordKey::Resource(hash) => Some(Bytes::copy_from_slice(&hash.to_be_bytes())), // granted: RECORD_OVERHEAD
        }
    }
}

/// Items that become one record.
pub struct RecordPart {
    pub topic: Arc<str>,
    pub key: RecordKey,
    pub payload: Payload,
}

/// Why a part has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// The record would be larger than it may be.
    TooLarge,
    Malformed(Malformed),
}

impl RecordRules {
    /// The parts of a payload, in the order of their first items.
    pub fn parts(&self, mut payload: Payload) -> Vec<RecordPart> {
        let at = payload.signal.index();
        let (topic, rule) = (self.topics[at].clone(), self.keys[at]);
        if (rule == RecordKeyRule::None && self.topic_from_attribute.is_none()) || payload.signal == Signal::Profiles {
            return vec![RecordPart { topic, key: RecordKey::None, payload }];
        }
        let working = payload.ticket.budget().overdraw(0);
        let mut sorting = Sorting::new(self, payload.signal, working);
        let whole = Undealt::whole(&mut payload);
        let dealt = deal(&payload, vec![whole], |item| Some(sorting.recipient(item))).unwrap_or_default();
        let parts = dealt.into_iter().filter_map(|dealt| {
            let (topic, key) = sorting.recipients.get(dealt.recipient)?.clone();
            Some(RecordPart { topic, key, payload: Payload { share: dealt.undealt.share, ..dealt.payload } })
        });
        parts.collect()
    }

    /// Headers of records that carry what this sender sent.
    fn headers_of(&self, origin: &Origin) -> Vec<(String, Bytes)> {
        let wanted = origin.headers.iter().filter(|(name, _)| self.headers.contains(name));
        wanted.map(|(name, value)| (name.clone(), Bytes::copy_from_slice(value.as_bytes()))).collect()
    }

    /// The record of a part, if it is no larger than `bytes_max`.
    pub fn record(&self, part: &RecordPart, bytes_max: usize) -> Result<NewRecord, NoValue> {
        let (signal, envelope) = (part.payload.signal, &part.payload.envelope);
        let value_max = bytes_max.saturating_sub(RECORD_OVERHEAD);
        let value = match self.encodings[signal.index()] {
            ValueEncoding::Protobuf if envelope::encoded_len(envelope) > value_max => return Err(NoValue::TooLarge),
            ValueEncoding::Protobuf => envelope::encode(envelope),
            ValueEncoding::Json => {
                let mut text = Vec::new();
                json::from_wire(signal, envelope, &mut text).map_err(NoValue::Malformed)?;
                Bytes::from(text)
            }
        };
        if value.len() > value_max {
            return Err(NoValue::TooLarge);
        }
        let headers = self.headers_of(&part.payload.origin);
        Ok(NewRecord { topic: part.topic.clone(), key: part.key.bytes(), value, headers })
    }
}

/// Numbers topics and keys in the order in which they appear.
struct Sorting<'r> {
    rules: &'r RecordRules,
    signal: Signal,
    rule: RecordKeyRule,
    known: HashMap<(Arc<str>, RecordKey), usize, RandomState>,
    recipients: Vec<(Arc<str>, RecordKey)>,
    /// Of the group that the last item was of.
    group: Option<(usize, Arc<str>, u128)>,
    /// Spans of a trace mostly stand together.
    last: Option<(usize, RecordKey, usize)>,
    /// Pays for the lists.
    working: Ticket,
}

impl<'r> Sorting<'r> {
    fn new(rules: &'r RecordRules, signal: Signal, working: Ticket) -> Sorting<'r> {
        let rule = rules.keys[signal.index()];
        let (known, recipients) = (HashMap::default(), Vec::new());
        Sorting { rules, signal, rule, known, recipients, group: None, last: None, working }
    }

    fn recipient(&mut self, item: &Dealing<'_>) -> usize {
        let (topic, hash) = self.of_group(item);
        let key = match self.rule {
            RecordKeyRule::None => RecordKey::None,
            RecordKeyRule::Resource => RecordKey::Resource(hash),
            RecordKeyRule::Trace => trace_key(self.signal, item.bytes),
        };
        if let Some((_, _, known)) = self.last.filter(|(group, of, _)| (*group, *of) == (item.group_number, key)) {
            return known;
        }
        let next = self.recipients.len();
        let known = *self.known.entry((topic.clone(), key)).or_insert(next);
        if known == next {
            // The map has the entry too, and room for as many again.
            self.working.grow_anyway((4 * list_bytes::<(Arc<str>, RecordKey)>(1)) as u64);
            self.recipients.push((topic, key)); // granted: above
        }
        self.last = Some((item.group_number, key, known));
        known
    }

    /// Topic and hash of the item's resource.
    fn of_group(&mut self, item: &Dealing<'_>) -> (Arc<str>, u128) {
        if let Some((_, topic, hash)) = self.group.as_ref().filter(|(number, ..)| *number == item.group_number) {
            return (topic.clone(), *hash);
        }
        let resource = item.group.resource.as_deref().unwrap_or_default();
        let named = self.rules.topic_from_attribute.as_ref().and_then(|name| find(resource, name)?.as_str());
        let default = || self.rules.topics[self.signal.index()].clone();
        let topic = named.filter(|topic| is_topic(topic)).map_or_else(default, Arc::from);
        let hash = if self.rule == RecordKeyRule::Resource { unordered(resource) } else { 0 };
        self.group = Some((item.group_number, topic.clone(), hash));
        (topic, hash)
    }
}

/// Whether a topic may have this name.
pub fn is_topic(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=249).contains(&name.len()) && name.chars().all(is_letter)
}

fn trace_key(signal: Signal, item: &[u8]) -> RecordKey {
    let number = if signal == Signal::Logs { log_record::TRACE_ID } else { span::TRACE_ID };
    let found = Fields::new(item).map_while(Result::ok).find(|field| field.number == number);
    match found.and_then(|field| TraceId::from_wire(field.bytes().ok()?)) {
        Some(TraceId(id)) => RecordKey::Trace(id),
        // Records of no trace need not meet.
        None if signal == Signal::Logs => RecordKey::None,
        None => RecordKey::Empty,
    }
}

/// The resource's attributes, in any order.
fn unordered(resource: &[u8]) -> u128 {
    let attributes = Fields::new(resource).map_while(Result::ok).filter(|field| field.number == RESOURCE);
    let texts = attributes.filter_map(|field| field.bytes().ok());
    texts.fold(0, |sum: u128, text| sum.wrapping_add(hash(text)))
}

/// FNV-1a of 128 bits.
fn hash(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |state, byte| (state ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::payload::{Envelope, Group};
    use crate::core::data::settlement::Share;
    use crate::core::time::UnixNanos;
    use crate::otlp::write;

    fn rules(rule: RecordKeyRule, topic: Option<&str>) -> RecordRules {
        RecordRules {
            topics: ["spans", "metrics", "logs", "profiles"].map(Arc::from),
            encodings: [ValueEncoding::Protobuf; 4],
            keys: [rule; 4],
            topic_from_attribute: topic.map(str::to_owned),
            headers: vec!["x-tenant".to_owned()],
        }
    }

    fn resource(attributes: &[(&str, &str)]) -> Bytes {
        let mut out = Vec::new();
        for (key, value) in attributes {
            let (mut any, mut pair) = (Vec::new(), Vec::new());
            write::bytes(&mut any, 1, value.as_bytes());
            write::bytes(&mut pair, 1, key.as_bytes());
            write::bytes(&mut pair, 2, &any);
            write::bytes(&mut out, 1, &pair);
        }
        out.into()
    }

    /// A request with one scope for each resource, and these trace ids in its items.
    fn payload(signal: Signal, groups: &[(Bytes, &[&[u8]])]) -> Payload {
        let number = if signal == Signal::Logs { log_record::TRACE_ID } else { span::TRACE_ID };
        let made = groups.iter().map(|(resource, ids)| {
            let items = ids.iter().map(|id| {
                let mut item = Vec::new();
                write::bytes(&mut item, number, id);
                Bytes::from(item)
            });
            let scope = crate::core::data::payload::ScopeGroup { items: items.collect(), ..Default::default() };
            Group { resource: Some(resource.clone()), scopes: vec![scope], ..Group::default() }
        });
        let envelope = Envelope { groups: made.collect(), dictionary: None };
        let items = envelope.messages() as u64;
        let mut origin = Origin::internal(UnixNanos(1));
        origin.headers = vec![("x-tenant".to_owned(), "shop".to_owned()), ("x-other".to_owned(), "no".to_owned())];
        Payload { signal, envelope, items, origin: Arc::new(origin), ticket: Ticket::free(), share: Share::none() }
    }

    fn told(parts: &[RecordPart]) -> Vec<(&str, RecordKey, u64)> {
        parts.iter().map(|part| (&*part.topic, part.key, part.payload.items)).collect()
    }

    #[test]
    fn items_of_one_trace_are_one_record_whatever_resource_they_are_of() {
        let (one, other): ([u8; 16], [u8; 16]) = ([1; 16], [2; 16]);
        let (shop, bank) = (resource(&[("service.name", "shop")]), resource(&[("service.name", "bank")]));
        let groups: [(Bytes, &[&[u8]]); 2] = [(shop, &[&one, &other, &one]), (bank, &[&one, b"short"])];
        let parts = rules(RecordKeyRule::Trace, None).parts(payload(Signal::Traces, &groups));
        let expected = [
            ("spans", RecordKey::Trace(one), 3),
            ("spans", RecordKey::Trace(other), 1),
            ("spans", RecordKey::Empty, 1),
        ];
        assert_eq!(told(&parts), expected);
        assert_eq!(parts[0].payload.envelope.groups.len(), 2);
        assert_eq!(parts[0].key.bytes().as_deref(), Some(&b"01010101010101010101010101010101"[..]));
        let logs = rules(RecordKeyRule::Trace, None).parts(payload(Signal::Logs, &groups));
        assert_eq!(told(&logs)[2], ("logs", RecordKey::None, 1), "records of no trace are spread");
    }

    #[test]
    fn a_resources_key_does_not_depend_on_the_order_of_its_attributes() {
        let one = resource(&[("a", "1"), ("b", "2")]);
        let same = resource(&[("b", "2"), ("a", "1")]);
        let other = resource(&[("a", "2"), ("b", "1")]);
        let groups: [(Bytes, &[&[u8]]); 3] = [(one, &[b""]), (other, &[b""]), (same, &[b""])];
        let parts = rules(RecordKeyRule::Resource, None).parts(payload(Signal::Metrics, &groups));
        let items: Vec<usize> = parts.iter().map(|part| part.payload.envelope.messages()).collect();
        assert_eq!(items, [2, 1]);
        assert!(parts[0].key != parts[1].key && parts[0].key.bytes().is_some_and(|key| key.len() == 16));
    }

    #[test]
    fn a_resource_names_its_topic_and_the_others_go_to_the_signals() {
        let groups: [(Bytes, &[&[u8]]); 4] = [
            (resource(&[("topic", "mine")]), &[&[1; 16]]),
            (resource(&[]), &[&[1; 16]]),
            (resource(&[("topic", "no/topic")]), &[&[1; 16]]),
            (resource(&[("topic", "mine")]), &[&[1; 16]]),
        ];
        let parts = rules(RecordKeyRule::None, Some("topic")).parts(payload(Signal::Traces, &groups));
        assert_eq!(told(&parts), [("mine", RecordKey::None, 2), ("spans", RecordKey::None, 2)]);
    }

    #[test]
    fn a_record_holds_the_request_as_it_was_and_the_headers_that_are_wanted() {
        let whole = payload(Signal::Traces, &[(resource(&[("a", "1")]), &[&[1; 16], &[2; 16]])]);
        let encoded = envelope::encode(&whole.envelope);
        let rules = rules(RecordKeyRule::None, None);
        let parts = rules.parts(whole);
        assert_eq!(told(&parts), [("spans", RecordKey::None, 2)]);
        let record = rules.record(&parts[0], 4_096).expect("small");
        assert_eq!((record.value, record.key), (encoded.clone(), None));
        assert_eq!(record.headers, [("x-tenant".to_owned(), Bytes::from_static(b"shop"))]);
        assert_eq!(rules.record(&parts[0], encoded.len()), Err(NoValue::TooLarge));
    }
}
