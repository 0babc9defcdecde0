//! What is known of a partition's records from the first unsettled one on: which may be committed, and which were lost on
//! the way and have to be read again.
//!
//! Pure. A record is settled when all of its items have their end; the offset to commit is never above the lowest record that
//! is not. Offsets ascend and may have gaps (compaction, markers of transactions).

use std::collections::VecDeque;

/// How a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// On its way through the pipeline.
    Open,
    Settled,
    /// Cut off without an end: it has to be read again.
    Lost,
}

/// The records of one partition while this member has it.
#[derive(Debug, Default)]
pub struct OffsetWindow {
    /// From the lowest unsettled record on, ascending.
    records: VecDeque<(i64, Mark)>,
    /// The offset behind the last record that was taken.
    end: i64,
    /// What was committed, or found committed.
    committed: Option<i64>,
    open: usize,
}

impl OffsetWindow {
    /// True when the record is to be handed on: it is new, or was lost before. False for one that is on its way or settled.
    pub fn take(&mut self, offset: i64) -> bool {
        if self.records.is_empty() && offset > self.end {
            self.end = offset;
        }
        if offset >= self.end {
            self.records.push_back((offset, Mark::Open)); // granted: by the partition, for each record
            self.end = offset.saturating_add(1);
            self.open += 1;
            return true;
        }
        match self.mark(offset) {
            Some(mark) if *mark == Mark::Lost => {
                *mark = Mark::Open;
                self.open += 1;
                true
            }
            _ => false,
        }
    }

    /// The record's items have their end. True unless that was known.
    pub fn settle(&mut self, offset: i64) -> bool {
        let Some(mark) = self.mark(offset) else { return false };
        let before = std::mem::replace(mark, Mark::Settled);
        self.open -= usize::from(before == Mark::Open);
        while self.records.front().is_some_and(|(_, mark)| *mark == Mark::Settled) {
            self.records.pop_front();
        }
        before != Mark::Settled
    }

    /// The record was cut off; without effect on one that is settled. True when it was on its way.
    pub fn lose(&mut self, offset: i64) -> bool {
        match self.mark(offset) {
            Some(mark) if *mark == Mark::Open => {
                *mark = Mark::Lost;
                self.open -= 1;
                true
            }
            _ => false,
        }
    }

    /// Where to read on so that what was lost comes again.
    pub fn lowest_lost(&self) -> Option<i64> {
        self.records.iter().find(|(_, mark)| *mark == Mark::Lost).map(|(offset, _)| *offset)
    }

    /// The offset to commit, when it is another than the committed one: of the lowest record that is not settled, or behind
    /// the last one. Nothing before anything was taken.
    pub fn to_commit(&self) -> Option<i64> {
        let offset = self.records.front().map_or(self.end, |(offset, _)| *offset);
        (self.end > 0 && self.committed.is_none_or(|committed| committed < offset)).then_some(offset)
    }

    pub fn committed(&mut self, offset: i64) {
        self.committed = Some(self.committed.map_or(offset, |before| before.max(offset)));
    }

    /// Records on their way.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Records that are remembered: from the lowest unsettled one on.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    fn mark(&mut self, offset: i64) -> Option<&mut Mark> {
        let at = self.records.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        self.records.get_mut(at).map(|(_, mark)| mark)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_committed_beyond_the_lowest_record_that_is_not_settled() {
        let mut window = OffsetWindow::default();
        assert_eq!(window.to_commit(), None, "nothing was taken");
        assert!((100..105).all(|offset| window.take(offset)));
        assert_eq!(window.to_commit(), Some(100), "which says that the group has begun here");
        window.committed(100);
        for (settled, expected) in [(101, None), (103, None), (100, Some(102)), (102, Some(104)), (104, Some(105))] {
            assert!(window.settle(settled));
            assert_eq!(window.to_commit(), expected, "after {settled}");
        }
        window.committed(105);
        assert_eq!((window.to_commit(), window.len(), window.open()), (None, 0, 0));
    }

    #[test]
    fn a_gap_holds_nothing_up() {
        let mut window = OffsetWindow::default();
        assert!([3, 9, 20].into_iter().all(|offset| window.take(offset)));
        assert!(window.settle(3) && !window.settle(4));
        assert_eq!(window.to_commit(), Some(9));
        assert!(window.settle(20) && window.settle(9) && !window.settle(9));
        assert_eq!(window.to_commit(), Some(21));
    }

    #[test]
    fn what_was_lost_is_taken_again_and_the_rest_is_known() {
        let mut window = OffsetWindow::default();
        assert!((0..6).all(|offset| window.take(offset)));
        assert!(window.settle(0) && window.settle(3));
        assert!(window.lose(2) && window.lose(4) && !window.lose(3) && !window.lose(2));
        assert_eq!((window.lowest_lost(), window.open()), (Some(2), 2));
        let again: Vec<i64> = (2..8).filter(|offset| window.take(*offset)).collect();
        assert_eq!(again, [2, 4, 6, 7]);
        assert_eq!(window.lowest_lost(), None);
        assert_eq!(window.to_commit(), Some(1));
    }

