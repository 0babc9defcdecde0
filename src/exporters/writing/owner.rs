//! The owner task of one medium: hands what waits to a blocking thread and tells the world how that goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::report::status::{State, StatusTeller};
use crate::core::stage::tasks::Pulse;
use crate::exporters::writing::job::{Scribe, Unwritten, WRITE_MAX, WriteJob};
use crate::exporters::writing::trouble;
use crate::sending::report::condition::{ConditionLine, HopCondition, Trouble};

/// Payloads handed to the thread at once; each is answered as soon as it is written.
const AT_ONCE: usize = 16;

pub struct MediumOwner {
    pub path: String,
    pub medium: String,
    pub status: StatusTeller,
    pub hangs: Arc<AtomicBool>,
}

/// How the payloads of one turn went.
#[derive(Default)]
struct Turn {
    written: bool,
    /// The last one.
    trouble: Option<Trouble>,
}

impl MediumOwner {
    /// Runs until nobody can send any more and everything that waits is answered.
    pub async fn run(self, mut scribe: Box<dyn Scribe>, mut jobs: mpsc::Receiver<WriteJob>, pulse: Arc<Pulse>) {
        let mut condition = HopCondition::default();
        let mut batch = Vec::with_capacity(AT_ONCE); // granted: a constant
        loop {
            pulse.beat();
            pulse.waits_for("payloads to write");
            let taken = tokio::select! {
                taken = jobs.recv_many(&mut batch, AT_ONCE) => taken,
                () = sleep(Pulse::INTERVAL) => continue,
            };
            if taken == 0 {
                return;
            }
            pulse.waits_for("a write to return from its medium");
            let work = std::mem::replace(&mut batch, Vec::with_capacity(AT_ONCE)); // granted: a constant
            let mut writing = spawn_blocking(move || {
                let turn = write(scribe.as_mut(), work);
                (scribe, turn)
            });
            let hanging_from = Instant::now() + WRITE_MAX;
            let done = loop {
                pulse.beat();
                tokio::select! {
                    done = &mut writing => break done,
                    () = sleep_until(hanging_from), if Instant::now() < hanging_from => {}
                    () = sleep(Pulse::INTERVAL) => {}
                }
                if Instant::now() >= hanging_from && !self.hangs.swap(true, Ordering::Relaxed) {
                    self.tell(&mut condition, Some(trouble::hanging(WRITE_MAX)), false);
                }
            };
            self.hangs.store(false, Ordering::Relaxed);
            match done {
                Ok((back, turn)) => {
                    scribe = back;
                    self.tell(&mut condition, turn.trouble, turn.written);
                }
                // The runtime ends, or a bug: then the gateway drains and says so.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return,
            }
        }
    }

    fn tell(&self, condition: &mut HopCondition, trouble: Option<Trouble>, written: bool) {
        let now = Instant::now();
        let (exporter, medium) = (&self.path, &self.medium);
        let Some(trouble) = trouble else {
            if !written {
                return;
            }
            if let Some(ConditionLine::Recovered { after, failures }) = condition.works(now) {
                tracing::info!(%exporter, %medium, after_seconds = after.as_secs(), failures, "writes again");
            }
            self.status.tell(State::Ok, "");
            return;
        };
        let cure = trouble.cure.clone().unwrap_or_default();
        self.status.tell(State::Degraded, format!("{medium}: {}; {cure}", trouble.message));
        if condition.fails(&trouble, now).is_some() {
            tracing::warn!(%exporter, %medium, cause = %trouble.message, %cure, "cannot write to the file: senders are asked to retry");
        }
    }
}

/// Writes one payload after the other, each answered at once.
fn write(scribe: &mut dyn Scribe, jobs: Vec<WriteJob>) -> Turn {
    let mut turn = Turn::default();
    for WriteJob { payload, answer } in jobs {
        if answer.is_closed() {
            continue;
        }
        let written = scribe.write(&payload);
        match &written {
            Ok(_) => turn = Turn { written: true, trouble: scribe.notice().map(|error| trouble::of(&error)) },
            Err(Unwritten::Medium(error)) => turn.trouble = Some(trouble::of(error)),
            Err(Unwritten::Memory(_)) => {}
        }
        let _ = answer.send(written);
    }
    turn
}
