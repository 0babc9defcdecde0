//! Which requests are printed: the first few of each second, then one in so many (as the Collector samples its log).

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct OutputSampling {
    initial: u64,
    /// One in so many after the first ones; zero shows none.
    thereafter: u64,
    second: Option<Instant>,
    seen: u64,
}

impl OutputSampling {
    pub fn new(initial: u64, thereafter: u64) -> OutputSampling {
        OutputSampling { initial, thereafter, second: None, seen: 0 }
    }

    /// Counts a request and says whether it is shown.
    pub fn show(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|began| now - began >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.seen = 0;
        }
        self.seen += 1;
        self.seen <= self.initial || (self.thereafter > 0 && (self.seen - self.initial).is_multiple_of(self.thereafter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_second_shows_its_first_requests_and_then_one_in_so_many() {
        let now = Instant::now();
        let shown = |initial, thereafter| {
            let mut sampling = OutputSampling::new(initial, thereafter);
            let first = (0..100).filter(|_| sampling.show(now)).count();
            let later = now + Duration::from_secs(1);
            (first, (0..3).filter(|_| sampling.show(later)).count())
        };
        assert_eq!(shown(2, 1), (100, 3));
        assert_eq!(shown(2, 10), (2 + 9, 2));
        assert_eq!(shown(2, 0), (2, 2));
        assert_eq!(shown(0, 0), (0, 0));
    }
}
