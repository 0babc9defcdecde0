//! Sets of item numbers as ranges: which items of a record are settled. Pure, bounded by the record's items.

/// Half-open ranges, in order, apart from each other by at least one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Adds `from..to`; how many numbers of it were new.
    pub fn add(&mut self, from: u32, to: u32) -> u32 {
        if from >= to {
            return 0;
        }
        let begin = self.0.partition_point(|(_, end)| *end < from);
        let end = self.0.partition_point(|(start, _)| *start <= to);
        let touched = &self.0[begin..end];
        let held: u32 = touched.iter().map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from))).sum();
        let low = touched.first().map_or(from, |(start, _)| from.min(*start));
        let high = touched.last().map_or(to, |(_, end)| to.max(*end));
        self.0.splice(begin..end, [(low, high)]);
        (to - from) - held
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What of `0..items` is not in the set.
    pub fn rest(&self, items: u32) -> Vec<(u32, u32)> {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        let mut at = 0;
        for (start, end) in self.iter().filter(|(start, _)| *start < items) {
            if at < start {
                rest.push((at, start));
            }
            at = end;
        }
        if at < items {
            rest.push((at, items));
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_say_what_a_set_of_numbers_says() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..2_000 {
            let mut ranges = Ranges::default();
            let mut truth = [false; 24];
            for _ in 0..random.usize(1..8) {
                let from = random.u32(0..24);
                let to = random.u32(from..=24);
                let fresh = truth[from as usize..to as usize].iter().filter(|seen| !**seen).count();
                assert_eq!(ranges.add(from, to) as usize, fresh, "round {round}, {from}..{to}");
                truth[from as usize..to as usize].fill(true);
            }
            let rest: Vec<u32> = ranges.rest(24).into_iter().flat_map(|(from, to)| from..to).collect();
            let want: Vec<u32> = (0..24).filter(|at| !truth[*at as usize]).collect();
            assert_eq!(rest, want, "round {round}, {ranges:?}");
            let apart = ranges.0.windows(2).all(|two| two[0].1 < two[1].0);
            assert!(apart, "round {round}, {ranges:?}");
        }
    }
}
