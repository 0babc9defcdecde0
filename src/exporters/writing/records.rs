//! Whole records on a medium that may fail in the middle of one: what a failed write left there is taken away again.
//!
//! A record ends with a line break. A medium that can be cut (a file) is cut back to where the record began; on one that
//! cannot (a pipe, a terminal) the next record begins on a line of its own. The core knows no file: see [`Medium`].

use std::io::{self, ErrorKind};
use std::thread::sleep;
use std::time::Duration;

pub use crate::core::outside::disk::{Descriptor, Medium};

/// Appends whole records.
pub struct Records<M> {
    medium: M,
    /// What a record begins with: nothing, or the end of a line that somebody left open.
    torn: bool,
    /// A cut that failed and comes before anything else is written.
    cut_to: Option<u64>,
}

impl<M: Medium> Records<M> {
    /// `torn` when the medium ends within a line.
    pub fn new(medium: M, torn: bool) -> Records<M> {
        Records { medium, torn, cut_to: None }
    }

    pub fn medium(&self) -> &M {
        &self.medium
    }

    /// Writes `record`, which ends with a line break, or leaves nothing of it; returns the bytes that were added.
    pub fn append(&mut self, record: &[u8]) -> io::Result<u64> {
        if record.is_empty() {
            return Ok(0);
        }
        if let Some(length) = self.cut_to {
            self.medium.cut(length)?;
            self.cut_to = None;
        }
        let before = self.medium.length()?;
        let mut added = 0;
        let begin: &[u8] = if self.torn { b"\n" } else { b"" };
        let written = [begin, record].iter().try_for_each(|bytes| write_all(&mut self.medium, bytes, &mut added));
        match (written, before) {
            (Ok(()), _) => {
                self.torn = false;
                Ok(added)
            }
            (Err(error), _) if added == 0 => Err(error),
            (Err(error), Some(length)) => {
                if self.medium.cut(length).is_err() {
                    self.cut_to = Some(length);
                }
                Err(error)
            }
            (Err(error), None) => {
                self.torn = true;
                Err(error)
            }
        }
    }
}

/// A terminal that takes nothing for the moment is asked again this often before it counts as failed.
const BLOCKED_TRIES: u32 = 200;
const BLOCKED_PAUSE: Duration = Duration::from_millis(10);

fn write_all(medium: &mut impl Medium, mut bytes: &[u8], added: &mut u64) -> io::Result<()> {
    let mut blocked = 0;
    while !bytes.is_empty() {
        match medium.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(taken) => {
                *added += taken as u64;
                bytes = bytes.get(taken..).unwrap_or_default();
                blocked = 0;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && blocked < BLOCKED_TRIES => {
                blocked += 1;
                sleep(BLOCKED_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a part of each write and fails by plan.
    #[derive(Default)]
    struct Faulty {
        held: Vec<u8>,
        can_cut: bool,
        rng: fastrand::Rng,
        /// One in this many writes and cuts fails.
        fails: u32,
    }

    impl Faulty {
        fn fails(&mut self) -> bool {
            self.fails > 0 && self.rng.u32(0..self.fails) == 0
        }
    }

    impl Medium for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.fails() {
                let kinds = [ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::Other];
                return Err(kinds[self.rng.usize(0..3)].into());
            }
            let taken = self.rng.usize(1..=bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn length(&self) -> io::Result<Option<u64>> {
            Ok(self.can_cut.then_some(self.held.len() as u64))
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            if self.fails() {
                return Err(ErrorKind::Other.into());
            }
            self.held.truncate(length as usize);
            Ok(())
        }
    }

    #[test]
    fn a_medium_that_fails_anywhere_holds_the_acknowledged_records_whole() {
        for seed in 0..2_000 {
            let rng = fastrand::Rng::with_seed(seed);
            let (can_cut, begun) = (seed % 2 == 0, seed % 3 == 0);
            let held = if begun { b"{\"torn by an earlier crash".to_vec() } else { Vec::new() };
            let medium = Faulty { held, can_cut, rng, fails: 1 + (seed % 7) as u32 };
            let mut records = Records::new(medium, begun);
            let mut acknowledged = Vec::new();
            for number in 0..40 {
                let record = format!("<{number}{}>\n", "x".repeat(number * 7 % 50));
                if records.append(record.as_bytes()).is_ok() {
                    acknowledged.push(record.trim_end().to_owned());
                }
            }
            let mut medium = records.medium;
            if let Some(length) = records.cut_to {
                // The process lives on: the next write would begin with this.
                medium.held.truncate(length as usize);
            }
            let text = String::from_utf8(medium.held).expect("text");
            let whole = |line: &&str| line.starts_with('<') && line.ends_with('>') && line.matches('<').count() == 1;
            let mut lines = text.lines().filter(whole);
            if can_cut {
                assert_eq!(lines.collect::<Vec<_>>(), acknowledged, "seed {seed}: each, once, in order, and no other");
            } else {
                // A pipe may have taken all of a refused record but its line break.
                assert!(acknowledged.iter().all(|record| lines.any(|line| line == record)), "seed {seed}: {text:?}");
            }
            let torn = text.lines().filter(|line| !whole(line)).count();
            let allowed = if can_cut { usize::from(begun) } else { usize::MAX };
            assert!(torn <= allowed, "seed {seed}: {torn} torn lines in {text:?}");
        }
    }
}
