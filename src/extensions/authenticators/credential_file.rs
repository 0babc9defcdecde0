//! A file with credentials that is read again while the gateway runs: a projected secret changes under its reader.
//!
//! What cannot be read or used never replaces what was read before.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard};
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::core::stage::tasks::Pulse;

/// How often a file is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// Credentials are short; a longer file is a mistake.
const BYTES_MAX: u64 = 4 << 20;
/// A file system that does not answer within this is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The file as it is now; errors name the configuration's key.
pub async fn read(path: &PathBuf, key: &str) -> Result<String, String> {
    let unreadable = |why: String| format!("{key} {}: {why}", path.display());
    let reading = async {
        let size = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
        if size > BYTES_MAX {
            return Err(format!("{size} bytes are too many for credentials"));
        }
        let bytes = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
        // Its text may be a secret, so the message says only that it is none.
        String::from_utf8(bytes).map_err(|_| "it holds no UTF-8 text".to_owned())
    };
    match timeout(READ_TIMEOUT, reading).await {
        Ok(read) => read.map_err(unreadable),
        Err(_) => Err(unreadable("the file system did not answer".to_owned())),
    }
}

/// The files of one extension, with the tasks that look at them.
pub struct FileWatches {
    component: String,
    host: Arc<Host>,
    stop: watch::Sender<bool>,
    // Locked at start and drain only.
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl FileWatches {
    pub fn new(cx: &BuildContext) -> FileWatches {
        let stop = watch::Sender::new(false);
        FileWatches { component: cx.path.clone(), host: cx.host.clone(), stop, tasks: Mutex::default() }
    }

    /// Hands every changed text of the file to `renew`. `text` is the one that is in use.
    pub fn watch(
        &self,
        file: PathBuf,
        key: &'static str,
        text: String,
        renew: impl Fn(&str) -> Result<(), String> + Send + 'static,
    ) {
        let component = format!("{}::{key}", self.component);
        self.host.status.set(&component, State::Ok, "");
        let (stop, status, name) = (self.stop.subscribe(), self.host.status.clone(), component.clone());
        let watch = CredentialWatch { component, file, key, status };
        let task = self.host.tasks.spawn(&name, |pulse| watch.run(text, renew, stop, pulse));
        self.tasks.locked().push(task);
    }

    /// Nothing is read any more.
    pub async fn end(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.locked());
        for task in tasks {
            // One that panicked has told the gateway itself.
            let _ = task.await;
        }
    }
}

/// Who looks at a file, and what for.
struct CredentialWatch {
    /// The extension's key, for the status and the log.
    component: String,
    file: PathBuf,
    key: &'static str,
    status: Arc<StatusBoard>,
}

impl CredentialWatch {
    /// Runs until `stop` is set. `read` is the text that is in use.
    async fn run(
        self,
        mut read: String,
        renew: impl Fn(&str) -> Result<(), String> + Send,
        mut stop: watch::Receiver<bool>,
        pulse: Arc<Pulse>,
    ) {
        pulse.waits_for("the next read of the credential file");
        let mut fault = None;
        let mut due = Instant::now() + INTERVAL;
        loop {
            pulse.beat();
            let wake = due.min(Instant::now() + Pulse::INTERVAL);
            tokio::select! {
                changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
                () = sleep_until(wake) => {}
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + INTERVAL;
            let text = self::read(&self.file, self.key).await;
            if text.as_ref().is_ok_and(|text| *text == read) && fault.is_none() {
                continue;
            }
            match text.and_then(|text| renew(&text).map(|()| text)) {
                Ok(text) => {
                    (read, fault) = (text, None);
                    tracing::info!(component = %self.component, "the credentials were read again from their file");
                    self.status.set(&self.component, State::Ok, "");
                }
                Err(why) if fault.as_ref() != Some(&why) => {
                    let cure = "the credentials read before stay in use; put a file with credentials in place";
                    tracing::warn!(component = %self.component, cause = %why, cure, "the credential file cannot be used");
                    self.status.set(&self.component, State::Degraded, format!("{why}; {cure}"));
                    fault = Some(why);
                }
                Err(_) => {}
            }
        }
    }
}
