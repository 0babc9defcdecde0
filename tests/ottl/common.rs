//! Attributes as JSON in both directions, and a transform between a test and what it made.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use serde_json::{Map, Value as Json, json};

use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::error::ConsumeError;
use podgate::core::stage::factory::{Checks, ProcessorPlan, Stage};
use podgate::core::stage::host::Host;
use podgate::core::stage::transform::{CountChange, Transform};
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::transform::FACTORY;
use podgate::testing::check;
use podgate::testing::sink::Sink;
use podgate::testing::stage::stage_context;

pub fn any(json: &Json) -> AnyValue {
    let value = match json {
        Json::Null => None,
        Json::Bool(truth) => Some(Kind::BoolValue(*truth)),
        Json::Number(number) => Some(match number.as_i64() {
            Some(number) => Kind::IntValue(number),
            None => Kind::DoubleValue(number.as_f64().expect("a double")),
        }),
        Json::String(text) => Some(Kind::StringValue(text.clone())),
        Json::Array(values) => Some(Kind::ArrayValue(ArrayValue { values: values.iter().map(any).collect() })),
        Json::Object(map) => Some(Kind::KvlistValue(KeyValueList { values: attributes_of(map) })),
    };
    AnyValue { value }
}

fn attributes_of(map: &Map<String, Json>) -> Vec<KeyValue> {
    map.iter()
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(any(value)), ..KeyValue::default() })
        .collect()
}

pub fn attributes(json: &Json) -> Vec<KeyValue> {
    attributes_of(json.as_object().expect("a map"))
}

pub fn shown(attributes: &[KeyValue]) -> Json {
    let mut map = Map::new();
    for attribute in attributes {
        let value = attribute.value.as_ref().map_or(Json::Null, of_any);
        assert!(map.insert(attribute.key.clone(), value).is_none(), "{} comes twice", attribute.key);
    }
    Json::Object(map)
}

pub fn of_any(any: &AnyValue) -> Json {
    match &any.value {
        None => Json::Null,
        Some(Kind::BoolValue(truth)) => json!(truth),
        Some(Kind::IntValue(number)) => json!(number),
        Some(Kind::DoubleValue(number)) => json!(number),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::BytesValue(bytes)) => json!(format!("{bytes:02x?}")),
        Some(Kind::ArrayValue(list)) => list.values.iter().map(of_any).collect(),
        Some(Kind::KvlistValue(map)) => shown(&map.values),
        Some(other) => panic!("unexpected {other:?}"),
    }
}

const PATH: &str = "processors::transform/t";

/// The plan of a transform's body, or its faults.
pub fn checked(yaml: &str) -> Result<Box<dyn ProcessorPlan>, Vec<String>> {
    let checks = Checks::default();
    let plan = check::run(&checks, PATH, &check::node(yaml), FACTORY.check);
    let found = checks.diagnostics.sorted();
    if checks.diagnostics.has_errors() {
        assert!(found.iter().all(|fault| fault.place.is_some_and(|place| place.line > 0)), "{found:?}");
        return Err(found.into_iter().map(|fault| format!("{} {}", fault.path, fault.message)).collect());
    }
    Ok(plan.expect("a plan where there is no fault"))
}

pub struct Rig {
    pub host: Arc<Host>,
    stage: Arc<dyn Transform>,
    signal: Signal,
}

pub fn rig(yaml: &str, signal: Signal) -> Rig {
    let plan = checked(yaml).unwrap_or_else(|faults| panic!("{yaml}\n{faults:?}"));
    let host = Host::new(Budget::new(1 << 30, 1 << 30));
    match plan.build(stage_context(&host, PATH, signal), Sink::new()) {
        Stage::Transform(stage) => Rig { host, stage, signal },
        Stage::Consumer { .. } => unreachable!("a transform is no stage of its own"),
    }
}

impl Rig {
    pub fn payload(&self, request: &[u8]) -> Payload {
        let envelope = envelope::decode(Bytes::copy_from_slice(request)).expect("valid");
        let items = envelope::count_items(self.signal, &envelope);
        let ticket = self.host.budget.take(request.len() as u64).unwrap_or_else(|_| Ticket::free());
        let origin = Arc::new(Origin::internal(UnixNanos::from_secs(1)));
        Payload { signal: self.signal, envelope, items, origin, ticket, share: Share::none() }
    }

    pub fn run(&self, payload: Payload) -> Result<Payload, ConsumeError> {
        let items = payload.items;
        let (made, change) = self.counted(payload)?;
        assert_eq!(change, CountChange::default(), "the transform adds and removes no items");
        assert_eq!(made.items, items);
        Ok(made)
    }

    /// The same for statements that make items or take some away; the payload counts what it has.
    pub fn counted(&self, payload: Payload) -> Result<(Payload, CountChange), ConsumeError> {
        let came = payload.items;
        let (made, change) = self.stage.counted(payload)?;
        assert_eq!(made.items, came + change.made - change.gone);
        assert_eq!(envelope::count_items(self.signal, &made.envelope), made.items);
        Ok((made, change))
    }

    pub fn bytes(&self, request: &[u8]) -> Bytes {
        envelope::encode(&self.run(self.payload(request)).expect("accepted").envelope)
    }
}
