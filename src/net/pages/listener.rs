//! A page listener with a lifecycle: binds in start, stops in drain. Shared by health_check, admin and the metrics.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::server::PageLock;
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
use crate::net::server::tls::source::TlsFiles;
use crate::net::server::tls::watch::CertificateWatch;

/// What the connections of one listener may hold, in no case at the cost of telemetry: half of it is the buffers of every
/// place, and of as many that were just given away.
const MEMORY_BYTES: u64 = 8 << 20;

/// Binds in start, stops in drain.
pub struct PageListener {
    stop: watch::Sender<Option<Instant>>,
    // Taken by drain; never held across an await.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// The label of its connections' metrics, where the last part of its path is no name.
    label: Option<&'static str>,
}

impl Default for PageListener {
    fn default() -> PageListener {
        PageListener { stop: watch::Sender::new(None), tasks: Mutex::default(), label: None }
    }
}

/// Where pages are served, and to whom.
pub struct PagePlace<'a> {
    /// The component's, for messages.
    pub path: &'a str,
    /// `host:port`
    pub endpoint: &'a str,
    pub lock: &'a PageLock,
}

impl PageListener {
    /// Its connections are counted under this name.
    pub fn labelled(label: &'static str) -> PageListener {
        PageListener { label: Some(label), ..PageListener::default() }
    }

    /// A port that another process holds is waited for.
    pub async fn start(&self, host: &Host, place: PagePlace<'_>, pages: Pages) -> Result<(), StartError> {
        let refused = |message: String| refused(&place, message);
        let parsed = Endpoint::parse_tcp(place.endpoint).map_err(refused)?;
        let tls = TlsFiles::of(place.lock.tls.as_ref(), place.path).await?;
        let listener = parsed.bind_when_free(host, place.path).await.map_err(|error| refused(error.to_string()))?;
        self.serve(host, &place, pages, Bound { listener, tls });
        Ok(())
    }

    /// As [`PageListener::start`] without the wait: for a page that nobody asked for.
    pub async fn start_now(&self, host: &Host, place: PagePlace<'_>, pages: Pages) -> Result<(), StartError> {
        let refused = |message: String| refused(&place, message);
        let parsed = Endpoint::parse_tcp(place.endpoint).map_err(refused)?;
        let bound = parsed.bind_or_take_over(host, place.path).await;
        let listener = bound.map_err(|error| refused(error.to_string()))?;
        self.serve(host, &place, pages, Bound { listener, tls: None });
        Ok(())
    }

    fn serve(&self, host: &Host, place: &PagePlace<'_>, pages: Pages, bound: Bound) {
        let (Bound { listener, tls }, PagePlace { path, endpoint, lock }) = (bound, place);
        let address = listener.local_addr();
        let pages = match address {
            Some(address) if address.ip().to_canonical().is_loopback() => {
                pages.only_on_loopback(endpoint.rsplit_once(':').map_or(*endpoint, |(host, _)| host))
            }
            _ => pages,
        };
        let pages = pages.only_for(lock.auth.as_deref().map(|id| host.authenticators.server(id)));
        if let Some(address) = address {
            host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).set(path, address);
        }
        tracing::info!(component = path, endpoint, tls = tls.is_some(), auth = lock.auth, "pages are served");
        let name = self.label.unwrap_or_else(|| path.rsplit("::").next().unwrap_or(path));
        let budget = Budget::new(MEMORY_BYTES, MEMORY_BYTES);
        let mut tasks = self.tasks.locked();
        if let Some(files) = &tls {
            let (watch, stop) = (CertificateWatch::new(path, files.clone(), host), self.stop.subscribe());
            tasks.push(host.tasks.spawn(&format!("{path}::tls"), |pulse| watch.run(stop, pulse)));
        }
        let server = Server::of_pages(&host.stats, name, ServerLimits::of_pages(), Home::detect(), budget);
        let server = Server { tls, ..server };
        let (service, stop) = (pages.into_service(), self.stop.subscribe());
        tasks.push(host.tasks.spawn(path, |pulse| run(Serving::by(server, service), listener, stop, pulse)));
    }

    pub async fn drain(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline.min(Instant::now() + STOP_WAIT)));
        let tasks = std::mem::take(&mut *self.tasks.locked());
        for task in tasks {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
    }
}

/// A socket, and what its connections are secured by.
struct Bound {
    listener: Arc<Listener>,
    tls: Option<Arc<TlsFiles>>,
}

fn refused(place: &PagePlace<'_>, message: String) -> StartError {
    StartError {
        component: place.path.to_owned(),
        message: format!("cannot listen on {}: {message}", place.endpoint),
        help: Some("choose another `endpoint`, or end the process that has this port".to_owned()),
    }
}
