//! admin: what the gateway knows, as JSON under versioned paths on 127.0.0.1:13134. Components register the pages.
//!
//! It runs without being named in the YAML, so that a Collector's configuration stays one. Pages are read by GET; what changes
//! something (`podgate reload`, `podgate shadow`) is a POST with the token of `token_file`, and without that key nobody can.
//!
//! ```yaml
//! endpoint: 127.0.0.1:13134
//! token_file: /etc/podgate/admin-token
//! ```

mod index;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::build_info;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::report::routes::Page;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::core::stage::host::Host;
use crate::net::pages::listener::PageListener;
use crate::net::pages::page::{PageRequest, PageResponse};
use crate::net::pages::router::Pages;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "admin",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "shows pods, balance, components and explanations as JSON; on by default on loopback",
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
    /// Not named in the configuration: a port in use is then a warning, not a failure.
    implicit: bool,
}

/// The plan for a configuration that does not name the extension.
pub fn implicit() -> Box<dyn ExtensionPlan> {
    Box::new(Plan { endpoint: DEFAULT_ENDPOINT.to_owned(), token_file: None, implicit: true })
}

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let section = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let endpoint = crate::config::value::address::listen(cx.checks, &section, "endpoint", DEFAULT_ENDPOINT);
    let token_file = section.string("token_file").filter(|path| !path.is_empty()).map(PathBuf::from);
    section.finish();
    Some(Box::new(Plan { endpoint: endpoint?, token_file, implicit: false }))
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        Arc::new(Admin { plan: self.clone(), path: cx.path, host: cx.host, listener: PageListener::default() })
    }
}

struct Admin {
    plan: Plan,
    path: String,
    host: Arc<Host>,
    listener: PageListener,
}

impl Component for Admin {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let (host, token_file) = (self.host.clone(), self.plan.token_file.clone());
        // Pages are registered by components at any time, so there are no fixed routes.
        let pages = Pages::asking(move |request| Box::pin(answer(host.clone(), token_file.clone(), request.clone())));
        Box::pin(async move {
            if !self.plan.implicit {
                return self.listener.start(&self.host, &self.path, &self.plan.endpoint, pages).await;
            }
            if let Err(error) = self.listener.start_now(&self.host, &self.path, &self.plan.endpoint, pages).await {
                tracing::warn!(%error, "cannot serve the admin page: name the extension `admin` with another endpoint");
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.listener.drain(deadline))
    }
}

async fn answer(host: Arc<Host>, token_file: Option<PathBuf>, request: PageRequest) -> PageResponse {
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
    } else if let Some(asked) = host.routes.ask(&request.path, &request.query) {
        asked.await
    } else {
        let (pages, status) = (host.routes.index(), if request.path == "/" { 200 } else { 404 });
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

/// A browser is told to load and run nothing.
fn as_html(status: u16, text: String) -> PageResponse {
    let mut page = PageResponse::full(status, "text/html; charset=utf-8", text.into());
    page.headers.push(("content-security-policy", "default-src 'none'".to_owned()));
    page.headers.push(("x-content-type-options", "nosniff".to_owned()));
    page
}