    /// One step of a partition's life.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(i64),
        Settle(usize),
        Lose(usize),
        Again,
        Commit,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_i64..4).prop_map(Step::Take),
            4 => (0_usize..64).prop_map(Step::Settle),
            1 => (0_usize..64).prop_map(Step::Lose),
            1 => Just(Step::Again),
            1 => Just(Step::Commit),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_a_commit_covers_settled_records_alone_and_nothing_is_forgotten(
            start in 0_i64..1000, steps in prop::collection::vec(step(), 1..200)
        ) {
            let mut window = OffsetWindow::default();
            // Every record that was read, and whether it has settled.
            let mut known: BTreeMap<i64, bool> = BTreeMap::new();
            let mut next = start;
            for step in steps {
                let open: Vec<i64> = known.iter().filter(|(_, settled)| !**settled).map(|(offset, _)| *offset).collect();
                match step {
                    Step::Take(gap) => {
                        next += gap;
                        prop_assert!(window.take(next));
                        known.insert(next, false);
                    }
                    Step::Settle(at) if !open.is_empty() => {
                        let offset = open[at % open.len()];
                        prop_assert!(window.settle(offset));
                        known.insert(offset, true);
                    }
                    Step::Lose(at) if !open.is_empty() => {
                        window.lose(open[at % open.len()]);
                    }
                    Step::Again => {
                        let Some(from) = window.lowest_lost() else { continue };
                        for offset in known.range(from..).map(|(offset, _)| *offset).collect::<Vec<_>>() {
                            if window.take(offset) {
                                prop_assert!(!known[&offset], "a settled record came again");
                            }
                        }
                        prop_assert_eq!(window.lowest_lost(), None);
                    }
                    Step::Commit => {
                        if let Some(offset) = window.to_commit() {
                            window.committed(offset);
                        }
                    }
                    _ => {}
                }
                let lowest_open = known.iter().find(|(_, settled)| !**settled).map(|(offset, _)| *offset);
                let committed = window.committed.unwrap_or(i64::MIN);
                prop_assert!(lowest_open.is_none_or(|open| committed <= open));
                prop_assert!(window.to_commit().is_none_or(|offset| lowest_open.is_none_or(|open| offset <= open)));
            }
            let settled_all: Vec<i64> = known.keys().copied().collect();
            settled_all.into_iter().for_each(|offset| { window.settle(offset); });
            prop_assert_eq!((window.open(), window.len()), (0, 0));
        }
    }

    /// One partition among members that come and go, and the broker's committed offset.
    struct Partition {
        committed: i64,
        /// Whether a record has ever settled in the window of whoever had read it then.
        settled: Vec<bool>,
        /// Of the present owner.
        window: OffsetWindow,
        position: i64,
        /// Records on their way that were read before the partition moved: their ends reach no window.
        stale: Vec<i64>,
    }

    impl Partition {
        fn moves(&mut self) {
            let open = (self.committed..self.position).filter(|offset| self.window.mark(*offset).is_some());
            self.stale.extend(open.collect::<Vec<_>>());
            (self.window, self.position) = (OffsetWindow::default(), self.committed);
        }

        fn open(&mut self) -> Vec<i64> {
            let offsets = self.committed..self.position;
            offsets.filter(|offset| self.window.mark(*offset).is_some_and(|mark| *mark == Mark::Open)).collect()
        }
    }

    proptest! {
        #[test]
        fn however_often_a_partition_moves_nothing_is_committed_that_never_settled_and_everything_settles(
            steps in prop::collection::vec((0_u8..6, 0_usize..64), 1..300)
        ) {
            const RECORDS: i64 = 60;
            let mut of = Partition {
                committed: 0,
                settled: vec![false; RECORDS as usize],
                window: OffsetWindow::default(),
                position: 0,
                stale: Vec::new(),
            };
            for (step, at) in steps {
                let open = of.open();
                match step {
                    0 | 1 if of.position < RECORDS => {
                        of.window.take(of.position);
                        of.position += 1;
                    }
                    2 if !open.is_empty() => {
                        let offset = open[at % open.len()];
                        of.window.settle(offset);
                        of.settled[offset as usize] = true;
                    }
                    3 if !open.is_empty() => {
                        of.window.lose(open[at % open.len()]);
                        of.position = of.window.lowest_lost().unwrap_or(of.position);
                    }
                    4 => {
                        // A member that goes commits last what it may, or cannot any more.
                        if let Some(offset) = of.window.to_commit().filter(|_| at % 2 == 0) {
                            of.committed = of.committed.max(offset);
                        }
                        of.moves();
                    }
                    5 => {
                        if let Some(offset) = of.window.to_commit() {
                            of.window.committed(offset);
                            of.committed = of.committed.max(offset);
                        }
                    }
                    _ => drop(of.stale.pop()),
                }
                let first = of.settled.iter().position(|settled| !settled).map_or(RECORDS, |at| at as i64);
                prop_assert!(of.committed <= first, "{} is committed, and {first} never settled", of.committed);
            }
            // Whoever has it last brings it to its end.
            for offset in of.committed..RECORDS {
                if of.window.take(offset) || of.window.mark(offset).is_some() {
                    of.window.settle(offset);
                }
            }
            prop_assert_eq!((of.window.open(), of.window.to_commit().unwrap_or(RECORDS)), (0, RECORDS));
        }
    }
}
