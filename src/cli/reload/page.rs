//! The page `/v1/config`: the configuration that runs, without its secrets, since when it does, and what differs from its
//! files now.

use std::sync::{Arc, Mutex};

use ring::digest::{SHA256, digest};
use serde_json::json;

use crate::cli::sources::{self, ConfigArgs};
use crate::config::show::print::{Secrets, to_yaml};
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::routes::Page;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::pipeline::identity::{Bodies, Difference};
use crate::pipeline::plan::Plan;
use crate::telemetry::running_config;

/// Hex digits of the hash: enough to tell the configurations of a fleet apart.
const HASH_DIGITS: usize = 16;

/// What is shown of the running configuration.
pub struct Shown {
    // Written by reloads, read by pages and scrapes.
    running: Mutex<ShownConfig>,
}

#[derive(Clone)]
struct ShownConfig {
    yaml: String,
    /// Of what is shown: a hash over secrets would let one guess them.
    hash: String,
    since: UnixNanos,
    bodies: Bodies,
}

impl ShownConfig {
    fn of(plan: &Plan, tree: Option<&Node>) -> ShownConfig {
        let yaml = tree.map(|tree| to_yaml(tree, Secrets::Redacted)).unwrap_or_default();
        let bytes = digest(&SHA256, yaml.as_bytes());
        let mut hash: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        hash.truncate(HASH_DIGITS);
        ShownConfig { yaml, hash, since: UnixNanos::now(), bodies: plan.bodies.clone() }
    }
}

impl Shown {
    pub fn register(args: &ConfigArgs, plan: &Plan, tree: Option<&Node>, host: &Arc<Host>) -> Arc<Shown> {
        let shown = Arc::new(Shown { running: Mutex::new(ShownConfig::of(plan, tree)) });
        let (of_page, args) = (shown.clone(), args.clone());
        let page = move |_: &_| of_page.page(&args);
        host.routes.add(
            "/v1/config",
            "the running configuration, its age, and what its files say otherwise",
            Arc::new(page),
        );
        shown.tell_hash(host);
        shown
    }

    /// After a reload.
    pub fn now_runs(&self, plan: &Plan, tree: Option<&Node>, host: &Host) {
        let next = ShownConfig::of(plan, tree);
        let mut running = self.running.locked();
        let same = running.hash == next.hash && Difference::of(&running.bodies, &next.bodies).is_none();
        let since = if same { running.since } else { next.since };
        *running = ShownConfig { since, ..next };
        drop(running);
        self.tell_hash(host);
    }

    fn tell_hash(&self, host: &Host) {
        let ShownConfig { hash, since, .. } = self.running.locked().clone();
        running_config::runs(host, &hash, since);
    }

    fn page(&self, args: &ConfigArgs) -> Page {
        let ShownConfig { yaml, hash, since, bodies } = self.running.locked().clone();
        let checked = sources::check(args);
        let files = match &checked.plan {
            Some(plan) => {
                let Difference { added, removed, changed, kept } = Difference::of(&bodies, &plan.bodies);
                json!({ "sound": true, "added": added, "removed": removed, "changed": changed, "kept": kept })
            }
            None => json!({ "sound": false, "findings": checked.findings.len() }),
        };
        Page::ok(json!({
            "hash": hash,
            "since": since.timestamp().to_string(),
            "age_seconds": UnixNanos::now().since(since).as_secs(),
            "files_now": files,
            "configuration": yaml,
        }))
    }
}
