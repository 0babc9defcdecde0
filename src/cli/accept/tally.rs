//! What arrived at the sink, by run and by the container.id that podgate gave it. Bounded, and kept as text in a ConfigMap.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::accept::note::{SIGNALS, is_nonce};
use crate::core::data::payload::{Envelope, Group, Signal};
use crate::otlp::attributes;
use crate::otlp::walk::{AnyValue, Fields};

/// Name of the instrumentation scope under which senders write; its version is the run's nonce. The scope and not the
/// resource, so that resources of all runs of a container are equal, as those of applications are.
pub const SCOPE: &str = "podgate.accept";
/// Run, signal and id that are told apart. A ConfigMap takes 1 MiB: 4,096 entries of some 120 bytes are half of it.
const ENTRIES_MAX: usize = 4_096;
/// Bytes of a container.id that are kept; no runtime's is longer than 64.
const ID_BYTES_MAX: usize = 80;

/// Items by nonce, signal and container.id; the id is empty where there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArrivalTally {
    items: BTreeMap<(String, Signal, String), u64>,
    /// Items that no sender of this kind made.
    pub strangers: u64,
    /// Items that are not told apart because there were too many kinds.
    pub beyond: u64,
}

impl ArrivalTally {
    pub fn take(&mut self, signal: Signal, envelope: &Envelope) {
        for group in &envelope.groups {
            let id = container_id(group);
            for scope in &group.scopes {
                let items = scope.items.len() as u64;
                match scope.scope.as_deref().and_then(nonce) {
                    Some(nonce) => self.add(nonce, signal, &id, items),
                    None => self.strangers = self.strangers.saturating_add(items),
                }
            }
        }
    }

    pub fn add(&mut self, nonce: &str, signal: Signal, id: &str, items: u64) {
        let key = (nonce.to_owned(), signal, id.to_owned());
        let room = self.items.len() < ENTRIES_MAX || self.items.contains_key(&key);
        let place = if room { self.items.entry(key).or_default() } else { &mut self.beyond };
        *place = place.saturating_add(items);
    }

    /// Nonce, signal, container.id and number of items.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Signal, &str, u64)> {
        self.items.iter().map(|((nonce, signal, id), items)| (nonce.as_str(), *signal, id.as_str(), *items))
    }

    pub fn text(&self) -> String {
        let items: Vec<Value> =
            self.entries().map(|(nonce, signal, id, items)| json!([nonce, signal.name(), id, items])).collect();
        json!({"items": items, "strangers": self.strangers, "beyond": self.beyond}).to_string()
    }

    /// The inverse of [`ArrivalTally::text`]; an empty text is an empty tally. `None` for anything else.
    pub fn read(text: &str) -> Option<ArrivalTally> {
        if text.is_empty() {
            return Some(ArrivalTally::default());
        }
        let read: Value = serde_json::from_str(text).ok()?;
        let mut tally = ArrivalTally {
            strangers: read["strangers"].as_u64()?,
            beyond: read["beyond"].as_u64()?,
            ..ArrivalTally::default()
        };
        for entry in read["items"].as_array()? {
            let signal = Signal::parse(entry[1].as_str()?).filter(|signal| SIGNALS.contains(signal))?;
            tally.add(entry[0].as_str()?, signal, entry[2].as_str()?, entry[3].as_u64()?);
        }
        Some(tally)
    }
}

/// What the resource is given; empty when that is nothing.
fn container_id(group: &Group) -> String {
    match attributes::find(group.resource.as_deref().unwrap_or_default(), "container.id") {
        Some(AnyValue::Str(id)) => String::from_utf8_lossy(&id[..id.len().min(ID_BYTES_MAX)]).into_owned(),
        // Of another type it names no container.
        Some(_) => "not a string".to_owned(),
        None => String::new(),
    }
}

/// The nonce of a sender's `InstrumentationScope` (name = 1, version = 2).
fn nonce(scope: &[u8]) -> Option<&str> {
    let field = |number| {
        let found = Fields::new(scope).flatten().filter(|field| field.number == number).last();
        found.and_then(|field| field.bytes().ok()).and_then(|text| std::str::from_utf8(text).ok())
    };
    (field(1) == Some(SCOPE)).then(|| field(2)).flatten().filter(|nonce| is_nonce(nonce))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::envelope;
    use crate::otlp::json::to_wire;

    fn arrived(tally: &mut ArrivalTally, resource: Value, scope: Value) {
        let request = json!({"resourceLogs": [{
            "resource": {"attributes": resource},
            "scopeLogs": [{"scope": scope, "logRecords": [{"body": {"stringValue": "a"}}, {"body": {"stringValue": "b"}}]}],
        }]});
        let wire = to_wire(Signal::Logs, request.to_string().as_bytes()).unwrap();
        tally.take(Signal::Logs, &envelope::decode(wire).unwrap());
    }

    #[test]
    fn items_are_counted_by_run_and_by_what_their_resource_was_given_and_strangers_apart() {
        let mut tally = ArrivalTally::default();
        let scope = json!({"name": SCOPE, "version": "00000000000000aa"});
        let id = |value: Value| json!([{"key": "service.name", "value": {"stringValue": "x"}}, {"key": "container.id", "value": value}]);
        arrived(&mut tally, id(json!({"stringValue": "4f1c"})), scope.clone());
        arrived(&mut tally, id(json!({"stringValue": "4f1c"})), scope.clone());
        arrived(&mut tally, json!([]), scope.clone());
        arrived(&mut tally, id(json!({"intValue": "4"})), scope.clone());
        arrived(
            &mut tally,
            id(json!({"stringValue": "4f1c"})),
            json!({"name": "somebody", "version": "00000000000000aa"}),
        );
        arrived(&mut tally, id(json!({"stringValue": "4f1c"})), json!({"name": SCOPE, "version": "1.2.3"}));
        let seen: Vec<_> = tally.entries().map(|(_, _, id, items)| (id, items)).collect();
        assert_eq!(seen, [("", 2), ("4f1c", 4), ("not a string", 2)]);
        assert_eq!(tally.strangers, 4);
        assert_eq!(ArrivalTally::read(&tally.text()), Some(tally));
    }

    #[test]
    fn a_tally_is_bounded_and_says_what_is_beyond() {
        let mut tally = ArrivalTally::default();
        for run in 0..5_000_u32 {
            tally.add(&format!("{run:016x}"), Signal::Traces, &"ab".repeat(40), 2);
        }
        assert_eq!((tally.entries().count(), tally.beyond), (ENTRIES_MAX, 2 * (5_000 - ENTRIES_MAX as u64)));
        assert!(tally.text().len() < 700_000, "{}", tally.text().len());
        tally.add(&format!("{:016x}", 0), Signal::Traces, &"ab".repeat(40), 1);
        assert_eq!(tally.entries().next().map(|(_, _, _, items)| items), Some(3), "what is known goes on");
    }

    #[test]
    fn a_text_that_is_no_tally_is_none() {
        assert_eq!(ArrivalTally::read(""), Some(ArrivalTally::default()));
        for text in ["x", "{}", r#"{"items": [["a", "profiles", "", 1]], "strangers": 0, "beyond": 0}"#, "[]"] {
            assert_eq!(ArrivalTally::read(text), None, "{text}");
        }
    }
}
