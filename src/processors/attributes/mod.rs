//! `attributes`: inserts, updates, deletes, hashes, extracts and converts attributes of spans, log records and points.
//!
//! Items are matched and changed where they stand; a scope in which nothing changes keeps its items' bytes. In one that
//! changes, all items move into one new buffer, side by side again, so that they still leave as one slice: copying an item
//! costs less than counting a reference to it.
//!
//! ```yaml
//! attributes:
//!   include: {match_type: regexp, services: ["^shop-.*"]}
//!   actions:
//!     - {key: enduser.email, action: hash}
//!     - {key: http.url, pattern: "^https?://(?P<url_host>[^/]+)", action: extract}
//!     - {pattern: "^http\\.request\\.header\\.", action: delete}
//! ```

mod change;
mod config;
mod matching;

use std::sync::Arc;

use self::change::ItemChange;
use self::matching::MatchRules;
use crate::change::actions;
use crate::change::actions::Actions;
use crate::change::rebuild::rebuild;
use crate::config::check::Section;
use crate::core::data::granted::Allowance;
use crate::core::data::payload::{Payload, Signal};
use crate::core::error::ConsumeError;
use crate::core::node::Node;
use crate::core::stage::consumer::Next;
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::stage::transform::Transform;

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "attributes",
        aliases: &[],
        signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
        summary: "inserts, updates, deletes, hashes, extracts and converts attributes of spans, log records and points",
        example: "actions:\n  - {key: enduser.email, action: hash}\n",
    },
    check,
};

/// Items are expected to grow by no more than this on average, their keys and lengths included.
const GROWTH_BYTES: usize = 70;

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let section = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    if !section.is_map() {
        return None;
    }
    let (include, exclude) = (config::properties(&section, "include"), config::properties(&section, "exclude"));
    let actions = actions::read(&section, "actions");
    section.finish();
    let rules = MatchRules { include: include?, exclude: exclude? };
    Some(Box::new(Plan { work: Arc::new(Work { rules, actions: actions? }) }))
}

struct Work {
    rules: MatchRules,
    actions: Actions,
}

struct Plan {
    work: Arc<Work>,
}

impl ProcessorPlan for Plan {
    fn build(&self, _: StageContext, _next: Next) -> Stage {
        Stage::Transform(Arc::new(Attributes { work: self.work.clone() }))
    }

    fn unfit(&self, signal: Signal) -> Option<String> {
        self.work.rules.unfit(signal)
    }
}

struct Attributes {
    work: Arc<Work>,
}

impl Transform for Attributes {
    fn transform(&self, mut payload: Payload) -> Result<Payload, ConsumeError> {
        let Payload { signal, envelope, origin, ticket, .. } = &mut payload;
        let Work { rules, actions } = &*self.work;
        let mut room = Allowance::of(ticket);
        let mut change = ItemChange::new(*signal, rules, actions, origin, ticket);
        for group in &mut envelope.groups {
            let Some(standing) = rules.at_resource(group.resource.as_deref().unwrap_or_default()) else { continue };
            for scope in &mut group.scopes {
                let bytes = scope.scope.as_deref().unwrap_or_default();
                let Some(standing) = rules.at_scope(standing, bytes) else { continue };
                change.standing = standing;
                let expected = scope.items.byte_len() + scope.items.len() * GROWTH_BYTES;
                if let Some(items) = rebuild(&scope.items, &mut change, expected, &mut room)? {
                    scope.items = items;
                }
            }
        }
        Ok(payload)
    }
}
