//! A page listener with a lifecycle: binds in start, stops in drain. Shared by health_check, admin and the metrics.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::stage::host::Host;
use crate::net::pages::page::STOP_WAIT;
use crate::net::pages::router::Pages;
use crate::net::server::accept::{Serving, run};
use crate::net::server::limits::ServerLimits;
use crate::net::server::listen::{BoundAddresses, Endpoint, Listener};
use crate::net::server::node_addresses::Home;
use crate::net::server::state::Server;

/// What the connections of one listener may hold, in no case at the cost of telemetry: half of it is the buffers of every
/// place, and of as many that were just given away.
const MEMORY_BYTES: u64 = 8 << 20;

/// Binds in start, stops in drain.
pub struct PageListener {
    stop: watch::Sender<Option<Instant>>,
    // Taken by drain; never held across an await.
    task: Mutex<Option<JoinHandle<()>>>,
    /// The label of its connections' metrics, where the last part of its path is no name.
    label: Option<&'static str>,
}

impl Default for PageListener {
    fn default() -> PageListener {
        PageListener { stop: watch::Sender::new(None), task: Mutex::new(None), label: None }
    }
}

impl PageListener {
    /// Its connections are counted under this name.
    pub fn labelled(label: &'static str) -> PageListener {
        PageListener { label: Some(label), ..PageListener::default() }
    }

    /// `path` is the component's for messages; `endpoint` is `host:port`. A port that another process holds is waited for.
    pub async fn start(&self, host: &Host, path: &str, endpoint: &str, pages: Pages) -> Result<(), StartError> {
        let refused = |message: String| refused(path, endpoint, message);
        let parsed = Endpoint::parse_tcp(endpoint).map_err(refused)?;
        let listener = parsed.bind_when_free(host, path).await.map_err(|error| refused(error.to_string()))?;
        self.serve(host, path, endpoint, pages, listener)
    }

    /// As [`PageListener::start`] without the wait: for a page that nobody asked for.
    pub async fn start_now(&self, host: &Host, path: &str, endpoint: &str, pages: Pages) -> Result<(), StartError> {
        let refused = |message: String| refused(path, endpoint, message);
        let parsed = Endpoint::parse_tcp(endpoint).map_err(refused)?;
        let bound = parsed.bind_or_take_over(host, path).await;
        self.serve(host, path, endpoint, pages, bound.map_err(|error| refused(error.to_string()))?)
    }

    #[expect(clippy::too_many_arguments, reason = "one private funnel of the two ways to start")]
    fn serve(
        &self,
        host: &Host,
        path: &str,
        endpoint: &str,
        pages: Pages,
        listener: Arc<Listener>,
    ) -> Result<(), StartError> {
        let address = listener.local_addr();
        let pages = match address {
            Some(address) if address.ip().to_canonical().is_loopback() => {
                pages.only_on_loopback(endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host))
            }
            _ => pages,
        };
        if let Some(address) = address {
            host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).set(path, address);
        }
        tracing::info!(component = path, endpoint, "pages are served");
        let name = self.label.unwrap_or_else(|| path.rsplit("::").next().unwrap_or(path));
        let budget = Budget::new(MEMORY_BYTES, MEMORY_BYTES);
        let server = Server::of_pages(&host.stats, name, ServerLimits::of_pages(), Home::detect(), budget);
        let (service, stop) = (pages.into_service(), self.stop.subscribe());
        let task = host.tasks.spawn(path, |pulse| run(Serving::by(server, service), listener, stop, pulse));
        *self.task.locked() = Some(task);
        Ok(())
    }

    pub async fn drain(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline.min(Instant::now() + STOP_WAIT)));
        let task = self.task.locked().take();
        if let Some(task) = task {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
    }
}

fn refused(path: &str, endpoint: &str, message: String) -> StartError {
    StartError {
        component: path.to_owned(),
        message: format!("cannot listen on {endpoint}: {message}"),
        help: Some("choose another `endpoint`, or end the process that has this port".to_owned()),
    }
}
