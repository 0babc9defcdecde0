//! Rows of a bench: nanoseconds of CPU time a span, the median of rounds in which every row runs in turn, so that a slow
//! moment of the machine hits all of them. CPU time is the scheduler's account of this thread (Linux), so that a busy
//! machine does not count; elsewhere it is the clock on the wall.

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

const ROUNDS: usize = 21;
const ROUND_TIME: Duration = Duration::from_millis(60);
/// Requests that take turns, so that the bytes come from the outer caches as they do from a socket.
pub const COPIES: usize = 16;

/// What is measured: each row is one request's work on the copy whose number it is given.
pub struct Rows<'a> {
    rows: Vec<Row<'a>>,
    /// Spans of a request.
    items: usize,
}

struct Row<'a> {
    name: &'static str,
    work: Box<dyn FnMut(usize) + 'a>,
    /// Nanoseconds a span, one for each round.
    rounds: Vec<f64>,
    items: usize,
}

impl<'a> Rows<'a> {
    pub fn new(items: usize) -> Rows<'a> {
        Rows { rows: Vec::new(), items }
    }

    pub fn row(&mut self, name: &'static str, work: impl FnMut(usize) + 'a) {
        self.rows.push(Row { name, work: Box::new(work), rounds: Vec::new(), items: self.items });
    }

    pub fn run(mut self) {
        let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        self.rows.retain(|row| wanted.is_empty() || wanted.iter().any(|word| row.name.contains(word.as_str())));
        for _ in 0..ROUNDS {
            self.rows.iter_mut().for_each(Row::round);
        }
        let mut screen = std::io::stdout().lock();
        for row in &mut self.rows {
            row.rounds.sort_by(f64::total_cmp);
            let (fastest, median) = (row.rounds[0], row.rounds[ROUNDS / 2]);
            _ = writeln!(screen, "{:<40} {median:>9.1} ns/span   (fastest {fastest:.1})", row.name);
        }
    }
}

impl Row<'_> {
    /// Runs for about the round's time and notes the mean.
    fn round(&mut self) {
        let (start, spent) = (Instant::now(), cpu_time());
        let mut requests = 0;
        while start.elapsed() < ROUND_TIME {
            for copy in 0..COPIES {
                (self.work)(copy);
            }
            requests += COPIES;
        }
        let wall = start.elapsed().as_nanos() as u64;
        let spent = cpu_time().zip(spent).map_or(wall, |(now, before)| now - before);
        self.rounds.push(spent as f64 / (requests * self.items) as f64);
    }
}

/// Nanoseconds that this thread has run.
fn cpu_time() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    account.split_whitespace().next()?.parse().ok()
}
