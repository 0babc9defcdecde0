//! admin: what the gateway knows, as JSON under versioned paths on 127.0.0.1:13134, and as one page for people at `/`.
//! Components register the pages.
//!
//! It runs without being named in the YAML, so that a Collector's configuration stays one. Pages are read by GET; what changes
//! something (`podgate reload`, `podgate shadow`) is a POST with the token of `token_file`, and without that key nobody can.
//!
//! ```yaml
//! endpoint: 127.0.0.1:13134
//! token_file: /etc/podgate/admin-token
//! ```

mod events;
mod index;
mod lanes;
mod page;
mod token;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::server::{PageLock, page_lock};
use crate::core::build_info;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::routes::Page;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::core::stage::host::Host;
use crate::extensions::admin::events::{EventDoor, events};
use crate::net::pages::listener::{PageListener, PagePlace};
use crate::net::pages::page::{PageBody, PageRequest, PageResponse};
use crate::net::pages::router::Pages;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "admin",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "shows runs, pipelines, traces and explanations as a page and as JSON; on by default on loopback",
        example: "endpoint: 127.0.0.1:13134\ntoken_file: /etc/podgate/admin-token\n",
    },
    check,
};

const DEFAULT_ENDPOINT: &str = "127.0.0.1:13134";

#[derive(Clone, Debug)]
struct Plan {
    endpoint: String,
    /// Whoever knows its text may change something; read at each request, so that it can be changed.
    token_file: Option<PathBuf>,
    lock: PageLock,
    /// Not named in the configuration: a port in use is then a warning, not a failure.
    implicit: bool,
}

/// The plan for a configuration that does not name the extension.
pub fn implicit() -> Box<dyn ExtensionPlan> {
    Box::new(Plan {
        endpoint: DEFAULT_ENDPOINT.to_owned(),
        token_file: None,
        lock: PageLock::default(),
        implicit: true,
    })
}

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let section = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let endpoint = crate::config::value::address::listen(cx.checks, &section, "endpoint", DEFAULT_ENDPOINT);
    let token_file = section.string("token_file").filter(|path| !path.is_empty()).map(PathBuf::from);
    let lock = page_lock(&section, cx.checks);
    section.finish();
    Some(Box::new(Plan { endpoint: endpoint?, token_file, lock, implicit: false }))
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        Arc::new(Admin {
            plan: self.clone(),
            path: cx.path,
            host: cx.host,
            listener: PageListener::default(),
            stop: watch::Sender::new(false),
            streams: Mutex::default(),
        })
    }
}

struct Admin {
    plan: Plan,
    path: String,
    host: Arc<Host>,
    listener: PageListener,
    stop: watch::Sender<bool>,
    // Taken by drain; never held across an await.
    streams: Mutex<Option<JoinHandle<()>>>,
}

impl Component for Admin {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let (host, token_file) = (self.host.clone(), self.plan.token_file.clone());
        let (door, events) = events(&host.routes);
        let task = host.tasks.spawn_idle(&format!("{}/events", self.path), events.run(self.stop.subscribe()));
        *self.streams.locked() = Some(task);
        // Pages are registered by components at any time, so there are no fixed routes.
        let pages = Pages::asking(move |request| {
            Box::pin(answer(host.clone(), token_file.clone(), door.clone(), request.clone()))
        });
        Box::pin(async move {
            let place = PagePlace { path: &self.path, endpoint: &self.plan.endpoint, lock: &self.plan.lock };
            if !self.plan.implicit {
                return self.listener.start(&self.host, place, pages).await;
            }
            if let Err(error) = self.listener.start_now(&self.host, place, pages).await {
                tracing::warn!(%error, "cannot serve the admin page: name the extension `admin` with another endpoint");
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        // Streams end, so that their connections need not be cut.
        self.stop.send_replace(true);
        let task = self.streams.locked().take();
        Box::pin(async move {
            if let Some(task) = task {
                let _ = tokio::time::timeout_at(deadline, task).await;
            }
            self.listener.drain(deadline).await;
        })
    }
}

async fn answer(host: Arc<Host>, token_file: Option<PathBuf>, door: EventDoor, request: PageRequest) -> PageResponse {
    let page = if host.routes.has_change(&request.path) {
        match token::allows(&request, token_file.as_deref()).await {
            Ok(()) => match host.routes.change(&request.path, &request.query, request.body) {
                Some(change) => change.await,
                None => Page::error(404, "there is nothing to change under this path any more"),
            },
            Err(refused) => refused,
        }
    } else if request.method != "GET" {
        Page::error(405, "read-only: use GET")
    } else if request.path == "/" && index::is_wanted(request.header("accept")) {
        return page::response();
    } else if request.path == EVENTS {
        match open(&door, &request) {
            Ok(stream) => return stream,
            Err(page) => page,
        }
    } else if let Some(asked) = host.routes.ask(&request.path, &request.query) {
        asked.await
    } else {
        let is_list = ["/", "/v1", "/v1/"].contains(&request.path.as_str());
        let (pages, status) = (host.routes.index(), if is_list { 200 } else { 404 });
        if index::is_wanted(request.header("accept")) {
            let title = format!("podgate {}", build_info::LONG);
            return as_html(status, index::html(&title, &pages));
        }
        let index: serde_json::Map<String, serde_json::Value> =
            pages.into_iter().map(|(path, about)| (path, about.into())).collect();
        Page { status, body: json!({ "pages": index }) }
    };
    PageResponse::json(page.status, &page.body)
}

const EVENTS: &str = "/v1/events";

/// A stream for a page of this gateway's own; a page of another origin could not read it, and shall not hold a place.
fn open(door: &EventDoor, request: &PageRequest) -> Result<PageResponse, Page> {
    let own = |origin: &str| origin.split_once("://").map(|(_, host)| host) == request.header("host");
    if request.header("origin").is_some_and(|origin| !own(origin)) {
        return Err(Page::error(403, "events are for the page of this gateway, not for another origin's"));
    }
    let Some(stream) = door.open() else { return Err(Page::error(503, "no stream for now: ask again in a second")) };
    let mut response = PageResponse::text(200, "");
    response.content_type = "text/event-stream";
    response.headers.push(("cache-control", "no-store".to_owned()));
    response.headers.push(("x-content-type-options", "nosniff".to_owned()));
    response.body = PageBody::Stream(stream);
    Ok(response)
}

/// A browser is told to load and run nothing.
fn as_html(status: u16, text: String) -> PageResponse {
    let mut page = PageResponse::full(status, "text/html; charset=utf-8", text.into());
    page.headers.push(("content-security-policy", "default-src 'none'".to_owned()));
    page.headers.push(("x-content-type-options", "nosniff".to_owned()));
    page
}
