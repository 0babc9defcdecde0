//! health_check: probes on 13133. Alive means that owner tasks still turn; ready means that listeners are bound and
//! no drain has begun. Neither ever depends on an exporter, the API server or a cache: those are in `/status`.
//!
//! ```yaml
//! endpoint: 0.0.0.0:13133
//! path: /
//! tls: {cert_file: /tls/tls.crt, key_file: /tls/tls.key}
//! ```

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::server::{PageLock, page_lock};
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::status::{SERVICE, State};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::core::stage::host::Host;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::pages::listener::{PageListener, PagePlace};
use crate::net::pages::page::{PageRequest, PageResponse};
use crate::net::pages::router::Pages;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "health_check",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "answers probes: /livez, /readyz, /status and the old /",
        example: "endpoint: 127.0.0.1:13133\npath: /\n",
    },
    check,
};

/// An owner task that missed this many beats is stuck, and the process should be restarted.
const MISSED_BEATS_MAX: u32 = 12;

#[derive(Clone, Debug)]
struct Plan {
    endpoint: String,
    path: String,
    lock: PageLock,
}

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let section = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let endpoint = crate::config::value::address::listen(cx.checks, &section, "endpoint", "localhost:13133");
    let path = section.string("path").unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') {
        section.invalid::<()>("path", format!("{path:?} does not begin with a slash"), "a path such as /health");
    }
    if section.node("response_body").is_some() {
        section.without_effect("response_body", "the body says what is wrong");
    }
    if let Some(pipeline) = section.section("check_collector_pipeline") {
        pipeline.without_effect("enabled", "exporter state is in /status, not in probes");
        pipeline.without_effect("interval", "exporter state is in /status, not in probes");
        pipeline.without_effect("exporter_failure_threshold", "exporter state is in /status, not in probes");
        pipeline.finish();
    }
    let lock = page_lock(&section, cx.checks);
    section.not_yet(&["cors", "use_v2", "http", "grpc", "component_health"]);
    section.finish();
    Some(Box::new(Plan { endpoint: endpoint?, path, lock }))
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        Arc::new(HealthCheck { plan: self.clone(), path: cx.path, host: cx.host, listener: PageListener::default() })
    }
}

struct HealthCheck {
    plan: Plan,
    path: String,
    host: Arc<Host>,
    listener: PageListener,
}

impl Component for HealthCheck {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let pages = pages(&self.host, &self.plan.path);
        let place = PagePlace { path: &self.path, endpoint: &self.plan.endpoint, lock: &self.plan.lock };
        Box::pin(async move { self.listener.start(&self.host, place, pages).await })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.listener.drain(deadline))
    }
}

/// `root` is the configuration's, any text, so it is no route.
fn pages(host: &Arc<Host>, root: &str) -> Pages {
    let (live, ready, status, rest, root) = (host.clone(), host.clone(), host.clone(), host.clone(), root.to_owned());
    let started = UnixNanos::now();
    let otherwise = move |request: &PageRequest| match request.path == root {
        true => aged(livez(&rest), started, UnixNanos::now()),
        false => json_page(404, &nothing_at(&request.path, &root)),
    };
    Pages::new(otherwise)
        .page("/livez", move |_| {
            let (status, body) = livez(&live);
            json_page(status, &body)
        })
        .page("/readyz", move |request| readyz(&ready, request.query.contains_key("verbose")))
        .page("/status", move |_| json_page(200, &json!(status.status.all())))
}

/// `root` is where the old page is.
fn nothing_at(path: &str, root: &str) -> Value {
    let shown: String = path.chars().take(100).collect();
    let pages = ["/livez", "/readyz", "/readyz?verbose", "/status", root];
    json!({ "error": format!("nothing is at {shown:?}; pages: {}", pages.join(", ")) })
}

fn livez(host: &Host) -> (u16, Value) {
    match host.tasks.slowest() {
        Some((task, age)) if age > Pulse::INTERVAL * MISSED_BEATS_MAX => {
            (503, json!({ "status": "stuck", "task": task, "silent_seconds": age.as_secs() }))
        }
        _ => (200, json!({ "status": "Server available" })),
    }
}

/// The old page says for how long, as the Collector's does.
fn aged((status, mut body): (u16, Value), started: UnixNanos, now: UnixNanos) -> PageResponse {
    body["upSince"] = started.timestamp().to_string().into();
    body["uptime"] = format!("{}s", now.since(started).as_secs_f64()).into();
    json_page(status, &body)
}

fn readyz(host: &Host, verbose: bool) -> PageResponse {
    let components = host.status.all();
    let service = components.get(SERVICE).map_or(State::Starting, |report| report.state);
    let (status, word) = match service {
        // What was answered for is safe, and nothing more can be.
        state if state.is_ready() && host.logs.trouble().is_some() => (503, "cannot write"),
        state if state.is_ready() => (200, "ready"),
        State::Stopped => (503, "draining"),
        _ => (503, "starting"),
    };
    if verbose {
        return json_page(status, &json!({ "status": word, "components": components }));
    }
    json_page(status, &json!({ "status": word }))
}

fn json_page(status: u16, body: &Value) -> PageResponse {
    PageResponse::json(status, body)
}

#[cfg(test)]
mod tests;
