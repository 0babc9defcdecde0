//! The page `/v1/config`: the configuration that runs, without its secrets, since when it does, and what differs from its
//! files now.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::cli::sources::{self, Checked, ConfigArgs};
use crate::config::show::page;
use crate::core::lock::Locked;
use crate::core::report::routes::Page;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::pipeline::identity::{Bodies, Difference};
use crate::pipeline::plan::Plan;
use crate::telemetry::running_config;

/// What is shown of the running configuration.
pub struct Shown {
    // Written by reloads, read by pages and scrapes.
    running: Mutex<ShownConfig>,
}

#[derive(Clone)]
struct ShownConfig {
    /// Without its age.
    page: Value,
    since: UnixNanos,
    bodies: Bodies,
}

impl ShownConfig {
    fn of(plan: &Plan, checked: &Checked) -> ShownConfig {
        let since = UnixNanos::now();
        let described = |tree| page::describe(tree, &checked.sources, &checked.findings, since);
        let page = checked.tree.as_ref().map_or(Value::Null, described);
        ShownConfig { page, since, bodies: plan.bodies.clone() }
    }
}

impl Shown {
    pub fn register(args: &ConfigArgs, plan: &Plan, checked: &Checked, host: &Arc<Host>) -> Arc<Shown> {
        let shown = Arc::new(Shown { running: Mutex::new(ShownConfig::of(plan, checked)) });
        let (of_page, args) = (shown.clone(), args.clone());
        let page = move |_: &_| of_page.page(&args);
        host.routes.add(
            "/v1/config",
            "the running configuration without secrets: hash, age, findings, and what its files say otherwise",
            Arc::new(page),
        );
        shown.tell_hash(host);
        shown
    }

    /// After a reload.
    pub fn now_runs(&self, plan: &Plan, checked: &Checked, host: &Host) {
        let next = ShownConfig::of(plan, checked);
        let mut running = self.running.locked();
        let same = running.page["hash"] == next.page["hash"] && Difference::of(&running.bodies, &next.bodies).is_none();
        if !same {
            *running = next;
        }
        drop(running);
        self.tell_hash(host);
    }

    fn tell_hash(&self, host: &Host) {
        let ShownConfig { page, since, .. } = self.running.locked().clone();
        running_config::runs(host, page["hash"].as_str().unwrap_or_default(), since);
    }

    fn page(&self, args: &ConfigArgs) -> Page {
        let ShownConfig { mut page, since, bodies } = self.running.locked().clone();
        let checked = sources::check(args);
        page["age_seconds"] = UnixNanos::now().since(since).as_secs().into();
        page["files_now"] = match &checked.plan {
            Some(plan) => {
                let Difference { added, removed, changed, kept } = Difference::of(&bodies, &plan.bodies);
                json!({ "sound": true, "added": added, "removed": removed, "changed": changed, "kept": kept })
            }
            None => json!({ "sound": false, "findings": checked.findings.len() }),
        };
        Page::ok(page)
    }
}
