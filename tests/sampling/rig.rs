//! A sampler between a test and a recording sink: configuration from JSON, spans from OTLP/JSON, time paused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::Value as Json;

use podgate::core::data::binding::Later;
use podgate::core::data::budget::Budget;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::{ItemEnd, Settlement};
use podgate::core::diagnostic::Diagnostic;
use podgate::core::error::ConsumeError;
use podgate::core::node::{Entry, Node, Place, Value};
use podgate::core::report::stats::Metric;
use podgate::core::stage::component::Component;
use podgate::core::stage::consumer::{Consumed, Consumer};
use podgate::core::stage::factory::{Checks, ProcessorPlan, Stage, StageContext};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::FACTORY;
use podgate::testing::check;
use podgate::testing::stage::stage_context;

/// A JSON value as a configuration node; every node gets a line of its own, so that places can be told apart.
pub fn node(json: &Json) -> Node {
    fn convert(json: &Json, line: &mut u32) -> Node {
        *line += 1;
        let place = Place { line: *line, column: 1, length: 1, ..Place::default() };
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => {
                number.as_i64().map_or(Value::Float(number.as_f64().expect("holds in this test")), Value::Int)
            }
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| convert(item, line)).collect()),
            Json::Object(map) => Value::Map(
                map.iter()
                    .map(|(key, value)| Entry { key: key.clone(), key_place: place, value: convert(value, line) })
                    .collect(),
            ),
        };
        Node::new(value, place)
    }
    convert(json, &mut 0)
}

/// Checks a configuration; the plan, or all findings.
pub fn checked(config: &Json) -> (Option<Box<dyn ProcessorPlan>>, Vec<Diagnostic>) {
    let checks = Checks::default();
    let plan = check::run(&checks, "processors::tail_sampling", &node(config), FACTORY.check);
    (plan, checks.diagnostics.sorted())
}

/// Records what arrives; refuses as long as it is told to.
#[derive(Default)]
pub struct Sink {
    pub spans: Mutex<Vec<Bytes>>,
    pub payloads: Mutex<Vec<Payload>>,
    pub answers: Mutex<Vec<ConsumeError>>,
    /// While set, nothing is answered.
    pub stalled: AtomicBool,
}

impl Consumer for Sink {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            while self.stalled.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if let Some(error) = self.answers.lock().expect("holds in this test").pop() {
                return Err(error);
            }
            std::mem::take(&mut payload.share).end(ItemEnd::Delivered);
            assert_eq!(payload.items, payload.envelope.messages() as u64);
            self.spans.lock().expect("holds in this test").extend(payload.envelope.items().map(Bytes::copy_from_slice));
            self.payloads.lock().expect("holds in this test").push(payload);
            Ok(())
        })
    }
}

impl Sink {
    /// Spans received by trace id in hex.
    pub fn by_trace(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for span in self.spans.lock().expect("holds in this test").iter() {
            let facts = podgate::otlp::span::read(span).expect("holds in this test");
            let id: [u8; 16] = facts.trace_id.try_into().unwrap_or_default();
            *counts.entry(id.iter().map(|byte| format!("{byte:02x}")).collect()).or_default() += 1;
        }
        counts
    }
}

pub struct Rig {
    pub consumer: Arc<dyn Consumer>,
    pub component: Arc<dyn Component>,
    pub host: Arc<Host>,
    pub sink: Arc<Sink>,
    /// What every group that is sent carries.
    pub later: Later,
}

impl Rig {
    pub async fn start(config: &Json) -> Rig {
        Rig::start_with(config, Budget::new(1 << 30, 1 << 29), Later::default()).await
    }

    pub async fn start_with(config: &Json, budget: Arc<Budget>, later: Later) -> Rig {
        Rig::start_as("tail_sampling", config, budget, later).await
    }

    /// `id` is the component's, which its metrics carry.
    pub async fn start_as(id: &str, config: &Json, budget: Arc<Budget>, later: Later) -> Rig {
        Rig::start_in(Host::new(budget), id, config, later).await
    }

    /// Within a host that has what the test put there; the exporter behind the sampler is `end`.
    pub async fn start_in(host: Arc<Host>, id: &str, config: &Json, later: Later) -> Rig {
        let (plan, findings) = checked(config);
        let plan = plan.unwrap_or_else(|| panic!("{config}: {findings:#?}"));
        let sink = Arc::new(Sink::default());
        let cx = StageContext {
            exporters: vec!["end".to_owned()],
            ..stage_context(&host, &format!("processors::{id}"), Signal::Traces)
        };
        let Stage::Consumer { consumer, component: Some(component) } = plan.build(cx, sink.clone()) else {
            panic!("a stage with a lifecycle");
        };
        component.start().await.expect("holds in this test");
        Rig { consumer, component, host, sink, later }
    }

    /// Sends a request as a receiver does.
    pub async fn send(&self, request: &ExportTraceServiceRequest) -> Result<(), ConsumeError> {
        let mut envelope = envelope::decode(Bytes::from(request.encode_to_vec())).expect("holds in this test");
        envelope.groups.iter_mut().for_each(|group| group.later = self.later.clone());
        let items = envelope.messages() as u64;
        let origin = Arc::new(Origin::internal(UnixNanos::now()));
        let ticket = self.host.budget.take(request.encoded_len() as u64).expect("holds in this test");
        let (receipt, share) = Settlement::receive(&self.host.balance, Signal::Traces, items);
        let payload = Payload { signal: Signal::Traces, envelope, items, origin, ticket, share };
        let answer = self.consumer.consume(payload).await;
        receipt.answer(answer.as_ref().copied());
        answer
    }

    /// The value of a gauge of ours, by the end of its name.
    pub fn gauge(&self, name: &str) -> u64 {
        let name = format!("podgate_tail_sampling_{name}");
        let all = self.host.stats.all();
        let series = all.iter().find(|series| series.name == name).expect("holds in this test");
        let Metric::ReadGauge(read) = &series.metric else { panic!("{name} is no gauge") };
        read() as u64
    }

    pub async fn drain(&self) {
        self.component.drain(tokio::time::Instant::now() + Duration::from_secs(20)).await;
    }

    /// The account must balance with nothing held, and all memory must be given back.
    pub fn assert_settled(&self) {
        let sheet = self.host.balance.sheet(Signal::Traces);
        assert!(sheet.holds(0), "{sheet:?}");
        assert_eq!(sheet.held, 0, "{sheet:?}");
        self.sink.payloads.lock().expect("holds in this test").clear();
        assert_eq!(self.host.budget.used(), 0, "bytes left in the budget");
    }
}
