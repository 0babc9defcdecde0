//! A page listener with a lifecycle: binds in start, stops in drain. Shared by health_check, admin and the metrics.

use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::error::StartError;
use crate::core::host::Host;
use crate::net::pages::{self, PageFn};

/// Binds in start, stops in drain.
pub struct PageListener {
    stop: watch::Sender<bool>,
    // Taken by drain; never held across an await.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Default for PageListener {
    fn default() -> PageListener {
        PageListener { stop: watch::Sender::new(false), task: Mutex::new(None) }
    }
}

impl PageListener {
    pub async fn start(&self, host: &Host, path: &str, endpoint: &str, pages: PageFn) -> Result<(), StartError> {
        let listener = TcpListener::bind(endpoint).await.map_err(|error| StartError {
            component: path.to_owned(),
            message: format!("cannot listen on {endpoint}: {error}"),
            help: Some("choose another `endpoint`, or end the process that has this port".to_owned()),
        })?;
        let stop = self.stop.subscribe();
        let task = host.tasks.spawn_idle(path, pages::serve(listener, pages, stop));
        *self.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(task);
        Ok(())
    }

    pub async fn drain(&self, deadline: Instant) {
        let _ = self.stop.send(true);
        let task = self.task.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(task) = task {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
    }
}
