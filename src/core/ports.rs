//! How long listeners wait for a port that another process holds: on a node's own ports the pod before is still draining
//! when its successor starts, and ending at once would be a restart with a back-off for nothing.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Between two tries.
const STEP: Duration = Duration::from_millis(100);

/// One for a gateway. The default waits for nothing.
#[derive(Debug, Default)]
pub struct Ports {
    longest: OnceLock<Duration>,
    given_up: watch::Sender<bool>,
}

impl Ports {
    /// Set once, before anything starts.
    pub fn wait_up_to(&self, longest: Duration) {
        let _ = self.longest.set(longest);
    }

    pub fn longest(&self) -> Duration {
        self.longest.get().copied().unwrap_or_default()
    }

    /// Whoever waits ends his wait: the process was asked to end.
    pub fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    /// False when `since` is too long ago or the wait was given up; else true, after a moment.
    pub async fn again(&self, since: Instant) -> bool {
        let left = self.longest().saturating_sub(since.elapsed());
        if left.is_zero() {
            return false;
        }
        let mut given_up = self.given_up.subscribe();
        timeout(STEP.min(left), given_up.wait_for(|given_up| *given_up)).await.is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_in_time_and_when_it_is_given_up() {
        let ports = Ports::default();
        assert!(!ports.again(Instant::now()).await, "the default waits for nothing");
        ports.wait_up_to(Duration::from_secs(2));
        let since = Instant::now();
        while ports.again(since).await {}
        assert_eq!(since.elapsed(), Duration::from_secs(2));
        let since = Instant::now();
        ports.give_up();
        assert!(!ports.again(since).await);
        assert_eq!(since.elapsed(), Duration::ZERO);
    }
}
