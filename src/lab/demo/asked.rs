//! Who asks the demo to end: a key, Ctrl-C or SIGTERM. It listens from the start to the end, so that what comes while
//! something is printed is heard afterwards.

use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::lab::demo::screen::Screen;

pub struct DemoInput {
    keys: Option<watch::Receiver<u32>>,
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl DemoInput {
    /// Must be called within a runtime. A signal that cannot be listened for ends the process, as it does by default.
    pub fn listen(keys: Option<watch::Receiver<u32>>) -> DemoInput {
        let heard = |kind| signal(kind).ok();
        DemoInput { keys, interrupt: heard(SignalKind::interrupt()), terminate: heard(SignalKind::terminate()) }
    }

    /// Until somebody asks, once more than before. Nothing is lost when the future is dropped.
    pub async fn again(&mut self) {
        let DemoInput { keys, interrupt, terminate } = self;
        let key = async {
            match keys {
                Some(keys) => Screen::asked_to_end(keys).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = key => {}
            () = next(interrupt) => {}
            () = next(terminate) => {}
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    pending().await
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_signal_that_comes_while_nobody_waits_is_heard_afterwards() {
        let mut asked = DemoInput::listen(None);
        let own = std::process::id().to_string();
        let killed = Command::new("kill").args(["-INT", &own]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        // The runtime has heard of it before anybody waits.
        let mut other = signal(SignalKind::terminate()).unwrap();
        let killed = Command::new("kill").args(["-TERM", &own]).status();
        assert!(killed.is_ok_and(|status| status.success()));
        other.recv().await;
        asked.again().await;
    }
}
