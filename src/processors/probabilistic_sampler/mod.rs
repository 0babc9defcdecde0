//! `probabilistic_sampler`: keeps a share of spans and log records, each judged for itself, the same on every node.
//!
//! All three modes of the Collector's processor, with its verdicts and the marks it writes (`tracestate`, or attributes of
//! records), so that whoever counts afterwards knows for how many each one stands. Whole traces are `tail_sampling`'s.
//!
//! ```yaml
//! probabilistic_sampler:
//!   mode: proportional
//!   sampling_percentage: 10
//! ```

mod config;
mod items;
mod judge;

use std::sync::Arc;

use self::config::ItemSamplerSettings;
use self::items::ItemSampling;
use self::judge::RandomnessSource;
use crate::change::rebuild::rebuild;
use crate::core::data::granted::Allowance;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::ItemEnd;
use crate::core::error::ConsumeError;
use crate::core::node::Node;
use crate::core::report::stats::{Counter, Flow, Stats};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "probabilistic_sampler",
        aliases: &[],
        signals: &[Signal::Traces, Signal::Logs],
        summary: "keeps a share of spans and log records, each judged for itself, the same on every node",
        example: "mode: proportional\nsampling_percentage: 10\n",
    },
    check,
};

/// What the marks add to an item, with its key and length.
const GROWTH_BYTES: usize = 48;
/// Room beyond the share that is expected to be kept.
const SPARE: f64 = 1.25;

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    config::check(cx, node).map(|settings| Box::new(Plan { settings }) as Box<dyn ProcessorPlan>)
}

struct Plan {
    settings: ItemSamplerSettings,
}

impl ProcessorPlan for Plan {
    fn build(&self, cx: StageContext, next: Next) -> Stage {
        let (host, processor) = (&cx.build.host, cx.build.id.to_string());
        let consumer = Sampler {
            settings: self.settings.clone(),
            next,
            flow: Flow::of(&host.stats, &processor, cx.signal),
            verdicts: verdicts(&host.stats, &processor, cx.signal, self.settings.from_attribute.as_deref()),
        };
        Stage::Consumer { consumer: Arc::new(consumer), component: None }
    }

    // Judges items by their trace id or an attribute of their own.
    fn touches_resources(&self) -> bool {
        false
    }
}

/// Kept and gone, by `RandomnessSource::ALL`.
type Verdicts = [[Arc<Counter>; 2]; RandomnessSource::ALL.len()];

fn verdicts(stats: &Stats, processor: &str, signal: Signal, attribute: Option<&str>) -> Verdicts {
    let what = if signal == Signal::Logs { "logs" } else { "traces" };
    let name = format!("otelcol_processor_probabilistic_sampler_count_{what}_sampled");
    RandomnessSource::ALL.map(|policy| {
        let label = match policy {
            RandomnessSource::TraceIdHash => "trace_id_hash",
            RandomnessSource::TraceIdW3c => "trace_id_w3c",
            RandomnessSource::Randomness => "sampling_randomness",
            RandomnessSource::Priority => "sampling_priority",
            RandomnessSource::Missing => "missing_randomness",
            RandomnessSource::Attribute => attribute.unwrap_or("attribute"),
        };
        ["true", "false"].map(|sampled| {
            let labels = [("processor", processor), ("policy", label), ("sampled", sampled)];
            stats.counter(&name, "Items judged, by where their randomness comes from.", &labels)
        })
    })
}

struct Sampler {
    settings: ItemSamplerSettings,
    next: Next,
    flow: Flow,
    verdicts: Verdicts,
}

impl Sampler {
    /// The payload with what is kept. Items count as messages here: neither signal has others.
    fn sample(&self, mut payload: Payload) -> Result<Payload, ConsumeError> {
        let mut sampling = ItemSampling::new(&self.settings, payload.signal, &payload.ticket);
        let (envelope, mut room) = (&mut payload.envelope, Allowance::of(&payload.ticket));
        for scope in envelope.groups.iter_mut().flat_map(|group| &mut group.scopes) {
            let whole = scope.items.byte_len() + scope.items.len() * GROWTH_BYTES;
            let expected = (whole as f64 * (self.settings.share * SPARE).min(1.0)) as usize;
            if let Some(items) = rebuild(&scope.items, &mut sampling, expected, &mut room)? {
                scope.items = items;
            }
        }
        for group in &mut envelope.groups {
            group.scopes.retain(|scope| !scope.items.is_empty());
        }
        envelope.groups.retain(|group| !group.scopes.is_empty());
        payload.items = envelope.messages() as u64;
        for (counters, counts) in self.verdicts.iter().zip(sampling.counts) {
            for (counter, count) in counters.iter().zip(counts).filter(|(_, count)| *count > 0) {
                counter.add(count);
            }
        }
        Ok(payload)
    }
}

impl Consumer for Sampler {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        let before = payload.items;
        self.flow.incoming.add(before);
        let mut payload = match self.sample(payload) {
            Ok(payload) => payload,
            Err(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        self.flow.outgoing.add(payload.items);
        let gone = before.saturating_sub(payload.items);
        if gone == 0 {
            return self.next.consume(payload);
        }
        if payload.items == 0 {
            payload.share.end(ItemEnd::SampledOut);
            return Box::pin(std::future::ready(Ok(())));
        }
        let gone = payload.share.spread(gone);
        Box::pin(async move {
            // What was refused behind comes again as a whole: only then is it known that the others are gone.
            self.next.consume(payload).await?;
            gone.end(ItemEnd::SampledOut);
            Ok(())
        })
    }
}
