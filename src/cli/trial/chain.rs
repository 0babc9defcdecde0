//! The processors of one pipeline as a gateway builds them, with a look at what passes between each two of them and in
//! place of its exporters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::core::data::payload::{Envelope, Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Settlement};
use crate::core::error::ConsumeError;
use crate::core::limits::DRAIN_DEADLINE;
use crate::core::lock::Locked;
use crate::core::report::stats::Flow;
use crate::core::stage::component::{Component, ComponentId, Kind};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::factory::{BuildContext, Stage, StageContext};
use crate::core::stage::host::Host;
use crate::core::stage::transform::TransformStage;
use crate::pipeline::identity::path;
use crate::pipeline::plan::{PipelinePlan, Plan};

/// How long stages may keep requests for themselves before they are told to let go of them, as at a stop.
const SETTLES_WITHIN: Duration = Duration::from_secs(15);

/// What passed at one place, in its order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Envelope>>>);

/// Remembers what passes. Copies of envelopes share the bytes of the request.
struct Look {
    seen: Seen,
    next: Option<Next>,
}

impl Consumer for Look {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        self.seen.0.locked().push(payload.envelope.clone()); // granted: the input's, which is bounded
        match &self.next {
            Some(next) => next.consume(payload),
            None => {
                payload.share.end(ItemEnd::Delivered);
                Box::pin(std::future::ready(Ok(())))
            }
        }
    }
}

/// A pipeline's processors and the places between them.
pub struct Chain {
    host: Arc<Host>,
    signal: Signal,
    entry: Next,
    /// In front of each processor, and behind the last one.
    places: Vec<Seen>,
    /// In the direction of the data.
    components: Vec<Arc<dyn Component>>,
}

impl Chain {
    pub fn of(plan: &Plan, pipeline: &PipelinePlan, host: &Arc<Host>) -> Chain {
        let end = Seen::default();
        let mut components = Vec::new();
        let mut next: Next = Arc::new(Look { seen: end.clone(), next: None });
        let mut places = vec![end];
        for id in pipeline.processors.iter().rev() {
            let Some(processor) = plan.processors.get(id) else { continue };
            let build = BuildContext { id: id.clone(), path: path(Kind::Processor, id), host: host.clone() };
            let cx = StageContext {
                build,
                signal: pipeline.signal,
                pipeline: pipeline.name.clone(),
                exporters: pipeline.exporters.iter().map(ComponentId::to_string).collect(),
                // What is known of a pod is written where it would be looked up, so that it is seen there.
                bound_late: false,
                longest_wait: Duration::ZERO,
            };
            let stage = match processor.build(cx, next.clone()) {
                Stage::Transform(transform) => {
                    let flow = Flow::of(&host.stats, &id.to_string(), pipeline.signal);
                    Arc::new(TransformStage::new(transform, next, flow))
                }
                Stage::Consumer { consumer, component } => {
                    components.extend(component);
                    consumer
                }
            };
            let seen = Seen::default();
            next = Arc::new(Look { seen: seen.clone(), next: Some(stage) });
            places.push(seen);
        }
        places.reverse();
        components.reverse();
        Chain { host: host.clone(), signal: pipeline.signal, entry: next, places, components }
    }

    /// Sends the requests through, has every stage let go of what it holds, and returns what passed at each place; and how
    /// the requests were answered that no stage took.
    pub async fn run(self, requests: Vec<Payload>) -> Result<(Vec<Vec<Envelope>>, Vec<ConsumeError>), String> {
        // Consumers start before producers.
        for component in self.components.iter().rev() {
            component.start().await.map_err(|error| format!("{}: {}", error.component, error.message))?;
        }
        let answers = join_all(requests.into_iter().map(|request| self.answered(request)));
        tokio::pin!(answers);
        let early = timeout(SETTLES_WITHIN, &mut answers).await.ok();
        let deadline = Instant::now() + DRAIN_DEADLINE;
        let drained = async {
            for component in &self.components {
                component.drain(deadline).await;
            }
        };
        let answers = match early {
            Some(answers) => {
                drained.await;
                answers
            }
            None => tokio::join!(answers, drained).0,
        };
        let places = self.places.iter().map(|seen| std::mem::take(&mut *seen.0.locked())).collect();
        Ok((places, answers.into_iter().filter_map(Result::err).collect()))
    }

    async fn answered(&self, request: Payload) -> Result<(), ConsumeError> {
        let (receipt, share) = Settlement::receive(&self.host.balance, self.signal, request.items);
        let answer = self.entry.consume(Payload { share, ..request }).await;
        receipt.answer(answer.as_ref().copied());
        answer
    }
}
