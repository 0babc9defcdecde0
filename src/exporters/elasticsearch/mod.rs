//! `elasticsearch`: documents for Elasticsearch by `_bulk`, each accounted for by its own verdict.
//!
//! [`mapping`] turns request bytes into documents, [`delivery`] brings them to their end, [`config`] reads the Collector's keys.
//! Documents carry the same id on every attempt, so that repeats after an outage make no duplicates.
//!
//! ```yaml
//! elasticsearch:
//!   endpoints: [https://elasticsearch:9200]
//!   api_key: ${env:ELASTIC_API_KEY}
//!   podgate: {dead_letter: {path: /var/lib/podgate/dead-letters.ndjson}}
//! ```

pub mod capability;
pub mod config;
pub mod delivery;
pub mod mapping;
pub mod preflight;
pub mod templates;

use std::sync::Arc;

use crate::core::data::payload::Signal;
use crate::core::outside::Outside;
use crate::core::stage::auth::Authenticators;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::commands::replay::Replay;
use crate::core::stage::factory::{About, BuildContext, DataEnd, Exporter, ExporterFactory, ExporterPlan};
use crate::exporters::elasticsearch::config::ElasticsearchSettings;
use crate::exporters::elasticsearch::delivery::Bulks;
use crate::exporters::elasticsearch::delivery::bulk_sender::BulkSender;
use crate::exporters::elasticsearch::delivery::dead_letter::replay::DeadLetters;
use crate::exporters::elasticsearch::delivery::settings::DeliverySettings;
use crate::exporters::elasticsearch::preflight::Preflight;
use crate::sending::Sending;
use crate::sending::client::RequestCredentials;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "elasticsearch",
        aliases: &[],
        signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
        summary: "sends documents to Elasticsearch",
        example: "endpoints: [http://elasticsearch:9200]\nsending_queue: {queue_size: 1000}\n",
    },
    check: |cx, node| {
        let settings = config::check(cx, node)?;
        Some(Box::new(Plan { settings }) as Box<dyn ExporterPlan>)
    },
    end: DataEnd::Delivered,
};

struct Plan {
    settings: ElasticsearchSettings,
}

impl ExporterPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        let delivery = Bulks::new(&self.settings.delivery, &cx.id.to_string(), &cx.path, &cx.host);
        Arc::new(Sending::over(&cx.id, cx.host, self.settings.queue.clone(), Box::new(delivery)))
    }

    fn probe(&self, _: &[Signal], known: &Authenticators) -> Option<Box<dyn Probe>> {
        let DeliverySettings { post, mapping, .. } = &self.settings.delivery;
        let credentials = RequestCredentials::of(post.auth.as_deref(), known);
        Some(Box::new(Preflight::new(post, mapping, &Outside::default(), credentials)))
    }

    /// A bulk request carries documents of all who wait, whatever its queue keeps apart.
    fn merges_by(&self) -> Option<&[String]> {
        Some(&[])
    }

    fn replay(&self, cx: BuildContext) -> Option<Box<dyn Replay>> {
        let sender = BulkSender::new(&self.settings.delivery, &cx.id.to_string(), &cx.path, &cx.host);
        Some(Box::new(DeadLetters { sender }))
    }
}
